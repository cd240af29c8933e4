//! `Cache-Status` (RFC 9211): how the cache treated the request, ours appended behind those of caches before us.

use std::fmt::Write as _;

use http::{HeaderValue, Method, StatusCode};

use crate::cache::storable::Reason;
use crate::observe::outcome::CacheUse;

/// What is told of one answer.
#[derive(Debug, Clone, Copy)]
pub struct Told {
    /// What the store had to do with it.
    pub cache: CacheUse,
    /// Seconds until it is stale, where it is in store; since when it is, below zero.
    pub ttl: Option<i64>,
    /// The status that the upstream gave, where it was asked.
    pub forwarded: Option<StatusCode>,
    /// Why it is not in store.
    pub personal: Option<Reason>,
}

/// The member for this gateway.
pub fn value(told: Told, method: &Method) -> Option<HeaderValue> {
    let mut text = String::with_capacity(64);
    text.push_str("marquetry");
    match told.cache {
        CacheUse::Hit | CacheUse::Stale => text.push_str("; hit"),
        CacheUse::Revalidated => text.push_str("; fwd=stale; fwd-status=304"),
        CacheUse::Coalesced => text.push_str("; fwd=uri-miss; collapsed"),
        CacheUse::Miss => text.push_str("; fwd=uri-miss"),
        CacheUse::HitForMiss => text.push_str("; fwd=uri-miss; detail=hit-for-miss"),
        CacheUse::Pass if *method == Method::GET || *method == Method::HEAD => {
            text.push_str("; fwd=bypass");
        }
        CacheUse::Pass => text.push_str("; fwd=method"),
    }
    let answered = text.ends_with("hit") || told.cache == CacheUse::Revalidated;
    if let (Some(status), false) = (told.forwarded, answered) {
        // Writing into a string cannot fail.
        let _ = write!(text, "; fwd-status={}", status.as_u16());
    }
    if let Some(ttl) = told.ttl {
        if !text.ends_with("hit") {
            text.push_str("; stored");
        }
        let _ = write!(text, "; ttl={ttl}");
    }
    if let (Some(reason), CacheUse::Miss) = (told.personal, told.cache) {
        let _ = write!(text, "; detail=\"{}\"", reason.as_str());
    }
    HeaderValue::from_str(&text).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hit_excludes_a_forward() {
        let told = |cache, ttl: Option<i64>, forwarded: Option<u16>, personal| Told {
            cache,
            ttl,
            forwarded: forwarded.map(|status| StatusCode::from_u16(status).expect("a status")),
            personal,
        };
        for (row, wanted) in [
            (
                told(CacheUse::Hit, Some(53), Some(200), None),
                "marquetry; hit; ttl=53",
            ),
            (
                told(CacheUse::Stale, Some(-7), Some(200), None),
                "marquetry; hit; ttl=-7",
            ),
            (
                told(CacheUse::Revalidated, Some(60), Some(200), None),
                "marquetry; fwd=stale; fwd-status=304; stored; ttl=60",
            ),
            (
                told(CacheUse::Miss, Some(60), Some(200), None),
                "marquetry; fwd=uri-miss; fwd-status=200; stored; ttl=60",
            ),
            (
                told(CacheUse::Coalesced, Some(60), None, None),
                "marquetry; fwd=uri-miss; collapsed; stored; ttl=60",
            ),
            (
                told(CacheUse::Pass, None, Some(404), None),
                "marquetry; fwd=bypass; fwd-status=404",
            ),
            (
                told(CacheUse::Miss, None, Some(200), Some(Reason::Private)),
                "marquetry; fwd=uri-miss; fwd-status=200; detail=\"it says private\"",
            ),
        ] {
            assert_eq!(value(row, &Method::GET).expect("it is a value"), wanted);
        }
    }
}
