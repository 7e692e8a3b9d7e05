//! From bytes to a [`Message`]: one pass that proves the bytes to be JSON and notes where the envelope's members are, then
//! the rules of the envelope. Separate from [`Message`] because only this may make one.
//!
//! Invariant: bytes that are not JSON are reported as that, whatever is wrong with the envelope besides.
//!
//! Spec: 2025-11-25, Base Protocol, Messages; 2025-03-26, Base Protocol, Batching; JSON-RPC 2.0, sections 4 to 6.

mod grammar;
mod names;

use std::borrow::Cow;

use bytes::{Bytes, BytesMut};
use bytestring::ByteString;

use self::grammar::{Cursor, Fault};
pub(super) use self::names::{Name, Spelling};
use super::{Body, ID_BYTES_MAX, Kind, Member, Message, Method, ParseError, Parts, RawId, Span, decode_str};
use crate::mcp::ids::Param;

/// What is wrong with an id that is; the error says how long it may be.
const ID_TOO_LONG: &str = "`id` is too long";

/// Each attempt may read the rest of the line, so that more of them would make a long line of noise expensive.
const TRAILING_ATTEMPTS_MAX: usize = 16;

pub(super) fn message(bytes: Bytes, depth_max: usize) -> Result<Message, ParseError> {
    let text = utf8(bytes)?;
    let mut cursor = Cursor::new(text.as_bytes(), depth_max);
    let element = Element::read(&mut cursor).and_then(|element| cursor.end().map(|()| element));
    let element = element.map_err(|fault| parse_error(&cursor, fault, depth_max))?;
    element.into_message(text)
}

pub(super) fn body(bytes: Bytes, depth_max: usize, batch_max: usize) -> Result<Body, ParseError> {
    let mut cursor = Cursor::new(&bytes, depth_max);
    cursor.whitespace();
    if cursor.peek() != Some(b'[') {
        return message(bytes, depth_max).map(Body::Single);
    }
    let text = utf8(bytes)?;
    let mut cursor = Cursor::new(text.as_bytes(), depth_max);
    cursor.whitespace();
    let elements = read_batch(&mut cursor, depth_max, batch_max);
    let elements = elements.map_err(|fault| parse_error(&cursor, fault, depth_max))?;
    if elements.is_empty() {
        return Err(ParseError::Envelope { what: "a batch must contain a message", id: None });
    }
    if elements.len() > batch_max {
        return Err(ParseError::BatchLength(batch_max));
    }
    // Blanked before it is cut, so that the elements share one buffer.
    let text = one_line(text);
    let parse = |element: Result<Element, ParseError>| element.and_then(|element| element.into_message(text.clone()));
    Ok(Body::Batch(elements.into_iter().map(parse).collect()))
}

/// An object's members by their names, each in its place in `found`. The object is known to be valid; of anything else
/// nothing is found. An error is the first name that occurs twice, or in another case.
pub(super) fn named<'a>(
    bytes: &[u8],
    object: Span,
    names: &[&'a str],
    found: &mut [Option<Span>],
) -> Result<(), &'a str> {
    let mut cursor = Cursor::new(bytes.get(object.start..object.end).unwrap_or_default(), usize::MAX);
    let mut next = cursor.open_object();
    while let Ok(Some(spelled)) = next {
        let Ok(value) = read_span(&mut cursor, 0, Cursor::skip) else { break };
        let value = Span { start: object.start + value.start, end: object.start + value.end };
        let spelled = Name::new(spelled);
        for (name, found) in names.iter().zip(&mut *found).filter(|(name, _)| spelled.may_be(name)) {
            match spelled.spelling_of(name) {
                Spelling::Same if found.is_none() => *found = Some(value),
                Spelling::Same | Spelling::Lookalike => return Err(name),
                Spelling::Other => {}
            }
        }
        next = cursor.next_member();
    }
    Ok(())
}

/// All members of an object, in order. The object is known to be valid; anything else has none.
pub(super) fn members(bytes: &[u8], object: Span) -> Vec<Member> {
    let bytes = bytes.get(object.start..object.end).unwrap_or_default();
    let mut cursor = Cursor::new(bytes, usize::MAX);
    let (mut found, mut from) = (Vec::new(), 0);
    let mut next = cursor.open_object();
    while let Ok(Some(spelled)) = next {
        // Between members there is white space and a comma at most.
        let Some(quote) = bytes.get(from..).and_then(|rest| memchr::memchr(b'"', rest)) else { break };
        let start = object.start + from + quote;
        let Ok(value) = read_span(&mut cursor, 0, Cursor::skip) else { break };
        let name = Span { start, end: start + spelled.len() + 2 };
        found.push(Member { name, value: Span { start: object.start + value.start, end: object.start + value.end } });
        from = value.end;
        next = cursor.next_member();
    }
    found
}

