//! One finding about a page.

use std::ops::Range;

use crate::diagnostic::Severity;

/// What is wrong or surprising at one place of a page.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// Errors are what the gateway logs as template errors; warnings are carried out as they are written.
    pub severity: Severity,
    /// The name of this kind of finding; it never changes.
    pub code: &'static str,
    /// The bytes of the page that are meant.
    pub span: Range<usize>,
    /// What was read and why it is wrong.
    pub message: String,
    /// What the page emits in its place.
    pub emitted: Option<String>,
    /// What to write.
    pub help: Vec<String>,
}

impl Finding {
    pub(super) fn error(
        code: &'static str,
        span: Range<usize>,
        message: impl Into<String>,
    ) -> Self {
        Self {
            severity: Severity::Error,
            code,
            span,
            message: message.into(),
            emitted: None,
            help: Vec::new(),
        }
    }

    pub(super) fn warning(
        code: &'static str,
        span: Range<usize>,
        message: impl Into<String>,
    ) -> Self {
        Self {
            severity: Severity::Warning,
            ..Self::error(code, span, message)
        }
    }

    pub(super) fn emitted(mut self, text: impl Into<String>) -> Self {
        self.emitted = Some(text.into());
        self
    }

    pub(super) fn help(mut self, text: impl Into<String>) -> Self {
        self.help.push(text.into());
        self
    }

    /// Adds what to write, where that is known.
    pub(super) fn maybe_help(mut self, text: Option<String>) -> Self {
        self.help.extend(text);
        self
    }
}
