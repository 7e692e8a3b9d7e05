//! A request of a modern client that a legacy child is at work on, over one POST or several.
//!
//! What the child asks meanwhile ends the POST with an `InputRequiredResult`; the conversation is then parked, with its
//! reader, its session and its lease, until the client comes back with answers, and goes on under the new request's id.
//! Nobody comes back: it is dropped, which cancels the request in the child.
//!
//! Spec: 2026-07-28, Multi Round-Trip Requests; Logging; Progress.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde_json::value::RawValue;
use serde_json::{Value, json};
use tokio::time::Instant;
use tracing::debug;

use super::fault::{Fault, status_of};
use super::steps::{Exchange, Last, Said};
use super::{Modern, hand_over};
use crate::era::discover::Introduction;
use crate::era::envelope::Envelope;
use crate::era::headers::text_param;
use crate::era::legacy;
use crate::era::state::{State, binding, is_ours};
use crate::error::Reject;
use crate::jsonrpc::{self, Frame, Kind, Message, RawId};
use crate::mcp::ids::Param;
use crate::mcp::{LogLevel, code, method};
use crate::pool::Principal;
use crate::router::ClientCapabilities;
use crate::router::need::Need;
use crate::session::{Answer, Item, Owned, Parked, Registry, StreamReader, declared};

/// A request under way.
pub(super) struct Conversation {
    reader: StreamReader,
    modern: Arc<Modern>,
    /// Whom it is for.
    principal: Box<str>,
    /// As the client sent it last.
    request: Message,
    /// As the child has it.
    sent: Message,
    /// When it was handed over.
    begun: Instant,
    id: RawId,
    token: Option<RawId>,
    level: Option<LogLevel>,
    capabilities: ClientCapabilities,
    introduction: Introduction,
    /// What the child asked and the client has not answered.
    open: Vec<Question>,
    /// How many questions there were.
    asked: u64,
    /// Until when it is waited for more questions, while there is one.
    gather_until: Option<Instant>,
    /// The child is done with the request until the client has seen to the open questions: then it is sent again.
    again: bool,
    /// After the reader, which is to leave first.
    owned: Owned,
}

/// A question of the child.
struct Question {
    /// Its key among the `inputRequests`, as long as it is open.
    key: String,
    /// The id to answer it under; none if the child does not wait for an answer.
    id: Option<RawId>,
    /// As the client is asked.
    request: String,
}

impl Conversation {
    /// Translates the request and hands it over.
    pub(super) async fn begin(
        owned: Owned,
        message: &Message,
        envelope: &Envelope,
        introduction: Introduction,
        (principal, modern): (&Principal, Arc<Modern>),
    ) -> Result<Self, Fault> {
        let id = message.id().ok_or_else(|| Reject::InvalidRequest("a request must have an id".to_owned()))?;
        let sent =
            legacy::request(message).ok_or_else(|| Fault::Params("a member of params occurs twice".to_owned()))?;
        let session = owned.session();
        let capabilities = session.capabilities();
        let reader = hand_over(session, sent.clone()).await?;
        Ok(Self {
            reader,
            modern,
            principal: principal.name().unwrap_or_default().into(),
            request: message.clone(),
            sent,
            begun: Instant::now(),
            id,
            token: envelope.token.clone(),
            level: envelope.level,
            capabilities,
            introduction,
            open: Vec::new(),
            asked: 0,
            gather_until: None,
            again: false,
            owned,
        })
    }

    // --- what the child says ---

    /// What of a message is for the client.
    async fn message(&mut self, frame: Frame) -> Option<Frame> {
        let message = Message::parse(frame.into_bytes(), usize::MAX).ok()?;
        match message.kind() {
            Kind::Notification => self.notification(&message),
            Kind::Request => {
                self.question(&message).await;
                None
            }
            Kind::Result | Kind::Error => None,
        }
    }

    fn notification(&mut self, message: &Message) -> Option<Frame> {
        let frame = Frame::new(message.bytes().clone());
        match message.method() {
            // A retry has a token of its own.
            method::PROGRESS => {
                Some(frame.replace(message.param(Param::ProgressToken)?, self.token.as_ref()?.as_str()))
            }
            method::MESSAGE => {
                let level = message.param_str(Param::Level).and_then(|name| LogLevel::from_name(&name));
                (level.unwrap_or(LogLevel::Emergency) >= self.level?).then_some(frame)
            }
            method::CANCELLED => {
                let cancelled = message.param(Param::RequestId).map(|span| RawId::from_json(message.text(span)));
                self.open.retain(|question| question.id.is_none() || question.id != cancelled);
                None
            }
            // These are for those who listen, or are of the legacy era only.
            method::TOOLS_LIST_CHANGED
            | method::PROMPTS_LIST_CHANGED
            | method::RESOURCES_LIST_CHANGED
            | method::RESOURCE_UPDATED
            | method::ELICITATION_COMPLETE
            | method::TASK_STATUS => None,
            _ => Some(frame),
        }
    }

