//! Tokens to a program, by the grammar of the language. The levels of precedence are one function that is told which of them
//! it may read, since most expressions use few.
//!
//! ```text
//! or   = and *( ("|" | "||") and )          and = not *( ("&" | "&&") not )
//! not  = "!" not | cmp                      cmp = sum [ op sum ]
//! sum  = term *( ("+"|"-") term )           term = unary *( ("*"|"/"|"%") unary )
//! unary = "-" unary | prim
//! prim = number | string | reference | call | list | dict | "(" or ")"
//! ```
//!
//! Whatever nests passes through [`Parser::deeper`], so the depth of the stack is bounded by the limit of depth.

use super::error::{ParseError, ParseErrorKind};
use super::name::leading_name;
use super::open::Open;
use super::operators::{self, Binary};
use super::program::{self, Writer};
use super::reference::{self, NoReference};
use super::token::{self, Cursor, Symbol, Token};
use super::value::Value;

/// Errors are rare and large, so they travel in a box.
type Parsed<T = ()> = Result<T, Box<ParseError>>;

/// Reads a whole text as an expression.
pub(super) fn expression(text: &[u8], writer: &mut Writer<'_>) -> Result<(), ParseError> {
    let limit = writer.limits.expression_bytes;
    if text.len() > limit {
        let length = text.len();
        let kind = ParseErrorKind::TooLong { length, limit };
        return Err(ParseError { offset: 0, kind });
    }
    let mut parser = Parser::new(text, writer);
    parser.whole().map_err(|error| *error)
}

/// Reads the call at the start of a text, `$name(…)`, and says where it ends. When there is none, gives the places of all
/// calls and references that were begun and not ended.
pub(super) fn call(text: &[u8], writer: &mut Writer<'_>) -> Result<usize, Open> {
    let mut parser = Parser::new(text, writer);
    match parser.primary() {
        Ok(()) => Ok(parser.cursor.place()),
        Err(_) => Err(parser.open),
    }
}

struct Parser<'a, 'w, 'l> {
    /// Behind the next token when it has been looked at, else behind the last one.
    cursor: Cursor<'a>,
    /// The next token, once it has been looked at.
    next: Option<Token<'a>>,
    /// Where it starts.
    next_start: usize,
    writer: &'w mut Writer<'l>,
    depth: usize,
    /// Where the calls and references start that are being read.
    open: Open,
}

impl<'a, 'w, 'l> Parser<'a, 'w, 'l> {
    fn new(text: &'a [u8], writer: &'w mut Writer<'l>) -> Self {
        Self {
            cursor: Cursor::new(text, 0),
            next: None,
            next_start: 0,
            writer,
            depth: 0,
            open: Open::default(),
        }
    }

    fn whole(&mut self) -> Parsed {
        self.any()?;
        if matches!(self.peek(), Token::End) {
            return Ok(());
        }
        Err(self.unexpected("an operator or the end"))
    }

    /// Reads `or`: all levels.
    fn any(&mut self) -> Parsed {
        self.level(Level::Or)
    }

    /// Reads operators that bind at least as tightly as `least`, and what stands between them.
    #[inline]
    fn level(&mut self, least: Level) -> Parsed {
        let most = self.operand(least)?;
        match self.infix(least, most) {
            Some(found) => self.operators(least, most, found),
            // Most operands stand alone, or before an operator that is for whoever called.
            None => Ok(()),
        }
    }

    /// The operator that comes next, if it binds as tightly as that. No token is made of it.
    #[inline]
    fn infix(&mut self, least: Level, most: Level) -> Option<Infix> {
        debug_assert!(self.next.is_none(), "an operand leaves no token behind");
        self.cursor.skip_space();
        Infix::leading(self.cursor.rest())
            .filter(|found| least <= found.level && found.level <= most)
    }

    /// Steps over an operator that comes next; says where it started.
    #[inline]
    fn over(&mut self, infix: Infix) -> usize {
        let offset = self.cursor.place();
        self.cursor.seek(offset + infix.length);
        offset
    }

