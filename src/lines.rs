//! What comes through a pipe as lines, without copying them: each is a slice of the buffer it was read into.
//!
//! A line ends at `\n` wherever reads happen to split it, in the middle of a character too. One that is too long is
//! never kept: it is looked through for its id while it goes by, so that whoever waits for the answer can be told.
//!
//! Memory: small lines are read into small buffers, since a line that is kept keeps its buffer; a buffer that grew for
//! a long line goes with it.
//!
//! Spec: 2025-11-25, Transports, stdio ("Messages are delimited by newlines, and MUST NOT contain embedded newlines").

use std::io;

use bytes::{Buf as _, Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt as _};

use crate::jsonrpc::{RawId, SalvageId};

/// How much is read at once while lines are short.
const READ_BYTES: usize = 16 * 1024;
/// With less room than this a read is not worth its call.
const READ_BYTES_MIN: usize = 2 * 1024;

/// What was written.
#[derive(Debug)]
pub(crate) enum Line {
    /// A line, without its line break.
    Whole(Bytes),
    /// A line that was longer than the limit; its bytes are gone.
    Overlong {
        /// The id of the request that it answered, if it looked like a response.
        id: Option<u64>,
        /// The id of the request that it was, if it looked like one.
        request: Option<RawId>,
        /// How long it was.
        bytes: usize,
    },
}

/// Reads lines.
#[derive(Debug)]
pub(crate) struct LineReader<R> {
    source: R,
    buffer: BytesMut,
    /// How much of the buffer is known to hold no line break.
    searched: usize,
    overlong: Option<Overlong>,
    ended: bool,
    line_bytes_max: usize,
}

#[derive(Debug, Default)]
struct Overlong {
    salvage: SalvageId,
    bytes: usize,
}

impl Overlong {
    fn feed(&mut self, bytes: &[u8]) {
        self.salvage.feed(bytes);
        self.bytes = self.bytes.saturating_add(bytes.len());
    }

    fn into_line(self) -> Line {
        Line::Overlong { id: self.salvage.id(), request: self.salvage.request_id(), bytes: self.bytes }
    }
}

impl<R: AsyncRead + Unpin> LineReader<R> {
    /// Reads lines of up to `line_bytes_max` bytes.
    pub(crate) fn new(source: R, line_bytes_max: usize) -> Self {
        Self { source, buffer: BytesMut::new(), searched: 0, overlong: None, ended: false, line_bytes_max }
    }

    /// The next line; none at the end.
    ///
    /// # Errors
    /// The source's.
    ///
    /// # Cancel safety
    /// Cancelled, nothing is lost.
    pub(crate) async fn next(&mut self) -> io::Result<Option<Line>> {
        loop {
            if let Some(line) = self.next_buffered() {
                return Ok(Some(line));
            }
            if self.ended {
                return Ok(None);
            }
            // The buffer doubles while a line grows, and never by more than that line may still need.
            if self.buffer.capacity() - self.buffer.len() < READ_BYTES_MIN {
                let wanted = self.buffer.len().min(self.line_bytes_max).max(READ_BYTES);
                self.buffer.reserve(wanted);
            }
            self.ended = self.source.read_buf(&mut self.buffer).await? == 0;
        }
    }

    /// The next line, if it needs no reading.
    pub(crate) fn next_buffered(&mut self) -> Option<Line> {
        let unsearched = self.buffer.get(self.searched..).unwrap_or_default();
        if let Some(at) = memchr::memchr(b'\n', unsearched) {
            let line = self.take(self.searched + at);
            self.buffer.advance(1);
            return Some(line);
        }
        self.searched = self.buffer.len();
        // One more than the limit may be the `\r` of a line that is within it.
        if self.overlong.is_some() || self.buffer.len() > self.line_bytes_max.saturating_add(1) {
            self.overlong.get_or_insert_default().feed(&self.buffer);
            self.buffer.clear();
            self.searched = 0;
            if self.buffer.capacity() > 2 * READ_BYTES {
                self.release();
            }
        }
        if self.ended {
            if !self.buffer.is_empty() {
                return Some(self.take(self.buffer.len()));
            }
            return self.overlong.take().map(Overlong::into_line);
        }
        None
    }

    /// Takes the line that ends at `end`.
    fn take(&mut self, end: usize) -> Line {
        self.searched = 0;
        let mut line = self.buffer.split_to(end).freeze();
        if line.last() == Some(&b'\r') {
            line.truncate(line.len() - 1);
        }
        if end > READ_BYTES {
            self.release();
        }
        if self.overlong.is_none() && line.len() <= self.line_bytes_max {
            return Line::Whole(line);
        }
        let mut overlong = self.overlong.take().unwrap_or_default();
        overlong.feed(&line);
        overlong.into_line()
    }

