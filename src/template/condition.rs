//! The conditions of `#if` and `#elif` (language reference, section 10): read once, with their patterns compiled.

use std::fmt;

use regex::bytes::{Regex, RegexBuilder};

use super::issue::DirectiveFault;
use super::ssi_text::{SsiText, TextReader};

/// The condition of `#if` and `#elif`.
#[derive(Debug, Clone)]
pub enum Condition {
    /// True when the text is not empty.
    Text(SsiText),
    /// Two texts, compared as strings.
    Compare(SsiText, Comparison, SsiText),
    /// A text against a pattern.
    Matches {
        /// The text.
        text: SsiText,
        /// The pattern; its groups become variables when it matches.
        pattern: Box<Pattern>,
        /// `!=`.
        negated: bool,
    },
    /// `!`.
    Not(Box<Condition>),
    /// `&&`: all of them.
    All(Vec<Condition>),
    /// `||`: any of them.
    Any(Vec<Condition>),
}

/// How two texts are compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Comparison {
    /// `=`, `==`.
    Equal,
    /// `!=`.
    NotEqual,
    /// `<`.
    Less,
    /// `<=`.
    LessOrEqual,
    /// `>`.
    Greater,
    /// `>=`.
    GreaterOrEqual,
}

/// A compiled regular expression.
#[derive(Clone)]
pub struct Pattern(Regex);

impl Pattern {
    /// The pattern.
    pub fn regex(&self) -> &Regex {
        &self.0
    }
}

impl fmt::Debug for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self.0.as_str(), f)
    }
}

/// The bounds of a condition.
#[derive(Debug, Clone, Copy)]
pub(super) struct ConditionLimits {
    pub(super) bytes: usize,
    pub(super) depth: usize,
    pub(super) regex: usize,
}

impl Condition {
    /// Reads the value of `expr` as it stands between its quotes.
    pub(super) fn parse(
        value: &[u8],
        quote: u8,
        limits: ConditionLimits,
    ) -> Result<Self, DirectiveFault> {
        if value.len() > limits.bytes {
            return Err(DirectiveFault::Condition("it is too long"));
        }
        let text = unquote(value, quote);
        let mut parser = Parser {
            rest: &text,
            depth: 0,
            limits,
        };
        let condition = parser.any()?;
        parser.skip_space();
        if parser.rest.is_empty() {
            Ok(condition)
        } else {
            Err(DirectiveFault::Condition("an operator is missing"))
        }
    }
}

/// Takes the `\` before the quote away, and leaves other escapes to the words and patterns in which they stand.
fn unquote(value: &[u8], quote: u8) -> Vec<u8> {
    let mut out = Vec::with_capacity(value.len());
    let mut rest = value;
    while let [first, tail @ ..] = rest {
        rest = match tail {
            [escaped, more @ ..] if *first == b'\\' => {
                if *escaped != quote {
                    out.push(b'\\');
                }
                out.push(*escaped);
                more
            }
            _ => {
                out.push(*first);
                tail
            }
        };
    }
    out
}

struct Parser<'t> {
    rest: &'t [u8],
    depth: usize,
    limits: ConditionLimits,
}

