//! The metrics: every name, unit, help text and closed set of labels, in one place.
//!
//! Hits of limits are the process's, like its log: whoever keeps a limit counts its hits where it keeps it, and nothing has to
//! be handed through the layers for that. What is a server's is counted by a handle that its parts are given
//! ([`ServerMetrics`]). [`render`] is what `GET /metrics` answers.
//!
//! Invariant: a label is one of a closed set, or the name of a server that was configured; never an id, an address or what a
//! client says. So nobody outside can make more series.
//!
//! Spec: OpenMetrics 1.0.

mod collect;
mod format;
mod names;
mod process;
mod requests;
mod server;

use std::sync::LazyLock;

use prometheus_client::encoding::text::encode;
use prometheus_client::encoding::{EncodeLabelSet, LabelSetEncoder};
use prometheus_client::metrics::counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge;
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::Registry;

pub use self::format::Format;
pub use self::names::{Counter, Gauge, Method, Outcome};
pub use self::server::{Portion, ServerMetrics};

/// Counts a hit: once for each connection, request, message or stream that a limit refused, delayed or ended.
pub fn limit_hit(limit: Limit) {
    METRICS.limit_hits.get_or_create(&limit).inc();
    #[cfg(test)]
    HITS_HERE.with_borrow_mut(|hits| *hits.entry(limit).or_default() += 1);
}

/// How often each limit was hit, those that were.
pub fn limits_hit() -> impl Iterator<Item = (Limit, u64)> {
    let hits = |limit: &Limit| (*limit, METRICS.limit_hits.get_or_create(limit).get());
    Limit::ALL.iter().map(hits).filter(|(_, hits)| *hits > 0)
}

/// A connection is open, until the returned value is dropped.
pub(crate) fn connection_opened() -> OpenConnection {
    METRICS.connections.inc();
    OpenConnection(())
}

/// A connection that is counted as open.
#[derive(Debug)]
pub(crate) struct OpenConnection(());

impl Drop for OpenConnection {
    fn drop(&mut self) {
        METRICS.connections.dec();
    }
}

/// A line of the access log is lost.
pub(crate) fn access_line_lost() {
    METRICS.access_lines_lost.inc();
}

/// So many spans of traces are lost.
#[cfg(feature = "otel")]
pub(crate) fn spans_lost(count: usize) {
    METRICS.spans_lost.inc_by(u64::try_from(count).unwrap_or(u64::MAX));
}

/// So many bytes more are left unread.
pub(crate) fn unread_held(bytes: usize) {
    METRICS.unread_bytes.inc_by(i64::try_from(bytes).unwrap_or(i64::MAX));
}

/// So many bytes are not left unread any more.
pub(crate) fn unread_given_back(bytes: usize) {
    METRICS.unread_bytes.dec_by(i64::try_from(bytes).unwrap_or(i64::MAX));
}

/// All metrics in that format.
pub fn render_as(format: Format) -> String {
    format.write(render())
}

/// All metrics as OpenMetrics text.
pub fn render() -> String {
    let mut text = String::new();
    encode(&mut text, &METRICS.registry).expect("a String takes everything");
    text
}

/// How often a limit was hit by this thread: exact for a test whose tasks are all on its thread, whatever others do.
#[cfg(test)]
pub(crate) fn limit_hits(limit: Limit) -> u64 {
    HITS_HERE.with_borrow(|hits| hits.get(&limit).copied().unwrap_or(0))
}

#[cfg(test)]
thread_local! {
    static HITS_HERE: std::cell::RefCell<std::collections::HashMap<Limit, u64>> = std::cell::RefCell::default();
}

macro_rules! limits {
    ($($variant:ident = $name:literal, $text:literal;)+) => {
        /// A limit, named as its flag; or something else that is refused and counted like one.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum Limit {
            $(#[doc = $text] $variant,)+
        }

        impl Limit {
            /// Every one.
            pub const ALL: &[Self] = &[$(Self::$variant),+];

            /// The value of the label `limit`.
            pub const fn as_str(self) -> &'static str {
                match self {
                    $(Self::$variant => $name,)+
                }
            }
        }
    };
}

