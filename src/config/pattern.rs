//! Hosts, paths, networks and server addresses as the configuration names them: parsed once, never re-checked.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;

/// Which hosts a route answers, compared in lower case and without port.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum HostPattern {
    /// Left out in the file: every host.
    Any,
    /// Exactly this one.
    Exact(String),
    /// `*.example.com`: every host that ends in the text (`.example.com`) with at least one label before it.
    Suffix(String),
}

impl HostPattern {
    /// Reads `www.example.com` or `*.example.com`; `None` when it is no host name, address or wildcard.
    pub fn parse(text: &str) -> Option<Self> {
        let lower = text.to_ascii_lowercase();
        if let Some(rest) = lower.strip_prefix("*.") {
            return is_host_name(rest).then(|| Self::Suffix(format!(".{rest}")));
        }
        let is_address = lower.starts_with('[')
            && lower.ends_with(']')
            && lower[1..lower.len() - 1]
                .parse::<std::net::Ipv6Addr>()
                .is_ok();
        (is_host_name(&lower) || is_address).then_some(Self::Exact(lower))
    }

    /// Whether `host` (lower case, no port) is meant.
    pub fn matches(&self, host: &str) -> bool {
        match self {
            Self::Any => true,
            Self::Exact(name) => name == host,
            Self::Suffix(suffix) => host.len() > suffix.len() && host.ends_with(suffix.as_str()),
        }
    }
}

fn is_host_name(text: &str) -> bool {
    !text.is_empty()
        && text.len() <= 253
        && text.split('.').all(|label| {
            !label.is_empty()
                && label.len() <= 63
                && label
                    .bytes()
                    .all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
        })
}

/// Which paths a route answers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PathPattern {
    /// A prefix at a segment border: `/shop` means `/shop` and `/shop/…`, `/shop/` means `/shop/…`.
    Segment(String),
    /// A trailing `*` in the file: any continuation of the text before it.
    Continuation(String),
}

impl PathPattern {
    /// The pattern `/`: every path.
    pub fn root() -> Self {
        Self::Segment("/".to_owned())
    }

    /// Reads `/shop`, `/shop/` or `/@@tile-*`; `None` when it does not start with `/`, has a `*` elsewhere, a query, a fragment,
    /// white space or a control character.
    pub fn parse(text: &str) -> Option<Self> {
        let (prefix, continuation) = match text.strip_suffix('*') {
            Some(prefix) => (prefix, true),
            None => (text, false),
        };
        let clean = prefix.starts_with('/')
            && prefix
                .bytes()
                .all(|b| b.is_ascii_graphic() && !matches!(b, b'*' | b'?' | b'#'));
        clean.then(|| {
            if continuation {
                Self::Continuation(prefix.to_owned())
            } else {
                Self::Segment(prefix.to_owned())
            }
        })
    }

    /// Whether `path` (as it goes upstream, without query) is meant.
    pub fn matches(&self, path: &str) -> bool {
        match self {
            Self::Continuation(prefix) => path.starts_with(prefix.as_str()),
            Self::Segment(prefix) => path.strip_prefix(prefix.as_str()).is_some_and(|rest| {
                rest.is_empty() || prefix.ends_with('/') || rest.starts_with('/')
            }),
        }
    }

    /// How many bytes it fixes: the longer, the more specific.
    pub fn specificity(&self) -> usize {
        match self {
            Self::Segment(prefix) | Self::Continuation(prefix) => prefix.len(),
        }
    }
}

/// A network in CIDR form; a bare address is a network of one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Network {
    address: IpAddr,
    prefix: u8,
}

impl Network {
    /// Reads `10.0.0.0/8`, `::1/128` or `127.0.0.1`; `None` when it is neither, or the prefix is too long.
    pub fn parse(text: &str) -> Option<Self> {
        let (address, prefix) = match text.split_once('/') {
            Some((address, prefix)) => (
                address.parse::<IpAddr>().ok()?,
                Some(prefix.parse::<u8>().ok()?),
            ),
            None => (text.parse::<IpAddr>().ok()?, None),
        };
        let longest = if address.is_ipv4() { 32 } else { 128 };
        let prefix = prefix.unwrap_or(longest);
        (prefix <= longest).then_some(Self { address, prefix })
    }

    /// Whether every address of its family lies in it.
    pub fn is_everything(&self) -> bool {
        self.prefix == 0
    }

    /// Whether `address` lies in it; an IPv4 address that arrives mapped into IPv6 counts as IPv4.
    pub fn contains(&self, address: IpAddr) -> bool {
        match (self.address, address.to_canonical()) {
            (IpAddr::V4(network), IpAddr::V4(address)) => {
                let shift = 32 - u32::from(self.prefix);
                let (network, address) = (u32::from(network), u32::from(address));
                shift == 32 || network >> shift == address >> shift
            }
            (IpAddr::V6(network), IpAddr::V6(address)) => {
                let shift = 128 - u32::from(self.prefix);
                let (network, address) = (u128::from(network), u128::from(address));
                shift == 128 || network >> shift == address >> shift
            }
            _ => false,
        }
    }
}

