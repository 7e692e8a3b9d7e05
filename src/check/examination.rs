//! One server, from its start to its stop.

use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;
use tokio::time::{Instant, timeout, timeout_at};
use tracing::debug;

use super::conversation::{Answer, Conversation};
use super::harmless::{LINE_MAX, NAME_MAX, SENTENCE_MAX, Secrets};
use super::{Capability, Count, Failure, Found, Outcome, ServerInfo, Stop};
use crate::child::{ChildHandle, ChildState, EraSource, Eras, FailureReport, Known, LastExit, Proof, Tenancy};
use crate::config::{ChildConfig, OnChildExit, RouterConfig, ServerConfig};
use crate::jsonrpc::{Message, Span};
use crate::mcp::ids::meta;
use crate::mcp::{Era, MODERN_REVISION, code, method};
use crate::metrics::ServerMetrics;
use crate::pool::absent;
use crate::router::Sharing;
use crate::router::cache::ResponseCache;

/// Starts a child.
pub(super) type Spawn = Arc<dyn Fn(&ChildConfig, &RouterConfig, Tenancy) -> ChildHandle + Send + Sync>;

/// Asks a server.
pub(super) struct Examination {
    config: ServerConfig,
    spawn: Spawn,
    stop: Stop,
    secrets: Secrets,
}

/// What is listed, and the capability that it belongs to.
const LISTS: [(&str, &str, &str, Place); 4] = [
    ("tools", method::TOOLS_LIST, "tools", |found| &mut found.tools),
    ("resources", method::RESOURCES_LIST, "resources", |found| &mut found.resources),
    ("resources", method::RESOURCE_TEMPLATES_LIST, "resourceTemplates", |found| &mut found.resource_templates),
    ("prompts", method::PROMPTS_LIST, "prompts", |found| &mut found.prompts),
];

/// Where a list's count is kept.
type Place = fn(&mut Found) -> &mut Option<Count>;

impl Examination {
    /// Of this server.
    pub(super) fn new(mut config: ServerConfig, spawn: Spawn, stop: Stop) -> Self {
        let secrets = Secrets::of(&config.child);
        // What is for long lives. An exit while it is asked is the answer.
        config.child = ChildConfig {
            on_exit: OnChildExit::Restart,
            ping_interval: None,
            age_max: None,
            requests_max: None,
            ..config.child
        };
        Self { config, spawn, stop, secrets }
    }

    /// Starts it, asks it, and stops it. None: a stop came before there was an answer.
    pub(super) async fn run(self) -> Option<Outcome> {
        if self.stop.soon.is_cancelled() {
            return None;
        }
        let eras = self.config.child.era.map_or_else(Eras::unknown, Eras::said);
        let child = self.start(EraSource::asking(eras.clone(), Era::Modern), 1);
        let begun = Instant::now();
        let mut outcome = tokio::select! {
            biased;
            () = self.stop.soon.cancelled() => None,
            outcome = self.examine(&child, begun) => Some(outcome),
        };
        self.end(&child).await;
        if let Some(Outcome::Works(found)) = &mut outcome
            && !found.legacy
        {
            match eras.known() {
                Known::Modern if self.config.child.era.is_none() => self.ask_for_legacy(found).await,
                Known::All(eras) => found.legacy = eras.legacy,
                Known::Modern | Known::Nothing => {}
            }
        }
        outcome
    }

    fn start(&self, era: EraSource, number: u64) -> ChildHandle {
        let ServerConfig { name, child, router, pool, .. } = &self.config;
        let tenancy = Tenancy {
            number,
            sharing: Sharing::Shared,
            era,
            variables: absent(&pool.header_env),
            // What is asked is to be answered by the server.
            cache: ResponseCache::new(0),
            proof: Proof::default(),
            metrics: ServerMetrics::named(name.as_str()),
            last_exit: LastExit::default(),
        };
        (self.spawn)(child, router, tenancy)
    }

