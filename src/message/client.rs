//! Who asks: what a listener knows of the connection that a request came on.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

/// The connection of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Connection {
    /// The other end of the socket (a trusted proxy in front, or the client itself).
    pub peer: SocketAddr,
    /// Our end of the socket.
    pub local: SocketAddr,
    /// Whether the connection is encrypted.
    pub tls: bool,
}

impl Connection {
    /// That of a request which is made within the process, and came on none.
    pub const NONE: Self = Self {
        peer: SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), 0),
        local: SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), 0),
        tls: false,
    };
}
