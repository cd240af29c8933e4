//! The operators on values. Each is a pure function, so that the parser can fold constants with it.

use std::cmp::Ordering;
use std::sync::Arc;

use bytes::Bytes;

use super::collection::List;
use super::error::{EvalError, Excess};
use super::functions::text::lowered;
use super::limits::Limits;
use super::number::{self, Number};
use super::seen::Seen;
use super::value::Value;

/// An operator between two values, except `&`, `|` (which may skip their right side) and `matches` (which keeps groups).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Binary {
    Equal,
    Unequal,
    Less,
    Greater,
    AtMost,
    AtLeast,
    Has,
    HasIgnoringCase,
    Add,
    Subtract,
    Multiply,
    Divide,
    Remainder,
}

impl Binary {
    /// As it is written.
    fn symbol(self) -> &'static str {
        match self {
            Self::Equal => "==",
            Self::Unequal => "!=",
            Self::Less => "<",
            Self::Greater => ">",
            Self::AtMost => "<=",
            Self::AtLeast => ">=",
            Self::Has => "has",
            Self::HasIgnoringCase => "has_i",
            Self::Add => "+",
            Self::Subtract => "-",
            Self::Multiply => "*",
            Self::Divide => "/",
            Self::Remainder => "%",
        }
    }

    /// Its result.
    pub(super) fn apply(
        self,
        left: &Value,
        right: &Value,
        limits: &Limits,
    ) -> Result<Value, EvalError> {
        if let Some(holds) = self.compare(&Seen::Value(left), right) {
            return Ok(Value::Boolean(holds));
        }
        match self {
            Self::Has => Ok(Value::Boolean(holds(&left.to_text(), &right.to_text()))),
            Self::HasIgnoringCase => {
                let (left, right) = (left.to_text(), right.to_text());
                Ok(Value::Boolean(holds(&lowered(&left), &lowered(&right))))
            }
            Self::Add => add(left, right, limits),
            _ => self.arithmetic(left, right),
        }
    }

    /// Whether a comparison holds; none when it is no comparison. An empty side is in no order.
    #[inline]
    pub(super) fn compare(self, left: &Seen<'_>, right: &Value) -> Option<bool> {
        let in_order = || !left.is_empty() && !right.is_empty();
        Some(match self {
            Self::Equal => left.compare(right).is_eq(),
            Self::Unequal => left.compare(right).is_ne(),
            Self::Less => in_order() && left.compare(right).is_lt(),
            Self::Greater => in_order() && left.compare(right).is_gt(),
            Self::AtMost => in_order() && left.compare(right).is_le(),
            Self::AtLeast => in_order() && left.compare(right).is_ge(),
            _ => return None,
        })
    }

    fn arithmetic(self, left: &Value, right: &Value) -> Result<Value, EvalError> {
        let operator = self.symbol();
        let (left, right) = (integer(left, operator)?, integer(right, operator)?);
        if right == 0 && matches!(self, Self::Divide | Self::Remainder) {
            return Err(EvalError::DivisionByZero);
        }
        match self {
            Self::Subtract => left.checked_sub(right),
            Self::Multiply => left.checked_mul(right),
            Self::Divide => left.checked_div(right),
            Self::Remainder => left.checked_rem(right),
            _ => left.checked_add(right),
        }
        .map(Value::Integer)
        .ok_or(EvalError::Overflow { operator })
    }
}

/// `-value`.
pub(super) fn negate(value: &Value) -> Result<Value, EvalError> {
    let operator = "-";
    integer(value, operator)?
        .checked_neg()
        .map(Value::Integer)
        .ok_or(EvalError::Overflow { operator })
}

/// `[first..last]`, both included; empty when the last is the smaller.
pub(super) fn range(first: &Value, last: &Value, limits: &Limits) -> Result<Value, EvalError> {
    let (first, last) = (integer(first, "..")?, integer(last, "..")?);
    let limit = limits.entries;
    let count = i128::from(last) - i128::from(first) + 1;
    if count > limit as i128 {
        return Err(Excess::Entries { limit }.into());
    }
    let items = (first..=last).map(Value::Integer).collect();
    Ok(Value::List(Arc::new(List::new(items, limits)?)))
}

/// Numbers by worth when both sides look like numbers, else bytes; missing is empty.
pub(super) fn compare(left: &Value, right: &Value) -> Ordering {
    if let (Value::Integer(left), Value::Integer(right)) = (left, right) {
        return left.cmp(right);
    }
    if let (Some(left), Some(right)) = (Number::of(left), Number::of(right)) {
        return left.cmp(&right);
    }
    left.to_text().cmp(&right.to_text())
}

/// The same with a text on the left.
pub(super) fn compare_text(left: &[u8], right: &Value) -> Ordering {
    if let (Some(left), Some(right)) = (Number::read(left), Number::of(right)) {
        return left.cmp(&right);
    }
    left.cmp(&*right.to_text())
}

fn holds(text: &[u8], part: &[u8]) -> bool {
    memchr::memmem::find(text, part).is_some()
}

/// Two numbers are added, two lists joined, anything else is put together as text.
fn add(left: &Value, right: &Value, limits: &Limits) -> Result<Value, EvalError> {
    match (left, right) {
        (Value::Integer(_) | Value::Decimal(_), Value::Integer(_) | Value::Decimal(_)) => {
            Binary::Add.arithmetic(left, right)
        }
        (Value::List(left), Value::List(right)) => {
            let items = [left.items(), right.items()].concat();
            let joined = List::new(items, limits)?;
            let tainted = left.is_tainted() || right.is_tainted();
            let joined = if tainted {
                joined.tainted_as_whole()
            } else {
                joined
            };
            Ok(Value::List(Arc::new(joined)))
        }
        _ => {
            let (left_text, right_text) = (left.to_text(), right.to_text());
            Excess::check_bytes(left_text.len() + right_text.len(), limits)?;
            Ok(Value::Text {
                bytes: [&left_text[..], &right_text[..]].concat().into(),
                tainted: left.is_tainted() || right.is_tainted(),
            })
        }
    }
}

/// The operand of an arithmetic operator: an integer, or text that looks like one.
fn integer(value: &Value, operator: &'static str) -> Result<i64, EvalError> {
    let given = value.kind();
    let number = match value {
        Value::Integer(integer) => return Ok(*integer),
        // A literal without a point that is no integer is one that is too long.
        Value::Text { bytes, .. } | Value::Decimal(bytes) => {
            Number::read(bytes).filter(|_| !bytes.contains(&b'.'))
        }
        _ => None,
    };
    let number = number.ok_or(EvalError::Operand { operator, given })?;
    number.truncated().ok_or(EvalError::Overflow { operator })
}

/// A number literal: an integer when 64 bits hold it, else one that only compares.
pub(super) fn literal(digits: &[u8]) -> Value {
    match number::read_integer(digits) {
        Some(integer) => Value::Integer(integer),
        None => Value::Decimal(Bytes::copy_from_slice(digits)),
    }
}
