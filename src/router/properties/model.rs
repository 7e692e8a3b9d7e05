//! What should be so: a place and its sessions as plain maps, and the checks of everything that comes out.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use serde_json::Value;

use super::super::world::{DISCOVER_RESULT, INITIALIZE_RESULT, Seen, World, json_of, message};
use super::super::*;
use crate::config::OnAmbiguous;
use crate::mcp::ids::meta;
use crate::mcp::{Era, method};

/// One process and its router.
pub(super) struct Side {
    pub(super) world: World,
    pub(super) alive: bool,
    /// Handed out and not read.
    pub(super) unread: VecDeque<String>,
    /// Read and not answered.
    pub(super) pending: Vec<Request>,
    /// Every request the router has handed out and a process has read, by its id.
    pub(super) handed_out: BTreeMap<u64, String>,
    /// The ids that this process has been given.
    pub(super) given: BTreeSet<u64>,
    /// The last mark that the process has read.
    pub(super) last_mark: u64,
    /// Whether marks ascend: not in turns, nor where what an older process had came later.
    pub(super) in_order: bool,
}

/// A request as the child reads it.
pub(super) struct Request {
    pub(super) id: u64,
    pub(super) method: String,
    pub(super) token: Value,
    pub(super) mark: String,
}

impl Request {
    pub(super) fn read(line: &str) -> Option<Self> {
        let json = json_of(line);
        let method = json["method"].as_str()?.to_owned();
        let mark = json["params"]["m"].as_str().unwrap_or_default().to_owned();
        Some(Self { id: json["id"].as_u64()?, method, token: json["params"]["_meta"]["progressToken"].clone(), mark })
    }
}

/// The number of a mark.
fn number(mark: &str) -> Option<u64> {
    mark.strip_prefix("mark-")?.parse().ok()
}

impl Side {
    pub(super) fn new(world: World, in_order: bool) -> Self {
        let (unread, pending, handed_out, given) = (VecDeque::new(), Vec::new(), BTreeMap::new(), BTreeSet::new());
        Self { world, alive: false, unread, pending, handed_out, given, last_mark: 0, in_order }
    }

    pub(super) fn start(&mut self) {
        self.alive = true;
        self.world.begin();
    }

    /// The child reads so many lines. `notifications`: the marks of those that it may find.
    pub(super) fn read(&mut self, lines: usize, notifications: &mut BTreeSet<String>) {
        for line in self.unread.drain(..lines.min(self.unread.len())) {
            let request = Request::read(&line);
            let mark = json_of(&line)["params"]["m"].as_str().unwrap_or_default().to_owned();
            if let Some(number) = number(&mark) {
                assert!(!self.in_order || number > self.last_mark, "{mark} was overtaken");
                self.last_mark = number;
            }
            let Some(request) = request else {
                assert!(mark.is_empty() || notifications.remove(&mark), "{mark} was not sent, or given to two");
                continue;
            };
            assert!(self.given.insert(request.id), "child-side id {} was used before", request.id);
            let other = self.handed_out.insert(request.id, line.clone());
            // A session's level goes with each of its requests, and may be another one the second time.
            let same =
                |other: String| other == line || other.contains(meta::LOG_LEVEL) || line.contains(meta::LOG_LEVEL);
            assert!(other.is_none_or(same), "child-side id {} was another's", request.id);
            self.pending.push(request);
        }
    }

    pub(super) fn answer(&mut self, request: &Request) {
        let echo = format!(r#"{{"m":"{}"}}"#, request.mark);
        let result = match request.method.as_str() {
            method::INITIALIZE => INITIALIZE_RESULT,
            method::DISCOVER => DISCOVER_RESULT,
            _ => &echo,
        };
        self.world.child_answers(request.id, result);
    }
}

/// What should be so.
pub(super) struct Model {
    pub(super) sharing: Sharing,
    pub(super) era: Era,
    pub(super) in_flight_max: usize,
    /// The process that serves, behind the one it has replaced while that finishes.
    pub(super) sides: Vec<Side>,
    /// Every request in flight: its session, its id as spelled, and the mark in its params.
    pub(super) in_flight: BTreeMap<(SessionKey, String), String>,
    /// Attached sessions by the name the operations use; keys are never reused.
    pub(super) keys: BTreeMap<u64, SessionKey>,
    pub(super) keys_used: u64,
    /// Of these, those that are modern exchanges.
    pub(super) exchanges: BTreeSet<SessionKey>,
    /// Of these again, those that asked for log messages.
    pub(super) loud: BTreeSet<SessionKey>,
    /// Sessions whose handshake stands.
    pub(super) open: BTreeSet<SessionKey>,
    pub(super) marks: u64,
    /// Marks of notifications that the child was not given yet.
    pub(super) notifications: BTreeSet<String>,
    /// Marks of requests that a process has taken with it once.
    pub(super) repeated: BTreeSet<String>,
    /// Marks of requests about which a modern child wanted to be told something.
    pub(super) asked: BTreeSet<String>,
    /// Questions delivered: to whom, under which id.
    pub(super) questions: Vec<(SessionKey, String)>,
    pub(super) suspended: bool,
    /// Everything that came out, in order.
    pub(super) log: Vec<String>,
}

/// Stands for the mark of a client's `initialize`, which has none.
pub(super) const INTRODUCTION: &str = "introduction";

impl Model {
    pub(super) fn new(config: RouterConfig, sharing: Sharing, era: Era) -> Self {
        // What a modern child asks about comes again later.
        let in_order = config.on_ambiguous == OnAmbiguous::Reject && era == Era::Legacy;
        Self {
            sharing,
            era,
            in_flight_max: config.in_flight_max.get(),
            sides: vec![Side::new(World::with_era(config, sharing, era), in_order)],
            in_flight: BTreeMap::new(),
            keys: BTreeMap::new(),
            keys_used: 0,
            exchanges: BTreeSet::new(),
            loud: BTreeSet::new(),
            asked: BTreeSet::new(),
            open: BTreeSet::new(),
            marks: 0,
            notifications: BTreeSet::new(),
            repeated: BTreeSet::new(),
            questions: Vec::new(),
            suspended: false,
            log: Vec::new(),
        }
    }

