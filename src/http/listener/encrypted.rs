//! One encrypted connection: its handshake, and from then on its requests.
//!
//! Which HTTP it speaks is agreed in the handshake (ALPN); a client that offers nothing there speaks HTTP/1.1 (RFC 9113, 3.3).
//! The handshake must end in the time that a connection has for its first byte, and the first request has what a head has from
//! then on.

use std::convert::Infallible;
use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use http::{Request, Response};
use hyper::body::{Body, Incoming};
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncReadExt, AsyncWriteExt, copy, sink};
use tokio::time::{Instant, Sleep, sleep};
use tokio_rustls::TlsAcceptor;
use tracing::debug;

use super::Stop;
use super::activity::{Activity, Attended};
use super::connection::{Protocol, in_time};
use super::stream::Stream;
use super::watched::Watched;
use crate::http::peer::Peer;
use crate::http::tls::{self, Tls};
use crate::metrics::{Limit, limit_hit};

impl Protocol {
    /// Has `handle` answer the requests of an encrypted connection until it ends, or it is time to stop, or one of its times is
    /// over.
    pub(super) async fn serve_encrypted<H, F, B>(
        &self,
        tls: &Tls,
        (stream, mut peer): (Stream, Peer),
        activity: &Arc<Activity>,
        handle: &H,
        mut timer: Pin<&mut Sleep>,
        stop: &Stop,
    ) where
        H: Fn(Request<Incoming>, Arc<Peer>) -> F + Send + Sync + 'static,
        F: Future<Output = Response<B>> + Send + 'static,
        B: Body<Data: Send, Error: Into<Box<dyn std::error::Error + Send + Sync>>> + Send + Unpin + 'static,
    {
        let mut first = [0];
        // By a look that takes nothing.
        let looked = in_time(stream.peek(&mut first), activity, timer.as_mut(), stop, Limit::FirstByteTimeout).await;
        match looked {
            Some(Ok(0)) => return debug!("connection ended: it sent nothing"),
            // No TLS record begins with a letter, and every HTTP request does.
            Some(Ok(_)) if first.iter().all(u8::is_ascii_alphabetic) => {
                debug!("connection refused: it speaks HTTP, not HTTPS");
                return refuse(stream, PLAIN_HTTP_ANSWER, activity, stop).await;
            }
            Some(Ok(_)) => {}
            Some(Err(error)) => return debug!(%error, "connection ended"),
            None => return,
        }
        let handshake = TlsAcceptor::from(tls.config()).accept(stream).into_fallible();
        let stream = match in_time(handshake, activity, timer.as_mut(), stop, Limit::HandshakeFailed).await {
            Some(Ok(stream)) => Box::new(stream),
            Some(Err((error, stream))) => {
                limit_hit(Limit::HandshakeFailed);
                debug!(%error, "TLS handshake failed");
                // Where there is an alert for it, the client has been sent it.
                return refuse(stream, "", activity, stop).await;
            }
            None => return,
        };
        let (_, connection) = stream.get_ref();
        let shown = tls::peer(connection);
        // Its requests are refused from then on, and a client with a new one needs a new connection.
        let until = shown
            .until()
            .and_then(|until| Instant::now().checked_add(until.duration_since(SystemTime::now()).unwrap_or_default()));
        peer.tls = Some(shown);
        let http2 = connection.alpn_protocol() == Some(tls::HTTP2);
        let peer = Arc::new(peer);
        activity.begun();
        let service = service_fn(|request| {
            let under_way = activity.request();
            // In a box for the same reason as where nothing is encrypted.
            let response = Box::pin(handle(request, Arc::clone(&peer)));
            async move { Ok::<_, Infallible>(response.await.map(|body| Attended::new(body, under_way))) }
        });
        if http2 {
            let io = TokioIo::new(Watched::either(stream, Arc::clone(activity), self.config.http2_frames_max));
            self.attend(self.http2.serve_connection(io, service), activity, (timer, until), stop).await;
        } else {
            let io = TokioIo::new(Watched::http1(stream, Arc::clone(activity)));
            self.attend(self.http1.serve_connection(io, service), activity, (timer, until), stop).await;
        }
    }
}

/// Ends a connection so that its client gets to know why: by `answer`, or by what it was sent before.
async fn refuse(mut stream: Stream, answer: &str, activity: &Activity, stop: &Stop) {
    let farewell = async {
        stream.write_all(answer.as_bytes()).await?;
        stream.shutdown().await?;
        // Closed with something unread, the connection would be reset, and what was sent to the client be lost.
        copy(&mut stream.take(LINGER_BYTES_MAX), &mut sink()).await
    };
    tokio::select! {
        // Whether the client took it is its business.
        _ = farewell => {}
        () = stop.drain.cancelled() => {}
        () = poll_fn(|cx| activity.poll_dismissed(cx)) => {}
        () = sleep(LINGER_TIMEOUT) => {}
    }
}

const PLAIN_HTTP_ANSWER: &str = "HTTP/1.1 400 Bad Request\r\n\
    content-type: text/plain; charset=utf-8\r\n\
    content-length: 60\r\n\
    connection: close\r\n\
    \r\n\
    This port speaks HTTPS: begin the URL with https:// instead\n";
/// How long a client that was refused may take to hang up.
const LINGER_TIMEOUT: Duration = Duration::from_secs(2);
/// How much is read of a request that was refused.
const LINGER_BYTES_MAX: u64 = 64 * 1024;

#[cfg(test)]
mod tests;
