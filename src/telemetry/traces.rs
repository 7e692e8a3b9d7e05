//! Traces: one span of OpenTelemetry for each request of a client, made when it came to an end and sent by OTLP.
//!
//! A span says what a line of the access log does, in the words of OpenTelemetry's conventions, and is as silent about what was
//! asked and answered. Its parent is what `_meta` of the message says; what the headers say is the parent where `_meta` says
//! nothing, and else a link: several messages may share a request of HTTP, and one message several of those. Nothing is put
//! into a message: the server sees the `_meta` that the client wrote.
//!
//! Invariant: neither making a span nor sending it waits for anything that a request waits for. What does not fit into the queue
//! is lost and counted (`mcp_mux_lost_spans`).
//!
//! Spec: OpenTelemetry Semantic Conventions for GenAI, Model Context Protocol, Server; MCP 2026-07-28 basic, `_meta`,
//! OpenTelemetry trace context.

mod context;
mod export;

use std::borrow::Cow;
use std::io;
use std::net::IpAddr;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, SystemTime};

use http::Version;
use http::request::Parts;
use opentelemetry::trace::{Link, Span as _, SpanBuilder, SpanContext, SpanKind, Status, TraceContextExt as _};
use opentelemetry::trace::{Tracer as _, TracerProvider as _};
use opentelemetry::{Context, InstrumentationScope, Key, KeyValue};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::{SdkTracer, SdkTracerProvider};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::{info, warn};

use self::export::{Queue, Sender};
use super::access::Entry;
use crate::config::{AccessLogNames, TracesConfig};
use crate::jsonrpc::{Message, decode_str};
use crate::mcp::method;
use crate::metrics::{Method, Outcome};

#[derive(Debug)]
struct Traces {
    tracer: SdkTracer,
    names: AccessLogNames,
    /// What sends.
    tasks: TaskTracker,
    end: CancellationToken,
}

static TRACES: OnceLock<Traces> = OnceLock::new();

/// Begins them, if they are wanted. Those that were begun before stay. Must be called within a tokio runtime.
///
/// # Errors
/// OpenTelemetry's own variables want something that there is not.
pub(crate) fn begin(config: Option<&TracesConfig>) -> io::Result<()> {
    let Some(config) = config else { return Ok(()) };
    for doubt in &config.doubts {
        warn!("traces: {doubt}");
    }
    let resource = resource();
    let (tasks, end) = (TaskTracker::new(), CancellationToken::new());
    let (queue, spans) = mpsc::channel(QUEUE_SPANS_MAX);
    let queue = Queue::new(queue);
    let sender = Sender::new(config, &resource, Arc::clone(queue.lost())).map_err(io::Error::other)?;
    let provider = SdkTracerProvider::builder().with_resource(resource).with_span_processor(queue).build();
    let scope = InstrumentationScope::builder("mcp-mux").with_version(env!("CARGO_PKG_VERSION")).build();
    let tracer = provider.tracer_with_scope(scope);
    let traces = Traces { tracer, names: config.names, tasks: tasks.clone(), end: end.clone() };
    if TRACES.set(traces).is_err() {
        tracing::debug!("traces were begun before");
        return Ok(());
    }
    info!(collector = sender.collector(), "traces are sent");
    tasks.spawn(sender.run(spans, end));
    tasks.close();
    Ok(())
}

/// Sends what is queued, as far as that goes within [`FLUSH_TIMEOUT`]. There are no more spans after it.
pub(crate) async fn end() {
    let Some(Traces { tasks, end, .. }) = TRACES.get() else { return };
    end.cancel();
    if tokio::time::timeout(FLUSH_TIMEOUT, tasks.wait()).await.is_err() {
        warn!("the last spans of traces are lost: the collector did not take them in time");
    }
}

/// Whether spans may name tools, prompts and resources.
pub(crate) fn shows_names() -> bool {
    TRACES.get().is_some_and(|traces| traces.names == AccessLogNames::Shown)
}

/// What is known of a request so far that its span alone says.
#[derive(Clone, Debug)]
pub(crate) struct Trace {
    since: SystemTime,
    /// What the headers say.
    header: Option<SpanContext>,
    /// What the message says.
    meta: Option<SpanContext>,
    id: Option<String>,
    version: Version,
    client: Option<IpAddr>,
}

impl Trace {
    /// Of something that was sent by this client; none where there are no traces.
    pub(crate) fn begin(request: &Parts, client: Option<IpAddr>) -> Option<Self> {
        TRACES.get()?;
        let header = context::of_headers(&request.headers);
        let version = request.version;
        Some(Self { since: SystemTime::now(), header, meta: None, id: None, version, client })
    }

    /// It is this request.
    pub(crate) fn is(&mut self, message: &Message) {
        self.since = SystemTime::now();
        self.meta = context::of_message(message);
        self.id = message.id().map(|id| {
            let text = decode_str(id.as_str()).unwrap_or(Cow::Borrowed(id.as_str()));
            text.chars().take(CHARACTERS_MAX).collect()
        });
    }

    /// It came to its end after this time.
    pub(crate) fn end(&self, entry: &Entry<'_>, took: Duration) {
        if let Some(traces) = TRACES.get() {
            self.record(&traces.tracer, traces.names, entry, took);
        }
    }

