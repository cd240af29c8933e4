//! Who answers: a [`Request`] in, a [`Response`] out.

use std::future::Future;

use crate::message::client::Connection;
use crate::message::{Request, Response};

/// Answers the requests of a listener. When the client leaves, the future is dropped where it stands.
pub trait Handler: Send + Sync + 'static {
    /// Answers one request that came on the connection `from`; there is always an answer.
    fn handle(&self, request: Request, from: &Connection) -> impl Future<Output = Response> + Send;
}
