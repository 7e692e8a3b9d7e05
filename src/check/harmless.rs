//! What servers say, made fit to be shown: of bounded length, without what drives a terminal or hides what is written, and
//! without the secrets that they were given.

use std::fmt::Write as _;

use crate::config::ChildConfig;

/// The most characters of a name or a version.
pub(super) const NAME_MAX: usize = 100;
/// The most of a sentence.
pub(super) const SENTENCE_MAX: usize = 1000;
/// The most of a line of stderr.
pub(super) const LINE_MAX: usize = 500;
/// What is shorter may be an ordinary word, and hides nothing.
const SECRET_BYTES_MIN: usize = 8;
const LEFT_OUT: &str = "***";

/// The first so many characters.
pub(super) fn bounded(text: &str, characters_max: usize) -> String {
    let mut characters = text.chars();
    let mut kept: String = characters.by_ref().take(characters_max).collect();
    if characters.next().is_some() {
        kept.push('…');
    }
    kept
}

/// The same for a terminal: whatever is no visible character is escaped.
pub(super) fn visible(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    for character in text.chars() {
        if is_harmful(character) {
            shown.extend(character.escape_default());
        } else {
            shown.push(character);
        }
    }
    shown
}

/// JSON in which every such character is written as an escape, which can only be in its strings. Line breaks stay.
pub(super) fn json(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for character in text.chars() {
        if is_harmful(character) && character != '\n' {
            for unit in character.encode_utf16(&mut [0; 2]) {
                // Writing to a string cannot fail.
                let _ = write!(escaped, "\\u{unit:04x}");
            }
        } else {
            escaped.push(character);
        }
    }
    escaped
}

/// Control characters, and those that change the order or the presence of others or are not seen at all.
fn is_harmful(character: char) -> bool {
    character.is_control()
        || matches!(
            character,
            '\u{ad}'
                | '\u{34f}'
                | '\u{61c}'
                | '\u{115f}'..='\u{1160}'
                | '\u{180b}'..='\u{180f}'
                | '\u{200b}'..='\u{200f}'
                | '\u{2028}'..='\u{202e}'
                | '\u{2060}'..='\u{206f}'
                | '\u{3164}'
                | '\u{fe00}'..='\u{fe0f}'
                | '\u{feff}'
                | '\u{ffa0}'
                | '\u{fff0}'..='\u{fffb}'
                | '\u{e0000}'..='\u{e0fff}'
        )
}

/// What one server must not repeat: the values of the variables that were set for it.
#[derive(Clone)]
pub(super) struct Secrets(Vec<String>);

impl Secrets {
    /// Those of this server.
    pub(super) fn of(config: &ChildConfig) -> Self {
        let values = config.env.values().flat_map(|value| forms(value.expose()));
        let mut values: Vec<_> = values.filter(|value| value.len() >= SECRET_BYTES_MIN).collect();
        // One may be a part of another.
        values.sort_by_key(|value| std::cmp::Reverse(value.len()));
        Self(values)
    }

    /// The text without them, and bounded.
    pub(super) fn clean(&self, text: &str, characters_max: usize) -> String {
        let mut text = text.to_owned();
        for secret in &self.0 {
            if text.contains(secret.as_str()) {
                text = text.replace(secret.as_str(), LEFT_OUT);
            }
        }
        bounded(&text, characters_max)
    }
}

/// How a value may be written: as it is, its lines one by one (a key has several), and as JSON and other languages quote it.
fn forms(value: &str) -> impl Iterator<Item = String> + use<> {
    let parts: Vec<String> = std::iter::once(value).chain(value.lines().map(str::trim)).map(str::to_owned).collect();
    parts.into_iter().flat_map(|part| {
        let quoted = serde_json::to_string(&part).unwrap_or_default();
        let inside = quoted.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')).map(str::to_owned);
        std::iter::once(part).chain(inside)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::tests::child_config;
    use crate::config::secret::Secret;

    #[test]
    fn what_drives_a_terminal_or_hides_something_is_escaped() {
        let hostile = "a\u{1b}[31m\u{9b}2J\r\n\t\u{7f}\u{202e}b\u{200b}c\u{2028}d\u{e0041}e\u{feff}";
        let shown = visible(hostile);
        assert_eq!(shown, "a\\u{1b}[31m\\u{9b}2J\\r\\n\\t\\u{7f}\\u{202e}b\\u{200b}c\\u{2028}d\\u{e0041}e\\u{feff}");
        assert_eq!(visible("naïve 日本 €"), "naïve 日本 €");
        let text = serde_json::to_string(hostile).unwrap();
        let escaped = json(&text);
        assert!(!escaped.chars().any(is_harmful), "{escaped:?}");
        assert_eq!(serde_json::from_str::<String>(&escaped).unwrap(), hostile);
    }

    #[test]
    fn what_is_long_is_cut_between_characters() {
        assert_eq!(bounded("ab€", 3), "ab€");
        assert_eq!(bounded("ab€d", 3), "ab€…");
    }

    #[test]
    fn the_values_of_variables_are_left_out_unless_they_are_words() {
        let mut config = child_config();
        for (name, value) in [("A", "hunter2-hunter2"), ("B", "hunter2-hunter2-and-more"), ("C", "debug")] {
            config.env.insert(name.to_owned(), Secret::new(value.to_owned()));
        }
        let secrets = Secrets::of(&config);
        assert_eq!(secrets.clean("debug: hunter2-hunter2 and hunter2-hunter2-and-more", 100), "debug: *** and ***");
        let key = "-----BEGIN\nMIIEpAIBAAKCAQEA\nqUoting\"it\\";
        config.env.insert("KEY".to_owned(), Secret::new(key.to_owned()));
        let of_several_lines = Secrets::of(&config);
        for text in [key, "MIIEpAIBAAKCAQEA", r#"qUoting\"it\\"#, r#"-----BEGIN\nMIIEpAIBAAKCAQEA\nqUoting\"it\\"#] {
            let cleaned = of_several_lines.clean(text, 100);
            assert!(!cleaned.contains("MIIE") && !cleaned.contains("it"), "{text}: {cleaned}");
        }
        assert_eq!(secrets.clean(&format!("{}hunter2-hunter2", "x".repeat(95)), 97), format!("{}**…", "x".repeat(95)));
    }
}
