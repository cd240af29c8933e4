//! The servers of an upstream and the line before them: [`Pool::acquire`] gives a [`Permit`] for one server, or says why not.
//!
//! The permit does the counting, so that it cannot drift: whoever holds one is in flight, and it gives itself back when it is
//! dropped, wherever that happens.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::time::Instant;

use crate::config::UpstreamConfig;
use crate::config::pattern::ServerAddress;
use crate::message::deadline::Deadline;
use crate::upstream::balance::{self, Terms};
use crate::upstream::error::UpstreamError;
use crate::upstream::queue::{Place, Queue};
use crate::upstream::server::{ServerState, Standing};

/// The servers of one upstream.
pub struct Pool {
    name: String,
    terms: Terms,
    queue_length: usize,
    queue_timeout: Duration,
    state: Mutex<State>,
}

struct State {
    servers: Vec<Standing>,
    queue: Queue,
    last: usize,
}

/// The right to have one request in flight at one server. Dropping it lets the next one in.
pub struct Permit {
    pool: Arc<Pool>,
    server: usize,
    address: ServerAddress,
}

/// A pool at one moment, for operators.
#[derive(Debug, Clone)]
pub struct PoolStatus {
    /// The upstream's name.
    pub name: String,
    /// Its servers in the order of the configuration.
    pub servers: Vec<ServerStatus>,
    /// Requests that wait for one of them.
    pub queued: usize,
}

/// A server at one moment.
#[derive(Debug, Clone)]
pub struct ServerStatus {
    /// As configured.
    pub address: String,
    /// Its share.
    pub weight: u32,
    /// Whether it takes requests.
    pub state: ServerState,
    /// Requests sent and not finished.
    pub in_flight: usize,
    /// Requests that were given to it, ever.
    pub served: u64,
}

impl Pool {
    /// A pool by its configuration.
    pub fn new(name: &str, config: &UpstreamConfig) -> Arc<Self> {
        let servers: Vec<_> = config
            .servers
            .iter()
            .map(|entry| Standing::new(entry.address.clone(), entry.weight))
            .collect();
        // The first choice falls on the first server.
        let last = servers.len().saturating_sub(1);
        Arc::new(Self {
            name: name.to_owned(),
            terms: Terms {
                balance: config.balance,
                max_in_flight: config.max_in_flight,
                last,
                avoid: None,
            },
            queue_length: config.queue,
            queue_timeout: config.queue_timeout,
            state: Mutex::new(State {
                servers,
                queue: Queue::default(),
                last,
            }),
        })
    }

    /// The upstream's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Whether the servers take a bounded number of requests at a time.
    pub fn is_bounded(&self) -> bool {
        self.terms.max_in_flight > 0
    }

    /// How many servers there are.
    pub fn len(&self) -> usize {
        self.lock().servers.len()
    }

    /// Whether there is no server.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// A permit for a server, at once or after waiting in line. A future that is dropped leaves the line.
    ///
    /// # Errors
    /// [`UpstreamError::QueueFull`] at once; `QueueTimeout` or `Deadline` when no server became free in time; `NoServer` when
    /// all are drained.
    pub async fn acquire(
        self: &Arc<Self>,
        deadline: Deadline,
        avoid: Option<usize>,
    ) -> Result<Permit, UpstreamError> {
        let (place, receiver) = {
            let mut state = self.lock();
            if state.servers.iter().all(|server| server.weight == 0) {
                return Err(UpstreamError::NoServer {
                    upstream: self.name.clone(),
                });
            }
            if state.queue.is_empty()
                && let Some(permit) = self.take(&mut state, avoid)
            {
                return Ok(permit);
            }
            if state.queue.len() >= self.queue_length {
                return Err(UpstreamError::QueueFull {
                    upstream: self.name.clone(),
                    length: state.queue.len(),
                });
            }
            state.queue.join()
        };
        let waiting = Waiting { pool: self, place };
        waiting.wait(receiver, deadline).await
    }

