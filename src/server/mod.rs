//! Listeners: bind, accept, run until drained. Any [`handler::Handler`] can stand behind one.

pub mod handler;
