//! Reading a request: its headers as typed values, its body as one message or a batch. And refusing one.

use std::cmp::Ordering;
use std::pin::pin;

use bytes::{Bytes, BytesMut};
use http::header::{ACCEPT, ALLOW, CONTENT_LENGTH, CONTENT_TYPE, RETRY_AFTER};
use http::{HeaderMap, HeaderValue, Response, StatusCode};
use http_body_util::BodyExt;
use hyper::body::Body as HttpBody;

use super::body::Body;
use crate::config::EndpointConfig;
use crate::error::Reject;
use crate::jsonrpc::{self, Kind, ParseError, RawId};
use crate::mcp::{MODERN_REVISION, Revision, header};
use crate::metrics::{Counter, Limit, ServerMetrics, limit_hit};

/// A request that is refused: why, and which JSON-RPC request the answer is to name.
#[derive(Debug)]
pub(super) struct Refusal {
    /// Why.
    pub(super) reject: Reject,
    /// The request's id, where it is known.
    pub(super) id: Option<RawId>,
    /// Whether it is counted and in the access log already.
    pub(super) seen: bool,
}

impl From<Reject> for Refusal {
    fn from(reject: Reject) -> Self {
        Self { reject, id: None, seen: false }
    }
}

impl From<ParseError> for Refusal {
    fn from(error: ParseError) -> Self {
        let text = error.to_string();
        if let Some(limit) = limit_of(&error) {
            limit_hit(limit);
        }
        match error {
            ParseError::Utf8(_) | ParseError::Json { .. } => Reject::Parse(text).into(),
            ParseError::Depth(_) | ParseError::Batch | ParseError::BatchLength(_) | ParseError::IdLength => {
                Reject::InvalidRequest(text).into()
            }
            ParseError::Envelope { id, .. } => Self::of(Reject::InvalidRequest(text), id),
        }
    }
}

/// The limit that a message goes beyond, if that is what is wrong with it.
const fn limit_of(error: &ParseError) -> Option<Limit> {
    match error {
        ParseError::Depth(_) => Some(Limit::NestingMax),
        ParseError::BatchLength(_) => Some(Limit::BatchMax),
        ParseError::IdLength => Some(Limit::MessageForm),
        ParseError::Utf8(_) | ParseError::Json { .. } | ParseError::Batch | ParseError::Envelope { .. } => None,
    }
}

impl Refusal {
    /// For the request with this id.
    pub(super) const fn of(reject: Reject, id: Option<RawId>) -> Self {
        Self { reject, id, seen: false }
    }

    /// The HTTP response.
    pub(super) fn into_response(self) -> Response<Body> {
        let frame = jsonrpc::error_response(self.id.as_ref(), &self.reject.error_object());
        let mut response = json(self.reject.wire().status, frame.into_bytes());
        if let Some(wait) = self.reject.retry_after() {
            response.headers_mut().insert(RETRY_AFTER, HeaderValue::from(wait.as_secs()));
        }
        if let Some(allowed) = self.reject.allowed_methods() {
            response.headers_mut().insert(ALLOW, HeaderValue::from_static(allowed));
        }
        response
    }
}

/// A JSON response.
pub(super) fn json(status: StatusCode, body: impl Into<Body>) -> Response<Body> {
    let mut response = Response::new(body.into());
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(JSON));
    response
}

/// A response without a body.
pub(super) fn empty(status: StatusCode) -> Response<Body> {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = status;
    response
}

/// What the answer to a POST may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Accept {
    /// JSON and nothing else.
    Json,
    /// An event stream and nothing else.
    Events,
    /// Either.
    Both,
}

impl Accept {
    /// What the `Accept` headers of a POST admit.
    ///
    /// # Errors
    /// [`Reject::NotAcceptable`] if neither.
    pub(super) fn of_post(headers: &HeaderMap) -> Result<Self, Reject> {
        match admitted(headers, [JSON, EVENT_STREAM]) {
            [true, true] => Ok(Self::Both),
            [true, false] => Ok(Self::Json),
            [false, true] => Ok(Self::Events),
            [false, false] => Err(Reject::NotAcceptable("application/json and text/event-stream")),
        }
    }
}

/// Checks that an event stream is admitted.
///
/// # Errors
/// [`Reject::NotAcceptable`].
pub(super) fn accepts_events(headers: &HeaderMap) -> Result<(), Reject> {
    let [admitted] = admitted(headers, [EVENT_STREAM]);
    if admitted { Ok(()) } else { Err(Reject::NotAcceptable(EVENT_STREAM)) }
}

