//! Connections to a server between exchanges: where they rest, and who tends them.

use std::collections::VecDeque;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use tokio_util::task::AbortOnDropHandle;

use crate::upstream::connection::{Alone, Call, Connection, Shared};
use crate::upstream::transport::Transport;

/// A connection rests at most so long: most servers close theirs after 5 to 75 s, and one that is closed is found out before use.
const LONGEST_REST: Duration = Duration::from_secs(60);

/// Connections to one server that rest at a time: as many as a few dozen pages with many fragments use at once. One more would be closed
/// and opened anew for each of their fragments, which costs more than all else that a fragment needs.
const MOST_RESTING: usize = 1024;

/// So many last answers are acknowledged in one turn, or a sixteenth of all, then others have theirs: a request that comes meanwhile waits
/// for no more than these, and there is time for them between the answers that a page waits for.
const IN_ONE_TURN: usize = 4;

/// The connections to one server that are kept.
#[derive(Default)]
pub struct Resting {
    kept: Arc<Mutex<Kept>>,
    tender: OnceLock<Tender>,
}

/// The task that acknowledges the last answers of connections that came to rest, and closes those whose server has closed them, or has sent
/// what nobody asked for. It ends with them.
struct Tender {
    call: Arc<Call>,
    _task: AbortOnDropHandle<()>,
}

#[derive(Default)]
struct Kept {
    /// In the order in which they came to rest.
    alone: Vec<Alone>,
    /// The same, those whose last answer is not acknowledged yet: each is roused until the tender has come to it.
    fresh: VecDeque<Alone>,
    shared: Vec<Shared>,
}

impl Kept {
    /// Looks at the one that waits for it longest, and puts it into `ended` if it must be closed.
    fn settle(&mut self, ended: &mut Vec<Alone>) {
        let Some(mut connection) = self.fresh.pop_front() else {
            return;
        };
        connection.look();
        let kept = if connection.is_open() {
            &mut self.alone
        } else {
            ended
        };
        kept.push(connection);
    }
}

impl Resting {
    /// A connection of this transport that can be used: a place on one that is shared, or the one that rested last of those that were looked
    /// at. Others that cannot be used are closed.
    pub async fn wake(&self, transport: &Arc<Transport>) -> Option<Connection> {
        if transport.shares()
            && let Some(shared) = self.place(transport)
        {
            return Some(Connection::Shared(shared));
        }
        loop {
            let mut connection = self.taken()?;
            if connection.is_roused() {
                connection.look();
                // What the server has held back may come now, and is seen when the sockets are.
                if connection.is_open() {
                    tokio::task::yield_now().await;
                }
            }
            if connection.is_of(transport)
                && connection.rested() < LONGEST_REST
                && connection.is_ready()
            {
                return Some(Connection::Alone(connection));
            }
        }
    }

    /// The one that rested last, a fresh one only where there is no other.
    fn taken(&self) -> Option<Alone> {
        let mut kept = self.lock();
        let settled = kept.alone.pop();
        settled.or_else(|| kept.fresh.pop_back())
    }

    /// A place on a connection that is shared.
    pub(super) fn place(&self, transport: &Arc<Transport>) -> Option<Shared> {
        let mut kept = self.lock();
        let dead: Vec<_> = kept.shared.extract_if(.., |it| !it.is_alive()).collect();
        let fits = |it: &&Shared| it.is_of(transport) && it.has_room();
        let found = kept
            .shared
            .iter()
            .filter(fits)
            .min_by_key(|it| it.streams());
        let found = found.cloned();
        drop(kept);
        drop(dead);
        if let Some(shared) = &found {
            shared.touch();
        }
        found
    }

    /// Keeps one that others may share.
    pub(super) fn share(&self, shared: Shared) {
        self.lock().shared.push(shared);
    }

    /// Puts one to rest.
    pub fn rest(&self, mut connection: Alone) {
        let tender = self.tender.get_or_init(|| Tender::of(&self.kept));
        connection.lie_down(&tender.call);
        let mut kept = self.lock();
        let too_many = kept.alone.len() + kept.fresh.len() >= MOST_RESTING;
        let oldest = match (too_many, kept.alone.is_empty()) {
            (false, _) => None,
            (true, false) => Some(kept.alone.remove(0)),
            (true, true) => kept.fresh.pop_front(),
        };
        kept.fresh.push_back(connection);
        drop(kept);
        drop(oldest);
        tender.call.tender.notify_one();
    }

    /// Closes those that have rested for too long.
    pub fn sweep(&self) {
        self.close_rested(LONGEST_REST);
    }

    /// Closes all that rest.
    pub fn clear(&self) {
        self.close_rested(Duration::ZERO);
    }

    fn close_rested(&self, longest: Duration) {
        let mut kept = self.lock();
        let is_old = |connection: &mut Alone| connection.rested() >= longest;
        let mut old: Vec<_> = kept.alone.extract_if(.., is_old).collect();
        if longest.is_zero() {
            old.extend(kept.fresh.drain(..));
        }
        let unused = |it: &mut Shared| it.streams() == 0 && it.rested() >= longest;
        let shared: Vec<_> = kept
            .shared
            .extract_if(.., |it| !it.is_alive() || unused(it))
            .collect();
        drop(kept);
        drop((old, shared));
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Tender {
    fn of(kept: &Arc<Mutex<Kept>>) -> Self {
        let call = Arc::new(Call::default());
        let (called, kept) = (Arc::clone(&call), Arc::downgrade(kept));
        let task = tokio::spawn(async move {
            loop {
                called.tender.notified().await;
                let Some(kept) = kept.upgrade() else { return };
                let lock = || kept.lock().unwrap_or_else(PoisonError::into_inner);
                loop {
                    // Who waited for the answer goes first.
                    tokio::task::yield_now().await;
                    let mut ended = Vec::new();
                    let fresh = lock().fresh.len();
                    for _ in 0..fresh.min(IN_ONE_TURN.max(fresh / 16)) {
                        lock().settle(&mut ended);
                    }
                    let mut resting = lock();
                    if called.roused.swap(false, Ordering::Acquire) {
                        let has_ended = |it: &mut Alone| {
                            if it.is_roused() {
                                it.look();
                            }
                            !it.is_open()
                        };
                        ended.extend(resting.alone.extract_if(.., has_ended));
                    }
                    if resting.fresh.is_empty() {
                        break;
                    }
                }
            }
        });
        Self {
            call,
            _task: AbortOnDropHandle::new(task),
        }
    }
}
