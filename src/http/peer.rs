//! Who is at the other end of a connection, as far as the connection itself says.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::SystemTime;

use crate::auth::{Certificate, Remote};

/// A connection, and who is at its other end.
#[derive(Clone, Debug)]
pub struct Peer {
    /// Its two ends.
    pub ends: Ends,
    /// What a handshake has shown; none where the connection is not encrypted.
    pub tls: Option<TlsPeer>,
    /// Who can reach the socket that it came in by.
    pub reach: Reach,
}

/// Who can reach a socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reach {
    /// This machine alone.
    Machine,
    /// Others too.
    Network,
}

/// The two ends of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ends {
    /// Of TCP.
    Tcp {
        /// The address of this side.
        local: SocketAddr,
        /// The address of the other side: a client's, or that of a proxy in front.
        remote: SocketAddr,
    },
    /// Of a unix socket: the process that has connected.
    Unix(Process),
}

/// A process of this machine, as the system knew it when it connected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Process {
    /// The number of its user.
    pub uid: u32,
    /// Its own; none where the system does not say it.
    pub pid: Option<i32>,
}

impl Ends {
    /// Where the other side is.
    pub const fn remote(&self) -> Remote {
        match self {
            Self::Tcp { remote, .. } => Remote::Address(remote.ip()),
            Self::Unix(process) => Remote::User(process.uid),
        }
    }
}

/// The other side, for the log.
impl fmt::Display for Ends {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp { remote, .. } => remote.fmt(f),
            Self::Unix(Process { uid, pid: Some(pid) }) => write!(f, "uid {uid} pid {pid}"),
            Self::Unix(Process { uid, pid: None }) => write!(f, "uid {uid}"),
        }
    }
}

/// What the TLS handshake of a connection has shown of its client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsPeer {
    /// Its certificate.
    pub certificate: ClientCertificate,
}

/// The certificate of a client. It was checked: of an authority of `--tls-client-ca`, valid when the connection began,
/// and for the key that the client has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ClientCertificate {
    /// It was not asked for one, or has none (`--tls-client-auth optional`).
    None,
    /// It has one without a name that can be used: an empty subject and no alternative name that is a URI or a DNS name, a
    /// name of more than 1,024 bytes, or one that cannot be read. It is nobody's, and not that of a client without one.
    Unnamed {
        /// The last moment at which it is valid; none where that cannot be read.
        until: Option<SystemTime>,
    },
    /// It has one that is somebody's.
    Named {
        /// Whom it is for: the subject, such as `CN=alice,O=Example` (RFC 4514, the last part first), or with an empty
        /// subject `URI:` and the first URI of the alternative names, or else `DNS:` and the first DNS name. `http::tls` has it
        /// exactly.
        subject: Arc<str>,
        /// The last moment at which it is valid (`notAfter`).
        until: SystemTime,
    },
}

impl TlsPeer {
    /// Whom the client's certificate is for; none without a certificate, or without a name in it.
    pub const fn subject(&self) -> Option<&Arc<str>> {
        match &self.certificate {
            ClientCertificate::Named { subject, .. } => Some(subject),
            ClientCertificate::None | ClientCertificate::Unnamed { .. } => None,
        }
    }

    /// The last moment at which the client is who its certificate says; none where that says nothing.
    pub const fn until(&self) -> Option<SystemTime> {
        match &self.certificate {
            ClientCertificate::Named { until, .. } => Some(*until),
            ClientCertificate::Unnamed { until } => *until,
            ClientCertificate::None => None,
        }
    }
}

impl Peer {
    /// Of a connection without encryption, by a socket that others can reach.
    pub const fn new(ends: Ends) -> Self {
        Self { ends, tls: None, reach: Reach::Network }
    }

    /// By a socket that these can reach.
    #[must_use]
    pub fn by(self, reach: Reach) -> Self {
        Self { reach, ..self }
    }

    /// The address of this side; none on a unix socket.
    pub const fn local_ip(&self) -> Option<IpAddr> {
        match self.ends {
            Ends::Tcp { local, .. } => Some(local.ip()),
            Ends::Unix(_) => None,
        }
    }

    /// The certificate that its client has shown.
    pub fn certificate(&self) -> Certificate<'_> {
        match self.tls.as_ref().map(|tls| &tls.certificate) {
            None | Some(ClientCertificate::None) => Certificate::None,
            Some(ClientCertificate::Unnamed { .. }) => Certificate::Unnamed,
            Some(ClientCertificate::Named { subject, until }) => Certificate::Named { subject, until: *until },
        }
    }

    /// Whether the connection is encrypted.
    pub const fn is_encrypted(&self) -> bool {
        self.tls.is_some()
    }
}
