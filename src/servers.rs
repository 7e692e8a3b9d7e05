//! Which servers there are, under which names, and how each of them is doing.
//!
//! A server is one command of the configuration with everything that is its own: its children, its sessions, how its
//! clients are answered. Each has a task that sees to it ([`keeper`]): starts it, at once or when somebody comes for the first time;
//! stops it when nobody has come for long; starts it again where it could not be started. Whoever serves a request pays the server a
//! [`Visit`], for which it is started if it has to be.
//!
//! Invariants: what becomes of one server touches no other; a server that somebody visits is not stopped for want of use;
//! after [`Servers::stop`] nothing is started.

mod changes;
mod keeper;
mod loss;
mod server;
mod service;
mod shared_timeout;
mod starts;
#[cfg(test)]
pub(crate) mod testing;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::future::pending;
use std::num::NonZeroUsize;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, RwLock};
use std::time::Duration;

use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

pub use self::changes::Changes;
use self::keeper::{Backing, Means};
use self::loss::Loss;
pub use self::server::{Condition, Server, Visit};
pub use self::service::Service;
pub(crate) use self::shared_timeout::SharedTimeout;
use self::starts::Starts;
use crate::child::ChildGuard;
use crate::config::{Arrangement, EndpointConfig, ServerName, ServersConfig, Unusable};
use crate::error::{Reject, StartupError};
use crate::pool::{Health, Pool, Standing};
use crate::session::{Registry, UnreadTotal};

/// All servers.
#[derive(Debug)]
pub struct Servers {
    arrangement: Arrangement,
    table: RwLock<BTreeMap<ServerName, Entry>>,
    /// The one that needs no name in its URLs.
    unnamed: OnceLock<ServerName>,
    /// Each that was there at the start has shown whether it works.
    settled: AtomicBool,
    /// Those that are served no more and whose children may be there still.
    leaving: Mutex<Vec<Arc<Server>>>,
    means: Means,
    /// Why the program cannot go on, since it depends on a server that is lost.
    lost: watch::Sender<Option<Loss>>,
}

/// A name of the configuration.
#[derive(Clone, Debug)]
pub enum Entry {
    /// That of a server.
    Served(Arc<Server>),
    /// That of something that is not served.
    Unserved(Unusable),
}

impl Servers {
    /// Starts those that are to be there at once, so many at a time as the configuration says. Must be called within a tokio
    /// runtime. What is started is on `tracker`.
    pub fn start(
        config: ServersConfig,
        guard: ChildGuard,
        drain_timeout: Duration,
        tracker: &TaskTracker,
    ) -> Arc<Self> {
        Self::start_with(config, Backing::Processes(guard), drain_timeout, tracker)
    }

    fn start_with(
        config: ServersConfig,
        backing: Backing,
        drain_timeout: Duration,
        tracker: &TaskTracker,
    ) -> Arc<Self> {
        let unread = config.servers.iter().map(|server| server.session.unread_total_bytes_max).max();
        let means = Means {
            backing,
            unread: UnreadTotal::new(unread.unwrap_or_default()),
            starts: Starts::new(config.starts_max),
            drain_timeout,
            closing: CancellationToken::new(),
            tracker: tracker.clone(),
        };
        let servers = Arc::new(Self::none(config.arrangement, means));
        servers.change(config);
        servers
    }

    fn none(arrangement: Arrangement, means: Means) -> Self {
        Self {
            arrangement,
            table: RwLock::default(),
            unnamed: OnceLock::new(),
            settled: AtomicBool::new(false),
            leaving: Mutex::default(),
            means,
            lost: watch::Sender::new(None),
        }
    }

    /// One alone, of these parts; nobody sees to it.
    pub fn of(endpoint: EndpointConfig, registry: Arc<Registry>, pool: Arc<Pool>) -> Arc<Self> {
        Self::made(Arrangement::Single, [(ServerName::unnamed(), Service::of(endpoint, registry, pool))])
    }

