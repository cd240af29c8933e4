//! One client connection: HTTP/1.1 or HTTP/2 by hyper, each request checked and handed to the handler.

use std::borrow::Cow;
use std::convert::Infallible;
use std::fmt::Display;
use std::future::poll_fn;
use std::panic::AssertUnwindSafe;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Poll, ready};
use std::time::Duration;

use futures::FutureExt;
use http::header::{ALLOW, CONNECTION, CONTENT_LENGTH, HOST};
use http::{HeaderValue, Request, Response, StatusCode, Version};
use hyper::body::{Body as _, Incoming};
use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::Notify;

use crate::message::Body;
use crate::message::client::Connection;
use crate::server::Limits;
use crate::server::body::{Download, StallWatch, Upload};
use crate::server::drain::Drain;
use crate::server::framing::{self, Refusal};
use crate::server::handler::{Handler, Refused};
use crate::server::socket::{Activity, Answering, Break, Socket, Spoken};

/// Streams that one HTTP/2 connection may have open; RFC 9113 5.1.2 asks for at least 100.
const STREAMS: u32 = 128;

/// A body at hand of at most so many bytes is not watched on its way out.
const SMALL: usize = 16 * 1024;

/// What is served in the place of CONNECT and TRACE.
const SERVED: HeaderValue =
    HeaderValue::from_static("GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS");

/// Serves a connection until it ends, or until it has nothing in flight once `drain` has started.
///
/// What it returns is what a connection that rests holds, so it is kept small: blocks in the place of functions, which would keep
/// their arguments twice, and nothing that only the beginning needs.
pub fn serve<S, H>(
    stream: S,
    facts: Connection,
    limits: Arc<Limits>,
    handler: Arc<H>,
    drain: Drain,
) -> impl Future<Output = ()> + Send
where
    S: AsyncRead + AsyncWrite + Break + Unpin + Send + 'static,
    H: Handler,
{
    let activity = Activity::new();
    let socket = Socket::new(stream, Arc::clone(&activity), Arc::clone(&limits));
    let mut socket = TokioIo::new(socket);
    let visits = Arc::new(Visits {
        facts,
        limits,
        handler,
        activity,
    });
    async move {
        let spoken = tokio::select! {
            spoken = socket.inner_mut().spoken() => spoken,
            () = drain.started() => return,
        };
        match spoken {
            Ok(Spoken::Http1) => speak_http1(socket, visits, drain).await,
            // A connection of HTTP/1 is not to hold room for what HTTP/2 needs.
            Ok(Spoken::Http2) => Box::pin(speak_http2(socket, visits, drain)).await,
            Err(error) => visits.ended_early(&error),
        }
    }
}

fn speak_http1<S, H>(
    socket: TokioIo<Socket<S>>,
    visits: Arc<Visits<H>>,
    drain: Drain,
) -> impl Future<Output = ()> + Send
where
    S: AsyncRead + AsyncWrite + Break + Unpin + Send + 'static,
    H: Handler,
{
    let served = Arc::clone(&visits);
    // hyper keeps room for the future as long as the connection lives: a kept one that rests holds a pointer.
    let service = service_fn(move |request| Box::pin(Arc::clone(&served).serve(request, None)));
    let mut connection = http1::Builder::new()
        .timer(TokioTimer::new())
        // A head has at most 100 fields: hyper's own bound, for which it has room without asking for memory.
        // Heads are timed by the socket, which can tell them from rest.
        .header_read_timeout(None::<Duration>)
        .max_buf_size(visits.limits.max_request_head.max(8192))
        .serve_connection(socket, service);
    let mut draining = Some(Box::pin(async move { drain.started().await }));
    poll_fn(move |context| {
        loop {
            if let Poll::Ready(ended) = Pin::new(&mut connection).poll(context) {
                if let Err(error) = ended {
                    visits.refused_by_hyper(&error);
                    visits.ended_early(&error);
                }
                return Poll::Ready(());
            }
            let Some(started) = &mut draining else {
                return Poll::Pending;
            };
            ready!(started.as_mut().poll(context));
            draining = None;
            Pin::new(&mut connection).graceful_shutdown();
        }
    })
}

