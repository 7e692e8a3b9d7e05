//! Event streams of Streamable HTTP: when they begin, what they carry, how they go on after a break.

use hyper::StatusCode;
use serde_json::{Value, json};

use crate::harness::{Client, Events, Mux, body, json_body, notes_server, notification, python, request};

fn slow(id: u32, seconds: f64, steps: u32) -> String {
    let arguments = json!({"seconds": seconds, "steps": steps});
    let params = json!({"name": "slow", "arguments": arguments, "_meta": {"progressToken": format!("token-{id}")}});
    request(json!(id), "tools/call", params)
}

/// A request that is at work in the child, and its stream.
async fn at_work(client: &Client, id: u32) -> Events {
    let mut events = Events::new(client.post(&slow(id, 60.0, 600)).await);
    assert_eq!(events.message().await["params"]["progressToken"], format!("token-{id}"));
    events
}

fn cancelled(id: u32) -> String {
    notification("notifications/cancelled", json!({"requestId": id}))
}

#[tokio::test]
async fn progress_makes_the_answer_a_stream_that_ends_with_the_response() {
    let mux = Mux::start(&[], notes_server()).await;
    let client = mux.session("2025-06-18").await;
    let events = Events::new(client.post(&slow(1, 0.05, 3)).await);
    assert_eq!(events.headers["cache-control"], "no-cache");
    assert_eq!(events.headers["x-accel-buffering"], "no");
    let messages = events.rest().await;
    let (last, progress) = messages.split_last().unwrap();
    assert_eq!(last["id"], 1);
    assert!(!progress.is_empty());
    assert!(progress.iter().all(|message| message["params"]["progressToken"] == "token-1"));
}

// spec: 2025-11-25 basic/transports, Sending Messages to the Server 6
#[tokio::test]
async fn the_priming_event_and_retry_are_for_2025_11_25_alone() {
    let mux = Mux::start(&["--sse-after", "10ms"], notes_server()).await;
    for version in ["2025-03-26", "2025-06-18", "2025-11-25"] {
        let client = mux.session(version).await;
        let arguments = json!({"name": "slow", "arguments": {"seconds": 0.2, "steps": 1}});
        let mut events = Events::new(client.post(&request(json!(1), "tools/call", arguments)).await);
        let first = events.next().await.unwrap();
        let mut listening = client.listen(None).await;
        if version == "2025-11-25" {
            assert!(first.id.is_some() && first.retry.is_some(), "{first:?}");
            assert_eq!(first.data.as_deref(), Some(""));
            assert!(listening.next().await.unwrap().id.is_some());
        } else {
            assert_eq!(first.json()["id"], 1, "{first:?}");
            assert_eq!(first.retry, None);
        }
    }
}

// spec: 2025-11-25 basic/transports, Resumability and Redelivery 2
#[tokio::test]
async fn a_broken_stream_goes_on_where_it_broke_and_carries_nothing_else() {
    let mux = Mux::start(&[], notes_server()).await;
    let client = mux.session("2025-11-25").await;
    let mut events = Events::new(client.post(&slow(1, 1.0, 20)).await);
    let other = Events::new(client.post(&slow(2, 0.3, 3)).await);
    let mut last = None;
    for _ in 0..3 {
        last = events.next().await.unwrap().id;
    }
    drop(events);
    other.rest().await;
    let mut resumed = client.listen(last.as_deref()).await;
    let mut progress = 0.0;
    let answer = loop {
        let message = resumed.message().await;
        if message.get("id").is_some() {
            break message;
        }
        assert_eq!(message["params"]["progressToken"], "token-1");
        let now = message["params"]["progress"].as_f64().unwrap();
        assert!(now > progress, "out of order or twice: {message}");
        progress = now;
    };
    assert_eq!(answer["id"], 1);
    assert_eq!(resumed.next().await, None, "the stream ends with the response");
    // Once more from the same place: the same events.
    let again = client.listen(last.as_deref()).await.rest().await;
    assert_eq!(again.last().unwrap(), &answer);
}

#[tokio::test]
async fn an_event_id_that_names_nothing_is_refused() {
    let mux = Mux::start(&[], notes_server()).await;
    let client = mux.session("2025-11-25").await;
    for id in ["nonsense", "999-1", "1-999999999999999999999999"] {
        let headers = [
            ("accept", "text/event-stream"),
            ("mcp-session-id", client.session.as_deref().unwrap()),
            ("last-event-id", id),
        ];
        let answer = client.send(hyper::Method::GET, "/mcp", &headers, "").await;
        assert_eq!(answer.status(), StatusCode::BAD_REQUEST, "{id}");
    }
}