    /// Lets go of a large buffer, so that the lines after it do not keep it.
    fn release(&mut self) {
        self.buffer = BytesMut::from(self.buffer.as_ref());
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::AsyncWriteExt as _;

    use super::*;

    /// Everything that comes of these writes, read through a pipe of `pipe_bytes`.
    async fn read(writes: &[&[u8]], pipe_bytes: usize, line_bytes_max: usize) -> Vec<Result<Vec<u8>, usize>> {
        let (mut child, ours) = tokio::io::duplex(pipe_bytes);
        let write = async {
            for piece in writes {
                child.write_all(piece).await.expect("it is read");
                child.flush().await.expect("it is read");
            }
            drop(child);
        };
        let read = async {
            let mut reader = LineReader::new(ours, line_bytes_max);
            let mut lines = Vec::new();
            while let Some(line) = reader.next().await.expect("a pipe does not fail") {
                lines.push(match line {
                    Line::Whole(line) => Ok(line.to_vec()),
                    Line::Overlong { bytes, .. } => Err(bytes),
                });
            }
            lines
        };
        tokio::join!(write, read).1
    }

    fn ok(lines: &[&str]) -> Vec<Result<Vec<u8>, usize>> {
        lines.iter().map(|line| Ok(line.as_bytes().to_vec())).collect()
    }

    #[tokio::test]
    async fn lines_come_whole_wherever_reads_split_them() {
        for pipe_bytes in [1, 2, 3, 5, 7, 64] {
            let lines = read(&["{\"a\":\"€👩\"}\r\n\ntwo\nlast €".as_bytes()], pipe_bytes, 1000).await;
            assert_eq!(lines, ok(&["{\"a\":\"€👩\"}", "", "two", "last €"]), "pipe of {pipe_bytes}");
        }
    }

    #[tokio::test]
    async fn an_end_without_a_line_break_is_the_last_line_and_nothing_is_no_line() {
        assert_eq!(read(&[b"one\n"], 64, 100).await, ok(&["one"]));
        assert_eq!(read(&[], 64, 100).await, ok(&[]));
        assert_eq!(read(&[b"\n"], 64, 100).await, ok(&[""]));
        assert_eq!(read(&[b"one\r"], 64, 100).await, ok(&["one"]));
    }

    #[tokio::test]
    async fn the_limit_is_exact_and_what_follows_is_unharmed() {
        for pipe_bytes in [1, 4, 64] {
            let lines = read(&[b"12345\n12345\r\n123456\n1234567890\r\nok\n123456"], pipe_bytes, 5).await;
            let [five, five_cr, six, ten, ok, last] = lines.try_into().expect("six lines");
            assert_eq!((five, five_cr), (Ok(b"12345".to_vec()), Ok(b"12345".to_vec())));
            assert_eq!((six, ok, last), (Err(6), Ok(b"ok".to_vec()), Err(6)));
            assert!(ten.is_err());
        }
    }

    #[tokio::test]
    async fn the_id_of_an_overlong_answer_is_found() {
        let line = format!(r#"{{"jsonrpc":"2.0","id":42,"result":"{}"}}"#, "x".repeat(100_000));
        let mut reader = LineReader::new(line.as_bytes(), 1000);
        let Some(Line::Overlong { id, bytes, request: None }) = reader.next().await.expect("memory does not fail")
        else {
            panic!("it is too long");
        };
        assert_eq!((id, bytes), (Some(42), line.len()));
        assert!(reader.next().await.expect("memory does not fail").is_none());
    }

    #[tokio::test]
    async fn a_long_line_takes_its_buffer_along() {
        let long = "x".repeat(10 * 1024 * 1024);
        let text = format!("{long}\nshort\n");
        let mut reader = LineReader::new(text.as_bytes(), 16 * 1024 * 1024);
        let Some(Line::Whole(line)) = reader.next().await.expect("memory does not fail") else {
            panic!("it is within the limit");
        };
        assert_eq!(line, long.as_bytes());
        assert!(reader.buffer.capacity() < 64 * 1024, "{}", reader.buffer.capacity());
        assert!(matches!(reader.next().await, Ok(Some(Line::Whole(line))) if line == "short"));
    }

    #[tokio::test]
    async fn an_endless_line_is_never_kept() {
        let (mut child, ours) = tokio::io::duplex(1024 * 1024);
        let mut reader = LineReader::new(ours, 1024 * 1024);
        let write = async {
            for _ in 0..64 {
                child.write_all(&[b'x'; 1024 * 1024]).await.expect("it is read");
            }
            child.write_all(b"\n").await.expect("it is read");
        };
        let (line, ()) = tokio::join!(reader.next(), write);
        assert!(
            matches!(line, Ok(Some(Line::Overlong { id: None, bytes, request: None })) if bytes == 64 * 1024 * 1024)
        );
        assert!(reader.buffer.capacity() <= 2 * 1024 * 1024);
    }
}
