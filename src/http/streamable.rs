//! Streamable HTTP: one path for POST, GET and DELETE.
//!
//! The head of a POST's answer waits for the first thing there is for it: all answers, then it is JSON; anything else,
//! or nothing for `--sse-after`, then it is an event stream. With `--stateless` each POST is an attachment of its own that
//! ends with it, and there is nothing to GET or DELETE. A POST of the modern era goes its own way (`modern`).
//!
//! Spec: 2025-03-26, 2025-06-18 and 2025-11-25, Transports, Streamable HTTP; 2025-03-26, Base Protocol, Batching.

use std::pin::Pin;
use std::sync::Arc;

use bytes::Bytes;
use http::request::Parts;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Response, StatusCode};
use hyper::body::Body as HttpBody;
use tracing::debug;

use super::body::{Body, EventBody};
use super::observe::{self, Audience, Exchange, Pending};
use super::request::{self, Accept, Refusal};
use super::{Caller, Endpoint, events, modern, sse};
use crate::config::SessionMode;
use crate::error::Reject;
use crate::jsonrpc::{self, Frame, Kind, Message, ParseError, Pieces};
use crate::mcp::{Revision, header, method};
use crate::metrics::Outcome;
use crate::session::{
    Answer, Asked, CloseReason, EventId, Head, Held, Owned, PostForm, Session, StreamReader, Transport,
};

/// How many answers a POST is to be given, and so in which shape as JSON.
#[derive(Debug)]
enum Shape {
    /// One response.
    Single,
    /// An array of them, to these requests.
    Batch(Pending),
}

/// Whom a POST is an exchange with.
struct Party {
    session: Arc<Session>,
    /// There if the session ends with the exchange.
    owned: Option<Owned>,
}