    pub(super) fn current(&mut self) -> &mut Side {
        self.sides.last_mut().unwrap()
    }

    /// The side of that number, if it has a process.
    pub(super) fn alive(&mut self, side: usize) -> Option<&mut Side> {
        let count = self.sides.len();
        Some(&mut self.sides[side % count]).filter(|side| side.alive)
    }

    /// The children are handed lines, the sessions see: checks each against the model.
    pub(super) fn observe(&mut self) {
        if self.sides.len() > 1 {
            for news in self.sides[0].world.router.take_news() {
                let world = &mut self.current().world;
                world.router.handle_child_message(news, world.now);
                world.drain();
            }
        }
        for at in 0..self.sides.len() {
            let world = &mut self.sides[at].world;
            let lines: Vec<_> = world.child.drain(..).collect();
            let seen: Vec<_> = world.seen.drain(..).collect();
            for line in lines {
                assert_eq!(json_of(&line)["jsonrpc"], "2.0");
                self.log.push(line.clone());
                self.sides[at].unread.push_back(line);
            }
            for (session, stream, seen) in seen {
                self.log.push(format!("{session:?} {stream:?} {seen:?}"));
                self.see(session, seen);
            }
        }
    }

    /// A process answers everything, and what comes of that too.
    pub(super) fn answer_all(&mut self, at: usize) {
        for _ in 0..self.sides[at].pending.len() + 100 {
            self.observe();
            let side = &mut self.sides[at];
            side.read(usize::MAX, &mut self.notifications);
            if !side.alive || side.pending.is_empty() {
                return;
            }
            let request = side.pending.remove(0);
            side.answer(&request);
        }
        panic!("it asks without end");
    }

