//! Which era a child is spoken to in, and who waits until that is known.

use tokio::sync::mpsc;

use super::*;
use crate::child::CommandEras;
use crate::child::probe::{Finding, Verdict};

/// Processes that are asked whether they are legacy; the test answers for them.
type Questions = mpsc::Receiver<tokio::sync::oneshot::Sender<Verdict>>;

const LEGACY: Known = Known::All(CommandEras::only(Era::Legacy));
const DUAL: Known = Known::All(CommandEras { modern: true, legacy: true });

async fn asking(isolation: Isolation, own: Sharing, warm: usize) -> (World, Questions) {
    let (sender, questions) = mpsc::channel(10);
    let ask: Ask = Box::new(move || {
        let (sender, (answer, verdict)) = (sender.clone(), tokio::sync::oneshot::channel());
        Box::pin(async move {
            sender.send(answer).await.unwrap();
            Finding { verdict: verdict.await.unwrap_or(Verdict::Not), how: "the test says so".to_owned() }
        })
    });
    let config = PoolConfig { warm, children_max: count(10), ..config(isolation) };
    (world_asking(ChildState::Ready, config, own, Eras::unknown(), ask).await, questions)
}

async fn answer(questions: &mut Questions, verdict: Verdict) {
    questions.recv().await.unwrap().send(verdict).unwrap();
    settle().await;
}

impl World {
    /// The first child finds this out.
    async fn finds(&self, news: Known) {
        self.tenancy(1).era.finder().expect("it is to find that out").learn(news);
        settle().await;
    }

    async fn waits_as(&self, era: Era) -> JoinHandle<Result<Lease, Reject>> {
        let (pool, tenant) = (self.pool.clone(), self.tenant(&nobody(), &[]).of_era(era));
        let waiting = self.tracker.spawn(async move { pool.lease(tenant).await });
        settle().await;
        waiting
    }
}

#[tokio::test(start_paused = true)]
async fn children_start_while_the_era_is_asked_for_and_leases_wait_for_it() {
    for (news, era) in [(LEGACY, Era::Legacy), (Known::Modern, Era::Modern), (DUAL, Era::Modern)] {
        let (world, mut questions) = asking(Isolation::Principal, Sharing::Private, 0).await;
        assert_eq!((world.started(), world.tenancy(1).era.era()), (1, None));
        let waiting = world.waits_as(Era::Legacy).await;
        assert!(!waiting.is_finished());
        world.finds(news).await;
        assert_eq!(waiting.await.unwrap().unwrap().child().era(), era);
        // Nothing more is asked of a command whose children several share, and nothing again.
        assert!(questions.recv().await.is_none());
        assert_eq!(world.lease().await.unwrap().child().era(), era);
    }
}

#[tokio::test(start_paused = true)]
async fn where_all_share_the_children_the_first_of_them_finds_it_out_for_all() {
    let ask = Box::new(|| unreachable!("no process is started for that"));
    let config = PoolConfig { size: count(3), ..config(Isolation::Shared) };
    let world = world_asking(ChildState::Starting, config, Sharing::Private, Eras::unknown(), ask).await;
    let waiting = world.waits_as(Era::Legacy).await;
    let finders = [1, 2, 3].map(|number| world.tenancy(number).era.finder());
    let [Some(finder), None, None] = finders else { panic!("{finders:?}") };
    assert!(!waiting.is_finished());
    finder.learn(Known::All(CommandEras::only(Era::Modern)));
    assert_eq!(waiting.await.unwrap().unwrap().child().era(), Era::Modern);
    assert!(world.tenancy(1).era.finder().is_none());
}

