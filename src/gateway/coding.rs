//! Content codings (RFC 9110 8.4): documents are decoded before they are scanned, composed pages are encoded while they stream.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use async_compression::Level;
use async_compression::tokio::write as codec;
use bytes::Bytes;
use futures::FutureExt;
use http::HeaderMap;
use http::header::CONTENT_ENCODING;
use http_body::{Body as HttpBody, Frame};
use tokio::io::{AsyncWrite, AsyncWriteExt};

use crate::gateway::origin_request::Coding;
use crate::message::{Body, BodyError};

/// Why a body cannot be decoded.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// A coding that is not understood.
    #[error("unknown content coding {0:?}")]
    Unknown(String),
    /// It is not what it says.
    #[error("broken {coding}: {reason}")]
    Broken {
        /// The coding.
        coding: String,
        /// What is wrong.
        reason: String,
    },
    /// Decoded it is larger than so many bytes.
    #[error("decoded it is larger than {0} bytes")]
    TooLarge(usize),
}

/// Codings that one body may be wrapped in; more serve only to make us work.
const MOST_CODINGS: usize = 3;

/// The codings of a body, in the order in which they were applied; `identity` left out.
fn codings(headers: &HeaderMap) -> Vec<String> {
    let lines = headers.get_all(CONTENT_ENCODING).iter();
    let members = lines.flat_map(|line| {
        line.as_bytes()
            .split(|byte| *byte == b',')
            .map(<[u8]>::to_vec)
            .collect::<Vec<_>>()
    });
    members
        .map(|member| String::from_utf8_lossy(member.trim_ascii()).to_ascii_lowercase())
        .filter(|member| !member.is_empty() && member != "identity")
        .collect()
}

/// Whether a body is encoded at all.
pub fn is_encoded(headers: &HeaderMap) -> bool {
    headers.contains_key(CONTENT_ENCODING) && !codings(headers).is_empty()
}

/// Whether a body is encoded in codings that we read.
pub fn is_readable(headers: &HeaderMap) -> bool {
    let codings = codings(headers);
    codings.len() <= MOST_CODINGS
        && codings.iter().all(|coding| {
            matches!(
                coding.as_str(),
                "gzip" | "x-gzip" | "br" | "deflate" | "zstd"
            )
        })
}

/// The body without its codings; the same bytes where it has none.
///
/// # Errors
/// [`DecodeError`]; nothing of a broken body is used.
pub fn decode(headers: &HeaderMap, body: &Bytes, limit: usize) -> Result<Bytes, DecodeError> {
    let codings = codings(headers);
    if codings.len() > MOST_CODINGS {
        return Err(DecodeError::Unknown(codings.join(", ")));
    }
    let mut decoded = body.clone();
    for coding in codings.iter().rev() {
        decoded = decode_one(coding, &decoded, limit)?;
    }
    Ok(decoded)
}

fn decode_one(coding: &str, body: &[u8], limit: usize) -> Result<Bytes, DecodeError> {
    let sink = Sink {
        bytes: Vec::with_capacity((body.len() * 4).min(limit)),
        limit,
    };
    let written = match coding {
        "gzip" | "x-gzip" => through(
            codec::GzipDecoder::new(sink),
            body,
            codec::GzipDecoder::into_inner,
        ),
        "br" => through(
            codec::BrotliDecoder::new(sink),
            body,
            codec::BrotliDecoder::into_inner,
        ),
        "zstd" => through(
            codec::ZstdDecoder::new(sink),
            body,
            codec::ZstdDecoder::into_inner,
        ),
        // RFC 9110 8.4.1.2 means zlib; some send bare deflate, whose first byte cannot begin a zlib stream.
        "deflate" if body.first().is_some_and(|byte| byte & 0x0f == 8) => through(
            codec::ZlibDecoder::new(sink),
            body,
            codec::ZlibDecoder::into_inner,
        ),
        "deflate" => through(
            codec::DeflateDecoder::new(sink),
            body,
            codec::DeflateDecoder::into_inner,
        ),
        other => return Err(DecodeError::Unknown(other.to_owned())),
    };
    match written {
        Ok(sink) => Ok(sink.bytes.into()),
        Err(error) if error.kind() == io::ErrorKind::FileTooLarge => {
            Err(DecodeError::TooLarge(limit))
        }
        Err(error) => Err(DecodeError::Broken {
            coding: coding.to_owned(),
            reason: error.to_string(),
        }),
    }
}

