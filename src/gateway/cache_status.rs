//! `Cache-Status` (RFC 9211): how the cache treated the request, ours appended behind those of caches before us. Of a composed page
//! it tells of the skeleton; its fragments are in `Server-Timing`.

use std::fmt::Write as _;

use http::{HeaderValue, Method, StatusCode};

use crate::cache::key::CacheKey;
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

/// The member for this gateway; `key` is shown where it is given.
pub fn value(told: Told, method: &Method, key: Option<&CacheKey>) -> Option<HeaderValue> {
    let mut text = String::with_capacity(64);
    text.push_str("marquetry");
    let status = told.forwarded.map(|status| status.as_u16());
    // Writing into a string cannot fail.
    let mut forwarded = |why: &str, status: Option<u16>| {
        let _ = write!(text, "; fwd={why}");
        if let Some(status) = status {
            let _ = write!(text, "; fwd-status={status}");
        }
    };
    let mut detail = None;
    match told.cache {
        CacheUse::Hit | CacheUse::Stale => text.push_str("; hit"),
        // Which answer it was that this one stands in for is not told; it may have been none.
        CacheUse::Covered => {
            forwarded("stale", None);
            detail = Some("stale-if-error");
        }
        CacheUse::Revalidated(why) => forwarded(why.as_str(), Some(304)),
        CacheUse::Coalesced(why) => {
            forwarded(why.as_str(), None);
            text.push_str("; collapsed");
        }
        CacheUse::Miss(why) => forwarded(why.as_str(), status),
        CacheUse::HitForMiss => {
            forwarded("miss", status);
            detail = Some("hit-for-miss");
        }
        CacheUse::Pass => {
            let safe = *method == Method::GET || *method == Method::HEAD;
            forwarded(if safe { "bypass" } else { "method" }, status);
        }
    }
    if let Some(ttl) = told.ttl {
        let fetched = matches!(
            told.cache,
            CacheUse::Miss(_) | CacheUse::Revalidated(_) | CacheUse::HitForMiss
        );
        if fetched {
            text.push_str("; stored");
        }
        let _ = write!(text, "; ttl={ttl}");
    }
    if let (Some(reason), CacheUse::Miss(_)) = (told.personal, told.cache) {
        let _ = write!(text, "; detail=\"{}\"", reason.as_str());
    } else if let Some(detail) = detail {
        let _ = write!(text, "; detail={detail}");
    }
    if let Some(key) = key {
        // The values of cookies that are part of a key are nobody's business.
        let url = key.url().replace('\\', "\\\\").replace('"', "\\\"");
        let _ = write!(text, "; key=\"{url}\"");
    }
    HeaderValue::from_str(&text).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::observe::outcome::Why;

    #[test]
    fn a_hit_excludes_a_forward() {
        let told = |cache, ttl: Option<i64>, forwarded: Option<u16>, personal| Told {
            cache,
            ttl,
            forwarded: forwarded.map(|status| StatusCode::from_u16(status).expect("a status")),
            personal,
        };
        let miss = |why| CacheUse::Miss(why);
        let rows = [
            (
                told(CacheUse::Hit, Some(53), Some(200), None),
                "hit; ttl=53",
            ),
            (
                told(CacheUse::Stale, Some(-7), Some(200), None),
                "hit; ttl=-7",
            ),
            (
                told(CacheUse::Covered, Some(-7), Some(200), None),
                "fwd=stale; ttl=-7; detail=stale-if-error",
            ),
            (
                told(CacheUse::Revalidated(Why::Stale), Some(60), Some(200), None),
                "fwd=stale; fwd-status=304; stored; ttl=60",
            ),
            (
                told(
                    CacheUse::Revalidated(Why::Request),
                    Some(60),
                    Some(200),
                    None,
                ),
                "fwd=request; fwd-status=304; stored; ttl=60",
            ),
            (
                told(miss(Why::UriMiss), Some(60), Some(200), None),
                "fwd=uri-miss; fwd-status=200; stored; ttl=60",
            ),
            (
                told(miss(Why::VaryMiss), Some(60), Some(200), None),
                "fwd=vary-miss; fwd-status=200; stored; ttl=60",
            ),
            (
                told(miss(Why::Stale), None, Some(404), Some(Reason::NoStore)),
                "fwd=stale; fwd-status=404; detail=\"it says no-store\"",
            ),
            (
                told(CacheUse::Coalesced(Why::Stale), Some(60), Some(200), None),
                "fwd=stale; collapsed; ttl=60",
            ),
            (
                told(CacheUse::HitForMiss, None, Some(200), Some(Reason::Private)),
                "fwd=miss; fwd-status=200; detail=hit-for-miss",
            ),
            (
                told(CacheUse::Pass, None, Some(404), None),
                "fwd=bypass; fwd-status=404",
            ),
            (
                told(miss(Why::Miss), None, Some(200), Some(Reason::Cookie)),
                "fwd=miss; fwd-status=200; detail=\"the request had Cookie and it says neither public, s-maxage nor a lifetime for \
                 surrogates\"",
            ),
        ];
        for (row, wanted) in rows {
            let told = value(row, &Method::GET, None).expect("it is a value");
            assert_eq!(told, format!("marquetry; {wanted}"));
        }
        let posted = told(CacheUse::Pass, None, Some(200), None);
        let told = value(posted, &Method::POST, None).expect("it is a value");
        assert_eq!(told, "marquetry; fwd=method; fwd-status=200");
    }

    #[test]
    fn a_key_is_told_without_its_cookies() {
        let told = Told {
            cache: CacheUse::Hit,
            ttl: None,
            forwarded: None,
            personal: None,
        };
        let key = CacheKey::new("http", "a.example", "/x?y=\"z\\").with_cookies(b"group=secret;");
        let told = value(told, &Method::GET, Some(&key)).expect("it is a value");
        assert_eq!(told, r#"marquetry; hit; key="http://a.example/x?y=\"z\\""#);
    }
}
