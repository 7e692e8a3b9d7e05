//! The actor's loop: one event, then whatever else is there already, then what came of it.
//!
//! [`ChildActor::next_event`] is the only place that waits, and every branch of it is cancel safe; [`ChildActor::handle`]
//! is synchronous. Outputs are flushed once for many inputs, so that under load many lines become one write.
//!
//! What follows from the time and from an exit is in `lifecycle`.

mod alarm;
mod lifecycle;

use std::collections::HashMap;
use std::io;
use std::ops::ControlFlow;
use std::sync::Arc;

use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::Instant;
use tokio_util::task::TaskTracker;

use self::alarm::Alarm;
use super::backlog::{Admission, Backlog, Intake};
use super::life::{Ending, Phase, Running};
use super::lines::{Line, LineReader};
use super::process::Launch;
use super::restart::Restart;
use super::stdin::PumpEnd;
use super::stdout::{self, Noise, Reading};
use super::supervisor::{Exit, Order};
use super::{ChildState, Outbox, Stats};
use crate::config::ChildConfig;
use crate::error::Reject;
use crate::jsonrpc::{Kind, Message};
use crate::router::{Origin, Output, Payload, Profile, Router, SessionKey};

/// The most commands, and the most lines, handled before what came of them is flushed.
const COMMANDS_PER_TURN_MAX: usize = 64;
const LINES_PER_TURN_MAX: usize = 256;

/// What a handle asks of its actor.
#[derive(Debug)]
#[expect(clippy::large_enum_variant, reason = "nearly all commands are the large one, a message")]
pub(super) enum ChildCommand {
    Attach { session: SessionKey, profile: Profile, outbox: Arc<dyn Outbox> },
    Message { from: Origin, message: Message, admission: Admission },
    Detach(SessionKey),
    Stats(oneshot::Sender<Stats>),
    Stop,
    Kill,
}

/// What happens to an actor.
#[derive(Debug)]
#[expect(clippy::large_enum_variant, reason = "handled at once and never kept")]
enum ChildEvent {
    Command(ChildCommand),
    HandlesGone,
    Line(io::Result<Option<Line>>),
    StdinEnded(PumpEnd),
    StderrEnded,
    Exited(Exit),
    Alarm,
}

/// Whether a child is wanted at all.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Wanted {
    Running,
    Stopped,
    /// And it is given no time for that.
    Killed,
}

/// Whether anybody may still send commands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Handles {
    Held,
    Gone,
}

/// Whether a handshake of this command has ever stood.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Record {
    Unproven,
    Proven,
}

/// What an actor shares with its handles.
pub(super) type Shared = (mpsc::Receiver<ChildCommand>, Arc<Backlog>, watch::Sender<ChildState>);

/// Owns one child.
pub(super) struct ChildActor<L> {
    config: ChildConfig,
    name: Box<str>,
    launcher: L,
    router: Router,
    outboxes: HashMap<SessionKey, Arc<dyn Outbox>>,
    inbox: mpsc::Receiver<ChildCommand>,
    handles: Handles,
    backlog: Arc<Backlog>,
    state: watch::Sender<ChildState>,
    tracker: TaskTracker,
    wanted: Wanted,
    record: Record,
    phase: Phase,
    restart: Restart,
    noise: Noise,
    alarm: Alarm,
    /// Lines for the child, until the end of the turn.
    lines_out: Vec<u8>,
}

impl<L: Launch> ChildActor<L> {
    /// An actor that has not started anything yet.
    pub(super) fn new(
        config: &ChildConfig,
        name: &str,
        router: Router,
        launcher: L,
        (inbox, backlog, state): Shared,
        tracker: TaskTracker,
    ) -> Self {
        Self {
            config: config.clone(),
            name: name.into(),
            launcher,
            router,
            outboxes: HashMap::new(),
            inbox,
            handles: Handles::Held,
            backlog,
            state,
            tracker,
            wanted: Wanted::Running,
            record: Record::Unproven,
            phase: Phase::Idle,
            restart: Restart::default(),
            noise: Noise::new(),
            alarm: Alarm::new(),
            lines_out: Vec::new(),
        }
    }

