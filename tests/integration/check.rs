//! `mcp-mux check`: real servers, started once, and what is said of them.

use std::fs;
use std::net::TcpListener;
use std::process::Stdio;

use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::Command;

use crate::harness::{gone, notes_server, python, run_to_end, within};

fn check(flags: &[&str], server: &[String]) -> Command {
    let mut command = bare(flags);
    command.arg("--").args(server);
    command
}

fn bare(flags: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_mcp-mux"));
    command.arg("check").args(flags).kill_on_drop(true);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

/// With the times taken out.
fn timeless(text: &str) -> String {
    let mut lines = String::new();
    for line in text.lines() {
        match line.split_once("answered after  ").or_else(|| line.split_once("\"answeredAfterMs\": ")) {
            Some((before, time)) if time.starts_with(|c: char| c.is_ascii_digit()) => {
                lines += &format!("{before}answered after a time\n");
            }
            Some(_) | None => lines += &format!("{line}\n"),
        }
    }
    lines
}

fn json_of(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_else(|error| panic!("{error}: {text}"))
}

#[tokio::test]
async fn a_server_that_works_is_shown_and_left_and_nothing_is_opened() {
    // Somebody else's, which no check minds.
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port().to_string();
    let folder = tempfile::tempdir().unwrap();
    let (socket, log) = (folder.path().join("mux.sock"), folder.path().join("access.log"));
    let socket_flag = format!("unix:{}", socket.display());
    let log_flag = log.display().to_string();
    for flags in [&["--port", &port][..], &["--listen", &socket_flag, "--access-log", &log_flag]] {
        let (code, out, err) = run_to_end(check(flags, &notes_server())).await;
        assert_eq!((code, err.as_str()), (Some(0), ""));
        assert_eq!(
            timeless(&out),
            "default: works
  server          notes 1.0.0
  eras            legacy
  revisions       2025-11-25
  capabilities    completions, logging, prompts, resources (listChanged,
                  subscribe), tools (listChanged)
  tools           15
  resources       3
  templates       1
  prompts         1
  answered after a time
"
        );
    }
    assert!(!socket.exists() && !log.exists());
}

/// It says where its process is, on stderr; `BODY` is what it does then.
fn script(body: &str) -> Vec<String> {
    python(&format!("print('pid', os.getpid(), file=sys.stderr, flush=True)\n{body}"))
}

fn pid(stderr: &Value) -> i64 {
    let lines = stderr.as_array().unwrap().iter().filter_map(Value::as_str);
    lines.filter_map(|line| line.strip_prefix("pid ")).next().unwrap().parse().unwrap()
}

#[tokio::test]
async fn servers_that_do_not_work_are_shown_with_their_last_words_and_none_is_left() {
    let hostile = "print('no \\x1b[2Jdatabase for hunter2-hunter2', file=sys.stderr, flush=True); sys.exit(3)";
    let quick = ["--start-timeout", "2s", "--probe-timeout", "1s", "--stop-timeout", "200ms", "--format", "json"];
    for (body, reason) in [
        (hostile, "it did not start: it exited (exit status: 3) before its handshake (initialize) stood"),
        ("time.sleep(600)", "it did not start: its handshake (initialize) did not stand within 2s"),
        (
            "handshake(); read(); print('bye', file=sys.stderr, flush=True); sys.exit(4)",
            "it exited while it was asked (exit status: 4)",
        ),
    ] {
        let flags = [&quick[..], &["--env", "KEY=hunter2-hunter2", "--child-era", "legacy"]].concat();
        let (code, out, err) = run_to_end(check(&flags, &script(body))).await;
        assert_eq!((code, err.contains("ERROR")), (Some(69), false), "{err}");
        let answer = json_of(&out);
        assert_eq!((&answer["ok"], &answer["servers"][0]["state"]), (&json!(false), &json!("failing")));
        let said = answer["servers"][0]["reason"].as_str().unwrap();
        assert!(said.starts_with(reason), "{said}");
        let stderr = &answer["servers"][0]["stderr"];
        gone(pid(stderr)).await;
        if body == hostile {
            assert_eq!(stderr[1], "no \\u{1b}[2Jdatabase for ***");
        }
    }

    let (code, out, _) = run_to_end(check(&[], &["no-such-server-anywhere".to_owned()])).await;
    assert_eq!(code, Some(69));
    assert_eq!(
        out,
        "default: failing
  it did not start: the command `no-such-server-anywhere` was not found in PATH:
  install it, or give its full path
"
    );
}

#[tokio::test]
async fn the_servers_of_a_file_are_all_asked_also_lazy_ones() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("mcp.json");
    let [program, script] = notes_server().try_into().unwrap();
    let notes = |own: Value| {
        let mut server = json!({ "command": program, "args": [script] });
        server.as_object_mut().unwrap().extend(own.as_object().unwrap().clone());
        server
    };
    let nowhere = folder.path().join("nowhere");
    let servers =
        json!({ "notes": notes(json!({})), "lazy": notes(json!({ "lazy": true })), "off": { "disabled": true } });
    fs::write(&file, json!({ "mcpServers": servers }).to_string()).unwrap();
    let path = file.to_str().unwrap();
    let (code, out, err) = run_to_end(bare(&["--config", path, "--format", "json"])).await;
    assert_eq!((code, err.as_str()), (Some(0), ""));
    let answer = json_of(&out);
    let shown: Vec<_> = answer["servers"].as_array().unwrap().iter().collect();
    let shown: Vec<_> =
        shown.iter().map(|one| (one["name"].as_str().unwrap(), one["state"].as_str().unwrap())).collect();
    assert_eq!(shown, [("lazy", "works"), ("notes", "works"), ("off", "disabled")]);
    assert_eq!(answer["servers"][0]["tools"], json!({ "count": 15, "complete": true }));

    let mut more = servers;
    more["nowhere"] = notes(json!({ "cwd": nowhere }));
    fs::write(&file, json!({ "mcpServers": more }).to_string()).unwrap();
    let (code, out, _) = run_to_end(bare(&["--config", path])).await;
    assert_eq!(code, Some(69));
    assert!(out.starts_with("SERVER   STATE     ERA     REVISION    TOOLS  RES.  TPL.  PROMPTS"), "{out}");
    assert!(out.contains("\nlazy     works     legacy  2025-11-25     15     3     1        1  "), "{out}");
    assert!(out.contains("\nnowhere  invalid   -       -               -     -     -        -       -\n"), "{out}");
    assert!(out.contains("\nnowhere: it cannot be used: cwd "), "{out}");
}

