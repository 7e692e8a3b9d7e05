//! POSTs of the modern era: each request is an exchange of its own, with its metadata in its `_meta` and repeated in its
//! headers.
//!
//! A request that is well-formed is given a session of its own for as long as it takes ([`crate::session`] attaches it
//! to a child), and then says step by step what there is to say (`steps`): as it comes from a child of its own era
//! (`passing`), translated from one of the legacy era (`conversation`, `listening`). `checks` and `fault` are the rules of
//! the transport.
//!
//! Invariant: every request gets a response with its id, or its connection is gone.
//!
//! Spec: 2026-07-28, Streamable HTTP; Overview; Multi Round-Trip Requests; Subscriptions.

mod checks;
mod conversation;
mod fault;
mod listening;
mod passing;
mod steps;
mod tools;

use std::sync::Arc;

use http::{HeaderMap, Response, StatusCode};
use tokio::time::Instant;
use tracing::debug;

use self::conversation::Conversation;
use self::fault::Fault;
use self::listening::Listening;
use self::passing::Passing;
pub(super) use self::steps::StepBody;
use self::steps::{Last, respond};
use super::body::Body;
use super::observe::{Exchange as Observed, Record};
use super::request::{self, Accept};
use super::{Caller, Endpoint};
use crate::era::discover::Introduction;
use crate::era::envelope::Envelope;
use crate::era::headers::text_param;
use crate::era::listen::Filter;
use crate::era::state::Sealer;
use crate::era::{envelope, legacy, tasks};
use crate::error::Reject;
use crate::jsonrpc::{self, DEPTH_MAX, Frame, Kind, Message};
use crate::mcp::{Era, MODERN_REVISION, method};
use crate::router::cache::Lookup;
use crate::router::permit;
use crate::servers::{Service, Visit};
use crate::session::{Answer, Asked, PostForm, Session, StreamReader};

/// What the modern exchanges of a server have in common.
#[derive(Clone, Debug)]
struct Modern {
    /// None where the system has no randomness: then nothing that needs it can be had.
    sealer: Option<Arc<Sealer>>,
    /// The most questions of a child that one exchange may have open.
    questions_max: usize,
}

impl Modern {
    fn of(service: &Service) -> Self {
        Self { sealer: service.sealer.clone(), questions_max: service.config.bounds.questions_max }
    }
}

/// Whether a message is of the modern era; `foreign`: its version header names no legacy revision.
pub(super) fn is_modern(headers: &HeaderMap, foreign: bool, message: &Message) -> bool {
    match message.kind() {
        Kind::Request | Kind::Notification if envelope::is_modern(message) => true,
        Kind::Request => foreign && message.method() != method::INITIALIZE,
        Kind::Notification => request::is_modern(headers),
        Kind::Result | Kind::Error => false,
    }
}

/// Why what came under the modern revision's header is none of its messages; none if that is `initialize`, which the
/// legacy era has.
pub(super) fn out_of_place(body: &jsonrpc::Body) -> Option<Reject> {
    let what = match body {
        jsonrpc::Body::Batch(_) => "has no JSON-RPC batches; send each message on its own",
        jsonrpc::Body::Single(message) if matches!(message.kind(), Kind::Result | Kind::Error) => {
            "has no responses of clients; answer with `inputResponses` in the next request"
        }
        jsonrpc::Body::Single(_) => return None,
    };
    Some(Reject::InvalidRequest(format!("revision {MODERN_REVISION} {what}")))
}

