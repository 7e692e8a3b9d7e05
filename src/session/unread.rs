//! What all sessions together leave unread, and how much of that one may, and one account.
//!
//! A session's queues have bounds of their own, but there are many sessions. They share one total as the ports of a switch
//! share its memory: the sessions of one account may hold as much as is left, and each session half of that. So one session
//! that takes whatever it can has a third of the total, and its account half however many sessions it has; whoever holds
//! little finds room, and nobody has to say how many there will be.
//!
//! It is held from when it is put into a queue until nobody has it any more: also while it is on its way to a client that
//! takes it slowly.
//!
//! Invariants: what is held is never more than the total; what is dropped, whoever drops it, is given back.
//!
//! Choudhury and Hahne, Dynamic Queue Length Thresholds for Shared-Memory Packet Switches, 1998.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;

use crate::auth::usage::Usage;
use crate::metrics;
use crate::telemetry::watermark::Watermark;

/// What all sessions of one registry or several hold together.
#[derive(Clone, Debug)]
pub struct UnreadTotal(pub(super) Arc<Total>);

impl UnreadTotal {
    /// Nothing is held, and there will never be more than `bytes_max`.
    pub fn new(bytes_max: usize) -> Self {
        Self(Total::new(bytes_max))
    }
}

/// What there is of it.
#[derive(Debug)]
pub(super) struct Total {
    bytes_max: usize,
    bytes: AtomicUsize,
    watermark: Watermark,
}

impl Total {
    /// Nothing is held, and there will never be more than `bytes_max`.
    pub(super) fn new(bytes_max: usize) -> Arc<Self> {
        let beyond = "messages that clients leave unread are dropped and large answers replaced by errors";
        let watermark = Watermark::new("--unread-total-bytes-max", bytes_max, beyond);
        Arc::new(Self { bytes_max, bytes: AtomicUsize::new(0), watermark })
    }

    /// Takes so many bytes more, if what then is `left` will do.
    fn take(&self, bytes: usize, will_do: impl Fn(usize) -> bool) -> bool {
        let taken = self.bytes.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |held| {
            let held = held.checked_add(bytes)?;
            let left = self.bytes_max.checked_sub(held)?;
            will_do(left).then_some(held)
        });
        if let Ok(before) = taken {
            metrics::unread_held(bytes);
            self.watermark.observe(before + bytes);
        }
        taken.is_ok()
    }

    fn give_back(&self, bytes: usize) {
        let before = self.bytes.fetch_sub(bytes, Ordering::Relaxed);
        metrics::unread_given_back(bytes);
        self.watermark.observe(before - bytes);
    }

    /// How many bytes are held, and may be.
    pub(super) fn used(&self) -> (usize, usize) {
        (self.bytes.load(Ordering::Relaxed), self.bytes_max)
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
    account: Arc<Usage>,
    bytes: AtomicUsize,
}

impl Share {
    /// That of a new session of this account.
    pub(super) fn new(total: Arc<Total>, account: Arc<Usage>) -> Arc<Self> {
        Arc::new(Self { total, account, bytes: AtomicUsize::new(0) })
    }

    /// The most that all sessions may hold.
    pub(super) fn bytes_max(&self) -> usize {
        self.total.bytes_max
    }

    /// Takes so many bytes more, if its account then has no more than is left, and its session no more than half of that. What
    /// others of the account try to take at the same time counts.
    fn take(&self, bytes: usize) -> bool {
        let add = |count: &AtomicUsize| count.fetch_add(bytes, Ordering::Relaxed).saturating_add(bytes);
        let (own, account) = (add(&self.bytes), add(self.account.unread_bytes()));
        let taken = self.total.take(bytes, |left| own <= left / 2 && account <= left);
        if !taken {
            self.subtract(bytes);
        }
        taken
    }

    fn give_back(&self, bytes: usize) {
        self.total.give_back(bytes);
        self.subtract(bytes);
    }

    fn subtract(&self, bytes: usize) {
        self.bytes.fetch_sub(bytes, Ordering::Relaxed);
        self.account.unread_bytes().fetch_sub(bytes, Ordering::Relaxed);
    }
}

/// What a queue holds of its session's share, or what was taken out of it; given back when this is dropped.
#[derive(Debug, Default)]
pub struct Held {
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

    /// Holds no more than so many bytes; what was more is the returned value's.
    pub(super) fn split(&mut self, bytes: usize) -> Self {
        let less = self.bytes.saturating_sub(bytes);
        if less == 0 {
            return Self::default();
        }
        self.bytes -= less;
        let share = if self.bytes == 0 { self.share.take() } else { self.share.clone() };
        Self { bytes: less, share }
    }

    /// Holds what another does, too. Both must be of the same session.
    pub fn absorb(&mut self, mut other: Self) {
        if self.bytes == 0 {
            *self = other;
        } else if other.bytes > 0 {
            let same =
                self.share.as_ref().zip(other.share.as_ref()).is_some_and(|(one, other)| Arc::ptr_eq(one, other));
            debug_assert!(same, "another session's share");
            if same {
                self.bytes += std::mem::take(&mut other.bytes);
            }
        }
    }

    /// Lets a chunk go out of what is held, with so many bytes behind it: what is held of the chunk stays so until nobody has
    /// it any more.
    pub fn let_out(&mut self, chunk: Bytes, behind: usize) -> Bytes {
        let held = self.split(behind);
        if held.bytes == 0 { chunk } else { Bytes::from_owner(Outgoing { chunk, _held: held }) }
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        if self.bytes > 0
            && let Some(share) = &self.share
        {
            share.give_back(self.bytes);
        }
    }
}

