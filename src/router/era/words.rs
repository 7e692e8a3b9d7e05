//! What a modern child is told with each request of a legacy session, and what of its answers a legacy client knows.
//! All of it as edits: what need not change leaves as it came.
//!
//! Spec: 2026-07-28, Overview, `_meta`, Result and Error Codes; Resources, Error Handling.

use std::sync::Arc;

use serde_json::{Map, Value, json};

use super::super::io::{ClientCapabilities, Profile};
use super::super::purpose::Purpose;
use super::edit;
use crate::jsonrpc::{Frame, Message, Span, decode_str};
use crate::mcp::ids::{Param, meta};
use crate::mcp::{LogLevel, MODERN_REVISION, code};

/// Who a client said it is (JSON text).
pub(in crate::router) struct ClientWords {
    pub(super) info: Option<Arc<str>>,
    pub(super) capabilities: Option<Arc<str>>,
}

impl ClientWords {
    /// Of its `initialize`.
    pub(in crate::router) fn of(initialize: &Message) -> Self {
        let params = initialize.params();
        let said = |name| {
            let span = initialize.member(params?, name).ok()??;
            Some(initialize.text(span)).filter(|text| text.starts_with('{')).map(Arc::from)
        };
        Self { info: said("clientInfo"), capabilities: said("capabilities") }
    }
}

/// What a client said of itself goes into lines. It is JSON: line breaks stand between its tokens.
pub(in crate::router) fn put_in_one_line(profile: &mut Profile) {
    for words in [&mut profile.client_info, &mut profile.client_capabilities].into_iter().flatten() {
        if words.contains(['\n', '\r']) {
            *words = Arc::from(words.replace(['\n', '\r'], " "));
        }
    }
}

/// A legacy session's request with what the child has to be told with it.
pub(super) fn request(profile: &Profile, level: Option<LogLevel>, message: &Message, frame: Frame) -> Frame {
    let version = format!("\"{MODERN_REVISION}\"");
    let declared;
    let capabilities = match &profile.client_capabilities {
        Some(said) => said,
        None => {
            declared = modern_form(profile.capabilities);
            declared.as_str()
        }
    };
    let level = level.map(|level| format!("\"{}\"", level.as_str()));
    let mut set = vec![(meta::PROTOCOL_VERSION, version.as_str()), (meta::CLIENT_CAPABILITIES, capabilities)];
    let mut unset = Vec::new();
    for (name, value) in [(meta::CLIENT_INFO, profile.client_info.as_deref()), (meta::LOG_LEVEL, level.as_deref())] {
        match value {
            Some(value) => set.push((name, value)),
            // Or its client could have log messages written that are another's as far as can be told.
            None => unset.push(name),
        }
    }
    match message.param(Param::Meta).filter(|span| message.text(*span).starts_with('{')) {
        Some(own) => edit::object(frame, message, own, &set, &unset),
        None => {
            let members: Vec<String> = set.iter().map(|(name, value)| format!("\"{name}\":{value}")).collect();
            edit::params(frame, message, &[("_meta", &format!("{{{}}}", members.join(",")))], &[])
        }
    }
}

/// A client's capabilities, where its own words are not known.
fn modern_form(declared: ClientCapabilities) -> String {
    let mut capabilities = Map::new();
    if declared.roots {
        capabilities.insert("roots".to_owned(), json!({}));
    }
    if declared.sampling {
        capabilities.insert("sampling".to_owned(), json!({}));
    }
    let mut modes = Map::new();
    for (mode, declared) in [("form", declared.elicitation_form), ("url", declared.elicitation_url)] {
        if declared {
            modes.insert(mode.to_owned(), json!({}));
        }
    }
    if !modes.is_empty() {
        capabilities.insert("elicitation".to_owned(), Value::Object(modes));
    }
    Value::Object(capabilities).to_string()
}

/// What a modern child's answer is to a legacy client.
pub(super) enum Answer {
    /// An answer.
    Complete(Frame),
    /// None yet: the result (at this place) says what the client is to be asked.
    InputRequired(Span),
    /// Something that no legacy client knows; in words.
    Unknown(String),
}

/// What a modern child's answer is; `frame` has the client's id already.
pub(super) fn answer(message: &Message, purpose: &Purpose, frame: Frame) -> Answer {
    let Some(result) = message.result() else { return Answer::Complete(error(message, purpose, frame)) };
    let Ok(kind) = message.member(result, "resultType") else {
        return Answer::Unknown("`resultType` is not unique".to_owned());
    };
    // spec: 2026-07-28 schema, Result: "the client MUST treat the absent field as "complete"".
    match kind.map(|span| decode_str(message.text(span)).unwrap_or_default()).as_deref() {
        None | Some("complete") => {
            Answer::Complete(edit::object(frame, message, result, &[], &["resultType", "ttlMs", "cacheScope"]))
        }
        Some("input_required") if purpose.may_ask() => Answer::InputRequired(result),
        Some("input_required") => {
            Answer::Unknown("it asks for input, which this method does not provide for".to_owned())
        }
        Some(_) => Answer::Unknown("its `resultType` is none that a client of an older revision knows".to_owned()),
    }
}

/// A missing resource has a code of its own in every legacy revision.
fn error(message: &Message, purpose: &Purpose, frame: Frame) -> Frame {
    let Some(error) = message.error().filter(|_| *purpose == Purpose::Reads) else { return frame };
    let member = |object, name| message.member(object, name).ok().flatten();
    let is_missing = || {
        let names_it = member(error, "data").is_some_and(|data| member(data, "uri").is_some());
        let text = member(error, "message").and_then(|span| decode_str(message.text(span)));
        names_it || text.is_some_and(|text| text.to_ascii_lowercase().contains("not found"))
    };
    match member(error, "code") {
        Some(span) if message.text(span) == code::INVALID_PARAMS.to_string() && is_missing() => {
            frame.replace(span, code::RESOURCE_NOT_FOUND.to_string())
        }
        Some(_) | None => frame,
    }
}
