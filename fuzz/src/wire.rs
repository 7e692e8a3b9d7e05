//! Bytes against the JSON-RPC parser: what is accepted is exactly what is a message, and comes out byte for byte.

use bytes::Bytes;
use mcp_mux::jsonrpc::{
    self, BATCH_MAX, Body, DEPTH_MAX, Frame, Kind, Message, ParseError, RawId, SalvageId, Span, error_response,
    result_response,
};
use mcp_mux::mcp::ids::Param;
use serde_json::json;

use super::judge::{Expected, Members, SPACE, Verdict, elements, is_json, judge};

/// The input is what a client posts, and what a child writes.
pub fn run(data: &[u8]) {
    let bytes = Bytes::copy_from_slice(data);
    let message = Message::parse(bytes.clone(), DEPTH_MAX);
    check(data, &message);
    check_salvage(data, message.as_ref().ok());
    check_body(data, &message, jsonrpc::parse_body(bytes.clone(), DEPTH_MAX, BATCH_MAX));
    for line in data.split(|byte| *byte == b'\n') {
        if let Some(found) = Message::find_trailing(&Bytes::copy_from_slice(line), DEPTH_MAX) {
            let blanked: Vec<u8> = line.iter().map(|byte| if *byte == b'\r' { b' ' } else { *byte }).collect();
            assert!(blanked.trim_ascii_end().ends_with(found.bytes()), "not the end of its line");
            check(&found.bytes().clone(), &Ok(found));
        }
    }
}

/// A message or an error is what the judge says.
fn check(data: &[u8], parsed: &Result<Message, ParseError>) {
    match (judge(data, DEPTH_MAX), parsed) {
        (Verdict::NotJson, Err(ParseError::Json { .. } | ParseError::Utf8(_) | ParseError::Depth(_))) => {}
        (Verdict::TooDeep, Err(ParseError::Depth(_))) => {}
        (Verdict::Invalid(_), Err(ParseError::Batch)) => assert!(is_array(data)),
        (Verdict::Invalid(id), Err(ParseError::IdLength)) => assert_eq!(id, None),
        (Verdict::Invalid(id), Err(ParseError::Envelope { id: named, .. })) => {
            assert_eq!(id, named.as_ref().map(RawId::as_str));
        }
        (Verdict::Message(expected), Ok(message)) => {
            assert_is(message, &expected);
            let text = String::from_utf8_lossy(data);
            let one_line = text.trim_matches(SPACE).replace(['\n', '\r'], " ");
            assert_eq!(text_of(message), one_line, "not byte for byte");
            check_outputs(message);
        }
        (Verdict::NotJson, parsed) => panic!("not JSON, but {parsed:?}"),
        (Verdict::TooDeep, parsed) => panic!("too deep, but {parsed:?}"),
        (Verdict::Invalid(_), parsed) => panic!("not a message, but {parsed:?}"),
        (Verdict::Message(_), parsed) => panic!("a message, but {parsed:?}"),
    }
}

fn assert_is(message: &Message, expected: &Expected<'_>) {
    let blank = |text: &str| text.replace(['\n', '\r'], " ");
    let at = |span: Option<Span>| span.map(|span| message.text(span).to_owned());
    assert_eq!(message.kind(), expected.kind);
    assert_eq!(message.id().as_ref().map(RawId::as_str), expected.id);
    assert_eq!(message.method(), expected.method);
    assert_eq!(message.has_null_params(), expected.null_params);
    for (found, expected) in [
        (message.id_span(), expected.id),
        (message.params(), expected.params),
        (message.result(), expected.result),
        (message.error(), expected.error),
    ] {
        assert_eq!(at(found), expected.map(blank));
    }
    for (param, expected) in Param::ALL.into_iter().zip(&expected.param) {
        assert_eq!(at(message.param(param)), expected.map(blank), "{param:?}");
        let decoded = expected.and_then(|text| serde_json::from_str::<String>(text).ok());
        assert_eq!(message.param_str(param).as_deref(), decoded.as_deref(), "{param:?}");
    }
    for object in [message.params(), message.result(), message.error()].into_iter().flatten() {
        check_members(message, object);
    }
}

fn check_members(message: &Message, object: Span) {
    let members = message.members(object);
    let found: Vec<_> = members.iter().map(|member| (message.text(member.name), message.text(member.value))).collect();
    let expected = Members::of(message.text(object)).map_or_else(Vec::new, |members| members.0);
    let expected: Vec<_> = expected.iter().map(|(name, _, value)| (*name, *value)).collect();
    assert_eq!(found, expected);
}

