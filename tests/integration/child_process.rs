//! The child: crashes, noise, its end and ours.

use std::time::Duration;

use hyper::StatusCode;
use rustix::process::{Pid, Signal};
use serde_json::{Value, json};
use tokio::time::Instant;

use crate::harness::{
    Client, Events, Mux, gone, is_alive, json_body, notes_server, python, request, run_to_end, within,
};

async fn who(client: &Client) -> Value {
    serde_json::from_str(&client.tool(json!("who"), "whoami", json!({})).await).unwrap()
}

async fn pid(client: &Client) -> i64 {
    who(client).await["pid"].as_i64().unwrap()
}

#[tokio::test]
async fn a_crash_fails_what_was_in_flight_and_sessions_live_on_with_their_state() {
    let mux = Mux::start(&[], notes_server()).await;
    let (a, b) = (mux.session("2025-06-18").await, mux.session("2025-06-18").await);
    let before = pid(&a).await;
    a.call(json!(1), "resources/subscribe", json!({"uri": "x:/1"})).await;
    a.call(json!(2), "logging/setLevel", json!({"level": "debug"})).await;
    let mut listening = a.listen(None).await;
    let slow = json!({"name": "slow", "arguments": {"seconds": 60, "steps": 600}, "_meta": {"progressToken": 1}});
    let mut at_work = Events::new(b.post(&request(json!("slow"), "tools/call", slow)).await);
    at_work.message().await;

    let crash = json!({"name": "crash", "arguments": {"exit_code": 7, "message": "out of cheese"}});
    let crashed = a.call(json!(3), "tools/call", crash).await;
    let in_flight = at_work.rest().await.pop().unwrap();
    for (answer, id) in [(&crashed, json!(3)), (&in_flight, json!("slow"))] {
        assert_eq!(answer["id"], id);
        let data = &answer["error"]["data"];
        assert_eq!(
            (&data["source"], &data["kind"], &data["exitCode"]),
            (&json!("mcp-mux"), &json!("child-exited"), &json!(7))
        );
        assert!(data["stderr"].to_string().contains("out of cheese"), "{answer}");
    }
    assert_ne!(pid(&a).await, before);
    assert_ne!(pid(&b).await, before, "the other session lives on too");
    // What the sessions had set stands again: the subscription, the level.
    a.tool(json!(4), "touch", json!({"uri": "x:/1"})).await;
    let mut methods = Vec::new();
    while !methods.contains(&json!("notifications/resources/updated")) {
        methods.push(listening.message().await["method"].clone());
    }
    assert!(methods.contains(&json!("notifications/tools/list_changed")), "{methods:?}");
    let log = json!({"name": "log", "arguments": {"level": "debug", "message": "still here"}});
    let messages = Events::new(a.post(&request(json!(5), "tools/call", log)).await).rest().await;
    assert_eq!(messages[0]["method"], "notifications/message", "{messages:?}");
}

#[tokio::test]
async fn requests_that_come_while_the_child_is_down_wait_for_the_next_one() {
    // Dies of its first call; the second process serves. It takes a moment to start.
    let script = r#"
import pathlib
marker = pathlib.Path(os.environ["MARKER"])
second = marker.exists()
handshake()
while True:
    message = read()
    if not second:
        marker.touch()
        os._exit(1)
    reply(message, {"content": []})
"#;
    let folder = tempfile::tempdir().unwrap();
    let marker = format!("MARKER={}", folder.path().join("marker").display());
    let mux = Mux::start(&["--env", &marker], python(script)).await;
    let client = mux.session("2025-06-18").await;
    let first = client.call(json!(1), "tools/call", json!({})).await;
    assert_eq!(first["error"]["data"]["kind"], "child-exited");
    let second = client.call(json!(2), "tools/call", json!({})).await;
    assert_eq!(second["result"], json!({"content": []}));
}

