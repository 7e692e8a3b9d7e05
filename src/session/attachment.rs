//! A session's way to its child: the lease, the attachment, and what is handed over.
//!
//! Invariant: the detachment of a closed session comes after every command that was on its way to the child, and the lease
//! is given back after that. A request that arrived after the detachment would never be settled.

use std::sync::Arc;

use tracing::debug;

use super::{Answer, Asked, Head, PostForm, Session};
use crate::child::{ChildHandle, ChildState, Outbox};
use crate::error::Reject;
use crate::jsonrpc::Message;
use crate::mcp::Era;
use crate::pool::{Lease, TaskNews};
use crate::router::cache::ResponseCache;
use crate::router::{Origin, Payload, Profile, Sender, StreamId};

impl Session {
    /// The era its child is spoken to in; legacy before it is attached.
    pub fn child_era(&self) -> Era {
        self.child.get().map_or(Era::Legacy, ChildHandle::era)
    }

    /// What the child need not be asked again; none before there is a child.
    pub fn cache(&self) -> Option<&ResponseCache> {
        self.child.get().map(ChildHandle::cache)
    }

    /// Sends the child a request of mcp-mux's own, in the client's place, and waits for what settles it; none if that is
    /// nothing.
    ///
    /// # Errors
    /// As [`Session::open_post`].
    pub async fn ask(self: &Arc<Self>, request: Message) -> Result<Option<Answer>, Reject> {
        self.ask_as(Sender::Client, request).await
    }

    /// The same, for what mcp-mux wants to know for all clients: whatever this one may use, it is not looked at.
    ///
    /// # Errors
    /// As [`Session::open_post`].
    pub async fn ask_for_all(self: &Arc<Self>, request: Message) -> Result<Option<Answer>, Reject> {
        self.ask_as(Sender::Ourselves, request).await
    }

    async fn ask_as(self: &Arc<Self>, sender: Sender, request: Message) -> Result<Option<Answer>, Reject> {
        let (reader, mut handover) = self.open_post(Asked::Requests(1), PostForm::AnswersOnly)?;
        handover.request_as(sender, request).await;
        Ok(match reader.head(false).await {
            Head::Answers(answers, _) => answers.into_iter().next(),
            Head::Events => None,
        })
    }

    /// Waits until there will be no process for it any more; for ever while it is not attached.
    pub async fn child_lost(&self) {
        let Some(child) = self.child.get() else { return std::future::pending().await };
        let mut state = child.state();
        let over = |state: &ChildState| matches!(state, ChildState::Failed(_) | ChildState::Stopped);
        // An error means that the actor is gone.
        let _ = state.wait_for(over).await;
    }

    /// The child has told its client of a task.
    pub fn note_task(&self, id: &str, news: TaskNews) {
        if let Some(lease) = &self.lock().lease {
            lease.note_task(id, news);
        }
    }

    /// Takes a lease on a child, which may take its time, and makes the session known to it. To be called once.
    ///
    /// # Errors
    /// [`Reject::SessionClosed`], and as [`Pool::lease`](crate::pool::Pool::lease).
    pub async fn attach(self: &Arc<Self>) -> Result<(), Reject> {
        let closing = self.closing.notified();
        // Looks whether it is closed after `closing` began to listen: none of the two can be missed.
        let command = self.command()?;
        let tenant = self.lock().tenant.take();
        let already = || Reject::InvalidRequest("this session is attached already".to_owned());
        let lease = tokio::select! {
            biased;
            () = closing => return Err(Reject::SessionClosed),
            lease = self.shared.pool.lease(tenant.ok_or_else(already)?) => lease?,
        };
        debug!(session = %self.id, child = lease.number(), "session placed");
        let child = self.child.get_or_init(|| lease.child().clone());
        let profile = {
            let mut state = self.lock();
            // Closed by now, it is detached when the command is over.
            state.lease = Some(lease);
            Profile { rules: self.rules.clone(), ..state.record.profile() }
        };
        let outbox: Arc<dyn Outbox> = self.clone();
        child.attach(self.key, profile, outbox).await?;
        drop(command);
        if self.is_closed() { Err(Reject::SessionClosed) } else { Ok(()) }
    }

    /// Lets go of the child: what is in flight is settled, then the lease is given back.
    pub(super) fn detach(&self, lease: Option<Lease>) {
        if let Some(lease) = lease {
            lease.child().detach(self.key);
        }
    }

    /// Hands a notification or a response of the client over to the child.
    ///
    /// # Errors
    /// [`Reject::SessionClosed`], [`Reject::MessagesWaiting`], and as [`ChildHandle::send`].
    pub async fn send(&self, message: Message) -> Result<(), Reject> {
        let _counted = self.message_command()?;
        self.hand_over(Origin::client(self.key, StreamId::STANDALONE), message).await
    }

    /// Counts a notification or a response until the returned value is dropped.
    fn message_command(&self) -> Result<MessageOnTheWay<'_>, Reject> {
        let mut state = self.lock();
        let limit = state.streams.bounds().messages_waiting;
        if state.messages_on_the_way >= limit {
            return Err(Reject::MessagesWaiting { limit }.counted());
        }
        state.messages_on_the_way += 1;
        Ok(MessageOnTheWay(self))
    }

    /// Hands a request over to the child. Its outcome is delivered to `stream`, also when the child does not take it.
    pub(super) async fn request(&self, stream: StreamId, sender: Sender, message: Message) {
        let id = message.id();
        if let Err(reject) = self.hand_over(Origin { session: self.key, stream, sender }, message).await {
            // A request without an id does not exist; should one come by, it is settled without an answer.
            self.deliver(stream, id.map_or(Payload::Cancelled, |id| Payload::Rejected(id, reject)));
        }
    }

    async fn hand_over(&self, from: Origin, message: Message) -> Result<(), Reject> {
        let at_once = {
            let _command = self.command()?;
            let child = self.child.get().ok_or(Reject::SessionClosed)?;
            child.try_send(from, message)
        };
        match at_once {
            Ok(()) => Ok(()),
            // In a box, since a request carries room for it all along.
            Err(message) => Box::pin(self.wait_to_hand_over(from, message)).await,
        }
    }

    async fn wait_to_hand_over(&self, from: Origin, message: Message) -> Result<(), Reject> {
        let closing = self.closing.notified();
        // Looks whether it is closed after `closing` began to listen: none of the two can be missed.
        let _command = self.command()?;
        let child = self.child.get().ok_or(Reject::SessionClosed)?;
        tokio::select! {
            biased;
            () = closing => Err(Reject::SessionClosed),
            sent = child.send(from, message) => sent,
        }
    }

    /// Starts a command to the child, which has arrived, or will not, when the returned value is dropped.
    fn command(&self) -> Result<OnTheWay<'_>, Reject> {
        let mut state = self.lock();
        if state.closed {
            return Err(Reject::SessionClosed);
        }
        state.on_the_way += 1;
        Ok(OnTheWay(self))
    }
}

/// A command on its way to the child. The last one of a closed session detaches it.
struct OnTheWay<'a>(&'a Session);

impl Drop for OnTheWay<'_> {
    fn drop(&mut self) {
        let lease = {
            let mut state = self.0.lock();
            state.on_the_way -= 1;
            if state.on_the_way == 0 && state.closed { state.lease.take() } else { None }
        };
        self.0.detach(lease);
    }
}

/// A notification or a response on its way to the child.
struct MessageOnTheWay<'a>(&'a Session);

impl Drop for MessageOnTheWay<'_> {
    fn drop(&mut self) {
        self.0.lock().messages_on_the_way -= 1;
    }
}
