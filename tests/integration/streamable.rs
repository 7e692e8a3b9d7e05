//! Streamable HTTP: statuses, headers, sessions, bodies.

use hyper::{Method, StatusCode};
use serde_json::json;

use crate::harness::{
    ACCEPT, Events, JSON, Mux, body, echo_server, json_body, notes_server, python, request, text_of, within,
};

const INITIALIZE: &str = r#"{"jsonrpc":"2.0","id":0,"method":"initialize","params":{"protocolVersion":"2025-11-25","capabilities":{},"clientInfo":{"name":"t","version":"1"}}}"#;

// spec: 2025-11-25 basic/transports, Session Management 1
#[tokio::test]
async fn the_session_id_is_a_uuid_v4_given_with_the_initialize_result_only() {
    let mux = Mux::start(&[], echo_server()).await;
    let client = mux.session("2025-11-25").await;
    let id = client.session.clone().unwrap();
    assert_eq!((id.len(), id.as_bytes()[14]), (36, b'4'), "{id}");
    let answer = client.post(&request(json!(1), "tools/list", json!({}))).await;
    assert!(answer.headers().get("mcp-session-id").is_none_or(|same| same.to_str().unwrap() == id));
    assert_eq!(answer.headers()["content-type"], "application/json");
}

// spec: 2025-11-25 basic/transports, Session Management 2, 3
#[tokio::test]
async fn a_missing_session_is_400_an_unknown_one_404_and_a_deleted_one_404() {
    let mux = Mux::start(&[], echo_server()).await;
    let mut client = mux.session("2025-11-25").await;
    let list = request(json!(7), "tools/list", json!({}));

    let mut without = client.clone();
    without.session = None;
    let answer = without.post(&list).await;
    assert_eq!(answer.status(), StatusCode::BAD_REQUEST);
    let error = json_body(answer).await;
    assert!(error["error"]["message"].as_str().unwrap().contains("Mcp-Session-Id"), "{error}");
    assert_eq!(without.send(Method::GET, "/mcp", &[ACCEPT], "").await.status(), StatusCode::METHOD_NOT_ALLOWED);

    for unknown in ["0c1d5be4-6b4f-4bd6-8a1c-9a0d6f0f6c0b", "nonsense", "../../etc"] {
        let mut other = client.clone();
        other.session = Some(unknown.to_owned());
        assert_eq!(other.post(&list).await.status(), StatusCode::NOT_FOUND, "{unknown}");
        assert_eq!(other.delete().await, StatusCode::NOT_FOUND, "{unknown}");
    }

    assert!(client.delete().await.is_success());
    assert_eq!(client.post(&list).await.status(), StatusCode::NOT_FOUND);
    client.session = None;
    client.initialize("2025-11-25", json!({})).await;
    assert_eq!(client.call(json!(1), "tools/list", json!({})).await["id"], 1);
}

// spec: 2025-11-25 basic/transports, Sending Messages to the Server 4
#[tokio::test]
async fn notifications_and_responses_are_202_without_a_body() {
    let mux = Mux::start(&[], echo_server()).await;
    let client = mux.session("2025-11-25").await;
    for message in [
        r#"{"jsonrpc":"2.0","method":"notifications/roots/list_changed"}"#,
        r#"{"jsonrpc":"2.0","id":"never-asked","result":{}}"#,
        r#"{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":99}}"#,
    ] {
        let answer = client.post(message).await;
        assert_eq!(answer.status(), StatusCode::ACCEPTED);
        assert!(body(answer).await.is_empty());
    }
}

// spec: 2025-11-25 basic/transports, Protocol Version Header
#[tokio::test]
async fn an_unsupported_version_header_is_400_and_an_absent_one_is_fine() {
    let mux = Mux::start(&[], echo_server()).await;
    let mut client = mux.session("2025-06-18").await;
    let list = request(json!(1), "tools/list", json!({}));
    for (version, status) in [
        (Some("2025-06-18"), StatusCode::OK),
        (None, StatusCode::OK),
        (Some("1900-01-01"), StatusCode::BAD_REQUEST),
        (Some(""), StatusCode::BAD_REQUEST),
    ] {
        client.version = version.map(str::to_owned);
        assert_eq!(client.post(&list).await.status(), status, "{version:?}");
    }
}

