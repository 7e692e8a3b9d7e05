//! What the status page shows, as it is sent: names, states and numbers, every list with a bound. Texts that others have written (a
//! client's name, a line of stderr) are without control characters; whoever shows them has to escape them all the same.

use std::collections::BTreeMap;

use serde::Serialize;
use tokio::time::Instant;

use super::history::{Sample, Totals};
use super::limit::{self, Limit};
use super::program::Program;
use crate::child;
use crate::child::memory::Memory;
use crate::config::Isolation;
use crate::mcp::Era;
use crate::pool::{self, ReportedTenancy};
use crate::session::{self, Transport};

/// Everything.
#[derive(Clone, Debug, Serialize)]
pub struct Snapshot {
    /// mcp-mux itself.
    pub program: Program,
    /// The servers, by name.
    pub servers: Vec<Server>,
    /// Limits of the whole program, and how near they are.
    pub limits: Vec<Limit>,
    /// How often each limit was hit since the start, those that were.
    pub hits: BTreeMap<&'static str, u64>,
}

/// A server.
#[derive(Clone, Debug, Serialize)]
pub struct Server {
    /// Its name.
    pub name: String,
    /// How it is doing, in a word.
    pub state: &'static str,
    /// Why it is not served, or did not work when it was tried last.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub why: Option<String>,
    /// Who shares a child; none while it is not started.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub isolation: Option<&'static str>,
    /// How many of its children are ready, and how many there are.
    pub ready: usize,
    /// See above.
    pub total: usize,
    /// How many wait for a child.
    pub waiting: usize,
    /// Sessions and exchanges.
    pub sessions_total: usize,
    /// Streams that are being read.
    pub streams: usize,
    /// Requests in flight.
    pub in_flight: usize,
    /// Bytes that wait for its children's stdin.
    pub waiting_bytes: u64,
    /// How often a process was started in the place of one that failed, also for sessions that are over.
    pub restarts: u64,
    /// The last exit that nobody asked for, also of a child that is gone.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_exit: Option<Exit>,
    /// What has been counted of its requests; none before the first sample.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub requests: Option<Requests>,
    /// Its children.
    pub children: Vec<Child>,
    /// How many more there are.
    pub children_left_out: usize,
    /// Its sessions.
    pub sessions: Vec<Session>,
    /// How many more there are.
    pub sessions_left_out: usize,
    /// Its limits, and how near they are.
    pub limits: Vec<Limit>,
}

/// Requests.
#[derive(Clone, Debug, Serialize)]
pub struct Requests {
    /// How many came to an end since the start.
    pub total: u64,
    /// Those of them that failed.
    pub errors: u64,
    /// How many had each outcome that any had.
    pub outcomes: BTreeMap<&'static str, u64>,
    /// The same in the samples that are kept.
    pub lately: BTreeMap<&'static str, u64>,
}

/// A child.
#[derive(Clone, Debug, Serialize)]
pub struct Child {
    /// Its number, as in the log.
    pub number: u64,
    /// Whose it is, in a word.
    pub whose: &'static str,
    /// Which principal's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub principal: Option<String>,
    /// How it is doing, in a word.
    pub state: &'static str,
    /// Why it is not doing well.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub why: Option<String>,
    /// The era it is spoken to in.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub era: Option<&'static str>,
    /// The revision.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub revision: Option<&'static str>,
    /// Its pid.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pid: Option<u32>,
    /// How long its process has run.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub age_seconds: Option<u64>,
    /// The memory of its process group, where the system says it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub memory_bytes: Option<u64>,
    /// How often its process was started again.
    pub restarts: u64,
    /// Requests in flight.
    pub in_flight: usize,
    /// For how long the oldest of them has been, subscriptions aside.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub oldest_seconds: Option<u64>,
    /// Of these and of notifications, those that it was not given yet.
    pub queued: usize,
    /// Bytes that wait for its stdin.
    pub waiting_bytes: usize,
    /// How many have a lease on it.
    pub leases: usize,
    /// The last lines of its stderr, oldest first.
    pub stderr: Vec<String>,
    /// The last exit that nobody asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_exit: Option<Exit>,
}

/// An exit of a child's process.
#[derive(Clone, Debug, Serialize)]
pub struct Exit {
    /// Its pid.
    pub pid: u32,
    /// How long ago.
    pub ago_seconds: u64,
    /// How, in words.
    pub status: String,
    /// The last lines of its stderr, oldest first.
    pub stderr: Vec<String>,
}

/// A session, or an exchange without one.
#[derive(Clone, Debug, Serialize)]
pub struct Session {
    /// What stands for it, as in the log.
    pub tag: String,
    /// Whose it is.
    pub principal: String,
    /// How its client is connected.
    pub transport: &'static str,
    /// The revision agreed on.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub revision: Option<&'static str>,
    /// What its client calls itself.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub client: Option<String>,
    /// How old it is.
    pub age_seconds: u64,
    /// For how long nothing was heard of its client.
    pub idle_seconds: u64,
    /// Requests in flight.
    pub in_flight: usize,
    /// The number of its child.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub child: Option<u64>,
}

/// The history, as far as it is new to who asks.
#[derive(Clone, Debug, Serialize)]
pub struct Recent {
    /// Whose: a server's name; none: of all together.
    pub server: Option<String>,
    /// The time between two samples.
    pub period_seconds: u64,
    /// The most samples that are kept.
    pub samples_max: usize,
    /// The number of the first sample; the next ones follow.
    pub first: u64,
    /// The samples.
    pub samples: Vec<Sample>,
}

