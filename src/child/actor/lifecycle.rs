//! How a child comes and goes: the part of the actor that decides what follows from the time and from what has just been
//! handled.
//!
//! A child is started; its handshake stands; it is ending, and what comes from then on is kept for the next one; it exits;
//! what it wrote before is read to its end, so that answers it gave are delivered; then the next one is started after a
//! backoff, or, if it failed too often, left alone for a while. Before the first handshake of the command has ever stood an
//! exit is final: that is a wrong command, and trying it again helps nobody.

use std::ops::ControlFlow;

use tokio::time::Instant;

use super::tenure::{Start, Tenure};
use super::{ChildActor, Wanted};
use crate::child::life::{Ending, Phase, Running, failure};
use crate::child::lookup::SpawnError;
use crate::child::probe::{Heard, is_modern_error};
use crate::child::process::Launch;
use crate::child::restart::Circuit;
use crate::child::supervisor::Order;
use crate::child::{ChildState, ExitReport, FailureReport};
use crate::config::OnChildExit;
use crate::error::Reject;
use crate::mcp::Era;
use crate::metrics::Counter;
use crate::router::{ChildExit, Sharing, Stage};
use crate::telemetry::with_sources;

impl<L: Launch> ChildActor<L> {
    /// What follows from the time and from what has just been handled.
    pub(super) fn advance(&mut self, now: Instant) -> ControlFlow<()> {
        for tenure in self.tenures_mut() {
            tenure.handle_time(now);
        }
        match &self.current.phase {
            Phase::Up(_) => self.advance_current(now),
            Phase::Waiting { until } if *until <= now && self.wanted == Wanted::Running => {
                self.metrics.add(Counter::ChildRestarts, 1);
                self.launch(now);
            }
            Phase::Waiting { .. } | Phase::Idle => {}
        }
        self.advance_others(now);
        self.publish();
        let order = match self.wanted {
            Wanted::Running => return ControlFlow::Continue(()),
            Wanted::Stopped => Order::Stop,
            Wanted::Killed => Order::Kill,
        };
        let (tenures, backlog, outboxes) = self.parts_mut();
        let mut flow = ControlFlow::Break(());
        for tenure in tenures {
            if tenure.running().is_some() {
                tenure.end(Ending::Requested, order, backlog, outboxes);
                flow = ControlFlow::Continue(());
            }
        }
        flow
    }

    fn advance_current(&mut self, now: Instant) {
        self.look_at_answer(now);
        match self.current.look_at_start(now) {
            Start::Unchanged => {}
            Start::Stands => self.current_stands(),
            Start::Failed(_) if self.is_modern_after_all(now) => {}
            Start::Failed(what) => self.start_failed(what),
        }
        if !self.current.answers(self.config.ping_interval, now) {
            self.current_does_not_answer();
        }
        self.close_for_clients();
        if self.current.running().is_some_and(|running| running.is_over(now)) {
            self.process_over(now);
        }
    }

    fn current_stands(&mut self) {
        let pid = self.current.running().map(|running| running.pid);
        if self.voice.sharing == Sharing::Shared {
            tracing::info!(pid, "the child's handshake stands");
            self.voice.confirm();
            self.proof.give();
        } else {
            tracing::debug!(pid, "the child waits for its session, or serves it");
        }
        if self.restart.circuit() != Circuit::Closed {
            tracing::info!(pid, "the circuit is closed: requests are served again");
        }
        self.restart.stood();
        self.current.router.resume();
    }

    /// A process that is going takes nothing new; that is for the next one. Not even if its handshake stands only now, as
    /// the first one may: that it once stood decides whether there will be a next process.
    fn close_for_clients(&mut self) {
        let is_ending = self.current.running().is_some_and(|running| !running.is_wanted());
        if is_ending && self.current.router.stage() == Stage::Ready {
            self.current.router.handle_child_ending();
        }
    }

