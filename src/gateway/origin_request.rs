//! What goes upstream, written anew: which host, which credentials, what is told of the client and of this gateway.

use std::fmt;
use std::sync::{Arc, OnceLock};

use http::header::{ACCEPT_ENCODING, ACCEPT_LANGUAGE, AUTHORIZATION, COOKIE, HOST};
use http::{HeaderMap, HeaderName, HeaderValue};

use crate::cache::key::Fields;
use crate::config::{ComposeMode, Dialects, ForwardCookies, RouteConfig};
use crate::gateway::language;
use crate::gateway::visit::Visit;
use crate::message::{cookie, headers};

/// Whether a request is for the page that was asked for, or for a part of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    /// The page itself.
    Page,
    /// A part of it.
    Fragment,
}

/// So many fields are written here at most, beside those of the client.
const WRITTEN: usize = 12;

/// The fields of a request to the upstream of `route`, for the host `host` (with its port).
pub fn fields(visit: &Visit, route: &RouteConfig, host: &str, purpose: Purpose) -> HeaderMap {
    let mut fields = visit.headers().clone();
    fields.reserve(WRITTEN);
    let composes = route.compose != ComposeMode::Off;
    let fragment = purpose == Purpose::Fragment;
    if fragment {
        headers::remove_content_fields(&mut fields);
        headers::remove_names_of_page(&mut fields);
    }
    // A page that may be composed is asked for whole, and fresh conditions would be about another thing than what is stored.
    if fragment || (composes && visit.is_safe()) {
        headers::remove_conditionals(&mut fields);
    }
    insert(&mut fields, HOST, host);
    credentials(&mut fields, visit, &route.forward_cookies, host);
    encoding(&mut fields, fragment);
    language(&mut fields, &route.languages);
    tell_client(&mut fields, visit, host);
    if composes {
        announce(&mut fields, visit, route.dialects);
    }
    fields
}

/// The fields of a request that passes through a balancer: all that the client may say, with its credentials, and nothing asked for that
/// it did not ask for.
pub fn balanced_fields(visit: &Visit) -> HeaderMap {
    let mut fields = visit.headers().clone();
    insert(&mut fields, HOST, &visit.host);
    credentials(&mut fields, visit, &ForwardCookies::All, &visit.host);
    tell_client(&mut fields, visit, &visit.host);
    fields
}

/// The fields of a request that is perhaps never sent: what is in store is found without most of them.
pub struct Outgoing<F> {
    has_cookie: bool,
    make: F,
    made: OnceLock<Arc<HeaderMap>>,
}

impl<F: Fn() -> Arc<HeaderMap>> Outgoing<F> {
    /// A request that `make` makes, for `host` by `route`.
    pub fn new(visit: &Visit, route: &RouteConfig, host: &str, make: F) -> Self {
        Self {
            has_cookie: takes_cookie(visit, &route.forward_cookies, host),
            make,
            made: OnceLock::new(),
        }
    }

    /// Its fields, for good.
    pub fn into_fields(self) -> Arc<HeaderMap> {
        self.made.into_inner().unwrap_or_else(self.make)
    }
}

impl<F: Fn() -> Arc<HeaderMap>> Fields for Outgoing<F> {
    fn all(&self) -> &HeaderMap {
        self.made.get_or_init(&self.make)
    }

    fn has_cookie(&self) -> bool {
        self.has_cookie
    }
}

impl<F> fmt::Debug for Outgoing<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Outgoing")
            .field("has_cookie", &self.has_cookie)
            .finish_non_exhaustive()
    }
}

/// Whether a cookie goes upstream; what [`credentials`] does with it, without doing it.
fn takes_cookie(visit: &Visit, forward: &ForwardCookies, host: &str) -> bool {
    visit.cookie.is_some()
        && match forward {
            ForwardCookies::All => true,
            ForwardCookies::OwnHost => host == visit.host,
            ForwardCookies::None => false,
            ForwardCookies::Named(names) => cookie::pairs(&visit.client_headers)
                .any(|(name, _)| names.iter().any(|wanted| wanted.as_bytes() == name)),
        }
}

