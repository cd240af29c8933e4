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
use super::limits::Limits;
use super::name::Name;
use super::open::Open;
use super::operators::{self, Binary};
use super::program::{self, Writer};
use super::reference::{self, NoReference};
use super::token::{Cursor, Token};

type Parsed<T = ()> = Result<T, ParseError>;

/// Reads a whole text as an expression.
pub(super) fn expression<'a>(text: &'a [u8], limits: &'a Limits) -> Parsed<Writer<'a>> {
    let limit = limits.expression_bytes;
    if text.len() > limit {
        let length = text.len();
        let kind = ParseErrorKind::TooLong { length, limit };
        return Err(ParseError { offset: 0, kind });
    }
    let mut parser = Parser::new(text, 0, limits);
    parser.or()?;
    match parser.peek()? {
        Token::End => Ok(parser.writer),
        _ => Err(parser.unexpected("an operator or the end")),
    }
}

/// Reads the call at the start of a text, `$name(…)`, and says where it ends. When there is none, gives the places of all
/// calls and references that were begun and not ended.
pub(super) fn call<'a>(text: &'a [u8], limits: &'a Limits) -> Result<(Writer<'a>, usize), Open> {
    let mut parser = Parser::new(text, 0, limits);
    match parser.primary() {
        Ok(()) => Ok((parser.writer, parser.cursor.place())),
        Err(_) => Err(parser.open),
    }
}

struct Parser<'a> {
    cursor: Cursor<'a>,
    peeked: Option<Peeked<'a>>,
    writer: Writer<'a>,
    depth: usize,
    /// Where the calls and references start that are being read.
    open: Open,
}

/// A token that has been looked at: where it starts, and the cursor behind it.
#[derive(Clone, Copy)]
struct Peeked<'a> {
    token: Token<'a>,
    start: usize,
    behind: Cursor<'a>,
}

impl<'a> Peeked<'a> {
    fn at(cursor: Cursor<'a>) -> Parsed<Self> {
        let mut behind = cursor;
        behind.skip_space();
        let start = behind.place();
        let token = behind.next_token()?;
        Ok(Self {
            token,
            start,
            behind,
        })
    }
}

impl<'a> Parser<'a> {
    fn new(text: &'a [u8], place: usize, limits: &'a Limits) -> Self {
        Self {
            cursor: Cursor::new(text, place),
            peeked: None,
            writer: Writer::new(limits),
            depth: 0,
            open: Open::default(),
        }
    }

    fn or(&mut self) -> Parsed {
        self.junction(true, |symbol| matches!(symbol, "|" | "||"), Self::and)
    }

    fn and(&mut self) -> Parsed {
        self.junction(false, |symbol| matches!(symbol, "&" | "&&"), Self::not)
    }

