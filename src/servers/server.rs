//! One server, whether it is started or not.

mod visit;

use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::{Notify, watch};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

pub use self::visit::Visit;
use super::Loss;
use super::service::Service;
use crate::config::{ChildConfig, ServerConfig, ServerName, Start};
use crate::metrics::{Gauge, Portion, ServerMetrics};
use crate::pool::{Health, Standing};

/// A server.
#[derive(Debug)]
pub struct Server {
    name: ServerName,
    /// None of one whose parts were made by somebody else.
    config: Option<ServerConfig>,
    phase: watch::Sender<Phase>,
    /// Whether it works, as far as its first start has shown.
    shown: watch::Sender<Option<Result<(), Loss>>>,
    /// Somebody came while it was not started.
    wanted: Notify,
    /// How many wait for it to be started.
    waiting: AtomicUsize,
    /// How many visits there are.
    visits: AtomicUsize,
    /// How many there ever were.
    visits_begun: AtomicU64,
    /// It is served no more, or the program stops.
    over: CancellationToken,
    /// It is served no more.
    dismissed: AtomicBool,
    /// Why it did not work when it was tried last; none once it works.
    trouble: Mutex<Option<Loss>>,
    /// How far it is, for the metrics, which last as long as it is configured, also while it is not started.
    state: Mutex<Portion>,
    metrics: ServerMetrics,
}

/// How far it is.
#[derive(Clone, Debug)]
pub(super) enum Phase {
    /// It is started when somebody comes.
    Asleep,
    /// It is started when it is its turn.
    Waiting,
    /// Its children are starting, or there.
    Up(Arc<Service>),
    /// Its children are being stopped, be it because nobody needs them or because they do not work.
    Stopping(Arc<Service>),
    /// It could not be started, and is tried again from then on.
    Failed(Instant),
    /// It is served no more; what is in flight is answered.
    Leaving(Arc<Service>),
    /// It is served no more.
    Over,
}

/// How a server is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Condition {
    /// It is started when somebody comes.
    Asleep,
    /// It is started when others have been.
    Waiting,
    /// It is started; its children do as well as this.
    Started(Health),
    /// Its children are being stopped, until somebody comes or it is tried again.
    Stopping,
    /// It could not be started, and is tried again later.
    Failed,
    /// It is served no more.
    Over,
}

impl Server {
    pub(super) fn new(config: ServerConfig, over: CancellationToken) -> Arc<Self> {
        let (phase, shown) = match config.start {
            Start::AtOnce => (Phase::Waiting, None),
            Start::OnDemand => (Phase::Asleep, Some(Ok(()))),
        };
        let metrics = ServerMetrics::named(config.name.as_str());
        Arc::new(Self::with(config.name.clone(), Some(config), phase, shown, over, metrics))
    }

    /// One that is started.
    pub(super) fn of(name: ServerName, service: Arc<Service>) -> Arc<Self> {
        let metrics = service.pool.metrics().clone();
        let server = Self::with(name, None, Phase::Up(service), Some(Ok(())), CancellationToken::new(), metrics);
        server.work();
        Arc::new(server)
    }

    fn with(
        name: ServerName,
        config: Option<ServerConfig>,
        phase: Phase,
        shown: Option<Result<(), Loss>>,
        over: CancellationToken,
        metrics: ServerMetrics,
    ) -> Self {
        let state = metrics.one(phase.gauge());
        Self {
            name,
            config,
            phase: watch::Sender::new(phase),
            shown: watch::Sender::new(shown),
            wanted: Notify::new(),
            waiting: AtomicUsize::new(0),
            visits: AtomicUsize::new(0),
            visits_begun: AtomicU64::new(0),
            over,
            dismissed: AtomicBool::new(false),
            trouble: Mutex::default(),
            state: Mutex::new(state),
            metrics,
        }
    }

    /// What it is called.
    pub const fn name(&self) -> &ServerName {
        &self.name
    }

