//! What a service manager is told, by the real program.

use rustix::process::Signal;
use serde_json::json;
use tokio::net::UnixDatagram;

use crate::harness::{Mux, command, python, within};

/// The next thing that is said beside that all is well.
async fn told(manager: &UnixDatagram) -> String {
    let mut buffer = [0; 1024];
    loop {
        let bytes = within("a word of mcp-mux", manager.recv(&mut buffer)).await.unwrap();
        let told = String::from_utf8_lossy(&buffer[..bytes]).into_owned();
        if told != "WATCHDOG=1\n" {
            return told;
        }
    }
}

async fn well(manager: &UnixDatagram) {
    let mut buffer = [0; 1024];
    while within("a sign of life", manager.recv(&mut buffer)).await.unwrap() != "WATCHDOG=1\n".len() {}
}

#[tokio::test]
async fn a_service_manager_is_told_of_each_turn_and_the_server_does_not_know_of_it() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("notify");
    let manager = UnixDatagram::bind(&path).unwrap();
    let script = r#"
handshake()
while True:
    known = [name for name in os.environ if name.startswith(("NOTIFY_", "WATCHDOG_"))]
    reply(read(), {"content": [{"type": "text", "text": str(known)}]})
"#;
    let mut command = command(&["--port", "0", "--drain-timeout", "3s", "--stop-timeout", "2s"], &python(script));
    command.env("NOTIFY_SOCKET", &path).env("WATCHDOG_USEC", "100000");
    let mux = Mux::start_command(command).await;
    let ready = format!("READY=1\nSTATUS=Serving {}\n", mux.urls[0]);
    assert_eq!(told(&manager).await, ready);
    // Sent beside that, and again.
    well(&manager).await;
    well(&manager).await;

    let client = mux.session("2025-06-18").await;
    assert_eq!(client.tool(json!(1), "any", json!({})).await, "[]");

    mux.signal(Signal::HUP);
    let reloading = told(&manager).await;
    assert!(reloading.starts_with("RELOADING=1\nMONOTONIC_USEC="), "{reloading}");
    assert_eq!(told(&manager).await, ready);

    mux.signal(Signal::TERM);
    // 3 s for requests; twice 2 s and 5 s for the server; 1 s and 5 s for what is left, and 3 s for the last spans.
    let seconds = if cfg!(feature = "otel") { 21 } else { 18 };
    let stopping = told(&manager).await;
    assert!(stopping.starts_with(&format!("STOPPING=1\nEXTEND_TIMEOUT_USEC={seconds}000000\n")), "{stopping}");
    assert_eq!(mux.stop_after_signal().await.0.code(), Some(0));
}
