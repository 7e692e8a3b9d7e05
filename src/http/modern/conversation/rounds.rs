//! From one round of a conversation to the next: what is kept while its client is away, and how it goes on.
//!
//! Spec: 2026-07-28, Multi Round-Trip Requests, Server Requirements.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use http::HeaderMap;
use serde_json::Value;
use serde_json::value::RawValue;
use tokio::time::Instant;
use tracing::debug;

use super::super::super::observe::Verdict;
use super::super::fault::Fault;
use super::super::steps::{Last, Said};
use super::super::{Modern, check_arguments, hand_over};
use super::{Conversation, lacks, translated};
use crate::era::envelope::Envelope;
use crate::era::legacy;
use crate::era::state::{State, binding, is_ours};
use crate::error::Reject;
use crate::jsonrpc::{self, Message};
use crate::metrics::Outcome;
use crate::session::{Attention, Parked, Registry, declared};

impl Conversation {
    /// Ends this round: the client is asked, and the conversation waits for it.
    pub(super) fn park(mut self) -> (Said, Option<Self>) {
        self.gathering = None;
        let registry = Arc::clone(self.owned.registry());
        let now = Instant::now();
        let deadline = registry.input_deadline(self.begun, now);
        // Rounded up, and the clock below down: the deadline is what counts.
        let left = deadline.saturating_duration_since(now).as_secs() + 2;
        let state = State { parked: Parked::<()>::number(), expires_unix: unix_seconds().saturating_add(left) };
        self.reader.attend(Attention::Lasting);
        // What the retry brings again is not kept.
        let request = self.request.take();
        let binding = request.map(|request| binding(&self.who, &request)).unwrap_or_default();
        let sealed = self.modern.sealer.as_ref().and_then(|sealer| sealer.seal(state, &binding).ok());
        let Some(sealed) = sealed else {
            return self.fail(Reject::ChildUnavailable("the system gave no random bytes".to_owned()).into());
        };
        let requests = self.open.iter().map(|question| (&*question.key, &*question.request));
        let frame = legacy::input_required(&self.id, requests, &sealed, self.server_info.as_deref());
        let held = match self.owned.session().hold_unread(frame.len()) {
            Ok(held) => held,
            Err(reject) => return self.fail(reject.into()),
        };
        debug!(session = %self.owned.session().id(), questions = self.open.len(), "the client is asked");
        let (id, bytes) = (self.id.clone(), self.bytes());
        match registry.park(state.parked, Box::new(self), bytes, deadline) {
            Ok(()) => {
                let verdict = Some(Verdict::of(Outcome::InputRequired));
                (Said::Last(Last { held, verdict, ..Last::ok(frame) }), None)
            }
            Err(reject) => (Said::Last(Fault::from(reject).into_last(Some(&id))), None),
        }
    }

    /// How much it is asked for.
    pub(super) fn open_bytes(&self) -> usize {
        self.open.iter().map(|question| question.key.len() + question.request.len()).sum()
    }

    /// What it holds while it is parked.
    fn bytes(&self) -> usize {
        let info = self.server_info.as_ref().map_or(0, |info| info.len());
        let method = self.method.len() + self.uri.as_ref().map_or(0, |uri| uri.len());
        size_of::<Self>() + self.open_bytes() + self.who.len() + self.client_bytes + info + method
    }

    /// The client has come back: what it answers goes to the child.
    async fn go_on(
        &mut self,
        message: &Message,
        envelope: &Envelope,
        mut answers: HashMap<String, Box<RawValue>>,
    ) -> Result<(), Fault> {
        self.id = message.id().ok_or_else(|| Reject::InvalidRequest("a request must have an id".to_owned()))?;
        self.reader.attend(Attention::Full);
        self.request = Some(message.clone());
        self.token = envelope.token.clone();
        self.level = envelope.level;
        self.capabilities = declared(&envelope.capabilities);
        let mut declined = false;
        for question in std::mem::take(&mut self.open) {
            // What is no result of a client is no answer: it is asked for again, if it still may be.
            let answer = answers.remove(&question.key).filter(|answer| answer.get().starts_with('{'));
            match (answer, &question.id) {
                (Some(answer), Some(id)) => self.tell(jsonrpc::result_response(id, answer.get())).await?,
                (Some(answer), None) => declined |= !accepts(answer.get()),
                (None, _) if question.need.is_met_by(self.capabilities) => self.open.push(question),
                (None, Some(id)) => self.refuse_undeclared(id, question.need).await?,
                (None, None) => return Err(lacks(question.need)),
            }
        }
        if declined {
            return Err(Fault::Params("the user did not accept what the server requires".to_owned()));
        }
        if !self.open.is_empty() {
            self.gather();
        } else if std::mem::take(&mut self.again) {
            self.begun = Instant::now();
            self.reader = hand_over(self.owned.session(), translated(message)?).await?;
        }
        Ok(())
    }
}

impl Modern {
    /// The conversation that a `requestState` stands for, with the client's answers on their way to the child.
    pub(in super::super) async fn resume(
        &self,
        registry: &Registry,
        message: &Message,
        envelope: &Envelope,
        (who, state): (&[u8], &str),
        headers: &HeaderMap,
    ) -> Result<Option<Conversation>, Fault> {
        let sealer = self.sealer.as_ref().filter(|_| is_ours(state));
        let Some(state) = sealer.and_then(|sealer| sealer.open(state, &binding(who, message))) else {
            // It may be that of a child of the modern era, be it another mcp-mux.
            return Ok(None);
        };
        let answers = message.params().and_then(|params| message.member(params, "inputResponses").transpose());
        let answers: HashMap<String, Box<RawValue>> = match answers {
            None => HashMap::new(),
            Some(Ok(span)) => serde_json::from_str(message.text(span))
                .map_err(|_| Fault::Params("inputResponses must be an object".to_owned()))?,
            Some(Err(_)) => return Err(Fault::Params("inputResponses occurs twice".to_owned())),
        };
        if state.expires_unix <= unix_seconds() {
            return Err(Fault::State("requestState has expired"));
        }
        // Before it is taken: whoever sent the wrong headers may send the right ones.
        let session = registry.parked().look(state.parked, |parked| {
            let parked = parked.downcast_ref::<Conversation>();
            parked.map(|parked| Arc::clone(parked.owned.session()))
        });
        if let Some(session) = session.flatten() {
            check_arguments(headers, message, &session).await?;
        }
        let parked = registry.parked().take(state.parked, Instant::now());
        let parked = parked.and_then(|parked| parked.downcast::<Conversation>().ok());
        let mut conversation =
            *parked.ok_or(Fault::State("requestState was used already, or what it stands for is over"))?;
        conversation.go_on(message, envelope, answers).await?;
        Ok(Some(conversation))
    }
}

/// Whether an `ElicitResult` accepts.
fn accepts(result: &str) -> bool {
    serde_json::from_str::<Value>(result)
        .is_ok_and(|result| result.get("action").is_some_and(|action| action == "accept"))
}

fn unix_seconds() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs()
}
