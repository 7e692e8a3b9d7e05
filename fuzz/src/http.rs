//! Requests of any kind, several at a time, to all of mcp-mux without a socket: every one is answered in time, with a status
//! and a body that it may have, each of its messages exactly once, and nothing is left behind.
//!
//! | line | |
//! |---|---|
//! | `f` isolation era stateless ambiguous | how it is configured; first |
//! | `r` method path headers… ` ` body | a request (`R`: its body takes its time); see the tables below |
//! | `h<name>: <value>` | a header of the next request |
//! | `s<kind><text>` | what the server does with its next request; see `world.rs` |
//! | `i<result>` | what it says of itself from now on |
//! | `t<n>` | time passes |
//! | `d<n>` | a client hangs up |

use std::collections::{BTreeMap, VecDeque};
use std::convert::Infallible;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http::header::{ALLOW, CONTENT_LENGTH, CONTENT_TYPE, HOST, RETRY_AFTER};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, StatusCode};
use http_body_util::BodyExt as _;
use hyper::body::Frame;
use mcp_mux::http::Http;
use mcp_mux::http::peer::{Ends, Peer};
use mcp_mux::jsonrpc::{DEPTH_MAX, Kind};
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::{Sleep, sleep, timeout};

use super::events::decode;
use super::input::{Line, lines};
use super::judge::{SPACE, Verdict, elements, is_json, judge};
use super::world::{LONG, World, in_runtime};

/// The input is a list of what clients and the server do.
pub fn run(data: &[u8]) {
    in_runtime(story(data));
}

async fn story(data: &[u8]) {
    let mut world = World::start(&flags(data));
    let peer =
        Arc::new(Peer::new(Ends::Tcp { local: ([127, 0, 0, 1], 8000).into(), remote: ([127, 0, 0, 1], 9).into() }));
    let seen = Seen::default();
    let mut clients = JoinSet::new();
    let mut hang_up: VecDeque<AbortHandle> = VecDeque::new();
    let mut headers = HeaderMap::new();
    for mut line in lines(data, 48) {
        match line.next() {
            how @ (b'r' | b'R') => {
                let Some(request) = request(&mut line, std::mem::take(&mut headers), how, &seen) else { continue };
                let (http, peer, seen) = (Arc::clone(&world.http), Arc::clone(&peer), seen.clone());
                hang_up.push_back(clients.spawn(async move { ask(http, peer, request, seen).await }));
            }
            b'h' => {
                let text = seen.fill(line.rest());
                let at = text.iter().position(|byte| *byte == b':').unwrap_or(text.len());
                let value = text.get(at + 1..).unwrap_or_default().trim_ascii();
                if let (Ok(name), Ok(value)) = (HeaderName::from_bytes(&text[..at]), HeaderValue::from_bytes(value)) {
                    headers.append(name, value);
                }
            }
            b's' => {
                let kind = line.next();
                world.script.lock().actions.push_back((kind, line.rest().to_vec()));
            }
            b'i' => world.script.lock().introduction = is_json(line.rest()).then(|| line.rest().to_vec()),
            b't' => sleep(Duration::from_secs(line.pick(&[1, 5, 16, 31, 61, 301]))).await,
            b'd' => {
                if let Some(client) = hang_up.remove(line.below(8)) {
                    client.abort();
                }
            }
            _ => {}
        }
        // Whatever can be done now is done before the clock moves.
        sleep(Duration::from_millis(1)).await;
    }
    while let Some(client) = clients.join_next().await {
        if let Err(error) = client {
            assert!(error.is_cancelled(), "{error}");
        }
    }
    world.script = Default::default();
    world.end().await;
}

fn flags(data: &[u8]) -> String {
    let mut line = lines(data, 1).next().unwrap_or_else(|| panic!("there is always a line"));
    if line.next() != b'f' {
        return "--child-era legacy".to_owned();
    }
    let isolation = line.pick(&["shared", "session", "principal"]);
    let era = line.pick(&["legacy", "modern"]);
    let stateless = line.pick(&["", "--stateless"]);
    // Where no question is ambiguous it would be refused.
    let ambiguous = line.pick(&["reject", "serialize"]);
    let ambiguous = if isolation == "session" { "reject" } else { ambiguous };
    format!("--isolation {isolation} --child-era {era} {stateless} --on-ambiguous {ambiguous}")
}