/// What is written for a message is one line of valid JSON, and differs from it only where it is to.
fn check_outputs(message: &Message) {
    let again = Message::parse(message.bytes().clone(), DEPTH_MAX);
    let again = again.unwrap_or_else(|error| panic!("not a message any more: {error}"));
    assert_eq!(again.bytes(), message.bytes());

    let frame = Frame::new(message.bytes().clone());
    let Some(id) = message.id_span() else { return check_line(&frame, message.bytes()) };
    let given = "18446744073709551615";
    let frame = frame.replace(id, given);
    let text = text_of(message);
    let expected = [&text[..id.start], given, &text[id.end..]].concat();
    check_line(&frame, expected.as_bytes());
    let rewritten = Message::parse(frame.into_bytes(), DEPTH_MAX).unwrap_or_else(|error| panic!("{error}"));
    assert_eq!((rewritten.kind(), rewritten.method()), (message.kind(), message.method()));
    assert_eq!(rewritten.id().as_ref().map(RawId::as_str), Some(given));
    assert_eq!(rewritten.id_as_u64(), Some(u64::MAX));

    let Some(id) = message.id() else { panic!("a place of an id without one") };
    let payload = message.result().or_else(|| message.params()).map_or("{}", |span| message.text(span));
    let error = json!({"code": -1, "message": message.method()});
    for (frame, kind) in
        [(result_response(&id, payload), Kind::Result), (error_response(Some(&id), &error), Kind::Error)]
    {
        let response = Message::parse(frame.into_bytes(), DEPTH_MAX).unwrap_or_else(|error| panic!("{error}"));
        assert_eq!((response.kind(), response.id()), (kind, Some(id.clone())));
    }
}

fn check_line(frame: &Frame, expected: &[u8]) {
    assert_eq!(frame.len(), expected.len());
    let line = frame.clone().into_bytes();
    assert_eq!(line, expected);
    assert!(is_json(&line) && !line.contains(&b'\n') && !line.contains(&b'\r'), "not one line of JSON");
    let mut pieces = frame.clone().into_pieces();
    let mut whole = Vec::new();
    while let Some(piece) = pieces.take() {
        whole.extend_from_slice(&piece);
    }
    assert_eq!(whole, line);
}

/// The id of a response is found as well in pieces, and it is that of the message where there is one.
fn check_salvage(data: &[u8], message: Option<&Message>) {
    let salvage = |size: usize| {
        let mut salvage = SalvageId::default();
        data.chunks(size.max(1)).for_each(|chunk| salvage.feed(chunk));
        salvage.id()
    };
    let whole = salvage(data.len());
    assert_eq!((salvage(1), salvage(7)), (whole, whole), "it depends on the pieces");
    if let Some(message) = message {
        let is_response = matches!(message.kind(), Kind::Result | Kind::Error);
        assert_eq!(whole, message.id_as_u64().filter(|_| is_response));
    }
}

/// A body is a message, or a batch of what its elements are alone.
fn check_body(data: &[u8], message: &Result<Message, ParseError>, body: Result<Body, ParseError>) {
    if !is_array(data) {
        return match (message, body) {
            (Ok(message), Ok(Body::Single(body))) => assert_eq!(message.bytes(), body.bytes()),
            (Err(error), Err(other)) => assert_eq!(*error, other),
            (message, body) => panic!("{message:?} alone, {body:?} as a body"),
        };
    }
    let Some(elements) = std::str::from_utf8(data).ok().and_then(elements) else {
        return assert!(body.is_err(), "not JSON, but {body:?}");
    };
    match body {
        Ok(Body::Batch(found)) => {
            assert!((1..=BATCH_MAX).contains(&elements.len()));
            assert_eq!(found.len(), elements.len());
            elements.iter().zip(&found).for_each(|(element, found)| check(element.as_bytes(), found));
        }
        Ok(Body::Single(message)) => panic!("an array, but {message:?}"),
        Err(error) => assert!(elements.is_empty() || elements.len() > BATCH_MAX, "{error}"),
    }
}

/// Whether it would be an array if it were JSON.
fn is_array(data: &[u8]) -> bool {
    data.iter().find(|byte| !b" \t\n\r".contains(byte)) == Some(&b'[')
}

fn text_of(message: &Message) -> &str {
    std::str::from_utf8(message.bytes()).unwrap_or_else(|error| panic!("{error}"))
}
