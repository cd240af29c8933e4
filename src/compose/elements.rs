//! What the elements of ESI do when evaluation reaches them, but for includes and tries.

use std::sync::Arc;

use bytes::Bytes;

use crate::compose::document::Code;
use crate::compose::evaluate::{Frame, FrameKind, Rounds, Thread};
use crate::compose::host::World;
use crate::compose::output::{self, Becomes, Piece};
use crate::compose::page::Page;
use crate::compose::runs;
use crate::compose::source::FragmentSource;
use crate::expr::{EvalError, Scope, Value};
use crate::template::Template;
use crate::template::tree::{Assign, Assigned, Body, Choose, Foreach, Inline, Node};

impl<S: FragmentSource> Page<S> {
    pub(super) fn inline(&mut self, thread: &mut Thread, unit: usize, inline: &Inline) {
        // It may be shown again in text, so values in it are escaped as in text even where all around becomes a value.
        let list = self.new_list();
        self.lists[thread.list].push(Piece::List(list));
        let answers = match self.url(unit).join(&inline.name) {
            Ok(url) => Some(Arc::new(url)),
            Err(error) => {
                self.template_error(unit, inline.offset, &error);
                None
            }
        };
        let outer = std::mem::replace(&mut thread.list, list);
        thread.frames.push(Frame::new(
            unit,
            inline.body,
            FrameKind::Inside { outer, answers },
        ));
    }

    pub(super) fn choose(
        &mut self,
        thread: &mut Thread,
        scope: &mut Scope,
        unit: usize,
        template: &Template,
        choose: &Choose,
    ) {
        let mut chosen = choose.otherwise;
        for when in template.branches(choose) {
            let Some(test) = &when.test else {
                continue;
            };
            let mut world = World {
                page: self,
                document: thread.document,
            };
            match test.test(when.captures.as_ref(), scope, &mut world) {
                Ok(true) => {
                    chosen = Some(when.body);
                    break;
                }
                Ok(false) => {}
                Err(error) => self.template_error(unit, when.offset, &error),
            }
        }
        let Some(body) = chosen else {
            return;
        };
        let start = if thread.is_among_runs() && runs::may_be_in(template, body) {
            body.start
        } else {
            // Most branches hold nothing that waits or opens.
            self.straight_on(thread, scope, template, unit, body.start..body.end)
        };
        if start < body.end {
            let rest = Body { start, ..body };
            thread.frames.push(Frame::new(unit, rest, FrameKind::Body));
        }
    }

    /// An assign whose value stands in its attribute; says whether it was one.
    pub(super) fn assign_attribute(
        &mut self,
        thread: &Thread,
        scope: &mut Scope,
        unit: usize,
        assign: &Assign,
    ) -> bool {
        let value = match &assign.value {
            Assigned::Expression(expr) => match expr.see(scope) {
                Some(seen) => Some(seen.taken()),
                None => self.evaluate(thread, scope, unit, assign.offset, expr),
            },
            Assigned::Empty => Some(Value::text(Bytes::new())),
            Assigned::Content(_) => return false,
        };
        if let Some(value) = value {
            self.set_target(thread, scope, unit, assign, value);
        }
        true
    }

    pub(super) fn assign(
        &mut self,
        thread: &mut Thread,
        scope: &mut Scope,
        unit: usize,
        node: u32,
        assign: &Assign,
    ) {
        let Assigned::Content(body) = &assign.value else {
            self.assign_attribute(thread, scope, unit, assign);
            return;
        };
        let list = self.new_list();
        self.lists[list].becomes = Becomes::Value { tainted: false };
        let outer = std::mem::replace(&mut thread.list, list);
        thread
            .frames
            .push(Frame::new(unit, *body, FrameKind::Assign { node, outer }));
    }

    fn set_target(
        &mut self,
        thread: &Thread,
        scope: &mut Scope,
        unit: usize,
        assign: &Assign,
        value: Value,
    ) {
        let mut world = World {
            page: self,
            document: thread.document,
        };
        if let Err(error) = assign.target.assign(value, scope, &mut world) {
            self.template_error(unit, assign.offset, &error);
        }
    }

    /// The content of a paired assign is here.
    pub(super) fn assign_content(&mut self, thread: &mut Thread, scope: &mut Scope) {
        let Some(frame) = thread.frames.pop() else {
            return;
        };
        let FrameKind::Assign { node, outer } = frame.kind else {
            return;
        };
        let list = std::mem::replace(&mut thread.list, outer);
        let value = self.value_of(list);
        let template = Arc::clone(&self.units[frame.unit].template);
        if let Node::Assign(assign) = template.node(node) {
            self.set_target(thread, scope, frame.unit, template.assign(*assign), value);
        }
    }

