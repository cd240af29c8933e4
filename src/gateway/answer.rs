//! An answer on its way out: the fields that every answer carries, and the body watched until it has left.

use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::header::{AGE, CONTENT_LENGTH, HeaderName};
use http::{HeaderValue, Method, Version};
use http_body::{Body as HttpBody, Frame, SizeHint};

use crate::cache::key::CacheKey;
use crate::gateway::cache_status::{self, Told};
use crate::gateway::visit::Visit;
use crate::message::{Body, BodyError, Response, headers};
use crate::observe::outcome::{Outcome, PageEnd};
use crate::observe::page::{Page, PageTrace};
use crate::observe::span::Span;

const SERVER_TIMING: HeaderName = HeaderName::from_static("server-timing");

/// What a request is answered with, and what the cache had to do with it.
pub struct Answer {
    /// Status, the fields that come from upstream, body.
    pub response: Response,
    /// For `Cache-Status`.
    pub told: Option<Told>,
    /// Under which key it was looked up; told to those alone who may see it.
    pub key: Option<CacheKey>,
    /// What the surrogate that asks is told, when it is to compose the page itself.
    pub surrogate_control: Option<HeaderValue>,
}

impl Answer {
    /// An answer of our own.
    pub fn plain(response: Response) -> Self {
        Self {
            response,
            told: None,
            key: None,
            surrogate_control: None,
        }
    }

    /// An answer that came through the cache.
    pub fn told(response: Response, told: Told) -> Self {
        Self {
            response,
            told: Some(told),
            key: None,
            surrogate_control: None,
        }
    }

    /// Completes the head, and watches the body.
    pub fn send(self, visit: &Visit, page: Page) -> Response {
        let Self {
            mut response,
            told,
            key,
            surrogate_control,
        } = self;
        if visit.method == Method::HEAD {
            response = head_only(response);
        }
        let trace = page.trace();
        trace.status(response.status());
        let fields = response.headers_mut();
        headers::remove_consumed(fields, visit.is_surrogate());
        if let Some(control) = surrogate_control {
            fields.insert(headers::SURROGATE_CONTROL, control);
        }
        let key = key.as_ref().filter(|_| visit.debug);
        if let Some(value) = told.and_then(|told| cache_status::value(told, &visit.method, key)) {
            fields.append(headers::CACHE_STATUS, value);
        }
        headers::append_via(fields, Version::HTTP_11);
        if let Ok(id) = HeaderValue::from_str(visit.id.as_str()) {
            fields.insert(headers::X_REQUEST_ID, id);
        }
        if visit.debug
            && let Some(timing) = trace.server_timing()
        {
            fields.insert(SERVER_TIMING, timing);
        }
        response.map(|body| watched(body, page, None))
    }
}

/// The head alone; the length that a GET would have stays told.
pub(super) fn head_only(response: Response) -> Response {
    let (mut head, body) = response.into_parts();
    if let Some(length) = body.as_full().map(Bytes::len).filter(|length| *length > 0) {
        head.headers
            .insert(CONTENT_LENGTH, HeaderValue::from(length));
    }
    Response::from_parts(head, Body::empty())
}

/// Writes the age of a stored answer (RFC 9111 5.1).
pub fn insert_age(fields: &mut http::HeaderMap, age: std::time::Duration) {
    fields.insert(AGE, HeaderValue::from(age.as_secs()));
}

/// Tells the page what becomes of its body, and the fetch that it streams from, if it is still under way.
pub(super) fn watched(body: Body, page: Page, fetch: Option<Span>) -> Body {
    if let Some(bytes) = body.as_full() {
        let length = bytes.len();
        if let Some(fetch) = fetch {
            fetch.notes().received(length);
            fetch.finish(Outcome::Ok);
        }
        page.finish_whole(length);
        return body;
    }
    let watched = Watched {
        body,
        trace: page.trace().clone(),
        page: Some(page),
        fetch,
    };
    watched.sent(0);
    Body::stream(watched)
}

/// A streamed body that tells what becomes of it. Dropped before its end: the client has left.
struct Watched {
    body: Body,
    trace: PageTrace,
    page: Option<Page>,
    fetch: Option<Span>,
}

impl Watched {
    fn sent(&self, bytes: usize) {
        if let Some(fetch) = &self.fetch {
            fetch.notes().received(bytes);
        }
        self.trace.sent(bytes);
    }

    fn finish(&mut self, end: PageEnd) {
        // First the fetch: what comes after the end of its page is not recorded.
        if let Some(fetch) = self.fetch.take() {
            fetch.finish(match end {
                PageEnd::Complete => Outcome::Ok,
                PageEnd::Cut => Outcome::Failed,
                PageEnd::ClientLeft => Outcome::Cancelled,
            });
        }
        if let Some(page) = self.page.take() {
            page.finish(end);
        }
    }
}

impl HttpBody for Watched {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let frame = std::task::ready!(Pin::new(&mut self.body).poll_frame(context));
        match &frame {
            Some(Ok(frame)) => {
                self.sent(frame.data_ref().map_or(0, Bytes::len));
                // Once the announced length has gone nobody asks for more.
                let nothing_left = self.body.size_hint().exact() == Some(0);
                if nothing_left || self.body.is_end_stream() {
                    self.finish(PageEnd::Complete);
                }
            }
            Some(Err(error)) => {
                tracing::warn!(request = ?self.trace.id(), %error, "an answer was cut");
                self.finish(PageEnd::Cut);
            }
            None => self.finish(PageEnd::Complete),
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
