//! One server of an upstream as the pool sees it: how much it does, and whether it takes more.

use std::time::Duration;

use tokio::time::Instant;

use crate::config::pattern::ServerAddress;

/// The longest time that a server stays out after connections to it have failed. A server that recovers is back within it.
const LONGEST_DOWN: Duration = Duration::from_secs(10);

/// What the pool knows of a server.
#[derive(Debug, Clone)]
pub struct Standing {
    /// Where it listens.
    pub address: ServerAddress,
    /// Its share; 0: takes no new requests.
    pub weight: u32,
    /// Requests sent and not finished.
    pub in_flight: usize,
    /// Requests that were given to it, ever.
    pub served: u64,
    /// Connections in a row that failed.
    failures: u32,
    /// Out until then.
    down_until: Option<Instant>,
    /// What smooth weighted round-robin owes it.
    pub(super) credit: i64,
}

/// Whether a server takes requests.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ServerState {
    /// Takes new requests.
    Active,
    /// Weight 0: finishes its own only.
    Draining,
    /// Connections to it have just failed.
    Down,
}

impl ServerState {
    /// The word for logs and metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::Draining => "draining",
            Self::Down => "down",
        }
    }
}

impl Standing {
    /// A server that has done nothing yet.
    pub fn new(address: ServerAddress, weight: u32) -> Self {
        Self {
            address,
            weight,
            in_flight: 0,
            served: 0,
            failures: 0,
            down_until: None,
            credit: 0,
        }
    }

    /// What it is at `now`.
    pub fn state(&self, now: Instant) -> ServerState {
        if self.weight == 0 {
            ServerState::Draining
        } else if self.down_until.is_some_and(|until| until > now) {
            ServerState::Down
        } else {
            ServerState::Active
        }
    }

    /// When it comes back by itself, if it is out.
    pub fn down_until(&self) -> Option<Instant> {
        self.down_until
    }

    /// A connection failed: it is out for 1 s, twice as long each further time, at most `LONGEST_DOWN`. Returns for how long.
    pub fn connection_failed(&mut self, now: Instant) -> Duration {
        let out = Duration::from_secs(1 << self.failures.min(4)).min(LONGEST_DOWN);
        self.failures += 1;
        self.down_until = Some(now + out);
        out
    }

    /// A connection was made; says whether it had been out.
    pub fn connection_made(&mut self) -> bool {
        self.failures = 0;
        self.down_until.take().is_some()
    }
}