    pub(super) fn see(&mut self, session: SessionKey, seen: Seen) {
        if matches!(seen, Seen::Initialized(_)) {
            assert!(self.open.insert(session), "initialized twice");
        }
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

    pub(super) fn settle(&mut self, session: SessionKey, id: &str) -> String {
        let settled = self.in_flight.remove(&(session, id.to_owned()));
        settled.unwrap_or_else(|| panic!("{session:?} was answered for {id}, which it has not in flight"))
    }

    pub(super) fn message(&mut self, session: SessionKey, text: &str) {
        let json = json_of(text);
        match json["method"].as_str() {
            Some("notifications/progress") => {
                let mark = json["params"]["message"].as_str().unwrap().to_owned();
                assert_eq!(json["params"]["progressToken"], mark, "not under the client's own token");
                assert!(self.in_flight.iter().any(|((of, _), own)| *of == session && *own == mark));
            }
            Some("sampling/createMessage") => {
                let busy = self.in_flight.keys().any(|(of, _)| *of == session);
                assert!(!self.exchanges.contains(&session), "an exchange was asked");
                if let Some(mark) = json["params"]["m"].as_str() {
                    let own = self.in_flight.iter().any(|((of, _), own)| *of == session && *own == mark);
                    assert!(own, "asked about another's request");
                }
                assert!(busy || self.sharing == Sharing::Private, "asked without a request in flight");
                let id = json["id"].to_string();
                assert!(self.questions.iter().all(|(_, other)| *other != id), "two questions have one id");
                self.questions.push((session, id));
            }
            Some(_) if self.exchanges.contains(&session) => {
                let listens = |mark: &&str| self.in_flight.iter().any(|((of, _), own)| *of == session && own == mark);
                let id = &json["params"]["_meta"][meta::SUBSCRIPTION_ID];
                let logged = json["method"] == method::MESSAGE && self.loud.contains(&session);
                assert!(logged || id.as_str().as_ref().is_some_and(listens), "{text} is not this exchange's");
            }
            Some(_) => assert_eq!(json["params"]["_meta"][meta::SUBSCRIPTION_ID], Value::Null, "{text}"),
            None => {}
        }
    }

    /// A session sends something; the router that it concerns gets it.
    pub(super) fn says(&mut self, session: SessionKey, stream: u64, text: &str) -> Result<(), Reject> {
        let text_of = message(text);
        let concerned = self.sides.iter().position(|side| side.world.router.concerns(session, &text_of));
        let at = if concerned == Some(0) { 0 } else { self.sides.len() - 1 };
        let counts = self.sides.iter().map(|side| side.world.router.count_of_session(session));
        let elsewhere = counts.enumerate().filter(|(other, _)| *other != at).map(|(_, count)| count).sum();
        self.sides[at].world.says_with(session, stream, text, elsewhere)
    }

    /// A session sends a request.
    pub(super) fn send(&mut self, session: u64, id: &str, mark: &str, rest: &str) {
        let Some(key) = self.keys.get(&session).copied() else { return };
        self.marks += 1;
        let duplicate = self.in_flight.contains_key(&(key, id.to_owned()));
        let full = self.in_flight.keys().filter(|(of, _)| *of == key).count() >= self.in_flight_max;
        let again = mark == INTRODUCTION && self.open.contains(&key);
        let accepted = self.says(key, self.marks, &format!(r#"{{"jsonrpc":"2.0","id":{id},"method":{rest}}}"#));
        assert_eq!(accepted.is_err(), duplicate || full || again || self.suspended, "{accepted:?}");
        if accepted.is_ok() {
            self.in_flight.insert((key, id.to_owned()), mark.to_owned());
        }
    }

    pub(super) fn next_mark(&mut self) -> String {
        self.marks += 1;
        format!("mark-{}", self.marks)
    }

    /// A process exits, and what it was not given of the lines for it goes to the next one. Of what it was given, what may
    /// be repeated does too, once; the rest is lost.
    pub(super) fn exit(&mut self, at: usize, written: usize) {
        let side = &mut self.sides[at];
        let unwritten: Vec<String> = side.unread.split_off(written % (side.unread.len() + 1)).into();
        side.read(usize::MAX, &mut self.notifications);
        let mut lost = BTreeSet::new();
        for request in side.pending.drain(..).filter(|request| number(&request.mark).is_some()) {
            if request.method == method::LISTEN {
                continue;
            }
            if request.method != method::TOOLS_LIST || !self.repeated.insert(request.mark.clone()) {
                lost.insert(request.mark);
            }
        }
        side.alive = false;
        (side.given, side.last_mark) = (BTreeSet::new(), 0);
        let goes_on = |mark: &&String| number(mark).is_some() && !lost.contains(*mark) && !self.asked.contains(*mark);
        let go_on: Vec<String> = self.in_flight.values().filter(goes_on).cloned().collect();
        side.world.exit_leaving(&unwritten);
        if at + 1 < self.sides.len() {
            let mut old = self.sides.remove(at);
            old.world.hand_over(&mut self.current().world);
            assert!(old.world.router.is_drained());
            self.current().in_order = false;
            self.current().world.seen.extend(old.world.seen);
        }
        self.observe();
        let in_flight: BTreeSet<&String> = self.in_flight.values().collect();
        assert!(lost.iter().all(|mark| !in_flight.contains(mark)), "lost, and its client does not know");
        assert!(self.suspended || go_on.iter().all(|mark| in_flight.contains(mark)), "given up for nothing");
    }

    /// A process is replaced by another one.
    pub(super) fn recycle(&mut self) {
        if self.sides.len() > 1 {
            if self.sides[0].world.router.is_drained() {
                self.sides.remove(0);
            }
            return;
        }
        if self.suspended || !self.current().world.router.can_hand_over() {
            return;
        }
        let in_order = self.current().in_order;
        let mut next = Side::new(self.current().world.successor(), in_order);
        next.start();
        self.sides.push(next);
        self.observe();
        self.shake_hands();
        let mut next = self.sides.pop().unwrap();
        self.current().world.hand_over(&mut next.world);
        self.sides.push(next);
        if !self.sides[0].alive {
            assert!(self.sides[0].world.router.is_drained());
            self.sides.remove(0);
        }
    }

    /// The current process answers an `initialize` that was just written to it.
    pub(super) fn shake_hands(&mut self) {
        let side = self.sides.last_mut().unwrap();
        side.read(1, &mut self.notifications);
        let is_handshake = |request: &Request| matches!(&*request.method, method::INITIALIZE | method::DISCOVER);
        if let Some(at) = side.pending.iter().position(is_handshake) {
            let request = side.pending.remove(at);
            side.answer(&request);
        }
    }
}
