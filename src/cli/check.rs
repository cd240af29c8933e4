//! `marquetry check`: all faults of a configuration, as a compiler would tell them.

use std::path::Path;
use std::process::ExitCode;

use crate::config::file;

/// Reads the file and tells what is wrong with it; 0 when nothing is, else 2.
pub fn check(path: &Path) -> ExitCode {
    let (text, accepted) = file::check(path, super::color());
    eprint!("{text}");
    if accepted {
        ExitCode::SUCCESS
    } else {
        ExitCode::from(super::WRONG)
    }
}