/// The elements of an array, in order. The array is known to be valid; anything else has none.
pub(super) fn elements(bytes: &[u8], array: Span) -> impl Iterator<Item = Span> {
    let mut cursor = Cursor::new(bytes.get(array.start..array.end).unwrap_or_default(), usize::MAX);
    let mut is_first = true;
    std::iter::from_fn(move || {
        let more = if std::mem::take(&mut is_first) { cursor.open_array() } else { cursor.next_element() };
        let element = more.ok().filter(|more| *more).and_then(|_| read_span(&mut cursor, 0, Cursor::skip).ok())?;
        Some(Span { start: array.start + element.start, end: array.start + element.end })
    })
}

/// A message at the end of a line that starts with something else.
pub(super) fn trailing(line: &Bytes, depth_max: usize) -> Option<Message> {
    memchr::memchr_iter(b'{', line)
        .filter(|start| line.get(start + 1..).is_some_and(starts_envelope))
        .take(TRAILING_ATTEMPTS_MAX)
        .find_map(|start| message(line.slice(start..), depth_max).ok())
}

/// Whether what is behind a `{` is the name of one of the envelope's members.
fn starts_envelope(bytes: &[u8]) -> bool {
    let Some(name) = bytes.trim_ascii_start().strip_prefix(b"\"") else { return false };
    Field::ALL
        .iter()
        .any(|field| name.strip_prefix(field.name().as_bytes()).is_some_and(|rest| rest.starts_with(b"\"")))
}

