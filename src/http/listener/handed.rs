//! Sockets that systemd has opened and hands over (`sd_listen_fds(3)`).
//!
//! Invariants: they are taken once, before anything else is opened or started; a process that mcp-mux starts inherits none.

use std::collections::VecDeque;
use std::io;
use std::net::TcpListener as StdTcpListener;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixListener as StdUnixListener;
use std::sync::atomic::{AtomicBool, Ordering};

use rustix::io::{FdFlags, fcntl_setfd};
use rustix::net::{AddressFamily, SocketType, getsockname, sockopt};
use tokio::net::{TcpListener, UnixListener};
use tracing::warn;

use super::sockets::{Acceptor, Bound, Socket};
use crate::error::StartupError;

/// Sockets that were handed over and not used yet.
#[derive(Debug, Default)]
pub struct Handed {
    sockets: VecDeque<(String, OwnedFd)>,
}

impl Handed {
    /// None: for programs that nobody hands anything over to.
    pub fn none() -> Self {
        Self::default()
    }

    /// Takes what was handed over to this process, by its environment (`LISTEN_PID`, `LISTEN_FDS`, `LISTEN_FDNAMES`). To be
    /// called first of all: what is opened before could be taken for it. Only the first call takes any.
    ///
    /// # Errors
    /// The environment says what cannot be.
    pub fn take() -> Result<Self, StartupError> {
        static TAKEN: AtomicBool = AtomicBool::new(false);
        if TAKEN.swap(true, Ordering::AcqRel) {
            return Ok(Self::none());
        }
        let number = |name| std::env::var(name).ok().and_then(|text| text.parse::<usize>().ok());
        // What was meant for another process is nothing to this one.
        let is_ours = number("LISTEN_PID") == usize::try_from(std::process::id()).ok();
        // Each is looked at.
        if is_ours && number("LISTEN_FDS").is_some_and(|count| count > SOCKETS_MAX) {
            return Err(StartupError::Handed(format!("LISTEN_FDS says that there are more than {SOCKETS_MAX}")));
        }
        let handed = sd_listen_fds::get();
        let handed = handed.map_err(|_| StartupError::Handed("LISTEN_PID or LISTEN_FDS is no number".to_owned()))?;
        let mut sockets = VecDeque::new();
        let mut missing = false;
        for (name, socket) in handed {
            let socket = socket.into_std();
            if fcntl_setfd(&socket, FdFlags::CLOEXEC).is_ok() {
                sockets.push_back((name.unwrap_or_default(), socket));
            } else {
                // There is nothing to close.
                std::mem::forget(socket);
                missing = true;
            }
        }
        if missing {
            return Err(StartupError::Handed("LISTEN_FDS says that there are more than there are".to_owned()));
        }
        Ok(Self { sockets })
    }

    /// Whether there is none, or none any more.
    pub fn is_empty(&self) -> bool {
        self.sockets.is_empty()
    }

    /// Those with this name, or all that are left.
    ///
    /// # Errors
    /// [`StartupError::Handed`]: there is none, or one that cannot be listened on.
    pub(super) fn use_of(&mut self, name: Option<&str>) -> Result<Vec<Socket>, StartupError> {
        let (of_name, others) =
            self.sockets.drain(..).partition(|(of_socket, _)| name.is_none_or(|name| name == of_socket));
        self.sockets = others;
        let of_name: VecDeque<(String, OwnedFd)> = of_name;
        if of_name.is_empty() {
            return Err(StartupError::Handed(match name {
                Some(name) => format!("there is none with the name {name}"),
                None => "there is none".to_owned(),
            }));
        }
        let socket = |(name, socket): (String, OwnedFd)| {
            adopt(socket).map_err(|why| StartupError::Handed(format!("the one with the name {name:?} {why}")))
        };
        of_name.into_iter().map(socket).collect()
    }

