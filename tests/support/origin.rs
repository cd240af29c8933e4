//! A scripted HTTP/1.1 origin on a free port: rules by target, a record of every request, a meter of what is in flight.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::os::fd::AsFd;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use socket2::Socket;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::{JoinHandle, JoinSet};

use super::reply::{Action, Reply, Then};
use super::wire::{Body, End, Framing, Head, Wire};
use super::within;

/// A write that takes nothing for so long counts as stopped by the reader.
const STALLED: Duration = Duration::from_secs(2);

/// An origin; ends with its value.
pub struct Origin {
    /// Where it listens, also after [`Origin::restart`].
    pub address: SocketAddr,
    shared: Arc<Shared>,
    task: Option<JoinHandle<()>>,
}

/// One request as it came.
#[derive(Debug, Clone)]
pub struct Recorded {
    /// Method.
    pub method: String,
    /// Target, as written.
    pub target: String,
    /// The whole head.
    pub head: Head,
    /// The body, unchunked.
    pub body: Vec<u8>,
    /// Whether the body ended properly.
    pub whole: bool,
    /// Number of the connection, from 0.
    pub connection: usize,
}

impl Recorded {
    /// The `Host` field.
    pub fn host(&self) -> &str {
        self.head.first("host").unwrap_or_default()
    }
}

type Rule = Arc<dyn Fn(&Recorded) -> Reply + Send + Sync>;

#[derive(Default)]
struct Shared {
    state: Mutex<State>,
    changes: watch::Sender<u64>,
}

#[derive(Default)]
struct State {
    rules: Vec<(String, Rule)>,
    requests: Vec<Recorded>,
    connections: usize,
    /// The sockets of the requests in flight, by number of the request.
    in_flight: HashMap<usize, Socket>,
    most_in_flight: usize,
    abandoned: Vec<String>,
    answered: usize,
    body_bytes: usize,
    stalls: usize,
}

impl Origin {
    /// Listens on a free port; every target answers 404 until told otherwise.
    pub async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("a bound port");
        let shared = Arc::new(Shared::default());
        let task = Some(tokio::spawn(accept(listener, shared.clone())));
        Self {
            address,
            shared,
            task,
        }
    }

    /// Answers this target: exactly, or by what comes before a trailing `*`. `path?query` is matched with its query first, then
    /// without. Later rules win.
    pub fn on(&self, target: &str, reply: Reply) -> &Self {
        self.answer(target, move |_| reply.clone())
    }

    /// Answers the first request with the first reply and so on; the last one repeats.
    pub fn on_each(&self, target: &str, replies: Vec<Reply>) -> &Self {
        let next = AtomicUsize::new(0);
        self.answer(target, move |_| {
            let index = next
                .fetch_add(1, Ordering::SeqCst)
                .min(replies.len().saturating_sub(1));
            replies[index].clone()
        })
    }

    /// Answers with what the function makes of the request.
    pub fn answer(
        &self,
        target: &str,
        rule: impl Fn(&Recorded) -> Reply + Send + Sync + 'static,
    ) -> &Self {
        let mut state = self.shared.lock();
        state.rules.push((target.to_owned(), Arc::new(rule)));
        drop(state);
        self
    }

    /// All requests so far, in order of arrival.
    pub fn requests(&self) -> Vec<Recorded> {
        self.shared.lock().requests.clone()
    }

    /// The requests for this target so far.
    pub fn requests_to(&self, target: &str) -> Vec<Recorded> {
        let mut requests = self.requests();
        requests.retain(|request| request.target == target);
        requests
    }

    /// How many requests for this target came so far.
    pub fn count(&self, target: &str) -> usize {
        self.requests_to(target).len()
    }

    /// The latest request for this target.
    ///
    /// # Panics
    /// When there was none.
    pub fn last(&self, target: &str) -> Recorded {
        self.requests_to(target)
            .pop()
            .unwrap_or_else(|| panic!("no request for {target}"))
    }

    /// Waits until this many requests for the target have come.
    pub async fn arrived(&self, target: &str, count: usize) {
        let what = format!("{count} requests for {target}");
        self.until(&what, |state| {
            let of_target = |request: &&Recorded| request.target == target;
            (state.requests.iter().filter(of_target).count() >= count).then_some(())
        })
        .await;
    }

    /// Waits until this many requests, whatever their target, have come.
    pub async fn arrived_in_all(&self, count: usize) {
        let what = format!("{count} requests");
        self.until(&what, |state| (state.requests.len() >= count).then_some(()))
            .await;
    }

    /// Waits until this many requests were answered to their last byte.
    pub async fn has_answered(&self, count: usize) {
        let what = format!("{count} answers");
        self.until(&what, |state| (state.answered >= count).then_some(()))
            .await;
    }

    /// Waits until the other side has left a request for this target unanswered.
    pub async fn abandoned(&self, target: &str) {
        let what = format!("a request for {target} to be given up");
        self.until(&what, |state| {
            state.abandoned.iter().any(|it| it == target).then_some(())
        })
        .await;
    }

    /// Waits until the other side has stopped reading a body; how many bytes of bodies were written by then.
    pub async fn stalled(&self) -> usize {
        self.until("a write that is not read", |state| {
            (state.stalls > 0).then_some(state.body_bytes)
        })
        .await
    }

    /// The most requests that were in flight here at one time.
    pub fn most_in_flight(&self) -> usize {
        self.shared.lock().most_in_flight
    }

    /// Requests that were answered to the end.
    pub fn answered(&self) -> usize {
        self.shared.lock().answered
    }

    /// Connections so far.
    pub fn connections(&self) -> usize {
        self.shared.lock().connections
    }

    /// Dies: the listener and all connections close.
    pub async fn stop(&mut self) {
        if let Some(task) = self.task.take() {
            task.abort();
            let _ = task.await;
        }
        self.shared.lock().in_flight.clear();
    }

    /// Listens again on the same port.
    pub async fn restart(&mut self) {
        self.stop().await;
        let listener = super::listen_again(self.address).await;
        self.task = Some(tokio::spawn(accept(listener, self.shared.clone())));
    }

    async fn until<T>(&self, what: &str, check: impl Fn(&State) -> Option<T>) -> T {
        let mut changes = self.shared.changes.subscribe();
        let found = async {
            loop {
                if let Some(value) = check(&self.shared.lock()) {
                    return value;
                }
                // The sender lives in `self.shared`.
                let _ = changes.changed().await;
            }
        };
        within(what, found).await
    }
}

