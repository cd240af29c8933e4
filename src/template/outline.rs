//! Which end belongs to which start (language reference, section 3, nesting): one role for each token.
//!
//! ESI elements and the SSI pairs `#if … #endif`, `#block … #endblock` share one stack, since documents mix them. An element that
//! is still open at the end counts as not written, which changes what its content is part of; so roles are settled for
//! the whole document before the first node is built.

use super::issue::{IssueKind, Issues};
use super::scan::{DirectiveToken, StartTag, Token, TokenKind, Tokens};

/// What a token is to the structure of its document.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Role {
    /// It stands for itself: text, an element or directive without content.
    Leaf,
    /// It opens an element, which ends before the token of this index.
    Open(u32),
    /// An element that would have content, written with `/`.
    Empty,
    /// It ends an element.
    Close,
    /// `#elif` or `#else` of the innermost open `#if`.
    Branch,
    /// A start whose end never comes: it counts as not written.
    Unclosed,
    /// An end or branch that belongs to nothing.
    Stray,
}

/// The elements that have content.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Paired {
    Remove,
    Choose,
    When,
    Otherwise,
    Try,
    Attempt,
    Except,
    Vars,
    Inline,
    Foreach,
    Function,
    Assign,
    Comment,
    /// SSI.
    If,
    /// SSI.
    Block,
}

const KINDS: usize = 15;

impl Paired {
    /// The element of this name, of those of ESI.
    pub(super) fn of_tag(name: &[u8]) -> Option<Self> {
        Some(match name {
            b"remove" => Self::Remove,
            b"choose" => Self::Choose,
            b"when" => Self::When,
            b"otherwise" => Self::Otherwise,
            b"try" => Self::Try,
            b"attempt" => Self::Attempt,
            b"except" => Self::Except,
            b"vars" => Self::Vars,
            b"inline" => Self::Inline,
            b"foreach" => Self::Foreach,
            b"function" => Self::Function,
            b"assign" => Self::Assign,
            b"comment" => Self::Comment,
            _ => return None,
        })
    }

    /// As an author writes it.
    pub(super) const fn label(self) -> &'static str {
        match self {
            Self::Remove => "esi:remove",
            Self::Choose => "esi:choose",
            Self::When => "esi:when",
            Self::Otherwise => "esi:otherwise",
            Self::Try => "esi:try",
            Self::Attempt => "esi:attempt",
            Self::Except => "esi:except",
            Self::Vars => "esi:vars",
            Self::Inline => "esi:inline",
            Self::Foreach => "esi:foreach",
            Self::Function => "esi:function",
            Self::Assign => "esi:assign",
            Self::Comment => "esi:comment",
            Self::If => "#if",
            Self::Block => "#block",
        }
    }
}

/// The role of each token.
pub(super) fn roles(tokens: &Tokens<'_>, issues: &mut Issues) -> Vec<Role> {
    let mut outline = Outline {
        tokens: &tokens.list,
        issues,
        roles: vec![Role::Leaf; tokens.list.len()],
        open: Vec::new(),
        branches: Vec::new(),
        count: [0; KINDS],
    };
    for (index, token) in tokens.list.iter().enumerate() {
        let role = match &token.kind {
            TokenKind::Text | TokenKind::Verbatim => continue,
            TokenKind::Start(tag) => outline.start(index, tag),
            TokenKind::End(name, paired) => outline.end_tag(index, name, *paired),
            TokenKind::Directive(number) => outline.directive(index, tokens.directive(*number)),
        };
        outline.roles[index] = role;
    }
    outline.finish()
}

struct Outline<'t, 'i> {
    tokens: &'t [Token<'t>],
    issues: &'i mut Issues,
    roles: Vec<Role>,
    /// The open elements: what, and the index of the start.
    open: Vec<(Paired, usize)>,
    /// The branches of `#if`s: the index of the start, and of the branch.
    branches: Vec<(usize, usize)>,
    /// How many of each kind are open, so that an end without its start costs no search.
    count: [usize; KINDS],
}

impl Outline<'_, '_> {
    fn directive(&mut self, index: usize, token: &DirectiveToken) -> Role {
        match token.directive.as_ref().map(|d| &d.command[..]) {
            Ok(b"if") => self.opens(Paired::If, index),
            Ok(b"block") => self.opens(Paired::Block, index),
            Ok(b"elif" | b"else") => self.branch(index),
            Ok(b"endif") => self.closes(Paired::If, index),
            Ok(b"endblock") => self.closes(Paired::Block, index),
            _ => Role::Leaf,
        }
    }

    #[inline]
    fn start(&mut self, index: usize, tag: &StartTag<'_>) -> Role {
        match tag.paired {
            None => Role::Leaf,
            Some(_) if tag.closed => Role::Empty,
            Some(kind) => self.opens(kind, index),
        }
    }

    fn opens(&mut self, kind: Paired, index: usize) -> Role {
        self.open.push((kind, index));
        self.count[kind as usize] += 1;
        // Until its end is found.
        Role::Unclosed
    }

    fn end_tag(&mut self, index: usize, name: &[u8], paired: Option<Paired>) -> Role {
        if let Some(kind) = paired {
            return self.closes(kind, index);
        }
        if !matches!(name, b"include" | b"eval") {
            self.stray(index, name);
        }
        Role::Stray
    }

    fn stray(&mut self, index: usize, name: &[u8]) {
        let token = &self.tokens[index];
        let name = String::from_utf8_lossy(&name[..name.len().min(64)]).into_owned();
        self.issues.add(
            token.start,
            token.end - token.start,
            IssueKind::StrayEnd(name),
        );
    }

    #[inline]
    fn closes(&mut self, kind: Paired, index: usize) -> Role {
        if self.count[kind as usize] == 0 {
            if let TokenKind::End(name, _) = &self.tokens[index].kind {
                self.stray(index, name);
            }
            return Role::Stray;
        }
        if self.open.last().is_none_or(|(inner, _)| *inner != kind) {
            self.close_down_to(kind, index);
        }
        if let Some((kind, start)) = self.open.pop() {
            self.count[kind as usize] -= 1;
            self.roles[start] = Role::Open(index as u32);
        }
        Role::Close
    }

    fn branch(&mut self, index: usize) -> Role {
        if self.count[Paired::If as usize] == 0 {
            return Role::Stray;
        }
        self.close_down_to(Paired::If, index);
        self.branches
            .extend(self.open.last().map(|(_, start)| (*start, index)));
        Role::Branch
    }

    /// Closes what is open inside the innermost element of this kind.
    fn close_down_to(&mut self, kind: Paired, index: usize) {
        while let Some(&(inner, start)) = self.open.last().filter(|(inner, _)| *inner != kind) {
            self.open.pop();
            self.count[inner as usize] -= 1;
            self.roles[start] = Role::Open(index as u32);
            let token = &self.tokens[start];
            self.issues.add(
                token.start,
                token.end - token.start,
                IssueKind::ClosedByOuter(inner.label()),
            );
        }
    }

    fn finish(mut self) -> Vec<Role> {
        // What counts as not written has no branches.
        for (start, branch) in &self.branches {
            if self.roles[*start] == Role::Unclosed {
                self.roles[*branch] = Role::Stray;
            }
        }
        for (kind, start) in &self.open {
            // Directives say it with their error message, where they are built.
            if !matches!(kind, Paired::If | Paired::Block) {
                let token = &self.tokens[*start];
                self.issues.add(
                    token.start,
                    token.end - token.start,
                    IssueKind::Unclosed(kind.label()),
                );
            }
        }
        self.roles
    }
}
