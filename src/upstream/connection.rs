//! One kept connection to a server, and those that rest between exchanges.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use tokio::task::AbortHandle;
use tokio::time::Instant;

use crate::config::pattern::ServerAddress;
use crate::message::deadline::Deadline;
use crate::upstream::client::Outbound;
use crate::upstream::socket::{Slot, Socket, Stream};

/// The longest head of an answer, in bytes, and the most fields in it.
const ANSWER_HEAD: usize = 128 * 1024;
const ANSWER_FIELDS: usize = 256;

/// A connection rests at most so long: most servers close theirs after 5 to 75 s, and one that is closed is found out before use.
const LONGEST_REST: Duration = Duration::from_secs(60);

/// Connections to one server that rest at a time.
const MOST_RESTING: usize = 256;

/// A connection. When it is dropped, its socket closes; a permit that is still in its slot is given back when the server has
/// closed too.
pub struct Connection {
    sender: SendRequest<Outbound>,
    driver: Driver,
    slot: Slot,
    rests_since: Instant,
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
    /// We are out of descriptors or ports: the server is not to blame.
    Ours(String),
}

impl Connection {
    /// Connects and shakes hands.
    pub async fn open(
        address: &ServerAddress,
        within: Duration,
        linger: Option<Duration>,
    ) -> Result<Self, ConnectError> {
        let stream = match tokio::time::timeout(within, Stream::connect(address)).await {
            Ok(Ok(stream)) => stream,
            Ok(Err(error)) if is_ours(&error) => return Err(ConnectError::Ours(error.to_string())),
            Ok(Err(error)) => return Err(ConnectError::Server(error.to_string())),
            Err(_) => {
                return Err(ConnectError::Server(format!(
                    "no connection within {} ms",
                    within.as_millis()
                )));
            }
        };
        let slot = Slot::default();
        let socket = TokioIo::new(Socket::new(stream, slot.clone(), linger));
        let (sender, driving) = http1::Builder::new()
            .max_buf_size(ANSWER_HEAD)
            .max_headers(ANSWER_FIELDS)
            .handshake(socket)
            .await
            .map_err(|error| ConnectError::Server(error.to_string()))?;
        let driver = tokio::spawn(async move {
            if let Err(error) = driving.await {
                tracing::debug!(%error, "a connection to a server ended");
            }
        });
        Ok(Self {
            sender,
            driver: Driver(driver.abort_handle()),
            slot,
            rests_since: Instant::now(),
        })
    }

    /// What sends requests on it.
    pub fn sender(&mut self) -> &mut SendRequest<Outbound> {
        &mut self.sender
    }

    /// Where the permit of the exchange on it is kept.
    pub fn slot(&self) -> &Slot {
        &self.slot
    }

    /// Whether it can take another request: its last exchange has ended and the server has sent nothing since.
    async fn is_ready(&mut self, deadline: Deadline) -> bool {
        // The task that drives it tells either promptly, once it has seen the end of the last answer.
        !self.sender.is_closed()
            && !self.driver.0.is_finished()
            && matches!(
                deadline
                    .within(Duration::from_millis(100))
                    .bound(self.sender.ready())
                    .await,
                Ok(Ok(()))
            )
    }
}

fn is_ours(error: &std::io::Error) -> bool {
    // ENFILE, EMFILE, EADDRNOTAVAIL.
    matches!(error.raw_os_error(), Some(23 | 24 | 99))
}

/// The connections to one server that rest.
#[derive(Default)]
pub struct Resting(Mutex<Vec<Connection>>);

impl Resting {
    /// The one that rested last and can still be used. Others that cannot are closed.
    pub async fn wake(&self, deadline: Deadline) -> Option<Connection> {
        loop {
            let mut connection = self.lock().pop()?;
            if connection.rests_since.elapsed() < LONGEST_REST
                && connection.is_ready(deadline).await
            {
                return Some(connection);
            }
        }
    }

    /// Puts one to rest.
    pub fn rest(&self, mut connection: Connection) {
        if connection.sender.is_closed() {
            return;
        }
        connection.rests_since = Instant::now();
        let mut resting = self.lock();
        let oldest = (resting.len() >= MOST_RESTING).then(|| resting.remove(0));
        resting.push(connection);
        drop(resting);
        drop(oldest);
    }

    /// Closes those that have rested for too long.
    pub fn sweep(&self) {
        let mut resting = self.lock();
        // They lie in the order in which they came to rest.
        let old = resting
            .iter()
            .take_while(|connection| connection.rests_since.elapsed() >= LONGEST_REST)
            .count();
        let old: Vec<_> = resting.drain(..old).collect();
        drop(resting);
        drop(old);
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<Connection>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
