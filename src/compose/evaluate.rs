//! Evaluation of nodes: a thread walks the nodes of one document, appends what they emit to a list, and stops where the language
//! says that it waits (language reference, section 9). Open elements are frames of the thread, not of the program's stack.

use std::sync::Arc;

use bytes::Bytes;

use crate::compose::attempt::Before;
use crate::compose::document::{Code, Document};
use crate::compose::host::World;
use crate::compose::include::{Purpose, State};
use crate::compose::output::{self, Piece};
use crate::compose::page::Page;
use crate::compose::source::FragmentSource;
use crate::compose::url::Url;
use crate::expr::{self, EvalError, Expr, Name, Scope, Value};
use crate::template::Template;
use crate::template::tree::{
    Assign, Assigned, Body, Choose, Dynamic, Foreach, Inline, Node, Span, Text,
};

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
    result: Option<Value>,
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
}

/// Nodes being evaluated.
#[derive(Debug)]
pub(super) struct Frame {
    pub(super) unit: usize,
    next: u32,
    end: u32,
    pub(super) kind: FrameKind,
}

#[derive(Debug)]
pub(super) enum FrameKind {
    /// The content of a document, or of a branch.
    Body,
    /// The rounds of a loop.
    Loop {
        body: Body,
        item: Name,
        rounds: std::vec::IntoIter<Value>,
        shadowed: Option<expr::Shadowed>,
        offset: usize,
    },
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
        }
    }
}

impl Frame {
    pub(super) fn new(unit: usize, body: Body, kind: FrameKind) -> Self {
        Self {
            unit,
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

    fn advance(&mut self, thread: &mut Thread, scope: &mut Scope) -> Option<Wait> {
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
                let wait = self.leave(thread, scope);
                if wait.is_some() {
                    return wait;
                }
                continue;
            }
            let (unit, index) = (frame.unit, frame.next);
            frame.next += 1;
            let template = match &current {
                Some((known, template)) if *known == unit => Arc::clone(template),
                _ => {
                    let template = Arc::clone(&self.units[unit].template);
                    current = Some((unit, Arc::clone(&template)));
                    template
                }
            };
            if let Node::Text(span) = template.node(index) {
                self.push_text(thread.list, unit, *span);
                continue;
            }
            if let Flow::Wait(wait) = self.step(thread, scope, &template, unit, index) {
                // Perhaps what it would wait for is here already.
                let still = self.resume(thread, scope, wait);
                if still.is_some() {
                    return still;
                }
            }
        }
        None
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
            Node::Dynamic(dynamic) => self.dynamic(thread, scope, unit, dynamic),
            Node::Include(include) => {
                let sets = include.ssi.as_ref().is_some_and(|ssi| ssi.set.is_some());
                let purpose = if sets { Purpose::Assign } else { Purpose::Show };
                return flow(self.include(thread, scope, unit, include, purpose));
            }
            Node::Eval(include) => {
                return flow(self.include(thread, scope, unit, include, Purpose::Evaluate));
            }
            Node::Inline(inline) => self.inline(thread, unit, inline),
            Node::Choose(choose) => self.choose(thread, scope, unit, choose),
            Node::Try(tried) => self.enter_try(thread, scope, unit, tried),
            Node::Assign(assign) => self.assign(thread, scope, unit, index, assign),
            Node::Foreach(foreach) => self.foreach(thread, scope, unit, foreach),
            Node::Break => self.break_loop(thread, scope),
            Node::Function(function) => {
                let code = Code {
                    unit,
                    body: function.body,
                };
                let functions = &mut self.documents[thread.document].functions;
                let name = Bytes::copy_from_slice(function.name.as_bytes());
                Arc::make_mut(functions).insert(name, code);
            }
            Node::Return(returned) => {
                let value = self.evaluate(thread, scope, unit, returned.offset, &returned.value);
                thread.result = Some(value.unwrap_or(Value::Missing));
                self.leave_function(thread, scope);
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
            Node::Message => self.ssi_message(thread),
        }
        Flow::On
    }

