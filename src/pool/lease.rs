//! Taking a child and giving it back: what is at hand, what has to be started, and the queue for places.

use std::fmt;
use std::pin::pin;
use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, TryAcquireError};
use tokio::time::{Instant, sleep_until, timeout};
use tracing::debug;

use super::members::{GivenBack, Whose};
use super::tasks::Found;
use super::{Pool, State, Stock, TaskNews, Tenant};
use crate::auth::Principal;
use crate::child::{ChildHandle, OwnVariables};
use crate::config::Isolation;
use crate::error::Reject;
use crate::mcp::Era;
use crate::metrics::Gauge;
use crate::router::Sharing;

/// The right to use a child. Dropped, it is given back: whoever holds it must have detached before.
pub struct Lease {
    pool: Arc<Pool>,
    number: u64,
    child: ChildHandle,
    /// Who has it.
    principal: Principal,
}

impl fmt::Debug for Lease {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Lease({})", self.number)
    }
}

impl Lease {
    /// The child.
    pub const fn child(&self) -> &ChildHandle {
        &self.child
    }

    /// The child's number, for the log.
    pub const fn number(&self) -> u64 {
        self.number
    }

    /// The child has told of a task to who has the lease. One that was made goes on keeping the child when the lease is
    /// given back.
    pub fn note_task(&self, id: &str, news: TaskNews) {
        self.pool.note_task(id, &self.principal, self.number, news);
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.pool.give_back(self.number);
    }
}

impl Pool {
    /// Chooses a child, or starts one. Waits only for a place and, at the start of the program, until it is known which
    /// era the child is spoken to in.
    ///
    /// # Errors
    /// [`Reject::Children`] when none came free in time, [`Reject::ShuttingDown`].
    ///
    /// # Cancel safety
    /// Cancelled before it returns, nothing was taken.
    pub async fn lease(self: &Arc<Self>, tenant: Tenant) -> Result<Lease, Reject> {
        let lease = self.take(&tenant).await?;
        lease.child.era_found().await;
        // That is found out when the pool is stopped, too, since nobody waits for it any more.
        if self.closing.is_cancelled() { Err(Reject::ShuttingDown) } else { Ok(lease) }
    }

    async fn take(self: &Arc<Self>, tenant: &Tenant) -> Result<Lease, Reject> {
        if let Some(lease) = self.of_task(tenant)? {
            return Ok(lease);
        }
        if let Some(lease) = self.at_hand(tenant)? {
            return Ok(lease);
        }
        let waited = self.config.queue_timeout;
        debug!("as many children as there may be; waiting for one to end");
        let lease = timeout(waited, self.in_turn(tenant)).await;
        lease.unwrap_or_else(|_| Err(Reject::Children { limit: self.config.children_max.get(), waited }.counted()))
    }

    /// What can be had without waiting.
    fn at_hand(self: &Arc<Self>, tenant: &Tenant) -> Result<Option<Lease>, Reject> {
        let mut state = self.lock();
        if let Some(lease) = self.existing(&mut state, tenant)? {
            return Ok(Some(lease));
        }
        match Arc::clone(&self.places).try_acquire_owned() {
            Ok(place) => self.new_one(&mut state, tenant, place).map(Some),
            // Nobody is overtaken: a place that others wait for is never free.
            Err(TryAcquireError::NoPermits) => Ok(None),
            Err(TryAcquireError::Closed) => Err(Reject::ShuttingDown),
        }
    }

    async fn in_turn(self: &Arc<Self>, tenant: &Tenant) -> Result<Lease, Reject> {
        let _waiting = Waiting::new(self, tenant.principal());
        let _counted = self.metrics.one(Gauge::SessionsWaiting);
        let mut place = pin!(Arc::clone(&self.places).acquire_owned());
        // In the queue first: what becomes free then goes to those who are in it.
        let mut asked = false;
        loop {
            let arrived = self.arrived.notified();
            if let Some(lease) = self.existing(&mut self.lock(), tenant)? {
                return Ok(lease);
            }
            tokio::select! {
                biased;
                place = &mut place => {
                    let place = place.map_err(|_| Reject::ShuttingDown)?;
                    let mut state = self.lock();
                    return match self.existing(&mut state, tenant)? {
                        Some(lease) => Ok(lease),
                        None => self.new_one(&mut state, tenant, place),
                    };
                }
                () = std::future::ready(()), if !asked => {
                    asked = true;
                    self.make_room(&mut self.lock());
                }
                () = arrived => {}
            }
        }
    }

