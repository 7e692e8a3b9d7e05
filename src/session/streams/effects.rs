//! What a change of a session's streams brings about outside: readers to wake, messages given up, something to log.
//!
//! Separate, since it outlives the lock under which the streams are changed: it is carried out after that was released.

use std::task::Waker;

use crate::jsonrpc::Frame;

/// What happened that an operator may want to know.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in super::super) enum Notice {
    /// Messages that a client has not read were given up.
    Dropped,
    /// A large answer that a client has not read was replaced by an error.
    AnswerNotKept,
    /// A reader was disconnected because it did not keep up.
    SlowConsumer,
    /// So was the only reader of the session: the session is over.
    SlowSession,
}

/// What is to be done once the lock is released.
#[derive(Debug, Default)]
#[must_use = "the readers wait for it"]
pub(in super::super) struct Effects {
    first: Option<Waker>,
    rest: Vec<Waker>,
    /// Messages that were given up. Whoever asked something in one of them still waits.
    pub(in super::super) dropped: Vec<Frame>,
    /// What an operator may want to know: the gravest.
    pub(in super::super) notice: Option<Notice>,
}

impl Effects {
    pub(super) fn wake_later(&mut self, waker: Option<Waker>) {
        match (&self.first, waker) {
            (None, waker) => self.first = waker,
            (Some(_), Some(waker)) => self.rest.push(waker),
            (Some(_), None) => {}
        }
    }

    /// Wakes the readers.
    pub(in super::super) fn wake(self) {
        self.first.into_iter().chain(self.rest).for_each(Waker::wake);
    }
}