limits! {
    ConnectionsMax = "connections-max", "There was no room for a connection at once.";
    ConnectionsPerAddressMax = "connections-per-address-max", "An address had as many connections as it may have.";
    FirstByteTimeout = "first-byte-timeout", "A new connection sent nothing.";
    HeaderTimeout = "header-timeout", "A request's head did not end.";
    IdleTimeout = "idle-timeout", "A connection had no request for too long.";
    UntakenTimeout = "untaken-timeout", "A client took nothing of what was sent to it.";
    HeaderBytesMax = "header-bytes-max", "A request's head was too large.";
    HeadersMax = "headers-max", "A request had too many headers.";
    BodyBytesMax = "body-bytes-max", "A request's body was too large.";
    BodyTimeout = "body-timeout", "A request's body took too long.";
    Http2StreamsMax = "http2-streams-max", "A stream was refused: its connection had as many as it may have.";
    Http2ResetsMax = "http2-resets-max", "A connection was ended: too many of its streams were reset.";
    Http2FramesMax = "http2-frames-max", "A connection was ended: too many frames that carry nothing.";
    Rate = "rate", "A principal's requests came faster than they may.";
    PrincipalSessionsMax = "principal-sessions-max", "A principal had as many sessions as it may have.";
    PrincipalInFlightMax = "principal-in-flight-max", "A principal had as many requests in flight as it may have.";
    SessionsMax = "sessions-max", "There were as many sessions as there may be.";
    InFlightMax = "in-flight-max", "A session had as many requests in flight as it may have.";
    MessagesWaitingMax = "messages-waiting-max", "A session had too many notifications or responses waiting.";
    ChildrenMax = "children-max", "No process came free in time.";
    QueueTimeout = "queue-timeout", "There was no room for a message in time.";
    RequestTimeout = "request-timeout", "A request had no answer or progress for too long.";
    RequestTimeoutMax = "request-timeout-max", "A request had no answer in all that time.";
    LineBytesMax = "line-bytes-max", "A line of the server was too long.";
    StderrLinesMax = "stderr-lines-max", "A line of the server's stderr was left out of the log.";
    NestingMax = "nesting-max", "A client's JSON was nested too deeply.";
    BatchMax = "batch-max", "A client's batch had too many messages.";
    SubscriptionsMax = "subscriptions-max", "A client wanted more subscriptions than it may have.";
    QuestionsMax = "questions-max", "The server asked a client more than it may be asked at a time.";
    ResendBytesMax = "resend-bytes-max", "A request failed that was not kept to be sent again with its client's answers.";
    TasksMax = "tasks-max", "The oldest task was forgotten, or keeps its process no longer: there were too many.";
    MessageForm = "message-form", "A part of a message was too large, or there were too many of it.";
    ReplayEvents = "replay-events", "A message for a client that is not there was dropped.";
    ReplayBytes = "replay-bytes", "An answer for a client that is not there was replaced by an error.";
    StreamsMax = "streams-max", "A session's oldest GET stream was ended: it had too many.";
    ParkedMax = "parked-max", "A modern request whose client is asked something was given up: there were too many.";
    ParkedBytesMax = "parked-bytes-max", "Such a request was given up: they were too large.";
    UnreadMessagesMax = "unread-messages-max", "A reader was disconnected: it left too many messages unread.";
    UnreadBytesMax = "unread-bytes-max", "A reader was disconnected: it left too much unread.";
    UnreadTotalBytesMax = "unread-total-bytes-max", "A client, or those of its account, had more unread than was left for it.";
    KeysWaiting = "keys-waiting", "A request did not wait, or no longer, for the issuer's keys.";
    Accounts = "accounts", "A principal or an address was counted together with others.";
    HandshakeFailed = "tls-handshake", "A TLS handshake failed or did not end.";
    CredentialRefused = "credential", "A credential that is not good was refused.";
}

impl EncodeLabelSet for Limit {
    fn encode(&self, encoder: &mut LabelSetEncoder<'_>) -> Result<(), std::fmt::Error> {
        [("limit", self.as_str())].encode(encoder)
    }
}

struct Metrics {
    registry: Registry,
    limit_hits: Family<Limit, counter::Counter>,
    connections: gauge::Gauge,
    unread_bytes: gauge::Gauge,
    access_lines_lost: counter::Counter,
    #[cfg(feature = "otel")]
    spans_lost: counter::Counter,
}

/// The program has begun.
fn begin() {
    LazyLock::force(&METRICS);
}

