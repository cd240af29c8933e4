//! What went wrong in a page and its fragments, one line for each fault: `FILE:LINE:COLUMN: error: what`.

use std::collections::HashMap;
use std::fmt::{Display, Write};
use std::sync::{Arc, Mutex, PoisonError};

use crate::compose::source::{FragmentError, Place};
use crate::compose::url::Url;
use crate::compose::watch::{Fallback, Watcher};
use crate::template::Template;
use crate::template::issue::line_and_column;

/// A fault that is met again at the same place is told once; of different ones so many are kept, the others are counted.
const KEPT: usize = 200;

/// A document that has been read.
#[derive(Debug, Clone)]
pub struct Known {
    /// Its name for people: the file, or the URL where there is none.
    pub label: String,
    /// Compiled.
    pub template: Arc<Template>,
}

/// The documents of a page by their URLs; of several with one URL the last.
#[derive(Debug, Default)]
pub struct Documents(Mutex<HashMap<String, Known>>);

impl Documents {
    /// A document has been read.
    pub fn put(&self, url: &Url, document: Known) {
        let mut documents = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        documents.insert(url.to_string(), document);
    }

    /// The document of this URL.
    pub fn get(&self, url: &str) -> Option<Known> {
        let documents = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        documents.get(url).cloned()
    }

    /// `FILE:LINE:COLUMN` of a place.
    fn shown(&self, place: &Place) -> String {
        match self.get(place.document.as_str()) {
            Some(known) => {
                let (line, column) = line_and_column(known.template.document(), place.offset);
                format!("{}:{line}:{column}", known.label)
            }
            None => format!("{}: byte {}", place.document, place.offset),
        }
    }
}

/// Hears what goes wrong and keeps it.
#[derive(Debug, Default)]
pub struct Reports {
    /// What places are places of.
    pub documents: Documents,
    told: Mutex<Told>,
}

#[derive(Debug, Default)]
struct Told {
    lines: Vec<String>,
    more: usize,
    errors: usize,
}

/// How bad it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Severity {
    /// The page is not what its author meant.
    Error,
    /// The page copes, as its author has settled.
    Note,
}

impl Reports {
    /// All of it, a line for each, in the order in which it happened.
    pub fn text(&self) -> String {
        let told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        let mut text = String::new();
        for line in &told.lines {
            text.push_str(line);
            text.push('\n');
        }
        if told.more > 0 {
            // Writing to a string cannot fail.
            let _ = writeln!(text, "and {} more", told.more);
        }
        text
    }

    /// Whether any of it is an error.
    pub fn has_errors(&self) -> bool {
        let told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        told.errors > 0
    }

    fn add(&self, place: &Place, severity: Severity, what: &dyn Display) {
        let word = match severity {
            Severity::Error => "error",
            Severity::Note => "note",
        };
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        told.errors += usize::from(severity == Severity::Error);
        let line = format!("{}: {word}: {what}", self.documents.shown(place));
        if told.lines.contains(&line) {
            return;
        }
        if told.lines.len() < KEPT {
            told.lines.push(line);
        } else {
            told.more += 1;
        }
    }
}

impl Watcher for Reports {
    fn template_error(&self, place: &Place, error: &dyn Display) {
        self.add(place, Severity::Error, error);
    }

    fn fragment_failed(
        &self,
        place: &Place,
        url: Option<&Url>,
        error: &FragmentError,
        fallback: Fallback,
    ) {
        let (severity, instead) = match fallback {
            Fallback::Alt => (Severity::Note, "its alt is tried"),
            Fallback::Continue => (Severity::Note, "nothing is shown, as onerror says"),
            Fallback::Except => (Severity::Note, "the attempt fails"),
            Fallback::Stub => (Severity::Note, "its stub is shown"),
            Fallback::Message => (Severity::Error, "the error message is shown"),
            Fallback::Empty => (Severity::Error, "nothing is shown"),
            Fallback::Page => (Severity::Error, "the page fails"),
        };
        let of = url.map_or(String::new(), |url| format!(" of {url}"));
        let what = format_args!("include{of} failed: {error}; {instead}");
        self.add(place, severity, &what);
    }
}
