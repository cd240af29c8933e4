//! Reads the expressions of one document, one after the other, in room that is used again: a page has hundreds, most of
//! them a few bytes long.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::ops::Range;

use super::error::ParseError;
use super::expression::Expr;
use super::limits::Limits;
use super::name::leading_name;
use super::open::Open;
use super::parse;
use super::program::{self, Writer};
use super::reference;
use super::token::Cursor;
use super::value::Value;

/// Reads expressions and text with references in it.
#[derive(Debug)]
pub struct Reader<'l> {
    writer: Writer<'l>,
    /// Places in the text at hand whose `$` is known to start nothing.
    left_open: BinaryHeap<Reverse<usize>>,
}

/// A piece of a text that is being cut. Offsets are those of the text.
#[derive(Debug)]
pub enum Cut {
    /// Bytes of the text itself; never none.
    Literal(Range<usize>),
    /// What a call is always worth.
    Folded(Value),
    /// A reference or a call.
    Dynamic {
        /// Where it starts.
        offset: usize,
        /// What it is worth.
        expr: Expr,
    },
}

impl<'l> Reader<'l> {
    /// A reader that has read nothing yet.
    pub fn new(limits: &'l Limits) -> Self {
        Self {
            writer: Writer::new(limits),
            left_open: BinaryHeap::new(),
        }
    }

    /// Reads a whole text as an expression.
    pub fn expression(&mut self, text: &[u8]) -> Result<Expr, ParseError> {
        self.writer.start_anew();
        parse::expression(text, &mut self.writer)?;
        Ok(Expr::from(&mut self.writer))
    }

    /// Cuts a text and gives its pieces in order. Calls whose result is always the same are carried out here.
    pub fn cut(&mut self, text: &[u8], mut piece: impl FnMut(Cut)) {
        let mut literal_from = 0;
        let mut place = 0;
        // What was left open when something around it could not be read is text, too; were each tried again for itself, a
        // page of nothing but openers would be read as often as they may nest.
        self.left_open.clear();
        let mut close = 0;
        while let Some(offset) = find(b'$', text, place) {
            if self.left_open.is_empty()
                && let Some((expr, length)) = self.plain(&text[offset..])
            {
                if literal_from < offset {
                    piece(Cut::Literal(literal_from..offset));
                }
                piece(Cut::Dynamic { offset, expr });
                place = offset + length;
                literal_from = place;
                continue;
            }
            place = offset + 1;
            if close < place {
                // Whatever starts ends with a bracket: where there is none, nothing does.
                match find(b')', text, place) {
                    Some(next) => close = next,
                    None => break,
                }
            }
            if close - offset >= self.writer.limits.expression_bytes || self.was_left_open(offset) {
                continue;
            }
            let (expr, length) = match self.dynamic(&text[offset..]) {
                Ok(read) => read,
                Err(open) => {
                    let inner = open.places().skip(1);
                    self.left_open
                        .extend(inner.map(|inner| Reverse(offset + inner)));
                    continue;
                }
            };
            if literal_from < offset {
                piece(Cut::Literal(literal_from..offset));
            }
            piece(match expr.as_constant() {
                Some(value) => Cut::Folded(value.clone()),
                None => Cut::Dynamic { offset, expr },
            });
            place = offset + length;
            literal_from = place;
        }
        if literal_from < text.len() {
            piece(Cut::Literal(literal_from..text.len()));
        }
    }

    /// Whether a place is one of those left open; those before it are forgotten.
    fn was_left_open(&mut self, offset: usize) -> bool {
        let mut was = false;
        while let Some(Reverse(place)) = self.left_open.peek()
            && *place <= offset
        {
            was |= *place == offset;
            self.left_open.pop();
        }
        was
    }

    /// The plain reference at the start of a text, and its length.
    #[inline]
    fn plain(&self, text: &[u8]) -> Option<(Expr, usize)> {
        let limits = self.writer.limits;
        let (written, length) = reference::plain(text)?;
        let fits = length <= limits.expression_bytes && limits.depth > 0;
        fits.then(|| (Expr::from(program::plain_read(&written)), length))
    }

    /// The reference or call at the start of a text, and its length; else the places of all that were begun there and not
    /// ended. No more is read than an expression may be long.
    fn dynamic(&mut self, text: &[u8]) -> Result<(Expr, usize), Open> {
        let limits = self.writer.limits;
        let text = &text[..text.len().min(limits.expression_bytes)];
        let after = text.get(1..).unwrap_or_default();
        if after.first() == Some(&b'(') {
            let mut open = Open::default();
            let mut cursor = Cursor::new(text, 0);
            return match reference::read(&mut cursor, limits.depth, &mut open) {
                Ok(written) => Ok((self.reference(written), cursor.place())),
                Err(_) => Err(open),
            };
        }
        match leading_name(after) {
            Some(length) if after.get(length) == Some(&b'(') => {
                self.writer.start_anew();
                let length = parse::call(text, &mut self.writer)?;
                Ok((Expr::from(&mut self.writer), length))
            }
            _ => Err(Open::default()),
        }
    }

    /// A single reference.
    pub(super) fn reference(&mut self, written: reference::Written<'_>) -> Expr {
        self.writer.start_anew();
        self.writer.reference(written);
        Expr::from(&mut self.writer)
    }
}

#[inline]
fn find(byte: u8, text: &[u8], from: usize) -> Option<usize> {
    let rest = text.get(from..)?;
    // Where something ends, the text often does, or the next thing starts.
    match rest.first() {
        None => return None,
        Some(first) if *first == byte => return Some(from),
        Some(_) => {}
    }
    memchr::memchr(byte, rest).map(|place| from + place)
}
