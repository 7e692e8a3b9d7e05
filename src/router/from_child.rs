//! Messages from the child: whose they are.

use serde::Deserialize;
use serde_json::json;
use tokio::time::Instant;

use super::attribution::Unattributed;
use super::handshake::Outcome;
use super::id_table::ChildId;
use super::in_flight::Phase;
use super::io::{Payload, SessionKey, Stage, StreamId};
use super::need::Need;
use super::purpose::Purpose;
use super::questions::{Asker, Question};
use super::{Router, with_id};
use crate::config::OnAmbiguous;
use crate::error::Reject;
use crate::jsonrpc::{self, Frame, ID_BYTES_MAX, Kind, Message, RawId, decode_str};
use crate::mcp::ids::{PROGRESS_TOKEN, Param};
use crate::mcp::{Era, LogLevel, code, method};
use crate::metrics::{Limit, limit_hit};

impl Router {
    /// A message from the child.
    pub fn handle_child_message(&mut self, message: Message, now: Instant) {
        match message.kind() {
            Kind::Result | Kind::Error => self.child_answer(&message, now),
            Kind::Request => self.child_request(&message, now),
            Kind::Notification => self.child_notification(&message, now),
        }
    }

    /// The child answered the request with this child-side id, but with something that cannot be passed on.
    pub fn handle_unusable_answer(&mut self, id: u64, what: &str, now: Instant) {
        let id = ChildId(id);
        self.note_life(id);
        if self.is_clients_introduction(id) {
            self.handshake.give_up();
            self.reject(id, Reject::ChildAnswerUnusable(what.to_owned()));
        } else if self.handshake.awaits(id) {
            self.handshake.refused(what);
        } else if self.written_by(id).is_some() {
            self.reject(id, Reject::ChildAnswerUnusable(what.to_owned()));
        } else if self.listen.is(id) {
            self.listen_ended(id, None, now);
        } else if let Some(own) = self.take_own(id) {
            self.own_unusable(id, own, what, now);
        }
        self.cancelled.forget(id);
        self.pump(now);
    }

    fn child_answer(&mut self, message: &Message, now: Instant) {
        let Some(id) = ChildId::from_response(message) else {
            tracing::debug!("dropped a response of the child without an id of ours");
            return;
        };
        self.note_life(id);
        if self.is_clients_introduction(id) {
            self.client_introduced(id, message, now);
        } else if self.handshake.awaits(id) {
            self.handshake_answered(message, now);
        } else if self.listen.is(id) {
            self.listen_ended(id, Some(message), now);
        } else if let Some(own) = self.take_own(id) {
            self.own_answered(id, own, message, now);
        } else if self.written_by(id).is_some() {
            self.request_answered(id, message, now);
        } else if !self.cancelled.forget(id) {
            tracing::debug!(id = id.0, "dropped a response of the child that nobody waits for");
        }
        self.pump(now);
    }

    fn handshake_answered(&mut self, message: &Message, now: Instant) {
        let outcome = self.handshake.answered(message);
        if outcome == Outcome::Refused {
            return;
        }
        if !self.is_modern() && self.handshake.initialize_once() {
            self.tell_child(jsonrpc::notification(method::INITIALIZED, None));
        }
        let level = self.levels.replay();
        self.tell_level(level);
        for uri in self.subscriptions.uris() {
            self.subscribe_child(&uri);
        }
        self.listen.wish_changed();
        if outcome == Outcome::ReadyAgain {
            self.tell_lists_changed();
        }
        self.pump(now);
    }

    /// Another process may have other lists.
    pub(super) fn tell_lists_changed(&mut self) {
        for list in self.handshake.capabilities().lists() {
            self.tell_every_session(&jsonrpc::notification(list, None));
        }
    }

    fn request_answered(&mut self, id: ChildId, message: &Message, now: Instant) {
        let Some(request) = self.requests.get(id) else { return };
        let session = request.origin.session;
        if self.is_modern() {
            return self.modern_answer(id, session, message, now);
        }
        let Some(message) = self.sifted(id, message) else { return };
        let message = &*message;
        let Some(request) = self.requests.get(id) else { return };
        let mut frame = with_id(message, request.client_id.as_str());
        let purpose = request.purpose.clone();
        match purpose {
            Purpose::CreatesTask => {
                let progress = request.token.as_ref().map(|(_, token)| (id, token.clone()));
                if let Some(task) = created_task(message) {
                    self.tasks.insert(task, session, progress, self.config.bounds.tasks_per_session_max());
                }
            }
            Purpose::ListsTasks => match self.tasks.filter_list(session, message) {
                Ok(Some((span, own))) => frame = frame.replace(span, own),
                Ok(None) => {}
                Err(_) => {
                    return self.reject(id, Reject::ChildAnswerUnusable("`tasks` is not unique".to_owned()));
                }
            },
            Purpose::TaskResult(task) => self.tasks.exhaust(&task),
            Purpose::Task(task) => {
                if told_status(message).as_deref() == Some("cancelled") {
                    self.tasks.exhaust(&task);
                }
            }
            Purpose::SetLevel(_) | Purpose::Subscribe(_) | Purpose::Unsubscribe(_) => {
                self.keep_state(session, &purpose, message);
            }
            Purpose::Plain
            | Purpose::MayAsk
            | Purpose::CallsTool
            | Purpose::ListsTools
            | Purpose::Reads
            | Purpose::Listen
            | Purpose::Initialize => {}
        }
        for elicitation in required_elicitations(message) {
            self.remember_elicitation(elicitation, session);
        }
        self.settle(id, |_| Payload::Response(frame));
    }

