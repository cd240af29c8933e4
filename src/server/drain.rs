//! Stop accepting, let requests in flight end, then leave.

use std::future::Future;
use std::time::Duration;

use tokio::sync::watch;
use tokio_util::task::TaskTracker;

/// Tells when draining starts, and tracks the connections that must end before the process may.
#[derive(Clone)]
pub struct Drain {
    started: watch::Sender<bool>,
    connections: TaskTracker,
}

impl Drain {
    /// Not started.
    pub fn new() -> Self {
        Self {
            started: watch::Sender::new(false),
            connections: TaskTracker::new(),
        }
    }

    /// From now on nothing new is accepted.
    pub fn start(&self) {
        self.started.send_replace(true);
    }

    /// Whether it has started.
    pub fn is_started(&self) -> bool {
        *self.started.borrow()
    }

    /// Returns once it has started.
    pub async fn started(&self) {
        let mut receiver = self.started.subscribe();
        // The sender lives as long as `self`, so this ends only when the value is true.
        let _ = receiver.wait_for(|started| *started).await;
    }

    /// Runs a connection as a task of its own.
    pub fn track(&self, connection: impl Future<Output = ()> + Send + 'static) {
        self.connections.spawn(connection);
    }

    /// How many connections are open.
    pub fn open(&self) -> usize {
        self.connections.len()
    }

    /// Waits for all connections to end, at most so long; says whether they did.
    pub async fn finished(&self, within: Duration) -> bool {
        self.connections.close();
        tokio::time::timeout(within, self.connections.wait())
            .await
            .is_ok()
    }
}

impl Default for Drain {
    fn default() -> Self {
        Self::new()
    }
}
