//! The children there are, whose they are, and which of them is the right one. Plain data: nothing is started or stopped
//! here, and the time is an input.

use std::collections::BTreeMap;
use std::time::Duration;

use tokio::sync::OwnedSemaphorePermit;
use tokio::time::Instant;

use super::{Health, Standing};
use crate::auth::Principal;
use crate::child::{ChildHandle, OwnVariables};

/// Whose a child is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Whose {
    /// Everybody's.
    Everybody,
    /// One principal's, started with these variables.
    Principal(Principal, OwnVariables),
    /// One session's.
    Session,
    /// Nobody's yet: a spare.
    Nobody,
    /// Nobody's ever: it is there to see whether the command works.
    Trial,
}

/// Whether a child is wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    /// In its first start, as far as anybody has looked.
    Fresh,
    /// Beyond it.
    Known,
    /// Being stopped; it is not given to anybody any more.
    Ending,
}

/// A child of the pool.
#[derive(Debug)]
pub(super) struct Member {
    pub(super) child: ChildHandle,
    pub(super) whose: Whose,
    leases: usize,
    /// When it was chosen last, counted in choices.
    chosen: u64,
    unused_since: Instant,
    stage: Stage,
    /// Its place among so many, until it is gone.
    place: Option<OwnedSemaphorePermit>,
}

/// A child as it was when somebody looked.
#[derive(Debug)]
pub(super) struct Seen {
    pub(super) child: ChildHandle,
    pub(super) whose: Whose,
    pub(super) leases: usize,
    pub(super) standing: Option<Standing>,
}

/// What became of a child when a lease on it ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum GivenBack {
    /// Others have it still, or it is on its way out already.
    InUse,
    /// Nobody has it; it is kept for the next one.
    Unused,
    /// Nobody has it, and nobody else may.
    Spent,
}

/// The children there are, by number.
#[derive(Debug, Default)]
pub(super) struct Members {
    members: BTreeMap<u64, Member>,
    last_number: u64,
    choices: u64,
}

impl Members {
    /// The number of the next child.
    pub(super) const fn next_number(&mut self) -> u64 {
        self.last_number += 1;
        self.last_number
    }

    pub(super) fn insert(
        &mut self,
        number: u64,
        child: ChildHandle,
        whose: Whose,
        place: Option<OwnedSemaphorePermit>,
        now: Instant,
    ) {
        let member = Member { child, whose, leases: 0, chosen: 0, unused_since: now, stage: Stage::Fresh, place };
        self.members.insert(number, member);
    }

    pub(super) fn remove(&mut self, number: u64) -> Option<Member> {
        self.members.remove(&number)
    }

    /// Forgets all of them.
    pub(super) fn clear(&mut self) {
        self.members.clear();
    }

    /// All of them, also those that are being stopped.
    pub(super) fn handles(&self) -> Vec<ChildHandle> {
        self.members.values().map(|member| member.child.clone()).collect()
    }

    /// All of them as others may see them, those that are being stopped without a standing.
    pub(super) fn all(&self) -> Vec<(u64, Seen)> {
        let seen = |member: &Member| Seen {
            child: member.child.clone(),
            whose: member.whose.clone(),
            leases: member.leases,
            standing: (member.stage != Stage::Ending).then(|| Standing::of(&member.child)),
        };
        self.members.iter().map(|(number, member)| (*number, seen(member))).collect()
    }

    fn live(&self) -> impl Iterator<Item = (u64, &Member)> {
        self.members
            .iter()
            .filter(|(_, member)| member.stage != Stage::Ending)
            .map(|(number, member)| (*number, member))
    }

    fn unused(&self) -> impl Iterator<Item = (u64, &Member)> {
        self.live().filter(|(_, member)| member.leases == 0)
    }

    // --- choosing ---

    /// The least loaded of everybody's, and whether it is idle and good: one that works before one that is down, however
    /// few it has. In its first start a child counts as working, or all sessions of a busy start would go to whichever
    /// was ready first, and stay there.
    pub(super) fn least_loaded(&mut self) -> Option<(u64, bool)> {
        let mut best: Option<(_, u64, bool)> = None;
        for (number, member) in &mut self.members {
            if member.whose != Whose::Everybody || member.stage == Stage::Ending {
                continue;
            }
            let standing = Standing::of(&member.child);
            if standing != Standing::Starting {
                member.stage = Stage::Known;
            }
            let works = standing == Standing::Ready || member.stage == Stage::Fresh;
            let class = if works { Standing::Ready } else { standing };
            let key = (class, member.leases, standing, member.chosen);
            if best.as_ref().is_none_or(|(best, ..)| key < *best) {
                best = Some((key, *number, works && member.leases == 0));
            }
        }
        best.map(|(_, number, idle)| (number, idle))
    }

    /// The child of that principal that was started with these variables.
    pub(super) fn of_principal(&self, principal: &Principal, variables: &OwnVariables) -> Option<u64> {
        let its = |member: &Member| matches!(&member.whose, Whose::Principal(whose, with) if whose == principal && with == variables);
        self.live().find(|(_, member)| its(member) && !Standing::of(&member.child).is_final()).map(|(number, _)| number)
    }

