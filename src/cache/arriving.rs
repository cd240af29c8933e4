//! Room for answers that are stored once they are whole: bytes that have come and are not counted in the store yet, all fetches
//! together. What finds no room goes to its askers as it comes and is not stored, so that memory follows neither the number of
//! fetches nor how slowly clients read.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// The room for all.
#[derive(Debug)]
pub struct Arriving(Arc<Room>);

#[derive(Debug)]
struct Room {
    most: u64,
    taken: AtomicU64,
}

/// What one answer takes; given back on drop.
#[derive(Debug)]
pub struct Share {
    room: Arc<Room>,
    taken: u64,
}

impl Arriving {
    /// Room for so many bytes.
    pub fn new(most: u64) -> Self {
        Self(Arc::new(Room {
            most,
            taken: AtomicU64::new(0),
        }))
    }

    /// The share of an answer of which nothing has come.
    pub fn share(&self) -> Share {
        Share {
            room: Arc::clone(&self.0),
            taken: 0,
        }
    }

    /// Bytes that are taken.
    pub fn taken(&self) -> u64 {
        self.0.taken.load(Ordering::Relaxed)
    }
}

impl Share {
    /// Takes room for `total` bytes; `false`: there is none, and the share stays as it was.
    pub fn reach(&mut self, total: usize) -> bool {
        let more = (total as u64).saturating_sub(self.taken);
        if more == 0 {
            return true;
        }
        let taken = &self.room.taken;
        let grown = taken.fetch_update(Ordering::AcqRel, Ordering::Relaxed, |taken| {
            taken
                .checked_add(more)
                .filter(|taken| *taken <= self.room.most)
        });
        if grown.is_ok() {
            self.taken += more;
        }
        grown.is_ok()
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        self.room.taken.fetch_sub(self.taken, Ordering::AcqRel);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_shares_together_take_no_more_than_there_is() {
        let arriving = Arriving::new(10);
        let (mut one, mut other) = (arriving.share(), arriving.share());
        assert!(one.reach(4) && one.reach(2) && other.reach(6));
        assert_eq!(arriving.taken(), 10);
        assert!(!other.reach(7) && !one.reach(usize::MAX));
        drop(one);
        assert!(other.reach(10) && !other.reach(11));
        drop(other);
        assert_eq!(arriving.taken(), 0);
    }
}
