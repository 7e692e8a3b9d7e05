//! Every limit of the network side that a client can reach, reached, and counted once in `/metrics`.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body_util::BodyExt;
use hyper::body::{Body, Frame};
use hyper::{Method, Request, StatusCode};
use hyper_util::rt::{TokioExecutor, TokioIo};
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::harness::{ACCEPT, JSON, Mux, echo_server, notes_server, request, within};

/// Which limits were hit how often.
async fn hits(mux: &Mux) -> BTreeMap<String, u64> {
    let answer = mux.client().send(Method::GET, "/metrics", &[], "").await;
    assert_eq!(answer.status(), StatusCode::OK);
    let text = within("the metrics", answer.into_body().collect()).await.unwrap().to_bytes();
    let text = String::from_utf8(text.to_vec()).unwrap();
    let series = text.lines().filter_map(|line| line.strip_prefix("mcp_mux_limit_hits_total{limit=\""));
    let counts = series.map(|rest| rest.split_once("\"} ").unwrap());
    counts.map(|(limit, count)| (limit.to_owned(), count.parse().unwrap())).filter(|(_, count)| *count > 0).collect()
}

fn counted(expected: &[(&str, u64)]) -> BTreeMap<String, u64> {
    expected.iter().map(|(limit, count)| ((*limit).to_owned(), *count)).collect()
}

async fn connect(mux: &Mux) -> TcpStream {
    TcpStream::connect(("127.0.0.1", mux.port)).await.unwrap()
}

/// What comes until the connection is closed.
async fn all_that_comes(mut stream: TcpStream) -> String {
    let mut received = Vec::new();
    let read = async { while stream.read_buf(&mut received).await.is_ok_and(|read| read > 0) {} };
    within("the end of a connection", read).await;
    String::from_utf8(received).unwrap()
}

/// A body of which a byte comes, and then nothing more.
struct Stuck(bool);

impl Body for Stuck {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        if std::mem::replace(&mut self.0, true) {
            return Poll::Pending;
        }
        Poll::Ready(Some(Ok(Frame::data(Bytes::from_static(b"{")))))
    }
}

#[tokio::test]
async fn bodies_beyond_their_bounds_are_refused_and_counted_over_either_http() {
    let flags = ["--body-timeout", "300ms", "--body-bytes-max", "1000"];
    let mux = Mux::start(&flags, echo_server()).await;
    let client = mux.client();
    let too_large = client.send(Method::POST, "/mcp", &[ACCEPT, JSON], &"x".repeat(1001)).await;
    assert_eq!(too_large.status(), StatusCode::PAYLOAD_TOO_LARGE);
    let mut trickling = connect(&mux).await;
    let head =
        "POST /mcp HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\nContent-Length: 100\r\n\r\n{";
    trickling.write_all(head.as_bytes()).await.unwrap();
    assert!(all_that_comes(trickling).await.starts_with("HTTP/1.1 408 "));
    assert_eq!(hits(&mux).await, counted(&[("body-bytes-max", 1), ("body-timeout", 1)]));

    let io = TokioIo::new(connect(&mux).await);
    let (mut sender, connection) = hyper::client::conn::http2::handshake(TokioExecutor::new(), io).await.unwrap();
    tokio::spawn(connection);
    let request = |headers: usize, value: usize| {
        let mut request = Request::post(format!("http://127.0.0.1:{}/mcp", mux.port)).header(JSON.0, JSON.1);
        for number in 0..headers {
            request = request.header(format!("x-{number}"), "v".repeat(value));
        }
        request.body(Stuck(false)).unwrap()
    };
    for (request, status) in [
        (request(0, 0), StatusCode::REQUEST_TIMEOUT),
        (request(100, 1), StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE),
        (request(8, 10_000), StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE),
    ] {
        let answer = within("an answer", sender.send_request(request)).await.unwrap();
        assert_eq!(answer.status(), status);
        assert_eq!(answer.headers()["content-type"], "application/json");
    }
    let expected = [("body-bytes-max", 1), ("body-timeout", 2), ("headers-max", 1), ("header-bytes-max", 1)];
    assert_eq!(hits(&mux).await, counted(&expected));
}

#[tokio::test]
async fn heads_and_silences_beyond_their_bounds_end_the_connection_and_are_counted() {
    let flags = ["--first-byte-timeout", "200ms", "--header-timeout", "300ms", "--idle-timeout", "400ms"];
    let mux =
        Mux::start(&[&flags[..], &["--header-bytes-max", "8KiB", "--headers-max", "20"]].concat(), echo_server()).await;
    assert_eq!(all_that_comes(connect(&mux).await).await, "");
    let mut begun = connect(&mux).await;
    begun.write_all(b"GET /healthz HTTP/1.1\r\nHo").await.unwrap();
    assert_eq!(all_that_comes(begun).await, "");
    let mut idle = connect(&mux).await;
    idle.write_all(b"GET /healthz HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n").await.unwrap();
    assert!(all_that_comes(idle).await.starts_with("HTTP/1.1 200 OK"));
    for headers in ["X: y\r\n".repeat(20), format!("X: {}\r\n", "y".repeat(8192))] {
        let mut stream = connect(&mux).await;
        let _ = stream.write_all(format!("GET /healthz HTTP/1.1\r\nHost: 127.0.0.1\r\n{headers}\r\n").as_bytes()).await;
        assert!(all_that_comes(stream).await.starts_with("HTTP/1.1 431 "));
    }
    let expected = ["first-byte-timeout", "header-timeout", "idle-timeout", "headers-max", "header-bytes-max"];
    assert_eq!(hits(&mux).await, counted(&expected.map(|limit| (limit, 1))));
}

#[tokio::test]
async fn sessions_and_requests_beyond_their_bounds_are_refused_and_counted() {
    let flags = ["--sessions-max", "1", "--in-flight-max", "1", "--request-timeout", "700ms"];
    let mux = Mux::start(&flags, notes_server()).await;
    let session = mux.session("2025-11-25").await;
    let params =
        json!({"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": "t", "version": "1"}});
    let refused = mux.client().post(&request(json!(0), "initialize", params)).await;
    assert_eq!(refused.status(), StatusCode::SERVICE_UNAVAILABLE);
    let slow =
        |id: &str| request(json!(id), "tools/call", json!({"name": "slow", "arguments": {"seconds": 60, "steps": 1}}));
    let (one, other) = (slow("one"), slow("other"));
    let (first, second) = tokio::join!(session.post(&one), session.post(&other));
    // One of the two came second.
    let mut statuses = [first.status().as_u16(), second.status().as_u16()];
    statuses.sort_unstable();
    assert_eq!(statuses, [200, 503]);
    let answers = [first, second].map(|answer| within("an answer", answer.into_body().collect()));
    let [first, second] = answers;
    let (first, second) = tokio::join!(first, second);
    let text = [first.unwrap().to_bytes(), second.unwrap().to_bytes()].concat();
    let text = String::from_utf8(text).unwrap();
    assert!(text.contains("in-flight-limit") && text.contains("request-timeout"), "{text}");
    let expected = [("sessions-max", 1), ("in-flight-max", 1), ("request-timeout", 1)];
    assert_eq!(hits(&mux).await, counted(&expected));
}
