//! Who reads an event stream, and which requests are answered on it.

use std::sync::Arc;

use http::StatusCode;

use super::{Exchange, Pending, Verdict};
use crate::jsonrpc::Frame;
use crate::metrics::{Counter, Gauge, Outcome, Portion, ServerMetrics};

/// Who reads an event stream. It is counted until this is dropped.
#[derive(Debug)]
pub(in super::super) struct Audience {
    stream: Portion,
    asked: Asked,
}

/// The requests that an event stream answers.
#[derive(Debug)]
pub(in super::super) enum Asked {
    /// None that is waited for.
    Nothing,
    /// One.
    One(Exchange),
    /// Those of a batch.
    Several(Pending),
    /// Those of an HTTP+SSE session, which come while the stream is open.
    Session(Arc<Pending>),
}

impl Audience {
    /// A stream was opened.
    pub(in super::super) fn new(metrics: &ServerMetrics, asked: Asked) -> Self {
        Self { stream: metrics.one(Gauge::Streams), asked }
    }

    /// So much goes out to it.
    pub(in super::super) fn sent(&self, bytes: usize) {
        self.stream.metrics().add_bytes(Counter::ClientSent, bytes);
    }

    /// An event was taken that is no answer.
    pub(in super::super) fn told(&mut self, bytes: usize) {
        match &mut self.asked {
            Asked::One(exchange) => exchange.sent(bytes),
            // It may belong to any of them.
            Asked::Nothing | Asked::Several(_) | Asked::Session(_) => {}
        }
    }

    /// An answer was taken: `own` says what it means where mcp-mux made it.
    pub(in super::super) fn answered(&mut self, frame: &Frame, own: Option<Verdict>) {
        match &mut self.asked {
            Asked::Nothing => {}
            Asked::One(exchange) => exchange.settled(frame, own, StatusCode::OK),
            Asked::Several(pending) => pending.settled(frame, own),
            Asked::Session(pending) => pending.settled(frame, own),
        }
    }

    /// The stream has come to its end: what has no answer by now gets none.
    pub(in super::super) fn over(&mut self) {
        match &mut self.asked {
            Asked::Nothing => {}
            Asked::One(exchange) => exchange.end(Verdict::of(Outcome::Cancelled), StatusCode::OK),
            Asked::Several(pending) => pending.end_all(Outcome::Cancelled),
            Asked::Session(pending) => pending.end_all(Outcome::ShuttingDown),
        }
    }
}

impl Drop for Audience {
    fn drop(&mut self) {
        // The others are dropped with it.
        if let Asked::Session(pending) = &self.asked {
            pending.end_all(Outcome::Disconnected);
        }
    }
}