    async fn question(&mut self, message: &Message) {
        let Some(id) = message.id() else { return };
        let need = Need::of(message);
        let Some(required) = need.required() else {
            let error = json!({"code": code::METHOD_NOT_FOUND, "message": "clients of 2026-07-28 have no such method"});
            return self.refuse(&id, &error).await;
        };
        if !need.is_met_by(self.capabilities) {
            let message = "the client did not declare the capability for this request";
            let data = json!({"requiredCapabilities": required});
            return self
                .refuse(&id, &json!({"code": code::MISSING_CAPABILITY, "message": message, "data": data}))
                .await;
        }
        let possible = method::may_require_input(self.request.method()) && self.open.len() < QUESTIONS_MAX;
        let Some(request) = legacy::input_request(message).filter(|_| possible) else {
            let message = "the client cannot be asked that during this request";
            return self.refuse(&id, &json!({"code": code::QUESTION_REFUSED, "message": message})).await;
        };
        self.ask(need, Some(id), request);
    }

    fn ask(&mut self, need: Need, id: Option<RawId>, request: String) {
        self.asked += 1;
        self.open.push(Question { key: format!("{}-{}", need.capability(), self.asked), id, request });
        self.gather_until.get_or_insert_with(|| Instant::now() + GATHER);
    }

    async fn refuse(&self, id: &RawId, error: &Value) {
        self.tell(jsonrpc::error_response(Some(id), error)).await;
    }

    /// Answers the child.
    async fn tell(&self, answer: Frame) {
        let Ok(answer) = Message::parse(answer.into_bytes(), usize::MAX) else { return };
        if let Err(reject) = self.owned.session().send(answer).await {
            debug!(kind = reject.wire().kind, "the child did not take an answer");
        }
    }

    /// The child answered the request.
    fn answer(mut self, answer: Answer) -> (Said, Option<Self>) {
        let frame = match answer {
            Answer::Rejected(_, reject) => return self.fail(reject.into()),
            Answer::Response(frame) | Answer::Initialized(frame, _) => frame,
        };
        let message = match Message::parse(frame.into_bytes(), usize::MAX) {
            Ok(message) => message,
            Err(error) => return self.fail(Reject::ChildAnswerUnusable(error.to_string()).into()),
        };
        let code = legacy::error_code(&message);
        if code == Some(code::URL_ELICITATION_REQUIRED) && method::may_require_input(self.request.method()) {
            if !self.capabilities.elicitation_url {
                return self.fail(Fault::Capability(json!({"elicitation": {"url": {}}})));
            }
            // What the child asked before it gave up is pointless now.
            self.open.clear();
            for request in legacy::required_elicitations(&message).into_iter().take(QUESTIONS_MAX) {
                self.ask(Need::ElicitationUrl, None, request);
            }
            if !self.open.is_empty() {
                self.again = true;
                return self.park();
            }
        }
        let method = self.request.method();
        if method == method::TOOLS_LIST {
            self.modern.tools.pass(&message);
        }
        let uri = text_param(&self.request, "uri").filter(|_| method == method::RESOURCES_READ);
        let info = self.introduction.server_info.as_deref();
        let frame = legacy::response(&message, method, &self.id, info, uri.as_deref());
        (Said::Last(Last { status: status_of(code), ..Last::ok(frame) }), None)
    }

    fn fail(self, fault: Fault) -> (Said, Option<Self>) {
        (Said::Last(fault.into_last(Some(&self.id))), None)
    }

    // --- from one round to the next ---

    /// Ends this round: the client is asked, and the conversation waits for it.
    fn park(mut self) -> (Said, Option<Self>) {
        self.gather_until = None;
        let registry = Arc::clone(self.owned.registry());
        let now = Instant::now();
        let deadline = registry.input_deadline(self.begun, now);
        // Rounded up: the deadline is what counts.
        let left = deadline.saturating_duration_since(now).as_secs() + 1;
        let state = State { parked: Parked::<()>::number(), expires_unix: unix_seconds().saturating_add(left) };
        let binding = binding(&self.principal, &self.request);
        let sealed = self.modern.sealer.as_ref().and_then(|sealer| sealer.seal(state, &binding).ok());
        let Some(sealed) = sealed else {
            return self.fail(Reject::ChildUnavailable("the system gave no random bytes".to_owned()).into());
        };
        let requests = self.open.iter().map(|question| (&*question.key, &*question.request));
        let frame = legacy::input_required(&self.id, requests, &sealed, self.introduction.server_info.as_deref());
        debug!(session = %self.owned.session().id(), questions = self.open.len(), "the client is asked");
        let (id, bytes) = (self.id.clone(), self.bytes());
        match registry.park(state.parked, Box::new(self), bytes, deadline) {
            Ok(()) => (Said::Last(Last::ok(frame)), None),
            Err(reject) => (Said::Last(Fault::from(reject).into_last(Some(&id))), None),
        }
    }

