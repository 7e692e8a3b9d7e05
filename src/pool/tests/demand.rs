//! Children that are started when somebody comes for them, and the places there are for them.

use super::*;

const QUEUE_TIMEOUT: Duration = Duration::from_secs(60);

/// A pool whose trial is over.
async fn on_demand(change: impl FnOnce(&mut PoolConfig), isolation: Isolation) -> World {
    let world = world(change, isolation).await;
    world.stops(1).await;
    world
}

#[tokio::test(start_paused = true)]
async fn the_command_is_tried_by_a_child_that_nobody_gets_and_that_takes_no_place() {
    for isolation in [Isolation::Principal, Isolation::Session] {
        let world = world_of(ChildState::Starting, |config| config.children_max = count(1), isolation).await;
        assert_eq!(world.tenancy(1).sharing, Sharing::Shared);
        assert_eq!(world.pool.health(), Health { standing: Standing::Starting, ready: 0, total: 0 });
        let lease = world.lease().await.unwrap();
        assert_eq!(lease.number(), 2);
        assert_eq!(world.asked(1).await, Asked::Nothing);
        world.set(1, ChildState::Ready);
        world.stops(1).await;
        world.pool.first().await.unwrap();
        assert!(world.tenancy(2).proof.is_given());
        assert_eq!(world.pool.health(), Health { standing: Standing::Ready, ready: 0, total: 1 });
        // What happens to a client's child is that client's.
        world.set(2, failed());
        assert!(timeout(QUEUE_TIMEOUT, world.pool.lost()).await.is_err());
    }
}

#[tokio::test(start_paused = true)]
async fn a_failed_trial_ends_the_program_unless_the_clients_headers_may_be_what_it_misses() {
    let world = world_of(ChildState::Starting, |_| {}, Isolation::Session).await;
    world.set(1, failed());
    assert_eq!(world.pool.first().await.unwrap_err().exit_code(), 69);
    assert_eq!(world.pool.lost().await.exit_code(), 69);

    let change = |config: &mut PoolConfig| (config.warm, config.header_env) = (1, header_env());
    let world = world_of(ChildState::Starting, change, Isolation::Session).await;
    world.set(1, failed());
    world.stops(1).await;
    world.pool.first().await.unwrap();
    assert!(timeout(QUEUE_TIMEOUT, world.pool.lost()).await.is_err());
    assert_eq!(world.pool.health().standing, Standing::Ready);
    assert!(!world.tenancy(1).proof.is_given());
    assert_eq!(world.started(), 1, "no spares of a command that may not start");
    // With its header one does; a spare would be without.
    let lease = world.pool.lease(world.tenant(&nobody(), &[("x-api-key", "k")])).await.unwrap();
    world.set(2, ChildState::Ready);
    settle().await;
    assert!(world.tenancy(1).proof.is_given());
    drop(lease);
    world.stops(2).await;
    assert_eq!(world.started(), 2);
}

#[tokio::test(start_paused = true)]
async fn each_session_has_a_child_of_its_own_that_ends_with_it() {
    let world = on_demand(|_| {}, Isolation::Session).await;
    let (first, second) = (world.lease().await.unwrap(), world.lease().await.unwrap());
    assert_eq!((first.number(), second.number()), (2, 3));
    assert_eq!(world.tenancy(2).sharing, Sharing::Private);
    assert_eq!(world.asked(2).await, Asked::Nothing);
    drop(first);
    assert_eq!((world.asked(2).await, world.asked(3).await), (Asked::Stop, Asked::Nothing));
}

#[tokio::test(start_paused = true)]
async fn places_are_given_in_the_order_of_arrival_and_held_until_a_child_is_gone() {
    let world = on_demand(|_| {}, Isolation::Session).await;
    let (first, _second) = (world.lease().await.unwrap(), world.lease().await.unwrap());
    let mut waiting = Vec::new();
    for name in ["a", "b", "c"] {
        waiting.push(world.waits(name).await);
    }
    drop(first);
    assert_eq!(world.asked(2).await, Asked::Stop);
    assert_eq!(world.started(), 3, "its place is its own until it is gone");
    // The first of them hangs up; its turn is the second one's.
    waiting.remove(0).abort();
    world.stops(2).await;
    let lease = waiting.remove(0).await.unwrap().unwrap();
    assert_eq!((lease.number(), world.started()), (4, 4));
    assert!(!waiting[0].is_finished());
    drop(lease);
    world.stops(4).await;
    assert_eq!(waiting.remove(0).await.unwrap().unwrap().number(), 5);
    assert!(world.pool.lock().waiting.is_empty());
}

