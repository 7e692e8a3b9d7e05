//! The life of one process in an actor's hands: the tasks at its pipes, how far it is, and what is said of its end.
//!
//! Separate from the actor because it is gone with the process, while the actor goes on to the next one.

use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use tokio::sync::{oneshot, watch};
use tokio::task::JoinHandle;
use tokio::time::Instant;
use tokio_util::sync::{CancellationToken, DropGuard};
use tokio_util::task::TaskTracker;
use tracing::Instrument as _;

use super::backlog::{Backlog, Lane};
use super::process::{Process, Source};
use super::stderr::{self, Tail};
use super::stdin::{PumpEnd, pump};
use super::supervisor::{EndedBy, Exit, Liveness, Order};
use crate::config::ChildConfig;
use crate::lines::LineReader;
use crate::router::ChildExit;

/// How long what a process wrote before its exit may take to be read. Its group is dead by then, so the pipes end at once,
/// unless somebody who left the group holds them.
const LAST_WORDS_TIMEOUT: Duration = Duration::from_millis(500);

/// What an actor is at.
#[derive(Debug)]
pub(super) enum Phase {
    /// There is no process and none will come.
    Idle,
    /// There is no process; the next one is started then.
    Waiting {
        /// When.
        until: Instant,
    },
    /// There is a process.
    Up(Box<Running>),
}

/// Why a process is being stopped.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Ending {
    /// It was asked for.
    Requested,
    /// The first start failed.
    Failed,
    /// It closed a pipe that it cannot do without; most often because it is exiting anyway.
    PipeClosed {
        /// Its name.
        pipe: &'static str,
        /// Whether it ran on when it had done so.
        then: Liveness,
    },
    /// It did what it must not do.
    Fault(String),
}

/// A process and the tasks at its pipes, which end with this.
pub(super) struct Running {
    /// Its pid.
    pub(super) pid: u32,
    /// Its stdout, until that ends.
    pub(super) lines: Option<LineReader<Source>>,
    /// Its exit, until it is known.
    pub(super) exit: Option<oneshot::Receiver<Exit>>,
    /// The task at its stdin, until it ends.
    pub(super) pump: Option<JoinHandle<Option<PumpEnd>>>,
    /// The task at its stderr, until it ends.
    pub(super) stderr: Option<JoinHandle<Option<()>>>,
    /// The last lines of its stderr.
    pub(super) tail: Tail,
    /// Its lines.
    pub(super) lane: Lane,
    /// When it was started.
    pub(super) launched: Instant,
    /// Since when it is known to work: its handshake stands or, where that is its client's, it has lived for a while.
    pub(super) stands_since: Option<Instant>,
    /// Why it is being stopped, if it is.
    pub(super) ending: Option<Ending>,
    /// Lines for it since it takes no more; none if there were too many.
    untouched: Option<BytesMut>,
    liveness: fn(u32) -> Liveness,
    /// When the handshake should stand, from the moment it begins.
    handshake_until: Option<Instant>,
    start_timeout: Duration,
    gone: Option<Gone>,
    orders: watch::Sender<Order>,
    _tasks: DropGuard,
}

#[derive(Debug)]
struct Gone {
    exit: Exit,
    last_words_until: Instant,
}

impl std::fmt::Debug for Running {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Running").field("pid", &self.pid).field("ending", &self.ending).finish_non_exhaustive()
    }
}

impl Running {
    /// Starts the tasks at a process's pipes.
    pub(super) fn new(
        process: Process,
        config: &ChildConfig,
        name: &str,
        backlog: &Arc<Backlog>,
        tracker: &TaskTracker,
        now: Instant,
    ) -> Self {
        let Process { pid, liveness, stdin, stdout, stderr, orders, exit } = process;
        let over = CancellationToken::new();
        let server = config.server.as_ref().map(tracing::field::display);
        let span = tracing::error_span!(target: stderr::TARGET, parent: None, "child", server, command = name, pid);
        let (backlog, lane) = (Arc::clone(backlog), backlog.open());
        let own_lane = lane.clone();
        let pump = async move { pump(&backlog, &own_lane, stdin).await };
        let pump = over.clone().run_until_cancelled_owned(pump).instrument(span.clone());
        let tail = Tail::default();
        let stderr = over
            .clone()
            .run_until_cancelled_owned(stderr::drain(stderr, tail.clone(), config.stderr_lines_max))
            .instrument(span);
        Self {
            pid,
            lines: Some(LineReader::new(stdout, config.line_bytes_max)),
            exit: Some(exit),
            pump: Some(tracker.spawn(pump)),
            stderr: Some(tracker.spawn(stderr)),
            tail,
            lane,
            untouched: Some(BytesMut::new()),
            launched: now,
            stands_since: None,
            ending: None,
            liveness,
            handshake_until: None,
            start_timeout: config.start_timeout,
            gone: None,
            orders,
            _tasks: over.drop_guard(),
        }
    }

    /// Has it stopped; the first reason given is the one that counts.
    pub(super) fn end(&mut self, why: Ending, order: Order) {
        self.ending.get_or_insert(why);
        self.orders.send_if_modified(|present| {
            let sterner = order > *present;
            *present = order.max(*present);
            sterner
        });
    }

