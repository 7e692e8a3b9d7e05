//! The reader's side of a stream: taking answers and events, resuming, leaving.

use std::task::{Poll, Waker};

use super::super::event_log::EventId;
use super::super::queue::{Answer, Taken};
use super::super::unread::Held;
use super::{Attention, Effects, Kind, Reader, Stream, Streams};
use crate::error::Reject;
use crate::jsonrpc::Frame;
use crate::metrics::Outcome;
use crate::router::StreamId;

/// How a POST is to be answered.
#[derive(Debug)]
pub enum Head {
    /// With these answers, which are all, and what is held for them: as JSON. None, if every request was cancelled.
    Answers(Vec<Answer>, Held),
    /// With an event stream.
    Events,
}

/// One message of an event stream.
#[derive(Debug)]
pub struct Event {
    /// Its id, where the stream can be resumed.
    pub id: Option<EventId>,
    /// The message.
    pub frame: Frame,
    /// What is held for it, of what all sessions may leave unread.
    pub held: Held,
    /// What it is to a request.
    pub settles: Settles,
}

/// What an event is to the requests of its stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Settles {
    /// It is no answer.
    Nothing,
    /// It is the answer to one.
    Request,
    /// It is mcp-mux's own error for one: what that counts as, and its code.
    Refused(Outcome, i32),
}

impl Streams {
    /// The reader of that generation, if it still is the one.
    fn reading(&mut self, id: StreamId, generation: u64) -> Option<&mut Stream> {
        self.streams
            .get_mut(&id)
            .filter(|stream| stream.reader.as_ref().is_some_and(|reader| reader.generation == generation))
    }

    /// Says what a reader is to be given from now on. It does not wait now, whatever it began.
    pub(in super::super) fn attend(&mut self, id: StreamId, generation: u64, attention: Attention) -> Effects {
        let mut effects = Effects::default();
        if let Some(stream) = self.reading(id, generation) {
            stream.attention = attention;
            drop(stream.waker());
            self.hold_or_shed(id, &mut effects);
        }
        effects
    }

    /// Waits until it is known how a POST is to be answered. With `events_only` it is not answered as JSON unless
    /// there is nothing but an error that has an HTTP status of its own.
    pub(in super::super) fn poll_head(
        &mut self,
        id: StreamId,
        generation: u64,
        events_only: bool,
        waker: &Waker,
    ) -> Poll<Head> {
        let Some(stream) = self.reading(id, generation) else {
            return Poll::Ready(Head::Answers(Vec::new(), Held::default()));
        };
        if stream.queue.messages() > 0 {
            return Poll::Ready(Head::Events);
        }
        if events_only && !stream.queue.is_empty() {
            let refused = stream.queue.only_rejected().is_some_and(|reject| reject.wire().status.as_u16() != 200);
            if !refused {
                return Poll::Ready(Head::Events);
            }
        }
        if stream.pending == 0 {
            let (answers, held) = stream.queue.take_answers();
            return Poll::Ready(Head::Answers(answers, held));
        }
        keep_waker(stream, waker);
        Poll::Pending
    }

    /// The POST becomes an event stream. With `prime` its client is told the stream's name, if it can be resumed.
    pub(in super::super) fn begin_events(&mut self, id: StreamId, generation: u64, prime: bool) -> Option<EventId> {
        let names = prime && self.bounds.resumable && !self.closed;
        let stream = self.reading(id, generation).filter(|_| names)?;
        stream.named = true;
        Some(EventId { stream: id, number: 0 })
    }

    /// The next event for a reader; none when the stream has ended for it.
    pub(in super::super) fn poll_event(&mut self, id: StreamId, generation: u64, waker: &Waker) -> Poll<Option<Event>> {
        let Some(stream) = self.reading(id, generation) else { return Poll::Ready(None) };
        let next = stream.reader.as_ref().map_or(0, |reader| reader.next);
        if next <= stream.sent {
            return Poll::Ready(self.replay(EventId { stream: id, number: next }));
        }
        let item = match stream.kind {
            Kind::Post(_) | Kind::Everything => stream.queue.pop(),
            Kind::Standing => self.take_from_pool(id),
        };
        if let Some(taken) = item {
            return Poll::Ready(Some(self.event(id, taken)));
        }
        let Some(stream) = self.streams.get_mut(&id) else { return Poll::Ready(None) };
        let over = match stream.kind {
            Kind::Post(_) => stream.pending == 0,
            Kind::Standing => false,
            Kind::Everything => stream.pending == 0 && self.ending,
        };
        if over {
            return Poll::Ready(None);
        }
        keep_waker(stream, waker);
        Poll::Pending
    }

