//! Requests, answers and questions between a modern client and a legacy child.
//!
//! Spec: 2026-07-28, Overview (`_meta`, Responses), Caching, Multi Round-Trip Requests; 2025-11-25 for the other side.

use serde_json::Value;

use super::edit;
use crate::jsonrpc::{self, Frame, Kind, Message, RawId, Span};
use crate::mcp::ids::{PROGRESS_TOKEN, Param, RELATED_TASK, meta};
use crate::mcp::{MODERN_REVISION, Revision, code, method};

/// Whether 2026-07-28 has no longer, for a legacy child, what a client asks for. (Tasks are an extension, and those of
/// 2025-11-25 are others.)
pub fn is_gone(method: &str) -> bool {
    matches!(
        method,
        method::INITIALIZE
            | method::PING
            | method::SET_LEVEL
            | method::SUBSCRIBE
            | method::UNSUBSCRIBE
            | method::TASKS_RESULT
            | method::TASKS_LIST
    )
}

/// Whether a legacy child cannot have what this modern method means.
pub fn is_of_another_era(method: &str) -> bool {
    matches!(method, method::TASKS_GET | method::TASKS_UPDATE | method::TASKS_CANCEL)
}

/// A request without what is the modern protocol's own, and without what would make a task of it for a legacy child: those are
/// not offered to modern clients. None if it has something twice.
pub fn request(message: &Message) -> Option<Message> {
    let mut frame = Frame::new(message.bytes().clone());
    if let Some(object) = message.param(Param::Meta).filter(|span| message.text(*span).starts_with('{')) {
        let own = [meta::PROTOCOL_VERSION, meta::CLIENT_INFO, meta::CLIENT_CAPABILITIES, meta::LOG_LEVEL, RELATED_TASK];
        frame = edit::remove(frame, message, object, &own).ok()?;
    }
    if let Some(params) = message.params().filter(|_| method::may_require_input(message.method())) {
        frame = edit::remove(frame, message, params, &["inputResponses", "requestState", "task"]).ok()?;
    }
    Message::parse(frame.into_bytes(), usize::MAX).ok()
}

