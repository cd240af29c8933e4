//! Who may read the admin listener.
//!
//! Two questions, both answered before a path is looked at. Is the request meant for this listener, or did a browser come here
//! because a foreign name was made to point at it (DNS rebinding)? And does it carry the token, where there is one?

use std::fmt;
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::Path;

use http::{HeaderMap, HeaderName, HeaderValue, Uri, header};
use sha2::{Digest, Sha256};

/// Longest token file that is read, in bytes.
const MAX_TOKEN: u64 = 4096;

/// The bearer token that requests must carry, kept as its digest.
#[derive(Clone, PartialEq, Eq)]
pub struct Token([u8; 32]);

/// The token file is of no use.
#[derive(Debug, thiserror::Error)]
pub enum TokenError {
    /// It cannot be read.
    #[error("the token file cannot be read: {0}")]
    Read(#[from] io::Error),
    /// It is empty, or longer than a token may be.
    #[error("the token file must hold one token of 1 to {MAX_TOKEN} bytes")]
    Length,
    /// A token goes into a header.
    #[error("the token must be visible ASCII without spaces")]
    Character,
}

impl Token {
    /// The token of a file, less white space around it.
    pub fn read(path: &Path) -> Result<Self, TokenError> {
        if std::fs::metadata(path)?.len() > MAX_TOKEN {
            return Err(TokenError::Length);
        }
        let bytes = std::fs::read(path)?;
        let token = bytes.trim_ascii();
        if token.is_empty() {
            return Err(TokenError::Length);
        }
        if !token.iter().all(u8::is_ascii_graphic) {
            return Err(TokenError::Character);
        }
        Ok(Self::new(token))
    }

    /// This token.
    pub fn new(token: &[u8]) -> Self {
        Self(Sha256::digest(token).into())
    }

