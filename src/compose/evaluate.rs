//! Evaluation of nodes: a thread walks the nodes of one document, appends what they emit to a list, and stops where the language
//! says that it waits (language reference, section 9). Open elements are frames of the thread, not of the program's stack.

use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;

use crate::compose::attempt::Before;
use crate::compose::document::{Code, Document};
use crate::compose::elements::leave_function;
use crate::compose::include::{Purpose, State, without_mark};
use crate::compose::output::{self};
use crate::compose::page::Page;
use crate::compose::runs::{Runner, Tried};
use crate::compose::source::FragmentSource;
use crate::compose::url::Url;
use crate::expr::{self, Name, Scope, Value};
use crate::template::Template;
use crate::template::tree::{Body, Node};

/// An evaluation that is under way.
#[derive(Debug)]
pub(super) struct Thread {
    pub(super) document: usize,
    /// Where its output goes now.
    pub(super) list: usize,
    /// The innermost attempt that it is in.
    pub(super) attempt: Option<usize>,
    pub(super) frames: Vec<Frame>,
    /// The attempt that waits for its end.
    pub(super) releases: Option<usize>,
    wait: Option<Wait>,
    /// What `return` gave, in a function.
    pub(super) result: Option<Value>,
    /// What is done with the runs of the document, by the thread that evaluates it from its start.
    pub(super) runner: Option<Runner>,
    /// The `try` that it is in, where that may become a part of a run.
    pub(super) tried: Option<Tried>,
}

/// Content that is evaluated when its turn comes, over the variables of the moment at which it was met.
#[derive(Debug)]
pub(super) struct Late {
    pub(super) document: Document,
    pub(super) code: Code,
}

/// What evaluation waits for.
#[derive(Debug)]
pub(super) enum Wait {
    /// What `eval` brings.
    Evaluate { slot: usize, compose_first: bool },
    /// The body that becomes a variable.
    Assign {
        slot: usize,
        name: Bytes,
        offset: usize,
    },
    /// The answer for a slot.
    Answer { slot: usize },
    /// The outcome of an attempt.
    Attempt(usize),
    /// All of a list.
    Whole(usize),
    /// All of the content that answers an include.
    Inline(usize),
    /// The head of the page, which leaves first.
    Head,
}

/// Nodes being evaluated.
#[derive(Debug)]
pub(super) struct Frame {
    pub(super) unit: usize,
    pub(super) start: u32,
    pub(super) next: u32,
    pub(super) end: u32,
    pub(super) kind: FrameKind,
}

#[derive(Debug)]
pub(super) enum FrameKind {
    /// The content of a document, or of a branch.
    Body,
    /// The rounds of a loop; boxed, since frames are moved often and most are bodies.
    Loop(Box<Rounds>),
    /// The content of `attempt`.
    Attempt {
        outer: usize,
        except: Option<Body>,
        before: Option<Box<Before>>,
        breaking: bool,
    },
    /// The content of `inline` or `except`, which goes into a list of its own. An inline answers for its URL once it is there.
    Inside {
        outer: usize,
        answers: Option<Arc<Url>>,
    },
    /// The content of `assign`.
    Assign { node: u32, outer: usize },
}

/// A loop that is under way.
#[derive(Debug)]
pub(super) struct Rounds {
    pub(super) body: Body,
    pub(super) item: Name,
    pub(super) left: std::vec::IntoIter<Value>,
    /// What its variable held before.
    pub(super) shadowed: expr::Shadowed,
    pub(super) offset: usize,
}

enum Flow {
    On,
    Wait(Wait),
}

impl Thread {
    pub(super) fn new(
        document: usize,
        list: usize,
        attempt: Option<usize>,
        unit: usize,
        body: Body,
    ) -> Self {
        Self {
            document,
            list,
            attempt,
            frames: vec![Frame::new(unit, body, FrameKind::Body)],
            releases: None,
            wait: None,
            result: None,
            runner: None,
            tried: None,
        }
    }

