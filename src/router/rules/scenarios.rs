use std::sync::Arc;

use serde_json::json;

use super::super::cache::ResponseCache;
use super::super::world::{ASKABLE, Seen, World, config, id_of, json_of, message, response};
use super::super::*;
use super::*;
use crate::config::principals::NamesConfig;
use crate::mcp::{Revision, code};

const NOT_ALLOWED: &str = "not-allowed";

fn permission(allow: Option<&[&str]>, deny: &[&str]) -> Vec<NamesConfig> {
    let texts = |patterns: &[&str]| patterns.iter().map(|pattern| (*pattern).to_owned()).collect();
    vec![NamesConfig { allow: allow.map(texts), deny: texts(deny) }]
}

/// Tools that begin with `read`, prompts but for `secret`, resources below `file:///srv/`.
fn rules() -> Rules {
    let resources = permission(Some(&["file:///srv/*"]), &["*/.env"]);
    Rules::new(permission(Some(&["read*"]), &[]), resources, permission(None, &["secret"]))
}

fn attach(world: &mut World, key: u64, era: Era) -> SessionKey {
    let revision = (era == Era::Legacy).then_some(Revision::LATEST);
    let profile = Profile { revision, era, capabilities: ASKABLE, rules: rules(), ..Profile::default() };
    world.router.attach(SessionKey(key), profile, world.now);
    world.drain();
    world.child.clear();
    SessionKey(key)
}

