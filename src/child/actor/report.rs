//! What the actor says of itself: see [`Report`].

use super::ChildActor;
use super::tenure::Tenure;
use crate::child::process::Launch;
use crate::child::{ProcessReport, Report};

impl<L: Launch> ChildActor<L> {
    pub(super) fn report(&self) -> Report {
        let process = self.current.running().map(|running| ProcessReport {
            pid: running.pid,
            started: running.launched,
            stderr: running.tail.lines(),
        });
        let retiring = self.retiring.iter().map(|retiring| &retiring.tenure);
        let oldest =
            [&self.current].into_iter().chain(retiring.clone()).filter_map(|tenure| tenure.router.oldest()).min();
        let others = self.successor.iter().chain(retiring.clone());
        Report {
            process,
            others: others.filter_map(Tenure::running).map(|running| running.pid).collect(),
            revision: self.current.router.revision(),
            restarts: self.past.restarts(),
            last_exit: self.past.last_exit(),
            failure: self.past.failure(),
            router: retiring.fold(self.current.router.stats(), |sum, tenure| sum.and(tenure.router.stats())),
            waiting_bytes: self.backlog.occupancy(),
            oldest,
        }
    }
}
