//! Servers that were changed or taken out while something was in flight: they finish it, and begin nothing.

use serde_json::json;

use super::*;
use crate::servers::testing::{LONG, Play, SOON, end, server, several, start};

const ASK: &str = r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"ask"}}"#;
const WAIT: &str = r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"wait"}}"#;
const PING: &str = r#"{"jsonrpc":"2.0","id":2,"method":"ping"}"#;
const BOTH: (&str, &str) = ("accept", "application/json, text/event-stream");

struct World {
    http: Arc<Http>,
    play: Play,
    servers: (Arc<Servers>, tokio_util::task::TaskTracker),
}

/// One server, and another that is always there.
async fn world() -> World {
    let play = Play::default();
    let servers = start(several(vec![server("a", &[]), server("b", &[])]), &play);
    servers.0.first().await.expect("they work");
    World { http: Http::new(config().http, guard(), authenticator(), Arc::clone(&servers.0)), play, servers }
}

/// What becomes of the first one.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Turn {
    Changed,
    Removed,
    /// The one in its place cannot be started.
    ChangedForTheWorse,
}

impl World {
    async fn turn(&self, turn: Turn) {
        let mut configs = vec![server("b", &[])];
        if turn == Turn::ChangedForTheWorse {
            self.play.broken.lock().unwrap().insert("a");
        }
        if turn != Turn::Removed {
            configs.push(server("a", &["--request-timeout", "7s"]));
        }
        self.servers.0.change(several(configs));
        tokio::time::sleep(SOON).await;
    }

    async fn post(&self, path: &str, headers: &[(&str, &str)], body: &str) -> Answered {
        self.http.ask(request("POST", path, headers, body)).await
    }