impl Drop for Origin {
    fn drop(&mut self) {
        if let Some(task) = self.task.take() {
            task.abort();
        }
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        // A test that panicked elsewhere has failed already; its origin may still be read.
        self.state
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    fn change(&self, change: impl FnOnce(&mut State)) {
        change(&mut self.lock());
        self.changes.send_modify(|version| *version += 1);
    }
}

impl State {
    fn rule(&self, request: &Recorded) -> Option<Rule> {
        let whole = request.target.as_str();
        let path = whole.split('?').next().unwrap_or(whole);
        let find = |target: &str| {
            let matches = |rule: &str| match rule.strip_suffix('*') {
                Some(prefix) => target.starts_with(prefix),
                None => target == rule,
            };
            let mut rules = self.rules.iter().rev();
            rules
                .find(|(rule, _)| matches(rule))
                .map(|(_, rule)| rule.clone())
        };
        find(whole).or_else(|| find(path))
    }

    /// Forgets the requests whose asker has closed its connection: they are no longer in flight, though this side may not have
    /// noticed yet.
    fn forget_the_gone(&mut self) {
        self.in_flight.retain(|_, socket| !is_closed(socket));
    }
}

fn is_closed(socket: &Socket) -> bool {
    let mut byte = [std::mem::MaybeUninit::uninit()];
    match socket.peek(&mut byte) {
        Ok(count) => count == 0,
        Err(error) => error.kind() != std::io::ErrorKind::WouldBlock,
    }
}

/// Accepts until it is aborted; the connections end with it.
async fn accept(listener: TcpListener, shared: Arc<Shared>) {
    let mut connections = JoinSet::new();
    loop {
        let Ok((stream, _)) = listener.accept().await else {
            continue;
        };
        let _ = stream.set_nodelay(true);
        let mut number = 0;
        shared.change(|state| {
            number = state.connections;
            state.connections += 1;
        });
        connections.spawn(serve(stream, number, shared.clone()));
        while connections.try_join_next().is_some() {}
    }
}

/// The life of one connection.
async fn serve(stream: TcpStream, number: usize, shared: Arc<Shared>) {
    let Ok(twin) = stream.as_fd().try_clone_to_owned() else {
        return;
    };
    let twin = Socket::from(twin);
    let mut wire = Wire::new(stream);
    while let Some(head) = wire.head().await {
        let Ok(meter) = twin.try_clone() else { return };
        let mut id = 0;
        shared.change(|state| {
            state.forget_the_gone();
            id = state.requests.len();
            state.in_flight.insert(id, meter);
            state.most_in_flight = state.most_in_flight.max(state.in_flight.len());
            state.requests.push(recorded(&head, number));
        });
        let mut body = Body::new(head.framing(Framing::Length(0)));
        let end = body.finish(&mut wire).await;
        let mut rule = None;
        let mut request = recorded(&head, number);
        request.body = body.bytes;
        request.whole = end == End::Complete;
        shared.change(|state| {
            state.requests[id] = request.clone();
            rule = state.rule(&request);
        });
        let reply = rule.map_or_else(
            || Reply::text("no such target").status(404),
            |rule| rule(&request),
        );
        if end == End::Cut || !send(&reply, &request, id, &mut wire, &shared).await {
            shared.change(|state| {
                state.in_flight.remove(&id);
                state.abandoned.push(request.target.clone());
            });
            return;
        }
        shared.change(|state| state.answered += 1);
        match reply.then {
            Then::Keep => {}
            Then::Close => break,
            Then::Hang => {
                wire.until_closed().await;
                shared.change(|state| {
                    state.in_flight.remove(&id);
                    state.abandoned.push(request.target.clone());
                });
                break;
            }
        }
    }
    wire.shut().await;
}

fn recorded(head: &Head, connection: usize) -> Recorded {
    let mut words = head.start.split(' ');
    Recorded {
        method: words.next().unwrap_or_default().to_owned(),
        target: words.next().unwrap_or_default().to_owned(),
        head: head.clone(),
        body: Vec::new(),
        whole: false,
        connection,
    }
}

/// Writes the answer; whether the asker was there to its end. The request is out of flight just before the last bytes leave: whoever
/// has read them may send the next one at once.
async fn send(
    reply: &Reply,
    request: &Recorded,
    id: usize,
    wire: &mut Wire,
    shared: &Shared,
) -> bool {
    if let Some(gate) = &reply.gate
        && !stays(wire, gate.passed()).await
    {
        return false;
    }
    if !reply.delay.is_zero() && !stays(wire, tokio::time::sleep(reply.delay)).await {
        return false;
    }
    let actions = reply.actions(&request.method);
    let last = actions.len().saturating_sub(1);
    for (index, action) in actions.into_iter().enumerate() {
        if index == last && reply.then != Then::Hang {
            shared.change(|state| {
                state.in_flight.remove(&id);
            });
        }
        let sent = match action {
            Action::Wait(gate) => stays(wire, gate.passed()).await,
            Action::Write(bytes) => write(wire, &bytes, shared).await,
            Action::Repeat(bytes, times) => {
                let mut sent = true;
                for _ in 0..times {
                    sent = sent && write(wire, &bytes, shared).await;
                }
                sent
            }
        };
        if !sent {
            return false;
        }
    }
    true
}

/// Waits; whether the asker is still there. What it sends meanwhile is kept.
async fn stays(wire: &mut Wire, wait: impl Future<Output = ()>) -> bool {
    let mut wait = std::pin::pin!(wait);
    loop {
        tokio::select! {
            biased;
            () = &mut wait => return true,
            count = wire.fill() => if count == 0 { return false },
        }
    }
}

async fn write(wire: &mut Wire, bytes: &[u8], shared: &Shared) -> bool {
    let mut left = bytes;
    while !left.is_empty() {
        let Ok(result) = tokio::time::timeout(STALLED, wire.write_some(left)).await else {
            shared.change(|state| state.stalls += 1);
            // Noted; from here it waits as long as it takes.
            match wire.write_some(left).await {
                Ok(count) if count > 0 => left = &left[count..],
                _ => return false,
            }
            continue;
        };
        match result {
            Ok(count) if count > 0 => {
                left = &left[count..];
                shared.lock().body_bytes += count;
            }
            _ => return false,
        }
    }
    true
}
