//! Host names among the servers: which servers one stands for, asked anew from time to time.
//!
//! A name with several addresses of one family stands for as many servers, each with its own limit and state. A name with one IPv4 and one
//! IPv6 address stands for one server with two addresses: counted as two, it could be given twice its limit. A name with several of both stands for
//! those of the larger family, IPv4 where they are equal.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use crate::config::pattern::ServerAddress;
use crate::message::deadline::Deadline;
use crate::upstream::error::UpstreamError;
use crate::upstream::pool::Pool;

/// A resolver that does not answer within it has failed.
const LOOKUP_TIMEOUT: Duration = Duration::from_secs(5);

/// A name that could not be resolved is asked for again after so long, however often it is needed.
const AFTER_FAILURE: Duration = Duration::from_secs(1);

/// What resolves names.
pub trait Lookup: Send + Sync {
    /// The addresses of a host.
    fn lookup<'a>(
        &'a self,
        host: &'a str,
        port: u16,
    ) -> Pin<Box<dyn Future<Output = io::Result<Vec<SocketAddr>>> + Send + 'a>>;
}

/// The system's resolver. It does not tell how long its answers are good for.
pub struct System;

impl Lookup for System {
    fn lookup<'a>(
        &'a self,
        host: &'a str,
        port: u16,
    ) -> Pin<Box<dyn Future<Output = io::Result<Vec<SocketAddr>>> + Send + 'a>> {
        Box::pin(async move { Ok(tokio::net::lookup_host((host, port)).await?.collect()) })
    }
}

/// The names of an upstream.
pub struct Names {
    any: bool,
    interval: Duration,
    lookup: Arc<dyn Lookup>,
    /// Held while names are looked up.
    asking: Arc<tokio::sync::Mutex<()>>,
}

/// A name in the pool, and how its last look-up ended.
#[derive(Debug, Clone, Default)]
pub struct Resolution {
    /// What it stands for; nothing before it was found once.
    pub servers: Option<Vec<Vec<SocketAddr>>>,
    /// When it was last asked for.
    pub asked: Option<Instant>,
    /// Why the last look-up failed.
    pub failure: Option<String>,
}

impl Resolution {
    /// Whether it should be asked for now.
    pub fn is_due(&self, interval: Duration, now: Instant) -> bool {
        let after = if self.failure.is_some() {
            interval.min(AFTER_FAILURE)
        } else {
            interval
        };
        self.asked
            .is_none_or(|asked| now.saturating_duration_since(asked) >= after)
    }
}

impl Resolution {
    /// Why it stands for no server.
    pub fn why_none(&self) -> String {
        match &self.failure {
            Some(failure) => format!("cannot be resolved: {failure}"),
            None => "not resolved yet".to_owned(),
        }
    }
}

impl Names {
    /// Those of these servers.
    pub fn new<'a>(
        mut servers: impl Iterator<Item = &'a ServerAddress>,
        interval: Duration,
        lookup: Arc<dyn Lookup>,
    ) -> Self {
        Self {
            any: servers.any(|it| matches!(it, ServerAddress::Name { .. })),
            interval,
            lookup,
            asking: Arc::default(),
        }
    }

    /// What resolves them.
    pub fn lookup(&self) -> &Arc<dyn Lookup> {
        &self.lookup
    }

    /// Makes sure that the pool knows what its names stand for. The first time that is waited for; later names are asked for again beside
    /// the requests, and while the resolver fails the last answer holds.
    ///
    /// # Errors
    /// [`UpstreamError::Connect`] where no server is known, with what the resolver says.
    pub async fn ensure(&self, pool: &Arc<Pool>, deadline: Deadline) -> Result<(), UpstreamError> {
        if self.any {
            // Boxed: most upstreams have no names, and their requests carry nothing of this along.
            Box::pin(self.ensure_known(pool, deadline)).await?;
        }
        Ok(())
    }

    async fn ensure_known(
        &self,
        pool: &Arc<Pool>,
        deadline: Deadline,
    ) -> Result<(), UpstreamError> {
        if pool.names_due(self.interval).is_empty() {
            return pool.some_server();
        }
        if pool.has_unresolved() {
            let asking = deadline
                .within(LOOKUP_TIMEOUT)
                .bound(self.asking.lock())
                .await;
            if asking.is_ok() {
                ask(pool, self.interval, &self.lookup).await;
            }
        } else if let Ok(asking) = Arc::clone(&self.asking).try_lock_owned() {
            let (pool, interval, lookup) =
                (Arc::clone(pool), self.interval, Arc::clone(&self.lookup));
            // It ends by itself: each look-up has its time.
            tokio::spawn(async move {
                ask(&pool, interval, &lookup).await;
                drop(asking);
            });
        }
        pool.some_server()
    }
}

/// Asks for the names that are due, all at a time.
async fn ask(pool: &Arc<Pool>, interval: Duration, lookup: &Arc<dyn Lookup>) {
    let asked = pool
        .names_due(interval)
        .into_iter()
        .map(|address| async move {
            let ServerAddress::Name { host, port } = &address else {
                return;
            };
            let found = tokio::time::timeout(LOOKUP_TIMEOUT, lookup.lookup(host, *port)).await;
            let found = match found {
                Ok(Ok(addresses)) if addresses.is_empty() => Err("no addresses".to_owned()),
                Ok(Ok(addresses)) => Ok(servers(addresses)),
                Ok(Err(error)) => Err(error.to_string()),
                Err(_) => Err(format!("no answer within {} s", LOOKUP_TIMEOUT.as_secs())),
            };
            pool.resolved(&address, found);
        });
    futures::future::join_all(asked).await;
}

/// The servers that a name with these addresses stands for.
fn servers(mut addresses: Vec<SocketAddr>) -> Vec<Vec<SocketAddr>> {
    // Resolvers turn the order.
    addresses.sort_unstable();
    addresses.dedup();
    let (four, six): (Vec<_>, Vec<_>) = addresses.into_iter().partition(SocketAddr::is_ipv4);
    if four.len() <= 1 && six.len() <= 1 {
        return vec![four.into_iter().chain(six).collect()];
    }
    let family = if six.len() > four.len() { six } else { four };
    family.into_iter().map(|address| vec![address]).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_stands_for_the_servers_of_one_family() {
        let (a, b) = ("10.0.0.1:80", "10.0.0.2:80");
        let (x, y) = ("[fd00::1]:80", "[fd00::2]:80");
        for (found, wanted) in [
            (vec![a], vec![vec![a]]),
            (vec![b, a, a], vec![vec![a], vec![b]]),
            (vec![x, a], vec![vec![a, x]]),
            (vec![x, y], vec![vec![x], vec![y]]),
            (vec![y, x, b, a], vec![vec![a], vec![b]]),
            (vec![y, x, a], vec![vec![x], vec![y]]),
        ] {
            let parse = |text: &&str| text.parse::<SocketAddr>().expect("an address");
            let addresses = found.iter().map(parse).collect();
            let wanted: Vec<Vec<_>> = wanted
                .iter()
                .map(|it| it.iter().map(parse).collect())
                .collect();
            assert_eq!(servers(addresses), wanted, "{found:?}");
        }
    }
}
