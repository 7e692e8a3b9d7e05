//! Requests of principals that may not use everything, down to a child whose process is played, and back.

use std::sync::Mutex;

use serde_json::json;

use super::*;
use crate::auth::{Principal, Rules};
use crate::child::played::playing;
use crate::config::principals::NamesConfig;
use crate::mcp::{Era, MODERN_REVISION};

const META: &str = r#""_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28","io.modelcontextprotocol/clientCapabilities":{}}"#;
const TOOLS: &str =
    r#"{"name":"read"},{"name":"write","inputSchema":{"properties":{"a":{"type":"string","x-mcp-header":"A"}}}}"#;

/// Who may read only.
fn reader() -> Admission {
    named("reader", &["read*"])
}

fn named(name: &str, tools: &[&str]) -> Admission {
    let allow = |patterns: &[&str]| {
        let allow = Some(patterns.iter().map(|pattern| (*pattern).to_owned()).collect());
        vec![NamesConfig { allow, deny: Vec::new() }]
    };
    let rules = Rules::new(allow(tools), allow(&["x:/pub/*"]), Vec::new());
    let caller = Admission { principal: Principal::named(name), ..Admission::anonymous() };
    Admission { rules, ..caller }
}

/// An [`Http`] over a played process.
struct Served {
    http: Arc<Http>,
    read: Arc<Mutex<Vec<Value>>>,
}

