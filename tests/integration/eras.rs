//! Finding out which era a server speaks, with servers that take the question badly.

use serde_json::json;

use crate::harness::{Mux, command, python, run_to_end};

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
