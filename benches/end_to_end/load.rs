//! The load generator: so many sessions with so many requests in flight each, every answer checked for its id and its
//! content.
//!
//! All sessions count alike, and every text says which session, which of its lanes and which call it is of: an answer
//! that reached the wrong client shows.

use std::cell::RefCell;
use std::io::{Error, Result};
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;
use memchr::memmem;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout};

use crate::request::{Name, Request, assemble, head, id_of};
use crate::wire::{Connection, Events, Head};

/// Where to, and how to speak to it.
#[derive(Clone, Debug)]
pub(crate) struct Target {
    pub(crate) address: SocketAddr,
    pub(crate) path: String,
    pub(crate) transport: Transport,
    /// What the answers are checked for.
    pub(crate) answers: Answers,
}

/// How requests reach the server and answers come back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Transport {
    /// Streamable HTTP with sessions; the answer may be JSON.
    Streamable,
    /// Streamable HTTP with sessions; the answer is asked for as an event stream.
    StreamableEvents,
    /// Streamable HTTP of 2026-07-28.
    Modern,
    /// HTTP+SSE.
    Sse,
}

/// What answers must look like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Answers {
    /// The request's id and its text; nothing else may come.
    Own,
    /// As a client takes them: of what comes by a session's stream, the first with the request's id, with its text.
    First,
    /// A body of this many bytes: a server without MCP.
    Fixed(usize),
}

impl Answers {
    fn are_of_mcp(self) -> bool {
        match self {
            Self::Own | Self::First => true,
            Self::Fixed(_) => false,
        }
    }
}

/// How much at once, and how long.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Load {
    pub(crate) sessions: usize,
    /// Of each session.
    pub(crate) in_flight: usize,
    /// Bytes of text each way.
    pub(crate) size: usize,
    pub(crate) time: Duration,
    pub(crate) warm_up: Duration,
}

/// What became of it.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    pub(crate) answered: u64,
    /// Answered, but with another id or text, or with an error.
    pub(crate) wrong: u64,
    /// Not answered: the connection ended, or HTTP refused.
    pub(crate) failed: u64,
    /// The first thing that was not right.
    pub(crate) complaint: Option<String>,
    pub(crate) latencies: Vec<Duration>,
}

impl Tally {
    pub(crate) fn count(&mut self, answer: Result<std::result::Result<(), String>>, latency: Duration) {
        let complaint = match answer {
            Ok(Ok(())) => {
                self.answered += 1;
                return self.latencies.push(latency);
            }
            Ok(Err(complaint)) => {
                self.wrong += 1;
                complaint
            }
            Err(error) => {
                self.failed += 1;
                error.to_string()
            }
        };
        self.complaint.get_or_insert(complaint);
    }

    /// Takes in what was counted elsewhere.
    pub(crate) fn add(&mut self, other: Self) {
        self.answered += other.answered;
        self.wrong += other.wrong;
        self.failed += other.failed;
        self.latencies.extend(other.latencies);
        if let Some(complaint) = other.complaint {
            self.complaint.get_or_insert(complaint);
        }
    }
}

/// How long an answer is waited for.
const ANSWER_LIMIT: Duration = Duration::from_secs(10);
/// Of one lane; more than a server sends that answers only who asked.
const ANSWERS_WAITING: usize = 1024;

type Shared = Rc<RefCell<Tally>>;

/// All that is open towards one server.
pub(crate) struct Clients {
    lanes: Vec<Lane>,
    /// The readers of streams end with it.
    _readers: JoinSet<()>,
}

/// One request at a time, over a connection of its own.
struct Lane {
    target: Rc<Target>,
    connection: Connection,
    request: Request,
    /// Answers that come by a session's stream.
    answers: Option<mpsc::Receiver<Bytes>>,
}

impl Clients {
    /// Opens the sessions and the connections.
    pub(crate) async fn open(target: &Target, load: &Load) -> Result<Self> {
        let target = Rc::new(target.clone());
        let (mut lanes, mut readers) = (Vec::new(), JoinSet::new());
        for session in 0..load.sessions {
            let names = |lane| Name { session, lane, lanes: load.in_flight };
            if target.transport == Transport::Sse && target.answers.are_of_mcp() {
                let stream = open_stream(&target, load.in_flight, &mut readers);
                let (path, receivers) = timeout(ANSWER_LIMIT, stream).await??;
                for (lane, answers) in receivers.into_iter().enumerate() {
                    let connection = Connection::open(target.address).await?;
                    let head = head(&target, &path, None);
                    let request = Request::call(head, &target, names(lane), load.size);
                    lanes.push(Lane { target: Rc::clone(&target), connection, request, answers: Some(answers) });
                }
                continue;
            }
            let mut first = Connection::open(target.address).await?;
            let session = match target.answers {
                Answers::Own | Answers::First => timeout(ANSWER_LIMIT, open_session(&target, &mut first)).await??,
                Answers::Fixed(_) => None,
            };
            let mut first = Some(first);
            for lane in 0..load.in_flight {
                let connection = match first.take() {
                    Some(first) => first,
                    None => Connection::open(target.address).await?,
                };
                let head = head(&target, &target.path, session.as_deref());
                let request = Request::call(head, &target, names(lane), load.size);
                lanes.push(Lane { target: Rc::clone(&target), connection, request, answers: None });
            }
        }
        Ok(Self { lanes, _readers: readers })
    }