    /// What it holds while it is parked.
    fn bytes(&self) -> usize {
        let questions: usize = self.open.iter().map(|question| question.request.len()).sum();
        self.request.bytes().len() + self.sent.bytes().len() + questions
    }

    /// The client has come back: what it answers goes to the child.
    async fn go_on(
        &mut self,
        message: &Message,
        envelope: &Envelope,
        mut answers: HashMap<String, Box<RawValue>>,
    ) -> Result<(), Fault> {
        self.id = message.id().ok_or_else(|| Reject::InvalidRequest("a request must have an id".to_owned()))?;
        self.request = message.clone();
        self.token = envelope.token.clone();
        self.level = envelope.level;
        self.capabilities = declared(&envelope.capabilities);
        let mut declined = false;
        for question in std::mem::take(&mut self.open) {
            // What is no result of a client is no answer: it is asked for again.
            let answer = answers.remove(&question.key).filter(|answer| answer.get().starts_with('{'));
            match (answer, &question.id) {
                (Some(answer), Some(id)) => self.tell(jsonrpc::result_response(id, answer.get())).await,
                (Some(answer), None) => declined |= !accepts(answer.get()),
                (None, _) => self.open.push(question),
            }
        }
        if declined {
            return Err(Fault::Params("the user did not accept what the server requires".to_owned()));
        }
        if !self.open.is_empty() {
            self.gather_until = Some(Instant::now() + GATHER);
        } else if std::mem::take(&mut self.again) {
            self.begun = Instant::now();
            self.reader = hand_over(self.owned.session(), self.sent.clone()).await?;
        }
        Ok(())
    }
}

impl Exchange for Conversation {
    async fn next(mut self) -> (Said, Option<Self>) {
        loop {
            if self.open.is_empty() {
                self.gather_until = None;
            }
            let item = match self.gather_until {
                None => self.reader.next().await,
                Some(_) if self.again => return self.park(),
                Some(until) => match tokio::time::timeout_at(until, self.reader.next()).await {
                    Ok(item) => item,
                    Err(_) => return self.park(),
                },
            };
            match item {
                Some(Item::Message(frame)) => {
                    if let Some(frame) = self.message(frame).await {
                        return (Said::Message(frame), Some(self));
                    }
                }
                Some(Item::Answer(answer)) => return self.answer(answer),
                None => return self.fail(Reject::SessionClosed.into()),
            }
        }
    }
}

impl Modern {
    /// The conversation that a `requestState` stands for, with the client's answers on their way to the child.
    pub(super) async fn resume(
        &self,
        registry: &Registry,
        message: &Message,
        envelope: &Envelope,
        (principal, state): (&Principal, &str),
    ) -> Result<Option<Conversation>, Fault> {
        let binding = binding(principal.name().unwrap_or_default(), message);
        if !is_ours(state) {
            // It may be that of a child of the modern era.
            return Ok(None);
        }
        let state = self.sealer.as_ref().and_then(|sealer| sealer.open(state, &binding)).ok_or(Fault::State(
            "requestState is not valid for this request: it was altered, or given for another request or client",
        ))?;
        let answers = message.params().and_then(|params| message.member(params, "inputResponses").transpose());
        let answers: HashMap<String, Box<RawValue>> = match answers {
            None => HashMap::new(),
            Some(Ok(span)) => serde_json::from_str(message.text(span))
                .map_err(|_| Fault::Params("inputResponses must be an object".to_owned()))?,
            Some(Err(_)) => return Err(Fault::Params("inputResponses occurs twice".to_owned())),
        };
        if state.expires_unix <= unix_seconds() {
            return Err(Fault::State("requestState has expired"));
        }
        let parked = registry.parked().take(state.parked, Instant::now());
        let parked = parked.and_then(|parked| parked.downcast::<Conversation>().ok());
        let mut conversation =
            *parked.ok_or(Fault::State("requestState was used already, or what it stands for is over"))?;
        conversation.go_on(message, envelope, answers).await?;
        Ok(Some(conversation))
    }
}

/// Whether an `ElicitResult` accepts.
fn accepts(result: &str) -> bool {
    serde_json::from_str::<Value>(result)
        .is_ok_and(|result| result.get("action").is_some_and(|action| action == "accept"))
}

fn unix_seconds() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs()
}

/// How long it is waited for more questions: a server that asks several at once writes them in one go.
const GATHER: Duration = Duration::from_millis(10);
/// The most questions of a round.
const QUESTIONS_MAX: usize = 256;
