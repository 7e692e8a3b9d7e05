//! Messages from a session: what is accepted, what it comes to, and what is written to the child for it.

use serde_json::json;
use tokio::time::Instant;

use super::era::{Between, ClientWords};
use super::exit::Denial;
use super::id_table::ChildId;
use super::in_flight::{InFlight, Phase};
use super::io::{Origin, Payload, SessionKey, Stage};
use super::own::Own;
use super::purpose::{Purpose, progress_token};
use super::questions::{Asker, Question, QuestionId};
use super::queue::Entry;
use super::subscriptions::Verdict;
use super::{Router, with_id};
use crate::config::OnAmbiguous;
use crate::error::Reject;
use crate::jsonrpc::{self, Frame, Kind, Message, RawId};
use crate::mcp::ids::Param;
use crate::mcp::{LogLevel, code, method};
use crate::metrics::{Limit, limit_hit};

/// Whether a request is on its way, or has to wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Dispatch {
    Done,
    NotYet,
}

impl Router {
    /// A message from a session. `elsewhere`: how many requests it has in flight with another router of the same place,
    /// which count towards its limit.
    ///
    /// # Errors
    /// The request was not accepted and changes nothing. Only requests can fail: a notification or an answer that
    /// refers to nothing the session has is dropped.
    pub fn handle_session_message(
        &mut self,
        from: Origin,
        message: Message,
        elsewhere: usize,
        now: Instant,
    ) -> Result<(), Reject> {
        match message.kind() {
            Kind::Request => self.accept(from, message, elsewhere, now),
            Kind::Notification => {
                self.session_notification(from, message, now);
                Ok(())
            }
            Kind::Result | Kind::Error => {
                self.session_answer(from.session, &message, now);
                Ok(())
            }
        }
    }

    fn accept(&mut self, from: Origin, message: Message, elsewhere: usize, now: Instant) -> Result<(), Reject> {
        if let Some(closed @ Denial::Closed(_)) = &self.denial {
            return Err(closed.reject(now));
        }
        let profile = self.sessions.get(&from.session).ok_or(Reject::SessionUnknown)?;
        let client_id = message.id().ok_or_else(|| Reject::InvalidRequest("a request must have an id".to_owned()))?;
        if self.requests.find(from.session, &client_id).is_some() {
            let what = "a request with this id is in flight in this session already; ids must be unique";
            return Err(Reject::InvalidRequest(what.to_owned()));
        }
        let between = self.between(from.session);
        if message.method() == method::PING && between != Between::Modern {
            let pong = jsonrpc::result_response(&client_id, "{}");
            self.tell_session(from.session, from.stream, Payload::Response(pong));
            return Ok(());
        }
        if between == Between::Translated && method::is_modern_only(message.method()) {
            // Its answer would be none of this client's revision, and a task or a subscription another client's.
            let error = json!({"code": code::METHOD_NOT_FOUND, "message": "method not found",
                               "data": {"source": "mcp-mux", "kind": "method-not-found"}});
            let answer = jsonrpc::error_response(Some(&client_id), &error);
            self.tell_session(from.session, from.stream, Payload::Response(answer));
            return Ok(());
        }
        if let Some(denial) = &self.denial {
            return Err(denial.reject(now));
        }
        let limit = self.config.in_flight_max.get();
        if self.requests.count_of_session(from.session).saturating_add(elsewhere) >= limit {
            return Err(Reject::InFlight { limit }.counted());
        }
        if message.has_null_params() {
            return Err(Reject::InvalidRequest("`params` must be an object, or absent".to_owned()));
        }
        let token = progress_token(&message)?;
        let purpose = self.purpose_of(&message, between)?;
        let sieve = Self::judge(profile, from.sender, &message)?;
        if self.names_anothers_task(from.session, &message) {
            return Err(Reject::InvalidParams("taskId: no such task".to_owned()));
        }
        if purpose == Purpose::Initialize && profile.revision.is_some() {
            return Err(initialized_already());
        }
        self.queue.add_bytes(message.bytes().len());
        let place = self.queue.place_behind();
        let request = InFlight { sieve, ..InFlight::new(from, client_id, token, purpose, (place, message), now) };
        let id = self.requests.insert(request);
        if self.dispatch(id, now) == Dispatch::NotYet {
            self.queue.put_request(place, id);
            self.renew_deadline(id, now);
        }
        Ok(())
    }

