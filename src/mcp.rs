//! The words of the protocol: revisions and eras, methods, headers, error codes, and *the* table of places that carry
//! ids ([`ids`]). Nothing here does anything; every name is the specification's.

pub mod ids;

use std::fmt;
use std::str::FromStr;

/// A revision of the specification that has the `initialize` handshake (a *legacy* revision; 2026-07-28, Versioning).
///
/// Ordered by age, so that `min` of two is what two parties can both speak.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Revision {
    /// The first, with HTTP+SSE.
    V2024_11_05,
    /// Streamable HTTP; the only one with JSON-RPC batches.
    V2025_03_26,
    /// Elicitation, the `MCP-Protocol-Version` header.
    V2025_06_18,
    /// Tasks, URL elicitation, priming events.
    V2025_11_25,
}

/// The two families of revisions (2026-07-28, Versioning, Backward Compatibility).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Era {
    /// With the `initialize` handshake: up to 2025-11-25.
    #[default]
    Legacy,
    /// Stateless, with metadata in each request: 2026-07-28.
    Modern,
}

/// The modern revision, as it is written in `_meta` and in the header.
pub const MODERN_REVISION: &str = "2026-07-28";

impl Revision {
    /// The newest legacy revision.
    pub const LATEST: Self = Self::V2025_11_25;
    /// What a request over HTTP is assumed to be without the header (2025-06-18, Transports, Protocol Version Header).
    pub const ASSUMED: Self = Self::V2025_03_26;
    /// All of them, oldest first.
    pub const ALL: [Self; 4] = [Self::V2024_11_05, Self::V2025_03_26, Self::V2025_06_18, Self::V2025_11_25];

    /// As it is written in `protocolVersion` and in the header.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::V2024_11_05 => "2024-11-05",
            Self::V2025_03_26 => "2025-03-26",
            Self::V2025_06_18 => "2025-06-18",
            Self::V2025_11_25 => "2025-11-25",
        }
    }

    /// Whether it has JSON-RPC batches (2025-03-26, Base Protocol, Batching).
    pub const fn has_batches(self) -> bool {
        matches!(self, Self::V2025_03_26)
    }

    /// Whether an event stream starts with a priming event and may say `retry` (2025-11-25, Transports, Sending
    /// Messages to the Server 6). Older clients parse every event's data as JSON and would choke on the empty one.
    pub const fn has_priming_event(self) -> bool {
        matches!(self, Self::V2025_11_25)
    }
}

impl fmt::Display for Revision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Not a revision that mcp-mux serves.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a supported protocol version")]
pub struct UnknownRevision;

impl FromStr for Revision {
    type Err = UnknownRevision;

    fn from_str(text: &str) -> Result<Self, UnknownRevision> {
        Self::ALL.into_iter().find(|revision| revision.as_str() == text).ok_or(UnknownRevision)
    }
}

/// The severity of a log message (RFC 5424; 2025-11-25, Logging, Log Levels), least severe first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[expect(missing_docs, reason = "the names are RFC 5424's")]
pub enum LogLevel {
    Debug,
    Info,
    Notice,
    Warning,
    Error,
    Critical,
    Alert,
    Emergency,
}

impl LogLevel {
    /// All of them, least severe first.
    pub const ALL: [Self; 8] = [
        Self::Debug,
        Self::Info,
        Self::Notice,
        Self::Warning,
        Self::Error,
        Self::Critical,
        Self::Alert,
        Self::Emergency,
    ];

    /// As it is written in `level`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Debug => "debug",
            Self::Info => "info",
            Self::Notice => "notice",
            Self::Warning => "warning",
            Self::Error => "error",
            Self::Critical => "critical",
            Self::Alert => "alert",
            Self::Emergency => "emergency",
        }
    }

    /// The level of that name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|level| level.as_str() == name)
    }
}

