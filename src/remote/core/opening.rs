//! The session: how it is opened, found to be gone, and opened again.
//!
//! A session that the server does not know any more is opened again with the client's own `initialize`, and told what the
//! client had told the old one: its log level and its subscriptions. What was refused for want of it is sent again, once.
//!
//! Spec: 2025-11-25, Transports, Session Management 4, Backwards Compatibility.

use std::collections::{BTreeMap, VecDeque};

use http::{HeaderValue, Uri};
use tokio::time::Instant;
use tracing::{info, warn};

use super::exchange::{Purpose, Step};
use super::failing::BACKOFF_MIN;
use super::{Core, Ending, ExchangeId, Refusal, Waiting};
use crate::jsonrpc::{Frame, Kind, Message, RawId, decode_str};
use crate::mcp::ids::Param;
use crate::mcp::{code, method};

/// How far the legacy session is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    /// The client has not introduced itself.
    New,
    /// Its `initialize` is on its way.
    Opening,
    /// Open.
    Open,
    /// The server has forgotten it, and is asked for another one.
    Reopening,
    /// That came to nothing; the next request tries it again.
    Lost,
}

/// How the legacy server is spoken to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Transport {
    /// Streamable HTTP.
    Streamable,
    /// HTTP+SSE.
    Events {
        /// The stream.
        source: ExchangeId,
        /// Where to post, once the server has said it.
        endpoint: Option<Uri>,
    },
}

/// What a new session is to be told.
#[derive(Debug, Default)]
pub(super) struct Kept {
    initialize: Option<Message>,
    level: Option<Message>,
    subscriptions: BTreeMap<String, Message>,
    /// What is still to be told the session that is being opened.
    replay: VecDeque<Message>,
    /// What the server said to the POST, before its older transport was tried.
    pub(super) refused: Option<Refusal>,
    /// The session is to be opened again.
    due: bool,
    /// Since when that is tried, and what came of the last attempt.
    pub(super) reopening_since: Option<Instant>,
    pub(super) failed: Option<String>,
}

impl Core {
    /// Keeps what a session would have to be told again.
    pub(super) fn keep(&mut self, message: &Message) {
        if !self.is_legacy() {
            return;
        }
        let uri = || message.param_str(Param::Uri).map(std::borrow::Cow::into_owned);
        match message.method() {
            method::INITIALIZE => self.kept.initialize = Some(message.clone()),
            method::SET_LEVEL => self.kept.level = Some(message.clone()),
            method::SUBSCRIBE => {
                if let Some(uri) = uri().filter(|_| self.kept.subscriptions.len() < SUBSCRIPTIONS_MAX) {
                    self.kept.subscriptions.insert(uri, message.clone());
                }
            }
            method::UNSUBSCRIBE => {
                if let Some(uri) = uri() {
                    self.kept.subscriptions.remove(&uri);
                }
            }
            _ => {}
        }
    }

    /// The server has taken the client's `initialize`.
    pub(super) fn opened(&mut self, result: &Message) {
        self.negotiated(result);
        self.phase = Phase::Open;
        self.epoch += 1;
    }

    fn negotiated(&mut self, result: &Message) {
        let version = result.result().and_then(|object| result.member(object, "protocolVersion").ok().flatten());
        let version = version.and_then(|span| decode_str(result.text(span)));
        self.session.revision = version.and_then(|version| HeaderValue::from_str(&version).ok());
    }

    /// Opens the stream of what belongs to no request, if there is none.
    pub(super) fn listen(&mut self, now: Instant) {
        let is_there = self.exchanges.values().any(|exchange| matches!(exchange.purpose, Purpose::Stream));
        if self.transport == Transport::Streamable && !is_there && !self.closing.is_on() && self.is_legacy() {
            let id = self.begin(Purpose::Stream, None);
            self.launch(id, now);
        }
    }

    /// The server is of the modern era alone.
    pub(super) fn end_as_modern(&mut self, initialize: ExchangeId) {
        info!("the remote server speaks 2026-07-28 alone: its messages are translated");
        let first = self.abandon(initialize).and_then(|exchange| exchange.message);
        let rest = std::mem::take(&mut self.queue).into_iter().map(|waiting| waiting.message);
        self.queued_bytes = 0;
        self.ending = Some(Ending::Modern(first.into_iter().chain(rest).collect()));
    }