    fn child_request(&mut self, message: &Message, now: Instant) {
        let Some(child_request) = message.id() else { return };
        let handshake = self.handshake_method();
        if message.method() == handshake && self.stage() == Stage::Handshake {
            self.handshake.refused(&format!("it sent `{handshake}` back, so it is no MCP server"));
            return;
        }
        if self.is_modern() {
            return self.drop_modern_request(message, now);
        }
        if message.method() == method::PING {
            self.tell_child(jsonrpc::result_response(&child_request, "{}"));
            return;
        }
        let need = Need::of(message);
        match self.attribute(message, need, now) {
            Ok((session, stream)) => {
                self.ask(session, stream, child_request, message);
                // With --on-ambiguous serialize the answer may depend on requests of the same session that wait.
                self.pump(now);
            }
            Err(why) => {
                self.unattributed += 1;
                let text = self.refusal(why, need);
                if let Some(left_out) = self.may_log(now) {
                    tracing::warn!(
                        method = message.method(),
                        ?why,
                        left_out,
                        "the child asked, and got an error: {text}"
                    );
                }
                match need.required().filter(|_| self.only_modern_ones_can_have_been_meant(why)) {
                    Some(required) => {
                        let error = json!({"code": code::MISSING_CAPABILITY, "message": text,
                                           "data": {"requiredCapabilities": required}});
                        self.tell_child(jsonrpc::error_response(Some(&child_request), &error));
                    }
                    None => self.refuse_child(&child_request, "not-attributable", &text),
                }
            }
        }
    }

    /// Whether what was asked belongs to a modern request that declared too little (2026-07-28, Overview, `_meta`), so that
    /// the child is to be told in the words of that era.
    fn only_modern_ones_can_have_been_meant(&self, why: Unattributed) -> bool {
        let is_modern = |session| self.sessions.get(&session).is_some_and(|profile| profile.era == Era::Modern);
        let mut busy = self.requests.busy_sessions().peekable();
        matches!(why, Unattributed::Nobody | Unattributed::Undeclared) && busy.peek().is_some() && busy.all(is_modern)
    }

    fn ask(&mut self, session: SessionKey, stream: StreamId, child_request: RawId, message: &Message) {
        let token = Self::child_token(message);
        let has_token = token.is_some();
        let of_task = matches!(Self::related_task(message), Ok(Some(_)));
        let scope = self.sharing.scope(of_task);
        let asker = Asker::Child { request: child_request.clone(), token };
        let question = Question { session, stream, asker, scope };
        let id = match self.questions.open(question, self.config.bounds.questions_max) {
            Ok(id) => id,
            Err(why) => return self.refuse_child(&child_request, "not-possible", why),
        };
        let mut frame = with_id(message, id.text());
        let meta = message.param(Param::Meta).filter(|_| has_token);
        if let Some(span) = meta.and_then(|meta| message.member(meta, PROGRESS_TOKEN).ok().flatten()) {
            frame = frame.replace(span, id.text());
        }
        if let Some(elicitation) = message.param_str(Param::ElicitationId) {
            self.remember_elicitation(elicitation.into_owned(), session);
        }
        self.tell_session(session, stream, Payload::Message(frame));
    }

    fn child_notification(&mut self, message: &Message, now: Instant) {
        if self.is_modern() {
            return self.modern_notification(message, now);
        }
        self.tell_notification(message, now);
    }

