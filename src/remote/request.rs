//! HTTP requests as the revisions want them.
//!
//! Spec: 2026-07-28, Streamable HTTP, Request Metadata; 2025-11-25, Transports, Sending Messages to the Server, Session
//! Management, Protocol Version Header.

use bytes::Bytes;
use http::header::{ACCEPT, CONTENT_TYPE, USER_AGENT};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Uri};

use super::core::Tools;
use crate::era::{annotations, envelope, headers};
use crate::jsonrpc::{Kind, Message};
use crate::mcp::{MODERN_REVISION, header, method};

/// What every request of a session has in common.
#[derive(Clone, Debug, Default)]
pub(super) struct Session {
    /// The session's id, where the server gave it one.
    pub(super) id: Option<HeaderValue>,
    /// The negotiated revision, once it is.
    pub(super) revision: Option<HeaderValue>,
}

impl Session {
    fn put(&self, headers: &mut HeaderMap) {
        let id = self.id.clone().map(|id| (header::SESSION_ID, id));
        let revision = self.revision.clone().map(|revision| (header::PROTOCOL_VERSION, revision));
        headers.extend(id.into_iter().chain(revision).map(|(name, value)| (HeaderName::from_static(name), value)));
    }
}

/// A POST of a legacy message.
pub(super) fn post(url: &Uri, session: &Session, body: Bytes) -> Request<Bytes> {
    let mut request = posted(url, body);
    session.put(request.headers_mut());
    request
}

/// A GET of an event stream; behind an event, where one is named.
pub(super) fn listen(url: &Uri, session: &Session, behind: Option<&str>) -> Request<Bytes> {
    let mut request = of(Method::GET, url, Bytes::new());
    let headers = request.headers_mut();
    headers.insert(ACCEPT, HeaderValue::from_static(EVENT_STREAM));
    session.put(headers);
    if let Some(behind) = behind.and_then(|id| HeaderValue::from_str(id).ok()) {
        headers.insert(header::LAST_EVENT_ID, behind);
    }
    request
}

/// The end of a session.
pub(super) fn delete(url: &Uri, session: &Session) -> Request<Bytes> {
    let mut request = of(Method::DELETE, url, Bytes::new());
    session.put(request.headers_mut());
    request
}

/// A POST of a modern message, with what its headers repeat of it.
pub(super) fn modern(url: &Uri, message: &Message, tools: &Tools) -> Request<Bytes> {
    let mut request = posted(url, message.bytes().clone());
    let out = request.headers_mut();
    let version = envelope::version(message).ok().and_then(|version| HeaderValue::from_str(&version).ok());
    let version = version.unwrap_or(HeaderValue::from_static(MODERN_REVISION));
    out.insert(HeaderName::from_static(header::PROTOCOL_VERSION), version);
    if let Some(value) = value(message.method()) {
        out.insert(HeaderName::from_static(header::METHOD), value);
    }
    if message.kind() != Kind::Request {
        return request;
    }
    let text = headers::name_source(message.method()).map(|source| headers::text_param(message, source));
    let Some(Ok(Some(name))) = text else { return request };
    if let Some(value) = value(&name) {
        out.insert(HeaderName::from_static(header::NAME), value);
    }
    if message.method() != method::TOOLS_CALL {
        return request;
    }
    let arguments = message.params().and_then(|params| message.member(params, "arguments").ok().flatten());
    for annotation in tools.of(&name) {
        let name = HeaderName::from_bytes(format!("{}{}", header::PARAM_PREFIX, annotation.header).as_bytes());
        let argument = annotations::value(annotation, message, arguments).and_then(|text| value(&text));
        if let (Ok(name), Some(argument)) = (name, argument) {
            out.insert(name, argument);
        }
    }
    request
}

fn value(text: &str) -> Option<HeaderValue> {
    HeaderValue::from_str(&headers::encode(text)).ok()
}

fn posted(url: &Uri, body: Bytes) -> Request<Bytes> {
    let mut request = of(Method::POST, url, body);
    request.headers_mut().insert(ACCEPT, HeaderValue::from_static("application/json, text/event-stream"));
    request.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    request
}

fn of(method: Method, url: &Uri, body: Bytes) -> Request<Bytes> {
    let mut request = Request::new(body);
    *request.method_mut() = method;
    *request.uri_mut() = url.clone();
    let agent = concat!("mcp-mux/", env!("CARGO_PKG_VERSION"));
    request.headers_mut().insert(USER_AGENT, HeaderValue::from_static(agent));
    request
}

/// What event streams are.
pub(super) const EVENT_STREAM: &str = "text/event-stream";

#[cfg(test)]
mod tests {
    use super::*;

    fn message(method: &str, params: &str) -> Message {
        let text = format!(r#"{{"jsonrpc":"2.0","id":1,"method":"{method}","params":{params}}}"#);
        Message::parse(text.into(), 100).expect("a message")
    }

    // spec: 2026-07-28 basic/transports/streamable-http, Standard Request Headers, Client Behavior
    #[test]
    fn modern_headers_repeat_the_body() {
        let url = Uri::from_static("https://example.com/mcp");
        let mut tools = Tools::default();
        tools.learn(
            r#"{"tools":[{"name":"sql","inputSchema":{"properties":{
                "region":{"type":"string","x-mcp-header":"Region"},"limit":{"type":"integer","x-mcp-header":"Limit"},
                "dry":{"type":"boolean","x-mcp-header":"Dry"},"other":{"type":"string","x-mcp-header":"Other"}}}}]}"#,
        );
        let params = r#"{"name":"sql","arguments":{"region":"Zürich","limit":42,"dry":true,"other":null}}"#;
        let request = modern(&url, &message("tools/call", params), &tools);
        let headers: Vec<_> =
            request.headers().iter().map(|(name, value)| (name.as_str(), value.to_str().unwrap())).collect();
        for expected in [
            ("accept", "application/json, text/event-stream"),
            ("content-type", "application/json"),
            ("mcp-protocol-version", "2026-07-28"),
            ("mcp-method", "tools/call"),
            ("mcp-name", "sql"),
            ("mcp-param-region", "=?base64?WsO8cmljaA==?="),
            ("mcp-param-limit", "42"),
            ("mcp-param-dry", "true"),
        ] {
            assert!(headers.contains(&expected), "{expected:?} {headers:?}");
        }
        assert!(!headers.iter().any(|(name, _)| *name == "mcp-param-other"));
        let read = modern(&url, &message("resources/read", r#"{"uri":"file:///ä"}"#), &tools);
        assert_eq!(read.headers()["mcp-name"], "=?base64?ZmlsZTovLy/DpA==?=");
    }

    // spec: 2025-11-25 basic/transports, Session Management 2, Protocol Version Header
    #[test]
    fn legacy_requests_name_their_session_and_revision() {
        let url = Uri::from_static("https://example.com/mcp");
        let session = Session { id: Some("s-1".parse().unwrap()), revision: Some("2025-11-25".parse().unwrap()) };
        for request in [post(&url, &session, Bytes::new()), listen(&url, &session, Some("3-1")), delete(&url, &session)]
        {
            assert_eq!(request.headers()["mcp-session-id"], "s-1");
            assert_eq!(request.headers()["mcp-protocol-version"], "2025-11-25");
        }
        assert_eq!(listen(&url, &session, Some("3-1")).headers()["last-event-id"], "3-1");
        assert_eq!(post(&url, &Session::default(), Bytes::new()).headers().get("mcp-session-id"), None);
    }
}
