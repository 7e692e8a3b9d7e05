//! One session with a child, that asks one thing after the other.

use std::sync::Arc;

use serde_json::{Map, Value, json};
use tokio::sync::mpsc;

use crate::child::{ChildHandle, Outbox};
use crate::error::Reject;
use crate::jsonrpc::{self, DEPTH_MAX, Frame, Message, Span};
use crate::mcp::ids::meta;
use crate::mcp::{Era, MODERN_REVISION, Revision, method};
use crate::router::{Origin, Payload, Profile, SessionKey, StreamId};

/// A session of the child's own era, so that nothing is translated.
#[derive(Debug)]
pub(super) struct Conversation {
    child: ChildHandle,
    era: Era,
    answers: mpsc::Receiver<Payload>,
    /// The id of the last request.
    last_id: u64,
}

/// What a request came to.
#[derive(Debug)]
pub(super) enum Answer {
    /// The response, and where in it its result is.
    Result(Message, Span),
    /// An error of the server's: code and message, if it has them.
    Error(Option<i64>, String),
    /// What mcp-mux would answer a client with; in words.
    Refused(String),
}

/// Keeps what ends a request. There is one at a time, and what else comes is for nobody.
#[derive(Debug)]
struct Mailbox(mpsc::Sender<Payload>);

impl Outbox for Mailbox {
    fn deliver(&self, _: StreamId, payload: Payload) {
        match payload {
            Payload::Message(_) => {}
            Payload::Response(_) | Payload::Initialized(..) | Payload::Rejected(..) | Payload::Cancelled => {
                // Nobody waits for more than there is room for.
                let _ = self.0.try_send(payload);
            }
        }
    }
}

const SESSION: SessionKey = SessionKey(1);
const STREAM: StreamId = StreamId(1);
const ANSWERS_MAX: usize = 4;
/// As deep as what is taken from a child.
const ANSWER_DEPTH_MAX: usize = 1024;

impl Conversation {
    /// Attaches a session to a child whose handshake stands.
    pub(super) async fn open(child: &ChildHandle, era: Era) -> Result<Self, Reject> {
        let (mailbox, answers) = mpsc::channel(ANSWERS_MAX);
        // It can be asked nothing: there is nobody to answer.
        let profile = Profile { era, ..Profile::default() };
        child.attach(SESSION, profile, Arc::new(Mailbox(mailbox))).await?;
        Ok(Self { child: child.clone(), era, answers, last_id: 0 })
    }

    /// What the server says of itself: its `InitializeResult`, or its `DiscoverResult`.
    pub(super) async fn introduction(&mut self) -> Answer {
        match self.era {
            Era::Legacy => {
                let params = json!({
                    "protocolVersion": Revision::LATEST.as_str(),
                    "capabilities": {},
                    "clientInfo": client_info(),
                });
                self.ask(method::INITIALIZE, &params).await
            }
            Era::Modern => self.ask(method::DISCOVER, &json!({"_meta": own_meta()})).await,
        }
    }

    /// A page of a list.
    pub(super) async fn page(&mut self, method: &str, cursor: Option<&str>) -> Answer {
        let mut params = Map::new();
        if let Some(cursor) = cursor {
            params.insert("cursor".to_owned(), cursor.into());
        }
        if self.era == Era::Modern {
            params.insert("_meta".to_owned(), own_meta());
        }
        self.ask(method, &Value::Object(params)).await
    }

    async fn ask(&mut self, method: &str, params: &Value) -> Answer {
        self.last_id += 1;
        let request = jsonrpc::request(&self.last_id.to_string(), method, Some(&params.to_string()));
        let request = match Message::parse(request.into_bytes(), DEPTH_MAX) {
            Ok(request) => request,
            Err(error) => return Answer::Refused(error.to_string()),
        };
        if let Err(reject) = self.child.send(Origin::client(SESSION, STREAM), request).await {
            return Answer::Refused(reject.to_string());
        }
        match self.answers.recv().await {
            Some(Payload::Response(frame) | Payload::Initialized(frame, _)) => read(frame),
            Some(Payload::Rejected(_, reject)) => Answer::Refused(reject.to_string()),
            Some(Payload::Cancelled | Payload::Message(_)) | None => Answer::Refused("the child is gone".to_owned()),
        }
    }
}

fn read(response: Frame) -> Answer {
    // It was read once already, on its way here.
    let Ok(response) = Message::parse(response.into_bytes(), ANSWER_DEPTH_MAX) else {
        return Answer::Refused("its answer cannot be read".to_owned());
    };
    match (response.error(), response.result()) {
        (None, Some(result)) => Answer::Result(response, result),
        (error, _) => {
            let error = error.map(|error| serde_json::from_str(response.text(error)));
            let error: Value = error.and_then(Result::ok).unwrap_or_default();
            let message = error.get("message").and_then(Value::as_str).unwrap_or_default();
            Answer::Error(error.get("code").and_then(Value::as_i64), message.to_owned())
        }
    }
}

fn client_info() -> Value {
    json!({"name": "mcp-mux", "version": env!("CARGO_PKG_VERSION")})
}

fn own_meta() -> Value {
    json!({
        meta::PROTOCOL_VERSION: MODERN_REVISION,
        meta::CLIENT_INFO: client_info(),
        meta::CLIENT_CAPABILITIES: {},
    })
}
