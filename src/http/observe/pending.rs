//! Requests that are answered on one stream, by their ids: those of a batch, and those of an HTTP+SSE session.

use std::sync::{Mutex, MutexGuard, PoisonError};

use http::StatusCode;

use super::{Exchange, Verdict};
use crate::jsonrpc::{Frame, Message, RawId};
use crate::metrics::Outcome;
use crate::session::Answer;

/// Requests that have no outcome yet. There are no more than their session may have in flight.
#[derive(Debug, Default)]
pub(in super::super) struct Pending(Mutex<Vec<(RawId, Exchange)>>);

/// A request that is on its way to the child. Dropped before it arrived, its client has left.
#[derive(Debug)]
pub(in super::super) struct OnItsWay<'a> {
    pending: &'a Pending,
    id: Option<RawId>,
}

impl Pending {
    fn lock(&self) -> MutexGuard<'_, Vec<(RawId, Exchange)>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// One more.
    pub(in super::super) fn put(&self, id: RawId, exchange: Exchange) {
        self.lock().push((id, exchange));
    }

    /// The same, which has to arrive before there can be an answer.
    pub(in super::super) fn send(&self, id: &RawId, exchange: Exchange) -> OnItsWay<'_> {
        self.put(id.clone(), exchange);
        OnItsWay { pending: self, id: Some(id.clone()) }
    }

    /// What settles one in its session, as a part of a JSON array.
    pub(in super::super) fn answered_by(&self, answer: &Answer) {
        match answer {
            Answer::Response(frame) | Answer::Initialized(frame, _) => self.settled(frame, None),
            Answer::Rejected(id, reject) => self.end(id, reject.into(), StatusCode::OK),
        }
    }

    /// The answer to one.
    pub(super) fn settled(&self, answer: &Frame, own: Option<Verdict>) {
        if self.lock().is_empty() {
            return;
        }
        let id = match answer.replaced_member("id") {
            Some(id) => Some(RawId::from_json(id)),
            None => Message::parse(answer.clone().into_bytes(), usize::MAX).ok().and_then(|message| message.id()),
        };
        if let Some(id) = id {
            self.remove(&id).settled(answer, own, StatusCode::OK);
        }
    }

    /// One that its client does not want to be answered any more, or that was refused.
    pub(in super::super) fn end(&self, id: &RawId, verdict: Verdict, status: StatusCode) {
        self.remove(id).end(verdict, status);
    }

    /// All that are left.
    pub(in super::super) fn end_all(&self, outcome: Outcome) {
        // Ended only outside the lock.
        let all = std::mem::take(&mut *self.lock());
        for (_, mut exchange) in all {
            exchange.end(Verdict::of(outcome), StatusCode::OK);
        }
    }

    fn remove(&self, id: &RawId) -> Exchange {
        let mut all = self.lock();
        let at = all.iter().position(|(one, _)| one == id);
        at.map_or(Exchange::none(), |at| all.swap_remove(at).1)
    }
}

impl OnItsWay<'_> {
    /// It is there, and its answer comes.
    pub(in super::super) fn arrived(mut self) {
        self.id = None;
    }

    /// It was refused.
    pub(in super::super) fn refused(mut self, verdict: Verdict, status: StatusCode) {
        if let Some(id) = self.id.take() {
            self.pending.end(&id, verdict, status);
        }
    }
}

impl Drop for OnItsWay<'_> {
    fn drop(&mut self) {
        if let Some(id) = &self.id {
            drop(self.pending.remove(id));
        }
    }
}
