//! What a scripted origin answers, down to the last byte.

use std::fmt::Write as _;
use std::time::Duration;

use super::gate::Gate;

/// An answer. Whole, with `Content-Length`, on a connection that stays open, unless told otherwise.
#[derive(Clone)]
pub struct Reply {
    pub(super) gate: Option<Gate>,
    pub(super) delay: Duration,
    status: u16,
    fields: Vec<(String, String)>,
    pieces: Vec<Piece>,
    framing: Framing,
    pub(super) then: Then,
}

/// A part of a body.
#[derive(Clone)]
enum Piece {
    Bytes(Vec<u8>),
    Gate(Gate),
    Repeat(Vec<u8>, usize),
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Framing {
    Length,
    Announced(u64),
    Chunked,
    /// Chunked without its last chunk.
    Unended,
    UntilClose,
    /// No head: the pieces are the whole answer.
    Raw,
}

/// What comes after the last byte.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Then {
    Keep,
    Close,
    /// The connection stays open and silent.
    Hang,
}

/// One thing to do while answering.
pub(super) enum Action {
    Write(Vec<u8>),
    Repeat(Vec<u8>, usize),
    Wait(Gate),
}

impl Reply {
    /// 200 with these bytes as `text/html`.
    pub fn html(body: impl AsRef<[u8]>) -> Self {
        Self::of("text/html; charset=utf-8", body)
    }

    /// 200 with these bytes as `text/plain`.
    pub fn text(body: impl AsRef<[u8]>) -> Self {
        Self::of("text/plain", body)
    }

    /// 200 with these bytes and no field but `Content-Length`.
    pub fn bare(body: impl AsRef<[u8]>) -> Self {
        Self {
            gate: None,
            delay: Duration::ZERO,
            status: 200,
            fields: Vec::new(),
            pieces: vec![Piece::Bytes(body.as_ref().to_vec())],
            framing: Framing::Length,
            then: Then::Keep,
        }
    }

    /// Exactly these bytes, head and all.
    pub fn raw(bytes: impl AsRef<[u8]>) -> Self {
        let mut reply = Self::bare(bytes);
        reply.framing = Framing::Raw;
        reply
    }

    /// This status with a body that must never reach a page.
    pub fn error(status: u16) -> Self {
        Self::html("ERROR BODY OF THE ORIGIN").status(status)
    }

    /// Takes the request and never answers.
    pub fn hang() -> Self {
        Self::raw("").then_hang()
    }

    /// Takes the request and closes the connection.
    pub fn slam() -> Self {
        Self::raw("").then_close()
    }

    fn of(media_type: &str, body: impl AsRef<[u8]>) -> Self {
        Self::bare(body).header("Content-Type", media_type)
    }

    /// With this status.
    pub fn status(mut self, status: u16) -> Self {
        self.status = status;
        self
    }