/// What clients have been told that they use later.
#[derive(Clone, Default)]
struct Seen(Arc<Mutex<Told>>);

#[derive(Default)]
struct Told {
    /// `Mcp-Session-Id`.
    session: String,
    /// Where to post.
    messages: String,
    /// The id of the last question.
    question: String,
    /// `requestState`, as JSON.
    state: String,
    /// Somebody may have cancelled a request, which then gets no answer.
    cancelled: bool,
    /// Somebody may have taken a stream up elsewhere, which then ends where it was.
    resumed: bool,
}

impl Seen {
    fn lock(&self) -> MutexGuard<'_, Told> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A text with that in its places.
    fn fill(&self, text: &[u8]) -> Vec<u8> {
        let told = self.lock();
        let mut filled = Vec::with_capacity(text.len());
        let mut rest = text;
        while let Some((first, behind)) = rest.split_first() {
            let told = match (first, behind.first()) {
                (b'$', Some(b'S')) => told.session.as_bytes(),
                (b'$', Some(b'L')) => told.messages.as_bytes(),
                (b'$', Some(b'Q')) => told.question.as_bytes(),
                (b'$', Some(b'T')) => told.state.as_bytes(),
                _ => {
                    filled.push(*first);
                    rest = behind;
                    continue;
                }
            };
            filled.extend_from_slice(told);
            rest = behind.get(1..).unwrap_or_default();
        }
        filled
    }
}

const METHODS: [&str; 9] = ["POST", "GET", "DELETE", "OPTIONS", "PUT", "HEAD", "PATCH", "TRACE", "BREW"];

const PATHS: [&str; 12] = [
    "/mcp",
    "/sse",
    "$L",
    "/healthz",
    "/readyz",
    "/",
    "/mcp/",
    "/messages",
    "//mcp",
    "/mcp?x=%00",
    "*",
    "http://127.0.0.1/mcp",
];

const HEADERS: [(&str, &str); 30] = [
    ("accept", "application/json, text/event-stream"),
    ("accept", "application/json"),
    ("accept", "text/event-stream"),
    ("content-type", "application/json"),
    ("content-type", "text/plain"),
    ("mcp-session-id", "$S"),
    ("mcp-session-id", "nonsense"),
    ("mcp-protocol-version", "2025-11-25"),
    ("mcp-protocol-version", "2025-03-26"),
    ("mcp-protocol-version", "2026-07-28"),
    ("mcp-protocol-version", "1999-01-01"),
    ("mcp-method", "tools/call"),
    ("mcp-name", "t"),
    ("mcp-method", "subscriptions/listen"),
    ("last-event-id", "1-0"),
    ("last-event-id", "0-1"),
    ("origin", "http://localhost"),
    ("origin", "https://elsewhere.example"),
    ("host", "elsewhere.example"),
    ("content-length", "5"),
    ("access-control-request-method", "POST"),
    ("authorization", "Bearer x"),
    ("x-forwarded-host", "elsewhere.example"),
    ("accept", "*/*;q=0"),
    ("mcp-param-region", "eu"),
    ("mcp-method", "server/discover"),
    ("mcp-method", "tools/list"),
    ("last-event-id", "2-1"),
    ("mcp-name", "=?base64?dA==?="),
    ("mcp-method", "resources/read"),
];

