//! Finds the id of a message that cannot be parsed (too long, not UTF-8, cut off), so that whoever waits for it can be
//! told. Separate from the scanner because it must do with pieces and with garbage: it keeps no bytes but one name and the
//! id, proves nothing, and rather finds no id than a wrong one.

use bytes::Bytes;

use super::scan::{Name, Spelling};
use super::{ID_BYTES_MAX, Message, RawId};

/// Enough for `method` with each letter escaped (`\u006d…`); a longer name is none that matters here.
const NAME_BYTES_MAX: usize = 36;

/// Looks for the top-level `id` of a line that is fed piece by piece and never kept. Ask when the whole line went by.
#[derive(Debug, Default)]
pub struct SalvageId {
    at: At,
    /// Containers open within the message's object.
    depth: usize,
    name: Vec<u8>,
    method: bool,
    ids: usize,
    id: Option<u64>,
    /// What stands behind `"id"`, and whether that has ended.
    spelled: Vec<u8>,
    is_spelled: bool,
}

/// Where in the line it is: at the top level of the message's object, where nothing else is said.
#[derive(Clone, Copy, Debug, Default)]
enum At {
    /// Before the message.
    #[default]
    Start,
    /// Before a member.
    Member,
    /// In a member's name.
    Name(Escape),
    /// Behind it, before the colon.
    Colon,
    /// Behind the colon of `id`, and then in its digits.
    Id(Option<u64>),
    /// In an id that is a string.
    IdString(Escape),
    /// In an id that is another number.
    IdNumber,
    /// In, before or behind any other value.
    Value,
    /// In a container that is a member's value, at any depth.
    Nested,
    /// In a string that is a value, at any depth.
    String(Escape),
    /// The line is no object, or the object has ended.
    End,
}

/// Whether the byte before was a backslash that escapes this one.
#[derive(Clone, Copy, Debug)]
enum Escape {
    No,
    Yes,
}

impl Escape {
    /// Behind this byte.
    const fn next(self, byte: u8) -> Self {
        match (self, byte) {
            (Self::No, b'\\') => Self::Yes,
            _ => Self::No,
        }
    }
}

impl SalvageId {
    /// The next bytes of the line.
    pub fn feed(&mut self, mut bytes: &[u8]) {
        loop {
            // Nearly all of a long line is in its members' values.
            let skip = match self.at {
                At::String(Escape::No) => memchr::memchr2(b'"', b'\\', bytes).unwrap_or(bytes.len()),
                At::Nested => bytes.iter().take_while(|byte| !matches!(byte, b'"' | b'{' | b'}' | b'[' | b']')).count(),
                At::End => return,
                At::Start | At::Member | At::Name(_) | At::Colon | At::Id(_) | At::Value | At::String(Escape::Yes) => 0,
                At::IdString(_) | At::IdNumber => 0,
            };
            bytes = bytes.get(skip..).unwrap_or_default();
            let Some((byte, rest)) = bytes.split_first() else { return };
            self.at = self.step(*byte);
            bytes = rest;
        }
    }

    /// The id, once a top-level `"id"` with an unsigned integer has gone by in a message without `method`. None if
    /// `"id"` has gone by twice.
    pub const fn id(&self) -> Option<u64> {
        if self.method || self.ids != 1 { None } else { self.id }
    }

