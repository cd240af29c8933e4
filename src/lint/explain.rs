//! The issues of a template, told to its author: the place as exactly as it can be known, what is emitted instead, what to write.

use std::collections::HashSet;
use std::ops::Range;

use super::finding::Finding;
use super::page::Page;
use super::{dialects, directives, elements, expressions, malformed};
use crate::expr::AssignError;
use crate::template::survey::Piece;
use crate::template::{Issue, IssueKind};

/// All errors of a page. What is only an echo of another error is left out.
pub(super) fn errors(page: &Page) -> Vec<Finding> {
    let unknown: HashSet<&str> = page
        .template
        .issues()
        .iter()
        .filter_map(|issue| match &issue.kind {
            IssueKind::UnknownElement(name) => Some(name.as_str()),
            _ => None,
        })
        .collect();
    page.template
        .issues()
        .iter()
        .filter(|issue| match &issue.kind {
            IssueKind::StrayEnd(name) => !unknown.contains(name.as_str()),
            _ => true,
        })
        .filter_map(|issue| error(page, issue))
        .collect()
}

const NOTHING: &str = "nothing";
const DROPPED: &str = "nothing: it is dropped with its content";
/// What an include that always fails emits.
pub(super) const FAILED: &str =
    "what stands in for a failed include: `alt`, `<esi:except>`, else nothing";
const AS_IF_NOT_WRITTEN: &str = "its content, as if the tag was not written";

fn error(page: &Page, issue: &Issue) -> Option<Finding> {
    let span = issue.offset..issue.offset.saturating_add(issue.length);
    let error = |code, message: String| Finding::error(code, span.clone(), message);
    Some(match &issue.kind {
        IssueKind::MalformedTag(fault) => malformed::explain(page, span, *fault),
        IssueKind::UnknownElement(name) => unknown_element(span, name),
        IssueKind::StrayEnd(name) => stray_end(span, name),
        IssueKind::ClosedByOuter(element) => {
            error("closed-by-outer", format!("{} is closed by the end of an outer element", tag(element)))
                .emitted("its content, as if its end stood right before that end")
                .help(format!("write `</{element}>` before it"))
        }
        IssueKind::Unclosed(element) => unclosed(span, element),
        IssueKind::UnclosedBlock => {
            error("unclosed-block", "`<!--esi` without its `-->`".to_owned())
                .emitted("what follows, without `<!--esi`")
                .help("write `-->` where the block ends")
        }
        IssueKind::Misplaced { element, parent } => {
            error("misplaced-element", format!("{} outside {}", tag(element), tag(parent)))
                .emitted(DROPPED)
                .help(format!("put it directly into {}", tag(parent)))
        }
        IssueKind::BetweenBranches(parent) => between_branches(page, issue.offset, span, parent),
        IssueKind::Second(element) => {
            error("second-branch", format!("a second {} in one element", tag(element)))
                .emitted(DROPPED)
                .help("write one, or nest a second element")
        }
        IssueKind::Nesting(limit) => {
            error("nesting-too-deep", format!("elements nest deeper than {limit}"))
                .emitted(DROPPED)
                .help("move the inner part into a fragment of its own; `compose.limits.nesting` sets the limit")
        }
        IssueKind::MissingAttribute { element, attribute } => {
            missing_attribute(page, span, element, attribute)
        }
        IssueKind::BadValue { attribute, accepted } => {
            bad_value(page, issue.offset, attribute, accepted)
        }
        IssueKind::Expression(parse) => expressions::unreadable(page, issue.offset, parse),
        IssueKind::Suspect(suspect) => return expressions::suspect(page, issue.offset, suspect),
        IssueKind::Name(refusal) => bad_name(page, issue.offset, refusal),
        IssueKind::BuiltInFunction(name) => Finding::error(
            "built-in-function",
            page.value_span(issue.offset, "name"),
            format!("`${name}` is a function of the language and cannot be redefined"),
        )
        .emitted("nothing; calls reach the function of the language")
        .help("choose another name"),
        IssueKind::InFunction(element) => {
            error("include-in-function", format!("{} cannot stand in a function", tag(element)))
                .emitted(NOTHING)
                .help("put it where the function is called")
        }
        IssueKind::NothingToLeave(element) => nothing_to_leave(span, element),
        IssueKind::Directive(fault) => directives::explain(page, span, fault),
        IssueKind::TooLarge => error("document-too-large", issue.kind.to_string())
            .emitted("the page as it is, its tags too"),
        IssueKind::More(count) => error("more-errors", format!("{count} more errors")),
    })
}

/// An element of ESI as it is written, a directive as it is named.
fn tag(label: &str) -> String {
    if label.starts_with('#') {
        format!("`{label}`")
    } else {
        format!("`<{label}>`")
    }
}

fn unknown_element(span: Range<usize>, name: &str) -> Finding {
    let name_span = span.start + 1..span.start + "<esi:".len() + name.len();
    let (code, message, help) = match dialects::element(name) {
        Some(foreign) => (
            "foreign-element",
            format!(
                "`<esi:{name}>` belongs to {}, and is not known here",
                foreign.of
            ),
            Some(foreign.instead.to_owned()),
        ),
        None => (
            "unknown-element",
            format!("there is no element `<esi:{name}>`"),
            elements::meant(name).map(|meant| format!("did you mean `<esi:{meant}>`?")),
        ),
    };
    Finding::error(code, name_span, message)
        .emitted("its content, without the tags")
        .maybe_help(help)
}

