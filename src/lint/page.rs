//! A page as it is examined: its bytes, its template, its tags.

use std::collections::BTreeMap;
use std::ops::Range;

use bytes::Bytes;

use crate::expr::Name;
use crate::template::survey::{Attribute, Piece, PieceKind, survey};
use crate::template::tree::Node;
use crate::template::{Settings, Template, compile};

/// A page, read.
pub(super) struct Page {
    pub(super) template: Template,
    pub(super) pieces: Vec<Piece>,
    pub(super) settings: Settings,
    /// The document's own functions, each with the place of its first definition.
    pub(super) functions: BTreeMap<String, usize>,
    /// The variables that something in the document sets.
    pub(super) variables: Vec<String>,
    /// The contents of functions.
    function_bodies: Vec<Range<usize>>,
    /// The contents of `remove` and `comment`.
    dropped: Vec<Range<usize>>,
    /// Whether an `eval` may bring variables and functions that cannot be seen here.
    pub(super) evaluates: bool,
}

impl Page {
    pub(super) fn read(document: Bytes, settings: &Settings) -> Self {
        let pieces = survey(&document, settings);
        let template = compile(document, settings);
        let mut page = Self {
            evaluates: template
                .nodes()
                .iter()
                .any(|node| matches!(node, Node::Eval(_))),
            functions: BTreeMap::new(),
            variables: Vec::new(),
            function_bodies: contents(&pieces, &["function"]),
            dropped: contents(&pieces, &["remove", "comment"]),
            template,
            pieces,
            settings: settings.clone(),
        };
        page.functions = page.defined();
        page.variables = page.assigned();
        page
    }

    /// The names of functions that survived compilation, with the place of their tag.
    fn defined(&self) -> BTreeMap<String, usize> {
        let nodes = self.template.nodes().iter();
        let mut names: BTreeMap<String, usize> = nodes
            .filter_map(|node| match node {
                Node::Function(function) => Some((function.name.to_string(), usize::MAX)),
                _ => None,
            })
            .collect();
        for piece in &self.pieces {
            let name = piece.attribute("name").map(|name| &name.value[..]);
            let name = name.and_then(|name| std::str::from_utf8(name).ok());
            if let (Some("function"), Some(name)) = (piece.element(), name)
                && let Some(place) = names.get_mut(name)
            {
                *place = piece.span.start.min(*place);
            }
        }
        names
    }

    fn assigned(&self) -> Vec<String> {
        let mut names: Vec<String> = self
            .template
            .nodes()
            .iter()
            .flat_map(|node| match node {
                Node::Assign(assign) => vec![self.template.assign(*assign).target.name()],
                Node::Foreach(foreach) => vec![&foreach.item],
                Node::Choose(choose) => {
                    let branches = self.template.branches(choose).iter();
                    branches.filter_map(|when| when.captures.as_ref()).collect()
                }
                _ => Vec::new(),
            })
            .map(Name::to_string)
            .collect();
        names.sort();
        names.dedup();
        names
    }

    pub(super) fn document(&self) -> &Bytes {
        self.template.document()
    }

    /// The bytes of a span, as far as it lies in the document.
    pub(super) fn bytes(&self, span: Range<usize>) -> &[u8] {
        self.document().get(span).unwrap_or_default()
    }

    /// Whether this byte stands in the body of a function.
    pub(super) fn in_function(&self, offset: usize) -> bool {
        holds(&self.function_bodies, offset)
    }

    /// Whether this byte stands where nothing is evaluated.
    pub(super) fn is_dropped(&self, offset: usize) -> bool {
        holds(&self.dropped, offset)
    }

    /// Whether something in the document sets this variable.
    pub(super) fn sets(&self, variable: &str) -> bool {
        let names = &self.variables;
        names
            .binary_search_by(|name| name.as_str().cmp(variable))
            .is_ok()
    }

    /// The piece that holds this byte.
    pub(super) fn piece(&self, offset: usize) -> Option<&Piece> {
        let behind = self
            .pieces
            .partition_point(|piece| piece.span.start <= offset);
        let piece = self.pieces.get(behind.checked_sub(1)?)?;
        (offset < piece.span.end).then_some(piece)
    }

    /// The place of an attribute's value, else that of the tag.
    pub(super) fn value_span(&self, tag: usize, attribute: &str) -> Range<usize> {
        let Some(piece) = self.piece(tag) else {
            return tag..tag + 1;
        };
        let value = piece.attribute(attribute).and_then(Attribute::value_span);
        value.unwrap_or_else(|| piece.span.clone())
    }
}

/// The contents of these elements, inner ones of the same kind left out.
fn contents(pieces: &[Piece], elements: &[&str]) -> Vec<Range<usize>> {
    let named = |name: &[u8]| elements.iter().any(|element| element.as_bytes() == name);
    let mut open = Vec::new();
    let mut contents = Vec::new();
    for piece in pieces {
        match &piece.kind {
            PieceKind::Start { name, closed, .. } if !closed && named(name) => {
                open.push(piece.span.end);
            }
            PieceKind::End(name) if named(name) => {
                if let Some(start) = open.pop()
                    && open.is_empty()
                {
                    contents.push(start..piece.span.start);
                }
            }
            _ => {}
        }
    }
    contents
}

/// Whether one of these ranges, which stand in order, holds this byte.
fn holds(ranges: &[Range<usize>], offset: usize) -> bool {
    let behind = ranges.partition_point(|range| range.start <= offset);
    let last = behind.checked_sub(1).and_then(|index| ranges.get(index));
    last.is_some_and(|range| offset < range.end)
}

impl Piece {
    /// The element that this start tag names, without `esi:`.
    pub(super) fn element(&self) -> Option<&str> {
        match &self.kind {
            // Names of elements are ASCII, or the tag would be malformed.
            PieceKind::Start { name, .. } => std::str::from_utf8(name).ok(),
            _ => None,
        }
    }

    /// The attributes or parameters of a tag.
    pub(super) fn attributes(&self) -> &[Attribute] {
        match &self.kind {
            PieceKind::Start { attributes, .. } | PieceKind::Directive(_, attributes) => attributes,
            _ => &[],
        }
    }

    /// The attribute or parameter of this name.
    pub(super) fn attribute(&self, name: &str) -> Option<&Attribute> {
        self.attributes()
            .iter()
            .find(|attribute| attribute.name == name.as_bytes())
    }
}

impl Attribute {
    pub(super) fn name_span(&self) -> Option<Range<usize>> {
        self.name_at.map(|at| at..at + self.name.len())
    }

    pub(super) fn value_span(&self) -> Option<Range<usize>> {
        self.value_at.map(|at| at..at + self.value.len())
    }
}
