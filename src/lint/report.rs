//! The findings about one page as people and programs read them.

use std::fmt::Write as _;
use std::io;
use std::path::{Path, PathBuf};

use serde::Serialize;

use super::finding::Finding;
use super::shown::Shown;
use crate::diagnostic::{self, Diagnostic, Places, Severity};

/// What was found in one page, with its places.
#[derive(Debug)]
pub struct Report {
    path: PathBuf,
    text: String,
    diagnostics: Vec<Diagnostic>,
    rows: Vec<Row>,
}

/// One finding for a program.
#[derive(Debug, Clone, Serialize)]
pub struct Row {
    /// The page as it was named.
    pub file: String,
    /// Where it starts, from 1.
    pub line: usize,
    /// In characters, from 1.
    pub column: usize,
    /// Where it ends.
    pub end_line: usize,
    /// Behind its last character.
    pub end_column: usize,
    /// Where it starts, in bytes from 0, as in the gateway's log.
    pub offset: usize,
    /// `error` or `warning`.
    pub severity: &'static str,
    /// The name of this kind of finding.
    pub code: &'static str,
    /// What is wrong.
    pub message: String,
    /// What the page emits in its place.
    pub emitted: Option<String>,
    /// What to write, one advice an entry.
    pub help: Vec<String>,
}

impl Report {
    /// Finds the places of findings, which stand in the order of the page.
    pub fn new(path: &Path, document: &[u8], findings: &[Finding]) -> Self {
        let shown = Shown::of(document);
        let file = path.display().to_string();
        let mut places = Places::new(&shown.text);
        let (mut diagnostics, mut rows) = (Vec::new(), Vec::new());
        for finding in findings {
            let span = shown.span(&finding.span);
            let (line, column) = places.of(span.start);
            let (end_line, end_column) = places.clone().of(span.end);
            rows.push(Row {
                file: file.clone(),
                line,
                column,
                end_line,
                end_column,
                offset: finding.span.start,
                severity: word(finding.severity),
                code: finding.code,
                message: finding.message.clone(),
                emitted: finding.emitted.clone(),
                help: finding.help.clone(),
            });
            let mut diagnostic = Diagnostic::new(finding.severity, span, &finding.message);
            diagnostic.code = Some(finding.code);
            diagnostic.emitted.clone_from(&finding.emitted);
            diagnostic.help.clone_from(&finding.help);
            diagnostics.push(diagnostic.locate_by(&mut places));
        }
        Self {
            path: path.to_path_buf(),
            text: shown.text.into_owned(),
            diagnostics,
            rows,
        }
    }

    /// A page that cannot be read.
    pub fn unreadable(path: &Path, error: &io::Error) -> Self {
        let finding = Finding::error("unreadable", 0..0, format!("cannot be read: {error}"));
        Self::new(path, b"", &[finding])
    }

    /// The findings for programs.
    pub fn rows(&self) -> &[Row] {
        &self.rows
    }

    /// How much the gravest finding weighs.
    pub fn gravest(&self) -> Option<Severity> {
        let all = self
            .diagnostics
            .iter()
            .map(|diagnostic| diagnostic.severity);
        all.min_by_key(|severity| *severity != Severity::Error)
    }

    /// The findings for people, and a line that counts them.
    pub fn render(&self, color: bool) -> String {
        let mut drawn = diagnostic::render(&self.path, &self.text, &self.diagnostics, color);
        let path = self.path.display().to_string();
        let path = diagnostic::shown(&path);
        if self.diagnostics.is_empty() {
            // Writing to a string cannot fail.
            let _ = writeln!(drawn, "{path}: ok");
        } else {
            let count = diagnostic::count(&self.diagnostics);
            let _ = writeln!(drawn, "{count} in {path}");
        }
        drawn
    }
}

fn word(severity: Severity) -> &'static str {
    match severity {
        Severity::Error => "error",
        Severity::Warning => "warning",
    }
}
