//! What a connection is doing, as far as its time is limited: it has sent nothing yet, a request's head is arriving, requests
//! are under way, or it is idle.
//!
//! Separate from the connection, since several look at it: what reads and writes for it, its requests (in HTTP/2 each is a task
//! of its own), its clock, and whoever makes room when there are too many connections. All of it is atomic; nobody waits.
//!
//! Invariant: while a request is under way (until the end of its response's body) and its client takes what there is of the
//! response, no time is over but that of the client's certificate.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use atomic_waker::AtomicWaker;
use hyper::body::{Body, Frame, SizeHint};
use tokio::time::{Instant, Sleep};

use crate::config::ConnectionConfig;
use crate::metrics::Limit;

/// What a connection is doing.
#[derive(Debug)]
pub(super) struct Activity {
    opened: Instant,
    /// Requests under way.
    requests: AtomicUsize,
    /// A [`Phase`], and since when: milliseconds after `opened`.
    phase: AtomicU64,
    /// How much of a head has arrived, and what came with it.
    head_bytes: AtomicUsize,
    /// Responses that have something for the client to take.
    offered: AtomicUsize,
    /// When the client last took something of one, or one began: milliseconds after `opened`.
    taken: AtomicU64,
    http2: AtomicBool,
    dismissed: AtomicBool,
    /// The connection's.
    task: AtomicWaker,
}

/// What a connection without a request under way is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Phase {
    /// It has not sent its first request yet, or not all of its head.
    New,
    /// It has begun a further request.
    Head,
    /// It has been answered.
    Idle,
}

impl Activity {
    /// Of a new connection.
    pub(super) fn new(now: Instant) -> Arc<Self> {
        Arc::new(Self {
            opened: now,
            requests: AtomicUsize::new(0),
            phase: AtomicU64::new(Phase::New as u64),
            head_bytes: AtomicUsize::new(0),
            offered: AtomicUsize::new(0),
            taken: AtomicU64::new(0),
            http2: AtomicBool::new(false),
            dismissed: AtomicBool::new(false),
            task: AtomicWaker::new(),
        })
    }

    /// So many bytes came. Not to be told of HTTP/2, where they may be anything.
    pub(super) fn received(&self, bytes: usize) {
        if self.requests.load(Ordering::Acquire) > 0 {
            return;
        }
        if self.phase().0 == Phase::Idle {
            self.head_bytes.store(0, Ordering::Relaxed);
            self.enter(Phase::Head);
        }
        self.head_bytes.fetch_add(bytes, Ordering::Relaxed);
    }

    /// A new connection has sent its first byte: the time for its first head begins.
    pub(super) fn begun(&self) {
        self.enter(Phase::New);
    }

    /// It has begun to speak HTTP/2.
    pub(super) fn begins_http2(&self) {
        self.http2.store(true, Ordering::Relaxed);
    }

    /// Whether it speaks HTTP/2.
    pub(super) fn is_http2(&self) -> bool {
        self.http2.load(Ordering::Relaxed)
    }

    /// Something was taken by the client. What is left of its answer when that has ended for us is on its way still.
    pub(super) fn sent(&self) {
        self.taken.store(self.millis(), Ordering::Release);
        if self.requests.load(Ordering::Acquire) == 0 && self.phase().0 == Phase::Idle {
            self.enter(Phase::Idle);
        }
    }

    /// How much of a head has arrived, and what came with it.
    pub(super) fn head_bytes(&self) -> usize {
        self.head_bytes.load(Ordering::Relaxed)
    }

    /// A request has come.
    pub(super) fn request(self: &Arc<Self>) -> UnderWay {
        self.requests.fetch_add(1, Ordering::AcqRel);
        UnderWay(Arc::clone(self))
    }

    /// What it is doing and since when; none while a request is under way.
    pub(super) fn at_rest(&self) -> Option<(Phase, Instant)> {
        (self.requests.load(Ordering::Acquire) == 0).then(|| self.phase())
    }

