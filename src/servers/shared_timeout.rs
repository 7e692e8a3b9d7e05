//! One timer for everything that is waited for equally long.
//!
//! A timer for each request would be set for each, nearly always in vain, and setting one that is earlier than all others
//! costs a system call. Here those that wait stand in the order in which they began, which is that of their deadlines,
//! and a task that sleeps until the first of these is there only while somebody waits.

use std::collections::BTreeMap;
use std::future::poll_fn;
use std::pin::pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use tokio::time::{Instant, sleep_until};

/// Bounds what is waited for.
#[derive(Debug)]
pub struct SharedTimeout {
    after: Duration,
    waiting: Arc<Mutex<Waiting>>,
}

#[derive(Debug, Default)]
struct Waiting {
    last: u64,
    /// Who waits, and until when, in the order of both.
    waits: BTreeMap<u64, (Instant, Waker)>,
    /// Whether there is a task that wakes them.
    watched: bool,
}

impl SharedTimeout {
    /// Everything is waited for that long.
    pub(crate) fn new(after: Duration) -> Self {
        Self { after, waiting: Arc::default() }
    }

    /// What the future comes to; none if that takes too long. Like [`tokio::time::timeout`].
    pub(crate) async fn limit<F: Future>(&self, future: F) -> Option<F::Output> {
        let mut future = pin!(future);
        let mut wait = Wait { of: self, place: None };
        poll_fn(|cx| match future.as_mut().poll(cx) {
            Poll::Ready(output) => Poll::Ready(Some(output)),
            Poll::Pending if wait.is_over(cx) => Poll::Ready(None),
            Poll::Pending => Poll::Pending,
        })
        .await
    }
}

/// One that waits. Dropped, it does no more.
struct Wait<'a> {
    of: &'a SharedTimeout,
    /// None before the first poll.
    place: Option<u64>,
}

impl Wait<'_> {
    fn is_over(&mut self, cx: &Context<'_>) -> bool {
        if self.of.after.is_zero() {
            return true;
        }
        let mut waiting = lock(&self.of.waiting);
        let Some(place) = self.place else {
            waiting.last += 1;
            self.place = Some(waiting.last);
            let (place, deadline) = (waiting.last, Instant::now() + self.of.after);
            waiting.waits.insert(place, (deadline, cx.waker().clone()));
            if !waiting.watched {
                waiting.watched = true;
                #[expect(clippy::disallowed_methods, reason = "a timer, which may end with the runtime")]
                tokio::spawn(watch(Arc::clone(&self.of.waiting)));
            }
            return false;
        };
        match waiting.waits.get_mut(&place) {
            Some((_, waker)) => waker.clone_from(cx.waker()),
            None => return true,
        }
        false
    }
}

impl Drop for Wait<'_> {
    fn drop(&mut self) {
        if let Some(place) = self.place {
            lock(&self.of.waiting).waits.remove(&place);
        }
    }
}

/// Wakes whoever has waited long enough, until nobody waits.
async fn watch(waiting: Arc<Mutex<Waiting>>) {
    while let Some(deadline) = next_deadline(&waiting) {
        sleep_until(deadline).await;
    }
}

fn next_deadline(waiting: &Mutex<Waiting>) -> Option<Instant> {
    let now = Instant::now();
    loop {
        let mut waiting = lock(waiting);
        let Some(first) = waiting.waits.first_entry() else {
            waiting.watched = false;
            return None;
        };
        if first.get().0 > now {
            return Some(first.get().0);
        }
        let (_, waker) = first.remove();
        drop(waiting);
        waker.wake();
    }
}

fn lock(waiting: &Mutex<Waiting>) -> MutexGuard<'_, Waiting> {
    waiting.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use std::future::{pending, ready};

    use tokio::time::sleep;

    use super::*;

    const AFTER: Duration = Duration::from_secs(1);

    fn is_empty(timeout: &SharedTimeout) -> bool {
        lock(&timeout.waiting).waits.is_empty()
    }

    #[tokio::test(start_paused = true)]
    async fn what_comes_in_time_is_returned_and_leaves_nothing() {
        let timeout = SharedTimeout::new(AFTER);
        assert_eq!(timeout.limit(ready(1)).await, Some(1));
        let early = async {
            sleep(AFTER - Duration::from_millis(1)).await;
            2
        };
        assert_eq!(timeout.limit(early).await, Some(2));
        assert!(is_empty(&timeout));
    }

    #[tokio::test(start_paused = true)]
    async fn each_is_waited_for_equally_long_from_its_own_begin() {
        let timeout = SharedTimeout::new(AFTER);
        let begin = Instant::now();
        let late = |wait: u64| {
            let timeout = &timeout;
            async move {
                sleep(Duration::from_millis(wait)).await;
                assert_eq!(timeout.limit(pending::<()>()).await, None);
                begin.elapsed().as_millis()
            }
        };
        assert_eq!(tokio::join!(late(700), late(0), late(350), late(350)), (1700, 1000, 1350, 1350));
        assert!(is_empty(&timeout));
        // And again, after the task that woke them has ended.
        assert_eq!(late(0).await, 2700);
    }

    #[tokio::test(start_paused = true)]
    async fn one_that_is_dropped_waits_no_more() {
        let timeout = SharedTimeout::new(AFTER);
        tokio::select! {
            _ = timeout.limit(pending::<()>()) => unreachable!("it waits"),
            () = sleep(AFTER / 2) => {}
        }
        assert!(is_empty(&timeout));
        let begin = Instant::now();
        assert_eq!(timeout.limit(pending::<()>()).await, None);
        assert_eq!(begin.elapsed(), AFTER);
    }

    #[tokio::test(start_paused = true)]
    async fn nothing_is_waited_for_with_a_limit_of_zero() {
        let timeout = SharedTimeout::new(Duration::ZERO);
        assert_eq!(timeout.limit(ready(1)).await, Some(1));
        assert_eq!(timeout.limit(pending::<()>()).await, None);
    }
}
