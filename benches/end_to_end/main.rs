//! What mcp-mux costs, end to end, against what nothing can be faster than, measured in one run on one machine.
//!
//!     cargo bench --bench end_to_end                    everything, some minutes; a table
//!     cargo bench --bench end_to_end -- --help          parts of it, longer, as JSON
//!
//! In turn, for each load: the child driven directly over its pipes (the ceiling of the pipe), a bare hyper server with
//! a fixed answer of the same size (the ceiling of HTTP), and mcp-mux in front of the child; for one request at a time also
//! hyper in front of the child with nothing between them. Load generator, proxy and
//! child share the machine's cores, so single figures say little; the ratios hold. Every answer is checked for its id and
//! its text. After the loads: what it costs that mcp-mux and its sessions are there (see `standing`). Processor time is
//! that of the server's process alone, from the scheduler's own accounts (Linux).

#![expect(clippy::print_stdout, clippy::print_stderr, reason = "it prints what it measured")]

mod bare;
mod cases;
mod child;
mod hostile;
mod load;
mod peers;
mod pipe;
mod process;
mod report;
mod request;
mod standing;
mod subject;
mod wire;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::{Args, Parser, Subcommand, ValueEnum};

#[derive(Parser)]
#[command(about = "Measures mcp-mux against the bare pipe and a bare HTTP server")]
struct Options {
    #[command(subcommand)]
    role: Option<Role>,
    /// Only the loads and measures whose name has one of these in it
    only: Vec<String>,
    #[command(flatten)]
    sampling: Sampling,
    /// Write the results as JSON to this file
    #[arg(long)]
    json: Option<PathBuf>,
    /// As cargo bench calls it
    #[arg(long, hide = true, global = true)]
    bench: bool,
}

/// What is measured, and how long.
#[derive(Args)]
pub(crate) struct Sampling {
    /// Measured seconds of each round
    #[arg(long, default_value_t = 1.0)]
    pub(crate) seconds: f64,
    /// Rounds, of which the median counts
    #[arg(long, default_value_t = 3)]
    pub(crate) rounds: usize,
    /// The mcp-mux to measure [default: the one built with this]
    #[arg(long, env = "MCP_MUX_BIN")]
    pub(crate) mux: Option<PathBuf>,
}

impl Sampling {
    pub(crate) fn time(&self) -> Duration {
        Duration::from_secs_f64(self.seconds)
    }
}

/// What else this program does, and what it is started as by itself.
#[derive(Subcommand)]
enum Role {
    /// Measures mcp-mux against other programs of its kind; see benches/peers.sh
    Peers(peers::Options),
    /// Measures what honest clients notice while others attack
    Hostile(hostile::Options),
    /// One of these others
    #[command(hide = true)]
    Attack { attack: hostile::Attack, address: SocketAddr, seconds: f64 },
    /// The child that everything is measured with
    #[command(hide = true)]
    Child { era: Era },
    /// The bare HTTP server, or without a size of answers the bare proxy
    #[command(hide = true)]
    Bare { body: Option<usize> },
}

/// Of the protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Era {
    Legacy,
    Modern,
}

fn main() -> ExitCode {
    let options = Options::parse();
    let ending = match &options.role {
        Some(Role::Peers(options)) => peers::run(options),
        Some(Role::Hostile(options)) => hostile::run(options),
        Some(Role::Attack { attack, address, seconds }) => hostile::attack(*attack, *address, *seconds),
        Some(Role::Child { era }) => child::serve(*era),
        Some(Role::Bare { body }) => bare::serve(*body),
        None => cases::run(&options),
    };
    match ending {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

impl Options {
    fn wants(&self, name: &str) -> bool {
        self.only.is_empty() || self.only.iter().any(|part| name.contains(part.as_str()))
    }
}
