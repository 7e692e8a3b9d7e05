//! Which era a server speaks, for a client of 2026-07-28.
//!
//! `server/discover` is asked, which changes nothing; a server of the older era could take a client's own first request for
//! one of its own.
//!
//! Spec: 2026-07-28, Streamable HTTP, Backward Compatibility; Versioning.

use std::time::Duration;

use bytes::Bytes;
use http::{StatusCode, Uri};
use http_body_util::{BodyExt as _, Limited};
use serde_json::Value;
use tokio::time::timeout;
use tracing::{debug, info};

use super::core::Tools;
use super::events::EventReader;
use super::request;
use super::service::Service;
use crate::era::legacy::{error_code, own_meta};
use crate::jsonrpc::{self, Kind, Message};
use crate::mcp::{Era, MODERN_REVISION, code, method};

/// Asks; none if the server could not be reached, or does not say.
pub(crate) async fn era(service: &dyn Service, url: &Uri) -> Option<Era> {
    let found = timeout(TIMEOUT, ask(service, url)).await.ok().flatten();
    match found {
        Some(Era::Modern) => info!("the remote server speaks 2026-07-28"),
        Some(Era::Legacy) => info!("the remote server speaks an older revision than 2026-07-28"),
        None => info!("the remote server does not say what it speaks"),
    }
    found
}

async fn ask(service: &dyn Service, url: &Uri) -> Option<Era> {
    let params = format!(r#"{{"_meta":{}}}"#, own_meta());
    let frame = jsonrpc::request("\"mcp-mux-discover\"", method::DISCOVER, Some(&params));
    let message = Message::parse(frame.into_bytes(), usize::MAX).ok()?;
    let answer = service.call(request::modern(url, &message, &Tools::default())).await;
    let answer = answer.inspect_err(|failure| debug!(why = failure.what, "no answer")).ok()?;
    let status = answer.status();
    let mut body = Limited::new(answer.into_body(), BYTES_MAX);
    let mut bytes = Vec::new();
    let mut events = EventReader::new(BYTES_MAX);
    let mut found = None;
    while let Some(frame) = body.frame().await {
        let Ok(data) = frame.map(|frame| frame.into_data().unwrap_or_default()) else { break };
        bytes.extend_from_slice(&data);
        let _ = events.feed(&data, |event| found = found.take().or_else(|| response(event.data?)));
        if found.is_some() {
            break;
        }
    }
    judge(status, found.or_else(|| response(bytes.into())).as_ref())
}

fn response(data: Bytes) -> Option<Message> {
    let message = Message::parse(data, usize::MAX).ok()?;
    matches!(message.kind(), Kind::Result | Kind::Error).then_some(message)
}

/// What an answer to `server/discover` says.
fn judge(status: StatusCode, answer: Option<&Message>) -> Option<Era> {
    let lists = |versions: Option<&Value>| {
        versions.and_then(Value::as_array).is_some_and(|all| all.iter().any(|one| one == MODERN_REVISION))
    };
    let value = |span| answer.and_then(|answer| serde_json::from_str::<Value>(answer.text(span)).ok());
    if let Some(result) = answer.and_then(|answer| answer.result()).and_then(value) {
        return Some(if lists(result.get("supportedVersions")) { Era::Modern } else { Era::Legacy });
    }
    let error = answer.and_then(|answer| answer.error()).and_then(value);
    match (answer.and_then(error_code), error) {
        (Some(code::HEADER_MISMATCH | code::MISSING_CAPABILITY), _) => Some(Era::Modern),
        (Some(code::UNSUPPORTED_VERSION), Some(error)) => {
            Some(if lists(error.pointer("/data/supported")) { Era::Modern } else { Era::Legacy })
        }
        _ if status == StatusCode::UNAUTHORIZED || status == StatusCode::FORBIDDEN => None,
        _ if status.is_client_error() || status.is_success() => Some(Era::Legacy),
        _ => None,
    }
}

const TIMEOUT: Duration = Duration::from_secs(10);
const BYTES_MAX: usize = 1 << 20;

#[cfg(test)]
mod tests {
    use super::*;

    // spec: 2026-07-28 basic/transports/streamable-http, Backward Compatibility
    #[test]
    fn the_answer_to_discover_says_the_era() {
        let judge = |status: u16, body: &str| {
            judge(
                StatusCode::from_u16(status).expect("a status"),
                response(Bytes::copy_from_slice(body.as_bytes())).as_ref(),
            )
        };
        let error = |code: i32, data: &str| {
            format!(r#"{{"jsonrpc":"2.0","id":1,"error":{{"code":{code},"message":"","data":{data}}}}}"#)
        };
        for (status, body, era) in [
            (
                200,
                r#"{"jsonrpc":"2.0","id":1,"result":{"supportedVersions":["2026-07-28"]}}"#.to_owned(),
                Some(Era::Modern),
            ),
            (200, r#"{"jsonrpc":"2.0","id":1,"result":{}}"#.to_owned(), Some(Era::Legacy)),
            (200, error(-32601, "{}"), Some(Era::Legacy)),
            (400, error(-32022, r#"{"supported":["2026-07-28"]}"#), Some(Era::Modern)),
            (400, error(-32022, r#"{"supported":["2025-11-25"]}"#), Some(Era::Legacy)),
            (400, error(-32020, "{}"), Some(Era::Modern)),
            (400, error(-32000, "{}"), Some(Era::Legacy)),
            (400, String::new(), Some(Era::Legacy)),
            (404, "not found".to_owned(), Some(Era::Legacy)),
            (405, String::new(), Some(Era::Legacy)),
            (401, String::new(), None),
            (503, String::new(), None),
        ] {
            assert_eq!(judge(status, &body), era, "{status} {body}");
        }
    }
}
