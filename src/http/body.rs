//! The body of a response: bytes that are there, or the events of a stream as they come.
//!
//! An event stream polls its session directly; what is ready goes out as one chunk, a long message as one of its own.
//! Nothing is buffered ahead: while the connection does not take more, hyper does not poll, and events wait in the session,
//! which has bounds for them; what is on its way out is held of these until it was sent. Dropped, the body tells the session that its client is gone.

use std::convert::Infallible;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use hyper::body::{Body as HttpBody, Frame, SizeHint};
use tokio::time::{Instant, Sleep};

use super::modern::StepBody;
use super::observe::{Audience, Verdict};
use super::sse;
use crate::jsonrpc::Pieces;
use crate::session::{Held, Owned, Settles, StreamReader};

/// The body of a response.
#[derive(Debug)]
pub enum Body {
    /// What is left of all of it, and what is held for that.
    Full(Pieces, Held),
    /// The events of a stream.
    Events(Box<EventBody>),
    /// The events of a modern exchange.
    Steps(Box<StepBody>),
}

impl Body {
    /// Nothing.
    pub fn empty() -> Self {
        Pieces::new().into()
    }
}

impl From<Pieces> for Body {
    fn from(pieces: Pieces) -> Self {
        Self::Full(pieces, Held::default())
    }
}

impl From<(Pieces, Held)> for Body {
    fn from((pieces, held): (Pieces, Held)) -> Self {
        Self::Full(pieces, held)
    }
}

impl From<Bytes> for Body {
    fn from(bytes: Bytes) -> Self {
        Pieces::from(bytes).into()
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
            Self::Full(pieces, held) => Poll::Ready(take(pieces, held)),
            Self::Events(events) => events.poll_chunk(cx),
            Self::Steps(steps) => steps.poll_chunk(cx),
        };
        chunk.map(|chunk| chunk.map(|chunk| Ok(Frame::data(chunk))))
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Full(pieces, _) => pieces.is_empty(),
            Self::Events(events) => events.ended && events.ready.is_empty(),
            Self::Steps(steps) => steps.is_over(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Full(pieces, _) => SizeHint::with_exact(pieces.len() as u64),
            Self::Events(_) | Self::Steps(_) => SizeHint::default(),
        }
    }
}

/// The events of a stream.
pub struct EventBody {
    reader: StreamReader,
    /// What is to go out: what comes before the first event, then events that are ready.
    ready: Pieces,
    /// What is held for that.
    held: Held,
    keep_alive: Duration,
    /// Armed only once there is something to wait for: most POSTs never need it.
    timer: Option<Pin<Box<Sleep>>>,
    ended: bool,
    audience: Audience,
    /// A session that ends with this body; after `reader`, which is to leave first.
    _owned: Option<Owned>,
}

impl fmt::Debug for EventBody {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.reader.fmt(f)
    }
}

impl EventBody {
    /// What `reader` reads, after `ready`, with a comment every `keep_alive`. `owned` is closed with the body.
    pub(super) fn new(
        (reader, ready): (StreamReader, Pieces),
        keep_alive: Duration,
        audience: Audience,
        owned: Option<Owned>,
    ) -> Self {
        Self { reader, ready, held: Held::default(), keep_alive, timer: None, ended: false, audience, _owned: owned }
    }

    fn poll_chunk(&mut self, cx: &mut Context<'_>) -> Poll<Option<Bytes>> {
        if self.ready.is_empty() && !self.ended {
            self.read(cx);
        }
        match take(&mut self.ready, &mut self.held) {
            Some(chunk) => {
                self.audience.sent(chunk.len());
                Poll::Ready(Some(chunk))
            }
            None if self.ended => Poll::Ready(None),
            None => self.poll_keep_alive(cx).map(Some),
        }
    }

    /// Takes the events that are there, or about as many as are one chunk.
    fn read(&mut self, cx: &mut Context<'_>) {
        while self.ready.len() < CHUNK_BYTES {
            match self.reader.poll_event(cx) {
                Poll::Ready(Some(event)) => {
                    match event.settles {
                        Settles::Nothing => self.audience.told(event.frame.len()),
                        Settles::Request => self.audience.answered(&event.frame, None),
                        Settles::Refused(outcome, code) => {
                            self.audience
                                .answered(&event.frame, Some(Verdict { outcome, code: Some(code), kind: None }));
                        }
                    }
                    self.held.absorb(event.held);
                    sse::message(&mut self.ready, event.id, &event.frame);
                }
                Poll::Ready(None) => {
                    self.audience.over();
                    return self.ended = true;
                }
                Poll::Pending => return,
            }
        }
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

/// Takes the first piece. What is held for it stays so until the connection has sent it.
pub(super) fn take(pieces: &mut Pieces, held: &mut Held) -> Option<Bytes> {
    let piece = pieces.take()?;
    Some(held.let_out(piece, pieces.len()))
}

/// About the most bytes of events that are taken at once; one larger event makes more.
const CHUNK_BYTES: usize = 64 * 1024;
