//! `x-mcp-header`: which arguments of a tool are repeated in `Mcp-Param-*` headers, and whether they are.
//!
//! Spec: 2026-07-28, Streamable HTTP, Custom Headers (Schema Extension, Server Behavior for Custom Headers).

use serde::Deserialize;
use serde_json::Value;
use serde_json::value::RawValue;

use super::headers;

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
            collect(&serde_json::from_str(schema).unwrap_or_default(), &mut Vec::new(), &mut found);
        }
        Some((tool.name, found))
    });
    Page { tools: tools.take(TOOLS_MAX).collect(), next: result.next }
}

/// Only what can be reached by `properties` alone counts.
fn collect(schema: &Value, path: &mut Vec<String>, found: &mut Vec<Annotation>) {
    let Some(properties) = schema.get("properties").and_then(Value::as_object) else { return };
    for (name, property) in properties {
        path.push(name.clone());
        if let Some(header) = property.get(KEYWORD).and_then(Value::as_str)
            && !header.is_empty()
            && found.len() < ANNOTATIONS_MAX
        {
            found.push(Annotation { header: header.to_ascii_lowercase(), path: path.clone() });
        }
        collect(property, path, found);
        path.pop();
    }
}

/// Checks that a header says what the argument says; `header` is its value, if it was sent.
///
/// # Errors
/// What does not match, in words.
pub fn check(annotation: &Annotation, arguments: &Value, header: Option<&str>) -> Result<(), &'static str> {
    let argument = annotation.path.iter().try_fold(arguments, |value, name| value.get(name));
    let argument = argument.filter(|value| !value.is_null());
    let (argument, header) = match (argument, header) {
        (None, None) => return Ok(()),
        (None, Some(_)) => return Err("is there, but the argument is not"),
        (Some(_), None) => return Err("is missing, though the argument is there"),
        (Some(argument), Some(header)) => (argument, header),
    };
    let header = headers::decode(header).map_err(|_| "is marked as base64, but is not")?;
    let same = match argument {
        Value::String(text) => *text == *header,
        Value::Bool(value) => header == if *value { "true" } else { "false" },
        Value::Number(number) => {
            number.to_string() == *header
                || header.parse::<f64>().ok().is_some_and(|value| number.as_f64() == Some(value))
        }
        // An annotation is for primitive types only: there is nothing to compare.
        Value::Array(_) | Value::Object(_) | Value::Null => true,
    };
    if same { Ok(()) } else { Err("does not match the argument") }
}

const KEYWORD: &str = "x-mcp-header";
/// The most tools of a page, and annotations of a tool, that are kept.
const TOOLS_MAX: usize = 4096;
const ANNOTATIONS_MAX: usize = 64;

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn annotations_are_found_where_they_count() {
        let result = json!({"tools": [
            {"name": "a", "inputSchema": {"type": "object", "properties": {
                "region": {"type": "string", "x-mcp-header": "Region"},
                "in": {"type": "object", "properties": {"deep": {"type": "integer", "x-mcp-header": "Deep"}}},
                "list": {"type": "array", "items": {"x-mcp-header": "No"}},
                "empty": {"x-mcp-header": ""},
            }}},
            {"name": "b"},
            {"nameless": true},
        ], "nextCursor": "2"});
        let page = read(&result.to_string());
        let annotation = |header: &str, path: &[&str]| Annotation {
            header: header.to_owned(),
            path: path.iter().map(|name| (*name).to_owned()).collect(),
        };
        let of_a = vec![annotation("deep", &["in", "deep"]), annotation("region", &["region"])];
        assert_eq!(page.tools, [("a".to_owned(), of_a), ("b".to_owned(), Vec::new())]);
        assert_eq!(page.next.as_deref(), Some("2"));
        assert_eq!(read("[]"), Page::default());
    }

    // spec: 2026-07-28 basic/transports/streamable-http, Server Behavior for Custom Headers
    #[test]
    fn header_has_to_say_what_the_argument_says() {
        let annotation = Annotation { header: "x".to_owned(), path: vec!["a".to_owned(), "b".to_owned()] };
        let check = |value: Value, header| check(&annotation, &json!({"a": {"b": value}}), header).is_ok();
        assert!(check(json!("us"), Some("us")) && check(json!("us"), Some(" us ")));
        assert!(!check(json!("us"), Some("eu")) && !check(json!("us"), Some("US")) && !check(json!("us"), None));
        assert!(
            check(json!("Hello"), Some("=?base64?SGVsbG8=?=")) && !check(json!("Hello"), Some("=?base64?SGVsbG8?="))
        );
        assert!(check(json!(42), Some("42")) && check(json!(42), Some("42.0")) && !check(json!(42), Some("43")));
        assert!(check(json!(true), Some("true")) && !check(json!(true), Some("True")));
        assert!(check(Value::Null, None) && !check(Value::Null, Some("null")));
        assert!(super::check(&annotation, &json!({}), None).is_ok());
        assert!(super::check(&annotation, &json!({}), Some("x")).is_err());
    }
}
