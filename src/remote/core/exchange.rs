//! One thing that is done over HTTP until it is done.

use std::time::Duration;

use tokio::time::Instant;

use super::{ExchangeId, Head};
use crate::jsonrpc::{Message, RawId};

/// What an exchange is for.
#[derive(Clone, Debug)]
pub(super) enum Purpose {
    /// A request of the client.
    Request {
        /// Its id.
        id: RawId,
        /// Its method.
        method: Box<str>,
    },
    /// A notification of the client, or its answer to a question.
    Message,
    /// The stream of what belongs to no request (Streamable HTTP with sessions).
    Stream,
    /// The one stream of HTTP+SSE.
    Source,
    /// The `initialize` with which a session is opened again.
    Reopen,
    /// What the new session is to be told.
    Replay,
    /// The tools are asked for, so that the request of that exchange can be sent with the right headers.
    Tools(ExchangeId),
    /// The end of the session.
    Delete,
    /// Answered; nothing but the end of its stream is waited for.
    Over,
}

impl Purpose {
    /// The client's request.
    pub(super) fn request(&self) -> Option<(&RawId, &str)> {
        match self {
            Self::Request { id, method } => Some((id, method)),
            Self::Message
            | Self::Stream
            | Self::Source
            | Self::Reopen
            | Self::Replay
            | Self::Tools(_)
            | Self::Delete
            | Self::Over => None,
        }
    }
}

/// One exchange.
#[derive(Debug)]
pub(super) struct Exchange {
    pub(super) purpose: Purpose,
    /// What is posted, if it is.
    pub(super) message: Option<Message>,
    /// Of which session.
    pub(super) epoch: u64,
    /// Whether that session was named in what was sent last.
    pub(super) in_session: bool,
    /// Whether its message was moved here from a session that was gone.
    pub(super) moved: bool,
    /// The head of the answer that is being read.
    pub(super) head: Option<Head>,
    /// The last event that came, behind which its stream can be taken up.
    pub(super) last_event: Option<Box<str>>,
    /// How long the server wants to be left alone first.
    pub(super) retry: Option<Duration>,
    /// When it was sent last.
    pub(super) launched: Option<Instant>,
    /// Attempts in a row that came to nothing, and since when.
    pub(super) attempts: u32,
    pub(super) failing_since: Option<Instant>,
    /// Whether the log has it that it is tried again.
    pub(super) warned: bool,
    /// When something has to be done; what, `step` says.
    pub(super) due: Option<Instant>,
    pub(super) step: Step,
    /// A subscription's: the client was told that it stands.
    pub(super) acknowledged: bool,
    /// The server wants other headers; what it said.
    pub(super) refusal: Option<Message>,
}

/// What is being waited for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// The server. Due: it takes too long.
    Sent,
    /// Due: the time to send it (again).
    Backoff,
    /// Something else that comes first.
    Parked,
}

impl Exchange {
    pub(super) const fn new(purpose: Purpose, message: Option<Message>, epoch: u64) -> Self {
        Self {
            purpose,
            message,
            epoch,
            in_session: false,
            moved: false,
            head: None,
            last_event: None,
            retry: None,
            launched: None,
            attempts: 0,
            failing_since: None,
            warned: false,
            due: None,
            step: Step::Parked,
            acknowledged: false,
            refusal: None,
        }
    }

    /// Something came: what failed before does not count any more.
    pub(super) const fn succeeded(&mut self) {
        self.attempts = 0;
        self.failing_since = None;
    }

    /// How long the server may take; none: as long as the client waits.
    pub(super) const fn patience(&self) -> Option<Duration> {
        match self.purpose {
            Purpose::Request { .. } | Purpose::Stream => None,
            Purpose::Message | Purpose::Source | Purpose::Reopen | Purpose::Replay | Purpose::Tools(_) => {
                Some(PATIENCE)
            }
            Purpose::Delete => Some(FAREWELL),
            Purpose::Over => Some(LEFTOVER),
        }
    }
}

/// For what nobody else sees to that it ends.
const PATIENCE: Duration = Duration::from_secs(30);
/// For the end of the session, which nobody waits for gladly.
const FAREWELL: Duration = Duration::from_secs(2);
/// For the end of a stream after the answer: so that its connection can be used again.
const LEFTOVER: Duration = Duration::from_secs(1);