    /// Those that are served by these; nobody sees to them.
    pub(crate) fn made(
        arrangement: Arrangement,
        services: impl IntoIterator<Item = (ServerName, Service)>,
    ) -> Arc<Self> {
        let entry =
            |(name, service): (ServerName, Service)| (name.clone(), Entry::Served(Server::of(name, Arc::new(service))));
        let means = Means {
            backing: Backing::Nothing,
            unread: UnreadTotal::new(0),
            starts: Starts::new(NonZeroUsize::MIN),
            drain_timeout: Duration::ZERO,
            closing: CancellationToken::new(),
            tracker: TaskTracker::new(),
        };
        let table: BTreeMap<_, _> = services.into_iter().map(entry).collect();
        let servers = Self::none(arrangement, means);
        servers.choose_unnamed(&table);
        Arc::new(Self { table: RwLock::new(table), ..servers })
    }

    /// The server of that name.
    pub fn named(&self, name: &ServerName) -> Option<Arc<Server>> {
        let table = self.table.read().unwrap_or_else(PoisonError::into_inner);
        match table.get(name)? {
            Entry::Served(server) => Some(Arc::clone(server)),
            Entry::Unserved(_) => None,
        }
    }

    /// The server that needs no name: the first that ever was the only one. It stays that while it is in the configuration, whatever
    /// comes beside it, and after it no other takes its place: its clients would talk to a stranger.
    pub fn only(&self) -> Option<Arc<Server>> {
        self.named(self.unnamed.get()?)
    }

    /// Its name.
    pub fn unnamed(&self) -> Option<&ServerName> {
        self.unnamed.get()
    }

    /// Visits what is left of the servers of that name that are served no more, the last one first, to finish what they have. Whoever
    /// wants to begin something there is told `otherwise`.
    pub fn remains(&self, name: &ServerName, otherwise: &Reject) -> Vec<Visit> {
        let leaving = self.leaving();
        let named = leaving.iter().rev().filter(|server| server.name() == name);
        named.filter_map(|server| server.visit_remains(otherwise)).collect()
    }

    fn choose_unnamed(&self, table: &BTreeMap<ServerName, Entry>) {
        let mut served = table.iter().filter(|(_, entry)| matches!(entry, Entry::Served(_)));
        if let (Some((name, _)), None) = (served.next(), served.next()) {
            self.unnamed.get_or_init(|| name.clone());
        }
    }

    /// Every name, in order, with what it stands for.
    pub fn entries(&self) -> Vec<(ServerName, Entry)> {
        let table = self.table.read().unwrap_or_else(PoisonError::into_inner);
        table.iter().map(|(name, entry)| (name.clone(), entry.clone())).collect()
    }

