//! Errors that leave the program: [`StartupError`] with its exit codes, and [`Reject`] with its one table to HTTP status
//! and JSON-RPC code.

use std::sync::Arc;
use std::time::Duration;

use http::StatusCode;
use serde_json::{Map, Value, json};

use crate::mcp::{MODERN_REVISION, Revision, code};
use crate::metrics::{Limit, Outcome, limit_hit};

mod startup;
#[cfg(test)]
mod tests;

pub use startup::StartupError;

/// Why a message was not accepted, or an accepted request was not answered by the child. Grouped by fault.
///
/// `Display` is the public message: fixed text and numbers, never a payload, a token or a session id.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum Reject {
    // --- the client's fault ---
    /// The body is not JSON, or not UTF-8; the text says where and what.
    #[error("parse error: {0}")]
    Parse(String),
    /// The body is JSON but not a JSON-RPC message that may stand here.
    #[error("invalid request: {0}")]
    InvalidRequest(String),
    /// A request's params are not what the method takes.
    #[error("invalid params: {0}")]
    InvalidParams(String),
    /// The client may not use what the request names, or there is no such thing: which of the two is not said.
    #[error("unknown {0}, or not allowed for this client")]
    NotAllowed(Named),
    /// `Content-Type` is not `application/json`.
    #[error("the request's Content-Type must be application/json")]
    UnsupportedMediaType,
    /// `Accept` admits nothing that mcp-mux can answer with.
    #[error("the Accept header must admit {0}")]
    NotAcceptable(&'static str),
    /// The path exists, the method does not.
    #[error("method not allowed; allowed: {0}")]
    MethodNotAllowed(&'static str),
    /// No such path.
    #[error("no such path")]
    NotFound,
    /// The path would be that of the only server, and there are several.
    #[error("several servers are served here: name one in the path, /servers/NAME/mcp; GET /servers lists them")]
    ServerUnnamed,
    /// The path names no server that is served.
    #[error("no such server; GET /servers lists those there are")]
    ServerUnknown,
    /// A request other than `initialize` without `Mcp-Session-Id`.
    #[error("the Mcp-Session-Id header is missing; send initialize first and use the session id of its answer")]
    SessionMissing,
    /// The session does not exist (any more).
    #[error("session not found; it may have expired: send initialize to open a new one")]
    SessionUnknown,
    /// The `MCP-Protocol-Version` header names no revision that is served.
    #[error("unsupported MCP-Protocol-Version; supported: 2024-11-05, 2025-03-26, 2025-06-18, 2025-11-25, 2026-07-28")]
    VersionUnsupported,
    /// `Last-Event-ID` names no stream of this session.
    #[error("Last-Event-ID does not name an event of this session")]
    EventUnknown,
    /// `Last-Event-ID` names the last event of a stream that has ended. Not 404, which would say that the session is
    /// gone, nor an empty stream, which clients take for another break: official clients give up quietly on this one.
    #[error("the stream of Last-Event-ID has ended: there is nothing after this event")]
    StreamEnded,
    /// No `Host`, or more than one (RFC 9112, 3.2).
    #[error("a request must have one Host header")]
    HostMissing,
    /// `Host` is not among the allowed ones.
    #[error("this Host is not allowed; allow it with --allow-host")]
    HostForbidden,
    /// `Origin` is not among the allowed ones.
    #[error("this Origin is not allowed; allow it with --allow-origin")]
    OriginForbidden,
    /// Nobody in particular, where one has to say who one is.
    #[error("authentication is required: send a token as `Authorization: Bearer`")]
    Unauthenticated,
    /// A credential that is not good; the text says why.
    #[error("not authenticated: {0}")]
    CredentialInvalid(String),
    /// A token without the scopes that are needed.
    #[error("the token lacks a scope that is needed here: {0}")]
    ScopeMissing(Arc<str>),
    // --- a limit ---
    /// The principal's requests come faster than they may.
    #[error("too many requests; try again in {retry_after:.1?} (--rate)")]
    RateLimited {
        /// When there is room again.
        retry_after: Duration,
    },
    /// The principal has too many sessions.
    #[error("you have {limit} sessions already (--principal-sessions-max)")]
    PrincipalSessions {
        /// The limit.
        limit: usize,
    },
    /// The principal has too many requests in flight, over all its sessions.
    #[error("you have {limit} requests in flight already (--principal-in-flight-max)")]
    PrincipalInFlight {
        /// The limit.
        limit: usize,
    },
    /// The request's head is larger than `--header-bytes-max`.
    #[error("the request's head is larger than {limit} bytes (--header-bytes-max)")]
    HeadTooLarge {
        /// The limit.
        limit: usize,
    },
    /// The request has more headers than `--headers-max`.
    #[error("the request has more than {limit} headers (--headers-max)")]
    TooManyHeaders {
        /// The limit.
        limit: usize,
    },
    /// The body is larger than `--body-bytes-max`.
    #[error("the request body is larger than {limit} bytes (--body-bytes-max)")]
    BodyTooLarge {
        /// The limit.
        limit: usize,
    },
    /// The body took too long to arrive.
    #[error("the request body did not arrive within {0:?} (--body-timeout)")]
    BodyTimeout(Duration),
    /// The session has too many requests in flight.
    #[error("this session has {limit} requests in flight already (--in-flight-max)")]
    InFlight {
        /// The limit.
        limit: usize,
    },
    /// Too many notifications and responses of the session wait for room in the child's input.
    #[error("this session has {limit} messages waiting for the server already (--messages-waiting-max)")]
    MessagesWaiting {
        /// The limit.
        limit: usize,
    },
    /// There are too many sessions.
    #[error("there are {limit} sessions already (--sessions-max)")]
    Sessions {
        /// The limit.
        limit: usize,
    },
    /// The child does not take its input fast enough.
    #[error("the server is too busy to take the request within {0:?} (--queue-timeout)")]
    QueueFull(Duration),
    /// There are as many children as there may be, and none came free in time.
    #[error("every one of the {limit} server processes is in use (--children-max); none came free within {waited:?}")]
    Children {
        /// The limit.
        limit: usize,
        /// How long the session waited.
        waited: Duration,
    },
    // --- the child's fault ---
    /// The child exited while the request was in flight.
    #[error("the server exited ({status}) before it answered")]
    ChildExited {
        /// The exit status in words: `exit status: 3`, `signal: 9 (SIGKILL)`.
        status: String,
        /// The exit code, if it exited.
        exit_code: Option<i32>,
        /// The signal, if one ended it.
        signal: Option<i32>,
        /// Its last lines on stderr, shared by all requests that were in flight.
        stderr: Arc<[String]>,
    },
    /// The child is not running, or its handshake does not stand in time.
    #[error("the server is not available: {0}")]
    ChildUnavailable(String),
    /// The child fails again and again, and is left alone for a while.
    #[error("the server has failed and is left alone for now; it is tried again in {retry_after:.0?}")]
    CircuitOpen {
        /// Until when.
        retry_after: Duration,
    },
    /// The child did not answer in time.
    #[error("{2} within {0:?} ({1})")]
    RequestTimeout(Duration, &'static str, Awaited),
    /// The child answered with something that cannot be passed on.
    #[error("the server's answer cannot be passed on: {0}")]
    ChildAnswerUnusable(String),
    // --- ours ---
    /// Who somebody is cannot be found out now.
    #[error("the keys that tokens are checked with cannot be had at the moment")]
    KeysUnavailable,
    /// mcp-mux is stopping.
    #[error("mcp-mux is shutting down")]
    ShuttingDown,
    /// The session was closed (by its client, its age or its idleness) while the request was in flight.
    #[error("the session was closed before the server answered")]
    SessionClosed,
    /// There was no room for the answer: in what is kept for a stream that nobody reads, or in what clients leave unread.
    #[error("the answer was not kept: {}, and there is no room for it in {limit} bytes ({flag})", unread_why(flag))]
    AnswerNotKept {
        /// The limit.
        limit: usize,
        /// Its flag.
        flag: &'static str,
    },
}

/// What a request names that its client may not use.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Named {
    /// A tool.
    #[error("tool")]
    Tool,
    /// A prompt.
    #[error("prompt")]
    Prompt,
    /// A resource.
    #[error("resource")]
    Resource,
    /// A resource that a client of a legacy revision wants itself: there is a code of its own for one that is missing.
    #[error("resource")]
    LegacyResource,
}

/// Who did not answer in time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Awaited {
    /// The child.
    #[error("the server did not answer")]
    Server,
    /// The client, which the child wants to be told something by before it goes on.
    #[error("the client did not answer what the server asks")]
    Client,
}

