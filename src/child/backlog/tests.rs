use std::time::Duration;

use tokio::time::timeout;

use super::*;

fn backlog_of(limit: usize) -> Backlog {
    Backlog::new(limit, ServerMetrics::unnamed())
}

/// A sender's message reaches the actor, which writes it as it is.
async fn pass(backlog: &Backlog, lane: &Lane, bytes: usize) -> Intake {
    let admission = backlog.admit(bytes).await.expect("open");
    backlog.accept(admission);
    append(backlog, lane, bytes)
}

fn append(backlog: &Backlog, lane: &Lane, bytes: usize) -> Intake {
    let intake = backlog.append(lane, &mut BytesMut::from(&*vec![b'x'; bytes]));
    backlog.keep(0);
    intake
}

async fn waits(backlog: &Backlog, bytes: usize) -> bool {
    timeout(Duration::from_secs(1), backlog.admit(bytes)).await.is_err()
}

#[tokio::test(start_paused = true)]
async fn senders_wait_above_the_limit_and_go_on_as_the_pump_writes() {
    let backlog = backlog_of(100);
    let lane = backlog.open();
    assert_eq!(pass(&backlog, &lane, 60).await, Intake::Flows);
    assert!(!waits(&backlog, 40).await);
    assert!(waits(&backlog, 41).await);
    let lines = backlog.take(&lane).await.expect("lines");
    assert_eq!((lines.len(), backlog.stdin_bytes()), (60, 60));
    assert!(waits(&backlog, 41).await, "taken is not written");
    backlog.wrote(&lane, 10, Some(b'x'));
    assert!(!waits(&backlog, 50).await);
    backlog.wrote(&lane, 50, Some(b'x'));
    assert!(!waits(&backlog, 100).await);
}

#[tokio::test(start_paused = true)]
async fn what_the_router_keeps_takes_room_until_it_is_gone() {
    let backlog = backlog_of(100);
    let admission = backlog.admit(80).await.expect("open");
    backlog.accept(admission);
    backlog.keep(80);
    assert!(waits(&backlog, 30).await);
    backlog.keep(0);
    assert!(!waits(&backlog, 100).await);
}

#[tokio::test(start_paused = true)]
async fn a_message_larger_than_all_room_passes_alone_and_is_not_taken_for_stuck() {
    let backlog = backlog_of(100);
    let lane = backlog.open();
    assert_eq!(pass(&backlog, &lane, 1000).await, Intake::Flows);
    assert!(waits(&backlog, 1).await);
    assert_eq!(append(&backlog, &lane, 100), Intake::Flows);
    assert_eq!(append(&backlog, &lane, 1), Intake::Stuck);
    assert!(backlog.take(&lane).await.is_some());
    backlog.wrote(&lane, 1101, Some(b'x'));
    assert!(!waits(&backlog, 100).await);
}

#[tokio::test(start_paused = true)]
async fn what_is_admitted_at_once_takes_the_room_there_is_and_does_not_make_the_child_look_stuck() {
    let backlog = backlog_of(100);
    let lane = backlog.open();
    assert_eq!(pass(&backlog, &lane, 60).await, Intake::Flows);
    backlog.accept(Admission::at_once(300));
    assert_eq!(append(&backlog, &lane, 300), Intake::Flows);
    assert!(waits(&backlog, 1).await);
    assert!(backlog.try_admit(1).is_none());
    assert!(backlog.take(&lane).await.is_some());
    backlog.wrote(&lane, 360, Some(b'x'));
    assert!(backlog.try_admit(100).is_some());
}

#[tokio::test(start_paused = true)]
async fn a_pump_that_writes_while_a_message_is_in_hand_gives_nothing_of_it_back() {
    let backlog = backlog_of(100);
    let large = backlog.admit(1000).await.expect("open");
    let lane = backlog.open();
    append(&backlog, &lane, 10);
    assert!(backlog.take(&lane).await.is_some());
    backlog.accept(large);
    backlog.wrote(&lane, 10, Some(b'x'));
    assert!(waits(&backlog, 1).await);
    assert_eq!(append(&backlog, &lane, 1000), Intake::Flows);
    assert!(waits(&backlog, 1).await);
}

