//! Faults of TOML itself, told once each, and the text without them.

use toml::de::Error;

use crate::config::error::Diagnostic;
use crate::config::file::faults::{Faults, error};

/// Reports what the parser found in `text`: the first fault of each line, since the others are mostly its echo.
pub(super) fn report(text: &str, found: &[Error], faults: &Faults<'_>) {
    let unclosed = found.iter().find_map(unclosed);
    if let (Some(what), Some(first)) = (unclosed, found.first()) {
        // All that follows was read as its content, and one fault looks like dozens.
        let help = format!("{what} that opens before this place is not closed");
        return faults.report(fault(text, first).help(help));
    }
    let mut last = 0;
    for found in found {
        let fault = fault(text, found).locate(text);
        if fault.line() != last {
            last = fault.line();
            faults.report(fault);
        }
    }
}

fn fault(text: &str, found: &Error) -> Diagnostic {
    let span = found.span().unwrap_or(text.len()..text.len());
    let read = text.get(span.clone()).unwrap_or_default();
    let message = found.message();
    let fault = error(span, format!("this is not TOML: {message}"));
    if message.starts_with("string values must be quoted") && read.len() < 60 {
        return fault.help(format!("write it in quotes: {read:?}"));
    }
    if message == "duplicate key" {
        return fault.help("accepted: each key and each section once");
    }
    fault
}

/// What the parser missed the end of, until the file ended.
fn unclosed(found: &Error) -> Option<&'static str> {
    let message = found.message();
    if message.starts_with("unclosed array") {
        Some("a list `[`")
    } else if message.starts_with("unclosed inline table") {
        Some("a table `{`")
    } else {
        None
    }
}

/// The text with the lines of these faults blank, so that the rest can be checked as well and every place stays where it was.
/// `None` where such a line is the header of a section: what follows would be read as part of another.
pub(super) fn without_lines(text: &str, faults: &[Error]) -> Option<String> {
    let mut bytes = text.as_bytes().to_vec();
    for fault in faults {
        let at = fault.span()?.start.min(text.len());
        let before = text.as_bytes().get(..at)?;
        let start = before
            .iter()
            .rposition(|b| *b == b'\n')
            .map_or(0, |at| at + 1);
        let length = text.as_bytes()[start..].iter().position(|b| *b == b'\n');
        let end = length.map_or(text.len(), |length| start + length);
        if text.as_bytes()[start..end]
            .trim_ascii_start()
            .starts_with(b"[")
        {
            return None;
        }
        bytes[start..end].fill(b' ');
    }
    // Whole lines are blank, so no character is cut in two.
    String::from_utf8(bytes).ok()
}
