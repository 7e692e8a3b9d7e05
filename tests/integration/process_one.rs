//! mcp-mux as process 1 of a container, which here is a namespace of processes.

use std::process::{Command as Blocking, Stdio};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::json;
use tokio::net::UnixDatagram;
use tokio::process::Command;

use crate::harness::{Mux, command, python, within};
use crate::listening::handing_over;

const UNSHARE: [&str; 6] = ["--user", "--map-root-user", "--pid", "--fork", "--kill-child", "--mount-proc"];

/// Whether this machine lets its users have namespaces.
fn has_namespaces() -> bool {
    let tried = Blocking::new("unshare").args(UNSHARE).arg("true").stderr(Stdio::null()).status();
    let has = tried.is_ok_and(|status| status.success());
    if !has {
        let note = b"not tested: this machine lets nobody have a namespace of processes\n";
        let _ = std::io::Write::write_all(&mut std::io::stderr(), note);
    }
    has
}

/// mcp-mux as process 1. What is waited for is `unshare`, which ends as it does.
async fn start(flags: &[&str], server: Vec<String>) -> (Mux, Pid) {
    let flags = [&["--port", "0"], flags].concat();
    let inner = command(&flags, &server);
    start_command(inner.as_std(), &[]).await
}

async fn start_command(inner: &Blocking, variables: &[(&str, &str)]) -> (Mux, Pid) {
    let mut command = Command::new("unshare");
    command.args(UNSHARE).arg(inner.get_program()).args(inner.get_args()).kill_on_drop(true);
    command.envs(variables.iter().copied());
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mux = Mux::start_command(command).await;
    let pid = mux.pid();
    let children = std::fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap();
    (mux, Pid::from_raw(children.trim().parse().unwrap()).unwrap())
}

/// Its tool leaves a process without a parent behind, and says what has become of it once it has ended, or after 20 s.
const ORPHANING: &str = r#"
import subprocess
handshake()
while True:
    message = read()
    orphan = subprocess.run(["sh", "-c", "sleep 0.01 >&- & echo $!"], stdout=subprocess.PIPE, text=True).stdout.strip()
    text, deadline = "", time.time() + 20
    while time.time() < deadline:
        try:
            text = open("/proc/%s/stat" % orphan).read()
        except FileNotFoundError:
            text = "gone"
            break
        time.sleep(0.01)
    reply(message, {"content": [{"type": "text", "text": text}]})
"#;

#[tokio::test]
async fn what_loses_its_parent_in_a_container_leaves_no_zombie_behind() {
    if !has_namespaces() {
        return;
    }
    let (mux, init) = start(&[], python(ORPHANING)).await;
    let client = mux.session("2025-06-18").await;
    assert_eq!(client.tool(json!(1), "any", json!({})).await, "gone");
    kill_process(init, Signal::TERM).unwrap();
    let (status, rest, log) = mux.stop_after_signal().await;
    assert_eq!((status.code(), rest.as_str()), (Some(0), ""));
    // Once: a second signal would have cut the stop short.
    assert!(log.contains("SIGTERM") && !log.contains("at once"), "{log}");
}

#[tokio::test]
async fn process_one_ends_as_the_program_ends_and_passes_on_what_asks_for_a_reload() {
    if !has_namespaces() {
        return;
    }
    let (mut mux, init) = start(&["--on-child-exit", "exit"], python("handshake()\nread()\nos._exit(3)")).await;
    kill_process(init, Signal::HUP).unwrap();
    mux.logged("SIGHUP").await;
    let client = mux.session("2025-06-18").await;
    client.call(json!(1), "tools/call", json!({})).await;
    let status = within("its end", mux.process.wait()).await.unwrap();
    assert_eq!(status.code(), Some(69));
}

#[tokio::test]
async fn what_is_said_to_process_one_by_its_number_is_heard_by_the_program() {
    if !has_namespaces() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("notify");
    let manager = UnixDatagram::bind(&path).unwrap();
    // It sets LISTEN_PID to its own number, and that is 1.
    let handed = handing_over(&folder.path().join("handed.sock"), &[], &python("handshake()\nread()\nread()"));
    let watchdog = [("NOTIFY_SOCKET", path.to_str().unwrap()), ("WATCHDOG_USEC", "100000"), ("WATCHDOG_PID", "1")];
    let (mux, init) = start_command(handed.as_std(), &watchdog).await;
    let mut buffer = [0; 1024];
    let mut told = Vec::new();
    while !told.contains(&"WATCHDOG=1\n".to_owned()) || told.len() < 2 {
        let bytes = within("a sign of life", manager.recv(&mut buffer)).await.unwrap();
        told.push(String::from_utf8_lossy(&buffer[..bytes]).into_owned());
    }
    assert!(told.iter().any(|told| told.starts_with("READY=1\n")), "{told:?}");
    let client = mux.session("2025-06-18").await;
    drop(client);
    kill_process(init, Signal::TERM).unwrap();
    let (status, rest, log) = mux.stop_after_signal().await;
    assert_eq!(status.code(), Some(0), "{log}");
    assert!(rest.starts_with("http+unix://"), "{rest}");
}
