//! The actor's loop: one event, then whatever else is there already, then what came of it.
//!
//! [`ChildActor::next_event`] is the only place that waits, and every branch of it is cancel safe; [`ChildActor::handle`]
//! is synchronous. Outputs are flushed once for many inputs, so that under load many lines become one write.
//!
//! Mostly there is one process. While it is replaced (`--child-max-age`, `--child-max-requests`) there are more, each with a
//! router of its own; sessions and their outboxes are the actor's, so that nobody attached notices.
//!
//! What follows from the time and from an exit is in `lifecycle`, the replacement in `succession`.

mod alarm;
mod lifecycle;
mod probe;
mod report;
mod succession;
mod tenure;
mod voice;

use std::future::poll_fn;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::task::Poll;

use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::Instant;
use tokio_util::task::TaskTracker;

use self::alarm::Alarm;
use self::succession::Retiring;
use self::tenure::{Outboxes, ProcessEvent, Tenure};
use self::voice::Voice;
use super::backlog::{Admission, Backlog, Intake};
use super::life::Ending;
use super::process::Launch;
use super::report::Past;
use super::restart::Restart;
use super::stdin::PumpEnd;
use super::supervisor::Order;
use super::{ChildState, EraSource, Outbox, Proof, Report, Stats, Tenancy};
use crate::config::{ChildConfig, RouterConfig};
use crate::error::Reject;
use crate::jsonrpc::{Kind, Message};
use crate::metrics::{Gauge, Portion, ServerMetrics};
use crate::router::cache::ResponseCache;
use crate::router::{self, Origin, Payload, Profile, SessionKey, Sharing};

/// The most commands, and the most lines, handled before what came of them is flushed.
const COMMANDS_PER_TURN_MAX: usize = 64;
const LINES_PER_TURN_MAX: usize = 256;

/// What a handle asks of its actor.
#[derive(Debug)]
pub(super) enum ChildCommand {
    Attach { session: SessionKey, profile: Profile, outbox: Arc<dyn Outbox> },
    Message { from: Origin, message: Message, admission: Admission },
    Detach(SessionKey),
    Retune(Sharing, EraSource),
    Stats(oneshot::Sender<Stats>),
    Report(oneshot::Sender<Report>),
    Stop,
    Kill,
}

