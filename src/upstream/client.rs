//! One exchange with a server (hyper, client side): what goes out, what comes back, and when the connection may be used again.
//!
//! A connection goes back to rest only when its answer was read to its exact end and its request was sent to its end. hyper
//! closes one on which bytes arrive unasked; whatever else breaks an exchange drops the connection, which closes it.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use futures::task::AtomicWaker;
use http::header::{CONNECTION, CONTENT_LENGTH, TRANSFER_ENCODING};
use http::{HeaderMap, HeaderValue, Request, Response, StatusCode, Version};
use http_body::{Body as HttpBody, Frame, SizeHint};
use hyper::body::Incoming;
use tokio::time::{Instant, Sleep};

use crate::message::deadline::Deadline;
use crate::message::{Body, BodyError};
use crate::upstream::connection::{Alone, Connection};
use crate::upstream::error::UpstreamError;
use crate::upstream::pool::Permit;
use crate::upstream::server::Server;
use crate::upstream::stream::{Held, Sending};

/// Interim answers (1xx) that are passed over before a server counts as broken.
const MOST_INTERIM: usize = 16;

/// What bounds one exchange.
#[derive(Debug, Clone, Copy)]
pub struct ExchangeLimits {
    /// When the request goes out.
    pub sent: Instant,
    /// From the request sent to the head of its answer.
    pub first_byte: Duration,
    /// Between two reads of the answer's body.
    pub body_idle: Duration,
    /// All in all, until the head.
    pub deadline: Deadline,
    /// How long a server with a limit may take to end what was broken off; others are not waited for.
    pub linger: Option<Duration>,
}

/// How an exchange failed.
pub enum Failed {
    /// The connection was closed before the request was written: it may be sent on another one, whatever its method.
    Unsent(Box<Request<Outbound>>),
    /// Anything else.
    Error(UpstreamError),
}

/// Sends a request on a connection and waits for the head of its answer. The body brings the connection back to rest, if it may be kept.
/// A permit goes with it, and is given back when the server has nothing more to do for the request.
#[expect(
    clippy::manual_async_fn,
    reason = "a function keeps its arguments twice"
)]
pub fn exchange(
    connection: Connection,
    permit: Permit,
    mut request: Request<Outbound>,
    limits: ExchangeLimits,
    keep: bool,
) -> impl Future<Output = Result<Response<Body>, Failed>> + Send {
    async move {
        let server = Arc::clone(permit.server());
        let progress = request.body().progress.clone();
        count_interim(&mut request);
        let (waited, line) = match connection {
            Connection::Alone(mut alone) => {
                alone.slot().put(permit);
                if !keep {
                    let close = HeaderValue::from_static("close");
                    request.headers_mut().insert(CONNECTION, close);
                }
                let has_body = !request.body().is_end_stream();
                let mut sending = std::pin::pin!(alone.send(request));
                if has_body {
                    alone.move_apart();
                }
                let moved = std::future::poll_fn(|context| {
                    alone.wait_for(context, |context| sending.as_mut().poll(context))
                });
                let moved = std::pin::pin!(moved);
                let waited = wait_for_head(moved, &progress, server.label(), limits).await;
                (waited, Some(Line::Alone(alone)))
            }
            Connection::Shared(shared) => {
                let mut sending = Sending::begin(shared, permit, request, limits.linger);
                let waited =
                    wait_for_head(Pin::new(&mut sending), &progress, server.label(), limits).await;
                match waited {
                    Ok(answered) => (Ok(answered), sending.into_held().map(Line::Shared)),
                    Err(error) => {
                        // A request whose own time was over says nothing about the connection.
                        if matches!(&error, UpstreamError::FirstByte { waited, .. } if *waited >= limits.first_byte)
                        {
                            sending.retire();
                        }
                        (Err(error), None)
                    }
                }
            }
        };
        let mut response = match waited.map_err(Failed::Error)? {
            Ok(response) => response,
            Err(mut error) => {
                if let Some(unsent) = error.take_message() {
                    return Err(Failed::Unsent(Box::new(unsent)));
                }
                return Err(Failed::Error(failure(
                    error.error(),
                    &progress,
                    server.label(),
                )));
            }
        };
        let checked = check_head(&mut response);
        let (head, incoming) = response.into_parts();
        let mut arrival = Arrival {
            incoming: Some(incoming),
            line,
            server,
            progress,
            reusable: keep,
            idle: limits.body_idle,
            timer: None,
            cut: None,
        };
        match checked {
            Ok(reusable) => arrival.reusable &= reusable,
            // What arrives is given up with the value, and with it, in time, the permit.
            Err(reason) => {
                return Err(Failed::Error(UpstreamError::Malformed {
                    server: arrival.server.label().to_owned(),
                    reason: reason.to_owned(),
                }));
            }
        }
        Ok(Response::from_parts(head, arrival.into_body()))
    }
}

