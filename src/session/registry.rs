//! Which sessions there are: opening, finding, expiring, closing them.
//!
//! Invariants: never more than `sessions_max`; a session whose opening was not completed, whose client cannot come back,
//! or that expired is in no table any more and detached from its child.

use std::any::Any;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rustc_hash::FxHashMap;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::{debug, warn};

use super::streams::Bounds;
use super::unasked::Unasked;
use super::unread::UnreadTotal;
use super::{CloseReason, Parked, Session, SessionId, SessionRecord, Shared, Transport};
use crate::auth::Admission;
use crate::config::SessionConfig;
use crate::error::Reject;
use crate::mcp::{LogLevel, Revision};
use crate::pool::{Pool, Tenant};
use crate::router::SessionKey;
use crate::telemetry::watermark::Watermark;

/// The sessions there are.
#[derive(Debug)]
pub struct Registry {
    pub(super) config: SessionConfig,
    pub(super) shared: Arc<Shared>,
    sessions: Mutex<FxHashMap<SessionId, Arc<Session>>>,
    parked: Parked<Box<dyn Any + Send>>,
    watermark: Watermark,
    last_key: AtomicU64,
    ending: AtomicBool,
    started: Instant,
    started_unix_ms: u64,
}

impl Registry {
    /// An empty registry; its sessions get their children from `pool`, and what their clients leave unread is of `unread`.
    pub fn new(config: SessionConfig, pool: Arc<Pool>, unread: &UnreadTotal) -> Arc<Self> {
        let unix = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Arc::new(Self {
            watermark: Watermark::new("--sessions-max", config.sessions_max.get(), "new sessions are refused"),
            parked: Parked::new(config.parked_max.get(), config.parked_bytes_max),
            shared: Arc::new(Shared {
                pool,
                readers: AtomicUsize::new(0),
                unasked: Unasked::default(),
                unread: Arc::clone(&unread.0),
            }),
            config,
            sessions: Mutex::default(),
            last_key: AtomicU64::new(0),
            ending: AtomicBool::new(false),
            started: Instant::now(),
            started_unix_ms: millis(unix),
        })
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, FxHashMap<SessionId, Arc<Session>>> {
        self.sessions.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How many sessions there are. Stateless exchanges are not among them.
    pub fn len(&self) -> usize {
        self.lock().len()
    }

    /// How many requests are in flight, over all sessions and exchanges.
    pub fn in_flight(&self) -> usize {
        let sessions: Vec<_> = self.lock().values().cloned().collect();
        sessions.iter().map(|session| session.in_flight()).sum()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The exchanges that wait for their clients to come back. They come in by [`Registry::park`].
    pub const fn parked(&self) -> &Parked<Box<dyn Any + Send>> {
        &self.parked
    }

    /// Until when a client that is asked at `now` may come back, with a request that began at `begun`.
    pub fn input_deadline(&self, begun: Instant, now: Instant) -> Instant {
        let deadline = now + self.config.input_timeout;
        self.config.request_timeout_max.map_or(deadline, |max| deadline.min(begun + max))
    }

    /// Puts an exchange down until its client comes back: see [`Parked::put`]. Where others wait for a child, the one that
    /// would be given up first makes room.
    ///
    /// # Errors
    /// [`Reject::ShuttingDown`]: all sessions were closed.
    pub fn park(
        &self,
        number: u128,
        exchange: Box<dyn Any + Send>,
        bytes: usize,
        deadline: Instant,
    ) -> Result<(), Reject> {
        // Dropped only here, outside the lock.
        self.parked.put(number, exchange, bytes, deadline).map_err(|_| Reject::ShuttingDown)?;
        self.shared.pool.look_for_room();
        Ok(())
    }

    /// As many exchanges as others wait for a child of their own are not waited for any longer, if they have been for a
    /// while: a client that answers at once is to come to its end, or nobody ever would. Whether more are needed.
    fn make_room(&self) -> bool {
        while self.shared.pool.lacks_room() {
            if !self.parked.drop_next(UNDISTURBED) {
                return !self.parked.is_empty();
            }
            warn!("an exchange that waits for its client was given up, since its child's place is needed");
        }
        false
    }

    /// How many streams are being read, over all sessions and exchanges.
    pub fn open_streams(&self) -> usize {
        self.shared.readers.load(Ordering::Relaxed)
    }

    /// Opens a session for `tenant`. It is closed again when the returned value is dropped, unless it was kept.
    ///
    /// # Errors
    /// [`Reject::Sessions`], [`Reject::PrincipalSessions`], [`Reject::ShuttingDown`].
    pub fn open(self: &Arc<Self>, transport: Transport, tenant: Tenant) -> Result<Owned, Reject> {
        let admission = tenant.admission();
        let place = admission.usage.session(&admission.allowance)?;
        let session = self.build(transport, tenant, None);
        session.hold(place);
        self.register(session)
    }

    /// Opens the session of one stateless exchange: a place among the sessions, under an id that nobody is told.
    ///
    /// # Errors
    /// [`Reject::Sessions`], [`Reject::ShuttingDown`].
    pub fn exchange(self: &Arc<Self>, tenant: Tenant, revision: Option<Revision>) -> Result<Owned, Reject> {
        self.register(self.build(Transport::Stateless, tenant, revision))
    }

    /// Opens the session of one modern request: a place among the sessions, under an id that nobody is told. `client`
    /// is the `params` of the `initialize` that stands for its client, `level` that of its metadata.
    ///
    /// # Errors
    /// As [`Registry::exchange`]; [`Reject::InvalidParams`] if `client` is too large.
    pub fn modern(self: &Arc<Self>, tenant: Tenant, client: &str, level: Option<LogLevel>) -> Result<Owned, Reject> {
        let session = self.build(Transport::Modern, tenant, None);
        session.introduce(client, level)?;
        self.register(session)
    }

    fn register(self: &Arc<Self>, session: Session) -> Result<Owned, Reject> {
        let session = Arc::new(session);
        let mut sessions = self.lock();
        // Under the lock: who ends the sessions says so first and then goes through those that are there.
        if self.ending.load(Ordering::Acquire) {
            return Err(Reject::ShuttingDown);
        }
        let limit = self.config.sessions_max.get();
        if sessions.len() >= limit {
            drop(sessions);
            debug!(limit, "session refused: too many sessions");
            return Err(Reject::Sessions { limit }.counted());
        }
        sessions.insert(session.id(), session.clone());
        let used = sessions.len();
        drop(sessions);
        self.watermark.observe(used);
        Ok(Owned { registry: self.clone(), session, keep: false })
    }

    fn build(&self, transport: Transport, tenant: Tenant, revision: Option<Revision>) -> Session {
        let now = Instant::now();
        let config = &self.config;
        let (events, bytes) = match transport {
            Transport::Streamable | Transport::HttpSse => (config.replay_events, config.replay_bytes),
            // Nobody can come back to it.
            Transport::Stateless | Transport::Modern => (0, 0),
        };
        let bounds = Bounds {
            events,
            bytes,
            unread_messages: config.unread_messages_max.get(),
            unread_bytes: config.unread_bytes_max,
            standing: config.streams_max.get(),
            in_flight: config.in_flight_max.get(),
            messages_waiting: config.messages_waiting_max.get(),
            resumable: transport == Transport::Streamable && events > 0 && bytes > 0,
        };
        let key = SessionKey(self.last_key.fetch_add(1, Ordering::Relaxed) + 1);
        let mut record = SessionRecord::new(SessionId::random(), self.unix_ms(now));
        record.revision = revision;
        Session::new(key, transport, record, tenant, bounds, self.shared.clone(), now)
    }

    pub(super) fn unix_ms(&self, now: Instant) -> u64 {
        self.started_unix_ms + millis(now.saturating_duration_since(self.started))
    }

    /// The session of that id on that transport, if it is the caller's and was opened under the same rules; notes that its
    /// client is alive, and for how long its credentials are good.
    ///
    /// # Errors
    /// [`Reject::SessionUnknown`].
    pub fn find(&self, id: &str, transport: Transport, caller: &Admission) -> Result<Arc<Session>, Reject> {
        let id = SessionId::from_client(id).ok_or(Reject::SessionUnknown)?;
        let session = self.lock().get(&id).cloned().ok_or(Reject::SessionUnknown)?;
        if session.transport() != transport || !session.is_of(caller) || session.is_closed() {
            return Err(Reject::SessionUnknown);
        }
        session.touch(Instant::now(), caller);
        Ok(session)
    }

    /// Whether there is a session of that id, whosever it is.
    pub fn holds(&self, id: &str) -> bool {
        SessionId::from_client(id).is_some_and(|id| self.lock().contains_key(&id))
    }

    /// Closes a session and forgets it.
    pub fn close(&self, session: &Session, reason: CloseReason) {
        let left = {
            let mut sessions = self.lock();
            sessions.remove(&session.id());
            sessions.len()
        };
        self.watermark.observe(left);
        session.close(reason);
    }

    /// Closes the sessions that are idle or too old at `now`, and forgets those that are closed.
    pub fn sweep(&self, now: Instant) {
        let created_before = self.config.age_max.map(|age| self.unix_ms(now).saturating_sub(millis(age)));
        let mut expired = Vec::new();
        let left = {
            let mut sessions = self.lock();
            sessions.retain(|_, session| {
                let reason = session.expired(now, self.config.idle_timeout, created_before);
                expired.extend(reason.map(|reason| (session.clone(), reason)));
                reason.is_none()
            });
            sessions.len()
        };
        self.watermark.observe(left);
        for (session, reason) in expired {
            session.close(reason);
        }
        self.parked.sweep(now);
    }

    /// Ends everything that is open to a client for long, since what clients may do has changed. They come back, and what
    /// they may do then holds.
    pub fn interrupt_all(&self) {
        self.close_some(Session::interrupt);
    }

    /// Ends what is open to clients whose credentials are not good any more.
    pub fn sweep_lapsed(&self, now: Instant) {
        self.close_some(|session| session.lapsed(now));
    }

    fn close_some(&self, over: impl Fn(&Session) -> Option<CloseReason>) {
        let sessions: Vec<_> = self.lock().values().cloned().collect();
        for session in sessions {
            if let Some(reason) = over(&session) {
                self.close(&session, reason);
            }
        }
    }

    /// Sweeps, makes room in the pool, and answers children where no client will, until `stop` is cancelled.
    pub async fn run(&self, stop: CancellationToken) {
        tokio::select! {
            () = stop.cancelled() => {}
            () = self.sweep_from_time_to_time() => {}
            () = self.sweep_lapsed_ones_from_time_to_time() => {}
            () = self.parked.expire() => {}
            () = self.make_room_where_it_is_wanted() => {}
            () = self.shared.unasked.answer() => {}
        }
    }

    async fn make_room_where_it_is_wanted(&self) {
        loop {
            self.shared.pool.crowded().await;
            while self.make_room() {
                tokio::time::sleep(UNDISTURBED / 4).await;
            }
        }
    }

    async fn sweep_lapsed_ones_from_time_to_time(&self) {
        loop {
            tokio::time::sleep(LAPSED_PERIOD).await;
            self.sweep_lapsed(Instant::now());
        }
    }

    async fn sweep_from_time_to_time(&self) {
        let limits = [self.config.idle_timeout, self.config.age_max];
        let shortest = limits.into_iter().flatten().min();
        let period = shortest.map_or(SWEEP_PERIOD_MAX, |limit| (limit / 4).clamp(SWEEP_PERIOD_MIN, SWEEP_PERIOD_MAX));
        loop {
            tokio::time::sleep(period).await;
            self.sweep(Instant::now());
        }
    }

    /// For a stop: no session is opened any more, GET streams end at once, those of HTTP+SSE as soon as what is in
    /// flight on them is answered. POSTs go on.
    pub fn end_standing_streams(&self) {
        self.ending.store(true, Ordering::Release);
        let sessions: Vec<_> = self.lock().values().cloned().collect();
        for session in sessions {
            session.end_standing_streams();
        }
    }

    /// Closes all sessions.
    pub fn close_all(&self) {
        self.ending.store(true, Ordering::Release);
        self.parked.close();
        let sessions = std::mem::take(&mut *self.lock());
        for session in sessions.into_values() {
            session.close(CloseReason::ShuttingDown);
        }
    }
}

/// A session that is closed when this is dropped: because its opening was not completed, because it lives only as long
/// as its connection.
#[derive(Debug)]
pub struct Owned {
    registry: Arc<Registry>,
    session: Arc<Session>,
    keep: bool,
}

impl Owned {
    /// The session.
    pub const fn session(&self) -> &Arc<Session> {
        &self.session
    }

    /// Where the session is registered.
    pub const fn registry(&self) -> &Arc<Registry> {
        &self.registry
    }

    /// From now on the session is the registry's alone.
    pub fn keep(mut self) {
        self.keep = true;
    }
}

impl Drop for Owned {
    fn drop(&mut self) {
        if !self.keep {
            self.registry.close(&self.session, CloseReason::Gone);
        }
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// How long an exchange may wait for its client before it has to make room for others.
const UNDISTURBED: Duration = Duration::from_secs(5);
/// How long after a credential has lapsed something may still be open with it.
const LAPSED_PERIOD: Duration = Duration::from_secs(5);
const SWEEP_PERIOD_MIN: Duration = Duration::from_millis(100);
const SWEEP_PERIOD_MAX: Duration = Duration::from_secs(30);
