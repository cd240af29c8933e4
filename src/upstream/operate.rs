//! What operators see of a pool and do to it.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use crate::config::UpstreamConfig;
use crate::config::pattern::ServerAddress;
use crate::upstream::error::UpstreamError;
use crate::upstream::members::Order;
use crate::upstream::pace::Quantiles;
use crate::upstream::pool::{Pool, Rules, State};
use crate::upstream::server::Server;
use crate::upstream::standing::{LastProbe, ServerState, Standing};

/// A pool at one moment.
#[derive(Debug, Clone)]
pub struct PoolStatus {
    /// The upstream's name.
    pub name: String,
    /// Its servers in the order of the configuration; then those that left it and still work on something.
    pub servers: Vec<ServerStatus>,
    /// Requests that wait for one of them.
    pub queued: usize,
    /// Requests in flight that one of them takes; 0: no limit.
    pub max_in_flight: usize,
}

/// A server at one moment.
#[derive(Debug, Clone)]
pub struct ServerStatus {
    /// What it is called, and what it may be called in an order: its address as configured.
    pub address: String,
    /// Its share, as configured or as set since.
    pub weight: u32,
    /// Its share now; less than `weight` during a slow start.
    pub effective_weight: f64,
    /// Whether it takes requests.
    pub state: ServerState,
    /// Why it is in that state.
    pub reason: String,
    /// For how long.
    pub since: Duration,
    /// Whether connections and health checks go well, also while it is drained.
    pub healthy: bool,
    /// Requests sent and not finished, health checks among them.
    pub in_flight: usize,
    /// Requests that it answered, ever.
    pub served: u64,
    /// Requests that it failed, ever: no connection, no answer, a broken one.
    pub errors: u64,
    /// From a request to the first byte of its answer, over the last one to two minutes.
    pub times: Option<Quantiles>,
    /// The last health check.
    pub last_probe: Option<LastProbe>,
}

/// An order for a server that is not there.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{upstream} has no server {server}; it has {}", .known.join(", "))]
pub struct UnknownServer {
    /// The upstream's name.
    pub upstream: String,
    /// The server that was asked for.
    pub server: String,
    /// Those that there are.
    pub known: Vec<String>,
}

impl Pool {
    /// What the pool is at now.
    pub fn status(&self) -> PoolStatus {
        let now = Instant::now();
        let state = self.lock();
        let slow_start = state.rules.terms.slow_start;
        let mut servers: Vec<_> = state
            .members
            .iter()
            .map(|standing| ServerStatus::of(standing, slow_start, now))
            .collect();
        let unresolved = state.members.unresolved().into_iter();
        servers.extend(unresolved.map(|(name, resolution)| ServerStatus {
            address: name.to_string(),
            weight: 0,
            effective_weight: 0.0,
            state: ServerState::Down,
            reason: resolution.why_none(),
            since: Duration::ZERO,
            healthy: false,
            in_flight: 0,
            served: 0,
            errors: 0,
            times: None,
            last_probe: None,
        }));
        servers.extend(state.members.leaving().iter().map(|standing| ServerStatus {
            state: ServerState::Draining,
            reason: "left the configuration".to_owned(),
            effective_weight: 0.0,
            ..ServerStatus::of(standing, slow_start, now)
        }));
        PoolStatus {
            name: self.name().to_owned(),
            servers,
            queued: state.queue.len(),
            max_in_flight: state.rules.terms.max_in_flight,
        }
    }

    /// Takes a server out of service: it finishes what it has and gets nothing new, until it is made [`ready`](Self::ready).
    pub fn drain(self: &Arc<Self>, server: &str) -> Result<(), UnknownServer> {
        self.order(server, Order::Drain)
    }

    /// Puts a drained server into service again.
    pub fn ready(self: &Arc<Self>, server: &str) -> Result<(), UnknownServer> {
        self.order(server, Order::Ready)
    }

    /// Gives a server another share, until the configuration names another one; 0 drains it.
    pub fn set_weight(self: &Arc<Self>, server: &str, weight: u32) -> Result<(), UnknownServer> {
        self.order(server, Order::Weight(weight))
    }

    fn order(self: &Arc<Self>, server: &str, order: Order) -> Result<(), UnknownServer> {
        tracing::info!(
            upstream = self.name(),
            server,
            ?order,
            "an operator's order"
        );
        let mut known = true;
        self.change(|state, now| {
            let changes = state.members.named(server, order, now);
            known = changes.is_some();
            changes.unwrap_or_default()
        });
        if known {
            Ok(())
        } else {
            Err(self.unknown(server))
        }
    }

