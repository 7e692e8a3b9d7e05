//! Requests in flight: the one place where a client's id and the child-side id of the same request meet.
//!
//! Invariants: every request has one child-side id, never reused in the router's life; `by_client` and each session's
//! set name exactly the requests in `requests`; `deadlines` holds exactly the deadlines of requests and of remembered
//! ids.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::time::Duration;

use tokio::time::Instant;

use super::io::{ClientCapabilities, Origin, SessionKey};
use crate::jsonrpc::{Message, RawId, Span};
use crate::mcp::LogLevel;

/// How long a request that was cancelled stays a candidate for what the child asks or logs, if the child never answers
/// it. A child that heeds cancellation is quiet long before; one that ignores it answers in the end, which ends the
/// memory too. Until then its question must not be taken for somebody else's.
pub(super) const REMEMBERED_FOR: Duration = Duration::from_secs(10);

/// The most of them remembered for one session.
const REMEMBERED_PER_SESSION_MAX: usize = 128;

/// A request's id on the child's side.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct ChildId(pub(super) u64);

impl ChildId {
    /// As JSON text in the envelope's `id`.
    pub(super) fn text(self) -> Box<str> {
        self.0.to_string().into()
    }

    /// As JSON text of a progress token. A string, since servers use small integers as tokens of their own requests and
    /// a token is one of the things by which a child's question is attributed.
    pub(super) fn token(self) -> Box<str> {
        format!("\"{TOKEN_PREFIX}{}\"", self.0).into()
    }

    /// The request that a progress token (JSON text) names, if it is one of ours.
    pub(super) fn from_token(text: &str) -> Option<Self> {
        text.strip_prefix('"')?.strip_suffix('"')?.strip_prefix(TOKEN_PREFIX)?.parse().ok().map(Self)
    }

    /// The request that a response answers. Servers written in languages with one number type spell `7` as `7.0`.
    pub(super) fn from_response(message: &Message) -> Option<Self> {
        let text = message.text(message.id_span()?);
        text.strip_suffix(".0").unwrap_or(text).parse().ok().map(Self)
    }
}

const TOKEN_PREFIX: &str = "mux-";

/// How far a request is.
#[derive(Debug)]
pub(super) enum Phase {
    /// Accepted, not handed out yet.
    Queued(Box<Message>),
    /// Handed out for the child.
    Written,
    /// Answered by the answer to a request of mcp-mux's own.
    Follows(ChildId),
}

/// What a request is to the router, found out once when it is accepted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Purpose {
    /// Passed on, and so is its answer.
    Plain,
    /// `initialize`: answered from the child's handshake; cannot be cancelled.
    Initialize,
    /// `logging/setLevel`.
    SetLevel(LogLevel),
    /// `resources/subscribe`.
    Subscribe(String),
    /// `resources/unsubscribe`.
    Unsubscribe(String),
    /// Passed on; the task that the answer names belongs to the session.
    CreatesTask,
    /// `tasks/get`, `tasks/result`, `tasks/cancel`: passed on if the task is the session's.
    Task(String),
    /// `tasks/list`: of the answer, what belongs to the session.
    ListsTasks,
}

/// A request in flight.
#[derive(Debug)]
pub(super) struct InFlight {
    /// Who sent it.
    pub(super) origin: Origin,
    /// Its id there.
    pub(super) client_id: RawId,
    /// The progress token it came with, and where.
    pub(super) token: Option<(Span, RawId)>,
    /// What it is to the router.
    pub(super) purpose: Purpose,
    /// How far it is.
    pub(super) phase: Phase,
    /// When it was accepted.
    pub(super) accepted: Instant,
    /// When it fails.
    deadline: Option<Instant>,
}

/// All requests in flight.
#[derive(Debug, Default)]
pub(super) struct IdTable {
    last: u64,
    requests: BTreeMap<ChildId, InFlight>,
    by_client: HashMap<(SessionKey, RawId), ChildId>,
    by_session: BTreeMap<SessionKey, BTreeSet<ChildId>>,
    /// How many written requests each session has; sessions with none are absent.
    busy: BTreeMap<SessionKey, usize>,
    remembered: BTreeMap<ChildId, (SessionKey, Instant)>,
    /// The same by session, with what its client could be asked; sessions with none are absent.
    remembered_of: BTreeMap<SessionKey, (BTreeSet<ChildId>, ClientCapabilities)>,
    deadlines: BTreeSet<(Instant, ChildId)>,
}

impl IdTable {
    /// A child-side id that was never used.
    pub(super) const fn fresh_id(&mut self) -> ChildId {
        self.last += 1;
        ChildId(self.last)
    }

    /// Takes a request in.
    pub(super) fn insert(
        &mut self,
        origin: Origin,
        client_id: RawId,
        token: Option<(Span, RawId)>,
        purpose: Purpose,
        message: Message,
        now: Instant,
    ) -> ChildId {
        let id = self.fresh_id();
        self.by_client.insert((origin.session, client_id.clone()), id);
        self.by_session.entry(origin.session).or_default().insert(id);
        let phase = Phase::Queued(Box::new(message));
        self.requests.insert(id, InFlight { origin, client_id, token, purpose, phase, accepted: now, deadline: None });
        id
    }

