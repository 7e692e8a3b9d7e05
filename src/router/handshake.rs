//! The `initialize` handshake with a child, and the answers given out of it.
//!
//! Spec: 2025-11-25, Lifecycle, Initialization. mcp-mux introduces itself to a shared child; each client's own
//! `initialize` is answered from the child's answer, in the older of the two revisions. To a child of one's own the client
//! introduces itself. Either introduction is said again to the next process.

use bytes::Bytes;
use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::{Map, Value, json};

use super::era::discover;
use super::id_table::ChildId;
use super::io::Stage;
use crate::config::DeclaredCapabilities;
use crate::jsonrpc::{Frame, Message, RawId, Span};
use crate::mcp::{Revision, method};

/// The handshake with the current child.
#[derive(Debug, Default)]
pub(super) struct Handshake {
    stage: Stage,
    /// How a process is introduced to when it starts; none where that is the session's to say, and it has not yet.
    introduction: Option<Introduction>,
    /// The `initialize` that is on its way, while its answer is awaited.
    pending: Option<(ChildId, Introduction)>,
    result: Option<ServerResult>,
    /// The error the child answered our `initialize` with.
    error: Option<String>,
    /// Whether a child was ready before this one.
    stood_before: bool,
    /// Whether the process was told `notifications/initialized`.
    initialized: bool,
}

/// Who is introduced to the child.
#[derive(Clone, Debug)]
pub(super) enum Introduction {
    /// mcp-mux, with these capabilities.
    Ours(DeclaredCapabilities),
    /// mcp-mux with these capabilities, to a modern child: each client is introduced by each of its requests.
    Discovery(DeclaredCapabilities),
    /// The client: the `params` of its `initialize`, word for word.
    Clients(Option<Bytes>),
}

impl Introduction {
    /// The client's own.
    pub(super) fn of_client(initialize: &Message) -> Self {
        // A copy of its own: it is kept as long as the session, and would hold all of what it came with.
        Self::Clients(initialize.params().map(|span| Bytes::copy_from_slice(initialize.text(span).as_bytes())))
    }

    fn request(&self, id: ChildId) -> Frame {
        let own = |text: &str| crate::jsonrpc::request(&id.text(), method::INITIALIZE, Some(text));
        match self {
            Self::Ours(declared) => own(&initialize_params(*declared).to_string()),
            Self::Discovery(declared) => discover::request(id, *declared),
            Self::Clients(Some(params)) => own(std::str::from_utf8(params).unwrap_or("{}")),
            Self::Clients(None) => crate::jsonrpc::request(&id.text(), method::INITIALIZE, None),
        }
    }
}

/// What the child answered.
#[derive(Debug)]
pub(super) struct ServerResult {
    /// The `InitializeResult` as the child spelled it, or as it would have.
    pub(super) text: Bytes,
    /// Where in it the value of `protocolVersion` is.
    pub(super) version: Option<Span>,
    pub(super) revision: Revision,
    pub(super) capabilities: ServerCapabilities,
}

/// The capabilities of the child that change how mcp-mux treats a message. Present means declared.
#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct ServerCapabilities {
    logging: Option<IgnoredAny>,
    tools: Option<IgnoredAny>,
    prompts: Option<IgnoredAny>,
    resources: Option<IgnoredAny>,
    /// Of a modern child: what it tells of to who listens.
    #[serde(skip)]
    pub(super) tells: Lists,
}

/// Lists of which is told when they change.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Lists {
    pub(super) tools: bool,
    pub(super) prompts: bool,
    pub(super) resources: bool,
}

impl ServerCapabilities {
    /// Whether the child takes `logging/setLevel`.
    pub(super) const fn logging(self) -> bool {
        self.logging.is_some()
    }

