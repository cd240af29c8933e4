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
    /// It answered 304 to a request that had no conditions.
    #[error("304 Not Modified, and nobody had asked whether it was")]
    NotModified,
    /// What is in store must not be used without the upstream's word (RFC 9111 5.2.2.2), and there is none.
    #[error("what is stored must be revalidated, and could not be: {0}")]
    NotRevalidated(Box<FetchError>),
    /// The request wanted it from the store or not at all, and it is not there (RFC 9111 5.2.1.7).
    #[error("only-if-cached, and it is not")]
    NotCached,
    /// The request's own time was over while it waited for somebody else's fetch.
    #[error("the request's time was over")]
    Deadline,
}

impl FetchError {
    /// Whether it was a matter of time, or is to be told so (504).
    pub fn is_timeout(&self) -> bool {
        match self {
            Self::Upstream(error) => error.is_timeout(),
            Self::Body(error) => matches!(error, BodyError::Stalled | BodyError::TooLate),
            Self::NotModified => false,
            Self::NotRevalidated(_) | Self::NotCached | Self::Deadline => true,
        }
    }

    /// The setting whose bound was hit, if that is what happened.
    pub fn limit(&self) -> Option<&'static str> {
        match self {
            Self::Upstream(error) => error.limit(),
            Self::Body(BodyError::Stalled) => Some("upstreams.body_idle_timeout"),
            Self::NotRevalidated(error) => error.limit(),
            Self::Body(_) | Self::NotModified | Self::NotCached | Self::Deadline => None,
        }
    }

    /// Whether there is no room now.
    pub fn is_overload(&self) -> bool {
        matches!(self, Self::Upstream(error) if error.is_overload())
    }

    /// Whether it is the client's own doing, which no stored answer makes good.
    pub fn is_clients(&self) -> bool {
        matches!(self, Self::Upstream(UpstreamError::RequestBody(_)))
    }
}
