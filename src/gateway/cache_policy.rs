//! What a route and a visit mean for the cache: under which key a request is looked up, and how the cache may be used for it.

use crate::cache::freshness::Defaults;
use crate::cache::key::{CacheKey, Fields};
use crate::config::{Heed, RouteConfig};
use crate::fetch::Policy;
use crate::gateway::visit::Visit;
use crate::message::cache_control::RequestControl;
use crate::message::cookie;

/// The key of a URL for a request that goes upstream with these fields; and whether it tells all cookies among them.
pub fn key(
    visit: &Visit,
    route: &RouteConfig,
    host: &str,
    target: &str,
    fields: &dyn Fields,
) -> (CacheKey, bool) {
    let key = if route.ignore_query.is_empty() {
        visit.key(host, target)
    } else {
        visit.key(host, &without_ignored(target, &route.ignore_query))
    };
    if route.key_cookies.is_empty() {
        return (key, false);
    }
    let fields = fields.all();
    let mut counted: Vec<u8> = Vec::new();
    for wanted in &route.key_cookies {
        let pairs = cookie::pairs(fields).filter(|(name, _)| *name == wanted.as_bytes());
        for (name, value) in pairs {
            counted.extend_from_slice(name);
            counted.push(b'=');
            counted.extend_from_slice(value);
            counted.push(b';');
        }
    }
    let keyed = cookie::pairs(fields)
        .all(|(name, _)| route.key_cookies.iter().any(|key| key.as_bytes() == name));
    (key.with_cookies(&counted), keyed)
}

/// A target less the parameters that do not count. What is left stays as it is written, in its order.
pub fn without_ignored(target: &str, ignored: &[String]) -> String {
    let Some((path, query)) = target.split_once('?') else {
        return target.to_owned();
    };
    let counts = |parameter: &&str| {
        let name = parameter.split('=').next().unwrap_or_default();
        !ignored
            .iter()
            .any(|ignored| match ignored.strip_suffix('*') {
                Some(prefix) => name.starts_with(prefix),
                None => name == ignored,
            })
    };
    let kept: Vec<&str> = query.split('&').filter(counts).collect();
    if kept.is_empty() {
        return path.to_owned();
    }
    format!("{path}?{}", kept.join("&"))
}

/// How the cache may be used for a request of this visit by this route.
pub fn policy(visit: &Visit, route: &RouteConfig, keyed: bool) -> Policy {
    Policy {
        cacheable: route.cache,
        keyed,
        stale: !visit.logged_in || route.stale_for_sessions,
        whole: false,
        defaults: Defaults {
            stale_while_revalidate: route.stale_while_revalidate,
            stale_if_error: route.stale_if_error,
            heuristic: route.heuristic_freshness,
        },
        control: control(visit, route.request_cache_control),
    }
}

/// What the client asks of caches. From anybody it would let everybody go past the cache to the upstream.
fn control(visit: &Visit, heed: Heed) -> RequestControl {
    let heeded = match heed {
        Heed::Nobody => false,
        Heed::Surrogates => visit.is_surrogate(),
        Heed::Everybody => true,
    };
    if heeded {
        RequestControl::read(&visit.client_headers)
    } else {
        RequestControl::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_ignored_leaves_the_rest_as_it_is_written() {
        let ignored = ["utm_*".to_owned(), "fbclid".to_owned()];
        for (target, wanted) in [
            ("/a", "/a"),
            ("/a?x=1&y=2", "/a?x=1&y=2"),
            ("/a?utm_source=x", "/a"),
            (
                "/a?y=2&utm_source=x&x=1&fbclid=1&UTM_x=1",
                "/a?y=2&x=1&UTM_x=1",
            ),
            ("/a?fbclid", "/a"),
            ("/a?fbclid2=1&z=utm_source", "/a?fbclid2=1&z=utm_source"),
            ("/a?", "/a?"),
        ] {
            assert_eq!(without_ignored(target, &ignored), wanted, "{target}");
        }
    }
}
