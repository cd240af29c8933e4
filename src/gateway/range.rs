//! Which part of a stored answer is asked for (RFC 9110 14): one range of bytes, or the whole. Composed pages are never asked.

use std::ops::Range;

use http::header::{ETAG, HeaderValue, IF_RANGE, LAST_MODIFIED, RANGE};
use http::{HeaderMap, Method, StatusCode};

/// What to answer with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Wanted {
    /// All of it: no range, or more than one, or one that cannot be read or no longer holds.
    Whole,
    /// These bytes, 206.
    Part(Range<usize>),
    /// None of the bytes that there are, 416.
    Nothing,
}

/// What a request asks of a stored answer of `length` bytes.
pub fn wanted(
    method: &Method,
    request: &HeaderMap,
    status: StatusCode,
    stored: &HeaderMap,
    length: usize,
) -> Wanted {
    let mut lines = request.get_all(RANGE).iter();
    let (Some(line), None) = (lines.next(), lines.next()) else {
        return Wanted::Whole;
    };
    if *method != Method::GET || status != StatusCode::OK || !still_holds(request, stored) {
        return Wanted::Whole;
    }
    part(line.as_bytes(), length).unwrap_or(Wanted::Whole)
}

/// `If-Range`: a strong tag, or exactly the date of the stored answer; all else asks for the whole (RFC 9110 13.1.5).
fn still_holds(request: &HeaderMap, stored: &HeaderMap) -> bool {
    let Some(condition) = request.get(IF_RANGE).map(HeaderValue::as_bytes) else {
        return true;
    };
    let is = |name| {
        let validator = stored.get(name).map(HeaderValue::as_bytes);
        validator.is_some_and(|validator: &[u8]| validator.trim_ascii() == condition.trim_ascii())
    };
    if condition.starts_with(b"\"") {
        is(ETAG)
    } else {
        !condition.starts_with(b"W/") && is(LAST_MODIFIED)
    }
}

fn part(line: &[u8], length: usize) -> Option<Wanted> {
    let (unit, ranges) = line.split_at_checked(6)?;
    if !unit.eq_ignore_ascii_case(b"bytes=") || ranges.contains(&b',') {
        return None;
    }
    let ranges = ranges.trim_ascii();
    let dash = ranges.iter().position(|byte| *byte == b'-')?;
    let (first, last) = (&ranges[..dash], &ranges[dash + 1..]);
    if first.is_empty() {
        let suffix = number(last)?;
        return Some(if suffix == 0 || length == 0 {
            Wanted::Nothing
        } else {
            Wanted::Part(length.saturating_sub(suffix)..length)
        });
    }
    let first = number(first)?;
    let last = if last.is_empty() {
        usize::MAX
    } else {
        number(last)?
    };
    if last < first {
        return None;
    }
    Some(if first >= length {
        Wanted::Nothing
    } else {
        Wanted::Part(first..last.saturating_add(1).min(length))
    })
}

/// Digits; what no memory can hold saturates.
fn number(digits: &[u8]) -> Option<usize> {
    if digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    Some(digits.iter().fold(0_usize, |number, digit| {
        number
            .saturating_mul(10)
            .saturating_add(usize::from(digit - b'0'))
    }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::HeaderName;

    fn map(rows: &[(&'static str, &'static str)]) -> HeaderMap {
        rows.iter()
            .map(|(name, value)| {
                (
                    HeaderName::from_static(name),
                    HeaderValue::from_static(value),
                )
            })
            .collect()
    }

    #[test]
    fn one_range_or_the_whole() {
        for (line, result) in [
            ("bytes=0-0", Wanted::Part(0..1)),
            ("bytes=2-5", Wanted::Part(2..6)),
            ("Bytes=2-", Wanted::Part(2..10)),
            ("bytes=-3", Wanted::Part(7..10)),
            ("bytes=-30", Wanted::Part(0..10)),
            ("bytes=9-99999999999999999999999", Wanted::Part(9..10)),
            ("bytes=10-", Wanted::Nothing),
            ("bytes=99999999999999999999999-", Wanted::Nothing),
            ("bytes=-0", Wanted::Nothing),
            ("bytes=0-1,3-4", Wanted::Whole),
            ("bytes=5-2", Wanted::Whole),
            ("bytes=a-b", Wanted::Whole),
            ("bytes=-", Wanted::Whole),
            ("bytes=", Wanted::Whole),
            ("lines=0-1", Wanted::Whole),
            ("", Wanted::Whole),
        ] {
            let request = map(&[("range", line)]);
            let wanted = wanted(&Method::GET, &request, StatusCode::OK, &map(&[]), 10);
            assert_eq!(wanted, result, "{line}");
        }
        let request = map(&[("range", "bytes=0-0")]);
        let none = map(&[]);
        assert_eq!(
            wanted(&Method::HEAD, &request, StatusCode::OK, &none, 10),
            Wanted::Whole
        );
        assert_eq!(
            wanted(&Method::GET, &request, StatusCode::NOT_FOUND, &none, 10),
            Wanted::Whole
        );
        assert_eq!(part(b"bytes=-1", 0), Some(Wanted::Nothing));
    }

    #[test]
    fn a_condition_must_hold_strongly() {
        let stored = map(&[
            ("etag", "\"a\""),
            ("last-modified", "Sun, 06 Nov 1994 08:49:37 GMT"),
        ]);
        for (condition, holds) in [
            ("\"a\"", true),
            ("\"b\"", false),
            ("W/\"a\"", false),
            ("Sun, 06 Nov 1994 08:49:37 GMT", true),
            ("Sun, 06 Nov 1994 08:49:38 GMT", false),
        ] {
            let request = map(&[("range", "bytes=0-0"), ("if-range", condition)]);
            let wanted = wanted(&Method::GET, &request, StatusCode::OK, &stored, 10);
            assert_eq!(wanted != Wanted::Whole, holds, "{condition}");
        }
        let weak = map(&[("etag", "W/\"a\"")]);
        let request = map(&[("range", "bytes=0-0"), ("if-range", "\"a\"")]);
        assert_eq!(
            wanted(&Method::GET, &request, StatusCode::OK, &weak, 10),
            Wanted::Whole
        );
    }
}
