//! SSI directives -> frames and nodes: conditions, blocks, and what stands for itself.

use super::build::{Builder, Kind, OpenIf};
use super::condition::Condition;
use super::directive::Directive;
use super::issue::{DirectiveFault, IssueKind};
use super::outline::Role;
use super::scan::{DirectiveToken, Token, TokenKind};
use super::ssi;
use super::tree::{Branch, Node};

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
                Role::Open(end) => end,
                _ => next,
            };
        }
        let read = match &directive.directive {
            Ok(read) => read,
            Err(fault) => {
                self.message(token, fault.clone());
                return next;
            }
        };
        match role {
            Role::Open(end) if read.command == "if" => return self.open_if(token, read, next, end),
            Role::Open(end) => return self.open_block(token, read, next, end),
            Role::Branch => self.branch(token, read),
            Role::Close => {
                if let Err(fault) = ssi::bare(read, ending(read)) {
                    self.message(token, fault);
                }
            }
            Role::Unclosed => {
                let command = if read.command == "if" { "if" } else { "block" };
                self.message(token, DirectiveFault::Unclosed(command));
            }
            Role::Stray => self.message(token, DirectiveFault::Stray(ending(read))),
            Role::Leaf | Role::Empty => self.single(token, read, directive.in_string),
        }
        next
    }

    /// Tells a fault and emits the error message in its place.
    fn message(&mut self, token: &Token<'_>, fault: DirectiveFault) {
        self.tell(token, IssueKind::Directive(fault));
        if self.only_branches().is_none() {
            let in_string = is_in_string(token);
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
            Err(fault) => self.message(token, fault),
        }
    }

    fn open_if(
        &mut self,
        token: &Token<'_>,
        directive: &Directive,
        next: usize,
        end: usize,
    ) -> usize {
        if self.frames.len() >= self.settings.nesting {
            self.tell(token, IssueKind::Nesting(self.settings.nesting));
            return end;
        }
        let condition = self.condition(token, directive, "if");
        let open_if = OpenIf {
            open: Some((token.start, condition)),
            branches: Vec::new(),
            in_string: is_in_string(token),
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

    fn branch(&mut self, token: &Token<'_>, directive: &Directive) {
        let is_elif = directive.command == "elif";
        // `#else` has been read: nothing may follow but `#endif`.
        let in_branch = match &self.current.kind {
            Kind::If(open_if) => open_if.open.is_some(),
            _ => false,
        };
        if !in_branch {
            self.message(token, DirectiveFault::Stray(ending(directive)));
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
        let body = self.body(self.current.start);
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
        directive: &Directive,
        next: usize,
        end: usize,
    ) -> usize {
        if self.frames.len() >= self.settings.nesting {
            self.tell(token, IssueKind::Nesting(self.settings.nesting));
            return end;
        }
        match ssi::block(directive) {
            Ok(name) => self.push(Kind::Block(name), end),
            Err(fault) => self.message(token, fault),
        }
        next
    }
}

/// Whether a directive stands in a string of a JSON document.
fn is_in_string(token: &Token<'_>) -> bool {
    matches!(&token.kind, TokenKind::Directive(directive) if directive.in_string)
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
