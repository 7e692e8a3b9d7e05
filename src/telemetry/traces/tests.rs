//! Spans as they come out of the library, before they are sent.

use bytes::Bytes;
use opentelemetry_sdk::trace::{Sampler, SpanData};

use super::*;

const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";
const OTHER: &str = "4bf92f3577b34da6a3ce929d0e0e4736";

fn said(trace: &str, flags: &str) -> Option<SpanContext> {
    let text = format!("00-{trace}-00f067aa0ba902b7-{flags}");
    let headers = [(http::HeaderName::from_static("traceparent"), http::HeaderValue::try_from(text).unwrap())];
    Some(context::of_headers(&headers.into_iter().collect()).unwrap())
}

fn trace() -> Trace {
    let since = SystemTime::UNIX_EPOCH + Duration::from_secs(1_000);
    let client = Some([192, 0, 2, 7].into());
    Trace { since, header: None, meta: None, id: Some("r-1".to_owned()), version: Version::HTTP_11, client }
}

fn entry() -> Entry<'static> {
    Entry {
        server: Some("default"),
        principal: Some("alice"),
        session: Some("00c0ffee"),
        client: "192.0.2.7",
        transport: Some("streamable-http"),
        revision: Some("2025-11-25"),
        asked: None,
        method: Some("tools/call"),
        name: Some("search"),
        bytes_in: 70,
        bytes_out: 90,
        duration_seconds: 0.25,
        outcome: "ok",
        kind: None,
        status: Some(200),
        code: None,
    }
}

/// What becomes of it; none: it is not sampled.
fn span(trace: &Trace, names: AccessLogNames, entry: &Entry<'_>) -> Option<SpanData> {
    let (queue, mut spans) = mpsc::channel(1);
    let provider = SdkTracerProvider::builder()
        .with_sampler(Sampler::ParentBased(Box::new(Sampler::AlwaysOn)))
        .with_span_processor(Queue::new(queue))
        .build();
    trace.record(&provider.tracer("test"), names, entry, Duration::from_millis(250));
    spans.try_recv().ok()
}

fn attributes(span: &SpanData) -> Vec<String> {
    let mut attributes: Vec<_> = span.attributes.iter().map(|one| format!("{}={}", one.key, one.value)).collect();
    attributes.sort();
    attributes
}

// spec: OpenTelemetry Semantic Conventions for GenAI, Model Context Protocol, Server.
#[test]
fn a_span_says_what_the_conventions_want_to_know() {
    let span = span(&trace(), AccessLogNames::Shown, &entry()).unwrap();
    assert_eq!(
        (span.name.as_ref(), &span.span_kind, &span.status),
        ("tools/call search", &SpanKind::Server, &Status::Unset)
    );
    assert_eq!(
        attributes(&span),
        [
            "client.address=192.0.2.7",
            "gen_ai.operation.name=execute_tool",
            "gen_ai.tool.name=search",
            "jsonrpc.request.id=r-1",
            "mcp.method.name=tools/call",
            "mcp.protocol.version=2025-11-25",
            "mcp.session.id=00c0ffee",
            "mcp_mux.outcome=ok",
            "mcp_mux.server=default",
            "mcp_mux.transport=streamable-http",
            "network.protocol.name=http",
            "network.protocol.version=1.1",
            "network.transport=tcp",
        ]
    );
    assert_eq!(span.start_time, trace().since);
    assert_eq!(span.end_time.duration_since(span.start_time).unwrap(), Duration::from_millis(250));
    assert!(span.parent_span_id == opentelemetry::SpanId::INVALID && span.links.is_empty());
}

#[test]
fn names_are_said_only_where_they_may_be() {
    for (method, name) in [("tools/call", "a"), ("prompts/get", "b"), ("resources/read", "file:///c")] {
        let entry = Entry { method: Some(method), name: Some(name), ..entry() };
        let hidden = span(&trace(), AccessLogNames::Hidden, &entry).unwrap();
        assert_eq!(hidden.name, method);
        assert!(attributes(&hidden).iter().all(|one| !one.ends_with(&format!("={name}"))), "{hidden:?}");
        let shown = span(&trace(), AccessLogNames::Shown, &entry).unwrap();
        assert!(attributes(&shown).iter().any(|one| one.ends_with(&format!("={name}"))), "{shown:?}");
    }
    let read = Entry { method: Some("resources/read"), name: Some("file:///c"), ..entry() };
    assert_eq!(span(&trace(), AccessLogNames::Shown, &read).unwrap().name, "resources/read");
}

