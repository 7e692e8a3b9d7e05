//! Who shares a process: pools, a process for each session, and what follows when one is lost, replaced or refused.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::time::{Duration, Instant};

use hyper::body::Incoming;
use hyper::{Method, Response, StatusCode};
use rustix::process::{Pid, Signal};
use serde_json::{Value, json};

use crate::harness::{
    ACCEPT, Client, DEADLINE, Events, JSON, Mux, SseClient, command, gone, is_alive, json_body, notes_server, python,
    request, run_to_end, text_of, within,
};

const OWN: [&str; 2] = ["--isolation", "session"];
const ASKABLE: &str = r#"{"sampling":{},"elicitation":{"form":{}},"roots":{"listChanged":true}}"#;

/// The last message of an answer, however that comes; the ones before it are skipped.
async fn last_message(answer: Response<Incoming>) -> Value {
    match answer.headers()["content-type"].to_str().unwrap() {
        "application/json" => json_body(answer).await,
        _ => Events::new(answer).rest().await.pop().expect("an answer"),
    }
}

/// `initialize` with these params and headers, to the letter; gives the answer, too.
async fn initialize(mux: &Mux, params: &str, headers: &[(&str, &str)]) -> Response<Incoming> {
    let body = format!(r#"{{"jsonrpc":"2.0","id":0,"method":"initialize","params":{params}}}"#);
    mux.client().send(Method::POST, "/mcp", &[&[ACCEPT, JSON], headers].concat(), &body).await
}

/// A session opened with these.
async fn session_with(mux: &Mux, params: &str, headers: &[(&str, &str)]) -> Client {
    let answer = initialize(mux, params, headers).await;
    assert_eq!(answer.status(), StatusCode::OK);
    let mut client = mux.client();
    client.session = Some(answer.headers()["mcp-session-id"].to_str().unwrap().to_owned());
    let answer = json_body(answer).await;
    client.version = Some(answer["result"]["protocolVersion"].as_str().unwrap().to_owned());
    let accepted = client.post(r#"{"jsonrpc":"2.0","method":"notifications/initialized"}"#).await;
    assert_eq!(accepted.status(), StatusCode::ACCEPTED);
    client
}

fn params(name: &str, capabilities: &str) -> String {
    format!(
        r#"{{"protocolVersion":"2025-06-18","capabilities":{capabilities},"clientInfo":{{"name":"{name}","version":"1"}}}}"#
    )
}

async fn who(client: &Client) -> Value {
    serde_json::from_str(&client.tool(json!("who"), "whoami", json!({})).await).unwrap()
}

async fn pid(client: &Client) -> i64 {
    who(client).await["pid"].as_i64().unwrap()
}

fn kill(pid: i64) {
    let pid = Pid::from_raw(i32::try_from(pid).unwrap()).unwrap();
    rustix::process::kill_process(pid, Signal::KILL).unwrap();
}

fn folder_variable(folder: &Path) -> String {
    format!("FOLDER={}", folder.display())
}

// --- A process for each session -------------------------------------------------------------------------------------

#[tokio::test]
async fn a_sessions_own_process_reads_its_clients_initialize_word_for_word_and_goes_with_the_session() {
    let script = r#"
line = sys.stdin.readline()
message = json.loads(line)
reply(message, {"protocolVersion": message["params"]["protocolVersion"], "capabilities": {"tools": {}},
    "serverInfo": {"name": "script", "version": "1"}, "instructions": "for " + message["params"]["clientInfo"]["name"]})
read()
while True:
    reply(read(), {"initialize": line, "pid": os.getpid()})
"#;
    for warm in [&[] as &[&str], &["--warm", "2"]] {
        let mux = Mux::start(&[&OWN, warm].concat(), python(script)).await;
        let mut lives = Vec::new();
        for name in ["Zoë \\u00e9", "another"] {
            let params = format!(
                r#"{{ "capabilities":{{"x/y":[1.10, 1e2],"sampling":{{}}}},"protocolVersion":"2025-03-26","clientInfo":{{"version":"1","name":"{name}","z":1}},"_meta":{{"a":1}}}}"#
            );
            let answer = initialize(&mux, &params, &[]).await;
            let session = answer.headers()["mcp-session-id"].to_str().unwrap().to_owned();
            let answer = json_body(answer).await;
            // The server's own answer, too.
            assert_eq!(answer["result"]["protocolVersion"], "2025-03-26", "{answer}");
            assert!(answer["result"]["instructions"].as_str().unwrap().starts_with("for "), "{answer}");
            let version = Some("2025-03-26".to_owned());
            let client = Client { session: Some(session), version, ..mux.client() };
            client.post(r#"{"jsonrpc":"2.0","method":"notifications/initialized"}"#).await;
            let about = client.call(json!(1), "about", json!({})).await["result"].clone();
            assert!(about["initialize"].as_str().unwrap().contains(&params), "{about}");
            lives.push((client, about["pid"].as_i64().unwrap()));
        }
        let ((first, first_pid), (second, second_pid)) = (&lives[0], &lives[1]);
        assert_ne!(first_pid, second_pid);
        assert_eq!(first.delete().await, StatusCode::NO_CONTENT);
        gone(*first_pid).await;
        assert_eq!(second.call(json!(2), "about", json!({})).await["result"]["pid"], *second_pid);
    }
}

#[tokio::test]
async fn everything_a_sessions_own_process_sends_is_its_clients_also_while_others_are_busy() {
    let mux = Mux::start(&[&OWN as &[&str], &["--warm", "1"]].concat(), notes_server()).await;
    let kinds = [
        ("summarize", json!({"text": "TEXT"}), "sampling/createMessage"),
        ("ask", json!({"question": "TEXT"}), "elicitation/create"),
        ("client_roots", json!({}), "roots/list"),
    ];
    let mut open = Vec::new();
    // All of them are being asked at the same time: shared, no question would have one owner.
    for name in ["ann", "bob"] {
        let client = session_with(&mux, &params(name, ASKABLE), &[]).await;
        for (id, (tool, arguments, method)) in kinds.iter().enumerate() {
            let arguments = serde_json::from_str(&arguments.to_string().replace("TEXT", name)).unwrap();
            let arguments: Value = arguments;
            let call = request(json!(id), "tools/call", json!({"name": tool, "arguments": arguments}));
            let mut events = Events::new(client.post(&call).await);
            let question = events.message().await;
            assert_eq!(question["method"], *method, "{question}");
            if *tool != "client_roots" {
                assert!(question["params"].to_string().contains(name), "{question}");
            }
            open.push((name, client.clone(), question, events));
        }
        let log = json!({"name": "log", "arguments": {"level": "info", "message": name, "count": 2}});
        let mut messages = Events::new(client.post(&request(json!("log"), "tools/call", log)).await).rest().await;
        messages.pop();
        let data: Vec<_> = messages.iter().map(|message| message["params"]["data"].as_str().unwrap()).collect();
        assert_eq!(data, [format!("{name} 1"), format!("{name} 2")]);
    }
    for (name, client, question, events) in open.into_iter().rev() {
        let result = match question["method"].as_str().unwrap() {
            "sampling/createMessage" => {
                json!({"role": "assistant", "model": "m", "content": {"type": "text", "text": format!("by {name}")}})
            }
            "elicitation/create" => json!({"action": "accept", "content": {"answer": format!("by {name}")}}),
            _ => json!({"roots": [{"uri": "file:///", "name": format!("by {name}")}]}),
        };
        let reply = json!({"jsonrpc": "2.0", "id": question["id"], "result": result}).to_string();
        assert_eq!(client.post(&reply).await.status(), StatusCode::ACCEPTED);
        let answer = events.rest().await.pop().unwrap();
        assert!(text_of(&answer).unwrap().contains(&format!("by {name}")), "{answer}");
    }
}

#[tokio::test]
async fn http_sse_sessions_have_processes_of_their_own_that_go_with_the_stream() {
    let mux = Mux::start(&OWN, notes_server()).await;
    let mut lives = Vec::new();
    for name in ["ann", "bob"] {
        let mut client = SseClient::open(&mux).await;
        let hello = params(name, ASKABLE).replace("2025-06-18", "2024-11-05");
        client.post(&request(json!(0), "initialize", serde_json::from_str(&hello).unwrap())).await;
        let answer = client.events.message().await;
        assert_eq!(answer["result"]["protocolVersion"], "2024-11-05", "{answer}");
        client.post(r#"{"jsonrpc":"2.0","method":"notifications/initialized"}"#).await;
        client.post(&request(json!(1), "tools/call", json!({"name": "whoami", "arguments": {}}))).await;
        let about: Value = serde_json::from_str(&text_of(&client.events.message().await).unwrap()).unwrap();
        assert_eq!(about["clientInfo"], json!({"name": name, "version": "1"}));
        let ask = json!({"name": "ask", "arguments": {"question": format!("{name}?")}});
        client.post(&request(json!(2), "tools/call", ask)).await;
        lives.push((name, client, about["pid"].as_i64().unwrap()));
    }
    assert_ne!(lives[0].2, lives[1].2);
    for (name, mut client, pid) in lives {
        let question = client.events.message().await;
        assert_eq!(question["params"]["message"], format!("{name}?"));
        let result = json!({"action": "accept", "content": {"answer": name}});
        client.post(&json!({"jsonrpc": "2.0", "id": question["id"], "result": result}).to_string()).await;
        assert_eq!(text_of(&client.events.message().await).unwrap(), format!("accept: {name}"));
        assert!(is_alive(pid));
        drop(client);
        gone(pid).await;
    }
}

#[tokio::test]
async fn a_header_of_the_first_request_becomes_a_variable_and_is_never_inherited_or_logged() {
    let flags = ["--port", "0", "--log-level", "trace", "--header-env", "X-Api-Key=API_KEY", "--header-env"];
    let flags = [&flags as &[&str], &["X-Region=REGION", "--env", "REGION=everywhere"], &OWN].concat();
    let mut started = command(&flags, &notes_server());
    started.env("API_KEY", "of-mcp-mux-itself").env("REGION", "of-mcp-mux-itself");
    let mux = Mux::start_command(started).await;
    let variable = async |client: &Client, name: &str| {
        serde_json::from_str::<Value>(&client.tool(json!(name), "environment", json!({"name": name})).await).unwrap()
    };
    let hello = params("h", "{}");
    let ann = session_with(&mux, &hello, &[("x-api-key", "hunter2-ann"), ("x-region", "north")]).await;
    let bob = session_with(&mux, &hello, &[("X-API-KEY", "hunter2-bob")]).await;
    let nobody = session_with(&mux, &hello, &[]).await;
    for (client, key, region) in [
        (&ann, json!("hunter2-ann"), "north"),
        (&bob, json!("hunter2-bob"), "everywhere"),
        (&nobody, Value::Null, "everywhere"),
    ] {
        assert_eq!(variable(client, "API_KEY").await, key);
        assert_eq!(variable(client, "REGION").await, region);
    }
    // It is the first request's that counts.
    let headers = [ACCEPT, JSON, ("mcp-session-id", ann.session.as_deref().unwrap()), ("x-api-key", "hunter2-late")];
    let late = json!({"name": "environment", "arguments": {"name": "API_KEY"}});
    let answer = ann.send(Method::POST, "/mcp", &headers, &request(json!(9), "tools/call", late)).await;
    assert_eq!(text_of(&json_body(answer).await).unwrap(), r#""hunter2-ann""#);
    let (status, _, log) = mux.stop().await;
    assert_eq!(status.code(), Some(0));
    assert!(!log.contains("hunter2") && !log.contains("of-mcp-mux-itself"), "{log}");
}

#[tokio::test]
async fn a_header_reaches_the_process_of_its_session_also_where_spares_are_warm() {
    let flags = [&OWN as &[&str], &["--warm", "2", "--header-env", "X-Api-Key=API_KEY"]].concat();
    let mux = Mux::start(&flags, notes_server()).await;
    for key in ["one", "two", "three"] {
        let client = session_with(&mux, &params("h", "{}"), &[("x-api-key", key)]).await;
        let seen = client.tool(json!(1), "environment", json!({"name": "API_KEY"})).await;
        assert_eq!(seen, format!("\"{key}\""));
    }
    let client = session_with(&mux, &params("h", "{}"), &[]).await;
    assert_eq!(client.tool(json!(1), "environment", json!({"name": "API_KEY"})).await, "null");
}

async fn refused(answer: Response<Incoming>) -> Value {
    assert_eq!(answer.status(), StatusCode::SERVICE_UNAVAILABLE);
    let retry_after: u64 = answer.headers()["retry-after"].to_str().unwrap().parse().unwrap();
    assert!(retry_after >= 1);
    let answer = json_body(answer).await;
    assert_eq!(answer["error"]["data"]["source"], "mcp-mux", "{answer}");
    answer["error"]["data"]["kind"].clone()
}

#[tokio::test]
async fn a_session_without_room_for_its_process_waits_and_is_then_refused() {
    let flags = [&OWN as &[&str], &["--children-max", "1", "--queue-timeout", "1s"]].concat();
    let mux = Mux::start(&flags, notes_server()).await;
    let first = session_with(&mux, &params("first", "{}"), &[]).await;
    let begun = Instant::now();
    assert_eq!(refused(initialize(&mux, &params("second", "{}"), &[]).await).await, "children-limit");
    assert!(begun.elapsed() >= Duration::from_millis(900), "{:?}", begun.elapsed());
    // Who was refused has taken nothing.
    pid(&first).await;
    first.delete().await;
    pid(&session_with(&mux, &params("third", "{}"), &[]).await).await;
}

#[tokio::test]
async fn a_session_that_waits_for_room_gets_it_when_another_leaves() {
    let flags = [&OWN as &[&str], &["--children-max", "1", "--queue-timeout", "20s"]].concat();
    let mux = Mux::start(&flags, notes_server()).await;
    let first = session_with(&mux, &params("first", "{}"), &[]).await;
    let first_pid = pid(&first).await;
    let (hello, no_headers) = (params("second", "{}"), []);
    let second = session_with(&mux, &hello, &no_headers);
    tokio::pin!(second);
    let waited = tokio::time::timeout(Duration::from_millis(300), &mut second).await;
    assert!(waited.is_err(), "there was room for it");
    assert_eq!(first.delete().await, StatusCode::NO_CONTENT);
    let second = within("the second session", second).await;
    assert_ne!(pid(&second).await, first_pid);
    gone(first_pid).await;
}

#[tokio::test]
async fn a_wrong_command_ends_the_start_with_its_last_words_whatever_the_isolation() {
    let broken = ["sh", "-c", "echo cannot open the database >&2; exit 3"].map(str::to_owned);
    for flags in
        [&OWN as &[&str], &["--isolation", "session", "--warm", "2"], &["--isolation", "principal"], &["--pool", "3"]]
    {
        let (status, out, log) = run_to_end(command(&[&["--port", "0"], flags].concat(), &broken)).await;
        assert_eq!(status, Some(69), "{flags:?}: {log}");
        assert_eq!(out, "", "{flags:?}: nothing is announced that does not work");
        assert!(log.contains("cannot open the database") && log.contains("exit status: 3"), "{flags:?}: {log}");
        let missing = ["no-such-command".to_owned()];
        let (status, _, log) = run_to_end(command(&[&["--port", "0"], flags].concat(), &missing)).await;
        assert_eq!(status, Some(69), "{flags:?}: {log}");
        assert!(log.contains("the command `no-such-command` was not found in PATH"), "{flags:?}: {log}");
    }
}

#[tokio::test]
async fn without_authentication_there_is_one_principal_and_the_start_says_so() {
    let mut mux = Mux::start(&["--isolation", "principal"], notes_server()).await;
    mux.logged("anonymous").await;
    let (one, other) = (mux.session("2025-06-18").await, mux.session("2025-11-25").await);
    assert_eq!(pid(&one).await, pid(&other).await);
}

#[tokio::test]
async fn an_unused_spare_is_stopped_and_a_session_works_all_the_same() {
    let script = r#"
sys.stderr.write("started %d\n" % os.getpid()); sys.stderr.flush()
handshake()
while True: reply(read(), {"pid": os.getpid()})
"#;
    let flags = [&OWN as &[&str], &["--warm", "1", "--child-idle-timeout", "300ms"]].concat();
    let mut mux = Mux::start(&flags, python(script)).await;
    mux.logged("started ").await;
    let spares = |log: &str| -> Vec<i64> {
        let after = log.split("started ").skip(1);
        after.filter_map(|rest| rest.split(|c: char| !c.is_ascii_digit()).next()?.parse().ok()).collect()
    };
    for pid in spares(&mux.log()) {
        gone(pid).await;
    }
    let client = mux.session("2025-06-18").await;
    let pid = client.call(json!(1), "x", json!({})).await["result"]["pid"].as_i64().unwrap();
    assert!(is_alive(pid), "a session's process is no spare any more");
}

// --- A pool ---------------------------------------------------------------------------------------------------------

#[tokio::test]
async fn sessions_spread_evenly_over_a_pool_and_stay_where_they_are() {
    let mux = Mux::start(&["--pool", "3"], notes_server()).await;
    let mut sessions: BTreeMap<i64, Vec<Client>> = BTreeMap::new();
    for _ in 0..9 {
        let client = mux.session("2025-06-18").await;
        sessions.entry(pid(&client).await).or_default().push(client);
    }
    assert_eq!(sessions.values().map(Vec::len).collect::<Vec<_>>(), [3, 3, 3]);
    for _ in 0..15 {
        for (expected, clients) in &sessions {
            for client in clients {
                assert_eq!(pid(client).await, *expected);
            }
        }
    }
    // Where one is left, the next one goes.
    let (emptied, clients) = sessions.pop_first().unwrap();
    for client in clients {
        client.delete().await;
    }
    for _ in 0..2 {
        assert_eq!(pid(&mux.session("2025-06-18").await).await, emptied);
    }
}

// --- A process is lost ----------------------------------------------------------------------------------------------

/// The first process keeps requests and does not answer them; later ones do.
const KEEPS_THEN_ANSWERS: &str = r#"
import pathlib
folder = pathlib.Path(os.environ["FOLDER"])
message = read()
hello = message["params"]["clientInfo"]
reply(message, {"protocolVersion": "2025-06-18", "capabilities": {"tools": {}, "logging": {}, "resources": {"subscribe": True}},
    "serverInfo": {"name": "script", "version": "1"}})
assert read()["method"] == "notifications/initialized"
level, uris = None, []
while True:
    message = read()
    method = message["method"]
    if method == "logging/setLevel":
        level = message["params"]["level"]
        reply(message, {})
    elif method == "resources/subscribe":
        uris.append(message["params"]["uri"])
        reply(message, {})
    elif method == "state":
        reply(message, {"pid": os.getpid(), "level": level, "uris": sorted(uris), "hello": hello})
    elif (folder / "answer").exists():
        reply(message, {"pid": os.getpid()})
    elif "id" in message:
        sys.stderr.write("kept %s of %d\n" % (method, os.getpid())); sys.stderr.flush()
"#;

#[tokio::test]
async fn a_lost_process_is_replaced_under_its_sessions() {
    for flags in [&[] as &[&str], &["--pool", "2"], &OWN] {
        let folder = tempfile::tempdir().unwrap();
        let variable = folder_variable(folder.path());
        let mut mux = Mux::start(&[flags, &["--env", &variable]].concat(), python(KEEPS_THEN_ANSWERS)).await;
        let client = mux.session("2025-06-18").await;
        client.call(json!(1), "logging/setLevel", json!({"level": "alert"})).await;
        for uri in ["x:/1", "x:/2"] {
            client.call(json!(uri), "resources/subscribe", json!({"uri": uri})).await;
        }
        let before = client.call(json!(2), "state", json!({})).await["result"].clone();
        let old = before["pid"].as_i64().unwrap();
        let mut waiting = Vec::new();
        for method in ["tools/list", "resources/read", "tools/call"] {
            let client = client.clone();
            let params = json!({"uri": "x:/1", "name": "t"});
            waiting.push(tokio::spawn(async move { client.post(&request(json!(method), method, params)).await }));
            mux.logged(&format!("kept {method} of {old}")).await;
        }
        std::fs::write(folder.path().join("answer"), "").unwrap();
        kill(old);
        let mut answers = Vec::new();
        for answer in waiting {
            answers.push(last_message(within("an answer", answer).await.unwrap()).await);
        }
        let after = client.call(json!(3), "state", json!({})).await["result"].clone();
        assert_ne!(after["pid"], before["pid"], "{flags:?}");
        for name in ["level", "uris", "hello"] {
            assert_eq!(after[name], before[name], "{flags:?}: {name}");
        }
        // What can be repeated was, by the new process; what cannot is not.
        for (answer, id) in answers.iter().zip(["tools/list", "resources/read"]) {
            assert_eq!(*answer, json!({"jsonrpc": "2.0", "id": id, "result": {"pid": after["pid"]}}), "{flags:?}");
        }
        let error = &answers[2]["error"]["data"];
        assert_eq!((&error["kind"], &error["signal"]), (&json!("child-exited"), &json!(9)), "{flags:?}: {error}");
        assert_eq!(client.call(json!(4), "ping", json!({})).await["result"], json!({}));
    }
}

#[tokio::test]
async fn what_was_repeated_once_is_not_repeated_again() {
    let script = r#"
handshake()
while True:
    message = read()
    sys.stderr.write("read %s\n" % message["method"]); sys.stderr.flush()
    if message["method"] == "tools/list": os._exit(1)
    reply(message, {})
"#;
    let mux = Mux::start(&[], python(script)).await;
    let client = mux.session("2025-06-18").await;
    let answer = client.call(json!(1), "tools/list", json!({})).await;
    assert_eq!(answer["error"]["data"]["kind"], "child-exited", "{answer}");
    client.call(json!(2), "other", json!({})).await;
    let (.., log) = mux.stop().await;
    assert_eq!(log.matches("read tools/list").count(), 2, "{log}");
}

#[tokio::test]
async fn the_loss_of_one_process_of_a_pool_is_not_felt_on_the_others() {
    let mux = Mux::start(&["--pool", "2"], notes_server()).await;
    let (one, other) = (mux.session("2025-06-18").await, mux.session("2025-06-18").await);
    let (lost, kept) = (pid(&one).await, pid(&other).await);
    assert_ne!(lost, kept);
    let slow = json!({"name": "slow", "arguments": {"seconds": 0.5, "steps": 5}, "_meta": {"progressToken": 1}});
    let mut at_work = Events::new(other.post(&request(json!(1), "tools/call", slow)).await);
    at_work.message().await;
    kill(lost);
    // What is written to a process that is dying is lost with it; the session is not.
    let list = request(json!(7), "tools/list", json!({}));
    assert!(last_message(one.post(&list).await).await["result"]["tools"].is_array());
    assert_ne!(pid(&one).await, lost);
    assert!(at_work.rest().await.pop().unwrap().get("result").is_some());
    assert_eq!(pid(&other).await, kept);
}

/// Works until its folder has a file `broken`; then a `die` ends it, and every start fails.
const BREAKS: &str = r#"
import pathlib
broken = pathlib.Path(os.environ["FOLDER"]) / "broken"
if broken.exists(): sys.exit("it is broken")
handshake()
while True:
    message = read()
    if message["method"] == "die": os._exit(1)
    reply(message, {"pid": os.getpid()})
"#;

#[tokio::test]
async fn a_server_that_keeps_failing_opens_the_circuit_until_it_works_again() {
    let folder = tempfile::tempdir().unwrap();
    let mut mux = Mux::start(&["--env", &folder_variable(folder.path())], python(BREAKS)).await;
    let client = mux.session("2025-06-18").await;
    let ready = json!({"status": "ready", "children": {"ready": 1, "total": 1}});
    assert_eq!(mux.get("/readyz").await, (StatusCode::OK, ready));
    std::fs::write(folder.path().join("broken"), "").unwrap();
    client.call(json!(1), "die", json!({})).await;
    // Waits for the next process as long as one may come, and is then told.
    let answer = last_message(client.post(&request(json!(2), "x", json!({}))).await).await;
    assert_eq!(answer["error"]["data"]["kind"], "circuit-open", "{answer}");
    let begun = Instant::now();
    assert_eq!(refused(client.post(&request(json!(3), "x", json!({}))).await).await, "circuit-open");
    assert!(begun.elapsed() < Duration::from_millis(500), "at once, not after {:?}", begun.elapsed());
    let (status, body) = mux.get("/readyz").await;
    assert_eq!((status, &body["status"]), (StatusCode::SERVICE_UNAVAILABLE, &json!("circuit-open")));
    assert_eq!(mux.get("/healthz").await.0, StatusCode::OK);
    std::fs::remove_file(folder.path().join("broken")).unwrap();
    mux.logged_times("the child's handshake stands", 2).await;
    let answer = client.call(json!(4), "x", json!({})).await;
    assert!(answer["result"]["pid"].is_i64(), "{answer}");
    assert_eq!(mux.get("/readyz").await.0, StatusCode::OK);
}

#[tokio::test]
async fn with_on_child_exit_exit_the_program_ends_with_the_child() {
    for flags in [&["--on-child-exit", "exit"] as &[&str], &["--on-child-exit", "exit", "--pool", "2"]] {
        let mut mux = Mux::start(flags, notes_server()).await;
        let (client, other) = (mux.session("2025-06-18").await, mux.session("2025-06-18").await);
        let others = pid(&other).await;
        let crash = json!({"name": "crash", "arguments": {"exit_code": 7, "message": "out of cheese"}});
        let answer = last_message(client.post(&request(json!(1), "tools/call", crash)).await).await;
        assert_eq!(answer["error"]["data"]["source"], "mcp-mux", "{answer}");
        let status = within("the end", mux.process.wait()).await.unwrap();
        mux.logged("exit status: 7").await;
        assert_eq!(status.code(), Some(69), "{}", mux.log());
        assert!(mux.log().contains("out of cheese"), "{}", mux.log());
        gone(others).await;
    }
}

#[tokio::test]
async fn a_child_that_answers_nothing_any_more_is_replaced() {
    let script = r#"
handshake()
while True:
    message = read()
    if message["method"] == "hang":
        while True: read()
    reply(message, {"pid": os.getpid()})
"#;
    for flags in [&[] as &[&str], &OWN] {
        let mux =
            Mux::start(&[flags, &["--ping-interval", "500ms", "--stop-timeout", "1s"]].concat(), python(script)).await;
        let client = mux.session("2025-06-18").await;
        let before = client.call(json!(1), "x", json!({})).await["result"]["pid"].as_i64().unwrap();
        let hung = last_message(client.post(&request(json!(2), "hang", json!({}))).await).await;
        assert_eq!(hung["error"]["data"]["kind"], "child-exited", "{flags:?}: {hung}");
        let after = last_message(client.post(&request(json!(3), "x", json!({}))).await).await;
        assert_ne!(after["result"]["pid"].as_i64().unwrap(), before, "{flags:?}");
        gone(before).await;
    }
}

// --- A process is replaced ------------------------------------------------------------------------------------------

/// `hold` is answered when its folder has a file `go`; anything else at once.
const HOLDS: &str = r#"
import pathlib, threading
go = pathlib.Path(os.environ["FOLDER"]) / "go"
def hold(message):
    while not go.exists(): time.sleep(0.01)
    reply(message, {"pid": os.getpid()})
handshake()
while True:
    message = read()
    if message["method"] == "hold":
        sys.stderr.write("holding\n"); sys.stderr.flush()
        threading.Thread(target=hold, args=[message], daemon=True).start()
    else:
        reply(message, {"pid": os.getpid()})
"#;

/// Starts with a long request; then makes so many short ones; gives the pids that answered, that of the long request first.
async fn recycled(flags: &[&str], short_requests: u32) -> Vec<i64> {
    let folder = tempfile::tempdir().unwrap();
    let variable = folder_variable(folder.path());
    let mut mux = Mux::start(&[flags, &["--env", &variable]].concat(), python(HOLDS)).await;
    let (client, holding) = (mux.session("2025-06-18").await, mux.session("2025-06-18").await);
    let old = client.call(json!("old"), "x", json!({})).await["result"]["pid"].as_i64().unwrap();
    let held = tokio::spawn(async move { holding.post(&request(json!("held"), "hold", json!({}))).await });
    mux.logged("holding").await;
    let mut pids = vec![old];
    for id in 0..short_requests {
        let answer = client.call(json!(id), "x", json!({})).await;
        assert_eq!(answer["id"], id);
        pids.push(answer["result"]["pid"].as_i64().unwrap_or_else(|| panic!("lost: {answer}")));
    }
    let begun = Instant::now();
    while pids.last() == Some(&old) {
        assert!(begun.elapsed() < DEADLINE, "never replaced");
        pids.push(client.call(json!("more"), "x", json!({})).await["result"]["pid"].as_i64().unwrap());
    }
    assert!(is_alive(old), "it still has a request");
    std::fs::write(folder.path().join("go"), "").unwrap();
    let held = last_message(within("the long request", held).await.unwrap()).await;
    assert_eq!(held, json!({"jsonrpc": "2.0", "id": "held", "result": {"pid": old}}));
    gone(old).await;
    let last = client.call(json!("last"), "x", json!({})).await;
    assert!(last["result"]["pid"].is_i64(), "{last}");
    let (status, ..) = mux.stop().await;
    assert_eq!(status.code(), Some(0));
    pids
}

#[tokio::test]
async fn a_process_that_was_given_its_requests_is_replaced_and_nothing_is_lost() {
    for flags in [&[] as &[&str], &["--isolation", "principal"]] {
        let pids = recycled(&[&["--child-max-requests", "5"], flags].concat(), 100).await;
        let different: BTreeSet<_> = pids.iter().collect();
        assert!(different.len() > 2, "replaced again and again: {pids:?}");
        // Nobody is asked again after its successor was.
        let mut in_order = pids.clone();
        in_order.dedup();
        assert_eq!(in_order.len(), different.len(), "{pids:?}");
    }
}

#[tokio::test]
async fn a_process_that_is_too_old_is_replaced_and_nothing_is_lost() {
    let pids = recycled(&["--child-max-age", "400ms"], 100).await;
    assert!(pids.iter().collect::<BTreeSet<_>>().len() > 1, "{pids:?}");
}

#[tokio::test]
async fn a_sessions_own_process_is_replaced_too_and_gets_its_clients_words_again() {
    let flags = [&OWN as &[&str], &["--child-max-requests", "5"]].concat();
    let mux = Mux::start(&flags, notes_server()).await;
    let client = session_with(&mux, &params("Zoë", ASKABLE), &[]).await;
    client.call(json!("level"), "logging/setLevel", json!({"level": "critical"})).await;
    client.call(json!("watch"), "resources/subscribe", json!({"uri": "x:/1"})).await;
    let first = who(&client).await;
    let begun = Instant::now();
    let after = loop {
        let now = who(&client).await;
        if now["pid"] != first["pid"] {
            break now;
        }
        assert!(begun.elapsed() < DEADLINE, "never replaced");
    };
    for name in ["clientInfo", "clientCapabilities", "protocolVersion", "logLevel", "subscriptions"] {
        assert_eq!(after[name], first[name], "{name}");
    }
}