    /// The same of a request, a message with `method`: as it is spelled, a string too.
    pub fn request_id(&self) -> Option<RawId> {
        if !self.method || self.ids != 1 || !self.is_spelled || self.spelled.len() > ID_BYTES_MAX {
            return None;
        }
        let text = std::str::from_utf8(&self.spelled).ok()?;
        // Whether it can be one, only the scanner knows.
        let request = format!(r#"{{"jsonrpc":"2.0","method":"","id":{text}}}"#);
        Message::parse(Bytes::from(request), 1).ok()?.id()
    }

    fn spell(&mut self, byte: u8) {
        // The byte that no longer fits tells an id that is too long.
        if self.spelled.len() <= ID_BYTES_MAX {
            self.spelled.push(byte);
        }
    }

    fn step(&mut self, byte: u8) -> At {
        let space = matches!(byte, b' ' | b'\t' | b'\n' | b'\r');
        match (self.at, byte) {
            (At::Start, _) if space => At::Start,
            (At::Start, b'{') | (At::Value, b',') => At::Member,
            (At::Start | At::End, _) | (At::Member | At::Value, b'}') => At::End,

            (At::Member, b'"') => {
                self.name.clear();
                At::Name(Escape::No)
            }
            (At::Member, _) => At::Member,
            (At::Name(Escape::No), b'"') => At::Colon,
            (At::Name(escape), _) => {
                // The byte that no longer fits tells a name that is too long.
                if self.name.len() <= NAME_BYTES_MAX {
                    self.name.push(byte);
                }
                At::Name(escape.next(byte))
            }
            (At::Colon, b':') => self.value_of_name(),
            (At::Colon, _) => At::Colon,

            (At::Id(None), _) if space => At::Id(None),
            (At::Id(None), b'"') => {
                self.spell(byte);
                At::IdString(Escape::No)
            }
            (At::IdString(escape), _) => {
                self.spell(byte);
                self.is_spelled = matches!((escape, byte), (Escape::No, b'"'));
                if self.is_spelled { At::Value } else { At::IdString(escape.next(byte)) }
            }
            (At::Id(None), b'-') | (At::Id(Some(_)) | At::IdNumber, b'.' | b'e' | b'E') => {
                self.spell(byte);
                At::IdNumber
            }
            (At::IdNumber, b'0'..=b'9' | b'+' | b'-') => {
                self.spell(byte);
                At::IdNumber
            }
            (At::IdNumber, b',' | b'}') => {
                self.is_spelled = true;
                if byte == b',' { At::Member } else { At::End }
            }
            (At::IdNumber, _) => {
                self.is_spelled = space;
                At::Value
            }
            (At::Id(None), b'0'..=b'9') => {
                self.spell(byte);
                At::Id(Some(u64::from(byte - b'0')))
            }
            // JSON has no leading zeros.
            (At::Id(Some(value)), b'0'..=b'9') if value != 0 => {
                self.spell(byte);
                let longer = value.checked_mul(10).and_then(|value| value.checked_add(u64::from(byte - b'0')));
                longer.map_or(At::IdNumber, |value| At::Id(Some(value)))
            }
            (At::Id(Some(value)), b',' | b'}') => {
                (self.id, self.is_spelled) = (Some(value), true);
                if byte == b',' { At::Member } else { At::End }
            }
            (At::Id(Some(value)), _) if space => {
                (self.id, self.is_spelled) = (Some(value), true);
                At::Value
            }

            (At::Value | At::Nested, b'"') => At::String(Escape::No),
            (At::Id(None) | At::Value | At::Nested, b'{' | b'[') => {
                self.depth = self.depth.saturating_add(1);
                At::Nested
            }
            (At::Id(_) | At::Value, _) => At::Value,
            (At::Nested, b'}' | b']') => {
                self.depth = self.depth.saturating_sub(1);
                self.behind_part()
            }
            (At::Nested, _) => At::Nested,
            (At::String(Escape::No), b'"') => self.behind_part(),
            (At::String(escape), _) => At::String(escape.next(byte)),
        }
    }

    /// Behind the colon of a member.
    fn value_of_name(&mut self) -> At {
        let name = Name::new(&self.name);
        if name.spelling_of("method") == Spelling::Same {
            self.method = true;
        }
        if name.spelling_of("id") == Spelling::Same {
            self.ids = self.ids.saturating_add(1);
            return At::Id(None);
        }
        At::Value
    }

    /// Behind a string or a container.
    const fn behind_part(&self) -> At {
        if self.depth == 0 { At::Value } else { At::Nested }
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use proptest::prelude::*;

    use super::*;
    use crate::jsonrpc::{Kind, Message, arbitrary};

    fn salvage(pieces: &[&[u8]]) -> Option<u64> {
        let mut salvage = SalvageId::default();
        pieces.iter().for_each(|piece| salvage.feed(piece));
        salvage.id()
    }

    /// Cuts at the given places.
    fn pieces(mut bytes: &[u8], cuts: &[prop::sample::Index]) -> Vec<Vec<u8>> {
        let mut pieces = Vec::new();
        for cut in cuts {
            let (piece, rest) = bytes.split_at(cut.index(bytes.len() + 1));
            pieces.push(piece.to_vec());
            bytes = rest;
        }
        pieces.push(bytes.to_vec());
        pieces
    }

    fn fed(bytes: &[u8], cuts: &[prop::sample::Index]) -> Option<u64> {
        let pieces = pieces(bytes, cuts);
        salvage(&pieces.iter().map(Vec::as_slice).collect::<Vec<_>>())
    }

    proptest! {
        #[test]
        fn the_id_of_a_valid_message_is_the_one_that_parsing_finds(
            text in arbitrary::message(),
            cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..12),
        ) {
            let message = Message::parse(Bytes::from(text.clone()), usize::MAX).expect(&text);
            let expected = match message.kind() {
                Kind::Request | Kind::Notification => None,
                Kind::Result | Kind::Error => message.id_as_u64(),
            };
            prop_assert_eq!(fed(text.as_bytes(), &cuts), expected, "{}", text);
            let expected = match message.kind() {
                Kind::Request => message.id(),
                Kind::Notification | Kind::Result | Kind::Error => None,
            };
            let mut salvage = SalvageId::default();
            pieces(text.as_bytes(), &cuts).iter().for_each(|piece| salvage.feed(piece));
            prop_assert_eq!(salvage.request_id(), expected, "{}", text);
        }

        #[test]
        fn garbage_gives_the_same_however_it_is_cut(
            bytes in arbitrary::mutated(arbitrary::message()),
            cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..12),
        ) {
            prop_assert_eq!(fed(&bytes, &cuts), salvage(&[&bytes]));
        }

        #[test]
        fn random_bytes_do_no_harm(bytes in prop::collection::vec(any::<u8>(), 0..64)) {
            salvage(&[b"{", &bytes]);
        }
    }

