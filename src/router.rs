//! One child's conversation with those attached to it: who gets what, under which id.
//!
//! Pure: messages and the time go in, what to write to the child and what to deliver to whom comes out. It never waits,
//! never reads a clock, and never fails because of what a *child* sent. After every input its outputs are drained with
//! [`Router::poll_output`], in order.
//!
//! Invariants, each a property in `router/properties.rs`: every accepted request is settled exactly once; nothing
//! reaches a session that did not ask for it; ids and payloads come back byte for byte; child-side ids are never reused;
//! the same inputs give the same outputs.
//!
//! A client's request is *accepted* when [`Router::handle_session_message`] says `Ok`, *queued* until it can be handed
//! out, then *written*, or it *follows* a request of mcp-mux's own (the first `resources/subscribe` of a URI, a
//! `logging/setLevel`) and shares its answer; it is *settled* when its session is given a payload other than
//! [`Payload::Message`] for it. Where later revisions need translating, they do so around [`Router::dispatch`] (towards
//! the child) and [`Router::settle`] (back): ids, attribution and accounts stay here.
//!
//! Spec: 2025-11-25, Base Protocol; DESIGN section 4 has the rules as a table.

mod attribution;
mod from_child;
mod from_session;
mod handshake;
mod id_table;
mod io;
mod levels;
mod questions;
mod subscriptions;
mod tasks;

#[cfg(test)]
mod properties;
#[cfg(test)]
mod scenarios;
#[cfg(test)]
mod world;

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use bytes::Bytes;
use serde_json::json;
use tokio::time::Instant;

use self::handshake::Handshake;
use self::id_table::{ChildId, IdTable, InFlight, Phase};
pub use self::io::{
    ChildExit, ClientCapabilities, Delivery, Origin, Output, Payload, Profile, SessionKey, Sharing, Stage, Stats,
    StreamId,
};
use self::levels::Levels;
use self::questions::{QuestionId, Questions};
use self::subscriptions::{Subscriptions, Verdict};
use self::tasks::Tasks;
use crate::config::RouterConfig;
use crate::error::Reject;
use crate::jsonrpc::{self, Frame, Message, RawId};
use crate::mcp::{LogLevel, method};
use crate::telemetry::flood::Flood;

/// One child's conversation with those attached to it.
#[derive(Debug)]
pub struct Router {
    config: RouterConfig,
    sessions: BTreeMap<SessionKey, Profile>,
    handshake: Handshake,
    requests: IdTable,
    /// Requests that wait for the child to be ready, or for their session's turn, in the order in which they came.
    waiting: BTreeSet<ChildId>,
    /// Notifications that wait for the child, among the requests by the order of ids taken when they came.
    waiting_notifications: BTreeMap<ChildId, (SessionKey, Box<Message>)>,
    waiting_bytes: usize,
    /// With `--on-ambiguous serialize`: the session that can be asked and has requests in flight.
    turn: Option<SessionKey>,
    /// Requests of mcp-mux's own.
    own: BTreeMap<ChildId, Own>,
    questions: Questions,
    subscriptions: Subscriptions,
    levels: Levels,
    tasks: Tasks,
    /// Whom an `elicitationId` was given to; oldest first, bounded.
    elicitations: VecDeque<(String, SessionKey)>,
    outputs: VecDeque<Output>,
    closed: Option<Reject>,
    /// What the child makes us log.
    flood: Flood,
}

/// A request of mcp-mux's own whose answer matters; `initialize` is kept by [`Handshake`].
#[derive(Debug)]
enum Own {
    SetLevel,
    Subscribe(String),
    Unsubscribe,
}

/// How often a second the child can make us log something that is nobody's.
const LOGGED_PER_SECOND_MAX: u32 = 20;

/// Who is told that a question has become pointless.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Tell {
    /// The client; the child is gone.
    Client,
    /// The client, and the child gets an error.
    Both,
}

