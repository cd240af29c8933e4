//! One client's request as the gateway understands it: who asks, for what, with which credentials; and what of its head may go
//! on to upstreams.

use std::borrow::Cow;
use std::net::{IpAddr, SocketAddr};
use std::sync::OnceLock;

use http::header::{AUTHORIZATION, COOKIE, HOST};
use http::request::Parts;
use http::uri::PathAndQuery;
use http::{HeaderMap, HeaderValue, Method, Uri, Version};
use tokio::time::Instant;

use crate::cache::key::CacheKey;
use crate::config::pattern::Network;
use crate::config::{IdentityConfig, ServerConfig};
use crate::message::client::Connection;
use crate::message::target::{self, TargetError};
use crate::message::{Body, Request, cookie, headers};
use crate::observe::page::PageStart;
use crate::observe::request_id::RequestId;
use crate::observe::trace_context::TraceContext;
use crate::routing;

/// What one request brings.
pub struct Visit {
    /// Its method.
    pub method: Method,
    /// The version that it came by.
    pub version: Version,
    /// `http` or `https`, as the client spoke (to a trusted proxy, if there is one in front).
    pub scheme: &'static str,
    /// The client's `Host`: lower case, its port unless that is the scheme's own.
    pub host: String,
    /// The host that the client named to a trusted proxy before us, where it is not `host`.
    pub public_host: Option<String>,
    /// The path, dot segments removed, and the query exactly as it came: the target of a request.
    pub uri: Uri,
    /// Who asks, behind trusted proxies.
    pub client: IpAddr,
    /// The other end of the socket.
    pub peer: SocketAddr,
    /// Whether the other end is a trusted proxy.
    pub from_proxy: bool,
    /// Whether the client may see `Server-Timing`.
    pub debug: bool,
    /// Names the request in logs.
    pub id: RequestId,
    /// The trace that it belongs to; begun when it is first asked for.
    trace_context: OnceLock<TraceContext>,
    /// All its cookies as one line.
    pub cookie: Option<HeaderValue>,
    /// Its `Authorization`.
    pub authorization: Option<HeaderValue>,
    /// Whether a logged-in user asks.
    pub logged_in: bool,
    /// The fields that go on to every upstream, made when they are first asked for: an answer from store needs none of them.
    headers: OnceLock<HeaderMap>,
    /// The headers as they came, for templates: what they may read of them is decided there.
    pub client_headers: HeaderMap,
}

/// A request that is turned away for its target.
#[derive(Debug)]
pub struct Turned {
    /// What came.
    pub head: Parts,
    /// Why.
    pub reason: TargetError,
}

/// What the listener's configuration means for a visit.
#[derive(Debug, Clone, Default)]
pub struct Trust {
    /// Whose `X-Forwarded-*` and `traceparent` are believed.
    pub proxies: Vec<Network>,
    /// Who sees `Server-Timing`.
    pub debug: Vec<Network>,
    /// Cookies that tell a logged-in user; none: any cookie does.
    pub session_cookies: Vec<String>,
}

impl Trust {
    /// From the two sections that say it.
    pub fn new(server: &ServerConfig, identity: &IdentityConfig) -> Self {
        Self {
            proxies: server.trusted_proxies.clone(),
            debug: server.debug_from.clone(),
            session_cookies: identity.session_cookies.clone(),
        }
    }

    /// Who asks, behind trusted proxies.
    pub fn client(&self, headers: &HeaderMap, peer: IpAddr) -> IpAddr {
        if self.trusts(peer) {
            behind_proxies(headers, peer, self)
        } else {
            peer
        }
    }

    fn trusts(&self, address: IpAddr) -> bool {
        self.proxies.iter().any(|network| network.contains(address))
    }
}