#[test]
fn whatever_a_client_calls_its_method_there_are_few_names_of_spans() {
    for (method, name) in [(Some("vendor/anything"), "other"), (None, "unread"), (Some("ping"), "ping")] {
        let span = span(&trace(), AccessLogNames::Shown, &Entry { method, name: None, ..entry() }).unwrap();
        assert_eq!(span.name, name);
    }
}

#[test]
fn meta_says_the_parent_and_the_headers_where_it_does_not() {
    let parts = |header: Option<SpanContext>, meta: Option<SpanContext>| {
        let span = span(&Trace { header, meta, ..trace() }, AccessLogNames::Hidden, &entry()).unwrap();
        let links: Vec<_> = span.links.iter().map(|link| link.span_context.trace_id().to_string()).collect();
        (span.span_context.trace_id().to_string(), span.parent_span_id.to_string(), links)
    };
    let parent = "00f067aa0ba902b7".to_owned();
    let on = |trace| said(trace, "01");
    assert_eq!(parts(on(TRACE), None), (TRACE.to_owned(), parent.clone(), vec![]));
    assert_eq!(parts(None, on(TRACE)), (TRACE.to_owned(), parent.clone(), vec![]));
    assert_eq!(parts(on(TRACE), on(TRACE)), (TRACE.to_owned(), parent.clone(), vec![]));
    assert_eq!(parts(on(OTHER), on(TRACE)), (TRACE.to_owned(), parent, vec![OTHER.to_owned()]));
    let (root, none, _) = parts(None, None);
    assert!(root != "0".repeat(32) && none == "0".repeat(16));
}

#[test]
fn a_parent_that_is_not_sampled_has_no_child() {
    let quiet = Trace { meta: said(TRACE, "00"), header: said(OTHER, "01"), ..trace() };
    assert!(span(&quiet, AccessLogNames::Hidden, &entry()).is_none());
}

// spec: OpenTelemetry Semantic Conventions for GenAI, Model Context Protocol, Server, rpc.response.status_code, error.type.
#[test]
fn only_what_the_server_fails_at_is_a_failure() {
    for (outcome, code, expected) in [
        ("ok", None, None),
        ("input-required", None, None),
        ("cancelled", None, None),
        ("disconnected", None, None),
        ("tool-error", None, Some("tool_error")),
        ("timeout", None, Some("timeout")),
        ("error", Some(-32603), Some("-32603")),
        ("child-exited", Some(-31000), Some("-31000")),
        ("overloaded", Some(-31007), Some("-31007")),
        ("denied", Some(-31008), None),
        ("error", Some(-32000), Some("-32000")),
        ("error", Some(-32099), Some("-32099")),
        ("invalid", Some(-32600), None),
        ("error", Some(-32601), None),
        ("error", Some(7), None),
    ] {
        let span = span(&trace(), AccessLogNames::Hidden, &Entry { outcome, code, ..entry() }).unwrap();
        let attributes = attributes(&span);
        let value = |key: &str| attributes.iter().find_map(|one| one.strip_prefix(key)?.strip_prefix('='));
        assert_eq!(value("error.type"), expected, "{outcome} {code:?}");
        assert_eq!(span.status == Status::error(""), expected.is_some(), "{outcome} {code:?}");
        assert_eq!(value("rpc.response.status_code"), code.map(|code| code.to_string()).as_deref());
    }
}

#[test]
fn an_id_is_said_as_it_is_meant_and_not_at_any_length() {
    for (id, expected) in [(r#""a\"b""#, "a\"b"), ("7", "7"), (&format!("\"{}\"", "x".repeat(250)), &"x".repeat(200))] {
        let text = format!(r#"{{"jsonrpc":"2.0","id":{id},"method":"ping"}}"#);
        let mut trace = trace();
        trace.is(&Message::parse(Bytes::from(text), 16).unwrap());
        assert_eq!(trace.id.as_deref(), Some(expected));
    }
}

#[test]
fn a_full_queue_loses_spans_and_counts_them() {
    let (queue, _spans) = mpsc::channel(1);
    let queue = Queue::new(queue);
    let lost = Arc::clone(queue.lost());
    let provider = SdkTracerProvider::builder().with_sampler(Sampler::AlwaysOn).with_span_processor(queue).build();
    for _ in 0..3 {
        trace().record(&provider.tracer("test"), AccessLogNames::Hidden, &entry(), Duration::ZERO);
    }
    assert_eq!(lost.load(std::sync::atomic::Ordering::Relaxed), 2);
}
