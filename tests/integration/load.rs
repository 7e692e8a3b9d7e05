//! Many clients at once: what each gets is its own, what they leave behind is nothing, and the slow hold up nobody.

use std::time::{Duration, Instant};

use hyper::Method;
use serde_json::{Value, json};

use crate::harness::{
    ACCEPT, Client, Events, JSON, Mux, SseClient, echo_server, json_body, notes_server, request, within,
};

/// How long the load goes on; the long form is run by hand with `LOAD_SECONDS=30`.
fn load_time() -> Duration {
    let seconds = std::env::var("LOAD_SECONDS").ok().and_then(|text| text.parse().ok());
    Duration::from_secs(seconds.unwrap_or(3))
}

/// A connection that is kept, since most of the cost of a call would be its connection.
async fn connect(port: u16) -> hyper::client::conn::http1::SendRequest<http_body_util::Full<bytes::Bytes>> {
    let stream = within("a connection", tokio::net::TcpStream::connect(("127.0.0.1", port))).await.unwrap();
    stream.set_nodelay(true).unwrap();
    let io = hyper_util::rt::TokioIo::new(stream);
    let (sender, connection) = hyper::client::conn::http1::handshake(io).await.unwrap();
    tokio::spawn(connection);
    sender
}

#[tokio::test(flavor = "multi_thread")]
async fn two_hundred_clients_with_four_requests_in_flight_get_their_own_answers() {
    let mux = Mux::start(&[], echo_server()).await;
    let until = Instant::now() + load_time();
    let mut clients = Vec::new();
    for number in 0..200 {
        let session = mux.session("2025-06-18").await.session.unwrap();
        let port = mux.port;
        clients.push(tokio::spawn(async move {
            let lanes = (0..4).map(|lane| {
                let session = session.clone();
                tokio::spawn(async move {
                    let mut connection = connect(port).await;
                    let mut answered = 0;
                    while Instant::now() < until {
                        // All clients count alike: ids differ between the lanes of one session only.
                        let id = answered * 4 + lane;
                        let sent = json!({"of": number, "lane": lane, "n": answered});
                        let body = request(json!(id), "tools/call", sent.clone());
                        let http = hyper::Request::builder().method(Method::POST).uri("/mcp");
                        let http = http.header("host", "localhost").header(ACCEPT.0, ACCEPT.1).header(JSON.0, JSON.1);
                        let http = http.header("mcp-session-id", &session).body(body.into()).unwrap();
                        let answer = within("an answer", connection.send_request(http)).await.unwrap();
                        let answer: Value = json_body(answer).await;
                        assert_eq!(answer, json!({"jsonrpc": "2.0", "id": id, "result": sent}));
                        answered += 1;
                    }
                    answered
                })
            });
            let mut answered = 0;
            for lane in lanes.collect::<Vec<_>>() {
                answered += lane.await.unwrap();
            }
            answered
        }));
    }
    let mut answered: u64 = 0;
    for client in clients {
        answered += client.await.unwrap();
    }
    println!("{answered} requests answered, each with its own answer");
    assert!(answered > 800);
}

#[tokio::test(flavor = "multi_thread")]
async fn clients_of_both_transports_that_count_alike_never_see_each_other() {
    let mux = Mux::start(&[], notes_server()).await;
    let mut tasks = Vec::new();
    for number in 0..3 {
        let client = mux.session("2025-06-18").await;
        let mut sse = SseClient::ready(&mux).await;
        tasks.push(tokio::spawn(async move {
            for id in 1..40 {
                let call = call(id, &format!("streamable-{number}"));
                let answer = client.post(&call).await;
                let messages = match answer.headers()["content-type"].to_str().unwrap() {
                    "application/json" => vec![json_body(answer).await],
                    _ => Events::new(answer).rest().await,
                };
                check(&messages, id, &format!("streamable-{number}"));
            }
        }));
        tasks.push(tokio::spawn(async move {
            for id in 1..40 {
                sse.post(&call(id, &format!("sse-{number}"))).await;
                let mut messages = Vec::new();
                while messages.last().is_none_or(|last: &Value| last.get("id").is_none()) {
                    messages.push(sse.events.message().await);
                }
                check(&messages, id, &format!("sse-{number}"));
            }
        }));
    }
    for task in tasks {
        task.await.unwrap();
    }
}

