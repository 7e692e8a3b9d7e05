//! The pump: writes a child's stdin, so that reading never waits for writing.
//!
//! Separate from the actor because two sides that both write blockingly stop each other for good: a child that does not
//! read until its output is read would wait for mcp-mux while mcp-mux waits for it.

use tokio::io::{AsyncWrite, AsyncWriteExt as _};

use super::backlog::{Backlog, Epoch};

/// How a pump ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum PumpEnd {
    /// Everything was written and stdin is closed.
    Finished,
    /// The child closed its end.
    Broken,
}

/// Writes whatever is in the backlog until that is finished or the pipe is broken, which is no error: the child's exit
/// follows.
pub(super) async fn pump(backlog: &Backlog, epoch: Epoch, mut stdin: impl AsyncWrite + Unpin) -> PumpEnd {
    let mut lines = Vec::new();
    while backlog.take(epoch, &mut lines).await {
        let mut rest = lines.as_slice();
        while !rest.is_empty() {
            // A large write is reported in pieces, so that senders go on as soon as there is room.
            match stdin.write(rest).await {
                Ok(0) => return PumpEnd::Broken,
                Ok(written) => {
                    backlog.wrote(epoch, written);
                    rest = rest.get(written..).unwrap_or_default();
                }
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
                Err(error) => {
                    tracing::debug!(%error, "the child closed its stdin");
                    return PumpEnd::Broken;
                }
            }
        }
        lines.clear();
    }
    PumpEnd::Finished
}

#[cfg(test)]
mod tests {
    use std::io;
    use std::pin::Pin;
    use std::task::{Context, Poll};

    use tokio::io::AsyncReadExt as _;

    use super::*;

    #[tokio::test]
    async fn everything_is_written_in_order_and_then_the_pipe_is_closed() {
        let (mut child, ours) = tokio::io::duplex(7);
        let backlog = Backlog::new(1000);
        let epoch = backlog.open();
        let lines: String = (0..100).map(|line| format!("{line}\n")).collect();
        for line in lines.split_inclusive('\n') {
            backlog.append(&mut line.as_bytes().to_vec(), 0);
        }
        backlog.finish();
        let mut written = String::new();
        let (end, read) = tokio::join!(pump(&backlog, epoch, ours), child.read_to_string(&mut written));
        assert_eq!((end, read.expect("UTF-8")), (PumpEnd::Finished, lines.len()));
        assert_eq!(written, lines);
        assert_eq!(backlog.stdin_bytes(), 0);
    }

    #[tokio::test]
    async fn a_closed_pipe_ends_the_pump() {
        let (child, ours) = tokio::io::duplex(7);
        drop(child);
        let backlog = Backlog::new(1000);
        let epoch = backlog.open();
        backlog.append(&mut b"line\n".to_vec(), 0);
        assert_eq!(pump(&backlog, epoch, ours).await, PumpEnd::Broken);
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
        let backlog = Backlog::new(1000);
        let epoch = backlog.open();
        for _ in 0..50 {
            backlog.append(&mut b"line\n".to_vec(), 0);
        }
        backlog.finish();
        let mut stdin = Counting(0);
        pump(&backlog, epoch, &mut stdin).await;
        assert_eq!(stdin.0, 1);
    }
}
