//! A composed page as a body: what is at hand leaves at once, in page order; the rest as its fragments arrive.

use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Body as HttpBody, Frame};
use tokio::time::Sleep;

use crate::compose::coder::Coder;
use crate::compose::error::ComposeError;
use crate::compose::output::Cursor;
use crate::compose::page::Page;
use crate::compose::source::FragmentSource;
use crate::message::BodyError;

/// The page drives itself when it is polled, and ends all its fetches when it is dropped.
pub(super) struct Stream<S: FragmentSource> {
    page: Page<S>,
    cursor: Cursor,
    timer: Pin<Box<Sleep>>,
    coder: Option<Box<dyn Coder>>,
    /// The head and what stands before the first fragment leave before anything else is done.
    leaves: bool,
    /// Nothing follows: the end was reached, or an error was given.
    ended: bool,
}

impl<S: FragmentSource> Stream<S> {
    pub(super) fn new(
        page: Page<S>,
        list: usize,
        timer: Sleep,
        coder: Option<Box<dyn Coder>>,
    ) -> Self {
        Self {
            page,
            cursor: Cursor::new(list),
            timer: Box::pin(timer),
            coder,
            leaves: true,
            ended: false,
        }
    }

    fn fail(&mut self, error: ComposeError) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        self.ended = true;
        Poll::Ready(Some(Err(error.into())))
    }
}

/// Nothing in it is pinned in place but the timer, which has its own box.
impl<S: FragmentSource> Unpin for Stream<S> {}

impl<S: FragmentSource> HttpBody for Stream<S> {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let this = &mut *self;
        if this.ended {
            return Poll::Ready(None);
        }
        let idle = !this.leaves && this.page.poll(context).is_ready();
        if let Some(error) = this.page.failure.take() {
            return this.fail(error);
        }
        let pages = this.page.pages();
        let frame = match &mut this.coder {
            None => this.cursor.frame(pages),
            // Its ending has come with what came before.
            Some(_) if this.cursor.at_end() => None,
            Some(coder) => this.cursor.coded_frame(pages, &mut **coder),
        };
        if let Some(bytes) = frame {
            return Poll::Ready(Some(Ok(Frame::data(bytes))));
        }
        if this.leaves {
            // Who writes the body writes out now what it has, and comes back behind all others that are ready: their heads leave before the
            // fragments of this page are asked for.
            this.leaves = false;
            this.page.go_on();
            context.waker().wake_by_ref();
            return Poll::Pending;
        }
        if this.cursor.at_end() {
            this.ended = true;
            if let Some(rest) = this.page.rest() {
                this.page.source.let_finish(rest);
            }
            return Poll::Ready(None);
        }
        if idle {
            return this.fail(ComposeError::Stuck);
        }
        if this.timer.as_mut().poll(context).is_ready() {
            tracing::error!("the page is later than compose.page_timeout");
            return this.fail(ComposeError::TooLate);
        }
        Poll::Pending
    }

    fn is_end_stream(&self) -> bool {
        self.ended
    }
}
