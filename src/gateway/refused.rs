//! Requests that are refused for what their heads say, before they have a route: they are recorded like all others.

use http::header::HOST;
use http::{HeaderMap, HeaderValue, Method, Version};
use tokio::time::Instant;

use crate::gateway::Gateway;
use crate::gateway::error::GatewayError;
use crate::gateway::respond;
use crate::gateway::visit::Turned;
use crate::message::client::Connection;
use crate::message::{Response, headers};
use crate::observe::metrics::{RouteMetrics, UpstreamMetrics};
use crate::observe::page::PageStart;
use crate::observe::request_id::RequestId;
use crate::server::handler::Refused;

/// What an authority names, without the user and password that may stand before it.
fn named(authority: &str) -> String {
    let host = authority.rsplit('@').next();
    host.unwrap_or_default().to_owned()
}

impl Gateway {
    /// Answers a request that is turned away for its target; `by` stands in the place of its route.
    pub(super) fn turn_away(
        &self,
        turned: Turned,
        from: &Connection,
        by: Option<(&RouteMetrics, &UpstreamMetrics)>,
    ) -> Response {
        let Turned { head, reason } = turned;
        let error = GatewayError::from(reason);
        let mut response = respond::refusal(&error, head.version);
        let refused = Refused {
            head: Some((&head.method, &head.uri, &head.headers)),
            reason: &error,
        };
        self.refused(&refused, &mut response, from, by);
        response
    }

    /// Records a request that was refused with this response, and completes the head of that.
    pub(super) fn refused(
        &self,
        refused: &Refused<'_>,
        response: &mut Response,
        from: &Connection,
        by: Option<(&RouteMetrics, &UpstreamMetrics)>,
    ) {
        let id = RequestId::new();
        let nothing = HeaderMap::new();
        // What could not be read has no method.
        let unread = Method::from_bytes(b"-").unwrap_or_default();
        let (method, url, fields) = match refused.head {
            None => (&unread, String::new(), &nothing),
            Some((method, uri, fields)) => {
                let target = uri.path_and_query();
                let url = target.map_or_else(|| named(&uri.to_string()), ToString::to_string);
                (method, url, fields)
            }
        };
        let line = fields.get(HOST).map(HeaderValue::as_bytes);
        let authority = refused.head.and_then(|(_, uri, _)| uri.authority());
        let authority = authority.map(|it| it.as_str().as_bytes());
        let host = line.or(authority).unwrap_or_default();
        let host = named(&String::from_utf8_lossy(host)).to_ascii_lowercase();
        let page = self.observer.page(&PageStart {
            came: Instant::now(),
            id: &id,
            client: self.trust.client(fields, from.peer.ip()),
            method,
            host: &host,
            url: &url,
            headers: fields,
        });
        if let Some((route, upstream)) = by {
            page.trace().routed(route, upstream);
        }
        page.trace().status(response.status());
        page.trace().failed(refused.reason);
        headers::append_via(response.headers_mut(), Version::HTTP_11);
        if let Ok(id) = HeaderValue::from_str(id.as_str()) {
            response.headers_mut().insert(headers::X_REQUEST_ID, id);
        }
        let bytes = response.body().as_full().map_or(0, bytes::Bytes::len);
        page.finish_whole(bytes);
    }
}
