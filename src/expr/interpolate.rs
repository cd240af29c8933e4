//! Text with `$(…)` and `$name(…)` in it, cut into pieces once.

use std::ops::Deref;

use bytes::Bytes;

use super::error::{EvalError, Excess};
use super::escape::{self, Escape};
use super::expression::{Expr, Issue, Reference};
use super::host::Host;
use super::limits::Limits;
use super::reader::{Cut, Reader};
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

/// Pieces that stand together; one alone needs no memory of its own.
#[derive(Debug, Clone)]
pub enum Pieces {
    /// One.
    One(Piece),
    /// None, or some.
    Many(Vec<Piece>),
}

impl Deref for Pieces {
    type Target = [Piece];

    fn deref(&self) -> &[Piece] {
        match self {
            Self::One(piece) => std::slice::from_ref(piece),
            Self::Many(pieces) => pieces,
        }
    }
}

impl<'a> IntoIterator for &'a Pieces {
    type Item = &'a Piece;
    type IntoIter = std::slice::Iter<'a, Piece>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

impl From<Piece> for Pieces {
    fn from(piece: Piece) -> Self {
        Self::One(piece)
    }
}

impl From<Vec<Piece>> for Pieces {
    fn from(pieces: Vec<Piece>) -> Self {
        Self::Many(pieces)
    }
}

/// Pieces that had no value: where each starts in the text, and why. They emit nothing.
pub type Failures = Vec<(usize, EvalError)>;

impl Interpolation {
    /// Cuts a text; the literal pieces are slices of it. Calls whose result is always the same are carried out here.
    pub fn parse(text: &Bytes, limits: &Limits) -> Self {
        Self::read(text, text, &mut Reader::new(limits))
    }

    /// The same with a reader at hand, and the text where it stands in the document.
    pub fn read<'l>(written: &'l [u8], text: &Bytes, reader: &mut Reader<'l>) -> Self {
        let mut pieces = Vec::new();
        reader.cut(written, |piece| match piece {
            Cut::Literal(range) => push_literal(&mut pieces, text.slice(range)),
            Cut::Folded(value) => push_literal(&mut pieces, value.to_text().into_owned().into()),
            Cut::Dynamic { offset, expr } => pieces.push(Piece::Dynamic { offset, expr }),
        });
        Self { pieces }
    }

    /// The pieces in order.
    pub fn pieces(&self) -> &[Piece] {
        &self.pieces
    }

    /// The pieces in order, taken out.
    pub fn into_pieces(self) -> Vec<Piece> {
        self.pieces
    }

    /// The text, when nothing in it depends on the request.
    pub fn as_literal(&self) -> Option<Bytes> {
        match &self.pieces[..] {
            [] => Some(Bytes::new()),
            [Piece::Literal(text)] => Some(text.clone()),
            pieces => {
                let literals: Option<Vec<&[u8]>> = pieces
                    .iter()
                    .map(|piece| match piece {
                        Piece::Literal(text) => Some(&text[..]),
                        Piece::Dynamic { .. } => None,
                    })
                    .collect();
                literals.map(|literals| literals.concat().into())
            }
        }
    }

    /// What looks wrong in it; offsets are those of the text.
    pub fn issues(&self) -> Vec<Issue> {
        let of_piece = |(offset, expr): (usize, &Expr)| {
            let issues = expr.issues().to_vec().into_iter();
            issues
                .map(|issue| Issue {
                    offset: offset + issue.offset,
                    ..issue
                })
                .collect::<Vec<_>>()
        };
        self.dynamic().flat_map(of_piece).collect()
    }

    /// The variables and functions that it names.
    pub fn references(&self) -> impl Iterator<Item = Reference<'_>> {
        self.dynamic().flat_map(|(_, expr)| expr.references())
    }

    /// Whether a reference or call in it [has effects](Expr::has_effects).
    pub fn has_effects(&self) -> bool {
        self.dynamic().any(|(_, expr)| expr.has_effects())
    }

    /// Appends the text to `out`, tainted values escaped for the document. It stops after the piece with which `out` grows
    /// beyond `most` bytes, which the caller sees by its length.
    pub fn emit(
        &self,
        escape: Escape,
        most: usize,
        scope: &mut Scope,
        host: &mut dyn Host,
        out: &mut Vec<u8>,
    ) -> Failures {
        let mut failures = Vec::new();
        for piece in &self.pieces {
            if out.len() > most {
                break;
            }
            match piece {
                Piece::Literal(text) => out.extend_from_slice(text),
                Piece::Dynamic { offset, expr } => match expr.evaluate(scope, host) {
                    Ok(value) => value.emit(escape, out),
                    Err(error) => failures.push((*offset, error)),
                },
            }
        }
        failures
    }

    /// The text as a value: nothing is escaped, and it is tainted when a value in it is. For `entity`, headers and the
    /// paired assign. Text that would be larger than a value may be is no value: it is missing, and the failure is told.
    pub fn value(&self, scope: &mut Scope, host: &mut dyn Host) -> (Value, Failures) {
        if let [Piece::Literal(text)] = &self.pieces[..] {
            return (Value::text(text.clone()), Vec::new());
        }
        let mut tainted = false;
        let (text, failures) = self.join(scope, host, |value, out| {
            tainted |= value.is_tainted();
            value.append_text(out);
        });
        let value = match text {
            Some(text) => Value::Text {
                bytes: text.into(),
                tainted,
            },
            None => Value::Missing,
        };
        (value, failures)
    }

    /// The text as a URL, for `src` and `alt`: literal text as it is written; in values every byte that no URL may hold is
    /// percent-encoded. A URL with a part that failed is still given, without that part; `None` when it would be larger
    /// than a value may be.
    pub fn url(&self, scope: &mut Scope, host: &mut dyn Host) -> (Option<Bytes>, Failures) {
        let (text, failures) = self.join(scope, host, |value, out| {
            escape::append_url(&value.to_text(), out);
        });
        (text.map(Bytes::from), failures)
    }

    /// Puts the pieces together; nothing when that would be larger than a value may be.
    fn join(
        &self,
        scope: &mut Scope,
        host: &mut dyn Host,
        mut append: impl FnMut(&Value, &mut Vec<u8>),
    ) -> (Option<Vec<u8>>, Failures) {
        let mut text = Vec::new();
        let mut failures = Vec::new();
        for piece in &self.pieces {
            let mut place = 0;
            match piece {
                Piece::Literal(literal) => text.extend_from_slice(literal),
                Piece::Dynamic { offset, expr } => {
                    place = *offset;
                    match expr.evaluate(scope, host) {
                        Ok(value) => append(&value, &mut text),
                        Err(error) => failures.push((*offset, error)),
                    }
                }
            }
            if let Err(excess) = Excess::check_bytes(text.len(), scope.limits()) {
                failures.push((place, excess.into()));
                return (None, failures);
            }
        }
        (Some(text), failures)
    }

    fn dynamic(&self) -> impl Iterator<Item = (usize, &Expr)> {
        self.pieces.iter().filter_map(|piece| match piece {
            Piece::Literal(_) => None,
            Piece::Dynamic { offset, expr } => Some((*offset, expr)),
        })
    }
}

