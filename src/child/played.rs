//! A whole child, with its actor and its router, whose process is played in memory: for tests of the layers above.

use std::sync::Mutex;

use serde_json::Value;
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
use tokio_util::task::TaskTracker;

use super::in_memory::{Pipes, Server};
use super::scenarios::world::{child_config, router_config};
use super::{ChildHandle, EraSource, LastExit, OwnVariables, Proof, Tenancy, spawn_in_memory};
use crate::config::ChildConfig;
use crate::mcp::Era;
use crate::metrics::ServerMetrics;
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
        metrics: ServerMetrics::unnamed(),
        last_exit: LastExit::default(),
    };
    let play = Mutex::new(Some(play));
    let server = Server::new(move |pipes| {
        let play = play.lock().expect("not poisoned").take();
        serve(pipes, play.expect("it is started once"))
    });
    spawn_in_memory(&config, &router_config(), tenancy, server, &tracker)
}

async fn serve(Pipes { stdin, mut stdout }: Pipes, mut play: impl FnMut(&Value) -> Vec<String>) {
    let mut lines = BufReader::new(stdin).lines();
    while let Ok(Some(line)) = lines.next_line().await {
        for line in play(&serde_json::from_str(&line).expect("JSON")) {
            stdout.write_all(format!("{line}\n").as_bytes()).await.expect("it is read");
        }
    }
}
