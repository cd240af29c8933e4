//! What the house can say of itself at this moment: its upstreams, its store, whether it takes traffic.
//!
//! The rooms that own these facts stand above this one; whoever wires the house implements [`Status`] and gives it to the
//! [`Observer`](super::Observer). It is asked at each scrape and by the admin listener, never on the path of a request.

use serde::{Serialize, Serializer};

use crate::observe::text::{Moment, Seconds};

/// A view of the running house. Answers must be quick: they are asked for on a worker of the runtime.
pub trait Status: Send + Sync + 'static {
    /// The upstreams in the order in which an operator should read them.
    fn upstreams(&self) -> Vec<UpstreamStatus>;

    /// The store.
    fn cache(&self) -> CacheStatus;

    /// Open client connections, all main listeners together.
    fn connections(&self) -> usize;

    /// Whether new traffic is welcome; not while draining.
    fn ready(&self) -> bool;
}

/// A named group of servers and who waits for them.
#[derive(Debug, Clone, PartialEq)]
pub struct UpstreamStatus {
    /// Its name in the configuration.
    pub name: String,
    /// Its servers in the order of the configuration.
    pub servers: Vec<ServerStatus>,
    /// Requests that wait for a server.
    pub queued: usize,
    /// Requests in flight that one server takes; 0: no limit.
    pub max_in_flight: usize,
}

impl UpstreamStatus {
    /// Requests sent and not finished, all servers together.
    pub fn in_flight(&self) -> usize {
        self.servers.iter().map(|server| server.in_flight).sum()
    }

    /// Servers with at least one request in flight.
    pub fn working(&self) -> usize {
        self.servers
            .iter()
            .filter(|server| server.in_flight > 0)
            .count()
    }

    /// Active servers with nothing to do.
    pub fn waiting(&self) -> usize {
        self.servers
            .iter()
            .filter(|server| server.state == ServerState::Active && server.in_flight == 0)
            .count()
    }

    /// Servers in this state.
    pub fn servers_in(&self, state: ServerState) -> usize {
        self.servers
            .iter()
            .filter(|server| server.state == state)
            .count()
    }
}

/// One server of an upstream.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ServerStatus {
    /// Where it listens.
    pub address: String,
    /// Its share.
    pub weight: u32,
    /// Whether it takes requests.
    pub state: ServerState,
    /// Requests sent to it and not finished.
    pub in_flight: usize,
    /// Requests that it answered since the start.
    pub served: u64,
    /// Its share now: less than `weight` during a slow start.
    pub effective_weight: f64,
    /// Why it is in its state.
    pub reason: String,
    /// For how long it has been.
    pub since_seconds: Seconds,
    /// Whether connections and health checks go well, also while it is drained.
    pub healthy: bool,
    /// Requests that it failed since the start.
    pub errors: u64,
    /// From a request to the first byte of its answer: half of them, over the last one to two minutes.
    pub p50_seconds: Option<Seconds>,
    /// All but one in a hundred of them.
    pub p99_seconds: Option<Seconds>,
    /// The last health check.
    pub last_probe: Option<ProbeStatus>,
}

/// The last health check of a server.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ProbeStatus {
    /// When it ended.
    pub time: Moment,
    /// Whether it was a good one.
    pub good: bool,
    /// What came of it.
    pub outcome: String,
}

impl Default for ServerStatus {
    fn default() -> Self {
        Self {
            address: String::new(),
            weight: 1,
            state: ServerState::Active,
            in_flight: 0,
            served: 0,
            effective_weight: 1.0,
            reason: "configured".to_owned(),
            since_seconds: Seconds::default(),
            healthy: true,
            errors: 0,
            p50_seconds: None,
            p99_seconds: None,
            last_probe: None,
        }
    }
}

/// Whether a server takes requests.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ServerState {
    /// Takes new requests.
    Active,
    /// Finishes its own only.
    Draining,
    /// Takes none and has none.
    Drained,
    /// Takes none, because connections or health checks failed.
    Down,
}

impl ServerState {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Active, Self::Draining, Self::Drained, Self::Down];

    /// The word for it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::Draining => "draining",
            Self::Drained => "drained",
            Self::Down => "down",
        }
    }
}

impl Serialize for ServerState {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

/// The store as it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct CacheStatus {
    /// What the stored objects weigh, in bytes.
    pub bytes: u64,
    /// How many there are.
    pub objects: u64,
    /// How many had to leave for others since the start.
    pub evictions: u64,
}
