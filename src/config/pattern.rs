//! Names with `*` in them.
//!
//! `*` stands for any run of characters, also none; everything else stands for itself, case included.

/// Whether a pattern matches the whole name. Each piece between two `*` is looked for from where the one before it was found
/// first: nothing is tried again, so the time is that of reading both.
pub fn matches(pattern: &str, name: &str) -> bool {
    let Some((start, rest)) = pattern.split_once('*') else { return pattern == name };
    let Some(mut name) = name.strip_prefix(start) else { return false };
    // What is behind the last `*`, or all that is left, stands at the end.
    let (middle, end) = rest.rsplit_once('*').unwrap_or(("", rest));
    for piece in middle.split('*') {
        let Some(at) = name.find(piece) else { return false };
        name = name.get(at + piece.len()..).unwrap_or_default();
    }
    name.ends_with(end)
}

/// How much a pattern says: the number of its characters that stand for themselves.
pub fn literal_chars(pattern: &str) -> usize {
    pattern.chars().filter(|char| *char != '*').count()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_star_is_any_run_of_characters_and_everything_else_is_itself() {
        for (pattern, text, expected) in [
            ("", "", true),
            ("", "a", false),
            ("*", "", true),
            ("*", "anything at all", true),
            ("read_*", "read_file", true),
            ("read_*", "read_", true),
            ("read_*", "unread_file", false),
            ("*_file", "read_file", true),
            ("*_file", "read_files", false),
            ("a*b*c", "a-b-b-c", true),
            ("a*b*c", "acb", false),
            ("a**b", "ab", true),
            ("a?[b].c", "a?[b].c", true),
            ("a?c", "abc", false),
            ("Read", "read", false),
            ("*\u{e9}*", "caf\u{e9}s", true),
            ("*aab", "aaaaaab", true),
            ("file:///public/*", "file:///public/../private", true),
        ] {
            assert_eq!(matches(pattern, text), expected, "{pattern:?} {text:?}");
        }
        assert_eq!((literal_chars("jwt:*"), literal_chars("*\u{e9}"), literal_chars("")), (4, 1, 0));
    }

    /// The rule itself, without regard to time.
    fn model(pattern: &[char], text: &[char]) -> bool {
        match (pattern.split_first(), text.split_first()) {
            (None, None) => true,
            (Some(('*', rest)), _) => {
                model(rest, text) || text.split_first().is_some_and(|(_, text)| model(pattern, text))
            }
            (Some((wanted, pattern)), Some((found, text))) => wanted == found && model(pattern, text),
            _ => false,
        }
    }

    proptest! {
        #[test]
        fn a_pattern_admits_what_its_rule_says(pattern in "[ab\u{e9}*]{0,8}", text in "[ab\u{e9}*]{0,8}") {
            let chars = |text: &str| text.chars().collect::<Vec<_>>();
            prop_assert_eq!(matches(&pattern, &text), model(&chars(&pattern), &chars(&text)));
        }
    }
}
