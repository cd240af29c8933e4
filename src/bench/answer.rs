//! Reads one answer to its exact end: the head with httparse, the body by its framing (RFC 9112 6.3).
//!
//! It sees bytes only, never a socket: whoever reads a connection feeds it what came and is told what is still missing. It is lax
//! where a load tool may be (it drops chunk extensions and trailers) and strict where a wrong end would let two answers run together.

use std::ops::Range;

/// Longest head, in bytes.
pub const MAX_HEAD: usize = 128 * 1024;

/// Most fields of a head.
const MAX_FIELDS: usize = 128;

/// Longest line between two chunks, in bytes.
const MAX_LINE: usize = 4096;

/// Where the reading of an answer stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// The status, as soon as the head was read.
    pub status: u16,
    /// Whether the connection may carry another request after this answer.
    pub keep: bool,
    body: Body,
    head_only: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Body {
    /// The head is not whole yet.
    Head,
    /// So many bytes are to come.
    Length(u64),
    /// The line before a chunk.
    ChunkLine,
    /// So many bytes of a chunk are to come.
    Chunk(u64),
    /// The line end behind a chunk.
    ChunkEnd,
    /// The fields behind the last chunk.
    Trailers,
    /// All until the connection closes.
    UntilClose,
    Done,
}

/// What is no HTTP/1 answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("what came is no HTTP/1 answer")]
pub struct Malformed;

/// What one step made of the bytes.
#[derive(Debug, PartialEq, Eq)]
pub struct Step {
    /// How many of the bytes are spent.
    pub spent: usize,
    /// Which of them are body.
    pub body: Range<usize>,
    /// More bytes are needed to go on.
    pub hungry: bool,
}

impl Answer {
    /// An answer that is still to come; `head_only`: to a HEAD request, so without a body.
    pub fn new(head_only: bool) -> Self {
        Self {
            status: 0,
            keep: true,
            body: Body::Head,
            head_only,
        }
    }

    /// Whether it was read to its end.
    pub fn is_done(&self) -> bool {
        self.body == Body::Done
    }

    /// The connection has closed: whether the answer was whole.
    pub fn close(&mut self) -> bool {
        self.keep = false;
        if self.body == Body::UntilClose {
            self.body = Body::Done;
        }
        self.is_done()
    }

    /// Takes one step over the bytes that are not spent yet.
    ///
    /// # Errors
    /// What can be no answer of HTTP/1.
    pub fn step(&mut self, bytes: &[u8]) -> Result<Step, Malformed> {
        match self.body {
            Body::Head => self.head(bytes),
            Body::Length(left) => Ok(self.take(bytes, left, Body::Length, Body::Done)),
            Body::Chunk(left) => Ok(self.take(bytes, left, Body::Chunk, Body::ChunkEnd)),
            Body::UntilClose => Ok(Step {
                spent: bytes.len(),
                body: 0..bytes.len(),
                hungry: true,
            }),
            Body::ChunkLine => self.line(bytes, |line| {
                let size = chunk_size(line)?;
                Ok(if size == 0 {
                    Body::Trailers
                } else {
                    Body::Chunk(size)
                })
            }),
            Body::ChunkEnd => self.line(bytes, |line| match line {
                b"" => Ok(Body::ChunkLine),
                _ => Err(Malformed),
            }),
            Body::Trailers => self.line(bytes, |line| match line {
                b"" => Ok(Body::Done),
                _ => Ok(Body::Trailers),
            }),
            Body::Done => Ok(step(0, false)),
        }
    }

    fn head(&mut self, bytes: &[u8]) -> Result<Step, Malformed> {
        let mut fields = [const { std::mem::MaybeUninit::uninit() }; MAX_FIELDS];
        let mut head = httparse::Response::new(&mut []);
        let parsed = httparse::ParserConfig::default().parse_response_with_uninit_headers(
            &mut head,
            bytes,
            &mut fields,
        );
        match parsed {
            Ok(httparse::Status::Complete(length)) => {
                let status = head.code.ok_or(Malformed)?;
                if status == 101 {
                    return Err(Malformed);
                }
                if status >= 200 {
                    self.status = status;
                    self.keep = head.version == Some(1);
                    self.frame(status, head.headers)?;
                }
                Ok(step(length, false))
            }
            Ok(httparse::Status::Partial) if bytes.len() < MAX_HEAD => Ok(step(0, true)),
            _ => Err(Malformed),
        }
    }

