//! What a child wrote, made fit for a log and an error text: valid UTF-8, no control characters (a child must not be able
//! to forge a line of the log or to drive the operator's terminal), of bounded length.

/// The first `bytes_max` bytes, with control characters escaped and what is not UTF-8 replaced; says how much was cut.
pub(super) fn printable(bytes: &[u8], bytes_max: usize) -> String {
    let (head, cut) = match bytes.split_at_checked(boundary(bytes, bytes_max)) {
        Some((head, rest)) => (head, rest.len()),
        None => (bytes, 0),
    };
    let mut text = String::with_capacity(head.len());
    for chunk in head.utf8_chunks() {
        for character in chunk.valid().chars() {
            if character.is_control() {
                text.extend(character.escape_default());
            } else {
                text.push(character);
            }
        }
        if !chunk.invalid().is_empty() {
            text.push(char::REPLACEMENT_CHARACTER);
        }
    }
    if cut > 0 {
        text.push_str(&format!("… ({cut} bytes more)"));
    }
    text
}

/// The last place not after `at` that is not inside a character.
fn boundary(bytes: &[u8], at: usize) -> usize {
    const CONTINUATION_MASK: u8 = 0b1100_0000;
    const CONTINUATION: u8 = 0b1000_0000;
    let inside = |at: usize| bytes.get(at).is_some_and(|byte| byte & CONTINUATION_MASK == CONTINUATION);
    (0..4).filter_map(|back| at.checked_sub(back)).find(|at| !inside(*at)).unwrap_or(at)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn control_characters_are_escaped_and_the_rest_stays() {
        assert_eq!(printable("naïve 👩‍👩‍👧 \u{1b}[31m\tx\n\u{85}".as_bytes(), 200), "naïve 👩‍👩‍👧 \\u{1b}[31m\\tx\\n\\u{85}");
    }

    #[test]
    fn what_is_not_utf8_is_replaced() {
        assert_eq!(printable(b"a\xff\xfeb\xc3", 200), "a\u{fffd}\u{fffd}b\u{fffd}");
    }

    #[test]
    fn a_cut_does_not_split_a_character_and_says_how_much_is_missing() {
        assert_eq!(printable("ab€cd".as_bytes(), 4), "ab… (5 bytes more)");
        assert_eq!(printable("ab€cd".as_bytes(), 5), "ab€… (2 bytes more)");
        assert_eq!(printable("ab".as_bytes(), 2), "ab");
        assert_eq!(
            printable(b"\x80\x80\x80\x80\x80\x80", 5),
            "\u{fffd}\u{fffd}\u{fffd}\u{fffd}\u{fffd}… (1 bytes more)"
        );
    }
}