/// The most `elicitationId`s remembered, and the most for one session.
const ELICITATIONS_MAX: usize = 1024;
const ELICITATIONS_PER_SESSION_MAX: usize = 64;

impl Router {
    /// A router without a child.
    pub fn new(config: RouterConfig) -> Self {
        Self {
            config,
            sessions: BTreeMap::new(),
            handshake: Handshake::default(),
            requests: IdTable::default(),
            waiting: BTreeSet::new(),
            waiting_notifications: BTreeMap::new(),
            waiting_bytes: 0,
            turn: None,
            own: BTreeMap::new(),
            questions: Questions::default(),
            subscriptions: Subscriptions::default(),
            levels: Levels::default(),
            tasks: Tasks::default(),
            elicitations: VecDeque::new(),
            outputs: VecDeque::new(),
            closed: None,
            flood: Flood::new(LOGGED_PER_SECOND_MAX),
        }
    }

    /// Attaches a session (or a stateless exchange). It may send at once; what it sends waits for the child. A profile
    /// that [`Router::detach`] returned goes on where it stopped.
    pub fn attach(&mut self, session: SessionKey, profile: Profile) {
        let subscriptions = profile.subscriptions.clone();
        let (level, open) = (profile.level, profile.revision.is_some());
        self.sessions.insert(session, profile);
        if open {
            let change = self.levels.put(session, Some(level));
            self.tell_level(change);
        }
        for uri in subscriptions {
            let verdict = self.subscriptions.subscribe(session, &uri);
            self.subscriptions.enroll(session, &uri);
            if verdict == Verdict::TellChild && self.is_ready() {
                self.subscribe_child(&uri);
            }
        }
    }

    /// Detaches a session: its requests in flight are cancelled in the child and settled with
    /// [`Reject::SessionClosed`], its questions are answered with an error, its subscriptions and level are given up.
    /// Returns what it would be attached with again.
    pub fn detach(&mut self, session: SessionKey, now: Instant) -> Option<Profile> {
        let ids: Vec<ChildId> = self.requests.of_session(session).collect();
        for id in ids {
            self.abort(id, Reject::SessionClosed, now);
        }
        let mut profile = self.sessions.remove(&session)?;
        let waiting_bytes = &mut self.waiting_bytes;
        self.waiting_notifications.retain(|_, (from, message)| {
            let stays = *from != session;
            if !stays {
                *waiting_bytes -= message.bytes().len();
            }
            stays
        });
        for question in self.questions.ids(Some(session)) {
            if let Some(question) = self.questions.close(question) {
                self.refuse_child(&question.child_request, "client-gone", "the client that was asked is gone");
            }
        }
        profile.level = self.levels.of(session);
        let change = self.levels.put(session, None);
        self.tell_level(change);
        let (uris, orphaned) = self.subscriptions.leave(session);
        profile.subscriptions = uris;
        for uri in orphaned {
            self.unsubscribe_child(&uri);
        }
        self.tasks.leave(session);
        self.elicitations.retain(|(_, asked)| *asked != session);
        self.pump(now);
        Some(profile)
    }

    /// A process was started: the handshake begins.
    pub fn handle_child_start(&mut self, _now: Instant) {
        let id = self.requests.fresh_id();
        let initialize = self.handshake.start(id, self.config.client_capabilities);
        self.tell_child(initialize);
    }

    /// The child takes no more input: what comes from now on waits for the next one; answers of what was written still
    /// count until [`Router::handle_child_exit`].
    pub fn handle_child_ending(&mut self) {
        self.handshake.stop();
    }

    /// The child exited. Requests that were written are settled with [`Reject::ChildExited`]; those not yet written
    /// wait for the next one.
    pub fn handle_child_exit(&mut self, exit: &ChildExit, now: Instant) {
        self.handshake.stop();
        self.own.clear();
        self.void_questions("the server exited");
        for id in self.requests.ids() {
            if !matches!(self.requests.get(id).map(|request| &request.phase), Some(Phase::Queued(_))) {
                self.reject(id, exit.reject());
            }
        }
        self.turn = None;
        self.requests.forget_all();
        self.tasks.clear();
        self.elicitations.clear();
        self.subscriptions.child_gone();
        self.pump(now);
    }

