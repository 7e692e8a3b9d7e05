//! One client's streams and its attachment to a child.
//!
//! A [`Session`] is where the child's actor delivers ([`Outbox`](crate::child::Outbox)) and where HTTP bodies read ([`StreamReader`]). It has
//! no task and no channel: a delivery locks the session, queues and wakes the reader; the reader polls. The lock is
//! never held across an await, a wake or a call into the child. So an idle session costs its struct and nothing else.
//!
//! It takes a lease on a child when it is attached and gives it back when it has been detached: in that order, so that
//! what is in flight is settled before a child of its own is stopped.
//!
//! Which sessions there are is the [`Registry`]'s business. What a session is on each transport:
//!
//! | transport | streams | ends |
//! |---|---|---|
//! | Streamable HTTP | one for each POST with requests, any number of GETs; resumable | DELETE, idleness, age |
//! | HTTP+SSE | one, for everything | with its stream |
//! | a stateless exchange | that of its POST | with its POST |
//! | a modern exchange | those of mcp-mux's own requests, and that of its POST, or a standing one to listen | with its POST, unless it is [parked](Parked) |
//!
//! Spec: 2025-11-25, Transports, Session Management; 2024-11-05, Transports, HTTP with SSE.

mod attachment;
mod delivery;
mod ending;
mod event_log;
mod parked;
mod queue;
mod reader;
mod record;
mod registry;
mod report;
mod streams;
#[cfg(test)]
pub(crate) mod testing;
#[cfg(test)]
mod tests;
mod unasked;
mod unread;

use std::any::Any;
use std::fmt;
use std::num::NonZeroUsize;
use std::sync::atomic::AtomicUsize;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use tokio::sync::Notify;
use tokio::time::Instant;
use tracing::{info, warn};

pub use ending::CloseReason;
pub use event_log::{EventId, NotAnEventId};
pub use parked::Parked;
pub use queue::{Answer, Item, Taken};
pub use reader::{Handover, StreamReader};
pub use record::{SessionId, SessionRecord, SessionTag, declared};
pub use registry::{Owned, Registry};
pub use report::{Report, SessionReport, nearest};
pub use streams::{Asked, Attention, Event, Head, PostForm, Settles};
pub use unread::{Held, UnreadTotal};

use crate::auth::usage::SessionPlace;
use crate::auth::{Admission, Principal, Rules, Validity};
use crate::child::ChildHandle;
use crate::error::Reject;
use crate::jsonrpc::Message;
use crate::mcp::{LogLevel, Revision};
use crate::metrics::{Gauge, Portion};
use crate::pool::{Lease, Pool, Tenant};
use crate::router::{ClientCapabilities, SessionKey, StreamId};
use streams::{Bounds, Effects, Streams};
use unasked::Unasked;
use unread::{Share, Total};

/// How a session's client is connected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transport {
    /// Streamable HTTP with a session id.
    Streamable,
    /// HTTP+SSE.
    HttpSse,
    /// Streamable HTTP without sessions: this one lasts as long as its POST.
    Stateless,
    /// The exchange of one modern request: over its POST and those that go on with it.
    Modern,
}

impl Transport {
    /// Where it is counted.
    const fn gauge(self) -> Gauge {
        match self {
            Self::Streamable => Gauge::SessionsStreamable,
            Self::HttpSse => Gauge::SessionsHttpSse,
            Self::Stateless => Gauge::SessionsStateless,
            Self::Modern => Gauge::SessionsModern,
        }
    }

    /// Whether it ends with its exchange, so that there is no session to speak of.
    const fn is_exchange(self) -> bool {
        matches!(self, Self::Stateless | Self::Modern)
    }
}

/// How far a session is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// It waits for `initialize`.
    New,
    /// `initialize` is in flight.
    Initializing,
    /// `initialize` was answered.
    Open,
}

/// What all sessions of a registry have in common.
#[derive(Debug)]
struct Shared {
    pool: Arc<Pool>,
    /// Readers there are, over all sessions.
    readers: AtomicUsize,
    /// Questions of children that no client will answer.
    unasked: Unasked,
    /// What they leave unread.
    unread: Arc<Total>,
}

/// One client's streams and its attachment to the child.
pub struct Session {
    key: SessionKey,
    id: SessionId,
    transport: Transport,
    principal: Principal,
    rules: Rules,
    shared: Arc<Shared>,
    /// The child it was attached to, from then on.
    child: OnceLock<ChildHandle>,
    state: Mutex<State>,
    /// Sends away what waits for room in the child's input.
    closing: Notify,
    /// What the transport keeps with it.
    companion: OnceLock<Arc<dyn Any + Send + Sync>>,
}

