//! A server's socket that holds the permit of the exchange on it.
//!
//! A server that answers one request at a time goes on working on a request whose client has left. So that it never has two, the permit
//! of an exchange that was broken off stays with the socket: our side is closed, which tells the server to stop, and the permit
//! is given back when the server closes its own side, or after a bounded time.

use std::io;
use std::mem::MaybeUninit;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use socket2::SockRef;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::net::{TcpStream, UnixStream};

use tokio_rustls::client::TlsStream;

use crate::upstream::pool::Permit;
use crate::upstream::server::Targets;

/// A stream to a server.
pub enum Stream {
    /// In the clear.
    Plain(Plain),
    /// TLS on it.
    Tls(Box<TlsStream<Plain>>),
}

/// A stream without TLS.
pub enum Plain {
    /// TCP, and when what was read from it is acknowledged.
    Tcp(TcpStream, Arc<Acknowledging>),
    /// A Unix socket.
    Unix(UnixStream),
}

impl Plain {
    /// Connects to the first of these that takes a connection.
    ///
    /// # Errors
    /// What the system says of the last address.
    pub async fn connect(targets: &Targets) -> io::Result<Self> {
        let stream = match targets {
            Targets::Sockets(addresses) => TcpStream::connect(addresses.as_slice()).await?,
            Targets::Unix(path) => return UnixStream::connect(path).await.map(Self::Unix),
        };
        stream.set_nodelay(true)?;
        Ok(Self::Tcp(stream, Arc::default()))
    }
}

impl Stream {
    /// When what is read from it is acknowledged; `None` where that is always at once, or nothing to decide about.
    pub fn acknowledging(&self) -> Option<Arc<Acknowledging>> {
        match self {
            Self::Plain(Plain::Tcp(_, acknowledging)) => Some(Arc::clone(acknowledging)),
            Self::Plain(Plain::Unix(_)) | Self::Tls(_) => None,
        }
    }
}

/// When what was read from a socket is acknowledged: at once, unless somebody has promised to see to it.
///
/// A server that writes in small pieces (Nagle's algorithm) holds the next one back until then: the rest of a slow answer, but also bytes that
/// nobody asked for, which would come in the very moment in which the next request goes out, and be taken for its answer. So an answer
/// that is not whole is acknowledged at once, and a whole one before its connection is used again. In between there is time to write out
/// the page that waits for it.
#[derive(Default)]
pub struct Acknowledging {
    later: AtomicBool,
    owed: AtomicBool,
    /// The socket is asked what has come when it is read next.
    looks: AtomicBool,
    has_come: AtomicBool,
}

impl Acknowledging {
    /// What is read from now on is acknowledged after [`Acknowledging::at_once`].
    pub fn later(&self) {
        self.later.store(true, Ordering::Relaxed);
    }

    /// What is owed is acknowledged when the socket is read next, and what comes from then on at once.
    pub fn at_once(&self) {
        self.later.store(false, Ordering::Relaxed);
    }

    /// The same; and then it is seen whether something [has come](Self::has_come).
    pub fn look(&self) {
        self.at_once();
        self.looks.store(true, Ordering::Relaxed);
        self.has_come.store(false, Ordering::Relaxed);
    }

    /// Whether there was something to read, or the end, when the socket was looked at. On this machine a server sends what it holds back
    /// within the acknowledgement; the runtime may be told of it only after the next request has gone out.
    pub fn has_come(&self) -> bool {
        self.has_come.load(Ordering::Relaxed)
    }

    /// Whether something was read that is to be acknowledged later.
    pub fn is_owed(&self) -> bool {
        self.owed.load(Ordering::Relaxed)
    }

    fn before_read(&self, stream: &TcpStream) {
        if !self.later.load(Ordering::Relaxed) && self.owed.load(Ordering::Relaxed) {
            self.owed.store(false, Ordering::Relaxed);
            acknowledge(stream);
        }
        if self.looks.load(Ordering::Relaxed) {
            self.looks.store(false, Ordering::Relaxed);
            let peeked = SockRef::from(stream).peek(&mut [MaybeUninit::uninit()]);
            let nothing = peeked.is_err_and(|error| error.kind() == io::ErrorKind::WouldBlock);
            self.has_come.store(!nothing, Ordering::Relaxed);
        }
    }

