//! The expression language of ESI and the interpolation of text: `$(HTTP_COOKIE{a}) == 'x'`, `Hello $(name|guest)`.
//!
//! An expression is parsed once, when its page is compiled ([`Expr`], [`Interpolation`], [`Target`]), and evaluated for
//! each request over a [`Scope`] (what the request and its document offer) and a [`Host`] (what lies outside: the bodies
//! of the document's own functions, the response, the clock, chance). This module knows text and values; neither tags nor
//! HTTP. SSI has a grammar of its own and shares only the escapes and the dates.
//!
//! ```
//! use std::sync::Arc;
//! use marquetry::expr::{Expr, Limits, RequestFacts, Scope, World};
//!
//! let limits = Limits::default();
//! let expr = Expr::parse(b"$(QUERY_STRING{n}) * 2 + 1", &limits).unwrap();
//! let request = RequestFacts { query: "n=20".into(), ..RequestFacts::default() };
//! let mut scope = Scope::new(Arc::new(request), limits);
//! let value = expr.evaluate(&mut scope, &mut World::empty()).unwrap();
//! assert_eq!(&value.to_text()[..], b"41");
//! ```

pub mod collection;
pub mod error;
pub mod escape;
mod eval;
pub mod expression;
pub mod functions;
pub mod host;
pub mod interpolate;
pub mod limits;
pub mod name;
pub mod number;
mod open;
mod operators;
mod parse;
mod pattern;
mod program;
#[cfg(test)]
mod properties;
pub mod reader;
mod reference;
pub mod request;
pub mod scope;
pub mod seen;
mod short;
pub mod target;
mod token;
mod user_agent;
pub mod value;
mod variables;

pub use collection::{Dictionary, List};
pub use error::{AssignError, EvalError, Excess, ParseError, ParseErrorKind};
pub use escape::Escape;
pub use expression::{Expr, Issue, IssueKind, Reference};
pub use host::{Host, Refusal, World};
pub use interpolate::{Failures, Interpolation, Piece};
pub use limits::Limits;
pub use name::Name;
pub use pattern::COMPILED_PATTERN;
pub use reader::Reader;
pub use request::RequestFacts;
pub use scope::{Scope, Snapshot};
pub use seen::Seen;
pub use target::Target;
pub use value::{Kind, Value};
pub use variables::Shadowed;
