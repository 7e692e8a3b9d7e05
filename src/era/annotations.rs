//! `x-mcp-header`: which arguments of a tool are repeated in `Mcp-Param-*` headers, and whether they are.
//!
//! Spec: 2026-07-28, Streamable HTTP, Custom Headers (Schema Extension, Server Behavior for Custom Headers).

use serde::Deserialize;
use serde_json::Value;
use serde_json::value::RawValue;

use super::headers;
use crate::jsonrpc::{Message, Span, decode_str};

/// One argument that is repeated in a header.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Annotation {
    /// What follows `Mcp-Param-`, in lower case.
    pub header: String,
    /// The `properties` that lead to it.
    pub path: Vec<String>,
}

/// The tools of one page of a `tools/list` result.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Page {
    /// Each with its annotations.
    pub tools: Vec<(String, Vec<Annotation>)>,
    /// Where the next page is.
    pub next: Option<String>,
}

#[derive(Deserialize)]
struct ToolsResult<'a> {
    #[serde(borrow, default)]
    tools: Vec<&'a RawValue>,
    #[serde(rename = "nextCursor", default)]
    next: Option<String>,
}

#[derive(Deserialize)]
struct Tool<'a> {
    name: String,
    #[serde(borrow, rename = "inputSchema")]
    schema: Option<&'a RawValue>,
}

/// Reads a result of `tools/list` (JSON text). What is not as it should be is not there.
pub fn read(result: &str) -> Page {
    let Ok(result) = serde_json::from_str::<ToolsResult<'_>>(result) else { return Page::default() };
    let tools = result.tools.into_iter().filter_map(|tool| {
        let tool: Tool<'_> = serde_json::from_str(tool.get()).ok()?;
        let mut found = Vec::new();
        // Few schemas have one; only these are read into a tree.
        if let Some(schema) = tool.schema.map(RawValue::get).filter(|text| text.contains(KEYWORD)) {
            found = annotations(schema);
        }
        Some((tool.name, found))
    });
    Page { tools: tools.collect(), next: result.next }
}

/// The annotations of a schema; none at all if one of them is not as it has to be: clients leave such a tool out, so that
/// nobody knows what one that calls it all the same would send.
fn annotations(schema: &str) -> Vec<Annotation> {
    let schema = serde_json::from_str(schema).unwrap_or_default();
    let mut found = Vec::new();
    let valid = collect(&schema, Some(&mut Vec::new()), &mut found);
    if valid { found } else { Vec::new() }
}

/// Collects the annotations of a schema, and says whether all of them may be. `path`: the `properties` alone that lead to
/// it; none where there is another way in between.
fn collect(schema: &Value, mut path: Option<&mut Vec<String>>, found: &mut Vec<Annotation>) -> bool {
    let Some(schema) = schema.as_object() else { return true };
    if let Some(header) = schema.get(KEYWORD) {
        let (Some(path), Some(header)) = (path.as_deref().filter(|path| !path.is_empty()), header.as_str()) else {
            return false;
        };
        let header = header.to_ascii_lowercase();
        let primitive = schema.get("type").and_then(Value::as_str).is_some_and(|name| PRIMITIVE.contains(&name));
        let taken = found.iter().any(|other| other.header == header);
        if !is_token(&header) || !primitive || taken || found.len() >= ANNOTATIONS_MAX {
            return false;
        }
        found.push(Annotation { header, path: path.clone() });
    }
    for (name, property) in schema.get("properties").and_then(Value::as_object).into_iter().flatten() {
        if let Some(path) = path.as_deref_mut() {
            path.push(name.clone());
        }
        if !collect(property, path.as_deref_mut(), found) {
            return false;
        }
        if let Some(path) = path.as_deref_mut() {
            path.pop();
        }
    }
    let inner = |keyword: &&str| schema.get(*keyword);
    let one_or_several = ONE_OR_SEVERAL.iter().filter_map(inner).flat_map(|value| match value.as_array() {
        Some(several) => several.as_slice(),
        None => std::slice::from_ref(value),
    });
    let by_name = BY_NAME.iter().filter_map(inner).filter_map(Value::as_object).flat_map(serde_json::Map::values);
    one_or_several.chain(by_name).all(|schema| collect(schema, None, found))
}

/// RFC 9110, 5.6.2.
fn is_token(name: &str) -> bool {
    !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte))
}

/// Checks that a header says what the argument says; `header` is its value, if it was sent, `arguments` the place of the
/// `arguments` in the message.
///
/// # Errors
/// What does not match, in words.
pub fn check(
    annotation: &Annotation,
    message: &Message,
    arguments: Option<Span>,
    header: Option<&str>,
) -> Result<(), &'static str> {
    let argument = annotation.path.iter().try_fold(arguments, |value, name| match value {
        Some(value) => message.member(value, name),
        None => Ok(None),
    });
    let argument = argument.map_err(|_| "cannot be compared: the argument, or what it is in, occurs twice")?;
    let argument = argument.map(|span| message.text(span)).filter(|text| *text != "null");
    let (argument, header) = match (argument, header) {
        (None, None) => return Ok(()),
        (None, Some(_)) => return Err("is there, but the argument is not"),
        (Some(_), None) => return Err("is missing, though the argument is there"),
        (Some(argument), Some(header)) => (argument, header),
    };
    let header = headers::decode(header).map_err(|_| "is marked as base64, but is not")?;
    let same = match argument.as_bytes().first() {
        Some(b'"') => decode_str(argument).ok_or("cannot be compared: the argument is no text")? == header,
        Some(b'{' | b'[') => return Err("cannot be compared: the argument is an object or an array"),
        // As spelled, `true` and `false` are what the header has to say.
        _ => argument == header || Decimal::read(argument).is_some_and(|number| Decimal::read(&header) == Some(number)),
    };
    if same { Ok(()) } else { Err("does not match the argument") }
}