    /// What is counted of it, whether it is started or not.
    pub const fn metrics(&self) -> &ServerMetrics {
        &self.metrics
    }

    /// Why it did not work when it was tried last, perhaps with the last lines of its stderr; none of one that works.
    pub fn trouble(&self) -> Option<String> {
        let trouble = self.trouble.lock().unwrap_or_else(PoisonError::into_inner);
        trouble.as_ref().map(|loss| loss.text().to_owned())
    }

    /// What it was configured as.
    pub(super) const fn config(&self) -> Option<&ServerConfig> {
        self.config.as_ref()
    }

    /// Whether this configuration would make the same one.
    pub(crate) fn is(&self, config: &ServerConfig) -> bool {
        let Some(own) = &self.config else { return false };
        let child = ChildConfig { server: own.child.server.clone(), ..config.child.clone() };
        *own == ServerConfig { child, ..config.clone() }
    }

    /// What it is served by, if it is started.
    pub fn service(&self) -> Option<Arc<Service>> {
        match &*self.phase.borrow() {
            Phase::Up(service) | Phase::Stopping(service) | Phase::Leaving(service) => Some(Arc::clone(service)),
            Phase::Asleep | Phase::Waiting | Phase::Failed(_) | Phase::Over => None,
        }
    }

    /// How it is doing.
    pub fn condition(&self) -> Condition {
        match &*self.phase.borrow() {
            Phase::Asleep => Condition::Asleep,
            Phase::Waiting => Condition::Waiting,
            Phase::Up(service) => Condition::Started(service.pool.health()),
            Phase::Stopping(_) => Condition::Stopping,
            Phase::Failed(_) => Condition::Failed,
            Phase::Leaving(_) | Phase::Over => Condition::Over,
        }
    }

    /// How it is doing for whoever asks whether requests can be answered; none for one that is served no more.
    pub(super) fn health(&self) -> Option<Health> {
        let health = match self.condition() {
            Condition::Asleep => Health { standing: Standing::Ready, ..Health::NONE },
            Condition::Waiting | Condition::Stopping => Health { standing: Standing::Starting, ..Health::NONE },
            Condition::Started(health) => health,
            Condition::Failed => Health { standing: Standing::Failed, ..Health::NONE },
            Condition::Over => return None,
        };
        let on_demand = |config: &ServerConfig| config.start == Start::OnDemand || config.idle_timeout.is_some();
        let on_demand = self.config.as_ref().is_some_and(on_demand);
        let standing = match (health.standing, &*self.shown.borrow()) {
            // It has had its chance.
            (Standing::Starting, Some(Err(_))) => Standing::Failed,
            (Standing::Starting, Some(Ok(()))) if on_demand => Standing::Ready,
            (standing, _) => standing,
        };
        Some(Health { standing, ..health })
    }

    /// Whether its first start has not shown yet whether it works.
    pub(super) fn is_open(&self) -> bool {
        self.shown.borrow().is_none()
    }

    // --- its keeper's ---

    /// Is started; not if it is over by now.
    pub(super) fn rise(&self, service: &Arc<Service>) -> bool {
        // Whoever ends it says so first and then looks whether it is started, through this lock.
        let rises = self.phase.send_if_modified(|phase| {
            let rises = !self.over.is_cancelled();
            if rises {
                *phase = Phase::Up(Arc::clone(service));
            }
            rises
        });
        if rises {
            self.state().move_to(Gauge::ServerStarting);
        }
        rises
    }

    /// Its start has shown that it works.
    pub(super) fn work(&self) {
        *self.trouble.lock().unwrap_or_else(PoisonError::into_inner) = None;
        self.state().move_to(Gauge::ServerStarted);
        self.show(Ok(()));
    }

    /// It does not work, and is tried again from `until` on.
    pub(super) fn fail(&self, loss: Loss, until: Instant) {
        *self.trouble.lock().unwrap_or_else(PoisonError::into_inner) = Some(loss.clone());
        self.turn(Phase::Failed(until));
        self.show(Err(loss));
    }

