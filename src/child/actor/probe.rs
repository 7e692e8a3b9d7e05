//! Whether a child still answers (`--ping-interval`). Pure: the time and what was heard of the child are inputs.
//!
//! The sign of life is an answer, to whatever it was asked, or progress with it: a child that does one thing after the other
//! and is busy with a request need not hear a ping. What else it writes says nothing of whether it listens.

use std::time::Duration;

use tokio::time::Instant;

/// Watches one process.
#[derive(Debug, Default)]
pub(super) struct Probe {
    due: Option<Instant>,
    /// How many signs of life there had been when it was asked.
    asked_at: Option<u64>,
}

/// What is to be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// Nothing yet.
    Wait,
    /// It is to be asked.
    Ask,
    /// It has not answered anything for a whole interval.
    Dead,
}

impl Probe {
    /// What is to be done about a process whose handshake stands and from which `life_signs` have come so far.
    pub(super) fn check(&mut self, interval: Duration, life_signs: u64, now: Instant) -> Verdict {
        let due = *self.due.get_or_insert(now + interval);
        if now < due {
            return Verdict::Wait;
        }
        if self.asked_at == Some(life_signs) {
            return Verdict::Dead;
        }
        self.due = Some(now + interval);
        self.asked_at = Some(life_signs);
        Verdict::Ask
    }

    /// When [`Probe::check`] has something to say.
    pub(super) const fn due(&self) -> Option<Instant> {
        self.due
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_child_that_answers_is_asked_again_and_one_that_does_not_is_dead_after_an_interval() {
        let (mut probe, begun, interval) = (Probe::default(), Instant::now(), Duration::from_secs(10));
        let at = |seconds| begun + Duration::from_secs(seconds);
        assert_eq!(probe.check(interval, 5, at(0)), Verdict::Wait);
        assert_eq!(probe.check(interval, 5, at(9)), Verdict::Wait);
        assert_eq!(probe.check(interval, 5, at(10)), Verdict::Ask);
        assert_eq!(probe.check(interval, 6, at(15)), Verdict::Wait);
        assert_eq!(probe.check(interval, 6, at(20)), Verdict::Ask);
        assert_eq!(probe.due(), Some(at(30)));
        assert_eq!(probe.check(interval, 6, at(29)), Verdict::Wait);
        assert_eq!(probe.check(interval, 6, at(30)), Verdict::Dead);
    }
}
