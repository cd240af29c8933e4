//! What a route and a visit mean for the cache: under which key a request is looked up, and how the cache may be used for it.

use std::borrow::Cow;

use http::{Method, Uri};

use crate::cache::freshness::Defaults;
use crate::cache::key::{CacheKey, Fields};
use crate::config::{Heed, RouteConfig};
use crate::fetch::Policy;
use crate::gateway::visit::Visit;
use crate::message::cache_control::RequestControl;
use crate::message::cookie;

/// What a key tells of the cookies that a request carries upstream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Keyed {
    /// Nothing, or of some of them.
    Partly,
    /// All of them.
    Fully,
    /// They are written so that the application may read others in them than we do: nothing is stored or taken from store by it.
    Unsure,
}

/// The key of a URL for a request that goes upstream with these fields; and what it tells of their cookies.
pub fn key(
    visit: &Visit,
    route: &RouteConfig,
    host: &str,
    target: &str,
    fields: &dyn Fields,
) -> (CacheKey, Keyed) {
    let key = visit.key(host, &counted(target, route));
    if route.key_cookies.is_empty() {
        return (key, Keyed::Partly);
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
    let is_told = |name: &[u8]| route.key_cookies.iter().any(|key| key.as_bytes() == name);
    let told = if !cookie::are_plain(fields) {
        Keyed::Unsure
    } else if cookie::pairs(fields).all(|(name, _)| is_told(name)) {
        Keyed::Fully
    } else {
        Keyed::Partly
    };
    (key.with_cookies(&counted), told)
}

/// A target as it stands in the key: less the parameters that do not count, and in the order of their names where the route says
/// so. What is left stays as it is written; parameters of one name keep their order.
pub fn counted<'t>(target: &'t str, route: &RouteConfig) -> Cow<'t, str> {
    let ignored = &route.ignore_query;
    if ignored.is_empty() && !route.sort_query {
        return Cow::Borrowed(target);
    }
    let Some((path, query)) = target.split_once('?') else {
        return Cow::Borrowed(target);
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
    let mut kept: Vec<&str> = query.split('&').filter(counts).collect();
    if kept.is_empty() {
        return Cow::Borrowed(path);
    }
    if route.sort_query {
        kept.sort_by_key(|parameter| parameter.split('=').next());
    }
    Cow::Owned(format!("{path}?{}", kept.join("&")))
}

/// A target as it goes upstream. What is not in the key must not shape an answer that the key names: an application that shows
/// an ignored parameter, or reads one where we read none (`utm_x=1;lang=de`), would have one asker's stored for all.
pub fn sent<'t>(method: &Method, target: &'t str, route: &RouteConfig) -> Cow<'t, str> {
    if route.cache && matches!(*method, Method::GET | Method::HEAD) {
        counted(target, route)
    } else {
        Cow::Borrowed(target)
    }
}

/// The same for the page that a visit asks for.
pub fn uri(visit: &Visit, route: &RouteConfig) -> Uri {
    let target = visit.target();
    let sent = sent(&visit.method, target, route);
    if sent == target {
        return visit.uri.clone();
    }
    // Parameters of a target, some of them left out, are a target.
    sent.parse().unwrap_or_else(|_| visit.uri.clone())
}

/// How the cache may be used for a request of this visit by this route.
pub fn policy(visit: &Visit, route: &RouteConfig, told: Keyed) -> Policy {
    Policy {
        cacheable: route.cache && told != Keyed::Unsure,
        keyed: told == Keyed::Fully,
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
        let mut route = RouteConfig::new("app");
        assert_eq!(counted("/a?utm_x=1&a", &route), "/a?utm_x=1&a");
        route.ignore_query = vec!["utm_*".to_owned(), "fbclid".to_owned()];
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
            assert_eq!(counted(target, &route), wanted, "{target}");
        }
        route.sort_query = true;
        for (target, wanted) in [
            ("/a?b=1&a=2&utm_x=3", "/a?a=2&b=1"),
            ("/a?b=2&a&b=1&a=1", "/a?a&a=1&b=2&b=1"),
            ("/a", "/a"),
        ] {
            assert_eq!(counted(target, &route), wanted, "{target}");
        }
    }
}
