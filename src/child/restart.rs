//! When a child that exited is started again. Pure: the time it ran and the randomness are inputs.
//!
//! Exponential backoff with full jitter (each wait is drawn evenly between nothing and a ceiling that doubles), so that
//! several instances whose children die of the same cause do not start them all at the same moment. The first restart
//! after a stable run is immediate: one crash costs the clients as little as possible.

use std::time::Duration;

/// The ceiling of the first wait that is one.
const CEILING_MIN: Duration = Duration::from_millis(100);
/// The ceiling that is never passed.
const CEILING_MAX: Duration = Duration::from_secs(30);
/// A child whose handshake stood for this long is stable: what happened before it is forgotten.
const STABLE_AFTER: Duration = Duration::from_secs(30);

/// How often a child has exited in a row.
#[derive(Clone, Debug, Default)]
pub(super) struct Restart {
    exits: u32,
}

impl Restart {
    /// The child exited, or could not be started, after its handshake had stood for `stood` (none: it never did).
    /// Returns how long to wait before the next start; `jitter` is drawn evenly from all of `u32`.
    pub(super) fn after_exit(&mut self, stood: Option<Duration>, jitter: u32) -> Duration {
        if stood.is_some_and(|stood| stood >= STABLE_AFTER) {
            self.exits = 0;
        }
        let doublings = self.exits.checked_sub(1);
        self.exits = self.exits.saturating_add(1);
        doublings.map_or(Duration::ZERO, |doublings| ceiling(doublings) * jitter / u32::MAX)
    }

    /// How often it has exited in a row.
    pub(super) const fn exits(&self) -> u32 {
        self.exits
    }
}

fn ceiling(doublings: u32) -> Duration {
    2_u32
        .checked_pow(doublings)
        .and_then(|factor| CEILING_MIN.checked_mul(factor))
        .map_or(CEILING_MAX, |ceiling| ceiling.min(CEILING_MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_restart_is_immediate_and_the_ceiling_doubles_up_to_its_end() {
        let mut restart = Restart::default();
        let waits: Vec<_> = (0..12).map(|_| restart.after_exit(None, u32::MAX).as_millis()).collect();
        assert_eq!(waits, [0, 100, 200, 400, 800, 1600, 3200, 6400, 12800, 25600, 30000, 30000]);
        assert_eq!(restart.exits(), 12);
    }

    #[test]
    fn the_jitter_spreads_over_the_whole_wait() {
        let wait = |jitter| {
            let mut restart = Restart { exits: 4 };
            restart.after_exit(None, jitter)
        };
        assert_eq!(wait(0), Duration::ZERO);
        assert_eq!(wait(u32::MAX / 2).as_millis(), 399);
        assert_eq!(wait(u32::MAX), Duration::from_millis(800));
    }

    #[test]
    fn a_stable_run_forgets_and_a_short_one_does_not() {
        let mut restart = Restart { exits: 8 };
        assert!(restart.after_exit(Some(STABLE_AFTER / 2), u32::MAX) > Duration::from_secs(5));
        assert_eq!(restart.after_exit(Some(STABLE_AFTER), u32::MAX), Duration::ZERO);
        assert_eq!(restart.exits(), 1);
    }

    #[test]
    fn no_number_of_exits_overflows() {
        let mut restart = Restart { exits: u32::MAX };
        assert_eq!(restart.after_exit(None, u32::MAX), CEILING_MAX);
        assert_eq!(restart.exits(), u32::MAX);
    }
}
