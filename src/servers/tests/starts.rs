//! Who is started when.

use super::*;

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
