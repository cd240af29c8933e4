//! The built-in functions: rows of one table, found by name when an expression is parsed.
//!
//! What a row needs to know of an argument it asks `Arguments`, which turns a wrong type into the failure to report. Taint
//! is dealt with in one place, `Function::finish`, so that no function can forget it.

#![allow(
    clippy::unnecessary_wraps,
    reason = "the rows of one table have one signature, whether they can fail or not"
)]

mod arguments;
mod encoding;
mod kind;
mod list;
mod nearest;
mod response;
pub(super) mod text;
mod time;

use std::fmt;
use std::sync::Arc;

use super::collection::List;
use super::error::{EvalError, Excess};
use super::host::Host;
use super::limits::Limits;
use super::scope::Scope;
use super::value::Value;

use arguments::Arguments;
pub use nearest::nearest;
pub use time::{http_time, strftime};

/// A built-in function.
#[derive(Debug)]
pub(super) struct Function {
    pub(super) name: &'static str,
    /// Fewest and most arguments.
    pub(super) arity: (usize, usize),
    pub(super) taint: Taint,
    pub(super) subject: Subject,
    pub(super) action: Action,
}

/// What happens to the mark of the request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Taint {
    /// The result is tainted, with all that it holds, when any argument is.
    Spreads,
    /// The result counts as tainted when any argument is; the items in it keep what they are.
    StaysWithItems,
    /// The result is never tainted.
    Ends,
}

/// What a function is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Subject {
    Value,
    Time,
    Response,
}

