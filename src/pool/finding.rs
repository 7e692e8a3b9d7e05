//! Finding out which eras the command speaks: once, at the start, while the first children start.
//!
//! The first child of all, or the one on trial, finds out whether it is modern, with its own process. Where each session has
//! a child of its own, it is also found out whether a modern command speaks the legacy era, with a process that is thrown
//! away, since the question may fix its era. The other children's handshakes wait for what they need of that, and so does
//! who takes a lease: what a client is told depends on it.

use std::pin::Pin;
use std::sync::Arc;

use tracing::info;

use super::Pool;
use crate::child::probe::{Finding, Verdict};
use crate::child::{CommandEras, EraSource, Eras, Known};
use crate::config::Isolation;
use crate::mcp::Era;
use crate::router::Sharing;

/// Asks the command whether it is legacy.
pub(super) type Ask = Box<dyn Fn() -> Pin<Box<dyn Future<Output = Finding> + Send>> + Send + Sync>;

impl Pool {
    /// How the child is spoken to that finds out, if that is still to be done, whether the command is modern.
    pub(super) fn asking_manner(&self) -> (Sharing, EraSource) {
        (Sharing::Shared, EraSource::asking(self.eras.clone(), Era::Modern))
    }

    /// Finds the rest out, unless the pool is stopped before.
    pub(super) async fn find_eras(self: Arc<Self>, ask: Ask) {
        // However this ends, nobody waits for it any more.
        let _settled = Settled(self.eras.clone());
        tokio::select! {
            () = self.closing.cancelled() => {}
            () = self.ask_for_legacy(&ask) => {}
        }
    }

    async fn ask_for_legacy(&self, ask: &Ask) {
        // Elsewhere nobody would use it.
        if self.eras.anything().await == Known::Modern && self.config.isolation == Isolation::Session {
            let Finding { verdict, how } = ask().await;
            let legacy = verdict != Verdict::Not;
            info!(legacy, how, "whether legacy sessions get a server process of their own era");
            self.eras.learn(Known::All(CommandEras { modern: true, legacy }));
        }
    }
}

/// When this is dropped, what is known is all that there will be.
struct Settled(Eras);

impl Drop for Settled {
    fn drop(&mut self) {
        let era = match self.0.known() {
            Known::Nothing => Era::Legacy,
            Known::Modern | Known::All(_) => Era::Modern,
        };
        self.0.learn(Known::All(CommandEras::only(era)));
    }
}
