//! JSON-RPC messages as bytes: an envelope found in one pass, and edits spliced in on the way out.
//!
//! A [`Message`] is one valid, single-line JSON-RPC message together with the places of its envelope's members. Its
//! payload is never decoded into a tree. A [`Frame`] is a message on its way out: the same bytes with a few places
//! replaced (an id, a progress token), put together only where they are written.
//!
//! Spec: 2025-11-25, Base Protocol, Messages.

#[cfg(test)]
pub(crate) mod arbitrary;
mod frame;
mod pieces;
mod salvage;
mod scan;
#[cfg(test)]
mod tests;

use std::borrow::Cow;
use std::fmt;

use bytes::Bytes;
use bytestring::ByteString;
use compact_str::CompactString;
use smallvec::{SmallVec, smallvec};

pub use frame::{Frame, error_response, notification, request, result_response};
pub use pieces::Pieces;
pub use salvage::SalvageId;

use crate::mcp::ids::Param;

/// The deepest nesting taken from a client, unless told otherwise. Beyond it common servers' JSON parsers overflow or refuse (200 in
/// pydantic's, 128 in `serde_json`, the interpreter's stack elsewhere).
pub const DEPTH_MAX: usize = 128;
/// The longest id taken from a client.
pub const ID_BYTES_MAX: usize = 4096;
/// The most messages taken in one batch, unless told otherwise: each costs a few hundred bytes here, however few it has on the wire.
pub const BATCH_MAX: usize = 1024;

/// A place in a message: the bytes from `start` up to, not including, `end`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span {
    /// The first byte.
    pub start: usize,
    /// One past the last byte.
    pub end: usize,
}

/// An id or a token exactly as its sender spelled it: the JSON text of a string or a number (`1`, `"1"`, `1e2`).
/// Two spellings are two ids.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RawId(CompactString);

impl RawId {
    /// An id from JSON text that is known to be a string or a number.
    pub fn from_json(text: &str) -> Self {
        Self(text.into())
    }

    /// The JSON text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for RawId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// What a message is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// `method` and `id`.
    Request,
    /// `method` and no `id`.
    Notification,
    /// `id` and `result`.
    Result,
    /// `id` and `error` (or `error` alone, which answers nothing).
    Error,
}

/// One valid JSON-RPC message in one line of UTF-8.
///
/// Invariants, all proved by [`Message::parse`]: the bytes are valid JSON and UTF-8, contain no line break, and are an
/// object whose envelope is well-formed: `jsonrpc` is `"2.0"`, no member of the envelope and none of [`Param`] occurs
/// twice (an escaped spelling of a name counts as that name) or in another case (`ID`, which some servers' JSON libraries
/// take for `id`), `params` is an object where it is present.
#[derive(Clone, Debug)]
pub struct Message(Box<Parts>);

/// What a message consists of. In a box, because messages are handed on often and looked at seldom.
#[derive(Clone, Debug)]
struct Parts {
    text: ByteString,
    kind: Kind,
    id: Option<Span>,
    method: Option<Method>,
    params: Option<Span>,
    null_params: bool,
    param: [Option<Span>; Param::COUNT],
    result: Option<Span>,
    error: Option<Span>,
}

/// The method, decoded.
#[derive(Clone, Debug)]
enum Method {
    /// As it is spelled here.
    At(Span),
    /// It is spelled with escapes.
    Decoded(Box<str>),
}

/// What a body holds.
#[derive(Clone, Debug)]
pub enum Body {
    /// One message.
    Single(Message),
    /// The elements of a batch (a JSON array), one at least. Each is parsed on its own: one that
    /// is not a message, or is too deep, is an error in its own place, and the others stand.
    Batch(Vec<Result<Message, ParseError>>),
}

/// Parses a body that may be a batch, of `batch_max` messages at most. The elements share its buffer; the limit of depth
/// counts within each.
///
/// # Errors
/// The body is not JSON, or not a message, or a batch of none or too many.
pub fn parse_body(bytes: Bytes, depth_max: usize, batch_max: usize) -> Result<Body, ParseError> {
    scan::body(bytes, depth_max, batch_max)
}

/// Why bytes are not a message.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ParseError {
    /// Not UTF-8.
    #[error("not valid UTF-8 at byte {0}")]
    Utf8(usize),
    /// Not JSON.
    #[error("not valid JSON at byte {at}: {what}")]
    Json {
        /// Offset of the offending byte.
        at: usize,
        /// What was expected or found there.
        what: &'static str,
    },
    /// Nested deeper than the limit.
    #[error("nested deeper than {0} levels")]
    Depth(usize),
    /// A batch of more messages than the limit.
    #[error("a batch must not contain more than {0} messages")]
    BatchLength(usize),
    /// The id is longer than [`ID_BYTES_MAX`].
    #[error("`id` must not be longer than {ID_BYTES_MAX} bytes")]
    IdLength,
    /// JSON, but not a JSON-RPC message.
    #[error("{what}")]
    Envelope {
        /// Which member is wrong, and what would be right.
        what: &'static str,
        /// The id to answer with, where there is a usable one. A response (`result` or `error` without `method`) has
        /// none: nothing answers it, and its id is not the sender's own. [`SalvageId`] finds that.
        id: Option<RawId>,
    },
    /// A JSON array where one message was expected.
    #[error("a batch (JSON array) is not allowed here: JSON-RPC batches exist only in revision 2025-03-26")]
    Batch,
}