    /// Those that nobody wanted are closed.
    pub(super) fn close(self) {
        if !self.is_empty() {
            let names: Vec<_> = self.sockets.iter().map(|(name, _)| name.as_str()).collect();
            warn!(
                names = names.join(", "),
                "sockets that systemd has opened are not used: --listen systemd: would use them"
            );
        }
    }
}

/// As it is, but that nobody waits for it. The errors say what is wrong with it.
fn adopt(socket: OwnedFd) -> Result<Socket, String> {
    let unusable = |error: io::Error| format!("cannot be used: {error}");
    let is_stream = sockopt::socket_type(&socket).is_ok_and(|kind| kind == SocketType::STREAM);
    if !is_stream {
        return Err("is no stream socket (ListenStream=)".to_owned());
    }
    if !sockopt::socket_acceptconn(&socket).unwrap_or(false) {
        return Err("does not listen (Accept=no)".to_owned());
    }
    let address = getsockname(&socket).map_err(|error| unusable(error.into()))?;
    match address.address_family() {
        AddressFamily::INET | AddressFamily::INET6 => {
            let socket = StdTcpListener::from(socket);
            socket.set_nonblocking(true).map_err(unusable)?;
            let socket = TcpListener::from_std(socket).map_err(unusable)?;
            let bound = Bound::Tcp { host: None, address: socket.local_addr().map_err(unusable)? };
            Ok(Socket { acceptor: Acceptor::Tcp(socket), bound, _file: None })
        }
        AddressFamily::UNIX => {
            let socket = StdUnixListener::from(socket);
            socket.set_nonblocking(true).map_err(unusable)?;
            let path = socket.local_addr().map_err(unusable)?.as_pathname().map(Into::into);
            let socket = UnixListener::from_std(socket).map_err(unusable)?;
            // Its file is systemd's.
            Ok(Socket { acceptor: Acceptor::Unix(socket), bound: Bound::Unix(path), _file: None })
        }
        _ => Err("is neither of TCP nor a unix socket".to_owned()),
    }
}

/// More are a mistake.
const SOCKETS_MAX: usize = 256;

#[cfg(test)]
mod tests {
    use std::net::UdpSocket;

    use rustix::net::SocketFlags;

    use super::*;

    fn handed(sockets: Vec<(&str, OwnedFd)>) -> Handed {
        Handed { sockets: sockets.into_iter().map(|(name, socket)| (name.to_owned(), socket)).collect() }
    }

    fn port() -> OwnedFd {
        StdTcpListener::bind("127.0.0.1:0").expect("a port").into()
    }

    #[tokio::test]
    async fn sockets_are_used_by_name_and_the_rest_by_no_name() {
        let mut handed = handed(vec![("a", port()), ("b", port()), ("a", port()), ("", port())]);
        assert_eq!(handed.use_of(Some("a")).expect("two").len(), 2);
        assert!(handed.use_of(Some("a")).expect_err("they are used").to_string().contains("with the name a"));
        assert_eq!(handed.use_of(None).expect("two").len(), 2);
        assert!(handed.is_empty() && handed.use_of(None).is_err());
    }

    #[tokio::test]
    async fn what_cannot_be_listened_on_is_told_apart() {
        let folder = tempfile::TempDir::new().expect("a folder");
        let path = folder.path().join("a.sock");
        let unix = StdUnixListener::bind(&path).expect("a socket");
        let used = handed(vec![("a", unix.into())]).use_of(None).expect("it can be used");
        assert_eq!(used[0].bound, Bound::Unix(Some(path)));

        let datagrams = UdpSocket::bind("127.0.0.1:0").expect("a port");
        let new = rustix::net::socket_with(AddressFamily::INET, SocketType::STREAM, SocketFlags::CLOEXEC, None);
        let file = std::fs::File::open("/dev/null").expect("it is there");
        for (socket, why) in [
            (OwnedFd::from(datagrams), "ListenStream="),
            (new.expect("a socket"), "Accept=no"),
            (file.into(), "ListenStream="),
        ] {
            let error = handed(vec![("x", socket)]).use_of(None).expect_err(why);
            assert!(error.to_string().contains(why), "{error}");
        }
    }
}
