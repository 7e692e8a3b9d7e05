//! As whose, and in which era, an actor's processes are spoken to; and the process that waits until that is known.
//!
//! A process is started at once, but not spoken to before its era is known, except that it may be itself which is asked. What
//! comes for it until then waits in a router that stands in, and goes to the right one with the sessions. The same is done
//! where a spare turns out to be for a modern exchange, and where a server refuses `initialize` with the words that it is
//! modern.
//!
//! A process that was asked goes on if it answered as servers do, with a `DiscoverResult` or an error. The question may
//! have ended it, hung it or confused it; then it is replaced, once, by one that is spoken to in the legacy era from the
//! start, and that counts for nothing. If it said nothing, that it is legacy is only assumed until it answers `initialize`,
//! and nobody else is told before.

use std::time::Duration;

use tokio::time::Instant;

use super::{ChildActor, Wanted};
use crate::child::life::{Ending, Phase, Running};
use crate::child::probe::{Heard, Question, Verdict, is_modern_error, judge};
use crate::child::process::Launch;
use crate::child::restart::Circuit;
use crate::child::supervisor::Order;
use crate::child::{CommandEras, EraSource, Finder, Known};
use crate::config::RouterConfig;
use crate::mcp::Era;
use crate::router::cache::ResponseCache;
use crate::router::{Router, Sharing};

/// How processes are spoken to.
#[derive(Debug)]
pub(super) struct Voice {
    config: RouterConfig,
    pub(super) sharing: Sharing,
    source: EraSource,
    /// The era of the present router; none while that stands in for the right one.
    era: Option<Era>,
    /// What to find the era out with, as long as that is this child's task and not done.
    finder: Option<(Finder, Certainty)>,
    /// Why a process that comes to nothing may have another try, if it may.
    chance: Option<Chance>,
}

/// How far it is with finding the era out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Certainty {
    /// Its process is still to be asked, or is being asked.
    Open,
    /// It said nothing, and is taken to be legacy.
    Assumed,
    /// It refused `initialize` then, and is taken to be modern.
    Contradicted,
}

/// Why the first process may have come to nothing without being at fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Chance {
    /// It had a process of the probe beside it.
    Beside,
    /// It was asked for its era.
    Asked,
}

impl Voice {
    pub(super) fn new(config: RouterConfig, sharing: Sharing, source: EraSource) -> Self {
        let (era, finder) = (source.era(), source.finder().map(|finder| (finder, Certainty::Open)));
        let chance = match (era, &finder) {
            (Some(_), _) => None,
            (None, Some(_)) => Some(Chance::Asked),
            (None, None) => Some(Chance::Beside),
        };
        Self { config, sharing, source, era, finder, chance }
    }

    /// The first router.
    pub(super) fn router(&self, cache: ResponseCache) -> Router {
        Router::new(self.config.clone(), self.sharing, self.era.unwrap_or_default()).with_cache(cache)
    }

    /// Whether processes can be spoken to.
    pub(super) const fn is_found(&self) -> bool {
        self.era.is_some()
    }

    /// Whether this child's process is to be asked.
    pub(super) const fn is_to_ask(&self) -> bool {
        matches!(self.finder, Some((_, Certainty::Open)))
    }

    /// The process that is spoken to in this era has shown that it speaks it.
    pub(super) fn confirm(&mut self) {
        let Some((finder, _)) = self.finder.take() else { return };
        finder.learn(match self.era {
            Some(Era::Modern) => Known::Modern,
            Some(Era::Legacy) | None => Known::All(CommandEras::only(Era::Legacy)),
        });
    }

    /// The era will not be found out any more.
    pub(super) fn ask_no_more(&mut self) {
        self.finder = None;
    }

    /// Whether a process whose handshake fails may have another try.
    pub(super) fn may_fail(&self) -> bool {
        self.chance == Some(Chance::Asked)
    }

