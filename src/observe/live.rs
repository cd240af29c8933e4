//! Finished pages as they finish, for those who listen.
//!
//! While nobody does, a page costs one look at a counter. Who reads too slowly misses pages and is told how many: the gateway
//! waits for no reader, and keeps no more than [`KEPT`] pages for all of them together.

use std::sync::Arc;

use tokio::sync::broadcast::error::RecvError;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, broadcast};

use crate::observe::waterfall::Waterfall;

/// Most listeners at a time.
pub const LISTENERS: usize = 16;

/// How many pages a listener may be behind.
pub const KEPT: usize = 64;

/// Where finished pages are called out.
#[derive(Debug)]
pub struct Live {
    pages: broadcast::Sender<Arc<Waterfall>>,
    places: Arc<Semaphore>,
}

/// One who listens; dropping it gives its place back.
#[derive(Debug)]
pub struct Listening {
    pages: broadcast::Receiver<Arc<Waterfall>>,
    _place: OwnedSemaphorePermit,
}

/// What a listener hears.
#[derive(Debug)]
pub enum Heard {
    /// A page has finished.
    Page(Arc<Waterfall>),
    /// So many have, and this listener was too slow for them.
    Missed(u64),
}

impl Default for Live {
    fn default() -> Self {
        Self {
            pages: broadcast::Sender::new(KEPT),
            places: Arc::new(Semaphore::new(LISTENERS)),
        }
    }
}

impl Live {
    /// Hears each page that finishes from now on; `None` when too many listen already.
    pub fn listen(&self) -> Option<Listening> {
        let place = Arc::clone(&self.places).try_acquire_owned().ok()?;
        Some(Listening {
            pages: self.pages.subscribe(),
            _place: place,
        })
    }

    /// How many listen.
    pub fn listeners(&self) -> usize {
        LISTENERS - self.places.available_permits()
    }

    /// Calls a page out; never waits.
    pub(super) fn tell(&self, page: &Arc<Waterfall>) {
        if self.listeners() > 0 {
            // The last one may just have left.
            let _ = self.pages.send(Arc::clone(page));
        }
    }
}

impl Listening {
    /// The next page; `None` when there will be none any more. Nothing is lost when the wait is given up.
    pub async fn next(&mut self) -> Option<Heard> {
        match self.pages.recv().await {
            Ok(page) => Some(Heard::Page(page)),
            Err(RecvError::Lagged(missed)) => Some(Heard::Missed(missed)),
            Err(RecvError::Closed) => None,
        }
    }
}