    /// The same where the first operand has been read and `found` comes next; all bind at most as tightly as `most`.
    fn operators(&mut self, least: Level, mut most: Level, found: Infix) -> Parsed {
        let mut next = Some(found);
        while let Some(found) = next {
            match found.operation {
                Operation::Junction { when } => self.junction(found, when)?,
                Operation::Binary(binary) => {
                    let offset = self.over(found);
                    self.level(found.level.above())?;
                    self.writer.binary(offset, binary);
                }
                Operation::Matches { ignore_case } => {
                    let offset = self.over(found);
                    self.level(found.level.above())?;
                    self.writer.matches(offset, ignore_case);
                }
            }
            if found.level == Level::Comparison {
                // Comparisons do not chain.
                most = Level::And;
            }
            next = self.infix(least, most);
        }
        Ok(())
    }

    /// Sides joined by `|` or `&`, the first of which has been read: the first that is `when` decides, and the rest is
    /// skipped.
    fn junction(&mut self, found: Infix, when: bool) -> Parsed {
        let mut last_jump = None;
        let mut next = Some(found);
        while let Some(found) = next {
            self.over(found);
            last_jump = Some(self.writer.decide(when, last_jump));
            self.level(found.level.above())?;
            next = self.infix(found.level, found.level);
        }
        if let Some(jump) = last_jump {
            self.writer.truth();
            self.writer.land_all(jump);
        }
        Ok(())
    }

    /// Reads what stands before, between or behind operators; says how tightly those behind it may bind.
    #[inline]
    fn operand(&mut self, least: Level) -> Parsed<Level> {
        if self.next.is_none() && self.plain_operand() {
            return Ok(Level::Term);
        }
        self.any_operand(least)
    }

    /// Reads an operand that is told by its first byte, as most are: a reference without a default, a few digits, a string. Says
    /// whether it did; if not, nothing has been read.
    fn plain_operand(&mut self) -> bool {
        self.cursor.skip_space();
        let rest = self.cursor.rest();
        let length = match rest.first() {
            Some(b'$') => match reference::plain(rest) {
                Some((written, length)) if self.depth < self.writer.limits.depth => {
                    self.writer.plain_reference(&written);
                    length
                }
                _ => return false,
            },
            Some(b'0'..=b'9') => match few_digits(rest) {
                Some((integer, length)) => {
                    self.writer.constant(Value::Integer(integer));
                    length
                }
                None => return false,
            },
            Some(b'\'' | b'"') => {
                let Ok(text) = self.cursor.string() else {
                    return false;
                };
                self.writer.constant(program::text(text.resolved()));
                return true;
            }
            _ => return false,
        };
        self.cursor.seek(self.cursor.place() + length);
        true
    }

    fn any_operand(&mut self, least: Level) -> Parsed<Level> {
        match *self.peek() {
            Token::Symbol(Symbol::Not) if least <= Level::Not => {
                self.advance();
                self.deeper(|parser| parser.level(Level::Not))?;
                self.writer.not();
                // It has taken the whole comparison.
                return Ok(Level::And);
            }
            Token::Symbol(Symbol::Minus) => {
                let offset = self.advance();
                if let Token::Number(digits) = *self.peek() {
                    let literal = [b"-", digits].concat();
                    self.writer.constant(operators::literal(&literal));
                    self.advance();
                } else {
                    self.deeper(|parser| parser.operand(Level::Unary).map(drop))?;
                    self.writer.negate(offset);
                }
            }
            _ => self.primary()?,
        }
        Ok(Level::Term)
    }

    fn primary(&mut self) -> Parsed {
        let expected =
            "a value: a number, a quoted string, `$(NAME)`, `$function(…)`, `[`, `{` or `(`";
        match *self.peek() {
            Token::Number(digits) => {
                self.writer.constant(operators::literal(digits));
                self.advance();
                Ok(())
            }
            Token::Text(text) => {
                self.writer.constant(program::text(text.resolved()));
                self.advance();
                Ok(())
            }
            Token::Reference => self.reference(),
            Token::Call(name) => self.deeper(|parser| parser.call(name)),
            Token::Symbol(Symbol::OpenSquare) => self.deeper(Self::list),
            Token::Symbol(Symbol::OpenCurly) => self.deeper(Self::dictionary),
            Token::Symbol(Symbol::OpenRound) => self.deeper(Self::brackets),
            _ => Err(self.unexpected(expected)),
        }
    }