impl Endpoint<'_> {
    pub(super) async fn streamable<B>(
        &self,
        request: &Parts,
        body: Pin<&mut B>,
        caller: &Caller,
        exchange: Exchange,
    ) -> Result<Response<Body>, Refusal>
    where
        B: HttpBody<Data = Bytes>,
    {
        let headers = &request.headers;
        match (self.service.config.sessions, &request.method) {
            (_, &Method::POST) => self.post(headers, body, caller, exchange).await,
            // spec: 2026-07-28 basic/transports/streamable-http, Earlier Streamable HTTP Revisions
            (SessionMode::Sessions, &Method::GET | &Method::DELETE)
                if request::is_modern(headers) || !headers.contains_key(header::SESSION_ID) =>
            {
                Err(Reject::MethodNotAllowed("POST").into())
            }
            (SessionMode::Sessions, &Method::GET) => self.get(headers, caller),
            (SessionMode::Sessions, &Method::DELETE) => self.delete(headers, caller),
            (SessionMode::Sessions, _) => Err(Reject::MethodNotAllowed("GET, POST, DELETE").into()),
            (SessionMode::Stateless, _) => Err(Reject::MethodNotAllowed("POST").into()),
        }
    }

    // --- POST ---

    async fn post<B>(
        &self,
        headers: &HeaderMap,
        body: Pin<&mut B>,
        caller: &Caller,
        mut exchange: Exchange,
    ) -> Result<Response<Body>, Refusal>
    where
        B: HttpBody<Data = Bytes>,
    {
        let outcome = self.post_observed(headers, body, caller, &mut exchange).await;
        exchange.conclude(outcome)
    }

    async fn post_observed<B>(
        &self,
        headers: &HeaderMap,
        body: Pin<&mut B>,
        caller: &Caller,
        exchange: &mut Exchange,
    ) -> Result<Response<Body>, Refusal>
    where
        B: HttpBody<Data = Bytes>,
    {
        request::content_type_is_json(headers)?;
        let accept = Accept::of_post(headers)?;
        // Which of the two eras it is of, is known only with its body; what is wrong with it as a legacy one waits.
        let version = request::protocol_version(headers);
        let session = match self.service.config.sessions {
            SessionMode::Sessions => self.named_session(headers, caller),
            SessionMode::Stateless => Ok(None),
        };
        // One that claims no other era is refused without its body, as far as that goes.
        let session = if version.is_ok() { Ok(session?) } else { session };
        let body = request::read_message(headers, body, &self.service.config, self.service.pool.metrics()).await?;
        if let jsonrpc::Body::Single(message) = &body {
            if message.kind() == Kind::Request { exchange.is(message) } else { exchange.forget() }
        }
        if let jsonrpc::Body::Single(message) = &body
            && modern::is_modern(headers, version.is_err(), message)
        {
            debug!(method = message.method(), bytes = message.bytes().len(), "POST of the modern era");
            return Ok(Box::pin(self.modern((headers, caller), accept, message, exchange)).await);
        }
        // spec: 2026-07-28 basic/versioning, Backward Compatibility: `initialize` selects the legacy era
        let version = match version {
            Err(_) if request::is_modern(headers) => modern::out_of_place(&body).map_or(Ok(None), Err),
            version => version,
        };
        let (version, session) = (version?, session?);
        if request::asks(&body) {
            let id = if let jsonrpc::Body::Single(message) = &body { message.id() } else { None };
            self.service.may_begin().map_err(|reject| Refusal::of(reject, id))?;
        }
        match body {
            jsonrpc::Body::Single(message) => {
                // An error names the request it is about; the id of a response would be the server's own.
                let id = message.id().filter(|_| message.kind() == Kind::Request);
                let named = session.as_ref().map(|session| tracing::field::display(session.id()));
                debug!(session = named, method = message.method(), bytes = message.bytes().len(), "POST");
                self.single((headers, caller), accept, (version, session), message, exchange)
                    .await
                    .map_err(|refusal| Refusal { id: refusal.id.or(id), ..refusal })
            }
            jsonrpc::Body::Batch(elements) => {
                let named = session.as_ref().map(|session| tracing::field::display(session.id()));
                debug!(session = named, elements = elements.len(), "POST of a batch");
                let party = self.party(headers, caller, session, version).await?;
                Box::pin(self.batch(caller, accept, party, elements, exchange)).await
            }
        }
    }

    async fn single(
        &self,
        (headers, caller): (&HeaderMap, &Caller),
        accept: Accept,
        (version, session): (Option<Revision>, Option<Arc<Session>>),
        message: Message,
        exchange: &mut Exchange,
    ) -> Result<Response<Body>, Refusal> {
        let request = message.kind() == Kind::Request;
        if request && message.method() == method::INITIALIZE {
            if session.is_some() {
                return Err(Reject::InvalidRequest(
                    "initialize must be sent without Mcp-Session-Id: that session is open already".to_owned(),
                )
                .into());
            }
            return Box::pin(self.initialize((headers, caller), accept, message, exchange)).await;
        }
        let party = self.party(headers, caller, session, version).await?;
        exchange.note(|record| record.within(&party.session));
        if !request {
            party.session.send(message).await?;
            return Ok(request::empty(StatusCode::ACCEPTED));
        }
        let (reader, mut handover) = party.session.open_post(Asked::by(message.method()), form(accept))?;
        handover.request(message).await;
        self.answer(accept, Shape::Single, reader, party, exchange).await
    }

    /// Opens a session, or for a stateless exchange only answers.
    async fn initialize(
        &self,
        (headers, caller): (&HeaderMap, &Caller),
        accept: Accept,
        message: Message,
        exchange: &mut Exchange,
    ) -> Result<Response<Body>, Refusal> {
        let tenant = self.tenant(headers, caller)?;
        let owned = match self.service.config.sessions {
            SessionMode::Sessions => self.service.registry.open(Transport::Streamable, tenant)?,
            SessionMode::Stateless => self.service.registry.exchange(tenant, None)?,
        };
        let session = owned.session().clone();
        session.initialize(&message)?;
        session.attach().await?;
        // The answer's head has the session id, so it cannot become an event stream before the answer is there.
        let (reader, mut handover) = session.open_post(Asked::Requests(1), PostForm::AnswersOnly)?;
        handover.request(message).await;
        let answer = match reader.head(false).await {
            Head::Answers(answers, held) => answers.into_iter().next().map(|answer| (answer, held)),
            Head::Events => None,
        };
        exchange.note(|record| record.within(&session));
        match answer {
            Some((Answer::Initialized(frame, _), held)) => {
                exchange.answered(&frame, None, StatusCode::OK);
                let mut response = whole(accept, frame, held);
                if self.service.config.sessions == SessionMode::Sessions {
                    let mut value = HeaderValue::try_from(session.id().expose())
                        .map_err(|_| Reject::InvalidRequest("no usable session id".to_owned()))?;
                    value.set_sensitive(true);
                    response.headers_mut().insert(HeaderName::from_static(header::SESSION_ID), value);
                    owned.keep();
                }
                Ok(response)
            }
            Some((Answer::Rejected(id, reject), _)) if reject.wire().status != StatusCode::OK => {
                Err(Refusal::of(reject, Some(id)))
            }
            Some((answer, held)) => {
                exchange.answered_by(&answer);
                Ok(whole(accept, answer.into_frame(), held))
            }
            None => Ok(nothing(accept)),
        }
    }

    async fn batch(
        &self,
        caller: &Caller,
        accept: Accept,
        party: Party,
        elements: Vec<Result<Message, ParseError>>,
        exchange: &mut Exchange,
    ) -> Result<Response<Body>, Refusal> {
        let revision = party.session.revision();
        let invalid = |text: String| Err(Refusal::from(Reject::InvalidRequest(text)));
        if !revision.has_batches() {
            return invalid(format!("revision {revision} has no JSON-RPC batches; send each message on its own"));
        }
        if elements.is_empty() {
            return invalid("an empty batch".to_owned());
        }
        let is_request = |message: &Message| message.kind() == Kind::Request;
        let requests = elements.iter().flatten().filter(|message| is_request(message)).count();
        if elements.iter().flatten().any(|message| is_request(message) && message.method() == method::INITIALIZE) {
            return invalid("initialize must not be part of a batch".to_owned());
        }
        // The first was counted when the POST came.
        caller.admission.usage.request(elements.len().saturating_sub(1), &caller.admission.allowance)?;
        if requests == 0 {
            let messages = elements.into_iter().collect::<Result<Vec<_>, _>>()?;
            exchange.forget();
            for message in messages {
                party.session.send(message).await?;
            }
            return Ok(request::empty(StatusCode::ACCEPTED));
        }
        let (reader, mut handover) = party.session.open_post(Asked::Requests(requests), form(accept))?;
        exchange.note(|record| record.within(&party.session));
        let pending = self.each(&elements, exchange);
        for element in elements {
            match element {
                Ok(message) if is_request(&message) => handover.request(message).await,
                Ok(message) => {
                    if let Err(reject) = party.session.send(message).await {
                        debug!(kind = reject.wire().kind, "message of a batch not taken");
                    }
                }
                Err(error) => {
                    let Refusal { reject, id, .. } = error.into();
                    let frame = jsonrpc::error_response(id.as_ref(), &reject.error_object());
                    party.session.answer(reader.stream(), Answer::Response(frame));
                }
            }
        }
        self.answer(accept, Shape::Batch(pending), reader, party, exchange).await
    }

    /// What was sent turns out to be several requests: each is seen by itself.
    fn each(&self, elements: &[Result<Message, ParseError>], exchange: &mut Exchange) -> Pending {
        let pending = Pending::default();
        for message in elements.iter().flatten().filter(|message| message.kind() == Kind::Request) {
            if let Some(id) = message.id() {
                let mut one = exchange.another(self.service.pool.metrics());
                one.is(message);
                pending.put(id, one);
            }
        }
        exchange.forget();
        pending
    }

    /// Waits for what there is for a POST, and answers with it.
    async fn answer(
        &self,
        accept: Accept,
        shape: Shape,
        reader: StreamReader,
        party: Party,
        exchange: &mut Exchange,
    ) -> Result<Response<Body>, Refusal> {
        let head = match accept {
            Accept::Json => reader.head(false).await,
            Accept::Both | Accept::Events => {
                let head = reader.head(accept == Accept::Events);
                self.service.json_for.limit(head).await.unwrap_or(Head::Events)
            }
        };
        let (answers, held) = match head {
            Head::Answers(answers, held) => (answers, held),
            Head::Events => {
                let first = reader.begin_events();
                let asked = match shape {
                    Shape::Single => observe::Asked::One(exchange.take()),
                    Shape::Batch(pending) => observe::Asked::Several(pending),
                };
                return Ok(self.event_stream(reader, first, party.owned, asked));
            }
        };
        if let Shape::Batch(pending) = &shape
            && !answers.is_empty()
        {
            answers.iter().for_each(|answer| pending.answered_by(answer));
            pending.end_all(Outcome::Cancelled);
            return Ok(match accept {
                Accept::Json | Accept::Both => request::json(StatusCode::OK, (array(answers), held)),
                Accept::Events => whole_events(answers.into_iter().map(Answer::into_frame), held),
            });
        }
        match answers.into_iter().next() {
            Some(Answer::Rejected(id, reject)) => Err(Refusal::of(reject, Some(id))),
            Some(answer) => {
                exchange.answered_by(&answer);
                Ok(request::json(StatusCode::OK, (answer.into_frame().into_pieces(), held)))
            }
            None => {
                if let Shape::Batch(pending) = &shape {
                    pending.end_all(Outcome::Cancelled);
                }
                Ok(nothing(accept))
            }
        }
    }

    /// Whom a message that is not `initialize` is an exchange with.
    async fn party(
        &self,
        headers: &HeaderMap,
        caller: &Caller,
        session: Option<Arc<Session>>,
        version: Option<Revision>,
    ) -> Result<Party, Refusal> {
        match (self.service.config.sessions, session) {
            (SessionMode::Sessions, Some(session)) => Ok(Party { session, owned: None }),
            (SessionMode::Sessions, None) => Err(Reject::SessionMissing.into()),
            (SessionMode::Stateless, _) => {
                let tenant = self.tenant(headers, caller)?;
                let owned = self.service.registry.exchange(tenant, Some(version.unwrap_or(Revision::ASSUMED)))?;
                owned.session().attach().await?;
                Ok(Party { session: owned.session().clone(), owned: Some(owned) })
            }
        }
    }

    fn named_session(&self, headers: &HeaderMap, caller: &Caller) -> Result<Option<Arc<Session>>, Reject> {
        let id = request::session_id(headers)?;
        id.map(|id| self.service.registry.find(id, Transport::Streamable, &caller.admission)).transpose()
    }

    // --- GET, DELETE ---

    fn get(&self, headers: &HeaderMap, caller: &Caller) -> Result<Response<Body>, Refusal> {
        request::accepts_events(headers)?;
        request::protocol_version(headers)?;
        let session = self.named_session(headers, caller)?.ok_or(Reject::SessionMissing)?;
        let last = headers.get(header::LAST_EVENT_ID).filter(|value| !value.is_empty());
        let Some(last) = last else {
            self.service.may_begin()?;
            let reader = session.open_standing()?;
            debug!(session = %session.id(), stream = reader.stream().0, "GET");
            let first = reader.begin_events();
            return Ok(self.event_stream(reader, first, None, observe::Asked::Nothing));
        };
        let last: EventId = last.to_str().ok().and_then(|text| text.parse().ok()).ok_or(Reject::EventUnknown)?;
        let resumed = session.resume(last);
        debug!(session = %session.id(), %last, ok = resumed.is_ok(), "GET to resume a stream");
        Ok(self.event_stream(resumed?, None, None, observe::Asked::Nothing))
    }

    fn delete(&self, headers: &HeaderMap, caller: &Caller) -> Result<Response<Body>, Refusal> {
        request::protocol_version(headers)?;
        let session = self.named_session(headers, caller)?.ok_or(Reject::SessionMissing)?;
        self.service.registry.close(&session, CloseReason::Deleted);
        Ok(request::empty(StatusCode::NO_CONTENT))
    }

    fn event_stream(
        &self,
        reader: StreamReader,
        first: Option<EventId>,
        owned: Option<Owned>,
        asked: observe::Asked,
    ) -> Response<Body> {
        let mut preamble = Pieces::new();
        if let Some(id) = first {
            sse::priming(&mut preamble, id);
        }
        let audience = Audience::new(self.service.pool.metrics(), asked);
        events(EventBody::new((reader, preamble), self.service.config.keep_alive, audience, owned).into())
    }
}

