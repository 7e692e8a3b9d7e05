//! A child of one session's own: as on a pipe between the two.

use super::super::world::{Seen, World, config, error_kind, id_of, json_of, message, response};
use super::super::*;
use super::{NONE, SAMPLE};
use crate::config::OnAmbiguous;

const S: SessionKey = SessionKey(1);
const PARAMS: &str = r#"{ "protocolVersion":"2025-06-18", "capabilities":{"x":[1e2],"sampling":{}}, "_meta":{"progressToken":"t"},"clientInfo":{"name":"é","version":"1"} }"#;
const INITIALIZED: &str = r#"{"jsonrpc":"2.0","method":"notifications/initialized","params":{"_meta":{"v":1}}}"#;
const RESULT: &str = r#"{"protocolVersion":"2025-06-18","capabilities":{"logging":{},"tools":{},"resources":{"subscribe":true}},"serverInfo":{"name":"s","version":"1"},"instructions":"é"}"#;

fn initialize(id: &str) -> String {
    format!(r#"{{"id":{id},"extra":1,"jsonrpc":"2.0","method":"initialize","params":{PARAMS}}}"#)
}

fn attach(world: &mut World) {
    world.router.attach(S, Profile { capabilities: NONE, ..Profile::default() }, world.now);
    world.drain();
}

/// A world whose client has introduced itself.
fn open() -> World {
    let mut world = World::private();
    attach(&mut world);
    world.says(S, 1, &initialize("0")).unwrap();
    let id = id_of(&world.child_read()[0]);
    world.child_answers(id, RESULT);
    world.says(S, 2, INITIALIZED).unwrap();
    world.child_read();
    world.seen.clear();
    world
}

fn methods(lines: &[String]) -> Vec<String> {
    lines.iter().map(|line| json_of(line)["method"].as_str().unwrap_or_default().to_owned()).collect()
}

#[test]
fn the_handshake_is_the_clients_own_word_for_word() {
    let mut world = World::private();
    assert_eq!((world.router.stage(), world.child_read()), (Stage::Waiting, vec![]));
    attach(&mut world);
    // It was told nothing yet, and so it stays until the client speaks.
    assert_eq!(world.child_read(), [""; 0]);
    world.says(S, 1, &initialize(r#""i""#)).unwrap();
    assert_eq!(world.router.stage(), Stage::Handshake);
    let read = world.child_read();
    let id = id_of(&read[0]);
    assert_eq!(read, [initialize(&id.to_string())]);
    // Progress under the client's own token, which was not replaced.
    let progress = r#"{"jsonrpc":"2.0","method":"notifications/progress","params":{"progressToken":"t","progress":1}}"#;
    world.child_says(progress);
    world.child_says(&format!(r#"{{"result":{RESULT},"id":{id},"jsonrpc":"2.0"}}"#));
    let answer = format!(r#"{{"result":{RESULT},"id":"i","jsonrpc":"2.0"}}"#);
    let seen: Vec<_> = world.seen.drain(..).collect();
    let on = StreamId(1);
    assert_eq!(
        seen,
        [(S, on, Seen::Message(progress.to_owned())), (S, on, Seen::Initialized(answer))],
        "as the child spelled them"
    );
    assert_eq!((world.router.stage(), world.child_read()), (Stage::Ready, vec![]));
    for _ in 0..2 {
        world.says(S, 2, INITIALIZED).unwrap();
    }
    assert_eq!(world.child_read(), [INITIALIZED], "once");
    assert!(world.says(S, 3, &initialize("1")).is_err(), "initialized twice");
    assert_eq!(world.router.requests_given(), 0);
}

#[test]
fn what_comes_before_the_handshake_waits_for_it() {
    let mut world = World::with_sharing(config(), Sharing::Private);
    attach(&mut world);
    world.says(S, 1, r#"{"jsonrpc":"2.0","method":"notifications/x"}"#).unwrap();
    world.says(S, 1, r#"{"jsonrpc":"2.0","id":1,"method":"tools/call"}"#).unwrap();
    world.says(S, 2, &initialize("2")).unwrap();
    assert_eq!(world.child_read(), [""; 0], "there is no process");
    world.begin();
    let read = world.child_read();
    assert_eq!(methods(&read), ["initialize"]);
    world.child_answers(id_of(&read[0]), RESULT);
    assert_eq!(methods(&world.child_read()), ["notifications/x", "tools/call"]);
    assert_eq!(world.router.queued_bytes(), 0);
}

#[test]
fn a_refused_introduction_is_the_clients_to_deal_with() {
    let mut world = World::private();
    attach(&mut world);
    for attempt in ["1", "2"] {
        world.says(S, 1, &initialize(attempt)).unwrap();
        let id = id_of(&world.child_read()[0]);
        let refusal = |id: &str| format!(r#"{{"jsonrpc":"2.0","id":{id},"error":{{"code":-32602,"message":"no"}}}}"#);
        world.child_says(&refusal(&id.to_string()));
        assert_eq!(world.seen_by(S), [Seen::Response(refusal(attempt))]);
        assert_eq!((world.router.stage(), world.router.handshake_error()), (Stage::Waiting, None));
    }
    world.says(S, 1, &initialize("3")).unwrap();
    let id = id_of(&world.child_read()[0]);
    world.router.handle_unusable_answer(id, "too long", world.now);
    world.drain();
    assert_eq!(world.seen_by(S), [Seen::Rejected("3".to_owned(), "child-answer-unusable")]);
    assert_eq!((world.router.stage(), world.router.handshake_error()), (Stage::Waiting, None));
    // One that leaves without waiting does not cancel (spec: 2025-11-25 basic/utilities/cancellation, 2).
    world.says(S, 1, &initialize("4")).unwrap();
    world.child_read();
    world.detach(S);
    assert_eq!(world.seen_by(S), [Seen::Rejected("4".to_owned(), "session-closed")]);
    assert_eq!((world.child_read(), world.router.stats()), (vec![], Stats::default()));
}

#[test]
fn an_answer_to_the_introduction_counts_though_the_process_is_on_its_way_out() {
    let mut world = World::private();
    attach(&mut world);
    world.says(S, 1, &initialize("1")).unwrap();
    let id = id_of(&world.child_read()[0]);
    world.router.handle_child_ending();
    world.child_answers(id, RESULT);
    assert!(matches!(world.seen_by(S)[..], [Seen::Initialized(_)]));
    assert_eq!((world.router.stage(), world.child_read()), (Stage::Down, vec![]));
    world.exit();
    world.start();
    assert_eq!(methods(&world.child_read()), ["notifications/initialized"]);
    world.says(S, 2, INITIALIZED).unwrap();
    assert_eq!(world.child_read(), [""; 0], "it was told so");
}

#[test]
fn everything_the_child_sends_is_its_clients() {
    let mut world = open();
    let notifications = [
        r#"{"jsonrpc":"2.0","method":"notifications/message","params":{"level":"debug","data":1}}"#,
        r#"{"jsonrpc":"2.0","method":"notifications/resources/updated","params":{"uri":"x:/never"}}"#,
        r#"{"jsonrpc":"2.0","method":"notifications/tools/list_changed"}"#,
        r#"{"jsonrpc":"2.0","method":"notifications/elicitation/complete","params":{"elicitationId":"e"}}"#,
        r#"{"jsonrpc":"2.0","method":"notifications/tasks/status","params":{"taskId":"t","status":"working"}}"#,
        r#"{"jsonrpc":"2.0","method":"notifications/progress","params":{"progressToken":7,"progress":1}}"#,
        r#"{"jsonrpc":"2.0","method":"vendor/x","params":{"_meta":{"progressToken":"mux-99"}}}"#,
    ];
    for text in notifications {
        world.child_says(text);
        let seen: Vec<_> = world.seen.drain(..).collect();
        assert_eq!(seen, [(S, StreamId::STANDALONE, Seen::Message(text.to_owned()))]);
    }
    let call = world.calls(S, 5, "1", r#"{"_meta":{"progressToken":"mine"}}"#);
    world.child_says(notifications[0]);
    world.child_says(&format!(
        r#"{{"jsonrpc":"2.0","method":"notifications/progress","params":{{"progressToken":"mux-{call}","progress":1}}}}"#
    ));
    let seen: Vec<_> = world.seen.drain(..).collect();
    assert_eq!(seen[0], (S, StreamId(5), Seen::Message(notifications[0].to_owned())));
    assert!(matches!(&seen[1], (S, StreamId(5), Seen::Message(text)) if text.contains(r#""progressToken":"mine""#)));
}

#[test]
fn any_question_is_asked_at_any_time_and_outlives_requests() {
    let mut world = open();
    let vendor = r#"{"jsonrpc":"2.0","id":"v","method":"vendor/ask","params":{"_meta":{"io.modelcontextprotocol/related-task":{"taskId":"of the client"}}}}"#;
    world.child_says(vendor);
    let call = world.calls(S, 5, "1", "{}");
    world.child_says(SAMPLE);
    let seen: Vec<_> = world.seen.drain(..).collect();
    let [(_, StreamId::STANDALONE, Seen::Message(first)), (_, StreamId(5), Seen::Message(second))] = &seen[..] else {
        panic!("{seen:?}")
    };
    world.child_answers(call, "{}");
    assert_eq!(world.seen_by(S), [response("1", "{}")], "the question stays open");
    for (question, child_id) in [(second, "0"), (first, r#""v""#)] {
        let id = json_of(question)["id"].to_string();
        world.says(S, 0, &format!(r#"{{"jsonrpc":"2.0","id":{id},"result":{{}}}}"#)).unwrap();
        assert_eq!(world.child_read(), [format!(r#"{{"jsonrpc":"2.0","id":{child_id},"result":{{}}}}"#)]);
    }
    world.child_says(r#"{"jsonrpc":"2.0","id":"p","method":"ping"}"#);
    assert_eq!(world.child_read(), [r#"{"jsonrpc":"2.0","id":"p","result":{}}"#]);
    world.detach(S);
    world.child_read();
    world.child_says(SAMPLE);
    assert_eq!(error_kind(&world.child_read()[0])["kind"], "not-attributable", "nobody is there");
}

#[test]
fn the_child_answers_for_itself() {
    let mut world = open();
    for (method, params) in [
        ("logging/setLevel", r#"{"level":"no such level"}"#),
        ("logging/setLevel", r#"{"level":"error"}"#),
        ("logging/setLevel", r#"{"level":"error"}"#),
        ("resources/subscribe", r#"{"uri":"x:/1"}"#),
        ("resources/subscribe", r#"{"uri":"x:/1"}"#),
        ("resources/unsubscribe", r#"{"uri":"x:/2"}"#),
        ("tasks/list", "{}"),
        ("tasks/get", r#"{"taskId":"unheard of"}"#),
    ] {
        world.says(S, 1, &format!(r#"{{"jsonrpc":"2.0","id":1,"method":"{method}","params":{params}}}"#)).unwrap();
        let read = world.child_read();
        assert_eq!((read.len(), &json_of(&read[0])["method"]), (1, &serde_json::json!(method)));
        let result = r#"{"tasks":[{"taskId":"t"}]}"#;
        world.child_answers(id_of(&read[0]), result);
        assert_eq!(world.seen_by(S), [response("1", result)]);
    }
    assert_eq!(world.router.requests_given(), 8);
}

#[test]
fn the_next_process_is_introduced_to_and_told_as_the_client_did() {
    let mut world = open();
    for (method, params, taken) in [
        ("logging/setLevel", r#"{"level":"error"}"#, true),
        ("logging/setLevel", r#"{"level":"debug"}"#, false),
        ("resources/subscribe", r#"{"uri":"x:/1"}"#, true),
        ("resources/subscribe", r#"{"uri":"x:/2"}"#, false),
        ("resources/subscribe", r#"{"uri":"x:/3"}"#, true),
        ("resources/unsubscribe", r#"{"uri":"x:/3"}"#, true),
    ] {
        world.says(S, 1, &format!(r#"{{"jsonrpc":"2.0","id":1,"method":"{method}","params":{params}}}"#)).unwrap();
        let id = id_of(&world.child_read()[0]);
        let answer = if taken { r#""result":{}"# } else { r#""error":{"code":1,"message":""}"# };
        world.child_says(&format!(r#"{{"jsonrpc":"2.0","id":{id},{answer}}}"#));
    }
    world.seen.clear();
    world.exit();
    world.begin();
    let read = world.child_read();
    assert_eq!(
        (read.len(), message(&read[0]).params().map(|span| message(&read[0]).text(span).to_owned())),
        (1, Some(PARAMS.to_owned()))
    );
    assert_eq!(world.seen_by(S), []);
    world.child_answers(id_of(&read[0]), RESULT);
    let read = world.child_read();
    assert_eq!(methods(&read), ["notifications/initialized", "logging/setLevel", "resources/subscribe"]);
    assert_eq!(json_of(&read[1])["params"]["level"], "error");
    assert_eq!(json_of(&read[2])["params"]["uri"], "x:/1");
    let lists = ["tools", "resources"]
        .map(|list| Seen::Message(format!(r#"{{"jsonrpc":"2.0","method":"notifications/{list}/list_changed"}}"#)));
    assert_eq!(world.seen_by(S), lists);
    for line in &read[1..] {
        world.child_answers(id_of(line), "{}");
    }
    assert_eq!(world.seen_by(S), [], "nobody asked for that");
    // The next one's refusal is its own, and for whoever starts processes.
    world.exit();
    world.begin();
    let id = id_of(&world.child_read()[0]);
    world.child_says(&format!(r#"{{"jsonrpc":"2.0","id":{id},"error":{{"code":1,"message":"no"}}}}"#));
    assert!(world.router.handshake_error().is_some());
    assert_eq!(world.seen_by(S), []);
}

#[test]
fn turns_are_not_taken_where_there_is_one_session() {
    let mut world = open();
    let serialize = RouterConfig { on_ambiguous: OnAmbiguous::Serialize, ..config() };
    assert_eq!(Sharing::Private.configure(serialize).on_ambiguous, OnAmbiguous::Reject);
    world.calls(S, 1, "1", "{}");
    world.calls(S, 2, "2", "{}");
}
