//! The faults of SSI directives, told to the author of the page.

use std::ops::Range;

use super::dialects;
use super::explain::shortened;
use super::finding::Finding;
use super::page::Page;
use crate::diagnostic::nearest;
use crate::template::issue::DirectiveFault;
use crate::template::survey::{Attribute, Piece, PieceKind};

const COMMANDS: [&str; 10] = [
    "include", "block", "endblock", "echo", "set", "if", "elif", "else", "endif", "config",
];

/// The parameters of a command.
fn parameters(command: &str) -> &'static [&'static str] {
    match command {
        "include" => &["virtual", "file", "stub", "wait", "set"],
        "block" => &["name"],
        "echo" => &["var", "encoding", "default"],
        "set" => &["var", "value"],
        "if" | "elif" => &["expr"],
        "config" => &["errmsg", "timefmt"],
        _ => &[],
    }
}

/// A directive that cannot be carried out.
pub(super) fn explain(page: &Page, span: Range<usize>, fault: &DirectiveFault) -> Finding {
    let piece = page.piece(span.start);
    let finding = match fault {
        DirectiveFault::Grammar => malformed(page, span, piece),
        DirectiveFault::TooManyParameters => {
            Finding::error("too-many-parameters", span, fault.to_string())
        }
        DirectiveFault::Unknown(command) => unknown(span, piece, command),
        DirectiveFault::Parameter { command, parameter } => {
            unknown_parameter(span, piece, command, parameter)
        }
        DirectiveFault::Duplicate { command } => {
            let message = format!("`#{command}` has the same parameter twice");
            let again = piece.and_then(second).unwrap_or(span);
            Finding::error("duplicate-parameter", again, message).help("remove one of the two")
        }
        DirectiveFault::Missing { command, parameter } => missing(span, piece, command, parameter),
        DirectiveFault::Together {
            command,
            parameters,
        } => {
            let message = format!("`#{command}` does not take {parameters} together");
            Finding::error("conflicting-parameters", span, message).help("remove one of the two")
        }
        DirectiveFault::Value {
            command,
            parameter,
            accepted,
        } => {
            let written = piece.and_then(|piece| piece.attribute(parameter));
            let text = written.map(|written| String::from_utf8_lossy(&written.value).into_owned());
            let text = text.unwrap_or_default();
            let place = page.value_span(span.start, parameter);
            let message = format!(
                "`{parameter}` of `#{command}` cannot be {:?}",
                shortened(&text)
            );
            Finding::error("bad-value", place, message).help(format!("accepted: {accepted}"))
        }
        DirectiveFault::Stray(command) => {
            let message = match *command {
                "else" | "elif" => format!("`#{command}` without `#if`, or behind its `#else`"),
                _ => format!("`#{command}` without its start"),
            };
            let start = if *command == "endblock" {
                "block"
            } else {
                "if"
            };
            Finding::error("stray-directive", span, message).help(format!(
                "remove it, or write `<!--#{start} … -->` before it"
            ))
        }
        DirectiveFault::Unclosed(command) => {
            let message = format!("`#{command}` is never closed");
            let first = if *command == "if" {
                ", up to its `#elif` or `#else`"
            } else {
                ""
            };
            return Finding::error("unclosed-directive", span, message)
                .emitted(format!("the error message, then its content{first}"))
                .help(format!("write `<!--#end{command} -->` where it ends"));
        }
        DirectiveFault::Condition(reason) => {
            let message = format!("this condition cannot be read: {reason}");
            Finding::error("bad-condition", page.value_span(span.start, "expr"), message).help(
                "accepted: `$v`, `$v = text`, `$v != text`, `$v = /regex/`, joined by `!`, `&&`, `||`, parentheses",
            )
        }
        DirectiveFault::Pattern(reason) => {
            let message = format!("this regular expression cannot be used: {reason}");
            Finding::error("bad-pattern", page.value_span(span.start, "expr"), message).help(
                "accepted: the syntax of Rust's `regex`, without look-around and references back",
            )
        }
    };
    let emitted = match fault {
        DirectiveFault::Condition(_) | DirectiveFault::Pattern(_) => {
            "the error message, and the branch is not taken"
        }
        _ => {
            "the error message, [an error occurred while processing the directive] unless `#config` has set another"
        }
    };
    finding.emitted(emitted)
}