    async fn end(&self, child: &ChildHandle) {
        tokio::select! {
            () = child.stop() => {}
            () = self.stop.now.cancelled() => child.kill().await,
        }
    }

    async fn examine(&self, child: &ChildHandle, begun: Instant) -> Outcome {
        let ChildConfig { start_timeout, probe_timeout, stop_timeout, .. } = self.config.child;
        // The child sees to these times itself, and has a better reason: a process that says nothing when it is asked for its
        // era has as long again, is stopped, and has a successor.
        let beside = probe_timeout.saturating_add(stop_timeout).saturating_mul(2);
        let patience = start_timeout.saturating_add(beside).saturating_add(START_MARGIN);
        match timeout(patience, stands(child)).await {
            Ok(true) => {}
            Ok(false) => return Outcome::Fails(self.failure(child).await, None),
            Err(_) => {
                let reason = format!("its handshake did not stand within {patience:?} (--start-timeout)");
                return Outcome::Fails(self.failure_of(child, &reason).await, None);
            }
        }
        let era = child.era();
        let answered_after = begun.elapsed();
        let mut found = Found { answered_after, ..Found::default() };
        match era {
            Era::Modern => found.modern = true,
            Era::Legacy => found.legacy = true,
        }
        let until = (begun + start_timeout).max(Instant::now() + LISTS_TIMEOUT_MIN);
        let asked = async {
            tokio::select! {
                biased;
                asked = self.ask(child, era, until, &mut found) => asked,
                () = exits(child) => Err(None),
            }
        };
        match asked.await {
            Ok(()) => Outcome::Works(Box::new(found)),
            Err(None) => Outcome::Fails(self.failure(child).await, Some(Box::new(found))),
            Err(Some(reason)) => Outcome::Fails(self.failure_of(child, &reason).await, Some(Box::new(found))),
        }
    }

    /// Asks everything. An error is why the server does not work; none: its child is gone.
    async fn ask(
        &self,
        child: &ChildHandle,
        era: Era,
        until: Instant,
        found: &mut Found,
    ) -> Result<(), Option<String>> {
        let mut conversation = Conversation::open(child, era).await.map_err(|reject| Some(reject.to_string()))?;
        let introduction = timeout_at(until, conversation.introduction());
        let method = match era {
            Era::Legacy => method::INITIALIZE,
            Era::Modern => method::DISCOVER,
        };
        match introduction.await {
            Err(_) => return Err(Some(late(method))),
            Ok(Answer::Result(response, result)) => self.read_introduction(era, &response, result, found),
            Ok(Answer::Error(code, message)) => return Err(Some(self.refusal(method, code, &message))),
            Ok(Answer::Refused(why)) => return Err(Some(format!("{method}: {why}"))),
        }
        if let Some(revision) = revision(child, until).await {
            found.revisions.push(revision);
        }
        for (capability, method, name, place) in LISTS {
            if found.capabilities.iter().any(|declared| declared.name == capability) {
                let count = self.count(&mut conversation, (method, name), until, &mut found.remarks).await?;
                *place(found) = count;
            }
        }
        Ok(())
    }

