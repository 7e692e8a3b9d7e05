//! What comes from the server, and what it means.
//!
//! Spec: 2026-07-28, Streamable HTTP, Receiving Messages; 2025-11-25, Transports, Sending Messages to the Server, Listening
//! for Messages from the Server; 2024-11-05, Transports, HTTP with SSE.

use bytes::Bytes;
use http::StatusCode;
use tokio::time::Instant;
use tracing::{debug, info, warn};

use super::exchange::{Purpose, Step};
use super::opening::{Phase, Transport};
use super::{Arrival, Core, ExchangeId, Form, Head, Refusal};
use crate::era::legacy::error_code;
use crate::jsonrpc::{BATCH_MAX, Body, Kind, Message, RawId, parse_body};
use crate::mcp::{Era, code, method};
use crate::remote::events::Event;
use crate::remote::place;

impl Core {
    /// Something came for an exchange; nothing, if that is over.
    pub(in crate::remote) fn handle_arrival(&mut self, id: ExchangeId, arrival: Arrival, now: Instant) {
        // What was under way before it was sent again, the driver has given up.
        if self.exchanges.get(&id).is_none_or(|exchange| exchange.step != Step::Sent) {
            return;
        }
        match arrival {
            Arrival::Head(head) => self.head(id, head),
            Arrival::Event(event) => self.event(id, event, now),
            Arrival::Body(body) => self.body(id, body, now),
            Arrival::End => self.broken(id, "the server ended the stream before it answered", now),
            Arrival::Failed(failure) => self.failed(id, &failure, now),
        }
        self.pump(now);
        self.advance_closing(now);
    }

    fn head(&mut self, id: ExchangeId, head: Head) {
        let Some(exchange) = self.exchanges.get_mut(&id) else { return };
        let opens = match &exchange.purpose {
            Purpose::Request { method, .. } => **method == *method::INITIALIZE,
            Purpose::Reopen => true,
            Purpose::Message
            | Purpose::Stream
            | Purpose::Source
            | Purpose::Replay
            | Purpose::Tools(_)
            | Purpose::Delete
            | Purpose::Over => false,
        };
        if head.status.is_success() {
            if matches!(exchange.purpose, Purpose::Stream) {
                exchange.succeeded();
            }
            if std::mem::take(&mut exchange.warned) {
                info!("the remote server answers again");
            }
            if opens && self.is_legacy() {
                self.session.id.clone_from(&head.session);
            }
            if self.gate == Some(id) {
                self.gate = None;
            }
        }
        if let Some(exchange) = self.exchanges.get_mut(&id) {
            if head.status.is_success() && matches!(exchange.purpose, Purpose::Message) {
                exchange.due = None;
            }
            exchange.head = Some(head);
        }
    }

    fn event(&mut self, id: ExchangeId, event: Event, now: Instant) {
        let Some(exchange) = self.exchanges.get_mut(&id) else { return };
        // A stream that leads to no session is of no use.
        if !matches!(exchange.purpose, Purpose::Source) || matches!(self.phase, Phase::Open) {
            exchange.succeeded();
        }
        let resumable = self.era == Era::Legacy && self.transport == Transport::Streamable;
        if resumable && let Some(last) = event.id {
            exchange.last_event = Some(last);
        }
        exchange.retry = event.retry.or(exchange.retry);
        let Some(data) = event.data else { return };
        match event.name.as_deref() {
            None | Some("message" | "") => self.messages(id, data, now),
            Some("endpoint") if matches!(exchange.purpose, Purpose::Source) => self.endpoint(id, &data, now),
            Some(name) => debug!(name, "an event that is no message"),
        }
    }

