//! What is wrong with a configuration: each fault with its place, what was read and what is accepted.
//!
//! A [`Diagnostic`] is a value; [`render`] draws it as compilers do, with the source line and the span underlined. Faults are
//! found by [`file`](crate::config::file); this room only keeps and draws them.

use std::fmt;
use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};

use annotate_snippets::{
    AnnotationKind, Group, Level, Origin, Renderer, Snippet, normalize_untrusted_str,
};

/// Why a configuration was refused.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file could not be read at all.
    #[error("cannot read {}: {source}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The file was read and has faults.
    #[error("{}", told(path, diagnostics))]
    Faulty {
        /// The file.
        path: PathBuf,
        /// What it holds.
        text: String,
        /// All its faults and warnings in the order of the file, at least one of them an error.
        diagnostics: Vec<Diagnostic>,
    },
}

impl ConfigError {
    /// The faults and warnings in the order of the file; none when it could not be read.
    pub fn diagnostics(&self) -> &[Diagnostic] {
        match self {
            Self::Unreadable { .. } => &[],
            Self::Faulty { diagnostics, .. } => diagnostics,
        }
    }

    /// The refusal as it is shown to people, with a line at the end that counts the faults.
    pub fn render(&self, color: bool) -> String {
        match self {
            Self::Unreadable { .. } => {
                let title = Level::ERROR.primary_title(self.to_string());
                format!("{}\n", renderer(color).render(&[Group::with_title(title)]))
            }
            Self::Faulty {
                path,
                text,
                diagnostics,
            } => {
                let drawn = render(path, text, diagnostics, color);
                format!("{drawn}{}: {}\n", path.display(), count(diagnostics))
            }
        }
    }
}

/// How much a finding weighs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Severity {
    /// The configuration is refused.
    Error,
    /// It is accepted, and its author should know.
    Warning,
}

/// One finding about a configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Diagnostic {
    /// Whether it refuses the file.
    pub severity: Severity,
    /// What was read and why it is wrong.
    pub message: String,
    /// The bytes of the text that are meant; on one line, at borders of characters. Empty at 0: the file as a whole.
    pub span: Range<usize>,
    /// What is accepted, or what to do: one sentence an entry.
    pub help: Vec<String>,
    /// A second place that matters, and why.
    pub also: Option<(Range<usize>, String)>,
    line: usize,
    column: usize,
}

impl Diagnostic {
    /// A finding at `span`, whose line and column are not known before [`locate`](Self::locate).
    pub(super) fn new(severity: Severity, span: Range<usize>, message: impl Into<String>) -> Self {
        Self {
            severity,
            message: message.into(),
            span,
            help: Vec::new(),
            also: None,
            line: 1,
            column: 1,
        }
    }

    /// Adds what is accepted, or what to do.
    pub(super) fn help(mut self, text: impl Into<String>) -> Self {
        self.help.push(text.into());
        self
    }

    /// Points at a second place.
    pub(super) fn also(mut self, span: Range<usize>, label: impl Into<String>) -> Self {
        self.also = Some((span, label.into()));
        self
    }

    /// Brings the spans into `text` and finds line and column.
    pub(super) fn locate(mut self, text: &str) -> Self {
        self.span = within(text, &self.span);
        self.also = self
            .also
            .map(|(span, label)| (within(text, &span), label))
            .filter(|(span, _)| !span.is_empty());
        let before = text.get(..self.span.start).unwrap_or_default();
        let line_start = before.rfind('\n').map_or(0, |at| at + 1);
        self.line = before.matches('\n').count() + 1;
        self.column = before[line_start..].chars().count() + 1;
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

/// `3:1: unknown key ...`: for logs, where no source line can be drawn.
impl fmt::Display for Diagnostic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let message = normalize_untrusted_str(&self.message);
        write!(f, "{}:{}: {message}", self.line, self.column)
    }
}

/// Draws findings about `text`, each followed by an empty line.
pub fn render(path: &Path, text: &str, diagnostics: &[Diagnostic], color: bool) -> String {
    let renderer = renderer(color);
    let origin = path.display().to_string();
    let mut drawn = String::new();
    for diagnostic in diagnostics {
        let level = match diagnostic.severity {
            Severity::Error => Level::ERROR,
            Severity::Warning => Level::WARNING,
        };
        let title = level.primary_title(&diagnostic.message);
        let group = if diagnostic.span == (0..0) {
            title.element(Origin::path(&origin))
        } else {
            title.element(snippet(&origin, text, diagnostic))
        };
        let help = diagnostic
            .help
            .iter()
            .map(|text| Level::HELP.message(normalize_untrusted_str(text)));
        drawn.push_str(&renderer.render(&[group.elements(help)]));
        drawn.push_str("\n\n");
    }
    drawn
}

fn snippet<'a>(
    origin: &'a str,
    text: &'a str,
    diagnostic: &'a Diagnostic,
) -> Snippet<'a, annotate_snippets::Annotation<'a>> {
    let place = AnnotationKind::Primary.span(diagnostic.span.clone());
    let also = diagnostic.also.iter().map(|(span, label)| {
        AnnotationKind::Context
            .span(span.clone())
            .label(label.as_str())
    });
    Snippet::source(text)
        .path(origin)
        .annotation(place)
        .annotations(also)
}

fn renderer(color: bool) -> Renderer {
    if color {
        Renderer::styled()
    } else {
        Renderer::plain()
    }
}

/// `span` cut to its first line and moved to borders of characters inside `text`.
fn within(text: &str, span: &Range<usize>) -> Range<usize> {
    let mut start = span.start.min(text.len());
    while !text.is_char_boundary(start) {
        start -= 1;
    }
    let mut end = span.end.clamp(start, text.len());
    while !text.is_char_boundary(end) {
        end += 1;
    }
    let line = text[start..end].find(['\n', '\r']);
    start..line.map_or(end, |length| start + length)
}

fn count(diagnostics: &[Diagnostic]) -> String {
    let of = |severity, word: &str| {
        let found = diagnostics
            .iter()
            .filter(|diagnostic| diagnostic.severity == severity)
            .count();
        format!("{found} {word}{}", if found == 1 { "" } else { "s" })
    };
    let errors = of(Severity::Error, "error");
    if diagnostics.iter().all(|d| d.severity == Severity::Error) {
        return errors;
    }
    format!("{errors}, {}", of(Severity::Warning, "warning"))
}

fn told(path: &Path, diagnostics: &[Diagnostic]) -> String {
    let first = diagnostics
        .iter()
        .find(|diagnostic| diagnostic.severity == Severity::Error)
        .map(|diagnostic| format!(", the first at {diagnostic}"));
    let (path, first) = (path.display(), first.unwrap_or_default());
    format!("{path}: {}{first}", count(diagnostics))
}
