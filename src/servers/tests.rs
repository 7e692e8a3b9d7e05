//! Servers whose children are tasks of the test. Time is paused.

mod changes;
mod starts;

use tokio::time::{sleep, timeout};

use super::testing::*;
use super::*;
use crate::auth::Admission;
use crate::config::Unusable;
use crate::error::Reject;
use crate::metrics::Gauge;
use crate::session::Transport;

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

/// What the metrics say it is.
fn states(server: &Server) -> Vec<&'static str> {
    let all = [
        (Gauge::ServerAsleep, "asleep"),
        (Gauge::ServerWaiting, "waiting"),
        (Gauge::ServerStarting, "starting"),
        (Gauge::ServerStarted, "started"),
        (Gauge::ServerStopping, "stopping"),
        (Gauge::ServerFailed, "failed"),
    ];
    let held = |gauge| server.metrics().level(gauge);
    assert!(all.iter().all(|(gauge, _)| [0, 1].contains(&held(*gauge))));
    all.iter().filter(|(gauge, _)| held(*gauge) == 1).map(|(_, name)| *name).collect()
}

#[tokio::test(start_paused = true)]
async fn the_metrics_say_what_a_server_is_and_why_it_failed_is_known_until_it_works() {
    let play = Play::default();
    play.broken.lock().unwrap().insert("state-bad");
    play.silent.lock().unwrap().insert("state-silent");
    // Of names that no other test has: metrics are the process's.
    let silent = server("state-silent", &["--start-timeout", "10s"]);
    let idle = lazy("state-lazy", Duration::from_secs(60));
    let (servers, tracker) =
        start(several(vec![server("state-bad", &[]), silent, idle, server("state-x", &[])]), &play);
    let [bad, silent, idle, x] =
        ["state-bad", "state-silent", "state-lazy", "state-x"].map(|text| servers.named(&name(text)).unwrap());
    assert_eq!([states(&bad), states(&idle)], [["waiting"], ["asleep"]]);
    sleep(SOON).await;
    assert_eq!([states(&bad), states(&silent), states(&x)], [["failed"], ["starting"], ["started"]]);
    assert!(bad.trouble().is_some_and(|why| why.contains("exit status: 0")), "{:?}", bad.trouble());
    assert_eq!((x.trouble(), silent.trouble()), (None, None));
    drop(idle.visit().await.unwrap());
    assert_eq!(states(&idle), ["started"]);
    sleep(Duration::from_secs(90)).await;
    assert_eq!(states(&idle), ["asleep"]);

    play.broken.lock().unwrap().clear();
    sleep(Duration::from_secs(121)).await;
    assert_eq!((states(&bad), bad.trouble()), (vec!["started"], None));
    // Another one has its name from now on.
    let visit = bad.visit().await.unwrap();
    servers.change(several(vec![server("state-bad", &["--request-timeout", "7s"]), server("state-x", &[])]));
    sleep(SOON).await;
    assert_eq!(states(&servers.named(&name("state-bad")).unwrap()), ["started"]);
    drop(visit);
    end((servers, tracker), &play).await;
    assert_eq!(states(&idle), [""; 0]);
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
async fn that_none_works_is_told_however_late_it_shows() {
    let play = Play::default();
    play.silent.lock().unwrap().extend(["a", "b"]);
    let hanging = ["a", "b"].map(|text| server(text, &["--start-timeout", "10s"]));
    let (servers, tracker) = start(several(hanging.to_vec()), &play);
    let begin = tokio::time::Instant::now();
    let Ok(StartupError::Servers(losses)) = timeout(LONG, servers.none_works()).await else { panic!("two losses") };
    assert_eq!((losses.len(), begin.elapsed().as_secs()), (2, 10));
    end((servers, tracker), &play).await;
}

#[tokio::test(start_paused = true)]
async fn the_program_goes_on_for_one_that_works_or_may_work_when_somebody_comes_or_came_meanwhile() {
    for (at_start, later) in [
        (server("c", &[]), Vec::new()),
        (lazy("c", LONG), Vec::new()),
        // Nor for what is not there any more.
        (server("b", &["--start-timeout", "10s"]), vec![server("c", &[])]),
        (server("b", &["--start-timeout", "10s"]), vec![server("c", &[]), server("b", &["--start-timeout", "10s"])]),
    ] {
        let play = Play::default();
        play.silent.lock().unwrap().extend(["a", "b"]);
        let hanging = server("a", &["--start-timeout", "10s"]);
        let (servers, tracker) = start(several(vec![hanging.clone(), at_start]), &play);
        let changing = async {
            sleep(SOON).await;
            if !later.is_empty() {
                servers.change(several(later));
            }
        };
        let (told, ()) = tokio::join!(timeout(LONG, servers.none_works()), changing);
        assert!(told.is_err(), "{told:?}");
        end((servers, tracker), &play).await;
    }
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
