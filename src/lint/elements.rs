//! The elements of the language and the attributes that each of them knows, for suggestions and for what is written in vain.

use crate::diagnostic::nearest;

/// An element, its attributes, and whether it has content.
pub(super) struct Element {
    pub(super) name: &'static str,
    pub(super) attributes: &'static [&'static str],
    /// Whether an end tag belongs to it.
    pub(super) paired: bool,
}

const fn element(name: &'static str, attributes: &'static [&'static str], paired: bool) -> Element {
    Element {
        name,
        attributes,
        paired,
    }
}

/// All elements.
static ELEMENTS: [Element; 18] = [
    element(
        "include",
        &[
            "src",
            "alt",
            "onerror",
            "maxwait",
            "method",
            "entity",
            "setheader",
            "appendheader",
            "removeheader",
            "ttl",
            "no-store",
            "dca",
        ],
        false,
    ),
    element(
        "eval",
        &[
            "src",
            "onerror",
            "maxwait",
            "method",
            "entity",
            "setheader",
            "appendheader",
            "removeheader",
            "ttl",
            "no-store",
            "dca",
        ],
        false,
    ),
    element("inline", &["name", "fetchable"], true),
    element("choose", &[], true),
    element("when", &["test", "matchname"], true),
    element("otherwise", &[], true),
    element("try", &[], true),
    element("attempt", &[], true),
    element("except", &[], true),
    element("comment", &["text"], true),
    element("remove", &[], true),
    element("text", &[], true),
    element("vars", &["name"], true),
    element("assign", &["name", "value"], true),
    element("foreach", &["collection", "item"], true),
    element("break", &[], false),
    element("function", &["name"], true),
    element("return", &["value"], false),
];

/// The element of this name.
pub(super) fn find(name: &str) -> Option<&'static Element> {
    ELEMENTS.iter().find(|element| element.name == name)
}

/// The element that a mistyped name was meant to be.
pub(super) fn meant(name: &str) -> Option<&'static str> {
    nearest(name, ELEMENTS.iter().map(|element| element.name))
}
