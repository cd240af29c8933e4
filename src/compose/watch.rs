//! What compose tells of a page while it composes it: facts, for whoever counts or draws them.
//!
//! The log lines are written by compose itself; a watcher never sees a fragment's bytes or a cookie's value.

use std::fmt::Display;

use crate::compose::source::{FragmentError, Place};
use crate::compose::url::Url;

/// Hears what happens on one page.
pub trait Watcher: Send + Sync + 'static {
    /// A tag, directive or expression could not be carried out as it is written. Already logged.
    fn template_error(&self, place: &Place, error: &dyn Display) {
        let _ = (place, error);
    }

    /// An include starts to be fetched, or its `alt` does.
    fn fragment_started(&self, place: &Place, url: &Url) {
        let _ = (place, url);
    }

    /// A fragment is here, so many bytes.
    fn fragment_done(&self, place: &Place, url: &Url, bytes: usize) {
        let _ = (place, url, bytes);
    }

    /// A fragment has failed; `fallback` tells what stands in its place. Already logged where the failure is an error.
    fn fragment_failed(
        &self,
        place: &Place,
        url: Option<&Url>,
        error: &FragmentError,
        fallback: Fallback,
    ) {
        let _ = (place, url, error, fallback);
    }
}

/// What becomes of a failed include.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fallback {
    /// Its `alt` is fetched.
    Alt,
    /// `onerror="continue"`: nothing, and no error.
    Continue,
    /// The enclosing attempt fails.
    Except,
    /// SSI: the block that `stub` names.
    Stub,
    /// SSI: the error message.
    Message,
    /// Nothing is emitted.
    Empty,
    /// The page fails.
    Page,
}

/// Watches nothing.
#[derive(Debug, Clone, Copy, Default)]
pub struct Unwatched;

impl Watcher for Unwatched {}
