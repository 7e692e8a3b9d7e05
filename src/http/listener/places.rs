//! Room for connections: how many there may be, in all and of one address (on unix sockets: of one user), and who has to go when there are too many.
//!
//! A flood of connections that say nothing must not keep out clients that do. So when all places are taken, connections that
//! have sent no request after a moment are dismissed, the oldest first, and after them those that have been idle for a while:
//! one for the connection that waits, and more only where those that were dismissed do not go. One with a request under way,
//! which an open event stream is, stays.
//!
//! Invariant: the table holds those connections that there are, and addresses that have one.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rustc_hash::FxBuildHasher;
use tokio::sync::Notify;
use tokio::time::{Instant, timeout};
use tracing::{debug, warn};

use super::activity::{Activity, Phase};
use crate::auth::Remote;
use crate::config::ListenConfig;
use crate::metrics::{self, Limit, OpenConnection, limit_hit};
use crate::status::Occupancy;
use crate::telemetry::watermark::Watermark;

/// Room for so many connections.
pub(super) struct Places {
    table: Arc<Table>,
    connections_max: usize,
    per_address_max: usize,
    /// Which of them may have any number.
    is_exempt: Box<dyn Fn(Remote) -> bool + Send + Sync>,
    watermark: Watermark,
    /// When it was last said that an address has too many.
    reported: Mutex<Option<Instant>>,
}

#[derive(Debug, Default)]
struct Table {
    state: Mutex<State>,
    freed: Notify,
}

#[derive(Debug, Default)]
struct State {
    next: u64,
    connections: HashMap<u64, Arc<Activity>, FxBuildHasher>,
    /// Those that have connections.
    remotes: HashMap<Remote, Crowd>,
    /// How many connections have ended.
    ended: u64,
    /// Who may be dismissed next, the first of them last.
    candidates: Vec<Candidate>,
    /// When they were looked for.
    looked: Option<Instant>,
    dismissal: Option<Dismissal>,
}

/// A connection that could be dismissed when it was looked at.
#[derive(Clone, Copy, Debug)]
struct Candidate {
    number: u64,
    phase: Phase,
    since: Instant,
}

/// The last time that connections were dismissed.
#[derive(Clone, Copy, Debug)]
struct Dismissal {
    count: usize,
    at: Instant,
    /// How many connections had ended by then.
    ended: u64,
}

/// The connections of an address.
#[derive(Debug, Default)]
struct Crowd {
    connections: usize,
    /// It may have any number, as far as was seen of the first of them.
    is_exempt: bool,
}

/// A connection's place, until this is dropped.
#[derive(Debug)]
pub(super) struct Place {
    pub(super) activity: Arc<Activity>,
    number: u64,
    remote: Remote,
    table: Arc<Table>,
    _counted: OpenConnection,
}

enum Entry {
    Taken(Place),
    RemoteFull,
    Full,
}

impl Places {
    pub(super) fn new(config: &ListenConfig) -> Self {
        let connections_max = config.connections_max.get();
        let beyond = "connections without a request are closed to make room, and others wait until one ends";
        Self {
            table: Arc::default(),
            connections_max,
            per_address_max: config.connections_per_address_max.get(),
            is_exempt: Box::new(|_| false),
            watermark: Watermark::new("--connections-max", connections_max, beyond),
            reported: Mutex::new(None),
        }
    }

