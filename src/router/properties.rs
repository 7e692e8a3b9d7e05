//! Properties of the router over random lists of operations, held against a model of plain maps.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use proptest::prelude::*;
use serde_json::Value;

use super::id_table::REMEMBERED_FOR;
use super::world::{ASKABLE, Seen, World, config, json_of};
use super::*;
use crate::config::OnAmbiguous;

/// What can happen. Numbers are taken modulo what is there.
#[derive(Clone, Debug)]
enum Op {
    Attach { session: u64, askable: bool },
    Detach { session: u64 },
    Call { session: u64, id: usize, token: bool },
    SetLevel { session: u64, id: usize, level: usize },
    Subscribe { session: u64, id: usize, uri: u8, on: bool },
    Cancel { session: u64, id: usize },
    AnswerQuestion { session: u64, question: usize },
    ChildAnswers { pending: usize, times: u8 },
    ChildAnswersUnknown { id: u64 },
    ChildProgress { pending: usize },
    ChildAsks,
    ChildLogs,
    ChildUpdates { uri: u8 },
    ChildExits,
    ChildStarts,
    Advance { seconds: u64 },
}

/// Ids as clients spell them; some look alike.
const IDS: [&str; 6] = ["0", "1", r#""1""#, "1e2", "12345678901234567890123", r#""é""#];

fn op() -> impl Strategy<Value = Op> {
    let session = 0..4u64;
    let id = 0..IDS.len();
    prop_oneof![
        3 => (session.clone(), any::<bool>()).prop_map(|(session, askable)| Op::Attach { session, askable }),
        1 => session.clone().prop_map(|session| Op::Detach { session }),
        8 => (session.clone(), id.clone(), any::<bool>()).prop_map(|(session, id, token)| Op::Call { session, id, token }),
        1 => (session.clone(), id.clone(), 0..8usize)
            .prop_map(|(session, id, level)| Op::SetLevel { session, id, level }),
        2 => (session.clone(), id.clone(), 0..3u8, any::<bool>())
            .prop_map(|(session, id, uri, on)| Op::Subscribe { session, id, uri, on }),
        2 => (session.clone(), id).prop_map(|(session, id)| Op::Cancel { session, id }),
        2 => (session, 0..4usize).prop_map(|(session, question)| Op::AnswerQuestion { session, question }),
        8 => (0..8usize, 1..3u8).prop_map(|(pending, times)| Op::ChildAnswers { pending, times }),
        1 => (0..100u64).prop_map(|id| Op::ChildAnswersUnknown { id }),
        3 => (0..8usize).prop_map(|pending| Op::ChildProgress { pending }),
        2 => Just(Op::ChildAsks),
        2 => Just(Op::ChildLogs),
        1 => (0..3u8).prop_map(|uri| Op::ChildUpdates { uri }),
        1 => Just(Op::ChildExits),
        2 => Just(Op::ChildStarts),
        2 => (0..40u64).prop_map(|seconds| Op::Advance { seconds }),
    ]
}

/// What should be so.
#[derive(Default)]
struct Model {
    /// Every request in flight: its session, its id as spelled, and the mark in its params.
    in_flight: BTreeMap<(SessionKey, String), String>,
    /// Attached sessions by the name the operations use; keys are never reused.
    keys: BTreeMap<u64, SessionKey>,
    keys_used: u64,
    marks: u64,
    /// What the child has read and not answered: id, progress token, mark.
    pending: Vec<(u64, Value, String)>,
    ids_used: BTreeSet<u64>,
    /// Questions delivered: to whom, under which id.
    questions: Vec<(SessionKey, String)>,
    /// Everything that came out, in order.
    log: Vec<String>,
}

impl Model {
    /// The child reads, the sessions see: checks each against the model.
    fn observe(&mut self, world: &mut World) {
        for line in world.child.drain(..) {
            let json = json_of(&line);
            self.log.push(line);
            assert_eq!(json["jsonrpc"], "2.0");
            if let (Some(id), Some(_)) = (json["id"].as_u64(), json.get("method")) {
                assert!(self.ids_used.insert(id), "child-side id {id} was used before");
                let mark = json["params"]["m"].as_str().unwrap_or_default().to_owned();
                self.pending.push((id, json["params"]["_meta"]["progressToken"].clone(), mark));
            }
        }
        let seen: Vec<_> = world.seen.drain(..).collect();
        for (session, stream, seen) in seen {
            self.log.push(format!("{session:?} {stream:?} {seen:?}"));
            match seen {
                Seen::Response(text) | Seen::Initialized(text) => {
                    let raw: BTreeMap<String, Box<serde_json::value::RawValue>> = serde_json::from_str(&text).unwrap();
                    let mark = self.settle(session, raw["id"].get());
                    if let Some(echo) = json_of(&text)["result"]["m"].as_str() {
                        assert_eq!(echo, mark, "somebody else's answer");
                    }
                }
                Seen::Rejected(id, _) => {
                    self.settle(session, &id);
                }
                // Settled by the operation itself.
                Seen::Cancelled => {}
                Seen::Message(text) => self.message(session, &text),
            }
        }
    }

    fn settle(&mut self, session: SessionKey, id: &str) -> String {
        let settled = self.in_flight.remove(&(session, id.to_owned()));
        settled.unwrap_or_else(|| panic!("{session:?} was answered for {id}, which it has not in flight"))
    }

    fn message(&mut self, session: SessionKey, text: &str) {
        let json = json_of(text);
        match json["method"].as_str() {
            Some("notifications/progress") => {
                let mark = json["params"]["message"].as_str().unwrap().to_owned();
                assert_eq!(json["params"]["progressToken"], mark, "not under the client's own token");
                assert!(self.in_flight.iter().any(|((of, _), own)| *of == session && *own == mark));
            }
            Some("sampling/createMessage") => {
                assert!(self.in_flight.keys().any(|(of, _)| *of == session), "asked without a request in flight");
                self.questions.push((session, json["id"].to_string()));
            }
            Some(_) | None => {}
        }
    }
}

fn run(ops: &[Op], config: RouterConfig) -> Vec<String> {
    let limit = config.in_flight_max.get();
    let mut world = World::new(config);
    let mut model = Model::default();
    for op in ops {
        step(op, &mut world, &mut model);
        model.observe(&mut world);
        let stats = world.router.stats();
        assert_eq!(stats.in_flight, model.in_flight.len());
        assert_eq!(stats.sessions, model.keys.len());
        for key in model.keys.values() {
            assert!(model.in_flight.keys().filter(|(session, _)| session == key).count() <= limit);
        }
        assert!(world.router.poll_timeout().is_none_or(|deadline| deadline > world.now));
    }
    for key in std::mem::take(&mut model.keys).into_values() {
        world.detach(key);
        model.observe(&mut world);
    }
    assert_eq!(model.in_flight, BTreeMap::new(), "not settled");
    world.advance(REMEMBERED_FOR);
    model.observe(&mut world);
    assert_eq!(world.router.stats(), Stats::default(), "left behind");
    assert_eq!((world.router.poll_timeout(), world.router.queued_bytes()), (None, 0), "left behind");
    model.log
}

fn step(op: &Op, world: &mut World, model: &mut Model) {
    match *op {
        Op::Attach { session, askable } => {
            if !model.keys.contains_key(&session) {
                model.keys_used += 1;
                let capabilities = if askable { ASKABLE } else { ClientCapabilities::default() };
                model.keys.insert(session, world.attach(model.keys_used, capabilities));
            }
        }
        Op::Detach { session } => {
            if let Some(key) = model.keys.remove(&session) {
                world.detach(key);
            }
        }
        Op::Call { session, id, token } => {
            let mark = format!("mark-{}", model.marks);
            let meta = if token { format!(r#","_meta":{{"progressToken":"{mark}"}}"#) } else { String::new() };
            send(world, model, session, IDS[id], &mark, &format!(r#""tools/call","params":{{"m":"{mark}"{meta}}}"#));
        }
        Op::SetLevel { session, id, level } => {
            let level = LogLevel::ALL[level].as_str();
            send(world, model, session, IDS[id], "", &format!(r#""logging/setLevel","params":{{"level":"{level}"}}"#));
        }
        Op::Subscribe { session, id, uri, on } => {
            let method = if on { "subscribe" } else { "unsubscribe" };
            send(world, model, session, IDS[id], "", &format!(r#""resources/{method}","params":{{"uri":"x:/{uri}"}}"#));
        }
        Op::Cancel { session, id } => {
            let Some(key) = model.keys.get(&session).copied() else { return };
            let expected = usize::from(model.in_flight.remove(&(key, IDS[id].to_owned())).is_some());
            let params = format!(r#"{{"requestId":{}}}"#, IDS[id]);
            world
                .says(key, 0, &format!(r#"{{"jsonrpc":"2.0","method":"notifications/cancelled","params":{params}}}"#))
                .unwrap();
            let cancelled = |(to, _, seen): &&(SessionKey, StreamId, Seen)| *to == key && *seen == Seen::Cancelled;
            assert_eq!(world.seen.iter().filter(cancelled).count(), expected);
        }
        Op::AnswerQuestion { session, question } => {
            let Some(key) = model.keys.get(&session).copied() else { return };
            let Some((asked, id)) = model.questions.get(question).cloned() else { return };
            let before = world.child.len();
            world.says(key, 0, &format!(r#"{{"jsonrpc":"2.0","id":{id},"result":{{}}}}"#)).unwrap();
            assert!(asked == key || world.child.len() == before, "answered by one who was not asked");
        }
        Op::ChildAnswers { pending, times } => {
            if pending < model.pending.len() {
                let (id, _, mark) = model.pending.remove(pending);
                for _ in 0..times {
                    world.child_answers(id, &format!(r#"{{"m":"{mark}"}}"#));
                }
            }
        }
        Op::ChildAnswersUnknown { id } => {
            if !model.ids_used.contains(&id) {
                world.child_answers(id, r#"{"m":"forged"}"#);
            }
        }
        Op::ChildProgress { pending } => {
            if let Some((_, token, mark)) = model.pending.get(pending).filter(|(_, token, _)| !token.is_null()) {
                let params = format!(r#"{{"progressToken":{token},"progress":1,"message":"{mark}"}}"#);
                world
                    .child_says(&format!(r#"{{"jsonrpc":"2.0","method":"notifications/progress","params":{params}}}"#));
            }
        }
        Op::ChildAsks => {
            world.child_says(r#"{"jsonrpc":"2.0","id":0,"method":"sampling/createMessage","params":{}}"#);
            let questions = world.seen.iter().filter(|(_, _, seen)| matches!(seen, Seen::Message(_))).count();
            assert!(questions <= 1, "asked two");
        }
        Op::ChildLogs => {
            world.child_says(
                r#"{"jsonrpc":"2.0","method":"notifications/message","params":{"level":"error","data":1}}"#,
            );
            assert!(world.seen.len() <= 1, "told two");
        }
        Op::ChildUpdates { uri } => world.child_says(&format!(
            r#"{{"jsonrpc":"2.0","method":"notifications/resources/updated","params":{{"uri":"x:/{uri}"}}}}"#
        )),
        Op::ChildExits => {
            if world.router.stage() != Stage::Down {
                world.exit();
                model.pending.clear();
            }
        }
        Op::ChildStarts => {
            if world.router.stage() == Stage::Down {
                world.start();
            }
        }
        Op::Advance { seconds } => world.advance(Duration::from_secs(seconds)),
    }
}

/// A session sends a request; the model follows.
fn send(world: &mut World, model: &mut Model, session: u64, id: &str, mark: &str, rest: &str) {
    let Some(key) = model.keys.get(&session).copied() else { return };
    model.marks += 1;
    let stream = model.marks;
    let duplicate = model.in_flight.contains_key(&(key, id.to_owned()));
    // Entered before it is sent: it may be answered at once.
    let full = model.in_flight.keys().filter(|(of, _)| *of == key).count() >= 3;
    let accepted = world.says(key, stream, &format!(r#"{{"jsonrpc":"2.0","id":{id},"method":{rest}}}"#));
    assert_eq!(accepted.is_err(), duplicate || full, "{accepted:?}");
    if accepted.is_ok() {
        model.in_flight.insert((key, id.to_owned()), mark.to_owned());
    }
}

fn limited() -> RouterConfig {
    RouterConfig { in_flight_max: std::num::NonZeroUsize::new(3).unwrap(), ..config() }
}

proptest! {
    #[test]
    fn every_request_is_settled_once_and_nothing_crosses(ops in prop::collection::vec(op(), 0..120)) {
        run(&ops, limited());
    }

    #[test]
    fn the_same_holds_with_timeouts(ops in prop::collection::vec(op(), 0..120)) {
        let seconds = Duration::from_secs;
        run(&ops, RouterConfig { request_timeout: Some(seconds(20)), request_timeout_max: Some(seconds(50)), ..limited() });
    }

    #[test]
    fn the_same_holds_when_sessions_take_turns(ops in prop::collection::vec(op(), 0..120)) {
        run(&ops, RouterConfig { on_ambiguous: OnAmbiguous::Serialize, ..limited() });
    }

    #[test]
    fn the_same_inputs_give_the_same_outputs(ops in prop::collection::vec(op(), 0..120)) {
        prop_assert_eq!(run(&ops, limited()), run(&ops, limited()));
    }
}
