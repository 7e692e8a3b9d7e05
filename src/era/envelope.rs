//! What a modern request says of itself in `params._meta`.
//!
//! Spec: 2026-07-28, Overview, `_meta`, Per-request protocol fields.

use std::borrow::Cow;
use std::sync::Arc;

use crate::jsonrpc::{ID_BYTES_MAX, Message, RawId, Span, decode_str};
use crate::mcp::LogLevel;
use crate::mcp::ids::{PROGRESS_TOKEN, Param, meta};

/// Whether a message has the key in its `_meta` by which modern ones are known.
pub fn is_modern(message: &Message) -> bool {
    let Some(meta) = message.param(Param::Meta) else { return false };
    // Twice is more than none: it is refused as a modern one.
    message.member(meta, meta::PROTOCOL_VERSION).map_or(true, |found| found.is_some())
}

/// `protocolVersion`, which says what else there has to be.
///
/// # Errors
/// It is missing, or no string.
pub fn version(message: &Message) -> Result<Cow<'_, str>, EnvelopeError> {
    let [span] = message.named(object(message)?, [meta::PROTOCOL_VERSION]).map_err(EnvelopeError::Twice)?;
    let span = span.ok_or(EnvelopeError::Missing(meta::PROTOCOL_VERSION))?;
    decode_str(message.text(span)).ok_or(EnvelopeError::Malformed(meta::PROTOCOL_VERSION, "a string"))
}

fn object(message: &Message) -> Result<Span, EnvelopeError> {
    let object = message.param(Param::Meta).filter(|span| message.text(*span).starts_with('{'));
    object.ok_or(EnvelopeError::Missing(meta::PROTOCOL_VERSION))
}

/// The metadata of one request, beside its [`version`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Envelope {
    /// `clientInfo` as spelled.
    pub client_info: Option<Arc<str>>,
    /// `clientCapabilities` as spelled.
    pub capabilities: Arc<str>,
    /// `logLevel`.
    pub level: Option<LogLevel>,
    /// `progressToken` as spelled.
    pub token: Option<RawId>,
}

/// What is wrong with a request's `_meta`.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EnvelopeError {
    /// It is not there.
    #[error("params._meta must have {0} (revision 2026-07-28)")]
    Missing(&'static str),
    /// It is there, but is no such thing.
    #[error("params._meta: {0} must be {1}")]
    Malformed(&'static str, &'static str),
    /// It is there twice, or in another case.
    #[error("params._meta: {0} occurs twice, or in another upper or lower case")]
    Twice(&'static str),
    /// What is kept of it would be too much.
    #[error("params._meta: {info} and {capabilities} together must not be larger than 60 KiB", info = meta::CLIENT_INFO, capabilities = meta::CLIENT_CAPABILITIES)]
    TooLarge,
}

impl Envelope {
    /// Reads it.
    ///
    /// # Errors
    /// A required field is missing, or one is not what it has to be.
    pub fn read(message: &Message) -> Result<Self, EnvelopeError> {
        let object = object(message)?;
        let names = [meta::CLIENT_CAPABILITIES, meta::CLIENT_INFO, meta::LOG_LEVEL, PROGRESS_TOKEN];
        let [capabilities, client_info, level, token] = message.named(object, names).map_err(EnvelopeError::Twice)?;
        let kept = |name: &'static str, value: Option<Span>| -> Result<Option<Arc<str>>, EnvelopeError> {
            let Some(text) = value.map(|span| message.text(span)) else { return Ok(None) };
            if !text.starts_with('{') {
                return Err(EnvelopeError::Malformed(name, "an object"));
            }
            Ok(Some(text.into()))
        };
        let capabilities = kept(meta::CLIENT_CAPABILITIES, capabilities)?;
        let capabilities = capabilities.ok_or(EnvelopeError::Missing(meta::CLIENT_CAPABILITIES))?;
        let client_info = kept(meta::CLIENT_INFO, client_info)?;
        if capabilities.len() + client_info.as_ref().map_or(0, |info| info.len()) > KEPT_BYTES_MAX {
            return Err(EnvelopeError::TooLarge);
        }
        let level = match level {
            None => None,
            Some(span) => Some(
                decode_str(message.text(span))
                    .and_then(|name| LogLevel::from_name(&name))
                    .ok_or(EnvelopeError::Malformed(meta::LOG_LEVEL, "a log level"))?,
            ),
        };
        let token = token.map(|span| message.text(span));
        let token = token.filter(|text| text.len() <= ID_BYTES_MAX).map(RawId::from_json);
        Ok(Self { client_info, capabilities, level, token })
    }
}

