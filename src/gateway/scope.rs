//! What templates may read of a visitor's request: `$(HTTP_HOST)`, `$(QUERY_STRING)`, and of cookies only those that
//! `compose.readable_cookies` allows.

use bytes::Bytes;
use http::header::HOST;

use crate::config::ComposeConfig;
use crate::expr::RequestFacts;
use crate::gateway::visit::Visit;
use crate::message::cookie;

/// The facts of a visit. `session_cookies` are hidden unless they are named readable.
pub fn facts(visit: &Visit, compose: &ComposeConfig, session_cookies: &[String]) -> RequestFacts {
    let named =
        |names: &[String], name: &[u8]| names.iter().any(|wanted| wanted.as_bytes() == name);
    let readable = |name: &[u8]| match &compose.readable_cookies {
        Some(readable) => named(readable, name),
        None => !named(session_cookies, name),
    };
    let copy = Bytes::copy_from_slice;
    let query = visit.target.split_once('?').map_or("", |(_, query)| query);
    RequestFacts {
        method: copy(visit.method.as_str().as_bytes()),
        path: copy(visit.path().as_bytes()),
        query: copy(query.as_bytes()),
        host: visit
            .client_headers
            .get(HOST)
            .map_or_else(Bytes::new, |host| copy(host.as_bytes())),
        remote_addr: Bytes::from(visit.client.to_string()),
        headers: visit
            .client_headers
            .iter()
            .map(|(name, value)| (copy(name.as_str().as_bytes()), copy(value.as_bytes())))
            .collect(),
        cookies: cookie::pairs(&visit.client_headers)
            .filter(|(name, _)| readable(name))
            .map(|(name, value)| (copy(name), copy(value)))
            .collect(),
    }
}
