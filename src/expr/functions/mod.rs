//! The built-in functions: rows of one table, found by name when an expression is parsed.
//!
//! What a row needs to know of an argument it asks [`Arguments`], which turns a wrong type into the failure to report. Taint
//! is dealt with in one place, [`Function::finish`], so that no function can forget it.

mod encoding;
mod kind;
mod list;
mod response;
pub(super) mod text;
mod time;

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;

use super::collection::List;
use super::error::{EvalError, Excess};
use super::host::Host;
use super::limits::Limits;
use super::number::{self, Number};
use super::scope::Scope;
use super::value::Value;

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

/// The built-in name that is spelled most like this one: at most two letters apart, and less than half of them.
pub fn nearest(name: &[u8]) -> Option<&'static str> {
    const FARTHEST: usize = 2;
    let distances = TABLE.iter().map(|function| {
        let distance = edit_distance(name, function.name.as_bytes());
        (distance, function.name)
    });
    let (distance, nearest) = distances.min_by_key(|(distance, _)| *distance)?;
    (distance <= FARTHEST && distance * 2 < nearest.len()).then_some(nearest)
}

/// How many bytes must be put in, taken out or replaced to make one text the other. Cheap, because one of them is the name
/// of a built-in function.
fn edit_distance(left: &[u8], right: &[u8]) -> usize {
    let mut row: Vec<usize> = (0..=right.len()).collect();
    for (line, left_byte) in left.iter().enumerate() {
        let mut diagonal = line;
        let mut before = line + 1;
        if let Some(first) = row.first_mut() {
            *first = before;
        }
        for (cell, right_byte) in row.iter_mut().skip(1).zip(right) {
            let replaced = diagonal + usize::from(left_byte != right_byte);
            diagonal = *cell;
            before = replaced.min(*cell + 1).min(before + 1);
            *cell = before;
        }
    }
    row.last().copied().unwrap_or_default()
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
            Action::Pure(_) => self.apply_pure(values, &*scope.limits()),
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

/// The arguments of one call; their number has been checked.
#[derive(Debug, Clone, Copy)]
pub(super) struct Arguments<'a> {
    function: &'static str,
    values: &'a [Value],
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn distances_count_single_changes() {
        for (left, right, distance) in [
            ("", "abc", 3),
            ("abc", "", 3),
            ("lower", "lower", 0),
            ("lowr", "lower", 1),
            ("kitten", "sitting", 3),
        ] {
            assert_eq!(
                edit_distance(left.as_bytes(), right.as_bytes()),
                distance,
                "{left} {right}"
            );
        }
    }

    #[test]
    fn the_nearest_name_is_near() {
        for (name, expected) in [
            ("lowr", Some("lower")),
            ("urlencode", Some("url_encode")),
            ("substring", None),
            ("md5", None),
            ("frobnicate", None),
            ("x", None),
        ] {
            assert_eq!(nearest(name.as_bytes()), expected, "{name}");
        }
    }

    #[test]
    fn names_are_in_the_table_once() {
        for function in &TABLE {
            let same = TABLE.iter().filter(|other| other.name == function.name);
            assert_eq!(same.count(), 1, "{}", function.name);
            assert!(function.arity.0 <= function.arity.1, "{}", function.name);
        }
    }
}
