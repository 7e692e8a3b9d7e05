//! The stop sequence, and the signals that ask for it.
//!
//! Not ready and accepting no more; standing streams end; requests in flight may go on for the drain time; then the
//! child is stopped (its own ladder: stdin closed, SIGTERM, SIGKILL), the sessions are closed, and every task ends.
//! Each step is bounded, so a client that does not read or a child that does not exit cannot hold it up.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::{debug, error, info};

use crate::child::ChildHandle;
use crate::http::listener::Stop;
use crate::session::Registry;

/// What a stop has to do with.
#[derive(Debug)]
pub(crate) struct Parts {
    pub(crate) registry: Arc<Registry>,
    pub(crate) child: ChildHandle,
    /// The tasks of the connections.
    pub(crate) connections: TaskTracker,
    /// Every other task.
    pub(crate) tasks: TaskTracker,
    /// Ends the accept loop and the connections.
    pub(crate) stop: Stop,
    /// Ends what sweeps up expired sessions.
    pub(crate) sweeper: CancellationToken,
    pub(crate) drain_timeout: Duration,
}

/// Stops everything. When `hurry` resolves, requests in flight get no more time.
pub(crate) async fn stop(parts: Parts, hurry: impl Future<Output = ()>) {
    let Parts { registry, child, connections, tasks, stop, sweeper, drain_timeout } = parts;
    connections.close();
    tasks.close();
    stop.drain.cancel();
    registry.end_standing_streams();
    tokio::select! {
        drained = timeout(drain_timeout, connections.wait()) => match drained {
            Ok(()) => debug!("every request was answered"),
            Err(_) => info!("requests were still in flight after the drain time"),
        },
        () = hurry => {}
    }
    // The child before the sessions: what it answers while it is stopped still reaches the clients, and so does the
    // error for what it does not (that mcp-mux is stopping, not that their session is gone).
    child.stop().await;
    registry.close_all();
    sweeper.cancel();
    if timeout(FAREWELL_TIMEOUT, connections.wait()).await.is_err() {
        debug!("connections whose clients do not read are dropped");
    }
    stop.end.cancel();
    let ended = timeout(TASKS_TIMEOUT, async {
        connections.wait().await;
        tasks.wait().await;
    });
    match ended.await {
        Ok(()) => info!("stopped"),
        Err(_) => error!(connections = connections.len(), tasks = tasks.len(), "tasks did not end; leaving them"),
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

    /// The next signal that asks for a stop. The end of a terminal (SIGHUP) does not.
    ///
    /// # Cancel safety
    /// No signal is lost.
    pub(crate) async fn stop(&mut self) -> &'static str {
        loop {
            tokio::select! {
                _ = self.interrupt.recv() => return "SIGINT",
                _ = self.terminate.recv() => return "SIGTERM",
                _ = self.hangup.recv() => info!("SIGHUP ignored; SIGTERM stops mcp-mux"),
            }
        }
    }
}

const FAREWELL_TIMEOUT: Duration = Duration::from_secs(1);
/// Longer than any task waits for anything once its inbox is closed.
const TASKS_TIMEOUT: Duration = Duration::from_secs(5);
