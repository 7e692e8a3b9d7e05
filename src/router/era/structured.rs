//! What tools give as structured content, as legacy clients know it.
//!
//! Up to 2025-11-25 that is an object, and so its schema says; since 2026-07-28 it is any JSON. A legacy client refuses a
//! whole list of tools for one schema that it does not know, so a schema of something else is wrapped into one of an object
//! with that in its member `result`, and what it is about likewise. Where a schema is of objects among other things, or
//! would mean another thing in another place, the tool is listed without one: then nobody checks, and an object stays
//! what it is. So what a result comes to need not be known from the list.
//!
//! Spec: 2026-07-28, Tools, Structured Content; Key Changes, Minor changes 10. 2025-11-25, schema, `Tool`, `CallToolResult`.

use serde_json::value::RawValue;
use serde_json::{Value, json};

use crate::era::edit;
use crate::jsonrpc::{Frame, Message, Span, decode_str};

const SCHEMA: &str = "outputSchema";
const CONTENT: &str = "structuredContent";

/// The result of `tools/list` (at `result`) with schemas that a legacy client knows.
pub(super) fn list(frame: Frame, message: &Message, result: Span) -> Frame {
    // Most servers have none.
    if !message.text(result).contains(SCHEMA) {
        return frame;
    }
    let Ok(Some(tools)) = message.member(result, "tools") else { return frame };
    elements(message, tools).into_iter().fold(frame, |frame, tool| match message.member(tool, SCHEMA) {
        Ok(Some(schema)) => match legacy_form(message, schema) {
            Form::AsItIs => frame,
            Form::Wrapped(wrapped) => edit::object(frame, message, tool, &[(SCHEMA, &wrapped)], &[]),
            Form::Nothing => edit::object(frame, message, tool, &[], &[SCHEMA]),
        },
        Ok(None) | Err(_) => frame,
    })
}

/// What the result of a `tools/call` (at `result`) has to have instead: members, and values as JSON text.
pub(super) fn content(message: &Message, result: Span) -> Vec<(&'static str, String)> {
    if !message.text(result).contains(CONTENT) {
        return Vec::new();
    }
    let Ok(Some(span)) = message.member(result, CONTENT) else { return Vec::new() };
    let value = message.text(span);
    if value.starts_with('{') {
        return Vec::new();
    }
    let mut set = vec![(CONTENT, format!(r#"{{"result":{value}}}"#))];
    let is_empty = |text: &str| text.strip_prefix('[').is_some_and(|rest| rest.trim_ascii_start() == "]");
    match message.member(result, "content") {
        Ok(Some(span)) if !is_empty(message.text(span)) => {}
        Ok(_) => set.push(("content", json!([{"type": "text", "text": value}]).to_string())),
        Err(_) => {}
    }
    set
}

/// The places of the elements of the array at `array`; none if it is no array.
fn elements(message: &Message, array: Span) -> Vec<Span> {
    let text = message.text(array);
    let elements: Vec<&RawValue> = serde_json::from_str(text).unwrap_or_default();
    // Each is a piece of the text.
    let span = |element: &RawValue| {
        let start = array.start + element.get().as_ptr().addr().checked_sub(text.as_ptr().addr())?;
        Some(Span { start, end: start + element.get().len() })
    };
    elements.into_iter().filter_map(span).collect()
}

/// What a legacy client is told of a schema.
enum Form {
    AsItIs,
    /// JSON text.
    Wrapped(String),
    Nothing,
}

fn legacy_form(message: &Message, schema: Span) -> Form {
    let kind = message.member(schema, "type").ok().flatten().and_then(|kind| decode_str(message.text(kind)));
    if kind.as_deref() == Some("object") {
        return Form::AsItIs;
    }
    // Nested too deep, it is not read.
    let Ok(read) = serde_json::from_str::<Value>(message.text(schema)) else { return Form::Nothing };
    if !is_of_no_object(&read) || !may_be_moved(&read) {
        return Form::Nothing;
    }
    let (of_the_root, of_the_value): (Vec<_>, Vec<_>) = message.members(schema).into_iter().partition(|member| {
        let name = decode_str(message.text(member.name));
        matches!(name.as_deref(), Some("$schema" | "$defs" | "definitions"))
    });
    let joined = |members: Vec<crate::jsonrpc::Member>| {
        let members =
            members.iter().map(|member| message.text(Span { start: member.name.start, end: member.value.end }));
        members.collect::<Vec<_>>().join(",")
    };
    let (mut root, value) = (joined(of_the_root), joined(of_the_value));
    if !root.is_empty() {
        root.push(',');
    }
    Form::Wrapped(format!(r#"{{{root}"type":"object","properties":{{"result":{{{value}}}}},"required":["result"]}}"#))
}

/// Whether nothing that a schema admits can be an object, as far as can be told without following references.
fn is_of_no_object(schema: &Value) -> bool {
    let all = |values: &Value, such: &dyn Fn(&Value) -> bool| values.as_array().is_some_and(|all| all.iter().all(such));
    let Some(schema) = schema.as_object() else { return false };
    let by = |name: &str, excludes: &dyn Fn(&Value) -> bool| schema.get(name).is_some_and(excludes);
    by("type", &|kind| kind.as_str().is_some_and(|kind| kind != "object") || all(kind, &|kind| kind != "object"))
        || by("anyOf", &|any| all(any, &is_of_no_object))
        || by("oneOf", &|one| all(one, &is_of_no_object))
        || by("enum", &|values| all(values, &|value| !value.is_object()))
        || by("const", &|value| !value.is_object())
}

/// Whether what a schema refers to is found when all but its definitions stands in another place.
fn may_be_moved(schema: &Value) -> bool {
    let is_found = |to: &str| to.starts_with("#/$defs/") || to.starts_with("#/definitions/");
    let refers_to = |schema: &Value, name: &str| schema.get(name).and_then(Value::as_str).map(is_found);
    let well = ["$ref", "$dynamicRef", "$recursiveRef"].iter().all(|name| refers_to(schema, name) != Some(false));
    match schema {
        // A name of its own is what references within it are relative to.
        Value::Object(members) => well && !members.contains_key("$id") && members.values().all(may_be_moved),
        Value::Array(elements) => elements.iter().all(may_be_moved),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => true,
    }
}
