//! What to send and what to say: the client's side of the transports, without a socket or a clock.
//!
//! Messages of the client, what comes from the server, and the time go in; HTTP requests to be made and lines for stdout
//! come out. It never waits.
//!
//! An *exchange* is one thing that is done over HTTP until it is done: a request of the client, however often it has to be
//! sent or its stream taken up again; a notification; an event stream. What each revision does differently: `sending` (where
//! a message goes), `arriving` (what an answer means), `failing` (what is tried again), `opening` (the session, and how it
//! is opened again), `source` (the same of HTTP+SSE).
//!
//! Invariants, each a property in `remote/properties.rs`: every request taken is answered once, or cancelled; nothing is
//! written that is no message; nothing is left at the end.

mod arriving;
mod closing;
mod exchange;
mod failing;
mod opening;
mod sending;
mod source;
mod tools;

use std::collections::{BTreeMap, VecDeque};
use std::num::NonZeroUsize;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderValue, Request, StatusCode, Uri};
use serde_json::json;
use tokio::time::Instant;

use self::closing::Closing;
use self::exchange::{Exchange, Purpose};
use self::opening::{Kept, Phase, Transport};
pub(super) use self::tools::Tools;
use super::events::Event;
use super::request::Session;
use super::service::Failure;
use crate::jsonrpc::{self, Message, RawId};
use crate::mcp::Era;

/// What may grow, and for how long something is tried.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bounds {
    /// The most requests in flight, those that wait included.
    pub(crate) in_flight_max: NonZeroUsize,
    /// The largest message.
    pub(crate) message_bytes_max: usize,
    /// How long the server is tried to be reached before a request fails.
    pub(crate) retry_timeout: Duration,
}

/// One exchange. Never reused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct ExchangeId(pub(super) u64);

/// What is to be done.
#[derive(Debug)]
pub(super) enum Output {
    /// Make this request; what comes of it is an [`Arrival`] of this exchange. One that it had before is over.
    Call(ExchangeId, Box<Request<Bytes>>),
    /// Give up what is under way for this exchange.
    Drop(ExchangeId),
    /// Write this line for the client.
    Write(Bytes),
}

/// What comes from the server.
#[derive(Debug)]
pub(super) enum Arrival {
    /// The head of an answer. Events and an end follow if it is an event stream, else a body.
    Head(Head),
    /// An event.
    Event(Event),
    /// The whole body of what is no event stream.
    Body(Bytes),
    /// The event stream is over.
    End,
    /// There will be no (more) answer.
    Failed(Failure),
}

/// The head of an answer.
#[derive(Clone, Debug)]
pub(super) struct Head {
    /// Its status.
    pub(super) status: StatusCode,
    /// What follows.
    pub(super) form: Form,
    /// Its Content-Type.
    pub(super) kind: Box<str>,
    /// The session it names.
    pub(super) session: Option<HeaderValue>,
}

/// What the body of an answer is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    /// An event stream.
    Events,
    /// Anything else.
    Whole,
}

/// How it ended.
#[derive(Debug)]
pub(crate) enum Ending {
    /// The client has gone, and everything is settled.
    Done,
    /// The client is of the legacy era, and the server of the modern one alone. These messages of the client were not seen
    /// to.
    Modern(Vec<Message>),
}

/// One client's side of one server.
#[derive(Debug)]
pub(super) struct Core {
    era: Era,
    url: Uri,
    bounds: Bounds,
    /// Spreads attempts.
    random: fastrand::Rng,
    phase: Phase,
    transport: Transport,
    session: Session,
    /// How often a session was opened.
    epoch: u64,
    kept: Kept,
    tools: Tools,
    exchanges: BTreeMap<ExchangeId, Exchange>,
    exchanges_made: u64,
    /// What waits to be sent.
    queue: VecDeque<Waiting>,
    queued_bytes: usize,
    /// The notification or answer whose arrival the next message waits for: they are not to overtake each other.
    gate: Option<ExchangeId>,
    closing: Closing,
    ending: Option<Ending>,
    outputs: VecDeque<Output>,
}

/// A message that waits to be sent.
#[derive(Debug)]
struct Waiting {
    message: Message,
    /// Whether it was sent before, in a session that the server did not know any more.
    moved: bool,
    /// Since when it waits.
    since: Instant,
}

