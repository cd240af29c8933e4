//! The bytes of a page as text that can be shown.

use std::borrow::Cow;
use std::ops::Range;

/// A page as text: what is no UTF-8 stands there as U+FFFD, one for each broken sequence.
pub(super) struct Shown<'d> {
    pub(super) text: Cow<'d, str>,
    /// Where the two drift apart: behind each broken sequence, the place in the page and the place in the text.
    marks: Vec<(usize, usize)>,
}

impl<'d> Shown<'d> {
    pub(super) fn of(document: &'d [u8]) -> Self {
        if let Ok(text) = std::str::from_utf8(document) {
            return Self {
                text: Cow::Borrowed(text),
                marks: Vec::new(),
            };
        }
        let mut text = String::with_capacity(document.len());
        let mut marks = Vec::new();
        let mut at = 0;
        for chunk in document.utf8_chunks() {
            text.push_str(chunk.valid());
            at += chunk.valid().len() + chunk.invalid().len();
            if !chunk.invalid().is_empty() {
                text.push(char::REPLACEMENT_CHARACTER);
                marks.push((at, text.len()));
            }
        }
        Self {
            text: Cow::Owned(text),
            marks,
        }
    }

    /// A span of the page as a span of the text. Ends inside a broken sequence or a character move to a border.
    pub(super) fn span(&self, span: &Range<usize>) -> Range<usize> {
        let start = self.place(span.start);
        start..self.place(span.end).max(start)
    }

    fn place(&self, offset: usize) -> usize {
        let behind = self.marks.partition_point(|(at, _)| *at <= offset);
        let (from, to) = match behind
            .checked_sub(1)
            .and_then(|index| self.marks.get(index))
        {
            Some(mark) => *mark,
            None => (0, 0),
        };
        let mut place = to.saturating_add(offset - from);
        // A place inside the next broken sequence is that of its replacement.
        if let Some((_, next)) = self.marks.get(behind) {
            place = place.min(next - char::REPLACEMENT_CHARACTER.len_utf8());
        }
        place = place.min(self.text.len());
        while !self.text.is_char_boundary(place) {
            place -= 1;
        }
        place
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_move_with_the_replaced_bytes() {
        let document = b"a\xff\xfeb\xe2\x82c\xc3\xa9d";
        let shown = Shown::of(document);
        assert_eq!(shown.text, "a\u{fffd}\u{fffd}b\u{fffd}c\u{e9}d");
        let rows = [
            (0..1, "a"),
            (1..2, "\u{fffd}"),
            (3..4, "b"),
            (4..6, "\u{fffd}"),
            (5..7, "\u{fffd}c"),
            (6..7, "c"),
            (7..9, "\u{e9}"),
            (8..10, "\u{e9}d"),
            (10..99, ""),
        ];
        for (span, wanted) in rows {
            assert_eq!(&shown.text[shown.span(&span)], wanted, "{span:?}");
        }
    }
}
