//! Header fields that intermediaries add, drop and read (RFC 9110 7.6, RFC 9211, Edge Architecture).

use http::header::{
    CONNECTION, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE, HeaderName, HeaderValue,
    TRANSFER_ENCODING, VARY, VIA,
};
use http::{HeaderMap, Version};

/// What we tell origins that we can do (Edge Architecture, section 3).
pub const SURROGATE_CAPABILITY: HeaderName = HeaderName::from_static("surrogate-capability");
/// What origins tell surrogates to do.
pub const SURROGATE_CONTROL: HeaderName = HeaderName::from_static("surrogate-control");
/// Varnish's and Traffic Server's word for "this page has ESI".
pub const X_ESI: HeaderName = HeaderName::from_static("x-esi");
/// Akamai's word for the same (`dca=esi`).
pub const EDGE_CONTROL: HeaderName = HeaderName::from_static("edge-control");
/// The response cache directives for CDNs (RFC 9213).
pub const CDN_CACHE_CONTROL: HeaderName = HeaderName::from_static("cdn-cache-control");
/// The same, for us alone.
pub const MARQUETRY_CACHE_CONTROL: HeaderName = HeaderName::from_static("marquetry-cache-control");
/// How a cache treated the request (RFC 9211).
pub const CACHE_STATUS: HeaderName = HeaderName::from_static("cache-status");
/// The name of one request in all logs.
pub const X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
/// W3C Trace Context.
pub const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");
/// W3C Trace Context, what vendors add.
pub const TRACESTATE: HeaderName = HeaderName::from_static("tracestate");
/// The addresses that a request came through.
pub const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
/// `http` or `https`, as the client spoke.
pub const X_FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
/// The host that the client named.
pub const X_FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
/// The port that the client spoke to.
pub const X_FORWARDED_PORT: HeaderName = HeaderName::from_static("x-forwarded-port");

/// The labels by which an answer can be purged.
pub const SURROGATE_KEY: HeaderName = HeaderName::from_static("surrogate-key");

/// Fields that say a second time what the request is, besides all of `X-Forwarded-*`, which only a trusted proxy may say: an application that believes one of
/// them would answer for another URL than the one that names the stored copy.
const SECOND_NAMES: [&str; 6] = [
    "forwarded",
    "x-host",
    "x-http-host-override",
    "x-original-url",
    "x-rewrite-url",
    "surrogate-capability",
];

/// Those of them that name the URL of one request.
const SECOND_URLS: [&str; 2] = ["x-original-url", "x-rewrite-url"];

/// Fields that name another method than the request line does.
const SECOND_METHODS: [&str; 3] = [
    "x-http-method",
    "x-http-method-override",
    "x-method-override",
];

/// Removes the fields of one connection (RFC 9110 7.6.1): those that `Connection` names and the well-known ones.
pub fn remove_hop_by_hop(headers: &mut HeaderMap) {
    if headers.contains_key(CONNECTION) {
        let named: Vec<HeaderName> = headers
            .get_all(CONNECTION)
            .iter()
            .filter_map(|line| line.to_str().ok())
            .flat_map(|line| line.split(','))
            .filter_map(|name| HeaderName::from_bytes(name.trim().as_bytes()).ok())
            // The gateway itself depends on these: a client cannot have them dropped.
            .filter(|name| !is_protected(name))
            .collect();
        for name in named {
            headers.remove(name);
        }
        headers.remove(CONNECTION);
    }
    remove_where(headers, |name| {
        matches!(
            name,
            "te" | "trailer"
                | "transfer-encoding"
                | "upgrade"
                | "keep-alive"
                | "proxy-connection"
                | "proxy-authenticate"
                | "proxy-authorization"
                | "proxy-authentication-info"
                | "http2-settings"
        )
    });
}

/// Removes from an answer what was meant for the connection that it came on, and a length that is none.
pub fn remove_connection_fields(headers: &mut HeaderMap) {
    if headers.contains_key(TRANSFER_ENCODING) {
        // A length beside it is a lie (RFC 9112 6.3).
        headers.remove(CONTENT_LENGTH);
    }
    remove_hop_by_hop(headers);
}

