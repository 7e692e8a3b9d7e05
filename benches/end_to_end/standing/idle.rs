//! Sessions that are there and do nothing: what each takes, and what they cost those that do something.

use std::collections::VecDeque;
use std::io::{Error, Result};
use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, sleep_until, timeout};

use super::{Bench, median, micros, open_files_limit};
use crate::load::{Tally, Target, end_session, exchange, open_session};
use crate::process::Id;
use crate::report::{Goal, Report};
use crate::request::Request;
use crate::wire::{Connection, Events};

pub(super) const PLAIN: &str = "memory per idle session";
pub(super) const STREAMS: &str = "memory per idle session with an open GET stream";
pub(super) const LATENCY: &str = "latency with 10,000 sessions";

const SOME: usize = 2_000;
const MANY: usize = 10_000;
/// What the latency with many is compared with.
const FEW: usize = 10;
/// Calls a second, of all sessions together.
const RATE: u32 = 1_000;
/// A session is named by a header, so that a few connections do for the calls of all.
const CONNECTIONS: u32 = 5;
const SIZE: usize = 100;
const KIB: f64 = 1024.0;
const GOAL: Goal = Goal::AtMost(24.0);
const LIMIT: Duration = Duration::from_secs(120);

/// Sessions without a stream.
pub(super) fn plain(bench: &Bench<'_>, report: &mut Report) -> Result<()> {
    let (server, target) = bench.mux()?;
    let (each, tally) = bench.block_on(LIMIT, async {
        let mut sessions = Sessions::new(target);
        let before = sessions.settled(server.process.id()).await?;
        for _ in 0..SOME {
            sessions.open(Stream::None).await?;
        }
        let each = (resident(server.process.id()).await? - before) / SOME as f64;
        Ok((each, sessions.call_all().await?))
    })?;
    report.figure(&format!("{PLAIN}, of {SOME}"), each / KIB, "KiB", GOAL);
    report.faults(PLAIN, &tally);
    Ok(())
}

/// Sessions with a stream each, and the latency of calls while they are there.
pub(super) fn streams(bench: &Bench<'_>, report: &mut Report) -> Result<()> {
    let limit = open_files_limit();
    if limit < MANY as u64 + 200 {
        report.skipped(STREAMS, &format!("no more than {limit} files can be open (ulimit -Hn)"));
        return Ok(());
    }
    let (server, target) = bench.mux()?;
    let (other_server, other_target) = bench.mux()?;
    bench.block_on(LIMIT, async {
        let mut many = Sessions::new(target);
        let before = many.settled(server.process.id()).await?;
        for count in [SOME, MANY] {
            while many.calls.len() < count {
                many.open(Stream::Standing).await?;
            }
            let each = (resident(server.process.id()).await? - before) / count as f64;
            report.figure(&format!("{STREAMS}, of {count}"), each / KIB, "KiB", GOAL);
        }
        report.faults(&format!("{STREAMS}, a call in each"), &many.call_all().await?);
        if bench.options.wants(LATENCY) {
            let mut few = Sessions::new(other_target);
            for _ in 0..FEW {
                few.open(Stream::Standing).await?;
            }
            latency(bench, &mut few, &mut many, report).await?;
        }
        let ended = many.ended_streams().await;
        report.faults(&format!("{STREAMS}, ended"), &Tally { failed: ended, ..Tally::default() });
        Ok(())
    })?;
    drop(other_server);
    Ok(())
}

/// The same rate of calls in few sessions and in many, in turn.
async fn latency(bench: &Bench<'_>, few: &mut Sessions, many: &mut Sessions, report: &mut Report) -> Result<()> {
    let mut medians: [Vec<f64>; 2] = Default::default();
    for _ in 0..bench.options.sampling.rounds.max(1) {
        for (sessions, medians) in [&mut *few, &mut *many].into_iter().zip(&mut medians) {
            let name = format!("{LATENCY}: calls in {}", sessions.calls.len());
            let mut tally = sessions.call_at(RATE, bench.options.sampling.time()).await?;
            tally.latencies.sort_unstable();
            let p50 = tally.latencies.get(tally.latencies.len() / 2).copied();
            medians.push(micros(p50.ok_or_else(|| Error::other("no call was answered"))?));
            report.faults(&name, &tally);
        }
    }
    let [with_few, with_many] = medians.map(median);
    report.figure(&format!("{LATENCY}: p50 of {RATE} calls/s in {FEW}"), with_few, "us", Goal::None);
    report.figure(&format!("{LATENCY}: p50 of {RATE} calls/s in {MANY}"), with_many, "us", Goal::None);
    report.figure(&format!("{LATENCY}: ratio"), with_many / with_few, "", Goal::AtMost(1.5));
    Ok(())
}

/// Whether a session has one.
#[derive(Clone, Copy)]
enum Stream {
    None,
    Standing,
}

/// Open sessions of one server.
struct Sessions {
    target: Target,
    /// The calls of each, whose turn is next first.
    calls: VecDeque<Request>,
    streams: Vec<(Connection, Events)>,
}

