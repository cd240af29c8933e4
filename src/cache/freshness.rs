//! How long a response is fresh (RFC 9111 4.2): pure functions, the clocks passed in.

use std::time::{Duration, SystemTime};

use http::HeaderMap;
use http::header::{AGE, DATE, EXPIRES, HeaderName};

use crate::message::cache_control::{CacheControl, SurrogateControl, delta_seconds};
use crate::message::headers::{CDN_CACHE_CONTROL, MARQUETRY_CACHE_CONTROL};
use crate::message::targeted::TargetedControl;

/// What a response allows a shared cache, from the first of its fields that decides (RFC 9213 2.2): `Marquetry-Cache-Control`,
/// `CDN-Cache-Control`, `Surrogate-Control`, then `Cache-Control` and `Expires`.
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
    /// How long it is fresh from its making; `None`: it does not say.
    pub lifetime: Option<Duration>,
}

impl Terms {
    /// Reads the terms of a response that came at `now`.
    pub fn read(headers: &HeaderMap, now: SystemTime) -> Self {
        for field in [MARQUETRY_CACHE_CONTROL, CDN_CACHE_CONTROL] {
            if let Some(terms) = targeted(headers, &field) {
                return terms;
            }
        }
        let surrogate = SurrogateControl::read(headers);
        if surrogate.no_store || surrogate.max_age.is_some() {
            return Self {
                no_store: surrogate.no_store,
                shared: true,
                lifetime: surrogate.max_age,
                ..Self::default()
            };
        }
        let control = CacheControl::read(headers);
        Self {
            no_store: control.no_store,
            no_cache: control.no_cache,
            private: control.private,
            shared: control.public || control.s_maxage.is_some(),
            lifetime: control
                .s_maxage
                .or(control.max_age)
                .or_else(|| expires(headers, now)),
        }
    }

    /// The terms as a browser or a cache behind us reads them: fields for surrogates left out.
    pub fn downstream(headers: &HeaderMap, now: SystemTime) -> Downstream {
        let control = CacheControl::read(headers);
        Downstream {
            personal: control.private || control.no_store,
            no_cache: control.no_cache,
            must_revalidate: control.must_revalidate || control.proxy_revalidate,
            public: control.public,
            max_age: control.max_age.or_else(|| expires(headers, now)),
            s_maxage: control.s_maxage,
        }
    }
}

/// What a part of a page allows those behind us.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Downstream {
    /// `private` or `no-store`.
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
}

/// A targeted field (RFC 9213), if it is there, can be read and says something. One that cannot be read is as if it were not
/// there, so that what `Cache-Control` forbids stays forbidden (RFC 9213 2.1).
fn targeted(headers: &HeaderMap, field: &HeaderName) -> Option<Terms> {
    let control = TargetedControl::read(headers, field)?;
    Some(Terms {
        no_store: control.no_store,
        no_cache: control.no_cache,
        private: control.private,
        shared: control.public || control.s_maxage.is_some() || control.max_age.is_some(),
        lifetime: control.s_maxage.or(control.max_age),
    })
}

/// The lifetime by `Expires`: it is `Expires` − `Date`; one that cannot be read, or stands twice, has expired (RFC 9111 5.3).
fn expires(headers: &HeaderMap, now: SystemTime) -> Option<Duration> {
    let mut lines = headers.get_all(EXPIRES).iter();
    let line = lines.next()?;
    if lines.next().is_some() {
        return Some(Duration::ZERO);
    }
    let expires = line
        .to_str()
        .ok()
        .and_then(|text| httpdate::parse_http_date(text).ok());
    let from = date(headers).unwrap_or(now);
    Some(
        expires
            .and_then(|expires| expires.duration_since(from).ok())
            .unwrap_or(Duration::ZERO),
    )
}

fn date(headers: &HeaderMap) -> Option<SystemTime> {
    headers
        .get(DATE)?
        .to_str()
        .ok()
        .and_then(|text| httpdate::parse_http_date(text).ok())
}

/// How old a response was when it came at `now`, after a request that took `delay` (RFC 9111 4.2.3).
pub fn initial_age(headers: &HeaderMap, now: SystemTime, delay: Duration) -> Duration {
    let apparent = date(headers)
        .and_then(|date| now.duration_since(date).ok())
        .unwrap_or(Duration::ZERO);
    apparent.max(age(headers) + delay)
}

/// The `Age` field: its first member, ignored where it is no number.
fn age(headers: &HeaderMap) -> Duration {
    let first = headers.get(AGE).map(http::HeaderValue::as_bytes);
    let member = first.and_then(|line| line.split(|byte| *byte == b',').next());
    member
        .and_then(|member| delta_seconds(member.trim_ascii()))
        .unwrap_or(Duration::ZERO)
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
                    ("cdn-cache-control", "max-age=\"3\""),
                    ("cache-control", "max-age=4"),
                ],
                None,
            ),
            (
                &[
                    ("cdn-cache-control", "max-age=3, ]["),
                    ("cache-control", "max-age=4"),
                ],
                Some(4),
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

    #[test]
    fn age_counts_what_came_before_us() {
        let rows: &[(&[(&'static str, &'static str)], u64, u64)] = &[
            (&[], 0, 0),
            (&[], 3, 3),
            (&[("age", "10")], 3, 13),
            (&[("age", "10, 20")], 0, 10),
            (&[("age", "-1")], 0, 0),
            (&[("age", "x")], 0, 0),
            (&[("date", "Sun, 06 Nov 1994 08:49:07 GMT")], 0, 30),
            (
                &[("date", "Sun, 06 Nov 1994 08:49:07 GMT"), ("age", "40")],
                0,
                40,
            ),
            (&[("date", "Sun, 06 Nov 1994 08:55:07 GMT")], 0, 0),
        ];
        for (headers, delay, seconds) in rows {
            let age = initial_age(&map(headers), now(), Duration::from_secs(*delay));
            assert_eq!(age, Duration::from_secs(*seconds), "{headers:?}");
        }
    }
}
