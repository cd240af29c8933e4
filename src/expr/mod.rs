//! The expression language of ESI and the interpolation of text: `$(HTTP_COOKIE{a}) == 'x'`, `Hello $(name|guest)`.
//!
//! An expression is parsed once, when its page is compiled ([`Expr`], [`Interpolation`], [`Target`]), and evaluated for
//! each request over a [`Scope`] (what the request and its document offer) and a [`Host`] (what lies outside: the bodies
//! of the document's own functions, the response, the clock, chance). This module knows text and values; neither tags nor
//! HTTP. SSI has a grammar of its own and shares only the escapes and the dates.

pub mod error;
pub mod escape;
pub mod expression;
pub mod host;
pub mod interpolate;
pub mod limits;
pub mod name;
pub mod request;
pub mod scope;
pub mod target;
pub mod value;

pub use error::{AssignError, EvalError, ParseError, ParseErrorKind};
pub use escape::Escape;
pub use expression::{Expr, Issue, IssueKind, Reference};
pub use host::{Host, Refusal};
pub use interpolate::{Interpolation, Piece};
pub use limits::Limits;
pub use name::Name;
pub use request::RequestFacts;
pub use scope::{Scope, Shadowed, Snapshot};
pub use target::Target;
pub use value::{Dictionary, Kind, List, Value};
