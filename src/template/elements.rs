//! ESI elements -> frames and nodes: what may stand where, and what each element becomes.

use super::build::{Builder, Kind, OpenTry};
use super::esi::Reader;
use super::issue::IssueKind;
use super::outline::Paired;
use super::scan::{StartTag, Token};
use super::tree::{Assign, Assigned, Body, Dynamic, Foreach, Function, Inline, Node, Return, Text};
use crate::expr::interpolate::Pieces;
use crate::expr::{self, Expr, Piece};

impl<'a> Builder<'a> {
    pub(super) fn leaf(&mut self, token: &Token<'_>, tag: &StartTag<'_>) {
        if let (Some(parent), b"include" | b"eval" | b"break" | b"return") =
            (self.only_branches(), tag.name)
        {
            self.tell(token, IssueKind::BetweenBranches(parent));
            return;
        }
        match tag.name {
            b"include" => self.include(token, tag, "esi:include"),
            b"eval" => self.include(token, tag, "esi:eval"),
            b"break" if self.current.around.in_loop => {
                self.current.holds.breaks = true;
                self.pending.push(Node::Break);
            }
            b"break" => self.tell(token, IssueKind::NothingToLeave("esi:break")),
            b"return" if self.current.around.in_function => self.return_value(token, tag),
            b"return" => self.tell(token, IssueKind::NothingToLeave("esi:return")),
            other => {
                let name = String::from_utf8_lossy(&other[..other.len().min(64)]).into_owned();
                self.tell(token, IssueKind::UnknownElement(name));
            }
        }
    }

