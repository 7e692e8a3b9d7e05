//! The actor's timer. Separate because it has a rule of its own: it may ring for nothing, but never too late.

use std::pin::Pin;

use tokio::time::{Instant, Sleep, sleep_until};

/// Wakes the actor at a time. A timer that is set is kept until it has rung unless an earlier one is needed, since deadlines
/// are mostly put off: ringing for nothing now and then costs less than setting it for every message.
#[derive(Debug)]
pub(super) struct Alarm {
    sleep: Pin<Box<Sleep>>,
    set: Option<Instant>,
}

impl Alarm {
    /// A timer that is not set.
    pub(super) fn new() -> Self {
        Self { sleep: Box::pin(sleep_until(Instant::now())), set: None }
    }

    /// Sets it; with nothing to be set to, it stays as it is.
    pub(super) fn set(&mut self, at: Option<Instant>) {
        if let Some(at) = at
            && self.set.is_none_or(|set| at < set)
        {
            self.sleep.as_mut().reset(at);
            self.set = Some(at);
        }
    }

    /// Waits until it rings.
    ///
    /// # Cancel safety
    /// Cancelled, it is still set.
    pub(super) async fn rings(&mut self) {
        if self.set.is_none() {
            std::future::pending::<()>().await;
        }
        self.sleep.as_mut().await;
        self.set = None;
    }
}
