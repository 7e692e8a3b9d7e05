//! Requests over several rounds.

use super::*;
use crate::metrics::{Limit, limit_hits};

pub(super) const QUESTION: &str = r#"{"jsonrpc":"2.0","id":"mcp-mux-0-1","method":"elicitation/create","params":{"mode":"url","elicitationId":"e","message":"m","url":"https://x"}}"#;
pub(super) const ANOTHER: &str =
    r#"{"jsonrpc":"2.0","id":"mcp-mux-0-2","method":"sampling/createMessage","params":{"messages":[],"maxTokens":1}}"#;

impl Harness {
    /// A call that is asked these questions; returns where it runs and its result.
    pub(super) async fn asked(&mut self, questions: &[&str]) -> (Origin, Value) {
        let child = &mut self.child;
        let (answered, origin) = tokio::join!(
            self.http.ask(request("POST", "/mcp", &calling(), &call("1", "", r#","progressToken":1"#))),
            async {
                let origin = child.is_called_whatever_is_known().await;
                for question in questions {
                    child.message(origin, question);
                }
                origin
            }
        );
        assert_eq!(answered.status, StatusCode::OK);
        let result = answered.json().await["result"].clone();
        assert_eq!(result["resultType"], "input_required");
        (origin, result)
    }

    pub(super) async fn retry(&self, body: &str) -> Answered {
        self.http.ask(request("POST", "/mcp", &calling(), body)).await
    }
}

pub(super) fn retry(id: &str, state: &Value, answers: &str) -> String {
    call(id, &format!(r#""requestState":{state},"inputResponses":{answers},"#), r#","progressToken":"second""#)
}

// spec: 2026-07-28 basic/patterns/mrtr
#[tokio::test(start_paused = true)]
async fn questions_end_the_round_and_answers_go_on_with_the_same_request() {
    let mut harness = harness();
    let (origin, first) = harness.asked(&[QUESTION, ANOTHER]).await;
    let asked = json!({
        "elicitation-1": {"method": "elicitation/create", "params": {"mode": "url", "message": "m", "url": "https://x"}},
        "sampling-2": {"method": "sampling/createMessage", "params": {"messages": [], "maxTokens": 1}},
    });
    assert_eq!(first["inputRequests"], asked);
    assert_eq!(harness.registry.len(), 1, "it keeps its place");
    // One is missing: it is asked for again.
    let answers = r#"{"elicitation-1":{"action":"accept"},"sampling-2":12345,"other":{}}"#;
    let answered = harness.retry(&retry("2", &first["requestState"], answers)).await;
    let second = answered.json().await["result"].clone();
    assert_eq!(second["inputRequests"], json!({"sampling-2": asked["sampling-2"]}));
    assert_ne!(first["requestState"], second["requestState"]);
    let (_, sent) = harness.child.next().await.sent();
    assert_eq!(sent.bytes(), &result("\"mcp-mux-0-1\"", r#"{"action":"accept"}"#));
    // What the child has to say now comes under the ids of the latest request.
    let body = retry("\"third\"", &second["requestState"], r#"{"sampling-2":{"role":"assistant"}}"#);
    let child = &mut harness.child;
    let (answered, ()) = tokio::join!(harness.http.ask(request("POST", "/mcp", &calling(), &body)), async {
        let (_, sent) = child.next().await.sent();
        assert_eq!(sent.id(), Some(RawId::from_json("\"mcp-mux-0-2\"")));
        child.message(
            origin,
            r#"{"jsonrpc":"2.0","method":"notifications/progress","params":{"progressToken":1,"progress":1}}"#,
        );
        child.respond(origin, &result("1", "{}"));
    });
    let events = events(&answered.rest().await);
    assert_eq!((&events[0]["params"]["progressToken"], &events[1]["id"]), (&json!("second"), &json!("third")));
    harness.child.next().await.detached();
    assert!(harness.registry.is_empty() && harness.registry.parked().is_empty());
}

#[tokio::test(start_paused = true)]
async fn questions_that_follow_each_other_closely_are_asked_together() {
    for (apart, times, asked) in [(20, 3, 3), (31, 3, 1), (20, 40, 25)] {
        let mut harness = harness();
        let child = &mut harness.child;
        let (answered, ()) =
            tokio::join!(harness.http.ask(request("POST", "/mcp", &calling(), &call("1", "", ""))), async {
                let (origin, _) = child.is_called().await;
                for number in 0..times {
                    child.message(origin, &ANOTHER.replace("mcp-mux-0-2", &format!("mcp-mux-0-{number}")));
                    tokio::time::sleep(Duration::from_millis(apart)).await;
                }
            });
        let result = answered.json().await["result"].clone();
        let requests = result["inputRequests"].as_object().expect("questions").len();
        assert_eq!(requests, asked, "{times} questions, {apart} ms apart");
    }
}

// spec: 2026-07-28 basic/patterns/mrtr, Server Requirements 4, 5
#[tokio::test(start_paused = true)]
async fn a_state_is_of_use_once_unaltered_and_for_its_own_request() {
    let mut harness = harness();
    let (origin, first) = harness.asked(&[QUESTION]).await;
    let state = &first["requestState"];
    let answers = r#"{"elicitation-1":{"action":"accept"}}"#;
    let tampered = json!(format!("{}-TAMPERED", state.as_str().expect("text")));
    let good = retry("2", state, answers);
    for wrong in [
        retry("2", &tampered, answers),
        retry("2", &json!(7), answers),
        good.replace(r#"{"a":1}"#, r#"{"a":2}"#),
        retry("2", state, "[]"),
    ] {
        assert_eq!(code(harness.retry(&wrong).await).await, (200, -32602, json!(2)), "{wrong}");
    }
    while let Some(arrival) = harness.child.try_next() {
        assert!(!matches!(arrival, Arrival::Sent(..)), "nothing reaches the child");
    }
    let child = &mut harness.child;
    let (served, refused) = tokio::join!(harness.http.ask(request("POST", "/mcp", &calling(), &good)), async {
        child.next().await.sent();
        let refused = code(harness.http.ask(request("POST", "/mcp", &calling(), &good)).await).await;
        child.respond(origin, &result("1", "{}"));
        refused
    });
    assert_eq!((served.status.as_u16(), refused), (200, (200, -32602, json!(2))), "while the first is being served");
    harness.child.next().await.detached();
    assert_eq!(code(harness.retry(&good).await).await, (200, -32602, json!(2)), "afterwards");
    assert!(harness.child.try_next().is_none());
}

#[tokio::test(start_paused = true)]
async fn a_client_that_never_comes_back_is_given_up() {
    let mut harness = harness();
    let (_, first) = harness.asked(&[QUESTION]).await;
    harness.registry.sweep(tokio::time::Instant::now() + Duration::from_secs(119));
    assert_eq!(harness.registry.len(), 1);
    tokio::time::advance(Duration::from_secs(120)).await;
    harness.registry.sweep(tokio::time::Instant::now());
    harness.child.next().await.detached();
    assert!(harness.registry.is_empty() && harness.registry.parked().is_empty());
    let late = retry("2", &first["requestState"], "{}");
    assert_eq!(code(harness.retry(&late).await).await, (200, -32602, json!(2)));
}

// spec: 2026-07-28 basic/index, `_meta`: a server must not rely on capabilities that were not declared
#[tokio::test(start_paused = true)]
async fn what_was_not_declared_is_not_asked() {
    let mut harness = harness();
    let child = &mut harness.child;
    let (answered, ()) =
        tokio::join!(harness.http.ask(request("POST", "/mcp", &calling(), &call("1", "", ""))), async {
            let (origin, _) = child.is_called().await;
            child.message(origin, r#"{"jsonrpc":"2.0","id":"mcp-mux-0-1","method":"roots/list"}"#);
            let (_, refusal) = child.next().await.sent();
            let refusal: Value = serde_json::from_slice(refusal.bytes()).expect("JSON");
            assert_eq!(
                (&refusal["error"]["code"], &refusal["error"]["data"]["requiredCapabilities"]),
                (&json!(-32021), &json!({"roots": {}}))
            );
            child.respond(origin, &result("1", "{}"));
        });
    assert_eq!(answered.status, StatusCode::OK);
}

// spec: 2025-11-25 client/elicitation, URL Elicitation Required; 2026-07-28 basic/patterns/mrtr
#[tokio::test(start_paused = true)]
async fn a_required_elicitation_is_asked_and_then_the_request_is_sent_again() {
    let mut harness = harness();
    let error = r#"{"jsonrpc":"2.0","id":1,"error":{"code":-32042,"message":"m","data":{"elicitations":[{"mode":"url","elicitationId":"e","url":"https://x","message":"m"}]}}}"#;
    let child = &mut harness.child;
    let (answered, ()) =
        tokio::join!(harness.http.ask(request("POST", "/mcp", &calling(), &call("1", "", ""))), async {
            let (origin, _) = child.is_called().await;
            child.respond(origin, error);
        });
    let first = answered.json().await["result"].clone();
    assert_eq!(
        first["inputRequests"]["elicitation-1"]["params"],
        json!({"mode": "url", "url": "https://x", "message": "m"})
    );
    let body = retry("2", &first["requestState"], r#"{"elicitation-1":{"action":"accept"}}"#);
    let child = &mut harness.child;
    let (answered, _) =
        tokio::join!(harness.http.ask(request("POST", "/mcp", &calling(), &body)), child.answers("tools/call", "{}"));
    let answer = answered.json().await;
    assert_eq!((&answer["id"], &answer["result"]["resultType"]), (&json!(2), &json!("complete")));
    harness.child.next().await.detached();
}

#[tokio::test(start_paused = true)]
async fn a_client_is_asked_no_more_in_a_round_than_it_may_be() {
    let large = ANOTHER.replace("1}}", &format!(r#"1,"x":"{}"}}}}"#, "x".repeat(16 << 20)));
    for (questions_max, second, limit) in [(1, ANOTHER, Limit::QuestionsMax), (2, large.as_str(), Limit::MessageForm)] {
        let mut harness = harness_with(|http, _| http.bounds.questions_max = questions_max);
        let (before, child) = (limit_hits(limit), &mut harness.child);
        let (answered, ()) =
            tokio::join!(harness.http.ask(request("POST", "/mcp", &calling(), &call("1", "", ""))), async {
                let (origin, _) = child.is_called().await;
                child.message(origin, QUESTION);
                child.message(origin, second);
                let (_, refusal) = child.next().await.sent();
                assert_eq!(refusal.id(), Some(RawId::from_json("\"mcp-mux-0-2\"")));
                assert!(refusal.error().is_some());
            });
        let result = answered.json().await["result"].clone();
        assert_eq!(result["inputRequests"].as_object().expect("questions").len(), 1);
        assert!(limit_hits(limit) > before, "{limit:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn more_elicitations_than_a_client_may_be_asked_cannot_be_required() {
    let mut harness = harness_with(|http, _| http.bounds.questions_max = 1);
    let one = r#"{"mode":"url","elicitationId":"e","url":"https://x","message":"m"}"#;
    let error = format!(
        r#"{{"jsonrpc":"2.0","id":1,"error":{{"code":-32042,"message":"m","data":{{"elicitations":[{one},{one}]}}}}}}"#
    );
    let (before, child) = (limit_hits(Limit::QuestionsMax), &mut harness.child);
    let (answered, ()) =
        tokio::join!(harness.http.ask(request("POST", "/mcp", &calling(), &call("1", "", ""))), async {
            let (origin, _) = child.is_called().await;
            child.respond(origin, &error);
        });
    assert_eq!(code(answered).await, (200, -31003, json!(1)));
    assert!(limit_hits(Limit::QuestionsMax) > before);
    harness.child.next().await.detached();
}

// spec: 2026-07-28 basic/transports/streamable-http, Server Behavior for Custom Headers
#[tokio::test(start_paused = true)]
async fn a_retry_with_wrong_headers_is_refused_and_may_come_again_with_the_right_ones() {
    let mut harness = harness();
    let headers = |region: &'static str| {
        let mut headers = headers("tools/call", Some("h"));
        headers.push(("mcp-param-region", region));
        headers
    };
    let of = |more: &str| body("1", "tools/call", &format!(r#""name":"h","arguments":{{"region":"eu"}},{more}"#), "");
    let child = &mut harness.child;
    let (answered, origin) = tokio::join!(harness.http.ask(request("POST", "/mcp", &headers("eu"), &of(""))), async {
        let (origin, _) = child.is_called().await;
        child.message(origin, QUESTION);
        origin
    });
    let state = answered.json().await["result"]["requestState"].clone();
    let again = of(&format!(r#""requestState":{state},"inputResponses":{{"elicitation-1":{{"action":"accept"}}}},"#));
    for changed in [false, true] {
        let child = &mut harness.child;
        if changed {
            harness.handle.cache().invalidate("notifications/tools/list_changed", None);
        }
        let (refused, ()) = tokio::join!(harness.http.ask(request("POST", "/mcp", &headers("us"), &again)), async {
            if changed {
                child.answers("tools/list", TOOLS).await;
            }
        });
        assert_eq!(code(refused).await, (400, -32020, json!(1)));
        assert!(harness.child.try_next().is_none(), "the question is still open");
    }
    let child = &mut harness.child;
    let (answered, ()) = tokio::join!(harness.http.ask(request("POST", "/mcp", &headers("eu"), &again)), async {
        assert!(child.next().await.sent().1.result().is_some());
        child.respond(origin, &result("1", "{}"));
    });
    assert_eq!(answered.json().await["result"]["resultType"], "complete");
}
