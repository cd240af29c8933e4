//! How long a response is fresh and how old it is (RFC 9111 4.2, RFC 5861): pure functions, the clocks passed in.
//!
//! [`Times`] is what is left of a response's terms once it is stored: a few integers, from which a hit is decided without
//! reading a field or asking for memory.

use std::time::{Duration, SystemTime};

use http::header::{AGE, LAST_MODIFIED};
use http::{HeaderMap, StatusCode};

use crate::cache::terms::{Terms, made};
use crate::message::cache_control::delta_seconds;
use crate::message::date;

/// The longest lifetime that a guess may give (RFC 9111 4.2.2 leaves it to the cache; others take a day, too).
const LONGEST_GUESS: Duration = Duration::from_secs(86_400);

/// The times of a stored response, in milliseconds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Times {
    /// Its age when it came.
    age: u64,
    /// From its making.
    lifetime: u64,
    /// Past its lifetime.
    stale_while_revalidate: u64,
    /// Past its lifetime.
    stale_if_error: u64,
    /// `no-cache`: each use is asked for.
    ask_always: bool,
    /// Without a good answer of the origin it is not used at all.
    must_revalidate: bool,
}

/// What a stored response may be used for at one moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Freshness {
    /// It answers by itself.
    Fresh,
    /// It answers, and the origin is asked behind it.
    WhileRevalidating,
    /// It answers only after the origin has been asked; and should that fail, where its terms allow.
    Expired,
}

/// What the route gives responses that do not say for themselves. Prohibitions of the response win over all of it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Defaults {
    /// `stale_while_revalidate` of the route.
    pub stale_while_revalidate: Duration,
    /// `stale_if_error` of the route.
    pub stale_if_error: Duration,
    /// `heuristic_freshness` of the route.
    pub heuristic: bool,
}

impl Times {
    /// The times of a response by its terms; `age` when it came, `lifetime` as it was decided.
    pub fn new(terms: &Terms, defaults: Defaults, age: Duration, lifetime: Duration) -> Self {
        // A silent response may be given grace; s-maxage and the like are words against it.
        let silent = |said: Option<Duration>, default: Duration| match said {
            Some(said) => said,
            None if terms.forbids_stale() => Duration::ZERO,
            None => default,
        };
        Self {
            age: milliseconds(age),
            lifetime: milliseconds(lifetime),
            stale_while_revalidate: milliseconds(silent(
                terms.stale_while_revalidate,
                defaults.stale_while_revalidate,
            )),
            stale_if_error: milliseconds(silent(terms.stale_if_error, defaults.stale_if_error)),
            ask_always: terms.no_cache,
            must_revalidate: terms.forbids_stale(),
        }
    }

    /// Its age after it has been here for `resident` (RFC 9111 4.2.3).
    pub fn age(&self, resident: Duration) -> Duration {
        Duration::from_millis(self.age.saturating_add(milliseconds(resident)))
    }

    /// How long it is fresh from its making.
    pub fn lifetime(&self) -> Duration {
        Duration::from_millis(self.lifetime)
    }

    /// How long past its lifetime it may be used while it is asked for anew, and how long where the upstream fails.
    pub fn grace(&self) -> (Duration, Duration) {
        (
            Duration::from_millis(self.stale_while_revalidate),
            Duration::from_millis(self.stale_if_error),
        )
    }

    /// What it may be used for after it has been here for `resident`; `ended`: it was made stale from outside when it had
    /// been here for that long. Fresh means that the lifetime is greater than the age (RFC 9111 4.2).
    pub fn freshness(&self, resident: Duration, ended: Option<Duration>) -> Freshness {
        let (past, fresh) = self.past(resident, ended);
        if fresh && !self.ask_always {
            Freshness::Fresh
        } else if !self.ask_always && past < self.stale_while_revalidate {
            Freshness::WhileRevalidating
        } else {
            Freshness::Expired
        }
    }

