//! The limits of the server's processes: how many there are, what waits for them, how long and how much they may answer.

use hyper::body::Incoming;
use hyper::{Response, StatusCode};
use serde_json::{Value, json};
use tokio::task::JoinSet;

use super::{INITIALIZE, call, counted, error, hits, of, refusal, refused, with_progress};
use crate::harness::{Client, Events, Mux, json_body, notes_server, python, within};

#[tokio::test]
async fn a_session_that_finds_no_process_is_refused_after_its_wait() {
    let flags = ["--isolation", "session", "--children-max", "1", "--queue-timeout", "3s"];
    let mux = Mux::start(&flags, notes_server()).await;
    let session = mux.session("2025-11-25").await;
    let message = "every one of the 1 server processes is in use (--children-max); none came free within 3s";
    let message = error(json!("i"), -31010, "children-limit", message, &of("children-max", 1));
    assert_eq!(refusal(mux.client().post(INITIALIZE).await).await, refused(503, Some("1"), message));
    assert_eq!(hits(&session).await, counted(&[("children-max", 1)]));
    session.delete().await;
    assert_eq!(mux.client().post(INITIALIZE).await.status(), StatusCode::OK, "there is room again");
}

/// A server that makes its handshake and reads nothing any more, and room for what its pipe does not hold.
async fn deaf(flags: &[&str]) -> Mux {
    let room = ["--child-era", "legacy", "--queue-bytes-max", "2MB", "--body-bytes-max", "2MB"];
    Mux::start(&[&room, flags].concat(), python("handshake()\nimport signal\nsignal.pause()")).await
}

/// A call that takes nearly all the room.
fn large(id: &str) -> String {
    call(id, "any", json!({"text": "x".repeat(1_900_000)}))
}

#[tokio::test]
async fn what_waits_for_a_server_that_does_not_read_is_refused_after_its_wait() {
    let mux = deaf(&["--queue-timeout", "300ms"]).await;
    let session = mux.session("2025-11-25").await;
    let (one, other) = (large("one"), large("other"));
    // Whichever comes first is on its way for ever.
    let (id, answer) = tokio::select! {
        answer = session.post(&one) => ("one", answer),
        answer = session.post(&other) => ("other", answer),
    };
    let message = "the server is too busy to take the request within 300ms (--queue-timeout)";
    let message = error(json!(id), -31010, "queue-full", message, &[]);
    assert_eq!(refusal(answer).await, refused(503, Some("1"), message));
    assert_eq!(hits(&session).await, counted(&[("queue-timeout", 1)]));
}

/// Posts notifications, as many at a time as may wait and one more, until one is refused.
async fn refused_notification(session: &Client) -> Response<Incoming> {
    let mut posts = JoinSet::new();
    loop {
        while posts.len() < 65 {
            let session = session.clone();
            posts.spawn(async move { session.post(r#"{"jsonrpc":"2.0","method":"notifications/any"}"#).await });
        }
        let answer = within("an answer", posts.join_next()).await.unwrap().unwrap();
        if answer.status() != StatusCode::ACCEPTED {
            return answer;
        }
    }
}

#[tokio::test]
async fn what_waits_for_a_server_that_does_not_read_is_bounded() {
    let mux = deaf(&[]).await;
    let session = mux.session("2025-11-25").await;
    let (one, other) = (large("one"), large("other"));
    let answer = tokio::select! {
        answer = refused_notification(&session) => answer,
        answer = session.post(&one) => panic!("{answer:?}"),
        answer = session.post(&other) => panic!("{answer:?}"),
    };
    let message = "this session has 64 messages waiting for the server already (--messages-waiting-max)";
    let message = error(Value::Null, -31010, "messages-waiting", message, &[]);
    assert_eq!(refusal(answer).await, refused(503, Some("1"), message));
    assert_eq!(hits(&session).await, counted(&[("messages-waiting-max", 1)]));
}

/// Waits until the server has nothing to do but to say so.
async fn until_idle(session: &Client) {
    let wait = async { while !session.tool(json!("who"), "whoami", json!({})).await.contains("\"inFlight\":1") {} };
    within("the cancellation", wait).await;
}

#[tokio::test]
async fn a_request_without_an_answer_or_progress_is_given_up() {
    let mux = Mux::start(&["--request-timeout", "2s"], notes_server()).await;
    let session = mux.session("2025-11-25").await;
    let answer = session.post(&call("late", "slow", json!({"seconds": 60}))).await;
    let message = "the server did not answer within 2s (--request-timeout)";
    let message = error(json!("late"), -31002, "request-timeout", message, &[]);
    assert_eq!(refusal(answer).await, refused(200, None, message));
    until_idle(&session).await;
    assert_eq!(hits(&session).await, counted(&[("request-timeout", 1)]));
}

#[tokio::test]
async fn a_request_with_progress_is_given_up_when_all_its_time_is_over() {
    let mux = Mux::start(&["--request-timeout", "2s", "--request-timeout-max", "2s"], notes_server()).await;
    let session = mux.session("2025-11-25").await;
    let messages = Events::new(session.post(&with_progress("endless")).await).rest().await;
    let (last, progress) = messages.split_last().unwrap();
    assert!(!progress.is_empty());
    let message = "the server did not answer within 2s (--request-timeout-max)";
    assert_eq!(*last, error(json!("endless"), -31002, "request-timeout", message, &[]));
    until_idle(&session).await;
    assert_eq!(hits(&session).await, counted(&[("request-timeout-max", 1)]));
}

#[tokio::test]
async fn an_answer_that_is_too_long_is_an_error_and_other_lines_are_dropped() {
    let mux = Mux::start(&["--line-bytes-max", "10kB"], notes_server()).await;
    let session = mux.session("2025-11-25").await;
    let answer = json_body(session.post(&call("long", "bytes", json!({"count": 20_000}))).await).await;
    let message = answer["error"]["message"].as_str().unwrap_or_default().to_owned();
    assert_eq!(answer, error(json!("long"), -31003, "child-answer-unusable", &message, &[]));
    let told = message.starts_with("the server's answer cannot be passed on: it has 20")
        && message.ends_with(" bytes, more than 10000 (--line-bytes-max)");
    assert!(told, "{message}");
    let log = call("log", "log", json!({"level": "error", "message": "x".repeat(20_000)}));
    let logged = session.post(&log).await;
    assert_eq!(json_body(logged).await["result"]["content"][0]["text"], "Sent: 1");
    assert_eq!(hits(&session).await, counted(&[("line-bytes-max", 2)]));
}