    /// Says how many connections there are, and how many there may be.
    pub(super) fn occupancy(&self) -> impl Fn() -> Occupancy + Send + Sync + 'static {
        let (connections_max, per_address_max) = (self.connections_max, self.per_address_max);
        let table = Arc::clone(&self.table);
        move || {
            let state = table.lock();
            let limited = state.remotes.values().filter(|crowd| !crowd.is_exempt);
            let fullest = limited.map(|crowd| crowd.connections).max().unwrap_or(0);
            Occupancy { all: (state.connections.len(), connections_max), of_address: (fullest, per_address_max) }
        }
    }

    /// These may have any number of connections.
    pub(super) fn exempt(&mut self, is_exempt: impl Fn(Remote) -> bool + Send + Sync + 'static) {
        self.is_exempt = Box::new(is_exempt);
    }

    /// A place for a connection from there, as soon as there is one; none if there are too many from there.
    ///
    /// # Cancel safety
    /// Cancelled, it has taken nothing.
    pub(super) async fn take(&self, remote: Remote) -> Option<Place> {
        let mut waits = false;
        loop {
            match self.enter(remote) {
                Entry::Taken(place) => return Some(place),
                Entry::RemoteFull => {
                    limit_hit(Limit::ConnectionsPerAddressMax);
                    self.report_full(remote);
                    return None;
                }
                Entry::Full => {}
            }
            if !std::mem::replace(&mut waits, true) {
                limit_hit(Limit::ConnectionsMax);
            }
            self.make_room();
            // Whoever is busy now may be idle for long enough then.
            let _ = timeout(MAKE_ROOM_INTERVAL, self.table.freed.notified()).await;
        }
    }

    /// Often it is a proxy that nobody has said is one. Not for every connection.
    fn report_full(&self, remote: Remote) {
        let now = Instant::now();
        let mut reported = self.reported.lock().unwrap_or_else(PoisonError::into_inner);
        if reported.is_none_or(|at| now.duration_since(at) >= REPORT_INTERVAL) {
            *reported = Some(now);
            warn!(
                address = %remote,
                limit = self.per_address_max,
                "connections are closed: their address has as many as it may have (--connections-per-address-max). If it is a \
                 proxy in front, name it with --trusted-proxy (`unix` where it is a user of this machine)"
            );
        } else {
            debug!(address = %remote, "connection closed: its address has too many (--connections-per-address-max)");
        }
    }

    fn enter(&self, remote: Remote) -> Entry {
        let counted = remote.counted();
        let mut state = self.table.lock();
        let used = state.remotes.get(&counted).map_or(0, |crowd| crowd.connections);
        if used >= self.per_address_max && !(self.is_exempt)(remote.to_canonical()) {
            return Entry::RemoteFull;
        }
        if state.connections.len() >= self.connections_max {
            return Entry::Full;
        }
        let number = state.next;
        state.next += 1;
        let activity = Activity::new(Instant::now());
        let is_exempt = || (self.is_exempt)(remote.to_canonical());
        let crowd = state.remotes.entry(counted);
        crowd.or_insert_with(|| Crowd { connections: 0, is_exempt: is_exempt() }).connections += 1;
        state.connections.insert(number, Arc::clone(&activity));
        let used = state.connections.len();
        drop(state);
        self.watermark.observe(used);
        let table = Arc::clone(&self.table);
        Entry::Taken(Place { activity, number, remote: counted, table, _counted: metrics::connection_opened() })
    }

    /// Dismisses a connection that has no request, if there is one: more of them each time that those of the time before have
    /// not gone, and none while they may be about to.
    pub(super) fn make_room(&self) {
        let now = Instant::now();
        let mut state = self.table.lock();
        let count = match state.dismissal {
            Some(Dismissal { count, at, ended }) if ended == state.ended => {
                if now.duration_since(at) < MAKE_ROOM_INTERVAL {
                    return;
                }
                (count * 2).min(self.dismissed_max())
            }
            Some(_) | None => 1,
        };
        if state.looked.is_none_or(|looked| now.duration_since(looked) >= MAKE_ROOM_INTERVAL) {
            state.candidates.clear();
        }
        let (mut dismissed, mut looked) = (0, false);
        while dismissed < count {
            match state.candidates.pop() {
                Some(candidate) => dismissed += usize::from(state.dismiss(candidate, now)),
                None if looked => break,
                None => {
                    looked = true;
                    state.look(now, self.dismissed_max());
                }
            }
        }
        if dismissed > 0 {
            state.dismissal = Some(Dismissal { count: dismissed, at: now, ended: state.ended });
        }
    }

    /// The most that are dismissed at a time, and found by one look at all connections.
    const fn dismissed_max(&self) -> usize {
        1 + self.connections_max / 64
    }

    /// How many connections there are, and of how many they are.
    #[cfg(test)]
    pub(super) fn used(&self) -> (usize, usize) {
        let state = self.table.lock();
        (state.connections.len(), state.remotes.len())
    }
}

impl std::fmt::Debug for Places {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Places").field("table", &self.table).finish_non_exhaustive()
    }
}

impl State {
    /// Looks for those that may be dismissed: not for each, since it takes a look at every connection.
    fn look(&mut self, now: Instant, max: usize) {
        let at_rest = self.connections.iter().filter(|(_, activity)| !activity.is_dismissed());
        let at_rest = at_rest.filter_map(|(number, activity)| {
            activity.idle(now).map(|(phase, since)| Candidate { number: *number, phase, since })
        });
        let mut found: Vec<_> = at_rest
            .filter(|Candidate { phase, since, .. }| {
                let patience = if *phase == Phase::New { PATIENCE_WITH_NEW } else { PATIENCE_WITH_IDLE };
                now.duration_since(*since) >= patience
            })
            .collect();
        if found.iter().any(|candidate| candidate.phase == Phase::New) {
            found.retain(|candidate| candidate.phase == Phase::New);
        }
        found.sort_unstable_by_key(|candidate| candidate.since);
        found.truncate(max);
        found.reverse();
        self.candidates = found;
        self.looked = Some(now);
    }