impl Sessions {
    const fn new(target: Target) -> Self {
        Self { target, calls: VecDeque::new(), streams: Vec::new() }
    }

    /// The memory of a server that has had sessions, so that what it takes once is not counted as theirs.
    async fn settled(&self, server: Id) -> Result<f64> {
        let mut connection = Connection::open(self.target.address).await?;
        for _ in 0..100 {
            let session = open_session(&self.target, &mut connection).await?.unwrap_or_default();
            end_session(&self.target, &mut connection, &session).await?;
        }
        resident(server).await
    }

    /// Opens one, over a connection that is closed again.
    async fn open(&mut self, stream: Stream) -> Result<()> {
        let mut connection = Connection::open(self.target.address).await?;
        let session = open_session(&self.target, &mut connection).await?;
        let session = session.ok_or_else(|| Error::other("initialize: no session"))?;
        drop(connection);
        let number = self.calls.len();
        self.calls.push_back(Request::of_session(&self.target, Some(&session), number, SIZE));
        match stream {
            Stream::None => {}
            Stream::Standing => self.streams.push(open_standing(&self.target, &session).await?),
        }
        Ok(())
    }

    /// A call in each session, one after the other.
    async fn call_all(&mut self) -> Result<Tally> {
        let mut tally = Tally::default();
        let mut connection = Connection::open(self.target.address).await?;
        for request in &mut self.calls {
            call(&self.target, &mut connection, request, None, &mut tally).await?;
        }
        Ok(tally)
    }

    /// So many calls a second, whose turn it is by the clock and not by the answers.
    async fn call_at(&mut self, rate: u32, time: Duration) -> Result<Tally> {
        let mut hands: VecDeque<VecDeque<Request>> = (0..CONNECTIONS).map(|_| VecDeque::new()).collect();
        for request in self.calls.drain(..) {
            if let Some(hand) = hands.front_mut() {
                hand.push_back(request);
            }
            hands.rotate_left(1);
        }
        let start = Instant::now();
        let turn = Duration::from_secs(1) / rate;
        let mut callers = JoinSet::new();
        for (number, mut hand) in (0..).zip(hands) {
            let target = self.target.clone();
            callers.spawn_local(async move {
                let mut connection = Connection::open(target.address).await?;
                let (mut tally, mut due) = (Tally::default(), start + turn * number);
                while due < start + time {
                    sleep_until(due).await;
                    let Some(mut request) = hand.pop_front() else { break };
                    call(&target, &mut connection, &mut request, Some(due), &mut tally).await?;
                    hand.push_back(request);
                    due += turn * CONNECTIONS;
                }
                Ok::<_, Error>((tally, hand))
            });
        }
        let mut tally = Tally::default();
        while let Some(ended) = callers.join_next().await {
            let (of_one, hand) = ended.map_err(Error::other)??;
            tally.add(of_one);
            self.calls.extend(hand);
        }
        Ok(tally)
    }

    /// How many streams the server has ended.
    async fn ended_streams(&mut self) -> u64 {
        let mut ended = 0;
        for (connection, events) in &mut self.streams {
            // What is there already; where nothing is, the stream stands.
            while let Ok(event) = timeout(Duration::ZERO, events.next(connection)).await {
                if !matches!(event, Ok(Some(_))) {
                    ended += 1;
                    break;
                }
            }
        }
        ended
    }
}

/// One call. If it was due when the one before it was not answered yet, its latency counts from then: who asks does not
/// wait for others. That the timer of this program wakes it up late is not the server's, however.
async fn call(
    target: &Target,
    connection: &mut Connection,
    request: &mut Request,
    due: Option<Instant>,
    tally: &mut Tally,
) -> Result<()> {
    let now = Instant::now();
    let sent = due.filter(|&due| now - due > LATE).unwrap_or(now);
    request.next();
    let answer = timeout(Duration::from_secs(10), exchange(connection, request, target.answers)).await;
    let answer = answer.unwrap_or_else(|_| Err(Error::other("no answer in 10 s")));
    let failed = answer.is_err();
    tally.count(answer, sent.elapsed());
    if failed {
        *connection = Connection::open(target.address).await?;
    }
    Ok(())
}

/// More than a timer is late.
const LATE: Duration = Duration::from_millis(2);

/// Opens the standing stream of a session.
async fn open_standing(target: &Target, session: &str) -> Result<(Connection, Events)> {
    let mut connection = Connection::open(target.address).await?;
    let Target { address, path, .. } = target;
    let request = format!(
        "GET {path} HTTP/1.1\r\nHost: {address}\r\nAccept: text/event-stream\r\nMcp-Session-Id: {session}\r\n\
         MCP-Protocol-Version: 2025-11-25\r\n\r\n"
    );
    connection.send(request.as_bytes()).await?;
    let head = connection.head().await?;
    match head.status {
        200 => Ok((connection, Events::of(&head))),
        status => Err(Error::other(format!("GET: status {status}"))),
    }
}

/// The memory of a server that has come to rest.
async fn resident(server: Id) -> Result<f64> {
    sleep(Duration::from_millis(500)).await;
    Ok(server.resident()? as f64)
}