    /// Hands out what can be handed out now, in the order in which it came.
    pub(super) fn pump(&mut self, now: Instant) {
        self.ask_if_heard();
        self.follow_wishes(now);
        // While another session has its turn, only a question to that one lets more of its own requests go.
        let blocked = self.turn.is_some_and(|holder| !self.questions.any_of(holder));
        if blocked || self.is_spent() || self.queue.is_empty() {
            return;
        }
        match self.stage() {
            Stage::Down | Stage::Handshake => {}
            Stage::Waiting => self.pump_initialize(now),
            Stage::Ready => {
                for (place, entry) in self.queue.take() {
                    match entry {
                        Entry::Request(id) if self.dispatch(id, now) == Dispatch::NotYet => {
                            self.queue.put_request(place, id);
                        }
                        Entry::Request(_) => {}
                        Entry::Notification(session, message) => self.forward_notification(session, message),
                    }
                }
            }
        }
    }

    /// Everything else waits for what this leads to.
    fn pump_initialize(&mut self, now: Instant) {
        let place = |id| {
            let request: &InFlight = self.requests.get(id)?;
            (request.purpose == Purpose::Initialize).then_some((request.place, id))
        };
        let first = self.queue.requests().find_map(place);
        if let Some((place, id)) = first {
            self.queue.remove_request(place);
            self.dispatch(id, now);
        }
    }

    /// Passes a session's notification on, at once or when the child is ready.
    pub(super) fn forward_notification(&mut self, session: SessionKey, message: Message) {
        if !self.is_ready() {
            let place = self.queue.place_behind();
            return self.queue.put_notification(place, session, message);
        }
        if message.method() != method::INITIALIZED {
            self.queue.note_notification(session);
        } else if !self.handshake.initialize_once() {
            return;
        }
        self.tell_child(Frame::new(message.bytes().clone()));
    }

    /// Does with a queued request what its purpose asks for.
    pub(super) fn dispatch(&mut self, id: ChildId, now: Instant) -> Dispatch {
        let Some(request) = self.requests.get(id) else { return Dispatch::Done };
        if !self.takes(&request.purpose) {
            return Dispatch::NotYet;
        }
        let session = request.origin.session;
        match request.purpose.clone() {
            Purpose::Initialize => self.initialize(id, now),
            Purpose::SetLevel(level) if self.keeps_levels() => {
                self.set_level(id, session, level);
            }
            Purpose::Subscribe(uri) if !self.is_private() => self.subscribe(id, session, uri, now),
            Purpose::Unsubscribe(uri) if !self.is_private() => self.unsubscribe(id, session, &uri, now),
            Purpose::Task(task) | Purpose::TaskResult(task) if !self.may_use_task(session, &task) => {
                self.reject(id, Reject::InvalidParams("taskId: no such task".to_owned()));
            }
            Purpose::Plain
            | Purpose::MayAsk
            | Purpose::CallsTool
            | Purpose::ListsTools
            | Purpose::Reads
            | Purpose::Listen
            | Purpose::SetLevel(_)
            | Purpose::Subscribe(_)
            | Purpose::Unsubscribe(_)
            | Purpose::CreatesTask
            | Purpose::Task(_)
            | Purpose::TaskResult(_)
            | Purpose::ListsTasks => {
                if self.is_served_again(id, now) {
                    return Dispatch::Done;
                }
                if self.is_spent() || !self.has_turn(session) {
                    return Dispatch::NotYet;
                }
                self.forward(id, session, now);
            }
        }
        self.renew_deadline(id, now);
        Dispatch::Done
    }

