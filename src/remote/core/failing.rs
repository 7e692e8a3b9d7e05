//! What is done when the server does not answer: tried again where that cannot do harm, for so long; then given up.
//!
//! Spec: 2025-11-25, Transports, Resumability and Redelivery; 2026-07-28, Streamable HTTP ("Resumable SSE streams via
//! `Last-Event-ID` are not supported").

use std::time::Duration;

use tokio::time::Instant;
use tracing::{debug, warn};

use super::exchange::{Exchange, Purpose, Step};
use super::opening::{Phase, Transport};
use super::{Core, ExchangeId, Output, Refusal, Waiting};
use crate::mcp::{Era, code, method};
use crate::remote::service::{Failure, Reached};

impl Core {
    /// There will be no (more) answer.
    pub(super) fn failed(&mut self, id: ExchangeId, failure: &Failure, now: Instant) {
        let streamed = self.exchanges.get(&id).is_some_and(|exchange| exchange.head.is_some());
        if streamed && matches!(failure.reached, Reached::Nobody | Reached::Perhaps) {
            return self.broken(id, &failure.what, now);
        }
        let is_source = self.exchanges.get(&id).is_some_and(|exchange| matches!(exchange.purpose, Purpose::Source));
        let retried = match failure.reached {
            Reached::Nobody => {
                self.failing_since_launch(id);
                self.retry(id, &failure.what, now)
            }
            Reached::Perhaps => self.retry_if_harmless(id, &failure.what, now),
            Reached::Refused => false,
            Reached::Unusable if is_source => return self.source_broke(id, &failure.what, now),
            Reached::Unusable => return self.unusable(id, &failure.what),
        };
        if !retried {
            self.lost(id, &failure.what);
        }
    }

    /// The attempt that failed took its time too.
    fn failing_since_launch(&mut self, id: ExchangeId) {
        if let Some(exchange) = self.exchanges.get_mut(&id) {
            exchange.failing_since = exchange.failing_since.or(exchange.launched);
        }
    }

    /// A stream ended, or an answer broke off.
    pub(super) fn broken(&mut self, id: ExchangeId, what: &str, now: Instant) {
        let Some(exchange) = self.exchanges.get(&id) else { return };
        let resumable = exchange.last_event.is_some() && self.transport == Transport::Streamable;
        if matches!(exchange.purpose, Purpose::Message | Purpose::Over) {
            // It was taken; that something was said to it is of no concern.
            self.end(id);
            return;
        }
        let retried = match exchange.purpose {
            // Streams come and go.
            Purpose::Request { .. } if resumable => self.schedule(id, now),
            Purpose::Stream => self.schedule(id, now),
            Purpose::Request { .. } | Purpose::Reopen | Purpose::Replay => self.retry_if_harmless(id, what, now),
            Purpose::Source => return self.source_broke(id, what, now),
            Purpose::Message | Purpose::Tools(_) | Purpose::Delete | Purpose::Over => false,
        };
        if !retried {
            self.lost(id, what);
        }
    }

    /// Sends it again after a while, if that can be done twice.
    pub(super) fn retry_if_harmless(&mut self, id: ExchangeId, what: &str, now: Instant) -> bool {
        let harmless = self.exchanges.get(&id).is_some_and(|exchange| match &exchange.purpose {
            Purpose::Request { method, .. } => {
                method::is_safe_to_repeat(method)
                    || **method == *method::INITIALIZE
                    || **method == *method::LISTEN
                    || exchange.last_event.is_some()
            }
            Purpose::Stream | Purpose::Source | Purpose::Reopen | Purpose::Replay => true,
            Purpose::Message | Purpose::Tools(_) | Purpose::Delete | Purpose::Over => false,
        });
        harmless && self.retry(id, what, now)
    }

