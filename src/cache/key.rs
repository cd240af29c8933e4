//! What names a stored response (RFC 9111 2): scheme, host, path and query exactly; within it, the fields that `Vary` names
//! (RFC 9111 4.1).

use std::sync::Arc;

use http::header::{ACCEPT_ENCODING, AUTHORIZATION, COOKIE, HeaderName, VARY};
use http::{HeaderMap, HeaderValue};

/// Scheme, host with port, path and query: `https://www.example.com/books/7?lang=de`.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct CacheKey(Arc<str>);

impl CacheKey {
    /// The key of a URL; `host` is in lower case, with its port unless that is the scheme's own. `target` is path and query as
    /// they go upstream.
    pub fn new(scheme: &str, host: &str, target: &str) -> Self {
        let mut url = String::with_capacity(scheme.len() + 3 + host.len() + target.len());
        url.push_str(scheme);
        url.push_str("://");
        url.push_str(host);
        url.push_str(target);
        Self(url.into())
    }

    /// The URL.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Bytes of the key.
    pub fn weight(&self) -> usize {
        self.0.len()
    }
}

/// What a response varies by, with the values of the request that it answered.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Variant(Vec<(HeaderName, Option<HeaderValue>)>);

/// `Vary` as it concerns sharing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum VaryRule {
    /// These fields, sorted; none: every request gets it.
    Fields(Vec<HeaderName>),
    /// `*`, or fields that tell users apart: nobody else may have it.
    Personal,
}

impl VaryRule {
    /// Reads all `Vary` lines of a response. A line that is no list of names counts as `*`.
    pub fn read(response: &HeaderMap) -> Self {
        let mut fields = Vec::new();
        for line in response.get_all(VARY) {
            for name in line
                .as_bytes()
                .split(|byte| *byte == b',')
                .map(<[u8]>::trim_ascii)
            {
                if name.is_empty() {
                    continue;
                }
                match HeaderName::from_bytes(name) {
                    Ok(name) if name != COOKIE && name != AUTHORIZATION && name.as_str() != "*" => {
                        fields.push(name);
                    }
                    _ => return Self::Personal,
                }
            }
        }
        fields.sort_unstable_by(|left, right| left.as_str().cmp(right.as_str()));
        fields.dedup();
        Self::Fields(fields)
    }
}

impl Variant {
    /// The variant of a response with this rule that answered this request.
    pub fn of(fields: &[HeaderName], request: &HeaderMap) -> Self {
        Self(
            fields
                .iter()
                .map(|name| (name.clone(), value(name, request)))
                .collect(),
        )
    }

    /// Whether `request` has the same values; absent matches only absent.
    pub fn matches(&self, request: &HeaderMap) -> bool {
        self.0.iter().all(|(name, wanted)| {
            let mut lines = request.get_all(name).iter();
            match (lines.next(), lines.next(), wanted) {
                (None, _, None) => true,
                // One line is compared where it stands.
                (Some(line), None, Some(wanted)) if *name != ACCEPT_ENCODING => {
                    line == wanted || value(name, request).as_ref() == Some(wanted)
                }
                _ => value(name, request) == *wanted,
            }
        })
    }

    /// Bytes of names and values.
    pub fn weight(&self) -> usize {
        self.0
            .iter()
            .map(|(name, value)| {
                name.as_str().len() + value.as_ref().map_or(0, HeaderValue::len) + 64
            })
            .sum()
    }
}

/// A request's value of one field, normalised: lines joined with `, `, white space around them trimmed.
fn value(name: &HeaderName, request: &HeaderMap) -> Option<HeaderValue> {
    let mut lines = request.get_all(name).iter();
    let first = lines.next()?;
    let mut joined = first.as_bytes().trim_ascii().to_vec();
    for line in lines {
        joined.extend_from_slice(b", ");
        joined.extend_from_slice(line.as_bytes().trim_ascii());
    }
    // Bytes of header values joined by a comma are a header value.
    HeaderValue::from_bytes(&joined).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn map(rows: &[(&'static str, &'static str)]) -> HeaderMap {
        let mut map = HeaderMap::new();
        for (name, value) in rows {
            map.append(
                HeaderName::from_static(name),
                HeaderValue::from_static(value),
            );
        }
        map
    }

    #[test]
    fn vary_on_what_tells_users_apart_is_personal() {
        for (line, personal) in [
            ("Accept-Language", false),
            ("Accept-Language, Accept", false),
            ("", false),
            ("*", true),
            ("Accept, *", true),
            ("Cookie", true),
            ("accept,cOOkie", true),
            ("Authorization", true),
            ("not a name", true),
        ] {
            assert_eq!(
                VaryRule::read(&map(&[("vary", line)])) == VaryRule::Personal,
                personal,
                "{line}"
            );
        }
    }

    #[test]
    fn a_variant_matches_requests_with_the_same_values() {
        let fields = [HeaderName::from_static("accept-language")];
        let german = map(&[("accept-language", "de")]);
        let variant = Variant::of(&fields, &german);
        assert!(variant.matches(&german));
        assert!(variant.matches(&map(&[("accept-language", " de ")])));
        assert!(!variant.matches(&map(&[("accept-language", "en")])));
        assert!(!variant.matches(&map(&[])));
        assert!(Variant::of(&fields, &map(&[])).matches(&map(&[])));
        let two = map(&[("accept-language", "de"), ("accept-language", "en")]);
        assert!(Variant::of(&fields, &two).matches(&map(&[("accept-language", "de, en")])));
    }
}
