//! Bodies at the door of a listener: a client's, bounded in size and time, and ours on their way out.

use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Body as HttpBody, Frame, SizeHint};
use hyper::body::Incoming;
use tokio::sync::Notify;
use tokio::time::{Instant, Sleep};
use tokio_util::task::AbortOnDropHandle;

use crate::message::{Body, BodyError};
use crate::server::socket::Answering;
use crate::server::{LimitHit, Limits};

/// A client's body as it comes; trailers are dropped.
pub struct Upload {
    incoming: Incoming,
    left: u64,
    limit: u64,
    idle_timeout: Duration,
    /// Fires when the client has sent nothing for too long, or the whole has taken too long.
    timer: Pin<Box<Sleep>>,
    ends: Instant,
    hit: LimitHit,
}

impl Upload {
    /// The body of a request; bytes at hand when there is none.
    pub fn open(incoming: Incoming, limits: &Limits) -> Body {
        if incoming.is_end_stream() {
            return Body::empty();
        }
        let now = Instant::now();
        let ends = now + limits.body_timeout;
        Body::stream(Self {
            incoming,
            left: limits.max_request_body,
            limit: limits.max_request_body,
            idle_timeout: limits.body_idle_timeout,
            timer: Box::pin(tokio::time::sleep_until(
                ends.min(now + limits.body_idle_timeout),
            )),
            ends,
            hit: limits.hit.clone(),
        })
    }
}

impl HttpBody for Upload {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        loop {
            match Pin::new(&mut self.incoming).poll_frame(context) {
                Poll::Ready(None) => return Poll::Ready(None),
                Poll::Ready(Some(Err(error))) => {
                    return Poll::Ready(Some(Err(BodyError::Cut(error.to_string()))));
                }
                Poll::Ready(Some(Ok(frame))) => {
                    let Ok(bytes) = frame.into_data() else {
                        continue;
                    };
                    let Some(left) = self.left.checked_sub(bytes.len() as u64) else {
                        self.hit.tell("server.max_request_body");
                        return Poll::Ready(Some(Err(BodyError::TooLarge(self.limit))));
                    };
                    self.left = left;
                    let next = self.ends.min(Instant::now() + self.idle_timeout);
                    self.timer.as_mut().reset(next);
                    return Poll::Ready(Some(Ok(Frame::data(bytes))));
                }
                Poll::Pending => {
                    std::task::ready!(self.timer.as_mut().poll(context));
                    let (error, setting) = if Instant::now() >= self.ends {
                        (BodyError::TooLate, "server.body_timeout")
                    } else {
                        (BodyError::Stalled, "server.body_idle_timeout")
                    };
                    self.hit.tell(setting);
                    return Poll::Ready(Some(Err(error)));
                }
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.incoming.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.incoming.size_hint()
    }
}

/// A body that is watched goes out in pieces of so many bytes: hyper asks for the next one when a whole piece has left, and a slow
/// client must be told from one that takes nothing.
const PIECE: usize = 16 * 1024;

/// A body of ours on its way out: its request counts as being answered until it has left.
pub struct Download {
    body: Body,
    /// What is left of a frame that is sent in pieces.
    ahead: Bytes,
    stall: Option<StallWatch>,
    answering: Answering,
}

impl Download {
    /// Sends `body`; `stall` watches whether the client takes it, where the socket cannot see that.
    pub fn new(body: Body, answering: Answering, stall: Option<StallWatch>) -> Self {
        Self {
            body,
            ahead: Bytes::new(),
            stall,
            answering,
        }
    }

    /// The body goes out without framing, to its end or to a reset.
    #[must_use]
    pub fn unframed(self) -> Self {
        self.answering.is_unframed();
        self
    }

    fn piece(&mut self) -> Frame<Bytes> {
        let length = self.ahead.len().min(PIECE);
        Frame::data(self.ahead.split_to(length))
    }
}

impl HttpBody for Download {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        if !self.ahead.is_empty() {
            if let Some(stall) = &self.stall {
                stall.turn(true);
            }
            return Poll::Ready(Some(Ok(self.piece())));
        }
        let frame = Pin::new(&mut self.body).poll_frame(context);
        match &frame {
            Poll::Ready(Some(Ok(_))) if self.body.is_end_stream() => self.answering.ended(),
            Poll::Ready(None) => self.answering.ended(),
            _ => {}
        }
        let Some(stall) = &self.stall else {
            return frame;
        };
        stall.turn(frame.is_ready());
        match frame.map_ok(Frame::into_data) {
            Poll::Ready(Some(Ok(Ok(bytes)))) => {
                self.ahead = bytes;
                Poll::Ready(Some(Ok(self.piece())))
            }
            Poll::Ready(Some(Ok(Err(frame)))) => Poll::Ready(Some(Ok(frame))),
            Poll::Ready(Some(Err(error))) => Poll::Ready(Some(Err(error))),
            Poll::Ready(None) => Poll::Ready(None),
            Poll::Pending => Poll::Pending,
        }
    }

    fn is_end_stream(&self) -> bool {
        self.ahead.is_empty() && self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        let ahead = self.ahead.len() as u64;
        let rest = self.body.size_hint();
        let mut hint = SizeHint::new();
        hint.set_lower(rest.lower() + ahead);
        if let Some(upper) = rest.upper() {
            hint.set_upper(upper + ahead);
        }
        hint
    }
}

/// Ends a connection whose client does not take a streamed body.
///
/// On HTTP/2 a client that opens no window keeps hyper waiting where no write waits, and with it the server whose answer streams
/// through. So it is watched whether the next piece is asked for in time.
pub struct StallWatch {
    /// Since when the client has had a piece and not asked for the next.
    since: Arc<Mutex<Option<Instant>>>,
    _task: AbortOnDropHandle<()>,
}

impl StallWatch {
    /// Tells `ended` when a piece has not been taken for so long.
    pub fn new(timeout: Duration, ended: Arc<Notify>) -> Self {
        let since: Arc<Mutex<Option<Instant>>> = Arc::default();
        let watched = Arc::clone(&since);
        let task = tokio::spawn(async move {
            loop {
                let since = *watched.lock().unwrap_or_else(PoisonError::into_inner);
                match since {
                    Some(since) if since.elapsed() >= timeout => return ended.notify_one(),
                    Some(since) => tokio::time::sleep_until(since + timeout).await,
                    None => tokio::time::sleep(timeout).await,
                }
            }
        });
        Self {
            since,
            _task: AbortOnDropHandle::new(task),
        }
    }

    fn turn(&self, clients: bool) {
        *self.since.lock().unwrap_or_else(PoisonError::into_inner) = clients.then(Instant::now);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::server::socket::Activity;

    #[tokio::test]
    async fn a_watched_body_goes_out_in_small_pieces() {
        let body = Body::full(vec![7; 2 * PIECE + 1]);
        let stall = StallWatch::new(Duration::from_secs(30), Arc::default());
        let mut download = Download::new(body, Activity::new().begin(true), Some(stall));
        let mut lengths = Vec::new();
        let mut left = download.size_hint().exact();
        while let Some(frame) =
            std::future::poll_fn(|context| Pin::new(&mut download).poll_frame(context)).await
        {
            let bytes = frame.expect("no error").into_data().expect("no trailers");
            left = left.map(|left| left - bytes.len() as u64);
            assert_eq!(download.size_hint().exact(), left);
            assert_eq!(download.is_end_stream(), left == Some(0));
            lengths.push(bytes.len());
        }
        assert_eq!(lengths, [PIECE, PIECE, 1]);
    }
}
