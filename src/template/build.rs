//! Tokens and their roles -> nodes. Open elements stand on a stack of frames here, never on the program's: the input decides
//! how deep they nest, up to the limit.

use std::sync::LazyLock;

use bytes::Bytes;
use memchr::memmem::Finder;

use super::Settings;
use super::issue::{IssueKind, Issues};
use super::memo::Memo;
use super::outline::{Paired, Role};
use super::scan::{Token, TokenKind, Tokens};
use super::tree::{
    Assign, Assigned, Block, Body, Branch, Branches, Choose, Dynamic, Foreach, Function, If,
    Inline, Node, Span, Template, Try, When,
};
use crate::expr::reader::Cut;
use crate::expr::{self, Piece};

/// Builds the template of a document.
pub(super) fn build(
    document: Bytes,
    settings: &Settings,
    tokens: &Tokens<'_>,
    roles: &[Role],
    issues: Issues,
) -> Template {
    let mut builder = Builder {
        document: &document,
        settings,
        tokens,
        roles,
        expressions: None,
        issues,
        nodes: Vec::with_capacity(tokens.list.len()),
        dynamics: Vec::new(),
        assigns: Vec::new(),
        branches: Vec::new(),
        pending_branches: Vec::new(),
        pending: Vec::with_capacity(tokens.list.len()),
        frames: Vec::new(),
        current: Frame {
            kind: Kind::Root,
            end: tokens.list.len() as u32,
            first: 0,
            around: Around::default(),
            holds: Holds::default(),
        },
    };
    builder.run();
    let root = builder.body(0);
    // The template may live long.
    builder.nodes.shrink_to_fit();
    builder.dynamics.shrink_to_fit();
    builder.assigns.shrink_to_fit();
    builder.branches.shrink_to_fit();
    Template {
        has_tags: tokens.copied < document.len(),
        writes_head: writes_head(&document),
        reads_values: builder.nodes.iter().any(Node::reads_values),
        escape: settings.escape,
        nodes: builder.nodes,
        dynamics: builder.dynamics,
        assigns: builder.assigns,
        branches: builder.branches,
        root,
        issues: builder.issues.finish(),
        document,
        runs: Memo::default(),
        url: Memo::default(),
    }
}

/// The functions that change the response, and what two of them have in common.
const ADD: &str = "$add_header";
const SET: &str = "$set_re";
const SET_REST: [&[u8]; 2] = [b"sponse_code", b"direct"];

/// Whether the bytes hold the name of a function that changes the response. Two searches for one text each are faster than one for
/// any of three.
fn writes_head(document: &[u8]) -> bool {
    static FIND: LazyLock<[Finder<'static>; 2]> =
        LazyLock::new(|| [Finder::new(ADD), Finder::new(SET)]);
    let [add, set] = &*FIND;
    let is_setter = |at: usize| {
        let rest = document.get(at + SET.len()..).unwrap_or_default();
        SET_REST.iter().any(|name| rest.starts_with(name))
    };
    add.find(document).is_some() || set.find_iter(document).any(is_setter)
}

/// An open element.
pub(super) struct Frame {
    pub(super) kind: Kind,
    /// The index of the token before which it ends.
    end: u32,
    /// Where its nodes start among those that are pending.
    pub(super) first: u32,
    pub(super) around: Around,
    pub(super) holds: Holds,
}

/// What an element stands in.
#[derive(Clone, Copy, Default)]
pub(super) struct Around {
    /// Whether text is interpolated.
    pub(super) interpolated: bool,
    pub(super) in_loop: bool,
    pub(super) in_function: bool,
}

impl Around {
    /// What the content of an element of this kind stands in.
    #[inline]
    fn within(mut self, kind: &Kind) -> Self {
        match kind {
            Kind::Vars | Kind::Assign(_) => self.interpolated = true,
            Kind::Foreach(_) => {
                self.interpolated = true;
                self.in_loop = true;
            }
            Kind::Function(_) => {
                self.interpolated = true;
                // A function is called from elsewhere: the loop around its definition is not around its calls.
                self.in_loop = false;
                self.in_function = true;
            }
            _ => {}
        }
        self
    }
}

/// What an element holds, at any depth.
#[derive(Clone, Copy, Default)]
pub(super) struct Holds {
    /// Something that a surrounding `try` must wait for.
    pub(super) changes: bool,
    /// A `break` of a loop around it: a `try` in that loop must know its outcome first.
    pub(super) breaks: bool,
}

/// What an element will be, as far as it is known while it is open. The large ones are boxed as they will be nodes, since
/// frames are moved often.
pub(super) enum Kind {
    Root,
    Vars,
    Choose {
        /// Where its branches start among those that are pending.
        first: u32,
        otherwise: Option<Body>,
    },
    /// The last branch of the `choose` around it.
    When,
    Otherwise,
    Try(Box<OpenTry>),
    Attempt,
    Except,
    Inline(Box<Inline>),
    Foreach(Box<Foreach>),
    Function(Box<Function>),
    Assign(Box<Assign>),
    If(Box<OpenIf>),
    Block(Box<Block>),
}

impl Kind {
    /// Whether an element of this kind has nodes of its own: `choose` and `try` have branches, and what stands in `vars` belongs
    /// to the element around it.
    fn has_nodes(&self) -> bool {
        !matches!(self, Self::Vars | Self::Choose { .. } | Self::Try(_))
    }
}

/// A `try` that is being read.
pub(super) struct OpenTry {
    pub(super) offset: usize,
    pub(super) attempt: Option<Body>,
    pub(super) except: Option<Body>,
}

/// An `#if` that is being read.
pub(super) struct OpenIf {
    /// The branch being read: its directive's place and condition; none in `#else`.
    pub(super) open: Option<(usize, Option<super::condition::Condition>)>,
    pub(super) branches: Vec<Branch>,
    pub(super) in_string: bool,
}

pub(super) struct Builder<'a> {
    pub(super) document: &'a Bytes,
    pub(super) settings: &'a Settings,
    pub(super) tokens: &'a Tokens<'a>,
    pub(super) roles: &'a [Role],
    /// Reads expressions; none before the first, and while it reads a text whose pieces become nodes.
    pub(super) expressions: Option<Box<expr::Reader<'a>>>,
    pub(super) issues: Issues,
    pub(super) nodes: Vec<Node>,
    pub(super) dynamics: Vec<Dynamic>,
    pub(super) assigns: Vec<Assign>,
    pub(super) branches: Vec<When>,
    /// The branches of all open elements, those of the innermost last.
    pub(super) pending_branches: Vec<When>,
    /// The nodes of all open elements, those of the innermost last. Those of `vars` are nodes of the element around it.
    pub(super) pending: Vec<Node>,
    /// The elements around the current one, outermost first.
    pub(super) frames: Vec<Frame>,
    pub(super) current: Frame,
}

