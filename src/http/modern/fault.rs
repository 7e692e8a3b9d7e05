//! What is wrong with a modern request, and how that looks on the wire.
//!
//! Spec: 2026-07-28, Overview, Error Codes; Streamable HTTP, Server Validation.

use std::time::Duration;

use http::StatusCode;
use serde_json::{Value, json};

use super::super::observe::Verdict;
use super::steps::Last;
use crate::era::envelope::EnvelopeError;
use crate::era::listen::NoFilter;
use crate::error::Reject;
use crate::jsonrpc::{self, RawId};
use crate::mcp::{Era, MODERN_REVISION, code};
use crate::metrics::{Limit, Outcome, limit_hit};

/// Why a modern request gets an error of mcp-mux's own.
#[derive(Debug)]
pub(super) enum Fault {
    /// As legacy ones may.
    Reject(Reject),
    /// mcp-mux ended the exchange, as it does when it stops.
    Ended,
    /// A required field of `_meta` is missing or not what it has to be.
    Envelope(EnvelopeError),
    /// A header is missing, malformed, or says something else than the body.
    Header(String),
    /// The revision is none that is served in this era.
    Version(String),
    /// There is no such method (any more).
    Method,
    /// What is in `params` cannot be.
    Params(String),
    /// `requestState` does not open, or what it stands for is over.
    State(&'static str),
    /// The child cannot go on without what the client did not declare.
    Capability(Value),
}

impl From<Reject> for Fault {
    fn from(reject: Reject) -> Self {
        // To a modern client there are no sessions, and 404 says that there is no such method.
        let ended = matches!(reject, Reject::SessionClosed | Reject::SessionUnknown);
        if ended { Self::Ended } else { Self::Reject(reject) }
    }
}

impl From<EnvelopeError> for Fault {
    fn from(error: EnvelopeError) -> Self {
        match error {
            EnvelopeError::TooLarge => limit_hit(Limit::MessageForm),
            EnvelopeError::Missing(_) | EnvelopeError::Malformed(..) | EnvelopeError::Twice(_) => {}
        }
        Self::Envelope(error)
    }
}

impl From<NoFilter> for Fault {
    fn from(error: NoFilter) -> Self {
        match error {
            NoFilter::TooMany(_) => limit_hit(Limit::SubscriptionsMax),
            NoFilter::Malformed => {}
        }
        Self::Params(error.to_string())
    }
}

impl Fault {
    /// Status, code, `data.kind` and message: the one table of it.
    fn wire(&self) -> (StatusCode, i32, &'static str, String) {
        let bad = StatusCode::BAD_REQUEST;
        match self {
            Self::Reject(reject) => {
                let wire = reject.wire();
                (wire.status, wire.code, wire.kind, reject.to_string())
            }
            Self::Ended => {
                let what = "the exchange was ended before the server answered".to_owned();
                (StatusCode::SERVICE_UNAVAILABLE, code::SHUTTING_DOWN, "exchange-ended", what)
            }
            Self::Envelope(error) => (bad, code::INVALID_PARAMS, "invalid-meta", error.to_string()),
            Self::Header(what) => (bad, code::HEADER_MISMATCH, "header-mismatch", format!("header mismatch: {what}")),
            Self::Version(_) => {
                (bad, code::UNSUPPORTED_VERSION, "version-unsupported", "unsupported protocol version".to_owned())
            }
            Self::Method => {
                (StatusCode::NOT_FOUND, code::METHOD_NOT_FOUND, "method-not-found", "method not found".to_owned())
            }
            Self::Params(what) => (StatusCode::OK, code::INVALID_PARAMS, "invalid-params", what.clone()),
            Self::State(what) => (StatusCode::OK, code::INVALID_PARAMS, "request-state", (*what).to_owned()),
            Self::Capability(_) => {
                let what = "the request did not declare a capability that the server needs";
                (bad, code::MISSING_CAPABILITY, "missing-capability", what.to_owned())
            }
        }
    }

    /// What the metrics count the request as.
    const fn outcome(&self) -> Outcome {
        match self {
            Self::Reject(reject) => reject.outcome(),
            Self::Ended => Outcome::ShuttingDown,
            Self::Envelope(_)
            | Self::Header(_)
            | Self::Version(_)
            | Self::Method
            | Self::Params(_)
            | Self::State(_)
            | Self::Capability(_) => Outcome::Invalid,
        }
    }

    /// `data.kind`, for the log.
    pub(super) fn kind(&self) -> &'static str {
        self.wire().2
    }

    /// The response to the request with this id.
    pub(super) fn into_last(self, id: Option<&RawId>) -> Last {
        let (status, code, kind, message) = self.wire();
        let verdict = Some(Verdict { outcome: self.outcome(), code: Some(code), kind: Some(kind) });
        let own = |more: Value| {
            let mut data = json!({"source": "mcp-mux", "kind": kind});
            if let (Some(data), Value::Object(more)) = (data.as_object_mut(), more) {
                data.extend(more);
            }
            (data, None)
        };
        let (data, retry_after) = match self {
            Self::Reject(reject) => (reject.data(), reject.retry_after()),
            Self::Version(requested) => own(json!({"supported": [MODERN_REVISION], "requested": requested})),
            Self::Capability(required) => own(json!({"requiredCapabilities": required})),
            Self::Ended => (own(Value::Null).0, Some(Duration::from_secs(1))),
            Self::Envelope(_) | Self::Header(_) | Self::Method | Self::Params(_) | Self::State(_) => own(Value::Null),
        };
        let error = json!({"code": code, "message": message, "data": data});
        Last { status, retry_after, verdict, ..Last::ok(jsonrpc::error_response(id, &error)) }
    }
}

/// The HTTP status of an error that a child answered with. A legacy one that uses a code of the modern protocol means
/// something else by it.
pub(super) fn status_of(child: Era, code: Option<i32>) -> StatusCode {
    match (child, code) {
        (_, Some(code::METHOD_NOT_FOUND)) => StatusCode::NOT_FOUND,
        (Era::Modern, Some(code::HEADER_MISMATCH | code::MISSING_CAPABILITY | code::UNSUPPORTED_VERSION)) => {
            StatusCode::BAD_REQUEST
        }
        (_, Some(_) | None) => StatusCode::OK,
    }
}
