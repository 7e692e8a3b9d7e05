//! What a [`Message`] promises, shown on its public functions alone.

use proptest::prelude::*;
use serde::de::IgnoredAny;
use serde_json::Value;

use super::*;

fn parse(text: impl Into<Bytes>) -> Result<Message, ParseError> {
    Message::parse(text.into(), DEPTH_MAX)
}

fn valid(text: &str) -> Message {
    parse(text.to_owned()).unwrap_or_else(|error| panic!("{error}: {text}"))
}

/// Which member the envelope's error is about, and the id to answer with.
fn envelope(text: &str) -> (&'static str, Option<String>) {
    match parse(text.to_owned()) {
        Err(ParseError::Envelope { what, id }) => (what, id.map(|id| id.as_str().to_owned())),
        other => panic!("{other:?}: {text}"),
    }
}

fn batch(text: &str) -> Vec<Result<Message, ParseError>> {
    match parse_body(text.to_owned().into(), DEPTH_MAX, BATCH_MAX) {
        Ok(Body::Batch(elements)) => elements,
        other => panic!("{other:?}: {text}"),
    }
}

fn bytes_of(message: &Message) -> &str {
    std::str::from_utf8(message.bytes()).expect("messages are UTF-8")
}

proptest! {
    #[test]
    fn every_member_is_found_where_it_is(text in arbitrary::message()) {
        let message = valid(&text);
        let tree: Value = serde_json::from_str(&text.replace(['\n', '\r'], " ").replace("\\u", "u")).unwrap_or_default();
        prop_assert!(!bytes_of(&message).contains(['\n', '\r']));
        prop_assert_eq!(bytes_of(&message), text.trim().replace(['\n', '\r'], " "));
        for (name, span) in [("params", message.params()), ("result", message.result()), ("error", message.error())] {
            prop_assert_eq!(span.is_some(), text.contains(&format!("\"{name}\":")), "{}", name);
            if let (Some(span), Value::Object(_)) = (span, &tree) {
                let own: Value = serde_json::from_str(&message.text(span).replace("\\u", "u")).expect("a whole value");
                prop_assert_eq!(tree.get(name), Some(&own));
            }
        }
        prop_assert_eq!(message.kind() == Kind::Request || message.kind() == Kind::Notification, !message.method().is_empty());
    }

    #[test]
    fn bytes_are_json_to_us_if_they_are_to_serde_json(bytes in arbitrary::mutated(arbitrary::message())) {
        let oracle = std::str::from_utf8(&bytes).is_ok_and(|text| serde_json::from_str::<IgnoredAny>(text).is_ok());
        for result in [Message::parse(bytes.clone().into(), usize::MAX).map(drop), parse_body(bytes.into(), usize::MAX, BATCH_MAX).map(drop)] {
            let json = !matches!(result, Err(ParseError::Json { .. } | ParseError::Utf8(_)));
            prop_assert_eq!(json, oracle, "{:?}", result);
        }
    }

    #[test]
    fn random_bytes_do_no_harm(bytes in prop::collection::vec(any::<u8>(), 0..40)) {
        prop_assert!(parse(bytes.clone()).is_err());
        prop_assert!(Message::find_trailing(&bytes.into(), DEPTH_MAX).is_none());
    }

    #[test]
    fn a_batch_holds_what_its_elements_are_alone(texts in prop::collection::vec(
        prop_oneof![3 => arbitrary::message(), 1 => arbitrary::json()], 1..6,
    )) {
        let elements = batch(&format!(" [{}] ", texts.join(",")));
        prop_assert_eq!(elements.len(), texts.len());
        for (element, text) in elements.iter().zip(&texts) {
            match (element, parse(text.clone())) {
                (Ok(element), Ok(alone)) => {
                    prop_assert_eq!(element.bytes(), alone.bytes());
                    prop_assert_eq!(element.id(), alone.id());
                    prop_assert_eq!(element.params(), alone.params());
                }
                (Err(element), Err(alone)) => prop_assert_eq!(element, &alone),
                (element, alone) => prop_assert!(false, "{element:?} {alone:?}"),
            }
        }
    }

    #[test]
    fn a_message_behind_noise_is_found_whole(noise in "[^{\r\n]{0,20}", text in arbitrary::message()) {
        let text = text.trim();
        let found = Message::find_trailing(&format!("{noise}{text}").into(), DEPTH_MAX);
        // A generated message may start with a member that is none of the envelope's.
        if !text.trim_start_matches(['{', ' ', '\t', '\n', '\r']).starts_with("\"xtra\"") {
            prop_assert_eq!(found.map(|message| message.bytes().clone()), Some(valid(text).bytes().clone()));
        }
    }
}

