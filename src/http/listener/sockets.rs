//! The sockets that are listened on: ports, and sockets in the file system.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;

use tokio::net::{TcpListener, TcpSocket, UnixListener, lookup_host};

use super::file::SocketFile;
use super::handed::Handed;
use super::stream::Stream;
use crate::config::ListenConfig;
use crate::config::listen::{Chosen, ListenAddress};
use crate::error::StartupError;
use crate::http::peer::{Ends, Process, Reach};

/// A socket that listens.
#[derive(Debug)]
pub(super) struct Socket {
    /// Its file, where it is ours. Before the socket itself: clients find none rather than one that is dead.
    pub(super) _file: Option<SocketFile>,
    pub(super) acceptor: Acceptor,
    pub(super) bound: Bound,
}

#[derive(Debug)]
pub(super) enum Acceptor {
    Tcp(TcpListener),
    Unix(UnixListener),
}

/// Where a socket listens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Bound {
    /// On a port.
    Tcp {
        /// The host as it was given; none where it was not.
        host: Option<String>,
        /// The address, with the port that the system chose.
        address: SocketAddr,
    },
    /// In the file system; none: nowhere there (a socket that was handed over).
    Unix(Option<PathBuf>),
}

impl fmt::Display for Bound {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp { address, .. } => address.fmt(f),
            Self::Unix(Some(path)) => write!(f, "unix:{}", path.display()),
            Self::Unix(None) => f.write_str("unix:"),
        }
    }
}

impl Bound {
    /// Who can reach it.
    pub fn reach(&self) -> Reach {
        match self {
            Self::Tcp { address, .. } if !address.ip().to_canonical().is_loopback() => Reach::Network,
            Self::Tcp { .. } | Self::Unix(_) => Reach::Machine,
        }
    }
}

impl Socket {
    /// The next connection.
    ///
    /// # Cancel safety
    /// None is lost.
    pub(super) async fn accept(&self) -> io::Result<(Stream, Ends)> {
        match &self.acceptor {
            Acceptor::Tcp(socket) => {
                let (stream, remote) = socket.accept().await?;
                // Without it nobody could say whether a request was meant for this machine.
                let local = stream.local_addr().map_err(|_| io::ErrorKind::ConnectionAborted)?;
                Ok((Stream::Tcp(stream), Ends::Tcp { local, remote }))
            }
            Acceptor::Unix(socket) => {
                let (stream, _) = socket.accept().await?;
                // Nobody is let in of whom it is not known who that is.
                let of_client = stream.peer_cred().map_err(|_| io::ErrorKind::ConnectionAborted)?;
                let process = Process { uid: of_client.uid(), pid: of_client.pid() };
                Ok((Stream::Unix(stream), Ends::Unix(process)))
            }
        }
    }
}

/// All that is to be listened on, or nothing.
pub(super) async fn bind(config: &ListenConfig, handed: &mut Handed) -> Result<Vec<Socket>, StartupError> {
    let by_themselves = [ListenAddress::Handed(None)];
    let by_default = config.chosen == Chosen::ByDefault && !handed.is_empty();
    let addresses = if by_default { &by_themselves[..] } else { &config.addresses };
    let mut sockets = Vec::new();
    // Those with a name first: the others are what is left.
    let is_rest = |address: &&ListenAddress| matches!(address, ListenAddress::Handed(None));
    for address in addresses.iter().filter(|address| !is_rest(address)).chain(addresses.iter().filter(is_rest)) {
        match address {
            ListenAddress::Tcp { host, port } => sockets.push(bind_host(host, *port, config).await?),
            ListenAddress::Unix(path) => {
                let unusable = |why| StartupError::ListenUnix { path: path.clone(), source: why };
                let (file, socket) = SocketFile::listen(path, &config.unix, BACKLOG).await.map_err(unusable)?;
                let bound = Bound::Unix(Some(path.clone()));
                sockets.push(Socket { _file: Some(file), acceptor: Acceptor::Unix(socket), bound });
            }
            ListenAddress::Handed(name) => sockets.extend(handed.use_of(name.as_deref())?),
        }
    }
    for socket in &sockets {
        if let Acceptor::Tcp(socket) = &socket.acceptor {
            let unusable = |source| StartupError::System { what: "set up a socket", source };
            prepare(socket, config).map_err(unusable)?;
        }
    }
    Ok(sockets)
}

/// The first of the host's addresses that can be bound.
async fn bind_host(host: &str, port: u16, config: &ListenConfig) -> Result<Socket, StartupError> {
    let unknown = |source| StartupError::HostUnknown { host: host.to_owned(), source };
    let mut failure = None;
    for address in lookup_host((host, port)).await.map_err(unknown)? {
        match bind_address(address, config) {
            Ok(socket) => {
                let address = socket.local_addr().unwrap_or(address);
                let bound = Bound::Tcp { host: Some(host.to_owned()), address };
                return Ok(Socket { _file: None, acceptor: Acceptor::Tcp(socket), bound });
            }
            Err(error) => failure = failure.or(Some(error)),
        }
    }
    match failure {
        Some(source) => Err(StartupError::Listen { host: host.to_owned(), port, source }),
        None => Err(unknown(io::ErrorKind::NotFound.into())),
    }
}

fn bind_address(address: SocketAddr, config: &ListenConfig) -> io::Result<TcpListener> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
    // So that a restart does not wait for the connections of the last run to be forgotten.
    socket.set_reuseaddr(true)?;
    // `::` means IPv4 too, which must not be in the way of an address of IPv4 beside it.
    if address.is_ipv6() && address.ip().is_unspecified() && has_ipv4(address.port(), config) {
        rustix::net::sockopt::set_ipv6_v6only(&socket, true)?;
    }
    socket.bind(address)?;
    socket.listen(BACKLOG)
}

fn has_ipv4(port: u16, config: &ListenConfig) -> bool {
    config.addresses.iter().any(|address| match address {
        ListenAddress::Tcp { host, port: of_host } => *of_host == port && port != 0 && !host.contains(':'),
        ListenAddress::Unix(_) | ListenAddress::Handed(_) => false,
    })
}

/// Inherited by the connections.
fn prepare(socket: &TcpListener, config: &ListenConfig) -> io::Result<()> {
    // A client whose machine is gone is noticed.
    rustix::net::sockopt::set_socket_keepalive(socket, true)?;
    // One that is there and takes nothing of what waits for it is let go.
    #[cfg(target_os = "linux")]
    {
        let millis = u32::try_from(config.connection.untaken_timeout.as_millis()).unwrap_or(u32::MAX);
        rustix::net::sockopt::set_tcp_user_timeout(socket, millis)?;
    }
    Ok(())
}

const BACKLOG: u32 = 4096;
