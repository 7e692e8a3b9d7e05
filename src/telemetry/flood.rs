//! Keeps a child that writes without end from filling the log. Pure: the time is an input, and what is logged, and how, is
//! up to whoever asks.
//!
//! Separate from the writers of the log because a child has several ways to make mcp-mux log something: its stdout, its
//! stderr, and messages that can be given to no client.

use std::time::Duration;

use tokio::time::Instant;

/// The time over which lines are counted.
const WINDOW: Duration = Duration::from_secs(1);

/// Admits so many lines a second and counts the others.
#[derive(Debug)]
pub(crate) struct Flood {
    lines_max: u32,
    since: Option<Instant>,
    admitted: u32,
    suppressed: u64,
}

impl Flood {
    /// Admits `lines_max` lines a second.
    pub(crate) const fn new(lines_max: u32) -> Self {
        Self { lines_max, since: None, admitted: 0, suppressed: 0 }
    }

    /// Whether a line may be logged; if not, it is counted.
    pub(crate) fn admit(&mut self, now: Instant) -> bool {
        if self.since.is_none_or(|since| now >= since + WINDOW) {
            self.since = Some(now);
            self.admitted = 0;
        }
        if self.admitted < self.lines_max {
            self.admitted += 1;
            return true;
        }
        self.suppressed = self.suppressed.saturating_add(1);
        false
    }

    /// When there is a number of suppressed lines to be reported.
    pub(crate) fn due(&self) -> Option<Instant> {
        self.since.filter(|_| self.suppressed > 0).map(|since| since + WINDOW)
    }

    /// The number of suppressed lines, if it is to be reported now.
    pub(crate) fn summary(&mut self, now: Instant) -> Option<u64> {
        self.due().filter(|due| *due <= now)?;
        self.finish()
    }

    /// The number of suppressed lines, if there are any and whether or not it is time.
    pub(crate) fn finish(&mut self) -> Option<u64> {
        Some(std::mem::take(&mut self.suppressed)).filter(|lines| *lines > 0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn admits_so_many_a_second_and_reports_the_others_once() {
        let mut flood = Flood::new(3);
        let start = Instant::now();
        assert_eq!((0..10).filter(|_| flood.admit(start)).count(), 3);
        assert_eq!(flood.summary(start + WINDOW / 2), None);
        assert_eq!(flood.due(), Some(start + WINDOW));
        assert_eq!(flood.summary(start + WINDOW), Some(7));
        assert_eq!(flood.summary(start + WINDOW), None);
        assert_eq!(flood.due(), None);
        assert!(flood.admit(start + WINDOW));
        assert_eq!(flood.finish(), None);
    }
}
