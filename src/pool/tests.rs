//! Pools of children that the test plays. Time is paused: waits cost nothing and cannot be too short.

mod demand;
mod eras;
mod report;
mod shared;
mod spares;
mod tasks;

use std::collections::BTreeMap;
use std::num::NonZeroUsize;
use std::time::Duration;

use http::{HeaderName, HeaderValue};
use tokio::task::JoinHandle;
use tokio::time::timeout;

use super::testing::config;
use super::*;
use crate::child::testing::{Command, Inbox};
use crate::config::HeaderEnv;

/// A child as a test sees it.
struct Fake {
    tenancy: Tenancy,
    inbox: Inbox,
    asked: Asked,
    /// How it was told to be spoken to instead.
    retuned: Option<(Sharing, Era)>,
}

/// What a child was asked to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Asked {
    Nothing,
    Stop,
    Kill,
}

/// A pool whose children the test plays.
struct World {
    pool: Arc<Pool>,
    children: Arc<Mutex<BTreeMap<u64, Fake>>>,
    tracker: TaskTracker,
}

/// A pool whose children are ready at once.
async fn world(change: impl FnOnce(&mut PoolConfig), isolation: Isolation) -> World {
    world_of(ChildState::Ready, change, isolation).await
}

async fn world_of(first: ChildState, change: impl FnOnce(&mut PoolConfig), isolation: Isolation) -> World {
    let mut config = config(isolation);
    change(&mut config);
    let ask = Box::new(|| unreachable!("they are known"));
    world_asking(first, config, Sharing::Private, Eras::said(Era::Legacy), ask).await
}

async fn world_asking(first: ChildState, config: PoolConfig, own: Sharing, eras: Eras, ask: Ask) -> World {
    let (children, tracker) = (Arc::new(Mutex::new(BTreeMap::new())), TaskTracker::new());
    let started = Arc::clone(&children);
    let spawn = move |tenancy: Tenancy| {
        let number = tenancy.number;
        let (handle, inbox) = ChildHandle::for_tests_of(tenancy.era.clone());
        inbox.set_state(first.clone());
        started.lock().unwrap().insert(number, Fake { tenancy, inbox, asked: Asked::Nothing, retuned: None });
        handle
    };
    let pool = Pool::asking(config, own, spawn, eras, ask, &tracker);
    settle().await;
    World { pool, children, tracker }
}

/// Lets every task come to rest.
async fn settle() {
    tokio::time::sleep(Duration::from_millis(1)).await;
}

fn nobody() -> Principal {
    Principal::anonymous()
}

fn count(count: usize) -> NonZeroUsize {
    NonZeroUsize::new(count).unwrap()
}

impl World {
    /// A lease, as it comes without headers.
    async fn lease(&self) -> Result<Lease, Reject> {
        self.pool.lease(self.tenant(&nobody(), &[])).await
    }

    async fn lease_for(&self, name: &str) -> Result<Lease, Reject> {
        self.pool.lease(self.tenant(&Principal::named(name), &[])).await
    }

    fn tenant(&self, principal: &Principal, headers: &[(&'static str, &'static str)]) -> Tenant {
        let headers =
            headers.iter().map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value)));
        self.pool.tenant(&Admission::of(principal.clone()), &headers.collect()).unwrap()
    }

    /// Waits for a lease in a task.
    async fn waits(&self, principal: &str) -> JoinHandle<Result<Lease, Reject>> {
        let (pool, tenant) = (self.pool.clone(), self.tenant(&Principal::named(principal), &[]));
        let waiting = self.tracker.spawn(async move { pool.lease(tenant).await });
        settle().await;
        waiting
    }

    fn set(&self, number: u64, state: ChildState) {
        self.children.lock().unwrap()[&number].inbox.set_state(state);
    }

    /// What a child was asked to do so far; the sternest.
    async fn asked(&self, number: u64) -> Asked {
        settle().await;
        let mut children = self.children.lock().unwrap();
        let fake = children.get_mut(&number).unwrap();
        while let Some(command) = fake.inbox.try_recv() {
            match command {
                Command::Stop if fake.asked == Asked::Nothing => fake.asked = Asked::Stop,
                Command::Stop => {}
                Command::Kill => fake.asked = Asked::Kill,
                Command::Retune(sharing, era) => fake.retuned = Some((sharing, era)),
                Command::Attach(..) | Command::Send(..) | Command::Detach(_) => panic!("not of the pool: {command:?}"),
            }
        }
        fake.asked
    }

    /// A child that was asked to stop does.
    async fn stops(&self, number: u64) {
        assert_eq!(self.asked(number).await, Asked::Stop, "{number}");
        self.set(number, ChildState::Stopped);
        settle().await;
    }

    /// How many children were ever started.
    fn started(&self) -> usize {
        self.children.lock().unwrap().len()
    }

    fn tenancy(&self, number: u64) -> Tenancy {
        self.children.lock().unwrap()[&number].tenancy.clone()
    }
}

fn header_env() -> Vec<HeaderEnv> {
    vec![HeaderEnv { header: HeaderName::from_static("x-api-key"), variable: "KEY".to_owned() }]
}

fn restarting() -> ChildState {
    ChildState::Restarting("exit status: 1".to_owned())
}

fn open_circuit() -> ChildState {
    ChildState::CircuitOpen("exit status: 1".to_owned())
}

fn failed() -> ChildState {
    ChildState::Failed("no such command".to_owned())
}

/// Stops a pool whose children heed that.
#[tokio::test(start_paused = true)]
async fn stop_asks_all_at_once_sends_waiters_away_and_starts_nothing_more() {
    let world = world(|config| config.warm = 1, Isolation::Session).await;
    // The trial, and the spare that came after it.
    world.stops(1).await;
    let lease = world.lease().await.unwrap();
    assert_eq!((lease.number(), world.started()), (2, 3));
    let second = world.lease().await.unwrap();
    let waiting = world.waits("w").await;
    drop(second);
    assert_eq!(world.asked(3).await, Asked::Stop);

    let pool = world.pool.clone();
    let stopping = world.tracker.spawn(async move { pool.stop().await });
    settle().await;
    assert_eq!(waiting.await.unwrap().unwrap_err(), Reject::ShuttingDown);
    assert_eq!(world.lease().await.unwrap_err(), Reject::ShuttingDown);
    assert_eq!((world.asked(2).await, world.pool.health().standing), (Asked::Stop, Standing::Stopped));
    assert!(!stopping.is_finished());
    // Somebody is in a hurry.
    let pool = world.pool.clone();
    let killing = world.tracker.spawn(async move { pool.kill().await });
    assert_eq!((world.asked(2).await, world.asked(3).await), (Asked::Kill, Asked::Kill));
    world.set(2, ChildState::Stopped);
    world.set(3, ChildState::Stopped);
    stopping.await.unwrap();
    killing.await.unwrap();
    drop(lease);
    world.tracker.close();
    world.tracker.wait().await;
    assert_eq!((world.started(), world.pool.health().total), (3, 0));
}
