//! Whole stories of a child: the actor over pipes in memory, with a paused clock, and once over a real process.

mod eras;
mod report;
mod succession;
mod supervision;
pub(super) mod world;

use std::collections::VecDeque;
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::sync::mpsc;
use tokio::time::{Instant, timeout};
use tokio_util::task::TaskTracker;

use self::world::*;
use super::supervisor::{EndedBy, Exit, Liveness, Order};
use super::{ChildGuard, ChildState, EraSource, Stats, Tenancy, spawn, spawn_with};
use crate::config::OnChildExit;
use crate::error::Reject;
use crate::jsonrpc::Message;
use crate::mcp::{Era, Revision};
use crate::router::{ClientCapabilities, Origin, Profile, SessionKey, Sharing, StreamId};

#[tokio::test(start_paused = true)]
async fn requests_wait_for_the_handshake_and_are_answered_each_on_its_stream() {
    let mut world = World::new();
    world.attach(1).await;
    world.asks(1).await;
    world.asks(2).await;
    let mut child = world.starts().await;
    assert_eq!(*world.state.borrow(), ChildState::Starting);
    child.shakes_hands().await;
    let (first, second) = (child.reads().await, child.reads().await);
    child.answers(&second).await;
    child.answers(&first).await;
    world.is_answered(2).await;
    world.is_answered(1).await;
    assert_eq!(*world.state.borrow(), ChildState::Ready);
}

#[tokio::test(start_paused = true)]
async fn a_refused_request_is_rejected_by_the_outbox() {
    let (mut world, mut child) = World::ready().await;
    world.asks(7).await;
    world.asks(7).await;
    world.is_rejected(7, "invalid-request").await;
    let request = child.reads().await;
    child.answers(&request).await;
    world.is_answered(7).await;
}

#[tokio::test(start_paused = true)]
async fn exit_before_the_first_handshake_is_final_and_says_why() {
    let mut world = World::new();
    world.attach(1).await;
    world.asks(1).await;
    let mut child = world.starts().await;
    child.complains("Traceback\nModuleNotFoundError: No module named 'mcp'\n").await;
    child.exits(3);
    let text = world.fails().await;
    let expected = "the server (fake) did not start: it exited (exit status: 3) before its handshake (initialize) stood\n\
                    its last lines on stderr:\n  Traceback\n  ModuleNotFoundError: No module named 'mcp'\n\
                    run the command by itself in a terminal to see what it misses";
    assert_eq!(text, expected);
    world.is_rejected(1, "child-unavailable").await;
    world.asks(2).await;
    world.is_rejected(2, "child-unavailable").await;
    assert!(world.started.try_recv().is_err());
    within(world.handle.stop()).await;
    world.leaves_nothing().await;
}

#[tokio::test(start_paused = true)]
async fn a_command_that_cannot_be_started_is_final() {
    let mut world = World::with(&[true], 1024);
    let text = world.fails().await;
    assert!(text.contains("the command `fake` was not found in PATH: install it"), "{text}");
    world.attach(1).await;
    world.asks(1).await;
    world.is_rejected(1, "child-unavailable").await;
}

#[tokio::test(start_paused = true)]
async fn a_first_handshake_that_takes_too_long_is_final_and_the_child_is_stopped() {
    let mut world = World::new();
    let begun = Instant::now();
    let mut child = world.starts().await;
    let text = world.fails().await;
    assert!(text.contains("did not stand within 30s") && text.contains("--start-timeout"), "{text}");
    assert_eq!(begun.elapsed().as_secs(), START_TIMEOUT.as_secs());
    child.is_ordered(Order::Stop).await;
    assert_eq!(child.reads().await["method"], "initialize");
    child.reads_the_end().await;
    child.exits(0);
    within(world.handle.stop()).await;
    world.leaves_nothing().await;
}

#[tokio::test(start_paused = true)]
async fn a_refused_first_handshake_is_final() {
    let mut world = World::new();
    let mut child = world.starts().await;
    let initialize = child.reads().await;
    let error = json!({"code": -32602, "message": "unsupported revision"});
    child.writes(&format!("{}\n", json!({"jsonrpc": "2.0", "id": initialize["id"], "error": error}))).await;
    let text = world.fails().await;
    assert!(
        text.contains("it refused the handshake (initialize): ") && text.contains("unsupported revision"),
        "{text}"
    );
    child.is_ordered(Order::Stop).await;
}