    /// What it means that a pipe has just been closed at the other end.
    pub(super) fn pipe_closed(&self, pipe: &'static str) -> Ending {
        Ending::PipeClosed { pipe, then: (self.liveness)(self.pid) }
    }

    /// It exited; what it wrote before is still to be read.
    pub(super) fn exited(&mut self, exit: Exit, now: Instant) {
        self.exit = None;
        self.gone = Some(Gone { exit, last_words_until: now + LAST_WORDS_TIMEOUT });
    }

    /// Whether it lives and is not being stopped.
    pub(super) const fn is_wanted(&self) -> bool {
        self.ending.is_none() && self.gone.is_none()
    }

    /// Its handshake may take no longer than this, if it has not begun.
    pub(super) fn hurry(&mut self, timeout: Duration) {
        self.start_timeout = self.start_timeout.min(timeout);
    }

    /// Another handshake is to come, for which it has so long.
    pub(super) const fn start_over(&mut self, timeout: Duration) {
        self.start_timeout = timeout;
        self.handshake_until = None;
    }

    /// How long its handshake may take.
    pub(super) const fn start_timeout(&self) -> Duration {
        self.start_timeout
    }

    /// It got nothing of these lines, which are the last, and will not. If there are more than `bytes_max`, which is what a
    /// dying child makes mcp-mux say, none are kept: the requests among them are told that it exited.
    pub(super) fn keep_untouched(&mut self, lines: &Bytes, bytes_max: usize) {
        let Some(kept) = &mut self.untouched else { return };
        kept.extend_from_slice(lines);
        if kept.len() > bytes_max {
            self.untouched = None;
        }
    }

    /// The lines that it got nothing of; `waiting` are those that its pump did not come to.
    pub(super) fn take_untouched(&mut self, waiting: Bytes) -> Bytes {
        match self.untouched.take() {
            // Only the last lines of all are of use.
            None => Bytes::new(),
            Some(later) if later.is_empty() => waiting,
            Some(later) => [&*waiting, &*later].concat().into(),
        }
    }

    /// Why it is going, as far as that is known; none while it is wanted.
    pub(super) fn why_ending(&self) -> Option<String> {
        match (&self.gone, &self.ending) {
            (Some(gone), None) => Some(gone.exit.status.clone()),
            (_, Some(Ending::PipeClosed { pipe, .. })) => Some(format!("it closed its {pipe}")),
            (_, Some(Ending::Fault(fault))) => Some(fault.clone()),
            (_, Some(Ending::Requested | Ending::Failed)) => Some("it is being stopped".to_owned()),
            (None, None) => None,
        }
    }

    /// Whether it may still read what is on its way to its stdin.
    pub(super) fn may_read(&self) -> bool {
        self.gone.is_none() && self.pump.is_some() && *self.orders.borrow() < Order::Kill
    }

    /// Its handshake is under way; from the first time this is said it has the start timeout.
    pub(super) fn handshake_begun(&mut self, now: Instant) {
        self.handshake_until.get_or_insert(now + self.start_timeout);
    }

    /// The handshake came to nothing, without any fault of the process.
    pub(super) const fn handshake_undone(&mut self) {
        self.handshake_until = None;
    }

    /// Whether its handshake should stand by now and does not.
    pub(super) fn is_late(&self, now: Instant) -> bool {
        self.is_wanted() && self.handshake_until.is_some_and(|until| until <= now)
    }

    /// Whether it is gone and everything it wrote has been read, or is not worth waiting for any longer.
    pub(super) fn is_over(&self, now: Instant) -> bool {
        let silent = self.lines.is_none() && self.stderr.is_none();
        self.gone.as_ref().is_some_and(|gone| silent || gone.last_words_until <= now)
    }

    /// When one of the above changes with the time alone.
    pub(super) fn deadline(&self) -> Option<Instant> {
        match &self.gone {
            Some(gone) => Some(gone.last_words_until),
            None => self.handshake_until.filter(|_| self.is_wanted()),
        }
    }

    /// How it ended, for those whose requests it did not answer.
    pub(super) fn exit(&self) -> ChildExit {
        let exit = self.gone.as_ref().map_or_else(|| Exit::unknown("it was abandoned"), |gone| gone.exit.clone());
        let status = match &self.ending {
            Some(Ending::Fault(fault)) => format!("{fault}; {}", exit.status),
            // An exit closes the pipes too: only where it ran on, or it took a signal, were they closed first.
            Some(Ending::PipeClosed { pipe, then })
                if *then == Liveness::Running || exit.ended_by == EndedBy::Ladder =>
            {
                format!("it closed its {pipe}; {}", exit.status)
            }
            Some(Ending::PipeClosed { .. } | Ending::Requested | Ending::Failed) | None => exit.status,
        };
        ChildExit { status, exit_code: exit.exit_code, signal: exit.signal, stderr: self.tail.lines().into() }
    }
}

/// What the operator is told of a child that will not be started (again).
pub(super) fn failure(name: &str, what: &str, stderr: &[String], advice: &str) -> String {
    let mut text = format!("the server ({name}) {what}\n");
    if !stderr.is_empty() {
        text.push_str("its last lines on stderr:\n");
        for line in stderr {
            text.push_str("  ");
            text.push_str(line);
            text.push('\n');
        }
    }
    text.push_str(advice);
    text.trim_end().to_owned()
}
