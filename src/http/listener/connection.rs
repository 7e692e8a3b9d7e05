//! One connection: which HTTP it speaks, its requests, and its end.
//!
//! hyper can tell HTTP/1.1 from HTTP/2 itself, but reads the beginning on its own for that and passes on what it read, which
//! makes the buffers of every connection twice as large. So what is surely HTTP/1.1 is told here, by a look that takes nothing.

use std::convert::Infallible;
use std::fmt::Display;
use std::future::poll_fn;
use std::io;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::Poll;
use std::time::Duration;

use http::{Request, Response};
use hyper::body::{Body, Incoming};
use hyper::rt::Executor;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use hyper_util::server::graceful::GracefulConnection;
use tokio::net::TcpStream;
use tokio::time::{Sleep, sleep};
use tokio_util::task::TaskTracker;
use tracing::debug;

use super::Stop;
use super::repoll::Repoll;
use crate::http::peer::Peer;
use crate::http::tls::Tls;

/// How connections are served.
pub(super) struct Protocol {
    pub(super) http1: http1::Builder,
    /// HTTP/1.1, and HTTP/2 for clients that start with its preface.
    either: auto::Builder<Tracked>,
    /// HTTP/2 alone, for encrypted connections that agreed on it.
    pub(super) http2: auto::Builder<Tracked>,
    tls: Option<Arc<Tls>>,
}

impl Protocol {
    /// hyper's own tasks are on `connections`.
    pub(super) fn new(connections: &TaskTracker) -> Self {
        let mut http1 = http1::Builder::new();
        http1.timer(TokioTimer::new()).header_read_timeout(HEADER_READ_TIMEOUT);
        let mut either = auto::Builder::new(Tracked(connections.clone()));
        either.http1().timer(TokioTimer::new()).header_read_timeout(HEADER_READ_TIMEOUT);
        either
            .http2()
            .timer(TokioTimer::new())
            .keep_alive_interval(HTTP2_PING_INTERVAL)
            .keep_alive_timeout(HTTP2_PING_TIMEOUT)
            .max_concurrent_streams(HTTP2_STREAMS_MAX);
        let http2 = either.clone().http2_only();
        Self { http1, either, http2, tls: None }
    }

    /// Where there is something to do it with, connections are encrypted.
    pub(super) fn with_tls(self, tls: Option<Arc<Tls>>) -> Self {
        Self { tls, ..self }
    }

    /// Has `handle` answer the requests of a connection until it ends, or it is time to stop.
    pub(super) async fn serve<H, F, B>(&self, stream: TcpStream, peer: Peer, handle: H, stop: Stop)
    where
        H: Fn(Request<Incoming>, Arc<Peer>) -> F + Send + Sync + 'static,
        F: Future<Output = Response<B>> + Send + 'static,
        B: Body<Data: Send, Error: Into<Box<dyn std::error::Error + Send + Sync>>> + Send + 'static,
    {
        // Small writes are answers and events that somebody waits for.
        if let Err(error) = stream.set_nodelay(true) {
            debug!(%error, "cannot set TCP_NODELAY");
        }
        let mut patience = pin!(sleep(FIRST_REQUEST_TIMEOUT));
        if let Some(tls) = &self.tls {
            // In a box, so that connections that are not encrypted need no room for it.
            return Box::pin(self.serve_encrypted(tls, stream, peer, &handle, patience, &stop)).await;
        }
        let may_be_http2 = tokio::select! {
            biased;
            told = may_be_http2(&stream) => told,
            () = stop.drain.cancelled() => return debug!("connection dropped: stopping"),
            () = patience.as_mut() => return debug!("connection dropped: it sent nothing"),
        };
        let may_be_http2 = match may_be_http2 {
            Ok(may_be) => may_be,
            Err(error) => return debug!(%error, "connection ended"),
        };
        let peer = Arc::new(peer);
        let requested = AtomicBool::new(false);
        let service = service_fn(|request| {
            requested.store(true, Ordering::Relaxed);
            // In a box, which is gone with the response: hyper keeps the room for a future as long as the connection.
            let response = Box::pin(handle(request, Arc::clone(&peer)));
            async move { Ok::<_, Infallible>(response.await) }
        });
        let io = TokioIo::new(stream);
        if may_be_http2 {
            Box::pin(attend(self.either.serve_connection(io, service), &requested, patience, &stop)).await;
        } else {
            attend(self.http1.serve_connection(io, service), &requested, patience, &stop).await;
        }
    }
}

