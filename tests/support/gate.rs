//! A gate: an origin waits at it until the test opens it, so that order is made by events.

use std::sync::Arc;

use tokio::sync::watch;

/// Closed at first; once open it stays open. Clones are the same gate.
#[derive(Clone)]
pub struct Gate(Arc<watch::Sender<bool>>);

impl Gate {
    /// A closed gate.
    pub fn new() -> Self {
        Self(Arc::new(watch::Sender::new(false)))
    }

    /// Lets everybody through, from now on.
    pub fn open(&self) {
        self.0.send_replace(true);
    }

    /// Waits until it is open.
    pub async fn passed(&self) {
        let mut open = self.0.subscribe();
        // The sender lives as long as `self`, so the wait cannot end with an error.
        let _ = open.wait_for(|open| *open).await;
    }
}