/// What a [`Reject`] looks like on the wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Wire {
    /// The HTTP status, where the reject is the whole answer.
    pub status: StatusCode,
    /// The JSON-RPC error code.
    pub code: i32,
    /// `data.kind`, a closed set of names for programs.
    pub kind: &'static str,
}

impl Reject {
    /// *The* table: HTTP status, JSON-RPC code and kind of every reject.
    pub const fn wire(&self) -> Wire {
        const fn wire(status: StatusCode, code: i32, kind: &'static str) -> Wire {
            Wire { status, code, kind }
        }
        match self {
            Self::Parse(_) => wire(StatusCode::BAD_REQUEST, code::PARSE_ERROR, "parse-error"),
            Self::InvalidRequest(_) => wire(StatusCode::BAD_REQUEST, code::INVALID_REQUEST, "invalid-request"),
            Self::InvalidParams(_) => wire(StatusCode::OK, code::INVALID_PARAMS, "invalid-params"),
            // spec: 2026-07-28 server/tools, server/prompts, server/resources, each Error Handling: as for what is not there.
            Self::NotAllowed(Named::Tool | Named::Prompt | Named::Resource) => {
                wire(StatusCode::OK, code::INVALID_PARAMS, "not-allowed")
            }
            // spec: 2025-11-25 server/resources, Error Handling
            Self::NotAllowed(Named::LegacyResource) => wire(StatusCode::OK, code::RESOURCE_NOT_FOUND, "not-allowed"),
            Self::UnsupportedMediaType => {
                wire(StatusCode::UNSUPPORTED_MEDIA_TYPE, code::INVALID_REQUEST, "unsupported-media-type")
            }
            Self::NotAcceptable(_) => wire(StatusCode::NOT_ACCEPTABLE, code::INVALID_REQUEST, "not-acceptable"),
            Self::MethodNotAllowed(_) => {
                wire(StatusCode::METHOD_NOT_ALLOWED, code::INVALID_REQUEST, "method-not-allowed")
            }
            Self::NotFound => wire(StatusCode::NOT_FOUND, code::INVALID_REQUEST, "not-found"),
            Self::ServerUnnamed => wire(StatusCode::NOT_FOUND, code::INVALID_REQUEST, "server-unnamed"),
            Self::ServerUnknown => wire(StatusCode::NOT_FOUND, code::INVALID_REQUEST, "server-unknown"),
            Self::SessionMissing => wire(StatusCode::BAD_REQUEST, code::INVALID_REQUEST, "session-missing"),
            Self::SessionUnknown => wire(StatusCode::NOT_FOUND, code::SESSION_UNKNOWN, "session-unknown"),
            Self::VersionUnsupported => wire(StatusCode::BAD_REQUEST, code::INVALID_REQUEST, "version-unsupported"),
            Self::EventUnknown => wire(StatusCode::BAD_REQUEST, code::INVALID_REQUEST, "event-unknown"),
            Self::StreamEnded => wire(StatusCode::METHOD_NOT_ALLOWED, code::INVALID_REQUEST, "stream-ended"),
            Self::HostMissing => wire(StatusCode::BAD_REQUEST, code::INVALID_REQUEST, "host-missing"),
            Self::HostForbidden => wire(StatusCode::FORBIDDEN, code::FORBIDDEN, "host-forbidden"),
            Self::OriginForbidden => wire(StatusCode::FORBIDDEN, code::FORBIDDEN, "origin-forbidden"),
            Self::Unauthenticated => wire(StatusCode::UNAUTHORIZED, code::UNAUTHENTICATED, "unauthenticated"),
            Self::CredentialInvalid(_) => wire(StatusCode::UNAUTHORIZED, code::UNAUTHENTICATED, "credential-invalid"),
            Self::ScopeMissing(_) => wire(StatusCode::FORBIDDEN, code::FORBIDDEN, "scope-missing"),
            Self::RateLimited { .. } => wire(StatusCode::TOO_MANY_REQUESTS, code::LIMIT_REACHED, "rate-limited"),
            Self::PrincipalSessions { .. } => {
                wire(StatusCode::TOO_MANY_REQUESTS, code::LIMIT_REACHED, "principal-sessions-limit")
            }
            Self::PrincipalInFlight { .. } => {
                wire(StatusCode::TOO_MANY_REQUESTS, code::LIMIT_REACHED, "principal-in-flight-limit")
            }
            Self::KeysUnavailable => wire(StatusCode::SERVICE_UNAVAILABLE, code::KEYS_UNAVAILABLE, "keys-unavailable"),
            Self::HeadTooLarge { .. } => {
                wire(StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE, code::LIMIT_REACHED, "head-too-large")
            }
            Self::TooManyHeaders { .. } => {
                wire(StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE, code::LIMIT_REACHED, "too-many-headers")
            }
            Self::BodyTooLarge { .. } => wire(StatusCode::PAYLOAD_TOO_LARGE, code::LIMIT_REACHED, "body-too-large"),
            Self::BodyTimeout(_) => wire(StatusCode::REQUEST_TIMEOUT, code::LIMIT_REACHED, "body-timeout"),
            Self::InFlight { .. } => wire(StatusCode::SERVICE_UNAVAILABLE, code::LIMIT_REACHED, "in-flight-limit"),
            Self::MessagesWaiting { .. } => {
                wire(StatusCode::SERVICE_UNAVAILABLE, code::LIMIT_REACHED, "messages-waiting")
            }
            Self::Sessions { .. } => wire(StatusCode::SERVICE_UNAVAILABLE, code::LIMIT_REACHED, "sessions-limit"),
            Self::Children { .. } => wire(StatusCode::SERVICE_UNAVAILABLE, code::LIMIT_REACHED, "children-limit"),
            Self::QueueFull(_) => wire(StatusCode::SERVICE_UNAVAILABLE, code::LIMIT_REACHED, "queue-full"),
            Self::ChildExited { .. } => wire(StatusCode::OK, code::CHILD_EXITED, "child-exited"),
            Self::ChildUnavailable(_) => {
                wire(StatusCode::SERVICE_UNAVAILABLE, code::CHILD_UNAVAILABLE, "child-unavailable")
            }
            Self::CircuitOpen { .. } => wire(StatusCode::SERVICE_UNAVAILABLE, code::CHILD_UNAVAILABLE, "circuit-open"),
            Self::RequestTimeout(..) => wire(StatusCode::OK, code::REQUEST_TIMEOUT, "request-timeout"),
            Self::ChildAnswerUnusable(_) => wire(StatusCode::OK, code::CHILD_ANSWER_UNUSABLE, "child-answer-unusable"),
            Self::ShuttingDown => wire(StatusCode::SERVICE_UNAVAILABLE, code::SHUTTING_DOWN, "shutting-down"),
            Self::SessionClosed => wire(StatusCode::NOT_FOUND, code::SESSION_UNKNOWN, "session-closed"),
            Self::AnswerNotKept { .. } => wire(StatusCode::OK, code::LIMIT_REACHED, "answer-not-kept"),
        }
    }

