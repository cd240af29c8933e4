//! HTTP/1.1 as it stands on the wire, read without a library so that nothing is mended on the way.

use std::io;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

/// A byte stream in both directions: TCP, or TLS on it.
pub trait Io: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Io for T {}

/// One end of a connection with the bytes that were read and not yet used.
pub struct Wire {
    stream: Box<dyn Io>,
    /// Read, not yet used.
    pub buffer: Vec<u8>,
    /// The other side has broken off instead of ending.
    broken: bool,
}

/// The head of a message. Bytes above 127 stand as the characters of ISO-8859-1.
#[derive(Debug, Clone)]
pub struct Head {
    /// The first line.
    pub start: String,
    /// Fields in the order of arrival, names as written.
    pub fields: Vec<(String, String)>,
    /// All of it, as it came.
    pub raw: Vec<u8>,
}

/// How a body ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Framing {
    /// After this many bytes.
    Length(u64),
    /// With the last chunk.
    Chunked,
    /// With the connection.
    Close,
}

/// How a body ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// As its framing promised.
    Complete,
    /// Before that.
    Cut,
}

/// A body while it is read.
pub struct Body {
    framing: Framing,
    chunk: Option<u64>,
    /// What was decoded so far.
    pub bytes: Vec<u8>,
    /// Set when nothing more will come.
    pub end: Option<End>,
}

impl Wire {
    /// Reads and writes this stream.
    pub fn new(stream: impl Io + 'static) -> Self {
        Self {
            stream: Box::new(stream),
            buffer: Vec::new(),
            broken: false,
        }
    }

    /// Writes the bytes and flushes them.
    pub async fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.stream.write_all(bytes).await?;
        self.stream.flush().await
    }

    /// One write; how many bytes it took.
    pub async fn write_some(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.stream.write(bytes).await
    }

    /// Says that nothing more will be written.
    pub async fn shut(&mut self) {
        let _ = self.stream.shutdown().await;
    }

    /// Reads once; 0: the other side has ended, or broken off.
    pub async fn fill(&mut self) -> usize {
        self.buffer.reserve(16 * 1024);
        let read = self.stream.read_buf(&mut self.buffer).await;
        self.broken |= read.is_err();
        read.unwrap_or(0)
    }

    /// Reads until the other side ends; what came besides.
    pub async fn until_closed(&mut self) -> Vec<u8> {
        while self.fill().await > 0 {}
        std::mem::take(&mut self.buffer)
    }

    /// The next head; `None` when the connection ended before a whole one.
    pub async fn head(&mut self) -> Option<Head> {
        loop {
            if let Some(end) = find(&self.buffer, b"\r\n\r\n") {
                let raw: Vec<u8> = self.buffer.drain(..end + 4).collect();
                return Some(Head::parse(raw));
            }
            if self.fill().await == 0 {
                return None;
            }
        }
    }

    /// The next line without its ending; `None` when the connection ended before.
    async fn line(&mut self) -> Option<Vec<u8>> {
        loop {
            if let Some(end) = find(&self.buffer, b"\r\n") {
                let mut line: Vec<u8> = self.buffer.drain(..end + 2).collect();
                line.truncate(end);
                return Some(line);
            }
            if self.fill().await == 0 {
                return None;
            }
        }
    }
}

impl Head {
    fn parse(raw: Vec<u8>) -> Self {
        let text: String = raw.iter().map(|byte| char::from(*byte)).collect();
        let mut lines = text.trim_end_matches("\r\n").split("\r\n");
        let start = lines.next().unwrap_or_default().to_owned();
        let fields = lines
            .map(|line| match line.split_once(':') {
                Some((name, value)) => (name.to_owned(), value.trim().to_owned()),
                None => (line.to_owned(), String::new()),
            })
            .collect();
        Self { start, fields, raw }
    }

    /// The values of all fields of this name, in order.
    pub fn all(&self, name: &str) -> Vec<&str> {
        self.fields
            .iter()
            .filter(|(field, _)| field.eq_ignore_ascii_case(name))
            .map(|(_, value)| value.as_str())
            .collect()
    }

    /// The value of the first field of this name.
    pub fn first(&self, name: &str) -> Option<&str> {
        self.all(name).first().copied()
    }

    /// Whether a field of this name is there.
    pub fn has(&self, name: &str) -> bool {
        self.first(name).is_some()
    }

    /// What the framing fields say; `otherwise` where there are none.
    pub fn framing(&self, otherwise: Framing) -> Framing {
        if self.has("transfer-encoding") {
            return Framing::Chunked;
        }
        match self.first("content-length").map(str::parse) {
            Some(Ok(length)) => Framing::Length(length),
            Some(Err(_)) | None => otherwise,
        }
    }
}

impl Body {
    /// A body of which nothing was read yet.
    pub fn new(framing: Framing) -> Self {
        Self {
            framing,
            chunk: None,
            bytes: Vec::new(),
            end: (framing == Framing::Length(0)).then_some(End::Complete),
        }
    }

    /// Reads on until something came or the body ended.
    pub async fn step(&mut self, wire: &mut Wire) {
        match self.framing {
            Framing::Length(length) => {
                let left = length - self.bytes.len() as u64;
                self.copy(wire, left).await;
                if self.bytes.len() as u64 == length {
                    self.end = Some(End::Complete);
                }
            }
            Framing::Close => {
                if wire.buffer.is_empty() && wire.fill().await == 0 {
                    self.end = Some(if wire.broken { End::Cut } else { End::Complete });
                }
                self.bytes.append(&mut wire.buffer);
            }
            Framing::Chunked => self.chunked(wire).await,
        }
    }

    /// Reads to the end.
    pub async fn finish(&mut self, wire: &mut Wire) -> End {
        loop {
            if let Some(end) = self.end {
                return end;
            }
            self.step(wire).await;
        }
    }

    async fn chunked(&mut self, wire: &mut Wire) {
        let Some(left) = self.chunk else {
            let size = wire.line().await.and_then(|line| chunk_size(&line));
            match size {
                None => self.end = Some(End::Cut),
                Some(0) => self.trailers(wire).await,
                Some(size) => self.chunk = Some(size),
            }
            return;
        };
        if left == 0 {
            self.chunk = None;
            if wire.line().await.is_none_or(|line| !line.is_empty()) {
                self.end = Some(End::Cut);
            }
            return;
        }
        let taken = self.copy(wire, left).await;
        self.chunk = Some(left - taken);
    }

    async fn trailers(&mut self, wire: &mut Wire) {
        loop {
            match wire.line().await {
                None => return self.end = Some(End::Cut),
                Some(line) if line.is_empty() => return self.end = Some(End::Complete),
                Some(_) => {}
            }
        }
    }

    /// Moves at most `limit` bytes over; how many.
    async fn copy(&mut self, wire: &mut Wire, limit: u64) -> u64 {
        if wire.buffer.is_empty() && wire.fill().await == 0 {
            self.end = Some(End::Cut);
            return 0;
        }
        let count = wire
            .buffer
            .len()
            .min(usize::try_from(limit).unwrap_or(usize::MAX));
        self.bytes.extend(wire.buffer.drain(..count));
        count as u64
    }
}

fn chunk_size(line: &[u8]) -> Option<u64> {
    let digits = line.split(|byte| *byte == b';').next()?;
    u64::from_str_radix(std::str::from_utf8(digits).ok()?.trim(), 16).ok()
}

fn find(bytes: &[u8], needle: &[u8]) -> Option<usize> {
    bytes
        .windows(needle.len())
        .position(|window| window == needle)
}
