//! The origin of a case: it answers for the page and for each fragment as the case says, and remembers what it was asked.

use std::collections::BTreeMap;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};

use bytes::Bytes;
use http::header::HOST;
use http::{HeaderMap, StatusCode};
use http_body::{Body as HttpBody, Frame};

use crate::cli::case::vector::{Canned, Vector};
use crate::message::client::Connection;
use crate::message::{Body, BodyError, Request, Response};
use crate::server::handler::Handler;

/// Most bytes of a request's body that are remembered.
const BODY: usize = 16 * 1024 * 1024;

/// Answers for one case.
pub struct Origin {
    vector: Arc<Vector>,
    log: Mutex<Log>,
}

#[derive(Default)]
struct Log {
    /// The first request for it is the gateway's own for the skeleton; each further one is an include's.
    page_was_asked: bool,
    seen: BTreeMap<String, Vec<Seen>>,
}

/// A request for a fragment.
#[derive(Debug, Clone)]
pub struct Seen {
    /// Its method.
    pub method: String,
    /// Its fields.
    pub headers: HeaderMap,
    /// Its body.
    pub body: Bytes,
}

impl Origin {
    /// An origin that was asked for nothing yet.
    pub fn new(vector: Arc<Vector>) -> Self {
        Self {
            vector,
            log: Mutex::default(),
        }
    }

    /// What was asked so far, by fragment.
    pub fn seen(&self) -> BTreeMap<String, Vec<Seen>> {
        let log = self.log.lock().unwrap_or_else(PoisonError::into_inner);
        log.seen.clone()
    }

    /// The key of a fragment: with its query where the case names it so, or where it names it not at all.
    fn key(&self, host: &str, target: &str) -> String {
        let prefix = if host == self.vector.request.host {
            String::new()
        } else {
            format!("//{host}")
        };
        let exact = format!("{prefix}{target}");
        let path = target.split('?').next().unwrap_or_default();
        let plain = format!("{prefix}{path}");
        let known = &self.vector.fragments;
        if !known.contains_key(&exact) && known.contains_key(&plain) {
            plain
        } else {
            exact
        }
    }

    /// Whether this is the request for the page itself.
    fn is_page(&self, host: &str, target: &str) -> bool {
        let asked = &self.vector.request;
        if host != asked.host || asked.target != target {
            return false;
        }
        let mut log = self.log.lock().unwrap_or_else(PoisonError::into_inner);
        !std::mem::replace(&mut log.page_was_asked, true)
    }

    fn note(&self, key: &str, seen: Seen) {
        let mut log = self.log.lock().unwrap_or_else(PoisonError::into_inner);
        log.seen.entry(key.to_owned()).or_default().push(seen);
    }
}

impl Handler for Origin {
    async fn handle(&self, request: Request, _: &Connection) -> Response {
        let (head, body) = request.into_parts();
        let host = head
            .headers
            .get(HOST)
            .map_or(&b""[..], |host| host.as_bytes());
        let host = String::from_utf8_lossy(host).to_ascii_lowercase();
        let target = head
            .uri
            .path_and_query()
            .map_or("/", http::uri::PathAndQuery::as_str);
        if self.is_page(&host, target) {
            return answer(&self.vector.page, self.vector.piece);
        }
        // What cannot be read shows as a body that is not the one expected.
        let body = body.collect(BODY).await.unwrap_or_default();
        let key = self.key(&host, target);
        let seen = Seen {
            method: head.method.to_string(),
            headers: head.headers,
            body,
        };
        self.note(&key, seen);
        if let Some(fragment) = self.vector.fragments.get(&key) {
            tokio::time::sleep(fragment.delay).await;
            return answer(fragment, None);
        }
        let mut unknown = Response::new(Body::full("no such fragment"));
        *unknown.status_mut() = StatusCode::NOT_FOUND;
        unknown
    }
}

fn answer(canned: &Canned, piece: Option<usize>) -> Response {
    let body = match piece {
        Some(length) => Body::stream(Pieces {
            rest: canned.body.clone(),
            length,
            yielded: false,
        }),
        None => Body::full(canned.body.clone()),
    };
    let mut response = Response::new(body);
    *response.status_mut() = canned.status;
    *response.headers_mut() = canned.headers.clone();
    response
}

/// A body that is sent piece by piece.
struct Pieces {
    rest: Bytes,
    length: usize,
    /// The connection had its turn since the last piece, so that pieces are written one by one.
    yielded: bool,
}

impl HttpBody for Pieces {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        if self.rest.is_empty() {
            return Poll::Ready(None);
        }
        if !std::mem::replace(&mut self.yielded, true) {
            context.waker().wake_by_ref();
            return Poll::Pending;
        }
        self.yielded = false;
        let length = self.length.min(self.rest.len());
        let piece = self.rest.split_to(length);
        Poll::Ready(Some(Ok(Frame::data(piece))))
    }
}
