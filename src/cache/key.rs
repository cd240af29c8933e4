//! What names a stored response (RFC 9111 2): scheme, host, path and query exactly; within it, the fields that `Vary` names
//! (RFC 9111 4.1). Where a route says so, the values of some cookies are part of the key, and parts of the query are not.

use std::fmt::{self, Write as _};
use std::sync::Arc;

use http::header::{
    ACCEPT_ENCODING, ACCEPT_LANGUAGE, AUTHORIZATION, COOKIE, HeaderName, USER_AGENT, VARY,
};
use http::{HeaderMap, HeaderValue};
use std::hash::{Hash, Hasher};

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

    /// The key of the same URL for requests with these cookies: name and value of each that the route counts, in its order.
    #[must_use]
    pub fn with_cookies(&self, cookies: &[u8]) -> Self {
        // What a line end separates cannot be part of a URL; bytes of values are spelled out so that no two are alike.
        let mut key = format!("{}\n", self.0);
        for byte in cookies {
            if byte.is_ascii_graphic() && *byte != b'%' {
                key.push(char::from(*byte));
            } else {
                // Writing into a string cannot fail.
                let _ = write!(key, "%{byte:02x}");
            }
        }
        Self(key.into())
    }

    /// The whole key: the URL, and behind a line end the cookies that count.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The URL.
    pub fn url(&self) -> &str {
        self.0.split('\n').next().unwrap_or_default()
    }

    /// The key of the URL alone.
    #[must_use]
    pub fn bare(&self) -> Self {
        if self.has_cookies() {
            Self(self.url().into())
        } else {
            self.clone()
        }
    }

    /// The key of the same URL by the other scheme.
    #[must_use]
    pub fn other_scheme(&self) -> Self {
        let other = match self.0.split_once("://") {
            Some(("http", rest)) => format!("https://{rest}"),
            Some((_, rest)) => format!("http://{rest}"),
            None => self.0.to_string(),
        };
        Self(other.into())
    }

    /// Whether cookies are part of it.
    pub fn has_cookies(&self) -> bool {
        self.0.contains('\n')
    }

    /// Scheme and host with port.
    pub fn origin(&self) -> &str {
        let url = self.url();
        let host = url.find("://").map_or(0, |at| at + 3);
        let end = url[host..].find('/').map_or(url.len(), |at| host + at);
        &url[..end]
    }

    /// The key of a reference as `Location` or `Content-Location` gives it, where it leads to the same origin.
    pub fn beside(&self, reference: &str) -> Option<Self> {
        let reference = reference.trim();
        let reference = reference.split('#').next().unwrap_or_default();
        let origin = self.origin();
        let (scheme, hosts) = origin.split_once("://").unwrap_or_default();
        let named = reference.strip_prefix(scheme);
        let named = named.and_then(|rest| rest.strip_prefix(':'));
        if let Some(rest) = named.unwrap_or(reference).strip_prefix("//") {
            // Behind a proxy that was asked for another host, an application calls itself by either.
            let target = hosts.split('^').find_map(|host| {
                let target = rest.strip_prefix(host)?;
                (target.is_empty() || target.starts_with('/')).then_some(target)
            })?;
            let target = if target.is_empty() { "/" } else { target };
            return Some(Self(format!("{origin}{target}").into()));
        }
        if reference.starts_with('/') {
            return Some(Self(format!("{origin}{reference}").into()));
        }
        let elsewhere = reference
            .split(['/', '?'])
            .next()
            .is_some_and(|first| first.contains(':'));
        if elsewhere || reference.is_empty() || reference.contains("./") || reference == ".." {
            return None;
        }
        // Relative to the directory of the URL's path.
        let path = self.url().split('?').next().unwrap_or_default();
        let directory = path.rfind('/').map_or("", |at| &path[..=at]);
        (directory.len() > origin.len()).then(|| Self(format!("{directory}{reference}").into()))
    }

    /// Bytes of the key.
    pub fn weight(&self) -> usize {
        self.0.len()
    }
}

/// The fields of a request as it goes upstream. Most of what is stored is given to everybody alike, so they need not be made
/// before somebody wants to see them all.
pub trait Fields: fmt::Debug {
    /// All of them.
    fn all(&self) -> &HeaderMap;

    /// Whether there is a cookie among them.
    fn has_cookie(&self) -> bool {
        self.all().contains_key(COOKIE)
    }
}