    /// Goes over to another phase.
    pub(super) fn turn(&self, phase: Phase) {
        self.state().move_to(phase.gauge());
        self.phase.send_replace(phase);
    }

    fn state(&self) -> MutexGuard<'_, Portion> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Begins to stop, unless somebody needs it now.
    pub(super) fn fall_asleep(&self, service: &Arc<Service>) -> bool {
        let sleeps = self.phase.send_if_modified(|phase| {
            let sleeps = self.visits.load(Ordering::Relaxed) == 0 && service.is_unused();
            if sleeps {
                *phase = Phase::Stopping(Arc::clone(service));
            }
            sleeps
        });
        if sleeps {
            self.state().move_to(Gauge::ServerStopping);
        }
        sleeps
    }

    /// Whether somebody visits it.
    pub(super) fn is_visited(&self) -> bool {
        self.visits.load(Ordering::Relaxed) > 0
    }

    /// How many visits it ever had.
    pub(super) fn visits_begun(&self) -> u64 {
        self.visits_begun.load(Ordering::Relaxed)
    }

    /// Resolves when somebody waits for it to be started.
    pub(super) async fn wanted(&self) {
        // What is left of those who came for an earlier start wakes nobody.
        while self.waiting.load(Ordering::Acquire) == 0 {
            self.wanted.notified().await;
        }
    }

    /// Resolves when it is to be served no more, or the program stops.
    pub(super) async fn over(&self) {
        self.over.cancelled().await;
    }

    /// It is served no more.
    pub(super) fn dismiss(&self) {
        self.dismissed.store(true, Ordering::Relaxed);
        // Another one may have its name, and its place in the metrics.
        self.state().set(0);
        self.over.cancel();
    }

    /// Whether it is served no more, be the program stopping or not.
    pub(super) fn is_dismissed(&self) -> bool {
        self.dismissed.load(Ordering::Relaxed)
    }

    /// Whether nothing is left of it.
    pub(super) fn is_gone(&self) -> bool {
        matches!(&*self.phase.borrow(), Phase::Over)
    }

    /// Resolves when nothing is left of it.
    pub(super) async fn gone(&self) {
        let mut phase = self.phase.subscribe();
        // The sender is a field of this very struct.
        let _ = phase.wait_for(|phase| matches!(phase, Phase::Over)).await;
    }

    /// What its first start has shown.
    pub(super) fn show(&self, works: Result<(), Loss>) {
        self.shown.send_if_modified(|shown| {
            let news = shown.is_none();
            if news {
                *shown = Some(works);
            }
            news
        });
    }

    /// Resolves when its first start has shown whether it works; at once for one that is started on demand. None: it never will.
    pub(super) async fn shown(&self) -> Option<Result<(), Loss>> {
        let mut shown = self.shown.subscribe();
        tokio::select! {
            biased;
            // The sender is a field of this very struct.
            shown = shown.wait_for(Option::is_some) => shown.map_or(None, |shown| shown.clone()),
            () = self.over() => None,
        }
    }
}

impl Phase {
    /// The state that the metrics have for it.
    const fn gauge(&self) -> Gauge {
        match self {
            Self::Asleep => Gauge::ServerAsleep,
            Self::Waiting => Gauge::ServerWaiting,
            Self::Up(_) => Gauge::ServerStarting,
            Self::Stopping(_) | Self::Leaving(_) | Self::Over => Gauge::ServerStopping,
            Self::Failed(_) => Gauge::ServerFailed,
        }
    }
}

impl Condition {
    /// Its name for programs.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Asleep => "asleep",
            Self::Waiting => "waiting",
            Self::Started(health) => health.standing.as_str(),
            Self::Stopping => "stopping",
            Self::Failed => "failed",
            Self::Over => "stopped",
        }
    }
}
