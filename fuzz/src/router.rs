//! One child's conversation with its sessions, in any order, with words of both that nobody foresaw: every accepted request
//! is settled exactly once, nothing reaches who did not ask, ids are not reused, nothing is left behind, and the same inputs
//! give the same outputs.
//!
//! What both sides say by the rules is held against a closer model by `router/properties.rs`; here they may say anything.
//! Sessions, ids and requests are chosen by a character (`0`, `1`, …).
//!
//! | line | |
//! |---|---|
//! | `f` sharing era ambiguous timeouts | how it is configured; first |
//! | `a` session askable loud | attaches; of a modern child's sessions some are exchanges |
//! | `d` session | detaches |
//! | `q` session id method token | a request as it should be |
//! | `r` session text | any message of a session |
//! | `n` session id | cancels |
//! | `o` session question | answers a question |
//! | `s` shakes | a process starts, and shakes hands |
//! | `w` lines | it reads |
//! | `A` request kind | it answers |
//! | `P` request | it reports progress |
//! | `Q` kind request | it asks |
//! | `N` kind request | it says something else |
//! | `R` request text | any message of it; `$` is that request's id |
//! | `U` request | its answer could not be read |
//! | `e`, `x` lines | it takes no more input; it exits, so many lines being unread |
//! | `S`, `Z`, `C` | suspended, resumed, closed |
//! | `L` count, `p` | how many requests it may be given; a ping |
//! | `H` shakes, `M` | a successor starts, and shakes hands; it takes over, if it may |
//! | `@` process | whose turn it is: the one that serves, its successor, or one that was replaced, the oldest first |
//! | `T` time | time passes |
//!
//! A process is replaced as `child/actor/succession.rs` does it.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use mcp_mux::config::{Bounds, DeclaredCapabilities, OnAmbiguous, RouterConfig};
use mcp_mux::error::Reject;
use mcp_mux::jsonrpc::{DEPTH_MAX, Frame, Kind, Message, RawId};
use mcp_mux::mcp::{Era, LogLevel, Revision};
use mcp_mux::router::{
    ChildExit, ClientCapabilities, Delivery, Origin, Output, Payload, Profile, Router, SessionKey, Sharing, Stage,
    Stats, StreamId,
};
use tokio::time::Instant;

use self::words::{DISCOVERY, IDS, INTRODUCTION, METHODS, NEWS, QUESTIONS, RESULTS};
use super::input::{Line, lines};
use super::judge::{Expected, Verdict, judge};
use super::world::token;

mod words;

/// The input is a list of what sessions, the child and the clock do.
pub fn run(data: &[u8]) {
    let begin = Instant::now();
    let (first, again) = (World::play(data, begin), World::play(data, begin));
    assert_eq!(first, again, "the same inputs gave other outputs");
}

const SESSIONS: usize = 4;
/// As many may be replaced and not gone as in the actor.
const RETIRED_MAX: usize = 4;
/// An attached session.
struct Session {
    key: SessionKey,
    askable: bool,
}

/// An accepted request that is not settled.
struct InFlight {
    id: RawId,
    token: Option<String>,
}

/// A request as the child has read it.
struct Pending {
    id: String,
    method: String,
    token: Option<String>,
    /// Which request of which session it is, where the session said so.
    mark: Option<String>,
}

/// A process after the other, and the router that speaks for them.
struct Tenure {
    router: Router,
    alive: bool,
    /// Whether the process takes no more input.
    ending: bool,
    /// Handed out and not read.
    unread: VecDeque<Bytes>,
    /// Read and not answered.
    pending: Vec<Pending>,
    /// Ids of the requests that this process was given.
    given: BTreeSet<String>,
}

