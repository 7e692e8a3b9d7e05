//! What happened in the last minutes, in samples of equal length, so that a page that is opened late has its charts filled.
//!
//! Pure: what has been counted since the start comes in, and the difference to what came before is a sample. Counters that fell
//! (their server was there anew) begin again. Bounded: [`SAMPLES_MAX`] samples, the oldest goes first.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use serde::Serialize;

use crate::metrics::{Method, ServerMetrics};

/// The time from one sample to the next.
pub const PERIOD: Duration = Duration::from_secs(2);
/// The most samples: ten minutes.
pub const SAMPLES_MAX: usize = 300;

/// What has been counted of requests since the start.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Totals {
    /// How many had each outcome.
    pub outcomes: BTreeMap<&'static str, u64>,
    /// How many took longer than the bound before and no longer than this one, in seconds; the last bound is infinite.
    pub durations: Vec<(f64, u64)>,
}

impl Totals {
    /// What has been counted of a server. A subscription is no request that somebody waits for: it takes as long as its client
    /// likes.
    pub fn of(metrics: &ServerMetrics) -> Self {
        let lasting = [Method::Listen];
        let requests = metrics.outcomes().filter(|(method, ..)| !lasting.contains(method));
        requests.fold(Self::default(), |sum, (_, outcome, durations)| {
            let count = durations.iter().map(|(_, count)| count).sum();
            sum.and(&Self { outcomes: BTreeMap::from([(outcome.as_str(), count)]), durations })
        })
    }

    /// Together with another server's.
    #[must_use]
    pub fn and(mut self, other: &Self) -> Self {
        for (outcome, count) in &other.outcomes {
            *self.outcomes.entry(outcome).or_default() += count;
        }
        let known = self.durations.len();
        self.durations.extend(other.durations.iter().skip(known).map(|(bound, _)| (*bound, 0)));
        for (own, more) in self.durations.iter_mut().zip(&other.durations) {
            own.1 += more.1;
        }
        self
    }

    /// All requests.
    pub fn requests(&self) -> u64 {
        self.outcomes.values().sum()
    }

    /// Those of them that failed.
    pub fn errors(&self) -> u64 {
        self.outcomes.iter().filter(|(outcome, _)| is_error(outcome)).map(|(_, count)| count).sum()
    }

    /// What came to these since `before`.
    fn since(&self, before: &Self) -> Self {
        let fell = self.requests() < before.requests();
        let before = if fell { &Self::default() } else { before };
        let outcomes = self.outcomes.iter().filter_map(|(outcome, count)| {
            let more = count.saturating_sub(before.outcomes.get(outcome).copied().unwrap_or(0));
            (more > 0).then_some((*outcome, more))
        });
        let earlier = before.durations.iter().map(|(_, count)| *count).chain(std::iter::repeat(0));
        let durations =
            self.durations.iter().zip(earlier).map(|((bound, now), then)| (*bound, now.saturating_sub(then)));
        Self { outcomes: outcomes.collect(), durations: durations.collect() }
    }

    /// The duration in seconds than which this share of the requests was not longer, evenly distributed within a bucket; none
    /// without requests. Of those beyond the last finite bound it is that bound.
    fn quantile(&self, share: f64) -> Option<f64> {
        let all: u64 = self.durations.iter().map(|(_, count)| count).sum();
        #[expect(clippy::cast_precision_loss, reason = "a chart is not that exact")]
        let (rank, float) = (share * all as f64, |count: u64| count as f64);
        let (mut below, mut lower) = (0, 0.0);
        for (upper, count) in self.durations.iter().filter(|_| all > 0) {
            if *count > 0 && float(below + count) >= rank {
                let within = (rank - float(below)) / float(*count);
                return Some(if upper.is_finite() { lower + (upper - lower) * within } else { lower });
            }
            below += count;
            lower = if upper.is_finite() { *upper } else { lower };
        }
        None
    }
}

/// Whether an outcome is a failure. A client may cancel, leave, or be asked something; nobody has to look after that.
pub fn is_error(outcome: &str) -> bool {
    !matches!(outcome, "ok" | "input-required" | "cancelled" | "disconnected")
}

/// What happened in one period.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Sample {
    /// Requests that came to an end.
    pub requests: u64,
    /// Those of them that failed.
    pub errors: u64,
    /// Half of them took no longer than this, in seconds.
    pub p50: Option<f64>,
    /// 95 of 100.
    pub p95: Option<f64>,
    /// 99 of 100.
    pub p99: Option<f64>,
    #[serde(skip)]
    outcomes: BTreeMap<&'static str, u64>,
}

/// The last samples.
#[derive(Clone, Debug, Default)]
pub struct History {
    last: Option<Totals>,
    samples: VecDeque<Sample>,
    /// The number of the next sample.
    next: u64,
}