impl Core {
    /// Nothing was sent yet. `seed` is what attempts are spread with.
    pub(super) fn new(era: Era, url: Uri, bounds: Bounds, seed: u64) -> Self {
        Self {
            era,
            url,
            bounds,
            random: fastrand::Rng::with_seed(seed),
            phase: Phase::New,
            transport: Transport::Streamable,
            session: Session::default(),
            epoch: 0,
            kept: Kept::default(),
            tools: Tools::default(),
            exchanges: BTreeMap::new(),
            exchanges_made: 0,
            queue: VecDeque::new(),
            queued_bytes: 0,
            gate: None,
            closing: Closing::No,
            ending: None,
            outputs: VecDeque::new(),
        }
    }

    /// The next thing to do.
    pub(super) fn poll_output(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    /// When [`Core::handle_timeout`] wants to be called.
    pub(super) fn poll_timeout(&self) -> Option<Instant> {
        let exchanges = self.exchanges.values().filter_map(|exchange| exchange.due);
        exchanges.chain(self.closing.until()).chain(self.patience_until()).min()
    }

    /// Something of [`Core::poll_timeout`] is due.
    pub(super) fn handle_timeout(&mut self, now: Instant) {
        let due = |exchange: &Exchange| exchange.due.is_some_and(|due| due <= now);
        let ids: Vec<_> = self.exchanges.iter().filter(|(_, exchange)| due(exchange)).map(|(id, _)| *id).collect();
        for id in ids {
            self.exchange_due(id, now);
        }
        self.refuse_overdue(now);
        self.pump(now);
        self.advance_closing(now);
    }

    /// How it ended, once it has.
    pub(super) fn take_ending(&mut self) -> Option<Ending> {
        self.ending.take()
    }

    /// How many exchanges and waiting messages there are.
    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.exchanges.len() + self.queue.len()
    }

    /// Whether a request of the client with this id is there.
    #[cfg(test)]
    pub(super) fn has_request(&self, id: u64) -> bool {
        let id = RawId::from_json(&id.to_string());
        let waits = |waiting: &Waiting| waiting.message.id().as_ref() == Some(&id);
        self.request_of(&id).is_some() || self.queue.iter().any(waits)
    }

    /// Whether nothing is awaited from the server for an exchange.
    #[cfg(test)]
    pub(super) fn is_backing_off(&self, id: ExchangeId) -> bool {
        self.exchanges.get(&id).is_none_or(|exchange| exchange.step != exchange::Step::Sent)
    }

    // --- exchanges ---

    fn begin(&mut self, purpose: Purpose, message: Option<Message>) -> ExchangeId {
        self.exchanges_made += 1;
        let id = ExchangeId(self.exchanges_made);
        self.exchanges.insert(id, Exchange::new(purpose, message, self.epoch));
        id
    }

    fn end(&mut self, id: ExchangeId) -> Option<Exchange> {
        if self.gate == Some(id) {
            self.gate = None;
        }
        self.exchanges.remove(&id)
    }

    /// Ends an exchange and what is under way for it.
    fn abandon(&mut self, id: ExchangeId) -> Option<Exchange> {
        let exchange = self.end(id)?;
        self.outputs.push_back(Output::Drop(id));
        Some(exchange)
    }

    fn request_of(&self, client_id: &RawId) -> Option<ExchangeId> {
        let its = |exchange: &Exchange| exchange.purpose.request().is_some_and(|(id, _)| id == client_id);
        self.exchanges.iter().find(|(_, exchange)| its(exchange)).map(|(id, _)| *id)
    }

    // --- the client ---

    fn write(&mut self, line: Bytes) {
        self.outputs.push_back(Output::Write(line));
    }

    /// Answers a request of the client with an error of mcp-mux's own.
    fn refuse(&mut self, id: &RawId, refusal: &Refusal) {
        let data = json!({"source": "mcp-mux", "kind": refusal.kind});
        let error = json!({"code": refusal.code, "message": refusal.what, "data": data});
        self.write(jsonrpc::error_response(Some(id), &error).into_bytes());
    }
}

/// Why a request gets an error of mcp-mux's own.
#[derive(Clone, Debug)]
struct Refusal {
    code: i32,
    kind: &'static str,
    what: String,
}
