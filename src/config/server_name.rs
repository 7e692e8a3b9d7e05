//! What a server is called.

use std::fmt;
use std::sync::Arc;

/// A server's name: 1 to 64 of the letters `A` to `Z` and `a` to `z`, digits, `-`, `_` and `.`, and no `.` at its beginning. So it
/// can stand in a URL, a log line and a label as it is.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ServerName(Arc<str>);

impl ServerName {
    /// That of a server that was given without one.
    pub fn unnamed() -> Self {
        Self("default".into())
    }

    /// Reads a name. None if it is none.
    pub fn parse(text: &str) -> Option<Self> {
        let good = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
        let whole = (1..=BYTES_MAX).contains(&text.len()) && text.bytes().all(good) && !text.starts_with('.');
        whole.then(|| Self(text.into()))
    }

    /// The name as it is written.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for ServerName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

const BYTES_MAX: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_can_stand_in_a_url_as_it_is() {
        let longest = "a".repeat(BYTES_MAX);
        for name in ["a", "git", "my-server_2.0", "0", longest.as_str(), "default"] {
            assert_eq!(ServerName::parse(name).map(|name| name.to_string()).as_deref(), Some(name));
        }
        let too_long = "a".repeat(BYTES_MAX + 1);
        for text in ["", ".", "..", ".hidden", "a b", "a/b", "\u{e4}", "a%20", "a\n", too_long.as_str()] {
            assert_eq!(ServerName::parse(text), None, "{text:?}");
        }
        assert_eq!(ServerName::parse("default"), Some(ServerName::unnamed()));
    }
}
