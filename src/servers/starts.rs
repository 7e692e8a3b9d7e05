//! Who may be starting: so many at a time, and what hangs keeps nobody else from its turn.
//!
//! A server that hangs in its start holds its place until `--start-timeout`, and does so again each time it is tried again. So those
//! that are tried again have at most half of the places. And a server that somebody waits for has places of its own beside
//! the ordinary ones, as many again, which those nobody waits for cannot take.
//!
//! Invariant: never more than twice `--starts-max` are starting, and no more than `--starts-max` that nobody came for.

use std::num::NonZeroUsize;
use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// The places of all servers that may be starting.
#[derive(Clone, Debug)]
pub(super) struct Starts {
    ordinary: Lane,
    wanted: Lane,
}

/// Places that are taken in the order in which servers come for them.
#[derive(Clone, Debug)]
struct Lane {
    places: Arc<Semaphore>,
    /// As many of them as may be of servers that are tried again.
    again: Arc<Semaphore>,
}

/// Which start it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Attempt {
    /// The first one, or the first since it worked.
    First,
    /// The one before has failed.
    Again,
}

/// A place, until this is dropped.
#[derive(Debug)]
pub(super) struct Turn {
    _place: Option<OwnedSemaphorePermit>,
    _again: Option<OwnedSemaphorePermit>,
}

impl Starts {
    /// So many at a time.
    pub(super) fn new(starts_max: NonZeroUsize) -> Self {
        Self { ordinary: Lane::new(starts_max), wanted: Lane::new(starts_max) }
    }

    /// Resolves when a server may start; `wanted` resolves when somebody waits for it.
    ///
    /// # Cancel safety
    /// Cancelled, it has taken nothing.
    pub(super) async fn turn(&self, attempt: Attempt, wanted: impl Future<Output = ()>) -> Turn {
        let ahead = async {
            wanted.await;
            self.wanted.turn(attempt).await
        };
        tokio::select! {
            biased;
            turn = self.ordinary.turn(attempt) => turn,
            turn = ahead => turn,
        }
    }
}

impl Lane {
    fn new(places: NonZeroUsize) -> Self {
        // With one place they have to take turns.
        let again = (places.get() / 2).max(1);
        Self { places: Arc::new(Semaphore::new(places.get())), again: Arc::new(Semaphore::new(again)) }
    }

    async fn turn(&self, attempt: Attempt) -> Turn {
        // Nobody closes them.
        let again = match attempt {
            Attempt::First => None,
            Attempt::Again => Arc::clone(&self.again).acquire_owned().await.ok(),
        };
        Turn { _place: Arc::clone(&self.places).acquire_owned().await.ok(), _again: again }
    }
}

#[cfg(test)]
mod tests {
    use std::future::{pending, ready};

    use tokio::time::timeout;

    use super::*;

    const SOON: std::time::Duration = std::time::Duration::from_secs(1);

    /// As many turns as are to be had at once.
    async fn turns(starts: &Starts, attempt: Attempt, wanted: bool) -> Vec<Turn> {
        let mut turns = Vec::new();
        let wanted = || async move { if wanted { ready(()).await } else { pending().await } };
        while let Ok(turn) = timeout(SOON, starts.turn(attempt, wanted())).await {
            turns.push(turn);
        }
        turns
    }

    #[tokio::test(start_paused = true)]
    async fn those_that_are_tried_again_leave_half_of_the_places_to_others() {
        for (starts_max, again, left) in [(1, 1, 0), (2, 1, 1), (3, 1, 2), (4, 2, 2), (9, 4, 5)] {
            let starts = Starts::new(NonZeroUsize::new(starts_max).unwrap());
            let held = turns(&starts, Attempt::Again, false).await;
            assert_eq!((starts_max, held.len()), (starts_max, again));
            let firsts = turns(&starts, Attempt::First, false).await;
            assert_eq!((starts_max, firsts.len()), (starts_max, left));
            drop(held);
            // What was given back can be had by anybody.
            assert_eq!(turns(&starts, Attempt::First, false).await.len(), again);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn those_that_somebody_waits_for_have_as_many_places_beside_the_others() {
        let starts = Starts::new(NonZeroUsize::new(4).unwrap());
        let _held = turns(&starts, Attempt::First, false).await;
        let again = turns(&starts, Attempt::Again, true).await;
        let first = turns(&starts, Attempt::First, true).await;
        assert_eq!((again.len(), first.len()), (2, 2));
        assert!(turns(&starts, Attempt::First, true).await.is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn with_one_place_those_that_are_tried_again_and_others_take_turns() {
        let starts = Starts::new(NonZeroUsize::MIN);
        let held = starts.turn(Attempt::Again, pending()).await;
        let next = starts.turn(Attempt::First, pending());
        tokio::pin!(next);
        assert!(timeout(SOON, &mut next).await.is_err());
        let again = starts.turn(Attempt::Again, pending());
        tokio::pin!(again);
        assert!(timeout(SOON, &mut again).await.is_err());
        drop(held);
        let next = timeout(SOON, next).await.expect("it came before");
        assert!(timeout(SOON, &mut again).await.is_err());
        drop(next);
        assert!(timeout(SOON, again).await.is_ok());
    }
}