    /// Sides joined by `|` or `&`: the first that is `when` decides, and the rest is skipped.
    fn junction(
        &mut self,
        when: bool,
        joins: fn(&'static str) -> bool,
        side: fn(&mut Self) -> Parsed,
    ) -> Parsed {
        side(self)?;
        let mut last_jump = None;
        while joins(self.peek_symbol()?) {
            self.advance()?;
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
        if self.peek_symbol()? != "!" {
            return self.comparison();
        }
        self.advance()?;
        self.deeper(Self::not)?;
        self.writer.not();
        Ok(())
    }

    fn comparison(&mut self) -> Parsed {
        self.sum()?;
        let Some(operator) = self.comparison_operator()? else {
            return Ok(());
        };
        let offset = self.advance()?;
        self.sum()?;
        match operator {
            Comparison::Binary(binary) => self.writer.binary(offset, binary),
            Comparison::Matches { ignore_case } => self.writer.matches(offset, ignore_case),
        }
        Ok(())
    }

    fn comparison_operator(&mut self) -> Parsed<Option<Comparison>> {
        let operator = match self.peek()? {
            Token::Symbol(symbol) => match symbol {
                "==" => Comparison::Binary(Binary::Equal),
                "!=" => Comparison::Binary(Binary::Unequal),
                "<" => Comparison::Binary(Binary::Less),
                ">" => Comparison::Binary(Binary::Greater),
                "<=" => Comparison::Binary(Binary::AtMost),
                ">=" => Comparison::Binary(Binary::AtLeast),
                _ => return Ok(None),
            },
            Token::Word(word) => match word {
                b"has" => Comparison::Binary(Binary::Has),
                b"has_i" => Comparison::Binary(Binary::HasIgnoringCase),
                b"matches" => Comparison::Matches { ignore_case: false },
                b"matches_i" => Comparison::Matches { ignore_case: true },
                _ => return Ok(None),
            },
            _ => return Ok(None),
        };
        Ok(Some(operator))
    }

    fn sum(&mut self) -> Parsed {
        self.term()?;
        loop {
            let operator = match self.peek_symbol()? {
                "+" => Binary::Add,
                "-" => Binary::Subtract,
                _ => return Ok(()),
            };
            let offset = self.advance()?;
            self.term()?;
            self.writer.binary(offset, operator);
        }
    }

    fn term(&mut self) -> Parsed {
        self.unary()?;
        loop {
            let operator = match self.peek_symbol()? {
                "*" => Binary::Multiply,
                "/" => Binary::Divide,
                "%" => Binary::Remainder,
                _ => return Ok(()),
            };
            let offset = self.advance()?;
            self.unary()?;
            self.writer.binary(offset, operator);
        }
    }

    fn unary(&mut self) -> Parsed {
        if self.peek_symbol()? != "-" {
            return self.primary();
        }
        let offset = self.advance()?;
        if let Token::Number(digits) = self.peek()? {
            let literal = [b"-", digits].concat();
            self.writer.constant(operators::literal(&literal));
            self.advance()?;
            return Ok(());
        }
        self.deeper(Self::unary)?;
        self.writer.negate(offset);
        Ok(())
    }

    fn primary(&mut self) -> Parsed {
        let expected =
            "a value: a number, a quoted string, `$(NAME)`, `$function(…)`, `[`, `{` or `(`";
        match self.peek()? {
            Token::Number(digits) => {
                let literal = operators::literal(digits);
                self.writer.constant(literal);
                self.advance().map(drop)
            }
            Token::Text(text) => {
                self.writer.constant(program::text(text.resolved()));
                self.advance().map(drop)
            }
            Token::Reference => self.reference(),
            Token::Call(_) => self.deeper(Self::call),
            Token::Symbol("[") => self.deeper(Self::list),
            Token::Symbol("{") => self.deeper(Self::dictionary),
            Token::Symbol("(") => self.deeper(Self::brackets),
            _ => Err(self.unexpected(expected)),
        }
    }

    fn reference(&mut self) -> Parsed {
        let offset = self.advance()?;
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
        Err(ParseError { offset, kind })
    }

    fn call(&mut self) -> Parsed {
        let offset = self.peek_start()?;
        self.open.push(offset);
        let Token::Call(name) = self.peek()? else {
            return Err(self.unexpected("a call"));
        };
        let Some(name) = Name::parse(name) else {
            return Err(self.unexpected("the name of a function"));
        };
        self.advance()?;
        let count = self.separated(")", "`,` or `)`", Self::or)?;
        self.open.pop();
        self.writer.call(offset, name, count);
        Ok(())
    }

    fn list(&mut self) -> Parsed {
        let offset = self.advance()?;
        if self.peek_symbol()? == "]" {
            self.advance()?;
            self.writer.list(offset, 0);
            return Ok(());
        }
        self.or()?;
        if self.peek_symbol()? == ".." {
            self.advance()?;
            self.or()?;
            self.expect("]", "`]`")?;
            self.writer.range(offset);
            return Ok(());
        }
        let mut count = 1;
        if self.peek_symbol()? == "," {
            self.advance()?;
            count += self.items("]", "`,` or `]`", Self::or)?;
        } else {
            self.expect("]", "`,`, `..` or `]`")?;
        }
        self.writer.list(offset, count);
        Ok(())
    }

    fn dictionary(&mut self) -> Parsed {
        let offset = self.advance()?;
        let count = self.separated("}", "`,` or `}`", |parser| {
            parser.or()?;
            parser.expect(":", "`:` and the value of this key")?;
            parser.or()
        })?;
        self.writer.dictionary(offset, count);
        Ok(())
    }

    fn brackets(&mut self) -> Parsed {
        self.advance()?;
        self.or()?;
        self.expect(")", "an operator or `)`")
    }

    /// Items separated by `,` up to `end`, perhaps none; gives their number.
    fn separated(
        &mut self,
        end: &'static str,
        expected: &'static str,
        item: fn(&mut Self) -> Parsed,
    ) -> Parsed<usize> {
        if self.peek_symbol()? == end {
            self.advance()?;
            return Ok(0);
        }
        self.items(end, expected, item)
    }

    /// Items separated by `,` up to `end`, at least one.
    fn items(
        &mut self,
        end: &'static str,
        expected: &'static str,
        item: fn(&mut Self) -> Parsed,
    ) -> Parsed<usize> {
        let mut count = 0;
        loop {
            item(self)?;
            count += 1;
            if self.peek_symbol()? != "," {
                self.expect(end, expected)?;
                return Ok(count);
            }
            self.advance()?;
        }
    }

    /// Reads something that stands inside something else.
    fn deeper(&mut self, inner: fn(&mut Self) -> Parsed) -> Parsed {
        let limit = self.writer.limits.depth;
        if self.depth >= limit {
            let offset = self.peek_start()?;
            let kind = ParseErrorKind::TooDeep { limit };
            return Err(ParseError { offset, kind });
        }
        self.depth += 1;
        inner(self)?;
        self.depth -= 1;
        Ok(())
    }

    fn look(&mut self) -> Parsed<Peeked<'a>> {
        if let Some(peeked) = self.peeked {
            return Ok(peeked);
        }
        let peeked = Peeked::at(self.cursor)?;
        self.peeked = Some(peeked);
        Ok(peeked)
    }

    fn peek(&mut self) -> Parsed<Token<'a>> {
        match &self.peeked {
            Some(peeked) => Ok(peeked.token),
            None => self.look().map(|peeked| peeked.token),
        }
    }

