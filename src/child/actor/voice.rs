//! As whose, and in which era, an actor's processes are spoken to; and the process that waits until that is known.
//!
//! A process is started at once, but not spoken to before its era is known. What comes for it until then waits in a router
//! that stands in, and goes to the right one with the sessions. The same is done where a spare turns out to be for a
//! modern exchange, and where a server refuses `initialize` with the words that it is modern.

use std::time::Duration;

use tokio::time::Instant;

use super::{ChildActor, Wanted};
use crate::child::EraSource;
use crate::child::life::Phase;
use crate::child::probe::is_modern_error;
use crate::child::process::Launch;
use crate::child::restart::Circuit;
use crate::config::RouterConfig;
use crate::mcp::Era;
use crate::router::{Router, Sharing};

/// How processes are spoken to.
#[derive(Debug)]
pub(super) struct Voice {
    config: RouterConfig,
    pub(super) sharing: Sharing,
    source: EraSource,
    /// The era of the present router; none while that stands in for the right one.
    era: Option<Era>,
    /// Whether a process that exits may have another try, since the first one had a process of the probe beside it.
    chance: bool,
}

impl Voice {
    pub(super) fn new(config: RouterConfig, sharing: Sharing, source: EraSource) -> Self {
        let era = source.era();
        Self { config, sharing, source, era, chance: era.is_none() }
    }

    /// The first router.
    pub(super) fn router(&self) -> Router {
        Router::new(self.config.clone(), self.sharing, self.era.unwrap_or_default())
    }

    /// Whether processes can be spoken to.
    pub(super) const fn is_found(&self) -> bool {
        self.era.is_some()
    }

    /// Whether a process that came to nothing may have another try; that is then taken.
    pub(super) const fn take_chance(&mut self) -> bool {
        std::mem::replace(&mut self.chance, false)
    }

    /// Resolves when the era is known; never if it was known before.
    ///
    /// # Cancel safety
    /// It only looks.
    pub(super) async fn found(&self) {
        if self.is_found() {
            std::future::pending::<()>().await;
        }
        self.source.wait().await;
    }
}

impl<L: Launch> ChildActor<L> {
    /// Begins to speak, once the era is known: the process that is there gets its handshake.
    pub(super) fn find_voice(&mut self, now: Instant) {
        if self.voice.is_found() {
            return;
        }
        let Some(era) = self.voice.source.era() else { return };
        self.voice.era = Some(era);
        tracing::debug!(?era, "the era of the child is known");
        self.speak(now);
        if !self.is_proven()
            && let Phase::Waiting { until } = &mut self.current.phase
        {
            *until = (*until).min(now + ALONE_AFTER);
        }
    }

    /// A process exited before its handshake stood, and the one of the probe was beside it: two of them may get in each
    /// other's way (a port, a lock). The next one is alone.
    pub(super) fn wait_to_be_alone(&mut self, status: String, now: Instant) {
        tracing::info!(
            status,
            "the child exited beside the process that is asked for its era; it is started once more"
        );
        self.last_status = status;
        let wait = if self.voice.is_found() { ALONE_AFTER } else { self.config.probe_timeout + ALONE_AFTER };
        self.current.phase = Phase::Waiting { until: now + wait };
    }

    /// A process that nobody has spoken to is for somebody else than was thought: mcp-mux itself makes the handshake.
    pub(super) fn retune(&mut self, sharing: Sharing, source: EraSource, now: Instant) {
        self.voice.sharing = sharing;
        self.voice.era = None;
        self.voice.source = source;
        self.find_voice(now);
    }

    /// Whether the process refused `initialize` since it is modern, and is spoken to in that era from now on. The probe may
    /// have been too early for it, or in its way.
    pub(super) fn is_modern_after_all(&mut self, now: Instant) -> bool {
        let refused = self.current.router.handshake_error().is_some_and(is_modern_error);
        let retuned = refused && self.voice.era == Some(Era::Legacy) && self.voice.source.correct();
        if retuned {
            tracing::info!(era = "modern", how = "it refused initialize", "the era of the server was found out");
            // What these sent was meant for a legacy child.
            for exchange in self.current.router.exchanges() {
                self.current.router.detach(exchange, now);
            }
            self.voice.era = None;
            self.find_voice(now);
        }
        retuned
    }

    /// Puts a router for this voice in the place of the present one, which has given nothing to a process.
    fn speak(&mut self, now: Instant) {
        if self.given_up || self.wanted != Wanted::Running {
            // The present one says so to everybody, or soon will.
            return;
        }
        // What the present one has come to is delivered before it goes.
        self.flush();
        let router = self.voice.router();
        let mut stand_in = std::mem::replace(&mut self.current.router, router);
        if self.restart.circuit() != Circuit::Closed {
            let until = if let Phase::Waiting { until } = &self.current.phase { *until } else { now };
            self.current.router.suspend(until, now);
        }
        stand_in.hand_over(&mut self.current.router, now);
        if self.current.running().is_some() {
            self.current.open(&self.config, now);
        }
        if let Some(successor) = &mut self.successor {
            successor.router = self.current.router.successor();
            successor.open(&self.config, now);
        }
    }
}

/// How long after the era was found the process of the probe is taken to be gone: it was killed before.
const ALONE_AFTER: Duration = Duration::from_millis(100);