    /// Whether it is where runs are: in the outermost content of a document whose runs are of interest, or in a branch there.
    pub(super) fn is_among_runs(&self) -> bool {
        let Some(outermost) = self.frames.first().filter(|_| self.runner.is_some()) else {
            return false;
        };
        let mut frames = self.frames.iter();
        frames.all(|frame| matches!(frame.kind, FrameKind::Body) && frame.unit == outermost.unit)
    }

    /// Whether the source is asked for tickets.
    pub(super) fn wants_tickets(&self) -> bool {
        let may_be_in_a_run = self.is_among_runs() || self.tried.is_some();
        may_be_in_a_run && self.runner.as_ref().is_some_and(Runner::wants_tickets)
    }
}

impl Frame {
    pub(super) fn new(unit: usize, body: Body, kind: FrameKind) -> Self {
        Self {
            unit,
            start: body.start,
            next: body.start,
            end: body.end,
            kind,
        }
    }
}

impl<S: FragmentSource> Page<S> {
    /// Evaluates until the thread ends or waits; gives it back in the second case.
    pub(super) fn run_thread(&mut self, mut thread: Thread) -> Option<Thread> {
        let document = thread.document;
        // A thread alone works on its document, so the scope is there.
        let mut scope = self.documents[document].scope.take()?;
        let wait = self.advance(&mut thread, &mut scope);
        self.documents[document].scope = Some(scope);
        if wait.is_some() {
            thread.wait = wait;
            return Some(thread);
        }
        self.lists[thread.list].complete = true;
        if let Some(attempt) = thread.releases {
            self.release(attempt);
        }
        None
    }

    pub(super) fn advance(&mut self, thread: &mut Thread, scope: &mut Scope) -> Option<Wait> {
        if let Some(wait) = thread.wait.take() {
            let still = self.resume(thread, scope, wait);
            if still.is_some() {
                return still;
            }
        }
        let mut current: Option<(usize, Arc<Template>)> = None;
        while self.failure.is_none() {
            let Some(frame) = thread.frames.last_mut() else {
                break;
            };
            if frame.next == frame.end {
                let (unit, end) = (frame.unit, frame.end);
                if thread.is_among_runs() {
                    let mark = self.mark(thread, end);
                    self.finish_runs(thread, unit, mark);
                }
                let wait = self.leave(thread, scope);
                if wait.is_some() {
                    return wait;
                }
                if let Some(tried) = thread.tried.take() {
                    self.record_try(thread, tried);
                }
                continue;
            }
            let (unit, nodes) = (frame.unit, frame.next..frame.end);
            if current.as_ref().is_none_or(|(known, _)| *known != unit) {
                current = Some((unit, Arc::clone(&self.units[unit].template)));
            }
            let Some((_, template)) = &current else {
                break;
            };
            let among_runs = thread.is_among_runs();
            let mut index = nodes.start;
            if among_runs {
                if let Some(behind) = self.take_run(thread, unit, index) {
                    if let Some(frame) = thread.frames.last_mut() {
                        frame.next = behind;
                    }
                    continue;
                }
            } else {
                index = self.straight_on(thread, scope, template, unit, nodes.clone());
            }
            if let Some(frame) = thread.frames.last_mut() {
                frame.next = nodes.end.min(index + 1);
            }
            if index == nodes.end || self.failure.is_some() {
                continue;
            }
            let mark = among_runs.then(|| self.mark(thread, index));
            if let (Some(mark), Node::Text(span)) = (mark, template.node(index)) {
                self.push_text(thread.list, unit, *span);
                Self::record_text(thread, mark);
                continue;
            }
            let flow = self.step(thread, scope, template, unit, index);
            match (mark, template.node(index)) {
                (Some(mark), Node::Try(tried)) if thread.may_record(template, tried) => {
                    thread.tried = Some(Tried::at(mark));
                }
                (Some(mark), _) => self.record_node(thread, mark),
                (None, _) => self.record_within_try(thread),
            }
            if let Flow::Wait(wait) = flow {
                // Perhaps what it would wait for is here already.
                let still = self.resume(thread, scope, wait);
                if still.is_some() {
                    return still;
                }
            }
        }
        None
    }