    /// Whether the user said that it is of this era.
    pub(super) fn is_said_to_be(&self, era: Era) -> bool {
        self.source.is_said_to_be(era)
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

    /// The process may have come to say of which era it is.
    pub(super) fn look_at_answer(&mut self, now: Instant) {
        if let Some(heard) = self.current.take_heard(self.config.probe_timeout, now) {
            self.era_heard(&heard, now);
        }
    }

    /// This is what came of asking the process. All children of the command are spoken to accordingly.
    pub(super) fn era_heard(&mut self, heard: &Heard, now: Instant) {
        if !self.voice.is_to_ask() {
            return;
        }
        let found = judge(Question::Discover, heard);
        found.announce();
        let news = match (found.verdict, heard) {
            (Verdict::Foreign, _) => {
                let advice = "mcp-mux speaks 2026-07-28 and the revisions before; a newer mcp-mux may speak these too";
                return self.fail_start(
                    &format!("cannot be used: {}", found.how),
                    advice,
                    "it speaks no revision known here",
                );
            }
            (Verdict::SpeaksBoth, _) => Known::All(CommandEras { modern: true, legacy: true }),
            (Verdict::Speaks, _) => Known::Modern,
            (Verdict::Not, Heard::Silence(timeout)) => {
                // It may be slow to start, or pass over what it does not know, and answer all the same now.
                if let Some(running) = self.current.running_mut() {
                    running.hurry(*timeout);
                }
                return self.assume(Certainty::Assumed, Era::Legacy, now);
            }
            (Verdict::Not, Heard::End | Heard::NotStarted) => return self.assume(Certainty::Assumed, Era::Legacy, now),
            (Verdict::Not, Heard::Answer(_) | Heard::Unusable) => {
                let confused = !matches!(heard, Heard::Answer(answer) if answer.error().is_some());
                let Self { current, backlog, outboxes, .. } = self;
                if confused {
                    current.end(Ending::Fault("it cannot be asked".to_owned()), Order::Stop, backlog, outboxes);
                }
                Known::All(CommandEras::only(Era::Legacy))
            }
        };
        if let Some((finder, _)) = self.voice.finder.take() {
            finder.learn(news);
        }
        self.find_voice(now);
    }

    /// Speaks in this era, as long as nothing speaks against it.
    fn assume(&mut self, certainty: Certainty, era: Era, now: Instant) {
        if let Some((_, present)) = &mut self.voice.finder {
            *present = certainty;
        }
        self.voice.era = Some(era);
        self.speak(now);
    }

    /// A process came to nothing before its handshake stood, and may not be at fault. If it had the one of the probe beside
    /// it, the two may have got in each other's way (a port, a lock): the next one is alone.
    pub(super) fn takes_chance(&mut self, status: &str, now: Instant) -> bool {
        let wait = match self.voice.chance.take() {
            None => return false,
            Some(Chance::Asked) => {
                if self.voice.finder.is_some() {
                    self.assume(Certainty::Assumed, Era::Legacy, now);
                }
                tracing::info!(status, "the child that was asked for its era is replaced by one that was not");
                Duration::ZERO
            }
            Some(Chance::Beside) => {
                tracing::info!(
                    status,
                    "the child exited beside the process that is asked for its era; it is started once more"
                );
                if self.voice.is_found() { ALONE_AFTER } else { self.config.probe_timeout + ALONE_AFTER }
            }
        };
        self.last_status = status.to_owned();
        self.current.phase = Phase::Waiting { until: now + wait };
        true
    }

    /// A process that nobody has spoken to is for somebody else than was thought: mcp-mux itself makes the handshake.
    pub(super) fn retune(&mut self, sharing: Sharing, source: EraSource, now: Instant) {
        self.voice.sharing = sharing;
        self.voice.era = None;
        self.voice.source = source;
        self.find_voice(now);
    }

    /// Whether the process refused `initialize`, is modern to all appearances, and is spoken to in that era from now on. It
    /// may have been too slow to say so, or another one was asked.
    pub(super) fn is_modern_after_all(&mut self, now: Instant) -> bool {
        let Some(error) = self.current.router.handshake_error().filter(|_| self.voice.era == Some(Era::Legacy)) else {
            return false;
        };
        // spec: 2026-07-28 basic/versioning, Backward Compatibility: with which code a modern server refuses it is its own
        // affair, so where nothing is known but that, it is asked again.
        let assumed = matches!(self.voice.finder, Some((_, Certainty::Assumed)));
        if assumed {
            tracing::info!(error, "the server refused initialize and is spoken to as a modern one");
            let timeout = self.config.start_timeout;
            if let Some(running) = self.current.running_mut() {
                running.start_over(timeout);
            }
            self.assume(Certainty::Contradicted, Era::Modern, now);
            return true;
        }
        if !is_modern_error(error) || !self.voice.source.correct() {
            return false;
        }
        tracing::info!(era = "modern", how = "it refused initialize", "the era of the server was found out");
        // What these sent was meant for a legacy child.
        for exchange in self.current.router.exchanges() {
            self.current.router.detach(exchange, now);
        }
        self.voice.era = None;
        self.find_voice(now);
        true
    }

    /// Puts a router for this voice in the place of the present one, which has given nothing to a process.
    fn speak(&mut self, now: Instant) {
        if self.given_up || self.wanted != Wanted::Running {
            // The present one says so to everybody, or soon will.
            return;
        }
        // What the present one has come to is delivered before it goes.
        self.flush();
        let router = self.voice.router(self.cache.clone());
        let mut stand_in = std::mem::replace(&mut self.current.router, router);
        if self.restart.circuit() != Circuit::Closed {
            let until = if let Phase::Waiting { until } = &self.current.phase { *until } else { now };
            self.current.router.suspend(until, now);
        }
        stand_in.hand_over(&mut self.current.router, now);
        if self.current.running().is_some_and(Running::is_wanted) {
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