    /// Whether it may be used although the origin gave no good answer.
    pub fn covers_errors(&self, resident: Duration, ended: Option<Duration>) -> bool {
        let (past, fresh) = self.past(resident, ended);
        !self.ask_always && (fresh || past < self.stale_if_error)
    }

    /// Whether, without a good answer of the origin, it must not be used (504).
    pub fn must_revalidate(&self) -> bool {
        self.must_revalidate
    }

    /// Whether no use of it goes without asking the origin first.
    pub fn is_never_fresh(&self) -> bool {
        self.ask_always || self.lifetime == 0
    }

    /// How long it may be of use from its arrival, asking the origin aside.
    pub fn useful(&self) -> Duration {
        let grace = self.stale_while_revalidate.max(self.stale_if_error);
        Duration::from_millis(self.lifetime.saturating_sub(self.age).saturating_add(grace))
    }

    /// How long past its lifetime, and whether it is still within.
    fn past(&self, resident: Duration, ended: Option<Duration>) -> (u64, bool) {
        let age = self.age.saturating_add(milliseconds(resident));
        let end = ended.map_or(u64::MAX, |ended| {
            self.age.saturating_add(milliseconds(ended))
        });
        let end = self.lifetime.min(end);
        (age.saturating_sub(end), end > age)
    }
}

fn milliseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// A guess at the lifetime of a response that does not say: a tenth of the time since it was last changed (RFC 9111 4.2.2).
/// Only statuses that are cacheable by default, or `public`, are guessed for.
pub fn guess(
    status: StatusCode,
    headers: &HeaderMap,
    terms: &Terms,
    now: SystemTime,
) -> Option<Duration> {
    let by_default = matches!(
        status.as_u16(),
        200 | 203 | 204 | 300 | 301 | 308 | 404 | 405 | 410 | 414 | 501
    );
    let never = matches!(status.as_u16(), 201 | 202 | 403 | 502 | 503 | 504);
    if never || !(by_default || terms.public) {
        return None;
    }
    let modified = date::parse(headers.get(LAST_MODIFIED)?.as_bytes())?;
    let since = made(headers).unwrap_or(now).duration_since(modified).ok()?;
    Some((since / 10).min(LONGEST_GUESS))
}

