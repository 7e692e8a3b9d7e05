//! One server, whether it is started or not.

use std::ops::Deref;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use tokio::sync::{Notify, watch};
use tokio::time::{Instant, timeout};
use tokio_util::sync::CancellationToken;

use super::Loss;
use super::service::Service;
use crate::config::{ChildConfig, ServerConfig, ServerName, Start};
use crate::error::Reject;
use crate::metrics::ServerMetrics;
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
    /// They last as long as it is configured, also while it is not started.
    _metrics: ServerMetrics,
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

/// A request that is being answered by a server, which stays started all the time.
#[derive(Debug)]
pub struct Visit {
    server: Arc<Server>,
    service: Arc<Service>,
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
        Arc::new(Self::with(name, None, Phase::Up(service), Some(Ok(())), CancellationToken::new(), metrics))
    }

    fn with(
        name: ServerName,
        config: Option<ServerConfig>,
        phase: Phase,
        shown: Option<Result<(), Loss>>,
        over: CancellationToken,
        metrics: ServerMetrics,
    ) -> Self {
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
            _metrics: metrics,
        }
    }

    /// What it is called.
    pub const fn name(&self) -> &ServerName {
        &self.name
    }

    /// What it was configured as.
    pub(super) const fn config(&self) -> Option<&ServerConfig> {
        self.config.as_ref()
    }

    /// Whether this configuration would make the same one.
    pub(super) fn is(&self, config: &ServerConfig) -> bool {
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

    /// Pays it a visit; it is started for that if it has to be.
    ///
    /// # Errors
    /// [`Reject::CircuitOpen`]: it could not be started just now. [`Reject::ChildUnavailable`]: it was not started within its
    /// `--queue-timeout`, since others are to be started first. [`Reject::ShuttingDown`]; [`Reject::NotFound`] for one that
    /// was taken out of the configuration.
    ///
    /// # Cancel safety
    /// Cancelled, it may be started for nobody.
    pub async fn visit(self: &Arc<Self>) -> Result<Visit, Reject> {
        if let Some(visit) = self.enter()? {
            return Ok(visit);
        }
        let queue_timeout = self.config.as_ref().map_or(Duration::ZERO, |config| config.pool.queue_timeout);
        let late = || {
            let why = "it was not started in time, since others are starting or it is still being stopped";
            Reject::ChildUnavailable(why.to_owned())
        };
        let _waiting = Waiting::of(&self.waiting);
        let coming = async {
            let mut phase = self.phase.subscribe();
            loop {
                phase.borrow_and_update();
                if let Some(visit) = self.enter()? {
                    return Ok(visit);
                }
                self.wanted.notify_one();
                phase.changed().await.map_err(|_| Reject::ShuttingDown)?;
            }
        };
        timeout(queue_timeout, coming).await.unwrap_or_else(|_| Err(late()))
    }

    fn enter(self: &Arc<Self>) -> Result<Option<Visit>, Reject> {
        // Whoever lets it fall asleep holds the other side of this lock.
        match &*self.phase.borrow() {
            Phase::Up(service) => {
                self.visits.fetch_add(1, Ordering::Relaxed);
                self.visits_begun.fetch_add(1, Ordering::Relaxed);
                Ok(Some(Visit { server: Arc::clone(self), service: Arc::clone(service) }))
            }
            Phase::Asleep | Phase::Waiting | Phase::Stopping(_) => Ok(None),
            Phase::Failed(until) => {
                let retry_after = until.saturating_duration_since(Instant::now());
                if retry_after.is_zero() { Ok(None) } else { Err(Reject::CircuitOpen { retry_after }) }
            }
            Phase::Leaving(_) | Phase::Over if self.is_dismissed() => Err(Reject::NotFound),
            Phase::Leaving(_) | Phase::Over => Err(Reject::ShuttingDown),
        }
    }

    // --- its keeper's ---

    /// Is started; not if it is over by now.
    pub(super) fn rise(&self, service: &Arc<Service>) -> bool {
        // Whoever ends it says so first and then looks whether it is started, through this lock.
        self.phase.send_if_modified(|phase| {
            let rises = !self.over.is_cancelled();
            if rises {
                *phase = Phase::Up(Arc::clone(service));
            }
            rises
        })
    }

    /// Goes over to another phase.
    pub(super) fn turn(&self, phase: Phase) {
        self.phase.send_replace(phase);
    }

    /// Begins to stop, unless somebody needs it now.
    pub(super) fn fall_asleep(&self, service: &Arc<Service>) -> bool {
        self.phase.send_if_modified(|phase| {
            let sleeps = self.visits.load(Ordering::Relaxed) == 0 && service.is_unused();
            if sleeps {
                *phase = Phase::Stopping(Arc::clone(service));
            }
            sleeps
        })
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

    /// Resolves when its first start has shown whether it works; at once for one that is started on demand.
    pub(super) async fn shown(&self) -> Result<(), Loss> {
        let mut shown = self.shown.subscribe();
        // The sender is a field of this very struct.
        let shown = shown.wait_for(Option::is_some).await.map_or(None, |shown| shown.clone());
        shown.unwrap_or(Err(Loss::Bug))
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

/// Somebody who waits for a server to be started.
struct Waiting<'a>(&'a AtomicUsize);

impl<'a> Waiting<'a> {
    fn of(waiting: &'a AtomicUsize) -> Self {
        waiting.fetch_add(1, Ordering::Release);
        Self(waiting)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Release);
    }
}

impl Visit {
    /// What serves it, for as long as that may be.
    pub fn service(&self) -> &Arc<Service> {
        &self.service
    }

    /// The server's name.
    pub fn name(&self) -> &ServerName {
        &self.server.name
    }
}

impl Deref for Visit {
    type Target = Service;

    fn deref(&self) -> &Service {
        &self.service
    }
}

impl Drop for Visit {
    fn drop(&mut self) {
        self.server.visits.fetch_sub(1, Ordering::Relaxed);
    }
}
