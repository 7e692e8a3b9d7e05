//! Messages from a session: what is accepted, what it comes to, and what is written to the child for it.

use tokio::time::Instant;

use super::id_table::{ChildId, InFlight, Phase, Purpose};
use super::io::{Origin, Payload, SessionKey};
use super::questions::QuestionId;
use super::subscriptions::Verdict;
use super::{Own, Router, with_id};
use crate::config::OnAmbiguous;
use crate::error::Reject;
use crate::jsonrpc::{self, Frame, ID_BYTES_MAX, Kind, Message, RawId, Span};
use crate::mcp::ids::{PROGRESS_TOKEN, Param};
use crate::mcp::{LogLevel, method};

/// Whether a request is on its way, or has to wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Dispatch {
    Done,
    NotYet,
}

impl Router {
    /// A message from a session.
    ///
    /// # Errors
    /// The request was not accepted and changes nothing. Only requests can fail: a notification or an answer that
    /// refers to nothing the session has is dropped.
    pub fn handle_session_message(&mut self, from: Origin, message: Message, now: Instant) -> Result<(), Reject> {
        match message.kind() {
            Kind::Request => self.accept(from, message, now),
            Kind::Notification => {
                self.session_notification(from.session, message, now);
                Ok(())
            }
            Kind::Result | Kind::Error => {
                self.session_answer(from.session, &message);
                Ok(())
            }
        }
    }

    fn accept(&mut self, from: Origin, message: Message, now: Instant) -> Result<(), Reject> {
        if let Some(reject) = &self.closed {
            return Err(reject.clone());
        }
        let profile = self.sessions.get(&from.session).ok_or(Reject::SessionUnknown)?;
        let client_id = message.id().ok_or_else(|| Reject::InvalidRequest("a request must have an id".to_owned()))?;
        if self.requests.find(from.session, &client_id).is_some() {
            let what = "a request with this id is in flight in this session already; ids must be unique";
            return Err(Reject::InvalidRequest(what.to_owned()));
        }
        if message.method() == method::PING {
            let pong = jsonrpc::result_response(&client_id, "{}");
            self.tell_session(from.session, from.stream, Payload::Response(pong));
            return Ok(());
        }
        let limit = self.config.in_flight_max.get();
        if self.requests.count_of_session(from.session) >= limit {
            return Err(Reject::InFlight { limit });
        }
        if message.has_null_params() {
            return Err(Reject::InvalidRequest("`params` must be an object, or absent".to_owned()));
        }
        let token = progress_token(&message)?;
        let purpose = purpose_of(&message)?;
        if self.names_anothers_task(from.session, &message) {
            return Err(Reject::InvalidParams("taskId: no such task".to_owned()));
        }
        if purpose == Purpose::Initialize && profile.revision.is_some() {
            return Err(Reject::InvalidRequest("this session is initialized already".to_owned()));
        }
        self.waiting_bytes += message.bytes().len();
        let id = self.requests.insert(from, client_id, token, purpose, message, now);
        if self.dispatch(id, now) == Dispatch::NotYet {
            self.waiting.insert(id);
            self.renew_deadline(id, now);
        }
        Ok(())
    }

    /// Hands out what can be handed out now, in the order in which it came.
    pub(super) fn pump(&mut self, now: Instant) {
        // While another session has its turn, only a question to that one lets more of its own requests go.
        let blocked = self.turn.is_some_and(|holder| !self.questions.any_of(holder));
        if !self.is_ready() || blocked || (self.waiting.is_empty() && self.waiting_notifications.is_empty()) {
            return;
        }
        let mut notifications = std::mem::take(&mut self.waiting_notifications);
        for id in std::mem::take(&mut self.waiting) {
            while let Some(earliest) = notifications.first_entry().filter(|entry| *entry.key() < id) {
                let (_, message) = earliest.remove();
                self.forward_notification(&message);
            }
            if self.dispatch(id, now) == Dispatch::NotYet {
                self.waiting.insert(id);
            }
        }
        for (_, message) in notifications.into_values() {
            self.forward_notification(&message);
        }
    }