/// Fields that a `Connection` header cannot name away.
fn is_protected(name: &HeaderName) -> bool {
    use http::header::{AUTHORIZATION, CACHE_CONTROL, COOKIE, HOST, SET_COOKIE};
    [
        HOST,
        COOKIE,
        AUTHORIZATION,
        CONTENT_LENGTH,
        CONTENT_TYPE,
        CONTENT_ENCODING,
        CACHE_CONTROL,
        SET_COOKIE,
        VARY,
        VIA,
    ]
    .contains(name)
        || name.as_str().starts_with("x-forwarded-")
        || *name == SURROGATE_CONTROL
        || *name == X_REQUEST_ID
}

/// Removes what only a trusted proxy may say of a request.
pub fn remove_second_names(headers: &mut HeaderMap) {
    remove_where(headers, |name| {
        name.starts_with("x-forwarded-") || SECOND_NAMES.contains(&name)
    });
}

/// Removes what names another method than that of a GET or HEAD. A proxy in front names none: what comes by it is its client's, and an
/// application that heeds it would answer something else than the key of a stored copy says.
pub fn remove_second_methods(headers: &mut HeaderMap) {
    remove_where(headers, |name| SECOND_METHODS.contains(&name));
}

/// Removes from the request for a fragment what says of the request for its page that it is for another method or URL than its
/// line names: a fragment's line names both.
pub fn remove_names_of_page(headers: &mut HeaderMap) {
    remove_second_methods(headers);
    remove_where(headers, |name| SECOND_URLS.contains(&name));
}

/// Removes fields with an underscore in their names: to an application behind CGI or WSGI `X_Forwarded_Host` is the same variable as
/// `X-Forwarded-Host`, and so says what a client may not say, or says twice what we say once.
pub fn remove_ambiguous_names(headers: &mut HeaderMap) {
    let named: Vec<HeaderName> = headers
        .keys()
        .filter(|name| name.as_str().contains('_'))
        .cloned()
        .collect();
    for name in named {
        headers.remove(name);
    }
}

/// Removes conditionals and ranges (RFC 9110 13.1, 14.2).
pub fn remove_conditionals(headers: &mut HeaderMap) {
    use http::header::{
        IF_MATCH, IF_MODIFIED_SINCE, IF_NONE_MATCH, IF_RANGE, IF_UNMODIFIED_SINCE, RANGE,
    };
    for name in [
        IF_MATCH,
        IF_MODIFIED_SINCE,
        IF_NONE_MATCH,
        IF_RANGE,
        IF_UNMODIFIED_SINCE,
        RANGE,
    ] {
        headers.remove(name);
    }
}

/// Removes everything that speaks of a request's own content.
pub fn remove_content_fields(headers: &mut HeaderMap) {
    remove_where(headers, |name| {
        name.starts_with("content-")
            || matches!(name, "expect" | "digest" | "want-digest" | "trailer")
    });
}

/// Removes the fields whose names are such. Most heads have none of them, and looking is cheaper than removing.
fn remove_where(headers: &mut HeaderMap, is_such: impl Fn(&str) -> bool) {
    let named: Vec<HeaderName> = headers
        .keys()
        .filter(|name| is_such(name.as_str()))
        .cloned()
        .collect();
    for name in named {
        headers.remove(name);
    }
}

/// Removes from an answer what is addressed to us, and what only we say to clients; surrogate keys stay for a surrogate.
pub fn remove_consumed(headers: &mut HeaderMap, for_surrogate: bool) {
    remove_where(headers, |name| {
        is_consumed(name) || (!for_surrogate && is_key(name))
    });
}

/// Fields that are consumed here and never passed on to clients, and the one that only we write.
fn is_consumed(name: &str) -> bool {
    matches!(
        name,
        "surrogate-control" | "marquetry-cache-control" | "server-timing"
    )
}

/// Fields of surrogate keys, which only surrogates are given.
fn is_key(name: &str) -> bool {
    matches!(
        name,
        "surrogate-key" | "xkey" | "cache-tag" | "x-magento-tags"
    )
}

