//! Traces, as a collector of OpenTelemetry gets them.

mod collector;

use std::time::{Duration, Instant};

use hyper::{Method, StatusCode};
use serde_json::{Value, json};
use tokio::process::Command;

use self::collector::{Collector, Span, Way};
use crate::harness::{
    ACCEPT, Client, Events, JSON, Mux, SseClient, body, command, echo_server, json_body, python, request, run_to_end,
    within,
};

const SECRET: &str = "a-payload-that-nobody-sends-on";
const KEY: &str = "a-key-of-the-collector";
const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";
const OTHER: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
const PARENT: &str = "00f067aa0ba902b7";

fn parent(trace: &str) -> String {
    format!("00-{trace}-{PARENT}-01")
}

fn traced(flags: &[&str], server: &[String], collector: &Collector) -> Command {
    let mut command = command(&[&["--port", "0"], flags].concat(), server);
    command.env("OTEL_EXPORTER_OTLP_ENDPOINT", &collector.url);
    command
}

fn modern(id: u64, method: &str, params: Value) -> String {
    let mut params = params;
    params["_meta"]["io.modelcontextprotocol/protocolVersion"] = json!("2026-07-28");
    params["_meta"]["io.modelcontextprotocol/clientCapabilities"] = json!({});
    request(json!(id), method, params)
}

async fn post_modern(client: &Client, text: &str) -> Value {
    let message: Value = serde_json::from_str(text).unwrap();
    let method = message["method"].as_str().unwrap();
    let mut headers = vec![ACCEPT, JSON, ("mcp-protocol-version", "2026-07-28"), ("mcp-method", method)];
    headers.extend(message["params"]["name"].as_str().map(|name| ("mcp-name", name)));
    json_body(client.send(Method::POST, "/mcp", &headers, text).await).await
}

fn call(id: Value, meta: Value) -> String {
    request(id, "tools/call", json!({"name": "echo", "arguments": {"text": SECRET}, "_meta": meta}))
}

/// Posts with a header more.
async fn post_with(client: &Client, header: (&str, &str), text: &str) -> hyper::Response<hyper::body::Incoming> {
    let mut headers = vec![ACCEPT, JSON, header];
    headers.extend(client.session.as_deref().map(|session| ("mcp-session-id", session)));
    headers.extend(client.version.as_deref().map(|version| ("mcp-protocol-version", version)));
    client.send(Method::POST, &client.path, &headers, text).await
}

fn named<'a>(spans: &'a [Span], id: &str) -> &'a Span {
    let mut found = spans.iter().filter(|span| span.attribute("jsonrpc.request.id") == Some(id));
    let span = found.next().unwrap_or_else(|| panic!("no span of {id}: {spans:#?}"));
    assert!(found.next().is_none(), "two spans of {id}: {spans:#?}");
    span
}

