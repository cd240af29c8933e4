//! Content codings (RFC 9110 8.4): documents are decoded before they are scanned, and what is sent often is encoded once.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use async_compression::Level;
use async_compression::tokio::{bufread, write as codec};
use bytes::Bytes;
use futures::FutureExt;
use http::HeaderMap;
use http::header::CONTENT_ENCODING;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

use crate::gateway::origin_request::Coding;

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
        // Of one member or several (RFC 1952 2.2).
        "gzip" | "x-gzip" => {
            let mut decoder = bufread::GzipDecoder::new(body);
            decoder.multiple_members(true);
            out_of(decoder, sink)
        }
        "br" => through(
            codec::BrotliDecoder::new(sink),
            body,
            codec::BrotliDecoder::into_inner,
        ),
        // Of one frame or several (RFC 8878 3.1).
        "zstd" => {
            let mut decoder = bufread::ZstdDecoder::new(body);
            decoder.multiple_members(true);
            out_of(decoder, sink)
        }
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

/// Reads all that a decoder of a whole body gives. It never waits either.
fn out_of(decoder: impl AsyncRead + Unpin, mut sink: Sink) -> io::Result<Sink> {
    let limit = sink.limit;
    let mut decoder = decoder.take((limit as u64).saturating_add(1));
    let read = async {
        while decoder.read_buf(&mut sink.bytes).await? > 0 {}
        io::Result::Ok(())
    };
    read.now_or_never()
        .unwrap_or_else(|| Err(io::ErrorKind::WouldBlock.into()))?;
    if sink.bytes.len() > limit {
        return Err(io::ErrorKind::FileTooLarge.into());
    }
    Ok(sink)
}

/// Writes a whole body through a coder. The sink never waits, so the future is done at once.
fn through<W: AsyncWrite + Unpin>(
    mut coder: W,
    body: &[u8],
    inner: impl FnOnce(W) -> Sink,
) -> io::Result<Sink> {
    let written = async {
        coder.write_all(body).await?;
        coder.shutdown().await
    };
    written
        .now_or_never()
        .unwrap_or_else(|| Err(io::ErrorKind::WouldBlock.into()))?;
    Ok(inner(coder))
}

/// Bytes in memory, up to a limit.
struct Sink {
    bytes: Vec<u8>,
    limit: usize,
}

impl Sink {
    fn boundless() -> Self {
        Self {
            bytes: Vec::new(),
            limit: usize::MAX,
        }
    }
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

/// How hard is compressed what is compressed once and sent often.
const BROTLI: i32 = 6;
const ZSTD: i32 = 9;

/// Encodes bytes that are sent often; gzip is written by [`gzip`](crate::gateway::gzip).
pub fn encode_once(body: &Bytes, coding: Coding) -> Option<Bytes> {
    let encoded = match coding {
        Coding::Identity | Coding::Gzip => return None,
        Coding::Brotli => {
            let encoder =
                codec::BrotliEncoder::with_quality(Sink::boundless(), Level::Precise(BROTLI));
            through(encoder, body, codec::BrotliEncoder::into_inner)
        }
        Coding::Zstd => {
            let encoder = codec::ZstdEncoder::with_quality(Sink::boundless(), Level::Precise(ZSTD));
            through(encoder, body, codec::ZstdEncoder::into_inner)
        }
    };
    encoded.ok().map(|sink| sink.bytes.into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::compose::coder::Coder;
    use crate::gateway::gzip::Gzip;
    use bytes::BytesMut;
    use http::HeaderValue;

    fn encoded_as(coding: &str) -> HeaderMap {
        [(
            CONTENT_ENCODING,
            HeaderValue::from_str(coding).expect("a row is a value"),
        )]
        .into_iter()
        .collect()
    }

    fn encoded(text: &str, coding: Coding) -> Bytes {
        let text = Bytes::copy_from_slice(text.as_bytes());
        match coding {
            Coding::Gzip => {
                let mut out = BytesMut::new();
                let mut gzip = Gzip::new();
                gzip.apart(&text, &mut out);
                gzip.finish(&mut out);
                out.freeze()
            }
            other => encode_once(&text, other).expect("memory does not fail"),
        }
    }

    #[test]
    fn what_we_encode_we_decode() {
        let text = "a page, a page, a page".repeat(100);
        for coding in [Coding::Gzip, Coding::Brotli, Coding::Zstd] {
            let bytes = encoded(&text, coding);
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

    #[test]
    fn a_body_may_have_several_members() {
        for coding in [Coding::Gzip, Coding::Zstd] {
            let headers = encoded_as(coding.as_str());
            let (one, other) = (encoded("one, ", coding), encoded("other", coding));
            let both = Bytes::from([&one[..], &other[..]].concat());
            assert_eq!(decode(&headers, &both, 10), Ok("one, other".into()));
            assert_eq!(decode(&headers, &both, 9), Err(DecodeError::TooLarge(9)));
            for more in [&b"x"[..], &one[..one.len() - 1]] {
                let broken = Bytes::from([&both[..], more].concat());
                let error = decode(&headers, &broken, 100).expect_err("it is broken");
                assert!(matches!(error, DecodeError::Broken { .. }), "{error}");
            }
        }
    }

    #[test]
    fn broken_and_unknown_codings_are_told() {
        let whole = encoded("text", Coding::Gzip);
        let cut = whole.slice(..whole.len() - 3);
        for body in [Bytes::from_static(b"not gzip"), cut] {
            let error = decode(&encoded_as("gzip"), &body, 100).expect_err("it is broken");
            assert!(matches!(error, DecodeError::Broken { .. }), "{error}");
        }
        let unknown = decode(&encoded_as("rot13"), &whole, 100);
        assert_eq!(unknown, Err(DecodeError::Unknown("rot13".to_owned())));
        assert_eq!(decode(&HeaderMap::new(), &whole, 100), Ok(whole));
    }
}