#[tokio::test(start_paused = true)]
async fn what_was_answered_before_a_crash_is_delivered_the_rest_is_told_and_the_session_lives_on() {
    let (mut world, mut child) = World::ready().await;
    for id in 1..=3 {
        world.asks(id).await;
    }
    let first = child.reads().await;
    child.complains("out of memory\n").await;
    // The exit is known before the answer has been read.
    child.ends(exit(3));
    child.answers(&first).await;
    drop(child);
    world.is_answered(1).await;
    let mut lines = Vec::new();
    for id in [2, 3] {
        let reject = world.is_rejected(id, "child-exited").await;
        let expected = Reject::ChildExited {
            status: "exit status: 3".to_owned(),
            exit_code: Some(3),
            signal: None,
            stderr: ["out of memory".to_owned()].into(),
        };
        assert_eq!(reject, expected);
        let Reject::ChildExited { stderr, .. } = reject else { unreachable!() };
        lines.push(stderr);
    }
    assert!(Arc::ptr_eq(&lines[0], &lines[1]), "not a copy for each");
    let mut child = world.starts().await;
    world.asks(4).await;
    child.shakes_hands().await;
    world.becomes(&ChildState::Ready).await;
    let request = child.reads().await;
    child.answers(&request).await;
    world.is_answered(4).await;
}

#[tokio::test(start_paused = true)]
async fn pipes_held_open_after_the_exit_do_not_hold_up_the_restart() {
    let (mut world, mut child) = World::ready().await;
    world.asks(1).await;
    child.reads().await;
    let begun = Instant::now();
    child.ends(exit(1));
    world.is_rejected(1, "child-exited").await;
    assert_eq!(begun.elapsed().as_millis(), 500);
    let mut kept = world.starts().await;
    kept.shakes_hands().await;
    world.becomes(&ChildState::Ready).await;
    drop(child);
}

#[tokio::test(start_paused = true)]
async fn repeated_exits_back_off_and_a_failed_start_counts_as_one() {
    let mut world = World::with(&[false, true, true], 1024);
    let mut child = world.starts().await;
    child.shakes_hands().await;
    world.becomes(&ChildState::Ready).await;
    child.exits(1);
    let mut child = world.starts().await;
    child.shakes_hands().await;
    world.becomes(&ChildState::Ready).await;
    child.exits(2);
    world.becomes(&ChildState::Restarting("exit status: 2".to_owned())).await;
    let mut kept = world.starts().await;
    kept.shakes_hands().await;
    world.becomes(&ChildState::Ready).await;
}

#[tokio::test(start_paused = true)]
async fn a_restarted_child_whose_handshake_fails_counts_as_exited() {
    let (mut world, child) = World::ready().await;
    child.exits(1);
    let mut silent = world.starts().await;
    silent.is_ordered(Order::Stop).await;
    silent.ends(terminated());
    drop(silent);
    let text = "its handshake (initialize) did not stand within 30s; signal: 15 (SIGTERM)";
    world.becomes(&ChildState::Restarting(text.to_owned())).await;
    let mut kept = world.starts().await;
    kept.shakes_hands().await;
    world.becomes(&ChildState::Ready).await;
}

#[tokio::test(start_paused = true)]
async fn a_child_that_closes_a_pipe_and_lives_is_replaced() {
    let (mut world, mut child) = World::ready().await;
    world.asks(1).await;
    child.reads().await;
    child.stdout = None;
    child.is_ordered(Order::Stop).await;
    child.reads_the_end().await;
    child.ends(terminated());
    drop(child);
    let reject = world.is_rejected(1, "child-exited").await;
    assert!(reject.to_string().contains("it closed its stdout; signal: 15 (SIGTERM)"), "{reject}");

    let Fake { stdin, mut stdout, stderr, mut orders, exit: exited } = {
        let mut child = world.starts().await;
        child.shakes_hands().await;
        child
    };
    world.becomes(&ChildState::Ready).await;
    drop(stdin);
    world.asks(2).await;
    within(orders.wait_for(|order| *order == Order::Stop)).await.expect("it is supervised");
    (exited.expect("it lives")).send(terminated()).expect("it is supervised");
    drop((stdout.take(), stderr));
    // It got nothing of the request, which so is for the next one.
    let mut child = world.starts().await;
    child.shakes_hands().await;
    let request = child.reads().await;
    child.answers(&request).await;
    world.is_answered(2).await;
}

