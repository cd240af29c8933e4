//! From a compiled page to its bytes: evaluated, its fragments fetched all at once, streamed in page order.
//!
//! Compose asks a [`source::FragmentSource`] for fragments and knows neither cache nor sockets.

pub mod limits;
pub mod source;
pub mod url;
pub mod watch;
