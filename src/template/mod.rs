//! From bytes to a compiled [`Template`]; a broken page gives a template and its issues, never an error.

pub mod memo;

/// A compiled document.
#[derive(Debug)]
pub struct Template;
