//! A server's socket that holds the permit of the exchange on it.
//!
//! A server that answers one request at a time goes on working on a request whose client has left. So that it never has two, the permit
//! of an exchange that was broken off stays with the socket: our side is closed, which tells the server to stop, and the permit
//! is given back when the server closes its own side, or after a bounded time.

use std::io;
use std::mem::MaybeUninit;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};
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

/// A stream without TLS, and what is minded when it is read.
pub struct Plain {
    kind: Kind,
    minding: Arc<Minding>,
}

enum Kind {
    Tcp(TcpStream),
    Unix(UnixStream),
}

impl Plain {
    /// Connects to the first of these that takes a connection.
    ///
    /// # Errors
    /// What the system says of the last address.
    pub async fn connect(targets: &Targets) -> io::Result<Self> {
        let kind = match targets {
            Targets::Sockets(addresses) => {
                let stream = TcpStream::connect(addresses.as_slice()).await?;
                stream.set_nodelay(true)?;
                Kind::Tcp(stream)
            }
            Targets::Unix(path) => Kind::Unix(UnixStream::connect(path).await?),
        };
        let minding = Arc::default();
        Ok(Self { kind, minding })
    }
}

impl Kind {
    /// The next byte that has come stays where it is.
    fn peek(&self) -> io::Result<usize> {
        let mut byte = [MaybeUninit::uninit()];
        match self {
            Self::Tcp(stream) => SockRef::from(stream).peek(&mut byte),
            Self::Unix(stream) => SockRef::from(stream).peek(&mut byte),
        }
    }
}

impl Stream {
    /// What is minded when it is read.
    pub fn minding(&self) -> Arc<Minding> {
        let plain = match self {
            Self::Plain(plain) => plain,
            Self::Tls(stream) => stream.get_ref().0,
        };
        Arc::clone(&plain.minding)
    }

    /// Whether it can be chosen when what is read from it is acknowledged.
    pub fn acknowledges(&self) -> bool {
        matches!(self, Self::Plain(plain) if matches!(plain.kind, Kind::Tcp(_)))
    }
}

/// What is minded when a socket is read: that nothing has come on it before a request goes out, and when what comes is acknowledged.
///
/// What came while a connection rested is no answer to a request that went out later, and the user of that is another one, perhaps.
/// The runtime tells of it when it looks at the sockets, which it does not while there is work at hand, and one worker does so for the
/// others. So [before a request](Self::ask_first) the socket itself is asked, in the same turn in which that is written.
///
/// What was read is acknowledged at once, unless somebody has promised to see to it. A server that writes in small pieces (Nagle's algorithm) holds the next one back until then: the rest of a slow answer, but also bytes that
/// nobody asked for, which would come in the very moment in which the next request goes out, and be taken for its answer. So an answer
/// that is not whole is acknowledged at once, and a whole one before its connection is used again. In between there is time to write out
/// the page that waits for it.
#[derive(Default)]
pub struct Minding {
    later: AtomicBool,
    owed: AtomicBool,
    /// [`NOTHING`], [`ASKED`] or [`LOOKED`].
    request: AtomicU8,
}

/// No request is to be written.
const NOTHING: u8 = 0;
/// One is, and the socket has not been asked.
const ASKED: u8 = 1;
/// The same, and nothing had come when the socket was asked last.
const LOOKED: u8 = 2;

impl Minding {
    /// The next to be written is a request. Unless nothing has come, neither its end, the connection breaks off before that.
    pub fn ask_first(&self) {
        self.request.store(ASKED, Ordering::Relaxed);
    }

    /// What is read from now on is acknowledged after [`Minding::at_once`].
    pub fn later(&self) {
        self.later.store(true, Ordering::Relaxed);
    }

    /// What is owed is acknowledged when the socket is read next, and what comes from then on at once.
    pub fn at_once(&self) {
        self.later.store(false, Ordering::Relaxed);
    }

    /// Whether something was read that is to be acknowledged later.
    pub fn is_owed(&self) -> bool {
        self.owed.load(Ordering::Relaxed)
    }

    /// Breaks off where a request is to go out and something has come before it. Whoever moves the connection reads before it writes, and
    /// may be stopped between the two: so each read asks until there was a write.
    fn before_request(&self, stream: &Kind, writes: bool) -> io::Result<()> {
        let request = self.request.load(Ordering::Relaxed);
        if request == NOTHING {
            return Ok(());
        }
        let next = if writes { NOTHING } else { LOOKED };
        self.request.store(next, Ordering::Relaxed);
        if writes && request == LOOKED {
            return Ok(());
        }
        match stream.peek() {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(()),
            Err(error) => Err(error),
            Ok(0) => Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(_) => Err(io::Error::new(
                io::ErrorKind::InvalidData,
                "something came before the request",
            )),
        }
    }

    fn before_read(&self, stream: &TcpStream) {
        if !self.later.load(Ordering::Relaxed) && self.owed.load(Ordering::Relaxed) {
            self.owed.store(false, Ordering::Relaxed);
            acknowledge(stream);
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
        let Self { kind, minding } = self.get_mut();
        minding.before_request(kind, false)?;
        match kind {
            Kind::Tcp(stream) => {
                minding.before_read(stream);
                let read = Pin::new(&mut *stream).poll_read(context, buffer);
                if read.is_ready() {
                    minding.after_read(stream);
                }
                read
            }
            Kind::Unix(stream) => Pin::new(stream).poll_read(context, buffer),
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
        let Self { kind, minding } = self.get_mut();
        minding.before_request(kind, true)?;
        match kind {
            Kind::Tcp(stream) => Pin::new(stream).poll_write(context, bytes),
            Kind::Unix(stream) => Pin::new(stream).poll_write(context, bytes),
        }
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let Self { kind, minding } = self.get_mut();
        minding.before_request(kind, true)?;
        match kind {
            Kind::Tcp(stream) => Pin::new(stream).poll_write_vectored(context, slices),
            Kind::Unix(stream) => Pin::new(stream).poll_write_vectored(context, slices),
        }
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.get_mut().kind {
            Kind::Tcp(stream) => Pin::new(stream).poll_flush(context),
            Kind::Unix(stream) => Pin::new(stream).poll_flush(context),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.get_mut().kind {
            Kind::Tcp(stream) => Pin::new(stream).poll_shutdown(context),
            Kind::Unix(stream) => Pin::new(stream).poll_shutdown(context),
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

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_socket_is_asked_until_the_request_is_written() {
        for (written, reads) in [(true, 0), (true, 1), (true, 3), (false, 1)] {
            let (ours, mut server) = UnixStream::pair().expect("a pair of sockets");
            let mut stream = Plain {
                kind: Kind::Unix(ours),
                minding: Arc::default(),
            };
            stream.minding.ask_first();
            for _ in 0..reads {
                let mut byte = [0];
                assert!(futures::poll!(std::pin::pin!(stream.read(&mut byte))).is_pending());
            }
            if written {
                stream
                    .write_all(b"request")
                    .await
                    .expect("nothing has come");
            }
            server.write_all(b"x").await.expect("it is open");
            let mut byte = [0];
            let read = stream.read(&mut byte).await;
            assert_eq!(read.is_ok(), written, "{reads} reads before");
        }
    }
}
