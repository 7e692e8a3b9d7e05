//! How a process is replaced without losing a request (`--child-max-age`, `--child-max-requests`).
//!
//! A successor is started and makes its handshake while the old process serves on. As soon as it is ready it takes the
//! sessions over, and with them everything that comes from then on; the old one ends what it was given and is stopped. A
//! successor that fails changes nothing: the old one stays, and another is tried later.

use std::time::Duration;

use tokio::time::Instant;

use super::tenure::{Start, Tenure};
use super::{ChildActor, Wanted};
use crate::child::life::{Ending, Phase, Running};
use crate::child::process::Launch;
use crate::child::restart::Circuit;
use crate::child::supervisor::Order;
use crate::error::Reject;
use crate::jsonrpc::Message;
use crate::router::{Origin, Stage};
use crate::telemetry::with_sources;

/// A tenure that ends what it has.
pub(super) struct Retiring {
    pub(super) tenure: Tenure,
    /// How long tasks keep it; none once that is over.
    tasks_until: Option<Instant>,
}

impl<L: Launch> ChildActor<L> {
    /// A message of a session, for whichever router it concerns.
    ///
    /// # Errors
    /// As [`handle_session_message`](crate::router::Router::handle_session_message).
    pub(super) fn pass_on(&mut self, from: Origin, message: Message, now: Instant) -> Result<(), Reject> {
        let retiring = || self.retiring.iter().map(|retiring| &retiring.tenure.router);
        let elsewhere = retiring().map(|router| router.count_of_session(from.session)).sum();
        let at = retiring().position(|router| router.concerns(from.session, &message));
        match at.and_then(|at| self.retiring.get_mut(at)) {
            Some(retiring) => retiring.tenure.router.handle_session_message(from, message, 0, now),
            None => self.current.router.handle_session_message(from, message, elsewhere, now),
        }
    }

    /// Looks after the successor and those that retire, and starts a successor when it is time.
    pub(super) fn advance_others(&mut self, now: Instant) {
        self.successor_not_before = self.successor_not_before.filter(|at| now < *at);
        self.advance_successor(now);
        self.advance_retiring(now);
        if self.is_due(now) {
            self.start_successor(now);
        }
        self.bound_hold(now);
    }

    /// Requests beyond `--child-max-requests` wait for the successor, but not for long: better more than the process was to
    /// be given than nothing.
    fn bound_hold(&mut self, now: Instant) {
        if !self.current.router.is_spent() {
            self.hold_until = None;
            return;
        }
        let until = *self.hold_until.get_or_insert(now + HOLD_TIMEOUT);
        if self.successor.is_none() || now >= until {
            self.hold_until = None;
            self.current.lift_limit(now);
        }
    }

    /// Whether the present process is to be replaced now.
    fn is_due(&self, now: Instant) -> bool {
        let Some(running) = self.replaceable() else { return false };
        let too_old = self.config.age_max.is_some_and(|max| now >= running.launched + max);
        let given = usize::try_from(self.current.requests_given()).unwrap_or(usize::MAX);
        // In time, so that nobody has to wait for the successor's start.
        let too_many = self.config.requests_max.is_some_and(|max| given >= max.get() - max.get() / 4);
        (too_old || too_many) && self.successor_not_before.is_none()
    }

    /// The present process, if it could be replaced.
    fn replaceable(&self) -> Option<&Running> {
        let possible = self.wanted == Wanted::Running
            && self.successor.is_none()
            && self.retiring.len() < RETIRING_MAX
            && self.restart.circuit() == Circuit::Closed;
        self.current.running().filter(|running| possible && running.is_wanted() && running.stands_since.is_some())
    }

    fn start_successor(&mut self, now: Instant) {
        let (pid, given) = (self.current.running().map(|running| running.pid), self.current.requests_given());
        tracing::info!(pid, given, "the child is old and gets a successor (--child-max-age, --child-max-requests)");
        match self.start_process(now) {
            Ok(running) => {
                let (router, cache) = (self.current.router.successor(), self.cache.clone());
                let mut tenure = Tenure::new(self.tenures, router, cache, self.metrics.clone());
                self.tenures += 1;
                tenure.begin(running);
                tenure.open(&self.config, now);
                self.successor = Some(tenure);
            }
            Err(error) => self.successor_failed(&with_sources(&error), now),
        }
    }

    fn successor_failed(&mut self, what: &str, now: Instant) {
        self.successor_not_before = Some(now + RETRY_AFTER);
        self.current.lift_limit(now);
        tracing::warn!(what, "the successor failed, and the old child stays; another is tried later");
    }

