//! The actor that owns one child: its process, its pipes and its router.
//!
//! A child here is a place that a process fills, one after the other: the actor starts it, brings its handshake about,
//! moves messages between it and the sessions attached to it, and starts the next one when it exits. Whoever attaches
//! hands in an [`Outbox`], so that this module knows nothing of sessions.
//!
//! ```text
//! ChildHandle ─ inbox ─▶ actor ─ router ─▶ backlog ─ pump ─▶ stdin
//!                          │  ▲                              process ◀─ supervisor ─ guard
//!              Outbox ◀────┘  └──── stdout ◀─ lines ◀──────  stdout
//!                                             log ◀────────  stderr
//! ```
//!
//! Invariants: the actor never waits for a session or for the child's stdin; nothing of a process outlives it, its
//! helpers included, nor does it outlive the actor.
//!
//! Unix only. DESIGN sections 3 and 7; spec: 2025-11-25, Transports, stdio, and Lifecycle, Shutdown.

mod actor;
mod backlog;
mod entrance;
mod environment;
mod eras;
pub mod gate;
pub mod guard;
pub mod in_memory;
mod life;
mod lookup;
pub mod memory;
mod pipe;
#[cfg(test)]
pub(crate) mod played;
pub mod probe;
mod process;
mod report;
mod restart;
#[cfg(test)]
mod scenarios;
mod stderr;
mod stdin;
mod stdout;
mod supervisor;
#[cfg(test)]
pub(crate) mod testing;
mod text;

use std::ffi::{OsStr, OsString};
use std::fmt;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::timeout;
use tokio_util::task::TaskTracker;
use tracing::Instrument as _;

use self::actor::{ChildActor, ChildCommand};
use self::backlog::{Admission, Backlog};
use self::entrance::{Entrance, Way};
pub use self::eras::{CommandEras, EraSource, Eras, Finder, Known};
pub use self::guard::ChildGuard;
use self::process::{Launch, Launcher};
pub use self::report::{ExitReport, FailureReport, LastExit, ProcessReport, Report};
use crate::config::{ChildConfig, RouterConfig};
use crate::error::Reject;
use crate::jsonrpc::{Kind, Message};
use crate::mcp::Era;
use crate::metrics::{Gauge, ServerMetrics};
use crate::router::cache::ResponseCache;
use crate::router::{self, Origin, Payload, Profile, SessionKey, Sharing, StreamId};

/// Where an actor puts what belongs to a session. Never waits: what the session cannot take it has a rule for.
pub trait Outbox: Send + Sync + std::fmt::Debug {
    /// Takes one delivery.
    fn deliver(&self, stream: StreamId, payload: Payload);
}

/// How the child is doing, for `/readyz` and for start-up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ChildState {
    /// Started, or about to be; its handshake does not stand yet.
    Starting,
    /// Its handshake stands.
    Ready,
    /// It exited and is to be started again; the text says how it ended.
    Restarting(String),
    /// It failed too often in a row and is left alone for a while; the text says how it ended last.
    CircuitOpen(String),
    /// It could not be started, or exited before its first handshake stood; the text is for the operator (several
    /// lines: what happened, the last stderr lines).
    Failed(String),
    /// Stopped on request.
    Stopped,
}

/// Whether a handshake of the command has ever stood, with any child of the pool. Before that, a child that does not come
/// to its handshake is a wrong command, and starting it again helps nobody.
#[derive(Clone, Debug, Default)]
pub struct Proof(Arc<AtomicBool>);

impl Proof {
    /// A handshake stands.
    pub fn give(&self) {
        self.0.store(true, Ordering::Release);
    }

    /// Whether one ever has.
    pub fn is_given(&self) -> bool {
        self.0.load(Ordering::Acquire)
    }
}

/// Variables of one child alone. Their values are a client's and are not shown.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct OwnVariables(Vec<(String, Option<OsString>)>);

impl OwnVariables {
    /// Each with its value; without one it is not inherited either.
    pub const fn new(variables: Vec<(String, Option<OsString>)>) -> Self {
        Self(variables)
    }

    /// Their values, in their order.
    pub fn values(&self) -> impl Iterator<Item = Option<&OsStr>> {
        self.0.iter().map(|(_, value)| value.as_deref())
    }

    /// Whether none has a value.
    pub fn are_absent(&self) -> bool {
        self.0.iter().all(|(_, value)| value.is_none())
    }
}

impl fmt::Debug for OwnVariables {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.0.iter().map(|(name, _)| name)).finish()
    }
}

