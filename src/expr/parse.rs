//! Tokens to a program, by the grammar of the language: one function for each level of precedence, in its order.
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
use super::name::Name;
use super::open::Open;
use super::operators::{self, Binary};
use super::program::{self, Writer};
use super::reference::{self, NoReference};
use super::token::{Cursor, Symbol, Token};

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
        self.or()?;
        match self.peek() {
            Token::End => Ok(()),
            _ => Err(self.unexpected("an operator or the end")),
        }
    }

    fn or(&mut self) -> Parsed {
        self.junction(true, Symbol::Or, Self::and)
    }

    fn and(&mut self) -> Parsed {
        self.junction(false, Symbol::And, Self::not)
    }

    /// Sides joined by `|` or `&`: the first that is `when` decides, and the rest is skipped.
    fn junction(&mut self, when: bool, join: Symbol, side: fn(&mut Self) -> Parsed) -> Parsed {
        side(self)?;
        let mut last_jump = None;
        while self.takes(join) {
            last_jump = Some(self.writer.decide(when, last_jump));
            side(self)?;
        }
        if let Some(jump) = last_jump {
            self.writer.truth();
            self.writer.land_all(jump);
        }
        Ok(())
    }

    fn not(&mut self) -> Parsed {
        if !self.takes(Symbol::Not) {
            return self.comparison();
        }
        self.deeper(Self::not)?;
        self.writer.not();
        Ok(())
    }

    fn comparison(&mut self) -> Parsed {
        self.sum()?;
        let Some(operator) = Comparison::of(self.peek()) else {
            return Ok(());
        };
        let offset = self.advance();
        self.sum()?;
        match operator {
            Comparison::Binary(binary) => self.writer.binary(offset, binary),
            Comparison::Matches { ignore_case } => self.writer.matches(offset, ignore_case),
        }
        Ok(())
    }

    fn sum(&mut self) -> Parsed {
        self.term()?;
        loop {
            let operator = match self.peek() {
                Token::Symbol(Symbol::Plus) => Binary::Add,
                Token::Symbol(Symbol::Minus) => Binary::Subtract,
                _ => return Ok(()),
            };
            let offset = self.advance();
            self.term()?;
            self.writer.binary(offset, operator);
        }
    }

    fn term(&mut self) -> Parsed {
        self.unary()?;
        loop {
            let operator = match self.peek() {
                Token::Symbol(Symbol::Star) => Binary::Multiply,
                Token::Symbol(Symbol::Slash) => Binary::Divide,
                Token::Symbol(Symbol::Percent) => Binary::Remainder,
                _ => return Ok(()),
            };
            let offset = self.advance();
            self.unary()?;
            self.writer.binary(offset, operator);
        }
    }

    fn unary(&mut self) -> Parsed {
        if *self.peek() != Token::Symbol(Symbol::Minus) {
            return self.primary();
        }
        let offset = self.advance();
        if let Token::Number(digits) = *self.peek() {
            let literal = [b"-", digits].concat();
            self.writer.constant(operators::literal(&literal));
            self.advance();
            return Ok(());
        }
        self.deeper(Self::unary)?;
        self.writer.negate(offset);
        Ok(())
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
        let offset = self.next_start;
        self.open.push(offset);
        let Some(name) = Name::parse(name) else {
            return Err(self.unexpected("the name of a function"));
        };
        self.advance();
        let count = self.separated(Symbol::CloseRound, "`,` or `)`", Self::or)?;
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
        self.or()?;
        if self.takes(Symbol::Dots) {
            self.or()?;
            self.expect(Symbol::CloseSquare, "`]`")?;
            self.writer.range(offset);
            return Ok(());
        }
        let mut count = 1;
        if self.takes(Symbol::Comma) {
            count += self.items(Symbol::CloseSquare, "`,` or `]`", Self::or)?;
        } else {
            self.expect(Symbol::CloseSquare, "`,`, `..` or `]`")?;
        }
        self.writer.list(offset, count);
        Ok(())
    }

    fn dictionary(&mut self) -> Parsed {
        let offset = self.advance();
        let count = self.separated(Symbol::CloseCurly, "`,` or `}`", |parser| {
            parser.or()?;
            parser.expect(Symbol::Colon, "`:` and the value of this key")?;
            parser.or()
        })?;
        self.writer.dictionary(offset, count);
        Ok(())
    }

    fn brackets(&mut self) -> Parsed {
        self.advance();
        self.or()?;
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
    fn peek(&mut self) -> &Token<'a> {
        let Self { next, cursor, .. } = self;
        next.get_or_insert_with(|| {
            cursor.skip_space();
            self.next_start = cursor.place();
            cursor.next_token()
        })
    }

    /// Steps over the next token and says where it started.
    fn advance(&mut self) -> usize {
        self.peek();
        self.next = None;
        self.next_start
    }

    /// Whether the next token is this symbol, which is stepped over then.
    fn takes(&mut self, symbol: Symbol) -> bool {
        let is_next = *self.peek() == Token::Symbol(symbol);
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
    fn unexpected(&mut self, expected: &'static str) -> Box<ParseError> {
        let token = *self.peek();
        let place = self.next_start;
        Box::new(match token {
            Token::Broken(fault) => self.cursor.error(place, fault),
            _ => self.cursor.unexpected(place, expected),
        })
    }
}

/// What can stand between the two sides of a comparison.
#[derive(Clone, Copy)]
enum Comparison {
    Binary(Binary),
    Matches { ignore_case: bool },
}

impl Comparison {
    fn of(token: &Token<'_>) -> Option<Self> {
        Some(match token {
            Token::Symbol(Symbol::Equal) => Self::Binary(Binary::Equal),
            Token::Symbol(Symbol::Unequal) => Self::Binary(Binary::Unequal),
            Token::Symbol(Symbol::Less) => Self::Binary(Binary::Less),
            Token::Symbol(Symbol::Greater) => Self::Binary(Binary::Greater),
            Token::Symbol(Symbol::AtMost) => Self::Binary(Binary::AtMost),
            Token::Symbol(Symbol::AtLeast) => Self::Binary(Binary::AtLeast),
            Token::Word(b"has") => Self::Binary(Binary::Has),
            Token::Word(b"has_i") => Self::Binary(Binary::HasIgnoringCase),
            Token::Word(b"matches") => Self::Matches { ignore_case: false },
            Token::Word(b"matches_i") => Self::Matches { ignore_case: true },
            _ => return None,
        })
    }
}
