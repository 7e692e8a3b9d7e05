//! What the pool says of its children to whoever wants to look.

use tokio::time::{Instant, timeout_at};

use super::members::Whose;
use super::{Health, Pool, Standing};
use crate::auth::Principal;
use crate::child::{self, ChildState};
use crate::config::Isolation;
use crate::mcp::Era;

/// The children as they are at this moment.
#[derive(Clone, Debug)]
pub struct Report {
    /// Who shares a child.
    pub isolation: Isolation,
    /// How they are doing.
    pub health: Health,
    /// How many places are taken, and how many there are; none where the number of children is fixed.
    pub places: Option<(usize, usize)>,
    /// How many wait for a place.
    pub waiting: usize,
    /// Tasks that are known: how many there are and may be.
    pub tasks: (usize, usize),
    /// The last exit that nobody asked for, of a child that may be gone.
    pub last_exit: Option<child::ExitReport>,
    /// The children, those in trouble first, no more than 100.
    pub children: Vec<ChildReport>,
    /// How many more there are.
    pub left_out: usize,
}

/// A child.
#[derive(Clone, Debug)]
pub struct ChildReport {
    /// Its number, as in the log.
    pub number: u64,
    /// Whose it is.
    pub tenancy: Tenancy,
    /// How it is doing; as long as it is not being stopped.
    pub standing: Option<Standing>,
    /// Why it is not doing well, in words.
    pub why: Option<String>,
    /// The era it is spoken to in; none while that is not known.
    pub era: Option<Era>,
    /// How many have a lease on it.
    pub leases: usize,
    /// What it says of itself; none if it has too much to do.
    pub details: Option<child::Report>,
}

/// Whose a child is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Tenancy {
    /// Everybody's.
    Everybody,
    /// One principal's.
    Principal(Principal),
    /// One session's.
    Session,
    /// Nobody's yet.
    Spare,
    /// Nobody's ever: it shows whether the command works.
    Trial,
}

/// The most children of a report.
const REPORTED_MAX: usize = 100;

impl Pool {
    /// Looks at all children, which disturbs none of them. What one does not say of itself until then is left out.
    pub async fn report(&self, until: Instant) -> Report {
        let health = self.health();
        let (mut members, waiting, tasks) = {
            let state = self.lock();
            (state.members.all(), state.waiting.values().sum(), state.tasks.occupancy())
        };
        // A child that is ready is the last to be looked for among many.
        members.sort_by_key(|(number, member)| (member.standing == Some(Standing::Ready), *number));
        let left_out = members.len().saturating_sub(REPORTED_MAX);
        members.truncate(REPORTED_MAX);
        // All are asked before any is waited for.
        let asked: Vec<_> = members.into_iter().map(|(number, one)| (number, one.child.report(), one)).collect();
        let mut children = Vec::with_capacity(asked.len());
        for (number, answer, member) in asked {
            let details = match answer {
                Some(answer) => timeout_at(until, answer).await.ok().and_then(Result::ok),
                None => None,
            };
            children.push(ChildReport {
                number,
                tenancy: member.whose.into(),
                standing: member.standing,
                why: why(&member.child.state().borrow()),
                era: member.child.era_if_known(),
                leases: member.leases,
                details,
            });
        }
        children.sort_by_key(|child| child.number);
        let places = match self.config.isolation {
            Isolation::Shared => None,
            Isolation::Principal | Isolation::Session => Some((self.places_taken(), self.places_max)),
        };
        let (isolation, last_exit) = (self.config.isolation, self.last_exit.report());
        Report { isolation, health, places, waiting, tasks, last_exit, children, left_out }
    }
}

impl From<Whose> for Tenancy {
    fn from(whose: Whose) -> Self {
        match whose {
            Whose::Everybody => Self::Everybody,
            Whose::Principal(principal, _) => Self::Principal(principal),
            Whose::Session => Self::Session,
            Whose::Nobody => Self::Spare,
            Whose::Trial => Self::Trial,
        }
    }
}

fn why(state: &ChildState) -> Option<String> {
    match state {
        ChildState::Restarting(why) | ChildState::CircuitOpen(why) | ChildState::Failed(why) => Some(why.clone()),
        ChildState::Starting | ChildState::Ready | ChildState::Stopped => None,
    }
}