    /// No child will come: everything that waits is settled with `reject`, and so is what comes later.
    pub fn close(&mut self, reject: &Reject) {
        self.handshake.stop();
        self.own.clear();
        self.void_questions("the server is gone");
        for id in self.requests.ids() {
            self.reject(id, reject.clone());
        }
        self.waiting_notifications.clear();
        self.waiting_bytes = 0;
        self.turn = None;
        self.requests.forget_all();
        self.closed = Some(reject.clone());
    }

    /// A deadline of [`Router::poll_timeout`] has come.
    pub fn handle_timeout(&mut self, now: Instant) {
        for id in self.requests.due(now) {
            if self.requests.forget(id) {
                continue;
            }
            let Some(request) = self.requests.get(id) else { continue };
            let reject = self.timeout_reject(request, now);
            self.abort(id, reject, now);
        }
        self.pump(now);
    }

    /// The next thing to do.
    pub fn poll_output(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    /// When [`Router::handle_timeout`] wants to be called.
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.requests.next_deadline()
    }

    /// How far the conversation with the child is.
    pub const fn stage(&self) -> Stage {
        self.handshake.stage()
    }

    /// Why the child refused the handshake, if it did (the error object's text).
    pub fn handshake_error(&self) -> Option<&str> {
        self.handshake.error()
    }

    /// Bytes accepted but not yet handed out for the child.
    pub const fn queued_bytes(&self) -> usize {
        self.waiting_bytes
    }

    /// The sizes of the tables.
    pub fn stats(&self) -> Stats {
        let (in_flight, remembered) = self.requests.len();
        Stats {
            sessions: self.sessions.len(),
            in_flight,
            queued: self.waiting.len() + self.waiting_notifications.len(),
            questions: self.questions.len(),
            subscriptions: self.subscriptions.len(),
            tasks: self.tasks.len(),
            remembered,
        }
    }

    fn is_ready(&self) -> bool {
        self.stage() == Stage::Ready
    }

    fn tell_child(&mut self, frame: Frame) {
        self.outputs.push_back(Output::ToChild(frame));
    }

    fn tell_session(&mut self, session: SessionKey, stream: StreamId, payload: Payload) {
        self.outputs.push_back(Output::ToSession(Delivery { session, stream, payload }));
    }

    /// Settles a request: whatever it still had is gone, and its session is told.
    fn settle(&mut self, id: ChildId, payload: impl FnOnce(&InFlight) -> Payload) {
        let Some(request) = self.requests.remove(id) else { return };
        if let Phase::Queued(message) = &request.phase {
            self.waiting_bytes -= message.bytes().len();
            self.waiting.remove(&id);
        }
        let payload = payload(&request);
        let session = request.origin.session;
        self.tell_session(session, request.origin.stream, payload);
        if let Phase::Follows(own) = request.phase {
            self.give_up_own(own);
        }
        if !self.requests.is_busy(session) {
            for question in self.questions.of_requests(session) {
                self.void_question(question, "the request that this belonged to is over", Tell::Both);
            }
            if self.turn == Some(session) {
                self.turn = None;
            }
        }
    }

    /// An open question has become pointless.
    fn void_question(&mut self, id: QuestionId, why: &str, tell: Tell) {
        let Some(question) = self.questions.close(id) else { return };
        if tell == Tell::Both {
            self.refuse_child(&question.child_request, "request-over", why);
        }
        let params = json!({"requestId": raw(&id.text()), "reason": why}).to_string();
        let cancelled = jsonrpc::notification(method::CANCELLED, Some(&params));
        self.tell_session(question.session, question.stream, Payload::Message(cancelled));
    }

    fn void_questions(&mut self, why: &str) {
        for id in self.questions.ids(None) {
            self.void_question(id, why, Tell::Client);
        }
    }

