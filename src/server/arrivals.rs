//! Requests that have come and have not been read: work that goes on for long gives way to them.
//!
//! The runtime looks at the sockets when it has nothing else to do, or once in some sixty turns, and what it finds there waits behind all
//! that is ready. With hundreds of fragments in flight something always is: a page from store, or the head of a page, would wait for
//! milliseconds behind fragments of others. So the sockets of clients are watched a second time. Who carries out many small
//! pieces of work looks at them between a few of these, and where something has come, lets the runtime look, and those go first who
//! are waited for.

use std::os::fd::AsRawFd;
use std::pin::pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{LazyLock, Mutex};
use std::task::{Context, Poll};
use std::time::Duration;

use mio::unix::SourceFd;
use mio::{Events, Interest, Registry, Token};

/// Between two looks are so many pieces of work. A look is a system call, and a piece takes a few dozen times as long.
const PIECES: usize = 8;

/// So often in a row a task gives way. The first time, it may come before those whose sockets the runtime has looked at: by work of its own, or
/// as the one that the runtime has woken last.
const GIVEN: u8 = 2;

/// What comes on the sockets that it watches. Each arrival is told once, and not at all if it has been read before anybody looked.
pub struct Arrivals {
    /// `None` where the system gives no such watch: nobody gives way then.
    watch: Option<Watch>,
    /// Something has come, and nobody has given way as often as it should.
    waiting: AtomicBool,
}

struct Watch {
    registry: Registry,
    poll: Mutex<(mio::Poll, Events)>,
}

/// One for the process, as the system's scheduler is: whose socket it is, and by which listener, makes no difference.
static SHARED: LazyLock<Arrivals> = LazyLock::new(Arrivals::new);

impl Arrivals {
    pub(crate) fn new() -> Self {
        let watch = Watch::new();
        if let Err(error) = &watch {
            tracing::debug!(%error, "clients' sockets are not watched");
        }
        Self {
            watch: watch.ok(),
            waiting: AtomicBool::new(false),
        }
    }

    /// Those of the process.
    pub fn shared() -> &'static Self {
        &SHARED
    }

    /// Watches a socket until it is closed.
    pub fn watch(&self, socket: &impl AsRawFd) {
        if let Some(watch) = &self.watch {
            let mut source = SourceFd(&socket.as_raw_fd());
            let watched = watch
                .registry
                .register(&mut source, Token(0), Interest::READABLE);
            if let Err(error) = watched {
                tracing::debug!(%error, "a socket is not watched");
            }
        }
    }

    fn look(&self) {
        // One at a time; who comes second would find nothing more.
        if let Some(watch) = &self.watch
            && let Ok(mut poll) = watch.poll.try_lock()
        {
            let (poll, events) = &mut *poll;
            if poll.poll(events, Some(Duration::ZERO)).is_ok() && !events.is_empty() {
                self.waiting.store(true, Ordering::Relaxed);
            }
        }
    }
}

impl Watch {
    fn new() -> std::io::Result<Self> {
        let poll = mio::Poll::new()?;
        Ok(Self {
            registry: poll.registry().try_clone()?,
            poll: Mutex::new((poll, Events::with_capacity(256))),
        })
    }
}

/// When a task that has much to do is to go on, and when others are to go first.
pub struct Turns {
    arrivals: &'static Arrivals,
    pieces: usize,
    given: u8,
}

impl Turns {
    /// Gives way to `arrivals`.
    pub fn among(arrivals: &'static Arrivals) -> Self {
        Self {
            arrivals,
            pieces: 0,
            given: 0,
        }
    }

    /// A piece of work is done.
    pub fn done(&mut self) {
        self.pieces += 1;
        if self.pieces.is_multiple_of(PIECES) {
            self.arrivals.look();
        }
    }

    /// Whether to go on; the task of `context` is woken again if not. It always goes on in the end, whatever comes.
    pub fn poll_next(&mut self, context: &mut Context<'_>) -> Poll<()> {
        let waiting = &self.arrivals.waiting;
        if self.given == GIVEN {
            self.given = 0;
            waiting.store(false, Ordering::Relaxed);
            return Poll::Ready(());
        }
        if !waiting.load(Ordering::Relaxed) {
            self.given = 0;
            return Poll::Ready(());
        }
        self.given += 1;
        // Woken when the runtime has looked at the sockets.
        pin!(tokio::task::yield_now()).poll(context)
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::net::{TcpListener, TcpStream};

    use futures::task::noop_waker;

    use super::*;

    fn arrivals() -> &'static Arrivals {
        Box::leak(Box::new(Arrivals::new()))
    }

    /// How many pieces of work are done until others go first.
    fn until_it_gives_way(turns: &mut Turns, most: usize) -> Option<usize> {
        let waker = noop_waker();
        let mut context = Context::from_waker(&waker);
        (0..most).find(|_| {
            let gives = turns.poll_next(&mut context).is_pending();
            turns.done();
            gives
        })
    }

    #[tokio::test]
    async fn work_gives_way_to_what_has_come_and_goes_on() {
        let arrivals = arrivals();
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("it is bound");
        arrivals.watch(&listener);
        let mut turns = Turns::among(arrivals);
        assert_eq!(until_it_gives_way(&mut turns, 100), None);

        let mut client = TcpStream::connect(address).expect("it listens");
        let given = until_it_gives_way(&mut turns, 100).expect("a connection has come");
        assert!(given <= PIECES, "{given}");
        // Twice in a row, and then it goes on.
        assert_eq!(until_it_gives_way(&mut turns, 1), Some(0));
        assert_eq!(until_it_gives_way(&mut turns, 100), None);

        let (mut server, _) = listener.accept().expect("it has come");
        arrivals.watch(&server);
        client.write_all(b"GET").expect("it is open");
        server.read_exact(&mut [0; 3]).expect("it has come");
        assert_eq!(until_it_gives_way(&mut turns, 100), None);

        // What is not read holds up nobody for ever.
        client.write_all(b"GET").expect("it is open");
        let mut other = Turns::among(arrivals);
        assert!(until_it_gives_way(&mut turns, 100).is_some());
        assert_eq!(until_it_gives_way(&mut other, 1), Some(0));
        assert_eq!(until_it_gives_way(&mut turns, 1), Some(0));
        assert_eq!(until_it_gives_way(&mut turns, 100), None);
        assert_eq!(until_it_gives_way(&mut other, 100), None);
    }
}
