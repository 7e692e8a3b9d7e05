//! How many messages one core reads, routes and writes a second, and how many allocations each of them costs: the wire
//! ([`jsonrpc`](mcp_mux::jsonrpc)) and the [router](mcp_mux::router), without a runtime, pipes or sockets around them.
//!
//! ```text
//! cargo bench --bench messages            everything
//! cargo bench --bench messages routing    what has that in its name
//! ```
//!
//! | benchmark | an iteration is | messages in it |
//! |---|---|---|
//! | `wire::parse_request` | a client's request, from the body of a POST | 1 |
//! | `wire::parse_response` | a child's answer, from a line of its stdout | 1 |
//! | `wire::splice_to_bytes` | another id put into a message, and that into bytes of its own, as a client has it | 1 |
//! | `wire::splice_to_buffer` | the same, into a buffer that is there, as a child has it | 1 |
//! | `wire::round` | bytes to bytes: a request parsed, routed and written, and likewise its answer | 2 |
//! | `routing::round` | the router's part of that | 2 |
//! | `routing::round_among` | the same with others attached and waiting for their answers | 2 |
//! | `routing::exchange` | a modern client's request on a modern child: attached, asked, answered, detached | 2 |
//! | `routing::translated` | a round of a legacy session on a modern child | 2 |
//! | `routing::progress` | a notification that goes to whom its token says | 1 |
//! | `routing::list_changed` | a notification that goes to fifty sessions | 50 |
//!
//! Times and allocations are those of an iteration, `item/s` counts messages that come out, `B/s` (of what has a size)
//! the bytes of the payload. An argument is the size of the payload, and where there are two, how many sessions are
//! attached and how many of them wait. What is measured is looked at once before that, byte for byte.
//!
//! `routing` is given messages that are parsed already and frees what is theirs, their payloads excepted: `dealloc` is more
//! than `alloc` there.

mod routing;
mod wire;
mod world;

use std::time::Duration;

use bytes::Bytes;
use divan::{AllocProfiler, Divan};
use mcp_mux::jsonrpc::{self, DEPTH_MAX, Message};

#[global_allocator]
static ALLOCATOR: AllocProfiler = AllocProfiler::system();

/// Bytes of a payload.
const SIZES: [usize; 3] = [100, 10_000, 1_000_000];

/// What payloads are made of: prose as it is in tool calls, with escapes and beyond ASCII; a hundred bytes of it.
const LINE: &str =
    r#"The fox said \"it is 42 metres\" – and ran: over the lazy dog, the hedge, and slowly home again.\n"#;

const _: () = assert!(LINE.len() == 100, "sizes are in hundreds of bytes");

/// For how long each is measured, if the command line does not say otherwise.
const MIN_TIME: Duration = Duration::from_millis(500);

fn main() {
    Divan::default().min_time(MIN_TIME).config_with_args().main();
}

/// A text of so many bytes.
fn prose(size: usize) -> String {
    LINE.repeat(size / LINE.len())
}

/// A request of a legacy client.
fn request(id: &str, size: usize) -> Bytes {
    let arguments = format!(r#"{{"text":"{}"}}"#, prose(size));
    let params = format!(r#"{{"name":"echo","arguments":{arguments}}}"#);
    jsonrpc::request(id, "tools/call", Some(&params)).into_bytes()
}

/// What a legacy child answers.
fn response(id: &str, size: usize) -> Bytes {
    let content = format!(r#"[{{"type":"text","text":"{}"}}]"#, prose(size));
    format!(r#"{{"jsonrpc":"2.0","id":{id},"result":{{"content":{content}}}}}"#).into()
}

fn parsed(bytes: Bytes) -> Message {
    Message::parse(bytes, DEPTH_MAX).expect("the benchmark's own messages are valid")
}
