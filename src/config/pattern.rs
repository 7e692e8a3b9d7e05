//! Names with `*` in them.
//!
//! `*` stands for any run of characters, also none; everything else stands for itself, case included.

/// Whether this pattern admits this text. Takes time in proportion to the product of their lengths at most.
pub fn matches(pattern: &str, text: &str) -> bool {
    let (mut pattern, mut text) = (pattern.as_bytes(), text.as_bytes());
    // What follows the last `*` passed, and the text from where it was tried.
    let mut retry: Option<(&[u8], &[u8])> = None;
    loop {
        match (pattern.split_first(), text.split_first()) {
            (None, None) => return true,
            (Some((b'*', rest)), _) => {
                retry = Some((rest, text));
                pattern = rest;
            }
            (Some((wanted, pattern_rest)), Some((found, text_rest))) if wanted == found => {
                (pattern, text) = (pattern_rest, text_rest);
            }
            // The last `*` takes one character more, as long as there is one.
            _ => match retry.and_then(|(rest, tried)| Some((rest, tried.split_first()?.1))) {
                Some((rest, tried)) => {
                    retry = Some((rest, tried));
                    (pattern, text) = (rest, tried);
                }
                None => return false,
            },
        }
    }
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
