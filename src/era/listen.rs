//! `subscriptions/listen`: what is asked for, what is agreed to, and the events that carry the subscription's id.
//!
//! Spec: 2026-07-28, Subscriptions.

use serde_json::{Map, Value, json};

use super::discover::News;
use super::edit;
use crate::jsonrpc::{self, Frame, Message, RawId, Span, decode_str};
use crate::mcp::ids::{Param, meta};
use crate::mcp::method;

/// The `notifications` of a `subscriptions/listen` request.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names are the specification's")]
pub struct Filter {
    pub tools_list_changed: bool,
    pub prompts_list_changed: bool,
    pub resources_list_changed: bool,
    pub resource_subscriptions: Vec<String>,
}

/// Why what is asked for cannot be had.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoFilter {
    /// It is none.
    #[error(
        "params.notifications must be a filter: an object with `true` or `false` for each list, and \
         `resourceSubscriptions` an array of strings"
    )]
    Malformed,
    /// It is more than one may have.
    #[error("params.notifications must not have more than {0} resourceSubscriptions (--subscriptions-max)")]
    TooMany(usize),
}

impl Filter {
    /// Reads it, and of the resources no further than to one too many.
    ///
    /// # Errors
    /// It is missing, not what it has to be, or too much.
    pub fn read(message: &Message, subscriptions_max: usize) -> Result<Self, NoFilter> {
        let names = ["toolsListChanged", "promptsListChanged", "resourcesListChanged", "resourceSubscriptions"];
        let span = message.params().and_then(|params| message.member(params, "notifications").ok()?);
        let object = span.filter(|span| message.text(*span).starts_with('{')).ok_or(NoFilter::Malformed)?;
        let [tools, prompts, resources, uris] = message.named(object, names).map_err(|_| NoFilter::Malformed)?;
        let wanted = |list: Option<Span>| match list.map(|span| message.text(span)) {
            None | Some("false") => Ok(false),
            Some("true") => Ok(true),
            Some(_) => Err(NoFilter::Malformed),
        };
        let uris = uris.map(|span| texts(message, span, subscriptions_max)).transpose()?;
        Ok(Self {
            tools_list_changed: wanted(tools)?,
            prompts_list_changed: wanted(prompts)?,
            resources_list_changed: wanted(resources)?,
            resource_subscriptions: uris.unwrap_or_default(),
        })
    }

    /// What of it a child can do.
    pub fn narrow(&mut self, news: News) {
        self.tools_list_changed &= news.tools_list_changed;
        self.prompts_list_changed &= news.prompts_list_changed;
        self.resources_list_changed &= news.resources_list_changed;
        if !news.resource_subscriptions {
            self.resource_subscriptions.clear();
        }
        let mut seen = std::collections::BTreeSet::new();
        self.resource_subscriptions.retain(|uri| seen.insert(uri.clone()));
    }

    /// Whether a notification with this method was asked for.
    pub fn admits(&self, method: &str) -> bool {
        match method {
            method::TOOLS_LIST_CHANGED => self.tools_list_changed,
            method::PROMPTS_LIST_CHANGED => self.prompts_list_changed,
            method::RESOURCES_LIST_CHANGED => self.resources_list_changed,
            method::RESOURCE_UPDATED => !self.resource_subscriptions.is_empty(),
            _ => false,
        }
    }

