//! Every limit, reached by what a client or a server does: what comes of it, byte for byte where it is an answer, and that it
//! was counted in `/metrics`, as often as it was reached, and no other limit with it.

mod clients;
mod network;
mod server;
mod streams;

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use http_body_util::BodyExt;
use hyper::body::Incoming;
use hyper::{Method, Response, StatusCode};
use mcp_mux::metrics::Limit;
use serde_json::{Value, json};

use crate::harness::{Client, Events, json_body, repository, within};

/// The test that reaches each limit: one over the wire, or one beside the code that keeps it where it takes too long.
const REACHED: &[(&str, &str)] = &[
    ("connections-max", "a_connection_beyond_all_waits_until_a_silent_one_is_closed"),
    ("connections-per-address-max", "a_connection_beyond_those_of_its_address_is_closed_at_once"),
    ("first-byte-timeout", "heads_and_silences_beyond_their_bounds_end_the_connection_and_are_counted"),
    ("header-timeout", "heads_and_silences_beyond_their_bounds_end_the_connection_and_are_counted"),
    ("idle-timeout", "heads_and_silences_beyond_their_bounds_end_the_connection_and_are_counted"),
    ("untaken-timeout", "a_client_that_takes_nothing_of_its_answer_is_closed_though_it_answers_pings"),
    ("header-bytes-max", "heads_and_silences_beyond_their_bounds_end_the_connection_and_are_counted"),
    ("headers-max", "heads_and_silences_beyond_their_bounds_end_the_connection_and_are_counted"),
    ("body-bytes-max", "bodies_beyond_their_bounds_are_refused_and_counted_over_either_http"),
    ("body-timeout", "bodies_beyond_their_bounds_are_refused_and_counted_over_either_http"),
    ("http2-streams-max", "floods_of_http2_are_refused_and_each_is_counted_as_what_it_is"),
    ("http2-resets-max", "floods_of_http2_are_refused_and_each_is_counted_as_what_it_is"),
    ("http2-frames-max", "floods_of_http2_are_refused_and_each_is_counted_as_what_it_is"),
    ("tls-handshake", "handshakes_that_fail_or_do_not_end_are_counted"),
    ("credential", "a_credential_that_is_not_good_is_counted_and_none_at_all_is_not"),
    ("rate", "requests_beyond_the_rate_are_told_when_to_come_back"),
    ("principal-sessions-max", "a_principal_has_its_share_of_sessions_and_of_requests_in_flight"),
    ("principal-in-flight-max", "a_principal_has_its_share_of_sessions_and_of_requests_in_flight"),
    ("sessions-max", "sessions_beyond_their_number_are_refused"),
    ("in-flight-max", "a_request_beyond_those_in_flight_is_refused_and_those_go_on"),
    ("messages-waiting-max", "what_waits_for_a_server_that_does_not_read_is_bounded"),
    ("children-max", "a_session_that_finds_no_process_is_refused_after_its_wait"),
    ("queue-timeout", "what_waits_for_a_server_that_does_not_read_is_refused_after_its_wait"),
    ("request-timeout", "a_request_without_an_answer_or_progress_is_given_up"),
    ("request-timeout-max", "a_request_with_progress_is_given_up_when_all_its_time_is_over"),
    ("line-bytes-max", "an_answer_that_is_too_long_is_an_error_and_other_lines_are_dropped"),
    ("replay-events", "the_oldest_messages_for_nobody_are_dropped"),
    ("replay-bytes", "an_answer_for_nobody_that_is_too_large_becomes_an_error"),
    ("streams-max", "the_oldest_of_too_many_streams_ends"),
    ("parked-max", "of_too_many_clients_that_are_asked_something_the_first_to_expire_is_given_up"),
    ("unread-messages-max", "reader_that_does_not_keep_up_is_disconnected_and_its_answer_waits"),
    ("unread-bytes-max", "a_reader_that_does_not_keep_up_is_disconnected"),
    ("unread-total-bytes-max", "an_account_that_takes_nothing_loses_its_answers_and_another_goes_on"),
    ("parked-bytes-max", "of_too_large_ones_that_are_asked_something_the_first_to_expire_is_given_up"),
    ("stderr-lines-max", "a_flood_and_an_endless_line_are_drained_and_the_last_lines_kept"),
    ("nesting-max", "json_that_is_nested_more_deeply_than_it_may_be_is_refused"),
    ("batch-max", "a_batch_of_more_messages_than_it_may_have_is_refused_as_a_whole"),
    ("subscriptions-max", "a_session_has_no_more_subscriptions_than_it_may_have"),
    ("questions-max", "a_client_is_asked_no_more_at_a_time_than_it_may_be"),
    (
        "resend-bytes-max",
        "large_requests_are_kept_up_to_a_bound_for_all_and_what_was_not_kept_fails_when_the_child_asks",
    ),
    ("tasks-max", "the_oldest_makes_room"),
    ("keys-waiting", "so_many_wait_for_a_load_and_no_longer_than_is_right"),
    ("accounts", "where_there_is_no_room_for_an_account_the_others_share_one"),
    ("message-form", "a_part_of_a_message_that_is_too_large_is_refused_and_counted"),
];