    /// HTTP+SSE: where to post.
    fn endpoint(&mut self, id: ExchangeId, data: &[u8], now: Instant) {
        let found = std::str::from_utf8(data).ok().and_then(|reference| place::refer(&self.url, reference));
        match (&mut self.transport, found) {
            (Transport::Events { endpoint, source }, Some(url)) if *source == id => {
                *endpoint = Some(url);
                if let Some(exchange) = self.exchanges.get_mut(&id) {
                    exchange.due = None;
                }
                self.source_ready(now);
            }
            (Transport::Events { .. } | Transport::Streamable, Some(_)) => {}
            (_, None) => {
                self.source_failed(id, "it names an endpoint of another origin, or none");
            }
        }
    }

    fn messages(&mut self, id: ExchangeId, data: Bytes, now: Instant) {
        match parse_body(data, DEPTH_MAX, BATCH_MAX) {
            Ok(Body::Single(message)) => self.message(id, message, now),
            Ok(Body::Batch(messages)) => {
                for message in messages.into_iter().flatten() {
                    self.message(id, message, now);
                }
            }
            Err(error) => warn!(%error, "the remote server sent something that is no JSON-RPC message"),
        }
    }

    /// A message of the server.
    fn message(&mut self, from: ExchangeId, message: Message, now: Instant) {
        match message.kind() {
            Kind::Request if self.era == Era::Modern => {
                // spec: 2026-07-28 basic/transports/streamable-http, Receiving Messages
                warn!(method = message.method(), "dropped a request of the server: in 2026-07-28 it makes none");
            }
            Kind::Notification if message.method() == method::ACKNOWLEDGED && self.era == Era::Modern => {
                let exchange = self.exchanges.get_mut(&from);
                if exchange.is_some_and(|exchange| !std::mem::replace(&mut exchange.acknowledged, true)) {
                    self.write(message.bytes().clone());
                }
            }
            Kind::Request | Kind::Notification => self.write(message.bytes().clone()),
            Kind::Result | Kind::Error => self.response(from, message, now),
        }
    }

    fn response(&mut self, from: ExchangeId, message: Message, now: Instant) {
        let Some(id) = message.id() else { return };
        let by_stream = matches!(self.transport, Transport::Events { .. });
        let answered = if by_stream { self.request_of(&id).or_else(|| self.own_of(&id)) } else { Some(from) };
        let Some((at, exchange)) = answered.and_then(|at| self.exchanges.get(&at).map(|exchange| (at, exchange)))
        else {
            return;
        };
        match exchange.purpose.clone() {
            Purpose::Request { id: own, method } if own == id => self.settle(at, &method, &message, now),
            Purpose::Reopen | Purpose::Replay
                if exchange.message.as_ref().and_then(Message::id).as_ref() == Some(&id) =>
            {
                self.reopened(at, &message, now);
            }
            Purpose::Tools(of) => self.tools_listed(at, of, &message, now),
            Purpose::Request { .. }
            | Purpose::Message
            | Purpose::Stream
            | Purpose::Source
            | Purpose::Reopen
            | Purpose::Replay
            | Purpose::Delete
            | Purpose::Over => debug!("dropped an answer to nothing that was asked here"),
        }
    }

    /// The server has answered a request of the client.
    fn settle(&mut self, at: ExchangeId, method: &str, message: &Message, now: Instant) {
        if method == method::INITIALIZE && self.is_legacy() && message.kind() == Kind::Error {
            if is_modern_error(message, None) {
                return self.end_as_modern(at);
            }
            self.phase = Phase::New;
        }
        self.write(message.bytes().clone());
        self.let_go(at, now);
        if message.kind() == Kind::Error {
            return self.refuse_queue_of_new();
        }
        if method == method::TOOLS_LIST && self.era == Era::Modern {
            if let Some(result) = message.result() {
                let _ = self.tools.learn(message.text(result));
            }
        } else if method == method::INITIALIZE && self.is_legacy() {
            self.opened(message);
        }
    }

    /// A settled exchange: if its stream is open still, its end is waited for a little.
    pub(super) fn let_go(&mut self, at: ExchangeId, now: Instant) {
        let streams = |head: &Head| head.form == Form::Events;
        if let Some(exchange) = self.exchanges.get_mut(&at)
            && exchange.head.as_ref().is_some_and(streams)
        {
            exchange.purpose = Purpose::Over;
            exchange.message = None;
            exchange.due = exchange.patience().map(|patience| now + patience);
            return;
        }
        self.end(at);
    }

