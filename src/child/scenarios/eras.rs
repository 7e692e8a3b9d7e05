//! The era is found out while the child starts; its handshake waits for that.

use super::*;
use crate::child::probe::{Finding, Question, Verdict, ask};
use crate::child::{CommandEras, Eras, Known};
use crate::router::cache::Lookup;

const PROBE_TIMEOUT: Duration = Duration::from_secs(5);

fn launcher() -> (FakeLauncher, mpsc::Receiver<Fake>) {
    let (started, starts) = mpsc::channel(10);
    (FakeLauncher { started, failures: VecDeque::new(), pipe_bytes: 1024, liveness: |_| Liveness::Exiting }, starts)
}

/// Asks a process that the test plays. What is left of it must be stopped by then.
async fn asked<F: Future<Output = Fake>>(question: Question, play: impl FnOnce(Fake) -> F) -> (Finding, Duration) {
    let (mut launcher, mut starts) = launcher();
    let (config, begun) = (child_config(&["/usr/bin/fake"]), Instant::now());
    let asking = async {
        let finding = ask(&mut launcher, question, &config).await;
        (finding, begun.elapsed())
    };
    let playing = async { play(starts.recv().await.expect("a process")).await };
    let (found, mut fake) = within(async { tokio::join!(asking, playing) }).await;
    fake.is_ordered(Order::Stop).await;
    found
}

async fn answers(fake: &mut Fake, text: &str) {
    let request = fake.reads().await;
    fake.writes(&format!("{{\"jsonrpc\":\"2.0\",\"id\":{},{text}}}\n", request["id"])).await;
}

const DISCOVERED: &str = r#""result":{"supportedVersions":["2026-07-28"]}"#;

#[tokio::test(start_paused = true)]
async fn a_probe_passes_over_what_is_no_answer_and_stops_the_process() {
    let (finding, _) = asked(Question::Discover, |mut fake| async move {
        fake.writes("starting\n\n{\"jsonrpc\":\"2.0\",\"method\":\"notifications/message\",\"params\":{}}\n").await;
        fake.writes("{\"jsonrpc\":\"2.0\",\"id\":0,\"method\":\"ping\"}\n").await;
        fake.writes("{\"jsonrpc\":\"2.0\",\"id\":7,\"result\":{}}\n").await;
        fake.writes(&format!("{}\n", "x".repeat(5000))).await;
        // More than the pipe holds.
        fake.complains(&"trouble\n".repeat(1000)).await;
        answers(&mut fake, DISCOVERED).await;
        fake
    })
    .await;
    assert_eq!(finding.verdict, Verdict::Speaks);
}

#[tokio::test(start_paused = true)]
async fn a_probe_ends_with_silence_an_exit_a_closed_stdout_or_an_error_without_an_id() {
    let (finding, took) = asked(Question::Discover, |mut fake| async move {
        fake.writes("noise\n").await;
        fake
    })
    .await;
    assert_eq!((finding.verdict, took), (Verdict::Not, PROBE_TIMEOUT));
    assert_eq!(finding.how, "no answer within 5s (--probe-timeout)");

    let (finding, took) = asked(Question::Discover, |mut fake| async move {
        fake.stdout = None;
        fake
    })
    .await;
    assert_eq!((finding.verdict, took), (Verdict::Not, Duration::ZERO));

    // Somebody else holds its stdout.
    let (finding, took) = asked(Question::Discover, |mut fake| async move {
        fake.ends(exit(1));
        fake
    })
    .await;
    assert!(finding.verdict == Verdict::Not && took < PROBE_TIMEOUT, "{took:?}");

    let (finding, took) = asked(Question::Discover, |mut fake| async move {
        fake.writes("{\"jsonrpc\":\"2.0\",\"id\":null,\"error\":{\"code\":-32700,\"message\":\"x\"}}\n").await;
        fake
    })
    .await;
    assert_eq!((finding.verdict, took), (Verdict::Not, Duration::ZERO));
    assert_eq!(finding.how, "it answered with the error -32700");
}

#[tokio::test(start_paused = true)]
async fn a_probe_of_what_cannot_be_started_says_so() {
    let (mut launcher, _starts) = launcher();
    launcher.failures.push_back(true);
    let finding = ask(&mut launcher, Question::Discover, &child_config(&["/usr/bin/fake"])).await;
    assert_eq!((finding.verdict, finding.how.as_str()), (Verdict::Not, "it could not be started"));
}