/// Bodies as clients send them: `@` and a character.
const BODIES: [&str; 18] = [
    r#"{"jsonrpc":"2.0","id":0,"method":"initialize","params":{"protocolVersion":"2025-11-25","capabilities":{"sampling":{},"elicitation":{}},"clientInfo":{"name":"c","version":"1"}}}"#,
    r#"{"jsonrpc":"2.0","id":0,"method":"initialize","params":{"protocolVersion":"2025-03-26","capabilities":{},"clientInfo":{"name":"c","version":"1"}}}"#,
    r#"{"jsonrpc":"2.0","method":"notifications/initialized"}"#,
    r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"t","arguments":{},"_meta":{"progressToken":"p"}}}"#,
    r#"{"jsonrpc":"2.0","id":"2","method":"tools/list"}"#,
    r#"{"jsonrpc":"2.0","id":3,"method":"tools/call","params":{"name":"t","arguments":{},"_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28","io.modelcontextprotocol/clientCapabilities":{"elicitation":{"form":{}},"sampling":{}}}}}"#,
    r#"{"jsonrpc":"2.0","id":4,"method":"subscriptions/listen","params":{"notifications":{"toolsListChanged":true,"resourceSubscriptions":["x:/1"]},"_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28","io.modelcontextprotocol/clientCapabilities":{}}}}"#,
    r#"{"jsonrpc":"2.0","id":5,"method":"server/discover","params":{"_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28","io.modelcontextprotocol/clientCapabilities":{}}}}"#,
    r#"[{"jsonrpc":"2.0","id":6,"method":"tools/call","params":{"name":"t"}},{"jsonrpc":"2.0","method":"notifications/x"},{"jsonrpc":"2.0","id":7,"method":"ping"}]"#,
    r#"{"jsonrpc":"2.0","id":$Q,"result":{}}"#,
    r#"{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":1}}"#,
    r#"{"jsonrpc":"2.0","id":8,"method":"logging/setLevel","params":{"level":"debug"}}"#,
    r#"{"jsonrpc":"2.0","id":9,"method":"resources/subscribe","params":{"uri":"x:/1"}}"#,
    r#"{"jsonrpc":"2.0","id":10,"method":"ping"}"#,
    r#"{"jsonrpc":"2.0","id":11,"method":"tools/call","params":{"name":"t","arguments":{},"inputResponses":{"a":{"action":"accept","content":{}}},"requestState":$T,"_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28","io.modelcontextprotocol/clientCapabilities":{"elicitation":{"form":{}},"sampling":{}}}}}"#,
    r#"{"jsonrpc":"2.0","id":12,"method":"tools/list","params":{"_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28","io.modelcontextprotocol/clientCapabilities":{},"io.modelcontextprotocol/logLevel":"debug"}}}"#,
    r#"{"jsonrpc":"2.0","id":13,"method":"tools/call","params":{"name":"t","task":{"ttl":1000}}}"#,
    r#"{"jsonrpc":"2.0","id":14,"method":"tasks/get","params":{"taskId":"k"}}"#,
];

/// Reads a request; none if there can be no such one.
fn request(line: &mut Line<'_>, extra: HeaderMap, how: u8, seen: &Seen) -> Option<Request<Chunks>> {
    let method = line.pick(&METHODS);
    let path = seen.fill(line.pick(&PATHS).as_bytes());
    let mut builder = Request::builder().method(method).uri(path);
    let headers = builder.headers_mut()?;
    for character in line.word() {
        let (name, value) = HEADERS[usize::from(character.wrapping_sub(b'0')) % HEADERS.len()];
        headers.append(name, HeaderValue::from_bytes(&seen.fill(value.as_bytes())).ok()?);
    }
    if !headers.contains_key(HOST) && !extra.contains_key(HOST) {
        headers.insert(HOST, HeaderValue::from_static("127.0.0.1"));
    }
    let mut last = None;
    for (name, value) in extra {
        last = name.or(last);
        headers.append(last.clone()?, value);
    }
    let body = match line.rest() {
        [b'@', which, ..] => seen.fill(BODIES[usize::from(which.wrapping_sub(b'0')) % BODIES.len()].as_bytes()),
        raw => seen.fill(raw),
    };
    seen.lock().resumed |= method == "GET" && headers.contains_key("last-event-id");
    seen.lock().cancelled |= body.windows(CANCELLED.len()).any(|part| part == CANCELLED);
    // As hyper sees to it.
    let declared = headers.get(CONTENT_LENGTH).map(|value| value.to_str().ok()?.parse::<usize>().ok());
    if declared.is_some_and(|declared| declared != Some(body.len())) {
        headers.remove(CONTENT_LENGTH);
    }
    builder.body(Chunks::new(&body, how)).ok()
}