/// Which of these media types `Accept` admits: for each the most specific range that matches decides (RFC 9110, 12.5.1).
fn admitted<const COUNT: usize>(headers: &HeaderMap, media_types: [&str; COUNT]) -> [bool; COUNT] {
    if !headers.contains_key(ACCEPT) {
        return [true; COUNT];
    }
    let mut best = media_types.map(|media_type| (media_type, Match::default()));
    for range in headers.get_all(ACCEPT).iter().flat_map(|value| value.as_bytes().split(|byte| *byte == b',')) {
        let range = range.trim_ascii();
        // As nearly all clients spell it: the type and nothing else.
        if let Some((_, found)) = best.iter_mut().find(|(name, _)| range.eq_ignore_ascii_case(name.as_bytes())) {
            *found = Match { specificity: 3, admitted: true };
            continue;
        }
        let Ok(range) = std::str::from_utf8(range) else { continue };
        for (media_type, found) in &mut best {
            *found = found.or(Match::of(range, media_type));
        }
    }
    best.map(|(_, found)| found.admitted)
}

/// How a media type fares with the ranges of `Accept`.
#[derive(Clone, Copy, Debug, Default)]
struct Match {
    /// Of the range that decides; zero while none has matched.
    specificity: u8,
    admitted: bool,
}

impl Match {
    /// What this range says of a media type.
    fn of(range: &str, media_type: &str) -> Self {
        let kind = media_type.split('/').next().unwrap_or_default();
        let mut parts = range.split(';').map(str::trim);
        let name = parts.next().unwrap_or_default();
        let specificity = if name.eq_ignore_ascii_case(media_type) {
            3
        } else if name.split_once('/').is_some_and(|(of, sub)| sub == "*" && of.eq_ignore_ascii_case(kind)) {
            2
        } else if name == "*/*" {
            1
        } else {
            return Self::default();
        };
        let refused = parts
            .filter_map(|parameter| parameter.split_once('='))
            .any(|(name, value)| name.trim().eq_ignore_ascii_case("q") && value.trim().parse() == Ok(0.0_f32));
        Self { specificity, admitted: !refused }
    }

    /// What two ranges together say.
    fn or(self, other: Self) -> Self {
        match self.specificity.cmp(&other.specificity) {
            Ordering::Less => other,
            Ordering::Equal => Self { admitted: self.admitted || other.admitted, ..self },
            Ordering::Greater => self,
        }
    }
}

/// Checks that the body is declared as JSON; parameters such as `charset` do not matter.
///
/// # Errors
/// [`Reject::UnsupportedMediaType`].
pub(super) fn content_type_is_json(headers: &HeaderMap) -> Result<(), Reject> {
    let value = headers.get(CONTENT_TYPE).map(HeaderValue::as_bytes).unwrap_or_default();
    let media_type = value.split(|byte| *byte == b';').next().unwrap_or_default().trim_ascii();
    if media_type.eq_ignore_ascii_case(JSON.as_bytes()) { Ok(()) } else { Err(Reject::UnsupportedMediaType) }
}

/// `Mcp-Session-Id`, where it is there.
///
/// # Errors
/// There are several, or it is no visible ASCII.
pub(super) fn session_id(headers: &HeaderMap) -> Result<Option<&str>, Reject> {
    let mut values = headers.get_all(header::SESSION_ID).iter();
    let Some(value) = values.next() else { return Ok(None) };
    if values.next().is_some() {
        return Err(Reject::InvalidRequest("more than one Mcp-Session-Id header".to_owned()));
    }
    value.to_str().map(Some).map_err(|_| Reject::SessionUnknown)
}

/// `MCP-Protocol-Version`, where it is there.
///
/// # Errors
/// [`Reject::VersionUnsupported`].
pub(super) fn protocol_version(headers: &HeaderMap) -> Result<Option<Revision>, Reject> {
    let mut values = headers.get_all(header::PROTOCOL_VERSION).iter();
    let Some(value) = values.next() else { return Ok(None) };
    let revision = value.to_str().ok().and_then(|text| text.trim().parse().ok());
    match (revision, values.next()) {
        (Some(revision), None) => Ok(Some(revision)),
        (Some(_) | None, _) => Err(Reject::VersionUnsupported),
    }
}

/// Whether `MCP-Protocol-Version` names the modern revision, and nothing else.
pub(super) fn is_modern(headers: &HeaderMap) -> bool {
    let mut values = headers.get_all(header::PROTOCOL_VERSION).iter();
    values.next().is_some_and(|value| value == MODERN_REVISION) && values.next().is_none()
}

/// Whether something is asked for, and not only answered or told.
pub(super) fn asks(body: &jsonrpc::Body) -> bool {
    match body {
        jsonrpc::Body::Single(message) => message.kind() == Kind::Request,
        jsonrpc::Body::Batch(elements) => elements.iter().flatten().any(|message| message.kind() == Kind::Request),
    }
}

/// Reads a body and parses it.
///
/// # Errors
/// [`Reject::BodyTooLarge`], [`Reject::BodyTimeout`], and what is wrong with its content.
pub(super) async fn read_message<B>(
    headers: &HeaderMap,
    body: B,
    config: &EndpointConfig,
    metrics: &ServerMetrics,
) -> Result<jsonrpc::Body, Refusal>
where
    B: HttpBody<Data = Bytes>,
{
    let read = read(headers, body, config.body_bytes_max);
    let bytes = tokio::time::timeout(config.body_timeout, read)
        .await
        .map_err(|_| Reject::BodyTimeout(config.body_timeout).counted())??;
    metrics.add_bytes(Counter::ClientReceived, bytes.len());
    Ok(jsonrpc::parse_body(bytes, config.bounds.nesting_max, config.bounds.batch_max)?)
}

