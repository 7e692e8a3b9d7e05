//! Who gets what, under which id: messages go in that are parsed, and come out as frames that nobody has written yet.

use std::collections::VecDeque;
use std::fmt;

use bytes::Bytes;
use divan::counter::{BytesCount, ItemsCount};
use divan::{Bencher, black_box_drop};
use mcp_mux::jsonrpc::{self, Message};
use mcp_mux::mcp::Era;
use mcp_mux::router::{Profile, SessionKey};

use crate::world::{CLIENT_ID, World};
use crate::{SIZES, parsed, prose, request, response};

#[divan::bench(args = SIZES)]
fn round(bencher: Bencher<'_, '_>, size: usize) {
    let mut world = World::new(Era::Legacy);
    let session = world.attach_session(1);
    let mut child_id = world.check_round(session, size);
    let request = parsed(request(CLIENT_ID, size));
    let inputs = || (request.clone(), next_answer(&mut child_id, |id| response(id, size)));
    bench_rounds(bencher, size, inputs, &mut world, session);
}

/// Measures a request and its answer, one pair at a time; the payload is dropped outside the measured time.
fn bench_rounds(
    bencher: Bencher<'_, '_>,
    size: usize,
    inputs: impl FnMut() -> (Message, Message),
    world: &mut World,
    session: SessionKey,
) {
    let bencher = bencher.counter(ItemsCount::new(2_usize)).counter(BytesCount::new(2 * size));
    bencher.with_inputs(inputs).bench_local_values(|(request, answer)| {
        let payload = answer.bytes().clone();
        black_box_drop(world.sends(session, request));
        black_box_drop(world.answers(answer));
        payload
    });
}

/// Sessions, and how many of them have a request in flight.
#[derive(Clone, Copy)]
struct Population {
    attached: usize,
    waiting: usize,
}

impl fmt::Display for Population {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}, {} of them wait", self.attached, self.waiting)
    }
}

const POPULATIONS: [Population; 3] = [
    Population { attached: 1, waiting: 1 },
    Population { attached: 50, waiting: 50 },
    Population { attached: 10_000, waiting: 50 },
];

/// The session that waits longest is answered, and asks again.
#[divan::bench(args = POPULATIONS)]
fn round_among(bencher: Bencher<'_, '_>, population: Population) {
    let size = 100;
    let mut world = World::new(Era::Legacy);
    let sessions: Vec<SessionKey> = (0..).take(population.attached).map(|key| world.attach_session(key)).collect();
    let mut waiting: VecDeque<SessionKey> =
        sessions.into_iter().step_by(population.attached / population.waiting).collect();
    let first = waiting.front().expect("somebody waits");
    let mut child_id = world.check_round(*first, size);
    let request = parsed(request(CLIENT_ID, size));
    for session in &waiting {
        black_box_drop(world.sends(*session, request.clone()));
    }
    let inputs = || (request.clone(), next_answer(&mut child_id, |id| response(id, size)));
    bencher.counter(ItemsCount::new(2_usize)).with_inputs(inputs).bench_local_values(|(request, answer)| {
        let payload = answer.bytes().clone();
        black_box_drop(world.answers(answer));
        waiting.rotate_left(1);
        let last = waiting.back().expect("somebody waits");
        black_box_drop(world.sends(*last, request));
        payload
    });
    let stats = world.router.stats();
    assert_eq!((stats.sessions, stats.in_flight), (population.attached, population.waiting));
}

/// What a modern client's request says of itself.
const ENVELOPE: &str = r#"{"io.modelcontextprotocol/protocolVersion":"2026-07-28","io.modelcontextprotocol/clientInfo":{"name":"c","version":"1"},"io.modelcontextprotocol/clientCapabilities":{}}"#;

