//! Bytes that are kept in place when they are few: names and keys are short, and a page has hundreds of them.

use std::cmp::Ordering;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::ops::Deref;
use std::sync::Arc;

/// Most bytes that need no memory of their own.
const FEW: usize = 22;

/// Bytes that never change. Cheap to clone.
#[derive(Clone)]
pub(super) struct Short(Kept);

#[derive(Clone)]
enum Kept {
    /// The first `length` of these.
    Few { length: u8, bytes: [u8; FEW] },
    /// More than fit.
    Many(Arc<[u8]>),
}

impl Short {
    pub(super) fn new(text: &[u8]) -> Self {
        let mut bytes = [0; FEW];
        match bytes.get_mut(..text.len()) {
            Some(room) => {
                room.copy_from_slice(text);
                let length = text.len() as u8;
                Self(Kept::Few { length, bytes })
            }
            None => Self(Kept::Many(text.into())),
        }
    }
}

impl Short {
    /// Bytes of memory that it holds beside its own.
    pub(super) fn weight(&self) -> usize {
        match &self.0 {
            Kept::Few { .. } => 0,
            Kept::Many(bytes) => bytes.len() + 2 * size_of::<usize>(),
        }
    }
}

impl Deref for Short {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        match &self.0 {
            Kept::Few { length, bytes } => &bytes[..usize::from(*length)],
            Kept::Many(bytes) => bytes,
        }
    }
}

impl PartialEq for Short {
    fn eq(&self, other: &Self) -> bool {
        match (&self.0, &other.0) {
            // The room behind few bytes is always zero.
            (
                Kept::Few { length, bytes },
                Kept::Few {
                    length: l,
                    bytes: b,
                },
            ) => length == l && bytes == b,
            (Kept::Many(bytes), Kept::Many(b)) => bytes == b,
            _ => false,
        }
    }
}

impl Eq for Short {}

impl Hash for Short {
    fn hash<H: Hasher>(&self, state: &mut H) {
        match &self.0 {
            // In three words, whatever its length.
            Kept::Few { bytes, .. } => {
                let word = |at: usize| bytes.get(at..).and_then(<[u8]>::first_chunk).copied();
                for at in [0, 8, FEW - 8] {
                    state.write_u64(word(at).map_or(0, u64::from_le_bytes));
                }
            }
            Kept::Many(bytes) => bytes.hash(state),
        }
    }
}

impl PartialOrd for Short {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Short {
    fn cmp(&self, other: &Self) -> Ordering {
        (**self).cmp(&**other)
    }
}

impl fmt::Debug for Short {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "b\"{}\"", self.escape_ascii())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn few_and_many_bytes_are_kept_alike() {
        for length in [0, 1, FEW - 1, FEW, FEW + 1, 300] {
            let text = vec![b'x'; length];
            let kept = Short::new(&text);
            assert_eq!(*kept, text[..], "{length}");
            assert_eq!(kept, Short::new(&text), "{length}");
            assert!(kept < Short::new(&[&text[..], b"a"].concat()), "{length}");
        }
    }
}
