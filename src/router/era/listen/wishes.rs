//! mcp-mux's own subscription, which follows what the legacy sessions want to be told.
//!
//! A filter cannot be changed, so another `subscriptions/listen` takes its place: the older one is ended when the newer is
//! acknowledged, that nothing is missed between them. One at a time is under way; wishes that come meanwhile go into the
//! next.
//!
//! A child may refuse all for one resource that it does not have, and what it says of that is for those who asked for that
//! one. So after a refusal, what does not stand already is asked for part by part: the lists, then each resource by
//! itself. A part that is acknowledged stands beside the others until one subscription for all takes their place; should
//! that be refused again, they go on as they are. A resource that is refused by itself is wished no longer.
//!
//! Spec: 2026-07-28, Subscriptions.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::json;
use tokio::time::Instant;

use super::super::super::id_table::ChildId;
use super::super::super::io::Payload;
use super::super::super::own::Own;
use super::super::super::{Role, Router, with_id};
use super::super::discover;
use crate::error::{Awaited, Reject};
use crate::jsonrpc::{self, Message, RawId};
use crate::mcp::{Era, method};

/// A subscription that the child ends sooner than this after it took it is not asked for again until somebody wants
/// something else.
const STANDS_AFTER: Duration = Duration::from_secs(1);

/// How long the child may take to acknowledge or refuse one, if `--request-timeout` is not shorter.
const ACKNOWLEDGED_WITHIN: Duration = Duration::from_secs(10);

/// What mcp-mux is told, and what it wants to be told.
#[derive(Debug, Default)]
pub(in crate::router) struct Listen {
    /// Those that were acknowledged: one, or after a refusal one for each part.
    standing: BTreeMap<ChildId, Stream>,
    /// The one that is to be.
    asked: Option<Asked>,
    /// What is to be asked for by itself, since it was refused together with more.
    doubtful: BTreeSet<Part>,
    wish: Wish,
    /// Whether the child refuses to tell of lists. Sessions that come ask again.
    lists_refused: bool,
}

/// What is still to be asked for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Wish {
    /// Nothing.
    #[default]
    Followed,
    /// What was asked for part by part, as one. If that is refused, the parts do.
    Merged,
    /// What the sessions want now, which may be something else than it was.
    Changed,
}

#[derive(Debug)]
struct Asked {
    id: ChildId,
    parts: BTreeSet<Part>,
    /// What it follows; for a part by itself that is nothing.
    wish: Wish,
    deadline: Instant,
}

#[derive(Debug)]
struct Stream {
    /// What the child has agreed to.
    parts: BTreeSet<Part>,
    /// When it was acknowledged.
    since: Instant,
}

/// Something to be told of.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Part {
    /// All lists of which the child tells when they change.
    Lists,
    /// The resource with this URI.
    Resource(String),
}

/// `SubscriptionFilter`.
#[derive(Debug, Default, Deserialize, Serialize)]
#[serde(default, rename_all = "camelCase")]
pub(super) struct Filter {
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
    pub(super) fn lists(&self) -> impl Iterator<Item = &'static str> + use<> {
        [
            (self.tools_list_changed, method::TOOLS_LIST_CHANGED),
            (self.prompts_list_changed, method::PROMPTS_LIST_CHANGED),
            (self.resources_list_changed, method::RESOURCES_LIST_CHANGED),
        ]
        .into_iter()
        .filter_map(|(wanted, list)| wanted.then_some(list))
    }

    /// What was agreed to.
    pub(super) fn acknowledged(message: &Message) -> Self {
        let agreed = message.params().and_then(|params| message.member(params, "notifications").ok().flatten());
        agreed.and_then(|span| serde_json::from_str(message.text(span)).ok()).unwrap_or_default()
    }

    /// Whether this covers a part. Which lists the child tells of is its own affair.
    fn covers(&self, part: &Part) -> bool {
        match part {
            Part::Lists => true,
            Part::Resource(uri) => self.resource_subscriptions.contains(uri),
        }
    }
}

impl Listen {
    /// The sessions may want something else.
    pub(in crate::router) const fn wish_changed(&mut self) {
        self.wish = Wish::Changed;
    }

    /// A client of this era came or went.
    pub(in crate::router) fn wish_changed_by(&mut self, era: Era) {
        if era == Era::Legacy {
            self.lists_refused = false;
            self.wish_changed();
        }
    }

    /// Whether this is the id of a `subscriptions/listen` of ours.
    pub(in crate::router) fn is(&self, id: ChildId) -> bool {
        self.standing.contains_key(&id) || self.asked.as_ref().is_some_and(|asked| asked.id == id)
    }

    /// The child is gone; the next one is to be asked again.
    pub(in crate::router) fn child_gone(&mut self) {
        *self = Self { wish: Wish::Changed, ..Self::default() };
    }

    /// Nothing more is to be asked for here.
    pub(in crate::router) fn leave_to_successor(&mut self) {
        self.doubtful.clear();
        self.wish = Wish::Followed;
    }

