//! What comes back by itself: sessions, streams, servers.

use std::collections::BTreeSet;
use std::time::Duration;

use bytes::Bytes;
use http::Method;

use super::{Operation, Reply, World};
use crate::mcp::Era;
use crate::remote::core::ExchangeId;
use crate::remote::service::Reached;

impl World {
    /// Whose session of Streamable HTTP is open.
    fn streamable() -> Self {
        let mut world = Self::new(Era::Legacy);
        world.operate(0, &Operation::Ask("initialize"));
        world.answer("initialize");
        world
    }

    /// The server answers what was posted last.
    fn answer(&mut self, method: &str) {
        let id = self.posted(method);
        let answer = self.response(id, r#""result":{"protocolVersion":"2025-11-25"}"#);
        self.whole(id, 200, answer.unwrap_or_else(|| panic!("{method} is no request")));
    }

    fn answered(&self, ids: std::ops::Range<u64>) -> bool {
        self.answered == ids.collect::<BTreeSet<u64>>()
    }
}

// spec: 2025-11-25 basic/transports, Session Management 4
#[test]
fn all_requests_in_flight_are_sent_again_when_their_session_was_forgotten() {
    let mut world = World::streamable();
    for number in 1..=8 {
        world.operate(number, &Operation::Ask("tools/call"));
    }
    let refused: Vec<_> = world.sent.keys().copied().collect();
    assert_eq!(refused.len(), 8);
    let (early, late) = refused.split_at(5);
    let forgotten = |world: &mut World, ids: &[_]| {
        for id in ids {
            world.whole(*id, 404, Bytes::from_static(NO_SESSION));
        }
    };
    forgotten(&mut world, early);
    assert!(world.answered(0..1), "{:?}", world.answered);
    world.answer("initialize");
    let told = world.posted("notifications/initialized");
    world.whole(told, 202, Bytes::new());
    // Some hear of it when the next session is open already.
    forgotten(&mut world, late);
    for _ in refused {
        world.answer("tools/call");
    }
    assert!(world.answered(0..9), "{:?}", world.answered);
}

#[test]
fn a_request_that_hears_of_it_after_no_session_could_be_opened_tries_once_more() {
    let mut world = World::streamable();
    world.operate(1, &Operation::Ask("tools/call"));
    world.operate(2, &Operation::Ask("tools/call"));
    let refused: Vec<_> = world.sent.keys().copied().collect();
    world.whole(refused[0], 404, Bytes::new());
    let again = world.posted("initialize");
    world.whole(again, 403, Bytes::new());
    assert!(world.answered(0..2), "{:?}", world.answered);
    world.whole(refused[1], 404, Bytes::new());
    world.answer("initialize");
    let told = world.posted("notifications/initialized");
    world.whole(told, 202, Bytes::new());
    world.answer("tools/call");
    assert!(world.answered(0..3), "{:?}", world.answered);
}

// --- HTTP+SSE ---

impl World {
    /// Whose session of HTTP+SSE is open.
    fn events() -> Self {
        let mut world = Self::new(Era::Legacy);
        world.operate(0, &Operation::Ask("initialize"));
        let first = world.posted("initialize");
        world.whole(first, 405, Bytes::new());
        let source = world.source();
        world.answer_on(source, "initialize");
        world
    }

    /// The exchange in which a stream is asked for, if one is.
    fn asked_for_stream(&self) -> Option<ExchangeId> {
        self.sent.iter().find(|(_, request)| request.method() == Method::GET).map(|(id, _)| *id)
    }

    fn break_stream(&mut self) {
        let source = self.asked_for_stream().expect("a stream");
        self.reply(source, Reply::StreamBreaks);
        self.streams.remove(&source);
        self.sent.remove(&source);
    }

    /// The server is there again.
    fn reopen_events(&mut self) {
        self.pass(12_000);
        let source = self.source();
        self.answer_on(source, "initialize");
        self.take("notifications/initialized");
    }

