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

use http::HeaderMap;
use serde_json::value::RawValue;
use serde_json::{Value, json};
use tokio::time::Instant;
use tracing::debug;

use super::fault::{Fault, status_of};
use super::steps::{Exchange, Last, Said};
use super::tools::Listing;
use super::{Modern, check_arguments, hand_over};
use crate::era::discover::Introduction;
use crate::era::envelope::Envelope;
use crate::era::headers::text_param;
use crate::era::legacy;
use crate::era::state::{State, binding, is_ours};
use crate::error::Reject;
use crate::jsonrpc::{self, Frame, Kind, Message, RawId};
use crate::mcp::ids::Param;
use crate::mcp::{Era, LogLevel, code, method};
use crate::router::ClientCapabilities;
use crate::router::need::Need;
use crate::session::{Answer, Attention, Item, Owned, Parked, Registry, StreamReader, declared};

/// A request under way.
pub(super) struct Conversation {
    reader: StreamReader,
    modern: Arc<Modern>,
    /// Whom it is for, as only it is: see [`crate::pool::Tenant::identity`].
    who: Vec<u8>,
    /// As the client sent it last; none while it is parked, for its retry brings it again.
    request: Option<Message>,
    method: Box<str>,
    /// Of a `resources/read`.
    uri: Option<Box<str>>,
    /// When it was handed over.
    begun: Instant,
    id: RawId,
    token: Option<RawId>,
    level: Option<LogLevel>,
    capabilities: ClientCapabilities,
    server_info: Option<Box<str>>,
    /// What of the client's words its session keeps.
    client_bytes: usize,
    listing: Option<Listing>,
    /// What the child asked and the client has not answered.
    open: Vec<Question>,
    /// How many questions there were.
    asked: u64,
    /// Since when it is waited for more questions, and until when, while there is one.
    gathering: Option<(Instant, Instant)>,
    /// The child is done with the request until the client has seen to the open questions: then it is sent again.
    again: bool,
    /// What the child was last told that the client did not declare.
    refused: Option<Need>,
    /// After the reader, which is to leave first.
    owned: Owned,
}

