//! What a page is once it is compiled: a [`Template`] of [`Node`]s. It never changes, serves every request, and holds the
//! document's bytes once; text nodes are spans of it.

use std::time::Duration;

use bytes::Bytes;

use super::condition::Condition;
use super::issue::Issue;
use super::memo::Memo;
use super::ssi_text::SsiText;
use crate::expr::interpolate::Pieces;
use crate::expr::{Escape, Expr, Interpolation, Name, Target};

/// A compiled document.
#[derive(Debug)]
pub struct Template {
    pub(super) document: Bytes,
    pub(super) nodes: Vec<Node>,
    pub(super) dynamics: Vec<Dynamic>,
    pub(super) assigns: Vec<Assign>,
    pub(super) branches: Vec<When>,
    pub(super) root: Body,
    pub(super) issues: Vec<Issue>,
    pub(super) has_tags: bool,
    pub(super) writes_head: bool,
    pub(super) reads_values: bool,
    pub(super) escape: Escape,
    pub(super) runs: Memo,
    pub(super) url: Memo,
}

impl Template {
    /// Where the gateway notes the URL at which the document was last asked for.
    pub fn url(&self) -> &Memo {
        &self.url
    }

    /// Where the composer notes what it remembers of the composed document.
    pub fn runs(&self) -> &Memo {
        &self.runs
    }

    /// The document as it came.
    pub fn document(&self) -> &Bytes {
        &self.document
    }

    /// Whether composing can change a byte: whether the document holds any tag, broken ones too.
    pub fn has_tags(&self) -> bool {
        self.has_tags
    }

    /// Whether the document names a function that changes the response; such a page is composed before its head is sent.
    pub fn writes_head(&self) -> bool {
        self.writes_head
    }

    /// Whether composing reads a variable or evaluates an expression; a document of text and fixed includes does not.
    pub fn reads_values(&self) -> bool {
        self.reads_values
    }

    /// What is wrong in it, in the order of the document.
    pub fn issues(&self) -> &[Issue] {
        &self.issues
    }

    /// How values from the request are escaped in it.
    pub fn escape(&self) -> Escape {
        self.escape
    }

    /// The nodes of the document itself, in order.
    pub fn root(&self) -> Body {
        self.root
    }

    /// The nodes of a body.
    #[inline]
    pub fn body(&self, body: Body) -> &[Node] {
        &self.nodes[body.start as usize..body.end as usize]
    }

    /// The node at this place of the arena; bodies are ranges of it.
    #[inline]
    pub fn node(&self, index: u32) -> &Node {
        &self.nodes[index as usize]
    }

    /// What a [`Node::Dynamic`] is.
    #[inline]
    pub fn dynamic(&self, index: u32) -> &Dynamic {
        &self.dynamics[index as usize]
    }

    /// What a [`Node::Assign`] is.
    #[inline]
    pub fn assign(&self, index: u32) -> &Assign {
        &self.assigns[index as usize]
    }

    /// The branches of a `choose`, in the order in which they are tried.
    pub fn branches(&self, choose: &Choose) -> &[When] {
        &self.branches[choose.branches.start as usize..choose.branches.end as usize]
    }

    /// The bytes of a text node.
    #[inline]
    pub fn text(&self, span: Span) -> &[u8] {
        &self.document[span.start as usize..span.end as usize]
    }

    /// The bytes of a text node, shared.
    pub fn shared_text(&self, span: Span) -> Bytes {
        self.document.slice(span.start as usize..span.end as usize)
    }
}

/// Bytes of a document: from `start` up to but not including `end`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Span {
    /// The first byte.
    pub start: u32,
    /// Behind the last byte.
    pub end: u32,
}

/// Nodes that follow each other: a range of the template's nodes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Body {
    /// The first node.
    pub start: u32,
    /// Behind the last node.
    pub end: u32,
}

