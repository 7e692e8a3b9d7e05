//! What is asked, and what an answer says of the eras that a command speaks. Pure.
//!
//! | `server/discover` is answered with | the command is |
//! |---|---|
//! | a `DiscoverResult` that lists 2026-07-28 | modern, and legacy if it lists one of those |
//! | `-32022` whose `data.supported` lists 2026-07-28, `-32020`, `-32021` | modern |
//! | either with other revisions only, none of them a legacy one | modern, but of no revision that is spoken here |
//! | anything else, nothing, an exit | legacy |
//!
//! Modern SDKs list modern revisions only, also where they speak the legacy ones, so what is not listed says nothing. Where
//! it matters, `initialize` is asked too: an error, nothing and an exit mean no.
//!
//! Spec: 2026-07-28, Transports, stdio, Backward Compatibility; Versioning; `server/discover`.

use serde_json::{Value, json};

use super::Heard;
use crate::jsonrpc::Message;
use crate::mcp::ids::meta;
use crate::mcp::{MODERN_REVISION, Revision, code, method};

/// The id of the only request that a process is sent, or of the first one of many: a router gives out others.
pub(in crate::child) const ID: u64 = 0;

/// What is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Question {
    /// Whether it is modern: `server/discover`.
    Discover,
    /// Whether it is legacy: `initialize`.
    Initialize,
}

impl Question {
    /// The method.
    pub(super) const fn method(self) -> &'static str {
        match self {
            Self::Discover => method::DISCOVER,
            Self::Initialize => method::INITIALIZE,
        }
    }

    /// The request, in one line.
    pub(in crate::child) fn message(self) -> String {
        let info = json!({"name": "mcp-mux", "version": env!("CARGO_PKG_VERSION")});
        let params = match self {
            Self::Discover => json!({"_meta": {
                meta::PROTOCOL_VERSION: MODERN_REVISION,
                meta::CLIENT_INFO: info,
                meta::CLIENT_CAPABILITIES: {},
            }}),
            Self::Initialize => {
                json!({"protocolVersion": Revision::LATEST.as_str(), "capabilities": {}, "clientInfo": info})
            }
        };
        json!({"jsonrpc": "2.0", "id": ID, "method": self.method(), "params": params}).to_string()
    }
}

/// What a process that was asked says of its command.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// Whether it speaks the era that was asked for.
    pub verdict: Verdict,
    /// How that was found, for the log.
    pub how: String,
}

impl Finding {
    /// Tells the log of an answer to `server/discover`.
    pub fn announce(&self) {
        let era = match self.verdict {
            Verdict::Not => "legacy",
            Verdict::Speaks | Verdict::SpeaksBoth => "modern",
            Verdict::Foreign => "unknown",
        };
        tracing::info!(era, how = self.how, "the era of the server was found out");
    }
}

/// Which eras a command speaks, as far as one answer says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Only the other one than was asked for, as far as this answer goes.
    Not,
    /// The one that was asked for.
    Speaks,
    /// Both.
    SpeaksBoth,
    /// Neither: it is modern, of revisions that mcp-mux does not speak. The specification forbids to take it for legacy.
    Foreign,
}

/// What came of a question.
pub(in crate::child) fn judge(question: Question, heard: &Heard) -> Finding {
    let not = |how: &str| Finding { verdict: Verdict::Not, how: how.to_owned() };
    match (question, heard) {
        (Question::Discover, Heard::Answer(answer)) => judge_discover(answer),
        (Question::Initialize, Heard::Answer(answer)) => judge_initialize(answer),
        (_, Heard::Unusable) => not("its answer cannot be read"),
        (_, Heard::Silence(timeout)) => not(&format!("no answer within {timeout:?} (--probe-timeout)")),
        (_, Heard::End) => not("it exited or closed its stdout without an answer"),
        (_, Heard::NotStarted) => not("it could not be started"),
    }
}