#[tokio::test(start_paused = true)]
async fn each_tenant_of_a_dual_command_gets_a_child_of_its_own_era() {
    let (world, mut questions) = asking(Isolation::Session, Sharing::Private, 0).await;
    let (modern, legacy) = (world.waits_as(Era::Modern).await, world.waits_as(Era::Legacy).await);
    world.finds(Known::Modern).await;
    // Who needs no more than this does not wait.
    let modern = modern.await.unwrap().unwrap();
    assert_eq!((modern.child().era(), world.tenancy(modern.number()).sharing), (Era::Modern, Sharing::Shared));
    assert!(!legacy.is_finished());
    answer(&mut questions, Verdict::Speaks).await;
    let legacy = legacy.await.unwrap().unwrap();
    assert_eq!((legacy.child().era(), world.tenancy(legacy.number()).sharing), (Era::Legacy, Sharing::Private));
    // The trial is spoken to as a shared one would be.
    assert_eq!((world.tenancy(1).era.era(), world.tenancy(1).sharing), (Some(Era::Modern), Sharing::Shared));
}

#[tokio::test(start_paused = true)]
async fn tenants_of_a_command_of_one_era_get_that() {
    for (first, second, era) in [(LEGACY, None, Era::Legacy), (Known::Modern, Some(Verdict::Not), Era::Modern)] {
        let (world, mut questions) = asking(Isolation::Session, Sharing::Private, 0).await;
        world.finds(first).await;
        if let Some(second) = second {
            answer(&mut questions, second).await;
        }
        assert!(questions.recv().await.is_none());
        for tenant in [Era::Legacy, Era::Modern] {
            let lease = world.waits_as(tenant).await.await.unwrap().unwrap();
            assert_eq!(lease.child().era(), era);
        }
    }
}

#[tokio::test(start_paused = true)]
async fn an_exchange_takes_a_spare_that_nobody_has_spoken_to() {
    let (world, _questions) = asking(Isolation::Session, Sharing::Private, 1).await;
    world.finds(DUAL).await;
    world.stops(1).await;
    assert_eq!((world.tenancy(2).sharing, world.tenancy(2).era.era()), (Sharing::Private, Some(Era::Legacy)));
    let lease = world.waits_as(Era::Modern).await.await.unwrap().unwrap();
    assert_eq!((lease.number(), lease.child().era()), (2, Era::Modern));
    world.asked(2).await;
    assert_eq!(world.children.lock().unwrap()[&2].retuned, Some((Sharing::Shared, Era::Modern)));
    // A session takes one as it is.
    let lease = world.lease().await.unwrap();
    assert_eq!((lease.number(), lease.child().era()), (3, Era::Legacy));
    world.asked(3).await;
    assert_eq!(world.children.lock().unwrap()[&3].retuned, None);
}

#[tokio::test(start_paused = true)]
async fn an_exchange_takes_no_spare_that_was_spoken_to_in_another_era() {
    for (news, number) in [(DUAL, 3), (LEGACY, 2)] {
        let (world, _questions) = asking(Isolation::Session, Sharing::Shared, 1).await;
        world.finds(news).await;
        world.stops(1).await;
        let lease = world.waits_as(Era::Modern).await.await.unwrap().unwrap();
        assert_eq!(lease.number(), number, "{news:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_pool_that_is_stopped_asks_no_more_and_sends_away_who_waits() {
    let (world, mut questions) = asking(Isolation::Session, Sharing::Private, 0).await;
    world.finds(Known::Modern).await;
    let unanswered = questions.recv().await.unwrap();
    let waiting = world.waits_as(Era::Legacy).await;
    let pool = world.pool.clone();
    let stopping = world.tracker.spawn(async move { pool.stop().await });
    world.stops(1).await;
    world.stops(2).await;
    assert_eq!(waiting.await.unwrap().unwrap_err(), Reject::ShuttingDown);
    stopping.await.unwrap();
    assert!(unanswered.is_closed());
    world.tracker.close();
    world.tracker.wait().await;
}

#[tokio::test(start_paused = true)]
async fn nobody_waits_for_a_question_that_has_come_to_nothing() {
    let ask: Ask = Box::new(|| Box::pin(async { panic!("a bug") }));
    let config = config(Isolation::Session);
    let world = world_asking(ChildState::Ready, config, Sharing::Private, Eras::unknown(), ask).await;
    world.finds(Known::Modern).await;
    assert_eq!(world.lease().await.unwrap().child().era(), Era::Modern);
    assert_eq!(world.pool.eras.known(), Known::All(CommandEras::only(Era::Modern)));
}
