//! One client connection: HTTP/1.1 or HTTP/2 by hyper, each request checked and handed to the handler.

use std::convert::Infallible;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt;
use http::header::{CONNECTION, CONTENT_LENGTH, HOST};
use http::{HeaderValue, Request, Response, StatusCode, Version};
use hyper::body::{Body as _, Incoming};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::Notify;

use crate::message::Body;
use crate::message::client::Connection;
use crate::server::Limits;
use crate::server::body::{Download, StallWatch, Upload};
use crate::server::drain::Drain;
use crate::server::framing::{self, Refusal};
use crate::server::handler::Handler;
use crate::server::socket::{Activity, Break, Socket};

/// Streams that one HTTP/2 connection may have open; RFC 9113 5.1.2 asks for at least 100.
const STREAMS: u32 = 128;

/// A body at hand of at most so many bytes is not watched on its way out.
const SMALL: usize = 16 * 1024;

/// Fields of one request head.
const HEADERS: usize = 128;

/// Serves a connection until it ends, or until it has nothing in flight once `drain` has started.
pub async fn serve<S, H>(
    stream: S,
    facts: Connection,
    limits: Arc<Limits>,
    handler: Arc<H>,
    drain: Drain,
) where
    S: AsyncRead + AsyncWrite + Break + Unpin + Send + 'static,
    H: Handler,
{
    let activity = Activity::new();
    let socket = TokioIo::new(Socket::new(
        stream,
        Arc::clone(&activity),
        Arc::clone(&limits),
    ));
    let stalled = Arc::new(Notify::new());
    let service = service_fn(|request: Request<Incoming>| {
        let visit = Visit {
            facts,
            limits: Arc::clone(&limits),
            handler: Arc::clone(&handler),
        };
        let (activity, stalled) = (Arc::clone(&activity), Arc::clone(&stalled));
        // hyper keeps room for the future as long as the connection lives: a kept one that rests holds a pointer, not 5 KiB.
        Box::pin(async move {
            let multiplexed = request.version() == Version::HTTP_2;
            let chunks = request.version() != Version::HTTP_10;
            let answering = activity.begin(multiplexed);
            let timeout = visit.limits.write_timeout;
            let response = visit.answer(request).await;
            // A small body at hand keeps nothing but itself waiting.
            let small = response
                .body()
                .as_full()
                .is_some_and(|bytes| bytes.len() <= SMALL);
            let watched = multiplexed && !small;
            let stall = watched.then(|| StallWatch::new(timeout, stalled));
            let framed = chunks || response.body().size_hint().exact().is_some();
            let response = response.map(|body| Download::new(body, answering, stall));
            Ok::<_, Infallible>(if framed {
                response
            } else {
                response.map(Download::unframed)
            })
        })
    });
    let builder = builder(&limits);
    let connection = builder.serve_connection(socket, service);
    tokio::pin!(connection);
    let ended = tokio::select! {
        ended = connection.as_mut() => ended,
        () = stalled.notified() => {
            limits.hit.tell("server.write_timeout");
            return tracing::debug!(peer = %facts.peer, "a client did not read");
        }
        () = drain.started() => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = ended {
        tracing::debug!(%error, peer = %facts.peer, "a client connection ended early");
    }
}

fn builder(limits: &Limits) -> auto::Builder<TokioExecutor> {
    let mut builder = auto::Builder::new(TokioExecutor::new());
    builder
        .http1()
        .timer(TokioTimer::new())
        // Heads are timed by the socket, which can tell them from rest.
        .header_read_timeout(None::<Duration>)
        .max_buf_size(limits.max_request_head.max(8192))
        .max_headers(HEADERS);
    builder
        .http2()
        .timer(TokioTimer::new())
        .max_concurrent_streams(STREAMS)
        .max_header_list_size(u32::try_from(limits.max_request_head).unwrap_or(u32::MAX))
        .max_send_buf_size(64 * 1024)
        .keep_alive_interval(Some(limits.write_timeout))
        .keep_alive_timeout(limits.write_timeout);
    builder
}

/// One request on its way to the handler.
struct Visit<H> {
    facts: Connection,
    limits: Arc<Limits>,
    handler: Arc<H>,
}

impl<H: Handler> Visit<H> {
    async fn answer(self, request: Request<Incoming>) -> Response<Body> {
        let version = request.version();
        let host = match self.admit(&request) {
            Ok(host) => host,
            Err(refused) => return close(refused, version),
        };
        let closes = framing::closes(&request);
        let (mut head, incoming) = request.into_parts();
        head.headers.insert(HOST, host);
        head.extensions.insert(self.facts);
        let request = Request::from_parts(head, Upload::open(incoming, &self.limits));
        // A panic ends the request that it happened in, and no other one.
        let answered = AssertUnwindSafe(self.handler.handle(request))
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

    /// The host of a request that may go on, or what is answered instead.
    fn admit(&self, request: &Request<Incoming>) -> Result<HeaderValue, Response<Body>> {
        let host = framing::check(request).map_err(|refusal| {
            let status = match refusal {
                Refusal::Method => StatusCode::METHOD_NOT_ALLOWED,
                _ => StatusCode::BAD_REQUEST,
            };
            tracing::debug!(%refusal, peer = %self.facts.peer, "a request was refused");
            plain(status, "Bad request")
        })?;
        if request.body().size_hint().lower() > self.limits.max_request_body {
            self.limits.hit.tell("server.max_request_body");
            return Err(plain(
                StatusCode::PAYLOAD_TOO_LARGE,
                "The request body is too large",
            ));
        }
        HeaderValue::from_str(&host).map_err(|_| plain(StatusCode::BAD_REQUEST, "Bad request"))
    }
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
