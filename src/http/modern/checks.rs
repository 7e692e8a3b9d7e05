//! The headers of a modern request against its body.
//!
//! Spec: 2026-07-28, Streamable HTTP, Request Metadata, Server Validation.

use http::{HeaderMap, HeaderValue};

use super::fault::Fault;
use crate::era::annotations::{self, Annotation};
use crate::era::envelope;
use crate::era::headers::{decode, name_source, text_param};
use crate::jsonrpc::Message;
use crate::mcp::{MODERN_REVISION, header};

/// Checks that the request is of a revision that is served. To be called first: what a request has to look like, its
/// revision says.
///
/// # Errors
/// It does not say so, or not in one voice, or it is of another one.
pub(super) fn version(headers: &HeaderMap, message: &Message) -> Result<(), Fault> {
    let version = envelope::version(message)?;
    same(headers, header::PROTOCOL_VERSION, &version)?;
    if version == MODERN_REVISION { Ok(()) } else { Err(Fault::Version(version.into_owned())) }
}

/// Checks everything else that can be checked without knowing the child.
///
/// # Errors
/// What does not hold.
pub(super) fn standard(headers: &HeaderMap, message: &Message) -> Result<(), Fault> {
    same(headers, header::METHOD, message.method())?;
    let Some(source) = name_source(message.method()) else { return Ok(()) };
    let body = text_param(message, source)
        .map_err(|error| Fault::Header(format!("{} cannot be compared: params.{source} {error}", header::NAME)))?;
    let given = only(headers, header::NAME)?;
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
    let arguments = match message.params().map(|params| message.member(params, "arguments")) {
        Some(Err(_)) => {
            let what = format!("{}* cannot be compared: params.arguments occurs twice", header::PARAM_PREFIX);
            return Err(Fault::Header(what));
        }
        Some(Ok(arguments)) => arguments,
        None => None,
    };
    for annotation in annotations {
        let name = format!("{}{}", header::PARAM_PREFIX, annotation.header);
        annotations::check(annotation, message, arguments, only(headers, &name)?)
            .map_err(|what| Fault::Header(format!("{name} {what}")))?;
    }
    Ok(())
}