    /// What the metrics count the request as.
    pub const fn outcome(&self) -> Outcome {
        match self {
            Self::Parse(_)
            | Self::InvalidRequest(_)
            | Self::InvalidParams(_)
            | Self::UnsupportedMediaType
            | Self::NotAcceptable(_)
            | Self::MethodNotAllowed(_)
            | Self::NotFound
            | Self::ServerUnnamed
            | Self::ServerUnknown
            | Self::SessionMissing
            | Self::VersionUnsupported
            | Self::EventUnknown
            | Self::StreamEnded
            | Self::HostMissing => Outcome::Invalid,
            Self::NotAllowed(_)
            | Self::HostForbidden
            | Self::OriginForbidden
            | Self::Unauthenticated
            | Self::CredentialInvalid(_)
            | Self::ScopeMissing(_) => Outcome::Denied,
            Self::SessionUnknown => Outcome::SessionUnknown,
            // Its client's own limits.
            Self::RateLimited { .. }
            | Self::PrincipalSessions { .. }
            | Self::PrincipalInFlight { .. }
            | Self::HeadTooLarge { .. }
            | Self::TooManyHeaders { .. }
            | Self::BodyTooLarge { .. }
            | Self::BodyTimeout(_)
            | Self::InFlight { .. }
            | Self::MessagesWaiting { .. } => Outcome::Limited,
            // Those of all together.
            Self::Sessions { .. } | Self::Children { .. } | Self::QueueFull(_) | Self::AnswerNotKept { .. } => {
                Outcome::Overloaded
            }
            Self::ChildExited { .. } => Outcome::ChildExited,
            Self::ChildUnavailable(_) | Self::CircuitOpen { .. } | Self::KeysUnavailable => Outcome::ChildUnavailable,
            Self::RequestTimeout(..) => Outcome::Timeout,
            Self::ChildAnswerUnusable(_) => Outcome::Unusable,
            Self::ShuttingDown | Self::SessionClosed => Outcome::ShuttingDown,
        }
    }

