//! A client's socket that knows how long it may keep us waiting.
//!
//! hyper's own timer for heads runs while a kept connection waits for its next request too, so it cannot tell a client that
//! dribbles its head from one that rests. This one can: [`Activity`] says whether a request is being answered, and the socket sees the first byte of
//! the next head arrive.

use std::future::{Future, poll_fn};
use std::io;
use std::pin::{Pin, pin};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, Interest, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::{Instant, Sleep};

use crate::server::Limits;

/// How often it is looked whether a client has left that has sent more than its request.
const LOOK_FOR_LEAVE: Duration = Duration::from_millis(500);

/// What a connection is at: shared by its socket and its requests.
pub struct Activity {
    state: Mutex<State>,
    /// An answer without framing is going out, and its end has not come.
    unframed: AtomicBool,
}

struct State {
    /// Requests that are being answered.
    requests: usize,
    /// When the last of them ended, or the connection began.
    idle_since: Instant,
    /// When the first byte of the next head came.
    head_since: Option<Instant>,
    /// HTTP/2: frames come between requests, so that bytes alone begin no head.
    multiplexed: bool,
    /// Bodies at hand that the client has not taken.
    untaken: usize,
    /// When it took the last one, or was given the first.
    untaken_since: Instant,
}

impl Activity {
    /// A connection that has just begun.
    pub fn new() -> Arc<Self> {
        Arc::new(Self {
            state: Mutex::new(State {
                requests: 0,
                idle_since: Instant::now(),
                head_since: None,
                multiplexed: false,
                untaken: 0,
                untaken_since: Instant::now(),
            }),
            unframed: AtomicBool::new(false),
        })
    }

    /// A request has come; it is being answered until the guard is dropped.
    pub fn begin(self: &Arc<Self>, multiplexed: bool) -> Answering {
        let mut state = self.lock();
        state.requests += 1;
        state.head_since = None;
        state.multiplexed = multiplexed;
        Answering {
            activity: Arc::clone(self),
            untaken: false,
        }
    }