impl Fields for HeaderMap {
    fn all(&self) -> &HeaderMap {
        self
    }
}

/// The request that asks for a key, as it goes upstream.
#[derive(Debug, Clone, Copy)]
pub struct Asker<'a> {
    /// Its fields.
    pub fields: &'a dyn Fields,
    /// Whether every cookie among them is part of the key, so that they tell nothing more.
    pub keyed: bool,
}

impl<'a> Asker<'a> {
    /// One whose cookies, if it has any, are not part of the key.
    pub fn new(fields: &'a dyn Fields) -> Self {
        Self {
            fields,
            keyed: false,
        }
    }

    /// Whether it carries cookies upstream that the key does not tell.
    pub fn has_cookies(&self) -> bool {
        !self.keyed && self.fields.has_cookie()
    }

    /// Whether it carries anything that tells its user and the key does not.
    pub fn has_credentials(&self) -> bool {
        self.has_cookies() || self.fields.all().contains_key(AUTHORIZATION)
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
    /// Reads all `Vary` lines of a response. A line that is no list of names counts as `*`. `Cookie` tells nobody apart where all
    /// cookies are part of the key; `User-Agent` has as many values as users.
    pub fn read(response: &HeaderMap, keyed: bool) -> Self {
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
                    Ok(name) if name == COOKIE && keyed => {}
                    Ok(name)
                        if ![COOKIE, AUTHORIZATION, USER_AGENT].contains(&name)
                            && name.as_str() != "*" =>
                    {
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

    /// The fields that a response varies by, less those that tell users apart and what is no name.
    pub fn names(response: &HeaderMap) -> Vec<HeaderName> {
        let mut names: Vec<HeaderName> = response
            .get_all(VARY)
            .iter()
            .flat_map(|line| line.as_bytes().split(|byte| *byte == b','))
            .filter_map(|name| HeaderName::from_bytes(name.trim_ascii()).ok())
            .filter(|name| {
                ![COOKIE, AUTHORIZATION, USER_AGENT].contains(name) && name.as_str() != "*"
            })
            .collect();
        names.sort_unstable_by(|left, right| left.as_str().cmp(right.as_str()));
        names.dedup();
        names
    }
}

impl Variant {
    /// The variant of a response with this rule that answered this request, with values of its own: it is kept for longer than what
    /// was read of the request.
    pub fn of(fields: &[HeaderName], request: &HeaderMap) -> Self {
        let own = |value: HeaderValue| HeaderValue::from_bytes(value.as_bytes()).ok();
        Self(
            fields
                .iter()
                .map(|name| (name.clone(), value(name, request).and_then(own)))
                .collect(),
        )
    }

    /// Whether every request gets it.
    pub fn is_for_all(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether every request gets it that says nothing of codings.
    pub fn is_for_plain_requests(&self) -> bool {
        self.0
            .iter()
            .all(|(name, value)| *name == ACCEPT_ENCODING && value.is_none())
    }

    /// Whether `request` has the same values; absent matches only absent.
    pub fn matches(&self, request: &HeaderMap) -> bool {
        self.0.iter().all(|(name, wanted)| {
            let mut lines = request.get_all(name).iter();
            match (lines.next(), lines.next(), wanted) {
                (None, _, None) => true,
                // One line is compared where it stands.
                (Some(line), None, Some(wanted)) if *name == ACCEPT_LANGUAGE => {
                    languages(line.as_bytes()).eq(languages(wanted.as_bytes()))
                }
                (Some(line), None, Some(wanted)) if *name != ACCEPT_ENCODING => {
                    line == wanted || value(name, request).as_ref() == Some(wanted)
                }
                _ => value(name, request) == *wanted,
            }
        })
    }

    /// One number for the values, equal for those that match.
    pub fn digest(&self) -> u64 {
        let mut hasher = std::hash::DefaultHasher::new();
        for (name, value) in &self.0 {
            name.as_str().hash(&mut hasher);
            value.as_ref().map(HeaderValue::as_bytes).hash(&mut hasher);
        }
        hasher.finish()
    }

    /// The names of its fields.
    pub fn names(&self) -> impl Iterator<Item = &HeaderName> {
        self.0.iter().map(|(name, _)| name)
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

/// `Accept-Language` as it counts: in lower case, without the white space that may stand around commas and semicolons. Within a word
/// it stays: `d e` is not `de` to an origin.
fn languages(line: &[u8]) -> impl Iterator<Item = u8> {
    let is_end = |byte: &u8| matches!(byte, b',' | b';');
    line.split_inclusive(is_end).flat_map(move |part| {
        let (word, end) = match part.split_last() {
            Some((end, word)) if is_end(end) => (word, Some(end)),
            _ => (part, None),
        };
        let word = word.trim_ascii().iter();
        word.chain(end).map(u8::to_ascii_lowercase)
    })
}

/// A request's value of one field, normalised: lines joined with `, `, white space around them trimmed; languages in lower
/// case without that around their words.
fn value(name: &HeaderName, request: &HeaderMap) -> Option<HeaderValue> {
    let mut lines = request.get_all(name).iter();
    let first = lines.next()?;
    let mut joined = first.as_bytes().trim_ascii().to_vec();
    for line in lines {
        joined.extend_from_slice(b", ");
        joined.extend_from_slice(line.as_bytes().trim_ascii());
    }
    if *name == ACCEPT_LANGUAGE {
        joined = languages(&joined).collect();
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
            ("User-Agent", true),
            ("not a name", true),
        ] {
            assert_eq!(
                VaryRule::read(&map(&[("vary", line)]), false) == VaryRule::Personal,
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
        assert!(variant.matches(&map(&[("accept-language", "DE")])));
        assert!(!variant.matches(&map(&[("accept-language", "d e")])));
        assert!(!Variant::of(&fields, &map(&[("accept-language", "d e")])).matches(&german));
        let wish = map(&[("accept-language", "de,en;q=0.5")]);
        let spaced = map(&[("accept-language", " de ,\ten ; q=0.5")]);
        assert!(Variant::of(&fields, &spaced).matches(&wish));
        assert!(Variant::of(&fields, &wish).matches(&spaced));
        let two = map(&[("accept-language", "de"), ("accept-language", "en")]);
        assert!(Variant::of(&fields, &two).matches(&map(&[("accept-language", "de, en")])));
    }

    #[test]
    fn references_lead_to_the_same_origin_or_nowhere() {
        let key = CacheKey::new("http", "a.example:81", "/shop/list?x=1");
        for (reference, wanted) in [
            ("/b?c#d", Some("http://a.example:81/b?c")),
            ("http://a.example:81/b", Some("http://a.example:81/b")),
            ("http://a.example:81", Some("http://a.example:81/")),
            ("//a.example:81/b", Some("http://a.example:81/b")),
            ("item", Some("http://a.example:81/shop/item")),
            ("http://a.example:8100/b", None),
            ("http://a.example/b", None),
            ("https://a.example:81/b", None),
            ("//b.example/b", None),
            ("../up", None),
            ("mailto:x", None),
            ("", None),
        ] {
            let beside = key.beside(reference);
            assert_eq!(beside.as_ref().map(CacheKey::as_str), wanted, "{reference}");
        }
        let behind = CacheKey::new("https", "inside:81^a.example", "/x");
        for (reference, wanted) in [
            ("/b", Some("https://inside:81^a.example/b")),
            ("https://a.example/b", Some("https://inside:81^a.example/b")),
            ("//inside:81/b", Some("https://inside:81^a.example/b")),
            ("https://a.example.org/b", None),
            ("https://inside:81^a.example/b", None),
        ] {
            let beside = behind.beside(reference);
            assert_eq!(beside.as_ref().map(CacheKey::as_str), wanted, "{reference}");
        }
    }

    #[test]
    fn cookies_in_the_key_are_told_apart_and_the_url_stays() {
        let key = CacheKey::new("http", "a.example", "/x");
        let one = key.with_cookies(b"group=a b\n");
        assert_eq!(one.url(), "http://a.example/x");
        assert_eq!(one.origin(), "http://a.example");
        assert!(one.has_cookies() && !key.has_cookies());
        assert_ne!(one, key.with_cookies(b"group=a%20b\n"));
    }

    #[test]
    fn a_cookie_in_the_key_may_be_varied_by() {
        let by_cookie = map(&[("vary", "Cookie, Accept")]);
        let fields = vec![HeaderName::from_static("accept")];
        assert_eq!(VaryRule::read(&by_cookie, true), VaryRule::Fields(fields));
        assert_eq!(VaryRule::read(&by_cookie, false), VaryRule::Personal);
    }
}
