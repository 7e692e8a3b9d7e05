//! Starts mcp-mux and talks to it as a client that trusts nothing: raw requests, raw events.

use std::future::Future;
use std::path::PathBuf;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper::{HeaderMap, Method, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, BufReader, Lines};
use tokio::net::TcpStream;
use tokio::process::{Child, ChildStdout, Command};
use tokio::sync::watch;

/// The longest any single step may take.
pub const DEADLINE: Duration = Duration::from_secs(30);

/// Waits for something that has to come.
pub async fn within<T>(what: &str, future: impl Future<Output = T>) -> T {
    match tokio::time::timeout(DEADLINE, future).await {
        Ok(value) => value,
        Err(_) => panic!("{what}: not within {DEADLINE:?}"),
    }
}

pub fn repository() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// The demonstration server.
pub fn notes_server() -> Vec<String> {
    vec!["python3".into(), repository().join("examples/notes_server.py").display().to_string()]
}

/// The fast server; built with the tests, beside the program.
pub fn echo_server() -> Vec<String> {
    let program = PathBuf::from(env!("CARGO_BIN_EXE_mcp-mux"));
    vec![program.parent().unwrap().join("examples/echo_server").display().to_string()]
}

/// A server that is one Python script.
pub fn python(script: &str) -> Vec<String> {
    vec!["python3".into(), "-u".into(), "-c".into(), format!("{PYTHON_PRELUDE}\n{script}")]
}

/// What such a script can use: `read()`, `write(object)`, `reply(message, result)`, `handshake()`.
const PYTHON_PRELUDE: &str = r#"
import json, os, sys, time
def read():
    line = sys.stdin.readline()
    if not line: sys.exit(0)
    return json.loads(line)
def write(message):
    sys.stdout.write(json.dumps(message) + "\n"); sys.stdout.flush()
def reply(message, result):
    write({"jsonrpc": "2.0", "id": message["id"], "result": result})
def handshake(capabilities={"tools": {}}):
    message = read()
    assert message["method"] == "initialize", message
    reply(message, {"protocolVersion": "2025-11-25", "capabilities": capabilities, "serverInfo": {"name": "script", "version": "1"}})
    message = read()
    assert message["method"] == "notifications/initialized", message
"#;

/// A running mcp-mux. Killed when dropped.
pub struct Mux {
    pub process: Child,
    stdout: Lines<BufReader<ChildStdout>>,
    stderr: watch::Receiver<String>,
    /// The URL lines it printed.
    pub urls: Vec<String>,
    pub port: u16,
}

pub fn command(flags: &[&str], server: &[String]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_mcp-mux"));
    command.args(flags).arg("--").args(server);
    // On a busy machine what is quick takes longer, and is to be answered with JSON all the same.
    command.env("MCP_MUX_SSE_AFTER", "1m");
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
    command
}

impl Mux {
    /// Starts it with `--port 0` and waits for its URLs.
    pub async fn start(flags: &[&str], server: Vec<String>) -> Self {
        Self::start_command(command(&[&["--port", "0"], flags].concat(), &server)).await
    }

    /// The same for a command of one's own.
    pub async fn start_command(mut command: Command) -> Self {
        let mut process = command.spawn().unwrap();
        let stdout = BufReader::new(process.stdout.take().unwrap()).lines();
        let (collected, stderr) = watch::channel(String::new());
        let mut lines = BufReader::new(process.stderr.take().unwrap()).lines();
        tokio::spawn(async move {
            while let Ok(Some(line)) = lines.next_line().await {
                collected.send_modify(|all| {
                    all.push_str(&line);
                    all.push('\n');
                });
            }
        });
        let mut mux = Self { process, stdout, stderr, urls: Vec::new(), port: 0 };
        for _ in 0..2 {
            let line = within("the URLs", mux.stdout.next_line()).await.unwrap();
            let line = line.unwrap_or_else(|| panic!("no URLs; its log:\n{}", *mux.stderr.borrow()));
            mux.urls.push(line);
        }
        let (scheme, rest) = mux.urls[0].split_once("://127.0.0.1:").unwrap();
        assert!(["http", "https"].contains(&scheme), "{scheme}");
        mux.port = rest.split('/').next().unwrap().parse().unwrap();
        mux
    }

    pub fn pid(&self) -> u32 {
        self.process.id().unwrap()
    }