/// Methods that mcp-mux treats in a way of its own. Every other one is passed on as it is.
pub mod method {
    #![expect(missing_docs, reason = "the names are the methods'")]
    pub const INITIALIZE: &str = "initialize";
    pub const INITIALIZED: &str = "notifications/initialized";
    pub const PING: &str = "ping";
    pub const CANCELLED: &str = "notifications/cancelled";
    pub const PROGRESS: &str = "notifications/progress";
    pub const MESSAGE: &str = "notifications/message";
    pub const SET_LEVEL: &str = "logging/setLevel";
    pub const SUBSCRIBE: &str = "resources/subscribe";
    pub const UNSUBSCRIBE: &str = "resources/unsubscribe";
    pub const RESOURCE_UPDATED: &str = "notifications/resources/updated";
    pub const RESOURCES_LIST_CHANGED: &str = "notifications/resources/list_changed";
    pub const RESOURCES_READ: &str = "resources/read";
    pub const RESOURCES_LIST: &str = "resources/list";
    pub const RESOURCE_TEMPLATES_LIST: &str = "resources/templates/list";
    pub const TOOLS_LIST: &str = "tools/list";
    pub const PROMPTS_LIST: &str = "prompts/list";
    pub const COMPLETE: &str = "completion/complete";
    pub const TOOLS_LIST_CHANGED: &str = "notifications/tools/list_changed";
    pub const PROMPTS_LIST_CHANGED: &str = "notifications/prompts/list_changed";
    pub const SAMPLING: &str = "sampling/createMessage";
    pub const ELICITATION: &str = "elicitation/create";
    pub const ELICITATION_COMPLETE: &str = "notifications/elicitation/complete";
    pub const ROOTS_LIST: &str = "roots/list";
    pub const TASKS_GET: &str = "tasks/get";
    pub const TASKS_RESULT: &str = "tasks/result";
    pub const TASKS_CANCEL: &str = "tasks/cancel";
    pub const TASKS_LIST: &str = "tasks/list";
    pub const TASK_STATUS: &str = "notifications/tasks/status";
    // Of 2026-07-28.
    pub const TASKS: &str = "notifications/tasks";
    pub const TASKS_UPDATE: &str = "tasks/update";
    pub const DISCOVER: &str = "server/discover";
    pub const LISTEN: &str = "subscriptions/listen";
    pub const ACKNOWLEDGED: &str = "notifications/subscriptions/acknowledged";
    pub const TOOLS_CALL: &str = "tools/call";
    pub const PROMPTS_GET: &str = "prompts/get";

    /// Whether a result of this method may be an `InputRequiredResult` (2026-07-28, Multi Round-Trip Requests, Supported
    /// Requests).
    pub fn may_require_input(method: &str) -> bool {
        matches!(method, TOOLS_CALL | PROMPTS_GET | RESOURCES_READ)
    }

    /// Whether a result of this method says how long it may be served again (2026-07-28, Caching, Cacheable Results).
    pub fn is_cacheable(method: &str) -> bool {
        matches!(
            method,
            DISCOVER | TOOLS_LIST | PROMPTS_LIST | RESOURCES_LIST | RESOURCE_TEMPLATES_LIST | RESOURCES_READ
        )
    }

    /// Whether a request is one of 2026-07-28 or of an extension to it (Tasks, Reservations), and so none that a client of an
    /// older revision makes. `tasks/*` are of 2025-11-25 too, but with another meaning.
    pub fn is_modern_only(method: &str) -> bool {
        matches!(method, DISCOVER | LISTEN) || method.starts_with("tasks/")
    }

    /// Whether a request of a client may be carried out twice, so that it can be sent again when nobody knows whether it
    /// was carried out: those that only read, and those that the specification says are cheap to ask for. Of 2025-11-25:
    /// Ping; Pagination, Operations Supporting Pagination (the `*/list` methods of a server); Tasks, Listing Tasks;
    /// Resources, Reading Resources; Completion. Not `prompts/get` and `tools/call`, whose effects are the server's own,
    /// nor what changes a state of the session. And of 2026-07-28: Discovery.
    pub fn is_safe_to_repeat(method: &str) -> bool {
        matches!(
            method,
            PING | DISCOVER
                | TOOLS_LIST
                | PROMPTS_LIST
                | RESOURCES_LIST
                | RESOURCE_TEMPLATES_LIST
                | TASKS_LIST
                | RESOURCES_READ
                | COMPLETE
        )
    }
}

