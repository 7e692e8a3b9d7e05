//! The port: binding it, accepting connections, and one task per connection that speaks HTTP/1.1 or HTTP/2.
//!
//! Knows nothing of MCP: what a request means is up to the handler. Invariants: an error of one connection, or of
//! accepting one, ends nothing else; a connection that sends no request, or takes nothing of what is sent to it, goes away;
//! there are never more connections than are allowed, in all and of one address; every task is on the tracker, and none outlives [`Stop::end`].

mod activity;
mod connection;
mod encrypted;
mod frames;
mod places;
mod repoll;
mod watched;

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use http::{Request, Response};
use hyper::body::{Body, Incoming};
use tokio::net::{TcpListener, TcpSocket, lookup_host};
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::{Instrument, debug, debug_span, warn};

use self::connection::Protocol;
use self::places::Places;
use super::peer::Peer;
use super::tls::Tls;
use crate::config::{ConnectionConfig, ListenConfig};
use crate::error::StartupError;

/// A bound port.
#[derive(Debug)]
pub struct Listener {
    socket: TcpListener,
    local: SocketAddr,
    places: Places,
    tls: Option<Arc<Tls>>,
    connection: ConnectionConfig,
}

/// The two steps of stopping.
#[derive(Clone, Debug)]
pub struct Stop {
    /// Accept no more; close what is idle; end each connection after the requests it has.
    pub drain: CancellationToken,
    /// Drop every connection. Implies the first.
    pub end: CancellationToken,
}

impl Default for Stop {
    fn default() -> Self {
        let end = CancellationToken::new();
        Self { drain: end.child_token(), end }
    }
}

impl Listener {
    /// Binds the port: the first of the host's addresses that can be bound.
    ///
    /// # Errors
    /// [`StartupError::HostUnknown`], [`StartupError::Listen`].
    pub async fn bind(config: &ListenConfig) -> Result<Self, StartupError> {
        let ListenConfig { host, port, .. } = config;
        let addresses = lookup_host((host.as_str(), *port)).await;
        let addresses = addresses.map_err(|source| StartupError::HostUnknown { host: host.clone(), source })?;
        let mut failure = None;
        for address in addresses {
            match bind(address, config) {
                Ok(listener) => return Ok(listener),
                Err(error) => failure = failure.or(Some(error)),
            }
        }
        match failure {
            Some(source) => Err(StartupError::Listen { host: host.clone(), port: *port, source }),
            None => Err(StartupError::HostUnknown { host: host.clone(), source: io::ErrorKind::NotFound.into() }),
        }
    }

    /// Speaks TLS, and nothing else.
    #[must_use]
    pub fn with_tls(self, tls: Arc<Tls>) -> Self {
        Self { tls: Some(tls), ..self }
    }

    /// Addresses for which this is true may have any number of connections: those of proxies, which have many clients.
    #[must_use]
    pub fn exempting(mut self, is_exempt: impl Fn(IpAddr) -> bool + Send + Sync + 'static) -> Self {
        self.places.exempt(is_exempt);
        self
    }

    /// The address, with the port that the system chose.
    pub const fn local_addr(&self) -> SocketAddr {
        self.local
    }

    /// Accepts connections until [`Stop::drain`], and has `handle` answer their requests (it is given the two ends of the
    /// connection). The connections' tasks are on `connections`. While there are as many connections as are allowed, those
    /// without a request make room; are there none, further ones wait in the kernel's queue.
    pub async fn serve<H, F, B>(self, handle: H, connections: TaskTracker, stop: Stop)
    where
        H: Fn(Request<Incoming>, Arc<Peer>) -> F + Clone + Send + Sync + 'static,
        F: Future<Output = Response<B>> + Send + 'static,
        B: Body<Data: Send, Error: Into<Box<dyn std::error::Error + Send + Sync>>> + Send + Unpin + 'static,
    {
        let protocol = Arc::new(Protocol::new(self.connection, &connections).with_tls(self.tls));
        let mut failures = AcceptFailures::default();
        loop {
            let accept = async {
                let (stream, remote) = self.socket.accept().await?;
                Ok((stream, remote, self.places.take(remote.ip()).await))
            };
            let accepted = tokio::select! {
                biased;
                () = stop.drain.cancelled() => return,
                accepted = accept => accepted,
            };
            match accepted {
                Ok((stream, remote, Some(place))) => {
                    let local = stream.local_addr().unwrap_or(self.local);
                    let span = debug_span!("connection", peer = %remote);
                    let peer = Peer::new(local, remote);
                    let (protocol, handle, stop) = (Arc::clone(&protocol), handle.clone(), stop.clone());
                    let task = async move {
                        protocol.serve(stream, peer, &place, handle, stop).await;
                        drop(place);
                    };
                    connections.spawn(task.instrument(span));
                }
                // Closed.
                Ok((_, _, None)) => {}
                Err(error) if is_the_connections_own(&error) => {
                    debug!(%error, "connection lost before it was accepted");
                }
                Err(error) => {
                    failures.report(&error, Instant::now());
                    self.places.make_room();
                    tokio::select! {
                        () = stop.drain.cancelled() => return,
                        () = sleep(ACCEPT_RETRY) => {}
                    }
                }
            }
        }
    }
}

fn bind(address: SocketAddr, config: &ListenConfig) -> io::Result<Listener> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
    // So that a restart does not wait for the connections of the last run to be forgotten.
    socket.set_reuseaddr(true)?;
    // Inherited by the connections: a client whose machine is gone is noticed.
    socket.set_keepalive(true)?;
    // Inherited too: one that is there and takes nothing of what waits for it is let go.
    #[cfg(target_os = "linux")]
    {
        let millis = u32::try_from(config.connection.untaken_timeout.as_millis()).unwrap_or(u32::MAX);
        rustix::net::sockopt::set_tcp_user_timeout(&socket, millis)?;
    }
    socket.bind(address)?;
    let socket = socket.listen(BACKLOG)?;
    let local = socket.local_addr()?;
    Ok(Listener { socket, local, places: Places::new(config), tls: None, connection: config.connection.clone() })
}

/// Whether only the connection that was about to be accepted is lost.
fn is_the_connections_own(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset, Interrupted};
    matches!(error.kind(), ConnectionAborted | ConnectionRefused | ConnectionReset | Interrupted)
}

/// Logs failures to accept (most likely: no more file descriptors), a few lines for as many as there are.
#[derive(Debug, Default)]
struct AcceptFailures {
    reported: Option<Instant>,
    since: u64,
}

impl AcceptFailures {
    fn report(&mut self, error: &io::Error, now: Instant) {
        self.since += 1;
        if self.reported.is_none_or(|at| now.duration_since(at) >= ACCEPT_REPORT_INTERVAL) {
            warn!(%error, failures = self.since, "cannot accept connections; trying again");
            *self = Self { reported: Some(now), since: 0 };
        }
    }
}

const BACKLOG: u32 = 4096;
const ACCEPT_RETRY: Duration = Duration::from_millis(100);
const ACCEPT_REPORT_INTERVAL: Duration = Duration::from_secs(10);

#[cfg(test)]
mod tests;