    /// The whole body of an answer that is no event stream.
    fn body(&mut self, id: ExchangeId, body: Bytes, now: Instant) {
        let Some(exchange) = self.exchanges.get(&id) else { return };
        let Some(head) = &exchange.head else { return };
        let (status, said) = (head.status, said(head));
        if !status.is_success() {
            return self.refused(id, status, &body, now);
        }
        let awaits = matches!(self.transport, Transport::Events { .. });
        match exchange.purpose {
            Purpose::Message => {
                let initialized =
                    exchange.message.as_ref().is_some_and(|message| message.method() == method::INITIALIZED);
                self.end(id);
                if initialized {
                    self.listen(now);
                }
            }
            // The answer comes on the other stream.
            Purpose::Request { .. } | Purpose::Reopen if awaits => {}
            Purpose::Replay if awaits && exchange.message.as_ref().is_some_and(|message| message.id().is_some()) => {}
            Purpose::Replay if exchange.message.as_ref().is_some_and(|message| message.id().is_none()) => {
                self.end(id);
                self.replay_next(now);
            }
            Purpose::Request { .. } | Purpose::Reopen | Purpose::Replay | Purpose::Tools(_) => {
                self.messages(id, body, now);
                if self
                    .exchanges
                    .get(&id)
                    .is_some_and(|exchange| exchange.step == Step::Sent && exchange.head.is_some())
                {
                    self.unusable(id, &format!("its answer ({said}) is no response to the request"));
                }
            }
            Purpose::Stream => {
                debug!("the remote server has no stream for what belongs to no request");
                self.end(id);
            }
            Purpose::Source => {
                self.source_failed(id, &format!("it has no event stream there ({said})"));
            }
            Purpose::Delete | Purpose::Over => {
                self.end(id);
            }
        }
    }

    /// An answer with a status of failure.
    fn refused(&mut self, id: ExchangeId, status: StatusCode, body: &Bytes, now: Instant) {
        let Some(exchange) = self.exchanges.get(&id) else { return };
        let error = Message::parse(body.clone(), DEPTH_MAX).ok().filter(|message| message.kind() == Kind::Error);
        let (purpose, moved) = (exchange.purpose.clone(), exchange.moved);
        let reopening = matches!(self.phase, Phase::Reopening);
        if status == StatusCode::NOT_FOUND && exchange.in_session {
            match purpose {
                Purpose::Request { .. } | Purpose::Message | Purpose::Stream | Purpose::Replay => {
                    return self.session_gone(id, now);
                }
                Purpose::Source | Purpose::Reopen | Purpose::Tools(_) | Purpose::Delete | Purpose::Over => {}
            }
        }
        if status == StatusCode::NOT_FOUND
            && matches!(purpose, Purpose::Request { .. })
            && self.source_forgotten(id, now)
        {
            return;
        }
        match purpose {
            Purpose::Request { id: client_id, method } => {
                let first = *method == *method::INITIALIZE && self.is_legacy();
                if first && error.as_ref().is_some_and(|error| is_modern_error(error, Some(status))) {
                    return self.end_as_modern(id);
                }
                let other_transport =
                    [StatusCode::BAD_REQUEST, StatusCode::NOT_FOUND, StatusCode::METHOD_NOT_ALLOWED].contains(&status);
                if first && other_transport && self.transport == Transport::Streamable {
                    return self.try_events(id, status_refusal(status), error, now);
                }
                let wants_headers = error.as_ref().and_then(error_code) == Some(code::HEADER_MISMATCH);
                if wants_headers && *method == *method::TOOLS_CALL && self.era == Era::Modern && !moved {
                    return self.ask_for_tools(id, error, now);
                }
                match error {
                    Some(error) => {
                        self.end(id);
                        self.pass_error(&client_id, &error);
                        self.gave_up(&method);
                    }
                    None if is_passing(status) && self.retry_if_harmless(id, &status_text(status), now) => {}
                    None => self.give_up(id, &status_refusal(status)),
                }
            }
            Purpose::Message => {
                warn!(%status, "the remote server refused a notification or an answer of the client");
                self.end(id);
            }
            Purpose::Stream if is_passing(status) => self.again(id, &status_text(status), now),
            Purpose::Source | Purpose::Reopen if is_passing(status) || reopening && status.is_server_error() => {
                self.again(id, &status_text(status), now);
            }
            Purpose::Stream => {
                debug!(%status, "the remote server has no stream for what belongs to no request");
                self.end(id);
            }
            Purpose::Source => self.source_failed(id, &status_text(status)),
            Purpose::Replay => {
                self.end(id);
                self.replay_next(now);
            }
            Purpose::Reopen => {
                self.end(id);
                self.reopening_failed(&status_refusal(status));
            }
            Purpose::Tools(of) => {
                self.end(id);
                self.tools_unknown(of);
            }
            Purpose::Delete | Purpose::Over => {
                self.end(id);
            }
        }
    }

