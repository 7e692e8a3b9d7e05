//! Generated JSON and JSON-RPC for property tests.

use proptest::prelude::*;

/// A JSON string, with escapes of every kind.
pub(crate) fn string() -> impl Strategy<Value = String> {
    r#""([ -!#-\[\]-~]|\\["\\/bfnrt]|\\u[0-9a-fA-F]{4}|[\u{7f}-\u{d7ff}]|👩‍👩‍👧|🏳️‍🌈){0,12}""#
}

/// A JSON number, also beyond every machine's range.
pub(crate) fn number() -> impl Strategy<Value = String> {
    r"-?(0|[1-9][0-9]{0,30})(\.[0-9]{1,4})?([eE][+-]?[0-9]{1,3})?"
}

fn space() -> impl Strategy<Value = String> {
    r"[ \t\n\r]{0,2}"
}

/// Any JSON value, with white space in every place that may have some.
pub(crate) fn json() -> impl Strategy<Value = String> {
    let leaf = prop_oneof![
        prop::sample::select(vec!["null", "true", "false", "{ }", "[\n]"]).prop_map(str::to_owned),
        number(),
        string(),
    ];
    let value = leaf.prop_recursive(4, 24, 4, |inner| {
        let spaced = (space(), inner, space()).prop_map(|(before, value, after)| before + &value + &after).boxed();
        let member = (space(), string(), space(), spaced.clone())
            .prop_map(|(before, name, after, value)| format!("{before}{name}{after}:{value}"));
        prop_oneof![
            prop::collection::vec(spaced, 1..4).prop_map(|items| format!("[{}]", items.join(","))),
            prop::collection::vec(member, 1..4).prop_map(|members| format!("{{{}}}", members.join(","))),
        ]
    });
    (space(), value, space()).prop_map(|(before, value, after)| before + &value + &after)
}

/// A few bytes changed, taken out or put in.
pub(crate) fn mutated(text: impl Strategy<Value = String>) -> impl Strategy<Value = Vec<u8>> {
    let byte = prop_oneof![
        prop::sample::select(br#"{}[]",:\u0123-+.eE tfn"#.to_vec()),
        prop::sample::select(vec![0, 10, 13, 31]),
        any::<u8>()
    ];
    let change = (any::<prop::sample::Index>(), byte, 0..3_u8);
    (text, prop::collection::vec(change, 1..4)).prop_map(|(text, changes)| {
        let mut bytes = text.into_bytes();
        for (at, byte, how) in changes {
            match how {
                0 => bytes.insert(at.index(bytes.len() + 1), byte),
                1 if !bytes.is_empty() => {
                    let at = at.index(bytes.len());
                    bytes[at] = byte;
                }
                _ if !bytes.is_empty() => {
                    bytes.remove(at.index(bytes.len()));
                }
                _ => {}
            }
        }
        bytes
    })
}

/// The members of a valid message in any order: `(text, kind's members)`.
pub(crate) fn message() -> impl Strategy<Value = String> {
    let id = prop_oneof![any::<u64>().prop_map(|id| id.to_string()), number(), string()];
    let object = (r#""x[a-z]{0,3}""#, json()).prop_map(|(name, value)| format!("{{{name}:{value}}}"));
    let method = prop::option::of(r"[a-z/]{1,12}");
    let error = any::<bool>();
    (id, prop::option::of(object), method, error, json(), any::<bool>(), space()).prop_flat_map(
        |(id, object, method, error, json, with_id, space)| {
            let mut members = vec![r#""jsonrpc":"2.0""#.to_owned(), format!(r#""xtra" :{json}"#)];
            if with_id || (method.is_none() && !error) {
                members.push(format!(r#""id":{space}{id}{space}"#));
            }
            match method {
                Some(method) => {
                    members.push(format!(r#""method":"{method}""#));
                    members.extend(object.map(|object| format!(r#""params":{object}"#)));
                }
                None if error => members.push(format!(r#""error":{}"#, object.as_deref().unwrap_or("{}"))),
                None => members.push(format!(r#""result":{json}"#)),
            }
            Just(members).prop_shuffle().prop_map(move |members| format!("{{{space}{}{space}}}", members.join(",")))
        },
    )
}
