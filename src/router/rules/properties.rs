//! Random requests under random rules, random lists in answer to them, in both eras on both sides.

use std::collections::BTreeMap;

use proptest::prelude::*;
use serde_json::Value;
use serde_json::value::RawValue;

use super::super::cache::ResponseCache;
use super::super::world::{ASKABLE, Seen, World, config, json_of};
use super::super::*;
use super::*;
use crate::config::principals::NamesConfig;
use crate::mcp::Revision;

/// A name as a message has it.
#[derive(Clone, Debug)]
struct Spelled {
    name: String,
    how: How,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum How {
    Plain,
    Escaped,
    /// In a member whose own name has escapes.
    Elsewhere,
    Twice,
    OtherCase,
    NoText,
}

impl Spelled {
    /// As a member of that name.
    fn member(&self, member: &str) -> String {
        let escape = |text: &str| text.chars().map(|char| format!("\\u{:04x}", u32::from(char))).collect::<String>();
        let name = &self.name;
        match self.how {
            How::Plain => format!(r#""{member}":"{name}""#),
            How::Escaped => format!(r#""{member}" : "{}""#, escape(name)),
            How::Elsewhere => format!(r#""{}":"{name}""#, escape(member)),
            How::Twice => format!(r#""{member}":"{name}","{member}":"{name}""#),
            How::OtherCase => format!(r#""{}":"{name}""#, member.to_uppercase()),
            How::NoText => format!(r#""{member}":["{name}"]"#),
        }
    }

    /// Whether there is one thing that it says.
    fn is_readable(&self) -> bool {
        matches!(self.how, How::Plain | How::Escaped | How::Elsewhere)
    }
}

#[derive(Clone, Debug)]
enum Op {
    /// A message that names something.
    Names { session: usize, method: usize, name: Spelled, with_id: bool },
    /// A list, and what the child answers with: entries, what stands around them, and whether it may be kept.
    Lists { session: usize, method: usize, entries: Vec<Spelled>, space: String, public: bool },
    /// The child says that a resource has changed.
    Updates { name: String },
}

const NAMING: [&str; 7] = [
    method::TOOLS_CALL,
    method::PROMPTS_GET,
    method::RESOURCES_READ,
    method::SUBSCRIBE,
    method::UNSUBSCRIBE,
    method::COMPLETE,
    method::LISTEN,
];
const LISTING: [(&str, &str, &str, What); 4] = [
    (method::TOOLS_LIST, "tools", "name", What::Tool),
    (method::PROMPTS_LIST, "prompts", "name", What::Prompt),
    (method::RESOURCES_LIST, "resources", "uri", What::Resource),
    (method::RESOURCE_TEMPLATES_LIST, "resourceTemplates", "uriTemplate", What::Resource),
];

fn name() -> impl Strategy<Value = String> {
    "[ab/]{0,3}"
}

fn spelled() -> impl Strategy<Value = Spelled> {
    let how = prop_oneof![
        6 => Just(How::Plain),
        2 => Just(How::Escaped),
        1 => Just(How::Elsewhere),
        1 => Just(How::Twice),
        1 => Just(How::OtherCase),
        1 => Just(How::NoText),
    ];
    (name(), how).prop_map(|(name, how)| Spelled { name, how })
}

fn rules() -> impl Strategy<Value = Rules> {
    let patterns = || prop::collection::vec("[ab/*]{0,3}", 0..4);
    let permission = (prop::option::of(patterns()), patterns()).prop_map(|(allow, deny)| NamesConfig { allow, deny });
    let permissions = prop::collection::vec(permission, 0..2);
    prop::array::uniform3(permissions).prop_map(|[tools, resources, prompts]| Rules::new(tools, resources, prompts))
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        4 => (0..2usize, 0..NAMING.len(), spelled(), prop::bool::weighted(0.8))
            .prop_map(|(session, method, name, with_id)| Op::Names { session, method, name, with_id }),
        4 => (0..2usize, 0..LISTING.len(), prop::collection::vec(spelled(), 0..6), " {0,2}", any::<bool>())
            .prop_map(|(session, method, entries, space, public)| Op::Lists { session, method, entries, space, public }),
        1 => name().prop_map(|name| Op::Updates { name }),
    ]
}

struct Run {
    world: World,
    rules: [Rules; 2],
    last_id: u64,
    /// What each accepted request was settled with so far.
    settled: BTreeMap<(usize, u64), usize>,
    /// The entries of all lists that the child has given, by method.
    given: BTreeMap<&'static str, Vec<Vec<Spelled>>>,
}

impl Run {
    /// A legacy session and a modern exchange.
    fn new(child: Era, rules: [Rules; 2]) -> Self {
        let mut world = if child == Era::Legacy { World::ready() } else { World::modern() };
        let router = std::mem::replace(&mut world.router, Router::new(config(), Sharing::Shared, child));
        world.router = router.with_cache(ResponseCache::new(100_000));
        for (at, rules) in rules.iter().enumerate() {
            let (revision, era) = if at == 0 { (Some(Revision::LATEST), Era::Legacy) } else { (None, Era::Modern) };
            let profile = Profile { revision, era, capabilities: ASKABLE, rules: rules.clone(), ..Profile::default() };
            world.router.attach(SessionKey(at as u64), profile, world.now);
        }
        world.drain();
        world.child.clear();
        Self { world, rules, last_id: 0, settled: BTreeMap::new(), given: BTreeMap::new() }
    }

    fn send(&mut self, session: usize, with_id: bool, method: &str, params: &str) -> (u64, Result<(), Reject>) {
        self.last_id += 1;
        let id = self.last_id;
        let spelled = if with_id { format!(r#""id":{id},"#) } else { String::new() };
        let text = format!(r#"{{"jsonrpc":"2.0",{spelled}"method":"{method}","params":{{{params}}}}}"#);
        let Ok(message) = Message::parse(text.clone().into(), 100) else {
            return (id, Err(Reject::NotAllowed(Named::Resource)));
        };
        let from = Origin::client(SessionKey(session as u64), StreamId(id));
        let outcome = self.world.router.handle_session_message(from, message, 0, self.world.now);
        self.world.drain();
        if with_id && outcome.is_ok() {
            self.settled.insert((session, id), 0);
        }
        (id, outcome)
    }

    fn names(&mut self, session: usize, method: &'static str, name: &Spelled, with_id: bool) {
        let (what, params) = match method {
            method::TOOLS_CALL => (What::Tool, name.member("name")),
            method::PROMPTS_GET => (What::Prompt, name.member("name")),
            method::COMPLETE => (What::Prompt, format!(r#""ref":{{"type":"ref/prompt",{}}}"#, name.member("name"))),
            method::LISTEN => {
                let uri = Spelled { how: How::Plain, ..name.clone() }.member("");
                let uri = uri.strip_prefix(r#""":"#).unwrap_or_default();
                (What::Resource, format!(r#""notifications":{{"resourceSubscriptions":["{}",{uri}]}}"#, name.name))
            }
            _ => (What::Resource, name.member("uri")),
        };
        let readable = method == method::LISTEN || name.is_readable();
        let rules = self.rules[session].clone();
        let admitted = rules.is_everything() || readable && rules.admits(what, &name.name);
        let (_, outcome) = self.send(session, with_id, method, &params);
        let is_refused = outcome.is_err_and(|reject| reject.wire().kind == "not-allowed");
        // A legacy client has no such method, which a modern child is not asked for either.
        let has_method = method != method::LISTEN || session == 1 || !self.world.router.is_modern();
        assert!(!is_refused || !admitted || !readable, "{method} {params} {rules:?}");
        assert!(is_refused || admitted || !with_id || !has_method, "{method} {params} {rules:?}");
        for line in self.world.child_read() {
            assert!(admitted || self.is_of_wishes(&line), "{line} reached the child");
            self.answer(&line, &|_| r#"{"x":1}"#.to_owned());
        }
        self.observe();
    }

    /// mcp-mux's own subscription to a modern child, for the legacy session: of nothing that it may not see.
    fn is_of_wishes(&self, line: &str) -> bool {
        let line = json_of(line);
        let uris = line["params"]["notifications"]["resourceSubscriptions"].as_array().cloned().unwrap_or_default();
        let is_own = line["method"] == method::LISTEN || line["method"] == method::CANCELLED;
        is_own && uris.iter().all(|uri| self.rules[0].admits(What::Resource, uri.as_str().unwrap()))
    }

    /// The child answers a request; to a `subscriptions/listen` it says that it has taken it.
    fn answer(&mut self, line: &str, result: &dyn Fn(&Value) -> String) {
        let request = json_of(line);
        let Some(id) = request["id"].as_u64() else { return };
        if request["method"] == method::LISTEN {
            let mut params = request["params"].clone();
            params["_meta"] = serde_json::json!({"io.modelcontextprotocol/subscriptionId": id});
            let taken = serde_json::json!({"jsonrpc": "2.0", "method": method::ACKNOWLEDGED, "params": params});
            self.world.child_says(&taken.to_string());
        } else {
            self.world.child_answers(id, &result(&request));
        }
    }

    fn lists(&mut self, session: usize, at: usize, entries: Vec<Spelled>, space: &str, public: bool) {
        let (method, member, name, what) = LISTING[at];
        let (id, outcome) = self.send(session, true, method, "");
        outcome.unwrap();
        let number = |(at, entry): (usize, &Spelled)| format!(r#"{{"at":{at}.0,{}}}"#, entry.member(name));
        let texts = |entries: &[Spelled]| entries.iter().enumerate().map(number).collect::<Vec<_>>();
        let hints = if public { r#","ttlMs":1000,"cacheScope":"public""# } else { "" };
        let list = texts(&entries).join(&format!("{space},{space}"));
        let result = format!(r#"{{"x":[1.0],"{member}"{space}:[{space}{list}{space}],"nextCursor":"c"{hints}}}"#);
        let lines = self.world.child_read();
        if !lines.is_empty() {
            self.given.entry(method).or_default().push(entries);
        }
        lines.iter().for_each(|line| self.answer(line, &|_| result.clone()));
        let rules = &self.rules[session];
        let own = self.world.seen.iter().find(|(to, stream, _)| to.0 == session as u64 && stream.0 == id);
        let Some((_, _, Seen::Response(seen))) = own else { panic!("no list but {own:?}") };
        let raw: BTreeMap<&str, &RawValue> = serde_json::from_str(seen).unwrap();
        let raw: BTreeMap<&str, &RawValue> = serde_json::from_str(raw["result"].get()).unwrap();
        assert_eq!((raw["x"].get(), raw["nextCursor"].get()), ("[1.0]", r#""c""#));
        let delivered: Vec<&RawValue> = serde_json::from_str(raw[member].get()).unwrap();
        let delivered: Vec<&str> = delivered.into_iter().map(RawValue::get).collect();
        let admits = |entry: &Spelled| rules.is_everything() || entry.is_readable() && rules.admits(what, &entry.name);
        let expected = |given: &Vec<Spelled>| -> Vec<String> {
            let admitted = texts(given).into_iter().zip(given).filter(|(_, entry)| admits(entry));
            admitted.map(|(text, _)| text).collect()
        };
        // What was kept may be what is served.
        assert!(self.given[method].iter().any(|given| expected(given) == delivered), "{seen} {rules:?}");
        self.observe();
    }

    fn updates(&mut self, name: &str) {
        let method = method::RESOURCE_UPDATED;
        self.world.child_says(&format!(r#"{{"jsonrpc":"2.0","method":"{method}","params":{{"uri":"{name}"}}}}"#));
        for (session, _, seen) in &self.world.seen {
            let rules = &self.rules[usize::try_from(session.0).unwrap()];
            assert!(!matches!(seen, Seen::Message(_)) || rules.admits(What::Resource, name), "{seen:?} {rules:?}");
        }
        self.observe();
    }

    /// Counts what settles requests.
    fn observe(&mut self) {
        for (session, stream, seen) in self.world.seen.drain(..) {
            if !matches!(seen, Seen::Message(_)) {
                *self.settled.get_mut(&(usize::try_from(session.0).unwrap(), stream.0)).expect("was accepted") += 1;
            }
        }
    }
}

fn run(child: Era, rules: [Rules; 2], ops: Vec<Op>) {
    let mut run = Run::new(child, rules);
    for op in ops {
        match op {
            Op::Names { session, method, name, with_id } => run.names(session, NAMING[method], &name, with_id),
            Op::Lists { session, method, entries, space, public } => {
                run.lists(session, method, entries, &space, public);
            }
            Op::Updates { name } => run.updates(&name),
        }
    }
    for session in [SessionKey(0), SessionKey(1)] {
        run.world.detach(session);
    }
    run.observe();
    assert!(run.settled.values().all(|times| *times == 1), "{:?}", run.settled);
}

proptest! {
    #[test]
    fn nothing_denied_reaches_a_legacy_child_or_is_listed(
        rules in prop::array::uniform2(rules()),
        ops in prop::collection::vec(op(), 0..30),
    ) {
        run(Era::Legacy, rules, ops);
    }

    #[test]
    fn nothing_denied_reaches_a_modern_child_or_is_listed(
        rules in prop::array::uniform2(rules()),
        ops in prop::collection::vec(op(), 0..30),
    ) {
        run(Era::Modern, rules, ops);
    }
}