    /// With `--on-ambiguous serialize`: whether the session may have requests in flight now. One that is being asked may
    /// always, since its answer may depend on them.
    fn has_turn(&self, session: SessionKey) -> bool {
        if self.config.on_ambiguous == OnAmbiguous::Reject || !self.can_be_asked(session) {
            return true;
        }
        let of_another = |id| self.requests.get(id).is_some_and(|request| request.origin.session != session);
        match self.turn {
            None => true,
            Some(holder) if holder != session => false,
            Some(_) => self.questions.any_of(session) || !self.queue.requests().any(of_another),
        }
    }

    fn can_be_asked(&self, session: SessionKey) -> bool {
        self.sessions.get(&session).is_some_and(|profile| profile.capabilities.any())
    }

    pub(super) fn forward(&mut self, id: ChildId, session: SessionKey, now: Instant) {
        if self.config.on_ambiguous == OnAmbiguous::Serialize && self.can_be_asked(session) {
            self.turn = Some(session);
        }
        if let Some(frame) = self.take_frame(id, Phase::Written, id) {
            self.requests_given += 1;
            self.requests.addressed(id, now);
            self.tell_child(frame);
        }
    }

    /// Takes a queued request's message out, rewritten for the child under the id `own`.
    fn take_frame(&mut self, id: ChildId, next: Phase, own: ChildId) -> Option<Frame> {
        let message = self.requests.leave_queue(id, next)?;
        self.queue.remove_bytes(message.bytes().len());
        self.keep_message(id, &message);
        let mut frame = with_id(&message, own.text());
        if let Some((span, _)) = self.requests.get(id)?.token {
            frame = frame.replace(span, own.token());
        }
        Some(self.in_the_childs_words(id, &message, frame))
    }

    /// A request shares the answer to one of ours, which is on its way.
    pub(super) fn follow(&mut self, id: ChildId, own: ChildId) {
        let _ = self.take_frame(id, Phase::Follows(own), own);
    }

    /// Writes a client's request as one of ours; it and others share the answer.
    fn forward_as_own(&mut self, id: ChildId, own: Own) -> Option<ChildId> {
        let own_id = self.requests.fresh_id();
        let frame = self.take_frame(id, Phase::Follows(own_id), own_id)?;
        self.requests_given += 1;
        self.tell_child(frame);
        self.own.insert(own_id, own);
        Some(own_id)
    }

    fn initialize(&mut self, id: ChildId, now: Instant) {
        if !self.is_ready() {
            return self.forward_initialize(id);
        }
        let Some(request) = self.requests.get(id) else { return };
        let session = request.origin.session;
        if self.sessions.get(&session).is_some_and(|profile| profile.revision.is_some()) {
            return self.reject(id, initialized_already());
        }
        let Phase::Queued(message) = &request.phase else { return };
        let requested = message.param_str(Param::ProtocolVersion).unwrap_or_default();
        let words = ClientWords::of(message);
        let Some((answer, revision)) = self.handshake.answer_client(&request.client_id, &requested) else { return };
        self.learn_words(session, words);
        self.settle(id, |_| Payload::Initialized(answer, revision));
        self.open(session, revision, now);
    }

    fn set_level(&mut self, id: ChildId, session: SessionKey, level: LogLevel) {
        let change = self.levels.put(session, Some(Some(level)));
        match self.tell_level(change) {
            Some(own) => {
                self.own.insert(own, Own::SetLevel);
                self.follow(id, own);
            }
            None => self.respond(id, "{}"),
        }
    }

    fn subscribe(&mut self, id: ChildId, session: SessionKey, uri: String, now: Instant) {
        match self.subscriptions.subscribe(session, &uri, self.config.bounds.subscriptions_max) {
            Verdict::Done => self.respond(id, "{}"),
            Verdict::Follow(own) => self.follow(id, own),
            Verdict::TooMany => {
                let limit = self.config.bounds.subscriptions_max;
                limit_hit(Limit::SubscriptionsMax);
                let what = format!("this session has {limit} subscriptions already (--subscriptions-max)");
                self.reject(id, Reject::InvalidParams(what));
            }
            Verdict::TellChild => {
                if self.is_modern() {
                    return self.subscribe_by_listening(id, uri, now);
                }
                if let Some(own) = self.forward_as_own(id, Own::Subscribe(uri.clone())) {
                    self.subscriptions.begin(&uri, own);
                }
            }
        }
    }

