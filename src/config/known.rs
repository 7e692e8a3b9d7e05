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
    let spelled_as_we_do = key.to_lowercase().replace('_', "-");
    let near = known.into_iter().map(|known| (strsim::jaro(&spelled_as_we_do, known), known));
    let nearest = near.filter(|(likeness, _)| *likeness > LIKENESS_MIN).max_by(|(a, _), (b, _)| a.total_cmp(b));
    match nearest {
        Some((_, nearest)) => format!("a key that there is; did you mean {nearest}?"),
        None => "a key that there is: see Configuration file in the README".to_owned(),
    }
}

/// What is less like it was hardly meant.
const LIKENESS_MIN: f64 = 0.7;

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
        for key in ["", "zzz", "\u{1F980}"] {
            assert!(unknown(key, known).contains("README"), "{key}");
        }
    }
}
