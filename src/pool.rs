//! Who gets which child.
//!
//! Whoever needs a child (a session, a stateless exchange) takes a [`Lease`] and holds it until it has done with it; it
//! stays with its child all that time. What a child is to those who come is decided by the isolation:
//!
//! | isolation | children | who shares one | how many |
//! |---|---|---|---|
//! | `shared` | started at once | everybody; a new lease goes to the least loaded | `--pool` |
//! | `principal` | started with a principal's first lease | the leases of one principal | `--children-max` |
//! | `session` | started with the lease, or ahead of it as a spare | nobody | `--children-max` |
//!
//! Where there is a limit, each child holds a place from its start until its process is gone. A lease that needs a place
//! waits for it in the order of arrival, for `--queue-timeout`; what is unused is stopped to make room for it.
//!
//! Invariants: never more children than places; a lease given up while it waits takes nothing and loses nothing; a child
//! that is being stopped is given to nobody; after [`Pool::stop`] nothing is started.
//!
//! One short lock around plain data (`members`); starting and stopping are tasks. DESIGN sections 4 and 7.

mod finding;
mod health;
mod lease;
mod members;
mod outlook;
mod report;
mod tasks;
mod tenant;
#[cfg(test)]
pub(crate) mod testing;
#[cfg(test)]
mod tests;
mod upkeep;

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use http::HeaderMap;
use tokio::runtime::Handle;
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore, watch};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::{debug, info};

use self::finding::Ask;
pub use self::health::{Health, Standing};
pub use self::lease::Lease;
use self::members::{Members, Whose};
use self::outlook::{Outlook, Weight};
pub use self::report::{ChildReport, Report, Tenancy as ReportedTenancy};
pub use self::tasks::TaskNews;
use self::tasks::Tasks;
pub use self::tenant::Tenant;
pub(crate) use self::tenant::absent;
use self::upkeep::Ladder;
use crate::auth::{Admission, Principal};
use crate::child::in_memory::Server;
use crate::child::probe::{Probe, Question};
use crate::child::{
    self, ChildGuard, ChildHandle, ChildState, EraSource, Eras, Known, LastExit, OwnVariables, Tenancy,
};
use crate::config::{ChildConfig, Isolation, PoolConfig, RouterConfig, SessionMode};
use crate::error::{Reject, StartupError};
use crate::mcp::Era;
use crate::metrics::ServerMetrics;
use crate::router::Sharing;
use crate::router::cache::ResponseCache;
use crate::telemetry::watermark::Watermark;

/// Starts a child.
type Spawn = Box<dyn Fn(Tenancy) -> ChildHandle + Send + Sync>;

/// The children, and who has which.
pub struct Pool {
    config: PoolConfig,
    /// What a child is that is one session's.
    sharing: Sharing,
    spawn: Spawn,
    /// Which eras the command speaks, as far as that is known.
    eras: Eras,
    cache: ResponseCache,
    metrics: ServerMetrics,
    last_exit: LastExit,
    outlook: Arc<Outlook>,
    /// The places that are free, and who waits for one.
    places: Arc<Semaphore>,
    places_max: usize,
    watermark: Watermark,
    state: Mutex<State>,
    /// Tells those who wait that a principal has a child now.
    arrived: Notify,
    /// Tells that somebody waits for a place and nothing here can make room.
    crowded: Notify,
    /// Tells who watches over them that there are other tasks.
    tasks_changed: Notify,
    closing: CancellationToken,
    tracker: TaskTracker,
    /// Leases end wherever they are dropped.
    runtime: Handle,
}

#[derive(Debug, Default)]
struct State {
    members: Members,
    /// How many wait for a place, and for whom.
    waiting: HashMap<Principal, usize>,
    tasks: Tasks,
    stock: Stock,
    closed: bool,
}

/// Whether spares are kept.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Stock {
    /// As many as there are to be.
    #[default]
    Kept,
    /// Nobody came for so long that they were stopped; with the next session they come back.
    Dissolved,
    /// The command does not start without what a client brings, which a spare cannot have.
    Useless,
}

impl fmt::Debug for Pool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pool").field("config", &self.config).finish_non_exhaustive()
    }
}

impl Pool {
    /// Starts the children that are to be there before anybody comes, or, where none are, one on trial: a command that
    /// does not work is to be found now. Must be called within a tokio runtime. With `sessions`, a child of one
    /// session's own gets that session's handshake; without, no handshake ever comes, and mcp-mux makes it itself.
    pub fn start(
        config: PoolConfig,
        sessions: SessionMode,
        child: ChildConfig,
        router: RouterConfig,
        guard: ChildGuard,
        (metrics, tracker): (ServerMetrics, &TaskTracker),
    ) -> Arc<Self> {
        let sharing = sharing(config.isolation, sessions);
        let (tasks, era) = (tracker.clone(), child.era);
        let probe = Probe::new(&child, absent(&config.header_env), guard.clone(), tracker);
        let ask: Ask = Box::new(move || {
            let probe = probe.clone();
            Box::pin(async move { probe.ask(Question::Initialize).await })
        });
        let spawn = move |tenancy| child::spawn(&child, &router, tenancy, guard.clone(), &tasks);
        let eras = era.map_or_else(Eras::unknown, Eras::said);
        Self::start_with(config, sharing, Box::new(spawn), eras, ask, (metrics, tracker))
    }

