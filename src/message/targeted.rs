//! Targeted cache control (RFC 9213): `CDN-Cache-Control` and ours, which are Structured Field dictionaries (RFC 8941 3.2).
//!
//! They are read strictly, not as Cache-Control is: a field that is no dictionary is ignored as a whole, or a slip of the pen in
//! it would lift what Cache-Control forbids.

use std::time::Duration;

use http::HeaderMap;
use http::header::HeaderName;

/// The directives of a targeted field that a shared cache obeys.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct TargetedControl {
    /// `no-store`.
    pub no_store: bool,
    /// `no-cache`.
    pub no_cache: bool,
    /// `private`.
    pub private: bool,
    /// `public`.
    pub public: bool,
    /// `s-maxage`, where it is a number.
    pub s_maxage: Option<Duration>,
    /// `max-age`, where it is a number.
    pub max_age: Option<Duration>,
}

/// The value of a member.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Item {
    Integer(i64),
    Boolean(bool),
    Other,
}

impl TargetedControl {
    /// Reads all lines of `field`; `None` when it is not there, empty, or no dictionary.
    pub fn read(headers: &HeaderMap, field: &HeaderName) -> Option<Self> {
        let mut lines = headers.get_all(field).iter();
        let mut text = lines.next()?.as_bytes().to_vec();
        for line in lines {
            text.push(b',');
            text.extend_from_slice(line.as_bytes());
        }
        let mut rest = Reader(text.trim_ascii());
        if rest.0.is_empty() {
            return None;
        }
        let mut read = Self::default();
        loop {
            let key = rest.key()?;
            let item = if rest.eat(b'=') {
                rest.value()?
            } else {
                Item::Boolean(true)
            };
            rest.parameters()?;
            read.take(key, item);
            rest.white();
            if rest.0.is_empty() {
                return Some(read);
            }
            if !rest.eat(b',') {
                return None;
            }
            rest.white();
        }
    }

    /// Of a repeated key the last one counts.
    fn take(&mut self, key: &[u8], item: Item) {
        // `private="x"` forbids too: what cannot be kept apart is not kept.
        let is_set = item != Item::Boolean(false);
        match key {
            b"no-store" => self.no_store = is_set,
            b"no-cache" => self.no_cache = is_set,
            b"private" => self.private = is_set,
            b"public" => self.public = item == Item::Boolean(true),
            b"s-maxage" => self.s_maxage = lifetime(item),
            b"max-age" => self.max_age = lifetime(item),
            _ => {}
        }
    }
}

fn lifetime(item: Item) -> Option<Duration> {
    match item {
        Item::Integer(seconds) => Some(Duration::from_secs(
            u64::try_from(seconds).unwrap_or(0).min(1 << 31),
        )),
        Item::Boolean(_) | Item::Other => None,
    }
}

