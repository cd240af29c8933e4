//! What is wrong with a configuration: each fault with its place, what was read and what is accepted.
//!
//! Faults are found by [`file`](crate::config::file) and drawn by [`diagnostic`](crate::diagnostic).

use std::io;
use std::path::{Path, PathBuf};

pub use crate::diagnostic::{Diagnostic, Severity, render};
use crate::diagnostic::{count, render_title};

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
            Self::Unreadable { .. } => render_title(&self.to_string(), color),
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

fn told(path: &Path, diagnostics: &[Diagnostic]) -> String {
    let first = diagnostics
        .iter()
        .find(|diagnostic| diagnostic.severity == Severity::Error)
        .map(|diagnostic| format!(", the first at {diagnostic}"));
    let (path, first) = (path.display(), first.unwrap_or_default());
    format!("{path}: {}{first}", count(diagnostics))
}
