//! A parsed expression as a program for a stack of values. There is no tree to walk: evaluation is a loop, so that neither
//! a deep expression nor functions that call each other can exhaust the stack of a thread, whose size nobody knows.
//!
//! Constants are folded while the program is written, unless the result is larger than what it came from: a few bytes of a
//! page must not become a megabyte that lives as long as the page does.

use std::borrow::Cow;
use std::ops::Deref;
use std::sync::Arc;

use bytes::Bytes;

use super::collection::{Dictionary, List};
use super::error::EvalError;
use super::expression::{Issue, IssueKind};
use super::functions::{self, Action, Function};
use super::limits::Limits;
use super::name::Name;
use super::number;
use super::operators::{self, Binary};
use super::pattern::LiteralPattern;
use super::reference::{self, Plain, Written};
use super::request::BuiltIn;
use super::short::Short;
use super::value::Value;

/// One step. "The top" is the top of the stack.
#[derive(Debug, Clone)]
pub(super) enum Step {
    /// Pushes a constant.
    Constant(Value),
    /// Pushes a variable or an entry of it.
    Read {
        name: Name,
        built_in: Option<BuiltIn>,
        key: ReadKey,
    },
    /// Goes to a later step when the top is there and not empty; else takes it away, and the default follows.
    KeepUnlessEmpty(usize),
    /// Replaces the top by its opposite.
    Not,
    /// Replaces the top by its negative.
    Negate,
    /// Replaces the top two by the result.
    Binary(Binary),
    /// Replaces the top by the result, the right side being this.
    BinaryConstant(Binary, Value),
    /// Replaces the top two, a text and a pattern, by whether it matches.
    Matches { ignore_case: bool },
    /// Replaces the top by whether it matches.
    MatchesLiteral(Arc<LiteralPattern>),
    /// When the top decides (`true` for `|`, `false` for `&`), replaces it by this boolean and goes to a later step; else
    /// takes it away.
    Decide { when: bool, target: usize },
    /// Replaces the top by whether it is true.
    Truth,
    /// Replaces so many values by a list.
    List(usize),
    /// Replaces so many pairs of key and value by a dictionary.
    Dictionary(usize),
    /// Replaces the top two by a list from one to the other.
    Range,
    /// Replaces so many arguments by the result of a built-in function.
    CallBuiltIn(&'static Function, usize),
    /// Replaces so many arguments by the result of one of the document's functions.
    CallOwn(Name, usize),
}

impl Step {
    /// Bytes of memory that it holds beside its own.
    pub(super) fn weight(&self) -> usize {
        match self {
            Self::Constant(value) | Self::BinaryConstant(_, value) => value.memory(),
            Self::Read { name, key, .. } => {
                let key = match key {
                    ReadKey::Constant(key) => key.weight(),
                    ReadKey::Whole | ReadKey::Top => 0,
                };
                name.weight() + key
            }
            Self::MatchesLiteral(pattern) => pattern.weight(),
            Self::CallOwn(name, _) => name.weight(),
            _ => 0,
        }
    }
}

/// How a variable is read.
#[derive(Debug, Clone)]
pub(super) enum ReadKey {
    /// All of it.
    Whole,
    /// The entry of a key that is written in the expression.
    Constant(Short),
    /// The entry of the key that is the top, which is taken away.
    Top,
}

/// A program. Most are a single step, which needs no memory of its own; where others are the same, they are shared.
#[derive(Debug, Clone)]
pub(super) enum Program {
    One(Step),
    Many(Arc<[Step]>),
}

impl Deref for Program {
    type Target = [Step];

    fn deref(&self) -> &[Step] {
        match self {
            Self::One(step) => std::slice::from_ref(step),
            Self::Many(steps) => steps,
        }
    }
}

/// Writes programs, one after the other, in the same room.
#[derive(Debug)]
pub(super) struct Writer<'a> {
    pub(super) limits: &'a Limits,
    steps: Vec<Step>,
    issues: Vec<Issue>,
    /// Steps before this one may be the way to it from elsewhere, so they are not folded with later ones.
    barrier: usize,
}

impl<'a> Writer<'a> {
    pub(super) fn new(limits: &'a Limits) -> Self {
        Self {
            limits,
            steps: Vec::new(),
            issues: Vec::new(),
            barrier: 0,
        }
    }

    /// Forgets a program that was begun.
    pub(super) fn start_anew(&mut self) {
        self.steps.clear();
        self.issues.clear();
        self.barrier = 0;
    }

    /// The program and what looks wrong in it.
    pub(super) fn finish(&mut self) -> (Program, Option<Box<[Issue]>>) {
        let only = if self.steps.len() == 1 {
            self.steps.pop()
        } else {
            None
        };
        let program = if let Some(only) = only {
            Program::One(only)
        } else {
            Program::Many(self.steps.drain(..).collect())
        };
        self.barrier = 0;
        let issues = (!self.issues.is_empty()).then(|| self.issues.split_off(0).into());
        (program, issues)
    }

