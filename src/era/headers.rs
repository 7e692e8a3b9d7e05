//! What the HTTP headers of a modern request repeat of its body.
//!
//! Spec: 2026-07-28, Streamable HTTP, Request Metadata.

use std::borrow::Cow;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use crate::jsonrpc::{Message, decode_str};
use crate::mcp::method;

/// A header value that is marked as base64 but is none.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not valid base64 of UTF-8 text")]
pub struct NotBase64;

/// Decodes a header value that may have the base64 sentinel (Value Encoding).
///
/// # Errors
/// It has, but what is marked is not base64 (padding and alphabet as RFC 4648, 4) of UTF-8.
pub fn decode(value: &str) -> Result<Cow<'_, str>, NotBase64> {
    let value = value.trim_matches([' ', '\t']);
    let Some(marked) = value.strip_prefix("=?base64?").and_then(|rest| rest.strip_suffix("?=")) else {
        return Ok(Cow::Borrowed(value));
    };
    let bytes = STANDARD.decode(marked).map_err(|_| NotBase64)?;
    String::from_utf8(bytes).map(Cow::Owned).map_err(|_| NotBase64)
}

/// Encodes a header value, with the base64 sentinel where it needs that (Value Encoding).
pub fn encode(value: &str) -> Cow<'_, str> {
    let plain = value.bytes().all(|byte| matches!(byte, b' '..=b'~' | b'\t'));
    let blank = |byte: Option<&u8>| matches!(byte, Some(b' ' | b'\t'));
    let padded = blank(value.as_bytes().first()) || blank(value.as_bytes().last());
    let marked = value.starts_with("=?base64?") && value.ends_with("?=");
    if plain && !padded && !marked {
        return Cow::Borrowed(value);
    }
    Cow::Owned(format!("=?base64?{}?=", STANDARD.encode(value)))
}

/// The member of `params` that `Mcp-Name` repeats for this method, where it repeats one.
pub fn name_source(method: &str) -> Option<&'static str> {
    match method {
        method::TOOLS_CALL | method::PROMPTS_GET => Some("name"),
        method::RESOURCES_READ => Some("uri"),
        method if method.starts_with("tasks/") && method != method::TASKS_LIST => Some("taskId"),
        _ => None,
    }
}

/// A member of `params` of which nobody can say what text it is: two parsers may read it differently.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("occurs twice, or in another upper or lower case, or is no string of Unicode characters")]
pub struct NoText;

/// A string member of `params`; none if it is not there.
///
/// # Errors
/// It is there in a way that does not say what text it is.
pub fn text_param<'a>(message: &'a Message, name: &str) -> Result<Option<Cow<'a, str>>, NoText> {
    let Some(params) = message.params() else { return Ok(None) };
    let member = message.member(params, name).map_err(|_| NoText)?;
    member.map(|span| decode_str(message.text(span)).ok_or(NoText)).transpose()
}

#[cfg(test)]
mod tests {
    use super::*;

    // spec: 2026-07-28 basic/transports/streamable-http, Value Encoding
    #[test]
    fn values_are_encoded_as_the_specification_has_it() {
        for (value, expected) in [
            ("us-west1", "us-west1"),
            ("a b", "a b"),
            ("", ""),
            ("Hello, 世界", "=?base64?SGVsbG8sIOS4lueVjA==?="),
            (" padded ", "=?base64?IHBhZGRlZCA=?="),
            ("line1\nline2", "=?base64?bGluZTEKbGluZTI=?="),
            ("=?base64?literal?=", "=?base64?PT9iYXNlNjQ/bGl0ZXJhbD89?="),
        ] {
            assert_eq!(encode(value), expected);
            assert_eq!(decode(expected).unwrap(), value);
        }
    }

    // spec: 2026-07-28 basic/transports/streamable-http, Value Encoding
    #[test]
    fn values_are_decoded_as_the_specification_encodes_them() {
        for (value, expected) in [
            ("us-west1", "us-west1"),
            (" us-west1\t", "us-west1"),
            ("=?base64?SGVsbG8sIOS4lueVjA==?=", "Hello, 世界"),
            ("=?base64?IHBhZGRlZCA=?=", " padded "),
            ("=?base64?bGluZTEKbGluZTI=?=", "line1\nline2"),
            ("=?base64?PT9iYXNlNjQ/bGl0ZXJhbD89?=", "=?base64?literal?="),
            ("=?BASE64?SGVsbG8=?=", "=?BASE64?SGVsbG8=?="),
            ("SGVsbG8=", "SGVsbG8="),
            ("=?base64?SGVsbG8=", "=?base64?SGVsbG8="),
            ("=?base64??=", ""),
        ] {
            assert_eq!(decode(value).as_deref(), Ok(expected), "{value}");
        }
        for value in ["=?base64?SGVsbG8?=", "=?base64?SGVs!!!bG8=?=", "=?base64?/w==?=", "=?base64?SGVsbG8= ?="] {
            assert_eq!(decode(value), Err(NotBase64), "{value}");
        }
    }

    #[test]
    fn text_is_what_every_parser_reads_alike() {
        for (params, expected) in [
            (r#"{"name":"t"}"#, Ok(Some("t"))),
            (r#"{"n\u0061me":"\u0074"}"#, Ok(Some("t"))),
            (r#"{}"#, Ok(None)),
            (r#"{"name":"t","name":"t"}"#, Err(NoText)),
            (r#"{"name":"t","Name":"u"}"#, Err(NoText)),
            (r#"{"NAME":"t"}"#, Err(NoText)),
            (r#"{"name":"\ud800"}"#, Err(NoText)),
            (r#"{"name":7}"#, Err(NoText)),
            (r#"{"name":null}"#, Err(NoText)),
        ] {
            let text = format!(r#"{{"jsonrpc":"2.0","id":1,"method":"m","params":{params}}}"#);
            let message = Message::parse(text.into(), crate::jsonrpc::DEPTH_MAX).expect("a message");
            let read = text_param(&message, "name");
            assert_eq!(read.as_ref().map(Option::as_deref), expected.as_ref().map(|text| *text), "{params}");
        }
    }
}