    fn after_read(&self, stream: &TcpStream) {
        if self.later.load(Ordering::Relaxed) {
            self.owed.store(true, Ordering::Relaxed);
        } else {
            acknowledge(stream);
        }
    }
}

/// Where the permit of the exchange on a connection is kept; empty between exchanges.
#[derive(Clone, Default)]
pub struct Slot(Arc<Mutex<Option<Permit>>>);

impl Slot {
    /// An exchange begins.
    pub fn put(&self, permit: Permit) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(permit);
    }

    /// The exchange has ended, or is taken over.
    pub fn take(&self) -> Option<Permit> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

/// The socket of one connection.
pub struct Socket {
    /// Taken when it is dropped.
    stream: Option<Stream>,
    slot: Slot,
    /// How long a server may take to end what was broken off; `None`: not waited for.
    linger: Option<Duration>,
}

impl Socket {
    /// Holds `stream`; permits are put into `slot`.
    pub fn new(stream: Stream, slot: Slot, linger: Option<Duration>) -> Self {
        Self {
            stream: Some(stream),
            slot,
            linger,
        }
    }

    fn stream(&mut self) -> io::Result<Pin<&mut Stream>> {
        self.stream
            .as_mut()
            .map(Pin::new)
            .ok_or_else(|| io::ErrorKind::NotConnected.into())
    }
}

impl Drop for Socket {
    fn drop(&mut self) {
        let (Some(stream), Some(permit), Some(limit)) =
            (self.stream.take(), self.slot.take(), self.linger)
        else {
            return;
        };
        // Without a runtime the process ends, and nobody counts any more.
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            runtime.spawn(async move {
                let _ = tokio::time::timeout(limit, ended(stream)).await;
                drop(permit);
            });
        }
    }
}

/// Closes our side and waits for the server to close its own; what it still sends is thrown away.
async fn ended(mut stream: Stream) {
    if stream.shutdown().await.is_err() {
        return;
    }
    let mut rest = [0_u8; 4096];
    while let Ok(1..) = stream.read(&mut rest).await {}
}

impl AsyncRead for Plain {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tcp(stream, acknowledging) => {
                acknowledging.before_read(stream);
                let read = Pin::new(&mut *stream).poll_read(context, buffer);
                if read.is_ready() {
                    acknowledging.after_read(stream);
                }
                read
            }
            Self::Unix(stream) => Pin::new(stream).poll_read(context, buffer),
        }
    }
}

fn acknowledge(stream: &TcpStream) {
    #[cfg(target_os = "linux")]
    if let Err(error) = stream.set_quickack(true) {
        tracing::debug!(%error, "no TCP_QUICKACK");
    }
    #[cfg(not(target_os = "linux"))]
    let _ = stream;
}

impl AsyncWrite for Plain {
    fn poll_write(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Tcp(stream, _) => Pin::new(stream).poll_write(context, bytes),
            Self::Unix(stream) => Pin::new(stream).poll_write(context, bytes),
        }
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Tcp(stream, _) => Pin::new(stream).poll_write_vectored(context, slices),
            Self::Unix(stream) => Pin::new(stream).poll_write_vectored(context, slices),
        }
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tcp(stream, _) => Pin::new(stream).poll_flush(context),
            Self::Unix(stream) => Pin::new(stream).poll_flush(context),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tcp(stream, _) => Pin::new(stream).poll_shutdown(context),
            Self::Unix(stream) => Pin::new(stream).poll_shutdown(context),
        }
    }
}

impl AsyncRead for Stream {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_read(context, buffer),
            Self::Tls(stream) => Pin::new(stream).poll_read(context, buffer),
        }
    }
}

impl AsyncWrite for Stream {
    fn poll_write(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_write(context, bytes),
            Self::Tls(stream) => Pin::new(stream).poll_write(context, bytes),
        }
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_write_vectored(context, slices),
            Self::Tls(stream) => Pin::new(stream).poll_write_vectored(context, slices),
        }
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_flush(context),
            Self::Tls(stream) => Pin::new(stream).poll_flush(context),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_shutdown(context),
            Self::Tls(stream) => Pin::new(stream).poll_shutdown(context),
        }
    }
}

impl AsyncRead for Socket {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.stream()?.poll_read(context, buffer)
    }
}

impl AsyncWrite for Socket {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.stream()?.poll_write(context, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.stream()?.poll_write_vectored(context, slices)
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.stream()?.poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.stream()?.poll_shutdown(context)
    }
}
