//! Active health checks: each server is asked for a path from time to time; so many bad answers in a row take it out, so many good ones bring
//! it back.
//!
//! A check is a request like others: it has a permit, on a server that takes one at a time it waits until that is idle, and it goes on a kept
//! connection where there is one, since a server with one thread may be listening to that alone.

use std::sync::{Arc, Weak};
use std::time::{Duration, SystemTime};

use http::header::{HOST, USER_AGENT};
use http::{HeaderValue, Uri};
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::config::HealthConfig;
use crate::message::deadline::Deadline;
use crate::message::{Body, Request};
use crate::observe::span::Notes;
use crate::upstream::connection::Connection;
use crate::upstream::operate::UnknownServer;
use crate::upstream::server::Server;
use crate::upstream::standing::LastProbe;
use crate::upstream::{Again, Outgoing, Upstream};

/// A server that is down is asked so often that all the good answers that bring it back fit into this.
const BACK_WITHIN: Duration = Duration::from_secs(10);

/// A body of a health check is read up to so many bytes; a longer one costs the connection.
const LONGEST_BODY: usize = 64 * 1024;

/// Why a server cannot be called well.
#[derive(Debug, Clone, thiserror::Error)]
pub enum CheckError {
    /// There is no such server.
    #[error(transparent)]
    Unknown(#[from] UnknownServer),
    /// It does not do well.
    #[error("{server}: {reason}")]
    Failed {
        /// Which.
        server: String,
        /// What came of it.
        reason: String,
    },
}

/// Watches the servers of an upstream until that is gone; aborted with its owner, the pool.
pub(super) async fn watch(upstream: Weak<Upstream>) {
    let Some(mut changes) = upstream.upgrade().map(|it| it.pool.changes()) else {
        return;
    };
    let mut watched: Vec<(Arc<Server>, tokio::task::AbortHandle)> = Vec::new();
    let mut tasks = JoinSet::new();
    loop {
        let servers = match upstream.upgrade() {
            Some(upstream) => {
                let soon = Deadline::after(upstream.config.connect_timeout);
                // Names that cannot be resolved are told by those who do it.
                let _ = upstream.names.ensure(&upstream.pool, soon).await;
                changes.borrow_and_update();
                upstream.pool.servers()
            }
            None => return,
        };
        watched.retain(|(server, task)| {
            let stays = servers.iter().any(|it| Arc::ptr_eq(it, server));
            if !stays {
                task.abort();
            }
            stays
        });
        for server in servers {
            if !watched.iter().any(|(it, _)| Arc::ptr_eq(it, &server)) {
                let task = tasks.spawn(watch_one(upstream.clone(), Arc::clone(&server)));
                watched.push((server, task));
            }
        }
        tokio::select! {
            changed = changes.changed() => if changed.is_err() { return },
            // Ended ones are those that were aborted.
            Some(_) = tasks.join_next() => {}
            // Names without requests are asked for too.
            () = tokio::time::sleep(BACK_WITHIN) => {}
        }
    }
}

async fn watch_one(upstream: Weak<Upstream>, server: Arc<Server>) {
    loop {
        let wait = {
            let Some(upstream) = upstream.upgrade() else {
                return;
            };
            let Some(health) = &upstream.config.health else {
                return;
            };
            if let Some(probe) = upstream.probe(&server, health).await {
                upstream.pool.probed(&server, probe);
            }
            pause(health, upstream.pool.is_well(&server))
        };
        tokio::time::sleep(wait).await;
    }
}

/// How long until a server is asked again.
fn pause(health: &HealthConfig, well: bool) -> Duration {
    if well {
        health.interval
    } else {
        health.interval.min(BACK_WITHIN / health.rise.max(1))
    }
}

impl Upstream {
    /// Begins to watch the servers, where that is configured; whoever watched them by the configuration of before ends.
    pub(super) fn watch(self: &Arc<Self>) {
        let runtime = tokio::runtime::Handle::try_current().ok();
        let wanted = self.config.health.as_ref().and(runtime);
        let task = wanted.map(|runtime| runtime.spawn(watch(Arc::downgrade(self))));
        self.pool.watched_by(task.map(|task| task.abort_handle()));
    }

