//! Names of variables: which there can be, and which belong to the request.

use std::collections::hash_map::RandomState;
use std::fmt;
use std::hash::{BuildHasher, Hasher};
use std::sync::LazyLock;

use super::request::BuiltIn;
use super::short::Short;

/// Longest name in bytes.
pub const LONGEST_NAME: usize = 256;

/// The name of a variable or function: a letter or `_`, then letters, digits and `_`, at most 256 bytes.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Name(Short);

impl Name {
    /// Reads a whole text as a name; `None` when it is none.
    pub fn parse(text: &[u8]) -> Option<Self> {
        let length = leading_name(text)?;
        (length == text.len()).then(|| Self(Short::new(text)))
    }

    /// A name that [`leading_name`] has measured.
    pub(super) fn of_leading(text: &[u8]) -> Self {
        Self(Short::new(text))
    }

    /// The name as it is written.
    pub fn as_str(&self) -> &str {
        // Names are ASCII: `leading_name` takes nothing else.
        std::str::from_utf8(&self.0).unwrap_or_default()
    }

    /// The bytes of the name.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// Bytes of memory that it holds beside its own.
    pub fn weight(&self) -> usize {
        self.0.weight()
    }

    /// Whether the name belongs to the request or to the evaluation, so that a document cannot assign it.
    pub fn is_built_in(&self) -> bool {
        BuiltIn::named(&self.0).is_some()
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Debug for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self.as_str(), f)
    }
}

/// Hashes names for tables of variables. Names are short and read all the time, and the standard hasher costs more than the
/// rest of a look-up. The key is drawn once for the process, so that nobody can choose names that meet.
#[derive(Debug, Clone, Copy)]
pub(super) struct NameHash(u64);

impl Default for NameHash {
    fn default() -> Self {
        static KEY: LazyLock<u64> = LazyLock::new(|| RandomState::new().hash_one(0_u8) | 1);
        Self(*KEY)
    }
}

impl BuildHasher for NameHash {
    type Hasher = NameHasher;

    fn build_hasher(&self) -> NameHasher {
        NameHasher {
            key: self.0,
            state: self.0.rotate_left(32),
        }
    }
}

/// One name on its way to its hash: eight bytes at a time, each time multiplied with the key and folded.
#[derive(Debug)]
pub(super) struct NameHasher {
    key: u64,
    state: u64,
}

impl NameHasher {
    fn take(&mut self, word: u64) {
        let product = u128::from(self.state ^ word) * u128::from(self.key);
        self.state = (product as u64) ^ ((product >> 64) as u64);
    }
}

impl Hasher for NameHasher {
    fn write(&mut self, bytes: &[u8]) {
        for chunk in bytes.chunks(8) {
            let word = chunk
                .iter()
                .fold(0, |word, byte| word << 8 | u64::from(*byte));
            self.take(word);
        }
    }

    fn write_u64(&mut self, word: u64) {
        self.take(word);
    }

    fn write_usize(&mut self, length: usize) {
        self.take(length as u64);
    }

    fn finish(&self) -> u64 {
        // The table looks at the highest and at the lowest bits.
        self.state ^ self.state.rotate_left(23)
    }
}

/// The length of the name that `text` starts with; `None` when it starts with none or with one that is too long.
pub(super) fn leading_name(text: &[u8]) -> Option<usize> {
    let first = text.first()?;
    if !(first.is_ascii_alphabetic() || *first == b'_') {
        return None;
    }
    let mut length = 1;
    while let Some(byte) = text.get(length)
        && IN_NAMES[usize::from(*byte)]
    {
        length += 1;
    }
    (length <= LONGEST_NAME).then_some(length)
}

/// Which bytes stand in names: letters, digits, `_`. A table, because names are most of what is read of an expression.
static IN_NAMES: [bool; 256] = {
    let mut table = [false; 256];
    let mut byte = 0;
    while byte < table.len() {
        table[byte] = (byte as u8).is_ascii_alphanumeric() || byte as u8 == b'_';
        byte += 1;
    }
    table
};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_start_with_a_letter_and_end_at_256_bytes() {
        for (text, is_name) in [
            ("a", true),
            ("_9", true),
            ("HTTP_HOST", true),
            ("", false),
            ("9a", false),
            ("a-b", false),
            ("ä", false),
            ("a b", false),
            (&"x".repeat(256), true),
            (&"x".repeat(257), false),
        ] {
            assert_eq!(Name::parse(text.as_bytes()).is_some(), is_name, "{text}");
        }
    }

    #[test]
    fn names_that_differ_meet_as_rarely_as_chance_has_it() {
        let hash = NameHash::default();
        let names = (0..4096).map(|n| Name::parse(format!("name_{n}").as_bytes()).unwrap());
        let mut places = [0_u32; 4096];
        for name in names {
            assert_eq!(hash.hash_one(&name), hash.hash_one(name.clone()));
            places[(hash.hash_one(&name) % 4096) as usize] += 1;
        }
        // Of as many names as places, thrown at random, hardly ever do ten meet.
        assert!(places.iter().max() < Some(&12), "{:?}", places.iter().max());
    }

    #[test]
    fn names_of_the_request_are_built_in() {
        for (text, built_in) in [
            ("HTTP_HOST", true),
            ("HTTP_ANYTHING", true),
            ("QUERY_STRING", true),
            ("MATCHES", true),
            ("ARGS", true),
            ("http_host", false),
            ("QUERY", false),
        ] {
            let name = Name::parse(text.as_bytes()).unwrap();
            assert_eq!(name.is_built_in(), built_in, "{text}");
        }
    }
}
