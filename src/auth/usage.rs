//! What one principal uses, and how much of it there may be: requests a second, sessions, requests in flight.
//!
//! The limits of one principal are its own: whoever reaches them is refused, and nobody else notices. Who is counted
//! together is for [`Accounts`](super::accounts::Accounts) to say.
//!
//! Invariant: never more sessions or requests in flight than are allowed, whatever happens at once. DESIGN section 6, STYLE
//! principle 3.

use std::fmt;
use std::num::{NonZeroU32, NonZeroUsize};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use governor::clock::Clock;
use governor::middleware::NoOpMiddleware;
use governor::state::{InMemoryState, NotKeyed};
use governor::{Quota, RateLimiter};
use smallvec::SmallVec;
use tokio::time::Instant;

use crate::error::Reject;

/// How much one principal may use; none: as much as it likes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Allowance {
    /// Requests over time.
    pub rate: Option<Rate>,
    /// Sessions at once.
    pub sessions_max: Option<NonZeroUsize>,
    /// Requests in flight at once, over all sessions.
    pub in_flight_max: Option<NonZeroUsize>,
}

/// Requests over time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    interval: Duration,
    burst: NonZeroU32,
}

impl Rate {
    /// One request every `interval`, and after a pause `burst` at once, as far as that many intervals are a time that can be
    /// told: 146 years.
    pub fn new(interval: Duration, burst: NonZeroU32) -> Self {
        let interval = interval.max(Duration::from_nanos(1));
        let nanos = u64::try_from(interval.as_nanos()).unwrap_or(u64::MAX);
        let most = u32::try_from(u64::MAX / 4 / nanos).unwrap_or(u32::MAX);
        Self { interval, burst: NonZeroU32::new(most).map_or(NonZeroU32::MIN, |most| burst.min(most)) }
    }
}

/// What one principal uses.
pub struct Usage {
    /// A few: somebody may have credentials of different rates. Each goes on where it was when its turn comes again.
    limiters: Mutex<SmallVec<[(Rate, Limiter); 1]>>,
    /// When there was a request last for which there is a limiter.
    used: Mutex<Option<Instant>>,
    sessions: AtomicUsize,
    in_flight: AtomicUsize,
    unread_bytes: AtomicUsize,
}

type Limiter = RateLimiter<NotKeyed, InMemoryState, Time, NoOpMiddleware<std::time::Instant>>;

/// The runtime's time, which tests can stop.
#[derive(Clone, Copy, Debug)]
struct Time;

impl Clock for Time {
    type Instant = std::time::Instant;

    fn now(&self) -> std::time::Instant {
        Instant::now().into_std()
    }
}

impl fmt::Debug for Usage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Usage").field("sessions", &self.sessions).field("in_flight", &self.in_flight).finish()
    }
}

impl Default for Usage {
    fn default() -> Self {
        Self {
            limiters: Mutex::default(),
            used: Mutex::new(None),
            sessions: AtomicUsize::new(0),
            in_flight: AtomicUsize::new(0),
            unread_bytes: AtomicUsize::new(0),
        }
    }
}

impl Usage {
    /// Whether it makes no difference if it is counted from nothing again.
    pub(super) fn is_forgotten(&self) -> bool {
        let Some(used) = *lock(&self.used) else { return true };
        let full_again =
            lock(&self.limiters).iter().map(|(rate, _)| rate.interval.saturating_mul(rate.burst.get())).max();
        full_again.is_none_or(|full_again| used.elapsed() > full_again)
    }

    /// So many requests come now, with a credential that allows so much.
    ///
    /// # Errors
    /// [`Reject::RateLimited`].
    pub fn request(&self, requests: usize, allowance: &Allowance) -> Result<(), Reject> {
        let requests = u32::try_from(requests).unwrap_or(u32::MAX);
        let (Some(rate), Some(requests)) = (allowance.rate, NonZeroU32::new(requests)) else { return Ok(()) };
        *lock(&self.used) = Some(Instant::now());
        let mut limiters = lock(&self.limiters);
        let at = limiters.iter().position(|(known, _)| *known == rate);
        let at = at.or_else(|| begin_limiter(&mut limiters, rate));
        let Some((_, limiter)) = at.and_then(|at| limiters.get(at)) else { return Ok(()) };
        // More at once than there may ever be is not asked: the library multiplies it with the interval.
        let checked = if requests > rate.burst { None } else { limiter.check_n(requests).ok() };
        let retry_after = match checked {
            Some(Ok(())) => return Ok(()),
            Some(Err(until)) => until.wait_time_from(Time.now()),
            None => rate.interval.saturating_mul(rate.burst.get()),
        };
        Err(Reject::RateLimited { retry_after }.counted())
    }

