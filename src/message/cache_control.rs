//! Cache-Control and Surrogate-Control (RFC 9111 5.2, Edge Architecture): read once into a few values.
//!
//! What follows from the directives is decided in [`cache`](crate::cache); here they are only read. Reading follows the
//! advice of RFC 9111 4.2.1: a lifetime that cannot be read counts as 0, of repeated directives the first one counts, names are compared
//! without case, unknown ones are ignored, and a comma inside quotes does not split.

use std::time::Duration;

use http::header::HeaderName;
use http::{HeaderMap, HeaderValue};

/// One directive as written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Directive<'a> {
    /// Its name, as written.
    pub name: &'a [u8],
    /// Its argument without quotes; `None` without `=`.
    pub value: Option<&'a [u8]>,
    /// Whether the argument was quoted.
    pub quoted: bool,
    /// What follows a `;`: the surrogate that the directive is for (Edge Architecture, 2.3).
    pub target: Option<&'a [u8]>,
}

/// The directives of one line, in order. Empty members are passed over.
pub fn directives(line: &[u8]) -> impl Iterator<Item = Directive<'_>> {
    let mut rest = line;
    std::iter::from_fn(move || {
        while !rest.is_empty() {
            let (member, after) = split_outside_quotes(rest, b',');
            rest = after;
            let member = member.trim_ascii();
            if !member.is_empty() {
                return Some(directive(member));
            }
        }
        None
    })
}

impl<'a> Directive<'a> {
    /// The names of a quoted list of fields, as in `private="x-user, x-cart"`.
    fn fields(&self) -> impl Iterator<Item = Option<HeaderName>> + use<'a> {
        let list = self.value.filter(|_| self.quoted).unwrap_or_default();
        list.split(|byte| *byte == b',')
            .map(|name| HeaderName::from_bytes(name.trim_ascii()).ok())
    }

    /// Whether it speaks of some fields only. One that is not quoted, or whose list is no list of names, speaks of all.
    fn names_fields(&self) -> bool {
        self.quoted && self.fields().all(|name| name.is_some())
    }
}

/// The fields that `no-cache="…"` and `private="…"` keep from being stored (RFC 9111 5.2.2.4, 5.2.2.7).
pub fn withheld(headers: &HeaderMap) -> Vec<HeaderName> {
    let mut names = Vec::new();
    for line in headers.get_all(http::header::CACHE_CONTROL) {
        for directive in directives(line.as_bytes()) {
            let qualifies = directive.name.eq_ignore_ascii_case(b"no-cache")
                || directive.name.eq_ignore_ascii_case(b"private");
            if qualifies && directive.names_fields() {
                names.extend(directive.fields().flatten());
            }
        }
    }
    names
}

/// What a request asks of caches (RFC 9111 5.2.1).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct RequestControl {
    /// `no-store`.
    pub no_store: bool,
    /// `no-cache`, or `Pragma: no-cache` where there is no Cache-Control.
    pub no_cache: bool,
    /// `only-if-cached`.
    pub only_if_cached: bool,
    /// `max-age`: no older than this.
    pub max_age: Option<Duration>,
    /// `min-fresh`: fresh for at least as long.
    pub min_fresh: Option<Duration>,
}

impl RequestControl {
    /// Reads the request's Cache-Control and Pragma.
    pub fn read(headers: &HeaderMap) -> Self {
        let mut read = Self::default();
        for line in headers.get_all(http::header::CACHE_CONTROL) {
            directives(line.as_bytes()).for_each(|directive| read.take(directive));
        }
        if !headers.contains_key(http::header::CACHE_CONTROL) {
            let pragma = headers.get(http::header::PRAGMA).map(HeaderValue::as_bytes);
            read.no_cache = pragma.is_some_and(|line| line.eq_ignore_ascii_case(b"no-cache"));
        }
        read
    }

