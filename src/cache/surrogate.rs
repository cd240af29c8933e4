//! The labels of a response by which it can be purged together with others: `Surrogate-Key`, `xkey`, `Cache-Tag`,
//! `X-Cache-Tags`, `X-Magento-Tags` and `Cache-Groups` (RFC 9875). Pure functions from fields to names.

use http::header::HeaderName;
use http::{HeaderMap, HeaderValue};

use crate::cache::key::CacheKey;
use crate::message::structured::{self, Value};

/// `Cache-Groups` (RFC 9875 2).
pub const CACHE_GROUPS: HeaderName = HeaderName::from_static("cache-groups");
/// `Cache-Group-Invalidation` (RFC 9875 3).
pub const CACHE_GROUP_INVALIDATION: HeaderName =
    HeaderName::from_static("cache-group-invalidation");

/// The fields of keys, and what separates keys in them.
const FIELDS: [(HeaderName, &[u8]); 5] = [
    (HeaderName::from_static("surrogate-key"), b" \t"),
    (HeaderName::from_static("xkey"), b" \t,"),
    (HeaderName::from_static("cache-tag"), b","),
    (HeaderName::from_static("x-cache-tags"), b","),
    (HeaderName::from_static("x-magento-tags"), b","),
];

/// A longer key is ignored (Fastly ignores it likewise).
const LONGEST: usize = 1024;

/// More keys of one response are ignored.
const MOST: usize = 1024;

/// The surrogate keys of a response, as they are written, without those that stand twice.
pub fn keys(response: &HeaderMap) -> Vec<&str> {
    let mut keys = Vec::new();
    for (name, separators) in &FIELDS {
        for line in response.get_all(name) {
            keys.extend(split(line, separators));
        }
    }
    tidy(keys)
}

/// The keys of one line.
pub fn split<'a>(line: &'a HeaderValue, separators: &[u8]) -> impl Iterator<Item = &'a str> {
    let separators = separators.to_vec();
    line.as_bytes()
        .split(move |byte| separators.contains(byte))
        .map(<[u8]>::trim_ascii)
        .filter_map(|key| std::str::from_utf8(key).ok())
        .filter(|key| !key.is_empty() && key.len() <= LONGEST)
}

fn tidy(mut keys: Vec<&str>) -> Vec<&str> {
    keys.sort_unstable();
    keys.dedup();
    keys.truncate(MOST);
    keys
}

/// The groups that a field names: a List of Strings, else nothing.
pub fn groups(headers: &HeaderMap, field: &HeaderName) -> Vec<String> {
    if !headers.contains_key(field) {
        return Vec::new();
    }
    let members = structured::list(headers, field).unwrap_or_default();
    members
        .into_iter()
        .filter_map(|member| match member {
            Value::String(name) if name.len() <= LONGEST => Some(name),
            _ => None,
        })
        .take(MOST)
        .collect()
}

/// The label of a key.
pub fn of_key(key: &str) -> String {
    format!("k{key}")
}

/// The label of a group: groups belong to the origin of the URL (RFC 9875 2.1).
pub fn of_group(url: &CacheKey, group: &str) -> String {
    format!("g{}\n{group}", url.origin())
}

/// The label of all copies of a URL whose keys hold cookies besides.
pub fn of_url(url: &str) -> String {
    format!("u{url}")
}

/// All labels of a response to `url`. A group can also be purged by its name as a key.
pub fn labels(url: &CacheKey, response: &HeaderMap) -> Vec<String> {
    let mut labels: Vec<String> = keys(response).into_iter().map(of_key).collect();
    for group in groups(response, &CACHE_GROUPS) {
        labels.push(of_key(&group));
        labels.push(of_group(url, &group));
    }
    if url.has_cookies() {
        labels.push(of_url(url.url()));
    }
    labels.sort_unstable();
    labels.dedup();
    labels
}

#[cfg(test)]
mod tests {
    use super::*;

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
    fn each_field_has_its_own_separators() {
        let rows: &[(&[(&'static str, &'static str)], &[&str])] = &[
            (&[("surrogate-key", "b a  b")], &["a", "b"]),
            (&[("surrogate-key", "a,b")], &["a,b"]),
            (&[("xkey", "a b, c"), ("xkey", "d")], &["a", "b", "c", "d"]),
            (&[("cache-tag", "a b, c")], &["a b", "c"]),
            (
                &[("x-cache-tags", "a,b"), ("x-magento-tags", "cat_p_1,")],
                &["a", "b", "cat_p_1"],
            ),
            (&[("surrogate-key", " ")], &[]),
        ];
        for (headers, wanted) in rows {
            assert_eq!(keys(&map(headers)), *wanted, "{headers:?}");
        }
    }

    #[test]
    fn groups_are_strings_of_their_origin() {
        let response = map(&[("cache-groups", "\"a\", b, \"c d\"")]);
        assert_eq!(groups(&response, &CACHE_GROUPS), ["a", "c d"]);
        assert!(groups(&map(&[("cache-groups", "\"a\" \"b\"")]), &CACHE_GROUPS).is_empty());
        let here = CacheKey::new("http", "a.example", "/x");
        let there = CacheKey::new("http", "b.example", "/x");
        assert_ne!(of_group(&here, "a"), of_group(&there, "a"));
    }
}
