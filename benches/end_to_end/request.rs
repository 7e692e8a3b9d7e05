//! Calls, and what is wrong with their answers.

use memchr::memmem;

use crate::load::{Target, Transport};

pub(crate) fn head(target: &Target, path: &str, session: Option<&str>) -> String {
    let accept = match target.transport {
        Transport::StreamableEvents => "text/event-stream",
        Transport::Streamable | Transport::Modern | Transport::Sse => "application/json, text/event-stream",
    };
    let mut head = format!(
        "POST {path} HTTP/1.1\r\nHost: {}\r\nContent-Type: application/json\r\nAccept: {accept}\r\n",
        target.address
    );
    match (target.transport, session) {
        (Transport::Modern, _) => head.push_str(MODERN_HEADERS),
        (Transport::Sse, _) | (_, None) => {}
        (_, Some(session)) => {
            head.push_str("MCP-Protocol-Version: 2025-11-25\r\nMcp-Session-Id: ");
            head.push_str(session);
            head.push_str("\r\n");
        }
    }
    head
}

const MODERN_HEADERS: &str = "MCP-Protocol-Version: 2026-07-28\r\nMcp-Method: tools/call\r\nMcp-Name: echo\r\n";

pub(crate) fn assemble(head: &str, body: &[u8]) -> Vec<u8> {
    let mut request = format!("{head}Content-Length: {}\r\n\r\n", body.len()).into_bytes();
    request.extend_from_slice(body);
    request
}

/// Whose a call is.
#[derive(Clone, Copy)]
pub(crate) struct Name {
    pub(crate) session: usize,
    pub(crate) lane: usize,
    pub(crate) lanes: usize,
}

/// A call whose bytes are changed in place from one to the next.
pub(crate) struct Request {
    bytes: Vec<u8>,
    name: Name,
    number: usize,
    /// Where its id and its text are.
    id_at: usize,
    text_at: usize,
    text_length: usize,
}

/// All ids have the same number of digits.
const FIRST_ID: usize = 1_000_000_000;
const MARK: &str = "session 000000 lane 0000 call 0000000000 ";

impl Request {
    /// The calls of a session of Streamable HTTP; `number` is what the texts call the session.
    pub(crate) fn of_session(target: &Target, session: Option<&str>, number: usize, size: usize) -> Self {
        let name = Name { session: number, lane: 0, lanes: 1 };
        Self::call(head(target, &target.path, session), target, name, size)
    }

    pub(crate) fn call(head: String, target: &Target, name: Name, size: usize) -> Self {
        let meta = match target.transport {
            Transport::Modern => {
                r#","_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28","io.modelcontextprotocol/clientInfo":{"name":"load","version":"1"},"io.modelcontextprotocol/clientCapabilities":{}}"#
            }
            Transport::Streamable | Transport::StreamableEvents | Transport::Sse => "",
        };
        let text = text(size);
        let body = line(&text, meta);
        let bytes = assemble(&head, body.as_bytes());
        Self::of(bytes, name, text.len())
    }

    /// A line for a child that is driven directly.
    pub(crate) fn line(lane: usize, lanes: usize, size: usize) -> Self {
        let text = text(size);
        let mut bytes = line(&text, "").into_bytes();
        bytes.push(b'\n');
        Self::of(bytes, Name { session: 0, lane, lanes }, text.len())
    }

    fn of(bytes: Vec<u8>, name: Name, text_length: usize) -> Self {
        let after = |what: &[u8]| memmem::find(&bytes, what).map_or(0, |at| at + what.len());
        let (id_at, text_at) = (after(b"\"id\":"), after(b"\"text\":\""));
        Self { bytes, name, number: 0, id_at, text_at, text_length }
    }

    /// Becomes the next call.
    pub(crate) fn next(&mut self) {
        self.number += 1;
        let (id, number) = (self.id(), self.number);
        write_digits(&mut self.bytes, self.id_at, 10, id);
        let Name { session, lane, .. } = self.name;
        for (offset, width, value) in [(8, 6, session), (20, 4, lane), (30, 10, number)] {
            if offset + width <= self.text_length {
                write_digits(&mut self.bytes, self.text_at + offset, width, value);
            }
        }
    }

    /// The bytes of the present call.
    pub(crate) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    fn id(&self) -> usize {
        FIRST_ID + (self.number * self.name.lanes) + self.name.lane
    }

    pub(crate) fn is_answered_by(&self, answer: &[u8]) -> bool {
        id_of(answer) == u64::try_from(self.id()).ok()
    }

    /// What is wrong with an answer.
    pub(crate) fn judge(&self, answer: &[u8]) -> std::result::Result<(), String> {
        let wrong = |what: &str| {
            let shown = answer.get(..300.min(answer.len())).unwrap_or_default();
            Err(format!("{what}: {}", String::from_utf8_lossy(shown)))
        };
        if !self.is_answered_by(answer) {
            return wrong("another id");
        }
        let sent = self.bytes.get(self.text_at..self.text_at + self.text_length + 1).unwrap_or_default();
        let found = [br#""text":""#.as_slice(), br#""text": ""#]
            .into_iter()
            .find_map(|name| Some(memmem::find(answer, name)? + name.len()))
            .and_then(|at| answer.get(at..at + sent.len()));
        if found == Some(sent) { Ok(()) } else { wrong("another text") }
    }
}

fn line(text: &str, meta: &str) -> String {
    format!(
        r#"{{"jsonrpc":"2.0","id":{FIRST_ID},"method":"tools/call","params":{{"name":"echo","arguments":{{"text":"{text}"}}{meta}}}}}"#
    )
}

/// So many bytes of JSON text, with line breaks in it as real texts have them.
fn text(size: usize) -> String {
    let mut text = MARK.to_owned();
    while text.len() < size {
        text.push_str("The quick brown fox jumps over the lazy dog, again and again;\\n");
    }
    text.truncate(size);
    // Not in the middle of an escape.
    if text.ends_with('\\') {
        text.pop();
        text.push('.');
    }
    text
}

/// The length of the answer to a call.
pub(crate) fn answer_length(size: usize) -> usize {
    let text = text(size);
    format!(r#"{{"jsonrpc":"2.0","id":{FIRST_ID},"result":{{"content":[{{"type":"text","text":"{text}"}}]}}}}"#).len()
}

fn write_digits(bytes: &mut [u8], at: usize, width: usize, mut value: usize) {
    for byte in bytes.iter_mut().skip(at).take(width).rev() {
        *byte = b'0' + u8::try_from(value % 10).unwrap_or_default();
        value /= 10;
    }
}

/// The number that is the `id` of a message, which its writer put first or last.
pub(crate) fn id_of(message: &[u8]) -> Option<u64> {
    let near = 64.min(message.len());
    let (first, last) = (message.get(..near)?, message.get(message.len() - near..)?);
    let digits = |part: &[u8]| {
        let at = memmem::rfind(part, b"\"id\":")? + 5;
        let rest = part.get(at..)?.trim_ascii_start();
        let end = rest.iter().position(|byte| !byte.is_ascii_digit()).unwrap_or(rest.len());
        std::str::from_utf8(rest.get(..end)?).ok()?.parse().ok()
    };
    digits(first).or_else(|| digits(last))
}
