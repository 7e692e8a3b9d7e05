//! Who sees to a server: starts it, lets it fall asleep, tries again what failed, and stops what is served no more.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{Instant, sleep, sleep_until};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::{Span, debug, error, error_span, info};

use super::Loss;
use super::server::{Phase, Server};
use super::service::Service;
use super::starts::{Attempt, Starts};
use crate::child::ChildGuard;
#[cfg(test)]
use crate::child::in_memory;
#[cfg(test)]
use crate::config::ServerName;
use crate::config::{Arrangement, OnChildExit, ServerConfig, Start};
use crate::session::UnreadTotal;

/// What servers are started with.
#[derive(Clone, Debug)]
pub(super) struct Means {
    pub(super) backing: Backing,
    /// What the clients of all of them leave unread.
    pub(super) unread: UnreadTotal,
    /// Places for those that may be starting.
    pub(super) starts: Starts,
    /// How long requests in flight may go on where a server is stopped.
    pub(super) drain_timeout: Duration,
    /// The program stops, and so do all servers, by its own sequence.
    pub(super) closing: CancellationToken,
    pub(super) tracker: TaskTracker,
}

/// What children are.
#[derive(Clone)]
pub(super) enum Backing {
    /// Processes, with this guard.
    Processes(ChildGuard),
    /// Tasks of this program.
    #[cfg(test)]
    Tasks(Arc<dyn Fn(&ServerName) -> in_memory::Server + Send + Sync>),
    /// There can be none.
    Nothing,
}

impl fmt::Debug for Backing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Processes(_) => "Processes",
            #[cfg(test)]
            Self::Tasks(_) => "Tasks",
            Self::Nothing => "Nothing",
        })
    }
}

/// How a server came to its end for now.
enum Ending {
    /// Nobody needed it.
    Unused,
    /// It does not work (any more).
    Lost(Loss),
    /// It is in the configuration no more, or the program stops.
    Over,
}

/// Sees to `server` until it is over. `before` are those of its name that are served no more and may still hold what it needs.
/// `lost` is told if the program is not to go on without it.
pub(super) async fn keep(
    server: Arc<Server>,
    mut before: Vec<Arc<Server>>,
    arrangement: Arrangement,
    means: Means,
    lost: watch::Sender<Option<Loss>>,
) {
    let Some(config) = server.config().cloned() else { return };
    let named = arrangement == Arrangement::Several;
    let (mut backoff, mut attempt) = (BACKOFF_MIN, Attempt::First);
    let mut asleep = config.start == Start::OnDemand;
    loop {
        if asleep {
            tokio::select! {
                biased;
                () = server.over() => break,
                () = server.wanted() => {}
            }
        }
        let turn = tokio::select! {
            biased;
            () = server.over() => break,
            turn = means.starts.turn(attempt, server.wanted()) => turn,
        };
        before.retain(|before| !before.is_gone());
        let span = if named { error_span!("server", name = %server.name()) } else { Span::none() };
        let Some(service) = span.in_scope(|| Service::start(config.clone(), &means)) else { return };
        let service = Arc::new(service);
        if !server.rise(&service) {
            server.turn(Phase::Leaving(Arc::clone(&service)));
            service.retire(|| false, Duration::ZERO).await;
            break;
        }
        let first = tokio::select! {
            biased;
            () = server.over() => Err(Ending::Over),
            first = service.pool.first() => first.map_err(|error| Ending::Lost(Loss::of(error))),
        };
        drop(turn);
        attempt = if first.is_ok() { Attempt::First } else { Attempt::Again };
        let ending = match first {
            Ok(()) => {
                if named {
                    info!(server = %server.name(), "the server is started");
                }
                server.work();
                before.clear();
                backoff = BACKOFF_MIN;
                serve(&server, &service, &config).await
            }
            Err(ending) => ending,
        };
        match ending {
            // Whoever stops the program stops its children and sessions, in an order of its own.
            Ending::Over if !server.is_dismissed() => return,
            Ending::Over => {
                server.turn(Phase::Leaving(Arc::clone(&service)));
                service.retire(|| server.is_visited(), means.drain_timeout).await;
                info!(server = %server.name(), "the server is stopped");
                break;
            }
            Ending::Unused => {
                info!(server = %server.name(), "the server is stopped, since nobody uses it; it is started again when somebody comes");
                asleep = true;
                service.retire(|| false, Duration::ZERO).await;
                server.turn(Phase::Asleep);
            }
            Ending::Lost(loss) => {
                if arrangement == Arrangement::Single || config.child.on_exit == OnChildExit::Exit {
                    server.show(Err(loss.clone()));
                    lost.send_replace(Some(loss));
                    return;
                }
                let until = Instant::now() + backoff;
                error!(
                    server = %server.name(), retry_after = ?backoff, error = loss.text(),
                    "the server cannot be used; the others go on"
                );
                server.turn(Phase::Stopping(Arc::clone(&service)));
                service.retire(|| false, Duration::ZERO).await;
                server.fail(loss, until);
                match rest(&server, until, &before).await {
                    Rested::Whole => backoff = (backoff * 2).min(BACKOFF_MAX),
                    Rested::NewlyAlone => {
                        info!(server = %server.name(), "the server is tried again, since the one before it is gone");
                        before.clear();
                        (backoff, attempt) = (BACKOFF_MIN, Attempt::First);
                    }
                    Rested::Over => break,
                }
                asleep = config.start == Start::OnDemand;
                server.turn(if asleep { Phase::Asleep } else { Phase::Waiting });
            }
        }
    }
    server.turn(Phase::Over);
    debug!(server = %server.name(), "the server is over");
}

