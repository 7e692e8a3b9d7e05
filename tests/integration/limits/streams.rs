//! The limits of event streams: what is kept for readers that are not there, and how far those that are may lag.

use hyper::{Method, StatusCode};
use serde_json::{Value, json};

use super::{call, counted, error, hits, refusal, refused, until_counted};
use crate::harness::{Client, Events, JSON, Mux, SseClient, echo_server, notes_server, notification, python, within};

// spec: 2025-11-25 basic/transports, Resumability and Redelivery
#[tokio::test]
async fn the_oldest_messages_for_nobody_are_dropped() {
    let mux = Mux::start(&["--replay-events", "2"], notes_server()).await;
    let session = mux.session("2025-11-25").await;
    for uri in ["x:/1", "x:/2", "x:/3"] {
        session.call(json!(uri), "resources/subscribe", json!({"uri": uri})).await;
        session.tool(json!(1), "touch", json!({"uri": uri})).await;
    }
    let mut late = session.listen(None).await;
    for uri in ["x:/2", "x:/3"] {
        assert_eq!(late.message().await["params"]["uri"], uri);
    }
    assert_eq!(hits(&session).await, counted(&[("replay-events", 1)]));
}

/// Answers a call with progress, and then, when it is told to go on, with much text.
const IN_TWO_STEPS: &str = r#"
handshake()
while True:
    call = read()
    if call.get("method") != "tools/call": continue
    token = call["params"]["_meta"]["progressToken"]
    write({"jsonrpc": "2.0", "method": "notifications/progress", "params": {"progressToken": token, "progress": 1}})
    while read().get("method") != "notifications/go_on": pass
    reply(call, {"content": [{"type": "text", "text": "x" * 5000}]})
"#;

// spec: 2025-11-25 basic/transports, Resumability and Redelivery
#[tokio::test]
async fn an_answer_for_nobody_that_is_too_large_becomes_an_error() {
    let mux = Mux::start(&["--child-era", "legacy", "--replay-bytes", "4kB"], python(IN_TWO_STEPS)).await;
    let session = mux.session("2025-11-25").await;
    let params = json!({"name": "any", "arguments": {}, "_meta": {"progressToken": "t"}});
    let body = crate::harness::request(json!("large"), "tools/call", params);
    let mut events = Events::new(session.post(&body).await);
    let last = loop {
        let event = events.next().await.unwrap();
        if event.data.as_deref().is_some_and(|data| data.contains("progress")) {
            break event.id;
        }
    };
    drop(events);
    // Only then is nobody there: when its connection is gone, and there is but the one that asks.
    let gone = async { while gauge(&mux.client(), "mcp_mux_connections").await != 1 {} };
    within("the end of the connection", gone).await;
    assert_eq!(session.post(&notification("notifications/go_on", json!({}))).await.status(), StatusCode::ACCEPTED);
    until_counted(&session, &[("replay-bytes", 1)]).await;
    let rest = session.listen(last.as_deref()).await.rest().await;
    let message =
        "the answer was not kept: nobody read the stream, and there is no room for it in 4000 bytes (--replay-bytes)";
    assert_eq!(rest, [error(json!("large"), -31010, "answer-not-kept", message, &[])]);
    assert_eq!(hits(&session).await, counted(&[("replay-bytes", 1)]));
}

/// What `/metrics` says of this gauge; of connections, with the one that asks.
async fn gauge(client: &Client, name: &str) -> u64 {
    let answer = client.send(Method::GET, "/metrics", &[], "").await;
    let text = String::from_utf8(crate::harness::body(answer).await.to_vec()).unwrap();
    let value = |line: &str| line.strip_prefix(name)?.strip_prefix(' ')?.parse().ok();
    text.lines().find_map(value).unwrap_or_else(|| panic!("no {name}: {text}"))
}

/// Answers a call with as much text as it asks for.
const AS_LONG_AS: &str = r#"
handshake()
while True:
    call = read()
    if call.get("method") != "tools/call": continue
    reply(call, {"content": [{"type": "text", "text": "x" * call["params"]["arguments"]["length"]}]})
"#;

