//! How a child is replaced without anybody noticing: its sessions and what waits go to the router of the next process,
//! and it finishes what it was given.
//!
//! For as long as both live, a session's message goes to the old one if that one knows what it is about
//! ([`Router::concerns`]), else to the new one. What either says is the session's; ids of questions differ, since they
//! carry the router's generation.

use std::collections::VecDeque;

use tokio::time::Instant;

use super::from_session::Dispatch;
use super::in_flight::{InFlight, Phase};
use super::io::{Profile, SessionKey};
use super::own::Own;
use super::questions::QuestionId;
use super::queue::Entry;
use super::subscriptions::Subscriptions;
use super::{Role, Router};
use crate::jsonrpc::{Kind, Message, RawId};
use crate::mcp::ids::Param;
use crate::mcp::{Era, method};

impl Router {
    /// A router for the process that is to replace this one's. It has that process's handshake before it has any
    /// session; a child of a session's own gets the `initialize` that this one had.
    pub fn successor(&self) -> Self {
        Self::with_handshake(
            self.config.clone(),
            (self.sharing, self.era),
            self.generation + 1,
            self.handshake.successor(),
        )
        .with_cache(self.cache.clone())
    }

    /// Whether [`Router::hand_over`] would leave nothing hanging: no session waits for the answer to what changes its
    /// level, its subscriptions or its handshake, which only this router would learn of.
    pub fn can_hand_over(&self) -> bool {
        let awaited = |own: &Own| !matches!(own, Own::Ping | Own::Heard(_));
        !self.own.values().any(awaited) && self.handshake.pending().is_none() && !self.is_state_changing()
    }

    /// Hands everything over that was not given to the child: the sessions with their levels and subscriptions, which
    /// the successor's child is told of, and what waits, in order. The sessions notice nothing: told that lists may have
    /// changed, their clients would ask for them, and so bring the next replacement about.
    ///
    /// What was written is still settled here, and whatever the child says of it reaches its session. News that belongs to
    /// no request is for the successor to tell ([`Router::take_news`]): it knows who is interested now.
    ///
    /// Called again, it hands over what has begun to wait since: what the old process left unread when it exited.
    pub fn hand_over(&mut self, successor: &mut Self, now: Instant) {
        if self.role == Role::Serving {
            self.role = Role::Retired;
            // What is still to come here, of tasks, can go nowhere else.
            self.allowance = None;
            for (session, profile) in &self.sessions {
                let (level, subscriptions) = (self.levels.of(*session), self.subscriptions.of(*session));
                successor.attach(*session, Profile { level, subscriptions, ..profile.clone() }, now);
            }
            self.subscriptions = Subscriptions::default();
            self.listen.leave_to_successor();
            self.hand_over_listens(successor, now);
        }
        for (place, entry) in self.queue.take() {
            match entry {
                Entry::Request(id) => {
                    let stays = |request: &InFlight| match &request.phase {
                        Phase::Queued(message) => self.names_own_task(message),
                        Phase::Written | Phase::Follows(_) | Phase::Asks => true,
                    };
                    if self.requests.get(id).is_some_and(stays) {
                        self.queue.put_request(place, id);
                    } else if let Some(request) = self.requests.remove(id) {
                        self.queue.remove_bytes(request.queued_bytes());
                        successor.take_over(request, now);
                    }
                }
                Entry::Notification(session, message) => {
                    if self.names_own_task(&message) {
                        self.queue.put_notification(place, session, message);
                    } else {
                        successor.forward_notification(session, message);
                    }
                }
            }
        }
        successor.deny_queued_if_denied(now);
        self.pump(now);
    }

    /// What the child said since this was asked last that belongs to no request.
    pub fn take_news(&mut self) -> VecDeque<Message> {
        std::mem::take(&mut self.news)
    }

