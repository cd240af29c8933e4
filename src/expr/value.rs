//! Values: what an expression can be worth, with the flag that says whether part of it came from the request.

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;

use bytes::Bytes;

/// A value; cheap to clone.
///
/// Text, lists and dictionaries know whether they are *tainted*, that is whether a part of them came from the request;
/// numbers and booleans cannot carry anything over and never are.
#[derive(Debug, Clone)]
pub enum Value {
    /// Nothing: a variable that is not there.
    Missing,
    /// `true` or `false`.
    Boolean(bool),
    /// A 64-bit integer.
    Integer(i64),
    /// Any other number literal, as it is written; it only compares.
    Decimal(Bytes),
    /// Bytes, valid UTF-8 or not.
    Text {
        /// The bytes.
        bytes: Bytes,
        /// Whether they came from the request, in part or whole.
        tainted: bool,
    },
    /// A list.
    List(Arc<List>),
    /// A dictionary.
    Dictionary(Arc<Dictionary>),
}

/// What a value is, without what it holds; for errors.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Nothing.
    Missing,
    /// `true` or `false`.
    Boolean,
    /// A 64-bit integer.
    Integer,
    /// Another number.
    Decimal,
    /// Text.
    Text,
    /// A list.
    List,
    /// A dictionary.
    Dictionary,
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Missing => "nothing",
            Self::Boolean => "a boolean",
            Self::Integer => "an integer",
            Self::Decimal => "a decimal number",
            Self::Text => "text",
            Self::List => "a list",
            Self::Dictionary => "a dictionary",
        })
    }
}

/// Values in order; each keeps its own taint.
#[derive(Debug, Clone, Default)]
pub struct List {
    items: Vec<Value>,
}

impl List {
    /// The items in order.
    pub fn items(&self) -> &[Value] {
        &self.items
    }
}

/// Text keys with values, in order of writing; keys and values keep their own taint.
#[derive(Debug, Clone, Default)]
pub struct Dictionary {
    entries: Vec<(Value, Value)>,
}

impl Dictionary {
    /// Key (text) and value, in order of writing.
    pub fn entries(&self) -> &[(Value, Value)] {
        &self.entries
    }
}

impl Value {
    /// Text of the document's author.
    pub fn text(bytes: impl Into<Bytes>) -> Self {
        Self::Text {
            bytes: bytes.into(),
            tainted: false,
        }
    }

    /// Text from the request.
    pub fn tainted_text(bytes: impl Into<Bytes>) -> Self {
        Self::Text {
            bytes: bytes.into(),
            tainted: true,
        }
    }

    /// What it is.
    pub fn kind(&self) -> Kind {
        match self {
            Self::Missing => Kind::Missing,
            Self::Boolean(_) => Kind::Boolean,
            Self::Integer(_) => Kind::Integer,
            Self::Decimal(_) => Kind::Decimal,
            Self::Text { .. } => Kind::Text,
            Self::List(_) => Kind::List,
            Self::Dictionary(_) => Kind::Dictionary,
        }
    }

    /// Whether a part of it came from the request.
    pub fn is_tainted(&self) -> bool {
        false
    }

    /// Whether a test on it succeeds.
    pub fn is_true(&self) -> bool {
        false
    }

    /// Whether there is nothing in it: missing, empty text, an empty list or dictionary.
    pub fn is_empty(&self) -> bool {
        false
    }

    /// Its text form.
    pub fn to_text(&self) -> Cow<'_, [u8]> {
        Cow::Borrowed(b"")
    }

    /// What a loop runs over: the items of a list, `[key, value]` lists of a dictionary, or the value itself unless empty.
    pub fn rounds(&self) -> Vec<Value> {
        Vec::new()
    }
}
