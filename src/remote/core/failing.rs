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
        if streamed && failure.reached != Reached::Refused {
            return self.broken(id, &failure.what, now);
        }
        let retried = match failure.reached {
            Reached::Nobody => self.retry(id, now),
            Reached::Perhaps => self.retry_if_harmless(id, now),
            Reached::Refused => false,
        };
        if retried {
            debug!(why = failure.what, "the remote server is tried again");
        } else {
            self.lost(id, &failure.what, now);
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
            Purpose::Request { .. } if resumable => self.retry(id, now),
            Purpose::Stream => self.retry(id, now),
            Purpose::Request { .. } | Purpose::Reopen | Purpose::Replay => self.retry_if_harmless(id, now),
            Purpose::Message | Purpose::Source | Purpose::Tools(_) | Purpose::Delete | Purpose::Over => false,
        };
        if !retried {
            self.lost(id, what, now);
        }
    }

    /// Sends it again after a while, if that can be done twice.
    pub(super) fn retry_if_harmless(&mut self, id: ExchangeId, now: Instant) -> bool {
        let harmless = self.exchanges.get(&id).is_some_and(|exchange| match &exchange.purpose {
            Purpose::Request { method, .. } => {
                method::is_safe_to_repeat(method)
                    || **method == *method::INITIALIZE
                    || **method == *method::LISTEN
                    || exchange.last_event.is_some()
            }
            Purpose::Stream | Purpose::Reopen | Purpose::Replay => true,
            Purpose::Message | Purpose::Source | Purpose::Tools(_) | Purpose::Delete | Purpose::Over => false,
        });
        harmless && self.retry(id, now)
    }

    /// Sends it again after a while, unless that was tried for too long.
    pub(super) fn retry(&mut self, id: ExchangeId, now: Instant) -> bool {
        let spread = self.random.f64();
        let (bound, closing) = (self.bounds.retry_timeout, self.closing.is_on());
        let Some(exchange) = self.exchanges.get_mut(&id) else { return true };
        let since = *exchange.failing_since.get_or_insert(now);
        // It is nobody's request, so nobody waits for it in vain.
        let endless = matches!(exchange.purpose, Purpose::Stream) && !closing;
        if now.saturating_duration_since(since) >= bound && !endless {
            return false;
        }
        exchange.attempts = exchange.attempts.saturating_add(1);
        let least = if exchange.head.is_some() { STREAM_RETRY } else { Duration::ZERO };
        let asked = exchange.retry.unwrap_or(least);
        let wait = backoff(exchange.attempts, spread).max(asked.min(RETRY_MAX));
        exchange.due = Some(now + wait);
        exchange.step = Step::Backoff;
        exchange.head = None;
        self.outputs.push_back(Output::Drop(id));
        true
    }

    /// [`Core::retry`], or given up.
    pub(super) fn again(&mut self, id: ExchangeId, now: Instant) {
        if !self.retry(id, now) {
            self.lost(id, "the remote server does not recover", now);
        }
    }

    /// The time of an exchange has come.
    pub(super) fn exchange_due(&mut self, id: ExchangeId, now: Instant) {
        let Some(exchange) = self.exchanges.get_mut(&id) else { return };
        exchange.due = None;
        let step = exchange.step;
        match step {
            Step::Backoff if self.waits_for_session(id) => self.move_on(id),
            Step::Backoff => self.launch(id, now),
            Step::Sent => {
                self.outputs.push_back(Output::Drop(id));
                self.lost(id, "the remote server does not answer", now);
            }
            Step::Parked => {}
        }
    }

    /// Whether it is a request that would be sent while there is no session for it.
    fn waits_for_session(&self, id: ExchangeId) -> bool {
        let is_request = self.exchanges.get(&id).is_some_and(|exchange| exchange.purpose.request().is_some());
        is_request && self.era == Era::Legacy && matches!(self.phase, Phase::Reopening | Phase::Lost)
    }

    /// A request that was to be sent again: it goes to the next session, or comes to its end with the old one.
    fn move_on(&mut self, id: ExchangeId) {
        let Some(exchange) = self.exchanges.get(&id) else { return };
        if matches!(self.phase, Phase::Reopening) && exchange.last_event.is_none() {
            let message = self.end(id).and_then(|exchange| exchange.message);
            if let Some(message) = message {
                self.enqueue(Waiting { message, moved: true });
            }
            return;
        }
        let what = "the session in which the request was made is gone".to_owned();
        self.give_up(id, &Refusal { code: code::CHILD_EXITED, kind: "remote-session-lost", what });
    }

    /// Nothing more comes of an exchange.
    pub(super) fn lost(&mut self, id: ExchangeId, what: &str, now: Instant) {
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
                self.end(id);
                self.source_lost(what, now);
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
    pub(super) fn unusable(&mut self, id: ExchangeId, what: &str, now: Instant) {
        let is_request = self.exchanges.get(&id).is_some_and(|exchange| exchange.purpose.request().is_some());
        if !is_request {
            return self.lost(id, what, now);
        }
        let refusal =
            Refusal { code: code::CHILD_ANSWER_UNUSABLE, kind: "remote-answer-unusable", what: what.to_owned() };
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

const BACKOFF_MIN: Duration = Duration::from_millis(200);
const BACKOFF_MAX: Duration = Duration::from_secs(10);
/// The least wait after a stream that broke, where the server says nothing of it.
const STREAM_RETRY: Duration = Duration::from_millis(500);
/// The longest wait that a server can ask for.
const RETRY_MAX: Duration = Duration::from_secs(60);