    pub(super) fn constant(&mut self, value: Value) {
        self.steps.push(Step::Constant(value));
    }

    pub(super) fn not(&mut self) {
        self.fold_or(0, Step::Not, 1, |operands, _| {
            Ok(Value::Boolean(!operands.iter().all(Value::is_true)))
        });
    }

    pub(super) fn negate(&mut self, offset: usize) {
        self.fold_or(offset, Step::Negate, 1, |operands, _| match operands {
            [value] => operators::negate(value),
            _ => Ok(Value::Missing),
        });
    }

    pub(super) fn binary(&mut self, offset: usize, operator: Binary) {
        let step = Step::Binary(operator);
        if let Some([Step::Constant(left), Step::Constant(right)]) = self.constants(2) {
            let weight = left.weight() + right.weight();
            let result = operator.apply(left, right, self.limits);
            return self.folded(offset, step, 2, weight, result);
        }
        // A right side that is a constant, and that every way to the operator leads over, is a part of the step.
        let last = self.steps.len().saturating_sub(1);
        match self.steps.get_mut(last) {
            Some(step @ Step::Constant(_)) if last >= self.barrier => {
                let constant = std::mem::replace(step, Step::Truth);
                if let Step::Constant(right) = constant {
                    *step = Step::BinaryConstant(operator, right);
                }
            }
            _ => self.steps.push(step),
        }
    }

    pub(super) fn range(&mut self, offset: usize) {
        self.fold_or(offset, Step::Range, 2, |operands, limits| match operands {
            [first, last] => operators::range(first, last, limits),
            _ => Ok(Value::Missing),
        });
    }

    pub(super) fn list(&mut self, offset: usize, count: usize) {
        self.fold_or(offset, Step::List(count), count, |operands, limits| {
            let list = List::new(operands.to_vec(), limits)?;
            Ok(Value::List(Arc::new(list)))
        });
    }

    pub(super) fn dictionary(&mut self, offset: usize, count: usize) {
        let operands = count.saturating_mul(2);
        self.fold_or(
            offset,
            Step::Dictionary(count),
            operands,
            |operands, limits| {
                let dictionary = Dictionary::new(pairs(operands), limits)?;
                Ok(Value::Dictionary(Arc::new(dictionary)))
            },
        );
    }

    /// `matches` with its two operands; a pattern that is a constant is compiled here.
    pub(super) fn matches(&mut self, offset: usize, ignore_case: bool) {
        let pattern = match self.constants(1) {
            Some([Step::Constant(Value::Text { bytes, .. })]) => bytes.clone(),
            _ => return self.steps.push(Step::Matches { ignore_case }),
        };
        match LiteralPattern::new(pattern, ignore_case, self.limits) {
            Ok(pattern) => {
                self.steps.pop();
                self.steps.push(Step::MatchesLiteral(Arc::new(pattern)));
            }
            Err(error) => {
                self.issue(offset, IssueKind::Fails(error));
                self.steps.push(Step::Matches { ignore_case });
            }
        }
    }

    /// The start of a right side of `|` (`when` is true) or `&`, which may be skipped; gives what [`Writer::land_all`] needs.
    /// Until they land, each of several such steps that go to the same place leads to the one `before` it, the first to itself.
    pub(super) fn decide(&mut self, when: bool, before: Option<usize>) -> usize {
        let here = self.steps.len();
        let target = before.unwrap_or(here);
        self.steps.push(Step::Decide { when, target });
        here
    }

    /// The end of the last right side: the step at `jump` and those before it come here.
    pub(super) fn land_all(&mut self, mut jump: usize) {
        while let Some(Step::Decide { target, .. }) = self.steps.get(jump) {
            let before = *target;
            self.land(jump);
            // Each leads to an earlier one, so this ends.
            if before >= jump {
                break;
            }
            jump = before;
        }
    }

    /// The step at `jump` comes here.
    fn land(&mut self, jump: usize) {
        let here = self.steps.len();
        if let Some(Step::Decide { target, .. } | Step::KeepUnlessEmpty(target)) =
            self.steps.get_mut(jump)
        {
            *target = here;
        }
        self.barrier = here;
    }

    /// The value is wanted as a boolean.
    pub(super) fn truth(&mut self) {
        self.steps.push(Step::Truth);
    }

    /// A call; unknown names are left to the document.
    /// Its name is one.
    pub(super) fn call(&mut self, offset: usize, name: &[u8], count: usize) {
        let Some(function) = functions::find(name) else {
            let name = Name::of_leading(name);
            let nearest = functions::nearest(name.as_bytes());
            self.issue(
                offset,
                IssueKind::NotBuiltIn {
                    name: name.clone(),
                    nearest,
                },
            );
            return self.steps.push(Step::CallOwn(name, count));
        };
        let step = Step::CallBuiltIn(function, count);
        match function.action {
            Action::Pure(_) => self.fold_or(offset, step, count, |operands, limits| {
                function.apply_pure(operands, limits)
            }),
            Action::Effect(_) => {
                if let Err(error) = function.check_count(count) {
                    self.issue(offset, IssueKind::Fails(error));
                }
                self.steps.push(step);
            }
        }
    }

