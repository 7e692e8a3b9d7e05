//! The one stream of HTTP+SSE: found, waited for, and made again when it breaks.
//!
//! The session ends with it, and so does all that was to come on it. What can be made twice waits for the next one.
//!
//! Spec: 2024-11-05, Transports, HTTP with SSE; 2025-11-25, Transports, Backwards Compatibility.

use tokio::time::Instant;
use tracing::{info, warn};

use super::exchange::{Exchange, Purpose, Step};
use super::opening::{Phase, Transport};
use super::{Core, ExchangeId, Output, Refusal, Waiting};
use crate::jsonrpc::Message;
use crate::mcp::{code, method};

impl Core {
    /// The server did not take the POST: perhaps it has the older transport.
    pub(super) fn try_events(
        &mut self,
        initialize: ExchangeId,
        refusal: Refusal,
        error: Option<Message>,
        now: Instant,
    ) {
        if let Some(exchange) = self.exchanges.get_mut(&initialize) {
            exchange.refusal = error;
            exchange.step = Step::Parked;
            exchange.head = None;
        }
        self.kept.refused = Some(refusal);
        self.open_source(now);
    }

    pub(super) fn open_source(&mut self, now: Instant) {
        let source = self.begin(Purpose::Source, None);
        self.transport = Transport::Events { source, endpoint: None };
        self.launch(source, now);
    }

    /// The server has said where to post.
    pub(super) fn source_ready(&mut self, now: Instant) {
        match self.phase {
            Phase::Opening => {
                let parked = self
                    .exchanges
                    .iter()
                    .find(|(_, exchange)| exchange.step == Step::Parked && exchange.purpose.request().is_some());
                let parked = parked.map(|(id, _)| *id);
                self.kept.refused = None;
                if let Some(exchange) = parked.and_then(|id| self.exchanges.get_mut(&id)) {
                    exchange.refusal = None;
                }
                if let Some(id) = parked {
                    info!("the remote server speaks HTTP+SSE (2024-11-05)");
                    self.launch(id, now);
                }
            }
            Phase::Reopening => self.reinitialize(now),
            Phase::New | Phase::Open | Phase::Lost => {}
        }
    }

    /// The stream of HTTP+SSE broke. If there was a session, another one is asked for until there is one.
    pub(super) fn source_broke(&mut self, id: ExchangeId, what: &str, now: Instant) {
        let is_current = matches!(self.transport, Transport::Events { source, .. } if source == id);
        let had_session = matches!(self.phase, Phase::Open | Phase::Reopening);
        if !is_current || !had_session || self.closing.is_on() {
            return self.source_failed(id, what);
        }
        let old = self.abandon(id);
        self.move_harmless(now);
        self.end_what_was_to_come(&lost(what));
        if matches!(self.phase, Phase::Open) {
            warn!(why = what, "the stream of the remote server broke");
            self.begin_reopening(now);
        } else {
            self.forget_session();
        }
        let source = self.begin(Purpose::Source, None);
        self.transport = Transport::Events { source, endpoint: None };
        if let (Some(old), Some(new)) = (old, self.exchanges.get_mut(&source)) {
            (new.attempts, new.failing_since, new.warned) = (old.attempts, old.failing_since, old.warned);
            (new.head, new.retry) = (old.head, old.retry);
        }
        self.schedule(source, now);
        self.kept.failed = Some(what.to_owned());
    }

    /// There is no stream of HTTP+SSE, nor will there be one if it is asked for again.
    pub(super) fn source_failed(&mut self, id: ExchangeId, what: &str) {
        self.abandon(id);
        if !matches!(self.transport, Transport::Events { source, .. } if source == id) {
            return;
        }
        let refusal = match self.kept.refused.take() {
            Some(refused) => {
                Refusal { what: format!("{}, and has no event stream either ({what})", refused.what), ..lost(what) }
            }
            None => lost(what),
        };
        self.end_what_was_to_come(&refusal);
        match self.phase {
            Phase::Open | Phase::Reopening => {
                self.phase = Phase::Reopening;
                self.forget_session();
                self.reopening_failed(&refusal);
            }
            Phase::New | Phase::Opening | Phase::Lost => {}
        }
    }

    /// Nothing comes any more on the stream of HTTP+SSE.
    fn end_what_was_to_come(&mut self, refusal: &Refusal) {
        let of_session = |purpose: &Purpose| match purpose {
            Purpose::Request { .. } | Purpose::Message | Purpose::Reopen | Purpose::Replay => true,
            Purpose::Stream | Purpose::Source | Purpose::Tools(_) | Purpose::Delete | Purpose::Over => false,
        };
        let gone: Vec<ExchangeId> =
            self.exchanges.iter().filter(|(_, exchange)| of_session(&exchange.purpose)).map(|(id, _)| *id).collect();
        for id in gone {
            self.outputs.push_back(Output::Drop(id));
            let said = self.exchanges.get_mut(&id).and_then(|exchange| exchange.refusal.take());
            match (said, self.exchanges.get(&id).map(|exchange| exchange.purpose.clone())) {
                (Some(error), Some(Purpose::Request { id: client_id, method })) => {
                    self.end(id);
                    self.pass_error(&client_id, &error);
                    self.gave_up(&method);
                }
                _ => {
                    self.give_up(id, refusal);
                    self.end(id);
                }
            }
        }
    }

    /// A request was told that there is no such place: of HTTP+SSE, that its session is gone, and nobody got the request. False
    /// if it means something else.
    pub(super) fn source_forgotten(&mut self, id: ExchangeId, now: Instant) -> bool {
        let Transport::Events { source, .. } = self.transport else { return false };
        let Some(exchange) = self.exchanges.get_mut(&id) else { return false };
        if exchange.moved || !matches!(self.phase, Phase::Open) {
            return false;
        }
        exchange.step = Step::Backoff;
        self.source_broke(source, "it has forgotten the session", now);
        true
    }

    /// Requests that can be made twice, or that nobody got, wait for the next session; once each.
    fn move_harmless(&mut self, now: Instant) {
        let movable = |exchange: &Exchange| {
            let untaken = exchange.step == Step::Backoff;
            let harmless =
                exchange.purpose.request().is_some_and(|(_, name)| untaken || method::is_safe_to_repeat(name));
            harmless && !exchange.moved && exchange.message.is_some()
        };
        let movable: Vec<ExchangeId> =
            self.exchanges.iter().filter(|(_, exchange)| movable(exchange)).map(|(id, _)| *id).collect();
        // As they came, before what has not been sent at all.
        for id in movable.into_iter().rev() {
            if let Some(message) = self.abandon(id).and_then(|exchange| exchange.message) {
                self.queued_bytes += message.bytes().len();
                self.queue.push_front(Waiting { message, moved: true, since: now });
            }
        }
    }
}

fn lost(what: &str) -> Refusal {
    Refusal { code: code::CHILD_EXITED, kind: "remote-lost", what: format!("the remote server: {what}") }
}
