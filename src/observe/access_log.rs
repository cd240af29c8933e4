//! The access log: one JSON line for each request.
//!
//! Finished pages are handed to one thread that turns them into text and writes them, so that no worker of the runtime waits
//! for a disk. What waits for that thread is bounded in lines and bytes; beyond that lines are dropped and counted.

use std::fs::{File, OpenOptions};
use std::io::{self, BufWriter, Write};
use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, TryRecvError, TrySendError, sync_channel};
use std::thread::JoinHandle;
use std::time::Duration;

use serde::Serialize;

use crate::observe::outcome::{CacheUse, Outcome, PageEnd};
use crate::observe::text::{Moment, Name, Seconds};
use crate::observe::waterfall::Waterfall;

/// Most lines that wait to be written.
const MAX_LINES: usize = 8192;

/// Most bytes of records that wait to be written.
const MAX_BYTES: usize = 64 * 1024 * 1024;

/// How long a flush waits for a writer that is stuck.
const FLUSH_TIME: Duration = Duration::from_secs(5);

/// Where lines go.
#[derive(Debug)]
pub enum AccessLog {
    /// Nowhere.
    Off,
    /// To a thread of its own.
    Written(Writer),
}

/// The line was not taken: too many wait already.
#[derive(Debug, PartialEq, Eq)]
pub struct Dropped;

impl AccessLog {
    /// Lines on standard output.
    pub fn stdout() -> io::Result<Self> {
        Self::to(Sink::Stream(Box::new(io::stdout())))
    }

    /// Lines at the end of a file, which is made if it is not there.
    pub fn file(path: PathBuf) -> io::Result<Self> {
        let file = append(&path)?;
        Self::to(Sink::File(path, file))
    }

    /// Lines into whatever takes bytes.
    pub fn writer(writer: impl Write + Send + 'static) -> io::Result<Self> {
        Self::to(Sink::Stream(Box::new(writer)))
    }

    fn to(sink: Sink) -> io::Result<Self> {
        Ok(Self::Written(Writer::start(sink)?))
    }

    /// Hands a page over; never waits.
    pub(super) fn write(&self, page: &Arc<Waterfall>) -> Result<(), Dropped> {
        match self {
            Self::Off => Ok(()),
            Self::Written(writer) => writer.write(page),
        }
    }

    /// Waits, but not for ever, until all lines so far are written.
    pub(super) fn flush(&self) {
        if let Self::Written(writer) = self {
            writer.flush();
        }
    }

    /// Opens the file anew at its path, after it was moved away; other writers stay as they are.
    pub(super) fn reopen(&self) {
        if let Self::Written(writer) = self {
            writer.tell(Message::Reopen);
        }
    }
}

/// The near end of the writing thread. Dropping it writes what waits.
#[derive(Debug)]
pub struct Writer {
    channel: SyncSender<Message>,
    waiting: Arc<AtomicUsize>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Debug)]
enum Message {
    Line(Arc<Waterfall>, usize),
    Flush(SyncSender<()>),
    Reopen,
    Stop,
}

impl Writer {
    fn start(sink: Sink) -> io::Result<Self> {
        let (channel, messages) = sync_channel(MAX_LINES);
        let waiting = Arc::new(AtomicUsize::new(0));
        let thread = {
            let waiting = waiting.clone();
            std::thread::Builder::new()
                .name("access-log".to_owned())
                .spawn(move || Scribe::new(sink).run(&messages, &waiting))?
        };
        Ok(Self {
            channel,
            waiting,
            thread: Some(thread),
        })
    }

    fn write(&self, page: &Arc<Waterfall>) -> Result<(), Dropped> {
        let weight = page.weight();
        if self.waiting.fetch_add(weight, Ordering::Relaxed) + weight > MAX_BYTES {
            self.waiting.fetch_sub(weight, Ordering::Relaxed);
            return Err(Dropped);
        }
        match self.channel.try_send(Message::Line(page.clone(), weight)) {
            Ok(()) => Ok(()),
            Err(TrySendError::Full(_) | TrySendError::Disconnected(_)) => {
                self.waiting.fetch_sub(weight, Ordering::Relaxed);
                Err(Dropped)
            }
        }
    }

    fn flush(&self) {
        let (done, written) = sync_channel(1);
        self.tell(Message::Flush(done));
        let _ = written.recv_timeout(FLUSH_TIME);
    }

    /// Sends a message after all lines so far. Waits for room: the thread makes it.
    fn tell(&self, message: Message) {
        let _ = self.channel.send(message);
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.flush();
        // A thread that is stuck in a write is left behind rather than waited for.
        if self.channel.try_send(Message::Stop).is_ok()
            && let Some(thread) = self.thread.take()
            && self.waiting.load(Ordering::Relaxed) == 0
        {
            let _ = thread.join();
        }
    }
}

/// What lines are written to.
enum Sink {
    File(PathBuf, File),
    Stream(Box<dyn Write + Send>),
}

impl Write for Sink {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::File(_, file) => file.write(bytes),
            Self::Stream(stream) => stream.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Self::File(_, file) => file.flush(),
            Self::Stream(stream) => stream.flush(),
        }
    }
}

