//! What a modern child is told with each request of a legacy session, and what of its answers a legacy client knows.
//! All of it as edits: what need not change leaves as it came.
//!
//! Spec: 2026-07-28, Overview, `_meta`, Result and Error Codes; Resources, Error Handling.

use std::sync::Arc;

use serde_json::{Map, Value, json};

use super::super::io::{ClientCapabilities, Profile};
use super::super::purpose::Purpose;
use super::structured;
use crate::config::DeclaredCapabilities;
use crate::era::edit;
use crate::jsonrpc::{self, Frame, Message, Span, decode_str};
use crate::mcp::ids::{Param, meta};
use crate::mcp::{LogLevel, MODERN_REVISION, code, method};

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
pub(super) fn put_in_one_line(profile: &mut Profile) {
    for words in [&mut profile.client_info, &mut profile.client_capabilities].into_iter().flatten() {
        if words.contains(['\n', '\r']) {
            *words = Arc::from(words.replace(['\n', '\r'], " "));
        }
    }
}

/// Leaves of a legacy client's capabilities what may be passed on to a modern child: what `--client-capabilities` has of
/// them, and nothing that means another thing in each era. (Tasks do, and no extension is known that does not.)
pub(super) fn narrow(profile: &mut Profile, declared: DeclaredCapabilities) {
    let ClientCapabilities { roots, sampling, elicitation_form, elicitation_url } = profile.capabilities;
    profile.capabilities = ClientCapabilities {
        roots: roots && declared.roots,
        sampling: sampling && declared.sampling,
        elicitation_form: elicitation_form && declared.elicitation,
        elicitation_url: elicitation_url && declared.elicitation,
    };
    let own = [
        ("extensions", false),
        ("tasks", false),
        ("roots", declared.roots),
        ("sampling", declared.sampling),
        ("elicitation", declared.elicitation),
    ];
    let taken_out: Vec<&str> = own.into_iter().filter(|(_, stays)| !stays).map(|(name, _)| name).collect();
    // What cannot be read is not passed on: then it is told of what is known.
    profile.client_capabilities = profile.client_capabilities.take().and_then(|said| without(&said, &taken_out));
}

/// An object (JSON text) without these members.
fn without(object: &str, names: &[&str]) -> Option<Arc<str>> {
    let message = jsonrpc::notification("", Some(object)).into_bytes();
    let message = Message::parse(message, usize::MAX).ok()?;
    let edited = edit::object(Frame::new(message.bytes().clone()), &message, message.params()?, &[], names);
    let edited = Message::parse(edited.into_bytes(), usize::MAX).ok()?;
    Some(edited.text(edited.params()?).into())
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
    // spec: 2025-11-25 basic/utilities/tasks: a request to have the call run as a task. They are not offered across eras.
    let task: &[&str] = if message.method() == method::TOOLS_CALL { &[Param::Task.name()] } else { &[] };
    match message.param(Param::Meta).filter(|span| message.text(*span).starts_with('{')) {
        Some(own) => {
            let frame = edit::object(frame, message, own, &set, &unset);
            if task.is_empty() { frame } else { edit::params(frame, message, &[], task) }
        }
        None => {
            let members: Vec<String> = set.iter().map(|(name, value)| format!("\"{name}\":{value}")).collect();
            edit::params(frame, message, &[("_meta", &format!("{{{}}}", members.join(",")))], task)
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
            let lists = *purpose == Purpose::ListsTools;
            let frame = if lists { structured::list(frame, message, result) } else { frame };
            let calls = *purpose == Purpose::CallsTool;
            let set = if calls { structured::content(message, result) } else { Vec::new() };
            let set: Vec<_> = set.iter().map(|(name, value)| (*name, value.as_str())).collect();
            Answer::Complete(edit::object(frame, message, result, &set, &["resultType", "ttlMs", "cacheScope"]))
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