    /// The connection to a server failed: it is out for a while.
    pub fn connection_failed(&self, server: usize, reason: &str) {
        let mut state = self.lock();
        let standing = &mut state.servers[server];
        let was_down = standing.down_until().is_some();
        let out = standing.connection_failed(Instant::now());
        let (name, address) = (&self.name, standing.address.to_string());
        if was_down {
            tracing::debug!(upstream = %name, server = %address, seconds = out.as_secs(), reason, "server still down");
        } else {
            tracing::warn!(upstream = %name, server = %address, seconds = out.as_secs(), reason, "server down");
        }
    }

    /// A server took a connection.
    pub fn connection_made(&self, server: usize) {
        let mut state = self.lock();
        let standing = &mut state.servers[server];
        if standing.connection_made() {
            tracing::info!(upstream = %self.name, server = %standing.address, "server active again");
        }
    }

    /// What the pool is at now.
    pub fn status(&self) -> PoolStatus {
        let now = Instant::now();
        let state = self.lock();
        let servers = state.servers.iter().map(|server| ServerStatus {
            address: server.address.to_string(),
            weight: server.weight,
            state: server.state(now),
            in_flight: server.in_flight,
            served: server.served,
        });
        PoolStatus {
            name: self.name.clone(),
            servers: servers.collect(),
            queued: state.queue.len(),
        }
    }

    /// Takes a free server for whoever is next.
    fn take(self: &Arc<Self>, state: &mut State, avoid: Option<usize>) -> Option<Permit> {
        let terms = Terms {
            last: state.last,
            avoid,
            ..self.terms
        };
        let server = balance::choose(&mut state.servers, terms, Instant::now())?;
        state.last = server;
        let standing = &mut state.servers[server];
        standing.in_flight += 1;
        standing.served += 1;
        Some(Permit {
            pool: Arc::clone(self),
            server,
            address: standing.address.clone(),
        })
    }

    /// Lets in from the line who fits. Permits are handed over outside the lock: one whose receiver has left drops there.
    fn admit(self: &Arc<Self>) {
        loop {
            let (sender, permit) = {
                let mut state = self.lock();
                if state.queue.is_empty() {
                    return;
                }
                let Some(permit) = self.take(&mut state, None) else {
                    return;
                };
                (state.queue.pop(), permit)
            };
            if let Some(sender) = sender {
                // Its drop, if it was refused, admits the next one.
                drop(sender.send(permit));
            }
        }
    }

    /// When the first server that is out comes back.
    fn next_return(&self) -> Option<Instant> {
        let now = Instant::now();
        self.lock()
            .servers
            .iter()
            .filter_map(Standing::down_until)
            .filter(|until| *until > now)
            .min()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // The state is numbers that are changed together; a panic while it is locked leaves them whole.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Permit {
    /// The server's place in the pool.
    pub fn server(&self) -> usize {
        self.server
    }

    /// Where it listens.
    pub fn address(&self) -> &ServerAddress {
        &self.address
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        {
            let mut state = self.pool.lock();
            let standing = &mut state.servers[self.server];
            standing.in_flight = standing.in_flight.saturating_sub(1);
            if state.queue.is_empty() {
                return;
            }
        }
        self.pool.admit();
    }
}

/// Somebody in line; leaves it when dropped.
struct Waiting<'a> {
    pool: &'a Arc<Pool>,
    place: Place,
}

