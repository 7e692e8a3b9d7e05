//! Results of a modern child that are served again (2026-07-28, Caching).

use super::*;
use crate::router::cache::ResponseCache;

const LIST: &str = r#"{"resultType":"complete","tools":[{"name":"t","outputSchema":{"type":"array"}}],"ttlMs":1000,"cacheScope":"public"}"#;

fn caching() -> World {
    let mut world = World::modern();
    let router = std::mem::replace(&mut world.router, Router::new(config(), Sharing::Shared, Era::Modern));
    world.router = router.with_cache(ResponseCache::new(100_000));
    world
}

/// A legacy session that declared `capabilities` (JSON text).
fn legacy(world: &mut World, session: u64, capabilities: &str) -> SessionKey {
    let client_capabilities = Some(Arc::from(capabilities));
    let profile = Profile { revision: Some(Revision::LATEST), client_capabilities, ..Profile::default() };
    world.router.attach(SessionKey(session), profile, world.now);
    world.drain();
    world.child.clear();
    SessionKey(session)
}

fn asks(world: &mut World, session: SessionKey, method: &str, params: &str) -> Option<u64> {
    let line = format!(r#"{{"jsonrpc":"2.0","id":"i","method":"{method}","params":{{{params}}}}}"#);
    world.says(session, 1, &line).unwrap();
    world.child.pop_back().map(|read| id_of(&read))
}

#[test]
fn a_public_result_is_served_to_clients_of_both_eras_within_its_time_from_when_it_came() {
    let mut world = caching();
    let (a, b, poor) = (
        legacy(&mut world, 1, r#"{"roots":{}}"#),
        legacy(&mut world, 2, r#"{ "roots":{} }"#),
        legacy(&mut world, 3, "{}"),
    );
    let exchange = world.attach_exchange(4, None);
    let id = asks(&mut world, a, "tools/list", r#""_meta":{"progressToken":1}"#).unwrap();
    world.advance(Duration::from_millis(300));
    world.child_answers(id, LIST);
    let wrapped = r#"{"tools":[{"name":"t","outputSchema":{"type":"object","properties":{"result":{"type":"array"}},"required":["result"]}}]}"#;
    assert_eq!(world.seen_by(a), [response("\"i\"", wrapped)]);
    world.advance(Duration::from_millis(999));
    assert_eq!(asks(&mut world, b, "tools/list", ""), None);
    assert_eq!(world.seen_by(b), [response("\"i\"", wrapped)]);
    let own = format!(r#""_meta":{{{PROTOCOL},"io.modelcontextprotocol/clientCapabilities":{{"roots":{{}}}}}}"#);
    assert_eq!(asks(&mut world, exchange, "tools/list", &own), None);
    assert_eq!(world.seen_by(exchange), [response("\"i\"", &LIST.replace("1000", "1"))]);
    assert!(asks(&mut world, poor, "tools/list", "").is_some(), "it may be given another");
    assert_eq!(world.router.stats().in_flight, 1);
    world.advance(Duration::from_millis(1));
    assert!(asks(&mut world, b, "tools/list", "").is_some(), "its time is over");
}

#[test]
fn what_was_asked_for_or_is_nobody_elses_is_not_kept() {
    let mut world = caching();
    let session = world.attach(1, ASKABLE);
    world.child.clear();
    for result in [LIST.replace("public", "private"), LIST.replace("1000", "0")] {
        let id = asks(&mut world, session, "tools/list", "").unwrap();
        world.child_answers(id, &result);
        world.seen.clear();
    }
    let uri = r#""uri":"x:/1""#;
    let id = asks(&mut world, session, "resources/read", uri).unwrap();
    world.child_answers(id, r#"{"resultType":"input_required","inputRequests":{"a":{"method":"roots/list"}}}"#);
    let question = message_of(&world.seen_by(session)[0])["id"].to_string();
    world.says(session, 0, &format!(r#"{{"jsonrpc":"2.0","id":{question},"result":{{"roots":[]}}}}"#)).unwrap();
    let again = id_of(&world.child.pop_back().unwrap());
    world.child_answers(again, r#"{"contents":[],"ttlMs":1000,"cacheScope":"public"}"#);
    assert_eq!(world.seen_by(session), [response("\"i\"", r#"{"contents":[]}"#)]);
    assert!(asks(&mut world, session, "resources/read", uri).is_some());
}
