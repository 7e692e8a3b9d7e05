//! Finding out which eras the command speaks: once, at the start, while the first children start.
//!
//! Where everybody shares the children, the first of them finds it out with the process that is to serve. Elsewhere the
//! processes are clients' own, and one that is thrown away is asked. The children's handshakes wait for it, and so does who takes a lease: what a client is told depends on it. Where each
//! session has a child of its own, it is also found out whether a modern command speaks the legacy era; that keeps only
//! legacy sessions waiting.

use std::pin::Pin;
use std::sync::Arc;

use tracing::info;

use super::Pool;
use crate::child::probe::{Finding, Question, Verdict};
use crate::child::{CommandEras, Finder, Known};
use crate::config::Isolation;
use crate::mcp::Era;

/// Asks the command something.
pub(super) type Ask = Box<dyn Fn(Question) -> Pin<Box<dyn Future<Output = Finding> + Send>> + Send + Sync>;

impl Pool {
    /// Finds it out, unless the pool is stopped before.
    pub(super) async fn find_eras(self: Arc<Self>, ask: Ask) {
        // However this ends, nobody waits for it any more.
        let finder = Finder::new(self.eras.clone());
        tokio::select! {
            () = self.closing.cancelled() => {}
            () = self.ask_for_eras(&ask, &finder) => {}
        }
    }

    async fn ask_for_eras(&self, ask: &Ask, finder: &Finder) {
        let found = ask(Question::Discover).await;
        found.announce();
        let legacy = match found.verdict {
            Verdict::Not => return finder.learn(Known::All(CommandEras::only(Era::Legacy))),
            Verdict::SpeaksBoth => true,
            Verdict::Speaks if self.config.isolation == Isolation::Session => {
                finder.learn(Known::Modern);
                let Finding { verdict, how } = ask(Question::Initialize).await;
                let legacy = verdict != Verdict::Not;
                info!(legacy, how, "whether legacy sessions get a server process of their own era");
                legacy
            }
            // Nobody would use it.
            Verdict::Speaks => false,
        };
        finder.learn(Known::All(CommandEras { modern: true, legacy }));
    }
}