    fn take(&mut self, directive: Directive<'_>) {
        let is = |name: &str| directive.name.eq_ignore_ascii_case(name.as_bytes());
        if is("no-store") {
            self.no_store = true;
        } else if is("no-cache") {
            self.no_cache = true;
        } else if is("only-if-cached") {
            self.only_if_cached = true;
        } else if is("max-age") {
            self.max_age.get_or_insert(lifetime(directive));
        } else if is("min-fresh") {
            self.min_fresh.get_or_insert(lifetime(directive));
        }
    }
}

fn directive(member: &[u8]) -> Directive<'_> {
    let (body, target) = split_outside_quotes(member, b';');
    let target = target.trim_ascii();
    let (name, value) = match body.iter().position(|byte| *byte == b'=') {
        Some(at) => (&body[..at], Some(body[at + 1..].trim_ascii())),
        None => (body, None),
    };
    let quoted = value.is_some_and(|value| {
        value.len() >= 2 && value.starts_with(b"\"") && value.ends_with(b"\"")
    });
    Directive {
        name: name.trim_ascii(),
        value: value.map(|value| {
            if quoted {
                &value[1..value.len() - 1]
            } else {
                value
            }
        }),
        quoted,
        target: (!target.is_empty()).then_some(target),
    }
}

/// What stands before and after the first `separator` outside quotes. A quote that is never closed is none, so that it hides
/// nothing that stands behind it.
fn split_outside_quotes(text: &[u8], separator: u8) -> (&[u8], &[u8]) {
    split(text, separator, true)
        .unwrap_or_else(|| split(text, separator, false).unwrap_or((text, &[])))
}

/// The same; `None` when quotes count and one is never closed.
fn split(text: &[u8], separator: u8, quotes: bool) -> Option<(&[u8], &[u8])> {
    let mut quoted = false;
    let mut escaped = false;
    for (at, byte) in text.iter().enumerate() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if quoted => escaped = true,
            b'"' if quotes => quoted = !quoted,
            _ if *byte == separator && !quoted => return Some((&text[..at], &text[at + 1..])),
            _ => {}
        }
    }
    (!quoted).then_some((text, &[]))
}

/// The longest lifetime that is told apart: 2^31 seconds (RFC 9111 1.2.2).
const LONGEST: u64 = 1 << 31;

/// delta-seconds: digits alone; more than 2^31 saturates.
pub fn delta_seconds(text: &[u8]) -> Option<Duration> {
    if text.is_empty() || !text.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let seconds = text.iter().fold(0_u64, |seconds, digit| {
        (seconds * 10 + u64::from(digit - b'0')).min(LONGEST)
    });
    Some(Duration::from_secs(seconds))
}

/// The directives of a response's Cache-Control that a shared cache obeys.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct CacheControl {
    /// `no-store`.
    pub no_store: bool,
    /// `no-cache` of the whole response.
    pub no_cache: bool,
    /// `private` of the whole response.
    pub private: bool,
    /// `no-cache="…"` or `private="…"`: some fields are not to be stored; [`withheld`] names them.
    pub withholds: bool,
    /// `public`.
    pub public: bool,
    /// `must-revalidate`.
    pub must_revalidate: bool,
    /// `proxy-revalidate`.
    pub proxy_revalidate: bool,
    /// `must-understand` (RFC 9111 5.2.2.3).
    pub must_understand: bool,
    /// `s-maxage`; unreadable: zero.
    pub s_maxage: Option<Duration>,
    /// `max-age`; unreadable: zero.
    pub max_age: Option<Duration>,
    /// `stale-while-revalidate` (RFC 5861 3); unreadable: zero.
    pub stale_while_revalidate: Option<Duration>,
    /// `stale-if-error` (RFC 5861 4); unreadable: zero.
    pub stale_if_error: Option<Duration>,
}

impl CacheControl {
    /// Reads all Cache-Control lines of `headers`.
    pub fn read(headers: &HeaderMap) -> Self {
        Self::read_field(headers, &http::header::CACHE_CONTROL)
    }

