//! What it costs that mcp-mux and its sessions are there: its start, its memory, many sessions that stand idle, sessions
//! that come and go, clients that all come at once.
//!
//! Each measure runs on an mcp-mux of its own, and each answer is checked as those of the loads are.

mod churn;
mod idle;
mod start;
mod storm;

use std::io::Result;
use std::path::Path;
use std::time::Duration;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::runtime::Runtime;
use tokio::task::LocalSet;

use crate::load::{Answers, Target, Transport};
use crate::report::Report;
use crate::subject::Server;
use crate::{Era, Options};

/// What the measures have in common.
struct Bench<'a> {
    options: &'a Options,
    program: &'a Path,
    runtime: &'a Runtime,
}

/// The measures that begin with such a name.
type Measure = fn(&Bench<'_>, &mut Report) -> Result<()>;

const MEASURES: &[(&[&str], Measure)] = &[
    (&[start::START], start::time),
    (&[start::RESIDENT], start::memory),
    (&[idle::PLAIN], idle::plain),
    (&[idle::STREAMS, idle::LATENCY], idle::streams),
    (&[churn::NAME], churn::run),
    (&[storm::NAME], storm::run),
];

/// Measures all that is asked for. What cannot be measured is reported, and ends nothing else.
pub(crate) fn run(options: &Options, program: &Path, runtime: &Runtime, report: &mut Report) -> Result<()> {
    raise_open_files_limit()?;
    let bench = Bench { options, program, runtime };
    for (names, measure) in MEASURES.iter().filter(|(names, _)| names.iter().any(|name| options.wants(name))) {
        if let Err(error) = measure(&bench, report) {
            report.broken(names.first().unwrap_or(&""), &error);
        }
    }
    Ok(())
}

impl Bench<'_> {
    /// An mcp-mux in front of the child, and how to speak to it.
    fn mux(&self) -> Result<(Server, Target)> {
        let server = Server::mux(self.program, Era::Legacy)?;
        let target = server.target(Transport::Streamable, Answers::Own);
        Ok((server, target))
    }

    /// Runs a client, with as long as it may take.
    fn block_on<T>(&self, limit: Duration, client: impl Future<Output = Result<T>>) -> Result<T> {
        LocalSet::new().block_on(self.runtime, async { tokio::time::timeout(limit, client).await? })
    }
}

/// Every open stream is an open file here as well.
pub(crate) fn raise_open_files_limit() -> Result<()> {
    let Rlimit { maximum, .. } = getrlimit(Resource::Nofile);
    Ok(setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum })?)
}

/// So many files can be open.
fn open_files_limit() -> u64 {
    getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX)
}

/// The middle one.
fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or_default()
}

fn millis(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}

fn micros(time: Duration) -> f64 {
    time.as_secs_f64() * 1e6
}