#[tokio::test(start_paused = true)]
async fn an_exit_after_a_pipe_was_closed_says_so_unless_the_exit_closed_it() {
    let running: fn(u32) -> Liveness = |_| Liveness::Running;
    let exiting: fn(u32) -> Liveness = |_| Liveness::Exiting;
    for (liveness, status) in [(running, "it closed its stdout; exit status: 0"), (exiting, "exit status: 0")] {
        let (mut world, mut child) = World::with_liveness(&[], 1024, liveness).becomes_ready().await;
        world.asks(1).await;
        child.reads().await;
        child.stdout = None;
        child.is_ordered(Order::Stop).await;
        child.ends(exit(0));
        drop(child);
        let reject = world.is_rejected(1, "child-exited").await.to_string();
        assert!(reject.contains(status), "{reject}");
        assert_eq!(reject.contains("closed its stdout"), status.contains("closed its stdout"), "{reject}");
    }
}

/// What is sent from now on waits for the next process, which gets it; what was written to this one is lost with it.
async fn is_succeeded(mut world: World, child: Fake, exit: Exit) {
    within(world.state.wait_for(|state| matches!(state, ChildState::Restarting(_)))).await.expect("the actor lives");
    world.asks(11).await;
    world.notifies("notifications/roots/list_changed").await;
    child.goes(exit);
    world.is_rejected(1, "child-exited").await;
    let mut next = world.starts().await;
    next.shakes_hands().await;
    let request = next.reads().await;
    assert_eq!(request["method"], "tools/call");
    assert_eq!(next.reads().await["method"], "notifications/roots/list_changed");
    next.answers(&request).await;
    world.is_answered(11).await;
    assert_eq!(*world.state.borrow(), ChildState::Ready);
}

#[tokio::test(start_paused = true)]
async fn what_is_sent_after_the_end_of_stdout_is_for_the_next_process() {
    let (world, mut child) = World::ready().await;
    world.asks(1).await;
    child.reads().await;
    child.stdout = None;
    child.is_ordered(Order::Stop).await;
    is_succeeded(world, child, exit(0)).await;
}

#[tokio::test(start_paused = true)]
async fn what_is_sent_after_the_end_of_stdin_is_for_the_next_process() {
    let (world, mut child) = World::ready().await;
    world.asks(1).await;
    child.reads().await;
    child.stdin = BufReader::new(tokio::io::duplex(1).0).lines();
    // The answer finds the pipe closed.
    child.writes("{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"ping\"}\n").await;
    child.is_ordered(Order::Stop).await;
    is_succeeded(world, child, exit(0)).await;
}

#[tokio::test(start_paused = true)]
async fn what_is_sent_to_a_stuck_process_that_is_killed_is_for_the_next_one() {
    let (world, mut child) = World::ready().await;
    world.asks(1).await;
    child.reads().await;
    for id in 0..200 {
        child.writes(&format!("{}\n", json!({"jsonrpc": "2.0", "id": id, "method": "ping"}))).await;
    }
    child.is_ordered(Order::Kill).await;
    is_succeeded(world, child, terminated()).await;
}

#[tokio::test(start_paused = true)]
async fn what_is_sent_after_an_exit_whose_output_is_still_read_is_for_the_next_process() {
    let (world, mut child) = World::ready().await;
    world.asks(1).await;
    child.reads().await;
    child.ends(exit(1));
    is_succeeded(world, child, exit(1)).await;
}

#[tokio::test(start_paused = true)]
async fn an_answer_of_a_process_that_is_ending_still_counts() {
    let (mut world, mut child) = World::ready().await;
    world.asks(1).await;
    let request = child.reads().await;
    child.ends(exit(1));
    world.becomes(&ChildState::Restarting("exit status: 1".to_owned())).await;
    child.answers(&request).await;
    drop(child);
    world.is_answered(1).await;
}