    fn record(&self, tracer: &SdkTracer, names: AccessLogNames, entry: &Entry<'_>, took: Duration) {
        let (parent, link) = match (&self.meta, &self.header) {
            (Some(meta), header) => (Some(meta), header.as_ref().filter(|header| *header != meta)),
            (None, header) => (header.as_ref(), None),
        };
        let entry = Entry { name: entry.name.filter(|_| names == AccessLogNames::Shown), ..entry.clone() };
        let failure = failure(&entry);
        let mut attributes = self.attributes(&entry);
        attributes.extend(failure.clone().map(|failure| KeyValue::new("error.type", failure)));
        let links = link.map(|link| Link::with_context(link.clone())).into_iter().collect();
        let builder = SpanBuilder::from_name(name(&entry)).with_kind(SpanKind::Server).with_start_time(self.since);
        let builder = builder.with_attributes(attributes).with_links(links);
        let around = parent.map_or_else(Context::new, |parent| Context::new().with_remote_span_context(parent.clone()));
        let mut span = tracer.build_with_context(builder, &around);
        if failure.is_some() {
            // The text of an error is the server's, and may say what was asked.
            span.set_status(Status::error(""));
        }
        span.end_with_timestamp(self.since + took);
    }

    fn attributes(&self, entry: &Entry<'_>) -> Vec<KeyValue> {
        let mut attributes = Vec::with_capacity(ATTRIBUTES);
        let mut add = |key: &'static str, value: Option<&str>| {
            attributes.extend(value.map(|value| KeyValue::new(key, value.to_owned())));
        };
        add("mcp.method.name", entry.method);
        add("mcp.session.id", entry.session);
        add("mcp.protocol.version", entry.revision);
        add("jsonrpc.request.id", self.id.as_deref());
        add("rpc.response.status_code", entry.code.map(|code| code.to_string()).as_deref());
        add("client.address", self.client.map(|client| client.to_string()).as_deref());
        add("network.transport", Some(if self.client.is_some() { "tcp" } else { "unix" }));
        add("network.protocol.name", Some("http"));
        add("network.protocol.version", version(self.version));
        add("mcp_mux.server", entry.server);
        add("mcp_mux.transport", entry.transport);
        add("mcp_mux.outcome", Some(entry.outcome));
        match entry.method {
            Some(method::TOOLS_CALL) => {
                add("gen_ai.operation.name", Some("execute_tool"));
                add("gen_ai.tool.name", entry.name);
            }
            Some(method::PROMPTS_GET) => add("gen_ai.prompt.name", entry.name),
            Some(_) | None => add("mcp.resource.uri", entry.name),
        }
        attributes
    }
}

/// A span's name. There are few, unless names of tools and prompts are shown.
fn name(entry: &Entry<'_>) -> Cow<'static, str> {
    let method = entry.method.map_or(Method::Unread, Method::of);
    match (entry.method, entry.name) {
        (Some(method @ (method::TOOLS_CALL | method::PROMPTS_GET)), Some(name)) => format!("{method} {name}").into(),
        _ => method.as_str().into(),
    }
}

/// The kind of failure, if it is one of the server's or mcp-mux's: that a request is not as it should be is its client's.
fn failure(entry: &Entry<'_>) -> Option<Cow<'static, str>> {
    const FAILURES: [Outcome; 6] = [
        Outcome::Timeout,
        Outcome::ChildExited,
        Outcome::ChildUnavailable,
        Outcome::Unusable,
        Outcome::Overloaded,
        Outcome::ShuttingDown,
    ];
    if entry.outcome == Outcome::ToolError.as_str() {
        return Some("tool_error".into());
    }
    let fails = FAILURES.iter().any(|failure| entry.outcome == failure.as_str());
    match entry.code {
        Some(code @ (INTERNAL_ERROR | -32099..=-32000)) => Some(code.to_string().into()),
        Some(code) if fails => Some(code.to_string().into()),
        None if fails => Some(entry.outcome.into()),
        Some(_) | None => None,
    }
}

fn version(version: Version) -> Option<&'static str> {
    match version {
        Version::HTTP_10 => Some("1.0"),
        Version::HTTP_11 => Some("1.1"),
        Version::HTTP_2 => Some("2"),
        _ => None,
    }
}

/// What the spans are of: `OTEL_RESOURCE_ATTRIBUTES` and `OTEL_SERVICE_NAME`, and without a name there, mcp-mux.
fn resource() -> Resource {
    let found = Resource::builder().build();
    let name = Key::from_static_str("service.name");
    let is_named = found.get(&name).is_some_and(|name| !name.as_str().starts_with("unknown_service"));
    let mut builder = Resource::builder();
    if !is_named {
        builder = builder.with_service_name("mcp-mux");
    }
    if found.get(&Key::from_static_str("service.version")).is_none() {
        builder = builder.with_attribute(KeyValue::new("service.version", env!("CARGO_PKG_VERSION")));
    }
    builder.build()
}

/// How long the last spans may take when mcp-mux stops.
pub(crate) const FLUSH_TIMEOUT: Duration = Duration::from_secs(3);
/// As OpenTelemetry has it.
const QUEUE_SPANS_MAX: usize = 2048;
/// The most that a span has, about.
const ATTRIBUTES: usize = 16;
/// What is longer is cut: it is a client that says it.
const CHARACTERS_MAX: usize = 200;
/// JSON-RPC 2.0, 5.1.
const INTERNAL_ERROR: i32 = -32603;

#[cfg(test)]
mod tests;
