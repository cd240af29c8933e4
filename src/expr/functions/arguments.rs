//! What a function asks of its arguments; a wrong type becomes the failure to report.

use std::borrow::Cow;

use super::super::error::EvalError;
use super::super::limits::Limits;
use super::super::number::{self, Number};
use super::super::value::Value;

/// The arguments of one call; their number has been checked.
#[derive(Debug, Clone, Copy)]
pub(in super::super) struct Arguments<'a> {
    pub(super) function: &'static str,
    pub(super) values: &'a [Value],
    pub(super) limits: &'a Limits,
}

impl<'a> Arguments<'a> {
    /// An argument; missing when it was left out.
    pub(super) fn value(&self, place: usize) -> &'a Value {
        self.values.get(place).unwrap_or(&Value::Missing)
    }

    /// An argument as text: anything but a list or dictionary, nothing being empty.
    pub(super) fn text(&self, place: usize) -> Result<Cow<'a, [u8]>, EvalError> {
        match self.value(place) {
            Value::List(_) | Value::Dictionary(_) => Err(self.wrong(place, "text")),
            other => Ok(other.to_text()),
        }
    }

    /// An argument as text, or this text when it was left out or is missing.
    pub(super) fn text_or(
        &self,
        place: usize,
        otherwise: &'static [u8],
    ) -> Result<Cow<'a, [u8]>, EvalError> {
        match self.value(place) {
            Value::Missing => Ok(Cow::Borrowed(otherwise)),
            _ => self.text(place),
        }
    }

    /// An argument as an integer: one, or text that looks like one.
    pub(super) fn integer(&self, place: usize) -> Result<i64, EvalError> {
        let integer = match self.value(place) {
            Value::Integer(integer) => Some(*integer),
            Value::Text { bytes, .. } => number::read_integer(bytes),
            _ => None,
        };
        integer.ok_or_else(|| self.wrong(place, "an integer"))
    }

    /// An argument as an integer, when it was given and is not missing.
    pub(super) fn optional_integer(&self, place: usize) -> Result<Option<i64>, EvalError> {
        match self.value(place) {
            Value::Missing => Ok(None),
            _ => self.integer(place).map(Some),
        }
    }

    /// An argument as a list; nothing is an empty one.
    pub(super) fn items(&self, place: usize) -> Result<&'a [Value], EvalError> {
        match self.value(place) {
            Value::List(list) => Ok(list.items()),
            Value::Missing => Ok(&[]),
            _ => Err(self.wrong(place, "a list")),
        }
    }

    /// An argument as a number cut to an integer.
    pub(super) fn number(&self, place: usize) -> Result<i64, EvalError> {
        let number = Number::of(self.value(place)).and_then(|number| number.truncated());
        number.ok_or_else(|| self.wrong(place, "a number of at most 64 bits"))
    }

    /// The failure that an argument is not what the function takes.
    pub(super) fn wrong(&self, place: usize, accepted: &'static str) -> EvalError {
        EvalError::Argument {
            function: self.function,
            position: place + 1,
            accepted,
            given: self.value(place).kind(),
        }
    }

    /// The failure that the host refuses.
    pub(super) fn refused(&self, reason: &'static str) -> EvalError {
        EvalError::Refused {
            function: self.function,
            reason,
        }
    }
}
