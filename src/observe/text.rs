//! The values that records are made of: names, times, and what clients sent, made harmless.
//!
//! Whatever enters a record passes through here once, so that no room above has to remember that a URL may carry a password or
//! be a mebibyte long. Escaping belongs to whoever prints (serde for JSON, maud for HTML).

use std::borrow::Borrow;
use std::fmt;
use std::ops::Deref;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use prometheus_client::encoding::{EncodeLabelValue, LabelValueEncoder};
use serde::{Serialize, Serializer};

/// Longest URL of a record, in bytes.
pub const MAX_URL: usize = 2048;

/// Where something is missing.
const ELLIPSIS: &str = "…";

/// The name of a route or an upstream: cheap to clone, the same word in logs, metrics and pages.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Name(Arc<str>);

impl Name {
    /// The name as it stands in the configuration.
    pub fn new(name: &str) -> Self {
        Self(Arc::from(name))
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Deref for Name {
    type Target = str;

    fn deref(&self) -> &str {
        &self.0
    }
}

impl Borrow<str> for Name {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Serialize for Name {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

impl EncodeLabelValue for Name {
    fn encode(&self, encoder: &mut LabelValueEncoder<'_>) -> fmt::Result {
        EncodeLabelValue::encode(&self.as_str(), encoder)
    }
}

/// A duration that is written as seconds, to the microsecond.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct Seconds(pub Duration);

impl Serialize for Seconds {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        // Fewer digits than a double has: 0.012 instead of 0.012000000000000002.
        serializer.serialize_f64(self.0.as_micros() as f64 / 1e6)
    }
}

/// A moment that is written as RFC 3339, UTC, to the millisecond.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Moment(pub SystemTime);

impl fmt::Display for Moment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // A clock beyond the year 9999 is told as the epoch rather than not at all.
        let timestamp = jiff::Timestamp::try_from(self.0).unwrap_or_default();
        write!(f, "{timestamp:.3}")
    }
}

impl Serialize for Moment {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// A URL as records keep it: without the user and password that an absolute one may name, and at most [`MAX_URL`] bytes.
pub fn recorded_url(url: &str) -> Box<str> {
    match credentials(url) {
        Some((start, end)) => {
            // Both are offsets of ASCII bytes that `credentials` has found in `url`.
            let mut clean = String::with_capacity(url.len().min(MAX_URL + 1));
            clean.push_str(url.get(..start).unwrap_or_default());
            clean.push_str(url.get(end..).unwrap_or_default());
            cut(&clean, MAX_URL)
        }
        None => cut(url, MAX_URL),
    }
}

/// The first `limit` bytes, cut at a character, with an ellipsis where something is missing.
pub fn cut(text: &str, limit: usize) -> Box<str> {
    if text.len() <= limit {
        return text.into();
    }
    let mut end = limit.saturating_sub(ELLIPSIS.len());
    while !text.is_char_boundary(end) {
        end -= 1; // 0 is a boundary, so this ends above it.
    }
    let mut short = String::with_capacity(end + ELLIPSIS.len());
    short.push_str(text.get(..end).unwrap_or_default());
    short.push_str(ELLIPSIS);
    short.into()
}

/// Where `user:password@` stands (RFC 3986 3.2.1): from the byte after `//` to the one after the last `@` of the authority.
fn credentials(url: &str) -> Option<(usize, usize)> {
    // Most have neither.
    if !url.as_bytes().contains(&b'@') || (url.starts_with('/') && !url.starts_with("//")) {
        return None;
    }
    let start = if url.starts_with("//") {
        2
    } else {
        let scheme = url.find("://")?;
        // In `/path?next=http://user@host` the authority is not the URL's own; what a query says is kept as it is.
        if url.get(..scheme)?.contains(['/', '?', '#']) {
            return None;
        }
        scheme + 3
    };
    let rest = url.get(start..)?;
    let authority = rest.get(..rest.find(['/', '?', '#', '\\']).unwrap_or(rest.len()))?;
    authority.rfind('@').map(|at| (start, start + at + 1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_keep_urls_without_credentials() {
        let rows = [
            ("/plain?a=b", "/plain?a=b"),
            ("http://host/x", "http://host/x"),
            ("http://user:secret@host/x", "http://host/x"),
            ("https://a@b@host:8080", "https://host:8080"),
            ("//user:secret@host/x", "//host/x"),
            ("http://host/x?mail=a@b", "http://host/x?mail=a@b"),
            ("/go?to=http://me@host/", "/go?to=http://me@host/"),
            ("", ""),
            ("http://", "http://"),
            ("http://user:secret@", "http://"),
        ];
        for (given, kept) in rows {
            assert_eq!(&*recorded_url(given), kept, "{given}");
        }
    }

    #[test]
    fn long_text_is_cut_at_a_character() {
        assert_eq!(&*cut("abcdef", 6), "abcdef");
        assert_eq!(&*cut("abcdefg", 6), "abc…");
        assert_eq!(&*cut("ääää", 7), "ää…");
        assert_eq!(&*cut("ääää", 6), "ä…");
        assert!(recorded_url(&"ä".repeat(MAX_URL)).len() <= MAX_URL);
    }

    #[test]
    fn times_are_written_in_base_units() {
        let seconds = serde_json::to_string(&Seconds(Duration::from_micros(12_345))).unwrap();
        assert_eq!(seconds, "0.012345");
        let moment = Moment(SystemTime::UNIX_EPOCH + Duration::from_millis(1_500));
        assert_eq!(moment.to_string(), "1970-01-01T00:00:01.500Z");
    }
}