    /// The `list_changed` notifications that concern this child.
    pub(super) fn lists(self) -> impl Iterator<Item = &'static str> {
        [
            (self.tools.is_some(), method::TOOLS_LIST_CHANGED),
            (self.prompts.is_some(), method::PROMPTS_LIST_CHANGED),
            (self.resources.is_some(), method::RESOURCES_LIST_CHANGED),
        ]
        .into_iter()
        .filter_map(|(declared, list)| declared.then_some(list))
    }
}

impl Handshake {
    /// How far it is.
    pub(super) const fn stage(&self) -> Stage {
        self.stage
    }

    /// The error the child answered with, if it refused.
    pub(super) fn error(&self) -> Option<&str> {
        self.error.as_deref()
    }

    /// The revision agreed on; none before the handshake stands.
    pub(super) fn revision(&self) -> Option<Revision> {
        self.result.as_ref().map(|result| result.revision)
    }

    /// What the child declared; nothing before the handshake stands.
    pub(super) fn capabilities(&self) -> ServerCapabilities {
        self.result.as_ref().map(|result| result.capabilities).unwrap_or_default()
    }

    /// A handshake with no child yet.
    pub(super) fn new(introduction: Option<Introduction>) -> Self {
        Self { introduction, ..Self::default() }
    }

    /// That with the process which is to replace this one. Sessions are to notice no less than after a restart.
    pub(super) fn successor(&self) -> Self {
        Self { stood_before: true, ..Self::new(self.introduction.clone()) }
    }

    /// How a process is introduced to, if that is known already.
    pub(super) const fn introduction(&self) -> Option<&Introduction> {
        self.introduction.as_ref()
    }

    /// From now on processes are introduced to like this.
    pub(super) fn set_introduction(&mut self, introduction: Introduction) {
        self.introduction = Some(introduction);
    }

    /// A new process: the `initialize` to write to it, if that is not still to come from its session.
    pub(super) fn start(&mut self, id: ChildId) -> Option<Frame> {
        self.stage = Stage::Waiting;
        self.error = None;
        self.initialized = false;
        let introduction = self.introduction.clone()?;
        let initialize = introduction.request(id);
        self.expect(id, introduction);
        Some(initialize)
    }

    /// An `initialize` is on its way to the child.
    pub(super) fn expect(&mut self, id: ChildId, introduction: Introduction) {
        self.stage = Stage::Handshake;
        self.pending = Some((id, introduction));
    }

    /// The client's `initialize` came to nothing; it may send another.
    pub(super) fn give_up(&mut self) {
        self.pending = None;
        if self.stage == Stage::Handshake {
            self.stage = Stage::Waiting;
        }
    }

    /// The child takes no more input. What it answers to the client's `initialize` still counts.
    pub(super) fn end(&mut self) {
        self.stage = Stage::Down;
        self.result = None;
    }

    /// The child is gone.
    pub(super) fn stop(&mut self) {
        self.end();
        self.pending = None;
    }

    /// The child is told `notifications/initialized`; false if it was told before.
    pub(super) const fn initialize_once(&mut self) -> bool {
        !std::mem::replace(&mut self.initialized, true)
    }

    /// Whether this is the id of the `initialize` that is on its way.
    pub(super) fn awaits(&self, id: ChildId) -> bool {
        self.pending() == Some(id)
    }

    /// The `initialize` that is on its way.
    pub(super) fn pending(&self) -> Option<ChildId> {
        self.pending.as_ref().map(|(id, _)| *id)
    }

    /// The child's answer to our `initialize` is of no use.
    pub(super) fn refused(&mut self, why: &str) {
        self.pending = None;
        self.error = Some(why.to_owned());
    }

    /// The child answered our `initialize`.
    pub(super) fn answered(&mut self, answer: &Message) -> Outcome {
        if self.accepted(answer).is_none() {
            self.refused(answer.error().map_or(discover::NOT_SPOKEN, |span| answer.text(span)));
            return Outcome::Refused;
        }
        if std::mem::replace(&mut self.stood_before, true) { Outcome::ReadyAgain } else { Outcome::Ready }
    }

