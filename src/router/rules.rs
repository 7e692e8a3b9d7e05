//! What a session's client may not use, kept from it: requests that name it are refused before the child knows of them, lists
//! come without it.
//!
//! Names are compared decoded, as the child will read them. Where a name cannot be told (it is missing, there twice, no
//! text) a request is refused and an entry of a list left out: what one parser overlooks, another may take.
//!
//! Invariant: where everything is admitted, as for most sessions, nothing is looked at.
//!
//! Spec: 2025-11-25 and 2026-07-28, Tools, Prompts, Resources, Completion, Pagination; 2026-07-28, Subscriptions.

#[cfg(test)]
mod properties;
#[cfg(test)]
mod scenarios;

use std::borrow::Cow;

use super::Router;
use super::id_table::ChildId;
use super::io::{Profile, Sender, SessionKey};
use crate::auth::{Rules, Subject, What};
use crate::error::{Named, Reject};
use crate::jsonrpc::{Frame, Message, Span, decode_str};
use crate::mcp::ids::Param;
use crate::mcp::{Era, method};

/// Checks that a client of that era may send this message under these rules.
///
/// # Errors
/// [`Reject::NotAllowed`] if it names something that is not admitted; [`Reject::InvalidParams`] if it asks for a list in a way
/// that would get round them.
pub fn permit(rules: &Rules, era: Era, message: &Message) -> Result<(), Reject> {
    if rules.is_everything() {
        return Ok(());
    }
    let Some(names) = Names::of(message.method()) else { return Ok(()) };
    let Some(params) = message.params() else {
        return names.refusal(era).map_or(Ok(()), |named| Err(Reject::NotAllowed(named)));
    };
    let admits = |what, object, member| {
        let name = message.member(object, member).ok().flatten().and_then(|span| decode_str(message.text(span)));
        name.is_some_and(|name| rules.admits(what, &name))
    };
    let names_what_is_admitted = || match names {
        Names::Tool => admits(What::Tool, params, "name"),
        Names::Prompt => admits(What::Prompt, params, "name"),
        Names::Resource => admits(What::Resource, params, Param::Uri.name()),
        Names::Reference => {
            let reference = message.member(params, "ref").ok().flatten();
            reference.is_some_and(|reference| refers(rules, message, reference))
        }
        Names::Subscriptions => listens(rules, message, params).is_some_and(|admitted| admitted),
        // The answer would be that of `tasks/result`, which is passed on as it is.
        Names::Entries(_) => message.member(params, Param::Task.name()) == Ok(None),
    };
    if !is_cut_short(message, params) && names_what_is_admitted() {
        return Ok(());
    }
    Err(names.refusal(era).map_or_else(
        || Reject::InvalidParams("task: a list cannot be asked for as a task".to_owned()),
        Reject::NotAllowed,
    ))
}

/// What a request names that it is to use: whatever comes of it belongs to that.
pub fn subject(message: &Message) -> Subject {
    let (what, member) = match Names::of(message.method()) {
        Some(Names::Tool) => (What::Tool, "name"),
        Some(Names::Prompt) => (What::Prompt, "name"),
        Some(Names::Resource) => (What::Resource, Param::Uri.name()),
        Some(Names::Reference | Names::Subscriptions | Names::Entries(_)) | None => return Subject::Free,
    };
    let name = message.params().and_then(|params| message.member(params, member).ok().flatten());
    let name = name.and_then(|span| decode_str(message.text(span)));
    name.map_or(Subject::Unclear, |name| Subject::Named(what, name.into()))
}

