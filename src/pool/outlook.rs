//! Whether the command works: what start-up waits for, and what ends the program.
//!
//! Each child has a task here that watches its state. A child that everybody depends on ends the program when it fails;
//! one that was started for a client does not, whatever that client did to it.

use tokio::sync::watch;

use crate::child::{ChildState, Proof};
use crate::error::StartupError;

/// What there is to say of the command.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Verdict {
    /// Nothing yet.
    Open,
    /// Clients can be served.
    Good,
    /// It cannot be used (any more); the text is for the operator.
    Failed(String),
    /// The task that owns a child is gone.
    Vanished,
}

/// Whether the command works.
#[derive(Debug)]
pub(super) struct Outlook {
    proof: Proof,
    verdict: watch::Sender<Verdict>,
}

/// What depends on a child.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Weight {
    /// The program.
    Everything,
    /// The program's start, as long as nothing else has shown that the command works.
    Start,
    /// Its own sessions.
    Sessions,
}

impl Outlook {
    pub(super) fn new() -> Self {
        Self { proof: Proof::default(), verdict: watch::Sender::new(Verdict::Open) }
    }

    /// What the children give when their handshake stands.
    pub(super) const fn proof(&self) -> &Proof {
        &self.proof
    }

    /// Whether clients can be served.
    pub(super) fn is_good(&self) -> bool {
        *self.verdict.borrow() == Verdict::Good
    }

    /// Nothing speaks against the command.
    pub(super) fn presume(&self) {
        self.verdict.send_if_modified(|verdict| {
            let news = *verdict == Verdict::Open;
            if news {
                *verdict = Verdict::Good;
            }
            news
        });
    }

    fn end(&self, weight: Weight, last: Verdict) {
        self.verdict.send_if_modified(|verdict| {
            let news = match verdict {
                Verdict::Open => weight != Weight::Sessions,
                Verdict::Good => weight == Weight::Everything,
                Verdict::Failed(_) | Verdict::Vanished => false,
            };
            if news {
                *verdict = last;
            }
            news
        });
    }

    /// Watches a child until nothing more can come of it. Returns why it failed, if it did.
    pub(super) async fn watch(&self, mut state: watch::Receiver<ChildState>, weight: Weight) -> Option<String> {
        let mut last = until(&mut state, |state| *state == ChildState::Ready || is_over(state)).await;
        if last == Some(ChildState::Ready) {
            self.proof.give();
            self.presume();
            last = until(&mut state, is_over).await;
        }
        match last {
            Some(ChildState::Failed(text)) => {
                self.end(weight, Verdict::Failed(text.clone()));
                Some(text)
            }
            Some(_) => None,
            None => {
                self.end(weight, Verdict::Vanished);
                None
            }
        }
    }

    /// Resolves when there is something to say of the command.
    pub(super) async fn first(&self) -> Result<(), StartupError> {
        let verdict = self.wait_for(|verdict| *verdict != Verdict::Open).await;
        verdict.into_loss().map_or(Ok(()), Err)
    }

    /// Resolves when the program cannot go on.
    pub(super) async fn lost(&self) -> StartupError {
        let verdict = self.wait_for(|verdict| matches!(verdict, Verdict::Failed(_) | Verdict::Vanished)).await;
        verdict.into_loss().unwrap_or(CHILD_TASK_LOST)
    }

    async fn wait_for(&self, wanted: impl FnMut(&Verdict) -> bool) -> Verdict {
        let mut verdict = self.verdict.subscribe();
        // The sender is a field of this very struct.
        verdict.wait_for(wanted).await.map_or(Verdict::Vanished, |verdict| verdict.clone())
    }
}

impl Verdict {
    fn into_loss(self) -> Option<StartupError> {
        match self {
            Self::Open | Self::Good => None,
            Self::Failed(text) => Some(StartupError::Child(text)),
            Self::Vanished => Some(CHILD_TASK_LOST),
        }
    }
}

fn is_over(state: &ChildState) -> bool {
    matches!(state, ChildState::Failed(_) | ChildState::Stopped)
}

/// Waits for such a state; none if nobody is left to bring it about.
async fn until(state: &mut watch::Receiver<ChildState>, wanted: impl FnMut(&ChildState) -> bool) -> Option<ChildState> {
    state.wait_for(wanted).await.ok().map(|state| state.clone())
}

const CHILD_TASK_LOST: StartupError = StartupError::Bug("the task that owns the server's process ended by itself");

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use tokio::time::timeout;

    use super::*;

    const HOUR: Duration = Duration::from_secs(3600);

    /// What is to be said after a child was in these states, one after the other, and its actor then vanished or not.
    async fn after(weight: Weight, states: &[ChildState], vanishes: bool) -> (Option<u8>, Option<u8>) {
        let outlook = Arc::new(Outlook::new());
        let (sender, state) = watch::channel(ChildState::Starting);
        let watching = outlook.watch(state, weight);
        let playing = async {
            for state in states {
                tokio::time::sleep(Duration::from_secs(1)).await;
                sender.send_replace(state.clone());
            }
            tokio::time::sleep(Duration::from_secs(1)).await;
            if vanishes {
                drop(sender);
            } else {
                std::future::pending::<()>().await;
            }
        };
        let _ = timeout(HOUR, async { tokio::join!(watching, playing) }).await;
        let code = |error: StartupError| error.exit_code();
        let first = timeout(HOUR, outlook.first()).await.ok().map(|first| first.err().map_or(0, code));
        (first, timeout(HOUR, outlook.lost()).await.ok().map(code))
    }

    #[tokio::test(start_paused = true)]
    async fn only_a_failed_or_vanished_child_that_everything_depends_on_ends_the_program() {
        let text = || "exit status: 1".to_owned();
        let (restarting, failed) = (ChildState::Restarting(text()), ChildState::Failed(text()));
        let all = Weight::Everything;
        assert_eq!(after(all, &[], false).await, (None, None));
        assert_eq!(after(all, std::slice::from_ref(&restarting), false).await, (None, None));
        assert_eq!(after(all, &[ChildState::Ready, restarting], false).await, (Some(0), None));
        assert_eq!(after(all, std::slice::from_ref(&failed), false).await, (Some(69), Some(69)));
        assert_eq!(after(all, &[ChildState::Ready, failed.clone()], false).await, (Some(69), Some(69)));
        assert_eq!(after(all, &[], true).await, (Some(70), Some(70)));
        assert_eq!(after(all, &[ChildState::Ready, ChildState::Stopped], true).await, (Some(0), None));

        let start = Weight::Start;
        assert_eq!(after(start, std::slice::from_ref(&failed), false).await, (Some(69), Some(69)));
        assert_eq!(after(start, &[], true).await, (Some(70), Some(70)));
        assert_eq!(after(start, &[ChildState::Ready, failed.clone()], true).await, (Some(0), None));

        let one = Weight::Sessions;
        assert_eq!(after(one, std::slice::from_ref(&failed), false).await, (None, None));
        assert_eq!(after(one, &[ChildState::Ready, failed], true).await, (Some(0), None));
        assert_eq!(after(one, &[], true).await, (None, None));
    }
}
