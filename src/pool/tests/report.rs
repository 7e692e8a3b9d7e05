//! What a pool says of its children.

use super::*;
use crate::child::ExitReport;
use crate::config::Bounds;
use crate::pool::ReportedTenancy;

#[tokio::test(start_paused = true)]
async fn children_are_reported_with_whose_they_are_and_how_they_do() {
    let world = world(|config| config.warm = 1, Isolation::Session).await;
    let report = world.pool.report(Instant::now()).await;
    assert_eq!((report.places, report.waiting, report.left_out), (Some((1, 2)), 0, 0));
    let spare: Vec<_> = report.children.iter().filter(|child| child.tenancy == ReportedTenancy::Spare).collect();
    let [spare] = spare.as_slice() else { panic!("one spare: {report:?}") };
    assert_eq!((spare.standing, spare.leases, &spare.why), (Some(Standing::Ready), 0, &None));
    // Nobody is there to say more.
    assert!(spare.details.is_none());
    let failed = "exit status: 1".to_owned();
    world.children.lock().unwrap()[&spare.number].inbox.set_state(ChildState::Restarting(failed.clone()));
    let report = world.pool.report(Instant::now()).await;
    let child = report.children.iter().find(|child| child.number == spare.number).expect("still there");
    assert_eq!((child.standing, &child.why), (Some(Standing::Restarting), &Some(failed)));
}

#[tokio::test(start_paused = true)]
async fn of_very_many_children_those_in_trouble_are_reported() {
    let many = NonZeroUsize::new(130).expect("not zero");
    let world = world(|config| config.size = many, Isolation::Shared).await;
    world.children.lock().unwrap()[&130].inbox.set_state(ChildState::CircuitOpen("exit status: 1".to_owned()));
    let report = world.pool.report(Instant::now()).await;
    assert_eq!((report.children.len(), report.left_out, report.places), (100, 30, None));
    assert_eq!(report.children.last().map(|child| child.number), Some(130));
}

#[tokio::test(start_paused = true)]
async fn the_last_exit_is_that_of_any_child_and_stays_when_it_is_gone() {
    let world = world(|config| config.warm = 1, Isolation::Session).await;
    let report = world.pool.report(Instant::now()).await;
    assert_eq!((report.last_exit.is_none(), report.tasks), (true, (0, Bounds::default().tasks_max)));
    let (number, at) = (report.children.first().expect("a spare").number, Instant::now());
    let (status, stderr) = ("exit status: 1".to_owned(), vec!["out of memory".to_owned()]);
    world.tenancy(number).last_exit.set(ExitReport { pid: 4711, at, status, stderr });
    world.set(number, ChildState::Stopped);
    settle().await;
    let report = world.pool.report(Instant::now()).await;
    assert!(report.children.iter().all(|child| child.number != number), "{report:?}");
    let exit = report.last_exit.expect("it is known");
    assert_eq!((exit.pid, exit.stderr), (4711, vec!["out of memory".to_owned()]));
}