    /// Nobody may be left who waits for the answer to this request of ours.
    fn give_up_own(&mut self, id: ChildId) {
        if !self.own.contains_key(&id) || !self.requests.followers(id).is_empty() {
            return;
        }
        if let Some(Own::Subscribe(uri)) = self.own.remove(&id)
            && self.subscriptions.resolve(&uri)
        {
            self.unsubscribe_child(&uri);
        }
    }

    fn reject(&mut self, id: ChildId, reject: Reject) {
        self.settle(id, |request| Payload::Rejected(request.client_id.clone(), reject));
    }

    fn respond(&mut self, id: ChildId, result: &str) {
        self.settle(id, |request| Payload::Response(jsonrpc::result_response(&request.client_id, result)));
    }

    /// Settles a request with an error and cancels it in the child.
    fn abort(&mut self, id: ChildId, reject: Reject, now: Instant) {
        let reason = reject.to_string();
        let written_by = self.written_by(id);
        self.reject(id, reject);
        if let Some(session) = written_by {
            let params = json!({"requestId": id.0, "reason": reason}).to_string();
            self.tell_child(jsonrpc::notification(method::CANCELLED, Some(&params)));
            self.remember(id, session, now);
        }
    }

    /// Keeps in mind that the child may still be at work on a request that was just settled.
    fn remember(&mut self, id: ChildId, session: SessionKey, now: Instant) {
        let capabilities = self.sessions.get(&session).map(|profile| profile.capabilities).unwrap_or_default();
        self.requests.remember(id, session, capabilities, now);
    }

    /// The session whose request was handed out for the child under this id.
    fn written_by(&self, id: ChildId) -> Option<SessionKey> {
        let request = self.requests.get(id)?;
        matches!(request.phase, Phase::Written).then_some(request.origin.session)
    }

    /// Answers a request of the child with an error.
    fn refuse_child(&mut self, child_request: &RawId, kind: &str, message: &str) {
        let data = json!({"source": "mcp-mux", "kind": kind});
        let error = json!({"code": crate::mcp::code::QUESTION_REFUSED, "message": message, "data": data});
        self.tell_child(jsonrpc::error_response(Some(child_request), &error));
    }

    /// Tells the child of a level, if there is one to tell and it takes levels. Returns the id of our request, for those
    /// who want to follow it.
    fn tell_level(&mut self, level: Option<LogLevel>) -> Option<ChildId> {
        let level = level.filter(|_| self.is_ready() && self.handshake.capabilities().logging())?;
        let id = self.requests.fresh_id();
        let params = json!({"level": level.as_str()}).to_string();
        self.tell_child(jsonrpc::request(&id.text(), method::SET_LEVEL, Some(&params)));
        Some(id)
    }

    /// Subscribes the child on behalf of sessions that are subscribed already.
    fn subscribe_child(&mut self, uri: &str) {
        let id = self.requests.fresh_id();
        let params = json!({"uri": uri}).to_string();
        self.tell_child(jsonrpc::request(&id.text(), method::SUBSCRIBE, Some(&params)));
        self.own.insert(id, Own::Subscribe(uri.to_owned()));
    }

    /// Nobody is subscribed any more, and nobody waits for the child to say so.
    fn unsubscribe_child(&mut self, uri: &str) {
        if self.is_ready() {
            let id = self.requests.fresh_id();
            let params = json!({"uri": uri}).to_string();
            self.tell_child(jsonrpc::request(&id.text(), method::UNSUBSCRIBE, Some(&params)));
        }
    }
}

/// JSON text as a value, for building params.
fn raw(text: &str) -> serde_json::Value {
    serde_json::from_str(text).unwrap_or_default()
}

/// A message with its id replaced.
fn with_id(message: &Message, id: impl Into<Box<str>>) -> Frame {
    let frame = Frame::new(Bytes::clone(message.bytes()));
    match message.id_span() {
        Some(span) => frame.replace(span, id),
        None => frame,
    }
}
