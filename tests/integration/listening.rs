//! What is listened on: several ports, unix sockets, sockets that were handed over.

use std::fs;
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::path::Path;
use std::process::Stdio;

use rustix::process::Signal;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpStream, UnixStream};
use tokio::process::Command;

use crate::harness::{ACCEPT, JSON, Mux, command, echo_server, notes_server, python, request, run_to_end, within};

/// Asks for the tools, and reads everything that comes.
async fn answer(mut stream: impl AsyncRead + AsyncWrite + Unpin, host: &str) -> String {
    let body = request(json!(1), "tools/list", json!({}));
    let head = format!(
        "POST /mcp HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\ncontent-type: {}\r\naccept: {}\r\n\
         content-length: {}\r\n\r\n",
        JSON.1,
        ACCEPT.1,
        body.len()
    );
    let mut read = Vec::new();
    within("the answer", async {
        stream.write_all((head + &body).as_bytes()).await.unwrap();
        stream.read_to_end(&mut read).await.unwrap();
    })
    .await;
    String::from_utf8(read).unwrap()
}

async fn over_unix(path: &Path) -> String {
    answer(UnixStream::connect(path).await.unwrap(), "localhost").await
}

async fn over_port(address: &str) -> String {
    answer(TcpStream::connect(address).await.unwrap(), "localhost").await
}

fn encoded(path: &Path) -> String {
    path.to_str().unwrap().replace('/', "%2F")
}

fn address(url: &str) -> &str {
    url.strip_prefix("http://").unwrap().split('/').next().unwrap()
}

#[tokio::test]
async fn two_ports_and_a_unix_socket_are_served_at_once_and_the_sockets_file_is_gone_at_the_end() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("mux.sock");
    let unix = format!("unix:{}", path.display());
    let flags = ["--stateless", "--listen", "127.0.0.1:0,localhost:0", "--listen", &unix, "--unix-mode", "660"];
    let mut mux = Mux::start_command(command(&flags, &echo_server())).await;
    let mode = fs::symlink_metadata(&path).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o660);
    assert!(over_port(address(&mux.urls[0])).await.starts_with("HTTP/1.1 200 OK"));
    assert!(over_unix(&path).await.starts_with("HTTP/1.1 200 OK"));
    // A proxy may pass on whatever a browser says.
    let foreign = answer(UnixStream::connect(&path).await.unwrap(), "evil.example").await;
    assert!(foreign.starts_with("HTTP/1.1 403 "), "{foreign}");
    mux.logged("serving").await;
    assert!(mux.log().contains(&unix), "{}", mux.log());
    let (status, rest, log) = mux.stop().await;
    assert_eq!(status.code(), Some(0));
    let rest: Vec<_> = rest.lines().collect();
    assert!(rest[0].starts_with("http://localhost:") && rest[1].ends_with("/sse"), "{rest:?}");
    assert_eq!(rest[2..], ["mcp", "sse"].map(|end| format!("http+unix://{}/{end}", encoded(&path))));
    assert!(!path.exists(), "{log}");
}

#[tokio::test]
async fn a_socket_that_a_killed_run_left_behind_is_taken_over_and_one_in_use_is_not() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("mux.sock");
    let unix = format!("unix:{}", path.display());
    let flags = ["--stateless", "--listen", "127.0.0.1:0", "--listen", &unix];
    let mut killed = Mux::start_command(command(&flags, &echo_server())).await;
    let (code, _, error) = run_to_end(command(&["--listen", &unix], &echo_server())).await;
    assert_eq!(code, Some(69));
    assert!(error.contains("somebody listens on unix:") && error.contains("--listen"), "{error}");
    assert!(over_unix(&path).await.starts_with("HTTP/1.1 200 OK"));
    killed.process.kill().await.unwrap();
    assert!(fs::symlink_metadata(&path).unwrap().file_type().is_socket());
    let mux = Mux::start_command(command(&flags, &echo_server())).await;
    assert!(over_unix(&path).await.starts_with("HTTP/1.1 200 OK"));
    mux.stop().await;
    assert!(!path.exists());
    fs::write(&path, "precious").unwrap();
    let (code, _, error) = run_to_end(command(&["--listen", &unix], &echo_server())).await;
    assert!(code == Some(69) && error.contains("something else than a socket"), "{error}");
    assert_eq!(fs::read_to_string(&path).unwrap(), "precious");
}

#[tokio::test]
async fn a_socket_for_everybody_is_warned_of_unless_they_have_to_say_who_they_are() {
    let folder = TempDir::new().unwrap();
    let unix = format!("unix:{}", folder.path().join("mux.sock").display());
    let flags = ["--listen", "127.0.0.1:0", "--listen", &unix, "--unix-mode", "666"];
    let warning = "everybody on this machine may use the server";
    let open = Mux::start_command(command(&flags, &echo_server())).await;
    let (.., log) = open.stop().await;
    assert!(log.contains(warning), "{log}");
    let mut guarded = command(&flags, &echo_server());
    guarded.env("MCP_MUX_AUTH_TOKENS", "alice:0123456789abcdef0123456789abcdef");
    let (.., log) = Mux::start_command(guarded).await.stop().await;
    assert!(!log.contains(warning), "{log}");
}

