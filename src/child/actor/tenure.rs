//! One process after the other and the router that speaks for them: what an actor has one of, and a second one while a
//! process is replaced by its successor.
//!
//! It knows how to move messages and how far its process is. What follows from that is the actor's to decide.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use bytes::{BufMut as _, BytesMut};
use rustc_hash::FxHashMap;
use tokio::time::Instant;

use super::or_never;
use super::probe::{Probe, Verdict};
use crate::child::Outbox;
use crate::child::backlog::{Backlog, Intake};
use crate::child::life::{Ending, Phase, Running};
use crate::child::probe::{Heard, ID, Question, is_answer};
use crate::child::stdin::PumpEnd;
use crate::child::stdout::{self, Noise, Reading};
use crate::child::supervisor::{Exit, Order};
use crate::config::ChildConfig;
use crate::jsonrpc::{Kind, Message};
use crate::lines::{Line, LineReader};
use crate::mcp::ids::Param;
use crate::mcp::method;
use crate::metrics::{Counter, Gauge, Portion, ServerMetrics};
use crate::router::cache::ResponseCache;
use crate::router::{Output, Router, SessionKey, Stage};

/// What happens to a process.
#[derive(Debug)]
pub(super) enum ProcessEvent {
    Line(io::Result<Option<Line>>),
    StdinEnded(PumpEnd),
    StderrEnded,
    Exited(Exit),
}

/// Whether a process is spoken to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Speech {
    /// Not before its era is known.
    Held,
    /// It is asked for its era, and has until then to answer.
    Asked(Instant),
    /// It is.
    Begun,
}

/// What has become of a process's start.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Start {
    /// Nothing new.
    Unchanged,
    /// It is known to work now.
    Stands,
    /// Its handshake failed; the text says how.
    Failed(String),
}

/// A process and the router that speaks for it.
pub(super) struct Tenure {
    /// Tells the tenures of an actor apart.
    pub(super) serial: u64,
    pub(super) router: Router,
    /// What its process says that has changed is dropped here.
    cache: ResponseCache,
    pub(super) phase: Phase,
    noise: Noise,
    probe: Probe,
    /// Whether the process is spoken to yet.
    speech: Speech,
    /// What it answered when it was asked for its era, until somebody has taken that.
    heard: Option<Heard>,
    /// What had been given to earlier processes.
    given_before: u64,
    /// Lines for the child, until the end of the turn.
    lines_out: BytesMut,
    metrics: ServerMetrics,
    /// Of the requests that wait, those that are in the router.
    waiting: Portion,
    /// Of a successor that is ready: when it takes its place at the latest.
    pub(super) hand_over_until: Option<Instant>,
}

/// The outboxes of the attached sessions.
pub(super) type Outboxes = FxHashMap<SessionKey, Arc<dyn Outbox>>;

impl Tenure {
    /// One without a process.
    pub(super) fn new(serial: u64, router: Router, cache: ResponseCache, metrics: ServerMetrics) -> Self {
        let waiting = metrics.none(Gauge::RequestsWaiting);
        Self {
            serial,
            router,
            cache,
            phase: Phase::Idle,
            noise: Noise::new(),
            probe: Probe::default(),
            speech: Speech::Held,
            heard: None,
            given_before: 0,
            lines_out: BytesMut::new(),
            metrics,
            waiting,
            hand_over_until: None,
        }
    }

    /// The next thing that happens to the process; none ever without one.
    ///
    /// # Cancel safety
    /// Nothing is lost when it is cancelled; each of its branches is cancelled whenever another one is taken.
    pub(super) async fn next_event(&mut self) -> (u64, ProcessEvent) {
        let (lines, exit, pump, stderr) = match &mut self.phase {
            Phase::Up(running) => {
                let Running { lines, exit, pump, stderr, .. } = running.as_mut();
                (lines.as_mut(), exit.as_mut(), pump.as_mut(), stderr.as_mut())
            }
            Phase::Idle | Phase::Waiting { .. } => (None, None, None, None),
        };
        let event = tokio::select! {
            line = or_never(lines.map(LineReader::next)) => ProcessEvent::Line(line),
            exit = or_never(exit) => ProcessEvent::Exited(exit.unwrap_or_else(Exit::unknown)),
            // A pump that was cancelled or has panicked writes no more than one whose pipe is broken.
            end = or_never(pump) => ProcessEvent::StdinEnded(end.ok().flatten().unwrap_or(PumpEnd::Broken)),
            _ = or_never(stderr) => ProcessEvent::StderrEnded,
        };
        (self.serial, event)
    }

    /// A line that can be had without waiting.
    pub(super) fn next_buffered(&mut self) -> Option<Line> {
        self.running_mut()?.lines.as_mut()?.next_buffered()
    }

    /// The process, if there is one.
    pub(super) const fn running(&self) -> Option<&Running> {
        match &self.phase {
            Phase::Up(running) => Some(running),
            Phase::Idle | Phase::Waiting { .. } => None,
        }
    }

