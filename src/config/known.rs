//! Keys of the configuration file: how they are written in a problem, and which one was probably meant.

use super::values::Wanted;

/// A key below another, as TOML writes it: `principals."jwt:*".rate`.
pub(super) fn below(place: &str, key: &str) -> String {
    format!("{place}.{}", quoted(key))
}

/// A key as TOML writes it, in quotes where it needs them.
pub(super) fn quoted(key: &str) -> String {
    let bare = !key.is_empty() && key.chars().all(|c| c.is_ascii_alphanumeric() || "-_".contains(c));
    if bare { key.to_owned() } else { format!("{key:?}") }
}

/// What would be right instead of a key that there is not.
pub(super) fn unknown<'a>(key: &str, known: impl IntoIterator<Item = &'a str>) -> Wanted {
    match nearest(key, known).filter(|(likeness, _)| *likeness > LIKENESS_MIN) {
        Some((_, nearest)) => meant(nearest),
        None => "a key that there is: see Configuration file in the README".to_owned(),
    }
}

/// What a key that there is not may be, where keys of other programs are to be expected.
pub(super) enum Foreign<'a> {
    /// One of ours, misspelt: what would be right.
    Misspelt(Wanted),
    /// Another program's, by its spelling; or this one of ours, if somebody wrote it as others do.
    Lookalike(&'a str),
    /// Another program's.
    Other,
}

impl<'a> Foreign<'a> {
    pub(super) fn of(key: &str, known: impl IntoIterator<Item = &'a str>) -> Self {
        if let Some((_, ours)) = OTHER_WORDS.iter().find(|(word, _)| *word == key) {
            return Self::Misspelt(meant(ours));
        }
        let nearest = nearest(key, known).filter(|(likeness, _)| *likeness > LIKENESS_OF_FOREIGN_MIN);
        match nearest {
            _ if OF_OTHERS.contains(&key) => Self::Other,
            // None of ours has such letters.
            Some((_, nearest)) if key.contains(|letter: char| letter.is_uppercase() || letter == '_') => {
                Self::Lookalike(nearest)
            }
            Some((_, nearest)) => Self::Misspelt(meant(nearest)),
            None => Self::Other,
        }
    }
}

fn meant(nearest: &str) -> Wanted {
    format!("a key that there is; did you mean {nearest}?")
}

fn nearest<'a>(key: &str, known: impl IntoIterator<Item = &'a str>) -> Option<(f64, &'a str)> {
    let spelled_as_we_do = spelled_as_we_do(key);
    let likeness = |known: &'a str| (strsim::jaro(&spelled_as_we_do, &known.to_lowercase()), known);
    known.into_iter().map(likeness).max_by(|(a, _), (b, _)| a.total_cmp(b))
}

/// `requestTimeout` and `request_timeout` are `request-timeout`.
fn spelled_as_we_do(key: &str) -> String {
    let mut spelled = String::with_capacity(key.len());
    let mut after_small = false;
    for character in key.chars() {
        if character.is_uppercase() && after_small {
            spelled.push('-');
        }
        after_small = character.is_lowercase();
        spelled.extend(character.to_lowercase().map(|character| if character == '_' { '-' } else { character }));
    }
    spelled
}

/// What is less like it was hardly meant.
const LIKENESS_MIN: f64 = 0.7;
/// Where keys of other programs are to be expected.
const LIKENESS_OF_FOREIGN_MIN: f64 = 0.87;

/// Words for our keys that would go unheard as another program's.
const OTHER_WORDS: [(&str, &str); 6] = [
    ("arguments", "args"),
    ("environment", "env"),
    ("envVars", "env"),
    ("workingDirectory", "cwd"),
    ("working_directory", "cwd"),
    ("disable", "disabled"),
];

/// Keys of other programs that look like ours.
const OF_OTHERS: [&str; 11] = [
    "type",
    "headers",
    "servers",
    "timeout",
    "transport",
    "disabledTools",
    "disabled_tools",
    "initTimeout",
    "startup_timeout_sec",
    "tool_timeout_sec",
    "networkTimeout",
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_quoted_where_toml_wants_it_quoted() {
        for (key, written) in
            [("a-b_1", "a-b_1"), ("jwt:*", "\"jwt:*\""), ("", "\"\""), ("a\u{1b}\"", "\"a\\u{1b}\\\"\"")]
        {
            assert_eq!(below("principals", key), format!("principals.{written}"));
        }
    }

    #[test]
    fn the_key_that_was_probably_meant_is_named() {
        let known = ["port", "path", "body-bytes-max", "sessions-max"];
        for (key, meant) in [
            ("prot", "port"),
            ("body_bytes_max", "body-bytes-max"),
            ("BODY-BYTES-MAX", "body-bytes-max"),
            ("max-body-bytes", "body-bytes-max"),
            ("session-max", "sessions-max"),
        ] {
            assert!(unknown(key, known).ends_with(&format!("did you mean {meant}?")), "{key}: {}", unknown(key, known));
        }
        let known_here = ["request-timeout", "pool", "env"];
        for (key, ours) in [("requst-timeout", "request-timeout"), ("pol", "pool"), ("environment", "env")] {
            let Foreign::Misspelt(wanted) = Foreign::of(key, known_here) else { panic!("{key}") };
            assert_eq!(wanted, meant(ours));
        }
        for key in ["requestTimeout", "request_timeout", "REQUEST-TIMEOUT"] {
            assert!(matches!(Foreign::of(key, known_here), Foreign::Lookalike("request-timeout")), "{key}");
        }
        for key in ["timeout", "autoApprove", "initTimeout"] {
            assert!(matches!(Foreign::of(key, known_here), Foreign::Other), "{key}");
        }
        for key in ["", "zzz", "\u{1F980}"] {
            assert!(unknown(key, known).contains("README"), "{key}");
        }
    }
}