/// The `params` of the `initialize` that stands for a modern client.
pub fn initialize_params(capabilities: &str, client_info: Option<&str>) -> String {
    let own = format!(r#"{{"name":"mcp-mux","version":"{}"}}"#, env!("CARGO_PKG_VERSION"));
    let info = client_info.unwrap_or(&own);
    format!(r#"{{"protocolVersion":"{}","capabilities":{capabilities},"clientInfo":{info}}}"#, Revision::LATEST)
}

/// A legacy child's response as a modern client is to have it, and the code of an error. `uri`: that of a `resources/read`.
///
/// # Errors
/// It is none that a modern client could read: why.
pub fn response(
    message: &Message,
    method: &str,
    id: &RawId,
    server_info: Option<&str>,
    uri: Option<&str>,
) -> Result<(Option<i32>, Frame), &'static str> {
    let mut frame = Frame::new(message.bytes().clone());
    if let Some(span) = message.id_span() {
        frame = frame.replace(span, id.as_str());
    }
    match message.kind() {
        Kind::Result => Ok((None, result(frame, message, method, server_info)?)),
        Kind::Error => Ok(error(frame, message, uri)),
        Kind::Request | Kind::Notification => Err("it is no response"),
    }
}

fn result(mut frame: Frame, message: &Message, method: &str, server_info: Option<&str>) -> Result<Frame, &'static str> {
    let object = message.result().filter(|span| message.text(*span).starts_with('{'));
    let object = object.ok_or("its result is no object")?;
    let mut members = Vec::new();
    let absent = |name: &str| message.member(object, name).is_ok_and(|found| found.is_none());
    match message.member(object, "resultType") {
        Ok(Some(span)) => frame = frame.replace(span, r#""complete""#),
        Ok(None) => members.push(r#""resultType":"complete""#.to_owned()),
        Err(_) => return Err("`resultType` of its result is there twice"),
    }
    if method::is_cacheable(method) {
        if absent("ttlMs") {
            members.push(r#""ttlMs":0"#.to_owned());
        }
        if absent("cacheScope") {
            members.push(r#""cacheScope":"private""#.to_owned());
        }
    }
    if let Some(info) = server_info {
        let own = format!(r#""{}":{info}"#, meta::SERVER_INFO);
        match message.member(object, "_meta") {
            Ok(None) => members.push(format!(r#""_meta":{{{own}}}"#)),
            Ok(Some(span)) if message.text(span).starts_with('{') => {
                if message.member(span, meta::SERVER_INFO).is_ok_and(|found| found.is_none()) {
                    frame = edit::insert(frame, message, span, &own);
                }
            }
            Ok(Some(_)) | Err(_) => {}
        }
    }
    Ok(if members.is_empty() { frame } else { edit::insert(frame, message, object, &members.join(",")) })
}

/// An error with its code: that of a missing resource is another in 2026-07-28 (Resources, Error Handling), and those that
/// revision keeps for itself mean nothing from a legacy child (Overview, Error Codes: -32042 must not be sent any more).
fn error(frame: Frame, message: &Message, uri: Option<&str>) -> (Option<i32>, Frame) {
    let Some(object) = message.error() else { return (None, frame) };
    match error_code(message) {
        Some(code::RESOURCE_NOT_FOUND) => (Some(code::INVALID_PARAMS), missing_resource(frame, message, object, uri)),
        Some(code) if !code::RESERVED.contains(&code) => (Some(code), frame),
        Some(_) | None => (Some(code::INTERNAL_ERROR), frame.replace(object, hidden_error(message, object))),
    }
}

/// An error with its own code and data in the data of another one.
fn hidden_error(message: &Message, object: Span) -> String {
    let member = |name: &str| message.member(object, name).ok().flatten().map(|span| message.text(span));
    let text = member("message").filter(|text| text.starts_with('"'));
    let text = text.unwrap_or("\"the server answered with an error of another revision\"");
    let kept = ["code", "data"].into_iter().filter_map(|name| Some(format!(r#""{name}":{}"#, member(name)?)));
    let kept = kept.collect::<Vec<_>>().join(",");
    format!(r#"{{"code":{},"message":{text},"data":{{{kept}}}}}"#, code::INTERNAL_ERROR)
}

fn missing_resource(mut frame: Frame, message: &Message, object: Span, uri: Option<&str>) -> Frame {
    if let Ok(Some(span)) = message.member(object, "code") {
        frame = frame.replace(span, code::INVALID_PARAMS.to_string());
    }
    let Some(uri) = uri else { return frame };
    let named = format!(r#""uri":{}"#, Value::from(uri));
    match message.member(object, "data") {
        Ok(None) => edit::insert(frame, message, object, &format!(r#""data":{{{named}}}"#)),
        Ok(Some(span)) if !message.text(span).starts_with('{') => frame.replace(span, format!("{{{named}}}")),
        Ok(Some(span)) if message.member(span, "uri").is_ok_and(|found| found.is_none()) => {
            edit::insert(frame, message, span, &named)
        }
        Ok(Some(_)) | Err(_) => frame,
    }
}

/// The code of an error response.
pub fn error_code(message: &Message) -> Option<i32> {
    let span = message.member(message.error()?, "code").ok()??;
    message.text(span).parse().ok()
}

/// The capabilities that an error response says a client should have declared (2026-07-28, Overview, `_meta`).
pub fn required_capabilities(message: &Message) -> Option<Value> {
    let data = message.member(message.error()?, "data").ok()??;
    let required = message.member(data, "requiredCapabilities").ok()??;
    serde_json::from_str(message.text(required)).ok()
}

/// A question of the child as an entry of `inputRequests`: what only its own era has is left out.
pub fn input_request(message: &Message) -> Option<String> {
    let mut frame = Frame::new(message.bytes().clone());
    if let Some(params) = message.params() {
        if message.method() == method::ELICITATION {
            frame = edit::remove(frame, message, params, &["elicitationId"]).ok()?;
        }
        if let Some(object) = message.param(Param::Meta).filter(|span| message.text(*span).starts_with('{')) {
            // There is no progress towards a server.
            frame = edit::remove(frame, message, object, &[PROGRESS_TOKEN]).ok()?;
        }
    }
    let message = Message::parse(frame.into_bytes(), usize::MAX).ok()?;
    let params = message.params().map_or_else(String::new, |span| format!(r#","params":{}"#, message.text(span)));
    Some(format!(r#"{{"method":{}{params}}}"#, Value::from(message.method())))
}

/// The questions that a legacy child's error names (2025-11-25, Elicitation, URL Elicitation Required), as entries of
/// `inputRequests`.
pub fn required_elicitations(message: &Message) -> Vec<String> {
    let error = message.error().and_then(|span| serde_json::from_str::<Value>(message.text(span)).ok());
    let elicitations = error.as_ref().and_then(|error| error.get("data")?.get("elicitations")?.as_array());
    let request = |params: &Value| {
        let mut params = params.as_object().filter(|params| params.get("url").is_some_and(Value::is_string))?.clone();
        params.remove("elicitationId");
        // Only these are meant, whether they say so or not.
        if params.entry("mode").or_insert_with(|| "url".into()) != "url" {
            return None;
        }
        Some(serde_json::json!({"method": method::ELICITATION, "params": params}).to_string())
    };
    elicitations.into_iter().flatten().filter_map(request).collect()
}

/// The `InputRequiredResult`: entries of `inputRequests` under their keys, in their order.
pub fn input_required<'a>(
    id: &RawId,
    requests: impl IntoIterator<Item = (&'a str, &'a str)>,
    state: &str,
    server_info: Option<&str>,
) -> Frame {
    let requests: Vec<String> =
        requests.into_iter().map(|(key, request)| format!("{}:{request}", Value::from(key))).collect();
    let requests = requests.join(",");
    let info = server_info.map_or_else(String::new, |info| format!(r#","_meta":{{"{}":{info}}}"#, meta::SERVER_INFO));
    let result = format!(
        r#"{{"resultType":"input_required","inputRequests":{{{requests}}},"requestState":{}{info}}}"#,
        Value::from(state)
    );
    jsonrpc::result_response(id, &result)
}

/// `_meta` for requests of mcp-mux's own to a modern child.
pub fn own_meta() -> String {
    format!(
        r#"{{"{}":"{MODERN_REVISION}","{}":{{"name":"mcp-mux","version":"{}"}},"{}":{{}}}}"#,
        meta::PROTOCOL_VERSION,
        meta::CLIENT_INFO,
        env!("CARGO_PKG_VERSION"),
        meta::CLIENT_CAPABILITIES
    )
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::jsonrpc::DEPTH_MAX;

    fn message(text: &str) -> Message {
        Message::parse(text.to_owned().into(), DEPTH_MAX).expect("a message")
    }

    fn text(bytes: &[u8]) -> &str {
        std::str::from_utf8(bytes).expect("text")
    }

    fn json(frame: Frame) -> Value {
        serde_json::from_slice(&frame.into_bytes()).expect("JSON")
    }

    #[test]
    fn a_request_loses_the_protocols_own_keys_and_keeps_the_rest_byte_for_byte() {
        let modern = r#"{"jsonrpc":"2.0","id":1e0,"method":"tools/call","params":{ "requestState":"s","name":"a","arguments":{"requestState": 1.0},"_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28","traceparent":"00-1", "io.modelcontextprotocol/clientCapabilities":{}, "com.example/x":[ 1 ],"io.modelcontextprotocol/clientInfo":{},"progressToken":7,"io.modelcontextprotocol/logLevel":"info"},"inputResponses":{}}}"#;
        let legacy = r#"{"jsonrpc":"2.0","id":1e0,"method":"tools/call","params":{ "name":"a","arguments":{"requestState": 1.0},"_meta":{"traceparent":"00-1", "com.example/x":[ 1 ],"progressToken":7}}}"#;
        assert_eq!(text(request(&message(modern)).expect("translated").bytes()), legacy);
        let plain = r#"{"jsonrpc":"2.0","id":1,"method":"tools/list"}"#;
        assert_eq!(text(request(&message(plain)).expect("translated").bytes()), plain);
    }

    #[test]
    fn a_result_says_that_it_is_complete_and_whose_it_is() {
        let id = RawId::from_json("\"r\"");
        let of = |result: &str, method| {
            let answer = message(&format!(r#"{{"jsonrpc":"2.0","id":1,"result":{result}}}"#));
            json(response(&answer, method, &id, Some(r#"{"name":"s"}"#), None).expect("readable").1)
        };
        let info = json!({"io.modelcontextprotocol/serverInfo": {"name": "s"}});
        assert_eq!(
            of("{}", "tools/call"),
            json!({"jsonrpc": "2.0", "id": "r", "result": {"resultType": "complete", "_meta": info}})
        );
        let listed = &of(r#"{"tools":[],"_meta":{"x":1},"resultType":"other"}"#, "tools/list")["result"];
        let both = json!({"io.modelcontextprotocol/serverInfo": {"name": "s"}, "x": 1});
        assert_eq!(
            *listed,
            json!({"tools": [], "_meta": both, "resultType": "complete", "ttlMs": 0, "cacheScope": "private"})
        );
        assert_eq!(of(r#"{"ttlMs":5}"#, "resources/read")["result"]["ttlMs"], 5);
    }

    // spec: 2026-07-28 server/resources, Error Handling
    #[test]
    fn a_missing_resource_has_the_modern_code_and_its_uri() {
        let id = RawId::from_json("1");
        let of = |error: &str| {
            let answer = message(&format!(r#"{{"jsonrpc":"2.0","id":1,"error":{error}}}"#));
            json(response(&answer, "resources/read", &id, None, Some("a://\"b")).expect("readable").1)["error"].clone()
        };
        let expected = json!({"code": -32602, "message": "m", "data": {"uri": "a://\"b"}});
        assert_eq!(of(r#"{"code":-32002,"message":"m"}"#), expected);
        assert_eq!(of(r#"{"code":-32002,"message":"m","data":null}"#), expected);
        assert_eq!(of(r#"{"code":-32002,"message":"m","data":{"x":1}}"#)["data"], json!({"uri": "a://\"b", "x": 1}));
        assert_eq!(of(r#"{"code":-32002,"message":"m","data":{"uri":"c"}}"#)["data"], json!({"uri": "c"}));
        assert_eq!(of(r#"{"code":-32001,"message":"m"}"#), json!({"code": -32001, "message": "m"}));
    }

    // spec: 2026-07-28 basic/index, Error Codes
    #[test]
    fn a_code_that_means_another_thing_is_kept_in_the_data() {
        let id = RawId::from_json("1");
        let of = |error: &str| {
            let answer = message(&format!(r#"{{"jsonrpc":"2.0","id":1,"error":{error}}}"#));
            let (code, frame) = response(&answer, "tools/call", &id, None, None).expect("readable");
            (code, json(frame)["error"].clone())
        };
        let hidden =
            |message: &str, data: Value| (Some(-32603), json!({"code": -32603, "message": message, "data": data}));
        for code in [-32042, -32020, -32021, -32022, -32099] {
            assert_eq!(of(&format!(r#"{{"code":{code},"message":"m"}}"#)), hidden("m", json!({"code": code})));
        }
        let data = json!({"code": -32042, "data": {"elicitations": []}});
        assert_eq!(of(r#"{"code":-32042,"message":"m","data":{"elicitations":[]}}"#), hidden("m", data));
        assert_eq!(of(r#"{"code":-32042.0,"message":"m"}"#), hidden("m", json!({"code": -32042.0})));
        let text = "the server answered with an error of another revision";
        assert_eq!(of(r#"{"code":1,"code":-32042}"#), hidden(text, json!({})));
        for code in [-32019, -32100, -32601, 7] {
            let error = json!({"code": code, "message": "m"});
            assert_eq!(of(&error.to_string()), (Some(code), error));
        }
    }

    #[test]
    fn what_is_no_result_cannot_be_passed_on() {
        let id = RawId::from_json("1");
        for result in ["[]", "7", "null", "\"x\"", r#"{"resultType":"a","resultType":"b"}"#] {
            let answer = message(&format!(r#"{{"jsonrpc":"2.0","id":1,"result":{result}}}"#));
            assert!(response(&answer, "tools/call", &id, None, None).is_err(), "{result}");
        }
    }

    // spec: 2025-11-25 client/elicitation, URL Elicitation Required
    #[test]
    fn elicitations_that_are_required_are_of_url_mode() {
        let of = |elicitations: &str| {
            let error = format!(
                r#"{{"jsonrpc":"2.0","id":1,"error":{{"code":-32042,"message":"m","data":{{"elicitations":{elicitations}}}}}}}"#
            );
            let found = required_elicitations(&message(&error));
            found
                .iter()
                .map(|one| serde_json::from_str::<Value>(one).expect("JSON")["params"].clone())
                .collect::<Vec<_>>()
        };
        let expected = json!({"mode": "url", "url": "https://x", "message": "m"});
        assert_eq!(of(r#"[{"url":"https://x","message":"m","elicitationId":"e"}]"#), [expected]);
        for other in ["[]", "{}", "7", "[7]", r#"[{"mode":"form","url":"https://x"}]"#, r#"[{"mode":"url"}]"#] {
            assert_eq!(of(other), [Value::Null; 0], "{other}");
        }
    }

    // Tasks are of one era each.
    #[test]
    fn a_request_makes_no_task() {
        let modern = r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"a","task":{"ttl":1},"_meta":{"io.modelcontextprotocol/related-task":{"taskId":"t"},"x":1}}}"#;
        let legacy = r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"a","_meta":{"x":1}}}"#;
        assert_eq!(text(request(&message(modern)).expect("translated").bytes()), legacy);
    }

    #[test]
    fn a_question_becomes_an_input_request() {
        let question = r#"{"jsonrpc":"2.0","id":"mcp-mux-0-1","method":"elicitation/create","params":{"mode":"url","elicitationId":"e","url":"https://x","message":"m","_meta":{"progressToken":"mcp-mux-0-1"}}}"#;
        let request = input_request(&message(question)).expect("translated");
        let expected =
            r#"{"method":"elicitation/create","params":{"mode":"url","url":"https://x","message":"m","_meta":{}}}"#;
        assert_eq!(request, expected);
        let roots = input_request(&message(r#"{"jsonrpc":"2.0","id":1,"method":"roots/list"}"#));
        assert_eq!(roots.as_deref(), Some(r#"{"method":"roots/list"}"#));
        let result = json(input_required(&RawId::from_json("5"), [("k", expected)], "s", None));
        assert_eq!(
            (&result["id"], &result["result"]["inputRequests"]["k"]["method"]),
            (&json!(5), &json!("elicitation/create"))
        );
    }

    #[test]
    fn an_initialize_stands_for_a_modern_client() {
        let params: Value = serde_json::from_str(&initialize_params(r#"{"roots":{}}"#, None)).expect("JSON");
        assert_eq!(
            (&params["capabilities"], &params["clientInfo"]["name"]),
            (&json!({"roots": {}}), &json!("mcp-mux"))
        );
        assert!(serde_json::from_str::<Value>(&own_meta()).is_ok());
    }
}