/// What a function does.
pub(super) enum Action {
    /// Its result depends on its arguments alone.
    Pure(fn(&Arguments<'_>) -> Result<Value, EvalError>),
    /// It asks or changes the world.
    Effect(fn(&Arguments<'_>, &mut Scope, &mut dyn Host) -> Result<Value, EvalError>),
}

const fn pure(
    name: &'static str,
    arity: (usize, usize),
    taint: Taint,
    action: fn(&Arguments<'_>) -> Result<Value, EvalError>,
) -> Function {
    Function {
        name,
        arity,
        taint,
        subject: Subject::Value,
        action: Action::Pure(action),
    }
}

const fn effect(
    name: &'static str,
    arity: (usize, usize),
    subject: Subject,
    action: fn(&Arguments<'_>, &mut Scope, &mut dyn Host) -> Result<Value, EvalError>,
) -> Function {
    Function {
        name,
        arity,
        taint: Taint::Spreads,
        subject,
        action: Action::Effect(action),
    }
}

/// All built-in functions, in the order of the reference.
static TABLE: [Function; 37] = [
    pure("lower", (1, 1), Taint::Spreads, text::lower),
    pure("upper", (1, 1), Taint::Spreads, text::upper),
    pure("strip", (1, 1), Taint::Spreads, text::strip),
    pure("lstrip", (1, 1), Taint::Spreads, text::strip_left),
    pure("rstrip", (1, 1), Taint::Spreads, text::strip_right),
    pure("len", (1, 1), Taint::Spreads, text::length),
    pure("substr", (2, 3), Taint::Spreads, text::substring),
    pure("index", (2, 2), Taint::Spreads, text::first_index),
    pure("rindex", (2, 2), Taint::Spreads, text::last_index),
    pure("replace", (3, 4), Taint::Spreads, text::replace),
    pure("join", (1, 2), Taint::Spreads, list::join),
    pure("string_split", (1, 3), Taint::Spreads, list::split),
    pure("html_encode", (1, 1), Taint::Ends, encoding::html_encode),
    pure("html_decode", (1, 1), Taint::Spreads, encoding::html_decode),
    pure("url_encode", (1, 1), Taint::Ends, encoding::url_encode),
    pure("url_decode", (1, 1), Taint::Spreads, encoding::url_decode),
    pure(
        "base64_encode",
        (1, 1),
        Taint::Ends,
        encoding::base64_encode,
    ),
    pure(
        "base64_decode",
        (1, 1),
        Taint::Spreads,
        encoding::base64_decode,
    ),
    pure("digest_md5_hex", (1, 1), Taint::Ends, encoding::md5_hex),
    pure(
        "digest_sha256_hex",
        (1, 1),
        Taint::Ends,
        encoding::sha256_hex,
    ),
    pure("raw", (1, 1), Taint::Ends, kind::same),
    pure("int", (1, 1), Taint::Spreads, kind::integer),
    pure("str", (1, 1), Taint::Spreads, kind::text),
    pure("exists", (1, 1), Taint::Spreads, kind::exists),
    pure("is_empty", (1, 1), Taint::Spreads, kind::is_empty),
    pure(
        "list_delitem",
        (2, 2),
        Taint::StaysWithItems,
        list::delete_item,
    ),
    pure("dollar", (0, 0), Taint::Spreads, |_| Ok(Value::text("$"))),
    pure("squote", (0, 0), Taint::Spreads, |_| Ok(Value::text("'"))),
    pure("dquote", (0, 0), Taint::Spreads, |_| Ok(Value::text("\""))),
    effect("time", (0, 0), Subject::Time, time::now),
    pure("http_time", (1, 1), Taint::Spreads, time::as_http_date),
    pure("strftime", (2, 2), Taint::Spreads, time::formatted),
    effect("rand", (0, 1), Subject::Value, time::random),
    effect("last_rand", (0, 0), Subject::Value, time::last_random),
    effect(
        "add_header",
        (2, 2),
        Subject::Response,
        response::add_header,
    ),
    effect(
        "set_response_code",
        (1, 2),
        Subject::Response,
        response::set_code,
    ),
    effect(
        "set_redirect",
        (1, 1),
        Subject::Response,
        response::set_redirect,
    ),
];

/// The built-in function of this name.
pub(super) fn find(name: &[u8]) -> Option<&'static Function> {
    TABLE
        .iter()
        .find(|function| function.name.as_bytes() == name)
}

/// Whether a document must leave this name of a function alone.
pub fn is_built_in(name: &[u8]) -> bool {
    find(name).is_some()
}

impl Function {
    /// Its result.
    pub(super) fn apply(
        &self,
        values: &[Value],
        scope: &mut Scope,
        host: &mut dyn Host,
    ) -> Result<Value, EvalError> {
        match self.action {
            Action::Pure(_) => self.apply_pure(values, scope.limits()),
            Action::Effect(action) => {
                let limits = *scope.limits();
                let arguments = self.arguments(values, &limits)?;
                let result = action(&arguments, scope, host)?;
                self.finish(result, values, &limits)
            }
        }
    }

    /// The result of a pure function; any other fails, since it needs more than its arguments.
    pub(super) fn apply_pure(&self, values: &[Value], limits: &Limits) -> Result<Value, EvalError> {
        let arguments = self.arguments(values, limits)?;
        let result = match self.action {
            Action::Pure(action) => action(&arguments)?,
            Action::Effect(_) => Value::Missing,
        };
        self.finish(result, values, limits)
    }

    /// Whether it takes so many arguments.
    pub(super) fn check_count(&self, given: usize) -> Result<(), EvalError> {
        let (fewest, most) = self.arity;
        if (fewest..=most).contains(&given) {
            return Ok(());
        }
        let accepted = match most - fewest {
            0 => fewest.to_string(),
            1 => format!("{fewest} or {most}"),
            _ => format!("{fewest} to {most}"),
        };
        Err(EvalError::ArgumentCount {
            function: self.name,
            accepted,
            given,
        })
    }

    #[inline]
    fn arguments<'a>(
        &self,
        values: &'a [Value],
        limits: &'a Limits,
    ) -> Result<Arguments<'a>, EvalError> {
        self.check_count(values.len())?;
        Ok(Arguments {
            function: self.name,
            values,
            limits,
        })
    }

    /// Bounds the size of a result and gives it its mark.
    #[inline]
    fn finish(&self, result: Value, values: &[Value], limits: &Limits) -> Result<Value, EvalError> {
        Excess::check_bytes(result.weight(), limits)?;
        if self.taint == Taint::Ends {
            return Ok(result.marked(false));
        }
        if !values.iter().any(Value::is_tainted) {
            return Ok(result);
        }
        Ok(match result {
            Value::List(list) if self.taint == Taint::StaysWithItems => {
                Value::List(Arc::new(List::clone(&list).tainted_as_whole()))
            }
            other => other.marked(true),
        })
    }
}

impl fmt::Debug for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Pure(_) => "Pure",
            Self::Effect(_) => "Effect",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_in_the_table_once() {
        for function in &TABLE {
            let same = TABLE.iter().filter(|other| other.name == function.name);
            assert_eq!(same.count(), 1, "{}", function.name);
            assert!(function.arity.0 <= function.arity.1, "{}", function.name);
        }
    }
}