    #[inline]
    fn reader<'r>(&'r mut self, token: &Token<'_>, tag: &StartTag<'_>) -> Reader<'r, 'a> {
        let limits = &self.settings.expressions;
        Reader {
            document: self.document,
            limits,
            expressions: self
                .expressions
                .get_or_insert_with(|| Box::new(expr::Reader::new(limits))),
            issues: &mut self.issues,
            at: (token.start, token.end - token.start),
            attributes: self.tokens.attributes(tag),
        }
    }

    fn include(&mut self, token: &Token<'_>, tag: &StartTag<'_>, element: &'static str) {
        if self.current.around.in_function {
            self.tell(token, IssueKind::InFunction(element));
            return;
        }
        let include = Box::new(self.reader(token, tag).include(element, tag.in_string));
        let calls = include.texts().any(|text| match text {
            Text::Esi(text) => text.has_effects(),
            _ => false,
        });
        self.current.holds.changes |= calls;
        self.pending.push(if element == "esi:eval" {
            self.current.holds.changes = true;
            Node::Eval(include)
        } else {
            Node::Include(include)
        });
    }

    fn return_value(&mut self, token: &Token<'_>, tag: &StartTag<'_>) {
        if let Some(value) = self.reader(token, tag).return_value() {
            self.note_expression(&value);
            self.pending.push(Node::Return(Box::new(Return {
                offset: token.start,
                value,
            })));
        }
    }

    /// An element whose content reaches from `next` to `end`; gives the index to go on with.
    pub(super) fn element(
        &mut self,
        token: &Token<'_>,
        tag: &StartTag<'_>,
        next: usize,
        end: usize,
    ) -> usize {
        // It has content, or the role would be another.
        let Some(paired) = tag.paired else {
            return next;
        };
        if matches!(paired, Paired::Remove | Paired::Comment) {
            return end;
        }
        if let Err(kind) = self.fits(paired) {
            self.tell(token, kind);
            return end;
        }
        let Some(kind) = self.opened(token, tag, paired, end > next) else {
            return end;
        };
        self.push(kind, end);
        if end == next {
            // Written with `/`, or with its end right behind its start.
            self.close_if_ended(end);
        }
        next
    }

    /// Whether an element may stand here.
    fn fits(&self, paired: Paired) -> Result<(), IssueKind> {
        let parent = match paired {
            Paired::When | Paired::Otherwise => Some(Paired::Choose),
            Paired::Attempt | Paired::Except => Some(Paired::Try),
            _ => None,
        };
        let (around, taken) = match &self.current.kind {
            Kind::Choose { otherwise, .. } => {
                let taken = paired == Paired::Otherwise && otherwise.is_some();
                (Some(Paired::Choose), taken)
            }
            Kind::Try(open) => {
                let taken = (paired == Paired::Attempt && open.attempt.is_some())
                    || (paired == Paired::Except && open.except.is_some());
                (Some(Paired::Try), taken)
            }
            _ => (None, false),
        };
        match (parent, around) {
            _ if taken => return Err(IssueKind::Second(paired.label())),
            (None, Some(around)) => return Err(IssueKind::BetweenBranches(around.label())),
            (Some(parent), around) if around != Some(parent) => {
                return Err(IssueKind::Misplaced {
                    element: paired.label(),
                    parent: parent.label(),
                });
            }
            _ => {}
        }
        if paired == Paired::Inline && self.current.around.in_function {
            return Err(IssueKind::InFunction(paired.label()));
        }
        if self.frames.len() >= self.settings.nesting {
            return Err(IssueKind::Nesting(self.settings.nesting));
        }
        Ok(())
    }

    /// The frame that an element opens; none when it stands for itself or cannot be carried out.
    fn opened(
        &mut self,
        token: &Token<'_>,
        tag: &StartTag<'_>,
        paired: Paired,
        has_content: bool,
    ) -> Option<Kind> {
        let offset = token.start;
        // These have no attributes.
        match paired {
            Paired::Choose => {
                return Some(Kind::Choose {
                    first: self.pending_branches.len() as u32,
                    otherwise: None,
                });
            }
            Paired::Vars if has_content => return Some(Kind::Vars),
            Paired::Otherwise => return Some(Kind::Otherwise),
            Paired::Attempt => return Some(Kind::Attempt),
            Paired::Except => return Some(Kind::Except),
            _ => {}
        }
        let mut reader = self.reader(token, tag);
        Some(match paired {
            Paired::When => {
                let when = reader.when();
                if let Some(test) = &when.test {
                    self.note_expression(test);
                }
                self.pending_branches.push(when);
                Kind::When
            }
            Paired::Try => Kind::Try(Box::new(OpenTry {
                offset,
                attempt: None,
                except: None,
            })),
            Paired::Vars => {
                if let Some((offset, pieces)) = reader.vars_name() {
                    self.value(offset, pieces, tag.in_string);
                }
                Kind::Vars
            }
            Paired::Inline => Kind::Inline(Box::new(Inline {
                offset,
                name: reader.inline_name()?,
                body: Body::default(),
            })),
            Paired::Foreach => {
                let (collection, item) = reader.foreach()?;
                self.note_expression(&collection);
                Kind::Foreach(Box::new(Foreach {
                    offset,
                    collection,
                    item,
                    body: Body::default(),
                }))
            }
            Paired::Function => {
                let name = reader.function()?;
                self.current.holds.changes = true;
                Kind::Function(Box::new(Function {
                    name,
                    body: Body::default(),
                }))
            }
            Paired::Assign => return self.assign(token, tag),
            // The rest never comes here.
            _ => return None,
        })
    }

    /// `<esi:vars name="…"/>`.
    fn value(&mut self, offset: usize, pieces: Pieces, in_string: bool) {
        for piece in &*pieces {
            if let Piece::Dynamic { expr, .. } = piece {
                self.note_expression(expr);
            }
        }
        self.push_dynamic(Dynamic {
            offset,
            in_string,
            pieces,
        });
    }

    fn assign(&mut self, token: &Token<'_>, tag: &StartTag<'_>) -> Option<Kind> {
        let (target, value) = self.reader(token, tag).assign()?;
        self.current.holds.changes = true;
        let has_content = matches!(value, Some(Assigned::Content(_)));
        let assign = Assign {
            offset: token.start,
            target,
            value: value?,
        };
        if has_content {
            return Some(Kind::Assign(Box::new(assign)));
        }
        self.push_assign(assign);
        None
    }

    pub(super) fn note_expression(&mut self, expr: &Expr) {
        self.current.holds.changes |= expr.has_effects();
    }
}