    /// What it has logged so far.
    pub fn log(&self) -> String {
        self.stderr.borrow().clone()
    }

    /// Waits until its log has this text.
    pub async fn logged(&mut self, text: &str) {
        self.logged_times(text, 1).await;
    }

    /// Waits until its log has this text so many times.
    pub async fn logged_times(&mut self, text: &str, times: usize) {
        let found = self.stderr.wait_for(|log| log.matches(text).count() >= times);
        if tokio::time::timeout(DEADLINE, found).await.is_err() {
            panic!("not logged: {text}; its log:\n{}", self.log());
        }
    }

    /// Sends it a signal.
    pub fn signal(&self, signal: rustix::process::Signal) {
        let pid = rustix::process::Pid::from_raw(i32::try_from(self.pid()).unwrap()).unwrap();
        rustix::process::kill_process(pid, signal).unwrap();
    }

    /// Stops it; returns how it ended, and what it printed after its URLs.
    pub async fn stop(self) -> (ExitStatus, String, String) {
        self.signal(rustix::process::Signal::TERM);
        self.stop_after_signal().await
    }

    /// The same for one that was told to stop already.
    pub async fn stop_after_signal(self) -> (ExitStatus, String, String) {
        let (status, rest, log) = self.end().await;
        assert!(!log.contains("ERROR"), "logged an error:\n{log}");
        (status, rest, log)
    }

    /// The same for one that may have logged errors.
    pub async fn end(mut self) -> (ExitStatus, String, String) {
        let status = within("the end", self.process.wait()).await.unwrap();
        let mut rest = String::new();
        while let Ok(Some(line)) = self.stdout.next_line().await {
            rest.push_str(&line);
            rest.push('\n');
        }
        let log = self.log();
        (status, rest, log)
    }

    pub fn client(&self) -> Client {
        Client { port: self.port, path: "/mcp".to_owned(), session: None, version: None, token: None }
    }

    /// A client that authenticates.
    pub fn client_with(&self, token: &str) -> Client {
        Client { token: Some(token.to_owned()), ..self.client() }
    }

    /// A client whose handshake stands.
    pub async fn session(&self, version: &str) -> Client {
        self.session_with(version, json!({})).await
    }

    pub async fn session_with(&self, version: &str, capabilities: Value) -> Client {
        let mut client = self.client();
        client.initialize(version, capabilities).await;
        client
    }

    /// The pid of the child, as the server's own tool tells it.
    pub async fn get(&self, path: &str) -> (StatusCode, Value) {
        let answer = self.client().send(Method::GET, path, &[], "").await;
        let status = answer.status();
        (status, json_body(answer).await)
    }
}

/// One client of the Streamable HTTP endpoint. Cloned, it is the same session.
#[derive(Clone)]
pub struct Client {
    pub port: u16,
    pub path: String,
    pub session: Option<String>,
    pub version: Option<String>,
    /// What it authenticates with.
    pub token: Option<String>,
}

pub const ACCEPT: (&str, &str) = ("accept", "application/json, text/event-stream");
pub const JSON: (&str, &str) = ("content-type", "application/json");

impl Client {
    /// One request on a connection of its own.
    pub async fn send(&self, method: Method, path: &str, headers: &[(&str, &str)], body: &str) -> Response<Incoming> {
        let stream = within("a connection", TcpStream::connect(("127.0.0.1", self.port))).await.unwrap();
        let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.unwrap();
        tokio::spawn(connection);
        let mut request = Request::builder().method(method).uri(path);
        if !headers.iter().any(|(name, _)| *name == "host") {
            request = request.header("host", format!("127.0.0.1:{}", self.port));
        }
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        if let Some(token) = &self.token {
            request = request.header("authorization", format!("Bearer {token}"));
        }
        let request = request.body(Full::new(Bytes::copy_from_slice(body.as_bytes()))).unwrap();
        within("the head of an answer", sender.send_request(request)).await.unwrap()
    }

    fn headers(&self) -> Vec<(&str, &str)> {
        let mut headers = vec![ACCEPT, JSON];
        headers.extend(self.session.as_deref().map(|session| ("mcp-session-id", session)));
        headers.extend(self.version.as_deref().map(|version| ("mcp-protocol-version", version)));
        headers
    }

