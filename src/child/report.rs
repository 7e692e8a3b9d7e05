//! What an actor says of its child to whoever wants to look: plain data, made when it is asked for.
//!
//! Separate from [`ChildState`](super::ChildState), which others act on: here are a process's pid, its age and its last
//! words, which are of use to people alone. All of it is bounded: stderr by the lines and bytes that are kept for error
//! texts.

use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::oneshot;
use tokio::time::Instant;

use super::ChildHandle;
use super::actor::ChildCommand;
use crate::router;

/// A child as it is at this moment.
#[derive(Clone, Debug)]
pub struct Report {
    /// The process that sessions are attached to, while there is one.
    pub process: Option<ProcessReport>,
    /// Pids of its successor, and of those that had its place and end what they have.
    pub others: Vec<u32>,
    /// The revision that was agreed on; none while there is no handshake.
    pub revision: Option<&'static str>,
    /// How often a process was started in the place of one that exited without being asked to.
    pub restarts: u64,
    /// The last exit that nobody asked for.
    pub last_exit: Option<ExitReport>,
    /// Why it was given up, if it was.
    pub failure: Option<FailureReport>,
    /// The tables of its router.
    pub router: router::Stats,
    /// Bytes that wait for its stdin, and how many may.
    pub waiting_bytes: (usize, usize),
    /// When the oldest request in flight was accepted; not a subscription, which takes as long as its client likes.
    pub oldest: Option<Instant>,
}

/// A process.
#[derive(Clone, Debug)]
pub struct ProcessReport {
    /// Its pid; that of its group too.
    pub pid: u32,
    /// When it was started.
    pub started: Instant,
    /// The last lines of its stderr, without control characters, oldest first.
    pub stderr: Vec<String>,
}

/// An exit that nobody asked for.
#[derive(Clone, Debug)]
pub struct ExitReport {
    /// Whose.
    pub pid: u32,
    /// When it was noticed.
    pub at: Instant,
    /// How, in words.
    pub status: String,
    /// The last lines of its stderr, as above.
    pub stderr: Vec<String>,
}

/// The last exit of any of a server's children, which is known when that child is gone too.
#[derive(Clone, Debug, Default)]
pub struct LastExit(Arc<Mutex<Option<ExitReport>>>);

impl LastExit {
    /// It; none if there was none.
    pub fn report(&self) -> Option<ExitReport> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(crate) fn set(&self, exit: ExitReport) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(exit);
    }
}

/// Why no process will come any more.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FailureReport {
    /// What it did, without the subject: `did not start: …`. Some of it may be the server's own words.
    pub what: String,
    /// The last lines of its stderr, as above.
    pub stderr: Vec<String>,
    /// What to do about it; empty where `what` says it.
    pub advice: String,
}

/// What an actor keeps of processes that are gone, for its reports.
#[derive(Debug)]
pub(super) struct Past {
    last_exit: Option<ExitReport>,
    failure: Option<FailureReport>,
    restarts: u64,
    of_server: LastExit,
}

impl Past {
    /// None yet; of the last one its server is to know too.
    pub(super) const fn new(of_server: LastExit) -> Self {
        Self { last_exit: None, failure: None, restarts: 0, of_server }
    }

    /// A process exited without being asked to.
    pub(super) fn exited(&mut self, exit: ExitReport) {
        self.of_server.set(exit.clone());
        self.last_exit = Some(exit);
    }

    /// No process will come any more.
    pub(super) fn failed(&mut self, failure: FailureReport) {
        self.failure = Some(failure);
    }

    /// A process was started: a restart, unless it is the first.
    pub(super) const fn started(&mut self) {
        if self.last_exit.is_some() {
            self.restarts += 1;
        }
    }

    pub(super) const fn restarts(&self) -> u64 {
        self.restarts
    }

    pub(super) fn last_exit(&self) -> Option<ExitReport> {
        self.last_exit.clone()
    }

    pub(super) fn failure(&self) -> Option<FailureReport> {
        self.failure.clone()
    }
}

impl ChildHandle {
    /// Asks the actor for a report, which comes soon, or never if the actor ends before. None if it has so much to do that it
    /// is not to be asked, or is gone.
    pub fn report(&self) -> Option<oneshot::Receiver<Report>> {
        let (report, answer) = oneshot::channel();
        self.inbox.try_send(ChildCommand::Report(report)).ok()?;
        Some(answer)
    }
}