#[tokio::test(start_paused = true)]
async fn what_mcp_mux_itself_writes_is_always_taken_and_shows_a_stuck_child() {
    let backlog = backlog_of(100);
    let lane = backlog.open();
    assert_eq!(append(&backlog, &lane, 150), Intake::Flows);
    assert!(waits(&backlog, 1).await);
    assert_eq!(append(&backlog, &lane, 51), Intake::Stuck);
    backlog.remove(&lane);
    assert!(!waits(&backlog, 100).await);
}

#[tokio::test(start_paused = true)]
async fn two_processes_have_lines_of_their_own_and_share_the_room() {
    let backlog = backlog_of(100);
    let (old, new) = (backlog.open(), backlog.open());
    pass(&backlog, &old, 10).await;
    pass(&backlog, &new, 20).await;
    assert_eq!(backlog.take(&new).await.expect("lines").len(), 20);
    assert_eq!(backlog.take(&old).await.expect("lines").len(), 10);
    assert!(waits(&backlog, 71).await);
    backlog.wrote(&old, 10, Some(b'x'));
    backlog.remove(&old);
    assert!(waits(&backlog, 81).await);
    assert!(backlog.take(&old).await.is_none());
    backlog.wrote(&old, 20, Some(b'x'));
    assert_eq!(backlog.stdin_bytes(), 20);
}

#[tokio::test(start_paused = true)]
async fn lines_for_a_process_that_takes_no_more_stay_and_keep_no_room() {
    let backlog = backlog_of(100);
    let lane = backlog.open();
    backlog.finish(&lane);
    let mut lines = BytesMut::from("line\n");
    assert_eq!(backlog.append(&lane, &mut lines), Intake::Closed);
    backlog.shut(&lane);
    assert_eq!(backlog.append(&lane, &mut lines), Intake::Closed);
    assert_eq!((&*lines, backlog.stdin_bytes()), (&b"line\n"[..], 0));
    assert_eq!(pass(&backlog, &lane, 90).await, Intake::Closed);
    assert!(!waits(&backlog, 100).await);
}

#[tokio::test(start_paused = true)]
async fn the_rest_is_taken_before_the_end_and_closing_sends_waiters_away() {
    let backlog = backlog_of(100);
    let lane = backlog.open();
    pass(&backlog, &lane, 90).await;
    backlog.finish(&lane);
    assert!(backlog.take(&lane).await.is_some());
    assert!(backlog.take(&lane).await.is_none());
    let (waiter, ()) = tokio::join!(backlog.admit(50), async { backlog.close() });
    assert!(waiter.is_none());
}

#[tokio::test(start_paused = true)]
async fn lines_of_which_a_process_got_nothing_are_given_back_and_no_others() {
    for (written, untouched) in
        [(0, "a\nbb\nccc\nd\n"), (1, "bb\nccc\nd\n"), (2, "bb\nccc\nd\n"), (6, "d\n"), (8, "d\n"), (9, "d\n")]
    {
        let backlog = backlog_of(100);
        let lane = backlog.open();
        backlog.append(&lane, &mut BytesMut::from("a\nbb\nccc\n"));
        assert!(backlog.take(&lane).await.is_some());
        backlog.append(&lane, &mut BytesMut::from("d\n"));
        backlog.wrote(&lane, written, written.checked_sub(1).map(|last| b"a\nbb\nccc\n"[last]));
        backlog.shut(&lane);
        assert!(backlog.take(&lane).await.is_none());
        assert_eq!(backlog.remove(&lane), untouched, "{written} bytes written");
        assert_eq!(backlog.remove(&lane), "");
        assert_eq!(backlog.stdin_bytes(), 0);
    }
}

#[tokio::test(start_paused = true)]
async fn lines_that_are_being_written_when_a_process_goes_may_have_reached_it() {
    let backlog = backlog_of(100);
    let lane = backlog.open();
    backlog.append(&lane, &mut BytesMut::from("a\nb\n"));
    assert!(backlog.take(&lane).await.is_some());
    backlog.append(&lane, &mut BytesMut::from("c\n"));
    backlog.writes(&lane);
    assert_eq!(backlog.remove(&lane), "c\n");
}