    /// The process, if there is one.
    pub(super) const fn running_mut(&mut self) -> Option<&mut Running> {
        match &mut self.phase {
            Phase::Up(running) => Some(running),
            Phase::Idle | Phase::Waiting { .. } => None,
        }
    }

    /// A process was started for it, which is not spoken to yet.
    pub(super) fn begin(&mut self, running: Running) {
        self.phase = Phase::Up(Box::new(running));
        self.probe = Probe::default();
        (self.speech, self.heard) = (Speech::Held, None);
    }

    /// The process, which nobody has spoken to, is asked for its era.
    pub(super) fn ask_for_era(&mut self, timeout: Duration, now: Instant) {
        self.speech = Speech::Asked(now + timeout);
        self.lines_out.put_slice(Question::Discover.message().as_bytes());
        self.lines_out.put_u8(b'\n');
    }

    /// What came of asking, once: its answer, or that there was none in all that time.
    pub(super) fn take_heard(&mut self, timeout: Duration, now: Instant) -> Option<Heard> {
        if matches!(self.speech, Speech::Asked(until) if until <= now) {
            self.hear(Heard::Silence(timeout));
        }
        self.heard.take()
    }

    fn hear(&mut self, heard: Heard) {
        (self.speech, self.heard) = (Speech::Held, Some(heard));
    }

    /// The router begins to speak with the process.
    pub(super) fn open(&mut self, config: &ChildConfig, now: Instant) {
        self.speech = Speech::Begun;
        self.given_before = self.router.requests_given();
        self.limit_requests(config, now);
        self.router.handle_child_start(now);
        let stage = self.router.stage();
        if let Some(running) = self.running_mut().filter(|_| stage == Stage::Handshake) {
            running.handshake_begun(now);
        }
    }

    /// The present process is given no more than `--child-max-requests`.
    fn limit_requests(&mut self, config: &ChildConfig, now: Instant) {
        let max = config.requests_max.map(|max| u64::try_from(max.get()).unwrap_or(u64::MAX));
        self.router.allow(max.map(|max| self.given_before.saturating_add(max)), now);
    }

    /// The present process may be given as many as there are.
    pub(super) fn lift_limit(&mut self, now: Instant) {
        self.router.allow(None, now);
    }

    /// How many requests the present process was given.
    pub(super) fn requests_given(&self) -> u64 {
        self.router.requests_given().saturating_sub(self.given_before)
    }

    // --- what the process writes ---

    /// Handles a line. False when there will be no more.
    pub(super) fn handle_line(&mut self, line: io::Result<Option<Line>>, line_bytes_max: usize, now: Instant) -> bool {
        let line = match line {
            Ok(Some(line)) => line,
            Ok(None) => return false,
            Err(error) => {
                tracing::debug!(%error, "the child's stdout cannot be read");
                return false;
            }
        };
        let bytes = match &line {
            Line::Whole(line) => line.len(),
            Line::Overlong { bytes, .. } => *bytes,
        };
        self.metrics.add_bytes(Counter::ChildRead, bytes.saturating_add(1));
        let noise = self.noise.lines();
        match stdout::read(line, line_bytes_max) {
            Reading::Message(message) => self.handle_message(message, now),
            Reading::AfterNoise(message, noise) => {
                self.noise.line(&noise, now);
                self.handle_message(message, now);
            }
            Reading::Batch(messages) => {
                for message in messages {
                    match message {
                        Ok(message) => self.handle_message(message, now),
                        Err(error) => self.noise.in_batch(&error, now),
                    }
                }
            }
            Reading::Unusable { id: ID, .. } if self.is_asked() => self.hear(Heard::Unusable),
            Reading::Unusable { id, what } => {
                self.noise.unusable(id, &what, now);
                self.router.handle_unusable_answer(id, &what, now);
            }
            Reading::Noise(line) => self.noise.line(&line, now),
            Reading::Overlong { bytes } => self.noise.overlong(bytes, now),
            Reading::Blank => {}
        }
        let noise = self.noise.lines().saturating_sub(noise);
        if noise > 0 {
            self.metrics.add(Counter::NoiseLines, noise);
        }
        true
    }

    const fn is_asked(&self) -> bool {
        matches!(self.speech, Speech::Asked(_))
    }

    fn handle_message(&mut self, message: Message, now: Instant) {
        tracing::trace!(method = message.method(), bytes = message.bytes().len(), "message from the child");
        match self.speech {
            Speech::Begun => {}
            Speech::Asked(_) if is_answer(&message) => return self.hear(Heard::Answer(message)),
            // What sends everything back is no server.
            Speech::Asked(_) if message.method() == method::DISCOVER => return self.hear(Heard::Unusable),
            // There is nobody yet whom it could be for.
            Speech::Asked(_) | Speech::Held => return,
        }
        if message.kind() == Kind::Notification {
            self.cache.invalidate(message.method(), message.param_str(Param::Uri).as_deref());
        }
        self.router.handle_child_message(message, now);
    }

    // --- what is written to it ---

