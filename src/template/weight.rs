//! How much memory a compiled document holds, for whoever weighs a store of them.
//!
//! Counted is what is allocated for the template itself, the document's bytes excepted. A slice of the document counts by its
//! length all the same: whether it is one cannot be told, and a store had better weigh too much than too little.

use bytes::Bytes;

use super::condition::{Condition, Pattern};
use super::issue::{Issue, IssueKind};
use super::ssi_text::{SsiPiece, SsiText};
use super::tree::{
    Assign, Assigned, Block, Branch, Config, Dynamic, Echo, Foreach, Function, HeaderRule, If,
    Include, Inline, Node, Return, Set, SsiInclude, Template, Text, Try, When,
};
use crate::expr::{Expr, Name, Piece};

/// What the notes of whoever fetches may add to an include: a resolved URL, a key.
const NOTES: usize = 512;

impl Template {
    /// Bytes of memory beside the document itself.
    pub fn weight(&self) -> usize {
        let nodes = self.nodes.capacity() * size_of::<Node>();
        let dynamics = self.dynamics.capacity() * size_of::<Dynamic>();
        let assigns = self.assigns.capacity() * size_of::<Assign>();
        let branches = self.branches.capacity() * size_of::<When>();
        let issues = self.issues.capacity() * size_of::<Issue>();
        size_of::<Self>()
            + nodes
            + self.nodes.iter().map(node).sum::<usize>()
            + dynamics
            + self.dynamics.iter().map(dynamic).sum::<usize>()
            + assigns
            + self.assigns.iter().map(assign).sum::<usize>()
            + branches
            + self.branches.iter().map(when).sum::<usize>()
            + issues
            + self.issues.iter().map(issue).sum::<usize>()
    }
}

fn node(node: &Node) -> usize {
    match node {
        // Where these are kept they are counted.
        Node::Text(_)
        | Node::Dynamic(_)
        | Node::Choose(_)
        | Node::Assign(_)
        | Node::Break
        | Node::Message { .. } => 0,
        Node::Include(held) | Node::Eval(held) => size_of::<Include>() + include(held),
        Node::Inline(inline) => size_of::<Inline>() + inline.name.len(),
        Node::Try(_) => size_of::<Try>(),
        Node::Foreach(foreach) => {
            size_of::<Foreach>() + foreach.collection.weight() + foreach.item.weight()
        }
        Node::Function(function) => size_of::<Function>() + function.name.weight(),
        Node::Return(returned) => size_of::<Return>() + returned.value.weight(),
        Node::If(held) => {
            let branches = held.branches.capacity() * size_of::<Branch>();
            let conditions = held.branches.iter().filter_map(|b| b.condition.as_ref());
            size_of::<If>() + branches + conditions.map(condition).sum::<usize>()
        }
        Node::Echo(echo) => {
            size_of::<Echo>() + ssi_text(&echo.variable) + optional(echo.default.as_ref(), ssi_text)
        }
        Node::Set(set) => size_of::<Set>() + set.variable.len() + ssi_text(&set.value),
        Node::Config(config) => {
            size_of::<Config>()
                + optional(config.message.as_ref(), ssi_text)
                + optional(config.time_format.as_ref(), ssi_text)
        }
        Node::Block(block) => size_of::<Block>() + block.name.len(),
    }
}

fn optional<T>(held: Option<&T>, weigh: impl Fn(&T) -> usize) -> usize {
    held.map_or(0, weigh)
}

fn include(include: &Include) -> usize {
    let ssi = include.ssi.as_ref();
    include.headers.capacity() * size_of::<HeaderRule>()
        + include.texts().map(text).sum::<usize>()
        + optional(ssi, |ssi: &SsiInclude| {
            optional(ssi.stub.as_ref(), Bytes::len) + optional(ssi.set.as_ref(), Bytes::len)
        })
        + NOTES
}

fn text(text: &Text) -> usize {
    match text {
        Text::Constant(bytes) => bytes.len(),
        Text::Esi(interpolation) => pieces(interpolation.pieces()),
        Text::Ssi(text) => ssi_text(text),
    }
}

/// Pieces that have memory of their own.
fn pieces(pieces: &[Piece]) -> usize {
    size_of_val(pieces) + pieces.iter().map(piece).sum::<usize>()
}

fn piece(piece: &Piece) -> usize {
    match piece {
        Piece::Literal(bytes) => bytes.len(),
        Piece::Dynamic { expr, .. } => expr.weight(),
    }
}

fn dynamic(dynamic: &Dynamic) -> usize {
    match &*dynamic.pieces {
        [one] => piece(one),
        many => pieces(many),
    }
}

fn assign(assign: &Assign) -> usize {
    let value = match &assign.value {
        Assigned::Expression(expr) => expr.weight(),
        Assigned::Empty | Assigned::Content(_) => 0,
    };
    assign.target.weight() + value
}

fn when(when: &When) -> usize {
    optional(when.test.as_ref(), Expr::weight) + optional(when.captures.as_ref(), Name::weight)
}

fn ssi_text(text: &SsiText) -> usize {
    let length = |piece: &SsiPiece| match piece {
        SsiPiece::Literal(bytes) | SsiPiece::Variable(bytes) => bytes.len(),
    };
    size_of_val(text.pieces()) + text.pieces().iter().map(length).sum::<usize>()
}

/// Conditions nest no deeper than expressions may.
fn condition(held: &Condition) -> usize {
    match held {
        Condition::Text(text) => ssi_text(text),
        Condition::Compare(left, _, right) => ssi_text(left) + ssi_text(right),
        Condition::Matches { text, .. } => {
            size_of::<Pattern>() + crate::expr::COMPILED_PATTERN + ssi_text(text)
        }
        Condition::Not(inner) => size_of::<Condition>() + condition(inner),
        Condition::All(inner) | Condition::Any(inner) => {
            inner.capacity() * size_of::<Condition>() + inner.iter().map(condition).sum::<usize>()
        }
    }
}

fn issue(issue: &Issue) -> usize {
    match &issue.kind {
        IssueKind::UnknownElement(name)
        | IssueKind::StrayEnd(name)
        | IssueKind::BuiltInFunction(name) => name.len(),
        // Short texts about a few words of the page.
        IssueKind::Expression(_)
        | IssueKind::Suspect(_)
        | IssueKind::Name(_)
        | IssueKind::Directive(_) => 64,
        _ => 0,
    }
}