/// A JSON value that may be a message, and where its members are: places within the value.
struct Element {
    whole: Span,
    shape: Shape,
    fields: [Option<Span>; Field::COUNT],
    param: [Option<Span>; Param::COUNT],
    /// A member that is not unique: the id, or else the first.
    flaw: Option<Flaw>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Shape {
    Object,
    Array,
    Scalar,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Flaw {
    Field(Field),
    Param(Param),
}

impl Element {
    /// Reads one value, and notes what is needed of it if it is an object.
    fn read(cursor: &mut Cursor<'_>) -> Result<Self, Fault> {
        cursor.whitespace();
        let start = cursor.position();
        let whole = Span { start, end: start };
        let (fields, param) = ([None; Field::COUNT], [None; Param::COUNT]);
        let mut element = Self { whole, shape: Shape::Object, fields, param, flaw: None };
        match cursor.peek() {
            Some(b'{') => element.read_members(cursor)?,
            first => {
                element.shape = if first == Some(b'[') { Shape::Array } else { Shape::Scalar };
                cursor.value()?;
            }
        }
        element.whole.end = cursor.position();
        Ok(element)
    }

    fn read_members(&mut self, cursor: &mut Cursor<'_>) -> Result<(), Fault> {
        let start = self.whole.start;
        let mut next = cursor.open_object()?;
        while let Some(spelled) = next {
            let field = find(spelled, &Field::ALL, Field::name);
            cursor.whitespace();
            let value = if matches!(field, Some((Field::Params, _))) && cursor.peek() == Some(b'{') {
                read_span(cursor, start, |cursor| self.read_params(cursor))?
            } else {
                read_span(cursor, start, Cursor::value)?
            };
            if let Some((field, spelling)) = field
                && !note(&mut self.fields, field as usize, spelling, value)
            {
                // The id goes before all others: with two of them there is none to answer with.
                let earlier = self.flaw.filter(|_| field != Field::Id);
                self.flaw = earlier.or(Some(Flaw::Field(field)));
            }
            next = cursor.next_member()?;
        }
        Ok(())
    }

    fn read_params(&mut self, cursor: &mut Cursor<'_>) -> Result<(), Fault> {
        let mut next = cursor.open_object()?;
        while let Some(spelled) = next {
            let value = read_span(cursor, self.whole.start, Cursor::value)?;
            if let Some((param, spelling)) = find(spelled, &Param::ALL, Param::name)
                && (spelling == Spelling::Same || param.names_something())
                && !note(&mut self.param, param as usize, spelling, value)
            {
                self.flaw.get_or_insert(Flaw::Param(param));
            }
            next = cursor.next_member()?;
        }
        Ok(())
    }

    /// Checks the envelope, and cuts the message out of the text that it was read from.
    fn into_message(self, text: ByteString) -> Result<Message, ParseError> {
        let text = cut(text, self.whole);
        if self.shape == Shape::Array {
            return Err(ParseError::Batch);
        }
        let id = self.id(&text);
        let (kind, method) = self.check(&text, id).map_err(|what| {
            if what == ID_TOO_LONG {
                return ParseError::IdLength;
            }
            // An error that bears the id of a response would be taken for the answer to another request.
            let answerable = self.field(Field::Method).is_some() || !self.is_response();
            let id = id.ok().flatten().filter(|_| answerable && !matches!(self.flaw, Some(Flaw::Field(Field::Id))));
            ParseError::Envelope { what, id: id.map(|span| RawId::from_json(at(&text, span))) }
        })?;
        Ok(Message(Box::new(Parts {
            kind,
            id: id.ok().flatten(),
            method,
            params: self.field(Field::Params).filter(|span| first(&text, *span) == Some(b'{')),
            null_params: self.field(Field::Params).is_some_and(|span| first(&text, span) == Some(b'n')),
            param: self.param,
            result: self.field(Field::Result),
            error: self.field(Field::Error),
            text: one_line(text),
        })))
    }

    fn field(&self, field: Field) -> Option<Span> {
        self.fields.get(field as usize).copied().flatten()
    }

    fn is_response(&self) -> bool {
        self.field(Field::Result).is_some() || self.field(Field::Error).is_some()
    }

    /// The id; none if there is none, or it is the `null` of an error that answers nothing.
    fn id(&self, text: &str) -> Result<Option<Span>, &'static str> {
        let Some(span) = self.field(Field::Id) else { return Ok(None) };
        let answers_nothing =
            [Field::Method, Field::Result].iter().all(|field| self.field(*field).is_none()) && self.is_response();
        match first(text, span) {
            Some(b'"' | b'-' | b'0'..=b'9') if span.end - span.start > ID_BYTES_MAX => Err(ID_TOO_LONG),
            Some(b'"' | b'-' | b'0'..=b'9') => Ok(Some(span)),
            Some(b'n') if answers_nothing => Ok(None),
            Some(b'n') => Err("`id` must not be null; it must be a string or a number"),
            _ => Err("`id` must be a string or a number"),
        }
    }

    /// The rules of the envelope.
    fn check(
        &self,
        text: &str,
        id: Result<Option<Span>, &'static str>,
    ) -> Result<(Kind, Option<Method>), &'static str> {
        if self.shape != Shape::Object {
            return Err("a message must be a JSON object");
        }
        if let Some(flaw) = self.flaw {
            return Err(flaw.what());
        }
        let jsonrpc = self.field(Field::Jsonrpc).and_then(|span| decode_str(at(text, span)));
        if jsonrpc.as_deref() != Some("2.0") {
            return Err("`jsonrpc` must be the string \"2.0\"");
        }
        let id = id?;
        // Serialisers that know no absence write `null`.
        if self.field(Field::Params).is_some_and(|span| !matches!(first(text, span), Some(b'{' | b'n'))) {
            return Err("`params` must be an object");
        }
        match (self.field(Field::Method), self.field(Field::Result), self.field(Field::Error)) {
            (Some(method), None, None) => {
                let decoded = decode_str(at(text, method)).ok_or("`method` must be a string of Unicode characters")?;
                let method = match decoded {
                    Cow::Borrowed(_) => Method::At(Span { start: method.start + 1, end: method.end - 1 }),
                    Cow::Owned(decoded) => Method::Decoded(decoded.into()),
                };
                let kind = if id.is_some() { Kind::Request } else { Kind::Notification };
                Ok((kind, Some(method)))
            }
            (None, Some(_), None) if id.is_none() => Err("a `result` must have the `id` of its request"),
            (None, Some(_), None) => Ok((Kind::Result, None)),
            (None, None, Some(error)) if first(text, error) != Some(b'{') => Err("`error` must be an object"),
            (None, None, Some(_)) => Ok((Kind::Error, None)),
            (None, None, None) => Err("a message must have `method`, `result` or `error`"),
            _ => Err("a message must have only one of `method`, `result` and `error`"),
        }
    }
}

/// The elements of the array that starts here; one that is too deep is an error in its own place. Gives up behind
/// `batch_max + 1` of them, which is one too many whatever follows.
fn read_batch(
    cursor: &mut Cursor<'_>,
    depth_max: usize,
    batch_max: usize,
) -> Result<Vec<Result<Element, ParseError>>, Fault> {
    let mut elements = Vec::new();
    let mut more = cursor.open_array()?;
    while more && elements.len() <= batch_max {
        let mut ahead = cursor.restart(depth_max);
        let mut element = Element::read(&mut ahead).map(Ok);
        if matches!(element, Err(Fault::Depth)) {
            ahead = cursor.restart(usize::MAX);
            element = ahead.value().map(|()| Err(ParseError::Depth(depth_max)));
        }
        *cursor = ahead;
        elements.push(element?);
        more = cursor.next_element()?;
    }
    if !more {
        cursor.end()?;
    }
    Ok(elements)
}