    pub(super) fn tell_notification(&mut self, message: &Message, now: Instant) {
        if self.is_retired() && is_news(message.method()) {
            if self.news.len() < NEWS_MAX {
                self.news.push_back(message.clone());
            }
            return;
        }
        match message.method() {
            method::PROGRESS => self.child_progress(message, now),
            method::CANCELLED => self.child_cancels(message, now),
            method::TASK_STATUS => self.task_status(message),
            _ if self.tenant().is_some() => self.tell_tenant(message),
            method::MESSAGE => self.log_message(message, now),
            method::TOOLS_LIST_CHANGED | method::PROMPTS_LIST_CHANGED | method::RESOURCES_LIST_CHANGED => {
                self.tell_every_session(&Frame::new(message.bytes().clone()));
            }
            method::RESOURCE_UPDATED => {
                let Some(uri) = message.param_str(Param::Uri) else { return };
                for session in self.subscriptions.subscribers(&uri) {
                    if self.may_be_told(session, message) {
                        self.notify(session, StreamId::STANDALONE, message);
                    }
                }
            }
            method::ELICITATION_COMPLETE => {
                let Some(id) = message.param_str(Param::ElicitationId) else { return };
                let mut asked = self.elicitations.iter().filter(|(elicitation, _)| *elicitation == id);
                // Two sessions with one id: it could be either's.
                if let (Some((_, session)), None) = (asked.next(), asked.next()) {
                    self.notify(*session, StreamId::STANDALONE, message);
                }
            }
            _ => match self.attribute(message, Need::Nothing, now) {
                Ok((session, stream)) => self.notify(session, stream, message),
                Err(why) => {
                    self.unattributed += 1;
                    tracing::debug!(method = message.method(), ?why, "dropped a notification that is nobody's");
                }
            },
        }
    }

    pub(super) fn child_progress(&mut self, message: &Message, now: Instant) {
        let Some(span) = message.param(Param::ProgressToken) else { return };
        let Some(id) = ChildId::from_token(message.text(span)) else {
            tracing::debug!("progress under a token that is not ours");
            return self.tell_tenant(message);
        };
        self.note_life(id);
        let frame = Frame::new(message.bytes().clone());
        let request = self.requests.get(id).filter(|request| matches!(request.phase, Phase::Written));
        if let Some(request) = request {
            let Some((_, token)) = &request.token else { return };
            let (origin, frame) = (request.origin, frame.replace(span, token.as_str()));
            self.tell_session(origin.session, origin.stream, Payload::Message(frame));
            self.renew_deadline(id, now);
        } else if let Some((session, token)) = self.tasks.progress(id) {
            let frame = frame.replace(span, token.as_str());
            self.tell_session(session, StreamId::STANDALONE, Payload::Message(frame));
        }
    }

    /// The child gives up a question of its own.
    fn child_cancels(&mut self, message: &Message, now: Instant) {
        let Some(span) = message.param(Param::RequestId) else { return };
        let Some(id) = self.questions.by_child_request(&RawId::from_json(message.text(span))) else { return };
        if let Some(question) = self.questions.close(id) {
            let frame = Frame::new(message.bytes().clone()).replace(span, id.text());
            self.tell_session(question.session, question.stream, Payload::Message(frame));
            self.end_waiting_for(question.session, now);
        }
    }

    pub(super) fn log_message(&mut self, message: &Message, now: Instant) {
        let level = message.param_str(Param::Level).and_then(|name| LogLevel::from_name(&name));
        let need = if self.is_modern() { Need::Log } else { Need::Nothing };
        match self.attribute(message, need, now) {
            // spec: 2026-07-28 server/utilities/logging: none to a request that did not ask for them.
            Ok((session, _)) if self.is_exchange(session) && !self.asks_for_logs(session) => {}
            Ok((session, stream)) if self.levels.admits(session, level) => self.notify(session, stream, message),
            Ok(_) => {}
            Err(why) => {
                self.unattributed += 1;
                // Like its stderr: the operator's to see, no client's.
                let Some(left_out) = self.may_log(now) else { return };
                let params = message.params().map_or("", |span| message.text(span));
                let start: String = params.chars().take(LOGGED_CHARS_MAX).collect();
                tracing::info!(target: "mcp_mux::child::message", ?why, left_out, params = start, "log message of the child");
            }
        }
    }

    /// Whether something that the child caused may be logged now, and how much was left out before it.
    pub(super) fn may_log(&mut self, now: Instant) -> Option<u64> {
        self.flood.admit(now).then(|| self.flood.finish().unwrap_or(0))
    }

    fn task_status(&mut self, message: &Message) {
        let Some(task) = message.param_str(Param::TaskId) else { return };
        if let Some(owner) = self.tenant().or_else(|| self.tasks.owner(&task)) {
            self.notify(owner, StreamId::STANDALONE, message);
        }
        match message.param_str(Param::Status).as_deref() {
            Some("completed" | "failed") => self.tasks.end_progress(&task),
            Some("cancelled") => self.tasks.exhaust(&task),
            Some(_) | None => {}
        }
    }

