//! Exchanges that wait for their client to come back: each holds a place among the sessions, a lease on its child and
//! what the layer above needs to go on.
//!
//! Invariants: never more than the limit; each is taken at most once; one whose time is over is dropped, and so closed and
//! detached, which answers its child's questions with an error and cancels its request.
//!
//! Spec: 2026-07-28, Multi Round-Trip Requests, Server Requirements 5.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::time::Instant;
use uuid::Uuid;

/// Values that wait to be taken by a random number, until a deadline.
pub struct Parked<T> {
    limit: usize,
    waiting: Mutex<HashMap<u128, (Instant, T)>>,
}

impl<T> fmt::Debug for Parked<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Parked({})", self.lock().len())
    }
}

impl<T> Parked<T> {
    /// None yet, and never more than `limit`.
    pub fn new(limit: usize) -> Self {
        Self { limit, waiting: Mutex::default() }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<u128, (Instant, T)>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A number that none has had.
    pub fn number() -> u128 {
        Uuid::new_v4().as_u128()
    }

    /// Puts one down under a [`Parked::number`]. Where there are too many, the one that would be dropped first is.
    pub fn put(&self, number: u128, value: T, deadline: Instant) {
        let displaced = {
            let mut waiting = self.lock();
            let oldest = waiting.iter().min_by_key(|(_, (deadline, _))| *deadline).map(|(number, _)| *number);
            let displaced = oldest.filter(|_| waiting.len() >= self.limit).and_then(|number| waiting.remove(&number));
            waiting.insert(number, (deadline, value));
            displaced
        };
        // Closed outside the lock.
        drop(displaced);
    }

    /// Takes one: the first to come has it.
    pub fn take(&self, number: u128, now: Instant) -> Option<T> {
        let (deadline, value) = self.lock().remove(&number)?;
        (now < deadline).then_some(value)
    }

    /// Looks at one that waits. Whoever comes first still has it.
    pub fn look<R>(&self, number: u128, look: impl FnOnce(&T) -> R) -> Option<R> {
        self.lock().get(&number).map(|(_, value)| look(value))
    }

    /// Drops those whose time is over at `now`.
    pub fn sweep(&self, now: Instant) {
        let over: Vec<_> = {
            let mut waiting = self.lock();
            let numbers: Vec<u128> =
                waiting.iter().filter(|(_, (deadline, _))| *deadline <= now).map(|(number, _)| *number).collect();
            numbers.into_iter().filter_map(|number| waiting.remove(&number)).collect()
        };
        drop(over);
    }

    /// Drops all.
    pub fn clear(&self) {
        let all = std::mem::take(&mut *self.lock());
        drop(all);
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.lock().len()
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

    #[tokio::test(start_paused = true)]
    async fn each_is_taken_once_and_in_time() {
        let parked = Parked::new(2);
        let (now, second) = (Instant::now(), Duration::from_secs(1));
        parked.put(1, "a", now + second);
        assert_eq!((parked.look(1, |value| value.len()), parked.look(2, |value| value.len())), (Some(1), None));
        assert_eq!((parked.take(1, now), parked.take(1, now), parked.take(2, now)), (Some("a"), None, None));
        parked.put(1, "a", now + second);
        assert_eq!(parked.take(1, now + second), None);
        let value = Arc::new(());
        parked.put(1, "a", now + second);
        parked.put(2, "b", now + second * 2);
        parked.put(3, "c", now + second * 3);
        assert_eq!((parked.take(1, now), parked.len()), (None, 2));
        parked.sweep(now + second * 2);
        assert_eq!((parked.take(2, now), parked.take(3, now)), (None, Some("c")));
        assert!(parked.is_empty());
        let other = Parked::new(2);
        other.put(1, Arc::clone(&value), now);
        other.clear();
        assert_eq!(Arc::strong_count(&value), 1);
    }
}
