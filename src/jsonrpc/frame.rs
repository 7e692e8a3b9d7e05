//! A message on its way out: bytes with a few places replaced, put together only where they are written.

use bytes::{BufMut, Bytes, BytesMut};
use compact_str::CompactString;
use serde_json::Value;
use smallvec::SmallVec;

use super::pieces::{Pieces, SHARED_BYTES_MIN};
use super::{RawId, Span};

/// A message on its way out.
#[derive(Clone, Debug)]
pub struct Frame {
    source: Bytes,
    /// In ascending order of their places, which do not overlap. Mostly an id, and perhaps a token.
    edits: SmallVec<[(Span, CompactString); 2]>,
}

impl Frame {
    /// The bytes as they are.
    pub const fn new(source: Bytes) -> Self {
        Self { source, edits: SmallVec::new_const() }
    }

    /// Replaces what is at `span` by `text` (JSON text). Places may be given in any order and must not overlap.
    #[must_use]
    pub fn replace(mut self, span: Span, text: impl Into<CompactString>) -> Self {
        // What goes in at a place goes in before what replaces the text there.
        let at = self.edits.partition_point(|(other, _)| (other.start, other.end) < (span.start, span.end));
        self.edits.insert(at, (span, text.into()));
        self
    }

    /// The bytes as they were before anything was replaced.
    pub fn source(&self) -> &[u8] {
        &self.source
    }

    /// What was put in the place of the value of a member with this name, wherever that is in the message.
    pub fn replaced_member(&self, name: &str) -> Option<&str> {
        let of_that_name = |span: &Span| {
            let before = self.source.get(..span.start)?.trim_ascii_end().strip_suffix(b":")?.trim_ascii_end();
            before.strip_suffix(b"\"")?.strip_suffix(name.as_bytes())?.strip_suffix(b"\"")
        };
        self.edits.iter().find(|(span, _)| of_that_name(span).is_some()).map(|(_, text)| text.as_str())
    }

    /// How many bytes it has.
    pub fn len(&self) -> usize {
        self.edits
            .iter()
            .fold(self.source.len(), |len, (span, text)| (len + text.len()).saturating_sub(span.end - span.start))
    }

    /// Whether it has none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Appends it to a buffer.
    pub fn write_to(&self, out: &mut impl BufMut) {
        let mut from = 0;
        for (span, text) in &self.edits {
            out.put_slice(self.source.get(from..span.start).unwrap_or_default());
            out.put_slice(text.as_bytes());
            from = span.end;
        }
        out.put_slice(self.source.get(from..).unwrap_or_default());
    }

    /// Appends it to pieces; long stretches of it are shared.
    pub fn write_pieces(&self, out: &mut Pieces) {
        let mut from = 0;
        for (span, text) in &self.edits {
            out.put_shared(self.source.slice(from..span.start.max(from)));
            out.put(text.as_bytes());
            from = span.end;
        }
        out.put_shared(self.source.slice(from..));
    }

    /// About how much of it [`Frame::write_pieces`] copies.
    pub fn copied_len(&self) -> usize {
        if self.source.len() < SHARED_BYTES_MIN { self.len() } else { ENVELOPE_BYTES }
    }

    /// As it goes out: in one piece if it is short, else without a copy of its long stretches.
    pub fn into_pieces(self) -> Pieces {
        if self.source.len() < SHARED_BYTES_MIN {
            return self.into_bytes().into();
        }
        let mut out = Pieces::new();
        self.write_pieces(&mut out);
        out
    }

    /// Puts it together. Free where nothing is replaced.
    pub fn into_bytes(self) -> Bytes {
        if self.edits.is_empty() {
            return self.source;
        }
        let mut out = BytesMut::with_capacity(self.len());
        self.write_to(&mut out);
        out.freeze()
    }
}

/// More than stands around the payload of nearly all long messages.
const ENVELOPE_BYTES: usize = 128;

