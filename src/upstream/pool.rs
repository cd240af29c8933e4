//! The servers of an upstream and the line before them: [`Pool::acquire`] gives a [`Permit`] for one server, or says why not.
//!
//! The permit does the counting, so that it cannot drift: whoever holds one is in flight, and it gives itself back when it is
//! dropped, wherever that happens. A pool outlives the configuration that made it: a reload changes its servers and terms
//! ([`members`](super::members)), operators change its servers' states ([`operate`](super::operate)), and those in flight stay counted.
//!
//! Every step is one section under one lock. What it lets in from the line is handed over after that ([`Handover`]), so that the receiver's
//! code never runs inside it. The tests in `model` walk through all orders of these steps.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{oneshot, watch};
use tokio::task::AbortHandle;
use tokio::time::Instant;

use crate::config::UpstreamConfig;
use crate::message::deadline::Deadline;
use crate::upstream::balance::{self, Terms, Wish};
use crate::upstream::error::UpstreamError;
use crate::upstream::members::Members;
use crate::upstream::queue::{Place, Queue};
use crate::upstream::server::Server;
use crate::upstream::standing::{Change, LastProbe, ServerState, Standing};

/// The servers of one upstream.
pub struct Pool {
    name: String,
    state: Mutex<State>,
    /// Counts the changes of state, so that one can wait for the next.
    changes: watch::Sender<u64>,
    /// Who carries out health checks; ends with the pool.
    watcher: Mutex<Watcher>,
}

#[derive(Default)]
struct Watcher(Option<AbortHandle>);

impl Drop for Watcher {
    fn drop(&mut self) {
        if let Some(task) = self.0.take() {
            task.abort();
        }
    }
}

pub(super) struct State {
    pub(super) rules: Rules,
    pub(super) members: Members,
    pub(super) queue: Queue,
    checks: Vec<Check>,
}

/// What the configuration says of the line and the choice.
#[derive(Debug, Clone, Copy)]
pub(super) struct Rules {
    pub(super) terms: Terms,
    queue_length: usize,
    queue_timeout: Duration,
    /// Bad health checks that take a server out and good ones that bring it back, if there are any.
    pub(super) health: Option<(u32, u32)>,
}

/// A health check that waits for room at its server.
struct Check {
    server: Arc<Server>,
    sender: oneshot::Sender<Permit>,
}

/// The right to have one request in flight at one server. Dropping it lets the next one in.
pub struct Permit {
    pool: Arc<Pool>,
    server: Arc<Server>,
    spent: bool,
}

/// Permits on their way to those who waited for them.
#[must_use = "those who waited get nothing before it is delivered"]
pub struct Handover(VecDeque<(oneshot::Sender<Permit>, Permit)>);

impl Pool {
    /// A pool by its configuration.
    pub fn new(name: &str, config: &UpstreamConfig) -> Arc<Self> {
        Arc::new(Self {
            name: name.to_owned(),
            state: Mutex::new(State {
                rules: Rules::of(config),
                members: Members::new(config),
                queue: Queue::default(),
                checks: Vec::new(),
            }),
            changes: watch::Sender::new(0),
            watcher: Mutex::default(),
        })
    }

    /// The upstream's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Whether the servers take a bounded number of requests at a time.
    pub fn is_bounded(&self) -> bool {
        self.lock().rules.terms.max_in_flight > 0
    }

    /// How many servers there are.
    pub fn len(&self) -> usize {
        self.lock().members.len()
    }

    /// Whether there is no server.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Its servers.
    pub fn servers(&self) -> Vec<Arc<Server>> {
        let state = self.lock();
        let servers = state.members.iter().map(|it| Arc::clone(&it.server));
        servers.collect()
    }

    /// A permit for a server, at once or after waiting in line. A future that is dropped leaves the line.
    ///
    /// # Errors
    /// [`UpstreamError::QueueFull`] at once; `QueueTimeout` or `Deadline` when no server became free in time; `NoServer` when
    /// all are drained.
    pub async fn acquire(
        self: &Arc<Self>,
        deadline: Deadline,
        wish: Wish,
    ) -> Result<Permit, UpstreamError> {
        match self.join(wish)? {
            Joined::Taken(permit) => Ok(permit),
            // Boxed: who need not wait carries no room for it.
            Joined::Waiting(waiting) => Box::pin(waiting.wait(deadline)).await,
        }
    }

