//! All layers of mcp-mux in one runtime with a paused clock: configured as by an operator, with a server in memory that
//! does what the input says.

use std::cell::RefCell;
use std::collections::{BTreeMap, VecDeque};
use std::ffi::OsString;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use mcp_mux::auth::{Authenticator, Methods};
use mcp_mux::child::in_memory::{Pipes, Server};
use mcp_mux::cli::Cli;
use mcp_mux::config::principals::PrincipalsConfig;
use mcp_mux::config::{Config, ListenConfig};
use mcp_mux::http::Http;
use mcp_mux::http::guard::Guard;
use mcp_mux::mcp::method;
use mcp_mux::metrics::ServerMetrics;
use mcp_mux::pool::Pool;
use mcp_mux::servers::Servers;
use mcp_mux::session::{Registry, UnreadTotal};
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::judge::{Expected, Members, Verdict, judge};

/// Longer than anything may take. The clock is paused, so it costs nothing.
pub const LONG: Duration = Duration::from_secs(3600);

/// What the server does with a request: a character that says what, and a text.
pub type Action = (u8, Vec<u8>);

/// What the server does with its next requests, and what it says of itself.
#[derive(Clone, Default)]
pub struct Script(Arc<Mutex<Lines>>);

#[derive(Default)]
pub struct Lines {
    pub actions: VecDeque<Action>,
    pub introduction: Option<Vec<u8>>,
}

impl Script {
    pub fn lock(&self) -> MutexGuard<'_, Lines> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Everything but the port.
pub struct World {
    pub http: Arc<Http>,
    pub registry: Arc<Registry>,
    pub listen: ListenConfig,
    pub script: Script,
    pool: Arc<Pool>,
    pub tasks: TaskTracker,
    sweeper: CancellationToken,
}

/// Limits and times that an input can reach.
const FLAGS: &str = "--port 0 --request-timeout 20s --request-timeout-max 60s --queue-timeout 5s --input-timeout 30s \
    --body-bytes-max 64KiB --replay-events 8 --replay-bytes 4KiB --sessions-max 6 --in-flight-max 4 --children-max 3 \
    --session-idle-timeout 5m --stop-timeout 2s --sse-after 1s";

/// Runs it to its end, in a runtime of its own.
pub fn in_runtime<F: Future>(future: F) -> F::Output {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build();
    runtime.unwrap_or_else(|error| panic!("{error}")).block_on(future)
}

impl World {
    /// Configured with these flags beside the usual ones.
    pub fn start(flags: &str) -> Self {
        let config = config(flags);
        let (tasks, sweeper, script) = (TaskTracker::new(), CancellationToken::new(), Script::default());
        let of_server = script.clone();
        let script_server = Server::new(move |pipes| serve(pipes, of_server.clone()));
        let server = config.servers.servers.into_iter().next().expect("a server");
        let (sessions, listen) = (server.endpoint.sessions, config.listen);
        let pool = Pool::start_in_memory(
            server.pool,
            sessions,
            server.child,
            server.router,
            script_server,
            (ServerMetrics::unnamed(), &tasks),
        );
        let registry = Registry::new(server.session, Arc::clone(&pool), &UnreadTotal::new(512 << 20));
        let (swept, until) = (Arc::clone(&registry), sweeper.clone());
        tasks.spawn(async move { swept.run(until).await });
        let authenticator = Arc::new(Authenticator::new(Methods::default(), PrincipalsConfig::default()));
        let servers = Servers::of(server.endpoint, Arc::clone(&registry), Arc::clone(&pool));
        let http = Http::new(config.http, Guard::new(config.guard), authenticator, servers);
        Self { http, registry, listen, script, pool, tasks, sweeper }
    }