/// One piece of a document.
#[derive(Debug)]
pub enum Node {
    /// Bytes that leave as they are.
    Text(Span),
    /// A reference or call in interpolated text, or the value of `<esi:vars name>`.
    /// [`Template::dynamic`] of this number.
    Dynamic(u32),
    /// `esi:include`, `#include`.
    Include(Box<Include>),
    /// `esi:eval`.
    Eval(Box<Include>),
    /// `esi:inline`.
    Inline(Box<Inline>),
    /// `esi:choose`.
    Choose(Choose),
    /// `esi:try`.
    Try(Box<Try>),
    /// `esi:assign`.
    /// [`Template::assign`] of this number.
    Assign(u32),
    /// `esi:foreach`.
    Foreach(Box<Foreach>),
    /// `esi:break`, in a loop.
    Break,
    /// `esi:function`.
    Function(Box<Function>),
    /// `esi:return`, in a function.
    Return(Box<Return>),
    /// `#if`.
    If(Box<If>),
    /// `#echo`.
    Echo(Box<Echo>),
    /// `#set`.
    Set(Box<Set>),
    /// `#config`.
    Config(Box<Config>),
    /// `#block`.
    Block(Box<Block>),
    /// Emits the error message of SSI; the issue is among those of the template.
    Message {
        /// Whether the directive stands in a string of a JSON document.
        in_string: bool,
    },
}

impl Node {
    pub(super) fn reads_values(&self) -> bool {
        match self {
            Self::Text(_)
            | Self::Inline(_)
            | Self::Try(_)
            | Self::Break
            | Self::Block(_)
            | Self::Message { .. } => false,
            Self::Include(include) => include
                .texts()
                .any(|text| !matches!(text, Text::Constant(_))),
            _ => true,
        }
    }
}

/// A reference or call in text.
#[derive(Debug)]
pub struct Dynamic {
    /// Where its text starts in the document.
    pub offset: usize,
    /// Whether it emits into a string of a JSON document, so that all that it emits is escaped.
    pub in_string: bool,
    /// What it is.
    pub pieces: Pieces,
}

/// Text of an attribute.
#[derive(Debug)]
pub enum Text {
    /// It never changes.
    Constant(Bytes),
    /// With `$(…)` in it.
    Esi(Interpolation),
    /// With `$name` in it.
    Ssi(SsiText),
}

/// `include` or `eval`.
#[derive(Debug)]
pub struct Include {
    /// Where the tag starts.
    pub offset: usize,
    /// The URL; none when it is not written.
    pub src: Option<Text>,
    /// The URL to try after `src` has failed.
    pub alt: Option<Text>,
    /// `onerror="continue"`.
    pub on_error_continue: bool,
    /// `maxwait`.
    pub max_wait: Option<Duration>,
    /// `method`.
    pub method: FragmentMethod,
    /// `entity`.
    pub entity: Option<Text>,
    /// `setheader`, `appendheader`, `removeheader`.
    pub headers: Vec<HeaderRule>,
    /// `ttl`.
    pub ttl: Option<Duration>,
    /// `no-store`.
    pub no_store: bool,
    /// `dca`.
    pub dca: Dca,
    /// Whether the tag stands in a string of a JSON document.
    pub in_string: bool,
    /// What makes it a directive of SSI.
    pub ssi: Option<SsiInclude>,
    /// A note of whoever fetched it last.
    pub memo: Memo,
    /// A note of the composer: what a constant `src` resolved to.
    pub resolved: Memo,
}

impl Include {
    /// All its texts.
    pub(super) fn texts(&self) -> impl Iterator<Item = &Text> {
        let attributes = [&self.src, &self.alt, &self.entity];
        attributes
            .into_iter()
            .flatten()
            .chain(self.headers.iter().map(|rule| &rule.text))
    }
}

/// `method` of an include.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum FragmentMethod {
    /// The default.
    #[default]
    Get,
    /// With `entity` as its body.
    Post,
}

/// `dca` of an include.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Dca {
    /// What the fragment's response and route say decides.
    #[default]
    Declared,
    /// It is a document whatever its type and declaration; its source must give its template.
    Esi,
    /// It is not; its template is not asked for, and ignored when given.
    None,
}

/// A change to the header of a fragment's request.
#[derive(Debug)]
pub struct HeaderRule {
    /// Which change.
    pub change: HeaderChange,
    /// `Name: value`, or the name alone where it is removed.
    pub text: Text,
}

/// Which change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HeaderChange {
    /// `setheader`.
    Set,
    /// `appendheader`.
    Append,
    /// `removeheader`.
    Remove,
}

/// What `#include` has beside its URL.
#[derive(Debug)]
pub struct SsiInclude {
    /// `file` instead of `virtual`: relative, without `..`.
    pub file: bool,
    /// The block to emit when the fragment fails or is empty.
    pub stub: Option<Bytes>,
    /// Evaluation waits for this fragment.
    pub wait: bool,
    /// The variable that the body becomes, in lower case.
    pub set: Option<Bytes>,
}

