//! Functions of what a value is.

use super::super::error::EvalError;
use super::super::value::Value;
use super::Arguments;

type Result = std::result::Result<Value, EvalError>;

/// `$raw(v)`: the value as it is; that its mark ends is said in the table.
pub(super) fn same(arguments: &Arguments<'_>) -> Result {
    Ok(arguments.value(0).clone())
}

/// `$int(v)`: a number without its fraction.
pub(super) fn integer(arguments: &Arguments<'_>) -> Result {
    arguments.number(0).map(Value::Integer)
}

pub(super) fn text(arguments: &Arguments<'_>) -> Result {
    Ok(Value::text(arguments.value(0).to_text().into_owned()))
}

pub(super) fn exists(arguments: &Arguments<'_>) -> Result {
    Ok(Value::Boolean(!arguments.value(0).is_empty()))
}

pub(super) fn is_empty(arguments: &Arguments<'_>) -> Result {
    Ok(Value::Boolean(arguments.value(0).is_empty()))
}
