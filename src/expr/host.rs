//! What evaluation asks of the world outside the language. `compose` implements it for a page and for a fragment; tests
//! implement it with a fixed clock and fixed chance.

use super::error::EvalError;
use super::scope::Scope;
use super::value::Value;

/// Why a host does not do what a response function asks, in a few words for the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Refusal(pub &'static str);

/// The world outside the language.
pub trait Host {
    /// Evaluates the document's own function `name`. Its arguments stand in `scope` already (`$(ARGS{0})`) and are taken
    /// out again when this returns; the depth of calls has been checked. `None`: the document has no such function.
    fn call(&mut self, name: &[u8], scope: &mut Scope) -> Option<Result<Value, EvalError>>;

    /// `$add_header(name, value)`. The name is a token and the value has no CR, LF or NUL; which headers may not be set
    /// is for the host to say.
    fn add_header(&mut self, name: &[u8], value: &[u8]) -> Result<(), Refusal>;

    /// `$set_response_code(code[, body])`; the code is 200 to 599.
    fn set_response_code(&mut self, code: u16, body: Option<&[u8]>) -> Result<(), Refusal>;

    /// `$set_redirect(url)`; the URL has no CR, LF or NUL.
    fn set_redirect(&mut self, url: &[u8]) -> Result<(), Refusal>;

    /// Seconds since 1970, for `$time()`.
    fn now(&mut self) -> i64;

    /// A number from 0 up to but not including `below`, which is not 0, for `$rand()`.
    fn random(&mut self, below: u64) -> u64;
}

/// A host without a document around it: it has no functions, refuses every change of a response, and its clock and chance
/// are what it is given. For tools and tests.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct World {
    /// What `$time()` gives.
    pub now: i64,
    /// What `$rand()` gives, as far as it is below its bound.
    pub chance: u64,
}

impl World {
    /// The first second of 1970, where chance gives 0.
    pub fn empty() -> Self {
        Self::default()
    }
}

impl Host for World {
    fn call(&mut self, _: &[u8], _: &mut Scope) -> Option<Result<Value, EvalError>> {
        None
    }

    fn add_header(&mut self, _: &[u8], _: &[u8]) -> Result<(), Refusal> {
        Err(Refusal("there is no response"))
    }

    fn set_response_code(&mut self, _: u16, _: Option<&[u8]>) -> Result<(), Refusal> {
        Err(Refusal("there is no response"))
    }

    fn set_redirect(&mut self, _: &[u8]) -> Result<(), Refusal> {
        Err(Refusal("there is no response"))
    }

    fn now(&mut self) -> i64 {
        self.now
    }

    fn random(&mut self, below: u64) -> u64 {
        self.chance % below.max(1)
    }
}