    /// Follows a list to its end, or to its bounds. None: there is none, whatever was declared.
    async fn count(
        &self,
        conversation: &mut Conversation,
        (method, name): (&str, &str),
        until: Instant,
        remarks: &mut Vec<String>,
    ) -> Result<Option<Count>, Option<String>> {
        let (mut count, mut cursor) = (0_usize, None::<String>);
        for page in 0..PAGES_MAX {
            let (response, result) = match timeout_at(until, conversation.page(method, cursor.as_deref())).await {
                Err(_) if page == 0 => return Err(Some(late(method))),
                Err(_) => {
                    remarks.push(format!("{method}: not all pages came in time; the first {page} are counted"));
                    return Ok(Some(Count { count, complete: false }));
                }
                Ok(Answer::Result(response, result)) => (response, result),
                Ok(Answer::Error(Some(error), _)) if error == i64::from(code::METHOD_NOT_FOUND) && page == 0 => {
                    // Nothing obliges a server with resources to have templates.
                    if method != method::RESOURCE_TEMPLATES_LIST {
                        remarks.push(format!("{method}: there is no such method, though the capability is declared"));
                    }
                    return Ok(None);
                }
                Ok(Answer::Error(code, message)) => return Err(Some(self.refusal(method, code, &message))),
                Ok(Answer::Refused(why)) => {
                    return Err(Some(self.secrets.clean(&format!("{method}: {why}"), SENTENCE_MAX)));
                }
            };
            let member = |name| response.member(result, name).ok().flatten();
            let Some(items) = member(name).filter(|items| response.text(*items).starts_with('[')) else {
                return Err(Some(format!("it answered {method} without a list of {name}")));
            };
            count = count.saturating_add(response.elements(items).count());
            let next = member("nextCursor").map(|next| serde_json::from_str::<Option<String>>(response.text(next)));
            cursor = match next {
                None | Some(Ok(None)) => return Ok(Some(Count { count, complete: true })),
                Some(Ok(Some(next))) if next.len() <= CURSOR_BYTES_MAX => Some(next),
                Some(_) => return Err(Some(format!("it answered {method} with a nextCursor that cannot be used"))),
            };
        }
        remarks.push(format!("{method}: there are more than {PAGES_MAX} pages; so many are counted"));
        Ok(Some(Count { count, complete: false }))
    }

    fn read_introduction(&self, era: Era, response: &Message, result: Span, found: &mut Found) {
        let read = |object: Span, name: &str| {
            let text = response.member(object, name).ok().flatten().map(|member| response.text(member));
            text.and_then(|text| serde_json::from_str::<Value>(text).ok())
        };
        let info = match era {
            Era::Legacy => read(result, "serverInfo"),
            Era::Modern => read(result, "_meta").and_then(|mut own| own.get_mut(meta::SERVER_INFO).map(Value::take)),
        };
        let bounded = |text: &str| self.secrets.clean(text, NAME_MAX);
        found.server = info.filter(Value::is_object).map(|info| {
            let text = |name: &str| info.get(name).and_then(Value::as_str).map(bounded);
            ServerInfo { name: text("name"), title: text("title"), version: text("version") }
        });
        if let Some(Value::Object(declared)) = read(result, "capabilities") {
            let features = |declared: &Value| {
                let features = declared.as_object().into_iter().flatten().filter(|(_, value)| is_declared(value));
                features.map(|(name, _)| bounded(name)).take(FEATURES_MAX).collect()
            };
            let has = declared.iter().filter(|(_, value)| is_declared(value));
            let read = has.map(|(name, value)| Capability { name: bounded(name), features: features(value) });
            found.capabilities = read.take(CAPABILITIES_MAX).collect();
        }
    }

    /// Whether a modern server speaks the older revisions too: a process of its own is asked, since the question may fix the era
    /// of the one that it is put to.
    async fn ask_for_legacy(&self, found: &mut Found) {
        let child = self.start(EraSource::of(Era::Legacy), 2);
        let patience = found.answered_after.saturating_add(self.config.child.probe_timeout);
        tokio::select! {
            biased;
            () = self.stop.soon.cancelled() => {}
            stands = timeout(patience, stands(&child)) => {
                found.legacy = stands.unwrap_or(false);
                if found.legacy {
                    found.revisions.extend(revision(&child, Instant::now() + REPORT_TIMEOUT).await);
                }
            }
        }
        self.end(&child).await;
    }

    fn refusal(&self, method: &str, code: Option<i64>, message: &str) -> String {
        let code = code.map_or_else(|| "without a code".to_owned(), |code| code.to_string());
        self.secrets.clean(&format!("it answered {method} with the error {code}: {message}"), SENTENCE_MAX)
    }

