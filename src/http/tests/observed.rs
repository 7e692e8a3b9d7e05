//! Every request is counted once, with what came of it.

use super::*;
use crate::error::Reject;
use crate::jsonrpc::RawId;
use crate::metrics::{Counter, Gauge, Method as Asked, Outcome, ServerMetrics};
use crate::router::Payload;

const CALL: &str = r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"t"}}"#;
const DONE: &str = r#"{"jsonrpc":"2.0","id":1,"result":{}}"#;
const FAILED: &str = r#"{"jsonrpc":"2.0","id":1,"result":{"content":[],"isError":true}}"#;
const ERROR: &str = r#"{"jsonrpc":"2.0","id":1,"error":{"code":-32000,"message":"m"}}"#;
const PROGRESS: &str = r#"{"jsonrpc":"2.0","method":"notifications/progress","params":{}}"#;

impl Harness {
    fn metrics(&self) -> ServerMetrics {
        let server = self.http.servers.only().expect("one server");
        server.service().expect("started").pool.metrics().clone()
    }

    /// How often requests of that method came to what; and nothing is in flight any more.
    #[track_caller]
    fn assert_counted(&self, method: Asked, expected: &[(Outcome, u64)]) {
        let metrics = self.metrics();
        let counted = Outcome::ALL.iter().map(|outcome| (*outcome, metrics.requests(method, *outcome)));
        let counted: Vec<_> = counted.filter(|(_, count)| *count > 0).collect();
        assert_eq!(counted, expected);
        assert_eq!(metrics.level(Gauge::RequestsInFlight), 0);
        assert_eq!(metrics.level(Gauge::Streams), 0);
    }
}

fn of_session(id: &str) -> [(&str, &str); 2] {
    [("mcp-session-id", id), ("accept", "application/json, text/event-stream")]
}

#[tokio::test(start_paused = true)]
async fn an_answer_as_json_is_counted_as_what_it_means() {
    let mut harness = harness();
    let id = harness.open(Revision::V2025_11_25).await;
    harness.assert_counted(Asked::Initialize, &[(Outcome::Ok, 1)]);
    let before = harness.metrics().counted(Counter::ClientSent);
    for (text, count) in [(DONE, 2), (FAILED, 1), (ERROR, 1)] {
        for _ in 0..count {
            let (answered, _) = harness.call(&of_session(&id), CALL, text).await;
            assert_eq!(answered.rest().await, text);
        }
    }
    harness.assert_counted(Asked::ToolsCall, &[(Outcome::Ok, 2), (Outcome::ToolError, 1), (Outcome::Error, 1)]);
    let sent = 2 * DONE.len() + FAILED.len() + ERROR.len();
    assert_eq!(harness.metrics().counted(Counter::ClientSent) - before, sent as u64);
}

#[tokio::test(start_paused = true)]
async fn an_answer_on_an_event_stream_is_counted_when_it_is_taken() {
    let mut harness = harness();
    let id = harness.open(Revision::V2025_06_18).await;
    let child = &mut harness.child;
    let (mut answered, origin) =
        tokio::join!(harness.http.ask(request("POST", "/mcp", &of_session(&id), CALL)), async {
            let (origin, _) = child.next().await.sent();
            child.message(origin, PROGRESS);
            origin
        });
    assert!(answered.chunk().await.expect("progress").contains(PROGRESS));
    let metrics = harness.metrics();
    assert_eq!((metrics.level(Gauge::RequestsInFlight), metrics.level(Gauge::Streams)), (1, 1));
    harness.child.respond(origin, FAILED);
    assert!(answered.rest().await.contains(FAILED));
    harness.assert_counted(Asked::ToolsCall, &[(Outcome::ToolError, 1)]);
}

#[tokio::test(start_paused = true)]
async fn a_client_that_leaves_is_counted_wherever_it_leaves() {
    let mut harness = harness();
    let id = harness.open(Revision::V2025_11_25).await;
    // Before the head of the answer.
    let http = Arc::clone(&harness.http);
    let asking = http.ask(request("POST", "/mcp", &of_session(&id), CALL));
    assert!(tokio::time::timeout(Duration::from_millis(10), asking).await.is_err());
    harness.child.next().await.sent();
    harness.assert_counted(Asked::ToolsCall, &[(Outcome::Disconnected, 1)]);
    // On the event stream.
    let other = CALL.replace("\"id\":1", "\"id\":2");
    let answered = harness.ask("POST", "/mcp", &of_session(&id), &other).await;
    assert_eq!(harness.metrics().level(Gauge::Streams), 1);
    drop(answered);
    harness.assert_counted(Asked::ToolsCall, &[(Outcome::Disconnected, 2)]);
}

#[tokio::test(start_paused = true)]
async fn what_mcp_mux_answers_itself_is_counted_by_its_kind() {
    let mut harness = harness();
    let id = harness.open(Revision::V2025_11_25).await;
    let rejects = [
        (Reject::ShuttingDown, Outcome::ShuttingDown),
        (Reject::QueueFull(Duration::from_secs(1)), Outcome::Overloaded),
        (Reject::ChildAnswerUnusable("w".to_owned()), Outcome::Unusable),
    ];
    for (reject, outcome) in rejects {
        let child = &mut harness.child;
        tokio::join!(harness.http.ask(request("POST", "/mcp", &of_session(&id), CALL)), async {
            let (origin, _) = child.next().await.sent();
            child.deliver(origin, Payload::Rejected(RawId::from_json("1"), reject));
        });
        assert_eq!(harness.metrics().requests(Asked::ToolsCall, outcome), 1, "{outcome:?}");
    }
    let child = &mut harness.child;
    tokio::join!(harness.http.ask(request("POST", "/mcp", &of_session(&id), CALL)), async {
        let (origin, _) = child.next().await.sent();
        child.deliver(origin, Payload::Cancelled);
    });
    assert_eq!(harness.metrics().requests(Asked::ToolsCall, Outcome::Cancelled), 1);
}

