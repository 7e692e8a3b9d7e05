//! What holds for a principal in the end: what was said for it, what is said for everybody, and what its token says.

use std::collections::BTreeMap;
use std::num::{NonZeroU32, NonZeroUsize};

use super::{NamesConfig, PrincipalConfig, Rate};
use crate::config::secret::Secret;

/// What holds for a principal.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Terms {
    /// Its requests; none: as many as it likes.
    pub rate: Option<RateLimit>,
    /// The most sessions at once; none: no limit of its own.
    pub sessions_max: Option<NonZeroUsize>,
    /// The most requests in flight at once, in all its sessions; none: no limit of its own.
    pub in_flight_max: Option<NonZeroUsize>,
    /// Its tools: a name has to be admitted by each of these.
    pub tools: Vec<NamesConfig>,
    /// Its resources, likewise.
    pub resources: Vec<NamesConfig>,
    /// Its prompts, likewise.
    pub prompts: Vec<NamesConfig>,
    /// The variables of its own child.
    pub env: BTreeMap<String, Secret>,
}

/// How many requests, and how many at once.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct RateLimit {
    /// In a second, in the long run: from one in a day to a million.
    pub per_second: f64,
    /// At once, after a pause.
    pub burst: NonZeroU32,
}

impl PrincipalConfig {
    /// What holds where nothing else is said.
    pub fn terms(&self) -> Terms {
        self.tightened_by(&Self::default())
    }

    /// What holds where this is said and a token has this claim: the lower of two numbers; only names that both admit; the
    /// variables of both, and where both have the same, this one's.
    pub fn tightened_by(&self, claim: &Self) -> Terms {
        let limit = |own: Option<NonZeroUsize>, claimed: Option<NonZeroUsize>| {
            own.into_iter().chain(claimed).min().filter(|limit| *limit < NonZeroUsize::MAX)
        };
        let names = |own: &NamesConfig, claimed: &NamesConfig| {
            let both = [own, claimed].into_iter().filter(|names| !names.admits_everything());
            both.cloned().collect()
        };
        let mut env = claim.env.clone();
        env.extend(self.env.clone());
        Terms {
            rate: self.lowest_rate(claim),
            sessions_max: limit(self.sessions_max, claim.sessions_max),
            in_flight_max: limit(self.in_flight_max, claim.in_flight_max),
            tools: names(&self.tools, &claim.tools),
            resources: names(&self.resources, &claim.resources),
            prompts: names(&self.prompts, &claim.prompts),
            env,
        }
    }

    /// What is said here, and where that is nothing, what is said there. A burst belongs to its rate: one that is said for
    /// another rate is not taken over.
    pub(super) fn or(&self, other: &Self) -> Self {
        let burst = other.burst.filter(|_| self.rate.is_none());
        Self {
            rate: self.rate.or(other.rate),
            burst: self.burst.or(burst),
            sessions_max: self.sessions_max.or(other.sessions_max),
            in_flight_max: self.in_flight_max.or(other.in_flight_max),
            ..self.clone()
        }
    }

    fn lowest_rate(&self, claim: &Self) -> Option<RateLimit> {
        let rates = [self, claim].into_iter().filter_map(Self::per_second);
        let bursts = [self, claim].into_iter().filter_map(Self::burst_or_that_of_the_rate);
        Some(RateLimit { per_second: rates.min_by(f64::total_cmp)?, burst: bursts.min()? })
    }

    fn per_second(&self) -> Option<f64> {
        match self.rate {
            Some(Rate::PerSecond(rate)) => Some(rate),
            Some(Rate::Unlimited) | None => None,
        }
    }

    /// Where no burst is said, what comes in a second, and at least one.
    fn burst_or_that_of_the_rate(&self) -> Option<NonZeroU32> {
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "from 1 to a million, as it was read"
        )]
        let of_rate = self.per_second().and_then(|rate| NonZeroU32::new(rate.ceil() as u32));
        self.burst.or(of_rate)
    }
}
