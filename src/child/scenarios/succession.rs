//! What can come between a process and its successor.

use super::*;

const INIT: &str = r#"{"protocolVersion":"2025-06-18","capabilities":{},"serverInfo":{"name":"s","version":"1"}}"#;

fn recycled_after(requests: usize) -> World {
    World::configured(|config| config.requests_max = NonZeroUsize::new(requests))
}

fn private_of_age(age: Duration) -> World {
    let mut config = child_config(&["/usr/bin/fake"]);
    config.age_max = Some(age);
    World::of(&config, Sharing::Private, &[], 1024, |_| Liveness::Exiting)
}

impl World {
    async fn sends_request(&self, id: u64, method: &str, params: Value) {
        let message = json!({"jsonrpc": "2.0", "id": id, "method": method, "params": params});
        let from = Origin::client(SessionKey(1), StreamId(id));
        let message = Message::parse(Bytes::from(message.to_string()), 100).expect("a message");
        within(self.handle.send(from, message)).await.expect("there is room");
    }

    /// A request whose answer changes what the session's state is, and two others; none is answered.
    async fn leaves_three_open(&self, child: &mut Fake) {
        self.sends_request(1, "resources/subscribe", json!({"uri": "x:/1"})).await;
        for id in 2..=3 {
            self.asks(id).await;
        }
        for _ in 1..=3 {
            child.reads().await;
        }
    }

    async fn introduces_itself(&self) -> Value {
        self.attach_with(Profile::default(), 1).await;
        let params = json!({
            "protocolVersion": "2025-06-18", "capabilities": {"roots": {}}, "clientInfo": {"name": "c", "version": "7"}
        });
        self.sends_request(1, "initialize", params.clone()).await;
        params
    }
}

async fn accepts(child: &mut Fake, initialize: &Value) {
    child.writes(&format!("{{\"jsonrpc\":\"2.0\",\"id\":{},\"result\":{INIT}}}\n", initialize["id"])).await;
}

#[tokio::test(start_paused = true)]
async fn what_a_process_takes_with_it_is_told_also_if_its_successor_was_waiting() {
    let (mut world, mut old) = recycled_after(4).becomes_ready().await;
    world.leaves_three_open(&mut old).await;
    let mut new = world.starts().await;
    new.shakes_hands().await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    old.exits(1);
    for id in 1..=3 {
        world.is_rejected(id, "child-exited").await;
    }
    world.asks(4).await;
    assert_eq!(new.reads().await["method"], "tools/call");
}

#[tokio::test(start_paused = true)]
async fn a_task_of_a_process_that_was_given_all_its_requests_can_be_asked_for() {
    let (mut world, mut old) = recycled_after(4).becomes_ready().await;
    world.sends_request(1, "tools/call", json!({"name": "x", "task": {}})).await;
    let call = old.reads().await;
    let task = json!({"jsonrpc": "2.0", "id": call["id"], "result": {"task": {"taskId": "t", "status": "working"}}});
    old.writes(&format!("{task}\n")).await;
    world.given().await.1.expect("a task");
    for id in 2..=4 {
        world.asks(id).await;
        let request = old.reads().await;
        old.answers(&request).await;
        world.is_answered(id).await;
    }
    let mut kept = world.starts().await;
    kept.shakes_hands().await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    world.sends_request(9, "tasks/result", json!({"taskId": "t"})).await;
    assert_eq!(old.reads().await["method"], "tasks/result");
}

#[tokio::test(start_paused = true)]
async fn the_successor_of_a_spare_is_introduced_to_by_the_client_that_came_meanwhile() {
    let mut world = private_of_age(Duration::from_secs(100));
    let mut old = world.starts().await;
    let mut new = world.starts().await;
    let params = world.introduces_itself().await;
    let seen = old.reads().await;
    accepts(&mut old, &seen).await;
    world.given().await.1.expect("its answer");
    assert_eq!(new.reads().await["params"], params);
}

