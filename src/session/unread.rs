//! What all sessions together leave unread, and how much of that one may.
//!
//! A session's queues have bounds of their own, but there are many sessions. They share one total as the ports of a switch
//! share its memory: a session may hold as much as is left. So one that takes whatever it can has half of the total, ten that do
//! have an eleventh each; whoever holds little always finds room, and nobody has to say how many sessions there will be.
//!
//! Invariants: what is held is never more than the total; what is dropped, whoever drops it, is given back.
//!
//! Choudhury and Hahne, Dynamic Queue Length Thresholds for Shared-Memory Packet Switches, 1998.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// What all sessions hold together.
#[derive(Debug)]
pub(super) struct Total {
    bytes_max: usize,
    bytes: AtomicUsize,
}

impl Total {
    /// Nothing is held, and there will never be more than `bytes_max`.
    pub(super) fn new(bytes_max: usize) -> Arc<Self> {
        Arc::new(Self { bytes_max, bytes: AtomicUsize::new(0) })
    }

    /// How many bytes are held.
    #[cfg(test)]
    pub(super) fn bytes(&self) -> usize {
        self.bytes.load(Ordering::Relaxed)
    }
}

/// What one session holds of the total.
#[derive(Debug)]
pub(super) struct Share {
    total: Arc<Total>,
    bytes: AtomicUsize,
}

impl Share {
    /// That of a new session.
    pub(super) fn new(total: Arc<Total>) -> Arc<Self> {
        Arc::new(Self { total, bytes: AtomicUsize::new(0) })
    }

    /// The most that all sessions may hold.
    pub(super) fn bytes_max(&self) -> usize {
        self.total.bytes_max
    }

    /// Takes so many bytes more, if it then has no more than is left. One at a time: whoever calls has the session's lock.
    fn take(&self, bytes: usize) -> bool {
        let own = self.bytes.load(Ordering::Relaxed).saturating_add(bytes);
        let taken = self.total.bytes.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |held| {
            let held = held.checked_add(bytes)?;
            let left = self.total.bytes_max.checked_sub(held)?;
            (own <= left).then_some(held)
        });
        if taken.is_ok() {
            self.bytes.store(own, Ordering::Relaxed);
        }
        taken.is_ok()
    }

    fn give_back(&self, bytes: usize) {
        self.bytes.fetch_sub(bytes, Ordering::Relaxed);
        self.total.bytes.fetch_sub(bytes, Ordering::Relaxed);
    }
}

/// What one queue holds of its session's share; given back when this is dropped.
#[derive(Debug, Default)]
pub(super) struct Held {
    bytes: usize,
    /// Since something is held: most queues never hold anything.
    share: Option<Arc<Share>>,
}

impl Held {
    /// How many bytes.
    pub(super) const fn bytes(&self) -> usize {
        self.bytes
    }

    /// Holds so many bytes, if there is room for what is new of them; whether it does.
    pub(super) fn grow(&mut self, bytes: usize, share: &Arc<Share>) -> bool {
        let more = bytes.saturating_sub(self.bytes);
        if more > 0 {
            if !share.take(more) {
                return false;
            }
            self.bytes = bytes;
            self.share.get_or_insert_with(|| Arc::clone(share));
        }
        true
    }

    /// Holds no more than so many bytes.
    pub(super) fn shrink(&mut self, bytes: usize) {
        let less = self.bytes.saturating_sub(bytes);
        if less > 0
            && let Some(share) = &self.share
        {
            share.give_back(less);
            self.bytes = bytes;
        }
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.shrink(0);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn those_that_take_all_they_can_leave_as_much_as_each_has() {
        for hogs in [1, 2, 9] {
            let total = Total::new(1000);
            let mut held = Vec::new();
            for _ in 0..hogs {
                held.push((Share::new(Arc::clone(&total)), Held::default()));
            }
            for _ in 0..1000 {
                for (share, held) in &mut held {
                    let _ = held.grow(held.bytes() + 1, share);
                }
            }
            assert!(held.iter().all(|(_, held)| held.bytes() == 1000 / (hogs + 1)), "{held:?}");
            // Of that whoever comes has half.
            assert!(Held::default().grow(1000 / (hogs + 1) / 2, &Share::new(Arc::clone(&total))));
            drop(held);
            assert_eq!(total.bytes(), 0);
        }
    }

    #[test]
    fn threads_that_take_and_give_back_at_once_never_hold_more_than_the_total() {
        let total = Total::new(1000);
        std::thread::scope(|scope| {
            for step in 1..5 {
                let share = Share::new(Arc::clone(&total));
                let total = &total;
                scope.spawn(move || {
                    let mut held = Held::default();
                    for _ in 0..10_000 {
                        if !held.grow(held.bytes() + step * 7, &share) {
                            held.shrink(held.bytes() / 2);
                        }
                        assert!(total.bytes() <= 1000);
                    }
                });
            }
        });
        assert_eq!(total.bytes(), 0);
    }

    proptest! {
        #[test]
        fn the_total_is_the_sum_and_never_exceeded(steps in prop::collection::vec((0usize..4, 0usize..3, 0usize..300), 1..200)) {
            let total = Total::new(500);
            let mut sessions: Vec<_> = (0..4).map(|_| (Share::new(Arc::clone(&total)), Held::default())).collect();
            for (at, what, bytes) in steps {
                let before = total.bytes();
                let (share, held) = &mut sessions[at];
                match what {
                    0 => {
                        let (had, wanted) = (held.bytes(), held.bytes() + bytes);
                        let grown = held.grow(wanted, share);
                        // It grows exactly if it then has no more than is left.
                        prop_assert_eq!(grown, bytes == 0 || wanted + before + bytes <= 500);
                        prop_assert_eq!(held.bytes(), if grown { wanted } else { had });
                    }
                    1 => held.shrink(bytes),
                    _ => *held = Held::default(),
                }
                prop_assert!(total.bytes() <= 500);
                prop_assert_eq!(total.bytes(), sessions.iter().map(|(_, held)| held.bytes()).sum::<usize>());
            }
            drop(sessions);
            prop_assert_eq!(total.bytes(), 0);
        }
    }
}
