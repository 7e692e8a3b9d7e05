//! What a request is to the router, and what of it is the router's own: found out once, when it is accepted.

use crate::error::Reject;
use crate::jsonrpc::{ID_BYTES_MAX, Message, RawId, Span};
use crate::mcp::ids::{PROGRESS_TOKEN, Param};
use crate::mcp::{LogLevel, method};
use crate::metrics::{Limit, limit_hit};

/// What a request is to the router, found out once when it is accepted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Purpose {
    /// Passed on, and so is its answer.
    Plain,
    /// `initialize`: answered from the child's handshake, or by a child of the session's own; cannot be cancelled.
    Initialize,
    /// `logging/setLevel`.
    SetLevel(LogLevel),
    /// `resources/subscribe`.
    Subscribe(String),
    /// `resources/unsubscribe`.
    Unsubscribe(String),
    /// Passed on; the task that the answer names belongs to the session.
    CreatesTask,
    /// `tasks/get`, `tasks/cancel`: passed on if the task is the session's.
    Task(String),
    /// `tasks/result`: likewise, and then there is nothing more to be had of the task.
    TaskResult(String),
    /// Passed on to a modern child, which may want to be told something first.
    MayAsk,
    /// `tools/call`: likewise, and its result is another to a legacy client.
    CallsTool,
    /// `tools/list` of a modern child: its result is another to a legacy client.
    ListsTools,
    /// `resources/read`: likewise, and a resource that is missing has another error there.
    Reads,
    /// A modern client's `subscriptions/listen`: stays open, and outlives the process.
    Listen,
    /// `tasks/list`: of the answer, what belongs to the session.
    ListsTasks,
}

impl Purpose {
    /// Whether the child may want to be told something first.
    pub(super) const fn may_ask(&self) -> bool {
        matches!(self, Self::MayAsk | Self::CallsTool | Self::Reads)
    }

    /// What a request is to the router of a shared child.
    ///
    /// # Errors
    /// [`Reject::InvalidParams`] where mcp-mux itself needs a parameter. What only the child needs, the child checks.
    pub(super) fn of(message: &Message) -> Result<Self, Reject> {
        let invalid = |what: &str| Reject::InvalidParams(what.to_owned());
        let text = |param| message.param_str(param).map(std::borrow::Cow::into_owned);
        Ok(match message.method() {
            method::INITIALIZE => match text(Param::ProtocolVersion) {
                Some(_) => Self::Initialize,
                None => return Err(invalid("protocolVersion must be a string, such as \"2025-11-25\"")),
            },
            method::SET_LEVEL => match text(Param::Level).as_deref().and_then(LogLevel::from_name) {
                Some(level) => Self::SetLevel(level),
                None => {
                    return Err(invalid(
                        "level must be one of debug, info, notice, warning, error, critical, alert, emergency",
                    ));
                }
            },
            method::SUBSCRIBE | method::UNSUBSCRIBE => match text(Param::Uri) {
                Some(uri) if uri.len() > URI_BYTES_MAX => {
                    limit_hit(Limit::MessageForm);
                    return Err(invalid(&format!("uri must not be longer than {URI_BYTES_MAX} bytes")));
                }
                Some(uri) if message.method() == method::SUBSCRIBE => Self::Subscribe(uri),
                Some(uri) => Self::Unsubscribe(uri),
                None => Self::Plain,
            },
            method::TASKS_RESULT => text(Param::TaskId).map_or(Self::Plain, Self::TaskResult),
            method::TASKS_GET | method::TASKS_CANCEL => text(Param::TaskId).map_or(Self::Plain, Self::Task),
            method::TASKS_LIST => Self::ListsTasks,
            _ if message.param(Param::Task).is_some() => Self::CreatesTask,
            _ => Self::Plain,
        })
    }
}

/// The request's progress token and its place. What is neither a string nor a number is no token and stays as it is.
pub(super) fn progress_token(message: &Message) -> Result<Option<(Span, RawId)>, Reject> {
    let Some(meta) = message.param(Param::Meta) else { return Ok(None) };
    let token = message.member(meta, PROGRESS_TOKEN);
    let token = token.map_err(|_| Reject::InvalidRequest("params._meta.progressToken occurs twice".to_owned()))?;
    let Some(span) = token else { return Ok(None) };
    let text = message.text(span);
    if text.len() > ID_BYTES_MAX {
        limit_hit(Limit::MessageForm);
        let what = format!("params._meta.progressToken must not be longer than {ID_BYTES_MAX} bytes");
        return Err(Reject::InvalidRequest(what));
    }
    let usable = text.starts_with(|first: char| first == '"' || first == '-' || first.is_ascii_digit());
    Ok(usable.then(|| (span, RawId::from_json(text))))
}

/// The longest URI that can be subscribed to.
const URI_BYTES_MAX: usize = 8192;
