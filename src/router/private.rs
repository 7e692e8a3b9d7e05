//! A legacy child of one session's own ([`Sharing::Private`]): what is different where there is nobody to be kept apart from.
//!
//! As on a pipe between the two. The client introduces itself, with the capabilities it has, and whatever the child sends
//! is the client's. Between them stay the ids (the process may be replaced by another one, under which answers must find
//! their way too), `ping`, which tells of this connection and not of the one behind it, and the memory of what the next
//! process has to be told.
//!
//! (To a modern child each request brings its client's own words, so that there a child of one session's own is one that
//! is shared by one.)
//!
//! `Sharing` is asked here, where the other files name what they want to know.

use tokio::time::Instant;

use super::handshake::Introduction;
use super::id_table::ChildId;
use super::in_flight::Phase;
use super::io::{Payload, SessionKey, Sharing, Stage, StreamId};
use super::purpose::Purpose;
use super::questions::Scope;
use super::subscriptions::Verdict;
use super::{Router, with_id};
use crate::config::{OnAmbiguous, RouterConfig};
use crate::error::Reject;
use crate::jsonrpc::Message;
use crate::mcp::method;
use crate::metrics::{Limit, limit_hit};

impl Sharing {
    /// What of the configuration applies. Where there is one session no question is ambiguous, and turns keep nothing
    /// apart.
    pub(super) fn configure(self, config: RouterConfig) -> RouterConfig {
        match self {
            Self::Shared => config,
            Self::Private => RouterConfig { on_ambiguous: OnAmbiguous::Reject, ..config },
        }
    }

    /// How a process is introduced to before anybody has said anything.
    pub(super) const fn introduction(self, config: &RouterConfig) -> Option<Introduction> {
        match self {
            Self::Shared => Some(Introduction::Ours(config.client_capabilities)),
            Self::Private => None,
        }
    }

    /// What a request is to the router.
    ///
    /// # Errors
    /// As [`Purpose::of`]; none where everything is for the child to judge.
    pub(super) fn purpose_of(self, message: &Message) -> Result<Purpose, Reject> {
        match self {
            Self::Shared => Purpose::of(message),
            Self::Private if message.method() == method::INITIALIZE => Ok(Purpose::Initialize),
            Self::Private => Ok(match Purpose::of(message) {
                Ok(Purpose::ListsTasks) | Err(_) => Purpose::Plain,
                Ok(purpose) => purpose,
            }),
        }
    }

    /// What a question lives as long as.
    pub(super) const fn scope(self, of_task: bool) -> Scope {
        match self {
            Self::Private => Scope::Session,
            Self::Shared if of_task => Scope::Task,
            Self::Shared => Scope::Requests,
        }
    }
}

impl Router {
    pub(super) fn is_private(&self) -> bool {
        self.sharing == Sharing::Private
    }

    /// The session whose own the child is, while it is attached.
    pub(super) fn tenant(&self) -> Option<SessionKey> {
        self.sessions.keys().next().copied().filter(|_| self.is_private())
    }

    /// Whether a request of that purpose can be handed out at this stage.
    pub(super) fn takes(&self, purpose: &Purpose) -> bool {
        match self.stage() {
            Stage::Ready => true,
            Stage::Waiting => *purpose == Purpose::Initialize,
            Stage::Down | Stage::Handshake => false,
        }
    }

    /// Writes the `initialize` of a process that was started, if it is ours to write.
    pub(super) fn introduce(&mut self) {
        let id = self.requests.fresh_id();
        if let Some(initialize) = self.handshake.start(id) {
            self.tell_child(initialize);
        }
    }

    /// Forwards a client's `initialize`: nothing but the envelope's id is replaced.
    pub(super) fn forward_initialize(&mut self, id: ChildId) {
        let Some(message) = self.requests.leave_queue(id, Phase::Written) else { return };
        self.queue.remove_bytes(message.bytes().len());
        self.handshake.expect(id, Introduction::of_client(&message));
        self.tell_child(with_id(&message, id.text()));
    }

    /// Whether this is a client's `initialize` that the child has.
    pub(super) fn is_clients_introduction(&self, id: ChildId) -> bool {
        self.handshake.awaits(id) && self.written_by(id).is_some()
    }

    /// The child answered its client's own `initialize`. A refusal is the client's to deal with: the process is none the
    /// worse for it.
    pub(super) fn client_introduced(&mut self, id: ChildId, message: &Message, now: Instant) {
        let Some(session) = self.written_by(id) else { return };
        let revision = self.handshake.answered_client(message);
        self.settle(id, |request| {
            let frame = with_id(message, request.client_id.as_str());
            match revision {
                Some(revision) => Payload::Initialized(frame, revision),
                None => Payload::Response(frame),
            }
        });
        if let Some(revision) = revision {
            self.open(session, revision, now);
        }
        self.pump(now);
    }

    /// The child answered a request about the session's state; the next process is to be told the same.
    pub(super) fn keep_state(&mut self, session: SessionKey, purpose: &Purpose, answer: &Message) {
        if !self.is_private() || answer.result().is_none() {
            return;
        }
        match purpose {
            Purpose::SetLevel(level) => {
                // The child has it already.
                let _ = self.levels.put(session, Some(Some(*level)));
            }
            Purpose::Subscribe(uri) => {
                match self.subscriptions.subscribe(session, uri, self.config.bounds.subscriptions_max) {
                    Verdict::TooMany => {
                        limit_hit(Limit::SubscriptionsMax);
                        tracing::warn!("too many subscriptions: one will not outlive the process");
                    }
                    Verdict::Done | Verdict::TellChild | Verdict::Follow(_) => self.subscriptions.enroll(session, uri),
                }
            }
            Purpose::Unsubscribe(uri) => {
                let _ = self.subscriptions.unsubscribe(session, uri);
            }
            Purpose::Plain
            | Purpose::MayAsk
            | Purpose::Reads
            | Purpose::Listen
            | Purpose::Initialize
            | Purpose::CreatesTask
            | Purpose::Task(_)
            | Purpose::TaskResult(_)
            | Purpose::ListsTasks
            | Purpose::CallsTool
            | Purpose::ListsTools => {}
        }
    }

    /// Whether the child has a request whose answer is going to be kept.
    pub(super) fn is_state_changing(&self) -> bool {
        let kept = |purpose: &Purpose| {
            matches!(purpose, Purpose::SetLevel(_) | Purpose::Subscribe(_) | Purpose::Unsubscribe(_))
        };
        self.is_private() && self.requests.any_written(kept)
    }

    /// A notification of the child, whatever it is: its session's.
    pub(super) fn tell_tenant(&mut self, message: &Message) {
        let Some(session) = self.tenant().filter(|session| self.may_be_told(*session, message)) else { return };
        let stream = match message.method() {
            method::TOOLS_LIST_CHANGED
            | method::PROMPTS_LIST_CHANGED
            | method::RESOURCES_LIST_CHANGED
            | method::RESOURCE_UPDATED
            | method::ELICITATION_COMPLETE => StreamId::STANDALONE,
            _ => self.stream_of(session).1,
        };
        self.notify(session, stream, message);
    }
}