    pub async fn post(&self, body: &str) -> Response<Incoming> {
        self.send(Method::POST, &self.path, &self.headers(), body).await
    }

    /// A request whose answer is plain JSON.
    pub async fn call(&self, id: Value, method: &str, params: Value) -> Value {
        let answer = self.post(&request(id, method, params)).await;
        assert_eq!(answer.status(), StatusCode::OK);
        json_body(answer).await
    }

    /// `tools/call`; returns the first text.
    pub async fn tool(&self, id: Value, name: &str, arguments: Value) -> String {
        let answer = self.call(id, "tools/call", json!({"name": name, "arguments": arguments})).await;
        text_of(&answer).unwrap_or_else(|| panic!("{name}: {answer}"))
    }

    pub async fn initialize(&mut self, version: &str, capabilities: Value) -> Value {
        let client_info = json!({"name": "harness", "version": "1"});
        let params = json!({"protocolVersion": version, "capabilities": capabilities, "clientInfo": client_info});
        let answer = self.post(&request(json!(0), "initialize", params)).await;
        assert_eq!(answer.status(), StatusCode::OK);
        self.session = answer.headers().get("mcp-session-id").map(|id| id.to_str().unwrap().to_owned());
        let answer = json_body(answer).await;
        if self.session.is_some() {
            self.version = Some(answer["result"]["protocolVersion"].as_str().unwrap().to_owned());
        }
        let accepted = self.post(r#"{"jsonrpc":"2.0","method":"notifications/initialized"}"#).await;
        assert_eq!(accepted.status(), StatusCode::ACCEPTED);
        answer
    }

    /// Opens the GET stream.
    pub async fn listen(&self, last_event_id: Option<&str>) -> Events {
        let mut headers = self.headers();
        headers.extend(last_event_id.map(|id| ("last-event-id", id)));
        let answer = self.send(Method::GET, &self.path, &headers, "").await;
        assert_eq!(answer.status(), StatusCode::OK);
        Events::new(answer)
    }

    pub async fn delete(&self) -> StatusCode {
        self.send(Method::DELETE, &self.path, &self.headers(), "").await.status()
    }
}

pub fn request(id: Value, method: &str, params: Value) -> String {
    json!({"jsonrpc": "2.0", "id": id, "method": method, "params": params}).to_string()
}

pub fn notification(method: &str, params: Value) -> String {
    json!({"jsonrpc": "2.0", "method": method, "params": params}).to_string()
}

/// The first text of a tool's result.
pub fn text_of(answer: &Value) -> Option<String> {
    answer["result"]["content"][0]["text"].as_str().map(str::to_owned)
}

pub async fn body(answer: Response<Incoming>) -> Bytes {
    within("a body", answer.into_body().collect()).await.unwrap().to_bytes()
}

pub async fn json_body(answer: Response<Incoming>) -> Value {
    let kind = answer.headers().get("content-type").map(|kind| kind.to_str().unwrap().to_owned());
    let body = body(answer).await;
    assert_eq!(kind.as_deref(), Some("application/json"), "{body:?}");
    serde_json::from_slice(&body).unwrap_or_else(|error| panic!("{error}: {body:?}"))
}

/// One event of a stream.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Event {
    pub id: Option<String>,
    pub event: Option<String>,
    pub data: Option<String>,
    pub retry: Option<String>,
    /// A block of comments alone.
    pub comment: bool,
}

impl Event {
    pub fn json(&self) -> Value {
        serde_json::from_str(self.data.as_deref().unwrap_or_default())
            .unwrap_or_else(|error| panic!("{self:?}: {error}"))
    }
}

/// A stream of events. Dropping it closes its connection.
pub struct Events {
    pub headers: HeaderMap,
    body: Incoming,
    buffer: BytesMut,
}

impl Events {
    pub fn new(answer: Response<Incoming>) -> Self {
        let (head, body) = answer.into_parts();
        let kind = head.headers.get("content-type").map(|kind| kind.to_str().unwrap().to_owned());
        assert_eq!(kind.as_deref(), Some("text/event-stream"));
        Self { headers: head.headers, body, buffer: BytesMut::new() }
    }