    /// Until when the child has to acknowledge what it was asked.
    pub(in crate::router) fn deadline(&self) -> Option<Instant> {
        self.asked.as_ref().map(|asked| asked.deadline)
    }

    /// How many there are, and are to be.
    pub(in crate::router) fn len(&self) -> usize {
        self.standing.len() + usize::from(self.asked.is_some()) + self.doubtful.len()
    }

    fn stands(&self, part: &Part) -> bool {
        self.standing.values().any(|stream| stream.parts.contains(part))
    }

    /// Whether just this stands, as one.
    fn stands_for(&self, wished: &BTreeSet<Part>) -> bool {
        let mut streams = self.standing.values();
        match (streams.next(), streams.next()) {
            (None, _) => wished.is_empty(),
            (Some(stream), None) => stream.parts == *wished,
            (Some(_), Some(_)) => false,
        }
    }

    /// What of these does not stand.
    fn missing(&self, parts: BTreeSet<Part>) -> BTreeSet<Part> {
        let standing: BTreeSet<&Part> = self.standing.values().flat_map(|stream| &stream.parts).collect();
        parts.into_iter().filter(|part| !standing.contains(part)).collect()
    }
}

impl Router {
    /// Listens for what the sessions want now, if that is something else.
    pub(in crate::router) fn follow_wishes(&mut self, now: Instant) {
        if self.is_retired() {
            return self.listen.leave_to_successor();
        }
        let serves = self.is_modern() && self.is_ready() && self.role == Role::Serving;
        if !serves || self.listen.asked.is_some() {
            return;
        }
        while let Some(part) = self.listen.doubtful.pop_first() {
            if self.is_wished(&part) {
                return self.listen_for(BTreeSet::from([part]), Wish::Followed, now);
            }
        }
        if self.listen.wish == Wish::Followed {
            return;
        }
        self.settle_standing(now);
        let wish = std::mem::take(&mut self.listen.wish);
        let wished = self.wishes();
        if self.listen.stands_for(&wished) {
            return;
        }
        if wished.is_empty() {
            return self.stop_listening_older();
        }
        self.listen_for(wished, wish, now);
    }

    fn listen_for(&mut self, parts: BTreeSet<Part>, wish: Wish, now: Instant) {
        let id = self.requests.fresh_id();
        let filter = self.filter(&parts);
        let params = json!({"_meta": discover::own_meta(self.config.client_capabilities), "notifications": filter});
        self.tell_child(jsonrpc::request(&id.text(), method::LISTEN, Some(&params.to_string())));
        self.listen.asked = Some(Asked { id, parts, wish, deadline: now + self.acknowledged_within() });
    }

    fn acknowledged_within(&self) -> Duration {
        self.config.request_timeout.map_or(ACKNOWLEDGED_WITHIN, |timeout| timeout.min(ACKNOWLEDGED_WITHIN))
    }

    fn filter(&self, parts: &BTreeSet<Part>) -> Filter {
        let mut filter = Filter::default();
        for part in parts {
            match part {
                Part::Lists => {
                    let tells = self.handshake.capabilities().tells;
                    filter.tools_list_changed = tells.tools;
                    filter.prompts_list_changed = tells.prompts;
                    filter.resources_list_changed = tells.resources;
                }
                Part::Resource(uri) => {
                    filter.resource_subscriptions.insert(uri.clone());
                }
            }
        }
        filter
    }

    fn wishes(&self) -> BTreeSet<Part> {
        let lists = Some(Part::Lists).filter(|lists| self.is_wished(lists));
        lists.into_iter().chain(self.subscriptions.uris().into_iter().map(Part::Resource)).collect()
    }

    fn is_wished(&self, part: &Part) -> bool {
        match part {
            Part::Lists => {
                let tells = self.handshake.capabilities().tells;
                let anybody = || self.sessions.values().any(|profile| profile.revision.is_some());
                (tells.tools || tells.prompts || tells.resources) && !self.listen.lists_refused && anybody()
            }
            Part::Resource(uri) => self.subscriptions.contains(uri),
        }
    }

    fn stop_listening_older(&mut self) {
        for id in std::mem::take(&mut self.listen.standing).into_keys() {
            self.stop_listening(id);
        }
    }

    /// A session is the first that wants to be told of a resource: it is told that it will be when the child has agreed.
    pub(in crate::router) fn subscribe_by_listening(&mut self, id: ChildId, uri: String, now: Instant) {
        let own = self.requests.fresh_id();
        self.follow(id, own);
        self.subscriptions.begin(&uri, own);
        self.own.insert(own, Own::Subscribe(uri));
        self.listen.wish_changed();
        self.follow_wishes(now);
    }

    /// The child has agreed to (some of) what it was asked.
    pub(super) fn listening(&mut self, id: ChildId, message: &Message, now: Instant) {
        let Some(asked) = self.listen.asked.take_if(|asked| asked.id == id) else { return };
        let agreed = Filter::acknowledged(message);
        let (parts, left_out): (BTreeSet<Part>, _) = asked.parts.into_iter().partition(|part| agreed.covers(part));
        if asked.wish != Wish::Followed {
            self.stop_listening_older();
        }
        if parts.is_empty() {
            self.stop_listening(id);
        } else {
            self.listen.standing.insert(id, Stream { parts, since: now });
        }
        self.settle_standing(now);
        for part in left_out {
            self.refuse(part, now, |client_id| {
                let what = "uri: the server does not tell of updates of this resource";
                Payload::Rejected(client_id.clone(), Reject::InvalidParams(what.to_owned()))
            });
        }
        self.follow_wishes(now);
    }

