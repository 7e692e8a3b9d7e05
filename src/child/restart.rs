//! Whether and when a child that exited is started again. Pure: the time it ran and the randomness are inputs.
//!
//! ```text
//!            exit, within the budget: a wait with backoff
//!               ┌──────┐
//!               ▼      │
//!             Closed ──┘── exit, budget spent ──▶ Open ── wait over, a start ──▶ Trial
//!               ▲                                  ▲                              │ │
//!               │                                  └────────── exit ──────────────┘ │
//!               └───────────────────── the handshake stands ────────────────────────┘
//! ```
//!
//! | circuit | a request |
//! |---|---|
//! | closed, the child is up | is served |
//! | closed, the child is down | waits for it, for `--queue-timeout` at most |
//! | open, trial | is refused at once |
//!
//! Every exit takes from a budget, one before a handshake stood twice as much, and a child whose handshake stands gives
//! it back as time goes by. So a server that cannot start opens the circuit within a few attempts; one that serves for
//! more than a second and then crashes does not, since most of the time it is of use. The waits grow with what is spent: exponential backoff with full jitter (each wait is
//! drawn evenly between nothing and a ceiling that doubles), so that several instances whose children die of the same
//! cause do not start them all at the same moment. The first restart of a child that was stable is immediate: one crash
//! costs the clients as little as possible.

use std::time::Duration;

/// How many exits the budget is for.
const BUDGET: u32 = 10;
/// What an exit takes before the handshake stood, and after.
const COST_OF_FAILED_START: u32 = 2;
const COST_OF_EXIT: u32 = 1;
/// For so long a handshake has to stand to make up for one exit.
const REFILL_PERIOD: Duration = Duration::from_secs(1);
/// A child whose handshake stood for this long is stable: what happened before it is forgotten.
#[cfg(test)]
const STABLE_AFTER: Duration = Duration::from_secs(BUDGET as u64);
/// The ceiling of the first wait that is one; it doubles with every second exit.
const CEILING_MIN: Duration = Duration::from_millis(100);
/// How long the circuit stays open the first time; it doubles with every trial that fails.
const OPEN_MIN: Duration = Duration::from_secs(5);
/// The longest it stays open.
const OPEN_MAX: Duration = Duration::from_secs(60);

/// Whether the child is tried at all.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Circuit {
    /// It is: who asks something of it while it is down waits.
    #[default]
    Closed,
    /// It failed too often and is left alone; who asks something is refused.
    Open,
    /// It was left alone for long enough and is tried once; who asks something is still refused.
    Trial,
}

/// What a child has been through.
#[derive(Clone, Debug, Default)]
pub(super) struct Restart {
    circuit: Circuit,
    /// Of the budget.
    spent: u32,
    /// How often the circuit opened since the budget was last whole.
    opened: u32,
}

impl Restart {
    /// The child exited, or could not be started, after its handshake had stood for `stood` (none: it never did).
    /// Returns how long to wait before the next start; `jitter` is drawn evenly from all of `u32`.
    pub(super) fn exited(&mut self, stood: Option<Duration>, jitter: u32) -> Duration {
        let refill = stood.map_or(0, |stood| stood.as_millis() / REFILL_PERIOD.as_millis());
        self.spent = self.spent.saturating_sub(u32::try_from(refill).unwrap_or(u32::MAX));
        if self.spent == 0 {
            self.opened = 0;
        }
        self.spent = self.spent.saturating_add(if stood.is_some() { COST_OF_EXIT } else { COST_OF_FAILED_START });
        if self.circuit == Circuit::Trial || self.spent > BUDGET {
            self.circuit = Circuit::Open;
            self.spent = BUDGET;
            self.opened = self.opened.saturating_add(1);
            let longest = doubled(OPEN_MIN, self.opened - 1, OPEN_MAX);
            // Not from nothing on: the child is to be left alone.
            return longest / 2 + share(longest / 2, jitter);
        }
        match self.spent.checked_sub(2) {
            Some(beyond_first) => share(doubled(CEILING_MIN, beyond_first / 2, OPEN_MIN), jitter),
            None => Duration::ZERO,
        }
    }

    /// A process was started.
    pub(super) fn started(&mut self) {
        if self.circuit == Circuit::Open {
            self.circuit = Circuit::Trial;
        }
    }

    /// The handshake stands. After a trial the budget is still spent: the next exit, should it come soon, opens the
    /// circuit again.
    pub(super) fn stood(&mut self) {
        self.circuit = Circuit::Closed;
    }

    /// Whether the child is tried at all.
    pub(super) const fn circuit(&self) -> Circuit {
        self.circuit
    }
}

fn share(of: Duration, jitter: u32) -> Duration {
    of * jitter / u32::MAX
}