/// Counts the interim answers (1xx) to a request: a server that sends nothing else is broken.
fn count_interim(request: &mut Request<Outbound>) {
    let progress = Arc::clone(&request.body().progress);
    hyper::ext::on_informational(request, move |_| {
        if progress.interim.fetch_add(1, Ordering::Relaxed) == MOST_INTERIM {
            progress.flooded.wake();
        }
    });
}

/// Waits for the head, as long as the request still moves and then as long as the server may take.
#[expect(
    clippy::manual_async_fn,
    reason = "a function keeps its arguments twice"
)]
fn wait_for_head<F: Future<Output: Send> + Send>(
    mut sending: Pin<&mut F>,
    progress: &Progress,
    server: &str,
    limits: ExchangeLimits,
) -> impl Future<Output = Result<F::Output, UpstreamError>> + Send {
    async move {
        let mut moved = 0;
        let first_byte = Deadline::from(limits.sent, limits.first_byte);
        let patience = limits.deadline.earlier(first_byte);
        let mut patience = std::pin::pin!(tokio::time::sleep_until(patience.instant()));
        loop {
            let answered = std::future::poll_fn(|context| {
                progress.flooded.register(context.waker());
                let answered = sending.as_mut().poll(context);
                // All of them may have come together with the answer.
                if progress.is_flooded() {
                    return Poll::Ready(None);
                }
                match answered {
                    Poll::Ready(answered) => Poll::Ready(Some(answered)),
                    Poll::Pending => patience.as_mut().poll(context).map(|()| None),
                }
            });
            if let Some(answered) = answered.await {
                return Ok(answered);
            }
            if progress.is_flooded() {
                let reason = "too many interim answers".to_owned();
                return Err(UpstreamError::Malformed {
                    server: server.to_owned(),
                    reason,
                });
            }
            // The server's time begins when it has the whole request.
            let sent = progress.bytes.load(Ordering::Relaxed);
            if limits.deadline.left() == Duration::ZERO || sent == moved {
                return Err(UpstreamError::FirstByte {
                    server: server.to_owned(),
                    waited: limits.sent.elapsed(),
                });
            }
            moved = sent;
            let first_byte = limits.deadline.within(limits.first_byte);
            patience.as_mut().reset(first_byte.instant());
        }
    }
}

fn failure(error: &hyper::Error, progress: &Progress, server: &str) -> UpstreamError {
    if let Some(error) = progress.error() {
        return UpstreamError::RequestBody(error);
    }
    let server = server.to_owned();
    let reason = describe(error);
    if error.is_parse() {
        UpstreamError::Malformed { server, reason }
    } else {
        UpstreamError::Closed { server, reason }
    }
}

/// hyper's words with those of the cause.
fn describe(error: &hyper::Error) -> String {
    match std::error::Error::source(error) {
        Some(cause) => format!("{error}: {cause}"),
        None => error.to_string(),
    }
}

/// Whether the connection may be used after this answer; or why the answer cannot be believed.
fn check_head<B>(response: &mut Response<B>) -> Result<bool, &'static str> {
    if response.status() == StatusCode::SWITCHING_PROTOCOLS {
        return Err("101 without being asked");
    }
    // The version is the server's alone: an answer passed on as 1.0 would end by close, and a cut one would look whole.
    *response.version_mut() = Version::HTTP_11;
    one_length(response.headers_mut())?;
    let headers = response.headers();
    if !headers.contains_key(TRANSFER_ENCODING) {
        return Ok(true);
    }
    if !is_chunked_once(headers) {
        return Err("a transfer coding other than chunked");
    }
    // A length beside it: hyper follows the coding, as it must; nothing that comes after the answer is trusted.
    Ok(!headers.contains_key(CONTENT_LENGTH))
}