const CANCELLED: &[u8] = b"cancelled";

/// A body in one piece, or in pieces that take their time.
struct Chunks {
    left: VecDeque<Bytes>,
    pause: Option<Pin<Box<Sleep>>>,
}

impl Chunks {
    fn new(body: &[u8], how: u8) -> Self {
        let slow = how == b'R';
        let size = if slow { body.len() / 3 + 1 } else { body.len().max(1) };
        let left = body.chunks(size).map(Bytes::copy_from_slice).collect();
        Self { left, pause: slow.then(|| Box::pin(sleep(Duration::from_secs(1)))) }
    }
}

impl hyper::body::Body for Chunks {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        if let Some(pause) = &mut self.pause {
            ready!(pause.as_mut().poll(cx));
            self.pause = Some(Box::pin(sleep(Duration::from_secs(9))));
        }
        Poll::Ready(self.left.pop_front().map(|chunk| Ok(Frame::data(chunk))))
    }
}

/// What a POST asks for.
#[derive(Default)]
struct Asked {
    /// Ids of its requests.
    ids: Vec<String>,
    /// Ids that an error may name beside these.
    wrong: Vec<String>,
    /// Whether it may go on for ever.
    listens: bool,
}

impl Asked {
    fn of(body: &[u8]) -> Self {
        let mut asked = Self::default();
        let text = std::str::from_utf8(body).unwrap_or_default();
        let elements = elements(text).unwrap_or_else(|| vec![text]);
        for element in elements {
            match judge(element.as_bytes(), DEPTH_MAX) {
                Verdict::Message(message) => {
                    let id = message.id.map(str::to_owned);
                    asked.listens |= message.method == "subscriptions/listen";
                    let ids = if message.kind == Kind::Request { &mut asked.ids } else { &mut asked.wrong };
                    ids.extend(id);
                }
                Verdict::Invalid(id) => asked.wrong.extend(id.map(str::to_owned)),
                Verdict::NotJson | Verdict::TooDeep => {}
            }
        }
        asked
    }
}

/// One client: asks, and reads its answer to the end.
async fn ask(http: Arc<Http>, peer: Arc<Peer>, request: Request<Chunks>, seen: Seen) {
    let is_post = request.method() == Method::POST;
    let body: Vec<u8> = request.body().left.iter().flatten().copied().collect();
    let asked = if is_post { Asked::of(&body) } else { Asked::default() };
    let is_health = request.uri().path().ends_with('z');
    let Ok(answered) = timeout(ANSWERED_WITHIN, http.handle(request, peer)).await else {
        panic!("no answer to {:?}", asked.ids);
    };
    let (head, mut body) = answered.into_parts();
    if let Some(id) = head.headers.get("mcp-session-id") {
        seen.lock().session = id.to_str().unwrap_or_else(|error| panic!("{error}")).to_owned();
    }
    let mut read = Vec::new();
    let whole = async {
        while let Some(frame) = body.frame().await {
            let Ok(frame) = frame;
            if let Ok(data) = frame.into_data() {
                read.extend_from_slice(&data);
                note(&data, &seen);
            }
        }
    };
    // Who listens would do so for ever.
    let listens = !is_post || asked.listens;
    let ended = timeout(if listens { LISTENED_FOR } else { ANSWERED_WITHIN }, whole).await.is_ok();
    assert!(ended || listens, "the answer to {:?} does not end", asked.ids);
    check_head(head.status, &head.headers, is_health);
    let messages = messages(&head.headers, &read, ended);
    if is_post {
        let complete = {
            let told = seen.lock();
            ended && !told.cancelled && !told.resumed
        };
        check_answers(&asked, head.status, &messages, complete);
    }
}