/// A body in one piece: the very buffer it arrived in where that was one, else copied once.
async fn read<B>(headers: &HeaderMap, body: B, limit: usize) -> Result<Bytes, Reject>
where
    B: HttpBody<Data = Bytes>,
{
    let too_large = || Reject::BodyTooLarge { limit }.counted();
    let declared = headers.get(CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse::<u64>().ok());
    let declared = match declared.map(usize::try_from) {
        Some(Ok(length)) if length <= limit => length,
        Some(_) => return Err(too_large()),
        None => 0,
    };
    let mut body = pin!(body);
    let mut first = Bytes::new();
    let mut rest = BytesMut::new();
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|_| Reject::Parse("the body ended early".to_owned()))?;
        let Ok(data) = frame.into_data() else { continue };
        if first.len() + rest.len() + data.len() > limit {
            return Err(too_large());
        }
        if first.is_empty() && rest.is_empty() {
            first = data;
        } else {
            if rest.is_empty() {
                rest.reserve(declared.max(first.len() + data.len()));
                rest.extend_from_slice(&std::mem::take(&mut first));
            }
            rest.extend_from_slice(&data);
        }
    }
    Ok(if rest.is_empty() { first } else { rest.freeze() })
}

/// The media type of a message.
const JSON: &str = "application/json";
/// The media type of an event stream.
pub(super) const EVENT_STREAM: &str = "text/event-stream";

#[cfg(test)]
mod tests {
    use super::*;

    fn accept(values: &[&'static str]) -> HeaderMap {
        values.iter().map(|value| (ACCEPT, HeaderValue::from_static(value))).collect()
    }

    #[test]
    fn accept_is_read_as_rfc_9110_says() {
        let of = |values: &[&'static str]| Accept::of_post(&accept(values)).ok();
        assert_eq!(of(&[]), Some(Accept::Both));
        assert_eq!(of(&["*/*"]), Some(Accept::Both));
        assert_eq!(of(&["application/json, text/event-stream"]), Some(Accept::Both));
        assert_eq!(of(&["application/json", "text/event-stream"]), Some(Accept::Both));
        assert_eq!(of(&["Application/JSON; charset=utf-8"]), Some(Accept::Json));
        assert_eq!(of(&["application/*"]), Some(Accept::Json));
        assert_eq!(of(&["text/*;q=0.5"]), Some(Accept::Events));
        assert_eq!(of(&["*/*, application/json;q=0"]), Some(Accept::Events));
        assert_eq!(of(&["application/json;Q=0.000, text/html"]), None);
        assert_eq!(of(&["text/html"]), None);
        assert_eq!(of(&[""]), None);
    }

    #[test]
    fn content_type_may_have_parameters() {
        let of = |value: &'static str| {
            content_type_is_json(&[(CONTENT_TYPE, HeaderValue::from_static(value))].into_iter().collect()).is_ok()
        };
        assert!(of("application/json") && of("Application/Json ; charset=UTF-8"));
        assert!(!of("text/plain") && !of("application/jsonl") && !of(""));
        assert!(content_type_is_json(&HeaderMap::new()).is_err());
    }

    // spec: 2025-06-18 basic/transports, Protocol Version Header
    #[test]
    fn protocol_version_must_be_one_we_serve() {
        let of = |values: &[&'static str]| {
            protocol_version(
                &values
                    .iter()
                    .map(|value| ("mcp-protocol-version".parse().expect("name"), HeaderValue::from_static(value)))
                    .collect(),
            )
        };
        assert_eq!(of(&[]), Ok(None));
        assert_eq!(of(&["2025-06-18"]), Ok(Some(Revision::V2025_06_18)));
        for wrong in [&["2026-07-28"][..], &["x"], &[""], &["2025-06-18", "2025-06-18"]] {
            assert_eq!(of(wrong), Err(Reject::VersionUnsupported), "{wrong:?}");
        }
    }

    #[tokio::test]
    async fn body_limit_holds_with_and_without_a_declared_length() {
        use http_body_util::Full;
        let body = || Full::new(Bytes::from_static(b"0123456789"));
        let declared =
            |length: &'static str| [(CONTENT_LENGTH, HeaderValue::from_static(length))].into_iter().collect();
        assert_eq!(read(&HeaderMap::new(), body(), 10).await, Ok(Bytes::from_static(b"0123456789")));
        for headers in [HeaderMap::new(), declared("10"), declared("99999999999999999999"), declared("3")] {
            assert_eq!(read(&headers, body(), 9).await, Err(Reject::BodyTooLarge { limit: 9 }), "{headers:?}");
        }
    }
}