    /// Evaluates the nodes that neither wait nor open anything, up to the first that may; gives that one, or their end.
    pub(super) fn straight_on(
        &mut self,
        thread: &Thread,
        scope: &mut Scope,
        template: &Template,
        unit: usize,
        nodes: Range<u32>,
    ) -> u32 {
        let (mut at, end) = (nodes.start, nodes.end);
        let body = Body { start: at, end };
        for node in template.body(body) {
            match node {
                // What may be a part of a run is not joined with values.
                Node::Text(span) if thread.tried.is_some() => {
                    self.push_text(thread.list, unit, *span);
                }
                Node::Text(span) => self.push_inner_text(thread.list, unit, template, *span),
                Node::Dynamic(dynamic) => {
                    self.dynamic(thread, scope, unit, template.dynamic(*dynamic));
                }
                Node::Assign(assign)
                    if self.assign_attribute(thread, scope, unit, template.assign(*assign)) => {}
                _ => return at,
            }
            at += 1;
            if self.failure.is_some() {
                return at;
            }
        }
        at
    }

    fn step(
        &mut self,
        thread: &mut Thread,
        scope: &mut Scope,
        template: &Template,
        unit: usize,
        index: u32,
    ) -> Flow {
        match template.node(index) {
            Node::Text(span) => self.push_text(thread.list, unit, *span),
            Node::Dynamic(dynamic) => {
                self.dynamic(thread, scope, unit, template.dynamic(*dynamic));
            }
            Node::Include(include) => {
                let sets = include.ssi.as_ref().is_some_and(|ssi| ssi.set.is_some());
                let purpose = if sets { Purpose::Assign } else { Purpose::Show };
                return flow(self.include(thread, scope, unit, include, purpose));
            }
            Node::Eval(include) => {
                return flow(self.include(thread, scope, unit, include, Purpose::Evaluate));
            }
            Node::Inline(inline) => self.inline(thread, unit, inline),
            Node::Choose(choose) => self.choose(thread, scope, unit, template, choose),
            Node::Try(tried) => self.enter_try(thread, scope, unit, tried),
            Node::Assign(assign) => {
                self.assign(thread, scope, unit, index, template.assign(*assign));
            }
            Node::Foreach(foreach) => self.foreach(thread, scope, unit, foreach),
            Node::Break => self.break_loop(thread, scope),
            Node::Function(function) => {
                let code = Code {
                    unit,
                    body: function.body,
                };
                let functions = &mut self.documents[thread.document].functions;
                let name = Bytes::copy_from_slice(function.name.as_bytes());
                Arc::make_mut(functions.get_or_insert_default()).insert(name, code);
            }
            Node::Return(returned) => {
                let value = self.evaluate(thread, scope, unit, returned.offset, &returned.value);
                thread.result = Some(value.unwrap_or(Value::Missing));
                leave_function(thread, scope);
            }
            Node::If(condition) => self.ssi_if(thread, unit, condition),
            Node::Echo(echo) => self.ssi_echo(thread, unit, echo),
            Node::Set(set) => self.ssi_set(thread, unit, set),
            Node::Config(config) => self.ssi_config(thread, unit, config),
            Node::Block(block) => {
                let code = Code {
                    unit,
                    body: block.body,
                };
                let blocks = &mut self.documents[thread.document].ssi.blocks;
                Arc::make_mut(blocks).insert(block.name.clone(), code);
            }
            Node::Message { in_string } => self.ssi_message(thread, *in_string),
        }
        Flow::On
    }

