//! How a child comes and goes: the part of the actor that decides what follows from the time and from what has just been
//! handled.
//!
//! A child is started; its handshake stands; it is ending, and what comes from then on is kept for the next one; it exits;
//! what it wrote before is read to its end, so that answers it gave are delivered; then the next one is started after a
//! backoff. Before the first handshake has ever stood an exit is final: that is a wrong command, and trying it again helps
//! nobody.

use std::ops::ControlFlow;
use std::time::Duration;

use tokio::time::Instant;

use super::{ChildActor, Record, Wanted};
use crate::child::ChildState;
use crate::child::life::{Ending, Phase, Running, failure};
use crate::child::process::Launch;
use crate::child::supervisor::{Exit, Order};
use crate::error::Reject;
use crate::router::Stage;

impl<L: Launch> ChildActor<L> {
    /// What follows from the time and from what has just been handled.
    pub(super) fn advance(&mut self, now: Instant) -> ControlFlow<()> {
        if self.router.poll_timeout().is_some_and(|at| at <= now) {
            self.router.handle_timeout(now);
        }
        self.noise.report(now);
        match &mut self.phase {
            Phase::Up(_) => self.advance_process(now),
            Phase::Waiting { until } if *until <= now && self.wanted == Wanted::Running => self.launch(now),
            Phase::Waiting { .. } | Phase::Idle => {}
        }
        match (self.wanted, &self.phase) {
            (Wanted::Stopped | Wanted::Killed, Phase::Idle | Phase::Waiting { .. }) => ControlFlow::Break(()),
            (Wanted::Stopped, Phase::Up(_)) => {
                self.end_process(Ending::Requested, Order::Stop);
                ControlFlow::Continue(())
            }
            (Wanted::Killed, Phase::Up(_)) => {
                self.end_process(Ending::Requested, Order::Kill);
                ControlFlow::Continue(())
            }
            (Wanted::Running, _) => ControlFlow::Continue(()),
        }
    }

    fn advance_process(&mut self, now: Instant) {
        let stage = self.router.stage();
        let Some(running) = self.running() else { return };
        if stage == Stage::Ready && running.ready_since.is_none() {
            running.ready_since = Some(now);
            let (pid, wanted) = (running.pid, running.is_wanted());
            tracing::info!(pid, "the child's handshake stands");
            self.record = Record::Proven;
            if wanted {
                self.state.send_replace(ChildState::Ready);
            } else {
                self.child_ending();
            }
        } else if running.is_wanted() && running.ready_since.is_none() {
            let late = running.is_late(now);
            if let Some(error) = self.router.handshake_error() {
                let what = format!("it refused the handshake (initialize): {error}");
                self.handshake_failed(what);
            } else if late {
                let timeout = self.config.start_timeout;
                self.handshake_failed(format!("its handshake (initialize) did not stand within {timeout:?}"));
            }
        }
        if self.running().is_some_and(|running| running.is_over(now)) {
            self.process_over(now);
        }
    }

    fn handshake_failed(&mut self, what: String) {
        if self.record == Record::Proven {
            return self.end_process(Ending::Fault(what), Order::Stop);
        }
        let stderr = self.running().map(|running| running.tail.lines()).unwrap_or_default();
        let advice = "check that the command is an MCP server on stdio; give it more time with --start-timeout";
        self.fail(&what, &stderr, advice, "its handshake failed");
        self.end_process(Ending::Failed, Order::Stop);
    }

    /// Has the process stopped, after what is on its way to it.
    pub(super) fn end_process(&mut self, why: Ending, order: Order) {
        if let Some(running) = self.running() {
            running.end(why, order);
            self.child_ending();
        }
    }

    /// The process exited; what it wrote before is still to be read.
    pub(super) fn process_exited(&mut self, exit: Exit, now: Instant) {
        if let Some(running) = self.running() {
            running.exited(exit, now);
            self.child_ending();
        }
    }