impl Parser<'_> {
    fn skip_space(&mut self) {
        self.rest = self.rest.trim_ascii_start();
    }

    fn take(&mut self, token: &[u8]) -> bool {
        self.skip_space();
        match self.rest.strip_prefix(token) {
            Some(rest) => {
                self.rest = rest;
                true
            }
            None => false,
        }
    }

    fn deeper<T>(
        &mut self,
        read: impl FnOnce(&mut Self) -> Result<T, DirectiveFault>,
    ) -> Result<T, DirectiveFault> {
        if self.depth == self.limits.depth {
            return Err(DirectiveFault::Condition("it nests too deeply"));
        }
        self.depth += 1;
        let read = read(self);
        self.depth -= 1;
        read
    }

    fn any(&mut self) -> Result<Condition, DirectiveFault> {
        let mut terms = vec![self.all()?];
        while self.take(b"||") {
            terms.push(self.all()?);
        }
        Ok(one_or(terms, Condition::Any))
    }

    fn all(&mut self) -> Result<Condition, DirectiveFault> {
        let mut terms = vec![self.not()?];
        while self.take(b"&&") {
            terms.push(self.not()?);
        }
        Ok(one_or(terms, Condition::All))
    }

    fn not(&mut self) -> Result<Condition, DirectiveFault> {
        self.skip_space();
        if self.rest.starts_with(b"!") && !self.rest.starts_with(b"!=") {
            self.rest = &self.rest[1..];
            return self.deeper(|parser| Ok(Condition::Not(Box::new(parser.not()?))));
        }
        if self.take(b"(") {
            let inner = self.deeper(Self::any)?;
            return if self.take(b")") {
                Ok(inner)
            } else {
                Err(DirectiveFault::Condition("a `)` is missing"))
            };
        }
        self.comparison()
    }

    fn comparison(&mut self) -> Result<Condition, DirectiveFault> {
        let left = self.operand()?;
        let Some(comparison) = self.operator() else {
            return Ok(Condition::Text(left));
        };
        let equality = matches!(comparison, Comparison::Equal | Comparison::NotEqual);
        if equality && let Some(pattern) = self.pattern()? {
            return Ok(Condition::Matches {
                text: left,
                pattern: Box::new(pattern),
                negated: comparison == Comparison::NotEqual,
            });
        }
        Ok(Condition::Compare(left, comparison, self.operand()?))
    }

    fn operator(&mut self) -> Option<Comparison> {
        const OPERATORS: [(&[u8], Comparison); 7] = [
            (b"==", Comparison::Equal),
            (b"=", Comparison::Equal),
            (b"!=", Comparison::NotEqual),
            (b"<=", Comparison::LessOrEqual),
            (b"<", Comparison::Less),
            (b">=", Comparison::GreaterOrEqual),
            (b">", Comparison::Greater),
        ];
        OPERATORS
            .iter()
            .find(|(token, _)| self.take(token))
            .map(|(_, comparison)| *comparison)
    }

    /// `/…/`, ended by the first `/` behind which the condition can go on.
    fn pattern(&mut self) -> Result<Option<Pattern>, DirectiveFault> {
        self.skip_space();
        let Some(body) = self.rest.strip_prefix(b"/") else {
            return Ok(None);
        };
        let mut escaped = false;
        let end = body.iter().enumerate().position(|(at, byte)| {
            let ends = *byte == b'/'
                && !escaped
                && matches!(
                    body.get(at + 1),
                    None | Some(b' ' | b'\t' | b'\r' | b'\n' | b')' | b'&' | b'|')
                );
            escaped = *byte == b'\\' && !escaped;
            ends
        });
        let Some(end) = end else {
            return Ok(None);
        };
        self.rest = &body[end + 1..];
        let text = std::str::from_utf8(&body[..end])
            .map_err(|_| DirectiveFault::Condition("the pattern is not UTF-8"))?;
        RegexBuilder::new(text)
            .size_limit(self.limits.regex)
            .build()
            .map(|regex| Some(Pattern(regex)))
            .map_err(|error| {
                let told = error.to_string();
                DirectiveFault::Pattern(told.lines().last().unwrap_or_default().to_owned())
            })
    }

    /// Words and quoted texts; several are joined by a space, as Apache does.
    fn operand(&mut self) -> Result<SsiText, DirectiveFault> {
        let mut reader = TextReader::default();
        let mut words = 0;
        loop {
            self.skip_space();
            let quoted = self.rest.starts_with(b"'");
            let before = self.rest.len();
            let mut text = TextReader::default();
            if quoted {
                self.quoted(&mut text)?;
            } else {
                self.word(&mut text);
            }
            if self.rest.len() == before {
                break;
            }
            if words > 0 {
                reader.literal.push(b' ');
            }
            words += 1;
            reader.flush();
            text.flush();
            reader.pieces.append(&mut text.pieces);
        }
        if words == 0 {
            return Err(DirectiveFault::Condition("an operand is missing"));
        }
        Ok(reader.finish())
    }

    /// `'…'`, in which `\` makes the next quote, `\` or `$` literal.
    fn quoted(&mut self, reader: &mut TextReader) -> Result<(), DirectiveFault> {
        let mut rest = &self.rest[1..];
        loop {
            rest = match rest {
                [] => return Err(DirectiveFault::Condition("a quote is never closed")),
                [b'\'', tail @ ..] => {
                    self.rest = tail;
                    return Ok(());
                }
                [b'\\', escaped @ (b'\\' | b'$' | b'\''), tail @ ..] => {
                    reader.literal.push(*escaped);
                    tail
                }
                [b'$', tail @ ..] => reader.dollar(tail),
                [byte, tail @ ..] => {
                    reader.literal.push(*byte);
                    tail
                }
            };
        }
    }

    /// Bytes up to white space or anything that an operator, a quote or a parenthesis starts with.
    fn word(&mut self, reader: &mut TextReader) {
        let mut rest = self.rest;
        loop {
            rest = match rest {
                [] | [b'!', b'=', ..] | [b'&', b'&', ..] | [b'|', b'|', ..] => break,
                [byte, ..] if ends_word(*byte) => break,
                [b'\\', escaped @ (b'\\' | b'$' | b'\''), tail @ ..] => {
                    reader.literal.push(*escaped);
                    tail
                }
                [b'$', tail @ ..] => reader.dollar(tail),
                [byte, tail @ ..] => {
                    reader.literal.push(*byte);
                    tail
                }
            };
        }
        self.rest = rest;
    }
}

