//! What is delivered to a session, and what a change of its streams brings about.

use tracing::{debug, warn};

use super::streams::{Effects, Notice};
use super::{CloseReason, Phase, Session, Transport};
use crate::child::Outbox;
use crate::router::{Payload, StreamId};

impl Session {
    /// Does what is to be done outside the lock.
    pub(super) fn apply(&self, mut effects: Effects) {
        let notice = effects.notice;
        let dropped = std::mem::take(&mut effects.dropped);
        effects.wake();
        if let Some(child) = self.child.get().filter(|_| !dropped.is_empty()) {
            self.shared.unasked.put(child, self.key, dropped);
        }
        let Some(notice) = notice else { return };
        let first = !std::mem::replace(&mut self.lock().warned, true);
        let what = match notice {
            Notice::Dropped => {
                "messages that a client has not read were dropped (--replay-events, --replay-bytes, --unread-total-bytes-max)"
            }
            Notice::AnswerNotKept => {
                "an answer that a client has not read was replaced by an error (--replay-bytes, --unread-total-bytes-max)"
            }
            Notice::SlowConsumer => "slow consumer: a stream was ended; its client can resume it",
            Notice::SlowSession => "slow consumer: the session was ended",
        };
        if first {
            warn!(session = %self.id, "{what}");
        } else {
            debug!(session = %self.id, "{what}");
        }
        if notice == Notice::SlowSession {
            self.close(CloseReason::SlowConsumer);
        }
    }
}

impl Outbox for Session {
    fn deliver(&self, stream: StreamId, payload: Payload) {
        let mut failed = None;
        let effects = {
            let mut state = self.lock();
            if let Payload::Initialized(_, revision) = &payload {
                state.record.revision = Some(*revision);
                state.phase = Phase::Open;
            }
            let settles = !matches!(payload, Payload::Message(_));
            let effects = state.streams.deliver(stream, payload);
            if settles && state.phase == Phase::Initializing && self.transport == Transport::HttpSse {
                // Nothing else can be in flight, so this was `initialize`: its client gets the error, then the end.
                failed = Some(state.streams.end_standing());
            }
            effects
        };
        self.apply(effects);
        if let Some(effects) = failed {
            self.apply(effects);
        }
    }
}
