//! A place beside an include of a compiled template where whoever fetches fragments may leave a note for the next request.
//!
//! The note is a hint, never an answer: one template serves many requests, hosts and users, so who reads a note must check
//! that it fits the request at hand. Nothing in the language reads it.

use std::any::Any;
use std::fmt;
use std::sync::Arc;

use arc_swap::ArcSwapOption;

/// One note, replaced without locks; a compiled template holds one for each include with a constant URL.
#[derive(Default)]
pub struct Memo(ArcSwapOption<Note>);

type Note = Box<dyn Any + Send + Sync>;

impl Memo {
    /// What `read` makes of the note, when there is one and it is a `T`.
    pub fn read<T: Any, R>(&self, read: impl FnOnce(&T) -> R) -> Option<R> {
        self.0
            .load()
            .as_ref()
            .and_then(|note| note.downcast_ref::<T>())
            .map(read)
    }

    /// Leaves a note in place of the one before.
    pub fn leave<T: Any + Send + Sync>(&self, note: T) {
        self.0.store(Some(Arc::new(Box::new(note))));
    }
}

impl fmt::Debug for Memo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Memo")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_note_is_read_back_by_its_type_only() {
        let memo = Memo::default();
        assert_eq!(memo.read(|note: &u32| *note), None);
        memo.leave(7_u32);
        assert_eq!(memo.read(|note: &u32| *note), Some(7));
        assert_eq!(memo.read(|note: &u64| *note), None);
        memo.leave("seven");
        assert_eq!(memo.read(|note: &&str| note.len()), Some(5));
    }
}
