//! The program with a configuration file, from a file and from a pipe.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::process::Stdio;

use serde_json::json;
use tokio::io::AsyncWriteExt;
use tokio::process::Command;

use crate::harness::{Mux, notes_server, run_to_end};

fn bare() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_mcp-mux"));
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
    command
}

#[tokio::test]
async fn a_file_alone_is_enough_and_flags_and_variables_win_over_it() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("mux.toml");
    let text = format!(
        "command = {:?}\nport = 0\npath = '/of-the-file'\nsse-path = '/of-the-file-too'\n[env]\nGREETING = 'hello world'\n",
        notes_server()
    );
    fs::write(&file, text).unwrap();
    fs::set_permissions(&file, fs::Permissions::from_mode(0o604)).unwrap();
    let mut command = bare();
    command.args(["--path", "/of-the-flag", "--message-path", "/m"]).env("MCP_MUX_CONFIG", &file);
    let mut mux = Mux::start_command(command).await;
    let urls = ["of-the-flag", "of-the-file-too"].map(|path| format!("http://127.0.0.1:{}/{path}", mux.port));
    assert_eq!(mux.urls, urls);
    mux.logged("everybody on this machine can read the variables' values in the configuration file").await;
    assert!(!mux.log().contains("hello world"), "{}", mux.log());
    let (status, ..) = mux.stop().await;
    assert_eq!(status.code(), Some(0));
}

#[tokio::test]
async fn each_principal_has_a_process_with_its_own_variables_and_follows_them_when_they_change() {
    let folder = tempfile::tempdir().unwrap();
    let (file, tokens) = (folder.path().join("mux.json"), folder.path().join("tokens"));
    fs::write(&tokens, "alice:the-token-of-alice\nbob:the-token-of-bob\n").unwrap();
    let config = |alice: &str| {
        let principals =
            json!({ "token:alice": { "env": { "OWNER": alice } }, "*": { "env": { "OWNER": "somebody" } } });
        json!({ "isolation": "principal", "auth-token-file": tokens, "principals": principals }).to_string()
    };
    fs::write(&file, config("alice")).unwrap();
    let mut mux = Mux::start(&["--config", file.to_str().unwrap()], notes_server()).await;
    let owner = async |mux: &Mux, token: &str| {
        let mut client = mux.client_with(token);
        client.initialize("2025-11-25", json!({})).await;
        client.tool(json!(1), "environment", json!({ "name": "OWNER" })).await
    };
    assert_eq!(owner(&mux, "the-token-of-alice").await, "\"alice\"");
    assert_eq!(owner(&mux, "the-token-of-bob").await, "\"somebody\"");
    fs::write(&file, config("alice again")).unwrap();
    mux.signal(rustix::process::Signal::HUP);
    mux.logged("read again files=\"configuration\"").await;
    assert_eq!(owner(&mux, "the-token-of-alice").await, "\"alice again\"");

    // What is wrong elsewhere in the file is a reason to leave these as they are, too.
    fs::write(&file, config("nobody").replace("\"isolation\"", "\"pool\":\"x\",\"isolation\"")).unwrap();
    mux.signal(rustix::process::Signal::HUP);
    mux.logged("not read again: what was there stays files=\"configuration\"").await;
    assert_eq!(owner(&mux, "the-token-of-alice").await, "\"alice again\"");
    let (_, _, log) = mux.stop().await;
    assert!(!log.contains("alice again") && !log.contains("the-token-of"), "{log}");
}

#[tokio::test]
async fn the_variables_of_the_file_reach_the_server() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("mux.json");
    fs::write(&file, json!({ "env": { "GREETING": "hello\nworld" }, "clean-env": true }).to_string()).unwrap();
    let mux = Mux::start(&["--config", file.to_str().unwrap()], notes_server()).await;
    let client = mux.session("2025-11-25").await;
    let of = async |name: &str| client.tool(json!(1), "environment", json!({ "name": name })).await;
    assert_eq!(of("GREETING").await, "\"hello\\nworld\"");
    assert_eq!(of("MCP_MUX_SSE_AFTER").await, "null");
}

#[tokio::test]
async fn a_wrong_file_ends_the_program_with_every_problem_in_it() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("mux.toml");
    let text = "command = ['x']\nbody-bytes-max = '4Mx'\nprot = 1\n[principals.'jwt:*']\nrate = 'fast'\n";
    fs::write(&file, text).unwrap();
    let mut command = bare();
    command.arg("--config").arg(&file);
    let (code, out, err) = run_to_end(command).await;
    assert_eq!((code, out.as_str()), (Some(78), ""));
    for key in [
        "body-bytes-max \"4Mx\": must be a size",
        "prot: must be a key that there is; did you mean port?",
        "principals.\"jwt:*\".rate \"fast\": must be a rate",
    ] {
        let expected = format!("{}: {key}", file.display());
        assert!(err.contains(&expected), "{expected} is not in:\n{err}");
    }
}

#[tokio::test]
async fn the_file_can_be_a_pipe() {
    let mut command = bare();
    command.args(["--config", "/dev/stdin"]).stdin(Stdio::piped());
    let mut process = command.spawn().unwrap();
    let mut stdin = process.stdin.take().unwrap();
    stdin.write_all(b"{\"command\": [\"x\"], \"port\": \"http\"}").await.unwrap();
    drop(stdin);
    let output = crate::harness::within("the end of the program", process.wait_with_output()).await.unwrap();
    let err = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(78), "{err}");
    assert!(err.contains("/dev/stdin: port \"http\": must be a port number"), "{err}");
}
