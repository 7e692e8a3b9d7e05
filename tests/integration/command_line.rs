//! What a person sees who starts it, rightly or wrongly.

use std::process::Stdio;

use crate::harness::{Mux, command, echo_server, notes_server, run_to_end};

#[tokio::test]
async fn prints_its_urls_one_a_line_and_nothing_else_and_stops_cleanly() {
    let mux = Mux::start(&[], notes_server()).await;
    assert_eq!(mux.urls, ["mcp", "sse"].map(|path| format!("http://127.0.0.1:{}/{path}", mux.port)));
    let (status, rest, _) = mux.stop().await;
    assert_eq!((status.code(), rest.as_str()), (Some(0), ""));
}

#[tokio::test]
async fn spawn_and_the_words_after_two_dashes_mean_the_same() {
    let line = notes_server().iter().map(|word| format!("'{word}'")).collect::<Vec<_>>().join(" ");
    let mut command = tokio::process::Command::new(env!("CARGO_BIN_EXE_mcp-mux"));
    command.args(["--port", "0", "--spawn", &line]).env("MCP_MUX_PATH", "/of-the-environment").kill_on_drop(true);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
    let mut process = command.spawn().unwrap();
    let mut lines = tokio::io::AsyncBufReadExt::lines(tokio::io::BufReader::new(process.stdout.take().unwrap()));
    let url = crate::harness::within("the URLs", lines.next_line()).await.unwrap().unwrap();
    assert!(url.ends_with("/of-the-environment"), "{url}");
}

#[tokio::test]
async fn an_unknown_flag_is_a_usage_error() {
    let (code, out, err) = run_to_end(command(&["--prot", "1"], &echo_server())).await;
    assert_eq!((code, out.as_str()), (Some(2), ""));
    assert!(err.contains("--prot") && err.contains("--port"), "{err}");
}

#[tokio::test]
async fn every_bad_value_is_named_with_what_would_be_right() {
    let flags = ["--port", "eighty", "--keep-alive", "soon", "--path", "mcp", "--body-bytes-max", "lots"];
    let (code, out, err) = run_to_end(command(&flags, &echo_server())).await;
    assert_eq!((code, out.as_str()), (Some(78), ""));
    for word in ["--port", "eighty", "--keep-alive", "soon", "--path", "\"mcp\"", "--body-bytes-max", "lots"] {
        assert!(err.contains(word), "{word} is not in:\n{err}");
    }
}

#[tokio::test]
async fn a_missing_command_is_a_usage_error_that_shows_how() {
    let mut command = tokio::process::Command::new(env!("CARGO_BIN_EXE_mcp-mux"));
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let (code, _, err) = run_to_end(command).await;
    assert_eq!(code, Some(2));
    assert!(err.contains("--spawn"), "{err}");
}

#[tokio::test]
async fn an_occupied_port_ends_in_a_message_that_says_what_to_do() {
    let first = Mux::start(&[], echo_server()).await;
    let port = first.port.to_string();
    let (code, out, err) = run_to_end(command(&["--port", &port], &echo_server())).await;
    assert_eq!((code, out.as_str()), (Some(69), ""));
    assert!(err.contains(&port) && err.contains("in use") && err.contains("--port"), "{err}");
}

#[tokio::test]
async fn a_command_that_does_not_exist_ends_in_a_message_that_says_what_to_do() {
    let (code, out, err) = run_to_end(command(&["--port", "0"], &["no-such-server-anywhere".to_owned()])).await;
    assert_eq!((code, out.as_str()), (Some(69), ""));
    assert!(err.contains("no-such-server-anywhere") && err.contains("PATH"), "{err}");
}

#[tokio::test]
async fn a_child_that_exits_at_once_ends_in_its_status_and_last_words() {
    // A shell, which is there long before the URLs would be.
    let script = ["sh", "-c", "echo 'cannot open the database' >&2; exit 4"].map(str::to_owned);
    let (code, out, err) = run_to_end(command(&["--port", "0"], &script)).await;
    assert_eq!((code, out.as_str()), (Some(69), ""));
    assert!(err.contains("exit status: 4") && err.contains("cannot open the database"), "{err}");
}

#[tokio::test]
async fn a_child_that_is_no_mcp_server_ends_in_a_message() {
    let (code, _, err) = run_to_end(command(&["--port", "0"], &["cat".to_owned()])).await;
    assert_eq!(code, Some(69), "{err}");
    assert!(err.contains("initialize"), "{err}");
}

#[tokio::test]
async fn help_and_version_go_to_stdout() {
    for flag in ["--help", "--version"] {
        let mut command = tokio::process::Command::new(env!("CARGO_BIN_EXE_mcp-mux"));
        command.arg(flag).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let (code, out, err) = run_to_end(command).await;
        assert_eq!((code, err.as_str()), (Some(0), ""));
        assert!(out.contains("mcp-mux"), "{out}");
    }
}