    /// A session that may be asked things.
    async fn open(&self) -> String {
        let body = initialize(Revision::V2025_11_25).replace(r#""sampling":{}"#, r#""elicitation":{}"#);
        let answered = self.post("/servers/a/mcp", &[], &body).await;
        assert_eq!(answered.status, StatusCode::OK);
        let id = answered.header("mcp-session-id").to_owned();
        let initialized = r#"{"jsonrpc":"2.0","method":"notifications/initialized"}"#;
        assert_eq!(self.post("/servers/a/mcp", &[("mcp-session-id", &id)], initialized).await.status, 202);
        id
    }

    /// How many processes there are: those of the servers there should be, and of the one that leaves.
    fn running(&self) -> usize {
        self.play.running.load(std::sync::atomic::Ordering::Relaxed)
    }

    async fn end(self) {
        drop(self.http);
        end(self.servers, &self.play).await;
    }
}

/// The message in an event.
fn data(event: &str) -> Value {
    let line = event.lines().find_map(|line| line.strip_prefix("data: ").filter(|data| data.starts_with('{')));
    serde_json::from_str(line.unwrap_or_else(|| panic!("no message: {event}"))).expect("JSON")
}

#[tokio::test(start_paused = true)]
async fn a_client_that_was_asked_something_may_answer_and_begin_nothing_else() {
    for turn in [Turn::Changed, Turn::Removed, Turn::ChangedForTheWorse] {
        let world = world().await;
        let id = world.open().await;
        let headers = [("mcp-session-id", id.as_str()), BOTH];
        let mut asking = world.post("/servers/a/mcp", &headers, ASK).await;
        let mut event = asking.chunk().await.expect("a question");
        if !event.contains("elicitation/create") {
            event = asking.chunk().await.expect("a question");
        }
        let question = data(&event);
        world.turn(turn).await;
        let unknown = (404, "session-unknown".to_owned());
        assert_eq!(world.post("/servers/a/mcp", &headers, PING).await.kind().await, unknown, "{turn:?}");
        let standing = request("GET", "/servers/a/mcp", &[headers[0], ("accept", "text/event-stream")], "");
        assert_eq!(world.http.ask(standing).await.kind().await, unknown, "{turn:?}");
        if turn == Turn::Changed {
            // Who has no session gets one of the new server.
            assert_ne!(world.open().await, id);
        }

        let answer = json!({"jsonrpc": "2.0", "id": question["id"], "result": {"action": "decline"}}).to_string();
        assert_eq!(world.post("/servers/a/mcp", &headers, &answer).await.status, StatusCode::ACCEPTED, "{turn:?}");
        let answered = data(&asking.rest().await);
        assert_eq!(answered["result"]["structuredContent"]["action"], "decline");
        // Then it is gone, and the session with it.
        tokio::time::sleep(SOON).await;
        assert_eq!(world.running(), if turn == Turn::Changed { 2 } else { 1 });
        let kind = match turn {
            Turn::Changed => "session-unknown",
            Turn::Removed => "server-unknown",
            Turn::ChangedForTheWorse => "circuit-open",
        };
        assert_eq!(world.post("/servers/a/mcp", &headers, &answer).await.kind().await.1, kind);
        world.end().await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_client_may_cancel_what_it_waits_for_and_the_server_is_gone_then() {
    let world = world().await;
    let id = world.open().await;
    let headers = [("mcp-session-id", id.as_str()), BOTH];
    let waiting = world.post("/servers/a/mcp", &headers, WAIT);
    let cancelling = async {
        tokio::time::sleep(Duration::from_millis(100)).await;
        world.turn(Turn::Changed).await;
        assert_eq!(world.running(), 3);
        let cancelled = r#"{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":1}}"#;
        assert_eq!(world.post("/servers/a/mcp", &headers[..1], cancelled).await.status, StatusCode::ACCEPTED);
    };
    let (answered, ()) = tokio::join!(waiting, cancelling);
    assert_eq!(answered.status, StatusCode::OK);
    answered.rest().await;
    tokio::time::sleep(SOON).await;
    assert_eq!(world.running(), 2);
    world.end().await;
}

#[tokio::test(start_paused = true)]
async fn a_client_of_2024_11_05_may_answer_too() {
    let world = world().await;
    let mut stream = world.http.ask(request("GET", "/servers/a/sse", &[("accept", "text/event-stream")], "")).await;
    let endpoint = stream.chunk().await.expect("the endpoint");
    let url = endpoint.trim_end().rsplit(' ').next().expect("a URL").to_owned();
    let body = initialize(Revision::V2024_11_05).replace(r#""sampling":{}"#, r#""elicitation":{}"#);
    world.post(&url, &[], &body).await;
    stream.chunk().await.expect("the answer");
    world.post(&url, &[], ASK).await;
    let question = data(&stream.chunk().await.expect("a question"));
    world.turn(Turn::Changed).await;
    assert_eq!(world.post(&url, &[], PING).await.kind().await, (404, "session-unknown".to_owned()));
    let answer = json!({"jsonrpc": "2.0", "id": question["id"], "result": {"action": "decline"}}).to_string();
    assert_eq!(world.post(&url, &[], &answer).await.status, StatusCode::ACCEPTED);
    assert_eq!(data(&stream.rest().await)["result"]["structuredContent"]["action"], "decline");
    world.end().await;
}

/// A request of 2026-07-28.
fn modern(id: u32, more: &str) -> String {
    let meta = r#""io.modelcontextprotocol/protocolVersion":"2026-07-28","io.modelcontextprotocol/clientInfo":{"name":"c","version":"1"},"io.modelcontextprotocol/clientCapabilities":{"elicitation":{"form":{}}}"#;
    format!(r#"{{"jsonrpc":"2.0","id":{id},"method":"tools/call","params":{{"name":"ask",{more}"_meta":{{{meta}}}}}}}"#)
}

#[tokio::test(start_paused = true)]
async fn a_client_of_2026_07_28_may_come_back_with_its_answer_wherever_the_new_server_is() {
    for turn in [Turn::Changed, Turn::Removed, Turn::ChangedForTheWorse] {
        let world = world().await;
        let headers = [BOTH, ("mcp-protocol-version", "2026-07-28"), ("mcp-method", "tools/call"), ("mcp-name", "ask")];
        let asked = world.post("/servers/a/mcp", &headers, &modern(1, "")).await;
        let asked = asked.json().await;
        let state = &asked["result"]["requestState"];
        let key = asked["result"]["inputRequests"].as_object().and_then(|all| all.keys().next()).expect("a question");
        world.turn(turn).await;
        let expected = match turn {
            Turn::Changed => None,
            Turn::Removed => Some((404, "server-unknown".to_owned())),
            Turn::ChangedForTheWorse => Some((503, "circuit-open".to_owned())),
        };
        if let Some(expected) = expected {
            let refused = world.post("/servers/a/mcp", &headers, &modern(2, "")).await;
            assert_eq!(refused.kind().await, expected, "{turn:?}");
        }
        let retry = format!(r#""requestState":{state},"inputResponses":{{"{key}":{{"action":"decline"}}}},"#);
        let answered = world.post("/servers/a/mcp", &headers, &modern(4, &retry)).await;
        let answered = answered.json().await;
        assert_eq!(answered["result"]["structuredContent"]["action"], "decline", "{turn:?}: {answered}");
        tokio::time::sleep(LONG).await;
        // What it knew is gone with it.
        let again = world.post("/servers/a/mcp", &headers, &modern(5, &retry)).await;
        assert!(again.json().await["error"].is_object(), "{turn:?}");
        world.end().await;
    }
}
