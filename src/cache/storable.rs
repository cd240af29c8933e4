//! May a response be stored, and may it be shared (RFC 9111 3)? The privacy rule lives here alone.
//!
//! One user must never see what belongs to another. So sharing is opt-in: a response is shared only when it says so explicitly
//! (`public`, `s-maxage`, a lifetime in a field for surrogates), or when the request went upstream without `Cookie` and `Authorization` and it has
//! a lifetime. Everything else is personal. Coalescing asks this function too, before anybody else gets the answer.
//!
//! Some of what is shared is stored to be asked for each time it is used: `no-cache`, or no lifetime left, with a validator.

use std::time::{Duration, SystemTime};

use http::header::{AUTHORIZATION, CACHE_CONTROL, ETAG, LAST_MODIFIED, RANGE, SET_COOKIE};
use http::{HeaderMap, HeaderName, Method, StatusCode};

use crate::cache::freshness::{self, Defaults, Times};
use crate::cache::key::{Asker, VaryRule};
use crate::cache::terms::Terms;
use crate::message::cache_control::{RequestControl, withheld};

/// The request as it went upstream.
#[derive(Debug, Clone, Copy)]
pub struct Asked<'a> {
    /// Its method.
    pub method: &'a Method,
    /// Its fields, and whether the key tells its cookies.
    pub asker: Asker<'a>,
    /// A lifetime that the asker gives the response in place of its own (the `ttl` of an include). It makes nothing shared
    /// that would be personal.
    pub ttl: Option<Duration>,
    /// What the route gives responses that do not say for themselves.
    pub defaults: Defaults,
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
    /// Everybody whose request fits may have it, as its times allow.
    Share(Grant),
    /// Only its asker may have it.
    Personal(Reason),
}

/// The terms of sharing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Grant {
    /// The fields that tell its variants apart.
    pub vary: Vec<HeaderName>,
    /// How long it is fresh, and what it is good for then.
    pub times: Times,
    /// It says itself that everybody may have it; else only requests without cookies may.
    pub explicit: bool,
    /// Fields that are its asker's alone and not stored.
    pub withheld: Vec<HeaderName>,
}

impl Grant {
    /// Nothing is granted: nobody is served by it, and it is stored nowhere.
    pub fn none() -> Self {
        Self {
            vary: Vec::new(),
            times: Times::default(),
            explicit: false,
            withheld: Vec::new(),
        }
    }
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
    /// `must-understand` with a status that we do not know.
    NotUnderstood,
    /// `Set-Cookie`.
    SetCookie,
    /// `no-store`.
    NoStore,
    /// `private`.
    Private,
    /// `no-cache`.
    NoCache,
    /// `Vary: *`, `Cookie`, `Authorization` or `User-Agent`.
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
    /// Whether this one request decides it, and so nothing is said of what others are given.
    pub fn is_of_request(self) -> bool {
        matches!(self, Self::Request | Self::RequestNoStore | Self::Status)
    }

    /// In words, with the field that decided.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Request => "not a plain GET",
            Self::RequestNoStore => "the request says no-store",
            Self::Status => "its status is not stored",
            Self::NotUnderstood => "it says must-understand and its status is unknown",
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
    is_storable_request(asked)?;
    let (asker, headers) = (asked.asker, answered.headers);
    let terms = Terms::read(headers, answered.at);
    is_storable_status(answered.status, &terms)?;
    let withheld = if terms.withholds {
        withheld(headers)
    } else {
        Vec::new()
    };
    if headers.contains_key(SET_COOKIE) && !withheld.contains(&SET_COOKIE) {
        return Err(Reason::SetCookie);
    }
    if terms.no_store && !terms.must_understand {
        return Err(Reason::NoStore);
    }
    if terms.private {
        return Err(Reason::Private);
    }
    let has_validator = headers.contains_key(ETAG) || headers.contains_key(LAST_MODIFIED);
    // Each use asks the origin; but whether its validator tells users apart only the origin knows, so nobody with credentials
    // takes part.
    if terms.no_cache && (!has_validator || asker.has_credentials()) {
        return Err(Reason::NoCache);
    }
    let VaryRule::Fields(vary) = VaryRule::read(headers, asker.keyed) else {
        return Err(Reason::Vary);
    };
    // What varies by cookies that the key tells is for those alone whose every cookie it tells.
    let by_cookie = asker.keyed && VaryRule::read(headers, false) == VaryRule::Personal;
    let times = times(asked, answered, &terms)?;
    let expired = times.age(Duration::ZERO) >= times.lifetime();
    if expired && !has_validator && times.useful() == Duration::ZERO {
        return Err(Reason::Expired);
    }
    if asker.fields.all().contains_key(AUTHORIZATION) && !terms.shared {
        return Err(Reason::Authorization);
    }
    if asker.has_cookies() && !terms.shared {
        return Err(Reason::Cookie);
    }
    Ok(Grant {
        vary,
        times,
        explicit: terms.shared && !terms.no_cache && !by_cookie,
        withheld,
    })
}

