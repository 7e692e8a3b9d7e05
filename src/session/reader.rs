//! What an HTTP handler or body holds of a session: the reader of a stream, and the duty to hand requests over.

use std::fmt;
use std::future::poll_fn;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll};

use super::Session;
use super::event_log::EventId;
use super::queue::Taken;
use super::streams::{Attention, Event, Head};
use crate::child::Outbox;
use crate::jsonrpc::Message;
use crate::router::{Payload, Sender, StreamId};

/// Reads one stream of a session. Dropped, it tells the session that its client is not connected any more.
pub struct StreamReader {
    session: Arc<Session>,
    stream: StreamId,
    generation: u64,
}

impl fmt::Debug for StreamReader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "StreamReader({}, {})", self.session.id, self.stream.0)
    }
}

impl StreamReader {
    pub(super) fn new(session: Arc<Session>, stream: StreamId, generation: u64) -> Self {
        session.shared.readers.fetch_add(1, Ordering::Relaxed);
        Self { session, stream, generation }
    }

    /// Which stream.
    pub const fn stream(&self) -> StreamId {
        self.stream
    }

    /// Waits until it is known how a POST is to be answered. With `events_only` it is not answered as JSON unless there
    /// is nothing but an error that has an HTTP status of its own.
    ///
    /// # Cancel safety
    /// Cancelled before it returns, nothing was taken.
    pub async fn head(&self, events_only: bool) -> Head {
        poll_fn(|cx| self.session.lock().streams.poll_head(self.stream, self.generation, events_only, cx.waker())).await
    }

    /// The POST, or GET, becomes an event stream. Where the session's revision has priming events and the stream can be
    /// resumed, this is the id of the one that is to be sent first.
    pub fn begin_events(&self) -> Option<EventId> {
        let mut state = self.session.lock();
        let prime = state.record.revision.is_some_and(crate::mcp::Revision::has_priming_event);
        state.streams.begin_events(self.stream, self.generation, prime)
    }

    /// What comes next, as it was delivered; none when the stream has ended. For exchanges, whose events have no ids.
    ///
    /// # Cancel safety
    /// Cancelled before it returns, nothing was taken.
    pub async fn next(&self) -> Option<Taken> {
        poll_fn(|cx| self.session.lock().streams.poll_item(self.stream, self.generation, cx.waker())).await
    }

    /// Says what it is to be given from now on: one that will read nothing for long needs less.
    pub fn attend(&self, attention: Attention) {
        let effects = self.session.lock().streams.attend(self.stream, self.generation, attention);
        self.session.apply(effects);
    }

    /// The next event; none when the stream has ended.
    pub fn poll_event(&self, cx: &mut Context<'_>) -> Poll<Option<Event>> {
        self.session.lock().streams.poll_event(self.stream, self.generation, cx.waker())
    }
}

impl Drop for StreamReader {
    fn drop(&mut self) {
        self.session.shared.readers.fetch_sub(1, Ordering::Relaxed);
        let effects = self.session.lock().streams.leave(self.stream, self.generation);
        self.session.apply(effects);
    }
}

/// Requests that their session expects but that were not handed over to the child yet. Dropped (the client hung up
/// meanwhile), it takes back those that are left.
#[derive(Debug)]
#[must_use = "the session waits for these requests"]
pub struct Handover {
    session: Arc<Session>,
    stream: StreamId,
    left: usize,
}

impl Handover {
    pub(super) fn new(session: Arc<Session>, stream: StreamId, left: usize) -> Self {
        Self { session, stream, left }
    }

    /// Hands one request over. Its outcome is delivered to the stream, also when the child does not take it.
    ///
    /// # Cancel safety
    /// Cancelled before it returns, the request was not handed over.
    pub async fn request(&mut self, message: Message) {
        self.request_as(Sender::Client, message).await;
    }

    pub(super) async fn request_as(&mut self, sender: Sender, message: Message) {
        self.session.request(self.stream, sender, message).await;
        self.left = self.left.saturating_sub(1);
    }
}

impl Drop for Handover {
    fn drop(&mut self) {
        for _ in 0..self.left {
            self.session.deliver(self.stream, Payload::Cancelled);
        }
    }
}