impl Message {
    /// Parses one message.
    ///
    /// White space around it is cut off, line breaks between tokens become spaces (inside strings JSON cannot have
    /// them); every other byte stays. Takes the buffer over; copies it only where a line break has to be blanked and the
    /// buffer is shared.
    ///
    /// # Errors
    /// Nothing is lost by an error: `bytes` is a cheap clone for the caller to keep. (A clone kept while it parses is a
    /// buffer that is shared.)
    pub fn parse(bytes: Bytes, depth_max: usize) -> Result<Self, ParseError> {
        scan::message(bytes, depth_max)
    }

    /// Finds a message at the end of a line that starts with something else: what a server prints without a line break
    /// stands in front of its next message. Only a message that reaches to the end of the line counts; the first 16
    /// places where one could start are tried.
    pub fn find_trailing(line: &Bytes, depth_max: usize) -> Option<Self> {
        scan::trailing(line, depth_max)
    }

    /// What it is.
    pub const fn kind(&self) -> Kind {
        self.0.kind
    }

    /// The whole message.
    pub fn bytes(&self) -> &Bytes {
        self.0.text.as_bytes()
    }

    /// The method of a request or notification, decoded; empty for responses.
    pub fn method(&self) -> &str {
        match &self.0.method {
            Some(Method::At(span)) => self.text(*span),
            Some(Method::Decoded(method)) => method,
            None => "",
        }
    }

    /// The id's place.
    pub const fn id_span(&self) -> Option<Span> {
        self.0.id
    }

    /// The id as spelled.
    pub fn id(&self) -> Option<RawId> {
        self.0.id.map(|span| RawId::from_json(self.text(span)))
    }

    /// The id of a response as the unsigned integer that mcp-mux gave out; none if it is anything else.
    pub fn id_as_u64(&self) -> Option<u64> {
        self.text(self.0.id?).parse().ok()
    }

    /// The place of `params`, an object.
    pub const fn params(&self) -> Option<Span> {
        self.0.params
    }

    /// Whether `params` is there but `null`: as good as none, though no valid JSON-RPC.
    pub const fn has_null_params(&self) -> bool {
        self.0.null_params
    }

    /// The place of `result`.
    pub const fn result(&self) -> Option<Span> {
        self.0.result
    }

    /// The place of `error`.
    pub const fn error(&self) -> Option<Span> {
        self.0.error
    }

    /// The place of a member of `params`.
    pub fn param(&self, param: Param) -> Option<Span> {
        self.0.param.get(param as usize).copied().flatten()
    }

    /// A member of `params` decoded, where it is a JSON string.
    pub fn param_str(&self, param: Param) -> Option<Cow<'_, str>> {
        decode_str(self.text(self.param(param)?))
    }

    /// The place of the value of a member of the object at `object`; none if it is absent, or `object` is not an
    /// object. An escaped spelling of the name counts. A name that occurs twice, or in another case, gives [`Duplicate`],
    /// since two parsers may differ over which one counts.
    ///
    /// # Errors
    /// [`Duplicate`].
    pub fn member(&self, object: Span, name: &str) -> Result<Option<Span>, Duplicate> {
        let [found] = self.named(object, [name]).map_err(|_| Duplicate)?;
        Ok(found)
    }

    /// Members of the object at `object` by their names, in one pass.
    ///
    /// # Errors
    /// The first name that occurs twice, or in another case.
    pub fn named<'a, const COUNT: usize>(
        &self,
        object: Span,
        names: [&'a str; COUNT],
    ) -> Result<[Option<Span>; COUNT], &'a str> {
        let mut found = [None; COUNT];
        scan::named(self.bytes(), object, &names, &mut found)?;
        Ok(found)
    }

    /// The values of those members of the object at `object` that have one of these names, in order.
    ///
    /// # Errors
    /// [`Duplicate`].
    pub fn values(&self, object: Span, names: &[&str]) -> Result<SmallVec<[Span; 8]>, Duplicate> {
        let mut found: SmallVec<[Option<Span>; 8]> = smallvec![None; names.len()];
        scan::named(self.bytes(), object, names, &mut found).map_err(|_| Duplicate)?;
        let mut values: SmallVec<_> = found.into_iter().flatten().collect();
        values.sort_unstable_by_key(|span: &Span| span.start);
        Ok(values)
    }

    /// All members of the object at `object`, in order; none if it is no object.
    pub fn members(&self, object: Span) -> Vec<Member> {
        scan::members(self.bytes(), object)
    }

    /// The places of the elements of the array at `array`, in order; none if it is no array.
    pub fn elements(&self, array: Span) -> impl Iterator<Item = Span> {
        scan::elements(self.bytes(), array)
    }

    /// Whether this member bears that name, be it with escapes, or in another upper or lower case.
    pub fn is_named(&self, member: Member, name: &str) -> bool {
        let spelled = self.text(member.name).as_bytes();
        let spelled = spelled.get(1..spelled.len().saturating_sub(1)).unwrap_or_default();
        scan::Name::new(spelled).spelling_of(name) != scan::Spelling::Other
    }

    /// The JSON text at a place of this message.
    pub fn text(&self, span: Span) -> &str {
        self.0.text.get(span.start..span.end).unwrap_or("")
    }
}

/// A member of an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Member {
    /// Where its name is, with the quotes.
    pub name: Span,
    /// Where its value is.
    pub value: Span,
}

/// A name that occurs twice in an object where it must not, or in another upper or lower case.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a member occurs twice, or in another upper or lower case")]
pub struct Duplicate;

/// A JSON string's value; none if the text is not a JSON string.
pub fn decode_str(text: &str) -> Option<Cow<'_, str>> {
    let inner = text.strip_prefix('"')?.strip_suffix('"')?;
    if inner.contains('\\') { serde_json::from_str(text).ok().map(Cow::Owned) } else { Some(Cow::Borrowed(inner)) }
}
