//! The loop around the core: stdin, the exchanges' tasks, the time; and what is for stdout.
//!
//! Separate from the core because it waits. Invariant: an exchange is read only as fast as the client reads; stdin is read
//! meanwhile, so that neither waits for the other.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use bytes::{BufMut as _, Bytes, BytesMut};
use http::header::CONTENT_TYPE;
use http::{Request, Uri};
use http_body_util::{BodyExt as _, LengthLimitError, Limited};
use serde_json::json;
use tokio::io::AsyncRead;
use tokio::sync::mpsc;
use tokio::task::AbortHandle;
use tokio::time::{Instant, sleep_until, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::{Instrument as _, debug, debug_span, warn};

use super::core::{Arrival, Bounds, Core, Ending, ExchangeId, Form, Head, Output};
use super::events::EventReader;
use super::request::EVENT_STREAM;
use super::service::{Failure, Reached, Service};
use crate::jsonrpc::{BATCH_MAX, Body, DEPTH_MAX, Message, ParseError, error_response, parse_body};
use crate::lines::{Line, LineReader};
use crate::mcp::{Era, code, header};

/// A client's lines.
#[derive(Debug)]
pub(crate) struct Input<R> {
    lines: LineReader<R>,
    /// What was read and is to be read again.
    ahead: VecDeque<Read>,
    bytes_max: usize,
}

/// What was read.
#[derive(Debug)]
pub(crate) enum Read {
    /// A message.
    Message(Message),
    /// None, and what its sender is told.
    Wrong(Bytes),
}

impl<R: AsyncRead + Unpin> Input<R> {
    /// Lines of up to so many bytes.
    pub(crate) fn new(source: R, bytes_max: usize) -> Self {
        Self { lines: LineReader::new(source, bytes_max), ahead: VecDeque::new(), bytes_max }
    }

    /// Puts messages back, to be read next.
    pub(crate) fn put_back(&mut self, messages: Vec<Message>) {
        for message in messages.into_iter().rev() {
            self.ahead.push_front(Read::Message(message));
        }
    }

    /// What comes next; nothing at the end.
    ///
    /// # Cancel safety
    /// Cancelled, nothing is lost.
    pub(crate) async fn next(&mut self) -> Option<Read> {
        loop {
            if let Some(read) = self.ahead.pop_front() {
                return Some(read);
            }
            match self.lines.next().await {
                Ok(Some(Line::Whole(line))) if line.trim_ascii().is_empty() => {}
                Ok(Some(Line::Whole(line))) => match parse_body(line, DEPTH_MAX, BATCH_MAX) {
                    Ok(Body::Single(message)) => return Some(Read::Message(message)),
                    Ok(Body::Batch(messages)) => self.ahead.extend(messages.into_iter().map(read)),
                    Err(error) => return Some(read(Err(error))),
                },
                Ok(Some(Line::Overlong { bytes, request, id: _ })) => {
                    let what =
                        format!("a message of {bytes} bytes, more than {} (--message-bytes-max)", self.bytes_max);
                    return Some(wrong(request.as_ref(), code::INVALID_REQUEST, &what));
                }
                Ok(None) => return None,
                Err(error) => {
                    warn!(%error, "stdin cannot be read");
                    return None;
                }
            }
        }
    }
}

fn read(parsed: Result<Message, ParseError>) -> Read {
    match parsed {
        Ok(message) => Read::Message(message),
        Err(error) => {
            let what = error.to_string();
            match error {
                ParseError::Utf8(_) | ParseError::Json { .. } => wrong(None, code::PARSE_ERROR, &what),
                ParseError::Envelope { id, .. } => wrong(id.as_ref(), code::INVALID_REQUEST, &what),
                ParseError::Depth(_) | ParseError::BatchLength(_) | ParseError::IdLength | ParseError::Batch => {
                    wrong(None, code::INVALID_REQUEST, &what)
                }
            }
        }
    }
}

fn wrong(id: Option<&crate::jsonrpc::RawId>, code: i32, what: &str) -> Read {
    let kind = if code == code::PARSE_ERROR { "parse-error" } else { "invalid-request" };
    let data = json!({"source": "mcp-mux", "kind": kind});
    Read::Wrong(error_response(id, &json!({"code": code, "message": what, "data": data})).into_bytes())
}

/// Who is spoken to, and how.
#[derive(Clone, Debug)]
pub(crate) struct Link {
    /// Who answers.
    pub(crate) service: Arc<dyn Service>,
    /// The client's era.
    pub(crate) era: Era,
    /// The endpoint.
    pub(crate) url: Uri,
    /// What may grow.
    pub(crate) bounds: Bounds,
    /// How long requests in flight may go on after the end.
    pub(crate) drain_timeout: Duration,
    /// Where tasks are.
    pub(crate) tracker: TaskTracker,
    /// Asks for the end.
    pub(crate) stop: CancellationToken,
}

/// Passes messages on until the client is gone or `stop` is cancelled, and everything is settled. Lines for the client go to
/// `output`.
pub(crate) async fn run<R: AsyncRead + Unpin>(
    link: Link,
    input: &mut Input<R>,
    output: &mpsc::Sender<Bytes>,
) -> Ending {
    let (arrived, arrivals) = mpsc::channel(ARRIVALS_MAX);
    let core = Core::new(link.era, link.url.clone(), link.bounds, fastrand::u64(..));
    let driver =
        Driver { link, core, calls: HashMap::new(), calls_made: 0, arrived, arrivals, unwritten: VecDeque::new() };
    driver.run(input, output).await
}

/// What came, and for which call.
type Arrived = (ExchangeId, u64, Arrival);

struct Driver {
    link: Link,
    core: Core,
    /// What is under way for each exchange, by number.
    calls: HashMap<ExchangeId, (u64, Call)>,
    calls_made: u64,
    arrived: mpsc::Sender<Arrived>,
    arrivals: mpsc::Receiver<Arrived>,
    /// Lines for the client that it does not take yet.
    unwritten: VecDeque<Bytes>,
}

/// A task that ends when this does.
#[derive(Debug)]
struct Call(AbortHandle);

impl Drop for Call {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// What happens.
enum Event<'a> {
    Read(Option<Read>),
    Room(Result<mpsc::Permit<'a, Bytes>, mpsc::error::SendError<()>>),
    Arrived(Option<Arrived>),
    Due,
    Stop,
}

impl Driver {
    async fn run<R: AsyncRead + Unpin>(mut self, input: &mut Input<R>, output: &mpsc::Sender<Bytes>) -> Ending {
        let (mut reads, mut stops, mut writes) = (true, true, true);
        loop {
            self.flush();
            if !writes {
                self.unwritten.clear();
            }
            if let Some(ending) = self.core.take_ending() {
                // Whoever does not read its answers does not get them.
                let _ = timeout(FAREWELL, self.write_rest(output)).await;
                return ending;
            }
            let due = self.core.poll_timeout();
            let event = tokio::select! {
                room = output.reserve(), if writes && !self.unwritten.is_empty() => Event::Room(room),
                () = self.link.stop.cancelled(), if stops => Event::Stop,
                () = output.closed(), if writes => Event::Room(Err(mpsc::error::SendError(()))),
                read = input.next(), if reads && self.unwritten.len() < UNWRITTEN_MAX => Event::Read(read),
                arrived = self.arrivals.recv(), if self.unwritten.is_empty() => Event::Arrived(arrived),
                () = async { sleep_until(due.unwrap_or_else(Instant::now)).await }, if due.is_some() => Event::Due,
            };
            let now = Instant::now();
            match event {
                Event::Room(Ok(permit)) => permit.send(lines(&mut self.unwritten)),
                Event::Room(Err(_)) => {
                    debug!("the client has closed its end");
                    (reads, stops, writes) = (false, false, false);
                    self.core.close(Duration::ZERO, now);
                }
                Event::Read(Some(Read::Message(message))) => self.core.handle_message(message, now),
                Event::Read(Some(Read::Wrong(answer))) => self.unwritten.push_back(answer),
                Event::Read(None) => {
                    reads = false;
                    self.core.close(self.link.drain_timeout, now);
                }
                Event::Stop => {
                    (reads, stops) = (false, false);
                    self.core.close(self.link.drain_timeout, now);
                }
                Event::Arrived(Some((id, number, arrival))) => {
                    if self.calls.get(&id).is_some_and(|(current, _)| *current == number) {
                        self.core.handle_arrival(id, arrival, now);
                    }
                }
                // The sender is a field of this very struct.
                Event::Arrived(None) => {}
                Event::Due => self.core.handle_timeout(now),
            }
        }
    }

    fn flush(&mut self) {
        while let Some(output) = self.core.poll_output() {
            match output {
                Output::Call(id, request) => self.call(id, *request),
                Output::Drop(id) => {
                    self.calls.remove(&id);
                }
                Output::Write(line) => self.unwritten.push_back(line),
            }
        }
        self.calls.retain(|_, (_, call)| !call.0.is_finished() || !self.arrivals.is_empty());
    }

    fn call(&mut self, id: ExchangeId, request: Request<Bytes>) {
        self.calls_made += 1;
        let number = self.calls_made;
        let (service, arrived) = (Arc::clone(&self.link.service), self.arrived.clone());
        let bytes_max = self.link.bounds.message_bytes_max;
        let span = debug_span!("exchange", number, method = %request.method());
        let task = async move {
            // Without a receiver there is nobody whom it concerns.
            let _ = exchange(&*service, request, bytes_max, (id, number, arrived)).await;
        };
        let task = self.link.tracker.spawn(task.instrument(span));
        self.calls.insert(id, (number, Call(task.abort_handle())));
    }

    async fn write_rest(&mut self, output: &mpsc::Sender<Bytes>) {
        while !self.unwritten.is_empty() {
            let Ok(permit) = output.reserve().await else { return };
            permit.send(lines(&mut self.unwritten));
        }
    }
}

/// About a chunk of lines, each with its end.
fn lines(unwritten: &mut VecDeque<Bytes>) -> Bytes {
    let mut out = BytesMut::new();
    while out.len() < CHUNK_BYTES
        && let Some(line) = unwritten.pop_front()
    {
        out.put_slice(&line);
        out.put_u8(b'\n');
    }
    out.freeze()
}

/// Makes a request and tells what comes of it.
async fn exchange(
    service: &dyn Service,
    request: Request<Bytes>,
    bytes_max: usize,
    (id, number, arrived): (ExchangeId, u64, mpsc::Sender<Arrived>),
) -> Result<(), mpsc::error::SendError<Arrived>> {
    let tell = async |arrival| arrived.send((id, number, arrival)).await;
    let answer = match service.call(request).await {
        Ok(answer) => answer,
        Err(failure) => return tell(Arrival::Failed(failure)).await,
    };
    let (parts, mut body) = answer.into_parts();
    let kind = parts.headers.get(CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or_default();
    let streams = kind.split(';').next().is_some_and(|kind| kind.trim().eq_ignore_ascii_case(EVENT_STREAM));
    let form = if streams && parts.status.is_success() { Form::Events } else { Form::Whole };
    let kind = kind.chars().take(KIND_CHARACTERS_MAX).collect::<String>().into_boxed_str();
    debug!(status = %parts.status, ?form, "answer");
    let session = parts.headers.get(header::SESSION_ID).cloned();
    tell(Arrival::Head(Head { status: parts.status, form, kind, session })).await?;
    let broken = |what: String, reached| Arrival::Failed(Failure { what, reached });
    if form == Form::Whole {
        let whole = Limited::new(body, bytes_max).collect().await;
        return tell(match whole {
            Ok(body) => Arrival::Body(body.to_bytes()),
            Err(error) if error.is::<LengthLimitError>() => {
                broken("its answer is larger than --message-bytes-max".to_owned(), Reached::Unusable)
            }
            Err(error) => broken(format!("its answer broke off: {error}"), Reached::Perhaps),
        })
        .await;
    }
    let mut reader = EventReader::new(bytes_max);
    loop {
        let bytes = match body.frame().await {
            None => return tell(Arrival::End).await,
            Some(Err(error)) => return tell(broken(format!("its stream broke: {error}"), Reached::Perhaps)).await,
            Some(Ok(frame)) => frame.into_data().unwrap_or_default(),
        };
        let mut events = Vec::new();
        let fed = reader.feed(&bytes, |event| events.push(event));
        for event in events {
            tell(Arrival::Event(event)).await?;
        }
        if let Err(error) = fed {
            return tell(broken(error.to_string(), Reached::Unusable)).await;
        }
    }
}

/// How many arrivals may wait for the loop.
const ARRIVALS_MAX: usize = 16;
/// So many answers of mcp-mux's own may wait for a client that does not read, before it is not read either.
const UNWRITTEN_MAX: usize = 256;
/// As much of a Content-Type is told.
const KIND_CHARACTERS_MAX: usize = 100;
/// About how much is written at once.
const CHUNK_BYTES: usize = 64 * 1024;
/// For a client that has gone but may be reading still.
const FAREWELL: Duration = Duration::from_secs(1);
