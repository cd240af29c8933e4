//! Runs a program: a loop over its steps with a stack of values.

use std::sync::Arc;

use super::collection::{Dictionary, List};
use super::error::EvalError;
use super::functions;
use super::host::Host;
use super::name::Name;
use super::operators;
use super::program::{ReadKey, Step, pairs};
use super::request::BuiltIn;
use super::scope::Scope;
use super::value::Value;

/// A stack for more values than these is given back at once; a document with one long list need not hold it to its end.
const KEPT: usize = 64;

/// Runs a program to its value.
pub(super) fn run(
    steps: &[Step],
    groups: Option<&Name>,
    scope: &mut Scope,
    host: &mut dyn Host,
) -> Result<Value, EvalError> {
    // Most programs are one constant or one variable: nothing needs a stack then.
    match steps {
        [Step::Constant(value)] => return Ok(value.clone()),
        [
            Step::Read {
                name,
                built_in,
                key: ReadKey::Whole,
            },
        ] => {
            return Ok(scope.read(name, *built_in, None));
        }
        [
            Step::Read {
                name,
                built_in,
                key: ReadKey::Constant(key),
            },
        ] => {
            return Ok(scope.read(name, *built_in, Some(key)));
        }
        _ => {}
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
        let mut next = 0;
        while let Some(step) = steps.get(next) {
            next = self.step(step)?.unwrap_or(next + 1);
        }
        Ok(self.pop())
    }

    /// Carries out one step; gives the next when it is not the following one.
    fn step(&mut self, step: &Step) -> Result<Option<usize>, EvalError> {
        match step {
            Step::KeepUnlessEmpty(target) => {
                if self.stack.last().is_some_and(|top| !top.is_empty()) {
                    return Ok(Some(*target));
                }
                self.pop();
            }
            Step::Decide { when, target } => {
                if self.pop().is_true() == *when {
                    self.stack.push(Value::Boolean(*when));
                    return Ok(Some(*target));
                }
            }
            _ => {
                let result = self.result(step)?;
                self.stack.push(result);
            }
        }
        Ok(None)
    }

    /// The value of a step that takes some values and leaves one.
    fn result(&mut self, step: &Step) -> Result<Value, EvalError> {
        match step {
            Step::Constant(value) => Ok(value.clone()),
            Step::Read {
                name,
                built_in,
                key,
            } => Ok(self.read(name, *built_in, key)),
            Step::Not => Ok(Value::Boolean(!self.pop().is_true())),
            Step::Truth => Ok(Value::Boolean(self.pop().is_true())),
            Step::Negate => operators::negate(&self.pop()),
            Step::Binary(operator) => {
                let (left, right) = self.pop_two();
                operator.apply(&left, &right, self.scope.limits())
            }
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
            // Jumps leave no value; `step` deals with them.
            Step::KeepUnlessEmpty(_) | Step::Decide { .. } => Ok(Value::Missing),
        }
    }

    fn read(&mut self, name: &Name, built_in: Option<BuiltIn>, key: &ReadKey) -> Value {
        match key {
            ReadKey::Whole => self.scope.read(name, built_in, None),
            ReadKey::Constant(key) => self.scope.read(name, built_in, Some(key)),
            ReadKey::Top => {
                let key = self.pop();
                self.scope.read(name, built_in, Some(&key.to_text()))
            }
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

    /// The top. Programs are written so that it is there; were it not, the value would be missing.
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
