//! When two spellings name the same member.

use std::borrow::Cow;

/// The name of a member, decoded.
pub(crate) enum Name<'a> {
    /// ASCII, as nearly all are.
    Ascii(&'a [u8]),
    /// Any other text, or with escapes.
    Text(Cow<'a, str>),
    /// Not text (it has half a surrogate pair in it), so that it is none of ours.
    None,
}

/// How a name in a message compares with one that mcp-mux looks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Spelling {
    /// It is that name; perhaps with escapes (`"\u0069d"`).
    Same,
    /// It is that name in another upper or lower case. To mcp-mux that is another name; to a server whose JSON library
    /// ignores case (Go's does, .NET's web defaults do) it is the same. If such a member passed unseen, its sender
    /// could use an `ID` or a `requestid` that mcp-mux has not replaced: another session's.
    Lookalike,
    /// It is another name.
    Other,
}

impl<'a> Name<'a> {
    /// From what stands between the quotes.
    #[inline]
    pub(crate) fn new(spelled: &'a [u8]) -> Self {
        // Names are short: one pass without a call.
        if spelled.iter().all(|byte| byte.is_ascii() && *byte != b'\\') {
            Self::Ascii(spelled)
        } else {
            Self::decode(spelled)
        }
    }

    #[cold]
    fn decode(spelled: &'a [u8]) -> Self {
        if spelled.contains(&b'\\') {
            let quoted = [b"\"", spelled, b"\""].concat();
            return serde_json::from_slice(&quoted).map_or(Self::None, |text| Self::Text(Cow::Owned(text)));
        }
        std::str::from_utf8(spelled).map_or(Self::None, |text| Self::Text(Cow::Borrowed(text)))
    }

    /// False where the length alone says that it is another name (in ASCII).
    #[inline]
    pub(crate) const fn may_be(&self, name: &str) -> bool {
        match self {
            Self::Ascii(own) => own.len() == name.len(),
            Self::Text(_) => true,
            Self::None => false,
        }
    }

    /// Compares it with a name (in ASCII).
    pub(crate) fn spelling_of(&self, name: &str) -> Spelling {
        let (same, alike) = match self {
            Self::Ascii(own) => (*own == name.as_bytes(), own.eq_ignore_ascii_case(name.as_bytes())),
            // Beyond ASCII there are `ſ` and the sign of the kelvin, which are `s` and `k` to who ignores case.
            Self::Text(own) => (own == name, fold(own).eq(fold(name))),
            Self::None => (false, false),
        };
        match (same, alike) {
            (true, _) => Spelling::Same,
            (false, true) => Spelling::Lookalike,
            (false, false) => Spelling::Other,
        }
    }
}

fn fold(text: &str) -> impl Iterator<Item = char> {
    text.chars().flat_map(char::to_uppercase).flat_map(char::to_lowercase)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_compared_decoded_and_lookalikes_are_seen() {
        for (spelled, name, expected) in [
            ("id", "id", Spelling::Same),
            (r"\u0069d", "id", Spelling::Same),
            (r"\u0069\u0064", "id", Spelling::Same),
            (r"request\u0049d", "requestId", Spelling::Same),
            (r"io.modelcontextprotocol\/related-task", "io.modelcontextprotocol/related-task", Spelling::Same),
            ("ID", "id", Spelling::Lookalike),
            ("requestid", "requestId", Spelling::Lookalike),
            (r"\u0049d", "id", Spelling::Lookalike),
            ("taſK", "task", Spelling::Lookalike),
            (r"ta\u017fk", "task", Spelling::Lookalike),
            ("ıd", "id", Spelling::Lookalike),
            ("", "id", Spelling::Other),
            ("idx", "id", Spelling::Other),
            ("i", "id", Spelling::Other),
            ("id ", "id", Spelling::Other),
            (r"id\u0000", "id", Spelling::Other),
            (r"\ud800id", "id", Spelling::Other),
            ("ïd", "id", Spelling::Other),
        ] {
            assert_eq!(Name::new(spelled.as_bytes()).spelling_of(name), expected, "{spelled} {name}");
        }
        assert_eq!(Name::new(b"id\xff").spelling_of("id"), Spelling::Other);
    }
}