/// What is still to be read.
struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn eat(&mut self, byte: u8) -> bool {
        match self.0.split_first() {
            Some((first, rest)) if *first == byte => {
                self.0 = rest;
                true
            }
            _ => false,
        }
    }

    fn take_while(&mut self, fits: impl Fn(u8) -> bool) -> &'a [u8] {
        let end = self.0.iter().position(|byte| !fits(*byte));
        let (taken, rest) = self.0.split_at(end.unwrap_or(self.0.len()));
        self.0 = rest;
        taken
    }

    fn white(&mut self) {
        self.take_while(|byte| matches!(byte, b' ' | b'\t'));
    }

    fn key(&mut self) -> Option<&'a [u8]> {
        let key = self.take_while(|byte| {
            byte.is_ascii_lowercase()
                || byte.is_ascii_digit()
                || matches!(byte, b'_' | b'-' | b'.' | b'*')
        });
        let first = key.first()?;
        (first.is_ascii_lowercase() || *first == b'*').then_some(key)
    }

    /// An item, or an inner list, whose members say nothing to us.
    fn value(&mut self) -> Option<Item> {
        if !self.eat(b'(') {
            return self.item();
        }
        loop {
            self.take_while(|byte| byte == b' ');
            if self.eat(b')') {
                return Some(Item::Other);
            }
            self.item()?;
            self.parameters()?;
            if !matches!(self.0.first(), Some(b' ' | b')')) {
                return None;
            }
        }
    }

    fn item(&mut self) -> Option<Item> {
        match *self.0.first()? {
            b'"' => self.string(),
            b'?' => match self.0.get(1)? {
                b'0' | b'1' => {
                    let set = self.0[1] == b'1';
                    self.0 = &self.0[2..];
                    Some(Item::Boolean(set))
                }
                _ => None,
            },
            b':' => {
                self.0 = &self.0[1..];
                self.take_while(|byte| {
                    byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/' | b'=')
                });
                self.eat(b':').then_some(Item::Other)
            }
            b'-' | b'0'..=b'9' => self.number(),
            byte if byte.is_ascii_alphabetic() || byte == b'*' => {
                self.take_while(|byte| {
                    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~:/".contains(&byte)
                });
                Some(Item::Other)
            }
            _ => None,
        }
    }

    fn string(&mut self) -> Option<Item> {
        self.eat(b'"');
        loop {
            self.take_while(|byte| matches!(byte, 0x20..=0x7e) && byte != b'"' && byte != b'\\');
            if self.eat(b'"') {
                return Some(Item::Other);
            }
            if !(self.eat(b'\\') && (self.eat(b'"') || self.eat(b'\\'))) {
                return None;
            }
        }
    }

    fn number(&mut self) -> Option<Item> {
        let negative = self.eat(b'-');
        let digits = self.take_while(|byte| byte.is_ascii_digit());
        if digits.is_empty() || digits.len() > 15 {
            return None;
        }
        if self.eat(b'.') {
            let after = self.take_while(|byte| byte.is_ascii_digit());
            return ((1..=3).contains(&after.len()) && digits.len() <= 12).then_some(Item::Other);
        }
        // At most fifteen digits, so nothing overflows.
        let number = digits
            .iter()
            .fold(0, |number, digit| number * 10 + i64::from(digit - b'0'));
        Some(Item::Integer(if negative { -number } else { number }))
    }

    /// Parameters are read and mean nothing.
    fn parameters(&mut self) -> Option<()> {
        while self.eat(b';') {
            self.take_while(|byte| byte == b' ');
            self.key()?;
            if self.eat(b'=') {
                self.item()?;
            }
        }
        Some(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::headers::CDN_CACHE_CONTROL;
    use http::HeaderValue;

    fn read(lines: &[&'static str]) -> Option<TargetedControl> {
        let headers: HeaderMap = lines
            .iter()
            .map(|line| (CDN_CACHE_CONTROL, HeaderValue::from_static(line)))
            .collect();
        TargetedControl::read(&headers, &CDN_CACHE_CONTROL)
    }

    #[test]
    fn a_field_that_is_no_dictionary_is_ignored_whole() {
        for line in [
            "",
            "  ",
            "max-age=60,",
            "max-age=60, ][",
            "Max-Age=60",
            "max-age=60;",
            "max-age=",
            "max-age=\"60",
            "max-age=60 private",
            "max-age=60; Q=1",
            "=60",
            "max-age=1234567890123456",
            "a=(1 2",
            "a=?2",
            "a=:x",
            "~",
        ] {
            assert_eq!(read(&[line]), None, "{line}");
        }
        assert_eq!(read(&[]), None);
        assert_eq!(read(&["max-age=60", "&"]), None);
    }

    #[test]
    fn lifetimes_are_integers_and_the_last_one_counts() {
        for (line, seconds) in [
            ("max-age=60", Some(60)),
            ("max-age=60;x=1", Some(60)),
            ("max-age=60; x", Some(60)),
            ("max-age=1, max-age=2", Some(2)),
            ("max-age=060", Some(60)),
            ("max-age=-1", Some(0)),
            ("max-age=999999999999999", Some(1 << 31)),
            ("max-age=\"60\"", None),
            ("max-age=60.5", None),
            ("max-age", None),
            ("max-age=60, max-age=\"x\"", None),
            (
                "a=(1 \"x\";q=2), b=:YQ==:, c=t/k, d=?0\t,\tmax-age=7",
                Some(7),
            ),
        ] {
            let read = read(&[line]).expect("a dictionary");
            assert_eq!(read.max_age, seconds.map(Duration::from_secs), "{line}");
        }
    }

    #[test]
    fn words_that_forbid_are_read() {
        let all = read(&["private, no-store", "no-cache=\"x\""]).expect("a dictionary");
        assert!(all.private && all.no_store && all.no_cache && !all.public);
        assert!(!read(&["private=?0"]).expect("a dictionary").private);
    }
}
