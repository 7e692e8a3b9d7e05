//! The frames of an HTTP/2 connection as they go by: how many carry nothing.
//!
//! h2 bounds what a client can make it keep, and ends a connection for too many resets, CONTINUATION frames or DATA frames with
//! little in them. It answers or looks at every PING, SETTINGS, WINDOW_UPDATE, PRIORITY and unknown frame, however many there
//! are: that is bounded here. Nothing is changed or kept; a payload is skipped without a look.
//!
//! Spec: RFC 9113, 4.1 (frames), 10.5 (denial of service).

use std::num::NonZeroUsize;
use std::time::Duration;

use tokio::time::Instant;

/// Finds frames in a stream of bytes, however they are cut.
#[derive(Debug)]
pub(super) struct Scanner {
    /// What has come of a frame's head (and of an RST_STREAM's payload).
    head: [u8; HEAD_BYTES + CODE_BYTES],
    filled: usize,
    /// Bytes that belong to no head.
    skip: usize,
}

/// What the head of a frame says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Frame {
    /// The length of its payload.
    pub(super) bytes: usize,
    kind: u8,
    /// An RST_STREAM's error code; else 0.
    code: u32,
}

impl Frame {
    /// Whether it carries neither a request nor any of its body.
    pub(super) const fn is_empty(self) -> bool {
        match self.kind {
            DATA => self.bytes == 0,
            HEADERS | CONTINUATION => false,
            _ => true,
        }
    }

    /// Whether it says that there are too many streams.
    pub(super) const fn refuses_stream(self) -> bool {
        self.kind == RST_STREAM && self.code == REFUSED_STREAM
    }
}

impl Scanner {
    /// Of a stream that begins with so many bytes that are no frame.
    pub(super) const fn new(skip: usize) -> Self {
        Self { head: [0; HEAD_BYTES + CODE_BYTES], filled: 0, skip }
    }

    /// The next frame whose head ends in these bytes, which are those after what was scanned before; `bytes` is left at what
    /// comes behind it.
    pub(super) fn next(&mut self, bytes: &mut &[u8]) -> Option<Frame> {
        loop {
            let skipped = self.skip.min(bytes.len());
            *bytes = bytes.get(skipped..).unwrap_or_default();
            self.skip -= skipped;
            let [a, b, c, kind, _, _, _, _, _, code @ ..] = self.head;
            let is_reset = self.filled >= HEAD_BYTES && kind == RST_STREAM && [a, b, c] == [0, 0, 4];
            let wanted = if is_reset { HEAD_BYTES + CODE_BYTES } else { HEAD_BYTES };
            if self.filled == wanted {
                let length = u32::from_be_bytes([0, a, b, c]) as usize;
                let (code, read) = if is_reset { (u32::from_be_bytes(code), CODE_BYTES) } else { (0, 0) };
                self.filled = 0;
                self.skip = length - read;
                return Some(Frame { bytes: length, kind, code });
            }
            let (&first, rest) = bytes.split_first()?;
            *self.head.get_mut(self.filled)? = first;
            self.filled += 1;
            *bytes = rest;
        }
    }
}

/// How many frames that carry nothing a client may send: as many as the limit at once, as many again in [`REFILL`], and some
/// for what is sent to it, since it has to say that there is room for more.
#[derive(Debug)]
pub(super) struct Allowance {
    max: usize,
    left: usize,
    refilled: Instant,
    /// Sent, and not counted yet.
    sent_bytes: usize,
}

impl Allowance {
    pub(super) const fn new(max: NonZeroUsize, now: Instant) -> Self {
        Self { max: max.get(), left: max.get(), refilled: now, sent_bytes: 0 }
    }

    /// So much was sent to the client.
    pub(super) fn sent(&mut self, bytes: usize) {
        let bytes = self.sent_bytes.saturating_add(bytes);
        self.left = self.left.saturating_add(bytes / SENT_BYTES_PER_FRAME).min(self.max);
        self.sent_bytes = bytes % SENT_BYTES_PER_FRAME;
    }

