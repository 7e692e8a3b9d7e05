//! The grammar against `serde_json`'s.

use proptest::prelude::*;
use serde::de::IgnoredAny;

use super::*;
use crate::jsonrpc::arbitrary;

fn accepts(bytes: &[u8]) -> bool {
    let mut cursor = Cursor::new(bytes, usize::MAX);
    std::str::from_utf8(bytes).is_ok() && cursor.value().and_then(|()| cursor.end()).is_ok()
}

/// `IgnoredAny` goes over the text without building anything, so that it has neither a depth nor a range.
fn oracle(bytes: &[u8]) -> bool {
    std::str::from_utf8(bytes).is_ok_and(|text| serde_json::from_str::<IgnoredAny>(text).is_ok())
}

fn fault(text: &str) -> (usize, Fault) {
    let mut cursor = Cursor::new(text.as_bytes(), 8);
    let fault = cursor.value().and_then(|()| cursor.end()).expect_err(text);
    (cursor.position(), fault)
}

proptest! {
    #[test]
    fn valid_json_is_accepted(text in arbitrary::json()) {
        prop_assert!(oracle(text.as_bytes()));
        prop_assert!(accepts(text.as_bytes()));
    }

    #[test]
    fn mutated_json_is_judged_as_serde_json_does(bytes in arbitrary::mutated(arbitrary::json())) {
        prop_assert_eq!(accepts(&bytes), oracle(&bytes), "{:?}", String::from_utf8_lossy(&bytes));
    }

    #[test]
    fn tokens_in_any_order_are_judged_as_serde_json_does(
        tokens in prop::collection::vec(prop::sample::select(vec![
            "{", "}", "[", "]", ",", ":", "\"", "\"a\"", "\\", "\\u", "\\ud800", "00", "0", "1", "-", "+", ".", "e", "E", "true",
            "tru", "false", "null", "n", " ", "\n", "\u{c}", "\0", "\u{1f}", "\u{7f}", "é", "\u{feff}", "Infinity",
        ]), 0..8),
    ) {
        let text = tokens.concat();
        prop_assert_eq!(accepts(text.as_bytes()), oracle(text.as_bytes()), "{}", text);
    }

    #[test]
    fn random_bytes_are_judged_as_serde_json_does(bytes in prop::collection::vec(any::<u8>(), 0..12)) {
        prop_assert_eq!(accepts(&bytes), oracle(&bytes));
    }

    #[test]
    fn known_json_is_skipped_to_where_it_is_read_to(
        text in arbitrary::json(),
        behind in prop::sample::select(vec!["", ",1", " }", "]", " , \"x\""]),
    ) {
        let text = text + behind;
        let (mut reading, mut skipping) = (Cursor::new(text.as_bytes(), 64), Cursor::new(text.as_bytes(), 64));
        prop_assert_eq!((reading.value(), skipping.skip()), (Ok(()), Ok(())));
        prop_assert_eq!(skipping.position(), reading.position());
    }

    #[test]
    fn anything_is_skipped_to_somewhere(bytes in arbitrary::mutated(arbitrary::json())) {
        let mut cursor = Cursor::new(&bytes, 64);
        let skipped = cursor.skip();
        // Nothing is skipped only where no value can begin.
        let nothing_begins = matches!(bytes.first(), None | Some(b',' | b']' | b'}'));
        prop_assert!(skipped.is_err() || cursor.position() > 0 || nothing_begins);
    }

    #[test]
    fn strings_of_any_bytes_are_judged_as_serde_json_does(inside in prop::collection::vec(any::<u8>(), 0..40)) {
        let bytes = [b"\"", inside.as_slice(), b"\""].concat();
        prop_assert_eq!(accepts(&bytes), oracle(&bytes));
    }

    #[test]
    fn plain_stretches_end_at_the_first_special_byte(
        bytes in prop::collection::vec(prop_oneof![9 => 0x20..=u8::MAX, 1 => any::<u8>()], 0..100),
    ) {
        let expected = bytes.iter().position(|byte| matches!(byte, b'"' | b'\\' | 0..0x20)).unwrap_or(bytes.len());
        prop_assert_eq!(plain_len(&bytes), expected);
    }

    #[test]
    fn levels_are_a_stack(operations in prop::collection::vec(prop::option::weighted(0.6, any::<bool>()), 0..600)) {
        let (mut levels, mut model) = (Levels::default(), Vec::new());
        for operation in operations {
            match operation {
                Some(object) => {
                    let level = if object { Level::Object } else { Level::Array };
                    levels.push(level);
                    model.push(level);
                }
                None if model.pop().is_some() => levels.pop(),
                None => {}
            }
            prop_assert_eq!(levels.last(), model.last().copied());
            prop_assert_eq!(levels.count, model.len());
        }
    }
}

#[test]
fn faults_are_where_the_text_stops_being_json() {
    for (text, at, expected) in [
        ("", 0, Fault::End),
        ("\u{feff}{}", 0, Fault::ByteOrderMark),
        ("{\"a\":1,}", 7, Fault::Name),
        ("{\"a\" 1}", 5, Fault::Colon),
        ("{\"a\":1 \"b\"", 7, Fault::ObjectNext),
        ("[1 2]", 3, Fault::ArrayNext),
        ("[1}", 2, Fault::ArrayNext),
        ("[01]", 2, Fault::ArrayNext),
        ("[1.]", 3, Fault::Digit),
        ("[-]", 2, Fault::Digit),
        ("[nul]", 1, Fault::Value),
        ("\"ab\0\"", 3, Fault::Control),
        ("\"ab\\x\"", 3, Fault::Escape),
        ("\"ab\\u12", 3, Fault::Escape),
        ("\"ab", 3, Fault::End),
        ("1 1", 2, Fault::Trailing),
        ("1\0", 1, Fault::Trailing),
        ("[[[[[[[[[]]]]]]]]]", 8, Fault::Depth),
    ] {
        assert_eq!(fault(text), (at, expected), "{text}");
    }
}

#[test]
fn containers_are_counted_up_to_the_limit() {
    for depth in [1, 2, 63, 64, 65, 128, 200] {
        let text = format!("{}{}{}", "[{\"a\":".repeat(depth), "[]", "}]".repeat(depth));
        assert_eq!(Cursor::new(text.as_bytes(), 2 * depth + 1).value(), Ok(()));
        assert_eq!(Cursor::new(text.as_bytes(), 2 * depth).value(), Err(Fault::Depth));
    }
}

#[test]
fn every_byte_in_every_place_ends_a_plain_stretch_or_does_not() {
    for (length, byte) in (0..40).flat_map(|length| (0..=u8::MAX).map(move |byte| (length, byte))) {
        for at in 0..length {
            let mut bytes = vec![b'a'; length];
            bytes[at] = byte;
            let ends = matches!(byte, b'"' | b'\\' | 0..0x20);
            assert_eq!(plain_len(&bytes), if ends { at } else { length }, "{byte} at {at} of {length}");
        }
    }
}
