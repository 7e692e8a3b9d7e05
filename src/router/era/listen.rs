//! What a modern child tells unasked: to mcp-mux, which listens once for all legacy sessions, and to modern clients, each
//! of which listens for itself.
//!
//! The own subscription follows what the sessions want. A filter cannot be changed, so another `subscriptions/listen` takes
//! its place: the older one is ended when the newer is acknowledged, that nothing is missed between them. One at a time is
//! under way; wishes that come meanwhile go into the next.
//!
//! A modern client's outlives the process: the next one gets it again, and its client no second acknowledgement.
//!
//! Spec: 2026-07-28, Subscriptions; stdio, Receiving Messages.

use std::collections::BTreeSet;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::json;
use tokio::time::Instant;

use super::super::id_table::ChildId;
use super::super::in_flight::{Attempt, Phase};
use super::super::io::Payload;
use super::super::own::Own;
use super::super::purpose::Purpose;
use super::super::{Role, Router, raw, with_id};
use super::{discover, edit};
use crate::error::Reject;
use crate::jsonrpc::{self, Frame, Message, RawId, Span};
use crate::mcp::ids::{Param, meta};
use crate::mcp::{Era, method};

/// A subscription that the child ends sooner than this after it took it is not asked for again until somebody wants
/// something else.
const STANDS_AFTER: Duration = Duration::from_secs(1);

/// mcp-mux's own subscription.
#[derive(Debug, Default)]
pub(in crate::router) struct Listen {
    /// The one that was acknowledged.
    standing: Option<Stream>,
    /// The one that is to be.
    asked: Option<Stream>,
    /// Whether what the sessions want may have changed since it was last looked at.
    changed: bool,
}

#[derive(Debug)]
struct Stream {
    id: ChildId,
    filter: Filter,
    /// When it was acknowledged.
    since: Option<Instant>,
}

/// `SubscriptionFilter`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(default, rename_all = "camelCase")]
struct Filter {
    #[serde(skip_serializing_if = "is_false")]
    tools_list_changed: bool,
    #[serde(skip_serializing_if = "is_false")]
    prompts_list_changed: bool,
    #[serde(skip_serializing_if = "is_false")]
    resources_list_changed: bool,
    #[serde(skip_serializing_if = "BTreeSet::is_empty")]
    resource_subscriptions: BTreeSet<String>,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde gives a reference")]
const fn is_false(flag: &bool) -> bool {
    !*flag
}

impl Filter {
    /// The notifications that it is about, but for those of single resources.
    fn lists(&self) -> impl Iterator<Item = &'static str> + use<> {
        [
            (self.tools_list_changed, method::TOOLS_LIST_CHANGED),
            (self.prompts_list_changed, method::PROMPTS_LIST_CHANGED),
            (self.resources_list_changed, method::RESOURCES_LIST_CHANGED),
        ]
        .into_iter()
        .filter_map(|(wanted, list)| wanted.then_some(list))
    }

    /// What was agreed to.
    fn acknowledged(message: &Message) -> Self {
        let agreed = message.params().and_then(|params| message.member(params, "notifications").ok().flatten());
        agreed.and_then(|span| serde_json::from_str(message.text(span)).ok()).unwrap_or_default()
    }
}

impl Listen {
    /// The sessions may want something else.
    pub(in crate::router) const fn wish_changed(&mut self) {
        self.changed = true;
    }

    /// Something of a client of this era came or went.
    pub(in crate::router) fn wish_changed_by(&mut self, era: Era) {
        self.changed |= era == Era::Legacy;
    }

    /// Whether this is the id of a `subscriptions/listen` of ours.
    pub(in crate::router) fn is(&self, id: ChildId) -> bool {
        [&self.standing, &self.asked].into_iter().flatten().any(|stream| stream.id == id)
    }

    /// The child is gone; the next one is to be asked again.
    pub(in crate::router) fn child_gone(&mut self) {
        *self = Self { changed: true, ..Self::default() };
    }
}

// --- our own ---

impl Router {
    /// Listens for what the sessions want now, if that is something else.
    pub(in crate::router) fn follow_wishes(&mut self) {
        let serves = self.is_modern() && self.is_ready() && self.role == Role::Serving;
        if !serves || !self.listen.changed || self.listen.asked.is_some() {
            return;
        }
        self.listen.changed = false;
        let filter = self.wishes();
        let nothing = filter == Filter::default();
        if self.listen.standing.as_ref().map_or(nothing, |standing| standing.filter == filter) {
            return;
        }
        if nothing {
            if let Some(standing) = self.listen.standing.take() {
                self.stop_listening(standing.id);
            }
            return;
        }
        let id = self.requests.fresh_id();
        let params = json!({"_meta": discover::own_meta(self.config.client_capabilities), "notifications": filter});
        self.tell_child(jsonrpc::request(&id.text(), method::LISTEN, Some(&params.to_string())));
        self.listen.asked = Some(Stream { id, filter, since: None });
    }

