use std::num::NonZeroUsize;
use std::pin::pin;

use super::*;
use crate::error::{Awaited, Reject};
use crate::jsonrpc::RawId;
use crate::metrics::{Limit, limit_hits};
use crate::router::{Payload, StreamId};

const CALL: &str = r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{}}"#;
const DONE: &str = r#"{"jsonrpc":"2.0","id":1,"result":{}}"#;
const PROGRESS: &str = r#"{"jsonrpc":"2.0","method":"notifications/progress","params":{}}"#;
const NOTIFICATION: &str = r#"{"jsonrpc":"2.0","method":"notifications/initialized"}"#;

fn session(id: &str) -> [(&'static str, &str); 1] {
    [("mcp-session-id", id)]
}

/// Lets everything that can go on go on.
async fn settle_down() {
    tokio::time::timeout(Duration::from_millis(1), std::future::pending::<()>()).await.expect_err("never");
}

// spec: 2025-11-25 basic/transports, Session Management 1
#[tokio::test(start_paused = true)]
async fn initialize_opens_a_session_with_what_the_client_declared() {
    let mut harness = harness();
    let body = initialize(Revision::V2025_11_25);
    let child = &mut harness.child;
    let (answered, ()) = tokio::join!(harness.http.ask(request("POST", "/mcp", &[], &body)), async {
        let (key, profile) = child.next().await.attached();
        assert!(profile.capabilities.sampling && !profile.capabilities.roots && profile.revision.is_none());
        let (origin, message) = child.next().await.sent();
        assert_eq!((origin.session, message.method()), (key, "initialize"));
        // However long it takes, and whatever comes before: the head has to have the id.
        tokio::time::sleep(Duration::from_secs(60)).await;
        child.message(origin, PROGRESS);
        child.initialized(origin, Revision::V2025_11_25);
    });
    let id = answered.header("mcp-session-id").to_owned();
    assert!(id.len() == 36 && id.bytes().all(|byte| (0x21..=0x7e).contains(&byte)), "{id}");
    assert_eq!(answered.json().await["result"]["protocolVersion"], "2025-11-25");
    assert_eq!((harness.registry.len(), harness.registry.open_streams()), (1, 0));
    assert!(harness.child.try_next().is_none());
}

#[tokio::test(start_paused = true)]
async fn initialize_that_fails_leaves_no_session() {
    let mut harness = harness();
    for outcome in [
        Payload::Rejected(RawId::from_json("0"), Reject::ChildUnavailable("starting".to_owned())),
        Payload::Response(testing::frame(r#"{"jsonrpc":"2.0","id":0,"error":{"code":-32602,"message":"no"}}"#)),
    ] {
        let body = initialize(Revision::V2025_11_25);
        let child = &mut harness.child;
        let (answered, key) = tokio::join!(harness.http.ask(request("POST", "/mcp", &[], &body)), async {
            let (key, _) = child.next().await.attached();
            let (origin, _) = child.next().await.sent();
            child.deliver(origin, outcome);
            key
        });
        assert_eq!(answered.header("mcp-session-id"), "");
        assert_eq!(answered.json().await["id"], 0);
        assert_eq!(harness.child.next().await.detached(), key);
        assert!(harness.registry.is_empty());
    }
}

#[tokio::test(start_paused = true)]
async fn client_that_hangs_up_during_initialize_leaves_no_session() {
    let mut harness = harness();
    let body = initialize(Revision::V2025_11_25);
    {
        let mut asked = pin!(harness.http.ask(request("POST", "/mcp", &[], &body)));
        tokio::select! {
            _ = &mut asked => panic!("not answered yet"),
            () = settle_down() => {}
        }
    }
    let (key, _) = harness.child.next().await.attached();
    harness.child.next().await.sent();
    assert_eq!(harness.child.next().await.detached(), key);
    assert_eq!((harness.registry.len(), harness.registry.open_streams()), (0, 0));
}

#[tokio::test(start_paused = true)]
async fn sessions_are_limited() {
    let mut harness = harness_with(|_, session| session.sessions_max = std::num::NonZeroUsize::MIN);
    let id = harness.open(Revision::V2025_11_25).await;
    let refused = harness.ask("POST", "/mcp", &[], &initialize(Revision::V2025_11_25)).await;
    assert_eq!(refused.header("retry-after"), "1");
    assert_eq!(refused.kind().await, (503, "sessions-limit".to_owned()));
    harness.ask("DELETE", "/mcp", &session(&id), "").await;
    harness.child.next().await.detached();
    harness.open(Revision::V2025_11_25).await;
}

// spec: 2025-11-25 basic/transports, Sending Messages to the Server 5
#[tokio::test(start_paused = true)]
async fn quick_answer_is_json_byte_for_byte() {
    let mut harness = harness();
    let id = harness.open(Revision::V2025_11_25).await;
    let text = r#"{"jsonrpc":"2.0","id":1e0,  "result":{"b":9007199254740993,"a":"\u0000"}}"#;
    let (answered, origin) = harness.call(&session(&id), CALL, text).await;
    assert_eq!((answered.status, answered.header("content-type")), (StatusCode::OK, "application/json"));
    assert_eq!(answered.rest().await, text);
    assert_eq!(origin.stream, StreamId(2), "initialize had 1");
    assert_eq!(harness.registry.open_streams(), 0);
}

// spec: 2025-11-25 basic/transports, Sending Messages to the Server 6
#[tokio::test(start_paused = true)]
async fn anything_before_the_answer_makes_it_an_event_stream_that_ends_with_the_answer() {
    for (revision, primed) in [(Revision::V2025_11_25, true), (Revision::V2025_06_18, false)] {
        let mut harness = harness();
        let id = harness.open(revision).await;
        let child = &mut harness.child;
        let (mut answered, origin) =
            tokio::join!(harness.http.ask(request("POST", "/mcp", &session(&id), CALL)), async {
                let (origin, _) = child.next().await.sent();
                child.message(origin, PROGRESS);
                origin
            });
        assert_eq!((answered.status, answered.header("content-type")), (StatusCode::OK, "text/event-stream"));
        assert_eq!((answered.header("cache-control"), answered.header("x-accel-buffering")), ("no-cache", "no"));
        if primed {
            assert_eq!(answered.chunk().await.expect("primed"), "id: 2-0\nretry: 1000\ndata: \n\n");
        }
        let progress = format!("id: 2-1\nevent: message\ndata: {PROGRESS}\n\n");
        assert_eq!(answered.chunk().await.expect("progress"), progress);
        harness.child.respond(origin, DONE);
        assert_eq!(answered.rest().await, format!("id: 2-2\nevent: message\ndata: {DONE}\n\n"));
        assert_eq!(harness.registry.open_streams(), 0);
    }
}

#[tokio::test(start_paused = true)]
async fn slow_answer_becomes_an_event_stream_with_keep_alive() {
    let mut harness = harness();
    let id = harness.open(Revision::V2025_06_18).await;
    let started = tokio::time::Instant::now();
    let mut answered = harness.ask("POST", "/mcp", &session(&id), CALL).await;
    assert_eq!(started.elapsed().as_secs(), 1);
    let (origin, _) = harness.child.next().await.sent();
    for period in 1..=3 {
        assert_eq!(answered.chunk().await.expect("alive"), ": keep-alive\n\n");
        assert_eq!(started.elapsed().as_secs(), 1 + 15 * period);
    }
    harness.child.respond(origin, DONE);
    assert_eq!(answered.rest().await, format!("id: 2-1\nevent: message\ndata: {DONE}\n\n"));
}

#[tokio::test(start_paused = true)]
async fn client_that_takes_only_json_waits_as_long_as_it_takes() {
    let mut harness = harness();
    let id = harness.open(Revision::V2025_11_25).await;
    let headers = [("mcp-session-id", id.as_str()), ("accept", "application/json")];
    let child = &mut harness.child;
    let (answered, ()) = tokio::join!(harness.http.ask(request("POST", "/mcp", &headers, CALL)), async {
        let (origin, _) = child.next().await.sent();
        child.message(origin, PROGRESS);
        tokio::time::sleep(Duration::from_secs(600)).await;
        child.respond(origin, DONE);
    });
    assert_eq!(answered.json().await["id"], 1);
    let mut standing = harness.ask("GET", "/mcp", &session(&id), "").await;
    assert_eq!(standing.chunk().await.expect("primed"), "id: 3-0\nretry: 1000\ndata: \n\n");
    assert!(standing.chunk().await.expect("progress").contains(PROGRESS));
}

#[tokio::test(start_paused = true)]
async fn client_that_takes_only_events_gets_an_event_stream_or_an_http_error() {
    let mut harness = harness();
    let id = harness.open(Revision::V2025_06_18).await;
    let headers = [("mcp-session-id", id.as_str()), ("accept", "text/event-stream")];
    let (answered, _) = harness.call(&headers, CALL, DONE).await;
    assert_eq!(answered.header("content-type"), "text/event-stream");
    assert_eq!(answered.rest().await, format!("id: 2-1\nevent: message\ndata: {DONE}\n\n"));
    let child = &mut harness.child;
    let (answered, ()) = tokio::join!(harness.http.ask(request("POST", "/mcp", &headers, CALL)), async {
        let (origin, _) = child.next().await.sent();
        child.deliver(origin, Payload::Rejected(RawId::from_json("1"), Reject::InFlight { limit: 1 }));
    });
    assert_eq!(answered.kind().await, (503, "in-flight-limit".to_owned()));
}

#[tokio::test(start_paused = true)]
async fn refused_request_is_answered_with_its_own_id_and_status() {
    let mut harness = harness();
    let id = harness.open(Revision::V2025_11_25).await;
    let body = CALL.replace(r#""id":1"#, r#""id":1e2"#);
    let child = &mut harness.child;
    let (answered, ()) = tokio::join!(harness.http.ask(request("POST", "/mcp", &session(&id), &body)), async {
        let (origin, message) = child.next().await.sent();
        let reject = Reject::QueueFull(Duration::from_secs(5));
        child.deliver(origin, Payload::Rejected(message.id().expect("a request"), reject));
    });
    assert_eq!((answered.status, answered.header("retry-after")), (StatusCode::SERVICE_UNAVAILABLE, "1"));
    assert!(answered.rest().await.contains(r#""id":1e2,"#));
}

#[tokio::test(start_paused = true)]
async fn cancelled_request_gets_an_empty_event_stream_or_no_content() {
    let mut harness = harness();
    let id = harness.open(Revision::V2025_11_25).await;
    let child = &mut harness.child;
    let (answered, ()) = tokio::join!(harness.http.ask(request("POST", "/mcp", &session(&id), CALL)), async {
        let (origin, _) = child.next().await.sent();
        child.deliver(origin, Payload::Cancelled);
    });
    assert_eq!((answered.status, answered.header("content-type")), (StatusCode::OK, "text/event-stream"));
    assert_eq!(answered.rest().await, "");
    let headers = [("mcp-session-id", id.as_str()), ("accept", "application/json")];
    let (answered, ()) = tokio::join!(harness.http.ask(request("POST", "/mcp", &headers, CALL)), async {
        let (origin, _) = child.next().await.sent();
        child.deliver(origin, Payload::Cancelled);
    });
    assert_eq!((answered.status, answered.header("content-type")), (StatusCode::NO_CONTENT, ""));
}

// spec: 2025-11-25 basic/transports, Sending Messages to the Server 4
#[tokio::test(start_paused = true)]
async fn notification_and_response_are_accepted_without_a_body() {
    let mut harness = harness();
    let id = harness.open(Revision::V2025_11_25).await;
    for body in [NOTIFICATION, DONE] {
        let answered = harness.ask("POST", "/mcp", &session(&id), body).await;
        assert_eq!(answered.status, StatusCode::ACCEPTED);
        assert_eq!(answered.rest().await, "");
        assert_eq!(harness.child.next().await.sent().0.stream, StreamId::STANDALONE);
    }
}

// spec: 2025-11-25 basic/transports, Session Management 2, 3; Protocol Version Header
#[tokio::test(start_paused = true)]
async fn what_is_wrong_with_a_request_has_its_own_status() {
    let mut harness = harness();
    let id = harness.open(Revision::V2025_11_25).await;
    let named = ("mcp-session-id", id.as_str());
    let unknown = ("mcp-session-id", "8c6d7c1e-0000-4000-8000-000000000000");
    let large = CALL.replace("{}", &format!(r#"{{"x":"{}"}}"#, "x".repeat(1000)));
    let init = initialize(Revision::V2025_11_25);
    let deep = "mcp-protocol-version";
    let cases: &[Case<'_>] = &[
        ("POST", &[], CALL, 400, "session-missing"),
        ("POST", &[], NOTIFICATION, 400, "session-missing"),
        ("POST", &[unknown], CALL, 404, "session-unknown"),
        ("POST", &[("mcp-session-id", "x")], CALL, 404, "session-unknown"),
        ("POST", &[named, named], CALL, 400, "invalid-request"),
        ("POST", &[named], &init, 400, "invalid-request"),
        ("POST", &[unknown], &init, 404, "session-unknown"),
        ("POST", &[named, (deep, "2026-07-28")], CALL, 400, "invalid-meta"),
        ("POST", &[named, (deep, "2026-07-28")], &init, 400, "invalid-request"),
        ("POST", &[named, ("content-type", "text/plain")], CALL, 415, "unsupported-media-type"),
        ("POST", &[named, ("accept", "text/html")], CALL, 406, "not-acceptable"),
        ("POST", &[named], "{", 400, "parse-error"),
        ("POST", &[named], "{}", 400, "invalid-request"),
        ("POST", &[named], "[]", 400, "invalid-request"),
        ("POST", &[named], &large, 413, "body-too-large"),
        ("GET", &[], "", 405, "method-not-allowed"),
        ("GET", &[unknown], "", 404, "session-unknown"),
        ("GET", &[named, ("accept", "application/json")], "", 406, "not-acceptable"),
        ("GET", &[named, (deep, "x")], "", 400, "version-unsupported"),
        ("GET", &[named, ("last-event-id", "9-1")], "", 400, "event-unknown"),
        ("GET", &[named, ("last-event-id", "x")], "", 400, "event-unknown"),
        ("DELETE", &[], "", 405, "method-not-allowed"),
        ("DELETE", &[unknown], "", 404, "session-unknown"),
        ("PUT", &[named], "", 405, "method-not-allowed"),
    ];
    for (method, headers, body, status, kind) in cases {
        let answered = harness.ask(method, "/mcp", headers, body).await;
        assert_eq!(answered.kind().await, (*status, (*kind).to_owned()), "{method} {headers:?} {body}");
    }
    assert_eq!(harness.ask("PUT", "/mcp", &[], "").await.header("allow"), "GET, POST, DELETE");
    assert_eq!(harness.ask("GET", "/mcp", &[], "").await.header("allow"), "POST");
    assert_eq!(harness.ask("GET", "/", &[], "").await.kind().await, (404, "not-found".to_owned()));
    assert!(harness.child.try_next().is_none(), "the child hears of none of it");
    assert_eq!(harness.registry.len(), 1);
}

#[tokio::test(start_paused = true)]
async fn errors_name_the_request_and_never_a_response() {
    let harness = harness();
    assert_eq!(harness.ask("POST", "/mcp", &[], CALL).await.json().await["id"], 1);
    assert!(harness.ask("POST", "/mcp", &[], DONE).await.json().await.get("id").is_none());
    assert_eq!(harness.ask("POST", "/mcp", &[], r#"{"jsonrpc":"2.0","id":7}"#).await.json().await["id"], 7);
}

#[tokio::test(start_paused = true)]
async fn body_that_trickles_times_out() {
    let harness = harness();
    let request = Request::post("/mcp")
        .header("host", "localhost")
        .header("content-type", "application/json")
        .body(Trickle)
        .expect("a request");
    let started = tokio::time::Instant::now();
    assert_eq!(harness.http.clone().handle(request, peer()).await.status(), StatusCode::REQUEST_TIMEOUT);
    assert_eq!(started.elapsed().as_secs(), 10);
}

/// A body that never ends nor goes on.
struct Trickle;

impl HttpBody for Trickle {
    type Data = Bytes;
    type Error = std::convert::Infallible;

    fn poll_frame(
        self: std::pin::Pin<&mut Self>,
        _: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Option<Result<hyper::body::Frame<Bytes>, Self::Error>>> {
        std::task::Poll::Pending
    }
}

// spec: 2025-11-25 basic/transports, Session Management 3, 5
#[tokio::test(start_paused = true)]
async fn delete_closes_the_session_and_ends_its_streams() {
    let mut harness = harness();
    let id = harness.open(Revision::V2025_06_18).await;
    let other = harness.open(Revision::V2025_06_18).await;
    let mut standing = harness.ask("GET", "/mcp", &session(&id), "").await;
    let mut others = harness.ask("GET", "/mcp", &session(&other), "").await;
    let headers = session(&id);
    let mut call = pin!(harness.http.ask(request("POST", "/mcp", &headers, CALL)));
    tokio::select! {
        _ = &mut call => panic!("not answered yet"),
        () = settle_down() => {}
    }
    let (origin, _) = harness.child.next().await.sent();
    let deleted = harness.http.ask(request("DELETE", "/mcp", &headers, "")).await;
    assert_eq!((deleted.status, deleted.header("content-length")), (StatusCode::NO_CONTENT, ""));
    assert_eq!(standing.chunk().await, None);
    harness.child.deliver(origin, Payload::Rejected(RawId::from_json("1"), Reject::SessionClosed));
    assert_eq!(call.await.kind().await, (404, "session-closed".to_owned()));
    assert_eq!(harness.child.next().await.detached(), origin.session);
    let gone = harness.http.ask(request("POST", "/mcp", &headers, CALL)).await;
    assert_eq!(gone.kind().await, (404, "session-unknown".to_owned()));
    drop(standing);
    assert_eq!((harness.registry.len(), harness.registry.open_streams()), (1, 1));
    tokio::select! {
        _ = others.chunk() => panic!("another session's stream was disturbed"),
        () = settle_down() => {}
    }
}

#[tokio::test(start_paused = true)]
async fn closed_session_sends_away_what_waits_for_the_child_and_is_detached_after_that() {
    let mut harness = harness();
    let id = harness.open(Revision::V2025_06_18).await;
    let headers = session(&id);
    let notifications = async {
        loop {
            harness.http.ask(request("POST", "/mcp", &headers, NOTIFICATION)).await;
        }
    };
    // The child's inbox is full in the end.
    tokio::time::timeout(Duration::from_secs(1), notifications).await.expect_err("it waits");
    let mut call = pin!(harness.http.ask(request("POST", "/mcp", &headers, CALL)));
    tokio::select! {
        _ = &mut call => panic!("not handed over yet"),
        () = settle_down() => {}
    }
    let deleted = harness.http.ask(request("DELETE", "/mcp", &headers, "")).await;
    assert_eq!(deleted.status, StatusCode::NO_CONTENT);
    let child = &mut harness.child;
    let answered = tokio::time::timeout(Duration::from_millis(1), call).await.expect("not after --queue-timeout");
    assert_eq!(answered.kind().await, (404, "session-closed".to_owned()));
    let mut next = child.next().await;
    while let testing::Arrival::Sent(_, message) = next {
        assert_eq!(message.method(), "notifications/initialized");
        next = child.next().await;
    }
    next.detached();
    settle_down().await;
    assert!(child.try_next().is_none());
}

// spec: 2025-11-25 basic/transports, Sending Messages to the Server 6: Disconnection SHOULD NOT be interpreted as the
// client cancelling its request
#[tokio::test(start_paused = true)]
async fn request_goes_on_when_its_client_hangs_up_and_its_answer_is_there_to_resume() {
    let mut harness = harness();
    let id = harness.open(Revision::V2025_11_25).await;
    let mut answered = harness.ask("POST", "/mcp", &session(&id), CALL).await;
    let (origin, _) = harness.child.next().await.sent();
    assert_eq!(answered.chunk().await.expect("primed"), "id: 2-0\nretry: 1000\ndata: \n\n");
    drop(answered);
    assert_eq!(harness.registry.open_streams(), 0);
    assert!(harness.child.try_next().is_none(), "nothing is cancelled");
    harness.child.message(origin, PROGRESS);
    harness.child.respond(origin, DONE);
    let headers = [("mcp-session-id", id.as_str()), ("last-event-id", "2-0")];
    for _ in 0..2 {
        let resumed = harness.ask("GET", "/mcp", &headers, "").await;
        let expected =
            format!("id: 2-1\nevent: message\ndata: {PROGRESS}\n\nid: 2-2\nevent: message\ndata: {DONE}\n\n");
        assert_eq!(resumed.rest().await, expected);
    }
}

#[tokio::test(start_paused = true)]
async fn standing_stream_is_primed_and_gets_what_was_kept() {
    let mut harness = harness();
    let id = harness.open(Revision::V2025_11_25).await;
    let (_, origin) = harness.call(&session(&id), CALL, DONE).await;
    harness.child.message(Origin { stream: StreamId::STANDALONE, ..origin }, PROGRESS);
    harness.child.message(origin, PROGRESS);
    let mut standing = harness.ask("GET", "/mcp", &session(&id), "").await;
    assert_eq!(standing.header("content-type"), "text/event-stream");
    assert_eq!(standing.chunk().await.expect("primed"), "id: 3-0\nretry: 1000\ndata: \n\n");
    let event = |number: u32| format!("id: 3-{number}\nevent: message\ndata: {PROGRESS}\n\n");
    assert_eq!(standing.chunk().await.expect("both"), event(1) + &event(2));
    assert_eq!(standing.chunk().await.expect("alive"), ": keep-alive\n\n");
}

// spec: 2025-03-26 basic, Batching
#[tokio::test(start_paused = true)]
async fn batch_is_answered_as_one_array_in_the_order_of_the_answers() {
    let mut harness = harness();
    let id = harness.open(Revision::V2025_03_26).await;
    let second = CALL.replace(r#""id":1"#, r#""id":"1""#);
    let body = format!("[{CALL},{NOTIFICATION},{second},{{\"id\":9}}]");
    let child = &mut harness.child;
    let (answered, ()) = tokio::join!(harness.http.ask(request("POST", "/mcp", &session(&id), &body)), async {
        let (first, _) = child.next().await.sent();
        assert_eq!(child.next().await.sent().1.method(), "notifications/initialized");
        let (second, _) = child.next().await.sent();
        assert_eq!(first, second, "one stream for all");
        child.deliver(second, Payload::Rejected(RawId::from_json("\"1\""), Reject::InFlight { limit: 1 }));
        child.respond(first, DONE);
    });
    assert_eq!(answered.status, StatusCode::OK);
    let answers = answered.json().await;
    let ids: Vec<&Value> = answers.as_array().expect("array").iter().map(|answer| &answer["id"]).collect();
    assert_eq!(ids, [&Value::from(9), &Value::from("1"), &Value::from(1)]);
}

#[tokio::test(start_paused = true)]
async fn batch_as_events_has_one_event_for_each_answer() {
    let mut harness = harness();
    let id = harness.open(Revision::V2025_03_26).await;
    let second = CALL.replace(r#""id":1"#, r#""id":2"#);
    let headers = [("mcp-session-id", id.as_str()), ("accept", "text/event-stream")];
    let body = format!("[{CALL},{second}]");
    let child = &mut harness.child;
    let (answered, stream) = tokio::join!(harness.http.ask(request("POST", "/mcp", &headers, &body)), async {
        let (origin, _) = child.next().await.sent();
        child.next().await.sent();
        child.respond(origin, DONE);
        child.deliver(origin, Payload::Cancelled);
        origin.stream
    });
    let expected = format!("id: {}-1\nevent: message\ndata: {DONE}\n\n", stream.0);
    assert_eq!(answered.rest().await, expected);
}

#[tokio::test(start_paused = true)]
async fn refused_batch_is_answered_as_events_where_its_client_takes_nothing_else() {
    let mut harness = harness();
    let id = harness.open(Revision::V2025_03_26).await;
    let headers = [("mcp-session-id", id.as_str()), ("accept", "text/event-stream")];
    let child = &mut harness.child;
    let body = format!("[{CALL}]");
    let (answered, ()) = tokio::join!(harness.http.ask(request("POST", "/mcp", &headers, &body)), async {
        let (origin, _) = child.next().await.sent();
        child.deliver(origin, Payload::Rejected(RawId::from_json("1"), Reject::InFlight { limit: 1 }));
    });
    assert_eq!((answered.status, answered.header("content-type")), (StatusCode::OK, "text/event-stream"));
    assert!(answered.rest().await.contains("in-flight-limit"));
}

#[tokio::test(start_paused = true)]
async fn batch_that_may_not_be_is_refused_whole() {
    let mut harness = harness();
    let with = harness.open(Revision::V2025_03_26).await;
    let without = harness.open(Revision::V2025_06_18).await;
    let init = format!("[{}]", initialize(Revision::V2025_03_26));
    let half = format!("[{NOTIFICATION},7]");
    let one = format!("[{CALL}]");
    for (id, body) in [(&without, &one), (&with, &init), (&with, &half)] {
        let answered = harness.ask("POST", "/mcp", &session(id), body).await;
        assert_eq!(answered.kind().await, (400, "invalid-request".to_owned()), "{body}");
    }
    let refused = harness.ask("POST", "/mcp", &session(&without), &one).await.json().await;
    assert!(refused["error"]["message"].as_str().expect("text").contains("2025-06-18"));
    assert_eq!(harness.ask("POST", "/mcp", &[], &init).await.kind().await.0, 400);
    assert!(harness.child.try_next().is_none());
    let accepted = harness.ask("POST", "/mcp", &session(&with), &format!("[{NOTIFICATION},{DONE}]")).await;
    assert_eq!(accepted.status, StatusCode::ACCEPTED);
}

#[tokio::test(start_paused = true)]
async fn stateless_request_is_an_attachment_that_ends_with_it() {
    let mut harness = harness_with(|http, _| http.sessions = SessionMode::Stateless);
    let body = initialize(Revision::V2025_11_25);
    let child = &mut harness.child;
    let (answered, ()) = tokio::join!(harness.http.ask(request("POST", "/mcp", &[], &body)), async {
        child.next().await.attached();
        let (origin, _) = child.next().await.sent();
        child.initialized(origin, Revision::V2025_11_25);
        assert_eq!(child.next().await.detached(), origin.session);
    });
    assert_eq!((answered.status, answered.header("mcp-session-id")), (StatusCode::OK, ""));

    let headers = [("mcp-protocol-version", "2025-11-25"), ("mcp-session-id", "whatever")];
    let mut answered = harness.ask("POST", "/mcp", &headers, CALL).await;
    let (key, profile) = harness.child.next().await.attached();
    assert_eq!((profile.revision, profile.capabilities.any()), (Some(Revision::V2025_11_25), false));
    let (origin, _) = harness.child.next().await.sent();
    harness.child.message(origin, PROGRESS);
    let event = format!("event: message\ndata: {PROGRESS}\n\n");
    assert_eq!(answered.chunk().await.expect("no priming event, no id"), event);
    assert!(harness.child.try_next().is_none());
    drop(answered);
    assert_eq!(harness.child.next().await.detached(), key, "nobody can come back: it is given up");

    for method in ["GET", "DELETE"] {
        let answered = harness.ask(method, "/mcp", &[], "").await;
        assert_eq!((answered.status, answered.header("allow")), (StatusCode::METHOD_NOT_ALLOWED, "POST"));
    }
    assert_eq!(harness.ask("POST", "/mcp", &[], NOTIFICATION).await.status, StatusCode::ACCEPTED);
    assert_eq!((harness.registry.len(), harness.registry.open_streams()), (0, 0));
}

#[tokio::test(start_paused = true)]
async fn idle_session_expires_and_a_busy_one_does_not() {
    let mut harness = harness_with(|_, session| session.idle_timeout = Some(Duration::from_secs(100)));
    let idle = harness.open(Revision::V2025_06_18).await;
    let reading = harness.open(Revision::V2025_06_18).await;
    let standing = harness.ask("GET", "/mcp", &session(&reading), "").await;
    let calling = harness.open(Revision::V2025_06_18).await;
    let _events = harness.ask("POST", "/mcp", &session(&calling), CALL).await;
    harness.child.next().await.sent();
    let stop = tokio_util::sync::CancellationToken::new();
    let wait = |seconds| {
        let stop = stop.clone();
        let registry = harness.registry.clone();
        async move {
            tokio::select! {
                () = registry.run(stop) => panic!("not stopped"),
                () = tokio::time::sleep(Duration::from_secs(seconds)) => {}
            }
        }
    };
    wait(500).await;
    assert_eq!(harness.ask("POST", "/mcp", &session(&idle), CALL).await.status, StatusCode::NOT_FOUND);
    harness.child.next().await.detached();
    assert_eq!(harness.registry.len(), 2);
    drop(standing);
    wait(60).await;
    assert_eq!(harness.registry.len(), 2);
    wait(100).await;
    assert_eq!(harness.registry.len(), 1, "its request is still in flight");
    stop.cancel();
    harness.registry.run(stop).await;
}

#[tokio::test(start_paused = true)]
async fn old_session_expires_whatever_it_does() {
    let mut harness = harness_with(|_, session| session.age_max = Some(Duration::from_secs(100)));
    let id = harness.open(Revision::V2025_06_18).await;
    let mut standing = harness.ask("GET", "/mcp", &session(&id), "").await;
    harness.registry.sweep(tokio::time::Instant::now() + Duration::from_secs(99));
    assert_eq!(harness.registry.len(), 1);
    harness.registry.sweep(tokio::time::Instant::now() + Duration::from_secs(100));
    assert_eq!(standing.chunk().await, None);
    harness.child.next().await.detached();
    assert!(harness.registry.is_empty());
}

#[tokio::test(start_paused = true)]
async fn stop_ends_standing_streams_first_and_posts_go_on() {
    let mut harness = harness();
    let id = harness.open(Revision::V2025_06_18).await;
    let mut standing = harness.ask("GET", "/mcp", &session(&id), "").await;
    let call = harness.ask("POST", "/mcp", &session(&id), CALL).await;
    let (origin, _) = harness.child.next().await.sent();
    harness.registry.end_standing_streams();
    assert_eq!(standing.chunk().await, None);
    assert_eq!(harness.ask("GET", "/mcp", &session(&id), "").await.kind().await.1, "shutting-down");
    let refused = harness.ask("POST", "/mcp", &[], &initialize(Revision::V2025_06_18)).await;
    assert_eq!(refused.kind().await.1, "shutting-down");
    harness.child.respond(origin, DONE);
    assert!(call.rest().await.contains(DONE));
    harness.registry.close_all();
    assert_eq!(harness.child.next().await.detached(), origin.session);
    drop(standing);
    assert_eq!((harness.registry.len(), harness.registry.open_streams()), (0, 0));
}

#[tokio::test(start_paused = true)]
async fn guard_speaks_first_and_health_needs_no_session() {
    let harness = harness();
    let evil = [("origin", "http://evil.example")];
    assert_eq!(harness.ask("POST", "/mcp", &evil, CALL).await.kind().await, (403, "origin-forbidden".to_owned()));
    let preflight = harness.ask("OPTIONS", "/mcp", &[("origin", "http://localhost")], "").await;
    assert_eq!(preflight.status, StatusCode::NO_CONTENT);
    let refused = harness.ask("POST", "/mcp", &[("origin", "http://localhost")], CALL).await;
    assert_eq!(refused.header("access-control-allow-origin"), "http://localhost");
    for path in ["/healthz", "/readyz"] {
        assert_eq!(harness.ask("GET", path, &[], "").await.status, StatusCode::OK);
        assert_eq!(harness.ask("POST", path, &[], "").await.status, StatusCode::METHOD_NOT_ALLOWED);
    }
}

#[tokio::test(start_paused = true)]
async fn metrics_are_openmetrics_text_for_those_who_ask_for_it() {
    let harness = harness();
    for method in ["GET", "HEAD"] {
        let answer = harness.ask(method, "/metrics", &[("accept", "application/openmetrics-text")], "").await;
        assert_eq!(answer.status, StatusCode::OK);
        assert_eq!(answer.header("content-type"), "application/openmetrics-text; version=1.0.0; charset=utf-8");
        assert!(answer.rest().await.ends_with("# EOF\n"));
    }
    let refused = harness.ask("POST", "/metrics", &[], "").await;
    assert_eq!(refused.header("allow"), "GET, HEAD");
    assert_eq!(refused.kind().await, (405, "method-not-allowed".to_owned()));
    let evil = [("origin", "http://evil.example")];
    assert_eq!(harness.ask("GET", "/metrics", &evil, "").await.status, StatusCode::FORBIDDEN);
}

#[tokio::test(start_paused = true)]
async fn requests_beyond_the_limit_are_refused_at_once_and_pings_are_not() {
    let mut harness = harness_with(|_, session| session.in_flight_max = std::num::NonZeroUsize::new(2).expect("two"));
    let id = harness.open(Revision::V2025_03_26).await;
    let headers = session(&id);
    let first = harness.ask("POST", "/mcp", &headers, CALL).await;
    let batch = format!("[{CALL},{}]", CALL.replace(r#""id":1"#, r#""id":2"#));
    let refused = harness.ask("POST", "/mcp", &headers, &batch).await;
    assert_eq!(refused.kind().await, (503, "in-flight-limit".to_owned()));
    let second = harness.ask("POST", "/mcp", &headers, CALL).await;
    let refused = harness.ask("POST", "/mcp", &headers, CALL).await;
    assert_eq!(refused.header("retry-after"), "1");
    assert_eq!(refused.json().await["id"], 1);
    let (origin, _) = harness.child.next().await.sent();
    harness.child.next().await.sent();
    assert!(harness.child.try_next().is_none());
    let ping = CALL.replace("tools/call", "ping");
    let (answered, _) = harness.call(&headers, &ping, DONE).await;
    assert_eq!(answered.status, StatusCode::OK);
    harness.child.respond(origin, DONE);
    drop((first, second));
    assert_eq!(harness.call(&headers, CALL, DONE).await.0.status, StatusCode::OK);
}

#[tokio::test(start_paused = true)]
async fn messages_that_wait_for_the_child_are_bounded_in_each_session() {
    let mut harness = harness_with(|_, session| session.messages_waiting_max = NonZeroUsize::new(5).expect("not zero"));
    let hits = limit_hits(Limit::MessagesWaitingMax);
    let id = harness.open(Revision::V2025_06_18).await;
    let headers = session(&id);
    while tokio::time::timeout(Duration::from_secs(1), harness.ask("POST", "/mcp", &headers, NOTIFICATION))
        .await
        .is_ok()
    {}
    let mut waiting: Vec<_> = (0..5).map(|_| Box::pin(harness.ask("POST", "/mcp", &headers, NOTIFICATION))).collect();
    for waiting in &mut waiting {
        tokio::select! {
            _ = waiting => panic!("there is no room"),
            () = settle_down() => {}
        }
    }
    assert_eq!(
        harness.ask("POST", "/mcp", &headers, NOTIFICATION).await.kind().await,
        (503, "messages-waiting".to_owned())
    );
    assert!(limit_hits(Limit::MessagesWaitingMax) > hits);
}

#[tokio::test(start_paused = true)]
async fn failed_initialize_is_answered_as_events_where_its_client_takes_nothing_else() {
    let mut harness = harness();
    let (body, headers) = (initialize(Revision::V2025_11_25), [("accept", "text/event-stream")]);
    let child = &mut harness.child;
    let (answered, ()) = tokio::join!(harness.http.ask(request("POST", "/mcp", &headers, &body)), async {
        child.next().await.attached();
        let (origin, _) = child.next().await.sent();
        let reject = Reject::RequestTimeout(Duration::from_secs(1), "--request-timeout", Awaited::Server);
        child.deliver(origin, Payload::Rejected(RawId::from_json("0"), reject));
    });
    assert_eq!((answered.status, answered.header("content-type")), (StatusCode::OK, "text/event-stream"));
    assert!(answered.rest().await.contains("request-timeout"));
}

#[tokio::test(start_paused = true)]
async fn question_that_its_client_does_not_read_is_answered_with_an_error() {
    let mut harness = harness_with(|_, session| session.replay_events = 1);
    let id = harness.open(Revision::V2025_06_18).await;
    let headers = session(&id);
    let call = harness.ask("POST", "/mcp", &headers, CALL).await;
    let (origin, _) = harness.child.next().await.sent();
    drop(call);
    let question = r#"{"jsonrpc":"2.0","id":"mcp-mux-7","method":"sampling/createMessage","params":{}}"#;
    for text in [PROGRESS, question, PROGRESS] {
        harness.child.message(Origin { stream: StreamId::STANDALONE, ..origin }, text);
    }
    let stop = tokio_util::sync::CancellationToken::new();
    let (from, answer) = tokio::select! {
        () = harness.registry.run(stop) => panic!("not stopped"),
        arrived = harness.child.next() => arrived.sent(),
    };
    assert_eq!(from, Origin::client(origin.session, StreamId::STANDALONE));
    let answer: Value = serde_json::from_slice(answer.bytes()).expect("JSON");
    assert_eq!((answer["id"].as_str(), answer["error"]["code"].as_i64()), (Some("mcp-mux-7"), Some(-31010)));
    assert_eq!(answer["error"]["data"]["kind"], "question-dropped");
    assert!(harness.child.try_next().is_none());
}