async fn speak_http2<S, H>(socket: TokioIo<Socket<S>>, visits: Arc<Visits<H>>, drain: Drain)
where
    S: AsyncRead + AsyncWrite + Break + Unpin + Send + 'static,
    H: Handler,
{
    let limits = Arc::clone(&visits.limits);
    let mut builder = http2::Builder::new(TokioExecutor::new());
    builder
        .timer(TokioTimer::new())
        .max_concurrent_streams(STREAMS)
        .max_header_list_size(u32::try_from(limits.max_request_head).unwrap_or(u32::MAX))
        .max_send_buf_size(64 * 1024)
        .keep_alive_interval(Some(limits.write_timeout))
        .keep_alive_timeout(limits.write_timeout);
    let stalled = Arc::new(Notify::new());
    let service = service_fn(|request| {
        let stalled = Some(Arc::clone(&stalled));
        Box::pin(Arc::clone(&visits).serve(request, stalled))
    });
    let connection = builder.serve_connection(socket, service);
    tokio::pin!(connection);
    let does_not_read = async {
        tokio::select! {
            () = stalled.notified() => {}
            () = visits.activity.untaken(limits.write_timeout) => {}
        }
    };
    let ended = tokio::select! {
        ended = connection.as_mut() => ended,
        () = does_not_read => {
            limits.hit.tell("server.write_timeout");
            return tracing::debug!(peer = %visits.facts.peer, "a client did not read");
        }
        () = drain.started() => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = ended {
        visits.ended_early(&error);
    }
}

/// The requests of one connection on their way to the handler.
struct Visits<H> {
    facts: Connection,
    limits: Arc<Limits>,
    handler: Arc<H>,
    activity: Arc<Activity>,
}

impl<H: Handler> Visits<H> {
    fn ended_early(&self, error: &dyn Display) {
        tracing::debug!(%error, peer = %self.facts.peer, "a client connection ended early");
    }

    /// hyper answers a head that it cannot read, and nobody else hears of it.
    fn refused_by_hyper(&self, error: &hyper::Error) {
        // Else it is the end of a connection on which nothing, or half a head, has come.
        if !error.is_parse() || error.is_parse_version_h2() {
            return;
        }
        let status = if error.is_parse_too_large() {
            self.limits.hit.tell("server.max_request_head");
            // 414 for a target of more than 64 KiB, which cannot be told apart here.
            StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE
        } else {
            StatusCode::BAD_REQUEST
        };
        let refused = Refused {
            head: None,
            reason: error,
        };
        let mut response = Response::new(Body::empty());
        *response.status_mut() = status;
        self.handler.refused(&refused, &mut response, &self.facts);
    }

    /// One of them, until its answer is on its way; `stalled` is told when its client takes nothing of it, where the socket cannot
    /// see that.
    #[expect(
        clippy::manual_async_fn,
        reason = "a function keeps its arguments twice"
    )]
    fn serve(
        self: Arc<Self>,
        request: Request<Incoming>,
        stalled: Option<Arc<Notify>>,
    ) -> impl Future<Output = Result<Response<Download>, Infallible>> {
        async move {
            let version = request.version();
            let answering = self.activity.begin(version == Version::HTTP_2);
            let response = match self.admit(&request) {
                Err(refused) => close(refused, version),
                Ok(host) => {
                    let closes = framing::closes(&request);
                    let request = self.admitted(request, host);
                    // A panic ends the request that it happened in, and no other one.
                    let answered = AssertUnwindSafe(self.handler.handle(request, &self.facts))
                        .catch_unwind()
                        .await;
                    let response = answered.unwrap_or_else(|_| {
                        tracing::error!("a request ended in a panic");
                        plain(StatusCode::INTERNAL_SERVER_ERROR, "Internal error")
                    });
                    if closes {
                        close(response, version)
                    } else {
                        response
                    }
                }
            };
            Ok(self.download(response, answering, version, stalled))
        }
    }

    /// A request as handlers know it.
    fn admitted(
        &self,
        request: Request<Incoming>,
        host: Option<HeaderValue>,
    ) -> crate::message::Request {
        let mut request = request.map(|incoming| Upload::open(incoming, &self.limits));
        if let Some(host) = host {
            request.headers_mut().insert(HOST, host);
        }
        request
    }

    /// An answer on its way out.
    fn download(
        &self,
        response: Response<Body>,
        mut answering: Answering,
        version: Version,
        stalled: Option<Arc<Notify>>,
    ) -> Response<Download> {
        // A small body at hand keeps nothing but itself waiting: all of a connection are watched together.
        let small = response
            .body()
            .as_full()
            .is_some_and(|bytes| bytes.len() <= SMALL);
        if small && stalled.is_some() {
            answering.is_at_hand();
        }
        let stall = stalled
            .filter(|_| !small)
            .map(|stalled| StallWatch::new(self.limits.write_timeout, stalled));
        let framed = version != Version::HTTP_10 || response.body().size_hint().exact().is_some();
        let response = response.map(|body| Download::new(body, answering, stall));
        if framed {
            response
        } else {
            response.map(Download::unframed)
        }
    }

    /// The host of a request that may go on, where it stands not yet so in its head; or what is answered instead.
    fn admit(&self, request: &Request<Incoming>) -> Result<Option<HeaderValue>, Response<Body>> {
        let refusal = match self.check(request) {
            Ok(Cow::Borrowed(_)) => return Ok(None),
            Ok(Cow::Owned(host)) => match HeaderValue::try_from(host) {
                Ok(host) => return Ok(Some(host)),
                Err(_) => Refusal::Host,
            },
            Err(refusal) => refusal,
        };
        tracing::debug!(%refusal, peer = %self.facts.peer, "a request was refused");
        let mut response = match refusal {
            Refusal::Method => plain(
                StatusCode::METHOD_NOT_ALLOWED,
                "The method is not served here",
            ),
            Refusal::Body => plain(
                StatusCode::PAYLOAD_TOO_LARGE,
                "The request body is too large",
            ),
            Refusal::Head => {
                let status = StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE;
                plain(status, "The request head is too large")
            }
            _ => plain(StatusCode::BAD_REQUEST, "Bad request"),
        };
        let refused = Refused {
            head: Some((request.method(), request.uri(), request.headers())),
            reason: &refusal,
        };
        self.handler.refused(&refused, &mut response, &self.facts);
        Err(response)
    }

    fn check<'r>(&self, request: &'r Request<Incoming>) -> Result<Cow<'r, str>, Refusal> {
        let host = framing::check(request)?;
        // hyper holds the bound only against what it has read by then.
        if head_size(request) > self.limits.max_request_head {
            self.limits.hit.tell("server.max_request_head");
            return Err(Refusal::Head);
        }
        if request.body().size_hint().lower() > self.limits.max_request_body {
            self.limits.hit.tell("server.max_request_body");
            return Err(Refusal::Body);
        }
        Ok(host)
    }
}