    /// Reads all lines of the field `name` by the rules of Cache-Control.
    pub fn read_field(headers: &HeaderMap, name: &HeaderName) -> Self {
        let mut read = Self::default();
        for line in headers.get_all(name) {
            for directive in directives(line.as_bytes()) {
                read.take(directive);
            }
        }
        read
    }

    /// A `;` is no separator here, though people write it as one: what stands on either side of it may forbid, and allows nothing.
    fn take(&mut self, directive: Directive<'_>) {
        let Some(behind) = directive.target else {
            return self.take_one(directive);
        };
        let mut said = Self::default();
        said.take_one(Directive {
            target: None,
            ..directive
        });
        for part in behind.split(|byte| *byte == b';') {
            said.take_one(self::directive(part));
        }
        self.no_store |= said.no_store;
        self.no_cache |= said.no_cache;
        self.private |= said.private || said.withholds;
        self.must_revalidate |= said.must_revalidate;
        self.proxy_revalidate |= said.proxy_revalidate;
        if said.s_maxage.is_some() {
            self.s_maxage.get_or_insert(Duration::ZERO);
        }
        if said.max_age.is_some() {
            self.max_age.get_or_insert(Duration::ZERO);
        }
    }

    fn take_one(&mut self, directive: Directive<'_>) {
        let is = |name: &str| directive.name.eq_ignore_ascii_case(name.as_bytes());
        if is("no-store") {
            self.no_store = true;
        } else if is("no-cache") {
            self.no_cache |= !directive.names_fields();
            self.withholds |= directive.names_fields();
        } else if is("private") {
            self.private |= !directive.names_fields();
            self.withholds |= directive.names_fields();
        } else if is("public") {
            self.public = true;
        } else if is("must-revalidate") {
            self.must_revalidate = true;
        } else if is("proxy-revalidate") {
            self.proxy_revalidate = true;
        } else if is("must-understand") {
            self.must_understand = true;
        } else if is("stale-while-revalidate") {
            self.stale_while_revalidate
                .get_or_insert(lifetime(directive));
        } else if is("stale-if-error") {
            self.stale_if_error.get_or_insert(lifetime(directive));
        } else if is("s-maxage") {
            self.s_maxage.get_or_insert(lifetime(directive));
        } else if is("max-age") {
            self.max_age.get_or_insert(lifetime(directive));
        }
    }
}

fn lifetime(directive: Directive<'_>) -> Duration {
    directive
        .value
        .and_then(delta_seconds)
        .unwrap_or(Duration::ZERO)
}

/// What Surrogate-Control tells us (Edge Architecture 2.1 to 2.3). A directive with our name behind `;` replaces those for all.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct SurrogateControl {
    /// `no-store` or `no-store-remote`.
    pub no_store: bool,
    /// `max-age=A` of `max-age=A+B`.
    pub max_age: Option<Duration>,
    /// `B` of `max-age=A+B`: how long it may be used stale while it is asked for anew.
    pub stale: Option<Duration>,
}

impl SurrogateControl {
    /// Reads all Surrogate-Control lines of `headers`.
    pub fn read(headers: &HeaderMap) -> Self {
        let mut for_all = Self::default();
        let mut for_us = None;
        for line in headers.get_all(super::headers::SURROGATE_CONTROL) {
            for directive in directives(line.as_bytes()) {
                match directive.target {
                    None => for_all.take(directive),
                    Some(target) if target.eq_ignore_ascii_case(b"marquetry") => {
                        for_us.get_or_insert_with(Self::default).take(directive);
                    }
                    Some(_) => {}
                }
            }
        }
        for_us.unwrap_or(for_all)
    }