/// Whether what a completion is for is admitted: by its type, and by whatever else it may be taken for.
fn refers(rules: &Rules, message: &Message, reference: Span) -> bool {
    let Ok([kind, prompt, uri]) = message.named(reference, ["type", "name", "uri"]) else { return false };
    if is_cut_short(message, reference) {
        return false;
    }
    let text = |span: Span| decode_str(message.text(span));
    let admits = |what, span: Option<Span>| span.map(|span| text(span).is_some_and(|name| rules.admits(what, &name)));
    let (prompt, resource) = (admits(What::Prompt, prompt), admits(What::Resource, uri));
    match kind.and_then(text).as_deref() {
        Some("ref/prompt") => prompt == Some(true) && resource != Some(false),
        Some("ref/resource") => resource == Some(true) && prompt != Some(false),
        Some(_) | None => false,
    }
}

/// Whether all resources that are listened for are admitted; none if that cannot be told.
fn listens(rules: &Rules, message: &Message, params: Span) -> Option<bool> {
    let Some(filter) = message.member(params, "notifications").ok()? else { return Some(true) };
    if !message.text(filter).starts_with('{') || is_cut_short(message, filter) {
        return None;
    }
    let Some(uris) = message.member(filter, "resourceSubscriptions").ok()? else { return Some(true) };
    if !message.text(uris).starts_with('[') {
        return None;
    }
    let admits = |uri| decode_str(message.text(uri)).is_some_and(|uri| rules.admits(What::Resource, &uri));
    Some(message.elements(uris).all(admits))
}

/// Whether a member's name has a NUL in it. To some servers it ends there, and so may be that of another member.
fn is_cut_short(message: &Message, object: Span) -> bool {
    message.members(object).into_iter().any(|member| message.text(member.name).contains(r"\u0000"))
}

/// What a method names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Names {
    Tool,
    Prompt,
    Resource,
    /// What a completion is for.
    Reference,
    /// Resources that are listened for.
    Subscriptions,
    /// Nothing; its answer does.
    Entries(List),
}

/// A list that a child gives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum List {
    Tools,
    Prompts,
    Resources,
    Templates,
}

/// The methods with names in them, or in their answers.
const METHODS: [(&str, Names); 11] = [
    (method::TOOLS_CALL, Names::Tool),
    (method::PROMPTS_GET, Names::Prompt),
    (method::RESOURCES_READ, Names::Resource),
    (method::SUBSCRIBE, Names::Resource),
    (method::UNSUBSCRIBE, Names::Resource),
    (method::COMPLETE, Names::Reference),
    (method::LISTEN, Names::Subscriptions),
    (method::TOOLS_LIST, Names::Entries(List::Tools)),
    (method::PROMPTS_LIST, Names::Entries(List::Prompts)),
    (method::RESOURCES_LIST, Names::Entries(List::Resources)),
    (method::RESOURCE_TEMPLATES_LIST, Names::Entries(List::Templates)),
];

impl Names {
    /// Another spelling of a method in upper or lower case is taken for it too: a server may.
    fn of(method: &str) -> Option<Self> {
        METHODS.iter().find(|(known, _)| method.eq_ignore_ascii_case(known)).map(|(_, names)| *names)
    }

    /// What is refused where it is not admitted.
    const fn refusal(self, era: Era) -> Option<Named> {
        Some(match (self, era) {
            (Self::Tool, _) => Named::Tool,
            (Self::Prompt, _) => Named::Prompt,
            (Self::Resource, Era::Legacy) => Named::LegacyResource,
            (Self::Resource, Era::Modern) | (Self::Subscriptions | Self::Reference, _) => Named::Resource,
            (Self::Entries(_), _) => return None,
        })
    }
}

impl List {
    /// The member of the result that it is.
    const fn member(self) -> &'static str {
        match self {
            Self::Tools => "tools",
            Self::Prompts => "prompts",
            Self::Resources => "resources",
            Self::Templates => "resourceTemplates",
        }
    }

    /// The member of an entry that names it, and what that is the name of.
    const fn name(self) -> (What, &'static str) {
        match self {
            Self::Tools => (What::Tool, "name"),
            Self::Prompts => (What::Prompt, "name"),
            Self::Resources => (What::Resource, "uri"),
            Self::Templates => (What::Resource, "uriTemplate"),
        }
    }
}