#[tokio::test]
async fn noise_on_stdout_is_no_message_and_does_no_harm() {
    let script = r#"
print("Server starting on stdio...", flush=True)
sys.stdout.write("\x1b[32mready\x1b[0m"); sys.stdout.flush()
handshake()
while True:
    message = read()
    print("[1, 2", flush=True)
    print("", flush=True)
    print('{"level":"info","msg":"not a message"}', flush=True)
    sys.stdout.buffer.write(b"\xff\xfe broken\n"); sys.stdout.flush()
    write({"jsonrpc": "2.0", "id": 424242, "result": {"of": "nobody"}})
    answer = json.dumps({"jsonrpc": "2.0", "id": message["id"], "result": {"text": "grün 👩‍👩‍👧"}}, ensure_ascii=False).encode()
    sys.stdout.buffer.write(b"a line that was not ended: ")
    for byte in answer:
        sys.stdout.buffer.write(bytes([byte])); sys.stdout.flush()
    sys.stdout.buffer.write(b"\r\n"); sys.stdout.flush()
"#;
    let mut mux = Mux::start(&[], python(script)).await;
    let client = mux.session("2025-06-18").await;
    for id in 0..3 {
        let answer = client.call(json!(id), "tools/call", json!({})).await;
        assert_eq!(answer, json!({"jsonrpc": "2.0", "id": id, "result": {"text": "grün 👩‍👩‍👧"}}));
    }
    mux.logged("Server starting on stdio").await;
}

