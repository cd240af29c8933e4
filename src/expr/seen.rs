//! What a reference finds, still in its place: most of it is compared or written out, and needs no value of its own for that.

use std::cmp::Ordering;

use bytes::Bytes;

use super::escape::Escape;
use super::operators;
use super::value::Value;

/// What a reference finds.
#[derive(Debug)]
pub enum Seen<'a> {
    /// A variable, or an entry of one.
    Value(&'a Value),
    /// Text of the request, or a part of it.
    Request {
        /// What it is a part of.
        whole: &'a Bytes,
        /// The part.
        part: &'a [u8],
    },
    /// A value that had to be made, and [`Value::Missing`].
    Made(Value),
}

impl<'a> Seen<'a> {
    /// All of a text of the request.
    pub(super) fn request(whole: &'a Bytes) -> Self {
        let part = whole;
        Self::Request { whole, part }
    }

    /// It as a value.
    pub fn taken(self) -> Value {
        match self {
            Self::Value(value) => value.clone(),
            Self::Request { whole, part } if whole.len() == part.len() => {
                Value::tainted_text(whole.clone())
            }
            Self::Request { whole, part } => Value::tainted_text(whole.slice_ref(part)),
            Self::Made(value) => value,
        }
    }

    /// As [`Value::is_tainted`].
    pub fn is_tainted(&self) -> bool {
        match self {
            Self::Value(value) => value.is_tainted(),
            Self::Request { .. } => true,
            Self::Made(value) => value.is_tainted(),
        }
    }

    /// As [`Value::append_text`].
    pub fn append_text(&self, out: &mut Vec<u8>) {
        match self {
            Self::Value(value) => value.append_text(out),
            Self::Request { part, .. } => out.extend_from_slice(part),
            Self::Made(value) => value.append_text(out),
        }
    }

    /// As [`Value::emit`].
    pub fn emit(&self, escape: Escape, out: &mut Vec<u8>) {
        match self {
            Self::Value(value) => value.emit(escape, out),
            Self::Request { part, .. } => escape.append(part, out),
            Self::Made(value) => value.emit(escape, out),
        }
    }

    /// Appends its text form to `out`, escaped whether it is tainted or not.
    pub fn append_escaped(&self, escape: Escape, out: &mut Vec<u8>) {
        match self {
            Self::Value(value) => escape.append(&value.to_text(), out),
            Self::Request { part, .. } => escape.append(part, out),
            Self::Made(value) => escape.append(&value.to_text(), out),
        }
    }

    /// How it compares with a value, by the rule of the language.
    pub(super) fn compare(&self, right: &Value) -> Ordering {
        match self {
            Self::Value(value) => operators::compare(value, right),
            Self::Request { part, .. } => operators::compare_text(part, right),
            Self::Made(value) => operators::compare(value, right),
        }
    }

    /// As [`Value::is_empty`].
    pub(super) fn is_empty(&self) -> bool {
        match self {
            Self::Value(value) => value.is_empty(),
            Self::Request { part, .. } => part.is_empty(),
            Self::Made(value) => value.is_empty(),
        }
    }
}
