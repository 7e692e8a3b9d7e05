//! How everything is doing, for people: what the layers below say of themselves, put together, and what happened in the last
//! minutes.
//!
//! Separate from `metrics`, which is for programs: here are pids, clients' names and last words, and a memory of its own, so that
//! a page that is opened late has its charts filled.
//!
//! Invariants: looking costs the same however many look, since a look is good for a moment for all of them; nobody who serves a
//! client waits for it; everything has a bound.

pub mod history;
pub mod limit;
pub mod model;
pub mod program;

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::Serialize;
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use self::history::{History, PERIOD, SAMPLES_MAX, Totals};
use self::limit::Limit;
use self::model::{Recent, Requests, Server, Snapshot};
use self::program::{Program, worst};
use crate::child::memory::{self, Memory};
use crate::config::Unusable;
use crate::metrics::{self, Counter, Gauge};
use crate::servers::{Condition, Entry, Servers};
use crate::session::nearest;

/// What has been counted of the requests of the server of that name.
pub type Counting = Box<dyn Fn(&str) -> Totals + Send + Sync>;

/// How many connections there are, and how many there may be.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Occupancy {
    /// In all.
    pub all: (usize, usize),
    /// Of the address that has most, of those that may not have any number.
    pub of_address: (usize, usize),
}

/// Says how many connections clients have.
pub type Connections = Box<dyn Fn() -> Occupancy + Send + Sync>;

/// How everything is doing.
pub struct Status {
    servers: Arc<Servers>,
    counting: Counting,
    connections: Connections,
    started_unix_ms: u64,
    past: Mutex<Past>,
    /// The last look. Whoever comes while somebody looks waits for that.
    look: tokio::sync::Mutex<Option<(Instant, Arc<Snapshot>)>>,
    tracker: TaskTracker,
}

/// What happened in the last minutes.
#[derive(Debug, Default)]
struct Past {
    all: History,
    of_server: BTreeMap<String, History>,
}

/// What is sent: a look, and as much of the history as is new to who asks.
#[derive(Serialize)]
struct Answer<'a> {
    #[serde(flatten)]
    snapshot: &'a Snapshot,
    history: Recent,
}

impl fmt::Debug for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Status").finish_non_exhaustive()
    }
}

impl Status {
    /// Of these servers, as they are reached by those connections. What it needs threads for is on `tracker`.
    pub fn new(servers: Arc<Servers>, counting: Counting, connections: Connections, tracker: TaskTracker) -> Arc<Self> {
        let started_unix_ms = unix_ms();
        let (past, look) = (Mutex::default(), tokio::sync::Mutex::default());
        Arc::new(Self { servers, counting, connections, started_unix_ms, past, look, tracker })
    }

    /// Takes a sample from time to time, until `stop` is cancelled.
    pub async fn run(self: Arc<Self>, stop: CancellationToken) {
        let sampling = async {
            loop {
                sleep(PERIOD).await;
                self.sample();
            }
        };
        stop.run_until_cancelled(sampling).await;
    }

    fn lock(&self) -> MutexGuard<'_, Past> {
        self.past.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A period is over.
    fn sample(&self) {
        let names: Vec<_> = self.servers.all().iter().map(|server| server.name().to_string()).collect();
        let mut past = self.lock();
        past.of_server.retain(|name, _| names.contains(name));
        let mut all = Totals::default();
        for name in names {
            let totals = (self.counting)(&name);
            all = all.and(&past.of_server.entry(name).or_default().add(totals));
        }
        past.all.push(all);
    }

    /// Everything as JSON, with the samples from the number `since` on, of that server or of all together.
    pub async fn json(&self, server: Option<&str>, since: u64) -> String {
        let snapshot = self.snapshot().await;
        let history = self.recent(server, since);
        // Plain data is always JSON.
        serde_json::to_string(&Answer { snapshot: &snapshot, history }).unwrap_or_default()
    }

    fn recent(&self, server: Option<&str>, since: u64) -> Recent {
        let past = self.lock();
        let (first, samples) = match server {
            None => past.all.from(since),
            Some(name) => past.of_server.get(name).map(|history| history.from(since)).unwrap_or_default(),
        };
        let server = server.filter(|name| past.of_server.contains_key(*name)).map(str::to_owned);
        Recent { server, period_seconds: PERIOD.as_secs(), samples_max: SAMPLES_MAX, first, samples }
    }

