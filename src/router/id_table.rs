//! Requests in flight: the one place where a client's id and the child-side id of the same request meet.
//!
//! Invariants: every request has one child-side id, never given to another in the router's life (a request that goes to the
//! next process keeps it); `by_session`, `by_client` and `followers` name exactly the requests in `requests`, and `busy` the
//! sessions of those that are written; `deadlines` holds exactly the deadlines of requests.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use bytes::Bytes;
use compact_str::{CompactString, ToCompactString as _, format_compact};
use smallvec::SmallVec;
use tokio::time::Instant;

use super::cache::Ticket;
use super::in_flight::{Attempt, InFlight, Phase, WriteOrder};
use super::io::SessionKey;
use super::purpose::Purpose;
use super::queue::Place;
use crate::jsonrpc::{Message, RawId, Span};

/// A request's id on the child's side.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct ChildId(pub(super) u64);

impl ChildId {
    /// As JSON text in the envelope's `id`.
    pub(super) fn text(self) -> CompactString {
        self.0.to_compact_string()
    }

    /// As JSON text of a progress token. A string, since servers use small integers as tokens of their own requests and
    /// a token is one of the things by which a child's question is attributed.
    pub(super) fn token(self) -> CompactString {
        format_compact!("\"{TOKEN_PREFIX}{}\"", self.0)
    }

    /// The request that a progress token (JSON text) names, if it is one of ours.
    pub(super) fn from_token(text: &str) -> Option<Self> {
        text.strip_prefix('"')?.strip_suffix('"')?.strip_prefix(TOKEN_PREFIX)?.parse().ok().map(Self)
    }

    /// The request that a response answers. Servers written in languages with one number type spell `7` as `7.0`, some
    /// others as `"7"`; no two of ours look alike in either.
    pub(super) fn from_response(message: &Message) -> Option<Self> {
        Self::from_text(message.text(message.id_span()?))
    }

    /// Likewise for JSON text that bears such an id.
    pub(super) fn from_text(text: &str) -> Option<Self> {
        let text = text.strip_prefix('"').and_then(|text| text.strip_suffix('"')).unwrap_or(text);
        text.strip_suffix(".0").unwrap_or(text).parse().ok().map(Self)
    }
}

const TOKEN_PREFIX: &str = "mux-";

/// All requests in flight.
#[derive(Debug, Default)]
pub(super) struct IdTable {
    last: u64,
    written: WriteOrder,
    requests: BTreeMap<ChildId, Box<InFlight>>,
    /// Of each session, oldest first.
    by_session: BTreeMap<SessionKey, SmallVec<[ChildId; 4]>>,
    /// How many written requests each session has; sessions with none are absent.
    busy: BTreeMap<SessionKey, usize>,
    by_client: HashMap<(SessionKey, RawId), ChildId>,
    /// Those that are answered by the answer to a request of mcp-mux's own.
    followers: BTreeMap<ChildId, BTreeSet<ChildId>>,
    deadlines: BTreeSet<(Instant, ChildId)>,
    /// Of all messages that are kept for the child to have again.
    original_bytes: usize,
}

impl IdTable {
    /// A child-side id that was never used.
    pub(super) const fn fresh_id(&mut self) -> ChildId {
        self.last += 1;
        ChildId(self.last)
    }

    /// Whether this id was given out.
    pub(super) const fn has_given(&self, id: ChildId) -> bool {
        0 < id.0 && id.0 <= self.last
    }

    /// Takes a request in that waits.
    pub(super) fn insert(&mut self, request: InFlight) -> ChildId {
        let id = self.fresh_id();
        self.by_client.insert((request.origin.session, request.client_id.clone()), id);
        self.by_session.entry(request.origin.session).or_default().push(id);
        self.original_bytes = self.original_bytes.saturating_add(request.original_len());
        self.requests.insert(id, Box::new(request));
        id
    }