    /// With one more field.
    pub fn header(mut self, name: &str, value: &str) -> Self {
        self.fields.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Nothing is sent before the gate is open.
    pub fn behind(mut self, gate: &Gate) -> Self {
        self.gate = Some(gate.clone());
        self
    }

    /// Nothing is sent before this time is over.
    pub fn late(mut self, delay: Duration) -> Self {
        self.delay = delay;
        self
    }

    /// More body, sent on its own (a chunk of its own where chunked).
    pub fn and(mut self, bytes: impl AsRef<[u8]>) -> Self {
        self.pieces.push(Piece::Bytes(bytes.as_ref().to_vec()));
        self
    }

    /// What follows is sent when the gate opens.
    pub fn then_behind(mut self, gate: &Gate) -> Self {
        self.pieces.push(Piece::Gate(gate.clone()));
        self
    }

    /// More body: these bytes so many times.
    pub fn repeated(mut self, bytes: impl AsRef<[u8]>, times: usize) -> Self {
        self.pieces
            .push(Piece::Repeat(bytes.as_ref().to_vec(), times));
        self
    }

    /// Framed by chunks, one for each piece.
    pub fn chunked(mut self) -> Self {
        self.framing = Framing::Chunked;
        self
    }

    /// The body in chunks of so many bytes.
    pub fn in_pieces(mut self, bytes: usize) -> Self {
        let whole = self.body_bytes();
        self.pieces = whole
            .chunks(bytes.max(1))
            .map(|piece| Piece::Bytes(piece.to_vec()))
            .collect();
        self.chunked()
    }

    /// Ends with the connection, without a framing field.
    pub fn until_close(mut self) -> Self {
        self.framing = Framing::UntilClose;
        self.then_close()
    }

    /// Announces this length, whatever is sent.
    pub fn announcing(mut self, length: u64) -> Self {
        self.framing = Framing::Announced(length);
        self
    }

    /// Breaks off after the pieces: fewer bytes than announced, or no last chunk.
    pub fn cut(mut self) -> Self {
        self.framing = match self.framing {
            Framing::Chunked => Framing::Unended,
            Framing::Length => Framing::Announced(self.length() + 1000),
            other => other,
        };
        self.then_close()
    }

    /// Sends the pieces, and then nothing more.
    pub fn stall(mut self) -> Self {
        self = self.cut();
        self.then_hang()
    }

    /// Closes after the answer.
    pub fn then_close(mut self) -> Self {
        self.then = Then::Close;
        self
    }

    fn then_hang(mut self) -> Self {
        self.then = Then::Hang;
        self
    }

    fn length(&self) -> u64 {
        self.pieces
            .iter()
            .map(|piece| match piece {
                Piece::Bytes(bytes) => bytes.len() as u64,
                Piece::Gate(_) => 0,
                Piece::Repeat(bytes, times) => bytes.len() as u64 * *times as u64,
            })
            .sum()
    }

    fn body_bytes(&self) -> Vec<u8> {
        let bytes = self.pieces.iter().map(|piece| match piece {
            Piece::Bytes(bytes) => bytes.as_slice(),
            Piece::Gate(_) | Piece::Repeat(..) => &[],
        });
        bytes.collect::<Vec<_>>().concat()
    }

    /// The steps of the answer to a request with this method; the last one ends it.
    pub(super) fn actions(&self, method: &str) -> Vec<Action> {
        let mut actions = vec![Action::Write(self.head())];
        if method != "HEAD" || self.framing == Framing::Raw {
            for piece in &self.pieces {
                self.add(&mut actions, piece);
            }
            if self.framing == Framing::Chunked {
                write(&mut actions, b"0\r\n\r\n");
            }
        }
        actions.retain(|action| !matches!(action, Action::Write(bytes) if bytes.is_empty()));
        actions
    }

    fn add(&self, actions: &mut Vec<Action>, piece: &Piece) {
        let chunks = matches!(self.framing, Framing::Chunked | Framing::Unended);
        match piece {
            Piece::Bytes(bytes) if bytes.is_empty() => {}
            Piece::Bytes(bytes) if chunks => {
                write(actions, &chunk(bytes));
            }
            Piece::Bytes(bytes) => write(actions, bytes),
            Piece::Repeat(bytes, times) if chunks => {
                actions.push(Action::Repeat(chunk(bytes), *times));
            }
            Piece::Repeat(bytes, times) => actions.push(Action::Repeat(bytes.clone(), *times)),
            Piece::Gate(gate) => actions.push(Action::Wait(gate.clone())),
        }
    }

    fn head(&self) -> Vec<u8> {
        if self.framing == Framing::Raw {
            return Vec::new();
        }
        let mut head = format!("HTTP/1.1 {} Scripted\r\n", self.status);
        for (name, value) in &self.fields {
            let _ = write!(head, "{name}: {value}\r\n");
        }
        let framing = match self.framing {
            Framing::Length => format!("Content-Length: {}\r\n", self.length()),
            Framing::Announced(length) => format!("Content-Length: {length}\r\n"),
            Framing::Chunked | Framing::Unended => "Transfer-Encoding: chunked\r\n".to_owned(),
            Framing::UntilClose | Framing::Raw => String::new(),
        };
        head.push_str(&framing);
        if self.then == Then::Close && self.framing != Framing::Unended {
            head.push_str("Connection: close\r\n");
        }
        head.push_str("\r\n");
        head.into_bytes()
    }
}

fn chunk(bytes: &[u8]) -> Vec<u8> {
    let mut chunk = format!("{:x}\r\n", bytes.len()).into_bytes();
    chunk.extend_from_slice(bytes);
    chunk.extend_from_slice(b"\r\n");
    chunk
}

/// Writes that follow each other become one.
fn write(actions: &mut Vec<Action>, bytes: &[u8]) {
    if let Some(Action::Write(last)) = actions.last_mut() {
        last.extend_from_slice(bytes);
    } else {
        actions.push(Action::Write(bytes.to_vec()));
    }
}