    fn reference(&mut self) -> Parsed {
        let offset = self.advance();
        let limit = self.writer.limits.depth;
        let room = limit.saturating_sub(self.depth);
        let kind = match reference::read(&mut self.cursor, room, &mut self.open) {
            Ok(written) => {
                self.writer.reference(written);
                return Ok(());
            }
            Err(NoReference::TooDeep) => ParseErrorKind::TooDeep { limit },
            Err(NoReference::Grammar) => ParseErrorKind::BadReference,
        };
        Err(Box::new(ParseError { offset, kind }))
    }

    fn call(&mut self, name: &[u8]) -> Parsed {
        let offset = self.advance();
        self.open.push(offset);
        let count = self.separated(Symbol::CloseRound, "`,` or `)`", Self::any)?;
        self.open.pop();
        self.writer.call(offset, name, count);
        Ok(())
    }

    fn list(&mut self) -> Parsed {
        let offset = self.advance();
        if self.takes(Symbol::CloseSquare) {
            self.writer.list(offset, 0);
            return Ok(());
        }
        self.any()?;
        if self.takes(Symbol::Dots) {
            self.any()?;
            self.expect(Symbol::CloseSquare, "`]`")?;
            self.writer.range(offset);
            return Ok(());
        }
        let mut count = 1;
        if self.takes(Symbol::Comma) {
            count += self.items(Symbol::CloseSquare, "`,` or `]`", Self::any)?;
        } else {
            self.expect(Symbol::CloseSquare, "`,`, `..` or `]`")?;
        }
        self.writer.list(offset, count);
        Ok(())
    }

    fn dictionary(&mut self) -> Parsed {
        let offset = self.advance();
        let count = self.separated(Symbol::CloseCurly, "`,` or `}`", |parser| {
            parser.any()?;
            parser.expect(Symbol::Colon, "`:` and the value of this key")?;
            parser.any()
        })?;
        self.writer.dictionary(offset, count);
        Ok(())
    }

    fn brackets(&mut self) -> Parsed {
        self.advance();
        self.any()?;
        self.expect(Symbol::CloseRound, "an operator or `)`")
    }

    /// Items separated by `,` up to `end`, perhaps none; gives their number.
    fn separated(
        &mut self,
        end: Symbol,
        expected: &'static str,
        item: fn(&mut Self) -> Parsed,
    ) -> Parsed<usize> {
        if self.takes(end) {
            return Ok(0);
        }
        self.items(end, expected, item)
    }

    /// Items separated by `,` up to `end`, at least one.
    fn items(
        &mut self,
        end: Symbol,
        expected: &'static str,
        item: fn(&mut Self) -> Parsed,
    ) -> Parsed<usize> {
        let mut count = 0;
        loop {
            item(self)?;
            count += 1;
            if !self.takes(Symbol::Comma) {
                self.expect(end, expected)?;
                return Ok(count);
            }
        }
    }

    /// Reads something that stands inside something else.
    fn deeper(&mut self, inner: impl FnOnce(&mut Self) -> Parsed) -> Parsed {
        let limit = self.writer.limits.depth;
        if self.depth >= limit {
            if let Token::Broken(_) = self.peek() {
                return Err(self.unexpected("a value"));
            }
            let (offset, kind) = (self.next_start, ParseErrorKind::TooDeep { limit });
            return Err(Box::new(ParseError { offset, kind }));
        }
        self.depth += 1;
        inner(self)?;
        self.depth -= 1;
        Ok(())
    }

    /// The next token.
    #[inline]
    fn peek(&mut self) -> &Token<'a> {
        if self.next.is_none() {
            self.look();
        }
        self.next.as_ref().unwrap_or(&Token::End)
    }

    fn look(&mut self) {
        self.cursor.skip_space();
        self.next_start = self.cursor.place();
        self.next = Some(self.cursor.next_token());
    }

    /// Steps over the next token and says where it started.
    fn advance(&mut self) -> usize {
        self.peek();
        self.next = None;
        self.next_start
    }

    /// Whether the next token is this symbol, which is stepped over then.
    fn takes(&mut self, symbol: Symbol) -> bool {
        let is_next = matches!(self.peek(), Token::Symbol(next) if *next == symbol);
        if is_next {
            self.next = None;
        }
        is_next
    }

    fn expect(&mut self, symbol: Symbol, expected: &'static str) -> Parsed {
        if self.takes(symbol) {
            return Ok(());
        }
        Err(self.unexpected(expected))
    }

    /// The error that something else was expected where the next token stands.
    #[expect(clippy::unnecessary_box_returns, reason = "errors travel in a box")]
    fn unexpected(&mut self, expected: &'static str) -> Box<ParseError> {
        let token = *self.peek();
        let place = self.next_start;
        Box::new(match token {
            Token::Broken(fault) => self.cursor.error(place, fault),
            _ => self.cursor.unexpected(place, expected),
        })
    }
}

