//! Servers whose children are tasks of the test. Time is paused.

use std::collections::BTreeSet;
use std::num::NonZeroUsize;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::time::{sleep, timeout};

use super::*;
use crate::auth::Admission;
use crate::child::in_memory::{self, Pipes};
use crate::cli::Cli;
use crate::config::{Config, Start};
use crate::error::Reject;
use crate::session::Transport;

const SOON: Duration = Duration::from_secs(1);
const LONG: Duration = Duration::from_secs(3600);

/// What children do, by the names of their servers.
#[derive(Clone, Default)]
struct Play {
    /// Those that exit as soon as they are started.
    broken: Arc<Mutex<BTreeSet<&'static str>>>,
    /// Those that say nothing.
    silent: Arc<Mutex<BTreeSet<&'static str>>>,
    /// How many were started of each.
    started: Arc<Mutex<Vec<String>>>,
    /// How many run.
    running: Arc<AtomicUsize>,
}

impl Play {
    fn serve(&self, name: &ServerName) -> in_memory::Server {
        let (play, name) = (self.clone(), name.to_string());
        in_memory::Server::new(move |pipes| {
            play.started.lock().unwrap().push(name.clone());
            let broken = play.broken.lock().unwrap().contains(name.as_str());
            let silent = play.silent.lock().unwrap().contains(name.as_str());
            let running = play.running.clone();
            async move {
                running.fetch_add(1, Ordering::Relaxed);
                if !broken {
                    answer(pipes, silent).await;
                }
                running.fetch_sub(1, Ordering::Relaxed);
            }
        })
    }

    fn started(&self, name: &str) -> usize {
        self.started.lock().unwrap().iter().filter(|started| *started == name).count()
    }
}

/// A server that knows nothing but its handshake.
async fn answer(pipes: Pipes, silent: bool) {
    let Pipes { stdin, mut stdout } = pipes;
    let mut lines = BufReader::new(stdin).lines();
    while let Ok(Some(line)) = lines.next_line().await {
        let message: Value = serde_json::from_str(&line).unwrap();
        if message["method"] == "initialize" && !silent {
            let result = json!({"protocolVersion": "2025-11-25", "capabilities": {}, "serverInfo": {"name": "s", "version": "1"}});
            let response = json!({"jsonrpc": "2.0", "id": message["id"], "result": result});
            let _ = stdout.write_all(format!("{response}\n").as_bytes()).await;
        }
    }
}

fn name(text: &str) -> ServerName {
    ServerName::parse(text).unwrap()
}

/// A server that these flags make.
fn server(text: &str, flags: &[&str]) -> ServerConfig {
    let args = ["mcp-mux"].iter().chain(flags).chain(&["--", "server"]).map(Into::into);
    let config = Config::load(Cli::read(args, |_| None).unwrap()).unwrap();
    ServerConfig { name: name(text), ..config.into_server() }
}

fn lazy(text: &str, idle_timeout: Duration) -> ServerConfig {
    ServerConfig { start: Start::OnDemand, idle_timeout: Some(idle_timeout), ..server(text, &[]) }
}

fn several(servers: Vec<ServerConfig>) -> ServersConfig {
    let starts_max = NonZeroUsize::new(2).unwrap();
    ServersConfig { arrangement: Arrangement::Several, servers, unusable: Vec::new(), starts_max }
}

fn start(config: ServersConfig, play: &Play) -> (Arc<Servers>, TaskTracker) {
    let tracker = TaskTracker::new();
    let play = play.clone();
    let backing = Backing::Tasks(Arc::new(move |name| play.serve(name)));
    (Servers::start_with(config, backing, Duration::from_secs(10), &tracker), tracker)
}

/// Stops them, and finds nothing left.
async fn end((servers, tracker): (Arc<Servers>, TaskTracker), play: &Play) {
    servers.end_standing_streams();
    servers.stop().await;
    servers.close_all();
    drop(servers);
    tracker.close();
    timeout(LONG, tracker.wait()).await.expect("every task ends");
    assert_eq!(play.running.load(Ordering::Relaxed), 0);
}

