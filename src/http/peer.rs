//! Who is at the other end of a connection, as far as the connection itself says.

use std::net::SocketAddr;

/// The two ends of a connection.
#[derive(Clone, Debug)]
pub struct Peer {
    /// The address of this side.
    pub local: SocketAddr,
    /// The address of the other side: a client's, or that of a proxy in front.
    pub remote: SocketAddr,
}

impl Peer {
    /// Of a connection without encryption.
    pub const fn new(local: SocketAddr, remote: SocketAddr) -> Self {
        Self { local, remote }
    }

    /// Whether the connection is encrypted.
    pub const fn is_encrypted(&self) -> bool {
        false
    }
}