/// What a client keeps of an answer for later.
fn note(data: &[u8], seen: &Seen) {
    let text = String::from_utf8_lossy(data);
    let behind = |mark: &str, end: &[char]| {
        let (_, rest) = text.split_once(mark)?;
        rest.split(end).next().map(str::to_owned)
    };
    let mut told = seen.lock();
    if let Some(url) = behind("event: endpoint\ndata: ", &['\n']) {
        told.messages = url;
    }
    if let Some(state) = behind("\"requestState\":\"", &['"']) {
        told.state = format!("\"{state}\"");
    }
    if text.contains("sampling/createMessage") || text.contains("elicitation/create") {
        told.question = behind("\"id\":", &[',', '}']).unwrap_or_default();
    }
}

/// Every status there is in the table of errors, and those of what went well.
const STATUSES: [u16; 15] = [200, 202, 204, 400, 401, 403, 404, 405, 406, 408, 413, 415, 429, 503, 504];

fn check_head(status: StatusCode, headers: &HeaderMap, is_health: bool) {
    assert!(STATUSES.contains(&status.as_u16()), "{status}");
    // RFC 9110, 15.5.6.
    assert!(status != StatusCode::METHOD_NOT_ALLOWED || headers.contains_key(ALLOW), "405 without Allow");
    let overloaded = matches!(status.as_u16(), 429 | 503) && !is_health;
    assert!(!overloaded || headers.contains_key(RETRY_AFTER), "{status} without Retry-After");
}

/// The messages of a body, as its type says.
fn messages(headers: &HeaderMap, body: &[u8], ended: bool) -> Vec<String> {
    let text = std::str::from_utf8(body).unwrap_or_else(|error| panic!("{error}"));
    match headers.get(CONTENT_TYPE).map(HeaderValue::as_bytes) {
        None => {
            assert!(body.is_empty(), "a body without a type");
            Vec::new()
        }
        Some(b"application/json") => {
            assert!(is_json(body) && ended, "not JSON: {text:?}");
            elements(text).unwrap_or_else(|| vec![text]).into_iter().map(str::to_owned).collect()
        }
        Some(b"text/event-stream") => {
            let decoded = decode(text);
            assert!(decoded.ignored.is_empty() && !(ended && decoded.unfinished), "{decoded:?}");
            let is_message = |event: &&super::events::Event| event.kind != "endpoint" && !event.data.is_empty();
            let messages: Vec<String> =
                decoded.events.iter().filter(is_message).map(|event| event.data.clone()).collect();
            for message in &messages {
                assert!(matches!(judge(message.as_bytes(), usize::MAX), Verdict::Message(_)), "{message}");
            }
            messages
        }
        // As the SDKs' servers say it on HTTP+SSE.
        Some(b"text/plain; charset=utf-8") => {
            assert_eq!(text, "Accepted");
            Vec::new()
        }
        Some(other) => panic!("the type {:?}", String::from_utf8_lossy(other)),
    }
}

/// Each request is answered exactly once, nothing else is.
fn check_answers(asked: &Asked, status: StatusCode, messages: &[String], complete: bool) {
    let mut missing: BTreeMap<&str, usize> = BTreeMap::new();
    asked.ids.iter().for_each(|id| *missing.entry(id).or_default() += 1);
    for text in messages {
        let Verdict::Message(message) = judge(text.as_bytes(), usize::MAX) else {
            panic!("no message: {text}");
        };
        let Some(id) = message.id.filter(|_| matches!(message.kind, Kind::Result | Kind::Error)) else { continue };
        match missing.get_mut(id) {
            Some(count) if *count > 0 => *count -= 1,
            Some(_) | None => {
                assert!(asked.wrong.iter().any(|wrong| wrong.trim_matches(SPACE) == id), "answers {id}: {text}");
            }
        }
    }
    let answered = missing.values().all(|count| *count == 0);
    assert!(!complete || status != StatusCode::OK || answered, "no answer to {missing:?}");
}

/// Longer than a keep-alive takes to come.
const LISTENED_FOR: Duration = Duration::from_secs(40);
/// Longer than all of mcp-mux's own times for one request together.
const ANSWERED_WITHIN: Duration = Duration::from_secs(600);

const _: () = assert!(ANSWERED_WITHIN.as_secs() < LONG.as_secs());
