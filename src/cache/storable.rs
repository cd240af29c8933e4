//! May a response be stored, and may it be shared (RFC 9111 3)? The privacy rule lives here alone.
//!
//! One user must never see what belongs to another. So sharing is opt-in: a response is shared only when it says so explicitly
//! (`public`, `s-maxage`, a lifetime in a field for surrogates), or when the request went upstream without `Cookie` and `Authorization` and it has
//! a lifetime. Everything else is personal. Coalescing asks this function too, before anybody else gets the answer.

use std::time::{Duration, SystemTime};

use http::header::{AUTHORIZATION, CACHE_CONTROL, COOKIE, RANGE, SET_COOKIE};
use http::{HeaderMap, HeaderName, Method, StatusCode};

use crate::cache::freshness::{self, Terms};
use crate::cache::key::VaryRule;
use crate::message::cache_control::CacheControl;

/// The request as it went upstream.
#[derive(Debug, Clone, Copy)]
pub struct Asked<'a> {
    /// Its method.
    pub method: &'a Method,
    /// Its fields.
    pub headers: &'a HeaderMap,
    /// A lifetime that the asker gives the response in place of its own (the `ttl` of an include). It makes nothing shared
    /// that would be personal.
    pub ttl: Option<Duration>,
}

/// The head of the response, and when it came.
#[derive(Debug, Clone, Copy)]
pub struct Answered<'a> {
    /// Its status.
    pub status: StatusCode,
    /// Its fields.
    pub headers: &'a HeaderMap,
    /// When its head came.
    pub at: SystemTime,
    /// How long the request took.
    pub delay: Duration,
}

/// What may be done with a response.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// Everybody whose request fits `vary` may have it until `lifetime` is over.
    Share(Grant),
    /// Only its asker may have it.
    Personal(Reason),
}

/// The terms of sharing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Grant {
    /// The fields that tell its variants apart.
    pub vary: Vec<HeaderName>,
    /// From its making.
    pub lifetime: Duration,
    /// How old it was when it came; less than `lifetime`.
    pub age: Duration,
    /// It says itself that everybody may have it; else only requests without cookies may.
    pub explicit: bool,
}

/// Why a response is not shared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reason {
    /// Not a GET, or a part of a representation was asked for.
    Request,
    /// The request said `no-store`.
    RequestNoStore,
    /// No final status, or one that another request for the same URL might not have got: 206, 304, 412 and their like.
    Status,
    /// `Set-Cookie`.
    SetCookie,
    /// `no-store`.
    NoStore,
    /// `private`.
    Private,
    /// `no-cache`.
    NoCache,
    /// `Vary: *`, `Cookie` or `Authorization`.
    Vary,
    /// It does not say how long it is fresh.
    NoLifetime,
    /// It had expired when it came.
    Expired,
    /// The request had `Authorization`, and the response gives no leave (RFC 9111 3.5).
    Authorization,
    /// The request had `Cookie`, and the response gives no leave.
    Cookie,
}

impl Reason {
    /// In words, with the field that decided.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Request => "not a plain GET",
            Self::RequestNoStore => "the request says no-store",
            Self::Status => "its status is not stored",
            Self::SetCookie => "it has Set-Cookie",
            Self::NoStore => "it says no-store",
            Self::Private => "it says private",
            Self::NoCache => "it says no-cache",
            Self::Vary => "it varies by what tells users apart",
            Self::NoLifetime => "it has no lifetime",
            Self::Expired => "it had expired when it came",
            Self::Authorization => {
                "the request had Authorization and it says neither public, s-maxage nor a lifetime for surrogates"
            }
            Self::Cookie => {
                "the request had Cookie and it says neither public, s-maxage nor a lifetime for surrogates"
            }
        }
    }
}

/// Decides about one response.
pub fn judge(asked: Asked<'_>, answered: Answered<'_>) -> Verdict {
    match grant(asked, answered) {
        Ok(grant) => Verdict::Share(grant),
        Err(reason) => Verdict::Personal(reason),
    }
}

