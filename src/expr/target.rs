//! What an assignment names: `n`, `d{'k'}`, `l{0}`, `d{$(k)}`.

use super::error::AssignError;
use super::expression::Expr;
use super::host::Host;
use super::limits::Limits;
use super::name::Name;
use super::open::Open;
use super::program::{self, bare_key};
use super::reader::Reader;
use super::reference::{self, Key};
use super::scope::Scope;
use super::token::Cursor;
use super::value::Value;

/// A variable or one entry of it, as the `name` of an assign says.
#[derive(Debug, Clone)]
pub struct Target {
    name: Name,
    /// Few have one.
    key: Option<Box<TargetKey>>,
}

#[derive(Debug, Clone)]
enum TargetKey {
    Constant(Value),
    Reference(Expr),
}

impl Target {
    /// Reads the `name` of an assign; built-in names are refused here.
    pub fn parse(text: &[u8], limits: &Limits) -> Result<Self, AssignError> {
        // Most are a name and no more.
        if let Some(name) = Name::parse(text)
            && text.len() <= limits.expression_bytes
            && !name.is_built_in()
        {
            return Ok(Self { name, key: None });
        }
        if text.len() > limits.expression_bytes {
            return Err(AssignError::NotAName);
        }
        let mut cursor = Cursor::new(text, 0);
        let name = reference::read_name(&mut cursor)
            .map(Name::of_leading)
            .map_err(|_| AssignError::NotAName)?;
        let key = if cursor.rest().is_empty() {
            None
        } else {
            let key = reference::read_key(&mut cursor, limits.depth, &mut Open::default());
            Some(key.map_err(|_| AssignError::NotAName)?)
        };
        if !cursor.rest().is_empty() {
            return Err(AssignError::NotAName);
        }
        if name.is_built_in() {
            return Err(AssignError::BuiltIn {
                name: name.to_string(),
            });
        }
        let key = key.map(|key| {
            Box::new(match key {
                Key::Bare(bare) => TargetKey::Constant(bare_key(bare)),
                Key::Quoted(quoted) => TargetKey::Constant(program::text(quoted)),
                Key::Nested(written) => {
                    TargetKey::Reference(Reader::new(limits).reference(*written))
                }
            })
        });
        Ok(Self { name, key })
    }

    /// The variable.
    pub fn name(&self) -> &Name {
        &self.name
    }

    /// Bytes of memory that it holds beside its own.
    pub fn weight(&self) -> usize {
        let key = self.key.as_deref().map_or(0, |key| {
            let held = match key {
                TargetKey::Constant(value) => value.memory(),
                TargetKey::Reference(expr) => expr.weight(),
            };
            size_of::<TargetKey>() + held
        });
        self.name.weight() + key
    }

    /// Assigns `value` to it; on an error the variable keeps its old value.
    pub fn assign(
        &self,
        value: Value,
        scope: &mut Scope,
        host: &mut dyn Host,
    ) -> Result<(), AssignError> {
        match self.key.as_deref() {
            None => scope.assign_own(&self.name, value),
            Some(TargetKey::Constant(key)) => scope.assign_entry(&self.name, key, value),
            Some(TargetKey::Reference(key)) => {
                // References only read, so this cannot fail; were it to, the key would be missing, which is empty text.
                let key = key.evaluate(scope, host).unwrap_or(Value::Missing);
                scope.assign_entry(&self.name, &key, value)
            }
        }
    }
}
