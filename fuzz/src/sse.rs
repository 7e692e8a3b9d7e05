//! Events as they are encoded, and as any client decodes them; event ids as they are read.
//!
//! | line | |
//! |---|---|
//! | `m<id> <message>` | a message with that event id, or with none |
//! | `l<id> <n>` | a message of about n kB |
//! | `p<id>` | the priming event |
//! | `e<url>` | the event that says where to post |
//! | `k` | a keep-alive comment |
//! | `i<text>` | an event id to be read |

use bytes::Bytes;
use mcp_mux::http::sse;
use mcp_mux::jsonrpc::{DEPTH_MAX, Frame, Message, Pieces};
use mcp_mux::session::EventId;

use super::events::{Event, decode};
use super::input::lines;

/// The input is a list of events.
pub fn run(data: &[u8]) {
    let mut out = Pieces::new();
    let mut expected = Vec::new();
    let (mut last_id, mut comments, mut primed) = (String::new(), 0, 0);
    for mut line in lines(data, 256) {
        match line.next() {
            b'm' => {
                let id = read_id(line.word());
                let Ok(message) = Message::parse(Bytes::copy_from_slice(line.rest()), DEPTH_MAX) else { continue };
                let frame = Frame::new(message.bytes().clone());
                let frame = match message.id_span() {
                    Some(span) => frame.replace(span, "\"an id\""),
                    None => frame,
                };
                expected.push(put(&mut out, id, &frame, &mut last_id));
            }
            b'l' => {
                let id = read_id(line.word());
                let long = "x".repeat(1000 * line.below(64));
                let text = format!(r#"{{"jsonrpc":"2.0","method":"{long}"}}"#);
                expected.push(put(&mut out, id, &Frame::new(text.into()), &mut last_id));
            }
            b'p' => {
                let Some(id) = read_id(line.rest()) else { continue };
                sse::priming(&mut out, id);
                last_id = id.to_string();
                primed += 1;
                expected.push(Event { id: last_id.clone(), ..Event::default() });
            }
            b'e' => {
                let url = line.text();
                // A fragment is no part of what is parsed.
                if !url.contains('#') && url.parse::<http::Uri>().is_ok() {
                    sse::endpoint(&mut out, &url);
                    expected.push(Event { id: last_id.clone(), kind: "endpoint".to_owned(), data: url });
                }
            }
            b'k' => {
                out.put(sse::KEEP_ALIVE);
                comments += 1;
            }
            b'i' => drop(read_id(line.rest())),
            _ => {}
        }
    }
    let length = out.len();
    let mut bytes = Vec::new();
    while let Some(piece) = out.take() {
        assert!(!piece.is_empty(), "an empty chunk would end a response");
        bytes.extend_from_slice(&piece);
    }
    assert_eq!(bytes.len(), length);
    let text = String::from_utf8(bytes).unwrap_or_else(|error| panic!("{error}"));
    let decoded = decode(&text);
    assert_eq!(decoded.events, expected);
    assert_eq!((decoded.comments, decoded.retries_ms.len()), (comments, primed));
    assert!(decoded.ignored.is_empty() && !decoded.unfinished, "{decoded:?}");
}

fn put(out: &mut Pieces, id: Option<EventId>, frame: &Frame, last_id: &mut String) -> Event {
    sse::message(out, id, frame);
    if let Some(id) = id {
        *last_id = id.to_string();
    }
    let data = String::from_utf8(frame.clone().into_bytes().to_vec()).unwrap_or_else(|error| panic!("{error}"));
    Event { id: last_id.clone(), kind: "message".to_owned(), data }
}

/// As `Last-Event-ID` is read: two numbers in their one spelling, or nothing.
fn read_id(text: &[u8]) -> Option<EventId> {
    let text = std::str::from_utf8(text).ok()?;
    let read = text.parse::<EventId>().ok();
    let numbers: Vec<Option<u64>> = text.split('-').map(|number| number.parse().ok()).collect();
    let spelled_so = |stream: u64, number: u64| format!("{stream}-{number}") == text;
    match (read, numbers.as_slice()) {
        (Some(id), [Some(stream), Some(number)]) => {
            assert_eq!((id.stream.0, id.number, id.to_string()), (*stream, *number, text.to_owned()));
        }
        (None, [Some(stream), Some(number)]) => assert!(!spelled_so(*stream, *number), "{text} is an event id"),
        (None, _) => {}
        (Some(id), _) => panic!("{text} is no event id, but {id:?}"),
    }
    read
}