struct State {
    record: SessionRecord,
    streams: Streams,
    phase: Phase,
    /// When a message or a reader last came; the sweeper moves it on while the session is busy.
    touched: Instant,
    /// For how long its client's credentials are good.
    validity: Validity,
    /// Among the sessions of its principal.
    place: Option<SessionPlace>,
    /// How many of these there may be.
    sessions_max: Option<NonZeroUsize>,
    /// It is counted, until it is closed.
    counted: Option<Portion>,
    /// Whether it stays when they are not any more.
    outlives_credential: bool,
    /// Until it is attached.
    tenant: Option<Tenant>,
    /// The child knows the session, or is about to.
    lease: Option<Lease>,
    /// Commands on their way to the child. The detachment comes after them: a request that arrived after it would never
    /// be settled.
    on_the_way: usize,
    /// Of these, notifications and responses.
    messages_on_the_way: usize,
    closed: bool,
    warned: bool,
}

impl fmt::Debug for Session {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Session({})", self.id)
    }
}

impl Session {
    fn new(
        key: SessionKey,
        transport: Transport,
        record: SessionRecord,
        tenant: Tenant,
        bounds: Bounds,
        shared: Arc<Shared>,
        now: Instant,
    ) -> Self {
        let id = record.id;
        let Admission { principal, usage, allowance, validity, rules, variables: _ } = tenant.admission().clone();
        let share = Share::new(Arc::clone(&shared.unread), Arc::clone(&usage));
        let streams = Streams::new(bounds, usage, share, allowance.in_flight_max);
        let state = State {
            record,
            streams,
            phase: Phase::New,
            touched: now,
            validity,
            place: None,
            sessions_max: allowance.sessions_max,
            counted: Some(shared.pool.metrics().one(transport.gauge())),
            outlives_credential: transport != Transport::HttpSse,
            tenant: Some(tenant),
            lease: None,
            on_the_way: 0,
            messages_on_the_way: 0,
            closed: false,
            warned: false,
        };
        let (child, closing, companion) = (OnceLock::new(), Notify::new(), OnceLock::new());
        Self { key, id, transport, principal, rules, shared, child, state: Mutex::new(state), closing, companion }
    }