impl History {
    /// A period is over; this has been counted by now. Returns what came in that period.
    pub fn add(&mut self, totals: Totals) -> Totals {
        let before = self.last.get_or_insert_with(Totals::default);
        let more = totals.since(before);
        *before = totals;
        self.push(more.clone());
        more
    }

    /// A period is over in which this came.
    pub fn push(&mut self, more: Totals) {
        if self.samples.len() == SAMPLES_MAX {
            self.samples.pop_front();
        }
        self.next += 1;
        self.samples.push_back(Sample {
            requests: more.requests(),
            errors: more.errors(),
            p50: more.quantile(0.5),
            p95: more.quantile(0.95),
            p99: more.quantile(0.99),
            outcomes: more.outcomes,
        });
    }

    /// The samples from this number on, and the number of the first of them.
    pub fn from(&self, number: u64) -> (u64, Vec<Sample>) {
        let oldest = self.next - u64::try_from(self.samples.len()).unwrap_or(self.next);
        // A number that is still to come is of another run of the program.
        let first = if number > self.next { oldest } else { number.max(oldest) };
        let skipped = usize::try_from(first - oldest).unwrap_or(usize::MAX);
        (first, self.samples.iter().skip(skipped).cloned().collect())
    }

    /// How many requests had each outcome, in all samples.
    pub fn outcomes(&self) -> BTreeMap<&'static str, u64> {
        let mut sum = BTreeMap::new();
        for (outcome, count) in self.samples.iter().flat_map(|sample| &sample.outcomes) {
            *sum.entry(*outcome).or_default() += count;
        }
        sum
    }

    /// What has been counted since the start, as of the last sample.
    pub fn totals(&self) -> Option<&Totals> {
        self.last.as_ref()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn totals(outcomes: &[(&'static str, u64)], counts: [u64; 4]) -> Totals {
        let bounds = [0.01, 0.1, 1.0, f64::INFINITY];
        Totals { outcomes: outcomes.iter().copied().collect(), durations: bounds.into_iter().zip(counts).collect() }
    }

    #[test]
    fn a_sample_is_what_came_since_the_last_one() {
        let mut history = History::default();
        history.add(totals(&[("ok", 10)], [10, 0, 0, 0]));
        history.add(totals(&[("ok", 10)], [10, 0, 0, 0]));
        history.add(totals(&[("ok", 12), ("timeout", 1), ("cancelled", 1)], [10, 2, 0, 2]));
        let (first, samples) = history.from(0);
        let counts: Vec<_> = samples.iter().map(|sample| (sample.requests, sample.errors)).collect();
        assert_eq!((first, counts.as_slice()), (0, &[(10, 0), (0, 0), (4, 1)][..]));
        assert_eq!(samples[1].p50, None);
        assert_eq!((samples[2].p50, samples[2].p99), (Some(0.1), Some(1.0)));
        assert_eq!(history.outcomes(), BTreeMap::from([("ok", 12), ("timeout", 1), ("cancelled", 1)]));
        assert_eq!(history.totals().map(Totals::requests), Some(14));
    }

    #[test]
    fn a_quantile_lies_within_its_bucket() {
        let even = totals(&[], [0, 100, 0, 0]);
        assert!((even.quantile(0.5).expect("some") - 0.055).abs() < 1e-9);
        assert!((even.quantile(1.0).expect("some") - 0.1).abs() < 1e-9);
        let slow = totals(&[], [0, 0, 0, 5]);
        assert_eq!(slow.quantile(0.5), Some(1.0));
        assert_eq!(totals(&[], [0; 4]).quantile(0.5), None);
        assert_eq!(Totals::default().quantile(0.5), None);
    }

    #[test]
    fn what_fell_begins_again() {
        let mut history = History::default();
        history.add(totals(&[("ok", 10)], [10, 0, 0, 0]));
        history.add(totals(&[("ok", 3)], [3, 0, 0, 0]));
        assert_eq!(history.from(1).1[0].requests, 3);
    }

    #[test]
    fn the_oldest_sample_goes_first_and_a_stranger_gets_all() {
        let mut history = History::default();
        for count in 0..400 {
            history.add(totals(&[("ok", count)], [count, 0, 0, 0]));
        }
        assert_eq!((history.from(0).0, history.from(0).1.len()), (100, SAMPLES_MAX));
        assert_eq!((history.from(398).0, history.from(398).1.len()), (398, 2));
        assert_eq!(history.from(400), (400, Vec::new()));
        assert_eq!(history.from(9_999).0, 100);
    }

    #[test]
    fn servers_are_taken_together() {
        let one = totals(&[("ok", 1)], [1, 0, 0, 0]);
        let both = Totals::default().and(&one).and(&totals(&[("ok", 2), ("error", 3)], [0, 5, 0, 0]));
        assert_eq!(both, totals(&[("ok", 3), ("error", 3)], [1, 5, 0, 0]));
    }
}
