//! What a modern child wants to be told, asked of a legacy client (2026-07-28, Multi Round-Trip Requests).

use super::*;
use crate::config::{Bounds, RouterConfig};
use crate::metrics::{Limit, limit_hits};

const FORM: &str = r#"{"method":"elicitation/create","params":{"mode":"form","message":"m","requestedSchema":{"type":"object","properties":{}}}}"#;
const URL: &str = r#"{"method":"elicitation/create","params":{"mode":"url","message":"m","url":"https://a.example/"}}"#;
const SAMPLE: &str = r#"{"method":"sampling/createMessage","params":{"messages":[],"maxTokens":1.0}}"#;

fn input_required(inputs: &str, state: &str) -> String {
    let inputs = if inputs.is_empty() { String::new() } else { format!(r#","inputRequests":{{{inputs}}}"#) };
    let state = if state.is_empty() { String::new() } else { format!(r#","requestState":{state}"#) };
    format!(r#"{{"resultType":"input_required"{inputs}{state}}}"#)
}

/// The questions that the session was asked since, with their ids as JSON text.
fn questions(world: &mut World, session: SessionKey) -> Vec<(String, Value)> {
    let seen = world.seen_by(session);
    seen.iter().map(message_of).map(|message| (message["id"].to_string(), message)).collect()
}

fn answers(world: &mut World, session: SessionKey, id: &str, result: &str) {
    world.says(session, 0, &format!(r#"{{"jsonrpc":"2.0","id":{id},"result":{result}}}"#)).unwrap();
}

#[test]
fn each_input_is_asked_for_on_the_requests_stream_and_all_answers_go_with_the_retry() {
    let (mut world, session) = with_session(ASKABLE);
    let params = r#"{"name":"t","arguments":{"n":1.0},"_meta":{"progressToken":"p"}}"#;
    let first = world.calls(session, 7, "1", params);
    let state = r#""é\u0041""#;
    world.child_answers(
        first,
        &input_required(&format!(r#""a":{FORM},"b\n":{SAMPLE},"c":{{"method":"roots/list"}}"#), state),
    );
    assert!(world.seen.iter().all(|(to, stream, _)| (*to, *stream) == (session, StreamId(7))));
    let asked = questions(&mut world, session);
    let methods: Vec<_> = asked.iter().map(|(_, question)| question["method"].clone()).collect();
    assert_eq!(methods, ["elicitation/create", "sampling/createMessage", "roots/list"]);
    assert_eq!(asked[1].1["params"], json!({"messages": [], "maxTokens": 1.0}));
    assert_eq!(world.router.stats().questions, 3);

    answers(&mut world, session, &asked[2].0, r#"{"roots":[]}"#);
    answers(&mut world, session, &asked[0].0, r#"{"action":"accept","content":{"x":1e2}}"#);
    answers(&mut world, session, &asked[0].0, r#"{"action":"twice"}"#);
    assert_eq!(world.child_read(), [""; 0], "one is missing");
    answers(&mut world, session, &asked[1].0, r#"{"model":"m"}"#);
    let read = world.child_read();
    let again = id_of(&read[0]);
    assert!(again != first);
    assert!(read[0].contains(
        r#""inputResponses":{"c":{"roots":[]},"a":{"action":"accept","content":{"x":1e2}},"b\n":{"model":"m"}},"requestState":"é\u0041","name":"t","arguments":{"n":1.0}"#
    ), "{}", read[0]);
    let own = meta_of(&read[0]);
    assert_eq!(
        (&own["progressToken"], &own[meta::PROTOCOL_VERSION]),
        (&json!(format!("mux-{again}")), &json!("2026-07-28"))
    );

    let token = &own["progressToken"];
    world.child_says(&format!(
        r#"{{"jsonrpc":"2.0","method":"notifications/progress","params":{{"progressToken":{token},"progress":1}}}}"#
    ));
    assert_eq!(message_of(&world.seen_by(session)[0])["params"]["progressToken"], "p");
    world.child_answers(first, r#"{"resultType":"complete","late":true}"#);
    world.child_answers(again, r#"{"resultType":"complete","content":[]}"#);
    assert_eq!(world.seen_by(session), [response("1", r#"{"content":[]}"#)]);
    assert_eq!((world.router.stats().in_flight, world.router.stats().questions), (0, 0));
}

#[test]
fn a_url_elicitation_is_given_the_id_that_legacy_clients_insist_on() {
    // spec: 2025-11-25 client/elicitation, URL Mode Elicitation Requests
    let (mut world, session) = with_session(ASKABLE);
    let first = world.calls(session, 1, "1", "{}");
    world.child_answers(first, &input_required(&format!(r#""a":{URL},"b":{FORM}"#), ""));
    let asked = questions(&mut world, session);
    assert!(asked[0].1["params"]["elicitationId"].as_str().is_some_and(|id| !id.is_empty()));
    assert_eq!(asked[1].1["params"]["elicitationId"], Value::Null);
    for (id, _) in asked {
        answers(&mut world, session, &id, r#"{"action":"accept"}"#);
    }
    let read = world.child_read();
    assert!(!read[0].contains("requestState") && !read[0].contains("elicitationId"), "{}", read[0]);
}

#[test]
fn what_the_client_did_not_declare_is_not_asked_and_the_request_says_so() {
    let capabilities = ClientCapabilities { sampling: true, ..NONE };
    let (mut world, session) = with_session(capabilities);
    let first = world.calls(session, 1, "1", "{}");
    world.child_answers(first, &input_required(&format!(r#""a":{SAMPLE},"b":{URL}"#), ""));
    let seen: Vec<_> = world.router.stats().questions.to_string().chars().collect();
    assert_eq!(
        (seen, world.seen_by(session)),
        (vec!['0'], vec![Seen::Rejected("1".to_owned(), "child-answer-unusable")])
    );
    assert_eq!(world.child_read(), [""; 0]);
}

#[test]
fn a_state_alone_is_given_back_at_once_then_later_and_later_and_rounds_are_bounded() {
    let (mut world, session) = with_session(NONE);
    let mut id = world.calls(session, 1, "1", r#"{"name":"t"}"#);
    for (round, pause) in [0, 50, 100, 200, 400, 800, 1600, 2000, 2000, 2000].into_iter().enumerate() {
        world.child_answers(id, &input_required("", &format!("\"s{round}\"")));
        if pause > 0 {
            let until = world.now + Duration::from_millis(pause);
            assert_eq!((world.child_read(), world.router.poll_timeout()), (Vec::new(), Some(until)));
            world.advance(Duration::from_millis(pause));
        }
        let read = world.child_read();
        assert!(read[0].contains(&format!(r#""requestState":"s{round}""#)) && !read[0].contains("inputResponses"));
        id = id_of(&read[0]);
    }
    world.child_answers(id, &input_required("", "\"s\""));
    assert_eq!(world.child_read(), [""; 0]);
    assert_eq!(world.seen_by(session), [Seen::Rejected("1".to_owned(), "child-answer-unusable")]);
}

#[test]
fn a_later_round_has_its_own_answers_and_state_only() {
    let (mut world, session) = with_session(ASKABLE);
    let first = world.calls(session, 1, "1", "{}");
    world.child_answers(first, &input_required(&format!(r#""a":{FORM}"#), "\"one\""));
    let asked = questions(&mut world, session);
    answers(&mut world, session, &asked[0].0, "{}");
    let second = id_of(&world.child_read()[0]);
    world.child_answers(second, &input_required(&format!(r#""b":{FORM}"#), ""));
    let asked = questions(&mut world, session);
    answers(&mut world, session, &asked[0].0, "{}");
    let third = json_of(&world.child_read()[0]);
    assert_eq!(third["params"]["inputResponses"], json!({"b": {}}));
    assert_eq!(third["params"].get("requestState"), None);
}

#[test]
fn a_clients_error_ends_the_request_and_its_other_questions() {
    let (mut world, session) = with_session(ASKABLE);
    let first = world.calls(session, 1, r#""i""#, "{}");
    world.child_answers(first, &input_required(&format!(r#""a":{FORM},"b":{SAMPLE}"#), ""));
    let asked = questions(&mut world, session);
    let error = r#""error":{"code":-1,"message":"User rejected"}"#;
    world.says(session, 0, &format!(r#"{{"jsonrpc":"2.0","id":{},{error}}}"#, asked[0].0)).unwrap();
    let seen = world.seen_by(session);
    assert_eq!(seen[1], Seen::Response(format!(r#"{{"jsonrpc":"2.0","id":"i",{error}}}"#)));
    assert_eq!(message_of(&seen[0])["params"]["requestId"].to_string(), asked[1].0, "before what ends the stream");
    assert_eq!(world.child_read(), [""; 0], "the child has nothing in flight");
    assert_eq!((world.router.stats().in_flight, world.router.stats().questions), (0, 0));
}

#[test]
fn cancelling_detaching_time_and_exits_end_a_request_that_asks() {
    let config = RouterConfig { request_timeout: Some(Duration::from_secs(5)), ..config() };
    type End = fn(&mut World, SessionKey);
    let cancels: End = |world, session| {
        let cancel = r#"{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":1}}"#;
        world.says(session, 0, cancel).unwrap();
    };
    let exits: End = |world, _| world.exit();
    let times_out: End = |world, _| world.advance(Duration::from_secs(5));
    let detaches: End = |world, session| drop(world.detach(session));
    for (end, kind) in [
        (cancels, None),
        (exits, Some("child-exited")),
        (times_out, Some("request-timeout")),
        (detaches, Some("session-closed")),
    ] {
        let mut world = World::modern_with(config.clone());
        let session = world.attach(1, ASKABLE);
        let first = world.calls(session, 1, "1", "{}");
        world.child_answers(first, &input_required(&format!(r#""a":{FORM}"#), ""));
        let asked = questions(&mut world, session);
        world.child.clear();
        end(&mut world, session);
        let seen = world.seen_by(session);
        let settled = kind.map_or(Seen::Cancelled, |kind| Seen::Rejected("1".to_owned(), kind));
        assert!(seen.contains(&settled), "{kind:?}: {seen:?}");
        let voided =
            |seen: &&Seen| matches!(seen, Seen::Message(text) if json_of(text)["method"] == "notifications/cancelled");
        assert_eq!(seen.iter().filter(voided).count(), 1, "{kind:?}");
        assert!(world.child_read().iter().all(|line| !line.contains(&format!("\"requestId\":{first}"))), "{kind:?}");
        answers(&mut world, session, &asked[0].0, "{}");
        assert_eq!((world.router.stats().in_flight, world.router.stats().questions), (0, 0), "{kind:?}");
    }
}

#[test]
fn large_requests_are_kept_up_to_a_bound_for_all_and_what_was_not_kept_fails_when_the_child_asks() {
    let (mut world, session) = bounded(Bounds { resend_bytes_max: 10_000, ..Bounds::default() });
    let large = format!(r#"{{"a":"{}"}}"#, "x".repeat(5_000));
    let asks = input_required(&format!(r#""a":{FORM}"#), "");
    for _ in 0..3 {
        let [kept, not_kept] = ["1", "2"].map(|id| world.calls(session, 1, id, &large));
        let before = limit_hits(Limit::ResendBytesMax);
        world.child_answers(not_kept, &asks);
        assert_eq!(world.seen_by(session), [Seen::Rejected("2".to_owned(), "child-answer-unusable")]);
        assert!(limit_hits(Limit::ResendBytesMax) > before);
        world.child_answers(kept, &asks);
        let asked = questions(&mut world, session);
        answers(&mut world, session, &asked[0].0, "{}");
        let again = world.child.pop_back().unwrap();
        assert!(again.len() > large.len());
        world.child_answers(id_of(&again), "{}");
        assert_eq!(world.seen_by(session), [response("1", "{}")]);
    }
}

#[test]
fn what_cannot_be_asked_is_an_unusable_answer() {
    let (mut world, session) = with_session(ASKABLE);
    for inputs in [r#""a":{"method":"tools/call"}"#, r#""a":{}"#, r#""a":7"#, &format!(r#""a":{FORM},"\u0061":{FORM}"#)]
    {
        let id = world.calls(session, 1, "1", "{}");
        world.child_answers(id, &input_required(inputs, ""));
        assert_eq!(world.seen_by(session), [Seen::Rejected("1".to_owned(), "child-answer-unusable")], "{inputs}");
    }
    for result in [r#"{"resultType":"input_required"}"#, r#"{"resultType":"input_required","requestState":7}"#] {
        let id = world.calls(session, 1, "1", "{}");
        world.child_answers(id, result);
        assert_eq!(world.seen_by(session), [Seen::Rejected("1".to_owned(), "child-answer-unusable")], "{result}");
    }
    assert_eq!(world.router.stats().questions, 0);
}

/// A world with a session, under these bounds.
fn bounded(bounds: Bounds) -> (World, SessionKey) {
    let mut world = World::modern_with(RouterConfig { bounds, ..config() });
    let session = world.attach(1, ASKABLE);
    world.child.clear();
    (world, session)
}

#[test]
fn a_client_is_asked_no_more_in_a_round_than_it_may_be() {
    let (mut world, session) = bounded(Bounds { questions_max: 2, ..Bounds::default() });
    let three = ["a", "b", "c"].map(|key| format!(r#""{key}":{FORM}"#)).join(",");
    let one = format!(r#""a":{FORM}"#);
    let before = limit_hits(Limit::QuestionsMax);
    let [first, second, third] = ["1", "2", "3"].map(|id| world.calls(session, 1, id, "{}"));
    world.child_answers(first, &input_required(&three, ""));
    assert_eq!(world.seen_by(session), [Seen::Rejected("1".to_owned(), "child-answer-unusable")]);
    assert!(limit_hits(Limit::QuestionsMax) > before, "of one round");
    let before = limit_hits(Limit::QuestionsMax);
    world.child_answers(second, &input_required(&one, ""));
    world.child_answers(third, &input_required(&format!(r#"{one},"b":{FORM}"#), ""));
    assert_eq!(world.seen_by(session).last(), Some(&Seen::Rejected("3".to_owned(), "child-answer-unusable")));
    assert!(limit_hits(Limit::QuestionsMax) > before, "of several requests");
    assert_eq!(world.router.stats().questions, 1);
}

#[test]
fn a_request_is_sent_again_ten_times_and_no_more() {
    let (mut world, session) = with_session(NONE);
    let mut id = world.calls(session, 1, "1", "{}");
    let before = limit_hits(Limit::MessageForm);
    for _ in 0..10 {
        world.child_answers(id, &input_required("", "\"a\""));
        world.advance(Duration::from_secs(2));
        id = id_of(&world.child.pop_back().unwrap());
    }
    world.child_answers(id, &input_required("", "\"a\""));
    assert_eq!(world.seen_by(session), [Seen::Rejected("1".to_owned(), "child-answer-unusable")]);
    assert!(limit_hits(Limit::MessageForm) > before);
}

#[test]
fn what_goes_with_a_request_that_is_sent_again_is_bounded() {
    let large = format!("\"{}\"", "x".repeat(16 << 20));
    let (mut world, session) = bounded(Bounds { nesting_max: 8, ..Bounds::default() });
    let id = world.calls(session, 1, "1", "{}");
    let before = limit_hits(Limit::MessageForm);
    world.child_answers(id, &input_required("", &large));
    assert_eq!(
        world.seen_by(session),
        [Seen::Rejected("1".to_owned(), "child-answer-unusable")],
        "what the child wants"
    );
    assert!(limit_hits(Limit::MessageForm) > before);
    let deep = format!("{}{}", "[".repeat(6), "]".repeat(6));
    for (answer, limit) in [(large, Limit::MessageForm), (deep, Limit::NestingMax)] {
        let id = world.calls(session, 1, "1", "{}");
        world.child_answers(id, &input_required(&format!(r#""a":{FORM}"#), ""));
        let asked = questions(&mut world, session);
        let before = limit_hits(limit);
        answers(&mut world, session, &asked[0].0, &answer);
        assert_eq!(world.seen_by(session), [Seen::Rejected("1".to_owned(), "invalid-request")], "what its client says");
        assert!(limit_hits(limit) > before, "{limit:?}");
    }
}

#[test]
fn only_who_was_asked_can_answer() {
    let (mut world, session) = with_session(ASKABLE);
    let other = world.attach(2, ASKABLE);
    let first = world.calls(session, 1, "1", "{}");
    world.calls(other, 1, "1", "{}");
    world.child_answers(first, &input_required(&format!(r#""a":{FORM}"#), ""));
    let asked = questions(&mut world, session);
    world.child.clear();
    answers(&mut world, other, &asked[0].0, "{}");
    assert_eq!(world.child_read(), [""; 0]);
    answers(&mut world, session, &asked[0].0, "{}");
    assert_eq!(world.child_read().len(), 1);
}

/// What the session is told by the reject that comes next.
fn told(world: &mut World) -> String {
    while let Some(output) = world.router.poll_output() {
        if let Output::ToSession(Delivery { payload: Payload::Rejected(_, reject), .. }) = output {
            return reject.to_string();
        }
    }
    panic!("nothing is rejected")
}

#[test]
fn who_is_told_that_it_took_too_long_is_told_who_did() {
    let timeout = Duration::from_secs(1);
    let mut world = World::modern_with(RouterConfig { request_timeout: Some(timeout), ..config() });
    let session = world.attach(1, ASKABLE);
    world.child.clear();
    let id = world.calls(session, 1, "1", "{}");
    world.router.handle_timeout(world.now + timeout);
    assert_eq!(told(&mut world), "the server did not answer within 1s (--request-timeout)");
    let again = world.calls(session, 1, "1", "{}");
    assert!(again != id);
    world.child_answers(again, &input_required(&format!(r#""a":{FORM}"#), ""));
    world.router.handle_timeout(world.now + timeout);
    assert_eq!(told(&mut world), "the client did not answer what the server asks within 1s (--request-timeout)");
}

#[test]
fn a_client_without_a_session_is_told_why_it_cannot_be_asked() {
    let mut world = World::modern();
    for (key, (said, why)) in
        (1..).zip([(Some("{}"), "the client did not declare"), (None, "a client cannot declare with --stateless")])
    {
        let client_capabilities = said.map(Arc::from);
        let profile = Profile { revision: Some(Revision::LATEST), client_capabilities, ..Profile::default() };
        world.router.attach(SessionKey(key), profile, world.now);
        world.drain();
        let id = world.calls(SessionKey(key), 1, "1", "{}");
        let answer = input_required(&format!(r#""a":{SAMPLE}"#), "");
        let answer =
            super::super::super::world::message(&format!(r#"{{"jsonrpc":"2.0","id":{id},"result":{answer}}}"#));
        world.router.handle_child_message(answer, world.now);
        assert!(told(&mut world).ends_with(&format!("it asks for sampling, which {why}")));
    }
}

#[test]
fn a_request_that_is_cancelled_while_it_rests_is_not_sent_again() {
    let (mut world, session) = with_session(NONE);
    let id = world.calls(session, 1, "1", "{}");
    world.child_answers(id, &input_required("", "\"a\""));
    let again = id_of(&world.child.pop_back().unwrap());
    world.child_answers(again, &input_required("", "\"b\""));
    world.says(session, 1, r#"{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":1}}"#).unwrap();
    assert_eq!(world.seen_by(session), [Seen::Cancelled]);
    // What is left is the time that the subscription of the session may take.
    assert!(world.router.poll_timeout() > Some(world.now + Duration::from_secs(5)));
    world.advance(Duration::from_secs(5));
    assert_eq!(world.child_read(), [""; 0]);
}