#[tokio::test(start_paused = true)]
async fn a_probe_that_is_given_up_stops_its_process() {
    let (mut launcher, mut starts) = launcher();
    let config = child_config(&["/usr/bin/fake"]);
    assert!(timeout(Duration::from_secs(1), ask(&mut launcher, Question::Discover, &config)).await.is_err());
    starts.recv().await.expect("a process").is_ordered(Order::Stop).await;
}

/// A world whose child's era is not known.
fn undecided(sharing: Sharing) -> (World, Eras) {
    undecided_but_for(sharing, Era::Modern)
}

/// With the era that is chosen where both are spoken.
fn undecided_but_for(sharing: Sharing, preferred: Era) -> (World, Eras) {
    let (tracker, (started, starts), eras) = (TaskTracker::new(), mpsc::channel(100), Eras::unknown());
    let launcher =
        FakeLauncher { started, failures: VecDeque::new(), pipe_bytes: 1024, liveness: |_| Liveness::Exiting };
    let era = EraSource::new(eras.clone(), preferred);
    let tenancy = Tenancy { era, sharing, ..shared() };
    let handle = spawn_with(&child_config(&["/usr/bin/fake"]), &router_config(), tenancy, launcher, &tracker);
    (World::around(handle, tracker, starts), eras)
}

fn legacy() -> Known {
    Known::All(CommandEras::only(Era::Legacy))
}

#[tokio::test(start_paused = true)]
async fn a_child_starts_at_once_and_is_spoken_to_when_its_era_is_known() {
    let (mut world, eras) = undecided(Sharing::Shared);
    let mut child = world.starts().await;
    world.attach(1).await;
    world.asks(5).await;
    // What it says unasked is nobody's yet.
    child.writes("{\"jsonrpc\":\"2.0\",\"method\":\"notifications/tools/list_changed\"}\n").await;
    // Longer than it may take to start: that is counted from when it is spoken to.
    assert!(timeout(START_TIMEOUT + QUEUE_TIMEOUT, child.reads()).await.is_err());
    assert_eq!(*world.state.borrow(), ChildState::Starting);

    eras.learn(legacy());
    assert_eq!(world.handle.era(), Era::Legacy);
    child.shakes_hands().await;
    world.becomes(&ChildState::Ready).await;
    let call = child.reads().await;
    child.answers(&call).await;
    world.is_answered(5).await;
    let handle = world.handle.clone();
    let stopping = world.tracker.spawn(async move { handle.stop().await });
    child.is_ordered(Order::Stop).await;
    child.exits(0);
    stopping.await.unwrap();
}

/// A world whose child asks its own process.
fn asking() -> (World, Eras) {
    let (tracker, (started, starts), eras) = (TaskTracker::new(), mpsc::channel(100), Eras::unknown());
    let launcher =
        FakeLauncher { started, failures: VecDeque::new(), pipe_bytes: 1024, liveness: |_| Liveness::Exiting };
    let tenancy = Tenancy { era: EraSource::asking(eras.clone(), Era::Modern), ..shared() };
    let handle = spawn_with(&child_config(&["/usr/bin/fake"]), &router_config(), tenancy, launcher, &tracker);
    (World::around(handle, tracker, starts), eras)
}

const REFUSED: &str = r#""error":{"code":-32601,"message":"Method not found"}"#;

async fn is_asked(child: &mut Fake) -> Value {
    let question = child.reads().await;
    assert_eq!(question["method"], "server/discover");
    question
}

async fn says(child: &mut Fake, question: &Value, text: &str) {
    child.writes(&format!("{{\"jsonrpc\":\"2.0\",\"id\":{},{text}}}\n", question["id"])).await;
}

#[tokio::test(start_paused = true)]
async fn a_legacy_process_that_was_asked_gets_its_handshake_and_what_waited() {
    let (mut world, eras) = asking();
    let mut child = world.starts().await;
    world.attach(1).await;
    world.asks(5).await;
    let question = is_asked(&mut child).await;
    child.writes("starting\n{\"jsonrpc\":\"2.0\",\"method\":\"notifications/tools/list_changed\"}\n").await;
    says(&mut child, &question, REFUSED).await;
    child.shakes_hands().await;
    world.becomes(&ChildState::Ready).await;
    assert_eq!(eras.known(), legacy());
    let call = child.reads().await;
    // No id is given to a process twice.
    assert_ne!(call["id"], question["id"]);
    child.answers(&call).await;
    world.is_answered(5).await;
    assert!(world.started.try_recv().is_err(), "one process is enough");
}