    /// One more session, until the returned value is dropped.
    ///
    /// # Errors
    /// [`Reject::PrincipalSessions`].
    pub fn session(self: &Arc<Self>, allowance: &Allowance) -> Result<SessionPlace, Reject> {
        match take(&self.sessions, 1, allowance.sessions_max) {
            Ok(()) => Ok(SessionPlace(Arc::clone(self))),
            Err(limit) => Err(Reject::PrincipalSessions { limit }.counted()),
        }
    }

    /// Room for so many more requests in flight.
    ///
    /// # Errors
    /// [`Reject::PrincipalInFlight`].
    pub fn begin(self: &Arc<Self>, requests: usize, limit: Option<NonZeroUsize>) -> Result<Room, Reject> {
        match take(&self.in_flight, requests, limit) {
            Ok(()) => Ok(Room { usage: Arc::clone(self), requests }),
            Err(limit) => Err(Reject::PrincipalInFlight { limit }.counted()),
        }
    }

    /// How many bytes its clients leave unread. Whoever keeps these counts them here.
    pub(crate) const fn unread_bytes(&self) -> &AtomicUsize {
        &self.unread_bytes
    }

    /// How many sessions it has.
    pub(crate) fn sessions(&self) -> usize {
        self.sessions.load(Ordering::Acquire)
    }

    /// How many requests it has in flight.
    pub(crate) fn in_flight(&self) -> usize {
        self.in_flight.load(Ordering::Acquire)
    }
}

/// Adds to a count that must not exceed the limit, or says what the limit is.
fn take(count: &AtomicUsize, more: usize, limit: Option<NonZeroUsize>) -> Result<(), usize> {
    let Some(limit) = limit else {
        count.fetch_add(more, Ordering::AcqRel);
        return Ok(());
    };
    let add = |used: usize| used.checked_add(more).filter(|used| *used <= limit.get());
    count.fetch_update(Ordering::AcqRel, Ordering::Acquire, add).map(drop).map_err(|_| limit.get())
}

/// A session's place among its principal's.
#[derive(Debug)]
pub struct SessionPlace(Arc<Usage>);

impl Drop for SessionPlace {
    fn drop(&mut self) {
        self.0.sessions.fetch_sub(1, Ordering::AcqRel);
    }
}

/// Room for requests in flight. What is left of it when it is dropped is given back.
#[derive(Debug)]
pub struct Room {
    usage: Arc<Usage>,
    requests: usize,
}

impl Room {
    /// None yet.
    pub const fn none(usage: Arc<Usage>) -> Self {
        Self { usage, requests: 0 }
    }

    /// For how many.
    pub const fn requests(&self) -> usize {
        self.requests
    }

    /// Takes over another's. Both must be of the same principal.
    pub fn absorb(&mut self, mut other: Self) {
        debug_assert!(Arc::ptr_eq(&self.usage, &other.usage), "another principal's room");
        self.requests += std::mem::take(&mut other.requests);
    }

    /// One request is settled.
    pub fn give_back(&mut self) {
        if let Some(left) = self.requests.checked_sub(1) {
            self.requests = left;
            self.usage.in_flight.fetch_sub(1, Ordering::AcqRel);
        }
    }
}

impl Drop for Room {
    fn drop(&mut self) {
        self.usage.in_flight.fetch_sub(self.requests, Ordering::AcqRel);
    }
}

