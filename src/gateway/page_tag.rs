//! The tag of a composed page, made of the bytes that it has: when all parts are at hand before the head leaves, a client that
//! has the same bytes can be told so. Never the tag of the skeleton, which says nothing of the fragments.
//!
//! The tag is weak, because the same page may be encoded in more than one way, and it is the same on every gateway of this
//! version. It need not withstand forgery: who could make two pages with one tag would make a client keep its own old page.

use http::HeaderValue;

use crate::compose::runs::Run;
use crate::gateway::gzip::Made;
use crate::gateway::origin_request::Coding;

/// Changes with how pages are composed.
const VERSION: u64 = 1;

/// Odd numbers without structure (the fractions of square roots).
const FIRST: u64 = 0x6a09_e667_f3bc_c909;
const SECOND: u64 = 0xbb67_ae85_84ca_a73b;
const THIRD: u64 = 0x3c6e_f372_fe94_f82b;

/// The tag of these bytes in this coding.
pub fn tag(bytes: &[u8], coding: &[u8]) -> HeaderValue {
    let mut digest = Digest(FIRST ^ VERSION, SECOND);
    digest.take(coding);
    digest.take(bytes);
    let text = format!("W/\"{:016x}{:016x}\"", digest.0, digest.1);
    // Quotes, a W and hexadecimal digits are a value.
    HeaderValue::try_from(text).unwrap_or(HeaderValue::from_static("W/\"\""))
}

/// The same for bytes that are remembered: their tag is remembered with them.
pub fn of_run(run: &Run, coding: Coding) -> HeaderValue {
    let made = Made::of(run);
    // There is a place for each coding.
    let place = &made.tags[coding as usize];
    place
        .get_or_init(|| tag(run.bytes(), coding.as_str().as_bytes()))
        .clone()
}

/// Two lanes of folded multiplications, sixteen bytes at a time.
struct Digest(u64, u64);

impl Digest {
    fn take(&mut self, bytes: &[u8]) {
        let mut blocks = bytes.chunks_exact(16);
        for block in &mut blocks {
            self.block(block);
        }
        let rest = blocks.remainder();
        let mut last = [0; 16];
        last[..rest.len()].copy_from_slice(rest);
        self.block(&last);
        self.mix(bytes.len() as u64, THIRD);
    }

    fn block(&mut self, block: &[u8]) {
        let (low, high) = block.split_at(8);
        self.mix(word(low), word(high));
    }

    fn mix(&mut self, low: u64, high: u64) {
        let first = fold(self.0 ^ low, high ^ SECOND);
        let second = fold(self.1 ^ high, low ^ THIRD);
        self.0 = first.wrapping_add(self.1.rotate_left(23));
        self.1 = second.wrapping_add(first.rotate_left(41));
    }
}

fn word(bytes: &[u8]) -> u64 {
    bytes
        .iter()
        .rev()
        .fold(0, |word, byte| word << 8 | u64::from(*byte))
}

fn fold(left: u64, right: u64) -> u64 {
    let product = u128::from(left) * u128::from(right);
    (product as u64) ^ ((product >> 64) as u64)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::HashSet;

    #[test]
    fn it_is_the_same_everywhere() {
        assert_eq!(tag(b"", b""), tag(b"", b""));
        let page = b"<p>a page that is longer than one block</p>";
        let first = tag(page, b"");
        assert_eq!(first.len(), 36);
        assert_ne!(first, tag(page, b"gzip"));
    }

    #[test]
    fn pages_that_differ_little_have_tags_that_differ() {
        let mut seen = HashSet::new();
        for length in 0..200 {
            for byte in [0, 1, b'a'] {
                if length > 0 || byte == 0 {
                    assert!(
                        seen.insert(tag(&vec![byte; length], b"")),
                        "{length} {byte}"
                    );
                }
            }
        }
        for at in 0..64 {
            let mut page = vec![b'x'; 64];
            page[at] = b'y';
            assert!(seen.insert(tag(&page, b"")), "{at}");
        }
    }

    proptest! {
        #[test]
        fn one_changed_byte_changes_it(page in proptest::collection::vec(any::<u8>(), 1..100), at in any::<prop::sample::Index>()) {
            let mut other = page.clone();
            let at = at.index(page.len());
            other[at] = other[at].wrapping_add(1);
            prop_assert_ne!(tag(&page, b""), tag(&other, b""));
        }
    }
}