/// `inline`.
#[derive(Debug)]
pub struct Inline {
    /// Where the tag starts.
    pub offset: usize,
    /// The URL that it answers.
    pub name: Bytes,
    /// Its content.
    pub body: Body,
}

/// `choose`.
#[derive(Debug, Clone, Copy)]
pub struct Choose {
    /// [`Template::branches`].
    pub(super) branches: Branches,
    /// When none is true.
    pub otherwise: Option<Body>,
}

/// A range of the template's branches.
#[derive(Debug, Clone, Copy)]
pub(super) struct Branches {
    pub(super) start: u32,
    pub(super) end: u32,
}

/// `when`.
#[derive(Debug)]
pub struct When {
    /// Where its test starts in the document.
    pub offset: usize,
    /// None when it cannot be read: it is false.
    pub test: Option<Expr>,
    /// `matchname`.
    pub captures: Option<Name>,
    /// Its content.
    pub body: Body,
}

/// `try`.
#[derive(Debug)]
pub struct Try {
    /// Where the tag starts.
    pub offset: usize,
    /// The content of `attempt`.
    pub attempt: Body,
    /// The content of `except`.
    pub except: Option<Body>,
    /// Whether evaluation waits for its end: it holds an assign, an eval, a function, a header call, or their SSI kin.
    pub waits: bool,
}

/// `assign`.
#[derive(Debug)]
pub struct Assign {
    /// Where the tag starts.
    pub offset: usize,
    /// What is assigned.
    pub target: Target,
    /// To what.
    pub value: Assigned,
}

/// The value of an assign.
#[derive(Debug)]
pub enum Assigned {
    /// `value="expression"`.
    Expression(Expr),
    /// `value=""`.
    Empty,
    /// The content of the paired form.
    Content(Body),
}

/// `foreach`.
#[derive(Debug)]
pub struct Foreach {
    /// Where the tag starts.
    pub offset: usize,
    /// What it runs over.
    pub collection: Expr,
    /// The loop's variable.
    pub item: Name,
    /// Its content.
    pub body: Body,
}

/// `function`.
#[derive(Debug)]
pub struct Function {
    /// Its name.
    pub name: Name,
    /// Its content.
    pub body: Body,
}

/// `return`.
#[derive(Debug)]
pub struct Return {
    /// Where the tag starts.
    pub offset: usize,
    /// Its value.
    pub value: Expr,
}

/// `#if`.
#[derive(Debug)]
pub struct If {
    /// `#if` and each `#elif`, in order.
    pub branches: Vec<Branch>,
    /// `#else`.
    pub otherwise: Option<Body>,
    /// Whether it stands in a string of a JSON document.
    pub in_string: bool,
}

/// `#if` or `#elif`.
#[derive(Debug)]
pub struct Branch {
    /// Where the directive starts.
    pub offset: usize,
    /// None when it cannot be read: it emits the error message when it is reached, and is false.
    pub condition: Option<Condition>,
    /// Its content.
    pub body: Body,
}

/// `#echo`.
#[derive(Debug)]
pub struct Echo {
    /// The variable, in lower case but for names of groups.
    pub variable: SsiText,
    /// `encoding`.
    pub encoding: Encoding,
    /// `default`.
    pub default: Option<SsiText>,
    /// Whether the directive stands in a string of a JSON document.
    pub in_string: bool,
}

/// `encoding` of `#echo`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Encoding {
    /// `& < > " '` become references.
    #[default]
    Entity,
    /// Percent-encoding.
    Url,
    /// As it is.
    None,
}

/// `#set`.
#[derive(Debug)]
pub struct Set {
    /// Where the directive starts.
    pub offset: usize,
    /// The variable, in lower case.
    pub variable: Bytes,
    /// Its value.
    pub value: SsiText,
}

/// `#config`.
#[derive(Debug)]
pub struct Config {
    /// `errmsg`.
    pub message: Option<SsiText>,
    /// `timefmt`.
    pub time_format: Option<SsiText>,
}

/// `#block`.
#[derive(Debug)]
pub struct Block {
    /// Its name.
    pub name: Bytes,
    /// Its content.
    pub body: Body,
}
