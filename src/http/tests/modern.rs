//! Requests of 2026-07-28 with a legacy child.

mod checks;
mod listening;
mod returning;
mod rounds;

use std::pin::pin;

use serde_json::json;

use super::*;
use crate::error::Reject;
use crate::jsonrpc::{Message, RawId};
use crate::mcp::{Era, LogLevel};
use crate::router::Payload;
use crate::session::testing::Arrival;

pub(super) const META: &str = r#""io.modelcontextprotocol/protocolVersion":"2026-07-28","io.modelcontextprotocol/clientCapabilities":{"elicitation":{"form":{},"url":{}},"sampling":{}}"#;
const VERSION: (&str, &str) = ("mcp-protocol-version", "2026-07-28");
const TOOLS: &str = r#"{"tools":[{"name":"t"},{"name":"h","inputSchema":{"properties":{"region":{"type":"string","x-mcp-header":"Region"}}}}]}"#;
const INITIALIZED: &str = r#"{"protocolVersion":"2025-11-25","capabilities":{"logging":{},"tools":{"listChanged":true},"resources":{"subscribe":true}},"serverInfo":{"name":"s","version":"1"}}"#;

/// A request: method, what is in `params` beside `_meta`, what is in `_meta` beside what is required.
pub(super) fn body(id: &str, method: &str, params: &str, meta: &str) -> String {
    format!(r#"{{"jsonrpc":"2.0","id":{id},"method":"{method}","params":{{{params}"_meta":{{{META}{meta}}}}}}}"#)
}

pub(super) fn call(id: &str, more: &str, meta: &str) -> String {
    body(id, "tools/call", &format!(r#""name":"t","arguments":{{"a":1}},{more}"#), meta)
}

pub(super) fn headers<'a>(method: &'a str, name: Option<&'a str>) -> Vec<(&'a str, &'a str)> {
    let mut headers = vec![VERSION, ("mcp-method", method)];
    headers.extend(name.map(|name| ("mcp-name", name)));
    headers
}

pub(super) fn calling() -> Vec<(&'static str, &'static str)> {
    headers("tools/call", Some("t"))
}

fn result(id: &str, result: &str) -> String {
    format!(r#"{{"jsonrpc":"2.0","id":{id},"result":{result}}}"#)
}

impl FakeChild {
    /// Is introduced to, as by every exchange.
    pub(super) async fn meets(&mut self) {
        let (_, profile) = self.next().await.attached();
        assert_eq!((profile.era, profile.revision), (Era::Modern, None));
        self.answers("initialize", INITIALIZED).await;
        assert_eq!(self.next().await.sent().1.method(), "notifications/initialized");
    }

    /// Takes a request and answers it.
    async fn answers(&mut self, method: &str, with: &str) -> Message {
        let (origin, message) = self.takes(method).await;
        self.respond(origin, &result(message.id().expect("a request").as_str(), with));
        message
    }

    async fn takes(&mut self, method: &str) -> (Origin, Message) {
        let (origin, message) = self.next().await.sent();
        assert_eq!(message.method(), method);
        (origin, message)
    }

    /// Is called; the tools were not known yet.
    async fn is_called(&mut self) -> (Origin, Message) {
        self.meets().await;
        self.answers("tools/list", TOOLS).await;
        self.takes("tools/call").await
    }

    /// Is called; the tools may be known already.
    async fn is_called_whatever_is_known(&mut self) -> Origin {
        self.meets().await;
        let (mut origin, mut message) = self.next().await.sent();
        if message.method() == "tools/list" {
            self.respond(origin, &result(message.id().expect("an id").as_str(), TOOLS));
            (origin, message) = self.next().await.sent();
        }
        assert_eq!(message.method(), "tools/call");
        origin
    }
}

/// What a client is told: status, code, and of which request.
pub(super) async fn code(answered: Answered) -> (u16, i64, Value) {
    let status = answered.status.as_u16();
    let body = answered.json().await;
    (status, body["error"]["code"].as_i64().unwrap_or(0), body["id"].clone())
}

/// The data of an event stream's events.
fn events(text: &str) -> Vec<Value> {
    let data = text.lines().filter_map(|line| line.strip_prefix("data: "));
    data.map(|data| serde_json::from_str(data).expect("JSON")).collect()
}

// spec: 2026-07-28 server/discover
#[tokio::test(start_paused = true)]
async fn discover_is_answered_from_the_childs_handshake() {
    let mut harness = harness();
    let (body, headers, child) =
        (body("\"d\"", "server/discover", "", ""), headers("server/discover", None), &mut harness.child);
    let (answered, ()) = tokio::join!(harness.http.ask(request("POST", "/mcp", &headers, &body)), child.meets());
    assert_eq!((answered.status, answered.header("mcp-session-id")), (StatusCode::OK, ""));
    let answer = answered.json().await;
    assert_eq!((&answer["id"], &answer["result"]["resultType"]), (&json!("d"), &json!("complete")));
    assert_eq!(answer["result"]["_meta"]["io.modelcontextprotocol/serverInfo"]["name"], "s");
    harness.child.next().await.detached();
    assert!(harness.registry.is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_call_is_translated_and_answered_whatever_session_it_names() {
    let mut harness = harness();
    let meta = r#","progressToken":7,"traceparent":"00-1","io.modelcontextprotocol/logLevel":"warning""#;
    let mut headers = calling();
    let id = harness.open(Revision::V2025_11_25).await;
    headers.extend([("mcp-session-id", id.as_str()), ("last-event-id", "1-1")]);
    let (body, child) = (call("1e0", "", meta), &mut harness.child);
    let (answered, ()) = tokio::join!(harness.http.ask(request("POST", "/mcp", &headers, &body)), async {
        let (_, profile) = child.next().await.attached();
        assert_eq!((profile.level, profile.capabilities.sampling), (Some(LogLevel::Warning), true));
        assert!(profile.client_capabilities.expect("kept").contains(r#""sampling":{}"#));
        child.answers("initialize", INITIALIZED).await;
        child.takes("notifications/initialized").await;
        child.answers("tools/list", TOOLS).await;
        assert!(child.answers("logging/setLevel", "{}").await.bytes().ends_with(br#"{"level":"warning"}}"#));
        let (origin, message) = child.takes("tools/call").await;
        let params = message.text(message.params().expect("params"));
        assert_eq!(params, r#"{"name":"t","arguments":{"a":1},"_meta":{"progressToken":7,"traceparent":"00-1"}}"#);
        child.respond(origin, &result("1e0", r#"{"content":[]}"#));
    });
    assert_eq!((answered.status, answered.header("mcp-session-id")), (StatusCode::OK, ""));
    let expected = r#"{"jsonrpc":"2.0","id":1e0,"result":{"resultType":"complete","_meta":{"io.modelcontextprotocol/serverInfo":{"name":"s","version":"1"}},"content":[]}}"#;
    assert_eq!(answered.rest().await, expected);
    harness.child.next().await.detached();
    assert_eq!(harness.registry.len(), 1);
}

// spec: 2026-07-28 basic/transports/streamable-http, Receiving Messages; server/utilities/logging
#[tokio::test(start_paused = true)]
async fn what_comes_before_the_answer_makes_it_an_event_stream_without_ids() {
    let mut harness = harness();
    let body = call("1", "", r#","progressToken":"p""#);
    let child = &mut harness.child;
    let (answered, ()) = tokio::join!(harness.http.ask(request("POST", "/mcp", &calling(), &body)), async {
        let (origin, _) = child.is_called().await;
        child.message(
            origin,
            r#"{"jsonrpc":"2.0","method":"notifications/message","params":{"level":"error","data":1}}"#,
        );
        child.message(origin, r#"{"jsonrpc":"2.0","method":"notifications/tools/list_changed"}"#);
        child.message(
            origin,
            r#"{"jsonrpc":"2.0","method":"notifications/progress","params":{"progressToken":"p","progress":1}}"#,
        );
        child.respond(origin, &result("1", "{}"));
    });
    assert_eq!((answered.header("content-type"), answered.header("x-accel-buffering")), ("text/event-stream", "no"));
    let text = answered.rest().await;
    assert!(!text.contains("id: ") && !text.contains("retry"), "{text}");
    let methods: Vec<Value> = events(&text).into_iter().map(|event| event["method"].clone()).collect();
    assert_eq!(methods, [json!("notifications/progress"), Value::Null], "no log message without a level");
    harness.child.next().await.detached();
}

// spec: 2026-07-28 basic/transports/streamable-http, Cancellation
#[tokio::test(start_paused = true)]
async fn a_client_that_hangs_up_cancels() {
    let mut harness = harness();
    {
        let mut asked = pin!(harness.http.ask(request("POST", "/mcp", &calling(), &call("1", "", ""))));
        tokio::select! {
            _ = &mut asked => panic!("not answered yet"),
            _ = harness.child.is_called() => {}
        }
    }
    harness.child.next().await.detached();
    // In the middle of the stream.
    let child = &mut harness.child;
    let (mut answered, ()) =
        tokio::join!(harness.http.ask(request("POST", "/mcp", &calling(), &call("1", "", ""))), async {
            child.meets().await;
            child.takes("tools/call").await;
        });
    assert_eq!(answered.chunk().await.as_deref(), Some(": keep-alive\n\n"));
    drop(answered);
    harness.child.next().await.detached();
    assert!(harness.registry.is_empty());
}
