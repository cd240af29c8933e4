//! Connections to a server: those that carry one exchange after the other (HTTP/1.1), and those that carry many at a time (HTTP/2).

use std::io;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;

use http::{Request, Response};
use hyper::body::Incoming;
use hyper::client::conn::{TrySendError, http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tokio::sync::Notify;
use tokio::task::AbortHandle;
use tokio::time::Instant;

use crate::message::deadline::Deadline;
use crate::upstream::client::Outbound;
use crate::upstream::server::Server;
use crate::upstream::socket::{Minding, Slot, Socket, Stream};
use crate::upstream::transport::Transport;

/// The longest head of an answer, in bytes. It has at most 100 fields: hyper's own bound, for which it has room without asking for memory.
const ANSWER_HEAD: usize = 128 * 1024;

/// Exchanges on one HTTP/2 connection at a time; a server that allows fewer is heeded.
const MOST_STREAMS: usize = 100;

/// What an exchange on HTTP/2 may have received and not been read; the whole connection has room for as much for each, so that one that
/// is not read holds up no other.
const STREAM_WINDOW: u32 = 128 * 1024;

/// A connection that does not answer a ping is dead.
const PING_EVERY: Duration = Duration::from_secs(10);
const PING_TIMEOUT: Duration = Duration::from_secs(5);

/// A connection that an exchange can be had on.
pub enum Connection {
    /// HTTP/1.1: this exchange alone.
    Alone(Alone),
    /// HTTP/2: beside others.
    Shared(Shared),
}

/// An HTTP/1.1 connection. When it is dropped, its socket closes; a permit that is still in its slot is given back when the
/// server has closed too.
pub struct Alone {
    sender: http1::SendRequest<Outbound>,
    moves: Moves,
    slot: Slot,
    transport: Arc<Transport>,
    rests_since: Instant,
    rest: Arc<Rest>,
    minding: Arc<Minding>,
    /// Whether it can be chosen when an answer is acknowledged.
    acknowledges: bool,
}

/// Who moves the bytes of an HTTP/1.1 connection.
enum Moves {
    /// Whoever waits for the answer: no other task has to be woken for it. At rest nobody does; then who [tends](super::resting) it is
    /// told that something has come.
    Here(Box<Moved>),
    /// A task: the body of a request goes on while nobody reads the answer. Never at rest: a request is given to a connection that nobody
    /// moves in that moment, and so is given back where the connection turns out to have ended.
    Apart(
        Arc<Lent>,
        #[expect(dead_code, reason = "ends with it")] Driver,
    ),
    /// It has ended.
    Ended,
}

type Moved = http1::Connection<TokioIo<Socket>, Outbound>;

/// A connection while a task moves it; `None` once it has ended, or is moved by others again.
struct Lent(Mutex<Option<Box<Moved>>>);

impl Lent {
    fn take(&self) -> Option<Box<Moved>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    fn advance(&self, context: &mut Context<'_>) -> Poll<hyper::Result<()>> {
        let mut lent = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        // Out of there while it moves: a panic ends the connection.
        let Some(mut connection) = lent.take() else {
            return Poll::Ready(Ok(()));
        };
        let ended = Pin::new(&mut connection).poll(context);
        if ended.is_pending() {
            *lent = Some(connection);
        }
        ended
    }
}

/// A place on an HTTP/2 connection, which closes with its last place.
#[derive(Clone)]
pub struct Shared {
    sender: http2::SendRequest<Outbound>,
    line: Arc<Line>,
}

struct Line {
    driver: Driver,
    transport: Arc<Transport>,
    /// Exchanges that the server allows at a time.
    allowed: Arc<AtomicUsize>,
    /// Nothing more is sent on it.
    retired: AtomicBool,
    last_used: Mutex<Instant>,
}

/// The task that moves the bytes of a connection; it ends with the connection.
struct Driver(AbortHandle);

impl Drop for Driver {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Why no connection came about.
#[derive(Debug)]
pub enum ConnectError {
    /// The server refused, or did not answer in time: it is out for a while.
    Server(String),
    /// We are out of descriptors or ports, or did not come to try: the server is not to blame.
    Ours(String),
}

impl Connection {
    /// Connects and shakes hands; where connections are shared, takes a place on one that somebody else has opened meanwhile.
    pub async fn open(
        server: &Server,
        transport: &Arc<Transport>,
        within: Duration,
        linger: Option<Duration>,
    ) -> Result<Self, ConnectError> {
        let deadline = Deadline::after(within);
        let _opening = if transport.shares() {
            let opening = deadline.bound(server.opening().lock()).await;
            let opening = opening.map_err(|_| {
                ConnectError::Ours("another connection is still being opened".to_owned())
            })?;
            if let Some(shared) = server.resting().place(transport) {
                return Ok(Self::Shared(shared));
            }
            Some(opening)
        } else {
            None
        };
        let connected = deadline
            .bound(Self::connect(server, transport, linger))
            .await;
        match connected {
            Ok(Ok(connection)) => Ok(connection),
            Ok(Err(error)) if is_ours(&error) => Err(ConnectError::Ours(error.to_string())),
            Ok(Err(error)) => Err(ConnectError::Server(error.to_string())),
            Err(_) => Err(ConnectError::Server(format!(
                "no connection within {} ms",
                within.as_millis()
            ))),
        }
    }

    async fn connect(
        server: &Server,
        transport: &Arc<Transport>,
        linger: Option<Duration>,
    ) -> io::Result<Self> {
        let (stream, http2) = transport.connect(server).await?;
        if http2 {
            let shared = Shared::begin(stream, transport).await?;
            server.resting().share(shared.clone());
            Ok(Self::Shared(shared))
        } else {
            Alone::begin(stream, transport, linger)
                .await
                .map(Self::Alone)
        }
    }
}

impl Alone {
    async fn begin(
        stream: Stream,
        transport: &Arc<Transport>,
        linger: Option<Duration>,
    ) -> io::Result<Self> {
        let slot = Slot::default();
        let (minding, acknowledges) = (stream.minding(), stream.acknowledges());
        let socket = TokioIo::new(Socket::new(stream, slot.clone(), linger));
        let (sender, connection) = http1::Builder::new()
            .max_buf_size(ANSWER_HEAD)
            .handshake(socket)
            .await
            .map_err(io::Error::other)?;
        Ok(Self {
            sender,
            moves: Moves::Here(Box::new(connection)),
            slot,
            transport: Arc::clone(transport),
            rests_since: Instant::now(),
            rest: Arc::default(),
            minding,
            acknowledges,
        })
    }

    /// Begins an exchange. The request goes out, and its answer comes in, while somebody [waits](Self::wait_for) for it.
    pub fn send(
        &mut self,
        request: Request<Outbound>,
    ) -> impl Future<Output = Result<Response<Incoming>, TrySendError<Request<Outbound>>>> + Send + use<>
    {
        // On a new one TLS may have something to say first.
        if self.rest.tender.get().is_some() {
            self.minding.ask_first();
        }
        if self.acknowledges && matches!(self.moves, Moves::Here(_)) {
            self.minding.later();
        }
        self.sender.try_send_request(request)
    }

    /// Where the permit of the exchange on it is kept.
    pub fn slot(&self) -> &Slot {
        &self.slot
    }

    /// Moves its bytes as far as they go now, or until `wanted` has come; the task of `context` is woken when they go further.
    pub fn wait_for<T>(
        &mut self,
        context: &mut Context<'_>,
        mut wanted: impl FnMut(&mut Context<'_>) -> Poll<T>,
    ) -> Poll<T> {
        self.advance(context);
        let come = wanted(context);
        if come.is_ready() || !self.minding.is_owed() {
            return come;
        }
        // A part of it has come, and the server may wait for that to be acknowledged.
        self.minding.at_once();
        self.advance(context);
        wanted(context)
    }

    fn advance(&mut self, context: &mut Context<'_>) {
        if let Moves::Here(connection) = &mut self.moves
            && let Poll::Ready(ended) = Pin::new(connection).poll(context)
        {
            if let Err(error) = ended {
                tracing::debug!(%error, "a connection to a server ended");
            }
            self.moves = Moves::Ended;
        }
    }

    /// From now on a task moves its bytes.
    pub fn move_apart(&mut self) {
        self.minding.at_once();
        self.moves = match std::mem::replace(&mut self.moves, Moves::Ended) {
            Moves::Here(connection) => {
                let lent = Arc::new(Lent(Mutex::new(Some(connection))));
                let moved = Arc::clone(&lent);
                let driving = std::future::poll_fn(move |context| moved.advance(context));
                Moves::Apart(lent, Driver::of(driving))
            }
            other => other,
        };
    }

    /// From now on whoever waits for it moves its bytes.
    fn move_here(&mut self) {
        if let Moves::Apart(lent, _) = &self.moves {
            self.moves = lent.take().map_or(Moves::Ended, Moves::Here);
        }
    }

    /// Its exchange is over. It is [looked](Self::look) at before it is used again.
    pub(super) fn lie_down(&mut self, call: &Arc<Call>) {
        self.move_here();
        self.rest.tender.get_or_init(|| Arc::clone(call));
        self.rests_since = Instant::now();
        self.rest.idle.store(true, Ordering::Release);
        self.rest.roused.store(true, Ordering::Release);
    }

    /// How long it has rested.
    pub(super) fn rested(&self) -> Duration {
        self.rests_since.elapsed()
    }

    /// Whether it was opened by `transport`.
    pub(super) fn is_of(&self, transport: &Arc<Transport>) -> bool {
        Arc::ptr_eq(&self.transport, transport)
    }

    /// Whether it must be [looked](Self::look) at.
    pub(super) fn is_roused(&self) -> bool {
        self.rest.roused.load(Ordering::Acquire)
    }

    /// Acknowledges its last answer, and sees what has come behind that or while it rests. There is nothing that may have: whatever comes,
    /// and a server that has closed, ends it.
    pub(super) fn look(&mut self) {
        self.rest.roused.store(false, Ordering::Release);
        self.minding.at_once();
        let waker = Waker::from(Arc::clone(&self.rest));
        self.advance(&mut Context::from_waker(&waker));
    }

    pub(super) fn is_open(&self) -> bool {
        matches!(self.moves, Moves::Here(_)) && !self.sender.is_closed()
    }

    /// Whether it can take another request: its last exchange has ended, all of it has left, and the server has sent nothing since.
    pub(super) fn is_ready(&mut self) -> bool {
        // The tender may not have come to it yet.
        if self.is_roused() {
            self.look();
        }
        self.rest.idle.store(false, Ordering::Release);
        self.is_open() && self.sender.is_ready()
    }
}

/// Is told when something comes on a connection that rests.
#[derive(Default)]
struct Rest {
    idle: AtomicBool,
    roused: AtomicBool,
    tender: OnceLock<Arc<Call>>,
}

/// What wakes the task that [tends](super::resting) connections at rest.
#[derive(Default)]
pub(super) struct Call {
    pub(super) tender: Notify,
    /// Something has come on a connection at rest.
    pub(super) roused: AtomicBool,
}

impl Wake for Rest {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        // An exchange looks for itself.
        if self.idle.load(Ordering::Acquire) {
            self.roused.store(true, Ordering::Release);
            if let Some(call) = self.tender.get() {
                call.roused.store(true, Ordering::Release);
                call.tender.notify_one();
            }
        }
    }
}

impl Shared {
    async fn begin(stream: Stream, transport: &Arc<Transport>) -> io::Result<Self> {
        let (sender, mut driving) = http2::Builder::new(TokioExecutor::new())
            .timer(TokioTimer::new())
            .max_header_list_size(ANSWER_HEAD as u32)
            .initial_stream_window_size(STREAM_WINDOW)
            .initial_connection_window_size(STREAM_WINDOW * MOST_STREAMS as u32)
            .keep_alive_interval(PING_EVERY)
            .keep_alive_timeout(PING_TIMEOUT)
            .handshake(TokioIo::new(stream))
            .await
            .map_err(io::Error::other)?;
        let allowed = Arc::new(AtomicUsize::new(MOST_STREAMS));
        let heeded = Arc::clone(&allowed);
        let driving = std::future::poll_fn(move |context| {
            let ended = Pin::new(&mut driving).poll(context);
            heeded.store(driving.current_max_send_streams(), Ordering::Relaxed);
            ended
        });
        Ok(Self {
            sender,
            line: Arc::new(Line {
                driver: Driver::of(driving),
                allowed,
                transport: Arc::clone(transport),
                retired: AtomicBool::new(false),
                last_used: Mutex::new(Instant::now()),
            }),
        })
    }

    /// What sends requests on it.
    pub fn sender(&mut self) -> &mut http2::SendRequest<Outbound> {
        &mut self.sender
    }

    /// The scheme of URLs on it.
    pub fn scheme(&self) -> &'static str {
        self.line.transport.scheme()
    }

    /// Nothing more is sent on it: a request on it got no answer.
    pub fn retire(&self) {
        self.line.retired.store(true, Ordering::Relaxed);
    }

    pub(super) fn is_alive(&self) -> bool {
        !self.line.retired.load(Ordering::Relaxed)
            && !self.sender.is_closed()
            && !self.line.driver.0.is_finished()
    }

    /// Whether it was opened by `transport`.
    pub(super) fn is_of(&self, transport: &Arc<Transport>) -> bool {
        Arc::ptr_eq(&self.line.transport, transport)
    }

    /// Exchanges that have a place on it; the kept one is none.
    pub(super) fn streams(&self) -> usize {
        Arc::strong_count(&self.line) - 1
    }

    pub(super) fn has_room(&self) -> bool {
        let allowed = self.line.allowed.load(Ordering::Relaxed).max(1);
        self.streams() < MOST_STREAMS.min(allowed)
    }

    pub(super) fn touch(&self) {
        *self
            .line
            .last_used
            .lock()
            .unwrap_or_else(PoisonError::into_inner) = Instant::now();
    }

    pub(super) fn rested(&self) -> Duration {
        let last = self
            .line
            .last_used
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        last.elapsed()
    }
}

impl Driver {
    fn of<E: std::error::Error + Send>(
        driving: impl Future<Output = Result<(), E>> + Send + 'static,
    ) -> Self {
        let task = tokio::spawn(async move {
            if let Err(error) = driving.await {
                tracing::debug!(%error, "a connection to a server ended");
            }
        });
        Self(task.abort_handle())
    }
}

fn is_ours(error: &io::Error) -> bool {
    // ENFILE, EMFILE, EADDRNOTAVAIL.
    matches!(error.raw_os_error(), Some(23 | 24 | 99))
}

#[cfg(test)]
mod tests {
    use http_body_util::BodyExt;
    use tokio::io::{AsyncReadExt, AsyncWrite, AsyncWriteExt};
    use tokio::net::{TcpListener, UnixListener};

    use super::*;
    use crate::message::Body;
    use crate::upstream::server::Targets;
    use crate::upstream::socket::Plain;

    async fn connected(targets: &Targets) -> Alone {
        let config = crate::config::UpstreamConfig::new(Vec::new());
        let transport = Transport::new("app", &config);
        let stream = Plain::connect(targets).await.expect("it listens");
        let begun = Alone::begin(Stream::Plain(stream), &transport, None).await;
        begun.expect("no handshake")
    }

    fn post(body: Vec<u8>) -> Request<Outbound> {
        let body = Body::full(body);
        let mut request = Request::new(Outbound::new(body));
        *request.method_mut() = http::Method::POST;
        request
    }

    async fn is_answered<E>(
        server: &mut (impl AsyncWrite + Unpin),
        sending: impl Future<Output = Result<Response<Incoming>, TrySendError<E>>>,
    ) {
        let answered = b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nfine";
        server.write_all(answered).await.expect("it is open");
        let answer = sending.await.map_err(TrySendError::into_error);
        let answer = answer.expect("it has been sent");
        let body = answer.into_body().collect().await.expect("a whole answer");
        assert_eq!(body.to_bytes(), "fine");
    }

    #[tokio::test]
    async fn a_connection_whose_request_has_not_left_is_not_used_again() {
        for (length, left) in [(4, true), (300_000, false), (1 << 20, false)] {
            let folder = tempfile::TempDir::new().expect("a folder of our own");
            let path = folder.path().join("app.sock");
            let listener = UnixListener::bind(&path).expect("a free path");
            let mut alone = connected(&Targets::Unix(path)).await;
            let (mut server, _) = listener.accept().await.expect("it has come");

            let sending = alone.send(post(vec![b'x'; length]));
            alone.move_apart();
            // The server does not wait for the body.
            let begun = server.read(&mut [0; 64]).await.expect("a request");
            assert!(begun > 0);
            is_answered(&mut server, sending).await;
            alone.lie_down(&Arc::default());
            assert_eq!(alone.is_ready(), left, "{length}");
        }
    }

    #[tokio::test]
    async fn a_request_is_given_to_a_connection_that_nobody_moves_and_so_comes_back() {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("it is bound");
        let mut alone = connected(&Targets::Sockets(vec![address])).await;
        let (mut server, _) = listener.accept().await.expect("it has come");

        let sending = alone.send(post(b"body".to_vec()));
        alone.move_apart();
        assert!(matches!(alone.moves, Moves::Apart(..)));
        let mut request = vec![0; 64];
        let read = server.read(&mut request).await.expect("a request");
        assert!(request[..read].ends_with(b"body"));
        is_answered(&mut server, sending).await;
        alone.lie_down(&Arc::default());
        assert!(matches!(alone.moves, Moves::Here(_)));
        assert!(alone.is_ready());
        drop(server);
        let sending = alone.send(post(b"body".to_vec()));
        alone.move_apart();
        let Err(mut failed) = sending.await else {
            panic!("the server has closed");
        };
        let unsent = failed.take_message().expect("nothing was written");
        let body = unsent.into_body().collect().await.expect("it is whole");
        assert_eq!(body.to_bytes(), "body");
    }
}