#[tokio::test]
async fn noise_in_the_log_ends_where_a_message_begins() {
    let script = r#"
handshake()
message = read()
print('{"jsonrpc":"2.0","method":"notifications/message","params":{"level":"SECRET",', flush=True)
sys.stdout.write("a line that was not ended: ")
reply(message, {"text": "SECRET"})
read()
"#;
    let mux = Mux::start(&[], python(script)).await;
    let client = mux.session("2025-06-18").await;
    assert_eq!(client.call(json!(1), "tools/call", json!({})).await["result"]["text"], "SECRET");
    let (.., log) = mux.stop().await;
    assert!(log.contains(r#"excerpt="a line that was not ended:""#) && log.contains("it is not shown"), "{log}");
    assert!(!log.contains("SECRET"), "{log}");
}

#[tokio::test]
async fn the_json_log_names_the_child_and_no_key_twice() {
    let server = ["sh", "-c", "echo last words >&2"].map(str::to_owned);
    let (_, _, log) = run_to_end(crate::harness::command(&["--port", "0", "--log-format", "json"], &server)).await;
    assert!(log.contains(r#""span":{"command":"sh","number":1,"name":"child"}"#), "{log}");
    assert!(log.contains(r#""command":"sh","pid":"#), "{log}");
    assert!(!log.contains(r#""name":"sh""#), "{log}");
}

#[tokio::test]
async fn a_child_that_floods_stderr_and_stdout_before_it_reads_does_not_deadlock() {
    let script = r#"
handshake()
message = read()
sys.stderr.write(("e" * 1000 + "\n") * 5000); sys.stderr.flush()
for n in range(3000):
    write({"jsonrpc": "2.0", "method": "notifications/message", "params": {"level": "info", "data": "x" * 1000}})
reply(message, {"n": sum(1 for _ in iter(lambda: read()["method"] != "last", False))})
"#;
    let mux = Mux::start(&["--log-level", "warn"], python(script)).await;
    let client = mux.session("2025-06-18").await;
    let posting = client.clone();
    let first = tokio::spawn(async move { posting.post(&request(json!("first"), "tools/call", json!({}))).await });
    // More than a pipe holds, while the child writes and does not read.
    for _ in 0..20 {
        let big =
            json!({"jsonrpc": "2.0", "method": "notifications/big", "params": {"x": "y".repeat(50_000)}}).to_string();
        assert_eq!(client.post(&big).await.status(), StatusCode::ACCEPTED);
    }
    client.post(r#"{"jsonrpc":"2.0","method":"last"}"#).await;
    let answer = within("the answer", first).await.unwrap();
    let events = if answer.headers()["content-type"] == "application/json" {
        vec![json_body(answer).await]
    } else {
        Events::new(answer).rest().await
    };
    assert_eq!(events.last().unwrap()["id"], "first");
}

#[tokio::test]
async fn sigterm_stops_the_child_and_its_group_even_if_they_ignore_it() {
    let script = r#"
import signal, subprocess
signal.signal(signal.SIGTERM, signal.SIG_IGN)
grandchild = subprocess.Popen(["sh", "-c", "trap '' TERM INT HUP; while :; do sleep 1; done"], stdin=subprocess.DEVNULL)
handshake()
while True:
    message = read()
    reply(message, {"pids": [os.getpid(), grandchild.pid]})
    if message["method"] == "last": break
while True: time.sleep(1)
"#;
    let mux = Mux::start(&["--stop-timeout", "200ms"], python(script)).await;
    let client = mux.session("2025-06-18").await;
    let answer = client.call(json!(1), "last", json!({})).await;
    let pids: Vec<i64> = serde_json::from_value(answer["result"]["pids"].clone()).unwrap();
    assert!(pids.iter().all(|pid| is_alive(*pid)));
    let (status, ..) = mux.stop().await;
    assert_eq!(status.code(), Some(0));
    for pid in pids {
        gone(pid).await;
    }
}

#[tokio::test]
async fn a_further_signal_kills_a_child_that_takes_its_time() {
    let script = r#"
import signal
signal.signal(signal.SIGTERM, signal.SIG_IGN)
handshake()
reply(read(), {"pids": [os.getpid()]})
while True: time.sleep(1)
"#;
    let mut mux = Mux::start(&["--stop-timeout", "1h", "--drain-timeout", "0"], python(script)).await;
    let client = mux.session("2025-06-18").await;
    let answer = client.call(json!(1), "x", json!({})).await;
    let pid = answer["result"]["pids"][0].as_i64().unwrap();
    mux.signal(Signal::TERM);
    mux.logged("stopping").await;
    assert!(is_alive(pid));
    // The first of these may still fall into the drain time.
    let ended = async {
        while tokio::time::timeout(std::time::Duration::from_millis(100), mux.process.wait()).await.is_err() {
            mux.signal(Signal::TERM);
        }
    };
    within("the end", ended).await;
    gone(pid).await;
}

#[tokio::test]
async fn a_terminals_interrupt_reaches_the_child_only_as_the_end_of_its_stdin() {
    let script = r#"
import signal
def tell(number, frame): sys.stderr.write("signal %d\n" % number); sys.stderr.flush()
for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP): signal.signal(number, tell)
handshake()
message = read()
while True:
    if message["method"] == "slow": time.sleep(0.5)
    reply(message, {})
    line = sys.stdin.readline()
    if not line: break
    message = json.loads(line)
sys.stderr.write("stdin ended\n"); sys.stderr.flush()
"#;
    let mut command = crate::harness::command(&["--port", "0"], &python(script));
    // As a shell starts what is in the foreground: mcp-mux, and whatever did not leave its group, get what is typed.
    command.process_group(0);
    let mut mux = Mux::start_command(command).await;
    let client = mux.session("2025-06-18").await;
    let posting = client.clone();
    let call = tokio::spawn(async move { posting.call(json!(1), "slow", json!({})).await });
    client.call(json!(2), "tools/call", json!({})).await;
    let group = rustix::process::Pid::from_raw(mux.pid().try_into().unwrap()).unwrap();
    rustix::process::kill_process_group(group, Signal::INT).unwrap();
    mux.logged("stopping").await;
    // The guard would take the child's group with it, were it gone before the child.
    assert!(call.await.unwrap().get("result").is_some());
    let (status, _, log) = mux.stop_after_signal().await;
    assert_eq!(status.code(), Some(0));
    assert!(log.contains("stdin ended") && !log.contains("signal 2") && !log.contains("signal 15"), "{log}");
}

#[tokio::test]
async fn when_mcp_mux_is_killed_the_childs_whole_group_dies() {
    let script = r#"
import signal, subprocess
grandchild = subprocess.Popen(["sh", "-c", "trap '' TERM INT HUP; while :; do sleep 1; done"], stdin=subprocess.DEVNULL)
handshake()
message = read()
reply(message, {"pids": [os.getpid(), grandchild.pid]})
signal.signal(signal.SIGTERM, signal.SIG_IGN)
while True: time.sleep(1)
"#;
    let mut mux = Mux::start(&[], python(script)).await;
    let client = mux.session("2025-06-18").await;
    let answer = client.call(json!(1), "x", json!({})).await;
    let pids: Vec<i64> = serde_json::from_value(answer["result"]["pids"].clone()).unwrap();
    mux.signal(Signal::KILL);
    within("the end", mux.process.wait()).await.unwrap();
    for pid in pids {
        gone(pid).await;
    }
}

#[tokio::test]
async fn a_kill_at_any_moment_of_the_start_leaves_no_process_behind() {
    // Heeds neither the end of its stdin nor a signal, nor does its helper.
    let script = "trap '' TERM INT HUP; sleep 600 & while :; do sleep 600; done";
    let server = ["sh", "-c", script].map(str::to_owned);
    let mark = format!("STARTED_BY_TEST={}-{}", std::process::id(), fastrand::u64(..));
    for _ in 0..30 {
        let mut process = crate::harness::command(&["--port", "0", "--env", &mark], &server).spawn().unwrap();
        tokio::time::sleep(Duration::from_micros(fastrand::u64(..20_000))).await;
        process.kill().await.unwrap();
    }
    // The next ones start while the last ones go, so whoever is to go is given time; whoever stays, stays for long.
    let deadline = Instant::now() + Duration::from_secs(10);
    let mut left = marked(&mark);
    while !left.is_empty() && Instant::now() < deadline {
        tokio::task::yield_now().await;
        left = marked(&mark);
    }
    for pid in &left {
        let _ = rustix::process::kill_process(Pid::from_raw(*pid).unwrap(), Signal::KILL);
    }
    assert!(left.is_empty(), "{} processes were left behind", left.len());
}

/// The processes with this in their environment.
fn marked(mark: &str) -> Vec<i32> {
    let has_mark = |pid: &i32| {
        let environment = std::fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
        environment.split(|byte| *byte == 0).any(|variable| variable == mark.as_bytes())
    };
    let pids = std::fs::read_dir("/proc").unwrap().filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok());
    pids.filter(has_mark).collect()
}

#[tokio::test]
async fn the_command_takes_the_gates_place_with_its_name_and_all_of_its_stdin() {
    let script = r#"echo "$(cat /proc/$$/comm): $(tr '\0' '|' < /proc/$$/cmdline)" >&2; IFS= read -r line; echo "read $line" >&2"#;
    let (status, _, log) =
        run_to_end(crate::harness::command(&["--port", "0"], &["sh", "-c", script, "a b"].map(str::to_owned))).await;
    assert_eq!(status, Some(69), "{log}");
    assert!(log.contains("sh: sh|-c|echo "), "{log}");
    assert!(log.contains("|a b|"), "{log}");
    assert!(log.contains(r#"read {"jsonrpc":"2.0","#), "{log}");
}

#[tokio::test]
async fn a_command_that_cannot_be_run_ends_the_start_with_the_reason() {
    let folder = tempfile::tempdir().unwrap();
    let program = folder.path().join("program");
    // Its interpreter exists and is a folder. Written by another process, so that none started meanwhile inherits a
    // descriptor that keeps it from being run.
    let write = r#"echo '#!/tmp' > "$1" && chmod +x "$1""#;
    let written = std::process::Command::new("sh").args(["-c", write, "sh"]).arg(&program).status().unwrap();
    assert!(written.success());
    for (server, said) in [
        (program.display().to_string(), "program` cannot be run: Permission denied"),
        (program.display().to_string(), "it exited (exit status: 126) before its handshake"),
        ("no-such-command".to_owned(), "the command `no-such-command` was not found in PATH"),
    ] {
        let (status, _, log) = run_to_end(crate::harness::command(&["--port", "0"], &[server])).await;
        assert_eq!(status, Some(69), "{log}");
        assert!(log.contains(said), "{log}");
    }
}

#[tokio::test]
async fn a_child_that_closes_its_stdout_and_then_exits_is_said_to_have_done_so() {
    for (ending, said) in [
        ("os.close(1); sys.stdin.read(); os._exit(0)", r#"status="it closed its stdout; exit status: 0""#),
        ("os._exit(0)", r#"status="exit status: 0""#),
    ] {
        let mut mux = Mux::start(&[], python(&format!("handshake()\nread()\n{ending}"))).await;
        let client = mux.session("2025-06-18").await;
        client.call(json!(1), "x", json!({})).await;
        mux.logged(said).await;
    }
}

#[tokio::test]
async fn a_grandchild_does_not_outlive_a_crash() {
    let script = r#"
import subprocess
grandchild = subprocess.Popen(["sh", "-c", "trap '' TERM INT HUP; while :; do sleep 1; done"], stdin=subprocess.DEVNULL)
sys.stderr.write("grandchild %d\n" % grandchild.pid); sys.stderr.flush()
handshake()
message = read()
os._exit(1)
"#;
    let mut mux = Mux::start(&[], python(script)).await;
    mux.logged("grandchild ").await;
    let log = mux.log();
    let pid =
        log.split("grandchild ").nth(1).unwrap().split(|c: char| !c.is_ascii_digit()).next().unwrap().parse().unwrap();
    let client = mux.session("2025-06-18").await;
    client.call(json!(1), "x", json!({})).await;
    gone(pid).await;
}

#[tokio::test]
async fn a_stop_lets_requests_in_flight_finish_and_a_second_signal_does_not() {
    let mux = Mux::start(&[], notes_server()).await;
    let client = mux.session("2025-06-18").await;
    let slow = |seconds: f64| {
        let arguments = json!({"seconds": seconds, "steps": 10});
        request(json!(1), "tools/call", json!({"name": "slow", "arguments": arguments, "_meta": {"progressToken": 1}}))
    };
    let mut events = Events::new(client.post(&slow(0.5)).await);
    events.message().await;
    let listening = client.listen(None).await;
    mux.signal(Signal::TERM);
    listening.rest().await;
    assert!(events.rest().await.pop().unwrap().get("result").is_some(), "drained");
    let (status, ..) = mux.stop_after_signal().await;
    assert_eq!(status.code(), Some(0));

    let mux = Mux::start(&["--drain-timeout", "60s"], notes_server()).await;
    let client = mux.session("2025-06-18").await;
    let mut events = Events::new(client.post(&slow(60.0)).await);
    events.message().await;
    let child = {
        let other = mux.session("2025-06-18").await;
        pid(&other).await
    };
    mux.signal(Signal::INT);
    let mut mux = mux;
    mux.logged("stopping").await;
    mux.signal(Signal::INT);
    let last = events.rest().await.pop().unwrap();
    assert_eq!(last["error"]["data"]["source"], "mcp-mux", "{last}");
    within("the end", mux.process.wait()).await.unwrap();
    gone(child).await;
}

#[tokio::test]
async fn the_childs_environment_is_what_was_asked_for() {
    let mux = Mux::start(&["--env", "GREETING=hello world", "--env", "EMPTY="], notes_server()).await;
    let client = mux.session("2025-06-18").await;
    let of = async |name: &str| client.tool(json!(1), "environment", json!({"name": name})).await;
    assert!(of("GREETING").await.contains("hello world"));
    assert!(of("PYTHONUNBUFFERED").await.contains('1'));
    let mut command = crate::harness::command(&["--port", "0", "--clean-env"], &notes_server());
    command.env("MCP_MUX_LOG_LEVEL", "info").env("SECRET_OF_MINE", "x");
    let mux = Mux::start_command(command).await;
    let client = mux.session("2025-06-18").await;
    let of = async |name: &str| client.tool(json!(1), "environment", json!({"name": name})).await;
    for name in ["MCP_MUX_LOG_LEVEL", "SECRET_OF_MINE"] {
        assert_eq!(of(name).await, "null", "{name}");
    }
    assert_ne!(of("PATH").await, "null");
}
