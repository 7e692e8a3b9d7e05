//! Results of a modern child that are served again, to clients of either era: what [`cache`] has for a request is passed on
//! as if the child had answered just so.
//!
//! Looked up and kept is what the child reads of a request, so that a legacy session's has its client's words in it.
//!
//! [`cache`]: super::super::cache

use bytes::Bytes;
use tokio::time::Instant;

use super::super::cache::{Lookup, ResponseCache};
use super::super::id_table::ChildId;
use super::super::in_flight::Phase;
use super::super::io::Payload;
use super::super::{Router, cache};
use super::{Between, words};
use crate::jsonrpc::{self, Frame, Message};

impl Router {
    /// With results kept in, and served from, this.
    #[must_use]
    pub fn with_cache(self, cache: ResponseCache) -> Self {
        Self { cache, ..self }
    }

    /// Settles a request that waits with what is kept for it, if there is something. If not, the child's answer may be kept.
    pub(in crate::router) fn is_served_again(&mut self, id: ChildId, now: Instant) -> bool {
        match self.look_up(id, now) {
            Lookup::Hit(result) => self.serve_again(id, &result),
            Lookup::Miss(ticket) => {
                self.requests.keep_ticket(id, ticket);
                false
            }
            Lookup::Uncacheable => false,
        }
    }

    fn look_up(&self, id: ChildId, now: Instant) -> Lookup {
        let request = self.requests.get(id).filter(|_| self.is_modern());
        let Some(Phase::Queued(message)) = request.map(|request| &request.phase) else { return Lookup::Uncacheable };
        if !cache::is_cacheable(message.method()) || !self.cache.is_on() {
            return Lookup::Uncacheable;
        }
        let told = self.in_the_childs_words(id, message, Frame::new(message.bytes().clone())).into_bytes();
        let Ok(told) = Message::parse(told, usize::MAX) else { return Lookup::Uncacheable };
        self.cache.lookup(told.method(), told.params().map(|params| told.text(params)), now)
    }

    fn serve_again(&mut self, id: ChildId, result: &Bytes) -> bool {
        let Some(request) = self.requests.get(id) else { return false };
        let answer = jsonrpc::result_response(&request.client_id, &String::from_utf8_lossy(result)).into_bytes();
        let Ok(answer) = Message::parse(answer, usize::MAX) else { return false };
        let Some(answer) = self.sifted(id, &answer) else { return true };
        let Some(request) = self.requests.get(id) else { return false };
        let frame = Frame::new(answer.bytes().clone());
        let frame = match self.between(request.origin.session) {
            Between::Modern | Between::Legacy => frame,
            Between::Translated => match words::answer(&answer, &request.purpose, frame) {
                words::Answer::Complete(frame) => frame,
                words::Answer::InputRequired(_) | words::Answer::Unknown(_) => return false,
            },
        };
        self.settle(id, |_| Payload::Response(frame));
        true
    }

    /// The child answered a request: the result is kept if it may be.
    pub(super) fn keep_result(&mut self, id: ChildId, answer: &Message, now: Instant) {
        let ticket = self.requests.get(id).and_then(|request| request.ticket.clone());
        if let (Some(ticket), Some(result)) = (ticket, answer.result()) {
            self.cache.store(ticket, &answer.bytes().slice(result.start..result.end), now);
        }
    }
}
