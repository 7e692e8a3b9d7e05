//! What gives way when a bound is reached: messages before answers, the oldest first, and the reader that does not keep
//! up before anybody else.

use super::super::queue::{ERROR_BYTES, Queue, SMALL_BYTES_MAX};
use super::super::unread::Held;
use super::{Effects, Kind, Notice, Stream, Streams};
use crate::error::{Reject, UNREAD_TOTAL};
use crate::jsonrpc::Frame;
use crate::metrics::{Limit, limit_hit};
use crate::router::StreamId;

impl Streams {
    /// The limit that a connected reader has reached of what it may leave unread: it may be a burst of the child, which is
    /// no fault of the reader. One message, however large, says nothing of it: it may have had no time for that yet.
    fn lags(&self, queue: &Queue, counted: usize, times: usize) -> Option<Limit> {
        let bytes_max = self.bounds.unread_bytes.saturating_mul(times);
        if counted > self.bounds.unread_messages.saturating_mul(times) {
            Some(Limit::UnreadMessagesMax)
        } else if queue.message_bytes() > bytes_max && queue.message_bytes_but_largest() > bytes_max {
            Some(Limit::UnreadBytesMax)
        } else {
            None
        }
    }

    /// Disconnects the reader of a stream of its own queue if it does not keep up.
    pub(super) fn check_reader(&mut self, id: StreamId, effects: &mut Effects) {
        let Some(stream) = self.streams.get(&id) else { return };
        let everything = stream.kind == Kind::Everything;
        let queue = &stream.queue;
        // A small thing goes out now, and nothing waits behind it.
        let passes = stream.is_waited_on() && queue.is_one_small();
        // In HTTP+SSE a client can go on sending requests without ever reading. Elsewhere its answers wait on as many POSTs.
        let counted = if everything { queue.messages() + queue.answers() } else { queue.messages() };
        if let Some(limit) = self.lags(queue, counted, 1) {
            limit_hit(limit);
            effects.notice = Some(if everything { Notice::SlowSession } else { Notice::SlowConsumer });
            self.end_reader(id, effects);
            self.after_leave(id, effects);
        } else if !passes {
            // What is too much for all may be another reader's fault.
            self.shed(id, effects);
        }
    }

    /// Disconnects the reader of the pool if it does not keep up; the one before it takes over. That one inherits a full
    /// pool, so until it has emptied it the bound is twice as high.
    pub(super) fn check_pool(&mut self, effects: &mut Effects) {
        let Some(id) = self.standing.last().copied() else { return };
        let reached = self.lags(&self.pool, self.pool.messages(), if self.strained { 2 } else { 1 });
        if let Some(limit) = reached {
            limit_hit(limit);
            effects.notice = Some(Notice::SlowConsumer);
            self.strained = true;
            self.end_reader(id, effects);
            self.after_leave(id, effects);
        }
    }

    /// Keeps the pool within its bound while nobody takes from it.
    pub(super) fn relieve_pool(&mut self, effects: &mut Effects) {
        while self.pool.messages() > self.bounds.events || self.pool.message_bytes() > self.bounds.bytes {
            let Some(dropped) = self.pool.drop_oldest_message() else { break };
            effects.dropped.push(dropped);
            self.notice_drop(effects);
        }
    }

    /// Gives up what there was no room for, of what all sessions may leave unread together: of the pool.
    pub(super) fn shed_pool(&mut self, effects: &mut Effects) {
        let reader = self.standing.last().and_then(|id| self.streams.get(id));
        if reader.is_some_and(Stream::is_waited_on) && self.pool.is_one_small() {
            return;
        }
        while self.pool.is_over() {
            let Some(dropped) = self.pool.drop_oldest_message() else { break };
            note_shed(dropped, effects);
        }
    }

    /// The same, of a stream: messages first, then large answers, and those before messages that would not be enough. Small
    /// answers stay.
    pub(super) fn shed(&mut self, id: StreamId, effects: &mut Effects) {
        while let Some(stream) = self.streams.get(&id).filter(|stream| stream.queue.is_over()) {
            let small = stream.small_answer_bytes();
            let answer = stream.queue.newest_answer_above(small);
            let all_messages = stream.queue.message_bytes();
            if answer.is_none_or(|(_, bytes)| bytes <= all_messages)
                && let Some(dropped) = self.change(id, |stream| stream.queue.drop_oldest_message()).flatten()
            {
                note_shed(dropped, effects);
            } else if answer.is_some() {
                let reject = self.no_room();
                self.change(id, |stream| stream.queue.replace_newest_answer(small, &reject));
                effects.notice = effects.notice.or(Some(Notice::AnswerNotKept));
            } else {
                return;
            }
        }
    }

    /// Holds so many bytes for what is said to the client beside its streams.
    ///
    /// # Errors
    /// [`Reject::AnswerNotKept`]: it is much, and there is no room.
    pub(in super::super) fn hold(&self, bytes: usize) -> Result<Held, Reject> {
        let mut held = Held::default();
        if held.grow(bytes, &self.share) || bytes <= SMALL_BYTES_MAX { Ok(held) } else { Err(self.no_room()) }
    }

    fn no_room(&self) -> Reject {
        Reject::AnswerNotKept { limit: self.share.bytes_max(), flag: UNREAD_TOTAL }.counted()
    }

    /// Holds what a stream's queue has, as far as there is room.
    pub(super) fn hold_or_shed(&mut self, id: StreamId, effects: &mut Effects) {
        if let Some(stream) = self.streams.get_mut(&id) {
            stream.queue.hold(&self.share);
            self.shed(id, effects);
        }
    }

    /// Where nothing is to be kept, nobody needs to hear that nothing was.
    fn notice_drop(&self, effects: &mut Effects) {
        if self.bounds.events > 0 {
            limit_hit(Limit::ReplayEvents);
            effects.notice = effects.notice.or(Some(Notice::Dropped));
        }
    }

    /// Keeps what waits for readers to come back within its bound, over all streams.
    pub(super) fn relieve_abandoned(&mut self, effects: &mut Effects) {
        let bounds = self.bounds;
        while self.abandoned.messages > bounds.events || self.abandoned.bytes > bounds.bytes {
            let oldest = self.abandoned().filter_map(|(id, stream)| Some((stream.queue.oldest_message()?, id))).min();
            if let Some((_, id)) = oldest {
                effects.dropped.extend(self.change(id, |stream| stream.queue.drop_oldest_message()).flatten());
                self.notice_drop(effects);
                continue;
            }
            let large = |(id, stream): (_, &Stream)| Some((stream.queue.newest_answer_above(ERROR_BYTES)?.0, id));
            let Some((_, id)) = self.abandoned().filter_map(large).max() else { return };
            let reject = Reject::AnswerNotKept { limit: bounds.bytes, flag: "--replay-bytes" }.counted();
            self.change(id, |stream| stream.queue.replace_newest_answer(ERROR_BYTES, &reject));
            effects.notice = effects.notice.or(Some(Notice::AnswerNotKept));
        }
    }

    /// The streams that wait for their reader to come back.
    fn abandoned(&self) -> impl Iterator<Item = (StreamId, &Stream)> {
        self.streams.iter().filter(|(_, stream)| stream.reader.is_none()).map(|(id, stream)| (*id, stream))
    }
}

fn note_shed(dropped: Frame, effects: &mut Effects) {
    limit_hit(Limit::UnreadTotalBytesMax);
    effects.dropped.push(dropped);
    effects.notice = effects.notice.or(Some(Notice::Dropped));
}
