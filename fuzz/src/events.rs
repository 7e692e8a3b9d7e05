//! A decoder of event streams, written from the WHATWG's Server-sent events, 9.2.6, for tests of what is encoded.

/// An event as a client gets it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Event {
    /// The last id that was seen, then or before.
    pub id: String,
    /// Empty: `message`.
    pub kind: String,
    pub data: String,
}

/// A stream's events, comments, and what it says of reconnecting; what is left behind the last blank line is none.
#[derive(Debug, Default)]
pub struct Decoded {
    pub events: Vec<Event>,
    pub comments: usize,
    pub retries_ms: Vec<u64>,
    /// Fields that no client knows, or values that it ignores.
    pub ignored: Vec<String>,
    /// The last line was not ended, or no blank line came behind it.
    pub unfinished: bool,
}

/// Decodes a whole stream.
pub fn decode(text: &str) -> Decoded {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text).replace("\r\n", "\n").replace('\r', "\n");
    let mut decoded = Decoded::default();
    let (mut event, mut data) = (Event::default(), None::<String>);
    let mut lines: Vec<&str> = text.split('\n').collect();
    decoded.unfinished = lines.pop().is_some_and(|rest| !rest.is_empty());
    for line in lines {
        if line.is_empty() {
            if let Some(data) = data.take() {
                let complete = Event { data, ..event.clone() };
                decoded.events.push(complete);
            }
            event.kind.clear();
            continue;
        }
        let (name, value) = line.split_once(':').unwrap_or((line, ""));
        let value = value.strip_prefix(' ').unwrap_or(value);
        match name {
            "" => decoded.comments += 1,
            "event" => value.clone_into(&mut event.kind),
            "id" if !value.contains('\0') => value.clone_into(&mut event.id),
            "data" => {
                data = Some(match data {
                    Some(before) => before + "\n" + value,
                    None => value.to_owned(),
                });
            }
            "retry" if value.bytes().all(|byte| byte.is_ascii_digit()) => {
                decoded.retries_ms.extend(value.parse::<u64>());
            }
            _ => decoded.ignored.push(line.to_owned()),
        }
    }
    decoded.unfinished |= data.is_some() || !event.kind.is_empty();
    decoded
}
