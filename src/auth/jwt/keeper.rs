//! The life of an issuer's keys: had once, renewed in time, renewed before that when a token names one that is not known.
//!
//! One task has them loaded, one load at a time; everybody else reads the last that was had and may wait for the next. So a
//! request whose key is known never waits, however many others name keys that do not exist; one whose key is new waits for the
//! load that all of them share, and is not refused for their sake. What a load is, is not known here.
//!
//! Invariants: between the end of a load and the start of the next that tokens ask for there are at least [`REST`]; at most
//! [`WAITING_MAX`] wait, and none for longer than [`WAIT_MAX`]; keys that cannot be renewed go on being used; an end of the
//! task is an answer to all who wait.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::sync::{Notify, Semaphore, watch};
use tokio::time::{Instant, sleep_until, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::{info, warn};

use super::keys::KeySet;
use crate::metrics::{Limit, limit_hit};

/// Where keys are loaded from.
pub(super) trait Source: Send + Sync + 'static {
    /// Whether it may have other keys at another time, without anybody saying so.
    const CHANGES: bool;
    /// Why there are none.
    type Error: std::error::Error + Send + 'static;

    /// Loads them. May be dropped at any time.
    fn load(&self) -> impl Future<Output = Result<Loaded, Self::Error>> + Send;
}

/// What was loaded.
#[derive(Debug)]
pub(super) struct Loaded {
    pub(super) keys: KeySet,
    /// For how long they are good, if that was said.
    pub(super) age_max: Option<Duration>,
}

/// What is known of the keys.
#[derive(Clone, Debug, Default)]
pub(super) struct Known {
    /// The last that were had; none: there never were any.
    pub(super) keys: Option<Arc<KeySet>>,
    /// Counts how often there were others.
    pub(super) generation: u64,
    /// Counts the loads that ended, in whatever way.
    loads: u64,
    /// Whether the last load failed, so that there may be keys that are not known.
    pub(super) failed: bool,
    loading: bool,
    ended: Option<Instant>,
}

/// What came of waiting for the next load.
#[derive(Debug)]
pub(super) enum Renewal {
    /// It has ended, and this is known since.
    Ended(Known),
    /// Nothing would come of it, or the last one failed just now.
    Pointless,
    /// Too many wait for it, or it takes too long, or there will be none any more.
    NotNow,
}

/// Access to the keys.
#[derive(Debug)]
pub(super) struct Keeper {
    known: watch::Receiver<Known>,
    bell: Arc<Bell>,
    /// Room for those who wait.
    room: Semaphore,
    changes: bool,
}

/// What is asked of the task.
#[derive(Debug, Default)]
struct Bell {
    renew: Notify,
    /// The load that is waited for: the first is 1.
    wanted: AtomicU64,
    reload: Notify,
}

impl Keeper {
    /// Starts the task. Without keys to start with, it loads them at once.
    pub(super) fn start<S: Source>(
        source: S,
        keys: Option<KeySet>,
        tracker: &TaskTracker,
        stop: CancellationToken,
    ) -> Self {
        let known = Known { loading: keys.is_none(), generation: u64::from(keys.is_some()), ..Known::default() };
        let (sender, receiver) = watch::channel(Known { keys: keys.map(Arc::new), ..known });
        let bell = Arc::new(Bell::default());
        let task = Task { source, known: sender, bell: Arc::clone(&bell), failures: 0 };
        tracker.spawn(async move { stop.run_until_cancelled(task.run()).await });
        Self { known: receiver, bell, room: Semaphore::new(WAITING_MAX), changes: S::CHANGES }
    }

    /// What is known now.
    pub(super) fn known(&self) -> Known {
        self.known.borrow().clone()
    }

    /// What is known after the next load, which others wait for too. It begins at once, or when the last one is long enough
    /// ago.
    ///
    /// # Cancel safety
    /// Nothing is lost: the load goes on.
    pub(super) async fn renewed(&self, since: &Known) -> Renewal {
        let mut known = self.known.clone();
        {
            let now = known.borrow();
            if now.loads > since.loads {
                return Renewal::Ended(now.clone());
            }
            if !now.loading {
                if !self.changes || (now.failed && now.rested() > Instant::now()) {
                    return Renewal::Pointless;
                }
                self.bell.wanted.fetch_max(since.loads + 1, Ordering::AcqRel);
                self.bell.renew.notify_one();
            }
        }
        if let Ok(_room) = self.room.try_acquire()
            && let Ok(Ok(known)) = timeout(WAIT_MAX, known.wait_for(|now| now.loads > since.loads)).await
        {
            return Renewal::Ended(known.clone());
        }
        limit_hit(Limit::KeysWaiting);
        Renewal::NotNow
    }