    /// Holds so many bytes of what all clients together may leave unread, for what is said to this one beside its streams.
    ///
    /// # Errors
    /// [`Reject::AnswerNotKept`]: it is much, and there is no room.
    pub(crate) fn hold_unread(&self, bytes: usize) -> Result<Held, Reject> {
        self.lock().streams.hold(bytes)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The id its client names it by.
    pub const fn id(&self) -> SessionId {
        self.id
    }

    /// Whose it is.
    pub const fn principal(&self) -> &Principal {
        &self.principal
    }

    /// What its client may use, as when it was opened.
    pub const fn rules(&self) -> &Rules {
        &self.rules
    }

    /// Whether it is whose request was admitted like this: another principal's is none of its business, and one that may use
    /// other things now starts anew.
    fn is_of(&self, caller: &Admission) -> bool {
        self.principal == caller.principal && self.rules == caller.rules
    }

    /// Keeps something of the transport's with it; the first one stays.
    pub fn accompany(&self, companion: Arc<dyn Any + Send + Sync>) {
        // A session has one stream that does this, when it is opened.
        let _ = self.companion.set(companion);
    }

    /// What the transport keeps with it, if it is of that kind.
    pub fn companion<T: Any + Send + Sync>(&self) -> Option<Arc<T>> {
        self.companion.get().cloned()?.downcast().ok()
    }

    /// How its client is connected.
    pub const fn transport(&self) -> Transport {
        self.transport
    }

    /// The revision agreed on, once there is one.
    pub fn agreed(&self) -> Option<Revision> {
        let state = self.lock();
        state.record.revision.filter(|_| state.phase != Phase::New)
    }

    /// The revision agreed on; before that, what a client without one is assumed to speak.
    pub fn revision(&self) -> Revision {
        self.lock().record.revision.unwrap_or(Revision::ASSUMED)
    }

    /// How far it is.
    pub fn phase(&self) -> Phase {
        self.lock().phase
    }

    /// How many requests are in flight in it.
    pub(super) fn in_flight(&self) -> usize {
        self.lock().streams.pending()
    }

    /// Whether it has ended.
    pub fn is_closed(&self) -> bool {
        self.lock().closed
    }

    // --- what its client says of itself ---

    /// Takes the client's `initialize`: its `params` are kept. [`Session::attach`] comes after this, then the message
    /// itself, as a request of one of its streams.
    ///
    /// # Errors
    /// A second `initialize`, unusable `params`.
    pub fn initialize(&self, message: &Message) -> Result<(), Reject> {
        let client = {
            let mut state = self.lock();
            if state.phase != Phase::New {
                return Err(Reject::InvalidRequest("this session is initialized already".to_owned()));
            }
            state.record.keep_initialize(message.params().map(|params| message.text(params)))?;
            state.phase = Phase::Initializing;
            state.record.client_name()
        };
        if !self.transport.is_exchange() {
            info!(session = %self.id, client, "session opened");
        }
        Ok(())
    }

    /// Keeps what a modern request says of its client.
    fn introduce(&self, client: &str, level: Option<LogLevel>) -> Result<(), Reject> {
        let mut state = self.lock();
        state.record.keep_initialize(Some(client))?;
        state.record.modern = Some(level);
        Ok(())
    }

    /// What its client can be asked.
    pub fn capabilities(&self) -> ClientCapabilities {
        self.lock().record.profile().capabilities
    }

    // --- towards the client ---

    /// Opens the stream of a POST with these requests. They are to be handed over by the [`Handover`].
    ///
    /// # Errors
    /// [`Reject::SessionUnknown`] if the session is closed, [`Reject::InFlight`] if it has no room for all of them. The
    /// router has that limit too, but comes to know of a request only when there is room in the child's input.
    pub fn open_post(self: &Arc<Self>, asked: Asked, form: PostForm) -> Result<(StreamReader, Handover), Reject> {
        let requests = asked.answers();
        let (stream, generation) = {
            let mut state = self.lock();
            if state.closed {
                return Err(Reject::SessionUnknown);
            }
            let room = state.streams.admit(asked)?;
            self.warn_of_limit(state.streams.is_close_to_full(asked));
            let stream = state.record.next_stream();
            (stream, state.streams.open_post(stream, room, form))
        };
        let reader = StreamReader::new(self.clone(), stream, generation);
        Ok((reader, Handover::new(self.clone(), stream, requests)))
    }

    /// Opens a standing stream: from now on this one is sent what belongs to no POST. Where the session has too many, the
    /// oldest ends.
    ///
    /// # Errors
    /// [`Reject::SessionUnknown`] if the session is closed, [`Reject::ShuttingDown`].
    pub fn open_standing(self: &Arc<Self>) -> Result<StreamReader, Reject> {
        let (stream, (generation, effects)) = {
            let mut state = self.lock();
            if state.closed {
                return Err(Reject::SessionUnknown);
            }
            if state.streams.is_ending() {
                return Err(Reject::ShuttingDown);
            }
            match self.transport {
                Transport::HttpSse => (StreamId::STANDALONE, (state.streams.open_everything(), Effects::default())),
                Transport::Streamable | Transport::Stateless | Transport::Modern => {
                    let stream = state.record.next_stream();
                    (stream, state.streams.open_standing(stream))
                }
            }
        };
        self.apply(effects);
        Ok(StreamReader::new(self.clone(), stream, generation))
    }

    /// Goes on with a stream after the event `last`.
    ///
    /// # Errors
    /// [`Reject::EventUnknown`] if that cannot be done without a gap, [`Reject::StreamEnded`] if there is nothing to go on
    /// with, [`Reject::SessionUnknown`],
    /// [`Reject::ShuttingDown`].
    pub fn resume(self: &Arc<Self>, last: EventId) -> Result<StreamReader, Reject> {
        let (generation, effects) = {
            let mut state = self.lock();
            if state.closed {
                return Err(Reject::SessionUnknown);
            }
            state.streams.resume(last)?
        };
        self.apply(effects);
        Ok(StreamReader::new(self.clone(), last.stream, generation))
    }

    /// These requests are to come on the stream of HTTP+SSE, by the [`Handover`].
    ///
    /// # Errors
    /// [`Reject::SessionUnknown`] if the stream is not there, [`Reject::ShuttingDown`] if it is ending,
    /// [`Reject::InFlight`].
    pub fn expect(self: &Arc<Self>, asked: Asked) -> Result<Handover, Reject> {
        let mut state = self.lock();
        if state.closed {
            return Err(Reject::SessionUnknown);
        }
        if state.streams.is_ending() {
            return Err(Reject::ShuttingDown);
        }
        let room = state.streams.admit(asked)?;
        self.warn_of_limit(state.streams.is_close_to_full(asked));
        if !state.streams.expect(StreamId::STANDALONE, room) {
            return Err(Reject::SessionUnknown);
        }
        drop(state);
        Ok(Handover::new(self.clone(), StreamId::STANDALONE, asked.answers()))
    }

    fn warn_of_limit(&self, limit: Option<usize>) {
        if let Some(limit) = limit {
            warn!(session = %self.id, limit, "a session has nearly as many requests in flight as it may (--in-flight-max)");
        }
    }

    /// Answers on a stream without asking the child.
    pub fn answer(&self, stream: StreamId, answer: Answer) {
        let effects = self.lock().streams.answer(stream, answer);
        self.apply(effects);
    }
}
