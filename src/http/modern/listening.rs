//! `subscriptions/listen` of a legacy child: acknowledged with what it can do, then what it tells.
//!
//! It ends with a response when mcp-mux stops or there will be no process any more; one that is replaced by another keeps
//! its subscriptions, which the router sees to.
//!
//! Spec: 2026-07-28, Subscriptions.

use serde_json::{Value, json};
use tracing::debug;

use super::fault::Fault;
use super::own;
use super::steps::{Exchange, Last, Said};
use crate::era::discover::News;
use crate::era::listen::{self, Filter};
use crate::jsonrpc::{self, DEPTH_MAX, Kind, Message, RawId};
use crate::mcp::{code, method};
use crate::session::{Answer, Held, Item, Owned, StreamReader, Taken};

/// A subscription.
pub(super) struct Listening {
    reader: StreamReader,
    id: RawId,
    filter: Filter,
    acknowledged: bool,
    /// After the reader, which is to leave first.
    owned: Owned,
}

impl Listening {
    /// Begins to listen; what is asked for is narrowed to what the child can do.
    pub(super) fn begin(owned: Owned, id: RawId, mut filter: Filter, news: News) -> Result<Self, Fault> {
        filter.narrow(news);
        // Before the child is told, so that nothing is missed.
        let reader = owned.session().open_standing()?;
        Ok(Self { reader, id, filter, acknowledged: false, owned })
    }

    /// Subscribes to the resources; those that the child does not take are not acknowledged.
    async fn subscribe(&mut self) {
        let mut taken = Vec::new();
        for (number, uri) in std::mem::take(&mut self.filter.resource_subscriptions).into_iter().enumerate() {
            let params = json!({"uri": uri}).to_string();
            let Ok(request) = own(&format!("\"mcp-mux-listen-{number}\""), method::SUBSCRIBE, &params) else {
                continue;
            };
            let answer = self.owned.session().ask(request).await;
            let accepted = match answer {
                Ok(Some(Answer::Response(frame))) => {
                    Message::parse(frame.into_bytes(), usize::MAX).is_ok_and(|message| message.kind() == Kind::Result)
                }
                Ok(Some(Answer::Initialized(..) | Answer::Rejected(..)) | None) | Err(_) => false,
            };
            if accepted {
                taken.push(uri);
            } else {
                debug!("a resource that is listened for was not taken by the server");
            }
        }
        self.filter.resource_subscriptions = taken;
    }

    /// A question cannot be answered here: it belongs to no request.
    async fn refuse(&self, question: &Message) {
        let data = json!({"source": "mcp-mux", "kind": "not-attributable"});
        let text = "it belongs to no request of the client";
        let error: Value = json!({"code": code::QUESTION_REFUSED, "message": text, "data": data});
        let answer = jsonrpc::error_response(question.id().as_ref(), &error);
        if let Ok(answer) = Message::parse(answer.into_bytes(), DEPTH_MAX) {
            // Closed meanwhile, it is answered all the same.
            let _ = self.owned.session().send(answer).await;
        }
    }
}

impl Exchange for Listening {
    async fn next(mut self) -> (Said, Option<Self>) {
        if !self.acknowledged {
            self.subscribe().await;
            self.acknowledged = true;
            return (Said::Message(self.filter.acknowledgement(&self.id), Held::default()), Some(self));
        }
        loop {
            let item = tokio::select! {
                biased;
                item = self.reader.next() => item,
                () = self.owned.session().child_lost() => None,
            };
            let (frame, held) = match item {
                Some(Taken { item: Item::Message(frame), held }) => (frame, held),
                Some(Taken { item: Item::Answer(_), .. }) => continue,
                None => return (Said::Last(Last::ok(listen::graceful_end(&self.id))), None),
            };
            let Ok(message) = Message::parse(frame.into_bytes(), usize::MAX) else { continue };
            match message.kind() {
                Kind::Notification if self.filter.admits(message.method()) => {
                    return (Said::Message(listen::event(&message, &self.id), held), Some(self));
                }
                Kind::Request => self.refuse(&message).await,
                Kind::Notification | Kind::Result | Kind::Error => {}
            }
        }
    }
}
