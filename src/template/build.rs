//! Tokens and their roles -> nodes. Open elements stand on a stack of frames here, never on the program's: the input decides
//! how deep they nest, up to the limit.

use bytes::Bytes;
use memchr::memmem;

use super::Settings;
use super::esi::place_in;
use super::issue::{Issue, IssueKind, Issues};
use super::memo::Memo;
use super::outline::{Paired, Role};
use super::scan::{Token, TokenKind, Tokens};
use super::tree::{
    Assign, Assigned, Block, Body, Branch, Choose, Dynamic, Foreach, Function, If, Inline, Node,
    Span, Template, Try, When,
};
use crate::expr::{Expr, Interpolation, Name, Piece, Target};

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
        issues,
        nodes: Vec::with_capacity(tokens.list.len()),
        pending: Vec::with_capacity(tokens.list.len().min(64)),
        frames: Vec::new(),
        current: Frame::new(Kind::Root, tokens.list.len(), Around::default(), 0),
    };
    builder.run();
    let (nodes, root, issues) = builder.finish();
    let copied = tokens
        .list
        .iter()
        .filter(|token| matches!(token.kind, TokenKind::Text | TokenKind::Verbatim))
        .map(|token| token.end - token.start)
        .sum::<usize>();
    Template {
        has_tags: copied < document.len(),
        writes_head: writes_head(&document),
        reads_values: nodes.iter().any(Node::reads_values),
        escape: settings.escape,
        nodes,
        root,
        issues,
        document,
        runs: Memo::default(),
        url: Memo::default(),
    }
}

/// Whether the bytes hold the name of a function that changes the response.
fn writes_head(document: &[u8]) -> bool {
    ["$add_header", "$set_response_code", "$set_redirect"]
        .iter()
        .any(|name| memmem::find(document, name.as_bytes()).is_some())
}

/// An open element.
pub(super) struct Frame {
    pub(super) kind: Kind,
    /// The index of the token before which it ends.
    pub(super) end: usize,
    pub(super) around: Around,
    pub(super) holds: Holds,
    /// Where its nodes start among those that are pending.
    pub(super) start: usize,
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
    fn within(self, kind: &Kind) -> Self {
        let is_loop = matches!(kind, Kind::Foreach { .. });
        let is_function = matches!(kind, Kind::Function(_));
        let interpolates =
            is_loop || is_function || matches!(kind, Kind::Vars | Kind::Assign { .. });
        Self {
            interpolated: self.interpolated || interpolates,
            // A function is called from elsewhere: the loop around its definition is not around its calls.
            in_loop: is_loop || (self.in_loop && !is_function),
            in_function: self.in_function || is_function,
        }
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

pub(super) enum Kind {
    Root,
    Vars,
    Choose(Choose),
    When {
        offset: usize,
        test: Option<Expr>,
        captures: Option<Name>,
    },
    Otherwise,
    Try {
        offset: usize,
        attempt: Option<Body>,
        except: Option<Body>,
    },
    Attempt,
    Except,
    Inline {
        offset: usize,
        name: Bytes,
    },
    Foreach {
        offset: usize,
        collection: Expr,
        item: Name,
    },
    Function(Name),
    Assign {
        offset: usize,
        target: Target,
    },
    If {
        /// The branch being read: its directive's place and condition; none in `#else`.
        open: Option<(usize, Option<super::condition::Condition>)>,
        branches: Vec<Branch>,
    },
    Block(Bytes),
}

impl Frame {
    fn new(kind: Kind, end: usize, around: Around, start: usize) -> Self {
        Self {
            kind,
            end,
            around,
            holds: Holds::default(),
            start,
        }
    }
}

pub(super) struct Builder<'a> {
    pub(super) document: &'a Bytes,
    pub(super) settings: &'a Settings,
    pub(super) tokens: &'a Tokens<'a>,
    pub(super) roles: &'a [Role],
    pub(super) issues: Issues,
    pub(super) nodes: Vec<Node>,
    /// The nodes of all open elements, those of the current one last.
    pub(super) pending: Vec<Node>,
    /// The elements around the current one, outermost first.
    pub(super) frames: Vec<Frame>,
    pub(super) current: Frame,
}

impl<'a> Builder<'a> {
    fn run(&mut self) {
        let mut index = 0;
        while index < self.tokens.list.len() {
            while self.current.end == index && !self.frames.is_empty() {
                self.close();
            }
            index = self.token(index);
        }
        while !self.frames.is_empty() {
            self.close();
        }
    }

    fn finish(mut self) -> (Vec<Node>, Body, Vec<Issue>) {
        let root = self.body(0);
        (self.nodes, root, self.issues.finish())
    }

    /// Puts the nodes that are pending from `first` on where the template keeps them.
    pub(super) fn body(&mut self, first: usize) -> Body {
        let start = self.nodes.len() as u32;
        let first = first.min(self.pending.len());
        self.nodes.extend(self.pending.drain(first..));
        Body {
            start,
            end: self.nodes.len() as u32,
        }
    }

