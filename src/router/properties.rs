//! Properties of the router over random lists of operations, held against a model of plain maps.
//!
//! The world is a place as an actor runs it: processes come and go, leave unwritten what they did not read, and are
//! replaced while they live, so that for a while there are two routers.

mod model;

use std::collections::BTreeMap;
use std::time::Duration;

use proptest::prelude::*;

use self::model::{INTRODUCTION, Model, Request};
use super::cancelled::REMEMBERED_FOR;
use super::world::{ASKABLE, Seen, config};
use super::*;
use crate::config::OnAmbiguous;
use crate::mcp::{Era, LogLevel, method};

/// What can happen. Numbers are taken modulo what is there.
#[derive(Clone, Debug)]
enum Op {
    Attach {
        session: u64,
        askable: bool,
    },
    /// Of a modern client, where the child is modern.
    AttachExchange {
        session: u64,
        loud: bool,
    },
    Listen {
        session: u64,
    },
    /// A modern child takes up a `subscriptions/listen`, and says that something has changed.
    ChildTells {
        side: usize,
        pending: usize,
        acknowledged: bool,
    },
    /// A modern child refuses a request, or ends a `subscriptions/listen`.
    ChildRefuses {
        side: usize,
        pending: usize,
        ends: bool,
    },
    /// A modern child answers with a result of a kind of its own.
    ChildAnswersOddly {
        side: usize,
        pending: usize,
        kind: usize,
    },
    /// A modern child wants to be told something before it goes on.
    ChildWants {
        side: usize,
        pending: usize,
        inputs: usize,
    },
    Detach {
        session: u64,
    },
    Initialize {
        session: u64,
        id: usize,
    },
    Call {
        session: u64,
        id: usize,
        token: bool,
    },
    List {
        session: u64,
        id: usize,
        token: bool,
    },
    Notify {
        session: u64,
    },
    SetLevel {
        session: u64,
        id: usize,
        level: usize,
    },
    Subscribe {
        session: u64,
        id: usize,
        uri: u8,
        on: bool,
    },
    Cancel {
        session: u64,
        id: usize,
    },
    AnswerQuestion {
        session: u64,
        question: usize,
    },
    ChildReads {
        side: usize,
        lines: usize,
    },
    ChildAnswers {
        side: usize,
        pending: usize,
        times: u8,
    },
    ChildAnswersUnknown {
        side: usize,
        id: u64,
    },
    ChildProgress {
        side: usize,
        pending: usize,
    },
    ChildAsks {
        side: usize,
    },
    ChildLogs {
        side: usize,
    },
    ChildUpdates {
        side: usize,
        uri: u8,
    },
    ChildEnds {
        side: usize,
    },
    /// Of the lines it has not read, so many were written.
    ChildExits {
        side: usize,
        written: usize,
    },
    ChildStarts {
        with_handshake: bool,
    },
    Recycle,
    Suspend,
    Resume,
    Advance {
        seconds: u64,
    },
}

/// How many sessions of a shared child there are at most at a time.
const SESSIONS: u64 = 4;

