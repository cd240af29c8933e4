//! An exchange on HTTP/2: what is different there, and who holds the permit.
//!
//! A server that has been told to forget a request (`RST_STREAM`) says nothing when it has done so, while one on HTTP/1.1 closes its
//! connection. So that a server with a limit never has more than that, an exchange that was broken off is read on to its end, for a bounded time
//! and by nobody, and its permit is given back then.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use http::header::{CONNECTION, HOST, TRANSFER_ENCODING, UPGRADE};
use http::uri::{Authority, PathAndQuery, Scheme};
use http::{Request, Response, Uri, Version};
use http_body::Body as _;
use hyper::body::Incoming;
use hyper::client::conn::TrySendError;

use crate::upstream::client::Outbound;
use crate::upstream::connection::Shared;
use crate::upstream::pool::Permit;
use crate::upstream::server::Server;

type Sent = Result<Response<Incoming>, TrySendError<Request<Outbound>>>;

/// A request on its way, and its permit.
pub struct Sending {
    sending: Option<Pin<Box<dyn Future<Output = Sent> + Send>>>,
    held: Option<Held>,
}

/// What an exchange on HTTP/2 holds until its end.
pub struct Held {
    shared: Shared,
    /// Given back with it.
    _permit: Permit,
    linger: Option<Duration>,
}

impl Sending {
    /// Sends a request; `linger` bounds how long one that is broken off is read on.
    pub fn begin(
        mut shared: Shared,
        permit: Permit,
        request: Request<Outbound>,
        linger: Option<Duration>,
    ) -> Self {
        let request = on_http2(request, shared.scheme(), permit.server());
        let sending = shared.sender().try_send_request(request);
        Self {
            sending: Some(Box::pin(sending)),
            held: Some(Held {
                shared,
                _permit: permit,
                linger,
            }),
        }
    }

    /// What is held until the answer has been read; the head has come.
    pub fn into_held(mut self) -> Option<Held> {
        self.sending = None;
        self.held.take()
    }

    /// There was no answer in time: nothing more is sent on this connection.
    pub fn retire(&self) {
        if let Some(held) = &self.held {
            held.shared.retire();
        }
    }
}

impl Future for Sending {
    type Output = Sent;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Sent> {
        let Some(sending) = &mut self.sending else {
            return Poll::Pending;
        };
        let sent = std::task::ready!(sending.as_mut().poll(context));
        self.sending = None;
        Poll::Ready(sent)
    }
}

impl Drop for Sending {
    fn drop(&mut self) {
        let (Some(sending), Some(held)) = (self.sending.take(), self.held.take()) else {
            return;
        };
        held.linger(async move {
            if let Ok(response) = sending.await {
                read_on(response.into_body()).await;
            }
        });
    }
}

impl Held {
    /// The answer was broken off: it is read on by nobody.
    pub fn abandon(self, incoming: Incoming) {
        self.linger(read_on(incoming));
    }

    fn linger(self, rest: impl Future<Output = ()> + Send + 'static) {
        let Some(limit) = self.linger else {
            return;
        };
        // Without a runtime the process ends, and nobody counts any more.
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            runtime.spawn(async move {
                let _ = tokio::time::timeout(limit, rest).await;
                drop(self);
            });
        }
    }
}

async fn read_on(mut incoming: Incoming) {
    while let Some(Ok(_)) =
        std::future::poll_fn(|context| Pin::new(&mut incoming).poll_frame(context)).await
    {}
}

/// The request as HTTP/2 has it: a whole URL, no `Host` beside it, no fields of one connection (RFC 9113 8.2.2, 8.3.1).
fn on_http2(
    mut request: Request<Outbound>,
    scheme: &'static str,
    server: &Server,
) -> Request<Outbound> {
    let host = request.headers_mut().remove(HOST);
    for field in [CONNECTION, TRANSFER_ENCODING, UPGRADE] {
        request.headers_mut().remove(field);
    }
    let authority = host
        .and_then(|host| Authority::try_from(host.as_bytes()).ok())
        .or_else(|| server.address().to_string().parse().ok())
        .unwrap_or_else(|| Authority::from_static("localhost"));
    let target = request.uri().path_and_query().cloned();
    let uri = Uri::builder()
        .scheme(if scheme == "https" {
            Scheme::HTTPS
        } else {
            Scheme::HTTP
        })
        .authority(authority)
        .path_and_query(target.unwrap_or_else(|| PathAndQuery::from_static("/")))
        .build();
    // Of these three parts a URL can always be made; were it not so, the server would refuse what is left.
    if let Ok(uri) = uri {
        *request.uri_mut() = uri;
    }
    *request.version_mut() = Version::HTTP_2;
    request
}
