//! Regular expressions of `matches`. Patterns written in a page are compiled with it when they are small and few enough;
//! all others are compiled when they are needed, and a document remembers the last few.
//!
//! The regex crate runs in linear time whatever the pattern; what must be bounded here is memory. A page of ten megabytes
//! could hold a hundred thousand patterns, so those that live with pages are counted across the whole process.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use regex::bytes::{Captures, Regex, RegexBuilder};

use super::collection::List;
use super::error::{EvalError, Excess};
use super::limits::Limits;
use super::value::Value;

/// How many patterns may live with compiled pages, in the whole process.
const KEPT_WITH_PAGES: usize = 1024;

/// The compiled size up to which a pattern may live with its page.
const SMALL: usize = 64 * 1024;

/// What a compiled pattern counts, its states included: the most that one takes that may live with its page.
pub const COMPILED_PATTERN: usize = SMALL;

/// What the matcher may use for the states that it makes on the way.
const STATES: usize = 256 * 1024;

/// How many patterns a document remembers.
const REMEMBERED: usize = 8;

/// The patterns that live with pages now.
static KEPT: AtomicUsize = AtomicUsize::new(0);

/// A pattern that is written in a page.
#[derive(Debug)]
pub(super) struct LiteralPattern {
    text: Bytes,
    ignore_case: bool,
    compiled: Option<KeptRegex>,
}

/// A compiled pattern that lives with a page; it gives its place back on drop.
#[derive(Debug)]
struct KeptRegex(Regex);

impl LiteralPattern {
    /// Reads a pattern. It fails only on a pattern that can never compile under these limits.
    pub(super) fn new(text: Bytes, ignore_case: bool, limits: &Limits) -> Result<Self, EvalError> {
        let mut pattern = Self {
            text,
            ignore_case,
            compiled: None,
        };
        match build(&pattern.text, ignore_case, SMALL.min(limits.regex_bytes)) {
            Ok(regex) => pattern.compiled = KeptRegex::new(regex),
            Err(regex::Error::CompiledTooBig(_)) if limits.regex_bytes > SMALL => {}
            Err(error) => return Err(failure(&error)),
        }
        Ok(pattern)
    }
}

impl LiteralPattern {
    /// Bytes of memory that it holds, itself included.
    pub(super) fn weight(&self) -> usize {
        let compiled = self.compiled.as_ref().map_or(0, |_| COMPILED_PATTERN);
        size_of::<Self>() + self.text.len() + compiled
    }
}

impl KeptRegex {
    fn new(regex: Regex) -> Option<Self> {
        let place = KEPT.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |kept| {
            (kept < KEPT_WITH_PAGES).then_some(kept + 1)
        });
        place.is_ok().then_some(Self(regex))
    }
}

impl Drop for KeptRegex {
    fn drop(&mut self) {
        KEPT.fetch_sub(1, Ordering::Relaxed);
    }
}

/// The patterns that a document has compiled last.
#[derive(Debug, Clone, Default)]
pub(super) struct Patterns {
    remembered: Vec<Remembered>,
    oldest: usize,
}

#[derive(Debug, Clone)]
struct Remembered {
    text: Bytes,
    ignore_case: bool,
    regex: Arc<Regex>,
}

impl Patterns {
    /// The groups of a pattern written in a page in `text`; `None` when it does not match.
    pub(super) fn groups_of_literal(
        &mut self,
        pattern: &LiteralPattern,
        text: &Value,
        limits: &Limits,
    ) -> Result<Option<List>, EvalError> {
        if let Some(KeptRegex(regex)) = &pattern.compiled {
            return groups(regex, text, text.is_tainted(), limits);
        }
        let pattern_value = Value::text(pattern.text.clone());
        self.groups(&pattern_value, pattern.ignore_case, text, limits)
    }

    /// The groups of any pattern in `text`; `None` when it does not match.
    pub(super) fn groups(
        &mut self,
        pattern: &Value,
        ignore_case: bool,
        text: &Value,
        limits: &Limits,
    ) -> Result<Option<List>, EvalError> {
        let regex = self.compiled(&pattern.to_text(), ignore_case, limits)?;
        let tainted = text.is_tainted() || pattern.is_tainted();
        groups(&regex, text, tainted, limits)
    }

