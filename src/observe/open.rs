//! The requests that are under way and wait for something: who is still in the house, since when, and for what. What is answered on
//! the spot is never among them.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

/// Registers are split, so that workers seldom meet at one lock.
const SHARDS: usize = 16;

/// A register of what is under way. Entering and leaving cost one lock each.
#[derive(Debug)]
pub struct Open<T> {
    next: AtomicU64,
    shards: [Mutex<HashMap<u64, Arc<T>>>; SHARDS],
}

/// The place of one entry; leaving it takes the place to [`Open::leave`].
#[derive(Debug, PartialEq, Eq)]
pub struct Ticket(u64);

impl<T> Default for Open<T> {
    fn default() -> Self {
        Self {
            next: AtomicU64::new(0),
            shards: std::array::from_fn(|_| Mutex::default()),
        }
    }
}

impl<T> Open<T> {
    /// Enters `what`.
    pub fn enter(&self, what: Arc<T>) -> Ticket {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        self.shard(number, |shard| shard.insert(number, what));
        Ticket(number)
    }

    /// Takes it out again.
    pub fn leave(&self, ticket: &Ticket) {
        // What was entered is dropped after the lock is given back.
        drop(self.shard(ticket.0, |shard| shard.remove(&ticket.0)));
    }

    /// All that is under way, in no particular order.
    pub fn list(&self) -> Vec<Arc<T>> {
        let mut all = Vec::new();
        for shard in &self.shards {
            let shard = shard.lock().unwrap_or_else(PoisonError::into_inner);
            all.extend(shard.values().cloned());
        }
        all
    }

    /// How many there are.
    pub fn count(&self) -> usize {
        self.shards
            .iter()
            .map(|shard| shard.lock().unwrap_or_else(PoisonError::into_inner).len())
            .sum()
    }

    fn shard<R>(&self, number: u64, work: impl FnOnce(&mut HashMap<u64, Arc<T>>) -> R) -> R {
        // The index is below the length of the array whatever the number.
        let shard = &self.shards[number as usize % SHARDS];
        work(&mut shard.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_leaves_is_no_longer_listed() {
        let open = Open::default();
        let tickets: Vec<_> = (0..40).map(|n| open.enter(Arc::new(n))).collect();
        assert_eq!(open.count(), 40);
        for ticket in &tickets[..39] {
            open.leave(ticket);
        }
        let left: Vec<i32> = open.list().iter().map(|n| **n).collect();
        assert_eq!(left, [39]);
    }
}
