//! What can be wrong with an expression: when it is read, when it is evaluated, when its value is assigned.
//!
//! No error holds a value: values may be cookies, and errors are logged.

use super::limits::Limits;
use super::value::Kind;

/// A text that is no expression: where and why.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{kind} at byte {offset}")]
pub struct ParseError {
    /// Bytes from the start of the expression's text.
    pub offset: usize,
    /// What is wrong there.
    pub kind: ParseErrorKind,
}

/// What is wrong with the text of an expression.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ParseErrorKind {
    /// The text is longer than the limit.
    #[error("expression of {length} bytes; at most {limit} are accepted")]
    TooLong {
        /// Its length.
        length: usize,
        /// The longest that is accepted.
        limit: usize,
    },
    /// Brackets, calls, references or signs nest deeper than the limit.
    #[error("nesting deeper than {limit}")]
    TooDeep {
        /// The deepest that is accepted.
        limit: usize,
    },
    /// Something else was expected here.
    #[error("read {found}, expected {expected}")]
    Unexpected {
        /// What was read, in quotes, or `the end`.
        found: String,
        /// What is accepted here.
        expected: &'static str,
    },
    /// A string without its closing quote.
    #[error("string without its closing {quote}")]
    UnclosedString {
        /// The quote that opened it.
        quote: &'static str,
    },
    /// `$(` that does not go on as a reference.
    #[error("`$(` is no reference; `$(NAME)`, `$(NAME{{key}})`, `$(NAME|default)` are accepted")]
    BadReference,
}

/// Why an expression has no value.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EvalError {
    /// Neither a built-in function nor one of the document.
    #[error("unknown function ${name}{}", nearest.map(|known| format!("; ${known} is known")).unwrap_or_default())]
    UnknownFunction {
        /// As it is written.
        name: String,
        /// The built-in name that is spelled most like it.
        nearest: Option<&'static str>,
    },
    /// Too many or too few arguments.
    #[error("${function} takes {accepted} arguments, was given {given}")]
    ArgumentCount {
        /// The function.
        function: &'static str,
        /// `1`, `1 or 2`, `2 to 4`.
        accepted: String,
        /// How many it was given.
        given: usize,
    },
    /// An argument of a type or in a form that the function does not take.
    #[error("${function} takes {accepted} as argument {position}, was given {given}")]
    Argument {
        /// The function.
        function: &'static str,
        /// Counted from 1.
        position: usize,
        /// What it takes there.
        accepted: &'static str,
        /// What it was given.
        given: Kind,
    },
    /// An operand of a type that the operator does not take.
    #[error("`{operator}` does not take {given}")]
    Operand {
        /// The operator.
        operator: &'static str,
        /// What it was given.
        given: Kind,
    },
    /// The result is no 64-bit integer.
    #[error("`{operator}` overflows 64 bits")]
    Overflow {
        /// The operator.
        operator: &'static str,
    },
    /// Division by zero, `%` included.
    #[error("division by zero")]
    DivisionByZero,
    /// A regular expression that does not compile, or is too large when compiled.
    #[error("bad regular expression: {reason}")]
    Pattern {
        /// In the words of the regex crate, on one line; of a tainted pattern only the kind.
        reason: String,
    },
    /// A value too large to be made.
    #[error(transparent)]
    Excess(#[from] Excess),
    /// The document's own functions call each other too deeply.
    #[error("functions nest deeper than {limit}")]
    FunctionDepth {
        /// The deepest that is accepted.
        limit: usize,
    },
    /// The host does not do what a response function asks.
    #[error("${function} refused: {reason}")]
    Refused {
        /// The function.
        function: &'static str,
        /// In the host's words.
        reason: &'static str,
    },
    /// Captures could not be stored under the name of `matchname`.
    #[error("captures not stored: {0}")]
    Captures(AssignError),
}

/// Why a variable keeps its old value.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AssignError {
    /// Not a name, or more than `name`, `name{key}`.
    #[error(
        "not the name of a variable: a letter or `_`, then letters, digits and `_`, at most 256, then perhaps `{{key}}`"
    )]
    NotAName,
    /// The name belongs to the request.
    #[error("{name} cannot be assigned")]
    BuiltIn {
        /// The name.
        name: String,
    },
    /// An entry of something that has none.
    #[error("{name} is {found}, which has no entries")]
    NoEntries {
        /// The variable.
        name: String,
        /// What it holds.
        found: Kind,
    },
    /// A list has no such position.
    #[error("{name} has no entry at this position; it has {length}")]
    OutOfRange {
        /// The variable.
        name: String,
        /// How many entries it has.
        length: usize,
    },
    /// All variables together, or this one, would be too large.
    #[error(transparent)]
    Excess(#[from] Excess),
}

/// What a value, or all variables together, would have too much of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Excess {
    /// Entries of one list, range or dictionary.
    #[error("more than {limit} entries")]
    Entries {
        /// The most that are accepted.
        limit: usize,
    },
    /// Bytes.
    #[error("larger than {limit} bytes")]
    Bytes {
        /// The most that are accepted.
        limit: usize,
    },
    /// Lists and dictionaries in each other.
    #[error("lists or dictionaries nest deeper than {limit}")]
    Nesting {
        /// The deepest that is accepted.
        limit: usize,
    },
}

impl Excess {
    /// Holds the measures of a value against the limits.
    pub(super) fn check(
        entries: usize,
        weight: usize,
        nesting: usize,
        limits: &Limits,
    ) -> Result<(), Self> {
        if entries > limits.entries {
            return Err(Self::Entries {
                limit: limits.entries,
            });
        }
        if nesting > limits.depth {
            return Err(Self::Nesting {
                limit: limits.depth,
            });
        }
        Self::check_bytes(weight, limits)
    }

    /// Holds a size against the limit of sizes.
    pub(super) fn check_bytes(bytes: usize, limits: &Limits) -> Result<(), Self> {
        if bytes > limits.value_bytes {
            return Err(Self::Bytes {
                limit: limits.value_bytes,
            });
        }
        Ok(())
    }
}