    /// Takes a request out, because it is settled or another child is to have it. It has no deadline any more.
    pub(super) fn remove(&mut self, id: ChildId) -> Option<InFlight> {
        let mut request = *self.requests.remove(&id)?;
        self.original_bytes = self.original_bytes.saturating_sub(request.original_len());
        let session = request.origin.session;
        self.by_client.remove(&(session, request.client_id.clone()));
        if let Some(deadline) = request.deadline.take() {
            self.deadlines.remove(&(deadline, id));
        }
        self.leave_phase(id, &request.phase, session);
        if let Some(ids) = self.by_session.get_mut(&session) {
            if let Ok(at) = ids.binary_search(&id) {
                ids.remove(at);
            }
            if ids.is_empty() {
                self.by_session.remove(&session);
            }
        }
        Some(request)
    }

    fn leave_phase(&mut self, id: ChildId, phase: &Phase, session: SessionKey) {
        match phase {
            Phase::Queued(_) | Phase::Asks => {}
            Phase::Written => self.one_less_written(session),
            Phase::Follows(own) => self.one_less_follower(*own, id),
        }
    }

    fn one_less_written(&mut self, session: SessionKey) {
        if let Some(count) = self.busy.get_mut(&session) {
            *count -= 1;
            if *count == 0 {
                self.busy.remove(&session);
            }
        }
    }

    fn one_less_follower(&mut self, own: ChildId, id: ChildId) {
        if let Some(followers) = self.followers.get_mut(&own) {
            followers.remove(&id);
            if followers.is_empty() {
                self.followers.remove(&own);
            }
        }
    }

    /// Moves a queued request on; returns its message.
    pub(super) fn leave_queue(&mut self, id: ChildId, next: Phase) -> Option<Message> {
        let request = self.requests.get_mut(&id)?;
        if !matches!(request.phase, Phase::Queued(_)) {
            return None;
        }
        match next {
            Phase::Queued(_) | Phase::Asks => {}
            Phase::Written => {
                self.written.0 += 1;
                request.order = self.written;
                *self.busy.entry(request.origin.session).or_default() += 1;
            }
            Phase::Follows(own) => {
                self.followers.entry(own).or_default().insert(id);
            }
        }
        match std::mem::replace(&mut request.phase, next) {
            Phase::Queued(message) => Some(message),
            Phase::Written | Phase::Follows(_) | Phase::Asks => None,
        }
    }

    /// The child was told something for this request.
    pub(super) fn addressed(&mut self, id: ChildId, now: Instant) {
        if let Some(request) = self.requests.get_mut(&id) {
            request.addressed = now;
        }
    }

    /// When it was last told something for any of this session's.
    pub(super) fn last_addressed(&self, session: SessionKey) -> Option<Instant> {
        self.of_session(session).filter_map(|id| self.get(id)).map(|request| request.addressed).max()
    }

    /// Keeps the message of a request that was handed out.
    pub(super) fn keep(&mut self, id: ChildId, message: Bytes) {
        if let Some(request) = self.requests.get_mut(&id) {
            request.kept = Some(message);
        }
    }

    /// Keeps what its result may be kept with.
    pub(super) fn keep_ticket(&mut self, id: ChildId, ticket: Ticket) {
        if let Some(request) = self.requests.get_mut(&id) {
            request.ticket = Some(ticket);
        }
    }

    /// Keeps the message of a request that the child may want again with more in it. The first one given counts.
    pub(super) fn keep_original(&mut self, id: ChildId, message: Bytes) {
        if let Some(request) = self.requests.get_mut(&id).filter(|request| request.original.is_none()) {
            self.original_bytes = self.original_bytes.saturating_add(message.len());
            request.original = Some(message);
        }
    }

    /// How many bytes of such messages are kept.
    pub(super) const fn original_bytes(&self) -> usize {
        self.original_bytes
    }

    /// The child is not at work on a request any more: its client is asked something first.
    pub(super) fn begin_asking(&mut self, id: ChildId) {
        let Some(request) = self.requests.get_mut(&id) else { return };
        let (session, phase) = (request.origin.session, std::mem::replace(&mut request.phase, Phase::Asks));
        self.leave_phase(id, &phase, session);
    }

    /// A client's `subscriptions/listen` was acknowledged; whether it was before.
    pub(super) fn acknowledge(&mut self, id: ChildId) -> bool {
        self.requests.get_mut(&id).is_some_and(|request| std::mem::replace(&mut request.acknowledged, true))
    }

