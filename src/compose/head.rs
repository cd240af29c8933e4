//! What the tags of a page do to its response's head: `$add_header`, `$set_response_code`, `$set_redirect`; and which header
//! fields no tag may touch, in responses and in the requests of fragments.

use bytes::Bytes;
use http::header::LOCATION;
use http::{HeaderName, HeaderValue};

use crate::expr::Refusal;

/// Changes to the head of a page, in the order of evaluation.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct HeadEdits {
    /// The status instead of the skeleton's.
    pub status: Option<u16>,
    /// Fields to add.
    pub headers: Vec<(HeaderName, HeaderValue)>,
    /// The URL of a redirect, which is a 302 unless `status` says else.
    pub redirect: Option<HeaderValue>,
    /// The body instead of the composed one.
    pub body: Option<Bytes>,
}

impl HeadEdits {
    /// Whether nothing is to be changed.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// The status that the page is to have, if it is changed.
    pub fn final_status(&self) -> Option<u16> {
        self.status.or(self.redirect.is_some().then_some(302))
    }

    pub(super) fn add(&mut self, name: &[u8], value: &[u8]) -> Result<(), Refusal> {
        let name = HeaderName::from_bytes(name).map_err(|_| Refusal("not the name of a header"))?;
        let value =
            HeaderValue::from_bytes(value).map_err(|_| Refusal("not the value of a header"))?;
        if is_framing(&name) || name == LOCATION && self.redirect.is_some() {
            return Err(Refusal("the gateway alone sets this header"));
        }
        self.headers.push((name, value));
        Ok(())
    }

    pub(super) fn redirect(&mut self, url: &[u8]) -> Result<(), Refusal> {
        let url = HeaderValue::from_bytes(url).map_err(|_| Refusal("not a URL"))?;
        self.redirect = Some(url);
        Ok(())
    }
}

/// Hop-by-hop and framing fields (RFC 9110 7.6.1, RFC 9112 6).
pub(super) fn is_framing(name: &HeaderName) -> bool {
    matches!(
        name.as_str(),
        "connection"
            | "keep-alive"
            | "proxy-connection"
            | "proxy-authenticate"
            | "proxy-authorization"
            | "proxy-authentication-info"
            | "te"
            | "trailer"
            | "transfer-encoding"
            | "upgrade"
            | "content-length"
            | "content-encoding"
            | "content-range"
            | "expect"
    )
}

/// What no tag may set on a fragment's request: what says whose request it is, where it goes, and where it ends.
pub(super) fn is_refused_in_requests(name: &HeaderName) -> bool {
    is_framing(name) || matches!(name.as_str(), "host" | "cookie" | "authorization")
}

/// Reads `Name: value`.
pub(super) fn field(line: &[u8]) -> Option<(HeaderName, HeaderValue)> {
    let colon = memchr::memchr(b':', line)?;
    let name = HeaderName::from_bytes(line[..colon].trim_ascii()).ok()?;
    let value = HeaderValue::from_bytes(line[colon + 1..].trim_ascii()).ok()?;
    Some((name, value))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_that_frame_a_message_are_refused() {
        let mut edits = HeadEdits::default();
        for name in [
            "Content-Length",
            "transfer-encoding",
            "Connection",
            "TE",
            "Upgrade",
        ] {
            assert!(edits.add(name.as_bytes(), b"1").is_err(), "{name}");
        }
        assert!(edits.add(b"X-A", b"1\r\nX-B: 2").is_err());
        assert!(edits.add(b"X A", b"1").is_err());
        assert!(edits.is_empty());
        assert!(edits.add(b"X-A", b"1").is_ok());
        assert_eq!(edits.final_status(), None);
        assert!(edits.redirect(b"/there").is_ok());
        assert_eq!(edits.final_status(), Some(302));
        edits.status = Some(301);
        assert_eq!(edits.final_status(), Some(301));
    }

    #[test]
    fn a_field_is_a_name_a_colon_and_a_value() {
        let (name, value) = field(b"X-Mode :  edge ").expect("a field");
        assert_eq!((name.as_str(), value.as_bytes()), ("x-mode", &b"edge"[..]));
        for wrong in [
            &b"X-Mode"[..],
            b": x",
            b"X-A: a\r\nX-B: b",
            b"X\0: a",
            b"X: a\0",
        ] {
            assert!(field(wrong).is_none(), "{}", wrong.escape_ascii());
        }
    }
}