    /// The content of a frame is through; gives what must be waited for before it is left.
    fn leave(&mut self, thread: &mut Thread, scope: &mut Scope) -> Option<Wait> {
        match thread.frames.last().map(|frame| &frame.kind) {
            Some(FrameKind::Attempt { .. }) => return self.leave_try(thread, scope),
            Some(FrameKind::Loop(_)) => self.next_round(thread, scope),
            Some(FrameKind::Inside { outer, answers }) => {
                let (outer, answers) = (*outer, answers.clone());
                if let Some(url) = answers {
                    let inlines = &mut self.documents[thread.document].inlines;
                    inlines.push((url, thread.list));
                }
                self.leave_list(thread, outer);
            }
            Some(FrameKind::Assign { .. }) => {
                self.lists[thread.list].complete = true;
                if !output::is_whole(thread.list, self.pages()) {
                    return Some(Wait::Whole(thread.list));
                }
                self.assign_content(thread, scope);
            }
            Some(FrameKind::Body) | None => {
                thread.frames.pop();
            }
        }
        None
    }

    /// Output goes back to the list around the one at hand.
    pub(super) fn leave_list(&mut self, thread: &mut Thread, outer: usize) {
        self.lists[thread.list].complete = true;
        self.taint_outer(outer, thread.list);
        thread.list = outer;
        thread.frames.pop();
    }

    /// Whether a wait is over; what came is then put in its place. Gives the wait back when it is not.
    fn resume(&mut self, thread: &mut Thread, scope: &mut Scope, wait: Wait) -> Option<Wait> {
        match wait {
            Wait::Answer { slot } => {
                matches!(self.slots[slot].state, State::Waiting).then_some(wait)
            }
            Wait::Attempt(attempt) => {
                let open = self.attempts[attempt].pending > 0 && !self.attempts[attempt].failed;
                open.then_some(wait)
            }
            Wait::Whole(list) => (!output::is_whole(list, self.pages())).then_some(wait),
            Wait::Head => self.parts.is_some().then_some(wait),
            Wait::Inline(list) => {
                if !output::is_whole(list, self.pages()) {
                    return Some(wait);
                }
                // Copied, so that inlines that show each other stay within the limit of the page.
                let bytes = output::collect(list, self.pages());
                self.push_shared(thread.list, bytes);
                None
            }
            Wait::Assign { slot, .. } | Wait::Evaluate { slot, .. } => {
                match &self.slots[slot].state {
                    State::Waiting => return Some(wait),
                    State::KeptList(list) if !output::is_whole(*list, self.pages()) => {
                        return Some(wait);
                    }
                    _ => {}
                }
                self.take(thread, scope, wait, slot);
                None
            }
        }
    }

    /// Takes what has come out of its slot: into a variable, or to be evaluated.
    fn take(&mut self, thread: &mut Thread, _scope: &mut Scope, wait: Wait, slot: usize) {
        let shown = matches!(self.slots[slot].state, State::Bytes(_));
        if shown {
            // The error message, or the fragment of an `eval` that is not to be evaluated.
            return;
        }
        let state = std::mem::replace(&mut self.slots[slot].state, State::Empty);
        let body = match &state {
            State::KeptBytes(bytes) => bytes.clone(),
            State::KeptList(list) => output::collect(*list, self.pages()),
            _ => Bytes::new(),
        };
        match (wait, state) {
            (Wait::Assign { name, offset, .. }, _) => {
                let unit = thread.frames.last().map_or(0, |frame| frame.unit);
                self.ssi_assign(thread.document, unit, offset, &name, body);
            }
            (Wait::Evaluate { .. }, State::Template(template)) => {
                self.enter_evaluated(thread, slot, template);
            }
            (
                Wait::Evaluate {
                    compose_first: true,
                    ..
                },
                State::KeptList(_),
            ) => {
                let template = self.compile(slot, body);
                self.enter_evaluated(thread, slot, template);
            }
            _ => {}
        }
    }

    fn enter_evaluated(&mut self, thread: &mut Thread, slot: usize, template: Arc<Template>) {
        let root = template.root();
        if !template.has_tags() {
            self.push_shared(thread.list, without_mark(template.document().clone()));
            return;
        }
        let unit = self.evaluated_unit(slot, template);
        let unit = self.add_unit(unit);
        thread.frames.push(Frame::new(unit, root, FrameKind::Body));
    }
}

fn flow(wait: Option<Wait>) -> Flow {
    wait.map_or(Flow::On, Flow::Wait)
}
