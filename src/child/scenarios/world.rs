//! An actor and everything around it, for its scenarios: processes in memory, a session's outbox, deadlines.

use std::collections::{BTreeMap, VecDeque};
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader, DuplexStream, Lines};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::timeout;
use tokio_util::task::TaskTracker;

use super::super::*;
use crate::child::lookup::SpawnError;
use crate::child::process::{Launch, Process};
use crate::child::supervisor::{EndedBy, Exit, Liveness, Order};
use crate::config::{Bounds, DeclaredCapabilities, InheritEnv, OnAmbiguous, OnChildExit};
use crate::mcp::Revision;
use crate::metrics::ServerMetrics;
use crate::router::StreamId;

pub(super) const DEADLINE: Duration = Duration::from_secs(600);
pub(super) const START_TIMEOUT: Duration = Duration::from_secs(30);
pub(super) const QUEUE_TIMEOUT: Duration = Duration::from_secs(5);

/// The other side of a process in memory.
pub(super) struct Fake {
    pub(super) stdin: Lines<BufReader<DuplexStream>>,
    pub(super) stdout: Option<DuplexStream>,
    pub(super) stderr: Option<DuplexStream>,
    pub(super) orders: watch::Receiver<Order>,
    pub(super) exit: Option<oneshot::Sender<Exit>>,
}

/// Hands the other side of each process it starts to the test, unless the next start is to fail.
pub(super) struct FakeLauncher {
    pub(super) started: mpsc::Sender<Fake>,
    pub(super) failures: VecDeque<bool>,
    pub(super) pipe_bytes: usize,
    pub(super) liveness: fn(u32) -> Liveness,
}

impl Launch for FakeLauncher {
    fn launch(&mut self) -> Result<Process, SpawnError> {
        if self.failures.pop_front() == Some(true) {
            return Err(SpawnError::NotFound { program: "fake".to_owned() });
        }
        let (stdin, child_stdin) = tokio::io::duplex(self.pipe_bytes);
        let (stdout, child_stdout) = tokio::io::duplex(1024 * 1024);
        let (stderr, child_stderr) = tokio::io::duplex(1024);
        let (orders, received) = watch::channel(Order::Run);
        let (exited, exit) = oneshot::channel();
        let fake = Fake {
            stdin: BufReader::new(child_stdin).lines(),
            stdout: Some(child_stdout),
            stderr: Some(child_stderr),
            orders: received,
            exit: Some(exited),
        };
        self.started.try_send(fake).expect("the test takes them");
        let (stdin, stdout, stderr) = (Box::new(stdin), Box::new(stdout), Box::new(stderr));
        Ok(Process { pid: 4711, liveness: self.liveness, stdin, stdout, stderr, orders, exit })
    }
}

impl Fake {
    pub(super) async fn reads(&mut self) -> Value {
        let line = within(self.stdin.next_line()).await.expect("readable").expect("a line");
        serde_json::from_str(&line).expect("JSON")
    }

    pub(super) async fn reads_the_end(&mut self) {
        assert_eq!(within(self.stdin.next_line()).await.expect("readable"), None);
    }

    pub(super) async fn writes(&mut self, text: &str) {
        let stdout = self.stdout.as_mut().expect("open");
        within(stdout.write_all(text.as_bytes())).await.expect("it is read");
    }

    pub(super) async fn answers(&mut self, request: &Value) {
        let (id, method) = (&request["id"], &request["method"]);
        self.writes(&format!("{{\"jsonrpc\":\"2.0\",\"id\":{id},\"result\":{{\"to\":{method}}}}}\n")).await;
    }

    pub(super) async fn complains(&mut self, text: &str) {
        let stderr = self.stderr.as_mut().expect("open");
        within(stderr.write_all(text.as_bytes())).await.expect("it is read");
    }

    pub(super) async fn shakes_hands(&mut self) {
        let initialize = self.reads().await;
        assert_eq!(initialize["method"], "initialize");
        let result =
            json!({"protocolVersion": "2025-11-25", "capabilities": {}, "serverInfo": {"name": "s", "version": "1"}});
        self.writes(&format!("{}\n", json!({"jsonrpc": "2.0", "id": initialize["id"], "result": result}))).await;
        assert_eq!(self.reads().await["method"], "notifications/initialized");
    }

    pub(super) async fn is_ordered(&mut self, order: Order) {
        within(self.orders.wait_for(|present| *present == order)).await.expect("it is supervised");
    }

    /// Its process ends; the pipes stay until this is dropped.
    pub(super) fn ends(&mut self, exit: Exit) {
        self.exit.take().expect("once").send(exit).expect("it is supervised");
    }

    /// Its process ends, if it has not yet, and so do the pipes.
    pub(super) fn goes(mut self, exit: Exit) {
        if self.exit.is_some() {
            self.ends(exit);
        }
    }