/// What the header has to say, before it is encoded; none where it has to be left out.
pub fn value(annotation: &Annotation, message: &Message, arguments: Option<Span>) -> Option<String> {
    let argument = annotation.path.iter().try_fold(arguments?, |value, name| message.member(value, name).ok()?);
    let argument = message.text(argument?);
    match argument.as_bytes().first()? {
        b'"' => decode_str(argument).map(std::borrow::Cow::into_owned),
        b'{' | b'[' | b'n' => None,
        _ => Some(argument.to_owned()),
    }
}

/// A number exactly as it is written in decimal, in the one form that all spellings of it have in common.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Decimal {
    negative: bool,
    /// Without zeros at either end; empty if it is zero.
    digits: String,
    /// Where the point is, counted from the end of the digits.
    exponent: i64,
}

impl Decimal {
    fn read(text: &str) -> Option<Self> {
        let (mantissa, exponent) = text.split_once(['e', 'E']).unwrap_or((text, "0"));
        let (negative, mantissa) = mantissa.strip_prefix('-').map_or((false, mantissa), |rest| (true, rest));
        let (whole, fraction) = mantissa.split_once('.').map_or((mantissa, None), |(whole, part)| (whole, Some(part)));
        let is_number = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        if !is_number(whole) || !fraction.is_none_or(is_number) {
            return None;
        }
        let fraction = fraction.unwrap_or_default();
        let all = format!("{whole}{fraction}");
        let digits = all.trim_end_matches('0');
        let dropped = i64::try_from(all.len() - digits.len()).ok()?;
        let exponent = exponent.parse::<i64>().ok()?.checked_add(dropped)?;
        let exponent = exponent.checked_sub(i64::try_from(fraction.len()).ok()?)?;
        let digits = digits.trim_start_matches('0').to_owned();
        if digits.is_empty() {
            return Some(Self { negative: false, digits, exponent: 0 });
        }
        Some(Self { negative, digits, exponent })
    }
}

