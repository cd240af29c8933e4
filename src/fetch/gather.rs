//! Reads a body that may be stored, up to a limit; what turns out larger goes on as a stream.

use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::{Bytes, BytesMut};
use http_body::{Body as HttpBody, Frame, SizeHint};

use crate::message::{Body, BodyError};

/// What was read.
pub enum Gathered {
    /// All of it; its end was seen.
    Whole(Bytes),
    /// More than the limit, or than there is room for, with so many bytes: what was read, and the rest behind it.
    Larger(usize, Body),
}

/// Reads `body` to its end, or until it is larger than `limit` bytes.
pub async fn gather(body: Body, limit: usize) -> Result<Gathered, BodyError> {
    gather_within(body, limit, |_| true).await
}

/// The same, or until `fits` says that there is no room for so many bytes.
pub async fn gather_within(
    mut body: Body,
    limit: usize,
    mut fits: impl FnMut(usize) -> bool,
) -> Result<Gathered, BodyError> {
    let hint = HttpBody::size_hint(&body);
    if hint.lower() > limit as u64 {
        return Ok(Gathered::Larger(hint.lower() as usize, body));
    }
    let mut read = BytesMut::new();
    while let Some(bytes) = body.next().await.transpose()? {
        let length = read.len() + bytes.len();
        if length > limit || !fits(length) {
            read.extend_from_slice(&bytes);
            let behind = Behind {
                first: Some(read.freeze()),
                rest: body,
            };
            return Ok(Gathered::Larger(length, Body::stream(behind)));
        }
        if read.is_empty() && hint.exact() == Some(bytes.len() as u64) {
            // All of it in one piece: nothing is copied. Its end must be seen all the same.
            return match body.next().await.transpose()? {
                None => Ok(Gathered::Whole(bytes)),
                Some(_) => Err(BodyError::Cut("more bytes than announced".to_owned())),
            };
        }
        read.extend_from_slice(&bytes);
    }
    Ok(Gathered::Whole(read.freeze()))
}

/// A body behind bytes that were read before it.
struct Behind {
    first: Option<Bytes>,
    rest: Body,
}

impl HttpBody for Behind {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        match self.first.take() {
            Some(first) => Poll::Ready(Some(Ok(Frame::data(first)))),
            None => Pin::new(&mut self.rest).poll_frame(context),
        }
    }

    fn is_end_stream(&self) -> bool {
        self.first.is_none() && self.rest.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        let first = self.first.as_ref().map_or(0, Bytes::len) as u64;
        let mut hint = self.rest.size_hint();
        let (lower, upper) = (
            hint.lower() + first,
            hint.upper().map(|upper| upper + first),
        );
        if let Some(upper) = upper {
            hint.set_upper(upper);
        }
        hint.set_lower(lower);
        hint
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use http_body_util::{BodyExt, StreamBody};

    fn pieces(pieces: &'static [&'static str]) -> Body {
        let frames = pieces
            .iter()
            .map(|piece| Ok(Frame::data(Bytes::from_static(piece.as_bytes()))));
        Body::stream(StreamBody::new(futures::stream::iter(frames)))
    }

    #[tokio::test]
    async fn a_small_body_is_gathered_and_a_large_one_streams_on_whole() {
        for (limit, whole) in [(6, true), (5, false), (1, false), (0, false)] {
            let bytes = match gather(pieces(&["ab", "cd", "ef"]), limit)
                .await
                .expect("no error")
            {
                Gathered::Whole(bytes) => {
                    assert!(whole, "{limit}");
                    bytes
                }
                Gathered::Larger(_, body) => {
                    assert!(!whole, "{limit}");
                    body.collect(100).await.expect("no error")
                }
            };
            assert_eq!(bytes, "abcdef");
        }
    }

    #[tokio::test]
    async fn a_cut_body_is_never_whole() {
        let frames = [
            Ok(Frame::data(Bytes::from_static(b"ab"))),
            Err(BodyError::Stalled),
        ];
        let body = Body::stream(StreamBody::new(futures::stream::iter(frames)).boxed());
        assert!(matches!(gather(body, 10).await, Err(BodyError::Stalled)));
    }
}