/// What `read` moves over, as a place counted from `origin`.
fn read_span<'a>(
    cursor: &mut Cursor<'a>,
    origin: usize,
    read: impl FnOnce(&mut Cursor<'a>) -> Result<(), Fault>,
) -> Result<Span, Fault> {
    cursor.whitespace();
    let start = cursor.position() - origin;
    read(cursor)?;
    Ok(Span { start, end: cursor.position() - origin })
}

/// Which of `known` this name is, or looks like.
#[inline]
fn find<T: Copy>(spelled: &[u8], known: &[T], name: impl Fn(T) -> &'static str) -> Option<(T, Spelling)> {
    let spelled = Name::new(spelled);
    let may_be = |known: &&T| spelled.may_be(name(**known));
    let mut known = known.iter().filter(may_be).map(|known| (*known, spelled.spelling_of(name(*known))));
    known.find(|(_, found)| *found != Spelling::Other)
}

/// Notes a member's place. Gives whether it was the first of its name.
fn note(places: &mut [Option<Span>], index: usize, spelling: Spelling, value: Span) -> bool {
    match places.get_mut(index) {
        Some(place @ None) if spelling == Spelling::Same => {
            *place = Some(value);
            true
        }
        _ => false,
    }
}

fn utf8(bytes: Bytes) -> Result<ByteString, ParseError> {
    ByteString::try_from(bytes).map_err(|error| ParseError::Utf8(error.valid_up_to()))
}

/// What is at `span`: the same buffer, and nobody else's where it was so before.
fn cut(text: ByteString, span: Span) -> ByteString {
    if (span.start, span.end) == (0, text.len()) {
        return text;
    }
    text.slice_ref(at(&text, span))
}

fn parse_error(cursor: &Cursor<'_>, fault: Fault, depth_max: usize) -> ParseError {
    if fault == Fault::Depth {
        return ParseError::Depth(depth_max);
    }
    ParseError::Json { at: cursor.position(), what: fault.what() }
}

/// Blanks line breaks. The bytes are JSON, so that each stands between tokens; in a string they would be a fault.
fn one_line(text: ByteString) -> ByteString {
    if memchr::memchr2(b'\n', b'\r', text.as_bytes()).is_none() {
        return text;
    }
    let mut bytes = text.into_bytes().try_into_mut().unwrap_or_else(|shared| BytesMut::from(shared.as_ref()));
    for byte in bytes.iter_mut() {
        *byte = if matches!(byte, b'\n' | b'\r') { b' ' } else { *byte };
    }
    // Spaces for line breaks leave it text.
    ByteString::try_from(bytes.freeze()).unwrap_or_default()
}

fn at(text: &str, span: Span) -> &str {
    text.get(span.start..span.end).unwrap_or_default()
}

fn first(text: &str, span: Span) -> Option<u8> {
    text.as_bytes().get(span.start).copied()
}

/// The envelope's members, as indexes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(usize)]
enum Field {
    Jsonrpc,
    Id,
    Method,
    Params,
    Result,
    Error,
}

impl Field {
    const COUNT: usize = 6;
    const ALL: [Self; Self::COUNT] = [Self::Jsonrpc, Self::Id, Self::Method, Self::Params, Self::Result, Self::Error];

    const fn name(self) -> &'static str {
        match self {
            Self::Jsonrpc => "jsonrpc",
            Self::Id => "id",
            Self::Method => "method",
            Self::Params => "params",
            Self::Result => "result",
            Self::Error => "error",
        }
    }
}

impl Flaw {
    const fn what(self) -> &'static str {
        macro_rules! once {
            ($name:literal) => {
                concat!("`", $name, "` must occur only once, and in no other upper or lower case")
            };
        }
        match self {
            Self::Field(Field::Jsonrpc) => once!("jsonrpc"),
            Self::Field(Field::Id) => once!("id"),
            Self::Field(Field::Method) => once!("method"),
            Self::Field(Field::Params) => once!("params"),
            Self::Field(Field::Result) => once!("result"),
            Self::Field(Field::Error) => once!("error"),
            Self::Param(Param::Meta) => once!("params._meta"),
            Self::Param(Param::ProgressToken) => once!("params.progressToken"),
            Self::Param(Param::RequestId) => once!("params.requestId"),
            Self::Param(Param::Uri) => once!("params.uri"),
            Self::Param(Param::Level) => once!("params.level"),
            Self::Param(Param::TaskId) => once!("params.taskId"),
            Self::Param(Param::Task) => once!("params.task"),
            Self::Param(Param::Mode) => once!("params.mode"),
            Self::Param(Param::ElicitationId) => once!("params.elicitationId"),
            Self::Param(Param::ProtocolVersion) => once!("params.protocolVersion"),
            Self::Param(Param::Status) => once!("params.status"),
        }
    }
}
