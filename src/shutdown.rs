//! The stop sequence, and the signals that ask for it.
//!
//! Not ready and accepting no more; standing streams end; requests in flight may go on for the drain time; then the
//! children are stopped (each by its own ladder: stdin closed, SIGTERM, SIGKILL), the sessions are closed, and every task ends.
//! Each step is bounded, so a client that does not read or a child that does not exit cannot hold it up. A further signal
//! cuts the step short that is under way: the drain time, then the ladder.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::{debug, error, info};

use crate::http::listener::Stop;
use crate::servers::Servers;
use crate::telemetry::traces;

/// What a stop has to do with.
#[derive(Debug)]
pub(crate) struct Parts {
    pub(crate) servers: Arc<Servers>,
    /// The tasks of the connections.
    pub(crate) connections: TaskTracker,
    /// Every other task.
    pub(crate) tasks: TaskTracker,
    /// Ends the accept loop and the connections.
    pub(crate) stop: Stop,
    /// Ends what sweeps up expired sessions.
    pub(crate) sweeper: CancellationToken,
    pub(crate) drain_timeout: Duration,
    /// A child's, for each of the two waits of its ladder; of one that came later it may be longer.
    pub(crate) stop_timeout: Duration,
}

impl Parts {
    /// The longest that [`stop`] takes.
    pub(crate) fn stop_at_most(&self) -> Duration {
        let children = children_at_most(self.stop_timeout.max(self.servers.stop_timeout()));
        let end = FAREWELL_TIMEOUT + TASKS_TIMEOUT + traces::FLUSH_TIMEOUT;
        self.drain_timeout.saturating_add(children).saturating_add(end)
    }
}

/// How long the children may take to end.
const fn children_at_most(stop_timeout: Duration) -> Duration {
    stop_timeout.saturating_mul(2).saturating_add(LADDER_MARGIN)
}

/// Stops everything. `hurry` resolves when somebody asks for it: requests in flight get no more time then, and once the
/// children are being stopped, neither do those.
pub(crate) async fn stop(parts: Parts, mut hurry: impl AsyncFnMut()) {
    let Parts { servers, connections, tasks, stop, sweeper, drain_timeout, stop_timeout } = parts;
    let stop_timeout = stop_timeout.max(servers.stop_timeout());
    connections.close();
    tasks.close();
    stop.drain.cancel();
    servers.end_standing_streams();
    tokio::select! {
        drained = timeout(drain_timeout, connections.wait()) => match drained {
            Ok(()) => debug!("every request was answered"),
            Err(_) => info!("requests were still in flight after the drain time"),
        },
        () = hurry() => {}
    }
    // The children before the sessions: what they answer while they are stopped still reaches the clients, and so does
    // the error for what they do not (that mcp-mux is stopping, not that their session is gone).
    stop_children(&servers, stop_timeout, hurry).await;
    servers.close_all();
    sweeper.cancel();
    if timeout(FAREWELL_TIMEOUT, connections.wait()).await.is_err() {
        debug!("connections whose clients do not read are dropped");
    }
    stop.end.cancel();
    let ended = timeout(TASKS_TIMEOUT, async {
        connections.wait().await;
        tasks.wait().await;
    });
    let ended = ended.await;
    traces::end().await;
    match ended {
        Ok(()) => info!("stopped"),
        Err(_) => error!(connections = connections.len(), tasks = tasks.len(), "tasks did not end; leaving them"),
    }
}

/// Sees the children to their end, which nothing can if the kernel does not let them die.
async fn stop_children(servers: &Servers, stop_timeout: Duration, mut hurry: impl AsyncFnMut()) {
    let ended = timeout(children_at_most(stop_timeout), async {
        tokio::select! {
            () = servers.stop() => {}
            () = hurry() => servers.kill().await,
        }
    });
    if ended.await.is_err() {
        error!("the server did not end, though it was killed; leaving it");
    }
}

/// The signals that the program acts on, from the moment this exists.
#[derive(Debug)]
pub(crate) struct Signals {
    interrupt: Signal,
    terminate: Signal,
    hangup: Signal,
}

impl Signals {
    /// Takes the signals over.
    pub(crate) fn install() -> io::Result<Self> {
        Ok(Self {
            interrupt: signal(SignalKind::interrupt())?,
            terminate: signal(SignalKind::terminate())?,
            hangup: signal(SignalKind::hangup())?,
        })
    }

    /// What the next signal asks for. The end of a terminal (SIGHUP) does not ask for a stop.
    ///
    /// # Cancel safety
    /// No signal is lost.
    pub(crate) async fn next(&mut self) -> Wish {
        tokio::select! {
            _ = self.interrupt.recv() => Wish::Stop("SIGINT"),
            _ = self.terminate.recv() => Wish::Stop("SIGTERM"),
            _ = self.hangup.recv() => Wish::Reload,
        }
    }

    /// The next signal that asks for a stop.
    ///
    /// # Cancel safety
    /// No signal is lost.
    pub(crate) async fn stop(&mut self) -> &'static str {
        loop {
            match self.next().await {
                Wish::Stop(signal) => return signal,
                Wish::Reload => info!("SIGHUP ignored: stopping"),
            }
        }
    }
}

/// What a signal asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wish {
    /// To stop; the signal's name.
    Stop(&'static str),
    /// To read files again.
    Reload,
}

/// What a child's end takes beside the waits of its ladder: reading its last words, a moment to die.
const LADDER_MARGIN: Duration = Duration::from_secs(5);
const FAREWELL_TIMEOUT: Duration = Duration::from_secs(1);
/// Longer than any task waits for anything once its inbox is closed.
const TASKS_TIMEOUT: Duration = Duration::from_secs(5);

#[cfg(test)]
mod tests {

    use tokio::time::Instant;

    use super::*;
    use crate::child::ChildHandle;
    use crate::config::{Bounds, EndpointConfig, SessionMode};
    use crate::pool::Pool;
    use crate::session::{Registry, UnreadTotal};

    #[tokio::test(start_paused = true)]
    async fn a_child_that_never_ends_is_left_after_its_ladder_and_a_margin() {
        // Nobody takes what the handle asks for.
        let (child, _inbox) = ChildHandle::for_tests();
        let pool = Pool::of(child);
        let registry = Registry::new(crate::session::testing::config(), Arc::clone(&pool), &UnreadTotal::new(1));
        let endpoint = EndpointConfig {
            body_bytes_max: 1,
            body_timeout: Duration::ZERO,
            bounds: Bounds::default(),
            sse_after: Duration::ZERO,
            keep_alive: Duration::from_secs(1),
            sessions: SessionMode::Sessions,
        };
        let stop_timeout = Duration::from_secs(7);
        let parts = Parts {
            servers: Servers::of(endpoint, registry, pool),
            connections: TaskTracker::new(),
            tasks: TaskTracker::new(),
            stop: Stop::default(),
            sweeper: CancellationToken::new(),
            drain_timeout: Duration::ZERO,
            stop_timeout,
        };
        let end = FAREWELL_TIMEOUT + TASKS_TIMEOUT + traces::FLUSH_TIMEOUT;
        assert_eq!(parts.stop_at_most(), stop_timeout * 2 + LADDER_MARGIN + end);
        let begun = Instant::now();
        let mut signals = 0;
        stop(parts, async || {
            signals += 1;
            // The second one is never followed by a third.
            if signals > 1 {
                std::future::pending::<()>().await;
            }
        })
        .await;
        assert_eq!(begun.elapsed(), stop_timeout * 2 + LADDER_MARGIN);
    }
}