    /// What waited for a session that did not come about.
    pub(super) fn refuse_queue_of_new(&mut self) {
        if self.is_legacy() && matches!(self.phase, Phase::New) {
            let what = "the remote server did not take `initialize`".to_owned();
            self.refuse_queue(&Refusal { code: code::INVALID_REQUEST, kind: "invalid-request", what });
        }
    }

    pub(super) fn refuse_queue(&mut self, refusal: &Refusal) {
        let all = std::mem::take(&mut self.queue);
        self.refuse_all(all, refusal);
    }

    fn refuse_all(&mut self, those: VecDeque<Waiting>, refusal: &Refusal) {
        for Waiting { message, .. } in those {
            self.queued_bytes -= message.bytes().len();
            if let (Kind::Request, Some(id)) = (message.kind(), message.id()) {
                self.refuse(&id, refusal);
            }
        }
    }

    // --- again ---

    pub(super) fn forget_session(&mut self) {
        self.session.id = None;
        self.session.revision = None;
        self.kept.replay.clear();
    }

    /// An exchange was told that there is no such session.
    pub(super) fn session_gone(&mut self, id: ExchangeId, now: Instant) {
        let Some(exchange) = self.end(id) else { return };
        let is_old = exchange.epoch != self.epoch;
        if !is_old && matches!(self.phase, Phase::Open) {
            info!("the remote server has forgotten the session: opening it again");
            self.begin_reopening(now);
            self.end_streams();
            self.reinitialize(now);
        }
        let lost = Refusal {
            code: code::CHILD_EXITED,
            kind: "remote-session-lost",
            what: "the remote server has forgotten the session in which the request was made".to_owned(),
        };
        match (exchange.purpose, exchange.message) {
            (Purpose::Request { .. }, Some(message)) if exchange.last_event.is_none() && !exchange.moved => {
                if matches!(self.phase, Phase::Lost) {
                    self.reopen();
                }
                self.queued_bytes += message.bytes().len();
                // Behind what was refused before it, and before what has not been sent at all.
                let at = self.queue.iter().position(|waiting| !waiting.moved).unwrap_or(self.queue.len());
                self.queue.insert(at, Waiting { message, moved: true, since: now });
            }
            (Purpose::Request { id, .. }, _) => self.refuse(&id, &lost),
            (Purpose::Replay, _) => self.reopening_failed(&lost),
            (Purpose::Stream, _) if is_old => self.listen(now),
            (
                Purpose::Message
                | Purpose::Stream
                | Purpose::Source
                | Purpose::Reopen
                | Purpose::Tools(_)
                | Purpose::Delete
                | Purpose::Over,
                _,
            ) => {}
        }
    }

    fn end_streams(&mut self) {
        let streams = self.exchanges.iter().filter(|(_, exchange)| matches!(exchange.purpose, Purpose::Stream));
        let streams: Vec<ExchangeId> = streams.map(|(id, _)| *id).collect();
        for id in streams {
            self.abandon(id);
        }
    }

    /// Tries once more to open the session; what to send is seen to by whoever asks for it.
    pub(super) fn reopen(&mut self) {
        self.phase = Phase::Reopening;
        self.kept.due = true;
    }

    /// There is no session until there is another one.
    pub(super) fn begin_reopening(&mut self, now: Instant) {
        self.phase = Phase::Reopening;
        self.forget_session();
        self.kept.reopening_since = Some(now);
        self.kept.failed = None;
    }

    /// Begins what [`Core::reopen`] asked for.
    pub(super) fn reopen_if_due(&mut self, now: Instant) {
        if !std::mem::take(&mut self.kept.due) {
            return;
        }
        self.begin_reopening(now);
        match self.transport {
            Transport::Streamable => self.reinitialize(now),
            Transport::Events { .. } => self.open_source(now),
        }
    }

    pub(super) fn reinitialize(&mut self, now: Instant) {
        let again = self.kept.initialize.as_ref().and_then(|message| {
            let frame = Frame::new(message.bytes().clone()).replace(message.id_span()?, REOPEN_ID);
            Message::parse(frame.into_bytes(), usize::MAX).ok()
        });
        let Some(again) = again else { return };
        let id = self.begin(Purpose::Reopen, Some(again));
        self.launch(id, now);
    }

    /// Which of mcp-mux's own requests has this id.
    pub(super) fn own_of(&self, id: &RawId) -> Option<ExchangeId> {
        let its = |message: &Message| message.id().as_ref() == Some(id);
        let own = self.exchanges.iter().find(|(_, exchange)| {
            matches!(exchange.purpose, Purpose::Reopen | Purpose::Replay) && exchange.message.as_ref().is_some_and(its)
        });
        own.map(|(id, _)| *id)
    }

