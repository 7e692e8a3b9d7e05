//! The rules of DESIGN section 5 for a modern child, one scenario each: legacy clients on it, and modern ones.

mod kept;
mod listening;
mod refusals;
mod rounds;
mod structured;
mod words;

use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};

use super::super::world::{ASKABLE, Seen, World, config, id_of, json_of, response};
use super::super::*;
use crate::mcp::ids::meta;
use crate::mcp::{LogLevel, Revision};

const NONE: ClientCapabilities =
    ClientCapabilities { roots: false, sampling: false, elicitation_form: false, elicitation_url: false };
const PROTOCOL: &str = r#""io.modelcontextprotocol/protocolVersion":"2026-07-28""#;

/// A modern child, and a legacy session on it; the child has read of it.
fn with_session(capabilities: ClientCapabilities) -> (World, SessionKey) {
    let mut world = World::modern();
    let session = world.attach(1, capabilities);
    world.child.clear();
    (world, session)
}

/// `_meta` of a request that the child read.
fn meta_of(line: &str) -> Value {
    json_of(line)["params"]["_meta"].clone()
}

fn message_of(seen: &Seen) -> Value {
    let Seen::Message(text) = seen else { panic!("no message but {seen:?}") };
    json_of(text)
}

#[test]
fn the_handshake_is_a_discovery_and_ends_with_its_answer() {
    // spec: 2026-07-28 basic/transports/stdio, Backward Compatibility
    let mut world = World::with_era(config(), Sharing::Private, Era::Modern);
    world.begin();
    assert_eq!(world.router.stage(), Stage::Handshake, "a child of one's own does not wait for its client either");
    let discover = world.child.pop_back().unwrap();
    assert_eq!(json_of(&discover)["method"], "server/discover");
    let own = meta_of(&discover);
    assert_eq!(own[meta::PROTOCOL_VERSION], "2026-07-28");
    assert_eq!(own[meta::CLIENT_INFO]["name"], "mcp-mux");
    assert_eq!(
        own[meta::CLIENT_CAPABILITIES],
        json!({"roots": {}, "sampling": {}, "elicitation": {"form": {}, "url": {}}})
    );
    world.child_answers(id_of(&discover), super::super::world::DISCOVER_RESULT);
    assert_eq!(world.router.stage(), Stage::Ready);
    assert_eq!(world.child_read(), [""; 0], "there is no `initialized`");
}