/// The integer at the start of a text that starts with a digit, and its length; none when it is long or a fraction may follow.
fn few_digits(text: &[u8]) -> Option<(i64, usize)> {
    const FEW: usize = 9;
    let mut integer = 0;
    for (length, byte) in text.iter().take(FEW + 1).enumerate() {
        match byte {
            b'0'..=b'9' => integer = integer * 10 + i64::from(byte - b'0'),
            b'.' => return None,
            _ => return Some((integer, length)),
        }
    }
    (text.len() <= FEW).then_some((integer, text.len()))
}

/// How tightly an operator binds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Level {
    Or,
    And,
    Not,
    Comparison,
    Sum,
    Term,
    Unary,
}

impl Level {
    /// What the right side of an operator of this level must bind at least as tightly as.
    fn above(self) -> Self {
        match self {
            Self::Or => Self::And,
            Self::And => Self::Not,
            Self::Not => Self::Comparison,
            Self::Comparison => Self::Sum,
            Self::Sum => Self::Term,
            Self::Term | Self::Unary => Self::Unary,
        }
    }
}

/// An operator between two sides, as it is written.
#[derive(Debug, Clone, Copy)]
struct Infix {
    /// How tightly it binds.
    level: Level,
    operation: Operation,
    /// In bytes.
    length: usize,
}

/// What an operator does with its sides.
#[derive(Debug, Clone, Copy)]
enum Operation {
    Junction { when: bool },
    Binary(Binary),
    Matches { ignore_case: bool },
}

impl Infix {
    /// The operator at the start of a text.
    #[inline]
    fn leading(text: &[u8]) -> Option<Self> {
        let Some((symbol, length)) = token::symbol(text) else {
            return Self::leading_word(text);
        };
        let (level, operation) = match symbol {
            Symbol::Or => (Level::Or, Operation::Junction { when: true }),
            Symbol::And => (Level::And, Operation::Junction { when: false }),
            Symbol::Equal => (Level::Comparison, Operation::Binary(Binary::Equal)),
            Symbol::Unequal => (Level::Comparison, Operation::Binary(Binary::Unequal)),
            Symbol::Less => (Level::Comparison, Operation::Binary(Binary::Less)),
            Symbol::Greater => (Level::Comparison, Operation::Binary(Binary::Greater)),
            Symbol::AtMost => (Level::Comparison, Operation::Binary(Binary::AtMost)),
            Symbol::AtLeast => (Level::Comparison, Operation::Binary(Binary::AtLeast)),
            Symbol::Plus => (Level::Sum, Operation::Binary(Binary::Add)),
            Symbol::Minus => (Level::Sum, Operation::Binary(Binary::Subtract)),
            Symbol::Star => (Level::Term, Operation::Binary(Binary::Multiply)),
            Symbol::Slash => (Level::Term, Operation::Binary(Binary::Divide)),
            Symbol::Percent => (Level::Term, Operation::Binary(Binary::Remainder)),
            _ => return None,
        };
        Some(Self {
            level,
            operation,
            length,
        })
    }

    fn leading_word(text: &[u8]) -> Option<Self> {
        let length = leading_name(text)?;
        let operation = match &text[..length] {
            b"has" => Operation::Binary(Binary::Has),
            b"has_i" => Operation::Binary(Binary::HasIgnoringCase),
            b"matches" => Operation::Matches { ignore_case: false },
            b"matches_i" => Operation::Matches { ignore_case: true },
            _ => return None,
        };
        Some(Self {
            level: Level::Comparison,
            operation,
            length,
        })
    }
}