#[tokio::test(start_paused = true)]
async fn a_modern_process_that_was_asked_goes_on_as_a_modern_one() {
    for (versions, legacy) in [(r#"["2026-07-28"]"#, false), (r#"["2025-11-25","2026-07-28"]"#, true)] {
        let (mut world, eras) = asking();
        let mut child = world.starts().await;
        let question = is_asked(&mut child).await;
        says(&mut child, &question, &format!(r#""result":{{"supportedVersions":{versions}}}"#)).await;
        let handshake = is_asked(&mut child).await;
        assert_ne!(handshake["id"], question["id"]);
        // Whether one that does not list the legacy ones speaks them is another question.
        let known = if legacy { Known::All(CommandEras { modern: true, legacy }) } else { Known::Modern };
        assert_eq!(eras.known(), known);
        says(&mut child, &handshake, DISCOVERED).await;
        world.becomes(&ChildState::Ready).await;
        assert!(world.started.try_recv().is_err(), "one process is enough");
    }
}

#[tokio::test(start_paused = true)]
async fn a_process_that_passes_over_the_question_is_introduced_to_all_the_same() {
    let (mut world, eras) = asking();
    let mut child = world.starts().await;
    let begun = Instant::now();
    let question = is_asked(&mut child).await;
    let initialize = child.reads().await;
    // That it said nothing is no proof of anything.
    assert_eq!((begun.elapsed(), eras.known()), (PROBE_TIMEOUT, Known::Nothing));
    let result =
        r#""result":{"protocolVersion":"2025-11-25","capabilities":{},"serverInfo":{"name":"s","version":"1"}}"#;
    says(&mut child, &initialize, result).await;
    assert_eq!(child.reads().await["method"], "notifications/initialized");
    assert_eq!(eras.known(), legacy());
    world.becomes(&ChildState::Ready).await;
    // What it says now is of no use.
    says(&mut child, &question, DISCOVERED).await;
    assert_eq!(world.handle.era(), Era::Legacy);
}

/// What the question may do to a process, and how it is told that it is not wanted any more.
#[derive(Clone, Copy, Debug)]
enum Effect {
    Exits,
    ClosesStdout,
    Hangs,
    SaysSomethingElse,
    SendsItBack,
    RefusesTheHandshake,
}

#[tokio::test(start_paused = true)]
async fn a_process_that_the_question_ends_or_confuses_is_replaced_once_and_at_no_cost() {
    use Effect::{ClosesStdout, Exits, Hangs, RefusesTheHandshake, SaysSomethingElse, SendsItBack};
    for effect in [Exits, ClosesStdout, Hangs, SaysSomethingElse, SendsItBack, RefusesTheHandshake] {
        let (mut world, eras) = asking();
        world.attach(1).await;
        world.asks(5).await;
        let mut child = world.starts().await;
        let question = is_asked(&mut child).await;
        match effect {
            Exits => {}
            ClosesStdout => child.stdout = None,
            Hangs => assert_eq!(child.reads().await["method"], "initialize"),
            SaysSomethingElse => says(&mut child, &question, r#""result":{"protocolVersion":"2025-11-25"}"#).await,
            SendsItBack => child.writes(&format!("{question}\n")).await,
            RefusesTheHandshake => {
                says(&mut child, &question, REFUSED).await;
                let initialize = child.reads().await;
                says(&mut child, &initialize, r#""error":{"code":-32603,"message":"confused"}"#).await;
            }
        }
        if !matches!(effect, Exits) {
            child.is_ordered(Order::Stop).await;
        }
        child.exits(1);
        let mut next = world.starts().await;
        next.shakes_hands().await;
        world.becomes(&ChildState::Ready).await;
        assert_eq!(eras.known(), legacy(), "{effect:?}");
        let call = next.reads().await;
        next.answers(&call).await;
        world.is_answered(5).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_modern_server_that_was_too_slow_or_did_not_survive_the_question_is_found_out_by_its_refusal() {
    for exits in [false, true] {
        let (mut world, eras) = asking();
        world.attach(1).await;
        world.asks(5).await;
        let mut child = world.starts().await;
        let question = is_asked(&mut child).await;
        if exits {
            child.exits(1);
            child = world.starts().await;
        }
        let initialize = child.reads().await;
        assert_eq!(initialize["method"], "initialize");
        if !exits {
            says(&mut child, &question, DISCOVERED).await;
        }
        // The code is its own affair.
        says(&mut child, &initialize, REFUSED).await;
        let handshake = is_asked(&mut child).await;
        assert_eq!(eras.known(), Known::Nothing);
        says(&mut child, &handshake, DISCOVERED).await;
        let call = child.reads().await;
        assert_eq!((&call["method"], eras.known()), (&json!("tools/call"), Known::Modern));
        child.answers(&call).await;
        world.is_answered(5).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_server_that_refuses_both_is_the_commands_fault() {
    let (mut world, _eras) = asking();
    for _ in 0..2 {
        let mut child = world.starts().await;
        // The first one is asked before anything else.
        let mut message = child.reads().await;
        if message["method"] == "server/discover" {
            message = child.reads().await;
        }
        assert_eq!(message["method"], "initialize");
        says(&mut child, &message, REFUSED).await;
        let again = is_asked(&mut child).await;
        says(&mut child, &again, REFUSED).await;
        child.is_ordered(Order::Stop).await;
        child.exits(0);
    }
    let said = world.fails().await;
    assert!(said.contains("it refused the handshake (server/discover)") && said.contains("-32601"), "{said}");
}

#[tokio::test(start_paused = true)]
async fn a_server_of_later_revisions_only_is_not_taken_for_a_legacy_one() {
    let (mut world, _eras) = asking();
    let mut child = world.starts().await;
    let question = is_asked(&mut child).await;
    says(&mut child, &question, r#""result":{"supportedVersions":["2027-01-01"]}"#).await;
    child.reads_the_end().await;
    child.exits(0);
    let said = world.fails().await;
    assert!(said.contains("it speaks 2027-01-01"), "{said}");
}

#[tokio::test(start_paused = true)]
async fn the_second_process_that_comes_to_nothing_is_the_commands_fault() {
    let (mut world, eras) = asking();
    let child = world.starts().await;
    child.exits(1);
    let mut next = world.starts().await;
    next.complains("no such file\n").await;
    next.exits(2);
    let said = world.fails().await;
    assert!(said.contains("it exited (exit status: 2) before its handshake (initialize) stood"), "{said}");
    assert!(said.contains("no such file") && eras.known() == legacy(), "{said}");
}

#[tokio::test(start_paused = true)]
async fn nobody_waits_for_the_era_of_a_command_that_is_given_up() {
    let (tracker, (started, _starts), eras) = (TaskTracker::new(), mpsc::channel(1), Eras::unknown());
    let launcher = FakeLauncher { started, failures: [true].into(), pipe_bytes: 1, liveness: |_| Liveness::Exiting };
    let tenancy = Tenancy { era: EraSource::asking(eras.clone(), Era::Modern), ..shared() };
    let handle = spawn_with(&child_config(&["/usr/bin/fake"]), &router_config(), tenancy, launcher, &tracker);
    assert_eq!(within(handle.era_found()).await, Era::Legacy);
}

#[tokio::test(start_paused = true)]
async fn a_child_that_is_never_spoken_to_can_be_stopped() {
    let (mut world, _eras) = undecided(Sharing::Shared);
    let mut child = world.starts().await;
    world.attach(1).await;
    world.asks(5).await;
    let handle = world.handle.clone();
    let stopping = world.tracker.spawn(async move { handle.stop().await });
    child.reads_the_end().await;
    child.exits(0);
    stopping.await.unwrap();
    world.is_rejected(5, "shutting-down").await;
    world.leaves_nothing().await;
}

#[tokio::test(start_paused = true)]
async fn a_child_that_exits_beside_the_probe_gets_one_more_try_alone() {
    for known_before in [false, true] {
        let (mut world, eras) = undecided(Sharing::Shared);
        let child = world.starts().await;
        if known_before {
            eras.learn(legacy());
            world.handle.era_found().await;
        }
        child.exits(1);
        world.becomes(&ChildState::Restarting("exit status: 1".to_owned())).await;
        if !known_before {
            assert!(timeout(Duration::from_secs(1), world.started.recv()).await.is_err());
            eras.learn(legacy());
        }
        let mut alone = world.starts().await;
        alone.complains("no such port\n").await;
        alone.exits(2);
        let said = world.fails().await;
        assert!(said.contains("it exited (exit status: 2) before its handshake (initialize) stood"), "{said}");
        assert!(said.contains("no such port"), "{said}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_command_that_does_not_exist_fails_without_waiting_for_its_era() {
    let (tracker, (started, _starts)) = (TaskTracker::new(), mpsc::channel(1));
    let launcher = FakeLauncher { started, failures: [true].into(), pipe_bytes: 1, liveness: |_| Liveness::Exiting };
    let era = EraSource::new(Eras::unknown(), Era::Modern);
    let handle = spawn_with(
        &child_config(&["/usr/bin/fake"]),
        &router_config(),
        Tenancy { era, ..shared() },
        launcher,
        &tracker,
    );
    let failed = |state: &ChildState| matches!(state, ChildState::Failed(_));
    within(handle.state().wait_for(failed)).await.expect("the actor lives");
}

#[tokio::test(start_paused = true)]
async fn a_server_that_refuses_initialize_since_it_is_modern_is_believed() {
    let (mut world, eras) = undecided(Sharing::Shared);
    let mut child = world.starts().await;
    eras.learn(legacy());
    let initialize = child.reads().await;
    assert_eq!(initialize["method"], "initialize");
    world.attach(1).await;
    world.attach_with(Profile { era: Era::Modern, ..Profile::default() }, 2).await;
    world.asks(5).await;
    let error = json!({"code": -32022, "message": "x", "data": {"supported": ["2026-07-28"]}});
    child.writes(&format!("{}\n", json!({"jsonrpc": "2.0", "id": initialize["id"], "error": error}))).await;
    // The same process is introduced to in the other era.
    let again = child.reads().await;
    assert_eq!((again["id"].is_null(), eras.known()), (false, Known::All(CommandEras::only(Era::Modern))));
    assert_eq!(world.handle.era(), Era::Modern);
    // The session stays and its request waits; the exchange was meant for a legacy child.
    let stats = world.handle.stats().await.expect("the actor lives").router;
    assert_eq!((stats.sessions, stats.queued), (1, 1));
}

#[tokio::test(start_paused = true)]
async fn a_spare_that_nobody_has_spoken_to_becomes_an_exchanges() {
    let (mut world, eras) = undecided_but_for(Sharing::Private, Era::Legacy);
    eras.learn(Known::All(CommandEras { modern: true, legacy: true }));
    let mut child = world.starts().await;
    assert!(timeout(Duration::from_secs(2), child.reads()).await.is_err());
    world.handle = world.handle.retuned(Sharing::Shared, EraSource::new(eras, Era::Modern));
    assert_eq!(world.handle.era(), Era::Modern);
    // mcp-mux makes the handshake now, which nobody has asked for.
    assert!(!child.reads().await["id"].is_null());
}

/// Who knows what is kept does not say so to the child: it tells of itself.
#[tokio::test(start_paused = true)]
async fn what_a_child_says_has_changed_is_kept_no_longer() {
    let (mut world, mut child) = World::ready().await;
    // The session is attached before the child says anything.
    within(world.handle.stats()).await.expect("the actor lives");
    let cache = world.handle.cache().clone();
    let result = Bytes::from_static(br#"{"tools":[],"ttlMs":100000,"cacheScope":"public"}"#);
    let keep = || {
        let Lookup::Miss(ticket) = cache.lookup("tools/list", None, Instant::now()) else { panic!("nothing is there") };
        cache.store(ticket, &result, Instant::now());
    };
    keep();
    child.writes("{\"jsonrpc\":\"2.0\",\"method\":\"notifications/tools/list_changed\"}\n").await;
    assert!(world.given().await.1.expect("a message").contains("list_changed"));
    keep();
    assert_eq!(cache.lookup("tools/list", None, Instant::now()), Lookup::Hit(result.clone()));
    // The next process may have other tools.
    child.exits(1);
    let mut kept = world.starts().await;
    kept.shakes_hands().await;
    world.becomes(&ChildState::Ready).await;
    keep();
}