fn judge_discover(answer: &Message) -> Finding {
    if let Some(error) = answer.error() {
        let text = answer.text(error);
        let how = format!("it answered with the error {}", error_code(text));
        if is_modern_error(text) {
            return Finding { verdict: Verdict::Speaks, how };
        }
        let error: Value = serde_json::from_str(text).unwrap_or_default();
        let refused = code_of(&error) == Some(i64::from(code::UNSUPPORTED_VERSION));
        return foreign(&error, "/data/supported")
            .filter(|_| refused)
            .unwrap_or(Finding { verdict: Verdict::Not, how });
    }
    let result = answer.result().map_or("", |result| answer.text(result));
    let result: Value = serde_json::from_str(result).unwrap_or_default();
    if let Some(foreign) = foreign(&result, "/supportedVersions") {
        return foreign;
    }
    let lists = |revision: &str| lists(&result, "/supportedVersions", revision);
    let modern = lists(MODERN_REVISION);
    let legacy = Revision::ALL.iter().any(|revision| lists(revision.as_str()));
    let (verdict, how) = match (modern, legacy) {
        (true, true) => (Verdict::SpeaksBoth, "its supportedVersions has revisions of both eras"),
        (true, false) => (Verdict::Speaks, "its supportedVersions has 2026-07-28"),
        (false, _) => (Verdict::Not, "its answer has no supportedVersions with 2026-07-28"),
    };
    Finding { verdict, how: how.to_owned() }
}

fn judge_initialize(answer: &Message) -> Finding {
    if let Some(error) = answer.error() {
        let how = format!("it answered with the error {}", error_code(answer.text(error)));
        return Finding { verdict: Verdict::Not, how };
    }
    let version = answer.result().and_then(|result| answer.member(result, "protocolVersion").ok().flatten());
    let verdict = if version.is_some() { Verdict::Speaks } else { Verdict::Not };
    let how = version.map_or("its answer has no protocolVersion", |_| "it answered initialize");
    Finding { verdict, how: how.to_owned() }
}

/// What a list of revisions says that has none that is spoken here; none for other lists, and for what is no list.
fn foreign(value: &Value, place: &str) -> Option<Finding> {
    let listed: Option<Vec<&str>> = value.pointer(place)?.as_array()?.iter().map(Value::as_str).collect();
    let listed = listed.filter(|listed| !listed.is_empty())?;
    let known =
        |revision: &&str| *revision == MODERN_REVISION || Revision::ALL.iter().any(|one| one.as_str() == *revision);
    let how = format!("it speaks {}", excerpt(&listed.join(", ")));
    (!listed.iter().any(known)).then_some(Finding { verdict: Verdict::Foreign, how })
}

/// The beginning of a text that a server chose.
fn excerpt(text: &str) -> String {
    text.chars().take(100).collect()
}

/// Whether this error (its JSON text) comes of a server that speaks 2026-07-28.
pub(in crate::child) fn is_modern_error(error: &str) -> bool {
    let error: Value = serde_json::from_str(error).unwrap_or_default();
    match code_of(&error).and_then(|code| i32::try_from(code).ok()) {
        Some(code::HEADER_MISMATCH | code::MISSING_CAPABILITY) => true,
        Some(code::UNSUPPORTED_VERSION) => lists(&error, "/data/supported", MODERN_REVISION),
        Some(_) | None => false,
    }
}

fn error_code(error: &str) -> String {
    let error: Value = serde_json::from_str(error).unwrap_or_default();
    code_of(&error).map_or_else(|| "without a code".to_owned(), |code| code.to_string())
}

fn code_of(error: &Value) -> Option<i64> {
    error.pointer("/code")?.as_i64()
}

