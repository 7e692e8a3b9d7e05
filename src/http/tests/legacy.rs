use super::*;
use crate::error::Reject;
use crate::jsonrpc::RawId;
use crate::router::{Payload, SessionKey, StreamId};

const CALL: &str = r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{}}"#;
const DONE: &str = r#"{"jsonrpc":"2.0","id":1,"result":{}}"#;

fn event(text: &str) -> String {
    format!("event: message\ndata: {text}\n\n")
}

impl Harness {
    /// Opens the stream; returns it and where to post.
    async fn stream(&self) -> (Answered, String) {
        let mut stream = self.ask("GET", "/sse", &[("accept", "text/event-stream")], "").await;
        assert_eq!((stream.status, stream.header("content-type")), (StatusCode::OK, "text/event-stream"));
        let endpoint = stream.chunk().await.expect("the endpoint");
        let url = endpoint.strip_prefix("event: endpoint\ndata: ").and_then(|rest| rest.strip_suffix("\n\n"));
        let url = url.expect("an endpoint event").to_owned();
        assert!(url.starts_with("/messages?sessionId="), "{url}");
        (stream, url)
    }

    /// Opens the stream and goes through the handshake.
    async fn connect(&mut self, revision: Revision) -> (Answered, String, Origin) {
        let (mut stream, url) = self.stream().await;
        let taken = self.ask("POST", &url, &[], &initialize(revision)).await;
        assert_eq!((taken.status, taken.rest().await.as_str()), (StatusCode::ACCEPTED, "Accepted"));
        let (key, profile) = self.child.next().await.attached();
        assert!(profile.capabilities.sampling);
        let (origin, _) = self.child.next().await.sent();
        assert_eq!((origin.session, origin.stream), (key, StreamId::STANDALONE));
        self.child.initialized(origin, revision);
        assert!(stream.chunk().await.expect("the answer").contains("protocolVersion"));
        (stream, url, origin)
    }
}

// spec: 2024-11-05 basic/transports, HTTP with SSE
#[tokio::test(start_paused = true)]
async fn everything_goes_on_the_one_stream_without_ids() {
    let mut harness = harness();
    let (mut stream, url, origin) = harness.connect(Revision::V2025_11_25).await;
    assert_eq!(harness.ask("POST", &url, &[], CALL).await.status, StatusCode::ACCEPTED);
    assert_eq!(harness.child.next().await.sent().0, origin);
    harness.child.message(origin, "{}");
    harness.child.respond(origin, DONE);
    assert_eq!(stream.chunk().await.expect("both"), event("{}") + &event(DONE));
    assert_eq!(stream.chunk().await.expect("alive"), ": keep-alive\n\n");
    drop(stream);
    assert_eq!(harness.child.next().await.detached(), origin.session);
    assert_eq!((harness.registry.len(), harness.registry.open_streams()), (0, 0));
    assert_eq!(harness.ask("POST", &url, &[], CALL).await.kind().await, (404, "session-unknown".to_owned()));
}