    /// Whether it was still as it was when it was found, and is dismissed now.
    fn dismiss(&self, candidate: Candidate, now: Instant) -> bool {
        let Candidate { number, phase, since } = candidate;
        let activity = self.connections.get(&number);
        let activity =
            activity.filter(|activity| !activity.is_dismissed() && activity.idle(now) == Some((phase, since)));
        activity.inspect(|activity| activity.dismiss()).is_some()
    }
}

impl Table {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut state = self.table.lock();
        state.connections.remove(&self.number);
        state.ended += 1;
        if let Some(crowd) = state.remotes.get_mut(&self.remote) {
            crowd.connections -= 1;
            if crowd.connections == 0 {
                state.remotes.remove(&self.remote);
            }
        }
        drop(state);
        self.table.freed.notify_one();
    }
}

/// Between two warnings of full addresses.
const REPORT_INTERVAL: Duration = Duration::from_secs(60);

/// How long a new connection is left alone: whoever means it sends its request at once.
const PATIENCE_WITH_NEW: Duration = Duration::from_secs(1);
/// How long an idle connection is left alone: a client that is at work sends its next request before that.
const PATIENCE_WITH_IDLE: Duration = Duration::from_secs(5);
/// How often room is looked for.
const MAKE_ROOM_INTERVAL: Duration = Duration::from_millis(100);

#[cfg(test)]
mod tests {
    use std::net::{IpAddr, Ipv4Addr};

    use super::*;
    use crate::http::listener::tests::listen;

    const HERE: Remote = Remote::Address(IpAddr::V4(Ipv4Addr::LOCALHOST));

    /// All places taken, by connections that have been idle for long enough.
    async fn full(connections_max: usize) -> (Places, Vec<Place>) {
        let places = Places::new(&listen("127.0.0.1", 0, connections_max));
        let mut taken = Vec::new();
        for _ in 0..connections_max {
            let place = places.take(HERE).await.expect("a place");
            drop(place.activity.request());
            taken.push(place);
            tokio::time::advance(Duration::from_millis(1)).await;
        }
        tokio::time::advance(PATIENCE_WITH_IDLE).await;
        (places, taken)
    }

    fn dismissed(taken: &[Place]) -> Vec<usize> {
        taken.iter().enumerate().filter(|(_, place)| place.activity.is_dismissed()).map(|(at, _)| at).collect()
    }

    #[tokio::test(start_paused = true)]
    async fn as_many_are_dismissed_as_wait_and_more_only_if_they_do_not_go() {
        let (places, mut taken) = full(640).await;
        for number in 0..100 {
            // Asked for more than once, as when a place comes free that another one takes.
            places.make_room();
            places.make_room();
            assert_eq!(dismissed(&taken), [0], "{number}: the oldest alone");
            drop(taken.remove(0));
            taken.push(places.take(HERE).await.expect("its place"));
        }
        places.make_room();
        for expected in [1, 3, 7, 15, 26, 37] {
            assert_eq!(dismissed(&taken).len(), expected);
            tokio::time::advance(MAKE_ROOM_INTERVAL).await;
            places.make_room();
        }
    }

    #[tokio::test(start_paused = true)]
    async fn the_address_that_has_most_is_told_of_if_it_may_not_have_any_number() {
        let mut places = Places::new(&listen("127.0.0.1", 0, 10));
        let proxy = Remote::Address(IpAddr::V6("2001:db8::1".parse().expect("an address")));
        places.exempt(move |remote| remote == proxy);
        let told = places.occupancy();
        let mut taken = Vec::new();
        for remote in [proxy, proxy, proxy, HERE, HERE, Remote::User(7)] {
            taken.push(places.take(remote).await.expect("a place"));
        }
        let limit = places.per_address_max;
        assert_eq!(told(), Occupancy { all: (6, 10), of_address: (2, limit) });
        taken.clear();
        assert_eq!(told(), Occupancy { all: (0, 10), of_address: (0, limit) });
    }

    #[tokio::test(start_paused = true)]
    async fn whoever_is_at_work_again_is_not_dismissed() {
        let (places, mut taken) = full(640).await;
        places.make_room();
        drop(taken.remove(0));
        tokio::time::advance(Duration::from_millis(1)).await;
        // It was found with the first.
        drop(taken.first().expect("one").activity.request());
        places.make_room();
        assert_eq!(dismissed(&taken), [1]);
    }
}