/// A process of that era that gives lists of tools and answers everything else with what it was asked.
fn served(era: Era, change: impl FnOnce(&mut Settings)) -> Served {
    let read = Arc::<Mutex<Vec<Value>>>::default();
    let log = Arc::clone(&read);
    let handle = playing(era, move |line| {
        let (id, method) = (line["id"].clone(), line["method"].as_str().unwrap_or_default());
        let result = match method {
            "initialize" => {
                json!({"protocolVersion": "2025-11-25", "capabilities": {"tools": {}, "resources": {"subscribe": true}}, "serverInfo": {"name": "s", "version": "1"}})
            }
            "server/discover" => {
                json!({"supportedVersions": [MODERN_REVISION], "capabilities": {"tools": {}}, "resultType": "complete", "ttlMs": 0, "cacheScope": "private"})
            }
            "tools/list" => {
                let hints = if era == Era::Modern { r#","ttlMs":60000,"cacheScope":"public""# } else { "" };
                serde_json::from_str(&format!(r#"{{"tools":[{TOOLS}]{hints}}}"#)).expect("JSON")
            }
            "tools/call" if line["params"]["arguments"]["task"] == true => {
                json!({"resultType": "task", "taskId": "t", "status": "working", "ttlMs": 60000})
            }
            _ => json!({"content": [line["params"]["name"]]}),
        };
        if !matches!(method, "initialize" | "server/discover" | "notifications/initialized" | "subscriptions/listen") {
            log.lock().expect("not poisoned").push(line.clone());
        }
        if id.is_null() || method == "subscriptions/listen" {
            return Vec::new();
        }
        vec![json!({"jsonrpc": "2.0", "id": id, "result": result}).to_string()]
    });
    let pool = Pool::of(handle);
    let mut config = config();
    change(&mut config);
    Served {
        http: serving(
            config,
            authenticator(),
            Registry::new(testing::config(), Arc::clone(&pool), &testing::unread()),
            pool,
        ),
        read,
    }
}

impl Served {
    async fn ask(&self, caller: &Admission, method: &str, uri: &str, headers: &[(&str, &str)], body: &str) -> Answered {
        self.http.ask_as(caller, request(method, uri, headers, body)).await
    }

    async fn post(&self, caller: &Admission, headers: &[(&str, &str)], body: &str) -> Answered {
        self.ask(caller, "POST", "/mcp", headers, body).await
    }

    /// Opens a session.
    async fn open(&self, caller: &Admission, revision: Revision) -> String {
        self.post(caller, &[], &initialize(revision)).await.header("mcp-session-id").to_owned()
    }

    /// Methods and names that the process has read since this was asked last, but for its handshake.
    fn read(&self) -> Vec<(String, Value)> {
        let read = std::mem::take(&mut *self.read.lock().expect("not poisoned"));
        let text = |line: &Value| line["method"].as_str().unwrap_or_default().to_owned();
        read.iter().map(|line| (text(line), line["params"]["name"].clone())).collect()
    }

    /// A modern request.
    async fn modern(&self, caller: &Admission, method: &str, name: Option<&str>, params: &str) -> Answered {
        let mut headers = vec![("mcp-protocol-version", MODERN_REVISION), ("mcp-method", method)];
        headers.extend(name.map(|name| ("mcp-name", name)));
        let body = format!(r#"{{"jsonrpc":"2.0","id":1,"method":"{method}","params":{{{params}{META}}}}}"#);
        self.post(caller, &headers, &body).await
    }
}

fn call(id: u8, name: &str) -> String {
    format!(r#"{{"jsonrpc":"2.0","id":{id},"method":"tools/call","params":{{"name":"{name}"}}}}"#)
}

const LIST: &str = r#"{"jsonrpc":"2.0","id":9,"method":"tools/list"}"#;

/// The names of the tools in an answer.
async fn tools(answered: Answered) -> Vec<Value> {
    let answer = answered.json().await;
    answer["result"]["tools"].as_array().expect("tools").iter().map(|tool| tool["name"].clone()).collect()
}

fn is_refused(answer: &Value, id: u8) -> bool {
    let error = &answer["error"];
    (&answer["id"], &error["code"], &error["data"]["kind"]) == (&json!(id), &json!(-32602), &json!("not-allowed"))
}

#[tokio::test(start_paused = true)]
async fn a_legacy_session_sees_and_calls_what_its_principal_may_use() {
    for era in [Era::Legacy, Era::Modern] {
        let served = served(era, |_| {});
        let id = served.open(&reader(), Revision::V2025_11_25).await;
        let session = [("mcp-session-id", id.as_str())];
        assert_eq!(tools(served.post(&reader(), &session, LIST).await).await, ["read"]);
        served.read();
        let refused = served.post(&reader(), &session, &call(1, "write")).await;
        assert_eq!(refused.status, StatusCode::OK);
        assert!(is_refused(&refused.json().await, 1));
        let notified = r#"{"jsonrpc":"2.0","method":"tools/call","params":{"name":"write"}}"#;
        assert_eq!(served.post(&reader(), &session, notified).await.status, StatusCode::ACCEPTED);
        let answer = served.post(&reader(), &session, &call(2, "read")).await.json().await;
        assert_eq!(answer["result"]["content"], json!(["read"]), "{era:?}");
        assert_eq!(served.read(), [("tools/call".to_owned(), json!("read"))]);
        // Another one on the same server.
        let id = served.open(&Admission::anonymous(), Revision::V2025_11_25).await;
        let all = served.post(&Admission::anonymous(), &[("mcp-session-id", &id)], LIST).await;
        assert_eq!(tools(all).await, ["read", "write"]);
    }
}

// spec: 2025-03-26 basic, Batching
#[tokio::test(start_paused = true)]
async fn each_message_of_a_batch_is_judged_by_itself() {
    let served = served(Era::Legacy, |_| {});
    let id = served.open(&reader(), Revision::V2025_03_26).await;
    let batch = format!("[{},{},{LIST}]", call(1, "write"), call(2, "read"));
    let answers = served.post(&reader(), &[("mcp-session-id", &id)], &batch).await.json().await;
    let answer = |id: u8| answers.as_array().expect("a batch").iter().find(|answer| answer["id"] == id).expect("there");
    assert!(is_refused(answer(1), 1));
    assert_eq!(answer(2)["result"]["content"], json!(["read"]));
    assert_eq!(answer(9)["result"]["tools"], json!([{"name": "read"}]));
}

#[tokio::test(start_paused = true)]
async fn http_sse_and_stateless_exchanges_are_no_way_round() {
    let served_sse = served(Era::Legacy, |_| {});
    let mut stream = served_sse.ask(&reader(), "GET", "/sse", &[("accept", "text/event-stream")], "").await;
    let endpoint = stream.chunk().await.expect("the endpoint");
    let url = endpoint.trim_end().rsplit_once(' ').expect("an event").1.to_owned();
    served_sse.ask(&reader(), "POST", &url, &[], &initialize(Revision::V2025_11_25)).await;
    stream.chunk().await.expect("the answer to initialize");
    served_sse.ask(&reader(), "POST", &url, &[], &call(1, "write")).await;
    let refused = stream.chunk().await.expect("an answer");
    assert!(refused.contains("not-allowed"), "{refused}");
    let others = served_sse.ask(&named("reader", &["*"]), "POST", &url, &[], &call(2, "read")).await;
    assert_eq!(others.kind().await, (404, "session-unknown".to_owned()));

    let stateless = served(Era::Legacy, |config| config.sessions = SessionMode::Stateless);
    assert!(is_refused(&stateless.post(&reader(), &[], &call(1, "write")).await.json().await, 1));
    assert_eq!(tools(stateless.post(&reader(), &[], LIST).await).await, ["read"]);
    for served in [served_sse, stateless] {
        assert!(served.read().iter().all(|(method, _)| method == "tools/list"));
    }
}

// spec: 2025-11-25 basic/transports, Session Management: on 404 a client starts a new session
#[tokio::test(start_paused = true)]
async fn a_session_is_of_use_only_under_the_rules_that_it_was_opened_under() {
    let served = served(Era::Legacy, |_| {});
    let id = served.open(&reader(), Revision::V2025_11_25).await;
    let session = [("mcp-session-id", id.as_str())];
    let (wider, other_order) = (named("reader", &["read*", "write"]), named("reader", &["read*", "read*"]));
    for method in ["POST", "GET", "DELETE"] {
        let refused = served.ask(&wider, method, "/mcp", &session, &call(1, "read")).await;
        assert_eq!(refused.kind().await, (404, "session-unknown".to_owned()), "{method}");
    }
    let answered = served.post(&other_order, &session, &call(1, "read")).await;
    assert_eq!(answered.json().await["result"]["content"], json!(["read"]), "they say the same");
}

#[tokio::test(start_paused = true)]
async fn what_is_kept_for_all_is_served_to_each_modern_client_as_it_may_see_it() {
    for reader_first in [true, false] {
        let served = served(Era::Modern, |_| {});
        let (reader, everybody) = (reader(), Admission::anonymous());
        let mut turns = [(&reader, vec!["read"]), (&everybody, vec!["read", "write"])];
        if !reader_first {
            turns.reverse();
        }
        for (caller, expected) in turns {
            assert_eq!(tools(served.modern(caller, "tools/list", None, "").await).await, expected);
        }
        assert_eq!(served.read().len(), 1, "the second one is served what is kept");
    }
}

#[tokio::test(start_paused = true)]
async fn a_modern_request_for_what_may_not_be_used_asks_the_child_nothing() {
    for era in [Era::Legacy, Era::Modern] {
        let served = served(era, |_| {});
        let refused = served.modern(&reader(), "tools/call", Some("write"), r#""name":"write","#).await;
        assert_eq!(refused.status, StatusCode::OK);
        assert!(is_refused(&refused.json().await, 1), "not for a header that only a tool that is there can want");
        let read = served.modern(&reader(), "resources/read", Some("x:/priv/a"), r#""uri":"x:/priv/a","#).await;
        assert!(is_refused(&read.json().await, 1));
        let filter = r#""notifications":{"resourceSubscriptions":["x:/pub/a","x:/priv/a"]},"#;
        let listened = served.modern(&reader(), "subscriptions/listen", None, filter).await;
        assert!(is_refused(&listened.json().await, 1));
        assert_eq!(served.read(), []);
        let called = served.modern(&reader(), "tools/call", Some("read"), r#""name":"read","#).await;
        assert_eq!(called.json().await["result"]["content"], json!(["read"]), "{era:?}");
        assert_eq!(tools(served.modern(&reader(), "tools/list", None, "").await).await, ["read"]);
    }
}

// spec: 2026-07-28 basic/transports/streamable-http, Custom Headers from Tool Parameters
#[tokio::test(start_paused = true)]
async fn what_one_may_not_see_is_still_known_of_for_the_others() {
    for era in [Era::Legacy, Era::Modern] {
        let served = served(era, |_| {});
        // A list with something left out, and a call before which the whole list is asked for.
        assert_eq!(tools(served.modern(&reader(), "tools/list", None, "").await).await, ["read"]);
        served.modern(&reader(), "tools/call", Some("read"), r#""name":"read","#).await;
        let params = r#""name":"write","arguments":{"a":"1"},"#;
        let without_header = served.modern(&Admission::anonymous(), "tools/call", Some("write"), params).await;
        assert_eq!(without_header.kind().await, (400, "header-mismatch".to_owned()), "{era:?}");
        served.read();
        served.modern(&reader(), "tools/call", Some("read"), r#""name":"read","#).await;
        assert_eq!(served.read(), [("tools/call".to_owned(), json!("read"))], "it is known by now");
    }
}

// spec: SEP-2663, Security Considerations: a task is of no use to who may not have it.
#[tokio::test(start_paused = true)]
async fn a_task_is_not_there_for_who_may_not_use_the_tool_any_more_that_it_is_of() {
    let served = served(Era::Modern, |_| {});
    let (writer, reader) = (named("a", &["read", "write"]), named("a", &["read"]));
    let started = r#""name":"write","arguments":{"task":true},"#;
    let started = served.modern(&writer, "tools/call", Some("write"), started).await.json().await;
    assert_eq!(started["result"]["resultType"], "task");
    served.read();
    for method in ["tasks/get", "tasks/update", "tasks/cancel"] {
        let of_task = r#""taskId":"t","#;
        let refused = served.modern(&reader, method, Some("t"), of_task).await.json().await;
        assert_eq!((&refused["error"]["code"], &refused["id"]), (&json!(-32602), &json!(1)), "{method}");
        assert_eq!(refused["error"]["message"], "invalid params: taskId: no such task", "{method}");
        assert_eq!(served.read(), [], "{method}");
        let served_to = served.modern(&writer, method, Some("t"), of_task).await.json().await;
        assert!(served_to["result"].is_object(), "{method}");
        assert_eq!(served.read().len(), 1, "{method}");
    }
    let listen = r#""notifications":{"taskIds":["t"]},"#;
    let refused = served.modern(&reader, "subscriptions/listen", None, listen).await.json().await;
    assert_eq!(refused["error"]["message"], "invalid params: taskId: no such task");
}