fn form(accept: Accept) -> PostForm {
    match accept {
        Accept::Json => PostForm::AnswersOnly,
        Accept::Both | Accept::Events => PostForm::Streamable,
    }
}

/// One response that is there already, in a form that the client takes.
fn whole(accept: Accept, frame: Frame, held: Held) -> Response<Body> {
    match accept {
        Accept::Json | Accept::Both => request::json(StatusCode::OK, (frame.into_pieces(), held)),
        Accept::Events => whole_events([frame], held),
    }
}

/// Responses that are there already, as a whole event stream.
fn whole_events(frames: impl IntoIterator<Item = Frame>, held: Held) -> Response<Body> {
    let mut out = Pieces::new();
    for frame in frames {
        sse::message(&mut out, None, &frame);
    }
    events((out, held).into())
}

/// The answer to requests that were cancelled: they get no response. Every client takes an event stream's end quietly;
/// JSON cannot be empty.
fn nothing(accept: Accept) -> Response<Body> {
    match accept {
        Accept::Json => request::empty(StatusCode::NO_CONTENT),
        Accept::Both | Accept::Events => events(Body::empty()),
    }
}

/// The answers to a batch, in the order they came.
fn array(answers: Vec<Answer>) -> Pieces {
    let mut out = Pieces::new();
    for (at, answer) in answers.into_iter().enumerate() {
        out.put(if at == 0 { b"[" } else { b"," });
        answer.into_frame().write_pieces(&mut out);
    }
    out.put(b"]");
    out
}
