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
//! [`Payload::Message`] for it, or *asks* its client something that a modern child wants to know first. What a child of
//! the modern era changes is in `era`: ids, attribution and accounts stay here.
//!
//! The child is a place: processes come and go behind it. What an exit does to requests is in `exit`, how a process is
//! replaced while it lives in `succession`, and what is different for a child of one session's own in `private`. What a
//! session's client may not use is kept from it in `rules`.
//!
//! Spec: 2025-11-25, Base Protocol; DESIGN section 4 has the rules as a table.

mod attachment;
mod attribution;
pub mod cache;
mod cancelled;
mod deadlines;
mod era;
mod exit;
mod from_child;
mod from_session;
mod handshake;
mod id_table;
mod in_flight;
mod io;
mod levels;
pub mod need;
mod own;
mod private;
mod purpose;
mod questions;
mod queue;
mod rules;
mod subscriptions;
mod succession;
mod tasks;

#[cfg(test)]
mod properties;
#[cfg(test)]
mod scenarios;
#[cfg(test)]
mod world;

use std::collections::{BTreeMap, VecDeque};

use bytes::Bytes;
use compact_str::CompactString;
use serde_json::json;
use tokio::time::Instant;

use self::cache::ResponseCache;
use self::cancelled::Cancelled;
use self::era::{Listen, Rounds};
use self::exit::Denial;
use self::handshake::Handshake;
use self::id_table::{ChildId, IdTable};
use self::in_flight::{InFlight, Phase};
pub use self::io::{
    ChildExit, ClientCapabilities, Delivery, Origin, Output, Payload, Profile, Sender, SessionKey, Sharing, Stage,
    Stats, StreamId,
};
use self::levels::Levels;
use self::own::Own;
use self::questions::{Asker, QuestionId, Questions};
use self::queue::Queue;
pub use self::rules::{permit, subject};
use self::subscriptions::Subscriptions;
use self::tasks::Tasks;
use crate::config::RouterConfig;
use crate::error::Reject;
use crate::jsonrpc::{self, Frame, Message, RawId};
use crate::mcp::{Era, method};
use crate::telemetry::flood::Flood;

/// One child's conversation with those attached to it.
#[derive(Debug)]
pub struct Router {
    config: RouterConfig,
    sharing: Sharing,
    /// Which era the child is spoken to in.
    era: Era,
    /// How many routers the place had before this one.
    generation: u64,
    role: Role,
    sessions: BTreeMap<SessionKey, Profile>,
    handshake: Handshake,
    requests: IdTable,
    /// What the child may still be at work on though it was cancelled.
    cancelled: Cancelled,
    /// What waits for the child to be ready, or for its session's turn.
    queue: Queue,
    /// With `--on-ambiguous serialize`: the session that can be asked and has requests in flight.
    turn: Option<SessionKey>,
    /// Requests of mcp-mux's own.
    own: BTreeMap<ChildId, Own>,
    questions: Questions,
    subscriptions: Subscriptions,
    levels: Levels,
    /// Of a modern child: what mcp-mux is told of for all sessions.
    listen: Listen,
    /// Of a modern child: what clients are asked before it goes on.
    rounds: Rounds,
    /// Of a modern child: results that it need not be asked for again.
    cache: ResponseCache,
    tasks: Tasks,
    /// Whom an `elicitationId` was given to; oldest first, bounded.
    elicitations: VecDeque<(String, SessionKey)>,
    outputs: VecDeque<Output>,
    denial: Option<Denial>,
    requests_given: u64,
    /// How many may be given; the next ones wait.
    allowance: Option<u64>,
    life_signs: u64,
    /// What the child of a retired router said that belongs to no request of its own: for its successor to tell.
    news: VecDeque<Message>,
    /// What the child makes us log.
    flood: Flood,
    /// Its messages that could not be attributed, since somebody asked.
    unattributed: u64,
}

/// Whether the sessions are served here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Role {
    Serving,
    /// A successor serves them; what was written here is still settled.
    Retired,
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

