//! A child that is a task of this program: its pipes are in memory, and no process is started.
//!
//! For whoever tests the layers above with a server of their own, thousands of times a second. To the actor it is a process
//! like any other: it exits when its task ends, and is killed by dropping that.

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;

use tokio::io::{DuplexStream, duplex, empty};
use tokio::sync::{oneshot, watch};
use tokio_util::task::TaskTracker;
use tracing::Instrument as _;

use super::lookup::SpawnError;
use super::process::{Launch, Process};
use super::supervisor::{EndedBy, Exit, Liveness, Order};

/// The server's side of its pipes.
#[derive(Debug)]
pub struct Pipes {
    /// What it reads; at its end it is to stop.
    pub stdin: DuplexStream,
    /// What it writes.
    pub stdout: DuplexStream,
}

/// Makes servers.
#[derive(Clone)]
pub struct Server(Arc<Serve>);

type Serve = dyn Fn(Pipes) -> Pin<Box<dyn Future<Output = ()> + Send>> + Send + Sync;

impl Server {
    /// `serve` is called for each child that is started.
    pub fn new<F>(serve: impl Fn(Pipes) -> F + Send + Sync + 'static) -> Self
    where
        F: Future<Output = ()> + Send + 'static,
    {
        Self(Arc::new(move |pipes| Box::pin(serve(pipes))))
    }
}

impl fmt::Debug for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Server").finish_non_exhaustive()
    }
}

/// Starts such servers.
pub(super) struct Launcher {
    pub(super) server: Server,
    pub(super) tracker: TaskTracker,
}

impl Launch for Launcher {
    fn launch(&mut self) -> Result<Process, SpawnError> {
        let (stdin, server_stdin) = duplex(PIPE_BYTES);
        let (stdout, server_stdout) = duplex(PIPE_BYTES);
        let (orders, mut received) = watch::channel(Order::Run);
        let (exited, exit) = oneshot::channel();
        let served = (self.server.0)(Pipes { stdin: server_stdin, stdout: server_stdout });
        let supervise = async move {
            let killed = async {
                // An error means that nobody is left to give orders, which is one.
                let _ = received.wait_for(|order| *order == Order::Kill).await;
            };
            let (status, ended_by) = tokio::select! {
                biased;
                () = served => ("exit status: 0", EndedBy::Itself),
                () = killed => ("killed", EndedBy::Ladder),
            };
            // Nobody may be there any more to be told.
            let _ = exited.send(Exit { status: status.to_owned(), exit_code: None, signal: None, ended_by });
        };
        self.tracker.spawn(supervise.instrument(tracing::info_span!(parent: None, "remote")));
        let (stdin, stdout, stderr) = (Box::new(stdin), Box::new(stdout), Box::new(empty()));
        Ok(Process { pid: 0, liveness: |_| Liveness::Exiting, stdin, stdout, stderr, orders, exit })
    }
}

/// As much as a pipe usually holds.
const PIPE_BYTES: usize = 64 * 1024;
