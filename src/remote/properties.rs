//! Whatever a client says and a server answers, in whatever order: the core's invariants, on random lists of operations.

mod recovery;

use std::collections::{BTreeMap, BTreeSet};
use std::num::NonZeroUsize;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderValue, Method, Request, StatusCode, Uri};
use proptest::prelude::*;
use tokio::time::Instant;

use super::core::{Arrival, Bounds, Core, Ending, ExchangeId, Form, Head, Output};
use super::events::Event;
use super::service::{Failure, Reached};
use crate::jsonrpc::{Kind, Message};
use crate::mcp::{Era, method};

/// One thing that happens. Numbers choose among what there is.
#[derive(Clone, Debug)]
enum Operation {
    /// The client asks.
    Ask(&'static str),
    /// The client cancels one of its requests.
    Cancel(u16),
    /// The client notifies, or answers.
    Tell(&'static str),
    /// The server answers what it was sent.
    Answer(u16, Reply),
    /// Time passes.
    Pass(u64),
}

#[derive(Clone, Copy, Debug)]
enum Reply {
    Json,
    Error,
    Accepted,
    Status(u16),
    Stream,
    StreamEnds,
    StreamBreaks,
    Question,
    Nonsense,
    Unreachable(Reached),
    Endpoint,
}

fn operation() -> impl Strategy<Value = Operation> {
    let methods = vec!["initialize", "tools/call", "tools/list", "resources/subscribe", "subscriptions/listen"];
    let told =
        vec![r#"{"jsonrpc":"2.0","method":"notifications/initialized"}"#, r#"{"jsonrpc":"2.0","id":"q","result":{}}"#];
    let replies = vec![
        Reply::Json,
        Reply::Json,
        Reply::Error,
        Reply::Accepted,
        Reply::Status(404),
        Reply::Status(405),
        Reply::Status(401),
        Reply::Status(503),
        Reply::Stream,
        Reply::StreamEnds,
        Reply::StreamBreaks,
        Reply::Question,
        Reply::Nonsense,
        Reply::Unreachable(Reached::Nobody),
        Reply::Unreachable(Reached::Perhaps),
        Reply::Unreachable(Reached::Refused),
        Reply::Unreachable(Reached::Unusable),
        Reply::Endpoint,
    ];
    prop_oneof![
        4 => prop::sample::select(methods).prop_map(Operation::Ask),
        1 => any::<u16>().prop_map(Operation::Cancel),
        1 => prop::sample::select(told).prop_map(Operation::Tell),
        9 => (any::<u16>(), prop::sample::select(replies)).prop_map(|(at, reply)| Operation::Answer(at, reply)),
        2 => (0_u64..40_000).prop_map(Operation::Pass),
    ]
}

struct World {
    core: Core,
    now: Instant,
    /// What was sent for each exchange and is not over.
    sent: BTreeMap<ExchangeId, Request<Bytes>>,
    /// Exchanges whose answer is an event stream.
    streams: BTreeSet<ExchangeId>,
    asked: BTreeSet<u64>,
    cancelled: BTreeSet<u64>,
    answered: BTreeSet<u64>,
    ended: Option<Ending>,
}

impl World {
    fn new(era: Era) -> Self {
        let bounds = Bounds {
            in_flight_max: NonZeroUsize::new(8).expect("not zero"),
            message_bytes_max: 1 << 16,
            retry_timeout: Duration::from_secs(5),
        };
        let core = Core::new(era, Uri::from_static("http://localhost/mcp"), bounds, 7);
        Self {
            core,
            now: Instant::now(),
            sent: BTreeMap::new(),
            streams: BTreeSet::new(),
            asked: BTreeSet::new(),
            cancelled: BTreeSet::new(),
            answered: BTreeSet::new(),
            ended: None,
        }
    }

    fn say(&mut self, text: &str) {
        let message = Message::parse(Bytes::copy_from_slice(text.as_bytes()), 100).expect("a message");
        self.core.handle_message(message, self.now);
        self.drain();
    }

    fn arrive(&mut self, id: ExchangeId, arrival: Arrival) {
        if self.sent.contains_key(&id) {
            self.core.handle_arrival(id, arrival, self.now);
            self.drain();
        }
    }

    fn drain(&mut self) {
        while let Some(output) = self.core.poll_output() {
            match output {
                Output::Call(id, request) => {
                    self.streams.remove(&id);
                    self.sent.insert(id, *request);
                }
                Output::Drop(id) => {
                    self.streams.remove(&id);
                    self.sent.remove(&id);
                }
                Output::Write(line) => {
                    let message = Message::parse(line.clone(), 100).expect("a message, in one line");
                    assert_eq!(message.bytes(), &line);
                    if !matches!(message.kind(), Kind::Result | Kind::Error) {
                        continue;
                    }
                    let id = message.id_as_u64().expect("an id of the client's");
                    assert!(self.asked.contains(&id), "an answer to nothing: {id}");
                    assert!(self.answered.insert(id), "answered twice: {id}");
                    assert!(!self.cancelled.contains(&id), "answered though it was cancelled: {id}");
                }
            }
        }
        if let Some(ending) = self.core.take_ending() {
            self.ended = Some(ending);
        }
    }

    fn head(&mut self, id: ExchangeId, status: u16, form: Form) {
        let status = StatusCode::from_u16(status).expect("a status");
        let session = Some(HeaderValue::from_static("s-1"));
        self.arrive(id, Arrival::Head(Head { status, form, kind: Box::default(), session }));
        if form == Form::Events {
            self.streams.insert(id);
        }
    }

    fn whole(&mut self, id: ExchangeId, status: u16, body: Bytes) {
        self.head(id, status, Form::Whole);
        self.arrive(id, Arrival::Body(body));
        self.over(id);
    }

    /// The answer to what was posted, if that was a request.
    fn response(&self, id: ExchangeId, rest: &str) -> Option<Bytes> {
        let posted = Message::parse(self.sent.get(&id)?.body().clone(), 100).ok()?;
        Some(format!(r#"{{"jsonrpc":"2.0","id":{},{rest}}}"#, posted.id()?.as_str()).into())
    }

    fn reply(&mut self, id: ExchangeId, reply: Reply) {
        const RESULT: &str = r#""result":{"protocolVersion":"2025-11-25","tools":[]}"#;
        const ERROR: &str = r#""error":{"code":-1,"message":""}"#;
        let streams = self.streams.contains(&id);
        let message = |data: Option<Bytes>| Arrival::Event(Event { data, id: Some("e-1".into()), ..Event::default() });
        let get = self.sent.get(&id).is_some_and(|request| request.method() == Method::GET);
        match reply {
            Reply::Json | Reply::Error => {
                let data = self.response(id, if matches!(reply, Reply::Json) { RESULT } else { ERROR });
                if streams {
                    self.arrive(id, message(data));
                } else if let Some(data) = data {
                    self.whole(id, 200, data);
                }
            }
            Reply::Question => {
                if streams {
                    self.arrive(id, message(Some(r#"{"jsonrpc":"2.0","id":"q","method":"roots/list"}"#.into())));
                }
            }
            Reply::Endpoint => {
                if streams && get {
                    let data = Some(Bytes::from_static(b"/messages"));
                    self.arrive(id, Arrival::Event(Event { name: Some("endpoint".into()), data, ..Event::default() }));
                }
            }
            Reply::StreamEnds if streams => {
                self.arrive(id, Arrival::End);
                self.over(id);
            }
            Reply::StreamBreaks if streams => {
                let failure = Failure { what: "broken".to_owned(), reached: Reached::Perhaps };
                self.arrive(id, Arrival::Failed(failure));
                self.over(id);
            }
            _ if streams => {}
            Reply::Stream => self.head(id, 200, Form::Events),
            Reply::Accepted => self.whole(id, 202, Bytes::new()),
            Reply::Status(status) => self.whole(id, status, Bytes::new()),
            Reply::Nonsense => self.whole(id, 200, "nonsense".into()),
            Reply::Unreachable(reached) => {
                self.arrive(id, Arrival::Failed(Failure { what: "no".to_owned(), reached }));
                self.over(id);
            }
            Reply::StreamEnds | Reply::StreamBreaks => {}
        }
    }

    /// Nothing more comes of what was sent, unless it was sent again meanwhile.
    fn over(&mut self, id: ExchangeId) {
        if !self.streams.contains(&id) && self.core.is_backing_off(id) {
            self.sent.remove(&id);
        }
    }

    fn pass(&mut self, millis: u64) {
        let until = self.now + Duration::from_millis(millis);
        while let Some(due) = self.core.poll_timeout().filter(|due| *due <= until) {
            self.now = self.now.max(due);
            self.core.handle_timeout(self.now);
            self.drain();
            assert!(self.core.poll_timeout().is_none_or(|next| next > due || next > self.now), "it does not get on");
        }
        self.now = until;
    }

    fn operate(&mut self, number: u64, operation: &Operation) {
        match operation {
            Operation::Ask(method) => {
                self.asked.insert(number);
                self.say(&format!(
                    r#"{{"jsonrpc":"2.0","id":{number},"method":"{method}","params":{{"uri":"u","name":"n"}}}}"#
                ));
            }
            Operation::Cancel(at) => {
                let open: Vec<u64> = self.asked.difference(&self.answered).copied().collect();
                if open.is_empty() {
                    return;
                }
                let id = open[usize::from(*at) % open.len()];
                let params = format!(r#"{{"requestId":{id}}}"#);
                let request = |world: &Self| world.core.has_request(id);
                let was_there = request(self);
                self.say(&format!(r#"{{"jsonrpc":"2.0","method":"{}","params":{params}}}"#, method::CANCELLED));
                if was_there && !request(self) && !self.answered.contains(&id) {
                    self.cancelled.insert(id);
                }
            }
            Operation::Tell(text) => self.say(text),
            Operation::Answer(at, reply) => {
                let ids: Vec<_> = self.sent.keys().copied().collect();
                if !ids.is_empty() {
                    self.reply(ids[usize::from(*at) % ids.len()], *reply);
                }
            }
            Operation::Pass(millis) => self.pass(*millis),
        }
    }
}

fn runs(era: Era, operations: &[Operation]) {
    let mut world = World::new(era);
    for (number, operation) in operations.iter().enumerate() {
        world.operate(number as u64, operation);
        if world.ended.is_some() {
            break;
        }
    }
    if let Some(Ending::Modern(messages)) = &world.ended {
        let open: BTreeSet<u64> = messages.iter().filter_map(Message::id_as_u64).collect();
        let settled = world
            .asked
            .iter()
            .all(|id| world.answered.contains(id) || world.cancelled.contains(id) || open.contains(id));
        assert!(settled, "lost on the way to the other era");
        return;
    }
    world.core.close(Duration::from_secs(1), world.now);
    world.drain();
    world.pass(60_000);
    assert!(matches!(world.ended, Some(Ending::Done)), "it did not end");
    assert_eq!(world.core.len(), 0);
    let settled: BTreeSet<u64> = world.answered.union(&world.cancelled).copied().collect();
    assert_eq!(settled, world.asked);
}

proptest! {
    #[test]
    fn every_request_is_answered_once_and_nothing_is_left(
        modern in any::<bool>(),
        open in any::<bool>(),
        operations in prop::collection::vec(operation(), 0..60),
    ) {
        let mut all = Vec::new();
        if open {
            // Most of what can happen happens in a session that is open.
            all.push(Operation::Ask("initialize"));
            all.push(Operation::Answer(0, Reply::Json));
        }
        all.extend(operations);
        runs(if modern { Era::Modern } else { Era::Legacy }, &all);
    }
}

impl World {
    /// The last exchange for which this method was posted.
    fn posted(&self, method: &str) -> ExchangeId {
        let is_it = |request: &Request<Bytes>| {
            Message::parse(request.body().clone(), 100).is_ok_and(|message| message.method() == method)
        };
        let found = self.sent.iter().rev().find(|(_, request)| is_it(request));
        *found.unwrap_or_else(|| panic!("{method} was not posted: {:?}", self.sent)).0
    }

    /// The server takes what was posted and answers it on the stream.
    fn answer_on(&mut self, source: ExchangeId, method: &str) {
        let id = self.posted(method);
        let answer = self.response(id, r#""result":{"protocolVersion":"2024-11-05"}"#);
        self.whole(id, 202, Bytes::new());
        self.arrive(source, Arrival::Event(Event { data: answer, ..Event::default() }));
    }

    /// The stream of HTTP+SSE, with its first event.
    fn source(&mut self) -> ExchangeId {
        let source = self.sent.iter().find(|(_, request)| request.method() == Method::GET);
        let source = *source.expect("a stream is asked for").0;
        self.reply(source, Reply::Stream);
        self.reply(source, Reply::Endpoint);
        source
    }
}

#[test]
fn what_can_be_made_twice_outlives_the_stream_of_http_sse_and_nothing_else_does() {
    let mut world = World::new(Era::Legacy);
    world.operate(0, &Operation::Ask("initialize"));
    let first = world.posted("initialize");
    world.whole(first, 405, Bytes::new());
    let source = world.source();
    world.answer_on(source, "initialize");
    for (number, method) in [(1, "tools/list"), (2, "tools/call")] {
        world.operate(number, &Operation::Ask(method));
        let id = world.posted(method);
        world.whole(id, 202, Bytes::new());
    }
    assert_eq!(world.answered, BTreeSet::from([0]));

    // Moved, but only once.
    for expected in [BTreeSet::from([0, 2]), BTreeSet::from([0, 1, 2])] {
        let source = *world.streams.first().expect("a stream");
        world.reply(source, Reply::StreamBreaks);
        world.streams.remove(&source);
        world.over(source);
        assert_eq!(world.answered, expected);
        world.pass(3_000);
        let source = world.source();
        world.answer_on(source, "initialize");
        let told = world.posted("notifications/initialized");
        world.whole(told, 202, Bytes::new());
        if !world.answered.contains(&1) {
            let moved = world.posted("tools/list");
            world.whole(moved, 202, Bytes::new());
        }
    }
    // Where it is posted to, nobody knows the session any more: so nobody has made it.
    world.operate(3, &Operation::Ask("tools/call"));
    let forgotten = world.posted("tools/call");
    world.whole(forgotten, 404, Bytes::new());
    world.pass(3_000);
    let source = world.source();
    world.answer_on(source, "initialize");
    let told = world.posted("notifications/initialized");
    world.whole(told, 202, Bytes::new());
    world.answer_on(source, "tools/call");
    assert_eq!(world.answered, BTreeSet::from([0, 1, 2, 3]));
}