    /// What comes next for a reader, as it was delivered; none when the stream has ended for it. Not to be mixed with
    /// events, which are numbered.
    pub(in super::super) fn poll_item(&mut self, id: StreamId, generation: u64, waker: &Waker) -> Poll<Option<Taken>> {
        let Some(stream) = self.reading(id, generation) else { return Poll::Ready(None) };
        let (kind, pending) = (stream.kind, stream.pending);
        let item = match kind {
            Kind::Post(_) | Kind::Everything => stream.queue.pop(),
            Kind::Standing => self.take_from_pool(id),
        };
        if item.is_some() || (pending == 0 && kind != Kind::Standing) {
            return Poll::Ready(item);
        }
        if let Some(stream) = self.reading(id, generation) {
            keep_waker(stream, waker);
        }
        Poll::Pending
    }

    /// The next message for a standing stream, if it is the one that is served.
    fn take_from_pool(&mut self, id: StreamId) -> Option<Taken> {
        let item = if self.standing.last() == Some(&id) { self.pool.pop() } else { None };
        if self.pool.is_empty() {
            self.strained = false;
        }
        item
    }

    /// A kept event once more; none (which ends the stream) if it was evicted while the reader was on its way. Where there is no
    /// room to hold it, it is held for replay all the same.
    fn replay(&mut self, id: EventId) -> Option<Event> {
        let frame = self.log.event(id)?.clone();
        let mut held = Held::default();
        held.grow(frame.len(), &self.share);
        let reader = self.streams.get_mut(&id.stream)?.reader.as_mut()?;
        reader.next += 1;
        Some(Event { id: Some(id), frame, held, settles: Settles::Nothing })
    }

    /// A client comes back to a stream: its new reader gets what was sent after `last`, then what was not sent yet. A
    /// reader that is still there ends.
    ///
    /// # Errors
    /// [`Reject::EventUnknown`]: no such stream, no such event, or not all events after it are kept.
    pub(in super::super) fn resume(&mut self, last: EventId) -> Result<(u64, Effects), Reject> {
        let mut effects = Effects::default();
        let stream = self.streams.get(&last.stream).filter(|stream| stream.named).ok_or(Reject::EventUnknown)?;
        if !self.log.covers(last, stream.sent) {
            return Err(Reject::EventUnknown);
        }
        // A client that does not know that (its request was cancelled, say) would take a stream that just ends for
        // another broken connection, and come back for ever.
        if stream.ended_at(last.number) {
            return Err(Reject::StreamEnded);
        }
        let standing = stream.kind == Kind::Standing;
        if standing && self.ending {
            return Err(Reject::ShuttingDown);
        }
        self.end_reader(last.stream, &mut effects);
        self.lost.retain(|other| *other != last.stream);
        let reader = self.new_reader(last.number + 1);
        let generation = reader.generation;
        self.change(last.stream, |stream| stream.reader = Some(reader));
        if standing {
            self.take_over(last.stream, &mut effects);
        }
        Ok((generation, effects))
    }

    /// A reader has gone. One that was replaced or disconnected leaves nothing behind.
    pub(in super::super) fn leave(&mut self, id: StreamId, generation: u64) -> Effects {
        let mut effects = Effects::default();
        if self.reading(id, generation).is_some() {
            self.end_reader(id, &mut effects);
            // Its own waker is of no use any more.
            effects = Effects::default();
            self.after_leave(id, &mut effects);
        }
        effects
    }
}

fn keep_waker(stream: &mut Stream, waker: &Waker) {
    if let Some(Reader { waker: kept, .. }) = &mut stream.reader {
        match kept {
            Some(kept) => kept.clone_from(waker),
            None => *kept = Some(waker.clone()),
        }
    }
}