fn doubled(first: Duration, times: u32, longest: Duration) -> Duration {
    let doubled = 2_u32.checked_pow(times).and_then(|factor| first.checked_mul(factor));
    doubled.map_or(longest, |doubled| doubled.min(longest))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// One life of a process: whether and for how long its handshake stood, and the dice.
    type Life = (Option<Duration>, u32);

    fn lives(restart: &mut Restart, (stood, jitter): Life) -> Duration {
        restart.started();
        if stood.is_some() {
            restart.stood();
        }
        restart.exited(stood, jitter)
    }

    fn life() -> impl Strategy<Value = Life> {
        let stood = prop_oneof![Just(None), (0..3_000_u64).prop_map(Some), (0..60_000_u64).prop_map(Some)];
        (stood.prop_map(|stood| stood.map(Duration::from_millis)), any::<u32>())
    }

    #[test]
    fn a_server_that_cannot_start_is_tried_five_times_and_then_left_alone_for_longer_and_longer() {
        let mut restart = Restart::default();
        let waits: Vec<_> = (0..12).map(|_| lives(&mut restart, (None, u32::MAX)).as_millis()).collect();
        assert_eq!(waits, [100, 200, 400, 800, 1600, 5000, 10_000, 20_000, 40_000, 60_000, 60_000, 60_000]);
        assert_eq!(restart.circuit(), Circuit::Open);
    }

    #[test]
    fn the_first_restart_is_immediate_and_so_is_every_one_of_a_server_that_serves_for_a_while() {
        let mut restart = Restart::default();
        for _ in 0..1000 {
            assert_eq!(lives(&mut restart, (Some(REFILL_PERIOD), u32::MAX)), Duration::ZERO);
        }
    }

    #[test]
    fn a_circuit_is_opened_by_exits_closed_by_a_trial_and_opened_again_by_the_next_exit() {
        let mut restart = Restart::default();
        while restart.circuit() == Circuit::Closed {
            lives(&mut restart, (None, 0));
        }
        restart.started();
        assert_eq!(restart.circuit(), Circuit::Trial);
        restart.stood();
        assert_eq!(restart.circuit(), Circuit::Closed);
        assert_eq!(restart.exited(Some(Duration::ZERO), u32::MAX), OPEN_MIN * 2);
        assert_eq!(restart.circuit(), Circuit::Open);
    }

    #[test]
    fn no_number_of_exits_overflows() {
        let mut restart = Restart { circuit: Circuit::Closed, spent: u32::MAX, opened: u32::MAX };
        assert_eq!(restart.exited(None, u32::MAX), OPEN_MAX);
    }

    proptest! {
        /// The circuit opens exactly where the budget, kept here in milliseconds of a stable life, is spent.
        #[test]
        fn circuit_opens_when_the_budget_is_spent_and_not_before(all in prop::collection::vec(life(), 0..60)) {
            let mut restart = Restart::default();
            let mut in_a_row = 0;
            for life in all {
                let before = restart.circuit();
                lives(&mut restart, life);
                // Whatever happens, a child that was stable has all its chances.
                in_a_row = if life.0.is_some_and(|stood| stood >= STABLE_AFTER) { 1 } else { in_a_row + 1 };
                if restart.circuit() == Circuit::Open && before == Circuit::Closed {
                    prop_assert!(in_a_row > 5, "{in_a_row} exits opened the circuit");
                }
                if in_a_row == 1 && life.0.is_some() {
                    prop_assert_eq!(restart.circuit(), Circuit::Closed);
                }
            }
        }

        #[test]
        fn an_open_circuit_is_left_only_by_a_trial_whose_handshake_stands(all in prop::collection::vec(life(), 0..60)) {
            let mut restart = Restart { circuit: Circuit::Open, spent: BUDGET, opened: 1 };
            for (stood, jitter) in all {
                if restart.circuit() != Circuit::Open {
                    break;
                }
                restart.started();
                prop_assert_eq!(restart.circuit(), Circuit::Trial);
                if stood.is_some() {
                    restart.stood();
                    prop_assert_eq!(restart.circuit(), Circuit::Closed);
                }
                let wait = restart.exited(stood, jitter);
                if stood.is_none() {
                    prop_assert_eq!(restart.circuit(), Circuit::Open);
                    prop_assert!(wait >= OPEN_MIN / 2);
                }
            }
        }

        #[test]
        fn waits_are_bounded_grow_with_the_dice_and_are_none_after_a_stable_life(
            all in prop::collection::vec(life(), 0..60), jitter: u32,
        ) {
            let mut restart = Restart::default();
            for life in all {
                let (mut least, mut most) = (restart.clone(), restart.clone());
                let wait = lives(&mut restart, life);
                let (least, most) = (lives(&mut least, (life.0, 0)), lives(&mut most, (life.0, u32::MAX)));
                prop_assert!(least <= wait && wait <= most && most <= OPEN_MAX);
                prop_assert_eq!(least.is_zero(), restart.circuit() == Circuit::Closed);
            }
            restart.started();
            restart.stood();
            prop_assert_eq!(restart.exited(Some(STABLE_AFTER), jitter), Duration::ZERO);
        }
    }
}