    /// Introduces the client of a private child's predecessor, if it came after this one was started. False if there is
    /// nobody to introduce.
    pub fn introduce_like(&mut self, predecessor: &Self, now: Instant) -> bool {
        let Some(introduction) = predecessor.handshake.introduction() else { return false };
        self.handshake.set_introduction(introduction.clone());
        self.introduce();
        self.pump(now);
        true
    }

    /// A request that another router accepted, and that has waited there.
    pub(super) fn take_over(&mut self, mut request: InFlight, now: Instant) {
        let place = self.queue.place_behind();
        request.place = place;
        // The other router may have been for a child of another era.
        let between = self.between(request.origin.session);
        if let Phase::Queued(message) = &request.phase
            && let Ok(purpose) = self.purpose_of(message, between)
        {
            request.purpose = purpose;
        }
        self.queue.add_bytes(request.queued_bytes());
        let id = self.requests.insert(request);
        if self.dispatch(id, now) == Dispatch::NotYet {
            self.queue.put_request(place, id);
            self.renew_deadline(id, now);
        }
    }

    /// Whether nothing more is to come of this router's child for anybody: no request is in flight, no question is open,
    /// and every task was either fetched or cancelled, or its session is gone. A task that nobody asks for again keeps
    /// it from being drained for good, so whoever waits for this has to bound it.
    pub fn is_drained(&self) -> bool {
        self.requests.len() == 0 && self.queue.is_empty() && self.questions.len() == 0 && !self.tasks.any_unfinished()
    }

    /// Whether a session's message is about something that this router has: a request in flight here (to cancel it, or
    /// to be refused for having its id), a question of this child's (to answer it, or to tell of progress), a task made
    /// here. `tasks/list` is about none in particular.
    pub fn concerns(&self, session: SessionKey, message: &Message) -> bool {
        let raw = |param| message.param(param).map(|span| message.text(span));
        let asked = |text: &str| {
            let id = QuestionId::from_text(text);
            id.is_some_and(|id| self.questions.of_session(id, session).is_some())
        };
        // Two processes may use the same id for tasks of two sessions.
        let own_task = |message: &Message| self.names_task(message, |owner| owner == session);
        let in_flight = |id: &RawId| self.requests.find(session, id).is_some();
        match message.kind() {
            Kind::Result | Kind::Error => message.id_span().is_some_and(|span| asked(message.text(span))),
            Kind::Request => {
                message.id().is_some_and(|id| in_flight(&id))
                    || own_task(message)
                    || self.is_exchange(session) && self.names_task_of_exchange(message)
            }
            Kind::Notification => match message.method() {
                method::CANCELLED => raw(Param::RequestId).is_some_and(|text| in_flight(&RawId::from_json(text))),
                method::PROGRESS => raw(Param::ProgressToken).is_some_and(asked),
                _ => own_task(message),
            },
        }
    }

    /// How many requests of the session are in flight here; for the limit on all that it has in flight anywhere.
    pub fn count_of_session(&self, session: SessionKey) -> usize {
        self.requests.count_of_session(session)
    }

    /// Whether a successor serves the sessions.
    pub(super) fn is_retired(&self) -> bool {
        self.role == Role::Retired
    }

    /// Whether the message names a task of this child's, whosever it is.
    fn names_own_task(&self, message: &Message) -> bool {
        self.names_task(message, |_| true) || self.names_task_of_exchange(message)
    }

    fn names_task_of_exchange(&self, message: &Message) -> bool {
        method::is_modern_only(message.method())
            && message.param_str(Param::TaskId).is_some_and(|task| self.tasks.is_of_exchange(&task))
    }

    /// Attaches an exchange that comes after this router's successor took over, if it may be about a task that was made here.
    pub fn attach_late(&mut self, session: SessionKey, profile: &Profile, now: Instant) {
        if profile.era == Era::Modern && self.tasks.any_of_exchanges() {
            self.attach(session, profile.clone(), now);
        }
    }
}
