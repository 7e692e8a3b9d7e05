//! The body of a response: bytes that are there, or the events of a stream as they come.
//!
//! An event stream polls its session directly; what is ready goes out as one chunk. Nothing is buffered ahead: while the
//! connection does not take more, hyper does not poll, and events wait in the session, which has bounds for them.
//! Dropped, the body tells the session that its client is gone.

use std::convert::Infallible;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use hyper::body::{Body as HttpBody, Frame, SizeHint};
use tokio::time::{Instant, Sleep};

use super::modern::StepBody;
use super::sse;
use crate::session::{Owned, StreamReader};

/// The body of a response.
#[derive(Debug)]
pub enum Body {
    /// All of it; none: empty, or taken.
    Full(Option<Bytes>),
    /// The events of a stream.
    Events(Box<EventBody>),
    /// The events of a modern exchange.
    Steps(Box<StepBody>),
}

impl Body {
    /// Nothing.
    pub const fn empty() -> Self {
        Self::Full(None)
    }
}

impl From<Bytes> for Body {
    fn from(bytes: Bytes) -> Self {
        Self::Full(Some(bytes))
    }
}

impl From<EventBody> for Body {
    fn from(events: EventBody) -> Self {
        Self::Events(Box::new(events))
    }
}

impl HttpBody for Body {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let chunk = match self.get_mut() {
            Self::Full(bytes) => Poll::Ready(bytes.take().filter(|bytes| !bytes.is_empty())),
            Self::Events(events) => events.poll_chunk(cx),
            Self::Steps(steps) => steps.poll_chunk(cx),
        };
        chunk.map(|chunk| chunk.map(|chunk| Ok(Frame::data(chunk))))
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Full(bytes) => bytes.as_ref().is_none_or(Bytes::is_empty),
            Self::Events(events) => events.ended,
            Self::Steps(steps) => steps.is_over(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Full(bytes) => SizeHint::with_exact(bytes.as_ref().map_or(0, |bytes| bytes.len() as u64)),
            Self::Events(_) | Self::Steps(_) => SizeHint::default(),
        }
    }
}

/// The events of a stream.
pub struct EventBody {
    reader: StreamReader,
    /// What goes out before the first event.
    preamble: Bytes,
    keep_alive: Duration,
    /// Armed only once there is something to wait for: most POSTs never need it.
    timer: Option<Pin<Box<Sleep>>>,
    ended: bool,
    /// A session that ends with this body; after `reader`, which is to leave first.
    _owned: Option<Owned>,
}

impl fmt::Debug for EventBody {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.reader.fmt(f)
    }
}

impl EventBody {
    /// What `reader` reads, after `preamble`, with a comment every `keep_alive`. `owned` is closed with the body.
    pub fn new(reader: StreamReader, preamble: Bytes, keep_alive: Duration, owned: Option<Owned>) -> Self {
        Self { reader, preamble, keep_alive, timer: None, ended: false, _owned: owned }
    }

    fn poll_chunk(&mut self, cx: &mut Context<'_>) -> Poll<Option<Bytes>> {
        if !self.preamble.is_empty() {
            return Poll::Ready(Some(std::mem::take(&mut self.preamble)));
        }
        if self.ended {
            return Poll::Ready(None);
        }
        let mut chunk = BytesMut::new();
        while chunk.len() < CHUNK_BYTES {
            match self.reader.poll_event(cx) {
                Poll::Ready(Some(event)) => sse::message(&mut chunk, event.id, &event.frame),
                Poll::Ready(None) => {
                    self.ended = true;
                    break;
                }
                Poll::Pending => break,
            }
        }
        if !chunk.is_empty() {
            return Poll::Ready(Some(chunk.freeze()));
        }
        if self.ended {
            return Poll::Ready(None);
        }
        self.poll_keep_alive(cx).map(Some)
    }

    fn poll_keep_alive(&mut self, cx: &mut Context<'_>) -> Poll<Bytes> {
        let timer = self.timer.get_or_insert_with(|| Box::pin(tokio::time::sleep(self.keep_alive)));
        if timer.as_mut().poll(cx).is_pending() {
            return Poll::Pending;
        }
        timer.as_mut().reset(Instant::now() + self.keep_alive);
        Poll::Ready(Bytes::from_static(sse::KEEP_ALIVE))
    }
}

/// About the most bytes of events in one chunk; one larger event makes a larger one.
const CHUNK_BYTES: usize = 64 * 1024;