#[tokio::test(start_paused = true)]
async fn nobody_waits_longer_than_the_queue_timeout() {
    let world = on_demand(|config| config.children_max = count(1), Isolation::Session).await;
    let only = world.lease().await.unwrap();
    let begun = Instant::now();
    let reject = world.lease().await.unwrap_err();
    assert_eq!((reject, begun.elapsed()), (Reject::Children { limit: 1, waited: QUEUE_TIMEOUT }, QUEUE_TIMEOUT));
    assert!(world.pool.lock().waiting.is_empty());
    drop(only);
    world.stops(2).await;
    assert_eq!(world.lease().await.unwrap().number(), 3);
}

#[tokio::test(start_paused = true)]
async fn a_place_given_to_somebody_who_hangs_up_at_that_moment_is_not_lost() {
    let world = on_demand(|config| config.children_max = count(1), Isolation::Session).await;
    let only = world.lease().await.unwrap();
    let mut asks = Box::pin(world.lease());
    let mut next = Box::pin(world.lease());
    for waiting in [&mut asks, &mut next] {
        tokio::select! { biased; _ = waiting => panic!("there is no place"), () = settle() => {} }
    }
    drop(only);
    world.stops(2).await;
    // The place is the first one's by now, which never gets to know.
    drop(asks);
    assert_eq!(next.await.unwrap().number(), 3);
}

#[tokio::test(start_paused = true)]
async fn sessions_of_one_principal_share_a_child_and_find_it_again() {
    let world = on_demand(|_| {}, Isolation::Principal).await;
    let (first, second) = (world.lease_for("a").await.unwrap(), world.lease_for("a").await.unwrap());
    let other = world.lease_for("b").await.unwrap();
    assert_eq!((first.number(), second.number(), other.number()), (2, 2, 3));
    assert_eq!(world.tenancy(2).sharing, Sharing::Shared);
    drop((first, second));
    assert_eq!(world.asked(2).await, Asked::Nothing);
    assert_eq!(world.lease_for("a").await.unwrap().number(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_principals_child_is_stopped_when_it_was_unused_for_long_enough() {
    let idle = Duration::from_secs(300);
    let world = on_demand(|config| config.idle_timeout = Some(idle), Isolation::Principal).await;
    let lease = world.lease_for("a").await.unwrap();
    tokio::time::sleep(idle * 3).await;
    drop(lease);
    tokio::time::sleep(idle / 2).await;
    drop(world.lease_for("a").await.unwrap());
    tokio::time::sleep(idle - Duration::from_secs(1)).await;
    assert_eq!(world.asked(2).await, Asked::Nothing);
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert_eq!(world.asked(2).await, Asked::Stop);
    // It is not given to anybody while it goes.
    assert_eq!(world.lease_for("a").await.unwrap().number(), 3);
}

#[tokio::test(start_paused = true)]
async fn the_child_that_was_unused_longest_makes_room_for_another_principal() {
    let world = on_demand(|_| {}, Isolation::Principal).await;
    let (a, b) = (world.lease_for("a").await.unwrap(), world.lease_for("b").await.unwrap());
    drop(b);
    settle().await;
    drop(a);
    let waiting = world.waits("c").await;
    assert_eq!(world.asked(2).await, Asked::Nothing);
    world.stops(3).await;
    let c = waiting.await.unwrap().unwrap();
    assert_eq!(c.number(), 4);

    // Where all are in use, the first that comes free does.
    let a = world.lease_for("a").await.unwrap();
    let waiting = [world.waits("d").await, world.waits("d").await];
    drop(c);
    world.stops(4).await;
    for waiting in waiting {
        assert_eq!(waiting.await.unwrap().unwrap().number(), 5, "they share it");
    }
    assert_eq!((a.number(), world.asked(2).await, world.started()), (2, Asked::Nothing, 5));
}

#[tokio::test(start_paused = true)]
async fn a_principals_failed_child_is_replaced_for_the_next_session() {
    let world = on_demand(|_| {}, Isolation::Principal).await;
    let stays = world.lease_for("a").await.unwrap();
    world.set(2, failed());
    assert_eq!(world.lease_for("a").await.unwrap().number(), 3);
    assert_eq!(world.asked(2).await, Asked::Nothing);
    drop(stays);
    assert_eq!(world.asked(2).await, Asked::Stop);
}

#[tokio::test(start_paused = true)]
async fn children_that_fail_again_and_again_are_in_the_way_of_the_next_client() {
    let world = on_demand(|_| {}, Isolation::Principal).await;
    let lease = world.lease().await.unwrap();
    let number = lease.number();
    assert_eq!(world.pool.health().standing, Standing::Ready);
    world.set(number, open_circuit());
    assert_eq!(world.pool.health().standing, Standing::CircuitOpen);
    world.set(number, ChildState::Ready);
    assert_eq!(world.pool.health().standing, Standing::Ready);

    // What its own session did to it says nothing to others.
    let world = on_demand(|_| {}, Isolation::Session).await;
    let lease = world.lease().await.unwrap();
    world.set(lease.number(), open_circuit());
    assert_eq!(world.pool.health().standing, Standing::Ready);
}
