//! Sessions that come and go: opened, used for one call, and ended.

use std::cell::RefCell;
use std::io::{Error, Result};
use std::rc::Rc;
use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout};

use super::{Bench, micros};
use crate::load::{Answers, Tally, Target, Transport, end_session, exchange, open_session};
use crate::report::{Goal, Report};
use crate::request::{Request, answer_length};
use crate::subject::Server;
use crate::wire::Connection;

pub(super) const NAME: &str = "churn";

const CLIENTS: usize = 50;
const TIME: Duration = Duration::from_secs(2);
const WARM_UP: Duration = Duration::from_millis(300);
const SIZE: usize = 100;
/// `initialize`, `notifications/initialized`, `tools/call`, DELETE.
const REQUESTS: usize = 4;

/// mcp-mux, and as many requests to a server that does nothing.
pub(super) fn run(bench: &Bench<'_>, report: &mut Report) -> Result<()> {
    let (mux, target) = bench.mux()?;
    let ceiling = Server::bare(SIZE)?;
    let bare = ceiling.target(Transport::Streamable, Answers::Fixed(answer_length(SIZE)));
    for (server, target, name, goal) in [
        (&ceiling, bare, format!("{NAME}, bare hyper: {REQUESTS} requests each"), Goal::None),
        (&mux, target, format!("{NAME}: sessions"), Goal::AtLeast(10_000.0)),
    ] {
        let (tally, time, cpu) = bench.block_on(Duration::from_secs(60), measure(server, target))?;
        let sessions = tally.answered as f64;
        report.figure(&name, sessions / time.as_secs_f64(), "/s", goal);
        report.figure(&format!("{name}, processor time each"), micros(cpu) / sessions.max(1.0), "us", Goal::None);
        report.faults(&name, &tally);
    }
    Ok(())
}

async fn measure(server: &Server, target: Target) -> Result<(Tally, Duration, Duration)> {
    let tally = Rc::new(RefCell::new(Tally::default()));
    let until = Instant::now() + WARM_UP + TIME;
    let mut clients = JoinSet::new();
    for client in 0..CLIENTS {
        let (target, tally) = (target.clone(), Rc::clone(&tally));
        clients.spawn_local(async move {
            let mut connection = Connection::open(target.address).await?;
            while Instant::now() < until {
                let from = Instant::now();
                let ending = timeout(Duration::from_secs(10), cycle(&target, &mut connection, client)).await;
                let ending = ending.unwrap_or_else(|_| Err(Error::other("no answer in 10 s")));
                if ending.is_err() {
                    connection = Connection::open(target.address).await?;
                }
                tally.borrow_mut().count(ending, from.elapsed());
            }
            Ok::<_, Error>(())
        });
    }
    sleep(WARM_UP).await;
    let mut before = tally.take();
    let (from, cpu) = (Instant::now(), server.cpu());
    sleep(TIME).await;
    let (time, cpu) = (from.elapsed(), server.cpu().saturating_sub(cpu));
    let mut measured = tally.take();
    while let Some(ended) = clients.join_next().await {
        ended.map_err(Error::other)??;
    }
    // What is wrong counts whenever it happened.
    for other in [&mut before, &mut *tally.borrow_mut()] {
        other.answered = 0;
        other.latencies.clear();
        measured.add(std::mem::take(other));
    }
    Ok((measured, time, cpu))
}

/// The life of one session.
async fn cycle(target: &Target, connection: &mut Connection, client: usize) -> Result<std::result::Result<(), String>> {
    if target.answers != Answers::Own {
        let mut request = Request::of_session(target, None, client, SIZE);
        for _ in 0..REQUESTS {
            request.next();
            if let Err(complaint) = exchange(connection, &request, target.answers).await? {
                return Ok(Err(complaint));
            }
        }
        return Ok(Ok(()));
    }
    let session = open_session(target, connection).await?;
    let session = session.ok_or_else(|| Error::other("initialize: no session"))?;
    let mut request = Request::of_session(target, Some(&session), client, SIZE);
    request.next();
    let verdict = exchange(connection, &request, target.answers).await?;
    end_session(target, connection, &session).await?;
    Ok(verdict)
}