const KEYWORD: &str = "x-mcp-header";
/// The types that may have one.
const PRIMITIVE: [&str; 3] = ["string", "integer", "boolean"];
/// Where else than in `properties` there are schemas, which must not have one: one or an array of them, or some by name.
const ONE_OR_SEVERAL: [&str; 14] = [
    "items",
    "prefixItems",
    "contains",
    "additionalProperties",
    "unevaluatedProperties",
    "unevaluatedItems",
    "propertyNames",
    "oneOf",
    "anyOf",
    "allOf",
    "not",
    "if",
    "then",
    "else",
];
const BY_NAME: [&str; 4] = ["patternProperties", "dependentSchemas", "$defs", "definitions"];
/// The most annotations of a tool: there are not many more headers in a request.
const ANNOTATIONS_MAX: usize = 64;

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::jsonrpc::DEPTH_MAX;

    fn message(arguments: &str) -> (Message, Option<Span>) {
        let text = format!(r#"{{"jsonrpc":"2.0","id":1,"method":"m","params":{{"arguments":{arguments}}}}}"#);
        let message = Message::parse(text.into(), DEPTH_MAX).expect("a message");
        let arguments = message.member(message.params().expect("params"), "arguments").expect("once");
        (message, arguments)
    }

    fn annotation(header: &str, path: &[&str]) -> Annotation {
        let path = path.iter().map(|name| (*name).to_owned()).collect();
        Annotation { header: header.to_owned(), path }
    }

    #[test]
    fn annotations_are_found_where_they_count() {
        let result = json!({"tools": [
            {"name": "a", "inputSchema": {"type": "object", "properties": {
                "region": {"type": "string", "x-mcp-header": "Region"},
                "in": {"type": "object", "properties": {"deep": {"type": "integer", "x-mcp-header": "Deep"}}},
                "x-mcp-header": {"type": "string", "default": {"x-mcp-header": 7}},
            }}},
            {"name": "b"},
            {"nameless": true},
        ], "nextCursor": "2"});
        let page = read(&result.to_string());
        let of_a = vec![annotation("deep", &["in", "deep"]), annotation("region", &["region"])];
        assert_eq!(page.tools, [("a".to_owned(), of_a), ("b".to_owned(), Vec::new())]);
        assert_eq!(page.next.as_deref(), Some("2"));
        assert_eq!(read("[]"), Page::default());
    }

    // spec: 2026-07-28 basic/transports/streamable-http, Schema Extension: clients leave such a tool out
    #[test]
    fn a_tool_with_an_annotation_that_may_not_be_has_none() {
        let good = json!({"type": "string", "x-mcp-header": "Good"});
        let properties = |other: Value| json!({"properties": {"good": good, "other": other}});
        for schema in [
            properties(json!({"type": "number", "x-mcp-header": "N"})),
            properties(json!({"type": "object", "x-mcp-header": "N"})),
            properties(json!({"type": ["string", "null"], "x-mcp-header": "N"})),
            properties(json!({"x-mcp-header": "N"})),
            properties(json!({"type": "string", "x-mcp-header": ""})),
            properties(json!({"type": "string", "x-mcp-header": "a b"})),
            properties(json!({"type": "string", "x-mcp-header": "a\r\nb"})),
            properties(json!({"type": "string", "x-mcp-header": "\u{e9}"})),
            properties(json!({"type": "string", "x-mcp-header": 7})),
            properties(json!({"type": "string", "x-mcp-header": "gOOd"})),
            properties(json!({"type": "array", "items": {"type": "string", "x-mcp-header": "N"}})),
            properties(json!({"anyOf": [{"type": "string", "x-mcp-header": "N"}]})),
            properties(json!({"not": {"properties": {"n": {"type": "string", "x-mcp-header": "N"}}}})),
            json!({"properties": {"good": good}, "$defs": {"d": {"type": "string", "x-mcp-header": "N"}}}),
            json!({"type": "string", "x-mcp-header": "Root", "properties": {"good": good}}),
        ] {
            let page = read(&json!({"tools": [{"name": "t", "inputSchema": schema}]}).to_string());
            assert_eq!(page.tools, [("t".to_owned(), Vec::new())], "{schema}");
        }
    }

    // spec: 2026-07-28 basic/transports/streamable-http, Server Behavior for Custom Headers
    #[test]
    fn header_has_to_say_what_the_argument_says() {
        let annotation = annotation("x", &["a", "b"]);
        let check = |arguments: &str, header| {
            let (message, arguments) = message(arguments);
            super::check(&annotation, &message, arguments, header).is_ok()
        };
        for (argument, header, same) in [
            (r#""us""#, Some("us"), true),
            (r#""us""#, Some(" us "), true),
            (r#""\u0075s""#, Some("us"), true),
            (r#""us""#, Some("eu"), false),
            (r#""us""#, Some("US"), false),
            (r#""us""#, None, false),
            (r#""Hello""#, Some("=?base64?SGVsbG8=?="), true),
            (r#""Hello""#, Some("=?base64?SGVsbG8?="), false),
            (r#""\ud800""#, Some(""), false),
            (r#""42""#, Some("42.0"), false),
            ("true", Some("true"), true),
            ("true", Some("True"), false),
            ("null", None, true),
            ("null", Some("null"), false),
            ("[]", Some("[]"), false),
            ("{}", Some("{}"), false),
            ("[]", None, false),
        ] {
            assert_eq!(check(&format!(r#"{{"a":{{"b":{argument}}}}}"#), header), same, "{argument} {header:?}");
        }
        for absent in ["{}", r#"{"a":7}"#, "[]", "null"] {
            assert!(check(absent, None) && !check(absent, Some("x")), "{absent}");
        }
        for twice in [r#"{"a":{"b":1,"b":1}}"#, r#"{"a":{"b":1},"A":{}}"#, r#"{"a":{"B":1}}"#] {
            assert!(!check(twice, Some("1")) && !check(twice, None), "{twice}");
        }
        // What is beside does not matter.
        assert!(check(r#"{"z":1e400,"y":"\ud800","a":{"b":"us","c":[1e999],"d":0,"d":0}}"#, Some("us")));
    }

    // spec: 2026-07-28 basic/transports/streamable-http, Server Validation: integers are compared as numbers
    #[test]
    fn numbers_are_compared_exactly_however_they_are_written() {
        let annotation = annotation("x", &["n"]);
        let check = |argument: &str, header| {
            let (message, arguments) = message(&format!(r#"{{"n":{argument}}}"#));
            super::check(&annotation, &message, arguments, Some(header)).is_ok()
        };
        for (argument, header) in [
            ("42", "42"),
            ("42", "42.0"),
            ("42.0", "42"),
            ("4.2e1", "42"),
            ("100", "1e+2"),
            ("0", "-0"),
            ("-7", "-7.00"),
            ("0.10", "1E-1"),
            ("9007199254740993", "9007199254740993.0"),
            ("1e400", "10e399"),
            ("1e99999999999999999999", "1e99999999999999999999"),
        ] {
            assert!(check(argument, header), "{argument} {header}");
        }
        for (argument, header) in [
            ("42", "43"),
            ("9007199254740993", "9007199254740992"),
            ("1e400", "1e401"),
            ("7", "-7"),
            ("1", "inf"),
            ("0", ""),
            ("42", "0x2a"),
            ("42", "+42"),
            ("42", "42."),
            ("0", ".0"),
            ("42", "4 2"),
            ("1", "true"),
        ] {
            assert!(!check(argument, header), "{argument} {header}");
        }
    }
}