/// How the wait of a server ended that could not be started.
enum Rested {
    /// It was as long as it was to be.
    Whole,
    /// Those before it are gone, which may have been what was in its way: a port, a file that is locked.
    NewlyAlone,
    /// The server is needed no more.
    Over,
}

/// Until a server is to be tried again.
async fn rest(server: &Server, until: Instant, before: &[Arc<Server>]) -> Rested {
    let gone = async {
        for before in before {
            before.gone().await;
        }
    };
    tokio::select! {
        biased;
        () = server.over() => Rested::Over,
        () = gone, if !before.is_empty() => Rested::NewlyAlone,
        () = sleep_until(until) => Rested::Whole,
    }
}

/// Until the server is needed no more, or cannot be used any more.
async fn serve(server: &Server, service: &Arc<Service>, config: &ServerConfig) -> Ending {
    tokio::select! {
        biased;
        () = server.over() => Ending::Over,
        error = service.pool.lost() => Ending::Lost(Loss::of(error)),
        () = unused(server, service, config.idle_timeout) => Ending::Unused,
    }
}

/// Resolves when nobody has used the server for so long, and it has fallen asleep.
async fn unused(server: &Server, service: &Arc<Service>, idle_timeout: Option<Duration>) {
    let Some(idle_timeout) = idle_timeout else { return std::future::pending().await };
    let period = (idle_timeout / 4).clamp(LOOK_PERIOD_MIN, LOOK_PERIOD_MAX);
    let (mut since, mut begun) = (Instant::now(), server.visits_begun());
    loop {
        sleep(period).await;
        let now = Instant::now();
        if server.visits_begun() != begun || server.is_visited() || !service.is_unused() {
            (since, begun) = (now, server.visits_begun());
        } else if now.duration_since(since) >= idle_timeout && server.fall_asleep(service) {
            return;
        }
    }
}

/// The wait before a server is tried again that could not be started; twice as long each time.
const BACKOFF_MIN: Duration = Duration::from_secs(2);
const BACKOFF_MAX: Duration = Duration::from_secs(120);
/// How often an idle server is looked at.
const LOOK_PERIOD_MIN: Duration = Duration::from_millis(50);
const LOOK_PERIOD_MAX: Duration = Duration::from_secs(15);