fn grant(asked: Asked<'_>, answered: Answered<'_>) -> Result<Grant, Reason> {
    if *asked.method != Method::GET || asked.headers.contains_key(RANGE) {
        return Err(Reason::Request);
    }
    if asked.headers.contains_key(CACHE_CONTROL) && CacheControl::read(asked.headers).no_store {
        return Err(Reason::RequestNoStore);
    }
    let (status, headers) = (answered.status, answered.headers);
    if status.is_informational() || speaks_of_the_request(status) {
        return Err(Reason::Status);
    }
    if headers.contains_key(SET_COOKIE) {
        return Err(Reason::SetCookie);
    }
    let terms = Terms::read(headers, answered.at);
    if terms.no_store {
        return Err(Reason::NoStore);
    }
    if terms.private {
        return Err(Reason::Private);
    }
    if terms.no_cache {
        return Err(Reason::NoCache);
    }
    let VaryRule::Fields(vary) = VaryRule::read(headers) else {
        return Err(Reason::Vary);
    };
    let (lifetime, age) = if let Some(ttl) = asked.ttl {
        (ttl, Duration::ZERO)
    } else {
        let age = freshness::initial_age(headers, answered.at, answered.delay);
        (terms.lifetime.ok_or(Reason::NoLifetime)?, age)
    };
    if age >= lifetime {
        return Err(Reason::Expired);
    }
    if asked.headers.contains_key(AUTHORIZATION) && !terms.shared {
        return Err(Reason::Authorization);
    }
    if asked.headers.contains_key(COOKIE) && !terms.shared {
        return Err(Reason::Cookie);
    }
    Ok(Grant {
        vary,
        lifetime,
        age,
        explicit: terms.shared,
    })
}

