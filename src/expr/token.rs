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
    /// A word. No value is one; operators that are written as words are read from their bytes.
    Word(&'a [u8]),
    /// An operator or bracket, in its longest form.
    Symbol(Symbol),
    /// The end of the text.
    End,
    /// No token starts here. Whoever expects one makes an error of it.
    Broken(Fault),
}

/// Why no token starts at a place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fault {
    /// A string without this quote at its end.
    Unclosed(&'static str),
    /// Something else; what would do.
    Unexpected(&'static str),
}

/// An operator or bracket.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Symbol {
    /// `==`
    Equal,
    /// `!=`
    Unequal,
    /// `<`
    Less,
    /// `>`
    Greater,
    /// `<=`
    AtMost,
    /// `>=`
    AtLeast,
    /// `|`, `||`
    Or,
    /// `&`, `&&`
    And,
    /// `!`
    Not,
    /// `+`
    Plus,
    /// `-`
    Minus,
    /// `*`
    Star,
    /// `/`
    Slash,
    /// `%`
    Percent,
    /// `,`
    Comma,
    /// `:`
    Colon,
    /// `..`
    Dots,
    /// `(`
    OpenRound,
    /// `)`
    CloseRound,
    /// `[`
    OpenSquare,
    /// `]`
    CloseSquare,
    /// `{`
    OpenCurly,
    /// `}`
    CloseCurly,
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

/// The symbol at the start of a text, and its length; the longest wins, so that `<=` is not read as `<`.
#[inline]
pub(super) fn symbol(text: &[u8]) -> Option<(Symbol, usize)> {
    let second = text.get(1).copied().unwrap_or_default();
    let doubled = |byte, long, short| {
        if second == byte {
            Some((long, 2))
        } else {
            Some((short, 1))
        }
    };
    match text.first()? {
        b'=' if second == b'=' => Some((Symbol::Equal, 2)),
        b'.' if second == b'.' => Some((Symbol::Dots, 2)),
        b'!' => doubled(b'=', Symbol::Unequal, Symbol::Not),
        b'<' => doubled(b'=', Symbol::AtMost, Symbol::Less),
        b'>' => doubled(b'=', Symbol::AtLeast, Symbol::Greater),
        b'|' => doubled(b'|', Symbol::Or, Symbol::Or),
        b'&' => doubled(b'&', Symbol::And, Symbol::And),
        b'+' => Some((Symbol::Plus, 1)),
        b'-' => Some((Symbol::Minus, 1)),
        b'*' => Some((Symbol::Star, 1)),
        b'/' => Some((Symbol::Slash, 1)),
        b'%' => Some((Symbol::Percent, 1)),
        b',' => Some((Symbol::Comma, 1)),
        b':' => Some((Symbol::Colon, 1)),
        b'(' => Some((Symbol::OpenRound, 1)),
        b')' => Some((Symbol::CloseRound, 1)),
        b'[' => Some((Symbol::OpenSquare, 1)),
        b']' => Some((Symbol::CloseSquare, 1)),
        b'{' => Some((Symbol::OpenCurly, 1)),
        b'}' => Some((Symbol::CloseCurly, 1)),
        _ => None,
    }
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
    #[inline]
    pub(super) fn place(&self) -> usize {
        self.place
    }

    /// Goes to a place.
    pub(super) fn seek(&mut self, place: usize) {
        self.place = place.min(self.text.len());
    }

    #[inline]
    pub(super) fn rest(&self) -> &'a [u8] {
        self.text.get(self.place..).unwrap_or_default()
    }

    #[inline]
    pub(super) fn skip_space(&mut self) {
        while let Some(b' ' | b'\t' | b'\r' | b'\n') = self.text.get(self.place) {
            self.place += 1;
        }
    }

    /// The next token, which starts at the cursor: space is skipped by whoever wants to know where that is. Then the cursor
    /// stands behind it, and behind `(` of a call, but before `$(` and before what is no token.
    pub(super) fn next_token(&mut self) -> Token<'a> {
        let rest = self.rest();
        match rest.first() {
            None => return Token::End,
            Some(b'$') => return self.dollar(),
            Some(b'\'' | b'"') => return self.string().map_or_else(Token::Broken, Token::Text),
            Some(b'0'..=b'9') => return Token::Number(self.take(number_length(rest))),
            Some(_) => {}
        }
        if let Some((symbol, length)) = symbol(rest) {
            self.place += length;
            return Token::Symbol(symbol);
        }
        match leading_name(rest) {
            Some(length) => Token::Word(self.take(length)),
            None => Token::Broken(Fault::Unexpected("a value or an operator")),
        }
    }

    /// A quoted string at the cursor, which stands on its quote: `'…'` and `"…"` with escapes, `'''…'''` without.
    pub(super) fn string(&mut self) -> Result<Quoted<'a>, Fault> {
        let rest = self.rest();
        if let Some(raw) = rest.strip_prefix(b"'''") {
            let Some(length) = memchr::memmem::find(raw, b"'''") else {
                return Err(Fault::Unclosed("'''"));
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
                return Err(Fault::Unclosed(if quote == b'"' { "\"" } else { "'" }));
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

    fn dollar(&mut self) -> Token<'a> {
        let after = &self.rest()[1..];
        if after.first() == Some(&b'(') {
            return Token::Reference;
        }
        match leading_name(after) {
            Some(length) if after.get(length) == Some(&b'(') => {
                self.place += length + 2;
                Token::Call(&after[..length])
            }
            _ => Token::Broken(Fault::Unexpected("`$(NAME)` or `$function(…)`")),
        }
    }

    fn take(&mut self, length: usize) -> &'a [u8] {
        let taken = &self.rest()[..length];
        self.place += length;
        taken
    }

    /// The error that no token starts at `place`.
    pub(super) fn error(&self, place: usize, fault: Fault) -> ParseError {
        match fault {
            Fault::Unclosed(quote) => ParseError {
                offset: place,
                kind: ParseErrorKind::UnclosedString { quote },
            },
            Fault::Unexpected(expected) => self.unexpected(place, expected),
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
        (Some((_, length)), _) => length,
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

    fn tokens(text: &str) -> Vec<Token<'_>> {
        let mut cursor = Cursor::new(text.as_bytes(), 0);
        let mut tokens = Vec::new();
        loop {
            cursor.skip_space();
            match cursor.next_token() {
                Token::End => return tokens,
                Token::Broken(fault) => {
                    tokens.push(Token::Broken(fault));
                    return tokens;
                }
                token => tokens.push(token),
            }
        }
    }

    #[test]
    fn the_longest_symbol_wins() {
        use Symbol::{And, AtLeast, AtMost, Less, Not, Or, Unequal};
        let symbols = |text: &'static str| {
            let tokens = tokens(text).into_iter();
            tokens
                .map(|token| match token {
                    Token::Symbol(symbol) => symbol,
                    other => panic!("{other:?}"),
                })
                .collect::<Vec<_>>()
        };
        let expected = [AtMost, Less, Less, AtLeast, Unequal, Not];
        assert_eq!(symbols("<=<< >=!=!"), expected);
        assert_eq!(symbols("|||&&&"), [Or, Or, And, And]);
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
            let tokens = tokens(text);
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
            let broken = Token::Broken(Fault::Unclosed(quote));
            assert_eq!(tokens(text), [broken], "{text}");
        }
    }

    #[test]
    fn a_range_is_not_a_fraction() {
        let number = |text: &'static str| Token::Number(text.as_bytes());
        assert_eq!(
            tokens("1..9"),
            [number("1"), Token::Symbol(Symbol::Dots), number("9")]
        );
        assert_eq!(
            tokens("1.5..2"),
            [number("1.5"), Token::Symbol(Symbol::Dots), number("2")]
        );
    }
}