    pub(super) fn notify(&mut self, session: SessionKey, stream: StreamId, message: &Message) {
        self.tell_session(session, stream, Payload::Message(Frame::new(message.bytes().clone())));
    }

    pub(super) fn tell_every_session(&mut self, frame: &Frame) {
        let open = |(session, profile): (&SessionKey, &super::Profile)| profile.revision.map(|_| *session);
        let sessions: Vec<SessionKey> = self.sessions.iter().filter_map(open).collect();
        for session in sessions {
            self.tell_session(session, StreamId::STANDALONE, Payload::Message(frame.clone()));
        }
    }

    /// What the child is told when nobody can be asked.
    fn refusal(&self, why: Unattributed, need: Need) -> String {
        let capability = match need {
            Need::Log | Need::Nothing => String::new(),
            Need::Roots | Need::Sampling | Need::ElicitationForm | Need::ElicitationUrl => {
                format!(" and declared the capability {}", need.name())
            }
        };
        match (why, self.config.on_ambiguous) {
            (Unattributed::Gone, _) => "the task or request that this belongs to is gone".to_owned(),
            (Unattributed::Undeclared, _) => format!("the client did not declare the capability {}", need.name()),
            (Unattributed::Nobody, _) => format!("no client can be asked: none has a request in flight{capability}"),
            (Unattributed::Several, OnAmbiguous::Reject) => format!(
                "several clients could be meant, since more than one has a request in flight{capability}; \
                 run mcp-mux with --on-ambiguous serialize, or with --isolation session"
            ),
            (Unattributed::Several, OnAmbiguous::Serialize) => {
                "several clients could be meant: a request that another \
                 client cancelled a moment ago may still be at work; try again, or run mcp-mux with --isolation session"
                    .to_owned()
            }
        }
    }

    pub(super) fn remember_elicitation(&mut self, id: String, session: SessionKey) {
        if id.len() > ID_BYTES_MAX {
            return limit_hit(Limit::MessageForm);
        }
        if self.elicitations.iter().any(|(known, asked)| *known == id && *asked == session) {
            return;
        }
        self.elicitations.push_back((id, session));
        let own = self.elicitations.iter().filter(|(_, asked)| *asked == session).count();
        let oldest = if own > self.config.bounds.elicitations_per_session_max() {
            self.elicitations.iter().position(|(_, asked)| *asked == session)
        } else {
            (self.elicitations.len() > self.config.bounds.elicitations_max()).then_some(0)
        };
        if let Some(oldest) = oldest {
            limit_hit(Limit::QuestionsMax);
            self.elicitations.remove(oldest);
        }
    }
}

/// Whether it belongs to no request, but to whoever is interested.
pub(super) fn is_news(method: &str) -> bool {
    matches!(
        method,
        method::TOOLS_LIST_CHANGED
            | method::PROMPTS_LIST_CHANGED
            | method::RESOURCES_LIST_CHANGED
            | method::RESOURCE_UPDATED
    )
}

/// The most that waits to be told by the successor, which is asked to after every turn.
pub(super) const NEWS_MAX: usize = 4096;
/// How much of a log message that belongs to no client goes to mcp-mux's own log.
const LOGGED_CHARS_MAX: usize = 200;

/// The id of the task in a `CreateTaskResult`.
fn created_task(message: &Message) -> Option<String> {
    let task = message.member(message.result()?, "task").ok()??;
    let id = message.member(task, "taskId").ok()??;
    decode_str(message.text(id)).map(std::borrow::Cow::into_owned)
}

/// The status in the answer to `tasks/get` or `tasks/cancel`.
fn told_status(message: &Message) -> Option<std::borrow::Cow<'_, str>> {
    let status = message.member(message.result()?, "status").ok()??;
    decode_str(message.text(status))
}

/// The elicitations that a request has to be preceded by (2025-11-25, Elicitation, URL Elicitation Required Error).
fn required_elicitations(message: &Message) -> Vec<String> {
    #[derive(Deserialize)]
    struct Error {
        code: i32,
        data: Option<Data>,
    }
    #[derive(Deserialize)]
    struct Data {
        elicitations: Vec<Elicitation>,
    }
    #[derive(Deserialize)]
    struct Elicitation {
        #[serde(rename = "elicitationId")]
        id: String,
    }
    let Some(span) = message.error() else { return Vec::new() };
    match serde_json::from_str::<Error>(message.text(span)) {
        Ok(Error { code: code::URL_ELICITATION_REQUIRED, data: Some(data) }) => {
            data.elicitations.into_iter().map(|elicitation| elicitation.id).collect()
        }
        Ok(_) | Err(_) => Vec::new(),
    }
}
