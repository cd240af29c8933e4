//! One connection to the server under load: sends a request, reads its answer to the exact end.
//!
//! No task, channel or allocation for a request; one reading of the clock for an answer that came in one piece, two otherwise. A timer is
//! set once and looked at again only when it rings.

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::task::Poll;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{Instant, Sleep};

use crate::bench::answer::{Answer, MAX_HEAD};
use crate::bench::tally::Fault;

/// Bytes that are read at once.
const BUFFER: usize = 64 * 1024;

/// A connection.
#[derive(Debug)]
pub struct Connection {
    stream: TcpStream,
    buffer: Vec<u8>,
    /// Bytes of `buffer` that hold what is not yet spent.
    filled: usize,
    /// Answers read so far.
    pub answers: u64,
}

/// What an exchange gave.
#[derive(Debug, Clone, Copy)]
pub struct Exchange {
    /// The status.
    pub status: u16,
    /// When the first byte came.
    pub first_byte: Instant,
    /// When the last one came.
    pub end: Instant,
    /// Bytes of body.
    pub body: u64,
    /// All bytes that came.
    pub wire: u64,
    /// Whether the connection may carry another.
    pub keep: bool,
}

/// Why it gave nothing, with the words of the system.
#[derive(Debug)]
pub struct Failure {
    /// The kind.
    pub fault: Fault,
    /// Told.
    pub words: String,
}

impl Failure {
    fn new(fault: Fault, words: impl std::fmt::Display) -> Self {
        let words = words.to_string();
        Self { fault, words }
    }
}

/// The end of all waiting for one exchange.
#[derive(Debug)]
pub struct Guard {
    timer: Pin<Box<Sleep>>,
    end: Instant,
    limit: Duration,
}

impl Guard {
    /// Each exchange may take so long.
    pub fn new(limit: Duration) -> Self {
        let end = Instant::now() + limit;
        Self {
            timer: Box::pin(tokio::time::sleep_until(end)),
            end,
            limit,
        }
    }

    /// Counts from here.
    pub fn start(&mut self, now: Instant) {
        self.end = now + self.limit;
    }

    async fn watch<T>(&mut self, future: impl Future<Output = T>) -> Result<T, Failure> {
        let mut future = pin!(future);
        std::future::poll_fn(|context| {
            if let Poll::Ready(value) = future.as_mut().poll(context) {
                return Poll::Ready(Ok(value));
            }
            while self.timer.as_mut().poll(context).is_ready() {
                if Instant::now() >= self.end {
                    let words = format!("nothing whole within {:?}", self.limit);
                    return Poll::Ready(Err(Failure::new(Fault::Timeout, words)));
                }
                self.timer.as_mut().reset(self.end);
            }
            Poll::Pending
        })
        .await
    }
}

impl Connection {
    /// Opens one.
    ///
    /// # Errors
    /// When it cannot be had in time.
    pub async fn open(address: SocketAddr, guard: &mut Guard) -> Result<Self, Failure> {
        let opened = guard.watch(TcpStream::connect(address)).await;
        let stream = opened
            .map_err(|failure| Failure::new(Fault::Connect, failure.words))?
            .map_err(|error| Failure::new(Fault::Connect, error))?;
        stream
            .set_nodelay(true)
            .map_err(|error| Failure::new(Fault::Connect, error))?;
        Ok(Self {
            stream,
            buffer: vec![0; BUFFER],
            filled: 0,
            answers: 0,
        })
    }

    /// Sends the request and reads its answer; the body goes into `keep` where there is one.
    ///
    /// # Errors
    /// When there is no whole answer. The connection is then of no further use.
    pub async fn exchange(
        &mut self,
        request: &[u8],
        head_only: bool,
        mut keep: Option<&mut Vec<u8>>,
        guard: &mut Guard,
    ) -> Result<Exchange, Failure> {
        guard
            .watch(self.stream.write_all(request))
            .await?
            .map_err(|error| Failure::new(Fault::Closed, error))?;
        let mut answer = Answer::new(head_only);
        let (mut body, mut wire) = (0, 0);
        let mut first_byte = None;
        loop {
            let count = self.read(guard, first_byte.is_none()).await?;
            let now = Instant::now();
            if count == 0 {
                if answer.close() {
                    return Ok(Exchange {
                        status: answer.status,
                        first_byte: first_byte.unwrap_or(now),
                        end: now,
                        body,
                        wire,
                        keep: false,
                    });
                }
                return Err(match first_byte {
                    None => Failure::new(Fault::Closed, "closed before an answer"),
                    Some(_) => {
                        Failure::new(Fault::Cut, format!("closed after {body} bytes of body"))
                    }
                });
            }
            let first_byte = *first_byte.get_or_insert(now);
            wire += count as u64;
            body += self.digest(&mut answer, &mut keep)?;
            if answer.is_done() {
                self.answers += 1;
                return Ok(Exchange {
                    status: answer.status,
                    first_byte,
                    end: now,
                    body,
                    wire,
                    // Bytes that nobody asked for belong to no answer: the connection is given up.
                    keep: answer.keep && self.filled == 0,
                });
            }
        }
    }

    /// Reads once; 0 bytes when the other side has closed.
    async fn read(&mut self, guard: &mut Guard, nothing_yet: bool) -> Result<usize, Failure> {
        if self.filled == self.buffer.len() {
            // Only a head or a line that is not whole stays unspent.
            if self.filled >= MAX_HEAD {
                return Err(Failure::new(Fault::Malformed, "a head without an end"));
            }
            self.buffer.resize(MAX_HEAD, 0);
        }
        let read = self.stream.read(&mut self.buffer[self.filled..]);
        let count = guard.watch(read).await?.map_err(|error| {
            let reset = error.kind() == io::ErrorKind::ConnectionReset;
            let fault = if nothing_yet && reset {
                Fault::Closed
            } else {
                Fault::Cut
            };
            Failure::new(fault, error)
        })?;
        self.filled += count;
        Ok(count)
    }

    /// Takes the answer as far as the bytes reach; how many bytes of body it held.
    fn digest(
        &mut self,
        answer: &mut Answer,
        keep: &mut Option<&mut Vec<u8>>,
    ) -> Result<u64, Failure> {
        let (mut at, mut body) = (0, 0);
        while !answer.is_done() {
            let bytes = &self.buffer[at..self.filled];
            let step = answer
                .step(bytes)
                .map_err(|error| Failure::new(Fault::Malformed, error))?;
            body += step.body.len() as u64;
            if let Some(keep) = keep.as_deref_mut() {
                keep.extend_from_slice(&bytes[step.body]);
            }
            at += step.spent;
            if step.hungry {
                break;
            }
        }
        self.buffer.copy_within(at..self.filled, 0);
        self.filled -= at;
        Ok(body)
    }
}
