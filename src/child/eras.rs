//! Which eras a command speaks, as far as that is known, and which of them a child is spoken to in.
//!
//! Separate from the probe because most who ask never saw one: the pool writes it down, once per command, and every child
//! of the command reads it. A child's process does not wait for it, only its handshake does.
//!
//! Invariant: what is known is only ever added to, but for [`Eras::correct`]: a server that says itself that it is modern
//! knows better than a probe that waited for it in vain.
//!
//! DESIGN section 5; spec: 2026-07-28, Versioning, Backward Compatibility.

use std::sync::Arc;

use tokio::sync::watch;

use crate::mcp::Era;

/// The eras that a command speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CommandEras {
    /// 2026-07-28.
    pub modern: bool,
    /// `initialize`.
    pub legacy: bool,
}

impl CommandEras {
    /// This one alone.
    pub const fn only(era: Era) -> Self {
        match era {
            Era::Legacy => Self { modern: false, legacy: true },
            Era::Modern => Self { modern: true, legacy: false },
        }
    }

    /// The era to speak to it in: the preferred one, if it speaks that.
    pub const fn choose(self, preferred: Era) -> Era {
        match preferred {
            Era::Legacy if self.legacy || !self.modern => Era::Legacy,
            Era::Modern if !self.modern => Era::Legacy,
            Era::Legacy | Era::Modern => Era::Modern,
        }
    }
}

/// How much is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Known {
    /// Nothing yet.
    Nothing,
    /// That it is modern; whether it is legacy too is still being found out.
    Modern,
    /// Everything.
    All(CommandEras),
}

impl Known {
    /// The era to speak to it in, if that is known.
    const fn choose(self, preferred: Era) -> Option<Era> {
        match (self, preferred) {
            (Self::All(eras), _) => Some(eras.choose(preferred)),
            (Self::Modern, Era::Modern) => Some(Era::Modern),
            (Self::Modern, Era::Legacy) | (Self::Nothing, _) => None,
        }
    }
}

/// What is known of a command, for all of its children. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Eras {
    known: Arc<watch::Sender<Known>>,
    /// Whether the user said it (`--child-era`), and so must be believed.
    said: bool,
}

impl Eras {
    /// Nothing is known yet.
    pub fn unknown() -> Self {
        Self { known: Arc::new(watch::Sender::new(Known::Nothing)), said: false }
    }

    /// The user said it.
    pub fn said(era: Era) -> Self {
        Self { known: Arc::new(watch::Sender::new(Known::All(CommandEras::only(era)))), said: true }
    }

    /// Waits until something is known.
    ///
    /// # Cancel safety
    /// It only looks.
    pub async fn anything(&self) -> Known {
        let mut known = self.known.subscribe();
        // The sender is a field of this very struct.
        let known = known.wait_for(|known| *known != Known::Nothing).await.map(|known| *known);
        known.unwrap_or(Known::Nothing)
    }

    /// What is known.
    pub fn known(&self) -> Known {
        *self.known.borrow()
    }

    /// Adds to what is known; what contradicts it changes nothing.
    pub fn learn(&self, news: Known) {
        self.known.send_if_modified(|known| {
            let is_more = match (*known, news) {
                (_, Known::Nothing) | (Known::All(_), _) | (Known::Modern, Known::Modern) => false,
                (Known::Nothing, _) => true,
                (Known::Modern, Known::All(eras)) => eras.modern,
            };
            if is_more {
                *known = news;
            }
            is_more
        });
    }

    /// The server refused to be spoken to in the legacy era, and said that it is modern. False where nobody asked for
    /// that: the user said what it is, or it is known to be modern anyway.
    pub(super) fn correct(&self) -> bool {
        if self.said {
            return false;
        }
        self.known.send_if_modified(|known| {
            let corrected = Known::All(CommandEras::only(Era::Modern));
            let was_legacy = matches!(known, Known::All(eras) if !eras.modern);
            if was_legacy {
                *known = corrected;
            }
            *known == corrected
        })
    }
}

/// Whoever finds it out. If this is dropped before, the command counts as legacy, and nobody waits for more.
#[derive(Debug)]
pub struct Finder(Eras);

impl Finder {
    /// The one of these.
    pub const fn new(eras: Eras) -> Self {
        Self(eras)
    }

    /// See [`Eras::learn`].
    pub fn learn(&self, news: Known) {
        self.0.learn(news);
    }
}

impl Drop for Finder {
    fn drop(&mut self) {
        if self.0.known() == Known::Nothing {
            self.0.learn(Known::All(CommandEras::only(Era::Legacy)));
        }
    }
}

/// Whether a child only waits until its era is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    Waits,
    /// Its own process is asked.
    Asks,
}