/// Makes the announced length one plain number. hyper does not read it where no body follows (HEAD, 204, 304), and passed on
/// it would be read by somebody else.
fn one_length(headers: &mut HeaderMap) -> Result<(), &'static str> {
    let mut length = None;
    // Whether it is written as we would write it, and so need not be written anew.
    let mut is_plain = true;
    for line in headers.get_all(CONTENT_LENGTH) {
        is_plain &= length.is_none() && !line.as_bytes().starts_with(b"0");
        for member in line.as_bytes().split(|byte| *byte == b',') {
            let digits = member.trim_ascii();
            let number = plain_number(digits).ok_or("a length that is no number")?;
            if length.is_some_and(|length| length != number) {
                return Err("lengths that differ");
            }
            length = Some(number);
            is_plain &= digits.len() == line.len();
        }
    }
    if let Some(length) = length.filter(|_| !is_plain) {
        headers.insert(CONTENT_LENGTH, HeaderValue::from(length));
    }
    Ok(())
}

/// Digits alone; `parse` would take a sign.
fn plain_number(text: &[u8]) -> Option<u64> {
    let digits = text.iter().all(u8::is_ascii_digit);
    digits
        .then(|| std::str::from_utf8(text).ok()?.parse().ok())
        .flatten()
}

fn is_chunked_once(headers: &HeaderMap) -> bool {
    let mut lines = headers.get_all(TRANSFER_ENCODING).iter();
    let first = lines
        .next()
        .is_some_and(|coding| coding.as_bytes().eq_ignore_ascii_case(b"chunked"));
    first && lines.next().is_none()
}

/// How far the body of a request has gone out, and what came before its answer.
#[derive(Default)]
pub struct Progress {
    bytes: AtomicU64,
    done: AtomicBool,
    error: std::sync::Mutex<Option<BodyError>>,
    /// Interim answers so far.
    interim: AtomicUsize,
    /// Who waits for the answer, to be told when these are too many.
    flooded: AtomicWaker,
}

impl Progress {
    fn is_flooded(&self) -> bool {
        self.interim.load(Ordering::Relaxed) > MOST_INTERIM
    }

    fn error(&self) -> Option<BodyError> {
        self.error
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
            .clone()
    }
}

/// The body of a request on its way to a server.
pub struct Outbound {
    body: Body,
    progress: Arc<Progress>,
}

impl Outbound {
    /// Sends `body`.
    pub fn new(body: Body) -> Self {
        let progress = Progress::default();
        progress.done.store(body.is_end_stream(), Ordering::Relaxed);
        Self {
            body,
            progress: Arc::new(progress),
        }
    }

    /// The body back, as far as it was not read.
    pub fn into_body(self) -> Body {
        self.body
    }
}

