//! Text with `$(…)` and `$name(…)` in it, cut into pieces once.

use bytes::Bytes;

use super::error::EvalError;
use super::escape::Escape;
use super::expression::{Expr, Issue, Reference};
use super::host::Host;
use super::limits::Limits;
use super::scope::Scope;
use super::value::Value;

/// Text cut into pieces. Text that does not fit the grammar of references and calls is plain text, so every text can be cut.
#[derive(Debug, Clone)]
pub struct Interpolation {
    pieces: Vec<Piece>,
}

/// A piece of text.
#[derive(Debug, Clone)]
pub enum Piece {
    /// Bytes that leave as they are.
    Literal(Bytes),
    /// A reference or a call.
    Dynamic {
        /// Where it starts in the text.
        offset: usize,
        /// What it is worth.
        expr: Expr,
    },
}

impl Interpolation {
    /// Cuts a text; the literal pieces are slices of it.
    pub fn parse(text: &Bytes, limits: &Limits) -> Self {
        let _ = limits;
        Self {
            pieces: vec![Piece::Literal(text.clone())],
        }
    }

    /// The pieces in order.
    pub fn pieces(&self) -> &[Piece] {
        &self.pieces
    }

    /// The text, when nothing in it depends on the request.
    pub fn as_literal(&self) -> Option<Bytes> {
        None
    }

    /// What looks wrong in it; offsets are those of the text.
    pub fn issues(&self) -> Vec<Issue> {
        Vec::new()
    }

    /// The variables and functions that it names.
    pub fn references(&self) -> impl Iterator<Item = &Reference> {
        [].iter()
    }

    /// Whether it calls `$add_header`, `$set_response_code` or `$set_redirect`.
    pub fn touches_response(&self) -> bool {
        false
    }

    /// Appends the text to `out`, tainted values escaped for the document. A piece that fails emits nothing and is told,
    /// with its offset.
    pub fn emit(
        &self,
        escape: Escape,
        scope: &mut Scope,
        host: &mut dyn Host,
        out: &mut Vec<u8>,
    ) -> Vec<(usize, EvalError)> {
        let _ = (escape, scope, host, out);
        Vec::new()
    }

    /// The text as a value: nothing is escaped, and it is tainted when a value in it is. For `entity`, headers, the paired
    /// assign.
    pub fn value(
        &self,
        scope: &mut Scope,
        host: &mut dyn Host,
    ) -> (Value, Vec<(usize, EvalError)>) {
        let _ = (scope, host);
        (Value::Missing, Vec::new())
    }

    /// The text as a URL, for `src` and `alt`: literal text as it is written; in values every byte that no URL may hold is
    /// percent-encoded.
    pub fn url(
        &self,
        scope: &mut Scope,
        host: &mut dyn Host,
    ) -> (Vec<u8>, Vec<(usize, EvalError)>) {
        let _ = (scope, host);
        (Vec::new(), Vec::new())
    }
}

impl Piece {
    /// Appends this piece to `out`, a tainted value escaped for the document.
    pub fn emit(
        &self,
        escape: Escape,
        scope: &mut Scope,
        host: &mut dyn Host,
        out: &mut Vec<u8>,
    ) -> Result<(), EvalError> {
        let _ = (escape, scope, host, out);
        Ok(())
    }
}
