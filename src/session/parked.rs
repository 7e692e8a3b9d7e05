//! Exchanges that wait for their client to come back: each holds a place among the sessions, a lease on its child and
//! what the layer above needs to go on.
//!
//! Invariants: never more than the limits, in number and in bytes (but for a single one that is larger); each is taken at
//! most once; one whose time is over is dropped, and so closed and detached, which answers its child's questions with an
//! error and cancels its request; none is taken in after the end.
//!
//! Spec: 2026-07-28, Multi Round-Trip Requests, Server Requirements 5.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::Instant;
use uuid::Uuid;

use crate::metrics::{Limit, limit_hit};

/// Values that wait to be taken by a random number, until a deadline.
pub struct Parked<T> {
    limit: usize,
    bytes_max: usize,
    waiting: Mutex<Waiting<T>>,
    /// Tells [`Parked::expire`] that one is over before all others.
    earlier: Notify,
}

struct Waiting<T> {
    values: HashMap<u128, Value<T>>,
    bytes: usize,
    closed: bool,
}

struct Value<T> {
    since: Instant,
    deadline: Instant,
    bytes: usize,
    value: T,
}

impl<T> fmt::Debug for Parked<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Parked({})", self.len())
    }
}

impl<T> Waiting<T> {
    fn remove(&mut self, number: u128) -> Option<Value<T>> {
        let value = self.values.remove(&number)?;
        self.bytes -= value.bytes;
        Some(value)
    }

    /// When the time of the first is over.
    fn next_deadline(&self) -> Option<Instant> {
        self.values.values().map(|value| value.deadline).min()
    }

    /// Takes out the one that would be dropped first.
    fn remove_next(&mut self) -> Option<Value<T>> {
        let next = self.values.iter().min_by_key(|(_, value)| value.deadline).map(|(number, _)| *number);
        self.remove(next?)
    }
}

impl<T> Parked<T> {
    /// None yet, and never more than `limit`, nor than `bytes_max` in all.
    pub fn new(limit: usize, bytes_max: usize) -> Self {
        let waiting = Waiting { values: HashMap::new(), bytes: 0, closed: false };
        Self { limit, bytes_max, waiting: Mutex::new(waiting), earlier: Notify::new() }
    }

    /// How many there may be, and how many bytes they may have.
    pub const fn limits(&self) -> (usize, usize) {
        (self.limit, self.bytes_max)
    }

    fn lock(&self) -> MutexGuard<'_, Waiting<T>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A number that none has had.
    pub fn number() -> u128 {
        Uuid::new_v4().as_u128()
    }

    /// Puts one down under a [`Parked::number`]; `bytes` is what it holds. Where there are too many, or too large ones, those
    /// that would be dropped first are.
    ///
    /// # Errors
    /// It comes after the end, and is returned.
    pub fn put(&self, number: u128, value: T, bytes: usize, deadline: Instant) -> Result<(), T> {
        let mut displaced = Vec::new();
        {
            let mut waiting = self.lock();
            if waiting.closed {
                return Err(value);
            }
            let room = self.bytes_max.saturating_sub(bytes);
            while waiting.values.len() >= self.limit || waiting.bytes > room {
                let many = waiting.values.len() >= self.limit;
                let Some(next) = waiting.remove_next() else { break };
                limit_hit(if many { Limit::ParkedMax } else { Limit::ParkedBytesMax });
                displaced.push(next);
            }
            if waiting.next_deadline().is_none_or(|next| deadline < next) {
                self.earlier.notify_one();
            }
            waiting.bytes += bytes;
            waiting.values.insert(number, Value { since: Instant::now(), deadline, bytes, value });
        }
        // Closed outside the lock.
        drop(displaced);
        Ok(())
    }

    /// Takes one: the first to come has it.
    pub fn take(&self, number: u128, now: Instant) -> Option<T> {
        let Value { deadline, value, .. } = self.lock().remove(number)?;
        (now < deadline).then_some(value)
    }

    /// Looks at one that waits. Whoever comes first still has it.
    pub fn look<R>(&self, number: u128, look: impl FnOnce(&T) -> R) -> Option<R> {
        self.lock().values.get(&number).map(|parked| look(&parked.value))
    }

    /// Drops the one that would be dropped first of those that have waited for so long; whether there was one.
    pub fn drop_next(&self, age: Duration) -> bool {
        let next = {
            let mut waiting = self.lock();
            let old = waiting.values.iter().filter(|(_, value)| value.since.elapsed() >= age);
            let next = old.min_by_key(|(_, value)| value.deadline).map(|(number, _)| *number);
            next.and_then(|number| waiting.remove(number))
        };
        next.is_some()
    }

