//! The id of a request: what `X-Request-Id` carries, what logs and pages are found by.

use std::cell::RefCell;
use std::fmt;
use std::sync::Arc;

use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};

thread_local! {
    /// Ids are to differ, not to be kept secret.
    static NUMBERS: RefCell<SmallRng> = RefCell::new(SmallRng::from_os_rng());
}

/// Longest id that is taken over from a proxy in front.
const MAX: usize = 128;

/// An id that can stand in a header, a URL path and a log as it is: 1 to 128 of `A-Z a-z 0-9 . _ -`.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct RequestId(Arc<str>);

impl RequestId {
    /// A new one: 128 random bits as 32 hexadecimal digits.
    #[expect(
        clippy::new_without_default,
        reason = "each one differs, so there is no default"
    )]
    pub fn new() -> Self {
        const DIGITS: &[u8; 16] = b"0123456789abcdef";
        let mut text = [0; 32];
        let random: [u8; 16] = NUMBERS.with_borrow_mut(Rng::random);
        for (pair, byte) in text.chunks_exact_mut(2).zip(random) {
            pair[0] = DIGITS[usize::from(byte >> 4)];
            pair[1] = DIGITS[usize::from(byte & 15)];
        }
        // Digits are text.
        Self(Arc::from(std::str::from_utf8(&text).unwrap_or_default()))
    }

    /// One that somebody else has made; whether that somebody is trusted is the caller's question. `None` when it is empty, too
    /// long, or holds another character.
    pub fn parse(text: &str) -> Option<Self> {
        let fits = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-');
        let good = (1..=MAX).contains(&text.len()) && text.bytes().all(fits);
        good.then(|| Self(Arc::from(text)))
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for RequestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_harmless_ids_are_taken_over() {
        let longest = "x".repeat(MAX);
        for good in ["a", "A-Z_0.9", "0af7651916cd43dd", &longest] {
            assert_eq!(
                RequestId::parse(good).map(|id| id.to_string()).as_deref(),
                Some(good)
            );
        }
        let too_long = "x".repeat(MAX + 1);
        for bad in ["", "a b", "a\r\nb", "a/b", "<b>", "ä", "a\"", &too_long] {
            assert_eq!(RequestId::parse(bad), None, "{bad:?}");
        }
    }

    #[test]
    fn new_ids_differ_and_can_be_taken_over() {
        let (one, other) = (RequestId::new(), RequestId::new());
        assert_ne!(one, other);
        assert_eq!(one.as_str().len(), 32);
        assert_eq!(RequestId::parse(one.as_str()), Some(one));
    }
}
