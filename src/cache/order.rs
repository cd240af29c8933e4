//! What an operator wants purged, as it is handed from listeners and commands to the cache. Read once, checked once.

use serde::{Deserialize, Serialize};

/// The order. Everything that it names is purged.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Order {
    /// Absolute URLs, each with all its variants; `http` and `https` alike.
    pub urls: Vec<String>,
    /// Surrogate keys.
    pub keys: Vec<String>,
    /// What URLs begin with: `/path` on every host, `host/path`, or `scheme://host/path`.
    pub prefix: Option<String>,
    /// Everything.
    pub all: bool,
    /// Stale, instead of gone.
    pub soft: bool,
}

/// Why an order is not carried out.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum OrderError {
    /// It names nothing.
    #[error("nothing to purge: name `urls`, `keys`, a `prefix`, or say `\"all\": true`")]
    Nothing,
    /// Not an absolute URL.
    #[error("`{0}` is no URL that begins with http:// or https:// and a host")]
    Url(String),
    /// An empty key or prefix would be everything, or nothing.
    #[error("a key and a prefix hold at least one character; for everything say `\"all\": true`")]
    Empty,
}

/// An absolute URL in its parts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct UrlParts<'a> {
    /// `http` or `https`.
    pub scheme: &'a str,
    /// As written.
    pub host: &'a str,
    /// Path and query.
    pub target: &'a str,
}

impl Order {
    /// Whether it can be carried out.
    ///
    /// # Errors
    /// What is wrong with it; then nothing of it is done.
    pub fn check(&self) -> Result<(), OrderError> {
        if self.urls.is_empty() && self.keys.is_empty() && self.prefix.is_none() && !self.all {
            return Err(OrderError::Nothing);
        }
        if self.keys.iter().chain(&self.prefix).any(String::is_empty) {
            return Err(OrderError::Empty);
        }
        match self.urls.iter().find(|url| parts(url).is_none()) {
            Some(url) => Err(OrderError::Url(url.clone())),
            None => Ok(()),
        }
    }
}

/// The parts of `scheme://host/target`; without a target it is `/`.
pub fn parts(url: &str) -> Option<UrlParts<'_>> {
    let (scheme, rest) = url.split_once("://")?;
    let scheme = ["http", "https"]
        .into_iter()
        .find(|known| scheme.eq_ignore_ascii_case(known))?;
    let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    let (host, target) = rest.split_at(end);
    let target = target.split('#').next().unwrap_or_default();
    let target = if target.is_empty() { "/" } else { target };
    (!host.is_empty() && target.starts_with('/')).then_some(UrlParts {
        scheme,
        host,
        target,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_have_a_scheme_and_a_host() {
        let part = |scheme, host, target| {
            Some(UrlParts {
                scheme,
                host,
                target,
            })
        };
        for (url, wanted) in [
            ("http://a.example/x?y#z", part("http", "a.example", "/x?y")),
            ("HTTPS://a.example:81", part("https", "a.example:81", "/")),
            ("/x", None),
            ("http:///x", None),
            ("ftp://a/x", None),
            ("http://a?x", None),
            ("", None),
        ] {
            assert_eq!(parts(url), wanted, "{url}");
        }
    }

    #[test]
    fn an_order_names_something() {
        let order = |text| serde_json::from_str::<Order>(text).expect("a row is an order");
        for (text, wanted) in [
            ("{}", Err(OrderError::Nothing)),
            (r#"{"soft": true}"#, Err(OrderError::Nothing)),
            (r#"{"keys": [""]}"#, Err(OrderError::Empty)),
            (r#"{"prefix": ""}"#, Err(OrderError::Empty)),
            (r#"{"urls": ["/x"]}"#, Err(OrderError::Url("/x".to_owned()))),
            (r#"{"all": true}"#, Ok(())),
            (
                r#"{"urls": ["http://a/x"], "keys": ["k"], "prefix": "/x"}"#,
                Ok(()),
            ),
        ] {
            assert_eq!(order(text).check(), wanted, "{text}");
        }
        assert!(serde_json::from_str::<Order>(r#"{"key": ["x"]}"#).is_err());
    }
}
