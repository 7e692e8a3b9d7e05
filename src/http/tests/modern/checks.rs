//! What is refused, and with what: the rules of the transport.

use super::*;

/// A request that is refused: headers, body; status and code.
type Refused<'a> = (Vec<(&'a str, &'a str)>, String, u16, i64);

// spec: 2026-07-28 basic/transports/streamable-http, Protocol Version Header, Standard Request Headers, Server
// Validation; basic/index, `_meta`
#[tokio::test(start_paused = true)]
async fn what_is_wrong_with_a_modern_request_has_its_own_code_and_names_the_request() {
    let mut harness = harness();
    let of = |method: &str, params: &str| body("\"r\"", method, params, "");
    let list = of("tools/list", "");
    let plain =
        |meta: &str| format!(r#"{{"jsonrpc":"2.0","id":"r","method":"tools/list","params":{{"_meta":{{{meta}}}}}}}"#);
    let version = r#""io.modelcontextprotocol/protocolVersion":"2026-07-28""#;
    let other = list.replace("2026-07-28", "v999.0.0");
    let named = call("\"r\"", "", "");
    let (post, method) = (headers("tools/list", None), ("mcp-method", "tools/list"));
    let cases: &[Refused<'_>] = &[
        (vec![method], list.clone(), 400, -32020),
        (vec![("mcp-protocol-version", "2025-11-25"), method], list.clone(), 400, -32020),
        (vec![VERSION, VERSION, method], list.clone(), 400, -32020),
        (vec![("mcp-protocol-version", "v999.0.0"), method], other.clone(), 400, -32022),
        (post.clone(), other, 400, -32020),
        (post.clone(), plain(version), 400, -32602),
        (post.clone(), plain(""), 400, -32602),
        (post.clone(), r#"{"jsonrpc":"2.0","id":"r","method":"tools/list"}"#.to_owned(), 400, -32602),
        (vec![VERSION], list.clone(), 400, -32020),
        (headers("Tools/list", None), list.clone(), 400, -32020),
        (headers("tools/call", None), list, 400, -32020),
        (headers("tools/call", None), named.clone(), 400, -32020),
        (headers("tools/call", Some("other")), named.clone(), 400, -32020),
        (headers("tools/call", Some("=?base64?dA?=")), named.clone(), 400, -32020),
        (headers("tools/call", Some("=?base64?!!!!?=")), named.clone(), 400, -32020),
        (headers("tools/call", Some("=?BASE64?dA==?=")), named, 400, -32020),
        (headers("resources/read", Some("a")), of("resources/read", r#""uri":"b","#), 400, -32020),
        (headers("prompts/get", Some("a")), of("prompts/get", ""), 400, -32020),
        (headers("tools/call", None), of("tools/call", r#""name":"t","name":"u","#), 400, -32020),
        (headers("tools/call", None), of("tools/call", r#""name":"t","Name":"u","#), 400, -32020),
        (headers("tools/call", None), of("tools/call", r#""name":"\ud800","#), 400, -32020),
        (headers("tools/call", Some("7")), of("tools/call", r#""name":7,"#), 400, -32020),
        (headers("initialize", None), of("initialize", ""), 404, -32601),
        (headers("ping", None), of("ping", ""), 404, -32601),
        (headers("logging/setLevel", None), of("logging/setLevel", ""), 404, -32601),
        (headers("resources/subscribe", None), of("resources/subscribe", ""), 404, -32601),
        (headers("resources/unsubscribe", None), of("resources/unsubscribe", ""), 404, -32601),
    ];
    for (headers, body, status, expected) in cases {
        let answered = harness.ask("POST", "/mcp", headers, body).await;
        assert_eq!(code(answered).await, (*status, *expected, json!("r")), "{headers:?} {body}");
    }
    let answered = harness
        .ask(
            "POST",
            "/mcp",
            &[("mcp-protocol-version", "x"), method],
            &plain(r#""io.modelcontextprotocol/protocolVersion":"x","io.modelcontextprotocol/clientInfo":7"#),
        )
        .await;
    assert_eq!(answered.status, StatusCode::BAD_REQUEST, "whatever else it has: that may be of the other revision");
    let data = answered.json().await["error"]["data"].clone();
    assert_eq!((&data["requested"], &data["supported"][0]), (&json!("x"), &json!("2026-07-28")));
    assert!(harness.child.try_next().is_none(), "the child hears of none of it");
    assert!(harness.registry.is_empty());
}

// spec: 2026-07-28 basic/transports/streamable-http, Sending Messages 4, 5; Earlier Streamable HTTP Revisions
#[tokio::test(start_paused = true)]
async fn notifications_are_accepted_batches_and_other_methods_are_not() {
    let mut harness = harness();
    let cancelled = format!(
        r#"{{"jsonrpc":"2.0","method":"notifications/cancelled","params":{{"requestId":"listen:0","_meta":{{{META}}}}}}}"#
    );
    let bare = r#"{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":1}}"#;
    for body in [&cancelled, bare] {
        let answered = harness.ask("POST", "/mcp", &[VERSION], body).await;
        assert_eq!((answered.status, answered.rest().await), (StatusCode::ACCEPTED, String::new()));
    }
    let batch = format!("[{}]", call("1", "", ""));
    let response = r#"{"jsonrpc":"2.0","id":1,"result":{}}"#;
    for (body, why) in [(&*batch, "has no JSON-RPC batches"), (response, "has no responses of clients")] {
        let answered = harness.ask("POST", "/mcp", &calling(), body).await;
        assert_eq!(answered.status, StatusCode::BAD_REQUEST);
        let error = answered.json().await["error"].clone();
        let message = error["message"].as_str().expect("text");
        assert!(error["code"] == -32600 && message.contains(why), "{message}");
    }
    let session = harness.open(Revision::V2025_11_25).await;
    for method in ["GET", "DELETE"] {
        for headers in [&[VERSION][..], &[VERSION, ("mcp-session-id", &session)]] {
            let answered = harness.ask(method, "/mcp", headers, "").await;
            assert_eq!((answered.status.as_u16(), answered.header("allow")), (405, "POST"));
        }
    }
    assert!(harness.child.try_next().is_none());
    assert_eq!(harness.registry.len(), 1);
}

// spec: 2026-07-28 basic/transports/streamable-http, Protocol Version Header; basic/index, Error Codes
#[tokio::test(start_paused = true)]
async fn only_errors_of_the_protocol_have_a_status_of_their_own() {
    let mut harness = harness();
    let child = &mut harness.child;
    let (answered, ()) =
        tokio::join!(harness.http.ask(request("POST", "/mcp", &calling(), &call("1", "", ""))), async {
            let (origin, _) = child.is_called().await;
            child.respond(origin, r#"{"jsonrpc":"2.0","id":1,"error":{"code":-32602,"message":"m"}}"#);
        });
    assert_eq!(code(answered).await, (200, -32602, json!(1)));
    harness.child.next().await.detached();
    for (text, expected) in
        // The child is a legacy one: it has its own meaning for codes of the modern protocol.
        [("-32601", 404), ("-32021", 200), ("-32020", 200), ("-32042", 200), ("-32603", 200), ("1", 200)]
    {
        let child = &mut harness.child;
        let (answered, ()) =
            tokio::join!(harness.http.ask(request("POST", "/mcp", &calling(), &call("1", "", ""))), async {
                child.meets().await;
                let (origin, _) = child.takes("tools/call").await;
                child
                    .respond(origin, &format!(r#"{{"jsonrpc":"2.0","id":1,"error":{{"code":{text},"message":"m"}}}}"#));
            });
        let own = matches!(text, "-32601" | "1");
        let passed = if own { text.parse().expect("a code") } else { -32603 };
        assert_eq!(code(answered).await, (expected, passed, json!(1)));
        harness.child.next().await.detached();
    }
    let child = &mut harness.child;
    let (answered, ()) =
        tokio::join!(harness.http.ask(request("POST", "/mcp", &calling(), &call("1", "", ""))), async {
            child.meets().await;
            let (origin, _) = child.takes("tools/call").await;
            child.deliver(origin, Payload::Rejected(RawId::from_json("1"), Reject::QueueFull(Duration::from_secs(1))));
        });
    assert_eq!(answered.header("retry-after"), "1");
    assert_eq!(code(answered).await, (503, -31010, json!(1)));
}

// spec: 2026-07-28 basic/transports/streamable-http, Server Behavior for Custom Headers
#[tokio::test(start_paused = true)]
async fn headers_that_repeat_arguments_are_checked() {
    let mut harness = harness();
    let of = |arguments: &str| body("1", "tools/call", &format!(r#""name":"h",{arguments},"#), "");
    let eu = of(r#""arguments":{"region":"eu"}"#);
    let mut asked = false;
    for (header, body, expected) in [
        (None, &eu, 400),
        (Some("us"), &eu, 400),
        (Some("eu"), &eu, 200),
        (Some("=?base64?ZXU=?="), &eu, 200),
        (None, &of(r#""arguments":{},"arguments":{"region":"eu"}"#), 400),
        (None, &of(r#""Arguments":{},"arguments":{"region":"eu"}"#), 400),
        (None, &of(r#""arguments":{"region":"eu","x":1e400}"#), 400),
        (None, &of(r#""arguments":{"region":"eu","x":"\ud800"}"#), 400),
        (Some("eu"), &of(r#""arguments":{"region":"eu","x":"\ud800"}"#), 200),
        (Some("eu"), &of(r#""arguments":{"region":"eu","region":"us"}"#), 400),
    ] {
        let mut headers = headers("tools/call", Some("h"));
        headers.extend(header.map(|value| ("Mcp-Param-REGION", value)));
        let child = &mut harness.child;
        let (answered, ()) = tokio::join!(harness.http.ask(request("POST", "/mcp", &headers, body)), async {
            child.meets().await;
            if !std::mem::replace(&mut asked, true) {
                child.answers("tools/list", TOOLS).await;
            }
            if expected == 200 {
                child.answers("tools/call", "{}").await;
            }
        });
        let (status, code, _) = code(answered).await;
        assert_eq!((status, code), (expected, if expected == 400 { -32020 } else { 0 }), "{header:?} {body}");
        harness.child.next().await.detached();
    }
}

// spec: 2026-07-28 basic/versioning, Backward Compatibility: it selects the legacy era
#[tokio::test(start_paused = true)]
async fn initialize_is_a_legacy_one_whatever_the_header_says() {
    let mut harness = harness();
    let body = initialize(Revision::V2025_11_25);
    let child = &mut harness.child;
    let (answered, ()) = tokio::join!(harness.http.ask(request("POST", "/mcp", &[VERSION], &body)), async {
        child.next().await.attached();
        let (origin, _) = child.next().await.sent();
        child.initialized(origin, Revision::V2025_11_25);
    });
    assert_eq!(answered.status, StatusCode::OK);
    assert_ne!(answered.header("mcp-session-id"), "");
}

// spec: 2026-07-28 basic/transports/streamable-http, Protocol Version Header: 404 is for methods that there are not
#[tokio::test(start_paused = true)]
async fn an_exchange_that_mcp_mux_ends_is_not_found_missing() {
    let mut harness = harness();
    for rejected in [true, false] {
        let (registry, child) = (harness.registry.clone(), &mut harness.child);
        let (answered, ()) =
            tokio::join!(harness.http.ask(request("POST", "/mcp", &calling(), &call("1", "", ""))), async {
                child.meets().await;
                let (mut origin, message) = child.next().await.sent();
                if message.method() == "tools/list" {
                    child.respond(origin, &result(message.id().expect("an id").as_str(), TOOLS));
                    (origin, _) = child.takes("tools/call").await;
                }
                if !rejected {
                    registry.close_all();
                }
                child.deliver(origin, Payload::Rejected(RawId::from_json("1"), Reject::SessionClosed));
            });
        assert_eq!(answered.header("retry-after"), "1");
        assert_eq!(code(answered).await, (503, -31012, json!(1)));
        harness.child.next().await.detached();
    }
}

/// A call of this tool, with a header that no tool has asked for.
fn call_of(name: &str) -> Request<Full<Bytes>> {
    let mut headers = headers("tools/call", Some(name));
    headers.push(("mcp-param-region", "us"));
    let body = body("1", "tools/call", &format!(r#""name":"{name}","arguments":{{}},"#), "");
    request("POST", "/mcp", &headers, &body)
}

#[tokio::test(start_paused = true)]
async fn the_child_is_asked_for_its_tools_once_until_they_change() {
    let mut harness = harness();
    let child = &mut harness.child;
    let (one, other, ()) = tokio::join!(harness.http.ask(call_of("h")), harness.http.ask(call_of("h")), async {
        // One of the two asks, the other waits for it; both are refused.
        let mut asked = 0;
        loop {
            match child.next().await {
                Arrival::Attached(..) => {}
                Arrival::Detached(_) => break,
                Arrival::Stopped => panic!("nobody stops it"),
                Arrival::Sent(origin, message) => match (message.method(), message.id()) {
                    ("initialize", Some(id)) => child.respond(origin, &result(id.as_str(), INITIALIZED)),
                    ("tools/list", Some(id)) => {
                        asked += 1;
                        child.respond(origin, &result(id.as_str(), TOOLS));
                    }
                    (method, _) => assert_eq!(method, "notifications/initialized"),
                },
            }
        }
        child.next().await.detached();
        assert_eq!(asked, 1);
    });
    assert_eq!((one.status.as_u16(), other.status.as_u16()), (400, 400));
    let long = "n".repeat(500);
    for name in ["nope", "nope2", &long, "nope"] {
        let child = &mut harness.child;
        let (answered, ()) = tokio::join!(harness.http.ask(call_of(name)), async {
            child.meets().await;
            child.answers("tools/call", "{}").await;
        });
        assert_eq!(answered.status, StatusCode::OK);
        harness.child.next().await.detached();
    }
    harness.handle.cache().invalidate("notifications/tools/list_changed", None);
    let child = &mut harness.child;
    let (answered, ()) = tokio::join!(harness.http.ask(call_of("h")), async {
        child.meets().await;
        child.answers("tools/list", r#"{"tools":[{"name":"h"}]}"#).await;
        child.answers("tools/call", "{}").await;
    });
    assert_eq!(answered.status, StatusCode::OK, "it is not annotated any more");
}

#[tokio::test(start_paused = true)]
async fn a_clients_own_list_is_learnt_from() {
    let mut harness = harness();
    let pages =
        [(r#""cursor":"2","#, TOOLS.replace("{\"tools\"", "{\"nextCursor\":\"3\",\"tools\"")), ("", TOOLS.to_owned())];
    for (params, list) in pages {
        let (body, headers) = (body("1", "tools/list", params, ""), headers("tools/list", None));
        let child = &mut harness.child;
        tokio::join!(harness.http.ask(request("POST", "/mcp", &headers, &body)), async {
            child.meets().await;
            child.answers("tools/list", &list).await;
        });
        harness.child.next().await.detached();
        let child = &mut harness.child;
        let (answered, ()) = tokio::join!(harness.http.ask(call_of("h")), child.meets());
        assert_eq!(code(answered).await, (400, -32020, json!(1)));
        harness.child.next().await.detached();
    }
    let child = &mut harness.child;
    let (answered, ()) = tokio::join!(harness.http.ask(call_of("nope")), async {
        child.meets().await;
        child.answers("tools/call", "{}").await;
    });
    assert_eq!(answered.status, StatusCode::OK, "a whole list was seen");
}

#[tokio::test(start_paused = true)]
async fn a_child_that_gives_no_list_holds_up_one_call_and_then_none_for_a_while() {
    let mut harness = harness();
    for (number, silent) in [true, false, true].into_iter().enumerate() {
        let before = tokio::time::Instant::now();
        let child = &mut harness.child;
        let (answered, ()) = tokio::join!(harness.http.ask(call_of("h")), async {
            child.meets().await;
            if silent {
                child.takes("tools/list").await;
            }
            child.answers("tools/call", "{}").await;
        });
        assert_eq!(answered.rest().await.matches("\"result\"").count(), 1);
        assert_eq!(before.elapsed().as_secs(), if silent { 5 } else { 0 }, "{number}");
        harness.child.next().await.detached();
        tokio::time::advance(Duration::from_secs(if silent { 1 } else { 5 })).await;
    }
}

#[tokio::test(start_paused = true)]
async fn what_a_request_may_say_of_its_client_is_taken() {
    let mut harness = harness_with(|http, _| http.body_bytes_max = 200_000);
    let info = |bytes: usize| format!(r#","io.modelcontextprotocol/clientInfo":{{"name":"{}"}}"#, "x".repeat(bytes));
    let headers = headers("server/discover", None);
    let (body, child) = (body("1", "server/discover", "", &info(61_300)), &mut harness.child);
    let (answered, ()) = tokio::join!(harness.http.ask(request("POST", "/mcp", &headers, &body)), child.meets());
    assert_eq!(answered.status, StatusCode::OK);
    let body = super::body("1", "server/discover", "", &info(61_440));
    let answered = harness.ask("POST", "/mcp", &headers, &body).await;
    assert_eq!(code(answered).await, (400, -32602, json!(1)));
}
