//! A parsed expression: read once, evaluated for every request, never changed.

use super::error::{EvalError, ParseError, ParseErrorKind};
use super::host::Host;
use super::limits::Limits;
use super::name::Name;
use super::scope::Scope;
use super::value::Value;

/// A parsed expression.
#[derive(Debug, Clone)]
pub struct Expr {
    _later: (),
}

/// A variable or function that an expression names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reference {
    /// `$(NAME…)`.
    Variable(Name),
    /// `$name(…)` of a built-in function.
    BuiltIn(&'static str),
    /// `$name(…)` of a function that the document must define.
    Own(Name),
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
    #[error("unknown function ${name}")]
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
        let _ = limits;
        Err(ParseError {
            offset: 0,
            kind: ParseErrorKind::Unexpected {
                found: String::from_utf8_lossy(text).into_owned(),
                expected: "a value",
            },
        })
    }

    /// Its value in this scope.
    pub fn evaluate(&self, scope: &mut Scope, host: &mut dyn Host) -> Result<Value, EvalError> {
        let _ = (scope, host);
        Ok(Value::Missing)
    }

    /// Whether a test on it succeeds. Captures of `matches` go to the variable `captures` (`matchname`), else to `MATCHES`.
    pub fn test(
        &self,
        captures: Option<&Name>,
        scope: &mut Scope,
        host: &mut dyn Host,
    ) -> Result<bool, EvalError> {
        let _ = captures;
        self.evaluate(scope, host).map(|value| value.is_true())
    }

    /// The variables and functions that it names, in order, each as often as it stands there.
    pub fn references(&self) -> &[Reference] {
        &[]
    }

    /// What looks wrong in it.
    pub fn issues(&self) -> &[Issue] {
        &[]
    }

    /// Whether it calls `$add_header`, `$set_response_code` or `$set_redirect`.
    pub fn touches_response(&self) -> bool {
        false
    }
}
