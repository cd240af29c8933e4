//! Who waits for a server, in what order: first come, first served, bounded.

use std::collections::VecDeque;

use tokio::sync::oneshot;

use crate::upstream::pool::Permit;

/// Names one who waits, so that it can be taken out of the line when it leaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place(u64);

/// The line.
#[derive(Default)]
pub struct Queue {
    waiting: VecDeque<(Place, oneshot::Sender<Permit>)>,
    next: u64,
}

impl Queue {
    /// Joins the end of the line; the permit comes through the channel.
    pub fn join(&mut self) -> (Place, oneshot::Receiver<Permit>) {
        let (sender, receiver) = oneshot::channel();
        let place = Place(self.next);
        self.next += 1;
        self.waiting.push_back((place, sender));
        (place, receiver)
    }

    /// The next in line.
    pub fn pop(&mut self) -> Option<oneshot::Sender<Permit>> {
        self.waiting.pop_front().map(|(_, sender)| sender)
    }

    /// Leaves the line.
    pub fn leave(&mut self, place: Place) {
        // Places grow along the line, so the one that leaves is found by bisection.
        if let Ok(at) = self
            .waiting
            .binary_search_by_key(&place.0, |(place, _)| place.0)
        {
            self.waiting.remove(at);
        }
    }

    /// How many wait.
    pub fn len(&self) -> usize {
        self.waiting.len()
    }

    /// Whether nobody waits.
    pub fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }
}
