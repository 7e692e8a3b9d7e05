//! A simulated world around a router, for its tests: sessions, a child, a clock, and what each has seen.

use std::num::NonZeroUsize;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::time::Instant;

use super::*;
use crate::config::{Bounds, DeclaredCapabilities, OnAmbiguous};
use crate::jsonrpc::DEPTH_MAX;
use crate::mcp::{Era, LogLevel};

/// What a session was given.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Seen {
    Message(String),
    Response(String),
    Initialized(String),
    Rejected(String, &'static str),
    Cancelled,
}

pub(super) struct World {
    pub(super) router: Router,
    pub(super) now: Instant,
    /// Lines the child has read, in order, and taken by nobody yet.
    pub(super) child: VecDeque<String>,
    /// What sessions have seen, in order, and taken by nobody yet.
    pub(super) seen: VecDeque<(SessionKey, StreamId, Seen)>,
}

pub(super) fn config() -> RouterConfig {
    RouterConfig {
        request_timeout: None,
        request_timeout_max: None,
        in_flight_max: NonZeroUsize::new(8).unwrap(),
        queue_timeout: Duration::from_secs(60),
        on_ambiguous: OnAmbiguous::Reject,
        client_capabilities: DeclaredCapabilities { roots: true, sampling: true, elicitation: true },
        bounds: Bounds::default(),
    }
}

pub(super) fn message(text: &str) -> Message {
    Message::parse(Bytes::copy_from_slice(text.as_bytes()), DEPTH_MAX).unwrap_or_else(|error| panic!("{text}: {error}"))
}

pub(super) const ASKABLE: ClientCapabilities =
    ClientCapabilities { roots: true, sampling: true, elicitation_form: true, elicitation_url: true };

/// What the child answers to `initialize`.
pub(super) const INITIALIZE_RESULT: &str = r#"{"protocolVersion":"2025-11-25","capabilities":{"logging":{},"tools":{"listChanged":true},"resources":{"subscribe":true}},"serverInfo":{"name":"s","version":"1"}}"#;

/// What a modern child answers to `server/discover`.
pub(super) const DISCOVER_RESULT: &str = r#"{"supportedVersions":["2026-07-28"],"capabilities":{"tools":{"listChanged":true},"resources":{"listChanged":true,"subscribe":true},"logging":{},"extensions":{"io.modelcontextprotocol/tasks":{}}},"instructions":"For tests.","resultType":"complete","ttlMs":0,"cacheScope":"private","_meta":{"io.modelcontextprotocol/serverInfo":{"name":"s","version":"1"}}}"#;

impl World {
    pub(super) fn new(config: RouterConfig) -> Self {
        Self::with_sharing(config, Sharing::Shared)
    }

    pub(super) fn with_sharing(config: RouterConfig, sharing: Sharing) -> Self {
        Self::with_era(config, sharing, Era::Legacy)
    }

    pub(super) fn with_era(config: RouterConfig, sharing: Sharing, era: Era) -> Self {
        Self::around(Router::new(config, sharing, era), Instant::now())
    }

    /// A world whose child is a modern one, and ready.
    pub(super) fn modern() -> Self {
        Self::modern_with(config())
    }

    pub(super) fn modern_with(config: RouterConfig) -> Self {
        let mut world = Self::with_era(config, Sharing::Shared, Era::Modern);
        world.start();
        world.child.clear();
        world
    }

    fn around(router: Router, now: Instant) -> Self {
        Self { router, now, child: VecDeque::new(), seen: VecDeque::new() }
    }

    /// A world of a child of one session's own, whose process was started and waits for it.
    pub(super) fn private() -> Self {
        let mut world = Self::with_sharing(config(), Sharing::Private);
        world.begin();
        world
    }

    /// The world of the next process of the same place, before its handshake.
    pub(super) fn successor(&self) -> Self {
        Self::around(self.router.successor(), self.now)
    }

    /// What was not given to the child goes to the successor.
    pub(super) fn hand_over(&mut self, successor: &mut Self) {
        self.router.hand_over(&mut successor.router, self.now);
        self.drain();
        successor.drain();
    }

    /// A world whose child is ready and knows all capabilities.
    pub(super) fn ready() -> Self {
        Self::ready_with(config())
    }

    pub(super) fn ready_with(config: RouterConfig) -> Self {
        let mut world = Self::new(config);
        world.start();
        world.child.clear();
        world
    }

    /// A process starts.
    pub(super) fn begin(&mut self) {
        self.router.handle_child_start(self.now);
        self.drain();
    }

    /// A process starts and its handshake stands.
    pub(super) fn start(&mut self) {
        self.begin();
        let initialize = self.child.pop_back().unwrap();
        let id = id_of(&initialize);
        let is_modern = json_of(&initialize)["method"] == method::DISCOVER;
        self.child_answers(id, if is_modern { DISCOVER_RESULT } else { INITIALIZE_RESULT });
        assert_eq!(self.router.stage(), Stage::Ready);
    }

