//! A parsed expression: read once, evaluated for every request, never changed.

use super::error::{EvalError, ParseError};
use super::eval;
use super::functions::Subject;
use super::host::Host;
use super::limits::Limits;
use super::name::Name;
use super::parse;
use super::program::{Step, Writer};
use super::reference::Written;
use super::scope::Scope;
use super::value::Value;

/// A parsed expression.
#[derive(Debug, Clone)]
pub struct Expr {
    steps: Box<[Step]>,
    issues: Box<[Issue]>,
}

/// A variable or function that an expression names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reference<'a> {
    /// `$(NAME…)`.
    Variable(&'a Name),
    /// `$name(…)` of a built-in function.
    BuiltIn(&'static str),
    /// `$name(…)` of a function that the document must define.
    Own(&'a Name),
}

/// What looks wrong in an expression that can be parsed; it still evaluates, perhaps to a failure.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Issue {
    /// Bytes from the start of the text.
    pub offset: usize,
    /// What looks wrong.
    pub kind: IssueKind,
}

/// What looks wrong.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum IssueKind {
    /// No built-in function; the document may define it, which the caller knows.
    #[error("unknown function ${name}{}", nearest.map(|known| format!("; ${known} is known")).unwrap_or_default())]
    NotBuiltIn {
        /// As it is written.
        name: Name,
        /// The built-in name that is spelled most like it.
        nearest: Option<&'static str>,
    },
    /// This part fails whenever it is evaluated.
    #[error("{0}")]
    Fails(EvalError),
}

impl Expr {
    /// Reads an expression.
    pub fn parse(text: &[u8], limits: &Limits) -> Result<Self, ParseError> {
        parse::expression(text, limits).map(Self::from)
    }

    /// A single reference.
    pub(super) fn of_reference(written: &Written, limits: &Limits) -> Self {
        let mut writer = Writer::new(limits);
        writer.reference(written);
        Self::from(writer)
    }

    /// Its value in this scope.
    pub fn evaluate(&self, scope: &mut Scope, host: &mut dyn Host) -> Result<Value, EvalError> {
        eval::run(&self.steps, None, scope, host)
    }

    /// Whether a test on it succeeds. Captures of `matches` go to the variable `captures` (`matchname`), else to `MATCHES`.
    pub fn test(
        &self,
        captures: Option<&Name>,
        scope: &mut Scope,
        host: &mut dyn Host,
    ) -> Result<bool, EvalError> {
        eval::run(&self.steps, captures, scope, host).map(|value| value.is_true())
    }

    /// Its value, when it depends on nothing.
    pub fn as_constant(&self) -> Option<&Value> {
        match &self.steps[..] {
            [Step::Constant(value)] => Some(value),
            _ => None,
        }
    }

    /// The variables and functions that it names, in the order of evaluation, each as often as it stands there. Calls that
    /// were folded away, because their result is always the same, are not among them.
    pub fn references(&self) -> impl Iterator<Item = Reference<'_>> {
        self.steps.iter().filter_map(|step| match step {
            Step::Read { name, .. } => Some(Reference::Variable(name)),
            Step::CallBuiltIn(function, _) => Some(Reference::BuiltIn(function.name)),
            Step::CallOwn(name, _) => Some(Reference::Own(name)),
            _ => None,
        })
    }

    /// What looks wrong in it.
    pub fn issues(&self) -> &[Issue] {
        &self.issues
    }

    /// Whether it calls `$add_header`, `$set_response_code` or `$set_redirect` itself, in a branch that may be skipped or
    /// not.
    pub fn touches_response(&self) -> bool {
        self.steps.iter().any(|step| {
            matches!(step, Step::CallBuiltIn(function, _) if function.subject == Subject::Response)
        })
    }
}

impl From<Writer<'_>> for Expr {
    fn from(writer: Writer<'_>) -> Self {
        let (steps, issues) = writer.finish();
        Self { steps, issues }
    }
}
