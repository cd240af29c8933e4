//! What is wrong with a text that a person has written, and how it is shown to them: a configuration, a page.
//!
//! A [`Diagnostic`] is a value: a place, what stands there, what to write instead. [`render`] draws it as compilers do, with the
//! source line and the span underlined. What is wrong is found by those who read the texts; this room keeps and draws.

mod draw;
mod nearest;
mod place;

use std::fmt;
use std::ops::Range;

use annotate_snippets::normalize_untrusted_str;

pub use draw::{count, render, render_title};
pub use nearest::nearest;
pub use place::Places;

/// How much a finding weighs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Severity {
    /// The text is refused, or a part of it is not carried out.
    Error,
    /// It is accepted, and its author should know.
    Warning,
}

/// One finding about a text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Diagnostic {
    /// Whether it refuses the text.
    pub severity: Severity,
    /// By which name programs know this kind of finding; it never changes.
    pub code: Option<&'static str>,
    /// What was read and why it is wrong.
    pub message: String,
    /// The bytes of the text that are meant; on one line, at borders of characters. Empty at 0: the text as a whole.
    pub span: Range<usize>,
    /// What a page emits in its place.
    pub emitted: Option<String>,
    /// What is accepted, or what to do: one sentence an entry.
    pub help: Vec<String>,
    /// A second place that matters, and why.
    pub also: Option<(Range<usize>, String)>,
    line: usize,
    column: usize,
}

impl Diagnostic {
    /// A finding at `span`, whose line and column are not known before [`locate`](Self::locate).
    pub fn new(severity: Severity, span: Range<usize>, message: impl Into<String>) -> Self {
        Self {
            severity,
            code: None,
            message: message.into(),
            span,
            emitted: None,
            help: Vec::new(),
            also: None,
            line: 1,
            column: 1,
        }
    }

    /// Adds what is accepted, or what to do.
    pub fn help(mut self, text: impl Into<String>) -> Self {
        self.help.push(text.into());
        self
    }

    /// Points at a second place.
    pub fn also(mut self, span: Range<usize>, label: impl Into<String>) -> Self {
        self.also = Some((span, label.into()));
        self
    }

    /// Brings the spans into `text` and finds line and column.
    pub fn locate(self, text: &str) -> Self {
        self.locate_by(&mut Places::new(text))
    }

    /// The same, for many findings about one text in the order of their places: the text is then read once for all.
    pub fn locate_by(mut self, places: &mut Places<'_>) -> Self {
        let text = places.text();
        self.span = within(text, &self.span);
        self.also = self
            .also
            .map(|(span, label)| (within(text, &span), label))
            .filter(|(span, _)| !span.is_empty());
        (self.line, self.column) = places.of(self.span.start);
        self
    }

    /// The line where it starts, from 1.
    pub fn line(&self) -> usize {
        self.line
    }

    /// The column where it starts, from 1, in characters.
    pub fn column(&self) -> usize {
        self.column
    }
}

/// A text from elsewhere as it may go to a terminal: what would steer it is made visible.
pub fn shown(text: &str) -> String {
    normalize_untrusted_str(text)
}

/// `3:1: unknown key ...`: for logs, where no source line can be drawn.
impl fmt::Display for Diagnostic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let message = normalize_untrusted_str(&self.message);
        write!(f, "{}:{}: {message}", self.line, self.column)
    }
}

/// `span` cut to its first line and moved to borders of characters inside `text`.
fn within(text: &str, span: &Range<usize>) -> Range<usize> {
    let start = floor(text, span.start);
    let mut end = span.end.clamp(start, text.len());
    while !text.is_char_boundary(end) {
        end += 1;
    }
    let line = text[start..end].find(['\n', '\r']);
    start..line.map_or(end, |length| start + length)
}

/// The border of a character at or before this byte.
fn floor(text: &str, offset: usize) -> usize {
    let mut at = offset.min(text.len());
    while !text.is_char_boundary(at) {
        at -= 1;
    }
    at
}