/// Whether a status may answer a range, a condition, or something odd in this one request, which the key does not name: stored, it
/// would let one asker choose what all others are told.
fn speaks_of_the_request(status: StatusCode) -> bool {
    matches!(
        status,
        StatusCode::PARTIAL_CONTENT
            | StatusCode::NOT_MODIFIED
            | StatusCode::BAD_REQUEST
            | StatusCode::REQUEST_TIMEOUT
            | StatusCode::LENGTH_REQUIRED
            | StatusCode::PRECONDITION_FAILED
            | StatusCode::PAYLOAD_TOO_LARGE
            | StatusCode::RANGE_NOT_SATISFIABLE
            | StatusCode::EXPECTATION_FAILED
            | StatusCode::MISDIRECTED_REQUEST
            | StatusCode::TOO_EARLY
            | StatusCode::UPGRADE_REQUIRED
            | StatusCode::PRECONDITION_REQUIRED
            | StatusCode::TOO_MANY_REQUESTS
            | StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::HeaderValue;

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

    fn verdict(
        request: &[(&'static str, &'static str)],
        status: u16,
        response: &[(&'static str, &'static str)],
    ) -> Result<u64, Reason> {
        let (asked, headers) = (map(request), map(response));
        let answered = Answered {
            status: StatusCode::from_u16(status).expect("a status"),
            headers: &headers,
            at: SystemTime::UNIX_EPOCH + Duration::from_secs(784_111_777),
            delay: Duration::ZERO,
        };
        grant(
            Asked {
                method: &Method::GET,
                headers: &asked,
                ttl: None,
            },
            answered,
        )
        .map(|grant| grant.lifetime.as_secs())
    }

    /// Request fields, status, response fields, and what may be done: shared for so many seconds, or the reason why not.
    #[test]
    fn the_privacy_rule_as_a_table() {
        type Fields = &'static [(&'static str, &'static str)];
        const NONE: Fields = &[];
        const COOKIE: Fields = &[("cookie", "session=1")];
        const BASIC: Fields = &[("authorization", "Basic YTpi")];
        let rows: &[(Fields, u16, Fields, Result<u64, Reason>)] = &[
            // Nothing is shared without being told so.
            (NONE, 200, &[], Err(Reason::NoLifetime)),
            (
                NONE,
                200,
                &[("cache-control", "public")],
                Err(Reason::NoLifetime),
            ),
            (
                NONE,
                200,
                &[
                    ("etag", "\"x\""),
                    ("last-modified", "Sun, 06 Nov 1994 08:49:37 GMT"),
                ],
                Err(Reason::NoLifetime),
            ),
            // Without credentials a lifetime is enough.
            (NONE, 200, &[("cache-control", "max-age=60")], Ok(60)),
            (
                NONE,
                200,
                &[("expires", "Sun, 06 Nov 1994 08:50:37 GMT")],
                Ok(60),
            ),
            (NONE, 200, &[("cache-control", "s-maxage=60")], Ok(60)),
            (
                NONE,
                200,
                &[("cache-control", "max-age=0")],
                Err(Reason::Expired),
            ),
            (
                NONE,
                200,
                &[("cache-control", "max-age=60"), ("age", "60")],
                Err(Reason::Expired),
            ),
            (NONE, 404, &[("cache-control", "max-age=60")], Ok(60)),
            (NONE, 301, &[("cache-control", "max-age=60")], Ok(60)),
            (
                NONE,
                206,
                &[("cache-control", "max-age=60")],
                Err(Reason::Status),
            ),
            (
                NONE,
                304,
                &[("cache-control", "max-age=60")],
                Err(Reason::Status),
            ),
            (
                NONE,
                412,
                &[("cache-control", "public, max-age=60")],
                Err(Reason::Status),
            ),
            (
                NONE,
                400,
                &[("cache-control", "public, max-age=60")],
                Err(Reason::Status),
            ),
            (
                NONE,
                200,
                &[
                    ("cache-control", "private"),
                    ("cdn-cache-control", "max-age=60, ]["),
                ],
                Err(Reason::Private),
            ),
            (
                NONE,
                200,
                &[("cache-control", "s-maxage=60; private")],
                Err(Reason::Private),
            ),
            // What forbids it, forbids it whatever else is said.
            (
                NONE,
                200,
                &[("cache-control", "private, max-age=60")],
                Err(Reason::Private),
            ),
            (
                NONE,
                200,
                &[("cache-control", "private=\"x\", public, s-maxage=60")],
                Err(Reason::Private),
            ),
            (
                NONE,
                200,
                &[("cache-control", "no-store, max-age=60")],
                Err(Reason::NoStore),
            ),
            (
                NONE,
                200,
                &[("cache-control", "no-cache, max-age=60")],
                Err(Reason::NoCache),
            ),
            (
                NONE,
                200,
                &[
                    ("cache-control", "max-age=60"),
                    ("cache-control", "no-store"),
                ],
                Err(Reason::NoStore),
            ),
            (
                NONE,
                200,
                &[
                    ("cache-control", "public, max-age=60"),
                    ("set-cookie", "a=1"),
                ],
                Err(Reason::SetCookie),
            ),
            (
                NONE,
                200,
                &[("surrogate-control", "max-age=60"), ("set-cookie", "a=1")],
                Err(Reason::SetCookie),
            ),
            (
                NONE,
                200,
                &[("cache-control", "public, max-age=60"), ("vary", "*")],
                Err(Reason::Vary),
            ),
            (
                NONE,
                200,
                &[
                    ("cache-control", "public, max-age=60"),
                    ("vary", "Accept, Cookie"),
                ],
                Err(Reason::Vary),
            ),
            (
                NONE,
                200,
                &[
                    ("cache-control", "public, max-age=60"),
                    ("vary", "Accept-Language"),
                ],
                Ok(60),
            ),
            // With a cookie only an explicit word will do.
            (COOKIE, 200, &[], Err(Reason::NoLifetime)),
            (
                COOKIE,
                200,
                &[("cache-control", "max-age=60")],
                Err(Reason::Cookie),
            ),
            (
                COOKIE,
                200,
                &[("cache-control", "must-revalidate, max-age=60")],
                Err(Reason::Cookie),
            ),
            (
                COOKIE,
                200,
                &[("expires", "Sun, 06 Nov 1994 08:50:37 GMT")],
                Err(Reason::Cookie),
            ),
            (
                COOKIE,
                200,
                &[("cache-control", "public, max-age=60")],
                Ok(60),
            ),
            (COOKIE, 200, &[("cache-control", "s-maxage=60")], Ok(60)),
            (COOKIE, 200, &[("surrogate-control", "max-age=60")], Ok(60)),
            (COOKIE, 200, &[("cdn-cache-control", "max-age=60")], Ok(60)),
            (
                COOKIE,
                200,
                &[
                    ("cache-control", "public, max-age=60"),
                    ("set-cookie", "a=1"),
                ],
                Err(Reason::SetCookie),
            ),
            // Authorization: RFC 9111 3.5.
            (
                BASIC,
                200,
                &[("cache-control", "max-age=60")],
                Err(Reason::Authorization),
            ),
            (
                BASIC,
                200,
                &[("cache-control", "public, max-age=60")],
                Ok(60),
            ),
            (BASIC, 200, &[("cache-control", "s-maxage=60")], Ok(60)),
            (
                BASIC,
                200,
                &[("cache-control", "must-revalidate, max-age=60")],
                Err(Reason::Authorization),
            ),
            (
                BASIC,
                200,
                &[("cache-control", "private, max-age=60")],
                Err(Reason::Private),
            ),
            // The asker may refuse too.
            (
                &[("cache-control", "no-store")],
                200,
                &[("cache-control", "max-age=60")],
                Err(Reason::RequestNoStore),
            ),
            (
                &[("cache-control", "no-cache")],
                200,
                &[("cache-control", "max-age=60")],
                Ok(60),
            ),
            (
                &[("range", "bytes=0-1")],
                200,
                &[("cache-control", "max-age=60")],
                Err(Reason::Request),
            ),
            // `content=` alone is no lifetime: the Cache-Control beside it stays in force.
            (
                NONE,
                200,
                &[
                    ("surrogate-control", "content=\"ESI/1.0\""),
                    ("cache-control", "private, no-cache"),
                ],
                Err(Reason::Private),
            ),
            (
                NONE,
                200,
                &[
                    ("surrogate-control", "no-store"),
                    ("cache-control", "public, max-age=60"),
                ],
                Err(Reason::NoStore),
            ),
            (
                NONE,
                200,
                &[
                    ("surrogate-control", "max-age=60"),
                    ("cache-control", "private"),
                ],
                Ok(60),
            ),
            (
                NONE,
                200,
                &[
                    ("cdn-cache-control", "private"),
                    ("cache-control", "public, max-age=60"),
                ],
                Err(Reason::Private),
            ),
        ];
        for (request, status, response, wanted) in rows {
            assert_eq!(
                verdict(request, *status, response),
                *wanted,
                "{request:?} {status} {response:?}"
            );
        }
    }

    #[test]
    fn only_get_is_shared() {
        let headers = map(&[("cache-control", "public, max-age=60")]);
        for method in [Method::HEAD, Method::POST, Method::PUT, Method::OPTIONS] {
            let answered = Answered {
                status: StatusCode::OK,
                headers: &headers,
                at: SystemTime::UNIX_EPOCH,
                delay: Duration::ZERO,
            };
            let verdict = judge(
                Asked {
                    method: &method,
                    headers: &HeaderMap::new(),
                    ttl: None,
                },
                answered,
            );
            assert_eq!(verdict, Verdict::Personal(Reason::Request), "{method}");
        }
    }
}
