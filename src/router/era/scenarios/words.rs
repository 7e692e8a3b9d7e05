//! What of a legacy client reaches a modern child, and what does not.

use super::*;
use crate::config::{DeclaredCapabilities, RouterConfig};

fn attach_saying(world: &mut World, capabilities: &str) -> SessionKey {
    let session = SessionKey(1);
    let client_capabilities = Some(Arc::from(capabilities));
    let profile = Profile { revision: Some(Revision::LATEST), client_capabilities, ..Profile::default() };
    world.router.attach(session, Profile { capabilities: ASKABLE, ..profile }, world.now);
    world.drain();
    world.child.clear();
    session
}

#[test]
fn a_legacy_session_has_no_methods_of_the_modern_era() {
    let (mut world, session) = with_session(NONE);
    let exchange = world.attach_exchange(2, None);
    for method in ["tasks/get", "tasks/update", "tasks/cancel", "tasks/result", "tasks/list", "tasks/x"]
        .into_iter()
        .chain(["subscriptions/listen", "server/discover"])
    {
        let line = format!(r#"{{"jsonrpc":"2.0","id":"i","method":"{method}","params":{{"taskId":"t"}}}}"#);
        world.says(session, 3, &line).unwrap();
        assert_eq!(world.child_read(), [""; 0], "{method}");
        let [Seen::Response(answer)] = &world.seen_by(session)[..] else { panic!("{method} is not answered") };
        assert_eq!((&json_of(answer)["id"], &json_of(answer)["error"]["code"]), (&json!("i"), &json!(-32601)));
        world.says(exchange, 1, &line.replace("\"i\"", &format!("\"{method}\""))).unwrap();
        assert_eq!(world.child_read().len(), 1, "{method} is a modern client's to use");
    }
    assert_eq!(world.router.stats().in_flight, 8);
}

#[test]
fn what_means_another_thing_in_each_era_is_not_declared_to_the_child() {
    let mut world = World::modern();
    let said = r#"{"tasks":{"list":{}}, "roots":{"x": 1.0},"extensions":{"io.modelcontextprotocol/tasks":{}},"experimental":{}}"#;
    let session = attach_saying(&mut world, said);
    let call =
        r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"t","task":{"ttl":1},"_meta":{"a":1}}}"#;
    for (call, expected) in [
        (call.to_owned(), r#""name":"t","_meta""#),
        (call.replace(r#","_meta":{"a":1}"#, ""), r#""name":"t"}"#),
        (call.replace("tools/call", "x/y"), r#""task":{"ttl":1}"#),
    ] {
        world.says(session, 1, &call).unwrap();
        let read = world.child.pop_back().unwrap();
        assert!(read.contains(r#"clientCapabilities":{"roots":{"x": 1.0},"experimental":{}}"#), "{read}");
        assert!(read.contains(expected), "{read}");
        world.child_answers(id_of(&read), "{}");
    }
}

#[test]
fn the_capabilities_declared_are_no_more_than_the_configured_ones() {
    let client_capabilities = DeclaredCapabilities { roots: false, sampling: true, elicitation: false };
    let mut world = World::modern_with(RouterConfig { client_capabilities, ..config() });
    let said = r#"{"roots":{},"sampling":{"tools":{}},"elicitation":{"form":{},"url":{}}}"#;
    let session = attach_saying(&mut world, said);
    world.says(session, 1, r#"{"jsonrpc":"2.0","id":1,"method":"tools/call"}"#).unwrap();
    let read = world.child.pop_back().unwrap();
    assert_eq!(meta_of(&read)[meta::CLIENT_CAPABILITIES], json!({"sampling": {"tools": {}}}));
    world.child_answers(
        id_of(&read),
        r#"{"resultType":"input_required","inputRequests":{"a":{"method":"roots/list"}}}"#,
    );
    assert_eq!(world.seen_by(session), [Seen::Rejected("1".to_owned(), "child-answer-unusable")]);
    // In its `initialize`, if that comes later.
    let (late, words) = (SessionKey(2), r#"{"roots":{},"sampling":{}}"#);
    world.router.attach(late, Profile::default(), world.now);
    let params = format!(r#"{{"protocolVersion":"2025-11-25","capabilities":{words}}}"#);
    world.says(late, 1, &format!(r#"{{"jsonrpc":"2.0","id":0,"method":"initialize","params":{params}}}"#)).unwrap();
    world.child.clear();
    world.says(late, 1, r#"{"jsonrpc":"2.0","id":1,"method":"tools/call"}"#).unwrap();
    assert_eq!(meta_of(&world.child.pop_back().unwrap())[meta::CLIENT_CAPABILITIES], json!({"sampling": {}}));
}

#[test]
fn a_process_that_is_replaced_stays_for_the_tasks_of_exchanges_that_go_on() {
    // SEP-2663, Task Creation, Task Polling
    let mut old = World::modern();
    let exchange = old.attach_exchange(1, None);
    let id = old.calls(exchange, 1, "1", "{}");
    let task = |kind: &str, status: &str| {
        format!(r#"{{"resultType":"{kind}","taskId":"t","status":"{status}","ttlMs":null}}"#)
    };
    old.child_answers(id, &task("task", "working"));
    old.detach(exchange);
    let mut new = old.successor();
    new.start();
    old.hand_over(&mut new);
    assert!(!old.router.is_drained());
    let (asks, other) = (SessionKey(2), r#"{"jsonrpc":"2.0","id":1,"method":"tools/list"}"#);
    let profile = Profile { era: Era::Modern, ..Profile::default() };
    old.router.attach_late(asks, &profile, old.now);
    old.router.attach_late(SessionKey(3), &Profile::default(), old.now);
    let get = r#"{"jsonrpc":"2.0","id":1,"method":"tasks/get","params":{"taskId":"t"}}"#;
    let message = super::super::super::world::message;
    assert!(old.router.concerns(asks, &message(get)) && !old.router.concerns(asks, &message(other)));
    assert!(!old.router.concerns(SessionKey(3), &message(get)), "a legacy session has none");
    old.child.clear();
    for (status, drained) in [("working", false), ("completed", true)] {
        old.says(asks, 1, get).unwrap();
        let id = id_of(&old.child.pop_back().unwrap());
        old.child_answers(id, &task("complete", status));
        assert_eq!(old.seen_by(asks), [response("1", &task("complete", status))]);
        assert_eq!(old.router.is_drained(), drained, "{status}");
    }
    old.detach(asks);
    assert_eq!(old.router.stats(), Stats::default());
}