// spec: OpenTelemetry Semantic Conventions for GenAI, Model Context Protocol, Context propagation and Server.
#[tokio::test]
async fn each_request_is_one_span_on_each_transport_and_nothing_secret_is_in_it() {
    let collector = Collector::start(Way::Takes).await;
    let mut mux = traced(&["--access-log-names"], &echo_server(), &collector);
    mux.env("OTEL_EXPORTER_OTLP_HEADERS", format!("authorization=Bearer%20{KEY}"));
    mux.env("OTEL_RESOURCE_ATTRIBUTES", "deployment.environment.name=test");
    let mux = Mux::start_command(mux).await;

    // Streamable HTTP: as JSON, as events, a batch, a notification (which is no request).
    let client = mux.session("2025-11-25").await;
    let header = parent(TRACE);
    body(post_with(&client, ("traceparent", &header), &call(json!("by-header"), json!({}))).await).await;
    let by_meta = call(json!("by-meta"), json!({"traceparent": parent(TRACE), "tracestate": "a=1"}));
    body(post_with(&client, ("traceparent", &parent(OTHER)), &by_meta).await).await;
    body(post_with(&client, ("traceparent", "nonsense"), &call(json!("by-nobody"), json!({"traceparent": 1}))).await)
        .await;
    let batch = mux.session("2025-03-26").await;
    let two = format!("[{},{}]", request(json!("b1"), "ping", json!({})), call(json!("b2"), json!({})));
    assert_eq!(body(post_with(&batch, ("traceparent", &header), &two).await).await.first(), Some(&b'['));
    let events = [("accept", "text/event-stream"), JSON, ("mcp-session-id", client.session.as_deref().unwrap())];
    let answer = client.send(Method::POST, "/mcp", &events, &call(json!("events"), json!({}))).await;
    assert_eq!(Events::new(answer).rest().await.len(), 1);
    // HTTP+SSE.
    let mut sse = SseClient::ready(&mux).await;
    let headers = [JSON, ("traceparent", header.as_str())];
    let taken = sse.client.send(Method::POST, &sse.endpoint, &headers, &call(json!("sse"), json!({}))).await;
    assert_eq!(taken.status(), StatusCode::ACCEPTED);
    assert_eq!(sse.events.message().await["id"], "sse");
    // 2026-07-28.
    let params = json!({"name": "echo", "arguments": {"text": SECRET}, "_meta": {"traceparent": parent(TRACE)}});
    assert_eq!(post_modern(&mux.client(), &modern(77, "tools/call", params)).await["id"], 77);
    // Refused before anybody knows what it is.
    assert_eq!(client.post("{").await.status(), StatusCode::BAD_REQUEST);

    let session = client.session.clone().unwrap();
    let sse_session = sse.endpoint.split('=').next_back().unwrap().to_owned();
    drop(sse);
    let (status, _, log) = mux.stop().await;
    assert!(status.success() && log.contains("traces are sent"), "{log}");

    let spans = collector.spans();
    for secret in [SECRET, KEY, &session, &sse_session] {
        assert!(!collector.bodies_contain(secret) && !log.contains(secret), "{secret}: {log}");
    }
    assert_eq!(collector.header("authorization"), Some(format!("Bearer {KEY}")));
    assert_eq!(collector.header("content-type").as_deref(), Some("application/x-protobuf"));
    for name in ["service.name=mcp-mux", "deployment.environment.name=test"] {
        assert!(collector.resource().iter().any(|one| one == name), "{name}: {:?}", collector.resource());
    }
    let mut names: Vec<_> = spans.iter().map(|span| span.name.as_str()).collect();
    names.sort_unstable();
    let call = "tools/call echo";
    assert_eq!(
        names,
        ["initialize", "initialize", "initialize", "ping", call, call, call, call, call, call, call, "unread"]
    );
    assert!(spans.iter().all(|span| span.kind == 2 && span.end >= span.start && span.start > 0), "{spans:#?}");

    let from = |id: &str| (named(&spans, id).trace.clone(), named(&spans, id).parent.clone());
    for id in ["by-header", "by-meta", "b1", "b2", "sse", "77"] {
        assert_eq!(from(id), (TRACE.to_owned(), PARENT.to_owned()), "{id}");
    }
    for id in ["by-nobody", "events"] {
        assert!(from(id).0 != TRACE && from(id).1.is_empty(), "{id}");
    }
    assert_eq!(named(&spans, "by-meta").links, [OTHER]);
    assert_eq!(named(&spans, "by-meta").state, "a=1");
    assert!(named(&spans, "by-header").links.is_empty());
    for (id, transport, revision) in [
        ("by-header", "streamable-http", "2025-11-25"),
        ("b2", "streamable-http", "2025-03-26"),
        ("sse", "http-sse", "2024-11-05"),
        ("77", "modern", "2026-07-28"),
    ] {
        let span = named(&spans, id);
        for (key, value) in [
            ("mcp.method.name", "tools/call"),
            ("mcp.protocol.version", revision),
            ("gen_ai.operation.name", "execute_tool"),
            ("gen_ai.tool.name", "echo"),
            ("client.address", "127.0.0.1"),
            ("network.transport", "tcp"),
            ("network.protocol.version", "1.1"),
            ("mcp_mux.server", "default"),
            ("mcp_mux.transport", transport),
            ("mcp_mux.outcome", "ok"),
        ] {
            assert_eq!(span.attribute(key), Some(value), "{id} {key}: {span:?}");
        }
        assert!(span.attribute("error.type").is_none() && span.status == 0, "{span:?}");
    }
    let hash = named(&spans, "by-header").attribute("mcp.session.id").unwrap();
    assert!(hash.len() == 8 && named(&spans, "events").attribute("mcp.session.id") == Some(hash));
    assert_eq!(named(&spans, "77").attribute("mcp.session.id"), None);
}

const FAILS: &str = r#"
handshake()
while True:
    message = read()
    if "id" not in message: continue
    name = message.get("params", {}).get("name")
    if name == "tool": reply(message, {"content": [], "isError": True})
    elif name == "exit": os._exit(1)
    else: write({"jsonrpc": "2.0", "id": message["id"], "error": {"code": int(name), "message": "a-payload-that-nobody-sends-on"}})
"#;

#[tokio::test]
async fn what_the_server_fails_at_is_an_error_and_what_the_client_does_wrong_is_none() {
    let collector = Collector::start(Way::Takes).await;
    let mux = Mux::start_command(traced(&["--otlp-endpoint", &collector.url], &python(FAILS), &collector)).await;
    let client = mux.session("2025-11-25").await;
    for name in ["tool", "-32603", "-32602", "exit"] {
        client.call(json!(name), "tools/call", json!({"name": name})).await;
    }
    let (_, _, log) = mux.stop().await;
    let spans = collector.spans();
    for (id, kind, code) in [
        ("tool", Some("tool_error"), None),
        ("-32603", Some("-32603"), Some("-32603")),
        ("-32602", None, Some("-32602")),
    ] {
        let span = named(&spans, id);
        assert_eq!(
            (span.attribute("error.type"), span.attribute("rpc.response.status_code")),
            (kind, code),
            "{span:?}"
        );
        assert_eq!(span.status, if kind.is_some() { 2 } else { 0 }, "{span:?}");
    }
    let exit = named(&spans, "exit");
    assert_eq!((exit.attribute("mcp_mux.outcome"), exit.status), (Some("child-exited"), 2), "{exit:?}");
    // No names without --access-log-names, and no text of an error at all.
    assert!(spans.iter().all(|span| span.attribute("gen_ai.tool.name").is_none() && !span.name.contains(' ')));
    assert!(!collector.bodies_contain(SECRET) && !log.contains(SECRET));
}