    pub(super) fn plain_reference(&mut self, written: &Plain<'_>) {
        self.steps.push(plain_read(written));
    }

    pub(super) fn reference(&mut self, written: Written<'_>) {
        let key = match written.key {
            None => ReadKey::Whole,
            Some(reference::Key::Bare(text)) => ReadKey::Constant(Short::new(text)),
            Some(reference::Key::Quoted(text)) => ReadKey::Constant(Short::new(&text)),
            Some(reference::Key::Nested(nested)) => {
                // As deep as the reader allows.
                self.reference(*nested);
                ReadKey::Top
            }
        };
        self.steps.push(read(written.name, key));
        let Some(default) = written.default else {
            return;
        };
        let jump = self.steps.len();
        self.steps.push(Step::KeepUnlessEmpty(0));
        match default {
            reference::Default::Text(default) => self.constant(text(default)),
            reference::Default::Nested(nested) => self.reference(*nested),
        }
        self.land(jump);
    }

    fn issue(&mut self, offset: usize, kind: IssueKind) {
        self.issues.push(Issue { offset, kind });
    }

    /// The last `count` steps when all are constants that nothing jumps between.
    fn constants(&self, count: usize) -> Option<&[Step]> {
        let start = self.steps.len().checked_sub(count)?;
        let steps = self.steps.get(start..)?;
        let all = steps.iter().all(|step| matches!(step, Step::Constant(_)));
        (start >= self.barrier && all).then_some(steps)
    }

    /// Replaces `count` constants by their result; when they are none, the step itself is written.
    fn fold_or(
        &mut self,
        offset: usize,
        step: Step,
        count: usize,
        result: impl FnOnce(&[Value], &Limits) -> Result<Value, EvalError>,
    ) {
        let Some(constants) = self.constants(count) else {
            // An argument count that is wrong is wrong whatever the arguments are.
            if let Step::CallBuiltIn(function, count) = &step
                && let Err(error) = function.check_count(*count)
            {
                self.issue(offset, IssueKind::Fails(error));
            }
            return self.steps.push(step);
        };
        let limits = self.limits;
        let carry_out = |operands: &[Value]| {
            let weight = operands.iter().map(Value::weight).sum::<usize>();
            (weight, result(operands, limits))
        };
        let (weight, result) = match constants {
            [Step::Constant(only)] => carry_out(std::slice::from_ref(only)),
            [Step::Constant(left), Step::Constant(right)] => {
                carry_out(&[left.clone(), right.clone()])
            }
            _ => {
                let values = constants.iter().filter_map(|step| match step {
                    Step::Constant(value) => Some(value.clone()),
                    _ => None,
                });
                carry_out(&values.collect::<Vec<_>>())
            }
        };
        self.folded(offset, step, count, weight, result);
    }

    /// Replaces `count` constants of this weight by what came of them; when that is too large to live with the page, or a
    /// failure, the step itself is written.
    fn folded(
        &mut self,
        offset: usize,
        step: Step,
        count: usize,
        weight: usize,
        result: Result<Value, EvalError>,
    ) {
        const SMALL: usize = 256;
        match result {
            Ok(value) if value.weight() <= weight.max(SMALL) => {
                self.steps.truncate(self.steps.len() - count);
                self.constant(value);
            }
            Ok(_) => self.steps.push(step),
            Err(error) => {
                self.issue(offset, IssueKind::Fails(error));
                self.steps.push(step);
            }
        }
    }
}

/// The step that a plain reference is.
#[inline]
pub(super) fn plain_read(written: &Plain<'_>) -> Step {
    let key = match written.key {
        None => ReadKey::Whole,
        Some(key) => ReadKey::Constant(Short::new(key)),
    };
    read(written.name, key)
}

#[inline]
fn read(name: &[u8], key: ReadKey) -> Step {
    Step::Read {
        built_in: BuiltIn::named(name),
        name: Name::of_leading(name),
        key,
    }
}

/// Text of the document as a value that outlives it.
pub(super) fn text(text: Cow<'_, [u8]>) -> Value {
    Value::text(match text {
        Cow::Borrowed(slice) => Bytes::copy_from_slice(slice),
        Cow::Owned(text) => Bytes::from(text),
    })
}

/// Values two by two.
pub(super) fn pairs(values: &[Value]) -> Vec<(Value, Value)> {
    values
        .chunks_exact(2)
        .filter_map(|pair| match pair {
            [key, value] => Some((key.clone(), value.clone())),
            _ => None,
        })
        .collect()
}

/// A key of an assignment as a value: digits in their shortest form are a position, all else is text.
pub(super) fn bare_key(text: &[u8]) -> Value {
    match number::read_integer(text) {
        Some(index) if index.to_string().as_bytes() == text => Value::Integer(index),
        _ => Value::text(Bytes::copy_from_slice(text)),
    }
}
