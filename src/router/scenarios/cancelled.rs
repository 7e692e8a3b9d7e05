//! Requests that were cancelled, and the child may still be at work on.

use super::*;

#[test]
fn a_cancelled_requests_question_is_not_taken_for_that_of_one_that_was_at_work_too() {
    let mut world = World::ready();
    let (a, b) = (world.attach(1, ASKABLE), world.attach(2, ASKABLE));
    world.calls(a, 1, "1", "{}");
    world.calls(b, 1, "1", "{}");
    world.says(a, 0, CANCEL).unwrap();
    world.seen.clear();
    world.child_says(SAMPLE);
    assert!(world.seen.is_empty());
    world.detach(a);
    world.child_says(SAMPLE);
    assert!(world.seen.is_empty());
    world.advance(REMEMBERED_FOR);
    world.child_says(SAMPLE);
    assert!(matches!(world.seen_by(b)[..], [Seen::Message(_)]));
}

#[test]
fn what_comes_at_once_is_a_later_requests_and_what_comes_late_may_be_a_cancelled_ones() {
    let mut world = World::ready();
    let (a, b) = (world.attach(1, ASKABLE), world.attach(2, ASKABLE));
    world.calls(a, 1, "1", "{}");
    world.says(a, 0, CANCEL).unwrap();
    world.seen.clear();
    // The child has read the cancellation before this.
    world.calls(b, 1, "1", "{}");
    world.child_says(SAMPLE);
    assert!(matches!(world.seen_by(b)[..], [Seen::Message(_)]));
    let log = r#"{"jsonrpc":"2.0","method":"notifications/message","params":{"level":"info","data":1}}"#;
    world.child_says(log);
    assert!(world.seen.is_empty(), "it may be the last words of the cancelled one");
    world.advance(Duration::from_secs(1));
    world.child_says(log);
    world.child_says(SAMPLE);
    assert!(world.seen.is_empty(), "it may be at work still, and the later one was told nothing for a while");
    world.calls(b, 1, "2", "{}");
    world.child_says(log);
    world.child_says(&SAMPLE.replace(r#""id":0"#, r#""id":1"#));
    assert!(matches!(world.seen_by(b)[..], [Seen::Message(_), Seen::Message(_)]));
    world.advance(Duration::from_millis(249));
    world.child_says(log);
    assert!(matches!(world.seen_by(b)[..], [Seen::Message(_)]));
    world.advance(Duration::from_millis(1));
    world.child_says(log);
    assert!(world.seen.is_empty());
    world.advance(REMEMBERED_FOR);
    world.child_says(log);
    assert!(matches!(world.seen_by(b)[..], [Seen::Message(_)]));
}

#[test]
fn the_answer_to_a_question_may_be_followed_by_the_next_one() {
    let mut world = World::ready();
    let (a, b) = (world.attach(1, ASKABLE), world.attach(2, ASKABLE));
    world.calls(a, 1, "1", "{}");
    world.says(a, 0, CANCEL).unwrap();
    world.calls(b, 1, "1", "{}");
    world.seen.clear();
    for _ in 0..3 {
        world.child_says(SAMPLE);
        let [Seen::Message(question)] = &world.seen_by(b)[..] else { panic!("the child was told something for it") };
        let id = json_of(question)["id"].clone();
        world.advance(Duration::from_secs(1));
        world.says(b, 0, &format!(r#"{{"jsonrpc":"2.0","id":{id},"result":{{}}}}"#)).unwrap();
    }
}

#[test]
fn last_words_are_awaited_no_longer_than_a_child_needs_that_has_read_the_cancellation() {
    const LOG: &str = r#"{"jsonrpc":"2.0","method":"notifications/message","params":{"level":"info","data":1}}"#;
    let mut world = World::ready();
    let (a, b) = (world.attach(1, ASKABLE), world.attach(2, ASKABLE));
    for id in [1, 2] {
        world.calls(a, id, &id.to_string(), "{}");
        world.says(a, 0, &CANCEL.replace('1', &id.to_string())).unwrap();
    }
    let pings = |world: &mut World| -> Vec<_> {
        let lines = world.child_read();
        lines.iter().filter(|line| json_of(line)["method"] == "ping").map(|line| id_of(line)).collect()
    };
    let [first] = pings(&mut world)[..] else { panic!("one at a time") };
    world.advance(Duration::from_millis(10));
    world.says(a, 0, r#"{"jsonrpc":"2.0","id":3,"method":"tools/call"}"#).unwrap();
    world.says(a, 0, &CANCEL.replace('1', "3")).unwrap();
    world.calls(b, 1, "1", "{}");
    world.seen.clear();
    world.child_answers(first, "{}");
    let [second] = pings(&mut world)[..] else { panic!("of the third it is not known") };
    world.advance(Duration::from_millis(100));
    world.child_says(LOG);
    assert!(world.seen.is_empty(), "the child may not have read the last cancellation yet");
    world.child_answers(second, "{}");
    world.advance(Duration::from_millis(99));
    world.child_says(LOG);
    assert!(world.seen.is_empty(), "it may be on its way out");
    world.advance(Duration::from_millis(1));
    world.calls(b, 1, "2", "{}");
    world.child_says(LOG);
    assert!(matches!(world.seen_by(b)[..], [Seen::Message(_)]));
    assert!(pings(&mut world).is_empty());
}

#[test]
fn cancelling_over_and_over_is_remembered_within_a_bound() {
    let mut world = World::ready();
    let a = world.attach(1, ASKABLE);
    for _ in 0..1000 {
        world.calls(a, 1, "1", "{}");
        world.says(a, 0, r#"{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":1}}"#).unwrap();
    }
    assert_eq!(world.router.stats().remembered, 128);
    world.advance(REMEMBERED_FOR);
    assert_eq!((world.router.stats().remembered, world.router.poll_timeout()), (0, None));
}

#[test]
fn sessions_that_cancel_are_remembered_within_a_bound_and_stand_in_the_way_as_before() {
    let mut world = World::ready();
    let b = world.attach(1, ASKABLE);
    world.calls(b, 1, "1", "{}");
    for key in 2..1002 {
        let other = world.attach(key, if key == 1001 { ASKABLE } else { NONE });
        let id = world.calls(other, 1, "1", "{}");
        world.says(other, 0, CANCEL).unwrap();
        assert!(world.router.stats().remembered <= 257);
        if [2, 300, 1000].contains(&key) {
            world.child_says(&SAMPLE.replace("\"id\":0", &format!("\"id\":{key}")));
            assert!(matches!(world.seen_by(b)[..], [Seen::Message(_)]), "none of those that cancelled can be asked");
        }
        if key == 500 {
            // One of those that are remembered together is over, and the others are not.
            world.child_answers(id, "{}");
        }
    }
    world.seen.clear();
    world.child_says(SAMPLE);
    assert!(world.seen.is_empty(), "it may be that of the one that can");
    world.advance(REMEMBERED_FOR);
    assert_eq!((world.router.stats().remembered, world.router.poll_timeout()), (0, None));
    world.child_says(SAMPLE);
    assert!(matches!(world.seen_by(b)[..], [Seen::Message(_)]));
}

#[test]
fn modern_exchanges_that_end_and_asked_for_no_logs_are_in_nobodys_way() {
    let mut world = World::modern();
    let loud = world.attach_exchange(1, Some(crate::mcp::LogLevel::Debug));
    world.calls(loud, 1, "1", "{}");
    for key in 2..1002 {
        let silent = world.attach_exchange(key, None);
        world.calls(silent, 1, "1", "{}");
        world.detach(silent);
    }
    assert_eq!(world.router.stats().remembered, 257);
    world.seen.clear();
    world.child_says(r#"{"jsonrpc":"2.0","method":"notifications/message","params":{"level":"info","data":1}}"#);
    assert_eq!(world.seen_by(loud).len(), 1);
}

#[test]
fn whatever_ends_a_request_the_child_is_asked_whether_it_has_heard() {
    for by_time in [true, false] {
        let second = Duration::from_secs(1);
        let mut world = World::ready_with(RouterConfig { request_timeout: Some(second), ..config() });
        let a = world.attach(1, NONE);
        for id in ["1", "2"] {
            world.calls(a, 1, id, "{}");
        }
        world.child.clear();
        if by_time {
            world.advance(second);
        } else {
            world.detach(a);
        }
        let methods: Vec<_> = world.child_read().iter().map(|line| json_of(line)["method"].clone()).collect();
        assert_eq!(methods, ["notifications/cancelled", "notifications/cancelled", "ping"]);
    }
}