    /// The last look, if it is fresh; a new one otherwise.
    ///
    /// # Cancel safety
    /// Cancelled, the next one looks.
    async fn snapshot(&self) -> Arc<Snapshot> {
        let mut look = self.look.lock().await;
        let now = Instant::now();
        if let Some((at, snapshot)) = &*look
            && now.saturating_duration_since(*at) < GOOD_FOR
        {
            return Arc::clone(snapshot);
        }
        let snapshot = Arc::new(self.look(now).await);
        *look = Some((now, Arc::clone(&snapshot)));
        snapshot
    }

    async fn look(&self, now: Instant) -> Snapshot {
        // A thread that was not to be had, or a panic, costs the figures.
        let memory = self.tracker.spawn_blocking(memory::look).await.unwrap_or_default();
        let until = now + ANSWER_TIMEOUT;
        let mut servers = Vec::new();
        let (mut unread, mut principal_sessions, mut principal_in_flight) = (None, None, None);
        for (name, entry) in self.servers.entries() {
            let name = name.to_string();
            let server = match &entry {
                Entry::Unserved(Unusable::Disabled) => Server::without_parts(name, "disabled", None),
                Entry::Unserved(Unusable::Invalid(why)) => Server::without_parts(name, "invalid", Some(why.clone())),
                Entry::Served(server) => {
                    let metrics = server.metrics();
                    let seen = Server {
                        waiting_bytes: u64::try_from(metrics.level(Gauge::StdinWaiting)).unwrap_or(0),
                        restarts: metrics.counted(Counter::ChildRestarts),
                        ..Server::without_parts(name, state(server.condition()), server.trouble())
                    };
                    match server.service() {
                        Some(service) => {
                            let sessions = service.registry.report(now);
                            unread = Some(sessions.unread_bytes);
                            // They are counted over all servers, but seen where there are sessions.
                            principal_sessions =
                                nearest([principal_sessions, sessions.principal_sessions].into_iter().flatten());
                            principal_in_flight =
                                nearest([principal_in_flight, sessions.principal_in_flight].into_iter().flatten());
                            seen.with_parts(service.pool.report(until).await, sessions, &memory, now)
                        }
                        None => seen,
                    }
                }
            };
            servers.push(self.with_requests(server));
        }
        let connections = (self.connections)();
        let mut limits = vec![
            Limit::new("connections-max", connections.all),
            Limit::new("connections-per-address-max", connections.of_address).of("fullest address"),
        ];
        let principals =
            [("principal-sessions-max", principal_sessions), ("principal-in-flight-max", principal_in_flight)];
        limits.extend(
            principals.into_iter().filter_map(|(name, used)| Some(Limit::new(name, used?).of("fullest principal"))),
        );
        limits.extend(unread.map(|unread| Limit::bytes("unread-total-bytes-max", unread)));
        let hits = metrics::limits_hit().map(|(limit, hits)| (limit.as_str(), hits)).collect();
        Snapshot { program: self.program(&servers, &memory), servers, limits, hits }
    }

    fn with_requests(&self, server: Server) -> Server {
        let past = self.lock();
        let history = past.of_server.get(&server.name);
        let requests = history.and_then(|history| Some(Requests::new(history.totals()?, history.outcomes())));
        Server { requests, ..server }
    }

    fn program(&self, servers: &[Server], memory: &Memory) -> Program {
        let standing = self.servers.health().standing.as_str();
        Program {
            version: env!("CARGO_PKG_VERSION"),
            pid: std::process::id(),
            started_unix_ms: self.started_unix_ms,
            now_unix_ms: unix_ms(),
            standing,
            worst: worst(servers, standing),
            enabled: servers.iter().filter(|server| server.is_enabled()).count(),
            failing: servers.iter().filter(|server| server.fails()).count(),
            memory_bytes: memory.own,
        }
    }
}

fn state(condition: Condition) -> &'static str {
    match condition {
        Condition::Asleep => "asleep",
        Condition::Waiting => "waiting",
        Condition::Started(health) => health.standing.as_str(),
        Condition::Stopping => "stopping",
        Condition::Failed => "failed",
        Condition::Over => "over",
    }
}

fn unix_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

/// For how long a look is good for whoever comes.
const GOOD_FOR: Duration = Duration::from_millis(900);
/// How long all children together are waited for. They answer at once, or are busy.
const ANSWER_TIMEOUT: Duration = Duration::from_millis(250);

#[cfg(test)]
mod tests;