    /// Whether the headers carry it as `Authorization: Bearer TOKEN`. How long the answer takes tells nothing of the token: what
    /// is compared are digests, and all of their bytes.
    pub fn is_carried_by(&self, headers: &HeaderMap) -> bool {
        let mut given = headers.get_all(header::AUTHORIZATION).iter();
        let (Some(given), None) = (given.next(), given.next()) else {
            return false;
        };
        let Some((scheme, token)) = given.as_bytes().split_at_checked("Bearer ".len()) else {
            return false;
        };
        let Self(digest) = Self::new(token.trim_ascii());
        let difference = digest
            .iter()
            .zip(&self.0)
            .fold(0, |all, (a, b)| all | (a ^ b));
        scheme.eq_ignore_ascii_case(b"Bearer ") && std::hint::black_box(difference) == 0
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token(…)")
    }
}

/// Whether every host that the request names is one by which this listener is meant: its own address, this connection's, or
/// this machine to itself. A name that an attacker can point here is none of them. On a listener for all addresses any address
/// will do: a page that a browser loaded from an address came from there, and needs no rebinding.
pub fn is_meant(uri: &Uri, headers: &HeaderMap, listen: SocketAddr, local: Option<IpAddr>) -> bool {
    let in_uri = uri
        .authority()
        .map(|authority| authority.as_str().as_bytes());
    let in_headers = headers
        .get_all(header::HOST)
        .iter()
        .map(HeaderValue::as_bytes);
    let mut named = in_uri.into_iter().chain(in_headers).peekable();
    named.peek().is_some()
        && named.all(|host| {
            let host = std::str::from_utf8(host).ok().and_then(without_port);
            host.is_some_and(|host| is_ours(host, listen.ip(), local))
        })
}

/// Whether a request that changes something comes from no other site: where no token is asked for, a browser that is led here
/// is told apart by what it says of itself, and by the type that it sends only to those who let it.
pub fn is_own_doing(headers: &HeaderMap) -> bool {
    let text = |name: HeaderName| headers.get(name).map(HeaderValue::as_bytes);
    let json = text(header::CONTENT_TYPE).is_some_and(|line| {
        let media = line.split(|byte| *byte == b';').next().unwrap_or_default();
        media.trim_ascii().eq_ignore_ascii_case(b"application/json")
    });
    let fetched = text(HeaderName::from_static("sec-fetch-site"));
    let same_site = fetched.is_none_or(|site| site == b"same-origin");
    let origin = headers.get_all(header::ORIGIN).iter().all(|origin| {
        let host = text(header::HOST).unwrap_or_default();
        origin.as_bytes().strip_prefix(b"http://") == Some(host)
    });
    json && same_site && origin
}

fn is_ours(host: &str, listen: IpAddr, local: Option<IpAddr>) -> bool {
    if host.eq_ignore_ascii_case("localhost") {
        return true;
    }
    let bare = host
        .strip_prefix('[')
        .and_then(|rest| rest.strip_suffix(']'));
    let address = match bare {
        Some(bare) => bare.parse().ok().map(IpAddr::V6),
        None => host.parse::<Ipv4Addr>().ok().map(IpAddr::V4),
    };
    address
        .map(|address| address.to_canonical())
        .is_some_and(|address| {
            address.is_loopback()
                || listen.is_unspecified()
                || address == listen.to_canonical()
                || Some(address) == local.map(|local| local.to_canonical())
        })
}

/// The host of `host`, `host:port`, `[v6]`, `[v6]:port`; nothing for what is none of them.
fn without_port(authority: &str) -> Option<&str> {
    let end = if authority.starts_with('[') {
        authority.find(']')? + 1
    } else {
        authority.find(':').unwrap_or(authority.len())
    };
    let (host, port) = authority.split_at_checked(end)?;
    let is_port = |digits: &str| digits.bytes().all(|byte| byte.is_ascii_digit());
    let good = port.is_empty() || port.strip_prefix(':').is_some_and(is_port);
    good.then_some(host)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn meant(uri: &str, hosts: &[&str], listen: &str, local: Option<&str>) -> bool {
        let mut headers = HeaderMap::new();
        for host in hosts {
            headers.append("host", HeaderValue::from_str(host).unwrap());
        }
        let local = local.map(|local| local.parse().unwrap());
        is_meant(
            &uri.parse().unwrap(),
            &headers,
            listen.parse().unwrap(),
            local,
        )
    }

    #[test]
    fn what_changes_something_comes_from_no_other_site() {
        let json = ("content-type", "application/json");
        let rows: &[(&[(&'static str, &'static str)], bool)] = &[
            (&[json], true),
            (&[("content-type", "application/json; charset=utf-8")], true),
            (&[("content-type", "text/plain")], false),
            (&[], false),
            (&[json, ("origin", "http://127.0.0.1:9090")], true),
            (&[json, ("origin", "http://evil.example")], false),
            (&[json, ("origin", "https://127.0.0.1:9090")], false),
            (&[json, ("origin", "null")], false),
            (&[json, ("sec-fetch-site", "same-origin")], true),
            (&[json, ("sec-fetch-site", "cross-site")], false),
            (&[json, ("sec-fetch-site", "none")], false),
        ];
        for (fields, wanted) in rows {
            let mut headers = HeaderMap::new();
            headers.insert("host", HeaderValue::from_static("127.0.0.1:9090"));
            for (name, value) in *fields {
                headers.append(*name, HeaderValue::from_static(value));
            }
            assert_eq!(is_own_doing(&headers), *wanted, "{fields:?}");
        }
    }

    #[test]
    fn only_names_that_nobody_else_can_give_are_ours() {
        let rows = [
            ("127.0.0.1:9090", "127.0.0.1:9090", true),
            ("127.0.0.1:9090", "127.0.0.1", true),
            ("127.0.0.1:9090", "127.0.0.1:1234", true),
            ("127.0.0.1:9090", "localhost:9090", true),
            ("127.0.0.1:9090", "LocalHost", true),
            ("127.0.0.1:9090", "[::1]:9090", true),
            ("127.0.0.1:9090", "[::ffff:127.0.0.1]:9090", true),
            ("127.0.0.1:9090", "evil.example", false),
            ("127.0.0.1:9090", "evil.example:9090", false),
            ("127.0.0.1:9090", "localhost.evil.example", false),
            ("127.0.0.1:9090", "127.0.0.1.evil.example", false),
            ("127.0.0.1:9090", "localhost:9090@evil.example", false),
            ("127.0.0.1:9090", "10.0.0.1", false),
            ("127.0.0.1:9090", "", false),
            ("127.0.0.1:9090", "[::1", false),
            ("127.0.0.1:9090", "[::1]x", false),
            ("127.0.0.1:9090", "::1", false),
            ("127.0.0.1:9090", "127.1", false),
            ("127.0.0.1:9090", "127.0.0.1:x", false),
            ("10.0.0.1:9090", "10.0.0.1:9090", true),
            ("10.0.0.1:9090", "10.0.0.2:9090", false),
            ("[2001:db8::1]:9090", "[2001:db8::1]:9090", true),
            ("0.0.0.0:9090", "10.0.0.1:9090", true),
            ("[::]:9090", "10.0.0.1:9090", true),
            ("0.0.0.0:9090", "evil.example:9090", false),
        ];
        for (listen, host, ours) in rows {
            assert_eq!(
                meant("/", &[host], listen, None),
                ours,
                "{host} at {listen}"
            );
        }
    }

    #[test]
    fn the_address_of_the_connection_is_ours() {
        let at = |local| meant("/", &["192.0.2.1"], "127.0.0.1:9090", local);
        assert!(at(Some("192.0.2.1")));
        assert!(at(Some("::ffff:192.0.2.1")));
        assert!(!at(Some("192.0.2.2")));
    }

    #[test]
    fn every_host_that_is_named_counts() {
        let at = |uri, hosts: &[&str]| meant(uri, hosts, "127.0.0.1:9090", None);
        assert!(!at("/", &[]));
        assert!(at("http://localhost:9090/", &[]));
        assert!(!at("http://evil.example/", &["localhost"]));
        assert!(!at("http://localhost/", &["evil.example"]));
        assert!(!at("/", &["localhost", "evil.example"]));
    }

    #[test]
    fn a_token_is_carried_or_not() {
        let token = Token::new(b"right");
        let rows: [(&[&str], bool); 10] = [
            (&["Bearer right"], true),
            (&["bearer right"], true),
            (&["Bearer  right "], true),
            (&["Bearer wrong"], false),
            (&["Bearer righ"], false),
            (&["Bearer "], false),
            (&["Basic right"], false),
            (&["right"], false),
            (&["Bearer wrong", "Bearer right"], false),
            (&[], false),
        ];
        for (given, carried) in rows {
            let mut headers = HeaderMap::new();
            for value in given {
                headers.append("authorization", HeaderValue::from_static(value));
            }
            assert_eq!(token.is_carried_by(&headers), carried, "{given:?}");
        }
        assert_eq!(format!("{token:?}"), "Token(…)");
    }

    #[test]
    fn a_token_file_holds_one_token() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("token");
        let read = |content: &[u8]| {
            std::fs::write(&path, content).unwrap();
            Token::read(&path)
        };
        assert_eq!(read(b" right\n").unwrap(), Token::new(b"right"));
        assert!(matches!(read(b"\n"), Err(TokenError::Length)));
        assert!(matches!(read(b"two words"), Err(TokenError::Character)));
        assert!(matches!(read(&[b'x'; 5000]), Err(TokenError::Length)));
        assert!(matches!(
            Token::read(&folder.path().join("none")),
            Err(TokenError::Read(_))
        ));
    }
}
