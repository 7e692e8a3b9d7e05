//! Where a trace goes on: what a client says of its own span. What is not as it should be is as if it was not there.
//!
//! Spec: W3C Trace Context, 3.2 and 3.3; MCP 2026-07-28 basic, `_meta`, OpenTelemetry trace context.

use std::borrow::Cow;

use http::HeaderMap;
use opentelemetry::trace::{SpanContext, SpanId, TraceFlags, TraceId, TraceState};

use crate::jsonrpc::{Message, decode_str};
use crate::mcp::ids::Param;

const PARENT: &str = "traceparent";
const STATE: &str = "tracestate";

/// What the headers of a request say.
pub(super) fn of_headers(headers: &HeaderMap) -> Option<SpanContext> {
    let mut parents = headers.get_all(PARENT).iter();
    let parent = parents.next().filter(|_| parents.next().is_none())?.to_str().ok()?;
    let states: Option<Vec<&str>> = headers.get_all(STATE).iter().map(|state| state.to_str().ok()).collect();
    of(parent, states.as_deref().map(|states| states.join(",")).as_deref())
}

/// What `_meta` of a message says.
pub(super) fn of_message(message: &Message) -> Option<SpanContext> {
    let meta = message.param(Param::Meta)?;
    let text = |name| -> Option<Cow<'_, str>> { decode_str(message.text(message.member(meta, name).ok().flatten()?)) };
    of(&text(PARENT)?, text(STATE).as_deref())
}

fn of(parent: &str, state: Option<&str>) -> Option<SpanContext> {
    let parent = parent.trim_matches([' ', '\t']);
    // Those of later versions may go on behind what is known.
    let (known, more) = parent.split_at_checked(PARENT_BYTES)?;
    let mut parts = known.split('-');
    let (version, trace, span, flags) = (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
    let is_well_formed = [(version, 2), (trace, 32), (span, 16), (flags, 2)].into_iter().all(|(part, length)| {
        part.len() == length && part.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
    });
    let may_go_on = more.is_empty() || (version != "00" && more.starts_with('-'));
    if !is_well_formed || !may_go_on || version == "ff" {
        return None;
    }
    let flags = TraceFlags::new(u8::from_str_radix(flags, 16).ok()?) & TraceFlags::SAMPLED;
    let state = state.filter(|state| state.len() <= STATE_BYTES_MAX).and_then(|state| state.parse::<TraceState>().ok());
    let (trace, span) = (TraceId::from_hex(trace).ok()?, SpanId::from_hex(span).ok()?);
    Some(SpanContext::new(trace, span, flags, true, state.unwrap_or_default())).filter(SpanContext::is_valid)
}

const PARENT_BYTES: usize = 55;
/// What everybody has to pass on (3.3.1.5).
const STATE_BYTES_MAX: usize = 512;

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use http::{HeaderName, HeaderValue};

    use super::*;

    const GOOD: &str = "00-0af7651916cd43dd8448eb211c80319c-00f067aa0ba902b7-01";

    fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
        let pair = |(name, value): &(&'static str, &str)| {
            (HeaderName::from_static(name), HeaderValue::from_str(value).unwrap())
        };
        pairs.iter().map(pair).collect()
    }

    fn message(meta: &str) -> Message {
        let text = format!(r#"{{"jsonrpc":"2.0","id":1,"method":"tools/list","params":{{"_meta":{meta}}}}}"#);
        Message::parse(Bytes::from(text), 16).unwrap()
    }

    #[test]
    fn a_context_is_read_from_headers_and_from_meta() {
        let said =
            of_headers(&headers(&[("traceparent", GOOD), ("tracestate", "a=1"), ("tracestate", "b=2")])).unwrap();
        assert_eq!(said.trace_id().to_string(), "0af7651916cd43dd8448eb211c80319c");
        assert_eq!(said.span_id().to_string(), "00f067aa0ba902b7");
        assert!(said.is_sampled() && said.is_remote());
        assert_eq!(said.trace_state().header(), "a=1,b=2");
        let meta = format!(r#"{{"progressToken":1,"traceparent":"{GOOD}","tracestate":"a=1,b=2"}}"#);
        assert_eq!(of_message(&message(&meta)), Some(said));
        let off = GOOD.replace("-01", "-00");
        assert!(!of(&off, None).unwrap().is_sampled());
    }

    // spec: W3C Trace Context, 3.2.2.1: a later version is read as far as it is known.
    #[test]
    fn what_is_not_as_it_should_be_is_as_if_it_was_not_there() {
        assert!(of(&GOOD.replacen("00", "cc", 1), None).is_some());
        assert!(of(&format!("{}-more", GOOD.replacen("00", "cc", 1)), None).is_some());
        for wrong in [
            "",
            "00",
            "é",
            GOOD.get(1..).unwrap(),
            &GOOD.to_uppercase(),
            &format!("{GOOD}-more"),
            &format!("{}more", GOOD.replacen("00", "cc", 1)),
            &GOOD.replacen("00", "ff", 1),
            &GOOD.replace('-', "_"),
            &GOOD.replace("0af7651916cd43dd8448eb211c80319c", &"0".repeat(32)),
            &GOOD.replace("00f067aa0ba902b7", &"0".repeat(16)),
            &GOOD.replace("0af7", "+af7"),
            &format!("{}é{}", GOOD.get(..54).unwrap(), "0"),
        ] {
            assert_eq!(of(wrong, None), None, "{wrong}");
        }
        assert_eq!(of_headers(&headers(&[("traceparent", GOOD), ("traceparent", GOOD)])), None);
        assert_eq!(of_headers(&headers(&[("tracestate", "a=1")])), None);
        for meta in [
            "{}",
            r#"{"traceparent":1}"#,
            r#"{"traceparent":null}"#,
            &format!(r#"{{"traceparent":"{GOOD}","traceparent":"{GOOD}"}}"#),
        ] {
            assert_eq!(of_message(&message(meta)), None, "{meta}");
        }
        // The state alone is left out.
        for state in ["no pair", &"a".repeat(513)] {
            assert_eq!(of(GOOD, Some(state)), of(GOOD, None), "{state}");
        }
    }
}