fn ends_word(byte: u8) -> bool {
    byte.is_ascii_whitespace() || matches!(byte, b'=' | b'<' | b'>' | b'(' | b')' | b'\'')
}

fn one_or(mut terms: Vec<Condition>, several: fn(Vec<Condition>) -> Condition) -> Condition {
    match terms.pop() {
        Some(only) if terms.is_empty() => only,
        Some(last) => {
            terms.push(last);
            several(terms)
        }
        // There is always a first term.
        None => several(terms),
    }
}

#[cfg(test)]
mod tests {
    use super::super::ssi_text::SsiPiece;
    use super::*;

    fn shown(text: &SsiText) -> String {
        text.pieces()
            .iter()
            .map(|piece| match piece {
                SsiPiece::Literal(bytes) => String::from_utf8_lossy(bytes).into_owned(),
                SsiPiece::Variable(name) => format!("<{}>", String::from_utf8_lossy(name)),
            })
            .collect()
    }

    fn told(condition: &Condition) -> String {
        match condition {
            Condition::Text(text) => shown(text),
            Condition::Compare(left, comparison, right) => {
                format!("{}{comparison:?}{}", shown(left), shown(right))
            }
            Condition::Matches {
                text,
                pattern,
                negated,
            } => {
                format!(
                    "{}{}{pattern:?}",
                    shown(text),
                    if *negated { "!~" } else { "~" }
                )
            }
            Condition::Not(inner) => format!("!({})", told(inner)),
            Condition::All(terms) => {
                format!("({})", terms.iter().map(told).collect::<Vec<_>>().join("&"))
            }
            Condition::Any(terms) => {
                format!("({})", terms.iter().map(told).collect::<Vec<_>>().join("|"))
            }
        }
    }

    #[test]
    fn conditions_are_read() {
        let limits = ConditionLimits {
            bytes: 1000,
            depth: 4,
            regex: 1 << 20,
        };
        let rows = [
            ("$v", "<v>"),
            ("$v = a", "<v>Equala"),
            ("$v==a", "<v>Equala"),
            ("$v != 'b c'", "<v>NotEqualb c"),
            ("$a <= $b", "<a>LessOrEqual<b>"),
            ("$p = /shop.([0-9]+)/", "<p>~\"shop.([0-9]+)\""),
            ("$p != /^a$/ && x", "(<p>!~\"^a$\"&x)"),
            ("$p = /a/b", "<p>Equal/a/b"),
            ("!$a || ($b && c=d)", "(!(<a>)|(<b>&cEquald))"),
            ("two words = x", "two wordsEqualx"),
            ("''", ""),
            ("$a=", "the condition cannot be read: an operand is missing"),
            ("", "the condition cannot be read: an operand is missing"),
            ("(a", "the condition cannot be read: a `)` is missing"),
            (
                "'a",
                "the condition cannot be read: a quote is never closed",
            ),
            (
                "a = b = c",
                "the condition cannot be read: an operator is missing",
            ),
            (
                "((((((a))))))",
                "the condition cannot be read: it nests too deeply",
            ),
            (
                "!!!!!!a",
                "the condition cannot be read: it nests too deeply",
            ),
            ("a = /(/", "bad regular expression: error: unclosed group"),
        ];
        for (text, wanted) in rows {
            let read = match Condition::parse(text.as_bytes(), b'"', limits) {
                Ok(condition) => told(&condition),
                Err(fault) => fault.to_string(),
            };
            assert_eq!(read, wanted, "{text}");
        }
    }
}
