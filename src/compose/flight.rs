//! A fragment that is being fetched, and the time that its `maxwait` leaves it.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use futures::future::BoxFuture;
use tokio::time::Sleep;

use crate::compose::source::{Fragment, FragmentError};

type Result<P> = std::result::Result<Fragment<P>, FragmentError>;

/// Gives the slot that waits for it, and the fragment.
pub(super) struct Flight<P> {
    slot: usize,
    fetch: BoxFuture<'static, Result<P>>,
    max_wait: Option<Duration>,
    /// Runs from the first poll on: time spent waiting for a turn is the page's, not the fragment's.
    timer: Option<Pin<Box<Sleep>>>,
}

impl<P> Flight<P> {
    pub(super) fn new(
        slot: usize,
        fetch: BoxFuture<'static, Result<P>>,
        max_wait: Option<Duration>,
    ) -> Self {
        Self {
            slot,
            fetch,
            max_wait,
            timer: None,
        }
    }
}

impl<P> Future for Flight<P> {
    type Output = (usize, Result<P>);

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let this = &mut *self;
        if let Some(max_wait) = this.max_wait.take() {
            this.timer = Some(Box::pin(tokio::time::sleep(max_wait)));
        }
        if let Poll::Ready(result) = this.fetch.as_mut().poll(context) {
            return Poll::Ready((this.slot, result));
        }
        let late = this
            .timer
            .as_mut()
            .is_some_and(|timer| timer.as_mut().poll(context).is_ready());
        if late {
            return Poll::Ready((this.slot, Err(FragmentError::TimedOut)));
        }
        Poll::Pending
    }
}
