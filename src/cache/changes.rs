//! Whether anything has changed under a key since it was looked up: for those who remember what they found.
//!
//! Keys share a few thousand counters, so that a counter which has not moved proves that nothing has changed, and one that has
//! proves nothing: then the key is looked up again. A purge moves all of them at once.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::atomic::{AtomicU64, Ordering};

use crate::cache::key::CacheKey;

/// Counters; a power of two.
const COUNTERS: usize = 4096;

/// Counts changes.
#[derive(Debug)]
pub struct Changes {
    purges: AtomicU64,
    counters: Box<[AtomicU64]>,
}

/// The counter of a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place(usize);

impl Default for Changes {
    fn default() -> Self {
        Self {
            purges: AtomicU64::new(0),
            counters: (0..COUNTERS).map(|_| AtomicU64::new(0)).collect(),
        }
    }
}

impl Changes {
    /// The counter of a key.
    pub fn place(key: &CacheKey) -> Place {
        let mut hasher = DefaultHasher::new();
        key.hash(&mut hasher);
        Place(hasher.finish() as usize % COUNTERS)
    }

    /// How often something has changed there. Read before a look-up and found the same afterwards, it says that the look-up
    /// would find the same again.
    pub fn at(&self, place: Place) -> u64 {
        // Both only grow, so their sum is the same only when both are.
        let counter = self.counters.get(place.0);
        let changes = counter.map_or(0, |counter| counter.load(Ordering::SeqCst));
        changes + self.purges.load(Ordering::SeqCst)
    }

    /// What is stored under a key has changed; to be told when the change can be seen.
    pub(super) fn key(&self, key: &CacheKey) {
        if let Some(counter) = self.counters.get(Self::place(key).0) {
            counter.fetch_add(1, Ordering::SeqCst);
        }
    }

    /// Something was purged; to be told when that can be seen.
    pub(super) fn purge(&self) {
        self.purges.fetch_add(1, Ordering::SeqCst);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_change_moves_the_counter_of_its_key_and_a_purge_moves_all() {
        let changes = Changes::default();
        let key = |number: usize| CacheKey::new("http", "a", &format!("/{number}"));
        let place = Changes::place(&key(1));
        let other = (2..100)
            .map(|number| Changes::place(&key(number)))
            .find(|other| *other != place)
            .expect("not all keys share one counter");
        changes.key(&key(1));
        assert_eq!((changes.at(place), changes.at(other)), (1, 0));
        changes.purge();
        assert_eq!((changes.at(place), changes.at(other)), (2, 1));
    }
}
