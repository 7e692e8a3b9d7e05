//! Over hyper and a connection in memory: what a client that vanishes leaves behind, and what only shows on the wire.

use std::convert::Infallible;

use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};
use tokio::task::JoinSet;

use super::*;

/// One connection served by hyper; its client's end.
fn connect(http: &Arc<Http>, tasks: &mut JoinSet<()>) -> DuplexStream {
    let (client, server) = tokio::io::duplex(64 * 1024);
    let http = http.clone();
    tasks.spawn(async move {
        let service = service_fn(move |request| {
            let http = http.clone();
            async move { Ok::<_, Infallible>(http.handle(request, peer()).await) }
        });
        // How the connection ends is its client's business.
        let _ended = auto::Builder::new(TokioExecutor::new()).serve_connection(TokioIo::new(server), service).await;
    });
    client
}

async fn read_until(client: &mut DuplexStream, end: &str) -> String {
    let mut read = Vec::new();
    while !String::from_utf8_lossy(&read).contains(end) {
        let mut chunk = [0; 1024];
        let size = client.read(&mut chunk).await.expect("connected");
        assert_ne!(size, 0, "ended after {:?}", String::from_utf8_lossy(&read));
        read.extend_from_slice(&chunk[..size]);
    }
    String::from_utf8(read).expect("text")
}

#[tokio::test(start_paused = true)]
async fn clients_that_vanish_leave_no_reader_behind() {
    let mut harness = harness();
    let id = harness.open(Revision::V2025_11_25).await;
    let http = Arc::new(harness.http);
    let mut tasks = JoinSet::new();
    for round in 0..50 {
        let mut standing = connect(&http, &mut tasks);
        let get = format!("GET /mcp HTTP/1.1\r\nhost: localhost\r\nmcp-session-id: {id}\r\n\r\n");
        standing.write_all(get.as_bytes()).await.expect("connected");
        read_until(&mut standing, "retry: 1000").await;
        let mut legacy = connect(&http, &mut tasks);
        legacy.write_all(b"GET /sse HTTP/1.1\r\nhost: localhost\r\n\r\n").await.expect("connected");
        read_until(&mut legacy, "event: endpoint").await;
        assert_eq!((harness.registry.len(), harness.registry.open_streams()), (2, 2), "round {round}");
        drop((standing, legacy));
        while tasks.join_next().await.is_some() {}
        assert_eq!((harness.registry.len(), harness.registry.open_streams()), (1, 0), "round {round}");
    }
}

#[tokio::test(start_paused = true)]
async fn response_without_a_body_has_no_length_to_wait_for() {
    let mut harness = harness();
    let id = harness.open(Revision::V2025_11_25).await;
    let http = Arc::new(harness.http);
    let mut tasks = JoinSet::new();
    let mut client = connect(&http, &mut tasks);
    let body = r#"{"jsonrpc":"2.0","method":"notifications/initialized"}"#;
    let head = format!("host: localhost\r\nmcp-session-id: {id}\r\ncontent-type: application/json\r\n");
    let post = format!("POST /mcp HTTP/1.1\r\n{head}content-length: {}\r\n\r\n{body}", body.len());
    client.write_all(post.as_bytes()).await.expect("connected");
    let read = read_until(&mut client, "\r\n\r\n").await;
    assert!(read.starts_with("HTTP/1.1 202") && read.contains("content-length: 0"), "{read}");
    client.write_all(format!("DELETE /mcp HTTP/1.1\r\n{head}\r\n").as_bytes()).await.expect("connected");
    let read = read_until(&mut client, "\r\n\r\n").await;
    assert!(read.starts_with("HTTP/1.1 204") && !read.contains("content-length"), "{read}");
}

// spec: RFC 9110, 9.3.2
#[tokio::test(start_paused = true)]
async fn head_is_answered_like_get_without_the_body_over_either_http() {
    let harness = harness();
    let mut tasks = JoinSet::new();
    for (path, status, length) in [("/healthz", 200, "15"), ("/nowhere", 404, "113")] {
        let mut client = connect(&harness.http, &mut tasks);
        let head = format!("HEAD {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n");
        client.write_all(head.as_bytes()).await.expect("connected");
        let mut answer = String::new();
        client.read_to_string(&mut answer).await.expect("an answer");
        assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{answer}");
        assert!(answer.contains(&format!("content-length: {length}\r\n")) && answer.ends_with("\r\n\r\n"), "{answer}");

        let client = connect(&harness.http, &mut tasks);
        let (mut sender, connection) =
            hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(client)).await.expect("HTTP/2");
        tasks.spawn(async move { drop(connection.await) });
        let request =
            Request::head(format!("http://localhost{path}")).body(Full::new(Bytes::new())).expect("a request");
        let answer = sender.send_request(request).await.expect("an answer");
        assert_eq!(
            (answer.status().as_u16(), &answer.headers()["content-length"]),
            (status, &HeaderValue::from_static(length))
        );
        let body = answer.into_body().collect().await.expect("that it ends as it should");
        assert_eq!(body.to_bytes(), "");
    }
}
