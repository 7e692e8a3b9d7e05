//! HTTP/1.1 as a load generator needs it: requests are bytes made once, answers are read with one `read` where possible.
//!
//! Not a client library on purpose: generator, proxy and child share the machine's cores, so what a request costs here
//! would flatter every proxy alike and hide the differences between them.

use std::io::{Error, ErrorKind};
use std::net::SocketAddr;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use memchr::memmem;
use tokio::io::{AsyncReadExt, AsyncWriteExt, Result};
use tokio::net::TcpStream;
use tokio::time::timeout;

const CONNECT_LIMIT: Duration = Duration::from_secs(5);

/// One connection, used by one exchange at a time.
pub(crate) struct Connection {
    stream: TcpStream,
    received: BytesMut,
}

/// The head of a response.
pub(crate) struct Head {
    /// The status code.
    pub(crate) status: u16,
    /// `Mcp-Session-Id`.
    pub(crate) session: Option<String>,
    /// Whether the body is an event stream.
    pub(crate) events: bool,
    framing: Framing,
}

#[derive(Clone, Copy)]
enum Framing {
    Length(usize),
    Chunked,
}

impl Connection {
    /// Connects.
    pub(crate) async fn open(address: SocketAddr) -> Result<Self> {
        let stream = timeout(CONNECT_LIMIT, TcpStream::connect(address)).await??;
        stream.set_nodelay(true)?;
        Ok(Self { stream, received: BytesMut::with_capacity(4096) })
    }

    /// Sends a request.
    pub(crate) async fn send(&mut self, request: &[u8]) -> Result<()> {
        self.stream.write_all(request).await
    }

    async fn receive(&mut self) -> Result<()> {
        match self.stream.read_buf(&mut self.received).await? {
            0 => Err(ErrorKind::UnexpectedEof.into()),
            _ => Ok(()),
        }
    }

    /// Reads the head of a response.
    pub(crate) async fn head(&mut self) -> Result<Head> {
        loop {
            if let Some((head, length)) = parse_head(&self.received)? {
                let _ = self.received.split_to(length);
                return Ok(head);
            }
            self.receive().await?;
        }
    }

    /// Reads a whole body.
    pub(crate) async fn body(&mut self, head: &Head) -> Result<Bytes> {
        match head.framing {
            Framing::Length(length) => self.take(length).await,
            Framing::Chunked => {
                let mut body = BytesMut::new();
                while let Some(chunk) = self.chunk().await? {
                    body.extend_from_slice(&chunk);
                }
                Ok(body.freeze())
            }
        }
    }

    async fn take(&mut self, length: usize) -> Result<Bytes> {
        self.received.reserve(length.saturating_sub(self.received.len()));
        while self.received.len() < length {
            self.receive().await?;
        }
        Ok(self.received.split_to(length).freeze())
    }

    /// The next chunk of a chunked body; none at its end.
    async fn chunk(&mut self) -> Result<Option<Bytes>> {
        let line = loop {
            match memmem::find(&self.received, b"\r\n") {
                Some(end) => break self.received.split_to(end + 2),
                None => self.receive().await?,
            }
        };
        let text = std::str::from_utf8(&line).map_err(Error::other)?;
        let length = usize::from_str_radix(text.trim(), 16).map_err(Error::other)?;
        let chunk = self.take(length + 2).await?;
        Ok((length > 0).then(|| chunk.slice(..length)))
    }
}

fn parse_head(received: &[u8]) -> Result<Option<(Head, usize)>> {
    let mut headers = [httparse::EMPTY_HEADER; 64];
    let mut response = httparse::Response::new(&mut headers);
    let httparse::Status::Complete(length) = response.parse(received).map_err(Error::other)? else { return Ok(None) };
    let mut head =
        Head { status: response.code.unwrap_or(0), session: None, events: false, framing: Framing::Length(0) };
    for header in response.headers.iter() {
        let value = std::str::from_utf8(header.value).map_err(Error::other)?;
        if header.name.eq_ignore_ascii_case("content-length") {
            head.framing = Framing::Length(value.parse().map_err(Error::other)?);
        } else if header.name.eq_ignore_ascii_case("transfer-encoding") {
            head.framing = Framing::Chunked;
        } else if header.name.eq_ignore_ascii_case("content-type") {
            head.events = value.starts_with("text/event-stream");
        } else if header.name.eq_ignore_ascii_case("mcp-session-id") {
            head.session = Some(value.to_owned());
        }
    }
    Ok(Some((head, length)))
}

/// The events of a response.
pub(crate) struct Events {
    framing: Framing,
    text: BytesMut,
    /// So much of it has no end of an event.
    searched: usize,
}

/// One event.
pub(crate) struct Event {
    /// `event`.
    pub(crate) name: Bytes,
    /// `data`, its last line where it has several.
    pub(crate) data: Bytes,
}

impl Events {
    /// The events of the body that follows this head.
    pub(crate) fn of(head: &Head) -> Self {
        Self { framing: head.framing, text: BytesMut::new(), searched: 0 }
    }

    /// The next event; none at the end of the body.
    pub(crate) async fn next(&mut self, connection: &mut Connection) -> Result<Option<Event>> {
        loop {
            if let Some(event) = self.parse() {
                return Ok(Some(event));
            }
            let more = match self.framing {
                Framing::Chunked => connection.chunk().await?,
                Framing::Length(0) => None,
                Framing::Length(length) => {
                    self.framing = Framing::Length(0);
                    Some(connection.take(length).await?)
                }
            };
            match more {
                Some(more) if self.text.is_empty() => {
                    self.text = more.try_into_mut().unwrap_or_else(|more| (&*more).into());
                }
                Some(more) => self.text.extend_from_slice(&more),
                None => return Ok(None),
            }
        }
    }

    fn parse(&mut self) -> Option<Event> {
        let rest = self.text.get(self.searched..)?;
        let found =
            [b"\n\n".as_slice(), b"\r\n\r\n"].into_iter().find_map(|end| Some((memmem::find(rest, end)?, end.len())));
        let Some((at, length)) = found else {
            self.searched = self.text.len().saturating_sub(3);
            return None;
        };
        let block = self.text.split_to(self.searched + at + length).freeze();
        self.searched = 0;
        let mut event = Event { name: Bytes::new(), data: Bytes::new() };
        for line in block.split(|&byte| byte == b'\n') {
            let line = line.strip_suffix(b"\r").unwrap_or(line);
            let value = |name: &[u8]| line.strip_prefix(name).map(|value| value.strip_prefix(b" ").unwrap_or(value));
            if let Some(value) = value(b"data:") {
                event.data = block.slice_ref(value);
            } else if let Some(value) = value(b"event:") {
                event.name = block.slice_ref(value);
            }
        }
        Some(event)
    }
}
