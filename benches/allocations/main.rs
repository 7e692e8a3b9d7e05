//! How often mcp-mux allocates for a request, and how much: the whole program, from socket to child and back.
//!
//!     cargo bench --bench allocations
//!
//! A program of its own, because to count every allocation costs time, which would be missing in a measurement of time.
//! `allocations serve FLAGS` serves as mcp-mux does, and prints its counts so far for every line on its stdin.

#![expect(clippy::print_stdout, reason = "it prints what it measured")]

#[path = "../end_to_end/child.rs"]
mod child;
#[path = "../end_to_end/load.rs"]
#[expect(dead_code, reason = "the end-to-end benchmark needs more of it")]
mod load;
#[path = "../end_to_end/request.rs"]
#[expect(dead_code, reason = "the end-to-end benchmark needs more of it")]
mod request;
#[path = "../end_to_end/wire.rs"]
mod wire;

use std::error::Error;
use std::ffi::OsString;
use std::io::{self, BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::PoisonError;
use std::time::Duration;

use clap::{Parser, Subcommand, ValueEnum};
use mcp_mux::app::App;
use mcp_mux::child::guard::ChildGuard;
use mcp_mux::cli::Cli;
use mcp_mux::config::Config;
use mcp_mux::http::listener::Handed;
use stats_alloc::{INSTRUMENTED_SYSTEM, StatsAlloc};
use tokio::task::LocalSet;

use crate::load::{Answers, Clients, Load, Target, Transport};

#[global_allocator]
static ALLOCATOR: &StatsAlloc<std::alloc::System> = &INSTRUMENTED_SYSTEM;

#[derive(Parser)]
#[command(about = "Counts mcp-mux's allocations for each request")]
struct Options {
    #[command(subcommand)]
    role: Option<Role>,
    /// As cargo bench calls it
    #[arg(long, hide = true)]
    bench: bool,
}

#[derive(Subcommand)]
enum Role {
    /// Serves as mcp-mux with these flags does
    Serve {
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        flags: Vec<OsString>,
    },
    /// The child that everything is measured with
    #[command(hide = true)]
    Child { era: Era },
}

/// Of the protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Era {
    /// With the handshake.
    Legacy,
    /// 2026-07-28.
    Modern,
}

fn main() -> Result<(), Box<dyn Error>> {
    match Options::parse().role {
        Some(Role::Child { era }) => Ok(child::serve(era)?),
        Some(Role::Serve { flags }) => serve(flags),
        None => measure(),
    }
}

fn serve(flags: Vec<OsString>) -> Result<(), Box<dyn Error>> {
    let config = Config::load(Cli::read([OsString::from("mcp-mux")].into_iter().chain(flags), |_| None)?)?;
    tokio::runtime::Builder::new_multi_thread().enable_all().build()?.block_on(async {
        let app = App::start_with(config, Handed::none(), ChildGuard::absent()).await?;
        println!("{}", app.local_addr().ok_or("it listens on a port")?);
        let asked = tokio::task::spawn_blocking(|| {
            for line in io::stdin().lock().lines() {
                line?;
                let counts = ALLOCATOR.stats();
                println!("{} {}", counts.allocations + counts.reallocations, counts.bytes_allocated);
            }
            Ok::<_, io::Error>(())
        });
        asked.await??;
        app.shutdown().await;
        Ok(())
    })
}

/// The server under test, and the way to ask it.
struct Counted {
    _process: Child,
    stdin: ChildStdin,
    stdout: BufReader<ChildStdout>,
}

impl Counted {
    fn start(era: &str) -> io::Result<(Self, String)> {
        let own = std::env::current_exe()?;
        let mut command = Command::new(&own);
        command.args(["serve", "--port", "0", "--log-level", "error", "--"]).arg(&own).args(["child", era]);
        let mut process = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
        let broken = io::ErrorKind::BrokenPipe;
        let (stdin, stdout) = (process.stdin.take().ok_or(broken)?, process.stdout.take().ok_or(broken)?);
        let mut this = Self { _process: process, stdin, stdout: BufReader::new(stdout) };
        let address = this.line()?;
        Ok((this, address))
    }

    fn line(&mut self) -> io::Result<String> {
        let mut line = String::new();
        self.stdout.read_line(&mut line)?;
        Ok(line.trim().to_owned())
    }

    /// Its allocations so far, and their bytes.
    fn counts(&mut self) -> Option<[f64; 2]> {
        self.stdin.write_all(b"\n").ok()?;
        let line = self.line().ok()?;
        let (count, bytes) = line.split_once(' ')?;
        Some([count.parse().ok()?, bytes.parse().ok()?])
    }
}

fn measure() -> Result<(), Box<dyn Error>> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    println!("{:24} {:>8} {:>20} {:>14}", "transport", "text", "allocations/request", "bytes/request");
    for (name, transport, era, path) in [
        ("streamable", Transport::Streamable, "legacy", "/mcp"),
        ("streamable events", Transport::StreamableEvents, "legacy", "/mcp"),
        ("http+sse", Transport::Sse, "legacy", "/sse"),
        ("modern", Transport::Modern, "modern", "/mcp"),
        ("modern to legacy child", Transport::Modern, "legacy", "/mcp"),
        ("legacy to modern child", Transport::Streamable, "modern", "/mcp"),
    ] {
        let (counted, address) = Counted::start(era)?;
        let counted = std::sync::Mutex::new(counted);
        let target = Target { address: address.parse()?, path: path.to_owned(), transport, answers: Answers::Own };
        for size in [100, 10_000] {
            let time = Duration::from_millis(500);
            let load = Load { sessions: 50, in_flight: 1, size, time, warm_up: time };
            let (tally, [(_, before), (_, after)]) = LocalSet::new().block_on(&runtime, async {
                let counts = || counted.lock().unwrap_or_else(PoisonError::into_inner).counts();
                Clients::open(&target, &load).await?.run(&load, counts).await
            })?;
            if tally.wrong + tally.failed > 0 {
                return Err(tally.complaint.unwrap_or_default().into());
            }
            let (Some(before), Some(after)) = (before, after) else { return Err("the server does not count".into()) };
            let answered = f64::from(u32::try_from(tally.answered)?);
            let [count, bytes] = [0, 1].map(|which: usize| (after.get(which), before.get(which)));
            let each = |(after, before): (Option<&f64>, Option<&f64>)| Some((after? - before?) / answered);
            let (count, bytes) = (each(count).unwrap_or_default(), each(bytes).unwrap_or_default());
            println!("{name:24} {size:>8} {count:>20.1} {bytes:>14.0}");
        }
    }
    Ok(())
}
