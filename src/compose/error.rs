//! Why a page could not be composed. A failed fragment is none of these unless `on_error = "fail"`.

use crate::compose::source::FragmentError;
use crate::message::BodyError;

/// Why a page failed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ComposeError {
    /// An include failed, and `on_error = "fail"`: 502.
    #[error("the include at byte {offset} of {document} failed: {error}")]
    Include {
        /// The URL of the document that holds it.
        document: String,
        /// Where its tag starts.
        offset: usize,
        /// Why it failed.
        error: FragmentError,
    },
    /// The page would be larger than so many bytes: 502.
    #[error("the page is larger than {0} bytes")]
    TooLarge(u64),
    /// The page took longer than it may: 504.
    #[error("the page took too long")]
    TooLate,
    /// Evaluation waits for something that nobody will bring: a fault of ours, 500.
    #[error("composition cannot go on")]
    Stuck,
}

impl From<ComposeError> for BodyError {
    fn from(error: ComposeError) -> Self {
        match error {
            ComposeError::TooLarge(limit) => Self::TooLarge(limit),
            ComposeError::TooLate => Self::TooLate,
            other => Self::Ours(other.to_string()),
        }
    }
}
