//! What is counted for one server, and which servers there are.
//!
//! Each part of a server holds a [`ServerMetrics`] and adds to atomics that it finds by number: no lock, no look-up. With
//! the last one gone the server's series are gone too.
//!
//! Invariant: there is at most one set of series of a name. Where a server comes back while its last parts still end, both
//! count in the same.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use super::names::{Counter, Gauge, Method, Outcome};
use super::requests::{Reading, Requests};

/// The metrics of one server. Cheap to clone.
#[derive(Clone)]
pub struct ServerMetrics(Arc<Series>);

/// Everything that is counted.
struct Series {
    /// None where nobody is shown it.
    name: Option<Box<str>>,
    gauges: [AtomicI64; Gauge::COUNT],
    counters: [AtomicU64; Counter::COUNT],
    requests: Requests,
}

/// The servers there are.
static SERVERS: Mutex<BTreeMap<Box<str>, Weak<Series>>> = Mutex::new(BTreeMap::new());

fn servers() -> MutexGuard<'static, BTreeMap<Box<str>, Weak<Series>>> {
    SERVERS.lock().unwrap_or_else(PoisonError::into_inner)
}

/// All of them, by name.
pub(super) fn all() -> Vec<ServerMetrics> {
    // The last one may be dropped by who was given this, which takes the lock again.
    servers().values().filter_map(Weak::upgrade).map(ServerMetrics).collect()
}

impl fmt::Debug for ServerMetrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("ServerMetrics").field(&self.0.name).finish()
    }
}

impl ServerMetrics {
    /// Those of the server of that name, which is one that was configured.
    pub fn named(name: &str) -> Self {
        super::begin();
        let mut servers = servers();
        if let Some(series) = servers.get(name).and_then(Weak::upgrade) {
            return Self(series);
        }
        let series = Arc::new(Series::new(Some(name.into())));
        servers.insert(name.into(), Arc::downgrade(&series));
        Self(series)
    }

    /// Those of a server that has no name and is not shown to anybody.
    pub fn unnamed() -> Self {
        Self(Arc::new(Series::new(None)))
    }

    /// The server's name.
    pub fn name(&self) -> &str {
        self.0.name.as_deref().unwrap_or_default()
    }

    /// So much more.
    pub fn add(&self, counter: Counter, more: u64) {
        if let Some(counter) = self.0.counters.get(counter as usize) {
            counter.fetch_add(more, Ordering::Relaxed);
        }
    }

    /// So many bytes more.
    pub fn add_bytes(&self, counter: Counter, bytes: usize) {
        self.add(counter, u64::try_from(bytes).unwrap_or(u64::MAX));
    }

    /// One more, until what is returned is dropped.
    pub fn one(&self, gauge: Gauge) -> Portion {
        let mut portion = self.none(gauge);
        portion.set(1);
        portion
    }

    /// None yet.
    pub fn none(&self, gauge: Gauge) -> Portion {
        Portion { metrics: self.clone(), gauge, value: 0 }
    }

    /// A request came to an end.
    pub fn request(&self, method: Method, outcome: Outcome, took: Duration) {
        self.0.requests.add(method, outcome, took);
    }

    /// What a counter stands at.
    pub fn counted(&self, counter: Counter) -> u64 {
        self.0.counters.get(counter as usize).map_or(0, |counter| counter.load(Ordering::Relaxed))
    }

    /// What a gauge stands at.
    pub fn level(&self, gauge: Gauge) -> i64 {
        self.0.gauges.get(gauge as usize).map_or(0, |gauge| gauge.load(Ordering::Relaxed))
    }

    /// How many requests of that method had that outcome.
    pub fn requests(&self, method: Method, outcome: Outcome) -> u64 {
        let of_method = self.readings().find(|(one, _)| *one == method);
        let reading = of_method.and_then(|(_, all)| all.into_iter().find(|reading| reading.outcome == outcome));
        reading.map_or(0, |reading| reading.count)
    }

