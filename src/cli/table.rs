//! A table as people read it in a terminal: columns under their names, numbers at the right.

use std::fmt::Write as _;

/// Which way a column leans.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    /// Words.
    Left,
    /// Numbers.
    Right,
}

/// Rows under a head. Every row has as many cells as the head.
#[derive(Debug)]
pub struct Table {
    sides: Vec<Side>,
    rows: Vec<Vec<String>>,
}

/// What stands between two columns.
const GAP: &str = "  ";

impl Table {
    /// A table with this head.
    pub fn new(head: &[(&str, Side)]) -> Self {
        Self {
            sides: head.iter().map(|(_, side)| *side).collect(),
            rows: vec![head.iter().map(|(name, _)| (*name).to_owned()).collect()],
        }
    }

    /// One more row. What came from outside is made printable.
    pub fn row(&mut self, cells: impl IntoIterator<Item = String>) {
        self.rows
            .push(cells.into_iter().map(|cell| printable(&cell)).collect());
    }

    /// The whole, one line a row, each indented by `indent` and without blanks at its end.
    pub fn text(&self, indent: &str) -> String {
        let width = |column: usize| {
            let cells = self.rows.iter().filter_map(|row| row.get(column));
            cells.map(|cell| cell.chars().count()).max().unwrap_or(0)
        };
        let widths: Vec<usize> = (0..self.sides.len()).map(width).collect();
        let mut text = String::new();
        for row in &self.rows {
            let mut line = indent.to_owned();
            for (at, ((cell, side), width)) in row.iter().zip(&self.sides).zip(&widths).enumerate()
            {
                if at > 0 {
                    line.push_str(GAP);
                }
                // Writing to a string does not fail.
                let _ = match side {
                    Side::Left => write!(line, "{cell:<width$}"),
                    Side::Right => write!(line, "{cell:>width$}"),
                };
            }
            text.push_str(line.trim_end());
            text.push('\n');
        }
        text
    }
}

/// The text without what would steer a terminal: control characters, and those that turn the direction of writing, as escapes.
pub fn printable(text: &str) -> String {
    let steers = |letter: char| {
        letter.is_control()
            || matches!(letter, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
    };
    if !text.contains(steers) {
        return text.to_owned();
    }
    let mut plain = String::with_capacity(text.len());
    for letter in text.chars() {
        if steers(letter) {
            plain.extend(letter.escape_default());
        } else {
            plain.push(letter);
        }
    }
    plain
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_stand_under_their_names() {
        let mut table = Table::new(&[
            ("name", Side::Left),
            ("count", Side::Right),
            ("", Side::Left),
        ]);
        table.row(["a".to_owned(), "12345678".to_owned(), String::new()]);
        table.row(["ünder".to_owned(), "1".to_owned(), "end".to_owned()]);
        assert_eq!(
            table.text("  "),
            "  name      count\n  a      12345678\n  ünder         1  end\n"
        );
    }

    #[test]
    fn nothing_steers_the_terminal() {
        assert_eq!(
            printable("/a\u{1b}[2Jb\n\u{202e}c"),
            "/a\\u{1b}[2Jb\\n\\u{202e}c"
        );
        assert_eq!(printable("/größe"), "/größe");
    }
}