    /// The next block, comments too; none at the end.
    pub async fn block(&mut self) -> Option<Event> {
        loop {
            if let Some(end) = self.buffer.windows(2).position(|window| window == b"\n\n") {
                let block = self.buffer.split_to(end + 2);
                return Some(parse_event(std::str::from_utf8(&block).unwrap()));
            }
            match within("an event", self.body.frame()).await {
                Some(Ok(frame)) => self.buffer.extend_from_slice(&frame.into_data().unwrap()),
                Some(Err(_)) | None => {
                    assert!(self.buffer.is_empty(), "cut off: {:?}", self.buffer);
                    return None;
                }
            }
        }
    }

    /// The next event; none at the end.
    pub async fn next(&mut self) -> Option<Event> {
        loop {
            match self.block().await {
                Some(event) if event.comment => {}
                other => return other,
            }
        }
    }

    /// The next event with data, as JSON.
    pub async fn message(&mut self) -> Value {
        loop {
            let event = self.next().await.expect("the stream ended");
            if event.data.as_deref().is_some_and(|data| !data.is_empty()) {
                return event.json();
            }
        }
    }

    /// All messages up to the end.
    pub async fn rest(mut self) -> Vec<Value> {
        let mut messages = Vec::new();
        while let Some(event) = self.next().await {
            if event.data.as_deref().is_some_and(|data| !data.is_empty()) {
                messages.push(event.json());
            }
        }
        messages
    }
}

fn parse_event(block: &str) -> Event {
    let mut event = Event { comment: true, ..Event::default() };
    for line in block.lines().filter(|line| !line.is_empty() && !line.starts_with(':')) {
        event.comment = false;
        let (field, value) = line.split_once(':').unwrap_or((line, ""));
        let value = value.strip_prefix(' ').unwrap_or(value).to_owned();
        match field {
            "id" => event.id = Some(value),
            "event" => event.event = Some(value),
            "data" => event.data = Some(value),
            "retry" => event.retry = Some(value),
            _ => panic!("an unknown field: {line}"),
        }
    }
    event
}

/// A client of HTTP+SSE whose stream is open.
pub struct SseClient {
    pub client: Client,
    pub events: Events,
    pub endpoint: String,
}

impl SseClient {
    pub async fn open(mux: &Mux) -> Self {
        let client = mux.client();
        let answer = client.send(Method::GET, "/sse", &[("accept", "text/event-stream")], "").await;
        assert_eq!(answer.status(), StatusCode::OK);
        let mut events = Events::new(answer);
        let first = events.next().await.unwrap();
        assert_eq!(first.event.as_deref(), Some("endpoint"));
        Self { client, events, endpoint: first.data.unwrap() }
    }

    pub async fn ready(mux: &Mux) -> Self {
        let mut client = Self::open(mux).await;
        let params =
            json!({"protocolVersion": "2024-11-05", "capabilities": {}, "clientInfo": {"name": "h", "version": "1"}});
        client.post(&request(json!(0), "initialize", params)).await;
        assert_eq!(client.events.message().await["id"], 0);
        client.post(r#"{"jsonrpc":"2.0","method":"notifications/initialized"}"#).await;
        client
    }

    pub async fn post(&self, body: &str) {
        let answer = self.client.send(Method::POST, &self.endpoint, &[JSON], body).await;
        assert_eq!(answer.status(), StatusCode::ACCEPTED);
    }
}

/// Whether a process exists (a zombie does not count).
pub fn is_alive(pid: i64) -> bool {
    match std::fs::read_to_string(format!("/proc/{pid}/stat")) {
        Ok(stat) => !stat.rsplit(')').next().unwrap_or_default().trim_start().starts_with('Z'),
        Err(_) => false,
    }
}

/// Waits until a process is gone.
pub async fn gone(pid: i64) {
    within(&format!("the end of process {pid}"), async {
        while is_alive(pid) {
            tokio::task::yield_now().await;
        }
    })
    .await;
}

/// All that a finished program wrote, and how it ended.
pub async fn run_to_end(mut command: Command) -> (Option<i32>, String, String) {
    let mut process = command.spawn().unwrap();
    let (mut out, mut err) = (String::new(), String::new());
    let (mut stdout, mut stderr) = (process.stdout.take().unwrap(), process.stderr.take().unwrap());
    let status = within("the end of the program", async {
        let (status, ..) =
            tokio::join!(process.wait(), stdout.read_to_string(&mut out), stderr.read_to_string(&mut err));
        status.unwrap()
    })
    .await;
    (status.code(), out, err)
}
