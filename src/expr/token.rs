//! Text to tokens, one at a time and only as far as asked: in running text nobody knows yet where a call ends.

use std::borrow::Cow;

use super::error::{ParseError, ParseErrorKind};
use super::name::leading_name;

/// A token.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Token<'a> {
    /// `12`, `1.5`.
    Number(&'a [u8]),
    /// A quoted string.
    Text(Quoted<'a>),
    /// `$(`, which starts a reference; it is read from its own start.
    Reference,
    /// `$name(`.
    Call(&'a [u8]),
    /// A word; only the operators that are written as words have a meaning.
    Word(&'a [u8]),
    /// An operator or bracket, in its longest form.
    Symbol(&'static str),
    /// The end of the text.
    End,
}

/// A quoted string as it is written, less its quotes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Quoted<'a> {
    written: &'a [u8],
    /// Whether a `\` in it may make the byte behind it literal.
    escapes: bool,
}

impl<'a> Quoted<'a> {
    /// The string, its escapes resolved: `\'`, `\"` and `\\`. Any other backslash stands for itself.
    pub(super) fn resolved(self) -> Cow<'a, [u8]> {
        if !self.escapes {
            return Cow::Borrowed(self.written);
        }
        let mut text = Vec::with_capacity(self.written.len());
        let mut rest = self.written;
        while let Some(stop) = memchr::memchr(b'\\', rest) {
            text.extend_from_slice(&rest[..stop]);
            rest = &rest[stop + 1..];
            if let [escaped @ (b'\'' | b'"' | b'\\'), behind @ ..] = rest {
                text.push(*escaped);
                rest = behind;
            } else {
                text.push(b'\\');
            }
        }
        text.extend_from_slice(rest);
        Cow::Owned(text)
    }
}

/// Longest first, so that `<=` is not read as `<`.
const SYMBOLS: [&str; 25] = [
    "==", "!=", "<=", ">=", "||", "&&", "..", "(", ")", "[", "]", "{", "}", ",", ":", "+", "-",
    "*", "/", "%", "!", "<", ">", "|", "&",
];

/// The symbol at the start of a text.
fn symbol(text: &[u8]) -> Option<&'static str> {
    let (first, second) = (text.first()?, text.get(1));
    // Compared by the byte: a comparison of slices for each row of the table would be the slowest part of reading.
    let found = SYMBOLS.iter().find(|symbol| match symbol.as_bytes() {
        [one] => one == first,
        [one, two] => one == first && Some(two) == second,
        _ => false,
    });
    found.copied()
}

/// A place in a text, from which tokens are read.
#[derive(Debug, Clone, Copy)]
pub(super) struct Cursor<'a> {
    text: &'a [u8],
    place: usize,
}

impl<'a> Cursor<'a> {
    pub(super) fn new(text: &'a [u8], place: usize) -> Self {
        Self { text, place }
    }

    /// Where the next byte is read, at most the length of the text.
    pub(super) fn place(&self) -> usize {
        self.place
    }

    /// Goes to a place.
    pub(super) fn seek(&mut self, place: usize) {
        self.place = place.min(self.text.len());
    }

    pub(super) fn rest(&self) -> &'a [u8] {
        self.text.get(self.place..).unwrap_or_default()
    }

    pub(super) fn skip_space(&mut self) {
        let space = self.rest().iter().take_while(|byte| is_space(**byte));
        self.place += space.count();
    }

    /// The next token; the cursor stands behind it, and behind `(` of a call, but before `$(`.
    pub(super) fn next_token(&mut self) -> Result<Token<'a>, ParseError> {
        self.skip_space();
        let rest = self.rest();
        let Some(first) = rest.first() else {
            return Ok(Token::End);
        };
        match first {
            b'\'' | b'"' => return self.string().map(Token::Text),
            b'$' => return self.dollar(),
            b'0'..=b'9' => return Ok(Token::Number(self.take(number_length(rest)))),
            _ => {}
        }
        if let Some(length) = leading_name(rest) {
            return Ok(Token::Word(self.take(length)));
        }
        let Some(symbol) = symbol(rest) else {
            return Err(self.unexpected(self.place, "a value or an operator"));
        };
        self.place += symbol.len();
        Ok(Token::Symbol(symbol))
    }

    /// A quoted string at the cursor, which stands on its quote: `'…'` and `"…"` with escapes, `'''…'''` without.
    pub(super) fn string(&mut self) -> Result<Quoted<'a>, ParseError> {
        let rest = self.rest();
        if let Some(raw) = rest.strip_prefix(b"'''") {
            let Some(length) = memchr::memmem::find(raw, b"'''") else {
                return Err(self.unclosed("'''"));
            };
            self.place += length + 6;
            return Ok(Quoted {
                written: &raw[..length],
                escapes: false,
            });
        }
        let quote = if rest.first() == Some(&b'"') {
            b'"'
        } else {
            b'\''
        };
        let mut escapes = false;
        let mut place = 1;
        loop {
            let tail = rest.get(place..).unwrap_or_default();
            let Some(stop) = memchr::memchr2(quote, b'\\', tail) else {
                return Err(self.unclosed(if quote == b'"' { "\"" } else { "'" }));
            };
            place += stop + 1;
            if tail[stop] == quote {
                self.place += place;
                return Ok(Quoted {
                    written: &rest[1..place - 1],
                    escapes,
                });
            }
            // A backslash: a quote or a backslash behind it does not count.
            escapes = true;
            if let Some(b'\'' | b'"' | b'\\') = tail.get(stop + 1) {
                place += 1;
            }
        }
    }

    fn dollar(&mut self) -> Result<Token<'a>, ParseError> {
        let after = &self.rest()[1..];
        if after.first() == Some(&b'(') {
            return Ok(Token::Reference);
        }
        match leading_name(after) {
            Some(length) if after.get(length) == Some(&b'(') => {
                self.place += length + 2;
                Ok(Token::Call(&after[..length]))
            }
            _ => Err(self.unexpected(self.place, "`$(NAME)` or `$function(…)`")),
        }
    }

    fn take(&mut self, length: usize) -> &'a [u8] {
        let taken = &self.rest()[..length];
        self.place += length;
        taken
    }

    fn unclosed(&self, quote: &'static str) -> ParseError {
        ParseError {
            offset: self.place,
            kind: ParseErrorKind::UnclosedString { quote },
        }
    }

    /// The error that something else was expected at `place`; it shows the word, number or character that stands there.
    pub(super) fn unexpected(&self, place: usize, expected: &'static str) -> ParseError {
        ParseError {
            offset: place,
            kind: ParseErrorKind::Unexpected {
                found: shown(self.text.get(place..).unwrap_or_default()),
                expected,
            },
        }
    }
}

