//! What a modern request says of itself in `params._meta`.
//!
//! Spec: 2026-07-28, Overview, `_meta`, Per-request protocol fields.

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

/// The metadata of one request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Envelope {
    /// `protocolVersion`.
    pub version: String,
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
}

impl Envelope {
    /// Reads it.
    ///
    /// # Errors
    /// A required field is missing, or one is not what it has to be.
    pub fn read(message: &Message) -> Result<Self, EnvelopeError> {
        let object = message.param(Param::Meta).filter(|span| message.text(*span).starts_with('{'));
        let object = object.ok_or(EnvelopeError::Missing(meta::PROTOCOL_VERSION))?;
        let member = |name: &'static str| -> Result<Option<Span>, EnvelopeError> {
            message.member(object, name).map_err(|_| EnvelopeError::Twice(name))
        };
        let kept = |name: &'static str| -> Result<Option<Arc<str>>, EnvelopeError> {
            let Some(text) = member(name)?.map(|span| message.text(span)) else { return Ok(None) };
            if !text.starts_with('{') {
                return Err(EnvelopeError::Malformed(name, "an object"));
            }
            if text.len() > KEPT_BYTES_MAX {
                return Err(EnvelopeError::Malformed(name, "no larger than 64 KiB"));
            }
            Ok(Some(text.into()))
        };
        let version = member(meta::PROTOCOL_VERSION)?.ok_or(EnvelopeError::Missing(meta::PROTOCOL_VERSION))?;
        let version = decode_str(message.text(version))
            .ok_or(EnvelopeError::Malformed(meta::PROTOCOL_VERSION, "a string"))?
            .into_owned();
        let capabilities = kept(meta::CLIENT_CAPABILITIES)?.ok_or(EnvelopeError::Missing(meta::CLIENT_CAPABILITIES))?;
        let client_info = kept(meta::CLIENT_INFO)?;
        let level = match member(meta::LOG_LEVEL)? {
            None => None,
            Some(span) => Some(
                decode_str(message.text(span))
                    .and_then(|name| LogLevel::from_name(&name))
                    .ok_or(EnvelopeError::Malformed(meta::LOG_LEVEL, "a log level"))?,
            ),
        };
        let token = member(PROGRESS_TOKEN)?.map(|span| message.text(span));
        let token = token.filter(|text| text.len() <= ID_BYTES_MAX).map(RawId::from_json);
        Ok(Self { version, client_info, capabilities, level, token })
    }
}

/// The largest `clientInfo` and `clientCapabilities`: an exchange keeps them.
const KEPT_BYTES_MAX: usize = 64 * 1024;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::jsonrpc::DEPTH_MAX;

    fn read(meta: &str) -> Result<Envelope, EnvelopeError> {
        let text = format!(r#"{{"jsonrpc":"2.0","id":1,"method":"m","params":{{"_meta":{meta}}}}}"#);
        Envelope::read(&Message::parse(text.into(), DEPTH_MAX).expect("a message"))
    }

    const VERSION: &str = r#""io.modelcontextprotocol/protocolVersion":"2026-07-28""#;
    const CAPABILITIES: &str = r#""io.modelcontextprotocol/clientCapabilities":{"sampling": {}}"#;

    // spec: 2026-07-28 basic/index, `_meta`: protocolVersion and clientCapabilities are required
    #[test]
    fn required_fields_are_required_and_the_others_are_not() {
        let envelope = read(&format!("{{{VERSION},{CAPABILITIES}}}")).expect("complete");
        assert_eq!((&*envelope.version, &*envelope.capabilities), ("2026-07-28", r#"{"sampling": {}}"#));
        assert_eq!((envelope.client_info, envelope.level, envelope.token), (None, None, None));
        let level = r#""io.modelcontextprotocol/logLevel":"error","progressToken":1e2"#;
        let envelope = read(&format!("{{{VERSION},{CAPABILITIES},{level}}}")).expect("complete");
        assert_eq!(envelope.level, Some(LogLevel::Error));
        assert_eq!(envelope.token, Some(RawId::from_json("1e2")));
        assert_eq!(read("{}"), Err(EnvelopeError::Missing(meta::PROTOCOL_VERSION)));
        assert_eq!(read("7"), Err(EnvelopeError::Missing(meta::PROTOCOL_VERSION)));
        assert_eq!(read(&format!("{{{VERSION}}}")), Err(EnvelopeError::Missing(meta::CLIENT_CAPABILITIES)));
        assert_eq!(
            read(&format!("{{{VERSION},{VERSION},{CAPABILITIES}}}")),
            Err(EnvelopeError::Twice(meta::PROTOCOL_VERSION))
        );
        for wrong in [
            r#""io.modelcontextprotocol/protocolVersion":7"#,
            r#""io.modelcontextprotocol/protocolVersion":"v","io.modelcontextprotocol/clientCapabilities":[]"#,
        ] {
            assert!(matches!(read(&format!("{{{wrong}}}")), Err(EnvelopeError::Malformed(..))), "{wrong}");
        }
        for wrong in [r#""io.modelcontextprotocol/logLevel":"loud""#, r#""io.modelcontextprotocol/clientInfo":"x""#] {
            let read = read(&format!("{{{VERSION},{CAPABILITIES},{wrong}}}"));
            assert!(matches!(read, Err(EnvelopeError::Malformed(..))), "{wrong}");
        }
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
