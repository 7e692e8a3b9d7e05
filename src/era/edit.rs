//! Members put into an object, set in it and taken out of it, as edits of the text: everything else stays as it is spelled.

use crate::jsonrpc::{Duplicate, Frame, Member, Message, Span};

/// Puts members (JSON text without braces, not empty) at the beginning of the object at `object`.
#[must_use]
pub fn insert(frame: Frame, message: &Message, object: Span, members: &str) -> Frame {
    let at = Span { start: object.start + 1, end: object.start + 1 };
    let inner = Span { start: at.start, end: object.end.saturating_sub(1) };
    let separator = if message.text(inner).trim_ascii().is_empty() { "" } else { "," };
    frame.replace(at, format!("{members}{separator}"))
}

/// The object at `object` with these members (names, and values as JSON text) set, and these taken out. Another spelling
/// of such a name counts as that name, so that none of them passes for it: a second one is taken out.
///
/// To be the last that edits the beginning of the object: what is added goes there.
#[must_use]
pub fn object(mut frame: Frame, message: &Message, object: Span, set: &[(&str, &str)], unset: &[&str]) -> Frame {
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
    frame = gaps(&members, &kept).into_iter().fold(frame, |frame, gap| frame.replace(gap, ""));
    let added: Vec<String> =
        missing.iter().flatten().map(|(name, value)| format!("{}:{value}", serde_json::Value::from(*name))).collect();
    if added.is_empty() {
        return frame;
    }
    let comma = if kept.contains(&true) { "," } else { "" };
    frame.replace(Span { start: object.start + 1, end: object.start + 1 }, format!("{}{comma}", added.join(",")))
}

/// The message's `params` with these members set and taken out, be there `params` or not.
#[must_use]
pub fn params(frame: Frame, message: &Message, set: &[(&str, &str)], unset: &[&str]) -> Frame {
    if let Some(params) = message.params() {
        return object(frame, message, params, set, unset);
    }
    let members: Vec<String> =
        set.iter().map(|(name, value)| format!("{}:{value}", serde_json::Value::from(*name))).collect();
    let end = message.bytes().len().saturating_sub(1);
    frame.replace(Span { start: end, end }, format!(r#","params":{{{}}}"#, members.join(",")))
}

/// Where these members of the object at `object` are, with the commas that go with them: ascending, not overlapping.
///
/// # Errors
/// One of them occurs twice, or in another upper or lower case.
pub fn extents(message: &Message, object: Span, names: &[&str]) -> Result<Vec<Span>, Duplicate> {
    if message.values(object, names)?.is_empty() {
        return Ok(Vec::new());
    }
    let members = message.members(object);
    let is_kept = |member: &Member| !names.iter().any(|name| message.is_named(*member, name));
    let kept: Vec<bool> = members.iter().map(is_kept).collect();
    Ok(gaps(&members, &kept))
}

/// Takes members out of the object at `object`.
///
/// # Errors
/// As [`extents`].
pub fn remove(frame: Frame, message: &Message, object: Span, names: &[&str]) -> Result<Frame, Duplicate> {
    Ok(extents(message, object, names)?.into_iter().fold(frame, |frame, gap| frame.replace(gap, "")))
}

/// What goes with those that are not kept: each with the comma behind it, those at the end with the one before them.
fn gaps(members: &[Member], kept: &[bool]) -> Vec<Span> {
    let last_kept = kept.iter().rposition(|kept| *kept);
    let behind = last_kept.map_or(0, |last| last + 1);
    let mut gaps = Vec::new();
    for ((member, next), kept) in members.iter().zip(members.iter().skip(1)).zip(kept).take(behind) {
        if !kept {
            gaps.push(Span { start: member.name.start, end: next.name.start });
        }
    }
    if let (Some(first), Some(last)) = (members.get(behind), members.last()) {
        let before = last_kept.and_then(|last| members.get(last));
        gaps.push(Span { start: before.map_or(first.name.start, |kept| kept.value.end), end: last.value.end });
    }
    gaps
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use proptest::prelude::*;
    use serde_json::Value;

    use super::*;
    use crate::jsonrpc::DEPTH_MAX;

    fn message(params: &str) -> Message {
        let text = format!(r#"{{"jsonrpc":"2.0","method":"m","params":{params}}}"#);
        Message::parse(text.into(), DEPTH_MAX).expect("a message")
    }

    fn params_of(frame: Frame) -> String {
        let bytes: Bytes = frame.into_bytes();
        let message = Message::parse(bytes, DEPTH_MAX).expect("still a message");
        message.text(message.params().expect("params")).to_owned()
    }

    #[test]
    fn members_go_in_at_the_beginning() {
        for (params, expected) in [("{}", r#"{"x":1}"#), ("{ }", r#"{"x":1 }"#), (r#"{"a":2}"#, r#"{"x":1,"a":2}"#)] {
            let message = message(params);
            let span = message.params().expect("params");
            assert_eq!(params_of(insert(Frame::new(message.bytes().clone()), &message, span, r#""x":1"#)), expected);
        }
    }

    #[test]
    fn members_go_out_with_their_commas_and_nothing_else() {
        for (params, expected) in [
            (r#"{"a":1}"#, "{}"),
            (r#"{"a":1,"b":2}"#, "{}"),
            (r#"{ "a" : 1 , "x" : 1e2 , "b" : [2] }"#, r#"{ "x" : 1e2 }"#),
            (r#"{"x":"}","a":{"y":","},"b":2}"#, r#"{"x":"}"}"#),
            (r#"{"b":2,"x":0}"#, r#"{"x":0}"#),
            (r#"{"x":0,"a":1,"y":0,"b":2,"z":0}"#, r#"{"x":0,"y":0,"z":0}"#),
            (r#"{"x\"a":0,"a":1}"#, r#"{"x\"a":0}"#),
            (r#"{"\u0061":"\\","x\\":"\""}"#, r#"{"x\\":"\""}"#),
            (r#"{"x":{"a":1}}"#, r#"{"x":{"a":1}}"#),
        ] {
            let message = message(params);
            let span = message.params().expect("params");
            let frame = Frame::new(message.bytes().clone());
            assert_eq!(params_of(remove(frame, &message, span, &["b", "a"]).expect("once")), expected, "{params}");
        }
    }

    fn edited(params: &str, set: &[(&str, &str)], unset: &[&str]) -> String {
        let message = message(params);
        params_of(super::params(Frame::new(message.bytes().clone()), &message, set, unset))
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
        let message = Message::parse(r#"{"jsonrpc":"2.0","method":"x"}"#.into(), DEPTH_MAX).expect("a message");
        let made = params(Frame::new(message.bytes().clone()), &message, &[("a", "1"), ("b", "2")], &[]).into_bytes();
        assert_eq!(&made[..], br#"{"jsonrpc":"2.0","method":"x","params":{"a":1,"b":2}}"#);
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
            let edited = edited(&format!("{{{}{space}}}", spelled.join(",")), &values, &unset);
            let edited: Value = serde_json::from_str(&edited).expect("JSON");
            let mut expected = members;
            expected.extend(set.clone());
            expected.retain(|name, _| !unset.contains(&name.as_str()));
            let expected: serde_json::Map<String, Value> =
                expected.into_iter().map(|(name, value)| (name, value.into())).collect();
            prop_assert_eq!(edited, Value::Object(expected));
        }
    }
}