    fn peek_start(&mut self) -> Parsed<usize> {
        self.look().map(|peeked| peeked.start)
    }

    /// The next token when it is a symbol, else nothing.
    fn peek_symbol(&mut self) -> Parsed<&'static str> {
        // Each level of precedence asks once, so mostly the token is there.
        let token = match &self.peeked {
            Some(peeked) => &peeked.token,
            None => &self.peek()?,
        };
        Ok(match token {
            Token::Symbol(symbol) => symbol,
            _ => "",
        })
    }

    /// Steps over the next token and says where it started.
    fn advance(&mut self) -> Parsed<usize> {
        let Peeked { start, behind, .. } = self.look()?;
        self.cursor = behind;
        self.peeked = None;
        Ok(start)
    }

    fn expect(&mut self, symbol: &'static str, expected: &'static str) -> Parsed {
        if self.peek_symbol()? != symbol {
            return Err(self.unexpected(expected));
        }
        self.advance().map(drop)
    }

    /// The error that something else was expected where the next token stands.
    fn unexpected(&mut self, expected: &'static str) -> ParseError {
        let place = self.peek_start().unwrap_or_else(|error| error.offset);
        self.cursor.unexpected(place, expected)
    }
}

/// What can stand between the two sides of a comparison.
#[derive(Clone, Copy)]
enum Comparison {
    Binary(Binary),
    Matches { ignore_case: bool },
}
