//! The address that load is sent to, and the request lines for it.

use std::net::{SocketAddr, ToSocketAddrs};

/// A server under load.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    /// As it was given.
    pub url: String,
    /// The value of `Host`.
    pub authority: String,
    /// Where connections go to.
    pub address: SocketAddr,
    /// Path and query.
    pub path: String,
}

/// What cannot be a target.
#[derive(Debug, thiserror::Error)]
pub enum TargetError {
    /// Another scheme, or none.
    #[error(
        "`{0}` is no URL to measure; accepted: http://host[:port][/path] (https is not spoken here)"
    )]
    Scheme(String),
    /// The host has no address.
    #[error("`{url}`: no address for `{authority}`: {source}")]
    Address {
        /// The whole URL.
        url: String,
        /// Host and port.
        authority: String,
        /// What the look-up said.
        source: std::io::Error,
    },
    /// Characters that no request line may hold.
    #[error(
        "`{0}` holds a space, a control character or what is no ASCII; write it percent-encoded"
    )]
    Characters(String),
    /// A listed URL that leads elsewhere.
    #[error("`{line}` is on another host than {authority}: one run measures one server")]
    Elsewhere {
        /// The line of the list.
        line: String,
        /// The host of the target.
        authority: String,
    },
}

impl Target {
    /// Reads a URL and looks up its address.
    ///
    /// # Errors
    /// What is no `http` URL, or has no address.
    pub fn parse(url: &str) -> Result<Self, TargetError> {
        let (authority, path) = split(url)?;
        let with_port =
            if authority.rsplit(':').next().is_some_and(is_port) && !authority.ends_with(']') {
                authority.to_owned()
            } else {
                format!("{authority}:80")
            };
        let found = with_port.to_socket_addrs().and_then(|mut found| {
            found
                .next()
                .ok_or_else(|| std::io::Error::other("none known"))
        });
        let address = found.map_err(|source| TargetError::Address {
            url: url.to_owned(),
            authority: authority.to_owned(),
            source,
        })?;
        Ok(Self {
            url: url.to_owned(),
            authority: authority.to_owned(),
            address,
            path: path.to_owned(),
        })
    }

    /// The paths of a list of URLs or paths, one a line; empty lines and those that begin with `#` are skipped.
    ///
    /// # Errors
    /// A URL of another host, or what no request line may hold.
    pub fn paths(&self, list: &str) -> Result<Vec<String>, TargetError> {
        let lines = list.lines().map(str::trim);
        lines
            .filter(|line| !line.is_empty() && !line.starts_with('#'))
            .map(|line| {
                if line.starts_with('/') {
                    return legible(line).map(str::to_owned);
                }
                let (authority, path) = split(line)?;
                if authority.eq_ignore_ascii_case(&self.authority) {
                    return Ok(path.to_owned());
                }
                Err(TargetError::Elsewhere {
                    line: line.to_owned(),
                    authority: self.authority.clone(),
                })
            })
            .collect()
    }
}

fn is_port(text: &str) -> bool {
    text.parse::<u16>().is_ok()
}

/// Authority, and path with query.
fn split(url: &str) -> Result<(&str, &str), TargetError> {
    let url = legible(url)?;
    let scheme = || TargetError::Scheme(url.to_owned());
    let (word, rest) = url.split_once("://").ok_or_else(scheme)?;
    if !word.eq_ignore_ascii_case("http") {
        return Err(scheme());
    }
    let rest = rest.split('#').next().unwrap_or_default();
    let (authority, path) = match rest.find(['/', '?']) {
        Some(at) => rest.split_at(at),
        None => (rest, "/"),
    };
    if authority.is_empty() || authority.contains('@') || !path.starts_with('/') {
        return Err(scheme());
    }
    Ok((authority, path))
}

fn legible(text: &str) -> Result<&str, TargetError> {
    if text.bytes().all(|byte| byte.is_ascii_graphic()) {
        Ok(text)
    } else {
        Err(TargetError::Characters(text.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_are_taken_apart() {
        for (url, authority, address, path) in [
            (
                "http://127.0.0.1:81/a?b=c#d",
                "127.0.0.1:81",
                "127.0.0.1:81",
                "/a?b=c",
            ),
            ("HTTP://127.0.0.1", "127.0.0.1", "127.0.0.1:80", "/"),
            ("http://[::1]/x", "[::1]", "[::1]:80", "/x"),
            ("http://[::1]:8080", "[::1]:8080", "[::1]:8080", "/"),
        ] {
            let target = Target::parse(url).expect(url);
            assert_eq!(target.authority, authority);
            assert_eq!(target.address.to_string(), address);
            assert_eq!(target.path, path);
        }
        for url in [
            "127.0.0.1:80",
            "https://127.0.0.1/",
            "http:///x",
            "http://u@127.0.0.1/",
            "http://127.0.0.1/a b",
            "http://127.0.0.1?x",
        ] {
            assert!(Target::parse(url).is_err(), "{url}");
        }
    }

    #[test]
    fn lists_hold_paths_and_urls_of_this_host() {
        let target = Target::parse("http://127.0.0.1:81/").expect("a target");
        let paths = target
            .paths("# pages\n/a\n\n http://127.0.0.1:81/b?c \n")
            .expect("a list");
        assert_eq!(paths, ["/a", "/b?c"]);
        assert!(target.paths("http://127.0.0.1:82/b").is_err());
        assert!(target.paths("/a\u{e4}").is_err());
    }
}