    fn forward_notification(&mut self, message: &Message) {
        self.waiting_bytes -= message.bytes().len();
        self.tell_child(Frame::new(message.bytes().clone()));
    }

    /// Does with a queued request what its purpose asks for.
    pub(super) fn dispatch(&mut self, id: ChildId, now: Instant) -> Dispatch {
        if !self.is_ready() {
            return Dispatch::NotYet;
        }
        let Some(request) = self.requests.get(id) else { return Dispatch::Done };
        let session = request.origin.session;
        match request.purpose.clone() {
            Purpose::Initialize => self.initialize(id),
            Purpose::SetLevel(level) if self.handshake.capabilities().logging() => self.set_level(id, session, level),
            Purpose::Subscribe(uri) => self.subscribe(id, session, uri),
            Purpose::Unsubscribe(uri) => self.unsubscribe(id, session, &uri),
            Purpose::Task(task) if self.tasks.owner(&task) != Some(session) => {
                self.reject(id, Reject::InvalidParams("taskId: no such task".to_owned()));
            }
            Purpose::Plain | Purpose::SetLevel(_) | Purpose::CreatesTask | Purpose::Task(_) | Purpose::ListsTasks => {
                if !self.has_turn(session) {
                    return Dispatch::NotYet;
                }
                self.forward(id, session);
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
        let of_another = |id: &ChildId| self.requests.get(*id).is_some_and(|request| request.origin.session != session);
        match self.turn {
            None => true,
            Some(holder) if holder != session => false,
            Some(_) => self.questions.any_of(session) || !self.waiting.iter().any(of_another),
        }
    }

    fn can_be_asked(&self, session: SessionKey) -> bool {
        self.sessions.get(&session).is_some_and(|profile| profile.capabilities.any())
    }

    fn forward(&mut self, id: ChildId, session: SessionKey) {
        if self.config.on_ambiguous == OnAmbiguous::Serialize && self.can_be_asked(session) {
            self.turn = Some(session);
        }
        if let Some(frame) = self.take_frame(id, Phase::Written, id) {
            self.tell_child(frame);
        }
    }

    /// Takes a queued request's message out, rewritten for the child under the id `own`.
    fn take_frame(&mut self, id: ChildId, next: Phase, own: ChildId) -> Option<Frame> {
        let message = self.requests.leave_queue(id, next)?;
        self.waiting_bytes -= message.bytes().len();
        let mut frame = with_id(&message, own.text());
        if let Some((span, _)) = self.requests.get(id)?.token {
            frame = frame.replace(span, own.token());
        }
        Some(frame)
    }

    /// A request shares the answer to one of ours, which is on its way.
    fn follow(&mut self, id: ChildId, own: ChildId) {
        let _ = self.take_frame(id, Phase::Follows(own), own);
    }

    /// Writes a client's request as one of ours; it and others share the answer.
    fn forward_as_own(&mut self, id: ChildId, own: Own) -> Option<ChildId> {
        let own_id = self.requests.fresh_id();
        let frame = self.take_frame(id, Phase::Follows(own_id), own_id)?;
        self.tell_child(frame);
        self.own.insert(own_id, own);
        Some(own_id)
    }

    fn initialize(&mut self, id: ChildId) {
        let Some(request) = self.requests.get(id) else { return };
        let session = request.origin.session;
        let Phase::Queued(message) = &request.phase else { return };
        let requested = message.param_str(Param::ProtocolVersion).unwrap_or_default();
        let Some((answer, revision)) = self.handshake.answer_client(&request.client_id, &requested) else { return };
        if let Some(profile) = self.sessions.get_mut(&session) {
            profile.revision = Some(revision);
        }
        self.settle(id, |_| Payload::Initialized(answer, revision));
        let level = self.levels.of(session);
        let change = self.levels.put(session, Some(level));
        self.tell_level(change);
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

    fn subscribe(&mut self, id: ChildId, session: SessionKey, uri: String) {
        match self.subscriptions.subscribe(session, &uri) {
            Verdict::Done => self.respond(id, "{}"),
            Verdict::Follow(own) => self.follow(id, own),
            Verdict::TooMany => {
                let limit = super::subscriptions::PER_SESSION_MAX;
                self.reject(id, Reject::InvalidParams(format!("this session has {limit} subscriptions already")));
            }
            Verdict::TellChild => {
                if let Some(own) = self.forward_as_own(id, Own::Subscribe(uri.clone())) {
                    self.subscriptions.begin(&uri, own);
                }
            }
        }
    }

    fn unsubscribe(&mut self, id: ChildId, session: SessionKey, uri: &str) {
        match self.subscriptions.unsubscribe(session, uri) {
            Verdict::TellChild => {
                self.forward_as_own(id, Own::Unsubscribe);
            }
            Verdict::Done | Verdict::Follow(_) | Verdict::TooMany => self.respond(id, "{}"),
        }
    }

    fn session_notification(&mut self, session: SessionKey, message: Message, now: Instant) {
        let known = self.closed.is_none() && self.sessions.contains_key(&session);
        if !known || message.has_null_params() || self.names_anothers_task(session, &message) {
            return;
        }
        match message.method() {
            // Each child has had ours.
            method::INITIALIZED => {}
            method::CANCELLED => self.cancel(session, &message, now),
            method::PROGRESS => self.session_progress(session, &message),
            _ if self.is_ready() => self.tell_child(Frame::new(message.bytes().clone())),
            _ if self.waiting_notifications.len() < NOTIFICATIONS_WAITING_MAX => {
                self.waiting_bytes += message.bytes().len();
                let place = self.requests.fresh_id();
                self.waiting_notifications.insert(place, (session, Box::new(message)));
            }
            _ => tracing::debug!(method = message.method(), "dropped a client's notification: the child is not ready"),
        }
    }

    /// Whether it names a task that is not the session's, by `taskId` or as what it is related to.
    fn names_anothers_task(&self, session: SessionKey, message: &Message) -> bool {
        if self.tasks.is_empty() {
            return false;
        }
        let anothers = |task: &str| self.tasks.owner(task).is_some_and(|owner| owner != session);
        message.param_str(Param::TaskId).is_some_and(|task| anothers(&task))
            || match Self::related_task(message) {
                Ok(task) => task.is_some_and(|task| anothers(&task)),
                Err(_) => true,
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
        if let Some(token) = question.and_then(|question| question.token.as_ref()) {
            let frame = Frame::new(message.bytes().clone()).replace(span, token.as_str());
            self.tell_child(frame);
        }
    }

    /// A client answers a question of the child: once, and only if it was asked.
    fn session_answer(&mut self, session: SessionKey, message: &Message) {
        let id = message.id_span().and_then(|span| QuestionId::from_text(message.text(span)));
        let asked = id.filter(|id| self.questions.of_session(*id, session).is_some());
        match asked.and_then(|id| self.questions.close(id)) {
            Some(question) => self.tell_child(with_id(message, question.child_request.as_str())),
            None => tracing::debug!("dropped a client's response to a request that it was not asked, or no longer"),
        }
    }

    /// Sets a request's deadline to what its phase asks for.
    pub(super) fn renew_deadline(&mut self, id: ChildId, now: Instant) {
        let Some(request) = self.requests.get(id) else { return };
        let last = self.config.request_timeout_max.map(|max| request.accepted + max);
        let quiet = self.config.request_timeout.map(|timeout| match request.phase {
            Phase::Queued(_) => request.accepted + timeout,
            Phase::Written | Phase::Follows(_) => now + timeout,
        });
        let queue = matches!(request.phase, Phase::Queued(_)).then(|| request.accepted + self.config.queue_timeout);
        let deadline = [last, quiet, queue].into_iter().flatten().min();
        self.requests.set_deadline(id, deadline);
    }

    /// What a request whose deadline has come is told.
    pub(super) fn timeout_reject(&self, request: &InFlight, now: Instant) -> Reject {
        let reached = |limit| now >= request.accepted + limit;
        if let Some(max) = self.config.request_timeout_max.filter(|max| reached(*max)) {
            return Reject::RequestTimeout(max, "--request-timeout-max");
        }
        let queue_timeout = self.config.queue_timeout;
        match self.config.request_timeout {
            Some(timeout) if !matches!(request.phase, Phase::Queued(_)) || reached(timeout) => {
                Reject::RequestTimeout(timeout, "--request-timeout")
            }
            _ if self.is_ready() => Reject::QueueFull(queue_timeout),
            _ => Reject::ChildUnavailable(format!("it was not ready within {queue_timeout:?} (--queue-timeout)")),
        }
    }
}

/// The longest URI that can be subscribed to.
const URI_BYTES_MAX: usize = 8192;
/// The most notifications kept for a child that is not ready.
const NOTIFICATIONS_WAITING_MAX: usize = 1024;

/// The request's progress token and its place. What is neither a string nor a number is no token and stays as it is.
fn progress_token(message: &Message) -> Result<Option<(Span, RawId)>, Reject> {
    let Some(meta) = message.param(Param::Meta) else { return Ok(None) };
    let token = message.member(meta, PROGRESS_TOKEN);
    let token = token.map_err(|_| Reject::InvalidRequest("params._meta.progressToken occurs twice".to_owned()))?;
    let Some(span) = token else { return Ok(None) };
    let text = message.text(span);
    if text.len() > ID_BYTES_MAX {
        let what = format!("params._meta.progressToken must not be longer than {ID_BYTES_MAX} bytes");
        return Err(Reject::InvalidRequest(what));
    }
    let usable = text.starts_with(|first: char| first == '"' || first == '-' || first.is_ascii_digit());
    Ok(usable.then(|| (span, RawId::from_json(text))))
}

/// What a request is to the router.
///
/// # Errors
/// [`Reject::InvalidParams`] where mcp-mux itself needs a parameter. What only the child needs, the child checks.
fn purpose_of(message: &Message) -> Result<Purpose, Reject> {
    let invalid = |what: &str| Reject::InvalidParams(what.to_owned());
    let text = |param| message.param_str(param).map(std::borrow::Cow::into_owned);
    Ok(match message.method() {
        method::INITIALIZE => match text(Param::ProtocolVersion) {
            Some(_) => Purpose::Initialize,
            None => return Err(invalid("protocolVersion must be a string, such as \"2025-11-25\"")),
        },
        method::SET_LEVEL => match text(Param::Level).as_deref().and_then(LogLevel::from_name) {
            Some(level) => Purpose::SetLevel(level),
            None => {
                return Err(invalid(
                    "level must be one of debug, info, notice, warning, error, critical, alert, emergency",
                ));
            }
        },
        method::SUBSCRIBE | method::UNSUBSCRIBE => match text(Param::Uri) {
            Some(uri) if uri.len() > URI_BYTES_MAX => {
                return Err(invalid(&format!("uri must not be longer than {URI_BYTES_MAX} bytes")));
            }
            Some(uri) if message.method() == method::SUBSCRIBE => Purpose::Subscribe(uri),
            Some(uri) => Purpose::Unsubscribe(uri),
            None => Purpose::Plain,
        },
        method::TASKS_GET | method::TASKS_RESULT | method::TASKS_CANCEL => {
            text(Param::TaskId).map_or(Purpose::Plain, Purpose::Task)
        }
        method::TASKS_LIST => Purpose::ListsTasks,
        _ if message.param(Param::Task).is_some() => Purpose::CreatesTask,
        _ => Purpose::Plain,
    })
}