    /// The first step of [`acquire`](Self::acquire).
    fn join(self: &Arc<Self>, wish: Wish) -> Result<Joined, UpstreamError> {
        let mut state = self.lock();
        if state.members.iter().all(Standing::is_drained) {
            return Err(self.no_server());
        }
        if state.queue.is_empty()
            && let Some(permit) = self.take(&mut state, &wish)
        {
            return Ok(Joined::Taken(permit));
        }
        if state.queue.len() >= state.rules.queue_length {
            return Err(UpstreamError::QueueFull {
                upstream: self.name.clone(),
                length: state.queue.len(),
            });
        }
        let patience = state.rules.queue_timeout;
        let (place, receiver) = state.queue.join(wish);
        Ok(Joined::Waiting(Waiting {
            pool: Arc::clone(self),
            place,
            receiver,
            patience,
        }))
    }

    /// A permit for this server and no other, whatever its state: for health checks. It waits for room at the server, and then goes before the
    /// line; `None` when there was none in time, or the server has left.
    pub async fn acquire_at(
        self: &Arc<Self>,
        server: &Arc<Server>,
        deadline: Deadline,
    ) -> Option<Permit> {
        let receiver = match self.check(server)? {
            Ok(permit) => return Some(permit),
            Err(receiver) => receiver,
        };
        deadline.bound(receiver).await.ok()?.ok()
    }

    /// The first step of [`acquire_at`](Self::acquire_at).
    fn check(
        self: &Arc<Self>,
        server: &Arc<Server>,
    ) -> Option<Result<Permit, oneshot::Receiver<Permit>>> {
        let mut state = self.lock();
        let terms = state.rules.terms;
        let standing = state.members.find(server)?;
        if terms.has_room(standing.in_flight) {
            return Some(Ok(self.give(standing)));
        }
        let (sender, receiver) = oneshot::channel();
        state.checks.retain(|check| !check.sender.is_closed());
        state.checks.push(Check {
            server: Arc::clone(server),
            sender,
        });
        Some(Err(receiver))
    }

    /// The connection to a server failed: it is out for a while.
    pub fn connection_failed(self: &Arc<Self>, server: &Arc<Server>, reason: &str) {
        server.suspect(true);
        self.change(|state, now| {
            let watched = state.rules.health.is_some();
            let standing = state.members.find(server)?;
            standing.connection_failed(now, reason, watched)
        });
    }

    /// A server took a connection, or answered.
    pub fn connection_made(self: &Arc<Self>, server: &Arc<Server>) {
        if !server.suspect(false) {
            return;
        }
        self.change(|state, now| state.members.find(server)?.connection_made(now));
    }

    /// A health check has ended.
    pub fn probed(self: &Arc<Self>, server: &Arc<Server>, probe: LastProbe) {
        self.change(|state, now| {
            let (fall, rise) = state.rules.health?;
            state.members.find(server)?.probed(now, probe, fall, rise)
        });
    }

    /// The servers that have joined or left were others before: who watches them looks anew.
    pub(super) fn rearranged(&self) {
        self.changes.send_modify(|count| *count += 1);
    }

    /// From now on this task watches the servers; the one of before ends.
    pub(super) fn watched_by(&self, task: Option<AbortHandle>) {
        let mut watcher = self.watcher.lock().unwrap_or_else(PoisonError::into_inner);
        *watcher = Watcher(task);
    }

    /// Whether connections and health checks of a server go well.
    pub(super) fn is_well(&self, server: &Arc<Server>) -> bool {
        let mut state = self.lock();
        state.members.find(server).is_none_or(|it| !it.is_down())
    }

    /// Changes what stands under the lock, tells the changes of state that this made, and lets in who fits now.
    pub(super) fn change<C: IntoIterator<Item = Change>>(
        self: &Arc<Self>,
        change: impl FnOnce(&mut State, Instant) -> C,
    ) {
        self.step(change).deliver();
    }

    /// The same, but for the handing over.
    fn step<C: IntoIterator<Item = Change>>(
        self: &Arc<Self>,
        change: impl FnOnce(&mut State, Instant) -> C,
    ) -> Handover {
        let (changes, handover) = {
            let mut state = self.lock();
            let changes: Vec<_> = change(&mut state, Instant::now()).into_iter().collect();
            if state.members.iter().all(Standing::is_drained) {
                state.queue.clear();
            }
            (changes, self.admit(&mut state))
        };
        self.tell(changes);
        handover
    }

