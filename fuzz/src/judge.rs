//! What bytes are by the rules of JSON-RPC, found out with `serde_json` and without a line of mcp-mux's own.

use std::fmt;

use mcp_mux::jsonrpc::{ID_BYTES_MAX, Kind};
use mcp_mux::mcp::ids::Param;
use serde::Deserialize;
use serde::de::{Deserializer, IgnoredAny, MapAccess, Visitor};
use serde_json::value::RawValue;

/// What bytes are.
pub enum Verdict<'a> {
    /// Not text, or not JSON.
    NotJson,
    /// JSON, too deep.
    TooDeep,
    /// JSON, but no message; where it has one usable id, this is it.
    Invalid(Option<&'a str>),
    /// A message.
    Message(Box<Expected<'a>>),
}

/// What a message consists of, as JSON text.
pub struct Expected<'a> {
    pub kind: Kind,
    pub id: Option<&'a str>,
    pub method: String,
    pub params: Option<&'a str>,
    pub null_params: bool,
    pub result: Option<&'a str>,
    pub error: Option<&'a str>,
    /// In the order of [`Param::ALL`].
    pub param: Vec<Option<&'a str>>,
}

/// An object's members in order: name as spelled, name decoded, value.
pub struct Members<'a>(pub Vec<(&'a str, Option<String>, &'a str)>);

impl<'a> Members<'a> {
    /// None if it is no object.
    pub fn of(text: &'a str) -> Option<Self> {
        text.trim_start_matches(SPACE).starts_with('{').then(|| serde_json::from_str(text).ok())?
    }

    /// The value of the only member of that name.
    ///
    /// # Errors
    /// There are several, or one in another case.
    fn only(&self, name: &str) -> Result<Option<&'a str>, ()> {
        let exact = |member: &&(&str, Option<String>, &'a str)| member.1.as_deref() == Some(name);
        let mut found = self.0.iter().filter(exact).map(|(_, _, value)| *value);
        let first = found.next();
        if found.next().is_some() || self.has_lookalike(name) { Err(()) } else { Ok(first) }
    }

    fn has_lookalike(&self, name: &str) -> bool {
        let alike = |spelled: &str| spelled != name && fold(spelled) == fold(name);
        self.0.iter().filter_map(|(_, decoded, _)| decoded.as_deref()).any(alike)
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Members<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct InOrder;
        impl<'de> Visitor<'de> for InOrder {
            type Value = Members<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut members = Vec::new();
                while let Some((name, value)) = map.next_entry::<&RawValue, &RawValue>()? {
                    members.push((name.get(), serde_json::from_str(name.get()).ok(), value.get()));
                }
                Ok(Members(members))
            }
        }
        deserializer.deserialize_map(InOrder)
    }
}

/// White space of JSON.
pub const SPACE: [char; 4] = [' ', '\t', '\n', '\r'];

fn fold(text: &str) -> String {
    text.to_uppercase().to_lowercase()
}

/// Whether they are one JSON value.
pub fn is_json(bytes: &[u8]) -> bool {
    std::str::from_utf8(bytes).is_ok_and(|text| serde_json::from_str::<IgnoredAny>(text).is_ok())
}

/// The elements of an array; none if it is not one.
pub fn elements(text: &str) -> Option<Vec<&str>> {
    let elements: Vec<&RawValue> = serde_json::from_str(text).ok()?;
    Some(elements.into_iter().map(RawValue::get).collect())
}

/// How deep JSON is nested.
pub fn depth(text: &str) -> usize {
    let (mut depth, mut deepest, mut in_string, mut escaped) = (0_usize, 0, false, false);
    for byte in text.bytes() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if in_string => escaped = true,
            b'"' => in_string = !in_string,
            b'{' | b'[' if !in_string => {
                depth += 1;
                deepest = deepest.max(depth);
            }
            b'}' | b']' if !in_string => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    deepest
}

/// What these bytes are.
pub fn judge(bytes: &[u8], depth_max: usize) -> Verdict<'_> {
    let Ok(text) = std::str::from_utf8(bytes) else { return Verdict::NotJson };
    if !is_json(bytes) {
        return Verdict::NotJson;
    }
    if depth(text) > depth_max {
        return Verdict::TooDeep;
    }
    let Some(members) = Members::of(text) else { return Verdict::Invalid(None) };
    let id = members.only("id");
    match expected(&members) {
        Ok(expected) => Verdict::Message(Box::new(expected)),
        Err(()) => {
            // The id of a response is not its sender's own.
            let has = |name: &str| members.0.iter().any(|(_, decoded, _)| decoded.as_deref() == Some(name));
            let is_response = !has("method") && (has("result") || has("error"));
            let usable = |id: &&str| is_id(id) && id.len() <= ID_BYTES_MAX;
            Verdict::Invalid(id.ok().flatten().filter(usable).filter(|_| !is_response))
        }
    }
}

fn is_id(value: &str) -> bool {
    value.starts_with(|first: char| first == '"' || first == '-' || first.is_ascii_digit())
}

fn expected<'a>(members: &Members<'a>) -> Result<Expected<'a>, ()> {
    let jsonrpc = members.only("jsonrpc")?.ok_or(())?;
    let is_two = serde_json::from_str::<String>(jsonrpc).is_ok_and(|version| version == "2.0");
    let (id, method, params) = (members.only("id")?, members.only("method")?, members.only("params")?);
    let (result, error) = (members.only("result")?, members.only("error")?);
    let inner = params.and_then(Members::of);
    let null_params = params == Some("null");
    if !is_two || !(params.is_none() || null_params || inner.is_some()) {
        return Err(());
    }
    let mut param = Vec::new();
    for one in Param::ALL {
        let inner = inner.as_ref();
        let same = |member: &&(&str, Option<String>, &str)| member.1.as_deref() == Some(one.name());
        let found = inner.into_iter().flat_map(|inner| inner.0.iter().filter(same)).map(|(_, _, value)| *value);
        let found: Vec<&str> = found.collect();
        let alike = one.names_something() && inner.is_some_and(|inner| inner.has_lookalike(one.name()));
        if found.len() > 1 || alike {
            return Err(());
        }
        param.push(found.first().copied());
    }
    let answers_nothing = method.is_none() && result.is_none() && error.is_some();
    let id = match id {
        Some("null") if answers_nothing => None,
        Some(id) if !is_id(id) || id.len() > ID_BYTES_MAX => return Err(()),
        id => id,
    };
    let (kind, method) = match (method, result, error) {
        (Some(method), None, None) => {
            let method = serde_json::from_str::<String>(method).map_err(|_| ())?;
            (if id.is_some() { Kind::Request } else { Kind::Notification }, method)
        }
        (None, Some(_), None) if id.is_some() => (Kind::Result, String::new()),
        (None, None, Some(error)) if error.starts_with('{') => (Kind::Error, String::new()),
        _ => return Err(()),
    };
    Ok(Expected { kind, id, method, params: params.filter(|_| !null_params), null_params, result, error, param })
}