    /// It exits as processes do: pipes first.
    pub(super) fn exits(mut self, code: i32) {
        (self.stdout, self.stderr) = (None, None);
        self.ends(exit(code));
    }
}

pub(super) fn exit(code: i32) -> Exit {
    Exit { status: format!("exit status: {code}"), exit_code: Some(code), signal: None, ended_by: EndedBy::Itself }
}

pub(super) fn terminated() -> Exit {
    Exit { status: "signal: 15 (SIGTERM)".to_owned(), exit_code: None, signal: Some(15), ended_by: EndedBy::Ladder }
}

/// Keeps what a session is given.
#[derive(Debug)]
pub(super) struct Kept(pub(super) SessionKey, pub(super) mpsc::Sender<(SessionKey, StreamId, Payload)>);

impl Outbox for Kept {
    fn deliver(&self, stream: StreamId, payload: Payload) {
        self.1.try_send((self.0, stream, payload)).expect("the test takes them");
    }
}

/// An actor and everything around it.
pub(super) struct World {
    pub(super) handle: ChildHandle,
    pub(super) tracker: TaskTracker,
    pub(super) state: watch::Receiver<ChildState>,
    pub(super) started: mpsc::Receiver<Fake>,
    pub(super) outbox: mpsc::Sender<(SessionKey, StreamId, Payload)>,
    pub(super) deliveries: mpsc::Receiver<(SessionKey, StreamId, Payload)>,
}

pub(in crate::child) fn child_config(command: &[&str]) -> ChildConfig {
    ChildConfig {
        server: None,
        command: command.iter().map(|word| (*word).to_owned()).collect(),
        cwd: None,
        env: BTreeMap::new(),
        inherit_env: InheritEnv::All,
        line_bytes_max: 2000,
        stderr_lines_max: 1000,
        queue_bytes_max: 1000,
        queue_timeout: QUEUE_TIMEOUT,
        start_timeout: START_TIMEOUT,
        era: None,
        probe_timeout: Duration::from_secs(5),
        stop_timeout: Duration::from_secs(5),
        on_exit: OnChildExit::Restart,
        ping_interval: None,
        age_max: None,
        requests_max: None,
    }
}

pub(in crate::child) fn router_config() -> RouterConfig {
    RouterConfig {
        request_timeout: None,
        request_timeout_max: None,
        in_flight_max: NonZeroUsize::MAX,
        queue_timeout: Duration::from_secs(60),
        on_ambiguous: OnAmbiguous::Reject,
        client_capabilities: DeclaredCapabilities { roots: true, sampling: true, elicitation: true },
        bounds: Bounds::default(),
    }
}

pub(super) fn shared() -> Tenancy {
    Tenancy {
        number: 1,
        era: EraSource::of(Era::Legacy),
        sharing: Sharing::Shared,
        variables: OwnVariables::default(),
        cache: ResponseCache::new(10_000),
        proof: Proof::default(),
        metrics: ServerMetrics::unnamed(),
        last_exit: LastExit::default(),
    }
}

impl World {
    pub(super) fn new() -> Self {
        Self::with(&[], 1024)
    }

    /// A world whose server has that for the last exit of its children.
    pub(super) fn telling(last_exit: LastExit) -> Self {
        let (tracker, (started, starts)) = (TaskTracker::new(), mpsc::channel(100));
        let launcher =
            FakeLauncher { started, failures: VecDeque::new(), pipe_bytes: 1024, liveness: |_| Liveness::Exiting };
        let tenancy = Tenancy { last_exit, ..shared() };
        let config = child_config(&["/usr/bin/fake"]);
        let handle = spawn_with(&config, &router_config(), tenancy, launcher, &tracker);
        Self::around(handle, tracker, starts)
    }

    pub(super) fn with(failures: &[bool], pipe_bytes: usize) -> Self {
        Self::with_liveness(failures, pipe_bytes, |_| Liveness::Exiting)
    }

    pub(super) fn with_liveness(failures: &[bool], pipe_bytes: usize, liveness: fn(u32) -> Liveness) -> Self {
        Self::of(&child_config(&["/usr/bin/fake"]), Sharing::Shared, failures, pipe_bytes, liveness)
    }

    pub(super) fn of(
        config: &ChildConfig,
        sharing: Sharing,
        failures: &[bool],
        pipe_bytes: usize,
        liveness: fn(u32) -> Liveness,
    ) -> Self {
        let (tracker, (started, starts)) = (TaskTracker::new(), mpsc::channel(100));
        let launcher = FakeLauncher { started, failures: failures.iter().copied().collect(), pipe_bytes, liveness };
        let tenancy = Tenancy {
            number: 1,
            era: EraSource::of(Era::Legacy),
            sharing,
            variables: OwnVariables::default(),
            cache: ResponseCache::new(10_000),
            proof: Proof::default(),
            metrics: ServerMetrics::unnamed(),
            last_exit: LastExit::default(),
        };
        let handle = spawn_with(config, &router_config(), tenancy, launcher, &tracker);
        Self::around(handle, tracker, starts)
    }