    /// The server takes what was posted.
    fn take(&mut self, method: &str) {
        let id = self.posted(method);
        self.whole(id, 202, Bytes::new());
    }
}

#[test]
fn an_idle_session_of_http_sse_heals_however_long_its_server_was_away() {
    for away in [
        Reply::Status(502),
        Reply::Status(503),
        Reply::Status(500),
        Reply::Unreachable(Reached::Nobody),
        Reply::Unreachable(Reached::Perhaps),
    ] {
        let mut world = World::events();
        world.break_stream();
        for _ in 0..10 {
            world.pass(12_000);
            let source = world.asked_for_stream().unwrap_or_else(|| panic!("it was given up: {away:?}"));
            world.reply(source, away);
        }
        world.reopen_events();
        world.operate(1, &Operation::Ask("tools/call"));
        let source = world.asked_for_stream().expect("a stream");
        world.answer_on(source, "tools/call");
        assert!(world.answered(0..2), "{away:?}");
    }
}

#[test]
fn a_stream_that_breaks_before_the_session_is_open_again_is_made_again() {
    let mut world = World::events();
    for _ in 0..5 {
        world.break_stream();
        world.pass(12_000);
        world.source();
        let again = world.posted("initialize");
        world.whole(again, 202, Bytes::new());
    }
    world.break_stream();
    world.reopen_events();
    assert!(world.asked_for_stream().is_some());
}

#[test]
fn what_waits_for_a_session_is_refused_when_its_time_is_over_and_nothing_else_ends() {
    let mut world = World::events();
    world.break_stream();
    world.pass(60_000);
    let source = world.asked_for_stream().expect("a stream is asked for");
    world.reply(source, Reply::Status(503));
    for number in [1, 2] {
        world.operate(number, &Operation::Ask("tools/list"));
        // An attempt is made for it.
        world.pass(201);
        let source = world.asked_for_stream().expect("a stream is asked for");
        world.reply(source, Reply::Status(503));
        world.pass(4_798);
        assert!(world.answered(0..number), "{:?}", world.answered);
        world.pass(1);
        assert!(world.answered(0..number + 1), "{:?}", world.answered);
        if let Some(source) = world.asked_for_stream() {
            world.reply(source, Reply::Status(502));
        }
    }
    world.reopen_events();
    world.operate(3, &Operation::Ask("tools/list"));
    let source = world.asked_for_stream().expect("a stream");
    world.answer_on(source, "tools/list");
    assert!(world.answered(0..4), "{:?}", world.answered);
}

// --- Streamable HTTP ---

#[test]
fn an_idle_session_of_streamable_http_heals_however_long_its_server_was_away() {
    let mut world = World::streamable();
    world.operate(1, &Operation::Tell(r#"{"jsonrpc":"2.0","method":"notifications/initialized"}"#));
    world.take("notifications/initialized");
    let stream = world.asked_for_stream().expect("a stream is asked for");
    world.whole(stream, 404, Bytes::new());
    for away in [Reply::Status(503), Reply::Unreachable(Reached::Nobody), Reply::Status(502)] {
        let again = world.posted("initialize");
        world.reply(again, away);
        world.pass(12_000);
    }
    world.answer("initialize");
    world.take("notifications/initialized");
    assert!(world.asked_for_stream().is_some());
}

#[test]
fn a_request_is_tried_for_as_long_as_was_said_and_no_longer() {
    let mut world = World::new(Era::Legacy);
    world.operate(0, &Operation::Ask("initialize"));
    let since = world.now;
    while !world.answered(0..1) {
        let id = world.posted("initialize");
        world.reply(id, Reply::Unreachable(Reached::Nobody));
        if let Some(due) = world.core.poll_timeout() {
            world.now = due;
            world.core.handle_timeout(due);
            world.drain();
        }
    }
    assert_eq!(world.now - since, Duration::from_secs(5));
}

/// What servers say that do not know the session.
const NO_SESSION: &[u8] = br#"{"jsonrpc":"2.0","id":null,"error":{"code":-32001,"message":"Session not found"}}"#;
