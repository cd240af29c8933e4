//! Why nothing could be fetched.

use crate::message::BodyError;
use crate::upstream::error::UpstreamError;

/// Why there is no response.
#[derive(Debug, Clone, thiserror::Error)]
pub enum FetchError {
    /// The upstream gave none.
    #[error(transparent)]
    Upstream(#[from] UpstreamError),
    /// Its body was cut, stalled, or too large; nothing of it was used.
    #[error("the answer was not complete: {0}")]
    Body(#[from] BodyError),
    /// The request's own time was over while it waited for somebody else's fetch.
    #[error("the request's time was over")]
    Deadline,
}

impl FetchError {
    /// Whether it was a matter of time.
    pub fn is_timeout(&self) -> bool {
        match self {
            Self::Upstream(error) => error.is_timeout(),
            Self::Body(error) => matches!(error, BodyError::Stalled | BodyError::TooLate),
            Self::Deadline => true,
        }
    }

    /// The setting whose bound was hit, if that is what happened.
    pub fn limit(&self) -> Option<&'static str> {
        match self {
            Self::Upstream(error) => error.limit(),
            Self::Body(BodyError::Stalled) => Some("upstreams.body_idle_timeout"),
            Self::Body(_) | Self::Deadline => None,
        }
    }

    /// Whether there is no room now.
    pub fn is_overload(&self) -> bool {
        matches!(self, Self::Upstream(error) if error.is_overload())
    }
}
