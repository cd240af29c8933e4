//! Carries a plan out against one target: worker threads, each with a runtime and a share of the connections.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Barrier, Mutex, OnceLock, mpsc};
use std::thread;
use std::time::Duration;

use tokio::runtime::Runtime;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::bench::client::{Connection, Exchange, Failure, Guard};
use crate::bench::cost;
use crate::bench::plan::{Extent, Plan, Requests};
use crate::bench::progress::Progress;
use crate::bench::schedule::{Clock, Schedule};
use crate::bench::tally::{Fault, Seen, Tally};
use crate::bench::target::Target;
use crate::bench::users::{self, Shown};
use crate::bench::zipf::Dice;

/// How long a connection waits after it could not connect.
const PAUSE: Duration = Duration::from_millis(10);

/// How often the progress line is written.
const GLANCE: Duration = Duration::from_millis(250);

/// Largest room for a body to be looked at that is kept for the next one, in bytes.
const LARGEST_KEPT: usize = 64 * 1024 * 1024;

/// Why there is no run.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// Not one connection could be opened.
    #[error("cannot connect to {address}: {words}")]
    Unreachable {
        /// The server.
        address: String,
        /// What the system said of the first try.
        words: String,
    },
    /// The system gives no thread or runtime.
    #[error("cannot start workers: {0}")]
    Workers(#[from] std::io::Error),
    /// A worker has broken down.
    #[error("a worker has broken down")]
    Broken,
}

/// What all workers of a run look at.
struct Shared {
    plan: Plan,
    requests: Requests,
    target: Target,
    /// The number of the next request.
    next: AtomicU64,
    /// How many there are.
    limit: u64,
    /// Requests that are due (open loop).
    due: Semaphore,
    start: OnceLock<Instant>,
    /// What the timeline counts from.
    epoch: OnceLock<Instant>,
    /// Nobody could connect, or a worker is missing.
    off: AtomicBool,
    connected: AtomicU64,
    first_refusal: Mutex<Option<String>>,
    progress: Arc<Progress>,
    ready: Barrier,
    go: Barrier,
}

/// Sends what the plan says and gives back what was measured. Blocks until all of it has ended. The timeline counts from `epoch`, or
/// from the start.
///
/// # Errors
/// When nothing could be measured at all.
pub fn run(
    plan: &Plan,
    target: &Target,
    requests: &Requests,
    progress: &Arc<Progress>,
    epoch: Option<Instant>,
) -> Result<Tally, RunError> {
    let threads = plan.threads.clamp(1, plan.connections.max(1));
    let shared = Arc::new(Shared {
        limit: limit(plan),
        plan: plan.clone(),
        requests: requests.clone(),
        target: target.clone(),
        next: AtomicU64::new(0),
        due: Semaphore::new(0),
        start: OnceLock::new(),
        epoch: epoch.map(OnceLock::from).unwrap_or_default(),
        off: AtomicBool::new(false),
        connected: AtomicU64::new(0),
        first_refusal: Mutex::new(None),
        progress: progress.clone(),
        ready: Barrier::new(threads + 1),
        go: Barrier::new(threads + 1),
    });
    let runtimes = (0..threads).map(|_| {
        tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
    });
    let runtimes = runtimes.collect::<Result<Vec<_>, _>>()?;
    thread::scope(|scope| {
        let (ended, ends) = mpsc::channel();
        let workers: Vec<_> = runtimes
            .into_iter()
            .enumerate()
            .map(|(number, runtime)| {
                let (shared, ended) = (shared.clone(), ended.clone());
                scope.spawn(move || {
                    let tally = work(&runtime, &shared, number, threads);
                    // The other side waits for this, or has gone.
                    let _ = ended.send(());
                    tally
                })
            })
            .collect();
        drop(ended);
        shared.ready.wait();
        let start = Instant::now();
        let reachable = shared.connected.load(Ordering::Acquire) > 0;
        shared.off.store(!reachable, Ordering::Release);
        // Nobody else sets them.
        let _ = shared.start.set(start);
        shared.epoch.get_or_init(|| start);
        shared.go.wait();
        if let Some(schedule) = plan.schedule.filter(|_| reachable) {
            let shared = shared.clone();
            scope.spawn(move || pace(&shared, schedule, start));
        }
        watch(&ends, threads, progress);
        shared.off.store(true, Ordering::Release);
        let mut whole = Tally::default();
        for worker in workers {
            whole.add(worker.join().map_err(|_| RunError::Broken)?);
        }
        if reachable {
            return Ok(whole);
        }
        let refusal = shared.first_refusal.lock();
        let words = refusal.ok().and_then(|mut words| words.take());
        Err(RunError::Unreachable {
            address: target.address.to_string(),
            words: words.unwrap_or_default(),
        })
    })
}

