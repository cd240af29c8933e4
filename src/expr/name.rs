//! Names of variables: which there can be, and which belong to the request.

use std::fmt;

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

/// The length of the name that `text` starts with; `None` when it starts with none or with one that is too long.
pub(super) fn leading_name(text: &[u8]) -> Option<usize> {
    let first = text.first()?;
    if !(first.is_ascii_alphabetic() || *first == b'_') {
        return None;
    }
    let in_name = |byte: &&u8| IN_NAMES[usize::from(**byte)];
    let length = text.iter().take_while(in_name).count();
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
