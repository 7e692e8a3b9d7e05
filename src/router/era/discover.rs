//! The handshake with a modern child, and the `InitializeResult` that legacy clients get out of it.
//!
//! Spec: 2026-07-28, Discovery; stdio, Backward Compatibility.

use bytes::Bytes;
use serde_json::{Map, Value, json};

use super::super::handshake::{self, Lists, ServerCapabilities, ServerResult};
use super::super::id_table::ChildId;
use crate::config::DeclaredCapabilities;
use crate::jsonrpc::{Frame, Message, Span};
use crate::mcp::ids::meta;
use crate::mcp::{MODERN_REVISION, Revision, method};

/// Why a `DiscoverResult` is of no use.
pub(in crate::router) const NOT_SPOKEN: &str = "its answer does not say that it speaks 2026-07-28";

/// `_meta` of mcp-mux's own requests.
pub(super) fn own_meta(declared: DeclaredCapabilities) -> Value {
    let mut own = Map::new();
    own.insert(meta::PROTOCOL_VERSION.to_owned(), json!(MODERN_REVISION));
    own.insert(meta::CLIENT_INFO.to_owned(), handshake::client_info());
    let mut capabilities = handshake::capabilities(declared);
    if let Some(roots) = capabilities.get_mut("roots") {
        // Nobody tells of changes any more.
        *roots = json!({});
    }
    own.insert(meta::CLIENT_CAPABILITIES.to_owned(), Value::Object(capabilities));
    Value::Object(own)
}

/// `server/discover`.
pub(in crate::router) fn request(id: ChildId, declared: DeclaredCapabilities) -> Frame {
    let params = json!({"_meta": own_meta(declared)}).to_string();
    crate::jsonrpc::request(&id.text(), method::DISCOVER, Some(&params))
}

/// The `InitializeResult` that a `DiscoverResult` amounts to, in the newest legacy revision; none if it is no answer of a
/// server that speaks the modern one.
pub(in crate::router) fn initialize_result(answer: &Message) -> Option<ServerResult> {
    let result = answer.result()?;
    let member = |object, name| answer.member(object, name).ok().flatten();
    let supported: Vec<String> = serde_json::from_str(answer.text(member(result, "supportedVersions")?)).ok()?;
    if !supported.iter().any(|version| version == MODERN_REVISION) {
        return None;
    }
    let declared = member(result, "capabilities").filter(|span| answer.text(*span).starts_with('{'));
    let capabilities = declared.map_or_else(|| "{}".to_owned(), |declared| without_modern(answer, declared));
    // Legacy clients insist on a name.
    let info = member(result, "_meta").and_then(|own| member(own, meta::SERVER_INFO));
    let info = info.map(|span| answer.text(span)).filter(|info| info.starts_with('{'));
    let info = info.map_or_else(|| handshake::client_info().to_string(), str::to_owned);
    let instructions =
        member(result, "instructions").map(|span| answer.text(span)).filter(|text| text.starts_with('"'));
    let instructions = instructions.map_or_else(String::new, |text| format!(r#","instructions":{text}"#));

    let (before, version) = (r#"{"protocolVersion":"#, format!("\"{}\"", Revision::LATEST));
    let version_span = Span { start: before.len(), end: before.len() + version.len() };
    let text = format!(r#"{before}{version},"capabilities":{capabilities},"serverInfo":{info}{instructions}}}"#);
    let mut known: ServerCapabilities = serde_json::from_str(&capabilities).unwrap_or_default();
    known.tells = lists(&capabilities);
    Some(ServerResult {
        text: Bytes::from(text),
        version: Some(version_span),
        revision: Revision::LATEST,
        capabilities: known,
    })
}

/// A server's capabilities without those that are not offered across eras: extensions, tasks among them.
fn without_modern(answer: &Message, declared: Span) -> String {
    let offered = answer
        .members(declared)
        .into_iter()
        .filter(|member| !["extensions", "tasks"].iter().any(|name| answer.is_named(*member, name)))
        .map(|member| answer.text(Span { start: member.name.start, end: member.value.end }));
    format!("{{{}}}", offered.collect::<Vec<_>>().join(","))
}

fn lists(capabilities: &str) -> Lists {
    let declared: Value = serde_json::from_str(capabilities).unwrap_or_default();
    let tells = |list: &str| declared.pointer(&format!("/{list}/listChanged")) == Some(&Value::Bool(true));
    Lists { tools: tells("tools"), prompts: tells("prompts"), resources: tells("resources") }
}
