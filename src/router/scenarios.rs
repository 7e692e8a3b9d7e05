//! The rules of DESIGN section 4, one scenario each.

mod bounds;
mod cancelled;
mod exits;
mod private;
mod succession;

use std::time::Duration;

use super::cancelled::REMEMBERED_FOR;
use super::world::{ASKABLE, Seen, World, config, error_kind, id_of, json_of, response};
use super::*;
use crate::config::OnAmbiguous;

const NONE: ClientCapabilities =
    ClientCapabilities { roots: false, sampling: false, elicitation_form: false, elicitation_url: false };
const SAMPLE: &str = r#"{"jsonrpc":"2.0","id":0,"method":"sampling/createMessage","params":{"maxTokens":1}}"#;
const CANCEL: &str = r#"{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":1}}"#;

#[test]
fn clients_with_the_same_ids_share_a_child_and_get_their_own_answers() {
    let mut world = World::ready();
    let (a, b) = (world.attach(1, NONE), world.attach(2, NONE));
    world.child_read();
    let first = world.calls(a, 1, "1", r#"{"x":"a"}"#);
    let second = world.calls(b, 1, "1", r#"{"x":"b"}"#);
    let third = world.calls(a, 2, r#""1""#, r#"{"x":"c"}"#);
    assert!(first != second && second != third);
    world.child_answers(third, r#""c""#);
    world.child_answers(second, r#""b""#);
    world.child_answers(first, r#""a""#);
    assert_eq!(world.seen_by(a), [response(r#""1""#, r#""c""#), response("1", r#""a""#)]);
    assert_eq!(world.seen_by(b), [response("1", r#""b""#)]);
}

#[test]
fn ids_and_payloads_come_back_byte_for_byte() {
    let mut world = World::ready();
    let a = world.attach(1, NONE);
    world.child_read();
    for id in ["1", r#""1""#, "1e2", "-0", r#""""#, "1234567890123456789012345678901234567890", r#""\u0031é""#] {
        let line = format!(
            r#"{{ "id" : {id},"extra":{{"z":1,"a":[9007199254740993]}},"jsonrpc":"2.0","params":{{"b":2,"a":"👩‍👩‍👧"}},"method":"x/y" }}"#
        );
        world.says(a, 1, &line).unwrap();
        let read = world.child.pop_back().unwrap();
        let child_id = id_of(&read);
        assert_eq!(read, line.replace(&format!(r#""id" : {id}"#), &format!(r#""id" : {child_id}"#)));
        world.child_says(&format!(r#"{{"result":{{"n":9007199254740993,"s":"é"}},"jsonrpc":"2.0","id":{child_id}}}"#));
        let answer = format!(r#"{{"result":{{"n":9007199254740993,"s":"é"}},"jsonrpc":"2.0","id":{id}}}"#);
        assert_eq!(world.seen_by(a), [Seen::Response(answer)]);
    }
}

#[test]
fn a_second_request_with_an_id_in_flight_is_refused_and_the_first_is_not_disturbed() {
    let mut world = World::ready();
    let a = world.attach(1, NONE);
    let first = world.calls(a, 1, "1", "{}");
    let again = world.says(a, 2, r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{}}"#);
    assert_eq!(again.unwrap_err().wire().code, -32600);
    world.child_answers(first, "{}");
    assert_eq!(world.seen_by(a), [response("1", "{}")]);
    world.calls(a, 3, "1", "{}");
}

#[test]
fn in_flight_requests_of_a_session_are_bounded() {
    let mut world = World::ready();
    let (a, b) = (world.attach(1, NONE), world.attach(2, NONE));
    for id in 0..8 {
        world.calls(a, id, &id.to_string(), "{}");
    }
    let ninth = world.says(a, 9, r#"{"jsonrpc":"2.0","id":9,"method":"tools/call"}"#);
    assert_eq!(ninth, Err(Reject::InFlight { limit: 8 }));
    world.calls(b, 1, "9", "{}");
}

#[test]
fn progress_goes_to_the_stream_of_its_request_under_the_clients_token() {
    let mut world = World::ready();
    let (a, b) = (world.attach(1, NONE), world.attach(2, NONE));
    world.child_read();
    for (session, marker) in [(a, "a"), (b, "b")] {
        let params = format!(r#"{{"m":"{marker}","_meta":{{"v/k":1,"progressToken":7}}}}"#);
        world
            .says(session, 5, &format!(r#"{{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{params}}}"#))
            .unwrap();
    }
    for (line, session) in world.child_read().into_iter().zip([a, b]) {
        let token = json_of(&line)["params"]["_meta"]["progressToken"].clone();
        world.child_says(&format!(
            r#"{{"jsonrpc":"2.0","method":"notifications/progress","params":{{"progressToken":{token},"progress":0.5}}}}"#
        ));
        let progress =
            r#"{"jsonrpc":"2.0","method":"notifications/progress","params":{"progressToken":7,"progress":0.5}}"#;
        let seen: Vec<_> = world.seen.drain(..).collect();
        assert_eq!(seen, [(session, StreamId(5), Seen::Message(progress.to_owned()))]);
    }
    world
        .child_says(r#"{"jsonrpc":"2.0","method":"notifications/progress","params":{"progressToken":7,"progress":1}}"#);
    assert!(world.seen.is_empty(), "a token that is not ours is nobody's");
}

#[test]
fn cancelling_reaches_only_the_sessions_own_request_and_its_late_answer_is_dropped() {
    let mut world = World::ready();
    let (a, b) = (world.attach(1, NONE), world.attach(2, NONE));
    let (of_a, of_b) = (world.calls(a, 1, "1", "{}"), world.calls(b, 1, "1", "{}"));
    let cancel = r#"{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":1,"reason":"enough"}}"#;
    world.says(b, 0, &cancel.replace(":1,", ":2,")).unwrap();
    assert_eq!(world.child_read(), [""; 0]);
    world.says(b, 0, cancel).unwrap();
    assert_eq!(world.child_read()[0], cancel.replace(":1,", &format!(":{of_b},")));
    world.child_answers(of_b, r#""late""#);
    world.child_answers(of_a, "{}");
    assert_eq!(world.seen_by(b), [Seen::Cancelled]);
    assert_eq!(world.seen_by(a), [response("1", "{}")]);
    assert_eq!(world.router.stats().remembered, 0);
}

#[test]
fn initialize_is_answered_from_the_childs_handshake_in_the_older_revision() {
    let mut world = World::ready();
    for (index, (asked, settled)) in [
        ("2024-11-05", "2024-11-05"),
        ("2025-06-18", "2025-06-18"),
        ("2025-11-25", "2025-11-25"),
        ("2026-07-28", "2025-11-25"),
        ("1999-01-01", "2025-11-25"),
    ]
    .into_iter()
    .enumerate()
    {
        let key = SessionKey(100 + index as u64);
        world.router.attach(key, Profile::default(), world.now);
        let line =
            format!(r#"{{"jsonrpc":"2.0","id":0,"method":"initialize","params":{{"protocolVersion":"{asked}"}}}}"#);
        world.says(key, 1, &line).unwrap();
        let [Seen::Initialized(answer)] = &world.seen_by(key)[..] else { panic!("no answer to {asked}") };
        assert_eq!(json_of(answer)["result"]["protocolVersion"], settled);
        assert_eq!(json_of(answer)["result"]["serverInfo"]["name"], "s");
        assert!(world.says(key, 1, &line.replace(":0,", ":1,")).is_err(), "initialized twice");
    }
}

#[test]
fn requests_wait_for_the_handshake_and_fail_when_it_does_not_stand_in_time() {
    let mut world = World::new(config());
    let a = world.attach(1, NONE);
    world.says(a, 1, r#"{"jsonrpc":"2.0","id":1,"method":"tools/list"}"#).unwrap();
    assert_eq!(world.child_read(), [""; 0]);
    assert_eq!(world.router.stats().queued, 1);
    world.start();
    let read = world.child_read();
    assert_eq!(json_of(&read[0])["method"], "notifications/initialized");
    assert_eq!(json_of(&read[1])["method"], "tools/list");
    world.child_answers(id_of(&read[1]), "{}");

    world.exit();
    world.seen.clear();
    world.says(a, 1, r#"{"jsonrpc":"2.0","id":2,"method":"tools/list"}"#).unwrap();
    world.advance(Duration::from_secs(59));
    assert!(world.seen.is_empty());
    world.advance(Duration::from_secs(1));
    assert_eq!(world.seen_by(a), [Seen::Rejected("2".to_owned(), "child-unavailable")]);
    assert_eq!((world.router.stats().queued, world.router.queued_bytes()), (0, 0));
}

#[test]
fn pings_are_answered_here_in_both_directions() {
    let mut world = World::new(config());
    let a = world.attach(1, NONE);
    world.says(a, 1, r#"{"jsonrpc":"2.0","id":"p","method":"ping"}"#).unwrap();
    assert_eq!(world.seen_by(a), [response(r#""p""#, "{}")]);
    world.start();
    world.child_read();
    world.child_says(r#"{"jsonrpc":"2.0","id":"q","method":"ping"}"#);
    assert_eq!(world.child_read(), [r#"{"jsonrpc":"2.0","id":"q","result":{}}"#]);
}

#[test]
fn a_question_goes_to_the_only_session_it_can_belong_to_and_only_it_can_answer_once() {
    let mut world = World::ready();
    let (a, b) = (world.attach(1, ASKABLE), world.attach(2, NONE));
    world.calls(a, 4, "1", "{}");
    world.calls(b, 1, "1", "{}");
    world.child_says(SAMPLE);
    let seen: Vec<_> = world.seen.drain(..).collect();
    let [(to, StreamId(4), Seen::Message(question))] = &seen[..] else { panic!("{seen:?}") };
    assert_eq!(*to, a);
    let id = json_of(question)["id"].to_string();
    let answer = format!(r#"{{"jsonrpc":"2.0","id":{id},"result":{{"role":"assistant"}}}}"#);
    world.says(b, 0, &answer).unwrap();
    assert_eq!(world.child_read(), [""; 0], "somebody else's answer");
    world.says(a, 0, &answer).unwrap();
    assert_eq!(world.child_read(), [r#"{"jsonrpc":"2.0","id":0,"result":{"role":"assistant"}}"#]);
    world.says(a, 0, &answer).unwrap();
    assert_eq!(world.child_read(), [""; 0], "answered twice");
}

#[test]
fn a_question_that_is_nobodys_or_could_be_several_peoples_is_answered_with_an_error() {
    let mut world = World::ready();
    let (a, b) = (world.attach(1, ASKABLE), world.attach(2, ASKABLE));
    world.child_read();
    world.child_says(SAMPLE);
    let refused = serde_json::json!({"code": -31020, "kind": "not-attributable"});
    assert_eq!(error_kind(&world.child.pop_back().unwrap()), refused);
    world.calls(a, 1, "1", "{}");
    world.calls(b, 1, "1", "{}");
    world.child_says(SAMPLE);
    let answer = world.child.pop_back().unwrap();
    assert_eq!(error_kind(&answer), refused);
    for remedy in ["--on-ambiguous serialize", "--isolation session"] {
        assert!(answer.contains(remedy), "{answer}");
    }
    assert!(world.seen.is_empty());
}

#[test]
fn one_that_waited_its_turn_is_later_than_the_cancelled_one_it_waited_for() {
    let mut world = World::ready_with(RouterConfig { on_ambiguous: OnAmbiguous::Serialize, ..config() });
    let (a, b) = (world.attach(1, ASKABLE), world.attach(2, ASKABLE));
    world.calls(a, 1, "1", "{}");
    world.says(b, 1, r#"{"jsonrpc":"2.0","id":1,"method":"tools/call"}"#).unwrap();
    assert_eq!(world.child_read(), [""; 0], "it waits");
    world.says(a, 0, CANCEL).unwrap();
    let methods: Vec<_> = world.child_read().iter().map(|line| json_of(line)["method"].to_string()).collect();
    assert_eq!(methods, [r#""notifications/cancelled""#, r#""ping""#, r#""tools/call""#]);
    world.child_says(SAMPLE);
    assert!(matches!(world.seen_by(b)[..], [Seen::Message(_)]));
}

#[test]
fn a_question_ends_with_the_requests_it_can_belong_to() {
    let mut world = World::ready();
    let a = world.attach(1, ASKABLE);
    let call = world.calls(a, 7, "1", "{}");
    world.child_says(SAMPLE);
    let [Seen::Message(question)] = &world.seen_by(a)[..] else { panic!() };
    let id = json_of(question)["id"].clone();
    world.child_answers(call, "{}");
    let seen = world.seen_by(a);
    // spec: 2025-11-25 basic/transports, Sending Messages to the Server 6: the response ends the stream.
    assert_eq!(seen[1], response("1", "{}"));
    let Seen::Message(cancelled) = &seen[0] else { panic!("{seen:?}") };
    assert_eq!(json_of(cancelled)["params"]["requestId"], id);
    assert_eq!(error_kind(&world.child.pop_back().unwrap())["kind"], "request-over");
    assert_eq!(world.router.stats().questions, 0);
}

#[test]
fn a_server_that_sends_the_handshake_back_is_refused() {
    for era in [Era::Legacy, Era::Modern] {
        let mut world = World::with_era(config(), Sharing::Shared, era);
        world.begin();
        let handshake = world.child.pop_back().unwrap();
        world.child_says(&handshake);
        assert!(world.router.handshake_error().unwrap().contains("no MCP server"));
        assert!(world.child.is_empty());
    }
}

#[test]
fn what_comes_while_the_child_is_ending_waits_for_the_next_one() {
    let mut world = World::ready();
    let a = world.attach(1, NONE);
    let call = world.calls(a, 1, "1", "{}");
    world.router.handle_child_ending();
    world.says(a, 2, r#"{"jsonrpc":"2.0","id":2,"method":"tools/list"}"#).unwrap();
    assert_eq!(world.child_read(), [""; 0]);
    world.child_answers(call, r#""just in time""#);
    world.exit();
    assert_eq!(world.seen_by(a), [response("1", r#""just in time""#)]);
    world.start();
    assert_eq!(json_of(&world.child_read()[1])["method"], "tools/list");
}

#[test]
fn ten_thousand_requests_that_wait_are_settled_at_once_without_scanning_each_other() {
    let mut world =
        World::new(RouterConfig { in_flight_max: std::num::NonZeroUsize::new(100_000).unwrap(), ..config() });
    let a = world.attach(1, NONE);
    for id in 0..10_000 {
        world.says(a, 1, &format!(r#"{{"jsonrpc":"2.0","id":{id},"method":"x"}}"#)).unwrap();
    }
    world.advance(Duration::from_secs(60));
    assert_eq!(world.seen_by(a).len(), 10_000);
    assert_eq!((world.router.stats().queued, world.router.queued_bytes()), (0, 0));
}

#[test]
fn what_a_client_names_is_bounded_and_its_own() {
    let mut world = World::ready();
    let (a, b) = (world.attach(1, NONE), world.attach(2, NONE));
    let long = "x".repeat(10_000);
    let token = format!(r#"{{"jsonrpc":"2.0","id":1,"method":"x","params":{{"_meta":{{"progressToken":"{long}"}}}}}}"#);
    assert_eq!(world.says(a, 1, &token).unwrap_err().wire().kind, "invalid-request");
    let uri = format!(r#"{{"jsonrpc":"2.0","id":1,"method":"resources/subscribe","params":{{"uri":"{long}"}}}}"#);
    assert_eq!(world.says(a, 1, &uri).unwrap_err().wire().kind, "invalid-params");
    let null = r#"{"jsonrpc":"2.0","id":1,"method":"x","params":null}"#;
    assert_eq!(world.says(a, 1, null).unwrap_err().wire().kind, "invalid-request");

    let create = world.calls(a, 1, "1", r#"{"task":{}}"#);
    world.child_answers(create, r#"{"task":{"taskId":"ta"}}"#);
    world.child_read();
    let related = r#""_meta":{"io.modelcontextprotocol/related-task":{"taskId":"ta"}}"#;
    for (method, params) in [("tasks/update", r#""taskId":"ta""#), ("tools/call", related)] {
        let text = format!(r#"{{"jsonrpc":"2.0","id":1,"method":"{method}","params":{{{params}}}}}"#);
        assert_eq!(world.says(b, 1, &text).unwrap_err().wire().kind, "invalid-params");
        let notification = format!(r#"{{"jsonrpc":"2.0","method":"notifications/x","params":{{{params}}}}}"#);
        world.says(b, 1, &notification).unwrap();
        assert_eq!(world.child_read(), [""; 0]);
        world.says(a, 1, &notification).unwrap();
        assert_eq!(world.child_read(), [notification]);
    }
}

#[test]
fn a_task_list_that_can_be_read_in_two_ways_is_not_passed_on() {
    let mut world = World::ready();
    let a = world.attach(1, NONE);
    world.child_read();
    world.says(a, 1, r#"{"jsonrpc":"2.0","id":1,"method":"tasks/list"}"#).unwrap();
    let id = id_of(&world.child_read()[0]);
    world.child_answers(id, r#"{"tasks":[],"tasks":[{"taskId":"foreign"}]}"#);
    assert_eq!(world.seen_by(a), [Seen::Rejected("1".to_owned(), "child-answer-unusable")]);
}

#[test]
fn who_left_and_could_not_be_asked_stands_in_nobodys_way() {
    let mut world = World::ready();
    let (a, b) = (world.attach(1, NONE), world.attach(2, ASKABLE));
    world.calls(a, 1, "1", "{}");
    world.calls(b, 1, "1", "{}");
    world.detach(a);
    world.child_says(SAMPLE);
    assert!(matches!(world.seen_by(b)[..], [Seen::Message(_)]));
}

#[test]
fn serialize_lets_one_session_at_a_time_have_requests_in_flight() {
    let mut world = World::ready_with(RouterConfig { on_ambiguous: OnAmbiguous::Serialize, ..config() });
    let (a, b, c) = (world.attach(1, ASKABLE), world.attach(2, ASKABLE), world.attach(3, NONE));
    world.child_read();
    let first = world.calls(a, 1, "1", "{}");
    let call = r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"of":"b"}}"#;
    world.says(b, 1, call).unwrap();
    assert_eq!(world.child_read(), [""; 0]);
    world.calls(c, 1, "1", "{}");
    world.says(a, 2, r#"{"jsonrpc":"2.0","id":2,"method":"tools/call"}"#).unwrap();
    assert_eq!(world.child_read(), [""; 0], "others wait: no overtaking");
    world.child_says(SAMPLE);
    assert!(matches!(world.seen_by(a)[..], [Seen::Message(_)]));
    // Its answer may depend on the other request.
    let second = id_of(&world.child_read()[0]);
    world.child_answers(first, "{}");
    assert_eq!(world.child_read(), [""; 0], "its turn lasts as long as it has requests in flight");
    world.child_answers(second, "{}");
    let read = world.child_read();
    assert_eq!(error_kind(&read[0])["kind"], "request-over");
    assert_eq!(json_of(&read[1])["params"]["of"], "b");
    assert_eq!(world.router.queued_bytes(), 0);
}

#[test]
fn the_childs_own_progress_and_cancellation_of_a_question_are_mapped() {
    let mut world = World::ready();
    let a = world.attach(1, ASKABLE);
    world.calls(a, 1, "1", "{}");
    world.child_says(
        r#"{"jsonrpc":"2.0","id":3,"method":"elicitation/create","params":{"message":"?","_meta":{"progressToken":3}}}"#,
    );
    let [Seen::Message(question)] = &world.seen_by(a)[..] else { panic!() };
    let id = json_of(question)["id"].to_string();
    let progress = |token: &str| {
        format!(
            r#"{{"jsonrpc":"2.0","method":"notifications/progress","params":{{"progressToken":{token},"progress":1}}}}"#
        )
    };
    world.says(a, 0, &progress("3")).unwrap();
    assert_eq!(world.child_read(), [""; 0]);
    let token = json_of(question)["params"]["_meta"]["progressToken"].to_string();
    world.says(a, 0, &progress(&token)).unwrap();
    assert_eq!(world.child_read(), [progress("3")]);
    world.child_says(r#"{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":3}}"#);
    let cancelled = format!(r#"{{"jsonrpc":"2.0","method":"notifications/cancelled","params":{{"requestId":{id}}}}}"#);
    assert_eq!(world.seen_by(a), [Seen::Message(cancelled)]);
}

#[test]
fn log_messages_reach_the_session_they_belong_to_at_its_own_level() {
    let mut world = World::ready();
    let (a, b) = (world.attach(1, NONE), world.attach(2, NONE));
    world.child_read();
    let set = |level: &str| {
        format!(r#"{{"jsonrpc":"2.0","id":9,"method":"logging/setLevel","params":{{"level":"{level}"}}}}"#)
    };
    world.says(a, 1, &set("error")).unwrap();
    let told = world.child.pop_back().unwrap();
    assert_eq!(json_of(&told)["params"]["level"], "info", "b, which set none, is not silenced");
    world.child_answers(id_of(&told), "{}");
    world.says(b, 1, &set("debug")).unwrap();
    let told = world.child.pop_back().unwrap();
    assert_eq!(json_of(&told)["params"]["level"], "debug");
    world.child_answers(id_of(&told), "{}");
    assert_eq!((world.seen_by(a), world.seen_by(b)), (vec![response("9", "{}")], vec![response("9", "{}")]));

    let log = |level: &str| {
        format!(r#"{{"jsonrpc":"2.0","method":"notifications/message","params":{{"level":"{level}","data":1}}}}"#)
    };
    world.child_says(&log("error"));
    assert!(world.seen.is_empty(), "nobody's");
    let call = world.calls(a, 1, "1", "{}");
    world.child_says(&log("warning"));
    world.child_says(&log("error"));
    assert_eq!(world.seen_by(a), [Seen::Message(log("error"))]);
    world.calls(b, 1, "1", "{}");
    world.child_says(&log("error"));
    assert!(world.seen.is_empty(), "could be either's");
    world.child_answers(call, "{}");
    world.seen.clear();
    world.child_says(&log("debug"));
    assert_eq!(world.seen_by(b), [Seen::Message(log("debug"))]);
}

#[test]
fn subscriptions_are_counted_and_updates_reach_their_subscribers_only() {
    let mut world = World::ready();
    let (a, b, c) = (world.attach(1, NONE), world.attach(2, NONE), world.attach(3, NONE));
    world.child_read();
    let say =
        |method: &str| format!(r#"{{"jsonrpc":"2.0","id":1,"method":"resources/{method}","params":{{"uri":"x:/1"}}}}"#);
    world.says(a, 1, &say("subscribe")).unwrap();
    world.says(b, 1, &say("subscribe")).unwrap();
    let read = world.child_read();
    assert_eq!(read.len(), 1, "the child sees the first");
    assert!(world.seen.is_empty(), "nobody is told before the child has answered");
    world.child_answers(id_of(&read[0]), "{}");
    assert_eq!((world.seen_by(a), world.seen_by(b)), (vec![response("1", "{}")], vec![response("1", "{}")]));
    let updated = r#"{"jsonrpc":"2.0","method":"notifications/resources/updated","params":{"uri":"x:/1"}}"#;
    world.child_says(updated);
    assert_eq!(world.seen_by(a), [Seen::Message(updated.to_owned())]);
    assert_eq!(world.seen_by(b), [Seen::Message(updated.to_owned())]);
    assert_eq!(world.seen_by(c), []);
    world.says(a, 1, &say("unsubscribe")).unwrap();
    assert_eq!(world.seen_by(a), [response("1", "{}")]);
    assert_eq!(world.child_read(), [""; 0]);
    world.detach(b);
    assert_eq!(json_of(&world.child_read()[0])["method"], "resources/unsubscribe", "and the last one leave");
    assert_eq!(world.router.stats().subscriptions, 0);
}

#[test]
fn a_refused_subscription_is_refused_to_all_who_waited_for_it() {
    let mut world = World::ready();
    let (a, b) = (world.attach(1, NONE), world.attach(2, NONE));
    world.child_read();
    let subscribe = r#"{"jsonrpc":"2.0","id":1,"method":"resources/subscribe","params":{"uri":"x:/1"}}"#;
    world.says(a, 1, subscribe).unwrap();
    world.says(b, 1, &subscribe.replace(":1,", ":2,")).unwrap();
    let id = id_of(&world.child_read()[0]);
    world.child_says(&format!(r#"{{"jsonrpc":"2.0","id":{id},"error":{{"code":-32002,"message":"no"}}}}"#));
    let refused =
        |id: u32| Seen::Response(format!(r#"{{"jsonrpc":"2.0","id":{id},"error":{{"code":-32002,"message":"no"}}}}"#));
    assert_eq!((world.seen_by(a), world.seen_by(b)), (vec![refused(1)], vec![refused(2)]));
    assert_eq!(world.router.stats().subscriptions, 0);
}

#[test]
fn a_crash_settles_what_was_written_and_the_next_child_is_brought_to_the_same_state() {
    let mut world = World::ready();
    let a = world.attach(1, ASKABLE);
    world.says(a, 1, r#"{"jsonrpc":"2.0","id":1,"method":"logging/setLevel","params":{"level":"debug"}}"#).unwrap();
    world.says(a, 2, r#"{"jsonrpc":"2.0","id":2,"method":"resources/subscribe","params":{"uri":"x:/1"}}"#).unwrap();
    for line in world.child_read() {
        if json_of(&line)["id"].is_u64() {
            world.child_answers(id_of(&line), "{}");
        }
    }
    world.calls(a, 3, "3", "{}");
    world.child_says(SAMPLE);
    world.seen.clear();
    world.exit();
    let seen = world.seen_by(a);
    let Seen::Message(cancelled) = &seen[0] else { panic!("{seen:?}") };
    assert_eq!(seen[1], Seen::Rejected("3".to_owned(), "child-exited"));
    assert_eq!(json_of(cancelled)["method"], "notifications/cancelled", "the open question is void");
    world.says(a, 4, r#"{"jsonrpc":"2.0","id":4,"method":"tools/list"}"#).unwrap();
    assert!(world.seen.is_empty());

    world.start();
    let methods: Vec<_> = world.child_read().iter().map(|line| json_of(line)["method"].to_string()).collect();
    let replayed = ["notifications/initialized", "logging/setLevel", "resources/subscribe", "tools/list"];
    assert_eq!(methods, replayed.map(|method| format!("{method:?}")));
    let lists = ["tools", "resources"]
        .map(|list| Seen::Message(format!(r#"{{"jsonrpc":"2.0","method":"notifications/{list}/list_changed"}}"#)));
    assert_eq!(world.seen_by(a), lists);
}

#[test]
fn timeouts_cancel_in_the_child_are_reset_by_progress_and_end_at_the_maximum() {
    let second = Duration::from_secs(1);
    let mut world = World::ready_with(RouterConfig {
        request_timeout: Some(2 * second),
        request_timeout_max: Some(5 * second),
        ..config()
    });
    let a = world.attach(1, NONE);
    world.child_read();
    let id = world.calls(a, 1, "1", r#"{"_meta":{"progressToken":"t"}}"#);
    for _ in 0..4 {
        world.advance(second);
        world.child_says(&format!(
            r#"{{"jsonrpc":"2.0","method":"notifications/progress","params":{{"progressToken":"mux-{id}","progress":1}}}}"#
        ));
    }
    assert_eq!(world.seen_by(a).len(), 4);
    world.advance(second);
    assert_eq!(world.seen_by(a), [Seen::Rejected("1".to_owned(), "request-timeout")]);
    let cancelled = world.child_read();
    assert_eq!(json_of(&cancelled[0])["params"]["requestId"], id);

    let id = world.calls(a, 1, "2", "{}");
    assert_eq!(world.router.poll_timeout(), Some(world.now + 2 * second));
    world.advance(2 * second);
    assert_eq!(world.seen_by(a), [Seen::Rejected("2".to_owned(), "request-timeout")]);
    world.child_answers(id, "{}");
    assert_eq!(world.seen_by(a), []);
}

#[test]
fn the_time_in_which_a_modern_client_is_asked_is_not_the_childs_silence() {
    let second = Duration::from_secs(1);
    let limits = RouterConfig { request_timeout: Some(2 * second), request_timeout_max: Some(9 * second), ..config() };
    let question = r#"{"jsonrpc":"2.0","id":"q","method":"roots/list"}"#;
    for era in [Era::Legacy, Era::Modern] {
        let mut world = World::ready_with(limits.clone());
        let a = SessionKey(1);
        world.router.attach(a, Profile { era, capabilities: ASKABLE, ..Profile::default() }, world.now);
        world.calls(a, 1, "1", "{}");
        world.child_says(question);
        let Seen::Message(asked) = &world.seen_by(a)[0] else { panic!("not asked") };
        let asked = json_of(asked)["id"].clone();
        (0..4).for_each(|_| world.advance(second));
        if era == Era::Legacy {
            assert_eq!(world.seen_by(a).pop(), Some(Seen::Rejected("1".to_owned(), "request-timeout")));
            continue;
        }
        world.advance(second);
        world.says(a, 1, &format!(r#"{{"jsonrpc":"2.0","id":{asked},"result":{{"roots":[]}}}}"#)).unwrap();
        world.advance(second);
        assert_eq!(world.seen_by(a), [], "from the answer on it may be silent for as long as ever");
        world.advance(second);
        assert_eq!(world.seen_by(a), [Seen::Rejected("1".to_owned(), "request-timeout")]);
        // Nor is it longer than a request may take.
        world.calls(a, 1, "2", "{}");
        world.child_says(question);
        world.seen.clear();
        (0..8).for_each(|_| world.advance(second));
        assert_eq!(world.seen_by(a), []);
        world.advance(second);
        assert_eq!(world.seen_by(a).pop(), Some(Seen::Rejected("2".to_owned(), "request-timeout")));
    }
}

#[test]
fn a_task_belongs_to_the_session_whose_request_made_it() {
    let mut world = World::ready();
    let (a, b) = (world.attach(1, NONE), world.attach(2, NONE));
    world.child_read();
    let mut create = |session, task: &str| {
        let id = world.calls(session, 1, "1", r#"{"task":{"ttl":1},"_meta":{"progressToken":"t"}}"#);
        world.child_answers(id, &format!(r#"{{"task":{{"taskId":"{task}","status":"working"}}}}"#));
        id
    };
    let of_a = create(a, "ta");
    create(b, "tb");
    world.seen.clear();
    let get = r#"{"jsonrpc":"2.0","id":2,"method":"tasks/get","params":{"taskId":"ta"}}"#;
    assert_eq!(world.says(b, 1, get).unwrap_err().wire().kind, "invalid-params");
    world.says(b, 1, &get.replace(r#""ta""#, r#""unheard of""#)).unwrap();
    assert_eq!(world.seen_by(b), [Seen::Rejected("2".to_owned(), "invalid-params")]);
    assert_eq!(world.child_read(), [""; 0]);
    world.says(a, 1, get).unwrap();
    let id = id_of(&world.child_read()[0]);
    world.child_answers(id, r#"{"taskId":"ta","status":"working"}"#);

    world.says(b, 1, r#"{"jsonrpc":"2.0","id":3,"method":"tasks/list"}"#).unwrap();
    let id = id_of(&world.child_read()[0]);
    world.child_answers(id, r#"{"tasks":[{"taskId":"ta"},{"x":1,"taskId":"tb"}],"nextCursor":"n"}"#);
    assert_eq!(world.seen_by(b), [response("3", r#"{"tasks":[{"x":1,"taskId":"tb"}],"nextCursor":"n"}"#)]);

    world.seen.clear();
    world.child_says(&format!(
        r#"{{"jsonrpc":"2.0","method":"notifications/progress","params":{{"progressToken":"mux-{of_a}","progress":1}}}}"#
    ));
    world.child_says(
        r#"{"jsonrpc":"2.0","method":"notifications/tasks/status","params":{"taskId":"ta","status":"working"}}"#,
    );
    assert_eq!((world.seen_by(a).len(), world.seen_by(b).len()), (2, 0));
    world.child_says(
        &SAMPLE.replace("{\"maxTokens\":1}", r#"{"_meta":{"io.modelcontextprotocol/related-task":{"taskId":"ta"}}}"#),
    );
    assert!(world.seen.is_empty(), "a did not declare sampling");
    world.detach(a);
    world.detach(b);
    assert_eq!(world.router.stats().tasks, 0);
}

#[test]
fn leaving_settles_cancels_and_leaves_nothing_behind() {
    let mut world = World::ready();
    let a = world.attach(1, ASKABLE);
    world.child_read();
    let id = world.calls(a, 1, "1", "{}");
    world.child_says(SAMPLE);
    world.seen.clear();
    let profile = world.detach(a).unwrap();
    assert_eq!(profile.capabilities, ASKABLE);
    let seen = world.seen_by(a);
    assert!(matches!(seen[0], Seen::Message(_)), "the question is void");
    assert_eq!(seen[1..], [Seen::Rejected("1".to_owned(), "session-closed")], "after what belongs to it");
    let read = world.child_read();
    assert_eq!(json_of(&read[0])["id"], 0, "the question is answered with an error");
    assert_eq!(json_of(&read[1])["params"]["requestId"], id);
    world.child_answers(id_of(&read[2]), "{}");
    world.advance(REMEMBERED_FOR);
    assert_eq!(world.router.stats(), Stats::default());
    assert_eq!(world.router.poll_timeout(), None);
}

#[test]
fn a_progress_token_given_twice_is_refused() {
    let mut world = World::ready();
    let a = world.attach(1, NONE);
    world.child_read();
    let twice =
        r#"{"jsonrpc":"2.0","id":1,"method":"x","params":{"_meta":{"progressToken":1,"progress\u0054oken":"mux-5"}}}"#;
    assert_eq!(world.says(a, 1, twice).unwrap_err().wire().kind, "invalid-request");
    assert_eq!(world.child_read(), [""; 0]);
}

#[test]
fn an_answer_that_cannot_be_passed_on_fails_its_request() {
    let mut world = World::ready();
    let a = world.attach(1, NONE);
    let id = world.calls(a, 1, "1", "{}");
    world.router.handle_unusable_answer(id, "too long", world.now);
    world.drain();
    assert_eq!(world.seen_by(a), [Seen::Rejected("1".to_owned(), "child-answer-unusable")]);
}

#[test]
fn a_subscription_whose_answer_cannot_be_passed_on_can_be_asked_for_again() {
    let mut world = World::ready();
    let a = world.attach(1, NONE);
    world.child_read();
    for id in ["1", "2"] {
        let subscribe = r#""method":"resources/subscribe","params":{"uri":"x:/1"}"#;
        world.says(a, 1, &format!(r#"{{"jsonrpc":"2.0","id":{id},{subscribe}}}"#)).unwrap();
        let own = id_of(&world.child.pop_back().unwrap());
        world.router.handle_unusable_answer(own, "too long", world.now);
        world.drain();
        assert_eq!(world.seen_by(a), [Seen::Rejected(id.to_owned(), "child-answer-unusable")]);
        assert_eq!(world.router.stats().subscriptions, 0);
    }
}

#[test]
fn after_close_everything_is_refused() {
    let mut world = World::ready();
    let a = world.attach(1, NONE);
    world.calls(a, 1, "1", "{}");
    world.router.close(&Reject::ShuttingDown);
    world.drain();
    assert_eq!(world.seen_by(a), [Seen::Rejected("1".to_owned(), "shutting-down")]);
    let late = world.says(a, 1, r#"{"jsonrpc":"2.0","id":2,"method":"tools/list"}"#);
    assert_eq!(late, Err(Reject::ShuttingDown));
}