fn conditions(servers: &Servers) -> Vec<(String, &'static str)> {
    let all = servers.all();
    all.iter().map(|server| (server.name().to_string(), server.condition().as_str())).collect()
}

fn tenant(visit: &Visit) -> crate::pool::Tenant {
    visit.pool.tenant(&Admission::anonymous(), &http::HeaderMap::new()).unwrap()
}

#[tokio::test(start_paused = true)]
async fn one_that_cannot_be_started_stops_no_other_and_is_tried_again() {
    let play = Play::default();
    play.broken.lock().unwrap().insert("bad");
    let (servers, tracker) = start(several(vec![server("bad", &[]), server("good", &[])]), &play);
    assert!(servers.first().await.is_ok());
    assert_eq!(conditions(&servers), [("bad".to_owned(), "failed"), ("good".to_owned(), "ready")]);
    assert_eq!(servers.health(), Health { standing: Standing::Ready, ready: 1, total: 1 });
    assert!(servers.named(&name("good")).unwrap().visit().await.is_ok());
    let bad = servers.named(&name("bad")).unwrap();
    assert!(
        matches!(bad.visit().await, Err(Reject::CircuitOpen { retry_after }) if retry_after <= Duration::from_secs(2))
    );

    // The waits get longer, and never so long that it would not be noticed when it works again.
    let before = play.started("bad");
    sleep(LONG).await;
    let tries = play.started("bad") - before;
    assert!((30..=40).contains(&tries), "{tries}");
    play.broken.lock().unwrap().clear();
    sleep(Duration::from_secs(121)).await;
    assert_eq!(bad.condition().as_str(), "ready");
    assert!(bad.visit().await.is_ok());
    assert!(timeout(LONG, servers.lost()).await.is_err());
    end((servers, tracker), &play).await;
}

#[tokio::test(start_paused = true)]
async fn if_none_can_be_started_the_program_is_told_of_each() {
    let play = Play::default();
    play.broken.lock().unwrap().extend(["a", "b"]);
    let (servers, tracker) = start(several(vec![server("a", &[]), server("b", &[])]), &play);
    let Err(StartupError::Servers(losses)) = servers.first().await else { panic!("two losses") };
    assert_eq!(losses.iter().map(|(name, _)| name.as_str()).collect::<Vec<_>>(), ["a", "b"]);
    assert!(losses.iter().all(|(_, why)| why.contains("exit status: 0")), "{losses:?}");
    end((servers, tracker), &play).await;
}

#[tokio::test(start_paused = true)]
async fn the_only_one_of_a_command_line_and_one_that_is_to_end_the_program_do() {
    for (arrangement, flags) in
        [(Arrangement::Single, &[] as &[&str]), (Arrangement::Several, &["--on-child-exit", "exit"])]
    {
        let play = Play::default();
        play.broken.lock().unwrap().insert("a");
        let config = ServersConfig { arrangement, ..several(vec![server("a", flags), lazy("b", LONG)]) };
        let (servers, tracker) = start(config, &play);
        assert!(matches!(timeout(LONG, servers.lost()).await, Ok(StartupError::Child(_))));
        end((servers, tracker), &play).await;
    }
}

