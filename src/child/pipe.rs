//! A child's pipe that is made larger once a message goes through it that does not fit in.
//!
//! A pipe holds 64 KiB, and for a longer message its two ends take turns: each waits for the other, and both are woken, for
//! every 64 KiB. A larger pipe costs memory only for what is in it, but counts against what one user's pipes may hold
//! together (`/proc/sys/fs/pipe-user-pages-soft`, 64 MiB, beyond which new pipes of everything that user runs are tiny). So
//! only those grow that need it, and not many at a time.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::{Semaphore, SemaphorePermit};

#[cfg(target_os = "linux")]
use std::os::fd::AsFd;
#[cfg(not(target_os = "linux"))]
trait AsFd {}
#[cfg(not(target_os = "linux"))]
impl<P> AsFd for P {}

/// What a pipe holds if nobody asks for more; the beginning of a longer line shows that it is too small.
const USUAL_BYTES: usize = 64 * 1024;
/// One read of as much shows that it is too small: a reader finds little in it while its writer keeps pace.
const MUCH_READ_BYTES: usize = USUAL_BYTES / 2;
/// What a large pipe holds: what anybody may ask for (`/proc/sys/fs/pipe-max-size`).
#[cfg(target_os = "linux")]
const LARGE_BYTES: usize = 1024 * 1024;
/// So many may be large at a time.
static LARGE: Semaphore = Semaphore::const_new(16);

/// One end of a child's pipe.
#[derive(Debug)]
pub(super) struct Pipe<P> {
    end: P,
    size: Size,
    /// For how many there is room to be large.
    places: &'static Semaphore,
}

#[derive(Debug)]
enum Size {
    /// As it was made.
    Usual,
    /// Large, until it is closed.
    Large { _place: SemaphorePermit<'static> },
    /// The system allows no more.
    Fixed,
}

impl<P: AsFd> Pipe<P> {
    /// This end of a pipe that is as it was made.
    pub(super) const fn new(end: P) -> Self {
        Self { end, size: Size::Usual, places: &LARGE }
    }

    fn enlarge(&mut self) {
        if let Size::Usual = self.size
            && let Ok(place) = self.places.try_acquire()
        {
            self.size = if make_large(&self.end) { Size::Large { _place: place } } else { Size::Fixed };
        }
    }
}

#[cfg(target_os = "linux")]
fn make_large(end: &impl AsFd) -> bool {
    let made = rustix::pipe::fcntl_setpipe_size(end, LARGE_BYTES);
    if let Err(error) = made {
        tracing::debug!(%error, "a pipe stays as small as it is");
    }
    made.is_ok()
}

#[cfg(not(target_os = "linux"))]
const fn make_large<P>(_end: &P) -> bool {
    false
}

impl<P: AsyncRead + AsFd + Unpin> AsyncRead for Pipe<P> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = into.filled().len();
        let outcome = Pin::new(&mut self.end).poll_read(cx, into);
        if into.filled().len() - before >= MUCH_READ_BYTES {
            self.enlarge();
        }
        outcome
    }
}

impl<P: AsyncWrite + AsFd + Unpin> AsyncWrite for Pipe<P> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        // Many short lines fit in as they are taken. What is in the pipe is lost with the child, so it is large only for a
        // line that is.
        if bytes.get(..USUAL_BYTES).is_some_and(|first| memchr::memchr(b'\n', first).is_none()) {
            self.enlarge();
        }
        Pin::new(&mut self.end).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.end).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.end).poll_shutdown(cx)
    }
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use rustix::pipe::fcntl_getpipe_size;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::unix::pipe::pipe;

    use super::*;

    fn among<P>(end: P, places: &'static Semaphore) -> Pipe<P> {
        Pipe { end, size: Size::Usual, places }
    }

    #[tokio::test]
    async fn one_that_is_written_a_line_longer_than_it_holds_becomes_large() {
        static PLACES: Semaphore = Semaphore::const_new(1);
        let (writer, _reader) = pipe().expect("a pipe");
        let mut writer = among(writer, &PLACES);
        let lines = [vec![b'x'; USUAL_BYTES - 1], vec![b'\n'], vec![b'x'; USUAL_BYTES]].concat();
        assert_eq!(writer.write(&lines).await.expect("room"), USUAL_BYTES);
        assert_eq!(fcntl_getpipe_size(&writer.end), Ok(USUAL_BYTES));
        let rest = LARGE_BYTES - USUAL_BYTES;
        assert_eq!(writer.write(&vec![b'x'; LARGE_BYTES]).await.expect("room"), rest);
    }

    #[tokio::test]
    async fn one_that_much_is_read_from_becomes_large() {
        static PLACES: Semaphore = Semaphore::const_new(1);
        let (mut writer, reader) = pipe().expect("a pipe");
        let (mut reader, mut buffer) = (among(reader, &PLACES), vec![0; USUAL_BYTES]);
        for (bytes, size) in [(MUCH_READ_BYTES - 1, USUAL_BYTES), (MUCH_READ_BYTES, LARGE_BYTES)] {
            writer.write_all(&vec![b'x'; bytes]).await.expect("room");
            assert_eq!(reader.read(&mut buffer).await.expect("written"), bytes);
            assert_eq!(fcntl_getpipe_size(&reader.end), Ok(size));
        }
    }

    #[tokio::test]
    async fn not_many_are_large_at_a_time() {
        static PLACES: Semaphore = Semaphore::const_new(2);
        let mut pipes = Vec::new();
        for large in [true, true, false, true] {
            let (writer, reader) = pipe().expect("a pipe");
            let mut writer = among(writer, &PLACES);
            let written = writer.write(&[b'x'; 2 * USUAL_BYTES]).await.expect("room");
            assert_eq!(written == 2 * USUAL_BYTES, large);
            pipes.push((writer, reader));
            if !large {
                pipes.clear();
            }
        }
    }
}