#[tokio::test]
async fn a_wrong_configuration_is_told_of_as_for_serving_and_nothing_is_started() {
    let folder = tempfile::tempdir().unwrap();
    let mark = folder.path().join("started");
    let server = ["touch".to_owned(), mark.display().to_string()];
    let flags = ["--port", "eighty", "--pool", "many", "--tls-cert", "/no/such.pem"];
    let (code, out, err) = run_to_end(check(&flags, &server)).await;
    assert_eq!((code, out.as_str()), (Some(78), ""));
    let served = run_to_end(crate::harness::command(&flags, &server)).await;
    assert_eq!((code, out, err), served);
    let flags = ["--tls-cert", "/no/such.pem", "--tls-key", "/no/such.key"];
    let (code, out, err) = run_to_end(check(&flags, &server)).await;
    assert_eq!((code, out.as_str()), (Some(78), ""));
    assert_eq!(
        (code, out, err),
        run_to_end(crate::harness::command(&[&flags[..], &["--log-level", "off"]].concat(), &server)).await
    );
    assert!(!mark.exists());
}

#[tokio::test]
async fn a_signal_ends_it_and_the_server() {
    for (signal, code) in [(rustix::process::Signal::INT, 130), (rustix::process::Signal::TERM, 143)] {
        // The line on stderr shows that the server is there.
        let mut process = check(&["--log-level", "info"], &script("time.sleep(600)")).spawn().unwrap();
        let mut lines = BufReader::new(process.stderr.take().unwrap()).lines();
        let pid = within("the server's line", async {
            loop {
                let line = lines.next_line().await.unwrap().unwrap();
                if let Some((_, pid)) = line.split_once(": pid ") {
                    break pid.trim().parse::<i64>().unwrap();
                }
            }
        })
        .await;
        let own = rustix::process::Pid::from_raw(i32::try_from(process.id().unwrap()).unwrap()).unwrap();
        rustix::process::kill_process(own, signal).unwrap();
        let output = async {
            while let Ok(Some(_)) = lines.next_line().await {}
            process.wait_with_output().await.unwrap()
        };
        let output = within("the end", output).await;
        assert_eq!((output.status.code(), output.stdout.as_slice()), (Some(code), &[][..]));
        gone(pid).await;
    }
}

#[tokio::test]
async fn nobody_has_to_read_the_answer() {
    let mut process = check(&[], &notes_server()).spawn().unwrap();
    drop(process.stdout.take());
    let output = within("the end", process.wait_with_output()).await.unwrap();
    assert_eq!((output.status.code(), String::from_utf8_lossy(&output.stderr).as_ref()), (Some(0), ""));
}
