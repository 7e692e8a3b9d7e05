//! What is listened on: opening it, accepting connections, and one task per connection that speaks HTTP/1.1 or HTTP/2.
//!
//! Knows nothing of MCP: what a request means is up to the handler. Invariants: an error of one connection, or of
//! accepting one, ends nothing else; a connection that sends no request, or takes nothing of what is sent to it, goes away;
//! there are never more connections than are allowed, of all sockets together, and of one address; a connection's task is on
//! the tracker, and none outlives [`Stop::end`].

mod activity;
mod connection;
mod encrypted;
mod file;
mod frames;
mod handed;
mod places;
mod repoll;
mod sockets;
mod stream;
mod watched;

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use http::{Request, Response};
use hyper::body::{Body, Incoming};
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::{Instrument, debug, debug_span, warn};

use self::connection::Protocol;
pub use self::handed::Handed;
use self::places::Places;
pub use self::sockets::Bound;
use self::sockets::Socket;
use super::peer::Peer;
use super::tls::Tls;
use crate::auth::Remote;
use crate::config::{ConnectionConfig, ListenConfig};
use crate::error::StartupError;
use crate::status::Occupancy;

/// The sockets that are listened on.
#[derive(Debug)]
pub struct Listener {
    sockets: Vec<Socket>,
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
    /// Opens all that is to be listened on, or takes it of what was handed over. Within a tokio runtime.
    ///
    /// # Errors
    /// [`StartupError::HostUnknown`], [`StartupError::Listen`], [`StartupError::ListenUnix`], [`StartupError::Handed`].
    pub async fn bind(config: &ListenConfig, mut handed: Handed) -> Result<Self, StartupError> {
        let listener = Self::take(config, &mut handed).await?;
        handed.close();
        Ok(listener)
    }

    /// As [`Listener::bind`], but what is not taken of that which was handed over is left for others.
    ///
    /// # Errors
    /// As [`Listener::bind`].
    pub async fn take(config: &ListenConfig, handed: &mut Handed) -> Result<Self, StartupError> {
        let sockets = sockets::bind(config, handed).await?;
        Ok(Self { sockets, places: Places::new(config), tls: None, connection: config.connection.clone() })
    }

    /// Speaks TLS, and nothing else; but not on unix sockets.
    #[must_use]
    pub fn with_tls(self, tls: Arc<Tls>) -> Self {
        Self { tls: Some(tls), ..self }
    }

    /// Those for whom this is true may have any number of connections: proxies, which have many clients.
    #[must_use]
    pub fn exempting(mut self, is_exempt: impl Fn(Remote) -> bool + Send + Sync + 'static) -> Self {
        self.places.exempt(is_exempt);
        self
    }

    /// Says how many connections it has, and how many it may have.
    pub fn occupancy(&self) -> impl Fn() -> Occupancy + Send + Sync + 'static {
        self.places.occupancy()
    }

    /// Where it listens.
    pub fn bound(&self) -> impl Iterator<Item = &Bound> {
        self.sockets.iter().map(|socket| &socket.bound)
    }

    /// The first port's address, with the port that the system chose; none without a port.
    pub fn local_addr(&self) -> Option<SocketAddr> {
        self.bound().find_map(|bound| match bound {
            Bound::Tcp { address, .. } => Some(*address),
            Bound::Unix(_) => None,
        })
    }

    /// Accepts connections until [`Stop::drain`], and has `handle` answer their requests (it is given the two ends of the
    /// connection). The connections' tasks are on `connections`. While there are as many connections as are allowed, those
    /// without a request make room; are there none, further ones wait in the kernel's queue. The files of unix sockets are
    /// gone when it returns.
    pub async fn serve<H, F, B>(self, handle: H, connections: TaskTracker, stop: Stop)
    where
        H: Fn(Request<Incoming>, Arc<Peer>) -> F + Clone + Send + Sync + 'static,
        F: Future<Output = Response<B>> + Send + 'static,
        B: Body<Data: Send, Error: Into<Box<dyn std::error::Error + Send + Sync>>> + Send + Unpin + 'static,
    {
        let protocol = Arc::new(Protocol::new(self.connection, &connections).with_tls(self.tls));
        let (places, sockets) = (Arc::new(self.places), TaskTracker::new());
        for socket in self.sockets {
            let (protocol, places) = (Arc::clone(&protocol), Arc::clone(&places));
            let (handle, connections, stop) = (handle.clone(), connections.clone(), stop.clone());
            sockets.spawn(accept(socket, places, protocol, handle, connections, stop));
        }
        sockets.close();
        sockets.wait().await;
    }
}

/// Accepts the connections of one socket.
async fn accept<H, F, B>(
    socket: Socket,
    places: Arc<Places>,
    protocol: Arc<Protocol>,
    handle: H,
    connections: TaskTracker,
    stop: Stop,
) where
    H: Fn(Request<Incoming>, Arc<Peer>) -> F + Clone + Send + Sync + 'static,
    F: Future<Output = Response<B>> + Send + 'static,
    B: Body<Data: Send, Error: Into<Box<dyn std::error::Error + Send + Sync>>> + Send + Unpin + 'static,
{
    let mut failures = AcceptFailures::default();
    loop {
        let accept = async {
            let (stream, ends) = socket.accept().await?;
            Ok((stream, ends, places.take(ends.remote()).await))
        };
        let accepted = tokio::select! {
            biased;
            () = stop.drain.cancelled() => return,
            accepted = accept => accepted,
        };
        match accepted {
            Ok((stream, ends, Some(place))) => {
                let span = debug_span!("connection", peer = %ends);
                let peer = Peer::new(ends).by(socket.bound.reach());
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
                places.make_room();
                tokio::select! {
                    () = stop.drain.cancelled() => return,
                    () = sleep(ACCEPT_RETRY) => {}
                }
            }
        }
    }
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

const ACCEPT_RETRY: Duration = Duration::from_millis(100);
const ACCEPT_REPORT_INTERVAL: Duration = Duration::from_secs(10);

#[cfg(test)]
mod tests;
