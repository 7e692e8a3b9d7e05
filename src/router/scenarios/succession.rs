//! A process is replaced while it lives.

use std::time::Duration;

use super::super::cancelled::REMEMBERED_FOR;
use super::super::world::{ASKABLE, Seen, World, config, id_of, json_of, message, response};
use super::super::*;
use super::{NONE, SAMPLE};
use crate::config::OnAmbiguous;

fn request(id: u32, method: &str, params: &str) -> String {
    format!(r#"{{"jsonrpc":"2.0","id":{id},"method":"{method}","params":{params}}}"#)
}

fn methods(world: &mut World) -> Vec<String> {
    world.child_read().iter().map(|line| json_of(line)["method"].as_str().unwrap_or("-").to_owned()).collect()
}

/// The next process is ready, and everything that was not given to this one goes to it.
fn succeed(old: &mut World) -> World {
    let mut new = old.successor();
    new.start();
    new.child_read();
    assert!(old.router.can_hand_over());
    old.hand_over(&mut new);
    new
}

#[test]
fn new_work_goes_to_the_successor_and_the_old_one_finishes_its_own() {
    let mut old = World::ready();
    let (a, b) = (old.attach(1, ASKABLE), old.attach(2, NONE));
    old.says(a, 1, &request(1, "logging/setLevel", r#"{"level":"debug"}"#)).unwrap();
    assert!(!old.router.can_hand_over(), "only this router would learn what came of it");
    let level = id_of(&old.child_read()[0]);
    old.child_answers(level, "{}");
    old.says(b, 1, &request(1, "resources/subscribe", r#"{"uri":"x:/1"}"#)).unwrap();
    assert!(!old.router.can_hand_over());
    let subscribe = id_of(&old.child_read()[0]);
    old.child_answers(subscribe, "{}");
    let call = old.calls(a, 2, "1", r#"{"_meta":{"progressToken":"t"}}"#);
    old.router.ping_child();
    old.drain();
    old.child_read();
    old.seen.clear();

    let mut new = succeed(&mut old);
    assert_eq!(methods(&mut new), ["logging/setLevel", "resources/subscribe"]);
    assert_eq!(old.child_read(), [""; 0]);
    assert!(new.seen.is_empty() && old.seen.is_empty(), "nobody notices");
    assert!(!old.router.is_drained());

    // What belongs to a request given to the old one comes from there.
    old.child_says(SAMPLE);
    let [Seen::Message(question)] = &old.seen_by(a)[..] else { panic!() };
    let question = json_of(question)["id"].to_string();
    old.child_says(r#"{"jsonrpc":"2.0","method":"notifications/message","params":{"level":"debug","data":1}}"#);
    old.child_says(&format!(
        r#"{{"jsonrpc":"2.0","method":"notifications/progress","params":{{"progressToken":"mux-{call}","progress":1}}}}"#
    ));
    assert_eq!(old.seen_by(a).len(), 2);
    // What belongs to none is told by the new one, which knows who is interested.
    old.child_says(r#"{"jsonrpc":"2.0","method":"notifications/resources/updated","params":{"uri":"x:/1"}}"#);
    assert!(old.seen.is_empty());
    for news in old.router.take_news() {
        new.router.handle_child_message(news, new.now);
    }
    new.drain();
    assert_eq!((new.seen_by(a).len(), new.seen_by(b).len()), (0, 1));
    assert!(old.router.take_news().is_empty());

    let answer = format!(r#"{{"jsonrpc":"2.0","id":{question},"result":{{}}}}"#);
    assert!(old.router.concerns(a, &message(&answer)) && !old.router.concerns(b, &message(&answer)));
    assert!(!new.router.concerns(a, &message(&answer)));
    old.says(a, 0, &answer).unwrap();
    assert_eq!(old.child_read().len(), 1);
    old.child_answers(call, "{}");
    assert_eq!(old.seen_by(a), [response("1", "{}")]);
    assert!(old.router.is_drained());

    for (from, world) in [(&mut old, "old"), (&mut new, "new")] {
        let profile = from.detach(a).unwrap();
        assert_eq!(profile.level, Some(crate::mcp::LogLevel::Debug), "{world}");
        from.detach(b);
        from.advance(REMEMBERED_FOR);
        let owed = Stats { own: 1, ..Stats::default() };
        assert_eq!((from.router.stats(), from.router.queued_bytes()), (owed, 0), "the answer to a request of our own");
    }
}

#[test]
fn ids_of_questions_differ_between_the_two() {
    let mut old = World::ready();
    let a = old.attach(1, ASKABLE);
    old.calls(a, 1, "1", "{}");
    let mut new = succeed(&mut old);
    new.calls(a, 2, "2", "{}");
    old.seen.clear();
    new.seen.clear();
    let mut ids = Vec::new();
    for world in [&mut old, &mut new] {
        world.child_says(SAMPLE);
        let [Seen::Message(question)] = &world.seen_by(a)[..] else { panic!() };
        ids.push(json_of(question)["id"].as_str().unwrap().to_owned());
    }
    assert_eq!(ids, ["mcp-mux-0-1", "mcp-mux-1-1"]);
    // Not even a router that is given the other's takes it for its own.
    new.child_read();
    new.says(a, 0, r#"{"jsonrpc":"2.0","id":"mcp-mux-0-1","result":{}}"#).unwrap();
    assert_eq!((new.child_read(), new.router.stats().questions), (vec![], 1));
}

#[test]
fn messages_about_what_the_old_one_has_concern_it_and_no_others_do() {
    let mut old = World::ready();
    let (a, b) = (old.attach(1, ASKABLE), old.attach(2, NONE));
    let create = old.calls(a, 1, "1", r#"{"task":{}}"#);
    old.child_answers(create, r#"{"task":{"taskId":"ta","status":"working"}}"#);
    old.calls(a, 2, r#""in flight""#, "{}");
    old.child_says(r#"{"jsonrpc":"2.0","id":0,"method":"roots/list","params":{"_meta":{"progressToken":1}}}"#);
    let new = succeed(&mut old);
    let related = r#"{"_meta":{"io.modelcontextprotocol/related-task":{"taskId":"ta"}}}"#;
    let cancelled =
        |id: &str| format!(r#"{{"jsonrpc":"2.0","method":"notifications/cancelled","params":{{"requestId":{id}}}}}"#);
    let progress = |id: &str| {
        format!(r#"{{"jsonrpc":"2.0","method":"notifications/progress","params":{{"progressToken":{id}}}}}"#)
    };
    for (concerns, of_b, text) in [
        (true, false, cancelled(r#""in flight""#)),
        (false, false, cancelled("7")),
        (true, false, progress(r#""mcp-mux-0-1""#)),
        (false, false, progress(r#""mcp-mux-1-1""#)),
        (true, false, r#"{"jsonrpc":"2.0","id":"in flight","method":"tools/list"}"#.to_owned()),
        // A task of somebody else may have the id of one's own with the successor.
        (true, false, request(9, "tasks/get", r#"{"taskId":"ta"}"#)),
        (true, false, request(9, "tools/call", related)),
        (true, false, format!(r#"{{"jsonrpc":"2.0","method":"notifications/x","params":{related}}}"#)),
        (false, false, request(9, "tasks/get", r#"{"taskId":"another"}"#)),
        (false, false, request(9, "tasks/list", "{}")),
        (false, false, request(9, "tools/call", "{}")),
        (false, false, r#"{"jsonrpc":"2.0","method":"notifications/roots/list_changed"}"#.to_owned()),
    ] {
        let message = message(&text);
        assert_eq!(old.router.concerns(a, &message), concerns, "{text}");
        assert_eq!(old.router.concerns(b, &message), of_b, "{text}");
        assert!(!new.router.concerns(a, &message), "{text}");
    }
    let again = old.says(a, 3, r#"{"jsonrpc":"2.0","id":"in flight","method":"tools/list"}"#);
    assert_eq!(again.unwrap_err().wire().kind, "invalid-request");
    let anothers = old.says(b, 3, &request(9, "tasks/get", r#"{"taskId":"ta"}"#));
    assert_eq!(anothers.unwrap_err().wire().kind, "invalid-params");
}

#[test]
fn the_limit_of_requests_in_flight_counts_both() {
    let mut old = World::ready();
    let a = old.attach(1, NONE);
    for id in 0..5 {
        old.calls(a, 1, &id.to_string(), "{}");
    }
    let mut new = succeed(&mut old);
    let mut send = |id: u32| new.says_with(a, 1, &request(id, "x", "{}"), old.router.count_of_session(a));
    let outcomes: Vec<_> = (10..14).map(&mut send).collect();
    assert_eq!(outcomes, [Ok(()), Ok(()), Ok(()), Err(Reject::InFlight { limit: 8 })]);
}

#[test]
fn a_task_holds_the_old_one_until_its_result_is_fetched() {
    let mut old = World::ready();
    let a = old.attach(1, NONE);
    for task in ["t1", "t2", "t3"] {
        let id = old.calls(a, 1, "1", r#"{"task":{}}"#);
        old.child_answers(id, &format!(r#"{{"task":{{"taskId":"{task}","status":"working"}}}}"#));
    }
    succeed(&mut old);
    let ask = |old: &mut World, method: &str, task: &str, answer: &str| {
        let text = request(1, method, &format!(r#"{{"taskId":"{task}"}}"#));
        assert!(old.router.concerns(a, &message(&text)));
        old.says(a, 1, &text).unwrap();
        let id = id_of(&old.child_read()[0]);
        old.child_answers(id, answer);
    };
    old.child_read();
    ask(&mut old, "tasks/get", "t1", r#"{"taskId":"t1","status":"completed"}"#);
    assert!(!old.router.is_drained(), "its result may be fetched");
    ask(&mut old, "tasks/result", "t1", r#"{"content":[]}"#);
    ask(&mut old, "tasks/cancel", "t2", r#"{"taskId":"t2","status":"cancelled"}"#);
    assert!(!old.router.is_drained());
    old.child_says(
        r#"{"jsonrpc":"2.0","method":"notifications/tasks/status","params":{"taskId":"t3","status":"cancelled"}}"#,
    );
    assert!(old.router.is_drained());
    // Or until their session has left.
    let mut older = World::ready();
    let b = older.attach(1, NONE);
    let id = older.calls(b, 1, "1", r#"{"task":{}}"#);
    older.child_answers(id, r#"{"task":{"taskId":"t","status":"working"}}"#);
    assert!(!older.router.is_drained());
    older.detach(b);
    assert!(older.router.is_drained());
}

#[test]
fn what_waits_moves_in_order_and_keeps_its_deadline() {
    let second = Duration::from_secs(1);
    let mut old = World::ready_with(RouterConfig {
        on_ambiguous: OnAmbiguous::Serialize,
        request_timeout: Some(20 * second),
        ..config()
    });
    let (a, b) = (old.attach(1, ASKABLE), old.attach(2, ASKABLE));
    let create = old.calls(b, 1, "0", r#"{"task":{}}"#);
    old.child_answers(create, r#"{"task":{"taskId":"tb","status":"working"}}"#);
    let call = old.calls(a, 1, "1", "{}");
    old.advance(5 * second);
    old.says(b, 1, &request(1, "tools/call", r#"{"m":1,"_meta":{"progressToken":"t"}}"#)).unwrap();
    old.says(b, 2, &request(2, "tasks/get", r#"{"taskId":"tb"}"#)).unwrap();
    old.says(b, 3, &request(3, "tools/call", r#"{"m":3}"#)).unwrap();
    assert_eq!(old.child_read(), [""; 0], "they wait their turn");
    old.advance(5 * second);
    let mut new = succeed(&mut old);
    let read = new.child_read();
    assert_eq!(read.iter().map(|line| json_of(line)["params"]["m"].clone()).collect::<Vec<_>>(), [1, 3]);
    assert_eq!(json_of(&read[0])["params"]["_meta"]["progressToken"], format!("mux-{}", id_of(&read[0])));
    assert_eq!((new.router.count_of_session(b), new.router.queued_bytes()), (2, 0));
    assert_eq!(old.router.count_of_session(b), 1, "its task is there");
    old.child_answers(call, "{}");
    assert_eq!(methods(&mut old), ["tasks/get"]);
    assert_eq!(old.router.queued_bytes(), 0);

    // To one that is not ready: the time in the queue goes on.
    let mut newest = new.successor();
    new.router.handle_child_ending();
    new.says(b, 4, &request(4, "tools/call", "{}")).unwrap();
    new.says(b, 0, r#"{"jsonrpc":"2.0","method":"notifications/x"}"#).unwrap();
    let deadline = new.now + 20 * second;
    newest.now += 3 * second;
    new.router.hand_over(&mut newest.router, newest.now);
    assert_eq!((newest.router.poll_timeout(), newest.router.stats().queued), (Some(deadline), 2));
    newest.seen.clear();
    newest.start();
    assert_eq!(methods(&mut newest)[1..], ["tools/call", "notifications/x"]);
    assert_eq!(newest.seen.len(), 4, "two lists, two sessions");
}

#[test]
fn what_the_old_one_leaves_unread_when_it_exits_is_handed_over_too() {
    let mut old = World::ready();
    let a = old.attach(1, NONE);
    for (id, method) in (1..).zip(["tools/call", "tools/list", "tools/call"]) {
        old.says(a, 1, &request(id, method, &format!(r#"{{"m":{id}}}"#))).unwrap();
    }
    let unwritten = old.child_read().split_off(2);
    let mut new = succeed(&mut old);
    new.seen.clear();
    old.exit_leaving(&unwritten);
    assert_eq!(old.seen_by(a), [Seen::Rejected("1".to_owned(), "child-exited")]);
    assert!(!old.router.is_drained());
    old.hand_over(&mut new);
    assert!(old.router.is_drained());
    let read = new.child_read();
    assert_eq!(read.iter().map(|line| json_of(line)["params"]["m"].clone()).collect::<Vec<_>>(), [2, 3]);
    assert!(new.seen.is_empty());
    new.exit();
    let lost = ["2", "3"].map(|id| Seen::Rejected(id.to_owned(), "child-exited"));
    assert_eq!(new.seen_by(a), lost, "a repeated one is not repeated again");
}

#[test]
fn a_suspended_successor_refuses_what_it_is_handed() {
    let mut old = World::new(config());
    let a = old.attach(1, NONE);
    old.says(a, 1, &request(1, "tools/call", "{}")).unwrap();
    let mut new = old.successor();
    new.router.suspend(new.now + Duration::from_secs(1), new.now);
    old.hand_over(&mut new);
    assert_eq!(new.seen_by(a), [Seen::Rejected("1".to_owned(), "circuit-open")]);
}

#[test]
fn a_child_of_ones_own_is_replaced_by_one_that_was_introduced_alike() {
    let mut old = World::private();
    let key = SessionKey(1);
    old.router.attach(key, Profile::default(), old.now);
    let params = r#"{"protocolVersion":"2025-11-25","x":1e2}"#;
    old.says(key, 1, &request(1, "initialize", params)).unwrap();
    assert!(!old.router.can_hand_over());
    let id = id_of(&old.child_read()[0]);
    old.child_answers(id, r#"{"protocolVersion":"2025-11-25","capabilities":{"logging":{}}}"#);
    old.says(key, 1, &request(2, "logging/setLevel", r#"{"level":"error"}"#)).unwrap();
    assert!(!old.router.can_hand_over());
    let id = id_of(&old.child_read()[0]);
    old.child_answers(id, "{}");
    old.child_says(SAMPLE);
    old.seen.clear();

    let mut new = old.successor();
    new.begin();
    let initialize = new.child_read().remove(0);
    assert!(initialize.ends_with(&format!(r#""params":{params}}}"#)), "{initialize}");
    new.child_answers(
        id_of(&initialize),
        r#"{"protocolVersion":"2025-11-25","capabilities":{"logging":{},"tools":{}}}"#,
    );
    assert_eq!(methods(&mut new), ["notifications/initialized"]);
    old.hand_over(&mut new);
    assert_eq!(methods(&mut new), ["logging/setLevel"]);
    assert!(new.seen.is_empty());
    // The client has not said so before; its child has been told.
    new.says(key, 1, r#"{"jsonrpc":"2.0","method":"notifications/initialized"}"#).unwrap();
    assert_eq!(new.child_read(), [""; 0]);
    old.child_says(r#"{"jsonrpc":"2.0","method":"notifications/tools/list_changed"}"#);
    old.child_says(r#"{"jsonrpc":"2.0","method":"notifications/resources/updated","params":{"uri":"x:/1"}}"#);
    assert_eq!((old.seen.len(), old.router.take_news().len()), (0, 2));
    assert!(!old.router.is_drained(), "its question is open");
    old.says(key, 0, r#"{"jsonrpc":"2.0","id":"mcp-mux-0-1","result":{}}"#).unwrap();
    assert!(old.router.is_drained());
}
