//! Who answers: a [`Request`] in, a [`Response`] out.

use std::future::Future;

use crate::message::{Request, Response};

/// Answers the requests of a listener. The request's extensions hold the [`Connection`](crate::message::client::Connection)
/// that it came on. When the client leaves, the future is dropped where it stands.
pub trait Handler: Send + Sync + 'static {
    /// Answers one request; there is always an answer.
    fn handle(&self, request: Request) -> impl Future<Output = Response> + Send;
}