#[tokio::test(start_paused = true)]
async fn a_handshake_that_takes_long_is_not_left_behind() {
    let mut world = private_of_age(Duration::from_secs(100));
    let mut old = world.starts().await;
    tokio::time::sleep(Duration::from_secs(99)).await;
    world.introduces_itself().await;
    let seen = old.reads().await;
    // The successor is not waited for, but neither is the session left without a process.
    let mut new = world.starts().await;
    new.is_ordered(Order::Stop).await;
    accepts(&mut old, &seen).await;
    world.given().await.1.expect("its answer");
    world.asks(2).await;
    assert_eq!(old.reads().await["method"], "tools/call");
}

#[tokio::test(start_paused = true)]
async fn a_successor_that_goes_while_it_waits_costs_nothing() {
    let (mut world, mut old) = recycled_after(4).becomes_ready().await;
    world.leaves_three_open(&mut old).await;
    let mut new = world.starts().await;
    new.shakes_hands().await;
    tokio::time::sleep(Duration::from_secs(5)).await;
    new.stdout = None;
    // Time would stand still for an actor that has something to do at a time that is over.
    tokio::time::sleep(Duration::from_secs(7)).await;
    new.ends(terminated());
    world.asks(4).await;
    assert_eq!(old.reads().await["method"], "tools/call");
}

#[tokio::test(start_paused = true)]
async fn a_successor_that_takes_over_closes_the_circuit() {
    let (mut world, mut child) = recycled_after(2).becomes_ready().await;
    for _ in 0..10 {
        child.exits(1);
        child = world.starts().await;
        child.shakes_hands().await;
        world.becomes(&ChildState::Ready).await;
    }
    for id in 1..=2 {
        world.asks(id).await;
        child.reads().await;
    }
    let mut new = world.starts().await;
    child.exits(1);
    within(world.state.wait_for(|state| matches!(state, ChildState::CircuitOpen(_)))).await.expect("the actor lives");
    for id in 1..=2 {
        world.is_rejected(id, "child-exited").await;
    }
    new.shakes_hands().await;
    world.becomes(&ChildState::Ready).await;
    tokio::time::sleep(Duration::from_secs(100)).await;
    new.exits(1);
    // One exit after good service is nothing.
    let mut kept = world.starts().await;
    kept.shakes_hands().await;
    world.becomes(&ChildState::Ready).await;
}

#[tokio::test(start_paused = true)]
async fn successors_that_hang_hold_nobody_up_for_long_nor_again_and_again() {
    let (mut world, mut old) = recycled_after(4).becomes_ready().await;
    let mut started = std::mem::replace(&mut world.started, mpsc::channel(1).1);
    world.tracker.spawn(async move {
        while let Some(mut child) = started.recv().await {
            let _ = child.orders.wait_for(|order| *order != Order::Run).await;
            child.exits(1);
        }
    });
    let mut waits = Vec::new();
    for id in 1..=40 {
        let begun = Instant::now();
        world.asks(id).await;
        let request = old.reads().await;
        old.answers(&request).await;
        world.is_answered(id).await;
        waits.extend(Some(begun.elapsed().as_secs()).filter(|wait| *wait > 0));
        tokio::time::sleep(Duration::from_secs(5)).await;
    }
    assert!(waits.len() == 1 && waits[0] <= 10, "{waits:?}");
}

#[tokio::test(start_paused = true)]
async fn a_stop_with_an_old_process_still_there_lets_time_go_on() {
    let (mut world, mut old) = recycled_after(2).becomes_ready().await;
    for id in 1..=2 {
        world.asks(id).await;
        old.reads().await;
    }
    let mut current = world.starts().await;
    current.shakes_hands().await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    for _ in 0..4 {
        current.exits(1);
        current = world.starts().await;
        current.shakes_hands().await;
        world.becomes(&ChildState::Ready).await;
    }
    current.exits(1);
    tokio::time::sleep(Duration::from_millis(1)).await;
    let handle = world.handle.clone();
    let stop = world.tracker.spawn(async move { handle.stop().await });
    old.is_ordered(Order::Stop).await;
    tokio::time::sleep(Duration::from_secs(4)).await;
    old.exits(0);
    // The next one, if its wait was over before the stop.
    while let Ok(child) = world.started.try_recv() {
        child.exits(0);
    }
    within(stop).await.expect("no panic");
}