/// HTTP headers of the transports (names are lower case, as HTTP/2 wants them).
pub mod header {
    /// The session (2025-03-26 and later, Transports, Session Management).
    pub const SESSION_ID: &str = "mcp-session-id";
    /// The revision (2025-06-18 and later, Transports, Protocol Version Header).
    pub const PROTOCOL_VERSION: &str = "mcp-protocol-version";
    /// `method` of a modern request (2026-07-28, Streamable HTTP, Standard Request Headers).
    pub const METHOD: &str = "mcp-method";
    /// `params.name` or `params.uri` of some modern requests.
    pub const NAME: &str = "mcp-name";
    /// The beginning of the headers that repeat a tool's arguments (2026-07-28, Streamable HTTP, Custom Headers).
    pub const PARAM_PREFIX: &str = "mcp-param-";
    /// Where a broken stream is to go on (Transports, Resumability and Redelivery).
    pub const LAST_EVENT_ID: &str = "last-event-id";
}

/// JSON-RPC error codes: the standard ones, and mcp-mux's own range −31000…−31099, which is outside the ranges that
/// JSON-RPC (−32768…−32000) and MCP reserve.
pub mod code {
    #![expect(missing_docs, reason = "the names are JSON-RPC's")]
    pub const PARSE_ERROR: i32 = -32700;
    pub const INVALID_REQUEST: i32 = -32600;
    pub const INVALID_PARAMS: i32 = -32602;
    pub const METHOD_NOT_FOUND: i32 = -32601;
    pub const INTERNAL_ERROR: i32 = -32603;
    /// 2025-11-25 and older, Resources, Error Handling; later it is [`INVALID_PARAMS`].
    pub const RESOURCE_NOT_FOUND: i32 = -32002;
    /// 2026-07-28, Overview, Error Codes.
    pub const HEADER_MISMATCH: i32 = -32020;
    pub const MISSING_CAPABILITY: i32 = -32021;
    pub const UNSUPPORTED_VERSION: i32 = -32022;
    /// 2025-11-25, Elicitation, URL Elicitation Required.
    pub const URL_ELICITATION_REQUIRED: i32 = -32042;
    /// What the specification keeps for itself since 2026-07-28 (Overview, Error Codes).
    pub const RESERVED: std::ops::RangeInclusive<i32> = -32099..=-32020;
    /// The child exited while the request was in flight.
    pub const CHILD_EXITED: i32 = -31000;
    /// The child is not running or did not finish its handshake in time.
    pub const CHILD_UNAVAILABLE: i32 = -31001;
    /// The request took longer than `--request-timeout` or `--request-timeout-max`.
    pub const REQUEST_TIMEOUT: i32 = -31002;
    /// The child's answer could not be passed on (too long, or not JSON).
    pub const CHILD_ANSWER_UNUSABLE: i32 = -31003;
    /// A limit of mcp-mux was reached; `data.limit` names it.
    pub const LIMIT_REACHED: i32 = -31010;
    /// There is no such session (any more).
    pub const SESSION_UNKNOWN: i32 = -31011;
    /// mcp-mux is stopping.
    pub const SHUTTING_DOWN: i32 = -31012;
    /// `Host` or `Origin` is not among the allowed ones.
    pub const FORBIDDEN: i32 = -31013;
    /// No credential, or one that is not good.
    pub const UNAUTHENTICATED: i32 = -31014;
    /// The keys that tokens are checked with cannot be had.
    pub const KEYS_UNAVAILABLE: i32 = -31015;
    /// To a child: its question belongs to no client, or to several, or to one that can no longer be asked.
    pub const QUESTION_REFUSED: i32 = -31020;
}
