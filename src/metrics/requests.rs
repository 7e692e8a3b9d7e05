//! How many requests had which outcome, and how long they took.
//!
//! A request costs three additions to atomics. What a method needs is made when it is first asked for.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use super::names::{Method, Outcome};

/// The requests of one server.
#[derive(Debug, Default)]
pub(super) struct Requests([OnceLock<Box<OfMethod>>; METHODS]);

type OfMethod = [Durations; OUTCOMES];

/// Requests of one method and outcome, by how long they took.
#[derive(Debug, Default)]
struct Durations {
    /// How many took no longer than the bound of that number, and longer than the one before.
    buckets: [AtomicU64; BUCKETS],
    nanoseconds: AtomicU64,
}

/// The same, as it was at one time.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Reading {
    pub(super) outcome: Outcome,
    pub(super) count: u64,
    pub(super) seconds: f64,
    /// With their upper bounds.
    pub(super) buckets: [(f64, u64); BUCKETS],
}

impl Requests {
    pub(super) fn add(&self, method: Method, outcome: Outcome, took: Duration) {
        let Some(of_method) = self.0.get(method as usize) else { return };
        let of_method = of_method.get_or_init(Box::default);
        let Some(durations) = of_method.get(outcome as usize) else { return };
        let nanoseconds = u64::try_from(took.as_nanos()).unwrap_or(u64::MAX);
        let bucket = BOUNDS_MICROSECONDS.iter().position(|bound| nanoseconds <= bound.saturating_mul(1000));
        if let Some(bucket) = durations.buckets.get(bucket.unwrap_or(BUCKETS - 1)) {
            bucket.fetch_add(1, Ordering::Relaxed);
        }
        durations.nanoseconds.fetch_add(nanoseconds, Ordering::Relaxed);
    }

    /// Of the methods that were asked for, every outcome: an alert is to see the first of its kind.
    pub(super) fn read(&self) -> impl Iterator<Item = (Method, Vec<Reading>)> + '_ {
        let methods = Method::ALL.iter().zip(&self.0);
        methods.filter_map(|(method, of_method)| {
            let of_method = of_method.get()?;
            Some((*method, Outcome::ALL.iter().zip(of_method.iter()).map(reading).collect()))
        })
    }
}

fn reading((outcome, durations): (&Outcome, &Durations)) -> Reading {
    let mut buckets = [(f64::INFINITY, 0); BUCKETS];
    let mut count = 0;
    for (at, (bucket, counted)) in buckets.iter_mut().zip(&durations.buckets).enumerate() {
        let bound = BOUNDS_MICROSECONDS.get(at).map(|bound| Duration::from_micros(*bound));
        let requests = counted.load(Ordering::Relaxed);
        *bucket = (bound.map_or(f64::INFINITY, |bound| bound.as_secs_f64()), requests);
        count += requests;
    }
    let seconds = Duration::from_nanos(durations.nanoseconds.load(Ordering::Relaxed)).as_secs_f64();
    Reading { outcome: *outcome, count, seconds, buckets }
}

const METHODS: usize = Method::ALL.len();
const OUTCOMES: usize = Outcome::ALL.len();
/// From what mcp-mux itself takes to what a tool may take that works for a long time.
const BOUNDS_MICROSECONDS: [u64; 17] = [
    500,
    1_000,
    2_500,
    5_000,
    10_000,
    25_000,
    50_000,
    100_000,
    250_000,
    500_000,
    1_000_000,
    2_500_000,
    5_000_000,
    10_000_000,
    30_000_000,
    60_000_000,
    300_000_000,
];
const BUCKETS: usize = BOUNDS_MICROSECONDS.len() + 1;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_is_counted_in_the_bucket_of_its_duration() {
        let requests = Requests::default();
        for micros in [0, 500, 501, 300_000_000, 300_000_001, u64::MAX] {
            requests.add(Method::ToolsCall, Outcome::Ok, Duration::from_micros(micros));
        }
        let all: Vec<_> = requests.read().collect();
        let [(Method::ToolsCall, readings)] = all.as_slice() else { panic!("one method: {all:?}") };
        assert_eq!(readings.len(), OUTCOMES);
        let ok = &readings[Outcome::Ok as usize];
        assert_eq!((ok.outcome, ok.count), (Outcome::Ok, 6));
        assert_eq!(ok.buckets[0], (0.0005, 2));
        assert_eq!(ok.buckets[1], (0.001, 1));
        assert_eq!(ok.buckets[16], (300.0, 1));
        assert_eq!(ok.buckets[17], (f64::INFINITY, 2));
        assert!(readings.iter().skip(1).all(|reading| reading.count == 0));
    }

    #[test]
    fn a_method_that_nobody_used_has_no_series() {
        assert_eq!(Requests::default().read().count(), 0);
    }
}
