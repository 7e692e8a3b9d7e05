//! Members of objects set and taken out as edits of the text, so that everything else stays as it was spelled.

use crate::jsonrpc::{Frame, Member, Message, Span};

/// The object at `object` with these members (names, and values as JSON text) set, and these taken out. Another spelling
/// of such a name counts as that name, so that none of them passes for it: a second one is taken out.
///
/// To be the last that edits the beginning of the object: what is added goes there.
pub(super) fn object(mut frame: Frame, message: &Message, object: Span, set: &[(&str, &str)], unset: &[&str]) -> Frame {
    let members = message.members(object);
    let mut missing: Vec<_> = set.iter().map(|entry| Some(*entry)).collect();
    let mut kept = Vec::with_capacity(members.len());
    for member in &members {
        let sets = set.iter().position(|(name, _)| message.is_named(*member, name));
        let value = sets.and_then(|at| missing.get_mut(at)).and_then(Option::take);
        if let Some((_, value)) = value {
            frame = frame.replace(member.value, value);
        }
        let goes = unset.iter().any(|name| message.is_named(*member, name)) || sets.is_some() && value.is_none();
        kept.push(!goes);
    }
    frame = take_out(frame, &members, &kept);
    let added: Vec<String> =
        missing.iter().flatten().map(|(name, value)| format!("{}:{value}", serde_json::Value::from(*name))).collect();
    if added.is_empty() {
        return frame;
    }
    let comma = if kept.contains(&true) { "," } else { "" };
    frame.replace(Span { start: object.start + 1, end: object.start + 1 }, format!("{}{comma}", added.join(",")))
}

/// Takes out what is not kept: each with the comma behind it, those at the end with the one before them.
fn take_out(mut frame: Frame, members: &[Member], kept: &[bool]) -> Frame {
    let last_kept = kept.iter().rposition(|kept| *kept);
    for (at, pair) in members.windows(2).enumerate() {
        if let ([member, next], Some(false)) = (pair, kept.get(at))
            && last_kept.is_some_and(|last| at < last)
        {
            frame = frame.replace(Span { start: member.name.start, end: next.name.start }, "");
        }
    }
    let first_of_tail = last_kept.map_or(0, |last| last + 1);
    let (Some(first), Some(last)) = (members.get(first_of_tail), members.last()) else { return frame };
    let start = match last_kept.and_then(|last| members.get(last)) {
        Some(kept) => kept.value.end,
        None => first.name.start,
    };
    frame.replace(Span { start, end: last.value.end }, "")
}

/// The message's `params` with these members set and taken out, be there `params` or not.
pub(super) fn params(frame: Frame, message: &Message, set: &[(&str, &str)], unset: &[&str]) -> Frame {
    if let Some(params) = message.params() {
        return object(frame, message, params, set, unset);
    }
    let members: Vec<String> =
        set.iter().map(|(name, value)| format!("{}:{value}", serde_json::Value::from(*name))).collect();
    let end = message.bytes().len().saturating_sub(1);
    frame.replace(Span { start: end, end }, format!(r#","params":{{{}}}"#, members.join(",")))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::Value;

    use super::super::super::world::{json_of, message, text};
    use super::*;

    fn edited(params: &str, set: &[(&str, &str)], unset: &[&str]) -> String {
        let message = message(&format!(r#"{{"jsonrpc":"2.0","method":"x","params":{params}}}"#));
        let edited = text(super::params(Frame::new(message.bytes().clone()), &message, set, unset));
        let edited = edited.strip_prefix(r#"{"jsonrpc":"2.0","method":"x","params":"#).unwrap();
        edited.strip_suffix('}').unwrap().to_owned()
    }

    #[test]
    fn members_are_set_and_taken_out_and_the_rest_stays_as_it_is() {
        for (params, set, unset, expected) in [
            ("{}", &[("a", "1")][..], &[][..], r#"{"a":1}"#),
            (r#"{ "x" : 1.0 }"#, &[("a", "1")], &[], r#"{"a":1, "x" : 1.0 }"#),
            (r#"{"x":1,"a":2}"#, &[("a", "1")], &[], r#"{"x":1,"a":1}"#),
            (r#"{"a":1,"b":2}"#, &[], &["a"], r#"{"b":2}"#),
            (r#"{"a":1,"b":2}"#, &[], &["b"], r#"{"a":1}"#),
            (r#"{"a":1 , "b":2 }"#, &[], &["a", "b"], "{ }"),
            (r#"{"a":1,"b":2}"#, &[("c", "3")], &["a", "b"], r#"{"c":3}"#),
            (r#"{"a":1,"b":2,"c":3}"#, &[("z", "0")], &["a", "c"], r#"{"z":0,"b":2}"#),
            (r#"{"a":1,"A":2,"\u0061":3,"b":4}"#, &[("a", "0")], &[], r#"{"a":0,"b":4}"#),
            (r#"{"a":1,"A":2}"#, &[], &["a"], "{}"),
        ] {
            assert_eq!(edited(params, set, unset), expected, "{params}");
        }
    }

    #[test]
    fn params_that_are_absent_are_made() {
        let message = message(r#"{"jsonrpc":"2.0","method":"x"}"#);
        let made = params(Frame::new(message.bytes().clone()), &message, &[("a", "1"), ("b", "2")], &[]);
        assert_eq!(text(made), r#"{"jsonrpc":"2.0","method":"x","params":{"a":1,"b":2}}"#);
    }

    proptest! {
        #[test]
        fn an_edited_object_is_what_it_is_as_a_map(
            members in prop::collection::btree_map("[a-f]", 0..9u8, 0..6),
            set in prop::collection::btree_map("[a-h]", 10..19u8, 0..4),
            unset in prop::collection::btree_set("[a-h]", 0..4),
            space in " {0,2}",
        ) {
            let unset: Vec<_> = unset.into_iter().filter(|name| !set.contains_key(name)).collect();
            let spelled: Vec<_> = members.iter().map(|(name, value)| format!(r#"{space}"{name}"{space}:{value}"#)).collect();
            let values: Vec<_> = set.iter().map(|(name, value)| (name.as_str(), value.to_string())).collect();
            let values: Vec<_> = values.iter().map(|(name, value)| (*name, value.as_str())).collect();
            let unset: Vec<_> = unset.iter().map(String::as_str).collect();
            let edited = json_of(&edited(&format!("{{{}{space}}}", spelled.join(",")), &values, &unset));
            let mut expected = members;
            expected.extend(set.clone());
            expected.retain(|name, _| !unset.contains(&name.as_str()));
            let expected: serde_json::Map<String, Value> =
                expected.into_iter().map(|(name, value)| (name, value.into())).collect();
            prop_assert_eq!(edited, Value::Object(expected));
        }
    }
}
