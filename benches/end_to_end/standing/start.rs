//! How long mcp-mux takes to be there, and how much memory it takes for nothing.

use std::io::Result;
use std::thread::sleep;
use std::time::Duration;

use tokio::time::Instant;

use super::{Bench, median, millis};
use crate::load::begin_session;
use crate::report::{Goal, Report};
use crate::wire::Connection;

pub(super) const START: &str = "start";
pub(super) const RESIDENT: &str = "resident memory, no session";

const STARTS: usize = 20;
const MIB: f64 = 1_048_576.0;

/// From starting the process to the first answered `initialize`.
pub(super) fn time(bench: &Bench<'_>, report: &mut Report) -> Result<()> {
    let mut times = Vec::new();
    for _ in 0..STARTS {
        let started = Instant::now();
        let (server, target) = bench.mux()?;
        bench.block_on(Duration::from_secs(10), async {
            begin_session(&target, &mut Connection::open(target.address).await?).await
        })?;
        times.push(millis(started.elapsed()));
        server.process.stop()?;
    }
    let slowest = times.iter().copied().fold(0.0, f64::max);
    report.figure(
        &format!("{START}: to the first answer, median of {STARTS}"),
        median(times),
        "ms",
        Goal::AtMost(15.0),
    );
    report.figure(&format!("{START}: to the first answer, slowest of {STARTS}"), slowest, "ms", Goal::None);
    Ok(())
}

/// Right after the start, and a second later; its guard process by itself.
pub(super) fn memory(bench: &Bench<'_>, report: &mut Report) -> Result<()> {
    let (server, _) = bench.mux()?;
    let mux = server.process.id();
    for when in ["after the start", "a second later"] {
        report.figure(&format!("{RESIDENT}, {when}"), mux.resident()? as f64 / MIB, "MiB", Goal::AtMost(12.0));
        sleep(Duration::from_secs(1));
    }
    for child in mux.children()? {
        // The guard is the same program, started again.
        if child.program()? == mux.program()? {
            let resident = child.resident()? as f64 / MIB;
            report.figure(&format!("{RESIDENT}, the guard process"), resident, "MiB", Goal::None);
        }
    }
    Ok(())
}
