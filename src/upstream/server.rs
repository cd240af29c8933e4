//! One server of an upstream: who it is, the connections that rest before it, and how it has done so far.
//!
//! It lives as long as anybody speaks with it: a reload takes it over with its connections and figures, and one that left the
//! configuration goes with its last exchange.

use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use crate::config::pattern::ServerAddress;
use crate::upstream::pace::{Pace, Quantiles};
use crate::upstream::resting::Resting;

/// Where one connects to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Targets {
    /// The first of these that takes a connection.
    Sockets(Vec<SocketAddr>),
    /// A Unix socket.
    Unix(PathBuf),
}

/// A server.
pub struct Server {
    address: ServerAddress,
    targets: Targets,
    label: String,
    seed: u64,
    resting: Resting,
    opening: tokio::sync::Mutex<()>,
    suspect: AtomicBool,
    served: AtomicU64,
    errors: AtomicU64,
    pace: Mutex<Pace>,
}

impl Server {
    /// The server at this address. A host name has none before it is resolved, and none can be connected to.
    pub fn new(address: ServerAddress) -> Self {
        let targets = match &address {
            ServerAddress::Socket(socket) => Targets::Sockets(vec![*socket]),
            ServerAddress::Unix(path) => Targets::Unix(path.clone()),
            ServerAddress::Name { .. } => Targets::Sockets(Vec::new()),
        };
        let label = address.to_string();
        Self::called(label, address, targets)
    }

    /// A server that a host name stands for, at the first of these addresses that takes a connection; `alone`: the name stands for no other.
    pub fn resolved(address: ServerAddress, targets: Vec<SocketAddr>, alone: bool) -> Self {
        let label = match targets.first() {
            Some(first) if !alone => format!("{address}/{}", first.ip()),
            _ => address.to_string(),
        };
        Self::called(label, address, Targets::Sockets(targets))
    }

    fn called(label: String, address: ServerAddress, targets: Targets) -> Self {
        Self {
            seed: crate::upstream::affinity::hash(label.as_bytes()),
            address,
            targets,
            label,
            resting: Resting::default(),
            opening: tokio::sync::Mutex::default(),
            suspect: AtomicBool::new(false),
            served: AtomicU64::new(0),
            errors: AtomicU64::new(0),
            pace: Mutex::default(),
        }
    }

    /// As configured: where it listens, or a host name that stands for it and perhaps for others.
    pub fn address(&self) -> &ServerAddress {
        &self.address
    }

    /// Where one connects to.
    pub fn targets(&self) -> &Targets {
        &self.targets
    }

    /// Held by whoever opens a connection that many will share, so that they do not open one each.
    pub fn opening(&self) -> &tokio::sync::Mutex<()> {
        &self.opening
    }

    /// What operators and logs call it: its address, or `name:port/ip` where a host name stands for several servers.
    pub fn label(&self) -> &str {
        &self.label
    }

    /// Whether an operator may mean it by this name.
    pub fn is_called(&self, name: &str) -> bool {
        let configured = || self.address.to_string() == name;
        let socket = || match &self.targets {
            Targets::Sockets(sockets) => sockets.iter().any(|socket| socket.to_string() == name),
            Targets::Unix(_) => false,
        };
        self.label == name || configured() || socket()
    }

    /// Its name as a number that is the same in every process: affinity is computed from it.
    pub fn seed(&self) -> u64 {
        self.seed
    }

    /// Its connections between exchanges.
    pub fn resting(&self) -> &Resting {
        &self.resting
    }

    /// The head of an answer came `now`, so long after its request was sent.
    pub fn answered(&self, after: Duration, now: Instant) {
        self.served.fetch_add(1, Ordering::Relaxed);
        let mut pace = self.pace.lock().unwrap_or_else(PoisonError::into_inner);
        pace.count(after, now);
    }

    /// A request got no answer, or not a whole one, and the server is to blame.
    pub fn failed(&self) {
        self.errors.fetch_add(1, Ordering::Relaxed);
    }

    /// The last connection to it failed, or did not; says whether that was so before.
    pub fn suspect(&self, is: bool) -> bool {
        self.suspect.swap(is, Ordering::Relaxed)
    }

    /// Whether the last connection to it failed.
    pub fn is_suspect(&self) -> bool {
        self.suspect.load(Ordering::Relaxed)
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