    /// Sends it again after a while, unless that was tried for too long; and says so, once.
    pub(super) fn retry(&mut self, id: ExchangeId, what: &str, now: Instant) -> bool {
        if !self.schedule(id, now) {
            return false;
        }
        let Some(exchange) = self.exchanges.get_mut(&id) else { return true };
        if std::mem::replace(&mut exchange.warned, true) {
            debug!(why = what, "the remote server is tried again");
        } else {
            warn!(why = what, "the remote server is tried again");
        }
        if matches!(exchange.purpose, Purpose::Source | Purpose::Reopen | Purpose::Replay) {
            self.kept.failed = Some(what.to_owned());
        }
        true
    }

    /// Has it sent again after a while, unless that was tried for too long.
    pub(super) fn schedule(&mut self, id: ExchangeId, now: Instant) -> bool {
        let spread = self.random.f64();
        let (bound, reopening) = (self.bounds.retry_timeout, matches!(self.phase, Phase::Reopening));
        let Some(exchange) = self.exchanges.get_mut(&id) else { return true };
        // It is nobody's request, so nobody waits for it in vain; what waits for a session has a time of its own.
        let nobodys = match exchange.purpose {
            Purpose::Stream => true,
            Purpose::Source | Purpose::Reopen | Purpose::Replay => reopening,
            Purpose::Request { .. } | Purpose::Message | Purpose::Tools(_) | Purpose::Delete | Purpose::Over => false,
        };
        let endless = nobodys && !self.closing.is_on();
        let since = *exchange.failing_since.get_or_insert(now);
        let rest = if endless { Duration::MAX } else { (since + bound).saturating_duration_since(now) };
        if rest.is_zero() {
            return false;
        }
        exchange.attempts = exchange.attempts.saturating_add(1);
        let least = if exchange.head.is_some() { STREAM_RETRY } else { Duration::ZERO };
        // The last attempt is made at the very end; but not before the server wants it.
        let wait = backoff(exchange.attempts, spread).max(least).min(rest);
        let asked = exchange.retry.unwrap_or_default().min(RETRY_MAX);
        exchange.due = Some(now + wait.max(asked));
        exchange.step = Step::Backoff;
        exchange.head = None;
        self.outputs.push_back(Output::Drop(id));
        true
    }

    /// [`Core::retry`], or given up.
    pub(super) fn again(&mut self, id: ExchangeId, what: &str, now: Instant) {
        if !self.retry(id, what, now) {
            self.lost(id, what);
        }
    }

    /// The time of an exchange has come.
    pub(super) fn exchange_due(&mut self, id: ExchangeId, now: Instant) {
        let Some(exchange) = self.exchanges.get_mut(&id) else { return };
        exchange.due = None;
        let step = exchange.step;
        match step {
            Step::Backoff if self.waits_for_session(id) => self.move_on(id, now),
            Step::Backoff => self.launch(id, now),
            Step::Sent => {
                self.outputs.push_back(Output::Drop(id));
                self.silent(id, now);
            }
            Step::Parked => {}
        }
    }

    /// The server takes too long.
    fn silent(&mut self, id: ExchangeId, now: Instant) {
        const WHAT: &str = "it does not answer";
        let Some(exchange) = self.exchanges.get(&id) else { return };
        match (&exchange.purpose, &self.transport) {
            (Purpose::Reopen | Purpose::Replay, Transport::Events { source, .. }) => {
                let source = *source;
                self.source_broke(source, WHAT, now);
            }
            (Purpose::Source | Purpose::Reopen | Purpose::Replay, _) => {
                self.failing_since_launch(id);
                self.again(id, WHAT, now);
            }
            (
                Purpose::Request { .. }
                | Purpose::Message
                | Purpose::Stream
                | Purpose::Tools(_)
                | Purpose::Delete
                | Purpose::Over,
                _,
            ) => self.lost(id, WHAT),
        }
    }

    /// Whether it is a request that would be sent while there is no session for it.
    fn waits_for_session(&self, id: ExchangeId) -> bool {
        let is_request = self.exchanges.get(&id).is_some_and(|exchange| exchange.purpose.request().is_some());
        is_request && self.era == Era::Legacy && matches!(self.phase, Phase::Reopening | Phase::Lost)
    }