fn append(path: &PathBuf) -> io::Result<File> {
    OpenOptions::new().append(true).create(true).open(path)
}

/// The far end: turns pages into lines and writes them.
struct Scribe {
    out: BufWriter<Sink>,
    line: Vec<u8>,
    /// Whether the last write failed: a full disk is told once, not with each line.
    failing: bool,
}

impl Scribe {
    fn new(sink: Sink) -> Self {
        Self {
            out: BufWriter::with_capacity(64 * 1024, sink),
            line: Vec::new(),
            failing: false,
        }
    }

    fn run(mut self, messages: &Receiver<Message>, waiting: &AtomicUsize) {
        while let Some(message) = self.next(messages) {
            match message {
                Message::Line(page, weight) => {
                    self.write(&page);
                    waiting.fetch_sub(weight, Ordering::Relaxed);
                }
                Message::Flush(done) => {
                    self.flush();
                    let _ = done.send(());
                }
                Message::Reopen => self.reopen(),
                Message::Stop => break,
            }
        }
        self.flush();
    }

    /// The next message; before it waits for one, what was written leaves the buffer.
    fn next(&mut self, messages: &Receiver<Message>) -> Option<Message> {
        match messages.try_recv() {
            Ok(message) => Some(message),
            Err(TryRecvError::Disconnected) => None,
            Err(TryRecvError::Empty) => {
                self.flush();
                messages.recv().ok()
            }
        }
    }

    fn write(&mut self, page: &Arc<Waterfall>) {
        self.line.clear();
        if let Err(error) = serde_json::to_writer(&mut self.line, &Line::of(&page.unfolded())) {
            tracing::error!(%error, "a page could not be written as JSON");
            return;
        }
        self.line.push(b'\n');
        let result = self.out.write_all(&self.line);
        self.note(result);
    }

    fn flush(&mut self) {
        let result = self.out.flush();
        // What is written before that may only have been put into the buffer.
        self.failing &= result.is_err();
        self.note(result);
    }

    fn note(&mut self, result: io::Result<()>) {
        match result {
            Err(error) if !self.failing => {
                self.failing = true;
                tracing::error!(%error, "the access log cannot be written");
            }
            Ok(()) | Err(_) => {}
        }
    }

    fn reopen(&mut self) {
        self.flush();
        if let Sink::File(path, file) = self.out.get_mut() {
            match append(path) {
                Ok(new) => *file = new,
                Err(error) => tracing::error!(
                    %error,
                    path = %path.display(),
                    "the access log cannot be opened anew; the old one stays"
                ),
            }
        }
    }
}

/// One request, as JSON.
#[derive(Debug, Serialize)]
struct Line<'a> {
    time: Moment,
    client: IpAddr,
    method: &'a str,
    host: &'a str,
    path: &'a str,
    status: u16,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<&'a str>,
    bytes: u64,
    seconds: Seconds,
    first_byte_seconds: Option<Seconds>,
    route: Option<&'a Name>,
    upstream: Option<&'a Name>,
    cache: Option<CacheUse>,
    request_id: &'a str,
    end: PageEnd,
    composed: bool,
    user_agent: Option<&'a str>,
    referer: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    skeleton: Option<Fetch<'a>>,
    fragments: Fragments<'a>,
}

/// The fragments of one request.
#[derive(Debug, Serialize)]
struct Fragments<'a> {
    count: usize,
    failed: usize,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    each: Vec<Fetch<'a>>,
}

/// One fetch of one request.
#[derive(Debug, Serialize)]
struct Fetch<'a> {
    url: &'a str,
    seconds: Option<Seconds>,
    queue_seconds: Seconds,
    cost_seconds: Seconds,
    outcome: Option<Outcome>,
    route: Option<&'a Name>,
    upstream: Option<&'a Name>,
    cache: Option<CacheUse>,
}

impl<'a> Line<'a> {
    fn of(page: &'a Waterfall) -> Self {
        let head = &page.head;
        let fetch = |span: &'a crate::observe::waterfall::SpanRecord| Fetch {
            url: &span.url,
            seconds: span.seconds(),
            queue_seconds: span.queue_seconds,
            cost_seconds: span.cost_seconds,
            outcome: span.outcome,
            route: span.route.as_ref(),
            upstream: span.upstream.as_ref(),
            cache: span.cache,
        };
        Self {
            time: head.time,
            client: head.client,
            method: &head.method,
            host: &head.host,
            path: &head.url,
            status: page.status,
            reason: page.reason.as_deref(),
            bytes: page.bytes,
            seconds: page.seconds,
            first_byte_seconds: page.first_byte,
            route: page.route.as_ref(),
            upstream: page.upstream.as_ref(),
            cache: page.cache,
            request_id: head.id.as_str(),
            end: page.end,
            composed: page.composed,
            user_agent: head.user_agent.as_deref(),
            referer: head.referer.as_deref(),
            skeleton: page.spans.iter().find(|span| span.depth == 0).map(fetch),
            fragments: Fragments {
                count: page.fragments.count,
                failed: page.fragments.failed,
                each: page
                    .recorded_fragments()
                    .map(|(_, span)| fetch(span))
                    .collect(),
            },
        }
    }
}