#[test]
fn ids_come_back_byte_for_byte() {
    let digits = "1234567890".repeat(4);
    for id in ["1", "0", "-7", "\"1\"", "1e2", "1.50", &digits, "9007199254740993", "\"\"", r#""\u0061\"\\ 🏳️‍🌈""#]
    {
        let message = valid(&format!(r#"{{"jsonrpc":"2.0","id" : {id} ,"method":"ping"}}"#));
        assert_eq!(message.id().expect(id).as_str(), id);
        assert_eq!(message.kind(), Kind::Request);
        let frame = Frame::new(message.bytes().clone()).replace(message.id_span().expect(id), "42");
        assert_eq!(frame.into_bytes(), r#"{"jsonrpc":"2.0","id" : 42 ,"method":"ping"}"#);
    }
    assert_eq!(valid(r#"{"jsonrpc":"2.0","id":18446744073709551615,"result":1}"#).id_as_u64(), Some(u64::MAX));
    for id in ["\"7\"", "7.0", "7e0", "-7", "18446744073709551616"] {
        assert_eq!(valid(&format!(r#"{{"jsonrpc":"2.0","id":{id},"result":1}}"#)).id_as_u64(), None);
    }
}

#[test]
fn payloads_are_not_touched_nor_copied() {
    let long = "x".repeat(10 << 20);
    for payload in [
        r#"{"integer":9007199254740993,"huge":1e999999,"long":0.10000000000000000555111512312578270211815834045410156250}"#,
        r#"{"emoji":"👩‍👩‍👧 🏳️‍🌈 \u200d\ufe0f","invisible":"\u00ad","nul":"\u0000","half":"\ud800"}"#,
        r#"{"z":1,"a":1,"z":2,"ID":3,"id":4,"":[ ]}"#,
        "{\"raw\":\"a\u{200b}b\u{ad}\u{feff}\u{7f}\"}",
        &format!(r#"{{"text":"{long}"}}"#),
    ] {
        let text = Bytes::from(format!(r#"{{"jsonrpc":"2.0","id":1,"result":{payload},"x-vendor":null}}"#));
        let message = parse(text.clone()).expect("valid");
        assert_eq!(message.bytes(), &text);
        assert_eq!(message.bytes().as_ptr(), text.as_ptr(), "no copy");
        assert_eq!(message.text(message.result().expect("result")), payload);
    }
}

#[test]
fn pretty_printed_messages_become_one_line_in_place() {
    let text = "\r\n {\r\n  \"jsonrpc\": \"2.0\",\n\t\"method\": \"x\",\r\n  \"params\": {\n    \"uri\": \"a\\nb\"\n  }\n}\r\n\n";
    let expected = "{    \"jsonrpc\": \"2.0\", \t\"method\": \"x\",    \"params\": {     \"uri\": \"a\\nb\"   } }";
    let own = Bytes::from(text.to_owned());
    let start = own.as_ptr() as usize;
    let message = parse(own).expect("valid");
    assert_eq!(bytes_of(&message), expected);
    assert_eq!(message.bytes().as_ptr() as usize, start + 3, "a buffer of one's own is not copied");
    assert_eq!(message.param_str(Param::Uri).as_deref(), Some("a\nb"));

    let shared = Bytes::from(text.to_owned());
    assert_eq!(bytes_of(&parse(shared.clone()).expect("valid")), expected);
    assert_eq!(shared, text, "a shared buffer is left alone");
}

#[test]
fn members_of_params_are_found() {
    let names = Param::ALL.map(|param| format!(r#""{}" : "{}!""#, param.name(), param.name())).join(",");
    let text = format!(r#"{{"jsonrpc":"2.0","params": {{ "other":{{"uri":1}}, {names} }},"method":"tools\/call"}}"#);
    let message = valid(&text);
    assert_eq!((message.kind(), message.method()), (Kind::Notification, "tools/call"));
    for param in Param::ALL {
        assert_eq!(message.param_str(param).expect("present"), format!("{}!", param.name()));
    }
    let none = valid(r#"{"jsonrpc":"2.0","method":"x","params":{},"result2":{"uri":1}}"#);
    assert!(Param::ALL.iter().all(|param| none.param(*param).is_none()));
    assert_eq!(none.text(none.params().expect("params")), "{}");
    let escaped = valid(r#"{"jsonrpc":"2.0","method":"x","p\u0061rams":{"request\u0049d":7}}"#);
    assert_eq!(escaped.text(escaped.param(Param::RequestId).expect("requestId")), "7");
}

#[test]
fn what_two_parsers_may_read_differently_is_refused() {
    let cases = [
        (r#""id":2"#, "`id`"),
        (r#""\u0069d":2"#, "`id`"),
        (r#""ID":2"#, "`id`"),
        (r#""jsonrpc":"2.0""#, "`jsonrpc`"),
        (r#""method":"y""#, "`method`"),
        (r#""Method":"y""#, "`method`"),
        (r#""m\u0065thod":"y""#, "`method`"),
        (r#""params":{}"#, "`params`"),
        (r#""Params":{}"#, "`params`"),
        (r#""Result":1"#, "`result`"),
    ];
    for (member, name) in cases {
        let (what, id) = envelope(&format!(r#"{{"jsonrpc":"2.0","id":1,"method":"x","params":{{}},{member}}}"#));
        assert!(what.starts_with(name), "{what}");
        assert_eq!(id.is_none(), name == "`id`", "an id that is not clear is not used: {member}");
    }
    let (what, id) = envelope(r#"{"jsonrpc":"2.0","method":"x","method":"x","id":1,"id":2}"#);
    assert!(what.starts_with("`id`") && id.is_none());
    for param in Param::ALL {
        let name = param.name();
        let escaped = name.chars().map(|letter| format!("\\u{:04x}", u32::from(letter))).collect::<String>();
        let upper = name.to_uppercase();
        let lookalike = param.names_something().then_some(upper.as_str());
        for other in [name, &escaped].into_iter().chain(lookalike) {
            let text = format!(r#"{{"jsonrpc":"2.0","id":1,"method":"x","params":{{"{name}":1,"{other}":1}}}}"#);
            assert_eq!(envelope(&text).1.as_deref(), Some("1"));
            assert!(envelope(&text).0.starts_with(&format!("`params.{name}`")));
        }
    }
}

#[test]
fn params_that_are_null_are_as_good_as_none_and_stay_as_they_are() {
    let text = r#"{"jsonrpc":"2.0","method":"notifications/tools/list_changed","params":null}"#;
    let message = Message::parse(Bytes::from_static(text.as_bytes()), DEPTH_MAX).unwrap();
    assert_eq!((message.params(), message.bytes().as_ref()), (None, text.as_bytes()));
}

#[test]
fn envelopes_are_held_to_the_rules() {
    let nothing = None;
    let one = Some("1");
    let long = format!("\"{}\"", "x".repeat(ID_BYTES_MAX - 1));
    let too_long = format!(r#"{{"jsonrpc":"2.0","id":{long},"method":"x"}}"#);
    for (text, what, id) in [
        ("5", "must be a JSON object", nothing),
        (r#""text""#, "must be a JSON object", nothing),
        ("{}", "`jsonrpc` must be", nothing),
        (r#"{"jsonrpc":2.0,"id":1,"method":"x"}"#, "`jsonrpc` must be", one),
        (r#"{"jsonrpc":"1.0","id":1,"method":"x"}"#, "`jsonrpc` must be", one),
        (r#"{"id":1,"method":"x"}"#, "`jsonrpc` must be", one),
        (r#"{"jsonrpc":"2.0","id":null,"method":"x"}"#, "`id` must not be null", nothing),
        (r#"{"jsonrpc":"2.0","id":null,"result":1}"#, "`id` must not be null", nothing),
        (r#"{"jsonrpc":"2.0","id":true,"method":"x"}"#, "`id` must be a string or a number", nothing),
        (r#"{"jsonrpc":"2.0","id":[1],"method":"x"}"#, "`id` must be a string or a number", nothing),
        (r#"{"jsonrpc":"2.0","id":{},"error":{}}"#, "`id` must be a string or a number", nothing),
        (r#"{"jsonrpc":"2.0","id":1}"#, "must have `method`, `result` or `error`", one),
        (r#"{"jsonrpc":"2.0","id":1,"method":7}"#, "`method` must be a string", one),
        (r#"{"jsonrpc":"2.0","id":1,"method":"\ud800"}"#, "`method` must be a string", one),
        (r#"{"jsonrpc":"2.0","id":1,"method":"x","params":[1]}"#, "`params` must be an object", one),
        (r#"{"jsonrpc":"2.0","id":1,"method":"x","params":7}"#, "`params` must be an object", one),
        (r#"{"jsonrpc":"2.0","id":1,"method":"x","result":1}"#, "only one of", one),
        (r#"{"jsonrpc":"2.0","id":1,"method":"x","error":{}}"#, "only one of", one),
        (r#"{"jsonrpc":"2.0","id":1,"result":1,"error":{}}"#, "only one of", nothing),
        (r#"{"jsonrpc":"2.0","id":1,"error":"no"}"#, "`error` must be an object", nothing),
        (r#"{"jsonrpc":"2.0","result":1}"#, "must have the `id`", nothing),
    ] {
        let (found, found_id) = envelope(text);
        assert!(found.contains(what), "{found}: {text}");
        assert_eq!(found_id.as_deref(), id, "{text}");
    }
    assert_eq!(parse(too_long).err(), Some(ParseError::IdLength));
    assert_eq!(parse("[]").err(), Some(ParseError::Batch));
    assert_eq!(valid(r#"{"jsonrpc":"2\u002e0","error":{"code":1}}"#).kind(), Kind::Error);
    let null = valid(r#"{"jsonrpc":"2.0","id":null,"error":{"code":1}}"#);
    assert_eq!((null.kind(), null.id()), (Kind::Error, None));
}

#[test]
fn what_is_not_json_is_reported_as_that_whatever_else_is_wrong() {
    for (bytes, expected) in [
        (&b"{\"jsonrpc\":\"1.0\",\"id\":null"[..], ParseError::Json { at: 26, what: "unexpected end" }),
        (b"", ParseError::Json { at: 0, what: "unexpected end" }),
        (b" \n", ParseError::Json { at: 2, what: "unexpected end" }),
        (b"{\"a\":\"\0\"}", ParseError::Json { at: 6, what: "control character in a string (it must be escaped)" }),
        (b"{\"a\":\"b\nc\"}", ParseError::Json { at: 7, what: "control character in a string (it must be escaped)" }),
        (b"{}\0", ParseError::Json { at: 2, what: "unexpected characters after the value" }),
        (b"\xef\xbb\xbf{}", ParseError::Json { at: 0, what: "byte order mark (it must be left out)" }),
        (b"{\"a\":\"\xff\"}", ParseError::Utf8(6)),
        (b"{\"a\":\"\xed\xa0\x80\"}", ParseError::Utf8(6)),
        (b"{\"a\":\"\xf0\x9f", ParseError::Utf8(6)),
    ] {
        assert_eq!(parse(bytes).err(), Some(expected));
    }
}

#[test]
fn depth_is_limited_without_recursion() {
    let nested = |levels: usize| {
        format!(r#"{{"jsonrpc":"2.0","method":"x","params":{{"a":{}{}}}}}"#, "[".repeat(levels), "]".repeat(levels))
    };
    assert!(parse(nested(DEPTH_MAX - 2)).is_ok());
    assert_eq!(parse(nested(DEPTH_MAX - 1)).err(), Some(ParseError::Depth(DEPTH_MAX)));
    assert_eq!(parse(nested(1_000_000)).err(), Some(ParseError::Depth(DEPTH_MAX)));
    assert!(Message::parse(nested(1_000_000).into(), usize::MAX).is_ok());
    assert_eq!(parse("[".repeat(1_000_000)).err(), Some(ParseError::Depth(DEPTH_MAX)));
    assert_eq!(parse("{\"a\":".repeat(1_000_000)).err(), Some(ParseError::Depth(DEPTH_MAX)));
    let flat = r#"{"jsonrpc":"2.0","method":"x","params":{}}"#;
    for (depth_max, accepted) in [(0, false), (1, false), (2, true)] {
        assert_eq!(Message::parse(flat.into(), depth_max).is_ok(), accepted);
    }
}

#[test]
fn batches_are_taken_apart() {
    let ping = |id: usize| format!(r#"{{"jsonrpc":"2.0","id":{id},"method":"ping"}}"#);
    let deep = format!("{}{}", "[".repeat(1000), "]".repeat(1000));
    let elements = batch(&format!("[\n{},7,{deep},[1],{{\"id\":3}},\n{}\n]\n", ping(1), ping(2)));
    assert_eq!(elements.len(), 6);
    assert_eq!(elements[0].as_ref().map(bytes_of), Ok(ping(1).as_str()));
    assert!(matches!(elements[1], Err(ParseError::Envelope { id: None, .. })));
    assert_eq!(elements[2].as_ref().err(), Some(&ParseError::Depth(DEPTH_MAX)));
    assert_eq!(elements[3].as_ref().err(), Some(&ParseError::Batch));
    assert!(matches!(&elements[4], Err(ParseError::Envelope { id: Some(id), .. }) if id.as_str() == "3"));
    assert_eq!(elements[5].as_ref().map(bytes_of), Ok(ping(2).as_str()));

    let inner =
        |levels: usize| format!(r#"{{"jsonrpc":"2.0","method":"x","a":{}{}}}"#, "[".repeat(levels), "]".repeat(levels));
    let limit = batch(&format!("[{},{}]", inner(DEPTH_MAX - 1), inner(DEPTH_MAX)));
    assert!(limit[0].is_ok() && limit[1].is_err(), "the limit counts within each");

    let body = |count: usize| parse_body(format!("[{}]", vec![ping(1); count].join(",")).into(), DEPTH_MAX, BATCH_MAX);
    assert!(matches!(body(BATCH_MAX), Ok(Body::Batch(elements)) if elements.len() == BATCH_MAX));
    assert_eq!(body(BATCH_MAX + 1).err(), Some(ParseError::BatchLength(BATCH_MAX)));
    assert!(matches!(body(0), Err(ParseError::Envelope { id: None, .. })));
    assert_eq!(parse_body("[1]".into(), DEPTH_MAX, 0).err(), Some(ParseError::BatchLength(0)));
    assert!(
        matches!(parse_body(ping(1).into(), DEPTH_MAX, BATCH_MAX), Ok(Body::Single(message)) if message.id().is_some())
    );
    for (text, at) in [("[1,]", 3), ("[1", 2), ("[1 2]", 3), ("[1]]", 3), ("[", 1), ("[1,{\"a\"}]", 7)] {
        assert!(
            matches!(parse_body(text.into(), DEPTH_MAX, BATCH_MAX), Err(ParseError::Json { at: found, .. }) if found == at),
            "{text}"
        );
    }
}

#[test]
fn members_of_any_object_are_looked_up() {
    let message = valid(
        r#"{"jsonrpc":"2.0","id":1,"method":"x","params":{"_meta": { "n":{"progressToken":1}, "progress\u0054oken" : 7 , "a":1,"a":2, "B":[] },"uri":"u"}}"#,
    );
    let meta = message.param(Param::Meta).expect("_meta");
    let found = message.member(meta, "progressToken").expect("once").expect("present");
    assert_eq!(message.text(found), "7");
    assert_eq!(message.member(meta, "absent"), Ok(None));
    assert_eq!(message.member(meta, "a"), Err(Duplicate));
    assert_eq!(message.member(meta, "b"), Err(Duplicate), "another case");
    assert_eq!(message.member(message.param(Param::Uri).expect("uri"), "a"), Ok(None), "not an object");
    assert_eq!(message.member(Span { start: 0, end: 9999 }, "a"), Ok(None), "not a place");
    let whole = Span { start: 0, end: message.bytes().len() };
    assert_eq!(message.member(whole, "id").map(|span| span.map(|span| message.text(span))), Ok(Some("1")));
}

#[test]
fn elements_of_an_array_are_found_in_order() {
    let elements = |array: &str| {
        let message = valid(&format!(r#"{{"jsonrpc":"2.0","id":1,"result":{array}}}"#));
        let result = message.result().expect("a result");
        message.elements(result).map(|span| message.text(span).to_owned()).collect::<Vec<_>>()
    };
    let array = r#"[ 1.0 ,"],[",{"a":[ 1 , 2 ]} , [ [] ],null]"#;
    assert_eq!(elements(array), ["1.0", r#""],[""#, r#"{"a":[ 1 , 2 ]}"#, "[ [] ]", "null"]);
    for none in ["[]", "[ ]", "{}", r#"{"a":[1]}"#, "7", r#""[1]""#] {
        assert_eq!(elements(none), [""; 0], "{none}");
    }
    let message = valid(r#"{"jsonrpc":"2.0","method":"x"}"#);
    assert_eq!(message.elements(Span { start: 0, end: 9999 }).count(), 0, "not a place");
}

#[test]
fn messages_behind_noise_are_found() {
    let message = r#"{"jsonrpc":"2.0","id":1,"result":{"jsonrpc":{"id":2}}}"#;
    let find = |line: &str| Message::find_trailing(&line.to_owned().into(), DEPTH_MAX);
    for line in [
        format!("Loading model…{message}"),
        format!("{{broken {message}"),
        format!(r#"{{"id":5}} {{"jsonrpc":"2.0","method":"other"}} {message}"#),
        format!("\u{feff}{message}\r"),
    ] {
        assert_eq!(find(&line).as_ref().map(bytes_of), Some(message), "{line}");
    }
    for line in [
        "no message".to_owned(),
        format!("{message} more"),
        format!(r#"log: {{"level":1,"sent":{message}}}"#),
        format!(r#"log: "{}""#, message.replace('"', "\\\"")),
        r#"log: {"id":1,"result":2}"#.to_owned(),
    ] {
        assert!(find(&line).is_none(), "{line}");
    }
    let binary = [b"\xff\xfe ", message.as_bytes()].concat();
    assert_eq!(Message::find_trailing(&binary.into(), DEPTH_MAX).as_ref().map(bytes_of), Some(message));
    assert!(find(&format!("{}{message}", "{\"id\":".repeat(1_000_000))).is_none(), "attempts are limited");
}

#[test]
fn strings_are_decoded() {
    for (text, expected) in [
        (r#""""#, Some("")),
        (r#""a\u0062\n""#, Some("ab\n")),
        (r#""\ud83d\ude00""#, Some("😀")),
        (r#""\ud800""#, None),
        ("\"", None),
        ("7", None),
        ("", None),
    ] {
        assert_eq!(decode_str(text).as_deref(), expected, "{text}");
    }
}

proptest! {
    #[test]
    fn members_are_found_by_their_names_in_one_pass(
        members in prop::collection::vec((prop::sample::select(vec!["a", "b", "c", "B", "other"]), arbitrary::json()), 0..6),
    ) {
        let text: Vec<_> = members.iter().map(|(name, value)| format!("\"{name}\" :{value}")).collect();
        let text = format!(r#"{{"jsonrpc":"2.0","method":"m","params":{{{}}}}}"#, text.join(","));
        let message = valid(&text);
        let params = message.params().expect("params");
        let of = |wanted: &str| -> Vec<_> {
            members.iter().filter(|(name, _)| name.eq_ignore_ascii_case(wanted)).collect()
        };
        let names = ["b", "a", "absent"];
        match message.named(params, names) {
            Err(twice) => prop_assert!(of(twice).len() > 1 || of(twice)[0].0 != twice),
            Ok(found) => {
                for (name, span) in names.into_iter().zip(found) {
                    let value = of(name).first().map(|(_, value)| value.trim().replace(['\n', '\r'], " "));
                    prop_assert_eq!(span.map(|span| message.text(span).to_owned()), value);
                }
                let values = message.values(params, &names).expect("each is there once");
                prop_assert!(values.is_sorted_by_key(|span| span.start));
                prop_assert_eq!(values.len(), found.iter().flatten().count());
            }
        }
    }
}