impl Visit {
    /// Reads a request that came on the connection `from`. Its body stays with the caller.
    ///
    /// # Errors
    /// A target that readers would understand differently; to be refused with 400.
    pub fn new(
        request: Request,
        from: &Connection,
        trust: &Trust,
    ) -> Result<(Self, Body), Box<Turned>> {
        let (head, body) = request.into_parts();
        let changed = match target(&head.uri) {
            Ok(changed) => changed,
            Err(reason) => return Err(Box::new(Turned { head, reason })),
        };
        let peer = from.peer;
        let from_proxy = trust.trusts(peer.ip());
        let client_headers = head.headers;
        let scheme = scheme(&client_headers, from, from_proxy);
        let host = client_headers
            .get(HOST)
            .and_then(|host| host.to_str().ok())
            .unwrap_or_default();
        let host = without_default_port(host, scheme).to_owned();
        let client = trust.client(&client_headers, peer.ip());
        let id = from_proxy
            .then(|| client_headers.get(headers::X_REQUEST_ID)?.to_str().ok())
            .flatten()
            .and_then(RequestId::parse);
        let visit = Self {
            uri: changed.unwrap_or(head.uri),
            scheme,
            public_host: public_host(&client_headers, from_proxy)
                .map(|public| without_default_port(&public, scheme).to_owned())
                .filter(|public| *public != host),
            host,
            client,
            peer,
            from_proxy,
            debug: trust.debug.iter().any(|network| network.contains(client)),
            id: id.unwrap_or_else(RequestId::new),
            trace_context: trace_context(&client_headers, from_proxy),
            cookie: cookie::joined(&client_headers),
            authorization: client_headers.get(AUTHORIZATION).cloned(),
            logged_in: is_logged_in(&client_headers, &trust.session_cookies),
            headers: OnceLock::new(),
            client_headers,
            method: head.method,
            version: head.version,
        };
        Ok((visit, body))
    }

    /// The path without the query.
    pub fn path(&self) -> &str {
        self.uri.path()
    }

    /// Path and query.
    pub fn target(&self) -> &str {
        // A target always has both; the path alone is what there is where the query is missing.
        self.uri
            .path_and_query()
            .map_or_else(|| self.uri.path(), PathAndQuery::as_str)
    }

    /// What is recorded of it, when it came at that time.
    pub fn start(&self, came: Instant) -> PageStart<'_> {
        PageStart {
            came,
            id: &self.id,
            client: self.client,
            method: &self.method,
            host: &self.host,
            url: self.target(),
            headers: &self.client_headers,
        }
    }

    /// The fields that go on to every upstream: no credentials, no hop-by-hop fields, no framing, none that a client may not say.
    pub fn headers(&self) -> &HeaderMap {
        let fields = || passed_on(&self.client_headers, &self.method, self.from_proxy);
        self.headers.get_or_init(fields)
    }

    /// The trace that it belongs to.
    pub fn trace_context(&self) -> TraceContext {
        *self.trace_context.get_or_init(TraceContext::fresh)
    }

    /// The key of a URL as this visitor's upstreams see it: what they are told of the client's host is part of it.
    pub fn key(&self, host: &str, target: &str) -> CacheKey {
        if let Some(public) = self.public_host.as_ref().filter(|_| host == self.host) {
            return CacheKey::new(self.scheme, &format!("{host}^{public}"), target);
        }
        CacheKey::new(self.scheme, host, target)
    }

    /// The host that upstreams are told the client named, for a request to `host`.
    pub fn told_host<'a>(&'a self, host: &'a str) -> &'a str {
        let public = self.public_host.as_deref();
        public.filter(|_| host == self.host).unwrap_or(host)
    }

    /// Whether a surrogate asks that is believed: a trusted proxy that says what it can do.
    pub fn is_surrogate(&self) -> bool {
        self.from_proxy
            && self
                .client_headers
                .contains_key(headers::SURROGATE_CAPABILITY)
    }

    /// Whether the client sent anything that tells its user, whatever routes make of it.
    pub fn has_credentials(&self) -> bool {
        self.cookie.is_some() || self.client_headers.contains_key(AUTHORIZATION)
    }

    /// Whether it asks without wanting to change anything.
    pub fn is_safe(&self) -> bool {
        self.method == Method::GET || self.method == Method::HEAD
    }
}

