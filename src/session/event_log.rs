//! The events of one session that were sent on its event streams and are kept for replay.
//!
//! Pure. Invariants: of each stream the kept events are the last ones without a gap; over all streams there are never
//! more than `events_max` of them, nor more than `bytes_max` bytes; the oldest goes first, whichever stream it is of.
//!
//! Spec: 2025-11-25, Transports, Resumability and Redelivery.

use std::collections::VecDeque;
use std::fmt;
use std::str::FromStr;

use rustc_hash::FxHashMap;

use crate::jsonrpc::Frame;
use crate::router::StreamId;

/// The id of an event, written `<stream>-<number>`: a cursor within its stream, unique in its session.
///
/// Number 0 is the priming event, which carries no message; the messages count from 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EventId {
    /// The stream it was sent on.
    pub stream: StreamId,
    /// Its number on that stream.
    pub number: u64,
}

impl fmt::Display for EventId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.stream.0, self.number)
    }
}

/// The text is not an event id.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not an event id")]
pub struct NotAnEventId;

impl FromStr for EventId {
    type Err = NotAnEventId;

    fn from_str(text: &str) -> Result<Self, NotAnEventId> {
        let number = |text: &str| {
            let canonical = text == "0" || !text.starts_with('0');
            let digits = text.bytes().all(|byte| byte.is_ascii_digit());
            if canonical && digits { text.parse().ok() } else { None }
        };
        let (stream, event) = text.split_once('-').ok_or(NotAnEventId)?;
        let stream = StreamId(number(stream).ok_or(NotAnEventId)?);
        Ok(Self { stream, number: number(event).ok_or(NotAnEventId)? })
    }
}

/// The sent events of a session.
#[derive(Debug)]
pub(super) struct EventLog {
    events_max: usize,
    bytes_max: usize,
    bytes: usize,
    /// One entry for each kept event, oldest first.
    order: VecDeque<StreamId>,
    kept: FxHashMap<StreamId, Kept>,
}

/// The kept events of one stream.
#[derive(Debug)]
struct Kept {
    /// The number of the first one.
    first: u64,
    frames: VecDeque<Frame>,
}

impl EventLog {
    pub(super) fn new(events_max: usize, bytes_max: usize) -> Self {
        Self { events_max, bytes_max, bytes: 0, order: VecDeque::new(), kept: FxHashMap::default() }
    }

    /// Keeps an event; its number is the one after the stream's last. One that is larger than the whole log is not
    /// kept, and neither is what came before it on its stream, since there would be a gap.
    pub(super) fn push(&mut self, id: EventId, frame: Frame) {
        let size = frame.len();
        if size > self.bytes_max {
            self.forget(id.stream);
            return;
        }
        self.bytes += size;
        self.order.push_back(id.stream);
        let kept = self.kept.entry(id.stream).or_insert_with(|| Kept { first: id.number, frames: VecDeque::new() });
        kept.frames.push_back(frame);
    }

    /// While there is more than the bounds allow, takes the oldest event out and names its stream.
    pub(super) fn evict(&mut self) -> Option<StreamId> {
        if self.order.len() <= self.events_max && self.bytes <= self.bytes_max {
            return None;
        }
        let stream = self.order.pop_front()?;
        if let Some(kept) = self.kept.get_mut(&stream) {
            if let Some(frame) = kept.frames.pop_front() {
                self.bytes = self.bytes.saturating_sub(frame.len());
            }
            kept.first += 1;
            if kept.frames.is_empty() {
                self.kept.remove(&stream);
            }
        }
        Some(stream)
    }

    /// The event of that id, if it is kept.
    pub(super) fn event(&self, id: EventId) -> Option<&Frame> {
        let kept = self.kept.get(&id.stream)?;
        kept.frames.get(usize::try_from(id.number.checked_sub(kept.first)?).ok()?)
    }

    /// Whether everything after `id` is kept, where `sent` is the number of the last event sent on its stream.
    pub(super) fn covers(&self, id: EventId, sent: u64) -> bool {
        id.number == sent
            || (id.number < sent && self.kept.get(&id.stream).is_some_and(|kept| kept.first <= id.number + 1))
    }

    /// Whether any event of this stream is kept.
    pub(super) fn holds(&self, stream: StreamId) -> bool {
        self.kept.contains_key(&stream)
    }

    /// Drops the events of a stream.
    pub(super) fn forget(&mut self, stream: StreamId) {
        if let Some(kept) = self.kept.remove(&stream) {
            self.order.retain(|other| *other != stream);
            self.bytes = kept.frames.iter().fold(self.bytes, |bytes, frame| bytes.saturating_sub(frame.len()));
        }
    }

    /// Drops everything.
    pub(super) fn clear(&mut self) {
        *self = Self::new(self.events_max, self.bytes_max);
    }

    /// How many events are kept.
    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.order.len()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn id(stream: u64, number: u64) -> EventId {
        EventId { stream: StreamId(stream), number }
    }

    #[test]
    fn event_ids_have_one_spelling() {
        assert_eq!("3-0".parse(), Ok(id(3, 0)));
        assert_eq!(id(18_446_744_073_709_551_615, 7).to_string().parse(), Ok(id(u64::MAX, 7)));
        for text in ["", "-", "3", "3-", "-3", "03-1", "3-01", "+3-1", "3-1-1", " 3-1", "3-x", "99999999999999999999-1"]
        {
            assert_eq!(text.parse::<EventId>(), Err(NotAnEventId), "{text:?}");
        }
    }

    #[test]
    fn event_larger_than_the_log_leaves_no_gap() {
        let mut log = EventLog::new(10, 10);
        log.push(id(1, 1), Frame::new("1".into()));
        log.push(id(1, 2), Frame::new("larger than the log".into()));
        log.push(id(1, 3), Frame::new("3".into()));
        assert!(!log.covers(id(1, 0), 3) && !log.covers(id(1, 1), 3));
        assert!(log.covers(id(1, 2), 3) && log.covers(id(1, 3), 3) && !log.covers(id(1, 4), 3));
    }

    proptest! {
        #[test]
        fn log_is_a_gapless_suffix_within_its_bounds(
            pushes in proptest::collection::vec((0usize..4, 0usize..40, prop::bool::weighted(0.05)), 0..200),
        ) {
            let mut log = EventLog::new(12, 100);
            let mut sent = [0u64; 4];
            let mut bodies: FxHashMap<(u64, u64), Vec<u8>> = FxHashMap::default();
            for (stream, size, forget) in pushes {
                sent[stream] += 1;
                let number = sent[stream];
                let stream = stream as u64;
                let body = vec![b'a' + u8::try_from(number % 26).expect("small"); size];
                bodies.insert((stream, number), body.clone());
                log.push(id(stream, number), Frame::new(body.into()));
                while log.evict().is_some() {}
                if forget {
                    log.forget(StreamId(stream));
                    prop_assert!(!log.holds(StreamId(stream)));
                }
                prop_assert!(log.len() <= 12 && log.bytes <= 100);
                for (stream, sent) in (0..).zip(sent) {
                    for after in 0..=sent {
                        let kept = (after + 1..=sent).all(|number| log.event(id(stream, number)).is_some());
                        prop_assert_eq!(log.covers(id(stream, after), sent), kept);
                    }
                    for number in 1..=sent {
                        if let Some(frame) = log.event(id(stream, number)) {
                            prop_assert_eq!(&frame.clone().into_bytes()[..], &bodies[&(stream, number)][..]);
                        }
                    }
                }
            }
        }
    }
}
