//! What came of asking, and its JSON.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::ser::SerializeMap as _;
use serde::{Serialize, Serializer};

use super::harmless;
use crate::config::ServerName;

/// The answer: every server, by name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    /// One by one.
    pub servers: Vec<ServerReport>,
}

/// A server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServerReport {
    /// Its name.
    pub name: ServerName,
    /// What came of asking it.
    pub outcome: Outcome,
}

/// What came of asking a server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It works.
    Works(Box<Found>),
    /// It does not, though it may have said something before.
    Fails(Failure, Option<Box<Found>>),
    /// It was not started: it cannot be used; why.
    Invalid(String),
    /// It was not started: it is not to be.
    Disabled,
}

/// What a server said. Every text of its own is bounded.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Found {
    /// 2026-07-28 is spoken.
    pub modern: bool,
    /// `initialize` is.
    pub legacy: bool,
    /// Those that were agreed on, newest first.
    pub revisions: Vec<&'static str>,
    /// Who it is, if it says so.
    pub server: Option<ServerInfo>,
    /// What it declared, by name.
    pub capabilities: Vec<Capability>,
    /// None: it has not the capability, or no such method.
    pub tools: Option<Count>,
    /// As above.
    pub resources: Option<Count>,
    /// As above.
    pub resource_templates: Option<Count>,
    /// As above.
    pub prompts: Option<Count>,
    /// The time from its start to the answer that ended the handshake.
    pub answered_after: Duration,
    /// What else is to be said.
    pub remarks: Vec<String>,
}

/// Who a server says it is.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct ServerInfo {
    /// Its `name`.
    pub name: Option<String>,
    /// Its `title`.
    pub title: Option<String>,
    /// Its `version`.
    pub version: Option<String>,
}

/// A capability.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Capability {
    /// Its name.
    pub name: String,
    /// What it has of it, such as `listChanged`.
    pub features: Vec<String>,
}

/// How many of something there are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Count {
    /// So many were counted.
    pub count: usize,
    /// There are no more.
    pub complete: bool,
}

/// Why a server does not work.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Failure {
    /// The reason, as a sentence.
    pub reason: String,
    /// What to do about it.
    pub advice: Option<String>,
    /// The last lines of its stderr, oldest first.
    pub stderr: Vec<String>,
}

impl Failure {
    /// The task that asked it is gone.
    pub(super) fn by_a_bug() -> Self {
        let reason = "it could not be asked: this is a bug in mcp-mux".to_owned();
        Self { reason, advice: Some("please report it, with the log".to_owned()), stderr: Vec::new() }
    }
}

impl Outcome {
    /// Its name for programs, and for people.
    pub const fn state(&self) -> &'static str {
        match self {
            Self::Works(_) => "works",
            Self::Fails(..) => "failing",
            Self::Invalid(_) => "invalid",
            Self::Disabled => "disabled",
        }
    }

    /// What the server said.
    pub fn found(&self) -> Option<&Found> {
        match self {
            Self::Works(found) | Self::Fails(_, Some(found)) => Some(found),
            Self::Fails(_, None) | Self::Invalid(_) | Self::Disabled => None,
        }
    }

    /// Whether it is as it should be.
    const fn is_ok(&self) -> bool {
        match self {
            Self::Works(_) | Self::Disabled => true,
            Self::Fails(..) | Self::Invalid(_) => false,
        }
    }
}

impl Report {
    /// Whether all servers work that are not disabled.
    pub fn is_ok(&self) -> bool {
        self.servers.iter().all(|server| server.outcome.is_ok())
    }

    /// The JSON object, with a line break at its end. No control character of a server's is in it, but escaped.
    pub fn to_json(&self) -> String {
        let servers: Vec<_> = self.servers.iter().map(ServerJson::of).collect();
        // Plain data with texts as keys is always JSON.
        let text = serde_json::to_string_pretty(&ReportJson { ok: self.is_ok(), servers }).unwrap_or_default();
        let mut escaped = harmless::json(&text);
        escaped.push('\n');
        escaped
    }
}

#[derive(Serialize)]
struct ReportJson<'a> {
    ok: bool,
    servers: Vec<ServerJson<'a>>,
}

/// Every key is always there, so that whoever reads it need not ask.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct ServerJson<'a> {
    name: &'a str,
    state: &'static str,
    reason: Option<&'a str>,
    advice: Option<&'a str>,
    stderr: &'a [String],
    eras: Vec<&'static str>,
    revisions: &'a [&'static str],
    server: Option<&'a ServerInfo>,
    capabilities: Option<Capabilities<'a>>,
    tools: Option<Count>,
    resources: Option<Count>,
    resource_templates: Option<Count>,
    prompts: Option<Count>,
    answered_after_ms: Option<u64>,
    remarks: &'a [String],
}

impl<'a> ServerJson<'a> {
    fn of(server: &'a ServerReport) -> Self {
        let found = server.outcome.found();
        let failure = match &server.outcome {
            Outcome::Fails(failure, _) => Some(failure),
            Outcome::Works(_) | Outcome::Invalid(_) | Outcome::Disabled => None,
        };
        let invalid = match &server.outcome {
            Outcome::Invalid(why) => Some(why.as_str()),
            Outcome::Works(_) | Outcome::Fails(..) | Outcome::Disabled => None,
        };
        Self {
            name: server.name.as_str(),
            state: server.outcome.state(),
            reason: failure.map(|failure| failure.reason.as_str()).or(invalid),
            advice: failure.and_then(|failure| failure.advice.as_deref()),
            stderr: failure.map(|failure| failure.stderr.as_slice()).unwrap_or_default(),
            eras: found.map(Found::eras).unwrap_or_default(),
            revisions: found.map(|found| found.revisions.as_slice()).unwrap_or_default(),
            server: found.and_then(|found| found.server.as_ref()),
            capabilities: found.map(|found| Capabilities(&found.capabilities)),
            tools: found.and_then(|found| found.tools),
            resources: found.and_then(|found| found.resources),
            resource_templates: found.and_then(|found| found.resource_templates),
            prompts: found.and_then(|found| found.prompts),
            answered_after_ms: found.map(|found| u64::try_from(found.answered_after.as_millis()).unwrap_or(u64::MAX)),
            remarks: found.map(|found| found.remarks.as_slice()).unwrap_or_default(),
        }
    }
}

impl Found {
    /// The eras it speaks, the newer one first.
    pub fn eras(&self) -> Vec<&'static str> {
        [(self.modern, "modern"), (self.legacy, "legacy")]
            .into_iter()
            .filter_map(|(spoken, era)| spoken.then_some(era))
            .collect()
    }
}

/// An object with a list of features for each. Of two that look the same once they are bounded, one is left.
struct Capabilities<'a>(&'a [Capability]);

impl Serialize for Capabilities<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let by_name: BTreeMap<_, _> = self.0.iter().map(|one| (&one.name, &one.features)).collect();
        let mut map = serializer.serialize_map(Some(by_name.len()))?;
        by_name.into_iter().try_for_each(|(name, features)| map.serialize_entry(name, features))?;
        map.end()
    }
}