    /// The limit that was reached, where one was.
    pub fn limit(&self) -> Option<Limit> {
        #[expect(clippy::wildcard_enum_match_arm, reason = "no other is a limit's")]
        match self {
            Self::HeadTooLarge { .. } => Some(Limit::HeaderBytesMax),
            Self::TooManyHeaders { .. } => Some(Limit::HeadersMax),
            Self::BodyTooLarge { .. } => Some(Limit::BodyBytesMax),
            Self::BodyTimeout(_) => Some(Limit::BodyTimeout),
            Self::InFlight { .. } => Some(Limit::InFlightMax),
            Self::MessagesWaiting { .. } => Some(Limit::MessagesWaitingMax),
            Self::RateLimited { .. } => Some(Limit::Rate),
            Self::PrincipalSessions { .. } => Some(Limit::PrincipalSessionsMax),
            Self::PrincipalInFlight { .. } => Some(Limit::PrincipalInFlightMax),
            Self::CredentialInvalid(_) | Self::ScopeMissing(_) => Some(Limit::CredentialRefused),
            Self::Sessions { .. } => Some(Limit::SessionsMax),
            Self::QueueFull(_) => Some(Limit::QueueTimeout),
            Self::Children { .. } => Some(Limit::ChildrenMax),
            Self::RequestTimeout(_, "--request-timeout-max", _) => Some(Limit::RequestTimeoutMax),
            Self::RequestTimeout(..) => Some(Limit::RequestTimeout),
            Self::AnswerNotKept { flag: UNREAD_TOTAL, .. } => Some(Limit::UnreadTotalBytesMax),
            Self::AnswerNotKept { .. } => Some(Limit::ReplayBytes),
            _ => None,
        }
    }