/// Removes what was true of a document before it was composed and is not true of the page: what speaks of its bytes, its age, its
/// keys, and what it says to caches in front of us apart from `Cache-Control` (RFC 9213 fields of whatever cache, nginx's
/// `X-Accel-Expires`, Akamai's `Edge-Control`): they obey it before `private`, and it was said of the skeleton alone. `X-Esi` says that there
/// are tags: whoever believes it of the page takes text of a fragment for some.
pub fn remove_skeleton_only(headers: &mut HeaderMap) {
    remove_where(headers, |name| {
        matches!(
            name,
            "content-length"
                | "content-encoding"
                | "content-md5"
                | "content-range"
                | "digest"
                | "repr-digest"
                | "content-digest"
                | "etag"
                | "last-modified"
                | "accept-ranges"
                | "trailer"
                | "age"
                | "expires"
                | "pragma"
                | "x-esi"
        ) || is_for_other_caches(name)
            || is_key(name)
    });
}

/// Removes what is said to caches in front of us apart from `Cache-Control`.
pub fn remove_for_other_caches(headers: &mut HeaderMap) {
    remove_where(headers, is_for_other_caches);
}

/// RFC 9213 fields of whatever cache, Akamai's and nginx's own.
fn is_for_other_caches(name: &str) -> bool {
    matches!(name, "edge-control" | "x-accel-expires") || name.ends_with("-cache-control")
}

/// Says that an answer is another one where a request has another such field.
pub fn vary_by(headers: &mut HeaderMap, field: &HeaderName) {
    let named = headers.get_all(VARY).iter().any(|line| {
        let mut names = line.as_bytes().split(|byte| *byte == b',');
        names.any(|name| {
            let name = name.trim_ascii();
            name == b"*" || name.eq_ignore_ascii_case(field.as_str().as_bytes())
        })
    });
    if !named {
        headers.append(VARY, HeaderValue::from(field.clone()));
    }
}

/// Appends this gateway to `Via` (RFC 9110 7.6.3); `version` is how the message was received.
pub fn append_via(headers: &mut HeaderMap, version: Version) {
    let ours = match version {
        Version::HTTP_10 => "1.0 marquetry",
        Version::HTTP_2 => "2.0 marquetry",
        _ => "1.1 marquetry",
    };
    headers.append(VIA, HeaderValue::from_static(ours));
}

/// The media type without parameters, lower case; `None` when there is none or it is no text.
pub fn media_type(headers: &HeaderMap) -> Option<String> {
    let value = headers.get(CONTENT_TYPE)?.to_str().ok()?;
    let essence = value.split(';').next()?.trim();
    (!essence.is_empty()).then(|| essence.to_ascii_lowercase())
}

/// Whether the media type is one of these, which are in lower case.
pub fn has_media_type(headers: &HeaderMap, types: &[String]) -> bool {
    let Some(Ok(value)) = headers.get(CONTENT_TYPE).map(HeaderValue::to_str) else {
        return false;
    };
    let essence = value.split(';').next().unwrap_or_default().trim();
    types
        .iter()
        .any(|media| essence.eq_ignore_ascii_case(media))
}

/// Whether an answer declares that it wants to be composed: `Surrogate-Control: content="ESI/1.0"` (or `SSI/1.0`, in a list
/// with others, also targeted at us), `X-Esi: 1`, `Edge-Control: dca=esi`.
pub fn declares_composition(headers: &HeaderMap) -> bool {
    let surrogate = headers
        .get_all(SURROGATE_CONTROL)
        .iter()
        .filter_map(|line| line.to_str().ok())
        .any(|line| {
            content_tokens(line)
                .any(|token| token.starts_with("ESI/1.0") || token.starts_with("SSI/1.0"))
        });
    let x_esi = || {
        headers
            .get(X_ESI)
            .is_some_and(|value| value.as_bytes().trim_ascii() == b"1")
    };
    let edge = || {
        headers
            .get_all(EDGE_CONTROL)
            .iter()
            .filter_map(|line| line.to_str().ok())
            .any(|line| {
                line.split(',').any(|part| {
                    let mut sides = part.splitn(2, '=');
                    let is_dca = sides
                        .next()
                        .is_some_and(|name| name.trim().eq_ignore_ascii_case("dca"));
                    is_dca
                        && sides.next().is_some_and(|value| {
                            value.trim().trim_matches('"').eq_ignore_ascii_case("esi")
                        })
                })
            })
    };
    surrogate || x_esi() || edge()
}

