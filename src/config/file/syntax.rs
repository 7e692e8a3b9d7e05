//! From the bytes of a configuration file to one tree of values, whichever of the two syntaxes it is written in.
//!
//! Invariants: a key that is there twice is an error in both; an error says where it is and never quotes a value, which
//! may be a secret; nothing that can be written makes it panic (both parsers bound how deep values may be nested).

use std::fmt;
use std::path::Path;

use serde::de::{self, Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};
use toml::de::{DeTable, DeValue};

/// How a file is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Syntax {
    /// TOML 1.1.
    Toml,
    /// JSON.
    Json,
}

/// What is wrong with a file, and where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct SyntaxError {
    /// Line and column, counted from 1; none for the file as a whole.
    pub(super) place: Option<(usize, usize)>,
    /// What would be right; follows "must be".
    pub(super) wanted: String,
}

impl Syntax {
    /// What the extension says; where it says nothing, JSON is what begins with a brace.
    pub(super) fn of(path: &Path, bytes: &[u8]) -> Self {
        let extension = path.extension().map(|extension| extension.to_ascii_lowercase());
        match extension.as_ref().and_then(|extension| extension.to_str()) {
            Some("toml") => Self::Toml,
            Some("json") => Self::Json,
            _ if without_mark(bytes).trim_ascii_start().starts_with(b"{") => Self::Json,
            _ => Self::Toml,
        }
    }

    /// Reads the whole file.
    pub(super) fn parse(self, bytes: &[u8]) -> Result<Map<String, Value>, SyntaxError> {
        let bytes = without_mark(bytes);
        let text = std::str::from_utf8(bytes).map_err(|error| SyntaxError {
            place: Some(line_and_column(bytes, error.valid_up_to())),
            wanted: "valid UTF-8".to_owned(),
        })?;
        match self {
            Self::Toml => parse_toml(text),
            Self::Json => parse_json(text),
        }
    }
}

/// Without the byte order mark that some editors write.
fn without_mark(bytes: &[u8]) -> &[u8] {
    bytes.strip_prefix("\u{feff}".as_bytes()).unwrap_or(bytes)
}

/// The column is counted in characters.
fn line_and_column(bytes: &[u8], at: usize) -> (usize, usize) {
    let before = bytes.get(..at).unwrap_or(bytes);
    let line = before.rsplit(|byte| *byte == b'\n').next().unwrap_or_default();
    let lines = before.iter().filter(|byte| **byte == b'\n').count();
    (lines + 1, String::from_utf8_lossy(line).chars().count() + 1)
}

fn parse_toml(text: &str) -> Result<Map<String, Value>, SyntaxError> {
    let table = DeTable::parse(text).map_err(|error| SyntaxError {
        place: error.span().map(|span| line_and_column(text.as_bytes(), span.start)),
        wanted: format!("valid TOML ({})", error.message()),
    })?;
    Ok(from_table(table.into_inner()))
}

fn from_table(table: DeTable<'_>) -> Map<String, Value> {
    let entries = table.into_iter();
    entries.map(|(key, value)| (key.into_inner().into_owned(), from_toml(value.into_inner()))).collect()
}

/// Numbers that JSON does not have, and dates, become the texts they are written as.
fn from_toml(value: DeValue<'_>) -> Value {
    match value {
        DeValue::String(text) => Value::String(text.into_owned()),
        DeValue::Integer(integer) => {
            let number = i64::from_str_radix(integer.as_str(), integer.radix());
            number.map_or_else(|_| Value::String(integer.to_string()), Value::from)
        }
        DeValue::Float(float) => {
            let number = float.as_str().parse().ok().and_then(Number::from_f64);
            number.map_or_else(|| Value::String(float.to_string()), Value::Number)
        }
        DeValue::Boolean(switch) => Value::Bool(switch),
        DeValue::Datetime(time) => Value::String(time.to_string()),
        DeValue::Array(array) => array.into_iter().map(|value| from_toml(value.into_inner())).collect(),
        DeValue::Table(table) => Value::Object(from_table(table)),
    }
}

fn parse_json(text: &str) -> Result<Map<String, Value>, SyntaxError> {
    match serde_json::from_str(text) {
        Ok(Unique(Value::Object(table))) => Ok(table),
        Ok(Unique(_)) => Err(SyntaxError { place: None, wanted: "a JSON object".to_owned() }),
        Err(error) => {
            let place = (error.line(), error.column());
            let message = error.to_string();
            let suffix = format!(" at line {} column {}", place.0, place.1);
            let message = message.strip_suffix(&suffix).unwrap_or(&message);
            Err(SyntaxError { place: Some(place), wanted: format!("valid JSON ({message})") })
        }
    }
}

/// JSON in which no object has a key twice.
struct Unique(Value);

impl<'de> Deserialize<'de> for Unique {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(UniqueVisitor).map(Self)
    }
}

struct UniqueVisitor;

