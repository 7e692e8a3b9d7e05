//! What the access log says of a request, and its span.

use std::time::Duration;

use http::request::Parts;
use http::{Response, StatusCode};
use tokio::time::Instant;

use super::super::Caller;
use super::super::body::Body;
use super::Verdict;
use crate::auth::{Principal, Remote};
use crate::jsonrpc::Message;
use crate::mcp::{MODERN_REVISION, Revision, method};
use crate::metrics::Outcome;
use crate::session::{Session, SessionTag, Transport};
use crate::telemetry::access::{self, Asked, Entry};
use crate::telemetry::traces::{self, Trace};

/// What is known of a request so far.
#[derive(Clone, Debug)]
pub(in super::super) struct Record {
    principal: String,
    session: Option<String>,
    client: String,
    transport: Option<&'static str>,
    revision: Option<&'static str>,
    asked: Asked,
    method: Option<String>,
    name: Option<String>,
    bytes_in: usize,
    /// Where there are traces.
    trace: Option<Trace>,
}

impl Record {
    /// Of something that this client sent; none where the access log is off and there are no traces.
    pub(in super::super) fn of(request: &Parts, asked: Asked, caller: &Caller) -> Option<Box<Self>> {
        let trace = Trace::begin(request, caller.way.client.address());
        (access::is_on() || trace.is_some()).then(|| {
            Box::new(Self {
                principal: caller.admission.principal.to_string(),
                session: None,
                client: caller.way.client.to_string(),
                transport: None,
                revision: None,
                asked,
                method: None,
                name: None,
                bytes_in: 0,
                trace,
            })
        })
    }

    /// It is this request.
    pub(super) fn is(&mut self, message: &Message) {
        self.method = Some(message.method().chars().take(CHARACTERS_MAX).collect());
        self.name = if access::shows_names() || traces::shows_names() { name(message) } else { None };
        self.bytes_in = message.bytes().len();
        if let Some(trace) = &mut self.trace {
            trace.is(message);
        }
    }

    /// It is one of that session.
    pub(in super::super) fn within(&mut self, session: &Session) {
        let transport = session.transport();
        (self.transport, self.revision) = match transport {
            Transport::Streamable => (Some("streamable-http"), session.agreed().map(Revision::as_str)),
            Transport::HttpSse => (Some("http-sse"), session.agreed().map(Revision::as_str)),
            Transport::Stateless => (Some("stateless"), session.agreed().map(Revision::as_str)),
            Transport::Modern => (Some("modern"), Some(MODERN_REVISION)),
        };
        // An exchange has one too, but nobody ever sees it again.
        self.session =
            matches!(transport, Transport::Streamable | Transport::HttpSse).then(|| session.id().to_string());
    }

    /// This revision was agreed on by it.
    pub(super) const fn agreed(&mut self, revision: Revision) {
        self.revision = Some(revision.as_str());
    }

    /// It is one of the modern era.
    pub(in super::super) const fn modern(&mut self) {
        (self.transport, self.revision) = (Some("modern"), Some(MODERN_REVISION));
    }

    pub(super) fn write(
        &self,
        server: &str,
        verdict: Verdict,
        took: Duration,
        bytes_out: usize,
        status: Option<StatusCode>,
    ) {
        let entry = Entry {
            server: Some(server),
            principal: Some(&self.principal),
            session: self.session.as_deref(),
            client: &self.client,
            transport: self.transport,
            revision: self.revision,
            // It was not found out what it is.
            asked: Some(self.asked).filter(|_| self.method.is_none()),
            method: self.method.as_deref(),
            name: self.name.as_deref(),
            bytes_in: self.bytes_in,
            bytes_out,
            duration_seconds: took.as_secs_f64(),
            outcome: verdict.outcome.as_str(),
            kind: verdict.kind,
            status: status.map(|status| status.as_u16()),
            code: verdict.code,
        };
        access::write(&entry);
        if let Some(trace) = &self.trace {
            trace.end(&entry, took);
        }
    }
}

/// What a request names, as far as that fits into a line.
fn name(message: &Message) -> Option<String> {
    let key = match message.method() {
        method::TOOLS_CALL | method::PROMPTS_GET => "name",
        method::RESOURCES_READ | method::SUBSCRIBE | method::UNSUBSCRIBE => "uri",
        _ => return None,
    };
    let name = crate::era::headers::text_param(message, key).ok().flatten()?;
    Some(name.chars().take(CHARACTERS_MAX).collect())
}

/// Where something of HTTP came to that has no message in it, or none that anybody looked for.
#[derive(Clone, Copy, Debug)]
pub(in super::super) struct Passage<'a> {
    pub(in super::super) asked: Asked,
    pub(in super::super) client: Remote,
    /// Who it is, as far as that was found out.
    pub(in super::super) principal: Option<&'a Principal>,
    pub(in super::super) server: Option<&'a str>,
    pub(in super::super) session: Option<SessionTag>,
    pub(in super::super) since: Instant,
}

impl Passage<'_> {
    /// It was refused, with this kind of error, and nothing of JSON-RPC was looked for in it.
    pub(in super::super) fn refused(&self, response: &Response<Body>, kind: &'static str) {
        let outcome = match response.status() {
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => Outcome::Denied,
            StatusCode::TOO_MANY_REQUESTS => Outcome::Limited,
            StatusCode::SERVICE_UNAVAILABLE => Outcome::ChildUnavailable,
            _ => Outcome::Invalid,
        };
        self.write(response, outcome, Some(kind));
    }

    /// It was done: a stream is open, a session is deleted.
    pub(in super::super) fn done(&self, response: &Response<Body>) {
        self.write(response, Outcome::Ok, None);
    }

    fn write(&self, response: &Response<Body>, outcome: Outcome, kind: Option<&'static str>) {
        if !access::is_on() {
            return;
        }
        access::write(&Entry {
            server: self.server,
            principal: self.principal.map(ToString::to_string).as_deref(),
            session: self.session.map(|session| session.to_string()).as_deref(),
            client: &self.client.to_string(),
            transport: None,
            revision: None,
            asked: Some(self.asked),
            method: None,
            name: None,
            bytes_in: 0,
            bytes_out: 0,
            duration_seconds: self.since.elapsed().as_secs_f64(),
            outcome: outcome.as_str(),
            kind,
            status: Some(response.status().as_u16()),
            code: None,
        });
    }
}

/// What is longer is cut: it is a client that says it.
const CHARACTERS_MAX: usize = 200;