    /// Runs until it is told to stop or all handles are gone, and the child is too.
    pub(super) async fn run(mut self) {
        self.launch(Instant::now());
        self.flush();
        loop {
            self.alarm.set(self.deadline());
            let event = self.next_event().await;
            if self.handle(event, Instant::now()).is_break() {
                break;
            }
        }
        self.conclude().await;
    }

    /// # Cancel safety
    /// Nothing is lost when it is cancelled; each of its branches is cancelled whenever another one is taken.
    async fn next_event(&mut self) -> ChildEvent {
        let (lines, exit, pump, stderr) = match &mut self.phase {
            Phase::Up(running) => {
                let Running { lines, exit, pump, stderr, .. } = running.as_mut();
                (lines.as_mut(), exit.as_mut(), pump.as_mut(), stderr.as_mut())
            }
            Phase::Idle | Phase::Waiting { .. } => (None, None, None, None),
        };
        tokio::select! {
            command = self.inbox.recv(), if self.handles == Handles::Held => {
                command.map_or(ChildEvent::HandlesGone, ChildEvent::Command)
            }
            line = or_never(lines.map(LineReader::next)) => ChildEvent::Line(line),
            exit = or_never(exit) => ChildEvent::Exited(exit.unwrap_or_else(Exit::unknown)),
            // A pump that was cancelled or has panicked writes no more than one whose pipe is broken.
            end = or_never(pump) => ChildEvent::StdinEnded(end.ok().flatten().unwrap_or(PumpEnd::Broken)),
            _ = or_never(stderr) => ChildEvent::StderrEnded,
            () = self.alarm.rings() => ChildEvent::Alarm,
        }
    }

    fn handle(&mut self, event: ChildEvent, now: Instant) -> ControlFlow<()> {
        match event {
            ChildEvent::Command(command) => self.handle_command(command, now),
            ChildEvent::HandlesGone => {
                self.handles = Handles::Gone;
                self.wanted = self.wanted.max(Wanted::Stopped);
            }
            ChildEvent::Line(line) => self.handle_line(line, now),
            ChildEvent::StdinEnded(end) => self.stdin_ended(end),
            ChildEvent::StderrEnded => {
                if let Some(running) = self.running() {
                    running.stderr = None;
                }
            }
            ChildEvent::Exited(exit) => self.process_exited(exit, now),
            ChildEvent::Alarm => {}
        }
        self.handle_more(now);
        let flow = self.advance(now);
        self.flush();
        flow
    }

    /// Handles what can be had without waiting, up to a bound.
    fn handle_more(&mut self, now: Instant) {
        for _ in 0..COMMANDS_PER_TURN_MAX {
            let Ok(command) = self.inbox.try_recv() else { break };
            self.handle_command(command, now);
        }
        for _ in 0..LINES_PER_TURN_MAX {
            let lines = self.running().and_then(|running| running.lines.as_mut());
            let Some(line) = lines.and_then(LineReader::next_buffered) else { break };
            self.handle_line(Ok(Some(line)), now);
        }
    }

    fn handle_command(&mut self, command: ChildCommand, now: Instant) {
        match command {
            ChildCommand::Attach { session, profile, outbox } => {
                self.outboxes.insert(session, outbox);
                self.router.attach(session, profile);
            }
            ChildCommand::Message { from, message, admission } => self.handle_message(from, message, admission, now),
            ChildCommand::Detach(session) => {
                self.router.detach(session, now);
                // Its requests in flight are settled before its outbox goes.
                self.flush();
                self.outboxes.remove(&session);
            }
            ChildCommand::Stats(answer) => {
                // Who asked may have gone.
                let _ = answer.send(Stats { outboxes: self.outboxes.len(), router: self.router.stats() });
            }
            ChildCommand::Stop => self.wanted = self.wanted.max(Wanted::Stopped),
            ChildCommand::Kill => self.wanted = Wanted::Killed,
        }
    }

    fn handle_message(&mut self, from: Origin, message: Message, admission: Admission, now: Instant) {
        tracing::trace!(method = message.method(), bytes = message.bytes().len(), "message from a session");
        self.backlog.accept(admission);
        let id = if message.kind() == Kind::Request { message.id() } else { None };
        if let Err(reject) = self.router.handle_session_message(from, message, 0, now)
            && let (Some(id), Some(outbox)) = (id, self.outboxes.get(&from.session))
        {
            tracing::debug!(kind = reject.wire().kind, "request refused");
            outbox.deliver(from.stream, Payload::Rejected(id, reject));
        }
    }