#[tokio::test]
async fn an_account_that_takes_nothing_loses_its_answers_and_another_goes_on() {
    let folder = tempfile::tempdir().unwrap();
    let tokens = folder.path().join("tokens");
    std::fs::write(&tokens, "hog:the-token-of-hog\nhonest:the-token-of-honest\n").unwrap();
    // All answers are JSON, however slow the machine.
    let tokens = ["--auth-token-file", tokens.to_str().unwrap()];
    let bounds = ["--line-bytes-max", "8MiB", "--unread-total-bytes-max", "48MiB"];
    let flags = ["--sse-after", "1m", "--child-era", "legacy"];
    let mux = Mux::start(&[&tokens[..], &bounds, &flags].concat(), python(AS_LONG_AS)).await;
    let [mut one, mut two, mut three, mut four] = [(); 4].map(|()| mux.client_with("the-token-of-hog"));
    let mut honest = mux.client_with("the-token-of-honest");
    for client in [&mut one, &mut two, &mut three, &mut four, &mut honest] {
        client.initialize("2025-11-25", json!({})).await;
    }
    let mib = |id, length: usize| call(id, "text", json!({"length": length << 20}));
    // Of these it takes the heads. 27 MiB are left then, and it has 21.
    let unread = (one.post(&mib("one", 7)).await, two.post(&mib("two", 7)).await, three.post(&mib("three", 7)).await);
    assert!(gauge(&honest, "mcp_mux_unread_bytes").await > 20 << 20);
    let message = "the answer was not kept: too much is unread already, and there is no room for it in 50331648 bytes \
                   (--unread-total-bytes-max)";
    let not_kept = error(json!("more"), -31010, "answer-not-kept", message, &[]);
    assert_eq!(refusal(four.post(&mib("more", 5)).await).await, refused(200, None, not_kept));
    assert_eq!(four.tool(json!("small"), "text", json!({"length": 100})).await.len(), 100);
    assert_eq!(honest.tool(json!("large"), "text", json!({"length": 5 << 20})).await.len(), 5 << 20);
    assert_eq!(hits(&honest).await, counted(&[("unread-total-bytes-max", 1)]));
    drop(unread);
    let sent = async { while gauge(&honest, "mcp_mux_unread_bytes").await != 0 {} };
    within("the end of what was unread", sent).await;
    assert_eq!(four.tool(json!("more"), "text", json!({"length": 5 << 20})).await.len(), 5 << 20);
}

#[tokio::test]
async fn the_oldest_of_too_many_streams_ends() {
    let mux = Mux::start(&[], echo_server()).await;
    let session = mux.session("2025-06-18").await;
    let mut streams = Vec::new();
    for _ in 0..17 {
        streams.push(session.listen(None).await);
    }
    assert_eq!(streams.remove(0).rest().await, [] as [Value; 0]);
    assert_eq!(hits(&session).await, counted(&[("streams-max", 1)]));
}

#[tokio::test]
async fn a_reader_that_does_not_keep_up_is_disconnected() {
    let mux = Mux::start(&[], notes_server()).await;
    let mut unread = SseClient::ready(&mux).await;
    // 40 MB: more than the system takes and may be left unread.
    let text = "x".repeat(100_000);
    unread.post(&call("many", "log", json!({"level": "error", "message": text, "count": 400}))).await;
    let client = mux.client();
    let counted = async { while hits(&client).await.get("unread-bytes-max") != Some(&1) {} };
    within("the end of its stream", counted).await;
    // What it had taken already comes, and then the end.
    while unread.events.block().await.is_some() {}
    let answer = client.send(Method::POST, &unread.endpoint, &[JSON], &call("after", "echo", json!({}))).await;
    let message = "session not found; it may have expired: send initialize to open a new one";
    let message = error(Value::Null, -31011, "session-unknown", message, &[]);
    assert_eq!(refusal(answer).await, refused(404, None, message));
    // What came until its session was closed, was for nobody.
    let mut counted = hits(&client).await;
    counted.remove("replay-events");
    assert_eq!(counted, super::counted(&[("unread-bytes-max", 1)]));
}
