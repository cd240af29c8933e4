//! From an error to a response: the only such place. Users are told nothing of the inside; the log tells operators all.

use http::header::{ALLOW, CACHE_CONTROL, CONNECTION, CONTENT_LENGTH, CONTENT_TYPE, RETRY_AFTER};
use http::{HeaderValue, StatusCode, Version};

use crate::gateway::error::GatewayError;
use crate::message::{Body, Response};

/// How long a client should wait before it comes again, in seconds, when there is no room now.
const RETRY_AFTER_SECONDS: HeaderValue = HeaderValue::from_static("1");

/// The response to a request that could not be answered.
pub fn error(error: &GatewayError) -> Response {
    let status = error.status();
    let mut response = Response::new(Body::full(page(status)));
    *response.status_mut() = status;
    let length = response.body().as_full().map_or(0, bytes::Bytes::len);
    let headers = response.headers_mut();
    headers.insert(
        CONTENT_TYPE,
        HeaderValue::from_static("text/html; charset=utf-8"),
    );
    headers.insert(CONTENT_LENGTH, HeaderValue::from(length));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    if status == StatusCode::SERVICE_UNAVAILABLE {
        headers.insert(RETRY_AFTER, RETRY_AFTER_SECONDS);
    }
    if status == StatusCode::METHOD_NOT_ALLOWED {
        headers.insert(
            ALLOW,
            HeaderValue::from_static("GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS"),
        );
    }
    response
}

/// The response to a request that readers would understand differently: what comes after it on its connection is not read.
pub fn refusal(refused: &GatewayError, version: Version) -> Response {
    let mut response = error(refused);
    // HTTP/2 has no such field; its streams are apart.
    if version != Version::HTTP_2 {
        let close = HeaderValue::from_static("close");
        response.headers_mut().insert(CONNECTION, close);
    }
    response
}

fn page(status: StatusCode) -> String {
    let (title, text) = match status {
        StatusCode::BAD_REQUEST => ("Bad request", "The request could not be understood."),
        StatusCode::NOT_FOUND => ("Not found", "There is nothing at this address."),
        StatusCode::REQUEST_TIMEOUT => ("Too slow", "The request took too long to arrive."),
        StatusCode::PAYLOAD_TOO_LARGE => {
            ("Too large", "The request is larger than is accepted here.")
        }
        StatusCode::SERVICE_UNAVAILABLE => (
            "Busy",
            "There is too much to do right now. Please try again in a moment.",
        ),
        StatusCode::GATEWAY_TIMEOUT => (
            "No answer in time",
            "The page took too long. Please try again.",
        ),
        _ => (
            "Something went wrong",
            "The page could not be made. Please try again.",
        ),
    };
    format!(
        "<!doctype html><html lang=\"en\"><meta charset=\"utf-8\"><meta name=\"viewport\" content=\"width=device-width\">\
         <title>{title}</title><style>body{{font:1.1rem/1.5 system-ui,sans-serif;max-width:32rem;margin:20vh auto;padding:0 1rem;\
         color:#222}}h1{{font-size:1.4rem}}</style><h1>{title}</h1><p>{text}</p></html>\n"
    )
}