#[tokio::test]
async fn what_is_not_sampled_is_not_sent() {
    for (name, value, sent) in [
        ("OTEL_TRACES_SAMPLER", "always_off", 0),
        ("OTEL_SDK_DISABLED", "true", 0),
        ("OTEL_TRACES_SAMPLER", "always_on", 2),
        ("OTEL_SERVICE_NAME", "another", 1),
    ] {
        let collector = Collector::start(Way::Takes).await;
        let mut mux = traced(&[], &echo_server(), &collector);
        mux.env(name, value);
        let mux = Mux::start_command(mux).await;
        let client = Client { session: None, ..mux.client() };
        // The second one's parent is not sampled.
        for (id, flags) in [(1, "01"), (2, "00")] {
            let meta = json!({"traceparent": format!("00-{TRACE}-{PARENT}-{flags}")});
            post_modern(&client, &modern(id, "tools/list", json!({"_meta": meta}))).await;
        }
        mux.stop().await;
        assert_eq!(collector.spans().len(), sent, "{name}={value}");
        if name == "OTEL_SERVICE_NAME" {
            assert!(collector.resource().iter().any(|one| one == "service.name=another"));
        }
    }
}

#[tokio::test]
async fn a_collector_that_hangs_holds_nothing_up() {
    let collector = Collector::start(Way::Hangs).await;
    let mut mux = Mux::start_command(traced(&[], &echo_server(), &collector)).await;
    let client = mux.session("2025-03-26").await;
    within("a POST to the collector", collector.asked()).await;
    let fifty: Vec<_> = (0..50).map(|id| request(json!(id), "ping", json!({}))).collect();
    for _ in 0..60 {
        assert_eq!(client.post(&format!("[{}]", fifty.join(","))).await.status(), StatusCode::OK);
    }
    let lost = async || {
        let metrics = body(mux.client().send(Method::GET, "/metrics", &[], "").await).await;
        let metrics = String::from_utf8_lossy(&metrics).into_owned();
        let line = metrics.lines().find_map(|line| line.strip_prefix("mcp_mux_lost_spans_total ")).unwrap();
        line.parse::<f64>().unwrap()
    };
    // The queue holds 2048, and 512 may be on their way.
    assert!(lost().await > 400.0, "{}", lost().await);
    let begun = Instant::now();
    mux.signal(rustix::process::Signal::TERM);
    mux.logged("the last spans of traces are lost").await;
    let (status, _, _) = mux.stop_after_signal().await;
    assert!(status.success() && begun.elapsed() < Duration::from_secs(20), "{:?}", begun.elapsed());
}

#[tokio::test]
async fn a_collector_that_is_gone_costs_spans_which_is_said_and_counted() {
    let collector = Collector::start(Way::Takes).await;
    let mut gone = traced(&["--otlp-endpoint", "http://127.0.0.1:1"], &echo_server(), &collector);
    gone.env("OTEL_EXPORTER_OTLP_TIMEOUT", "100").env("OTEL_EXPORTER_OTLP_HEADERS", format!("x-key={KEY}"));
    let mut mux = Mux::start_command(gone).await;
    mux.session("2025-11-25").await;
    mux.logged("spans of traces were lost").await;
    let (status, _, log) = mux.stop().await;
    assert!(status.success() && log.contains("spans=1") && log.contains("refused") && !log.contains(KEY), "{log}");
    assert!(collector.spans().is_empty());
}

#[tokio::test]
async fn a_collector_that_is_busy_is_asked_again() {
    let collector = Collector::start(Way::TakesTheSecondTime).await;
    let mux = Mux::start_command(traced(&[], &echo_server(), &collector)).await;
    mux.session("2025-11-25").await;
    within("a POST to the collector", collector.asked()).await;
    let (_, _, log) = mux.stop().await;
    assert_eq!(collector.spans().len(), 1, "{log}");
    assert!(!log.contains("were lost"), "{log}");
}

#[tokio::test]
async fn a_wrong_url_is_refused_at_the_start_and_not_repeated() {
    let flags = ["--otlp-endpoint", "http://user:a-password@collector:4318"];
    let (code, _, log) = run_to_end(command(&flags, &echo_server())).await;
    assert_eq!(code, Some(78), "{log}");
    assert!(log.contains("--otlp-endpoint") && !log.contains("a-password"), "{log}");
}
