//! `mcp-mux connect`, in front of mcp-mux itself and of servers that do what servers do.

use std::process::Stdio;

use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader, Lines};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};

use crate::harness::{Mux, echo_server, notes_server, python, repository, within};

/// A running `mcp-mux connect`, as its client sees it. Killed when dropped.
struct Connect {
    process: Child,
    stdin: ChildStdin,
    stdout: Lines<BufReader<ChildStdout>>,
}

impl Connect {
    fn start(url: &str, flags: &[&str]) -> Self {
        Self::start_with(url, flags, &[])
    }

    fn start_with(url: &str, flags: &[&str], variables: &[(&str, &str)]) -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_mcp-mux"));
        command.arg("connect").arg(url).args(flags).envs(variables.iter().copied()).kill_on_drop(true);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut process = command.spawn().unwrap();
        let stdout = BufReader::new(process.stdout.take().unwrap()).lines();
        Self { stdin: process.stdin.take().unwrap(), stdout, process }
    }

    async fn write(&mut self, line: &str) {
        within("stdin", self.stdin.write_all(format!("{line}\n").as_bytes())).await.unwrap();
    }

    async fn line(&mut self) -> String {
        match within("a line", self.stdout.next_line()).await.unwrap() {
            Some(line) => line,
            None => {
                let mut log = String::new();
                self.process.stderr.take().unwrap().read_to_string(&mut log).await.unwrap();
                panic!("it ended; its log:\n{log}");
            }
        }
    }

    /// The answer to a request; what comes before it is passed over.
    async fn call(&mut self, line: &str) -> Value {
        self.write(line).await;
        let id = serde_json::from_str::<Value>(line).unwrap()["id"].clone();
        loop {
            let message: Value = serde_json::from_str(&self.line().await).unwrap();
            if message["id"] == id && message.get("method").is_none() {
                return message;
            }
        }
    }

    /// The next line, after this one.
    async fn call_line(&mut self, line: &str) -> Value {
        self.write(line).await;
        serde_json::from_str(&self.line().await).unwrap()
    }

    /// Introduces a legacy client.
    async fn initialize(&mut self, version: &str) -> Value {
        let answer = self.call(&initialize(version, json!({}))).await;
        self.write(r#"{"jsonrpc":"2.0","method":"notifications/initialized"}"#).await;
        answer
    }

    /// Closes stdin; returns the rest of stdout and the log.
    async fn end(self) -> (String, String) {
        let Self { mut process, stdin, mut stdout } = self;
        drop(stdin);
        let mut rest = String::new();
        while let Some(line) = within("the end", stdout.next_line()).await.unwrap() {
            rest += &line;
        }
        let mut log = String::new();
        process.stderr.take().unwrap().read_to_string(&mut log).await.unwrap();
        let status = within("the end", process.wait()).await.unwrap();
        assert!(status.success(), "{status} {log}");
        assert!(!log.contains("ERROR"), "{log}");
        (rest, log)
    }
}

fn initialize(version: &str, capabilities: Value) -> String {
    let client_info = json!({"name": "test", "version": "1"});
    let params = json!({"protocolVersion": version, "capabilities": capabilities, "clientInfo": client_info});
    json!({"jsonrpc": "2.0", "id": "init", "method": "initialize", "params": params}).to_string()
}

fn call(id: Value, name: &str) -> String {
    let params = json!({"name": name, "arguments": {}});
    json!({"jsonrpc": "2.0", "id": id, "method": "tools/call", "params": params}).to_string()
}

fn modern(id: u64, method: &str, mut params: Value) -> String {
    params["_meta"] = json!({
        "io.modelcontextprotocol/protocolVersion": "2026-07-28",
        "io.modelcontextprotocol/clientCapabilities": {"elicitation": {"form": {}}},
    });
    json!({"jsonrpc": "2.0", "id": id, "method": method, "params": params}).to_string()
}

/// `remote.py`.
struct Remote {
    _process: Child,
    requests: Lines<BufReader<ChildStdout>>,
    url: String,
}

