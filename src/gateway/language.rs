//! The bounds of the language from the configuration, as the rooms of the language take them.

use crate::config::LanguageLimits;
use crate::expr;

/// The bounds of expressions.
pub fn expression_limits(limits: &LanguageLimits) -> expr::Limits {
    expr::Limits {
        expression_bytes: limits.expression.as_usize(),
        depth: limits.expression_depth,
        entries: limits.list_entries,
        value_bytes: limits.variables.as_usize(),
        function_depth: limits.function_depth,
        regex_bytes: limits.regex.as_usize(),
    }
}
