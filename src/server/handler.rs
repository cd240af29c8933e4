//! Who answers: a [`Request`] in, a [`Response`] out.

use std::fmt::Display;
use std::future::Future;

use http::{HeaderMap, Method, Uri};

use crate::message::client::Connection;
use crate::message::{Request, Response};

/// Answers the requests of a listener. When the client leaves, the future is dropped where it stands.
pub trait Handler: Send + Sync + 'static {
    /// Answers one request that came on the connection `from`; there is always an answer.
    fn handle(&self, request: Request, from: &Connection) -> impl Future<Output = Response> + Send;

    /// Is told of a request that never got here: the listener refused it with that response, whose head may be completed.
    fn refused(&self, _refused: &Refused<'_>, _response: &mut Response, _from: &Connection) {}
}

/// A request that was refused for what its head says.
pub struct Refused<'a> {
    /// What was read of it; nothing where that could not be told.
    pub head: Option<(&'a Method, &'a Uri, &'a HeaderMap)>,
    /// Why.
    pub reason: &'a dyn Display,
}
