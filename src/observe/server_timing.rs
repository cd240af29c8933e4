//! The value of `Server-Timing` (W3C): the page and its fetches, for the network panel of a browser.
//!
//! Durations are in milliseconds, as that header demands. It leaves with the head of a page that may still stream, so what is
//! not done yet stands there without a duration. Names and descriptions hold only what the header's grammar allows.

use std::fmt::Write;

use crate::observe::text::Seconds;
use crate::observe::waterfall::SpanRecord;

/// Longest value, in bytes: some clients and proxies refuse heads of more than 8 KiB in total.
const MAX_VALUE: usize = 4096;

/// Longest description of one entry, in bytes.
const MAX_DESCRIPTION: usize = 80;

/// The entries `page`, `skeleton` and `f1`, `f2`, ... with what they are about and what became of them.
pub fn value(page: Seconds, spans: &[SpanRecord]) -> String {
    let mut value = format!("page;dur={}", milliseconds(page));
    let mut number = 0;
    for span in spans {
        let mut entry = String::new();
        if span.depth == 0 {
            entry.push_str(", skeleton");
        } else {
            number += 1;
            // Writing to a string does not fail.
            let _ = write!(entry, ", f{number}");
        }
        describe(&mut entry, span);
        if value.len() + entry.len() > MAX_VALUE {
            break;
        }
        value.push_str(&entry);
    }
    value
}

/// Appends `;desc="outcome path"` and, once it is done, `;dur=...`.
fn describe(entry: &mut String, span: &SpanRecord) {
    entry.push_str(";desc=\"");
    let start = entry.len();
    entry.push_str(span.phase());
    entry.push(' ');
    let path = span.url.split(['?', '#']).next().unwrap_or_default();
    for character in path.chars() {
        if entry.len() - start >= MAX_DESCRIPTION {
            break;
        }
        entry.push(match character {
            // Inside a quoted string (RFC 9110 5.6.4) these would end it or need an escape that few readers undo.
            '"' | '\\' => '_',
            ' '..='~' => character,
            _ => '_',
        });
    }
    entry.push('"');
    if let Some(seconds) = span.seconds() {
        let _ = write!(entry, ";dur={}", milliseconds(seconds));
    }
}

/// Milliseconds with one digit behind the point.
fn milliseconds(seconds: Seconds) -> String {
    format!("{:.1}", seconds.0.as_secs_f64() * 1000.0)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::observe::outcome::Outcome;

    fn span(url: &str, depth: u16, done: Option<(u64, Outcome)>) -> SpanRecord {
        SpanRecord {
            url: url.into(),
            depth,
            started: Seconds(Duration::from_millis(1)),
            done: done.map(|(at, _)| Seconds(Duration::from_millis(at))),
            outcome: done.map(|(_, outcome)| outcome),
            ..SpanRecord::default()
        }
    }

    #[test]
    fn a_page_is_told_in_milliseconds() {
        let spans = [
            span("/page?q=1", 0, Some((6, Outcome::Ok))),
            span("/basket", 1, Some((31, Outcome::Ok))),
            span("/tile", 1, None),
        ];
        assert_eq!(
            value(Seconds(Duration::from_micros(42_500)), &spans),
            "page;dur=42.5, skeleton;desc=\"ok /page\";dur=5.0, f1;desc=\"ok /basket\";dur=30.0, f2;desc=\"started /tile\""
        );
    }

    #[test]
    fn nothing_in_a_url_leaves_its_quotes() {
        let given = span("/a\"b\\c\r\nX: y\u{fc}\u{7f}", 1, None);
        let value = value(Seconds::default(), &[given]);
        assert_eq!(value, "page;dur=0.0, f1;desc=\"started /a_b_c__X: y__\"");
        assert!(http::HeaderValue::try_from(value).is_ok());
    }

    #[test]
    fn the_value_is_bounded() {
        let url = format!("/{}", "x".repeat(2000));
        let spans: Vec<_> = (0..600).map(|_| span(&url, 1, None)).collect();
        let value = value(Seconds::default(), &spans);
        assert!(value.len() <= MAX_VALUE, "{}", value.len());
        assert!(value.ends_with('"'), "{value}");
    }
}