    /// Drops each when its time is over, as long as this is polled.
    pub async fn expire(&self) {
        loop {
            let next = self.lock().next_deadline();
            let over = async {
                match next {
                    Some(next) => tokio::time::sleep_until(next).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                () = over => self.sweep(Instant::now()),
                () = self.earlier.notified() => {}
            }
        }
    }

    /// Drops those whose time is over at `now`.
    pub fn sweep(&self, now: Instant) {
        let over: Vec<_> = {
            let mut waiting = self.lock();
            let over = |value: &Value<T>| value.deadline <= now;
            let numbers: Vec<u128> =
                waiting.values.iter().filter(|(_, value)| over(value)).map(|(number, _)| *number).collect();
            numbers.into_iter().filter_map(|number| waiting.remove(number)).collect()
        };
        drop(over);
    }

    /// Drops all, and takes none in any more.
    pub fn close(&self) {
        let all = {
            let mut waiting = self.lock();
            waiting.closed = true;
            waiting.bytes = 0;
            std::mem::take(&mut waiting.values)
        };
        drop(all);
    }

    /// How many bytes they hold.
    pub fn bytes(&self) -> usize {
        self.lock().bytes
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.lock().values.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use super::*;
    use crate::metrics::limit_hits;

    #[tokio::test(start_paused = true)]
    async fn each_is_taken_once_and_in_time() {
        let parked = Parked::new(2, 100);
        let (now, second) = (Instant::now(), Duration::from_secs(1));
        let put = |number, value, deadline| parked.put(number, value, 1, deadline).expect("not closed");
        put(1, "a", now + second);
        assert_eq!((parked.look(1, |value| value.len()), parked.look(2, |value| value.len())), (Some(1), None));
        assert_eq!((parked.take(1, now), parked.take(1, now), parked.take(2, now)), (Some("a"), None, None));
        put(1, "a", now + second);
        assert_eq!(parked.take(1, now + second), None);
        put(1, "a", now + second);
        put(2, "b", now + second * 2);
        let hits = limit_hits(Limit::ParkedMax);
        put(3, "c", now + second * 3);
        assert!(limit_hits(Limit::ParkedMax) > hits);
        assert_eq!((parked.take(1, now), parked.len()), (None, 2));
        parked.sweep(now + second * 2);
        assert_eq!((parked.take(2, now), parked.take(3, now)), (None, Some("c")));
        assert!(parked.is_empty() && !parked.drop_next(Duration::ZERO));
    }

    #[tokio::test(start_paused = true)]
    async fn each_is_dropped_when_its_time_is_over() {
        let parked = Parked::new(9, 100);
        let (now, second) = (Instant::now(), Duration::from_secs(1));
        let put = |number, deadline| parked.put(number, (), 1, deadline).expect("not closed");
        let waiting = async {
            tokio::task::yield_now().await;
            put(1, now + second * 3);
            tokio::task::yield_now().await;
            put(2, now + second);
            put(3, now + second * 2);
            for left in [3, 2, 1, 0] {
                assert_eq!(parked.len(), left, "{:?}", now.elapsed());
                tokio::time::sleep(second + Duration::from_millis(1)).await;
            }
            put(4, Instant::now());
            tokio::time::sleep(Duration::from_millis(2)).await;
            assert!(parked.is_empty());
        };
        tokio::select! {
            () = parked.expire() => unreachable!("it goes on"),
            () = waiting => {}
        }
    }

    #[tokio::test(start_paused = true)]
    async fn those_that_would_be_dropped_first_give_way_to_large_ones() {
        let parked = Parked::new(9, 100);
        let (now, second) = (Instant::now(), Duration::from_secs(1));
        let put = |number, bytes, seconds| parked.put(number, number, bytes, now + second * seconds);
        put(1, 40, 3).expect("not closed");
        put(2, 40, 1).expect("not closed");
        put(3, 20, 2).expect("not closed");
        assert_eq!(parked.len(), 3);
        let hits = limit_hits(Limit::ParkedBytesMax);
        put(4, 60, 4).expect("not closed");
        assert!(limit_hits(Limit::ParkedBytesMax) > hits);
        assert_eq!((parked.take(2, now), parked.take(3, now), parked.take(1, now)), (None, None, Some(1)));
        put(5, 1000, 9).expect("not closed");
        assert_eq!((parked.take(4, now), parked.take(5, now), parked.bytes()), (None, Some(5), 0));
    }

    #[tokio::test(start_paused = true)]
    async fn at_the_end_all_are_dropped_and_none_is_taken_in() {
        let (parked, value, now) = (Parked::new(2, 100), Arc::new(()), Instant::now());
        parked.put(1, Arc::clone(&value), 1, now).expect("not closed");
        parked.close();
        assert_eq!(Arc::strong_count(&value), 1);
        assert!(parked.put(2, Arc::clone(&value), 1, now).is_err());
        assert_eq!((Arc::strong_count(&value), parked.len()), (1, 0));
    }
}