    /// The sessions that wait to be told of something of which mcp-mux is told now are answered.
    fn settle_standing(&mut self, now: Instant) {
        let stands = |(id, own): (&ChildId, &Own)| match own {
            Own::Subscribe(uri) => self.listen.stands(&Part::Resource(uri.clone())).then_some(*id),
            Own::SetLevel | Own::Unsubscribe | Own::Ping | Own::Heard(_) => None,
        };
        for id in self.own.iter().filter_map(stands).collect::<Vec<_>>() {
            let Some(own) = self.own.remove(&id) else { continue };
            let answer = |client_id: &RawId| Payload::Response(jsonrpc::result_response(client_id, "{}"));
            self.own_settled(id, own, true, now, answer);
        }
    }

    /// The child does not tell of this: nobody is subscribed to it, and who wants to be is told why not.
    fn refuse(&mut self, part: Part, now: Instant, answer: impl Fn(&RawId) -> Payload) {
        let (what, known) = match &part {
            Part::Lists => ("lists", !std::mem::replace(&mut self.listen.lists_refused, true)),
            Part::Resource(uri) => ("a resource that sessions are subscribed to", self.subscriptions.revoke(uri)),
        };
        if let Some(left_out) = self.may_log(now).filter(|_| known) {
            tracing::warn!(left_out, "the server refuses to tell of changes of {what} (subscriptions/listen)");
        }
        if let Part::Resource(uri) = part {
            self.subscribing_refused(uri, now, answer);
        }
    }

    /// Who waits to be told of a resource is told why not.
    fn subscribing_refused(&mut self, uri: String, now: Instant, answer: impl Fn(&RawId) -> Payload) {
        let Some(id) = self.subscriptions.pending(&uri) else { return };
        if self.own.remove(&id).is_some() {
            self.own_settled(id, Own::Subscribe(uri), false, now, answer);
        }
    }

    /// The child has ended a subscription of ours, or refused it. `message`: its answer, if there is one to pass on.
    pub(in crate::router) fn listen_ended(&mut self, id: ChildId, message: Option<&Message>, now: Instant) {
        if let Some(asked) = self.listen.asked.take_if(|asked| asked.id == id) {
            self.listen_refused(asked, message, now);
        } else if let Some(stream) = self.listen.standing.remove(&id) {
            if now >= stream.since + STANDS_AFTER {
                self.listen.wish_changed();
            } else if let Some(left_out) = self.may_log(now) {
                tracing::warn!(left_out, "the server ended a subscription as soon as it had begun");
            }
        }
        self.follow_wishes(now);
    }

    fn listen_refused(&mut self, asked: Asked, message: Option<&Message>, now: Instant) {
        let is_part = asked.parts.len() == 1;
        let mut missing = self.listen.missing(asked.parts);
        if is_part && let Some(part) = missing.pop_first() {
            return self.refuse(part, now, |client_id| match message.filter(|it| it.error().is_some()) {
                Some(message) => Payload::Response(with_id(message, client_id.as_str())),
                None => {
                    let what = "it ended the subscription before it began".to_owned();
                    Payload::Rejected(client_id.clone(), Reject::ChildAnswerUnusable(what))
                }
            });
        }
        match asked.wish {
            // The parts go on as they are.
            Wish::Followed | Wish::Merged => {}
            Wish::Changed => {
                self.listen.doubtful = missing;
                if self.listen.wish == Wish::Followed && !self.listen.doubtful.is_empty() {
                    self.listen.wish = Wish::Merged;
                }
            }
        }
    }

    /// If the child has neither acknowledged nor refused a subscription in time, it is not waited for any longer. What
    /// stands goes on; what the sessions had before is asked for again when somebody wants something else.
    pub(in crate::router) fn end_waiting_to_listen(&mut self, now: Instant) {
        let Some(asked) = self.listen.asked.take_if(|asked| asked.deadline <= now) else { return };
        self.stop_listening(asked.id);
        let timeout = self.acknowledged_within();
        if let Some(left_out) = self.may_log(now) {
            tracing::warn!(?timeout, left_out, "the server neither acknowledges nor refuses `subscriptions/listen`");
        }
        let mut parts = asked.parts;
        parts.append(&mut self.listen.doubtful);
        if self.listen.wish == Wish::Merged {
            self.listen.wish = Wish::Followed;
        }
        for part in self.listen.missing(parts) {
            let Part::Resource(uri) = part else { continue };
            let reject = Reject::RequestTimeout(timeout, method::LISTEN, Awaited::Server);
            self.subscribing_refused(uri, now, |client_id| Payload::Rejected(client_id.clone(), reject.clone()));
        }
    }
}