    #[test]
    fn the_id_of_a_request_is_found_as_it_is_spelled() {
        let long = "x".repeat(ID_BYTES_MAX - 2);
        for (id, expected) in [
            ("42", true),
            ("1e2", true),
            ("-1.50", true),
            ("1234567890123456789012345678901234567890", true),
            (r#""a \"b\u0031 é""#, true),
            (&format!("\"{long}\""), true),
            (&format!("\"{long}x\""), false),
            ("042", false),
            ("1.", false),
            ("-", false),
            ("null", false),
            ("[1]", false),
            ("\"\\x\"", false),
            ("\"cut", false),
        ] {
            let text = format!(r#"{{"id" :{id} ,"method":"x","params":["{}"#, "x".repeat(100));
            let mut salvage = SalvageId::default();
            salvage.feed(text.as_bytes());
            assert_eq!(salvage.request_id().as_ref().map(RawId::as_str), expected.then_some(id), "{id}");
            assert_eq!(salvage.id(), None);
        }
    }

    #[test]
    fn an_id_is_found_in_what_cannot_be_parsed() {
        for (line, expected) in [
            (r#"{"jsonrpc":"2.0","id":42,"result":{"text":"cut o"#, Some(42)),
            (r#"  {"result":{"id":7,"method":"x","a":[{"id":8}]},"id":42}"#, Some(42)),
            (r#"{"id" : 42 , "result":NaN}"#, Some(42)),
            (r#"{"result":"\\\"}","id":18446744073709551615}"#, Some(u64::MAX)),
            (r#"{"\u0069d":42,"result":1}"#, Some(42)),
            (r#"{"id":0,"result":1}"#, Some(0)),
            (r#"{"id":42}}}}]"id":43"#, Some(42)),
            (r#"{"id":42"#, None),
            (r#"{"id":18446744073709551616}"#, None),
            (r#"{"id":"42","result":1}"#, None),
            (r#"{"id":42.5}"#, None),
            (r#"{"id":4e2}"#, None),
            (r#"{"id":-42}"#, None),
            (r#"{"id":042}"#, None),
            (r#"{"id":42,"id":42}"#, None),
            (r#"{"id":42,"method":"x"}"#, None),
            (r#"{"id":42,"\u006d\u0065\u0074\u0068\u006f\u0064":"x"}"#, None),
            (r#"{"method":"x","id":42}"#, None),
            (r#"{"identifier":42,"idididididididididididididididididididididid":43}"#, None),
            (r#"[{"id":42,"result":1}]"#, None),
            (r#"noise {"id":42,"result":1}"#, None),
            ("", None),
        ] {
            assert_eq!(salvage(&[line.as_bytes()]), expected, "{line}");
        }
        assert_eq!(salvage(&[b"{\"id\":42,\"result\":\"", &[0xff; 100], b"\0\"}"]), Some(42));
        assert_eq!(salvage(&[b"{\"id\":42,\"result\":", &[b'['; 100_000]]), Some(42));
    }
}