    pub(super) fn drain(&mut self) {
        while let Some(output) = self.router.poll_output() {
            match output {
                Output::ToChild(frame) => self.child.push_back(text(frame)),
                Output::ToSession(Delivery { session, stream, payload }) => {
                    let seen = match payload {
                        Payload::Message(frame) => Seen::Message(text(frame)),
                        Payload::Response(frame) => Seen::Response(text(frame)),
                        Payload::Initialized(frame, _) => Seen::Initialized(text(frame)),
                        Payload::Rejected(id, reject) => Seen::Rejected(id.as_str().to_owned(), reject.wire().kind),
                        Payload::Cancelled => Seen::Cancelled,
                    };
                    self.seen.push_back((session, stream, seen));
                }
            }
        }
    }

    pub(super) fn attach(&mut self, session: u64, capabilities: ClientCapabilities) -> SessionKey {
        let key = SessionKey(session);
        let revision = Some(crate::mcp::Revision::LATEST);
        self.router.attach(key, Profile { revision, capabilities, ..Profile::default() }, self.now);
        self.drain();
        key
    }

    /// One modern request's attachment.
    pub(super) fn attach_exchange(&mut self, session: u64, level: Option<LogLevel>) -> SessionKey {
        let key = SessionKey(session);
        self.router.attach(key, Profile { era: Era::Modern, level, ..Profile::default() }, self.now);
        self.drain();
        key
    }

    pub(super) fn detach(&mut self, session: SessionKey) -> Option<Profile> {
        let profile = self.router.detach(session, self.now);
        self.drain();
        profile
    }

    /// Session `session` sends `text` on stream `stream`.
    pub(super) fn says(&mut self, session: SessionKey, stream: u64, text: &str) -> Result<(), Reject> {
        self.says_with(session, stream, text, 0)
    }

    /// Likewise, while it has so many requests in flight elsewhere.
    pub(super) fn says_with(
        &mut self,
        session: SessionKey,
        stream: u64,
        text: &str,
        elsewhere: usize,
    ) -> Result<(), Reject> {
        let from = Origin::client(session, StreamId(stream));
        let outcome = self.router.handle_session_message(from, message(text), elsewhere, self.now);
        self.drain();
        outcome
    }

    /// A request that is accepted and written; returns the child's id of it.
    pub(super) fn calls(&mut self, session: SessionKey, stream: u64, id: &str, params: &str) -> u64 {
        let text = format!(r#"{{"jsonrpc":"2.0","id":{id},"method":"tools/call","params":{params}}}"#);
        self.says(session, stream, &text).unwrap();
        id_of(&self.child.pop_back().unwrap())
    }

    pub(super) fn child_says(&mut self, text: &str) {
        self.router.handle_child_message(message(text), self.now);
        self.drain();
    }

    pub(super) fn child_answers(&mut self, id: u64, result: &str) {
        self.child_says(&format!(r#"{{"jsonrpc":"2.0","id":{id},"result":{result}}}"#));
    }

    /// The child exits; everything that was handed out for it was written.
    pub(super) fn exit(&mut self) {
        self.exit_leaving(&[]);
    }

    /// The child exits, and these lines, the last that were handed out, were not written.
    pub(super) fn exit_leaving(&mut self, unwritten: &[String]) {
        let unwritten: String = unwritten.iter().map(|line| format!("{line}\n")).collect();
        let exit = ChildExit {
            status: "exit status: 3".to_owned(),
            exit_code: Some(3),
            signal: None,
            stderr: std::sync::Arc::default(),
        };
        self.router.handle_child_exit(&exit, unwritten.as_bytes(), self.now);
        self.drain();
    }

    pub(super) fn advance(&mut self, by: Duration) {
        self.now += by;
        self.router.handle_timeout(self.now);
        self.drain();
    }

    /// What the child has read since the last call.
    pub(super) fn child_read(&mut self) -> Vec<String> {
        self.child.drain(..).collect()
    }

    /// What this session has seen since the last call.
    pub(super) fn seen_by(&mut self, session: SessionKey) -> Vec<Seen> {
        let (own, others) = self.seen.drain(..).partition::<Vec<_>, _>(|(to, ..)| *to == session);
        self.seen = others.into();
        own.into_iter().map(|(_, _, seen)| seen).collect()
    }
}

pub(super) fn text(frame: Frame) -> String {
    String::from_utf8(frame.into_bytes().to_vec()).unwrap()
}

pub(super) fn json_of(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_else(|error| panic!("{text}: {error}"))
}

pub(super) fn id_of(line: &str) -> u64 {
    json_of(line)["id"].as_u64().unwrap_or_else(|| panic!("no id of ours in {line}"))
}

pub(super) fn response(id: &str, result: &str) -> Seen {
    Seen::Response(format!(r#"{{"jsonrpc":"2.0","id":{id},"result":{result}}}"#))
}

pub(super) fn error_kind(text: &str) -> Value {
    json!({"code": json_of(text)["error"]["code"], "kind": json_of(text)["error"]["data"]["kind"]})
}