/// Opens a port and, at that path, a unix socket, and becomes mcp-mux as systemd starts it with them.
const LAUNCHER: &str = r#"
import fcntl, os, socket, sys
path, names, program = sys.argv[1:4]
port = socket.create_server(("127.0.0.1", 0))
local = socket.socket(socket.AF_UNIX); local.bind(path); local.listen()
os.chmod(path, 0o600)
copies = [fcntl.fcntl(opened.fileno(), fcntl.F_DUPFD, 10) for opened in (port, local)]
for at, copy in enumerate(copies):
    os.dup2(copy, 3 + at)
    os.set_inheritable(copy, False)
os.environ.update(LISTEN_PID=str(os.getpid()), LISTEN_FDS="2", LISTEN_FDNAMES=names)
os.execv(program, [program] + sys.argv[4:])
"#;

pub(crate) fn handing_over(path: &Path, flags: &[&str], server: &[String]) -> Command {
    let mut command = Command::new("python3");
    command.args(["-c", LAUNCHER]).arg(path).args(["web:local", env!("CARGO_BIN_EXE_mcp-mux")]);
    command.args(flags).arg("--").args(server).env("MCP_MUX_SSE_AFTER", "1m");
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
    command
}

/// Answers with what it could have inherited.
fn inheriting_server() -> Vec<String> {
    python(
        r#"
handshake()
while True:
    message = read()
    opened = ["/proc/self/fd/" + fd for fd in os.listdir("/proc/self/fd")]
    opened = [os.readlink(fd) for fd in opened if os.path.islink(fd)]
    if "id" in message:
        reply(message, {"tools": [], "variables": [name for name in os.environ if name.startswith("LISTEN")],
            "sockets": [one for one in opened if one.startswith("socket:")]})
"#,
    )
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn sockets_that_were_handed_over_are_used_by_themselves_and_the_server_inherits_nothing_of_them() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("handed.sock");
    let flags = ["--stateless", "--child-era", "legacy"];
    let mux = Mux::start_command(handing_over(&path, &flags, &inheriting_server())).await;
    let inherited = over_port(address(&mux.urls[0])).await;
    let body: Value = serde_json::from_str(inherited.split("\r\n\r\n").nth(1).unwrap()).unwrap();
    assert_eq!(body["result"]["sockets"], json!([]), "{inherited}");
    assert_eq!(body["result"]["variables"], json!([]), "{inherited}");
    assert!(over_unix(&path).await.starts_with("HTTP/1.1 200 OK"));
    let (status, rest, _) = mux.stop().await;
    assert_eq!(status.code(), Some(0));
    assert!(rest.starts_with(&format!("http+unix://{}/mcp\n", encoded(&path))), "{rest}");
    // It is systemd's, which goes on listening.
    assert!(path.exists());
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn sockets_that_were_handed_over_can_be_chosen_by_name() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("handed.sock");
    let flags = ["--stateless", "--listen", "127.0.0.1:0,systemd:local"];
    let mux = Mux::start_command(handing_over(&path, &flags, &notes_server())).await;
    assert!(over_unix(&path).await.starts_with("HTTP/1.1 200 OK"));
    let (_, rest, log) = mux.stop().await;
    assert_eq!(rest.lines().count(), 2);
    assert!(log.contains("not used") && log.contains("web"), "{log}");
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn what_was_not_handed_over_cannot_be_listened_on() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("handed.sock");
    let (code, _, error) = run_to_end(handing_over(&path, &["--listen", "systemd:admin"], &echo_server())).await;
    assert_eq!(code, Some(69));
    assert!(error.contains("there is none with the name admin") && error.contains("ListenStream="), "{error}");
    // What was meant for another process is nobody else's.
    let mut stale = command(&["--listen", "systemd:"], &echo_server());
    stale.env("LISTEN_PID", "1").env("LISTEN_FDS", "1");
    let (code, _, error) = run_to_end(stale).await;
    assert!(code == Some(69) && error.contains("there is none"), "{error}");
    for (count, why) in [("100000", "more than 256"), ("2", "more than there are"), ("two", "no number")] {
        let mut untrue = Command::new("sh");
        untrue.args(["-c", r#"LISTEN_PID=$$ exec "$0" -- "$@""#, env!("CARGO_BIN_EXE_mcp-mux")]).args(echo_server());
        untrue.env("LISTEN_FDS", count).stdout(Stdio::piped()).stderr(Stdio::piped());
        let (code, _, error) = run_to_end(untrue).await;
        assert!(code == Some(69) && error.contains(why), "{error}");
    }
}

#[tokio::test]
async fn a_second_signal_removes_the_sockets_file_too() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("mux.sock");
    let unix = format!("unix:{}", path.display());
    let mut mux = Mux::start_command(command(&["--listen", "127.0.0.1:0", "--listen", &unix], &echo_server())).await;
    let mut idle = UnixStream::connect(&path).await.unwrap();
    mux.signal(Signal::TERM);
    mux.signal(Signal::TERM);
    assert_eq!(within("the end of the connection", idle.read(&mut [0])).await.unwrap_or(0), 0);
    assert_eq!(within("the end of the program", mux.process.wait()).await.unwrap().code(), Some(0));
    assert!(!path.exists());
}