/// Adds a limiter; returns where it is.
fn begin_limiter(limiters: &mut SmallVec<[(Rate, Limiter); 1]>, rate: Rate) -> Option<usize> {
    let burst = rate.burst;
    let limiter = RateLimiter::direct_with_clock(Quota::with_period(rate.interval)?.allow_burst(burst), Time);
    if !limiters.is_empty() {
        // Or every further credential would have a burst of its own.
        let _ = limiter.check_n(burst);
    }
    if limiters.len() >= LIMITERS_MAX {
        limiters.remove(0);
    }
    limiters.push((rate, limiter));
    limiters.len().checked_sub(1)
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Of one account.
const LIMITERS_MAX: usize = 4;
#[cfg(test)]
pub(super) mod tests {
    use super::*;

    pub(in crate::auth) fn rate(interval_millis: u64, burst: u32) -> Allowance {
        let rate = Rate::new(Duration::from_millis(interval_millis), NonZeroU32::new(burst).expect("some"));
        Allowance { rate: Some(rate), ..Allowance::default() }
    }

    fn caps(sessions: usize, in_flight: usize) -> Allowance {
        Allowance {
            sessions_max: NonZeroUsize::new(sessions),
            in_flight_max: NonZeroUsize::new(in_flight),
            ..Allowance::default()
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_burst_is_let_through_and_then_the_rate_with_the_time_to_wait() {
        let (usage, rate) = (Usage::default(), rate(100, 3));
        assert_eq!([(); 3].map(|()| usage.request(1, &rate)), [Ok(()), Ok(()), Ok(())]);
        let refused = usage.request(1, &rate).expect_err("the burst is used up");
        assert_eq!(refused, Reject::RateLimited { retry_after: Duration::from_millis(100) });
        tokio::time::advance(Duration::from_millis(100)).await;
        assert_eq!(usage.request(1, &rate), Ok(()));
        assert!(usage.request(1, &rate).is_err());
        tokio::time::advance(Duration::from_secs(10)).await;
        assert!(usage.request(4, &rate).is_err(), "more than the burst never fits");
        assert_eq!(usage.request(3, &rate), Ok(()));
    }

    #[tokio::test(start_paused = true)]
    async fn a_further_rate_gives_no_new_burst_and_each_goes_on_where_it_was() {
        let usage = Usage::default();
        let (first, second) = (rate(1000, 2), rate(100, 2));
        assert!(usage.request(2, &first).is_ok() && usage.request(1, &second).is_err());
        tokio::time::advance(Duration::from_millis(100)).await;
        assert!(usage.request(1, &first).is_err() && usage.request(1, &second).is_ok());
        for _ in 0..9 {
            tokio::time::advance(Duration::from_millis(100)).await;
            assert!(usage.request(1, &second).is_ok() && usage.request(1, &Allowance::default()).is_ok());
        }
        assert!(usage.request(1, &first).is_ok() && usage.request(1, &first).is_err());
        for burst in 3..20 {
            assert!(usage.request(1, &rate(1000, burst)).is_err(), "{burst}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_rate_of_one_a_day_with_the_largest_burst_is_a_rate() {
        let day = rate(24 * 60 * 60 * 1000, u32::MAX);
        let usage = Usage::default();
        assert!(usage.request(1, &day).is_ok());
        assert!(usage.request(usize::MAX, &day).is_err());
    }

    #[test]
    fn sessions_and_requests_in_flight_have_a_limit_and_come_free_again() {
        let (usage, caps) = (Arc::new(Usage::default()), caps(1, 2));
        let place = usage.session(&caps).expect("the first");
        assert_eq!(usage.session(&caps).expect_err("the second"), Reject::PrincipalSessions { limit: 1 });
        drop(place);
        assert!(usage.session(&caps).is_ok());
        assert_eq!(usage.begin(3, caps.in_flight_max).expect_err("too many"), Reject::PrincipalInFlight { limit: 2 });
        let mut room = usage.begin(2, caps.in_flight_max).expect("as many as there may be");
        assert!(usage.begin(1, caps.in_flight_max).is_err());
        room.give_back();
        room.absorb(usage.begin(1, caps.in_flight_max).expect("one came free"));
        assert_eq!((room.requests(), usage.in_flight()), (2, 2));
        drop(room);
        assert_eq!(usage.in_flight(), 0);
    }

    #[test]
    fn never_more_than_the_limit_whatever_happens_at_once() {
        let (usage, caps) = (Arc::new(Usage::default()), caps(5, 7));
        std::thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| {
                    for _ in 0..2000 {
                        let place = usage.session(&caps);
                        assert!(usage.sessions.load(Ordering::Acquire) <= 5);
                        let room = usage.begin(2, caps.in_flight_max);
                        assert!(usage.in_flight() <= 7);
                        drop((place, room));
                    }
                });
            }
        });
        assert_eq!((usage.sessions.load(Ordering::Acquire), usage.in_flight()), (0, 0));
    }
}
