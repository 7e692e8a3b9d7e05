//! What an answer means, from as few of its bytes as will do.

use crate::era::legacy;
use crate::error::Reject;
use crate::jsonrpc::{Frame, Kind, Message};
use crate::mcp::method::may_require_input;
use crate::metrics::{Method, Outcome};

/// How a request ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in super::super) struct Verdict {
    pub(in super::super) outcome: Outcome,
    /// The code of the error that it was answered with.
    pub(in super::super) code: Option<i32>,
    /// What kind of error that was, where it is mcp-mux's own.
    pub(in super::super) kind: Option<&'static str>,
}

impl From<&Reject> for Verdict {
    fn from(reject: &Reject) -> Self {
        let wire = reject.wire();
        Self { outcome: reject.outcome(), code: Some(wire.code), kind: Some(wire.kind) }
    }
}

impl Verdict {
    /// That, and no error.
    pub(in super::super) const fn of(outcome: Outcome) -> Self {
        Self { outcome, code: None, kind: None }
    }

    /// What the server's answer to such a request means.
    pub(in super::super) fn of_answer(frame: &Frame, method: Method) -> Self {
        let text = frame.source();
        let parsed = || Message::parse(frame.clone().into_bytes(), usize::MAX).ok();
        let kind = kind(text).or_else(|| parsed().map(|message| message.kind()));
        if kind == Some(Kind::Error) {
            let code = parsed().as_ref().and_then(legacy::error_code);
            return Self { outcome: Outcome::Error, code, kind: None };
        }
        let says = |name: &str, value: &str| {
            may_say(text, name, value) && parsed().is_some_and(|message| result_says(&message, name, value))
        };
        if method == Method::ToolsCall && says("isError", "true") {
            Self::of(Outcome::ToolError)
        } else if may_require_input(method.as_str()) && says("resultType", "\"input_required\"") {
            Self::of(Outcome::InputRequired)
        } else {
            Self::of(Outcome::Ok)
        }
    }
}

/// Whether a response is a result or an error, if that can be said from what stands before: every server that is known writes
/// nothing there but `jsonrpc` and `id`.
fn kind(text: &[u8]) -> Option<Kind> {
    let mut rest = text.trim_ascii_start().strip_prefix(b"{")?;
    loop {
        rest = rest.trim_ascii_start().strip_prefix(b"\"")?;
        let (name, after) = rest.split_at_checked(memchr::memchr(b'"', rest)?)?;
        match name {
            b"result" => return Some(Kind::Result),
            b"error" => return Some(Kind::Error),
            b"jsonrpc" | b"id" => {}
            _ => return None,
        }
        let value = after.strip_prefix(b"\"")?.trim_ascii_start().strip_prefix(b":")?.trim_ascii_start();
        // An id with an escape in it is not worth more.
        let value = match value.strip_prefix(b"\"") {
            Some(string) => {
                let (string, after) = string.split_at_checked(memchr::memchr(b'"', string)?)?;
                if string.contains(&b'\\') {
                    return None;
                }
                after.strip_prefix(b"\"")?
            }
            None => value,
        };
        rest = value.split_at_checked(memchr::memchr(b',', value)?)?.1.strip_prefix(b",")?;
    }
}

/// Whether `"name": value` stands anywhere in the text, be it in something else's place.
fn may_say(text: &[u8], name: &str, value: &str) -> bool {
    memchr::memmem::find_iter(text, name).any(|at| {
        let after = text.get(at + name.len()..).and_then(|after| after.strip_prefix(b"\""));
        let after = after.and_then(|after| after.trim_ascii_start().strip_prefix(b":"));
        after.is_some_and(|after| after.trim_ascii_start().starts_with(value.as_bytes()))
    })
}

/// Whether it is a member of the result.
fn result_says(message: &Message, name: &str, value: &str) -> bool {
    let member = message.result().and_then(|result| message.member(result, name).ok().flatten());
    member.is_some_and(|member| message.text(member) == value)
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;

    fn verdict(method: Method, text: &str) -> Verdict {
        Verdict::of_answer(&Frame::new(Bytes::copy_from_slice(text.as_bytes())), method)
    }

    #[test]
    fn an_answer_is_told_from_an_error_however_it_is_spelled() {
        let error = Verdict { outcome: Outcome::Error, code: Some(-32601), kind: None };
        let ok = Verdict::of(Outcome::Ok);
        for (text, expected) in [
            (r#"{"jsonrpc":"2.0","id":1,"result":{}}"#, ok),
            (r#"{"result":{"error":1},"jsonrpc":"2.0","id":1}"#, ok),
            (r#" { "jsonrpc" : "2.0" , "id" : "a,b" , "result" : {} }"#, ok),
            (r#"{"jsonrpc":"2.0","id":"\"error\"","result":{}}"#, ok),
            (r#"{"jsonrpc":"2.0","more":{"error":{"code":1}},"id":1,"result":{}}"#, ok),
            (r#"{"jsonrpc":"2.0","id":1,"error":{"code":-32601,"message":"no"}}"#, error),
            (r#"{"error":{"message":"no","code":-32601},"id":1,"jsonrpc":"2.0"}"#, error),
            (r#"{"jsonrpc":"2.0","more":{"result":1},"id":1,"error":{"code":-32601,"message":"no"}}"#, error),
        ] {
            assert_eq!(verdict(Method::ToolsCall, text), expected, "{text}");
        }
    }

    #[test]
    fn only_the_result_itself_says_that_a_tool_failed() {
        let failed = r#"{"jsonrpc":"2.0","id":1,"result":{"content":[],"isError" : true}}"#;
        assert_eq!(verdict(Method::ToolsCall, failed).outcome, Outcome::ToolError);
        assert_eq!(verdict(Method::ToolsList, failed).outcome, Outcome::Ok);
        for text in [
            r#"{"jsonrpc":"2.0","id":1,"result":{"content":[],"isError":false}}"#,
            r#"{"jsonrpc":"2.0","id":1,"result":{"structuredContent":{"isError":true},"isError":false}}"#,
            r#"{"jsonrpc":"2.0","id":1,"result":{"content":[{"type":"text","text":"\"isError\":true"}]}}"#,
        ] {
            assert_eq!(verdict(Method::ToolsCall, text).outcome, Outcome::Ok, "{text}");
        }
    }

    #[test]
    fn a_client_that_is_asked_first_is_told_from_an_answer() {
        let asks = r#"{"jsonrpc":"2.0","id":1,"result":{"resultType":"input_required","inputRequests":{}}}"#;
        assert_eq!(verdict(Method::ToolsCall, asks).outcome, Outcome::InputRequired);
        assert_eq!(verdict(Method::ToolsList, asks).outcome, Outcome::Ok);
    }
}