impl Router {
    /// A router without a process, the first of its place.
    pub fn new(config: RouterConfig, sharing: Sharing, era: Era) -> Self {
        let sharing = era.sharing(sharing);
        let introduction = era.introduction(sharing, &config);
        let config = era.configure(sharing.configure(config));
        Self::with_handshake(config, (sharing, era), 0, Handshake::new(introduction))
    }

    fn with_handshake(
        config: RouterConfig,
        (sharing, era): (Sharing, Era),
        generation: u64,
        handshake: Handshake,
    ) -> Self {
        Self {
            config,
            sharing,
            era,
            generation,
            role: Role::Serving,
            sessions: BTreeMap::new(),
            handshake,
            requests: IdTable::default(),
            cancelled: Cancelled::default(),
            queue: Queue::default(),
            turn: None,
            own: BTreeMap::new(),
            questions: Questions::new(generation),
            subscriptions: Subscriptions::default(),
            levels: Levels::default(),
            listen: Listen::default(),
            rounds: Rounds::default(),
            cache: ResponseCache::new(0),
            tasks: Tasks::default(),
            elicitations: VecDeque::new(),
            outputs: VecDeque::new(),
            denial: None,
            requests_given: 0,
            allowance: None,
            life_signs: 0,
            news: VecDeque::new(),
            flood: Flood::new(LOGGED_PER_SECOND_MAX),
            unattributed: 0,
        }
    }

    /// A process was started: the handshake begins, unless it is for the session to begin it.
    pub fn handle_child_start(&mut self, now: Instant) {
        self.introduce();
        self.pump(now);
    }

    /// A deadline of [`Router::poll_timeout`] has come.
    pub fn handle_timeout(&mut self, now: Instant) {
        self.cancelled.expire(now);
        for id in self.requests.due(now) {
            let Some(request) = self.requests.get(id) else { continue };
            if self.waits_for_its_client(request, now) {
                self.renew_deadline(id, now);
                continue;
            }
            let reject = self.timeout_reject(request, now).counted();
            self.abort(id, reject, now);
        }
        self.end_waiting_to_listen(now);
        self.wake_rounds(now);
        self.pump(now);
    }

