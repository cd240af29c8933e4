//! The answers of the admin listener, with the headers that all of them carry.

use std::sync::LazyLock;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::{HeaderName, HeaderValue, Method, StatusCode, header};
use maud::Markup;
use serde::Serialize;
use sha2::{Digest, Sha256};

use crate::admin::access;
use crate::admin::dashboard::{SCRIPT, STYLE};
use crate::message::{Body, Request, Response};

/// What every answer says to a browser: do not keep it, do not guess its type, do not show it inside another page, do not tell
/// others where you were.
const HEADERS: [(HeaderName, HeaderValue); 5] = [
    (header::CACHE_CONTROL, HeaderValue::from_static("no-store")),
    (
        header::X_CONTENT_TYPE_OPTIONS,
        HeaderValue::from_static("nosniff"),
    ),
    (header::X_FRAME_OPTIONS, HeaderValue::from_static("DENY")),
    (
        header::REFERRER_POLICY,
        HeaderValue::from_static("no-referrer"),
    ),
    (
        HeaderName::from_static("cross-origin-resource-policy"),
        HeaderValue::from_static("same-origin"),
    ),
];

/// The content security policy: nothing runs but our own script, known by its digest, and it speaks to us alone.
static POLICY: LazyLock<HeaderValue> = LazyLock::new(|| {
    let digest = |text: &str| STANDARD.encode(Sha256::digest(text));
    let policy = format!(
        "default-src 'none'; script-src 'sha256-{}'; style-src 'sha256-{}'; connect-src 'self'; img-src data:; \
         base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
        digest(SCRIPT),
        digest(STYLE),
    );
    // Base64 is ASCII, so this is a header's value; if it were not, nothing at all would be allowed.
    HeaderValue::try_from(policy).unwrap_or(HeaderValue::from_static("default-src 'none'"))
});

/// An answer with a body of this type.
pub fn typed(status: StatusCode, content_type: &'static str, body: impl Into<String>) -> Response {
    let mut response = streamed(content_type, Body::full(body.into()));
    *response.status_mut() = status;
    response
}

/// An answer whose body of this type comes in time.
pub fn streamed(content_type: &'static str, body: Body) -> Response {
    let mut response = Response::new(body);
    let headers = response.headers_mut();
    headers.extend(HEADERS);
    headers.insert(header::CONTENT_SECURITY_POLICY, POLICY.clone());
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
    response
}

/// What is answered to a request that would change something and may not; `open` says that no token is asked for.
pub fn refusal(request: &Request, open: bool) -> Option<Response> {
    if *request.method() != Method::POST {
        let mut response = text(StatusCode::METHOD_NOT_ALLOWED, "only POST");
        let allow = HeaderValue::from_static("POST");
        response.headers_mut().insert(header::ALLOW, allow);
        return Some(response);
    }
    (open && !access::is_own_doing(request.headers())).then(|| {
        text(
            StatusCode::FORBIDDEN,
            "without a token this takes Content-Type: application/json and no Origin but this one",
        )
    })
}

/// A line of text.
pub fn text(status: StatusCode, line: &str) -> Response {
    typed(status, "text/plain; charset=utf-8", format!("{line}\n"))
}

/// A page.
pub fn html(status: StatusCode, page: Markup) -> Response {
    typed(status, "text/html; charset=utf-8", page.into_string())
}

/// A value as JSON.
pub fn json(value: &impl Serialize) -> Response {
    match serde_json::to_string(value) {
        Ok(json) => typed(StatusCode::OK, "application/json", json + "\n"),
        Err(error) => {
            tracing::error!(%error, "an admin answer could not be written as JSON");
            text(StatusCode::INTERNAL_SERVER_ERROR, "no answer")
        }
    }
}

/// The answer to HEAD: that to GET without its body (RFC 9110 9.3.2).
pub fn without_body(mut response: Response) -> Response {
    if let Some(bytes) = response.body().as_full() {
        let length = HeaderValue::from(bytes.len());
        response
            .headers_mut()
            .insert(header::CONTENT_LENGTH, length);
    }
    response.map(|_| Body::empty())
}