    /// Delivers what the router has come to and moves the process's lines to the backlog.
    pub(super) fn hand_over(&mut self, backlog: &Backlog, outboxes: &Outboxes) -> Intake {
        while let Some(output) = self.router.poll_output() {
            match output {
                Output::ToChild(frame) => {
                    self.lines_out.reserve(frame.len().saturating_add(1));
                    frame.write_to(&mut self.lines_out);
                    self.lines_out.put_u8(b'\n');
                }
                Output::ToSession(delivery) => {
                    if let Some(outbox) = outboxes.get(&delivery.session) {
                        outbox.deliver(delivery.stream, delivery.payload);
                    }
                }
            }
        }
        self.waiting.set(self.router.queued_requests());
        let unattributed = self.router.take_unattributed();
        if unattributed > 0 {
            self.metrics.add(Counter::Unattributed, unattributed);
        }
        let Self { phase, lines_out, .. } = self;
        let Phase::Up(running) = phase else {
            // Nothing that anybody waits for: without a process requests stay in the router.
            lines_out.clear();
            return Intake::Closed;
        };
        let intake = backlog.append(&running.lane, lines_out);
        if intake == Intake::Closed {
            running.keep_untouched(&lines_out.split().freeze(), backlog.limit());
        }
        intake
    }

    /// The process is going: it gets what the router has handed out for it and no more. What it still says of what it was
    /// given counts.
    pub(super) fn close_input(&mut self, backlog: &Backlog, outboxes: &Outboxes) {
        // Whether it stuck is of no interest any more.
        let _ = self.hand_over(backlog, outboxes);
        if self.router.stage() != Stage::Handshake {
            // Where its handshake is under way the answer may still be read, and may be worth something.
            self.router.handle_child_ending();
        }
        let Some(running) = self.running_mut() else { return };
        if running.may_read() {
            backlog.finish(&running.lane);
        } else {
            backlog.shut(&running.lane);
        }
    }

    /// Has the process stopped, after what is on its way to it. The first reason given is the one that counts.
    pub(super) fn end(&mut self, why: Ending, order: Order, backlog: &Backlog, outboxes: &Outboxes) {
        if let Some(running) = self.running_mut() {
            running.end(why, order);
            self.close_input(backlog, outboxes);
        }
    }

    // --- how far it is ---

    /// How the start of the process goes on.
    pub(super) fn look_at_start(&mut self, now: Instant) -> Start {
        let (stage, refused) = (self.router.stage(), self.router.handshake_error().map(str::to_owned));
        let method = self.router.handshake_method();
        let Some(running) = self.running_mut() else { return Start::Unchanged };
        match stage {
            Stage::Handshake if running.is_wanted() => {
                running.handshake_begun(now);
                if let Some(error) = refused {
                    return Start::Failed(format!("it refused the handshake ({method}): {error}"));
                }
                if running.is_late(now) {
                    let timeout = running.start_timeout();
                    return Start::Failed(format!("its handshake ({method}) did not stand within {timeout:?}"));
                }
                return Start::Unchanged;
            }
            Stage::Ready => running.handshake_undone(),
            Stage::Waiting if now < running.launched + SPARE_STANDS_AFTER => return Start::Unchanged,
            Stage::Waiting => running.handshake_undone(),
            Stage::Handshake | Stage::Down => return Start::Unchanged,
        }
        if running.stands_since.is_some() {
            return Start::Unchanged;
        }
        running.stands_since = Some(now);
        Start::Stands
    }

    /// Whether the process is there, wanted, and its handshake stands.
    pub(super) fn is_ready(&self) -> bool {
        self.router.stage() == Stage::Ready && self.running().is_some_and(Running::is_wanted)
    }

    /// Asks the process now and then whether it still answers; false when it does not.
    pub(super) fn answers(&mut self, interval: Option<Duration>, now: Instant) -> bool {
        let Some(interval) = interval.filter(|_| self.is_ready()) else { return true };
        match self.probe.check(interval, self.router.life_signs(), now) {
            Verdict::Wait => {}
            Verdict::Ask => self.router.ping_child(),
            Verdict::Dead => return false,
        }
        true
    }

    /// What the time alone does to the router and to the account of noise.
    pub(super) fn handle_time(&mut self, now: Instant) {
        if self.router.poll_timeout().is_some_and(|at| at <= now) {
            self.router.handle_timeout(now);
        }
        self.noise.report(now);
    }

    /// When the time alone changes something.
    pub(super) fn deadline(&self, config: &ChildConfig) -> Option<Instant> {
        let phase = self.running().and_then(Running::deadline);
        let running = self.running();
        let waits = |running: &&Running| running.is_wanted() && running.stands_since.is_none();
        let spare = running.filter(waits).filter(|_| self.router.stage() == Stage::Waiting);
        let spare = spare.map(|running| running.launched + SPARE_STANDS_AFTER);
        let probe = config.ping_interval.and_then(|_| self.probe.due()).filter(|_| self.is_ready());
        let asked = if let Speech::Asked(until) = self.speech { Some(until) } else { None };
        [phase, spare, probe, asked, self.router.poll_timeout(), self.noise.due()].into_iter().flatten().min()
    }
}

/// A process that waits for its client's handshake is taken to work when it has lived for this long.
const SPARE_STANDS_AFTER: Duration = Duration::from_secs(1);
