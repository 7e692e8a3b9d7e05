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
//! | `T` time | time passes |

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
    ChildExit, ClientCapabilities, Delivery, Origin, Output, Payload, Profile, Router, SessionKey, Sharing, Stats,
    StreamId,
};
use tokio::time::Instant;

use super::input::{Line, lines};
use super::judge::{Expected, Verdict, judge};
use super::world::token;

/// The input is a list of what sessions, the child and the clock do.
pub fn run(data: &[u8]) {
    let begin = Instant::now();
    let (first, again) = (World::play(data, begin), World::play(data, begin));
    assert_eq!(first, again, "the same inputs gave other outputs");
}

const SESSIONS: usize = 4;
const IDS: [&str; 6] = ["0", "1", r#""1""#, "1e2", "12345678901234567890123", r#""é""#];
const METHODS: [(&str, &str); 16] = [
    ("tools/call", r#""name":"t","arguments":{}"#),
    ("tools/list", ""),
    ("resources/subscribe", r#""uri":"x:/0""#),
    ("resources/unsubscribe", r#""uri":"x:/0""#),
    ("resources/subscribe", r#""uri":"x:/1""#),
    ("logging/setLevel", r#""level":"debug""#),
    ("logging/setLevel", r#""level":"error""#),
    ("initialize", r#""protocolVersion":"2025-11-25","capabilities":{"sampling":{}}"#),
    ("ping", ""),
    ("subscriptions/listen", r#""notifications":{"toolsListChanged":true,"resourceSubscriptions":["x:/0"]}"#),
    ("tools/call", r#""name":"t","task":{"ttl":1}"#),
    ("tasks/get", r#""taskId":"k""#),
    ("tasks/cancel", r#""taskId":"k""#),
    ("tasks/list", ""),
    ("resources/read", r#""uri":"x:/0""#),
    ("prompts/get", r#""name":"p""#),
];
const RESULTS: [&str; 8] = [
    r#""content":[]"#,
    r#""resultType":"input_required","inputRequests":{"a":{"method":"sampling/createMessage","params":{}}},"requestState":"s""#,
    r#""resultType":"complete","ttlMs":1000,"cacheScope":"public""#,
    r#""task":{"taskId":"k","status":"working"}"#,
    r#""resultType":"task","taskId":"k","status":"working""#,
    r#""tasks":[{"taskId":"k"},{"taskId":"l"}]"#,
    r#""resultType":7"#,
    r#""resultType":"input_required","inputRequests":{}"#,
];
const INTRODUCTION: &str = r#""protocolVersion":"2025-11-25","capabilities":{"logging":{},"tools":{"listChanged":true},"resources":{"subscribe":true},"tasks":{}},"serverInfo":{"name":"s","version":"1"}"#;
const DISCOVERY: &str = r#""supportedVersions":["2026-07-28"],"capabilities":{"tools":{"listChanged":true},"resources":{"subscribe":true},"logging":{},"extensions":{"io.modelcontextprotocol/tasks":{}}},"resultType":"complete","ttlMs":0,"cacheScope":"private""#;
const QUESTIONS: [(&str, &str); 4] = [
    ("sampling/createMessage", ""),
    ("elicitation/create", r#""mode":"form","message":"m""#),
    ("elicitation/create", r#""mode":"url","elicitationId":"e","url":"https://e.example""#),
    ("roots/list", ""),
];
const NEWS: [(&str, &str); 9] = [
    ("notifications/tools/list_changed", ""),
    ("notifications/resources/updated", r#""uri":"x:/0""#),
    ("notifications/message", r#""level":"error","data":1"#),
    ("notifications/cancelled", r#""requestId":$"#),
    (
        "notifications/subscriptions/acknowledged",
        r#""notifications":{"toolsListChanged":true,"resourceSubscriptions":["x:/0"]}"#,
    ),
    ("notifications/tasks/status", r#""taskId":"k","status":"completed""#),
    ("notifications/elicitation/complete", r#""elicitationId":"e""#),
    ("notifications/tasks", r#""taskId":"k","status":"completed""#),
    ("notifications/x", ""),
];

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

struct World {
    router: Router,
    now: Instant,
    sharing: Sharing,
    era: Era,
    sessions: [Option<Session>; SESSIONS],
    keys: u64,
    streams: u64,
    in_flight: BTreeMap<(SessionKey, StreamId), InFlight>,
    alive: bool,
    /// Handed out and not read.
    unread: VecDeque<Bytes>,
    /// Read and not answered.
    pending: Vec<Pending>,
    /// Ids of the requests that this process was given.
    given: BTreeSet<String>,
    /// Questions delivered.
    questions: Vec<(SessionKey, String)>,
    /// Whether the child has only said what it should: then its answers bear the mark of their request.
    honest: bool,
    log: Vec<String>,
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
            router: Router::new(config, sharing, era),
            now,
            sharing,
            era,
            sessions: [const { None }; SESSIONS],
            keys: 0,
            streams: 0,
            in_flight: BTreeMap::new(),
            alive: false,
            unread: VecDeque::new(),
            pending: Vec::new(),
            given: BTreeSet::new(),
            questions: Vec::new(),
            honest: true,
            log: Vec::new(),
        };
        for mut line in lines {
            world.step(&mut line);
            world.drain(None);
            world.check();
        }
        world.finish();
        world.log
    }

    fn check(&self) {
        assert_eq!(self.router.stats().in_flight, self.in_flight.len());
        assert_eq!(self.router.stats().sessions, self.sessions.iter().flatten().count());
        assert!(self.router.poll_timeout().is_none_or(|deadline| deadline > self.now), "a deadline has passed");
    }

    /// Everybody goes, and nothing is left.
    fn finish(&mut self) {
        for session in 0..SESSIONS {
            self.detach(session);
        }
        assert!(self.in_flight.is_empty(), "not settled");
        if self.alive {
            self.exit(0);
            self.drain(None);
        }
        self.advance(Duration::from_secs(24 * 3600));
        self.drain(None);
        assert_eq!(self.router.stats(), Stats::default(), "left behind");
        assert_eq!((self.router.poll_timeout(), self.router.queued_bytes()), (None, 0), "left behind");
        assert!(self.router.is_drained(), "left behind");
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
            b's' => self.start(line.flag()),
            b'w' => self.read(line.below(16)),
            b'e' if self.alive => self.router.handle_child_ending(),
            b'x' if self.alive => self.exit(line.below(8)),
            b'S' => self.router.suspend(self.now + Duration::from_secs(1), self.now),
            b'Z' => self.router.resume(),
            b'C' => self.router.close(&Reject::ShuttingDown),
            b'L' => {
                let allowed = line.below(8) as u64;
                self.router.allow(Some(allowed).filter(|allowed| *allowed < 7), self.now);
            }
            b'p' if self.alive => self.router.ping_child(),
            b'T' => self.advance(line.pick(&[1, 5, 21, 61, 301, 3601].map(Duration::from_secs))),
            kind if self.alive => self.child(kind, line),
            _ => {}
        }
    }

    /// What only a running child does.
    fn child(&mut self, kind: u8, line: &mut Line<'_>) {
        let nth = if kind == b'Q' || kind == b'N' { None } else { Some(line.below(8)) };
        match kind {
            b'A' => {
                let Some(pending) = nth.filter(|nth| *nth < self.pending.len()).map(|nth| self.pending.remove(nth))
                else {
                    return;
                };
                let kind = line.below(RESULTS.len() + 1);
                self.answer(&pending, RESULTS.get(kind).copied());
            }
            b'P' => {
                let Some(token) = nth.and_then(|nth| self.pending.get(nth)?.token.clone()) else { return };
                let params = format!(r#"{{"progressToken":{token},"progress":1}}"#);
                self.child_says(&format!(r#"{{"jsonrpc":"2.0","method":"notifications/progress","params":{params}}}"#));
            }
            b'Q' => {
                let (method, params) = line.pick(&QUESTIONS);
                let meta = self.pending.get(line.below(8)).and_then(|pending| pending.token.clone());
                let meta = meta.map_or_else(String::new, |token| format!(r#""_meta":{{"progressToken":{token}}}"#));
                let comma = if params.is_empty() || meta.is_empty() { "" } else { "," };
                let id = format!("\"q{}\"", self.log.len());
                let params = format!("{{{params}{comma}{meta}}}");
                self.child_says(&format!(r#"{{"jsonrpc":"2.0","id":{id},"method":"{method}","params":{params}}}"#));
            }
            b'N' => {
                let (method, params) = line.pick(&NEWS);
                let id = self.pending.get(line.below(8)).map_or("0", |pending| &pending.id);
                let comma = if params.is_empty() { "" } else { "," };
                let meta = format!(r#""_meta":{{"io.modelcontextprotocol/subscriptionId":{id}}}"#);
                let params = format!("{{{}{comma}{meta}}}", params.replace('$', id));
                self.child_says(&format!(r#"{{"jsonrpc":"2.0","method":"{method}","params":{params}}}"#));
            }
            b'R' => {
                self.honest = false;
                let id = nth.and_then(|nth| self.pending.get(nth)).map_or("0", |pending| &pending.id);
                let parts: Vec<&[u8]> = line.rest().split(|byte| *byte == b'$').collect();
                let bytes = parts.join(id.as_bytes());
                if let Ok(message) = Message::parse(bytes.into(), usize::MAX) {
                    self.router.handle_child_message(message, self.now);
                }
            }
            b'U' => {
                let id = nth.and_then(|nth| self.pending.get(nth)).and_then(|pending| pending.id.parse().ok());
                self.router.handle_unusable_answer(id.unwrap_or(u64::MAX), "it is too long", self.now);
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
        self.router.attach(key, profile, self.now);
    }

    fn detach(&mut self, session: usize) {
        let Some(Session { key, .. }) = self.sessions[session].take() else { return };
        self.router.detach(key, self.now);
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
        let accepted = self.router.handle_session_message(from, message, 0, self.now);
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

    fn start(&mut self, shakes: bool) {
        if self.alive {
            return;
        }
        self.alive = true;
        self.router.handle_child_start(self.now);
        self.drain(None);
        if shakes {
            self.read(1);
            let shaken = |pending: &Pending| matches!(pending.method.as_str(), "initialize" | "server/discover");
            if let Some(at) = self.pending.iter().position(shaken) {
                let pending = self.pending.remove(at);
                self.answer(&pending, Some(RESULTS[0]));
            }
        }
    }

    /// Answers a request, with an error where there is no result.
    fn answer(&mut self, pending: &Pending, result: Option<&str>) {
        let Pending { id, method, mark, .. } = pending;
        let members = match (method.as_str(), result) {
            ("initialize", Some(_)) => INTRODUCTION,
            ("server/discover", Some(_)) => DISCOVERY,
            (_, Some(result)) => result,
            (_, None) => {
                let error = r#"{"code":-32602,"message":"no"}"#;
                return self.child_says(&format!(r#"{{"jsonrpc":"2.0","id":{id},"error":{error}}}"#));
            }
        };
        // Several may share the answer to one of these.
        let is_shared = matches!(method.as_str(), "resources/subscribe" | "resources/unsubscribe" | "logging/setLevel");
        let mark = mark.as_ref().filter(|_| !is_shared);
        let mark = mark.map_or_else(String::new, |mark| format!(r#","m":"{mark}""#));
        self.child_says(&format!(r#"{{"jsonrpc":"2.0","id":{id},"result":{{{members}{mark}}}}}"#));
    }

    fn child_says(&mut self, text: &str) {
        let message = Message::parse(Bytes::copy_from_slice(text.as_bytes()), usize::MAX);
        let message = message.unwrap_or_else(|error| panic!("{text}: {error}"));
        let asks = message.kind() == Kind::Request;
        self.router.handle_child_message(message, self.now);
        let before = self.questions.len();
        self.drain(None);
        assert!(!asks || self.questions.len() <= before + 1, "asked two");
    }

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

    fn exit(&mut self, written: usize) {
        self.read(written);
        let mut unwritten = Vec::new();
        for line in self.unread.drain(..) {
            unwritten.extend_from_slice(&line);
            unwritten.push(b'\n');
        }
        let stderr = Arc::default();
        let exit = ChildExit { status: "exit status: 3".to_owned(), exit_code: Some(3), signal: None, stderr };
        self.alive = false;
        self.pending.clear();
        self.given.clear();
        self.router.handle_child_exit(&exit, &unwritten, self.now);
    }

    fn advance(&mut self, by: Duration) {
        self.now += by;
        self.router.handle_timeout(self.now);
    }

    /// Takes everything that came out. `leaving`: a session that was just detached, and is told how its requests ended.
    fn drain(&mut self, leaving: Option<SessionKey>) {
        while let Some(output) = self.router.poll_output() {
            match output {
                Output::ToChild(frame) => self.hand_out(frame),
                Output::ToSession(delivery) => self.deliver(delivery, leaving),
            }
        }
    }

    fn hand_out(&mut self, frame: Frame) {
        let line = frame.into_bytes();
        let text = String::from_utf8_lossy(&line).into_owned();
        assert!(self.alive, "nobody reads {text}");
        assert!(!text.contains(['\n', '\r']), "{text}");
        let Verdict::Message(message) = judge(&line, usize::MAX) else { panic!("not a message: {text}") };
        if message.kind == Kind::Request {
            let id = message.id.unwrap_or_default();
            assert!(id.parse::<u64>().is_ok() && self.given.insert(id.to_owned()), "the id of {text}");
        }
        self.log.push(text);
        self.unread.push_back(line);
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

/// The mark in a request's params.
fn mark(message: &Expected<'_>) -> Option<String> {
    let params: serde_json::Value = serde_json::from_str(message.params?).ok()?;
    params["m"].as_str().map(str::to_owned)
}
