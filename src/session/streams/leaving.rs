//! The end of a reader, and of a stream: where what waits goes, and when nothing is left to keep.

use super::super::queue::{Item, Queue};
use super::{Effects, Kind, Streams};
use crate::metrics::{Limit, limit_hit};
use crate::router::StreamId;

impl Streams {
    /// Disconnects a stream's reader: its next poll ends.
    pub(super) fn end_reader(&mut self, id: StreamId, effects: &mut Effects) {
        if let Some(reader) = self.change(id, |stream| stream.reader.take()).flatten() {
            self.readers -= 1;
            effects.wake_later(reader.waker);
        }
    }

    /// A stream has lost its reader.
    pub(super) fn after_leave(&mut self, id: StreamId, effects: &mut Effects) {
        let Some(stream) = self.streams.get_mut(&id) else { return };
        let mut pool_changes = stream.kind == Kind::Standing;
        let unfinished = match stream.kind {
            Kind::Standing => {
                self.standing.retain(|other| *other != id);
                true
            }
            Kind::Post(_) | Kind::Everything => stream.pending > 0 || !stream.queue.is_empty(),
        };
        if stream.named {
            if unfinished {
                self.lost.push_back(id);
            }
            self.relieve_abandoned(effects);
            self.hold_or_shed(id, effects);
            if self.lost.len() > LOST_STREAMS_MAX
                && let Some(oldest) = self.lost.pop_front()
            {
                limit_hit(Limit::StreamsMax);
                self.give_up(oldest, effects);
            }
        } else {
            let queue = self.change(id, |stream| std::mem::take(&mut stream.queue));
            let queue = queue.unwrap_or_default();
            pool_changes |= queue.messages() > 0;
            self.give_to_pool(queue);
        }
        self.remove_if_done(id);
        if pool_changes {
            self.pool.hold(&self.share);
            self.serve_pool(effects);
        }
    }

    /// The unsent messages of a stream that nobody can come back to go to the standalone side.
    fn give_to_pool(&mut self, mut queue: Queue) {
        if !self.closed {
            for (seq, frame) in queue.take_messages() {
                self.pool.push(seq, Item::Message(frame), &self.share);
            }
        }
    }

    /// Nobody came back to this stream for too long.
    fn give_up(&mut self, id: StreamId, effects: &mut Effects) {
        self.log.forget(id);
        let queue = self.change(id, |stream| {
            stream.named = false;
            std::mem::take(&mut stream.queue)
        });
        effects.dropped.extend(queue.unwrap_or_default().take_messages().into_iter().map(|(_, frame)| frame));
        self.remove_if_done(id);
    }

    pub(super) fn remove_if_done(&mut self, id: StreamId) {
        let Some(stream) = self.streams.get(&id) else { return };
        if stream.reader.is_some() || stream.pending > 0 {
            return;
        }
        let done = match stream.kind {
            Kind::Post(_) => !stream.named || (stream.queue.is_empty() && !self.log.holds(id)),
            Kind::Standing => !stream.named,
            Kind::Everything => true,
        };
        if done {
            self.change(id, |stream| stream.queue = Queue::default());
            self.streams.remove(&id);
            self.lost.retain(|other| *other != id);
        }
    }
}

/// The most streams of a session that wait for their reader to come back. Beyond it the one that has waited longest is
/// given up, with what it holds.
pub(super) const LOST_STREAMS_MAX: usize = 256;