/// The fields that may go on, for every upstream alike.
fn passed_on(client: &HeaderMap, method: &Method, from_proxy: bool) -> HeaderMap {
    let safe = matches!(*method, Method::GET | Method::HEAD);
    let mut fields = client.clone();
    headers::remove_hop_by_hop(&mut fields);
    headers::remove_ambiguous_names(&mut fields);
    if !from_proxy {
        headers::remove_second_names(&mut fields);
    }
    if safe {
        headers::remove_content_fields(&mut fields);
        headers::remove_second_methods(&mut fields);
    }
    for name in [
        COOKIE,
        AUTHORIZATION,
        HOST,
        http::header::EXPECT,
        http::header::CONTENT_LENGTH,
    ] {
        fields.remove(name);
    }
    fields
}

/// The target without scheme and host, and without dot segments, where it came otherwise; most come so.
fn target(uri: &Uri) -> Result<Option<Uri>, TargetError> {
    let whole = uri.path_and_query().ok_or(TargetError::NotAbsolute)?;
    let path = target::remove_dot_segments(whole.path())?;
    let plain = matches!(path, Cow::Borrowed(_)) && whole.as_str().starts_with('/');
    if plain && uri.authority().is_none() {
        return Ok(None);
    }
    let target = match whole.query() {
        None => path.into_owned(),
        Some(query) => format!("{path}?{query}"),
    };
    let target = target.parse().map_err(|_| TargetError::NotAbsolute)?;
    Ok(Some(target))
}

fn scheme(headers: &HeaderMap, from: &Connection, from_proxy: bool) -> &'static str {
    let spoken = if from.tls { "https" } else { "http" };
    if !from_proxy {
        return spoken;
    }
    match headers
        .get(headers::X_FORWARDED_PROTO)
        .map(HeaderValue::as_bytes)
    {
        Some(b"https") => "https",
        Some(b"http") => "http",
        _ => spoken,
    }
}

/// The host that a trusted proxy was asked for, with its port where it tells one.
fn public_host(headers: &HeaderMap, from_proxy: bool) -> Option<String> {
    let said = |name| headers.get(name)?.to_str().ok();
    let host = from_proxy
        .then(|| said(headers::X_FORWARDED_HOST))
        .flatten()?
        .trim()
        .to_ascii_lowercase();
    let plain = |byte: u8| {
        byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_' | b':' | b'[' | b']')
    };
    if host.is_empty() || !host.bytes().all(plain) {
        return None;
    }
    let port = said(headers::X_FORWARDED_PORT).filter(|port| port.parse::<u16>().is_ok());
    match port {
        Some(port) if routing::without_port(&host) == host => Some(format!("{host}:{port}")),
        _ => Some(host),
    }
}

/// The last address of `X-Forwarded-For` that is not a trusted proxy's.
fn behind_proxies(headers: &HeaderMap, peer: IpAddr, trust: &Trust) -> IpAddr {
    let lines: Vec<&str> = headers
        .get_all(headers::X_FORWARDED_FOR)
        .iter()
        .filter_map(|line| line.to_str().ok())
        .collect();
    let mut client = peer;
    for member in lines.iter().rev().flat_map(|line| line.rsplit(',')) {
        let Some(address) = forwarded_address(member.trim()) else {
            break;
        };
        client = address;
        if !trust.trusts(address) {
            break;
        }
    }
    client
}

/// An address, as some proxies write it: with the port beside it, or in brackets.
fn forwarded_address(member: &str) -> Option<IpAddr> {
    let bare = member
        .strip_prefix('[')
        .and_then(|rest| rest.strip_suffix(']'));
    let with_port = || Some(member.parse::<SocketAddr>().ok()?.ip());
    bare.unwrap_or(member).parse().ok().or_else(with_port)
}

/// The trace that a trusted proxy is in.
fn trace_context(headers: &HeaderMap, from_proxy: bool) -> OnceLock<TraceContext> {
    let parent = from_proxy
        .then(|| headers.get(headers::TRACEPARENT)?.to_str().ok())
        .flatten();
    let given = parent.and_then(TraceContext::parse);
    given.map_or_else(OnceLock::new, |parent| parent.child().into())
}

fn is_logged_in(headers: &HeaderMap, session_cookies: &[String]) -> bool {
    cookie::pairs(headers).any(|(name, _)| {
        session_cookies.is_empty()
            || session_cookies
                .iter()
                .any(|session| session.as_bytes() == name)
    })
}

