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
use super::reference::{self, Plain};
use super::token::Cursor;
use super::value::Value;

/// Reads expressions and text with references in it. Pages are written by loops, so what was read a moment ago is known when it
/// is met again, and both share the program.
#[derive(Debug)]
pub struct Reader<'l> {
    writer: Writer<'l>,
    /// Whole expressions.
    expressions: Known<'l>,
    /// Calls and references in text.
    dynamics: Known<'l>,
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
            expressions: Known::default(),
            dynamics: Known::default(),
            left_open: BinaryHeap::new(),
        }
    }

    /// Reads a whole text as an expression.
    pub fn expression(&mut self, text: &'l [u8]) -> Result<Expr, ParseError> {
        let slot = Slot::of(text);
        if let Some((expr, _)) = self.expressions.get(slot, |known| known == text) {
            return Ok(expr);
        }
        self.writer.start_anew();
        parse::expression(text, &mut self.writer)?;
        let expr = Expr::from(&mut self.writer);
        self.expressions.keep(slot, text, &expr);
        Ok(expr)
    }

    /// Cuts a text and gives its pieces in order. Calls whose result is always the same are carried out here.
    pub fn cut(&mut self, text: &'l [u8], mut piece: impl FnMut(Cut)) {
        let mut literal_from = 0;
        let mut place = 0;
        // What was left open when something around it could not be read is text, too; were each tried again for itself, a
        // page of nothing but openers would be read as often as they may nest.
        self.left_open.clear();
        let mut close = 0;
        while let Some(offset) = find(b'$', text, place) {
            let rest = &text[offset..];
            let plain = if self.left_open.is_empty() {
                self.plain(rest)
            } else {
                None
            };
            if let Some((written, length)) = plain {
                if literal_from < offset {
                    piece(Cut::Literal(literal_from..offset));
                }
                piece(Cut::Dynamic {
                    offset,
                    expr: Expr::from(program::plain_read(&written)),
                });
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
            let to_close = close - offset + 1;
            if to_close > self.writer.limits.expression_bytes || self.was_left_open(offset) {
                continue;
            }
            let (expr, length) = match self.known_or_dynamic(rest, to_close) {
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
    fn plain(&self, text: &'l [u8]) -> Option<(Plain<'l>, usize)> {
        let limits = self.writer.limits;
        let fits = |length| length <= limits.expression_bytes && limits.depth > 0;
        reference::plain(text).filter(|(_, length)| fits(*length))
    }

    /// What [`Reader::dynamic`] reads; it is looked for among what is known by its bytes up to the first bracket.
    fn known_or_dynamic(&mut self, text: &'l [u8], to_close: usize) -> Result<(Expr, usize), Open> {
        let slot = Slot::of(&text[..to_close]);
        if let Some(known) = self.dynamics.get(slot, |known| text.starts_with(known)) {
            return Ok(known);
        }
        let (expr, length) = self.dynamic(text)?;
        self.dynamics.keep(slot, &text[..length], &expr);
        Ok((expr, length))
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

/// Some of what was read, each in the slot of its text.
#[derive(Debug, Default)]
struct Known<'l>(Vec<Option<(&'l [u8], Expr)>>);

/// Where a text is looked for among those that are known.
#[derive(Debug, Clone, Copy)]
struct Slot(usize);

impl Slot {
    /// So many there are, a power of two.
    const COUNT: usize = 16;

    /// By the length of a text and its last bytes, in which those that begin alike differ.
    #[inline]
    fn of(text: &[u8]) -> Self {
        let last = text.last_chunk().copied().map_or(0, u64::from_le_bytes);
        let mixed = (last ^ text.len() as u64).wrapping_mul(0x9E37_79B9_7F4A_7C15);
        Self((mixed >> (u64::BITS - Self::COUNT.ilog2())) as usize)
    }
}

impl<'l> Known<'l> {
    /// What the text of a slot is worth, and its length, if it is the wanted one.
    #[inline]
    fn get(&self, slot: Slot, is_wanted: impl FnOnce(&[u8]) -> bool) -> Option<(Expr, usize)> {
        let (text, expr) = self.0.get(slot.0)?.as_ref()?;
        is_wanted(text).then(|| (expr.clone(), text.len()))
    }

    /// Keeps what a text is worth, in place of another that had its slot. What looks wrong is told at every place where it
    /// stands, so it is read at each.
    fn keep(&mut self, slot: Slot, text: &'l [u8], expr: &Expr) {
        if !expr.issues().is_empty() {
            return;
        }
        if self.0.is_empty() {
            self.0.resize_with(Slot::COUNT, || None);
        }
        if let Some(kept) = self.0.get_mut(slot.0) {
            *kept = Some((text, expr.clone()));
        }
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

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn read<'l>(reader: &mut Reader<'l>, text: &'l [u8]) -> (String, Vec<String>) {
        let expression = format!("{:?}", reader.expression(text));
        let mut pieces = Vec::new();
        reader.cut(text, |piece| pieces.push(format!("{piece:?}")));
        (expression, pieces)
    }

    #[test]
    fn the_same_expressions_share_a_program() {
        let limits = Limits::default();
        let mut reader = Reader::new(&limits);
        let steps = |expr: &Expr| expr.steps().as_ptr();
        let first = reader.expression(b"$(a) == 'x' & $(b)").unwrap();
        let second = reader.expression(b"$(a) == 'x' & $(b)").unwrap();
        assert_eq!(steps(&first), steps(&second));
        assert_ne!(
            steps(&first),
            steps(&reader.expression(b"$(a) == 'y' & $(b)").unwrap())
        );
    }

    #[test]
    fn what_looks_wrong_is_told_each_time() {
        let limits = Limits::default();
        let mut reader = Reader::new(&limits);
        for _ in 0..3 {
            assert_eq!(
                reader.expression(b"1 / 0 == $(a)").unwrap().issues().len(),
                1
            );
            assert!(reader.expression(b"1 / ").is_err());
        }
    }

    proptest! {
        #[test]
        fn what_is_known_is_what_would_be_read_anew(texts in prop::collection::vec(texts(), 1..12)) {
            let limits = Limits::default();
            let mut reader = Reader::new(&limits);
            for text in &texts {
                let anew = read(&mut Reader::new(&limits), text.as_bytes());
                prop_assert_eq!(read(&mut reader, text.as_bytes()), anew, "{}", text);
            }
        }
    }

    /// Few pieces, so that texts repeat and begin alike.
    fn texts() -> impl Strategy<Value = String> {
        let piece = prop::sample::select(vec![
            "$upper($(q))",
            "$upper('a')",
            "$f($(a|b))",
            "$(a|b)",
            "$(a{$(b)})",
            "$(a)",
            " == 'x'",
            "(",
            ")",
            "$upper(",
            "$(",
            "|b)",
            " + 1",
            "x",
        ]);
        prop::collection::vec(piece, 1..4).prop_map(|pieces| pieces.concat())
    }
}
