//! How long a request may take, and what it is told when it took longer.
//!
//! `--queue-timeout` while it waits, `--request-timeout` between two signs of life of the child, `--request-timeout-max` in
//! all, counted from when it was accepted.

use std::time::Duration;

use tokio::time::Instant;

use super::Router;
use super::id_table::ChildId;
use super::in_flight::{InFlight, Phase};
use super::io::SessionKey;
use super::purpose::Purpose;
use crate::error::{Awaited, Reject};

impl Router {
    /// When the oldest request was accepted that is not settled, other than subscriptions.
    pub fn oldest(&self) -> Option<Instant> {
        self.requests.oldest(|purpose| *purpose != Purpose::Listen)
    }

    /// Sets a request's deadline to what its phase asks for.
    pub(super) fn renew_deadline(&mut self, id: ChildId, now: Instant) {
        let Some(request) = self.requests.get(id) else { return };
        let (timeout, timeout_max) = self.timeouts(request);
        let last = timeout_max.map(|max| request.accepted + max);
        let quiet = timeout.map(|timeout| match request.phase {
            Phase::Queued(_) => request.waits_since + timeout,
            Phase::Written | Phase::Follows(_) | Phase::Asks => now + timeout,
        });
        let queue = matches!(request.phase, Phase::Queued(_)).then(|| request.waits_since + self.config.queue_timeout);
        let deadline = [last, quiet, queue].into_iter().flatten().min();
        self.requests.set_deadline(id, deadline);
    }

    /// Whether a request is silent since its client is asked something: a modern one, whose time for that is limited
    /// (`--input-timeout`). A legacy one may never answer.
    pub(super) fn waits_for_its_client(&self, request: &InFlight, now: Instant) -> bool {
        let session = request.origin.session;
        let ended = self.timeouts(request).1.is_some_and(|max| now >= request.accepted + max);
        let written = matches!(request.phase, Phase::Written);
        written && !ended && self.is_exchange(session) && self.questions.any_of(session)
    }

    /// A client answered, or need not any more: from now on its requests may be silent for as long as others.
    pub(super) fn end_waiting_for(&mut self, session: SessionKey, now: Instant) {
        if self.is_exchange(session) {
            for id in self.requests.of_session(session).collect::<Vec<_>>() {
                self.renew_deadline(id, now);
            }
        }
    }

    /// `--request-timeout` and `--request-timeout-max`, as they apply to a request. A subscription goes on for as long as its
    /// client wants it to.
    fn timeouts(&self, request: &InFlight) -> (Option<Duration>, Option<Duration>) {
        if request.purpose == Purpose::Listen {
            return (None, None);
        }
        (self.config.request_timeout, self.config.request_timeout_max)
    }

    /// What a request whose deadline has come is told.
    pub(super) fn timeout_reject(&self, request: &InFlight, now: Instant) -> Reject {
        let reached_by = |since: Instant, limit| now >= since + limit;
        let (timeout, timeout_max) = self.timeouts(request);
        let awaited = if matches!(request.phase, Phase::Asks) { Awaited::Client } else { Awaited::Server };
        if let Some(max) = timeout_max.filter(|max| reached_by(request.accepted, *max)) {
            return Reject::RequestTimeout(max, "--request-timeout-max", awaited);
        }
        let queue_timeout = self.config.queue_timeout;
        match timeout {
            Some(timeout) if !matches!(request.phase, Phase::Queued(_)) || reached_by(request.waits_since, timeout) => {
                Reject::RequestTimeout(timeout, "--request-timeout", awaited)
            }
            _ if self.is_ready() => Reject::QueueFull(queue_timeout),
            _ => Reject::ChildUnavailable(format!("it was not ready within {queue_timeout:?} (--queue-timeout)")),
        }
    }
}
