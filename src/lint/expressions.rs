//! What is wrong with expressions: those that cannot be read, and parts that fail whenever they are evaluated.

use std::ops::Range;

use super::finding::Finding;
use super::page::Page;
use crate::expr::error::ParseErrorKind;
use crate::expr::{EvalError, IssueKind, ParseError};
use crate::template::survey::{Attribute, Piece};

/// An expression that cannot be read.
pub(super) fn unreadable(page: &Page, offset: usize, error: &ParseError) -> Finding {
    let (span, element) = place(page, offset);
    let emitted = match element {
        Some("when") => "nothing: a test that cannot be read is false",
        Some("assign") => "nothing, and nothing is assigned",
        Some("foreach") => "nothing: the loop is dropped with its content",
        _ => "the function's output: the tag is dropped",
    };
    let message = format!("this expression cannot be read: {}", error.kind);
    Finding::error("bad-expression", span, message)
        .emitted(emitted)
        .maybe_help(slip(&error.kind))
}

/// What is commonly meant by what cannot be read.
fn slip(kind: &ParseErrorKind) -> Option<String> {
    let ParseErrorKind::Unexpected { found, .. } = kind else {
        return match kind {
            ParseErrorKind::UnclosedString { quote } => {
                Some(format!("write {quote} where the string ends"))
            }
            ParseErrorKind::TooLong { .. } | ParseErrorKind::TooDeep { .. } => {
                Some("assign parts of it to variables first".to_owned())
            }
            _ => None,
        };
    };
    let found = found.trim_matches(['`', '"', '\'']);
    let help = match &found.to_ascii_lowercase()[..] {
        "=" | "eq" => "compare with `==`",
        "ne" => "compare with `!=`",
        "and" => "join tests with `&`",
        "or" => "join tests with `|`",
        "not" => "write `!` before the comparison",
        "true" | "false" => "write a string, `'true'`: a comparison gives `true` or `false`",
        "the end" => "something is missing before this",
        word if word.starts_with(|first: char| first.is_ascii_alphabetic()) => {
            return Some(format!(
                "write `'{found}'` for a string, `$({found})` for a variable"
            ));
        }
        _ => return None,
    };
    Some(help.to_owned())
}

/// What can be read and looks wrong; nothing when the document makes it right.
pub(super) fn suspect(page: &Page, offset: usize, kind: &IssueKind) -> Option<Finding> {
    let (span, element) = place(page, offset);
    let emitted = match element {
        Some("when") => "nothing: a test that fails is false",
        Some("assign") => "nothing, and the variable keeps its value",
        Some("foreach") => "nothing: the loop does not begin",
        _ => "nothing in its place",
    };
    let finding = match kind {
        IssueKind::NotBuiltIn { name, nearest } => {
            unknown_function(page, offset, span, name.as_str(), *nearest)?
        }
        IssueKind::Fails(EvalError::Pattern { reason }) => {
            let message = format!("this regular expression cannot be used: {reason}");
            Finding::error("bad-pattern", span, message).help(
                "accepted: the syntax of Rust's `regex`, without look-around and references back",
            )
        }
        IssueKind::Fails(error) => {
            let message = format!("this fails whenever it is evaluated: {error}");
            Finding::error("failing-expression", span, message)
        }
    };
    Some(finding.emitted(emitted))
}

fn unknown_function(
    page: &Page,
    offset: usize,
    span: Range<usize>,
    name: &str,
    nearest: Option<&str>,
) -> Option<Finding> {
    if let Some(defined) = page.functions.get(name) {
        // The body of a function is evaluated where it is called, when all may be defined.
        if *defined < offset || page.in_function(offset) {
            return None;
        }
        let message = format!("`${name}` is called before its definition");
        let finding = Finding::error("function-before-definition", span, message);
        return Some(finding.help("move the `<esi:function>` before its first call"));
    }
    let finding = if page.evaluates {
        let message = format!("`${name}` is not defined in this document");
        Finding::warning("unknown-function", span, message)
            .help("this is right if the fragment of an `<esi:eval>` before it defines it")
    } else {
        let message = format!("there is no function `${name}`");
        Finding::error("unknown-function", span, message)
    };
    let own = || {
        let names = page.functions.keys().take(100).map(String::as_str);
        crate::diagnostic::nearest(name, names)
    };
    Some(match nearest.or_else(own) {
        Some(known) => finding.help(format!("did you mean `${known}`?")),
        None => finding.help(format!(
            "define it before this with `<esi:function name=\"{name}\">`"
        )),
    })
}

/// The token at an offset of a tag or text, and the element in which it stands. Where the tag was decoded to be read, the
/// offset counts in decoded text: then the tag itself is meant.
fn place(page: &Page, offset: usize) -> (Range<usize>, Option<&str>) {
    let Some(piece) = page.piece(offset) else {
        return (offset..offset + 1, None);
    };
    let holds = |attribute: &Attribute| {
        let span = attribute.value_span();
        span.is_some_and(|span| (span.start..=span.end).contains(&offset))
    };
    let element = piece.element();
    if element.is_some() && !piece.attributes().iter().any(holds) {
        return (piece.span.clone(), element);
    }
    (token(page, piece, offset), element)
}

/// A name, with its `$`, or one byte.
fn token(page: &Page, piece: &Piece, offset: usize) -> Range<usize> {
    let rest = page.bytes(offset..piece.span.end);
    let dollar = usize::from(rest.first() == Some(&b'$'));
    let name = rest.iter().skip(dollar);
    let name = name
        .take_while(|byte| byte.is_ascii_alphanumeric() || **byte == b'_')
        .take(256)
        .count();
    offset..offset + (dollar + name).max(1)
}
