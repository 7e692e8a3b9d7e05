//! Children started ahead of their sessions, and those that bring something for their own.

use std::os::unix::ffi::OsStringExt as _;

use super::*;

/// A pool of four places with two spares, whose trial is over.
async fn warm(change: impl FnOnce(&mut PoolConfig)) -> World {
    let of_four = |config: &mut PoolConfig| {
        (config.warm, config.children_max) = (2, count(4));
        change(config);
    };
    let world = world(of_four, Isolation::Session).await;
    world.stops(1).await;
    assert_eq!((world.started(), world.pool.health().total), (3, 2));
    for number in [2, 3] {
        // What a private child is until its session's handshake stands.
        world.set(number, ChildState::Starting);
    }
    world
}

#[tokio::test(start_paused = true)]
async fn a_session_takes_the_oldest_spare_and_the_stock_is_filled_as_far_as_there_is_room() {
    let world = warm(|_| {}).await;
    let mut leases = Vec::new();
    for (number, started) in [(2, 4), (3, 5), (4, 5), (5, 5)] {
        leases.push(world.lease().await.unwrap());
        assert_eq!((leases.last().unwrap().number(), world.started()), (number, started));
    }
    let waiting = world.waits("w").await;
    leases.remove(0);
    world.stops(2).await;
    // Who waits comes first.
    leases.push(waiting.await.unwrap().unwrap());
    assert_eq!((world.started(), world.pool.health().total), (6, 4));
    leases.remove(0);
    world.stops(3).await;
    assert_eq!((world.started(), world.pool.lock().members.count(&Whose::Nobody)), (7, 1));
}

#[tokio::test(start_paused = true)]
async fn a_spare_that_is_down_is_the_last_choice_and_one_that_failed_is_none() {
    let world = warm(|_| {}).await;
    world.set(2, open_circuit());
    world.set(3, restarting());
    let mut leases = Vec::new();
    for number in [3, 4] {
        leases.push(world.lease().await.unwrap());
        assert_eq!(leases.last().unwrap().number(), number);
    }
    world.set(5, failed());
    assert_eq!(world.lease().await.unwrap().number(), 2);
    assert_eq!(world.asked(5).await, Asked::Stop);
}

#[tokio::test(start_paused = true)]
async fn idle_spares_are_stopped_and_come_back_with_the_next_session() {
    let idle = Duration::from_secs(60);
    let world = warm(|config| config.idle_timeout = Some(idle)).await;
    tokio::time::sleep(idle).await;
    world.stops(2).await;
    world.stops(3).await;
    tokio::time::sleep(idle * 10).await;
    assert_eq!((world.started(), world.pool.health().total), (3, 0));
    let lease = world.lease().await.unwrap();
    assert_eq!((lease.number(), world.started()), (4, 6));
}

#[tokio::test(start_paused = true)]
async fn headers_become_variables_of_a_child_that_is_nobody_elses() {
    let world = warm(|config| config.header_env = header_env()).await;
    let variables = |value: Option<&str>| OwnVariables::new(vec![("KEY".to_owned(), value.map(Into::into))]);
    for number in [1, 2, 3] {
        assert!(world.tenancy(number).variables == variables(None));
    }
    let secret = world.tenant(&nobody(), &[("x-api-key", "s3cret"), ("x-other", "y")]);
    assert!(!format!("{secret:?}").contains("s3cret"));
    let own = world.pool.lease(secret).await.unwrap();
    assert_eq!(own.number(), 4);
    assert!(world.tenancy(4).variables == variables(Some("s3cret")));
    assert!(!format!("{:?} {own:?} {:?}", world.pool, world.tenancy(4)).contains("s3cret"));
    assert_eq!(world.lease().await.unwrap().number(), 2, "who brings none takes a spare");
}

#[tokio::test(start_paused = true)]
async fn a_spare_makes_room_for_a_session_that_cannot_take_it() {
    let world = warm(|config| {
        config.header_env = header_env();
        config.children_max = count(2);
    })
    .await;
    let secret = || world.tenant(&nobody(), &[("x-api-key", "s3cret")]);
    let mut waiting = Box::pin(world.pool.lease(secret()));
    tokio::select! { biased; _ = &mut waiting => panic!("there is no place"), () = settle() => {} }
    assert_eq!((world.asked(2).await, world.asked(3).await), (Asked::Stop, Asked::Nothing));
    world.stops(2).await;
    assert_eq!(waiting.await.unwrap().number(), 4);
    // The last lease has ended by now; its place goes back to the stock, and so it does where nobody waits any more.
    world.stops(4).await;
    assert_eq!(world.started(), 5);
    let mut waiting = Box::pin(world.pool.lease(secret()));
    tokio::select! { biased; _ = &mut waiting => panic!("there is no place"), () = settle() => {} }
    drop(waiting);
    world.stops(3).await;
    assert_eq!((world.started(), world.pool.health().total), (6, 2));
}

#[tokio::test(start_paused = true)]
async fn a_header_that_is_there_twice_means_nothing() {
    let world = warm(|config| config.header_env = header_env()).await;
    let mut headers = HeaderMap::new();
    for value in ["a", "b"] {
        headers.append("x-api-key", HeaderValue::from_static(value));
    }
    let reject = world.pool.tenant(&Admission::anonymous(), &headers).unwrap_err();
    assert_eq!(reject, Reject::InvalidRequest("more than one x-api-key header".to_owned()));
    let bytes = HeaderValue::from_bytes(b"\xff\xfe").unwrap();
    let headers = HeaderMap::from_iter([(header_env()[0].header.clone(), bytes)]);
    let tenant = world.pool.tenant(&Admission::anonymous(), &headers).unwrap();
    let value = std::ffi::OsString::from_vec(vec![0xff, 0xfe]);
    assert!(tenant.variables == OwnVariables::new(vec![("KEY".to_owned(), Some(value))]));
}
