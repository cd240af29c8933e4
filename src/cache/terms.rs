//! What a response allows, read from its fields: for a shared cache such as this one, and for those behind us. Pure functions.
//!
//! Of the fields that speak to surrogates the first that is valid and says something decides alone (RFC 9213 2.2):
//! `Marquetry-Cache-Control`, `CDN-Cache-Control`, then by custom `Surrogate-Control`; else `Cache-Control` and `Expires`.

use std::time::{Duration, SystemTime};

use http::HeaderMap;
use http::header::{DATE, EXPIRES, HeaderName};

use crate::message::cache_control::{CacheControl, SurrogateControl};
use crate::message::date;
use crate::message::headers::{CDN_CACHE_CONTROL, MARQUETRY_CACHE_CONTROL};
use crate::message::structured::{self, Value};

/// What a response allows a shared cache.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Terms {
    /// Not to be kept at all.
    pub no_store: bool,
    /// Only after asking the origin, each time.
    pub no_cache: bool,
    /// For its asker alone.
    pub private: bool,
    /// An explicit word that everybody may have it: `public`, `s-maxage`, or a lifetime in a field for surrogates.
    pub shared: bool,
    /// `public`.
    pub public: bool,
    /// `must-revalidate`.
    pub must_revalidate: bool,
    /// `proxy-revalidate`, or `s-maxage`, which implies it (RFC 9111 5.2.2.10).
    pub proxy_revalidate: bool,
    /// `must-understand`: it is kept only where its status is known, and then `no-store` does not count.
    pub must_understand: bool,
    /// Some fields are not to be stored.
    pub withholds: bool,
    /// How long it is fresh from its making; `None`: it does not say.
    pub lifetime: Option<Duration>,
    /// How long past its lifetime it may be used while it is asked for anew.
    pub stale_while_revalidate: Option<Duration>,
    /// How long past its lifetime it may be used where nothing better can be had.
    pub stale_if_error: Option<Duration>,
}

impl Terms {
    /// Reads the terms of a response that came at `now`.
    pub fn read(headers: &HeaderMap, now: SystemTime) -> Self {
        let control = CacheControl::read(headers);
        let mut terms = [MARQUETRY_CACHE_CONTROL, CDN_CACHE_CONTROL]
            .iter()
            .find_map(|field| targeted(headers, field))
            .or_else(|| surrogate(headers))
            .unwrap_or_else(|| plain(&control, headers, now));
        // Fields that belong to one user are kept out of the store whoever gives the lifetime.
        terms.withholds = control.withholds;
        terms
    }

    /// The terms as a browser or a cache behind us reads them: fields for surrogates left out.
    pub fn downstream(headers: &HeaderMap, now: SystemTime) -> Downstream {
        let control = CacheControl::read(headers);
        Downstream {
            personal: control.private || control.no_store || control.withholds,
            no_cache: control.no_cache,
            must_revalidate: control.must_revalidate || control.proxy_revalidate,
            public: control.public,
            max_age: control.max_age.or_else(|| expires(headers, now)),
            s_maxage: control.s_maxage,
            stale_while_revalidate: control.stale_while_revalidate,
            stale_if_error: control.stale_if_error,
        }
    }

    /// Whether nothing may make it be used stale on an error (caching by RFC 9111 4.2.4: these directives are prohibitions).
    pub fn forbids_stale(&self) -> bool {
        self.no_cache || self.must_revalidate || self.proxy_revalidate
    }
}

/// What a part of a page allows those behind us.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Downstream {
    /// `private` or `no-store`, whole or of some fields.
    pub personal: bool,
    /// `no-cache`.
    pub no_cache: bool,
    /// `must-revalidate` or `proxy-revalidate`.
    pub must_revalidate: bool,
    /// `public`.
    pub public: bool,
    /// `max-age`, else from `Expires`.
    pub max_age: Option<Duration>,
    /// `s-maxage`.
    pub s_maxage: Option<Duration>,
    /// `stale-while-revalidate`.
    pub stale_while_revalidate: Option<Duration>,
    /// `stale-if-error`.
    pub stale_if_error: Option<Duration>,
}

/// `Cache-Control`, else `Expires`.
fn plain(control: &CacheControl, headers: &HeaderMap, now: SystemTime) -> Terms {
    Terms {
        no_store: control.no_store,
        no_cache: control.no_cache,
        private: control.private,
        shared: control.public || control.s_maxage.is_some(),
        public: control.public,
        must_revalidate: control.must_revalidate,
        proxy_revalidate: control.proxy_revalidate || control.s_maxage.is_some(),
        must_understand: control.must_understand,
        withholds: control.withholds,
        lifetime: control
            .s_maxage
            .or(control.max_age)
            .or_else(|| expires(headers, now)),
        // Written beside s-maxage it is meant: what is explicit beats what is implied.
        stale_while_revalidate: control
            .stale_while_revalidate
            .filter(|_| !control.no_cache && !control.must_revalidate && !control.proxy_revalidate),
        stale_if_error: control.stale_if_error,
    }
    .without_forbidden()
}

/// `Surrogate-Control`, where it gives a lifetime or forbids one: `content` alone leaves `Cache-Control` in force.
fn surrogate(headers: &HeaderMap) -> Option<Terms> {
    let surrogate = SurrogateControl::read(headers);
    (surrogate.no_store || surrogate.max_age.is_some()).then(|| Terms {
        no_store: surrogate.no_store,
        shared: true,
        lifetime: surrogate.max_age,
        stale_while_revalidate: surrogate.stale,
        ..Terms::default()
    })
}

