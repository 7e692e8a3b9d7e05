//! A client that writes its frames by hand.
//!
//! Spec: RFC 9113, 4.1 (frames); RFC 7541 (header blocks).

use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};

use super::super::super::connection::HTTP2_PREFACE;
use super::*;

pub(super) const DATA: u8 = 0;
pub(super) const HEADERS: u8 = 1;
pub(super) const PRIORITY: u8 = 2;
pub(super) const RST_STREAM: u8 = 3;
pub(super) const SETTINGS: u8 = 4;
pub(super) const PING: u8 = 6;
pub(super) const GOAWAY: u8 = 7;
pub(super) const WINDOW_UPDATE: u8 = 8;
pub(super) const CONTINUATION: u8 = 9;
pub(super) const UNKNOWN: u8 = 0xbe;

pub(super) const ACK: u8 = 1;
pub(super) const END_STREAM: u8 = 1;
pub(super) const END_HEADERS: u8 = 4;

pub(super) const NO_ERROR: u32 = 0;
pub(super) const REFUSED_STREAM: u32 = 7;
pub(super) const ENHANCE_YOUR_CALM: u32 = 11;

pub(super) const SETTINGS_INITIAL_WINDOW_SIZE: u16 = 4;

pub(super) fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let mut frame = u32::try_from(payload.len()).unwrap().to_be_bytes()[1..].to_vec();
    frame.extend([kind, flags]);
    frame.extend(stream.to_be_bytes());
    frame.extend(payload);
    frame
}

pub(super) fn setting(identifier: u16, value: u32) -> Vec<u8> {
    let mut payload = identifier.to_be_bytes().to_vec();
    payload.extend(value.to_be_bytes());
    payload
}

/// The header block of a GET, and literal headers that go into no table (RFC 7541, 6.2.2).
pub(super) fn get(path: &str, headers: usize, length: usize) -> Vec<u8> {
    let mut block = vec![0x82, 0x86, 0x04, u8::try_from(path.len()).unwrap()];
    block.extend(path.as_bytes());
    block.extend([0x01, 1, b'x']);
    for _ in 0..headers {
        block.extend([0x00, 1, b'x', 0x7f]);
        // An integer of more than 7 bits (RFC 7541, 5.1).
        let mut rest = length - 127;
        while rest >= 128 {
            block.push(u8::try_from(rest % 128 + 128).unwrap());
            rest /= 128;
        }
        block.push(u8::try_from(rest).unwrap());
        block.resize(block.len() + length, b'v');
    }
    block
}

/// A client that writes frames, its preface and settings first.
pub(super) struct Raw {
    pub(super) read: OwnedReadHalf,
    pub(super) write: OwnedWriteHalf,
    pub(super) received: Vec<u8>,
}

/// A frame that came.
#[derive(Debug)]
pub(super) struct Received {
    pub(super) kind: u8,
    pub(super) flags: u8,
    pub(super) stream: u32,
    pub(super) payload: Vec<u8>,
}

impl Raw {
    pub(super) async fn connect(served: &Served, settings: &[u8]) -> Self {
        let (read, mut write) = connect(served).await.into_split();
        write.write_all(HTTP2_PREFACE).await.unwrap();
        write.write_all(&frame(SETTINGS, 0, 0, settings)).await.unwrap();
        Self { read, write, received: Vec::new() }
    }

    pub(super) async fn send(&mut self, frames: &[u8]) {
        self.write.write_all(frames).await.unwrap();
    }

    /// The next frame; none when the connection has ended.
    pub(super) async fn next(&mut self) -> Option<Received> {
        let next = async {
            loop {
                if let [a, b, c, kind, flags, d, e, f, g, rest @ ..] = self.received.as_slice() {
                    let length = u32::from_be_bytes([0, *a, *b, *c]) as usize;
                    if let Some(payload) = rest.get(..length) {
                        let stream = u32::from_be_bytes([*d, *e, *f, *g]);
                        let received = Received { kind: *kind, flags: *flags, stream, payload: payload.to_vec() };
                        self.received.drain(..9 + length);
                        return Some(received);
                    }
                }
                if self.read.read_buf(&mut self.received).await.unwrap_or(0) == 0 {
                    return None;
                }
            }
        };
        timeout(DEADLINE, next).await.unwrap()
    }

    /// The next frame of this kind.
    pub(super) async fn next_of(&mut self, kind: u8) -> Option<Received> {
        loop {
            let received = self.next().await?;
            if received.kind == kind {
                return Some(received);
            }
        }
    }

    /// The error code of the GOAWAY with which the connection ends; none if it ends without one.
    pub(super) async fn farewell(&mut self) -> Option<u32> {
        let mut code = None;
        while let Some(received) = self.next().await {
            if received.kind == GOAWAY {
                code = Some(u32::from_be_bytes(received.payload[4..8].try_into().unwrap()));
            }
        }
        code
    }

    /// Writes these frames again and again until the connection ends, while another client is served; the error code with
    /// which it ends.
    pub(super) async fn flood(mut self, served: &Served, frames: &[u8]) -> Option<u32> {
        let Self { write, .. } = &mut self;
        let mut write = std::mem::replace(write, connect(served).await.into_split().1);
        let flooding = async { while write.write_all(frames).await.is_ok() {} };
        let other = async {
            for _ in 0..20 {
                let mut stream = connect(served).await;
                request(&mut stream, "/").await;
                let end = served.address.to_string();
                assert!(read_until(&mut stream, &end).await.ends_with(&end), "answered meanwhile");
            }
        };
        let ((), (), code) = tokio::join!(flooding, other, self.farewell());
        code
    }
}
