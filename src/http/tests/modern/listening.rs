//! Subscriptions.

use super::*;

// spec: 2026-07-28 basic/patterns/subscriptions
#[tokio::test(start_paused = true)]
async fn a_subscription_is_acknowledged_delivers_what_was_asked_for_and_ends_gracefully() {
    let mut harness = harness();
    let filter =
        r#""notifications":{"toolsListChanged":true,"promptsListChanged":true,"resourceSubscriptions":["a","b"]},"#;
    let (body, headers, child) =
        (body("\"l\"", "subscriptions/listen", filter, ""), headers("subscriptions/listen", None), &mut harness.child);
    let (mut answered, origin) = tokio::join!(harness.http.ask(request("POST", "/mcp", &headers, &body)), async {
        child.meets().await;
        child.answers("resources/subscribe", "{}").await;
        let (origin, message) = child.takes("resources/subscribe").await;
        let id = message.id().expect("an id");
        child.respond(
            origin,
            &format!(r#"{{"jsonrpc":"2.0","id":{},"error":{{"code":1,"message":"m"}}}}"#, id.as_str()),
        );
        Origin { stream: crate::router::StreamId::STANDALONE, ..origin }
    });
    let first = events(&answered.chunk().await.expect("an event"));
    assert_eq!(first[0]["params"]["notifications"], json!({"toolsListChanged": true, "resourceSubscriptions": ["a"]}));
    harness.child.message(origin, r#"{"jsonrpc":"2.0","method":"notifications/prompts/list_changed"}"#);
    harness
        .child
        .message(origin, r#"{"jsonrpc":"2.0","method":"notifications/message","params":{"level":"error","data":1}}"#);
    harness
        .child
        .message(origin, r#"{"jsonrpc":"2.0","method":"notifications/resources/updated","params":{"uri":"a"}}"#);
    let updated = events(&answered.chunk().await.expect("an event"));
    let subscription = json!({"io.modelcontextprotocol/subscriptionId": "l"});
    assert_eq!(
        (updated.len(), &updated[0]["params"]["uri"], &updated[0]["params"]["_meta"]),
        (1, &json!("a"), &subscription)
    );
    assert_eq!(answered.chunk().await.as_deref(), Some(": keep-alive\n\n"));
    harness.registry.end_standing_streams();
    let last = events(&answered.rest().await);
    assert_eq!(
        (&last[0]["id"], &last[0]["result"]),
        (&json!("l"), &json!({"resultType": "complete", "_meta": subscription}))
    );
    harness.child.next().await.detached();
}

#[tokio::test(start_paused = true)]
async fn a_subscription_ends_with_its_client_or_its_child() {
    for gone in [false, true] {
        let mut harness = harness();
        let filter = r#""notifications":{"toolsListChanged":true},"#;
        let (body, headers, child) =
            (body("1", "subscriptions/listen", filter, ""), headers("subscriptions/listen", None), &mut harness.child);
        let (mut answered, ()) =
            tokio::join!(harness.http.ask(request("POST", "/mcp", &headers, &body)), child.meets());
        answered.chunk().await.expect("the acknowledgement");
        if gone {
            harness.child.exits();
            assert_eq!(events(&answered.rest().await)[0]["result"]["resultType"], "complete");
        } else {
            drop(answered);
        }
        assert!(matches!(harness.child.next().await, Arrival::Detached(_)));
    }
}

#[tokio::test(start_paused = true)]
async fn what_is_answered_without_log_messages_asks_for_none() {
    let mut harness = harness();
    let level = r#","io.modelcontextprotocol/logLevel":"debug""#;
    for (method, params) in [("server/discover", ""), ("subscriptions/listen", r#""notifications":{},"#)] {
        let (body, headers, child) = (body("1", method, params, level), headers(method, None), &mut harness.child);
        let (answered, ()) = tokio::join!(harness.http.ask(request("POST", "/mcp", &headers, &body)), async {
            let (_, profile) = child.next().await.attached();
            assert_eq!((profile.era, profile.level), (Era::Modern, None), "{method}");
            child.answers("initialize", INITIALIZED).await;
            child.takes("notifications/initialized").await;
        });
        assert_eq!(answered.status, StatusCode::OK);
        drop(answered);
        harness.child.next().await.detached();
    }
}
