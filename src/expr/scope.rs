//! What one document of one request offers to expressions: the request's facts, the variables assigned so far, the groups
//! of the last match, the arguments of the function being evaluated. A fragment starts with a scope of its own.

use std::sync::Arc;

use super::collection::List;
use super::error::{AssignError, EvalError};
use super::limits::Limits;
use super::name::Name;
use super::number;
use super::pattern::Patterns;
use super::request::{BuiltIn, RequestFacts};
use super::seen::Seen;
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
    /// Room for the values of a program while it runs; empty between programs.
    pub(super) stack: Vec<Value>,
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
            stack: Vec::new(),
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
        self.see(name, built_in, key).taken()
    }

    /// What a reference finds, in its place.
    pub(super) fn see(
        &self,
        name: &Name,
        built_in: Option<BuiltIn>,
        key: Option<&[u8]>,
    ) -> Seen<'_> {
        let whole = match built_in {
            None => self.variables.get(name),
            Some(BuiltIn::Matches) => Some(&self.matches),
            Some(BuiltIn::Arguments) => self.calls.last(),
            Some(of_request) => return self.request.see(of_request, name.as_bytes(), key),
        };
        let found = match (whole, key) {
            (Some(whole), Some(key)) => entry(whole, key),
            (whole, _) => whole,
        };
        found.map_or(Seen::Made(Value::Missing), Seen::Value)
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
        let arguments = List::new(arguments, &self.limits)?;
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

/// One entry of a value; none when it has none of that key or no entries at all.
fn entry<'v>(whole: &'v Value, key: &[u8]) -> Option<&'v Value> {
    match whole {
        Value::Dictionary(dictionary) => dictionary.get(key),
        Value::List(list) => {
            let index = number::read_integer(key)?;
            list.items().get(usize::try_from(index).ok()?)
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::expr::{Excess, Expr, Target, World};

    fn scope() -> Scope {
        Scope::new(Arc::new(RequestFacts::default()), Limits::default())
    }

    fn set(scope: &mut Scope, name: &str, value: &str) {
        let value = get(scope, value);
        let target = Target::parse(name.as_bytes(), scope.limits()).unwrap();
        target.assign(value, scope, &mut World::empty()).unwrap();
    }

    fn get(scope: &mut Scope, expression: &str) -> Value {
        let expr = Expr::parse(expression.as_bytes(), scope.limits()).unwrap();
        expr.evaluate(scope, &mut World::empty()).unwrap()
    }

    #[test]
    fn a_failed_attempt_leaves_nothing_behind() {
        let mut scope = scope();
        set(&mut scope, "kept", "1");
        set(&mut scope, "d", "{'k': 'v'}");
        get(&mut scope, "'a' matches 'a'");
        let snapshot = scope.snapshot();
        set(&mut scope, "kept", "2");
        set(&mut scope, "d{k}", "'w'");
        set(&mut scope, "new", "3");
        get(&mut scope, "'b' matches 'b'");
        scope.restore(snapshot);
        let state = get(&mut scope, "[$(kept), $(d), $(new), $(MATCHES{0})]");
        assert_eq!(state.to_text(), &b"1,k=v,,a"[..]);
    }

    #[test]
    fn a_loop_gives_its_item_back() {
        let mut scope = scope();
        set(&mut scope, "x", "'before'");
        let name = Name::parse(b"x").unwrap();
        let shadowed = scope.shadow(&name).unwrap();
        let rounds = get(&mut scope, "{'a': 1, 'b': [2, 3]}").rounds();
        let mut seen = Vec::new();
        for item in rounds {
            scope.assign(&name, item).unwrap();
            seen.push(
                get(&mut scope, "$(x{0}) + '=' + $(x{1})")
                    .to_text()
                    .into_owned(),
            );
        }
        scope.unshadow(shadowed);
        assert_eq!(seen, [&b"a=1"[..], b"b=2,3"]);
        assert_eq!(get(&mut scope, "$(x)"), Value::text("before"));
    }

    #[test]
    fn an_unset_item_is_unset_after_the_loop() {
        let mut scope = scope();
        let name = Name::parse(b"x").unwrap();
        let shadowed = scope.shadow(&name).unwrap();
        scope.assign(&name, Value::Integer(1)).unwrap();
        scope.unshadow(shadowed);
        assert_eq!(scope.variable(&name, None), Value::Missing);
        assert!(scope.shadow(&Name::parse(b"HTTP_HOST").unwrap()).is_err());
    }

    #[test]
    fn nothing_grows_beyond_its_bound() {
        let mut scope = scope();
        set(&mut scope, "k", "'0123456789abcdef'");
        for _ in 0..15 {
            set(&mut scope, "k", "$(k) + $(k)");
        }
        let fails = |scope: &mut Scope, expression: &str| {
            let expr = Expr::parse(expression.as_bytes(), scope.limits()).unwrap();
            expr.evaluate(scope, &mut World::empty()).err()
        };
        let bytes = EvalError::Excess(Excess::Bytes { limit: 1 << 20 });
        let entries = EvalError::Excess(Excess::Entries { limit: 10_000 });
        for expression in [
            "$(k) + $(k) + $(k)",
            "[$(k), $(k)]",
            "{'a': $(k), 'b': $(k)}",
            "$replace($(k), 'a', '0123456789abcdef0123456789abcdef')",
            "$join([1..1000], $substr($(k), 0, 2000))",
            "$url_encode($replace($(k), 'a', '////////////'))",
            "$(k) matches '((((.*))))'",
            "[[1..9999], [1..9999], [1..9999], [1..9999], [1..9999]]",
        ] {
            assert_eq!(
                fails(&mut scope, expression),
                Some(bytes.clone()),
                "{expression}"
            );
        }
        for expression in [
            "[1..10001]",
            "[-9223372036854775808..9223372036854775807]",
            "[1..9999] + [1, 2]",
            "$string_split($(k), '')",
            "$string_split($(k), 'a')",
        ] {
            assert_eq!(
                fails(&mut scope, expression),
                Some(entries.clone()),
                "{expression}"
            );
        }
        assert_eq!(get(&mut scope, "$len([1..10000])"), Value::Integer(10_000));
        let name = Name::parse(b"more").unwrap();
        let large = Value::text(vec![b'x'; 600_000]);
        let excess = Excess::Bytes { limit: 1 << 20 };
        assert_eq!(scope.assign(&name, large), Err(AssignError::Excess(excess)));
    }

    #[test]
    fn lists_in_lists_end_somewhere() {
        let mut scope = scope();
        set(&mut scope, "l", "[]");
        for _ in 0..63 {
            set(&mut scope, "l", "[$(l)]");
        }
        let expr = Expr::parse(b"[$(l)]", scope.limits()).unwrap();
        let error = expr.evaluate(&mut scope, &mut World::empty()).unwrap_err();
        assert_eq!(error, EvalError::Excess(Excess::Nesting { limit: 64 }));
    }
}
