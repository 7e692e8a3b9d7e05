//! What messages of the tasks extension (`io.modelcontextprotocol/tasks`) say of tasks.
//!
//! Spec: SEP-2663, Tasks Extension.

use std::time::Duration;

use memchr::memmem;

use crate::jsonrpc::{Message, Span, decode_str};
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

/// A request that two programs could take for one about different tasks; which member it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0} must be there once, spelled like that, and hold what it has to")]
pub struct Unclear(&'static str);

/// The tasks that a request is about: the one it names, or those that a subscription is to tell of. Whose a task is, is
/// decided by that, so nothing is left to how its server reads what is unclear.
///
/// # Errors
/// The request could be about others as well.
pub fn named(message: &Message) -> Result<Vec<String>, Unclear> {
    let method = message.method();
    let Some(params) = message.params() else { return Ok(Vec::new()) };
    if method.eq_ignore_ascii_case(method::LISTEN) {
        let Some(filter) = only(message, params, "notifications")? else { return Ok(Vec::new()) };
        let Some(ids) = only(message, filter, "taskIds")? else { return Ok(Vec::new()) };
        serde_json::from_str(message.text(ids)).map_err(|_| Unclear("taskIds"))
    } else if method.get(..TASKS.len()).is_some_and(|start| start.eq_ignore_ascii_case(TASKS)) {
        let Some(id) = only(message, params, "taskId")? else { return Ok(Vec::new()) };
        let id = decode_str(message.text(id)).ok_or(Unclear("taskId"))?;
        Ok(vec![id.into_owned()])
    } else {
        Ok(Vec::new())
    }
}

/// The one member that bears a name, in whatever upper or lower case it is written; none if there is none.
fn only(message: &Message, object: Span, name: &'static str) -> Result<Option<Span>, Unclear> {
    let mut found = message.members(object).into_iter().filter(|member| message.is_named(*member, name));
    let (first, second) = (found.next(), found.next());
    let exact = message.member(object, name).map_err(|_| Unclear(name))?;
    if second.is_some() || (first.is_some() && exact.is_none()) { Err(Unclear(name)) } else { Ok(exact) }
}

const TASKS: &str = "tasks/";

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
            ("tools/call", r#"{"taskId":"t"}"#, &[]),
            ("subscriptions/listen", r#"{"notifications":{"taskIds":["a","b"]}}"#, &["a", "b"]),
            ("Tasks/Get", r#"{"taskId":"t"}"#, &["t"]),
            ("subscriptions/listen", "{}", &[]),
        ] {
            let text = format!(r#"{{"jsonrpc":"2.0","id":1,"method":"{method}","params":{params}}}"#);
            assert_eq!(named(&message(&text)).expect("clear"), expected, "{text}");
        }
    }

    // DESIGN section 2, invariant 2
    #[test]
    fn a_request_that_could_be_about_other_tasks_is_refused() {
        for (method, params) in [
            ("tasks/get", r#"{"taskId":7}"#),
            ("tasks/get", r#"{"taskId":"mine","taskId":"anothers"}"#),
            ("tasks/get", r#"{"TaskId":"anothers"}"#),
            ("tasks/get", r#"{"taskId":"mine","TASKID":"anothers"}"#),
            ("subscriptions/listen", r#"{"notifications":{"taskIds":7}}"#),
            ("subscriptions/listen", r#"{"notifications":{"taskIds":["a",7]}}"#),
            ("subscriptions/listen", r#"{"notifications":{"taskIds":["a"],"taskIds":["b"]}}"#),
            ("subscriptions/listen", r#"{"notifications":{"taskIds":["a"]},"notifications":{"taskIds":["b"]}}"#),
            ("subscriptions/listen", r#"{"Notifications":{"taskIds":["b"]}}"#),
            ("subscriptions/listen", r#"{"notifications":{"TaskIds":["b"]}}"#),
        ] {
            let text = format!(r#"{{"jsonrpc":"2.0","id":1,"method":"{method}","params":{params}}}"#);
            let parsed = Message::parse(text.clone().into(), DEPTH_MAX);
            assert!(parsed.map_or(true, |message| named(&message).is_err()), "{text}");
        }
    }
}