impl<'de> Visitor<'de> for UniqueVisitor {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_f64<E>(self, value: f64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut elements: A) -> Result<Value, A::Error> {
        let mut list = Vec::new();
        while let Some(Unique(element)) = elements.next_element()? {
            list.push(element);
        }
        Ok(Value::Array(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Value, A::Error> {
        let mut table = Map::new();
        while let Some(key) = entries.next_key::<String>()? {
            if table.contains_key(&key) {
                return Err(de::Error::custom(format_args!("the key {key:?} is there twice")));
            }
            let Unique(value) = entries.next_value()?;
            table.insert(key, value);
        }
        Ok(Value::Object(table))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn parse(syntax: Syntax, text: &str) -> Result<Value, SyntaxError> {
        syntax.parse(text.as_bytes()).map(Value::Object)
    }

    #[test]
    fn the_extension_tells_the_syntax_and_where_it_does_not_the_first_character() {
        for (path, text, syntax) in [
            ("a.toml", "{}", Syntax::Toml),
            ("a.TOML", "{}", Syntax::Toml),
            ("a.json", "a = 1", Syntax::Json),
            ("a.conf", " \n\t{}", Syntax::Json),
            ("a", "\u{feff}{}", Syntax::Json),
            ("a", "a = 1", Syntax::Toml),
            ("/dev/fd/63", "", Syntax::Toml),
            ("", "[a]", Syntax::Toml),
        ] {
            assert_eq!(Syntax::of(Path::new(path), text.as_bytes()), syntax, "{path} {text}");
        }
    }

    #[test]
    fn both_syntaxes_give_the_same_values() {
        let toml = "\u{feff}a = 1\nb = 1.5\nc = true\nd = ['x', \"\\u00e9\"]\n[e]\n'f.g' = {h = 0x10}\n[[i]]\n[[i]]";
        let json = r#"{"a": 1, "b": 1.5, "c": true, "d": ["x", "\u00e9"], "e": {"f.g": {"h": 16}}, "i": [{}, {}]}"#;
        assert_eq!(parse(Syntax::Toml, toml), parse(Syntax::Json, json));
        assert_eq!(parse(Syntax::Toml, ""), Ok(json!({})));
        assert_eq!(parse(Syntax::Json, r#"{"a": null}"#), Ok(json!({"a": null})));
        let odd = parse(Syntax::Toml, "a = 99999999999999999999\nb = inf\nc = 2026-07-28\nd = +1_000");
        assert_eq!(odd, Ok(json!({"a": "99999999999999999999", "b": "inf", "c": "2026-07-28", "d": 1000})));
    }

    #[test]
    fn an_error_says_where_it_is_and_quotes_no_value() {
        for (syntax, text, place, wanted) in [
            (Syntax::Toml, "a = 1\nb = \"hunter2", Some((2, 13)), "valid TOML ("),
            (Syntax::Toml, "a = 1\na = 'hunter2'", Some((2, 1)), "valid TOML (duplicate key"),
            (Syntax::Toml, "a = hunter2", Some((1, 5)), "valid TOML ("),
            (Syntax::Json, "{\"a\": \"hunter2\"\n \"b\": 1}", Some((2, 2)), "valid JSON (expected `,` or `}`)"),
            (
                Syntax::Json,
                "{\n\"a\": \"hunter2\",\n\"a\": 2}",
                Some((3, 3)),
                "valid JSON (the key \"a\" is there twice)",
            ),
            (Syntax::Json, "{} {}", Some((1, 4)), "valid JSON (trailing characters)"),
            (Syntax::Json, "[\"hunter2\"]", None, "a JSON object"),
            (Syntax::Json, "", Some((1, 0)), "valid JSON ("),
        ] {
            let error = parse(syntax, text).unwrap_err();
            assert_eq!(error.place, place, "{text}: {error:?}");
            assert!(error.wanted.starts_with(wanted) && !error.wanted.contains("hunter2"), "{error:?}");
        }
        let error = Syntax::Toml.parse(b"a = 1\nb = '\xff'").unwrap_err();
        assert_eq!((error.place, error.wanted.as_str()), (Some((2, 6)), "valid UTF-8"));
    }

    #[test]
    fn values_that_are_nested_too_deeply_are_an_error() {
        let nested = |depth: usize| format!("{}{}", "[".repeat(depth), "]".repeat(depth));
        for depth in [200, 200_000] {
            parse(Syntax::Toml, &format!("a = {}", nested(depth))).unwrap_err();
            parse(Syntax::Json, &format!("{{\"a\": {}}}", nested(depth))).unwrap_err();
            parse(Syntax::Toml, &format!("a{} = 1", ".a".repeat(depth))).unwrap_err();
        }
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..64), text in "[a\\[\\]{}=.,:\"'0-9 \n]{0,64}") {
            for syntax in [Syntax::Toml, Syntax::Json] {
                let _ = syntax.parse(&bytes);
                let _ = syntax.parse(text.as_bytes());
            }
        }
    }
}