impl<'a> Builder<'a> {
    fn run(&mut self) {
        let mut index = 0;
        while index < self.tokens.list.len() {
            while self.current.end as usize == index && !self.frames.is_empty() {
                self.close();
            }
            index = self.token(index);
        }
        while !self.frames.is_empty() {
            self.close();
        }
    }

    /// Puts the pending nodes from `first` on, those of one element, where the template keeps them.
    pub(super) fn body(&mut self, first: u32) -> Body {
        let start = self.nodes.len() as u32;
        self.nodes.extend(self.pending.drain(first as usize..));
        Body {
            start,
            end: self.nodes.len() as u32,
        }
    }

    /// One token; gives the index to go on with.
    fn token(&mut self, index: usize) -> usize {
        let token: &'a Token<'a> = &self.tokens.list[index];
        let next = index + 1;
        match &token.kind {
            TokenKind::Text => self.text(token, self.current.around.interpolated),
            TokenKind::Verbatim => self.text(token, false),
            TokenKind::Start(tag) => match self.roles[index] {
                Role::Open(end) => return self.element(token, tag, next, end as usize),
                Role::Empty => return self.element(token, tag, next, next),
                Role::Leaf => self.leaf(token, tag),
                // An element that is never closed counts as not written.
                _ => {}
            },
            TokenKind::End(..) => {}
            TokenKind::Directive(number) => {
                let directive = self.tokens.directive(*number);
                return self.directive(token, directive, self.roles[index], next);
            }
        }
        next
    }

    pub(super) fn tell(&mut self, token: &Token<'_>, kind: IssueKind) {
        self.issues.add(token.start, token.end - token.start, kind);
    }

    fn text(&mut self, token: &Token<'_>, interpolated: bool) {
        if let Some(parent) = self.only_branches() {
            let bytes = &self.document[token.start..token.end];
            if !bytes.trim_ascii().is_empty() {
                self.tell(token, IssueKind::BetweenBranches(parent));
            }
            return;
        }
        if !interpolated {
            self.push_text(token.start, token.end);
            return;
        }
        let bytes = &self.document[token.start..token.end];
        let limits = &self.settings.expressions;
        let expressions = self.expressions.take();
        let mut expressions = expressions.unwrap_or_else(|| Box::new(expr::Reader::new(limits)));
        expressions.cut(bytes, |cut| self.cut(token.start, cut));
        self.expressions = Some(expressions);
    }

    /// A piece of the text that starts at `start`.
    fn cut(&mut self, start: usize, cut: Cut) {
        let piece = match cut {
            Cut::Literal(range) => return self.push_text(start + range.start, start + range.end),
            Cut::Folded(value) if value.to_text().is_empty() => return,
            Cut::Folded(value) => Piece::Literal(value.to_text().into_owned().into()),
            Cut::Dynamic { offset, expr } => {
                for issue in expr.issues() {
                    let at = start + offset + issue.offset;
                    self.issues
                        .add(at, 1, IssueKind::Suspect(issue.kind.clone()));
                }
                self.note_expression(&expr);
                Piece::Dynamic { offset, expr }
            }
        };
        self.push_dynamic(Dynamic {
            offset: start,
            in_string: false,
            pieces: piece.into(),
        });
    }

    /// Room to begin with for what a page has many of when it has any: growing moves all that is there.
    fn few(&self) -> usize {
        (self.tokens.list.len() / 16).clamp(1, 64)
    }

