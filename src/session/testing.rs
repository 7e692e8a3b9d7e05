//! The child's side of a session in tests: what arrives at the actor, and answers to it.

use std::collections::{HashMap, VecDeque};
use std::num::NonZeroUsize;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use super::Registry;
use super::unread::UnreadTotal;
use crate::child::testing::{Command, Inbox};
use crate::child::{ChildHandle, ChildState, Outbox, Tenancy};
use crate::config::{Isolation, PoolConfig, SessionConfig};
use crate::jsonrpc::{Frame, Message};
use crate::mcp::Revision;
use crate::pool::{Pool, testing};
use crate::router::{Origin, Payload, Profile, SessionKey};
use bytes::Bytes;
use tokio_util::task::TaskTracker;

/// What arrived.
#[derive(Debug)]
pub(crate) enum Arrival {
    Attached(SessionKey, Profile),
    Sent(Origin, Message),
    Detached(SessionKey),
    Stopped,
}

impl Arrival {
    #[track_caller]
    pub(crate) fn sent(self) -> (Origin, Message) {
        match self {
            Self::Sent(origin, message) => (origin, message),
            Self::Attached(..) | Self::Detached(_) | Self::Stopped => panic!("not a message: {self:?}"),
        }
    }

    #[track_caller]
    pub(crate) fn attached(self) -> (SessionKey, Profile) {
        match self {
            Self::Attached(key, profile) => (key, profile),
            Self::Sent(..) | Self::Detached(_) | Self::Stopped => panic!("not an attachment: {self:?}"),
        }
    }

    #[track_caller]
    pub(crate) fn detached(self) -> SessionKey {
        match self {
            Self::Detached(key) => key,
            Self::Sent(..) | Self::Attached(..) | Self::Stopped => panic!("not a detachment: {self:?}"),
        }
    }
}

/// Stands in for the actor.
pub(crate) struct FakeChild {
    commands: Inbox,
    outboxes: HashMap<SessionKey, Arc<dyn Outbox>>,
}

impl FakeChild {
    pub(crate) fn new(commands: Inbox) -> Self {
        Self { commands, outboxes: HashMap::new() }
    }

    /// The next thing that arrives.
    pub(crate) async fn next(&mut self) -> Arrival {
        let command = tokio::time::timeout(Duration::from_secs(3600), self.commands.recv()).await;
        let command = command.expect("something arrives").expect("a handle is left");
        self.take(command)
    }

    /// What has arrived already.
    pub(crate) fn try_next(&mut self) -> Option<Arrival> {
        let command = self.commands.try_recv()?;
        Some(self.take(command))
    }

    fn take(&mut self, command: Command) -> Arrival {
        match command {
            Command::Attach(key, profile, outbox) => {
                self.outboxes.insert(key, outbox);
                Arrival::Attached(key, profile)
            }
            Command::Send(origin, message) => Arrival::Sent(origin, message),
            // The actor settles what is in flight before it lets go; here the test does.
            Command::Detach(key) => Arrival::Detached(key),
            Command::Stop | Command::Kill => Arrival::Stopped,
            Command::Retune(..) => panic!("not expected in this test: {command:?}"),
        }
    }

    pub(crate) fn deliver(&self, to: Origin, payload: Payload) {
        self.outboxes.get(&to.session).expect("attached").deliver(to.stream, payload);
    }

    /// It is gone.
    pub(crate) fn exits(&self) {
        self.commands.set_state(ChildState::Stopped);
    }

    /// A message that is not an answer.
    pub(crate) fn message(&self, to: Origin, text: &str) {
        self.deliver(to, Payload::Message(frame(text)));
    }

    /// An answer.
    pub(crate) fn respond(&self, to: Origin, text: &str) {
        self.deliver(to, Payload::Response(frame(text)));
    }

    /// The answer to `initialize`.
    pub(crate) fn initialized(&self, to: Origin, revision: Revision) {
        let text = format!(r#"{{"jsonrpc":"2.0","id":0,"result":{{"protocolVersion":"{revision}"}}}}"#);
        self.deliver(to, Payload::Initialized(frame(&text), revision));
    }
}

pub(crate) fn frame(text: &str) -> Frame {
    Frame::new(Bytes::copy_from_slice(text.as_bytes()))
}

pub(crate) fn config() -> SessionConfig {
    SessionConfig {
        idle_timeout: Some(Duration::from_secs(1800)),
        age_max: None,
        sessions_max: NonZeroUsize::new(8).expect("not zero"),
        in_flight_max: NonZeroUsize::new(300).expect("not zero"),
        replay_events: 16,
        replay_bytes: 64 * 1024,
        streams_max: NonZeroUsize::new(16).expect("not zero"),
        messages_waiting_max: NonZeroUsize::new(64).expect("not zero"),
        unread_messages_max: NonZeroUsize::new(4096).expect("not zero"),
        unread_bytes_max: 8 << 20,
        unread_total_bytes_max: 512 << 20,
        parked_max: NonZeroUsize::new(4).expect("not zero"),
        parked_bytes_max: 64 << 20,
        input_timeout: Duration::from_secs(120),
        request_timeout_max: None,
    }
}

pub(crate) fn unread() -> UnreadTotal {
    UnreadTotal::new(512 << 20)
}

/// What tests of the layers above hold: sessions that all share one child.
pub(crate) struct Shared {
    pub(crate) registry: Arc<Registry>,
    pub(crate) pool: Arc<Pool>,
    pub(crate) child: FakeChild,
    pub(crate) handle: ChildHandle,
}

pub(crate) fn registry(config: SessionConfig) -> Shared {
    let (handle, inbox) = ChildHandle::for_tests();
    let pool = Pool::of(handle.clone());
    Shared { registry: Registry::new(config, Arc::clone(&pool), &unread()), pool, child: FakeChild::new(inbox), handle }
}

/// What tests of the layers above hold: sessions of which each has a child of its own.
pub(crate) struct Own {
    pub(crate) registry: Arc<Registry>,
    pub(crate) pool: Arc<Pool>,
    children: Arc<Mutex<VecDeque<(Tenancy, FakeChild)>>>,
}

pub(crate) async fn own(change: impl FnOnce(&mut PoolConfig)) -> Own {
    let mut pool_config = testing::config(Isolation::Session);
    change(&mut pool_config);
    let children = Arc::<Mutex<VecDeque<_>>>::default();
    let started = Arc::clone(&children);
    let spawn = move |tenancy| {
        let (handle, inbox) = ChildHandle::for_tests();
        started.lock().expect("not poisoned").push_back((tenancy, FakeChild::new(inbox)));
        handle
    };
    let pool = Pool::with(pool_config, spawn, &TaskTracker::new());
    let own = Own { registry: Registry::new(config(), Arc::clone(&pool), &unread()), pool, children };
    // The one that tries the command.
    tokio::time::sleep(Duration::from_millis(1)).await;
    let (_, mut trial) = own.child();
    assert!(matches!(trial.next().await, Arrival::Stopped));
    trial.exits();
    own
}

impl Own {
    /// The child that was started next.
    #[track_caller]
    pub(crate) fn child(&self) -> (Tenancy, FakeChild) {
        self.try_child().expect("a child was started")
    }

    /// As [`Own::child`], if there is one.
    pub(crate) fn try_child(&self) -> Option<(Tenancy, FakeChild)> {
        self.children.lock().expect("not poisoned").pop_front()
    }
}