    /// A request that was to be sent again: it goes to the next session, or comes to its end with the old one.
    fn move_on(&mut self, id: ExchangeId, now: Instant) {
        let Some(exchange) = self.exchanges.get(&id) else { return };
        if matches!(self.phase, Phase::Reopening) && exchange.last_event.is_none() {
            let message = self.end(id).and_then(|exchange| exchange.message);
            if let Some(message) = message {
                self.enqueue(Waiting { message, moved: true, since: now });
            }
            return;
        }
        let what = "the session in which the request was made is gone".to_owned();
        self.give_up(id, &Refusal { code: code::CHILD_EXITED, kind: "remote-session-lost", what });
    }

    /// Nothing more comes of an exchange.
    pub(super) fn lost(&mut self, id: ExchangeId, what: &str) {
        let Some(exchange) = self.exchanges.get(&id) else { return };
        let refusal = Refusal {
            code: code::CHILD_UNAVAILABLE,
            kind: "remote-unavailable",
            what: format!("the remote server: {what}"),
        };
        match exchange.purpose {
            Purpose::Request { .. } => self.give_up(id, &refusal),
            Purpose::Message => {
                warn!(why = what, "a notification or an answer of the client did not reach the remote server");
                self.end(id);
            }
            Purpose::Source => {
                self.source_failed(id, what);
            }
            Purpose::Reopen | Purpose::Replay => {
                self.end(id);
                self.reopening_failed(&refusal);
            }
            Purpose::Tools(of) => {
                self.end(id);
                self.tools_unknown(of);
            }
            Purpose::Stream | Purpose::Delete | Purpose::Over => {
                self.end(id);
            }
        }
    }

    /// An answer is of no use.
    pub(super) fn unusable(&mut self, id: ExchangeId, what: &str) {
        let is_request = self.exchanges.get(&id).is_some_and(|exchange| exchange.purpose.request().is_some());
        if !is_request {
            return self.lost(id, what);
        }
        let refusal = Refusal {
            code: code::CHILD_ANSWER_UNUSABLE,
            kind: "remote-answer-unusable",
            what: format!("the remote server: {what}"),
        };
        self.give_up(id, &refusal);
    }

    /// A request of the client gets an error.
    pub(super) fn give_up(&mut self, id: ExchangeId, refusal: &Refusal) {
        let Some(Exchange { purpose, .. }) = self.end(id) else { return };
        let Some((client_id, method)) = purpose.request() else { return };
        warn!(method, why = refusal.what, "a request failed");
        self.refuse(client_id, refusal);
        self.gave_up(method);
    }

    /// A request of the client was answered with an error.
    pub(super) fn gave_up(&mut self, method: &str) {
        if method == method::INITIALIZE && self.era == Era::Legacy && matches!(self.phase, Phase::Opening) {
            self.phase = Phase::New;
            if let Transport::Events { source, .. } = self.transport {
                self.abandon(source);
            }
            self.transport = Transport::Streamable;
            self.refuse_queue_of_new();
        }
    }
}

/// Exponential, between half of it and all of it.
fn backoff(attempts: u32, spread: f64) -> Duration {
    let full = BACKOFF_MIN.saturating_mul(1 << attempts.saturating_sub(1).min(10)).min(BACKOFF_MAX);
    full.mul_f64(0.5 + spread.clamp(0.0, 1.0) / 2.0)
}

/// The first of them.
pub(super) const BACKOFF_MIN: Duration = Duration::from_millis(200);
const BACKOFF_MAX: Duration = Duration::from_secs(10);
/// The least wait after a stream that broke, where the server says nothing of it.
const STREAM_RETRY: Duration = Duration::from_millis(500);
/// The longest wait that a server can ask for.
const RETRY_MAX: Duration = Duration::from_secs(60);