impl Requests {
    /// Of these counts.
    pub fn new(totals: &Totals, lately: BTreeMap<&'static str, u64>) -> Self {
        let outcomes = totals.outcomes.iter().filter(|(_, count)| **count > 0);
        let outcomes = outcomes.map(|(outcome, count)| (*outcome, *count)).collect();
        Self { total: totals.requests(), errors: totals.errors(), outcomes, lately }
    }
}

impl Server {
    /// One that is not started, or not served at all.
    pub const fn without_parts(name: String, state: &'static str, why: Option<String>) -> Self {
        Self {
            name,
            state,
            why,
            isolation: None,
            ready: 0,
            total: 0,
            waiting: 0,
            sessions_total: 0,
            streams: 0,
            in_flight: 0,
            waiting_bytes: 0,
            restarts: 0,
            last_exit: None,
            requests: None,
            children: Vec::new(),
            children_left_out: 0,
            sessions: Vec::new(),
            sessions_left_out: 0,
            limits: Vec::new(),
        }
    }

    /// Takes in what its parts say of themselves.
    #[must_use]
    pub fn with_parts(self, pool: pool::Report, sessions: session::Report, memory: &Memory, now: Instant) -> Self {
        let limits = limit::of_server(&pool, &sessions);
        let pool::Report { isolation, health, places: _, waiting, tasks: _, last_exit, children, left_out } = pool;
        Self {
            isolation: Some(match isolation {
                Isolation::Shared => "shared",
                Isolation::Principal => "principal",
                Isolation::Session => "session",
            }),
            ready: health.ready,
            total: health.total,
            waiting,
            sessions_total: sessions.places.0,
            streams: sessions.streams,
            in_flight: sessions.in_flight,
            last_exit: last_exit.map(|exit| Exit::new(exit, now)),
            children: children.into_iter().map(|one| Child::new(one, memory, now)).collect(),
            children_left_out: left_out,
            sessions: sessions.sessions.into_iter().map(Session::from).collect(),
            sessions_left_out: sessions.left_out,
            limits,
            ..self
        }
    }
}

impl Child {
    fn new(report: pool::ChildReport, memory: &Memory, now: Instant) -> Self {
        let pool::ChildReport { number, tenancy, standing, why, era, leases, details } = report;
        let principal = match &tenancy {
            ReportedTenancy::Principal(principal) => Some(principal.to_string()),
            ReportedTenancy::Everybody | ReportedTenancy::Session | ReportedTenancy::Spare | ReportedTenancy::Trial => {
                None
            }
        };
        let whose = match tenancy {
            ReportedTenancy::Everybody => "everybody",
            ReportedTenancy::Principal(_) => "principal",
            ReportedTenancy::Session => "session",
            ReportedTenancy::Spare => "spare",
            ReportedTenancy::Trial => "trial",
        };
        let state = standing.map_or("stopping", pool::Standing::as_str);
        let era = era.map(|era| match era {
            Era::Legacy => "legacy",
            Era::Modern => "modern",
        });
        let child = Self {
            number,
            whose,
            principal,
            state,
            why,
            era,
            revision: None,
            pid: None,
            age_seconds: None,
            memory_bytes: None,
            restarts: 0,
            in_flight: 0,
            oldest_seconds: None,
            queued: 0,
            waiting_bytes: 0,
            leases,
            stderr: Vec::new(),
            last_exit: None,
        };
        match details {
            Some(details) => child.with_details(details, memory, now),
            None => child,
        }
    }

    fn with_details(self, details: child::Report, memory: &Memory, now: Instant) -> Self {
        let child::Report { process, others, revision, restarts, last_exit, failure: _, router, waiting_bytes, oldest } =
            details;
        let pids = process.iter().map(|process| process.pid).chain(others);
        let memory_bytes = pids.filter_map(|pid| memory.by_group.get(&pid)).copied().reduce(u64::saturating_add);
        let since = |at: Instant| now.saturating_duration_since(at).as_secs();
        Self {
            revision,
            pid: process.as_ref().map(|process| process.pid),
            age_seconds: process.as_ref().map(|process| since(process.started)),
            memory_bytes,
            restarts,
            in_flight: router.in_flight,
            oldest_seconds: oldest.map(since),
            queued: router.queued,
            waiting_bytes: waiting_bytes.0,
            stderr: process.map(|process| process.stderr).unwrap_or_default(),
            last_exit: last_exit.map(|exit| Exit::new(exit, now)),
            ..self
        }
    }
}

impl Exit {
    fn new(child::ExitReport { pid, at, status, stderr }: child::ExitReport, now: Instant) -> Self {
        Self { pid, ago_seconds: now.saturating_duration_since(at).as_secs(), status, stderr }
    }
}

impl From<session::SessionReport> for Session {
    fn from(report: session::SessionReport) -> Self {
        let session::SessionReport { tag, principal, transport, revision, client, age, idle, in_flight, child } =
            report;
        Self {
            tag: tag.to_string(),
            principal: principal.to_string(),
            transport: match transport {
                Transport::Streamable => "streamable-http",
                Transport::HttpSse => "http-sse",
                Transport::Stateless => "stateless",
                Transport::Modern => "modern",
            },
            revision,
            client,
            age_seconds: age.as_secs(),
            idle_seconds: idle.as_secs(),
            in_flight,
            child,
        }
    }
}