    fn advance_successor(&mut self, now: Instant) {
        let Some(successor) = &mut self.successor else { return };
        if let Start::Failed(what) = successor.look_at_start(now) {
            successor.end(Ending::Fault(what), Order::Stop, &self.backlog, &self.outboxes);
        }
        if successor.running().is_none_or(|running| running.is_over(now)) {
            let gone = self.successor.take();
            if let Some(running) = gone.as_ref().and_then(Tenure::running) {
                self.backlog.remove(&running.lane);
                if self.wanted == Wanted::Running {
                    self.successor_failed(&running.exit().status, now);
                }
            }
            return;
        }
        if self.wanted != Wanted::Running || !successor.running().is_some_and(Running::is_wanted) {
            return;
        }
        // A private one that nobody has spoken to has no handshake to wait for, unless its client has come meanwhile.
        let unspoken =
            successor.router.stage() == Stage::Waiting && !successor.router.introduce_like(&self.current.router, now);
        if !unspoken && !successor.is_ready() {
            return;
        }
        if self.current.router.can_hand_over() {
            return self.switch(now);
        }
        let until = *successor.hand_over_until.get_or_insert(now + HAND_OVER_TIMEOUT);
        if now >= until {
            let why = "the old child does not answer what changes the state of a session".to_owned();
            successor.end(Ending::Fault(why), Order::Stop, &self.backlog, &self.outboxes);
        }
    }

    /// The successor takes the sessions over.
    fn switch(&mut self, now: Instant) {
        let Some(successor) = self.successor.take() else { return };
        let mut old = std::mem::replace(&mut self.current, successor);
        self.cache.clear();
        old.router.hand_over(&mut self.current.router, now);
        old.hand_over(&self.backlog, &self.outboxes);
        if self.restart.circuit() != Circuit::Closed {
            tracing::info!("the circuit is closed: requests are served again");
        }
        self.restart.stood();
        (self.successor_not_before, self.hold_until) = (None, None);
        let (from, to) = (old.running().map(|running| running.pid), self.current.running().map(|running| running.pid));
        tracing::info!(from, to, in_flight = old.router.stats().in_flight, "the successor took over");
        if old.running().is_some() {
            self.retiring.push(Retiring { tenure: old, tasks_until: Some(now + TASKS_MAX) });
            if self.retiring.len() == RETIRING_MAX {
                tracing::warn!(
                    limit = RETIRING_MAX,
                    "as many old children still have requests as may: none is replaced until one has ended"
                );
            }
        }
    }

    /// Stops those that have ended what they had, and lets go of those whose process is gone.
    fn advance_retiring(&mut self, now: Instant) {
        let mut over = Vec::new();
        for retiring in &mut self.retiring {
            for message in retiring.tenure.router.take_news() {
                self.current.router.handle_child_message(message, now);
            }
        }
        for (at, retiring) in self.retiring.iter_mut().enumerate() {
            let Retiring { tenure, tasks_until } = retiring;
            *tasks_until = tasks_until.filter(|until| now < *until);
            let idle = tenure.router.stats().in_flight == 0;
            let drained = tenure.router.is_drained() || (idle && tasks_until.is_none());
            if drained && tenure.running().is_some_and(Running::is_wanted) {
                tenure.end(Ending::Requested, Order::Stop, &self.backlog, &self.outboxes);
            }
            if !tenure.answers(self.config.ping_interval, now) {
                let why = "it did not answer a ping (--ping-interval)".to_owned();
                tenure.end(Ending::Fault(why), Order::Kill, &self.backlog, &self.outboxes);
            }
            if tenure.running().is_none_or(|running| running.is_over(now)) {
                over.push(at);
            }
        }
        for at in over.into_iter().rev() {
            let mut tenure = self.retiring.swap_remove(at).tenure;
            if let Phase::Up(mut running) = std::mem::replace(&mut tenure.phase, Phase::Idle) {
                let (exit, untouched) = (running.exit(), running.take_untouched(self.backlog.remove(&running.lane)));
                tracing::info!(pid = running.pid, status = exit.status, "the old child is gone");
                tenure.router.handle_child_exit(&exit, &untouched, now);
                // What can be repeated goes to the one that took over.
                tenure.router.hand_over(&mut self.current.router, now);
            }
            tenure.hand_over(&self.backlog, &self.outboxes);
        }
    }

    /// When the time alone makes a replacement due.
    pub(super) fn succession_deadline(&self) -> Option<Instant> {
        let due = self.replaceable().and_then(|running| {
            let due = running.launched + self.config.age_max?;
            Some(self.successor_not_before.map_or(due, |at| due.max(at)))
        });
        let retry =
            self.successor_not_before.filter(|_| self.config.requests_max.is_some() && self.successor.is_none());
        let successor = self.successor.as_ref().filter(|successor| successor.running().is_some_and(Running::is_wanted));
        let hand_over = successor.and_then(|successor| successor.hand_over_until);
        let tasks = self.retiring.iter().filter_map(|retiring| retiring.tasks_until).min();
        [due, retry, hand_over, self.hold_until, tasks].into_iter().flatten().min()
    }
}

/// The most processes that end what they have at a time; while there are as many, none is replaced.
const RETIRING_MAX: usize = 4;
/// How long the hand-over is put off for the sake of answers that change what a session's state is.
const HAND_OVER_TIMEOUT: Duration = Duration::from_secs(10);
/// How long requests beyond the limit wait for a successor.
const HOLD_TIMEOUT: Duration = Duration::from_secs(10);
/// How long after a successor that failed the next one is started.
const RETRY_AFTER: Duration = Duration::from_secs(30);
/// How long a process without requests is kept for the sake of tasks whose results nobody has fetched.
const TASKS_MAX: Duration = Duration::from_secs(10 * 60);