#[tokio::test(start_paused = true)]
async fn one_for_those_who_come_is_started_by_a_visit_and_stopped_when_nobody_needs_it() {
    let play = Play::default();
    let idle = Duration::from_secs(60);
    let (servers, tracker) = start(several(vec![lazy("a", idle)]), &play);
    assert!(servers.first().await.is_ok());
    let a = servers.named(&name("a")).unwrap();
    sleep(LONG).await;
    assert_eq!((play.started("a"), a.condition()), (0, Condition::Asleep));
    assert_eq!(servers.health().standing, Standing::Ready);

    let visit = a.visit().await.unwrap();
    sleep(LONG).await;
    assert_eq!((play.started("a"), a.condition().as_str()), (1, "ready"));
    // A session is a reason to stay too.
    let session = visit.registry.open(Transport::Streamable, tenant(&visit)).unwrap();
    drop(visit);
    sleep(idle * 10).await;
    assert_eq!(a.condition().as_str(), "ready");
    drop(session);
    sleep(idle / 2).await;
    assert_eq!(a.condition().as_str(), "ready");
    // So is every visit, however short.
    drop(a.visit().await.unwrap());
    sleep(idle - SOON).await;
    assert_eq!(a.condition().as_str(), "ready");
    sleep(idle).await;
    assert_eq!((a.condition(), play.running.load(Ordering::Relaxed)), (Condition::Asleep, 0));

    drop(a.visit().await.unwrap());
    assert_eq!(play.started("a"), 2);
    end((servers, tracker), &play).await;
}

#[tokio::test(start_paused = true)]
async fn no_more_are_starting_than_may_and_who_comes_meanwhile_waits_as_long_as_is_said() {
    let play = Play::default();
    play.silent.lock().unwrap().extend(["a", "b"]);
    let flags = ["--queue-timeout", "3s", "--start-timeout", "10s"];
    let (servers, tracker) = start(several(["a", "b", "c"].map(|text| server(text, &flags)).into()), &play);
    let c = servers.named(&name("c")).unwrap();
    let begin = tokio::time::Instant::now();
    assert!(matches!(c.visit().await, Err(Reject::ChildUnavailable(_))));
    assert_eq!((begin.elapsed(), play.started("c")), (Duration::from_secs(3), 0));
    assert_eq!((c.condition(), servers.health().standing), (Condition::Waiting, Standing::Starting));
    assert!(servers.first().await.is_ok());
    assert!(c.visit().await.is_ok());
    assert_eq!(servers.health().standing, Standing::Ready);
    end((servers, tracker), &play).await;
}

#[tokio::test(start_paused = true)]
async fn a_new_configuration_touches_what_has_changed_and_nothing_else() {
    let play = Play::default();
    let (same, other, gone) = (server("same", &[]), server("other", &[]), server("gone", &[]));
    let (servers, tracker) = start(several(vec![same.clone(), other, gone]), &play);
    assert!(servers.first().await.is_ok());
    let before = ["same", "other", "gone"].map(|text| servers.named(&name(text)).unwrap());
    let mut sessions = Vec::new();
    for server in &before {
        let visit = server.visit().await.unwrap();
        let session = visit.registry.open(Transport::Streamable, tenant(&visit)).unwrap();
        sessions.push(Arc::clone(session.session()));
        session.keep();
    }

    let changed = server("other", &["--request-timeout", "7s"]);
    let mut config = several(vec![same, changed, server("new", &[])]);
    config.unusable = vec![(name("off"), Unusable::Disabled)];
    assert_eq!(servers.change(config.clone()), Changes { added: 2, removed: 1, changed: 1, kept: 1 });
    assert!(servers.named(&name("gone")).is_none() && servers.named(&name("off")).is_none());
    assert!(Arc::ptr_eq(&before[0], &servers.named(&name("same")).unwrap()));
    assert!(!Arc::ptr_eq(&before[1], &servers.named(&name("other")).unwrap()));
    sleep(LONG / 2).await;
    assert_eq!(sessions.iter().map(|session| session.is_closed()).collect::<Vec<_>>(), [false, true, true]);
    for old in &before[1..] {
        assert!(matches!(old.visit().await, Err(Reject::NotFound)));
    }
    for text in ["same", "other", "new"] {
        assert!(servers.named(&name(text)).unwrap().visit().await.is_ok());
    }
    assert_eq!(["same", "other", "gone", "new"].map(|text| play.started(text)), [1, 2, 1, 1]);
    assert_eq!(play.running.load(Ordering::Relaxed), 3);

    // The same once more is nothing.
    assert_eq!(servers.change(config), Changes { kept: 4, ..Changes::default() });
    end((servers, tracker), &play).await;
}