    /// One token; gives the index to go on with.
    fn token(&mut self, index: usize) -> usize {
        let token: &'a Token<'a> = &self.tokens.list[index];
        let next = index + 1;
        match (&token.kind, self.roles[index]) {
            (TokenKind::Text, _) => self.text(token, self.current.around.interpolated),
            (TokenKind::Verbatim, _) => self.text(token, false),
            (TokenKind::Start(tag), Role::Leaf) => self.leaf(token, tag),
            (TokenKind::Start(tag), Role::Empty) => return self.element(token, tag, next, next),
            (TokenKind::Start(tag), Role::Open(end)) => return self.element(token, tag, next, end),
            // An element that is never closed counts as not written.
            (TokenKind::Start(_) | TokenKind::End(_), _) => {}
            (TokenKind::Directive(directive), role) => {
                return self.directive(token, directive, role, next);
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
        let bytes = &self.document[token.start..token.end];
        if !interpolated || memchr::memchr(b'$', bytes).is_none() {
            self.push_text(token.start, token.end);
            return;
        }
        let bytes = self.document.slice(token.start..token.end);
        let interpolation = Interpolation::parse(&bytes, &self.settings.expressions);
        for issue in interpolation.issues() {
            self.issues.add(
                token.start + issue.offset,
                1,
                IssueKind::Suspect(issue.kind),
            );
        }
        self.note_interpolation(&interpolation);
        for piece in interpolation.into_pieces() {
            self.piece(token.start, piece);
        }
    }

    fn piece(&mut self, start: usize, piece: Piece) {
        if let Piece::Literal(bytes) = &piece
            && let Some(at) = place_in(self.document, bytes)
        {
            self.push_text(at, at + bytes.len());
            return;
        }
        self.pending.push(Node::Dynamic(Box::new(Dynamic {
            offset: start,
            in_string: false,
            pieces: piece.into(),
        })));
    }

    /// Adds text, joined with the text before it where the document has nothing between the two.
    fn push_text(&mut self, start: usize, end: usize) {
        let (start, end) = (start as u32, end as u32);
        let own = self.pending.get_mut(self.current.start..);
        match own.and_then(<[Node]>::last_mut) {
            Some(Node::Text(last)) if last.end == start => last.end = end,
            _ => self.pending.push(Node::Text(Span { start, end })),
        }
    }

    /// The element that may hold nothing but its branches, when it is the current one.
    pub(super) fn only_branches(&self) -> Option<&'static str> {
        match self.current.kind {
            Kind::Choose(_) => Some(Paired::Choose.label()),
            Kind::Try { .. } => Some(Paired::Try.label()),
            _ => None,
        }
    }

    /// Enters an element.
    pub(super) fn push(&mut self, kind: Kind, end: usize) {
        let around = self.current.around.within(&kind);
        let frame = Frame::new(kind, end, around, self.pending.len());
        self.frames
            .push(std::mem::replace(&mut self.current, frame));
    }

    pub(super) fn close_if_ended(&mut self, index: usize) {
        if self.current.end == index && !self.frames.is_empty() {
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
            self.current.holds.breaks |=
                holds.breaks && !matches!(frame.kind, Kind::Foreach { .. });
        }
        if matches!(frame.kind, Kind::Vars) {
            self.join(frame.start);
            return;
        }
        let body = self.body(frame.start);
        let node = match frame.kind {
            Kind::Root | Kind::Vars => return,
            Kind::Choose(choose) => Node::Choose(Box::new(choose)),
            Kind::When {
                offset,
                test,
                captures,
            } => {
                if let Kind::Choose(choose) = &mut self.current.kind {
                    choose.branches.push(When {
                        offset,
                        test,
                        captures,
                        body,
                    });
                }
                return;
            }
            Kind::Otherwise => {
                if let Kind::Choose(choose) = &mut self.current.kind {
                    choose.otherwise = Some(body);
                }
                return;
            }
            Kind::Attempt => {
                if let Kind::Try { attempt, .. } = &mut self.current.kind {
                    *attempt = Some(body);
                }
                return;
            }
            Kind::Except => {
                if let Kind::Try { except, .. } = &mut self.current.kind {
                    *except = Some(body);
                }
                return;
            }
            Kind::Try {
                offset,
                attempt,
                except,
            } => Node::Try(Box::new(Try {
                offset,
                attempt: attempt.unwrap_or_default(),
                except,
                waits: holds.changes || holds.breaks,
            })),
            Kind::Inline { offset, name } => Node::Inline(Box::new(Inline { offset, name, body })),
            Kind::Foreach {
                offset,
                collection,
                item,
            } => Node::Foreach(Box::new(Foreach {
                offset,
                collection,
                item,
                body,
            })),
            Kind::Function(name) => Node::Function(Box::new(Function { name, body })),
            Kind::Assign { offset, target } => Node::Assign(Box::new(Assign {
                offset,
                target,
                value: Assigned::Content(body),
            })),
            Kind::If { open, mut branches } => {
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
                }))
            }
            Kind::Block(name) => Node::Block(Box::new(Block { name, body })),
        };
        self.pending.push(node);
    }

    /// The nodes from `first` on are from now on those of the current element: text that goes on there is joined.
    fn join(&mut self, first: usize) {
        let before = first.checked_sub(1).filter(|at| *at >= self.current.start);
        let Some([Node::Text(last), Node::Text(next), ..]) =
            before.and_then(|at| self.pending.get_mut(at..))
        else {
            return;
        };
        if last.end == next.start {
            last.end = next.end;
            self.pending.remove(first);
        }
    }
}
