//! The pump: writes a child's stdin, so that reading never waits for writing.
//!
//! Separate from the actor because two sides that both write blockingly stop each other for good: a child that does not
//! read until its output is read would wait for mcp-mux while mcp-mux waits for it.

use std::future::poll_fn;
use std::pin::Pin;
use std::task::Poll;

use tokio::io::AsyncWrite;

use super::backlog::{Backlog, Lane};

/// How a pump ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum PumpEnd {
    /// Everything was written and stdin is closed.
    Finished,
    /// The child closed its end.
    Broken,
}

/// Writes whatever is in its lane of the backlog until that is finished or the pipe is broken, which is no error: the
/// child's exit follows.
pub(super) async fn pump(backlog: &Backlog, lane: &Lane, mut stdin: impl AsyncWrite + Unpin) -> PumpEnd {
    while let Some(lines) = backlog.take(lane).await {
        let mut written = 0;
        while let Some(rest) = lines.get(written..).filter(|rest| !rest.is_empty()) {
            let outcome = poll_fn(|cx| {
                backlog.writes(lane);
                let outcome = Pin::new(&mut stdin).poll_write(cx, rest);
                // A large write is reported in pieces, so that senders go on as soon as there is room.
                let bytes = if let Poll::Ready(Ok(bytes)) = &outcome { *bytes } else { 0 };
                written += bytes;
                backlog.wrote(lane, bytes, written.checked_sub(1).and_then(|last| lines.get(last).copied()));
                outcome
            });
            match outcome.await {
                Ok(0) => return PumpEnd::Broken,
                Ok(_) => {}
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
                Err(error) => {
                    tracing::debug!(%error, "the child closed its stdin");
                    return PumpEnd::Broken;
                }
            }
        }
    }
    PumpEnd::Finished
}

#[cfg(test)]
mod tests {
    use std::io;
    use std::pin::Pin;
    use std::task::{Context, Poll};

    use bytes::BytesMut;
    use tokio::io::AsyncReadExt as _;

    use super::*;
    use crate::metrics::ServerMetrics;

    #[tokio::test]
    async fn everything_is_written_in_order_and_then_the_pipe_is_closed() {
        let (mut child, ours) = tokio::io::duplex(7);
        let backlog = Backlog::new(1000, ServerMetrics::unnamed());
        let lane = backlog.open();
        let lines: String = (0..100).map(|line| format!("{line}\n")).collect();
        for line in lines.split_inclusive('\n') {
            backlog.append(&lane, &mut BytesMut::from(line));
        }
        backlog.finish(&lane);
        let mut written = String::new();
        let (end, read) = tokio::join!(pump(&backlog, &lane, ours), child.read_to_string(&mut written));
        assert_eq!((end, read.expect("UTF-8")), (PumpEnd::Finished, lines.len()));
        assert_eq!(written, lines);
        assert_eq!(backlog.stdin_bytes(), 0);
    }

    #[tokio::test]
    async fn a_closed_pipe_ends_the_pump() {
        let (child, ours) = tokio::io::duplex(7);
        drop(child);
        let backlog = Backlog::new(1000, ServerMetrics::unnamed());
        let lane = backlog.open();
        backlog.append(&lane, &mut BytesMut::from("line\n"));
        assert_eq!(pump(&backlog, &lane, ours).await, PumpEnd::Broken);
    }

    /// Counts writes.
    struct Counting(usize);

    impl AsyncWrite for Counting {
        fn poll_write(mut self: Pin<&mut Self>, _: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
            self.0 += 1;
            Poll::Ready(Ok(bytes.len()))
        }
        fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }
        fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }
    }

    #[tokio::test]
    async fn many_lines_become_one_write() {
        let backlog = Backlog::new(1000, ServerMetrics::unnamed());
        let lane = backlog.open();
        for _ in 0..50 {
            backlog.append(&lane, &mut BytesMut::from("line\n"));
        }
        backlog.finish(&lane);
        let mut stdin = Counting(0);
        pump(&backlog, &lane, &mut stdin).await;
        assert_eq!(stdin.0, 1);
    }
}
