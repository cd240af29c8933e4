//! The tags of a document one by one, for tools that look at a page and do not serve it.
//!
//! A [`Template`] no longer knows what it has dropped: comments, attributes that mean nothing, tags in branches
//! that cannot be. A survey shows them as they are written, each with its place. It is made beside the template, from the same
//! tokens, so both see the same tags.

use std::ops::Range;

use bytes::Bytes;

use super::esi::{place_in, shared};
use super::grammar::Writing;
use super::issue::Issues;
use super::scan::{self, TokenKind};
use super::tree::{Node, Template};
use super::{Settings, directive};

/// A piece of a document. Pieces stand in its order; between them lies what is dropped: malformed tags, the markers of ESI
/// blocks, the tags of `esi:text`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Piece {
    /// Its bytes in the document.
    pub span: Range<usize>,
    /// What it is.
    pub kind: PieceKind,
}

/// What a piece is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PieceKind {
    /// Text in which `$(…)` may mean something.
    Text,
    /// Comments, CDATA and the content of `esi:text`, less the directives in them.
    Verbatim,
    /// A start tag.
    Start {
        /// The name without `esi:`.
        name: Bytes,
        /// In the order of writing.
        attributes: Vec<Attribute>,
        /// Whether `/` stands before its `>`.
        closed: bool,
    },
    /// An end tag: the name without `esi:`.
    End(Bytes),
    /// A directive: its command and parameters, values as they stand between their quotes.
    Directive(Bytes, Vec<Attribute>),
    /// A directive that breaks the grammar, and the first byte at which it does.
    BrokenDirective(usize),
}

/// An attribute or parameter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Attribute {
    /// Its name.
    pub name: Bytes,
    /// Its value, decoded.
    pub value: Bytes,
    /// Where its name starts in the document; unknown where the tag had to be decoded to be read.
    pub name_at: Option<usize>,
    /// Where its value starts, when it stands there exactly like this and is not empty.
    pub value_at: Option<usize>,
}

impl Template {
    /// The nodes of all bodies, inner ones before those that hold them.
    pub fn nodes(&self) -> &[Node] {
        &self.nodes
    }
}

/// All pieces of a document. Linear in its length.
pub fn survey(document: &Bytes, settings: &Settings) -> Vec<Piece> {
    if u32::try_from(document.len()).is_err() {
        return Vec::new();
    }
    let attribute = |(name, value): (&[u8], &[u8])| Attribute {
        name: shared(document, name),
        value: shared(document, value),
        name_at: place_in(document, name),
        value_at: place_in(document, value),
    };
    // What is wrong with the tags stands in the template.
    let tokens = scan::scan(document, settings, &mut Issues::default());
    let pieces = tokens.list.iter().map(|token| Piece {
        kind: match &token.kind {
            TokenKind::Text => PieceKind::Text,
            TokenKind::Verbatim => PieceKind::Verbatim,
            TokenKind::Start(tag) => PieceKind::Start {
                attributes: tokens
                    .attributes(tag)
                    .0
                    .iter()
                    .map(|written| attribute((&written.name, &written.value)))
                    .collect(),
                name: shared(document, tag.name),
                closed: tag.closed,
            },
            TokenKind::End(name, _) => PieceKind::End(shared(document, name)),
            TokenKind::Directive(number) => {
                let tag = tokens.directive(*number);
                match &tag.directive {
                    Ok(read) => {
                        let parameters =
                            read.parameters.iter().map(|p| (&p.name[..], &p.value[..]));
                        let parameters = parameters.map(attribute).collect();
                        PieceKind::Directive(read.command.clone(), parameters)
                    }
                    Err(_) => broken(document, settings, token.start, tag.in_string),
                }
            }
        },
        span: token.start..token.end,
    });
    pieces.collect()
}

/// Where the directive that starts at `start` breaks the grammar: it is read once more, since its token keeps the fault alone.
fn broken(document: &Bytes, settings: &Settings, start: usize, in_string: bool) -> PieceKind {
    let writing = if in_string {
        Writing::JsonString
    } else {
        Writing::Plain
    };
    let inside = start + "<!--#".len();
    let read = directive::read(document, inside, settings.longest_tag, writing);
    PieceKind::BrokenDirective(read.map_or_else(|broken| broken.at, |read| read.end))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_know_their_places() {
        let document =
            Bytes::from_static(b"a<esi:include src='/x' alt=&amp; b/><!-- --><!--#echo var -->");
        let pieces = survey(&document, &Settings::default());
        let texts: Vec<&[u8]> = pieces.iter().map(|p| &document[p.span.clone()]).collect();
        assert_eq!(texts[0], b"a");
        assert_eq!(texts[2], b"<!-- -->");
        let PieceKind::Start {
            name, attributes, ..
        } = &pieces[1].kind
        else {
            panic!("{pieces:?}");
        };
        assert_eq!(name, "include");
        let rows: Vec<_> = attributes
            .iter()
            .map(|a| (&a.name[..], &a.value[..], a.name_at, a.value_at))
            .collect();
        let wanted: [(&[u8], &[u8], _, _); 3] = [
            (b"src", b"/x", Some(14), Some(19)),
            (b"alt", b"&", Some(23), None),
            (b"b", b"", Some(33), None),
        ];
        assert_eq!(rows, wanted);
        assert_eq!(pieces[3].kind, PieceKind::BrokenDirective(58));
    }
}