#[test]
fn a_server_that_does_not_speak_the_modern_revision_has_refused() {
    for answer in [
        r#""error":{"code":-32022,"message":"no","data":{"supported":["2025-11-25"],"requested":"2026-07-28"}}"#,
        r#""error":{"code":-32601,"message":"no"}"#,
        r#""result":{"supportedVersions":["2027-01-01"],"capabilities":{},"resultType":"complete"}"#,
        r#""result":{}"#,
    ] {
        let mut world = World::with_era(config(), Sharing::Shared, Era::Modern);
        world.begin();
        let id = id_of(&world.child.pop_back().unwrap());
        world.child_says(&format!(r#"{{"jsonrpc":"2.0","id":{id},{answer}}}"#));
        assert_eq!(world.router.stage(), Stage::Handshake);
        assert!(world.router.handshake_error().is_some(), "{answer}");
    }
}

#[test]
fn initialize_is_answered_from_the_discovery_in_the_clients_revision() {
    let mut world = World::modern();
    for (key, (asked, settled)) in
        (10..).zip([("2025-06-18", "2025-06-18"), ("2025-11-25", "2025-11-25"), ("2026-07-28", "2025-11-25")])
    {
        let session = SessionKey(key);
        world.router.attach(session, Profile::default(), world.now);
        let params = format!(
            r#"{{"protocolVersion":"{asked}","clientInfo":{{"name":"c","version":"1"}},"capabilities":{{"roots":{{}}}}}}"#
        );
        world
            .says(session, 1, &format!(r#"{{"jsonrpc":"2.0","id":0,"method":"initialize","params":{params}}}"#))
            .unwrap();
        let expected = format!(
            r#"{{"jsonrpc":"2.0","id":0,"result":{{"protocolVersion":"{settled}","capabilities":{{"tools":{{"listChanged":true}},"resources":{{"listChanged":true,"subscribe":true}},"logging":{{}}}},"serverInfo":{{"name":"s","version":"1"}},"instructions":"For tests."}}}}"#
        );
        assert_eq!(world.seen_by(session), [Seen::Initialized(expected)]);
        world.says(session, 1, r#"{"jsonrpc":"2.0","method":"notifications/initialized"}"#).unwrap();
        world.child.clear();
        world.says(session, 1, r#"{"jsonrpc":"2.0","id":1,"method":"tools/list"}"#).unwrap();
        let own = meta_of(&world.child.pop_back().unwrap());
        assert_eq!(own[meta::CLIENT_INFO], json!({"name": "c", "version": "1"}), "what its client said");
        assert_eq!(own[meta::CLIENT_CAPABILITIES], json!({"roots": {}}));
        assert!(world.child.is_empty());
    }
}

#[test]
fn a_request_brings_its_clients_words_and_is_else_as_it_was() {
    // spec: 2026-07-28 basic/index, `_meta`
    let mut world = World::modern();
    let session = SessionKey(1);
    let (info, capabilities) = (r#"{"name":"é", "version":"1"}"#, r#"{"elicitation":{}}"#);
    world.router.attach(
        session,
        Profile {
            revision: Some(Revision::LATEST),
            client_info: Some(Arc::from(info.replace(' ', "\n"))),
            client_capabilities: Some(Arc::from(capabilities)),
            ..Profile::default()
        },
        world.now,
    );
    world.drain();
    world.child.clear();
    let words = format!(
        r#"{PROTOCOL},"io.modelcontextprotocol/clientCapabilities":{capabilities},"io.modelcontextprotocol/clientInfo":{info}"#
    );
    for (params, expected) in [
        ("", format!(r#","params":{{"_meta":{{{words}}}}}"#)),
        (r#","params":{ }"#, format!(r#","params":{{"_meta":{{{words}}} }}"#)),
        (r#","params":{"a":1.0}"#, format!(r#","params":{{"_meta":{{{words}}},"a":1.0}}"#)),
        (
            r#","params":{"a":1,"_meta":{"traceparent":"00-1"}}"#,
            format!(r#","params":{{"a":1,"_meta":{{{words},"traceparent":"00-1"}}}}"#),
        ),
        (
            r#","params":{"_meta":{"io.modelcontextprotocol/logLevel":"debug","x":1,"io.modelcontextprotocol/clientInfo":7}}"#,
            format!(
                r#","params":{{"_meta":{{{PROTOCOL},"io.modelcontextprotocol/clientCapabilities":{capabilities},"x":1,"io.modelcontextprotocol/clientInfo":{info}}}}}"#
            ),
        ),
        (r#","params":{"_meta":"x"}"#, format!(r#","params":{{"_meta":{{{words}}}}}"#)),
    ] {
        world.says(session, 1, &format!(r#"{{"jsonrpc":"2.0","id":"i","method":"x/y"{params}}}"#)).unwrap();
        let read = world.child.pop_back().unwrap();
        let id = id_of(&read);
        assert_eq!(read, format!(r#"{{"jsonrpc":"2.0","id":{id},"method":"x/y"{expected}}}"#));
        world.child_answers(id, "{}");
    }
}

#[test]
fn what_legacy_clients_do_not_know_is_taken_out_of_results() {
    let (mut world, session) = with_session(NONE);
    for (result, expected) in [
        (r#"{"resultType":"complete","ttlMs":0,"cacheScope":"private"}"#, "{}"),
        (r#"{"tools":[1.0],"ttlMs":5,"resultType":"complete"}"#, r#"{"tools":[1.0]}"#),
        (
            r#"{ "resultType":"complete", "a":{"ttlMs":1},"cacheScope":"public","_meta":{"io.modelcontextprotocol/serverInfo":{}}}"#,
            r#"{ "a":{"ttlMs":1},"_meta":{"io.modelcontextprotocol/serverInfo":{}}}"#,
        ),
    ] {
        let id = world.calls(session, 1, "1", "{}");
        world.child_answers(id, result);
        assert_eq!(world.seen_by(session), [response("1", expected)]);
    }
    let id = world.calls(session, 1, "1", "{}");
    world.child_answers(id, r#"{"resultType":"task","taskId":"t"}"#);
    assert_eq!(world.seen_by(session), [Seen::Rejected("1".to_owned(), "child-answer-unusable")]);
}

#[test]
fn a_missing_resource_has_the_code_of_the_clients_revision() {
    // spec: 2025-11-25 server/resources, Error Handling
    let (mut world, session) = with_session(NONE);
    let missing = [
        r#"{"code":-32602,"message":"no","data":{"uri":"x:/1"}}"#,
        r#"{"code":-32602,"message":"Resource not found: x:/1"}"#,
        r#"{"code":-32602,"message":"uri must be absolute"}"#,
    ];
    for (method, error, expected) in [
        ("resources/read", missing[0], -32002),
        ("resources/read", missing[1], -32002),
        ("resources/read", missing[2], -32602),
        ("tools/call", missing[0], -32602),
    ] {
        world.says(session, 1, &format!(r#"{{"jsonrpc":"2.0","id":1,"method":"{method}","params":{{}}}}"#)).unwrap();
        let id = id_of(&world.child.pop_back().unwrap());
        world.child_says(&format!(r#"{{"jsonrpc":"2.0","id":{id},"error":{error}}}"#));
        let [Seen::Response(answer)] = &world.seen_by(session)[..] else { panic!("no answer") };
        assert_eq!(
            *answer,
            format!(r#"{{"jsonrpc":"2.0","id":1,"error":{}}}"#, error.replace("-32602", &expected.to_string()))
        );
    }
}

#[test]
fn ping_and_levels_are_answered_here_and_a_level_goes_with_each_request() {
    let (mut world, session) = with_session(NONE);
    world.says(session, 1, r#"{"jsonrpc":"2.0","id":1,"method":"ping"}"#).unwrap();
    let set = r#"{"jsonrpc":"2.0","id":2,"method":"logging/setLevel","params":{"level":"notice"}}"#;
    world.says(session, 1, set).unwrap();
    assert_eq!(world.seen_by(session), [response("1", "{}"), response("2", "{}")]);
    assert_eq!(world.child_read(), [""; 0]);
    world.says(session, 1, r#"{"jsonrpc":"2.0","id":3,"method":"tools/list"}"#).unwrap();
    assert_eq!(meta_of(&world.child.pop_back().unwrap())[meta::LOG_LEVEL], "notice");
    assert_eq!(world.detach(session).unwrap().level, Some(LogLevel::Notice));
}

#[test]
fn log_messages_go_to_the_only_request_that_can_have_asked_for_them() {
    // spec: 2026-07-28 server/utilities/logging, Per-request log level
    let (mut world, silent) = with_session(NONE);
    let (loud, exchange) = (SessionKey(2), world.attach_exchange(3, Some(LogLevel::Debug)));
    let level = Some(LogLevel::Info);
    world.router.attach(loud, Profile { revision: Some(Revision::LATEST), level, ..Profile::default() }, world.now);
    let log = r#"{"jsonrpc":"2.0","method":"notifications/message","params":{"level":"error","data":1}}"#;
    world.calls(silent, 1, "1", "{}");
    world.child_says(log);
    assert!(world.seen.is_empty(), "it asked for none");
    let of_loud = world.calls(loud, 1, "1", "{}");
    world.child_says(log);
    world.child_says(&log.replace("error", "debug"));
    assert_eq!(world.seen_by(loud), [Seen::Message(log.to_owned())]);
    let of_exchange = world.calls(exchange, 1, "1", "{}");
    world.child_says(log);
    assert!(world.seen.is_empty(), "either's");
    world.child_answers(of_loud, "{}");
    world.child_says(log);
    assert_eq!(world.seen_by(exchange), [Seen::Message(log.to_owned())]);
    world.child_answers(of_exchange, "{}");
    world.seen.clear();
    world.child_says(log);
    assert!(world.seen.is_empty(), "nobody's");
}

#[test]
fn a_request_of_a_modern_child_is_dropped_and_not_answered() {
    // spec: 2026-07-28 basic/transports/stdio, Sending Messages: "The client MUST NOT write JSON-RPC responses"
    let (mut world, session) = with_session(ASKABLE);
    world.calls(session, 1, "1", "{}");
    world.child_says(r#"{"jsonrpc":"2.0","id":0,"method":"sampling/createMessage","params":{"maxTokens":1}}"#);
    assert_eq!(world.child_read(), [""; 0]);
    assert!(world.seen.is_empty());
}

#[test]
fn a_notification_of_a_modern_child_that_refers_to_nothing_is_nobodys() {
    // spec: 2026-07-28 basic/transports/stdio, Receiving Messages
    let (mut world, session) = with_session(NONE);
    world.calls(session, 1, "1", "{}");
    for method in ["notifications/x", "notifications/tasks", "notifications/tasks/status"] {
        world.child_says(&format!(r#"{{"jsonrpc":"2.0","method":"{method}","params":{{"taskId":"t"}}}}"#));
    }
    assert!(world.seen.is_empty(), "{:?}", world.seen);
    let changed = r#"{"jsonrpc":"2.0","method":"notifications/tools/list_changed"}"#;
    world.child_says(changed);
    assert_eq!(world.seen_by(session), [Seen::Message(changed.to_owned())], "who wants to know that is known");
}

#[test]
fn notifications_of_legacy_clients_stay_here_but_for_cancellation() {
    // spec: 2026-07-28 basic/patterns/cancellation
    let (mut world, session) = with_session(NONE);
    let id = world.calls(session, 1, "1", "{}");
    for method in ["notifications/initialized", "notifications/roots/list_changed", "notifications/x"] {
        world.says(session, 1, &format!(r#"{{"jsonrpc":"2.0","method":"{method}"}}"#)).unwrap();
    }
    assert_eq!(world.child_read(), [""; 0]);
    world.says(session, 1, r#"{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":1}}"#).unwrap();
    assert_eq!(
        world.child_read(),
        [format!(r#"{{"jsonrpc":"2.0","method":"notifications/cancelled","params":{{"requestId":{id}}}}}"#)]
    );
}

#[test]
fn a_modern_exchange_passes_but_for_its_ids() {
    // spec: 2026-07-28 basic/patterns/progress
    let mut world = World::modern();
    let (a, b) = (world.attach_exchange(1, None), world.attach_exchange(2, None));
    assert_eq!(world.child_read(), [""; 0], "nothing is listened for on behalf of exchanges");
    let line = r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28","progressToken":1,"io.modelcontextprotocol/clientCapabilities":{}},"inputResponses":{},"requestState":"s"}}"#;
    for session in [a, b] {
        world.says(session, 1, line).unwrap();
    }
    for (session, read) in [a, b].into_iter().zip(world.child_read()) {
        let id = id_of(&read);
        let token = format!("\"mux-{id}\"");
        let expected =
            line.replace("\"id\":1", &format!("\"id\":{id}")).replace("Token\":1", &format!("Token\":{token}"));
        assert_eq!(read, expected);
        let progress = |token: &str| {
            format!(
                r#"{{"jsonrpc":"2.0","method":"notifications/progress","params":{{"progressToken":{token},"progress":1}}}}"#
            )
        };
        world.child_says(&progress(&token));
        let result =
            r#"{"resultType":"input_required","inputRequests":{"k":{"method":"roots/list"}},"requestState":"é"}"#;
        world.child_answers(id, result);
        assert_eq!(world.seen_by(session), [Seen::Message(progress("1")), response("1", result)]);
    }
    for (id, method) in [(5, "ping"), (6, "logging/setLevel"), (7, "resources/subscribe"), (8, "initialize")] {
        world.says(a, 1, &format!(r#"{{"jsonrpc":"2.0","id":{id},"method":"{method}"}}"#)).unwrap();
        let read = world.child.pop_back().unwrap();
        world.child_says(&format!(
            r#"{{"jsonrpc":"2.0","id":{},"error":{{"code":-32601,"message":"no"}}}}"#,
            id_of(&read)
        ));
        let expected = format!(r#"{{"jsonrpc":"2.0","id":{id},"error":{{"code":-32601,"message":"no"}}}}"#);
        assert_eq!(world.seen_by(a), [Seen::Response(expected)], "{method} is the child's to answer");
    }
}

#[test]
fn an_exchange_that_is_detached_is_cancelled_in_the_child() {
    let mut world = World::modern();
    let exchange = world.attach_exchange(1, None);
    let id = world.calls(exchange, 1, "1", "{}");
    world.detach(exchange);
    let read = world.child_read();
    assert_eq!(json_of(&read[0])["params"]["requestId"], id);
    world.child_answers(id, "{}");
    assert_eq!(world.router.stats(), Stats::default());
}

#[test]
fn the_sign_of_life_of_a_modern_child_is_a_discovery() {
    let mut world = World::modern();
    world.router.ping_child();
    world.drain();
    let read = world.child.pop_back().unwrap();
    assert_eq!(json_of(&read)["method"], "server/discover");
    let before = world.router.life_signs();
    world.child_answers(id_of(&read), "{}");
    assert!(world.router.life_signs() > before);
}

#[test]
fn a_request_that_only_reads_is_given_to_the_next_process_in_the_same_words() {
    let (mut world, session) = with_session(NONE);
    world.says(session, 1, r#"{"jsonrpc":"2.0","id":1,"method":"resources/read","params":{"uri":"x:/1"}}"#).unwrap();
    let read = world.child.pop_back().unwrap();
    world.says(session, 1, r#"{"jsonrpc":"2.0","id":2,"method":"tools/call","params":{}}"#).unwrap();
    let unwritten = world.child.pop_back().unwrap();
    world.exit_leaving(std::slice::from_ref(&unwritten));
    assert_eq!(world.seen_by(session), []);
    world.begin();
    let discover = id_of(&world.child.pop_back().unwrap());
    world.child_answers(discover, super::super::world::DISCOVER_RESULT);
    let again: Vec<_> = world.child_read();
    assert!(again.contains(&read) && again.contains(&unwritten), "{again:?}");
    world.advance(Duration::from_secs(1));
}
