//! Polls a future again at once when it woke itself.
//!
//! The two ends of a request's body, the one that reads it and the one that takes it, are of one task in hyper, so taking
//! a body wakes the task that takes it. To the scheduler such a task yields: it goes behind the others, and another
//! worker is woken to run it. Polled again at once, it stays where it is.
//!
//! Invariant: a wake-up is never lost; it leads to another poll by us or by the task.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::task::{Context, Poll, Wake, Waker};

use atomic_waker::AtomicWaker;

/// After that many polls in a row, others have their turn first.
const POLLS_MAX: usize = 4;

/// Stands between one future and its task.
pub(super) struct Repoll {
    relay: Arc<Relay>,
    /// Of the relay.
    waker: Waker,
}

impl Repoll {
    pub(super) fn new() -> Self {
        let relay = Arc::new(Relay { task: AtomicWaker::new(), state: AtomicU8::new(AT_REST) });
        Self { waker: Waker::from(Arc::clone(&relay)), relay }
    }

    /// Polls the future, always the same one.
    pub(super) fn poll<F: Future>(&self, mut future: Pin<&mut F>, cx: &Context<'_>) -> Poll<F::Output> {
        let Relay { task, state } = &*self.relay;
        task.register(cx.waker());
        for _ in 0..POLLS_MAX {
            state.store(POLLED, Ordering::Release);
            if let Poll::Ready(output) = future.as_mut().poll(&mut Context::from_waker(&self.waker)) {
                return Poll::Ready(output);
            }
            if state.compare_exchange(POLLED, AT_REST, Ordering::AcqRel, Ordering::Acquire).is_ok() {
                return Poll::Pending;
            }
        }
        state.store(AT_REST, Ordering::Release);
        cx.waker().wake_by_ref();
        Poll::Pending
    }
}

/// Takes the future's wake-ups.
struct Relay {
    task: AtomicWaker,
    state: AtomicU8,
}

/// A wake-up goes on to the task.
const AT_REST: u8 = 0;
/// The future is being polled, and was not woken.
const POLLED: u8 = 1;
/// The future was woken while it was polled.
const WOKEN: u8 = 2;

impl Wake for Relay {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        if let Err(AT_REST) = self.state.compare_exchange(POLLED, WOKEN, Ordering::AcqRel, Ordering::Acquire) {
            self.task.wake();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;
    use std::pin::pin;
    use std::sync::atomic::AtomicUsize;

    use super::*;

    #[derive(Default)]
    struct Wakes(AtomicUsize);

    impl Wake for Wakes {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// A future that wakes itself in each of its first polls; what polling it once came to, how often it was polled,
    /// and how often its task was woken.
    fn poll_one_that_wakes_itself(times: usize) -> (bool, usize, usize) {
        let (wakes, repoll) = (Arc::new(Wakes::default()), Repoll::new());
        let mut polls = 0;
        let mut future = pin!(poll_fn(|cx| {
            polls += 1;
            if polls > times {
                return Poll::Ready(());
            }
            cx.waker().wake_by_ref();
            Poll::Pending
        }));
        let ready = repoll.poll(future.as_mut(), &Context::from_waker(&Waker::from(wakes.clone()))).is_ready();
        (ready, polls, wakes.0.load(Ordering::Relaxed))
    }

    #[test]
    fn one_that_wakes_itself_is_polled_again_without_its_task() {
        assert_eq!(poll_one_that_wakes_itself(0), (true, 1, 0));
        assert_eq!(poll_one_that_wakes_itself(1), (true, 2, 0));
        assert_eq!(poll_one_that_wakes_itself(POLLS_MAX - 1), (true, POLLS_MAX, 0));
    }

    #[test]
    fn one_that_keeps_waking_itself_leaves_others_their_turn() {
        assert_eq!(poll_one_that_wakes_itself(usize::MAX), (false, POLLS_MAX, 1));
    }

    #[test]
    fn one_at_rest_is_woken_by_its_task_of_that_time() {
        let (first, second, repoll) = (Arc::new(Wakes::default()), Arc::new(Wakes::default()), Repoll::new());
        let mut kept = None;
        let mut future = pin!(poll_fn(|cx| {
            kept = Some(cx.waker().clone());
            Poll::<()>::Pending
        }));
        for task in [&first, &second] {
            assert!(repoll.poll(future.as_mut(), &Context::from_waker(&Waker::from(task.clone()))).is_pending());
        }
        kept.expect("polled").wake();
        assert_eq!((first.0.load(Ordering::Relaxed), second.0.load(Ordering::Relaxed)), (0, 1));
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn wake_ups_from_other_threads_are_never_lost() {
        let (sender, mut receiver) = tokio::sync::mpsc::channel(1);
        let mut tasks = tokio::task::JoinSet::new();
        tasks.spawn(async move {
            for number in 0..20_000 {
                sender.send(number).await.expect("received");
            }
        });
        let mut receiving = pin!(async move {
            let mut next = 0;
            while let Some(number) = receiver.recv().await {
                assert_eq!(number, next);
                next += 1;
            }
            next
        });
        let repoll = Repoll::new();
        let receiving = poll_fn(|cx| repoll.poll(receiving.as_mut(), cx));
        let received = tokio::time::timeout(std::time::Duration::from_secs(60), receiving).await;
        assert_eq!(received, Ok(20_000));
        tasks.join_all().await;
    }
}