#[test]
fn every_limit_is_reached_by_a_test_that_counts_it() {
    let sources = sources(&repository().join("src")) + &sources(&repository().join("tests/integration"));
    for limit in Limit::ALL {
        let name = limit.as_str();
        let tests = REACHED.iter().filter(|(reached, _)| *reached == name).count();
        assert_eq!(tests, 1, "{name}: write a test that reaches it and counts it, and name it in REACHED, once");
    }
    for (name, test) in REACHED {
        let limit = Limit::ALL.iter().find(|limit| limit.as_str() == *name);
        let limit = limit.unwrap_or_else(|| panic!("there is no limit {name}: take it out of REACHED"));
        let text = body_of(test, &sources).unwrap_or_else(|| panic!("{name}: there is no test {test}"));
        let counts = [format!("\"{name}\""), format!("Limit::{limit:?}")];
        assert!(counts.iter().any(|count| text.contains(count)), "{test} does not count how often {name} was reached");
    }
}

/// All Rust sources below a folder, one after the other.
fn sources(folder: &Path) -> String {
    let mut text = String::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            text.push_str(&sources(&path));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            text.push_str(&fs::read_to_string(path).unwrap());
        }
    }
    text
}

/// What a test does: from its name to the brace under its `fn`.
fn body_of<'a>(test: &str, sources: &'a str) -> Option<&'a str> {
    let name = format!("fn {test}(");
    assert!(sources.matches(&name).count() < 2, "there are several tests {test}");
    let (before, after) = sources.split_once(&name)?;
    let line = before.rsplit('\n').next().unwrap_or_default();
    let indent = " ".repeat(line.len() - line.trim_start().len());
    after.split(&format!("\n{indent}}}\n")).next()
}

/// Which limits were hit how often.
async fn hits(client: &Client) -> BTreeMap<String, u64> {
    let answer = client.send(Method::GET, "/metrics", &[], "").await;
    assert_eq!(answer.status(), StatusCode::OK);
    let text = within("the metrics", answer.into_body().collect()).await.unwrap().to_bytes();
    counts(std::str::from_utf8(&text).unwrap())
}

/// What `/metrics` says of it.
pub fn counts(metrics: &str) -> BTreeMap<String, u64> {
    let series = metrics.lines().filter_map(|line| line.strip_prefix("mcp_mux_limit_hits_total{limit=\""));
    let counts = series.map(|rest| rest.split_once("\"} ").unwrap());
    counts.map(|(limit, count)| (limit.to_owned(), count.parse().unwrap())).filter(|(_, count)| *count > 0).collect()
}

pub fn counted(expected: &[(&str, u64)]) -> BTreeMap<String, u64> {
    expected.iter().map(|(limit, count)| ((*limit).to_owned(), *count)).collect()
}

/// Waits until so much is counted, which may be a moment after a client sees it.
async fn until_counted(client: &Client, expected: &[(&str, u64)]) {
    let expected = counted(expected);
    let mut found = hits(client).await;
    let wait = async {
        while found != expected {
            found = hits(client).await;
        }
    };
    let in_time = tokio::time::timeout(crate::harness::DEADLINE, wait).await.is_ok();
    assert!(in_time, "{found:?} instead of {expected:?}");
}

/// An answer of mcp-mux's own: status, `Retry-After`, and the JSON-RPC message.
async fn refusal(answer: Response<Incoming>) -> (u16, Option<String>, Value) {
    let status = answer.status().as_u16();
    let retry_after = answer.headers().get("retry-after").map(|value| value.to_str().unwrap().to_owned());
    (status, retry_after, json_body(answer).await)
}

/// The same, as it should be.
fn refused(status: u16, retry_after: Option<&str>, message: Value) -> (u16, Option<String>, Value) {
    (status, retry_after.map(str::to_owned), message)
}

/// The JSON-RPC message of an error of mcp-mux's own, without an id where that is null; `more` is what its data has besides its source and its kind.
fn error(id: Value, code: i32, kind: &str, message: &str, more: &[(&str, Value)]) -> Value {
    let mut data = json!({"source": "mcp-mux", "kind": kind});
    for (key, value) in more {
        data[*key] = value.clone();
    }
    let mut answer = json!({"jsonrpc": "2.0", "id": id, "error": {"code": code, "message": message, "data": data}});
    if id.is_null() {
        // It was refused before it was read.
        answer.as_object_mut().unwrap().remove("id");
    }
    answer
}

/// The data of an error that names its limit.
fn of(limit: &str, value: u64) -> [(&str, Value); 2] {
    [("limit", json!(limit)), ("value", json!(value))]
}

const INITIALIZE: &str = r#"{"jsonrpc":"2.0","id":"i","method":"initialize","params":{"protocolVersion":"2025-11-25","capabilities":{},"clientInfo":{"name":"t","version":"1"}}}"#;

fn call(id: &str, name: &str, arguments: Value) -> String {
    crate::harness::request(json!(id), "tools/call", json!({"name": name, "arguments": arguments}))
}

/// A call that reports progress each tenth of a second for a minute; `id` is its token, too.
fn with_progress(id: &str) -> String {
    let arguments = json!({"seconds": 60, "steps": 600});
    let params = json!({"name": "slow", "arguments": arguments, "_meta": {"progressToken": id}});
    crate::harness::request(json!(id), "tools/call", params)
}

/// Such a call that the server is at work on, and its stream.
async fn at_work(client: &Client, id: &str) -> Events {
    let mut events = Events::new(client.post(&with_progress(id)).await);
    assert_eq!(events.message().await["params"]["progressToken"], id);
    events
}