impl HttpBody for Outbound {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let frame = std::task::ready!(Pin::new(&mut self.body).poll_frame(context));
        match &frame {
            Some(Ok(frame)) => {
                let length = frame.data_ref().map_or(0, Bytes::len);
                self.progress
                    .bytes
                    .fetch_add(length as u64, Ordering::Relaxed);
            }
            Some(Err(error)) => {
                let mut kept = self
                    .progress
                    .error
                    .lock()
                    .unwrap_or_else(std::sync::PoisonError::into_inner);
                *kept = Some(error.clone());
            }
            None => {}
        }
        if frame.is_none() || self.body.is_end_stream() {
            self.progress.done.store(true, Ordering::Relaxed);
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

/// The body of an answer. At its exact end the connection goes back to rest and the permit is given back; before it, both are
/// dropped.
struct Arrival {
    /// There until the end.
    incoming: Option<Incoming>,
    line: Option<Line>,
    server: Arc<Server>,
    progress: Arc<Progress>,
    reusable: bool,
    idle: Duration,
    timer: Option<Pin<Box<Sleep>>>,
    /// Why it was cut, to be told at the next poll.
    cut: Option<BodyError>,
}

/// What an answer is read from.
enum Line {
    Alone(Alone),
    Shared(Held),
}

impl Arrival {
    fn into_body(mut self) -> Body {
        if self.is_end_stream() {
            self.end();
            return Body::empty();
        }
        Body::stream(self)
    }

    /// What has come of the body; the connection is moved for more.
    fn poll_incoming(
        &mut self,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let Some(incoming) = &mut self.incoming else {
            return Poll::Ready(None);
        };
        let mut incoming = Pin::new(incoming);
        let frame = incoming.as_mut().poll_frame(context);
        match &mut self.line {
            // hyper reads on only once it has been asked.
            Some(Line::Alone(alone)) if frame.is_pending() => {
                alone.wait_for(context, |context| incoming.as_mut().poll_frame(context))
            }
            _ => frame,
        }
    }

    /// The answer has been read to its end.
    fn end(&mut self) {
        match self.line.take() {
            Some(Line::Alone(alone)) => {
                let permit = alone.slot().take();
                if self.reusable && self.progress.done.load(Ordering::Relaxed) {
                    // It rests before the permit lets the next one in, who then finds it.
                    self.server.resting().rest(alone);
                }
                drop(permit);
            }
            Some(Line::Shared(held)) if self.progress.done.load(Ordering::Relaxed) => drop(held),
            // The server has answered before it had the whole request, and is still sent the rest of it.
            Some(Line::Shared(held)) => {
                if let Some(incoming) = self.incoming.take() {
                    held.abandon(incoming);
                }
            }
            None => {}
        }
    }

    /// The answer is broken off.
    fn give_up(&mut self) {
        match (self.line.take(), self.incoming.take()) {
            (Some(Line::Shared(held)), Some(incoming)) => held.abandon(incoming),
            // The socket keeps the permit until the server has closed too.
            (line, incoming) => drop((line, incoming)),
        }
    }
}

impl Drop for Arrival {
    fn drop(&mut self) {
        self.give_up();
    }
}

impl HttpBody for Arrival {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        loop {
            if self.incoming.is_none() {
                return Poll::Ready(self.cut.take().map(Err));
            }
            let Poll::Ready(frame) = self.poll_incoming(context) else {
                let idle = self.idle;
                let timer = self
                    .timer
                    .get_or_insert_with(|| Box::pin(tokio::time::sleep(idle)));
                std::task::ready!(timer.as_mut().poll(context));
                self.server.failed();
                self.give_up();
                return Poll::Ready(Some(Err(BodyError::Stalled)));
            };
            self.timer = None;
            match frame {
                None => {
                    self.end();
                    return Poll::Ready(None);
                }
                Some(Err(error)) => {
                    self.server.failed();
                    // There is nothing more to come on a stream that was reset.
                    self.incoming = None;
                    self.line = None;
                    self.cut = Some(BodyError::Cut(describe(&error)));
                    // At the next turn: who writes the answer out writes what came before, and the head, and then learns of the end. Told
                    // at once, it would close its connection with all of that unwritten.
                    context.waker().wake_by_ref();
                    return Poll::Pending;
                }
                Some(Ok(frame)) => {
                    // Trailers never become header fields.
                    let Ok(bytes) = frame.into_data() else {
                        continue;
                    };
                    if self.is_end_stream() {
                        self.end();
                    }
                    return Poll::Ready(Some(Ok(Frame::data(bytes))));
                }
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.cut.is_none() && self.incoming.as_ref().is_none_or(HttpBody::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        match &self.incoming {
            Some(incoming) => incoming.size_hint(),
            None if self.cut.is_some() => SizeHint::default(),
            None => SizeHint::with_exact(0),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(version: Version, lines: &[&'static str]) -> Response<()> {
        let mut response = Response::new(());
        *response.version_mut() = version;
        for line in lines {
            let line = HeaderValue::from_static(line);
            response.headers_mut().append(CONTENT_LENGTH, line);
        }
        response
    }

    #[test]
    fn a_length_is_one_plain_number_or_the_answer_is_refused() {
        let rows: &[(&[&'static str], Option<&[&str]>)] = &[
            (&[], Some(&[])),
            (&["2"], Some(&["2"])),
            (&["02"], Some(&["2"])),
            (&["0"], Some(&["0"])),
            (&[" 2"], Some(&["2"])),
            (&["2, 2"], Some(&["2"])),
            (&["2", "2"], Some(&["2"])),
            (&["2", "3"], None),
            (&["2, 3"], None),
            (&["-2"], None),
            (&["+2"], None),
            (&["0x2"], None),
            (&[""], None),
            (&["2,"], None),
            (&["18446744073709551616"], None),
        ];
        for (lines, wanted) in rows {
            let mut response = answer(Version::HTTP_11, lines);
            let checked = check_head(&mut response);
            assert_eq!(checked.is_ok(), wanted.is_some(), "{lines:?}");
            if let Some(wanted) = wanted {
                let left: Vec<_> = response.headers().get_all(CONTENT_LENGTH).iter().collect();
                assert_eq!(left, *wanted, "{lines:?}");
            }
        }
    }

    #[test]
    fn the_version_of_a_server_is_not_passed_on() {
        let mut response = answer(Version::HTTP_10, &[]);
        assert_eq!(check_head(&mut response), Ok(true));
        assert_eq!(response.version(), Version::HTTP_11);
    }
}