fn malformed(page: &Page, span: Range<usize>, piece: Option<&Piece>) -> Finding {
    let at = match piece.map(|piece| &piece.kind) {
        Some(PieceKind::BrokenDirective(at)) => *at,
        _ => span.start,
    };
    let (message, help) = match page.document().get(at) {
        _ if at <= span.start + "<!--#".len() => (
            "a directive without its name".to_owned(),
            "write `<!--#name parameter=\"value\" -->`; for a comment put a space before `#`",
        ),
        None => (
            "the document ends inside this directive".to_owned(),
            "write `-->` where it ends",
        ),
        Some(quote @ (b'"' | b'\'')) => (
            format!("this value is never closed by `{}`", char::from(*quote)),
            "write the closing quote; inside the value write `\\` before a quote",
        ),
        Some(_) => (
            "this directive breaks its grammar here".to_owned(),
            "write `<!--#name parameter=\"value\" -->`: values in quotes, white space between parameters",
        ),
    };
    let place = if at < page.document().len() {
        at..at + 1
    } else {
        span
    };
    Finding::error("malformed-directive", place, message).help(help)
}

fn unknown(span: Range<usize>, piece: Option<&Piece>, command: &str) -> Finding {
    let place = match piece.map(|piece| &piece.kind) {
        // Between `#` and the command stands nothing but white space.
        Some(PieceKind::Directive(_, _)) => span.start..span.start + "<!--#".len() + command.len(),
        _ => span,
    };
    if let Some(foreign) = dialects::directive(command) {
        let message = format!(
            "`#{command}` belongs to {}, and is not carried out here",
            foreign.of
        );
        return Finding::error("foreign-directive", place, message).help(foreign.instead);
    }
    let help = nearest(command, COMMANDS).map(|meant| format!("did you mean `#{meant}`?"));
    Finding::error(
        "unknown-directive",
        place,
        format!("there is no directive `#{command}`"),
    )
    .maybe_help(help)
}

fn unknown_parameter(
    span: Range<usize>,
    piece: Option<&Piece>,
    command: &str,
    parameter: &str,
) -> Finding {
    let written = piece.and_then(|piece| piece.attribute(parameter));
    let place = written.and_then(Attribute::name_span).unwrap_or(span);
    if let Some(foreign) = dialects::parameter(parameter) {
        let of = foreign.of;
        let message =
            format!("`{parameter}` of `#{command}` belongs to {of}, and is not known here");
        return Finding::error("foreign-parameter", place, message).help(foreign.instead);
    }
    let known = parameters(command);
    let help = match nearest(parameter, known.iter().copied()) {
        Some(meant) => format!("did you mean `{meant}`?"),
        None if known.is_empty() => format!("`#{command}` takes none: remove it"),
        None => format!("accepted: {}", known.join(", ")),
    };
    let message = format!("`#{command}` takes no parameter `{parameter}`");
    Finding::error("unknown-parameter", place, message).help(help)
}

fn missing(span: Range<usize>, piece: Option<&Piece>, command: &str, parameter: &str) -> Finding {
    let written = piece.map(Piece::attributes).unwrap_or_default();
    // The compiler tells unknown parameters first, so what is written is known.
    let message = match (command, written.is_empty()) {
        ("include", _) => "`#include` without `virtual` or `file`".to_owned(),
        _ => format!("`#{command}` without `{parameter}`"),
    };
    Finding::error("missing-parameter", span, message)
        .help(format!("write `<!--#{command} {parameter}=\"…\" -->`"))
}

/// The name of the first parameter that has stood there before.
fn second(piece: &Piece) -> Option<Range<usize>> {
    let written = piece.attributes();
    let again = written.iter().enumerate().find(|(index, parameter)| {
        written[..*index]
            .iter()
            .any(|earlier| earlier.name == parameter.name)
    });
    again.and_then(|(_, parameter)| parameter.name_span())
}
