//! The ceiling of HTTP: a hyper server that does nothing but read a request and answer with a fixed body of the same size.

use std::convert::Infallible;
use std::io::{self, Write};

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::net::TcpListener;
use tokio_util::task::TaskTracker;

/// Serves until it is killed; prints its port.
pub(crate) fn serve(body: usize) -> io::Result<()> {
    tokio::runtime::Builder::new_multi_thread().enable_all().build()?.block_on(async {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
        let mut stdout = io::stdout();
        writeln!(stdout, "http://{}/mcp", listener.local_addr()?)?;
        stdout.flush()?;
        let body = Bytes::from(vec![b'x'; body]);
        let connections = TaskTracker::new();
        loop {
            let (stream, _) = listener.accept().await?;
            stream.set_nodelay(true)?;
            let body = body.clone();
            let answer = service_fn(move |request: Request<Incoming>| {
                let body = body.clone();
                async move {
                    // A client that went away meanwhile is nobody to answer.
                    let _ = request.into_body().collect().await;
                    let response = Response::new(Full::new(body));
                    let (mut parts, body) = response.into_parts();
                    let json = http::HeaderValue::from_static("application/json");
                    parts.headers.insert(http::header::CONTENT_TYPE, json);
                    Ok::<_, Infallible>(Response::from_parts(parts, body))
                }
            });
            connections.spawn(http1::Builder::new().serve_connection(TokioIo::new(stream), answer));
        }
    })
}