fn push_literal(pieces: &mut Vec<Piece>, text: Bytes) {
    if !text.is_empty() {
        pieces.push(Piece::Literal(text));
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::expr::{RequestFacts, World};

    fn cut(text: &str) -> Interpolation {
        Interpolation::parse(&Bytes::from(text.to_owned()), &Limits::default())
    }

    fn scope() -> Scope {
        let facts = RequestFacts {
            query: Bytes::from("a=<"),
            ..RequestFacts::default()
        };
        Scope::new(Arc::new(facts), Limits::default())
    }

    #[test]
    fn what_depends_on_nothing_is_carried_out_once() {
        assert_eq!(
            cut("a$upper('b')c").as_literal().as_deref(),
            Some(&b"aBc"[..])
        );
        assert_eq!(cut("").as_literal().as_deref(), Some(&b""[..]));
        assert_eq!(cut("a$(b)").as_literal(), None);
    }

    #[test]
    fn issues_and_references_are_those_of_all_pieces() {
        let text = cut("ab $lowr('x') $(c) $set_redirect($(d))");
        let issues: Vec<String> = text
            .issues()
            .iter()
            .map(|issue| format!("{}: {}", issue.offset, issue.kind))
            .collect();
        assert_eq!(issues, ["3: unknown function $lowr; $lower is known"]);
        assert_eq!(text.references().count(), 4);
        assert!(text.has_effects());
        assert!(cut("$set_redirect($(d))").has_effects());
        assert!(!cut("ab $(c)").has_effects());
    }

    #[test]
    fn a_value_is_tainted_when_a_part_is_and_nothing_in_it_is_escaped() {
        let mut scope = scope();
        let (value, failures) = cut("<b>$(QUERY_STRING{a})").value(&mut scope, &mut World::empty());
        assert_eq!(value, Value::tainted_text("<b><"));
        assert!(failures.is_empty());
        let (value, _) = cut("<b>$(nope|x)").value(&mut scope, &mut World::empty());
        assert_eq!(value, Value::text("<b>x"));
    }

    #[test]
    fn emitting_stops_when_there_is_enough() {
        let mut out = Vec::new();
        let text = cut("$(QUERY_STRING)b$(QUERY_STRING)c");
        text.emit(Escape::Html, 7, &mut scope(), &mut World::empty(), &mut out);
        assert_eq!(out, b"a=&lt;ba=&lt;");
    }

    #[test]
    fn a_value_too_large_is_no_value() {
        let text = cut(&"$(QUERY_STRING)".repeat(4));
        let limits = Limits {
            value_bytes: 10,
            ..Limits::default()
        };
        let mut scope = Scope::new(Arc::clone(scope().request()), limits);
        let (value, failures) = text.value(&mut scope, &mut World::empty());
        assert_eq!(value, Value::Missing);
        let excess = EvalError::Excess(Excess::Bytes { limit: 10 });
        assert_eq!(failures, [(45, excess.clone())]);
        let (url, failures) = text.url(&mut scope, &mut World::empty());
        assert_eq!(url, None);
        assert_eq!(failures, [(30, excess)]);
    }

    #[test]
    fn openers_in_any_number_are_text() {
        for opener in [
            "$(",
            "$(a|",
            "$(a{",
            "$(a{$(",
            "$f(",
            "$f(1,",
            "$f($(",
            "$f('",
            "$f('$f(\"",
            "$f([",
            "$",
        ] {
            let text = Bytes::from(opener.repeat(20_000));
            let cut = Interpolation::parse(&text, &Limits::default());
            assert_eq!(cut.as_literal(), Some(text), "{opener}");
        }
    }

    #[test]
    fn what_is_whole_inside_what_is_not_is_read() {
        let mut out = Vec::new();
        let text = cut("$f($upper('a'), $(nope $upper('b') $f( $(QUERY_STRING{a}|x)");
        text.emit(
            Escape::Html,
            1000,
            &mut scope(),
            &mut World::empty(),
            &mut out,
        );
        assert_eq!(String::from_utf8_lossy(&out), "$f(A, $(nope B $f( &lt;");
    }
}