fn stray_end(span: Range<usize>, name: &str) -> Finding {
    let known = elements::find(name);
    let help = match known {
        Some(element) if !element.paired => {
            format!("remove it: `<esi:{name}/>` has no content")
        }
        Some(_) => format!("remove it, or write `<esi:{name}>` where its content starts"),
        None => match elements::meant(name) {
            Some(meant) => format!("did you mean `</esi:{meant}>`?"),
            None => "remove it".to_owned(),
        },
    };
    let message = format!("`</esi:{name}>` without its start tag");
    Finding::error("stray-end-tag", span, message)
        .emitted(NOTHING)
        .help(help)
}

fn unclosed(span: Range<usize>, element: &str) -> Finding {
    let message = format!("{} is never closed", tag(element));
    let finding = Finding::error("unclosed-element", span, message)
        .emitted(AS_IF_NOT_WRITTEN)
        .help(format!("write `</{element}>` where it ends"));
    match element {
        "esi:assign" | "esi:comment" | "esi:vars" => {
            finding.help(format!("without content, write `<{element} …/>`"))
        }
        _ => finding,
    }
}

fn between_branches(page: &Page, offset: usize, span: Range<usize>, parent: &str) -> Finding {
    let bytes = page.bytes(span.clone());
    let space = bytes.len() - bytes.trim_ascii_start().len();
    let start = span.start + space;
    let span = start..start + bytes.trim_ascii().len();
    let (branches, what) = match parent {
        "esi:choose" => ("`<esi:when>` or `<esi:otherwise>`", "a choice"),
        _ => ("`<esi:attempt>` or `<esi:except>`", "an attempt"),
    };
    let subject = match page.piece(offset).and_then(Piece::element) {
        Some(element) => format!("`<esi:{element}>`"),
        None => "text".to_owned(),
    };
    let message = format!(
        "{subject} directly inside {}, beside its branches",
        tag(parent)
    );
    Finding::error("content-between-branches", span, message)
        .emitted(NOTHING)
        .help(format!(
            "put it into {branches}, or outside if it does not depend on {what}"
        ))
}

fn missing_attribute(page: &Page, span: Range<usize>, element: &str, attribute: &str) -> Finding {
    let written = page.piece(span.start).map(Piece::attributes);
    let slip = written.unwrap_or_default().iter().find(|written| {
        let name = String::from_utf8_lossy(&written.name);
        crate::diagnostic::nearest(&name, [attribute]).is_some()
    });
    let help = match slip {
        Some(slip) => format!(
            "`{}` is written; did you mean `{attribute}`?",
            String::from_utf8_lossy(&slip.name)
        ),
        None => format!("write `<{element} {attribute}=\"…\">`"),
    };
    let emitted = match element {
        "esi:include" | "esi:eval" => "what an `<esi:except>` says, else nothing: it fails",
        "esi:when" => "nothing: a test that is not there is false",
        "esi:assign" => "nothing, and nothing is assigned",
        "esi:return" => "the function's output: the tag is dropped",
        _ => DROPPED,
    };
    let message = format!("{} without `{attribute}`", tag(element));
    Finding::error("missing-attribute", span, message)
        .emitted(emitted)
        .help(help)
}

fn bad_value(page: &Page, offset: usize, attribute: &str, accepted: &str) -> Finding {
    let value = page
        .piece(offset)
        .and_then(|piece| piece.attribute(attribute));
    let written = value.map(|value| String::from_utf8_lossy(&value.value).into_owned());
    let written = written.unwrap_or_default();
    let emitted = match attribute {
        "item" | "name" => DROPPED,
        _ => "the element, as if the attribute was not written",
    };
    let message = format!("`{attribute}` cannot be {:?}", shortened(&written));
    Finding::error("bad-value", page.value_span(offset, attribute), message)
        .emitted(emitted)
        .help(format!("accepted: {accepted}"))
}

/// A text of the page as a message shows it.
pub(super) fn shortened(text: &str) -> String {
    const LONGEST: usize = 60;
    match text.char_indices().nth(LONGEST) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}

fn bad_name(page: &Page, offset: usize, refusal: &AssignError) -> Finding {
    let span = page.value_span(offset, "name");
    let written = String::from_utf8_lossy(page.bytes(span.clone())).into_owned();
    let finding = match refusal {
        AssignError::BuiltIn { name } => Finding::error(
            "built-in-variable",
            span,
            format!("`{name}` belongs to the request and cannot be assigned"),
        )
        .help("choose another name; those of the request start with `HTTP_`, `QUERY_` or `REQUEST_`"),
        _ => Finding::error(
            "bad-name",
            span,
            format!("{:?} is not the name of a variable", shortened(&written)),
        )
        .help("accepted: a letter or `_`, then letters, digits and `_`; for one entry `name{'key'}` or `name{0}`"),
    };
    finding.emitted("nothing, and nothing is assigned")
}

fn nothing_to_leave(span: Range<usize>, element: &str) -> Finding {
    let place = if element == "esi:break" {
        "foreach"
    } else {
        "function"
    };
    let message = format!("{} outside `<esi:{place}>`", tag(element));
    Finding::error("nothing-to-leave", span, message)
        .emitted(NOTHING)
        .help(format!("put it into `<esi:{place}>`, or remove it"))
}
