//! A modern child that refuses what mcp-mux listens for, or does not answer (2026-07-28, Subscriptions).

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use proptest::prelude::*;

use super::listening::{BOTH, LISTS, SUBSCRIBE, acknowledges, event, listened, listening};
use super::*;

fn subscribes(world: &mut World, session: SessionKey, id: u64, uri: &str) {
    let text = SUBSCRIBE.replace("\"id\":1", &format!("\"id\":{id}")).replace("x:/1", uri);
    world.says(session, id, &text).unwrap();
}

/// The child refuses a `subscriptions/listen` for what it names.
fn refuses(world: &mut World, id: u64, named: &str) {
    world.child_says(&format!(
        r#"{{"jsonrpc":"2.0","id":{id},"error":{{"code":-32602,"message":"Resource not found: {named}"}}}}"#
    ));
}

fn refused(id: u64, named: &str) -> Seen {
    let error = format!(r#"{{"code":-32602,"message":"Resource not found: {named}"}}"#);
    Seen::Response(format!(r#"{{"jsonrpc":"2.0","id":{id},"error":{error}}}"#))
}

/// The `subscriptions/listen` that the child has read last, its id and the resources in it; it agrees to that.
fn agrees(world: &mut World) -> (u64, Value) {
    let (id, filter) = listened(world);
    acknowledges(world, id, &filter.to_string());
    (id, filter)
}

/// The requests that the child was told to cancel since.
fn cancelled(world: &mut World) -> Vec<u64> {
    let read = world.child_read().into_iter().map(|line| json_of(&line));
    let cancelled = read.filter(|json| json["method"] == "notifications/cancelled");
    cancelled.filter_map(|json| json["params"]["requestId"].as_u64()).collect()
}

#[test]
fn a_refusal_is_told_to_those_who_asked_for_that_resource_and_nobody_else() {
    let (mut world, c, first) = listening();
    let d = world.attach(2, NONE);
    subscribes(&mut world, d, 1, "x:/0");
    subscribes(&mut world, c, 2, "x:/ok");
    subscribes(&mut world, d, 3, "x:/bad");
    agrees(&mut world);
    assert_eq!(world.seen_by(d), [response("1", "{}")]);
    let (whole, filter) = listened(&mut world);
    assert_eq!(filter["resourceSubscriptions"], json!(["x:/0", "x:/bad", "x:/ok"]));
    refuses(&mut world, whole, "x:/bad");
    assert!(world.seen.is_empty());
    let (bad, filter) = listened(&mut world);
    assert_eq!(filter, json!({"resourceSubscriptions": ["x:/bad"]}));
    refuses(&mut world, bad, "x:/bad");
    assert_eq!((world.seen_by(d), world.seen.len()), (vec![refused(3, "x:/bad")], 0));
    let (good, filter) = agrees(&mut world);
    assert_eq!(filter, json!({"resourceSubscriptions": ["x:/ok"]}));
    assert_eq!((world.seen_by(c), world.seen.len()), (vec![response("2", "{}")], 0));
    let (merged, filter) = agrees(&mut world);
    assert_eq!(filter["resourceSubscriptions"], json!(["x:/0", "x:/ok"]));
    let over = cancelled(&mut world);
    assert!(over.len() == 2 && over.contains(&good) && !over.contains(&first) && !over.contains(&merged), "{over:?}");
    // Whoever asks for it again has it asked for again.
    subscribes(&mut world, c, 4, "x:/bad");
    agrees(&mut world);
    assert_eq!(world.seen_by(c), [response("4", "{}")]);
}

#[test]
fn a_resource_that_is_gone_after_a_restart_silences_nothing_else() {
    let (mut world, session, _) = listening();
    for (id, uri) in [(1, "x:/1"), (2, "x:/2"), (3, "x:/3")] {
        subscribes(&mut world, session, id, uri);
        agrees(&mut world);
    }
    world.exit();
    world.start();
    let (whole, _) = listened(&mut world);
    refuses(&mut world, whole, "x:/2");
    let (lists, filter) = agrees(&mut world);
    assert_eq!(filter, json_of(LISTS));
    world.seen.clear();
    world.child_says(&event("tools/list_changed", &lists.to_string(), ""));
    assert_eq!(world.seen_by(session).len(), 1);
    let (alone, _) = agrees(&mut world);
    world.child_says(&event("resources/updated", &alone.to_string(), r#","uri":"x:/1""#));
    assert_eq!(world.seen_by(session).len(), 1);
    let (gone, filter) = listened(&mut world);
    assert_eq!(filter, json!({"resourceSubscriptions": ["x:/2"]}));
    refuses(&mut world, gone, "x:/2");
    agrees(&mut world);
    let (merged, filter) = agrees(&mut world);
    assert_eq!(filter["resourceSubscriptions"], json!(["x:/1", "x:/3"]));
    world.child_says(&event("resources/updated", &merged.to_string(), r#","uri":"x:/3""#));
    assert_eq!(world.seen_by(session).len(), 1);
    assert_eq!(cancelled(&mut world).len(), 3);
    // It is wished again when somebody asks again, and only who asks is told.
    let other = world.attach(2, NONE);
    subscribes(&mut world, other, 1, "x:/2");
    let (whole, _) = listened(&mut world);
    refuses(&mut world, whole, "x:/2");
    let (alone, _) = listened(&mut world);
    refuses(&mut world, alone, "x:/2");
    assert_eq!((world.seen_by(other), world.seen.len()), (vec![refused(1, "x:/2")], 0));
    assert_eq!(world.child_read(), [""; 0], "what stands is what is wished");
}

#[test]
fn parts_that_the_child_takes_one_by_one_but_not_together_go_on_one_by_one() {
    let (mut world, session, _) = listening();
    subscribes(&mut world, session, 1, "x:/1");
    let (whole, _) = listened(&mut world);
    refuses(&mut world, whole, "too many");
    let (alone, _) = agrees(&mut world);
    assert_eq!(world.seen_by(session), [response("1", "{}")]);
    let (merged, _) = listened(&mut world);
    refuses(&mut world, merged, "too many");
    assert_eq!(world.child_read(), [""; 0]);
    world.child_says(&event("resources/updated", &alone.to_string(), r#","uri":"x:/1""#));
    assert_eq!(world.seen_by(session).len(), 1);
}

#[test]
fn a_child_that_never_acknowledges_is_not_waited_for() {
    for (timeout, waited) in [(None, 10), (Some(Duration::from_secs(2)), 2)] {
        let (mut world, session, _) = listening();
        world.router.config.request_timeout = timeout;
        subscribes(&mut world, session, 1, "x:/1");
        let (id, _) = listened(&mut world);
        assert!(!world.router.can_hand_over());
        assert_eq!(world.router.poll_timeout(), Some(world.now + Duration::from_secs(waited)));
        world.advance(Duration::from_secs(waited));
        assert_eq!(world.seen_by(session), [Seen::Rejected("1".to_owned(), "request-timeout")]);
        assert!(cancelled(&mut world).contains(&id));
        assert!(world.router.can_hand_over());
        acknowledges(&mut world, id, BOTH);
        subscribes(&mut world, session, 2, "x:/2");
        agrees(&mut world);
        assert_eq!(world.seen_by(session), [response("2", "{}")]);
    }
}

#[test]
fn a_subscription_to_what_stands_already_is_answered() {
    let (mut world, session, _) = listening();
    world.says(session, 1, SUBSCRIBE).unwrap();
    agrees(&mut world);
    world.says(session, 2, &SUBSCRIBE.replace("/sub", "/unsub")).unwrap();
    let (less, filter) = listened(&mut world);
    assert_eq!(filter, json_of(LISTS));
    let other = world.attach(2, NONE);
    subscribes(&mut world, other, 1, "x:/1");
    assert_eq!(world.seen_by(other), []);
    refuses(&mut world, less, "no");
    assert_eq!(world.seen_by(other), [response("1", "{}")]);
    assert_eq!(world.child_read(), [""; 0], "what stands is what is wished");
}

#[test]
fn what_the_child_did_not_agree_to_does_not_count_as_what_stands() {
    let (mut world, session, _) = listening();
    subscribes(&mut world, session, 1, "x:/1");
    let (id, _) = listened(&mut world);
    acknowledges(&mut world, id, LISTS);
    assert_eq!(world.seen_by(session), [Seen::Rejected("1".to_owned(), "invalid-params")]);
    subscribes(&mut world, session, 2, "x:/1");
    agrees(&mut world);
    assert_eq!(world.seen_by(session), [response("2", "{}")]);
}

#[test]
fn lists_that_the_child_refuses_are_asked_for_again_when_somebody_comes() {
    let mut world = World::modern();
    let session = world.attach(1, NONE);
    let (lists, _) = listened(&mut world);
    refuses(&mut world, lists, "lists");
    subscribes(&mut world, session, 1, "x:/1");
    let (_, filter) = agrees(&mut world);
    assert_eq!(filter, json!({"resourceSubscriptions": ["x:/1"]}));
    assert_eq!(world.seen_by(session), [response("1", "{}")]);
    world.attach(2, NONE);
    assert_eq!(listened(&mut world).1, json_of(BOTH.replace("true", r#"true,"resourcesListChanged":true"#).as_str()));
}

/// What happens around a child that refuses every subscription to a resource that it does not have.
#[derive(Clone, Debug)]
enum Op {
    Subscribe { session: u64, uri: u8, on: bool },
    Comes { session: u64 },
    Goes { session: u64 },
    ChildHears,
    Vanishes { uri: u8, away: bool },
    Restart,
    Advance { seconds: u64 },
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        6 => (1..4u64, 0..5u8, prop::bool::weighted(0.7)).prop_map(|(session, uri, on)| Op::Subscribe { session, uri, on }),
        2 => (1..4u64).prop_map(|session| Op::Comes { session }),
        1 => (1..4u64).prop_map(|session| Op::Goes { session }),
        5 => Just(Op::ChildHears),
        2 => (0..5u8, any::<bool>()).prop_map(|(uri, away)| Op::Vanishes { uri, away }),
        1 => Just(Op::Restart),
        1 => (0..12u64).prop_map(|seconds| Op::Advance { seconds }),
    ]
}

struct Strict {
    world: World,
    keys: BTreeMap<u64, SessionKey>,
    vanished: BTreeSet<String>,
    /// The child's subscriptions.
    subscribed: BTreeMap<u64, BTreeSet<String>>,
    /// Read, and not answered.
    pending: VecDeque<(u64, BTreeSet<String>)>,
    /// Requests to subscribe that wait: whose, under which id, to what.
    waiting: BTreeMap<(SessionKey, String), String>,
    /// What sessions were told that they are subscribed to, and have not given up.
    holds: BTreeSet<(SessionKey, String)>,
    used: u64,
}

impl Strict {
    fn observe(&mut self) {
        for line in self.world.child_read() {
            let json = json_of(&line);
            if json["method"] == "subscriptions/listen" {
                let uris = json["params"]["notifications"]["resourceSubscriptions"].as_array().cloned();
                let uris = uris.unwrap_or_default().iter().map(|uri| uri.as_str().unwrap().to_owned()).collect();
                self.pending.push_back((id_of(&line), uris));
            } else if json["method"] == "notifications/cancelled" {
                let id = json["params"]["requestId"].as_u64().unwrap();
                self.subscribed.remove(&id);
                self.pending.retain(|(pending, _)| *pending != id);
            }
        }
        assert!(self.pending.len() <= 1, "one at a time");
        for (session, _, seen) in self.world.seen.drain(..).collect::<Vec<_>>() {
            match seen {
                Seen::Response(text) => {
                    let json = json_of(&text);
                    let Some(uri) = self.waiting.remove(&(session, json["id"].to_string())) else { continue };
                    if json["error"].is_null() {
                        self.holds.insert((session, uri));
                    } else {
                        let named = format!("Resource not found: {uri}");
                        assert_eq!(json["error"]["message"], named, "another's refusal");
                    }
                }
                Seen::Rejected(id, _) => drop(self.waiting.remove(&(session, id))),
                Seen::Message(_) | Seen::Initialized(_) | Seen::Cancelled => {}
            }
        }
    }

    fn child_hears(&mut self) {
        let Some((id, uris)) = self.pending.pop_front() else { return };
        match uris.iter().find(|uri| self.vanished.contains(*uri)) {
            Some(uri) => {
                if uris.len() == 1 {
                    // Who had it has lost it.
                    self.holds.retain(|(_, held)| held != uri);
                }
                refuses(&mut self.world, id, uri);
            }
            None => {
                self.subscribed.insert(id, uris.clone());
                let filter = json!({"toolsListChanged": true, "resourceSubscriptions": uris});
                acknowledges(&mut self.world, id, &filter.to_string());
            }
        }
        self.observe();
    }

    fn step(&mut self, op: &Op) {
        match *op {
            Op::Subscribe { session, uri, on } => {
                let Some(key) = self.keys.get(&session).copied() else { return };
                self.used += 1;
                let uri = format!("x:/{uri}");
                let method = if on { "subscribe" } else { "unsubscribe" };
                if on {
                    self.waiting.insert((key, self.used.to_string()), uri.clone());
                } else {
                    self.holds.remove(&(key, uri.clone()));
                    self.waiting.retain(|(of, _), waits| (*of, &*waits) != (key, &uri));
                }
                let id = self.used;
                let text = format!(
                    r#"{{"jsonrpc":"2.0","id":{id},"method":"resources/{method}","params":{{"uri":"{uri}"}}}}"#
                );
                let _ = self.world.says(key, id, &text);
            }
            Op::Comes { session } => {
                if !self.keys.contains_key(&session) {
                    self.used += 1;
                    self.keys.insert(session, self.world.attach(self.used, NONE));
                }
            }
            Op::Goes { session } => {
                let Some(key) = self.keys.remove(&session) else { return };
                self.world.detach(key);
                self.holds.retain(|(of, _)| *of != key);
                self.waiting.retain(|(of, _), _| *of != key);
            }
            Op::ChildHears => self.child_hears(),
            Op::Vanishes { uri, away } => {
                let uri = format!("x:/{uri}");
                if away {
                    self.vanished.insert(uri);
                } else {
                    self.vanished.remove(&uri);
                }
            }
            Op::Restart => {
                self.world.exit();
                self.observe();
                (self.subscribed, self.pending) = Default::default();
                self.world.start();
            }
            Op::Advance { seconds } => self.world.advance(Duration::from_secs(seconds)),
        }
        self.observe();
    }
}

proptest! {
    #[test]
    fn nobody_waits_for_ever_is_told_of_anothers_refusal_or_misses_what_the_child_would_tell(
        ops in prop::collection::vec(op(), 0..80)
    ) {
        let mut strict = Strict {
            world: World::modern(),
            keys: BTreeMap::new(),
            vanished: BTreeSet::new(),
            subscribed: BTreeMap::new(),
            pending: VecDeque::new(),
            waiting: BTreeMap::new(),
            holds: BTreeSet::new(),
            used: 0,
        };
        for op in &ops {
            strict.step(op);
        }
        // With as many parts as there can be, refused twice.
        for _ in 0..20 {
            strict.child_hears();
        }
        prop_assert!(strict.pending.is_empty(), "it asks without end");
        prop_assert_eq!(&strict.waiting, &BTreeMap::new());
        // A new wish is the next occasion to ask for what the child did not answer.
        strict.world.attach(1000, NONE);
        strict.observe();
        for _ in 0..20 {
            strict.child_hears();
        }
        let told: BTreeSet<&String> = strict.subscribed.values().flatten().collect();
        for (_, uri) in strict.holds.iter().filter(|(_, uri)| !strict.vanished.contains(uri)) {
            prop_assert!(told.contains(uri), "{} is held and not listened for", uri);
        }
    }
}
