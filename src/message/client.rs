//! Who asks: what a listener knows of the connection that a request came on.

use std::net::SocketAddr;

/// The connection of a request; the listener puts it among the request's extensions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Connection {
    /// The other end of the socket (a trusted proxy in front, or the client itself).
    pub peer: SocketAddr,
    /// Our end of the socket.
    pub local: SocketAddr,
    /// Whether the connection is encrypted.
    pub tls: bool,
}
