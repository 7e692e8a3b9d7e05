//! What a line of a child's stdout is: a message, an answer that cannot be used, or noise. Separate from the actor because
//! it is a pure function of the line, and from [`crate::lines`] because it knows JSON-RPC.
//!
//! Noise is never fatal and never forwarded: it is counted, and shown in the log at a bounded rate, but only as far as no
//! message begins: messages and what is left of them belong to clients and not into the log (DESIGN section 2, invariant
//! 7). A message behind noise on the same line (`text{json}`, from a print without a line break) is found.
//!
//! Spec: 2025-11-25, Transports, stdio ("The server MUST NOT write anything to its stdout that is not a valid MCP
//! message"), and servers that do all the same.

use bytes::Bytes;
use tokio::time::Instant;

use super::text::printable;
use crate::jsonrpc::{BATCH_MAX, Body, Message, ParseError, SalvageId, parse_body};
use crate::lines::Line;
use crate::metrics::{Limit, limit_hit};
use crate::telemetry::flood::Flood;

/// The deepest nesting taken from a child: deeper than what is taken from clients, since it is for the client that asked
/// to say what is too deep for it.
const DEPTH_MAX: usize = 1024;
/// How much of a line of noise is shown.
const EXCERPT_BYTES_MAX: usize = 200;
/// What every message has in it and little else.
const MESSAGE_MARK: &[u8] = b"jsonrpc";
const NOISE: &str = "the child wrote something to stdout that is no JSON-RPC message";
/// How many lines of noise are shown in a second.
const NOISE_PER_SECOND_MAX: u32 = 5;

/// What is in a line.
#[derive(Debug)]
pub(super) enum Reading {
    /// A message.
    Message(Message),
    /// A message, and the noise in front of it.
    AfterNoise(Message, Bytes),
    /// A batch, which revision 2025-03-26 allows; what is no message in it is noise.
    Batch(Vec<Result<Message, ParseError>>),
    /// The answer to a request, but of no use.
    Unusable {
        /// The request's id.
        id: u64,
        /// What is wrong with the answer.
        what: String,
    },
    /// None of these.
    Noise(Bytes),
    /// A line without an id that was longer than the limit.
    Overlong {
        /// How long it was.
        bytes: usize,
    },
    /// Nothing.
    Blank,
}

/// Says what a line is.
pub(super) fn read(line: Line, line_bytes_max: usize) -> Reading {
    let line = match line {
        Line::Whole(line) => line,
        Line::Overlong { id, bytes, request: _ } => {
            limit_hit(Limit::LineBytesMax);
            let Some(id) = id else { return Reading::Overlong { bytes } };
            let what = format!("it has {bytes} bytes, more than {line_bytes_max} (--line-bytes-max)");
            return Reading::Unusable { id, what };
        }
    };
    if line.trim_ascii().is_empty() {
        return Reading::Blank;
    }
    let error = match parse_body(line.clone(), DEPTH_MAX, BATCH_MAX) {
        Ok(Body::Single(message)) => return Reading::Message(message),
        Ok(Body::Batch(messages)) => return Reading::Batch(messages),
        Err(error) => error,
    };
    if let Some(message) = Message::find_trailing(&line, DEPTH_MAX) {
        // Nothing but white space follows the message.
        let noise = line.trim_ascii_end().len().saturating_sub(message.bytes().len());
        return Reading::AfterNoise(message, line.slice(..noise));
    }
    count(&error);
    let mut salvage = SalvageId::default();
    salvage.feed(&line);
    match salvage.id() {
        Some(id) => Reading::Unusable { id, what: error.to_string() },
        None => Reading::Noise(line),
    }
}

/// Counts what is wrong with a message if that is how much there is of it.
fn count(error: &ParseError) {
    match error {
        ParseError::Depth(_) | ParseError::BatchLength(_) | ParseError::IdLength => limit_hit(Limit::MessageForm),
        ParseError::Utf8(_) | ParseError::Json { .. } | ParseError::Batch | ParseError::Envelope { .. } => {}
    }
}