/// How many requests there are at most.
fn limit(plan: &Plan) -> u64 {
    match (plan.extent, plan.schedule) {
        (Extent::Requests(count), _) => count,
        (Extent::Time(time), Some(schedule)) => schedule.due(time),
        (Extent::Time(_), None) => u64::MAX,
    }
}

/// Writes the progress line until all workers have ended.
fn watch(ends: &mpsc::Receiver<()>, threads: usize, progress: &Progress) {
    let mut left = threads;
    while left > 0 {
        match ends.recv_timeout(GLANCE) {
            Ok(()) => left -= 1,
            Err(mpsc::RecvTimeoutError::Timeout) => progress.draw(),
            Err(mpsc::RecvTimeoutError::Disconnected) => return,
        }
    }
}

/// Releases requests as they become due. It has a thread of its own: the timers of a runtime are too coarse for it.
fn pace(shared: &Shared, schedule: Schedule, start: Instant) {
    struct Wall(Instant);
    impl Clock for Wall {
        fn elapsed(&self) -> Duration {
            self.0.elapsed()
        }
        fn pause(&mut self, duration: Duration) {
            thread::sleep(duration);
        }
    }
    let mut left = shared.limit;
    schedule.pace(&mut Wall(start), |more| {
        let more = more.min(left);
        left -= more;
        shared.due.add_permits(more as usize);
        left > 0 && !shared.off.load(Ordering::Acquire)
    });
}

/// One worker: opens its connections, waits for the others, and drives them to the end.
fn work(runtime: &Runtime, shared: &Arc<Shared>, number: usize, threads: usize) -> Tally {
    let tally = Rc::new(RefCell::new(Tally::default()));
    let local = tokio::task::LocalSet::new();
    let mine = (number..shared.plan.connections).step_by(threads);
    let opened = local.block_on(runtime, open(shared, mine.len(), &tally));
    shared.ready.wait();
    shared.go.wait();
    let before = cost::thread_time();
    local.block_on(runtime, async {
        let mut drivers = JoinSet::new();
        for (seat, connection) in mine.zip(opened) {
            let driver = Driver::new(shared.clone(), tally.clone(), seat, connection);
            drivers.spawn_local(driver.drive());
        }
        while drivers.join_next().await.is_some() {}
    });
    drop(local);
    let mut tally = tally.take();
    tally.cost = cost::thread_time()
        .zip(before)
        .map(|(after, before)| after.saturating_sub(before));
    tally
}

/// Opens connections, all at once; nothing where one could not be had.
async fn open(
    shared: &Arc<Shared>,
    count: usize,
    tally: &RefCell<Tally>,
) -> Vec<Option<Connection>> {
    let one = |_| async {
        let mut guard = Guard::new(shared.plan.timeout);
        match Connection::open(shared.target.address, &mut guard).await {
            Ok(connection) => {
                shared.connected.fetch_add(1, Ordering::AcqRel);
                tally.borrow_mut().connections += 1;
                Some(connection)
            }
            Err(failure) => {
                if let Ok(mut first) = shared.first_refusal.lock() {
                    first.get_or_insert(failure.words);
                }
                None
            }
        }
    };
    futures::future::join_all((0..count).map(one)).await
}

/// One connection's part of the run.
struct Driver {
    shared: Arc<Shared>,
    tally: Rc<RefCell<Tally>>,
    connection: Option<Connection>,
    guard: Guard,
    dice: Dice,
    request: Vec<u8>,
    body: Vec<u8>,
    start: Instant,
    epoch: Instant,
}

impl Driver {
    fn new(
        shared: Arc<Shared>,
        tally: Rc<RefCell<Tally>>,
        seat: usize,
        connection: Option<Connection>,
    ) -> Self {
        let start = shared.start.get().copied().unwrap_or_else(Instant::now);
        let epoch = shared.epoch.get().copied().unwrap_or(start);
        let seed = shared.plan.seed.wrapping_add(seat as u64);
        Self {
            guard: Guard::new(shared.plan.timeout),
            dice: Dice::new(seed),
            shared,
            tally,
            connection,
            request: Vec::new(),
            body: Vec::new(),
            start,
            epoch,
        }
    }

    async fn drive(mut self) {
        let mut last = self.start;
        while !self.shared.off.load(Ordering::Relaxed) {
            let closed = self.shared.plan.schedule.is_none();
            if let Extent::Time(time) = self.shared.plan.extent
                && closed
                && last.duration_since(self.start) >= time
            {
                return;
            }
            let number = self.shared.next.fetch_add(1, Ordering::Relaxed);
            if number >= self.shared.limit {
                return;
            }
            last = match self.shared.plan.schedule {
                None => self.ask(number, last, last).await,
                Some(schedule) => {
                    let Ok(permit) = self.shared.due.acquire().await else {
                        return;
                    };
                    permit.forget();
                    let now = Instant::now();
                    let due = self.start + schedule.moment(number);
                    if self.too_late(now) {
                        self.fault(
                            Fault::Unsent,
                            || "due, but no connection was free".into(),
                            now,
                        );
                        continue;
                    }
                    self.ask(number, due, now).await
                }
            };
        }
    }

