//! A request as it goes upstream. Many that are sent for one page ask alike, so its fields may be those of others too.

use std::sync::Arc;

use http::{HeaderMap, Method, Uri};

use crate::message::{Body, Request};

/// A request on its way to an upstream.
#[derive(Debug)]
pub struct OutgoingRequest {
    /// Its method.
    pub method: Method,
    /// Path and query.
    pub uri: Uri,
    /// All its fields.
    pub fields: Arc<HeaderMap>,
    /// Its body, as long as it has not been sent.
    pub body: Body,
}

impl OutgoingRequest {
    /// A GET for a path and query.
    pub fn get(uri: Uri, fields: Arc<HeaderMap>) -> Self {
        Self {
            method: Method::GET,
            uri,
            fields,
            body: Body::empty(),
        }
    }

    /// The same request, with the body in it. This one stays without.
    pub fn take(&mut self) -> Self {
        Self {
            method: self.method.clone(),
            uri: self.uri.clone(),
            fields: Arc::clone(&self.fields),
            body: std::mem::replace(&mut self.body, Body::empty()),
        }
    }
}

impl From<Request> for OutgoingRequest {
    fn from(request: Request) -> Self {
        let (head, body) = request.into_parts();
        Self {
            method: head.method,
            uri: head.uri,
            fields: Arc::new(head.headers),
            body,
        }
    }
}
