//! Structured results of tools, which up to 2025-11-25 are objects (2026-07-28, Tools, Structured Content).

use super::*;

/// What the session is given for this result of the child.
fn translated(method: &str, result: &str) -> String {
    let (mut world, session) = with_session(NONE);
    world.says(session, 1, &format!(r#"{{"jsonrpc":"2.0","id":1,"method":"{method}"}}"#)).unwrap();
    let id = id_of(&world.child.pop_back().unwrap());
    world.child_answers(id, result);
    let [Seen::Response(answer)] = &world.seen_by(session)[..] else { panic!("no answer") };
    let answer = answer.strip_prefix(r#"{"jsonrpc":"2.0","id":1,"result":"#).unwrap();
    answer.strip_suffix('}').unwrap().to_owned()
}

fn listed(schema: &str) -> String {
    let tool = |schema: &str| format!(r#"{{"name":"t", "inputSchema":{{}}{schema},"title":"T"}}"#);
    let result = format!(
        r#"{{"tools":[{},{} , {}],"resultType":"complete"}}"#,
        tool(""),
        tool(&format!(r#","outputSchema" : {schema}"#)),
        tool(r#","outputSchema":{"type":"object"}"#)
    );
    let listed = translated("tools/list", &result);
    let before = format!(r#"{{"tools":[{},{{"name":"t", "inputSchema":{{}}"#, tool(""));
    let after = format!(r#","title":"T"}} , {}]}}"#, tool(r#","outputSchema":{"type":"object"}"#));
    let rest = listed.strip_prefix(&before).unwrap_or_else(|| panic!("{listed}"));
    rest.strip_suffix(&after).unwrap_or_else(|| panic!("{listed}")).to_owned()
}

#[test]
fn a_schema_of_something_else_than_an_object_is_wrapped_and_one_of_an_object_stays() {
    for (schema, expected) in [
        (
            r#"{ "type":"object","properties":{"n":{"minimum":1.0}}}"#,
            r#"{ "type":"object","properties":{"n":{"minimum":1.0}}}"#,
        ),
        (
            r#"{"type":"array", "items":{"minimum":1.0}}"#,
            r#"{"type":"object","properties":{"result":{"type":"array","items":{"minimum":1.0}}},"required":["result"]}"#,
        ),
        (
            r#"{"type":["string","null"]}"#,
            r#"{"type":"object","properties":{"result":{"type":["string","null"]}},"required":["result"]}"#,
        ),
        (
            r#"{"anyOf":[{"type":"integer"},{"oneOf":[{"const":1},{"enum":["a",null]}]}]}"#,
            r#"{"type":"object","properties":{"result":{"anyOf":[{"type":"integer"},{"oneOf":[{"const":1},{"enum":["a",null]}]}]}},"required":["result"]}"#,
        ),
        (
            r##"{"$schema":"s","type":"array","items":{"$ref":"#/$defs/a"},"$defs":{"a":{"$ref":"#/definitions/b"}},"definitions":{"b":{}}}"##,
            r##"{"$schema":"s","$defs":{"a":{"$ref":"#/definitions/b"}},"definitions":{"b":{}},"type":"object","properties":{"result":{"type":"array","items":{"$ref":"#/$defs/a"}}},"required":["result"]}"##,
        ),
    ] {
        assert_eq!(listed(schema), format!(r#","outputSchema" : {expected}"#));
    }
}

#[test]
fn a_schema_that_cannot_be_put_as_legacy_clients_know_it_is_left_out() {
    for schema in [
        // Also of objects, so that what a result is to be wrapped for is not known.
        "{}",
        "true",
        "null",
        r#"{"type":["object","null"]}"#,
        r#"{"anyOf":[{"type":"object"},{"type":"null"}]}"#,
        r##"{"$ref":"#/$defs/a","$defs":{"a":{"type":"object"}}}"##,
        // What it refers to would be elsewhere.
        r##"{"type":"array","items":{"$ref":"#"}}"##,
        r##"{"type":"array","items":[{"x":{"$ref":"#/items/0"}}]}"##,
        r##"{"type":"array","$id":"https://a.example","items":{"$ref":"#/$defs/a"},"$defs":{"a":{}}}"##,
    ] {
        assert_eq!(listed(schema), "", "{schema}");
    }
}

#[test]
fn structured_content_that_is_no_object_is_wrapped_and_is_in_the_text_too() {
    for (result, expected) in [
        (r#"{"content":[],"structuredContent":{"a":1.0}}"#, r#"{"content":[],"structuredContent":{"a":1.0}}"#),
        (
            r#"{"content":[{"type":"text","text":"x"}],"structuredContent":[1.0, 2]}"#,
            r#"{"content":[{"type":"text","text":"x"}],"structuredContent":{"result":[1.0, 2]}}"#,
        ),
        (
            r#"{"structuredContent":"é\"","content":[ ],"resultType":"complete"}"#,
            r#"{"structuredContent":{"result":"é\""},"content":[{"text":"\"é\\\"\"","type":"text"}]}"#,
        ),
        (
            r#"{"resultType":"complete","structuredContent":null}"#,
            r#"{"content":[{"text":"null","type":"text"}],"structuredContent":{"result":null}}"#,
        ),
        (
            r#"{"content":[{"type":"text","text":"\"structuredContent\":1"}]}"#,
            r#"{"content":[{"type":"text","text":"\"structuredContent\":1"}]}"#,
        ),
    ] {
        assert_eq!(translated("tools/call", result), expected);
    }
    let untouched = r#"{"structuredContent":1,"tools":[{"outputSchema":{"type":"array"}}]}"#;
    assert_eq!(translated("prompts/get", untouched), untouched);
}

#[test]
fn a_modern_client_has_them_as_they_are() {
    let mut world = World::modern();
    let exchange = world.attach_exchange(1, None);
    let id = world.calls(exchange, 1, "1", "{}");
    let result = r#"{"resultType":"complete","content":[],"structuredContent":[1]}"#;
    world.child_answers(id, result);
    assert_eq!(world.seen_by(exchange), [response("1", result)]);
}