    fn handle_line(&mut self, line: io::Result<Option<Line>>, now: Instant) {
        let line = match line {
            Ok(Some(line)) => line,
            Ok(None) => return self.stdout_ended(),
            Err(error) => {
                tracing::debug!(%error, "the child's stdout cannot be read");
                return self.stdout_ended();
            }
        };
        match stdout::read(line, self.config.line_bytes_max) {
            Reading::Message(message) => self.handle_child_message(message, now),
            Reading::AfterNoise(message, noise) => {
                self.noise.line(&noise, now);
                self.handle_child_message(message, now);
            }
            Reading::Batch(messages) => {
                for message in messages {
                    match message {
                        Ok(message) => self.handle_child_message(message, now),
                        Err(error) => self.noise.in_batch(&error, now),
                    }
                }
            }
            Reading::Unusable { id, what } => {
                self.noise.unusable(id, &what, now);
                self.router.handle_unusable_answer(id, &what, now);
            }
            Reading::Noise(line) => self.noise.line(&line, now),
            Reading::Overlong { bytes } => self.noise.overlong(bytes, now),
            Reading::Blank => {}
        }
    }

    fn handle_child_message(&mut self, message: Message, now: Instant) {
        tracing::trace!(method = message.method(), bytes = message.bytes().len(), "message from the child");
        self.router.handle_child_message(message, now);
    }

    fn stdout_ended(&mut self) {
        let Some(running) = self.running() else { return };
        running.lines = None;
        if running.is_wanted() {
            let why = running.pipe_closed("stdout");
            self.end_process(why, Order::Stop);
        }
    }

    fn stdin_ended(&mut self, end: PumpEnd) {
        let Some(running) = self.running() else { return };
        running.pump = None;
        if end == PumpEnd::Broken && running.is_wanted() {
            let why = running.pipe_closed("stdin");
            self.end_process(why, Order::Stop);
        }
    }

    /// Delivers and writes what the router has come to, and ends a child that does not take it.
    fn flush(&mut self) {
        if self.hand_over() == Intake::Stuck
            && let Some(running) = self.running()
            && running.is_wanted()
        {
            let pid = running.pid;
            tracing::warn!(
                pid,
                "the child does not read its stdin and is killed; the backlog is twice --queue-bytes-max"
            );
            self.end_process(Ending::Fault("it did not read its stdin".to_owned()), Order::Kill);
        }
    }

    /// Delivers what the router has come to and moves the child's lines to the backlog.
    fn hand_over(&mut self) -> Intake {
        while let Some(output) = self.router.poll_output() {
            match output {
                Output::ToChild(frame) => {
                    self.lines_out.reserve(frame.len().saturating_add(1));
                    frame.write_to(&mut self.lines_out);
                    self.lines_out.push(b'\n');
                }
                Output::ToSession(delivery) => {
                    if let Some(outbox) = self.outboxes.get(&delivery.session) {
                        outbox.deliver(delivery.stream, delivery.payload);
                    }
                }
            }
        }
        self.backlog.append(&mut self.lines_out, self.router.queued_bytes())
    }

    /// Settles everything there is and comes to an end.
    async fn conclude(mut self) {
        self.router.close(&Reject::ShuttingDown);
        self.inbox.close();
        self.backlog.close();
        // Waits only for who has a place in the inbox already, and is about to use it.
        while let Some(command) = self.inbox.recv().await {
            self.handle_command(command, Instant::now());
        }
        self.flush();
        self.state.send_replace(ChildState::Stopped);
    }

    fn running(&mut self) -> Option<&mut Running> {
        match &mut self.phase {
            Phase::Up(running) => Some(running),
            Phase::Idle | Phase::Waiting { .. } => None,
        }
    }
}

/// What a future comes to, or nothing ever where there is none.
async fn or_never<F: Future>(future: Option<F>) -> F::Output {
    match future {
        Some(future) => future.await,
        None => std::future::pending().await,
    }
}
