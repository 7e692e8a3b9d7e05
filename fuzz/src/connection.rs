//! Any bytes on a connection: it ends, and what comes back is HTTP. The first byte says in which pieces the rest arrives.

use std::sync::Arc;
use std::time::Duration;

use mcp_mux::http::listener::{Handed, Listener, Stop};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::{sleep, timeout};

use super::world::{LONG, World, in_runtime};

/// The input is what a client sends.
pub fn run(data: &[u8]) {
    let (first, data) = data.split_first().map_or((0, data), |(first, rest)| (*first, rest));
    let piece = if first == 0 { data.len().max(1) } else { usize::from(first) };
    in_runtime(async {
        let world = World::start("--child-era legacy --connections-max 4");
        let listener = Listener::bind(&world.listen, Handed::none()).await.unwrap_or_else(|error| panic!("{error}"));
        let address = listener.local_addr().unwrap_or_else(|| panic!("it listens on a port"));
        let (http, stop) = (Arc::clone(&world.http), Stop::default());
        let handle = move |request, peer| Arc::clone(&http).handle(request, peer);
        world.tasks.spawn(listener.serve(handle, world.tasks.clone(), stop.clone()));

        let mut client = TcpStream::connect(address).await.unwrap_or_else(|error| panic!("{error}"));
        // Reset when it is dropped, so that no port is kept for it: there are thousands of these a minute.
        client.set_zero_linger().unwrap_or_else(|error| panic!("{error}"));
        for piece in data.chunks(piece).take(64) {
            if client.write_all(piece).await.is_err() {
                break;
            }
            sleep(Duration::from_millis(1)).await;
        }
        let mut answer = Vec::new();
        // Standing streams go on; everything else ends by itself, be it for want of a request.
        let _ = timeout(READ_FOR, client.take(ANSWER_BYTES_MAX).read_to_end(&mut answer)).await;
        check(&answer);
        stop.end.cancel();
        assert!(timeout(LONG, world.end()).await.is_ok(), "it does not end");
    });
}

/// What comes back is a response of HTTP/1.1 with a status that is known, or frames of HTTP/2.
fn check(answer: &[u8]) {
    let mut headers = [httparse::EMPTY_HEADER; 64];
    let mut response = httparse::Response::new(&mut headers);
    match answer.first() {
        None => {}
        Some(b'H') => {
            // `100 Continue` comes before the response, or alone where the request does not go on.
            let answer = answer.strip_prefix(CONTINUE).unwrap_or(answer);
            if answer.is_empty() {
                return;
            }
            let parsed = response.parse(answer).unwrap_or_else(|error| panic!("{error}"));
            assert!(parsed.is_complete(), "a head that does not end");
            let status = response.code.unwrap_or_default();
            assert!(STATUSES.contains(&status), "{status}");
        }
        Some(_) => {
            let mut rest = answer;
            while let [a, b, c, kind, ..] = rest {
                let length = usize::from(*a) << 16 | usize::from(*b) << 8 | usize::from(*c);
                assert!(length <= FRAME_BYTES_MAX && *kind <= FRAME_KIND_MAX, "a frame of {length} bytes, kind {kind}");
                rest = rest.get(FRAME_HEAD_BYTES + length..).unwrap_or_default();
            }
        }
    }
}

const CONTINUE: &[u8] = b"HTTP/1.1 100 Continue\r\n\r\n";
/// Those of mcp-mux, and those with which hyper refuses what is no HTTP, or too much of it.
const STATUSES: [u16; 17] = [200, 202, 204, 400, 401, 403, 404, 405, 406, 408, 413, 414, 415, 429, 431, 503, 505];
/// RFC 9113, 4.1, 4.2 and 6.
const FRAME_HEAD_BYTES: usize = 9;
const FRAME_BYTES_MAX: usize = 16_384;
const FRAME_KIND_MAX: u8 = 9;
/// Longer than an idle connection is kept.
const READ_FOR: Duration = Duration::from_secs(130);
const ANSWER_BYTES_MAX: u64 = 1 << 20;
