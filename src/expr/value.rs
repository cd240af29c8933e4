//! Values: what an expression can be worth, with the flag that says whether part of it came from the request.

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;

use bytes::Bytes;

use super::collection::{Dictionary, List};
use super::escape::Escape;
use super::number::{self, Number};

/// A value; cheap to clone.
///
/// Text, lists and dictionaries know whether they are *tainted*, that is whether a part of them came from the request;
/// numbers and booleans cannot carry anything over and never are.
#[derive(Debug, Clone, PartialEq)]
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
        match self {
            Self::Text { tainted, .. } => *tainted,
            Self::List(list) => list.is_tainted(),
            Self::Dictionary(dictionary) => dictionary.is_tainted(),
            _ => false,
        }
    }

    /// Whether a test on it succeeds: `true`, numbers and numeric text other than zero, other text that is not empty,
    /// lists and dictionaries that are not empty.
    pub fn is_true(&self) -> bool {
        match self {
            Self::Missing => false,
            Self::Boolean(truth) => *truth,
            Self::Integer(integer) => *integer != 0,
            Self::Decimal(bytes) | Self::Text { bytes, .. } => {
                !bytes.is_empty() && !Number::read(bytes).is_some_and(|number| number.is_zero())
            }
            Self::List(_) | Self::Dictionary(_) => !self.is_empty(),
        }
    }

    /// Whether there is nothing in it: missing, empty text, an empty list or dictionary.
    pub fn is_empty(&self) -> bool {
        match self {
            Self::Missing => true,
            Self::Boolean(_) | Self::Integer(_) | Self::Decimal(_) => false,
            Self::Text { bytes, .. } => bytes.is_empty(),
            Self::List(list) => list.items().is_empty(),
            Self::Dictionary(dictionary) => dictionary.entries().is_empty(),
        }
    }

    /// Its text form: `true` or `false`, decimal digits, the items of a list joined with `,`, a dictionary as `k=v` joined
    /// with `&`; nothing when missing.
    pub fn to_text(&self) -> Cow<'_, [u8]> {
        match self {
            Self::Missing => Cow::Borrowed(b""),
            Self::Boolean(true) => Cow::Borrowed(b"true"),
            Self::Boolean(false) => Cow::Borrowed(b"false"),
            Self::Integer(integer) => {
                let mut text = Vec::new();
                number::append_integer(*integer, &mut text);
                Cow::Owned(text)
            }
            Self::Decimal(bytes) | Self::Text { bytes, .. } => Cow::Borrowed(bytes),
            Self::List(_) | Self::Dictionary(_) => {
                let mut text = Vec::new();
                self.append_text(&mut text);
                Cow::Owned(text)
            }
        }
    }

    /// Appends its text form to `out`, unescaped. At most [`Value::weight`] bytes.
    pub fn append_text(&self, out: &mut Vec<u8>) {
        match self {
            Self::List(list) => list.append_text(out),
            Self::Dictionary(dictionary) => dictionary.append_text(out),
            Self::Integer(integer) => number::append_integer(*integer, out),
            _ => out.extend_from_slice(&self.to_text()),
        }
    }

    /// Appends its text form to `out` as a document of this type shows it: escaped when it is tainted.
    pub fn emit(&self, escape: Escape, out: &mut Vec<u8>) {
        if self.is_tainted() {
            escape.append(&self.to_text(), out);
        } else {
            self.append_text(out);
        }
    }

    /// What a loop runs over: the items of a list, `[key, value]` of each entry of a dictionary, or the value itself unless
    /// it is empty.
    pub fn rounds(&self) -> Vec<Self> {
        match self {
            Self::List(list) => list.items().to_vec(),
            Self::Dictionary(dictionary) => dictionary.pairs(),
            _ if self.is_empty() => Vec::new(),
            _ => vec![self.clone()],
        }
    }

    /// How much it counts against the limit of sizes, in bytes: its text, and a little for each entry. Never less than the
    /// length of its text form.
    pub fn weight(&self) -> usize {
        match self {
            Self::Missing => 0,
            Self::Boolean(_) => 5,
            Self::Integer(_) => 20,
            Self::Decimal(bytes) | Self::Text { bytes, .. } => bytes.len(),
            Self::List(list) => list.weight(),
            Self::Dictionary(dictionary) => dictionary.weight(),
        }
    }

    /// Bytes of memory that it holds beside its own; of what others hold as well, its part.
    pub(super) fn memory(&self) -> usize {
        /// What shared memory needs to count who holds it.
        const COUNTS: usize = 4 * size_of::<usize>();
        match self {
            Self::Missing | Self::Boolean(_) | Self::Integer(_) => 0,
            Self::Decimal(bytes) | Self::Text { bytes, .. } => COUNTS + bytes.len(),
            Self::List(list) => {
                let items = list.items();
                let held = items.iter().map(Self::memory).sum::<usize>();
                let whole = COUNTS + size_of::<List>() + size_of_val(items) + held;
                whole.div_ceil(Arc::strong_count(list))
            }
            Self::Dictionary(dictionary) => {
                let entries = dictionary.entries();
                let held = entries
                    .iter()
                    .map(|(key, value)| key.memory() + value.memory());
                // Those with many entries have an index beside them.
                let own = COUNTS + size_of::<Dictionary>() + 2 * size_of_val(entries);
                (own + held.sum::<usize>()).div_ceil(Arc::strong_count(dictionary))
            }
        }
    }

    /// How deeply lists and dictionaries nest in it; 0 for text and numbers.
    pub fn nesting(&self) -> usize {
        match self {
            Self::List(list) => list.nesting(),
            Self::Dictionary(dictionary) => dictionary.nesting(),
            _ => 0,
        }
    }

    /// The value with all that it holds marked as from the request, or as not.
    pub fn marked(self, tainted: bool) -> Self {
        match self {
            Self::Text { bytes, .. } => Self::Text { bytes, tainted },
            Self::List(list) => Self::List(Arc::new(list.marked(tainted))),
            Self::Dictionary(dictionary) => Self::Dictionary(Arc::new(dictionary.marked(tainted))),
            other => other,
        }
    }
}

