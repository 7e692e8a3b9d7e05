//! A child's stderr: always drained (a pipe that nobody reads stops the child at 64 KiB), line by line to the log, and its
//! last lines kept for error texts.
//!
//! Lines go to the target `mcp_mux::child::stderr` at INFO, under the span `child` with the child's name and pid, cut at
//! 8 KiB; past `--stderr-lines-max` lines a second they are only counted.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::io::{AsyncRead, AsyncReadExt as _};
use tokio::time::{Instant, sleep_until};

use super::text::printable;
use crate::metrics::{Limit, limit_hit};
use crate::telemetry::flood::Flood;

/// The log target of a child's stderr.
pub(super) const TARGET: &str = "mcp_mux::child::stderr";
/// The longest line in the log.
const LINE_BYTES_MAX: usize = 8 * 1024;
/// How many lines are kept for error texts.
const TAIL_LINES_MAX: usize = 20;
/// How long a line kept for error texts may be.
const TAIL_LINE_BYTES_MAX: usize = 1024;
/// How much is read at once.
const READ_BYTES: usize = 8 * 1024;

/// The last lines, shared with the task that reads them.
#[derive(Clone, Debug, Default)]
pub(super) struct Tail(Arc<Mutex<VecDeque<String>>>);

impl Tail {
    /// The last lines, oldest first.
    pub(super) fn lines(&self) -> Vec<String> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).iter().cloned().collect()
    }

    fn push(&self, line: String) {
        let mut lines = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if lines.len() == TAIL_LINES_MAX {
            lines.pop_front();
        }
        lines.push_back(line);
    }
}

/// Reads until the end, or an error, which is one. So many lines a second are logged.
pub(super) async fn drain(mut stderr: impl AsyncRead + Unpin, tail: Tail, lines_max: u32) {
    let mut buffer = vec![0; READ_BYTES];
    let mut lines = LineCutter::default();
    let mut log = Log { tail, flood: Flood::new(lines_max) };
    loop {
        let due = log.flood.due();
        let read = tokio::select! {
            read = stderr.read(&mut buffer) => Some(read),
            () = sleep_until(due.unwrap_or_else(Instant::now)), if due.is_some() => None,
        };
        let now = Instant::now();
        if let Some(lines) = log.flood.summary(now) {
            log_suppressed(lines);
        }
        match read {
            None => {}
            Some(Ok(0) | Err(_)) => break,
            Some(Ok(count)) => {
                lines.feed(buffer.get(..count).unwrap_or_default(), |line, cut| log.take(line, cut, now));
            }
        }
    }
    lines.finish(|line, cut| log.take(line, cut, Instant::now()));
    if let Some(lines) = log.flood.finish() {
        log_suppressed(lines);
    }
}

fn log_suppressed(lines: u64) {
    tracing::warn!(target: TARGET, lines, "the child writes more to stderr than is logged; lines were left out");
}

struct Log {
    tail: Tail,
    flood: Flood,
}

impl Log {
    fn take(&mut self, line: &[u8], cut: usize, now: Instant) {
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        if line.is_empty() {
            return;
        }
        self.tail.push(printable(line, TAIL_LINE_BYTES_MAX));
        if !self.flood.admit(now) {
            limit_hit(Limit::StderrLinesMax);
            return;
        }
        let text = printable(line, LINE_BYTES_MAX);
        if cut > 0 {
            tracing::info!(target: TARGET, cut_bytes = cut, "{text}");
        } else {
            tracing::info!(target: TARGET, "{text}");
        }
    }
}

/// Splits what it is fed into lines and cuts those that are too long.
#[derive(Debug, Default)]
struct LineCutter {
    line: Vec<u8>,
    cut: usize,
}

impl LineCutter {
    fn feed(&mut self, mut bytes: &[u8], mut emit: impl FnMut(&[u8], usize)) {
        while let Some((head, rest)) = memchr::memchr(b'\n', bytes).and_then(|at| bytes.split_at_checked(at)) {
            self.append(head);
            emit(&self.line, self.cut);
            self.line.clear();
            self.cut = 0;
            bytes = rest.get(1..).unwrap_or_default();
        }
        self.append(bytes);
    }

    fn finish(&mut self, mut emit: impl FnMut(&[u8], usize)) {
        if !self.line.is_empty() {
            emit(&self.line, self.cut);
        }
    }

    fn append(&mut self, bytes: &[u8]) {
        let room = LINE_BYTES_MAX - self.line.len();
        let taken = bytes.get(..room).unwrap_or(bytes);
        self.line.extend_from_slice(taken);
        self.cut += bytes.len() - taken.len();
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::AsyncWriteExt as _;

    use super::*;
    use crate::metrics::limit_hits;

    const LINES_MAX: u32 = 1000;

    async fn drained(pieces: &[&[u8]]) -> Vec<String> {
        let (mut child, ours) = tokio::io::duplex(64);
        let tail = Tail::default();
        let write = async {
            for piece in pieces {
                child.write_all(piece).await.expect("it is always drained");
            }
            drop(child);
        };
        tokio::join!(write, drain(ours, tail.clone(), LINES_MAX));
        tail.lines()
    }

    #[tokio::test(start_paused = true)]
    async fn lines_are_split_anywhere_and_the_last_needs_no_line_break() {
        let lines = drained(&[b"on", b"e\r\n\ntw", b"o \xe2\x82", b"\xac\x1b[0m\n", b"three"]).await;
        assert_eq!(lines, ["one", "two €\\u{1b}[0m", "three"]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_flood_and_an_endless_line_are_drained_and_the_last_lines_kept() {
        let flood: String = (0..5000).map(|line| format!("line {line}\n")).collect();
        let before = limit_hits(Limit::StderrLinesMax);
        let endless = vec![b'x'; 1024 * 1024];
        let lines = drained(&[flood.as_bytes(), &endless]).await;
        assert!(limit_hits(Limit::StderrLinesMax) >= before + 4000);
        assert_eq!(lines.len(), TAIL_LINES_MAX);
        assert_eq!(lines[0], "line 4981");
        assert!(lines[19].ends_with("… (7168 bytes more)"), "{}", lines[19]);
    }

    #[test]
    fn a_cut_line_says_how_much_is_missing() {
        let mut cutter = LineCutter::default();
        let mut lines = Vec::new();
        for _ in 0..3 {
            cutter.feed(&[b'x'; 4096], |_, _| panic!("no line yet"));
        }
        cutter.feed(b"\ny\n", |line, cut| lines.push((line.len(), cut)));
        assert_eq!(lines, [(LINE_BYTES_MAX, 4096), (1, 0)]);
    }
}
