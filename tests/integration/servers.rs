//! Many servers of one file: each under its name, and the file read again while they are used.

use std::fs;
use std::path::Path;
use std::process::Stdio;

use hyper::{Method, StatusCode};
use serde_json::{Value, json};
use tokio::process::Command;

use crate::harness::{ACCEPT, Client, JSON, Mux, body, gone, notes_server, run_to_end};

fn bare(file: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_mcp-mux"));
    command.arg("--config").arg(file).args(["--port", "0"]).env("MCP_MUX_SSE_AFTER", "1m");
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
    command
}

/// The demonstration server with a variable.
fn server(greeting: &str) -> Value {
    let [program, script] = notes_server().try_into().unwrap();
    json!({ "command": program, "args": [script], "env": { "GREETING": greeting }, "autoApprove": [] })
}

/// As an editor does it: there is never half a file.
fn write(file: &Path, text: &str) {
    let other = file.with_extension("new");
    fs::write(&other, text).unwrap();
    fs::rename(&other, file).unwrap();
}

async fn session(mux: &Mux, name: &str) -> Client {
    let mut client = mux.client();
    client.path = format!("/servers/{name}/mcp");
    client.initialize("2025-11-25", json!({})).await;
    client
}

async fn greeting(client: &Client) -> String {
    client.tool(json!(1), "environment", json!({ "name": "GREETING" })).await
}

async fn pid(client: &Client) -> i64 {
    let about: Value = serde_json::from_str(&client.tool(json!(2), "whoami", json!({})).await).unwrap();
    about["pid"].as_i64().unwrap()
}

/// How mcp-mux is told that the file is another one.
#[derive(Clone, Copy, PartialEq)]
enum Telling {
    Signal,
    Watch,
}

async fn servers_come_go_and_change(telling: Telling) {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("mcp.json");
    let text = |servers: Value| json!({ "mcpServers": servers, "theme": "dark" }).to_string();
    write(&file, &text(json!({ "a": server("hello a"), "b": server("hello b"), "off": { "disabled": true } })));
    let mut command = bare(&file);
    if telling == Telling::Watch {
        command.arg("--watch");
    }
    let mut mux = Mux::start_command(command).await;
    mux.logged("keys=\"mcpServers.a.autoApprove, mcpServers.b.autoApprove, theme\"").await;
    if telling == Telling::Watch {
        mux.logged("watching files").await;
    }
    let tell = |mux: &Mux| {
        if telling == Telling::Signal {
            mux.signal(rustix::process::Signal::HUP);
        }
    };
    let (a, b) = (session(&mux, "a").await, session(&mux, "b").await);
    assert_eq!((greeting(&a).await.as_str(), greeting(&b).await.as_str()), ("\"hello a\"", "\"hello b\""));
    let (pid_of_a, pid_of_b) = (pid(&a).await, pid(&b).await);

    // One more, and another one.
    write(&file, &text(json!({ "a": server("hello a"), "b": server("good day"), "c": server("hello c") })));
    tell(&mux);
    mux.logged("the servers are those of the configuration file added=1 removed=1 changed=1 kept=1").await;
    gone(pid_of_b).await;
    assert_eq!(greeting(&session(&mux, "b").await).await, "\"good day\"");
    assert_eq!(greeting(&session(&mux, "c").await).await, "\"hello c\"");
    assert_eq!((pid(&a).await, greeting(&a).await.as_str()), (pid_of_a, "\"hello a\""));

    // A broken file changes nothing.
    let mut broken = text(json!({ "a": server("x") }));
    broken.truncate(broken.len() - 2);
    write(&file, &broken);
    tell(&mux);
    mux.logged("not read again: what was there stays files=\"configuration\"").await;
    assert!(mux.log().contains("mcp.json: line 1, column"), "{}", mux.log());
    write(&file, &text(json!({ "a": { "command": "x", "pool": "many" } })));
    tell(&mux);
    mux.logged("mcp.json: mcpServers.a.pool").await;
    write(&file, &text(json!({ "a": { "command": "${NONE}" } })));
    tell(&mux);
    mux.logged("mcp.json: mcpServers.a: must be a server that can be used, as the one that runs can").await;
    // What else is in it is not taken either.
    let nobody = json!({ "anonymous": { "tools": { "allow": ["none"] } } });
    let servers = json!({ "a": { "command": "${NONE}" }, "c": server("hello c") });
    write(&file, &json!({ "mcpServers": servers, "principals": nobody }).to_string());
    tell(&mux);
    mux.logged_times("mcpServers.a: must be a server that can be used, as the one that runs can", 2).await;
    assert_eq!((pid(&a).await, greeting(&a).await.as_str()), (pid_of_a, "\"hello a\""));
    assert_eq!(greeting(&session(&mux, "c").await).await, "\"hello c\"");

    // Mended, and two are gone.
    let mended = json!({ "mcpServers": { "a": server("hello a") }, "keep-alive": "15s", "drain-timeout": "9s" });
    write(&file, &mended.to_string());
    tell(&mux);
    mux.logged("added=0 removed=2 changed=0 kept=1").await;
    assert!(mux.log().contains("hold after a restart of mcp-mux keys=\"drain-timeout\""), "{}", mux.log());
    let gone = mux.client().send(Method::POST, "/servers/c/mcp", &[ACCEPT, JSON], "{}").await;
    assert_eq!(gone.status(), StatusCode::NOT_FOUND);
    assert_eq!((pid(&a).await, greeting(&a).await.as_str()), (pid_of_a, "\"hello a\""));

    // All of them gone, and one of them back.
    write(&file, &json!({ "mcpServers": { "a": { "disabled": true } }, "keep-alive": "15s" }).to_string());
    tell(&mux);
    mux.logged("added=0 removed=0 changed=1 kept=0").await;
    self::gone(pid_of_a).await;
    write(&file, &text(json!({ "a": server("back"), "d": server("new") })));
    tell(&mux);
    mux.logged("added=1 removed=0 changed=1 kept=0").await;
    assert_eq!(greeting(&session(&mux, "a").await).await, "\"back\"");
    let (status, _, log) = mux.stop().await;
    assert_eq!(status.code(), Some(0));
    assert!(!log.contains("hello a"), "{log}");
}

