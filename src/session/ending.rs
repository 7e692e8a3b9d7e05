//! When a session ends, and what ends with it.

use std::time::Duration;

use tokio::time::Instant;
use tracing::info;

use super::Session;
use crate::auth::Admission;
use crate::auth::usage::SessionPlace;

/// Why a session was closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CloseReason {
    /// Its client deleted it.
    Deleted,
    /// Its client is gone, and it cannot come back.
    Gone,
    /// Nothing was heard of its client for `--session-idle-timeout`.
    Idle,
    /// It reached `--session-max-age`.
    Age,
    /// Its only reader did not keep up.
    SlowConsumer,
    /// Its client's credential was taken away.
    Revoked,
    /// Its client's credential is not good any more, and it cannot outlive that.
    Lapsed,
    /// mcp-mux is stopping.
    ShuttingDown,
}

impl CloseReason {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Deleted => "deleted by its client",
            Self::Gone => "client gone",
            Self::Idle => "idle",
            Self::Age => "too old",
            Self::SlowConsumer => "slow consumer",
            Self::Revoked => "credential revoked",
            Self::Lapsed => "credential expired",
            Self::ShuttingDown => "shutting down",
        }
    }
}

impl Session {
    /// Ends the standing streams; that of HTTP+SSE as soon as what is in flight is answered.
    pub fn end_standing_streams(&self) {
        let effects = self.lock().streams.end_standing();
        self.apply(effects);
    }

    /// Ends the session: its standing streams end at once, its POSTs with what the child's side settles their requests
    /// with. What still waits for room in the child's input is not handed over any more. May be called again.
    pub fn close(&self, reason: CloseReason) {
        let (effects, first, lease, pending) = {
            let mut state = self.lock();
            let first = !std::mem::replace(&mut state.closed, true);
            (state.place, state.counted) = (None, None);
            let pending = state.streams.pending();
            let lease = if state.on_the_way == 0 { state.lease.take() } else { None };
            (state.streams.close(), first, lease, pending)
        };
        self.apply(effects);
        self.closing.notify_waiters();
        self.detach(lease);
        if first && !self.transport.is_exchange() {
            info!(session = %self.id, reason = reason.as_str(), in_flight = pending, "session closed");
        }
    }

    /// Something came from its client.
    pub(super) fn touch(&self, now: Instant, caller: &Admission) {
        let mut state = self.lock();
        state.touched = now;
        state.validity = caller.validity.clone();
        state.streams.allow_in_flight(caller.allowance.in_flight_max);
        state.sessions_max = caller.allowance.sessions_max;
    }

    /// Takes its place among the sessions of its principal, until it is closed.
    pub(super) fn hold(&self, place: SessionPlace) {
        self.lock().place = Some(place);
    }

    /// From now on it ends when its client's credential does. For an exchange that may go on for ever.
    pub fn end_with_credential(&self) {
        self.lock().outlives_credential = false;
    }

    /// Ends what is open to its client, which comes back with what it may have then. Whether the whole session is over, and why.
    pub(super) fn interrupt(&self) -> Option<CloseReason> {
        let effects = {
            let mut state = self.lock();
            if !state.outlives_credential {
                return Some(CloseReason::Lapsed);
            }
            state.streams.disconnect_standing()
        };
        self.apply(effects);
        None
    }

    /// Ends what is open to a client whose credential is not good any more at `now`, until it comes back with a better one.
    /// What was accepted before goes on until it is answered. Whether the whole session is over, and why.
    pub(super) fn lapsed(&self, now: Instant) -> Option<CloseReason> {
        let validity = self.lock().validity.clone();
        if validity.is_revoked() {
            Some(CloseReason::Revoked)
        } else if validity.is_over(now) {
            self.interrupt()
        } else {
            None
        }
    }

    /// Whether it is to be taken out of the registry, and why.
    pub(super) fn expired(
        &self,
        now: Instant,
        idle_timeout: Option<Duration>,
        created_before: Option<u64>,
    ) -> Option<CloseReason> {
        let mut state = self.lock();
        if state.closed {
            return Some(CloseReason::Gone);
        }
        if created_before.is_some_and(|limit| state.record.created_unix_ms <= limit) {
            return Some(CloseReason::Age);
        }
        if state.streams.is_busy() {
            state.touched = now;
        }
        let idle = now.saturating_duration_since(state.touched);
        idle_timeout.is_some_and(|timeout| idle >= timeout).then_some(CloseReason::Idle)
    }
}
