//! What is different for a child of the modern era (2026-07-28), and the translation for legacy sessions on it.
//!
//! A modern child knows no sessions: each request brings its client's words with it, the child asks by answering, and what
//! it tells unasked belongs to a `subscriptions/listen`. So there is nothing to introduce a client with or to replay for
//! it, and `--isolation` changes nothing of how it is spoken to.
//!
//! - `words`: what is put into a legacy session's requests, and taken out of the answers; `structured`: the results of tools
//!   among them;
//! - `rounds`: what the child wants to be told before it goes on (`input_required`);
//! - `listen`: mcp-mux's own subscription, on behalf of all legacy sessions, and those of modern clients;
//! - `kept`: results that the child need not be asked for again;
//! - `discover`: the handshake.
//!
//! A modern client's exchange passes through: ids, progress token and `subscriptionId` are replaced, and nothing else.
//!
//! `Era` is asked here, where the other files name what they want to know. DESIGN section 5, "Legacy client, modern child".

pub(super) mod discover;
mod kept;
mod listen;
mod rounds;
#[cfg(test)]
mod scenarios;
mod structured;
mod words;

use tokio::time::Instant;

pub(super) use self::listen::Listen;
pub(super) use self::rounds::Rounds;
pub(super) use self::words::ClientWords;
use super::Router;
use super::from_child::{NEWS_MAX, is_news};
use super::handshake::Introduction;
use super::id_table::ChildId;
use super::io::{Payload, Profile, SessionKey, Sharing};
use super::purpose::Purpose;
use crate::config::{OnAmbiguous, RouterConfig};
use crate::era::tasks;
use crate::error::Reject;
use crate::jsonrpc::{self, Frame, Message};
use crate::mcp::{Era, method};

/// The eras of a client and of the child.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Between {
    /// The child is legacy, and so is what it is told.
    Legacy,
    /// A legacy session on a modern child.
    Translated,
    /// A modern exchange on a modern child.
    Modern,
}

impl Era {
    /// How a child is kept, seen from what it is told: a modern one sees its client in each request, whosever it is.
    pub(super) const fn sharing(self, sharing: Sharing) -> Sharing {
        match self {
            Self::Legacy => sharing,
            Self::Modern => Sharing::Shared,
        }
    }

    /// What of the configuration applies. A modern child's questions name their request, so that nobody has to wait for a
    /// turn.
    pub(super) fn configure(self, config: RouterConfig) -> RouterConfig {
        match self {
            Self::Legacy => config,
            Self::Modern => RouterConfig { on_ambiguous: OnAmbiguous::Reject, ..config },
        }
    }

    /// How a process is introduced to before anybody has said anything.
    pub(super) const fn introduction(self, sharing: Sharing, config: &RouterConfig) -> Option<Introduction> {
        match self {
            Self::Legacy => sharing.introduction(config),
            Self::Modern => Some(Introduction::Discovery(config.client_capabilities)),
        }
    }
}

