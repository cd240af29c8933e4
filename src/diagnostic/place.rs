//! Lines and columns of a text.

use super::floor;

/// Tells the line and the column of places. The places of one text are asked for in their order, and the text is read once.
#[derive(Debug, Clone)]
pub struct Places<'t> {
    text: &'t str,
    offset: usize,
    line: usize,
    column: usize,
}

impl<'t> Places<'t> {
    /// At the start of a text.
    pub fn new(text: &'t str) -> Self {
        Self {
            text,
            offset: 0,
            line: 1,
            column: 1,
        }
    }

    /// The text.
    pub fn text(&self) -> &'t str {
        self.text
    }

    /// Line and column of a byte, both from 1, columns in characters. A place before the one asked for last costs another
    /// reading from the start.
    pub fn of(&mut self, offset: usize) -> (usize, usize) {
        let offset = floor(self.text, offset);
        if offset < self.offset {
            *self = Self::new(self.text);
        }
        // Both are borders of characters, and the first is not behind the second.
        let passed = &self.text[self.offset..offset];
        match passed.rfind('\n') {
            Some(end) => {
                self.line += passed.matches('\n').count();
                self.column = passed[end + 1..].chars().count() + 1;
            }
            None => self.column += passed.chars().count(),
        }
        self.offset = offset;
        (self.line, self.column)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_told_in_any_order() {
        let mut places = Places::new("a\nbüc\n\nd");
        for (offset, wanted) in [
            (0, (1, 1)),
            (1, (1, 2)),
            (2, (2, 1)),
            (5, (2, 3)),
            (4, (2, 2)),
            (6, (2, 4)),
            (7, (3, 1)),
            (2, (2, 1)),
            (8, (4, 1)),
            (99, (4, 2)),
        ] {
            assert_eq!(places.of(offset), wanted, "at {offset}");
        }
    }
}