    /// A request that was handed out waits again, in this form and place. `token`: where its progress token is now.
    pub(super) fn back_to_queue(
        &mut self,
        id: ChildId,
        message: Message,
        token: Option<Span>,
        place: Place,
        now: Instant,
    ) {
        let Some(request) = self.requests.get_mut(&id) else { return };
        request.kept = None;
        request.place = place;
        request.waits_since = now;
        // Only what was a token when it came is one.
        request.token = request.token.take().and_then(|(_, token_of_client)| Some((token?, token_of_client)));
        let (session, phase) = (request.origin.session, std::mem::replace(&mut request.phase, Phase::Queued(message)));
        self.leave_phase(id, &phase, session);
    }

    /// It was given to a process that may have carried it out.
    pub(super) fn count_attempt(&mut self, id: ChildId) {
        if let Some(request) = self.requests.get_mut(&id) {
            request.attempt = Attempt::Second;
        }
    }

    /// Sets or lifts a request's deadline.
    pub(super) fn set_deadline(&mut self, id: ChildId, deadline: Option<Instant>) {
        let Some(request) = self.requests.get_mut(&id) else { return };
        if let Some(old) = std::mem::replace(&mut request.deadline, deadline) {
            self.deadlines.remove(&(old, id));
        }
        if let Some(deadline) = deadline {
            self.deadlines.insert((deadline, id));
        }
    }

    /// A request in flight.
    pub(super) fn get(&self, id: ChildId) -> Option<&InFlight> {
        self.requests.get(&id).map(Box::as_ref)
    }

    /// The request of this session with this client id.
    pub(super) fn find(&self, session: SessionKey, client_id: &RawId) -> Option<ChildId> {
        self.by_client.get(&(session, client_id.clone())).copied()
    }

    /// The requests of a session, oldest first.
    pub(super) fn of_session(&self, session: SessionKey) -> impl DoubleEndedIterator<Item = ChildId> + '_ {
        self.by_session.get(&session).into_iter().flatten().copied()
    }

    /// How many requests of a session are in flight.
    pub(super) fn count_of_session(&self, session: SessionKey) -> usize {
        self.by_session.get(&session).map_or(0, SmallVec::len)
    }

    /// Whether the child has one of such a purpose.
    pub(super) fn any_written(&self, such: impl Fn(&Purpose) -> bool) -> bool {
        self.requests.values().any(|request| matches!(request.phase, Phase::Written) && such(&request.purpose))
    }

    /// When the oldest of such a purpose was accepted.
    pub(super) fn oldest(&self, such: impl Fn(&Purpose) -> bool) -> Option<Instant> {
        self.requests.values().filter(|request| such(&request.purpose)).map(|request| request.accepted).min()
    }

    /// All, oldest first.
    pub(super) fn ids(&self) -> Vec<ChildId> {
        self.requests.keys().copied().collect()
    }

    /// Those that are answered by the answer to `own`, oldest first.
    pub(super) fn followers(&self, own: ChildId) -> Vec<ChildId> {
        self.followers.get(&own).into_iter().flatten().copied().collect()
    }

    /// The sessions for which the child is at work.
    pub(super) fn busy_sessions(&self) -> impl Iterator<Item = SessionKey> + '_ {
        self.busy.keys().copied()
    }

    /// Whether the child is at work for this session (a settled request does not count).
    pub(super) fn is_busy(&self, session: SessionKey) -> bool {
        self.busy.contains_key(&session)
    }

    /// The session's request that was written last.
    pub(super) fn newest_written(&self, session: SessionKey) -> Option<&InFlight> {
        let written = |id| self.get(id).filter(|request| matches!(request.phase, Phase::Written));
        self.of_session(session).filter_map(written).max_by_key(|request| request.order)
    }

    /// The earliest deadline.
    pub(super) fn next_deadline(&self) -> Option<Instant> {
        self.deadlines.first().map(|(deadline, _)| *deadline)
    }

    /// The ids whose deadline has come.
    pub(super) fn due(&self, now: Instant) -> Vec<ChildId> {
        self.deadlines.iter().take_while(|(deadline, _)| *deadline <= now).map(|(_, id)| *id).collect()
    }

    /// How many requests are in flight.
    pub(super) fn len(&self) -> usize {
        self.requests.len()
    }

    /// The place in the order of the request that was handed out last.
    pub(super) const fn last_written(&self) -> WriteOrder {
        self.written
    }
}