    fn unsubscribe(&mut self, id: ChildId, session: SessionKey, uri: &str, now: Instant) {
        match self.subscriptions.unsubscribe(session, uri) {
            Verdict::TellChild if !self.is_modern() => {
                self.forward_as_own(id, Own::Unsubscribe);
            }
            Verdict::TellChild => {
                self.respond(id, "{}");
                self.unsubscribe_child(uri);
                self.follow_wishes(now);
            }
            Verdict::Done | Verdict::Follow(_) | Verdict::TooMany => self.respond(id, "{}"),
        }
    }

    fn session_notification(&mut self, from: Origin, message: Message, now: Instant) {
        let session = from.session;
        let Some(profile) = self.sessions.get(&session) else { return };
        if message.has_null_params() || self.names_anothers_task(session, &message) {
            return;
        }
        // A server may do what a request says though it is sent without an id.
        if Self::judge(profile, from.sender, &message).is_err() {
            return tracing::debug!("dropped a notification of a client that names what it may not use");
        }
        match message.method() {
            method::CANCELLED => self.cancel(session, &message, now),
            method::PROGRESS => self.session_progress(session, &message),
            // A shared child has had ours.
            method::INITIALIZED if !self.is_private() => {}
            // spec: 2026-07-28 basic/patterns/cancellation: a client has no other notification.
            _ if self.between(session) == Between::Translated => {}
            _ if self.denial.is_some() => {}
            _ => self.forward_notification(session, message),
        }
    }

    /// A client gives up a request of its own. What it does not have in flight cannot be cancelled.
    fn cancel(&mut self, session: SessionKey, message: &Message, now: Instant) {
        let Some(span) = message.param(Param::RequestId) else { return };
        let Some(id) = self.requests.find(session, &RawId::from_json(message.text(span))) else { return };
        // spec: 2025-11-25 basic/utilities/cancellation: "The initialize request MUST NOT be cancelled by clients".
        if self.requests.get(id).is_some_and(|request| request.purpose == Purpose::Initialize) {
            return;
        }
        let written = self.written_by(id).is_some();
        self.settle(id, |_| Payload::Cancelled);
        if written {
            self.tell_child(Frame::new(message.bytes().clone()).replace(span, id.text()));
            self.remember(id, session, now);
        }
        self.pump(now);
    }

    /// A client tells how far it is with a question of the child.
    fn session_progress(&mut self, session: SessionKey, message: &Message) {
        let Some(span) = message.param(Param::ProgressToken) else { return };
        let question = QuestionId::from_text(message.text(span));
        let question = question.and_then(|id| self.questions.of_session(id, session));
        if let Some(token) = question.and_then(|question| question.asker.token()) {
            let frame = Frame::new(message.bytes().clone()).replace(span, token.as_str());
            self.tell_child(frame);
        }
    }

    /// A client answers a question of the child: once, and only if it was asked.
    fn session_answer(&mut self, session: SessionKey, message: &Message, now: Instant) {
        let id = message.id_span().and_then(|span| QuestionId::from_text(message.text(span)));
        let asked = id.filter(|id| self.questions.of_session(*id, session).is_some());
        match asked.and_then(|id| self.questions.close(id)) {
            Some(Question { asker: Asker::Child { request, .. }, .. }) => {
                self.tell_child(with_id(message, request.as_str()));
                // Which of its requests goes on with that is not known.
                for id in self.requests.of_session(session).collect::<Vec<_>>() {
                    self.requests.addressed(id, now);
                }
                self.end_waiting_for(session, now);
            }
            Some(Question { asker: Asker::Round(request), .. }) => {
                if let Some(id) = id {
                    self.round_answered(request, id, message, now);
                }
            }
            None => tracing::debug!("dropped a client's response to a request that it was not asked, or no longer"),
        }
    }
}

fn initialized_already() -> Reject {
    Reject::InvalidRequest("this session is initialized already".to_owned())
}