    pub(super) fn push_assign(&mut self, assign: Assign) {
        let index = self.assigns.len() as u32;
        if index == 0 {
            self.assigns.reserve(self.few());
        }
        self.assigns.push(assign);
        self.pending.push(Node::Assign(index));
    }

    pub(super) fn push_dynamic(&mut self, dynamic: Dynamic) {
        let index = self.dynamics.len() as u32;
        if index == 0 {
            self.dynamics.reserve(4 * self.few());
        }
        self.dynamics.push(dynamic);
        self.pending.push(Node::Dynamic(index));
    }

    /// Adds text, joined with the text before it where the document has nothing between the two.
    fn push_text(&mut self, start: usize, end: usize) {
        let (start, end) = (start as u32, end as u32);
        let own = self.pending.get_mut(self.current.first as usize..);
        match own.and_then(<[_]>::last_mut) {
            Some(Node::Text(last)) if last.end == start => last.end = end,
            _ => self.pending.push(Node::Text(Span { start, end })),
        }
    }

    /// The element that may hold nothing but its branches, when it is the current one.
    pub(super) fn only_branches(&self) -> Option<&'static str> {
        match self.current.kind {
            Kind::Choose { .. } => Some(Paired::Choose.label()),
            Kind::Try(_) => Some(Paired::Try.label()),
            _ => None,
        }
    }

    /// Enters an element.
    pub(super) fn push(&mut self, kind: Kind, end: usize) {
        let frame = Frame {
            end: end as u32,
            first: if kind.has_nodes() {
                self.pending.len() as u32
            } else {
                self.current.first
            },
            around: self.current.around.within(&kind),
            holds: Holds::default(),
            kind,
        };
        self.frames
            .push(std::mem::replace(&mut self.current, frame));
    }

    pub(super) fn close_if_ended(&mut self, index: usize) {
        if self.current.end as usize == index && !self.frames.is_empty() {
            self.close();
        }
    }

    fn close(&mut self) {
        let Some(parent) = self.frames.pop() else {
            return;
        };
        let frame = std::mem::replace(&mut self.current, parent);
        // What a function or a block holds happens where it is called or used.
        let holds = frame.holds;
        if !matches!(frame.kind, Kind::Function(_)) {
            self.current.holds.changes |= holds.changes;
            self.current.holds.breaks |= holds.breaks && !matches!(frame.kind, Kind::Foreach(_));
        }
        let body = if frame.kind.has_nodes() {
            self.body(frame.first)
        } else {
            Body::default()
        };
        let node = match frame.kind {
            Kind::Root | Kind::Vars => return,
            Kind::Choose { first, otherwise } => self.choose(first, otherwise),
            Kind::When => {
                if let Some(when) = self.pending_branches.last_mut() {
                    when.body = body;
                }
                return;
            }
            Kind::Otherwise => {
                if let Kind::Choose { otherwise, .. } = &mut self.current.kind {
                    *otherwise = Some(body);
                }
                return;
            }
            Kind::Attempt => {
                if let Kind::Try(open) = &mut self.current.kind {
                    open.attempt = Some(body);
                }
                return;
            }
            Kind::Except => {
                if let Kind::Try(open) = &mut self.current.kind {
                    open.except = Some(body);
                }
                return;
            }
            Kind::Try(open) => Node::Try(Box::new(Try {
                offset: open.offset,
                attempt: open.attempt.unwrap_or_default(),
                except: open.except,
                waits: holds.changes || holds.breaks,
            })),
            Kind::Inline(mut inline) => {
                inline.body = body;
                Node::Inline(inline)
            }
            Kind::Foreach(mut foreach) => {
                foreach.body = body;
                Node::Foreach(foreach)
            }
            Kind::Function(mut function) => {
                function.body = body;
                Node::Function(function)
            }
            Kind::Assign(mut assign) => {
                assign.value = Assigned::Content(body);
                return self.push_assign(*assign);
            }
            Kind::If(open_if) => {
                let OpenIf {
                    open,
                    mut branches,
                    in_string,
                } = *open_if;
                let otherwise = match open {
                    Some((offset, condition)) => {
                        branches.push(Branch {
                            offset,
                            condition,
                            body,
                        });
                        None
                    }
                    None => Some(body),
                };
                Node::If(Box::new(If {
                    branches,
                    otherwise,
                    in_string,
                }))
            }
            Kind::Block(mut block) => {
                block.body = body;
                Node::Block(block)
            }
        };
        self.pending.push(node);
    }

    fn choose(&mut self, first: u32, otherwise: Option<Body>) -> Node {
        let start = self.branches.len() as u32;
        if start == 0 {
            self.branches.reserve(self.few());
        }
        if first == 0 {
            self.branches.append(&mut self.pending_branches);
        } else {
            let own = self.pending_branches.drain(first as usize..);
            self.branches.extend(own);
        }
        let end = self.branches.len() as u32;
        let branches = Branches { start, end };
        Node::Choose(Choose {
            branches,
            otherwise,
        })
    }
}