/// Lets through of a list what its client may see.
#[derive(Clone, Debug)]
pub(super) struct Sieve {
    rules: Rules,
    list: List,
}

impl Sieve {
    /// For the answer to a request; none if it is passed on as it is.
    fn of(profile: &Profile, sender: Sender, request: &Message) -> Option<Self> {
        if profile.rules.is_everything() || sender == Sender::Ourselves {
            return None;
        }
        match Names::of(request.method())? {
            Names::Entries(list) => Some(Self { rules: profile.rules.clone(), list }),
            Names::Tool | Names::Prompt | Names::Resource | Names::Reference | Names::Subscriptions => None,
        }
    }

    fn admits(&self, message: &Message, entry: Span) -> bool {
        let (what, member) = self.list.name();
        let name = message.member(entry, member).ok().flatten().and_then(|span| decode_str(message.text(span)));
        name.is_some_and(|name| self.rules.admits(what, &name))
    }

    /// The answer without what is not admitted; what is left is as it was spelled, and so is everything around it.
    ///
    /// # Errors
    /// It is no list: why.
    fn sift<'a>(&self, answer: &'a Message) -> Result<Cow<'a, Message>, String> {
        let Some(result) = answer.result() else { return Ok(Cow::Borrowed(answer)) };
        let member = self.list.member();
        let list = answer.member(result, member).map_err(|_| format!("`{member}` is not unique"))?;
        let list = list.filter(|list| answer.text(*list).starts_with('['));
        let list = list.ok_or_else(|| format!("`{member}` is not an array"))?;
        let (mut kept, mut is_whole, mut is_empty) = (String::new(), true, true);
        // What stands before the first entry, and after the last that was seen.
        let (mut lead, mut from) = (None, list.start + 1);
        for entry in answer.elements(list) {
            let between = answer.text(Span { start: from, end: entry.start });
            let lead = *lead.get_or_insert(between);
            from = entry.end;
            if self.admits(answer, entry) {
                kept.push_str(if std::mem::take(&mut is_empty) { lead } else { between });
                kept.push_str(answer.text(entry));
            } else {
                is_whole = false;
            }
        }
        if is_whole {
            return Ok(Cow::Borrowed(answer));
        }
        let inside = Span { start: list.start + 1, end: from };
        let sifted = Frame::new(answer.bytes().clone()).replace(inside, kept).into_bytes();
        Message::parse(sifted, usize::MAX).map(Cow::Owned).map_err(|error| error.to_string())
    }
}

impl Router {
    /// Whether a request may be made, and what its answer has to go through.
    ///
    /// # Errors
    /// As [`permit`].
    pub(super) fn judge(profile: &Profile, sender: Sender, request: &Message) -> Result<Option<Sieve>, Reject> {
        if sender == Sender::Client {
            permit(&profile.rules, profile.era, request)?;
        }
        Ok(Sieve::of(profile, sender, request))
    }

    /// A child's answer as the client may have it. None if it cannot be told what that is: then the request is settled.
    pub(super) fn sifted<'a>(&mut self, id: ChildId, answer: &'a Message) -> Option<Cow<'a, Message>> {
        let Some(sieve) = self.requests.get(id).and_then(|request| request.sieve.as_ref()) else {
            return Some(Cow::Borrowed(answer));
        };
        match sieve.sift(answer) {
            Ok(sifted) => Some(sifted),
            Err(what) => {
                self.reject(id, Reject::ChildAnswerUnusable(what));
                None
            }
        }
    }

    /// Whether a session may be told what the child says of a resource: that of a folder to which it is subscribed may be about
    /// one that it may not know of.
    pub(super) fn may_be_told(&self, session: SessionKey, message: &Message) -> bool {
        if message.method() != method::RESOURCE_UPDATED {
            return true;
        }
        let admits =
            |uri: &str| self.sessions.get(&session).is_some_and(|profile| profile.rules.admits(What::Resource, uri));
        message.param_str(Param::Uri).is_some_and(|uri| admits(&uri))
    }
}
