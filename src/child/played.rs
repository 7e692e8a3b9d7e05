//! A whole child, with its actor and its router, whose process is played in memory: for tests of the layers above.

use serde_json::Value;
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::sync::{oneshot, watch};
use tokio_util::task::TaskTracker;

use super::lookup::SpawnError;
use super::process::{Launch, Process};
use super::scenarios::world::{child_config, router_config};
use super::supervisor::{Liveness, Order};
use super::{ChildHandle, EraSource, OwnVariables, Proof, Tenancy, spawn_with};
use crate::config::ChildConfig;
use crate::mcp::Era;
use crate::router::Sharing;
use crate::router::cache::ResponseCache;

/// A shared child of that era. `play` is given each line that its process reads, and says which ones it writes then.
pub(crate) fn playing(era: Era, play: impl FnMut(&Value) -> Vec<String> + Send + 'static) -> ChildHandle {
    let tracker = TaskTracker::new();
    let config =
        ChildConfig { line_bytes_max: 1 << 20, queue_bytes_max: 1 << 20, ..child_config(&["/usr/bin/played"]) };
    let tenancy = Tenancy {
        number: 1,
        era: EraSource::of(era),
        sharing: Sharing::Shared,
        variables: OwnVariables::default(),
        cache: ResponseCache::new(1 << 20),
        proof: Proof::default(),
    };
    let launcher = Player { play: Some(play), tracker: tracker.clone() };
    spawn_with(&config, &router_config(), tenancy, launcher, &tracker)
}

/// Starts the process once.
struct Player<P> {
    play: Option<P>,
    tracker: TaskTracker,
}

impl<P: FnMut(&Value) -> Vec<String> + Send + 'static> Launch for Player<P> {
    fn launch(&mut self) -> Result<Process, SpawnError> {
        let mut play = self.play.take().expect("it is started once");
        let (stdin, read) = tokio::io::duplex(1 << 20);
        let (stdout, mut written) = tokio::io::duplex(1 << 20);
        let (stderr, silent) = tokio::io::duplex(1);
        let (orders, received) = watch::channel(Order::Run);
        let (exited, exit) = oneshot::channel();
        self.tracker.spawn(async move {
            let _kept = (silent, received, exited);
            let mut lines = BufReader::new(read).lines();
            while let Ok(Some(line)) = lines.next_line().await {
                for line in play(&serde_json::from_str(&line).expect("JSON")) {
                    written.write_all(format!("{line}\n").as_bytes()).await.expect("it is read");
                }
            }
        });
        let (stdin, stdout, stderr) = (Box::new(stdin), Box::new(stdout), Box::new(stderr));
        Ok(Process { pid: 4711, liveness: |_| Liveness::Exiting, stdin, stdout, stderr, orders, exit })
    }
}
