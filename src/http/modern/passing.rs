//! An exchange with a child of the modern era: what comes is passed on as it is.

use super::fault::{Fault, status_of};
use super::hand_over;
use super::steps::{Exchange, Last, Said};
use super::tools::Listing;
use crate::auth::Subject;
use crate::era::tasks::{self, Told};
use crate::era::{legacy, listen};
use crate::error::Reject;
use crate::jsonrpc::{Message, RawId};
use crate::mcp::{Era, code, method};
use crate::pool::TaskNews;
use crate::router::subject;
use crate::session::{Answer, Item, Owned, StreamReader, Taken};

/// An exchange that is passed through.
pub(super) struct Passing {
    reader: StreamReader,
    /// For a subscription: ends when mcp-mux is about to.
    standing: Option<StreamReader>,
    id: RawId,
    method: Box<str>,
    listing: Option<Listing>,
    /// The tasks that it is about.
    tasks: Vec<String>,
    /// What a task belongs to that it makes.
    subject: Subject,
    /// After the readers, which are to leave first.
    owned: Owned,
}

impl Passing {
    /// Hands the request over.
    pub(super) async fn begin(owned: Owned, message: &Message) -> Result<Self, Fault> {
        let session = owned.session();
        let listing = Listing::of(message, session);
        let standing = (message.method() == method::LISTEN).then(|| session.open_standing()).transpose()?;
        let reader = hand_over(session, message.clone()).await?;
        let id = message.id().ok_or_else(|| Reject::InvalidRequest("a request must have an id".to_owned()))?;
        let (method, tasks) = (message.method().into(), tasks::named(message).unwrap_or_default());
        Ok(Self { reader, standing, id, method, listing, tasks, subject: subject(message), owned })
    }

    /// Keeps in mind what the child tells of tasks: whoever asks for one is to reach this child again.
    fn note_tasks(&self, message: &Message) {
        let session = self.owned.session();
        if let Some(Told { id, is_new, is_over, ttl }) = tasks::told(message) {
            if is_new {
                session.note_task(&id, TaskNews::Made(self.subject.clone(), ttl));
            } else if !self.tasks.contains(&id) {
                return;
            }
            session.note_task(&id, if is_over { TaskNews::Over } else { TaskNews::GoesOn(ttl) });
        } else if *self.method == *method::TASKS_GET && legacy::error_code(message) == Some(code::INVALID_PARAMS) {
            // spec: SEP-2663, Protocol Errors: there is no such task, or no longer.
            for id in &self.tasks {
                session.note_task(id, TaskNews::Over);
            }
        }
    }

    fn finish(mut self, answer: Answer) -> Last {
        let frame = match answer {
            Answer::Rejected(_, reject) => return Fault::from(reject).into_last(Some(&self.id)),
            Answer::Response(frame) | Answer::Initialized(frame, _) => frame,
        };
        let bytes = frame.into_bytes();
        let message = Message::parse(bytes.clone(), usize::MAX).ok();
        if let (Some(listing), Some(message)) = (self.listing.take(), &message) {
            listing.answered(message);
        }
        if let Some(message) = &message {
            self.note_tasks(message);
        }
        let status = status_of(Era::Modern, message.as_ref().and_then(legacy::error_code));
        Last { status, ..Last::ok(crate::jsonrpc::Frame::new(bytes)) }
    }
}

impl Exchange for Passing {
    async fn next(self) -> (Said, Option<Self>) {
        let ending = async {
            let Some(standing) = &self.standing else { return std::future::pending().await };
            tokio::select! {
                () = async { while standing.next().await.is_some() {} } => {}
                () = self.owned.session().child_lost() => {}
            }
        };
        let item = tokio::select! {
            biased;
            item = self.reader.next() => item,
            () = ending => return (Said::Last(Last::ok(listen::graceful_end(&self.id))), None),
        };
        let Some(Taken { item, held }) = item else {
            return (Said::Last(Fault::from(Reject::SessionClosed).into_last(Some(&self.id))), None);
        };
        match item {
            Item::Message(frame) => {
                if !self.tasks.is_empty()
                    && let Ok(message) = Message::parse(frame.clone().into_bytes(), usize::MAX)
                {
                    self.note_tasks(&message);
                }
                (Said::Message(frame, held), Some(self))
            }
            Item::Answer(answer) => (Said::Last(self.finish(answer)).holding(held), None),
        }
    }
}
