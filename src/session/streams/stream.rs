//! One stream of a session: its kind, its reader, its queue.

use std::task::Waker;

use super::PostForm;
use crate::session::queue::{ERROR_BYTES, Queue, SMALL_BYTES_MAX};

/// What a stream is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Post(PostForm),
    Standing,
    Everything,
}

/// One stream: what waits on it, and who reads it.
#[derive(Debug)]
pub(super) struct Stream {
    pub(super) kind: Kind,
    pub(super) reader: Option<Reader>,
    /// Requests of this stream that are not settled.
    pub(super) pending: usize,
    /// What waits; for standing streams it is in the pool.
    pub(super) queue: Queue,
    /// The number of the last event sent.
    pub(super) sent: u64,
    /// Whether an event id of this stream was sent, so that its client can come back to it.
    pub(super) named: bool,
    pub(super) attention: Attention,
}

/// What the reader of a stream is to be given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Attention {
    /// Everything.
    Full,
    /// What will still matter when it reads on, which may be long: answers, questions, and which of them were cancelled.
    Lasting,
}

/// Who reads a stream.
#[derive(Debug)]
pub(super) struct Reader {
    pub(super) generation: u64,
    /// The number of the event it is to be sent next.
    pub(super) next: u64,
    pub(super) waker: Option<Waker>,
}

impl Stream {
    pub(super) fn takes_messages(&self) -> bool {
        match self.kind {
            Kind::Post(PostForm::Streamable) => self.reader.is_some() || self.named,
            Kind::Everything => self.reader.is_some(),
            Kind::Post(PostForm::AnswersOnly) | Kind::Standing => false,
        }
    }

    /// Whether nothing will ever come after the event `last`: all its requests are settled, everything was sent.
    pub(super) fn ended_at(&self, last: u64) -> bool {
        matches!(self.kind, Kind::Post(_)) && self.pending == 0 && self.queue.is_empty() && last >= self.sent
    }

    /// What it counts among what waits for readers to come back.
    pub(super) fn abandoned(&self) -> Abandoned {
        match self.reader {
            Some(_) => Abandoned::default(),
            None => Abandoned {
                messages: self.queue.messages(),
                bytes: self.queue.message_bytes() + self.queue.answer_bytes(),
            },
        }
    }

    /// Whether its reader has taken everything that there was, and waits for more.
    pub(super) fn is_waited_on(&self) -> bool {
        matches!(&self.reader, Some(Reader { waker: Some(_), .. }))
    }

    /// The size up to which an answer is never replaced for want of room: to a reader that is there it goes at once.
    pub(super) fn small_answer_bytes(&self) -> usize {
        match (&self.reader, self.attention) {
            (Some(_), Attention::Full) => SMALL_BYTES_MAX,
            (Some(_), Attention::Lasting) | (None, _) => ERROR_BYTES,
        }
    }

    pub(super) fn waker(&mut self) -> Option<Waker> {
        self.reader.as_mut().and_then(|reader| reader.waker.take())
    }
}

/// What waits for readers to come back, over all streams.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Abandoned {
    pub(super) messages: usize,
    /// Of messages and answers.
    pub(super) bytes: usize,
}
