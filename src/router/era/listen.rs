//! What a modern child tells unasked: to mcp-mux, which listens for all legacy sessions (`wishes`), and to modern clients,
//! each of which listens for itself.
//!
//! A modern client's subscription outlives the process: the next one gets it again, and its client no second
//! acknowledgement.
//!
//! Spec: 2026-07-28, Subscriptions; stdio, Receiving Messages.

mod wishes;

use serde_json::json;
use tokio::time::Instant;

use self::wishes::Filter;
pub(in crate::router) use self::wishes::Listen;
use super::super::id_table::ChildId;
use super::super::in_flight::{Attempt, Phase};
use super::super::io::Payload;
use super::super::purpose::Purpose;
use super::super::{Router, raw};
use crate::era::edit;
use crate::jsonrpc::{self, Frame, Message, RawId, Span};
use crate::mcp::ids::{Param, meta};
use crate::mcp::method;

impl Router {
    /// Something about a subscription.
    pub(super) fn subscription_event(&mut self, id: ChildId, message: &Message, now: Instant) {
        let is_ours = self.listen.is(id);
        let is_acknowledgement = message.method() == method::ACKNOWLEDGED;
        if is_ours && is_acknowledgement {
            return self.listening(id, message, now);
        }
        if !is_ours {
            return self.exchange_event(id, message, is_acknowledgement);
        }
        let Some(told) = without_subscription(message) else { return };
        if self.is_retired() {
            return self.keep_news(told);
        }
        self.tell_notification(&told, now);
    }

    /// The child takes a subscription down.
    pub(super) fn child_ends_listening(&mut self, message: &Message, now: Instant) {
        let id = message.param(Param::RequestId).and_then(|span| ChildId::from_text(message.text(span)));
        let Some(id) = id else { return };
        if self.listen.is(id) {
            self.listen_ended(id, None, now);
        } else if self.listens(id) {
            self.end_listening_gracefully(id);
        }
    }

    fn stop_listening(&mut self, id: ChildId) {
        let params = json!({"requestId": id.0}).to_string();
        self.tell_child(jsonrpc::notification(method::CANCELLED, Some(&params)));
    }
}

// --- those of modern clients ---

impl Router {
    fn listens(&self, id: ChildId) -> bool {
        let request = self.requests.get(id).filter(|request| request.purpose == Purpose::Listen);
        request.is_some_and(|request| matches!(request.phase, Phase::Written))
    }

    /// Something that a modern client listens for.
    fn exchange_event(&mut self, id: ChildId, message: &Message, is_acknowledgement: bool) {
        let request = self.requests.get(id).filter(|_| self.listens(id));
        let Some((origin, client_id)) = request.map(|request| (request.origin, request.client_id.clone())) else {
            return tracing::debug!(method = message.method(), "dropped an event of a subscription that is over");
        };
        if is_acknowledgement && self.requests.acknowledge(id) {
            // It was with another process, where its client was told.
            if self.requests.get(id).is_some_and(|request| request.attempt == Attempt::Second) {
                for list in Filter::acknowledged(message).lists() {
                    let params = json!({"_meta": {meta::SUBSCRIPTION_ID: raw(client_id.as_str())}}).to_string();
                    let changed = jsonrpc::notification(list, Some(&params));
                    self.tell_session(origin.session, origin.stream, Payload::Message(changed));
                }
            }
            return;
        }
        if !self.may_be_told(origin.session, message) {
            return tracing::debug!("dropped an event about a resource that its client may not use");
        }
        let frame = Frame::new(message.bytes().clone());
        let frame = match subscription_span(message, message.param(Param::Meta)) {
            Some(span) => frame.replace(span, client_id.as_str()),
            None => frame,
        };
        self.tell_session(origin.session, origin.stream, Payload::Message(frame));
    }

    /// Ends a modern client's subscription as the child would (Subscriptions, Graceful Closure).
    fn end_listening_gracefully(&mut self, id: ChildId) {
        let Some(client_id) = self.requests.get(id).map(|request| raw(request.client_id.as_str())) else { return };
        let end = json!({"resultType": "complete", "_meta": {meta::SUBSCRIPTION_ID: client_id}});
        self.respond(id, &end.to_string());
    }

    /// The subscriptions of modern clients go on with the successor.
    pub(in crate::router) fn hand_over_listens(&mut self, successor: &mut Self, now: Instant) {
        for id in self.requests.ids().into_iter().filter(|id| self.listens(*id)).collect::<Vec<_>>() {
            self.stop_listening(id);
            let Some(message) = self.kept_message(id) else {
                self.end_listening_gracefully(id);
                continue;
            };
            if let Some(mut request) = self.requests.remove(id) {
                request.phase = Phase::Queued(message);
                request.waits_since = now;
                successor.take_over(request, now);
            }
        }
    }
}

// --- ids ---

/// The subscription that a notification of the child belongs to.
pub(super) fn subscription(message: &Message) -> Option<ChildId> {
    let span = subscription_span(message, message.param(Param::Meta))?;
    // What names none of ours belongs to nobody; it is not what names none.
    Some(ChildId::from_text(message.text(span)).unwrap_or(ChildId(0)))
}

fn subscription_span(message: &Message, meta: Option<Span>) -> Option<Span> {
    message.member(meta?, meta::SUBSCRIPTION_ID).ok().flatten()
}

/// A notification of a subscription as it is without one.
fn without_subscription(message: &Message) -> Option<Message> {
    let meta = message.param(Param::Meta)?;
    let frame = Frame::new(message.bytes().clone());
    let frame = match message.members(meta).len() {
        1 => edit::params(frame, message, &[], &[Param::Meta.name()]),
        _ => edit::object(frame, message, meta, &[], &[meta::SUBSCRIPTION_ID]),
    };
    Message::parse(frame.into_bytes(), usize::MAX).ok()
}

/// The answer that ends a modern client's subscription, with its own id in it.
pub(super) fn end_for_client(message: &Message, frame: Frame, client_id: &RawId) -> Frame {
    let meta = message.result().and_then(|result| message.member(result, "_meta").ok().flatten());
    match subscription_span(message, meta) {
        Some(span) => frame.replace(span, client_id.as_str()),
        None => frame,
    }
}
