//! What a modern exchange says, step by step, and its answer as JSON or as an event stream.
//!
//! An exchange is a value that says one thing at a time; between two it is nowhere but in the step that will come next. So
//! whoever drops that (hyper does when the client hangs up) drops the exchange, and what is in flight is cancelled.
//!
//! Spec: 2026-07-28, Streamable HTTP, Receiving Messages, Cancellation.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::header::RETRY_AFTER;
use http::{HeaderValue, Response, StatusCode};
use tokio::time::{Instant, Sleep};

use super::super::body::{self, Body};
use super::super::observe::{Asked, Audience, Exchange as Observed, Verdict};
use super::super::request::{self, Accept};
use super::super::{events, sse};
use crate::jsonrpc::{Frame, Pieces};
use crate::metrics::ServerMetrics;
use crate::servers::SharedTimeout;
use crate::session::Held;

/// One thing an exchange says.
#[derive(Debug)]
pub(in super::super) enum Said {
    /// A notification, and what is held for it; more follows.
    Message(Frame, Held),
    /// The response.
    Last(Last),
}

/// The response of an exchange.
#[derive(Debug)]
pub(in super::super) struct Last {
    pub(super) status: StatusCode,
    pub(super) frame: Frame,
    pub(super) retry_after: Option<Duration>,
    /// For the answer that it is.
    pub(super) held: Held,
    /// What it means, where mcp-mux made it.
    pub(super) verdict: Option<Verdict>,
}

impl Said {
    /// What is held goes with it.
    pub(super) fn holding(self, held: Held) -> Self {
        match self {
            Self::Message(frame, _) => Self::Message(frame, held),
            Self::Last(last) => Self::Last(Last { held, ..last }),
        }
    }
}

impl Last {
    /// One with the status of success.
    pub(super) fn ok(frame: Frame) -> Self {
        Self { status: StatusCode::OK, frame, retry_after: None, held: Held::default(), verdict: None }
    }

    /// As the whole answer. An error with a status of its own is always JSON.
    pub(super) fn into_response(self, accept: Accept, observed: &mut Observed) -> Response<Body> {
        observed.answered(&self.frame, self.verdict, self.status);
        if accept == Accept::Events && self.status == StatusCode::OK {
            let mut out = Pieces::new();
            sse::message(&mut out, None, &self.frame);
            return events((out, self.held).into());
        }
        let mut response = request::json(self.status, (self.frame.into_pieces(), self.held));
        if let Some(wait) = self.retry_after {
            response.headers_mut().insert(RETRY_AFTER, HeaderValue::from(wait.as_secs()));
        }
        response
    }
}

/// An exchange under way.
pub(super) trait Exchange: Send + Sized + 'static {
    /// What it says next, and itself if it goes on.
    fn next(self) -> impl Future<Output = (Said, Option<Self>)> + Send;
}

/// What will be said next, and what comes after it.
type Step = Pin<Box<dyn Future<Output = (Said, Option<Rest>)> + Send>>;
/// Begins the next step.
struct Rest(Box<dyn FnOnce() -> Step + Send>);

fn step<E: Exchange>(exchange: E) -> Step {
    Box::pin(async move {
        let (said, rest) = exchange.next().await;
        (said, rest.map(|rest| Rest(Box::new(move || step(rest)))))
    })
}

/// Answers with what an exchange says: as JSON if that is nothing but the response, and soon; else as events.
pub(super) async fn respond(
    exchange: impl Exchange,
    accept: Accept,
    (json_for, keep_alive): (&SharedTimeout, Duration),
    (observed, metrics): (&mut Observed, &ServerMetrics),
) -> Response<Body> {
    let mut next = step(exchange);
    if accept == Accept::Json {
        // Its client takes nothing but the response.
        loop {
            match next.await {
                (Said::Last(last), _) => return last.into_response(accept, observed),
                (Said::Message(..), Some(rest)) => next = rest.0(),
                (Said::Message(..), None) => return request::empty(StatusCode::NO_CONTENT),
            }
        }
    }
    let (mut ready, mut kept) = (Pieces::new(), Held::default());
    let next = match json_for.limit(&mut next).await {
        Some((Said::Last(last), _)) => return last.into_response(accept, observed),
        Some((Said::Message(frame, held), rest)) => {
            kept = held;
            sse::message(&mut ready, None, &frame);
            rest.map(|rest| rest.0())
        }
        None => Some(next),
    };
    let audience = Audience::new(metrics, Asked::One(observed.take()));
    let body = StepBody { ready, held: kept, next, keep_alive, timer: None, audience };
    events(Body::Steps(Box::new(body)))
}

/// The rest of an exchange as events.
pub struct StepBody {
    /// What is to go out.
    ready: Pieces,
    /// What is held for that.
    held: Held,
    next: Option<Step>,
    keep_alive: Duration,
    timer: Option<Pin<Box<Sleep>>>,
    audience: Audience,
}

impl fmt::Debug for StepBody {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("StepBody")
    }
}

impl StepBody {
    /// Whether there is nothing more.
    pub(in super::super) const fn is_over(&self) -> bool {
        self.next.is_none() && self.ready.is_empty()
    }

    /// What is ready, as one chunk; none at the end.
    pub(in super::super) fn poll_chunk(&mut self, cx: &mut Context<'_>) -> Poll<Option<Bytes>> {
        if self.ready.is_empty() {
            self.read(cx);
        }
        if let Some(chunk) = body::take(&mut self.ready, &mut self.held) {
            self.timer = None;
            self.audience.sent(chunk.len());
            return Poll::Ready(Some(chunk));
        }
        if self.next.is_none() {
            return Poll::Ready(None);
        }
        let timer = self.timer.get_or_insert_with(|| Box::pin(tokio::time::sleep(self.keep_alive)));
        if timer.as_mut().poll(cx).is_pending() {
            return Poll::Pending;
        }
        timer.as_mut().reset(Instant::now() + self.keep_alive);
        Poll::Ready(Some(Bytes::from_static(sse::KEEP_ALIVE)))
    }

    /// Takes what is said already, or about as much as is one chunk.
    fn read(&mut self, cx: &mut Context<'_>) {
        while self.ready.len() < CHUNK_BYTES
            && let Some(next) = &mut self.next
        {
            let Poll::Ready((said, rest)) = next.as_mut().poll(cx) else { return };
            let (frame, held) = match said {
                Said::Message(frame, held) => {
                    self.audience.told(frame.len());
                    (frame, held)
                }
                Said::Last(last) => {
                    self.audience.answered(&last.frame, last.verdict);
                    (last.frame, last.held)
                }
            };
            self.held.absorb(held);
            sse::message(&mut self.ready, None, &frame);
            self.next = rest.map(|rest| rest.0());
        }
    }
}

/// About the most bytes of events that are taken at once; one larger event makes more.
const CHUNK_BYTES: usize = 64 * 1024;