    /// How long the body is, RFC 9112 6.3.
    fn frame(&mut self, status: u16, fields: &[httparse::Header<'_>]) -> Result<(), Malformed> {
        let mut length = None;
        let mut chunked = false;
        let mut coded = false;
        for field in fields {
            if field.name.eq_ignore_ascii_case("content-length") {
                let read = decimal(field.value)?;
                if length.is_some_and(|other| other != read) {
                    return Err(Malformed);
                }
                length = Some(read);
            } else if field.name.eq_ignore_ascii_case("transfer-encoding") {
                coded = true;
                let last = field.value.rsplit(|byte| *byte == b',').next();
                chunked = last.is_some_and(|it| it.trim_ascii().eq_ignore_ascii_case(b"chunked"));
            } else if field.name.eq_ignore_ascii_case("connection") {
                for word in field.value.split(|byte| *byte == b',') {
                    let word = word.trim_ascii();
                    if word.eq_ignore_ascii_case(b"close") {
                        self.keep = false;
                    } else if word.eq_ignore_ascii_case(b"keep-alive") {
                        self.keep = true;
                    }
                }
            }
        }
        self.body = match length {
            _ if self.head_only || status == 204 || status == 304 => Body::Done,
            _ if chunked => Body::ChunkLine,
            _ if coded => Body::UntilClose,
            Some(0) => Body::Done,
            Some(length) => Body::Length(length),
            None => Body::UntilClose,
        };
        if self.body == Body::UntilClose {
            self.keep = false;
        }
        Ok(())
    }

    fn take(&mut self, bytes: &[u8], left: u64, more: fn(u64) -> Body, then: Body) -> Step {
        let taken = usize::try_from(left).map_or(bytes.len(), |left| left.min(bytes.len()));
        let left = left - taken as u64;
        self.body = if left == 0 { then } else { more(left) };
        Step {
            spent: taken,
            body: 0..taken,
            hungry: left > 0,
        }
    }

    fn line(
        &mut self,
        bytes: &[u8],
        next: impl FnOnce(&[u8]) -> Result<Body, Malformed>,
    ) -> Result<Step, Malformed> {
        let Some(end) = memchr::memchr(b'\n', bytes) else {
            return if bytes.len() > MAX_LINE {
                Err(Malformed)
            } else {
                Ok(step(0, true))
            };
        };
        let line = &bytes[..end];
        self.body = next(line.strip_suffix(b"\r").unwrap_or(line))?;
        Ok(step(end + 1, false))
    }
}

fn step(spent: usize, hungry: bool) -> Step {
    Step {
        spent,
        body: 0..0,
        hungry,
    }
}

fn decimal(value: &[u8]) -> Result<u64, Malformed> {
    let text = std::str::from_utf8(value.trim_ascii()).map_err(|_| Malformed)?;
    if !text.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(Malformed);
    }
    text.parse().map_err(|_| Malformed)
}