    /// Whether a timed open loop has gone on for a whole time limit beyond its end.
    fn too_late(&self, now: Instant) -> bool {
        match self.shared.plan.extent {
            Extent::Time(time) => now.duration_since(self.start) > time + self.shared.plan.timeout,
            Extent::Requests(_) => false,
        }
    }

    /// Sends the request of this number, which was due at `due`; when it had ended.
    async fn ask(&mut self, number: u64, due: Instant, now: Instant) -> Instant {
        let shared = self.shared.clone();
        let user = shared.plan.users.value(number);
        let chosen = shared
            .requests
            .write(&mut self.request, &mut self.dice, user);
        self.guard.start(now);
        match self.exchange().await {
            Ok(exchange) => {
                let seen = Seen {
                    status: exchange.status,
                    first_byte: exchange.first_byte.duration_since(due),
                    total: exchange.end.duration_since(due),
                    from_send: exchange.end.duration_since(now),
                    body: exchange.body,
                    wire: exchange.wire,
                };
                let mut tally = self.tally.borrow_mut();
                tally.answer(&seen, exchange.end.duration_since(self.epoch));
                tally.elapsed = tally.elapsed.max(exchange.end.duration_since(self.start));
                drop(tally);
                self.look(exchange.status, shared.requests.path(chosen), user);
                shared.progress.answer(exchange.status);
                exchange.end
            }
            Err(failure) => {
                let end = Instant::now();
                self.fault(failure.fault, || failure.words, end);
                if failure.fault == Fault::Connect {
                    tokio::time::sleep(PAUSE).await;
                    return Instant::now();
                }
                end
            }
        }
    }

    fn fault(&self, fault: Fault, words: impl FnOnce() -> String, now: Instant) {
        let mut tally = self.tally.borrow_mut();
        tally.fault(fault, words, now.duration_since(self.epoch));
        tally.elapsed = tally.elapsed.max(now.duration_since(self.start));
        self.shared.progress.fault();
    }

    /// One exchange, on the kept connection or a new one. A kept connection that turns out to have been closed is replaced once, where
    /// the method may be sent again.
    async fn exchange(&mut self) -> Result<Exchange, Failure> {
        loop {
            let mut connection = if let Some(connection) = self.connection.take() {
                connection
            } else {
                let address = self.shared.target.address;
                let opened = Connection::open(address, &mut self.guard).await?;
                self.tally.borrow_mut().connections += 1;
                opened
            };
            let keep = if self.shared.plan.expect.looks() {
                self.body.clear();
                Some(&mut self.body)
            } else {
                None
            };
            let requests = &self.shared.requests;
            let exchanged = connection
                .exchange(&self.request, requests.head_only, keep, &mut self.guard)
                .await;
            match exchanged {
                Ok(exchange) => {
                    self.connection = exchange.keep.then_some(connection);
                    return Ok(exchange);
                }
                Err(Failure {
                    fault: Fault::Closed,
                    ..
                }) if connection.answers > 0 && requests.safe => {}
                Err(failure) => return Err(failure),
            }
        }
    }

    /// Holds the body against what was expected.
    fn look(&mut self, status: u16, path: &str, user: Option<&bytes::Bytes>) {
        let expect = &self.shared.plan.expect;
        if !expect.looks() || !(200..300).contains(&status) {
            return;
        }
        let mut tally = self.tally.borrow_mut();
        let checks = &mut tally.checks;
        checks.bodies += 1;
        let body = &self.body;
        if let Some(text) = &expect.text
            && memchr::memmem::find(body, text).is_none()
        {
            checks.without_text += 1;
            checks
                .first
                .get_or_insert_with(|| format!("{path} lacks the expected text"));
        }
        if let Some(own) = user.filter(|_| expect.own || expect.no_other) {
            match users::shown(body, own) {
                Shown::Another => {
                    checks.with_other += 1;
                    let own = String::from_utf8_lossy(own);
                    // The gravest of all faults is told before others.
                    checks.first = Some(format!(
                        "{path}, asked for by {own}, shows the value of another user"
                    ));
                }
                Shown::Nobody if expect.own => {
                    checks.without_own += 1;
                    checks.first.get_or_insert_with(|| {
                        format!(
                            "{path} does not show its own user's value {}",
                            String::from_utf8_lossy(own)
                        )
                    });
                }
                Shown::Nobody | Shown::Own => {}
            }
        }
        if self.body.capacity() > LARGEST_KEPT {
            self.body = Vec::new();
        }
    }
}