    /// The first message of the stream.
    pub fn acknowledgement(&self, id: &RawId) -> Frame {
        let mut honoured = Map::new();
        for (name, value) in [
            ("toolsListChanged", self.tools_list_changed),
            ("promptsListChanged", self.prompts_list_changed),
            ("resourcesListChanged", self.resources_list_changed),
        ] {
            if value {
                honoured.insert(name.to_owned(), json!(true));
            }
        }
        if !self.resource_subscriptions.is_empty() {
            honoured.insert("resourceSubscriptions".to_owned(), json!(self.resource_subscriptions));
        }
        let params = format!(r#"{{{},"notifications":{}}}"#, own_meta(id), Value::Object(honoured));
        jsonrpc::notification(method::ACKNOWLEDGED, Some(&params))
    }
}

/// The strings of the array at `array`.
fn texts(message: &Message, array: Span, count_max: usize) -> Result<Vec<String>, NoFilter> {
    if !message.text(array).starts_with('[') {
        return Err(NoFilter::Malformed);
    }
    let mut texts = Vec::new();
    for element in message.elements(array) {
        if texts.len() >= count_max {
            return Err(NoFilter::TooMany(count_max));
        }
        texts.push(decode_str(message.text(element)).ok_or(NoFilter::Malformed)?.into_owned());
    }
    Ok(texts)
}

/// A notification of the child as an event of this subscription.
pub fn event(message: &Message, id: &RawId) -> Frame {
    let frame = Frame::new(message.bytes().clone());
    let member = format!(r#""{}":{}"#, meta::SUBSCRIPTION_ID, id.as_str());
    match (message.params(), message.param(Param::Meta).filter(|span| message.text(*span).starts_with('{'))) {
        (_, Some(object)) => edit::insert(frame, message, object, &member),
        (Some(params), None) => edit::insert(frame, message, params, &own_meta(id)),
        (None, _) => jsonrpc::notification(message.method(), Some(&format!("{{{}}}", own_meta(id)))),
    }
}

/// The response that ends a subscription as it should end.
pub fn graceful_end(id: &RawId) -> Frame {
    jsonrpc::result_response(id, &format!(r#"{{"resultType":"complete",{}}}"#, own_meta(id)))
}

fn own_meta(id: &RawId) -> String {
    format!(r#""_meta":{{"{}":{}}}"#, meta::SUBSCRIPTION_ID, id.as_str())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::jsonrpc::DEPTH_MAX;

    fn message(text: &str) -> Message {
        Message::parse(text.to_owned().into(), DEPTH_MAX).expect("a message")
    }

    fn json(frame: Frame) -> Value {
        serde_json::from_slice(&frame.into_bytes()).expect("JSON")
    }

    fn filter(notifications: &str) -> Result<Filter, NoFilter> {
        let params = format!(r#"{{"notifications":{notifications}}}"#);
        Filter::read(
            &message(&format!(r#"{{"jsonrpc":"2.0","id":1,"method":"subscriptions/listen","params":{params}}}"#)),
            3,
        )
    }

    // spec: 2026-07-28 basic/patterns/subscriptions, Acknowledgment
    #[test]
    fn only_what_is_honoured_is_acknowledged_under_the_ids_own_type() {
        let all = r#"{"toolsListChanged":true,"promptsListChanged":true,"resourceSubscriptions":["a","b","a"]}"#;
        let mut filter = filter(all).expect("a filter");
        filter.narrow(News { tools_list_changed: true, resource_subscriptions: true, ..News::default() });
        for id in ["7", "\"7\""] {
            let acknowledged = json(filter.acknowledgement(&RawId::from_json(id)));
            let id: Value = serde_json::from_str(id).expect("JSON");
            assert_eq!(
                acknowledged,
                json!({"jsonrpc": "2.0", "method": "notifications/subscriptions/acknowledged", "params": {
                    "_meta": {"io.modelcontextprotocol/subscriptionId": id},
                    "notifications": {"toolsListChanged": true, "resourceSubscriptions": ["a", "b"]},
                }})
            );
        }
        filter.narrow(News::default());
        assert_eq!(filter, Filter::default());
    }

    #[test]
    fn what_is_no_filter_is_none() {
        assert_eq!(filter("{}"), Ok(Filter::default()));
        let wrong = ["7", "[]", r#"{"resourceSubscriptions":"a"}"#, r#"{"resourceSubscriptions":[7]}"#, "null"];
        let unclear = [r#"{"toolsListChanged":1}"#, r#"{"toolsListChanged":true,"toolsListChanged":false}"#];
        for wrong in wrong.into_iter().chain(unclear) {
            assert_eq!(filter(wrong), Err(NoFilter::Malformed), "{wrong}");
        }
        let without = message(r#"{"jsonrpc":"2.0","id":1,"method":"m"}"#);
        assert_eq!(Filter::read(&without, 3), Err(NoFilter::Malformed));
        let many = |count| format!(r#"{{"resourceSubscriptions":[{}]}}"#, vec![r#""a""#; count].join(","));
        assert_eq!(filter(&many(3)).map(|filter| filter.resource_subscriptions.len()), Ok(3));
        assert_eq!(filter(&many(4)), Err(NoFilter::TooMany(3)));
    }

    #[test]
    fn events_carry_the_subscription() {
        let id = RawId::from_json("\"L\"");
        for (params, expected) in [
            ("", json!({"_meta": {"io.modelcontextprotocol/subscriptionId": "L"}})),
            (r#","params":{}"#, json!({"_meta": {"io.modelcontextprotocol/subscriptionId": "L"}})),
            (
                r#","params":{"uri":"u","_meta":{"x":1}}"#,
                json!({"uri": "u", "_meta": {"x": 1, "io.modelcontextprotocol/subscriptionId": "L"}}),
            ),
        ] {
            let text = format!(r#"{{"jsonrpc":"2.0","method":"notifications/resources/updated"{params}}}"#);
            assert_eq!(json(event(&message(&text), &id))["params"], expected);
        }
    }
}
