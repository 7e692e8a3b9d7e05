//! A collector: takes OTLP over HTTP on a port of its own, and reads as much of the protobuf as the tests ask for.
//!
//! Spec: opentelemetry-proto, collector/trace/v1/trace_service.proto, trace/v1/trace.proto, common/v1/common.proto.

use std::convert::Infallible;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{HeaderMap, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::net::TcpListener;
use tokio::sync::watch;

/// What it does with what is sent to it.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Way {
    Takes,
    TakesTheSecondTime,
    Hangs,
}

/// A running collector.
pub struct Collector {
    /// Without a path.
    pub url: String,
    taken: Arc<Mutex<Vec<(HeaderMap, Bytes)>>>,
    asked: watch::Receiver<usize>,
}

/// A span as it was sent.
#[derive(Clone, Debug)]
pub struct Span {
    pub name: String,
    pub trace: String,
    /// Empty where it has none.
    pub parent: String,
    pub state: String,
    pub kind: u64,
    pub start: u64,
    pub end: u64,
    /// The traces that it is linked with.
    pub links: Vec<String>,
    /// 0: unset, 2: an error.
    pub status: u64,
    attributes: Vec<String>,
}

impl Span {
    pub fn attribute(&self, key: &str) -> Option<&str> {
        self.attributes.iter().find_map(|one| one.strip_prefix(key)?.strip_prefix('='))
    }
}

impl Collector {
    pub async fn start(way: Way) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let taken = Arc::<Mutex<Vec<_>>>::default();
        let (count, asked) = watch::channel(0);
        let (store, count) = (Arc::clone(&taken), Arc::new(count));
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (store, count) = (Arc::clone(&store), Arc::clone(&count));
                let service = service_fn(move |request| answer(request, way, Arc::clone(&store), Arc::clone(&count)));
                tokio::spawn(http1::Builder::new().serve_connection(TokioIo::new(stream), service));
            }
        });
        Self { url, taken, asked }
    }

    /// Waits until something was sent to it.
    pub async fn asked(&self) {
        self.asked.clone().wait_for(|count| *count > 0).await.unwrap();
    }

    /// A header of the last POST.
    pub fn header(&self, name: &str) -> Option<String> {
        self.taken.lock().unwrap().last()?.0.get(name)?.to_str().ok().map(str::to_owned)
    }

    /// Whether anything that was taken has this text in it.
    pub fn bodies_contain(&self, text: &str) -> bool {
        let has = |body: &Bytes| body.windows(text.len()).any(|window| window == text.as_bytes());
        self.taken.lock().unwrap().iter().any(|(_, body)| has(body))
    }

    /// The attributes of what the last spans are of.
    pub fn resource(&self) -> Vec<String> {
        let taken = self.taken.lock().unwrap();
        let last = taken.last().map(|(_, body)| body.clone()).unwrap_or_default();
        let of = messages(&last, 1).next().unwrap_or_default();
        let of = messages(of, 1).next().unwrap_or_default();
        messages(of, 1).map(attribute).collect()
    }

    /// All spans that were taken.
    pub fn spans(&self) -> Vec<Span> {
        let taken = self.taken.lock().unwrap();
        let mut spans = Vec::new();
        for (_, body) in taken.iter() {
            for resource in messages(body, 1) {
                for scope in messages(resource, 2) {
                    spans.extend(messages(scope, 2).map(span));
                }
            }
        }
        spans
    }
}

async fn answer(
    request: Request<Incoming>,
    way: Way,
    store: Arc<Mutex<Vec<(HeaderMap, Bytes)>>>,
    count: Arc<watch::Sender<usize>>,
) -> Result<Response<Full<Bytes>>, Infallible> {
    assert_eq!((request.method().as_str(), request.uri().path()), ("POST", "/v1/traces"));
    let (head, body) = request.into_parts();
    let body = body.collect().await.unwrap().to_bytes();
    let before = *count.borrow();
    count.send_modify(|count| *count += 1);
    let mut response = Response::new(Full::default());
    match way {
        Way::Hangs => std::future::pending::<()>().await,
        Way::TakesTheSecondTime if before == 0 => *response.status_mut() = StatusCode::SERVICE_UNAVAILABLE,
        Way::Takes | Way::TakesTheSecondTime => store.lock().unwrap().push((head.headers, body)),
    }
    Ok(response)
}

fn span(bytes: &[u8]) -> Span {
    let text = |number| String::from_utf8(messages(bytes, number).next().unwrap_or_default().to_vec()).unwrap();
    let hex = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    let id = |number| messages(bytes, number).next().map(hex).unwrap_or_default();
    Span {
        name: text(5),
        trace: id(1),
        parent: id(4),
        state: text(3),
        kind: number(bytes, 6),
        start: number(bytes, 7),
        end: number(bytes, 8),
        links: messages(bytes, 13).map(|link| hex(messages(link, 1).next().unwrap())).collect(),
        status: messages(bytes, 15).next().map_or(0, |status| number(status, 3)),
        attributes: messages(bytes, 9).map(attribute).collect(),
    }
}

/// `key=value`, of a value that is a text.
fn attribute(bytes: &[u8]) -> String {
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    let value = messages(bytes, 2).next().unwrap_or_default();
    let value = messages(value, 1).next().unwrap_or_default();
    format!("{}={}", text(messages(bytes, 1).next().unwrap()), text(value))
}

/// A field's value.
enum Value<'a> {
    Number(u64),
    Bytes(&'a [u8]),
}

fn messages(bytes: &[u8], number: u64) -> impl Iterator<Item = &[u8]> {
    fields(bytes).into_iter().filter_map(move |(field, value)| match value {
        Value::Bytes(bytes) if field == number => Some(bytes),
        Value::Bytes(_) | Value::Number(_) => None,
    })
}

fn number(bytes: &[u8], number: u64) -> u64 {
    let found = fields(bytes).into_iter().find_map(|(field, value)| match value {
        Value::Number(value) if field == number => Some(value),
        Value::Bytes(_) | Value::Number(_) => None,
    });
    found.unwrap_or(0)
}

/// Protocol Buffers, Encoding: each field's number and value.
fn fields(mut bytes: &[u8]) -> Vec<(u64, Value<'_>)> {
    let mut fields = Vec::new();
    while !bytes.is_empty() {
        let tag = varint(&mut bytes);
        let value = match tag & 7 {
            0 => Value::Number(varint(&mut bytes)),
            1 => Value::Number(u64::from_le_bytes(take(&mut bytes, 8).try_into().unwrap())),
            2 => {
                let length = varint(&mut bytes);
                Value::Bytes(take(&mut bytes, usize::try_from(length).unwrap()))
            }
            5 => Value::Number(u32::from_le_bytes(take(&mut bytes, 4).try_into().unwrap()).into()),
            other => panic!("wire type {other}"),
        };
        fields.push((tag >> 3, value));
    }
    fields
}

fn take<'a>(bytes: &mut &'a [u8], count: usize) -> &'a [u8] {
    let (taken, rest) = bytes.split_at(count);
    *bytes = rest;
    taken
}

fn varint(bytes: &mut &[u8]) -> u64 {
    let mut value = 0;
    for shift in (0..64).step_by(7) {
        let byte = take(bytes, 1)[0];
        value |= u64::from(byte & 0x7f) << shift;
        if byte < 0x80 {
            break;
        }
    }
    value
}
