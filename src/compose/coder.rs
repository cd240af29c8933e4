//! Who makes the bytes of a page ready for its client while they are put together: a content coding, told what each piece is.

use bytes::BytesMut;

use crate::compose::runs::Run;

/// Codes one page, piece by piece, in its order. What comes out is appended to `out`.
pub trait Coder: Send + 'static {
    /// A stretch that is remembered: what was made of it before can be used again.
    fn run(&mut self, run: &Run, out: &mut BytesMut);

    /// Text of a document, told by its number on this page.
    fn text(&mut self, document: usize, bytes: &[u8], out: &mut BytesMut);

    /// A fragment or a value: what may be one user's, or a visitor's choice. How it is written must tell nothing of its neighbours.
    fn apart(&mut self, bytes: &[u8], out: &mut BytesMut);

    /// Composition waits: what has come so far must be readable.
    fn flush(&mut self, out: &mut BytesMut);

    /// There is no more.
    fn finish(&mut self, out: &mut BytesMut);
}

/// How a page is to be coded.
pub struct Coded {
    /// Who codes it.
    pub coder: Box<dyn Coder>,
    /// A page at hand of fewer bytes stays as it is.
    pub worth: usize,
}