/// Counts noise and shows some of it.
#[derive(Debug)]
pub(super) struct Noise {
    flood: Flood,
    lines: u64,
}

impl Noise {
    /// None yet.
    pub(super) const fn new() -> Self {
        Self { flood: Flood::new(NOISE_PER_SECOND_MAX), lines: 0 }
    }

    /// A line, or what stands on it in front of a message, was noise.
    pub(super) fn line(&mut self, line: &[u8], now: Instant) {
        match presentable(line) {
            [] => self.withheld(line.len(), now),
            shown if self.count(now) => {
                let (excerpt, bytes) = (printable(shown, EXCERPT_BYTES_MAX), line.len());
                tracing::warn!(lines = self.lines, excerpt, bytes, "{NOISE}");
            }
            _ => {}
        }
    }

    /// Something was noise that must not be shown: it is, or could be, what is left of a message.
    fn withheld(&mut self, bytes: usize, now: Instant) {
        if self.count(now) {
            tracing::warn!(lines = self.lines, bytes, "{NOISE}; it looks like one, so it is not shown");
        }
    }

    /// What stands in a batch was no message; it is not shown, as what stands beside it.
    pub(super) fn in_batch(&mut self, error: &ParseError, now: Instant) {
        count(error);
        if self.count(now) {
            tracing::warn!(lines = self.lines, %error, "the child wrote a batch with something in it that is no message");
        }
    }

    /// A line was too long.
    pub(super) fn overlong(&mut self, bytes: usize, now: Instant) {
        if self.count(now) {
            tracing::warn!(
                lines = self.lines,
                bytes,
                "the child wrote a line longer than --line-bytes-max; it is dropped"
            );
        }
    }

    /// An answer was of no use.
    pub(super) fn unusable(&mut self, id: u64, what: &str, now: Instant) {
        if self.count(now) {
            tracing::warn!(lines = self.lines, id, what, "the child's answer to a request cannot be passed on");
        }
    }

    /// How many lines there were.
    pub(super) const fn lines(&self) -> u64 {
        self.lines
    }

    /// When there is something to be reported.
    pub(super) fn due(&self) -> Option<Instant> {
        self.flood.due()
    }

    /// Reports what was not shown, if it is time.
    pub(super) fn report(&mut self, now: Instant) {
        if let Some(suppressed) = self.flood.summary(now) {
            tracing::warn!(lines = self.lines, suppressed, "the child wrote more noise to stdout than is shown");
        }
    }

    fn count(&mut self, now: Instant) -> bool {
        self.report(now);
        self.lines = self.lines.saturating_add(1);
        self.flood.admit(now)
    }
}