    /// The content of a frame is through; gives what must be waited for before it is left.
    fn leave(&mut self, thread: &mut Thread, scope: &mut Scope) -> Option<Wait> {
        match thread.frames.last().map(|frame| &frame.kind) {
            Some(FrameKind::Attempt { .. }) => return self.leave_try(thread, scope),
            Some(FrameKind::Loop { .. }) => self.next_round(thread, scope),
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
    fn leave_list(&mut self, thread: &mut Thread, outer: usize) {
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
            self.push_shared(thread.list, template.document().clone());
            return;
        }
        let unit = self.evaluated_unit(slot, template);
        let unit = self.add_unit(unit);
        thread.frames.push(Frame::new(unit, root, FrameKind::Body));
    }

    // Output.

    pub(super) fn push_text(&mut self, list: usize, unit: usize, span: Span) {
        self.count((span.end - span.start) as usize);
        self.lists[list].pieces.push(Piece::Text(unit as u32, span));
    }

    pub(super) fn push_shared(&mut self, list: usize, bytes: Bytes) {
        if !bytes.is_empty() {
            self.count(bytes.len());
            self.lists[list].pieces.push(Piece::Bytes(bytes));
        }
    }

    /// Appends a value, escaped for the document where it comes from the request.
    fn push_value(&mut self, thread: &Thread, value: &Value, in_string: bool) {
        let escape = self.documents[thread.document].escape;
        let list = &mut self.lists[thread.list];
        let raw = list.raw;
        list.tainted |= raw && value.is_tainted();
        let out = list.values();
        let before = out.len();
        if raw {
            value.append_text(out);
        } else if in_string {
            expr::escape::append_json(&value.to_text(), out);
        } else {
            value.emit(escape, out);
        }
        let added = out.len() - before;
        self.count(added);
    }

    pub(super) fn taint_outer(&mut self, outer: usize, inner: usize) {
        let tainted = self.lists[inner].tainted;
        self.lists[outer].tainted |= tainted;
    }

    // Expressions.

    /// The value of an expression; a failure is logged.
    fn evaluate(
        &mut self,
        thread: &Thread,
        scope: &mut Scope,
        unit: usize,
        offset: usize,
        expr: &Expr,
    ) -> Option<Value> {
        let mut world = World {
            page: self,
            document: thread.document,
        };
        match expr.evaluate(scope, &mut world) {
            Ok(value) => Some(value),
            Err(error) => {
                self.template_error(unit, offset, &error);
                None
            }
        }
    }

    fn dynamic(&mut self, thread: &Thread, scope: &mut Scope, unit: usize, dynamic: &Dynamic) {
        for piece in &dynamic.pieces {
            match piece {
                expr::Piece::Literal(bytes) if dynamic.in_string => {
                    self.push_value(thread, &Value::text(bytes.clone()), true);
                }
                expr::Piece::Literal(bytes) => self.push_shared(thread.list, bytes.clone()),
                expr::Piece::Dynamic { offset, expr } => {
                    let offset = dynamic.offset + offset;
                    if let Some(value) = self.evaluate(thread, scope, unit, offset, expr) {
                        self.push_value(thread, &value, dynamic.in_string);
                    }
                }
            }
        }
    }

    /// The text of `src` or `alt`.
    pub(super) fn link(
        &mut self,
        thread: &Thread,
        scope: &mut Scope,
        unit: usize,
        offset: usize,
        text: &Text,
    ) -> Bytes {
        match text {
            Text::Constant(bytes) => bytes.clone(),
            Text::Ssi(text) => self.ssi_text(thread.document, unit, text),
            Text::Esi(text) => {
                let mut world = World {
                    page: self,
                    document: thread.document,
                };
                let (url, failures) = text.url(scope, &mut world);
                self.tell_failures(unit, offset, &failures);
                url.unwrap_or_default()
            }
        }
    }

    /// The text of another attribute, values as they are.
    pub(super) fn plain(
        &mut self,
        thread: &Thread,
        scope: &mut Scope,
        unit: usize,
        offset: usize,
        text: &Text,
    ) -> Bytes {
        match text {
            Text::Esi(text) => {
                let mut world = World {
                    page: self,
                    document: thread.document,
                };
                let (value, failures) = text.value(scope, &mut world);
                self.tell_failures(unit, offset, &failures);
                Bytes::from(value.to_text().into_owned())
            }
            other => self.link(thread, scope, unit, offset, other),
        }
    }

    fn tell_failures(&self, unit: usize, offset: usize, failures: &[(usize, EvalError)]) {
        for (_, error) in failures {
            self.template_error(unit, offset, error);
        }
    }

    // Elements.

    fn inline(&mut self, thread: &mut Thread, unit: usize, inline: &Inline) {
        // It may be shown again in text, so values in it are escaped as in text even where all around becomes a value.
        let list = self.new_list();
        self.lists[thread.list].pieces.push(Piece::List(list));
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

    fn choose(&mut self, thread: &mut Thread, scope: &mut Scope, unit: usize, choose: &Choose) {
        let mut chosen = choose.otherwise;
        for when in &choose.branches {
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
        if let Some(body) = chosen {
            thread.frames.push(Frame::new(unit, body, FrameKind::Body));
        }
    }

    fn assign(
        &mut self,
        thread: &mut Thread,
        scope: &mut Scope,
        unit: usize,
        node: u32,
        assign: &Assign,
    ) {
        match &assign.value {
            Assigned::Expression(expr) => {
                if let Some(value) = self.evaluate(thread, scope, unit, assign.offset, expr) {
                    self.set_target(thread, scope, unit, assign, value);
                }
            }
            Assigned::Empty => {
                self.set_target(thread, scope, unit, assign, Value::text(Bytes::new()))
            }
            Assigned::Content(body) => {
                let list = self.new_list();
                self.lists[list].raw = true;
                let outer = std::mem::replace(&mut thread.list, list);
                thread
                    .frames
                    .push(Frame::new(unit, *body, FrameKind::Assign { node, outer }));
            }
        }
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
    fn assign_content(&mut self, thread: &mut Thread, scope: &mut Scope) {
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
            self.set_target(thread, scope, frame.unit, assign, value);
        }
    }

    fn value_of(&self, list: usize) -> Value {
        Value::Text {
            bytes: output::collect(list, self.pages()),
            tainted: self.lists[list].tainted,
        }
    }

    fn foreach(&mut self, thread: &mut Thread, scope: &mut Scope, unit: usize, foreach: &Foreach) {
        let Some(value) = self.evaluate(thread, scope, unit, foreach.offset, &foreach.collection)
        else {
            return;
        };
        let shadowed = match scope.shadow(&foreach.item) {
            Ok(shadowed) => Some(shadowed),
            Err(error) => {
                self.template_error(unit, foreach.offset, &error);
                return;
            }
        };
        let kind = FrameKind::Loop {
            body: foreach.body,
            item: foreach.item.clone(),
            rounds: value.rounds().into_iter(),
            shadowed,
            offset: foreach.offset,
        };
        let nothing = Body {
            start: foreach.body.end,
            end: foreach.body.end,
        };
        // Its first round is entered like every other: when the content before it is through.
        thread.frames.push(Frame::new(unit, nothing, kind));
    }

    /// The loop on top of the thread starts its next round, or ends.
    fn next_round(&mut self, thread: &mut Thread, scope: &mut Scope) {
        let most = self.rules.config.limits.loop_rounds;
        let Some(frame) = thread.frames.last_mut() else {
            return;
        };
        let FrameKind::Loop {
            body,
            item,
            rounds,
            offset,
            ..
        } = &mut frame.kind
        else {
            return;
        };
        let (unit, offset) = (frame.unit, *offset);
        let Some(value) = rounds.next() else {
            self.end_loop(thread, scope);
            return;
        };
        if self.rounds >= most {
            self.template_error(
                unit,
                offset,
                &format_args!("more than {most} rounds of loops in one page"),
            );
            self.end_loop(thread, scope);
            return;
        }
        self.rounds += 1;
        (frame.next, frame.end) = (body.start, body.end);
        if let Err(error) = scope.assign(item, value) {
            self.template_error(unit, offset, &error);
            self.end_loop(thread, scope);
        }
    }

    fn end_loop(&mut self, thread: &mut Thread, scope: &mut Scope) {
        if let Some(Frame {
            kind:
                FrameKind::Loop {
                    shadowed: Some(shadowed),
                    ..
                },
            ..
        }) = thread.frames.pop()
        {
            scope.unshadow(shadowed);
        }
    }

    /// Leaves the innermost loop. An attempt on the way ends first: if it fails, the loop goes on.
    pub(super) fn break_loop(&mut self, thread: &mut Thread, scope: &mut Scope) {
        while let Some(frame) = thread.frames.last_mut() {
            match &mut frame.kind {
                FrameKind::Loop { .. } => {
                    self.end_loop(thread, scope);
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

    // Functions.

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
        self.lists[list].raw = true;
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

    /// `return`: whatever is open is left.
    fn leave_function(&mut self, thread: &mut Thread, scope: &mut Scope) {
        while let Some(frame) = thread.frames.last() {
            if matches!(frame.kind, FrameKind::Loop { .. }) {
                self.end_loop(thread, scope);
            } else {
                thread.frames.pop();
            }
        }
    }
}

fn flow(wait: Option<Wait>) -> Flow {
    wait.map_or(Flow::On, Flow::Wait)
}
