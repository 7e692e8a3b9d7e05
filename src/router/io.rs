//! What goes into and comes out of a [`Router`](super::Router): plain data, shared with the layers above.

use std::collections::BTreeSet;
use std::sync::Arc;

use crate::auth::Rules;
use crate::error::Reject;
use crate::jsonrpc::{Frame, RawId};
use crate::mcp::{Era, LogLevel, Revision};

/// Whose a child is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sharing {
    /// Several sessions': mcp-mux introduces itself to it and keeps them apart.
    Shared,
    /// One session's: it sees its client's own `initialize`, and whatever it sends is that client's.
    Private,
}

/// One attachment to a child: a legacy session, a stateless exchange. Never reused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SessionKey(pub u64);

/// One stream of a session: the POST that a request came with, or [`StreamId::STANDALONE`]. Chosen by the session.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct StreamId(pub u64);

impl StreamId {
    /// What belongs to no request: the GET stream of Streamable HTTP, the only stream of HTTP+SSE.
    pub const STANDALONE: Self = Self(0);
}

/// Where a message came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Origin {
    /// The session.
    pub session: SessionKey,
    /// The stream that answers it.
    pub stream: StreamId,
    /// Who sent it.
    pub sender: Sender,
}

/// Who sends something in a session's name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sender {
    /// Its client, whom its rules are for.
    Client,
    /// mcp-mux itself, which wants to know something for all clients.
    Ourselves,
}

impl Origin {
    /// What a session's client sends.
    pub const fn client(session: SessionKey, stream: StreamId) -> Self {
        Self { session, stream, sender: Sender::Client }
    }
}

/// What the router does.
#[derive(Clone, Debug)]
pub enum Output {
    /// A line for the child's stdin, without its line break.
    ToChild(Frame),
    /// Something for a session.
    ToSession(Delivery),
}

/// Something for a session.
#[derive(Clone, Debug)]
pub struct Delivery {
    /// Whose.
    pub session: SessionKey,
    /// On which of its streams. For a [`Payload::Message`] a hint: a session whose stream is gone uses its standalone
    /// one.
    pub stream: StreamId,
    /// What.
    pub payload: Payload,
}

/// What a session is given. All but [`Payload::Message`] settle one request of that stream: every accepted request is
/// settled exactly once.
#[derive(Clone, Debug)]
pub enum Payload {
    /// A notification or a request for the client. The stream goes on.
    Message(Frame),
    /// The response.
    Response(Frame),
    /// The response to the session's `initialize`: it is open now, in this revision.
    Initialized(Frame, Revision),
    /// The request was refused or lost; it is answered with this error.
    Rejected(RawId, Reject),
    /// The client cancelled the request: it gets no answer.
    Cancelled,
}

/// What the router knows of a session: plain data, from which an attachment can be rebuilt on another child.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Profile {
    /// The negotiated revision; none before the handshake, and none for a modern exchange.
    pub revision: Option<Revision>,
    /// Whether it is a session, or an exchange of one modern request (which has its own metadata with it).
    pub era: Era,
    /// The client's `clientInfo` and `capabilities` as it spelled them (JSON text), for a modern child that is to be told.
    pub client_info: Option<Arc<str>>,
    /// See there.
    pub client_capabilities: Option<Arc<str>>,
    /// What the client can be asked.
    pub capabilities: ClientCapabilities,
    /// The level it set, if it set one.
    pub level: Option<LogLevel>,
    /// The resources it is subscribed to.
    pub subscriptions: BTreeSet<String>,
    /// What its client may use.
    pub rules: Rules,
}

/// What a client declared that it can be asked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ClientCapabilities {
    /// `roots`.
    pub roots: bool,
    /// `sampling`.
    pub sampling: bool,
    /// `elicitation` in form mode.
    pub elicitation_form: bool,
    /// `elicitation` in URL mode.
    pub elicitation_url: bool,
}

impl ClientCapabilities {
    /// What one of two clients can be asked.
    pub(super) const fn or(self, other: Self) -> Self {
        Self {
            roots: self.roots || other.roots,
            sampling: self.sampling || other.sampling,
            elicitation_form: self.elicitation_form || other.elicitation_form,
            elicitation_url: self.elicitation_url || other.elicitation_url,
        }
    }

    /// Whether the client can be asked anything.
    pub const fn any(self) -> bool {
        self.roots || self.sampling || self.elicitation_form || self.elicitation_url
    }
}

/// How far the conversation with the child is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Stage {
    /// No process.
    #[default]
    Down,
    /// There is a process of a session's own, and nothing was written to it: the session's `initialize` has not come yet,
    /// or was refused. It may stay so for as long as the process is kept ready for a session.
    Waiting,
    /// `initialize` is on its way.
    Handshake,
    /// The handshake stands.
    Ready,
}

/// How a child ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChildExit {
    /// In words.
    pub status: String,
    /// The exit code.
    pub exit_code: Option<i32>,
    /// The signal.
    pub signal: Option<i32>,
    /// Its last lines on stderr.
    pub stderr: Arc<[String]>,
}

impl ChildExit {
    /// What a request that was in flight is told.
    pub fn reject(&self) -> Reject {
        Reject::ChildExited {
            status: self.status.clone(),
            exit_code: self.exit_code,
            signal: self.signal,
            stderr: Arc::clone(&self.stderr),
        }
    }
}

/// The sizes of the router's tables.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// Attached sessions.
    pub sessions: usize,
    /// Accepted requests that are not settled.
    pub in_flight: usize,
    /// Of these, and of notifications, what was not handed out for the child yet.
    pub queued: usize,
    /// The child's questions that no session has answered.
    pub questions: usize,
    /// Resource URIs with a subscriber.
    pub subscriptions: usize,
    /// Tasks with a known owner.
    pub tasks: usize,
    /// Cancelled requests that the child may still be at work on.
    pub remembered: usize,
    /// Requests of mcp-mux's own that the child has not answered.
    pub own: usize,
    /// Sessions that count towards the child's log level.
    pub levels: usize,
    /// Elicitations of which it is known whom they were given to.
    pub elicitations: usize,
    /// Requests about which a modern child wants to be told something first.
    pub rounds: usize,
    /// What mcp-mux itself listens for, or is about to, at a modern child.
    pub listens: usize,
    /// What the child said that its successor is to tell.
    pub news: usize,
}

impl Stats {
    /// Of two routers.
    #[must_use]
    pub const fn and(self, other: Self) -> Self {
        Self {
            sessions: self.sessions + other.sessions,
            in_flight: self.in_flight + other.in_flight,
            queued: self.queued + other.queued,
            questions: self.questions + other.questions,
            subscriptions: self.subscriptions + other.subscriptions,
            tasks: self.tasks + other.tasks,
            remembered: self.remembered + other.remembered,
            own: self.own + other.own,
            levels: self.levels + other.levels,
            elicitations: self.elicitations + other.elicitations,
            rounds: self.rounds + other.rounds,
            listens: self.listens + other.listens,
            news: self.news + other.news,
        }
    }
}
