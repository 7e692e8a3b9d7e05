//! What the registry says of its sessions to whoever wants to look. Never an id: a session is its [`SessionTag`].

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::time::Instant;

use super::{Phase, Registry, Session, SessionTag, Transport};
use crate::auth::Principal;
use crate::mcp::MODERN_REVISION;

/// The sessions as they are at this moment.
#[derive(Clone, Debug)]
pub struct Report {
    /// Sessions, the busiest first and then those of which something was heard last, no more than 200.
    pub sessions: Vec<SessionReport>,
    /// How many more there are.
    pub left_out: usize,
    /// How many there are and may be.
    pub places: (usize, usize),
    /// Exchanges that wait for their clients: how many there are and may be.
    pub parked: (usize, usize),
    /// Their bytes, likewise.
    pub parked_bytes: (usize, usize),
    /// Bytes that clients leave unread, likewise.
    pub unread_bytes: (usize, usize),
    /// Streams that are being read.
    pub streams: usize,
    /// Requests in flight, of all sessions.
    pub in_flight: usize,
    /// Of the session that has most in flight: how many it has and may have.
    pub fullest: (usize, usize),
    /// Of the principal that is nearest to its limit of sessions: how many it has and may have, of all servers. None where there
    /// is no limit.
    pub principal_sessions: Option<(usize, usize)>,
    /// Likewise, of requests in flight.
    pub principal_in_flight: Option<(usize, usize)>,
}

/// A session, or the exchange of one request that has none.
#[derive(Clone, Debug)]
pub struct SessionReport {
    /// What stands for it, as in the log.
    pub tag: SessionTag,
    /// Whose it is.
    pub principal: Principal,
    /// How its client is connected.
    pub transport: Transport,
    /// The revision agreed on; none before.
    pub revision: Option<&'static str>,
    /// What its client calls itself: name and version, cut short, without control characters. None if it did not say.
    pub client: Option<String>,
    /// How old it is.
    pub age: Duration,
    /// For how long nothing was heard of its client; nothing while that waits for an answer or reads a stream.
    pub idle: Duration,
    /// Requests in flight.
    pub in_flight: usize,
    /// The number of its child; none as long as it has none.
    pub child: Option<u64>,
}

/// The most sessions of a report.
const REPORTED_MAX: usize = 200;

impl Registry {
    /// Looks at all sessions, one after the other.
    pub fn report(&self, now: Instant) -> Report {
        let all: Vec<_> = self.lock().values().cloned().collect();
        let used = all.len();
        let mut ranked: Vec<(usize, Duration, Arc<Session>)> = all
            .into_iter()
            .map(|session| {
                let (in_flight, idle) = session.activity(now);
                (in_flight, idle, session)
            })
            .collect();
        ranked.sort_by_key(|(in_flight, idle, session)| (std::cmp::Reverse(*in_flight), *idle, session.key));
        let in_flight = ranked.iter().map(|(in_flight, ..)| in_flight).sum();
        let fullest = ranked.first().map_or(0, |(in_flight, ..)| *in_flight);
        let left_out = ranked.len().saturating_sub(REPORTED_MAX);
        let now_unix_ms = self.unix_ms(now);
        let sessions = ranked.iter().take(REPORTED_MAX).map(|(.., session)| session.report(now, now_unix_ms));
        let (parked, unread) = (self.parked(), &self.shared.unread);
        let (parked_max, parked_bytes_max) = parked.limits();
        Report {
            sessions: sessions.collect(),
            left_out,
            places: (used, self.config.sessions_max.get()),
            parked: (parked.len(), parked_max),
            parked_bytes: (parked.bytes(), parked_bytes_max),
            unread_bytes: unread.used(),
            streams: self.shared.readers.load(Ordering::Relaxed),
            in_flight,
            fullest: (fullest, self.config.in_flight_max.get()),
            principal_sessions: nearest(ranked.iter().filter_map(|(.., session)| session.principal_sessions())),
            principal_in_flight: nearest(ranked.iter().filter_map(|(.., session)| session.principal_in_flight())),
        }
    }
}

/// Of what is used of limits, that which is nearest to its own.
pub fn nearest(used: impl IntoIterator<Item = (usize, usize)>) -> Option<(usize, usize)> {
    used.into_iter().max_by(|(one, of_one), (other, of_other)| {
        // Two fractions, without dividing.
        let product = |used: usize, limit: usize| used as u128 * limit as u128;
        product(*one, *of_other).cmp(&product(*other, *of_one))
    })
}

impl Session {
    /// How many sessions its principal has, and how many it may have; none where there is no limit.
    fn principal_sessions(&self) -> Option<(usize, usize)> {
        let state = self.lock();
        state.sessions_max.map(|max| (state.streams.principal_sessions(), max.get()))
    }

    /// Likewise, of requests in flight.
    fn principal_in_flight(&self) -> Option<(usize, usize)> {
        self.lock().streams.principal_in_flight()
    }

    /// Its requests in flight, and for how long nothing was heard of its client.
    fn activity(&self, now: Instant) -> (usize, Duration) {
        let state = self.lock();
        let idle = if state.streams.is_busy() { Duration::ZERO } else { now.saturating_duration_since(state.touched) };
        (state.streams.pending(), idle)
    }

