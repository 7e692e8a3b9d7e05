//! Clients that come back with answers, late, with other words, or not at all.

use super::rounds::{ANOTHER, QUESTION, retry};
use super::*;
use crate::auth::Rules;
use crate::child::EraSource;
use crate::config::HeaderEnv;
use crate::config::principals::NamesConfig;

const ANSWERED: &str = r#"{"elicitation-1":{"action":"accept"}}"#;

#[tokio::test(start_paused = true)]
async fn a_client_is_never_waited_for_longer_than_a_request_may_take() {
    let mut harness = harness_with(|_, session| session.request_timeout_max = Some(Duration::from_secs(7)));
    harness.asked(&[QUESTION]).await;
    let mut swept = tokio::time::Instant::now() + Duration::from_secs(6);
    harness.registry.sweep(swept);
    assert_eq!(harness.registry.parked().len(), 1);
    swept += Duration::from_secs(1);
    harness.registry.sweep(swept);
    assert!(harness.registry.is_empty() && harness.registry.parked().is_empty());
}

/// An `Http` over one child of its own for each, and the future that makes room for others.
async fn own(children_max: usize) -> (Arc<Http>, testing::Own) {
    let own = testing::own(|pool| pool.children_max = children_max.try_into().expect("not zero")).await;
    (serving(config(), authenticator(), own.registry.clone(), own.pool.clone()), own)
}

/// The child that was started next asks its client.
async fn asks(own: &testing::Own) -> FakeChild {
    tokio::time::sleep(Duration::from_millis(1)).await;
    let (_, mut child) = own.child();
    let origin = child.is_called_whatever_is_known().await;
    child.message(origin, QUESTION);
    child
}

