//! What one document of one request offers to expressions: the request's facts, the variables assigned so far, the groups
//! of the last match, the arguments of the function being evaluated. A fragment starts with a scope of its own.

use std::sync::Arc;

use super::error::AssignError;
use super::limits::Limits;
use super::name::Name;
use super::request::RequestFacts;
use super::value::Value;

/// The variables of one document.
#[derive(Debug, Clone)]
pub struct Scope {
    request: Arc<RequestFacts>,
    limits: Limits,
}

/// The state of a scope at one moment, to which a failed attempt goes back. Cheap: nothing is copied until a variable
/// changes.
#[derive(Debug, Clone)]
pub struct Snapshot(());

/// What a loop's item variable held before the loop.
#[derive(Debug)]
#[must_use = "the variable keeps the loop's last item unless it is restored"]
pub struct Shadowed(());

impl Scope {
    /// A document without variables, for this request.
    pub fn new(request: Arc<RequestFacts>, limits: Limits) -> Self {
        Self { request, limits }
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
    pub fn variable(&self, name: &[u8], key: Option<&[u8]>) -> Value {
        let _ = (name, key);
        Value::Missing
    }

    /// Assigns a whole variable; on an error it keeps its old value. A missing value takes the variable away.
    pub fn assign(&mut self, name: &Name, value: Value) -> Result<(), AssignError> {
        let _ = (name, value);
        Ok(())
    }

    /// Assigns one entry of a list or dictionary, `name{key}`. A text key on an unset name makes a dictionary.
    pub fn assign_entry(
        &mut self,
        name: &Name,
        key: &Value,
        value: Value,
    ) -> Result<(), AssignError> {
        let _ = (name, key, value);
        Ok(())
    }

    /// The state to which [`Scope::restore`] goes back: variables and the groups of the last match.
    pub fn snapshot(&self) -> Snapshot {
        Snapshot(())
    }

    /// Goes back to that state exactly.
    pub fn restore(&mut self, snapshot: Snapshot) {
        let _ = snapshot;
    }

    /// Starts a loop over the item variable `name`; what it held comes back with [`Scope::unshadow`].
    pub fn shadow(&mut self, name: &Name) -> Result<Shadowed, AssignError> {
        let _ = name;
        Ok(Shadowed(()))
    }

    /// Ends the loop: the item variable holds again what it held before.
    pub fn unshadow(&mut self, shadowed: Shadowed) {
        let _ = shadowed;
    }
}
