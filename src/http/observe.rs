//! What is seen of each request of a client: counted in the metrics, written to the access log, sent as a span.
//!
//! An [`Exchange`] begins when a POST comes and comes to an end exactly once: its answer was handed out, it was refused, or it
//! is dropped because its client has left. What an answer means is found out from as few of its bytes as will do.
//!
//! Invariant: where the access log is off and there are no traces, an exchange allocates nothing and takes no lock.

mod audience;
mod pending;
mod record;
mod verdict;

use http::{Response, StatusCode};
use tokio::time::Instant;

pub(super) use self::audience::{Asked, Audience};
pub(super) use self::pending::Pending;
pub(super) use self::record::{Passage, Record};
pub(super) use self::verdict::Verdict;
use super::body::Body;
use super::request::Refusal;
use crate::jsonrpc::{Frame, Message};
use crate::metrics::{Counter, Gauge, Method, Outcome, Portion, ServerMetrics};
use crate::session::Answer;
pub(super) use crate::telemetry::access::Asked as HttpAsked;

/// A request of a client that has no outcome yet.
#[derive(Debug)]
#[must_use = "it is over when this is dropped"]
pub(super) struct Exchange(Option<Underway>);

#[derive(Debug)]
struct Underway {
    method: Method,
    since: Instant,
    in_flight: Portion,
    bytes_out: usize,
    /// Where the access log is on, or there are traces.
    record: Option<Box<Record>>,
}

impl Exchange {
    /// Something was sent that may become a request.
    pub(super) fn begin(metrics: &ServerMetrics, record: Option<Box<Record>>) -> Self {
        let in_flight = metrics.one(Gauge::RequestsInFlight);
        Self(Some(Underway { method: Method::Unread, since: Instant::now(), in_flight, bytes_out: 0, record }))
    }

    /// None: nothing is seen of it.
    pub(super) const fn none() -> Self {
        Self(None)
    }

    /// It is this request.
    pub(super) fn is(&mut self, message: &Message) {
        if let Some(underway) = &mut self.0 {
            (underway.method, underway.since) = (Method::of(message.method()), Instant::now());
            if let Some(record) = &mut underway.record {
                record.is(message);
            }
        }
    }

    /// It is no request.
    pub(super) fn forget(&mut self) {
        self.0 = None;
    }

    /// From now on it is somebody else's.
    pub(super) fn take(&mut self) -> Self {
        Self(self.0.take())
    }

    /// Another one of the same client.
    pub(super) fn another(&self, metrics: &ServerMetrics) -> Self {
        let record = self.0.as_ref().and_then(|underway| underway.record.clone());
        Self::begin(metrics, record)
    }

    fn method(&self) -> Method {
        self.0.as_ref().map_or(Method::Other, |underway| underway.method)
    }

    /// What more is known of it, for the access log and for traces.
    pub(super) fn note(&mut self, note: impl FnOnce(&mut Record)) {
        if let Some(Underway { record: Some(record), .. }) = &mut self.0 {
            note(record);
        }
    }

    /// So much was sent for it, be it before its answer.
    fn sent(&mut self, bytes: usize) {
        if let Some(underway) = &mut self.0 {
            underway.bytes_out += bytes;
        }
    }

    /// It has its outcome.
    pub(super) fn end(&mut self, verdict: Verdict, status: StatusCode) {
        self.finish(verdict, Some(status));
    }

    /// It is answered with this alone, by JSON.
    pub(super) fn answered(&mut self, frame: &Frame, own: Option<Verdict>, status: StatusCode) {
        if let Some(underway) = &self.0 {
            underway.in_flight.metrics().add_bytes(Counter::ClientSent, frame.len());
        }
        self.settled(frame, own, status);
    }

    /// This is its answer; `own` says what it means where mcp-mux made it.
    fn settled(&mut self, frame: &Frame, own: Option<Verdict>, status: StatusCode) {
        if self.0.is_some() {
            self.sent(frame.len());
            let verdict = own.unwrap_or_else(|| Verdict::of_answer(frame, self.method()));
            self.end(verdict, status);
        }
    }

    /// The same for what settles it in its session. A rejection has no frame yet.
    pub(super) fn answered_by(&mut self, answer: &Answer) {
        match answer {
            Answer::Response(frame) => self.answered(frame, None, StatusCode::OK),
            Answer::Initialized(frame, revision) => {
                self.note(|record| record.agreed(*revision));
                self.answered(frame, None, StatusCode::OK);
            }
            Answer::Rejected(_, reject) => self.end(reject.into(), StatusCode::OK),
        }
    }

    /// This is the whole response to it, unless it was answered by then or goes on as an event stream.
    pub(super) fn conclude(mut self, outcome: Result<Response<Body>, Refusal>) -> Result<Response<Body>, Refusal> {
        match outcome {
            Ok(response) => {
                // Requests that get no answer were cancelled.
                self.end(Verdict::of(Outcome::Cancelled), response.status());
                Ok(response)
            }
            Err(refusal) => {
                self.end((&refusal.reject).into(), refusal.reject.wire().status);
                Err(Refusal { seen: true, ..refusal })
            }
        }
    }

    fn finish(&mut self, verdict: Verdict, status: Option<StatusCode>) {
        let Some(Underway { method, since, in_flight, bytes_out, record }) = self.0.take() else { return };
        let took = since.elapsed();
        in_flight.metrics().request(method, verdict.outcome, took);
        if let Some(record) = record {
            record.write(in_flight.metrics().name(), verdict, took, bytes_out, status);
        }
    }
}

impl Drop for Exchange {
    fn drop(&mut self) {
        self.finish(Verdict::of(Outcome::Disconnected), None);
    }
}
