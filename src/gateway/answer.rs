//! An answer on its way out: the fields that every answer carries, and the body watched until it has left.

use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::header::{AGE, CONTENT_LENGTH, HeaderName};
use http::{HeaderValue, Method, Version};
use http_body::{Body as HttpBody, Frame, SizeHint};

use crate::gateway::cache_status::{self, Told};
use crate::gateway::error::GatewayError;
use crate::gateway::respond;
use crate::gateway::visit::Visit;
use crate::message::{Body, BodyError, Response, headers};
use crate::observe::outcome::PageEnd;
use crate::observe::page::{Page, PageTrace};

const SERVER_TIMING: HeaderName = HeaderName::from_static("server-timing");

/// What a request is answered with, and what the cache had to do with it.
pub struct Answer {
    /// Status, the fields that come from upstream, body.
    pub response: Response,
    /// For `Cache-Status`.
    pub told: Option<Told>,
}

impl Answer {
    /// An answer of our own.
    pub fn plain(response: Response) -> Self {
        Self {
            response,
            told: None,
        }
    }

    /// Completes the head, and watches the body.
    pub async fn send(self, visit: &Visit, page: Page, most: usize) -> Response {
        let Self { mut response, told } = self;
        if visit.version == Version::HTTP_10 {
            response = without_streaming(response, most).await;
        }
        if visit.method == Method::HEAD {
            response = head_only(response);
        }
        let trace = page.trace().clone();
        trace.status(response.status());
        let fields = response.headers_mut();
        headers::remove_consumed(fields, visit.is_surrogate());
        if let Some(value) = told.and_then(|told| cache_status::value(told, &visit.method)) {
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
        response.map(|body| watched(body, page, trace))
    }
}

/// An HTTP/1.0 client sees no difference between a whole body and a cut one unless it is told the length.
async fn without_streaming(response: Response, most: usize) -> Response {
    let (mut head, body) = response.into_parts();
    if HttpBody::size_hint(&body).exact().is_some() {
        return Response::from_parts(head, body);
    }
    match body.collect(most).await {
        Ok(bytes) => {
            head.headers.remove(CONTENT_LENGTH);
            Response::from_parts(head, Body::full(bytes))
        }
        Err(error) => respond::error(&GatewayError::Document(error.to_string())),
    }
}

/// The head alone; the length that a GET would have stays told.
fn head_only(response: Response) -> Response {
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

fn watched(body: Body, page: Page, trace: PageTrace) -> Body {
    if let Some(bytes) = body.as_full() {
        trace.sent(bytes.len());
        page.finish(PageEnd::Complete);
        return body;
    }
    trace.sent(0);
    Body::stream(Watched {
        body,
        trace,
        page: Some(page),
    })
}

/// A streamed body that tells what becomes of it. Dropped before its end: the client has left.
struct Watched {
    body: Body,
    trace: PageTrace,
    page: Option<Page>,
}

impl Watched {
    fn finish(&mut self, end: PageEnd) {
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
                self.trace.sent(frame.data_ref().map_or(0, Bytes::len));
                if self.body.is_end_stream() {
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