#[divan::bench(args = SIZES)]
fn exchange(bencher: Bencher<'_, '_>, size: usize) {
    let modern_request = |id: &str| {
        let params = format!(r#"{{"name":"echo","arguments":{{"text":"{}"}},"_meta":{ENVELOPE}}}"#, prose(size));
        jsonrpc::request(id, "tools/call", Some(&params)).into_bytes()
    };
    let mut world = World::new(Era::Modern);
    let profile = Profile { era: Era::Modern, ..Profile::default() };
    let mut session = SessionKey(1);
    world.router.attach(session, profile.clone(), world.now);
    let round = world.round(session, modern_request(CLIENT_ID), |id| modern_response(id, size));
    assert_eq!(round.asked, modern_request(&round.child_id.to_string()));
    assert_eq!(round.answered, modern_response(CLIENT_ID, size));
    let mut child_id = round.child_id;
    let request = parsed(modern_request(CLIENT_ID));
    let inputs = || (request.clone(), next_answer(&mut child_id, |id| modern_response(id, size)));
    let bencher = bencher.counter(ItemsCount::new(2_usize)).counter(BytesCount::new(2 * size));
    bencher.with_inputs(inputs).bench_local_values(|(request, answer)| {
        session.0 += 1;
        let payload = answer.bytes().clone();
        world.router.attach(session, profile.clone(), world.now);
        black_box_drop(world.sends(session, request));
        black_box_drop(world.answers(answer));
        black_box_drop(world.router.detach(session, world.now));
        payload
    });
}

#[divan::bench(args = SIZES)]
fn translated(bencher: Bencher<'_, '_>, size: usize) {
    let mut world = World::new(Era::Modern);
    let session = world.attach_session(1);
    let round = world.round(session, request(CLIENT_ID, size), |id| modern_response(id, size));
    let asked = String::from_utf8_lossy(&round.asked).into_owned();
    assert!(asked.contains(r#""_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28","#), "{asked}");
    assert!(asked.contains(&prose(size)), "{asked}");
    assert_eq!(round.answered, response(CLIENT_ID, size));
    let mut child_id = round.child_id;
    let request = parsed(request(CLIENT_ID, size));
    let inputs = || (request.clone(), next_answer(&mut child_id, |id| modern_response(id, size)));
    bench_rounds(bencher, size, inputs, &mut world, session);
}

#[divan::bench]
fn progress(bencher: Bencher<'_, '_>) {
    let mut world = World::new(Era::Legacy);
    let session = world.attach_session(1);
    let request =
        r#"{"jsonrpc":"2.0","id":7,"method":"tools/call","params":{"name":"t","_meta":{"progressToken":"mine"}}}"#;
    let asked = world.sends(session, parsed(Bytes::from_static(request.as_bytes())));
    let token = asked.replaced_member("progressToken").expect("it has a token of the child's side");
    let said = |token: &str| {
        let params = format!(r#"{{"progressToken":{token},"progress":42,"total":100,"message":"Under way"}}"#);
        jsonrpc::notification("notifications/progress", Some(&params)).into_bytes()
    };
    let message = parsed(said(token));
    world.router.handle_child_message(message.clone(), world.now);
    assert_eq!(world.told_session_message().into_bytes(), said("\"mine\""));
    let bencher = bencher.counter(ItemsCount::new(1_usize));
    bencher.with_inputs(|| message.clone()).bench_local_values(|message| {
        world.router.handle_child_message(message, world.now);
        black_box_drop(world.told_session_message());
    });
}

#[divan::bench]
fn list_changed(bencher: Bencher<'_, '_>) {
    const SESSIONS: u64 = 50;
    let mut world = World::new(Era::Legacy);
    for key in 0..SESSIONS {
        world.attach_session(key);
    }
    let said = jsonrpc::notification("notifications/tools/list_changed", None).into_bytes();
    let message = parsed(said.clone());
    world.router.handle_child_message(message.clone(), world.now);
    for _ in 0..SESSIONS {
        assert_eq!(world.told_session_message().into_bytes(), said);
    }
    assert!(world.router.poll_output().is_none(), "each was told once");
    let bencher = bencher.counter(ItemsCount::new(SESSIONS));
    bencher.with_inputs(|| message.clone()).bench_local_values(|message| {
        world.router.handle_child_message(message, world.now);
        for _ in 0..SESSIONS {
            black_box_drop(world.told_session_message());
        }
    });
}

/// The child's answer to the next request.
fn next_answer(child_id: &mut u64, answer: impl Fn(&str) -> Bytes) -> Message {
    *child_id += 1;
    parsed(answer(&child_id.to_string()))
}

/// What a modern child answers.
fn modern_response(id: &str, size: usize) -> Bytes {
    let content = format!(r#"[{{"type":"text","text":"{}"}}]"#, prose(size));
    format!(r#"{{"jsonrpc":"2.0","id":{id},"result":{{"content":{content},"resultType":"complete"}}}}"#).into()
}
