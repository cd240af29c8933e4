//! `try`: an attempt's output is held back until all its includes have answered, and dropped when one has failed.

use crate::compose::document::Code;
use crate::compose::evaluate::{Frame, FrameKind, Late, Thread, Wait};
use crate::compose::head::HeadEdits;
use crate::compose::output::Piece;
use crate::compose::page::Page;
use crate::compose::source::FragmentSource;
use crate::expr::{Scope, Snapshot};
use crate::template::tree::{Body, Try};

/// One attempt.
#[derive(Debug)]
pub(super) struct Attempt {
    /// Its output, then that of `except`.
    list: usize,
    /// The attempt around it: it is not over before this one is.
    parent: Option<usize>,
    /// Includes without an answer, and inner tries without an outcome.
    pub(super) pending: usize,
    pub(super) failed: bool,
    /// Whether evaluation waits for the outcome, and then sees to it.
    waits: bool,
    stage: Stage,
    /// `except`, when evaluation has not waited for the outcome.
    except: Option<Box<Late>>,
}

/// How far an attempt has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    /// Evaluation is in it, or waits for it.
    Evaluated,
    /// Evaluation has gone on; the outcome is open.
    LeftBehind,
    /// Its output is let go, or replaced.
    Settled,
}

/// What a failed attempt goes back to.
#[derive(Debug)]
pub(super) struct Before {
    scope: Snapshot,
    document: Box<crate::compose::document::Document>,
    head: HeadEdits,
}

impl<S: FragmentSource> Page<S> {
    /// Evaluation enters an attempt.
    pub(super) fn enter_try(
        &mut self,
        thread: &mut Thread,
        scope: &Scope,
        unit: usize,
        tried: &Try,
    ) {
        let list = self.new_list();
        self.lists[list].held = true;
        self.lists[list].becomes = self.lists[thread.list].becomes;
        self.lists[thread.list].pieces.push(Piece::List(list));
        self.attempts.push(Attempt {
            list,
            parent: thread.attempt,
            pending: 0,
            failed: false,
            waits: tried.waits,
            stage: Stage::Evaluated,
            except: None,
        });
        let attempt = self.attempts.len() - 1;
        let before = tried.waits.then(|| {
            Box::new(Before {
                scope: scope.snapshot(),
                document: Box::new(self.documents[thread.document].clone()),
                head: self.head.clone(),
            })
        });
        let kind = FrameKind::Attempt {
            outer: thread.list,
            except: tried.except,
            before,
            breaking: false,
        };
        thread.list = list;
        thread.attempt = Some(attempt);
        thread.frames.push(Frame::new(unit, tried.attempt, kind));
    }

    /// Evaluation is through with an attempt's content; gives what it must wait for. The frame is on top of the thread.
    pub(super) fn leave_try(&mut self, thread: &mut Thread, scope: &mut Scope) -> Option<Wait> {
        let attempt = thread.attempt?;
        let state = &self.attempts[attempt];
        let (open, failed) = (state.pending > 0, state.failed);
        if state.waits && open && !failed {
            return Some(Wait::Attempt(attempt));
        }
        let frame = thread.frames.pop()?;
        let FrameKind::Attempt {
            outer,
            except,
            before,
            breaking,
        } = frame.kind
        else {
            return None;
        };
        let list = std::mem::replace(&mut thread.list, outer);
        thread.attempt = self.attempts[attempt].parent;
        if failed {
            self.undo(thread, scope, before);
            self.attempts[attempt].stage = Stage::Settled;
            self.clear(list);
            match except {
                Some(body) => self.enter_except(thread, frame.unit, body, list),
                None => self.lists[list].complete = true,
            }
            return None;
        }
        self.taint_outer(outer, list);
        self.lists[list].complete = true;
        if open {
            self.leave_open(thread, scope, attempt, frame.unit, except);
        } else {
            self.attempts[attempt].stage = Stage::Settled;
            self.lists[list].held = false;
        }
        if breaking {
            self.break_loop(thread, scope);
        }
        None
    }

    /// Evaluation goes on before the outcome is known: what `except` would need is kept.
    fn leave_open(
        &mut self,
        thread: &Thread,
        scope: &Scope,
        attempt: usize,
        unit: usize,
        except: Option<Body>,
    ) {
        self.attempts[attempt].stage = Stage::LeftBehind;
        self.attempts[attempt].except =
            except.map(|body| self.late(thread, scope, Code { unit, body }));
        if let Some(parent) = self.attempts[attempt].parent {
            self.attempts[parent].pending += 1;
        }
    }

    fn undo(&mut self, thread: &Thread, scope: &mut Scope, before: Option<Box<Before>>) {
        if let Some(before) = before {
            scope.restore(before.scope);
            self.documents[thread.document] = *before.document;
            self.head = before.head;
        }
    }

    fn enter_except(&mut self, thread: &mut Thread, unit: usize, body: Body, list: usize) {
        let outer = std::mem::replace(&mut thread.list, list);
        self.lists[list].held = false;
        thread.frames.push(Frame::new(
            unit,
            body,
            FrameKind::Inside {
                outer,
                answers: None,
            },
        ));
    }

    /// Drops what an attempt has put out.
    fn clear(&mut self, list: usize) {
        let list = &mut self.lists[list];
        list.clear();
        list.held = false;
    }

    /// An attempt that evaluation has left behind: once its outcome is known, its output is let go or replaced.
    pub(super) fn settle(&mut self, attempt: usize) {
        let state = &mut self.attempts[attempt];
        let known = state.failed || state.pending == 0;
        if state.stage != Stage::LeftBehind || !known {
            return;
        }
        state.stage = Stage::Settled;
        let (list, parent, failed) = (state.list, state.parent, state.failed);
        let except = state.except.take();
        if failed {
            self.clear(list);
            if let Some(except) = except {
                self.spawn_late(*except, list, parent);
            }
        } else {
            self.lists[list].held = false;
        }
        if let Some(parent) = parent {
            self.release(parent);
        }
    }

    /// Something that an attempt waited for is over.
    pub(super) fn release(&mut self, attempt: usize) {
        self.attempts[attempt].pending -= 1;
        self.settle(attempt);
    }

    /// Whether an attempt has failed already, or one around it: what arrives for it is dropped.
    pub(super) fn has_failed(&self, attempt: Option<usize>) -> bool {
        let mut around = attempt;
        while let Some(attempt) = around {
            let attempt = &self.attempts[attempt];
            if attempt.failed {
                return true;
            }
            around = attempt.parent;
        }
        false
    }
}