    /// Whether a child that fails is worth another start.
    pub(super) fn is_proven(&self) -> bool {
        self.voice.sharing == Sharing::Private || self.proof.is_given()
    }

    fn start_failed(&mut self, what: String) {
        let proven = self.is_proven();
        let Self { current, backlog, outboxes, .. } = self;
        if proven || self.voice.may_fail() {
            return current.end(Ending::Fault(what), Order::Stop, backlog, outboxes);
        }
        let advice = match current.router.handshake_error() {
            Some(error) if is_modern_error(error) && self.voice.is_said_to_be(Era::Legacy) => {
                "it speaks 2026-07-28: take --child-era legacy away"
            }
            Some(_) if self.voice.is_said_to_be(Era::Modern) => {
                "check that it speaks 2026-07-28, or take --child-era modern away"
            }
            Some(_) => "check that the command is an MCP server on stdio",
            None => "check that the command is an MCP server on stdio; give it more time with --start-timeout",
        };
        self.fail_start(&format!("did not start: {what}"), advice, "its handshake failed");
    }

    /// The first process will not do, and no other one would.
    pub(super) fn fail_start(&mut self, what: &str, advice: &str, public: &str) {
        let stderr = self.current.running().map(|running| running.tail.lines()).unwrap_or_default();
        self.give_up(what, &stderr, advice, public);
        let Self { current, backlog, outboxes, .. } = self;
        current.end(Ending::Failed, Order::Stop, backlog, outboxes);
    }

    fn current_does_not_answer(&mut self) {
        let Self { current, backlog, outboxes, .. } = self;
        let pid = current.running().map(|running| running.pid);
        let interval = self.config.ping_interval.unwrap_or_default();
        tracing::warn!(pid, "the child does not answer a ping and is killed (--ping-interval)");
        let why = format!("it did not answer a ping within {interval:?} (--ping-interval)");
        current.end(Ending::Fault(why), Order::Kill, backlog, outboxes);
    }

    /// A process for a tenure that has none.
    pub(super) fn start_process(&mut self, now: Instant) -> Result<Running, SpawnError> {
        let process = self.launcher.launch()?;
        self.metrics.add(Counter::ChildStarts, 1);
        // One that is a task has none.
        tracing::info!(pid = (process.pid != 0).then_some(process.pid), "child started");
        Ok(Running::new(process, &self.config, &self.name, &self.backlog, &self.tracker, now))
    }

    /// Starts a process, or decides what to do when that fails.
    pub(super) fn launch(&mut self, now: Instant) {
        match self.start_process(now) {
            Ok(running) => {
                self.restart.started();
                self.past.started();
                self.current.begin(running);
                if self.voice.is_found() {
                    self.current.open(&self.config, now);
                } else if self.voice.is_to_ask() {
                    self.current.ask_for_era(self.config.probe_timeout, now);
                }
            }
            Err(error) => {
                let what = with_sources(&error);
                if !self.is_proven() {
                    self.current.phase = Phase::Idle;
                    return self.give_up(&format!("did not start: {what}"), &[], "", "it could not be started");
                }
                tracing::warn!(error = what, "the child could not be started again");
                self.restart_after(None, what, now);
            }
        }
    }