fn chunk_size(line: &[u8]) -> Result<u64, Malformed> {
    let digits = line.split(|byte| *byte == b';').next().unwrap_or_default();
    let text = std::str::from_utf8(digits.trim_ascii()).map_err(|_| Malformed)?;
    if !text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return Err(Malformed);
    }
    u64::from_str_radix(text, 16).map_err(|_| Malformed)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Feeds the bytes in pieces; status, body, whether whole, whether kept, and what is left over.
    fn read(pieces: &[&[u8]], head_only: bool) -> Result<(Answer, Vec<u8>, Vec<u8>), Malformed> {
        let mut answer = Answer::new(head_only);
        let (mut waiting, mut body) = (Vec::new(), Vec::new());
        for piece in pieces {
            waiting.extend_from_slice(piece);
            while !answer.is_done() {
                let step = answer.step(&waiting)?;
                body.extend_from_slice(&waiting[step.body]);
                waiting.drain(..step.spent);
                if step.hungry {
                    break;
                }
            }
        }
        Ok((answer, body, waiting))
    }

    #[test]
    fn each_framing_ends_where_it_says_at_every_split() {
        let rows: [(&str, bool, u16, &str, bool, bool); 11] = [
            (
                "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello",
                false,
                200,
                "hello",
                true,
                true,
            ),
            (
                "HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n",
                false,
                200,
                "",
                true,
                true,
            ),
            (
                "HTTP/1.1 404 No\r\nContent-Length: 1\r\nConnection: close\r\n\r\nx",
                false,
                404,
                "x",
                true,
                false,
            ),
            (
                "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3;a=b\r\nabc\r\nA\r\n0123456789\r\n0\r\nT: v\r\n\r\n",
                false,
                200,
                "abc0123456789",
                true,
                true,
            ),
            (
                "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n",
                false,
                200,
                "abc",
                false,
                true,
            ),
            (
                "HTTP/1.1 200 OK\r\n\r\nuntil close",
                false,
                200,
                "until close",
                false,
                false,
            ),
            (
                "HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nab",
                false,
                200,
                "ab",
                true,
                false,
            ),
            (
                "HTTP/1.0 200 OK\r\nConnection: Keep-Alive\r\nContent-Length: 2\r\n\r\nab",
                false,
                200,
                "ab",
                true,
                true,
            ),
            (
                "HTTP/1.1 103 Early\r\nLink: x\r\n\r\nHTTP/1.1 204 None\r\n\r\n",
                false,
                204,
                "",
                true,
                true,
            ),
            (
                "HTTP/1.1 304 Not Modified\r\nContent-Length: 77\r\n\r\n",
                false,
                304,
                "",
                true,
                true,
            ),
            (
                "HTTP/1.1 200 OK\r\nContent-Length: 77\r\n\r\n",
                true,
                200,
                "",
                true,
                true,
            ),
        ];
        for (text, head_only, status, body, done, keep) in rows {
            for at in 0..=text.len() {
                let (left, right) = text.as_bytes().split_at(at);
                let (answer, read, over) = read(&[left, right], head_only).expect(text);
                let told = (answer.status, answer.is_done(), answer.keep);
                assert_eq!(told, (status, done, keep), "{text:?} at {at}");
                assert_eq!(read, body.as_bytes(), "{text:?} at {at}");
                assert!(over.is_empty(), "{text:?} at {at}");
            }
        }
    }

    #[test]
    fn bytes_behind_the_end_are_left() {
        let text = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nabHTTP/1.1 200";
        let (answer, body, over) = read(&[text], false).expect("an answer");
        assert!(answer.is_done());
        assert_eq!(
            (body.as_slice(), over.as_slice()),
            (&b"ab"[..], &b"HTTP/1.1 200"[..])
        );
    }

    #[test]
    fn only_a_body_without_framing_may_end_with_the_connection() {
        for (text, whole) in [
            ("HTTP/1.1 200 OK\r\n\r\nabc", true),
            ("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nabc", false),
            (
                "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n",
                false,
            ),
            ("HTTP/1.1 200 OK\r\nContent-Le", false),
        ] {
            let (mut answer, ..) = read(&[text.as_bytes()], false).expect(text);
            assert_eq!(answer.close(), whole, "{text:?}");
        }
    }

    #[test]
    fn what_two_readers_could_end_differently_is_refused() {
        for text in [
            "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
            "HTTP/1.1 200 OK\r\nContent-Length: +1\r\n\r\n",
            "HTTP/1.1 200 OK\r\nContent-Length: 99999999999999999999\r\n\r\n",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n-1\r\n",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabcd\r\n",
            "HTTP/1.1 101 Switching\r\n\r\n",
            "SSH-2.0-x\r\n",
        ] {
            assert_eq!(
                read(&[text.as_bytes()], false).map(|_| ()),
                Err(Malformed),
                "{text:?}"
            );
        }
        let endless = vec![b'1'; MAX_LINE + 1];
        let head = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";
        assert!(read(&[head, &endless], false).is_err());
    }
}
