//! How large expressions and their values may become; every bound fails the expression, none the page.

/// The bounds of the language, section 12 of its reference.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Longest expression in bytes; in text, the longest reference or call.
    pub expression_bytes: usize,
    /// Deepest nesting of brackets, calls, references and signs.
    pub depth: usize,
    /// Most entries of a list, range or dictionary.
    pub entries: usize,
    /// All variables of a document together, and any single value on the way there, in bytes.
    pub value_bytes: usize,
    /// Deepest nesting of calls of the document's own functions.
    pub function_depth: usize,
    /// A compiled regular expression in bytes.
    pub regex_bytes: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            expression_bytes: 8 * 1024,
            depth: 64,
            entries: 10_000,
            value_bytes: 1024 * 1024,
            function_depth: 32,
            regex_bytes: 1024 * 1024,
        }
    }
}