    /// The process is gone and everything it wrote has been handled.
    fn process_over(&mut self, now: Instant) {
        let Phase::Up(mut running) = std::mem::replace(&mut self.current.phase, Phase::Idle) else { return };
        let (pid, exit) = (running.pid, running.exit());
        let untouched = running.take_untouched(self.backlog.remove(&running.lane));
        self.cache.clear();
        if self.wanted == Wanted::Running {
            self.era_heard(&Heard::End, now);
        }
        if self.wanted != Wanted::Running || running.ending == Some(Ending::Failed) {
            tracing::info!(pid, status = exit.status, "child stopped");
        } else if !self.is_proven() && self.takes_chance(&exit.status, now) {
            // The next one comes soon.
        } else if !self.is_proven() {
            let method = self.current.router.handshake_method();
            let what = format!("did not start: it exited ({}) before its handshake ({method}) stood", exit.status);
            let advice = "run the command by itself in a terminal to see what it misses";
            self.give_up(&what, &exit.stderr, advice, "it exited before its handshake stood");
        } else {
            let stood = running.stands_since.map(|since| now.saturating_duration_since(since));
            tracing::warn!(
                pid,
                status = exit.status,
                stood = stood.map(|stood| format!("{stood:.1?}")),
                "the child exited"
            );
            let (status, stderr) = (exit.status.clone(), exit.stderr.to_vec());
            self.past.exited(ExitReport { pid, at: now, status, stderr });
            self.current.router.handle_child_exit(&exit, &untouched, now);
            match self.config.on_exit {
                OnChildExit::Restart => self.restart_after(stood, exit.status, now),
                OnChildExit::Exit => self.exit_too(&exit),
            }
        }
    }

    /// The next process comes after a wait, and if the circuit opened, who asks something before is refused.
    fn restart_after(&mut self, stood: Option<std::time::Duration>, status: String, now: Instant) {
        let wait = self.restart.exited(stood, fastrand::u32(..));
        self.current.phase = Phase::Waiting { until: now + wait };
        self.last_status = status;
        if self.restart.circuit() == Circuit::Open {
            tracing::warn!(
                ?wait,
                status = self.last_status,
                "the child failed too often in a row: the circuit is open, requests are refused until a trial succeeds"
            );
            self.current.router.suspend(now + wait, now);
        } else {
            tracing::info!(?wait, "the child is started again");
        }
    }

    /// mcp-mux is to end with its child (`--on-child-exit exit`).
    fn exit_too(&mut self, exit: &ChildExit) {
        let what = format!("exited: {}", exit.status);
        self.give_up(&what, &exit.stderr, "mcp-mux stops with it (--on-child-exit exit)", "it exited");
    }

    /// No process will come any more. The text is for the operator, `public` is for clients.
    fn give_up(&mut self, what: &str, stderr: &[String], advice: &str, public: &str) {
        self.given_up = true;
        self.voice.ask_no_more();
        self.current.router.close(&Reject::ChildUnavailable(public.to_owned()));
        self.past.failed(FailureReport { what: what.to_owned(), stderr: stderr.to_vec(), advice: advice.to_owned() });
        self.tell(ChildState::Failed(failure(&self.name, what, stderr, advice)));
    }

    /// Says how the child is doing, as long as it is wanted and not given up.
    fn publish(&mut self) {
        if self.wanted != Wanted::Running || self.given_up {
            return;
        }
        let open = self.restart.circuit() != Circuit::Closed;
        let state = match &self.current.phase {
            _ if self.current.is_ready() => ChildState::Ready,
            Phase::Up(running) => match running.why_ending() {
                Some(why) if self.is_proven() => ChildState::Restarting(why),
                Some(_) | None if open => ChildState::CircuitOpen(self.last_status.clone()),
                Some(_) | None => ChildState::Starting,
            },
            Phase::Waiting { .. } if open => ChildState::CircuitOpen(self.last_status.clone()),
            Phase::Waiting { .. } => ChildState::Restarting(self.last_status.clone()),
            Phase::Idle => return,
        };
        if self.published != state {
            self.tell(state.clone());
            self.published = state;
        }
    }

    /// When time alone changes something.
    pub(super) fn deadline(&self) -> Option<Instant> {
        let retiring = self.retiring.iter().map(|retiring| &retiring.tenure);
        let tenures = std::iter::once(&self.current).chain(&self.successor).chain(retiring);
        let tenures = tenures.filter_map(|tenure: &Tenure| tenure.deadline(&self.config));
        let launch = match &self.current.phase {
            Phase::Waiting { until } if self.wanted == Wanted::Running => Some(*until),
            Phase::Waiting { .. } | Phase::Up(_) | Phase::Idle => None,
        };
        tenures.chain(launch).chain(self.succession_deadline()).min()
    }
}