    /// Why the child is gone.
    async fn failure(&self, child: &ChildHandle) -> Failure {
        let Some(report) = last_report(child, Instant::now() + REPORT_TIMEOUT).await else {
            return self.failed("it is gone", None, &[]);
        };
        match (report.failure, report.last_exit) {
            (Some(FailureReport { what, stderr, advice }), _) => {
                self.failed(&format!("it {what}"), Some(advice).filter(|advice| !advice.is_empty()), &stderr)
            }
            (None, Some(exit)) => {
                self.failed(&format!("it exited while it was asked ({})", exit.status), None, &exit.stderr)
            }
            (None, None) => {
                let stderr = report.process.map(|process| process.stderr).unwrap_or_default();
                self.failed("it cannot be spoken to any more", None, &stderr)
            }
        }
    }

    /// The same where the child is there and the reason is known.
    async fn failure_of(&self, child: &ChildHandle, reason: &str) -> Failure {
        let report = report(child, Instant::now() + REPORT_TIMEOUT).await;
        let stderr = report.and_then(|report| report.process).map(|process| process.stderr);
        self.failed(reason, None, &stderr.unwrap_or_default())
    }

    fn failed(&self, reason: &str, advice: Option<String>, stderr: &[String]) -> Failure {
        let stderr = stderr.iter().map(|line| self.secrets.clean(line, LINE_MAX)).collect();
        Failure { reason: self.secrets.clean(reason, SENTENCE_MAX), advice, stderr }
    }
}

/// Present means declared, but for those who write what they have not.
fn is_declared(value: &Value) -> bool {
    !matches!(value, Value::Null | Value::Bool(false))
}

fn late(method: &str) -> String {
    format!("it did not answer {method} in time (--start-timeout)")
}

/// Whether the handshake stands, as soon as that is known.
async fn stands(child: &ChildHandle) -> bool {
    let mut states = child.state();
    // The process that was asked for its era may be replaced once.
    let settled = |state: &ChildState| matches!(state, ChildState::Ready | ChildState::Failed(_) | ChildState::Stopped);
    states.wait_for(settled).await.is_ok_and(|state| *state == ChildState::Ready)
}

/// Resolves when the child that was ready is so no more.
async fn exits(child: &ChildHandle) {
    let mut states = child.state();
    // An error means that the actor is gone.
    let _ = states.wait_for(|state| *state != ChildState::Ready).await;
}

async fn report(child: &ChildHandle, until: Instant) -> Option<crate::child::Report> {
    let report = timeout_at(until, child.report()?).await;
    if report.is_err() {
        debug!("the child has too much to do to say how it is");
    }
    report.ok()?.ok()
}

/// The same once it says why it is gone, or as it is if it does not say that soon.
async fn last_report(child: &ChildHandle, until: Instant) -> Option<crate::child::Report> {
    let mut states = child.state();
    loop {
        states.borrow_and_update();
        let report = report(child, until).await?;
        let is_last = report.failure.is_some() || report.last_exit.is_some();
        // What it wrote last is still being read; then its state is another one.
        if is_last || timeout_at(until, states.changed()).await.is_err() {
            return Some(report);
        }
    }
}

/// The revision that was agreed on.
async fn revision(child: &ChildHandle, until: Instant) -> Option<&'static str> {
    let revision = report(child, until).await.and_then(|report| report.revision);
    revision.or_else(|| (child.era() == Era::Modern).then_some(MODERN_REVISION))
}

/// Beyond what a child has to start.
const START_MARGIN: Duration = Duration::from_secs(2);
/// What there is for the lists at least.
const LISTS_TIMEOUT_MIN: Duration = Duration::from_secs(5);
/// A child says how it is at once.
const REPORT_TIMEOUT: Duration = Duration::from_secs(2);
/// The most pages of a list.
const PAGES_MAX: usize = 100;
const CURSOR_BYTES_MAX: usize = 64 * 1024;
const CAPABILITIES_MAX: usize = 32;
const FEATURES_MAX: usize = 32;
