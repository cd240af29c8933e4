//! Dates of HTTP (RFC 9110 5.6.7), as leniently as readers should be and no more.
//!
//! All three forms are read: IMF-fixdate, RFC 850, asctime. The day of the week may be the wrong one and letters may be of
//! either case; what else is off makes the date invalid, which for `Expires` means expired.

use std::cell::RefCell;
use std::time::{Duration, SystemTime};

use http::HeaderValue;

const MONTHS: [&[u8]; 12] = [
    b"jan", b"feb", b"mar", b"apr", b"may", b"jun", b"jul", b"aug", b"sep", b"oct", b"nov", b"dec",
];

const DAYS: [&[u8]; 7] = [
    b"monday",
    b"tuesday",
    b"wednesday",
    b"thursday",
    b"friday",
    b"saturday",
    b"sunday",
];

thread_local! {
    /// The date of the last second that was asked for.
    static LATEST: RefCell<(u64, HeaderValue)> = const { RefCell::new((0, EPOCH)) };
}

const EPOCH: HeaderValue = HeaderValue::from_static("Thu, 01 Jan 1970 00:00:00 GMT");

/// The date of now.
pub fn now() -> HeaderValue {
    let now = SystemTime::now();
    let since = now.duration_since(SystemTime::UNIX_EPOCH);
    let second = since.map_or(0, |since| since.as_secs());
    LATEST.with_borrow_mut(|latest| {
        if latest.0 != second {
            // A date is a value.
            let date = HeaderValue::from_str(&httpdate::fmt_http_date(now)).unwrap_or(EPOCH);
            *latest = (second, date);
        }
        latest.1.clone()
    })
}

/// Reads a date; `None` when it is none.
pub fn parse(text: &[u8]) -> Option<SystemTime> {
    let mut words = text.split(|byte| *byte == b' ');
    let first = words.next()?;
    let words: Vec<&[u8]> = words.collect();
    match (first.strip_suffix(b","), words.as_slice()) {
        // Sun, 06 Nov 1994 08:49:37 GMT
        (Some(day), [date, month, year, time, zone]) if is_day(day) && is_gmt(zone) => {
            instant(year4(year)?, month_of(month)?, two(date)?, time)
        }
        // Sunday, 06-Nov-94 08:49:37 GMT
        (Some(day), [date, time, zone]) if is_day(day) && is_gmt(zone) => {
            let mut parts = date.split(|byte| *byte == b'-');
            let (date, month, year) = (parts.next()?, parts.next()?, parts.next()?);
            let year = two(year)?;
            let year = if year < 70 { 2000 + year } else { 1900 + year };
            parts.next().is_none().then_some(())?;
            instant(year, month_of(month)?, two(date)?, time)
        }
        // Sun Nov  6 08:49:37 1994
        (None, [month, b"", date, time, year]) if is_day(first) && date.len() == 1 => {
            instant(year4(year)?, month_of(month)?, number(date)?, time)
        }
        (None, [month, date, time, year]) if is_day(first) => {
            instant(year4(year)?, month_of(month)?, two(date)?, time)
        }
        _ => None,
    }
}

/// A day of the week, whole or by its first three letters.
fn is_day(word: &[u8]) -> bool {
    DAYS.iter()
        .any(|day| word.eq_ignore_ascii_case(day) || word.eq_ignore_ascii_case(&day[..3]))
}

fn is_gmt(word: &[u8]) -> bool {
    word.eq_ignore_ascii_case(b"GMT")
}

fn month_of(word: &[u8]) -> Option<u64> {
    let at = MONTHS
        .iter()
        .position(|month| word.eq_ignore_ascii_case(month))?;
    Some(at as u64 + 1)
}

fn number(digits: &[u8]) -> Option<u64> {
    let all = !digits.is_empty() && digits.len() <= 4 && digits.iter().all(u8::is_ascii_digit);
    all.then(|| {
        digits
            .iter()
            .fold(0, |number, digit| number * 10 + u64::from(digit - b'0'))
    })
}

fn two(digits: &[u8]) -> Option<u64> {
    (digits.len() == 2).then(|| number(digits)).flatten()
}

fn year4(digits: &[u8]) -> Option<u64> {
    (digits.len() == 4).then(|| number(digits)).flatten()
}

