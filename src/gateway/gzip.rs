//! A composed page as one gzip member (RFC 1952), stitched: what is remembered is compressed once, what is not is compressed for
//! this page, each piece by itself.
//!
//! The member is a row of deflate blocks. Each segment starts with an empty window and ends at a byte (a sync flush), so that
//! segments can be put one behind another, and so that how one is written tells nothing of another: what one user alone is shown
//! never shares a window with what somebody else may have chosen (the length of a page would tell when both are alike). Only
//! neighbouring text of one document is written as one segment.

use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use bytes::{BufMut, Bytes, BytesMut};
use flate2::{Compress, Compression, Crc, FlushCompress};

use crate::compose::coder::Coder;
use crate::compose::runs::Run;
use crate::gateway::coding;
use crate::gateway::origin_request::Coding;

/// How hard what is remembered is compressed, and what is for one page.
const ONCE: u32 = 6;
const EACH: u32 = 4;

/// Fewer bytes are not worth compressing: they are stored.
const STORED: usize = 96;

/// The largest stored block (RFC 1951 3.2.4).
const LARGEST_STORED: usize = 65_535;

/// Compressors that wait for the next page, for what is compressed once and for what is for one page.
static IDLE: Mutex<Vec<Compress>> = Mutex::new(Vec::new());

/// More than so many are not kept: each holds about 300 KiB.
const MOST_IDLE: usize = 16;

/// Deflate, no optional fields, no time, an unknown system (RFC 1952 2.3).
const HEAD: [u8; 10] = [0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 255];

/// A last block without content.
const END: [u8; 2] = [3, 0];

/// What is made of the bytes of a run, each when it is first asked for.
#[derive(Debug, Default)]
pub struct Made {
    segment: OnceLock<Segment>,
    gzip: OnceLock<Bytes>,
    brotli: OnceLock<Bytes>,
    zstd: OnceLock<Bytes>,
    /// By coding.
    pub(super) tags: [OnceLock<http::HeaderValue>; 4],
}

/// Deflate blocks with their checksum.
#[derive(Debug)]
struct Segment {
    blocks: Bytes,
    crc: Crc,
}

impl Made {
    /// What was made of a run.
    pub fn of(run: &Run) -> Arc<Self> {
        run.memo()
            .read(|made: &Arc<Self>| Arc::clone(made))
            .unwrap_or_else(|| {
                // Of two that are made at the same time one is forgotten again.
                let made = Arc::new(Self::default());
                run.memo().leave(Arc::clone(&made));
                made
            })
    }

    /// A whole body in a coding.
    pub fn body(&self, run: &Run, coding: Coding) -> Option<Bytes> {
        let made = match coding {
            Coding::Identity => return Some(run.bytes().clone()),
            Coding::Gzip => &self.gzip,
            Coding::Brotli => &self.brotli,
            Coding::Zstd => &self.zstd,
        };
        let made = made.get_or_init(|| match coding {
            Coding::Gzip => {
                let mut gzip = Gzip::new();
                let mut out = BytesMut::new();
                gzip.run(run, &mut out);
                gzip.finish(&mut out);
                out.freeze()
            }
            // Memory does not fail; if it did, nothing would be there, and the page be sent as it is.
            other => coding::encode_once(run.bytes(), other).unwrap_or_default(),
        });
        (!made.is_empty()).then(|| made.clone())
    }

    fn segment(&self, run: &Run) -> &Segment {
        self.segment.get_or_init(|| {
            let mut blocks = BytesMut::new();
            // A compressor of its own: it compresses harder, and seldom.
            let mut compressor = Compress::new(Compression::new(ONCE), false);
            deflate(
                &mut compressor,
                run.bytes(),
                FlushCompress::Sync,
                &mut blocks,
            );
            let mut crc = Crc::new();
            crc.update(run.bytes());
            Segment {
                blocks: blocks.freeze(),
                crc,
            }
        })
    }
}

/// Writes one page.
pub struct Gzip {
    crc: Crc,
    begun: bool,
    compressor: Option<Compress>,
    /// The document whose text is being compressed, when the segment is open.
    open: Option<usize>,
}

impl Default for Gzip {
    fn default() -> Self {
        Self::new()
    }
}

impl Gzip {
    /// A page of which nothing has come yet.
    pub fn new() -> Self {
        Self {
            crc: Crc::new(),
            begun: false,
            compressor: None,
            open: None,
        }
    }

    fn begin(&mut self, out: &mut BytesMut) {
        if !self.begun {
            self.begun = true;
            out.put_slice(&HEAD);
        }
    }

    /// Ends the segment that is open.
    fn close(&mut self, out: &mut BytesMut) {
        if self.open.take().is_some()
            && let Some(compressor) = &mut self.compressor
        {
            deflate(compressor, &[], FlushCompress::Sync, out);
        }
    }

    /// The compressor, with an empty window.
    fn fresh(&mut self) -> &mut Compress {
        match &mut self.compressor {
            Some(compressor) => compressor.reset(),
            none => {
                let idle = IDLE.lock().unwrap_or_else(PoisonError::into_inner).pop();
                *none = Some(idle.unwrap_or_else(|| Compress::new(Compression::new(EACH), false)));
            }
        }
        // One of the two arms has just left one there; a second one would only cost time.
        self.compressor
            .get_or_insert_with(|| Compress::new(Compression::new(EACH), false))
    }
}

