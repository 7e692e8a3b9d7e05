//! What becomes of a message of the client.
//!
//! Spec: 2026-07-28, Streamable HTTP, Sending Messages, Cancellation; 2025-11-25, Transports, Sending Messages to the Server.

use tokio::time::Instant;
use tracing::{debug, warn};

use super::exchange::{Exchange, Purpose, Step};
use super::opening::{Phase, Transport};
use super::{Core, ExchangeId, Output, Refusal, Waiting};
use crate::jsonrpc::{self, Kind, Message, RawId};
use crate::mcp::ids::Param;
use crate::mcp::{Era, code, method};
use crate::remote::request;

impl Core {
    /// A message of the client.
    pub(in crate::remote) fn handle_message(&mut self, message: Message, now: Instant) {
        match message.kind() {
            Kind::Request => {
                let Some(id) = message.id() else { return };
                if let Err(refusal) = self.admit(&id, &message) {
                    return self.refuse(&id, &refusal);
                }
            }
            Kind::Notification if message.method() == method::CANCELLED && self.cancel(&message) => return,
            Kind::Result | Kind::Error if self.era == Era::Modern => {
                warn!("dropped a response of the client: revision 2026-07-28 has none");
                return;
            }
            Kind::Notification | Kind::Result | Kind::Error if matches!(self.phase, Phase::New) && self.is_legacy() => {
                debug!("dropped a message that came before `initialize`");
                return;
            }
            Kind::Notification | Kind::Result | Kind::Error => {}
        }
        self.keep(&message);
        self.hasten(&message, now);
        self.enqueue(Waiting { message, moved: false, since: now });
        self.pump(now);
    }

    pub(super) fn is_legacy(&self) -> bool {
        self.era == Era::Legacy
    }

    /// Whether a request can be taken.
    fn admit(&mut self, id: &RawId, message: &Message) -> Result<(), Refusal> {
        let invalid =
            |what: &str| Refusal { code: code::INVALID_REQUEST, kind: "invalid-request", what: what.to_owned() };
        let queued = self.queue.iter().filter(|waiting| waiting.message.kind() == Kind::Request);
        let (mut waiting, mut known) = (0, false);
        for one in queued {
            waiting += 1;
            known |= one.message.id().as_ref() == Some(id);
        }
        let sent = self.exchanges.values().filter(|exchange| exchange.purpose.request().is_some()).count();
        if known || self.request_of(id).is_some() {
            return Err(invalid("a request with this id is in flight already; ids must be unique"));
        }
        let limit = self.bounds.in_flight_max.get();
        if waiting + sent >= limit || self.queued_bytes > self.bounds.message_bytes_max.saturating_mul(QUEUE_MESSAGES) {
            let what = format!("{limit} requests are in flight already (--in-flight-max)");
            return Err(Refusal { code: code::LIMIT_REACHED, kind: "in-flight", what });
        }
        if self.closing.is_on() {
            let what = "mcp-mux is stopping".to_owned();
            return Err(Refusal { code: code::SHUTTING_DOWN, kind: "shutting-down", what });
        }
        let first = message.method() == method::INITIALIZE;
        match self.phase {
            _ if !self.is_legacy() => Ok(()),
            Phase::New if first => {
                self.phase = Phase::Opening;
                Ok(())
            }
            Phase::New => Err(invalid("the first request must be `initialize`")),
            Phase::Opening | Phase::Open | Phase::Reopening | Phase::Lost if first => {
                Err(invalid("the session is initialized already"))
            }
            Phase::Lost => {
                self.reopen();
                Ok(())
            }
            Phase::Opening | Phase::Open | Phase::Reopening => Ok(()),
        }
    }

    /// Sees to a cancellation; true if that is all there is to do.
    fn cancel(&mut self, message: &Message) -> bool {
        let Some(id) = message.param(Param::RequestId) else { return true };
        let id = RawId::from_json(message.text(id));
        let place = self
            .queue
            .iter()
            .position(|waiting| waiting.message.kind() == Kind::Request && waiting.message.id().as_ref() == Some(&id));
        if let Some(waiting) = place.and_then(|at| self.queue.remove(at)) {
            self.queued_bytes -= waiting.message.bytes().len();
            return true;
        }
        let Some(exchange) = self.request_of(&id) else { return true };
        let its =
            |exchange: &Exchange| exchange.purpose.request().is_some_and(|(_, method)| method == method::INITIALIZE);
        if self.exchanges.get(&exchange).is_some_and(its) {
            // spec: 2025-11-25 basic/utilities/cancellation: it must not be cancelled.
            return true;
        }
        let reached = self.exchanges.get(&exchange).is_some_and(|exchange| exchange.step == Step::Sent);
        // What the server says to it does not matter any more. In the modern era hanging up is what tells it.
        self.abandon(exchange);
        !self.is_legacy() || !reached
    }

