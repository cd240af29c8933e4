//! Text that looks like a number, compared exactly whatever its length: `-?digits[.digits]`.

use std::borrow::Cow;
use std::cmp::Ordering;

use super::value::Value;

/// A number as digits, without the zeros that do not count.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Number<'a> {
    negative: bool,
    whole: Cow<'a, [u8]>,
    fraction: &'a [u8],
}

impl<'a> Number<'a> {
    /// Reads a whole text as a number; `None` when it does not look like one.
    pub fn read(text: &'a [u8]) -> Option<Self> {
        // Most texts that are looked at are words.
        if !matches!(text, [b'0'..=b'9' | b'-', ..]) {
            return None;
        }
        let (negative, digits) = match text.strip_prefix(b"-") {
            Some(rest) => (true, rest),
            None => (false, text),
        };
        let (whole, fraction) = match memchr::memchr(b'.', digits) {
            Some(point) => (&digits[..point], Some(&digits[point + 1..])),
            None => (digits, None),
        };
        if !all_digits(whole) || !fraction.is_none_or(all_digits) {
            return None;
        }
        let whole = &whole[count_leading_zeros(whole)..];
        let fraction = trim_trailing_zeros(fraction.unwrap_or_default());
        Some(Self {
            negative: negative && !(whole.is_empty() && fraction.is_empty()),
            whole: Cow::Borrowed(whole),
            fraction,
        })
    }

    /// The number that a value looks like; `None` when it does not look like one.
    pub fn of(value: &'a Value) -> Option<Self> {
        match value {
            Value::Integer(integer) => Some(Number::from(*integer)),
            Value::Decimal(bytes) | Value::Text { bytes, .. } => Self::read(bytes),
            _ => None,
        }
    }

    /// Whether it is zero, however written.
    pub fn is_zero(&self) -> bool {
        self.whole.is_empty() && self.fraction.is_empty()
    }

    /// The number without its fraction; `None` when it needs more than 64 bits.
    pub fn truncated(&self) -> Option<i64> {
        let mut value: i64 = 0;
        for digit in self.whole.iter() {
            let digit = i64::from(digit - b'0');
            // Counted downwards, because the smallest integer has no positive twin.
            value = value.checked_mul(10)?.checked_sub(digit)?;
        }
        if self.negative {
            Some(value)
        } else {
            value.checked_neg()
        }
    }

    /// Whether it has a fraction that counts.
    pub fn has_fraction(&self) -> bool {
        !self.fraction.is_empty()
    }

    fn compare_size(&self, other: &Self) -> Ordering {
        self.whole
            .len()
            .cmp(&other.whole.len())
            .then_with(|| self.whole.cmp(&other.whole))
            .then_with(|| self.fraction.cmp(other.fraction))
    }
}

impl From<i64> for Number<'static> {
    fn from(integer: i64) -> Self {
        let digits = if integer == 0 {
            Vec::new()
        } else {
            integer.unsigned_abs().to_string().into_bytes()
        };
        Self {
            negative: integer < 0,
            whole: Cow::Owned(digits),
            fraction: b"",
        }
    }
}

impl Ord for Number<'_> {
    fn cmp(&self, other: &Self) -> Ordering {
        match (self.negative, other.negative) {
            (false, false) => self.compare_size(other),
            (true, true) => other.compare_size(self),
            (true, false) => Ordering::Less,
            (false, true) => Ordering::Greater,
        }
    }
}

impl PartialOrd for Number<'_> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

/// So many digits fit into 64 bits whatever they are.
const SAFE: usize = 18;

/// A whole text as a 64-bit integer, `-?digits`; `None` for anything else.
pub fn read_integer(text: &[u8]) -> Option<i64> {
    let digits = text.strip_prefix(b"-").unwrap_or(text);
    if !all_digits(digits) {
        return None;
    }
    if digits.len() > SAFE {
        return Number::read(text)?.truncated();
    }
    let size = digits
        .iter()
        .fold(0, |size, digit| size * 10 + i64::from(digit - b'0'));
    Some(if digits.len() < text.len() {
        -size
    } else {
        size
    })
}

/// Appends an integer in decimal.
pub(super) fn append_integer(integer: i64, out: &mut Vec<u8>) {
    // As many digits as the smallest has, and its sign.
    let mut text = [0; 20];
    let mut start = text.len();
    let mut rest = integer.unsigned_abs();
    while let Some(place) = start.checked_sub(1) {
        start = place;
        text[place] = b'0' + (rest % 10) as u8;
        rest /= 10;
        if rest == 0 {
            break;
        }
    }
    if integer < 0 {
        out.push(b'-');
    }
    out.extend_from_slice(&text[start..]);
}

fn all_digits(text: &[u8]) -> bool {
    !text.is_empty() && text.iter().all(u8::is_ascii_digit)
}

fn count_leading_zeros(digits: &[u8]) -> usize {
    digits.iter().take_while(|digit| **digit == b'0').count()
}

fn trim_trailing_zeros(digits: &[u8]) -> &[u8] {
    let zeros = digits
        .iter()
        .rev()
        .take_while(|digit| **digit == b'0')
        .count();
    &digits[..digits.len() - zeros]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_digits_with_a_sign_and_a_point_look_like_a_number() {
        for text in [
            "0",
            "12",
            "-12",
            "1.5",
            "-0.50",
            "007",
            "99999999999999999999",
        ] {
            assert!(Number::read(text.as_bytes()).is_some(), "{text}");
        }
        for text in [
            "", "-", "+1", "1.", ".5", "1e3", " 1", "1 ", "--1", "1.2.3", "0x1", "1,5",
        ] {
            assert!(Number::read(text.as_bytes()).is_none(), "{text}");
        }
    }

    #[test]
    fn integers_are_written_in_decimal() {
        for integer in [0, 7, -1, 10, 90, i64::MAX, i64::MIN, i64::MIN + 1] {
            let mut text = b"x".to_vec();
            append_integer(integer, &mut text);
            assert_eq!(text, format!("x{integer}").as_bytes());
        }
    }

    #[test]
    fn numbers_compare_by_worth_and_not_by_spelling() {
        let rising = [
            "-99999999999999999999",
            "-5.1",
            "-5",
            "-0.01",
            "0",
            "0.1",
            "0.11",
            "2",
            "10",
            "99999999999999999999",
        ];
        for (place, left) in rising.iter().enumerate() {
            for (other_place, right) in rising.iter().enumerate() {
                assert_eq!(
                    Number::read(left.as_bytes()).cmp(&Number::read(right.as_bytes())),
                    place.cmp(&other_place),
                    "{left} and {right}"
                );
            }
        }
        for (left, right) in [
            ("1.0", "1"),
            ("-0", "0"),
            ("007", "7"),
            ("0.50", "0.5"),
            ("-0.0", "0"),
        ] {
            assert_eq!(
                Number::read(left.as_bytes()),
                Number::read(right.as_bytes()),
                "{left} and {right}"
            );
        }
    }

    #[test]
    fn integers_end_at_64_bits() {
        for (text, integer) in [
            ("9223372036854775807", Some(i64::MAX)),
            ("-9223372036854775808", Some(i64::MIN)),
            ("9223372036854775808", None),
            ("-9223372036854775809", None),
            ("0012", Some(12)),
            ("-0", Some(0)),
            ("1.0", None),
            ("", None),
        ] {
            assert_eq!(read_integer(text.as_bytes()), integer, "{text}");
        }
    }
}