    /// Waits until a server (all that the name stands for) has nothing in flight and gets nothing new.
    pub async fn drained(&self, server: &str) -> Result<(), UnknownServer> {
        let mut changes = self.changes();
        loop {
            changes.borrow_and_update();
            if self.is_drained(server)? {
                return Ok(());
            }
            // The sender is this pool's own.
            let _ = changes.changed().await;
        }
    }

    fn is_drained(&self, server: &str) -> Result<bool, UnknownServer> {
        let named = self.called(server)?;
        let mut state = self.lock();
        let mut standings = named
            .iter()
            .filter_map(|it| state.members.find(it).map(|it| it.state()));
        Ok(standings.all(|it| it == ServerState::Drained))
    }

    /// The servers that the name stands for.
    pub fn called(&self, server: &str) -> Result<Vec<Arc<Server>>, UnknownServer> {
        let mut servers = self.servers();
        servers.retain(|it| it.is_called(server));
        if servers.is_empty() {
            return Err(self.unknown(server));
        }
        Ok(servers)
    }

    fn unknown(&self, server: &str) -> UnknownServer {
        UnknownServer {
            upstream: self.name().to_owned(),
            server: server.to_owned(),
            known: self.lock().members.known(),
        }
    }

    /// Goes on by a new configuration: servers that stay keep what they have in flight and their states, those that are gone finish
    /// what they have.
    pub fn configure(self: &Arc<Self>, config: &UpstreamConfig) {
        self.change(|state: &mut State, now| {
            state.rules = Rules::of(config);
            let mut changes = state.members.configure(&config.servers, now);
            if state.rules.health.is_none() {
                let unwatched = state.members.iter_mut().filter_map(|it| it.unwatched(now));
                changes.extend(unwatched);
            }
            changes
        });
        self.rearranged();
    }

    /// The names that should be asked for now.
    pub(super) fn names_due(&self, interval: Duration) -> Vec<ServerAddress> {
        self.lock().members.names_due(interval, Instant::now())
    }

    /// Whether it is not yet known what one of the names stands for.
    pub(super) fn has_unresolved(&self) -> bool {
        !self.lock().members.unresolved().is_empty()
    }

    /// A look-up has ended. Where it failed, the servers found before stay.
    pub(super) fn resolved(
        self: &Arc<Self>,
        name: &ServerAddress,
        found: Result<Vec<Vec<SocketAddr>>, String>,
    ) {
        if let Err(reason) = &found {
            tracing::warn!(upstream = self.name(), %name, reason, "a name cannot be resolved");
        }
        let mut moved = false;
        self.change(|state, now| {
            let changes = state.members.resolved(name, found, now);
            moved = changes.is_some();
            changes.unwrap_or_default()
        });
        if moved {
            tracing::info!(upstream = self.name(), %name, servers = self.labels(name), "a name was resolved");
            self.rearranged();
        }
    }

    fn labels(&self, name: &ServerAddress) -> String {
        let state = self.lock();
        let servers = state.members.iter().map(|it| &it.server);
        let labels: Vec<_> = servers
            .filter(|it| it.address() == name)
            .map(|it| format!("{:?}", it.targets()))
            .collect();
        labels.join(", ")
    }

    /// That there is a server, or why none is known.
    pub(super) fn some_server(&self) -> Result<(), UpstreamError> {
        let state = self.lock();
        match state.members.unresolved().into_iter().next() {
            Some((name, resolution)) if state.members.is_empty() => Err(UpstreamError::Connect {
                server: name.to_string(),
                reason: resolution.why_none(),
            }),
            _ => Ok(()),
        }
    }
}

impl ServerStatus {
    fn of(standing: &Standing, slow_start: Duration, now: Instant) -> Self {
        let (reason, since) = standing.reason();
        let server = &standing.server;
        Self {
            address: server.label().to_owned(),
            weight: standing.weight(),
            effective_weight: standing.share(now, slow_start) as f64 / 1000.0,
            state: standing.state(),
            reason: reason.to_owned(),
            since: now.saturating_duration_since(since),
            healthy: !standing.is_down(),
            in_flight: standing.in_flight,
            served: server.served(),
            errors: server.errors(),
            times: server.quantiles(),
            last_probe: standing.last_probe().cloned(),
        }
    }
}
