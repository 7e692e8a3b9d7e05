//! Who may enter, of the real program: what it refuses to start with, what it lets in, what it keeps to itself.

use hyper::{Method, StatusCode};
use rustix::process::Signal;
use serde_json::json;

use crate::harness::{Client, Mux, command, echo_server, json_body, python, run_to_end};

const ALICE: &str = "alice-has-a-token-of-her-own";
const BOB: &str = "bob-has-a-token-of-his-own";

/// A folder with a file of these tokens in it.
fn tokens(text: &str) -> (tempfile::TempDir, String) {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("tokens");
    std::fs::write(&file, text).unwrap();
    (folder, file.display().to_string())
}

fn both() -> String {
    format!("alice:{ALICE}\nbob:{BOB}\n")
}

async fn status_of_ping(client: &Client) -> StatusCode {
    client.post(r#"{"jsonrpc":"2.0","id":"p","method":"ping"}"#).await.status()
}

#[tokio::test]
async fn an_address_that_others_can_reach_is_refused_unless_they_must_authenticate_or_it_is_wanted() {
    for host in ["0.0.0.0", "::"] {
        let (code, out, err) = run_to_end(command(&["--port", "0", "--host", host], &echo_server())).await;
        assert_eq!((code, out.as_str()), (Some(78), ""), "{err}");
        for word in ["--auth-token-file", "--insecure-no-auth", "127.0.0.1"] {
            assert!(err.contains(word), "{word} is not in:\n{err}");
        }
    }
    let (_folder, file) = tokens(&both());
    let mut mux = Mux::start(&["--host", "0.0.0.0", "--auth-token-file", &file], echo_server()).await;
    mux.logged("clients may enter with a token").await;
    mux.stop().await;
    let mut mux = Mux::start(&["--host", "0.0.0.0", "--insecure-no-auth"], echo_server()).await;
    mux.logged("whoever can reach this port can use the server").await;
    mux.stop().await;
}

#[tokio::test]
async fn an_admin_address_that_others_can_reach_is_refused_unless_they_must_authenticate() {
    let admin = ["--port", "0", "--admin", "0.0.0.0:0"];
    let (code, out, err) = run_to_end(command(&admin, &echo_server())).await;
    assert_eq!((code, out.as_str()), (Some(78), ""), "{err}");
    for word in ["--auth-token-file", "--insecure-no-auth", "--admin"] {
        assert!(err.contains(word), "{word} is not in:\n{err}");
    }
    let (_folder, file) = tokens(&both());
    let mut mux = Mux::start(&["--admin", "0.0.0.0:0", "--auth-token-file", &file], echo_server()).await;
    mux.logged("the status page").await;
    // It is not where clients come in.
    for path in ["/", "/status.json", "/metrics"] {
        let answer = mux.client_with(ALICE).send(Method::GET, path, &[], "").await;
        assert_eq!(answer.status(), 404, "{path}");
    }
    mux.stop().await;
}

#[tokio::test]
async fn a_bad_file_of_tokens_is_named_with_its_line_and_nothing_of_it_is_shown() {
    for (text, words) in [
        ("alice hunter2\n", &["line 1", "name:token"][..]),
        ("# none\n", &["holds no token"]),
        ("alice:hunter2\nbob:hunter2\n", &["line 2", "another name"]),
    ] {
        let (_folder, file) = tokens(text);
        let (code, _, err) = run_to_end(command(&["--port", "0", "--auth-token-file", &file], &echo_server())).await;
        assert_eq!(code, Some(78), "{err}");
        assert!(words.iter().all(|word| err.contains(word)) && err.contains(&file), "{err}");
        assert!(!err.contains("hunter2"), "{err}");
    }
    let flags = ["--port", "0", "--auth-token-file", "/no/such/file"];
    let (code, _, err) = run_to_end(command(&flags, &echo_server())).await;
    assert_eq!(code, Some(78), "{err}");
    assert!(err.contains("/no/such/file") && err.contains("No such file"), "{err}");
}

#[tokio::test]
async fn tokens_are_taken_away_and_given_while_it_runs_and_a_broken_file_changes_nothing() {
    let (_folder, file) = tokens(&both());
    let mut mux = Mux::start(&["--auth-token-file", &file], echo_server()).await;
    assert_eq!(status_of_ping(&mux.client()).await, StatusCode::UNAUTHORIZED);
    let (mut alice, mut bob) = (mux.client_with(ALICE), mux.client_with(BOB));
    alice.initialize("2025-11-25", json!({})).await;
    bob.initialize("2025-11-25", json!({})).await;
    let mut stream = alice.listen(None).await;
    let stolen = Client { session: alice.session.clone(), ..bob.clone() };
    assert_eq!(status_of_ping(&stolen).await, StatusCode::NOT_FOUND);

    std::fs::write(&file, "alice\n").unwrap();
    mux.signal(Signal::HUP);
    mux.logged("line 1").await;
    assert_eq!(status_of_ping(&alice).await, StatusCode::OK);

    std::fs::write(&file, format!("bob:{BOB}\ncarol:carol-has-a-token-of-her-own\n")).unwrap();
    mux.signal(Signal::HUP);
    while stream.block().await.is_some() {}
    assert_eq!(status_of_ping(&alice).await, StatusCode::UNAUTHORIZED);
    assert_eq!(status_of_ping(&bob).await, StatusCode::OK);
    let mut carol = mux.client_with("carol-has-a-token-of-her-own");
    carol.initialize("2025-11-25", json!({})).await;
    mux.stop().await;
}

#[tokio::test]
async fn a_pipe_in_the_place_of_a_file_does_not_keep_others_from_being_read() {
    let (folder, file) = tokens(&both());
    let mut mux = Mux::start(&["--auth-token-file", &file], echo_server()).await;
    std::fs::remove_file(&file).unwrap();
    assert!(std::process::Command::new("mkfifo").arg(&file).status().unwrap().success());
    mux.signal(Signal::HUP);
    mux.logged(&format!("{file} must be a regular file, to be read again")).await;
    assert_eq!(status_of_ping(&mux.client_with(ALICE)).await, StatusCode::BAD_REQUEST, "its session id is missing");

    let next = folder.path().join("next");
    std::fs::write(&next, format!("bob:{BOB}\n")).unwrap();
    std::fs::rename(&next, &file).unwrap();
    mux.signal(Signal::HUP);
    mux.logged("read again files=\"tokens\"").await;
    assert_eq!(status_of_ping(&mux.client_with(ALICE)).await, StatusCode::UNAUTHORIZED);
    mux.stop().await;
}

// DESIGN section 2, invariant 7
#[tokio::test]
async fn tokens_are_in_no_log_no_error_and_no_environment_of_the_server() {
    let script = r#"
handshake()
while True:
    message = read()
    if "id" in message:
        found = [name for name, value in os.environ.items() if "own" in value and "token" in value]
        reply(message, {"content": [{"type": "text", "text": json.dumps(found)}]})
"#;
    let mut command = command(&["--port", "0", "--log-level", "trace"], &python(script));
    command.env("MCP_MUX_AUTH_TOKENS", both());
    let mux = Mux::start_command(command).await;
    let mut alice = mux.client_with(ALICE);
    alice.initialize("2025-11-25", json!({})).await;
    assert_eq!(alice.tool(json!(1), "any", json!({})).await, "[]");
    let wrong =
        mux.client_with("not-a-token-of-anybodys-own").post(r#"{"jsonrpc":"2.0","id":1,"method":"ping"}"#).await;
    assert_eq!(wrong.status(), StatusCode::UNAUTHORIZED);
    let wrong = json_body(wrong).await.to_string();
    assert!(wrong.contains("credential-invalid") && !wrong.contains("anybodys"), "{wrong}");
    let session = alice.session.clone().unwrap();
    let (_, _, log) = mux.stop().await;
    for secret in [ALICE, BOB, "anybodys", &session] {
        assert!(!log.contains(secret), "{secret} is in the log:\n{log}");
    }
}

#[tokio::test]
async fn an_api_key_is_as_good_as_a_bearer_token() {
    let (_folder, file) = tokens(&both());
    let mux = Mux::start(&["--auth-token-file", &file], echo_server()).await;
    for (name, value, expected) in [
        ("x-api-key", ALICE, StatusCode::NOT_FOUND),
        ("x-api-key", "wrong", StatusCode::UNAUTHORIZED),
        ("authorization", ALICE, StatusCode::UNAUTHORIZED),
    ] {
        let answer = mux.client().send(Method::GET, "/nowhere", &[(name, value)], "").await;
        assert_eq!(answer.status(), expected, "{name}");
    }
}
