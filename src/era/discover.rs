//! `server/discover` out of a legacy child's `InitializeResult`, and what the translation has to know of that.
//!
//! Spec: 2026-07-28, Discovery; 2025-11-25, Lifecycle, Initialization.

use serde::Deserialize;
use serde_json::value::RawValue;

use super::edit;
use crate::jsonrpc::{Frame, Kind, Message};
use crate::mcp::ids::meta;
use crate::mcp::{MODERN_REVISION, Revision};

/// What a legacy child said of itself.
#[derive(Clone, Debug, Default)]
pub struct Introduction {
    /// `serverInfo`, as spelled.
    pub server_info: Option<Box<str>>,
    /// `capabilities`, as spelled, without what the modern era has not.
    capabilities: Box<str>,
    instructions: Option<Box<str>>,
    /// What can be listened to.
    pub news: News,
    /// Whether it takes `logging/setLevel`.
    pub logging: bool,
}

/// What a child tells those who listen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names are the specification's")]
pub struct News {
    pub tools_list_changed: bool,
    pub prompts_list_changed: bool,
    pub resources_list_changed: bool,
    pub resource_subscriptions: bool,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct InitializeResult<'a> {
    #[serde(borrow)]
    server_info: Option<&'a RawValue>,
    #[serde(borrow)]
    instructions: Option<&'a RawValue>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Capabilities {
    tools: Option<Declared>,
    prompts: Option<Declared>,
    resources: Option<Declared>,
    logging: Option<serde::de::IgnoredAny>,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Declared {
    list_changed: bool,
    subscribe: bool,
}

impl Introduction {
    /// Reads the response to `initialize`; none if it is an error.
    pub fn read(response: &Message) -> Option<Self> {
        let result = response.result().filter(|_| response.kind() == Kind::Result)?;
        let said: InitializeResult<'_> = serde_json::from_str(response.text(result)).ok()?;
        let capabilities = response.member(result, "capabilities").ok().flatten();
        let capabilities = capabilities.filter(|span| response.text(*span).starts_with('{'));
        let declared: Capabilities =
            capabilities.and_then(|span| serde_json::from_str(response.text(span)).ok()).unwrap_or_default();
        let capabilities = capabilities.map_or_else(
            || "{}".into(),
            |span| {
                let object = Frame::new(response.bytes().slice(span.start..span.end));
                // A capability of the 2025-11-25 tasks, which are not those of the modern extension.
                let without = edit::extents(response, span, &["tasks"]).unwrap_or_default();
                let shift = |at: crate::jsonrpc::Span| crate::jsonrpc::Span {
                    start: at.start.saturating_sub(span.start),
                    end: at.end.saturating_sub(span.start),
                };
                let text = without.into_iter().fold(object, |object, at| object.replace(shift(at), "")).into_bytes();
                String::from_utf8_lossy(&text).into_owned().into_boxed_str()
            },
        );
        let list = |declared: &Option<Declared>| declared.as_ref().is_some_and(|declared| declared.list_changed);
        Some(Self {
            server_info: said.server_info.map(|info| info.get().into()),
            capabilities,
            instructions: said.instructions.map(RawValue::get).filter(|text| *text != "null").map(Into::into),
            news: News {
                tools_list_changed: list(&declared.tools),
                prompts_list_changed: list(&declared.prompts),
                resources_list_changed: list(&declared.resources),
                resource_subscriptions: declared.resources.is_some_and(|declared| declared.subscribe),
            },
            logging: declared.logging.is_some(),
        })
    }

    /// The `DiscoverResult`.
    pub fn discover(&self) -> String {
        let Self { capabilities, .. } = self;
        let versions = serde_json::json!(supported_versions());
        let instructions =
            self.instructions.as_ref().map_or_else(String::new, |text| format!(r#","instructions":{text}"#));
        let info = self.server_info.as_ref();
        let info = info.map_or_else(String::new, |info| format!(r#","_meta":{{"{}":{info}}}"#, meta::SERVER_INFO));
        format!(
            r#"{{"resultType":"complete","supportedVersions":{versions},"capabilities":{capabilities}{instructions},"ttlMs":0,"cacheScope":"private"{info}}}"#
        )
    }
}

/// All revisions that mcp-mux serves, newest first.
pub fn supported_versions() -> Vec<&'static str> {
    let legacy = Revision::ALL.into_iter().rev().map(Revision::as_str);
    std::iter::once(MODERN_REVISION).chain(legacy).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::jsonrpc::DEPTH_MAX;

    fn read(response: &Value) -> Option<Introduction> {
        Introduction::read(&Message::parse(response.to_string().into(), DEPTH_MAX).expect("a message"))
    }

    // spec: 2026-07-28 server/discover, DiscoverResult
    #[test]
    fn initialize_result_becomes_a_discover_result() {
        let introduction = read(&json!({"jsonrpc": "2.0", "id": 1, "result": {
            "protocolVersion": "2025-11-25",
            "capabilities": {"logging": {}, "tasks": {"list": {}}, "tools": {"listChanged": true},
                             "resources": {"subscribe": true}, "experimental": {"x": {}}},
            "serverInfo": {"name": "s", "version": "1"},
            "instructions": "Do.",
        }}))
        .expect("a result");
        let news = News { tools_list_changed: true, resource_subscriptions: true, ..News::default() };
        assert_eq!((introduction.news, introduction.logging), (news, true));
        let result: Value = serde_json::from_str(&introduction.discover()).expect("JSON");
        assert_eq!(
            result,
            json!({
                "resultType": "complete",
                "supportedVersions": ["2026-07-28", "2025-11-25", "2025-06-18", "2025-03-26", "2024-11-05"],
                "capabilities": {"logging": {}, "tools": {"listChanged": true}, "resources": {"subscribe": true},
                                 "experimental": {"x": {}}},
                "instructions": "Do.",
                "ttlMs": 0,
                "cacheScope": "private",
                "_meta": {"io.modelcontextprotocol/serverInfo": {"name": "s", "version": "1"}},
            })
        );
    }

    #[test]
    fn what_is_missing_is_left_out() {
        let introduction = read(&json!({"jsonrpc": "2.0", "id": 1, "result": {}})).expect("a result");
        let result: Value = serde_json::from_str(&introduction.discover()).expect("JSON");
        assert_eq!(
            (&result["capabilities"], result.get("_meta"), result.get("instructions")),
            (&json!({}), None, None)
        );
        assert!(read(&json!({"jsonrpc": "2.0", "id": 1, "error": {"code": 1, "message": "no"}})).is_none());
    }
}
