//! Reading and writing for a connection, with an eye on what it is doing: the first byte of a head, what the client takes, and
//! in HTTP/2 the frames.
//!
//! Invariant: every byte goes through as it is, and none is kept.

use std::io::{self, IoSlice};
use std::num::NonZeroUsize;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::Instant;
use tracing::debug;

use super::activity::Activity;
use super::connection::HTTP2_PREFACE;
use super::frames::{Allowance, Scanner};
use crate::metrics::{Limit, limit_hit};

/// A connection's stream.
#[derive(Debug)]
pub(super) struct Watched<S> {
    stream: S,
    activity: Arc<Activity>,
    speaks: Speaks,
}

/// What is spoken.
#[derive(Debug)]
enum Speaks {
    Http1,
    /// So much of HTTP/2's preface has come, and nothing else.
    Unknown(usize, NonZeroUsize),
    Http2(Box<Http2>),
}

#[derive(Debug)]
struct Http2 {
    received: Scanner,
    sent: Scanner,
    allowance: Allowance,
}

impl<S> Watched<S> {
    /// A stream on which HTTP/1.1 is spoken.
    pub(super) const fn http1(stream: S, activity: Arc<Activity>) -> Self {
        Self { stream, activity, speaks: Speaks::Http1 }
    }

    /// A stream on which HTTP/2 may be spoken, with at most `frames_max` frames that carry nothing.
    pub(super) const fn either(stream: S, activity: Arc<Activity>, frames_max: NonZeroUsize) -> Self {
        Self { stream, activity, speaks: Speaks::Unknown(0, frames_max) }
    }

    fn received(&mut self, bytes: &[u8]) -> io::Result<()> {
        let mut rest = bytes;
        if let Speaks::Unknown(matched, frames_max) = self.speaks {
            let preface = HTTP2_PREFACE.get(matched..).unwrap_or_default();
            if let Some(frames) = bytes.strip_prefix(preface) {
                rest = frames;
                let allowance = Allowance::new(frames_max, Instant::now());
                let http2 = Http2 { received: Scanner::new(), sent: Scanner::new(), allowance };
                self.speaks = Speaks::Http2(Box::new(http2));
                self.activity.begins_http2();
            } else if preface.starts_with(bytes) {
                self.speaks = Speaks::Unknown(matched + bytes.len(), frames_max);
            } else {
                self.speaks = Speaks::Http1;
            }
        }
        let Speaks::Http2(http2) = &mut self.speaks else {
            self.activity.received(bytes.len());
            return Ok(());
        };
        while let Some(frame) = http2.received.next(&mut rest) {
            if frame.is_empty() && !http2.allowance.take(Instant::now) {
                limit_hit(Limit::Http2FramesMax);
                return Err(io::Error::other("too many frames that carry nothing (--http2-frames-max)"));
            }
        }
        Ok(())
    }

    fn sent<'a>(&mut self, pieces: impl IntoIterator<Item = &'a [u8]>, result: &Poll<io::Result<usize>>) {
        self.note_error(result);
        let Poll::Ready(Ok(mut bytes)) = *result else { return };
        let Speaks::Http2(http2) = &mut self.speaks else { return self.activity.sent() };
        http2.allowance.sent(bytes);
        // A payload that goes on, or one that begins; but no ping of ours.
        let mut carries = None;
        for piece in pieces {
            let mut piece = piece.get(..bytes).unwrap_or(piece);
            bytes -= piece.len();
            while let Some(frame) = http2.sent.next(&mut piece) {
                carries = Some(carries.unwrap_or(false) || !frame.is_empty());
                if let Some(limit) = frame.limit() {
                    limit_hit(limit);
                    debug!(limit = limit.as_str(), "a limit was reached");
                }
            }
        }
        if carries.unwrap_or(true) {
            self.activity.sent();
        }
    }

    /// The system has given the client up: it took nothing of what was sent to it.
    #[expect(clippy::unused_self, reason = "an error is the stream's")]
    fn note_error<T>(&self, result: &Poll<io::Result<T>>) {
        if matches!(result, Poll::Ready(Err(error)) if error.kind() == io::ErrorKind::TimedOut) {
            limit_hit(Limit::UntakenTimeout);
        }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Watched<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let result = Pin::new(&mut self.stream).poll_read(cx, buffer);
        self.note_error(&result);
        match buffer.filled().get(before..) {
            Some(bytes) if !bytes.is_empty() => {
                self.received(bytes).map_or_else(|error| Poll::Ready(Err(error)), |()| result)
            }
            _ => result,
        }
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Watched<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let result = Pin::new(&mut self.stream).poll_write(cx, bytes);
        self.sent([bytes], &result);
        result
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        pieces: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let result = Pin::new(&mut self.stream).poll_write_vectored(cx, pieces);
        self.sent(pieces.iter().map(|piece| &**piece), &result);
        result
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