/// `Cookie` and `Authorization`, as far as the route takes them.
fn credentials(fields: &mut HeaderMap, visit: &Visit, forward: &ForwardCookies, host: &str) {
    let all = match forward {
        ForwardCookies::All => true,
        ForwardCookies::OwnHost => host == visit.host,
        ForwardCookies::None => false,
        ForwardCookies::Named(names) => {
            let wanted = |name: &[u8]| names.iter().any(|wanted| wanted.as_bytes() == name);
            if let Some(kept) = cookie::keep(&visit.client_headers, wanted) {
                fields.insert(COOKIE, kept);
            }
            false
        }
    };
    if all {
        fields.extend(visit.cookie.clone().map(|cookie| (COOKIE, cookie)));
        fields.extend(
            visit
                .authorization
                .clone()
                .map(|credentials| (AUTHORIZATION, credentials)),
        );
    }
}

/// Fragments become part of a page, so they are asked for plain. For pages the client's wish is reduced to the one coding that
/// it likes best, so that stored variants are few (RFC 9110 12.5.3).
fn encoding(fields: &mut HeaderMap, fragment: bool) {
    let wish = fields.remove(ACCEPT_ENCODING);
    if fragment {
        return;
    }
    let best = wish
        .as_ref()
        .and_then(|wish| wish.to_str().ok())
        .map_or(Coding::Identity, preferred);
    if best != Coding::Identity {
        fields.insert(ACCEPT_ENCODING, HeaderValue::from_static(best.as_str()));
    }
}

/// The client's wish reduced to one of the site's languages, where the route names them.
fn language(fields: &mut HeaderMap, languages: &[String]) {
    if languages.is_empty() {
        return;
    }
    let Some(wish) = joined(fields, &ACCEPT_LANGUAGE) else {
        return;
    };
    fields.remove(ACCEPT_LANGUAGE);
    if let Some(best) = language::preferred(&wish, languages) {
        insert(fields, ACCEPT_LANGUAGE, best);
    }
}

/// A content coding that we read and write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Coding {
    /// None.
    Identity,
    /// gzip.
    Gzip,
    /// Brotli.
    Brotli,
    /// Zstandard.
    Zstd,
}

impl Coding {
    /// The word in `Accept-Encoding` and `Content-Encoding`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Identity => "identity",
            Self::Gzip => "gzip",
            Self::Brotli => "br",
            Self::Zstd => "zstd",
        }
    }
}

/// The coding that a client likes best of those that we write; of equals br, then zstd, then gzip.
pub fn preferred(accept_encoding: &str) -> Coding {
    preferred_of(
        accept_encoding,
        &[Coding::Brotli, Coding::Zstd, Coding::Gzip],
    )
}

/// The coding that a client likes best of these, the first of equals (RFC 9110 12.5.3). None of them when it likes the plain
/// bytes better, or says nothing.
pub fn preferred_of(accept_encoding: &str, offered: &[Coding]) -> Coding {
    let plain = weight(accept_encoding, "identity").unwrap_or(0.0);
    let mut best = (Coding::Identity, plain);
    for coding in offered {
        let any = || weight(accept_encoding, "*");
        let weight = weight(accept_encoding, coding.as_str()).or_else(any);
        let Some(weight) = weight.filter(|weight| *weight > 0.0) else {
            continue;
        };
        let better = match best.0 {
            Coding::Identity => weight >= best.1,
            _ => weight > best.1,
        };
        if better {
            best = (*coding, weight);
        }
    }
    best.0
}

/// The weight of a coding where the field names it; one without a weight that can be read has the most.
fn weight(accept_encoding: &str, wanted: &str) -> Option<f32> {
    accept_encoding.split(',').find_map(|member| {
        let mut parts = member.split(';').map(str::trim);
        let name = parts.next().unwrap_or_default();
        let is_alias = wanted == "gzip" && name.eq_ignore_ascii_case("x-gzip");
        if !name.eq_ignore_ascii_case(wanted) && !is_alias {
            return None;
        }
        let weight = parts.find_map(|part| {
            let (name, value) = part.split_once('=')?;
            let is_weight = name.trim().eq_ignore_ascii_case("q");
            is_weight.then(|| value.trim().parse::<f32>().ok())?
        });
        Some(weight.unwrap_or(1.0))
    })
}

