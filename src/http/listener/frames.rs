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

use crate::metrics::Limit;

/// Finds frames in a stream of bytes, however they are cut.
#[derive(Debug)]
pub(super) struct Scanner {
    /// What has come of a frame's head, and of the payload of those that end something.
    begun: [u8; HEAD_BYTES + KEPT_BYTES_MAX],
    filled: usize,
    /// Bytes that need no look.
    skip: usize,
}

/// A frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Frame<'a> {
    kind: u8,
    /// The length of its payload.
    bytes: usize,
    /// The beginning of its payload, of RST_STREAM and GOAWAY.
    kept: &'a [u8],
}

impl Frame<'_> {
    /// Whether it carries neither a request nor any of its body.
    pub(super) const fn is_empty(self) -> bool {
        match self.kind {
            DATA => self.bytes == 0,
            HEADERS | CONTINUATION => false,
            _ => true,
        }
    }

    /// The limit that a client reached, if that is what the frame says to it.
    pub(super) fn limit(self) -> Option<Limit> {
        match (self.kind, self.kept) {
            (RST_STREAM, code) => (code == REFUSED_STREAM).then_some(Limit::Http2StreamsMax),
            (GOAWAY, [_, _, _, _, a, b, c, d, why @ ..]) if [*a, *b, *c, *d] == ENHANCE_YOUR_CALM => {
                GOODBYES.iter().find(|(goodbye, _)| why.starts_with(goodbye)).map(|(_, limit)| *limit)
            }
            _ => None,
        }
    }
}

impl Scanner {
    /// Of a stream from the beginning of a frame on.
    pub(super) const fn new() -> Self {
        Self { begun: [0; HEAD_BYTES + KEPT_BYTES_MAX], filled: 0, skip: 0 }
    }

    /// The next frame of which enough is known with these bytes, which are those after what was scanned before; `bytes` is left
    /// at what comes behind.
    pub(super) fn next(&mut self, bytes: &mut &[u8]) -> Option<Frame<'_>> {
        loop {
            let skipped = self.skip.min(bytes.len());
            *bytes = bytes.get(skipped..).unwrap_or_default();
            self.skip -= skipped;
            let [a, b, c, kind, ..] = self.begun;
            let length = u32::from_be_bytes([0, a, b, c]) as usize;
            let keep = if kind == RST_STREAM || kind == GOAWAY { length.min(KEPT_BYTES_MAX) } else { 0 };
            if self.filled >= HEAD_BYTES && self.filled == HEAD_BYTES + keep {
                self.filled = 0;
                self.skip = length - keep;
                let kept = self.begun.get(HEAD_BYTES..HEAD_BYTES + keep).unwrap_or_default();
                return Some(Frame { kind, bytes: length, kept });
            }
            let (&first, rest) = bytes.split_first()?;
            *self.begun.get_mut(self.filled)? = first;
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

/// By what h2 says to a client whose connection it ends, the limit that was reached. Its error does not say it.
const GOODBYES: [(&[u8], Limit); 5] = [
    (b"too_many_resets", Limit::Http2ResetsMax),
    (b"too_many_internal_resets", Limit::Http2ResetsMax),
    (b"too_many_continuations", Limit::HeaderBytesMax),
    (b"header_list_way_too_large", Limit::HeaderBytesMax),
    (b"too_many_data_frames", Limit::Http2FramesMax),
];

const HEAD_BYTES: usize = 9;
/// Enough for the longest of these, behind a stream's number and a code.
const KEPT_BYTES_MAX: usize = 40;
// RFC 9113, 6
const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const GOAWAY: u8 = 7;
const CONTINUATION: u8 = 9;
// RFC 9113, 7
const REFUSED_STREAM: &[u8] = &[0, 0, 0, 7];
const ENHANCE_YOUR_CALM: [u8; 4] = [0, 0, 0, 11];

#[cfg(test)]
mod tests {
    use super::*;

    const SETTINGS: u8 = 4;

    fn frame(kind: u8, payload: &[u8]) -> Vec<u8> {
        let length = u32::try_from(payload.len()).expect("small").to_be_bytes();
        let mut frame = length[1..].to_vec();
        frame.extend([kind, 0, 0, 0, 0, 1]);
        frame.extend(payload);
        frame
    }

    #[test]
    fn frames_are_found_however_their_bytes_are_cut() {
        let calm = |text: &[u8]| [&[0, 0, 0, 0, 0, 0, 0, 11], text].concat();
        let frames = [
            (SETTINGS, b"".to_vec(), None),
            (DATA, vec![7; 300], None),
            (RST_STREAM, vec![0, 0, 0, 7], Some(Limit::Http2StreamsMax)),
            (RST_STREAM, vec![0, 0, 0, 8], None),
            (RST_STREAM, b"?".to_vec(), None),
            (GOAWAY, calm(b"too_many_resets"), Some(Limit::Http2ResetsMax)),
            (GOAWAY, calm(b"header_list_way_too_large, and how"), Some(Limit::HeaderBytesMax)),
            (GOAWAY, calm(&[b'x'; 1000]), None),
            (GOAWAY, b"\0\0\0\0\0\0\0\x01too_many_resets".to_vec(), None),
            (DATA, b"".to_vec(), None),
        ];
        let stream: Vec<u8> = frames.iter().flat_map(|(kind, payload, _)| frame(*kind, payload)).collect();
        for cut in 1..=stream.len() {
            let mut scanner = Scanner::new();
            let mut found = Vec::new();
            for mut piece in stream.chunks(cut) {
                while let Some(frame) = scanner.next(&mut piece) {
                    found.push((frame.kind, frame.bytes, frame.limit()));
                }
            }
            let expected = frames.iter().map(|(kind, payload, limit)| (*kind, payload.len(), *limit));
            assert_eq!(found, expected.collect::<Vec<_>>(), "{cut}");
        }
    }

    #[test]
    fn only_requests_and_their_bodies_are_not_empty() {
        for (kind, bytes, empty) in [
            (DATA, 1, false),
            (DATA, 0, true),
            (HEADERS, 0, false),
            (CONTINUATION, 5, false),
            (2, 5, true),
            (77, 9, true),
        ] {
            assert_eq!(Frame { kind, bytes, kept: &[] }.is_empty(), empty, "{kind}");
        }
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
