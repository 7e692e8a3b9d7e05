//! What becomes of requests and sessions when processes fail, hang or are replaced.

use super::*;

fn private() -> World {
    World::of(&child_config(&["/usr/bin/fake"]), Sharing::Private, &[], 1024, |_| Liveness::Exiting)
}

impl World {
    async fn requests(&self, id: u64, method: &str) {
        let text = format!(r#"{{"jsonrpc":"2.0","id":{id},"method":"{method}","params":{{}}}}"#);
        let from = Origin::client(SessionKey(1), StreamId(id));
        let message = Message::parse(Bytes::from(text), 100).expect("a message");
        within(self.handle.send(from, message)).await.expect("there is room");
    }

    async fn is_given(&mut self, id: u64, method: &str) {
        let expected = format!(r#"{{"jsonrpc":"2.0","id":{id},"result":{{"to":"{method}"}}}}"#);
        assert_eq!(self.given().await, (id, Ok(expected)));
    }

    async fn circuit_opens(&mut self) {
        let open = within(self.state.wait_for(|state| matches!(state, ChildState::CircuitOpen(_)))).await;
        assert!(open.is_ok(), "the actor lives");
    }
}

#[tokio::test(start_paused = true)]
async fn a_child_that_fails_again_and_again_opens_the_circuit_until_a_trial_stands() {
    let mut world = World::with(&[false, true, true, true, true, true, true], 1024);
    let mut child = world.starts().await;
    child.shakes_hands().await;
    world.becomes(&ChildState::Ready).await;
    world.attach(1).await;
    child.exits(1);
    world.asks(1).await;
    world.circuit_opens().await;
    // What waited for the child is told, and so is what comes now, at once.
    let begun = Instant::now();
    let Reject::CircuitOpen { retry_after } = world.is_rejected(1, "circuit-open").await else { unreachable!() };
    assert!(retry_after >= Duration::from_millis(2500) && retry_after <= Duration::from_secs(5));
    world.asks(2).await;
    world.is_rejected(2, "circuit-open").await;
    assert_eq!(begun.elapsed(), Duration::ZERO);
    // The first trial fails too.
    let begun = Instant::now();
    let mut child = world.starts().await;
    assert!(begun.elapsed() >= Duration::from_millis(2500 + 5000), "{:?}", begun.elapsed());
    world.asks(3).await;
    world.is_rejected(3, "circuit-open").await;
    child.shakes_hands().await;
    world.becomes(&ChildState::Ready).await;
    world.asks(4).await;
    let request = child.reads().await;
    child.answers(&request).await;
    world.is_answered(4).await;
}

#[tokio::test(start_paused = true)]
async fn what_a_dead_process_got_nothing_of_is_for_the_next_one() {
    let mut world = World::with(&[], 100);
    let mut child = world.starts().await;
    child.shakes_hands().await;
    world.becomes(&ChildState::Ready).await;
    world.attach(1).await;
    // The first fills the pipe, the second is cut off in it, the third does not get that far.
    for id in 1..=3 {
        world.sends(id, "").await.expect("there is room");
    }
    // The actor hands them over before it hears of the exit.
    tokio::time::sleep(Duration::from_millis(1)).await;
    child.exits(1);
    world.is_rejected(1, "child-exited").await;
    world.is_rejected(2, "child-exited").await;
    let mut next = world.starts().await;
    next.shakes_hands().await;
    let request = next.reads().await;
    next.answers(&request).await;
    world.is_answered(3).await;
}

// spec: 2025-11-25, Tools, Listing Tools: reading what there is changes nothing.
#[tokio::test(start_paused = true)]
async fn a_request_that_is_safe_to_repeat_is_repeated_once() {
    let (mut world, mut child) = World::ready().await;
    world.requests(1, "tools/list").await;
    world.asks(2).await;
    child.reads().await;
    child.reads().await;
    child.exits(1);
    world.is_rejected(2, "child-exited").await;
    let mut child = world.starts().await;
    child.shakes_hands().await;
    let request = child.reads().await;
    child.answers(&request).await;
    world.is_given(1, "tools/list").await;
    world.requests(3, "resources/read").await;
    for _ in 0..2 {
        assert_eq!(child.reads().await["method"], "resources/read");
        child.exits(1);
        child = world.starts().await;
        child.shakes_hands().await;
    }
    world.is_rejected(3, "child-exited").await;
}

#[tokio::test(start_paused = true)]
async fn a_child_that_was_given_its_requests_is_succeeded_and_ends_what_it_has() {
    let (mut world, mut old) =
        World::configured(|config| config.requests_max = NonZeroUsize::new(4)).becomes_ready().await;
    let mut at_old = Vec::new();
    for id in 1..=3 {
        world.asks(id).await;
        at_old.push(old.reads().await);
    }
    // In time there is a successor; until it is ready the old one serves, and then it is given no more.
    let mut new = world.starts().await;
    world.asks(4).await;
    at_old.push(old.reads().await);
    world.asks(5).await;
    new.shakes_hands().await;
    let request = new.reads().await;
    new.answers(&request).await;
    world.is_answered(5).await;
    let [first, second, third, fourth] = at_old.try_into().expect("four");
    // An id that is in flight on the old one is in flight.
    world.asks(1).await;
    world.is_rejected(1, "invalid-request").await;
    old.answers(&first).await;
    world.is_answered(1).await;
    let cancel = json!({"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": 2}});
    world.says(&cancel).await;
    assert_eq!(old.reads().await["params"]["requestId"], second["id"]);
    world.deliveries.recv().await.expect("that it is cancelled");
    old.answers(&third).await;
    world.is_answered(3).await;
    old.answers(&fourth).await;
    world.is_answered(4).await;
    old.reads_the_end().await;
    old.exits(0);
    assert_eq!(*world.state.borrow(), ChildState::Ready);
    world.asks(6).await;
    assert_eq!(new.reads().await["method"], "tools/call");
    within(async { while world.handle.stats().await.is_some_and(|stats| stats.router.sessions > 1) {} }).await;
}

#[tokio::test(start_paused = true)]
async fn a_child_that_is_too_old_is_succeeded_and_a_successor_that_fails_changes_nothing() {
    let age = Duration::from_secs(100);
    let (mut world, mut old) = World::configured(|config| config.age_max = Some(age)).becomes_ready().await;
    let begun = Instant::now();
    let failed = world.starts().await;
    assert_eq!(begun.elapsed().as_secs(), age.as_secs());
    failed.exits(3);
    world.asks(1).await;
    let request = old.reads().await;
    old.answers(&request).await;
    world.is_answered(1).await;
    let mut new = world.starts().await;
    assert_eq!(begun.elapsed().as_secs(), age.as_secs() + 30);
    new.shakes_hands().await;
    old.reads_the_end().await;
    old.is_ordered(Order::Stop).await;
    old.exits(0);
    world.asks(2).await;
    let request = new.reads().await;
    new.answers(&request).await;
    world.is_answered(2).await;
    let (handle, begun) = (world.handle.clone(), Instant::now());
    let stop = world.tracker.spawn(async move { handle.stop().await });
    new.reads_the_end().await;
    new.exits(0);
    within(stop).await.expect("no panic");
    assert!(begun.elapsed() < age);
    world.leaves_nothing().await;
}

#[tokio::test(start_paused = true)]
async fn what_a_retired_child_takes_with_it_is_told_and_what_can_be_repeated_goes_to_its_successor() {
    let (mut world, mut old) =
        World::configured(|config| config.requests_max = NonZeroUsize::new(2)).becomes_ready().await;
    world.asks(1).await;
    world.requests(2, "prompts/list").await;
    old.reads().await;
    old.reads().await;
    let mut new = world.starts().await;
    world.asks(3).await;
    new.shakes_hands().await;
    assert_eq!(new.reads().await["method"], "tools/call");
    old.exits(9);
    let request = new.reads().await;
    assert_eq!(request["method"], "prompts/list");
    new.answers(&request).await;
    let mut outcomes = [world.given().await, world.given().await];
    outcomes.sort_by_key(|(id, _)| *id);
    assert_eq!(outcomes[0].1.as_ref().map_err(|reject| reject.wire().kind), Err("child-exited"));
    assert!(outcomes[1].1.is_ok());
}

#[tokio::test(start_paused = true)]
async fn a_child_that_does_not_answer_a_ping_is_killed_and_replaced() {
    let interval = Duration::from_secs(10);
    let (mut world, mut child) =
        World::configured(|config| config.ping_interval = Some(interval)).becomes_ready().await;
    let ping = child.reads().await;
    assert_eq!(ping["method"], "ping");
    child.answers(&ping).await;
    world.asks(1).await;
    assert_eq!(child.reads().await["method"], "tools/call");
    let begun = Instant::now();
    assert_eq!(child.reads().await["method"], "ping");
    // What it writes of itself is no sign of life.
    child.writes("{\"jsonrpc\":\"2.0\",\"method\":\"notifications/message\",\"params\":{\"level\":\"info\"}}\n").await;
    assert!(world.given().await.1.is_ok(), "a log message");
    child.is_ordered(Order::Kill).await;
    assert_eq!(begun.elapsed().as_secs(), 2 * interval.as_secs());
    child.ends(terminated());
    drop(child);
    let reject = world.is_rejected(1, "child-exited").await;
    assert!(reject.to_string().contains("it did not answer a ping within 10s (--ping-interval)"), "{reject}");
    let mut kept = world.starts().await;
    kept.shakes_hands().await;
    world.becomes(&ChildState::Ready).await;
}

#[tokio::test(start_paused = true)]
async fn an_exit_that_mcp_mux_is_to_follow_is_final() {
    let (mut world, mut child) = World::configured(|config| config.on_exit = OnChildExit::Exit).becomes_ready().await;
    world.asks(1).await;
    child.reads().await;
    child.complains("out of memory\n").await;
    child.exits(3);
    let text = world.fails().await;
    assert!(text.starts_with("the server (fake) exited: exit status: 3\n") && text.contains("out of memory"), "{text}");
    world.is_rejected(1, "child-exited").await;
    world.asks(2).await;
    world.is_rejected(2, "child-unavailable").await;
    assert!(world.started.try_recv().is_err());
}

#[tokio::test(start_paused = true)]
async fn a_private_child_sees_its_clients_own_handshake_also_after_a_restart() {
    let mut world = private();
    let mut child = world.starts().await;
    // It may be kept for as long as it takes.
    tokio::time::sleep(START_TIMEOUT * 2).await;
    world.attach_with(Profile::default(), 1).await;
    let params = json!({
        "protocolVersion": "2025-06-18", "capabilities": {"roots": {}}, "clientInfo": {"name": "c", "version": "7"}
    });
    let initialize = json!({"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": params});
    let from = Origin::client(SessionKey(1), StreamId(1));
    let message = Message::parse(Bytes::from(initialize.to_string()), 100).expect("a message");
    within(world.handle.send(from, message)).await.expect("there is room");
    let seen = child.reads().await;
    assert_eq!((&seen["method"], &seen["params"]), (&json!("initialize"), &params));
    let result =
        json!({"protocolVersion": "2025-06-18", "capabilities": {}, "serverInfo": {"name": "s", "version": "1"}});
    child.writes(&format!("{}\n", json!({"jsonrpc": "2.0", "id": seen["id"], "result": result}))).await;
    let answer: Value = serde_json::from_str(&world.given().await.1.expect("the answer")).expect("JSON");
    assert_eq!((&answer["id"], &answer["result"]), (&json!(1), &result));
    world.becomes(&ChildState::Ready).await;
    world.notifies("notifications/initialized").await;
    assert_eq!(child.reads().await["method"], "notifications/initialized");
    child.exits(1);
    let mut child = world.starts().await;
    let seen = child.reads().await;
    assert_eq!((&seen["method"], &seen["params"]), (&json!("initialize"), &params));
    child.writes(&format!("{}\n", json!({"jsonrpc": "2.0", "id": seen["id"], "result": result}))).await;
    assert_eq!(child.reads().await["method"], "notifications/initialized");
    world.asks(2).await;
    let request = child.reads().await;
    child.answers(&request).await;
    world.is_answered(2).await;
}

#[tokio::test(start_paused = true)]
async fn a_private_child_that_exits_before_anybody_needs_it_is_started_again() {
    let mut world = private();
    world.starts().await.exits(1);
    let child = world.starts().await;
    assert_eq!(*world.state.borrow(), ChildState::Starting);
    tokio::time::sleep(Duration::from_secs(30)).await;
    child.exits(2);
    let begun = Instant::now();
    let _child = world.starts().await;
    assert_eq!(begun.elapsed(), Duration::ZERO, "it was stable");
}
