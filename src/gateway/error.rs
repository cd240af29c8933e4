//! All that can end a request.

use http::StatusCode;

use crate::fetch::error::FetchError;
use crate::message::BodyError;
use crate::message::target::TargetError;
use crate::upstream::error::UpstreamError;

/// Why a request could not be answered with what it asked for.
#[derive(Debug, thiserror::Error)]
pub enum GatewayError {
    /// The target is refused.
    #[error("refused: {0}")]
    Target(#[from] TargetError),
    /// No route for its host and path.
    #[error("no route")]
    NoRoute,
    /// The client's body broke off, stalled or was too large.
    #[error("the request's body: {0}")]
    RequestBody(BodyError),
    /// The skeleton could not be fetched.
    #[error("{0}")]
    Fetch(#[from] FetchError),
    /// The skeleton is a document and could not be read: cut, too large, or not what its coding says.
    #[error("the document: {0}")]
    Document(String),
    /// The memory for documents is used up.
    #[error("compose.memory is used up")]
    Memory,
    /// The page's time was over.
    #[error("the page's time was over")]
    Deadline,
    /// A part that must not fail has failed.
    #[error("composing: {0}")]
    Compose(String),
}

impl GatewayError {
    /// The status that the client sees.
    pub fn status(&self) -> StatusCode {
        match self {
            Self::Target(_) => StatusCode::BAD_REQUEST,
            Self::NoRoute => StatusCode::NOT_FOUND,
            Self::RequestBody(error)
            | Self::Fetch(FetchError::Upstream(UpstreamError::RequestBody(error))) => match error {
                BodyError::TooLarge(_) => StatusCode::PAYLOAD_TOO_LARGE,
                BodyError::Stalled | BodyError::TooLate => StatusCode::REQUEST_TIMEOUT,
                _ => StatusCode::BAD_REQUEST,
            },
            Self::Fetch(error) if error.is_overload() => StatusCode::SERVICE_UNAVAILABLE,
            Self::Fetch(error) if error.is_timeout() => StatusCode::GATEWAY_TIMEOUT,
            Self::Memory => StatusCode::SERVICE_UNAVAILABLE,
            Self::Deadline => StatusCode::GATEWAY_TIMEOUT,
            Self::Fetch(_) | Self::Document(_) | Self::Compose(_) => StatusCode::BAD_GATEWAY,
        }
    }

    /// Whether it was a matter of time.
    pub fn is_timeout(&self) -> bool {
        self.status() == StatusCode::GATEWAY_TIMEOUT
    }

    /// The setting whose bound was hit, if that is what happened.
    pub fn limit(&self) -> Option<&'static str> {
        match self {
            Self::Memory => Some("compose.memory"),
            Self::Deadline => Some("compose.page_timeout"),
            Self::Fetch(error) => error.limit(),
            _ => None,
        }
    }

    /// Whether it is the client's doing, and so no line for the operator.
    pub fn is_clients(&self) -> bool {
        self.status().is_client_error()
    }
}

impl From<UpstreamError> for GatewayError {
    fn from(error: UpstreamError) -> Self {
        Self::Fetch(FetchError::Upstream(error))
    }
}