/// The part of a line of noise that is in front of anything that could be meant as a message.
fn presentable(line: &[u8]) -> &[u8] {
    let ends = if memchr::memmem::find(line, MESSAGE_MARK).is_some() { memchr::memchr(b'{', line) } else { None };
    let shown = ends.and_then(|at| line.get(..at)).unwrap_or(line).trim_ascii_end();
    // The start of a batch says nothing.
    shown.strip_suffix(b"[").unwrap_or(shown)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::limit_hits;

    fn reading(line: &str) -> Reading {
        read(Line::Whole(Bytes::copy_from_slice(line.as_bytes())), 1000)
    }

    #[test]
    fn messages_are_messages_even_behind_noise_and_in_a_batch() {
        let message = r#"{"jsonrpc":"2.0","id":1,"result":{}}"#;
        assert!(matches!(reading(message), Reading::Message(_)));
        let Reading::AfterNoise(found, noise) = reading(&format!("Server {{started}}{message} \r")) else {
            panic!("one is there")
        };
        assert_eq!((found.id_as_u64(), &*noise), (Some(1), &b"Server {started}"[..]));
        let Reading::Batch(messages) = reading(&format!("[{message},7]")) else { panic!("it is a batch") };
        assert_eq!((messages.len(), messages.iter().filter(|message| message.is_ok()).count()), (2, 1));
    }

    #[test]
    fn an_answer_that_cannot_be_used_is_known_by_its_id() {
        let Reading::Unusable { id, what } = reading(r#"{"jsonrpc":"2.0","id":12,"result":{"a":nan}}"#) else {
            panic!("it is an answer");
        };
        assert_eq!(id, 12);
        assert!(what.contains("not valid JSON"), "{what}");
        let overlong = read(Line::Overlong { id: Some(12), request: None, bytes: 2000 }, 1000);
        let Reading::Unusable { id: 12, what } = overlong else { panic!("it is an answer") };
        assert_eq!(what, "it has 2000 bytes, more than 1000 (--line-bytes-max)");
    }

    #[test]
    fn a_message_that_is_too_much_is_counted() {
        let message = |id: &str, value: &str| format!(r#"{{"jsonrpc":"2.0","id":{id},"result":{value}}}"#);
        let nested = |levels: usize| message("1", &format!("{}{}", "[".repeat(levels), "]".repeat(levels)));
        let id = |bytes: usize| message(&format!("\"{}\"", "x".repeat(bytes - 2)), "{}");
        let batch = |count: usize| format!("[{}]", vec![message("1", "{}"); count].join(","));
        for (fits, too_much) in [(nested(1023), nested(1024)), (id(4096), id(4097)), (batch(1024), batch(1025))] {
            assert!(matches!(reading(&fits), Reading::Message(_) | Reading::Batch(_)));
            let before = limit_hits(Limit::MessageForm);
            assert!(!matches!(reading(&too_much), Reading::Message(_) | Reading::Batch(_)));
            assert!(limit_hits(Limit::MessageForm) > before);
        }
        let before = limit_hits(Limit::MessageForm);
        let Reading::Batch(messages) = reading(&format!("[{}]", nested(1024))) else { panic!("it is a batch") };
        Noise::new().in_batch(messages[0].as_ref().unwrap_err(), Instant::now());
        assert!(limit_hits(Limit::MessageForm) > before);
    }

    #[test]
    fn everything_else_is_noise_or_nothing() {
        for noise in ["hello", "{}", "[]", "[", "null", "\"id\":3", r#"{"jsonrpc":"2.0","method":"x","params":nan}"#] {
            assert!(matches!(reading(noise), Reading::Noise(_)), "{noise}: {:?}", reading(noise));
        }
        assert!(matches!(read(Line::Whole(Bytes::from_static(b"\xff\xfe")), 1000), Reading::Noise(_)));
        assert!(matches!(
            read(Line::Overlong { id: None, request: None, bytes: 9 }, 5),
            Reading::Overlong { bytes: 9 }
        ));
        assert!(matches!((reading(""), reading(" \t")), (Reading::Blank, Reading::Blank)));
    }

    #[test]
    fn what_could_be_a_message_is_not_shown() {
        for (line, shown) in [
            ("Server started", "Server started"),
            (r#"{"level":"info","msg":"started"}"#, r#"{"level":"info","msg":"started"}"#),
            ("jsonrpc server started", "jsonrpc server started"),
            (r#"{"jsonrpc":"2.0","method":"x","params":nan}"#, ""),
            (r#"{"method":"x","params":{"secret":1},"jsonrpc":"2.0""#, ""),
            (r#"[{"jsonrpc":"2.0","method":"x"},"#, ""),
            (r#"  { "jsonrpc" : "#, ""),
            (r#"note: {"jsonrpc":"2.0","id":1,"result":{"secret":"#, "note:"),
        ] {
            assert_eq!(presentable(line.as_bytes()), shown.as_bytes(), "{line}");
        }
    }
}
