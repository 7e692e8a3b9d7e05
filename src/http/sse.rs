//! Events as bytes.
//!
//! Pure. A message is one line ([`Frame`]s contain no line break), so it is one `data` field; a short one is
//! copied once, into the chunk that goes out, a long one is a chunk of its own.
//!
//! Spec: the WHATWG's Server-sent events, 9.2.5 Parsing; 2025-11-25, Transports, Sending Messages to the Server 6.

use compact_str::{CompactString, format_compact};

use crate::jsonrpc::{Frame, Pieces};
use crate::session::EventId;

/// How long a client is asked to wait before it reconnects to a broken stream, in milliseconds (`retry`).
const RETRY_MS: u64 = 1000;

/// A comment: it keeps the connection alive and means nothing.
pub const KEEP_ALIVE: &[u8] = b": keep-alive\n\n";

/// Appends a message.
pub fn message(out: &mut Pieces, id: Option<EventId>, frame: &Frame) {
    let id = id.map_or_else(CompactString::default, |id| format_compact!("id: {id}\n"));
    out.reserve(id.len() + MESSAGE_HEAD.len() + frame.copied_len() + END.len());
    out.put(id.as_bytes());
    out.put(MESSAGE_HEAD);
    frame.write_pieces(out);
    out.put(END);
}

/// Appends the priming event of a stream: its id, so that the client can resume before the first message came; how
/// long to wait before it does; and no data.
pub fn priming(out: &mut Pieces, id: EventId) {
    out.put(format!("id: {id}\nretry: {RETRY_MS}\ndata: \n\n").as_bytes());
}

/// Appends the event that tells a client of HTTP+SSE where to post.
pub fn endpoint(out: &mut Pieces, url: &str) {
    out.put(b"event: endpoint\ndata: ");
    out.put(url.as_bytes());
    out.put(END);
}

const MESSAGE_HEAD: &[u8] = b"event: message\ndata: ";
const END: &[u8] = b"\n\n";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::router::StreamId;

    fn written(write: impl FnOnce(&mut Pieces)) -> String {
        let mut out = Pieces::new();
        write(&mut out);
        let pieces: Vec<_> = std::iter::from_fn(|| out.take()).collect();
        String::from_utf8(pieces.concat()).expect("text")
    }

    #[test]
    fn events_look_like_this() {
        let frame = Frame::new("{\"a\": 1}".into());
        let id = EventId { stream: StreamId(3), number: 7 };
        assert_eq!(written(|out| message(out, None, &frame)), "event: message\ndata: {\"a\": 1}\n\n");
        assert_eq!(written(|out| message(out, Some(id), &frame)), "id: 3-7\nevent: message\ndata: {\"a\": 1}\n\n");
        assert_eq!(written(|out| endpoint(out, "/m?sessionId=x")), "event: endpoint\ndata: /m?sessionId=x\n\n");
    }

    // spec: 2025-11-25 basic/transports, Sending Messages to the Server 6
    #[test]
    fn priming_event_has_an_id_and_retry_and_empty_data() {
        let id = EventId { stream: StreamId(3), number: 0 };
        assert_eq!(written(|out| priming(out, id)), "id: 3-0\nretry: 1000\ndata: \n\n");
    }
}