impl Remote {
    async fn start(kind: &str) -> Self {
        let mut command = Command::new("python3");
        command.arg("-u").arg(repository().join("tests/integration/remote.py")).arg(kind);
        let mut process = command.stdout(Stdio::piped()).kill_on_drop(true).spawn().unwrap();
        let mut requests = BufReader::new(process.stdout.take().unwrap()).lines();
        let port = within("the port", requests.next_line()).await.unwrap().unwrap();
        Self { _process: process, requests, url: format!("http://127.0.0.1:{port}/mcp") }
    }

    /// The next request that is of this verb, and posts this method if it posts one.
    async fn got(&mut self, verb: &str, method: Option<&str>) -> Value {
        loop {
            let line = within("a request", self.requests.next_line()).await.unwrap().unwrap();
            let request: Value = serde_json::from_str(&line).unwrap();
            if request["verb"] == verb && request["body"]["method"].as_str() == method {
                return request;
            }
        }
    }
}

#[tokio::test]
async fn messages_are_passed_byte_for_byte_to_streamable_http() {
    let mux = Mux::start(&[], echo_server()).await;
    let mut client = Connect::start(&mux.urls[0], &[]);
    let answer = client.initialize("2025-11-25").await;
    assert_eq!(answer["result"]["serverInfo"]["name"], "echo");
    for id in ["1e2", "\"\\u0031\"", "\"\"", "1234567890123456789012345678901234567890"] {
        let params = r#"{"name":"x" , "arguments":{"a":1.0,"b":"é\/"}}"#;
        client.write(&format!(r#"{{"jsonrpc":"2.0","id":{id},"method":"tools/call","params":{params}}}"#)).await;
        assert_eq!(client.line().await, format!(r#"{{"jsonrpc":"2.0","id":{id},"result":{params}}}"#));
    }
    let (rest, _) = client.end().await;
    assert_eq!(rest, "");
    let (_, _, log) = mux.stop().await;
    assert!(!log.contains("WARN"), "{log}");
}

// spec: 2025-11-25 basic/transports, Backwards Compatibility
#[tokio::test]
async fn a_url_of_http_sse_is_found_to_be_one() {
    let mux = Mux::start(&[], echo_server()).await;
    let mut client = Connect::start(&mux.urls[1], &[]);
    let answer = client.initialize("2024-11-05").await;
    assert_eq!(answer["result"]["protocolVersion"], "2024-11-05");
    client.write(r#"{"jsonrpc":"2.0","id":1e2,"method":"tools/call","params":{"name" : "x"}}"#).await;
    assert_eq!(client.line().await, r#"{"jsonrpc":"2.0","id":1e2,"result":{"name" : "x"}}"#);
    client.end().await;
}

#[tokio::test]
async fn questions_progress_and_answers_go_both_ways() {
    let script = r#"
handshake({"tools": {}})
while True:
    message = read()
    if message["method"] == "tools/call":
        token = message["params"]["_meta"]["progressToken"]
        write({"jsonrpc": "2.0", "method": "notifications/progress", "params": {"progressToken": token, "progress": 1}})
        write({"jsonrpc": "2.0", "id": "q", "method": "roots/list"})
        answer = read()
        reply(message, {"content": [], "roots": answer["result"]["roots"]})
"#;
    let mux = Mux::start(&[], python(script)).await;
    for url in &mux.urls {
        let mut client = Connect::start(url, &[]);
        client.call(&initialize("2025-06-18", json!({"roots": {}}))).await;
        client.write(r#"{"jsonrpc":"2.0","method":"notifications/initialized"}"#).await;
        let params = json!({"name": "x", "_meta": {"progressToken": "p"}});
        client.write(&json!({"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params}).to_string()).await;
        let progress: Value = serde_json::from_str(&client.line().await).unwrap();
        assert_eq!(
            (&progress["method"], &progress["params"]["progressToken"]),
            (&json!("notifications/progress"), &json!("p"))
        );
        let question: Value = serde_json::from_str(&client.line().await).unwrap();
        assert_eq!(question["method"], "roots/list");
        client
            .write(
                &json!({"jsonrpc": "2.0", "id": question["id"], "result": {"roots": [{"uri": "file:///r"}]}})
                    .to_string(),
            )
            .await;
        let answer: Value = serde_json::from_str(&client.line().await).unwrap();
        assert_eq!(answer["result"]["roots"][0]["uri"], "file:///r", "{answer}");
        client.end().await;
    }
}

#[tokio::test]
async fn a_modern_client_and_a_server_that_speaks_it_need_no_translation() {
    let mux = Mux::start(&[], notes_server()).await;
    let mut client = Connect::start(&mux.urls[0], &[]);
    let discovered = client.call(&modern(1, "server/discover", json!({}))).await;
    assert_eq!(discovered["result"]["resultType"], "complete", "{discovered}");
    let listed = client.call(&modern(2, "tools/list", json!({}))).await;
    assert!(listed["result"]["tools"].as_array().unwrap().len() > 3);
    let unknown = client.call(&modern(3, "no/such", json!({}))).await;
    assert_eq!(unknown["error"]["code"], -32601);
    let (_, log) = client.end().await;
    assert!(!log.contains("translated"), "{log}");
}

// spec: 2026-07-28 basic/versioning, Compatibility Matrix: the cell that reads "Fails"
#[tokio::test]
async fn a_legacy_client_uses_a_server_of_the_modern_era_alone() {
    let mut remote = Remote::start("modern").await;
    let mut client = Connect::start(&remote.url, &[]);
    let answer = client.initialize("2025-06-18").await;
    assert_eq!(answer["result"]["protocolVersion"], "2025-06-18", "{answer}");
    let params = json!({"name": "query", "arguments": {"region": "eu"}});
    let request = json!({"jsonrpc": "2.0", "id": "a b", "method": "tools/call", "params": params}).to_string();
    let answer = client.call(&request).await;
    assert_eq!(
        answer,
        json!({"jsonrpc": "2.0", "id": "a b", "result": {"content": [{"type": "text", "text": "queried"}]}})
    );
    let got = remote.got("POST", Some("tools/call")).await;
    assert_eq!(got["body"]["params"]["_meta"]["io.modelcontextprotocol/clientInfo"]["name"], "test");
    client.end().await;
}

// spec: 2026-07-28 basic/transports/streamable-http, Client Behavior
#[tokio::test]
async fn headers_that_a_tool_wants_are_learned_when_it_says_so() {
    let mut remote = Remote::start("modern").await;
    let mut client = Connect::start(&remote.url, &[]);
    let answer = client.call(&modern(1, "tools/call", json!({"name": "query", "arguments": {"region": "eu"}}))).await;
    assert_eq!(answer["result"]["content"][0]["text"], "queried", "{answer}");
    assert!(remote.got("POST", Some("tools/call")).await["headers"].get("mcp-param-region").is_none());
    remote.got("POST", Some("tools/list")).await;
    assert_eq!(remote.got("POST", Some("tools/call")).await["headers"]["mcp-param-region"], "eu");
    client.end().await;
}

// spec: 2026-07-28 basic/versioning, Compatibility Matrix: the other cell that reads "Fails"
#[tokio::test]
async fn a_modern_client_uses_a_server_of_the_legacy_era_alone() {
    let mut remote = Remote::start("legacy").await;
    let mut client = Connect::start(&remote.url, &[]);
    let discovered = client.call(&modern(1, "server/discover", json!({}))).await;
    assert_eq!(discovered["result"]["_meta"]["io.modelcontextprotocol/serverInfo"]["name"], "remote", "{discovered}");
    let answer = client.call(&modern(2, "tools/call", json!({"name": "x", "arguments": {}}))).await;
    assert_eq!(answer["result"]["resultType"], "complete", "{answer}");
    assert_eq!(answer["result"]["content"][0]["text"], "x session-1");
    client.end().await;
    assert_eq!(remote.got("DELETE", None).await["headers"]["mcp-session-id"], "session-1");
}

// spec: 2026-07-28 basic/patterns/mrtr
#[tokio::test]
async fn a_modern_client_is_asked_what_a_legacy_server_wants_to_know() {
    let remote = Remote::start("legacy").await;
    let mut client = Connect::start(&remote.url, &[]);
    let asked = client.call(&modern(1, "tools/call", json!({"name": "ask", "arguments": {}}))).await;
    let result = &asked["result"];
    assert_eq!(result["resultType"], "input_required", "{asked}");
    let (key, question) = result["inputRequests"].as_object().unwrap().iter().next().unwrap();
    assert_eq!((&question["method"], &question["params"]["message"]), (&json!("elicitation/create"), &json!("who?")));
    let responses = json!({key: {"action": "accept", "content": {"name": "me"}}});
    let params =
        json!({"name": "ask", "arguments": {}, "inputResponses": responses, "requestState": result["requestState"]});
    let answer = client.call(&modern(2, "tools/call", params)).await;
    assert_eq!(answer["result"]["resultType"], "complete", "{answer}");
    assert!(answer["result"]["content"][0]["text"].as_str().unwrap().contains(r#""name": "me""#), "{answer}");
    client.end().await;
}

// spec: 2025-11-25 basic/transports, Session Management 2 to 5
#[tokio::test]
async fn a_session_that_is_forgotten_is_opened_again_and_closed_at_the_end() {
    let mut remote = Remote::start("legacy").await;
    let mut client = Connect::start(&remote.url, &[]);
    client.initialize("2025-11-25").await;
    client.call(r#"{"jsonrpc":"2.0","id":1,"method":"logging/setLevel","params":{"level":"error"}}"#).await;
    assert_eq!(client.call(&call(json!(2), "forget")).await["result"]["content"][0]["text"], "forget session-1");
    assert_eq!(client.call(&call(json!(3), "x")).await["result"]["content"][0]["text"], "x session-3");
    client.end().await;
    let refused = remote.got("POST", Some("initialize")).await;
    assert!(refused["headers"].get("mcp-session-id").is_none());
    let again = remote.got("POST", Some("initialize")).await;
    assert!(again["headers"].get("mcp-session-id").is_none() && again["headers"].get("mcp-protocol-version").is_none());
    let initialized = remote.got("POST", Some("notifications/initialized")).await;
    assert_eq!(initialized["headers"]["mcp-session-id"], "session-3");
    assert_eq!(remote.got("POST", Some("logging/setLevel")).await["body"]["params"]["level"], "error");
    assert_eq!(remote.got("DELETE", None).await["headers"]["mcp-session-id"], "session-3");
}

// spec: 2025-11-25 basic/transports, Resumability and Redelivery
#[tokio::test]
async fn a_stream_that_the_server_closes_is_taken_up_again() {
    let mut remote = Remote::start("legacy").await;
    let mut client = Connect::start(&remote.url, &[]);
    client.initialize("2025-11-25").await;
    assert_eq!(client.call(&call(json!(7), "slow")).await["result"]["resumed"], true);
    client.end().await;
    remote.got("POST", Some("tools/call")).await;
    let resumed = remote.got("GET", None).await;
    // The stream of what belongs to no request may be asked for as late.
    let resumed =
        if resumed["headers"].get("last-event-id").is_none() { remote.got("GET", None).await } else { resumed };
    assert_eq!(
        (&resumed["headers"]["last-event-id"], &resumed["headers"]["mcp-session-id"]),
        (&json!("a-1"), &json!("session-1"))
    );
}

#[tokio::test]
async fn a_token_is_read_again_when_it_is_not_good_any_more() {
    let remote = Remote::start("locked").await;
    let folder = tempfile::TempDir::new().unwrap();
    let file = folder.path().join("token");
    std::fs::write(&file, "bad\n").unwrap();
    let mut client = Connect::start(&remote.url, &["--auth-token-file", file.to_str().unwrap()]);
    let refused = client.call(&initialize("2025-11-25", json!({}))).await;
    assert_eq!(refused["error"]["code"], -31014, "{refused}");
    assert!(refused["error"]["message"].as_str().unwrap().contains("--auth-token-file"), "{refused}");
    std::fs::write(&file, "good\n").unwrap();
    let answer = client.initialize("2025-11-25").await;
    assert_eq!(answer["result"]["serverInfo"]["name"], "remote", "{answer}");
    let (_, log) = client.end().await;
    assert!(log.contains("wants authentication (401)") && !log.contains("good"), "{log}");
}

#[tokio::test]
async fn redirects_are_followed_within_the_origin_alone() {
    let mut remote = Remote::start("moved").await;
    let mut client = Connect::start(&remote.url, &["--header", "X-Api-Key: secret"]);
    assert_eq!(client.initialize("2025-11-25").await["result"]["serverInfo"]["name"], "remote");
    assert_eq!(remote.got("POST", Some("initialize")).await["path"], "/mcp");
    let moved = remote.got("POST", Some("initialize")).await;
    assert_eq!((&moved["path"], &moved["headers"]["x-api-key"]), (&json!("/new"), &json!("secret")));
    // It is not asked for again.
    client.call(&call(json!(1), "x")).await;
    assert_eq!(remote.got("POST", Some("tools/call")).await["path"], "/new");
    client.end().await;

    let remote = Remote::start("found").await;
    let mut client = Connect::start(&remote.url, &[]);
    let refused = client.call(&initialize("2025-11-25", json!({}))).await;
    let why = refused["error"]["message"].as_str().unwrap();
    assert!(why.contains("302 Found") && why.contains("only 307 and 308 are") && why.ends_with(" to /new"), "{why}");
    client.end().await;

    let remote = Remote::start("elsewhere").await;
    let mut client = Connect::start(&remote.url, &["--header", "X-Api-Key: secret"]);
    let refused = client.call(&initialize("2025-11-25", json!({}))).await;
    assert!(refused["error"]["message"].as_str().unwrap().contains("another origin"), "{refused}");
    let (_, log) = client.end().await;
    assert!(!log.contains("secret"), "{log}");
}

#[tokio::test]
async fn a_server_that_is_not_there_is_an_error_for_each_request() {
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let mut client = Connect::start(&format!("http://127.0.0.1:{port}/mcp"), &["--retry-timeout", "100ms"]);
    for _ in 0..2 {
        let refused = client.call(&initialize("2025-11-25", json!({}))).await;
        assert_eq!(
            (&refused["error"]["code"], &refused["error"]["data"]["kind"]),
            (&json!(-31001), &json!("remote-unavailable"))
        );
    }
    let early = client.call(r#"{"jsonrpc":"2.0","id":1,"method":"tools/list"}"#).await;
    assert_eq!(early["error"]["code"], -32600);
    let nonsense = client.call_line("nonsense").await;
    assert_eq!(
        (&nonsense["error"]["code"], &nonsense["error"]["data"]["kind"]),
        (&json!(-32700), &json!("parse-error"))
    );
    client.end().await;
}

#[tokio::test]
async fn a_message_that_is_too_large_is_an_error_for_its_request() {
    let remote = Remote::start("legacy").await;
    let mut client = Connect::start(&remote.url, &["--message-bytes-max", "1MiB"]);
    client.initialize("2025-11-25").await;
    for id in [r#""a \u0031""#, "1e2"] {
        let name = "x".repeat(2 << 20);
        let request = format!(r#"{{"jsonrpc":"2.0","method":"tools/call","params":{{"name":"{name}"}},"id":{id}}}"#);
        client.write(&request).await;
        let answer = client.line().await;
        assert!(answer.contains(&format!(r#""id":{id},"#)), "{answer}");
        assert!(answer.contains("-32600") && answer.contains("(--message-bytes-max)"), "{answer}");
    }
    assert_eq!(client.call(&call(json!(3), "x")).await["result"]["content"][0]["text"], "x session-1");
    client.end().await;
}

#[tokio::test]
async fn a_web_page_is_said_to_be_one() {
    let remote = Remote::start("page").await;
    let mut client = Connect::start(&remote.url, &[]);
    let refused = client.call(&initialize("2025-11-25", json!({}))).await;
    let (kind, why) = (&refused["error"]["data"]["kind"], refused["error"]["message"].as_str().unwrap());
    assert_eq!(kind, "remote-answer-unusable");
    assert!(why.contains("(200 OK, text/html; charset=utf-8: is this the MCP endpoint?)"), "{why}");
    client.end().await;
}

#[tokio::test]
async fn an_answer_that_is_too_large_is_of_no_use() {
    let script = r#"
handshake({"tools": {}})
while True:
    message = read()
    reply(message, {"content": [{"type": "text", "text": "x" * int(message["params"]["name"])}]})
"#;
    let mux = Mux::start(&["--sse-after", "1ms"], python(script)).await;
    let mut client = Connect::start(&mux.urls[0], &["--message-bytes-max", "1MiB"]);
    client.initialize("2025-11-25").await;
    let refused = client.call(&call(json!(1), "2000000")).await;
    assert_eq!(refused["error"]["data"]["kind"], "remote-answer-unusable", "{refused}");
    assert!(client.call(&call(json!(2), "2")).await.get("result").is_some());
    client.end().await;
}

#[tokio::test]
async fn it_is_said_once_that_the_server_is_tried_again() {
    let remote = Remote::start("busy").await;
    let mut client = Connect::start(&remote.url, &[]);
    client.initialize("2025-11-25").await;
    let (_, log) = client.end().await;
    assert_eq!(log.matches("the remote server is tried again").count(), 1, "{log}");
    assert!(log.contains("503 Service Unavailable") && log.contains("answers again"), "{log}");
}

#[tokio::test]
async fn a_certificate_that_is_not_trusted_is_not_tried_again() {
    let folder = tempfile::TempDir::new().unwrap();
    let path = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    for (of, name) in [("server", "127.0.0.1"), ("other", "localhost")] {
        let made = rcgen::generate_simple_self_signed([name.to_owned()]).unwrap();
        std::fs::write(path(&format!("{of}.pem")), made.cert.pem()).unwrap();
        std::fs::write(path(&format!("{of}.key")), made.signing_key.serialize_pem()).unwrap();
    }
    let mux = Mux::start(&["--tls-cert", &path("server.pem"), "--tls-key", &path("server.key")], echo_server()).await;
    let mut client = Connect::start_with(&mux.urls[0], &[], &[("SSL_CERT_FILE", &path("other.pem"))]);
    let refused = client.call(&initialize("2025-11-25", json!({}))).await;
    let why = refused["error"]["message"].as_str().unwrap();
    assert!(why.contains("its certificate is not trusted: none of the authorities known here"), "{why}");
    let (_, log) = client.end().await;
    assert!(!log.contains("tried again"), "{log}");
}

#[tokio::test]
async fn a_client_that_does_not_read_any_more_ends_it_with_the_first_line_for_it() {
    let remote = Remote::start("legacy").await;
    let Connect { mut process, mut stdin, stdout } = Connect::start(&remote.url, &[]);
    drop(stdout);
    let first = format!("{}\n", initialize("2025-11-25", json!({})));
    within("stdin", stdin.write_all(first.as_bytes())).await.unwrap();
    assert!(within("the end", process.wait()).await.unwrap().success());
}

#[tokio::test]
async fn a_signal_ends_it_as_the_end_of_stdin_does() {
    let mut remote = Remote::start("legacy").await;
    let mut client = Connect::start(&remote.url, &[]);
    client.initialize("2025-11-25").await;
    client.call(&call(json!(1), "x")).await;
    let pid = rustix::process::Pid::from_raw(i32::try_from(client.process.id().unwrap()).unwrap()).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
    assert!(within("the end", client.process.wait()).await.unwrap().success());
    remote.got("DELETE", None).await;
}