static METRICS: LazyLock<Metrics> = LazyLock::new(|| {
    process::started();
    let mut whole = Registry::default();
    whole.register_collector(Box::new(collect::Process));
    let registry = whole.sub_registry_with_prefix("mcp_mux");
    registry.register("build", "The program", Info::new(collect::build()));
    let limit_hits = Family::<Limit, counter::Counter>::default();
    // Those that were never hit are there too, so that an alert sees the first hit.
    for limit in Limit::ALL {
        drop(limit_hits.get_or_create(limit));
    }
    let connections = gauge::Gauge::default();
    registry.register(
        "limit_hits",
        "Connections, requests, messages and streams that a limit refused, delayed or ended",
        limit_hits.clone(),
    );
    registry.register("connections", "Open connections", connections.clone());
    let unread_bytes = gauge::Gauge::default();
    registry.register(
        "unread_bytes",
        "Bytes that clients leave unread, as --unread-total-bytes-max counts them",
        unread_bytes.clone(),
    );
    let access_lines_lost = counter::Counter::default();
    registry.register(
        "access_log_lost_lines",
        "Lines of the access log that were lost, since it could not be written fast enough or at all",
        access_lines_lost.clone(),
    );
    // In builds without traces too: dashboards and alerts are the same.
    let spans_lost: counter::Counter = counter::Counter::default();
    registry.register(
        "lost_spans",
        "Spans of traces that were lost, since the collector did not take them, or not fast enough",
        spans_lost.clone(),
    );
    registry.register_collector(Box::new(collect::Servers));
    Metrics {
        registry: whole,
        limit_hits,
        connections,
        unread_bytes,
        access_lines_lost,
        #[cfg(feature = "otel")]
        spans_lost,
    }
});

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    /// Names and types are what dashboards and alerts are made of.
    #[test]
    fn every_metric_has_its_name_and_type() {
        let server = ServerMetrics::named("test-names");
        server.request(Method::ToolsCall, Outcome::Ok, std::time::Duration::from_millis(3));
        let text = render();
        let types: BTreeSet<&str> = text.lines().filter_map(|line| line.strip_prefix("# TYPE ")).collect();
        #[cfg(target_os = "linux")]
        assert_eq!(types.iter().copied().collect::<Vec<_>>().join("\n") + "\n", include_str!("metrics/names.txt"));
        let help = text.lines().filter_map(|line| line.strip_prefix("# HELP "));
        assert!(help.into_iter().all(|help| help.ends_with('.') && !help.ends_with("..")));
        assert!(text.ends_with("# EOF\n"));
        let labels = r#"{server="test-names",method="tools/call",outcome="ok"}"#;
        assert!(text.contains(&format!("\nmcp_mux_requests_total{labels} 1\n")), "{text}");
        assert!(text.contains(&format!("\nmcp_mux_request_duration_seconds_sum{labels} 0.003\n")), "{text}");
        assert!(text.contains("\n# UNIT mcp_mux_child_written_bytes bytes\n"));
        let version = env!("CARGO_PKG_VERSION");
        assert!(text.contains(&format!("\nmcp_mux_build_info{{version=\"{version}\"}} 1\n")));
    }

    #[test]
    fn every_limit_is_there_before_it_is_hit() {
        let text = render();
        for limit in Limit::ALL {
            let series = format!("\nmcp_mux_limit_hits_total{{limit=\"{}\"}} ", limit.as_str());
            assert_eq!(text.matches(&series).count(), 1, "{series}");
        }
    }

    #[test]
    fn every_limit_is_in_the_readme_with_its_default() {
        let readme = include_str!("../README.md");
        let command = crate::cli::command();
        let rows: Vec<&str> = readme.lines().filter(|line| line.starts_with("| ")).collect();
        for limit in Limit::ALL {
            let name = limit.as_str();
            let Some(flag) = command.get_arguments().find(|argument| argument.get_long() == Some(name)) else {
                let beside = format!("\n- `{name}`: ");
                assert!(readme.contains(&beside), "{name} is not said to be counted beside the limits");
                continue;
            };
            let row = rows.iter().find(|row| row.ends_with(&format!("| `{name}` |")));
            let row = row.unwrap_or_else(|| panic!("{name} is not in the README's table of limits"));
            // A default that depends on other flags is in the help text alone.
            let help = flag.get_help().map(ToString::to_string).unwrap_or_default();
            let default = match flag.get_default_values().first() {
                Some(default) => default.display().to_string(),
                None => help.split_once("[default: ").map_or("none", |(_, text)| text.trim_end_matches(']')).to_owned(),
            };
            let begins = format!("| `--{name}` | {default} |");
            assert!(row.starts_with(&begins), "{row} should begin with {begins}");
        }
    }

    #[test]
    fn a_hit_is_counted() {
        let before = limit_hits(Limit::MessagesWaitingMax);
        limit_hit(Limit::MessagesWaitingMax);
        assert!(limit_hits(Limit::MessagesWaitingMax) > before);
    }
}
