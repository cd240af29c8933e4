//! Purges: by `PURGE` on the main listeners, from those who may, and by orders of the admin listener.

use http::header::{CACHE_CONTROL, CONTENT_TYPE, HeaderMap, HeaderValue};

use crate::cache::Purge;
use crate::cache::key::CacheKey;
use crate::cache::order::{self, Order};
use crate::cache::surrogate;
use crate::gateway::Gateway;
use crate::gateway::cache_policy::counted;
use crate::gateway::visit::{Visit, without_default_port};
use crate::message::{Body, Response};

/// Fields of `PURGE` that name keys, what separates keys in them, and whether the field itself says soft.
const KEYS: [(&str, &[u8], bool); 6] = [
    ("surrogate-key", b" \t", false),
    ("xkey", b" \t,", false),
    ("xkey-purge", b" \t,", false),
    ("xkey-softpurge", b" \t,", true),
    ("cache-tag", b",", false),
    ("x-cache-tags", b",", false),
];

impl Gateway {
    /// Whether this request is a purge by somebody who may; from others PURGE is a method like any unknown one.
    pub(super) fn is_purge(&self, visit: &Visit) -> bool {
        visit.method.as_str() == "PURGE"
            && self
                .purge_from
                .iter()
                .any(|network| network.contains(visit.client))
    }

    /// Carries out a `PURGE`: of the keys that it names, else of its URL.
    pub(super) fn purge_for(&self, visit: &Visit) -> Response {
        let asked = &visit.client_headers;
        let soft = says_soft(asked);
        let mut purged = 0;
        let mut named = false;
        for (key, soft_field) in keys(asked) {
            named = true;
            purged += self.cache().purge(Purge::Key(&key), soft || soft_field);
        }
        match magento(asked) {
            Some(Magento::All) => {
                named = true;
                purged += self.cache().purge(Purge::All, soft);
            }
            Some(Magento::Tags(tags)) => {
                named = true;
                for tag in tags {
                    purged += self.cache().purge(Purge::Key(&tag), soft);
                }
            }
            None => {}
        }
        if !named {
            let target = self.counted(&visit.host, visit.target());
            purged = self.purge_key(&visit.key(&visit.host, &target), soft);
        }
        tracing::info!(client = %visit.client, host = %visit.host, path = visit.path(), by_key = named, soft, purged, "purged");
        answer(purged)
    }

    /// Carries out an order that has been checked; how many stored objects that hit.
    pub fn purge(&self, order: &Order) -> u64 {
        let cache = self.cache();
        let mut purged = 0;
        for url in order.urls.iter().filter_map(|url| order::parts(url)) {
            let host = without_default_port(url.host, url.scheme).to_ascii_lowercase();
            let target = self.counted(&host, url.target);
            purged += self.purge_key(&CacheKey::new(url.scheme, &host, &target), order.soft);
        }
        for key in &order.keys {
            purged += cache.purge(Purge::Key(key), order.soft);
        }
        if let Some(prefix) = &order.prefix {
            purged += cache.purge(Purge::Prefix(prefix), order.soft);
        }
        if order.all {
            purged += cache.purge(Purge::All, order.soft);
        }
        tracing::info!(
            urls = order.urls.len(),
            keys = order.keys.len(),
            prefix = order.prefix,
            all = order.all,
            soft = order.soft,
            purged,
            "purged"
        );
        purged
    }

    /// A URL is purged by whichever scheme it is named.
    fn purge_key(&self, key: &CacheKey, soft: bool) -> u64 {
        let other = key.other_scheme();
        self.cache().purge(Purge::Url(key), soft) + self.cache().purge(Purge::Url(&other), soft)
    }

    /// The target as it is in the key: without what its route ignores.
    fn counted(&self, host: &str, target: &str) -> String {
        let path = target.split('?').next().unwrap_or_default();
        let route = self.routes.find(host, path);
        route.map_or_else(
            || target.to_owned(),
            |route| counted(target, &route.config).into_owned(),
        )
    }
}

fn says_soft(asked: &HeaderMap) -> bool {
    ["soft-purge", "fastly-soft-purge"]
        .iter()
        .any(|name| asked.get(*name).is_some_and(|value| value == "1"))
}