/// A question of the child.
struct Question {
    /// Its key among the `inputRequests`, as long as it is open.
    key: String,
    /// The id to answer it under; none if the child does not wait for an answer.
    id: Option<RawId>,
    /// What the client must have declared.
    need: Need,
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
        (who, modern): (Vec<u8>, Arc<Modern>),
    ) -> Result<Self, Fault> {
        let id = message.id().ok_or_else(|| Reject::InvalidRequest("a request must have an id".to_owned()))?;
        let uri = text_param(message, "uri")
            .ok()
            .flatten()
            .filter(|_| message.method() == method::RESOURCES_READ)
            .map(Into::into);
        let session = owned.session();
        let capabilities = session.capabilities();
        let listing = Listing::of(message, session);
        let reader = hand_over(session, translated(message)?).await?;
        Ok(Self {
            reader,
            modern,
            who,
            request: Some(message.clone()),
            method: message.method().into(),
            uri,
            begun: Instant::now(),
            id,
            token: envelope.token.clone(),
            level: envelope.level,
            capabilities,
            server_info: introduction.server_info,
            client_bytes: envelope.capabilities.len() + envelope.client_info.as_ref().map_or(0, |info| info.len()),
            listing,
            open: Vec::new(),
            asked: 0,
            gathering: None,
            again: false,
            refused: None,
            owned,
        })
    }

    // --- what the child says ---

    /// What of a message is for the client.
    async fn message(&mut self, frame: Frame) -> Result<Option<Frame>, Reject> {
        let Ok(message) = Message::parse(frame.into_bytes(), usize::MAX) else { return Ok(None) };
        match message.kind() {
            Kind::Notification => return Ok(self.notification(&message)),
            Kind::Request => self.question(&message).await?,
            Kind::Result | Kind::Error => {}
        }
        Ok(None)
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

    async fn question(&mut self, message: &Message) -> Result<(), Reject> {
        let Some(id) = message.id() else { return Ok(()) };
        let need = Need::of(message);
        if need.required().is_none() {
            let error = json!({"code": code::METHOD_NOT_FOUND, "message": "clients of 2026-07-28 have no such method"});
            return self.refuse(&id, &error).await;
        }
        if !need.is_met_by(self.capabilities) {
            return self.refuse_undeclared(&id, need).await;
        }
        let bytes = self.open_bytes();
        let possible = method::may_require_input(&self.method) && self.open.len() < QUESTIONS_MAX;
        let request = legacy::input_request(message).filter(|_| possible);
        let Some(request) = request.filter(|request| bytes == 0 || bytes + request.len() <= QUESTIONS_BYTES_MAX) else {
            let message = "the client cannot be asked that during this request";
            return self.refuse(&id, &json!({"code": code::QUESTION_REFUSED, "message": message})).await;
        };
        self.ask(need, Some(id), request);
        Ok(())
    }

    fn ask(&mut self, need: Need, id: Option<RawId>, request: String) {
        self.asked += 1;
        self.open.push(Question { key: format!("{}-{}", need.capability(), self.asked), id, need, request });
        self.gather();
    }

    /// Waits a little for more questions: from the last one on, but not for ever from the first one on.
    fn gather(&mut self) {
        let now = Instant::now();
        let since = self.gathering.map_or(now, |(since, _)| since);
        self.gathering = Some((since, (now + GATHER).min(since + GATHER_MAX)));
    }

    async fn refuse_undeclared(&mut self, id: &RawId, need: Need) -> Result<(), Reject> {
        self.refused = Some(need);
        let message = "the client did not declare the capability for this request";
        let data = json!({"requiredCapabilities": need.required()});
        self.refuse(id, &json!({"code": code::MISSING_CAPABILITY, "message": message, "data": data})).await
    }

    async fn refuse(&self, id: &RawId, error: &Value) -> Result<(), Reject> {
        self.tell(jsonrpc::error_response(Some(id), error)).await
    }

    /// Answers the child. Where that fails, the child would wait for ever, so the exchange does too.
    async fn tell(&self, answer: Frame) -> Result<(), Reject> {
        let answer = Message::parse(answer.into_bytes(), usize::MAX);
        self.owned.session().send(answer.map_err(|error| Reject::InvalidRequest(error.to_string()))?).await
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
        if code == Some(code::URL_ELICITATION_REQUIRED) && method::may_require_input(&self.method) {
            let required = legacy::required_elicitations(&message);
            if !required.is_empty() && !Need::ElicitationUrl.is_met_by(self.capabilities) {
                return self.fail(lacks(Need::ElicitationUrl));
            }
            if !required.is_empty() {
                // What the child asked before it gave up is pointless now.
                self.open.clear();
                required.into_iter().take(QUESTIONS_MAX).for_each(|one| self.ask(Need::ElicitationUrl, None, one));
                self.again = true;
                return self.park();
            }
        }
        if code == Some(code::MISSING_CAPABILITY)
            && let Some(need) = self.refused.or_else(|| self.missing(&message))
        {
            return self.fail(lacks(need));
        }
        if let Some(listing) = self.listing.take() {
            listing.answered(&message);
        }
        let info = self.server_info.as_deref();
        match legacy::response(&message, &self.method, &self.id, info, self.uri.as_deref()) {
            Ok((code, frame)) => (Said::Last(Last { status: status_of(Era::Legacy, code), ..Last::ok(frame) }), None),
            Err(what) => self.fail(Reject::ChildAnswerUnusable(what.to_owned()).into()),
        }
    }

    /// What an error of the child says that the client did not declare: it may have been told so by the router.
    fn missing(&self, error: &Message) -> Option<Need> {
        let said = legacy::required_capabilities(error)?;
        let missing = |need: &Need| !need.is_met_by(self.capabilities) && need.required().as_ref() == Some(&said);
        Need::CAPABILITIES.into_iter().find(missing)
    }

    fn fail(self, fault: Fault) -> (Said, Option<Self>) {
        (Said::Last(fault.into_last(Some(&self.id))), None)
    }

    // --- from one round to the next ---

    /// Ends this round: the client is asked, and the conversation waits for it.
    fn park(mut self) -> (Said, Option<Self>) {
        self.gathering = None;
        let registry = Arc::clone(self.owned.registry());
        let now = Instant::now();
        let deadline = registry.input_deadline(self.begun, now);
        // Rounded up: the deadline is what counts.
        let left = deadline.saturating_duration_since(now).as_secs() + 1;
        let state = State { parked: Parked::<()>::number(), expires_unix: unix_seconds().saturating_add(left) };
        self.reader.attend(Attention::Lasting);
        // What the retry brings again is not kept.
        let request = self.request.take();
        let binding = request.map(|request| binding(&self.who, &request)).unwrap_or_default();
        let sealed = self.modern.sealer.as_ref().and_then(|sealer| sealer.seal(state, &binding).ok());
        let Some(sealed) = sealed else {
            return self.fail(Reject::ChildUnavailable("the system gave no random bytes".to_owned()).into());
        };
        let requests = self.open.iter().map(|question| (&*question.key, &*question.request));
        let frame = legacy::input_required(&self.id, requests, &sealed, self.server_info.as_deref());
        debug!(session = %self.owned.session().id(), questions = self.open.len(), "the client is asked");
        let (id, bytes) = (self.id.clone(), self.bytes());
        match registry.park(state.parked, Box::new(self), bytes, deadline) {
            Ok(()) => (Said::Last(Last::ok(frame)), None),
            Err(reject) => (Said::Last(Fault::from(reject).into_last(Some(&id))), None),
        }
    }

    /// How much it is asked for.
    fn open_bytes(&self) -> usize {
        self.open.iter().map(|question| question.key.len() + question.request.len()).sum()
    }

    /// What it holds while it is parked.
    fn bytes(&self) -> usize {
        let info = self.server_info.as_ref().map_or(0, |info| info.len());
        let method = self.method.len() + self.uri.as_ref().map_or(0, |uri| uri.len());
        size_of::<Self>() + self.open_bytes() + self.who.len() + self.client_bytes + info + method
    }

    /// The client has come back: what it answers goes to the child.
    async fn go_on(
        &mut self,
        message: &Message,
        envelope: &Envelope,
        mut answers: HashMap<String, Box<RawValue>>,
    ) -> Result<(), Fault> {
        self.id = message.id().ok_or_else(|| Reject::InvalidRequest("a request must have an id".to_owned()))?;
        self.reader.attend(Attention::Full);
        self.request = Some(message.clone());
        self.token = envelope.token.clone();
        self.level = envelope.level;
        self.capabilities = declared(&envelope.capabilities);
        let mut declined = false;
        for question in std::mem::take(&mut self.open) {
            // What is no result of a client is no answer: it is asked for again, if it still may be.
            let answer = answers.remove(&question.key).filter(|answer| answer.get().starts_with('{'));
            match (answer, &question.id) {
                (Some(answer), Some(id)) => self.tell(jsonrpc::result_response(id, answer.get())).await?,
                (Some(answer), None) => declined |= !accepts(answer.get()),
                (None, _) if question.need.is_met_by(self.capabilities) => self.open.push(question),
                (None, Some(id)) => self.refuse_undeclared(id, question.need).await?,
                (None, None) => return Err(lacks(question.need)),
            }
        }
        if declined {
            return Err(Fault::Params("the user did not accept what the server requires".to_owned()));
        }
        if !self.open.is_empty() {
            self.gather();
        } else if std::mem::take(&mut self.again) {
            self.begun = Instant::now();
            self.reader = hand_over(self.owned.session(), translated(message)?).await?;
        }
        Ok(())
    }
}

