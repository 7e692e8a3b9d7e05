//! The access log: who asked for what, and never what.

use rustix::process::Signal;
use serde_json::{Value, json};

use crate::harness::{Mux, echo_server};

const SECRET: &str = "a-payload-that-nobody-logs";

fn lines(text: &str) -> Vec<Value> {
    text.lines().map(|line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"))).collect()
}

#[tokio::test]
async fn a_file_has_a_line_for_each_request_and_is_opened_again_when_it_was_moved() {
    let folder = tempfile::tempdir().unwrap();
    let (path, old) = (folder.path().join("access.log"), folder.path().join("access.log.1"));
    let flags = ["--access-log", path.to_str().unwrap(), "--access-log-names"];
    let mut mux = Mux::start(&flags, echo_server()).await;
    let client = mux.session("2025-11-25").await;
    client.call(json!(1), "tools/call", json!({"name": "echo", "arguments": {"text": SECRET}})).await;
    std::fs::rename(&path, &old).unwrap();
    mux.signal(Signal::HUP);
    mux.logged("files=\"access log\"").await;
    client.call(json!(2), "tools/list", json!({})).await;
    client.send(hyper::Method::GET, "/nowhere", &[], "").await;
    assert!(client.delete().await.is_success());
    let session = client.session.clone().unwrap();
    let (_, _, log) = mux.stop().await;

    let (before, after) = (std::fs::read_to_string(&old).unwrap(), std::fs::read_to_string(&path).unwrap());
    for text in [&before, &after, &log] {
        assert!(!text.contains(SECRET) && !text.contains(&session), "{text}");
    }
    let (before, after) = (lines(&before), lines(&after));
    let methods = |lines: &[Value]| lines.iter().map(|line| line["method"].clone()).collect::<Vec<_>>();
    assert_eq!(methods(&before), [json!("initialize"), json!("tools/call")]);
    assert_eq!(methods(&after), [json!("tools/list"), Value::Null, Value::Null]);
    let call = &before[1];
    assert_eq!(
        [&call["server"], &call["client"], &call["transport"], &call["revision"], &call["name"], &call["outcome"]],
        ["default", "127.0.0.1", "streamable-http", "2025-11-25", "echo", "ok"]
    );
    assert_eq!((&call["status"], call.get("code"), &call["principal"]), (&json!(200), None, &json!("anonymous")));
    assert!(call["bytes_in"].as_u64().unwrap() > 50 && call["bytes_out"].as_u64().unwrap() > 20);
    assert!(call["duration_seconds"].as_f64().unwrap() > 0.0);
    assert_eq!(call["session"], before[0]["session"]);
    let http = |line: &Value| ["http_method", "endpoint", "status", "outcome", "kind"].map(|key| line[key].clone());
    assert_eq!(http(&after[1]), [json!("GET"), json!("other"), json!(404), json!("invalid"), json!("not-found")]);
    assert_eq!(http(&after[2]), [json!("DELETE"), json!("mcp"), json!(204), json!("ok"), Value::Null]);
    assert_eq!([&after[2]["session"], &after[2]["server"]], [&call["session"], &json!("default")]);
}

#[tokio::test]
async fn the_log_has_the_lines_where_that_is_wanted_and_no_names_unless_they_are() {
    let mux = Mux::start(&["--access-log", "on"], echo_server()).await;
    let client = mux.session("2025-11-25").await;
    client.call(json!(1), "tools/call", json!({"name": "echo", "arguments": {"text": SECRET}})).await;
    let (_, _, log) = mux.stop().await;
    let line = log.lines().find(|line| line.contains("tools/call")).unwrap_or_else(|| panic!("no line:\n{log}"));
    for part in ["INFO", "request", "server=\"default\"", "method=\"tools/call\"", "outcome=\"ok\"", "status=200"] {
        assert!(line.contains(part), "{part}: {line}");
    }
    assert!(!line.contains("name=") && !log.contains(SECRET), "{line}");
}

#[tokio::test]
async fn without_the_flag_there_is_no_line() {
    let mux = Mux::start(&[], echo_server()).await;
    let client = mux.session("2025-11-25").await;
    client.call(json!(1), "tools/list", json!({})).await;
    let (_, _, log) = mux.stop().await;
    assert!(!log.contains("tools/list"), "{log}");
}