/// All use the same ids and the same progress tokens.
fn call(id: u64, mark: &str) -> String {
    let (name, arguments) = match id % 3 {
        0 => ("slow", json!({"seconds": 0.02, "steps": 2})),
        _ => ("echo", json!({"value": mark})),
    };
    request(json!(id), "tools/call", json!({"name": name, "arguments": arguments, "_meta": {"progressToken": id}}))
}

fn check(messages: &[Value], id: u64, mark: &str) {
    let (last, progress) = messages.split_last().unwrap();
    assert_eq!(last["id"], id, "{last}");
    assert_eq!(id.is_multiple_of(3), !last.to_string().contains(mark), "{mark}: {last}");
    for message in progress {
        assert_eq!(message["params"]["progressToken"], id, "{mark}: {message}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_thousand_clients_that_vanish_leave_nothing_behind() {
    let flags = ["--session-idle-timeout", "1s", "--in-flight-max", "8"];
    let mut mux = Mux::start(&flags, notes_server()).await;
    let pid = mux.pid();
    let descriptors = || std::fs::read_dir(format!("/proc/{pid}/fd")).unwrap().count();
    let threads = || std::fs::read_dir(format!("/proc/{pid}/task")).unwrap().count();
    let before = (descriptors(), threads());
    let mut opened = Vec::new();
    for number in 0..1000 {
        let client = mux.session("2025-11-25").await;
        match number % 4 {
            0 => drop(client.listen(None).await),
            1 => {
                let slow =
                    json!({"name": "slow", "arguments": {"seconds": 60, "steps": 6000}, "_meta": {"progressToken": 1}});
                let mut events = Events::new(client.post(&request(json!(1), "tools/call", slow)).await);
                events.message().await;
                cancel(&client).await;
            }
            2 => {
                client.call(json!(1), "resources/subscribe", json!({"uri": format!("x:/{number}")})).await;
            }
            _ => {}
        }
        opened.push(client);
    }
    let _ = SseClient::ready(&mux).await;
    mux.logged_times("session closed", opened.len() + 1).await;
    let client = mux.session("2025-06-18").await;
    let who: Value = serde_json::from_str(&client.tool(json!(1), "whoami", json!({})).await).unwrap();
    assert_eq!((&who["inFlight"], &who["subscriptions"]), (&json!(1), &json!([])), "left behind in the child: {who}");
    client.delete().await;
    within("the end of every connection", async {
        while (descriptors(), threads()) != before {
            tokio::task::yield_now().await;
        }
    })
    .await;
}

async fn cancel(client: &Client) {
    client.post(r#"{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":1}}"#).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_does_not_read_holds_up_nobody() {
    let mux = Mux::start(&[], notes_server()).await;
    let stuck = mux.session("2025-06-18").await;
    let other = mux.session("2025-06-18").await;
    // Far more than the sockets' buffers hold; never read.
    let _unread = stuck.listen(None).await;
    stuck.call(json!(1), "resources/subscribe", json!({"uri": "x:/1"})).await;
    let bytes = json!({"name": "bytes", "arguments": {"count": 12_000_000}});
    let mut answers = Vec::new();
    for id in 2..6 {
        answers.push(stuck.post(&request(json!(id), "tools/call", bytes.clone())).await);
    }
    let unread_events = SseClient::ready(&mux).await;
    for id in 2..6 {
        unread_events.post(&request(json!(id), "tools/call", bytes.clone())).await;
    }
    for id in 0..300 {
        other.tool(json!(id), "touch", json!({"uri": "x:/1"})).await;
    }
    drop(answers);
}