impl Endpoint<'_> {
    /// Answers a POST of the modern era.
    pub(super) async fn modern(
        &self,
        (headers, caller): (&HeaderMap, &Caller),
        accept: Accept,
        message: &Message,
        observed: &mut Observed,
    ) -> Response<Body> {
        observed.note(Record::modern);
        if message.kind() != Kind::Request {
            // The protocol has none over HTTP: what a client means by them, closing a stream says.
            return request::empty(StatusCode::ACCEPTED);
        }
        match self.exchange((headers, caller), accept, message, observed).await {
            Ok(response) => response,
            Err(fault) => {
                debug!(kind = fault.kind(), "modern request refused");
                fault.into_last(message.id().as_ref()).into_response(accept, observed)
            }
        }
    }

    async fn exchange(
        &self,
        (headers, caller): (&HeaderMap, &Caller),
        accept: Accept,
        message: &Message,
        observed: &mut Observed,
    ) -> Result<Response<Body>, Fault> {
        let id = message.id().ok_or_else(|| Reject::InvalidRequest("a request must have an id".to_owned()))?;
        checks::version(headers, message)?;
        let envelope = Envelope::read(message)?;
        if legacy::is_gone(message.method()) {
            return Err(Fault::Method);
        }
        checks::standard(headers, message)?;
        if message.method() == method::LISTEN && accept == Accept::Json {
            return Err(Reject::NotAcceptable(super::request::EVENT_STREAM).into());
        }
        // The router sees to that too; here, that nothing is asked or looked up before.
        permit(&caller.admission.rules, Era::Modern, message)?;
        let tenant = self.tenant(headers, caller)?;
        let tenant = tenant
            .of_era(Era::Modern)
            .of_tasks(tasks::named(message).map_err(|unclear| Fault::Params(unclear.to_string()))?);
        let who = tenant.identity();
        if method::may_require_input(message.method())
            && let Some(resumed) = self.resume(headers, message, &envelope, &who).await?
        {
            return Ok(self.say(resumed, accept, observed).await);
        }
        if method::may_require_input(message.method()) && carries_state(message) {
            for before in self.before() {
                let Ok(tenant) = before.tenant(headers, caller) else { continue };
                let who = tenant.of_era(Era::Modern).identity();
                if let Some(resumed) = before.resume(headers, message, &envelope, &who).await? {
                    return Ok(before.say(resumed, accept, observed).await);
                }
            }
        }
        self.service.may_begin()?;
        let client = legacy::initialize_params(&envelope.capabilities, envelope.client_info.as_deref());
        // What is answered without the child, or with no log messages, is no reason for it to write more of them.
        let level = envelope.level.filter(|_| !matches!(message.method(), method::DISCOVER | method::LISTEN));
        let owned = self.service.registry.modern(tenant, &client, level)?;
        let session = owned.session().clone();
        if message.method() == method::LISTEN {
            session.end_with_credential();
        }
        session.attach().await?;
        if session.child_era() == Era::Modern {
            check_arguments(headers, message, &session).await?;
            let params = message.params().map(|params| message.text(params));
            // Before it waits with others for the child, which it may not need. What has something left out, the router serves.
            let cache = session.cache().filter(|_| session.rules().is_everything());
            let kept = cache.map(|cache| cache.lookup(message.method(), params, Instant::now()));
            if let Some(Lookup::Hit(result)) = kept {
                let result = String::from_utf8_lossy(&result);
                let frame = jsonrpc::result_response(&id, &result);
                let held = session.hold_unread(frame.len())?;
                return Ok(Last { held, ..Last::ok(frame) }.into_response(accept, observed));
            }
            let passing = Passing::begin(owned, message);
            return Ok(self.say(passing.await?, accept, observed).await);
        }
        if method::may_require_input(message.method()) && carries_state(message) {
            return Err(Fault::State(
                "requestState is not valid for this request: it was altered, or given for another request or client",
            ));
        }
        let introduction = match introduce(&session, &client).await? {
            Ok(introduction) => introduction,
            Err(last) => {
                return Ok(Last { frame: with_id(last.frame, &id), ..last }.into_response(accept, observed));
            }
        };
        match message.method() {
            method::DISCOVER => {
                let frame = jsonrpc::result_response(&id, &introduction.discover());
                Ok(Last::ok(frame).into_response(accept, observed))
            }
            method::LISTEN => {
                let filter = Filter::read(message, self.service.config.bounds.subscriptions_max)?;
                let listening = Listening::begin(owned, id, filter, introduction.news)?;
                Ok(self.say(listening, accept, observed).await)
            }
            method if legacy::is_of_another_era(method) => Err(Fault::Method),
            _ => {
                check_arguments(headers, message, &session).await?;
                if let Some(level) = envelope.level.filter(|_| introduction.logging) {
                    set_level(&session, level.as_str()).await?;
                }
                let conversation =
                    Conversation::begin(owned, message, &envelope, introduction, (who, Modern::of(&self.service)));
                Ok(self.say(conversation.await?, accept, observed).await)
            }
        }
    }

    /// What is left of those that were served here before, and may know a `requestState` that this one does not.
    fn before(&self) -> impl Iterator<Item = Self> {
        let remains = self.http.servers.remains(self.service.name(), &Reject::ServerUnknown);
        let is_this = |visit: &Visit| Arc::ptr_eq(visit.service(), self.service.service());
        let others: Vec<_> = remains.into_iter().filter(|visit| !is_this(visit)).collect();
        others.into_iter().map(|service| Self { http: self.http, service, mount: self.mount })
    }

    async fn say(&self, exchange: impl steps::Exchange, accept: Accept, observed: &mut Observed) -> Response<Body> {
        let Service { json_for, config, pool, .. } = &**self.service.service();
        respond(exchange, accept, (json_for, config.keep_alive), (observed, pool.metrics())).await
    }

    /// Goes on with what a `requestState` of mcp-mux's stands for; none if there is no such thing in the request.
    async fn resume(
        &self,
        headers: &HeaderMap,
        message: &Message,
        envelope: &Envelope,
        who: &[u8],
    ) -> Result<Option<Conversation>, Fault> {
        let params = message.params();
        let state = params.map(|params| message.member(params, "requestState")).transpose();
        let Some(state) = state.map_err(|_| Fault::State("requestState occurs twice"))?.flatten() else {
            return Ok(None);
        };
        let state = jsonrpc::decode_str(message.text(state)).ok_or(Fault::State("requestState must be a string"))?;
        Modern::of(&self.service).resume(&self.service.registry, message, envelope, (who, &state), headers).await
    }
}

