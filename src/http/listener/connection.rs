//! One connection: which HTTP it speaks, its requests, and its end.
//!
//! hyper can tell HTTP/1.1 from HTTP/2 itself, but reads the beginning on its own for that and passes on what it read, which
//! makes the buffers of every connection twice as large. So what is surely HTTP/1.1 is told here, by a look that takes nothing.

use std::convert::Infallible;
use std::error::Error;
use std::future::poll_fn;
use std::io;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::time::Duration;

use http::{Request, Response};
use hyper::body::{Body, Incoming};
use hyper::rt::Executor;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use hyper_util::server::graceful::GracefulConnection;
use tokio::time::{Instant, Sleep, sleep};
use tokio_util::task::TaskTracker;
use tracing::debug;

use super::Stop;
use super::activity::{Activity, Attended, Clock, Over, Phase};
use super::places::Place;
use super::repoll::Repoll;
use super::stream::Stream;
use super::watched::Watched;
use crate::config::ConnectionConfig;
use crate::http::peer::Peer;
use crate::http::tls::Tls;
use crate::metrics::{Limit, limit_hit};

/// How connections are served.
pub(super) struct Protocol {
    pub(super) config: ConnectionConfig,
    pub(super) http1: http1::Builder,
    /// HTTP/1.1, and HTTP/2 for clients that start with its preface.
    either: auto::Builder<Tracked>,
    /// HTTP/2 alone, for encrypted connections that agreed on it.
    pub(super) http2: auto::Builder<Tracked>,
    tls: Option<Arc<Tls>>,
}

impl Protocol {
    /// hyper's own tasks are on `connections`.
    pub(super) fn new(config: ConnectionConfig, connections: &TaskTracker) -> Self {
        let header_bytes_max = config.header_bytes_max;
        // The times are kept by our own clock.
        let mut http1 = http1::Builder::new();
        http1.header_read_timeout(None).max_header_size(header_bytes_max);
        let mut either = auto::Builder::new(Tracked(connections.clone()));
        // Only the few requests whose first byte comes alone are read this way; a body that is read in smaller pieces is none
        // the worse for it.
        either.http1().header_read_timeout(None).max_buf_size(header_bytes_max);
        // Another number of headers costs hyper an allocation for each request.
        let headers_max = config.headers_max.get();
        if headers_max != HTTP1_HEADERS {
            http1.max_headers(headers_max);
            either.http1().max_headers(headers_max);
        }
        either
            .http2()
            .timer(TokioTimer::new())
            .keep_alive_interval(HTTP2_PING_INTERVAL)
            .keep_alive_timeout(HTTP2_PING_TIMEOUT)
            .max_concurrent_streams(config.http2_streams_max)
            .max_pending_accept_reset_streams(config.http2_resets_max)
            .max_local_error_reset_streams(HTTP2_ERRORS_MAX)
            // What is larger is answered by h2, and not known to us. Its count has 32 bytes more for each header.
            .max_header_list_size(u32::try_from(header_bytes_max * 2).unwrap_or(u32::MAX))
            .max_send_buf_size(HTTP2_SEND_BYTES_MAX);
        let http2 = either.clone().http2_only();
        Self { config, http1, either, http2, tls: None }
    }

    /// Where there is something to do it with, connections are encrypted.
    pub(super) fn with_tls(self, tls: Option<Arc<Tls>>) -> Self {
        Self { tls, ..self }
    }

    /// Has `handle` answer the requests of a connection until it ends, or it is time to stop.
    pub(super) async fn serve<H, F, B>(&self, stream: Stream, peer: Peer, place: &Place, handle: H, stop: Stop)
    where
        H: Fn(Request<Incoming>, Arc<Peer>) -> F + Send + Sync + 'static,
        F: Future<Output = Response<B>> + Send + 'static,
        B: Body<Data: Send, Error: Into<Box<dyn Error + Send + Sync>>> + Send + Unpin + 'static,
    {
        // Small writes are answers and events that somebody waits for.
        if let Err(error) = stream.set_nodelay() {
            debug!(%error, "cannot set TCP_NODELAY");
        }
        let activity = &place.activity;
        let mut timer = pin!(sleep(self.config.first_byte_timeout));
        // Who is on this machine needs no encryption.
        if let (Some(tls), Stream::Tcp(_)) = (&self.tls, &stream) {
            // In a box, so that connections that are not encrypted need no room for it.
            return Box::pin(self.serve_encrypted(tls, (stream, peer), activity, &handle, timer, &stop)).await;
        }
        let told = in_time(may_be_http2(&stream), activity, timer.as_mut(), &stop, Limit::FirstByteTimeout).await;
        let may_be_http2 = match told {
            Some(Ok(may_be)) => may_be,
            Some(Err(error)) => return debug!(%error, "connection ended"),
            None => return,
        };
        activity.begun();
        let peer = Arc::new(peer);
        let service = service_fn(|request| {
            let under_way = activity.request();
            // In a box, which is gone with the response: hyper keeps the room for a future as long as the connection.
            let response = Box::pin(handle(request, Arc::clone(&peer)));
            async move { Ok::<_, Infallible>(response.await.map(|body| Attended::new(body, under_way))) }
        });
        if may_be_http2 {
            let io = TokioIo::new(Watched::either(stream, Arc::clone(activity), self.config.http2_frames_max));
            let connection = self.either.serve_connection(io, service);
            Box::pin(self.attend(connection, activity, (timer, None), &stop)).await;
        } else {
            let io = TokioIo::new(Watched::http1(stream, Arc::clone(activity)));
            self.attend(self.http1.serve_connection(io, service), activity, (timer, None), &stop).await;
        }
    }