    /// Keeps all lanes busy. `mark` is called at both ends of the measured time.
    pub(crate) async fn run<M>(
        mut self,
        load: &Load,
        mut mark: impl FnMut() -> M,
    ) -> Result<(Tally, [(Instant, M); 2])> {
        let tally = Shared::default();
        let mut lanes = JoinSet::new();
        let until = Instant::now() + load.warm_up + load.time;
        for mut lane in self.lanes.drain(..) {
            let tally = Rc::clone(&tally);
            lanes.spawn_local(async move {
                while Instant::now() < until {
                    lane.call(&tally).await;
                }
            });
        }
        tokio::time::sleep(load.warm_up).await;
        let before = std::mem::take(&mut *tally.borrow_mut());
        let from = (Instant::now(), mark());
        tokio::time::sleep(load.time).await;
        let to = (Instant::now(), mark());
        let mut measured = std::mem::take(&mut *tally.borrow_mut());
        while lanes.join_next().await.is_some() {}
        let after = tally.take();
        // What is wrong counts whenever it happened.
        for other in [before, after] {
            measured.wrong += other.wrong;
            measured.failed += other.failed;
            measured.complaint = measured.complaint.or(other.complaint);
        }
        measured.latencies.sort_unstable();
        Ok((measured, [from, to]))
    }
}

impl Lane {
    async fn call(&mut self, tally: &Shared) {
        self.request.next();
        let sent = Instant::now();
        let answer = timeout(ANSWER_LIMIT, self.exchange()).await.unwrap_or_else(|late| Err(late.into()));
        let latency = sent.elapsed();
        let failed = answer.is_err();
        tally.borrow_mut().count(answer, latency);
        if failed {
            tokio::time::sleep(Duration::from_millis(10)).await;
            if let Ok(connection) = Connection::open(self.target.address).await {
                self.connection = connection;
            }
        }
    }

    /// Sends the request, and judges its answer.
    async fn exchange(&mut self) -> Result<std::result::Result<(), String>> {
        self.connection.send(self.request.bytes()).await?;
        let head = self.connection.head().await?;
        if let Some(answers) = &mut self.answers {
            self.connection.body(&head).await?;
            if !(200..300).contains(&head.status) {
                return Err(Error::other(format!("status {}", head.status)));
            }
            loop {
                let answer = answers.recv().await.ok_or_else(|| Error::other("the stream ended"))?;
                if self.target.answers == Answers::Own || self.request.is_answered_by(&answer) {
                    return Ok(self.request.judge(&answer));
                }
            }
        }
        answer(&mut self.connection, &head, &self.request, self.target.answers).await
    }
}

/// Sends a call, and judges the answer that comes in the response.
pub(crate) async fn exchange(
    connection: &mut Connection,
    request: &Request,
    answers: Answers,
) -> Result<std::result::Result<(), String>> {
    connection.send(request.bytes()).await?;
    let head = connection.head().await?;
    answer(connection, &head, request, answers).await
}

async fn answer(
    connection: &mut Connection,
    head: &Head,
    request: &Request,
    answers: Answers,
) -> Result<std::result::Result<(), String>> {
    let answer = if head.events { response_of_events(connection, head).await? } else { connection.body(head).await? };
    if head.status != 200 {
        return Err(Error::other(format!("status {}: {}", head.status, String::from_utf8_lossy(&answer))));
    }
    Ok(match answers {
        Answers::Own | Answers::First => request.judge(&answer),
        Answers::Fixed(length) if answer.len() == length => Ok(()),
        Answers::Fixed(length) => Err(format!("{} bytes instead of {length}", answer.len())),
    })
}

/// The response among the events that answer a POST.
async fn response_of_events(connection: &mut Connection, head: &Head) -> Result<Bytes> {
    let (mut events, mut response) = (Events::of(head), None);
    while let Some(event) = events.next(connection).await? {
        if !event.data.is_empty() {
            response = Some(event.data);
        }
    }
    response.ok_or_else(|| Error::other("an event stream without a response"))
}