fn asks(world: &mut World, session: SessionKey, method: &str, params: &str) -> Result<(), Reject> {
    world.says(session, 1, &format!(r#"{{"jsonrpc":"2.0","id":1,"method":"{method}","params":{params}}}"#))
}

fn permitted(era: Era, method: &str, params: &str) -> Result<(), Reject> {
    let text = format!(r#"{{"jsonrpc":"2.0","id":1,"method":"{method}"{params}}}"#);
    permit(&rules(), era, &message(&text))
}

#[test]
fn what_is_named_has_to_be_admitted() {
    for (method, params, admitted) in [
        ("tools/call", r#"{"name":"read_a"}"#, true),
        ("tools/call", r#"{"name":"\u0072ead"}"#, true),
        ("tools/call", r#"{"name":"write"}"#, false),
        ("tools/call", r#"{"name":"Read"}"#, false),
        ("tools/call", r#"{"name":"write","task":{}}"#, false),
        ("tools/call", r#"{"name":"read","task":{}}"#, true),
        ("prompts/get", r#"{"name":"p"}"#, true),
        ("prompts/get", r#"{"name":"\u0073ecret"}"#, false),
        ("resources/read", r#"{"uri":"file:///srv/a"}"#, true),
        ("resources/read", r#"{"uri":"file:\/\/\/srv\/a\/.env"}"#, false),
        ("resources/read", r#"{"uri":"FILE:///srv/a"}"#, false),
        ("resources/read", r#"{"uri":"file:///%73rv/a"}"#, false),
        ("resources/subscribe", r#"{"uri":"file:///a"}"#, false),
        ("resources/unsubscribe", r#"{"uri":"file:///a"}"#, false),
        ("completion/complete", r#"{"ref":{"type":"ref/prompt","name":"p"}}"#, true),
        ("completion/complete", r#"{"ref":{"type":"ref/prompt","name":"secret"}}"#, false),
        ("completion/complete", r#"{"ref":{"type":"ref/resource","uri":"file:///srv/{path}"}}"#, true),
        ("completion/complete", r#"{"ref":{"type":"ref/resource","uri":"db://{table}"}}"#, false),
        ("subscriptions/listen", r#"{"notifications":{"toolsListChanged":true}}"#, true),
        ("subscriptions/listen", r#"{"notifications":{"resourceSubscriptions":["file:///srv/a"]}}"#, true),
        ("subscriptions/listen", r#"{"notifications":{"resourceSubscriptions":["file:///srv/a","db://a"]}}"#, false),
        ("vendor/call", r#"{"name":"write"}"#, true),
        ("tools/list", r#"{"name":"write"}"#, true),
    ] {
        for era in [Era::Legacy, Era::Modern] {
            let judged = permitted(era, method, &format!(r#","params":{params}"#));
            assert_eq!(judged.is_ok(), admitted, "{method} {params}");
            let is_legacy_resource = method.starts_with("resources/") && era == Era::Legacy;
            let expected = if is_legacy_resource { code::RESOURCE_NOT_FOUND } else { code::INVALID_PARAMS };
            assert!(judged.err().is_none_or(|reject| reject.wire().code == expected), "{method} {params}");
        }
    }
}

#[test]
fn what_two_parsers_may_read_differently_is_not_admitted() {
    for (method, params) in [
        ("tools/call", ""),
        ("tools/call", r#","params":null"#),
        ("tools/call", r#","params":{}"#),
        ("tools/call", r#","params":{"name":7}"#),
        ("tools/call", r#","params":{"name":["read"]}"#),
        ("tools/call", r#","params":{"name":null}"#),
        ("tools/call", r#","params":{"Name":"read"}"#),
        ("tools/call", r#","params":{"name":"read","name":"read"}"#),
        ("tools/call", r#","params":{"name":"read","n\u0061me":"write"}"#),
        ("tools/call", r#","params":{"name":"read","NAME":"write"}"#),
        ("tools/call", r#","params":{"name\u0000":"write","name":"read"}"#),
        ("tools/call", r#","params":{"name":"read\ud800"}"#),
        ("tools/call", r#","params":{"name":"read\u0000"}"#),
        ("Tools/Call", r#","params":{"name":"write"}"#),
        (r"tools\/call", r#","params":{"name":"write"}"#),
        ("completion/complete", r#","params":{"ref":"secret"}"#),
        ("completion/complete", r#","params":{"ref":{"name":"p"}}"#),
        ("completion/complete", r#","params":{"ref":{"type":"ref/prompt"}}"#),
        ("completion/complete", r#","params":{"ref":{"type":"ref/tool","name":"p"}}"#),
        ("completion/complete", r#","params":{"ref":{"type":"ref/prompt","name":"p","uri":"db://a"}}"#),
        ("completion/complete", r#","params":{"ref":{"type":"ref/resource","name":"secret","uri":"file:///srv/a"}}"#),
        ("completion/complete", r#","params":{"ref":{"type":"ref/prompt","name":"p"},"Ref":{}}"#),
        ("completion/complete", r#","params":{"ref":{"type\u0000":"","type":"ref/prompt","name":"p"}}"#),
        ("subscriptions/listen", ""),
        ("subscriptions/listen", r#","params":{"notifications":[]}"#),
        ("subscriptions/listen", r#","params":{"notifications":{},"notifications":{}}"#),
        ("subscriptions/listen", r#","params":{"notifications":{"resourceSubscriptions":"db://a"}}"#),
        ("subscriptions/listen", r#","params":{"notifications":{"resourceSubscriptions":["file:///srv/a",7]}}"#),
        ("subscriptions/listen", r#","params":{"notifications":{"ResourceSubscriptions":["file:///srv/a"]}}"#),
        ("tools/list", r#","params":{"task":{}}"#),
        ("tools/list", r#","params":{"Task":{}}"#),
        ("tools/list", r#","params":{"task\u0000":{}}"#),
    ] {
        assert!(permitted(Era::Modern, method, params).is_err(), "{method} {params}");
        let text = format!(r#"{{"jsonrpc":"2.0","id":1,"method":"{method}"{params}}}"#);
        assert_eq!(permit(&Rules::everything(), Era::Modern, &message(&text)), Ok(()), "{method} {params}");
    }
}

#[test]
fn what_is_refused_never_reaches_the_child_and_leaves_nothing() {
    for child in [Era::Legacy, Era::Modern] {
        for client in [Era::Legacy, Era::Modern] {
            let mut world = if child == Era::Legacy { World::ready() } else { World::modern() };
            let session = attach(&mut world, 1, client);
            let reject = asks(&mut world, session, "tools/call", r#"{"name":"write"}"#).unwrap_err();
            assert_eq!(
                (reject.wire().kind, reject.to_string().as_str()),
                (NOT_ALLOWED, "unknown tool, or not allowed for this client")
            );
            // A server may carry out what comes without an id.
            world.says(session, 1, r#"{"jsonrpc":"2.0","method":"tools/call","params":{"name":"write"}}"#).unwrap();
            assert_eq!((world.child_read(), world.seen_by(session)), (Vec::new(), Vec::new()));
            assert_eq!((world.router.stats().in_flight, world.router.stats().queued), (0, 0));
            asks(&mut world, session, "tools/call", r#"{"name":"read"}"#).unwrap();
            assert_eq!(json_of(&world.child.pop_back().unwrap())["params"]["name"], "read");
        }
    }
}

#[test]
fn a_child_of_ones_own_is_no_way_round() {
    let mut world = World::private();
    let session = attach(&mut world, 1, Era::Legacy);
    let refused = asks(&mut world, session, "tools/call", r#"{"name":"write"}"#).unwrap_err();
    assert_eq!(refused.wire().kind, NOT_ALLOWED);
}

#[test]
fn lists_come_without_what_is_not_admitted_and_else_as_they_were() {
    for (method, list, expected) in [
        (
            "tools/list",
            r#"{"tools":[ {"name":"write"},{"name":"read","x":1.0} , {"n\u0061me" : "\u0072ead_b"},7 ],"nextCursor":"c"}"#,
            r#"{"tools":[ {"name":"read","x":1.0} , {"n\u0061me" : "\u0072ead_b"} ],"nextCursor":"c"}"#,
        ),
        ("tools/list", r#"{ "tools" : [ {"name":"write"} ] }"#, r#"{ "tools" : [ ] }"#),
        ("tools/list", r#"{"tools":[{"name":"read"} ,{"name":"write"}]}"#, r#"{"tools":[{"name":"read"}]}"#),
        ("tools/list", r#"{"tools":[ {"name":"read"} , {"name":"read"}],"_meta":{"tools":[{"name":"write"}]}}"#, ""),
        ("tools/list", r#"{"tools":[]}"#, ""),
        (
            "tools/list",
            r#"{"tools":[{"name":"read","name":"read"},{"name":"read","Name":"x"},{"name":7},{},[],null,"read",{"title":"read"}]}"#,
            r#"{"tools":[]}"#,
        ),
        ("prompts/list", r#"{"prompts":[{"name":"secret"},{"name":"p"}]}"#, r#"{"prompts":[{"name":"p"}]}"#),
        (
            "resources/list",
            r#"{"resources":[{"name":"read","uri":"db://a"},{"name":"x","uri":"file:///srv/a"}]}"#,
            r#"{"resources":[{"name":"x","uri":"file:///srv/a"}]}"#,
        ),
        (
            "resources/templates/list",
            r#"{"resourceTemplates":[{"uriTemplate":"file:///srv/{a}"},{"uriTemplate":"file:///{a}"},{"uri":"file:///srv/a"}]}"#,
            r#"{"resourceTemplates":[{"uriTemplate":"file:///srv/{a}"}]}"#,
        ),
    ] {
        for child in [Era::Legacy, Era::Modern] {
            for client in [Era::Legacy, Era::Modern] {
                let mut world = if child == Era::Legacy { World::ready() } else { World::modern() };
                let session = attach(&mut world, 1, client);
                asks(&mut world, session, method, "{}").unwrap();
                let id = id_of(&world.child.pop_back().unwrap());
                world.child_answers(id, list);
                let expected = if expected.is_empty() { list } else { expected };
                assert_eq!(world.seen_by(session), [response("1", expected)], "{child:?} {client:?}");
            }
        }
    }
}

#[test]
fn what_cannot_be_told_to_be_a_list_is_not_passed_on_but_an_error_is() {
    for child in [Era::Legacy, Era::Modern] {
        let mut world = if child == Era::Legacy { World::ready() } else { World::modern() };
        let session = attach(&mut world, 1, Era::Modern);
        for result in [
            "{}",
            "7",
            r#"{"tools":{"a":{"name":"write"}}}"#,
            r#"{"tools":[],"tools":[]}"#,
            r#"{"tools":[],"Tools":[{"name":"write"}]}"#,
            r#"{"resultType":"task","taskId":"t"}"#,
        ] {
            asks(&mut world, session, "tools/list", "{}").unwrap();
            let id = id_of(&world.child.pop_back().unwrap());
            world.child_answers(id, result);
            let expected = Seen::Rejected("1".to_owned(), "child-answer-unusable");
            assert_eq!(world.seen_by(session), [expected], "{result}");
        }
        asks(&mut world, session, "tools/list", "{}").unwrap();
        let id = id_of(&world.child.pop_back().unwrap());
        world.child_says(&format!(r#"{{"jsonrpc":"2.0","id":{id},"error":{{"code":-32603,"message":"m"}}}}"#));
        let expected = r#"{"jsonrpc":"2.0","id":1,"error":{"code":-32603,"message":"m"}}"#;
        assert_eq!(world.seen_by(session), [Seen::Response(expected.to_owned())]);
    }
}

#[test]
fn what_is_kept_is_kept_whole_and_served_to_each_as_it_may_see_it() {
    let list =
        r#"{"resultType":"complete","tools":[{"name":"read"},{"name":"write"}],"ttlMs":1000,"cacheScope":"public"}"#;
    let sifted = list.replace(r#",{"name":"write"}"#, "");
    for restricted_first in [true, false] {
        let mut world = World::modern();
        let router = std::mem::replace(&mut world.router, Router::new(config(), Sharing::Shared, Era::Modern));
        world.router = router.with_cache(ResponseCache::new(100_000));
        let (restricted, free) = (attach(&mut world, 1, Era::Modern), world.attach_exchange(2, None));
        let mut clients = [(restricted, sifted.as_str()), (free, list)];
        if !restricted_first {
            clients.reverse();
        }
        for (at, (session, expected)) in clients.into_iter().enumerate() {
            asks(&mut world, session, "tools/list", "{}").unwrap();
            let asked = world.child.pop_back();
            assert_eq!(asked.is_some(), at == 0, "the second one is served what is kept");
            if let Some(asked) = asked {
                world.child_answers(id_of(&asked), list);
            }
            assert_eq!(world.seen_by(session), [response("1", expected)]);
        }
    }
}

#[test]
fn what_is_asked_for_all_is_not_looked_at() {
    let mut world = World::ready();
    let session = attach(&mut world, 1, Era::Modern);
    let from = Origin { sender: Sender::Ourselves, ..Origin::client(session, StreamId(1)) };
    let list = message(r#"{"jsonrpc":"2.0","id":1,"method":"tools/list"}"#);
    world.router.handle_session_message(from, list, 0, world.now).unwrap();
    world.drain();
    let id = id_of(&world.child.pop_back().unwrap());
    world.child_answers(id, r#"{"tools":[{"name":"write"}]}"#);
    assert_eq!(world.seen_by(session), [response("1", r#"{"tools":[{"name":"write"}]}"#)]);
}

fn updated(uri: &str, more: &str) -> String {
    format!(r#"{{"jsonrpc":"2.0","method":"notifications/resources/updated","params":{{"uri":"{uri}"{more}}}}}"#)
}

// spec: 2025-11-25 schema, ResourceUpdatedNotificationParams.uri: "This might be a sub-resource of the one"
#[test]
fn a_session_is_not_told_of_parts_that_it_may_not_see() {
    let mut world = World::ready();
    let session = attach(&mut world, 1, Era::Legacy);
    asks(&mut world, session, "resources/subscribe", r#"{"uri":"file:///srv/a"}"#).unwrap();
    let id = id_of(&world.child.pop_back().unwrap());
    world.child_answers(id, "{}");
    world.seen.clear();
    world.child_says(&updated("file:///srv/a/.env", ""));
    world.child_says(&updated("file:///srv/a/b", ""));
    assert_eq!(world.seen_by(session), [Seen::Message(updated("file:///srv/a/b", ""))]);
}

#[test]
fn a_child_of_ones_own_tells_of_nothing_that_is_not_admitted() {
    let mut world = World::private();
    let session = attach(&mut world, 1, Era::Legacy);
    world.child_says(&updated("db://a", ""));
    world.child_says(&updated("file:///srv/a", ""));
    assert_eq!(world.seen_by(session), [Seen::Message(updated("file:///srv/a", ""))]);
}

// spec: 2026-07-28 basic/patterns/subscriptions
#[test]
fn a_modern_subscription_tells_of_nothing_that_is_not_admitted() {
    let mut world = World::modern();
    let session = attach(&mut world, 1, Era::Modern);
    let listen = r#"{"notifications":{"resourceSubscriptions":["file:///srv/a"]}}"#;
    asks(&mut world, session, "subscriptions/listen", listen).unwrap();
    let id = id_of(&world.child.pop_back().unwrap());
    let of = |id: &str| format!(r#","_meta":{{"io.modelcontextprotocol/subscriptionId":{id}}}"#);
    world.child_says(&updated("file:///srv/a/.env", &of(&id.to_string())));
    world.child_says(&updated("file:///srv/a", &of(&id.to_string())));
    assert_eq!(world.seen_by(session), [Seen::Message(updated("file:///srv/a", &of("1")))]);
}

#[test]
fn rules_go_with_a_session_to_the_next_process_and_to_the_next_place() {
    let mut old = World::ready();
    let session = attach(&mut old, 1, Era::Legacy);
    asks(&mut old, session, "tools/list", "{}").unwrap();
    let given = id_of(&old.child.pop_back().unwrap());
    let mut new = old.successor();
    new.start();
    old.hand_over(&mut new);
    // What the old one was asked it still answers.
    old.child_answers(given, r#"{"tools":[{"name":"write"}]}"#);
    assert_eq!(old.seen_by(session), [response("1", r#"{"tools":[]}"#)]);
    assert!(asks(&mut new, session, "tools/call", r#"{"name":"write"}"#).is_err());
    let mut profile = new.detach(session).unwrap();
    assert_eq!(profile.rules, rules());
    // Nor does what it was subscribed to under other rules.
    profile.subscriptions = ["db://a", "file:///srv/a"].map(str::to_owned).into();
    new.child.clear();
    new.router.attach(session, profile, new.now);
    new.drain();
    let subscribed: Vec<_> = new.child_read().iter().map(|line| json_of(line)["params"].clone()).collect();
    assert_eq!(subscribed, [json!({"uri": "file:///srv/a"})]);
}

#[test]
fn a_list_that_is_sent_again_is_sifted_when_it_comes() {
    let mut world = World::modern();
    let client_capabilities = Some(Arc::from("{}"));
    let profile =
        Profile { revision: Some(Revision::LATEST), client_capabilities, rules: rules(), ..Profile::default() };
    let session = SessionKey(1);
    world.router.attach(session, profile, world.now);
    world.drain();
    world.child.clear();
    asks(&mut world, session, "tools/list", "{}").unwrap();
    world.exit();
    world.start();
    let again = world.child_read().into_iter().find(|line| json_of(line)["method"] == "tools/list").unwrap();
    world.child_answers(id_of(&again), r#"{"tools":[{"name":"write"}],"resultType":"complete"}"#);
    assert!(world.seen_by(session).contains(&response("1", r#"{"tools":[]}"#)));
}
