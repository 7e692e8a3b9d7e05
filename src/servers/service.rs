//! What serves the clients of a server, from its start to its stop.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::debug;

use super::keeper::{Backing, Means};
use super::shared_timeout::SharedTimeout;
use crate::config::{EndpointConfig, ServerConfig};
use crate::era::state::Sealer;
use crate::metrics::ServerMetrics;
use crate::pool::Pool;
use crate::session::Registry;

/// The children and the sessions of a server, and how its clients are answered.
#[derive(Debug)]
pub struct Service {
    /// How.
    pub config: EndpointConfig,
    /// The sessions.
    pub registry: Arc<Registry>,
    /// The children.
    pub pool: Arc<Pool>,
    /// What makes a `requestState`, which no other server takes; none where the system has no randomness.
    pub sealer: Option<Arc<Sealer>>,
    /// How long an answer may become JSON still.
    pub json_for: SharedTimeout,
    sweeper: CancellationToken,
}

impl Service {
    /// Starts the children that are to be there before anybody comes. Its tasks end once it is closed. None where there can be no
    /// children.
    pub(super) fn start(config: ServerConfig, means: &Means) -> Option<Self> {
        let ServerConfig { name, endpoint, session, pool, child, router, .. } = config;
        let (sessions, tracker) = (endpoint.sessions, &means.tracker);
        let metrics = ServerMetrics::named(name.as_str());
        let pool = match &means.backing {
            Backing::Processes(guard) => Pool::start(pool, sessions, child, router, guard.clone(), (metrics, tracker)),
            #[cfg(test)]
            Backing::Tasks(server) => {
                Pool::start_in_memory(pool, sessions, child, router, server(&name), (metrics, tracker))
            }
            Backing::Nothing => return None,
        };
        let registry = Registry::new(session, Arc::clone(&pool), &means.unread);
        let service = Self::of(endpoint, registry, pool);
        service.sweep(tracker);
        Some(service)
    }

    /// Of these parts.
    pub(crate) fn of(config: EndpointConfig, registry: Arc<Registry>, pool: Arc<Pool>) -> Self {
        let (json_for, sweeper) = (SharedTimeout::new(config.sse_after), CancellationToken::new());
        Self { config, registry, pool, sealer: Sealer::random().ok().map(Arc::new), json_for, sweeper }
    }

    fn sweep(&self, tracker: &TaskTracker) {
        let (registry, until) = (Arc::clone(&self.registry), self.sweeper.clone());
        tracker.spawn(async move { registry.run(until).await });
    }

    /// Whether nobody would miss it: no session, nothing in flight, no task.
    pub(super) fn is_unused(&self) -> bool {
        self.registry.is_empty() && self.registry.parked().is_empty() && !self.pool.has_tasks()
    }

    /// Serves nobody any more: what is in flight may go on for `drain_timeout`, then the children are stopped.
    pub(super) async fn retire(&self, is_visited: impl Fn() -> bool, drain_timeout: Duration) {
        self.registry.end_standing_streams();
        let drained = async {
            while is_visited() || self.registry.in_flight() > 0 {
                sleep(DRAIN_PERIOD).await;
            }
        };
        let begin = Instant::now();
        if timeout(drain_timeout, drained).await.is_err() {
            debug!("requests were still in flight after the drain time");
        }
        self.pool.stop().await;
        self.close();
        debug!(after = ?begin.elapsed(), "the server is stopped");
    }

    /// Closes all sessions, and ends the tasks.
    pub(super) fn close(&self) {
        self.registry.close_all();
        self.sweeper.cancel();
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        self.sweeper.cancel();
    }
}

/// How often a server that is to stop is asked whether anything is in flight.
const DRAIN_PERIOD: Duration = Duration::from_millis(20);