    fn wishes(&self) -> Filter {
        let tells = self.handshake.capabilities().tells;
        let anybody = self.sessions.values().any(|profile| profile.revision.is_some());
        Filter {
            tools_list_changed: anybody && tells.tools,
            prompts_list_changed: anybody && tells.prompts,
            resources_list_changed: anybody && tells.resources,
            resource_subscriptions: self.subscriptions.uris().into_iter().collect(),
        }
    }

    fn stop_listening(&mut self, id: ChildId) {
        let params = json!({"requestId": id.0}).to_string();
        self.tell_child(jsonrpc::notification(method::CANCELLED, Some(&params)));
    }

    /// A session is the first that wants to be told of a resource: it is told that it will be when the child has agreed.
    pub(in crate::router) fn subscribe_by_listening(&mut self, id: ChildId, uri: String) {
        let own = self.requests.fresh_id();
        self.follow(id, own);
        self.subscriptions.begin(&uri, own);
        self.own.insert(own, Own::Subscribe(uri));
        self.listen.wish_changed();
        self.follow_wishes();
    }

    /// The child has agreed to (some of) what it was asked.
    fn listening(&mut self, message: &Message, now: Instant) {
        let Some(stream) = self.listen.asked.take() else { return };
        let agreed = Filter::acknowledged(message);
        let settled = self.subscribing(&stream.filter);
        let stream = Stream { since: Some(now), ..stream };
        if let Some(older) = self.listen.standing.replace(stream) {
            self.stop_listening(older.id);
        }
        for (id, uri) in settled {
            let taken = agreed.resource_subscriptions.contains(&uri);
            self.subscribing_settled(id, uri, taken, |client_id| {
                if taken {
                    return Payload::Response(jsonrpc::result_response(client_id, "{}"));
                }
                let what = "uri: the server does not tell of updates of this resource";
                Payload::Rejected(client_id.clone(), Reject::InvalidParams(what.to_owned()))
            });
        }
        self.follow_wishes();
    }

    /// The requests of ours that stand for a session's wish that this filter covers.
    fn subscribing(&self, filter: &Filter) -> Vec<(ChildId, String)> {
        let covered = |(id, own): (&ChildId, &Own)| match own {
            Own::Subscribe(uri) if filter.resource_subscriptions.contains(uri) => Some((*id, uri.clone())),
            Own::Subscribe(_) | Own::SetLevel | Own::Unsubscribe | Own::Ping | Own::Heard(_) => None,
        };
        self.own.iter().filter_map(covered).collect()
    }

    fn subscribing_settled(&mut self, id: ChildId, uri: String, taken: bool, answer: impl Fn(&RawId) -> Payload) {
        if self.own.remove(&id).is_some() {
            self.own_settled(id, Own::Subscribe(uri), taken, answer);
        }
    }

    /// The child has ended a subscription of ours, or refused it. `message`: its answer, if there is one to pass on.
    pub(in crate::router) fn listen_ended(&mut self, id: ChildId, message: Option<&Message>, now: Instant) {
        if let Some(stream) = self.listen.asked.take_if(|stream| stream.id == id) {
            tracing::warn!("the server refuses to tell of changes (subscriptions/listen)");
            for (id, uri) in self.subscribing(&stream.filter) {
                self.subscribing_settled(id, uri, false, |client_id| match message.filter(|it| it.error().is_some()) {
                    Some(message) => Payload::Response(with_id(message, client_id.as_str())),
                    None => {
                        let what = "it ended the subscription before it began".to_owned();
                        Payload::Rejected(client_id.clone(), Reject::ChildAnswerUnusable(what))
                    }
                });
            }
        } else if let Some(stream) = self.listen.standing.take_if(|stream| stream.id == id) {
            if stream.since.is_some_and(|since| now >= since + STANDS_AFTER) {
                self.listen.wish_changed();
            } else {
                tracing::warn!("the server ended a subscription as soon as it had begun");
            }
        }
        self.follow_wishes();
    }

    /// Something about a subscription.
    pub(super) fn subscription_event(&mut self, id: ChildId, message: &Message, now: Instant) {
        let is_ours = self.listen.is(id);
        let is_acknowledgement = message.method() == method::ACKNOWLEDGED;
        if is_ours && is_acknowledgement {
            let is_asked = self.listen.asked.as_ref().is_some_and(|asked| asked.id == id);
            if is_asked {
                self.listening(message, now);
            }
            return;
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