    /// The best spare; of equals the one that has had most time to start.
    pub(super) fn spare(&self) -> Option<u64> {
        let spares = self.live().filter(|(_, member)| member.whose == Whose::Nobody);
        let ranked = spares.filter_map(|(number, member)| match Standing::of(&member.child) {
            Standing::Ready | Standing::Starting => Some((Standing::Ready, number)),
            down @ (Standing::Restarting | Standing::CircuitOpen) => Some((down, number)),
            Standing::Failed | Standing::Stopped => None,
        });
        ranked.min().map(|(_, number)| number)
    }

    /// The one to be stopped where room is needed: unused, and for longer than the others.
    pub(super) fn longest_unused(&self) -> Option<u64> {
        let mine = |whose: &Whose| matches!(whose, Whose::Principal(..) | Whose::Nobody);
        let unused = self.unused().filter(|(_, member)| mine(&member.whose));
        unused.min_by_key(|(number, member)| (member.unused_since, *number)).map(|(number, _)| number)
    }

    /// Unused ones of which nothing will come any more.
    pub(super) fn dead(&self) -> Vec<u64> {
        let mine = |whose: &Whose| matches!(whose, Whose::Principal(..) | Whose::Nobody);
        let dead = self.unused().filter(|(_, member)| mine(&member.whose) && Standing::of(&member.child).is_final());
        dead.map(|(number, _)| number).collect()
    }

    /// Those that nobody has used for so long, and how long it takes at least until there is another.
    pub(super) fn idle(&self, timeout: Duration, now: Instant) -> (Vec<u64>, Duration) {
        let (mut idle, mut next) = (Vec::new(), timeout);
        for (number, member) in self.unused().filter(|(_, member)| member.whose != Whose::Trial) {
            match timeout.checked_sub(now.saturating_duration_since(member.unused_since)) {
                None | Some(Duration::ZERO) => idle.push(number),
                Some(left) => next = next.min(left),
            }
        }
        (idle, next)
    }

    /// Whether something can be had of it.
    pub(super) fn is_of_use(&self, number: u64) -> bool {
        let member = self.members.get(&number).filter(|member| member.stage != Stage::Ending);
        member.is_some_and(|member| !Standing::of(&member.child).is_final())
    }

    // --- using ---

    /// Somebody gets it. A spare becomes the session's own.
    pub(super) fn take(&mut self, number: u64) -> Option<&ChildHandle> {
        self.choices += 1;
        let member = self.members.get_mut(&number)?;
        member.leases += 1;
        member.chosen = self.choices;
        if member.whose == Whose::Nobody {
            member.whose = Whose::Session;
        }
        Some(&member.child)
    }

    /// Somebody has done with it.
    pub(super) fn give_back(&mut self, number: u64, now: Instant) -> GivenBack {
        let Some(member) = self.members.get_mut(&number) else { return GivenBack::InUse };
        member.leases = member.leases.saturating_sub(1);
        if member.leases > 0 || member.stage == Stage::Ending {
            return GivenBack::InUse;
        }
        member.unused_since = now;
        match member.whose {
            Whose::Session => GivenBack::Spent,
            Whose::Principal(..) if Standing::of(&member.child).is_final() => GivenBack::Spent,
            Whose::Principal(..) | Whose::Everybody | Whose::Nobody | Whose::Trial => GivenBack::Unused,
        }
    }

    /// It is being stopped; none if it is already.
    pub(super) fn end(&mut self, number: u64) -> Option<&Member> {
        let member = self.members.get_mut(&number).filter(|member| member.stage != Stage::Ending)?;
        member.stage = Stage::Ending;
        Some(member)
    }

    // --- counting ---

    /// How many of these there are that are not being stopped.
    pub(super) fn count(&self, whose: &Whose) -> usize {
        self.live().filter(|(_, member)| member.whose == *whose).count()
    }

    /// How many places will be free when those that are being stopped are gone.
    pub(super) fn places_to_come(&self) -> usize {
        let ending = self.members.values().filter(|member| member.stage == Stage::Ending);
        ending.filter(|member| member.place.is_some()).count()
    }

    /// How they are doing.
    pub(super) fn health(&self) -> Health {
        let standings = self.live().map(|(_, member)| (Standing::of(&member.child), &member.whose));
        let (mut standing, mut ready, mut total) = (Standing::Stopped, 0, 0);
        for (one, whose) in standings {
            standing = standing.min(one);
            if *whose != Whose::Trial {
                // A spare has no handshake to show: it is there to be given one.
                let spare = *whose == Whose::Nobody && one == Standing::Starting;
                ready += usize::from(one == Standing::Ready || spare);
                total += 1;
            }
        }
        Health { standing, ready, total }
    }

    /// Whether all those that somebody who comes now could be given are left alone for a while, having failed too often.
    /// Those of single sessions say nothing of the command: it may be what their clients did.
    pub(super) fn are_open_circuits(&self) -> bool {
        let mine = |whose: &Whose| matches!(whose, Whose::Principal(..) | Whose::Nobody);
        let mut candidates = self.live().filter(|(_, member)| mine(&member.whose)).peekable();
        candidates.peek().is_some()
            && candidates.all(|(_, member)| Standing::of(&member.child) == Standing::CircuitOpen)
    }
}