/// A request as the child is to have it.
fn translated(message: &Message) -> Result<Message, Fault> {
    legacy::request(message).ok_or_else(|| Fault::Params("a member of params occurs twice".to_owned()))
}

/// What the child cannot go on without was not declared.
fn lacks(need: Need) -> Fault {
    Fault::Capability(need.required().unwrap_or_default())
}

impl Exchange for Conversation {
    async fn next(mut self) -> (Said, Option<Self>) {
        loop {
            if self.open.is_empty() {
                self.gathering = None;
            }
            let item = match self.gathering {
                None => self.reader.next().await,
                Some(_) if self.again => return self.park(),
                Some((_, until)) => match tokio::time::timeout_at(until, self.reader.next()).await {
                    Ok(item) => item,
                    Err(_) => return self.park(),
                },
            };
            match item {
                Some(Item::Message(frame)) => match self.message(frame).await {
                    Ok(Some(frame)) => return (Said::Message(frame), Some(self)),
                    Ok(None) => {}
                    Err(reject) => return self.fail(reject.into()),
                },
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
        (who, state): (&[u8], &str),
        headers: &HeaderMap,
    ) -> Result<Option<Conversation>, Fault> {
        let sealer = self.sealer.as_ref().filter(|_| is_ours(state));
        let Some(state) = sealer.and_then(|sealer| sealer.open(state, &binding(who, message))) else {
            // It may be that of a child of the modern era, be it another mcp-mux.
            return Ok(None);
        };
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
        // Before it is taken: whoever sent the wrong headers may send the right ones.
        let session = registry.parked().look(state.parked, |parked| {
            let parked = parked.downcast_ref::<Conversation>();
            parked.map(|parked| Arc::clone(parked.owned.session()))
        });
        if let Some(session) = session.flatten() {
            check_arguments(headers, message, &session).await?;
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
const GATHER: Duration = Duration::from_millis(30);
/// The same from the first one on, however many there are.
const GATHER_MAX: Duration = Duration::from_millis(500);
/// The most questions of a round.
const QUESTIONS_MAX: usize = 256;
/// The most bytes of the questions of a round, if there is more than one.
const QUESTIONS_BYTES_MAX: usize = 16 * 1024 * 1024;
