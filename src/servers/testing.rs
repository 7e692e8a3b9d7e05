//! Servers whose children are tasks of the test, for tests with paused time.

use std::collections::BTreeSet;
use std::num::NonZeroUsize;
use std::sync::Mutex;
use std::sync::atomic::AtomicUsize;

use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::time::timeout;

use super::*;
use crate::child::in_memory::{self, Pipes};
use crate::cli::Cli;
use crate::config::{Config, ServerConfig, Start};

pub(crate) const SOON: Duration = Duration::from_secs(1);
pub(crate) const LONG: Duration = Duration::from_secs(3600);

/// What children do, by the names of their servers.
#[derive(Clone, Default)]
pub(crate) struct Play {
    /// Those that exit as soon as they are started.
    pub(crate) broken: Arc<Mutex<BTreeSet<&'static str>>>,
    /// Those that say nothing.
    pub(crate) silent: Arc<Mutex<BTreeSet<&'static str>>>,
    /// Those that exit if one of their name runs.
    pub(crate) exclusive: Arc<Mutex<BTreeSet<&'static str>>>,
    /// Those that run.
    alive: Arc<Mutex<Vec<String>>>,
    /// How many were started of each.
    pub(crate) started: Arc<Mutex<Vec<String>>>,
    /// How many run.
    pub(crate) running: Arc<AtomicUsize>,
}

impl Play {
    pub(crate) fn serve(&self, name: &ServerName) -> in_memory::Server {
        let (play, name) = (self.clone(), name.to_string());
        in_memory::Server::new(move |pipes| {
            play.started.lock().unwrap().push(name.clone());
            let taken = play.alive.lock().unwrap().contains(&name);
            let broken = play.broken.lock().unwrap().contains(name.as_str())
                || taken && play.exclusive.lock().unwrap().contains(name.as_str());
            let silent = play.silent.lock().unwrap().contains(name.as_str());
            let (running, alive, name) = (play.running.clone(), play.alive.clone(), name.clone());
            async move {
                running.fetch_add(1, Ordering::Relaxed);
                if !broken {
                    alive.lock().unwrap().push(name.clone());
                    answer(pipes, silent).await;
                    let mut alive = alive.lock().unwrap();
                    let place = alive.iter().position(|one| *one == name).unwrap();
                    alive.remove(place);
                }
                running.fetch_sub(1, Ordering::Relaxed);
            }
        })
    }

    pub(crate) fn started(&self, name: &str) -> usize {
        self.started.lock().unwrap().iter().filter(|started| *started == name).count()
    }
}

/// A server that asks its client something for the tool `ask`, and does not answer another one.
pub(crate) async fn answer(pipes: Pipes, silent: bool) {
    let Pipes { stdin, mut stdout } = pipes;
    let mut lines = BufReader::new(stdin).lines();
    let mut asked = None;
    while let Ok(Some(line)) = lines.next_line().await {
        let message: Value = serde_json::from_str(&line).unwrap();
        if message["method"] == "initialize" && !silent {
            let result = json!({"protocolVersion": "2025-11-25", "capabilities": {"tools": {}}, "serverInfo": {"name": "s", "version": "1"}});
            let response = json!({"jsonrpc": "2.0", "id": message["id"], "result": result});
            let _ = stdout.write_all(format!("{response}\n").as_bytes()).await;
        }
        let asks = message["params"]["name"] == "ask";
        let said = match (message["method"].as_str(), message["id"].as_str()) {
            (Some("tools/list"), _) => json!({"jsonrpc": "2.0", "id": message["id"], "result": {"tools": []}}),
            (Some("tools/call"), _) if asks => {
                asked = Some(message["id"].clone());
                let params = json!({"message": "well?", "requestedSchema": {"type": "object", "properties": {}}});
                json!({"jsonrpc": "2.0", "id": "question", "method": "elicitation/create", "params": params})
            }
            (None, Some("question")) => {
                let result = json!({"content": [], "structuredContent": message["result"]});
                json!({"jsonrpc": "2.0", "id": asked.take(), "result": result})
            }
            _ => continue,
        };
        let _ = stdout.write_all(format!("{said}\n").as_bytes()).await;
    }
}

pub(crate) fn name(text: &str) -> ServerName {
    ServerName::parse(text).unwrap()
}

/// A server that these flags make.
pub(crate) fn server(text: &str, flags: &[&str]) -> ServerConfig {
    let args = ["mcp-mux"].iter().chain(flags).chain(&["--", "server"]).map(Into::into);
    let config = Config::load(Cli::read(args, |_| None).unwrap()).unwrap();
    ServerConfig { name: name(text), ..config.into_server() }
}

pub(crate) fn lazy(text: &str, idle_timeout: Duration) -> ServerConfig {
    ServerConfig { start: Start::OnDemand, idle_timeout: Some(idle_timeout), ..server(text, &[]) }
}

pub(crate) fn several(servers: Vec<ServerConfig>) -> ServersConfig {
    let starts_max = NonZeroUsize::new(2).unwrap();
    ServersConfig {
        arrangement: Arrangement::Several,
        servers,
        unusable: Vec::new(),
        folderless: Vec::new(),
        starts_max,
    }
}

pub(crate) fn start(config: ServersConfig, play: &Play) -> (Arc<Servers>, TaskTracker) {
    let tracker = TaskTracker::new();
    let play = play.clone();
    let backing = Backing::Tasks(Arc::new(move |name| play.serve(name)));
    (Servers::start_with(config, backing, Duration::from_secs(10), &tracker), tracker)
}

/// Stops them, and finds nothing left.
pub(crate) async fn end((servers, tracker): (Arc<Servers>, TaskTracker), play: &Play) {
    servers.end_standing_streams();
    servers.stop().await;
    servers.close_all();
    drop(servers);
    tracker.close();
    timeout(LONG, tracker.wait()).await.expect("every task ends");
    assert_eq!(play.running.load(Ordering::Relaxed), 0);
}