impl Router {
    /// The method of the handshake, for who tells of it.
    pub const fn handshake_method(&self) -> &'static str {
        match self.era {
            Era::Legacy => method::INITIALIZE,
            Era::Modern => method::DISCOVER,
        }
    }

    pub(super) fn is_modern(&self) -> bool {
        self.era == Era::Modern
    }

    /// Whether what is attached under this key is one modern request, and no session.
    pub(super) fn is_exchange(&self, session: SessionKey) -> bool {
        self.sessions.get(&session).is_some_and(|profile| profile.era == Era::Modern)
    }

    /// What lies between a session and the child.
    pub(super) fn between(&self, session: SessionKey) -> Between {
        match self.era {
            Era::Legacy => Between::Legacy,
            Era::Modern if self.is_exchange(session) => Between::Modern,
            Era::Modern => Between::Translated,
        }
    }

    /// What a request is to the router.
    ///
    /// # Errors
    /// As [`Purpose::of`], where the router has a part in it.
    pub(super) fn purpose_of(&self, message: &Message, between: Between) -> Result<Purpose, Reject> {
        match between {
            Between::Legacy => self.sharing.purpose_of(message),
            Between::Modern if message.method() == method::LISTEN => Ok(Purpose::Listen),
            Between::Modern => Ok(Purpose::Plain),
            Between::Translated => Ok(match (Purpose::of(message)?, message.method()) {
                (_, method::TOOLS_CALL) => Purpose::CallsTool,
                (_, method::TOOLS_LIST) => Purpose::ListsTools,
                (_, method::RESOURCES_READ) => Purpose::Reads,
                (_, method) if method::may_require_input(method) => Purpose::MayAsk,
                (
                    purpose @ (Purpose::Initialize
                    | Purpose::SetLevel(_)
                    | Purpose::Subscribe(_)
                    | Purpose::Unsubscribe(_)),
                    _,
                ) => purpose,
                _ => Purpose::Plain,
            }),
        }
    }

    /// Whether the levels of sessions are kept here, and the child told of them.
    pub(super) fn keeps_levels(&self) -> bool {
        self.is_modern() || !self.is_private() && self.handshake.capabilities().logging()
    }

    /// Whether the child may be at work on a request of this session that asks for log messages.
    pub(super) fn asks_for_logs(&self, session: SessionKey) -> bool {
        // spec: 2026-07-28 server/utilities/logging: none on the stream of a `subscriptions/listen`.
        let listens = || self.requests.newest_written(session).is_some_and(|newest| newest.purpose == Purpose::Listen);
        self.levels.of(session).is_some() && !listens()
    }

    /// A request that the child may be asked to see whether it is alive.
    pub(super) fn sign_of_life(&self, id: ChildId) -> Frame {
        match self.era {
            Era::Legacy => jsonrpc::request(&id.text(), method::PING, None),
            // There is no ping, and this has to be implemented.
            Era::Modern => discover::request(id, self.config.client_capabilities),
        }
    }

    /// What the child reads of a client's request; `frame` has its own ids already.
    pub(super) fn in_the_childs_words(&self, id: ChildId, message: &Message, frame: Frame) -> Frame {
        let Some(request) = self.requests.get(id) else { return frame };
        let session = request.origin.session;
        match (self.between(session), self.sessions.get(&session)) {
            (Between::Translated, Some(profile)) => words::request(profile, self.levels.of(session), message, frame),
            (Between::Legacy | Between::Modern | Between::Translated, _) => frame,
        }
    }

    /// What a client said of itself, as a modern child is to be told of it.
    pub(super) fn adapt(&self, profile: &mut Profile) {
        words::put_in_one_line(profile);
        if self.is_modern() && profile.era == Era::Legacy {
            words::narrow(profile, self.config.client_capabilities);
        }
    }

    /// A client has told in its `initialize` who it is, if that was not known.
    pub(super) fn learn_words(&mut self, session: SessionKey, words: ClientWords) {
        if !self.is_modern() {
            return;
        }
        let declared = self.config.client_capabilities;
        if let Some(profile) = self.sessions.get_mut(&session) {
            profile.client_info = profile.client_info.take().or(words.info);
            profile.client_capabilities = profile.client_capabilities.take().or(words.capabilities);
            words::narrow(profile, declared);
        }
    }

    /// A modern child answered a client's request.
    pub(super) fn modern_answer(&mut self, id: ChildId, session: SessionKey, message: &Message, now: Instant) {
        // As it came: others may see more of it.
        self.keep_result(id, message, now);
        let Some(message) = self.sifted(id, message) else { return };
        let message = &*message;
        let Some(request) = self.requests.get(id) else { return };
        let client_id = request.client_id.clone();
        let frame = super::with_id(message, client_id.as_str());
        let frame = match (self.between(session), &request.purpose) {
            (Between::Modern, Purpose::Listen) => listen::end_for_client(message, frame, &client_id),
            (Between::Modern, _) => {
                if let Some(told) = tasks::told(message) {
                    self.tasks.note_of_exchange(told, self.config.bounds.tasks_per_session_max());
                }
                frame
            }
            (Between::Legacy, _) => frame,
            (Between::Translated, purpose) => match words::answer(message, purpose, frame) {
                words::Answer::Complete(frame) => frame,
                words::Answer::InputRequired(result) => return self.begin_round(id, message, result, now),
                words::Answer::Unknown(what) => return self.reject(id, Reject::ChildAnswerUnusable(what)),
            },
        };
        self.settle(id, |_| Payload::Response(frame));
    }

    /// A modern child must not make requests, and nobody could be asked it in this form. It cannot be told so: "The client
    /// MUST NOT write JSON-RPC responses to the server's stdin" (2026-07-28, stdio).
    pub(super) fn drop_modern_request(&mut self, message: &Message, now: Instant) {
        self.unattributed += 1;
        if let Some(left_out) = self.may_log(now) {
            let method = message.method();
            tracing::warn!(
                method,
                left_out,
                "dropped a request of the child: in 2026-07-28 a server makes none, but asks with `input_required`"
            );
        }
    }

    /// A notification of a modern child.
    pub(super) fn modern_notification(&mut self, message: &Message, now: Instant) {
        match message.method() {
            method::PROGRESS => return self.child_progress(message, now),
            method::MESSAGE => return self.log_message(message, now),
            method::CANCELLED => return self.child_ends_listening(message, now),
            _ => {}
        }
        match listen::subscription(message) {
            Some(id) => self.subscription_event(id, message, now),
            // It should say which subscription it belongs to, but who is interested is known.
            None if self.is_retired() && is_news(message.method()) => self.keep_news(message.clone()),
            None if is_news(message.method()) => self.tell_notification(message, now),
            // spec: 2026-07-28 basic/transports/stdio, Receiving Messages: it is the reference that says whose it is.
            None => {
                self.unattributed += 1;
                tracing::debug!(method = message.method(), "dropped a notification that refers to nothing");
            }
        }
    }

    /// Something for the successor to tell.
    fn keep_news(&mut self, message: Message) {
        if self.news.len() < NEWS_MAX {
            self.news.push_back(message);
        }
    }
}