    /// A world whose child is configured otherwise.
    pub(super) fn configured(change: impl FnOnce(&mut ChildConfig)) -> Self {
        let mut config = child_config(&["/usr/bin/fake"]);
        change(&mut config);
        Self::of(&config, Sharing::Shared, &[], 1024, |_| Liveness::Exiting)
    }

    pub(super) fn around(handle: ChildHandle, tracker: TaskTracker, started: mpsc::Receiver<Fake>) -> Self {
        let (outbox, deliveries) = mpsc::channel(10_000);
        let state = handle.state();
        Self { handle, tracker, state, started, outbox, deliveries }
    }

    /// A world with an attached session whose child is ready.
    pub(super) async fn ready() -> (Self, Fake) {
        Self::new().becomes_ready().await
    }

    pub(super) async fn becomes_ready(self) -> (Self, Fake) {
        let mut world = self;
        let mut child = world.starts().await;
        child.shakes_hands().await;
        world.becomes(&ChildState::Ready).await;
        world.attach(1).await;
        (world, child)
    }

    pub(super) async fn starts(&mut self) -> Fake {
        within(self.started.recv()).await.expect("a process")
    }

    pub(super) async fn becomes(&mut self, state: &ChildState) {
        within(self.state.wait_for(|present| present == state)).await.expect("the actor lives");
    }

    pub(super) async fn fails(&mut self) -> String {
        let failed = within(self.state.wait_for(|state| matches!(state, ChildState::Failed(_)))).await;
        let ChildState::Failed(text) = failed.expect("the actor lives").clone() else { unreachable!() };
        text
    }

    pub(super) async fn attach(&self, session: u64) {
        self.attach_with(Profile { revision: Some(Revision::LATEST), ..Profile::default() }, session).await;
    }

    pub(super) async fn attach_with(&self, profile: Profile, session: u64) {
        let session = SessionKey(session);
        let outbox = Arc::new(Kept(session, self.outbox.clone()));
        within(self.handle.attach(session, profile, outbox)).await.expect("the actor lives");
    }

    pub(super) async fn sends(&self, id: u64, params: &str) -> Result<(), Reject> {
        let text = format!(r#"{{"jsonrpc":"2.0","id":{id},"method":"tools/call","params":{{"x":"{params}"}}}}"#);
        let from = Origin::client(SessionKey(1), StreamId(id));
        within(self.handle.send(from, Message::parse(Bytes::from(text), 100).expect("a message"))).await
    }

    pub(super) async fn notifies(&self, method: &str) {
        self.says(&json!({"jsonrpc": "2.0", "method": method})).await;
    }

    /// Sends a notification or an answer.
    pub(super) async fn says(&self, message: &Value) {
        let from = Origin::client(SessionKey(1), StreamId::STANDALONE);
        let message = Message::parse(Bytes::from(message.to_string()), 100).expect("a message");
        within(self.handle.send(from, message)).await.expect("there is room");
    }

    pub(super) async fn asks(&self, id: u64) {
        self.sends(id, "").await.expect("there is room");
    }

    /// The next thing the session is given: for a response its bytes, else the reject.
    pub(super) async fn given(&mut self) -> (u64, Result<String, Reject>) {
        let (_, stream, payload) = within(self.deliveries.recv()).await.expect("a delivery");
        let text = |frame: crate::jsonrpc::Frame| String::from_utf8(frame.into_bytes().to_vec()).expect("UTF-8");
        let what = match payload {
            Payload::Response(frame) | Payload::Initialized(frame, _) | Payload::Message(frame) => Ok(text(frame)),
            Payload::Rejected(id, reject) => {
                assert_eq!(id.as_str(), stream.0.to_string());
                Err(reject)
            }
            Payload::Cancelled => panic!("nothing was cancelled"),
        };
        (stream.0, what)
    }

    pub(super) async fn is_answered(&mut self, id: u64) {
        let expected = format!(r#"{{"jsonrpc":"2.0","id":{id},"result":{{"to":"tools/call"}}}}"#);
        assert_eq!(self.given().await, (id, Ok(expected)));
    }

    pub(super) async fn is_rejected(&mut self, id: u64, kind: &str) -> Reject {
        let (stream, what) = self.given().await;
        let reject = what.expect_err("a reject");
        assert_eq!((stream, reject.wire().kind), (id, kind));
        reject
    }

    pub(super) async fn leaves_nothing(self) {
        self.tracker.close();
        within(self.tracker.wait()).await;
    }
}

pub(super) async fn within<T>(future: impl Future<Output = T>) -> T {
    timeout(DEADLINE, future).await.expect("it happens before the deadline")
}