    /// The server answered a message with which the session is opened again.
    pub(super) fn reopened(&mut self, at: ExchangeId, answer: &Message, now: Instant) {
        let Some(exchange) = self.end(at) else { return };
        if matches!(exchange.purpose, Purpose::Reopen) {
            if answer.kind() == Kind::Error {
                let what = "the remote server did not open the session again".to_owned();
                return self.reopening_failed(&Refusal {
                    code: code::CHILD_UNAVAILABLE,
                    kind: "remote-unavailable",
                    what,
                });
            }
            self.negotiated(answer);
            self.epoch += 1;
            let own = |(number, message): (usize, &Message)| {
                let id = format!("\"mcp-mux-replay-{number}\"");
                let frame = Frame::new(message.bytes().clone()).replace(message.id_span()?, id);
                Message::parse(frame.into_bytes(), usize::MAX).ok()
            };
            let told = self.kept.level.iter().chain(self.kept.subscriptions.values()).enumerate().filter_map(own);
            self.kept.replay = Self::own(None, method::INITIALIZED, None).into_iter().chain(told).collect();
        }
        self.replay_next(now);
    }

    /// Tells the new session what is next; then it is open.
    pub(super) fn replay_next(&mut self, now: Instant) {
        if !matches!(self.phase, Phase::Reopening) {
            return;
        }
        match self.kept.replay.pop_front() {
            Some(message) => {
                let id = self.begin(Purpose::Replay, Some(message));
                self.launch(id, now);
            }
            None => {
                info!("the session is open again");
                self.phase = Phase::Open;
                self.listen(now);
            }
        }
    }

    /// There is no session, and what waits for it is told so.
    pub(super) fn reopening_failed(&mut self, refusal: &Refusal) {
        if !matches!(self.phase, Phase::Reopening) {
            return;
        }
        warn!(why = refusal.what, "the session could not be opened again");
        self.phase = Phase::Lost;
        self.kept.replay.clear();
        if let Transport::Events { source, .. } = self.transport {
            self.abandon(source);
        }
        self.refuse_queue(refusal);
    }

    /// When the first request has waited long enough for a session.
    pub(super) fn patience_until(&self) -> Option<Instant> {
        let since = self.kept.reopening_since.filter(|_| matches!(self.phase, Phase::Reopening))?;
        let requests = self.queue.iter().filter(|waiting| waiting.message.kind() == Kind::Request);
        requests.map(|waiting| waiting.since.max(since) + self.bounds.retry_timeout).min()
    }

    /// Refuses what has waited long enough; the session is tried to be opened all the same.
    pub(super) fn refuse_overdue(&mut self, now: Instant) {
        let Some(since) = self.kept.reopening_since.filter(|_| self.patience_until().is_some_and(|until| until <= now))
        else {
            return;
        };
        let why = self.kept.failed.as_deref().unwrap_or("it does not open the session again");
        let what = format!("the remote server: {why}");
        let refusal = Refusal { code: code::CHILD_UNAVAILABLE, kind: "remote-unavailable", what };
        let bound = self.bounds.retry_timeout;
        let is_overdue =
            |waiting: &Waiting| waiting.message.kind() == Kind::Request && waiting.since.max(since) + bound <= now;
        let (overdue, rest) = std::mem::take(&mut self.queue).into_iter().partition(is_overdue);
        self.queue = rest;
        self.refuse_all(overdue, &refusal);
    }

    /// A request has come that waits for a session: the next attempt comes soon.
    pub(super) fn hasten(&mut self, message: &Message, now: Instant) {
        if message.kind() != Kind::Request || !matches!(self.phase, Phase::Reopening) {
            return;
        }
        for exchange in self.exchanges.values_mut() {
            let opens = matches!(exchange.purpose, Purpose::Source | Purpose::Reopen | Purpose::Replay);
            if opens && exchange.step == Step::Backoff && exchange.retry.is_none() {
                exchange.due = exchange.due.map(|due| due.min(now + BACKOFF_MIN));
            }
        }
    }
}

/// More are not told to a new session.
const SUBSCRIPTIONS_MAX: usize = 4096;
const REOPEN_ID: &str = "\"mcp-mux-reopen\"";