/// A plain GET that does not forbid it.
fn is_storable_request(asked: Asked<'_>) -> Result<(), Reason> {
    let fields = asked.asker.fields.all();
    if *asked.method != Method::GET || fields.contains_key(RANGE) {
        return Err(Reason::Request);
    }
    if fields.contains_key(CACHE_CONTROL) && RequestControl::read(fields).no_store {
        return Err(Reason::RequestNoStore);
    }
    Ok(())
}

/// Any final status but those that answer something in this one request (RFC 9111 3).
fn is_storable_status(status: StatusCode, terms: &Terms) -> Result<(), Reason> {
    if status.is_informational() || speaks_of_the_request(status) {
        return Err(Reason::Status);
    }
    // The registered ones have a name.
    if terms.must_understand && status.canonical_reason().is_none() {
        return Err(Reason::NotUnderstood);
    }
    Ok(())
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

/// Age and lifetime. A response that does not say how long it is fresh may be guessed at where the route wants it, but never
/// one that a cookie may have shaped.
fn times(asked: Asked<'_>, answered: Answered<'_>, terms: &Terms) -> Result<Times, Reason> {
    if let Some(ttl) = asked.ttl {
        return Ok(Times::new(terms, asked.defaults, Duration::ZERO, ttl));
    }
    let (status, headers) = (answered.status, answered.headers);
    let age = freshness::initial_age(headers, answered.at, answered.delay);
    let guessed = || {
        let may = asked.defaults.heuristic && !asked.asker.has_cookies();
        may.then(|| freshness::guess(status, headers, terms, answered.at))
            .flatten()
    };
    let asks_always = terms.no_cache.then_some(Duration::ZERO);
    let lifetime = terms.lifetime.or_else(guessed).or(asks_always);
    let lifetime = lifetime.ok_or(Reason::NoLifetime)?;
    Ok(Times::new(terms, asked.defaults, age, lifetime))
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
                asker: Asker::new(&asked),
                ttl: None,
                defaults: Defaults::default(),
            },
            answered,
        )
        .map(|grant| grant.times.lifetime().as_secs())
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
                &[("cache-control", "private=x, public, s-maxage=60")],
                Err(Reason::Private),
            ),
            // A quoted list of fields keeps these out of the store, and the rest is as it says.
            (
                NONE,
                200,
                &[("cache-control", "private=\"x\", public, s-maxage=60")],
                Ok(60),
            ),
            (
                NONE,
                200,
                &[("cache-control", "private=\"x\""), ("set-cookie", "a=1")],
                Err(Reason::SetCookie),
            ),
            (
                NONE,
                200,
                &[
                    ("cache-control", "no-cache=\"Set-Cookie\", max-age=60"),
                    ("set-cookie", "a=1"),
                ],
                Ok(60),
            ),
            // With a validator it is stored to be asked for, but not where credentials went along.
            (
                NONE,
                200,
                &[("cache-control", "no-cache"), ("etag", "\"a\"")],
                Ok(0),
            ),
            (
                COOKIE,
                200,
                &[("cache-control", "public, no-cache"), ("etag", "\"a\"")],
                Err(Reason::NoCache),
            ),
            (
                BASIC,
                200,
                &[("cache-control", "public, no-cache"), ("etag", "\"a\"")],
                Err(Reason::NoCache),
            ),
            (
                COOKIE,
                200,
                &[("cache-control", "max-age=0"), ("etag", "\"a\"")],
                Err(Reason::Cookie),
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
                    asker: Asker::new(&HeaderMap::new()),
                    ttl: None,
                    defaults: Defaults::default(),
                },
                answered,
            );
            assert_eq!(verdict, Verdict::Personal(Reason::Request), "{method}");
        }
    }
}
