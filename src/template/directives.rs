//! SSI directives -> frames and nodes: conditions, blocks, and what stands for itself.

use super::build::{Builder, Kind, OpenIf};
use super::condition::Condition;
use super::directive::Directive;
use super::issue::{DirectiveFault, IssueKind};
use super::outline::Role;
use super::scan::{DirectiveToken, Token};
use super::ssi;
use super::tree::{Block, Body, Branch, Node};

impl Builder<'_> {
    pub(super) fn directive(
        &mut self,
        token: &Token<'_>,
        directive: &DirectiveToken,
        role: Role,
        next: usize,
    ) -> usize {
        if let Some(parent) = self.only_branches() {
            self.tell(token, IssueKind::BetweenBranches(parent));
            return match role {
                Role::Open(end) => end as usize,
                _ => next,
            };
        }
        let read = match &directive.directive {
            Ok(read) => read,
            Err(fault) => {
                self.message(token, fault.clone(), directive.in_string);
                return next;
            }
        };
        let in_string = directive.in_string;
        match role {
            Role::Open(end) if read.command == "if" => {
                return self.open_if(token, directive, read, (next, end as usize));
            }
            Role::Open(end) => {
                return self.open_block(token, directive, read, (next, end as usize));
            }
            Role::Branch => self.branch(token, read, in_string),
            Role::Close => {
                if let Err(fault) = ssi::bare(read, ending(read)) {
                    self.message(token, fault, in_string);
                }
            }
            Role::Unclosed => {
                let command = if read.command == "if" { "if" } else { "block" };
                self.message(token, DirectiveFault::Unclosed(command), in_string);
            }
            Role::Stray => self.message(token, DirectiveFault::Stray(ending(read)), in_string),
            Role::Leaf | Role::Empty => self.single(token, read, in_string),
        }
        next
    }

    /// Tells a fault and emits the error message in its place.
    fn message(&mut self, token: &Token<'_>, fault: DirectiveFault, in_string: bool) {
        self.tell(token, IssueKind::Directive(fault));
        if self.only_branches().is_none() {
            self.pending.push(Node::Message { in_string });
        }
    }

    fn single(&mut self, token: &Token<'_>, directive: &Directive, in_string: bool) {
        match ssi::node(directive, token.start, in_string) {
            Ok(Node::Include(_)) if self.current.around.in_function => {
                self.tell(token, IssueKind::InFunction("#include"));
            }
            Ok(node) => {
                self.current.holds.changes |= match &node {
                    Node::Set(_) | Node::Config(_) => true,
                    Node::Include(include) => {
                        include.ssi.as_ref().is_some_and(|ssi| ssi.set.is_some())
                    }
                    _ => false,
                };
                self.pending.push(node);
            }
            Err(fault) => self.message(token, fault, in_string),
        }
    }

    fn open_if(
        &mut self,
        token: &Token<'_>,
        tag: &DirectiveToken,
        directive: &Directive,
        (next, end): (usize, usize),
    ) -> usize {
        if self.frames.len() >= self.settings.nesting {
            self.tell(token, IssueKind::Nesting(self.settings.nesting));
            return end;
        }
        let condition = self.condition(token, directive, "if");
        let open_if = OpenIf {
            open: Some((token.start, condition)),
            branches: Vec::new(),
            in_string: tag.in_string,
        };
        self.push(Kind::If(Box::new(open_if)), end);
        next
    }

    fn condition(
        &mut self,
        token: &Token<'_>,
        directive: &Directive,
        command: &'static str,
    ) -> Option<Condition> {
        match ssi::condition(directive, command, &self.settings.expressions) {
            Ok(condition) => Some(condition),
            Err(fault) => {
                self.tell(token, IssueKind::Directive(fault));
                None
            }
        }
    }

    fn branch(&mut self, token: &Token<'_>, directive: &Directive, in_string: bool) {
        let is_elif = directive.command == "elif";
        // `#else` has been read: nothing may follow but `#endif`.
        let in_branch = match &self.current.kind {
            Kind::If(open_if) => open_if.open.is_some(),
            _ => false,
        };
        if !in_branch {
            self.message(token, DirectiveFault::Stray(ending(directive)), in_string);
            return;
        }
        let following = if is_elif {
            Some((token.start, self.condition(token, directive, "elif")))
        } else {
            if let Err(fault) = ssi::bare(directive, "else") {
                self.tell(token, IssueKind::Directive(fault));
            }
            None
        };
        let body = self.body(self.current.first);
        if let Kind::If(open_if) = &mut self.current.kind
            && let Some((offset, condition)) = std::mem::replace(&mut open_if.open, following)
        {
            open_if.branches.push(Branch {
                offset,
                condition,
                body,
            });
        }
    }

    fn open_block(
        &mut self,
        token: &Token<'_>,
        tag: &DirectiveToken,
        directive: &Directive,
        (next, end): (usize, usize),
    ) -> usize {
        if self.frames.len() >= self.settings.nesting {
            self.tell(token, IssueKind::Nesting(self.settings.nesting));
            return end;
        }
        match ssi::block(directive) {
            Ok(name) => {
                let body = Body::default();
                self.push(Kind::Block(Box::new(Block { name, body })), end);
            }
            Err(fault) => self.message(token, fault, tag.in_string),
        }
        next
    }
}

/// The name of a directive that ends or divides.
fn ending(directive: &Directive) -> &'static str {
    match &directive.command[..] {
        b"elif" => "elif",
        b"else" => "else",
        b"endblock" => "endblock",
        _ => "endif",
    }
}
