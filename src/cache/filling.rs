//! An answer that is for everybody and still arrives: those who ask meanwhile read along.
//!
//! One task, the filler, reads the origin at its own pace and pushes what comes; readers follow each at theirs, from the first
//! byte. The filler lives while anybody reads. What turns out larger than may be stored goes on at the pace of its slowest
//! reader, so that memory does not follow the size of a body; nobody joins it then.

use std::collections::{HashMap, VecDeque};
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use http_body::{Body as HttpBody, Frame, SizeHint};
use tokio::task::AbortHandle;

use crate::cache::arriving::Share;
use crate::cache::object::Object;
use crate::message::{Body, BodyError};

/// Pieces that the filler may be ahead of the slowest reader of what is too large to be stored.
const AHEAD: usize = 8;

/// The readers' side. Dropped by the last of them, it ends the filler.
pub struct Filling {
    shared: Arc<Shared>,
    task: OnceLock<AbortHandle>,
}

/// The filler's side. Dropped before its end, it cuts the readers off.
pub struct Filler(Arc<Shared>);

struct Shared {
    head: Arc<Object>,
    /// What the origin announced.
    length: Option<u64>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    pieces: VecDeque<Bytes>,
    /// How many pieces have gone from the front.
    gone: usize,
    end: Option<End>,
    /// Too large to be stored.
    larger: bool,
    /// Where each reader is, by its number.
    readers: HashMap<u64, usize>,
    next_reader: u64,
    waiting: Vec<Waker>,
    filler: Option<Waker>,
    /// Room for the pieces; kept as long as a reader may hold some of them.
    share: Option<Share>,
}

enum End {
    /// All of it came; stored where there is an object.
    Whole(Option<Arc<Object>>),
    Cut(BodyError),
}

/// Both sides of an answer with this head, within this share of the room; `length` as its origin announced it.
pub fn begin(head: Arc<Object>, length: Option<u64>, share: Share) -> (Arc<Filling>, Filler) {
    let state = State {
        share: Some(share),
        ..State::default()
    };
    let shared = Arc::new(Shared {
        head,
        length,
        state: Mutex::new(state),
    });
    let filling = Filling {
        shared: Arc::clone(&shared),
        task: OnceLock::new(),
    };
    (Arc::new(filling), Filler(shared))
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn wake_readers(&mut self) {
        self.waiting.drain(..).for_each(Waker::wake);
    }

    fn wake_filler(&mut self) {
        if let Some(filler) = self.filler.take() {
            filler.wake();
        }
    }

    fn wait(&mut self, context: &Context<'_>) {
        if !self
            .waiting
            .iter()
            .any(|waker| waker.will_wake(context.waker()))
        {
            self.waiting.push(context.waker().clone());
        }
    }

    /// Pieces that no reader will come back for go, once nothing is to be stored.
    fn trim(&mut self) {
        if !self.larger {
            return;
        }
        let slowest = self.readers.values().min().copied();
        let slowest = slowest.unwrap_or(self.gone + self.pieces.len());
        while self.gone < slowest && self.pieces.pop_front().is_some() {
            self.gone += 1;
        }
        self.wake_filler();
    }
}

impl Filling {
    /// The answer without its body.
    pub fn head(&self) -> &Arc<Object> {
        &self.shared.head
    }

    /// Names the task that ends with the last reader.
    pub fn ends(&self, task: AbortHandle) {
        // It is called once, by whoever begins.
        let _ = self.task.set(task);
    }

    /// The body from its first byte; `None` when that has gone.
    pub fn body(self: &Arc<Self>) -> Option<Body> {
        let mut state = self.shared.lock();
        if state.gone > 0 {
            return None;
        }
        let number = state.next_reader;
        state.next_reader += 1;
        state.readers.insert(number, 0);
        drop(state);
        Some(Body::stream(Reader {
            filling: Arc::clone(self),
            number,
            at: 0,
            left: self.shared.length,
            told: false,
        }))
    }

    /// The stored object, once it is; `None` when it was too large.
    ///
    /// # Errors
    /// What cut the body.
    pub async fn whole(&self) -> Result<Option<Arc<Object>>, BodyError> {
        std::future::poll_fn(|context| {
            let mut state = self.shared.lock();
            match &state.end {
                Some(End::Whole(object)) => Poll::Ready(Ok(object.clone())),
                Some(End::Cut(error)) => Poll::Ready(Err(error.clone())),
                None if state.larger => Poll::Ready(Ok(None)),
                None => {
                    state.wait(context);
                    Poll::Pending
                }
            }
        })
        .await
    }
}

impl Drop for Filling {
    fn drop(&mut self) {
        if let Some(task) = self.task.get() {
            task.abort();
        }
    }
}

impl Filler {
    /// The answer without its body.
    pub fn head(&self) -> &Arc<Object> {
        &self.0.head
    }

    /// Hands on what came, and waits where readers are too far behind.
    pub async fn push(&self, bytes: Bytes) {
        {
            let mut state = self.0.lock();
            state.pieces.push_back(bytes);
            state.wake_readers();
            state.trim();
        }
        std::future::poll_fn(|context| {
            let mut state = self.0.lock();
            if !state.larger || state.pieces.len() <= AHEAD {
                return Poll::Ready(());
            }
            state.filler = Some(context.waker().clone());
            Poll::Pending
        })
        .await;
    }

    /// Whether there is room for so many bytes of it.
    pub fn reaches(&self, length: usize) -> bool {
        let mut state = self.0.lock();
        state.share.as_mut().is_none_or(|share| share.reach(length))
    }

    /// It is too large to be stored: from now on nothing is kept that all have read.
    pub fn is_larger(&self) {
        let mut state = self.0.lock();
        state.larger = true;
        state.wake_readers();
        state.trim();
    }

