//! What honest clients notice while others attack: 50 of them call at a steady pace, first alone, then beside each attack.
//!
//!     cargo bench --bench end_to_end -- hostile
//!
//! The attackers are processes of their own on the same machine, so part of what is seen is the processor time that they
//! take, which a server cannot help; `nobody` before and after says how much the figures vary by themselves. Every answer
//! is checked. All of it goes to loopback, is bounded in number and in time, and ends by itself.

mod attack;
mod http2;

use std::io::{Error, Result};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::rc::Rc;
use std::time::Duration;

use clap::Args;
use tokio::task::{JoinSet, LocalSet};
use tokio::time::{Instant, MissedTickBehavior, interval_at, sleep, timeout};

pub(crate) use self::attack::{Attack, attack};
use crate::Era;
use crate::load::{Answers, Tally, Target, Transport, exchange, open_session};
use crate::report::Row;
use crate::request::Request;
use crate::subject::{CONNECTIONS_MAX, Server};
use crate::wire::Connection;

/// What is measured, and how long.
#[derive(Args)]
pub(crate) struct Options {
    /// Measured seconds of each part
    #[arg(long, default_value_t = 10.0)]
    seconds: f64,
    /// Only these attacks
    only: Vec<Attack>,
    /// The mcp-mux to measure [default: the one built with this]
    #[arg(long, env = "MCP_MUX_BIN")]
    mux: Option<PathBuf>,
}

/// Measures, and prints a table.
pub(crate) fn run(options: &Options) -> Result<()> {
    crate::standing::raise_open_files_limit()?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let program = options.mux.clone().unwrap_or_else(|| PathBuf::from(env!("CARGO_BIN_EXE_mcp-mux")));
    let time = Duration::from_secs_f64(options.seconds);
    println!("| beside | answered | failed | p50 | p99 | resident memory of mcp-mux |");
    println!("|---|---|---|---|---|---|");
    let attacks = Attack::ALL.into_iter().filter(|attack| options.only.is_empty() || options.only.contains(attack));
    let parts = [None].into_iter().chain(attacks.map(Some)).chain([None]);
    for part in parts {
        let connections_max = part.map_or(CONNECTIONS_MAX, Attack::connections_max);
        let server = Server::mux_with(&program, Era::Legacy, connections_max)?;
        let target = server.target(Transport::Streamable, Answers::Own);
        let attacker = part.map(|attack| Attacker::start(attack, &target, time)).transpose()?;
        let tally = LocalSet::new().block_on(&runtime, honest(&target, time, attacker.is_some()))?;
        let resident = server.process.id().resident()?;
        drop(attacker);
        server.process.stop()?;
        let row = Row::new("", &tally, time, None);
        println!(
            "| {} | {} | {} | {:.2} ms | {:.2} ms | {:.1} MiB |",
            part.map_or("nobody", Attack::name),
            tally.answered,
            tally.failed + tally.wrong,
            row.p50.as_secs_f64() * 1e3,
            row.p99.as_secs_f64() * 1e3,
            resident as f64 / f64::from(1 << 20),
        );
        if let Some(complaint) = tally.complaint {
            return Err(Error::other(format!("an honest client was not served: {complaint}")));
        }
    }
    Ok(())
}

/// An attacker in a process of its own; killed when dropped.
struct Attacker(Child);

impl Attacker {
    fn start(attack: Attack, target: &Target, time: Duration) -> Result<Self> {
        let mut command = Command::new(std::env::current_exe()?);
        // Longer than anybody is measured, and not much.
        let seconds = (time + SETTLE * 2).as_secs_f64().to_string();
        command.args(["attack", attack.argument(), &target.address.to_string(), &seconds]);
        Ok(Self(command.stdin(Stdio::null()).stdout(Stdio::null()).spawn()?))
    }
}

impl Drop for Attacker {
    fn drop(&mut self) {
        // Over by itself, or now.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Honest clients, each with one call in every [`PACE`].
async fn honest(target: &Target, time: Duration, attacked: bool) -> Result<Tally> {
    if attacked {
        // So that the clients come to a server that is under attack already.
        sleep(SETTLE).await;
    }
    let (target, start) = (Rc::new(target.clone()), Instant::now() + SETTLE);
    let mut clients = JoinSet::new();
    for number in 0..CLIENTS {
        let target = Rc::clone(&target);
        // Spread over the pace, so that they do not wait for each other.
        let first = start + PACE * number / CLIENTS;
        clients.spawn_local(async move {
            let mut tally = Tally::default();
            let opened = timeout(ANSWER_LIMIT, async {
                let mut connection = Connection::open(target.address).await?;
                let session = open_session(&target, &mut connection).await?;
                Ok::<_, Error>((connection, session))
            });
            let (mut connection, session) = match opened.await.unwrap_or_else(|late| Err(late.into())) {
                Ok(opened) => opened,
                Err(error) => {
                    tally.count(Err(error), ANSWER_LIMIT);
                    return tally;
                }
            };
            let mut request = Request::of_session(&target, session.as_deref(), number as usize, 100);
            let mut pace = interval_at(first, PACE);
            pace.set_missed_tick_behavior(MissedTickBehavior::Delay);
            while start.elapsed() < time {
                pace.tick().await;
                request.next();
                let sent = Instant::now();
                let answer = timeout(ANSWER_LIMIT, exchange(&mut connection, &request, target.answers)).await;
                tally.count(answer.unwrap_or_else(|late| Err(late.into())), sent.elapsed());
            }
            tally
        });
    }
    let mut all = Tally::default();
    while let Some(tally) = clients.join_next().await {
        all.add(tally.map_err(Error::other)?);
    }
    all.latencies.sort_unstable();
    Ok(all)
}

const CLIENTS: u32 = 50;
/// Of one client: together they ask for 500 answers a second.
const PACE: Duration = Duration::from_millis(100);
const SETTLE: Duration = Duration::from_secs(1);
const ANSWER_LIMIT: Duration = Duration::from_secs(10);
