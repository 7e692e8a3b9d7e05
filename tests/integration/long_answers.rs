//! Answers of every length from which their long stretches are sent without a copy: whole, by every way there is.

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::client::conn::http2;
use hyper::{Method, Request, StatusCode};
use hyper_util::rt::{TokioExecutor, TokioIo};
use serde_json::{Value, json};
use tokio::net::TcpStream;

use crate::harness::{Client, Events, JSON, Mux, SseClient, json_body, notes_server, request, text_of, within};

/// Around the length from which an answer goes out in pieces, and far beyond it and the pipes.
fn lengths() -> impl Iterator<Item = usize> {
    (16_200..16_400).step_by(20).chain([65_536, 1_000_000])
}

fn arguments(length: usize) -> Value {
    json!({"name": "bytes", "arguments": {"count": length}})
}

fn assert_whole(answer: &Value, id: &Value, length: usize) {
    assert_eq!(&answer["id"], id);
    let text = text_of(answer).expect("a text");
    assert!(text.len() == length && text.bytes().all(|byte| byte == b'x'), "{} instead of {length}", text.len());
}

const EVENTS: (&str, &str) = ("accept", "text/event-stream");

#[tokio::test(flavor = "multi_thread")]
async fn long_answers_are_whole_as_json_and_as_events() {
    let mux = Mux::start(&[], notes_server()).await;
    let client = mux.session("2025-11-25").await;
    let (session, version) = (client.session.as_deref().unwrap(), client.version.as_deref().unwrap());
    let headers = [EVENTS, JSON, ("mcp-session-id", session), ("mcp-protocol-version", version)];
    for (id, length) in lengths().enumerate().map(|(at, length)| (json!(format!("id {at}")), length)) {
        let body = request(id.clone(), "tools/call", arguments(length));
        assert_whole(&json_body(client.post(&body).await).await, &id, length);
        let answer = client.send(Method::POST, "/mcp", &headers, &body).await;
        assert_eq!(answer.status(), StatusCode::OK);
        let [answer] = Events::new(answer).rest().await.try_into().expect("one message");
        assert_whole(&answer, &id, length);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn long_answers_are_whole_over_http_sse() {
    let mux = Mux::start(&[], notes_server()).await;
    let mut client = SseClient::ready(&mux).await;
    for (id, length) in lengths().enumerate().map(|(at, length)| (json!(at), length)) {
        client.post(&request(id.clone(), "tools/call", arguments(length))).await;
        assert_whole(&client.events.message().await, &id, length);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn long_answers_are_whole_for_modern_clients() {
    let mux = Mux::start(&[], notes_server()).await;
    let client = mux.client();
    for (id, length) in lengths().enumerate().map(|(at, length)| (json!(at), length)) {
        let json = call_modern(&client, &id, length, "application/json").await;
        assert_whole(&json_body(json).await, &id, length);
        let events = call_modern(&client, &id, length, "text/event-stream").await;
        let [answer] = Events::new(events).rest().await.try_into().expect("one message");
        assert_whole(&answer, &id, length);
    }
}

async fn call_modern(
    client: &Client,
    id: &Value,
    length: usize,
    accept: &str,
) -> hyper::Response<hyper::body::Incoming> {
    let mut params = arguments(length);
    params["_meta"] = json!({
        "io.modelcontextprotocol/protocolVersion": "2026-07-28", "io.modelcontextprotocol/clientCapabilities": {}
    });
    let version = ("mcp-protocol-version", "2026-07-28");
    let headers = [("accept", accept), JSON, version, ("mcp-method", "tools/call"), ("mcp-name", "bytes")];
    client.send(Method::POST, "/mcp", &headers, &request(id.clone(), "tools/call", params)).await
}

#[tokio::test(flavor = "multi_thread")]
async fn long_answers_are_whole_over_http2() {
    let mux = Mux::start(&[], notes_server()).await;
    let client = mux.session("2025-11-25").await;
    let stream = within("a connection", TcpStream::connect(("127.0.0.1", client.port))).await.unwrap();
    let (mut sender, connection) = http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await.unwrap();
    tokio::spawn(connection);
    for (id, length) in lengths().enumerate().map(|(at, length)| (json!(at), length)) {
        let asked = Request::post(format!("http://127.0.0.1:{}/mcp", client.port))
            .header("accept", "application/json")
            .header("content-type", "application/json")
            .header("mcp-session-id", client.session.as_deref().unwrap())
            .body(Full::new(Bytes::from(request(id.clone(), "tools/call", arguments(length)))))
            .unwrap();
        let answer = within("the head of an answer", sender.send_request(asked)).await.unwrap();
        let declared: usize = answer.headers()["content-length"].to_str().unwrap().parse().unwrap();
        let body = within("a body", answer.into_body().collect()).await.unwrap().to_bytes();
        assert_eq!(body.len(), declared);
        assert_whole(&serde_json::from_slice(&body).unwrap(), &id, length);
    }
}