    /// The child answered the client's own `initialize`: the revision they speak, or none if it refused.
    pub(super) fn answered_client(&mut self, answer: &Message) -> Option<Revision> {
        let revision = self.accepted(answer);
        match revision {
            Some(_) => self.stood_before = true,
            None => self.give_up(),
        }
        revision
    }

    fn accepted(&mut self, answer: &Message) -> Option<Revision> {
        let result = match &self.pending {
            Some((_, Introduction::Discovery(_))) => discover::initialize_result(answer)?,
            _ => ServerResult::new(answer, answer.result()?),
        };
        let (_, introduction) = self.pending.take()?;
        let revision = result.revision;
        self.introduction = Some(introduction);
        // It may be on its way out; then this is for the next one.
        if self.stage == Stage::Handshake {
            self.result = Some(result);
            self.stage = Stage::Ready;
        }
        Some(revision)
    }

    /// The answer to a client's `initialize`, and the revision it settles on: the client's own if the child's is not
    /// older, else the child's. None before the handshake stands.
    pub(super) fn answer_client(&self, id: &RawId, requested: &str) -> Option<(Frame, Revision)> {
        let result = self.result.as_ref()?;
        let revision = requested.parse::<Revision>().map_or(result.revision, |own| own.min(result.revision));
        let mut text = Frame::new(result.text.clone());
        if let Some(version) = result.version {
            text = text.replace(version, format!("\"{revision}\""));
        }
        let text = text.into_bytes();
        Some((crate::jsonrpc::result_response(id, std::str::from_utf8(&text).unwrap_or("{}")), revision))
    }
}

/// What the child's answer to our `initialize` means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    /// The first handshake stands.
    Ready,
    /// The handshake of a restarted child stands.
    ReadyAgain,
    /// It answered with an error.
    Refused,
}

impl ServerResult {
    fn new(answer: &Message, result: Span) -> Self {
        let version = answer.member(result, "protocolVersion").ok().flatten();
        // Servers older than the first published revision answer with a date of their own; they speak the oldest.
        let revision = version
            .and_then(|span| crate::jsonrpc::decode_str(answer.text(span)))
            .map_or(Revision::V2024_11_05, |text| nearest(&text));
        let capabilities = answer
            .member(result, "capabilities")
            .ok()
            .flatten()
            .and_then(|span| serde_json::from_str(answer.text(span)).ok())
            .unwrap_or_default();
        let version = version.map(|span| Span { start: span.start - result.start, end: span.end - result.start });
        Self { text: answer.bytes().slice(result.start..result.end), version, revision, capabilities }
    }
}

/// The newest revision that is not newer than what the child said (dates compare as text).
fn nearest(text: &str) -> Revision {
    let is_date = text.len() == 10 && text.bytes().all(|byte| byte.is_ascii_digit() || byte == b'-');
    if !is_date {
        return Revision::V2024_11_05;
    }
    Revision::ALL.into_iter().rev().find(|revision| revision.as_str() <= text).unwrap_or(Revision::V2024_11_05)
}

fn initialize_params(declared: DeclaredCapabilities) -> Value {
    json!({
        "protocolVersion": Revision::LATEST.as_str(),
        "capabilities": capabilities(declared),
        "clientInfo": client_info(),
    })
}

/// Who mcp-mux is.
pub(super) fn client_info() -> Value {
    json!({"name": "mcp-mux", "version": env!("CARGO_PKG_VERSION")})
}

/// What it can pass on.
pub(super) fn capabilities(declared: DeclaredCapabilities) -> Map<String, Value> {
    let mut capabilities = Map::new();
    if declared.roots {
        capabilities.insert("roots".to_owned(), json!({"listChanged": true}));
    }
    if declared.sampling {
        capabilities.insert("sampling".to_owned(), json!({}));
    }
    if declared.elicitation {
        capabilities.insert("elicitation".to_owned(), json!({"form": {}, "url": {}}));
    }
    capabilities
}
