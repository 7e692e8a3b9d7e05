//! Who is started when.

use tokio::time::Instant;

use super::*;
use crate::config::{ServerConfig, Start};

#[tokio::test(start_paused = true)]
async fn no_more_are_starting_than_may_and_who_comes_meanwhile_waits_as_long_as_is_said() {
    let play = Play::default();
    play.silent.lock().unwrap().extend(["a", "b", "d", "e"]);
    let flags = ["--queue-timeout", "3s", "--start-timeout", "10s"];
    let on_demand = |text| ServerConfig { start: Start::OnDemand, ..server(text, &flags) };
    let mut configs: Vec<_> = ["a", "b", "c"].map(|text| server(text, &flags)).into();
    configs.extend(["d", "e"].map(on_demand));
    let (servers, tracker) = start(several(configs), &play);
    let [c, d, e] = ["c", "d", "e"].map(|text| servers.named(&name(text)).unwrap());
    // Those that somebody came for have places of their own; these are taken now.
    assert!(d.visit().await.is_ok() && e.visit().await.is_ok());
    let begin = Instant::now();
    assert!(matches!(c.visit().await, Err(Reject::ChildUnavailable(_))));
    assert_eq!((begin.elapsed(), play.started("c")), (Duration::from_secs(3), 0));
    assert_eq!((c.condition(), servers.health().standing), (Condition::Waiting, Standing::Starting));
    assert!(servers.first().await.is_ok());
    assert!(c.visit().await.is_ok());
    assert_eq!(servers.health().standing, Standing::Ready);
    end((servers, tracker), &play).await;
}

#[tokio::test(start_paused = true)]
async fn one_that_somebody_waits_for_is_started_though_others_hang() {
    let play = Play::default();
    play.silent.lock().unwrap().extend(["a", "b"]);
    let (servers, tracker) = start(several(["a", "b", "c"].map(|text| server(text, &[])).into()), &play);
    sleep(SOON).await;
    let c = servers.named(&name("c")).unwrap();
    assert_eq!((play.started("a"), play.started("b"), c.condition()), (1, 1, Condition::Waiting));
    let begin = Instant::now();
    assert!(c.visit().await.is_ok());
    assert!(begin.elapsed() < SOON, "{:?}", begin.elapsed());
    end((servers, tracker), &play).await;
}

#[tokio::test(start_paused = true)]
async fn those_that_hang_again_and_again_leave_others_their_turn() {
    const HANGING: [&str; 4] = ["a", "b", "c", "d"];
    let play = Play::default();
    play.silent.lock().unwrap().extend(HANGING);
    let hanging = HANGING.map(|text| server(text, &["--start-timeout", "10s"]));
    let (servers, tracker) = start(several(hanging.to_vec()), &play);
    // Each of them in its turn, and when all have been tried once, only one at a time.
    sleep(Duration::from_millis(60_500)).await;
    let before = HANGING.map(|text| play.started(text));
    for _ in 0..3600 {
        sleep(SOON).await;
        assert!(play.running.load(Ordering::Relaxed) <= 1);
    }
    let tries = HANGING.map(|text| play.started(text)).iter().zip(before).map(|(now, before)| now - before).min();
    assert!(tries.is_some_and(|tries| tries >= 25), "{tries:?}");

    let new = [server("new", &[]), server("other", &[])];
    servers.change(several(hanging.into_iter().chain(new).collect()));
    sleep(SOON).await;
    assert_eq!((play.started("new"), play.started("other")), (1, 1));
    end((servers, tracker), &play).await;
}
