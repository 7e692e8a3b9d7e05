//! What sessions and the child may make grow, up to its bound and beyond.

use super::*;
use crate::config::{Bounds, RouterConfig};
use crate::jsonrpc::ID_BYTES_MAX;
use crate::metrics::{Limit, limit_hits};

/// A world with a session, under these bounds.
fn bounded(bounds: Bounds) -> (World, SessionKey) {
    let mut world = World::ready_with(RouterConfig { bounds, ..config() });
    let session = world.attach(1, ASKABLE);
    world.child_read();
    (world, session)
}

fn request(id: u64, method: &str, params: &str) -> String {
    format!(r#"{{"jsonrpc":"2.0","id":{id},"method":"{method}","params":{params}}}"#)
}

#[test]
fn a_session_has_no_more_subscriptions_than_it_may_have() {
    let (mut world, session) = bounded(Bounds { subscriptions_max: 2, ..Bounds::default() });
    let before = limit_hits(Limit::SubscriptionsMax);
    let mut says = |id, method: &str, uri: &str| {
        world.says(session, 1, &request(id, method, &format!(r#"{{"uri":"{uri}"}}"#))).unwrap();
        if let Some(line) = world.child.pop_back() {
            world.child_answers(id_of(&line), "{}");
        }
        world.seen_by(session)
    };
    assert_eq!(says(1, "resources/subscribe", "x:/1"), [response("1", "{}")]);
    assert_eq!(says(2, "resources/subscribe", "x:/2"), [response("2", "{}")]);
    assert_eq!(says(3, "resources/subscribe", "x:/2"), [response("3", "{}")], "it has that one");
    assert_eq!(says(4, "resources/subscribe", "x:/3"), [Seen::Rejected("4".to_owned(), "invalid-params")]);
    assert!(limit_hits(Limit::SubscriptionsMax) > before);
    assert_eq!(says(5, "resources/unsubscribe", "x:/1"), [response("5", "{}")]);
    assert_eq!(says(6, "resources/subscribe", "x:/3"), [response("6", "{}")], "there is room again");
}

#[test]
fn what_a_private_child_took_beyond_the_bound_is_not_kept_for_the_next_process() {
    let bounds = Bounds { subscriptions_max: 1, ..Bounds::default() };
    let mut world = World::with_sharing(RouterConfig { bounds, ..config() }, Sharing::Private);
    world.begin();
    let session = SessionKey(1);
    world.router.attach(session, Profile::default(), world.now);
    world.says(session, 1, &request(1, "initialize", r#"{"protocolVersion":"2025-11-25"}"#)).unwrap();
    let id = id_of(&world.child.pop_back().unwrap());
    world.child_answers(id, super::super::world::INITIALIZE_RESULT);
    let before = limit_hits(Limit::SubscriptionsMax);
    for id in [2, 3] {
        let uri = format!(r#"{{"uri":"x:/{id}"}}"#);
        world.says(session, 1, &request(id, "resources/subscribe", &uri)).unwrap();
        let id = id_of(&world.child.pop_back().unwrap());
        world.child_answers(id, "{}");
    }
    assert_eq!(world.router.stats().subscriptions, 1);
    assert!(limit_hits(Limit::SubscriptionsMax) > before);
}

#[test]
fn a_client_is_asked_no_more_at_a_time_than_it_may_be() {
    let (mut world, session) = bounded(Bounds { questions_max: 1, ..Bounds::default() });
    let before = limit_hits(Limit::QuestionsMax);
    world.calls(session, 1, "1", "{}");
    world.child_says(SAMPLE);
    world.child_says(&SAMPLE.replace(":0,", ":1,"));
    assert_eq!(world.seen_by(session).len(), 1);
    let refused = world.child_read();
    assert_eq!((refused.len(), json_of(&refused[0])["id"].clone()), (1, json!(1)));
    assert_eq!(json_of(&refused[0])["error"]["data"]["kind"], "not-possible");
    assert!(limit_hits(Limit::QuestionsMax) > before);
    world.says(session, 1, r#"{"jsonrpc":"2.0","id":"mcp-mux-0-1","result":{}}"#).unwrap();
    world.child_says(&SAMPLE.replace(":0,", ":2,"));
    assert_eq!(world.seen_by(session).len(), 1, "it has answered");
}

#[test]
fn of_as_many_elicitations_as_questions_it_is_remembered_whom_their_end_concerns() {
    let (mut world, session) = bounded(Bounds { questions_max: 1, ..Bounds::default() });
    let before = limit_hits(Limit::QuestionsMax);
    world.calls(session, 1, "1", "{}");
    for (number, id) in [(1, "e1"), (2, "e2")] {
        let params = format!(r#"{{"mode":"url","elicitationId":"{id}","message":"m","url":"https://a.example/"}}"#);
        world.child_says(&request(number, "elicitation/create", &params));
        let answer = format!(r#"{{"jsonrpc":"2.0","id":"mcp-mux-0-{number}","result":{{"action":"accept"}}}}"#);
        world.says(session, 1, &answer).unwrap();
    }
    assert!(limit_hits(Limit::QuestionsMax) > before);
    world.seen_by(session);
    let mut completed = |id: &str| {
        let params = format!(r#""params":{{"elicitationId":"{id}"}}"#);
        world.child_says(&format!(r#"{{"jsonrpc":"2.0","method":"notifications/elicitation/complete",{params}}}"#));
        world.seen_by(session).len()
    };
    assert_eq!([completed("e1"), completed("e2")], [0, 1], "the oldest is forgotten");
    // Of all sessions four times as many.
    for key in 2..=6 {
        world.router.remember_elicitation(format!("of {key}"), SessionKey(key));
    }
    assert_eq!(world.router.stats().elicitations, 4);
}

#[test]
fn the_oldest_task_of_a_session_is_forgotten_where_it_has_more_than_it_may_have() {
    let (mut world, session) = bounded(Bounds { tasks_max: 2 * Bounds::TASKS_MIN, ..Bounds::default() });
    let before = limit_hits(Limit::TasksMax);
    for task in ["t1", "t2", "t3"] {
        let id = world.calls(session, 1, "1", r#"{"task":{}}"#);
        world.child_answers(id, &format!(r#"{{"task":{{"taskId":"{task}","status":"working"}}}}"#));
    }
    assert!(limit_hits(Limit::TasksMax) > before);
    world.seen_by(session);
    let mut get = |task: &str| {
        world.says(session, 1, &request(2, "tasks/get", &format!(r#"{{"taskId":"{task}"}}"#))).unwrap();
        if let Some(line) = world.child.pop_back() {
            world.child_answers(id_of(&line), "{}");
        }
        world.seen_by(session)
    };
    assert_eq!(get("t1"), [Seen::Rejected("2".to_owned(), "invalid-params")]);
    assert_eq!([get("t2"), get("t3")], [[response("2", "{}")], [response("2", "{}")]]);
}

#[test]
fn a_part_of_a_message_that_is_too_large_is_refused_and_counted() {
    let (mut world, session) = bounded(Bounds::default());
    let quoted = |bytes: usize| format!("\"{}\"", "x".repeat(bytes - 2));
    let token = |bytes| request(1, "x", &format!(r#"{{"_meta":{{"progressToken":{}}}}}"#, quoted(bytes)));
    let uri = |bytes: usize| request(2, "resources/subscribe", &format!(r#"{{"uri":{}}}"#, quoted(bytes + 2)));
    for (fits, too_large, kind) in
        [(token(ID_BYTES_MAX), token(ID_BYTES_MAX + 1), "invalid-request"), (uri(8192), uri(8193), "invalid-params")]
    {
        let before = limit_hits(Limit::MessageForm);
        assert_eq!(world.says(session, 1, &too_large).unwrap_err().wire().kind, kind);
        assert!(limit_hits(Limit::MessageForm) > before);
        world.says(session, 1, &fits).unwrap();
    }
    let before = limit_hits(Limit::MessageForm);
    for bytes in [ID_BYTES_MAX, ID_BYTES_MAX + 1] {
        world.router.remember_elicitation("x".repeat(bytes), session);
    }
    assert_eq!(world.router.stats().elicitations, 1);
    assert!(limit_hits(Limit::MessageForm) > before);
}