    /// Stops it, and finds nothing left.
    pub async fn end(self) {
        self.registry.close_all();
        assert!(self.registry.is_empty(), "sessions are left");
        self.sweeper.cancel();
        assert!(timeout(LONG, self.pool.stop()).await.is_ok(), "the children do not stop");
        drop((self.http, self.registry, self.pool));
        self.tasks.close();
        assert!(timeout(LONG, self.tasks.wait()).await.is_ok(), "{} tasks are left", self.tasks.len());
    }
}

/// What these flags come to. Kept, because reading a command line takes longer than serving a few requests.
fn config(flags: &str) -> Config {
    thread_local! {
        static KNOWN: RefCell<BTreeMap<String, Config>> = const { RefCell::new(BTreeMap::new()) };
    }
    let load = || {
        let args = ["mcp-mux"].into_iter().chain(FLAGS.split_whitespace()).chain(flags.split_whitespace());
        let args = args.chain(["--", "server"]).map(OsString::from);
        let cli = Cli::read(args, |_| None).unwrap_or_else(|error| panic!("{error}"));
        Config::load(cli).unwrap_or_else(|error| panic!("{error}"))
    };
    KNOWN.with_borrow_mut(|known| known.entry(flags.to_owned()).or_insert_with(load).clone())
}

const INITIALIZE_RESULT: &str = r#"{"protocolVersion":"2025-11-25","capabilities":{"logging":{},"tools":{"listChanged":true},"resources":{"subscribe":true}},"serverInfo":{"name":"s","version":"1"}}"#;
const DISCOVER_RESULT: &str = r#"{"supportedVersions":["2026-07-28"],"capabilities":{"tools":{"listChanged":true},"resources":{"listChanged":true,"subscribe":true},"logging":{}},"resultType":"complete","ttlMs":0,"cacheScope":"private"}"#;
const TOOLS: &str = r#"{"tools":[{"name":"t","inputSchema":{"properties":{"region":{"type":"string","x-mcp-header":"Region"}}}}],"resultType":"complete","ttlMs":1000,"cacheScope":"public"}"#;

/// A server. Whatever clients send, it reads whole messages in one line each.
async fn serve(pipes: Pipes, script: Script) {
    let Pipes { stdin, mut stdout } = pipes;
    let mut lines = BufReader::new(stdin).split(b'\n');
    while let Ok(Some(line)) = lines.next_segment().await {
        let Verdict::Message(message) = judge(&line, usize::MAX) else {
            panic!("the server was given {:?}", String::from_utf8_lossy(&line));
        };
        let Some(id) = message.id.filter(|_| !message.method.is_empty()) else { continue };
        let introduction = || script.lock().introduction.clone();
        let said = match message.method.as_str() {
            method::INITIALIZE => answer(id, &introduction().unwrap_or_else(|| INITIALIZE_RESULT.into())),
            method::DISCOVER => answer(id, &introduction().unwrap_or_else(|| DISCOVER_RESULT.into())),
            method::PING => answer(id, b"{}"),
            _ => {
                let action = script.lock().actions.pop_front();
                let Some(said) = act(&message, id, action) else { return };
                said
            }
        };
        if stdout.write_all(&said).await.is_err() {
            return;
        }
    }
}

/// What it says to a request; none if it exits.
fn act(message: &Expected<'_>, id: &str, action: Option<Action>) -> Option<Vec<u8>> {
    let (kind, text) = action.unwrap_or((b'0', Vec::new()));
    let usual = || match message.method.as_str() {
        method::TOOLS_LIST => answer(id, TOOLS.as_bytes()),
        method::LISTEN => line(&format!(
            r#""method":"{}","params":{{"_meta":{{"io.modelcontextprotocol/subscriptionId":{id}}},"notifications":{{"toolsListChanged":true}}}}"#,
            method::ACKNOWLEDGED
        )),
        _ => answer(id, br#"{"content":[],"resultType":"complete"}"#),
    };
    let then_usual = |first: Vec<u8>| Some([first, usual()].concat());
    match kind {
        b'1' => {
            let Some(token) = token(message) else { return Some(usual()) };
            then_usual(line(&format!(r#""method":"{}","params":{{"progressToken":{token},"progress":1}}"#, method::PROGRESS)))
        }
        b'2' => then_usual(line(&format!(r#""id":"q{id}","method":"{}","params":{{"messages":[],"maxTokens":1}}"#, method::SAMPLING))),
        b'3' => Some(line(&format!(r#""id":{id},"error":{{"code":-32602,"message":"no"}}"#))),
        b'4' => Some(Vec::new()),
        b'5' => None,
        b'6' => then_usual([&text[..], b"\n"].concat()),
        b'7' => {
            // The text, with the id in the place of each `$`.
            let parts: Vec<&[u8]> = text.split(|byte| *byte == b'$').collect();
            Some([parts.join(id.as_bytes()), b"\n".to_vec()].concat())
        }
        b'8' => then_usual(line(r#""method":"notifications/message","params":{"level":"error","data":1}"#)),
        b'9' => then_usual(line(r#""method":"notifications/tools/list_changed""#)),
        b':' => then_usual(line(r#""method":"notifications/resources/updated","params":{"uri":"x:/1"}"#)),
        b';' => Some(answer(
            id,
            br#"{"resultType":"input_required","inputRequests":{"a":{"method":"elicitation/create","params":{"mode":"form","message":"m","requestedSchema":{"type":"object","properties":{}}}}},"requestState":"s"}"#,
        )),
        b'<' => Some(answer(id, br#"{"task":{"taskId":"k","status":"working","createdAt":"2025-01-01T00:00:00Z","ttl":1}}"#)),
        b'=' => Some(line(&format!(r#""id":"q{id}","method":"{}","params":{{"mode":"form","message":"m","requestedSchema":{{"type":"object","properties":{{}}}}}}"#, method::ELICITATION))),
        _ => Some(usual()),
    }
}

fn line(members: &str) -> Vec<u8> {
    format!("{{\"jsonrpc\":\"2.0\",{members}}}\n").into_bytes()
}

fn answer(id: &str, result: &[u8]) -> Vec<u8> {
    [br#"{"jsonrpc":"2.0","id":"#, id.as_bytes(), br#","result":"#, result, b"}\n"].concat()
}

/// The progress token of a request, as spelled.
pub fn token<'a>(message: &Expected<'a>) -> Option<&'a str> {
    let member = |object: Option<&'a str>, name: &str| {
        let members = Members::of(object?)?;
        members.0.iter().find(|(_, decoded, _)| decoded.as_deref() == Some(name)).map(|(_, _, value)| *value)
    };
    member(member(message.params, "_meta"), "progressToken")
}
