//! What an exit does to requests, and what they are told while no child is to be had.

use std::time::Duration;

use super::super::world::{ASKABLE, Seen, World, config, id_of, json_of, response};
use super::super::*;
use super::{NONE, SAMPLE};

fn request(id: u32, method: &str, params: &str) -> String {
    format!(r#"{{"jsonrpc":"2.0","id":{id},"method":"{method}","params":{params}}}"#)
}

/// What the child has read: each method, and the mark in its params.
fn read(world: &mut World) -> Vec<String> {
    let line = |line: &String| {
        let json = json_of(line);
        format!("{} {}", json["method"].as_str().unwrap_or("-"), json["params"]["m"])
    };
    world.child_read().iter().map(line).collect()
}

#[test]
fn what_was_not_written_goes_to_the_next_process_in_order_and_before_what_waits() {
    let mut world = World::ready();
    let a = world.attach(1, NONE);
    world.says(a, 1, &request(1, "tools/call", r#"{"m":1}"#)).unwrap();
    let written = world.child_read();
    world.says(a, 2, &request(2, "tools/call", r#"{"m":2,"_meta":{"progressToken":"t"}}"#)).unwrap();
    world.says(a, 0, r#"{"jsonrpc":"2.0","method":"notifications/x","params":{"m":3}}"#).unwrap();
    world.says(a, 3, &request(3, "tools/call", r#"{"m":4}"#)).unwrap();
    let unwritten = world.child_read();
    world.router.handle_child_ending();
    world.says(a, 0, r#"{"jsonrpc":"2.0","method":"notifications/x","params":{"m":5}}"#).unwrap();
    world.says(a, 4, &request(4, "tools/call", r#"{"m":6}"#)).unwrap();
    world.exit_leaving(&unwritten);
    assert_eq!(world.seen_by(a), [Seen::Rejected("1".to_owned(), "child-exited")]);
    assert_eq!(world.router.stats().in_flight, 3);
    world.start();
    let again = world.child_read();
    assert_eq!(again[1..4], unwritten, "byte for byte, under the same ids");
    assert!(written.iter().all(|line| !again.contains(line)));
    world.child.extend(again[4..].iter().cloned());
    assert_eq!(read(&mut world), ["notifications/x 5", "tools/call 6"]);
    // Progress still finds its way.
    let id = id_of(&unwritten[0]);
    world.child_says(&format!(
        r#"{{"jsonrpc":"2.0","method":"notifications/progress","params":{{"progressToken":"mux-{id}","progress":1}}}}"#
    ));
    world.child_answers(id, "{}");
    let progress = r#"{"jsonrpc":"2.0","method":"notifications/progress","params":{"progressToken":"t","progress":1}}"#;
    assert_eq!(world.seen_by(a)[2..], [Seen::Message(progress.to_owned()), response("2", "{}")]);
    assert_eq!(world.router.queued_bytes(), 0);
    assert_eq!(world.router.requests_given(), 6, "each time they were handed out");
}

#[test]
fn what_may_be_carried_out_twice_is_repeated_once() {
    let mut world = World::ready();
    let a = world.attach(1, NONE);
    let methods = ["tools/list", "resources/read", "tools/call", "completion/complete", "vendor/list", "prompts/get"];
    for (id, method) in (1..).zip(methods) {
        world.says(a, 1, &request(id, method, &format!(r#"{{"m":{id}}}"#))).unwrap();
    }
    let task = r#"{"m":7,"task":{}}"#;
    world.says(a, 1, &request(7, "resources/read", task)).unwrap();
    let large = format!(r#"{{"m":8,"x":"{}"}}"#, "x".repeat(20_000));
    world.says(a, 1, &request(8, "resources/read", &large)).unwrap();
    let first = world.child_read();
    world.exit();
    let lost = ["3", "5", "6", "7", "8"].map(|id| Seen::Rejected(id.to_owned(), "child-exited"));
    assert_eq!(world.seen_by(a), lost);
    world.start();
    let again = world.child_read();
    assert_eq!(again[1..], [first[0].clone(), first[1].clone(), first[3].clone()]);
    world.child_answers(id_of(&first[0]), "{}");
    world.seen.clear();
    world.exit();
    let lost = ["2", "4"].map(|id| Seen::Rejected(id.to_owned(), "child-exited"));
    assert_eq!(world.seen_by(a), lost, "not a third time");
    assert_eq!((world.router.stats().in_flight, world.router.queued_bytes()), (0, 0));
}

#[test]
fn what_follows_a_request_of_ours_that_was_not_written_is_queued_again() {
    let mut world = World::ready();
    let (a, b) = (world.attach(1, NONE), world.attach(2, NONE));
    world.says(a, 1, &request(1, "resources/subscribe", r#"{"uri":"x:/1"}"#)).unwrap();
    world.says(b, 1, &request(1, "resources/subscribe", r#"{"uri":"x:/1"}"#)).unwrap();
    world.says(a, 2, &request(2, "logging/setLevel", r#"{"level":"error"}"#)).unwrap();
    world.says(b, 2, &request(2, "tools/call", r#"{"m":1}"#)).unwrap();
    let unwritten = world.child_read();
    assert_eq!(unwritten.len(), 3);
    world.exit_leaving(&unwritten);
    assert_eq!((world.seen_by(a), world.seen_by(b)), (vec![], vec![]));
    world.start();
    let methods: Vec<_> = world.child.iter().map(|line| json_of(line)["method"].as_str().unwrap().to_owned()).collect();
    // The level is told anew with the handshake, and needs no further asking.
    let expected = ["notifications/initialized", "logging/setLevel", "resources/subscribe", "tools/call"];
    assert_eq!(methods, expected);
    assert_eq!(world.seen_by(a)[2..], [response("2", "{}")], "after the lists");
    let subscribe = world.child_read()[2].clone();
    world.seen.clear();
    world.child_answers(id_of(&subscribe), r#"{"n":1}"#);
    assert_eq!(world.seen_by(a), [response("1", r#"{"n":1}"#)]);
    assert_eq!(world.seen_by(b), [response("1", r#"{"n":1}"#)]);
    // Once written it is lost with its process.
    world.says(a, 1, &request(1, "resources/subscribe", r#"{"uri":"x:/2"}"#)).unwrap();
    world.exit();
    assert_eq!(world.seen_by(a), [Seen::Rejected("1".to_owned(), "child-exited")]);
}

#[test]
fn cancellations_answers_and_what_nobody_waits_for_are_not_given_to_the_next_process() {
    let mut world = World::ready();
    let (a, b) = (world.attach(1, ASKABLE), world.attach(2, NONE));
    world.calls(a, 1, "1", "{}");
    world.child_says(SAMPLE);
    let [Seen::Message(question)] = &world.seen_by(a)[..] else { panic!() };
    let id = json_of(question)["id"].to_string();
    world.says(a, 0, &format!(r#"{{"jsonrpc":"2.0","id":{id},"result":{{}}}}"#)).unwrap();
    world.says(a, 2, &request(2, "tools/call", "{}")).unwrap();
    world.says(a, 0, r#"{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":2}}"#).unwrap();
    world.says(b, 0, r#"{"jsonrpc":"2.0","method":"notifications/x"}"#).unwrap();
    world.says(a, 0, r#"{"jsonrpc":"2.0","method":"notifications/y"}"#).unwrap();
    world.router.ping_child();
    world.drain();
    let mut unwritten = world.child_read();
    assert_eq!(unwritten.len(), 7);
    world.detach(b);
    unwritten.extend(world.child_read());
    unwritten.push("not a message".to_owned());
    world.exit_leaving(&unwritten);
    world.start();
    let methods: Vec<_> = world.child_read().iter().map(|line| json_of(line)["method"].to_string()).collect();
    assert_eq!(methods, [r#""notifications/initialized""#, r#""notifications/y""#]);
}

#[test]
fn the_time_in_the_queue_counts_from_the_exit_and_the_maximum_from_when_it_was_accepted() {
    let second = Duration::from_secs(1);
    let limits = |request_timeout, request_timeout_max| RouterConfig {
        request_timeout,
        request_timeout_max,
        queue_timeout: 10 * second,
        ..config()
    };
    for (config, told_after, kind) in [
        (limits(None, None), 10, "child-unavailable"),
        (limits(Some(8 * second), None), 8, "request-timeout"),
        (limits(Some(8 * second), Some(12 * second)), 5, "request-timeout"),
    ] {
        let mut world = World::ready_with(config);
        let a = world.attach(1, NONE);
        world.says(a, 1, &request(1, "tools/list", "{}")).unwrap();
        world.says(a, 2, &request(2, "tools/call", "{}")).unwrap();
        let unwritten = world.child_read().split_off(1);
        world.advance(7 * second);
        world.exit_leaving(&unwritten);
        world.advance((told_after - 1) * second);
        assert_eq!(world.seen_by(a), []);
        world.advance(second);
        let told = ["1", "2"].map(|id| Seen::Rejected(id.to_owned(), kind));
        assert_eq!(world.seen_by(a), told);
        assert_eq!((world.router.poll_timeout(), world.router.queued_bytes()), (None, 0));
    }
}

#[test]
fn a_client_can_cancel_or_leave_while_its_request_waits_again() {
    let mut world = World::ready();
    let a = world.attach(1, NONE);
    world.says(a, 1, &request(1, "tools/list", "{}")).unwrap();
    world.says(a, 1, &request(2, "tools/list", "{}")).unwrap();
    world.says(a, 0, r#"{"jsonrpc":"2.0","method":"notifications/x"}"#).unwrap();
    let unwritten = world.child_read().split_off(1);
    world.exit_leaving(&unwritten);
    world.says(a, 0, r#"{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":1}}"#).unwrap();
    assert_eq!(world.seen_by(a), [Seen::Cancelled]);
    world.detach(a);
    assert_eq!(world.seen_by(a), [Seen::Rejected("2".to_owned(), "session-closed")]);
    assert_eq!((world.router.stats(), world.router.queued_bytes()), (Stats::default(), 0));
}

#[test]
fn an_introduction_that_was_not_written_is_made_to_the_next_process() {
    let mut world = World::private();
    let key = SessionKey(1);
    world.router.attach(key, Profile::default(), world.now);
    let initialize = request(1, "initialize", r#"{"protocolVersion":"2025-11-25"}"#);
    world.says(key, 1, &initialize).unwrap();
    let unwritten = world.child_read();
    world.exit_leaving(&unwritten);
    assert_eq!((world.seen_by(key), world.router.stage()), (vec![], Stage::Down));
    world.begin();
    assert_eq!((world.child_read(), world.router.stage()), (unwritten, Stage::Handshake));
    world.exit();
    assert_eq!(world.seen_by(key), [Seen::Rejected("1".to_owned(), "child-exited")]);
    world.router.handle_child_start(world.now);
    assert_eq!(world.router.stage(), Stage::Waiting);
}

#[test]
fn while_suspended_everything_is_refused_until_it_is_resumed() {
    let mut world = World::new(config());
    let a = world.attach(1, NONE);
    let open = |seconds| Reject::CircuitOpen { retry_after: Duration::from_secs(seconds) };
    world.says(a, 1, &request(1, "tools/list", "{}")).unwrap();
    world.says(a, 0, r#"{"jsonrpc":"2.0","method":"notifications/x"}"#).unwrap();
    world.router.suspend(world.now + Duration::from_secs(30), world.now);
    world.drain();
    assert_eq!(world.seen_by(a), [Seen::Rejected("1".to_owned(), "circuit-open")]);
    world.says(a, 0, r#"{"jsonrpc":"2.0","method":"notifications/x"}"#).unwrap();
    assert_eq!(world.says(a, 1, &request(2, "tools/list", "{}")), Err(open(30)));
    assert_eq!((world.router.stats().queued, world.router.queued_bytes()), (0, 0));
    world.router.suspend(world.now + Duration::from_secs(9), world.now);
    world.advance(Duration::from_secs(2));
    // Not even a handshake that stands lifts it.
    world.start();
    assert_eq!(world.says(a, 1, &request(3, "tools/list", "{}")), Err(open(7)));
    // Its client is there all the same.
    world.says(a, 1, &request(9, "ping", "{}")).unwrap();
    assert_eq!(world.seen_by(a), [response("9", "{}")]);
    world.router.resume();
    world.child.clear();
    world.calls(a, 1, "4", "{}");

    world.router.close(&Reject::ShuttingDown);
    world.router.suspend(world.now, world.now);
    world.router.resume();
    assert_eq!(world.says(a, 1, &request(5, "tools/list", "{}")), Err(Reject::ShuttingDown));
}

#[test]
fn life_is_whatever_answers_to_something_of_ours() {
    let mut world = World::ready();
    let a = world.attach(1, NONE);
    let signs = |world: &World| world.router.life_signs();
    let before = signs(&world);
    world.router.ping_child();
    world.router.ping_child();
    world.drain();
    let pings = world.child_read();
    assert_eq!((pings.len(), &json_of(&pings[0])["method"]), (1, &serde_json::json!("ping")), "one at a time");
    world.child_says(r#"{"jsonrpc":"2.0","method":"notifications/message","params":{"level":"info","data":1}}"#);
    world.child_answers(999, "{}");
    assert_eq!(signs(&world), before);
    world.child_says(&format!(
        r#"{{"jsonrpc":"2.0","id":{},"error":{{"code":-32601,"message":"?"}}}}"#,
        id_of(&pings[0])
    ));
    let id = world.calls(a, 1, "1", r#"{"_meta":{"progressToken":1}}"#);
    world.child_says(&format!(
        r#"{{"jsonrpc":"2.0","method":"notifications/progress","params":{{"progressToken":"mux-{id}","progress":1}}}}"#
    ));
    world.router.handle_unusable_answer(id, "too long", world.now);
    assert_eq!(signs(&world), before + 3);
    assert_eq!(world.router.requests_given(), 1);
    world.router.ping_child();
    world.drain();
    assert_eq!(world.child_read().len(), 1);
    assert_eq!(world.seen_by(a).len(), 2, "of the pings it knows nothing");
}
