//! The list that every reader of the file adds to.

use std::cell::RefCell;
use std::ops::Range;

use crate::config::error::{Diagnostic, Severity};

/// All findings about one text, in the order in which they are found.
pub(super) struct Faults<'a> {
    text: &'a str,
    /// Lines of the text could not be read, so that something absent may stand in one of them.
    partial: bool,
    found: RefCell<Vec<Diagnostic>>,
}

impl<'a> Faults<'a> {
    pub(super) fn new(text: &'a str) -> Self {
        Self {
            text,
            partial: false,
            found: RefCell::default(),
        }
    }

    /// From here on nothing is called absent.
    pub(super) fn forgive_absence(&mut self) {
        self.partial = true;
    }

    /// Something that is there and wrong.
    pub(super) fn report(&self, diagnostic: Diagnostic) {
        self.found.borrow_mut().push(diagnostic.locate(self.text));
    }

    /// Something that is not there, or is wrong only because something else is not there.
    pub(super) fn report_absent(&self, diagnostic: Diagnostic) {
        if !self.partial {
            self.report(diagnostic);
        }
    }

    /// Whether anything is an error so far.
    pub(super) fn refused(&self) -> bool {
        self.found
            .borrow()
            .iter()
            .any(|diagnostic| diagnostic.severity == Severity::Error)
    }

    /// The findings in the order of the text.
    pub(super) fn into_ordered(self) -> Vec<Diagnostic> {
        let mut found = self.found.into_inner();
        found.sort_by_key(|diagnostic| diagnostic.span.start);
        found
    }
}

/// An error at `span`.
pub(super) fn error(span: Range<usize>, message: impl Into<String>) -> Diagnostic {
    Diagnostic::new(Severity::Error, span, message)
}

/// A warning at `span`.
pub(super) fn warning(span: Range<usize>, message: impl Into<String>) -> Diagnostic {
    Diagnostic::new(Severity::Warning, span, message)
}