#[tokio::test(start_paused = true)]
async fn a_first_handshake_that_is_read_after_the_exit_stands() {
    let mut world = World::new();
    let mut child = world.starts().await;
    let initialize = child.reads().await;
    child.ends(exit(1));
    // The actor knows of the exit before it reads this.
    tokio::time::sleep(Duration::from_millis(1)).await;
    let result = json!({"protocolVersion": "2025-11-25", "capabilities": {}});
    child.writes(&format!("{}\n", json!({"jsonrpc": "2.0", "id": initialize["id"], "result": result}))).await;
    drop(child);
    let mut kept = world.starts().await;
    kept.shakes_hands().await;
    world.becomes(&ChildState::Ready).await;
}

#[tokio::test(start_paused = true)]
async fn what_was_accepted_before_a_stop_is_written() {
    let (world, mut child) = World::ready().await;
    let (handle, sends) = (world.handle.clone(), world.asks(1));
    // The actor finds both in one turn.
    let ((), ()) = tokio::join!(sends, async { drop(timeout(Duration::ZERO, handle.stop()).await) });
    assert_eq!(child.reads().await["method"], "tools/call");
    child.reads_the_end().await;
    child.exits(0);
}

#[tokio::test(start_paused = true)]
async fn stopping_delivers_what_is_still_answered_and_settles_the_rest() {
    let (mut world, mut child) = World::ready().await;
    world.asks(1).await;
    world.asks(2).await;
    let (handle, stopped) = (world.handle.clone(), world.handle.clone());
    let stop = world.tracker.spawn(async move { handle.stop().await });
    let again = world.tracker.spawn(async move { stopped.stop().await });
    child.is_ordered(Order::Stop).await;
    let request = child.reads().await;
    child.reads().await;
    child.reads_the_end().await;
    child.answers(&request).await;
    world.is_answered(1).await;
    assert_eq!(*world.state.borrow(), ChildState::Ready);
    child.exits(0);
    world.is_rejected(2, "shutting-down").await;
    within(stop).await.expect("no panic");
    within(again).await.expect("no panic");
    assert_eq!(*world.state.borrow(), ChildState::Stopped);
    assert_eq!(world.sends(3, "").await, Err(Reject::ShuttingDown));
    assert_eq!(world.handle.stats().await, None);
    world.handle.detach(SessionKey(1));
    within(world.handle.stop()).await;
    world.leaves_nothing().await;
}

#[tokio::test(start_paused = true)]
async fn a_kill_does_not_wait_for_a_stop_that_is_under_way() {
    let (world, mut child) = World::ready().await;
    let (handle, again) = (world.handle.clone(), world.handle.clone());
    let stop = world.tracker.spawn(async move { handle.stop().await });
    child.is_ordered(Order::Stop).await;
    let kill = world.tracker.spawn(async move { again.kill().await });
    child.is_ordered(Order::Kill).await;
    child.goes(terminated());
    within(stop).await.expect("no panic");
    within(kill).await.expect("no panic");
    world.leaves_nothing().await;
}

#[tokio::test(start_paused = true)]
async fn dropping_every_handle_stops_the_child_and_leaves_no_task() {
    let (world, mut child) = World::ready().await;
    let World { handle, tracker, .. } = world;
    drop(handle);
    child.is_ordered(Order::Stop).await;
    child.exits(0);
    tracker.close();
    within(tracker.wait()).await;
}

#[tokio::test(start_paused = true)]
async fn a_stop_during_the_backoff_is_at_once() {
    let (mut world, child) = World::ready().await;
    child.exits(1);
    world.starts().await.exits(1);
    world.becomes(&ChildState::Restarting("exit status: 1".to_owned())).await;
    within(world.handle.stop()).await;
    world.leaves_nothing().await;
}