struct World {
    /// Those that were replaced, the oldest first, the one that serves, and its successor, if there is one.
    tenures: Vec<Tenure>,
    /// How many were replaced.
    serving: usize,
    /// Whose turn it is, as the input says it.
    turn: usize,
    /// Whether nobody is wanted any more.
    closed: bool,
    now: Instant,
    sharing: Sharing,
    era: Era,
    sessions: [Option<Session>; SESSIONS],
    keys: u64,
    streams: u64,
    in_flight: BTreeMap<(SessionKey, StreamId), InFlight>,
    /// Questions delivered.
    questions: Vec<(SessionKey, String)>,
    /// Whether the child has only said what it should: then its answers bear the mark of their request.
    honest: bool,
    log: Vec<String>,
}

impl Tenure {
    fn new(router: Router) -> Self {
        let (unread, pending, given) = (VecDeque::new(), Vec::new(), BTreeSet::new());
        Self { router, alive: false, ending: false, unread, pending, given }
    }

    /// The process reads so many lines.
    fn read(&mut self, lines: usize) {
        for line in self.unread.drain(..lines.min(self.unread.len())) {
            let Verdict::Message(message) = judge(&line, usize::MAX) else { continue };
            if let (Kind::Request, Some(id)) = (message.kind, message.id) {
                let mark = mark(&message).filter(|mark| mark.starts_with("mark-"));
                let (method, token) = (message.method.clone(), token(&message).map(str::to_owned));
                self.pending.push(Pending { id: id.to_owned(), method, token, mark });
            }
        }
    }

    /// The process has read so many lines more, and is gone.
    fn exit(&mut self, read: usize, now: Instant) {
        self.read(read);
        let mut unwritten = Vec::new();
        for line in self.unread.drain(..) {
            unwritten.extend_from_slice(&line);
            unwritten.push(b'\n');
        }
        let stderr = Arc::default();
        let exit = ChildExit { status: "exit status: 3".to_owned(), exit_code: Some(3), signal: None, stderr };
        (self.alive, self.ending) = (false, false);
        self.pending.clear();
        self.given.clear();
        self.router.handle_child_exit(&exit, &unwritten, now);
    }
}

impl World {
    fn play(data: &[u8], now: Instant) -> Vec<String> {
        let mut lines = lines(data, 200).peekable();
        let mut first = lines.next_if(|line| line.rest().starts_with(b"f")).unwrap_or_default();
        first.next();
        let sharing = first.pick(&[Sharing::Shared, Sharing::Private]);
        let era = first.pick(&[Era::Legacy, Era::Modern]);
        let on_ambiguous = first.pick(&[OnAmbiguous::Reject, OnAmbiguous::Serialize]);
        let seconds = Duration::from_secs;
        let timeouts = first.pick(&[(None, None), (Some(seconds(20)), None), (Some(seconds(20)), Some(seconds(50)))]);
        let config = RouterConfig {
            request_timeout: timeouts.0,
            request_timeout_max: timeouts.1,
            in_flight_max: NonZeroUsize::new(4).unwrap_or(NonZeroUsize::MIN),
            queue_timeout: seconds(60),
            // Where no question is ambiguous it would be refused.
            on_ambiguous: if sharing == Sharing::Private { OnAmbiguous::Reject } else { on_ambiguous },
            client_capabilities: DeclaredCapabilities { roots: true, sampling: true, elicitation: true },
            bounds: Bounds::default(),
        };
        let mut world = Self {
            tenures: vec![Tenure::new(Router::new(config, sharing, era))],
            serving: 0,
            turn: 0,
            closed: false,
            now,
            sharing,
            era,
            sessions: [const { None }; SESSIONS],
            keys: 0,
            streams: 0,
            in_flight: BTreeMap::new(),
            questions: Vec::new(),
            honest: true,
            log: Vec::new(),
        };
        for mut line in lines {
            world.step(&mut line);
            world.pass_news_on();
            world.drain(None);
            world.check();
        }
        world.finish();
        world.log
    }

