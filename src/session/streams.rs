//! The streams of one session: what waits on each, who reads it, what can still be resumed.
//!
//! Pure: deliveries and readers come in, wakers and events go out; [`super::Session`] puts a lock around it. A stream
//! is one of three kinds: the POST that requests came with, a standing GET stream of Streamable HTTP, or the one stream
//! of HTTP+SSE that carries everything. What belongs to no POST waits in one pool; of the connected GET streams only the
//! one opened last takes from it, so nothing is ever sent twice.
//!
//! Invariants: an answer waits on the stream of its request as long as somebody reads that stream or may come back to
//! it by an event id; every queue has a bound; a stream that nobody can ask for any more is gone.
//!
//! Spec: 2025-11-25, Transports, Multiple Connections; Resumability and Redelivery.

mod asked;
mod bounds;
mod effects;
mod leaving;
mod pressure;
mod reading;
mod stream;
#[cfg(test)]
mod tests;

use std::collections::VecDeque;
use std::num::NonZeroUsize;
use std::sync::Arc;

use rustc_hash::FxHashMap;

use super::event_log::{EventId, EventLog};
use super::queue::{Answer, Item, Queue, Taken, compact, lasts};
use super::unread::Share;
use crate::auth::usage::{Room, Usage};
use crate::error::Reject;
use crate::jsonrpc::Frame;
use crate::metrics::{Limit, limit_hit};
use crate::router::{Payload, StreamId};
use crate::telemetry::watermark::Watermark;

pub use asked::{Asked, PostForm};
pub(super) use bounds::Bounds;
pub(super) use effects::{Effects, Notice};
pub use reading::{Event, Head, Settles};
pub use stream::Attention;
use stream::{Abandoned, Kind, Reader, Stream};

/// The streams of one session.
#[derive(Debug)]
pub(super) struct Streams {
    bounds: Bounds,
    /// Of the requests in flight.
    watermark: Watermark,
    streams: FxHashMap<StreamId, Stream>,
    /// The connected GET streams in the order they were opened; the last one takes from the pool.
    standing: Vec<StreamId>,
    /// What belongs to no stream of a POST, unsent.
    pool: Queue,
    /// The pool was taken over from a reader that did not keep up and was not empty since.
    strained: bool,
    log: EventLog,
    /// Streams whose reader left before the end, in that order: they wait for it to come back.
    lost: VecDeque<StreamId>,
    /// The sum of [`Stream::abandoned`]; see [`Streams::change`].
    abandoned: Abandoned,
    seq: u64,
    generation: u64,
    /// What there is in flight, of what its principal may have.
    pending: Room,
    usage: Arc<Usage>,
    /// What it may leave unread, of what all sessions may.
    share: Arc<Share>,
    in_flight_max: Option<NonZeroUsize>,
    readers: usize,
    /// Standing streams are to end.
    ending: bool,
    closed: bool,
}

impl Streams {
    pub(super) fn new(
        bounds: Bounds,
        usage: Arc<Usage>,
        share: Arc<Share>,
        in_flight_max: Option<NonZeroUsize>,
    ) -> Self {
        Self {
            bounds,
            watermark: Watermark::new("--in-flight-max", bounds.in_flight, "further requests are refused"),
            streams: FxHashMap::default(),
            standing: Vec::new(),
            pool: Queue::default(),
            strained: false,
            log: EventLog::new(bounds.events, bounds.bytes),
            lost: VecDeque::new(),
            abandoned: Abandoned::default(),
            seq: 0,
            generation: 0,
            pending: Room::none(Arc::clone(&usage)),
            usage,
            share,
            in_flight_max,
            readers: 0,
            ending: false,
            closed: false,
        }
    }

    /// The bounds of its session.
    pub(super) const fn bounds(&self) -> &Bounds {
        &self.bounds
    }

    /// Whether the client is there: it waits for an answer or has a stream open. A request in flight whose client is
    /// gone does not count, or a child that hangs would keep for ever what a vanished client left behind.
    pub(super) fn is_busy(&self) -> bool {
        self.readers > 0
    }

    /// From now on its principal may have so many requests in flight, over all its sessions.
    pub(super) fn allow_in_flight(&mut self, max: Option<NonZeroUsize>) {
        self.in_flight_max = max;
    }

    /// How many requests its principal has in flight, and how many it may have; none where there is no limit.
    pub(super) fn principal_in_flight(&self) -> Option<(usize, usize)> {
        self.in_flight_max.map(|max| (self.usage.in_flight(), max.get()))
    }

    /// How many sessions its principal has.
    pub(super) fn principal_sessions(&self) -> usize {
        self.usage.sessions()
    }

    /// Requests that are not settled.
    pub(super) fn pending(&self) -> usize {
        self.pending.requests()
    }