#[tokio::test(start_paused = true)]
async fn senders_wait_while_the_childs_input_is_full_and_go_on_when_it_reads() {
    let mut world = World::with(&[], 64);
    let mut child = world.starts().await;
    child.shakes_hands().await;
    world.becomes(&ChildState::Ready).await;
    world.attach(1).await;
    let large = "x".repeat(800);
    world.sends(1, &large).await.expect("there is room");
    let begun = Instant::now();
    assert_eq!(world.sends(2, &large).await, Err(Reject::QueueFull(QUEUE_TIMEOUT)));
    assert_eq!(begun.elapsed(), QUEUE_TIMEOUT);
    let waiting = world.sends(3, &large);
    let read = async {
        let request = child.reads().await;
        child.answers(&request).await;
    };
    let (sent, ()) = tokio::join!(waiting, read);
    sent.expect("there is room again");
    let request = child.reads().await;
    child.answers(&request).await;
    world.is_answered(1).await;
    world.is_answered(3).await;
}

#[tokio::test(start_paused = true)]
async fn an_answer_and_a_cancellation_do_not_wait_behind_what_waits_for_them() {
    let (mut world, mut child) = World::ready().await;
    let capabilities = ClientCapabilities { sampling: true, ..ClientCapabilities::default() };
    world.attach_with(Profile { capabilities, revision: Some(Revision::LATEST), ..Profile::default() }, 1).await;
    world.asks(1).await;
    assert_eq!(child.reads().await["method"], "tools/call");
    child.writes("{\"jsonrpc\":\"2.0\",\"id\":5,\"method\":\"sampling/createMessage\",\"params\":{}}\n").await;
    let question = world.given().await.1.expect("a message");
    let question: Value = serde_json::from_str(&question).expect("JSON");
    // More than the pipe and the room hold.
    let large = "x".repeat(900);
    world.sends(2, &large).await.expect("there is room");
    world.sends(3, &large).await.expect("there is room");
    let begun = Instant::now();
    let mut last = std::pin::pin!(world.sends(4, &large));
    assert!(timeout(Duration::from_millis(1), &mut last).await.is_err(), "it waits for room");
    world.says(&json!({"jsonrpc": "2.0", "id": question["id"], "result": {"to": "question"}})).await;
    let cancel = |id| json!({"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": id}});
    world.says(&cancel(1)).await;
    assert!(begun.elapsed() < Duration::from_millis(10));
    // It is not to be cancelled before it is there.
    let early = cancel(4);
    let mut early = std::pin::pin!(world.says(&early));
    assert!(timeout(Duration::from_millis(1), &mut early).await.is_err(), "it waits too");
    let mut read = Vec::new();
    let reading = async {
        for _ in 0..6 {
            let message = child.reads().await;
            read.push(message["method"].as_str().unwrap_or("answer").to_owned());
        }
    };
    let (sent, (), ()) = tokio::join!(last, early, reading);
    sent.expect("there is room again");
    let cancelled = "notifications/cancelled";
    assert_eq!(read, ["tools/call", "tools/call", "answer", cancelled, "tools/call", cancelled]);
}

#[tokio::test(start_paused = true)]
async fn a_child_that_writes_and_reads_no_more_is_killed_and_replaced() {
    let (mut world, mut child) = World::ready().await;
    world.asks(1).await;
    child.reads().await;
    // Each ping is answered by mcp-mux itself, which does not wait for room.
    for id in 0..200 {
        child.writes(&format!("{}\n", json!({"jsonrpc": "2.0", "id": id, "method": "ping"}))).await;
    }
    child.is_ordered(Order::Kill).await;
    child.ends(Exit {
        status: "signal: 9 (SIGKILL)".to_owned(),
        exit_code: None,
        signal: Some(9),
        ended_by: EndedBy::Ladder,
    });
    drop(child);
    let reject = world.is_rejected(1, "child-exited").await;
    assert!(reject.to_string().contains("it did not read its stdin; signal: 9 (SIGKILL)"), "{reject}");
    let mut kept = world.starts().await;
    kept.shakes_hands().await;
    world.becomes(&ChildState::Ready).await;
}