#[tokio::test]
async fn content_negotiation_is_by_the_book() {
    let mux = Mux::start(&[], echo_server()).await;
    let client = mux.session("2025-11-25").await;
    let session = client.session.as_deref().unwrap();
    let list = request(json!(1), "tools/list", json!({}));
    let post = async |accept: &str, kind: &str| {
        let headers = [("accept", accept), ("content-type", kind), ("mcp-session-id", session)];
        let answer = client.send(Method::POST, "/mcp", &headers, &list).await;
        let kind = answer.headers().get("content-type").map(|kind| kind.to_str().unwrap().to_owned());
        (answer.status(), kind.unwrap_or_default())
    };
    let json = "application/json";
    assert_eq!(post("application/json, text/event-stream", json).await, (StatusCode::OK, json.to_owned()));
    assert_eq!(post("*/*", "application/json; charset=utf-8").await, (StatusCode::OK, json.to_owned()));
    assert_eq!(post(json, json).await, (StatusCode::OK, json.to_owned()));
    assert_eq!(post("text/event-stream", json).await, (StatusCode::OK, "text/event-stream".to_owned()));
    assert_eq!(post("text/html", json).await.0, StatusCode::NOT_ACCEPTABLE);
    assert_eq!(post("*/*", "text/plain").await.0, StatusCode::UNSUPPORTED_MEDIA_TYPE);
    let get = client.send(Method::GET, "/mcp", &[("accept", json), ("mcp-session-id", session)], "").await;
    assert_eq!(get.status(), StatusCode::NOT_ACCEPTABLE);
    let put = client.send(Method::PUT, "/mcp", &[], "").await;
    assert_eq!(put.status(), StatusCode::METHOD_NOT_ALLOWED);
    assert!(put.headers()["allow"].to_str().unwrap().contains("POST"));
    assert_eq!(client.send(Method::GET, "/nowhere", &[], "").await.status(), StatusCode::NOT_FOUND);
    let headers = [ACCEPT, JSON, ("mcp-session-id", session)];
    assert_eq!(client.send(Method::POST, "/mcp/", &headers, &list).await.status(), StatusCode::OK);
}

