//! The bound on all documents that are being composed at a time, whole process: `compose.memory`.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// A count of bytes with a limit; clones count together.
#[derive(Debug, Clone)]
pub struct Memory(Arc<Account>);

#[derive(Debug)]
struct Account {
    limit: u64,
    used: AtomicU64,
}

/// A share of the memory; given back when it is dropped.
#[derive(Debug)]
pub struct Reservation {
    memory: Memory,
    bytes: u64,
}

impl Memory {
    /// So many bytes.
    pub fn new(limit: u64) -> Self {
        Self(Arc::new(Account {
            limit,
            used: AtomicU64::new(0),
        }))
    }

    /// Takes so many bytes; `None` when they are not left.
    pub fn reserve(&self, bytes: u64) -> Option<Reservation> {
        let mut reservation = Reservation {
            memory: self.clone(),
            bytes: 0,
        };
        reservation.grow(bytes).then_some(reservation)
    }

    /// Bytes that are taken now.
    pub fn used(&self) -> u64 {
        self.0.used.load(Ordering::Relaxed)
    }
}

impl Reservation {
    /// Takes so many bytes more; false, and nothing taken, when they are not left.
    #[must_use]
    pub fn grow(&mut self, bytes: u64) -> bool {
        let account = &self.memory.0;
        let taken = account
            .used
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |used| {
                used.checked_add(bytes).filter(|sum| *sum <= account.limit)
            })
            .is_ok();
        if taken {
            self.bytes += bytes;
        }
        taken
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        self.memory.0.used.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_taken_is_given_back_on_drop() {
        let memory = Memory::new(10);
        let mut first = memory.reserve(4).expect("4 of 10");
        let second = memory.reserve(5).expect("9 of 10");
        assert!(memory.reserve(2).is_none(), "11 of 10");
        assert!(first.grow(1), "10 of 10");
        assert!(!first.grow(1), "11 of 10");
        assert_eq!(memory.used(), 10);
        drop((first, second));
        assert_eq!(memory.used(), 0);
        assert!(memory.reserve(u64::MAX).is_none());
    }
}
