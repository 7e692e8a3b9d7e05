//! The limits of clients: who may enter, how often, with how many sessions and requests.

use hyper::{Method, StatusCode};
use serde_json::{Value, json};

use super::{INITIALIZE, at_work, call, counted, error, hits, of, refusal, refused};
use crate::harness::{ACCEPT, Client, JSON, Mux, echo_server, json_body, notes_server};

#[tokio::test]
async fn sessions_beyond_their_number_are_refused() {
    let mux = Mux::start(&["--sessions-max", "1"], echo_server()).await;
    let session = mux.session("2025-11-25").await;
    let message = "there are 1 sessions already (--sessions-max)";
    let message = error(json!("i"), -31010, "sessions-limit", message, &of("sessions-max", 1));
    assert_eq!(refusal(mux.client().post(INITIALIZE).await).await, refused(503, Some("1"), message));
    assert_eq!(hits(&session).await, counted(&[("sessions-max", 1)]));
}

#[tokio::test]
async fn a_request_beyond_those_in_flight_is_refused_and_those_go_on() {
    let mux = Mux::start(&["--in-flight-max", "1"], notes_server()).await;
    let session = mux.session("2025-11-25").await;
    let mut first = at_work(&session, "first").await;
    let message = "this session has 1 requests in flight already (--in-flight-max)";
    let message = error(json!("second"), -31010, "in-flight-limit", message, &of("in-flight-max", 1));
    let second = session.post(&call("second", "echo", json!({}))).await;
    assert_eq!(refusal(second).await, refused(503, Some("1"), message));
    first.message().await;
    assert_eq!(hits(&session).await, counted(&[("in-flight-max", 1)]));
}

#[tokio::test]
async fn a_principal_has_its_share_of_sessions_and_of_requests_in_flight() {
    let mut command = crate::harness::command(
        &["--port", "0", "--principal-sessions-max", "1", "--principal-in-flight-max", "1"],
        &notes_server(),
    );
    command.env("MCP_MUX_AUTH_TOKENS", "alice:the-token-of-alice\nbob:the-token-of-bob\n");
    let mux = Mux::start_command(command).await;
    let (mut alice, mut bob) = (mux.client_with("the-token-of-alice"), mux.client_with("the-token-of-bob"));
    alice.initialize("2025-11-25", json!({})).await;
    let mut first = at_work(&alice, "first").await;

    let message = "you have 1 sessions already (--principal-sessions-max)";
    let message = error(json!("i"), -31010, "principal-sessions-limit", message, &of("principal-sessions-max", 1));
    let another = mux.client_with("the-token-of-alice");
    assert_eq!(refusal(another.post(INITIALIZE).await).await, refused(429, Some("1"), message));

    let message = "you have 1 requests in flight already (--principal-in-flight-max)";
    let of = of("principal-in-flight-max", 1);
    let message = error(json!("second"), -31010, "principal-in-flight-limit", message, &of);
    let second = alice.post(&call("second", "echo", json!({}))).await;
    assert_eq!(refusal(second).await, refused(429, Some("1"), message));

    bob.initialize("2025-11-25", json!({})).await;
    bob.tool(json!(1), "echo", json!({})).await;
    first.message().await;
    assert_eq!(hits(&bob).await, counted(&[("principal-sessions-max", 1), ("principal-in-flight-max", 1)]));
}

// spec: RFC 6585, 4; RFC 9110, 10.2.3
#[tokio::test]
async fn requests_beyond_the_rate_are_told_when_to_come_back() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("mux.json");
    let tokens = "alice:the-token-of-alice\nmonitor:the-token-of-monitor\n";
    let principals = json!({ "token:monitor": { "rate": "none" } });
    std::fs::write(&file, json!({ "principals": principals }).to_string()).unwrap();
    let flags = ["--port", "0", "--rate", "1/h", "--rate-burst", "3", "--config", file.to_str().unwrap()];
    let mut command = crate::harness::command(&flags, &echo_server());
    command.env("MCP_MUX_AUTH_TOKENS", tokens);
    let mux = Mux::start_command(command).await;
    let mut alice = mux.client_with("the-token-of-alice");
    alice.initialize("2025-11-25", json!({})).await;
    alice.call(json!("third"), "ping", json!({})).await;
    let (status, retry_after, body) = refusal(alice.post(&call("fourth", "echo", json!({}))).await).await;
    // An hour from the first one, rounded up.
    let wait: u64 = retry_after.unwrap_or_default().parse().unwrap();
    assert!(status == 429 && (3500..=3600).contains(&wait), "{status}, {wait}");
    let text = body["error"]["message"].as_str().unwrap_or_default().to_owned();
    assert!(text.starts_with("too many requests; try again in 3") && text.ends_with(" (--rate)"), "{text}");
    assert_eq!(body, error(Value::Null, -31010, "rate-limited", &text, &[("limit", json!("rate"))]));
    let monitor = mux.client_with("the-token-of-monitor");
    assert_eq!(hits(&monitor).await, counted(&[("rate", 1)]));
}