    /// All that was handed on and this behind it, in one piece of its own: what came is a part of what its connection has read, which would
    /// be kept with it.
    pub fn bytes_and(&self, last: &Bytes) -> Bytes {
        let state = self.0.lock();
        let length = state.pieces.iter().map(Bytes::len).sum::<usize>() + last.len();
        let mut all = Vec::with_capacity(length);
        for piece in &state.pieces {
            all.extend_from_slice(piece);
        }
        all.extend_from_slice(last);
        all.into()
    }

    /// All of it came.
    pub fn finish(self, stored: Option<Arc<Object>>) {
        self.end(End::Whole(stored));
    }

    /// It broke off.
    pub fn cut(self, error: BodyError) {
        self.end(End::Cut(error));
    }

    fn end(&self, end: End) {
        let mut state = self.0.lock();
        state.end.get_or_insert(end);
        state.wake_readers();
    }
}

impl Drop for Filler {
    fn drop(&mut self) {
        self.end(End::Cut(BodyError::Cut("nobody fetches it".to_owned())));
    }
}

/// One reader of the body.
struct Reader {
    filling: Arc<Filling>,
    number: u64,
    /// The next piece, counted from the first.
    at: usize,
    left: Option<u64>,
    /// Whether it has waited once before it ends with a cut.
    told: bool,
}

impl HttpBody for Reader {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let this = &mut *self;
        let mut state = this.filling.shared.lock();
        let here = this.at.checked_sub(state.gone);
        let piece = here.and_then(|here| state.pieces.get(here)).cloned();
        if let Some(piece) = piece {
            this.at += 1;
            state.readers.insert(this.number, this.at);
            state.trim();
            this.left = this
                .left
                .map(|left| left.saturating_sub(piece.len() as u64));
            return Poll::Ready(Some(Ok(Frame::data(piece))));
        }
        match &state.end {
            Some(End::Whole(_)) => Poll::Ready(None),
            // What came before the cut leaves first: whoever writes it out does so when there is nothing to be had.
            Some(End::Cut(_)) if !this.told => {
                this.told = true;
                context.waker().wake_by_ref();
                Poll::Pending
            }
            Some(End::Cut(error)) => Poll::Ready(Some(Err(error.clone()))),
            None => {
                state.wait(context);
                Poll::Pending
            }
        }
    }

    fn size_hint(&self) -> SizeHint {
        self.left.map_or_else(SizeHint::new, SizeHint::with_exact)
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        let mut state = self.filling.shared.lock();
        state.readers.remove(&self.number);
        state.trim();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cache::arriving::Arriving;
    use crate::cache::object::tests::object;

    fn both() -> (Arc<Filling>, Filler) {
        let head = Arc::new(object(&[("cache-control", "max-age=60")]));
        begin(head, None, Arriving::new(100).share())
    }

    #[test]
    fn what_is_kept_is_no_part_of_what_was_read() {
        let (_filling, filler) = both();
        let read = Bytes::from(b"body and what else was read".to_vec());
        let last = read.slice(..4);
        let kept = filler.bytes_and(&last);
        drop(last);
        assert_eq!(kept, "body");
        assert!(read.is_unique());
    }

    #[tokio::test]
    async fn each_reader_gets_all_of_it_at_its_own_pace() {
        let (filling, filler) = both();
        let mut early = filling.body().expect("from the first byte");
        filler.push(Bytes::from_static(b"ab")).await;
        assert_eq!(early.next().await, Some(Ok(Bytes::from_static(b"ab"))));
        let late = filling.body().expect("from the first byte");
        filler.push(Bytes::from_static(b"cd")).await;
        assert_eq!(filler.bytes_and(&Bytes::new()), "abcd");
        let stored = Arc::clone(filler.head());
        filler.finish(Some(stored));
        assert_eq!(late.collect(10).await, Ok(Bytes::from_static(b"abcd")));
        assert_eq!(early.collect(10).await, Ok(Bytes::from_static(b"cd")));
        assert!(matches!(filling.whole().await, Ok(Some(_))));
    }

    #[tokio::test]
    async fn a_cut_is_a_cut_for_all() {
        let (filling, filler) = both();
        let body = filling.body().expect("from the first byte");
        filler.push(Bytes::from_static(b"ab")).await;
        filler.cut(BodyError::Stalled);
        assert_eq!(body.collect(10).await, Err(BodyError::Stalled));
        assert_eq!(filling.whole().await.err(), Some(BodyError::Stalled));

        let (filling, filler) = both();
        drop(filler);
        assert!(filling.whole().await.is_err());
    }

    #[tokio::test]
    async fn what_is_too_large_is_not_kept_and_not_joined() {
        let (filling, filler) = both();
        let mut reader = filling.body().expect("from the first byte");
        filler.is_larger();
        let pushing = tokio::spawn(async move {
            for _ in 0..100 {
                filler.push(Bytes::from_static(b"x")).await;
            }
            filler.finish(None);
        });
        let mut read = 0;
        while let Some(piece) = reader.next().await {
            read += piece.expect("no error").len();
            assert!(filling.shared.lock().pieces.len() <= AHEAD + 1);
        }
        pushing.await.expect("no panic");
        assert_eq!(read, 100);
        assert!(filling.body().is_none());
        assert!(matches!(filling.whole().await, Ok(None)));
    }

    #[tokio::test]
    async fn the_last_reader_ends_the_filler() {
        let (filling, filler) = both();
        let task = tokio::spawn(async move {
            std::future::pending::<()>().await;
            drop(filler);
        });
        filling.ends(task.abort_handle());
        let body = filling.body();
        drop(filling);
        assert!(!task.is_finished());
        drop(body);
        assert!(task.await.expect_err("it was ended").is_cancelled());
    }
}