    /// Room for these requests, in the session and of what its principal may have.
    pub(super) fn admit(&self, asked: Asked) -> Result<Room, Reject> {
        let limit = self.bounds.in_flight;
        let room = match asked {
            Asked::Requests(requests) => self.pending().saturating_add(requests) <= limit,
            Asked::Ping => self.pending() < limit.saturating_add(PINGS_MAX),
        };
        if room {
            self.usage.begin(asked.answers(), self.in_flight_max)
        } else {
            Err(Reject::InFlight { limit }.counted())
        }
    }

    /// Whether it is news that with these requests there is little room left, and how many there may be.
    pub(super) fn is_close_to_full(&self, asked: Asked) -> Option<usize> {
        let news = self.watermark.is_news(self.pending().saturating_add(asked.answers()));
        news.then_some(self.bounds.in_flight)
    }

    /// Whether new standing streams are refused, since the old ones are ending.
    pub(super) fn is_ending(&self) -> bool {
        self.ending
    }

    /// Changes a stream that has no reader, or is to have none or one, and keeps account of it.
    fn change<T>(&mut self, id: StreamId, change: impl FnOnce(&mut Stream) -> T) -> Option<T> {
        let stream = self.streams.get_mut(&id)?;
        let before = stream.abandoned();
        let value = change(stream);
        let after = stream.abandoned();
        self.abandoned.messages = self.abandoned.messages + after.messages - before.messages;
        self.abandoned.bytes = self.abandoned.bytes + after.bytes - before.bytes;
        Some(value)
    }

    fn next_seq(&mut self) -> u64 {
        self.seq += 1;
        self.seq
    }

    // --- opening and closing ---

    /// Opens the stream of a POST with the requests that there is room for; returns its reader's generation.
    pub(super) fn open_post(&mut self, id: StreamId, room: Room, form: PostForm) -> u64 {
        let requests = room.requests();
        self.pending.absorb(room);
        self.open(id, Kind::Post(form), requests)
    }

    /// Opens a standing stream: it takes over the pool. Where there are too many, the oldest ends.
    pub(super) fn open_standing(&mut self, id: StreamId) -> (u64, Effects) {
        let mut effects = Effects::default();
        let generation = self.open(id, Kind::Standing, 0);
        self.take_over(id, &mut effects);
        (generation, effects)
    }

    /// A standing stream becomes the one that takes from the pool.
    fn take_over(&mut self, id: StreamId, effects: &mut Effects) {
        self.standing.retain(|other| *other != id);
        self.standing.push(id);
        while self.standing.len() > self.bounds.standing
            && let Some(oldest) = self.standing.first().copied()
        {
            limit_hit(Limit::StreamsMax);
            self.end_reader(oldest, effects);
            self.after_leave(oldest, effects);
        }
    }

    /// Opens the one stream of HTTP+SSE.
    pub(super) fn open_everything(&mut self) -> u64 {
        self.open(StreamId::STANDALONE, Kind::Everything, 0)
    }

    fn open(&mut self, id: StreamId, kind: Kind, pending: usize) -> u64 {
        let reader = self.new_reader(1);
        let generation = reader.generation;
        let stream = Stream {
            kind,
            reader: Some(reader),
            pending,
            queue: Queue::default(),
            sent: 0,
            named: false,
            attention: Attention::Full,
        };
        self.streams.insert(id, stream);
        generation
    }

    fn new_reader(&mut self, next: u64) -> Reader {
        self.readers += 1;
        self.generation += 1;
        Reader { generation: self.generation, next, waker: None }
    }

    /// More requests on the stream of HTTP+SSE.
    pub(super) fn expect(&mut self, id: StreamId, room: Room) -> bool {
        let Some(stream) = self.streams.get_mut(&id) else { return false };
        stream.pending += room.requests();
        self.pending.absorb(room);
        true
    }

    /// The standing streams end, for now.
    pub(super) fn disconnect_standing(&mut self) -> Effects {
        let mut effects = Effects::default();
        for id in std::mem::take(&mut self.standing) {
            self.end_reader(id, &mut effects);
            self.after_leave(id, &mut effects);
        }
        effects
    }

    /// The standing streams end; the stream of HTTP+SSE as soon as it has answered what is in flight.
    pub(super) fn end_standing(&mut self) -> Effects {
        self.ending = true;
        let mut effects = self.disconnect_standing();
        if let Some(stream) = self.streams.get_mut(&StreamId::STANDALONE) {
            effects.wake_later(stream.waker());
        }
        effects
    }

    /// The session is over. Readers of a POST stay until their requests are settled, which whoever closes it sees to.
    pub(super) fn close(&mut self) -> Effects {
        self.closed = true;
        self.log.clear();
        self.lost.clear();
        self.pool = Queue::default();
        for stream in self.streams.values_mut() {
            stream.named = false;
            if stream.reader.is_none() {
                stream.queue = Queue::default();
            }
        }
        self.abandoned = Abandoned::default();
        let effects = self.end_standing();
        self.streams.retain(|_, stream| stream.reader.is_some() || stream.pending > 0);
        effects
    }

    // --- delivering ---

