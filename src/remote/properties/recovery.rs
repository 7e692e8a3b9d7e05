//! What comes back by itself: sessions, streams, servers.

use std::collections::BTreeSet;

use bytes::Bytes;

use super::{Operation, World};
use crate::mcp::Era;

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
    for number in 1..=20 {
        world.operate(number, &Operation::Ask("tools/call"));
    }
    let refused: Vec<_> = world.sent.keys().copied().collect();
    assert_eq!(refused.len(), 20);
    let (early, late) = refused.split_at(15);
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
    assert!(world.answered(0..21), "{:?}", world.answered);
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

/// What servers say that do not know the session.
const NO_SESSION: &[u8] = br#"{"jsonrpc":"2.0","id":null,"error":{"code":-32001,"message":"Session not found"}}"#;