#[tokio::test(start_paused = true)]
async fn the_one_that_needs_no_name_stays_that_and_none_takes_its_place() {
    let play = Play::default();
    let unnamed = |servers: &Servers| servers.only().map(|server| server.name().to_string());
    let (a, b) = (server("a", &[]), server("b", &[]));
    let (servers, tracker) = start(several(vec![a.clone(), b.clone()]), &play);
    assert_eq!(unnamed(&servers), None);
    servers.change(several(vec![b.clone()]));
    assert_eq!(unnamed(&servers).as_deref(), Some("b"));
    servers.change(several(vec![a.clone(), b]));
    assert_eq!(unnamed(&servers).as_deref(), Some("b"));
    servers.change(several(vec![a]));
    assert_eq!(unnamed(&servers), None);
    end((servers, tracker), &play).await;
}

#[tokio::test(start_paused = true)]
async fn one_that_is_started_later_does_not_make_the_others_unready() {
    let play = Play::default();
    let (servers, tracker) = start(several(vec![server("a", &[])]), &play);
    assert!(servers.first().await.is_ok());
    assert_eq!(servers.health().standing, Standing::Ready);
    play.silent.lock().unwrap().insert("b");
    servers.change(several(vec![server("a", &[]), server("b", &["--start-timeout", "10s"])]));
    for _ in 0..60 {
        sleep(SOON).await;
        assert_eq!(servers.health().standing, Standing::Ready);
    }
    end((servers, tracker), &play).await;
}

#[tokio::test(start_paused = true)]
async fn those_who_came_for_one_start_cause_no_other() {
    let play = Play::default();
    let idle = Duration::from_secs(60);
    let (servers, tracker) = start(several(vec![lazy("a", idle)]), &play);
    let a = servers.named(&name("a")).unwrap();
    let visits = tokio::join!(a.visit(), a.visit(), a.visit());
    drop(visits);
    sleep(LONG).await;
    assert_eq!((play.started("a"), a.condition()), (1, Condition::Asleep));
    end((servers, tracker), &play).await;
}

#[tokio::test(start_paused = true)]
async fn a_server_that_is_taken_out_answers_what_is_in_flight_first() {
    let play = Play::default();
    let (servers, tracker) = start(several(vec![server("a", &[]), server("b", &[])]), &play);
    assert!(servers.first().await.is_ok());
    let visit = servers.named(&name("a")).unwrap().visit().await.unwrap();
    servers.change(several(vec![server("b", &[])]));
    sleep(Duration::from_secs(9)).await;
    assert_eq!(play.running.load(Ordering::Relaxed), 2, "it waits for those who visit it");
    drop(visit);
    sleep(SOON).await;
    assert_eq!(play.running.load(Ordering::Relaxed), 1);
    end((servers, tracker), &play).await;
}

#[tokio::test(start_paused = true)]
async fn after_a_stop_nothing_is_started_and_nothing_changes() {
    let play = Play::default();
    play.silent.lock().unwrap().extend(["a", "b"]);
    let (servers, tracker) =
        start(several(vec![server("a", &[]), server("b", &[]), server("c", &[]), lazy("d", LONG)]), &play);
    sleep(SOON).await;
    let (c, d) = (servers.named(&name("c")).unwrap(), servers.named(&name("d")).unwrap());
    servers.end_standing_streams();
    assert_eq!(servers.change(several(vec![server("e", &[])])), Changes::default());
    servers.stop().await;
    servers.close_all();
    sleep(LONG).await;
    for server in [c, d] {
        assert!(matches!(timeout(LONG, server.visit()).await, Ok(Err(Reject::NotFound | Reject::ShuttingDown))));
    }
    assert_eq!(["a", "b", "c", "d", "e"].map(|text| play.started(text)), [1, 1, 0, 0, 0]);
    end((servers, tracker), &play).await;
}