/// Writes a whole body through a decoder. The sink never waits, so the future is done at once.
fn through<W: AsyncWrite + Unpin>(
    mut decoder: W,
    body: &[u8],
    inner: impl FnOnce(W) -> Sink,
) -> io::Result<Sink> {
    let written = async {
        decoder.write_all(body).await?;
        decoder.shutdown().await
    };
    written
        .now_or_never()
        .unwrap_or_else(|| Err(io::ErrorKind::WouldBlock.into()))?;
    Ok(inner(decoder))
}

/// Bytes in memory, up to a limit.
struct Sink {
    bytes: Vec<u8>,
    limit: usize,
}

impl AsyncWrite for Sink {
    fn poll_write(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        if self.bytes.len() + bytes.len() > self.limit {
            return Poll::Ready(Err(io::ErrorKind::FileTooLarge.into()));
        }
        self.bytes.extend_from_slice(bytes);
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

/// Encodes a body while it streams: what has come is flushed whenever the body has to wait.
pub fn encode(body: Body, coding: Coding) -> Body {
    let encoder = match coding {
        Coding::Identity => return body,
        Coding::Gzip => Encoder::Gzip(codec::GzipEncoder::with_quality(
            Vec::new(),
            Level::Precise(4),
        )),
        Coding::Brotli => Encoder::Brotli(Box::new(codec::BrotliEncoder::with_quality(
            Vec::new(),
            Level::Precise(4),
        ))),
        Coding::Zstd => Encoder::Zstd(codec::ZstdEncoder::with_quality(
            Vec::new(),
            Level::Precise(3),
        )),
    };
    match body.as_full() {
        Some(bytes) => {
            let mut encoder = encoder;
            match encoder.write(bytes).and_then(|()| encoder.finish()) {
                Ok(()) => Body::full(encoder.take()),
                Err(error) => Body::stream(Encoded::failed(&error)),
            }
        }
        None => Body::stream(Encoded {
            body,
            encoder,
            unflushed: false,
            state: State::Open,
        }),
    }
}

enum Encoder {
    Gzip(codec::GzipEncoder<Vec<u8>>),
    Brotli(Box<codec::BrotliEncoder<Vec<u8>>>),
    Zstd(codec::ZstdEncoder<Vec<u8>>),
}

impl Encoder {
    fn writer(&mut self) -> &mut (dyn AsyncWrite + Unpin + Send) {
        match self {
            Self::Gzip(encoder) => encoder,
            Self::Brotli(encoder) => &mut **encoder,
            Self::Zstd(encoder) => encoder,
        }
    }

    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        at_once(self.writer().write_all(bytes).now_or_never())
    }

    fn flush(&mut self) -> io::Result<()> {
        at_once(self.writer().flush().now_or_never())
    }

    fn finish(&mut self) -> io::Result<()> {
        at_once(self.writer().shutdown().now_or_never())
    }

    /// What has come out of it so far.
    fn take(&mut self) -> Bytes {
        let out = match self {
            Self::Gzip(encoder) => encoder.get_mut(),
            Self::Brotli(encoder) => encoder.get_mut(),
            Self::Zstd(encoder) => encoder.get_mut(),
        };
        std::mem::take(out).into()
    }
}

/// Writing into memory never waits.
fn at_once(done: Option<io::Result<()>>) -> io::Result<()> {
    done.unwrap_or_else(|| Err(io::ErrorKind::WouldBlock.into()))
}

/// A body on its way through an encoder.
struct Encoded {
    body: Body,
    encoder: Encoder,
    /// Bytes went in since the last flush.
    unflushed: bool,
    state: State,
}

enum State {
    Open,
    Ended,
    Failed(String),
}

impl Encoded {
    fn failed(error: &io::Error) -> Self {
        Self {
            body: Body::empty(),
            encoder: Encoder::Gzip(codec::GzipEncoder::new(Vec::new())),
            unflushed: false,
            state: State::Failed(error.to_string()),
        }
    }
}

impl HttpBody for Encoded {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let this = &mut *self;
        let ours = |error: io::Error| BodyError::Ours(error.to_string());
        loop {
            match &this.state {
                State::Open => {}
                State::Ended => return Poll::Ready(None),
                State::Failed(error) => {
                    return Poll::Ready(Some(Err(BodyError::Ours(error.clone()))));
                }
            }
            let stepped = match Pin::new(&mut this.body).poll_frame(context) {
                Poll::Ready(Some(Ok(frame))) => {
                    let Ok(bytes) = frame.into_data() else {
                        continue;
                    };
                    this.unflushed = true;
                    this.encoder.write(&bytes)
                }
                Poll::Ready(Some(Err(error))) => return Poll::Ready(Some(Err(error))),
                Poll::Ready(None) => {
                    this.state = State::Ended;
                    this.encoder.finish()
                }
                Poll::Pending if !this.unflushed => return Poll::Pending,
                Poll::Pending => {
                    this.unflushed = false;
                    this.encoder.flush()
                }
            };
            if let Err(error) = stepped {
                return Poll::Ready(Some(Err(ours(error))));
            }
            let out = this.encoder.take();
            if !out.is_empty() {
                return Poll::Ready(Some(Ok(Frame::data(out))));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::HeaderValue;

    fn encoded_as(coding: &str) -> HeaderMap {
        [(
            CONTENT_ENCODING,
            HeaderValue::from_str(coding).expect("a row is a value"),
        )]
        .into_iter()
        .collect()
    }

    async fn encoded(text: &str, coding: Coding) -> Bytes {
        encode(Body::full(text.to_owned()), coding)
            .collect(1 << 20)
            .await
            .expect("memory does not fail")
    }

    #[tokio::test]
    async fn what_we_encode_we_decode() {
        let text = "a page, a page, a page".repeat(100);
        for coding in [Coding::Gzip, Coding::Brotli, Coding::Zstd] {
            let bytes = encoded(&text, coding).await;
            assert!(bytes.len() < text.len() / 4, "{coding:?}");
            let headers = encoded_as(coding.as_str());
            assert_eq!(
                decode(&headers, &bytes, 1 << 20).expect("it is whole"),
                text.as_bytes(),
                "{coding:?}"
            );
            assert_eq!(
                decode(&headers, &bytes, 100),
                Err(DecodeError::TooLarge(100)),
                "{coding:?}"
            );
        }
    }

    #[tokio::test]
    async fn broken_and_unknown_codings_are_told() {
        let whole = encoded("text", Coding::Gzip).await;
        let cut = whole.slice(..whole.len() - 3);
        for body in [Bytes::from_static(b"not gzip"), cut] {
            let error = decode(&encoded_as("gzip"), &body, 100).expect_err("it is broken");
            assert!(matches!(error, DecodeError::Broken { .. }), "{error}");
        }
        let unknown = decode(&encoded_as("rot13"), &whole, 100);
        assert_eq!(unknown, Err(DecodeError::Unknown("rot13".to_owned())));
        assert_eq!(decode(&HeaderMap::new(), &whole, 100), Ok(whole));
    }

    #[tokio::test]
    async fn what_has_come_is_flushed_when_the_body_waits() {
        use http_body_util::channel::Channel;
        let (mut sender, body) = Channel::<Bytes, BodyError>::new(4);
        let mut body = encode(Body::stream(body), Coding::Gzip);
        sender
            .send_data(Bytes::from_static(b"the first part"))
            .await
            .expect("the body is there");
        let mut seen = Vec::new();
        // The gzip header may come by itself; the text follows without the end of the body.
        while !String::from_utf8_lossy(&inflated(&seen)).contains("first part") {
            seen.extend_from_slice(&body.next().await.expect("it goes on").expect("no error"));
        }
        drop(sender);
        while let Some(bytes) = body.next().await {
            seen.extend_from_slice(&bytes.expect("no error"));
        }
        let whole = decode(&encoded_as("gzip"), &seen.into(), 100).expect("it is whole");
        assert_eq!(whole, "the first part");
    }

    /// As much as a client can read of a stream that goes on.
    fn inflated(bytes: &[u8]) -> Vec<u8> {
        use std::io::Read;
        let mut text = Vec::new();
        let _ = flate2::read::GzDecoder::new(bytes).read_to_end(&mut text);
        text
    }
}