    /// Asks the servers of that name whether they do well, now: by the configured health check, or else by connecting. Drained ones too.
    ///
    /// # Errors
    /// [`CheckError`] names the first that does not.
    pub async fn check(&self, name: &str) -> Result<(), CheckError> {
        for server in self.pool.called(name)? {
            let failed = |reason| CheckError::Failed {
                server: server.label().to_owned(),
                reason,
            };
            if let Some(health) = &self.config.health {
                let probe = self.probe(&server, health).await;
                let probe = probe.ok_or_else(|| failed("busy".to_owned()))?;
                let (good, outcome) = (probe.good, probe.outcome.clone());
                self.pool.probed(&server, probe);
                if !good {
                    return Err(failed(outcome));
                }
            } else {
                let deadline = Deadline::after(self.config.connect_timeout);
                let permit = self.pool.acquire_at(&server, deadline).await;
                let permit = permit.ok_or_else(|| failed("busy".to_owned()))?;
                let connection = self.connect(&server, deadline).await;
                let connection = connection.map_err(|error| failed(error.to_string()))?;
                if let Connection::Alone(alone) = connection
                    && self.config.keep_alive
                {
                    server.resting().rest(alone);
                }
                drop(permit);
            }
        }
        Ok(())
    }

    /// One health check; nothing where there was no room at the server in time, which says nothing about its health.
    async fn probe(&self, server: &Arc<Server>, health: &HealthConfig) -> Option<LastProbe> {
        let room = Deadline::after(health.interval.max(health.timeout));
        let permit = self.pool.acquire_at(server, room).await?;
        let began = Instant::now();
        let deadline = Deadline::after(health.timeout);
        let mut outgoing = Outgoing::new(request(server, health).into());
        let notes = Notes::unobserved();
        let asked = self.attempt(permit, Again::Here(server), &mut outgoing, deadline, &notes);
        let answered = match deadline.bound(asked).await {
            Err(_) => Err(format!(
                "no answer within {} ms",
                health.timeout.as_millis()
            )),
            Ok(Err(error)) => Err(error.to_string()),
            Ok(Ok(tried)) => {
                let status = tried.response.status();
                let body = tried.response.into_body().collect(LONGEST_BODY);
                match deadline.bound(body).await {
                    Err(_) => Err(format!("{status}, and no end of its body")),
                    Ok(Err(error)) if !matches!(error, crate::message::BodyError::TooLarge(_)) => {
                        Err(format!("{status}, {error}"))
                    }
                    Ok(_) => Ok(status),
                }
            }
        };
        let took = began.elapsed().as_millis();
        let (good, outcome) = match answered {
            Ok(status) => (
                status.is_success() || status.is_redirection(),
                format!("{} in {took} ms", status.as_u16()),
            ),
            Err(reason) => (false, reason),
        };
        Some(LastProbe {
            at: SystemTime::now(),
            good,
            outcome,
        })
    }
}

fn request(server: &Server, health: &HealthConfig) -> Request {
    let mut request = Request::new(Body::empty());
    // The configuration was checked: it is the path of a URL.
    *request.uri_mut() = Uri::try_from(health.path.as_str()).unwrap_or_default();
    let host = HeaderValue::try_from(server.address().to_string());
    let host = host.ok().filter(|host| !host.as_bytes().contains(&b'/'));
    let headers = request.headers_mut();
    headers.insert(HOST, host.unwrap_or(HeaderValue::from_static("localhost")));
    headers.insert(
        USER_AGENT,
        HeaderValue::from_static("marquetry (health check)"),
    );
    request
}