#[tokio::test]
async fn messages_wait_for_a_stream_and_go_to_one_stream_only() {
    let mux = Mux::start(&[], notes_server()).await;
    let client = mux.session("2025-06-18").await;
    client.call(json!(1), "resources/subscribe", json!({"uri": "x:/1"})).await;
    client.tool(json!(2), "touch", json!({"uri": "x:/1"})).await;
    let mut first = client.listen(None).await;
    assert_eq!(first.message().await["params"]["uri"], "x:/1", "kept until a stream existed");
    let mut second = client.listen(None).await;
    client.tool(json!(3), "touch", json!({"uri": "x:/1"})).await;
    assert_eq!(second.message().await["params"]["uri"], "x:/1", "the newest stream");
    drop(second);
    // Which of the two takes the next one depends on when the closing is noticed; none is lost.
    client.tool(json!(4), "touch", json!({"uri": "x:/1"})).await;
    assert_eq!(first.message().await["params"]["uri"], "x:/1", "the older stream serves again");
}

#[tokio::test]
async fn updates_reach_their_subscribers_only() {
    let mux = Mux::start(&[], notes_server()).await;
    let (a, b) = (mux.session("2025-06-18").await, mux.session("2025-06-18").await);
    let (mut of_a, mut of_b) = (a.listen(None).await, b.listen(None).await);
    a.call(json!(1), "resources/subscribe", json!({"uri": "x:/a"})).await;
    b.call(json!(1), "resources/subscribe", json!({"uri": "x:/b"})).await;
    for uri in ["x:/a", "x:/b", "x:/a", "x:/b"] {
        a.tool(json!(2), "touch", json!({"uri": uri})).await;
    }
    for _ in 0..2 {
        assert_eq!(of_a.message().await["params"]["uri"], "x:/a");
        assert_eq!(of_b.message().await["params"]["uri"], "x:/b");
    }
}

#[tokio::test]
async fn a_cancelled_request_ends_its_post_without_an_answer() {
    let mux = Mux::start(&[], notes_server()).await;
    let client = mux.session("2025-06-18").await;
    let events = at_work(&client, 1).await;
    assert_eq!(client.post(&cancelled(1)).await.status(), StatusCode::ACCEPTED);
    assert!(events.rest().await.iter().all(|message| message.get("id").is_none()));
    // Also one whose answer has not begun.
    let (pending, other) = (client.clone(), client.clone());
    let arguments = json!({"name": "slow", "arguments": {"seconds": 60, "steps": 1}});
    let post = tokio::spawn(async move { pending.post(&request(json!(2), "tools/call", arguments)).await });
    in_flight(&other, 1).await;
    other.post(&cancelled(2)).await;
    let answer = post.await.unwrap();
    assert_eq!(answer.status(), StatusCode::OK);
    assert!(!String::from_utf8_lossy(&body(answer).await).contains("\"id\""));
}

/// Waits until the server has this many other requests at work.
async fn in_flight(client: &Client, count: u64) {
    crate::harness::within("requests at work in the server", async {
        loop {
            let who: Value = serde_json::from_str(&client.tool(json!("who"), "whoami", json!({})).await).unwrap();
            let known = who.as_object().unwrap().iter().find(|(key, _)| key.to_lowercase().contains("flight"));
            if known.unwrap().1.as_u64().unwrap() > count {
                break;
            }
        }
    })
    .await;
}

#[tokio::test]
async fn cancelling_with_somebody_elses_id_does_nothing() {
    let mux = Mux::start(&[], notes_server()).await;
    let (a, b) = (mux.session("2025-06-18").await, mux.session("2025-06-18").await);
    let mut of_a = at_work(&a, 1).await;
    b.post(&cancelled(1)).await;
    for id in 0..20 {
        b.post(&cancelled(id)).await;
    }
    assert_eq!(of_a.message().await["params"]["progressToken"], "token-1");
}

#[tokio::test]
async fn a_delete_in_mid_flight_settles_its_own_requests_and_disturbs_nobody() {
    let mux = Mux::start(&[], notes_server()).await;
    let (a, b) = (mux.session("2025-06-18").await, mux.session("2025-06-18").await);
    let (of_a, mut of_b) = (at_work(&a, 1).await, at_work(&b, 1).await);
    let listening = a.listen(None).await;
    assert!(a.delete().await.is_success());
    let last = of_a.rest().await.pop().unwrap();
    assert_eq!((&last["id"], &last["error"]["data"]["kind"]), (&json!(1), &json!("session-closed")));
    listening.rest().await;
    assert_eq!(of_b.message().await["params"]["progressToken"], "token-1");
    // The child was told.
    let who = b.tool(json!(9), "whoami", json!({})).await;
    assert!(who.contains("pid"), "{who}");
}