#[tokio::test]
async fn servers_come_go_and_change_on_sighup_and_sessions_of_the_others_go_on() {
    servers_come_go_and_change(Telling::Signal).await;
}

#[tokio::test]
async fn servers_come_go_and_change_when_the_file_does_and_sessions_of_the_others_go_on() {
    servers_come_go_and_change(Telling::Watch).await;
}

#[tokio::test]
async fn a_lazy_server_is_started_by_whoever_comes_and_stopped_when_nobody_does() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("mcp.json");
    let mut lazy = server("hello");
    lazy["lazy"] = json!(true);
    lazy["server-idle-timeout"] = json!("200ms");
    write(&file, &json!({ "mcpServers": { "lazy": lazy, "other": server("x") } }).to_string());
    let mut mux = Mux::start_command(bare(&file)).await;
    let first = session(&mux, "lazy").await;
    let pid_of_first = pid(&first).await;
    assert!(first.delete().await.is_success());
    mux.logged("the server is stopped, since nobody uses it").await;
    gone(pid_of_first).await;
    assert_ne!(pid(&session(&mux, "lazy").await).await, pid_of_first);
    mux.stop().await;
}

#[tokio::test]
async fn a_server_that_cannot_be_started_is_seen_on_the_status_page_in_the_metrics_and_in_the_access_log() {
    let folder = tempfile::tempdir().unwrap();
    let (file, access) = (folder.path().join("mcp.json"), folder.path().join("access.log"));
    let bad = json!({ "command": "sh", "args": ["-c", "echo no licence >&2; exit 3"] });
    write(&file, &json!({ "mcpServers": { "bad": bad, "good": server("x") } }).to_string());
    let mut command = bare(&file);
    command.arg("--access-log").arg(&access);
    let mut mux = Mux::start_command(command).await;
    mux.logged("the server cannot be used; the others go on server=bad").await;
    session(&mux, "good").await;
    let client = mux.client();
    let get = async |path: &str| {
        String::from_utf8(body(client.send(Method::GET, path, &[], "").await).await.to_vec()).unwrap()
    };
    let seen: Value = serde_json::from_str(&get("/status.json").await).unwrap();
    assert!(seen["servers"][0]["why"].as_str().unwrap().contains("no licence"), "{seen}");
    assert_eq!(seen["servers"][1]["why"], Value::Null);
    // Who may only use the servers is told no more than this.
    let listed: Value = serde_json::from_str(&get("/servers").await).unwrap();
    assert!(!listed.to_string().contains("licence"), "{listed}");

    let refused = client.send(Method::POST, "/servers/bad/mcp", &[ACCEPT, JSON], "{}").await;
    assert_eq!(refused.status(), StatusCode::SERVICE_UNAVAILABLE);
    let metrics = get("/metrics").await;
    let labels = r#"server="bad",method="unread",outcome="child-unavailable""#;
    assert!(metrics.contains(&format!("mcp_mux_requests_total{{{labels}}} 1\n")), "{metrics}");
    assert!(metrics.contains("mcp_mux_server_state{server=\"good\",state=\"started\"} 1\n"), "{metrics}");
    mux.signal(rustix::process::Signal::TERM);
    mux.end().await;
    let lines = fs::read_to_string(&access).unwrap();
    let line: Value = serde_json::from_str(lines.lines().last().unwrap()).unwrap();
    assert_eq!(
        [&line["server"], &line["outcome"], &line["status"]],
        [&json!("bad"), &json!("child-unavailable"), &json!(503)]
    );
}