/// Whether the list at this place (a JSON pointer) has the revision.
fn lists(value: &Value, place: &str, revision: &str) -> bool {
    let list = value.pointer(place).and_then(Value::as_array);
    list.is_some_and(|list| list.iter().any(|one| one.as_str() == Some(revision)))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use bytes::Bytes;

    use super::*;

    fn answer(text: &str) -> Heard {
        let text = format!(r#"{{"jsonrpc":"2.0","id":0,{text}}}"#);
        Heard::Answer(Message::parse(Bytes::from(text), 100).unwrap())
    }

    fn verdict(question: Question, heard: &Heard) -> Verdict {
        judge(question, heard).verdict
    }

    /// As real servers answer; the SDKs are those of the field notes.
    #[test]
    fn a_server_is_modern_if_it_says_so_and_legacy_otherwise() {
        for (text, expected) in [
            // TypeScript 2.4.0, Python 2.3.0.
            (
                r#""result":{"supportedVersions":["2026-07-28"],"capabilities":{},"resultType":"complete"}"#,
                Verdict::Speaks,
            ),
            // rmcp 3.9.0.
            (r#""result":{"supportedVersions":["2024-11-05","2025-11-25","2026-07-28"]}"#, Verdict::SpeaksBoth),
            (r#""result":{"supportedVersions":["2025-11-25"]}"#, Verdict::Not),
            (r#""result":{"supportedVersions":["2027-01-01"]}"#, Verdict::Foreign),
            (r#""result":{"supportedVersions":[]}"#, Verdict::Not),
            (r#""result":{"supportedVersions":[7]}"#, Verdict::Not),
            (r#""result":{"supportedVersions":"2026-07-28"}"#, Verdict::Not),
            (r#""result":{}"#, Verdict::Not),
            (r#""result":[1]"#, Verdict::Not),
            (r#""result":"yes""#, Verdict::Not),
            // TypeScript 1.x, Python 1.x, others.
            (r#""error":{"code":-32601,"message":"Method not found"}"#, Verdict::Not),
            (r#""error":{"code":-32602,"message":"Invalid request parameters","data":""}"#, Verdict::Not),
            (r#""error":{"code":-32600,"message":"x"}"#, Verdict::Not),
            (
                r#""error":{"code":-32000,"message":"not initialized","data":{"supported":["2026-07-28"]}}"#,
                Verdict::Not,
            ),
            (r#""error":{"code":-32020,"message":"x"}"#, Verdict::Speaks),
            (r#""error":{"code":-32021,"message":"x","data":{"requiredCapabilities":{}}}"#, Verdict::Speaks),
            (
                r#""error":{"code":-32022,"message":"x","data":{"supported":["2026-07-28"],"requested":"2026-07-28"}}"#,
                Verdict::Speaks,
            ),
            // Modern, but of a revision that mcp-mux does not speak; one that is legacy too; and one that does not say.
            (r#""error":{"code":-32022,"message":"x","data":{"supported":["2027-01-01"]}}"#, Verdict::Foreign),
            (r#""error":{"code":-32022,"message":"x","data":{"supported":["2027-01-01","2025-06-18"]}}"#, Verdict::Not),
            (r#""error":{"code":-32022,"message":"x"}"#, Verdict::Not),
            (r#""error":{"code":-99999999999,"message":"x"}"#, Verdict::Not),
            (r#""error":{"message":"x"}"#, Verdict::Not),
        ] {
            assert_eq!(verdict(Question::Discover, &answer(text)), expected, "{text}");
        }
        for heard in [Heard::Unusable, Heard::Silence(Duration::from_secs(5)), Heard::End, Heard::NotStarted] {
            assert_eq!(verdict(Question::Discover, &heard), Verdict::Not, "{heard:?}");
            assert_eq!(verdict(Question::Initialize, &heard), Verdict::Not, "{heard:?}");
        }
    }

    #[test]
    fn a_server_is_legacy_too_if_it_answers_initialize() {
        for (text, expected) in [
            (r#""result":{"protocolVersion":"2025-11-25","capabilities":{},"serverInfo":{}}"#, Verdict::Speaks),
            (r#""result":{}"#, Verdict::Not),
            (r#""error":{"code":-32022,"message":"x","data":{"supported":["2026-07-28"]}}"#, Verdict::Not),
        ] {
            assert_eq!(verdict(Question::Initialize, &answer(text)), expected, "{text}");
        }
    }

    #[test]
    fn questions_are_whole_messages() {
        for question in [Question::Discover, Question::Initialize] {
            let message = Message::parse(Bytes::from(question.message()), 100).unwrap();
            assert_eq!((message.method(), message.id_as_u64()), (question.method(), Some(ID)));
            assert!(!question.message().contains('\n'));
        }
        let discover: Value = serde_json::from_str(&Question::Discover.message()).unwrap();
        assert_eq!(discover["params"]["_meta"][meta::PROTOCOL_VERSION], "2026-07-28");
        assert_eq!(discover["params"]["_meta"][meta::CLIENT_CAPABILITIES], json!({}));
    }
}