    /// The process is going: it gets what the router has handed out for it and no more. What comes from now on is for the
    /// next one, and what it still says of what it was given counts.
    fn child_ending(&mut self) {
        // Whether it stuck is of no interest any more.
        let _ = self.hand_over();
        let Some(running) = self.running() else { return };
        let (why, reads) = (running.why_ending(), running.may_read());
        if reads {
            self.backlog.finish();
        } else {
            self.backlog.shut();
        }
        let Some(why) = why else { return };
        // The answer to the first handshake may still be read, and decides whether there will be a next one.
        if self.record == Record::Proven {
            self.router.handle_child_ending();
            if self.wanted == Wanted::Running {
                self.state.send_replace(ChildState::Restarting(why));
            }
        }
    }

    /// Starts a process, or decides what to do when that fails.
    pub(super) fn launch(&mut self, now: Instant) {
        match self.launcher.launch() {
            Ok(process) => {
                tracing::info!(pid = process.pid, "child started");
                let running = Running::new(process, &self.config, &self.name, &self.backlog, &self.tracker, now);
                self.phase = Phase::Up(Box::new(running));
                self.state.send_replace(ChildState::Starting);
                self.router.handle_child_start(now);
            }
            Err(error) => {
                let what = with_sources(&error);
                if self.record == Record::Unproven {
                    self.phase = Phase::Idle;
                    return self.fail(&what, &[], "", "it could not be started");
                }
                let delay = self.schedule(None, what.clone(), now);
                tracing::warn!(error = what, ?delay, "the child could not be started again; it is tried once more");
            }
        }
    }

    /// The process is gone and everything it wrote has been handled.
    fn process_over(&mut self, now: Instant) {
        let Phase::Up(running) = std::mem::replace(&mut self.phase, Phase::Idle) else { return };
        let (pid, stood) = (running.pid, running.ready_since.map(|since| now.saturating_duration_since(since)));
        let failed = running.ending == Some(Ending::Failed);
        let exit = running.into_exit();
        self.backlog.shut();
        if self.wanted != Wanted::Running || failed {
            tracing::info!(pid, status = exit.status, "child stopped");
        } else if self.record == Record::Unproven {
            let what = format!("it exited ({}) before its handshake (initialize) stood", exit.status);
            let advice = "run the command by itself in a terminal to see what it misses";
            self.fail(&what, &exit.stderr, advice, "it exited before its handshake stood");
        } else {
            self.router.handle_child_exit(&exit, &[], now);
            let delay = self.schedule(stood, exit.status.clone(), now);
            let in_a_row = self.restart.exits();
            tracing::warn!(pid, status = exit.status, in_a_row, ?delay, "the child exited and is started again");
        }
    }

    fn schedule(&mut self, stood: Option<Duration>, status: String, now: Instant) -> Duration {
        let delay = self.restart.after_exit(stood, fastrand::u32(..));
        self.phase = Phase::Waiting { until: now + delay };
        self.state.send_replace(ChildState::Restarting(status));
        delay
    }

    /// The first start failed: no child will come. The text is for the operator, `public` is for clients.
    fn fail(&mut self, what: &str, stderr: &[String], advice: &str, public: &str) {
        self.router.close(&Reject::ChildUnavailable(public.to_owned()));
        self.state.send_replace(ChildState::Failed(failure(&self.name, what, stderr, advice)));
    }

    /// When time alone changes something.
    pub(super) fn deadline(&self) -> Option<Instant> {
        let phase = match &self.phase {
            Phase::Up(running) => running.deadline(),
            Phase::Waiting { until } => Some(*until),
            Phase::Idle => None,
        };
        [phase, self.router.poll_timeout(), self.noise.due()].into_iter().flatten().min()
    }
}

/// An error and what caused it, in one line.
fn with_sources(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        text.push_str(": ");
        text.push_str(&error.to_string());
        source = error.source();
    }
    text
}