    /// A child that is there already. With `shared` there always is.
    fn existing(self: &Arc<Self>, state: &mut State, tenant: &Tenant) -> Result<Option<Lease>, Reject> {
        if state.closed {
            return Err(Reject::ShuttingDown);
        }
        for number in state.members.dead() {
            self.end(state, number);
        }
        let number = match self.config.isolation {
            Isolation::Shared => Some(self.least_loaded(state)),
            Isolation::Principal => state.members.of_principal(tenant.principal(), &tenant.variables),
            Isolation::Session => {
                if state.stock == Stock::Dissolved {
                    state.stock = Stock::Kept;
                }
                // The environment of a spare is what it is.
                let fits = tenant.variables.are_absent() && self.spares_suit(tenant);
                if fits { state.members.spare() } else { None }
            }
        };
        let mut lease = number.and_then(|number| self.give(state, number, tenant));
        if let Some(lease) = lease.as_mut().filter(|_| self.config.isolation == Isolation::Session) {
            self.suit(lease, tenant);
        }
        if lease.is_some() {
            self.stock_up(state);
        }
        Ok(lease)
    }

    /// Whether a spare can be made to suit the tenant: nobody has spoken to it yet, or in the same way.
    fn spares_suit(&self, tenant: &Tenant) -> bool {
        let spoken_to = self.sharing == Sharing::Shared;
        !spoken_to || self.own_manner(tenant.era).1.era() == self.own_manner(Era::Legacy).1.era()
    }

    /// Has a spare, which was started for a session, spoken to as the tenant needs it.
    fn suit(&self, lease: &mut Lease, tenant: &Tenant) {
        if tenant.era == Era::Modern && self.sharing == Sharing::Private {
            let (sharing, era) = self.own_manner(tenant.era);
            lease.child = lease.child.retuned(sharing, era);
        }
    }

    /// The least loaded of those everybody shares. One that was stopped for want of use is started again before another
    /// gets a second tenant.
    fn least_loaded(self: &Arc<Self>, state: &mut State) -> u64 {
        let started = state.members.count(&Whose::Everybody);
        match state.members.least_loaded() {
            Some((number, idle)) if idle || started >= self.config.size.get() => number,
            Some(_) | None => {
                self.begin(state, Whose::Everybody, self.shared_manner(), OwnVariables::default(), None).0
            }
        }
    }

    /// A new child on that place.
    fn new_one(
        self: &Arc<Self>,
        state: &mut State,
        tenant: &Tenant,
        place: OwnedSemaphorePermit,
    ) -> Result<Lease, Reject> {
        let (whose, manner, variables) = match self.config.isolation {
            Isolation::Shared => (Whose::Everybody, self.shared_manner(), OwnVariables::default()),
            Isolation::Principal => {
                let whose = Whose::Principal(tenant.principal().clone(), tenant.variables.clone());
                (whose, self.shared_manner(), tenant.variables.clone())
            }
            Isolation::Session => (Whose::Session, self.own_manner(tenant.era), tenant.variables.clone()),
        };
        let (number, _) = self.begin(state, whose, manner, variables, Some(place));
        let lease = self.give(state, number, tenant).ok_or(Reject::ShuttingDown)?;
        self.stock_up(state);
        self.arrived.notify_waiters();
        Ok(lease)
    }

