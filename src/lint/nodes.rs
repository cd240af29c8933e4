//! Warnings that follow from what a page means: the walk over its nodes, and tests that always give the same.

use std::collections::BTreeMap;
use std::ops::Range;

use super::Warnings;
use super::finding::Finding;
use super::includes::blocks;
use super::page::Page;
use crate::expr::Piece as TextPiece;
use crate::template::condition::{Comparison, Condition};
use crate::template::tree::{Assigned, Body, Choose, Node};

/// Looks at every node of the page.
pub(super) fn warn(page: &Page, warnings: &mut Warnings) {
    let mut walk = Walk {
        page,
        warnings,
        blocks: blocks(page),
        bodies: vec![(page.template.root(), false)],
    };
    // Bodies wait on a list and not on the stack of the thread: the page decides how deep they nest.
    while let Some((body, guarded)) = walk.bodies.pop() {
        for node in page.template.body(body) {
            walk.node(node, guarded);
        }
    }
}

/// A page on the way through its nodes; what includes and variables ask stands in `includes` and `variables`.
pub(super) struct Walk<'p, 'w> {
    pub(super) page: &'p Page,
    pub(super) warnings: &'w mut Warnings,
    /// The name of each `#block`, and where it first stands.
    pub(super) blocks: BTreeMap<&'p [u8], usize>,
    /// Bodies still to be seen, and whether an attempt stands around them.
    bodies: Vec<(Body, bool)>,
}

impl Walk<'_, '_> {
    fn node(&mut self, node: &Node, guarded: bool) {
        match node {
            Node::Include(include) | Node::Eval(include) => self.include(include, guarded),
            Node::Choose(choose) => self.choose(choose, guarded),
            Node::Try(attempt) => {
                self.bodies.push((attempt.attempt, true));
                self.bodies
                    .extend(attempt.except.map(|body| (body, guarded)));
            }
            Node::If(choice) => {
                for branch in &choice.branches {
                    if let Some(truth) = branch.condition.as_ref().and_then(constant) {
                        let span = self.page.value_span(branch.offset, "expr");
                        self.constant_test(span, truth, SSI_TEST);
                    }
                    self.bodies.push((branch.body, guarded));
                }
                self.bodies
                    .extend(choice.otherwise.map(|body| (body, guarded)));
            }
            Node::Inline(inline) => self.bodies.push((inline.body, guarded)),
            Node::Function(function) => self.bodies.push((function.body, guarded)),
            Node::Block(block) => self.bodies.push((block.body, guarded)),
            Node::Foreach(foreach) => {
                self.references(foreach.offset, foreach.collection.references());
                self.bodies.push((foreach.body, guarded));
            }
            Node::Assign(assign) => {
                let assign = self.page.template.assign(*assign);
                match &assign.value {
                    Assigned::Expression(value) => {
                        self.references(assign.offset, value.references());
                    }
                    Assigned::Content(body) => self.bodies.push((*body, guarded)),
                    Assigned::Empty => {}
                }
            }
            Node::Return(value) => self.references(value.offset, value.value.references()),
            Node::Dynamic(dynamic) => {
                let dynamic = self.page.template.dynamic(*dynamic);
                for piece in &dynamic.pieces {
                    if let TextPiece::Dynamic { offset, expr } = piece {
                        self.references(dynamic.offset + offset, expr.references());
                    }
                }
            }
            _ => {}
        }
    }

    fn choose(&mut self, choose: &Choose, guarded: bool) {
        for when in self.page.template.branches(choose) {
            if let Some(test) = &when.test {
                self.references(when.offset, test.references());
                if let Some(value) = test.as_constant() {
                    let span = self.page.value_span(when.offset, "test");
                    let written = self.page.bytes(span.clone());
                    let quoted = [&b"'$("[..], b"\"$("]
                        .iter()
                        .any(|opener| memchr::memmem::find(written, opener).is_some());
                    let help = if quoted { QUOTED_TEST } else { ESI_TEST };
                    self.constant_test(span, value.is_true(), help);
                }
            }
            self.bodies.push((when.body, guarded));
        }
        self.bodies
            .extend(choose.otherwise.map(|body| (body, guarded)));
    }

    fn constant_test(&mut self, span: Range<usize>, truth: bool, help: &str) {
        let (code, message, emitted) = if truth {
            (
                "test-always-true",
                "this test is always true",
                "its content, for everybody; branches after it are never taken",
            )
        } else {
            (
                "test-always-false",
                "this test is always false",
                "nothing: its content is never shown",
            )
        };
        let finding = Finding::warning(code, span, message).emitted(emitted);
        self.warnings.add(finding.help(help));
    }
}

const QUOTED_TEST: &str = "references are not replaced inside strings; write `$(…)` without quotes";
const ESI_TEST: &str = "compare something of the request, such as `$(HTTP_COOKIE{name}) == 'x'`; to switch content off write `<esi:remove>`";
const SSI_TEST: &str = "compare a variable, such as `$cookie_name = x`";

/// What a condition gives, when it depends on nothing. It nests within the bounds of conditions.
fn constant(condition: &Condition) -> Option<bool> {
    match condition {
        Condition::Text(text) => Some(!text.as_literal()?.is_empty()),
        Condition::Compare(left, comparison, right) => {
            let (left, right) = (left.as_literal()?, right.as_literal()?);
            Some(match comparison {
                Comparison::Equal => left == right,
                Comparison::NotEqual => left != right,
                Comparison::Less => left < right,
                Comparison::LessOrEqual => left <= right,
                Comparison::Greater => left > right,
                Comparison::GreaterOrEqual => left >= right,
            })
        }
        Condition::Matches {
            text,
            pattern,
            negated,
        } => Some(pattern.regex().is_match(&text.as_literal()?) != *negated),
        Condition::Not(inner) => constant(inner).map(|truth| !truth),
        Condition::All(terms) => fold(terms, false),
        Condition::Any(terms) => fold(terms, true),
    }
}

/// `decisive` as soon as one term gives it, its opposite when all give that.
fn fold(terms: &[Condition], decisive: bool) -> Option<bool> {
    let mut all_known = true;
    for term in terms {
        match constant(term) {
            Some(truth) if truth == decisive => return Some(decisive),
            Some(_) => {}
            None => all_known = false,
        }
    }
    all_known.then_some(!decisive)
}