fn keys(asked: &HeaderMap) -> Vec<(String, bool)> {
    let mut keys = Vec::new();
    for (name, separators, soft) in KEYS {
        for line in asked.get_all(name) {
            // What tag-aware clients write as an expression: (a|b)(,.+)?$
            let alternatives = line.to_str().ok().and_then(alternatives);
            if let Some(tags) = alternatives.filter(|_| name == "x-cache-tags") {
                keys.extend(tags.into_iter().map(|tag| (tag, soft)));
            } else {
                let split = surrogate::split(line, separators);
                keys.extend(split.map(|key| (key.to_owned(), soft)));
            }
        }
    }
    keys
}

/// The words of `(a|b|c)(,.+)?$`, as `FOSHttpCache` writes them.
fn alternatives(line: &str) -> Option<Vec<String>> {
    let inner = line.strip_prefix('(')?.strip_suffix(")(,.+)?$")?;
    Some(
        inner
            .split('|')
            .filter(|tag| !tag.is_empty())
            .map(unescaped)
            .collect(),
    )
}

/// What `X-Magento-Tags-Pattern` wants: everything, or these tags.
#[derive(Debug, PartialEq, Eq)]
enum Magento {
    All,
    Tags(Vec<String>),
}

/// Reads `((^|,)cat_p_1(,|$))|((^|,)cat_c_2(,|$))` or `.*`, which is what Magento writes; other expressions name nothing.
fn magento(asked: &HeaderMap) -> Option<Magento> {
    let pattern = asked.get("x-magento-tags-pattern")?.to_str().ok()?.trim();
    if pattern == ".*" {
        return Some(Magento::All);
    }
    let tags = pattern.split("|((^|,)").map(|part| {
        let part = part.strip_prefix("((^|,)").unwrap_or(part);
        part.strip_suffix("(,|$))").unwrap_or(part)
    });
    Some(Magento::Tags(
        tags.filter(|tag| !tag.is_empty()).map(unescaped).collect(),
    ))
}

/// A word of an expression, taken as it is meant.
fn unescaped(word: &str) -> String {
    word.replace('\\', "")
}

fn answer(purged: u64) -> Response {
    let mut response = Response::new(Body::full(format!("{{\"purged\":{purged}}}\n")));
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::HeaderName;

    fn map(name: &'static str, value: &'static str) -> HeaderMap {
        let field = (
            HeaderName::from_static(name),
            HeaderValue::from_static(value),
        );
        [field].into_iter().collect()
    }

    #[test]
    fn keys_are_read_from_each_field() {
        for (name, value, wanted) in [
            ("surrogate-key", "a b", vec![("a", false), ("b", false)]),
            ("xkey-purge", "a, b", vec![("a", false), ("b", false)]),
            ("xkey-softpurge", "a", vec![("a", true)]),
            ("x-cache-tags", "a b,c", vec![("a b", false), ("c", false)]),
            (
                "x-cache-tags",
                "(a|b\\-1)(,.+)?$",
                vec![("a", false), ("b-1", false)],
            ),
            ("x-other", "a", vec![]),
        ] {
            let read = keys(&map(name, value));
            let read: Vec<_> = read
                .iter()
                .map(|(key, soft)| (key.as_str(), *soft))
                .collect();
            assert_eq!(read, wanted, "{name}: {value}");
        }
    }

    #[test]
    fn magento_writes_expressions() {
        let tags = |tags: &[&str]| {
            Some(Magento::Tags(
                tags.iter().map(|&tag| tag.to_owned()).collect(),
            ))
        };
        for (value, wanted) in [
            (".*", Some(Magento::All)),
            ("((^|,)cat_p_1(,|$))", tags(&["cat_p_1"])),
            (
                "((^|,)cat_p_1(,|$))|((^|,)cms_b(,|$))",
                tags(&["cat_p_1", "cms_b"]),
            ),
        ] {
            assert_eq!(
                magento(&map("x-magento-tags-pattern", value)),
                wanted,
                "{value}"
            );
        }
        assert_eq!(magento(&HeaderMap::new()), None);
    }
}
