//! Why an upstream gave no answer.

use std::time::Duration;

/// Why there is no answer; `server` is the address as configured.
#[derive(Debug, Clone, thiserror::Error)]
pub enum UpstreamError {
    /// As many requests wait as may.
    #[error("{upstream}: the queue is full ({length} waiting)")]
    QueueFull {
        /// The upstream's name.
        upstream: String,
        /// How many wait.
        length: usize,
    },
    /// No server became free in time.
    #[error("{upstream}: no server became free in {} ms", .waited.as_millis())]
    QueueTimeout {
        /// The upstream's name.
        upstream: String,
        /// How long it waited.
        waited: Duration,
    },
    /// All servers are drained.
    #[error("{upstream}: no server takes requests")]
    NoServer {
        /// The upstream's name.
        upstream: String,
    },
    /// No connection came about; nothing was sent.
    #[error("{server}: cannot connect: {reason}")]
    Connect {
        /// The server.
        server: String,
        /// What the system says.
        reason: String,
    },
    /// No connection can be opened for want of descriptors or ports of our own; nothing was sent.
    #[error("no connection to {server} can be opened: {reason}")]
    Exhausted {
        /// The server.
        server: String,
        /// What the system says.
        reason: String,
    },
    /// The head of the answer did not come in time.
    #[error("{server}: no answer within {} ms", .waited.as_millis())]
    FirstByte {
        /// The server.
        server: String,
        /// How long it was waited for.
        waited: Duration,
    },
    /// The connection ended before the head of the answer.
    #[error("{server}: the connection ended before an answer: {reason}")]
    Closed {
        /// The server.
        server: String,
        /// What hyper says.
        reason: String,
    },
    /// The answer is no HTTP, or could be read in two ways.
    #[error("{server}: {reason}")]
    Malformed {
        /// The server.
        server: String,
        /// What is wrong with it.
        reason: String,
    },
    /// The body of the request ended before its end: the client is to blame.
    #[error("the request's body was not complete: {0}")]
    RequestBody(crate::message::BodyError),
    /// The request's own deadline passed.
    #[error("{upstream}: the request's time was over")]
    Deadline {
        /// The upstream's name.
        upstream: String,
    },
}

impl UpstreamError {
    /// Whether no byte of the request can have reached an application.
    pub fn nothing_was_sent(&self) -> bool {
        matches!(self, Self::Connect { .. } | Self::Exhausted { .. })
    }

    /// Whether a server is to blame.
    pub fn is_servers(&self) -> bool {
        matches!(
            self,
            Self::Connect { .. }
                | Self::FirstByte { .. }
                | Self::Closed { .. }
                | Self::Malformed { .. }
        )
    }

    /// Whether an idempotent request may be sent once more: nothing of an answer came.
    pub fn may_repeat(&self) -> bool {
        matches!(
            self,
            Self::Connect { .. } | Self::FirstByte { .. } | Self::Closed { .. }
        )
    }

    /// The bound that was hit, if that is what happened: a setting of the upstream, or the system's.
    pub fn limit(&self) -> Option<&'static str> {
        match self {
            Self::QueueFull { .. } => Some("upstreams.queue"),
            Self::QueueTimeout { .. } => Some("upstreams.queue_timeout"),
            Self::FirstByte { .. } => Some("upstreams.first_byte_timeout"),
            Self::Exhausted { .. } => Some("descriptors"),
            _ => None,
        }
    }

    /// Whether it was a matter of time (504), not of a broken answer (502).
    pub fn is_timeout(&self) -> bool {
        matches!(self, Self::FirstByte { .. } | Self::Deadline { .. })
    }

    /// Whether there is no room now, at the upstream or here (503).
    pub fn is_overload(&self) -> bool {
        matches!(
            self,
            Self::QueueFull { .. }
                | Self::QueueTimeout { .. }
                | Self::NoServer { .. }
                | Self::Exhausted { .. }
        )
    }
}
