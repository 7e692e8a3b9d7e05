//! What the pool does without being asked for a child: trying the command, keeping spares, making room, stopping what
//! nobody uses, and stopping everything.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, sleep};
use tracing::{debug, warn};

use super::members::Whose;
use super::outlook::Weight;
use super::tasks::Tasks;
use super::{Pool, State, Stock, tenant};
use crate::child::ChildHandle;
use crate::config::Isolation;
use crate::mcp::Era;

/// However short the idle time, nobody looks for idle children more often than this.
const IDLE_WAIT_MIN: Duration = Duration::from_millis(10);

/// How the children are to end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ladder {
    /// From its first rung.
    Whole,
    /// From its last one.
    Killed,
}

impl Pool {
    /// Starts a child that nobody will use, to see whether the command works. When that is known, it is stopped.
    pub(super) async fn try_command(self: Arc<Self>) {
        let (number, states) = {
            let mut state = self.lock();
            if state.closed {
                return;
            }
            self.begin(&mut state, Whose::Trial, self.asking_manner(), tenant::absent(&self.config.header_env), None)
        };
        // What its clients bring may be what the command needs.
        let weight = if self.config.header_env.is_empty() { Weight::Start } else { Weight::Sessions };
        tokio::select! {
            _ = self.outlook.first() => {}
            failure = self.outlook.watch(states, weight) => {
                if let (Some(reason), Weight::Sessions) = (failure, weight) {
                    warn!(
                        reason,
                        "the server does not start without the headers of --header-env; sessions that bring them may do \
                         better (--env sets a variable for those that do not); it counts as legacy unless --child-era says \
                         otherwise"
                    );
                    self.lock().stock = Stock::Useless;
                    self.outlook.presume();
                }
            }
        }
        let mut state = self.lock();
        self.end(&mut state, number);
        self.stock_up(&mut state);
    }

    /// Starts spares until there are as many as there are to be, as far as there are places that nobody waits for. Not
    /// before the command has shown that it works.
    pub(super) fn stock_up(self: &Arc<Self>, state: &mut State) {
        let wanted = self.config.isolation == Isolation::Session && state.stock == Stock::Kept;
        if !wanted || state.closed || !state.waiting.is_empty() || !self.outlook.proof().is_given() {
            return;
        }
        for _ in state.members.count(&Whose::Nobody)..self.config.warm {
            let Ok(place) = Arc::clone(&self.places).try_acquire_owned() else { return };
            let manner = self.own_manner(Era::Legacy);
            self.begin(state, Whose::Nobody, manner, tenant::absent(&self.config.header_env), Some(place));
        }
    }

    /// Has as many unused children stopped as there are tenants waiting for a place, less the places that become free
    /// anyway.
    pub(super) fn make_room(self: &Arc<Self>, state: &mut State) {
        if state.closed {
            return;
        }
        for _ in 0..self.missing_places(state) {
            let Some(number) = state.members.longest_unused() else { return self.crowded.notify_one() };
            self.end(state, number);
        }
    }

    /// How many places are wanted beyond those that become free anyway.
    fn missing_places(&self, state: &State) -> usize {
        let wanted: usize = match self.config.isolation {
            Isolation::Shared => 0,
            // They will share one.
            Isolation::Principal => state.waiting.len(),
            Isolation::Session => state.waiting.values().sum(),
        };
        wanted.saturating_sub(self.places.available_permits() + state.members.places_to_come())
    }

    /// Waits until it may be that [`Pool::lacks_room`].
    ///
    /// # Cancel safety
    /// Cancelled before it returns, nothing was taken.
    pub async fn crowded(&self) {
        self.crowded.notified().await;
    }

    /// Has whoever waits for that look again: something may be given back now.
    pub fn look_for_room(&self) {
        self.crowded.notify_one();
    }

    /// Whether somebody waits for a place, and would have one if a lease were given back: each is of a child of its own.
    pub fn lacks_room(&self) -> bool {
        let state = self.lock();
        self.config.isolation == Isolation::Session && !state.closed && self.missing_places(&state) > 0
    }

    /// Stops what nobody has used for so long, until the pool is stopped.
    pub(super) async fn stop_idle_ones(self: Arc<Self>, timeout: Duration) {
        let look = async {
            loop {
                let next = self.end_idle_ones(timeout, Instant::now());
                sleep(next.max(IDLE_WAIT_MIN)).await;
            }
        };
        tokio::select! {
            () = self.closing.cancelled() => {}
            () = look => {}
        }
    }

    /// Returns how long it takes at least until there is another.
    fn end_idle_ones(self: &Arc<Self>, timeout: Duration, now: Instant) -> Duration {
        let mut state = self.lock();
        // Children that are still to show that the command works have something to do.
        if state.closed || !self.outlook.is_good() {
            return timeout;
        }
        let (idle, next) = state.members.idle(timeout, now);
        for number in idle {
            debug!(child = number, "unused for too long");
            if self.config.isolation == Isolation::Session && state.stock == Stock::Kept {
                state.stock = Stock::Dissolved;
            }
            self.end(&mut state, number);
        }
        next
    }

    /// Has all children stopped at once, and waits until they are gone. From now on nothing is started.
    pub(super) async fn finish(&self, ladder: Ladder) {
        let children = {
            let mut state = self.lock();
            state.closed = true;
            state.members.handles()
        };
        // Sends away those who wait.
        self.places.close();
        self.closing.cancel();
        let end = |child: ChildHandle| {
            let end = async move {
                match ladder {
                    Ladder::Whole => child.stop().await,
                    Ladder::Killed => child.kill().await,
                }
            };
            self.tracker.spawn_on(end, &self.runtime)
        };
        let ends: Vec<_> = children.into_iter().map(end).collect();
        for end in ends {
            // An error is a panic, and then that child's actor is what has to be looked at.
            let _ = end.await;
        }
        let mut state = self.lock();
        state.members.clear();
        state.tasks = Tasks::default();
    }
}