    fn compiled(
        &mut self,
        text: &[u8],
        ignore_case: bool,
        limits: &Limits,
    ) -> Result<Arc<Regex>, EvalError> {
        let known = self
            .remembered
            .iter()
            .find(|known| known.text == text && known.ignore_case == ignore_case);
        if let Some(known) = known {
            return Ok(Arc::clone(&known.regex));
        }
        let regex =
            build(text, ignore_case, limits.regex_bytes).map_err(|error| failure(&error))?;
        let regex = Arc::new(regex);
        let entry = Remembered {
            text: Bytes::copy_from_slice(text),
            ignore_case,
            regex: Arc::clone(&regex),
        };
        if self.remembered.len() < REMEMBERED {
            self.remembered.push(entry);
        } else if let Some(oldest) = self.remembered.get_mut(self.oldest % REMEMBERED) {
            *oldest = entry;
            self.oldest += 1;
        }
        Ok(regex)
    }
}

fn build(text: &[u8], ignore_case: bool, size: usize) -> Result<Regex, regex::Error> {
    let text = std::str::from_utf8(text)
        .map_err(|_| regex::Error::Syntax("error: not UTF-8".to_owned()))?;
    RegexBuilder::new(text)
        .case_insensitive(ignore_case)
        .size_limit(size)
        .dfa_size_limit(STATES)
        .build()
}

/// The crate shows the pattern and then says what is wrong with it; only the latter is kept, since a pattern may hold what
/// a client has sent.
fn failure(error: &regex::Error) -> EvalError {
    let reason = match error {
        regex::Error::Syntax(report) => {
            let last = report.lines().last().unwrap_or_default();
            last.strip_prefix("error: ").unwrap_or("syntax").to_owned()
        }
        regex::Error::CompiledTooBig(limit) => format!("larger than {limit} bytes when compiled"),
        _ => "not accepted".to_owned(),
    };
    EvalError::Pattern { reason }
}

fn groups(
    regex: &Regex,
    text: &Value,
    tainted: bool,
    limits: &Limits,
) -> Result<Option<List>, EvalError> {
    let text = text.to_text();
    let Some(captures) = regex.captures(&text) else {
        return Ok(None);
    };
    check_size(&captures, limits)?;
    let items = captures
        .iter()
        .map(|group| match group {
            // Copied, so that a small group does not keep a large text alive.
            Some(group) => Value::Text {
                bytes: Bytes::copy_from_slice(group.as_bytes()),
                tainted,
            },
            None => Value::Missing,
        })
        .collect();
    Ok(Some(List::new(items, limits)?))
}

/// Groups may overlap, so together they may be many times as long as the text; they are counted before they are copied.
fn check_size(captures: &Captures<'_>, limits: &Limits) -> Result<(), Excess> {
    let bytes = captures.iter().flatten().map(|group| group.len()).sum();
    Excess::check_bytes(bytes, limits)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_document_remembers_its_last_patterns() {
        let limits = Limits::default();
        let mut patterns = Patterns::default();
        for round in 0..3 * REMEMBERED {
            let text = format!("a{{{}}}", round + 1);
            patterns.compiled(text.as_bytes(), false, &limits).unwrap();
            patterns.compiled(text.as_bytes(), false, &limits).unwrap();
            assert_eq!(patterns.remembered.len(), (round + 1).min(REMEMBERED));
        }
    }

    #[test]
    fn a_large_pattern_is_left_for_later_and_one_beyond_the_limit_fails() {
        let limits = Limits::default();
        let large = LiteralPattern::new(Bytes::from(r"\w{20}"), false, &limits).unwrap();
        assert!(large.compiled.is_none());
        let text = Value::text("x".repeat(30));
        let mut patterns = Patterns::default();
        assert!(
            patterns
                .groups_of_literal(&large, &text, &limits)
                .unwrap()
                .is_some()
        );

        let huge = LiteralPattern::new(Bytes::from(r"(\w{100}){100}"), false, &limits).unwrap();
        let result = patterns.groups_of_literal(&huge, &text, &limits);
        assert!(
            matches!(result, Err(EvalError::Pattern { .. })),
            "{result:?}"
        );
    }

    #[test]
    fn an_error_does_not_repeat_the_pattern() {
        let error = LiteralPattern::new(Bytes::from("secret("), false, &Limits::default());
        let message = error.unwrap_err().to_string();
        assert_eq!(message, "bad regular expression: unclosed group");
    }
}
