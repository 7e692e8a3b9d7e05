//! Requests of 2026-07-28 with a legacy child.

mod returning;

use std::pin::pin;

use serde_json::json;

use super::*;
use crate::error::Reject;
use crate::jsonrpc::{Message, RawId};
use crate::mcp::{Era, LogLevel};
use crate::router::Payload;
use crate::session::testing::Arrival;

const META: &str = r#""io.modelcontextprotocol/protocolVersion":"2026-07-28","io.modelcontextprotocol/clientCapabilities":{"elicitation":{"form":{},"url":{}},"sampling":{}}"#;
const VERSION: (&str, &str) = ("mcp-protocol-version", "2026-07-28");
const TOOLS: &str = r#"{"tools":[{"name":"t"},{"name":"h","inputSchema":{"properties":{"region":{"type":"string","x-mcp-header":"Region"}}}}]}"#;
const INITIALIZED: &str = r#"{"protocolVersion":"2025-11-25","capabilities":{"logging":{},"tools":{"listChanged":true},"resources":{"subscribe":true}},"serverInfo":{"name":"s","version":"1"}}"#;

/// A request that is refused: headers, body; status and code.
type Refused<'a> = (Vec<(&'a str, &'a str)>, String, u16, i64);

/// A request: method, what is in `params` beside `_meta`, what is in `_meta` beside what is required.
fn body(id: &str, method: &str, params: &str, meta: &str) -> String {
    format!(r#"{{"jsonrpc":"2.0","id":{id},"method":"{method}","params":{{{params}"_meta":{{{META}{meta}}}}}}}"#)
}

fn call(id: &str, more: &str, meta: &str) -> String {
    body(id, "tools/call", &format!(r#""name":"t","arguments":{{"a":1}},{more}"#), meta)
}

fn headers<'a>(method: &'a str, name: Option<&'a str>) -> Vec<(&'a str, &'a str)> {
    let mut headers = vec![VERSION, ("mcp-method", method)];
    headers.extend(name.map(|name| ("mcp-name", name)));
    headers
}

fn calling() -> Vec<(&'static str, &'static str)> {
    headers("tools/call", Some("t"))
}

fn result(id: &str, result: &str) -> String {
    format!(r#"{{"jsonrpc":"2.0","id":{id},"result":{result}}}"#)
}

impl FakeChild {
    /// Is introduced to, as by every exchange.
    async fn meets(&mut self) {
        let (_, profile) = self.next().await.attached();
        assert_eq!((profile.era, profile.revision), (Era::Modern, None));
        self.answers("initialize", INITIALIZED).await;
        assert_eq!(self.next().await.sent().1.method(), "notifications/initialized");
    }

    /// Takes a request and answers it.
    async fn answers(&mut self, method: &str, with: &str) -> Message {
        let (origin, message) = self.takes(method).await;
        self.respond(origin, &result(message.id().expect("a request").as_str(), with));
        message
    }

    async fn takes(&mut self, method: &str) -> (Origin, Message) {
        let (origin, message) = self.next().await.sent();
        assert_eq!(message.method(), method);
        (origin, message)
    }

    /// Is called; the tools were not known yet.
    async fn is_called(&mut self) -> (Origin, Message) {
        self.meets().await;
        self.answers("tools/list", TOOLS).await;
        self.takes("tools/call").await
    }
}

/// What a client is told: status, code, and of which request.
async fn code(answered: Answered) -> (u16, i64, Value) {
    let status = answered.status.as_u16();
    let body = answered.json().await;
    (status, body["error"]["code"].as_i64().unwrap_or(0), body["id"].clone())
}

/// The data of an event stream's events.
fn events(text: &str) -> Vec<Value> {
    let data = text.lines().filter_map(|line| line.strip_prefix("data: "));
    data.map(|data| serde_json::from_str(data).expect("JSON")).collect()
}

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
            &plain(r#""io.modelcontextprotocol/protocolVersion":"x","io.modelcontextprotocol/clientCapabilities":{}"#),
        )
        .await;
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
    assert_eq!(harness.ask("POST", "/mcp", &calling(), &batch).await.status, StatusCode::BAD_REQUEST);
    for method in ["GET", "DELETE"] {
        let answered = harness.ask(method, "/mcp", &[VERSION], "").await;
        assert_eq!((answered.status.as_u16(), answered.header("allow")), (405, "POST"));
    }
    assert!(harness.child.try_next().is_none());
}

// spec: 2026-07-28 server/discover
#[tokio::test(start_paused = true)]
async fn discover_is_answered_from_the_childs_handshake() {
    let mut harness = harness();
    let (body, headers, child) =
        (body("\"d\"", "server/discover", "", ""), headers("server/discover", None), &mut harness.child);
    let (answered, ()) = tokio::join!(harness.http.ask(request("POST", "/mcp", &headers, &body)), child.meets());
    assert_eq!((answered.status, answered.header("mcp-session-id")), (StatusCode::OK, ""));
    let answer = answered.json().await;
    assert_eq!((&answer["id"], &answer["result"]["resultType"]), (&json!("d"), &json!("complete")));
    assert_eq!(answer["result"]["_meta"]["io.modelcontextprotocol/serverInfo"]["name"], "s");
    harness.child.next().await.detached();
    assert!(harness.registry.is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_call_is_translated_and_answered_whatever_session_it_names() {
    let mut harness = harness();
    let meta = r#","progressToken":7,"traceparent":"00-1","io.modelcontextprotocol/logLevel":"warning""#;
    let mut headers = calling();
    let id = harness.open(Revision::V2025_11_25).await;
    headers.extend([("mcp-session-id", id.as_str()), ("last-event-id", "1-1")]);
    let (body, child) = (call("1e0", "", meta), &mut harness.child);
    let (answered, ()) = tokio::join!(harness.http.ask(request("POST", "/mcp", &headers, &body)), async {
        let (_, profile) = child.next().await.attached();
        assert_eq!((profile.level, profile.capabilities.sampling), (Some(LogLevel::Warning), true));
        assert!(profile.client_capabilities.expect("kept").contains(r#""sampling":{}"#));
        child.answers("initialize", INITIALIZED).await;
        child.takes("notifications/initialized").await;
        child.answers("tools/list", TOOLS).await;
        assert!(child.answers("logging/setLevel", "{}").await.bytes().ends_with(br#"{"level":"warning"}}"#));
        let (origin, message) = child.takes("tools/call").await;
        let params = message.text(message.params().expect("params"));
        assert_eq!(params, r#"{"name":"t","arguments":{"a":1},"_meta":{"progressToken":7,"traceparent":"00-1"}}"#);
        child.respond(origin, &result("1e0", r#"{"content":[]}"#));
    });
    assert_eq!((answered.status, answered.header("mcp-session-id")), (StatusCode::OK, ""));
    let expected = r#"{"jsonrpc":"2.0","id":1e0,"result":{"resultType":"complete","_meta":{"io.modelcontextprotocol/serverInfo":{"name":"s","version":"1"}},"content":[]}}"#;
    assert_eq!(answered.rest().await, expected);
    harness.child.next().await.detached();
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

// spec: 2026-07-28 basic/transports/streamable-http, Receiving Messages; server/utilities/logging
#[tokio::test(start_paused = true)]
async fn what_comes_before_the_answer_makes_it_an_event_stream_without_ids() {
    let mut harness = harness();
    let body = call("1", "", r#","progressToken":"p""#);
    let child = &mut harness.child;
    let (answered, ()) = tokio::join!(harness.http.ask(request("POST", "/mcp", &calling(), &body)), async {
        let (origin, _) = child.is_called().await;
        child.message(
            origin,
            r#"{"jsonrpc":"2.0","method":"notifications/message","params":{"level":"error","data":1}}"#,
        );
        child.message(origin, r#"{"jsonrpc":"2.0","method":"notifications/tools/list_changed"}"#);
        child.message(
            origin,
            r#"{"jsonrpc":"2.0","method":"notifications/progress","params":{"progressToken":"p","progress":1}}"#,
        );
        child.respond(origin, &result("1", "{}"));
    });
    assert_eq!((answered.header("content-type"), answered.header("x-accel-buffering")), ("text/event-stream", "no"));
    let text = answered.rest().await;
    assert!(!text.contains("id: ") && !text.contains("retry"), "{text}");
    let methods: Vec<Value> = events(&text).into_iter().map(|event| event["method"].clone()).collect();
    assert_eq!(methods, [json!("notifications/progress"), Value::Null], "no log message without a level");
    harness.child.next().await.detached();
}

// spec: 2026-07-28 basic/transports/streamable-http, Cancellation
#[tokio::test(start_paused = true)]
async fn a_client_that_hangs_up_cancels() {
    let mut harness = harness();
    {
        let mut asked = pin!(harness.http.ask(request("POST", "/mcp", &calling(), &call("1", "", ""))));
        tokio::select! {
            _ = &mut asked => panic!("not answered yet"),
            _ = harness.child.is_called() => {}
        }
    }
    harness.child.next().await.detached();
    // In the middle of the stream.
    let child = &mut harness.child;
    let (mut answered, ()) =
        tokio::join!(harness.http.ask(request("POST", "/mcp", &calling(), &call("1", "", ""))), async {
            child.meets().await;
            child.takes("tools/call").await;
        });
    assert_eq!(answered.chunk().await.as_deref(), Some(": keep-alive\n\n"));
    drop(answered);
    harness.child.next().await.detached();
    assert!(harness.registry.is_empty());
}

// spec: 2026-07-28 basic/transports/streamable-http, Server Behavior for Custom Headers
#[tokio::test(start_paused = true)]
async fn headers_that_repeat_arguments_are_checked() {
    let mut harness = harness();
    let body = body("1", "tools/call", r#""name":"h","arguments":{"region":"eu"},"#, "");
    for (number, (header, expected)) in
        [(None, 400), (Some("us"), 400), (Some("eu"), 200), (Some("=?base64?ZXU=?="), 200)].into_iter().enumerate()
    {
        let mut headers = headers("tools/call", Some("h"));
        headers.extend(header.map(|value| ("Mcp-Param-REGION", value)));
        let child = &mut harness.child;
        let (answered, ()) = tokio::join!(harness.http.ask(request("POST", "/mcp", &headers, &body)), async {
            child.meets().await;
            if number == 0 {
                child.answers("tools/list", TOOLS).await;
            }
            if expected == 200 {
                child.answers("tools/call", "{}").await;
            }
        });
        assert_eq!(answered.status.as_u16(), expected, "{header:?}");
        harness.child.next().await.detached();
    }
}

const QUESTION: &str = r#"{"jsonrpc":"2.0","id":"mcp-mux-0-1","method":"elicitation/create","params":{"mode":"url","elicitationId":"e","message":"m","url":"https://x"}}"#;
const ANOTHER: &str =
    r#"{"jsonrpc":"2.0","id":"mcp-mux-0-2","method":"sampling/createMessage","params":{"messages":[],"maxTokens":1}}"#;

impl Harness {
    /// A call that is asked these questions; returns where it runs and its result.
    async fn asked(&mut self, questions: &[&str]) -> (Origin, Value) {
        let child = &mut self.child;
        let (answered, origin) = tokio::join!(
            self.http.ask(request("POST", "/mcp", &calling(), &call("1", "", r#","progressToken":1"#))),
            async {
                child.meets().await;
                let (mut origin, mut message) = child.next().await.sent();
                if message.method() == "tools/list" {
                    child.respond(origin, &result(message.id().expect("an id").as_str(), TOOLS));
                    (origin, message) = child.next().await.sent();
                }
                assert_eq!(message.method(), "tools/call");
                for question in questions {
                    child.message(origin, question);
                }
                origin
            }
        );
        assert_eq!(answered.status, StatusCode::OK);
        let result = answered.json().await["result"].clone();
        assert_eq!(result["resultType"], "input_required");
        (origin, result)
    }

    async fn retry(&self, body: &str) -> Answered {
        self.http.ask(request("POST", "/mcp", &calling(), body)).await
    }
}

fn retry(id: &str, state: &Value, answers: &str) -> String {
    call(id, &format!(r#""requestState":{state},"inputResponses":{answers},"#), r#","progressToken":"second""#)
}

// spec: 2026-07-28 basic/patterns/mrtr
#[tokio::test(start_paused = true)]
async fn questions_end_the_round_and_answers_go_on_with_the_same_request() {
    let mut harness = harness();
    let (origin, first) = harness.asked(&[QUESTION, ANOTHER]).await;
    let asked = json!({
        "elicitation-1": {"method": "elicitation/create", "params": {"mode": "url", "message": "m", "url": "https://x"}},
        "sampling-2": {"method": "sampling/createMessage", "params": {"messages": [], "maxTokens": 1}},
    });
    assert_eq!(first["inputRequests"], asked);
    assert_eq!(harness.registry.len(), 1, "it keeps its place");
    // One is missing: it is asked for again.
    let answers = r#"{"elicitation-1":{"action":"accept"},"sampling-2":12345,"other":{}}"#;
    let answered = harness.retry(&retry("2", &first["requestState"], answers)).await;
    let second = answered.json().await["result"].clone();
    assert_eq!(second["inputRequests"], json!({"sampling-2": asked["sampling-2"]}));
    assert_ne!(first["requestState"], second["requestState"]);
    let (_, sent) = harness.child.next().await.sent();
    assert_eq!(sent.bytes(), &result("\"mcp-mux-0-1\"", r#"{"action":"accept"}"#));
    // What the child has to say now comes under the ids of the latest request.
    let body = retry("\"third\"", &second["requestState"], r#"{"sampling-2":{"role":"assistant"}}"#);
    let child = &mut harness.child;
    let (answered, ()) = tokio::join!(harness.http.ask(request("POST", "/mcp", &calling(), &body)), async {
        let (_, sent) = child.next().await.sent();
        assert_eq!(sent.id(), Some(RawId::from_json("\"mcp-mux-0-2\"")));
        child.message(
            origin,
            r#"{"jsonrpc":"2.0","method":"notifications/progress","params":{"progressToken":1,"progress":1}}"#,
        );
        child.respond(origin, &result("1", "{}"));
    });
    let events = events(&answered.rest().await);
    assert_eq!((&events[0]["params"]["progressToken"], &events[1]["id"]), (&json!("second"), &json!("third")));
    harness.child.next().await.detached();
    assert!(harness.registry.is_empty() && harness.registry.parked().is_empty());
}

// spec: 2026-07-28 basic/patterns/mrtr, Server Requirements 4, 5
#[tokio::test(start_paused = true)]
async fn a_state_is_of_use_once_unaltered_and_for_its_own_request() {
    let mut harness = harness();
    let (origin, first) = harness.asked(&[QUESTION]).await;
    let state = &first["requestState"];
    let answers = r#"{"elicitation-1":{"action":"accept"}}"#;
    let tampered = json!(format!("{}-TAMPERED", state.as_str().expect("text")));
    let good = retry("2", state, answers);
    for wrong in [
        retry("2", &tampered, answers),
        retry("2", &json!(7), answers),
        good.replace(r#"{"a":1}"#, r#"{"a":2}"#),
        retry("2", state, "[]"),
    ] {
        assert_eq!(code(harness.retry(&wrong).await).await, (200, -32602, json!(2)), "{wrong}");
    }
    while let Some(arrival) = harness.child.try_next() {
        assert!(!matches!(arrival, Arrival::Sent(..)), "nothing reaches the child");
    }
    let child = &mut harness.child;
    let (served, refused) = tokio::join!(harness.http.ask(request("POST", "/mcp", &calling(), &good)), async {
        child.next().await.sent();
        let refused = code(harness.http.ask(request("POST", "/mcp", &calling(), &good)).await).await;
        child.respond(origin, &result("1", "{}"));
        refused
    });
    assert_eq!((served.status.as_u16(), refused), (200, (200, -32602, json!(2))), "while the first is being served");
    harness.child.next().await.detached();
    assert_eq!(code(harness.retry(&good).await).await, (200, -32602, json!(2)), "afterwards");
    assert!(harness.child.try_next().is_none());
}

#[tokio::test(start_paused = true)]
async fn a_client_that_never_comes_back_is_given_up() {
    let mut harness = harness();
    let (_, first) = harness.asked(&[QUESTION]).await;
    harness.registry.sweep(tokio::time::Instant::now() + Duration::from_secs(119));
    assert_eq!(harness.registry.len(), 1);
    tokio::time::advance(Duration::from_secs(120)).await;
    harness.registry.sweep(tokio::time::Instant::now());
    harness.child.next().await.detached();
    assert!(harness.registry.is_empty() && harness.registry.parked().is_empty());
    let late = retry("2", &first["requestState"], "{}");
    assert_eq!(code(harness.retry(&late).await).await, (200, -32602, json!(2)));
}

// spec: 2026-07-28 basic/index, `_meta`: a server must not rely on capabilities that were not declared
#[tokio::test(start_paused = true)]
async fn what_was_not_declared_is_not_asked() {
    let mut harness = harness();
    let child = &mut harness.child;
    let (answered, ()) =
        tokio::join!(harness.http.ask(request("POST", "/mcp", &calling(), &call("1", "", ""))), async {
            let (origin, _) = child.is_called().await;
            child.message(origin, r#"{"jsonrpc":"2.0","id":"mcp-mux-0-1","method":"roots/list"}"#);
            let (_, refusal) = child.next().await.sent();
            let refusal: Value = serde_json::from_slice(refusal.bytes()).expect("JSON");
            assert_eq!(
                (&refusal["error"]["code"], &refusal["error"]["data"]["requiredCapabilities"]),
                (&json!(-32021), &json!({"roots": {}}))
            );
            child.respond(origin, r#"{"jsonrpc":"2.0","id":1,"error":{"code":-32021,"message":"m"}}"#);
        });
    assert_eq!(code(answered).await, (400, -32021, json!(1)));
}

// spec: 2025-11-25 client/elicitation, URL Elicitation Required; 2026-07-28 basic/patterns/mrtr
#[tokio::test(start_paused = true)]
async fn a_required_elicitation_is_asked_and_then_the_request_is_sent_again() {
    let mut harness = harness();
    let error = r#"{"jsonrpc":"2.0","id":1,"error":{"code":-32042,"message":"m","data":{"elicitations":[{"mode":"url","elicitationId":"e","url":"https://x","message":"m"}]}}}"#;
    let child = &mut harness.child;
    let (answered, ()) =
        tokio::join!(harness.http.ask(request("POST", "/mcp", &calling(), &call("1", "", ""))), async {
            let (origin, _) = child.is_called().await;
            child.respond(origin, error);
        });
    let first = answered.json().await["result"].clone();
    assert_eq!(
        first["inputRequests"]["elicitation-1"]["params"],
        json!({"mode": "url", "url": "https://x", "message": "m"})
    );
    let body = retry("2", &first["requestState"], r#"{"elicitation-1":{"action":"accept"}}"#);
    let child = &mut harness.child;
    let (answered, _) =
        tokio::join!(harness.http.ask(request("POST", "/mcp", &calling(), &body)), child.answers("tools/call", "{}"));
    let answer = answered.json().await;
    assert_eq!((&answer["id"], &answer["result"]["resultType"]), (&json!(2), &json!("complete")));
    harness.child.next().await.detached();
}

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
