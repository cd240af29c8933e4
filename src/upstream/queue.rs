//! Who waits for a server, in what order: first come, first served, bounded.

use std::collections::VecDeque;

use tokio::sync::oneshot;

use crate::upstream::balance::Wish;
use crate::upstream::pool::Permit;

/// Names one who waits, so that it can be taken out of the line when it leaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place(u64);

/// The line.
#[derive(Default)]
pub struct Queue {
    waiting: VecDeque<Waiter>,
    next: u64,
}

struct Waiter {
    place: Place,
    wish: Wish,
    sender: oneshot::Sender<Permit>,
}

impl Queue {
    /// Joins the end of the line; the permit comes through the channel.
    pub fn join(&mut self, wish: Wish) -> (Place, oneshot::Receiver<Permit>) {
        let (sender, receiver) = oneshot::channel();
        let place = Place(self.next);
        self.next += 1;
        self.waiting.push_back(Waiter {
            place,
            wish,
            sender,
        });
        (place, receiver)
    }

    /// What the next in line wants.
    pub fn first(&self) -> Option<&Wish> {
        self.waiting.front().map(|waiter| &waiter.wish)
    }

    /// The next in line.
    pub fn pop(&mut self) -> Option<oneshot::Sender<Permit>> {
        self.waiting.pop_front().map(|waiter| waiter.sender)
    }

    /// Leaves the line.
    pub fn leave(&mut self, place: Place) {
        // Places grow along the line, so the one that leaves is found by bisection.
        let found = self
            .waiting
            .binary_search_by_key(&place.0, |waiter| waiter.place.0);
        if let Ok(at) = found {
            self.waiting.remove(at);
        }
    }

    /// Sends all of them away: there is nobody to wait for.
    pub fn clear(&mut self) {
        self.waiting.clear();
    }

    /// The places of those who wait, in order.
    #[cfg(test)]
    pub fn places(&self) -> Vec<Place> {
        self.waiting.iter().map(|waiter| waiter.place).collect()
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