// --- sessions ---

/// Opens a session of Streamable HTTP; returns its id, if the server gave one.
pub(crate) async fn open_session(target: &Target, connection: &mut Connection) -> Result<Option<String>> {
    if target.transport == Transport::Modern {
        return Ok(None);
    }
    let session = begin_session(target, connection).await?;
    let head = head(target, &target.path, session.as_deref());
    connection.send(&assemble(&head, INITIALIZED.as_bytes())).await?;
    let answer = connection.head().await?;
    connection.body(&answer).await?;
    match answer.status {
        200 | 202 | 204 => Ok(session),
        status => Err(Error::other(format!("initialized: status {status}"))),
    }
}

/// The first half of that: `initialize` and its answer.
pub(crate) async fn begin_session(target: &Target, connection: &mut Connection) -> Result<Option<String>> {
    let head = head(target, &target.path, None);
    connection.send(&assemble(&head, initialize("2025-11-25").as_bytes())).await?;
    let answer = connection.head().await?;
    let body =
        if answer.events { response_of_events(connection, &answer).await? } else { connection.body(&answer).await? };
    if answer.status != 200 || memmem::find(&body, b"\"result\"").is_none() {
        return Err(Error::other(format!("initialize: status {}", answer.status)));
    }
    Ok(answer.session)
}

/// Ends a session of Streamable HTTP.
pub(crate) async fn end_session(target: &Target, connection: &mut Connection, session: &str) -> Result<()> {
    let Target { address, path, .. } = target;
    let request = format!("DELETE {path} HTTP/1.1\r\nHost: {address}\r\nMcp-Session-Id: {session}\r\n\r\n");
    connection.send(request.as_bytes()).await?;
    let head = connection.head().await?;
    connection.body(&head).await?;
    match head.status {
        200 | 202 | 204 => Ok(()),
        status => Err(Error::other(format!("DELETE: status {status}"))),
    }
}

/// Opens a session of HTTP+SSE; returns the path for its messages, and what comes for each of its lanes.
async fn open_stream(
    target: &Target,
    lanes: usize,
    readers: &mut JoinSet<()>,
) -> Result<(String, Vec<mpsc::Receiver<Bytes>>)> {
    let mut connection = Connection::open(target.address).await?;
    let Target { address, path, .. } = target;
    let request = format!("GET {path} HTTP/1.1\r\nHost: {address}\r\nAccept: text/event-stream\r\n\r\n");
    connection.send(request.as_bytes()).await?;
    let answer = connection.head().await?;
    if answer.status != 200 {
        return Err(Error::other(format!("GET: status {}", answer.status)));
    }
    let mut events = Events::of(&answer);
    let endpoint = loop {
        match events.next(&mut connection).await? {
            Some(event) if event.name == "endpoint" => break event.data,
            Some(_) => {}
            None => return Err(Error::other("the stream ended before its endpoint")),
        }
    };
    let endpoint = String::from_utf8_lossy(&endpoint).into_owned();
    // Some servers say it as a whole address.
    let path = endpoint
        .split_once("://")
        .and_then(|(_, rest)| rest.split_once('/'))
        .map_or_else(|| endpoint.clone(), |(_, path)| format!("/{path}"));
    let head = head(target, &path, None);
    let mut post = Connection::open(target.address).await?;
    post.send(&assemble(&head, initialize("2024-11-05").as_bytes())).await?;
    let answer = post.head().await?;
    post.body(&answer).await?;
    while events.next(&mut connection).await?.is_some_and(|event| event.data.is_empty()) {}
    post.send(&assemble(&head, INITIALIZED.as_bytes())).await?;
    let answer = post.head().await?;
    post.body(&answer).await?;

    let (senders, receivers): (Vec<_>, Vec<_>) = (0..lanes).map(|_| mpsc::channel(ANSWERS_WAITING)).unzip();
    readers.spawn_local(async move {
        while let Ok(Some(event)) = events.next(&mut connection).await {
            // What is for no lane of ours, or more than it waits for, is missed by the one that waits for its answer.
            let lane = id_of(&event.data).and_then(|id| usize::try_from(id).ok()).map(|id| id % lanes);
            if let Some(sender) = lane.and_then(|lane| senders.get(lane)) {
                let _ = sender.try_send(event.data);
            }
        }
    });
    Ok((path, receivers))
}

fn initialize(version: &str) -> String {
    format!(
        r#"{{"jsonrpc":"2.0","id":0,"method":"initialize","params":{{"protocolVersion":"{version}","capabilities":{{}},"clientInfo":{{"name":"load","version":"1"}}}}}}"#
    )
}

const INITIALIZED: &str = r#"{"jsonrpc":"2.0","method":"notifications/initialized"}"#;