/// For whom a child is.
#[derive(Clone, Debug)]
pub struct Tenancy {
    /// Tells it apart from the others in the log.
    pub number: u64,
    /// Whose it is.
    pub sharing: Sharing,
    /// Which era it is spoken to in, as soon as that is known.
    pub era: EraSource,
    /// Variables of its own.
    pub variables: OwnVariables,
    /// Where results are kept that may be served again.
    pub cache: ResponseCache,
    /// The command's proof, which this child may give.
    pub proof: Proof,
    /// Those of its server.
    pub metrics: ServerMetrics,
    /// That of its server's children.
    pub last_exit: LastExit,
}

/// How much an actor keeps, for tests and metrics.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// Outboxes of attached sessions.
    pub outboxes: usize,
    /// The router's tables.
    pub router: router::Stats,
}

/// How many commands may wait for the actor, which takes them without ever waiting itself.
const INBOX_COMMANDS_MAX: usize = 256;

/// Talks to the actor. Cheap to clone; with the last one gone the child is stopped.
#[derive(Clone, Debug)]
pub struct ChildHandle {
    inbox: mpsc::Sender<ChildCommand>,
    backlog: Arc<Backlog>,
    entrance: Entrance,
    era: EraSource,
    cache: ResponseCache,
    state: watch::Receiver<ChildState>,
    queue_timeout: Duration,
    tracker: TaskTracker,
    metrics: ServerMetrics,
}

/// Starts a child and the actor that owns it, within a tokio runtime. Both are gone when the tracker's tasks are. A
/// [`Sharing::Private`] child is started ahead of its session: its handshake is that session's `initialize`.
pub fn spawn(
    config: &ChildConfig,
    router: &RouterConfig,
    tenancy: Tenancy,
    guard: ChildGuard,
    tracker: &TaskTracker,
) -> ChildHandle {
    let launcher = Launcher::new(config, &tenancy.variables, guard, tracker.clone());
    spawn_with(config, router, tenancy, launcher, tracker)
}

/// [`spawn`] for a server that is a task of this program.
pub fn spawn_in_memory(
    config: &ChildConfig,
    router: &RouterConfig,
    tenancy: Tenancy,
    server: in_memory::Server,
    tracker: &TaskTracker,
) -> ChildHandle {
    let launcher = in_memory::Launcher { server, tracker: tracker.clone() };
    spawn_with(config, router, tenancy, launcher, tracker)
}

fn spawn_with(
    config: &ChildConfig,
    router: &RouterConfig,
    tenancy: Tenancy,
    launcher: impl Launch,
    tracker: &TaskTracker,
) -> ChildHandle {
    let program = config.command.first().map_or("", String::as_str);
    let name = Path::new(program).file_name().unwrap_or_default().to_string_lossy().into_owned();
    let (commands, inbox) = mpsc::channel(INBOX_COMMANDS_MAX);
    let (state_changes, state) = watch::channel(ChildState::Starting);
    let backlog = Arc::new(Backlog::new(config.queue_bytes_max, tenancy.metrics.clone()));
    // Not within the span of whoever it is started for: it may outlive them.
    let server = config.server.as_ref().map(tracing::field::display);
    // Of that level, since it says of every line which server it is about.
    let span = tracing::error_span!(parent: None, "child", server, number = tenancy.number, command = name);
    let shared = (inbox, Arc::clone(&backlog), state_changes);
    let (era, cache, metrics) = (tenancy.era.clone(), tenancy.cache.clone(), tenancy.metrics.clone());
    let actor = ChildActor::new(config, &name, router, launcher, tenancy, shared, tracker.clone());
    tracker.spawn(actor.run().instrument(span));
    let (entrance, queue_timeout, tracker) = (Entrance::default(), config.queue_timeout, tracker.clone());
    ChildHandle { inbox: commands, backlog, entrance, era, cache, state, queue_timeout, tracker, metrics }
}

impl ChildHandle {
    /// Attaches a session; from now on its deliveries go to `outbox`.
    ///
    /// # Errors
    /// [`Reject::ShuttingDown`] when the actor is gone.
    pub async fn attach(&self, session: SessionKey, profile: Profile, outbox: Arc<dyn Outbox>) -> Result<(), Reject> {
        let attach = ChildCommand::Attach { session, profile, outbox };
        self.inbox.send(attach).await.map_err(|_| Reject::ShuttingDown)
    }

    /// Hands a message over as [`ChildHandle::send`] does, if that can be done without waiting.
    ///
    /// # Errors
    /// It cannot; here is the message again.
    pub fn try_send(&self, from: Origin, message: Message) -> Result<(), Message> {
        let admission = self.admission_at_once(from.session, &message);
        let (Some(admission), Ok(slot)) = (admission, self.inbox.try_reserve()) else { return Err(message) };
        slot.send(ChildCommand::Message { from, message, admission });
        Ok(())
    }