    /// Ends when bodies at hand have been there for so long and the client has taken none of them.
    pub async fn untaken(&self, timeout: Duration) {
        loop {
            let now = Instant::now();
            let since = {
                let state = self.lock();
                (state.untaken > 0).then_some(state.untaken_since)
            };
            let over = since.unwrap_or(now) + timeout;
            if over <= now {
                return;
            }
            tokio::time::sleep_until(over).await;
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        // No code panics while it holds the lock; the state is plain numbers in any case.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether one HTTP/1 request is being answered.
    fn is_answering(&self) -> bool {
        let state = self.lock();
        state.requests > 0 && !state.multiplexed
    }

    /// Whether a head has begun to come.
    fn has_begun(&self) -> bool {
        self.lock().head_since.is_some()
    }

    fn bytes_came(&self) {
        let mut state = self.lock();
        if state.requests == 0 && !state.multiplexed && state.head_since.is_none() {
            state.head_since = Some(Instant::now());
        }
    }

    /// When a read that waits has waited for too long; `None` while a request is being answered.
    fn deadline(&self, limits: &Limits) -> Option<Instant> {
        let state = self.lock();
        if state.requests > 0 {
            return None;
        }
        Some(match state.head_since {
            Some(since) => since + limits.header_timeout,
            None => state.idle_since + limits.idle_timeout,
        })
    }
}

/// A request that is being answered.
pub struct Answering {
    activity: Arc<Activity>,
    /// Its body is at hand and not taken.
    untaken: bool,
}

impl Answering {
    /// Its body has no framing (HTTP/1.0): until it has [ended](Self::ended), nothing but a reset tells a cut one from a whole
    /// one.
    pub fn is_unframed(&self) {
        self.activity.unframed.store(true, Ordering::Relaxed);
    }

    /// The body without framing has come to its end.
    pub fn ended(&self) {
        self.activity.unframed.store(false, Ordering::Relaxed);
    }

    /// Its whole body is at hand, and is the client's to [take](Activity::untaken).
    pub fn is_at_hand(&mut self) {
        let mut state = self.activity.lock();
        if state.untaken == 0 {
            state.untaken_since = Instant::now();
        }
        state.untaken += usize::from(!self.untaken);
        self.untaken = true;
    }
}

impl Drop for Answering {
    fn drop(&mut self) {
        let mut state = self.activity.lock();
        state.requests -= 1;
        state.idle_since = Instant::now();
        if self.untaken {
            state.untaken -= 1;
            state.untaken_since = state.idle_since;
        }
    }
}

/// A stream that can be closed so that its reader sees it broken off, and tells when its other side has closed.
pub trait Break {
    /// Whether a close, also the one at the end of the process, is to be a reset (RFC 9293 3.10.5).
    fn break_on_close(&self, wanted: bool);

    /// Whether the other side has closed, whatever may be left to read before that; pending, and to be woken, as long as there is
    /// nothing to read.
    fn poll_closed(&self, context: &mut Context<'_>) -> Poll<bool>;
}

impl Break for TcpStream {
    fn poll_closed(&self, context: &mut Context<'_>) -> Poll<bool> {
        if ready!(self.poll_read_ready(context)).is_err() {
            return Poll::Ready(true);
        }
        let readiness = pin!(self.ready(Interest::READABLE));
        match readiness.poll(context) {
            Poll::Ready(Ok(readiness)) => Poll::Ready(readiness.is_read_closed()),
            Poll::Ready(Err(_)) => Poll::Ready(true),
            Poll::Pending => Poll::Ready(false),
        }
    }

    fn break_on_close(&self, wanted: bool) {
        let linger = wanted.then_some(Duration::ZERO);
        if let Err(error) = socket2::SockRef::from(self).set_linger(linger) {
            tracing::debug!(%error, "no SO_LINGER");
        }
    }
}

impl<S: Break> Break for tokio_rustls::server::TlsStream<S> {
    fn break_on_close(&self, wanted: bool) {
        self.get_ref().0.break_on_close(wanted);
    }

    fn poll_closed(&self, context: &mut Context<'_>) -> Poll<bool> {
        self.get_ref().0.poll_closed(context)
    }
}

impl<S: Break + ?Sized> Break for Box<S> {
    fn break_on_close(&self, wanted: bool) {
        (**self).break_on_close(wanted);
    }

    fn poll_closed(&self, context: &mut Context<'_>) -> Poll<bool> {
        (**self).poll_closed(context)
    }
}

/// A pipe in memory knows no reset; benches speak with a connection through one.
impl Break for tokio::io::DuplexStream {
    fn break_on_close(&self, _: bool) {}

    fn poll_closed(&self, _: &mut Context<'_>) -> Poll<bool> {
        Poll::Pending
    }
}

/// How an HTTP/2 connection begins (RFC 9113 3.4); no request of HTTP/1 begins so.
const PREFACE: &[u8; 24] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// Which version a client speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Spoken {
    /// HTTP/1.0 or HTTP/1.1.
    Http1,
    /// HTTP/2, with prior knowledge or by ALPN.
    Http2,
}

/// The first bytes of a connection: read to tell the version, then given to whoever reads it.
#[derive(Default)]
struct Ahead {
    bytes: [u8; PREFACE.len()],
    read: usize,
    given: usize,
}

impl Ahead {
    /// What they tell by now.
    fn spoken(&self) -> Option<Spoken> {
        let bytes = &self.bytes[..self.read];
        if !PREFACE.starts_with(bytes) {
            Some(Spoken::Http1)
        } else if bytes.len() == PREFACE.len() {
            Some(Spoken::Http2)
        } else {
            None
        }
    }

    /// Gives what the buffer has room for.
    fn give(&mut self, buffer: &mut ReadBuf<'_>) {
        let left = &self.bytes[self.given..self.read];
        let given = left.len().min(buffer.remaining());
        buffer.put_slice(&left[..given]);
        self.given += given;
    }
}

/// The socket. Reads end in `TimedOut` when the client has kept us waiting for too long, writes when it does not read.
pub struct Socket<S: Break> {
    stream: S,
    ahead: Ahead,
    /// Whether its close would be a reset.
    breaks: bool,
    activity: Arc<Activity>,
    limits: Arc<Limits>,
    read_timer: Pin<Box<Sleep>>,
    write_timer: Option<Pin<Box<Sleep>>>,
    /// When it is looked whether a client that has sent more than its request has left.
    leave_timer: Option<Pin<Box<Sleep>>>,
}

impl<S: Break> Socket<S> {
    /// Watches `stream`.
    pub fn new(stream: S, activity: Arc<Activity>, limits: Arc<Limits>) -> Self {
        let read_timer = Box::pin(tokio::time::sleep(limits.idle_timeout));
        Self {
            stream,
            ahead: Ahead::default(),
            breaks: false,
            activity,
            limits,
            read_timer,
            write_timer: None,
            leave_timer: None,
        }
    }

    /// Breaks off when the client has left while its request is being answered. hyper sees that for itself only as long as nothing
    /// comes behind the request: one byte more, and it does not read before it has answered.
    fn poll_left(&mut self, context: &mut Context<'_>) -> io::Result<()> {
        if !self.activity.is_answering() {
            self.leave_timer = None;
            return Ok(());
        }
        loop {
            match self.stream.poll_closed(context) {
                Poll::Pending => return Ok(()),
                Poll::Ready(true) => return Err(io::ErrorKind::ConnectionAborted.into()),
                Poll::Ready(false) => {}
            }
            // What has come keeps the system from telling what comes behind it.
            let timer = self
                .leave_timer
                .get_or_insert_with(|| Box::pin(tokio::time::sleep(LOOK_FOR_LEAVE)));
            if timer.as_mut().poll(context).is_pending() {
                return Ok(());
            }
            timer.as_mut().reset(Instant::now() + LOOK_FOR_LEAVE);
        }
    }

    /// Makes its close a reset as long as an answer without framing goes out.
    fn mind_framing(&mut self) {
        let unframed = self.activity.unframed.load(Ordering::Relaxed);
        if unframed != self.breaks {
            self.breaks = unframed;
            self.stream.break_on_close(unframed);
        }
    }

    /// Whether the client has kept a read waiting for too long; else the timer will wake the task when it may have.
    ///
    /// The timer is moved only when it would fire too late: one that fires early finds out and is set anew, so that a busy
    /// connection does not pay for it on each request.
    fn poll_too_late(&mut self, context: &mut Context<'_>) -> Poll<io::Error> {
        loop {
            let deadline = self.activity.deadline(&self.limits);
            let check = deadline.unwrap_or_else(|| Instant::now() + self.limits.idle_timeout);
            if check < self.read_timer.deadline() {
                self.read_timer.as_mut().reset(check);
            }
            ready!(self.read_timer.as_mut().poll(context));
            if deadline.is_some_and(|deadline| deadline <= Instant::now()) {
                if self.activity.has_begun() {
                    self.limits.hit.tell("server.header_timeout");
                }
                return Poll::Ready(io::Error::from(io::ErrorKind::TimedOut));
            }
            self.read_timer.as_mut().reset(check);
        }
    }

    /// Minds how long a write has made no progress.
    fn mind_write<T>(
        &mut self,
        written: Poll<io::Result<T>>,
        context: &mut Context<'_>,
    ) -> Poll<io::Result<T>> {
        if written.is_ready() {
            self.write_timer = None;
            return written;
        }
        let timeout = self.limits.write_timeout;
        let timer = self
            .write_timer
            .get_or_insert_with(|| Box::pin(tokio::time::sleep(timeout)));
        ready!(timer.as_mut().poll(context));
        self.limits.hit.tell("server.write_timeout");
        Poll::Ready(Err(io::Error::from(io::ErrorKind::TimedOut)))
    }
}

impl<S: AsyncRead + Break + Unpin> Socket<S> {
    /// Which version the client speaks; one that leaves before it can be told speaks HTTP/1.
    ///
    /// # Errors
    /// Those of reading.
    pub async fn spoken(&mut self) -> io::Result<Spoken> {
        poll_fn(|context| self.poll_spoken(context)).await
    }

    fn poll_spoken(&mut self, context: &mut Context<'_>) -> Poll<io::Result<Spoken>> {
        loop {
            if let Some(spoken) = self.ahead.spoken() {
                return Poll::Ready(Ok(spoken));
            }
            let mut bytes = [0; PREFACE.len()];
            let mut buffer = ReadBuf::new(&mut bytes[self.ahead.read..]);
            ready!(self.poll_stream(context, &mut buffer))?;
            let came = buffer.filled();
            if came.is_empty() {
                return Poll::Ready(Ok(Spoken::Http1));
            }
            self.ahead.bytes[self.ahead.read..][..came.len()].copy_from_slice(came);
            self.ahead.read += came.len();
        }
    }

    fn poll_stream(
        &mut self,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        if let Poll::Ready(read) = Pin::new(&mut self.stream).poll_read(context, buffer) {
            if buffer.filled().len() > before {
                self.activity.bytes_came();
            }
            return Poll::Ready(read);
        }
        self.poll_too_late(context).map(Err)
    }
}

impl<S: Break> Drop for Socket<S> {
    fn drop(&mut self) {
        self.mind_framing();
    }
}

impl<S: AsyncRead + Break + Unpin> AsyncRead for Socket<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.ahead.given == self.ahead.read {
            return self.poll_stream(context, buffer);
        }
        self.ahead.give(buffer);
        if buffer.remaining() > 0 {
            // What else is there comes with them: a reader that was given 24 bytes alone would make room anew for the rest. Where the
            // stream has ended or broken off, the next read finds its end.
            let _ = Pin::new(&mut self.stream).poll_read(context, buffer);
        }
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Break + Unpin> AsyncWrite for Socket<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.mind_framing();
        let written = Pin::new(&mut self.stream).poll_write(context, bytes);
        self.mind_write(written, context)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.mind_framing();
        let written = Pin::new(&mut self.stream).poll_write_vectored(context, slices);
        self.mind_write(written, context)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.mind_framing();
        self.poll_left(context)?;
        let flushed = Pin::new(&mut self.stream).poll_flush(context);
        self.mind_write(flushed, context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.mind_framing();
        let shut = Pin::new(&mut self.stream).poll_shutdown(context);
        self.mind_write(shut, context)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    fn socket() -> (Socket<tokio::io::DuplexStream>, tokio::io::DuplexStream) {
        let (ours, client) = tokio::io::duplex(1024);
        let socket = Socket::new(ours, Activity::new(), Arc::new(Limits::default()));
        (socket, client)
    }

    #[tokio::test]
    async fn the_first_bytes_tell_the_version_and_are_read_again() {
        let mut whole = PREFACE.to_vec();
        whole.extend_from_slice(b"more");
        let rows: [(&[u8], Spoken); 5] = [
            (b"GET / HTTP/1.1\r\nhost: a\r\n\r\n", Spoken::Http1),
            (b"P", Spoken::Http1),
            (b"PRI * HTTP/2.0\r\n\r\nXX", Spoken::Http1),
            (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r", Spoken::Http1),
            (&whole, Spoken::Http2),
        ];
        for (bytes, wanted) in rows {
            let (mut socket, mut client) = socket();
            client.write_all(bytes).await.expect("there is room");
            client.shutdown().await.expect("it is open");
            let spoken = socket.spoken().await.expect("nothing fails");
            assert_eq!(spoken, wanted, "{}", bytes.escape_ascii());
            let mut read = Vec::new();
            socket.read_to_end(&mut read).await.expect("nothing fails");
            assert_eq!(read, bytes);
        }
    }

    #[tokio::test]
    async fn a_preface_may_come_byte_by_byte() {
        let (mut socket, mut client) = socket();
        for byte in PREFACE {
            let mut early = std::pin::pin!(socket.spoken());
            assert!(futures::poll!(early.as_mut()).is_pending());
            client.write_all(&[*byte]).await.expect("there is room");
        }
        assert_eq!(socket.spoken().await.expect("nothing fails"), Spoken::Http2);
        // It is given in parts where there is no room for more, and what came behind it with its end.
        client.write_all(b"frames").await.expect("there is room");
        let mut part = [0; 20];
        assert_eq!(socket.read(&mut part).await.expect("nothing fails"), 20);
        let mut rest = [0; 20];
        let read = socket.read(&mut rest).await.expect("nothing fails");
        assert_eq!(&rest[..read], b"\r\n\r\nframes");
    }
}
