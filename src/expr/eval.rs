//! Runs a program: a loop over its steps with a stack of values.

use std::sync::Arc;

use super::collection::{Dictionary, List};
use super::error::EvalError;
use super::functions;
use super::host::Host;
use super::name::Name;
use super::operators::{self, Binary};
use super::program::{ReadKey, Step, pairs};
use super::request::BuiltIn;
use super::scope::Scope;
use super::seen::Seen;
use super::value::Value;

/// A stack for more values than these is given back at once; a document with one long list need not hold it to its end.
const KEPT: usize = 64;

/// What a program of one step is worth, in its place; most programs are a constant or a reference. None for any other.
pub(super) fn see<'s>(steps: &'s [Step], scope: &'s Scope) -> Option<Seen<'s>> {
    match steps {
        [Step::Constant(value)] => Some(Seen::Value(value)),
        [
            Step::Read {
                name,
                built_in,
                key,
            },
        ] => look(scope, name, *built_in, key),
        _ => None,
    }
}

/// What a reference finds; none when its key is yet to be taken from the stack.
fn look<'s>(
    scope: &'s Scope,
    name: &Name,
    built_in: Option<BuiltIn>,
    key: &ReadKey,
) -> Option<Seen<'s>> {
    match key {
        ReadKey::Whole => Some(scope.see(name, built_in, None)),
        ReadKey::Constant(key) => Some(scope.see(name, built_in, Some(key))),
        ReadKey::Top => None,
    }
}

/// Runs a program to its value.
pub(super) fn run(
    steps: &[Step],
    groups: Option<&Name>,
    scope: &mut Scope,
    host: &mut dyn Host,
) -> Result<Value, EvalError> {
    if let Some(seen) = see(steps, scope) {
        return Ok(seen.taken());
    }
    // A function of the document that is called from here finds none, and makes its own.
    let stack = std::mem::take(&mut scope.stack);
    let mut machine = Machine {
        scope,
        host,
        groups,
        stack,
    };
    let result = machine.run(steps);
    let mut stack = machine.stack;
    if stack.capacity() <= KEPT {
        stack.clear();
        scope.stack = stack;
    }
    result
}

struct Machine<'a> {
    scope: &'a mut Scope,
    host: &'a mut dyn Host,
    /// Where the groups of a match go; `MATCHES` when nowhere is named.
    groups: Option<&'a Name>,
    stack: Vec<Value>,
}