impl From<bool> for Value {
    fn from(truth: bool) -> Self {
        Self::Boolean(truth)
    }
}

impl From<i64> for Value {
    fn from(integer: i64) -> Self {
        Self::Integer(integer)
    }
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::expr::Limits;

    fn list(items: Vec<Value>) -> Value {
        Value::List(Arc::new(List::new(items, &Limits::default()).unwrap()))
    }

    #[test]
    fn truth_follows_the_reference() {
        for (value, truth) in [
            (Value::Missing, false),
            (Value::Boolean(true), true),
            (Value::Boolean(false), false),
            (Value::Integer(0), false),
            (Value::Integer(-1), true),
            (Value::text("0"), false),
            (Value::text("0.00"), false),
            (Value::text("-0"), false),
            (Value::text("0x"), true),
            (Value::text("false"), true),
            (Value::text(""), false),
            (Value::text(" "), true),
            (Value::Decimal(Bytes::from("0.0")), false),
            (list(vec![]), false),
            (list(vec![Value::Missing]), true),
        ] {
            assert_eq!(value.is_true(), truth, "{value:?}");
        }
    }

    #[test]
    fn the_text_form_is_never_longer_than_the_weight() {
        for value in [
            Value::Integer(i64::MIN),
            Value::Boolean(false),
            list(vec![
                Value::Integer(i64::MIN),
                Value::text("abc"),
                list(vec![Value::Missing]),
            ]),
        ] {
            assert!(value.to_text().len() <= value.weight(), "{value:?}");
        }
    }

    #[test]
    fn a_tainted_value_is_escaped_and_another_is_not() {
        for (value, expected) in [
            (Value::text("<b>"), "<b>"),
            (Value::tainted_text("<b>"), "&lt;b&gt;"),
            (
                list(vec![Value::text("<"), Value::tainted_text(">")]),
                "&lt;,&gt;",
            ),
        ] {
            let mut out = Vec::new();
            value.emit(Escape::Html, &mut out);
            assert_eq!(out, expected.as_bytes(), "{value:?}");
        }
    }
}