    /// What may be asked instead, where the method is what is wrong (`Allow`; RFC 9110, 15.5.6).
    pub const fn allowed_methods(&self) -> Option<&'static str> {
        #[expect(clippy::wildcard_enum_match_arm, reason = "the method is right in the others")]
        match self {
            Self::MethodNotAllowed(allowed) => Some(allowed),
            // A GET is right, but this one can give nothing.
            Self::StreamEnded => Some("POST, DELETE"),
            _ => None,
        }
    }

    /// Counts the limit that was reached. For whoever keeps the limit, once for each message it refuses.
    #[must_use]
    pub fn counted(self) -> Self {
        if let Some(limit) = self.limit() {
            limit_hit(limit);
        }
        self
    }

    /// How long a client should wait before it tries again, where trying again makes sense (`Retry-After`).
    pub fn retry_after(&self) -> Option<Duration> {
        if !matches!(self.wire().status, StatusCode::SERVICE_UNAVAILABLE | StatusCode::TOO_MANY_REQUESTS) {
            return None;
        }
        let wait = if let Self::CircuitOpen { retry_after } | Self::RateLimited { retry_after } = self {
            *retry_after
        } else {
            Duration::from_secs(1)
        };
        // The header counts whole seconds.
        Some(Duration::from_secs(wait.as_secs() + u64::from(wait.subsec_nanos() > 0)))
    }

    /// The `data` of the JSON-RPC error: `source` and `kind`, so that a client can tell mcp-mux's errors from the
    /// server's, and what else a program may want to know.
    pub fn data(&self) -> Value {
        let mut data = Map::new();
        data.insert("source".to_owned(), json!("mcp-mux"));
        data.insert("kind".to_owned(), json!(self.wire().kind));
        let mut add = |key: &str, value: Value| {
            data.insert(key.to_owned(), value);
        };
        #[expect(clippy::wildcard_enum_match_arm, reason = "most rejects have nothing to add")]
        match self {
            Self::HeadTooLarge { limit } => {
                add("limit", json!("header-bytes-max"));
                add("value", json!(limit));
            }
            Self::TooManyHeaders { limit } => {
                add("limit", json!("headers-max"));
                add("value", json!(limit));
            }
            Self::BodyTooLarge { limit } => {
                add("limit", json!("body-bytes-max"));
                add("value", json!(limit));
            }
            Self::InFlight { limit } => {
                add("limit", json!("in-flight-max"));
                add("value", json!(limit));
            }
            Self::RateLimited { .. } => add("limit", json!("rate")),
            Self::PrincipalSessions { limit } => {
                add("limit", json!("principal-sessions-max"));
                add("value", json!(limit));
            }
            Self::PrincipalInFlight { limit } => {
                add("limit", json!("principal-in-flight-max"));
                add("value", json!(limit));
            }
            Self::Sessions { limit } => {
                add("limit", json!("sessions-max"));
                add("value", json!(limit));
            }
            Self::Children { limit, .. } => {
                add("limit", json!("children-max"));
                add("value", json!(limit));
            }
            Self::VersionUnsupported => {
                let served = Revision::ALL.map(Revision::as_str).into_iter().chain([MODERN_REVISION]);
                add("supported", served.collect());
            }
            Self::ChildExited { exit_code, signal, stderr, .. } => {
                if let Some(exit_code) = exit_code {
                    add("exitCode", json!(exit_code));
                }
                if let Some(signal) = signal {
                    add("signal", json!(signal));
                }
                add("stderr", json!(&**stderr));
            }
            _ => {}
        }
        Value::Object(data)
    }

    /// The value of the `error` member.
    pub fn error_object(&self) -> Value {
        json!({"code": self.wire().code, "message": self.to_string(), "data": self.data()})
    }
}

/// Why there may be no room for an answer, by the flag of the limit.
fn unread_why(flag: &str) -> &'static str {
    if flag == UNREAD_TOTAL { "too much is unread already" } else { "nobody read the stream" }
}

/// The flag of [`Reject::AnswerNotKept`] where the client may well be there.
pub(crate) const UNREAD_TOTAL: &str = "--unread-total-bytes-max";