/// What happens to an actor.
#[derive(Debug)]
enum ChildEvent {
    Command(ChildCommand),
    HandlesGone,
    /// To the process of the tenure with this serial number.
    Process(u64, ProcessEvent),
    EraFound,
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

/// What an actor shares with its handles.
pub(super) type Shared = (mpsc::Receiver<ChildCommand>, Arc<Backlog>, watch::Sender<ChildState>);

/// Owns one child.
pub(super) struct ChildActor<L> {
    config: ChildConfig,
    name: Box<str>,
    launcher: L,
    outboxes: Outboxes,
    inbox: mpsc::Receiver<ChildCommand>,
    handles: Handles,
    backlog: Arc<Backlog>,
    state: watch::Sender<ChildState>,
    tracker: TaskTracker,
    wanted: Wanted,
    voice: Voice,
    cache: ResponseCache,
    proof: Proof,
    metrics: ServerMetrics,
    /// It is counted where its state is.
    counted: Portion,
    restart: Restart,
    /// How the last process ended.
    last_status: String,
    past: Past,
    /// What was said last of how the child is doing.
    published: ChildState,
    /// No process will come any more.
    given_up: bool,
    alarm: Alarm,
    /// Which of several processes besides the current one is looked at first.
    rotation: usize,
    tenures: u64,
    /// The one that sessions are attached to.
    current: Tenure,
    /// The one that will take its place when its process is ready.
    successor: Option<Tenure>,
    /// When a successor may be started after one came to nothing.
    successor_not_before: Option<Instant>,
    /// When requests beyond the limit of the present process wait no longer.
    hold_until: Option<Instant>,
    /// Those that had its place and end what they have.
    retiring: Vec<Retiring>,
}

impl<L: Launch> ChildActor<L> {
    /// An actor that has not started anything yet.
    pub(super) fn new(
        config: &ChildConfig,
        name: &str,
        router: &RouterConfig,
        launcher: L,
        tenancy: Tenancy,
        (inbox, backlog, state): Shared,
        tracker: TaskTracker,
    ) -> Self {
        let voice = Voice::new(router.clone(), tenancy.sharing, tenancy.era);
        let (router, cache) = (voice.router(tenancy.cache.clone()), tenancy.cache.clone());
        let metrics = tenancy.metrics;
        Self {
            counted: metrics.one(Gauge::ChildrenStarting),
            config: config.clone(),
            name: name.into(),
            launcher,
            outboxes: Outboxes::default(),
            inbox,
            handles: Handles::Held,
            backlog,
            state,
            tracker,
            wanted: Wanted::Running,
            voice,
            cache: tenancy.cache,
            proof: tenancy.proof,
            restart: Restart::default(),
            last_status: String::new(),
            past: Past::new(tenancy.last_exit),
            published: ChildState::Starting,
            given_up: false,
            alarm: Alarm::new(),
            tenures: 1,
            current: Tenure::new(0, router, cache, metrics.clone()),
            metrics,
            successor: None,
            successor_not_before: None,
            hold_until: None,
            rotation: 0,
            retiring: Vec::new(),
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
        self.rotation = self.rotation.wrapping_add(1);
        let others = self.successor.iter_mut().chain(self.retiring.iter_mut().map(|retiring| &mut retiring.tenure));
        let (serial, event) = tokio::select! {
            command = self.inbox.recv(), if self.handles == Handles::Held => {
                return command.map_or(ChildEvent::HandlesGone, ChildEvent::Command);
            }
            event = self.current.next_event() => event,
            () = self.voice.found() => return ChildEvent::EraFound,
            event = first_of(self.rotation, others.map(Tenure::next_event)) => event,
            () = self.alarm.rings() => return ChildEvent::Alarm,
        };
        ChildEvent::Process(serial, event)
    }

    fn handle(&mut self, event: ChildEvent, now: Instant) -> ControlFlow<()> {
        match event {
            ChildEvent::Command(command) => self.handle_command(command, now),
            ChildEvent::HandlesGone => {
                self.handles = Handles::Gone;
                self.wanted = self.wanted.max(Wanted::Stopped);
            }
            ChildEvent::Process(serial, event) => self.handle_process(serial, event, now),
            ChildEvent::EraFound => self.find_voice(now),
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
            let Some(line) = self.current.next_buffered() else { break };
            self.current.handle_line(Ok(Some(line)), self.config.line_bytes_max, now);
        }
    }

    fn handle_command(&mut self, command: ChildCommand, now: Instant) {
        match command {
            ChildCommand::Attach { session, profile, outbox } => {
                self.outboxes.insert(session, outbox);
                for retiring in &mut self.retiring {
                    retiring.tenure.router.attach_late(session, &profile, now);
                }
                self.current.router.attach(session, profile, now);
            }
            ChildCommand::Message { from, message, admission } => self.handle_message(from, message, admission, now),
            ChildCommand::Detach(session) => {
                for tenure in self.tenures_mut() {
                    tenure.router.detach(session, now);
                }
                // Its requests in flight are settled before its outbox goes.
                self.flush();
                self.outboxes.remove(&session);
            }
            ChildCommand::Retune(sharing, source) => self.retune(sharing, source, now),
            ChildCommand::Stats(answer) => {
                let retiring = self.retiring.iter().map(|retiring| retiring.tenure.router.stats());
                let router = retiring.fold(self.current.router.stats(), router::Stats::and);
                // Who asked may have gone.
                let _ = answer.send(Stats { outboxes: self.outboxes.len(), router });
            }
            ChildCommand::Report(answer) => drop(answer.send(self.report())),
            ChildCommand::Stop => self.wanted = self.wanted.max(Wanted::Stopped),
            ChildCommand::Kill => self.wanted = Wanted::Killed,
        }
    }

    fn handle_message(&mut self, from: Origin, message: Message, admission: Admission, now: Instant) {
        tracing::trace!(method = message.method(), bytes = message.bytes().len(), "message from a session");
        self.backlog.accept(admission);
        let id = if message.kind() == Kind::Request { message.id() } else { None };
        if let Err(reject) = self.pass_on(from, message, now)
            && let (Some(id), Some(outbox)) = (id, self.outboxes.get(&from.session))
        {
            tracing::debug!(kind = reject.wire().kind, "request refused");
            outbox.deliver(from.stream, Payload::Rejected(id, reject));
        }
    }

    fn handle_process(&mut self, serial: u64, event: ProcessEvent, now: Instant) {
        let line_bytes_max = self.config.line_bytes_max;
        let (mut tenures, backlog, outboxes) = self.parts_mut();
        let Some(tenure) = tenures.find(|tenure| tenure.serial == serial) else { return };
        match event {
            ProcessEvent::Line(line) => {
                if !tenure.handle_line(line, line_bytes_max, now)
                    && let Some(running) = tenure.running_mut()
                {
                    running.lines = None;
                    if running.is_wanted() {
                        let why = running.pipe_closed("stdout");
                        tenure.end(why, Order::Stop, backlog, outboxes);
                    }
                }
            }
            ProcessEvent::StdinEnded(end) => {
                let Some(running) = tenure.running_mut() else { return };
                running.pump = None;
                if end == PumpEnd::Broken && running.is_wanted() {
                    let why = running.pipe_closed("stdin");
                    tenure.end(why, Order::Stop, backlog, outboxes);
                }
            }
            ProcessEvent::StderrEnded => {
                if let Some(running) = tenure.running_mut() {
                    running.stderr = None;
                }
            }
            ProcessEvent::Exited(exit) => {
                if let Some(running) = tenure.running_mut() {
                    // What it wrote before is still to be read.
                    running.exited(exit, now);
                    tenure.close_input(backlog, outboxes);
                }
            }
        }
    }

    /// Delivers and writes what the routers have come to, and ends a process that does not take it.
    fn flush(&mut self) {
        let queued_bytes = self.current.router.queued_bytes();
        let (tenures, backlog, outboxes) = self.parts_mut();
        for tenure in tenures {
            if tenure.hand_over(backlog, outboxes) == Intake::Stuck
                && let Some(pid) = tenure.running().filter(|running| running.is_wanted()).map(|running| running.pid)
            {
                tracing::warn!(
                    pid,
                    "the child does not read its stdin and is killed; the backlog is twice --queue-bytes-max"
                );
                let why = Ending::Fault("it did not read its stdin".to_owned());
                tenure.end(why, Order::Kill, backlog, outboxes);
            }
        }
        backlog.keep(queued_bytes);
    }

    /// Settles everything there is and comes to an end.
    async fn conclude(mut self) {
        for tenure in self.tenures_mut() {
            tenure.router.close(&Reject::ShuttingDown);
        }
        self.inbox.close();
        self.backlog.close();
        // Waits only for who has a place in the inbox already, and is about to use it.
        while let Some(command) = self.inbox.recv().await {
            self.handle_command(command, Instant::now());
        }
        self.flush();
        self.tell(ChildState::Stopped);
    }

    /// Says how the child is doing.
    fn tell(&mut self, state: ChildState) {
        match &state {
            ChildState::Starting => self.counted.move_to(Gauge::ChildrenStarting),
            ChildState::Ready => self.counted.move_to(Gauge::ChildrenReady),
            ChildState::Restarting(_) => self.counted.move_to(Gauge::ChildrenRestarting),
            ChildState::CircuitOpen(_) => self.counted.move_to(Gauge::ChildrenCircuitOpen),
            ChildState::Failed(_) => self.counted.move_to(Gauge::ChildrenFailed),
            ChildState::Stopped => self.counted.set(0),
        }
        self.state.send_replace(state);
    }

    fn tenures_mut(&mut self) -> impl Iterator<Item = &mut Tenure> {
        self.parts_mut().0
    }

    /// All processes there are, the backlog and the outboxes.
    fn parts_mut(&mut self) -> (impl Iterator<Item = &mut Tenure>, &Backlog, &Outboxes) {
        let Self { current, successor, retiring, backlog, outboxes, .. } = self;
        let retiring = retiring.iter_mut().map(|retiring| &mut retiring.tenure);
        (std::iter::once(current).chain(successor).chain(retiring), backlog, outboxes)
    }
}

/// The first of these to come to something; never, if there are none. The first one looked at is another one each time,
/// so that none that always has something to say keeps the others from being heard.
///
/// # Cancel safety
/// As theirs.
async fn first_of<T>(rotation: usize, futures: impl Iterator<Item = impl Future<Output = T>>) -> T {
    let mut futures: Vec<_> = futures.map(Box::pin).collect();
    let first = rotation.checked_rem(futures.len()).unwrap_or(0);
    futures.rotate_left(first);
    poll_fn(|cx| {
        for future in &mut futures {
            if let Poll::Ready(outcome) = future.as_mut().poll(cx) {
                return Poll::Ready(outcome);
            }
        }
        Poll::Pending
    })
    .await
}

/// What a future comes to, or nothing ever where there is none.
async fn or_never<F: Future>(future: Option<F>) -> F::Output {
    match future {
        Some(future) => future.await,
        None => std::future::pending().await,
    }
}