/// Bytes that the connection has not sent yet.
struct Outgoing {
    chunk: Bytes,
    _held: Held,
}

impl AsRef<[u8]> for Outgoing {
    fn as_ref(&self) -> &[u8] {
        &self.chunk
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn share(total: &Arc<Total>, account: &Arc<Usage>) -> Arc<Share> {
        Share::new(Arc::clone(total), Arc::clone(account))
    }

    /// Each takes a byte at a time until it gets none any more.
    fn take_all(shares: &[Arc<Share>]) -> Vec<Held> {
        let mut held: Vec<Held> = shares.iter().map(|_| Held::default()).collect();
        for _ in 0..1000 {
            for (held, share) in held.iter_mut().zip(shares) {
                let _ = held.grow(held.bytes() + 1, share);
            }
        }
        held
    }

    #[test]
    fn sessions_that_take_all_they_can_leave_twice_as_much_as_each_has() {
        for hogs in [1, 2] {
            let (total, account) = (Total::new(1200), Arc::default());
            let shares: Vec<_> = (0..hogs).map(|_| share(&total, &account)).collect();
            let held = take_all(&shares);
            assert!(held.iter().all(|held| held.bytes() == 1200 / (hogs + 2)), "{held:?}");
            drop(held);
            assert_eq!(total.bytes(), 0);
        }
    }

    #[test]
    fn an_account_has_no_more_than_is_left_however_many_sessions_it_has() {
        for accounts in [1, 3] {
            let total = Total::new(9000);
            let mut shares = Vec::new();
            for _ in 0..accounts {
                let account = Arc::default();
                shares.extend((0..50).map(|_| share(&total, &account)));
            }
            let hogs = take_all(&shares);
            // They come one after the other, each when more was left.
            let left = 9000 / (accounts + 1) * 9 / 10;
            assert!(9000 - total.bytes() >= left, "{} bytes are held", total.bytes());
            // Of that a session of another account has a third.
            assert!(Held::default().grow(left / 3, &share(&total, &Arc::default())));
            drop(hogs);
            assert_eq!(total.bytes(), 0);
            assert!(shares.iter().all(|share| share.account.unread_bytes().load(Ordering::Relaxed) == 0));
        }
    }

    #[test]
    fn threads_that_take_and_give_back_at_once_never_hold_more_than_the_total() {
        let (total, account) = (Total::new(1000), Arc::default());
        std::thread::scope(|scope| {
            for step in 1..5 {
                let share = share(&total, &account);
                let total = &total;
                scope.spawn(move || {
                    let mut held = Held::default();
                    for _ in 0..10_000 {
                        if !held.grow(held.bytes() + step * 7, &share) {
                            drop(held.split(held.bytes() / 2));
                        }
                        assert!(total.bytes() <= 1000);
                    }
                });
            }
        });
        assert_eq!((total.bytes(), account.unread_bytes().load(Ordering::Relaxed)), (0, 0));
    }

    #[test]
    fn what_is_held_of_chunks_stays_so_until_each_is_gone() {
        let total = Total::new(1000);
        let mut held = Held::default();
        assert!(held.grow(300, &share(&total, &Arc::default())));
        let first = held.let_out(Bytes::from(vec![b'a'; 110]), 210);
        assert_eq!(held.bytes(), 210);
        let second = held.let_out(Bytes::from_static(b"b"), 0);
        assert_eq!((held.bytes(), total.bytes()), (0, 300));
        drop(held);
        let part = first.slice(100..);
        drop(first);
        assert_eq!((&part[..], &second[..], total.bytes()), (&b"aaaaaaaaaa"[..], &b"b"[..], 300));
        drop(part);
        assert_eq!(total.bytes(), 210);
        drop(second);
        assert_eq!(total.bytes(), 0);
    }

    proptest! {
        #[test]
        fn the_total_is_the_sum_and_never_exceeded(steps in prop::collection::vec((0usize..4, 0usize..4, 0usize..300), 1..200)) {
            let total = Total::new(500);
            let accounts = [Arc::default(), Arc::default()];
            let mut sessions: Vec<_> =
                (0..4).map(|at| (share(&total, &accounts[at / 2]), Held::default(), Vec::new())).collect();
            for (at, what, bytes) in steps {
                let before = total.bytes();
                let sum = |sessions: &[(Arc<Share>, Held, Vec<Held>)]| -> usize {
                    let held = sessions.iter().flat_map(|(_, held, out)| out.iter().chain([held]));
                    held.map(Held::bytes).sum()
                };
                let (own, of_account) = (sum(&sessions[at..=at]), sum(&sessions[at / 2 * 2..][..2]));
                let (share, held, out) = &mut sessions[at];
                match what {
                    0 => {
                        let (had, wanted) = (held.bytes(), held.bytes() + bytes);
                        let grown = held.grow(wanted, share);
                        // It grows exactly if its account then has no more than is left, and it has no more than half of that.
                        let left = 500usize.checked_sub(before + bytes);
                        let room = left.is_some_and(|left| own + bytes <= left / 2 && of_account + bytes <= left);
                        prop_assert_eq!(grown, bytes == 0 || room);
                        prop_assert_eq!(held.bytes(), if grown { wanted } else { had });
                    }
                    1 => out.push(held.split(bytes)),
                    2 => out.clear(),
                    _ => {
                        let taken = std::mem::take(out);
                        taken.into_iter().for_each(|out| held.absorb(out));
                    }
                }
                prop_assert!(total.bytes() <= 500);
                prop_assert_eq!(total.bytes(), sum(&sessions));
            }
            drop(sessions);
            prop_assert_eq!(total.bytes(), 0);
        }
    }
}