    /// The child that has a task of the tenant's, if it is there.
    fn of_task(self: &Arc<Self>, tenant: &Tenant) -> Result<Option<Lease>, Reject> {
        if tenant.tasks.is_empty() {
            return Ok(None);
        }
        let mut state = self.lock();
        if state.closed {
            return Err(Reject::ShuttingDown);
        }
        let found: Vec<Found> =
            tenant.tasks.iter().map(|id| state.tasks.find(id, tenant.principal(), tenant.rules())).collect();
        let unknown = found.contains(&Found::Nothing) && self.may_be_anothers(tenant);
        if found.contains(&Found::Anothers) || unknown {
            return Err(Reject::InvalidParams("taskId: no such task".to_owned()));
        }
        let child = found.into_iter().find_map(|found| match found {
            Found::Own(child) => Some(child),
            Found::Anothers | Found::Nothing => None,
        });
        let child = child.filter(|child| state.members.is_of_use(*child));
        Ok(child.and_then(|child| self.give(&mut state, child, tenant)))
    }

    /// Whether a task that is not known, or not any more, may be another's than the tenant's, or of what it may not use.
    fn may_be_anothers(&self, tenant: &Tenant) -> bool {
        let shares = self.config.isolation == Isolation::Shared && tenant.principal().label().is_some();
        shares || !tenant.rules().is_everything()
    }

    /// A child has told of a task.
    fn note_task(self: &Arc<Self>, id: &str, principal: &Principal, child: u64, news: TaskNews) {
        let (mut state, now) = (self.lock(), Instant::now());
        let free = match news {
            TaskNews::Made(subject, ttl) if state.members.is_of_use(child) && state.members.take(child).is_some() => {
                state.tasks.make(id, (principal, subject), child, ttl, now)
            }
            TaskNews::Made(..) => Vec::new(),
            TaskNews::GoesOn(ttl) => {
                state.tasks.go_on(id, principal, ttl, now);
                Vec::new()
            }
            TaskNews::Over => state.tasks.end(id, principal).into_iter().collect(),
        };
        for child in free {
            self.returned(&mut state, child);
        }
        drop(state);
        self.tasks_changed.notify_one();
    }

    /// Lets go of the children of tasks whose time is over, until the pool is stopped.
    pub(super) async fn watch_tasks(self: Arc<Self>) {
        let watch = async {
            loop {
                let next = {
                    let mut state = self.lock();
                    for child in state.tasks.expire(Instant::now()) {
                        self.returned(&mut state, child);
                    }
                    state.tasks.next_end()
                };
                tokio::select! {
                    () = self.tasks_changed.notified() => {}
                    () = async { sleep_until(next.unwrap_or_else(Instant::now)).await }, if next.is_some() => {}
                }
            }
        };
        tokio::select! {
            () = self.closing.cancelled() => {}
            () = watch => {}
        }
    }

    fn give(self: &Arc<Self>, state: &mut State, number: u64, tenant: &Tenant) -> Option<Lease> {
        let child = state.members.take(number)?.clone();
        debug!(child = number, "lease given");
        Some(Lease { pool: self.clone(), number, child, principal: tenant.principal().clone() })
    }

    fn give_back(self: &Arc<Self>, number: u64) {
        self.returned(&mut self.lock(), number);
    }

    /// Somebody, or some task, has done with a child.
    fn returned(self: &Arc<Self>, state: &mut State, number: u64) {
        match state.members.give_back(number, Instant::now()) {
            GivenBack::InUse => {}
            GivenBack::Unused => self.make_room(state),
            GivenBack::Spent => self.end(state, number),
        }
    }
}

/// Somebody who waits for a place. When that is over, one way or the other, what was left for it is there for others.
struct Waiting<'a> {
    pool: &'a Arc<Pool>,
    principal: &'a Principal,
}

impl<'a> Waiting<'a> {
    fn new(pool: &'a Arc<Pool>, principal: &'a Principal) -> Self {
        *pool.lock().waiting.entry(principal.clone()).or_default() += 1;
        Self { pool, principal }
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        let mut state = self.pool.lock();
        if let Some(waiting) = state.waiting.get_mut(self.principal) {
            *waiting -= 1;
            if *waiting == 0 {
                state.waiting.remove(self.principal);
            }
        }
        self.pool.stock_up(&mut state);
    }
}
