//! Log levels: each session has its own, the child has one, the most verbose of them.
//!
//! A session that never set a level counts as `info` once another one did, so that one client's `error` does not silence
//! the rest, nor its `debug` flood them; as long as nobody set one, the child decides (2025-11-25, Logging, Setting Log
//! Level).

use std::collections::BTreeMap;

use super::io::SessionKey;
use crate::mcp::LogLevel;

const UNSET: LogLevel = LogLevel::Info;

/// The levels of the sessions of one child. Only sessions whose handshake stands take part.
#[derive(Debug, Default)]
pub(super) struct Levels {
    by_session: BTreeMap<SessionKey, Option<LogLevel>>,
    /// How many sessions want each level (in the order of [`LogLevel::ALL`]).
    wanted: [usize; LogLevel::ALL.len()],
    /// How many of these set it themselves.
    set: usize,
    /// What the child was told last.
    child: Option<LogLevel>,
}

impl Levels {
    /// A session joins, leaves (`None`) or sets its level. Returns the level that the child has to be told now, if that
    /// changes.
    pub(super) fn put(&mut self, session: SessionKey, level: Option<Option<LogLevel>>) -> Option<LogLevel> {
        let old = match level {
            Some(level) => self.by_session.insert(session, level),
            None => self.by_session.remove(&session),
        };
        for (change, level) in [(-1, old), (1, level)] {
            let Some(level) = level else { continue };
            if let Some(count) = self.wanted.get_mut(level.unwrap_or(UNSET) as usize) {
                *count = count.saturating_add_signed(change);
            }
            if level.is_some() {
                self.set = self.set.saturating_add_signed(change);
            }
        }
        let wanted = self.wanted()?;
        (self.child.replace(wanted) != Some(wanted)).then_some(wanted)
    }

    /// The session's own level, if it set one.
    pub(super) fn of(&self, session: SessionKey) -> Option<LogLevel> {
        self.by_session.get(&session).copied().flatten()
    }

    /// A new child knows nothing: what it has to be told.
    pub(super) fn replay(&mut self) -> Option<LogLevel> {
        self.child = None;
        self.child = self.wanted();
        self.child
    }

    /// Whether the session is to see a message of this level.
    pub(super) fn admits(&self, session: SessionKey, level: Option<LogLevel>) -> bool {
        let own = self.of(session).or_else(|| self.child.map(|_| UNSET));
        match (own, level) {
            (Some(own), Some(level)) => level >= own,
            (None, _) | (_, None) => true,
        }
    }

    /// How many sessions take part.
    pub(super) fn len(&self) -> usize {
        self.by_session.len()
    }

    fn wanted(&self) -> Option<LogLevel> {
        if self.set == 0 {
            // Whoever set one is gone; the child is not to stay as they left it.
            return self.child.map(|_| UNSET);
        }
        LogLevel::ALL.into_iter().zip(self.wanted).find_map(|(level, count)| (count > 0).then_some(level))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: SessionKey = SessionKey(1);
    const B: SessionKey = SessionKey(2);

    #[test]
    fn child_gets_the_most_verbose_level_and_only_changes() {
        let mut levels = Levels::default();
        assert_eq!(levels.put(A, Some(None)), None);
        assert_eq!(levels.put(A, Some(Some(LogLevel::Error))), Some(LogLevel::Error));
        assert_eq!(levels.put(B, Some(Some(LogLevel::Debug))), Some(LogLevel::Debug));
        assert_eq!(levels.put(B, Some(Some(LogLevel::Debug))), None);
        assert_eq!(levels.put(B, None), Some(LogLevel::Error));
    }

    #[test]
    fn a_session_without_a_level_is_neither_silenced_nor_flooded_by_others() {
        let mut levels = Levels::default();
        levels.put(A, Some(None));
        assert!(levels.admits(A, Some(LogLevel::Debug)), "nobody set a level: the child decides");
        assert_eq!(levels.put(B, Some(Some(LogLevel::Error))), Some(LogLevel::Info));
        assert!(levels.admits(A, Some(LogLevel::Info)));
        assert!(!levels.admits(B, Some(LogLevel::Info)));
        levels.put(B, Some(Some(LogLevel::Debug)));
        assert!(!levels.admits(A, Some(LogLevel::Debug)));
    }

    #[test]
    fn what_a_session_that_left_had_set_does_not_last() {
        let mut levels = Levels::default();
        assert_eq!(levels.put(A, Some(Some(LogLevel::Emergency))), Some(LogLevel::Emergency));
        assert_eq!(levels.put(A, None), Some(LogLevel::Info));
        assert_eq!(levels.put(B, Some(None)), None);
        assert!(levels.admits(B, Some(LogLevel::Info)));
    }

    #[test]
    fn nothing_is_left_of_a_session_that_left() {
        let mut levels = Levels::default();
        levels.put(A, Some(Some(LogLevel::Debug)));
        levels.put(A, None);
        assert_eq!((levels.len(), levels.wanted.iter().sum::<usize>(), levels.set), (0, 0, 0));
        assert_eq!(levels.replay(), None);
    }
}