// spec: 2024-11-05 basic/lifecycle, Initialization
#[tokio::test(start_paused = true)]
async fn before_initialize_there_are_only_pings() {
    let mut harness = harness();
    let (mut stream, url) = harness.stream().await;
    for body in [CALL, r#"{"jsonrpc":"2.0","method":"notifications/initialized"}"#] {
        assert_eq!(harness.ask("POST", &url, &[], body).await.status, StatusCode::ACCEPTED);
    }
    let ping = r#"{"jsonrpc":"2.0","id":"p","method":"ping"}"#;
    assert_eq!(harness.ask("POST", &url, &[], ping).await.status, StatusCode::ACCEPTED);
    let read = stream.chunk().await.expect("two answers");
    assert!(read.contains("not initialized") && read.contains(r#""code":-32600"#), "{read}");
    assert!(read.ends_with(&event(r#"{"jsonrpc":"2.0","id":"p","result":{}}"#)), "{read}");
    assert!(harness.child.try_next().is_none());
}

#[tokio::test(start_paused = true)]
async fn second_initialize_is_an_error_on_the_stream() {
    let mut harness = harness();
    let (mut stream, url, _) = harness.connect(Revision::V2024_11_05).await;
    let taken = harness.ask("POST", &url, &[], &initialize(Revision::V2024_11_05)).await;
    assert_eq!(taken.status, StatusCode::ACCEPTED);
    assert!(stream.chunk().await.expect("an error").contains("initialized already"));
    assert!(harness.child.try_next().is_none());
}

#[tokio::test(start_paused = true)]
async fn failed_initialize_is_answered_and_ends_the_session() {
    let mut harness = harness();
    let (stream, url) = harness.stream().await;
    harness.ask("POST", &url, &[], &initialize(Revision::V2024_11_05)).await;
    harness.child.next().await.attached();
    let (origin, _) = harness.child.next().await.sent();
    let reject = Reject::ChildUnavailable("it exits at once".to_owned());
    harness.child.deliver(origin, Payload::Rejected(RawId::from_json("0"), reject));
    assert!(stream.rest().await.contains("child-unavailable"));
    assert_eq!(harness.child.next().await.detached(), origin.session);
    assert!(harness.registry.is_empty());
}

#[tokio::test(start_paused = true)]
async fn what_is_wrong_with_a_post_is_said_where_its_client_listens() {
    let mut harness = harness();
    let (mut stream, url, _) = harness.connect(Revision::V2025_06_18).await;
    let streamable = harness.open(Revision::V2025_06_18).await;
    let foreign = format!("/messages?sessionId={streamable}");
    let batch = format!("[{CALL}]");
    let cases: &[Case<'_>] = &[
        ("/messages", &[], CALL, 400, "invalid-request"),
        ("/messages?sessionId=", &[], CALL, 404, "session-unknown"),
        (&foreign, &[], CALL, 404, "session-unknown"),
        (&url, &[("content-type", "text/plain")], CALL, 415, "unsupported-media-type"),
        (&url, &[], "{", 400, "parse-error"),
        (&url, &[], &batch, 400, "invalid-request"),
    ];
    for (url, headers, body, status, kind) in cases {
        let answered = harness.ask("POST", url, headers, body).await;
        assert_eq!(answered.kind().await, (*status, (*kind).to_owned()), "{url} {body}");
    }
    let headers = [("mcp-session-id", url.rsplit('=').next().expect("an id"))];
    assert_eq!(harness.ask("POST", "/mcp", &headers, CALL).await.status, StatusCode::NOT_FOUND);
    assert_eq!(harness.ask("POST", &url, &[], r#"{"jsonrpc":"2.0","id":7}"#).await.status, StatusCode::ACCEPTED);
    assert!(stream.chunk().await.expect("an error").contains(r#""id":7"#));
    assert_eq!(harness.ask("POST", "/sse", &[], CALL).await.header("allow"), "GET");
    assert_eq!(harness.ask("GET", "/messages", &[], "").await.header("allow"), "POST");
    assert!(harness.child.try_next().is_none());
}

#[tokio::test(start_paused = true)]
async fn batch_is_taken_where_the_revision_has_them() {
    let mut harness = harness();
    let (mut stream, url, origin) = harness.connect(Revision::V2025_03_26).await;
    let body = format!("[{CALL},{{\"id\":9}}]");
    assert_eq!(harness.ask("POST", &url, &[], &body).await.status, StatusCode::ACCEPTED);
    assert_eq!(harness.child.next().await.sent().0, origin);
    harness.child.respond(origin, DONE);
    let read = stream.chunk().await.expect("two answers");
    assert!(read.contains(r#""id":9"#) && read.ends_with(&event(DONE)), "{read}");
}

#[tokio::test(start_paused = true)]
async fn client_that_stops_reading_loses_its_session_and_disturbs_nobody() {
    let mut harness = harness();
    let (stream, _, origin) = harness.connect(Revision::V2025_06_18).await;
    let (mut other, _, others) = harness.connect(Revision::V2025_06_18).await;
    for _ in 0..4100 {
        if harness.registry.len() == 2 {
            harness.child.message(origin, "{}");
        }
    }
    assert_eq!(harness.child.next().await.detached(), origin.session);
    harness.registry.sweep(tokio::time::Instant::now());
    assert_eq!(harness.registry.len(), 1);
    assert_eq!(stream.rest().await, "");
    harness.child.message(others, "{}");
    assert_eq!(other.chunk().await.expect("undisturbed"), event("{}"));
}

#[tokio::test(start_paused = true)]
async fn stop_lets_requests_in_flight_finish_on_the_stream() {
    let mut harness = harness();
    let (stream, url, origin) = harness.connect(Revision::V2025_06_18).await;
    harness.ask("POST", &url, &[], CALL).await;
    harness.child.next().await.sent();
    harness.registry.end_standing_streams();
    let refused = harness.ask("POST", &url, &[], CALL).await;
    assert_eq!(refused.kind().await, (503, "shutting-down".to_owned()));
    assert_eq!(harness.ask("GET", "/sse", &[], "").await.kind().await.1, "shutting-down");
    harness.child.respond(origin, DONE);
    assert_eq!(stream.rest().await, event(DONE));
    assert_eq!(harness.child.next().await.detached(), origin.session);
}

#[tokio::test(start_paused = true)]
async fn request_beyond_the_limit_is_refused_on_the_stream() {
    let mut harness = harness_with(|_, session| session.in_flight_max = std::num::NonZeroUsize::MIN);
    let (mut stream, url, _) = harness.connect(Revision::V2025_06_18).await;
    for _ in 0..2 {
        assert_eq!(harness.ask("POST", &url, &[], CALL).await.status, StatusCode::ACCEPTED);
    }
    assert!(stream.chunk().await.expect("an error").contains("in-flight-limit"));
    harness.child.next().await.sent();
    assert!(harness.child.try_next().is_none());
}

#[tokio::test(start_paused = true)]
async fn initialize_is_taken_at_once_and_waits_for_the_child_as_long_as_the_stream_is_there() {
    let harness = harness();
    let (stream, url) = harness.stream().await;
    // The child's inbox is full, so that not even the attachment gets through.
    for _ in 0..256 {
        harness.handle.detach(SessionKey(0));
    }
    let body = initialize(Revision::V2025_06_18);
    let answer = harness.ask("POST", &url, &[], &body);
    let answer = tokio::time::timeout(Duration::from_secs(1), answer).await.expect("at once");
    assert_eq!(answer.status, StatusCode::ACCEPTED);
    drop(stream);
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert!(harness.registry.is_empty());
}