impl Drop for Gzip {
    fn drop(&mut self) {
        if let Some(mut compressor) = self.compressor.take() {
            // Nothing of this page stays in its window.
            compressor.reset();
            let mut idle = IDLE.lock().unwrap_or_else(PoisonError::into_inner);
            if idle.len() < MOST_IDLE {
                idle.push(compressor);
            }
        }
    }
}

impl Coder for Gzip {
    fn run(&mut self, run: &Run, out: &mut BytesMut) {
        self.begin(out);
        self.close(out);
        let made = Made::of(run);
        let segment = made.segment(run);
        out.put_slice(&segment.blocks);
        self.crc.combine(&segment.crc);
    }

    fn text(&mut self, document: usize, bytes: &[u8], out: &mut BytesMut) {
        self.begin(out);
        self.crc.update(bytes);
        if self.open != Some(document) {
            self.close(out);
            self.fresh();
            self.open = Some(document);
        }
        if let Some(compressor) = &mut self.compressor {
            deflate(compressor, bytes, FlushCompress::None, out);
        }
    }

    fn apart(&mut self, bytes: &[u8], out: &mut BytesMut) {
        self.begin(out);
        self.close(out);
        self.crc.update(bytes);
        if bytes.len() < STORED {
            store(bytes, out);
        } else {
            deflate(self.fresh(), bytes, FlushCompress::Sync, out);
        }
    }

    fn flush(&mut self, out: &mut BytesMut) {
        self.close(out);
    }

    fn finish(&mut self, out: &mut BytesMut) {
        self.begin(out);
        self.close(out);
        out.put_slice(&END);
        out.put_u32_le(self.crc.sum());
        out.put_u32_le(self.crc.amount());
    }
}

/// A block of bytes as they are.
fn store(bytes: &[u8], out: &mut BytesMut) {
    for block in bytes.chunks(LARGEST_STORED) {
        // Its length is at most what two bytes hold.
        let length = block.len() as u16;
        out.put_u8(0);
        out.put_u16_le(length);
        out.put_u16_le(!length);
        out.put_slice(block);
    }
}

/// Compresses all bytes behind what `out` holds.
fn deflate(compressor: &mut Compress, bytes: &[u8], flush: FlushCompress, out: &mut BytesMut) {
    let mut rest = bytes;
    let mut buffer = [0; 8 * 1024];
    loop {
        let (before, after) = (compressor.total_in(), compressor.total_out());
        // Into memory, with a valid flush, it cannot fail; if it did, the loop would end and the checksum tell it.
        if compressor.compress(rest, &mut buffer, flush).is_err() {
            return;
        }
        let taken = (compressor.total_in() - before) as usize;
        let given = (compressor.total_out() - after) as usize;
        rest = rest.get(taken..).unwrap_or_default();
        out.put_slice(buffer.get(..given).unwrap_or_default());
        // A buffer that was not filled holds all there was.
        if rest.is_empty() && given < buffer.len() {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read;

    /// Decoded as exactly one member with nothing behind it.
    fn decoded(bytes: &[u8]) -> Vec<u8> {
        let mut decoder = flate2::bufread::GzDecoder::new(bytes);
        let mut text = Vec::new();
        decoder.read_to_end(&mut text).expect("it is gzip");
        assert!(decoder.into_inner().is_empty(), "one member");
        text
    }

    #[test]
    fn segments_of_all_kinds_make_one_member() {
        let long = "words that repeat, words that repeat ".repeat(3000);
        let (mut out, mut gzip, mut plain) = (BytesMut::new(), Gzip::new(), Vec::new());
        for (document, text) in [(0, "a"), (0, &long), (1, &long), (0, "")] {
            gzip.text(document, text.as_bytes(), &mut out);
            plain.extend_from_slice(text.as_bytes());
        }
        gzip.flush(&mut out);
        for text in ["", "x", &long[..STORED - 1], &long[..STORED], &long] {
            gzip.apart(text.as_bytes(), &mut out);
            plain.extend_from_slice(text.as_bytes());
        }
        gzip.text(0, b"the end", &mut out);
        plain.extend_from_slice(b"the end");
        gzip.finish(&mut out);
        assert_eq!(decoded(&out), plain);
        assert!(out.len() < plain.len() / 20, "{}", out.len());
    }

    #[test]
    fn nothing_is_a_member_too() {
        let mut out = BytesMut::new();
        Gzip::new().finish(&mut out);
        assert_eq!(decoded(&out), b"");
    }

    #[test]
    fn what_stands_apart_is_written_the_same_whatever_stands_around_it() {
        let secret = "token=0123456789abcdef".repeat(8);
        let lengths = ["token=0123456789abcdef".repeat(8), "#".repeat(176)].map(|guess| {
            let (mut out, mut gzip) = (BytesMut::new(), Gzip::new());
            gzip.apart(guess.as_bytes(), &mut out);
            let before = out.len();
            gzip.apart(secret.as_bytes(), &mut out);
            out.len() - before
        });
        assert_eq!(lengths[0], lengths[1]);
    }
}