    /// [`Pool::start`] with servers that are tasks of this program. Their era must be said; it is legacy otherwise.
    pub fn start_in_memory(
        config: PoolConfig,
        sessions: SessionMode,
        child: ChildConfig,
        router: RouterConfig,
        server: Server,
        (metrics, tracker): (ServerMetrics, &TaskTracker),
    ) -> Arc<Self> {
        let sharing = sharing(config.isolation, sessions);
        let eras = Eras::said(child.era.unwrap_or_default());
        let nobody: Ask = Box::new(|| Box::pin(std::future::pending()));
        let tasks = tracker.clone();
        let spawn = move |tenancy| child::spawn_in_memory(&child, &router, tenancy, server.clone(), &tasks);
        Self::start_with(config, sharing, Box::new(spawn), eras, nobody, (metrics, tracker))
    }

    /// Nothing is asked where the eras are known.
    fn start_with(
        config: PoolConfig,
        sharing: Sharing,
        spawn: Spawn,
        eras: Eras,
        ask: Ask,
        (metrics, tracker): (ServerMetrics, &TaskTracker),
    ) -> Arc<Self> {
        announce(&config);
        let places_max = config.children_max.get().min(Semaphore::MAX_PERMITS);
        // A process that is one exchange's own is kept from others by a task; some are to be left for those.
        let tasks_keeping_max = if config.isolation == Isolation::Session { places_max / 2 } else { usize::MAX };
        let pool = Arc::new(Self {
            sharing,
            spawn,
            eras,
            cache: ResponseCache::new(config.cache_bytes),
            metrics,
            last_exit: LastExit::default(),
            outlook: Arc::new(Outlook::new()),
            places: Arc::new(Semaphore::new(places_max)),
            places_max,
            watermark: Watermark::new("--children-max", places_max, "sessions wait for one that ends"),
            state: Mutex::new(State { tasks: Tasks::new(config.bounds, tasks_keeping_max), ..State::default() }),
            arrived: Notify::new(),
            crowded: Notify::new(),
            tasks_changed: Notify::new(),
            closing: CancellationToken::new(),
            tracker: tracker.clone(),
            runtime: Handle::current(),
            config,
        });
        if pool.eras.known() == Known::Nothing {
            pool.run(pool.clone().find_eras(ask));
        }
        match pool.config.isolation {
            Isolation::Shared => {
                let mut state = pool.lock();
                pool.begin(&mut state, Whose::Everybody, pool.asking_manner(), OwnVariables::default(), None);
                for _ in 1..pool.config.size.get() {
                    pool.begin(&mut state, Whose::Everybody, pool.shared_manner(), OwnVariables::default(), None);
                }
            }
            Isolation::Principal | Isolation::Session => pool.run(pool.clone().try_command()),
        }
        pool.run(pool.clone().watch_tasks());
        if let Some(idle) = pool.config.idle_timeout {
            pool.run(pool.clone().stop_idle_ones(idle));
        }
        pool
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Runs a task that the stop waits for.
    pub(crate) fn run(&self, task: impl Future<Output = ()> + Send + 'static) {
        self.tracker.spawn_on(task, &self.runtime);
    }

    /// Somebody of whom this is the first request.
    ///
    /// # Errors
    /// [`Reject::InvalidRequest`]: one of the headers that become variables is there twice.
    pub fn tenant(&self, caller: &Admission, headers: &HeaderMap) -> Result<Tenant, Reject> {
        Tenant::new(caller, headers, &self.config)
    }

    /// Those of the server whose children these are.
    pub const fn metrics(&self) -> &ServerMetrics {
        &self.metrics
    }

    // --- the children ---

    fn begin(
        self: &Arc<Self>,
        state: &mut State,
        whose: Whose,
        (sharing, era): (Sharing, EraSource),
        variables: OwnVariables,
        place: Option<OwnedSemaphorePermit>,
    ) -> (u64, watch::Receiver<ChildState>) {
        let weight = match whose {
            Whose::Everybody => Some(Weight::Everything),
            Whose::Principal(..) | Whose::Session | Whose::Nobody => Some(Weight::Sessions),
            // Watched by who tries the command.
            Whose::Trial => None,
        };
        let number = state.members.next_number();
        debug!(child = number, ?whose, "starting a child");
        // Those that everybody shares are interchangeable; of others nobody knows what their processes have seen.
        let cache = self.cache.scoped(if whose == Whose::Everybody { 0 } else { number });
        let proof = self.outlook.proof().clone();
        let child = (self.spawn)(Tenancy {
            number,
            sharing,
            era,
            variables,
            cache,
            proof,
            metrics: self.metrics.clone(),
            last_exit: self.last_exit.clone(),
        });
        let states = child.state();
        if let Some(weight) = weight {
            let (outlook, watched) = (Arc::clone(&self.outlook), states.clone());
            self.run(async move {
                outlook.watch(watched, weight).await;
            });
        }
        state.members.insert(number, child, whose, place, Instant::now());
        self.watermark.observe(self.places_taken());
        (number, states)
    }

    /// How a child is spoken to that several share: a dual-era one as a modern one.
    fn shared_manner(&self) -> (Sharing, EraSource) {
        (Sharing::Shared, EraSource::new(self.eras.clone(), Era::Modern))
    }

    /// How a child of one tenant's own is spoken to: in the tenant's era where the command speaks that. The handshake is a
    /// session's own; an exchange has none.
    fn own_manner(&self, tenant: Era) -> (Sharing, EraSource) {
        let sharing = match tenant {
            Era::Legacy => self.sharing,
            Era::Modern => Sharing::Shared,
        };
        (sharing, EraSource::new(self.eras.clone(), tenant))
    }

    /// Has a child stopped that nobody uses.
    fn end(self: &Arc<Self>, state: &mut State, number: u64) {
        let Some(member) = state.members.end(number) else { return };
        debug!(child = number, whose = ?member.whose, "stopping a child");
        let (pool, child) = (self.clone(), member.child.clone());
        self.run(async move {
            child.stop().await;
            pool.gone(number);
        });
    }

    /// A child is gone, and its place is free.
    fn gone(self: &Arc<Self>, number: u64) {
        let member = self.lock().members.remove(number);
        self.cache.scoped(number).clear();
        drop(member);
        debug!(child = number, "child gone");
        self.watermark.observe(self.places_taken());
        self.stock_up(&mut self.lock());
    }

    fn places_taken(&self) -> usize {
        self.places_max.saturating_sub(self.places.available_permits())
    }

    // --- the whole ---

    /// Resolves when the command has shown that it works, or that it does not.
    ///
    /// # Errors
    /// [`StartupError::Child`]; [`StartupError::Bug`] if the task of a child is gone.
    pub async fn first(&self) -> Result<(), StartupError> {
        self.outlook.first().await
    }

    /// Resolves when the children cannot be used any more. With `shared` that is when one of them has failed for good; a
    /// child that was started for a client concerns nobody else.
    pub async fn lost(&self) -> StartupError {
        self.outlook.lost().await
    }

    /// How the children are doing. Where they are started on demand, nothing is in the way of another one, unless all those
    /// there are fail again and again.
    pub fn health(&self) -> Health {
        let state = self.lock();
        let health = state.members.health();
        let on_demand = match self.config.isolation {
            Isolation::Shared => state.members.count(&Whose::Everybody) < self.config.size.get(),
            Isolation::Principal | Isolation::Session => true,
        };
        let standing = if state.closed {
            Standing::Stopped
        } else if on_demand && self.outlook.is_good() {
            if state.members.are_open_circuits() { Standing::CircuitOpen } else { Standing::Ready }
        } else {
            health.standing
        };
        Health { standing, ..health }
    }

    /// Whether a task is remembered that may be running still.
    pub fn has_tasks(&self) -> bool {
        self.lock().tasks.next_end().is_some()
    }

    /// Stops all children at once, each by its own ladder, and waits until they are gone. No lease is given any more, and
    /// those who wait for one are sent away.
    ///
    /// # Cancel safety
    /// Cancelled after its first wait, the children are stopped all the same.
    pub async fn stop(&self) {
        self.finish(Ladder::Whole).await;
    }

    /// As [`Pool::stop`], but the children's groups get SIGKILL at once, also when they are being stopped already.
    pub async fn kill(&self) {
        self.finish(Ladder::Killed).await;
    }
}

/// What a child is that is one session's.
const fn sharing(isolation: Isolation, sessions: SessionMode) -> Sharing {
    match (isolation, sessions) {
        (Isolation::Session, SessionMode::Sessions) => Sharing::Private,
        (Isolation::Session, SessionMode::Stateless) | (Isolation::Shared | Isolation::Principal, _) => Sharing::Shared,
    }
}

/// Says what is served how.
fn announce(config: &PoolConfig) {
    let (warm, children_max) = (config.warm, config.children_max);
    match config.isolation {
        Isolation::Shared => info!(isolation = "shared", pool = config.size, "all clients share the server"),
        Isolation::Principal => info!(isolation = "principal", children_max, "each principal has a server process"),
        Isolation::Session => info!(isolation = "session", warm, children_max, "each session has a server process"),
    }
    if warm > 0 && !config.header_env.is_empty() {
        info!("sessions that bring a header of --header-env get a process of their own and none of the warm ones");
    }
}