/// Checks the headers that repeat a tool's arguments.
async fn check_arguments(headers: &HeaderMap, message: &Message, session: &Arc<Session>) -> Result<(), Fault> {
    if message.method() != method::TOOLS_CALL {
        return Ok(());
    }
    let Ok(Some(name)) = text_param(message, "name") else { return Ok(()) };
    checks::arguments(headers, message, &tools::of(&name, session).await)
}

/// Whether a request goes on with another one.
fn carries_state(message: &Message) -> bool {
    message.params().is_some_and(|params| !matches!(message.member(params, "requestState"), Ok(None)))
}

/// Makes the client known to a legacy child. Inside is the child's own refusal.
async fn introduce(session: &Arc<Session>, client: &str) -> Result<Result<Introduction, Last>, Fault> {
    let answer = session.ask(own("\"mcp-mux-initialize\"", method::INITIALIZE, client)?).await?;
    let frame = match answer {
        Some(Answer::Initialized(frame, _) | Answer::Response(frame)) => frame,
        Some(Answer::Rejected(_, reject)) => return Err(reject.into()),
        None => return Err(Reject::SessionClosed.into()),
    };
    let message = Message::parse(frame.clone().into_bytes(), usize::MAX);
    let message = message.map_err(|error| Reject::ChildAnswerUnusable(error.to_string()))?;
    let Some(introduction) = Introduction::read(&message) else {
        if message.kind() == Kind::Error {
            return Ok(Err(Last::ok(frame)));
        }
        return Err(Reject::ChildAnswerUnusable("its answer to `initialize` is no InitializeResult".to_owned()).into());
    };
    let initialized = jsonrpc::notification(method::INITIALIZED, None).into_bytes();
    if let Ok(initialized) = Message::parse(initialized, DEPTH_MAX) {
        session.send(initialized).await?;
    }
    Ok(Ok(introduction))
}

/// Asks a legacy child for its log from this level on. What it says to that does not matter.
async fn set_level(session: &Arc<Session>, level: &str) -> Result<(), Fault> {
    let request = own("\"mcp-mux-level\"", method::SET_LEVEL, &format!(r#"{{"level":"{level}"}}"#))?;
    let (_, mut handover) = session.open_post(Asked::Requests(1), PostForm::AnswersOnly)?;
    handover.request(request).await;
    Ok(())
}

/// A request of mcp-mux's own.
fn own(id: &str, method: &str, params: &str) -> Result<Message, Fault> {
    let frame = jsonrpc::request(id, method, Some(params));
    Message::parse(frame.into_bytes(), usize::MAX).map_err(|error| Fault::Params(error.to_string()))
}

/// Hands a client's request over on a stream of its own.
async fn hand_over(session: &Arc<Session>, request: Message) -> Result<StreamReader, Reject> {
    let (reader, mut handover) = session.open_post(Asked::Requests(1), PostForm::Streamable)?;
    handover.request(request).await;
    Ok(reader)
}

/// A response under another id.
fn with_id(frame: Frame, id: &jsonrpc::RawId) -> Frame {
    let bytes = frame.into_bytes();
    match Message::parse(bytes.clone(), usize::MAX).ok().and_then(|message| message.id_span()) {
        Some(span) => Frame::new(bytes).replace(span, id.as_str()),
        None => Frame::new(bytes),
    }
}
