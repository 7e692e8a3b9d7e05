//! HTTP+SSE, the transport of 2024-11-05.

use hyper::{Method, StatusCode};
use serde_json::json;

use crate::harness::{JSON, Mux, SseClient, json_body, notes_server, request};

// spec: 2024-11-05 basic/transports, HTTP with SSE
#[tokio::test]
async fn the_first_event_is_a_relative_endpoint_and_answers_come_as_message_events() {
    let mux = Mux::start(&[], notes_server()).await;
    let mut client = SseClient::open(&mux).await;
    assert!(client.endpoint.starts_with("/messages?sessionId="), "{}", client.endpoint);
    assert_eq!(client.events.headers["cache-control"], "no-cache");
    let params =
        json!({"protocolVersion": "2024-11-05", "capabilities": {}, "clientInfo": {"name": "t", "version": "1"}});
    client.post(&request(json!("i"), "initialize", params)).await;
    let event = client.events.next().await.unwrap();
    assert_eq!((event.event.as_deref(), event.id), (Some("message"), None));
    let answer: serde_json::Value = serde_json::from_str(&event.data.unwrap()).unwrap();
    assert_eq!((&answer["id"], &answer["result"]["protocolVersion"]), (&json!("i"), &json!("2024-11-05")));
}

#[tokio::test]
async fn nothing_but_ping_goes_before_initialize() {
    let mux = Mux::start(&[], notes_server()).await;
    let mut client = SseClient::open(&mux).await;
    client.post(&request(json!(1), "ping", json!({}))).await;
    assert_eq!(client.events.message().await, json!({"jsonrpc": "2.0", "id": 1, "result": {}}));
    client.post(&request(json!(2), "tools/list", json!({}))).await;
    let answer = client.events.message().await;
    assert_eq!((&answer["id"], &answer["error"]["code"]), (&json!(2), &json!(-32600)));
}

#[tokio::test]
async fn what_is_wrong_with_a_post_is_said() {
    let mux = Mux::start(&[], notes_server()).await;
    let client = SseClient::ready(&mux).await;
    let post = async |path: &str, body: &str| client.client.send(Method::POST, path, &[JSON], body).await;
    let ping = request(json!(1), "ping", json!({}));
    assert_eq!(post("/messages", &ping).await.status(), StatusCode::BAD_REQUEST);
    let unknown = "/messages?sessionId=0c1d5be4-6b4f-4bd6-8a1c-9a0d6f0f6c0b";
    assert_eq!(post(unknown, &ping).await.status(), StatusCode::NOT_FOUND);
    let answer = post(&client.endpoint, "{").await;
    assert_eq!(answer.status(), StatusCode::BAD_REQUEST);
    assert_eq!(json_body(answer).await["error"]["code"], -32700);
}

#[tokio::test]
async fn progress_and_answers_share_the_stream_and_a_lost_stream_ends_the_session() {
    let mux = Mux::start(&[], notes_server()).await;
    let mut client = SseClient::ready(&mux).await;
    let slow = json!({"name": "slow", "arguments": {"seconds": 0.05, "steps": 2}, "_meta": {"progressToken": "t"}});
    client.post(&request(json!(5), "tools/call", slow)).await;
    loop {
        let message = client.events.message().await;
        if message["id"] == 5 {
            break;
        }
        assert_eq!(message["params"]["progressToken"], "t", "{message}");
    }
    let SseClient { client, events, endpoint } = client;
    drop(events);
    crate::harness::within("the end of the session", async {
        while client.send(Method::POST, &endpoint, &[JSON], &request(json!(6), "ping", json!({}))).await.status()
            != StatusCode::NOT_FOUND
        {
            tokio::task::yield_now().await;
        }
    })
    .await;
}

#[tokio::test]
async fn keep_alive_comments_are_sent() {
    let mux = Mux::start(&["--keep-alive", "50ms"], notes_server()).await;
    let mut client = SseClient::open(&mux).await;
    assert!(client.events.block().await.unwrap().comment);
}
