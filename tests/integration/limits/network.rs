//! The limits of connections, heads and bodies.

use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use hyper::body::{Body, Frame};
use hyper::{Method, Request, StatusCode};
use hyper_util::rt::{TokioExecutor, TokioIo};
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::{counted, counts, error, hits, of, refusal, refused, until_counted};
use crate::harness::{ACCEPT, JSON, Mux, echo_server, within};

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
    let message = "the request body is larger than 1000 bytes (--body-bytes-max)";
    let message = error(Value::Null, -31010, "body-too-large", message, &of("body-bytes-max", 1000));
    assert_eq!(refusal(too_large).await, refused(413, None, message));
    let mut trickling = connect(&mux).await;
    let head =
        "POST /mcp HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\nContent-Length: 100\r\n\r\n{";
    trickling.write_all(head.as_bytes()).await.unwrap();
    assert!(all_that_comes(trickling).await.starts_with("HTTP/1.1 408 "));
    assert_eq!(hits(&mux.client()).await, counted(&[("body-bytes-max", 1), ("body-timeout", 1)]));

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
    assert_eq!(hits(&mux.client()).await, counted(&expected));
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
    assert_eq!(hits(&mux.client()).await, counted(&expected.map(|limit| (limit, 1))));
}

#[tokio::test]
async fn a_connection_beyond_all_waits_until_a_silent_one_is_closed() {
    let mux = Mux::start(&["--connections-max", "2"], echo_server()).await;
    let (oldest, _younger) = (connect(&mux).await, connect(&mux).await);
    assert_eq!(hits(&mux.client()).await, counted(&[("connections-max", 1)]));
    assert_eq!(all_that_comes(oldest).await, "");
}

#[tokio::test]
async fn a_connection_beyond_those_of_its_address_is_closed_at_once() {
    let mux = Mux::start(&["--connections-per-address-max", "2"], echo_server()).await;
    let (_first, mut second) = (connect(&mux).await, connect(&mux).await);
    assert_eq!(all_that_comes(connect(&mux).await).await, "");
    let metrics = b"GET /metrics HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n";
    second.write_all(metrics).await.unwrap();
    let expected = counted(&[("connections-per-address-max", 1)]);
    assert_eq!(counts(&all_that_comes(second).await), expected);
}

const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const PING: u8 = 6;
const GOAWAY: u8 = 7;

const END_HEADERS: u8 = 4;
const REFUSED_STREAM: u32 = 7;
const CANCEL: u32 = 8;
const ENHANCE_YOUR_CALM: u32 = 11;

// spec: RFC 9113, 4.1
fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    [&length[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
}

/// The head of a POST to /mcp whose body is still to come.
fn post(stream: u32) -> Vec<u8> {
    // :method POST, :scheme http, :path, :authority, content-type (RFC 7541, 6.1 and 6.2.2, A).
    let fields =
        [&[0x83, 0x86, 0x04, 4][..], b"/mcp", &[0x01, 9], b"127.0.0.1", &[0x0f, 0x10, 16], b"application/json"];
    frame(HEADERS, END_HEADERS, stream, &fields.concat())
}

/// Sends these frames on a connection of their own; what came of RST_STREAM and GOAWAY until one of them did, if one did.
async fn http2(mux: &Mux, frames: &[u8]) -> (TcpStream, Option<(u8, u32, u32)>) {
    let mut stream = connect(mux).await;
    let begin = [b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", &frame(SETTINGS, 0, 0, &[])[..]].concat();
    // The connection may be ended before all of it was sent.
    let _ = stream.write_all(&[&begin, frames].concat()).await;
    let mut received = Vec::new();
    loop {
        if let [a, b, c, kind, _, d, e, f, g, rest @ ..] = received.as_slice()
            && let Some(payload) = rest.get(..u32::from_be_bytes([0, *a, *b, *c]) as usize)
        {
            let number = |at| payload.get(at..at + 4).map(|bytes| u32::from_be_bytes(bytes.try_into().unwrap()));
            let code = match *kind {
                RST_STREAM => number(0),
                GOAWAY => number(4),
                _ => None,
            };
            if let Some(code) = code {
                return (stream, Some((*kind, u32::from_be_bytes([*d, *e, *f, *g]), code)));
            }
            let whole = 9 + payload.len();
            received.drain(..whole);
            continue;
        }
        if within("a frame", stream.read_buf(&mut received)).await.unwrap_or(0) == 0 {
            return (stream, None);
        }
    }
}

// spec: RFC 9113, 5.1.2 and 10.5
#[tokio::test]
async fn floods_of_http2_are_refused_and_each_is_counted_as_what_it_is() {
    let flags = ["--http2-streams-max", "2", "--http2-resets-max", "5", "--http2-frames-max", "100"];
    let mux = Mux::start(&flags, echo_server()).await;
    let client = mux.client();
    let (_open, refused) = http2(&mux, &[post(1), post(3), post(5)].concat()).await;
    assert_eq!(refused, Some((RST_STREAM, 5, REFUSED_STREAM)));
    let streams = ("http2-streams-max", 1);
    until_counted(&client, &[streams]).await;

    let reset = |stream| [post(stream), frame(RST_STREAM, 0, stream, &CANCEL.to_be_bytes())].concat();
    let (_, ended) = http2(&mux, &(0..50).flat_map(|number| reset(number * 2 + 1)).collect::<Vec<_>>()).await;
    assert_eq!(ended, Some((GOAWAY, 0, ENHANCE_YOUR_CALM)));
    let resets = ("http2-resets-max", 1);
    until_counted(&client, &[streams, resets]).await;

    let (_, ended) = http2(&mux, &frame(PING, 0, 0, b"12345678").repeat(2000)).await;
    assert_eq!(ended, None);
    until_counted(&client, &[streams, resets, ("http2-frames-max", 1)]).await;
}