    /// The next thing to do.
    pub fn poll_output(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    /// When [`Router::handle_timeout`] wants to be called.
    pub fn poll_timeout(&self) -> Option<Instant> {
        let (requests, listen) = (self.requests.next_deadline(), self.listen.deadline());
        [requests, self.cancelled.next_deadline(), listen, self.rounds.next_wake()].into_iter().flatten().min()
    }

    /// How far the conversation with the child is.
    pub const fn stage(&self) -> Stage {
        self.handshake.stage()
    }

    /// Why the child refused our handshake, if it did (the error object's text). That it refused its client's is between
    /// the two.
    pub fn handshake_error(&self) -> Option<&str> {
        self.handshake.error()
    }

    /// Bytes accepted but not yet handed out for the child.
    pub const fn queued_bytes(&self) -> usize {
        self.queue.bytes()
    }

    /// How many requests of clients were accepted but not yet handed out for the child.
    pub fn queued_requests(&self) -> usize {
        self.queue.requests_waiting()
    }

    /// How many messages of the child could not be attributed to a session since this was asked last.
    pub const fn take_unattributed(&mut self) -> u64 {
        std::mem::replace(&mut self.unattributed, 0)
    }

    /// How many requests of clients were handed out for the child since this router was made.
    pub const fn requests_given(&self) -> u64 {
        self.requests_given
    }

    /// Lets the child be given no more than so many requests in this router's life; further ones wait, for a successor or
    /// for a higher number. What is no request of a client's, or changes the child's state for all of them, does not wait.
    pub fn allow(&mut self, requests: Option<u64>, now: Instant) {
        self.allowance = requests;
        self.pump(now);
    }

    /// Whether the child was given all it may be given.
    pub fn is_spent(&self) -> bool {
        self.allowance.is_some_and(|allowance| self.requests_given >= allowance)
    }

    /// The sizes of the tables.
    pub fn stats(&self) -> Stats {
        Stats {
            sessions: self.sessions.len(),
            in_flight: self.requests.len(),
            queued: self.queue.len(),
            questions: self.questions.len(),
            subscriptions: self.subscriptions.len(),
            tasks: self.tasks.len(),
            remembered: self.cancelled.len(),
            own: self.own.len(),
            levels: self.levels.len(),
            elicitations: self.elicitations.len(),
            rounds: self.rounds.len(),
            listens: self.listen.len(),
            news: self.news.len(),
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
            self.queue.remove_bytes(message.bytes().len());
            self.queue.remove_request(request.place);
        }
        let payload = payload(&request);
        let Origin { session, stream, .. } = request.origin;
        match request.phase {
            Phase::Follows(own) => self.give_up_own(own),
            Phase::Asks => self.end_round(id),
            Phase::Queued(_) | Phase::Written => {}
        }
        if !self.requests.is_busy(session) {
            for question in self.questions.of_requests(session) {
                self.void_question(question, "the request that this belonged to is over", Tell::Both);
            }
            if self.turn == Some(session) {
                self.turn = None;
            }
        }
        // spec: 2025-11-25 basic/transports, Sending Messages to the Server 6: what belongs to a request comes before its
        // response, which ends the stream.
        self.tell_session(session, stream, payload);
    }

    /// An open question has become pointless.
    fn void_question(&mut self, id: QuestionId, why: &str, tell: Tell) {
        let Some(question) = self.questions.close(id) else { return };
        if tell == Tell::Both {
            self.refuse_asker(&question.asker, "request-over", why);
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
        let introduces = self.is_clients_introduction(id);
        self.reject(id, reject);
        if introduces {
            // spec: 2025-11-25 basic/utilities/cancellation: "The initialize request MUST NOT be cancelled by clients".
            return self.handshake.give_up();
        }
        if let Some(session) = written_by {
            let params = json!({"requestId": id.0, "reason": reason}).to_string();
            self.tell_child(jsonrpc::notification(method::CANCELLED, Some(&params)));
            self.remember(id, session, now);
        }
    }

    /// Keeps in mind that the child may still be at work on a request that was just settled.
    fn remember(&mut self, id: ChildId, session: SessionKey, now: Instant) {
        let capabilities = self.sessions.get(&session).map(|profile| profile.capabilities).unwrap_or_default();
        let logs = self.levels.of(session).is_some();
        self.cancelled.remember(id, session, (capabilities, logs), self.requests.last_written(), now);
    }

    /// The session whose request was handed out for the child under this id.
    fn written_by(&self, id: ChildId) -> Option<SessionKey> {
        let request = self.requests.get(id)?;
        matches!(request.phase, Phase::Written).then_some(request.origin.session)
    }

    /// Answers whoever asked with an error, if that is the child.
    fn refuse_asker(&mut self, asker: &Asker, kind: &str, message: &str) {
        if let Some(request) = asker.request() {
            self.refuse_child(request, kind, message);
        }
    }

    /// Answers a request of the child with an error.
    fn refuse_child(&mut self, child_request: &RawId, kind: &str, message: &str) {
        let data = json!({"source": "mcp-mux", "kind": kind});
        let error = json!({"code": crate::mcp::code::QUESTION_REFUSED, "message": message, "data": data});
        self.tell_child(jsonrpc::error_response(Some(child_request), &error));
    }
}

/// JSON text as a value, for building params.
fn raw(text: &str) -> serde_json::Value {
    serde_json::from_str(text).unwrap_or_default()
}

/// A message with its id replaced.
fn with_id(message: &Message, id: impl Into<CompactString>) -> Frame {
    let frame = Frame::new(Bytes::clone(message.bytes()));
    match message.id_span() {
        Some(span) => frame.replace(span, id),
        None => frame,
    }
}
