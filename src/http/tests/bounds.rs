//! What a client may make grow with one message, up to its bound and beyond.

use super::modern::{META, body, call, calling, code, headers};
use super::*;
use crate::metrics::{Limit, limit_hits};

const CALL: &str = r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{}}"#;

/// Posts a message and gives what its sender is told, and whether this limit was counted.
async fn refused(harness: &Harness, headers: &[(&str, &str)], message: &str, limit: Limit) -> (u16, String) {
    let before = limit_hits(limit);
    let answered = harness.ask("POST", "/mcp", headers, message).await.kind().await;
    assert!(limit_hits(limit) > before, "{limit:?}");
    answered
}

// spec: 2025-03-26 basic, Batching
#[tokio::test(start_paused = true)]
async fn a_batch_of_more_messages_than_it_may_have_is_refused_as_a_whole() {
    let mut harness = harness_with(|http, _| http.bounds.batch_max = 2);
    let id = harness.open(Revision::V2025_03_26).await;
    let batch = |count: usize| format!("[{}]", vec![r#"{"jsonrpc":"2.0","method":"x"}"#; count].join(","));
    let session = [("mcp-session-id", id.as_str())];
    let told = refused(&harness, &session, &batch(3), Limit::BatchMax).await;
    assert_eq!(told, (400, "invalid-request".to_owned()));
    assert!(harness.child.try_next().is_none());
    assert_eq!(harness.ask("POST", "/mcp", &session, &batch(2)).await.status, StatusCode::ACCEPTED);
}

#[tokio::test(start_paused = true)]
async fn json_that_is_nested_more_deeply_than_it_may_be_is_refused() {
    let mut harness = harness_with(|http, _| http.bounds.nesting_max = 8);
    let id = harness.open(Revision::V2025_03_26).await;
    let session = [("mcp-session-id", id.as_str())];
    let nested =
        |levels: usize| CALL.replace("{}", &format!(r#"{{"a":{}{}}}"#, "[".repeat(levels), "]".repeat(levels)));
    for message in [nested(7), format!("[{}]", nested(7))] {
        let before = limit_hits(Limit::NestingMax);
        let answered = harness.ask("POST", "/mcp", &session, &message).await;
        assert!(limit_hits(Limit::NestingMax) > before);
        assert!(answered.rest().await.contains("nested deeper than 8 levels"));
    }
    assert!(harness.child.try_next().is_none());
    harness.call(&session, &nested(6), r#"{"jsonrpc":"2.0","id":1,"result":{}}"#).await;
}

#[tokio::test(start_paused = true)]
async fn an_id_that_is_too_long_is_refused() {
    let mut harness = harness_with(|http, _| http.body_bytes_max = 10_000);
    let id = harness.open(Revision::V2025_11_25).await;
    let long = |bytes: usize| CALL.replace("\"id\":1", &format!("\"id\":\"{}\"", "x".repeat(bytes - 2)));
    let session = [("mcp-session-id", id.as_str())];
    let told = refused(&harness, &session, &long(4097), Limit::MessageForm).await;
    assert_eq!(told, (400, "invalid-request".to_owned()));
    assert!(harness.child.try_next().is_none());
}

#[tokio::test(start_paused = true)]
async fn what_a_modern_client_says_of_itself_is_bounded() {
    let harness = harness_with(|http, _| http.body_bytes_max = 100_000);
    let info = format!(r#","io.modelcontextprotocol/clientInfo":{{"name":"{}"}}"#, "x".repeat(60 << 10));
    let told = refused(&harness, &calling(), &call("1", "", &info), Limit::MessageForm).await;
    assert_eq!(told, (400, "invalid-meta".to_owned()));
    assert!(META.len() < 60 << 10);
}

#[tokio::test(start_paused = true)]
async fn a_subscription_to_more_resources_than_may_be_is_refused() {
    let mut harness = harness_with(|http, _| http.bounds.subscriptions_max = 2);
    let filter = r#""notifications":{"resourceSubscriptions":["a","b","c"]},"#;
    let message = body("1", "subscriptions/listen", filter, "");
    let (headers, child) = (headers("subscriptions/listen", None), &mut harness.child);
    let before = limit_hits(Limit::SubscriptionsMax);
    let (answered, ()) = tokio::join!(harness.http.ask(request("POST", "/mcp", &headers, &message)), child.meets());
    assert_eq!(code(answered).await, (200, -32602, serde_json::json!(1)));
    assert!(limit_hits(Limit::SubscriptionsMax) > before);
    harness.child.next().await.detached();
}