#[tokio::test]
async fn what_is_no_message_gets_a_clear_answer_and_never_reaches_the_child() {
    // The child reports every line it reads, and every line is valid.
    let script = r#"
handshake()
count = 0
while True:
    line = sys.stdin.readline()
    if not line: break
    message = json.loads(line)
    count += 1
    reply(message, {"content": [{"type": "text", "text": str(count)}]})
"#;
    let mux = Mux::start(&[], python(script)).await;
    let client = mux.session("2025-11-25").await;
    let deep = format!(
        r#"{{"jsonrpc":"2.0","id":1,"method":"x","params":{{"a":{}{}}}}}"#,
        "[".repeat(100_000),
        "]".repeat(100_000)
    );
    for (what, code) in [
        ("", -32700),
        ("{", -32700),
        ("not json", -32700),
        (r#"{"jsonrpc":"2.0","id":1,"method":"x"}{}"#, -32700),
        ("{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"x\",\"params\":{\"a\":\"\u{0}\"}}", -32700),
        (deep.as_str(), -32700),
        (r#"{"jsonrpc":"2.0","id":null,"method":"x"}"#, -32600),
        (r#"{"jsonrpc":"2.0","id":{},"method":"x"}"#, -32600),
        (r#"{"jsonrpc":"1.0","id":1,"method":"x"}"#, -32600),
        (r#"{"id":1,"method":"x"}"#, -32600),
        (r#"{"jsonrpc":"2.0","id":1,"method":7}"#, -32600),
        (r#"{"jsonrpc":"2.0","id":1,"id":2,"method":"x"}"#, -32600),
        (r#"{"jsonrpc":"2.0","id":1,"\u0069d":2,"method":"x"}"#, -32600),
        (r#"[{"jsonrpc":"2.0","id":1,"method":"x"}]"#, -32600),
        ("[]", -32600),
        ("7", -32600),
    ] {
        let answer = client.post(what).await;
        assert_eq!(answer.status(), StatusCode::BAD_REQUEST, "{what:.80}");
        let error = json_body(answer).await;
        let got = error["error"]["code"].as_i64().unwrap();
        assert!(got == code || (code == -32700 && what == deep && got == -32600), "{what:.80}: {error}");
        assert_ne!(error["error"]["message"], "", "{what:.80}");
        assert!(!error["error"]["message"].as_str().unwrap().is_empty());
    }
    assert_eq!(client.tool(json!(1), "count", json!({})).await, "1", "the child has read something else before");
}

#[tokio::test]
async fn invalid_utf8_is_refused() {
    let mux = Mux::start(&[], echo_server()).await;
    let client = mux.session("2025-11-25").await;
    let stream = tokio::net::TcpStream::connect(("127.0.0.1", mux.port)).await.unwrap();
    let (mut read, mut write) = stream.into_split();
    let body = b"{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"x\",\"params\":{\"a\":\"\xff\"}}";
    let head = format!(
        "POST /mcp HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\naccept: */*\r\ncontent-type: application/json\r\n\
         mcp-session-id: {}\r\ncontent-length: {}\r\n\r\n",
        client.session.unwrap(),
        body.len()
    );
    let raw = [head.as_bytes(), body].concat();
    tokio::io::AsyncWriteExt::write_all(&mut write, &raw).await.unwrap();
    let mut answer = String::new();
    within("the answer", tokio::io::AsyncReadExt::read_to_string(&mut read, &mut answer)).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 400") && answer.contains("-32700") && answer.contains("UTF-8"), "{answer}");
}

#[tokio::test]
async fn payloads_pass_byte_for_byte_and_pretty_printing_becomes_one_line() {
    let mux = Mux::start(&[], echo_server()).await;
    let client = mux.session("2025-11-25").await;
    // The echo server answers with the text of its params, so what it read is seen byte for byte.
    let params = r#"{"b":9007199254740993,"a":{"emoji":"👩‍👩‍👧‍👦","zwj":"\u200d","x":1.0e+2},"unknown":[null,true],"b2":-0}"#;
    for id in ["7", r#""7""#, "1e2", r#""""#, "123456789012345678901234567890123456789012", r#""\ud83d\ude00""#] {
        let sent = format!(r#"{{"jsonrpc":"2.0","method":"tools/call","id":{id},"params":{params}}}"#);
        let answer = body(client.post(&sent).await).await;
        assert_eq!(answer, format!(r#"{{"jsonrpc":"2.0","id":{id},"result":{params}}}"#));
    }
    let pretty = "{\r\n  \"jsonrpc\": \"2.0\",\n  \"id\": 1,\n  \"method\": \"tools/call\",\n  \"params\": {\n\t\"a\": 1\r\n  }\n}\n";
    let answer = body(client.post(pretty).await).await;
    assert_eq!(answer, "{\"jsonrpc\":\"2.0\",\"id\":1,\"result\":{ \t\"a\": 1    }}");
}

#[tokio::test]
async fn ten_megabytes_pass_unchanged_and_larger_than_the_limit_is_413_naming_it() {
    let mux = Mux::start(&[], echo_server()).await;
    let client = mux.session("2025-11-25").await;
    let long = "é".repeat(5 << 20);
    let answer = client.call(json!(1), "tools/call", json!({"long": long})).await;
    assert!(answer["result"]["long"] == long.as_str());

    let mux = Mux::start(&["--body-bytes-max", "1000", "--queue-bytes-max", "10k"], echo_server()).await;
    let client = mux.session("2025-11-25").await;
    let answer = client.post(&request(json!(1), "tools/call", json!({"long": "x".repeat(1000)}))).await;
    assert_eq!(answer.status(), StatusCode::PAYLOAD_TOO_LARGE);
    let error = json_body(answer).await;
    assert_eq!(error["error"]["data"]["limit"], "body-bytes-max");
    assert_eq!(client.call(json!(1), "tools/list", json!({})).await["id"], 1);
}

#[tokio::test]
async fn an_answer_longer_than_the_limit_fails_its_own_request_only() {
    let mux = Mux::start(&["--line-bytes-max", "100k"], notes_server()).await;
    let client = mux.session("2025-11-25").await;
    let answer = client.call(json!(1), "tools/call", json!({"name": "bytes", "arguments": {"count": 200_000}})).await;
    assert_eq!(answer["error"]["data"]["kind"], "child-answer-unusable", "{answer}");
    assert!(answer["error"]["message"].as_str().unwrap().contains("--line-bytes-max"), "{answer}");
    assert_eq!(client.tool(json!(2), "bytes", json!({"count": 5})).await, "xxxxx");
}

#[tokio::test]
async fn in_flight_and_session_limits_are_503_with_retry_after() {
    let mux = Mux::start(&["--in-flight-max", "2", "--sessions-max", "1"], notes_server()).await;
    let client = mux.session("2025-11-25").await;
    let slow = |id: u64| {
        let params = json!({"name": "slow", "arguments": {"seconds": 60, "steps": 60}, "_meta": {"progressToken": id}});
        request(json!(id), "tools/call", params)
    };
    let mut first = Events::new(client.post(&slow(1)).await);
    assert_eq!(first.message().await["method"], "notifications/progress");
    let again = client.post(&request(json!(1), "tools/list", json!({}))).await;
    assert_eq!(again.status(), StatusCode::BAD_REQUEST, "an id that is in flight");
    let mut second = Events::new(client.post(&slow(2)).await);
    assert_eq!(second.message().await["method"], "notifications/progress");
    for answer in [client.post(&request(json!(3), "tools/list", json!({}))).await, mux.client().post(INITIALIZE).await]
    {
        assert_eq!(answer.status(), StatusCode::SERVICE_UNAVAILABLE);
        assert!(answer.headers().contains_key("retry-after"));
        let error = json_body(answer).await;
        assert!(error["error"]["data"]["limit"].as_str().unwrap().ends_with("-max"), "{error}");
    }
}

// spec: 2025-03-26 basic/transports, Sending Messages to the Server 3; basic, Batching
#[tokio::test]
async fn batches_are_split_and_answered_as_one_array_in_2025_03_26_only() {
    let mux = Mux::start(&[], echo_server()).await;
    let client = mux.session("2025-03-26").await;
    let batch = r#"[{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"n":1}},
        {"jsonrpc":"2.0","method":"notifications/x"},
        {"jsonrpc":"2.0","id":"1","method":"tools/call","params":{"n":2}},
        {"jsonrpc":"2.0","id":2,"method":"ping"},
        {"jsonrpc":"2.0","id":null,"method":"ping"}]"#;
    let answers = json_body(client.post(batch).await).await;
    let mut answers: Vec<String> = answers.as_array().unwrap().iter().map(ToString::to_string).collect();
    answers.sort();
    assert_eq!(answers.len(), 4, "{answers:?}");
    for (id, result) in [("1", r#"{"n":1}"#), (r#""1""#, r#"{"n":2}"#), ("2", "{}")] {
        let expected = format!(r#"{{"id":{id},"jsonrpc":"2.0","result":{result}}}"#);
        assert!(answers.contains(&expected), "{expected} is not in {answers:?}");
    }
    let only_notifications = client.post(r#"[{"jsonrpc":"2.0","method":"notifications/x"}]"#).await;
    assert_eq!(only_notifications.status(), StatusCode::ACCEPTED);
    assert_eq!(client.post("[]").await.status(), StatusCode::BAD_REQUEST);
    for version in ["2024-11-05", "2025-06-18", "2025-11-25"] {
        let client = mux.session(version).await;
        assert_eq!(client.post(batch).await.status(), StatusCode::BAD_REQUEST, "{version}");
    }
}

#[tokio::test]
async fn stateless_serves_requests_without_a_session() {
    let mux = Mux::start(&["--stateless"], notes_server()).await;
    let mut client = mux.client();
    client.initialize("2025-06-18", json!({})).await;
    assert_eq!(client.session, None);
    let answer = client.call(json!("a"), "tools/call", json!({"name": "echo", "arguments": {"value": 1}})).await;
    assert_eq!(answer["id"], "a");
    assert!(text_of(&answer).is_some(), "{answer}");
    for method in [Method::GET, Method::DELETE] {
        let answer = client.send(method, "/mcp", &[ACCEPT], "").await;
        assert_eq!(answer.status(), StatusCode::METHOD_NOT_ALLOWED);
    }
}

#[tokio::test]
async fn stateless_requests_at_once_are_limited_like_sessions() {
    let mux = Mux::start(&["--stateless", "--sessions-max", "1"], notes_server()).await;
    let client = mux.client();
    let arguments = json!({"seconds": 60, "steps": 60});
    let slow = json!({"name": "slow", "arguments": arguments, "_meta": {"progressToken": 1}});
    let mut stream = Events::new(client.post(&request(json!(1), "tools/call", slow)).await);
    stream.message().await;
    let refused = client.post(&request(json!(1), "tools/list", json!({}))).await;
    assert_eq!(refused.status(), StatusCode::SERVICE_UNAVAILABLE);
    drop(stream);
    within("the end of the other", async {
        while client.post(&request(json!(1), "tools/list", json!({}))).await.status() != StatusCode::OK {
            tokio::task::yield_now().await;
        }
    })
    .await;
}

#[tokio::test]
async fn origin_and_host_are_checked_and_browsers_get_their_preflight() {
    let mux =
        Mux::start(&["--allow-origin", "https://app.example", "--allow-host", "mux.example"], echo_server()).await;
    let client = mux.client();
    let post = async |extra: (&str, &str)| client.send(Method::POST, "/mcp", &[ACCEPT, JSON, extra], INITIALIZE).await;
    for (header, value, status) in [
        ("origin", "https://evil.example", StatusCode::FORBIDDEN),
        ("origin", "null", StatusCode::FORBIDDEN),
        ("origin", "http://localhost:3000", StatusCode::OK),
        ("origin", "https://app.example", StatusCode::OK),
        ("host", "evil.example", StatusCode::FORBIDDEN),
        ("host", "localhost.evil.example", StatusCode::FORBIDDEN),
        ("host", "mux.example:8000", StatusCode::OK),
        ("host", "LOCALHOST", StatusCode::OK),
    ] {
        assert_eq!(post((header, value)).await.status(), status, "{header}: {value}");
    }
    let answer = post(("origin", "https://app.example")).await;
    assert_eq!(answer.headers()["access-control-allow-origin"], "https://app.example");
    let exposed = answer.headers()["access-control-expose-headers"].to_str().unwrap().to_lowercase();
    assert!(exposed.contains("mcp-session-id"), "{exposed}");
    let preflight = [
        ("origin", "https://app.example"),
        ("access-control-request-method", "POST"),
        ("access-control-request-headers", "content-type,mcp-session-id,mcp-protocol-version,last-event-id"),
    ];
    let answer = client.send(Method::OPTIONS, "/mcp", &preflight, "").await;
    assert_eq!(answer.status(), StatusCode::NO_CONTENT);
    let allowed = answer.headers()["access-control-allow-headers"].to_str().unwrap().to_lowercase();
    for header in ["content-type", "mcp-session-id", "mcp-protocol-version", "last-event-id", "authorization"] {
        assert!(allowed.contains(header), "{header} is not in {allowed}");
    }
}

#[tokio::test]
async fn health_is_about_the_process_and_readiness_about_the_child() {
    let mux = Mux::start(&[], notes_server()).await;
    assert_eq!(mux.get("/healthz").await.0, StatusCode::OK);
    assert_eq!(mux.get("/readyz").await.0, StatusCode::OK);
    // A child that does not answer `initialize`: alive, never ready.
    let mux = Mux::start(&[], python("read(); read()")).await;
    assert_eq!(mux.get("/healthz").await.0, StatusCode::OK);
    assert_eq!(mux.get("/readyz").await.0, StatusCode::SERVICE_UNAVAILABLE);
}

#[tokio::test]
async fn a_refusal_over_http2_reaches_a_client_that_is_still_sending() {
    let mux = Mux::start(&["--body-bytes-max", "100k", "--queue-bytes-max", "100k"], echo_server()).await;
    let stream = tokio::net::TcpStream::connect(("127.0.0.1", mux.port)).await.unwrap();
    let io = hyper_util::rt::TokioIo::new(stream);
    let (sender, connection) =
        hyper::client::conn::http2::handshake(hyper_util::rt::TokioExecutor::new(), io).await.unwrap();
    tokio::spawn(connection);
    for length in [1_000_000, 50_000] {
        let request = hyper::Request::builder()
            .method(Method::POST)
            .uri(format!("http://127.0.0.1:{}/mcp", mux.port))
            .header("mcp-session-id", "unknown")
            .header("content-type", JSON.1)
            .body(http_body_util::Full::new(bytes::Bytes::from(vec![b' '; length])))
            .unwrap();
        let mut sender = sender.clone();
        let answer = within("an answer", sender.send_request(request)).await.unwrap();
        assert_eq!(answer.status(), StatusCode::NOT_FOUND);
        assert_eq!(json_body(answer).await["error"]["data"]["kind"], "session-unknown");
    }
}

#[tokio::test]
async fn http2_with_prior_knowledge_is_served_on_the_same_port() {
    let mux = Mux::start(&[], echo_server()).await;
    let stream = tokio::net::TcpStream::connect(("127.0.0.1", mux.port)).await.unwrap();
    let io = hyper_util::rt::TokioIo::new(stream);
    let (mut sender, connection) =
        hyper::client::conn::http2::handshake(hyper_util::rt::TokioExecutor::new(), io).await.unwrap();
    tokio::spawn(connection);
    let request = hyper::Request::builder()
        .method(Method::POST)
        .uri(format!("http://127.0.0.1:{}/mcp", mux.port))
        .header("accept", ACCEPT.1)
        .header("content-type", JSON.1)
        .body(http_body_util::Full::new(bytes::Bytes::from_static(INITIALIZE.as_bytes())))
        .unwrap();
    let answer = within("an answer", sender.send_request(request)).await.unwrap();
    assert_eq!((answer.status(), answer.version()), (StatusCode::OK, hyper::Version::HTTP_2));
    assert!(answer.headers().contains_key("mcp-session-id"));
}
