//! The instant by which something must be done: made once, handed down, never re-derived.

use std::future::Future;
use std::time::Duration;

use futures::TryFutureExt;
use tokio::time::Instant;

/// An instant by which a request, or a part of it, must be answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Deadline(Instant);

/// The deadline has passed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the deadline has passed")]
pub struct Passed;

impl Deadline {
    /// So long from now.
    pub fn after(duration: Duration) -> Self {
        Self::from(Instant::now(), duration)
    }

    /// So long from `now`.
    pub fn from(now: Instant, duration: Duration) -> Self {
        // A duration that no clock can hold is as good as for ever.
        Self(
            now.checked_add(duration)
                .unwrap_or(now + Duration::from_secs(86_400 * 365)),
        )
    }

    /// The earlier of the two.
    #[must_use]
    pub fn earlier(self, other: Self) -> Self {
        Self(self.0.min(other.0))
    }

    /// The earlier of this and so long from now.
    #[must_use]
    pub fn within(self, duration: Duration) -> Self {
        self.earlier(Self::after(duration))
    }

    /// What is left; zero once it has passed.
    pub fn left(self) -> Duration {
        self.0.saturating_duration_since(Instant::now())
    }

    /// The instant itself.
    pub fn instant(self) -> Instant {
        self.0
    }

    /// What the future gives, if it is done in time; else the future is dropped.
    pub fn bound<F: Future>(self, future: F) -> impl Future<Output = Result<F::Output, Passed>> {
        // Not an `async fn`, which would hold the future twice: as what it was given, and as what it waits for.
        tokio::time::timeout_at(self.0, future).map_err(|_| Passed)
    }
}