    /// Answers a request with an error of the server's, which may be without the request's id.
    pub(super) fn pass_error(&mut self, id: &RawId, error: &Message) {
        let spelled = error.id_span().map(|span| error.text(span));
        let line = if spelled == Some(id.as_str()) {
            error.bytes().clone()
        } else {
            let object = error.error().map_or("{}", |span| error.text(span));
            format!(r#"{{"jsonrpc":"2.0","id":{},"error":{object}}}"#, id.as_str()).into()
        };
        self.write(line);
    }
}

/// Whether an error says that the server is of the modern era.
///
/// Spec: 2026-07-28, Streamable HTTP, Backward Compatibility.
pub(in crate::remote) fn is_modern_error(error: &Message, status: Option<StatusCode>) -> bool {
    match error_code(error) {
        Some(code::UNSUPPORTED_VERSION | code::HEADER_MISMATCH | code::MISSING_CAPABILITY) => true,
        Some(code::METHOD_NOT_FOUND) => status.is_none_or(|status| status == StatusCode::NOT_FOUND),
        Some(_) | None => false,
    }
}

/// Whether a status says that it may be another one soon.
fn is_passing(status: StatusCode) -> bool {
    matches!(
        status,
        StatusCode::REQUEST_TIMEOUT
            | StatusCode::TOO_MANY_REQUESTS
            | StatusCode::BAD_GATEWAY
            | StatusCode::SERVICE_UNAVAILABLE
            | StatusCode::GATEWAY_TIMEOUT
    )
}

/// Of an answer that is not what it should be.
fn said(head: &Head) -> String {
    let Head { status, kind, .. } = head;
    let kind = if kind.is_empty() { "without a Content-Type" } else { kind };
    let hint = if kind.starts_with("text/html") { ": is this the MCP endpoint?" } else { "" };
    format!("{status}, {kind}{hint}")
}

fn status_refusal(status: StatusCode) -> Refusal {
    let (code, kind) = match status {
        StatusCode::UNAUTHORIZED => (code::UNAUTHENTICATED, "remote-unauthenticated"),
        StatusCode::FORBIDDEN => (code::FORBIDDEN, "remote-forbidden"),
        _ => (code::CHILD_UNAVAILABLE, "remote-status"),
    };
    Refusal { code, kind, what: format!("the remote server: {}", status_text(status)) }
}

fn status_text(status: StatusCode) -> String {
    let hint = match status {
        StatusCode::UNAUTHORIZED => ": give a token that it takes with --auth-token-file",
        StatusCode::FORBIDDEN => ": the token or the header may not do that",
        _ => "",
    };
    format!("it answered with HTTP status {status}{hint}")
}

/// The deepest nesting taken from a server.
const DEPTH_MAX: usize = 1024;
