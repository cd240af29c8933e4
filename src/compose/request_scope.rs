//! A client's request -> what expressions may know of it.

use std::net::IpAddr;

use bytes::Bytes;
use http::header::HOST;
use http::{HeaderMap, Method, Uri};

use crate::expr::RequestFacts;
use crate::message::cookie;

/// Which cookies templates may read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ReadableCookies {
    /// All but those that make a session.
    AllBut(Vec<String>),
    /// Only these.
    Only(Vec<String>),
}

impl ReadableCookies {
    /// By `compose.readable_cookies` and `identity.session_cookies`.
    pub fn new(readable: Option<&[String]>, session: &[String]) -> Self {
        match readable {
            Some(names) => Self::Only(names.to_vec()),
            None => Self::AllBut(session.to_vec()),
        }
    }

    fn allow(&self, name: &[u8]) -> bool {
        let named = |names: &[String]| names.iter().any(|known| known.as_bytes() == name);
        match self {
            Self::AllBut(names) => !named(names),
            Self::Only(names) => named(names),
        }
    }
}

/// The facts of a request: its head as the client sent it, before anything was taken away or added on the way upstream; of the
/// target, path and query.
pub fn facts(
    method: &Method,
    target: &Uri,
    headers: &HeaderMap,
    client: IpAddr,
    readable: &ReadableCookies,
) -> RequestFacts {
    let copy = Bytes::copy_from_slice;
    let hidden = [
        http::header::COOKIE,
        http::header::AUTHORIZATION,
        http::header::PROXY_AUTHORIZATION,
        HOST,
    ];
    RequestFacts {
        method: copy(method.as_str().as_bytes()),
        path: copy(target.path().as_bytes()),
        query: copy(target.query().unwrap_or_default().as_bytes()),
        host: headers
            .get(HOST)
            .map(|host| copy(host.as_bytes()))
            .unwrap_or_default(),
        remote_addr: client.to_string().into(),
        headers: headers
            .iter()
            .filter(|(name, _)| !hidden.contains(name))
            .map(|(name, value)| (copy(name.as_str().as_bytes()), copy(value.as_bytes())))
            .collect(),
        cookies: cookie::pairs(headers)
            .filter(|(name, _)| readable.allow(name))
            .map(|(name, value)| (copy(name), copy(value)))
            .collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn session_cookies_and_credentials_are_not_shown() {
        let (head, ()) = http::Request::builder()
            .uri("/a/b?c=d")
            .header("Host", "www.example.com")
            .header("Cookie", "sid=secret; lang=de")
            .header("Authorization", "Basic secret")
            .header("X-Region", "eu")
            .body(())
            .expect("a request")
            .into_parts();
        let readable = ReadableCookies::new(None, &["sid".to_owned()]);
        let client = IpAddr::from([127, 0, 0, 1]);
        let facts = facts(&head.method, &head.uri, &head.headers, client, &readable);
        assert_eq!(
            (&facts.path[..], &facts.query[..], &facts.host[..]),
            (&b"/a/b"[..], &b"c=d"[..], &b"www.example.com"[..])
        );
        assert_eq!(facts.cookies, [("lang".into(), "de".into())]);
        assert_eq!(facts.headers, [("x-region".into(), "eu".into())]);
        assert!(!format!("{facts:?}").contains("secret"));
        let only = ReadableCookies::new(Some(&["sid".to_owned()]), &["sid".to_owned()]);
        assert!(
            only.allow(b"sid") && !only.allow(b"lang"),
            "naming a session cookie shows it"
        );
    }
}