impl Waiting<'_> {
    async fn wait(
        self,
        mut receiver: oneshot::Receiver<Permit>,
        deadline: Deadline,
    ) -> Result<Permit, UpstreamError> {
        let began = Instant::now();
        let patience = deadline.within(self.pool.queue_timeout);
        loop {
            let next_return = self.pool.next_return();
            let until = next_return
                .unwrap_or(patience.instant())
                .min(patience.instant());
            tokio::select! {
                biased;
                permit = &mut receiver => {
                    // The sender leaves the queue only together with a permit.
                    return permit.map_err(|_| UpstreamError::NoServer { upstream: self.pool.name.clone() });
                }
                () = tokio::time::sleep_until(until) => {}
            }
            if patience.left() > Duration::ZERO {
                // A server that was out has come back, and nobody gave up a permit to tell.
                self.pool.admit();
            } else if deadline.left() == Duration::ZERO {
                return Err(UpstreamError::Deadline {
                    upstream: self.pool.name.clone(),
                });
            } else {
                return Err(UpstreamError::QueueTimeout {
                    upstream: self.pool.name.clone(),
                    waited: began.elapsed(),
                });
            }
        }
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.pool.lock().queue.leave(self.place);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::ServerEntry;
    use futures::FutureExt;

    fn pool(servers: usize, max_in_flight: usize, queue: usize) -> Arc<Pool> {
        let entries = (0..servers).map(|at| ServerEntry {
            address: ServerAddress::parse(&format!("127.0.0.1:{}", 9000 + at)).expect("an address"),
            weight: 1,
        });
        let config = UpstreamConfig {
            max_in_flight,
            queue,
            ..UpstreamConfig::new(entries.collect())
        };
        Pool::new("app", &config)
    }

    fn soon() -> Deadline {
        Deadline::after(Duration::from_secs(60))
    }

    #[tokio::test(start_paused = true)]
    async fn permits_are_handed_on_in_order_of_arrival() {
        let pool = pool(1, 1, 10);
        let first = pool
            .acquire(soon(), None)
            .await
            .expect("the server is free");
        let mut second = Box::pin(pool.acquire(soon(), None));
        let mut third = Box::pin(pool.acquire(soon(), None));
        assert!(
            second.as_mut().now_or_never().is_none() && third.as_mut().now_or_never().is_none()
        );
        assert_eq!(pool.status().queued, 2);
        drop(first);
        assert!(
            third.as_mut().now_or_never().is_none(),
            "the second is before it"
        );
        let second = second.await.expect("it is its turn");
        drop(second);
        assert!(third.await.is_ok());
    }

    #[tokio::test(start_paused = true)]
    async fn whoever_leaves_the_line_is_passed_over() {
        let pool = pool(1, 1, 10);
        let first = pool
            .acquire(soon(), None)
            .await
            .expect("the server is free");
        let mut second = Box::pin(pool.acquire(soon(), None));
        let mut third = Box::pin(pool.acquire(soon(), None));
        assert!(
            second.as_mut().now_or_never().is_none() && third.as_mut().now_or_never().is_none()
        );
        drop(second);
        assert_eq!(pool.status().queued, 1);
        drop(first);
        assert!(third.await.is_ok());
        assert_eq!(pool.status().servers[0].in_flight, 0);
    }

    #[tokio::test(start_paused = true)]
    async fn a_permit_on_its_way_to_one_who_left_is_not_lost() {
        let pool = pool(1, 1, 10);
        let first = pool
            .acquire(soon(), None)
            .await
            .expect("the server is free");
        let mut second = Box::pin(pool.acquire(soon(), None));
        assert!(second.as_mut().now_or_never().is_none());
        drop(first);
        // It has been sent and not been received.
        drop(second);
        assert_eq!(pool.status().servers[0].in_flight, 0);
        assert!(pool.acquire(soon(), None).await.is_ok());
    }

    #[tokio::test(start_paused = true)]
    async fn the_line_is_bounded_in_length_and_time() {
        let pool = pool(1, 1, 1);
        let _first = pool
            .acquire(soon(), None)
            .await
            .expect("the server is free");
        let mut second = Box::pin(pool.acquire(soon(), None));
        assert!(second.as_mut().now_or_never().is_none());
        let full = pool
            .acquire(soon(), None)
            .await
            .err()
            .expect("there is no room");
        assert!(matches!(full, UpstreamError::QueueFull { length: 1, .. }));
        assert!(matches!(
            second.await,
            Err(UpstreamError::QueueTimeout { .. })
        ));
        let hurried = pool
            .acquire(Deadline::after(Duration::from_millis(5)), None)
            .await;
        assert!(matches!(hurried, Err(UpstreamError::Deadline { .. })));
        assert_eq!(pool.status().queued, 0);
    }

    #[tokio::test(start_paused = true)]
    async fn a_server_that_comes_back_serves_those_who_wait() {
        let pool = pool(2, 1, 10);
        pool.connection_failed(0, "refused");
        let _busy = pool
            .acquire(soon(), None)
            .await
            .expect("the other one is free");
        let waited = pool
            .acquire(soon(), None)
            .await
            .expect("the first comes back");
        assert_eq!(waited.server(), 0);
    }
}
