//! What an actor says of itself.

use super::*;

impl World {
    async fn report(&self) -> crate::child::Report {
        within(self.handle.report().expect("it has room")).await.expect("it lives")
    }
}

#[tokio::test(start_paused = true)]
async fn a_child_says_how_it_is_what_it_said_last_and_how_the_one_before_ended() {
    let mut world = World::new();
    let mut child = world.starts().await;
    let starting = world.report().await;
    assert_eq!((starting.process.map(|process| process.pid), starting.revision), (Some(4711), None));
    child.shakes_hands().await;
    world.becomes(&ChildState::Ready).await;
    world.attach(1).await;
    child.complains("first\nout of \x1b[1mmemory\n").await;
    world.asks(7).await;
    child.reads().await;
    let report = world.report().await;
    assert_eq!((report.revision, report.restarts), (Some("2025-11-25"), 0));
    assert_eq!((report.router.in_flight, report.router.sessions), (1, 1));
    assert!(report.last_exit.is_none() && report.failure.is_none());
    let said = ["first", "out of \\u{1b}[1mmemory"];
    assert_eq!(report.process.expect("there is one").stderr, said);

    child.exits(3);
    world.is_rejected(7, "child-exited").await;
    let mut next = world.starts().await;
    next.shakes_hands().await;
    world.becomes(&ChildState::Ready).await;
    let report = world.report().await;
    assert_eq!(report.restarts, 1);
    assert!(report.process.expect("the next one").stderr.is_empty());
    let exit = report.last_exit.expect("nobody asked for it");
    assert_eq!(
        (exit.pid, exit.status.as_str(), exit.stderr.as_slice()),
        (4711, "exit status: 3", &said.map(str::to_owned)[..])
    );
}

#[tokio::test(start_paused = true)]
async fn a_child_that_is_gone_says_nothing() {
    let (world, child) = World::ready().await;
    let stop = world.handle.stop();
    tokio::join!(stop, async { child.goes(exit(0)) });
    world.tracker.close();
    within(world.tracker.wait()).await;
    assert!(world.handle.report().is_none());
}

#[tokio::test(start_paused = true)]
async fn a_child_that_does_not_read_says_how_much_waits_and_for_how_long() {
    let (world, mut child) = World::with(&[], 64).becomes_ready().await;
    let report = world.report().await;
    assert_eq!((report.waiting_bytes, report.oldest), ((0, 1000), None));
    let before = Instant::now();
    world.sends(7, &"x".repeat(300)).await.expect("there is room");
    assert_eq!(world.report().await.router.in_flight, 1);
    tokio::time::advance(Duration::from_secs(40)).await;
    world.sends(8, &"x".repeat(300)).await.expect("there is room");
    let report = world.report().await;
    let (waiting, limit) = report.waiting_bytes;
    assert!((600..800).contains(&waiting) && limit == 1000, "{waiting} of {limit}");
    assert_eq!((report.oldest, report.router.queued), (Some(before), 0));
    // It has the first.
    let request = child.reads().await;
    child.answers(&request).await;
    child.reads().await;
    let report = world.report().await;
    assert_eq!((report.waiting_bytes, report.oldest.map(|at| at - before)), ((0, 1000), Some(Duration::from_secs(40))));
}

#[tokio::test(start_paused = true)]
async fn how_a_process_ended_is_known_when_its_child_is_gone_too() {
    let last_exit = crate::child::LastExit::default();
    let (world, mut child) = World::telling(last_exit.clone()).becomes_ready().await;
    child.complains("out of memory\n").await;
    assert!(last_exit.report().is_none());
    child.exits(3);
    let mut world = world;
    let next = world.starts().await;
    let stop = world.handle.stop();
    tokio::join!(stop, async { next.goes(exit(0)) });
    let exit = last_exit.report().expect("nobody asked for it");
    assert_eq!((exit.status.as_str(), exit.stderr.as_slice()), ("exit status: 3", &["out of memory".to_owned()][..]));
}

#[tokio::test(start_paused = true)]
async fn a_child_that_was_given_up_says_why() {
    let mut world = World::new();
    let mut child = world.starts().await;
    child.complains("no \x1b[1mdatabase\n").await;
    child.exits(3);
    let mut state = world.handle.state();
    within(state.wait_for(|state| matches!(state, ChildState::Failed(_)))).await.expect("it lives");
    let failure = world.report().await.failure.expect("it was given up");
    assert_eq!(failure.what, "did not start: it exited (exit status: 3) before its handshake (initialize) stood");
    assert_eq!(failure.stderr, ["no \\u{1b}[1mdatabase"]);
    assert_eq!(failure.advice, "run the command by itself in a terminal to see what it misses");
}
