//! mcp-mux against what else puts a stdio MCP server on the network: the same child, the same loads, in turn.
//!
//! Each run has a server of its own, so that what one load does to it spoils no other. A server that does not start,
//! refuses, crashes or hangs ends only its run; what happened stands in the table. Processor time and memory are those
//! of the server's whole process tree, without the children that are the MCP server itself. A client takes the first
//! message with its request's id for the answer, as real ones do; it is counted as right only with the text that the
//! request sent.

mod installed;
mod table;

use std::io::{Error, ErrorKind, Result};
use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use tokio::runtime::Runtime;
use tokio::task::LocalSet;
use tokio::time::{Instant, sleep, timeout};

use self::installed::{Peer, Running};
use self::table::{Idle, Machine};
use crate::Sampling;
use crate::load::{Clients, Load, Transport};
use crate::report::{Row, median};

/// How it is called.
#[derive(Args)]
pub(crate) struct Options {
    /// The folder into which benches/peers.sh installed them
    #[arg(long)]
    installed: PathBuf,
    #[command(flatten)]
    sampling: Sampling,
}

const TRANSPORTS: [Transport; 2] = [Transport::Streamable, Transport::Sse];
/// Sessions with one call in flight each, and the bytes of its text.
const LOADS: [(usize, usize); 4] = [(1, 100), (50, 100), (200, 100), (8, 100_000)];
const IDLE_SESSIONS: usize = 50;
/// Long enough for programs that are compiled while they run.
const WARM_UP: Duration = Duration::from_secs(2);
const START_LIMIT: Duration = Duration::from_secs(30);
const RUN_LIMIT: Duration = Duration::from_secs(120);

/// A measured row, or in words why there is none.
type Outcome = std::result::Result<Row, String>;

/// Measures all, and prints the tables as they come.
pub(crate) fn run(options: &Options) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let mux = Peer::mux(options.sampling.mux.clone());
    let others = Peer::others(&options.installed);
    let mut versions = vec![mux.versioned()?];
    for peer in &others {
        versions.push(peer.versioned()?);
    }
    Machine::read()?.print(&versions);
    for transport in TRANSPORTS {
        table::head_of_loads(transport);
        for (sessions, size) in LOADS {
            let time = options.sampling.time();
            let load = Load { sessions, in_flight: 1, size, time, warm_up: WARM_UP };
            let mut of_mux = Vec::new();
            let mut of_others: Vec<Vec<Outcome>> = others.iter().map(|_| Vec::new()).collect();
            for _ in 0..options.sampling.rounds.max(1) {
                for (peer, outcomes) in others.iter().zip(&mut of_others) {
                    of_mux.push(measure(&mux, transport, &load, &runtime)?);
                    outcomes.push(measure(peer, transport, &load, &runtime)?);
                }
            }
            let of_mux = summary(of_mux);
            table::load(&load, mux.name, &of_mux, None);
            for (peer, outcomes) in others.iter().zip(of_others) {
                table::load(&load, peer.name, &summary(outcomes), of_mux.as_ref().ok());
            }
        }
    }
    table::head_of_idle(IDLE_SESSIONS);
    for transport in TRANSPORTS {
        for peer in [&mux].into_iter().chain(&others) {
            let mut idle = Vec::new();
            for _ in 0..options.sampling.rounds.max(1) {
                idle.push(stand(peer, transport, &runtime)?);
            }
            table::idle(transport, peer.name, idle);
        }
    }
    Ok(())
}

/// The median of the rounds that came to an end; if none did, what happened.
fn summary(outcomes: Vec<Outcome>) -> Outcome {
    let mut words = String::new();
    let mut rows = Vec::new();
    for outcome in outcomes {
        match outcome {
            Ok(row) => rows.push(row),
            Err(happened) => words = happened,
        }
    }
    median(&rows).ok_or(words)
}

fn measure(peer: &Peer, transport: Transport, load: &Load, runtime: &Runtime) -> Result<Outcome> {
    with(peer, transport, runtime, async |server| {
        let clients = open(server, load).await?;
        let (tally, [(from, before), (to, after)]) = clients.run(load, || server.cpu()).await?;
        Ok(Row::new(peer.name, &tally, to - from, Some(after.saturating_sub(before))))
    })
}

/// The time to the first answer, and what the server takes with idle sessions.
fn stand(peer: &Peer, transport: Transport, runtime: &Runtime) -> Result<std::result::Result<Idle, String>> {
    let load = |sessions| Load { sessions, in_flight: 1, size: 100, time: Duration::ZERO, warm_up: Duration::ZERO };
    let start = with(peer, transport, runtime, async |server| {
        open(server, &load(1)).await?;
        Ok(server.started.elapsed())
    })?;
    let start = match start {
        Ok(start) => start,
        Err(happened) => return Ok(Err(happened)),
    };
    with(peer, transport, runtime, async |server| {
        let clients = open(server, &load(IDLE_SESSIONS)).await?;
        sleep(Duration::from_secs(1)).await;
        let (resident, children) = server.resident()?;
        drop(clients);
        Ok(Idle { start, resident, children })
    })
}

/// Starts a server for one run. What it does wrong is the run's outcome; an interrupt ends everything.
fn with<T>(
    peer: &Peer,
    transport: Transport,
    runtime: &Runtime,
    run: impl AsyncFnOnce(&Running) -> Result<T>,
) -> Result<std::result::Result<T, String>> {
    LocalSet::new().block_on(runtime, async {
        let mut server = peer.start(transport)?;
        let ending = tokio::select! {
            ending = timeout(RUN_LIMIT, run(&server)) => ending,
            interrupt = tokio::signal::ctrl_c() => {
                interrupt?;
                return Err(Error::new(ErrorKind::Interrupted, "interrupted"));
            }
        };
        Ok(match ending {
            Ok(Ok(measured)) => Ok(measured),
            Ok(Err(error)) => Err(server.explain(&error.to_string())),
            Err(_) => Err(server.explain("it took too long")),
        })
    })
}

/// Opens the clients as soon as somebody listens.
async fn open(server: &Running, load: &Load) -> Result<Clients> {
    let until = Instant::now() + START_LIMIT;
    loop {
        match Clients::open(&server.target, load).await {
            Err(error) if error.kind() == ErrorKind::ConnectionRefused && Instant::now() < until => {
                sleep(Duration::from_millis(5)).await;
            }
            ending => return ending,
        }
    }
}
