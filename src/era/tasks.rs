//! What messages of the tasks extension (`io.modelcontextprotocol/tasks`) say of tasks.
//!
//! Spec: SEP-2663, Tasks Extension.

use std::time::Duration;

use memchr::memmem;

use crate::jsonrpc::{Message, Span, decode_str};
use crate::mcp::ids::Param;
use crate::mcp::method;

/// What a server tells of a task.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Told {
    /// The server's own handle.
    pub id: String,
    /// Whether this is the answer that makes it known.
    pub is_new: bool,
    /// Whether it has come to its end.
    pub is_over: bool,
    /// For how long it is kept from its beginning; none if the server sets no limit.
    pub ttl: Option<Duration>,
}

/// What a result, or a `notifications/tasks`, tells of a task; none if it tells of none.
pub fn told(message: &Message) -> Option<Told> {
    let object = match message.method() {
        "" => message.result()?,
        method::TASKS => message.params()?,
        _ => return None,
    };
    // Most results are of no task, and some are large.
    memmem::find(message.bytes(), b"\"taskId\"")?;
    let member = |name| message.member(object, name).ok().flatten();
    let text = |span: Span| decode_str(message.text(span));
    let id = text(member("taskId")?)?.into_owned();
    let status = text(member("status")?)?;
    let ttl = member("ttlMs").and_then(|span| message.text(span).parse().ok()).map(Duration::from_millis);
    let is_new = member("resultType").and_then(text).as_deref() == Some("task");
    Some(Told { id, is_new, is_over: matches!(&*status, "completed" | "failed" | "cancelled"), ttl })
}

/// The tasks that a request is about: the one it names, or those that a subscription is to tell of.
pub fn named(message: &Message) -> Vec<String> {
    match message.method() {
        method::LISTEN => {
            let member = |object, name| message.member(object, name).ok().flatten();
            let ids = message.params().and_then(|params| member(params, "notifications"));
            let ids = ids.and_then(|filter| member(filter, "taskIds"));
            ids.and_then(|span| serde_json::from_str(message.text(span)).ok()).unwrap_or_default()
        }
        method if method.starts_with("tasks/") => {
            message.param_str(Param::TaskId).map(std::borrow::Cow::into_owned).into_iter().collect()
        }
        _ => Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::jsonrpc::DEPTH_MAX;

    fn message(text: &str) -> Message {
        Message::parse(text.to_owned().into(), DEPTH_MAX).expect("a message")
    }

    fn result(result: &str) -> Option<Told> {
        told(&message(&format!(r#"{{"jsonrpc":"2.0","id":1,"result":{result}}}"#)))
    }

    #[test]
    fn results_and_notifications_tell_of_their_task() {
        let working = Told { id: "t".to_owned(), is_new: true, is_over: false, ttl: Some(Duration::from_secs(60)) };
        let created = r#"{"resultType":"task","taskId":"t","status":"working","ttlMs":60000}"#;
        assert_eq!(result(created), Some(working.clone()));
        let polled = created.replace("\"task\"", "\"complete\"");
        assert_eq!(result(&polled), Some(Told { is_new: false, ..working.clone() }));
        for (status, is_over) in
            [("input_required", false), ("completed", true), ("failed", true), ("cancelled", true), ("x", false)]
        {
            let told = Told { is_over, ttl: None, ..working.clone() };
            assert_eq!(result(&created.replace("working", status).replace("60000", "null")), Some(told));
        }
        let notification = message(
            r#"{"jsonrpc":"2.0","method":"notifications/tasks","params":{"taskId":"t","status":"working","ttlMs":60000}}"#,
        );
        assert_eq!(told(&notification), Some(Told { is_new: false, ..working }));
        for none in ["{}", "7", r#"{"taskId":7,"status":"working"}"#, r#"{"taskId":"t"}"#, r#"{"x":{"taskId":"t"}}"#] {
            assert_eq!(result(none), None, "{none}");
        }
    }

    #[test]
    fn requests_name_their_tasks() {
        for (method, params, expected) in [
            ("tasks/get", r#"{"taskId":"t\u0031"}"#, &["t1"][..]),
            ("tasks/x", r#"{"taskId":"t"}"#, &["t"]),
            ("tasks/get", r#"{"taskId":7}"#, &[]),
            ("tools/call", r#"{"taskId":"t"}"#, &[]),
            ("subscriptions/listen", r#"{"notifications":{"taskIds":["a","b"]}}"#, &["a", "b"]),
            ("subscriptions/listen", r#"{"notifications":{"taskIds":7}}"#, &[]),
            ("subscriptions/listen", "{}", &[]),
        ] {
            let text = format!(r#"{{"jsonrpc":"2.0","id":1,"method":"{method}","params":{params}}}"#);
            assert_eq!(named(&message(&text)), expected, "{text}");
        }
    }
}
