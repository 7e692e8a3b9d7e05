//! What a modern child tells unasked (2026-07-28, Subscriptions).

use super::*;

pub(super) const SUBSCRIBE: &str = r#"{"jsonrpc":"2.0","id":1,"method":"resources/subscribe","params":{"uri":"x:/1"}}"#;
pub(super) const LISTS: &str = r#"{"toolsListChanged":true,"resourcesListChanged":true}"#;
pub(super) const BOTH: &str = r#"{"toolsListChanged":true,"resourceSubscriptions":["x:/1"]}"#;

pub(super) fn acknowledges(world: &mut World, id: u64, filter: &str) {
    let params = format!(r#"{{"notifications":{filter},"_meta":{{"io.modelcontextprotocol/subscriptionId":{id}}}}}"#);
    world.child_says(&format!(
        r#"{{"jsonrpc":"2.0","method":"notifications/subscriptions/acknowledged","params":{params}}}"#
    ));
}

pub(super) fn event(method: &str, id: &str, rest: &str) -> String {
    let meta = format!(r#""_meta":{{"io.modelcontextprotocol/subscriptionId":{id}}}"#);
    format!(r#"{{"jsonrpc":"2.0","method":"notifications/{method}","params":{{{meta}{rest}}}}}"#)
}

/// The `subscriptions/listen` that the child has read last, its id and its filter.
pub(super) fn listened(world: &mut World) -> (u64, Value) {
    let read = world.child_read();
    let line = read.iter().rev().find(|line| json_of(line)["method"] == "subscriptions/listen");
    let line = line.unwrap_or_else(|| panic!("no listen in {read:?}"));
    (id_of(line), json_of(line)["params"]["notifications"].clone())
}

/// A modern child with a session on it that is told when lists change; our `subscriptions/listen`.
pub(super) fn listening() -> (World, SessionKey, u64) {
    let mut world = World::modern();
    let session = world.attach(1, NONE);
    let (id, filter) = listened(&mut world);
    assert_eq!(filter, json_of(LISTS));
    acknowledges(&mut world, id, LISTS);
    (world, session, id)
}

#[test]
fn list_changes_are_listened_for_once_and_reach_every_session_without_the_subscriptions_id() {
    let (mut world, a, id) = listening();
    let b = world.attach(2, NONE);
    assert_eq!(world.child_read(), [""; 0], "once is enough");
    world.child_says(&event("tools/list_changed", &id.to_string(), ""));
    for session in [a, b] {
        let told = r#"{"jsonrpc":"2.0","method":"notifications/tools/list_changed","params":{}}"#;
        assert_eq!(world.seen_by(session), [Seen::Message(told.to_owned())]);
    }
    world.child_says(&event("tools/list_changed", "\"nobody's\"", ""));
    assert!(world.seen.is_empty());
    world.detach(a);
    assert_eq!(world.child_read(), [""; 0]);
    world.detach(b);
    assert_eq!(json_of(&world.child_read()[0])["params"]["requestId"], id, "nobody is left who wants to know");
}

#[test]
fn a_subscription_is_answered_when_the_child_has_agreed_and_replaces_the_older_listen() {
    let (mut world, session, older) = listening();
    world.says(session, 1, SUBSCRIBE).unwrap();
    let (id, filter) = listened(&mut world);
    assert_eq!(filter["resourceSubscriptions"], json!(["x:/1"]));
    assert_eq!(world.seen_by(session), []);
    acknowledges(&mut world, id, BOTH);
    assert_eq!(world.seen_by(session), [response("1", "{}")]);
    assert_eq!(json_of(&world.child_read()[0])["params"]["requestId"], older, "after the acknowledgement");
    let other = world.attach(2, NONE);
    world.child_says(&event("resources/updated", &id.to_string(), r#","uri":"x:/1""#));
    assert_eq!(message_of(&world.seen_by(session)[0])["params"], json!({"uri": "x:/1"}));
    assert_eq!(world.seen_by(other), []);
    world.child_says(&event("resources/updated", &older.to_string(), r#","uri":"x:/1""#));
    assert_eq!(world.seen_by(session), []);
    world.says(session, 1, &SUBSCRIBE.replace("/sub", "/unsub")).unwrap();
    assert_eq!(world.seen_by(session), [response("1", "{}")]);
    assert_eq!(listened(&mut world).1, json_of(LISTS));
}

#[test]
fn wishes_that_come_while_one_is_under_way_go_into_the_next() {
    let (mut world, session, _) = listening();
    for n in 1..5 {
        world
            .says(
                session,
                1,
                &SUBSCRIBE.replace("\"id\":1", &format!("\"id\":{n}")).replace("x:/1", &format!("x:/{n}")),
            )
            .unwrap();
    }
    let read = world.child_read();
    assert_eq!(read.len(), 1);
    acknowledges(&mut world, id_of(&read[0]), r#"{"resourceSubscriptions":["x:/1"]}"#);
    assert_eq!(world.seen_by(session), [response("1", "{}")]);
    let (id, filter) = listened(&mut world);
    assert_eq!(filter["resourceSubscriptions"], json!(["x:/1", "x:/2", "x:/3", "x:/4"]));
    acknowledges(&mut world, id, r#"{"resourceSubscriptions":["x:/1","x:/2","x:/4"]}"#);
    let refused = Seen::Rejected("3".to_owned(), "invalid-params");
    assert_eq!(world.seen_by(session), [response("2", "{}"), response("4", "{}"), refused]);
}

#[test]
fn a_child_that_refuses_to_tell_is_not_asked_again_for_the_same() {
    let mut world = World::modern();
    let session = world.attach(1, NONE);
    let (id, _) = listened(&mut world);
    let error = r#""error":{"code":-32601,"message":"no"}"#;
    world.child_says(&format!(r#"{{"jsonrpc":"2.0","id":{id},{error}}}"#));
    assert_eq!(world.child_read(), [""; 0]);
    world.says(session, 1, SUBSCRIBE).unwrap();
    let (id, _) = listened(&mut world);
    world.child_says(&format!(r#"{{"jsonrpc":"2.0","id":{id},{error}}}"#));
    assert_eq!(world.seen_by(session), [Seen::Response(format!(r#"{{"jsonrpc":"2.0","id":1,{error}}}"#))]);
    assert_eq!(world.router.stats().subscriptions, 0);
}

#[test]
fn a_subscription_that_the_child_takes_down_is_asked_for_again_unless_it_does_so_at_once() {
    // spec: 2026-07-28 basic/patterns/subscriptions, Graceful Closure; basic/patterns/cancellation
    let (mut world, _, id) = listening();
    world.advance(Duration::from_secs(1));
    world.child_answers(id, r#"{"resultType":"complete"}"#);
    let (id, _) = listened(&mut world);
    acknowledges(&mut world, id, LISTS);
    world.child_says(&format!(
        r#"{{"jsonrpc":"2.0","method":"notifications/cancelled","params":{{"requestId":{id}}}}}"#
    ));
    assert_eq!(world.child_read(), [""; 0]);
}

#[test]
fn the_next_process_is_asked_for_what_stood() {
    let (mut world, session, _) = listening();
    world.says(session, 1, SUBSCRIBE).unwrap();
    let (id, filter) = listened(&mut world);
    acknowledges(&mut world, id, BOTH);
    world.exit();
    world.begin();
    let discover = id_of(&world.child.pop_back().unwrap());
    world.child_answers(discover, super::super::super::world::DISCOVER_RESULT);
    let (again, same) = listened(&mut world);
    assert!(again != id && same == filter);
    world.seen.clear();
    acknowledges(&mut world, again, BOTH);
    world.child_says(&event("resources/updated", &again.to_string(), r#","uri":"x:/1""#));
    assert_eq!(world.seen_by(session).len(), 1);
}

#[test]
fn a_successor_listens_for_itself_and_tells_what_the_old_process_says() {
    let (mut world, session, id) = listening();
    let mut successor = world.successor();
    successor.start();
    world.hand_over(&mut successor);
    let (own, _) = listened(&mut successor);
    world.child_says(&event("tools/list_changed", &id.to_string(), ""));
    for news in world.router.take_news() {
        successor.router.handle_child_message(news, successor.now);
        successor.drain();
    }
    assert_eq!(successor.seen_by(session).len(), 1);
    acknowledges(&mut successor, own, LISTS);
    successor.child_says(&event("tools/list_changed", &own.to_string(), ""));
    assert_eq!(successor.seen_by(session).len(), 1);
    assert!(world.router.is_drained());
}

// --- modern clients ---

const LISTEN: &str = r#"{"jsonrpc":"2.0","id":"listen:0","method":"subscriptions/listen","params":{"notifications":{"toolsListChanged":true}}}"#;

#[test]
fn modern_clients_listen_for_themselves_each_under_its_own_id() {
    let mut world = World::modern_with(RouterConfig { request_timeout: Some(Duration::from_secs(1)), ..config() });
    let (a, b) = (world.attach_exchange(1, None), world.attach_exchange(2, None));
    for session in [a, b] {
        world.says(session, 3, LISTEN).unwrap();
    }
    let ids: Vec<u64> = world.child_read().iter().map(|line| id_of(line)).collect();
    world.advance(Duration::from_secs(1000));
    for (session, id) in [a, b].into_iter().zip(ids) {
        acknowledges(&mut world, id, LISTS);
        world.child_says(&event("tools/list_changed", &format!("\"{id}\""), ""));
        let seen = world.seen_by(session);
        for seen in &seen {
            assert_eq!(message_of(seen)["params"]["_meta"][meta::SUBSCRIPTION_ID], "listen:0");
        }
        assert_eq!((seen.len(), world.seen.len()), (2, 0));
        world.child_answers(
            id,
            &format!(r#"{{"resultType":"complete","_meta":{{"io.modelcontextprotocol/subscriptionId":{id}}}}}"#),
        );
        let end = r#"{"resultType":"complete","_meta":{"io.modelcontextprotocol/subscriptionId":"listen:0"}}"#;
        assert_eq!(world.seen_by(session), [response("\"listen:0\"", end)]);
    }
}

#[test]
fn a_modern_clients_subscription_ends_with_it_or_as_the_child_ends_it() {
    let mut world = World::modern();
    let (a, b) = (world.attach_exchange(1, None), world.attach_exchange(2, None));
    world.says(a, 1, LISTEN).unwrap();
    world.says(b, 1, LISTEN).unwrap();
    let ids: Vec<u64> = world.child_read().iter().map(|line| id_of(line)).collect();
    world.detach(a);
    assert_eq!(json_of(&world.child_read()[0])["params"]["requestId"], ids[0]);
    world.child_says(&event("tools/list_changed", &ids[0].to_string(), ""));
    world.seen_by(a);
    assert!(world.seen.is_empty());
    world.child_says(&format!(
        r#"{{"jsonrpc":"2.0","method":"notifications/cancelled","params":{{"requestId":{}}}}}"#,
        ids[1]
    ));
    let [Seen::Response(end)] = &world.seen_by(b)[..] else { panic!("not ended") };
    assert_eq!(json_of(end)["result"]["_meta"][meta::SUBSCRIPTION_ID], "listen:0");
}

#[test]
fn a_modern_clients_subscription_outlives_the_process() {
    let mut world = World::modern();
    let exchange = world.attach_exchange(1, None);
    world.says(exchange, 1, LISTEN).unwrap();
    for restarts in 0..3 {
        let (id, _) = listened(&mut world);
        acknowledges(&mut world, id, r#"{"toolsListChanged":true}"#);
        let seen = world.seen_by(exchange);
        let told =
            if restarts == 0 { "notifications/subscriptions/acknowledged" } else { "notifications/tools/list_changed" };
        assert_eq!((seen.len(), &message_of(&seen[0])["method"]), (1, &json!(told)));
        assert_eq!(message_of(&seen[0])["params"]["_meta"][meta::SUBSCRIPTION_ID], "listen:0");
        world.exit();
        world.begin();
        let discover = id_of(&world.child.pop_back().unwrap());
        world.child_answers(discover, super::super::super::world::DISCOVER_RESULT);
    }
}

#[test]
fn a_modern_clients_subscription_goes_on_with_the_successor_unnoticed() {
    let mut world = World::modern();
    let exchange = world.attach_exchange(1, None);
    world.says(exchange, 1, LISTEN).unwrap();
    let (id, _) = listened(&mut world);
    acknowledges(&mut world, id, r#"{"toolsListChanged":true}"#);
    world.seen.clear();
    let mut successor = world.successor();
    successor.start();
    world.hand_over(&mut successor);
    assert_eq!(json_of(&world.child_read()[0])["params"]["requestId"], id);
    assert!(world.router.is_drained());
    let (own, _) = listened(&mut successor);
    acknowledges(&mut successor, own, r#"{"toolsListChanged":true}"#);
    assert_eq!(successor.seen_by(exchange), []);
    successor.child_says(&event("tools/list_changed", &own.to_string(), ""));
    assert_eq!(successor.seen_by(exchange).len(), 1);
}
