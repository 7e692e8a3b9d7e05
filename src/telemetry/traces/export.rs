//! The way of spans to the collector: a queue that nobody waits for, and one task that sends what is in it.
//!
//! Separate from what spans say. A collector that is gone, slow or hangs costs spans, never a request.

use std::future::{Future, pending};
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use http::header::RETRY_AFTER;
use http::uri::Scheme;
use http::{Request, Response, StatusCode, Uri};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper_util::client::legacy;
use opentelemetry::Context;
use opentelemetry_http::{HttpClient, HttpError};
use opentelemetry_otlp::{
    ExporterBuildError, Protocol, RetryPolicy, SpanExporter, WithExportConfig as _, WithHttpConfig as _,
};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::error::OTelSdkResult;
use opentelemetry_sdk::trace::{Span, SpanData, SpanExporter as _, SpanProcessor};
use rustls::RootCertStore;
use tokio::sync::{OnceCell, mpsc};
use tokio::time::{Instant, sleep, sleep_until, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::{info, warn};

use crate::config::TracesConfig;
use crate::metrics;
use crate::outbound::{Connector, Tracked, connector, system_roots};
use crate::telemetry::with_sources;

/// Takes spans that have ended.
#[derive(Debug)]
pub(super) struct Queue {
    spans: mpsc::Sender<SpanData>,
    lost: Arc<AtomicU64>,
}

impl Queue {
    pub(super) fn new(spans: mpsc::Sender<SpanData>) -> Self {
        Self { spans, lost: Arc::default() }
    }

    /// How many it had no room for, since somebody last took this number.
    pub(super) const fn lost(&self) -> &Arc<AtomicU64> {
        &self.lost
    }
}

impl SpanProcessor for Queue {
    fn on_start(&self, _: &mut Span, _: &Context) {}

    fn on_end(&self, span: SpanData) {
        if span.span_context.is_sampled() && self.spans.try_send(span).is_err() {
            metrics::spans_lost(1);
            self.lost.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn force_flush(&self) -> OTelSdkResult {
        Ok(())
    }

    fn shutdown_with_timeout(&self, _: Duration) -> OTelSdkResult {
        Ok(())
    }
}

/// Sends what is queued.
#[derive(Debug)]
pub(super) struct Sender {
    exporter: SpanExporter,
    collector: String,
    lost: Arc<AtomicU64>,
    reason: Reason,
}

impl Sender {
    /// To the configured collector. `lost` counts what the queue had no room for.
    ///
    /// # Errors
    /// OpenTelemetry's own variables want something that there is not.
    pub(super) fn new(
        config: &TracesConfig,
        resource: &Resource,
        lost: Arc<AtomicU64>,
    ) -> Result<Self, ExporterBuildError> {
        let reason = Reason::default();
        let client = Client { timeout: config.timeout, inner: OnceCell::new(), reason: reason.clone() };
        let mut exporter = SpanExporter::builder()
            .with_http()
            .with_http_client(client)
            .with_endpoint(config.url.expose())
            .with_protocol(Protocol::HttpBinary)
            .with_timeout(config.timeout)
            // The client does that: here a thread would sleep that others need.
            .with_retry_policy(RetryPolicy::disabled())
            .build()?;
        exporter.set_resource(resource);
        let url: Option<Uri> = config.url.expose().parse().ok();
        let collector = url.as_ref().and_then(Uri::authority).map(ToString::to_string).unwrap_or_default();
        Ok(Self { exporter, collector, lost, reason })
    }

    /// Where the spans go: host and port.
    pub(super) fn collector(&self) -> &str {
        &self.collector
    }

    /// Sends until `end` was called and nothing is left.
    pub(super) async fn run(self, mut spans: mpsc::Receiver<SpanData>, end: CancellationToken) {
        let mut losses = Losses::default();
        loop {
            let batch = gather(&mut spans, &end).await;
            if batch.is_empty() {
                break;
            }
            let count = batch.len();
            let failed = self.exporter.export(batch).await.err();
            let reason = failed.map(|error| self.reason.take().unwrap_or_else(|| with_sources(&error)));
            if reason.is_some() {
                metrics::spans_lost(count);
                losses.add(u64::try_from(count).unwrap_or(u64::MAX));
            }
            losses.add(self.lost.swap(0, Ordering::Relaxed));
            losses.say(reason.as_deref(), Instant::now());
        }
    }
}

/// What is sent at once: a full batch, or what came within a while, or what is left at the end. Empty: there will be no more.
async fn gather(spans: &mut mpsc::Receiver<SpanData>, end: &CancellationToken) -> Vec<SpanData> {
    let mut batch = Vec::new();
    let mut until = None;
    while let Some(room) = BATCH_SPANS_MAX.checked_sub(batch.len()).filter(|room| *room > 0) {
        let due = async {
            match until {
                Some(until) => sleep_until(until).await,
                None => pending().await,
            }
        };
        tokio::select! {
            biased;
            () = end.cancelled(), if !spans.is_closed() => spans.close(),
            count = spans.recv_many(&mut batch, room) => {
                if count == 0 {
                    break;
                }
                until.get_or_insert_with(|| Instant::now() + BATCH_WAIT);
            }
            () = due => break,
        }
    }
    batch
}

/// What was lost and not said yet.
#[derive(Debug, Default)]
struct Losses {
    spans: u64,
    reason: Option<String>,
    said: Option<Instant>,
}

impl Losses {
    fn add(&mut self, spans: u64) {
        self.spans = self.spans.saturating_add(spans);
    }

    /// Says it once in a while, and also when it is over.
    fn say(&mut self, reason: Option<&str>, now: Instant) {
        let is_over = self.reason.is_some() && reason.is_none();
        self.reason = reason.map(str::to_owned);
        let is_time = self.said.is_none_or(|said| now >= said + SAY_EVERY);
        if self.spans > 0 && (is_time || is_over) {
            let reason = reason.unwrap_or("the queue was full");
            warn!(spans = self.spans, reason, "spans of traces were lost");
            (self.spans, self.said) = (0, Some(now));
        }
        if is_over {
            info!("the collector takes spans again");
            self.said = None;
        }
    }
}

/// Why the last attempt failed, in more words than the exporter has.
#[derive(Clone, Debug, Default)]
struct Reason(Arc<Mutex<Option<String>>>);

impl Reason {
    fn is(&self, reason: String) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(reason);
    }

    fn take(&self) -> Option<String> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

/// Posts to the collector, also again where that may help.
#[derive(Debug)]
struct Client {
    timeout: Duration,
    inner: OnceCell<legacy::Client<Connector, Full<Bytes>>>,
    reason: Reason,
}

impl HttpClient for Client {
    fn send_bytes<'life0, 'async_trait>(
        &'life0 self,
        request: Request<Bytes>,
    ) -> Pin<Box<dyn Future<Output = Result<Response<Bytes>, HttpError>> + Send + 'async_trait>>
    where
        'life0: 'async_trait,
        Self: 'async_trait,
    {
        Box::pin(async move {
            let sent = timeout(self.timeout, self.send(request)).await;
            sent.map_err(|elapsed| {
                let known = self.reason.take();
                self.reason.is(known.unwrap_or_else(|| format!("no answer within {:?}", self.timeout)));
                elapsed.into()
            })
        })
    }
}

impl Client {
    /// Until it is answered.
    async fn send(&self, request: Request<Bytes>) -> Response<Bytes> {
        self.reason.take();
        let mut wait = FIRST_WAIT;
        loop {
            match self.attempt(&request).await {
                Ok(response) if !passes(response.status()) => {
                    let status = response.status();
                    if status.is_success() {
                        self.reason.take();
                    } else {
                        self.reason.is(format!("it answers with {status}"));
                    }
                    return response;
                }
                Ok(response) => {
                    self.reason.is(format!("it answers with {}", response.status()));
                    let after = response.headers().get(RETRY_AFTER).and_then(|after| after.to_str().ok()?.parse().ok());
                    sleep(after.map_or(wait, Duration::from_secs)).await;
                }
                Err(error) => {
                    self.reason.is(with_sources(error.as_ref()));
                    sleep(wait).await;
                }
            }
            wait = wait.saturating_mul(2);
        }
    }

    async fn attempt(&self, request: &Request<Bytes>) -> Result<Response<Bytes>, HttpError> {
        let is_encrypted = request.uri().scheme() == Some(&Scheme::HTTPS);
        let connect = async || {
            let tracker = TaskTracker::new();
            let roots = if is_encrypted { system_roots(&tracker).await } else { RootCertStore::empty() };
            legacy::Client::builder(Tracked(tracker)).pool_max_idle_per_host(1).build(connector(roots, self.timeout))
        };
        let inner = self.inner.get_or_init(connect).await;
        let (head, body) = request.clone().into_parts();
        let (head, body) = inner.request(Request::from_parts(head, Full::new(body))).await?.into_parts();
        let body = Limited::new(body, ANSWER_BYTES_MAX).collect().await?.to_bytes();
        Ok(Response::from_parts(head, body))
    }
}

/// Whether it may be different next time (OTLP/HTTP, Retryable Response Codes).
const fn passes(status: StatusCode) -> bool {
    matches!(
        status,
        StatusCode::TOO_MANY_REQUESTS
            | StatusCode::BAD_GATEWAY
            | StatusCode::SERVICE_UNAVAILABLE
            | StatusCode::GATEWAY_TIMEOUT
    )
}

/// As OpenTelemetry has it.
const BATCH_SPANS_MAX: usize = 512;
/// A trace is looked at while it is fresh.
const BATCH_WAIT: Duration = Duration::from_secs(1);
const FIRST_WAIT: Duration = Duration::from_millis(500);
const SAY_EVERY: Duration = Duration::from_secs(60);
const ANSWER_BYTES_MAX: usize = 1 << 20;

#[cfg(test)]
mod tests {
    use opentelemetry::trace::{SpanContext, SpanKind, Status};

    use super::*;

    fn span() -> SpanData {
        SpanData {
            span_context: SpanContext::empty_context(),
            parent_span_id: opentelemetry::SpanId::INVALID,
            parent_span_is_remote: false,
            span_kind: SpanKind::Server,
            name: "ping".into(),
            start_time: std::time::SystemTime::UNIX_EPOCH,
            end_time: std::time::SystemTime::UNIX_EPOCH,
            attributes: Vec::new(),
            dropped_attributes_count: 0,
            events: Default::default(),
            links: Default::default(),
            status: Status::Unset,
            instrumentation_scope: Default::default(),
        }
    }

    #[tokio::test(start_paused = true)]
    async fn spans_are_sent_when_there_are_many_or_after_a_while_or_at_the_end() {
        let (queue, mut spans) = mpsc::channel(BATCH_SPANS_MAX * 2);
        let end = CancellationToken::new();
        for _ in 0..=BATCH_SPANS_MAX {
            queue.try_send(span()).unwrap();
        }
        let begun = Instant::now();
        assert_eq!(gather(&mut spans, &end).await.len(), BATCH_SPANS_MAX);
        assert_eq!(begun.elapsed(), Duration::ZERO);
        assert_eq!(gather(&mut spans, &end).await.len(), 1);
        assert_eq!(begun.elapsed(), BATCH_WAIT);
        queue.try_send(span()).unwrap();
        end.cancel();
        assert_eq!(gather(&mut spans, &end).await.len(), 1);
        assert_eq!(gather(&mut spans, &end).await.len(), 0);
        assert_eq!(begun.elapsed(), BATCH_WAIT);
        assert!(queue.try_send(span()).is_err());
    }

    #[test]
    fn losses_are_said_once_in_a_while_and_none_is_forgotten() {
        let (mut losses, now) = (Losses::default(), Instant::now());
        losses.add(1);
        losses.say(Some("gone"), now);
        assert_eq!((losses.spans, losses.said), (0, Some(now)));
        losses.add(2);
        losses.say(Some("gone"), now + SAY_EVERY / 2);
        assert_eq!(losses.spans, 2);
        losses.say(Some("gone"), now + SAY_EVERY);
        assert_eq!(losses.spans, 0);
        losses.add(3);
        losses.say(None, now + SAY_EVERY);
        assert_eq!((losses.spans, losses.said), (0, None));
    }
}