    /// Tells operators, and those who wait for a change.
    fn tell(&self, changes: impl IntoIterator<Item = Change>) {
        let mut any = false;
        for change in changes {
            any = true;
            let (
                upstream,
                Change {
                    server,
                    from,
                    to,
                    reason,
                },
            ) = (&self.name, change);
            let from = from.as_str();
            match to {
                ServerState::Down => {
                    tracing::warn!(%upstream, %server, from, reason, "server down");
                }
                to => tracing::info!(%upstream, %server, from, reason, "server {}", to.as_str()),
            }
        }
        if any {
            self.changes.send_modify(|count| *count += 1);
        }
    }

    /// Tells of every change of a server's state from now on.
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.changes.subscribe()
    }

    /// Takes a free server for a request.
    fn take(self: &Arc<Self>, state: &mut State, wish: &Wish) -> Option<Permit> {
        let terms = state.rules.terms;
        let at = balance::choose(&mut state.members, terms, wish, Instant::now())?;
        Some(self.give(&mut state.members[at]))
    }

    fn give(self: &Arc<Self>, standing: &mut Standing) -> Permit {
        standing.take();
        Permit {
            pool: Arc::clone(self),
            server: Arc::clone(&standing.server),
            spent: false,
        }
    }

    /// Lets in from the line who fits.
    fn admit(self: &Arc<Self>, state: &mut State) -> Handover {
        let mut handover = Handover(VecDeque::new());
        while let Some(wish) = state.queue.first().cloned()
            && let Some(permit) = self.take(state, &wish)
        {
            match state.queue.pop() {
                Some(sender) => handover.0.push_back((sender, permit)),
                // The line had a first one, and nobody else has the lock.
                None => return handover,
            }
        }
        handover
    }

    /// Lets in a health check that waits for this server, and then from the line who fits.
    fn next(self: &Arc<Self>, state: &mut State, server: &Arc<Server>) -> Handover {
        let waits = |check: &Check| Arc::ptr_eq(&check.server, server) && !check.sender.is_closed();
        let check = state.checks.iter().position(waits);
        let terms = state.rules.terms;
        if let Some(at) = check
            && let Some(standing) = state.members.find(server)
            && terms.has_room(standing.in_flight)
        {
            let permit = self.give(standing);
            let sender = state.checks.swap_remove(at).sender;
            let mut handover = self.admit(state);
            handover.0.push_front((sender, permit));
            return handover;
        }
        self.admit(state)
    }

    /// When the first server that is out may be tried again.
    fn next_trial(&self) -> Option<Instant> {
        let now = Instant::now();
        let state = self.lock();
        let trials = state.members.iter().filter_map(|it| it.next_trial(now));
        trials.min()
    }

    fn no_server(&self) -> UpstreamError {
        UpstreamError::NoServer {
            upstream: self.name.clone(),
        }
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, State> {
        // The state is numbers that are changed together; a panic while it is locked leaves them whole.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Rules {
    pub(super) fn of(config: &UpstreamConfig) -> Self {
        Self {
            terms: Terms {
                balance: config.balance,
                max_in_flight: config.max_in_flight,
                slow_start: config.slow_start,
            },
            queue_length: config.queue,
            queue_timeout: config.queue_timeout,
            health: config.health.as_ref().map(|it| (it.fall, it.rise)),
        }
    }
}

impl Permit {
    /// The server that it is for.
    pub fn server(&self) -> &Arc<Server> {
        &self.server
    }

    /// Ends what was in flight, once; who fits now gets a permit of their own.
    fn give_back(&mut self) -> Handover {
        if std::mem::replace(&mut self.spent, true) {
            return Handover(VecDeque::new());
        }
        let (change, handover) = {
            let mut state = self.pool.lock();
            let change = state.members.give_back(&self.server, Instant::now());
            if state.queue.is_empty() && state.checks.is_empty() {
                (change, Handover(VecDeque::new()))
            } else {
                (change, self.pool.next(&mut state, &self.server))
            }
        };
        self.pool.tell(change);
        handover
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.give_back().deliver();
    }
}

impl Handover {
    /// Hands the permits over. One whose receiver has left goes to the next in line.
    fn deliver(mut self) {
        while let Some((sender, permit)) = self.0.pop_front() {
            if let Err(mut refused) = sender.send(permit) {
                self.0.append(&mut refused.give_back().0);
            }
        }
    }
}

enum Joined {
    Taken(Permit),
    Waiting(Waiting),
}

/// Somebody in line; leaves it when dropped.
struct Waiting {
    pool: Arc<Pool>,
    place: Place,
    receiver: oneshot::Receiver<Permit>,
    patience: Duration,
}

impl Waiting {
    async fn wait(mut self, deadline: Deadline) -> Result<Permit, UpstreamError> {
        let began = Instant::now();
        let patience = deadline.within(self.patience);
        let mut changes = self.pool.changes();
        loop {
            changes.borrow_and_update();
            let until = self
                .pool
                .next_trial()
                .unwrap_or(patience.instant())
                .min(patience.instant());
            tokio::select! {
                biased;
                permit = &mut self.receiver => {
                    // The sender leaves the queue together with a permit, or because there is nobody to wait for.
                    return permit.map_err(|_| self.pool.no_server());
                }
                // Who is out, and until when, may be others now. The sender is the pool's own.
                _ = changes.changed() => continue,
                () = tokio::time::sleep_until(until) => {}
            }
            if patience.left() > Duration::ZERO {
                // A server that was out may be tried, and nobody gave up a permit to tell.
                self.pool.change(|_, _| None);
            } else if deadline.left() == Duration::ZERO {
                return Err(UpstreamError::Deadline {
                    upstream: self.pool.name.clone(),
                });
            } else {
                return Err(UpstreamError::QueueTimeout {
                    upstream: self.pool.name.clone(),
                    waited: began.elapsed(),
                });
            }
        }
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        self.pool.lock().queue.leave(self.place);
    }
}

#[cfg(test)]
mod model;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::ServerEntry;
    use crate::config::pattern::ServerAddress;
    use futures::FutureExt;

    fn pool(servers: usize, max_in_flight: usize, queue: usize) -> Arc<Pool> {
        let entries = (0..servers).map(|at| ServerEntry {
            address: ServerAddress::parse(&format!("127.0.0.1:{}", 9000 + at)).expect("an address"),
            weight: 1,
        });
        let config = UpstreamConfig {
            max_in_flight,
            queue,
            ..UpstreamConfig::new(entries.collect())
        };
        Pool::new("app", &config)
    }

    fn soon() -> Deadline {
        Deadline::after(Duration::from_secs(60))
    }

    #[tokio::test(start_paused = true)]
    async fn permits_are_handed_on_in_order_of_arrival() {
        let pool = pool(1, 1, 10);
        let first = pool
            .acquire(soon(), Wish::default())
            .await
            .expect("the server is free");
        let mut second = Box::pin(pool.acquire(soon(), Wish::default()));
        let mut third = Box::pin(pool.acquire(soon(), Wish::default()));
        assert!(
            second.as_mut().now_or_never().is_none() && third.as_mut().now_or_never().is_none()
        );
        assert_eq!(pool.status().queued, 2);
        drop(first);
        assert!(
            third.as_mut().now_or_never().is_none(),
            "the second is before it"
        );
        let second = second.await.expect("it is its turn");
        drop(second);
        assert!(third.await.is_ok());
    }

    #[tokio::test(start_paused = true)]
    async fn whoever_leaves_the_line_is_passed_over() {
        let pool = pool(1, 1, 10);
        let first = pool
            .acquire(soon(), Wish::default())
            .await
            .expect("the server is free");
        let mut second = Box::pin(pool.acquire(soon(), Wish::default()));
        let mut third = Box::pin(pool.acquire(soon(), Wish::default()));
        assert!(
            second.as_mut().now_or_never().is_none() && third.as_mut().now_or_never().is_none()
        );
        drop(second);
        assert_eq!(pool.status().queued, 1);
        drop(first);
        assert!(third.await.is_ok());
        assert_eq!(pool.status().servers[0].in_flight, 0);
    }

    #[tokio::test(start_paused = true)]
    async fn a_permit_on_its_way_to_one_who_left_is_not_lost() {
        let pool = pool(1, 1, 10);
        let first = pool
            .acquire(soon(), Wish::default())
            .await
            .expect("the server is free");
        let mut second = Box::pin(pool.acquire(soon(), Wish::default()));
        assert!(second.as_mut().now_or_never().is_none());
        drop(first);
        // It has been sent and not been received.
        drop(second);
        assert_eq!(pool.status().servers[0].in_flight, 0);
        assert!(pool.acquire(soon(), Wish::default()).await.is_ok());
    }

    #[tokio::test(start_paused = true)]
    async fn the_line_is_bounded_in_length_and_time() {
        let pool = pool(1, 1, 1);
        let _first = pool
            .acquire(soon(), Wish::default())
            .await
            .expect("the server is free");
        let mut second = Box::pin(pool.acquire(soon(), Wish::default()));
        assert!(second.as_mut().now_or_never().is_none());
        let full = pool
            .acquire(soon(), Wish::default())
            .await
            .err()
            .expect("there is no room");
        assert!(matches!(full, UpstreamError::QueueFull { length: 1, .. }));
        assert!(matches!(
            second.await,
            Err(UpstreamError::QueueTimeout { .. })
        ));
        let hurried = pool
            .acquire(Deadline::after(Duration::from_millis(5)), Wish::default())
            .await;
        assert!(matches!(hurried, Err(UpstreamError::Deadline { .. })));
        assert_eq!(pool.status().queued, 0);
    }

    #[tokio::test(start_paused = true)]
    async fn a_server_that_comes_back_serves_those_who_wait() {
        let pool = pool(2, 1, 10);
        let servers = pool.servers();
        pool.connection_failed(&servers[0], "refused");
        let _busy = pool
            .acquire(soon(), Wish::default())
            .await
            .expect("the other one is free");
        let waited = pool
            .acquire(soon(), Wish::default())
            .await
            .expect("the first comes back");
        assert!(Arc::ptr_eq(waited.server(), &servers[0]));
    }

    #[tokio::test(start_paused = true)]
    async fn a_server_that_goes_down_while_somebody_waits_is_tried_when_its_time_is_over() {
        let pool = pool(2, 1, 10);
        let servers = pool.servers();
        let first = pool.acquire(soon(), Wish::default()).await.expect("free");
        let _second = pool.acquire(soon(), Wish::default()).await.expect("free");
        let began = Instant::now();
        let mut waits = Box::pin(pool.acquire(soon(), Wish::default()));
        assert!(waits.as_mut().now_or_never().is_none());
        pool.connection_failed(&servers[0], "refused");
        drop(first);
        let permit = waits.await.expect("it is tried after a second");
        assert!(Arc::ptr_eq(permit.server(), &servers[0]));
        assert_eq!(began.elapsed(), Duration::from_secs(1));
    }

    #[tokio::test(start_paused = true)]
    async fn drained_is_told_when_nothing_is_in_flight() {
        let pool = pool(2, 1, 10);
        let permit = pool.acquire(soon(), Wish::default()).await.expect("free");
        let name = permit.server().label().to_owned();
        pool.drain(&name).expect("it is known");
        let mut drained = Box::pin(pool.drained(&name));
        assert!(drained.as_mut().now_or_never().is_none());
        let elsewhere = pool.acquire(soon(), Wish::default()).await.expect("free");
        assert_ne!(elsewhere.server().label(), name);
        drop(permit);
        drained.await.expect("it is known");
        let status = pool.status();
        let server = status.servers.iter().find(|it| it.address == name);
        assert!(server.is_some_and(|it| it.state == ServerState::Drained));
        let mut waits = Box::pin(pool.acquire(soon(), Wish::default()));
        assert!(waits.as_mut().now_or_never().is_none());
        pool.ready(&name).expect("it is known");
        let permit = waits.await.expect("there is a server again");
        assert_eq!(permit.server().label(), name);
    }

    #[tokio::test(start_paused = true)]
    async fn when_the_last_server_is_drained_nobody_waits_in_vain() {
        let pool = pool(1, 1, 10);
        let _permit = pool.acquire(soon(), Wish::default()).await.expect("free");
        let mut waits = Box::pin(pool.acquire(soon(), Wish::default()));
        assert!(waits.as_mut().now_or_never().is_none());
        pool.set_weight("127.0.0.1:9000", 0).expect("it is known");
        let refused = waits.await.err().expect("nobody serves");
        assert!(matches!(refused, UpstreamError::NoServer { .. }));
        let unknown = pool
            .drain("127.0.0.1:9")
            .expect_err("there is no such server");
        assert_eq!(
            unknown.to_string(),
            "app has no server 127.0.0.1:9; it has 127.0.0.1:9000"
        );
    }
}
