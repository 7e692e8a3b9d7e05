use super::*;

async fn shared(size: usize) -> World {
    world(|config| config.size = count(size), Isolation::Shared).await
}

async fn numbers(world: &World, leases: &mut Vec<Lease>, more: usize) -> Vec<u64> {
    let mut numbers = Vec::new();
    for _ in 0..more {
        let lease = world.lease().await.unwrap();
        numbers.push(lease.number());
        leases.push(lease);
    }
    numbers
}

#[tokio::test(start_paused = true)]
async fn leases_go_to_the_least_loaded_and_of_equals_to_the_one_chosen_longest_ago() {
    let world = shared(3).await;
    let mut leases = Vec::new();
    assert_eq!(numbers(&world, &mut leases, 6).await, [1, 2, 3, 1, 2, 3]);
    // The third child loses both.
    leases.retain(|lease| lease.number() != 3);
    assert_eq!(numbers(&world, &mut leases, 4).await, [3, 3, 1, 2]);
    leases.clear();
    assert_eq!(numbers(&world, &mut leases, 3).await, [3, 1, 2]);
    assert_eq!((world.started(), world.pool.health()), (3, Health { standing: Standing::Ready, ready: 3, total: 3 }));
    assert_eq!(world.tenancy(2).sharing, Sharing::Shared);
}

#[tokio::test(start_paused = true)]
async fn one_that_works_comes_before_one_that_is_down_however_many_it_has() {
    let world = shared(3).await;
    let mut leases = Vec::new();
    numbers(&world, &mut leases, 3).await;
    world.set(1, open_circuit());
    world.set(2, restarting());
    assert_eq!(numbers(&world, &mut leases, 2).await, [3, 3]);
    // Those that it has stay.
    assert_eq!(leases[0].number(), 1);
    world.set(3, restarting());
    assert_eq!(numbers(&world, &mut leases, 2).await, [2, 2]);
    world.set(2, open_circuit());
    assert_eq!(numbers(&world, &mut leases, 1).await, [3]);
    // Starting again is not working yet.
    world.set(1, ChildState::Starting);
    assert_eq!(numbers(&world, &mut leases, 1).await, [1]);
    world.set(2, ChildState::Ready);
    assert_eq!(numbers(&world, &mut leases, 2).await, [2, 2]);
    assert_eq!(world.pool.health(), Health { standing: Standing::Ready, ready: 1, total: 3 });
}

#[tokio::test(start_paused = true)]
async fn children_in_their_first_start_get_their_share() {
    let world = world_of(ChildState::Starting, |config| config.size = count(2), Isolation::Shared).await;
    assert_eq!(world.pool.health(), Health { standing: Standing::Starting, ready: 0, total: 2 });
    world.set(2, ChildState::Ready);
    let mut leases = Vec::new();
    assert_eq!(numbers(&world, &mut leases, 4).await, [2, 1, 2, 1]);
    world.pool.first().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn one_that_nobody_uses_is_stopped_and_started_again_when_it_is_chosen() {
    let idle = Duration::from_secs(60);
    let change = |config: &mut PoolConfig| {
        (config.size, config.idle_timeout) = (count(2), Some(idle));
    };
    let world = world(change, Isolation::Shared).await;
    let first = world.lease().await.unwrap();
    tokio::time::sleep(idle / 2).await;
    assert_eq!(world.asked(2).await, Asked::Nothing);
    tokio::time::sleep(idle / 2).await;
    world.stops(2).await;
    assert_eq!(world.asked(1).await, Asked::Nothing);
    assert_eq!(world.pool.health(), Health { standing: Standing::Ready, ready: 1, total: 1 });
    // Nobody else gets a second tenant before it is back.
    assert_eq!(world.lease().await.unwrap().number(), 3);
    drop(first);
    assert_eq!(world.lease().await.unwrap().number(), 1);
    tokio::time::sleep(idle + Duration::from_secs(1)).await;
    world.stops(1).await;
    world.stops(3).await;
    // What would be started at once is no reason to send nobody.
    assert_eq!(world.pool.health(), Health { standing: Standing::Ready, ready: 0, total: 0 });
    assert_eq!(world.lease().await.unwrap().number(), 4);
}

#[tokio::test(start_paused = true)]
async fn one_that_is_still_to_prove_the_command_is_not_idle() {
    let change = |config: &mut PoolConfig| config.idle_timeout = Some(Duration::from_secs(1));
    let world = world_of(ChildState::Starting, change, Isolation::Shared).await;
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert_eq!(world.asked(1).await, Asked::Nothing);
    world.set(1, ChildState::Ready);
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert_eq!(world.asked(1).await, Asked::Stop);
}

#[tokio::test(start_paused = true)]
async fn one_that_fails_ends_the_program() {
    let world = world_of(ChildState::Starting, |config| config.size = count(2), Isolation::Shared).await;
    world.set(2, failed());
    assert_eq!(world.pool.first().await.unwrap_err().to_string(), "no such command");
    assert_eq!(world.pool.lost().await.exit_code(), 69);
}
