//! HTTP+SSE: a GET that carries everything to the client, a path to POST to.
//!
//! The stream is the session: it opens it, its end closes it, and every answer goes on it. A POST is only told whether
//! its message was taken.
//!
//! Spec: 2024-11-05, Transports, HTTP with SSE; Lifecycle, Initialization.

use std::pin::Pin;
use std::sync::Arc;

use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::request::Parts;
use http::{HeaderMap, HeaderValue, Response, StatusCode, Uri};
use hyper::body::Body as HttpBody;
use tracing::{Instrument as _, debug};

use super::body::{Body, EventBody};
use super::observe::{self, Audience, Exchange, Pending, Verdict};
use super::request::{self, Refusal};
use super::{Caller, Endpoint, events, sse};
use crate::error::Reject;
use crate::jsonrpc::{self, Kind, Message, ParseError, Pieces, RawId};
use crate::mcp::ids::Param;
use crate::mcp::method;
use crate::metrics::Outcome;
use crate::router::StreamId;
use crate::session::{Answer, Asked, Phase, Session, Transport};

impl Endpoint<'_> {
    /// GET on the stream's path.
    pub(super) fn open_legacy(&self, headers: &HeaderMap, caller: &Caller) -> Result<Response<Body>, Refusal> {
        request::accepts_events(headers)?;
        let owned = self.service.registry.open(Transport::HttpSse, self.tenant(headers, caller)?)?;
        let session = owned.session();
        let reader = session.open_standing()?;
        let pending = Arc::<Pending>::default();
        session.accompany(pending.clone());
        debug!(session = %session.id(), "HTTP+SSE stream opened");
        let (prefix, mount, path) = (self.http.prefix(&caller.way), self.mount, &self.http.config.message_path);
        let url = format!("{prefix}{mount}{path}?{SESSION_ID}={}", session.id().expose());
        let mut preamble = Pieces::new();
        sse::endpoint(&mut preamble, &url);
        let audience = Audience::new(self.service.pool.metrics(), observe::Asked::Session(pending));
        Ok(events(EventBody::new((reader, preamble), self.service.config.keep_alive, audience, Some(owned)).into()))
    }

    /// POST on the messages' path.
    pub(super) async fn post_legacy<B>(
        &self,
        request: &Parts,
        body: Pin<&mut B>,
        caller: &Caller,
        mut exchange: Exchange,
    ) -> Result<Response<Body>, Refusal>
    where
        B: HttpBody<Data = Bytes>,
    {
        let outcome = self.post_legacy_observed(request, body, caller, &mut exchange).await;
        exchange.conclude(outcome)
    }

    async fn post_legacy_observed<B>(
        &self,
        request: &Parts,
        body: Pin<&mut B>,
        caller: &Caller,
        exchange: &mut Exchange,
    ) -> Result<Response<Body>, Refusal>
    where
        B: HttpBody<Data = Bytes>,
    {
        request::content_type_is_json(&request.headers)?;
        let id = session_id(&request.uri)
            .ok_or_else(|| Reject::InvalidRequest("the sessionId query parameter is missing".to_owned()))?;
        let session = self.service.registry.find(id, Transport::HttpSse, &caller.admission)?;
        exchange.note(|record| record.within(&session));
        let metrics = self.service.pool.metrics();
        let body = match request::read_message(&request.headers, body, &self.service.config, metrics).await {
            Ok(body) => body,
            Err(Refusal { reject, id: Some(id), .. }) => {
                exchange.end((&reject).into(), StatusCode::ACCEPTED);
                session.answer(StreamId::STANDALONE, Answer::Rejected(id, reject));
                return Ok(accepted());
            }
            Err(refusal) => return Err(refusal),
        };
        if request::asks(&body) {
            self.service.may_begin()?;
        }
        match body {
            jsonrpc::Body::Single(message) => {
                debug!(session = %session.id(), method = message.method(), bytes = message.bytes().len(), "POST");
                self.take(&session, message, exchange.take()).await?;
            }
            jsonrpc::Body::Batch(elements) => {
                // The first was counted when the POST came.
                caller.admission.usage.request(elements.len().saturating_sub(1), &caller.admission.allowance)?;
                Box::pin(self.take_batch(&session, elements, exchange)).await?;
            }
        }
        Ok(accepted())
    }

    async fn take_batch(
        &self,
        session: &Arc<Session>,
        elements: Vec<Result<Message, ParseError>>,
        exchange: &mut Exchange,
    ) -> Result<(), Refusal> {
        let revision = session.revision();
        if session.phase() != Phase::Open || !revision.has_batches() {
            return Err(Reject::InvalidRequest(
                "JSON-RPC batches exist only in revision 2025-03-26, after initialize; send each message on its own"
                    .to_owned(),
            )
            .into());
        }
        debug!(session = %session.id(), elements = elements.len(), "POST of a batch");
        let mut whole = exchange.take();
        for element in elements {
            match element {
                Ok(message) => self.take(session, message, whole.another(self.service.pool.metrics())).await?,
                Err(error) => {
                    let Refusal { reject, id, .. } = error.into();
                    let frame = jsonrpc::error_response(id.as_ref(), &reject.error_object());
                    session.answer(StreamId::STANDALONE, Answer::Response(frame));
                }
            }
        }
        whole.forget();
        Ok(())
    }

    /// Takes one message. A request that is refused is answered on the stream; an error here means that the session is over
    /// or that the child does not take the message.
    async fn take(&self, session: &Arc<Session>, message: Message, mut exchange: Exchange) -> Result<(), Refusal> {
        let phase = session.phase();
        let pending = session.companion::<Pending>().unwrap_or_default();
        let Some(id) = message.id().filter(|_| message.kind() == Kind::Request) else {
            exchange.forget();
            if message.method() == method::CANCELLED
                && let Some(span) = message.param(Param::RequestId)
            {
                let id = RawId::from_json(message.text(span));
                pending.end(&id, Verdict::of(Outcome::Cancelled), StatusCode::OK);
            }
            if phase == Phase::Open {
                session.send(message).await?;
            } else {
                debug!(session = %session.id(), method = message.method(), "message before initialize ignored");
            }
            return Ok(());
        };
        exchange.is(&message);
        exchange.note(|record| record.within(session));
        let on_its_way = pending.send(&id, exchange);
        let initialize = message.method() == method::INITIALIZE;
        if initialize {
            if let Err(reject) = session.initialize(&message) {
                on_its_way.arrived();
                refuse(session, id, reject);
                return Ok(());
            }
        } else if phase != Phase::Open {
            on_its_way.arrived();
            // 2024-11-05, Lifecycle: nothing but pings before the handshake.
            if message.method() == method::PING {
                let pong = jsonrpc::result_response(&id, "{}");
                session.answer(StreamId::STANDALONE, Answer::Response(pong));
            } else {
                refuse(session, id, Reject::InvalidRequest("not initialized: send initialize first".to_owned()));
            }
            return Ok(());
        }
        let mut handover = match session.expect(Asked::by(message.method())) {
            Ok(handover) => handover,
            Err(reject @ Reject::InFlight { .. }) => {
                on_its_way.arrived();
                refuse(session, id, reject);
                return Ok(());
            }
            Err(reject) => {
                on_its_way.refused((&reject).into(), reject.wire().status);
                return Err(Refusal::of(reject, Some(id)));
            }
        };
        if initialize {
            // Its answer comes on the stream, and so it waits for a child as long as the stream is there, whatever becomes of
            // the POST. The handover sees to it that the session ends if this is given up: it could not start over.
            let session = session.clone();
            let attach = async move {
                match session.attach().await {
                    Ok(()) => handover.request(message).await,
                    Err(Reject::SessionClosed) => {}
                    Err(reject) => refuse(&session, id, reject),
                }
            };
            self.service.pool.run(attach.in_current_span());
            on_its_way.arrived();
            return Ok(());
        }
        handover.request(message).await;
        on_its_way.arrived();
        Ok(())
    }
}

/// The id of the session that a POST on the messages' path is for.
pub(super) fn session_id(uri: &Uri) -> Option<&str> {
    let mut pairs = uri.query().into_iter().flat_map(|query| query.split('&'));
    pairs.find_map(|pair| pair.strip_prefix(SESSION_ID)?.strip_prefix('='))
}

fn refuse(session: &Session, id: RawId, reject: Reject) {
    debug!(session = %session.id(), kind = reject.wire().kind, "request refused");
    session.answer(StreamId::STANDALONE, Answer::Rejected(id, reject));
}

/// What the official SDKs answer to a POST whose message was taken.
fn accepted() -> Response<Body> {
    let mut response = Response::new(Body::from(Bytes::from_static(b"Accepted")));
    *response.status_mut() = StatusCode::ACCEPTED;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    response
}

/// The query parameter that names the session.
const SESSION_ID: &str = "sessionId";