#[tokio::test(start_paused = true)]
async fn what_was_refused_unread_is_counted_as_that() {
    let harness = harness();
    let gone = of_session("3fa85f64-5717-4562-b3fc-2c963f66afa6");
    assert_eq!(harness.ask("POST", "/mcp", &gone, CALL).await.status, StatusCode::NOT_FOUND);
    assert_eq!(harness.ask("POST", "/mcp", &[], "{").await.status, StatusCode::BAD_REQUEST);
    harness.assert_counted(Asked::Unread, &[(Outcome::Invalid, 1), (Outcome::SessionUnknown, 1)]);
    assert_eq!(harness.ask("POST", "/mcp", &[], CALL).await.status, StatusCode::BAD_REQUEST);
    harness.assert_counted(Asked::ToolsCall, &[(Outcome::Invalid, 1)]);
}

#[tokio::test(start_paused = true)]
async fn a_notification_is_no_request() {
    let mut harness = harness();
    let id = harness.open(Revision::V2025_11_25).await;
    let text = r#"{"jsonrpc":"2.0","method":"notifications/initialized"}"#;
    assert_eq!(harness.ask("POST", "/mcp", &of_session(&id), text).await.status, StatusCode::ACCEPTED);
    for method in [Asked::Other, Asked::Unread] {
        harness.assert_counted(method, &[]);
    }
}

#[tokio::test(start_paused = true)]
async fn each_request_of_a_batch_is_counted_by_itself() {
    let mut harness = harness();
    let id = harness.open(Revision::V2025_03_26).await;
    let ping = r#"{"jsonrpc":"2.0","id":"p","method":"ping"}"#;
    let batch = format!("[{CALL},{ping},{PROGRESS}]");
    let child = &mut harness.child;
    tokio::join!(harness.http.ask(request("POST", "/mcp", &of_session(&id), &batch)), async {
        let (origin, _) = child.next().await.sent();
        child.next().await.sent();
        child.respond(origin, r#"{"jsonrpc":"2.0","id":"p","result":{}}"#);
        child.respond(origin, FAILED);
    });
    harness.assert_counted(Asked::ToolsCall, &[(Outcome::ToolError, 1)]);
    harness.assert_counted(Asked::Ping, &[(Outcome::Ok, 1)]);
    harness.assert_counted(Asked::Unread, &[]);
}

#[tokio::test(start_paused = true)]
async fn requests_over_http_sse_are_counted_when_their_answers_go_out() {
    let mut harness = harness();
    let (mut stream, url) = {
        let mut stream = harness.ask("GET", "/sse", &[("accept", "text/event-stream")], "").await;
        let endpoint = stream.chunk().await.expect("the endpoint");
        let url = endpoint.trim_end().rsplit(' ').next().expect("a URL").to_owned();
        (stream, url)
    };
    harness.ask("POST", &url, &[], &initialize(Revision::V2024_11_05)).await;
    harness.child.next().await.attached();
    let (origin, _) = harness.child.next().await.sent();
    assert_eq!(harness.metrics().level(Gauge::RequestsInFlight), 1);
    harness.child.initialized(origin, Revision::V2024_11_05);
    stream.chunk().await.expect("the answer");
    for (id, answer) in [(1, Some(DONE)), (2, None), (3, None)] {
        harness.ask("POST", &url, &[], &CALL.replace("\"id\":1", &format!("\"id\":{id}"))).await;
        harness.child.next().await.sent();
        if let Some(answer) = answer {
            harness.child.respond(origin, answer);
            stream.chunk().await.expect("the answer");
        }
    }
    let metrics = harness.metrics();
    assert_eq!(metrics.level(Gauge::RequestsInFlight), 2);
    let cancelled = r#"{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":2}}"#;
    harness.ask("POST", &url, &[], cancelled).await;
    assert_eq!(metrics.level(Gauge::RequestsInFlight), 1);
    drop(stream);
    harness.assert_counted(Asked::Initialize, &[(Outcome::Ok, 1)]);
    harness.assert_counted(Asked::ToolsCall, &[(Outcome::Ok, 1), (Outcome::Cancelled, 1), (Outcome::Disconnected, 1)]);
}

#[tokio::test(start_paused = true)]
async fn a_modern_request_is_counted_with_what_it_was_refused_for() {
    let harness = harness();
    let body = r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"t","_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28"}}}"#;
    let headers = [("mcp-protocol-version", "2026-07-28"), ("mcp-method", "tools/call"), ("mcp-name", "t")];
    assert_eq!(harness.ask("POST", "/mcp", &headers, body).await.status, StatusCode::BAD_REQUEST);
    harness.assert_counted(Asked::ToolsCall, &[(Outcome::Invalid, 1)]);
}

#[tokio::test(start_paused = true)]
async fn whoever_asks_for_plain_text_gets_the_older_format() {
    let harness = harness();
    let answer = harness.ask("GET", "/metrics", &[("accept", "text/plain")], "").await;
    assert_eq!(answer.header("content-type"), "text/plain; version=0.0.4; charset=utf-8");
    let text = answer.rest().await;
    assert!(text.contains("\n# TYPE mcp_mux_limit_hits_total counter\n") && text.ends_with("# EOF\n"));
}