/// `X-Forwarded-*`, `Via`, `X-Request-Id`, `traceparent`. Host and port are those that are part of the cache key: an application
/// that builds its URLs from them must not have its answer shared with another host.
fn tell_client(fields: &mut HeaderMap, visit: &Visit, host: &str) {
    let before = visit
        .from_proxy
        .then(|| joined(&visit.client_headers, &headers::X_FORWARDED_FOR))
        .flatten();
    let peer = visit.peer.ip().to_canonical();
    let chain = match before {
        Some(before) => format!("{before}, {peer}"),
        None => peer.to_string(),
    };
    insert(fields, headers::X_FORWARDED_FOR, &chain);
    insert(fields, headers::X_FORWARDED_PROTO, visit.scheme);
    let told = visit.told_host(host);
    insert(fields, headers::X_FORWARDED_HOST, told);
    insert(fields, headers::X_FORWARDED_PORT, port(told, visit.scheme));
    headers::append_via(fields, visit.version);
    insert(fields, headers::X_REQUEST_ID, visit.id.as_str());
    insert(
        fields,
        headers::TRACEPARENT,
        &visit.trace_context().child().to_string(),
    );
}

fn port<'a>(host: &'a str, scheme: &str) -> &'a str {
    let bare = crate::routing::without_port(host);
    match host[bare.len()..].strip_prefix(':') {
        Some(port) => port,
        None if scheme == "https" => "443",
        None => "80",
    }
}

/// What we can do, appended to what a trusted surrogate before us can (Edge Architecture, 3.1).
fn announce(fields: &mut HeaderMap, visit: &Visit, dialects: Dialects) {
    let ours = match (dialects.esi, dialects.ssi) {
        (true, false) => "marquetry=\"Surrogate/1.0 ESI/1.0\"",
        (false, true) => "marquetry=\"Surrogate/1.0 SSI/1.0\"",
        _ => "marquetry=\"Surrogate/1.0 ESI/1.0 SSI/1.0\"",
    };
    let before = visit
        .from_proxy
        .then(|| joined(&visit.client_headers, &headers::SURROGATE_CAPABILITY))
        .flatten();
    let all = match before {
        Some(before) => format!("{before}, {ours}"),
        None => ours.to_owned(),
    };
    insert(fields, headers::SURROGATE_CAPABILITY, &all);
}

fn joined(fields: &HeaderMap, name: &HeaderName) -> Option<String> {
    let lines: Vec<&str> = fields
        .get_all(name)
        .iter()
        .filter_map(|line| line.to_str().ok())
        .collect();
    (!lines.is_empty()).then(|| lines.join(", "))
}

fn insert(fields: &mut HeaderMap, name: HeaderName, value: &str) {
    // What is inserted here was checked where it came in; what is no value all the same is left out.
    match HeaderValue::from_str(value) {
        Ok(value) => fields.insert(name, value),
        Err(_) => fields.remove(name),
    };
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_best_coding_is_chosen() {
        for (wish, wanted) in [
            ("", Coding::Identity),
            ("gzip", Coding::Gzip),
            ("gzip, deflate, br, zstd", Coding::Brotli),
            ("gzip;q=1.0, br;q=0.5", Coding::Gzip),
            ("gzip;q=0", Coding::Identity),
            ("*", Coding::Brotli),
            ("*;q=0.1, gzip", Coding::Gzip),
            ("GZIP", Coding::Gzip),
            ("identity", Coding::Identity),
            ("gzip;q=x", Coding::Gzip),
            ("x-gzip", Coding::Gzip),
            ("gzip; Q = 0.5, br ;q=0.4", Coding::Gzip),
            ("identity, gzip;q=0.5", Coding::Identity),
            ("identity;q=0.5, gzip;q=0.5", Coding::Gzip),
            ("identity;q=0, br;q=0.1", Coding::Brotli),
            ("*;q=0", Coding::Identity),
            ("*, gzip;q=0", Coding::Brotli),
            ("gzipped, brr", Coding::Identity),
        ] {
            assert_eq!(preferred(wish), wanted, "{wish}");
        }
        let only_gzip = |wish| preferred_of(wish, &[Coding::Gzip]);
        assert_eq!(only_gzip("br, gzip;q=0.1"), Coding::Gzip);
        assert_eq!(only_gzip("br"), Coding::Identity);
        assert_eq!(only_gzip("*, gzip;q=0"), Coding::Identity);
    }
}