/// Where a child learns in which era it is spoken to.
#[derive(Clone, Debug)]
pub struct EraSource {
    eras: Eras,
    preferred: Era,
    way: Way,
}

impl EraSource {
    /// The preferred era, if the command turns out to speak it.
    pub const fn new(eras: Eras, preferred: Era) -> Self {
        Self { eras, preferred, way: Way::Waits }
    }

    /// The same, but if it is not known, the child finds it out for all, with its own process.
    pub const fn asking(eras: Eras, preferred: Era) -> Self {
        Self { eras, preferred, way: Way::Asks }
    }

    /// What the child finds it out with, if it is to.
    pub fn finder(&self) -> Option<Finder> {
        let asks = self.way == Way::Asks && self.eras.known() == Known::Nothing;
        asks.then(|| Finder::new(self.eras.clone()))
    }

    /// This era, whatever the command.
    pub fn of(era: Era) -> Self {
        Self::new(Eras::said(era), era)
    }

    /// The era, if it is known.
    pub fn era(&self) -> Option<Era> {
        self.eras.known().choose(self.preferred)
    }

    /// Waits until the era is known.
    ///
    /// # Cancel safety
    /// It only looks.
    pub async fn wait(&self) -> Era {
        let mut known = self.eras.known.subscribe();
        // The sender is a field of this very struct.
        let known = known.wait_for(|known| known.choose(self.preferred).is_some()).await.map(|known| *known);
        known.ok().and_then(|known| known.choose(self.preferred)).unwrap_or_default()
    }

    /// Whether the user said that the command is of this era.
    pub(super) fn is_said_to_be(&self, era: Era) -> bool {
        self.eras.said && self.eras.known() == Known::All(CommandEras::only(era))
    }

    /// See [`Eras::correct`].
    pub(super) fn correct(&self) -> bool {
        self.eras.correct()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DUAL: CommandEras = CommandEras { modern: true, legacy: true };

    #[test]
    fn the_preferred_era_is_chosen_where_it_is_spoken() {
        let (legacy, modern) = (CommandEras::only(Era::Legacy), CommandEras::only(Era::Modern));
        for (known, preferred, chosen) in [
            (Known::Nothing, Era::Modern, None),
            (Known::Nothing, Era::Legacy, None),
            (Known::Modern, Era::Modern, Some(Era::Modern)),
            (Known::Modern, Era::Legacy, None),
            (Known::All(DUAL), Era::Modern, Some(Era::Modern)),
            (Known::All(DUAL), Era::Legacy, Some(Era::Legacy)),
            (Known::All(legacy), Era::Modern, Some(Era::Legacy)),
            (Known::All(legacy), Era::Legacy, Some(Era::Legacy)),
            (Known::All(modern), Era::Modern, Some(Era::Modern)),
            (Known::All(modern), Era::Legacy, Some(Era::Modern)),
            // It has to be tried in some way.
            (Known::All(CommandEras { modern: false, legacy: false }), Era::Modern, Some(Era::Legacy)),
            (Known::All(CommandEras { modern: false, legacy: false }), Era::Legacy, Some(Era::Legacy)),
        ] {
            assert_eq!(known.choose(preferred), chosen, "{known:?} {preferred:?}");
        }
    }

    #[test]
    fn what_is_known_is_only_added_to() {
        let eras = Eras::unknown();
        eras.learn(Known::Modern);
        eras.learn(Known::All(CommandEras::only(Era::Legacy)));
        assert_eq!(eras.known(), Known::Modern);
        eras.learn(Known::All(DUAL));
        eras.learn(Known::All(CommandEras::only(Era::Modern)));
        assert_eq!(eras.known(), Known::All(DUAL));
        assert!(!eras.correct());
    }

    #[test]
    fn a_server_that_says_that_it_is_modern_is_believed_unless_the_user_said_otherwise() {
        let eras = Eras::unknown();
        eras.learn(Known::All(CommandEras::only(Era::Legacy)));
        // Each of its children may find that out.
        assert!(eras.correct() && eras.correct());
        assert_eq!(eras.known(), Known::All(CommandEras::only(Era::Modern)));
        assert!(!Eras::said(Era::Legacy).correct());
    }

    #[tokio::test]
    async fn who_waits_is_told() {
        let eras = Eras::unknown();
        let source = EraSource::new(eras.clone(), Era::Legacy);
        let telling = async {
            tokio::task::yield_now().await;
            eras.learn(Known::Modern);
            tokio::task::yield_now().await;
            assert_eq!(source.era(), None);
            eras.learn(Known::All(DUAL));
        };
        assert_eq!(tokio::join!(source.wait(), telling).0, Era::Legacy);
    }
}