    /// Until a connection ends, or has to. `until`: when its client is not who it was any more, if ever.
    pub(super) async fn attend<C>(
        &self,
        connection: C,
        activity: &Activity,
        (timer, until): (Pin<&mut Sleep>, Option<Instant>),
        stop: &Stop,
    ) where
        C: GracefulConnection<Error: Into<Box<dyn Error + Send + Sync>>>,
    {
        let mut connection = pin!(connection);
        let mut clock = Clock::new(activity, &self.config, timer, until);
        let repoll = Repoll::new();
        // Polled for every request, so each of these waits for as little as it can.
        tokio::select! {
            biased;
            ended = poll_fn(|cx| repoll.poll(connection.as_mut(), cx)) => return self.note_end(ended, activity),
            () = stop.drain.cancelled() => {
                connection.as_mut().graceful_shutdown();
                clock.part();
            }
            over = poll_fn(|cx| clock.poll(cx)) => {
                if note_over(over, activity) == Parting::AtOnce {
                    return;
                }
                connection.as_mut().graceful_shutdown();
                clock.part();
            }
        }
        tokio::select! {
            biased;
            ended = poll_fn(|cx| repoll.poll(connection.as_mut(), cx)) => self.note_end(ended, activity),
            () = stop.end.cancelled() => debug!("connection dropped: stopping"),
            over = poll_fn(|cx| clock.poll(cx)) => {
                note_over(over, activity);
            }
        }
    }

    /// Logs an error that ended a connection, and counts the limit that was reached, if one was.
    fn note_end(&self, ended: Result<(), impl Into<Box<dyn Error + Send + Sync>>>, activity: &Activity) {
        let Err(error) = ended else { return };
        let error = error.into();
        if error.downcast_ref().is_some_and(hyper::Error::is_parse_too_large) {
            let large = activity.head_bytes() >= self.config.header_bytes_max.min(HTTP1_URI_BYTES_MAX);
            limit_hit(if large { Limit::HeaderBytesMax } else { Limit::HeadersMax });
        }
        debug!(%error, "connection ended");
    }
}

/// What comes of the beginning of a connection; none if that takes until `timer` is over, which is `limit`, or until the
/// connection has to end.
pub(super) async fn in_time<T>(
    beginning: impl Future<Output = T>,
    activity: &Activity,
    timer: Pin<&mut Sleep>,
    stop: &Stop,
    limit: Limit,
) -> Option<T> {
    tokio::select! {
        biased;
        begun = beginning => return Some(begun),
        () = stop.drain.cancelled() => debug!("connection dropped: stopping"),
        () = poll_fn(|cx| activity.poll_dismissed(cx)) => debug!("connection dropped: others need its place"),
        () = timer => {
            limit_hit(limit);
            debug!(limit = limit.as_str(), "connection dropped: a limit was reached (--first-byte-timeout)");
        }
    }
    None
}

/// How a connection is left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Parting {
    AtOnce,
    /// It is told first.
    Told,
}

/// Counts and logs why a connection's time is over.
fn note_over(over: Over, activity: &Activity) -> Parting {
    match over {
        Over::Limit(limit) => {
            limit_hit(limit);
            debug!(limit = limit.as_str(), "connection ended: a limit was reached");
            // In HTTP/2 a client that has asked for nothing yet may be about to, and can be told.
            let opened_ahead = limit == Limit::HeaderTimeout && activity.is_http2();
            if limit == Limit::IdleTimeout || opened_ahead { Parting::Told } else { Parting::AtOnce }
        }
        Over::Dismissed => {
            debug!("connection ended: others need its place");
            let idle = activity.at_rest().is_none_or(|(phase, _)| phase == Phase::Idle);
            if idle { Parting::Told } else { Parting::AtOnce }
        }
        Over::Expired => {
            debug!("connection ended: its client's certificate has expired");
            Parting::Told
        }
        Over::Unparted => {
            debug!("connection dropped: it was told to end and did not");
            Parting::AtOnce
        }
    }
}

/// Whether what a client sends first is, as far as it is there, the beginning of HTTP/2's preface.
async fn may_be_http2(stream: &Stream) -> io::Result<bool> {
    let mut first = [0; HTTP2_PREFACE.len()];
    let read = stream.peek(&mut first).await?;
    Ok(HTTP2_PREFACE.starts_with(first.get(..read).unwrap_or_default()))
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
pub(super) const HTTP2_PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
const HTTP2_PING_INTERVAL: Duration = Duration::from_secs(30);
const HTTP2_PING_TIMEOUT: Duration = Duration::from_secs(20);
/// What h2 keeps of each stream's response until the client takes it, beside the piece that did not fit in whole.
const HTTP2_SEND_BYTES_MAX: usize = 64 * 1024;
/// The most errors of a client for which its streams are reset, in the life of a connection. A stream beyond the most at once
/// is such an error, and happens to clients in good faith.
const HTTP2_ERRORS_MAX: usize = 1024;
/// How hyper has it without being told.
const HTTP1_HEADERS: usize = 100;
/// The longest request target that hyper takes.
const HTTP1_URI_BYTES_MAX: usize = 65_534;
#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::{TcpListener, TcpStream, UnixStream};

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
            let (mut local_client, local) = UnixStream::pair().expect("a pair");
            client.write_all(first).await.expect("connected");
            client.shutdown().await.expect("connected");
            local_client.write_all(first).await.expect("connected");
            local_client.shutdown().await.expect("connected");
            for mut stream in [Stream::Tcp(stream), Stream::Unix(local)] {
                // Shorter ones may come in parts; these are one segment each.
                assert_eq!(may_be_http2(&stream).await.expect("connected"), expected, "{first:?}");
                let mut all = Vec::new();
                stream.read_to_end(&mut all).await.expect("connected");
                assert_eq!(all, first, "nothing was taken");
            }
        }
    }
}
