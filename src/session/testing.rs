//! The child's side of a session in tests: what arrives at the actor, and answers to it.

use std::collections::HashMap;
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::Duration;

use super::Registry;
use crate::child::testing::{Command, Inbox};
use crate::child::{ChildHandle, Outbox};
use crate::config::SessionConfig;
use crate::jsonrpc::{Frame, Message};
use crate::mcp::Revision;
use crate::router::{Origin, Payload, Profile, SessionKey};
use bytes::Bytes;

/// What arrived.
#[derive(Debug)]
#[expect(clippy::large_enum_variant, reason = "looked at and dropped")]
pub(crate) enum Arrival {
    Attached(SessionKey, Profile),
    Sent(Origin, Message),
    Detached(SessionKey),
}

impl Arrival {
    #[track_caller]
    pub(crate) fn sent(self) -> (Origin, Message) {
        match self {
            Self::Sent(origin, message) => (origin, message),
            Self::Attached(..) | Self::Detached(_) => panic!("not a message: {self:?}"),
        }
    }

    #[track_caller]
    pub(crate) fn attached(self) -> (SessionKey, Profile) {
        match self {
            Self::Attached(key, profile) => (key, profile),
            Self::Sent(..) | Self::Detached(_) => panic!("not an attachment: {self:?}"),
        }
    }

    #[track_caller]
    pub(crate) fn detached(self) -> SessionKey {
        match self {
            Self::Detached(key) => key,
            Self::Sent(..) | Self::Attached(..) => panic!("not a detachment: {self:?}"),
        }
    }
}

/// Stands in for the actor.
pub(crate) struct FakeChild {
    commands: Inbox,
    outboxes: HashMap<SessionKey, Arc<dyn Outbox>>,
}

impl FakeChild {
    pub(crate) fn new() -> (Self, ChildHandle) {
        let (handle, commands) = ChildHandle::for_tests();
        (Self { commands, outboxes: HashMap::new() }, handle)
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
            Command::Stop | Command::Kill => panic!("nobody stops the child here"),
            Command::Attach(key, profile, outbox) => {
                self.outboxes.insert(key, outbox);
                Arrival::Attached(key, profile)
            }
            Command::Send(origin, message) => Arrival::Sent(origin, message),
            // The actor settles what is in flight before it lets go; here the test does.
            Command::Detach(key) => Arrival::Detached(key),
        }
    }

    pub(crate) fn deliver(&self, to: Origin, payload: Payload) {
        self.outboxes.get(&to.session).expect("attached").deliver(to.stream, payload);
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
    }
}

pub(crate) fn registry(config: SessionConfig) -> (Arc<Registry>, FakeChild, ChildHandle) {
    let (child, handle) = FakeChild::new();
    (Registry::new(config, handle.clone()), child, handle)
}