/// The first word, number or symbol of a text, in quotes.
fn shown(text: &[u8]) -> String {
    const LONGEST: usize = 20;
    let length = match (symbol(text), text.first()) {
        (_, None) => return "the end".to_owned(),
        (Some(symbol), _) => symbol.len(),
        (None, Some(_)) => {
            let word = text.iter().take_while(|byte| is_word(**byte)).count();
            word.clamp(1, LONGEST)
        }
    };
    let shown = String::from_utf8_lossy(&text[..length]);
    format!("`{}`", shown.escape_default())
}

fn is_word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_' || byte >= 0x80
}

fn is_space(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | b'\r' | b'\n')
}

/// The length of the number at the start of a text: digits, and a fraction when a digit follows the point (`1..9` is a
/// range).
fn number_length(text: &[u8]) -> usize {
    let digits = |text: &[u8]| text.iter().take_while(|byte| byte.is_ascii_digit()).count();
    let whole = digits(text);
    let fraction = match text.get(whole..) {
        Some([b'.', fraction @ ..]) => digits(fraction),
        _ => 0,
    };
    if fraction > 0 {
        whole + 1 + fraction
    } else {
        whole
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tokens(text: &str) -> Result<Vec<Token<'_>>, ParseError> {
        let mut cursor = Cursor::new(text.as_bytes(), 0);
        let mut tokens = Vec::new();
        loop {
            match cursor.next_token()? {
                Token::End => return Ok(tokens),
                token => tokens.push(token),
            }
        }
    }

    #[test]
    fn the_longest_symbol_wins() {
        let symbols = |text| {
            let tokens = tokens(text).unwrap().into_iter();
            tokens
                .map(|token| match token {
                    Token::Symbol(symbol) => symbol,
                    other => panic!("{other:?}"),
                })
                .collect::<Vec<_>>()
        };
        assert_eq!(symbols("<=<< >=!=!"), ["<=", "<", "<", ">=", "!=", "!"]);
        assert_eq!(symbols("|||&&&"), ["||", "|", "&&", "&"]);
    }

    #[test]
    fn strings_resolve_three_escapes_and_keep_the_rest() {
        for (text, expected) in [
            (r"'a'", "a"),
            (r"'it\'s'", "it's"),
            (r#""a\"b""#, "a\"b"),
            (r"'a\\'", r"a\"),
            (r"'\n\d'", r"\n\d"),
            (r"'''a'\'b'''", r"a'\'b"),
            ("''", ""),
            ("''''''", ""),
            ("'\"'", "\""),
        ] {
            let tokens = tokens(text).unwrap();
            let [Token::Text(quoted)] = tokens[..] else {
                panic!("{text}: {tokens:?}");
            };
            assert_eq!(quoted.resolved(), expected.as_bytes(), "{text}");
        }
        for (text, quote) in [
            ("'a", "'"),
            ("\"a'", "\""),
            ("'''a''", "'''"),
            (r"'a\'", "'"),
            (r"'a\", "'"),
        ] {
            let kind = ParseErrorKind::UnclosedString { quote };
            assert_eq!(tokens(text), Err(ParseError { offset: 0, kind }), "{text}");
        }
    }

    #[test]
    fn a_range_is_not_a_fraction() {
        let number = |text: &'static str| Token::Number(text.as_bytes());
        assert_eq!(
            tokens("1..9").unwrap(),
            [number("1"), Token::Symbol(".."), number("9")]
        );
        assert_eq!(
            tokens("1.5..2").unwrap(),
            [number("1.5"), Token::Symbol(".."), number("2")]
        );
    }
}
