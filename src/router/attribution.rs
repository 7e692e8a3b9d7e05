//! To whom something belongs that the child sent without saying so.
//!
//! On stdio a legacy server's questions and log messages carry no reference to the request they came from. What names a
//! task or a progress token of ours is exact; otherwise there must be just one session it can belong to.
//!
//! A request that was cancelled may still be at work in the child: what it asks is nobody else's. So it stands in the way
//! of requests that were in flight when it was cancelled. The child reads in order, and has read the cancellation before
//! later ones; but that need not have stopped the work. What it says at once when it was told something for a later one
//! is that one's, what it says at any other time is nobody's. Except that a request on its way out still logs: for a moment
//! log messages are nobody's. How long that is depends on when the child has read the cancellation, so a child that logs is
//! sent a `ping` after it.

use std::time::Duration;

use tokio::time::Instant;

use super::Router;
use super::id_table::ChildId;
use super::io::{SessionKey, StreamId};
use super::need::Need;
use crate::jsonrpc::{Duplicate, Message, RawId};
use crate::mcp::ids::{PROGRESS_TOKEN, Param, RELATED_TASK};

/// Why something belongs to nobody.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Unattributed {
    /// It names a task or a request that is gone.
    Gone,
    /// It names a session that did not declare the capability.
    Undeclared,
    /// No session that declared the capability has a request in flight.
    Nobody,
    /// Several do, or did until a moment ago.
    Several,
}

/// How long a cancelled request may go on logging what it has to say about that, if the child does not show that it has
/// heard of the cancellation.
pub(super) const LAST_WORDS: Duration = Duration::from_secs(1);

/// The same from when it has shown that.
pub(super) const LAST_WORDS_WHEN_HEARD: Duration = Duration::from_millis(100);

/// What the child says so soon after it was told something is about that, even if a cancelled request of somebody else may
/// still be at work.
const AT_ONCE: Duration = Duration::from_millis(250);

impl Router {
    /// The session and stream that a question or log message of the child belongs to.
    pub(super) fn attribute(
        &self,
        message: &Message,
        need: Need,
        now: Instant,
    ) -> Result<(SessionKey, StreamId), Unattributed> {
        if self.is_private() {
            return self.tenant().map(|session| self.stream_of(session)).ok_or(Unattributed::Nobody);
        }
        if let Some(session) = self.named_session(message)? {
            return if self.meets(session, need) { Ok(self.stream_of(session)) } else { Err(Unattributed::Undeclared) };
        }
        let mut busy = self.requests.busy_sessions().filter(|session| self.meets(*session, need));
        let only = busy.next().ok_or(Unattributed::Nobody)?;
        if busy.next().is_some() {
            return Err(Unattributed::Several);
        }
        let newest = self.requests.newest_written(only).map(|request| request.order);
        let at_once = self.requests.last_addressed(only).is_some_and(|at| now < at + AT_ONCE);
        let may_be_anothers = self.cancelled.sessions().any(|(session, remembered)| {
            let later = newest > Some(remembered.written_before);
            let last_words = matches!(need, Need::Log | Need::Nothing) && now < remembered.logs_until;
            let met = need.is_met_by(remembered.capabilities) && (need != Need::Log || remembered.logs);
            session != Some(only) && met && (!later || last_words || !at_once)
        });
        if may_be_anothers { Err(Unattributed::Several) } else { Ok(self.stream_of(only)) }
    }

    /// The session of the task or of the progress token that the message names.
    fn named_session(&self, message: &Message) -> Result<Option<SessionKey>, Unattributed> {
        let Some(meta) = message.param(Param::Meta) else { return Ok(None) };
        if let Some(task) = Self::related_task(message).map_err(|_| Unattributed::Gone)? {
            return self.tasks.owner(&task).map(Some).ok_or(Unattributed::Gone);
        }
        let Some(token) = message.member(meta, PROGRESS_TOKEN).map_err(|_| Unattributed::Gone)? else {
            return Ok(None);
        };
        // Any other token is the child's own, for progress towards it.
        let Some(id) = ChildId::from_token(message.text(token)) else { return Ok(None) };
        self.requests.get(id).map(|request| Some(request.origin.session)).ok_or(Unattributed::Gone)
    }

    /// Whether a session's message names a task that is another's.
    pub(super) fn names_anothers_task(&self, session: SessionKey, message: &Message) -> bool {
        !self.is_private() && self.names_task(message, |owner| owner != session)
    }

    /// Whether a message names a task with such an owner, by `taskId` or as what it is related to.
    pub(super) fn names_task(&self, message: &Message, such: impl Fn(SessionKey) -> bool) -> bool {
        if self.tasks.is_empty() {
            return false;
        }
        let such = |task: &str| self.tasks.owner(task).is_some_and(&such);
        message.param_str(Param::TaskId).is_some_and(|task| such(&task))
            || match Self::related_task(message) {
                Ok(task) => task.is_some_and(|task| such(&task)),
                Err(_) => true,
            }
    }

    /// Whether the session may ask for this task.
    pub(super) fn may_use_task(&self, session: SessionKey, task: &str) -> bool {
        self.is_private() || self.tasks.owner(task) == Some(session)
    }

    /// Whether the session declares what is needed.
    pub(super) fn meets(&self, session: SessionKey, need: Need) -> bool {
        let declares = |profile: &super::Profile| need.is_met_by(profile.capabilities);
        self.sessions.get(&session).is_some_and(declares) && (need != Need::Log || self.asks_for_logs(session))
    }

    /// The stream of the session's newest request, else its standalone one.
    pub(super) fn stream_of(&self, session: SessionKey) -> (SessionKey, StreamId) {
        let newest = self.requests.newest_written(session);
        (session, newest.map_or(StreamId::STANDALONE, |request| request.origin.stream))
    }

    /// The task that a message says it is related to. One that is given, but not as the specification has it, has no
    /// name and so no owner.
    pub(super) fn related_task(message: &Message) -> Result<Option<String>, Duplicate> {
        let Some(meta) = message.param(Param::Meta) else { return Ok(None) };
        let related = message.member(meta, RELATED_TASK)?;
        Ok(related.map(|span| super::tasks::task_id(message.text(span)).unwrap_or_default()))
    }

    /// The progress token that a request of the child came with.
    pub(super) fn child_token(message: &Message) -> Option<RawId> {
        let token = message.member(message.param(Param::Meta)?, PROGRESS_TOKEN).ok()??;
        Some(RawId::from_json(message.text(token)))
    }
}