#[tokio::test]
async fn a_client_that_hangs_up_does_not_cancel_its_request() {
    let script = r#"
handshake()
message = read()
token = message["params"]["_meta"]["progressToken"]
write({"jsonrpc": "2.0", "method": "notifications/progress", "params": {"progressToken": token, "progress": 1}})
while True:
    other = read()
    if other.get("method") == "tools/list":
        reply(message, {"content": []}); reply(other, {"tools": []})
    else:
        os._exit(9)
"#;
    let mux = Mux::start(&[], python(script)).await;
    let client = mux.session("2025-06-18").await;
    let mut events = Events::new(client.post(&slow(1, 0.0, 0)).await);
    let last = events.next().await.unwrap().id;
    drop(events);
    let list = client.call(json!(2), "tools/list", json!({})).await;
    assert_eq!(list["result"], json!({"tools": []}));
    let rest = client.listen(last.as_deref()).await.rest().await;
    assert_eq!(rest, [json!({"jsonrpc": "2.0", "id": 1, "result": {"content": []}})]);
}

#[tokio::test]
async fn questions_reach_the_client_that_called_and_its_answer_reaches_the_child() {
    let mux = Mux::start(&[], notes_server()).await;
    let asked = mux.session_with("2025-06-18", json!({"sampling": {}, "elicitation": {}})).await;
    let other = mux.session("2025-06-18").await;
    let mut busy = at_work(&other, 1).await;
    for (name, arguments, method, result) in [
        (
            "summarize",
            json!({"text": "t"}),
            "sampling/createMessage",
            json!({"role": "assistant", "model": "m", "content": {"type": "text", "text": "short"}}),
        ),
        (
            "ask",
            json!({"question": "q"}),
            "elicitation/create",
            json!({"action": "accept", "content": {"answer": "short"}}),
        ),
    ] {
        let mut events = Events::new(
            asked.post(&request(json!(1), "tools/call", json!({"name": name, "arguments": arguments}))).await,
        );
        let question = events.message().await;
        assert_eq!(question["method"], method);
        let answer = json!({"jsonrpc": "2.0", "id": question["id"], "result": result}).to_string();
        // Not anybody's to answer.
        assert_eq!(other.post(&answer).await.status(), StatusCode::ACCEPTED);
        assert_eq!(asked.post(&answer).await.status(), StatusCode::ACCEPTED);
        let last = events.rest().await.pop().unwrap();
        assert_eq!(last["id"], 1);
        assert!(last["result"].to_string().contains("short"), "{last}");
    }
    assert_eq!(busy.message().await["method"], "notifications/progress");
}

#[tokio::test]
async fn a_request_that_takes_too_long_is_cancelled_in_the_child_and_fails() {
    let mux = Mux::start(&["--request-timeout", "200ms"], notes_server()).await;
    let client = mux.session("2025-06-18").await;
    // Progress keeps it going well past the timeout.
    let last = Events::new(client.post(&slow(1, 1.0, 20)).await).rest().await.pop().unwrap();
    assert!(last.get("result").is_some(), "{last}");
    let quiet = json!({"name": "slow", "arguments": {"seconds": 60, "steps": 1}});
    let answer = json_body(client.post(&request(json!(2), "tools/call", quiet)).await).await;
    assert_eq!(answer["error"]["data"]["kind"], "request-timeout", "{answer}");
    assert!(answer["error"]["message"].as_str().unwrap().contains("--request-timeout"));
    // The limit whatever the progress.
    let mux = Mux::start(&["--request-timeout-max", "200ms"], notes_server()).await;
    let client = mux.session("2025-06-18").await;
    let last = Events::new(client.post(&slow(1, 60.0, 600)).await).rest().await.pop().unwrap();
    assert_eq!(last["error"]["data"]["kind"], "request-timeout", "{last}");
}

#[tokio::test]
async fn idle_sessions_expire_and_an_open_stream_counts_as_activity() {
    let mut mux = Mux::start(&["--session-idle-timeout", "300ms"], notes_server()).await;
    let (idle, listening) = (mux.session("2025-06-18").await, mux.session("2025-06-18").await);
    let _events = listening.listen(None).await;
    mux.logged("session closed").await;
    assert_eq!(idle.delete().await, StatusCode::NOT_FOUND);
    assert_eq!(listening.call(json!(1), "ping", json!({})).await["id"], 1);
}