#[tokio::test]
async fn the_program_ends_when_no_server_works_also_when_that_took_long_to_find_out() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("mcp.json");
    let silent = json!({ "command": "sh", "args": ["-c", "while read line; do :; done"] });
    // Longer than the URLs are held back for.
    let servers = json!({ "mcpServers": { "a": silent, "b": silent }, "start-timeout": "1500ms" });
    write(&file, &servers.to_string());
    let (code, out, err) = run_to_end(bare(&file)).await;
    assert_eq!(code, Some(69), "{err}");
    assert!(out.contains("/servers/a/mcp"), "{out}");
    assert!(err.contains("none of the servers can be used"), "{err}");
}

#[tokio::test]
async fn whoever_wakes_a_server_that_does_not_start_is_told_that() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("mcp.json");
    let bad =
        |isolation: &str| json!({ "command": "sh", "args": ["-c", "exit 3"], "lazy": true, "isolation": isolation });
    write(&file, &json!({ "mcpServers": { "a": bad("shared"), "b": bad("session") } }).to_string());
    let mux = Mux::start_command(bare(&file)).await;
    let client = mux.client();
    let initialize = r#"{"jsonrpc":"2.0","id":1,"method":"initialize","params":{"protocolVersion":"2025-11-25","capabilities":{},"clientInfo":{"name":"c","version":"1"}}}"#;
    for path in ["/servers/a/mcp", "/servers/b/mcp"] {
        let refused = client.send(Method::POST, path, &[ACCEPT, JSON], initialize).await;
        assert_eq!(refused.status(), StatusCode::SERVICE_UNAVAILABLE);
        let answer: Value = serde_json::from_slice(&body(refused).await).unwrap();
        let kind = answer["error"]["data"]["kind"].as_str().unwrap();
        assert!(["circuit-open", "child-unavailable"].contains(&kind), "{answer}");
    }
    mux.signal(rustix::process::Signal::TERM);
    mux.end().await;
}

#[tokio::test]
async fn a_file_of_which_no_server_can_be_used_ends_the_program() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("mcp.json");
    for (servers, expected) in [
        (json!({}), "mcp.json: mcpServers: must be a table with a server at least"),
        (json!({ "a": { "command": "x", "disabled": true } }), "of those in it, none can\n    a: disabled"),
    ] {
        write(&file, &json!({ "mcpServers": servers }).to_string());
        let (code, out, err) = run_to_end(bare(&file)).await;
        assert_eq!((code, out.as_str()), (Some(78), ""), "{err}");
        assert!(err.contains(expected), "{err}");
    }
}