impl Machine<'_> {
    fn run(&mut self, steps: &[Step]) -> Result<Value, EvalError> {
        // The top while it is what a comparison or a junction left: most of them are looked at at once.
        let mut truth: Option<bool> = None;
        let mut next = 0;
        while let Some(step) = steps.get(next) {
            next += 1;
            match step {
                Step::Decide { when, target } => {
                    if self.is_true(truth.take()) == *when {
                        truth = Some(*when);
                        next = *target;
                    }
                    continue;
                }
                Step::Not => {
                    truth = Some(!self.is_true(truth.take()));
                    continue;
                }
                Step::Truth => {
                    truth = Some(self.is_true(truth.take()));
                    continue;
                }
                _ => {}
            }
            if let Some(truth) = truth.take() {
                self.stack.push(Value::Boolean(truth));
            }
            match step {
                Step::KeepUnlessEmpty(target) => {
                    if top(&mut self.stack).is_empty() {
                        self.pop();
                    } else {
                        next = *target;
                    }
                }
                Step::Binary(operator) => {
                    let right = self.pop();
                    self.operate(*operator, &right)?;
                }
                Step::BinaryConstant(operator, right) => self.operate(*operator, right)?,
                Step::Read {
                    name,
                    built_in,
                    key,
                } => {
                    let Some(seen) = look(self.scope, name, *built_in, key) else {
                        let key = self.pop();
                        let value = self.scope.read(name, *built_in, Some(&key.to_text()));
                        self.stack.push(value);
                        continue;
                    };
                    // Most references are only compared with something: nothing need be taken for that.
                    if let Some(Step::BinaryConstant(operator, right)) = steps.get(next)
                        && let Some(holds) = operator.compare(&seen, right)
                    {
                        truth = Some(holds);
                        next += 1;
                    } else {
                        let value = seen.taken();
                        self.stack.push(value);
                    }
                }
                _ => {
                    let result = self.result(step)?;
                    self.stack.push(result);
                }
            }
        }
        Ok(match truth {
            Some(truth) => Value::Boolean(truth),
            None => self.pop(),
        })
    }

    /// Whether the top is true, which is taken away.
    fn is_true(&mut self, truth: Option<bool>) -> bool {
        truth.unwrap_or_else(|| self.pop().is_true())
    }

    /// Replaces the top by what an operator makes of it and its right side.
    fn operate(&mut self, operator: Binary, right: &Value) -> Result<(), EvalError> {
        let left = top(&mut self.stack);
        *left = operator.apply(left, right, self.scope.limits())?;
        Ok(())
    }

    /// The value of a step that takes some values off the stack and leaves one.
    fn result(&mut self, step: &Step) -> Result<Value, EvalError> {
        match step {
            Step::Negate => operators::negate(&self.pop()),
            Step::Range => {
                let (first, last) = self.pop_two();
                operators::range(&first, &last, self.scope.limits())
            }
            Step::Matches { ignore_case } => {
                let (text, pattern) = self.pop_two();
                let limits = *self.scope.limits();
                let patterns = &mut self.scope.patterns;
                let groups = patterns.groups(&pattern, *ignore_case, &text, &limits)?;
                self.keep_groups(groups)
            }
            Step::MatchesLiteral(pattern) => {
                let text = self.pop();
                let limits = *self.scope.limits();
                let patterns = &mut self.scope.patterns;
                let groups = patterns.groups_of_literal(pattern, &text, &limits)?;
                self.keep_groups(groups)
            }
            Step::List(count) => {
                let list = List::new(self.pop_many(*count), self.scope.limits())?;
                Ok(Value::List(Arc::new(list)))
            }
            Step::Dictionary(count) => {
                let values = self.pop_many(count.saturating_mul(2));
                let dictionary = Dictionary::new(pairs(&values), self.scope.limits())?;
                Ok(Value::Dictionary(Arc::new(dictionary)))
            }
            Step::CallBuiltIn(function, count) => {
                let start = self.stack.len().saturating_sub(*count);
                let arguments = self.stack.get(start..).unwrap_or_default();
                let result = function.apply(arguments, self.scope, self.host);
                self.stack.truncate(start);
                result
            }
            Step::CallOwn(name, count) => {
                let arguments = self.pop_many(*count);
                self.call_own(name, arguments)
            }
            Step::Constant(value) => Ok(value.clone()),
            // `run` deals with these.
            Step::Read { .. }
            | Step::KeepUnlessEmpty(_)
            | Step::Decide { .. }
            | Step::Not
            | Step::Truth
            | Step::Binary(_)
            | Step::BinaryConstant(..) => Ok(self.pop()),
        }
    }

    fn call_own(&mut self, name: &Name, arguments: Vec<Value>) -> Result<Value, EvalError> {
        self.scope.enter_call(arguments)?;
        let result = self.host.call(name.as_bytes(), self.scope);
        self.scope.leave_call();
        result.unwrap_or_else(|| {
            Err(EvalError::UnknownFunction {
                name: name.to_string(),
                nearest: functions::nearest(name.as_bytes()),
            })
        })
    }

    fn keep_groups(&mut self, groups: Option<List>) -> Result<Value, EvalError> {
        let Some(groups) = groups else {
            return Ok(Value::Boolean(false));
        };
        self.scope.keep_groups(groups, self.groups)?;
        Ok(Value::Boolean(true))
    }

    /// The top, taken away.
    fn pop(&mut self) -> Value {
        self.stack.pop().unwrap_or(Value::Missing)
    }

    fn pop_two(&mut self) -> (Value, Value) {
        let second = self.pop();
        (self.pop(), second)
    }

    fn pop_many(&mut self, count: usize) -> Vec<Value> {
        let start = self.stack.len().saturating_sub(count);
        self.stack.split_off(start)
    }
}

/// The top of a stack, in its place. Programs are written so that it is there; were it not, it would be missing.
fn top(stack: &mut Vec<Value>) -> &mut Value {
    if stack.is_empty() {
        stack.push(Value::Missing);
    }
    let last = stack.len() - 1;
    &mut stack[last]
}
