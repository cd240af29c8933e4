//! What came of a case beside what was expected: pure, a list of differences.

use std::collections::BTreeSet;

use bytes::Bytes;

use crate::cli::case::origin::Seen;
use crate::cli::case::play::Outcome;
use crate::cli::case::vector::{ExpectedRequest, Vector};

/// Bytes of a long body that are shown before and behind the place where it differs.
const BEFORE: usize = 60;
const BEHIND: usize = 140;

/// One thing that is not as expected.
#[derive(Debug, PartialEq, Eq)]
pub struct Difference {
    /// What, in a word or two.
    pub what: String,
    /// The same in full, by lines.
    pub details: Vec<String>,
}

impl Difference {
    /// A difference with its details.
    pub fn new(what: impl Into<String>, details: impl IntoIterator<Item = String>) -> Self {
        Self {
            what: what.into(),
            details: details.into_iter().collect(),
        }
    }

    fn of(what: &str, expected: impl std::fmt::Display, got: impl std::fmt::Display) -> Self {
        Self::new(
            what,
            [format!("expected {expected}"), format!("got      {got}")],
        )
    }
}

/// All that differs.
pub fn differences(vector: &Vector, outcome: &Outcome) -> Vec<Difference> {
    let expected = &vector.expected;
    let mut found = Vec::new();
    if outcome.status != expected.status {
        found.push(Difference::of("status", expected.status, outcome.status));
    }
    match &outcome.body {
        Err(fault) => found.push(Difference::new("cut answer", [fault.clone()])),
        Ok(got) => {
            let wanted = expected
                .body
                .as_deref()
                .filter(|body| body.as_bytes() != got);
            found.extend(wanted.map(|wanted| bodies(wanted.as_bytes(), got)));
        }
    }
    found.extend(fetches(vector, outcome));
    for (key, wanted) in &expected.requests {
        found.extend(requests(key, wanted, outcome.seen.get(key)));
    }
    found.extend(headers(vector, outcome));
    if let Some(limit) = vector.within
        && outcome.took > limit
    {
        let milliseconds = |time: std::time::Duration| format!("{} ms", time.as_millis());
        let most = format!("at most {}", milliseconds(limit));
        found.push(Difference::of("time", most, milliseconds(outcome.took)));
    }
    if expected.error && outcome.errors == 0 {
        let none = "neither a template error nor a failed include was counted".to_owned();
        found.push(Difference::new("no error", [none]));
    }
    found
}

/// Two bodies, from shortly before the first byte that differs.
fn bodies(expected: &[u8], got: &Bytes) -> Difference {
    let same = expected
        .iter()
        .zip(got.iter())
        .take_while(|(one, other)| one == other)
        .count();
    let mut difference = Difference::of("body", excerpt(expected, same), excerpt(got, same));
    let (line, column) = crate::template::issue::line_and_column(got, same);
    difference.details.push(format!(
        "the first difference is at byte {same} (line {line}, column {column})"
    ));
    difference
}

/// The bytes around `at`, quoted.
fn excerpt(body: &[u8], at: usize) -> String {
    let text = String::from_utf8_lossy(body);
    if text.len() <= BEFORE + BEHIND {
        return format!("{text:?}");
    }
    let start = body.len().min(at.saturating_sub(BEFORE));
    let end = body.len().min(at + BEHIND);
    let mark = |cut: bool| if cut { "…" } else { "" };
    let text = String::from_utf8_lossy(&body[start..end]);
    format!("{}{text:?}{}", mark(start > 0), mark(end < body.len()))
}

fn fetches(vector: &Vector, outcome: &Outcome) -> Option<Difference> {
    let expected = &vector.expected.fetches;
    let got: BTreeSet<String> = outcome.seen.keys().cloned().collect();
    if *expected == got {
        return None;
    }
    let missing = expected
        .difference(&got)
        .map(|key| format!("not fetched  {key}"));
    let others = got
        .difference(expected)
        .map(|key| format!("not expected {key}"));
    Some(Difference::new("fetches", missing.chain(others)))
}

/// The last request for a fragment beside what it was to say.
fn requests(key: &str, wanted: &ExpectedRequest, seen: Option<&Vec<Seen>>) -> Option<Difference> {
    let Some(seen) = seen.and_then(|seen| seen.last()) else {
        let never = "it was never asked for".to_owned();
        return Some(Difference::new(format!("request {key}"), [never]));
    };
    let mut details = Vec::new();
    let mut compare = |what: &str, expected: &str, got: &str| {
        if expected != got {
            details.push(format!("{what}: expected {expected:?}, got {got:?}"));
        }
    };
    if let Some(method) = &wanted.method {
        compare("method", method, &seen.method);
    }
    if let Some(body) = &wanted.body {
        compare("body", body, &String::from_utf8_lossy(&seen.body));
    }
    for (name, value) in &wanted.headers {
        let got = all(&seen.headers, name);
        compare(name, value, &got.join(", "));
    }
    for name in &wanted.absent_headers {
        if seen.headers.contains_key(name) {
            details.push(format!("{name} is there"));
        }
    }
    (!details.is_empty()).then(|| Difference::new(format!("request {key}"), details))
}

fn headers(vector: &Vector, outcome: &Outcome) -> Option<Difference> {
    let mut details = Vec::new();
    for (name, value) in &vector.expected.headers {
        let got = all(&outcome.headers, name);
        if got != [value.as_str()] {
            details.push(format!("{name}: expected {value:?}, got {got:?}"));
        }
    }
    for name in &vector.expected.absent {
        if outcome.headers.contains_key(name) {
            let got = all(&outcome.headers, name);
            details.push(format!("{name}: expected none, got {got:?}"));
        }
    }
    (!details.is_empty()).then(|| Difference::new("headers", details))
}

fn all(headers: &http::HeaderMap, name: &str) -> Vec<String> {
    let text = |value: &http::HeaderValue| String::from_utf8_lossy(value.as_bytes()).into_owned();
    headers.get_all(name).iter().map(text).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_bodies_are_shown_from_where_they_differ() {
        let expected = [b"a".repeat(500), b"X".to_vec(), b"b".repeat(500)].concat();
        let got = [b"a".repeat(500), b"Y".to_vec(), b"b".repeat(500)].concat();
        let difference = bodies(&expected, &got.into());
        let [expected, got, place] = &difference.details[..] else {
            panic!("{difference:?}");
        };
        let (a, b) = ("a".repeat(BEFORE), "b".repeat(BEHIND - 1));
        assert_eq!(*expected, format!("expected …\"{a}X{b}\"…"));
        assert_eq!(*got, format!("got      …\"{a}Y{b}\"…"));
        assert_eq!(
            *place,
            "the first difference is at byte 500 (line 1, column 501)"
        );
    }

    #[test]
    fn a_body_that_ends_early_differs_at_its_end() {
        let difference = bodies(b"abc", &Bytes::from_static(b"ab"));
        assert_eq!(difference.details[0], "expected \"abc\"");
        assert_eq!(difference.details[1], "got      \"ab\"");
        assert!(difference.details[2].contains("byte 2"));
    }
}
