//! Warnings about tags as they are written: attributes that mean nothing, `vars` that emits a name instead of a value.

use super::finding::Finding;
use super::page::Page;
use super::{Warnings, dialects, elements};
use crate::diagnostic::nearest;
use crate::template::survey::{Attribute, Piece};

/// Looks at every start tag that is carried out.
pub(super) fn warn(page: &Page, warnings: &mut Warnings) {
    for piece in &page.pieces {
        let Some(element) = piece.element().and_then(elements::find) else {
            continue;
        };
        if page.is_dropped(piece.span.start) {
            continue;
        }
        for attribute in piece.attributes() {
            if let Some(finding) = attribute_in_vain(piece, element, attribute) {
                warnings.add(finding);
            }
        }
        if element.name == "vars"
            && let Some(finding) = name_without_reference(piece)
        {
            warnings.add(finding);
        }
    }
}

fn attribute_in_vain(
    piece: &Piece,
    element: &elements::Element,
    attribute: &Attribute,
) -> Option<Finding> {
    let name = std::str::from_utf8(&attribute.name).ok()?;
    if element.attributes.contains(&name) {
        return None;
    }
    let span = attribute.name_span().unwrap_or_else(|| piece.span.clone());
    let tag = format!("`<esi:{}>`", element.name);
    let finding = if let Some(foreign) = dialects::attribute(name) {
        let message = format!("`{name}` belongs to {}, and means nothing here", foreign.of);
        Finding::warning("foreign-attribute", span, message).help(foreign.instead)
    } else {
        let message = format!("{tag} has no attribute `{name}`");
        let finding = Finding::warning("unknown-attribute", span, message);
        match nearest(name, element.attributes.iter().copied()) {
            Some(meant) => finding.help(format!("did you mean `{meant}`?")),
            None if element.attributes.is_empty() => finding.help("remove it"),
            None => finding.help(format!("known are: {}", element.attributes.join(", "))),
        }
    };
    Some(finding.emitted("the element, as if the attribute was not written"))
}

fn name_without_reference(piece: &Piece) -> Option<Finding> {
    let name = piece.attribute("name")?;
    if name.value.contains(&b'$') || name.value.is_empty() {
        return None;
    }
    let text = String::from_utf8_lossy(&name.value).into_owned();
    let span = name.value_span().unwrap_or_else(|| piece.span.clone());
    let message = "this is text, no reference";
    let text = super::explain::shortened(&text);
    let finding = Finding::warning("vars-without-reference", span, message);
    Some(
        finding
            .emitted(format!("{text:?} itself"))
            .help(format!("write `<esi:vars name=\"$({text})\"/>`")),
    )
}