    fn check(&self) {
        let in_flight: usize = self.tenures.iter().map(|tenure| tenure.router.stats().in_flight).sum();
        assert_eq!(in_flight, self.in_flight.len());
        let sessions = self.tenures[self.serving].router.stats().sessions;
        assert_eq!(sessions, self.sessions.iter().flatten().count());
        let next = self.tenures.iter().filter_map(|tenure| tenure.router.poll_timeout()).min();
        assert!(next.is_none_or(|deadline| deadline > self.now), "a deadline has passed");
    }

    /// Everybody goes, and nothing is left.
    fn finish(&mut self) {
        for session in 0..SESSIONS {
            self.detach(session);
        }
        assert!(self.in_flight.is_empty(), "not settled");
        for at in (0..self.tenures.len()).rev().filter(|at| *at != self.serving).collect::<Vec<_>>() {
            self.exit(at, 0);
        }
        if self.tenures[self.serving].alive {
            self.exit(self.serving, 0);
            self.drain(None);
        }
        self.advance(Duration::from_secs(24 * 3600));
        self.drain(None);
        assert_eq!(self.tenures.len(), 1, "left behind");
        assert_nothing_left(&self.tenures[0].router);
    }

    fn step(&mut self, line: &mut Line<'_>) {
        match line.next() {
            b'a' => self.attach(line),
            b'd' => {
                let session = line.below(SESSIONS);
                self.detach(session);
            }
            b'q' => {
                let session = line.below(SESSIONS);
                let (id, (method, params)) = (line.pick(&IDS), line.pick(&METHODS));
                let mark = format!("mark-{}", self.streams + 1);
                let meta =
                    if line.flag() { format!(r#","_meta":{{"progressToken":"{mark}"}}"#) } else { String::new() };
                let params = if params.is_empty() { String::new() } else { format!(",{params}") };
                let text = format!(
                    r#"{{"jsonrpc":"2.0","id":{id},"method":"{method}","params":{{"m":"{mark}"{params}{meta}}}}}"#
                );
                self.says(session, text.into());
            }
            b'r' => {
                let session = line.below(SESSIONS);
                self.says(session, Bytes::copy_from_slice(line.rest()));
            }
            b'n' => {
                let session = line.below(SESSIONS);
                let id = line.pick(&IDS);
                let params = format!(r#"{{"requestId":{id}}}"#);
                let text = format!(r#"{{"jsonrpc":"2.0","method":"notifications/cancelled","params":{params}}}"#);
                self.says(session, text.into());
            }
            b'o' => {
                let session = line.below(SESSIONS);
                let Some((_, id)) = self.questions.get(line.below(8)) else { return };
                let text = format!(r#"{{"jsonrpc":"2.0","id":{id},"result":{{}}}}"#);
                self.says(session, text.into());
            }
            b's' => self.start(self.serving, line.flag()),
            b'H' => self.start_successor(line.flag()),
            b'M' => self.switch(),
            b'@' => self.turn = line.below(8),
            b'S' => {
                let now = self.now;
                self.serving().suspend(now + Duration::from_secs(1), now);
            }
            b'Z' => self.serving().resume(),
            b'C' => {
                self.closed = true;
                self.tenures.iter_mut().for_each(|tenure| tenure.router.close(&Reject::ShuttingDown));
            }
            b'L' => {
                let allowed = line.below(8) as u64;
                let now = self.now;
                self.serving().allow(Some(allowed).filter(|allowed| *allowed < 7), now);
            }
            b'T' => self.advance(line.pick(&[1, 5, 21, 61, 301, 3601].map(Duration::from_secs))),
            kind => {
                let at = self.tenure_in_turn();
                if self.tenures[at].alive {
                    self.child(at, kind, line);
                }
            }
        }
    }

    /// The router that the sessions are attached to.
    fn serving(&mut self) -> &mut Router {
        &mut self.tenures[self.serving].router
    }

    fn tenure_in_turn(&self) -> usize {
        let others = [self.serving, self.serving + 1].into_iter().chain(0..self.serving);
        let there: Vec<_> = others.filter(|at| *at < self.tenures.len()).collect();
        there[self.turn % there.len()]
    }

    /// What only a running process does, or is done to it.
    fn child(&mut self, at: usize, kind: u8, line: &mut Line<'_>) {
        let Self { tenures, now, .. } = self;
        let Tenure { router, pending, ending, .. } = &mut tenures[at];
        let nth = if b"APRU".contains(&kind) { Some(line.below(8)) } else { None };
        match kind {
            b'w' => {
                let lines = line.below(16);
                tenures[at].read(lines);
            }
            b'e' => {
                *ending = true;
                router.handle_child_ending();
            }
            b'x' => {
                let read = line.below(8);
                self.exit(at, read);
            }
            b'p' => router.ping_child(),
            b'A' => {
                let Some(nth) = nth.filter(|nth| *nth < pending.len()) else { return };
                let pending = pending.remove(nth);
                let kind = line.below(RESULTS.len() + 1);
                self.answer(at, &pending, RESULTS.get(kind).copied());
            }
            b'P' => {
                let Some(token) = nth.and_then(|nth| pending.get(nth)?.token.clone()) else { return };
                let params = format!(r#"{{"progressToken":{token},"progress":1}}"#);
                self.child_says(
                    at,
                    &format!(r#"{{"jsonrpc":"2.0","method":"notifications/progress","params":{params}}}"#),
                );
            }
            b'Q' => {
                let (method, params) = line.pick(&QUESTIONS);
                let meta = pending.get(line.below(8)).and_then(|pending| pending.token.clone());
                let meta = meta.map_or_else(String::new, |token| format!(r#""_meta":{{"progressToken":{token}}}"#));
                let comma = if params.is_empty() || meta.is_empty() { "" } else { "," };
                let id = format!("\"q{}\"", self.log.len());
                let params = format!("{{{params}{comma}{meta}}}");
                self.child_says(at, &format!(r#"{{"jsonrpc":"2.0","id":{id},"method":"{method}","params":{params}}}"#));
            }
            b'N' => {
                let (method, params) = line.pick(&NEWS);
                let id = pending.get(line.below(8)).map_or("0", |pending| &pending.id);
                let comma = if params.is_empty() { "" } else { "," };
                let meta = format!(r#""_meta":{{"io.modelcontextprotocol/subscriptionId":{id}}}"#);
                let params = format!("{{{}{comma}{meta}}}", params.replace('$', id));
                self.child_says(at, &format!(r#"{{"jsonrpc":"2.0","method":"{method}","params":{params}}}"#));
            }
            b'R' => {
                self.honest = false;
                let id = nth.and_then(|nth| pending.get(nth)).map_or("0", |pending| &pending.id);
                let parts: Vec<&[u8]> = line.rest().split(|byte| *byte == b'$').collect();
                let bytes = parts.join(id.as_bytes());
                if let Ok(message) = Message::parse(bytes.into(), usize::MAX) {
                    router.handle_child_message(message, *now);
                }
            }
            b'U' => {
                let id = nth.and_then(|nth| pending.get(nth)).and_then(|pending| pending.id.parse().ok());
                router.handle_unusable_answer(id.unwrap_or(u64::MAX), "it is too long", *now);
            }
            _ => {}
        }
    }

    fn attach(&mut self, line: &mut Line<'_>) {
        let session = line.below(SESSIONS);
        let (askable, other) = (line.flag(), line.below(3));
        // A child of one's own has one session in its life.
        let lodged = self.sharing == Sharing::Private && self.era == Era::Legacy && self.keys > 0;
        if self.sessions[session].is_some() || lodged {
            return;
        }
        self.keys += 1;
        let key = SessionKey(self.keys);
        let all = ClientCapabilities { roots: true, sampling: true, elicitation_form: true, elicitation_url: true };
        let mut profile =
            Profile { capabilities: if askable { all } else { Default::default() }, ..Profile::default() };
        let is_exchange = self.era == Era::Modern && other > 0;
        match (is_exchange, self.sharing) {
            (true, _) => {
                profile.era = Era::Modern;
                profile.level = (other == 2).then_some(LogLevel::Info);
            }
            (false, Sharing::Shared) => profile.revision = Some(Revision::LATEST),
            (false, Sharing::Private) => {}
        }
        self.sessions[session] = Some(Session { key, askable: askable && !is_exchange });
        let now = self.now;
        for retired in &mut self.tenures[..self.serving] {
            retired.router.attach_late(key, &profile, now);
        }
        self.serving().attach(key, profile, now);
    }

    fn detach(&mut self, session: usize) {
        let Some(Session { key, .. }) = self.sessions[session].take() else { return };
        for tenure in &mut self.tenures {
            tenure.router.detach(key, self.now);
        }
        self.drain(Some(key));
        assert!(self.in_flight.keys().all(|(of, _)| *of != key), "gone, and not settled");
        self.questions.retain(|(of, _)| *of != key);
    }

    fn says(&mut self, session: usize, text: Bytes) {
        let Some(Session { key, .. }) = self.sessions[session] else { return };
        let Ok(message) = Message::parse(text.clone(), DEPTH_MAX) else { return };
        self.streams += 1;
        let from = Origin::client(key, StreamId(self.streams));
        let id = message.id().filter(|_| message.kind() == Kind::Request);
        let retired = &mut self.tenures[..self.serving];
        let elsewhere = retired.iter().map(|tenure| tenure.router.count_of_session(key)).sum();
        let accepted = match retired.iter_mut().find(|tenure| tenure.router.concerns(key, &message)) {
            Some(tenure) => tenure.router.handle_session_message(from, message, 0, self.now),
            None => {
                let now = self.now;
                self.serving().handle_session_message(from, message, elsewhere, now)
            }
        };
        self.log.push(format!("{:?}", accepted.as_ref().map_err(|reject| reject.wire().kind)));
        match (accepted, id) {
            (Ok(()), Some(id)) => {
                let Verdict::Message(message) = judge(&text, DEPTH_MAX) else { panic!("no message") };
                let token = token(&message).map(str::to_owned);
                self.in_flight.insert((key, from.stream), InFlight { id, token });
            }
            (Ok(()), None) | (Err(_), Some(_)) => {}
            (Err(reject), None) => panic!("only requests can fail: {reject}"),
        }
    }

    fn start(&mut self, at: usize, shakes: bool) {
        let tenure = &mut self.tenures[at];
        if tenure.alive {
            return;
        }
        tenure.alive = true;
        tenure.router.handle_child_start(self.now);
        self.drain(None);
        if shakes {
            let tenure = &mut self.tenures[at];
            tenure.read(1);
            let shaken = |pending: &Pending| matches!(pending.method.as_str(), "initialize" | "server/discover");
            if let Some(nth) = tenure.pending.iter().position(shaken) {
                let pending = tenure.pending.remove(nth);
                self.answer(at, &pending, Some(RESULTS[0]));
            }
        }
    }

    /// A successor is started for a process that stands, if it has none.
    fn start_successor(&mut self, shakes: bool) {
        let Tenure { router, alive, ending, .. } = &self.tenures[self.serving];
        let stands = *alive && !ending && matches!(router.stage(), Stage::Ready | Stage::Waiting);
        if self.closed || !stands || self.serving == RETIRED_MAX || self.tenures.len() > self.serving + 1 {
            return;
        }
        let successor = Tenure::new(router.successor());
        self.tenures.push(successor);
        self.start(self.serving + 1, shakes);
    }

    /// The successor takes the sessions over, if it is ready and nothing would be left hanging.
    fn switch(&mut self) {
        let (now, closed) = (self.now, self.closed);
        let [.., old, successor] = &mut self.tenures[self.serving..] else { return };
        if closed || successor.ending {
            return;
        }
        let unspoken = successor.router.stage() == Stage::Waiting && !successor.router.introduce_like(&old.router, now);
        if (!unspoken && successor.router.stage() != Stage::Ready) || !old.router.can_hand_over() {
            return;
        }
        old.router.hand_over(&mut successor.router, now);
        self.serving += 1;
        if !self.tenures[self.serving - 1].alive {
            self.drain(None);
            self.let_go(self.serving - 1);
        }
    }

    /// A tenure that ends with its process is over.
    fn let_go(&mut self, at: usize) {
        let router = self.tenures.remove(at).router;
        assert!(router.is_drained(), "lost with its process");
        assert_eq!(router.stats().news, 0, "not told");
        if at < self.serving {
            self.serving -= 1;
        }
    }

    /// What those that were replaced say of no request is for the one that serves.
    fn pass_news_on(&mut self) {
        for at in 0..self.serving {
            for message in self.tenures[at].router.take_news() {
                let now = self.now;
                self.serving().handle_child_message(message, now);
            }
        }
    }

    /// Answers a request, with an error where there is no result.
    fn answer(&mut self, at: usize, pending: &Pending, result: Option<&str>) {
        let Pending { id, method, mark, .. } = pending;
        let members = match (method.as_str(), result) {
            ("initialize", Some(_)) => INTRODUCTION,
            ("server/discover", Some(_)) => DISCOVERY,
            (_, Some(result)) => result,
            (_, None) => {
                let error = r#"{"code":-32602,"message":"no"}"#;
                return self.child_says(at, &format!(r#"{{"jsonrpc":"2.0","id":{id},"error":{error}}}"#));
            }
        };
        // Several may share the answer to one of these.
        let is_shared = matches!(method.as_str(), "resources/subscribe" | "resources/unsubscribe" | "logging/setLevel");
        let mark = mark.as_ref().filter(|_| !is_shared);
        let mark = mark.map_or_else(String::new, |mark| format!(r#","m":"{mark}""#));
        self.child_says(at, &format!(r#"{{"jsonrpc":"2.0","id":{id},"result":{{{members}{mark}}}}}"#));
    }

    fn child_says(&mut self, at: usize, text: &str) {
        let message = Message::parse(Bytes::copy_from_slice(text.as_bytes()), usize::MAX);
        let message = message.unwrap_or_else(|error| panic!("{text}: {error}"));
        let asks = message.kind() == Kind::Request;
        self.tenures[at].router.handle_child_message(message, self.now);
        let before = self.questions.len();
        self.drain(None);
        assert!(!asks || self.questions.len() <= before + 1, "asked two");
    }

    fn exit(&mut self, at: usize, read: usize) {
        if at > self.serving {
            // Nothing was its own yet.
            return self.let_go(at);
        }
        self.pass_news_on();
        self.tenures[at].exit(read, self.now);
        if at < self.serving {
            let (retired, others) = self.tenures.split_at_mut(self.serving);
            retired[at].router.hand_over(&mut others[0].router, self.now);
            self.drain(None);
            self.let_go(at);
        }
    }

    fn advance(&mut self, by: Duration) {
        self.now += by;
        self.tenures.iter_mut().for_each(|tenure| tenure.router.handle_timeout(self.now));
    }

    /// Takes everything that came out. `leaving`: a session that was just detached, and is told how its requests ended.
    fn drain(&mut self, leaving: Option<SessionKey>) {
        let newest_first = (self.serving..self.tenures.len()).chain(0..self.serving);
        for at in newest_first {
            while let Some(output) = self.tenures[at].router.poll_output() {
                match output {
                    Output::ToChild(frame) => self.hand_out(at, frame),
                    Output::ToSession(delivery) => self.deliver(delivery, leaving),
                }
            }
        }
    }

    fn hand_out(&mut self, at: usize, frame: Frame) {
        let Tenure { alive, given, unread, .. } = &mut self.tenures[at];
        let line = frame.into_bytes();
        let text = String::from_utf8_lossy(&line).into_owned();
        assert!(*alive, "nobody reads {text}");
        assert!(!text.contains(['\n', '\r']), "{text}");
        let Verdict::Message(message) = judge(&line, usize::MAX) else { panic!("not a message: {text}") };
        if message.kind == Kind::Request {
            let id = message.id.unwrap_or_default();
            assert!(id.parse::<u64>().is_ok() && given.insert(id.to_owned()), "the id of {text}");
        }
        self.log.push(text);
        unread.push_back(line);
    }

    fn deliver(&mut self, Delivery { session, stream, payload }: Delivery, leaving: Option<SessionKey>) {
        self.log.push(format!("{session:?} {stream:?} {payload:?}"));
        let attached = self.sessions.iter().flatten().find(|attached| attached.key == session);
        assert!(attached.is_some() || leaving == Some(session), "{session:?} is not attached");
        let askable = attached.is_some_and(|attached| attached.askable);
        let settled = match payload {
            Payload::Message(frame) => return self.tell(session, askable, frame),
            Payload::Response(_) | Payload::Initialized(..) | Payload::Rejected(..) | Payload::Cancelled => {
                self.in_flight.remove(&(session, stream))
            }
        };
        let Some(InFlight { id, .. }) = settled else { panic!("{session:?} has nothing in flight on {stream:?}") };
        let line = match payload {
            Payload::Response(frame) | Payload::Initialized(frame, _) | Payload::Message(frame) => frame.into_bytes(),
            Payload::Rejected(rejected, _) => return assert_eq!(rejected, id, "another id"),
            Payload::Cancelled => return,
        };
        let Verdict::Message(message) = judge(&line, usize::MAX) else { panic!("not a message: {line:?}") };
        assert!(matches!(message.kind, Kind::Result | Kind::Error), "{line:?}");
        assert_eq!(message.id, Some(id.as_str()), "another id");
        let mark = message.result.and_then(|result| serde_json::from_str::<serde_json::Value>(result).ok());
        let mark = mark.and_then(|result| result["m"].as_str().map(str::to_owned));
        let own = format!("mark-{}", stream.0);
        assert!(!self.honest || mark.is_none_or(|mark| mark == own), "another's answer: {line:?}");
    }

    /// A notification or a question for a session.
    fn tell(&mut self, session: SessionKey, askable: bool, frame: Frame) {
        let line = frame.into_bytes();
        let Verdict::Message(message) = judge(&line, usize::MAX) else { panic!("not a message: {line:?}") };
        match message.kind {
            Kind::Request => {
                assert!(askable || self.sharing == Sharing::Private, "cannot be asked: {line:?}");
                let id = message.id.unwrap_or_default().to_owned();
                assert!(self.questions.iter().all(|(_, other)| *other != id), "two questions have one id");
                self.questions.push((session, id));
            }
            Kind::Notification if message.method == "notifications/progress" => {
                let token = serde_json::from_str::<BTreeMap<String, Box<serde_json::value::RawValue>>>(
                    message.params.unwrap_or_default(),
                );
                let token = token.ok().and_then(|params| Some(params.get("progressToken")?.get().to_owned()));
                let mut own = self.in_flight.iter().filter(|((of, _), _)| *of == session);
                // Whatever a child of one's own says is its client's, as on a pipe between the two.
                let is_own = own.any(|(_, request)| request.token == token) || self.sharing == Sharing::Private;
                assert!(is_own, "progress of another's: {line:?}");
            }
            Kind::Notification => {}
            Kind::Result | Kind::Error => panic!("answers nothing: {line:?}"),
        }
    }
}

fn assert_nothing_left(router: &Router) {
    assert_eq!(router.stats(), Stats::default(), "left behind");
    assert_eq!((router.poll_timeout(), router.queued_bytes()), (None, 0), "left behind");
    assert!(router.is_drained(), "left behind");
}

/// The mark in a request's params.
fn mark(message: &Expected<'_>) -> Option<String> {
    let params: serde_json::Value = serde_json::from_str(message.params?).ok()?;
    params["m"].as_str().map(str::to_owned)
}