    /// Hands a message over; for a request the outcome comes by the outbox, also when it is refused.
    /// Waits while the child's input is full, unless it is an answer to the child or cancels a request.
    ///
    /// # Errors
    /// [`Reject::QueueFull`] after `queue_timeout`, [`Reject::ShuttingDown`] when the actor is gone.
    ///
    /// # Cancel safety
    /// Cancelled before it returns, the message was not sent.
    pub async fn send(&self, from: Origin, message: Message) -> Result<(), Reject> {
        let enter = async {
            let free = self.admission_at_once(from.session, &message);
            // Kept until the actor has the message.
            let place = free.is_none().then(|| {
                let request = message.kind() == Kind::Request;
                let counted = request.then(|| self.metrics.one(Gauge::RequestsWaiting));
                (self.entrance.wait(from.session, &message), counted)
            });
            let admission = match free {
                Some(admission) => admission,
                None => self.backlog.admit(message.bytes().len()).await?,
            };
            let slot = self.inbox.reserve().await.ok()?;
            Some((admission, slot, place))
        };
        match timeout(self.queue_timeout, enter).await {
            Ok(Some((admission, slot, _place))) => {
                slot.send(ChildCommand::Message { from, message, admission });
                Ok(())
            }
            Ok(None) => Err(Reject::ShuttingDown),
            Err(_) => Err(Reject::QueueFull(self.queue_timeout).counted()),
        }
    }

    /// Room for a message that need not wait for any, or if there is some.
    fn admission_at_once(&self, session: SessionKey, message: &Message) -> Option<Admission> {
        let bytes = message.bytes().len();
        match self.entrance.way(session, message) {
            Way::AtOnce => Some(Admission::at_once(bytes)),
            Way::InTurn => self.backlog.try_admit(bytes),
        }
    }

    /// Detaches a session; never waits and cannot fail.
    pub fn detach(&self, session: SessionKey) {
        if let Err(mpsc::error::TrySendError::Full(detach)) = self.inbox.try_send(ChildCommand::Detach(session)) {
            let inbox = self.inbox.clone();
            // The actor is gone if this fails, and with it what was to be detached.
            let detach = async move { drop(inbox.send(detach).await) };
            self.tracker.spawn(detach.instrument(tracing::debug_span!("detach")));
        }
    }

    /// The era that the child is spoken to in; none while it is not known.
    pub fn era_if_known(&self) -> Option<Era> {
        self.era.era()
    }

    /// The era that the child is spoken to in. Known since the lease was given returned.
    pub fn era(&self) -> Era {
        self.era.era().unwrap_or_default()
    }

    /// What may be served again without asking the child; of a modern one only. Whoever is about to ask may look here first.
    /// What the child answers is put here, and what changes is dropped, without anybody's doing.
    pub const fn cache(&self) -> &ResponseCache {
        &self.cache
    }

    /// Waits until the era is known.
    ///
    /// # Cancel safety
    /// It only looks.
    pub async fn era_found(&self) -> Era {
        self.era.wait().await
    }

    /// The same child, to which nobody has spoken yet and nobody is attached, for somebody else than it was started for.
    #[must_use]
    pub fn retuned(&self, sharing: Sharing, era: EraSource) -> Self {
        // An error means that the actor is gone, or has more to do than a child to which nobody has spoken ever has.
        let _ = self.inbox.try_send(ChildCommand::Retune(sharing, era.clone()));
        Self { era, ..self.clone() }
    }

    /// How the child is doing, and every change.
    pub fn state(&self) -> watch::Receiver<ChildState> {
        self.state.clone()
    }

    /// Stops the child and waits until it is gone: stdin closed, SIGTERM, SIGKILL, each after the stop timeout. What is
    /// answered meanwhile is delivered; everything else is settled with [`Reject::ShuttingDown`].
    ///
    /// # Cancel safety
    /// Cancelled after its first wait, the child is stopped all the same.
    pub async fn stop(&self) {
        self.end(ChildCommand::Stop).await;
    }

    /// As [`ChildHandle::stop`], but the child's whole group gets SIGKILL at once, also when it is being stopped already.
    pub async fn kill(&self) {
        self.end(ChildCommand::Kill).await;
    }

    async fn end(&self, command: ChildCommand) {
        let mut state = self.state.clone();
        // An error in either means that the actor is gone already.
        if self.inbox.send(command).await.is_ok() {
            let _ = state.wait_for(|state| *state == ChildState::Stopped).await;
        }
    }

    /// How much the actor keeps; none when it is gone.
    pub async fn stats(&self) -> Option<Stats> {
        let (stats, answer) = oneshot::channel();
        self.inbox.send(ChildCommand::Stats(stats)).await.ok()?;
        answer.await.ok()
    }
}