    fn value_of(&self, list: usize) -> Value {
        Value::Text {
            bytes: output::collect(list, self.pages()),
            tainted: self.lists[list].becomes.is_tainted(),
        }
    }

    pub(super) fn foreach(
        &mut self,
        thread: &mut Thread,
        scope: &mut Scope,
        unit: usize,
        foreach: &Foreach,
    ) {
        let Some(value) = self.evaluate(thread, scope, unit, foreach.offset, &foreach.collection)
        else {
            return;
        };
        let shadowed = match scope.shadow(&foreach.item) {
            Ok(shadowed) => shadowed,
            Err(error) => {
                self.template_error(unit, foreach.offset, &error);
                return;
            }
        };
        let kind = FrameKind::Loop(Box::new(Rounds {
            body: foreach.body,
            item: foreach.item.clone(),
            left: value.rounds().into_iter(),
            shadowed,
            offset: foreach.offset,
        }));
        let nothing = Body {
            start: foreach.body.end,
            end: foreach.body.end,
        };
        // Its first round is entered like every other: when the content before it is through.
        thread.frames.push(Frame::new(unit, nothing, kind));
    }

    /// The loop on top of the thread starts its next round, or ends.
    pub(super) fn next_round(&mut self, thread: &mut Thread, scope: &mut Scope) {
        let most = self.rules.config.limits.loop_rounds;
        let Some(frame) = thread.frames.last_mut() else {
            return;
        };
        let FrameKind::Loop(rounds) = &mut frame.kind else {
            return;
        };
        let (unit, offset, body) = (frame.unit, rounds.offset, rounds.body);
        let Some(value) = rounds.left.next() else {
            end_loop(thread, scope);
            return;
        };
        if self.rounds >= most {
            self.template_error(
                unit,
                offset,
                &format_args!("more than {most} rounds of loops in one page"),
            );
            end_loop(thread, scope);
            return;
        }
        self.rounds += 1;
        (frame.next, frame.end) = (body.start, body.end);
        if let Err(error) = scope.assign(&rounds.item, value) {
            self.template_error(unit, offset, &error);
            end_loop(thread, scope);
        }
    }

    /// Leaves the innermost loop. An attempt on the way ends first: if it fails, the loop goes on.
    pub(super) fn break_loop(&mut self, thread: &mut Thread, scope: &mut Scope) {
        while let Some(frame) = thread.frames.last_mut() {
            match &mut frame.kind {
                FrameKind::Loop(_) => {
                    end_loop(thread, scope);
                    return;
                }
                FrameKind::Attempt { breaking, .. } => {
                    *breaking = true;
                    frame.next = frame.end;
                    return;
                }
                FrameKind::Inside { outer, .. } | FrameKind::Assign { outer, .. } => {
                    let outer = *outer;
                    self.leave_list(thread, outer);
                }
                FrameKind::Body => {
                    thread.frames.pop();
                }
            }
        }
    }

    /// Evaluates a function of the document; its arguments stand in the scope.
    pub(super) fn call_function(
        &mut self,
        document: usize,
        code: Code,
        scope: &mut Scope,
    ) -> Result<Value, EvalError> {
        // Functions that call themselves twice would otherwise double with each level. Calls count as rounds of loops do.
        if self.rounds >= self.rules.config.limits.loop_rounds {
            return Err(EvalError::Refused {
                function: "f()",
                reason: "too many rounds of loops and calls of functions in one page",
            });
        }
        self.rounds += 1;
        let (lists, attempts) = (self.lists.len(), self.attempts.len());
        let list = self.new_list();
        self.lists[list].becomes = Becomes::Value { tainted: false };
        let mut thread = Thread::new(document, list, None, code.unit, code.body);
        // Nothing in a function waits: it holds no include.
        self.advance(&mut thread, scope);
        self.lists[list].complete = true;
        let value = match thread.result.take() {
            Some(value) => value,
            None => self.value_of(list),
        };
        self.lists.truncate(lists);
        self.attempts.truncate(attempts);
        Ok(value)
    }
}

/// Ends the loop on top of the thread: its variable holds again what it held before.
fn end_loop(thread: &mut Thread, scope: &mut Scope) {
    if let Some(Frame {
        kind: FrameKind::Loop(rounds),
        ..
    }) = thread.frames.pop()
    {
        scope.unshadow(rounds.shadowed);
    }
}

/// `return`: whatever is open is left.
pub(super) fn leave_function(thread: &mut Thread, scope: &mut Scope) {
    while let Some(frame) = thread.frames.last() {
        if matches!(frame.kind, FrameKind::Loop(_)) {
            end_loop(thread, scope);
        } else {
            thread.frames.pop();
        }
    }
}
