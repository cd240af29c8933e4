//! Warnings about what stands between tags: references where they are only text, tags in upper case or in comments.

use memchr::{memchr, memchr_iter, memmem};

use super::Warnings;
use super::finding::Finding;
use super::page::Page;
use crate::expr::functions::is_built_in;
use crate::expr::{Expr, Interpolation, Piece as TextPiece, Reference};
use crate::template::survey::{Piece, PieceKind};
use crate::template::tree::Node;

/// Looks at all text and all comments that are emitted.
pub(super) fn warn(page: &Page, warnings: &mut Warnings) {
    if !page.settings.dialects.esi {
        return;
    }
    let emitted = Emitted::of(page);
    let mut before = 0;
    for piece in &page.pieces {
        let start = piece.span.start;
        if !page.is_dropped(start) {
            match &piece.kind {
                PieceKind::Text => {
                    upper_case(page, piece, warnings);
                    references(page, piece, &emitted, warnings);
                }
                PieceKind::Verbatim => comment(page, piece, before == start, warnings),
                _ => {}
            }
        }
        before = piece.span.end;
    }
}

/// The text that leaves as it is written, in the order of the document.
struct Emitted(Vec<(usize, usize)>);

impl Emitted {
    fn of(page: &Page) -> Self {
        let nodes = page.template.nodes().iter();
        let mut spans: Vec<(usize, usize)> = nodes
            .filter_map(|node| match node {
                Node::Text(span) => Some((span.start as usize, span.end as usize)),
                _ => None,
            })
            .collect();
        spans.sort_unstable();
        Self(spans)
    }

    fn holds(&self, offset: usize) -> bool {
        let behind = self.0.partition_point(|(start, _)| *start <= offset);
        let last = behind.checked_sub(1).and_then(|index| self.0.get(index));
        last.is_some_and(|(_, end)| offset < *end)
    }
}

/// References that are emitted as text, since nothing around them interpolates. Pages are full of `$(document)` and the like
/// in scripts; so only names that this language knows are told.
fn references(page: &Page, piece: &Piece, emitted: &Emitted, warnings: &mut Warnings) {
    let text = page.document().slice(piece.span.clone());
    if memchr(b'$', &text).is_none() {
        return;
    }
    let interpolation = Interpolation::parse(&text, &page.settings.expressions);
    for found in interpolation.pieces() {
        let TextPiece::Dynamic { offset, expr } = found else {
            continue;
        };
        let at = piece.span.start + offset;
        if warnings.is_full() || !emitted.holds(at) || !is_ours(page, expr) {
            continue;
        }
        let rest = page.bytes(at..piece.span.end.min(at + 256));
        let length = memchr(b')', rest).map_or(2, |end| end + 1);
        let message = "outside `<esi:vars>` this is text";
        let finding = Finding::warning("variable-outside-vars", at..at + length, message);
        warnings.add(
            finding
                .emitted("these characters")
                .help("put `<esi:vars>` and `</esi:vars>` around it"),
        );
    }
}

fn is_ours(page: &Page, expr: &Expr) -> bool {
    expr.references().any(|reference| match reference {
        Reference::Variable(name) => name.is_built_in() || page.sets(name.as_str()),
        Reference::BuiltIn(name) => is_built_in(name.as_bytes()),
        Reference::Own(name) => page.functions.contains_key(name.as_str()),
    })
}

fn upper_case(page: &Page, piece: &Piece, warnings: &mut Warnings) {
    let text = page.bytes(piece.span.clone());
    for at in memchr_iter(b'<', text) {
        let rest = &text[at + 1..];
        let Some(prefix) = rest.get(..4) else {
            return;
        };
        if !prefix.eq_ignore_ascii_case(b"esi:") {
            continue;
        }
        let name = rest[4..].iter();
        let name = name
            .take_while(|byte| byte.is_ascii_alphanumeric())
            .take(64);
        let name = String::from_utf8_lossy(&name.copied().collect::<Vec<_>>()).into_owned();
        let start = piece.span.start + at;
        let span = start..start + "<esi:".len() + name.len();
        let message = "ESI tags are written in lower case; this is text";
        let finding = Finding::warning("upper-case-tag", span, message);
        warnings.add(
            finding
                .emitted("the tag, to the browser")
                .help(format!("write `<esi:{}`", name.to_ascii_lowercase())),
        );
    }
}

/// ESI tags in comments and CDATA do not run. `joined` says whether the piece goes on where another ended, as the rest of a
/// comment does behind a directive.
fn comment(page: &Page, piece: &Piece, joined: bool, warnings: &mut Warnings) {
    let text = page.bytes(piece.span.clone());
    let rest = page.bytes(piece.span.end..page.document().len());
    let is_content = [&b"</esi:text"[..], b"<\\/esi:text"]
        .iter()
        .any(|end| rest.starts_with(end));
    // The content of `esi:text` stands between tags that are no pieces.
    if is_content && !joined {
        return;
    }
    let Some(at) = memmem::find(text, b"<esi:") else {
        return;
    };
    let name = text[at + 5..].iter();
    let name = name
        .take_while(|byte| byte.is_ascii_alphanumeric())
        .take(64);
    let start = piece.span.start + at;
    let span = start..start + "<esi:".len() + name.count();
    let finding = if text.starts_with(b"<![CDATA[") {
        let message = "ESI tags in CDATA do not run";
        Finding::warning("tag-in-cdata", span, message)
            .help("end the section before the tag and open another one behind it")
    } else {
        let message = "ESI tags in comments do not run";
        Finding::warning("tag-in-comment", span, message).help(
            "to have it run write `<!--esi … -->`; to hide it from browsers too, `<esi:remove>`",
        )
    };
    warnings.add(finding.emitted("the tag, as it is written"));
}
