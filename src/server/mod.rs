//! Listeners: bind, accept, run until drained. Any [`handler::Handler`] can stand behind one.
//!
//! A listener bounds what a client may cost: connections, time and size of a head, time and size of a body, a client that does
//! not read. It refuses what two readers could read differently ([`framing`]) before any handler sees it.

pub mod arrivals;
pub mod body;
pub mod connection;
pub mod drain;
pub mod framing;
pub mod handler;
pub mod socket;
pub mod tls;

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio_rustls::TlsAcceptor;

use crate::message::client::Connection;
use crate::server::arrivals::Arrivals;
use crate::server::drain::Drain;
use crate::server::handler::Handler;

/// How often it is logged that connections cannot be accepted.
const TELL_AGAIN: Duration = Duration::from_secs(10);

/// What is told in the place of a setting when the system gives no more descriptors.
pub const DESCRIPTORS: &str = "descriptors";

/// Hears the name of a setting whose bound was hit.
#[derive(Clone)]
pub struct LimitHit(Arc<dyn Fn(&'static str) + Send + Sync>);

impl LimitHit {
    /// Calls `hear`.
    pub fn new(hear: impl Fn(&'static str) + Send + Sync + 'static) -> Self {
        Self(Arc::new(hear))
    }

    /// The bound of this setting was hit.
    pub fn tell(&self, setting: &'static str) {
        (self.0)(setting);
    }
}

impl Default for LimitHit {
    fn default() -> Self {
        Self::new(|_| {})
    }
}

impl std::fmt::Debug for LimitHit {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("LimitHit")
    }
}

/// What a client may cost. Taken from `[server]`; the admin listener and the demo's origins use the defaults.
#[derive(Debug, Clone)]
pub struct Limits {
    /// A whole request head, from its first byte; a TLS handshake.
    pub header_timeout: Duration,
    /// A kept connection without a request.
    pub idle_timeout: Duration,
    /// Between two reads of a request's body.
    pub body_idle_timeout: Duration,
    /// A whole request body.
    pub body_timeout: Duration,
    /// How long a write may make no progress.
    pub write_timeout: Duration,
    /// Largest request head in bytes.
    pub max_request_head: usize,
    /// Largest request body in bytes.
    pub max_request_body: u64,
    /// Who hears when one of these, or the number of connections, is hit.
    pub hit: LimitHit,
}

impl From<&crate::config::ServerConfig> for Limits {
    fn from(config: &crate::config::ServerConfig) -> Self {
        Self {
            header_timeout: config.header_timeout,
            idle_timeout: config.idle_timeout,
            body_idle_timeout: config.body_idle_timeout,
            body_timeout: config.body_timeout,
            write_timeout: config.write_timeout,
            max_request_head: config.max_request_head.as_usize(),
            max_request_body: config.max_request_body.as_u64(),
            hit: LimitHit::default(),
        }
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self::from(&crate::config::ServerConfig::default())
    }
}

/// A bound socket that accepts once it [`run`](Self::run)s.
pub struct Listener {
    socket: TcpListener,
    tls: Option<TlsAcceptor>,
    limits: Arc<Limits>,
    /// Shared by listeners that count their connections together.
    connections: Arc<Semaphore>,
}

impl Listener {
    /// Binds `address`; port 0 takes a free one.
    ///
    /// # Errors
    /// What the system says of the address.
    pub fn bind(
        address: SocketAddr,
        limits: Limits,
        connections: Arc<Semaphore>,
    ) -> io::Result<Self> {
        let domain = socket2::Domain::for_address(address);
        let socket =
            socket2::Socket::new(domain, socket2::Type::STREAM, Some(socket2::Protocol::TCP))?;
        socket.set_reuse_address(true)?;
        socket.set_nonblocking(true)?;
        socket.bind(&address.into())?;
        socket.listen(4096)?;
        Ok(Self {
            socket: TcpListener::from_std(socket.into())?,
            tls: None,
            limits: Arc::new(limits),
            connections,
        })
    }

    /// Speaks TLS to its clients.
    #[must_use]
    pub fn with_tls(mut self, acceptor: TlsAcceptor) -> Self {
        self.tls = Some(acceptor);
        self
    }

    /// The address that it is bound to.
    ///
    /// # Errors
    /// What the system says of the socket.
    pub fn address(&self) -> io::Result<SocketAddr> {
        self.socket.local_addr()
    }

    /// Accepts until `drain` starts; connections that are open then end by themselves, tracked by `drain`.
    pub async fn run<H: Handler>(self, handler: Arc<H>, drain: Drain) {
        let mut told: Option<tokio::time::Instant> = None;
        Arrivals::shared().watch(&self.socket);
        loop {
            // At the limit the next client waits in the backlog until another one leaves.
            if self.connections.available_permits() == 0 {
                self.limits.hit.tell("server.max_connections");
            }
            let permit = tokio::select! {
                permit = Arc::clone(&self.connections).acquire_owned() => permit,
                () = drain.started() => return,
            };
            // The semaphore is never closed.
            let Ok(permit) = permit else { return };
            let accepted = tokio::select! {
                accepted = self.socket.accept() => accepted,
                () = drain.started() => return,
            };
            match accepted {
                Ok((stream, peer)) => {
                    Arrivals::shared().watch(&stream);
                    let Ok(connection) = self.connection(&stream, peer) else {
                        continue;
                    };
                    let (limits, handler) = (Arc::clone(&self.limits), Arc::clone(&handler));
                    let served = move |()| drop(permit);
                    // What is tracked is what a connection that rests holds: no block around it that would hold it twice.
                    match self.tls.clone() {
                        None => drain.track(
                            connection::serve(stream, connection, limits, handler, drain.clone())
                                .map(served),
                        ),
                        Some(acceptor) => drain.track(
                            encrypted(acceptor, stream, connection, limits, handler, drain.clone())
                                .map(served),
                        ),
                    }
                }
                // Out of descriptors, or a client that left while it waited: others are served on, and no loop spins.
                Err(error) => {
                    // ENFILE, EMFILE.
                    if matches!(error.raw_os_error(), Some(23 | 24)) {
                        self.limits.hit.tell(DESCRIPTORS);
                    }
                    if told.is_none_or(|told| told.elapsed() > TELL_AGAIN) {
                        told = Some(tokio::time::Instant::now());
                        tracing::warn!(%error, "connections cannot be accepted");
                    }
                    tokio::time::sleep(Duration::from_millis(20)).await;
                }
            }
        }
    }

    /// What is known of a connection that was accepted.
    fn connection(&self, stream: &TcpStream, peer: SocketAddr) -> io::Result<Connection> {
        // Small writes (the head, the first text of a page) are not to wait for an acknowledgement.
        if let Err(error) = stream.set_nodelay(true) {
            tracing::debug!(%error, "no TCP_NODELAY");
        }
        Ok(Connection {
            peer,
            local: stream.local_addr()?,
            tls: self.tls.is_some(),
        })
    }
}

/// A connection of which the handshake is to come.
fn encrypted<H: Handler>(
    acceptor: TlsAcceptor,
    stream: TcpStream,
    facts: Connection,
    limits: Arc<Limits>,
    handler: Arc<H>,
    drain: Drain,
) -> Pin<Box<dyn Future<Output = ()> + Send>> {
    Box::pin(async move {
        let accepted = acceptor.accept(stream);
        let stream = match tokio::time::timeout(limits.header_timeout, accepted).await {
            Ok(Ok(stream)) => Box::new(stream),
            Ok(Err(error)) => {
                return tracing::debug!(%error, peer = %facts.peer, "TLS handshake failed");
            }
            Err(_) => {
                limits.hit.tell("server.header_timeout");
                return tracing::debug!(peer = %facts.peer, "TLS handshake took too long");
            }
        };
        // Nor is an encrypted one to keep the room of its handshake.
        Box::pin(connection::serve(stream, facts, limits, handler, drain)).await;
    })
}
