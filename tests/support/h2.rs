//! An HTTP/2 client, with prior knowledge or after ALPN.

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http2::SendRequest;
use hyper_util::rt::{TokioExecutor, TokioIo};

use super::wire::Io;
use super::within;

/// One HTTP/2 connection; clones ask on the same one.
#[derive(Clone)]
pub struct H2(SendRequest<Full<Bytes>>);

impl H2 {
    /// Shakes hands over a stream that is there.
    pub async fn over(stream: impl Io + 'static) -> Self {
        let shake =
            hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream));
        let (sender, connection) = within("an HTTP/2 handshake", shake)
            .await
            .expect("the gateway speaks HTTP/2");
        tokio::spawn(connection);
        Self(sender)
    }

    /// GET with these fields; status, head and whole body.
    pub async fn get(
        &mut self,
        url: &str,
        fields: &[(&str, &str)],
    ) -> (http::HeaderMap, u16, String) {
        let mut request = http::Request::get(url);
        for (name, value) in fields {
            request = request.header(*name, *value);
        }
        let request = request
            .body(Full::new(Bytes::new()))
            .expect("a sound request");
        let answer = within("an answer by HTTP/2", self.0.send_request(request))
            .await
            .expect("an answer");
        let (head, body) = answer.into_parts();
        let bytes = within("the body", body.collect())
            .await
            .expect("a whole body")
            .to_bytes();
        let text = String::from_utf8_lossy(&bytes).into_owned();
        (head.headers, head.status.as_u16(), text)
    }
}
