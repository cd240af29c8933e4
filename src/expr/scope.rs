//! What one document of one request offers to expressions: the request's facts, the variables assigned so far, the groups
//! of the last match, the arguments of the function being evaluated. A fragment starts with a scope of its own.

use std::sync::Arc;

use super::collection::List;
use super::error::{AssignError, EvalError, Excess};
use super::limits::Limits;
use super::name::Name;
use super::number;
use super::pattern::Patterns;
use super::request::{BuiltIn, RequestFacts};
use super::value::Value;
use super::variables::{Shadowed, Variables};

/// The variables of one document.
#[derive(Debug, Clone)]
pub struct Scope {
    request: Arc<RequestFacts>,
    limits: Limits,
    variables: Variables,
    /// A list, or missing before the first successful match.
    matches: Value,
    /// The arguments of the calls being evaluated, the innermost last.
    calls: Vec<Value>,
    last_random: Value,
    pub(super) patterns: Patterns,
}

/// The state of a scope at one moment, to which a failed attempt goes back. Cheap: nothing is copied until a variable
/// changes.
#[derive(Debug, Clone)]
pub struct Snapshot {
    variables: Variables,
    matches: Value,
}

impl Scope {
    /// A document without variables, for this request.
    pub fn new(request: Arc<RequestFacts>, limits: Limits) -> Self {
        Self {
            request,
            limits,
            variables: Variables::default(),
            matches: Value::Missing,
            calls: Vec::new(),
            last_random: Value::Missing,
            patterns: Patterns::default(),
        }
    }

    /// The client's request.
    pub fn request(&self) -> &Arc<RequestFacts> {
        &self.request
    }

    /// The bounds of the language.
    pub fn limits(&self) -> &Limits {
        &self.limits
    }

    /// The value of a variable, built-in or assigned; `key` asks for one entry.
    pub fn variable(&self, name: &Name, key: Option<&[u8]>) -> Value {
        self.read(name, BuiltIn::named(name.as_bytes()), key)
    }

    pub(super) fn read(&self, name: &Name, built_in: Option<BuiltIn>, key: Option<&[u8]>) -> Value {
        let whole = match built_in {
            None => self.variables.get(name),
            Some(BuiltIn::Matches) => Some(&self.matches),
            Some(BuiltIn::Arguments) => self.calls.last(),
            Some(of_request) => return self.request.value(of_request, name.as_bytes(), key),
        };
        match (whole, key) {
            (None, _) => Value::Missing,
            (Some(whole), None) => whole.clone(),
            (Some(whole), Some(key)) => entry(whole, key),
        }
    }

    /// Assigns a whole variable; on an error it keeps its old value. A missing value takes the variable away.
    pub fn assign(&mut self, name: &Name, value: Value) -> Result<(), AssignError> {
        refuse_built_in(name)?;
        self.variables.set(name, value, &self.limits)
    }

    /// Assigns one entry of a list or dictionary, `name{key}`; on an error nothing is changed. An integer key is a position
    /// of a list that exists; a text key on an unset name makes a dictionary.
    pub fn assign_entry(
        &mut self,
        name: &Name,
        key: &Value,
        value: Value,
    ) -> Result<(), AssignError> {
        refuse_built_in(name)?;
        self.variables.set_entry(name, key, value, &self.limits)
    }

    /// The state to which [`Scope::restore`] goes back: variables and the groups of the last match.
    pub fn snapshot(&self) -> Snapshot {
        Snapshot {
            variables: self.variables.clone(),
            matches: self.matches.clone(),
        }
    }

    /// Goes back to that state exactly.
    pub fn restore(&mut self, snapshot: Snapshot) {
        self.variables = snapshot.variables;
        self.matches = snapshot.matches;
    }

    /// Starts a loop over the item variable `name`, which is unset from now on; what it held comes back with
    /// [`Scope::unshadow`].
    pub fn shadow(&mut self, name: &Name) -> Result<Shadowed, AssignError> {
        refuse_built_in(name)?;
        Ok(self.variables.shadow(name))
    }

    /// Ends the loop: the item variable holds again what it held before.
    pub fn unshadow(&mut self, shadowed: Shadowed) {
        self.variables.unshadow(shadowed);
    }

    /// Keeps the groups of a match, under `name` when the test asks for that.
    pub(super) fn keep_groups(
        &mut self,
        groups: List,
        name: Option<&Name>,
    ) -> Result<(), EvalError> {
        let groups = Value::List(Arc::new(groups));
        match name {
            Some(name) if name.as_bytes() != b"MATCHES" => {
                self.assign(name, groups).map_err(EvalError::Captures)
            }
            _ => {
                self.matches = groups;
                Ok(())
            }
        }
    }

    /// Enters one of the document's own functions.
    pub(super) fn enter_call(&mut self, arguments: Vec<Value>) -> Result<(), EvalError> {
        let limit = self.limits.function_depth;
        if self.calls.len() >= limit {
            return Err(EvalError::FunctionDepth { limit });
        }
        let arguments = List::new(arguments, &self.limits).map_err(Excess::from)?;
        self.calls.push(Value::List(Arc::new(arguments)));
        Ok(())
    }

    /// Leaves it.
    pub(super) fn leave_call(&mut self) {
        self.calls.pop();
    }

    pub(super) fn last_random(&self) -> Value {
        self.last_random.clone()
    }

    pub(super) fn keep_random(&mut self, number: i64) {
        self.last_random = Value::Integer(number);
    }
}

fn refuse_built_in(name: &Name) -> Result<(), AssignError> {
    if name.is_built_in() {
        return Err(AssignError::BuiltIn {
            name: name.to_string(),
        });
    }
    Ok(())
}

/// One entry of a value; missing when it has none of that key or no entries at all.
fn entry(whole: &Value, key: &[u8]) -> Value {
    match whole {
        Value::Dictionary(dictionary) => dictionary.get(key).cloned(),
        Value::List(list) => number::read_integer(key)
            .and_then(|index| usize::try_from(index).ok())
            .and_then(|index| list.items().get(index).cloned()),
        _ => None,
    }
    .unwrap_or(Value::Missing)
}