#[tokio::test(start_paused = true)]
async fn noise_is_harmless_and_an_answer_of_no_use_is_told() {
    let (mut world, mut child) = World::ready().await;
    for id in 1..=3 {
        world.asks(id).await;
    }
    let (first, second, third) = (child.reads().await, child.reads().await, child.reads().await);
    child.writes("Listening…\n\n\u{1b}[31m{\"not\": \"rpc\"}\n").await;
    for line in 0..100 {
        child.writes(&format!("noise {line}\n")).await;
    }
    child.writes(&format!(r#"{{"jsonrpc":"2.0","id":{},"result":"{}"}}"#, first["id"], "x".repeat(3000))).await;
    child.writes(&format!("\n{{\"jsonrpc\":\"2.0\",\"id\":{},\"result\":\nloading ", second["id"])).await;
    child.answers(&third).await;
    let reject = world.is_rejected(1, "child-answer-unusable").await;
    assert!(reject.to_string().contains("--line-bytes-max"), "{reject}");
    world.is_rejected(2, "child-answer-unusable").await;
    world.is_answered(3).await;
    assert!(world.handle.stats().await.is_some_and(|stats| stats.router.in_flight == 0));
}

#[tokio::test(start_paused = true)]
async fn detaching_settles_what_is_in_flight_and_leaves_nothing_behind() {
    let (mut world, mut child) = World::ready().await;
    world.asks(1).await;
    let request = child.reads().await;
    world.handle.detach(SessionKey(1));
    world.is_rejected(1, "session-closed").await;
    assert_eq!(child.reads().await["method"], "notifications/cancelled");
    child.answers(&request).await;
    // More than the inbox holds, without letting the actor run between.
    for session in 2..1000 {
        world.attach(session).await;
    }
    for session in 2..1000 {
        world.handle.detach(SessionKey(session));
    }
    world.asks(9).await;
    child.writes("{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"ping\"}\n").await;
    assert_eq!(child.reads().await["result"], json!({}));
    let mut stats = None;
    while stats != Some(Stats::default()) {
        stats = within(world.handle.stats()).await;
    }
    assert!(world.deliveries.try_recv().is_err());
}

/// A server that answers everything, echoes its environment's secrets if it has any, and dies on request.
const SERVER: &str = r#"
import json, os, sys
for line in sys.stdin:
    message = json.loads(line)
    if "id" not in message: continue
    if message["method"] == "initialize":
        result = {"protocolVersion": "2025-11-25", "capabilities": {}, "serverInfo": {"name": "s", "version": "1"}}
    elif message["params"].get("x") == "die":
        print("dying as asked", file=sys.stderr)
        os._exit(3)
    else:
        result = {"to": message["method"]}
    print(json.dumps({"jsonrpc": "2.0", "id": message["id"], "result": result}, separators=(",", ":")))
"#;

#[tokio::test]
async fn a_real_process_is_served_replaced_and_stopped() {
    let tracker = TaskTracker::new();
    let config = child_config(&["python3", "-c", SERVER]);
    let handle = spawn(&config, &router_config(), shared(), ChildGuard::absent(), &tracker);
    let mut world = World::around(handle, tracker, mpsc::channel(1).1);
    world.attach(1).await;
    for id in 1..=20 {
        world.asks(id).await;
        world.is_answered(id).await;
    }
    world.sends(21, "die").await.expect("there is room");
    let Reject::ChildExited { status, stderr, .. } = world.is_rejected(21, "child-exited").await else {
        unreachable!()
    };
    assert_eq!((status.as_str(), &*stderr), ("exit status: 3", &["dying as asked".to_owned()][..]));
    world.asks(22).await;
    world.is_answered(22).await;
    within(world.handle.stop()).await;
    world.leaves_nothing().await;
}

#[tokio::test]
async fn a_real_command_that_exits_at_once_fails_with_its_last_lines() {
    let tracker = TaskTracker::new();
    let mut config = child_config(&["sh", "-c", "echo no licence >&2; exit 9"]);
    config.cwd = Some(PathBuf::from("/"));
    let handle = spawn(&config, &router_config(), shared(), ChildGuard::absent(), &tracker);
    let mut world = World::around(handle, tracker, mpsc::channel(1).1);
    let text = world.fails().await;
    assert!(text.contains("it exited (exit status: 9)") && text.contains("\n  no licence\n"), "{text}");
}