    /// Has the keys loaded again, however fresh they are.
    pub(super) fn reload(&self) {
        self.bell.reload.notify_one();
    }
}

impl Known {
    /// Whether a load was under way, which may have missed what is new since it began.
    pub(super) const fn is_loading(&self) -> bool {
        self.loading
    }

    /// When tokens may cause another load: now, or once the last is long enough ago.
    fn rested(&self) -> Instant {
        self.ended.map_or_else(Instant::now, |ended| ended + REST)
    }
}

struct Task<S> {
    source: S,
    known: watch::Sender<Known>,
    bell: Arc<Bell>,
    failures: u32,
}

enum Event {
    Due,
    Renew,
    Reload,
}

impl<S: Source> Task<S> {
    async fn run(mut self) {
        let mut due = self.known.borrow().loading.then(Instant::now);
        loop {
            match self.next_event(due).await {
                Event::Due | Event::Reload => {
                    let again = self.load().await;
                    due = again.map(|again| Instant::now() + again);
                }
                Event::Renew => {
                    let known = self.known.borrow();
                    // They may have asked while the load that they want was about to begin.
                    if self.bell.wanted.load(Ordering::Acquire) > known.loads {
                        let rested = known.rested();
                        due = Some(due.map_or(rested, |due| due.min(rested)));
                    }
                }
            }
        }
    }

    async fn next_event(&self, due: Option<Instant>) -> Event {
        let until_due = async {
            match due {
                Some(due) => sleep_until(due).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            () = until_due => Event::Due,
            () = self.bell.renew.notified() => Event::Renew,
            () = self.bell.reload.notified() => Event::Reload,
        }
    }

    /// Loads once, and says when to do so again.
    async fn load(&mut self) -> Option<Duration> {
        self.known.send_modify(|known| known.loading = true);
        let loaded = self.source.load().await;
        let again = match &loaded {
            Ok(Loaded { keys, age_max }) => {
                let (usable, unusable) = (keys.len(), keys.unusable());
                if usable == 0 {
                    warn!(unusable, "the issuer has no key that can be used: no token of its is accepted");
                } else if self.failures > 0 || self.known.borrow().keys.as_deref() != Some(keys) {
                    info!(usable, unusable, "the issuer's keys are known");
                }
                self.failures = 0;
                freshness(*age_max)
            }
            Err(error) => {
                self.failures = self.failures.saturating_add(1);
                let error = error as &dyn std::error::Error;
                if self.known.borrow().keys.is_some() {
                    warn!(error, "cannot renew the issuer's keys: those of before go on being used");
                } else {
                    warn!(error, "cannot have the issuer's keys yet: requests with a token of its get 503 meanwhile");
                }
                retry_after(self.failures)
            }
        };
        let ended = Instant::now();
        self.known.send_modify(|known| {
            known.failed = loaded.is_err() && S::CHANGES;
            if let Ok(Loaded { keys, age_max: _ }) = loaded
                && known.keys.as_deref() != Some(&keys)
            {
                known.keys = Some(Arc::new(keys));
                known.generation += 1;
            }
            known.loads += 1;
            known.loading = false;
            known.ended = Some(ended);
        });
        S::CHANGES.then_some(again)
    }
}

/// When to renew keys that are good for that long: while there is time left to try again.
fn freshness(age_max: Option<Duration>) -> Duration {
    age_max.map_or(AGE_MAX, |age| age.clamp(AGE_MIN, AGE_MAX)) * 3 / 4
}

fn retry_after(failures: u32) -> Duration {
    let doubled = failures.saturating_sub(1).min(u32::BITS - 1);
    RETRY_MIN.saturating_mul(1 << doubled).min(RETRY_MAX)
}

/// The shortest time between two loads that tokens can cause.
const REST: Duration = Duration::from_secs(5);
/// How many may wait for a load: what made-up keys can make mcp-mux hold.
const WAITING_MAX: usize = 1000;
/// How long a load may be waited for: the rest before it, and what an issuer that is not in trouble takes.
const WAIT_MAX: Duration = Duration::from_secs(15);
const RETRY_MIN: Duration = Duration::from_secs(2);
const RETRY_MAX: Duration = Duration::from_secs(60);
/// An issuer that says nothing, or something longer: a key that it withdraws is not used for longer than this.
const AGE_MAX: Duration = Duration::from_secs(60 * 60);
const AGE_MIN: Duration = Duration::from_secs(60);

#[cfg(test)]
mod tests;