    fn take(&mut self, directive: Directive<'_>) {
        let is = |name: &str| directive.name.eq_ignore_ascii_case(name.as_bytes());
        if is("no-store") || is("no-store-remote") {
            self.no_store = true;
        } else if is("max-age") {
            let mut parts = directive
                .value
                .unwrap_or_default()
                .split(|byte| *byte == b'+');
            let mut seconds = || parts.next().and_then(delta_seconds);
            if self.max_age.is_none() {
                self.max_age = Some(seconds().unwrap_or(Duration::ZERO));
                self.stale = seconds();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::HeaderValue;

    fn read(lines: &[&str]) -> CacheControl {
        let headers: HeaderMap = lines
            .iter()
            .map(|line| {
                (
                    http::header::CACHE_CONTROL,
                    HeaderValue::from_str(line).expect("a row is a value"),
                )
            })
            .collect();
        CacheControl::read(&headers)
    }

    #[test]
    fn lifetimes_are_digits_or_nothing() {
        for (text, seconds) in [
            ("max-age=60", 60),
            ("MAX-AGE=60", 60),
            ("max-age=\"60\"", 60),
            ("max-age=060", 60),
            ("max-age=99999999999999999999", 1 << 31),
            ("max-age=-1", 0),
            ("max-age='60'", 0),
            ("max-age=60a", 0),
            ("max-age=1.5", 0),
            ("max-age=60; x", 0),
            ("x; max-age=60", 0),
            ("max-age=", 0),
            ("max-age", 0),
            ("max-age=1, max-age=2", 1),
            ("x=\"a, max-age=5\", max-age=7", 7),
        ] {
            assert_eq!(
                read(&[text]).max_age,
                Some(Duration::from_secs(seconds)),
                "{text}"
            );
        }
    }

    #[test]
    fn lines_combine_and_unknown_words_do_not_matter() {
        let control = read(&["public, surprise", "s-maxage=3, private=\"x\""]);
        assert!(control.public && !control.private && control.withholds && !control.no_store);
        assert_eq!(control.s_maxage, Some(Duration::from_secs(3)));
    }

    #[test]
    fn a_list_of_fields_is_quoted_and_holds_names() {
        for (line, whole, names) in [
            ("private=\"x-user\"", false, vec!["x-user"]),
            ("no-cache=\"X-A , x-b\"", false, vec!["x-a", "x-b"]),
            ("private=x-user", true, vec![]),
            ("private=\"\"", true, vec![]),
            ("private=\"x user\"", true, vec![]),
            ("private=\"x-user", true, vec![]),
            ("private, private=\"x\"", true, vec!["x"]),
        ] {
            let control = read(&[line]);
            assert_eq!(control.private || control.no_cache, whole, "{line}");
            let headers = [(http::header::CACHE_CONTROL, HeaderValue::from_static(line))];
            assert_eq!(withheld(&headers.into_iter().collect()), names, "{line}");
        }
    }

    #[test]
    fn an_unclosed_quote_hides_nothing() {
        assert!(read(&["x=\"a, no-store"]).no_store);
        assert!(read(&["s-maxage=60, x=\"abc\\\", private"]).private);
        assert!(!read(&["x=\"a, no-store\""]).no_store);
    }

    #[test]
    fn behind_a_semicolon_words_forbid_and_allow_nothing() {
        let control = read(&["s-maxage=60; private; x; no-store"]);
        assert!(control.private && control.no_store);
        assert_eq!(control.s_maxage, Some(Duration::ZERO));
        assert!(!read(&["x; public"]).public);
        assert!(read(&["private; max-age=60"]).private);
    }

    #[test]
    fn surrogate_control_for_us_replaces_the_one_for_all() {
        let headers: HeaderMap = [(
            super::super::headers::SURROGATE_CONTROL,
            HeaderValue::from_static("max-age=3600+600, no-store;other, max-age=5;marquetry"),
        )]
        .into_iter()
        .collect();
        let wanted = SurrogateControl {
            no_store: false,
            max_age: Some(Duration::from_secs(5)),
            stale: None,
        };
        assert_eq!(SurrogateControl::read(&headers), wanted);
    }
}