// spec: RFC 6750, 3
#[tokio::test]
async fn a_credential_that_is_not_good_is_counted_and_none_at_all_is_not() {
    let mut command = crate::harness::command(&["--port", "0"], &echo_server());
    command.env("MCP_MUX_AUTH_TOKENS", "alice:the-token-of-alice");
    let mux = Mux::start_command(command).await;
    for (client, kind, challenge) in [
        (mux.client(), "unauthenticated", r#"Bearer realm="mcp-mux""#),
        (mux.client_with("not-a-token"), "credential-invalid", r#"Bearer error="invalid_token""#),
    ] {
        let answer = client.post(INITIALIZE).await;
        let told = answer.headers()["www-authenticate"].to_str().unwrap().to_owned();
        assert!(told.starts_with(challenge), "{told}");
        let (status, retry_after, body) = refusal(answer).await;
        assert_eq!((status, retry_after), (401, None));
        let text = body["error"]["message"].as_str().unwrap_or_default().to_owned();
        assert_eq!(body, error(Value::Null, -31014, kind, &text, &[]));
    }
    assert_eq!(hits(&mux.client_with("the-token-of-alice")).await, counted(&[("credential", 1)]));
}

/// A client of 2026-07-28 calls a tool that asks it something.
async fn is_asked(client: &Client, id: &str, state: Option<&str>) -> Value {
    let mut params = json!({"name": "summarize", "arguments": {"text": "x"}, "_meta": {
        "io.modelcontextprotocol/protocolVersion": "2026-07-28",
        "io.modelcontextprotocol/clientCapabilities": {"sampling": {}},
    }});
    if let Some(state) = state {
        let answer = json!({"role": "assistant", "content": {"type": "text", "text": "y"}, "model": "m"});
        params["requestState"] = json!(state);
        params["inputResponses"] = json!({"x": answer});
    }
    let body = crate::harness::request(json!(id), "tools/call", params);
    let version = ("mcp-protocol-version", "2026-07-28");
    let headers = [ACCEPT, JSON, version, ("mcp-method", "tools/call"), ("mcp-name", "summarize")];
    let answer = client.send(Method::POST, "/mcp", &headers, &body).await;
    assert_eq!(answer.status(), StatusCode::OK);
    json_body(answer).await
}

// spec: 2026-07-28 basic/patterns/mrtr
#[tokio::test]
async fn of_too_many_clients_that_are_asked_something_the_first_to_expire_is_given_up() {
    // Half of the sessions may wait.
    the_first_to_expire_is_given_up(&["--sessions-max", "2", "--isolation", "session"], "parked-max").await;
}

// spec: 2026-07-28 basic/patterns/mrtr
#[tokio::test]
async fn of_too_large_ones_that_are_asked_something_the_first_to_expire_is_given_up() {
    let flags = ["--parked-bytes-max", "100", "--isolation", "session"];
    the_first_to_expire_is_given_up(&flags, "parked-bytes-max").await;
}

async fn the_first_to_expire_is_given_up(flags: &[&str], limit: &str) {
    let mux = Mux::start(flags, notes_server()).await;
    let client = mux.client();
    let first = is_asked(&client, "first", None).await;
    let second = is_asked(&client, "second", None).await;
    assert_eq!(second["result"]["resultType"], "input_required", "{second}");
    let state = first["result"]["requestState"].as_str().unwrap_or_else(|| panic!("{first}"));
    let again = is_asked(&client, "again", Some(state)).await;
    assert_eq!(again["error"]["data"]["kind"], "request-state", "{again}");
    assert_eq!(again["error"]["code"], -32602, "{again}");
    assert_eq!(hits(&client).await, counted(&[(limit, 1)]));
}