/// `host[:port]` without the port that the scheme has anyway.
pub fn without_default_port<'a>(host: &'a str, scheme: &str) -> &'a str {
    let default = if scheme == "https" { ":443" } else { ":80" };
    match host.strip_suffix(default) {
        Some(bare) if routing::without_port(host) == bare => bare,
        _ => host,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::HeaderName;

    fn visit(target: &str, peer: &str, fields: &[(&'static str, &'static str)]) -> Visit {
        let mut request = Request::new(Body::empty());
        *request.uri_mut() = target.parse().expect("a row's target is one");
        for (name, value) in fields {
            request.headers_mut().append(
                HeaderName::from_static(name),
                HeaderValue::from_static(value),
            );
        }
        let address = SocketAddr::new(peer.parse().expect("an address"), 1);
        let from = Connection {
            peer: address,
            ..Connection::NONE
        };
        let trust = Trust {
            proxies: vec![Network::parse("10.0.0.0/8").expect("a network")],
            debug: vec![Network::parse("192.0.2.1").expect("an address")],
            session_cookies: vec!["session".to_owned()],
        };
        Visit::new(request, &from, &trust)
            .expect("a row's target is plain")
            .0
    }

    #[test]
    fn only_trusted_proxies_say_who_asks() {
        let forwarded = [
            ("host", "a"),
            ("x-forwarded-for", "203.0.113.9, 192.0.2.1, 10.0.0.2"),
            ("x-forwarded-proto", "https"),
        ];
        let trusted = visit("/", "10.0.0.1", &forwarded);
        assert_eq!(
            (
                trusted.client.to_string().as_str(),
                trusted.scheme,
                trusted.debug
            ),
            ("192.0.2.1", "https", true)
        );
        let stranger = visit("/", "198.51.100.7", &forwarded);
        assert_eq!(
            (
                stranger.client.to_string().as_str(),
                stranger.scheme,
                stranger.debug
            ),
            ("198.51.100.7", "http", false)
        );
        assert!(!stranger.headers().contains_key("x-forwarded-proto"));
    }

    #[test]
    fn an_address_may_stand_with_its_port() {
        for (member, wanted) in [
            ("203.0.113.9", Some("203.0.113.9")),
            ("203.0.113.9:5123", Some("203.0.113.9")),
            ("2001:db8::1", Some("2001:db8::1")),
            ("[2001:db8::1]", Some("2001:db8::1")),
            ("[2001:db8::1]:5123", Some("2001:db8::1")),
            ("unknown", None),
            ("_hidden", None),
            ("", None),
        ] {
            let read = forwarded_address(member).map(|address| address.to_string());
            assert_eq!(read.as_deref(), wanted, "{member}");
        }
    }

    #[test]
    fn credentials_and_framing_do_not_go_on_by_themselves() {
        let visit = visit(
            "/a/../b?q=%2e%2e",
            "192.0.2.1",
            &[
                ("host", "shop:80"),
                ("cookie", "session=1"),
                ("cookie", "b=2"),
                ("authorization", "Basic x"),
                ("content-length", "3"),
                ("content-type", "text/plain"),
                ("x-original-url", "/admin"),
                ("x-http-method-override", "DELETE"),
                ("accept", "*/*"),
            ],
        );
        let left: Vec<_> = visit.headers().keys().map(HeaderName::as_str).collect();
        assert_eq!(left, ["accept"]);
        assert_eq!(
            visit.cookie.as_ref().expect("there are cookies"),
            "session=1; b=2"
        );
        assert_eq!(
            (visit.host.as_str(), visit.target()),
            ("shop", "/b?q=%2e%2e")
        );
        assert!(visit.logged_in);
    }

    #[test]
    fn only_the_schemes_own_port_is_dropped() {
        for (host, scheme, wanted) in [
            ("a:80", "http", "a"),
            ("a:443", "https", "a"),
            ("a:443", "http", "a:443"),
            ("a:8080", "http", "a:8080"),
            ("[::1]:80", "http", "[::1]"),
            ("[1::80]", "http", "[1::80]"),
        ] {
            assert_eq!(without_default_port(host, scheme), wanted, "{host}");
        }
    }
}
