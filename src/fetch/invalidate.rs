//! What a request that changes something takes out of the store (RFC 9111 4.4, RFC 9875 3).

use http::StatusCode;
use http::header::{CONTENT_LOCATION, HeaderMap, LOCATION};

use crate::cache::key::CacheKey;
use crate::cache::surrogate::{self, CACHE_GROUP_INVALIDATION};
use crate::cache::{Cache, Purge};

/// A request of an unsafe or unknown method was carried out: its URL, those beside it that the answer names, and the groups
/// that it names are good no more. Done before anybody is given the answer; fetches that began before fill nothing afterwards.
pub fn after(cache: &Cache, key: &CacheKey, status: StatusCode, answer: &HeaderMap) {
    if !status.is_success() && !status.is_redirection() {
        return;
    }
    cache.purge(Purge::Url(key), false);
    for name in [LOCATION, CONTENT_LOCATION] {
        let reference = answer.get(name).and_then(|value| value.to_str().ok());
        if let Some(beside) = reference.and_then(|reference| key.beside(reference)) {
            cache.purge(Purge::Url(&beside), false);
        }
    }
    for group in surrogate::groups(answer, &CACHE_GROUP_INVALIDATION) {
        cache.purge(Purge::Group(key, &group), false);
    }
}