/// The instant of a date and `hh:mm:ss`; a leap second counts as the second after it.
fn instant(year: u64, month: u64, day: u64, time: &[u8]) -> Option<SystemTime> {
    let mut parts = time.split(|byte| *byte == b':');
    let (hours, minutes, seconds) = (
        two(parts.next()?)?,
        two(parts.next()?)?,
        two(parts.next()?)?,
    );
    let fits = parts.next().is_none() && hours < 24 && minutes < 60 && seconds <= 60;
    if !fits || day == 0 || day > length(year, month) {
        return None;
    }
    let days = days_since_1970(year, month, day);
    let seconds = days * 86_400 + i64::try_from(hours * 3600 + minutes * 60 + seconds).ok()?;
    let distance = Duration::from_secs(seconds.unsigned_abs());
    if seconds < 0 {
        SystemTime::UNIX_EPOCH.checked_sub(distance)
    } else {
        SystemTime::UNIX_EPOCH.checked_add(distance)
    }
}

fn length(year: u64, month: u64) -> u64 {
    let leap = year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400));
    match month {
        2 if leap => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

/// Days of the Gregorian calendar, the year taken to begin in March so that the leap day is its last.
fn days_since_1970(year: u64, month: u64, day: u64) -> i64 {
    let [year, month, day] = [year, month, day].map(u64::cast_signed);
    let (year, month) = if month > 2 {
        (year, month - 3)
    } else {
        (year - 1, month + 9)
    };
    let leap_days = year.div_euclid(4) - year.div_euclid(100) + year.div_euclid(400);
    // 719,468 days lie between 1 March of the year 0 and 1 January 1970.
    year * 365 + leap_days + (153 * month + 2) / 5 + day - 1 - 719_468
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn three_forms_are_read_and_nothing_near_them() {
        let rows: &[(&str, Option<u64>)] = &[
            ("Sun, 06 Nov 1994 08:49:37 GMT", Some(784_111_777)),
            ("Mon, 06 Nov 1994 08:49:37 GMT", Some(784_111_777)),
            ("sUN, 06 nOV 1994 08:49:37 gmt", Some(784_111_777)),
            ("Sunday, 06-Nov-94 08:49:37 GMT", Some(784_111_777)),
            ("Sun Nov  6 08:49:37 1994", Some(784_111_777)),
            ("Sun Nov 06 08:49:37 1994", Some(784_111_777)),
            ("Thu, 01 Jan 1970 00:00:00 GMT", Some(0)),
            ("Thu, 29 Feb 2024 00:00:00 GMT", Some(1_709_164_800)),
            ("Wed, 29 Feb 2023 00:00:00 GMT", None),
            ("Sun, 06 Nov 1994 08:49:60 GMT", Some(784_111_800)),
            ("Sun, 06 Nov 1994 08:49:37 UTC", None),
            ("Sun, 06 Nov 1994 08:49:37 +0000", None),
            ("Sun, 06 Nov 1994 08:49:37", None),
            ("Sun, 6 Nov 1994 08:49:37 GMT", None),
            ("Sun, 06 Nov 94 08:49:37 GMT", None),
            ("Sun, 06-Nov-1994 08:49:37 GMT", None),
            ("Sun, 06 Nov 1994 8:49:37 GMT", None),
            ("Sun, 06 Nov 1994 08.49.37 GMT", None),
            ("Sun, 06 Nov 1994 24:00:00 GMT", None),
            ("Sun,  06 Nov 1994 08:49:37 GMT", None),
            ("Sun 06 Nov 1994 08:49:37 GMT", None),
            ("06 Nov 1994 08:49:37 GMT", None),
            ("Xxx, 06 Nov 1994 08:49:37 GMT", None),
            ("Sun, 06 Now 1994 08:49:37 GMT", None),
            ("Sun, 00 Nov 1994 08:49:37 GMT", None),
            ("0", None),
            ("", None),
            ("-1", None),
        ];
        for (text, wanted) in rows {
            let read = parse(text.as_bytes());
            let wanted = wanted.map(|at| SystemTime::UNIX_EPOCH + Duration::from_secs(at));
            assert_eq!(read, wanted, "{text}");
        }
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_back(seconds in 0_u64..253_402_300_800) {
            let at = SystemTime::UNIX_EPOCH + Duration::from_secs(seconds);
            prop_assert_eq!(parse(httpdate::fmt_http_date(at).as_bytes()), Some(at));
        }

        #[test]
        fn no_bytes_break_the_reader(bytes in proptest::collection::vec(any::<u8>(), 0..40)) {
            let _ = parse(&bytes);
        }
    }
}
