//! Says in time that a limit is close. Separate from those who keep the limits, so that all of them say it alike.
//!
//! One warning when the use of a limit reaches 90 % of it, and another only after it has fallen below 80 % meanwhile: a use
//! that moves up and down at the mark fills no log.

use std::sync::atomic::{AtomicBool, Ordering};

use tracing::warn;

/// Below this many, 90 % is the limit itself.
const FINE_LIMIT_MIN: usize = 10;

/// A limit and whether it was said that it is close.
#[derive(Debug)]
pub(crate) struct Watermark {
    flag: &'static str,
    beyond: &'static str,
    limit: usize,
    reported: AtomicBool,
}

impl Watermark {
    /// The limit set by `flag`; `beyond` says what happens to those that come when it is reached.
    pub(crate) const fn new(flag: &'static str, limit: usize, beyond: &'static str) -> Self {
        Self { flag, beyond, limit, reported: AtomicBool::new(false) }
    }

    /// To be told of every change: this much is in use.
    pub(crate) fn observe(&self, used: usize) {
        if self.is_news(used) {
            let (flag, limit, beyond) = (self.flag, self.limit, self.beyond);
            warn!(flag, used, limit, "close to a limit; when it is reached, {beyond}");
        }
    }

    /// Whether this much is to be told of. For those who have more to say than [`Watermark::observe`].
    pub(crate) fn is_news(&self, used: usize) -> bool {
        // One of one in use is what it is there for.
        if self.limit < 2 {
            return false;
        }
        let high = if self.limit < FINE_LIMIT_MIN { self.limit } else { self.limit - self.limit / 10 };
        let low = self.limit - self.limit / 5;
        if used >= high {
            // Mostly it has been reported: a look costs the others nothing.
            return !self.reported.load(Ordering::Relaxed) && !self.reported.swap(true, Ordering::Relaxed);
        }
        if used < low && self.reported.load(Ordering::Relaxed) {
            self.reported.store(false, Ordering::Relaxed);
        }
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// At which of these uses it speaks up.
    fn news(limit: usize, uses: &[usize]) -> Vec<usize> {
        let watermark = Watermark::new("--x", limit, "x");
        uses.iter().copied().filter(|used| watermark.is_news(*used)).collect()
    }

    #[test]
    fn ninety_percent_is_reported_once_until_it_has_fallen_below_eighty() {
        assert_eq!(news(100, &[0, 89, 90, 91, 100, 89, 90, 80, 95, 79, 89, 92, 100]), [90, 92]);
        assert_eq!(news(10, &[8, 9, 10, 8, 9, 7, 9]), [9, 9]);
        assert_eq!(news(usize::MAX, &[usize::MAX / 2, usize::MAX]), [usize::MAX]);
    }

    #[test]
    fn of_few_the_last_is_reported_and_one_of_one_never() {
        assert_eq!(news(3, &[1, 2, 3, 2, 3]), [3, 3]);
        assert_eq!(news(9, &[8, 9, 8, 9, 7, 9, 6, 9]), [9, 9, 9]);
        assert_eq!(news(1, &[1, 0, 1]), [0; 0]);
        assert_eq!(news(0, &[0]), [0; 0]);
    }
}
