//! What is handed from floor to floor: a [`Request`], a [`Response`], a [`Body`].
//!
//! The types of the `http` crate with one body for both directions. No hyper here: the rooms with sockets turn its bodies into
//! ours at the door.

pub mod body;
pub mod cache_control;
pub mod client;
pub mod cookie;
pub mod date;
pub mod deadline;
pub mod headers;
pub mod outgoing;
pub mod structured;
pub mod target;

pub use body::{Body, BodyError};

/// A request as it travels through the house.
pub type Request = http::Request<Body>;

/// A response as it travels through the house.
pub type Response = http::Response<Body>;
