//! Functions of time and chance. Times are seconds since 1970; dates are written in UTC.

use jiff::Timestamp;
use jiff::fmt::strtime;
use jiff::tz::TimeZone;

use super::super::error::EvalError;
use super::super::host::Host;
use super::super::scope::Scope;
use super::super::value::Value;
use super::Arguments;

type Result = std::result::Result<Value, EvalError>;

/// How many numbers `$rand()` chooses from.
const DEFAULT_RANGE: i64 = 100_000_000;

/// The longest format; a few bytes of it can ask for hundreds.
const LONGEST_FORMAT: usize = 1024;

/// A time as HTTP writes it (RFC 9110, 5.6.7); `None` outside the years that a calendar of four digits has.
pub fn http_time(seconds: i64) -> Option<String> {
    strftime(seconds, b"%a, %d %b %Y %H:%M:%S GMT")
}

/// A time by a format of strftime, in UTC; `None` when the format has a directive that is not known or the time is out of
/// range.
pub fn strftime(seconds: i64, format: &[u8]) -> Option<String> {
    if format.len() > LONGEST_FORMAT {
        return None;
    }
    let time = Timestamp::from_second(seconds).ok()?;
    strtime::format(format, &time.to_zoned(TimeZone::UTC)).ok()
}

pub(super) fn now(_: &Arguments<'_>, _: &mut Scope, host: &mut dyn Host) -> Result {
    Ok(Value::Integer(host.now()))
}

pub(super) fn as_http_date(arguments: &Arguments<'_>) -> Result {
    match http_time(arguments.integer(0)?) {
        Some(date) => Ok(Value::text(date)),
        None => Err(arguments.wrong(0, "seconds since 1970, up to the year 9999")),
    }
}

/// `$strftime(t, fmt)`.
pub(super) fn formatted(arguments: &Arguments<'_>) -> Result {
    let seconds = arguments.integer(0)?;
    if Timestamp::from_second(seconds).is_err() {
        return Err(arguments.wrong(0, "seconds since 1970, up to the year 9999"));
    }
    match strftime(seconds, &arguments.text(1)?) {
        Some(date) => Ok(Value::text(date)),
        None => Err(arguments.wrong(1, "a format of strftime, at most 1024 bytes")),
    }
}

/// `$rand([max])`: from 0 up to but not including `max`.
pub(super) fn random(arguments: &Arguments<'_>, scope: &mut Scope, host: &mut dyn Host) -> Result {
    let range = arguments.optional_integer(0)?.unwrap_or(DEFAULT_RANGE);
    let below = u64::try_from(range).unwrap_or(0);
    if below == 0 {
        return Err(arguments.wrong(0, "an integer from 1 on"));
    }
    // Below `range`, which is an i64; a host that answers otherwise is cut to what was asked.
    let number = i64::try_from(host.random(below) % below).unwrap_or(0);
    scope.keep_random(number);
    Ok(Value::Integer(number))
}

pub(super) fn last_random(_: &Arguments<'_>, scope: &mut Scope, _: &mut dyn Host) -> Result {
    Ok(scope.last_random())
}
