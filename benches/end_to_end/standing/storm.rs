//! Clients that all connect at the same instant.

use std::io::{Error, Result};
use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::{Instant, timeout};

use super::{Bench, millis};
use crate::load::{Tally, Target, begin_session};
use crate::report::{Goal, Report};
use crate::wire::Connection;

pub(super) const NAME: &str = "connect storm";

pub(super) fn run(bench: &Bench<'_>, report: &mut Report) -> Result<()> {
    for clients in [600, 1_000] {
        let name = format!("{NAME}: the slowest of {clients} first answers");
        let mut worst = Tally::default();
        for _ in 0..bench.options.sampling.rounds.max(1) {
            let (server, target) = bench.mux()?;
            worst.add(bench.block_on(Duration::from_secs(60), storm(&target, clients))?);
            server.process.stop()?;
        }
        let slowest = worst.latencies.iter().max().copied().unwrap_or_default();
        report.figure(&name, millis(slowest), "ms", Goal::None);
        report.faults(&name, &worst);
    }
    Ok(())
}

async fn storm(target: &Target, clients: usize) -> Result<Tally> {
    let mut coming = JoinSet::new();
    let start = Instant::now();
    for _ in 0..clients {
        let target = target.clone();
        coming.spawn_local(async move {
            let come = async {
                let mut connection = Connection::open(target.address).await?;
                begin_session(&target, &mut connection).await?;
                Ok::<_, Error>(connection)
            };
            let come = timeout(Duration::from_secs(10), come).await;
            (come.unwrap_or_else(|_| Err(Error::other("no answer in 10 s"))), start.elapsed())
        });
    }
    // They stay until the last has come.
    let (mut tally, mut connections) = (Tally::default(), Vec::new());
    while let Some(come) = coming.join_next().await {
        let (come, time) = come.map_err(Error::other)?;
        let come = come.map(|connection| {
            connections.push(connection);
            Ok(())
        });
        tally.count(come, time);
    }
    Ok(tally)
}
