//! One server of an upstream: who it is, the connections that rest before it, and how it has done so far.
//!
//! It lives as long as anybody speaks with it: a reload takes it over with its connections and figures, and one that left the
//! configuration goes with its last exchange.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use crate::config::pattern::ServerAddress;
use crate::upstream::connection::Resting;
use crate::upstream::pace::{Pace, Quantiles};

/// A server.
pub struct Server {
    address: ServerAddress,
    label: String,
    seed: u64,
    resting: Resting,
    served: AtomicU64,
    errors: AtomicU64,
    pace: Mutex<Pace>,
}

impl Server {
    /// The server at this address.
    pub fn new(address: ServerAddress) -> Self {
        let label = address.to_string();
        Self {
            seed: crate::upstream::affinity::hash(label.as_bytes()),
            address,
            label,
            resting: Resting::default(),
            served: AtomicU64::new(0),
            errors: AtomicU64::new(0),
            pace: Mutex::default(),
        }
    }

    /// Where it listens.
    pub fn address(&self) -> &ServerAddress {
        &self.address
    }

    /// What operators and logs call it.
    pub fn label(&self) -> &str {
        &self.label
    }

    /// Whether an operator may mean it by this name.
    pub fn is_called(&self, name: &str) -> bool {
        self.label == name
    }

    /// Its name as a number that is the same in every process: affinity is computed from it.
    pub fn seed(&self) -> u64 {
        self.seed
    }

    /// Its connections between exchanges.
    pub fn resting(&self) -> &Resting {
        &self.resting
    }

    /// The head of an answer came, so long after its request was sent.
    pub fn answered(&self, after: Duration) {
        self.served.fetch_add(1, Ordering::Relaxed);
        let mut pace = self.pace.lock().unwrap_or_else(PoisonError::into_inner);
        pace.count(after, Instant::now());
    }

    /// A request got no answer, or not a whole one, and the server is to blame.
    pub fn failed(&self) {
        self.errors.fetch_add(1, Ordering::Relaxed);
    }

    /// Requests that it answered, ever; health checks are not among them.
    pub fn served(&self) -> u64 {
        self.served.load(Ordering::Relaxed)
    }

    /// Requests that it failed, ever.
    pub fn errors(&self) -> u64 {
        self.errors.load(Ordering::Relaxed)
    }

    /// How fast it answered lately.
    pub fn quantiles(&self) -> Option<Quantiles> {
        let mut pace = self.pace.lock().unwrap_or_else(PoisonError::into_inner);
        pace.quantiles(Instant::now())
    }
}

impl fmt::Debug for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Server").field(&self.label).finish()
    }
}

impl fmt::Display for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.label)
    }
}
