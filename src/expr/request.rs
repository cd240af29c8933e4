//! The client's request as expressions see it: plain bytes, and the built-in variables over them.

use bytes::Bytes;

/// What a request offers to expressions. Cookies that a page must not read are never put in.
#[derive(Debug, Clone, Default)]
pub struct RequestFacts {
    /// The method, `GET`.
    pub method: Bytes,
    /// The path, without the query.
    pub path: Bytes,
    /// The query without its `?`, as sent.
    pub query: Bytes,
    /// The host as sent.
    pub host: Bytes,
    /// The client's address.
    pub remote_addr: Bytes,
    /// Header fields in the order sent: name in lower case, value. `cookie`, `authorization` and `proxy-authorization`
    /// are never shown, even when they stand here.
    pub headers: Vec<(Bytes, Bytes)>,
    /// The readable cookies in the order sent: name, value.
    pub cookies: Vec<(Bytes, Bytes)>,
}
