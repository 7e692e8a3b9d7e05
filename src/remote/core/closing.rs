//! The end: what is in flight may go on for a while, then the session is closed.
//!
//! Spec: 2025-11-25, Transports, Session Management 5; Lifecycle, Shutdown.

use std::time::Duration;

use tokio::time::Instant;

use super::exchange::{Exchange, Purpose, Step};
use super::opening::Transport;
use super::{Core, Ending, ExchangeId, Output, Refusal};
use crate::jsonrpc::Kind;
use crate::mcp::code;

/// Whether the end has come.
#[derive(Clone, Copy, Debug)]
pub(super) enum Closing {
    /// It has not.
    No,
    /// What is in flight may go on until then.
    Draining(Instant),
    /// The session is being closed.
    Leaving,
    /// It is over.
    Over,
}

impl Closing {
    pub(super) const fn is_on(self) -> bool {
        !matches!(self, Self::No)
    }

    pub(super) const fn until(self) -> Option<Instant> {
        match self {
            Self::Draining(until) => Some(until),
            Self::No | Self::Leaving | Self::Over => None,
        }
    }
}

impl Core {
    /// The client will say no more; what is in flight may go on for so long. Said again, that is over at once if the time
    /// is.
    pub(in crate::remote) fn close(&mut self, drain_timeout: Duration, now: Instant) {
        if matches!(self.closing, Closing::No | Closing::Draining(_)) {
            self.closing = Closing::Draining(now + drain_timeout);
        }
        self.advance_closing(now);
    }

    pub(super) fn advance_closing(&mut self, now: Instant) {
        let waits = |exchange: &Exchange| match exchange.purpose {
            Purpose::Request { .. } | Purpose::Message | Purpose::Tools(_) => true,
            // So that the session can be closed; but not until there is a server again.
            Purpose::Reopen | Purpose::Replay => exchange.step == Step::Sent,
            Purpose::Stream | Purpose::Source | Purpose::Delete | Purpose::Over => false,
        };
        let idle = self.queue.is_empty() && !self.exchanges.values().any(waits);
        match self.closing {
            Closing::Draining(until) if idle || now >= until => self.leave(now),
            Closing::Leaving => {
                let deletes = self.exchanges.values().any(|exchange| matches!(exchange.purpose, Purpose::Delete));
                if !deletes {
                    self.closing = Closing::Over;
                    self.drop_all();
                    self.ending.get_or_insert(Ending::Done);
                }
            }
            Closing::No | Closing::Draining(_) | Closing::Over => {}
        }
    }

    fn leave(&mut self, now: Instant) {
        let what = "mcp-mux is stopping".to_owned();
        let refusal = Refusal { code: code::SHUTTING_DOWN, kind: "shutting-down", what };
        for id in self.exchanges.keys().copied().collect::<Vec<ExchangeId>>() {
            self.give_up_silently(id, &refusal);
        }
        for waiting in std::mem::take(&mut self.queue) {
            if let (Kind::Request, Some(id)) = (waiting.message.kind(), waiting.message.id()) {
                self.refuse(&id, &refusal);
            }
        }
        self.queued_bytes = 0;
        self.closing = Closing::Leaving;
        if self.session.id.is_some() && self.transport == Transport::Streamable {
            let id = self.begin(Purpose::Delete, None);
            self.launch(id, now);
        }
        self.advance_closing(now);
    }

    fn give_up_silently(&mut self, id: ExchangeId, refusal: &Refusal) {
        let Some(exchange) = self.abandon(id) else { return };
        if let Some((client_id, _)) = exchange.purpose.request() {
            self.refuse(client_id, refusal);
        }
    }

    fn drop_all(&mut self) {
        for id in std::mem::take(&mut self.exchanges).into_keys() {
            self.outputs.push_back(Output::Drop(id));
        }
    }
}