    /// Takes one; whether there was one. Looks at the clock only when they have run out.
    pub(super) fn take(&mut self, now: impl FnOnce() -> Instant) -> bool {
        if self.left == 0 {
            let now = now();
            let since = now.duration_since(self.refilled).min(REFILL);
            let refill = since.as_millis() * self.max as u128 / REFILL.as_millis();
            if refill > 0 {
                self.left = usize::try_from(refill).unwrap_or(self.max);
                self.refilled = now;
            }
        }
        let Some(left) = self.left.checked_sub(1) else { return false };
        self.left = left;
        true
    }
}

/// The time in which a client gets its whole allowance again.
const REFILL: Duration = Duration::from_secs(10);
/// Two frames (stream and connection) for each 128 bytes.
const SENT_BYTES_PER_FRAME: usize = 64;

const HEAD_BYTES: usize = 9;
const CODE_BYTES: usize = 4;
// RFC 9113, 6
const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const CONTINUATION: u8 = 9;
// RFC 9113, 7
const REFUSED_STREAM: u32 = 7;

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(kind: u8, payload: &[u8]) -> Vec<u8> {
        let length = u32::try_from(payload.len()).expect("small").to_be_bytes();
        let mut frame = length[1..].to_vec();
        frame.extend([kind, 0, 0, 0, 0, 1]);
        frame.extend(payload);
        frame
    }

    #[test]
    fn frames_are_found_however_their_bytes_are_cut() {
        let mut stream = b"the preface".to_vec();
        for (kind, payload) in [
            (4, &b""[..]),
            (6, b"12345678"),
            (0, &[7; 300]),
            (3, &[0, 0, 0, 7]),
            (3, &[0, 0, 0, 8]),
            (3, b"?"),
            (0, b""),
        ] {
            stream.extend(frame(kind, payload));
        }
        let expected = [(4, 0, 0), (6, 8, 0), (0, 300, 0), (3, 4, 7), (3, 4, 8), (3, 1, 0), (0, 0, 0)];
        for cut in 1..=stream.len() {
            let mut scanner = Scanner::new(b"the preface".len());
            let mut found = Vec::new();
            for mut piece in stream.chunks(cut) {
                while let Some(Frame { bytes, kind, code }) = scanner.next(&mut piece) {
                    found.push((kind, bytes, code));
                }
            }
            assert_eq!(found, expected, "{cut}");
        }
    }

    #[test]
    fn only_requests_and_their_bodies_are_not_empty() {
        for (kind, bytes, empty) in
            [(0, 1, false), (0, 0, true), (1, 0, false), (9, 5, false), (2, 5, true), (77, 9, true)]
        {
            assert_eq!(Frame { bytes, kind, code: 0 }.is_empty(), empty, "{kind}");
        }
        assert!(Frame { bytes: 4, kind: RST_STREAM, code: REFUSED_STREAM }.refuses_stream());
        assert!(!Frame { bytes: 4, kind: RST_STREAM, code: 8 }.refuses_stream());
    }

    #[test]
    fn an_allowance_comes_back_with_time_and_with_what_is_sent() {
        let start = Instant::now();
        let at = |seconds| move || start + Duration::from_secs(seconds);
        let mut allowance = Allowance::new(NonZeroUsize::new(100).expect("not zero"), start);
        let taken = |allowance: &mut Allowance, seconds| (0..1000).take_while(|_| allowance.take(at(seconds))).count();
        assert_eq!(taken(&mut allowance, 0), 100);
        assert_eq!(taken(&mut allowance, 1), 10);
        assert_eq!(taken(&mut allowance, 1), 0);
        assert_eq!(taken(&mut allowance, 3600), 100);
        allowance.sent(63);
        assert_eq!(taken(&mut allowance, 3600), 0);
        allowance.sent(65);
        assert_eq!(taken(&mut allowance, 3600), 2);
        allowance.sent(usize::MAX);
        assert_eq!(taken(&mut allowance, 3600), 100);
    }
}
