//! Finding out which era a server speaks, with servers that take the question badly.

use http::Method;
use serde_json::{Value, json};

use crate::harness::{ACCEPT, Client, JSON, Mux, command, json_body, python, run_to_end};

const AUTO: [&str; 2] = ["--child-era", "auto"];

/// Serves one tool call after the other; `ODD` is what it does with a first message that is no `initialize`.
fn odd(first: &str) -> Vec<String> {
    let script = r#"
import fcntl, subprocess
def serve(first):
    reply(first, {"protocolVersion": "2025-11-25", "capabilities": {"tools": {}}, "serverInfo": {"name": "odd", "version": "1"}})
    while True:
        message = read()
        if "id" in message:
            reply(message, {"content": [{"type": "text", "text": str(os.getpid())}]})
def odd(first):
    ODD
before()
first = read()
if first["method"] != "initialize":
    assert first["method"] == "server/discover", first
    assert first["params"]["_meta"]["io.modelcontextprotocol/protocolVersion"] == "2026-07-28", first
    odd(first)
    first = read()
serve(first)
"#;
    python(&format!("def before(): pass\n{}", script.replace("ODD", first)))
}

#[tokio::test]
async fn a_server_that_takes_the_question_badly_is_served() {
    let long = &["--probe-timeout", "1h"][..];
    for (first, flags, how) in [
        ("sys.exit(1)", long, "it exited or closed its stdout without an answer"),
        ("os.close(1); time.sleep(600)", long, "it exited or closed its stdout without an answer"),
        // With a helper that nobody but the group's end would stop.
        (
            "subprocess.Popen(['sleep', '600']); time.sleep(600)",
            &["--probe-timeout", "300ms"],
            "no answer within 300ms",
        ),
        ("write({'jsonrpc': '2.0', 'id': None, 'error': {'code': -32700, 'message': 'x'}})", long, "the error -32700"),
        ("print('what?'); reply(first, {})", long, "no supportedVersions with 2026-07-28"),
    ] {
        let mut mux = Mux::start(&[&AUTO, flags].concat(), odd(first)).await;
        mux.logged(how).await;
        let session = mux.session("2025-11-25").await;
        session.tool(json!(1), "pid", json!({})).await;
        let (status, _, log) = mux.stop().await;
        assert!(status.success(), "{log}");
        assert!(!log.contains("started once more"), "{log}");
    }
}

#[tokio::test]
async fn nobody_is_asked_where_the_user_says_what_the_server_speaks() {
    let mux = Mux::start(&["--child-era", "legacy"], odd("os._exit(9)")).await;
    let session = mux.session("2025-11-25").await;
    session.tool(json!(1), "pid", json!({})).await;
    let (_, _, log) = mux.stop().await;
    assert!(!log.contains("was found out"), "{log}");
}

/// Two processes of it cannot be there at a time: whichever is later exits at once.
#[tokio::test]
async fn a_server_of_which_there_can_be_only_one_is_served() {
    let folder = tempfile::TempDir::new().unwrap();
    let lock = folder.path().join("lock").display().to_string();
    let script = odd("write({'jsonrpc': '2.0', 'id': first['id'], 'error': {'code': -32601, 'message': 'x'}})");
    let alone = "def before():\n    lock = open(os.environ['LOCK'], 'w'); globals()['kept'] = lock\n    \
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)\n";
    let script: Vec<String> = script
        .into_iter()
        .map(|word| word.replace("def before(): pass\n", &format!("import fcntl\n{alone}")))
        .collect();
    for _ in 0..3 {
        let mux = Mux::start(&["--child-era", "auto", "--env", &format!("LOCK={lock}")], script.clone()).await;
        let session = mux.session("2025-11-25").await;
        session.tool(json!(1), "pid", json!({})).await;
        mux.stop().await;
    }
}

#[tokio::test]
async fn a_server_that_cannot_be_started_says_what_it_said_whoever_asked() {
    let script = python("print('no such key', file=sys.stderr); sys.exit(3)");
    let (status, _, log) = run_to_end(command(&["--child-era", "auto", "--port", "0"], &script)).await;
    assert_eq!(status, Some(69), "{log}");
    assert!(log.contains("it exited (exit status: 3) before its handshake (initialize) stood"), "{log}");
    assert!(log.contains("its last lines on stderr:\n  no such key"), "{log}");
}

/// Counts how often it was asked; says on demand that its tools have changed.
const COUNTS: &str = r#"
asked = 0
while True:
    message = read()
    if message["method"] == "server/discover":
        reply(message, {"resultType": "complete", "supportedVersions": ["2026-07-28"], "capabilities": {"tools": {"listChanged": True}}, "ttlMs": 0, "cacheScope": "private"})
    elif message["method"] == "tools/list":
        asked += 1
        scope = message["params"].get("cursor", "public")
        reply(message, {"resultType": "complete", "tools": [], "asked": asked, "ttlMs": 60000, "cacheScope": scope})
    elif message["method"] == "tools/call":
        write({"jsonrpc": "2.0", "method": "notifications/tools/list_changed"})
        reply(message, {"resultType": "complete", "content": []})
"#;

async fn asks(client: &Client, id: u64, method: &str, mut params: Value) -> Value {
    params["_meta"] = json!({
        "io.modelcontextprotocol/protocolVersion": "2026-07-28", "io.modelcontextprotocol/clientCapabilities": {}
    });
    let name = params["name"].as_str().unwrap_or_default().to_owned();
    let body = json!({"jsonrpc": "2.0", "id": id, "method": method, "params": params}).to_string();
    let version = ("mcp-protocol-version", "2026-07-28");
    let headers = [ACCEPT, JSON, version, ("mcp-method", method), ("mcp-name", &name)];
    let answer = json_body(client.send(Method::POST, "/mcp", &headers, &body).await).await;
    assert_eq!(answer["id"], id, "{answer}");
    answer["result"].clone()
}

// spec: 2026-07-28 server/utilities/caching
#[tokio::test]
async fn a_public_result_is_served_again_until_the_server_says_that_it_has_changed() {
    let mux = Mux::start(&["--child-era", "modern"], python(COUNTS)).await;
    let (one, other) = (mux.client(), mux.client());
    let first = asks(&one, 1, "tools/list", json!({})).await;
    let second = asks(&other, 7, "tools/list", json!({})).await;
    assert_eq!((&first["asked"], &second["asked"]), (&json!(1), &json!(1)));
    assert!(second["ttlMs"].as_u64() <= first["ttlMs"].as_u64());
    // What is private is not kept, nor for what was asked otherwise.
    for asked in 2..=3 {
        assert_eq!(asks(&one, asked, "tools/list", json!({"cursor": "private"})).await["asked"], asked);
    }
    asks(&one, 8, "tools/call", json!({"name": "change", "arguments": {}})).await;
    assert_ne!(asks(&other, 9, "tools/list", json!({})).await["asked"], 1);

    let off = Mux::start(&["--child-era", "modern", "--cache-bytes", "0"], python(COUNTS)).await;
    let client = off.client();
    for asked in 1..=2 {
        assert_eq!(asks(&client, asked, "tools/list", json!({})).await["asked"], asked);
    }
}