    /// Closes the connection, if no request is under way when it gets to know.
    pub(super) fn dismiss(&self) {
        self.dismissed.store(true, Ordering::Release);
        self.task.wake();
    }

    /// Whether it was dismissed already.
    pub(super) fn is_dismissed(&self) -> bool {
        self.dismissed.load(Ordering::Acquire)
    }

    /// Until it is dismissed. For the connection's own task.
    pub(super) fn poll_dismissed(&self, cx: &Context<'_>) -> Poll<()> {
        self.task.register(cx.waker());
        if self.is_dismissed() { Poll::Ready(()) } else { Poll::Pending }
    }

    fn phase(&self) -> (Phase, Instant) {
        let packed = self.phase.load(Ordering::Acquire);
        let phase = match packed & PHASE_MASK {
            0 => Phase::New,
            1 => Phase::Head,
            _ => Phase::Idle,
        };
        (phase, self.opened + Duration::from_millis(packed >> PHASE_BITS))
    }

    /// Since when the client has taken nothing of what there is for it; none while there is nothing. In HTTP/2 a client can do
    /// so for ever, while the system sees everything taken.
    pub(super) fn stalled(&self) -> Option<Instant> {
        let offered = self.offered.load(Ordering::Acquire) > 0;
        offered.then(|| self.opened + Duration::from_millis(self.taken.load(Ordering::Acquire)))
    }

    /// What it is doing, and since when, if it can be ended for others: it is at rest, or its client takes nothing.
    pub(super) fn idle(&self, now: Instant) -> Option<(Phase, Instant)> {
        let stalled = || self.stalled().filter(|since| now.duration_since(*since) >= STALLED_MIN);
        self.at_rest().or_else(|| stalled().map(|since| (Phase::Idle, since)))
    }