#[tokio::test(start_paused = true)]
async fn who_is_not_back_yet_makes_room_for_who_waits_for_a_child() {
    let (http, own) = own(2).await;
    let body = call("1", "", "");
    let ask = || http.ask(request("POST", "/mcp", &calling(), &body));
    let (first, mut child) = tokio::join!(ask(), asks(&own));
    let state = first.json().await["result"]["requestState"].clone();
    tokio::time::advance(Duration::from_secs(1)).await;
    let (_, _second) = tokio::join!(ask(), asks(&own));
    assert_eq!(own.registry.parked().len(), 2);
    let stop = tokio_util::sync::CancellationToken::new();
    let scene = async {
        let (third, _third) = tokio::join!(ask(), async {
            child.next().await.detached();
            assert!(matches!(child.next().await, Arrival::Stopped));
            child.exits();
            asks(&own).await
        });
        assert_eq!(third.json().await["result"]["resultType"], "input_required");
        assert_eq!(own.registry.parked().len(), 2, "no more than is needed");
        let late = retry("2", &state, r#"{"elicitation-1":{"action":"accept"}}"#);
        let refused = http.ask(request("POST", "/mcp", &calling(), &late)).await;
        assert_eq!(code(refused).await, (200, -32602, json!(2)));
        stop.cancel();
    };
    tokio::join!(own.registry.run(stop.clone()), scene);
}

#[tokio::test(start_paused = true)]
async fn who_parks_while_others_wait_for_a_child_makes_room() {
    let (http, own) = own(1).await;
    let body = call("1", "", "");
    let ask = || http.ask(request("POST", "/mcp", &calling(), &body));
    let parked_at = tokio::time::Instant::now();
    let playing = async {
        let (_, _, ()) = tokio::join!(
            ask(),
            async {
                tokio::time::sleep(Duration::from_millis(2)).await;
                ask().await
            },
            async {
                tokio::time::sleep(Duration::from_millis(3)).await;
                let mut child = asks(&own).await;
                child.next().await.detached();
                // A client that answers at once is to come to its end.
                assert!(parked_at.elapsed() >= Duration::from_secs(5));
                assert!(matches!(child.next().await, Arrival::Stopped));
                child.exits();
                asks(&own).await;
            }
        );
    };
    tokio::select! {
        () = own.registry.run(tokio_util::sync::CancellationToken::new()) => unreachable!("it goes on"),
        () = playing => {}
    }
    assert_eq!(own.registry.parked().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn nobody_is_waited_for_after_the_end() {
    let mut harness = harness();
    let child = &mut harness.child;
    let (answered, ()) =
        tokio::join!(harness.http.ask(request("POST", "/mcp", &calling(), &call("1", "", ""))), async {
            let (origin, _) = child.is_called().await;
            child.message(origin, QUESTION);
            harness.registry.close_all();
        });
    assert_eq!(code(answered).await, (503, -31012, json!(1)));
    assert_eq!((harness.registry.parked().len(), std::sync::Arc::strong_count(&harness.registry)), (0, 2));
}

/// The child's answer to the question is on its way with this retry; then this happens.
async fn retried(harness: &mut Harness, body: &str, then: impl FnOnce(&FakeChild)) -> Answered {
    let child = &mut harness.child;
    let (answered, ()) = tokio::join!(harness.http.ask(request("POST", "/mcp", &calling(), body)), async {
        child.next().await.sent();
        then(child);
    });
    answered
}

#[tokio::test(start_paused = true)]
async fn a_child_that_dies_meanwhile_is_said_when_the_client_comes_back() {
    let mut harness = harness();
    let (origin, first) = harness.asked(&[QUESTION]).await;
    let reject = Reject::ChildUnavailable("gone".to_owned());
    harness.child.deliver(origin, Payload::Rejected(RawId::from_json("1"), reject));
    let answered = retried(&mut harness, &retry("2", &first["requestState"], ANSWERED), |_| {}).await;
    assert_eq!(code(answered).await, (503, -31001, json!(2)));
    harness.child.next().await.detached();
    assert!(harness.registry.is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_client_that_hangs_up_after_it_came_back_cancels() {
    let mut harness = harness();
    let (_, first) = harness.asked(&[QUESTION]).await;
    let body = retry("2", &first["requestState"], ANSWERED);
    {
        let mut asked = pin!(harness.http.ask(request("POST", "/mcp", &calling(), &body)));
        tokio::select! {
            _ = &mut asked => panic!("not answered yet"),
            arrival = harness.child.next() => { arrival.sent(); }
        }
    }
    harness.child.next().await.detached();
    assert!(harness.registry.is_empty());
    assert_eq!(code(harness.retry(&body).await).await, (200, -32602, json!(2)));
}

// An answer that is lost would leave the child waiting for it.
#[tokio::test(start_paused = true)]
async fn an_answer_that_does_not_reach_the_child_fails_the_request() {
    let mut harness = harness();
    let (_, first) = harness.asked(&[QUESTION]).await;
    let Harness { http, registry, child, handle: _handle } = harness;
    drop(child);
    let body = retry("2", &first["requestState"], ANSWERED);
    let answered = http.ask(request("POST", "/mcp", &calling(), &body)).await;
    assert_eq!(answered.status.as_u16(), 503);
    assert!(registry.is_empty());
}

// spec: 2026-07-28 basic/patterns/mrtr, Server Requirements 7
#[tokio::test(start_paused = true)]
async fn what_is_declared_no_longer_is_not_asked_again() {
    let mut harness = harness();
    let (origin, first) = harness.asked(&[QUESTION, ANOTHER]).await;
    let body = retry("2", &first["requestState"], "{}").replace(r#","sampling":{}"#, "");
    let answered = harness.retry(&body).await;
    let (_, sent) = harness.child.next().await.sent();
    let refusal: Value = serde_json::from_slice(sent.bytes()).expect("JSON");
    let error = &refusal["error"];
    assert_eq!((&refusal["id"], &error["code"]), (&json!("mcp-mux-0-2"), &json!(-32021)));
    let second = answered.json().await["result"].clone();
    assert_eq!(second["inputRequests"], json!({"elicitation-1": first["inputRequests"]["elicitation-1"]}));
    // The child cannot go on without it.
    let body = retry("3", &second["requestState"], ANSWERED).replace(r#","sampling":{}"#, "");
    let answered = retried(&mut harness, &body, |child| {
        child.respond(origin, r#"{"jsonrpc":"2.0","id":1,"error":{"code":-32021,"message":"m"}}"#);
    });
    let error = answered.await.json().await["error"].clone();
    assert_eq!((&error["code"], &error["data"]["requiredCapabilities"]), (&json!(-32021), &json!({"sampling": {}})));
}

#[tokio::test(start_paused = true)]
async fn a_required_elicitation_that_is_declared_no_longer_cannot_be_gone_on_without() {
    let mut harness = harness();
    let error = r#"{"jsonrpc":"2.0","id":1,"error":{"code":-32042,"message":"m","data":{"elicitations":[{"url":"https://x","message":"m"}]}}}"#;
    let child = &mut harness.child;
    let (answered, ()) =
        tokio::join!(harness.http.ask(request("POST", "/mcp", &calling(), &call("1", "", ""))), async {
            let (origin, _) = child.is_called().await;
            child.respond(origin, error);
        });
    let first = answered.json().await["result"].clone();
    let body = retry("2", &first["requestState"], "{}").replace(r#","url":{}"#, "");
    assert_eq!(code(harness.retry(&body).await).await, (400, -32021, json!(2)));
    harness.child.next().await.detached();
}

// The router of a shared child has refused the question.
#[tokio::test(start_paused = true)]
async fn a_refusal_that_the_child_passes_on_is_passed_on_where_it_is_true() {
    for (required, expected) in [("roots", (400, -32021, json!(1))), ("sampling", (200, -32603, json!(1)))] {
        let mut harness = harness();
        let child = &mut harness.child;
        let (answered, ()) =
            tokio::join!(harness.http.ask(request("POST", "/mcp", &calling(), &call("1", "", ""))), async {
                let (origin, _) = child.is_called().await;
                let data = format!(r#"{{"requiredCapabilities":{{"{required}":{{}}}}}}"#);
                let error = format!(r#"{{"code":-32021,"message":"m","data":{data}}}"#);
                child.respond(origin, &format!(r#"{{"jsonrpc":"2.0","id":1,"error":{error}}}"#));
            });
        assert_eq!(code(answered).await, expected, "{required}");
    }
}

#[tokio::test(start_paused = true)]
async fn what_is_no_result_is_an_error() {
    let mut harness = harness();
    let child = &mut harness.child;
    let (answered, ()) =
        tokio::join!(harness.http.ask(request("POST", "/mcp", &calling(), &call("1", "", ""))), async {
            let (origin, _) = child.is_called().await;
            child.respond(origin, &result("1", "[]"));
        });
    assert_eq!(answered.kind().await.1, "child-answer-unusable");
}

// spec: 2026-07-28 basic/patterns/mrtr, Server Requirements 5
#[tokio::test(start_paused = true)]
async fn a_state_of_another_tenant_does_not_open() {
    let own = testing::own(|pool| {
        pool.header_env = vec![HeaderEnv { header: http::HeaderName::from_static("x-key"), variable: "K".to_owned() }];
    })
    .await;
    let http = serving(config(), authenticator(), own.registry.clone(), own.pool.clone());
    let with = |key: &'static str| [calling(), vec![("x-key", key)]].concat();
    let body = call("1", "", "");
    let (first, _child) = tokio::join!(http.ask(request("POST", "/mcp", &with("a"), &body)), asks(&own));
    let state = first.json().await["result"]["requestState"].clone();
    let body = retry("2", &state, "{}");
    let refused = http.ask(request("POST", "/mcp", &with("b"), &body)).await;
    assert_eq!(code(refused).await, (200, -32602, json!(2)));
    let again = http.ask(request("POST", "/mcp", &with("a"), &body)).await;
    assert_eq!(again.json().await["result"]["resultType"], "input_required");
}

#[tokio::test(start_paused = true)]
async fn a_state_given_under_other_rules_does_not_open() {
    let mut harness = harness();
    let denied = |tool: &str| {
        let permission = NamesConfig { allow: None, deny: vec![tool.to_owned()] };
        Admission { rules: Rules::new(vec![permission], Vec::new(), Vec::new()), ..Admission::anonymous() }
    };
    let [own, other, without_it] = ["a", "b", "t"].map(denied);
    let child = &mut harness.child;
    let (first, ()) =
        tokio::join!(harness.http.ask_as(&own, request("POST", "/mcp", &calling(), &call("1", "", ""))), async {
            let (origin, _) = child.is_called().await;
            child.message(origin, QUESTION);
        });
    let state = first.json().await["result"]["requestState"].clone();
    let body = retry("2", &state, "{}");
    let retry_as =
        async |caller: &Admission| harness.http.ask_as(caller, request("POST", "/mcp", &calling(), &body)).await;
    let refused = retry_as(&other).await;
    assert_eq!(code(refused).await, (200, -32602, json!(2)));
    assert_eq!(code(retry_as(&without_it).await).await, (200, -32602, json!(2)), "nor does it make up for a tool");
    assert_eq!(retry_as(&own).await.json().await["result"]["resultType"], "input_required");
}

// What a client keeps for another mcp-mux behind this one looks like ours.
#[tokio::test(start_paused = true)]
async fn a_state_that_does_not_open_is_the_childs_where_that_is_modern() {
    let (handle, inbox) = crate::child::ChildHandle::for_tests_of(EraSource::of(Era::Modern));
    let pool = crate::pool::Pool::of(handle);
    let registry = Registry::new(testing::config(), Arc::clone(&pool), &testing::unread());
    let http = serving(config(), authenticator(), registry, pool);
    let mut child = FakeChild::new(inbox);
    let body = retry("2", &json!("mcp-mux.of-another"), "{}");
    let (answered, ()) = tokio::join!(http.ask(request("POST", "/mcp", &calling(), &body)), async {
        child.next().await.attached();
        child.answers("tools/list", TOOLS).await;
        let message = child.answers("tools/call", r#"{"resultType":"complete"}"#).await;
        assert_eq!(message.bytes(), &body);
    });
    assert_eq!(answered.status, StatusCode::OK);
}

#[tokio::test(start_paused = true)]
async fn what_is_parked_holds_the_questions_and_not_the_request() {
    let mut harness = harness_with(|http, _| http.body_bytes_max = 1 << 20);
    let body = call("1", &format!(r#""x":"{}","#, "x".repeat(100_000)), "");
    let child = &mut harness.child;
    let question = QUESTION.replace("https://x", &"y".repeat(20_000));
    let (answered, ()) = tokio::join!(harness.http.ask(request("POST", "/mcp", &calling(), &body)), async {
        let (origin, _) = child.is_called().await;
        child.message(origin, &question);
    });
    assert_eq!(answered.status, StatusCode::OK);
    let held = harness.registry.parked().bytes();
    assert!((20_000..25_000).contains(&held), "{held}");
}

// spec: 2026-07-28 basic/patterns/mrtr: nobody listens meanwhile
#[tokio::test(start_paused = true)]
async fn while_a_client_is_away_nothing_is_lost_but_what_is_told_in_passing() {
    let mut harness = harness();
    let (origin, first) = harness.asked(&[QUESTION]).await;
    let progress = r#"{"jsonrpc":"2.0","method":"notifications/progress","params":{"progressToken":1,"progress":1}}"#;
    for _ in 0..10_000 {
        harness.child.message(origin, progress);
    }
    harness.child.message(origin, ANOTHER);
    let cancelled = r#"{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":"mcp-mux-0-1"}}"#;
    harness.child.message(origin, cancelled);
    let answered = harness.retry(&retry("2", &first["requestState"], "{}")).await;
    let second = answered.json().await["result"].clone();
    let asked = second["inputRequests"].as_object().expect("asked").keys().collect::<Vec<_>>();
    assert_eq!(asked, ["sampling-2"]);
    harness.child.message(origin, progress);
    harness.child.respond(origin, &result("1", "{}"));
    let body = retry("3", &second["requestState"], r#"{"sampling-2":{"role":"assistant"}}"#);
    let answered = retried(&mut harness, &body, |child| child.message(origin, progress)).await;
    let answer = answered.json().await;
    assert_eq!((&answer["id"], &answer["result"]["resultType"]), (&json!(3), &json!("complete")));
}

#[tokio::test(start_paused = true)]
async fn what_is_told_after_the_answer_is_told() {
    let mut harness = harness();
    let (origin, first) = harness.asked(&[QUESTION]).await;
    let answered = retried(&mut harness, &retry("2", &first["requestState"], ANSWERED), |child| {
        child.message(
            origin,
            r#"{"jsonrpc":"2.0","method":"notifications/progress","params":{"progressToken":1,"progress":1}}"#,
        );
        child.respond(origin, &result("1", "{}"));
    })
    .await;
    assert_eq!(events(&answered.rest().await).len(), 2);
}
