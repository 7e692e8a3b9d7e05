//! Members put into an object and taken out of it, with everything else left as it is spelled.

use crate::jsonrpc::{Duplicate, Frame, Message, Span};

/// Puts members (JSON text without braces, not empty) at the beginning of the object at `object`.
#[must_use]
pub fn insert(frame: Frame, message: &Message, object: Span, members: &str) -> Frame {
    let at = Span { start: object.start + 1, end: object.start + 1 };
    let inner = Span { start: at.start, end: object.end.saturating_sub(1) };
    let separator = if message.text(inner).trim_ascii().is_empty() { "" } else { "," };
    frame.replace(at, format!("{members}{separator}"))
}

/// Where these members of the object at `object` are, with the commas that go with them: ascending, not overlapping.
///
/// # Errors
/// One of them occurs twice.
pub fn extents(message: &Message, object: Span, names: &[&str]) -> Result<Vec<Span>, Duplicate> {
    let mut runs: Vec<Span> = Vec::new();
    for value in message.values(object, names)? {
        let span = extent(message.bytes(), value);
        match runs.last_mut() {
            Some(run) if run.end == span.start => run.end = span.end,
            Some(_) | None => runs.push(span),
        }
    }
    // What stands before a run at the end of the object has lost what its comma was for.
    if let Some(run) = runs.last_mut()
        && let Some(before) = message.bytes().get(..run.start)
        && message.bytes().get(run.end..).is_some_and(|rest| rest.trim_ascii_start().first() == Some(&b'}'))
    {
        let before = before.trim_ascii_end();
        if before.last() == Some(&b',') {
            run.start = before.len() - 1;
        }
    }
    Ok(runs)
}

/// Takes members out of the object at `object`.
///
/// # Errors
/// One of them occurs twice.
pub fn remove(frame: Frame, message: &Message, object: Span, names: &[&str]) -> Result<Frame, Duplicate> {
    Ok(extents(message, object, names)?.into_iter().fold(frame, |frame, span| frame.replace(span, "")))
}

/// From a member's name up to the next member's, or to the end of its value if it is the last.
fn extent(bytes: &[u8], value: Span) -> Span {
    let before = bytes.get(..value.start).unwrap_or_default().trim_ascii_end();
    let name = before.strip_suffix(b":").unwrap_or(before).trim_ascii_end();
    let name = name.strip_suffix(b"\"").unwrap_or(name);
    let after = bytes.get(value.end..).unwrap_or_default();
    let rest = after.trim_ascii_start();
    let end = match rest.strip_prefix(b",") {
        Some(next) => bytes.len() - next.trim_ascii_start().len(),
        None => value.end,
    };
    Span { start: opening_quote(name), end }
}

/// Where the string starts that `text` ends in the middle of: at the last quote that is not escaped.
fn opening_quote(text: &[u8]) -> usize {
    let mut end = text.len();
    while let Some(at) = text.get(..end).and_then(|text| text.iter().rposition(|byte| *byte == b'"')) {
        let slashes = text.get(..at).unwrap_or_default().iter().rev().take_while(|byte| **byte == b'\\').count();
        if slashes % 2 == 0 {
            return at;
        }
        end = at;
    }
    0
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::jsonrpc::DEPTH_MAX;

    fn message(params: &str) -> Message {
        let text = format!(r#"{{"jsonrpc":"2.0","method":"m","params":{params}}}"#);
        Message::parse(text.into(), DEPTH_MAX).expect("a message")
    }

    fn params_of(frame: Frame) -> String {
        let bytes: Bytes = frame.into_bytes();
        let message = Message::parse(bytes, DEPTH_MAX).expect("still a message");
        message.text(message.params().expect("params")).to_owned()
    }

    #[test]
    fn members_go_in_at_the_beginning() {
        for (params, expected) in [("{}", r#"{"x":1}"#), ("{ }", r#"{"x":1 }"#), (r#"{"a":2}"#, r#"{"x":1,"a":2}"#)] {
            let message = message(params);
            let span = message.params().expect("params");
            assert_eq!(params_of(insert(Frame::new(message.bytes().clone()), &message, span, r#""x":1"#)), expected);
        }
    }

    #[test]
    fn members_go_out_with_their_commas_and_nothing_else() {
        for (params, expected) in [
            (r#"{"a":1}"#, "{}"),
            (r#"{"a":1,"b":2}"#, "{}"),
            (r#"{ "a" : 1 , "x" : 1e2 , "b" : [2] }"#, r#"{ "x" : 1e2  }"#),
            (r#"{"x":"}","a":{"y":","},"b":2}"#, r#"{"x":"}"}"#),
            (r#"{"b":2,"x":0}"#, r#"{"x":0}"#),
            (r#"{"x":0,"a":1,"y":0,"b":2,"z":0}"#, r#"{"x":0,"y":0,"z":0}"#),
            (r#"{"x\"a":0,"a":1}"#, r#"{"x\"a":0}"#),
            (r#"{"\u0061":"\\","x\\":"\""}"#, r#"{"x\\":"\""}"#),
            (r#"{"x":{"a":1}}"#, r#"{"x":{"a":1}}"#),
        ] {
            let message = message(params);
            let span = message.params().expect("params");
            let frame = Frame::new(message.bytes().clone());
            assert_eq!(params_of(remove(frame, &message, span, &["b", "a"]).expect("once")), expected, "{params}");
        }
    }
}