    fn millis(&self) -> u64 {
        u64::try_from(self.opened.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    fn enter(&self, phase: Phase) {
        let since = self.millis().min(u64::MAX >> PHASE_BITS);
        self.phase.store(since << PHASE_BITS | phase as u64, Ordering::Release);
    }
}

const PHASE_BITS: u32 = 2;
const PHASE_MASK: u64 = (1 << PHASE_BITS) - 1;

/// A request that is under way until this is dropped.
#[derive(Debug)]
pub(super) struct UnderWay(Arc<Activity>);

impl Drop for UnderWay {
    fn drop(&mut self) {
        // Before it is at rest: then it has been so since now.
        self.0.enter(Phase::Idle);
        self.0.requests.fetch_sub(1, Ordering::AcqRel);
    }
}

/// A response's body: its request is under way until it ends, or nobody wants it any more.
#[derive(Debug)]
pub(super) struct Attended<B> {
    body: B,
    under_way: UnderWay,
    /// There is something for the client to take: what was polled last, or the head.
    offers: bool,
}

impl<B> Attended<B> {
    pub(super) fn new(body: B, under_way: UnderWay) -> Self {
        let mut attended = Self { body, under_way, offers: false };
        attended.offer(true);
        attended
    }

    fn offer(&mut self, offers: bool) {
        let activity = &self.under_way.0;
        activity.taken.store(activity.millis(), Ordering::Release);
        match (std::mem::replace(&mut self.offers, offers), offers) {
            (false, true) => {
                activity.offered.fetch_add(1, Ordering::AcqRel);
            }
            (true, false) => {
                activity.offered.fetch_sub(1, Ordering::AcqRel);
            }
            (true, true) | (false, false) => {}
        }
    }
}

impl<B> Drop for Attended<B> {
    fn drop(&mut self) {
        self.offer(false);
    }
}

impl<B: Body + Unpin> Body for Attended<B> {
    type Data = B::Data;
    type Error = B::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<B::Data>, B::Error>>> {
        let polled = Pin::new(&mut self.body).poll_frame(cx);
        self.offer(polled.is_ready());
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// Why a connection is to end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Over {
    /// It reached a limit of time.
    Limit(Limit),
    /// There has to be room for others.
    Dismissed,
    /// Its client's certificate has expired.
    Expired,
    /// It was told to end and did not.
    Unparted,
}

/// Tells when a connection's time is over. One timer, which is set again only when it is needed earlier, or has gone off.
#[derive(Debug)]
pub(super) struct Clock<'a> {
    activity: &'a Activity,
    config: &'a ConnectionConfig,
    timer: Pin<&'a mut Sleep>,
    /// When its client is not who it was any more, if ever.
    until: Option<Instant>,
    /// The timer knows whom to wake.
    set: bool,
    /// Since when it should end.
    parting: Option<Instant>,
}

impl<'a> Clock<'a> {
    pub(super) const fn new(
        activity: &'a Activity,
        config: &'a ConnectionConfig,
        timer: Pin<&'a mut Sleep>,
        until: Option<Instant>,
    ) -> Self {
        Self { activity, config, timer, until, set: false, parting: None }
    }

    /// The connection was told to end: without a request it may take so long now.
    pub(super) fn part(&mut self) {
        self.parting = Some(Instant::now());
    }

    /// Ready when the time is over. To be polled after the connection, whenever that was.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Over> {
        let dismissed = self.activity.poll_dismissed(cx).is_ready();
        loop {
            let due = self.due();
            if dismissed && self.parting.is_none() && self.activity.idle(Instant::now()).is_some() {
                return Poll::Ready(Over::Dismissed);
            }
            match due {
                Some((at, _)) if at < self.timer.deadline() => self.reset(at),
                _ if self.set && !self.timer.is_elapsed() => return Poll::Pending,
                _ => {}
            }
            self.set = true;
            if self.timer.as_mut().poll(cx).is_pending() {
                return Poll::Pending;
            }
            let now = Instant::now();
            match due {
                Some((at, over)) if at <= now => return Poll::Ready(over),
                // Whatever begins from now on takes longer than that, save a head, which is looked at when it comes.
                Some((at, _)) => self.reset(at.min(now + self.config.idle_timeout)),
                None => self.reset(now + self.config.idle_timeout),
            }
        }
    }

    fn reset(&mut self, at: Instant) {
        self.timer.as_mut().reset(at);
        self.set = false;
    }

    /// When the time is over, and why; none while nothing limits it.
    fn due(&self) -> Option<(Instant, Over)> {
        let expiry = self.until.filter(|_| self.parting.is_none()).map(|until| (until, Over::Expired));
        self.due_by_activity().into_iter().chain(expiry).min_by_key(|(at, _)| *at)
    }

    /// When what the connection is doing has taken too long; none while a request is under way and the client waits for it.
    fn due_by_activity(&self) -> Option<(Instant, Over)> {
        let Some((phase, since)) = self.activity.at_rest() else {
            let since = self.activity.stalled()?;
            return Some(match self.parting {
                Some(parting) => (parting.max(since) + PARTING_TIMEOUT, Over::Unparted),
                None => (since + self.config.untaken_timeout, Over::Limit(Limit::UntakenTimeout)),
            });
        };
        if let Some(parting) = self.parting {
            return Some((parting.max(since) + PARTING_TIMEOUT, Over::Unparted));
        }
        Some(match phase {
            Phase::New | Phase::Head => (since + self.config.header_timeout, Over::Limit(Limit::HeaderTimeout)),
            Phase::Idle => (since + self.config.idle_timeout, Over::Limit(Limit::IdleTimeout)),
        })
    }
}

/// How long it must have, to be ended for others.
const STALLED_MIN: Duration = Duration::from_secs(5);
/// How long a connection that was told to end may take to do so.
const PARTING_TIMEOUT: Duration = Duration::from_secs(5);
