//! Marquetry, an edge-side-include composition gateway.
//!
//! It stands between a page cache and application servers: it fetches the page skeleton from the cached layer, finds the
//! include tags in it, fetches the fragments concurrently with the user's cookie, keeps shared fragments cached across users,
//! and streams the composed page. `ARCHITECTURE.md` draws the plan of the house; the modules below stand in reading order.

pub mod admin;
pub mod allocator;
pub mod bench;
pub mod cache;
pub mod cli;
pub mod compose;
pub mod config;
pub mod demo;
pub mod diagnostic;
pub mod expr;
pub mod fetch;
pub mod gateway;
pub mod lint;
pub mod message;
pub mod observe;
pub mod routing;
pub mod server;
pub mod template;
pub mod upstream;
