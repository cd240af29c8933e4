//! Sizes (`"256MiB"`) and durations (`"30s"`) as they are written in the configuration.

use std::fmt;
use std::time::Duration;

/// A number of bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct ByteSize(u64);

impl ByteSize {
    /// So many bytes.
    pub const fn bytes(count: u64) -> Self {
        Self(count)
    }

    /// So many times 1,024 bytes.
    pub const fn kibibytes(count: u64) -> Self {
        Self(count * 1024)
    }

    /// So many times 1,048,576 bytes.
    pub const fn mebibytes(count: u64) -> Self {
        Self(count * 1024 * 1024)
    }

    /// The bytes as a `u64`.
    pub const fn as_u64(self) -> u64 {
        self.0
    }

    /// The bytes as a `usize`, at most `usize::MAX`.
    pub fn as_usize(self) -> usize {
        usize::try_from(self.0).unwrap_or(usize::MAX)
    }

    /// Reads `"64KiB"`, `"256MiB"`, `"1GiB"`, `"512B"`; `None` for anything else (no sign, no fraction, no space).
    pub fn parse(text: &str) -> Option<Self> {
        let digits = text.find(|c: char| !c.is_ascii_digit())?;
        let (number, unit) = text.split_at(digits);
        let factor = match unit {
            "B" => 1,
            "KiB" => 1 << 10,
            "MiB" => 1 << 20,
            "GiB" => 1 << 30,
            _ => return None,
        };
        number.parse::<u64>().ok()?.checked_mul(factor).map(Self)
    }
}

impl fmt::Display for ByteSize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (shift, unit) in [(30, "GiB"), (20, "MiB"), (10, "KiB")] {
            if self.0 >= 1 << shift && self.0.is_multiple_of(1 << shift) {
                return write!(f, "{}{unit}", self.0 >> shift);
            }
        }
        write!(f, "{}B", self.0)
    }
}

/// Reads `"250ms"`, `"10s"`, `"5m"`, `"1h"`; `None` for anything else (no sign, no fraction, no space).
pub fn parse_duration(text: &str) -> Option<Duration> {
    let digits = text.find(|c: char| !c.is_ascii_digit())?;
    let (number, unit) = text.split_at(digits);
    let number: u64 = number.parse().ok()?;
    match unit {
        "ms" => Some(Duration::from_millis(number)),
        "s" => Some(Duration::from_secs(number)),
        "m" => number.checked_mul(60).map(Duration::from_secs),
        "h" => number.checked_mul(3600).map(Duration::from_secs),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_need_a_unit_and_nothing_else() {
        for (text, bytes) in [
            ("0B", Some(0)),
            ("64KiB", Some(65_536)),
            ("256MiB", Some(268_435_456)),
            ("2GiB", Some(2_147_483_648)),
        ] {
            assert_eq!(ByteSize::parse(text).map(ByteSize::as_u64), bytes, "{text}");
        }
        for text in [
            "",
            "64",
            "KiB",
            "-1KiB",
            "1.5MiB",
            "1 MiB",
            "1mib",
            "1MB",
            "99999999999999999999B",
            "18446744073709551615GiB",
        ] {
            assert_eq!(ByteSize::parse(text), None, "{text}");
        }
    }

    #[test]
    fn a_size_is_printed_as_it_is_written() {
        for text in ["1B", "1023B", "64KiB", "256MiB", "1GiB"] {
            assert_eq!(
                ByteSize::parse(text)
                    .map(|size| size.to_string())
                    .as_deref(),
                Some(text)
            );
        }
    }

    #[test]
    fn durations_need_a_unit_and_nothing_else() {
        assert_eq!(parse_duration("250ms"), Some(Duration::from_millis(250)));
        assert_eq!(parse_duration("10s"), Some(Duration::from_secs(10)));
        assert_eq!(parse_duration("5m"), Some(Duration::from_secs(300)));
        assert_eq!(parse_duration("1h"), Some(Duration::from_secs(3600)));
        for text in [
            "",
            "10",
            "s",
            "-1s",
            "1.5s",
            "1 s",
            "1S",
            "99999999999999999999s",
            "18446744073709551615h",
        ] {
            assert_eq!(parse_duration(text), None, "{text}");
        }
    }
}