/// Bytes of the head of a request as HTTP/1.1 writes it, less what is in no way the client's.
fn head_size<B>(request: &Request<B>) -> usize {
    let target = request
        .uri()
        .path_and_query()
        .map_or(0, |it| it.as_str().len());
    let fields = request.headers().iter();
    let fields: usize = fields
        .map(|(name, value)| name.as_str().len() + value.len() + 4)
        .sum();
    target + fields
}

fn plain(status: StatusCode, text: &'static str) -> Response<Body> {
    let mut response = Response::new(Body::full(format!("{text}\n")));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(
        http::header::CONTENT_TYPE,
        HeaderValue::from_static("text/plain; charset=utf-8"),
    );
    headers.insert(
        http::header::CACHE_CONTROL,
        HeaderValue::from_static("no-store"),
    );
    if status == StatusCode::METHOD_NOT_ALLOWED {
        // RFC 9110 15.5.6.
        headers.insert(ALLOW, SERVED);
    }
    if let Some(length) = response.body().as_full().map(bytes::Bytes::len) {
        response
            .headers_mut()
            .insert(CONTENT_LENGTH, HeaderValue::from(length));
    }
    response
}

/// HTTP/1.1 connections end after this answer; HTTP/2 has no word for that in a response.
fn close(mut response: Response<Body>, version: Version) -> Response<Body> {
    if version != Version::HTTP_2 {
        response
            .headers_mut()
            .insert(CONNECTION, HeaderValue::from_static("close"));
    }
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Nobody;

    impl Handler for Nobody {
        async fn handle(&self, _: crate::message::Request, _: &Connection) -> Response<Body> {
            Response::new(Body::empty())
        }
    }

    #[tokio::test]
    async fn a_connection_that_rests_holds_little() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0")
            .await
            .expect("loopback can be listened on");
        let address = listener.local_addr().expect("it is bound");
        let stream = tokio::net::TcpStream::connect(address)
            .await
            .expect("it listens");
        let facts = Connection {
            peer: address,
            local: address,
            tls: false,
        };
        let served = serve(
            stream,
            facts,
            Arc::default(),
            Arc::new(Nobody),
            Drain::new(),
        );
        let bytes = size_of_val(&served);
        assert!(bytes <= 1000, "{bytes} bytes");
    }
}