/// The largest `clientInfo` and `clientCapabilities` together: an exchange keeps them, as the `initialize` they stand for,
/// of which a session takes 64 KiB.
const KEPT_BYTES_MAX: usize = 60 * 1024;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::jsonrpc::DEPTH_MAX;

    fn message(meta: &str) -> Message {
        let text = format!(r#"{{"jsonrpc":"2.0","id":1,"method":"m","params":{{"_meta":{meta}}}}}"#);
        Message::parse(text.into(), DEPTH_MAX).expect("a message")
    }

    fn read(meta: &str) -> Result<Envelope, EnvelopeError> {
        Envelope::read(&message(meta))
    }

    const VERSION: &str = r#""io.modelcontextprotocol/protocolVersion":"2026-07-28""#;
    const CAPABILITIES: &str = r#""io.modelcontextprotocol/clientCapabilities":{"sampling": {}}"#;

    // spec: 2026-07-28 basic/index, `_meta`: protocolVersion and clientCapabilities are required
    #[test]
    fn required_fields_are_required_and_the_others_are_not() {
        let envelope = read(&format!("{{{VERSION},{CAPABILITIES}}}")).expect("complete");
        assert_eq!(&*envelope.capabilities, r#"{"sampling": {}}"#);
        assert_eq!((envelope.client_info, envelope.level, envelope.token), (None, None, None));
        let level = r#""io.modelcontextprotocol/logLevel":"error","progressToken":1e2"#;
        let envelope = read(&format!("{{{VERSION},{CAPABILITIES},{level}}}")).expect("complete");
        assert_eq!(envelope.level, Some(LogLevel::Error));
        assert_eq!(envelope.token, Some(RawId::from_json("1e2")));
        assert_eq!(read(&format!("{{{VERSION}}}")), Err(EnvelopeError::Missing(meta::CLIENT_CAPABILITIES)));
        for wrong in [r#""io.modelcontextprotocol/logLevel":"loud""#, r#""io.modelcontextprotocol/clientInfo":"x""#] {
            let read = read(&format!("{{{VERSION},{CAPABILITIES},{wrong}}}"));
            assert!(matches!(read, Err(EnvelopeError::Malformed(..))), "{wrong}");
        }
    }

    // spec: 2026-07-28 basic/index, `_meta`: another revision may have other fields
    #[test]
    fn version_is_read_before_anything_else() {
        let version = |meta: &str| version(&message(meta)).map(Cow::into_owned);
        assert_eq!(version(&format!("{{{VERSION}}}")), Ok("2026-07-28".to_owned()));
        for missing in ["{}", "7"] {
            assert_eq!(version(missing), Err(EnvelopeError::Missing(meta::PROTOCOL_VERSION)));
        }
        assert_eq!(version(&format!("{{{VERSION},{VERSION}}}")), Err(EnvelopeError::Twice(meta::PROTOCOL_VERSION)));
        let number = version(r#"{"io.modelcontextprotocol/protocolVersion":7}"#);
        assert_eq!(number, Err(EnvelopeError::Malformed(meta::PROTOCOL_VERSION, "a string")));
    }

    #[test]
    fn what_is_kept_has_one_limit() {
        let padded = |name: &str, bytes: usize| format!(r#""{name}":{{"x":"{}"}}"#, "x".repeat(bytes - 8));
        let of = |info, capabilities| {
            let (info, capabilities) =
                (padded(meta::CLIENT_INFO, info), padded(meta::CLIENT_CAPABILITIES, capabilities));
            read(&format!("{{{VERSION},{info},{capabilities}}}")).map(drop)
        };
        assert_eq!(of(30 * 1024, 30 * 1024), Ok(()));
        let refused = of(30 * 1024, 30 * 1024 + 1).expect_err("too large");
        assert!(refused.to_string().contains("clientInfo and io.modelcontextprotocol/clientCapabilities"), "{refused}");
    }

    #[test]
    fn modern_is_what_has_the_key() {
        let of = |params: &str| {
            let text = format!(r#"{{"jsonrpc":"2.0","id":1,"method":"m"{params}}}"#);
            is_modern(&Message::parse(text.into(), DEPTH_MAX).expect("a message"))
        };
        assert!(of(&format!(r#","params":{{"_meta":{{{VERSION}}}}}"#)));
        assert!(!of("") && !of(r#","params":{}"#) && !of(r#","params":{"_meta":{"progressToken":1}}"#));
    }
}