    fn report(&self, now: Instant, now_unix_ms: u64) -> SessionReport {
        let (in_flight, idle) = self.activity(now);
        let state = self.lock();
        let record = &state.record;
        let legacy = || record.revision.filter(|_| state.phase != Phase::New).map(crate::mcp::Revision::as_str);
        SessionReport {
            tag: self.id().tag(),
            principal: self.principal().clone(),
            transport: self.transport(),
            revision: if record.modern.is_some() { Some(MODERN_REVISION) } else { legacy() },
            client: record.initialize.is_some().then(|| record.client_name()),
            age: Duration::from_millis(now_unix_ms.saturating_sub(record.created_unix_ms)),
            idle,
            in_flight,
            child: state.lease.as_ref().map(crate::pool::Lease::number),
        }
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderMap;

    use super::*;
    use crate::jsonrpc::Message;
    use crate::session::testing;

    #[tokio::test(start_paused = true)]
    async fn a_session_is_reported_by_its_tag_with_its_client_and_never_by_its_id() {
        let testing::Shared { registry, pool, .. } = testing::registry(testing::config());
        let tenant = || pool.tenant(&crate::auth::Admission::anonymous(), &HeaderMap::new()).unwrap();
        let (owned, fresh) = (
            registry.open(Transport::Streamable, tenant()).unwrap(),
            registry.open(Transport::HttpSse, tenant()).unwrap(),
        );
        let text = r#"{"jsonrpc":"2.0","id":0,"method":"initialize","params":{"clientInfo":{"name":"<b>\u001b[2J","version":"7"}}}"#;
        owned.session().initialize(&Message::parse(text.into(), 10).unwrap()).unwrap();
        tokio::time::advance(Duration::from_secs(90)).await;
        let report = registry.report(Instant::now());
        assert_eq!((report.places, report.left_out, report.streams), ((2, 8), 0, 0));
        let find = |tag| report.sessions.iter().find(|session| session.tag == tag).expect("reported");
        let session = find(owned.session().id().tag());
        assert_eq!(session.client.as_deref(), Some("<b>[2J 7"));
        assert_eq!(
            (session.age, session.idle, session.in_flight),
            (Duration::from_secs(90), Duration::from_secs(90), 0)
        );
        let fresh = find(fresh.session().id().tag());
        assert_eq!((fresh.client.as_deref(), fresh.revision, fresh.child), (None, None, None));
        assert!(!format!("{report:?}").contains(&owned.session().id().expose()));
    }

    #[tokio::test(start_paused = true)]
    async fn the_session_and_the_principal_that_are_nearest_to_their_limits_are_reported() {
        let testing::Shared { registry, pool, .. } = testing::registry(testing::config());
        let empty = registry.report(Instant::now());
        assert_eq!((empty.fullest, empty.principal_sessions, empty.principal_in_flight), ((0, 300), None, None));
        let open = |name: &str, sessions_max: usize, in_flight_max: usize| {
            let mut caller = crate::auth::Admission::of(Principal::named(name));
            caller.allowance.sessions_max = std::num::NonZeroUsize::new(sessions_max);
            caller.allowance.in_flight_max = std::num::NonZeroUsize::new(in_flight_max);
            let tenant = pool.tenant(&caller, &HeaderMap::new()).unwrap();
            registry.open(Transport::Streamable, tenant).unwrap()
        };
        let (unlimited, busy, _full) = (open("ann", 0, 0), open("bob", 100, 2), open("eve", 2, 50));
        let hold = |session: &Session, requests: usize| {
            let mut state = session.lock();
            let room = state.streams.admit(super::super::Asked::Requests(requests)).unwrap();
            state.streams.open_post(crate::router::StreamId(1), room, super::super::PostForm::Streamable);
        };
        hold(unlimited.session(), 5);
        hold(busy.session(), 2);
        let report = registry.report(Instant::now());
        assert_eq!((report.fullest, report.in_flight), ((5, 300), 7));
        assert_eq!((report.principal_sessions, report.principal_in_flight), (Some((1, 2)), Some((2, 2))));
    }

    #[test]
    fn the_nearest_is_not_the_largest() {
        assert_eq!(nearest([(50, 100), (2, 3), (1, 2)]), Some((2, 3)));
        assert_eq!(nearest([(0, 5), (usize::MAX, usize::MAX)]), Some((usize::MAX, usize::MAX)));
        assert_eq!(nearest([]), None);
    }

    #[tokio::test(start_paused = true)]
    async fn of_very_many_sessions_those_are_reported_of_which_something_was_heard_last() {
        let many = std::num::NonZeroUsize::new(1000).expect("not zero");
        let testing::Shared { registry, pool, .. } =
            testing::registry(crate::config::SessionConfig { sessions_max: many, ..testing::config() });
        let mut kept = Vec::new();
        for _ in 0..250 {
            let tenant = pool.tenant(&crate::auth::Admission::anonymous(), &HeaderMap::new()).unwrap();
            kept.push(registry.open(Transport::Streamable, tenant).unwrap());
            tokio::time::advance(Duration::from_secs(1)).await;
        }
        let report = registry.report(Instant::now());
        assert_eq!((report.sessions.len(), report.left_out), (REPORTED_MAX, 50));
        let last = kept.last().map(|owned| owned.session().id().tag());
        assert_eq!(report.sessions.first().map(|session| session.tag), last);
        assert!(report.sessions.iter().all(|session| session.age <= Duration::from_secs(200)));
    }
}
