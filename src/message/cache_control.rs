//! Cache-Control and Surrogate-Control (RFC 9111 5.2, Edge Architecture): read once into a few values.
//!
//! What follows from the directives is decided in [`cache`](crate::cache); here they are only read. Reading follows the
//! advice of RFC 9111 4.2.1: a lifetime that cannot be read counts as 0, of repeated directives the first one counts, names are compared
//! without case, unknown ones are ignored, and a comma inside quotes does not split.

use std::time::Duration;

use http::HeaderMap;
use http::header::HeaderName;

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

/// What stands before and after the first `separator` outside quotes.
fn split_outside_quotes(text: &[u8], separator: u8) -> (&[u8], &[u8]) {
    let mut quoted = false;
    let mut escaped = false;
    for (at, byte) in text.iter().enumerate() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if quoted => escaped = true,
            b'"' => quoted = !quoted,
            _ if *byte == separator && !quoted => return (&text[..at], &text[at + 1..]),
            _ => {}
        }
    }
    (text, &[])
}

fn has_open_quote(line: &[u8]) -> bool {
    let mut quoted = false;
    let mut escaped = false;
    for byte in line {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if quoted => escaped = true,
            b'"' => quoted = !quoted,
            _ => {}
        }
    }
    quoted
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
    /// `no-cache`, qualified or not.
    pub no_cache: bool,
    /// `private`, qualified or not.
    pub private: bool,
    /// `public`.
    pub public: bool,
    /// `must-revalidate`.
    pub must_revalidate: bool,
    /// `proxy-revalidate`.
    pub proxy_revalidate: bool,
    /// `s-maxage`; unreadable: zero.
    pub s_maxage: Option<Duration>,
    /// `max-age`; unreadable: zero.
    pub max_age: Option<Duration>,
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
            // A quote that is never closed may hide the word that forbids.
            read.private |= has_open_quote(line.as_bytes());
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
        self.private |= said.private;
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
            self.no_cache = true;
        } else if is("private") {
            self.private = true;
        } else if is("public") {
            self.public = true;
        } else if is("must-revalidate") {
            self.must_revalidate = true;
        } else if is("proxy-revalidate") {
            self.proxy_revalidate = true;
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
            let seconds = directive
                .value
                .and_then(|value| delta_seconds(value.split(|byte| *byte == b'+').next()?));
            self.max_age
                .get_or_insert(seconds.unwrap_or(Duration::ZERO));
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
        assert!(control.public && control.private && !control.no_store);
        assert_eq!(control.s_maxage, Some(Duration::from_secs(3)));
    }

    #[test]
    fn a_quote_that_is_never_closed_hides_no_word_that_forbids() {
        for (line, private) in [
            ("s-maxage=60, x=\"abc, private", true),
            ("s-maxage=60, x=\"abc\\\", private", true),
            ("s-maxage=60, x=\"a, private\"", false),
        ] {
            assert_eq!(read(&[line]).private, private, "{line}");
        }
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
        };
        assert_eq!(SurrogateControl::read(&headers), wanted);
    }
}
