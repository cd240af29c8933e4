//! The answers of both origins: documents, redirects, refusals; conditional requests and HEAD (RFC 9110 9.3.2, 13.1.2).

use std::fmt::Write as _;
use std::sync::LazyLock;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use bytes::Bytes;
use http::header::{
    ALLOW, CACHE_CONTROL, CONTENT_LENGTH, CONTENT_TYPE, ETAG, IF_NONE_MATCH, LOCATION,
};
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode};
use sha2::{Digest, Sha256};

use crate::demo::layout::SCRIPT;
use crate::message::{Body, Response};

/// The type of every page and fragment.
pub const HTML: &str = "text/html; charset=utf-8";

/// Which origin made something, when, and how long it worked on it.
#[derive(Debug, Clone)]
pub struct Stamp {
    /// `page cache`, `app 2`.
    pub from: String,
    /// How long it worked.
    pub cost: Duration,
    /// Seconds since 1970.
    pub made: u64,
}

impl Stamp {
    /// Made by `from` just now.
    pub fn now(from: &str, cost: Duration) -> Self {
        let made = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default();
        Self {
            from: from.to_owned(),
            cost,
            made: made.as_secs(),
        }
    }
}

/// A 200 of that type.
pub fn ok(content_type: &'static str, body: impl Into<Bytes>) -> Response {
    let mut response = Response::new(Body::full(body));
    set(&mut response, CONTENT_TYPE, content_type);
    set(
        &mut response,
        HeaderName::from_static("x-content-type-options"),
        "nosniff",
    );
    response
}

/// Something other than 200, said in a line; never stored.
pub fn refusal(status: StatusCode, text: &str) -> Response {
    let mut response = ok("text/plain; charset=utf-8", format!("{text}\n"));
    *response.status_mut() = status;
    set(&mut response, CACHE_CONTROL, "no-store");
    response
}

/// 405 with the methods that are answered.
pub fn wrong_method(allowed: &'static str) -> Response {
    let mut response = refusal(StatusCode::METHOD_NOT_ALLOWED, "That is not done here.");
    set(&mut response, ALLOW, allowed);
    response
}

/// 303: the POST is done, the reader goes on to `location`.
pub fn see_other(location: &str) -> Response {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::SEE_OTHER;
    set(&mut response, LOCATION, location);
    set(&mut response, CACHE_CONTROL, "private, no-store");
    response
}

/// Sets a field; a value that no header may hold is left out.
pub fn set(response: &mut Response, name: HeaderName, value: &str) {
    if let Ok(value) = HeaderValue::from_str(value) {
        response.headers_mut().insert(name, value);
    }
}

/// Tells caches which groups of kept answers a POST has changed (RFC 9875 3): they drop them before they hand this answer on, so
/// whoever has written reads what was written.
pub fn changes(response: &mut Response, groups: &[String]) {
    if groups.is_empty() {
        return;
    }
    let groups: Vec<String> = groups.iter().map(|group| format!("\"{group}\"")).collect();
    let name = HeaderName::from_static("cache-group-invalidation");
    set(response, name, &groups.join(", "));
}

/// A strong tag of these bytes.
pub fn tag(bytes: &[u8]) -> String {
    let digest = Sha256::digest(bytes);
    let mut tag = String::with_capacity(26);
    tag.push('"');
    for byte in digest.iter().take(12) {
        // Writing to a String does not fail.
        let _ = write!(tag, "{byte:02x}");
    }
    tag.push('"');
    tag
}

/// Whether the request already has what carries `tag` (weak comparison).
pub fn has(headers: &HeaderMap, tag: &str) -> bool {
    let opaque = |text: &str| text.trim().trim_start_matches("W/").to_owned();
    headers
        .get_all(IF_NONE_MATCH)
        .iter()
        .filter_map(|line| line.to_str().ok())
        // Our own tags hold no comma, so a split at commas can lose none of them.
        .flat_map(|line| line.split(','))
        .any(|one| one.trim() == "*" || opaque(one) == opaque(tag))
}

/// What is sent in the end: 304 without a body where the request has the tag already, and no body to HEAD.
pub fn finished(method: &Method, request: &HeaderMap, mut response: Response) -> Response {
    let current = response.status() == StatusCode::OK
        && response
            .headers()
            .get(ETAG)
            .and_then(|tag| tag.to_str().ok())
            .is_some_and(|tag| has(request, tag));
    if current {
        *response.status_mut() = StatusCode::NOT_MODIFIED;
        response.headers_mut().remove(CONTENT_TYPE);
        *response.body_mut() = Body::empty();
    } else if *method == Method::HEAD {
        if let Some(bytes) = response.body().as_full() {
            let length = bytes.len().to_string();
            set(&mut response, CONTENT_LENGTH, &length);
        }
        *response.body_mut() = Body::empty();
    }
    response
}

/// Tells browsers what a page of the shop may do: its own styles, images and forms, and the one script that stands in it.
pub fn guard_document(response: &mut Response) {
    static POLICY: LazyLock<String> = LazyLock::new(|| {
        let digest = BASE64_STANDARD.encode(Sha256::digest(SCRIPT.as_bytes()));
        format!(
            "default-src 'none'; style-src 'self'; img-src 'self'; form-action 'self'; base-uri 'none'; \
             frame-ancestors 'none'; script-src 'sha256-{digest}'"
        )
    });
    let name = HeaderName::from_static("content-security-policy");
    set(response, name, &POLICY);
}

/// Says that the body holds tags to be composed, if whoever asks has said that it composes that dialect (`ESI/1.0`, `SSI/1.0`).
/// As the answer depends on that word, `Vary` says so either way.
pub fn declare(request: &HeaderMap, response: &mut Response, dialect: &str) {
    let announced = request
        .get_all("surrogate-capability")
        .iter()
        .filter_map(|line| line.to_str().ok())
        .any(|line| line.contains(dialect));
    if announced {
        let content = format!("content=\"{dialect}\"");
        set(
            response,
            HeaderName::from_static("surrogate-control"),
            &content,
        );
    }
    set(response, http::header::VARY, "Surrogate-Capability");
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(tags: &str) -> HeaderMap {
        let value = HeaderValue::from_str(tags).expect("a row's value");
        HeaderMap::from_iter([(IF_NONE_MATCH, value)])
    }

    #[test]
    fn a_tag_is_found_in_lists_weak_or_strong() {
        let tag = tag(b"body");
        for (tags, wanted) in [
            (tag.clone(), true),
            (format!("W/{tag}"), true),
            (format!("\"x\", {tag}"), true),
            ("*".to_owned(), true),
            ("\"x\"".to_owned(), false),
        ] {
            assert_eq!(has(&asked(&tags), &tag), wanted, "{tags}");
        }
    }

    #[test]
    fn head_keeps_the_length_and_loses_the_body() {
        let response = finished(&Method::HEAD, &HeaderMap::new(), ok(HTML, "12345"));
        assert_eq!(response.headers()[CONTENT_LENGTH], "5");
        assert_eq!(response.body().as_full().map(Bytes::len), Some(0));
    }
}