/// Where a server of an upstream listens.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum ServerAddress {
    /// An IP address and port.
    Socket(SocketAddr),
    /// A host name and port, resolved when a connection is made.
    Name {
        /// The name, lower case.
        host: String,
        /// The port.
        port: u16,
    },
    /// A Unix socket.
    Unix(PathBuf),
}

impl ServerAddress {
    /// Reads `127.0.0.1:8110`, `[::1]:8110`, `app.internal:8080` or `unix:/run/app.sock`; ports are spelled out before
    /// ([`file`](crate::config::file) reads `8110-8113`).
    pub fn parse(text: &str) -> Option<Self> {
        if let Some(path) = text.strip_prefix("unix:") {
            return path
                .starts_with('/')
                .then(|| Self::Unix(PathBuf::from(path)));
        }
        if let Ok(address) = text.parse::<SocketAddr>() {
            return (address.port() != 0).then_some(Self::Socket(address));
        }
        let (host, port) = text.rsplit_once(':')?;
        let port: u16 = port.parse().ok()?;
        let host = host.to_ascii_lowercase();
        // A name of digits and dots alone is a mistyped address.
        let named = is_host_name(&host) && host.bytes().any(|b| b.is_ascii_alphabetic());
        (port != 0 && named).then_some(Self::Name { host, port })
    }
}

impl fmt::Display for ServerAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Socket(address) => address.fmt(f),
            Self::Name { host, port } => write!(f, "{host}:{port}"),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_prefix_ends_at_a_segment_border() {
        for (pattern, path, wanted) in [
            ("/", "/", true),
            ("/", "/any/thing", true),
            ("/shop", "/shop", true),
            ("/shop", "/shop/a", true),
            ("/shop", "/shopping", false),
            ("/shop/", "/shop/a", true),
            ("/shop/", "/shop", false),
            ("/@@tile-*", "/@@tile-news", true),
            ("/@@tile-*", "/@@tile-", true),
            ("/@@tile-*", "/@@tile", false),
        ] {
            let pattern = PathPattern::parse(pattern).expect("a row's pattern is a pattern");
            assert_eq!(pattern.matches(path), wanted, "{pattern:?} {path}");
        }
        for text in ["", "shop", "/a*b", "/a?b", "/a b", "/a#b", "*"] {
            assert_eq!(PathPattern::parse(text), None, "{text}");
        }
    }

    #[test]
    fn a_wildcard_needs_a_label_of_its_own() {
        let pattern = HostPattern::parse("*.Example.com").expect("a wildcard");
        assert!(pattern.matches("www.example.com") && pattern.matches("a.b.example.com"));
        assert!(
            !pattern.matches("example.com")
                && !pattern.matches("badexample.com")
                && !pattern.matches(".example.com")
        );
        for text in ["", "*", "*.", "a.*.b", "a b", "a/b", "a:80", "-.-/"] {
            assert_eq!(HostPattern::parse(text), None, "{text}");
        }
    }

    #[test]
    fn networks_hold_their_addresses_alone() {
        for (network, address, wanted) in [
            ("127.0.0.1", "127.0.0.1", true),
            ("127.0.0.1", "127.0.0.2", false),
            ("10.0.0.0/8", "10.255.0.1", true),
            ("10.0.0.0/8", "11.0.0.1", false),
            ("0.0.0.0/0", "1.2.3.4", true),
            ("0.0.0.0/0", "::1", false),
            ("::/0", "::1", true),
            ("fe80::/10", "fe80::1", true),
            ("10.0.0.0/8", "::ffff:10.1.1.1", true),
        ] {
            let network = Network::parse(network).expect("a row's network is a network");
            assert_eq!(
                network.contains(address.parse().expect("an address")),
                wanted,
                "{network:?} {address}"
            );
        }
        assert!(Network::parse("::/0").is_some_and(|network| network.is_everything()));
        assert!(Network::parse("0.0.0.0/1").is_some_and(|network| !network.is_everything()));
        for text in ["", "10.0.0.0/33", "::/129", "10.0.0", "a/8", "10.0.0.0/"] {
            assert_eq!(Network::parse(text), None, "{text}");
        }
    }

    #[test]
    fn server_addresses_are_sockets_names_or_unix_paths() {
        for text in [
            "127.0.0.1:8110",
            "[::1]:8110",
            "app.internal:8080",
            "unix:/run/app.sock",
        ] {
            assert_eq!(
                ServerAddress::parse(text)
                    .map(|address| address.to_string())
                    .as_deref(),
                Some(text)
            );
        }
        for text in [
            "",
            "127.0.0.1",
            "127.0.0.1:0",
            "127.0.0:80",
            "app:",
            "app:99999",
            "unix:run",
            "http://app:80",
            "a b:80",
        ] {
            assert_eq!(ServerAddress::parse(text), None, "{text}");
        }
    }
}
