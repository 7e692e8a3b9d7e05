//! Tasks of modern exchanges: who reaches the child that has one, and for how long it is kept (SEP-2663).

use super::*;
use crate::auth::Subject;

const MINUTE: Duration = Duration::from_secs(60);

impl World {
    async fn lease_of(&self, name: &str, tasks: &[&str]) -> Result<Lease, Reject> {
        let tasks = tasks.iter().map(|id| (*id).to_owned()).collect();
        let tenant = self.tenant(&Principal::named(name), &[]).of_era(Era::Modern).of_tasks(tasks);
        self.pool.lease(tenant).await
    }
}

#[tokio::test(start_paused = true)]
async fn a_task_is_found_on_the_child_that_has_it_and_by_its_principal_only() {
    let world = world(|config| config.size = count(3), Isolation::Shared).await;
    let (first, second) = (world.lease_of("a", &[]).await.unwrap(), world.lease_of("a", &[]).await.unwrap());
    assert!(first.number() != second.number());
    second.note_task("t", TaskNews::Made(Subject::Free, Some(MINUTE)));
    let number = second.number();
    drop(second);
    for _ in 0..6 {
        assert_eq!(world.lease_of("a", &["t"]).await.unwrap().number(), number);
    }
    let refused = world.lease_of("b", &["t"]).await.unwrap_err();
    assert_eq!(refused, Reject::InvalidParams("taskId: no such task".to_owned()));
    assert!(world.lease_of("b", &["x", "t"]).await.is_err());
    assert_eq!(world.lease_of("b", &["x"]).await.unwrap_err(), refused, "what is not known may be another's");
    assert!(world.lease_of("a", &["x", "t"]).await.is_err(), "one of several");
    // When it has come to its end it is still its principal's, until its time is over.
    first.note_task("t", TaskNews::Over);
    assert_eq!(world.lease_of("a", &["t"]).await.unwrap().number(), number);
    assert!(world.lease_of("b", &["t"]).await.is_err());
    tokio::time::sleep(MINUTE).await;
    settle().await;
    assert_eq!(world.lease_of("a", &["t"]).await.unwrap_err(), refused);
}

#[tokio::test(start_paused = true)]
async fn a_task_keeps_the_child_of_an_exchange_until_its_end_or_its_time_is_over() {
    let world = world(|config| config.children_max = count(9), Isolation::Session).await;
    for (id, ends) in [("told", true), ("expired", false)] {
        let lease = world.lease_of("a", &[]).await.unwrap();
        let number = lease.number();
        lease.note_task(id, TaskNews::Made(Subject::Free, Some(MINUTE)));
        drop(lease);
        tokio::time::sleep(MINUTE / 2).await;
        assert_eq!(world.asked(number).await, Asked::Nothing);
        let lease = world.lease_of("a", &[id]).await.unwrap();
        assert_eq!(lease.number(), number);
        if ends {
            lease.note_task(id, TaskNews::Over);
        }
        drop(lease);
        if !ends {
            assert_eq!(world.asked(number).await, Asked::Nothing);
            tokio::time::sleep(MINUTE / 2).await;
        }
        world.stops(number).await;
        assert!(world.lease_of("a", &[id]).await.unwrap().number() != number, "{id}");
    }
}

#[tokio::test(start_paused = true)]
async fn tasks_keep_no_more_than_half_of_the_children_there_may_be() {
    let world = world(|config| config.children_max = count(4), Isolation::Session).await;
    let mut numbers = Vec::new();
    for id in ["1", "2", "3"] {
        let lease = world.lease_of("a", &[]).await.unwrap();
        lease.note_task(id, TaskNews::Made(Subject::Free, None));
        numbers.push(lease.number());
    }
    let asked = [world.asked(numbers[0]).await, world.asked(numbers[1]).await, world.asked(numbers[2]).await];
    assert_eq!(asked, [Asked::Stop, Asked::Nothing, Asked::Nothing], "the oldest goes");
}

#[tokio::test(start_paused = true)]
async fn a_task_goes_with_its_child() {
    let world = world(|config| config.size = count(2), Isolation::Shared).await;
    let lease = world.lease_of("a", &[]).await.unwrap();
    lease.note_task("t", TaskNews::Made(Subject::Free, None));
    world.set(lease.number(), failed());
    assert!(world.lease_of("a", &["t"]).await.unwrap().number() != lease.number());
}