/// Whether what a client sends first is, as far as it is there, the beginning of HTTP/2's preface.
async fn may_be_http2(stream: &TcpStream) -> io::Result<bool> {
    let mut first = [0; HTTP2_PREFACE.len()];
    let read = stream.peek(&mut first).await?;
    Ok(HTTP2_PREFACE.starts_with(first.get(..read).unwrap_or_default()))
}

/// Until a connection ends, or has to.
pub(super) async fn attend<C>(connection: C, requested: &AtomicBool, mut patience: Pin<&mut Sleep>, stop: &Stop)
where
    C: GracefulConnection<Error: Display>,
{
    let mut connection = pin!(connection);
    let mut impatient = pin!(poll_fn(|context| {
        if requested.load(Ordering::Relaxed) { Poll::Pending } else { patience.as_mut().poll(context) }
    }));
    let repoll = Repoll::new();
    // Polled for every request, so each of these waits for as little as it can.
    tokio::select! {
        biased;
        ended = poll_fn(|cx| repoll.poll(connection.as_mut(), cx)) => return log_end(ended),
        () = stop.drain.cancelled() => connection.as_mut().graceful_shutdown(),
        () = impatient.as_mut() => return debug!("connection dropped: it sent no request"),
    }
    tokio::select! {
        biased;
        ended = poll_fn(|cx| repoll.poll(connection.as_mut(), cx)) => log_end(ended),
        () = stop.end.cancelled() => debug!("connection dropped: stopping"),
        () = impatient => debug!("connection dropped: it sent no request"),
    }
}

fn log_end(ended: Result<(), impl Display>) {
    if let Err(error) = ended {
        debug!(%error, "connection ended");
    }
}

/// Puts hyper's own tasks (one for each stream of HTTP/2) on the tracker too.
#[derive(Clone, Debug)]
pub(super) struct Tracked(pub(super) TaskTracker);

impl<F> Executor<F> for Tracked
where
    F: Future<Output: Send + 'static> + Send + 'static,
{
    fn execute(&self, future: F) {
        self.0.spawn(future);
    }
}

/// RFC 9113, 3.4; no method of HTTP/1.1 begins like that.
const HTTP2_PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// How long an idle HTTP/1.1 connection is kept, and how long a request's head may take. Longer than clients and load
/// balancers keep an idle connection for reuse (60 to 90 s), or they would send a request just as it is closed.
const HEADER_READ_TIMEOUT: Duration = Duration::from_secs(120);
/// How long a new connection may send nothing that is a request.
const FIRST_REQUEST_TIMEOUT: Duration = Duration::from_secs(30);
const HTTP2_PING_INTERVAL: Duration = Duration::from_secs(30);
const HTTP2_PING_TIMEOUT: Duration = Duration::from_secs(20);
/// In one connection; each may be a standing stream.
const HTTP2_STREAMS_MAX: u32 = 128;

#[cfg(test)]
mod tests {
    use tokio::io::AsyncWriteExt;
    use tokio::net::TcpListener;

    use super::*;

    #[tokio::test]
    async fn whatever_is_no_beginning_of_the_preface_is_surely_not_http2() {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("bound");
        for (first, expected) in [
            (&b"P"[..], true),
            (b"PRI", true),
            (HTTP2_PREFACE, true),
            (b"", true),
            (b"G", false),
            (b"PO", false),
            (b"PRINT / HTTP/1.1\r\n", false),
            (b"\x16\x03\x01", false),
        ] {
            let mut client = TcpStream::connect(address).await.expect("it listens");
            let (stream, _) = listener.accept().await.expect("a connection");
            client.write_all(first).await.expect("connected");
            client.shutdown().await.expect("connected");
            // Shorter ones may come in parts; these are one segment each.
            assert_eq!(may_be_http2(&stream).await.expect("connected"), expected, "{first:?}");
        }
    }
}
