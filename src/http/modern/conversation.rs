//! A request of a modern client that a legacy child is at work on, over one POST or several.
//!
//! What the child asks meanwhile ends the POST with an `InputRequiredResult`; the conversation is then parked, with its
//! reader, its session and its lease, until the client comes back with answers, and goes on under the new request's id.
//! Nobody comes back: it is dropped, which cancels the request in the child.
//!
//! `rounds` is how it is parked and goes on.
//!
//! Spec: 2026-07-28, Multi Round-Trip Requests; Logging; Progress.

mod rounds;

use std::time::Duration;

use serde_json::{Value, json};
use tokio::time::Instant;

use super::fault::{Fault, status_of};
use super::steps::{Exchange, Last, Said};
use super::tools::Listing;
use super::{Modern, hand_over};
use crate::era::discover::Introduction;
use crate::era::envelope::Envelope;
use crate::era::headers::text_param;
use crate::era::legacy;
use crate::error::Reject;
use crate::jsonrpc::{self, Frame, Kind, Message, RawId};
use crate::mcp::ids::Param;
use crate::mcp::{Era, LogLevel, code, method};
use crate::metrics::{Limit, limit_hit};
use crate::router::ClientCapabilities;
use crate::router::need::Need;
use crate::session::{Answer, Item, Owned, StreamReader, Taken};

/// A request under way.
pub(super) struct Conversation {
    reader: StreamReader,
    modern: Modern,
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
        (who, modern): (Vec<u8>, Modern),
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
        let possible = method::may_require_input(&self.method);
        let request = legacy::input_request(message).filter(|_| possible);
        let Some(request) = request.filter(|request| self.has_room_for(request)) else {
            let message = "the client cannot be asked that during this request";
            return self.refuse(&id, &json!({"code": code::QUESTION_REFUSED, "message": message})).await;
        };
        self.ask(need, Some(id), request);
        Ok(())
    }

    /// Whether the client may be asked one more thing.
    fn has_room_for(&self, request: &str) -> bool {
        let bytes = self.open_bytes();
        let limit = if self.open.len() >= self.modern.questions_max {
            Limit::QuestionsMax
        } else if bytes > 0 && bytes + request.len() > QUESTIONS_BYTES_MAX {
            Limit::MessageForm
        } else {
            return true;
        };
        limit_hit(limit);
        false
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
                let limit = self.modern.questions_max;
                if required.len() > limit {
                    limit_hit(Limit::QuestionsMax);
                    let what = format!("it requires more than {limit} elicitations at once (--questions-max)");
                    return self.fail(Reject::ChildAnswerUnusable(what).into());
                }
                required.into_iter().for_each(|one| self.ask(Need::ElicitationUrl, None, one));
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
            let Some(Taken { item, held }) = item else { return self.fail(Reject::SessionClosed.into()) };
            match item {
                Item::Message(frame) => match self.message(frame).await {
                    Ok(Some(frame)) => return (Said::Message(frame, held), Some(self)),
                    Ok(None) => {}
                    Err(reject) => return self.fail(reject.into()),
                },
                Item::Answer(answer) => {
                    let (said, rest) = self.answer(answer);
                    return (said.holding(held), rest);
                }
            }
        }
    }
}

/// How long it is waited for more questions: a server that asks several at once writes them in one go.
const GATHER: Duration = Duration::from_millis(30);
/// The same from the first one on, however many there are.
const GATHER_MAX: Duration = Duration::from_millis(500);
/// The most bytes of the questions of a round, if there is more than one.
const QUESTIONS_BYTES_MAX: usize = 16 * 1024 * 1024;
