//! Requests of mcp-mux's own: what the child is told on behalf of several sessions, and whether it is alive.
//!
//! Clients' requests may *follow* one of these: they are settled with its answer.

use serde_json::json;
use tokio::time::Instant;

use super::id_table::ChildId;
use super::io::Payload;
use super::{Router, with_id};
use crate::error::Reject;
use crate::jsonrpc::{self, Message, RawId};
use crate::mcp::{LogLevel, method};

/// A request of mcp-mux's own whose answer matters; `initialize` is kept by the handshake.
#[derive(Debug)]
pub(super) enum Own {
    SetLevel,
    Subscribe(String),
    Unsubscribe,
    Ping,
    /// A `ping` that the child reads after so many cancellations.
    Heard(u64),
}

impl Router {
    /// Asks the child whether it is alive ([`Router::life_signs`] tells), unless it was asked and has not answered.
    pub fn ping_child(&mut self) {
        if !self.is_ready() || self.own.values().any(|own| matches!(own, Own::Ping)) {
            return;
        }
        let id = self.requests.fresh_id();
        let ask = self.sign_of_life(id);
        self.tell_child(ask);
        self.own.insert(id, Own::Ping);
    }

    /// Asks for an answer that shows that the child has read the cancellations so far, if it was not asked about them. One
    /// at a time is enough: those that come until it is answered are asked about then, if they still matter.
    pub(super) fn ask_if_heard(&mut self) {
        let logs = self.handshake.capabilities().logging() && !self.is_modern() && !self.is_private();
        let Some(cancellations) = self.cancelled.unheard().filter(|_| logs && self.is_ready()) else { return };
        if self.own.values().any(|own| matches!(own, Own::Heard(_))) {
            return;
        }
        let id = self.requests.fresh_id();
        let ask = self.sign_of_life(id);
        self.tell_child(ask);
        self.own.insert(id, Own::Heard(cancellations));
    }

    /// Grows with everything that shows that the child heeds what it is told: each response to a request of ours,
    /// usable or not, and each progress under a token of ours.
    pub const fn life_signs(&self) -> u64 {
        self.life_signs
    }

    /// The child has answered, or told of progress with, the request with this id.
    pub(super) const fn note_life(&mut self, id: ChildId) {
        if self.requests.has_given(id) {
            self.life_signs += 1;
        }
    }

    /// A request of ours that the child was given, and has answered.
    pub(super) fn take_own(&mut self, id: ChildId) -> Option<Own> {
        // A modern child is not given each subscription under an id of its own.
        let stands_for_a_wish = |own: &Own| self.is_modern() && matches!(own, Own::Subscribe(_));
        if self.own.get(&id).is_some_and(stands_for_a_wish) { None } else { self.own.remove(&id) }
    }

    /// A request of ours was answered, and with it those that follow it.
    pub(super) fn own_answered(&mut self, id: ChildId, own: Own, message: &Message, now: Instant) {
        if let Own::Heard(count) = own {
            return self.cancelled.heard(count, now);
        }
        let answer = |client_id: &RawId| Payload::Response(with_id(message, client_id.as_str()));
        self.own_settled(id, own, message.result().is_some(), now, answer);
    }

    /// A request of ours was answered with something that cannot be passed on.
    pub(super) fn own_unusable(&mut self, id: ChildId, own: Own, what: &str, now: Instant) {
        if let Own::Heard(count) = own {
            return self.cancelled.heard(count, now);
        }
        let reject = Reject::ChildAnswerUnusable(what.to_owned());
        self.own_settled(id, own, false, now, |client_id| Payload::Rejected(client_id.clone(), reject.clone()));
    }

    /// A request of ours came to something. `taken`: whether the child did as it was told.
    pub(super) fn own_settled(
        &mut self,
        id: ChildId,
        own: Own,
        taken: bool,
        now: Instant,
        answer: impl Fn(&RawId) -> Payload,
    ) {
        let followers = self.requests.followers(id);
        if let Own::Subscribe(uri) = own {
            if taken {
                for follower in &followers {
                    if let Some(request) = self.requests.get(*follower) {
                        self.subscriptions.confirm(request.origin.session, &uri);
                    }
                }
            }
            let nobody = self.subscriptions.resolve(&uri);
            match (taken, nobody) {
                // They gave up while the child was being told.
                (true, true) => self.unsubscribe_child(&uri),
                (false, false) => {
                    if let Some(left_out) = self.may_log(now) {
                        tracing::warn!(left_out, "the restarted child refuses a subscription that stood before");
                    }
                }
                (true, false) | (false, true) => {}
            }
        }
        for follower in followers {
            self.settle(follower, |request| answer(&request.client_id));
        }
    }

    /// Nobody may be left who waits for the answer to this request of ours.
    pub(super) fn give_up_own(&mut self, id: ChildId) {
        if !self.own.contains_key(&id) || !self.requests.followers(id).is_empty() {
            return;
        }
        if let Some(Own::Subscribe(uri)) = self.own.remove(&id)
            && self.subscriptions.resolve(&uri)
        {
            self.unsubscribe_child(&uri);
        }
    }

    /// Tells the child of a level, if there is one to tell and it takes levels. Returns the id of our request, for those
    /// who want to follow it.
    pub(super) fn tell_level(&mut self, level: Option<LogLevel>) -> Option<ChildId> {
        // A modern one is told with each request.
        let takes = self.is_ready() && !self.is_modern() && self.handshake.capabilities().logging();
        let level = level.filter(|_| takes)?;
        let id = self.requests.fresh_id();
        let params = json!({"level": level.as_str()}).to_string();
        self.tell_child(jsonrpc::request(&id.text(), method::SET_LEVEL, Some(&params)));
        Some(id)
    }

    /// Subscribes the child on behalf of sessions that are subscribed already.
    pub(super) fn subscribe_child(&mut self, uri: &str) {
        if self.is_modern() {
            return self.listen.wish_changed();
        }
        let id = self.requests.fresh_id();
        let params = json!({"uri": uri}).to_string();
        self.tell_child(jsonrpc::request(&id.text(), method::SUBSCRIBE, Some(&params)));
        self.own.insert(id, Own::Subscribe(uri.to_owned()));
    }

    /// Nobody is subscribed any more, and nobody waits for the child to say so.
    pub(super) fn unsubscribe_child(&mut self, uri: &str) {
        if self.is_modern() {
            self.listen.wish_changed();
        } else if self.is_ready() {
            let id = self.requests.fresh_id();
            let params = json!({"uri": uri}).to_string();
            self.tell_child(jsonrpc::request(&id.text(), method::UNSUBSCRIBE, Some(&params)));
        }
    }
}
