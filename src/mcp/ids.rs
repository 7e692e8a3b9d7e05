//! The table of every place in a message that carries an id of one of the two sides, and so must be rewritten on the
//! way through. A `taskId` is the server's own handle: it is scoped to its session, never rewritten.
//!
//! | place | in | names |
//! |---|---|---|
//! | `id` | requests and responses, both directions | the request |
//! | `params._meta.progressToken` | requests, both directions | where progress goes |
//! | `params.progressToken` | `notifications/progress`, both directions | the request that gave the token |
//! | `params.requestId` | `notifications/cancelled`, both directions | the request to cancel |
//! | `params._meta["io.modelcontextprotocol/subscriptionId"]` | modern notifications | the `subscriptions/listen` request |
//! | `result._meta["io.modelcontextprotocol/subscriptionId"]` | modern result of `subscriptions/listen` | likewise |

/// `_meta.progressToken` (2025-11-25, Progress).
pub const PROGRESS_TOKEN: &str = "progressToken";
/// `_meta` key whose `taskId` names the task a message belongs to (2025-11-25, Tasks, Related Task Metadata).
pub const RELATED_TASK: &str = "io.modelcontextprotocol/related-task";
/// Keys of a modern request's or result's `_meta` (2026-07-28, Overview, `_meta`).
pub mod meta {
    #![expect(missing_docs, reason = "the names are the specification's")]
    pub const PROTOCOL_VERSION: &str = "io.modelcontextprotocol/protocolVersion";
    pub const CLIENT_INFO: &str = "io.modelcontextprotocol/clientInfo";
    pub const CLIENT_CAPABILITIES: &str = "io.modelcontextprotocol/clientCapabilities";
    pub const LOG_LEVEL: &str = "io.modelcontextprotocol/logLevel";
    pub const SUBSCRIPTION_ID: &str = "io.modelcontextprotocol/subscriptionId";
    pub const SERVER_INFO: &str = "io.modelcontextprotocol/serverInfo";
}

/// The members of `params` that the proxy reads; the scanner records where their values are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(usize)]
pub enum Param {
    /// `_meta`, an object.
    Meta,
    /// `progressToken` of `notifications/progress`.
    ProgressToken,
    /// `requestId` of `notifications/cancelled`.
    RequestId,
    /// `uri` of the resource methods.
    Uri,
    /// `level` of the logging methods.
    Level,
    /// `taskId` of the task methods.
    TaskId,
    /// `task`: the request is to be run as a task.
    Task,
    /// `mode` of an elicitation.
    Mode,
    /// `elicitationId` of a URL elicitation.
    ElicitationId,
    /// `protocolVersion` of `initialize`.
    ProtocolVersion,
    /// `status` of `notifications/tasks/status`.
    Status,
}

impl Param {
    /// How many there are.
    pub const COUNT: usize = 11;
    /// All, in the order of their discriminants.
    pub const ALL: [Self; Self::COUNT] = [
        Self::Meta,
        Self::ProgressToken,
        Self::RequestId,
        Self::Uri,
        Self::Level,
        Self::TaskId,
        Self::Task,
        Self::Mode,
        Self::ElicitationId,
        Self::ProtocolVersion,
        Self::Status,
    ];

    /// Whether its value names something that may be another session's, so that not even a spelling of the name that
    /// only some servers take for it (`requestid`) may pass unseen.
    pub const fn names_something(self) -> bool {
        matches!(self, Self::Meta | Self::ProgressToken | Self::RequestId | Self::Uri | Self::TaskId)
    }

    /// The member's name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Meta => "_meta",
            Self::ProgressToken => PROGRESS_TOKEN,
            Self::RequestId => "requestId",
            Self::Uri => "uri",
            Self::Level => "level",
            Self::TaskId => "taskId",
            Self::Task => "task",
            Self::Mode => "mode",
            Self::ElicitationId => "elicitationId",
            Self::ProtocolVersion => "protocolVersion",
            Self::Status => "status",
        }
    }
}