    /// Takes a request out, because it is settled.
    pub(super) fn remove(&mut self, id: ChildId) -> Option<InFlight> {
        let request = self.requests.remove(&id)?;
        self.by_client.remove(&(request.origin.session, request.client_id.clone()));
        if let Some(ids) = self.by_session.get_mut(&request.origin.session) {
            ids.remove(&id);
            if ids.is_empty() {
                self.by_session.remove(&request.origin.session);
            }
        }
        if let Some(deadline) = request.deadline {
            self.deadlines.remove(&(deadline, id));
        }
        if matches!(request.phase, Phase::Written) {
            self.one_less_written(request.origin.session);
        }
        Some(request)
    }

    fn one_less_written(&mut self, session: SessionKey) {
        if let Some(count) = self.busy.get_mut(&session) {
            *count -= 1;
            if *count == 0 {
                self.busy.remove(&session);
            }
        }
    }

    /// Moves a queued request on; returns its message.
    pub(super) fn leave_queue(&mut self, id: ChildId, next: Phase) -> Option<Box<Message>> {
        let request = self.requests.get_mut(&id)?;
        if !matches!(request.phase, Phase::Queued(_)) {
            return None;
        }
        if matches!(next, Phase::Written) {
            *self.busy.entry(request.origin.session).or_default() += 1;
        }
        match std::mem::replace(&mut request.phase, next) {
            Phase::Queued(message) => Some(message),
            Phase::Written | Phase::Follows(_) => None,
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
        self.requests.get(&id)
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
        self.by_session.get(&session).map_or(0, BTreeSet::len)
    }

    /// All, oldest first.
    pub(super) fn ids(&self) -> Vec<ChildId> {
        self.requests.keys().copied().collect()
    }

    /// Those that are answered by the answer to `own`, oldest first.
    pub(super) fn followers(&self, own: ChildId) -> Vec<ChildId> {
        let follows = |request: &InFlight| matches!(request.phase, Phase::Follows(id) if id == own);
        self.requests.iter().filter(|(_, request)| follows(request)).map(|(id, _)| *id).collect()
    }

    /// Keeps in mind that the child may still be at work on a request that is settled on our side.
    pub(super) fn remember(
        &mut self,
        id: ChildId,
        session: SessionKey,
        capabilities: ClientCapabilities,
        now: Instant,
    ) {
        let until = now + REMEMBERED_FOR;
        self.remembered.insert(id, (session, until));
        self.deadlines.insert((until, id));
        let (of_session, asked) = self.remembered_of.entry(session).or_default();
        *asked = capabilities;
        of_session.insert(id);
        // The newest say the same of their session for longer.
        if of_session.len() > REMEMBERED_PER_SESSION_MAX
            && let Some(oldest) = of_session.first().copied()
        {
            self.forget(oldest);
        }
    }

    /// The child has answered it, or it is long ago.
    pub(super) fn forget(&mut self, id: ChildId) -> bool {
        let Some((session, until)) = self.remembered.remove(&id) else { return false };
        self.deadlines.remove(&(until, id));
        if let Some((of_session, _)) = self.remembered_of.get_mut(&session) {
            of_session.remove(&id);
            if of_session.is_empty() {
                self.remembered_of.remove(&session);
            }
        }
        true
    }

    /// The child is gone, and with it what it was at work on.
    pub(super) fn forget_all(&mut self) {
        self.remembered_of.clear();
        for (id, (_, until)) in std::mem::take(&mut self.remembered) {
            self.deadlines.remove(&(until, id));
        }
    }

    /// The sessions for which the child is, or may still be, at work. One may come up more than once.
    pub(super) fn sessions_at_work(&self) -> impl Iterator<Item = SessionKey> + '_ {
        self.busy.keys().chain(self.remembered_of.keys()).copied()
    }

    /// What the client of a session that may have left could be asked when it cancelled.
    pub(super) fn remembered_capabilities(&self, session: SessionKey) -> Option<ClientCapabilities> {
        self.remembered_of.get(&session).map(|(_, capabilities)| *capabilities)
    }

    /// Whether the child is at work for this session (a settled request does not count).
    pub(super) fn is_busy(&self, session: SessionKey) -> bool {
        self.busy.contains_key(&session)
    }

    /// The session's request that was written last.
    pub(super) fn newest_written(&self, session: SessionKey) -> Option<&InFlight> {
        let written = |id| self.requests.get(&id).filter(|request| matches!(request.phase, Phase::Written));
        self.of_session(session).rev().find_map(written)
    }

    /// The earliest deadline.
    pub(super) fn next_deadline(&self) -> Option<Instant> {
        self.deadlines.first().map(|(deadline, _)| *deadline)
    }

    /// The ids whose deadline has come.
    pub(super) fn due(&self, now: Instant) -> Vec<ChildId> {
        self.deadlines.iter().take_while(|(deadline, _)| *deadline <= now).map(|(_, id)| *id).collect()
    }

    /// How many requests are in flight, and how many are remembered.
    pub(super) fn len(&self) -> (usize, usize) {
        (self.requests.len(), self.remembered.len())
    }
}
