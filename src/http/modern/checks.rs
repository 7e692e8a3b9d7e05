//! The headers of a modern request against its body.
//!
//! Spec: 2026-07-28, Streamable HTTP, Request Metadata, Server Validation.

use std::borrow::Cow;

use http::{HeaderMap, HeaderValue};
use serde_json::Value;

use super::fault::Fault;
use crate::era::annotations::{self, Annotation};
use crate::era::envelope::Envelope;
use crate::era::headers::{decode, name_source, text_param};
use crate::jsonrpc::Message;
use crate::mcp::{MODERN_REVISION, header};

/// Checks everything that can be checked without knowing the child.
///
/// # Errors
/// What does not hold.
pub(super) fn standard(headers: &HeaderMap, message: &Message, envelope: &Envelope) -> Result<(), Fault> {
    same(headers, header::PROTOCOL_VERSION, &envelope.version)?;
    if envelope.version != MODERN_REVISION {
        return Err(Fault::Version(envelope.version.clone()));
    }
    same(headers, header::METHOD, message.method())?;
    let Some(source) = name_source(message.method()) else { return Ok(()) };
    let (given, body) = (only(headers, header::NAME)?, text_param(message, source));
    match (given, body) {
        (Some(given), Some(body)) => {
            let given = decode(given).map_err(|error| Fault::Header(format!("{} is {error}", header::NAME)))?;
            if given == body { Ok(()) } else { Err(differs(header::NAME)) }
        }
        (None, Some(_)) => Err(Fault::Header(format!("{} is missing", header::NAME))),
        (Some(_), None) => Err(differs(header::NAME)),
        // What the method itself requires, the server says.
        (None, None) => Ok(()),
    }
}

fn same(headers: &HeaderMap, name: &'static str, body: &str) -> Result<(), Fault> {
    let given = only(headers, name)?.ok_or_else(|| Fault::Header(format!("{name} is missing")))?;
    if given == body { Ok(()) } else { Err(differs(name)) }
}

fn differs(name: &str) -> Fault {
    Fault::Header(format!("{name} does not match the body"))
}

/// The header's one value, without blanks around it.
fn only<'a>(headers: &'a HeaderMap, name: &str) -> Result<Option<&'a str>, Fault> {
    let mut values = headers.get_all(name).iter();
    let Some(value) = values.next() else { return Ok(None) };
    if values.next().is_some() {
        return Err(Fault::Header(format!("{name} is there more than once")));
    }
    text(value).map(Some).ok_or_else(|| Fault::Header(format!("{name} has invalid characters")))
}

fn text(value: &HeaderValue) -> Option<&str> {
    value.to_str().ok().map(|text| text.trim_matches([' ', '\t']))
}

/// Checks the headers that repeat a tool's arguments.
///
/// # Errors
/// The first that does not match.
pub(super) fn arguments(headers: &HeaderMap, message: &Message, annotations: &[Annotation]) -> Result<(), Fault> {
    if annotations.is_empty() {
        return Ok(());
    }
    let arguments = message.params().and_then(|params| message.member(params, "arguments").ok().flatten());
    let arguments: Value = arguments.and_then(|span| serde_json::from_str(message.text(span)).ok()).unwrap_or_default();
    for annotation in annotations {
        let name = format!("{}{}", header::PARAM_PREFIX, annotation.header);
        let given: Option<Cow<'_, str>> = only(headers, &name)?.map(Cow::Borrowed);
        annotations::check(annotation, &arguments, given.as_deref())
            .map_err(|what| Fault::Header(format!("{name} {what}")))?;
    }
    Ok(())
}