/// How old a response was when it came at `now`, after a request that took `delay` (RFC 9111 4.2.3).
pub fn initial_age(headers: &HeaderMap, now: SystemTime, delay: Duration) -> Duration {
    let apparent = made(headers)
        .and_then(|made| now.duration_since(made).ok())
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
    use http::header::HeaderName;
    use proptest::prelude::*;

    /// Sun, 06 Nov 1994 08:49:37 GMT.
    fn now() -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_secs(784_111_777)
    }

    fn map(rows: &[(&'static str, &str)]) -> HeaderMap {
        let mut map = HeaderMap::new();
        for (name, value) in rows {
            map.append(
                HeaderName::from_static(name),
                HeaderValue::from_str(value).expect("a row is a value"),
            );
        }
        map
    }

    fn times(line: &'static str, age: u64) -> Times {
        let headers = map(&[("cache-control", line)]);
        let terms = Terms::read(&headers, now());
        let lifetime = terms.lifetime.unwrap_or_default();
        let defaults = Defaults {
            stale_while_revalidate: Duration::from_secs(5),
            stale_if_error: Duration::from_secs(7),
            heuristic: false,
        };
        Times::new(&terms, defaults, Duration::from_secs(age), lifetime)
    }

    /// For how many seconds it is fresh, served while it is asked for, and served on errors.
    fn spans(times: &Times) -> (u64, u64, u64) {
        let count = |holds: &dyn Fn(Duration) -> bool| {
            (0..200)
                .filter(|at| holds(Duration::from_secs(*at)))
                .count() as u64
        };
        let state = |at| times.freshness(at, None);
        (
            count(&|at| state(at) == Freshness::Fresh),
            count(&|at| state(at) == Freshness::WhileRevalidating),
            count(&|at| times.covers_errors(at, None) && state(at) != Freshness::Fresh),
        )
    }

    #[test]
    fn prohibitions_win_over_every_leave() {
        for (line, age, wanted) in [
            ("max-age=60", 0, (60, 5, 7)),
            ("max-age=60", 50, (10, 5, 7)),
            (
                "max-age=60, stale-while-revalidate=10, stale-if-error=20",
                0,
                (60, 10, 20),
            ),
            (
                "max-age=60, stale-while-revalidate=0, stale-if-error=0",
                0,
                (60, 0, 0),
            ),
            ("max-age=60, must-revalidate", 0, (60, 0, 0)),
            ("max-age=60, proxy-revalidate", 0, (60, 0, 0)),
            (
                "max-age=60, must-revalidate, stale-while-revalidate=9, stale-if-error=9",
                0,
                (60, 0, 0),
            ),
            ("s-maxage=60", 0, (60, 0, 0)),
            (
                "s-maxage=60, stale-while-revalidate=10, stale-if-error=20",
                0,
                (60, 10, 0),
            ),
            (
                "s-maxage=60, must-revalidate, stale-while-revalidate=10",
                0,
                (60, 0, 0),
            ),
            (
                "max-age=60, no-cache, stale-while-revalidate=10",
                0,
                (0, 0, 0),
            ),
            ("max-age=0, stale-while-revalidate=10", 0, (0, 10, 7)),
        ] {
            assert_eq!(spans(&times(line, age)), wanted, "{line}");
        }
    }

    #[test]
    fn a_guess_is_a_tenth_and_a_day_at_most() {
        let rows: &[(u16, &str, bool, Option<u64>)] = &[
            (200, "Sun, 06 Nov 1994 08:32:57 GMT", false, Some(100)),
            (200, "Sun, 06 Nov 1984 08:32:57 GMT", false, Some(86_400)),
            (200, "Sun, 06 Nov 2004 08:32:57 GMT", false, None),
            (200, "never", false, None),
            (404, "Sun, 06 Nov 1994 08:32:57 GMT", false, Some(100)),
            (302, "Sun, 06 Nov 1994 08:32:57 GMT", false, None),
            (302, "Sun, 06 Nov 1994 08:32:57 GMT", true, Some(100)),
            (503, "Sun, 06 Nov 1994 08:32:57 GMT", true, None),
        ];
        for (status, modified, public, wanted) in rows {
            let headers = map(&[("last-modified", modified)]);
            let terms = Terms {
                public: *public,
                ..Terms::default()
            };
            let status = StatusCode::from_u16(*status).expect("a status");
            let guessed = guess(status, &headers, &terms, now());
            assert_eq!(
                guessed,
                wanted.map(Duration::from_secs),
                "{status} {modified}"
            );
        }
    }

    proptest! {
        /// What is stale does not become fresh by waiting, and age only grows.
        #[test]
        fn freshness_only_falls(
            age in 0_u64..1000,
            lifetime in 0_u64..1000,
            grace in 0_u64..100,
            ended in proptest::option::of(0_u64..500),
            moments in proptest::collection::vec(0_u64..3000, 2..20),
        ) {
            let terms = Terms {
                stale_while_revalidate: Some(Duration::from_secs(grace)),
                stale_if_error: Some(Duration::from_secs(grace)),
                ..Terms::default()
            };
            let (age, lifetime) = (Duration::from_secs(age), Duration::from_secs(lifetime));
            let times = Times::new(&terms, Defaults::default(), age, lifetime);
            let mut moments = moments;
            moments.sort_unstable();
            let rank = |at: u64| {
                let at = Duration::from_secs(at);
                match times.freshness(at, ended.map(Duration::from_secs)) {
                    Freshness::Fresh => 0,
                    Freshness::WhileRevalidating => 1,
                    Freshness::Expired => 2,
                }
            };
            for pair in moments.windows(2) {
                prop_assert!(rank(pair[0]) <= rank(pair[1]));
                prop_assert!(times.age(Duration::from_secs(pair[0])) <= times.age(Duration::from_secs(pair[1])));
            }
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