    pub(super) fn enqueue(&mut self, waiting: Waiting) {
        let is_request = waiting.message.kind() == Kind::Request;
        if !is_request && self.queue.len() >= QUEUE_MESSAGES.max(2 * self.bounds.in_flight_max.get()) {
            return warn!("dropped a notification of the client: too many wait for the remote server");
        }
        self.queued_bytes += waiting.message.bytes().len();
        self.queue.push_back(waiting);
    }

    /// Sends what can be sent now, in the order in which it came.
    pub(super) fn pump(&mut self, now: Instant) {
        self.reopen_if_due(now);
        while self.gate.is_none() && self.may_send() {
            let Some(Waiting { message, moved, since: _ }) = self.queue.pop_front() else { return };
            self.queued_bytes -= message.bytes().len();
            let purpose = match (message.kind(), message.id()) {
                (Kind::Request, Some(id)) => Purpose::Request { id, method: message.method().into() },
                (Kind::Request | Kind::Notification | Kind::Result | Kind::Error, _) => Purpose::Message,
            };
            let gates = matches!(purpose, Purpose::Message) && self.is_legacy();
            let id = self.begin(purpose, Some(message));
            if let Some(exchange) = self.exchanges.get_mut(&id) {
                exchange.moved = moved;
            }
            if gates {
                self.gate = Some(id);
            }
            self.launch(id, now);
        }
    }

    fn may_send(&self) -> bool {
        match self.phase {
            _ if !self.is_legacy() => true,
            Phase::Open => true,
            Phase::Opening => {
                let front = self.queue.front();
                front.is_some_and(|waiting| waiting.message.method() == method::INITIALIZE)
            }
            Phase::New | Phase::Reopening | Phase::Lost => false,
        }
    }

    /// Makes the HTTP request that an exchange needs next.
    pub(super) fn launch(&mut self, id: ExchangeId, now: Instant) {
        let Some(exchange) = self.exchanges.get_mut(&id) else { return };
        let resumes = exchange.last_event.as_deref().filter(|_| self.transport == Transport::Streamable);
        let target = match &self.transport {
            Transport::Streamable => self.url.clone(),
            Transport::Events { endpoint, .. } => endpoint.clone().unwrap_or_else(|| self.url.clone()),
        };
        let request = match (&exchange.purpose, &exchange.message) {
            (Purpose::Stream | Purpose::Source, _) => request::listen(&self.url, &self.session, resumes),
            (Purpose::Request { .. }, Some(_)) if resumes.is_some() => {
                request::listen(&self.url, &self.session, resumes)
            }
            (Purpose::Delete, _) => request::delete(&self.url, &self.session),
            (_, Some(message)) if self.era == Era::Modern => request::modern(&self.url, message, &self.tools),
            (_, Some(message)) => request::post(&target, &self.session, message.bytes().clone()),
            (_, None) => return,
        };
        exchange.head = None;
        exchange.step = Step::Sent;
        exchange.launched = Some(now);
        exchange.epoch = self.epoch;
        exchange.in_session =
            self.era == Era::Legacy && self.transport == Transport::Streamable && self.session.id.is_some();
        exchange.due = exchange.patience().map(|patience| now + patience);
        self.outputs.push_back(Output::Call(id, Box::new(request)));
    }

    /// A message of mcp-mux's own.
    pub(super) fn own(id: Option<&str>, method: &str, params: Option<&str>) -> Option<Message> {
        let frame = match id {
            Some(id) => jsonrpc::request(id, method, params),
            None => jsonrpc::notification(method, params),
        };
        Message::parse(frame.into_bytes(), usize::MAX).ok()
    }
}

/// How many messages may wait, where that is more than requests may be in flight; and how many of the largest.
const QUEUE_MESSAGES: usize = 256;
