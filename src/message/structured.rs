//! Structured Fields (RFC 9651, which takes in RFC 8941), read strictly: whatever is not exactly a dictionary or a list is nothing.
//!
//! Fields that speak of caching by targets (RFC 9213) and groups (RFC 9875) are read with it; a fault anywhere in a field makes
//! the whole field void. Parameters are checked and dropped, because none of these fields defines any.

use http::header::HeaderName;
use http::{HeaderMap, HeaderValue};

/// A value without its parameters.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Value {
    /// An Integer: at most 15 digits.
    Integer(i64),
    /// A String, its escapes resolved.
    String(String),
    /// `?1` or `?0`; also what a dictionary key without a value has.
    Boolean(bool),
    /// A Token.
    Token(String),
    /// A Decimal, Byte Sequence, Date, Display String or Inner List: well-formed, and of no use here.
    Other,
}

/// The members of a dictionary in the order of their first appearance, each with its last value.
///
/// `None`: the field is no dictionary.
pub fn dictionary(headers: &HeaderMap, name: &HeaderName) -> Option<Vec<(String, Value)>> {
    let text = joined(headers, name)?;
    let mut input = Input(text.as_bytes());
    let mut members: Vec<(String, Value)> = Vec::new();
    input.members(|input| {
        let key = input.key()?;
        let value = if input.take(b'=') {
            input.member()?
        } else {
            input.parameters()?;
            Value::Boolean(true)
        };
        match members.iter_mut().find(|(known, _)| *known == key) {
            Some((_, known)) => *known = value,
            None => members.push((key, value)),
        }
        Some(())
    })?;
    Some(members)
}

/// The members of a list. `None`: the field is no list.
pub fn list(headers: &HeaderMap, name: &HeaderName) -> Option<Vec<Value>> {
    let text = joined(headers, name)?;
    let mut input = Input(text.as_bytes());
    let mut members = Vec::new();
    input.members(|input| {
        members.push(input.member()?);
        Some(())
    })?;
    Some(members)
}

/// All lines of a field as one (RFC 9651 4.2).
fn joined(headers: &HeaderMap, name: &HeaderName) -> Option<String> {
    let lines: Option<Vec<&str>> = headers
        .get_all(name)
        .iter()
        .map(|line: &HeaderValue| line.to_str().ok())
        .collect();
    Some(lines?.join(", "))
}

/// What is left to be read.
struct Input<'a>(&'a [u8]);

impl Input<'_> {
    fn peek(&self) -> Option<u8> {
        self.0.first().copied()
    }

    fn next(&mut self) -> Option<u8> {
        let (first, rest) = self.0.split_first()?;
        self.0 = rest;
        Some(*first)
    }

    /// Goes past `wanted` if it stands here.
    fn take(&mut self, wanted: u8) -> bool {
        let here = self.peek() == Some(wanted);
        if here {
            self.next();
        }
        here
    }

    fn skip(&mut self, unwanted: &[u8]) {
        while self.peek().is_some_and(|byte| unwanted.contains(&byte)) {
            self.next();
        }
    }

    fn word(&mut self, wanted: impl Fn(u8) -> bool) -> String {
        let end = self
            .0
            .iter()
            .position(|byte| !wanted(*byte))
            .unwrap_or(self.0.len());
        let (word, rest) = self.0.split_at(end);
        self.0 = rest;
        String::from_utf8_lossy(word).into_owned()
    }

    /// Members between commas, up to the end; none at all is fine, a comma at the end is not (RFC 9651 4.2.1, 4.2.2).
    fn members(&mut self, mut member: impl FnMut(&mut Self) -> Option<()>) -> Option<()> {
        self.skip(b" ");
        while self.peek().is_some() {
            member(self)?;
            self.skip(b" \t");
            if self.peek().is_none() {
                break;
            }
            if !self.take(b',') {
                return None;
            }
            self.skip(b" \t");
            self.peek()?;
        }
        Some(())
    }

    fn key(&mut self) -> Option<String> {
        let first = self.peek()?;
        (first.is_ascii_lowercase() || first == b'*').then(|| {
            self.word(|byte| {
                byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"_-.*".contains(&byte)
            })
        })
    }

    /// An item or an inner list, with its parameters.
    fn member(&mut self) -> Option<Value> {
        if !self.take(b'(') {
            return self.item();
        }
        loop {
            self.skip(b" ");
            if self.take(b')') {
                self.parameters()?;
                return Some(Value::Other);
            }
            self.item()?;
            if !matches!(self.peek()?, b' ' | b')') {
                return None;
            }
        }
    }

    fn item(&mut self) -> Option<Value> {
        let value = self.bare()?;
        self.parameters()?;
        Some(value)
    }

    fn parameters(&mut self) -> Option<()> {
        while self.take(b';') {
            self.skip(b" ");
            self.key()?;
            if self.take(b'=') {
                self.bare()?;
            }
        }
        Some(())
    }

    fn bare(&mut self) -> Option<Value> {
        match self.peek()? {
            b'-' | b'0'..=b'9' => self.number(),
            b'"' => self.string().map(Value::String),
            b'*' | b'a'..=b'z' | b'A'..=b'Z' => Some(Value::Token(self.word(is_token))),
            b':' => self.bytes(),
            b'?' => self.boolean(),
            b'@' => {
                self.next();
                matches!(self.number()?, Value::Integer(_)).then_some(Value::Other)
            }
            b'%' => self.display(),
            _ => None,
        }
    }

    /// An Integer of at most 15 digits, or a Decimal of at most 12 and 3 (RFC 9651 4.2.4).
    fn number(&mut self) -> Option<Value> {
        let negative = self.take(b'-');
        let digits = self.word(|byte| byte.is_ascii_digit());
        if digits.is_empty() || digits.len() > 15 {
            return None;
        }
        if self.take(b'.') {
            let fraction = self.word(|byte| byte.is_ascii_digit());
            let good = digits.len() <= 12 && (1..=3).contains(&fraction.len());
            return good.then_some(Value::Other);
        }
        let number: i64 = digits.parse().ok()?;
        Some(Value::Integer(if negative { -number } else { number }))
    }

    fn string(&mut self) -> Option<String> {
        let mut text = String::new();
        self.next();
        loop {
            match self.next()? {
                b'"' => return Some(text),
                b'\\' => match self.next()? {
                    escaped @ (b'"' | b'\\') => text.push(char::from(escaped)),
                    _ => return None,
                },
                plain @ 0x20..=0x7e => text.push(char::from(plain)),
                _ => return None,
            }
        }
    }

    fn bytes(&mut self) -> Option<Value> {
        self.next();
        self.word(|byte| byte.is_ascii_alphanumeric() || b"+/=".contains(&byte));
        self.take(b':').then_some(Value::Other)
    }

    fn boolean(&mut self) -> Option<Value> {
        self.next();
        match self.next()? {
            b'1' => Some(Value::Boolean(true)),
            b'0' => Some(Value::Boolean(false)),
            _ => None,
        }
    }

    /// A Display String, its bytes not looked into beyond their form.
    fn display(&mut self) -> Option<Value> {
        self.next();
        if !self.take(b'"') {
            return None;
        }
        loop {
            match self.next()? {
                b'"' => return Some(Value::Other),
                b'%' => {
                    for _ in 0..2 {
                        if !matches!(self.next()?, b'0'..=b'9' | b'a'..=b'f') {
                            return None;
                        }
                    }
                }
                0x20..=0x7e => {}
                _ => return None,
            }
        }
    }
}

fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~:/".contains(&byte)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const NAME: HeaderName = HeaderName::from_static("x");

    fn headers(lines: &[&str]) -> HeaderMap {
        lines
            .iter()
            .map(|line| (NAME, HeaderValue::from_str(line).expect("a row is a value")))
            .collect()
    }

    fn read(lines: &[&str]) -> Option<String> {
        let members = dictionary(&headers(lines), &NAME)?;
        let words: Vec<String> = members
            .into_iter()
            .map(|(key, value)| format!("{key}={value:?}"))
            .collect();
        Some(words.join(" "))
    }

    #[test]
    fn dictionaries_are_read_strictly() {
        let rows: &[(&[&str], Option<&str>)] = &[
            (&[""], Some("")),
            (&["a=1"], Some("a=Integer(1)")),
            (&["a=1, a=2"], Some("a=Integer(2)")),
            (&["a=1", "b"], Some("a=Integer(1) b=Boolean(true)")),
            (&["a;x=1;y, b=?0"], Some("a=Boolean(true) b=Boolean(false)")),
            (&["a=1.5"], Some("a=Other")),
            (&["a=\"1\""], Some("a=String(\"1\")")),
            (&["a=(1 \"x\");q=2"], Some("a=Other")),
            (&["a=none"], Some("a=Token(\"none\")")),
            (
                &["a=:aGk=:, b=@1, c=%\"%c3%bc\""],
                Some("a=Other b=Other c=Other"),
            ),
            (&["a=-7"], Some("a=Integer(-7)")),
            (&["a=1,"], None),
            (&["a=1, , b"], None),
            (&["A=1"], None),
            (&["a= 1"], None),
            (&["a =1"], None),
            (&["a=1 b=2"], None),
            (&["a=1234567890123456"], None),
            (&["a=\"x"], None),
            (&["a=\"\\x\""], None),
            (&["a=(1"], None),
            (&["a='1'"], None),
            (&["a=?2"], None),
            (&["a=1."], None),
        ];
        for (lines, wanted) in rows {
            assert_eq!(read(lines).as_deref(), *wanted, "{lines:?}");
        }
    }

    #[test]
    fn lists_hold_items() {
        let strings = list(&headers(&["\"a\", \"b, c\"", "d"]), &NAME);
        let wanted = vec![
            Value::String("a".to_owned()),
            Value::String("b, c".to_owned()),
            Value::Token("d".to_owned()),
        ];
        assert_eq!(strings, Some(wanted));
        assert_eq!(list(&headers(&["\"a\" \"b\""]), &NAME), None);
    }

    proptest! {
        #[test]
        fn no_bytes_break_the_reader(line in "[ -~\t]{0,60}") {
            let headers = headers(&[line.as_str()]);
            let _ = (dictionary(&headers, &NAME), list(&headers, &NAME));
        }
    }
}