    pub(super) fn readings(&self) -> impl Iterator<Item = (Method, Vec<Reading>)> + '_ {
        self.0.requests.read()
    }

    fn shift(&self, gauge: Gauge, by: i64) {
        if let Some(gauge) = self.0.gauges.get(gauge as usize) {
            gauge.fetch_add(by, Ordering::Relaxed);
        }
    }
}

impl Series {
    fn new(name: Option<Box<str>>) -> Self {
        let (gauges, counters, requests) = Default::default();
        Self { name, gauges, counters, requests }
    }
}

impl Drop for Series {
    fn drop(&mut self) {
        let Some(name) = &self.name else { return };
        let mut servers = servers();
        // There may be another one of that name by now.
        if servers.get(name).is_some_and(|series| series.strong_count() == 0) {
            servers.remove(name);
        }
    }
}

/// What one part of a server adds to a gauge, until it is dropped.
#[derive(Debug)]
#[must_use = "it is taken back when this is dropped"]
pub struct Portion {
    metrics: ServerMetrics,
    gauge: Gauge,
    value: i64,
}

impl Portion {
    /// Those of the server whose gauge it is.
    pub const fn metrics(&self) -> &ServerMetrics {
        &self.metrics
    }

    /// From now on it adds so much.
    pub fn set(&mut self, value: usize) {
        let value = i64::try_from(value).unwrap_or(i64::MAX);
        if value != self.value {
            self.metrics.shift(self.gauge, value - self.value);
            self.value = value;
        }
    }

    /// From now on it adds what it adds to another gauge.
    pub fn move_to(&mut self, gauge: Gauge) {
        if gauge != self.gauge {
            self.metrics.shift(self.gauge, -self.value);
            self.metrics.shift(gauge, self.value);
            self.gauge = gauge;
        }
    }
}

impl Drop for Portion {
    fn drop(&mut self) {
        if self.value != 0 {
            self.metrics.shift(self.gauge, -self.value);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn is_there(name: &str) -> bool {
        super::super::render().contains(&format!("server=\"{name}\""))
    }

    #[test]
    fn a_server_that_is_gone_leaves_no_series() {
        let metrics = ServerMetrics::named("test-gone");
        let portion = metrics.one(Gauge::Streams);
        assert!(is_there("test-gone"));
        drop(metrics);
        assert!(is_there("test-gone"), "a part of it is still there");
        drop(portion);
        assert!(!is_there("test-gone"));
        assert!(!servers().contains_key("test-gone"));
    }

    #[test]
    fn a_server_that_comes_back_before_its_last_part_is_gone_counts_on() {
        let before = ServerMetrics::named("test-back");
        before.add(Counter::ChildStarts, 2);
        let after = ServerMetrics::named("test-back");
        drop(before);
        assert_eq!(after.counted(Counter::ChildStarts), 2);
        let series = super::super::render();
        assert_eq!(series.matches("mcp_mux_child_starts_total{server=\"test-back\"}").count(), 1);
    }

    #[test]
    fn one_that_has_no_name_is_shown_to_nobody() {
        let metrics = ServerMetrics::unnamed();
        metrics.add(Counter::ChildStarts, 1);
        assert!(!is_there(""));
        assert_eq!(metrics.counted(Counter::ChildStarts), 1);
    }

    #[test]
    fn a_portion_is_what_it_was_set_to_and_is_taken_back() {
        let metrics = ServerMetrics::unnamed();
        let other = metrics.one(Gauge::ChildrenReady);
        let mut portion = metrics.one(Gauge::ChildrenStarting);
        portion.move_to(Gauge::ChildrenReady);
        assert_eq!((metrics.level(Gauge::ChildrenStarting), metrics.level(Gauge::ChildrenReady)), (0, 2));
        portion.set(7);
        portion.set(3);
        assert_eq!(metrics.level(Gauge::ChildrenReady), 4);
        drop(portion);
        assert_eq!(metrics.level(Gauge::ChildrenReady), 1);
        drop(other);
        assert_eq!(metrics.level(Gauge::ChildrenReady), 0);
    }
}