/// Whether what follows the `;` of a directive names this gateway, as `Surrogate-Capability` does.
pub fn is_our_target(target: &[u8]) -> bool {
    target.eq_ignore_ascii_case(b"marquetry")
}

/// The tokens of the `content="…"` directives that speak to every surrogate or to us.
fn content_tokens(line: &str) -> impl Iterator<Item = &str> {
    crate::message::cache_control::directives(line.as_bytes())
        .filter(|directive| directive.name.eq_ignore_ascii_case(b"content"))
        .filter(|directive| directive.target.is_none_or(is_our_target))
        .filter_map(|directive| std::str::from_utf8(directive.value?).ok())
        .flat_map(str::split_whitespace)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn map(rows: &[(&'static str, &'static str)]) -> HeaderMap {
        rows.iter()
            .map(|(name, value)| {
                (
                    HeaderName::from_static(name),
                    HeaderValue::from_static(value),
                )
            })
            .collect()
    }

    #[test]
    fn declarations_are_recognised_in_every_dialect() {
        for (name, value, wanted) in [
            ("surrogate-control", "content=\"ESI/1.0\"", true),
            ("surrogate-control", "max-age=60, content=\"ESI/1.0\"", true),
            ("surrogate-control", "content=\"SSI/1.0\"", true),
            ("surrogate-control", "content=\"ESI/1.0 ESI-INV/1.0\"", true),
            ("surrogate-control", "content=\"ESI/1.0\";marquetry", true),
            ("surrogate-control", "content=\"ESI/1.0\";othercache", false),
            ("surrogate-control", "content=\"other\"", false),
            ("surrogate-control", "max-age=60", false),
            ("x-esi", "1", true),
            ("x-esi", "0", false),
            ("edge-control", "dca=esi", true),
            ("edge-control", "max-age=10, dca=esi", true),
            ("edge-control", "dca=none", false),
            ("cache-control", "content=\"ESI/1.0\"", false),
        ] {
            assert_eq!(
                declares_composition(&map(&[(name, value)])),
                wanted,
                "{name}: {value}"
            );
        }
    }

    #[test]
    fn connection_names_fields_away_but_not_those_that_matter() {
        let mut headers = map(&[
            ("connection", "close, X-Private-Hop, Cookie, Set-Cookie"),
            ("x-private-hop", "1"),
            ("cookie", "a=1"),
            ("set-cookie", "b=2"),
            ("te", "trailers"),
            ("upgrade", "h2c"),
            ("http2-settings", "AAAA"),
            ("keep-alive", "5"),
            ("accept", "*/*"),
        ]);
        remove_hop_by_hop(&mut headers);
        let mut left: Vec<_> = headers.keys().map(HeaderName::as_str).collect();
        left.sort_unstable();
        assert_eq!(left, ["accept", "cookie", "set-cookie"]);
    }

    #[test]
    fn what_names_the_request_a_second_time_goes_however_it_is_spelt() {
        let mut headers = map(&[
            ("x-forwarded-host", "evil"),
            ("x-forwarded-ssl", "on"),
            ("forwarded", "host=evil"),
            ("x-rewrite-url", "/admin"),
            ("x-http-method-override", "POST"),
            ("x_forwarded_host", "evil"),
            ("content_length", "5"),
            ("x-mine", "1"),
        ]);
        remove_ambiguous_names(&mut headers);
        remove_second_names(&mut headers);
        let mut left: Vec<_> = headers.keys().map(HeaderName::as_str).collect();
        left.sort_unstable();
        assert_eq!(left, ["x-http-method-override", "x-mine"]);
        remove_second_methods(&mut headers);
        assert_eq!(headers.len(), 1);
    }

    #[test]
    fn no_cache_in_front_is_told_of_the_skeleton() {
        let mut headers = map(&[
            ("cdn-cache-control", "max-age=9"),
            ("cloudflare-cdn-cache-control", "max-age=9"),
            ("edge-control", "max-age=9"),
            ("x-esi", "1"),
            ("x-accel-expires", "9"),
            ("cache-control", "private"),
        ]);
        remove_skeleton_only(&mut headers);
        let left: Vec<_> = headers.keys().map(HeaderName::as_str).collect();
        assert_eq!(left, ["cache-control"]);
    }
}
