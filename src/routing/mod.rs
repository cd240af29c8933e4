//! Host and path lead to what serves them; the most specific wins. No I/O, no upstreams: the table holds whatever it was given.

use crate::config::pattern::{HostPattern, PathPattern};

/// The table of routes, most specific first.
#[derive(Debug)]
pub struct Router<T>(Vec<Entry<T>>);

#[derive(Debug)]
struct Entry<T> {
    host: HostPattern,
    path: PathPattern,
    target: T,
}

impl<T> Router<T> {
    /// A table of these routes; of two that are equally specific the earlier one wins.
    pub fn new(routes: impl IntoIterator<Item = (HostPattern, PathPattern, T)>) -> Self {
        let mut entries: Vec<_> = routes
            .into_iter()
            .map(|(host, path, target)| Entry { host, path, target })
            .collect();
        // The sort is stable: of two that are equally specific the earlier one stays first.
        entries.sort_by_key(|entry| std::cmp::Reverse(entry.specificity()));
        Self(entries)
    }

    /// What serves this host (lower case, a port is passed over) and this path (without query); `None`: nothing does.
    pub fn find(&self, host: &str, path: &str) -> Option<&T> {
        let host = without_port(host);
        self.0
            .iter()
            .find(|entry| entry.host.matches(host) && entry.path.matches(path))
            .map(|entry| &entry.target)
    }

    /// All of them, most specific first.
    pub fn iter(&self) -> impl Iterator<Item = &T> {
        self.0.iter().map(|entry| &entry.target)
    }
}

impl<T> Entry<T> {
    /// An exact host before a wildcard before none, a longer one before a shorter; then the longer path. A prefix at a segment
    /// border is more specific than the same text with any continuation.
    fn specificity(&self) -> (u8, usize, usize, bool) {
        let (kind, length) = match &self.host {
            HostPattern::Exact(host) => (2, host.len()),
            HostPattern::Suffix(suffix) => (1, suffix.len()),
            HostPattern::Any => (0, 0),
        };
        (
            kind,
            length,
            self.path.specificity(),
            matches!(self.path, PathPattern::Segment(_)),
        )
    }
}

/// The host without its port; an IPv6 address keeps its brackets.
pub fn without_port(host: &str) -> &str {
    match memchr::memrchr(b':', host.as_bytes()) {
        Some(colon) if !host[colon..].contains(']') => &host[..colon],
        _ => host,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn router(routes: &[(&'static str, &'static str)]) -> Router<String> {
        Router::new(routes.iter().map(|(host, path)| {
            let pattern = if host.is_empty() {
                Some(HostPattern::Any)
            } else {
                HostPattern::parse(host)
            };
            let path_pattern = PathPattern::parse(path).expect("a row's path is a pattern");
            (
                pattern.expect("a row's host is a pattern"),
                path_pattern,
                format!("{host}{path}"),
            )
        }))
    }

    #[test]
    fn the_most_specific_route_wins_whatever_the_order() {
        let routes = [
            ("", "/"),
            ("", "/shop"),
            ("", "/shop/new/"),
            ("", "/@@tile-*"),
            ("*.example.com", "/"),
            ("*.shop.example.com", "/"),
            ("www.example.com", "/a"),
        ];
        let rows = [
            ("other", "/", Some("/")),
            ("other", "/shop", Some("/shop")),
            ("other", "/shop/x", Some("/shop")),
            ("other", "/shopping", Some("/")),
            ("other", "/shop/new/x", Some("/shop/new/")),
            ("other", "/@@tile-x", Some("/@@tile-*")),
            ("a.example.com", "/shop", Some("*.example.com/")),
            ("a.shop.example.com:8080", "/", Some("*.shop.example.com/")),
            ("www.example.com", "/a/b", Some("www.example.com/a")),
            ("www.example.com", "/b", Some("*.example.com/")),
            ("[::1]:80", "/", Some("/")),
        ];
        let mut reversed = routes;
        reversed.reverse();
        for table in [router(&routes), router(&reversed)] {
            for (host, path, wanted) in rows {
                assert_eq!(
                    table.find(host, path).map(String::as_str),
                    wanted,
                    "{host} {path}"
                );
            }
        }
        assert_eq!(router(&[("a", "/")]).find("b", "/"), None);
    }
}
