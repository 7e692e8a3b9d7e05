//! Requests that are settled on our side, cancelled in the child, and that the child may still be at work on.
//!
//! They stand in the way of attributing what the child asks or logs to another session (see `attribution`). Bounded: of one
//! session the newest are remembered, and of too many sessions what they have in common.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use tokio::time::Instant;

use super::attribution::{LAST_WORDS, LAST_WORDS_WHEN_HEARD};
use super::id_table::ChildId;
use super::in_flight::WriteOrder;
use super::io::{ClientCapabilities, SessionKey};

/// How long a request that was cancelled is remembered as one that the child may still ask or log for, if the child never
/// answers it. A child that heeds cancellation is quiet long before; one that ignores it answers in the end, which ends
/// the memory too. Until then its question must not be taken for that of a request that was at work at the same time.
pub(super) const REMEMBERED_FOR: Duration = Duration::from_secs(30);

/// The most of them remembered for one session.
const REMEMBERED_PER_SESSION_MAX: usize = 128;
/// The most sessions of which any is remembered. Those of more are remembered together, until the last is over, as if
/// they were of one session that could be asked whatever any of them could.
const REMEMBERED_SESSIONS_MAX: usize = 256;

/// The cancelled requests of one session that the child may still be at work on.
#[derive(Debug)]
pub(super) struct Remembered {
    ids: BTreeSet<ChildId>,
    /// What its client could be asked; the session may be gone.
    pub(super) capabilities: ClientCapabilities,
    /// Whether it had asked for log messages.
    pub(super) logs: bool,
    /// The request that was handed out last when the last of these was cancelled. The child reads the cancellation before
    /// every later one.
    pub(super) written_before: WriteOrder,
    /// How many cancellations there had been then.
    since: u64,
    /// Until when they may still log what they have to say about it.
    pub(super) logs_until: Instant,
}

impl Remembered {
    /// As the newest of a session; `older`: the others.
    fn after(self, older: Option<Self>) -> Self {
        match older {
            Some(older) => Self {
                ids: older.ids,
                capabilities: self.capabilities.or(older.capabilities),
                logs: self.logs || older.logs,
                ..self
            },
            None => self,
        }
    }
}

/// Those of sessions that are too many to be told apart.
#[derive(Debug)]
struct Others {
    remembered: Remembered,
    until: Instant,
}

/// All cancelled requests that the child may still be at work on.
#[derive(Debug, Default)]
pub(super) struct Cancelled {
    by_id: BTreeMap<ChildId, (SessionKey, Instant)>,
    /// Sessions with none are absent.
    by_session: BTreeMap<SessionKey, Remembered>,
    others: Option<Others>,
    deadlines: BTreeSet<(Instant, ChildId)>,
    /// How many requests were cancelled, and of how many the child is known to have read that.
    count: u64,
    heard: u64,
}

impl Cancelled {
    /// Keeps in mind that the child may still be at work on a request that is settled on our side.
    pub(super) fn remember(
        &mut self,
        id: ChildId,
        session: SessionKey,
        (capabilities, logs): (ClientCapabilities, bool),
        written_before: WriteOrder,
        now: Instant,
    ) {
        let until = now + REMEMBERED_FOR;
        self.count += 1;
        let newest = Remembered {
            ids: BTreeSet::new(),
            capabilities,
            logs,
            written_before,
            since: self.count,
            logs_until: now + LAST_WORDS,
        };
        let is_full = self.by_session.len() >= REMEMBERED_SESSIONS_MAX;
        if is_full && !self.by_session.contains_key(&session) {
            let older = self.others.take().map(|others| others.remembered);
            self.others = Some(Others { remembered: newest.after(older), until });
            return;
        }
        self.by_id.insert(id, (session, until));
        self.deadlines.insert((until, id));
        let mut of_session = newest.after(self.by_session.remove(&session));
        of_session.ids.insert(id);
        // The newest say the same of their session for longer.
        let oldest = of_session.ids.first().copied().filter(|_| of_session.ids.len() > REMEMBERED_PER_SESSION_MAX);
        self.by_session.insert(session, of_session);
        if let Some(oldest) = oldest {
            self.forget(oldest);
        }
    }

    /// The child has read so many cancellations.
    pub(super) fn heard(&mut self, count: u64, now: Instant) {
        let others = self.others.as_mut().map(|others| &mut others.remembered);
        let all = self.by_session.values_mut().chain(others);
        for remembered in all.filter(|remembered| remembered.since <= count) {
            remembered.logs_until = remembered.logs_until.min(now + LAST_WORDS_WHEN_HEARD);
        }
        self.heard = self.heard.max(count);
    }

    /// How many cancellations there were, if there are some among those remembered of which it is not known whether the
    /// child has read them.
    pub(super) fn unheard(&self) -> Option<u64> {
        let unheard = |(_, remembered): (_, &Remembered)| remembered.since > self.heard;
        (self.count > self.heard && self.sessions().any(unheard)).then_some(self.count)
    }

    /// The child has answered it.
    pub(super) fn forget(&mut self, id: ChildId) -> bool {
        let Some((session, until)) = self.by_id.remove(&id) else { return false };
        self.deadlines.remove(&(until, id));
        if let Some(of_session) = self.by_session.get_mut(&session) {
            of_session.ids.remove(&id);
            if of_session.ids.is_empty() {
                self.by_session.remove(&session);
            }
        }
        true
    }

    /// Forgets what is long ago.
    pub(super) fn expire(&mut self, now: Instant) {
        while let Some((_, id)) = self.deadlines.first().copied().filter(|(until, _)| *until <= now) {
            self.forget(id);
        }
        self.others.take_if(|others| others.until <= now);
    }

    /// The child is gone, and with it what it was at work on.
    pub(super) fn forget_all(&mut self) {
        *self = Self { count: self.count, heard: self.count, ..Self::default() };
    }

    /// The sessions, some of them gone, for which the child may still be at work though they cancelled; none where they
    /// are not told apart.
    pub(super) fn sessions(&self) -> impl Iterator<Item = (Option<SessionKey>, &Remembered)> + '_ {
        let others = self.others.iter().map(|others| (None, &others.remembered));
        self.by_session.iter().map(|(session, remembered)| (Some(*session), remembered)).chain(others)
    }

    /// The earliest time at which something is long ago.
    pub(super) fn next_deadline(&self) -> Option<Instant> {
        let others = self.others.as_ref().map(|others| others.until);
        self.deadlines.first().map(|(deadline, _)| *deadline).into_iter().chain(others).min()
    }

    /// How many are remembered.
    pub(super) fn len(&self) -> usize {
        self.by_id.len() + usize::from(self.others.is_some())
    }
}