/// A targeted field (RFC 9213), if it is a dictionary that says something. Its `max-age` is an Integer or does not count.
fn targeted(headers: &HeaderMap, field: &HeaderName) -> Option<Terms> {
    if !headers.contains_key(field) {
        return None;
    }
    let members = structured::dictionary(headers, field)?;
    if members.is_empty() {
        return None;
    }
    let value = |name: &str| {
        let mut found = members.iter().filter(|(key, _)| key == name);
        found.next().map(|(_, value)| value)
    };
    let says = |name: &str| value(name).is_some_and(|value| *value != Value::Boolean(false));
    let seconds = |name: &str| match value(name)? {
        Value::Integer(seconds) => {
            let seconds = u64::try_from(*seconds).unwrap_or(0).min(1 << 31);
            Some(Duration::from_secs(seconds))
        }
        _ => None,
    };
    let lifetime = seconds("s-maxage").or_else(|| seconds("max-age"));
    // What allows must be said plainly; what forbids forbids however it is said.
    let public = value("public") == Some(&Value::Boolean(true));
    let terms = Terms {
        no_store: says("no-store"),
        no_cache: says("no-cache"),
        private: says("private"),
        shared: public || lifetime.is_some(),
        public,
        must_revalidate: says("must-revalidate"),
        proxy_revalidate: says("proxy-revalidate"),
        must_understand: says("must-understand"),
        withholds: false,
        lifetime,
        stale_while_revalidate: seconds("stale-while-revalidate"),
        stale_if_error: seconds("stale-if-error"),
    };
    let forbidden = terms.forbids_stale();
    Some(Terms {
        stale_while_revalidate: terms.stale_while_revalidate.filter(|_| !forbidden),
        ..terms.without_forbidden()
    })
}

impl Terms {
    /// The prohibitions win over every leave to be used stale on an error.
    fn without_forbidden(mut self) -> Self {
        if self.forbids_stale() {
            self.stale_if_error = None;
        }
        self
    }
}

/// The lifetime by `Expires`: it is `Expires` − `Date`; one that cannot be read, or stands twice, has expired (RFC 9111 5.3).
fn expires(headers: &HeaderMap, now: SystemTime) -> Option<Duration> {
    let mut lines = headers.get_all(EXPIRES).iter();
    let line = lines.next()?;
    if lines.next().is_some() {
        return Some(Duration::ZERO);
    }
    let from = made(headers).unwrap_or(now);
    let lifetime = date::parse(line.as_bytes()).and_then(|at| at.duration_since(from).ok());
    Some(lifetime.unwrap_or(Duration::ZERO))
}

/// The response's own `Date`.
pub(super) fn made(headers: &HeaderMap) -> Option<SystemTime> {
    date::parse(headers.get(DATE)?.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::HeaderValue;

    /// Sun, 06 Nov 1994 08:49:37 GMT.
    fn now() -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_secs(784_111_777)
    }

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
    fn the_first_field_that_decides_gives_the_lifetime() {
        let rows: &[(&[(&'static str, &'static str)], Option<u64>)] = &[
            (&[], None),
            (&[("cache-control", "max-age=60")], Some(60)),
            (&[("cache-control", "max-age=60, s-maxage=5")], Some(5)),
            (&[("cache-control", "max-age=x")], Some(0)),
            (&[("expires", "Sun, 06 Nov 1994 08:50:37 GMT")], Some(60)),
            (
                &[
                    ("expires", "Sun, 06 Nov 1994 08:50:37 GMT"),
                    ("date", "Sun, 06 Nov 1994 08:50:27 GMT"),
                ],
                Some(10),
            ),
            (&[("expires", "Sun, 06 Nov 1994 08:48:37 GMT")], Some(0)),
            (&[("expires", "0")], Some(0)),
            (&[("expires", "0"), ("cache-control", "max-age=7")], Some(7)),
            (
                &[
                    ("expires", "Sun, 06 Nov 1994 08:50:37 GMT"),
                    ("expires", "0"),
                ],
                Some(0),
            ),
            (
                &[
                    ("surrogate-control", "max-age=9"),
                    ("cache-control", "private"),
                ],
                Some(9),
            ),
            (
                &[
                    ("surrogate-control", "content=\"ESI/1.0\""),
                    ("cache-control", "max-age=4"),
                ],
                Some(4),
            ),
            (
                &[
                    ("cdn-cache-control", "max-age=3"),
                    ("surrogate-control", "max-age=9"),
                ],
                Some(3),
            ),
            (
                &[("cdn-cache-control", ""), ("cache-control", "max-age=4")],
                Some(4),
            ),
            (
                &[
                    ("cdn-cache-control", "max-age=5,"),
                    ("cache-control", "max-age=4"),
                ],
                Some(4),
            ),
            (
                &[
                    ("cdn-cache-control", "max-age=\"5\""),
                    ("cache-control", "max-age=4"),
                ],
                None,
            ),
            (
                &[("cdn-cache-control", "max-age=5, max-age=6;x=1")],
                Some(6),
            ),
            (
                &[
                    ("marquetry-cache-control", "max-age=2"),
                    ("cdn-cache-control", "max-age=3"),
                ],
                Some(2),
            ),
        ];
        for (headers, seconds) in rows {
            let read = Terms::read(&map(headers), now()).lifetime;
            assert_eq!(read, seconds.map(Duration::from_secs), "{headers:?}");
        }
    }
}
