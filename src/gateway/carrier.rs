//! The task that carries out the fetches of one page.
//!
//! A client that reads slowly must not keep a server's slot taken, so what an answer brings is read whether or not the page can go on: by a
//! task beside the page's own. It is one for all fetches of the page and not one for each: what came for many of them is handled in
//! one turn, and the page is woken once, to write it out at once. It ends with its page, or with the last who waits for one of its fetches.

use std::future::poll_fn;
use std::panic::AssertUnwindSafe;
use std::sync::{Arc, OnceLock};
use std::task::{Poll, ready};

use futures::future::{BoxFuture, Either, FutureExt, select};
use futures::stream::{FuturesUnordered, StreamExt};
use tokio::sync::{mpsc, oneshot};
use tokio_util::task::AbortOnDropHandle;

use crate::compose::source::{Fragment, FragmentError};
use crate::gateway::page_head::PartPolicy;
use crate::server::arrivals::{Arrivals, Turns};

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
            _task: AbortOnDropHandle::new(tokio::spawn(run(receiver, Arrivals::shared()))),
        }
    }
}

/// Whatever is told to be carried, until nobody is there to tell more. Begun and ended one at a time, so that a request that comes meanwhile
/// waits for a few of them and not for all.
async fn run(mut loads: mpsc::UnboundedReceiver<Load>, arrivals: &'static Arrivals) {
    let mut carried = FuturesUnordered::new();
    let mut turns = Turns::among(arrivals);
    poll_fn(|context| {
        loop {
            ready!(turns.poll_next(context));
            match loads.poll_recv(context) {
                Poll::Ready(Some(load)) => {
                    carried.push(load.carried());
                    // It is begun, unless another one has just ended; whether it has ended already makes no difference.
                    let _ = carried.poll_next_unpin(context);
                }
                Poll::Ready(None) => return Poll::Ready(()),
                Poll::Pending => match carried.poll_next_unpin(context) {
                    Poll::Ready(Some(())) => {}
                    // None: there is nothing to be carried yet.
                    Poll::Ready(None) | Poll::Pending => return Poll::Pending,
                },
            }
            turns.done();
        }
    })
    .await;
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

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use futures::future::join_all;
    use tokio::io::AsyncReadExt;

    use super::*;

    #[tokio::test]
    async fn a_request_that_comes_waits_for_a_few_fetches_and_not_for_all() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await;
        let listener = listener.expect("a free port");
        let address = listener.local_addr().expect("it is bound");
        let mut client = std::net::TcpStream::connect(address).expect("it listens");
        let (mut server, _) = listener.accept().await.expect("it has come");
        let arrivals: &'static Arrivals = Box::leak(Box::new(Arrivals::new()));
        arrivals.watch(&server);
        let ended = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&ended);
        let reader = tokio::spawn(async move {
            server.read_u8().await.expect("a byte comes");
            counted.load(Ordering::Relaxed)
        });
        tokio::task::yield_now().await;
        client.write_all(b"x").expect("it is open");

        let (loads, receiver) = mpsc::unbounded_channel();
        let _task = AbortOnDropHandle::new(tokio::spawn(run(receiver, arrivals)));
        let waits = (0..1000).map(|_| {
            let (told, waits) = oneshot::channel();
            let ended = Arc::clone(&ended);
            let fetch = Box::pin(async move {
                ended.fetch_add(1, Ordering::Relaxed);
                Err(FragmentError::Broken("nothing".to_owned()))
            });
            assert!(loads.send(Load { fetch, told }).is_ok());
            waits
        });
        join_all(waits).await;
        let before = reader.await.expect("it has read");
        assert!(before < 50, "{before} fetches had ended");
        assert_eq!(ended.load(Ordering::Relaxed), 1000);
    }
}
