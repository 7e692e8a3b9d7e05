//! Bytes as events.
//!
//! Pure: whatever pieces the bytes come in, the events are the same.
//!
//! Spec: the WHATWG's Server-sent events, 9.2.6 Interpreting an event stream.

use std::time::Duration;

use bytes::{Bytes, BytesMut};

/// What stands between two blank lines.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Event {
    /// What to resume behind.
    pub(super) id: Option<Box<str>>,
    /// Its type, where that is said.
    pub(super) name: Option<Box<str>>,
    /// Its lines of data, joined; none if there are none, or nothing is in them.
    pub(super) data: Option<Bytes>,
    /// How long to wait before a broken stream is taken up again.
    pub(super) retry: Option<Duration>,
}

/// An event is larger than it may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("an event is larger than --message-bytes-max")]
pub(super) struct TooLarge;

/// Reads events.
#[derive(Debug)]
pub(super) struct EventReader {
    bytes_max: usize,
    line: BytesMut,
    /// The last byte was a carriage return, whose line feed ends no other line.
    after_return: bool,
    /// Nothing but a byte order mark may have been there.
    at_start: bool,
    event: Event,
    data: Option<BytesMut>,
    is_empty: bool,
}

impl EventReader {
    /// Reads events with up to so many bytes of data.
    pub(super) fn new(bytes_max: usize) -> Self {
        Self {
            bytes_max,
            line: BytesMut::new(),
            after_return: false,
            at_start: true,
            event: Event::default(),
            data: None,
            is_empty: true,
        }
    }

    /// Takes bytes, and gives the events that they complete to `take`.
    ///
    /// # Errors
    /// One is too large; what follows is not read.
    pub(super) fn feed(&mut self, mut bytes: &[u8], mut take: impl FnMut(Event)) -> Result<(), TooLarge> {
        if let ([b'\n', rest @ ..], true) = (bytes, self.after_return) {
            bytes = rest;
            self.after_return = false;
        }
        while let Some(end) = memchr::memchr2(b'\n', b'\r', bytes) {
            let (line, rest) = bytes.split_at(end);
            self.append(line)?;
            let line = self.line.split();
            self.take_line(&line, &mut take)?;
            bytes = match rest {
                [b'\r', b'\n', rest @ ..] => rest,
                [b'\r'] => {
                    self.after_return = true;
                    &[]
                }
                [_, rest @ ..] => rest,
                [] => &[],
            };
        }
        if !bytes.is_empty() {
            self.after_return = false;
        }
        self.append(bytes)
    }

    fn append(&mut self, bytes: &[u8]) -> Result<(), TooLarge> {
        if self.line.len() + bytes.len() > self.bytes_max.saturating_add(FIELD_BYTES) {
            return Err(TooLarge);
        }
        self.line.extend_from_slice(bytes);
        Ok(())
    }

    fn take_line(&mut self, line: &[u8], take: &mut impl FnMut(Event)) -> Result<(), TooLarge> {
        let line = if std::mem::take(&mut self.at_start) { line.strip_prefix(MARK).unwrap_or(line) } else { line };
        if line.is_empty() {
            let data = self.data.take().filter(|data| !data.is_empty()).map(BytesMut::freeze);
            let event = Event { data, ..std::mem::take(&mut self.event) };
            if !std::mem::replace(&mut self.is_empty, true) {
                take(event);
            }
            return Ok(());
        }
        let colon = memchr::memchr(b':', line).unwrap_or(line.len());
        let (name, value) = line.split_at(colon);
        let value = value.strip_prefix(b":").unwrap_or(value);
        let value = value.strip_prefix(b" ").unwrap_or(value);
        let text = || String::from_utf8_lossy(value).into_owned().into_boxed_str();
        match name {
            b"data" => {
                match &mut self.data {
                    None => self.data = Some(BytesMut::from(value)),
                    Some(data) if data.len() + value.len() >= self.bytes_max => return Err(TooLarge),
                    Some(data) => {
                        data.extend_from_slice(b"\n");
                        data.extend_from_slice(value);
                    }
                }
                self.is_empty = false;
            }
            b"event" => self.event.name = Some(text()),
            b"id" if !value.contains(&0) => {
                self.event.id = Some(text());
                self.is_empty = false;
            }
            b"retry" if !value.is_empty() && value.iter().all(u8::is_ascii_digit) => {
                self.event.retry = text().parse().ok().map(Duration::from_millis);
                self.is_empty = false;
            }
            _ => {}
        }
        Ok(())
    }
}

/// U+FEFF.
const MARK: &[u8] = "\u{feff}".as_bytes();
/// More than stands before the value of a field.
const FIELD_BYTES: usize = 16;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn read(pieces: &[&[u8]]) -> Vec<Event> {
        let (mut reader, mut events) = (EventReader::new(1000), Vec::new());
        for piece in pieces {
            reader.feed(piece, |event| events.push(event)).expect("small");
        }
        events
    }

    fn data(text: &str) -> Event {
        Event { data: Some(Bytes::copy_from_slice(text.as_bytes())), ..Event::default() }
    }

    #[test]
    fn events_are_read_as_the_standard_has_them() {
        for (text, expected) in [
            ("data: a\n\n", vec![data("a")]),
            ("\u{feff}data:a\r\n\r\ndata:  b\r\r", vec![data("a"), data(" b")]),
            ("data: a\ndata\ndata: c\n\n", vec![data("a\n\nc")]),
            (": comment\n\n\n\nevent: x\n\n", vec![]),
            ("data: unfinished\n", vec![]),
            ("event: endpoint\ndata: /m\n\n", vec![Event { name: Some("endpoint".into()), ..data("/m") }]),
            ("retry: soon\nid: a\0b\ndata: x\n\n", vec![data("x")]),
        ] {
            assert_eq!(read(&[text.as_bytes()]), expected, "{text:?}");
        }
        // spec: 2025-11-25 basic/transports, Sending Messages to the Server 6: the priming event
        let primed = Event { id: Some("3-0".into()), retry: Some(Duration::from_secs(1)), ..Event::default() };
        assert_eq!(read(&[b"id: 3-0\nretry: 1000\ndata: \n\n"]), [primed]);
    }

    #[test]
    fn the_limit_holds_for_a_line_and_for_all_lines_of_an_event() {
        let feed = |text: &str| EventReader::new(10).feed(text.as_bytes(), |_| {});
        assert_eq!(feed("data: 0123456789\n\ndata: 0123456789\n\n"), Ok(()));
        assert_eq!(feed(&format!("data: {}", "x".repeat(30))), Err(TooLarge));
        assert_eq!(feed("data: 01234\ndata: 56789\n"), Err(TooLarge));
    }

    proptest! {
        #[test]
        fn the_pieces_do_not_matter(
            text in prop::collection::vec(
                prop::sample::select(vec!["data", "id", ":", " ", "\n", "\r", "\r\n", "a", "\u{20ac}", "event", "retry: 5"]), 0..40),
            cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..6),
        ) {
            let text = text.concat().into_bytes();
            let mut cuts: Vec<_> = cuts.iter().map(|cut| cut.index(text.len() + 1)).collect();
            cuts.sort_unstable();
            let (mut pieces, mut from) = (Vec::new(), 0);
            for cut in cuts {
                pieces.push(&text[from..cut]);
                from = cut;
            }
            pieces.push(&text[from..]);
            prop_assert_eq!(read(&pieces), read(&[&text]));
        }
    }
}
