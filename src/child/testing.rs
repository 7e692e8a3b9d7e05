//! A handle whose other end a test holds instead of an actor, for the layers above.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, watch};
use tokio_util::task::TaskTracker;

use super::actor::ChildCommand;
use super::{Backlog, ChildHandle, ChildState, Entrance, EraSource, INBOX_COMMANDS_MAX, Outbox};
use crate::jsonrpc::Message;
use crate::mcp::Era;
use crate::metrics::ServerMetrics;
use crate::router::cache::ResponseCache;
use crate::router::{Origin, Profile, SessionKey, Sharing};

/// What arrives at the actor.
#[derive(Debug)]
pub(crate) enum Command {
    Attach(SessionKey, Profile, Arc<dyn Outbox>),
    Send(Origin, Message),
    Detach(SessionKey),
    Retune(Sharing, Era),
    Stop,
    Kill,
}

/// The actor's end.
#[derive(Debug)]
pub(crate) struct Inbox {
    commands: mpsc::Receiver<ChildCommand>,
    state: watch::Sender<ChildState>,
}

impl ChildHandle {
    /// A handle to no actor: what it is asked arrives at the inbox. The child looks ready.
    pub(crate) fn for_tests() -> (Self, Inbox) {
        Self::for_tests_of(EraSource::of(Era::Legacy))
    }

    /// The same, of that era.
    pub(crate) fn for_tests_of(era: EraSource) -> (Self, Inbox) {
        let (inbox, commands) = mpsc::channel(INBOX_COMMANDS_MAX);
        let (states, state) = watch::channel(ChildState::Ready);
        let backlog = Arc::new(Backlog::new(usize::MAX, ServerMetrics::unnamed()));
        let cache = ResponseCache::new(1 << 20);
        let (entrance, queue_timeout, tracker) = (Entrance::default(), Duration::from_secs(30), TaskTracker::new());
        let metrics = ServerMetrics::unnamed();
        (
            Self { inbox, backlog, entrance, era, cache, state, queue_timeout, tracker, metrics },
            Inbox { commands, state: states },
        )
    }
}

impl Inbox {
    /// Waits for the next command; none when all handles are gone.
    pub(crate) async fn recv(&mut self) -> Option<Command> {
        self.commands.recv().await.map(command)
    }

    /// The next command, if it is there.
    pub(crate) fn try_recv(&mut self) -> Option<Command> {
        self.commands.try_recv().ok().map(command)
    }

    /// How the child is doing from now on.
    pub(crate) fn set_state(&self, state: ChildState) {
        self.state.send_replace(state);
    }
}

fn command(command: ChildCommand) -> Command {
    match command {
        ChildCommand::Attach { session, profile, outbox } => Command::Attach(session, profile, outbox),
        // The room it took is given back at once.
        ChildCommand::Message { from, message, .. } => Command::Send(from, message),
        ChildCommand::Detach(session) => Command::Detach(session),
        ChildCommand::Retune(sharing, era) => Command::Retune(sharing, era.era().unwrap_or_default()),
        ChildCommand::Stop => Command::Stop,
        ChildCommand::Kill => Command::Kill,
        ChildCommand::Stats(_) => panic!("not expected in this test: {command:?}"),
    }
}
