//! An exchange with a child of the modern era: what comes is passed on as it is.

use tokio::time::Instant;

use super::fault::{Fault, status_of};
use super::hand_over;
use super::steps::{Exchange, Last, Said};
use super::tools::Listing;
use crate::era::{legacy, listen};
use crate::error::Reject;
use crate::jsonrpc::{Message, RawId};
use crate::mcp::{Era, method};
use crate::router::cache::Ticket;
use crate::session::{Answer, Item, Owned, StreamReader};

/// An exchange that is passed through.
pub(super) struct Passing {
    reader: StreamReader,
    /// For a subscription: ends when mcp-mux is about to.
    standing: Option<StreamReader>,
    id: RawId,
    listing: Option<Listing>,
    /// Under which the result is kept, if it may be.
    ticket: Option<Ticket>,
    /// After the readers, which are to leave first.
    owned: Owned,
}

impl Passing {
    /// Hands the request over.
    pub(super) async fn begin(owned: Owned, message: &Message, ticket: Option<Ticket>) -> Result<Self, Fault> {
        let session = owned.session();
        let listing = Listing::of(message, session);
        let standing = (message.method() == method::LISTEN).then(|| session.open_standing()).transpose()?;
        let reader = hand_over(session, message.clone()).await?;
        let id = message.id().ok_or_else(|| Reject::InvalidRequest("a request must have an id".to_owned()))?;
        Ok(Self { reader, standing, id, listing, ticket, owned })
    }

    fn finish(self, answer: Answer) -> Last {
        let frame = match answer {
            Answer::Rejected(_, reject) => return Fault::from(reject).into_last(Some(&self.id)),
            Answer::Response(frame) | Answer::Initialized(frame, _) => frame,
        };
        let bytes = frame.into_bytes();
        let message = Message::parse(bytes.clone(), usize::MAX).ok();
        if let (Some(listing), Some(message)) = (self.listing, &message) {
            listing.answered(message);
        }
        let result = message.as_ref().and_then(Message::result);
        if let (Some(ticket), Some(cache), Some(result)) = (self.ticket, self.owned.session().cache(), result) {
            cache.store(ticket, &bytes.slice(result.start..result.end), Instant::now());
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
        match item {
            Some(Item::Message(frame)) => (Said::Message(frame), Some(self)),
            Some(Item::Answer(answer)) => (Said::Last(self.finish(answer)), None),
            None => (Said::Last(Fault::from(Reject::SessionClosed).into_last(Some(&self.id))), None),
        }
    }
}
