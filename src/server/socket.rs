//! A client's socket that knows how long it may keep us waiting.
//!
//! hyper's own timer for heads runs while a kept connection waits for its next request too, so it cannot tell a client that
//! dribbles its head from one that rests. This one can: [`Activity`] says whether a request is being answered, and the socket sees the first byte of
//! the next head arrive.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep};

use crate::server::Limits;

/// What a connection is at: shared by its socket and its requests.
pub struct Activity(Mutex<State>);

struct State {
    /// Requests that are being answered.
    requests: usize,
    /// When the last of them ended, or the connection began.
    idle_since: Instant,
    /// When the first byte of the next head came.
    head_since: Option<Instant>,
    /// HTTP/2: frames come between requests, so that bytes alone begin no head.
    multiplexed: bool,
}

impl Activity {
    /// A connection that has just begun.
    pub fn new() -> Arc<Self> {
        Arc::new(Self(Mutex::new(State {
            requests: 0,
            idle_since: Instant::now(),
            head_since: None,
            multiplexed: false,
        })))
    }

    /// A request has come; it is being answered until the guard is dropped.
    pub fn begin(self: &Arc<Self>, multiplexed: bool) -> Answering {
        let mut state = self.lock();
        state.requests += 1;
        state.head_since = None;
        state.multiplexed = multiplexed;
        Answering(Arc::clone(self))
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        // No code panics while it holds the lock; the state is plain numbers in any case.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
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
pub struct Answering(Arc<Activity>);

impl Drop for Answering {
    fn drop(&mut self) {
        let mut state = self.0.lock();
        state.requests -= 1;
        state.idle_since = Instant::now();
    }
}

/// The socket. Reads end in `TimedOut` when the client has kept us waiting for too long, writes when it does not read.
pub struct Socket<S> {
    stream: S,
    activity: Arc<Activity>,
    limits: Arc<Limits>,
    read_timer: Pin<Box<Sleep>>,
    write_timer: Option<Pin<Box<Sleep>>>,
}

impl<S> Socket<S> {
    /// Watches `stream`.
    pub fn new(stream: S, activity: Arc<Activity>, limits: Arc<Limits>) -> Self {
        let read_timer = Box::pin(tokio::time::sleep(limits.idle_timeout));
        Self {
            stream,
            activity,
            limits,
            read_timer,
            write_timer: None,
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

impl<S: AsyncRead + Unpin> AsyncRead for Socket<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
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

impl<S: AsyncWrite + Unpin> AsyncWrite for Socket<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(context, bytes);
        self.mind_write(written, context)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write_vectored(context, slices);
        self.mind_write(written, context)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let flushed = Pin::new(&mut self.stream).poll_flush(context);
        self.mind_write(flushed, context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let shut = Pin::new(&mut self.stream).poll_shutdown(context);
        self.mind_write(shut, context)
    }
}
