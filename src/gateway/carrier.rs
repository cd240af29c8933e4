//! The task that carries out the fetches of one page.
//!
//! A client that reads slowly must not keep a server's slot taken, so what an answer brings is read whether or not the page can go on: by a
//! task beside the page's own. It is one for all fetches of the page and not one for each: what came for many of them is handled in
//! one turn, and the page is woken once, to write it out at once. It ends with its page, or with the last who waits for one of its fetches.

use std::panic::AssertUnwindSafe;
use std::sync::{Arc, OnceLock};

use futures::future::{BoxFuture, Either, FutureExt, select};
use futures::stream::{FuturesUnordered, StreamExt};
use tokio::sync::{mpsc, oneshot};
use tokio_util::task::AbortOnDropHandle;

use crate::compose::source::{Fragment, FragmentError};
use crate::gateway::page_head::PartPolicy;

type Fetched = Result<Fragment<PartPolicy>, FragmentError>;

/// Carries out the fetches of one page. The task begins with the first of them.
#[derive(Clone, Default)]
pub(super) struct Carrier(Arc<OnceLock<Carrying>>);

struct Carrying {
    /// Unbounded here: compose sends at most `concurrency` at a time.
    loads: mpsc::UnboundedSender<Load>,
    _task: AbortOnDropHandle<()>,
}

struct Load {
    fetch: BoxFuture<'static, Fetched>,
    told: oneshot::Sender<Fetched>,
}

impl Carrier {
    /// The fetch, carried out from the first poll on. Dropping it ends the fetch.
    #[expect(
        clippy::manual_async_fn,
        reason = "a function keeps its arguments twice"
    )]
    pub(super) fn carry(
        self,
        fetch: BoxFuture<'static, Fetched>,
    ) -> impl Future<Output = Fetched> + Send {
        async move {
            let (told, waits) = oneshot::channel();
            let carrying = self.0.get_or_init(Carrying::begin);
            // The task ends only when it is dropped, and what it is told by is dropped with it.
            let _ = carrying.loads.send(Load { fetch, told });
            waits.await.unwrap_or_else(|_| Err(panicked()))
        }
    }
}

impl Carrying {
    fn begin() -> Self {
        let (loads, receiver) = mpsc::unbounded_channel();
        Self {
            loads,
            _task: AbortOnDropHandle::new(tokio::spawn(run(receiver))),
        }
    }
}

/// So many fetches end in one turn of the task; then others have theirs. Answers to many requests come at once, and a page whose head
/// is ready should not wait for all of them.
const IN_ONE_TURN: usize = 8;

/// Whatever is told to be carried, until nobody is there to tell more.
async fn run(mut loads: mpsc::UnboundedReceiver<Load>) {
    let mut carried = FuturesUnordered::new();
    let mut ended = 0;
    loop {
        tokio::select! {
            biased;
            load = loads.recv() => match load {
                Some(load) => carried.push(load.carried()),
                None => return,
            },
            Some(()) = carried.next() => {
                ended += 1;
                if ended % IN_ONE_TURN == 0 {
                    tokio::task::yield_now().await;
                }
            }
        }
    }
}

impl Load {
    fn carried(self) -> impl Future<Output = ()> + Send {
        let Self { fetch, mut told } = self;
        async move {
            // A panic ends this fetch and no other.
            let fetched = {
                let fetch = std::pin::pin!(AssertUnwindSafe(fetch).catch_unwind());
                let gone = std::pin::pin!(told.closed());
                match select(gone, fetch).await {
                    // Nobody waits for it any more.
                    Either::Left(_) => return,
                    Either::Right((fetched, _)) => fetched,
                }
            };
            let _ = told.send(fetched.unwrap_or_else(|_| Err(panicked())));
        }
    }
}

fn panicked() -> FragmentError {
    FragmentError::Broken("the fetch ended in a panic".to_owned())
}