    /// Those that are served no more and of which something is left.
    fn leaving(&self) -> MutexGuard<'_, Vec<Arc<Server>>> {
        let mut leaving = self.leaving.lock().unwrap_or_else(PoisonError::into_inner);
        leaving.retain(|server| !server.is_gone());
        leaving
    }

    /// Every server.
    pub fn all(&self) -> Vec<Arc<Server>> {
        let served = |(_, entry)| match entry {
            Entry::Served(server) => Some(server),
            Entry::Unserved(_) => None,
        };
        self.entries().into_iter().filter_map(served).collect()
    }

    /// How long any child of theirs may take to exit, for each of the two waits of its ladder.
    pub fn stop_timeout(&self) -> Duration {
        let mut servers = self.all();
        servers.extend_from_slice(&self.leaving());
        let timeouts = servers.iter().filter_map(|server| server.config()).map(|config| config.child.stop_timeout);
        timeouts.max().unwrap_or_default()
    }

    /// What every server is served by whose children may be there, also those that are served no more.
    pub fn services(&self) -> Vec<Arc<Service>> {
        let mut servers = self.all();
        servers.extend_from_slice(&self.leaving());
        servers.iter().filter_map(|server| server.service()).collect()
    }

    /// Resolves when each server that is started at once has shown whether it works, also those that came meanwhile. One that is
    /// started on demand is taken to work until it is found not to.
    ///
    /// # Errors
    /// None does, nor has any before: [`StartupError::Child`], [`StartupError::Servers`]; [`StartupError::Bug`] if the task of a
    /// child is gone.
    pub async fn first(&self) -> Result<(), StartupError> {
        let mut works = false;
        loop {
            let (servers, mut losses) = (self.all(), Vec::new());
            for server in &servers {
                match server.shown().await {
                    Some(Ok(())) => works = true,
                    Some(Err(loss)) => losses.push((server.name().clone(), loss)),
                    None => {}
                }
            }
            let now = self.all();
            if !now.iter().map(Arc::as_ptr).eq(servers.iter().map(Arc::as_ptr)) {
                continue;
            }
            return match (self.arrangement, losses.pop()) {
                (_, None) => Ok(()),
                (Arrangement::Several, Some(_)) if works => Ok(()),
                (Arrangement::Single, Some((_, loss))) => Err(loss.into_error()),
                (Arrangement::Several, Some(last)) => {
                    let losses = losses.into_iter().chain([last]);
                    Err(StartupError::Servers(losses.map(|(name, loss)| (name, loss.text().to_owned())).collect()))
                }
            };
        }
    }

    /// Resolves when each of several servers was tried and none works, however long that takes: see [`Servers::first`].
    pub async fn none_works(&self) -> StartupError {
        match (self.arrangement, self.first().await) {
            (Arrangement::Several, Err(error)) => error,
            // See [`Servers::lost`].
            (Arrangement::Single, Err(_)) | (_, Ok(())) => pending().await,
        }
    }

    /// Resolves when a server is lost without which the program is not to go on: the only one of a command line, or one with
    /// `--on-child-exit exit`.
    pub async fn lost(&self) -> StartupError {
        let mut lost = self.lost.subscribe();
        // The sender is a field of this very struct.
        let loss = lost.wait_for(Option::is_some).await.map_or(None, |loss| loss.clone());
        loss.unwrap_or(Loss::Bug).into_error()
    }

    /// How they are doing, taken together: whether requests can be answered. One that is started only for those who come is
    /// ready; one that cannot be started is in nobody's way as long as there is another.
    pub fn health(&self) -> Health {
        let all = self.all();
        // At the start they all are to have their chance. One that is started later, or again, is in nobody's way.
        let settled = self.settled.load(Ordering::Relaxed) || !all.iter().any(|server| server.is_open());
        self.settled.store(settled, Ordering::Relaxed);
        let healths: Vec<Health> = all.iter().filter_map(|server| server.health()).collect();
        let best = healths.iter().map(|health| health.standing).min();
        let standing = match best {
            Some(Standing::Ready) if !settled => Standing::Starting,
            Some(best) => best,
            None => Standing::Stopped,
        };
        let (ready, total) = (healths.iter().map(|health| health.ready), healths.iter().map(|health| health.total));
        Health { standing, ready: ready.sum(), total: total.sum() }
    }

    // --- the end ---

    /// For a stop: no session is opened any more, and nothing is started. See [`Registry::end_standing_streams`].
    pub fn end_standing_streams(&self) {
        self.means.closing.cancel();
        for service in self.services() {
            service.registry.end_standing_streams();
        }
    }

    /// Stops the children of all servers at once. See [`Pool::stop`].
    pub async fn stop(&self) {
        self.means.closing.cancel();
        self.of_each(|pool| async move { pool.stop().await }).await;
    }

    /// As [`Servers::stop`], but at once. See [`Pool::kill`].
    pub async fn kill(&self) {
        self.means.closing.cancel();
        self.of_each(|pool| async move { pool.kill().await }).await;
    }

    /// Does something to all pools at the same time.
    async fn of_each<F: Future<Output = ()> + Send + 'static>(&self, act: impl Fn(Arc<Pool>) -> F) {
        let services = self.services();
        let acts = services.iter().map(|service| self.means.tracker.spawn(act(Arc::clone(&service.pool))));
        for act in acts.collect::<Vec<_>>() {
            // A panic is in the log.
            let _ = act.await;
        }
    }

    /// Closes all sessions.
    pub fn close_all(&self) {
        for service in self.services() {
            service.close();
        }
    }
}