/// `{"jsonrpc":"2.0","id":…,"method":…,"params":…}`; `params` is JSON text.
pub fn request(id: &str, method: &str, params: Option<&str>) -> Frame {
    let params = params.map_or_else(String::new, |params| format!(r#","params":{params}"#));
    Frame::new(format!(r#"{{"jsonrpc":"2.0","id":{id},"method":"{method}"{params}}}"#).into())
}

/// `{"jsonrpc":"2.0","method":…,"params":…}`; `params` is JSON text.
pub fn notification(method: &str, params: Option<&str>) -> Frame {
    let params = params.map_or_else(String::new, |params| format!(r#","params":{params}"#));
    Frame::new(format!(r#"{{"jsonrpc":"2.0","method":"{method}"{params}}}"#).into())
}

/// `{"jsonrpc":"2.0","id":…,"result":…}`; `result` is JSON text.
pub fn result_response(id: &RawId, result: &str) -> Frame {
    Frame::new(format!(r#"{{"jsonrpc":"2.0","id":{},"result":{result}}}"#, id.as_str()).into())
}

/// `{"jsonrpc":"2.0","id":…,"error":…}`. Without an id the member is left out (2025-11-25, Transports: "a JSON-RPC error
/// response that has no `id`").
pub fn error_response(id: Option<&RawId>, error: &Value) -> Frame {
    let id = id.map_or_else(String::new, |id| format!(r#""id":{},"#, id.as_str()));
    Frame::new(format!(r#"{{"jsonrpc":"2.0",{id}"error":{error}}}"#).into())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;
    use crate::jsonrpc::{DEPTH_MAX, Kind, Message};

    proptest! {
        #[test]
        fn edits_in_any_order_change_their_places_and_nothing_else(
            parts in prop::collection::vec(("[a-z]{0,6}", "[A-Z]{1,6}", "[0-9]{0,6}", any::<u32>()), 0..6),
            tail in prop_oneof![4 => "[a-z]{0,6}".boxed(), 1 => Just("x".repeat(SHARED_BYTES_MIN)).boxed()],
        ) {
            let (mut source, mut expected, mut edits) = (String::new(), String::new(), Vec::new());
            for (kept, replaced, replacement, order) in parts {
                source += &kept;
                let start = source.len();
                source += &replaced;
                edits.push((order, Span { start, end: source.len() }, replacement.clone()));
                expected = expected + &kept + &replacement;
            }
            source += &tail;
            expected += &tail;
            edits.sort_by_key(|edit| edit.0);
            let frame = edits.into_iter().fold(Frame::new(source.into()), |frame, (_, span, text)| frame.replace(span, text));
            prop_assert_eq!(frame.len(), expected.len());
            prop_assert_eq!(frame.is_empty(), expected.is_empty());
            let mut written = Vec::new();
            frame.write_to(&mut written);
            prop_assert_eq!(&written, expected.as_bytes());
            let mut pieces = frame.clone().into_pieces();
            let pieces: Vec<_> = std::iter::from_fn(|| pieces.take()).collect();
            prop_assert_eq!(pieces.concat(), expected.as_bytes());
            prop_assert_eq!(frame.into_bytes(), expected);
        }
    }

    #[test]
    fn what_goes_in_at_a_place_goes_in_before_what_is_replaced_there() {
        let (at, replaced) = (Span { start: 1, end: 1 }, Span { start: 1, end: 2 });
        let frame = || Frame::new(Bytes::from_static(b"abc"));
        for frame in [frame().replace(at, "1").replace(replaced, "2"), frame().replace(replaced, "2").replace(at, "1")]
        {
            let mut pieces = Pieces::new();
            frame.write_pieces(&mut pieces);
            assert_eq!(pieces.take().as_deref(), Some(&b"a12c"[..]));
            assert_eq!(frame.into_bytes(), "a12c");
        }
    }

    #[test]
    fn a_replaced_member_is_found_by_its_name_without_a_look_at_the_rest() {
        let source = Bytes::from_static(b"{\"result\": [],  \"id\" : 7, not even JSON");
        let frame = Frame::new(source);
        assert_eq!(frame.replaced_member("id"), None);
        let frame = frame.replace(Span { start: 23, end: 24 }, "\"a\"").replace(Span { start: 11, end: 13 }, "[1]");
        assert_eq!((frame.replaced_member("id"), frame.replaced_member("result")), (Some("\"a\""), Some("[1]")));
        assert_eq!((frame.replaced_member("d"), frame.replaced_member("x")), (None, None));
    }

    #[test]
    fn a_frame_without_edits_is_its_source() {
        let source = Bytes::from(vec![b'x'; 100]);
        assert_eq!(Frame::new(source.clone()).into_bytes().as_ptr(), source.as_ptr());
    }

    #[test]
    fn built_messages_are_messages() {
        let id = RawId::from_json("\"a\\n\"");
        let error = json!({"code": -32600, "message": "no \"such\"\nthing"});
        for (frame, kind, expected_id) in [
            (request("7", "ping", None), Kind::Request, Some("7")),
            (request("7", "ping", Some(r#"{"a":1}"#)), Kind::Request, Some("7")),
            (notification("notifications/x", None), Kind::Notification, None),
            (notification("notifications/x", Some("{}")), Kind::Notification, None),
            (result_response(&id, "{}"), Kind::Result, Some(id.as_str())),
            (error_response(Some(&id), &error), Kind::Error, Some(id.as_str())),
            (error_response(None, &error), Kind::Error, None),
        ] {
            let message = Message::parse(frame.into_bytes(), DEPTH_MAX).expect("valid");
            assert_eq!(message.kind(), kind);
            assert_eq!(message.id().as_ref().map(RawId::as_str), expected_id);
        }
    }
}