/// Ids as clients spell them; some look alike.
const IDS: [&str; 6] = ["0", "1", r#""1""#, "1e2", "12345678901234567890123", r#""é""#];

/// What a `resultType` may be, known or not.
const KINDS: [&str; 5] = [r#""task""#, r#""""#, "7", "null", r#""COMPLETE""#];

fn op(sessions: u64) -> impl Strategy<Value = Op> {
    let session = 0..sessions;
    let id = 0..IDS.len();
    let side = 0..2usize;
    let of_sessions = prop_oneof![
        3 => (session.clone(), any::<bool>()).prop_map(|(session, askable)| Op::Attach { session, askable }),
        2 => (session.clone(), any::<bool>()).prop_map(|(session, loud)| Op::AttachExchange { session, loud }),
        2 => session.clone().prop_map(|session| Op::Listen { session }),
        1 => session.clone().prop_map(|session| Op::Detach { session }),
        2 => (session.clone(), id.clone()).prop_map(|(session, id)| Op::Initialize { session, id }),
        8 => (session.clone(), id.clone(), any::<bool>()).prop_map(|(session, id, token)| Op::Call { session, id, token }),
        4 => (session.clone(), id.clone(), any::<bool>()).prop_map(|(session, id, token)| Op::List { session, id, token }),
        2 => session.clone().prop_map(|session| Op::Notify { session }),
        1 => (session.clone(), id.clone(), 0..8usize)
            .prop_map(|(session, id, level)| Op::SetLevel { session, id, level }),
        2 => (session.clone(), id.clone(), 0..3u8, any::<bool>())
            .prop_map(|(session, id, uri, on)| Op::Subscribe { session, id, uri, on }),
        2 => (session.clone(), id).prop_map(|(session, id)| Op::Cancel { session, id }),
        2 => (session, 0..4usize).prop_map(|(session, question)| Op::AnswerQuestion { session, question }),
    ];
    let of_children = prop_oneof![
        8 => (side.clone(), 1..12usize).prop_map(|(side, lines)| Op::ChildReads { side, lines }),
        8 => (side.clone(), 0..8usize, 1..3u8).prop_map(|(side, pending, times)| Op::ChildAnswers { side, pending, times }),
        1 => (side.clone(), 0..100u64).prop_map(|(side, id)| Op::ChildAnswersUnknown { side, id }),
        3 => (side.clone(), 0..8usize).prop_map(|(side, pending)| Op::ChildProgress { side, pending }),
        2 => side.clone().prop_map(|side| Op::ChildAsks { side }),
        3 => (side.clone(), 0..8usize, any::<bool>())
            .prop_map(|(side, pending, acknowledged)| Op::ChildTells { side, pending, acknowledged }),
        3 => (side.clone(), 0..8usize, 0..3usize)
            .prop_map(|(side, pending, inputs)| Op::ChildWants { side, pending, inputs }),
        3 => (side.clone(), 0..8usize, any::<bool>())
            .prop_map(|(side, pending, ends)| Op::ChildRefuses { side, pending, ends }),
        1 => (side.clone(), 0..8usize, 0..KINDS.len())
            .prop_map(|(side, pending, kind)| Op::ChildAnswersOddly { side, pending, kind }),
        2 => side.clone().prop_map(|side| Op::ChildLogs { side }),
        1 => (side.clone(), 0..3u8).prop_map(|(side, uri)| Op::ChildUpdates { side, uri }),
        1 => side.clone().prop_map(|side| Op::ChildEnds { side }),
        2 => (side, 0..8usize).prop_map(|(side, written)| Op::ChildExits { side, written }),
        4 => any::<bool>().prop_map(|with_handshake| Op::ChildStarts { with_handshake }),
        2 => Just(Op::Recycle),
    ];
    prop_oneof![
        26 => of_sessions,
        34 => of_children,
        1 => Just(Op::Suspend),
        2 => Just(Op::Resume),
        2 => (0..40u64).prop_map(|seconds| Op::Advance { seconds }),
    ]
}

fn run(ops: &[Op], config: RouterConfig, sharing: Sharing) -> Vec<String> {
    run_in(Era::Legacy, ops, config, sharing)
}

fn run_in(era: Era, ops: &[Op], config: RouterConfig, sharing: Sharing) -> Vec<String> {
    let mut model = Model::new(config, sharing, era);
    for op in ops {
        step(op, &mut model);
        model.observe();
        let in_flight: usize = model.sides.iter().map(|side| side.world.router.stats().in_flight).sum();
        assert_eq!(in_flight, model.in_flight.len());
        let questions: usize = model.sides.iter().map(|side| side.world.router.stats().questions).sum();
        assert!(era == Era::Legacy || in_flight > 0 || questions == 0, "asked about requests that are over");
        for key in model.keys.values() {
            assert!(model.in_flight.keys().filter(|(session, _)| session == key).count() <= model.in_flight_max);
        }
        assert_eq!(model.current().world.router.stats().sessions, model.keys.len());
        for side in &model.sides {
            let router = &side.world.router;
            assert!(router.poll_timeout().is_none_or(|deadline| deadline > side.world.now));
            let waits = router.own.values().any(|own| matches!(own, Own::Subscribe(_)));
            let is_served = router.is_modern() && router.is_ready() && !router.is_retired();
            assert!(!waits || !is_served || router.listen.deadline().is_some(), "waits for what was not asked for");
        }
    }
    for key in std::mem::take(&mut model.keys).into_values() {
        model.sides.iter_mut().for_each(|side| drop(side.world.detach(key)));
        model.observe();
    }
    assert_eq!(model.in_flight, BTreeMap::new(), "not settled");
    for side in &mut model.sides {
        side.world.advance(REMEMBERED_FOR);
        let router = &side.world.router;
        assert!(!router.is_ready() || router.is_retired() || router.stats().listens == 0, "listens for nobody");
    }
    model.observe();
    for at in 0..model.sides.len() {
        model.answer_all(at);
        let side = &mut model.sides[at];
        if side.alive && side.world.router.stage() == Stage::Down {
            // It takes no more input, so it ends.
            side.world.exit();
        }
        let router = &model.sides[at].world.router;
        assert_eq!(router.stats(), Stats::default(), "left behind");
        assert_eq!((router.poll_timeout(), router.queued_bytes()), (None, 0), "left behind");
        assert!(router.is_drained());
    }
    model.observe();
    model.log
}

fn step(op: &Op, model: &mut Model) {
    match *op {
        Op::Attach { session, askable } => {
            let lodged = model.sharing == Sharing::Private && model.keys_used > 0;
            if !lodged && !model.keys.contains_key(&session) {
                model.keys_used += 1;
                let key = SessionKey(model.keys_used);
                let capabilities = if askable { ASKABLE } else { ClientCapabilities::default() };
                let side = model.current();
                if side.world.router.is_private() {
                    side.world.router.attach(key, Profile { capabilities, ..Profile::default() }, side.world.now);
                } else {
                    side.world.attach(key.0, capabilities);
                    model.open.insert(key);
                }
                model.keys.insert(session, key);
            }
        }
        Op::AttachExchange { session, loud } => {
            if model.era == Era::Modern && !model.keys.contains_key(&session) {
                model.keys_used += 1;
                let level = loud.then_some(LogLevel::Info);
                let key = model.keys_used;
                let key = model.current().world.attach_exchange(key, level);
                model.keys.insert(session, key);
                model.exchanges.insert(key);
                if loud {
                    model.loud.insert(key);
                }
            }
        }
        Op::Listen { session } => {
            let is_exchange = model.keys.get(&session).is_some_and(|key| model.exchanges.contains(key));
            if is_exchange {
                // Its id is its mark, that events can be told from those of others.
                let mark = model.next_mark();
                let params = format!(r#"{{"m":"{mark}","notifications":{{"toolsListChanged":true}}}}"#);
                let id = format!("\"{mark}\"");
                model.send(session, &id, &mark, &format!(r#""{}","params":{params}"#, method::LISTEN));
            }
        }
        Op::ChildTells { side, pending, acknowledged } => {
            let Some(side) = model.alive(side) else { return };
            let listens = |read: &&Request| read.method == method::LISTEN;
            let Some(id) = side.pending.get(pending).filter(listens).map(|read| read.id) else { return };
            let meta = format!(r#""_meta":{{"io.modelcontextprotocol/subscriptionId":{id}}}"#);
            let filter = r#"{"toolsListChanged":true,"resourceSubscriptions":["x:/0","x:/1"]}"#;
            let (method, rest) = match acknowledged {
                true => (method::ACKNOWLEDGED, format!(r#","notifications":{filter}"#)),
                false => (method::RESOURCE_UPDATED, r#","uri":"x:/1""#.to_owned()),
            };
            side.world.child_says(&format!(r#"{{"jsonrpc":"2.0","method":"{method}","params":{{{meta}{rest}}}}}"#));
        }
        Op::ChildRefuses { side, pending, ends } => {
            let is_modern = model.era == Era::Modern;
            let Some(side) = model.alive(side).filter(|side| is_modern && pending < side.pending.len()) else { return };
            if side.pending[pending].method == method::DISCOVER {
                return;
            }
            let Request { id, method, .. } = side.pending.remove(pending);
            if ends && method == method::LISTEN {
                let params = format!(r#"{{"requestId":{id}}}"#);
                let method = method::CANCELLED;
                side.world.child_says(&format!(r#"{{"jsonrpc":"2.0","method":"{method}","params":{params}}}"#));
            } else {
                let error = r#"{"code":-32602,"message":"no"}"#;
                side.world.child_says(&format!(r#"{{"jsonrpc":"2.0","id":{id},"error":{error}}}"#));
            }
        }
        Op::ChildAnswersOddly { side, pending, kind } => {
            let is_modern = model.era == Era::Modern;
            let Some(side) = model.alive(side).filter(|side| is_modern && pending < side.pending.len()) else { return };
            if side.pending[pending].method == method::DISCOVER {
                return;
            }
            let Request { id, mark, .. } = side.pending.remove(pending);
            side.world.child_answers(id, &format!(r#"{{"resultType":{},"m":"{mark}"}}"#, KINDS[kind]));
        }
        Op::ChildWants { side, pending, inputs } => {
            let is_modern = model.era == Era::Modern;
            let Some(side) = model.alive(side).filter(|side| is_modern && pending < side.pending.len()) else { return };
            if side.pending[pending].method != method::TOOLS_CALL {
                return;
            }
            let Request { id, mark, .. } = side.pending.remove(pending);
            let sample = |n| format!(r#""{n}":{{"method":"sampling/createMessage","params":{{"m":"{mark}"}}}}"#);
            let wanted = (0..inputs).map(sample).collect::<Vec<_>>().join(",");
            let result = format!(
                r#"{{"resultType":"input_required","inputRequests":{{{wanted}}},"requestState":"s","m":"{mark}"}}"#
            );
            side.world.child_answers(id, &result);
            model.asked.insert(mark);
        }
        Op::Detach { session } => {
            if let Some(key) = model.keys.remove(&session) {
                model.sides.iter_mut().for_each(|side| drop(side.world.detach(key)));
            }
        }
        Op::Initialize { session, id } => {
            // To an exchange it is a request like any other.
            if model.keys.get(&session).is_some_and(|key| model.exchanges.contains(key)) {
                return;
            }
            let params = r#"{"protocolVersion":"2025-11-25"}"#;
            model.send(session, IDS[id], INTRODUCTION, &format!(r#""initialize","params":{params}"#));
        }
        Op::Call { session, id, token } | Op::List { session, id, token } => {
            let method = if matches!(op, Op::List { .. }) { method::TOOLS_LIST } else { "tools/call" };
            let mark = model.next_mark();
            let meta = if token { format!(r#","_meta":{{"progressToken":"{mark}"}}"#) } else { String::new() };
            model.send(session, IDS[id], &mark, &format!(r#""{method}","params":{{"m":"{mark}"{meta}}}"#));
        }
        Op::Notify { session } => {
            let Some(key) = model.keys.get(&session).copied() else { return };
            let mark = model.next_mark();
            model.notifications.insert(mark.clone());
            let text = format!(r#"{{"jsonrpc":"2.0","method":"notifications/x","params":{{"m":"{mark}"}}}}"#);
            model.says(key, 0, &text).unwrap();
        }
        Op::SetLevel { session, id, level } => {
            let level = LogLevel::ALL[level].as_str();
            model.send(session, IDS[id], "", &format!(r#""logging/setLevel","params":{{"level":"{level}"}}"#));
        }
        Op::Subscribe { session, id, uri, on } => {
            let method = if on { "subscribe" } else { "unsubscribe" };
            model.send(session, IDS[id], "", &format!(r#""resources/{method}","params":{{"uri":"x:/{uri}"}}"#));
        }
        Op::Cancel { session, id } => {
            let Some(key) = model.keys.get(&session).copied() else { return };
            let of = (key, IDS[id].to_owned());
            let can_be = model.in_flight.get(&of).is_some_and(|mark| mark != INTRODUCTION);
            if can_be {
                model.in_flight.remove(&of);
            }
            let params = format!(r#"{{"requestId":{}}}"#, IDS[id]);
            model
                .says(key, 0, &format!(r#"{{"jsonrpc":"2.0","method":"notifications/cancelled","params":{params}}}"#))
                .unwrap();
            let cancelled = |(to, _, seen): &&(SessionKey, StreamId, Seen)| *to == key && *seen == Seen::Cancelled;
            let told: usize = model.sides.iter().map(|side| side.world.seen.iter().filter(cancelled).count()).sum();
            assert_eq!(told, usize::from(can_be));
        }
        Op::AnswerQuestion { session, question } => {
            let Some(key) = model.keys.get(&session).copied() else { return };
            let Some((asked, id)) = model.questions.get(question).cloned() else { return };
            model.says(key, 0, &format!(r#"{{"jsonrpc":"2.0","id":{id},"result":{{}}}}"#)).unwrap();
            let told = model.sides.iter().any(|side| !side.world.child.is_empty());
            assert!(asked == key || !told, "answered by one who was not asked");
        }
        Op::ChildReads { side, lines } => {
            let count = model.sides.len();
            model.sides[side % count].read(lines, &mut model.notifications);
        }
        Op::ChildAnswers { side, pending, times } => {
            let Some(side) = model.alive(side).filter(|side| pending < side.pending.len()) else { return };
            let request = side.pending.remove(pending);
            (0..times).for_each(|_| side.answer(&request));
        }
        Op::ChildAnswersUnknown { side, id } => {
            let Some(side) = model.alive(side) else { return };
            let mut unread = side.unread.iter().filter_map(|line| Request::read(line));
            if !side.handed_out.contains_key(&id) && unread.all(|request| request.id != id) {
                side.world.child_answers(id, r#"{"m":"forged"}"#);
            }
        }
        Op::ChildProgress { side, pending } => {
            let Some(side) = model.alive(side) else { return };
            if let Some(Request { token, mark, .. }) = side.pending.get(pending).filter(|read| !read.token.is_null()) {
                let params = format!(r#"{{"progressToken":{token},"progress":1,"message":"{mark}"}}"#);
                let method = method::PROGRESS;
                side.world.child_says(&format!(r#"{{"jsonrpc":"2.0","method":"{method}","params":{params}}}"#));
            }
        }
        Op::ChildAsks { side } => {
            let Some(side) = model.alive(side) else { return };
            side.world.child_says(r#"{"jsonrpc":"2.0","id":0,"method":"sampling/createMessage","params":{}}"#);
            let questions = side.world.seen.iter().filter(|(_, _, seen)| matches!(seen, Seen::Message(_))).count();
            assert!(questions <= 1, "asked two");
        }
        Op::ChildLogs { side } => {
            let Some(side) = model.alive(side) else { return };
            side.world.child_says(
                r#"{"jsonrpc":"2.0","method":"notifications/message","params":{"level":"error","data":1}}"#,
            );
            assert!(side.world.seen.len() <= 1, "told two");
        }
        Op::ChildUpdates { side, uri } => {
            let Some(side) = model.alive(side) else { return };
            let params = format!(r#"{{"uri":"x:/{uri}"}}"#);
            let method = method::RESOURCE_UPDATED;
            side.world.child_says(&format!(r#"{{"jsonrpc":"2.0","method":"{method}","params":{params}}}"#));
        }
        Op::ChildEnds { side } => {
            if let Some(side) = model.alive(side) {
                side.world.router.handle_child_ending();
                side.world.drain();
            }
        }
        Op::ChildExits { side, written } => {
            if model.alive(side).is_some() {
                model.exit(side % model.sides.len(), written);
            }
        }
        Op::ChildStarts { with_handshake } => {
            if !model.current().alive {
                model.current().start();
                model.observe();
                if with_handshake {
                    model.shake_hands();
                }
            }
        }
        Op::Recycle => model.recycle(),
        Op::Suspend => {
            model.suspended = true;
            let world = &mut model.current().world;
            world.router.suspend(world.now + Duration::from_secs(1), world.now);
            model.current().world.drain();
        }
        Op::Resume => {
            model.suspended = false;
            model.current().world.router.resume();
        }
        Op::Advance { seconds } => {
            model.sides.iter_mut().for_each(|side| side.world.advance(Duration::from_secs(seconds)));
        }
    }
}

fn limited() -> RouterConfig {
    RouterConfig { in_flight_max: std::num::NonZeroUsize::new(3).unwrap(), ..config() }
}

fn with_timeouts() -> RouterConfig {
    let seconds = Duration::from_secs;
    RouterConfig { request_timeout: Some(seconds(20)), request_timeout_max: Some(seconds(50)), ..limited() }
}

proptest! {
    #[test]
    fn every_request_is_settled_once_and_nothing_crosses(ops in prop::collection::vec(op(SESSIONS), 0..160)) {
        run(&ops, limited(), Sharing::Shared);
    }

    #[test]
    fn the_same_holds_with_timeouts(ops in prop::collection::vec(op(SESSIONS), 0..160)) {
        run(&ops, with_timeouts(), Sharing::Shared);
    }

    #[test]
    fn the_same_holds_when_sessions_take_turns(ops in prop::collection::vec(op(SESSIONS), 0..160)) {
        run(&ops, RouterConfig { on_ambiguous: OnAmbiguous::Serialize, ..limited() }, Sharing::Shared);
    }

    #[test]
    fn the_same_holds_for_a_child_of_ones_own(ops in prop::collection::vec(op(1), 0..160)) {
        run(&ops, with_timeouts(), Sharing::Private);
    }

    #[test]
    fn the_same_holds_between_the_eras(ops in prop::collection::vec(op(SESSIONS), 0..160)) {
        run_in(Era::Modern, &ops, limited(), Sharing::Shared);
    }

    #[test]
    fn the_same_holds_between_the_eras_with_timeouts(ops in prop::collection::vec(op(SESSIONS), 0..160)) {
        run_in(Era::Modern, &ops, with_timeouts(), Sharing::Shared);
    }

    #[test]
    fn the_same_inputs_give_the_same_outputs(ops in prop::collection::vec(op(SESSIONS), 0..160), private in any::<bool>()) {
        let sharing = if private { Sharing::Private } else { Sharing::Shared };
        prop_assert_eq!(run(&ops, limited(), sharing), run(&ops, limited(), sharing));
        let modern = || run_in(Era::Modern, &ops, limited(), sharing);
        prop_assert_eq!(modern(), modern());
    }
}