    /// Takes a delivery of the router.
    pub(super) fn deliver(&mut self, id: StreamId, payload: Payload) -> Effects {
        match payload {
            Payload::Message(frame) => self.message(id, frame),
            Payload::Response(frame) => self.settle(id, Some(Answer::Response(frame))),
            Payload::Initialized(frame, revision) => self.settle(id, Some(Answer::Initialized(frame, revision))),
            Payload::Rejected(request, reject) => self.settle(id, Some(Answer::Rejected(request, reject))),
            Payload::Cancelled => self.settle(id, None),
        }
    }

    /// An answer that was never in flight.
    pub(super) fn answer(&mut self, id: StreamId, answer: Answer) -> Effects {
        let mut effects = Effects::default();
        self.push_answer(id, answer, &mut effects);
        effects
    }

    fn settle(&mut self, id: StreamId, answer: Option<Answer>) -> Effects {
        let mut effects = Effects::default();
        // What is not in flight is settled already.
        let Some(stream) = self.streams.get_mut(&id).filter(|stream| stream.pending > 0) else { return effects };
        stream.pending -= 1;
        self.pending.give_back();
        if let Some(answer) = answer {
            self.push_answer(id, answer, &mut effects);
        } else {
            effects.wake_later(stream.waker());
        }
        self.remove_if_done(id);
        effects
    }

    fn push_answer(&mut self, id: StreamId, answer: Answer, effects: &mut Effects) {
        let seq = self.next_seq();
        let Some(stream) = self.streams.get_mut(&id) else { return };
        if stream.reader.is_some() {
            let answer = if stream.attention == Attention::Full { answer } else { answer.compact() };
            stream.queue.push(seq, Item::Answer(answer), &self.share);
            self.check_reader(id, effects);
            self.wake_reader(id, effects);
        } else if stream.named {
            self.put_by(id, seq, Item::Answer(answer), effects);
        }
        // Else its client left without an event id: nobody can ever ask for this.
    }

    fn message(&mut self, id: StreamId, frame: Frame) -> Effects {
        let mut effects = Effects::default();
        let seq = self.next_seq();
        if let Some(stream) = self.streams.get_mut(&id).filter(|stream| stream.takes_messages()) {
            if stream.reader.is_some() {
                let frame = match stream.attention {
                    Attention::Full => frame,
                    Attention::Lasting if lasts(&frame) => compact(frame),
                    Attention::Lasting => return effects,
                };
                stream.queue.push(seq, Item::Message(frame), &self.share);
                self.check_reader(id, &mut effects);
                self.wake_reader(id, &mut effects);
            } else {
                self.put_by(id, seq, Item::Message(compact(frame)), &mut effects);
            }
        } else if !self.closed {
            let frame = if self.standing.is_empty() { compact(frame) } else { frame };
            self.pool.push(seq, Item::Message(frame), &self.share);
            self.check_pool(&mut effects);
            self.serve_pool(&mut effects);
        }
        effects
    }

    /// Keeps something for a stream that nobody reads now.
    fn put_by(&mut self, id: StreamId, seq: u64, item: Item, effects: &mut Effects) {
        let share = Arc::clone(&self.share);
        self.change(id, |stream| stream.queue.push(seq, item, &share));
        self.relieve_abandoned(effects);
        self.shed(id, effects);
    }

    fn wake_reader(&mut self, id: StreamId, effects: &mut Effects) {
        effects.wake_later(self.streams.get_mut(&id).and_then(Stream::waker));
    }

    /// The pool has changed, or who takes from it.
    fn serve_pool(&mut self, effects: &mut Effects) {
        self.shed_pool(effects);
        match self.standing.last().copied() {
            Some(id) => self.wake_reader(id, effects),
            None => self.relieve_pool(effects),
        }
    }

    /// An event that is about to be sent: it gets its id and is kept.
    fn event(&mut self, id: StreamId, taken: Taken) -> Event {
        let Taken { item, held } = taken;
        let settles = match &item {
            Item::Message(_) => Settles::Nothing,
            Item::Answer(Answer::Rejected(_, reject)) => Settles::Refused(reject.outcome(), reject.wire().code),
            Item::Answer(Answer::Response(_) | Answer::Initialized(..)) => Settles::Request,
        };
        let frame = match item {
            Item::Message(frame) => frame,
            Item::Answer(answer) => answer.into_frame(),
        };
        if !self.bounds.resumable || self.closed {
            return Event { id: None, frame, held, settles };
        }
        let Some(stream) = self.streams.get_mut(&id) else { return Event { id: None, frame, held, settles } };
        stream.sent += 1;
        stream.named = true;
        let event = EventId { stream: id, number: stream.sent };
        if let Some(reader) = &mut stream.reader {
            reader.next = stream.sent + 1;
        }
        let frame = compact(frame);
        self.log.push(event, frame.clone());
        while let Some(evicted) = self.log.evict() {
            self.remove_if_done(evicted);
        }
        Event { id: Some(event), frame, held, settles }
    }
}

/// How many pings may be in flight beyond `--in-flight-max`.
const PINGS_MAX: usize = 8;
