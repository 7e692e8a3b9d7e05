//! What a session is, as plain data: what is needed to build it again elsewhere.
//!
//! It is the session's own field, not a copy: the revision is read from it, stream ids are counted in it, and the
//! attachment to a child is made from it.
//!
//! Spec: 2025-11-25, Lifecycle, Initialization; Transports, Session Management.

use std::fmt;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::Value;
use serde_json::value::RawValue;
use uuid::Uuid;

use crate::error::Reject;
use crate::mcp::{Era, LogLevel, Revision};
use crate::metrics::{Limit, limit_hit};
use crate::router::{ClientCapabilities, Profile, StreamId};

/// The id a client names its session by. A secret: whoever knows it can act for the client, so `Debug` and `Display`
/// show a [`SessionTag`] instead.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct SessionId(Uuid);

impl SessionId {
    /// A new one, random and unguessable.
    pub fn random() -> Self {
        Self(Uuid::new_v4())
    }

    /// The id a client sent; none if it cannot be one of ours.
    pub fn from_client(text: &str) -> Option<Self> {
        let id = Uuid::try_parse(text).ok()?;
        (text == id.as_hyphenated().encode_lower(&mut Uuid::encode_buffer())).then_some(Self(id))
    }

    /// The id itself, for its own client and nobody else.
    pub fn expose(self) -> String {
        self.0.as_hyphenated().to_string()
    }

    /// What stands for it in logs.
    pub fn tag(self) -> SessionTag {
        let mut hasher = DefaultHasher::new();
        self.0.hash(&mut hasher);
        let [a, b, c, d, ..] = hasher.finish().to_be_bytes();
        SessionTag(u32::from_be_bytes([a, b, c, d]))
    }
}

impl fmt::Debug for SessionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.tag().fmt(f)
    }
}

impl fmt::Display for SessionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.tag().fmt(f)
    }
}

/// Stands for a session in logs: eight hexadecimal digits from which its id cannot be found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SessionTag(u32);

impl fmt::Display for SessionTag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:08x}", self.0)
    }
}

/// A session as plain data.
#[derive(Debug, Serialize, Deserialize)]
pub struct SessionRecord {
    /// How its client names it.
    #[serde(serialize_with = "write_id", deserialize_with = "read_id")]
    pub id: SessionId,
    /// When it was opened, in milliseconds since 1970.
    pub created_unix_ms: u64,
    /// The `params` of the client's `initialize`, as they came; none before.
    pub initialize: Option<Box<RawValue>>,
    /// The revision agreed on; none before.
    #[serde(serialize_with = "write_revision", deserialize_with = "read_revision")]
    pub revision: Option<Revision>,
    /// The last stream id given out.
    pub streams: u64,
    /// Of one modern request: the level its metadata has, if it has one. An exchange is never built again elsewhere.
    #[serde(skip)]
    pub modern: Option<Option<LogLevel>>,
}

impl SessionRecord {
    /// A new session.
    pub const fn new(id: SessionId, created_unix_ms: u64) -> Self {
        Self { id, created_unix_ms, initialize: None, revision: None, streams: StreamId::STANDALONE.0, modern: None }
    }

    /// The next stream id; they start at 1 and are never reused.
    pub const fn next_stream(&mut self) -> StreamId {
        self.streams += 1;
        StreamId(self.streams)
    }

    /// Keeps the `params` of the client's `initialize`.
    ///
    /// # Errors
    /// [`Reject::InvalidParams`] if they are too large to be kept.
    pub fn keep_initialize(&mut self, params: Option<&str>) -> Result<(), Reject> {
        let Some(params) = params else { return Ok(()) };
        if params.len() > INITIALIZE_BYTES_MAX {
            limit_hit(Limit::MessageForm);
            return Err(Reject::InvalidParams(format!(
                "params of initialize larger than {INITIALIZE_BYTES_MAX} bytes"
            )));
        }
        let params = RawValue::from_string(params.to_owned())
            .map_err(|_| Reject::InvalidParams("params of initialize are not valid JSON".to_owned()))?;
        self.initialize = Some(params);
        Ok(())
    }

    /// What the router has to know of it.
    pub fn profile(&self) -> Profile {
        let Client { client_info, capabilities } = self.client();
        let (client_info, client_capabilities) = (client_info.and_then(object), capabilities.and_then(object));
        Profile {
            revision: self.revision,
            era: if self.modern.is_some() { Era::Modern } else { Era::Legacy },
            capabilities: client_capabilities.map(declared).unwrap_or_default(),
            client_info: client_info.map(Arc::from),
            client_capabilities: client_capabilities.map(Arc::from),
            level: self.modern.flatten(),
            ..Profile::default()
        }
    }

    /// The client's name and version, for the log: cut short, without anything a terminal would obey.
    pub fn client_name(&self) -> String {
        let info: Option<Value> = self.client().client_info.and_then(|info| serde_json::from_str(info.get()).ok());
        let word = |key: &str| {
            let text = info.as_ref().and_then(|info| info.get(key)?.as_str()).unwrap_or("?");
            text.chars().filter(|char| !char.is_control()).take(NAME_CHARS_MAX).collect::<String>()
        };
        format!("{} {}", word("name"), word("version"))
    }

    fn client(&self) -> Client<'_> {
        self.initialize.as_ref().and_then(|params| serde_json::from_str(params.get()).ok()).unwrap_or_default()
    }
}

/// The `params` of `initialize`, read leniently: what is not as it should be is not there, and nothing is if a member is
/// there twice.
#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Client<'a> {
    #[serde(borrow)]
    client_info: Option<&'a RawValue>,
    #[serde(borrow)]
    capabilities: Option<&'a RawValue>,
}

/// The value, if it is an object.
fn object(value: &RawValue) -> Option<&str> {
    Some(value.get()).filter(|text| text.starts_with('{'))
}

/// What a client declares (JSON text) that it can be asked.
pub fn declared(capabilities: &str) -> ClientCapabilities {
    serde_json::from_str(capabilities).map(|declared| self::capabilities(&declared)).unwrap_or_default()
}

fn capabilities(declared: &Value) -> ClientCapabilities {
    let capability = |name: &str| declared.get(name).filter(|one| one.is_object());
    let elicitation = capability("elicitation");
    let mode = |name: &str| elicitation.and_then(|modes| modes.get(name)).is_some_and(Value::is_object);
    ClientCapabilities {
        roots: capability("roots").is_some(),
        sampling: capability("sampling").is_some(),
        // 2025-11-25, Elicitation, Capabilities: an empty object declares form mode only.
        elicitation_form: mode("form") || (elicitation.is_some() && !mode("url")),
        elicitation_url: mode("url"),
    }
}

/// The largest `params` of `initialize`; they are kept as long as the session.
const INITIALIZE_BYTES_MAX: usize = 64 * 1024;
/// The most characters of a client's name, and of its version, in the log.
const NAME_CHARS_MAX: usize = 64;

fn write_id<S: Serializer>(id: &SessionId, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&id.expose())
}

fn read_id<'de, D: Deserializer<'de>>(deserializer: D) -> Result<SessionId, D::Error> {
    let text = String::deserialize(deserializer)?;
    SessionId::from_client(&text).ok_or_else(|| serde::de::Error::custom("not a session id"))
}

fn write_revision<S: Serializer>(revision: &Option<Revision>, serializer: S) -> Result<S::Ok, S::Error> {
    revision.map(Revision::as_str).serialize(serializer)
}

fn read_revision<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Revision>, D::Error> {
    let text = Option::<String>::deserialize(deserializer)?;
    text.map(|text| text.parse().map_err(serde::de::Error::custom)).transpose()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(params: &str) -> SessionRecord {
        let mut record = SessionRecord::new(SessionId::random(), 7);
        record.keep_initialize(Some(params)).expect("small");
        record
    }

    #[test]
    fn record_survives_serialisation() {
        let mut before = record(r#"{"protocolVersion": "2025-11-25",  "x": 1e2}"#);
        before.revision = Some(Revision::V2025_11_25);
        before.next_stream();
        let text = serde_json::to_string(&before).expect("plain data");
        let after: SessionRecord = serde_json::from_str(&text).expect("as written");
        assert_eq!((after.id, after.created_unix_ms, after.revision), (before.id, 7, before.revision));
        assert_eq!(after.initialize.expect("kept").get(), r#"{"protocolVersion": "2025-11-25",  "x": 1e2}"#);
        assert_eq!(after.streams, 1);
    }

    // spec: 2025-11-25 client/elicitation, Capabilities
    #[test]
    fn capabilities_are_read_as_declared() {
        let read = |text: &str| {
            let found = record(&format!(r#"{{"capabilities":{text}}}"#)).profile().capabilities;
            [found.roots, found.sampling, found.elicitation_form, found.elicitation_url]
        };
        assert_eq!(read("{}"), [false; 4]);
        assert_eq!(read(r#"{"roots":{"listChanged":true},"sampling":{}}"#), [true, true, false, false]);
        assert_eq!(read(r#"{"elicitation":{}}"#), [false, false, true, false]);
        assert_eq!(read(r#"{"elicitation":{"url":{}}}"#), [false, false, false, true]);
        assert_eq!(read(r#"{"elicitation":{"form":{},"url":{}}}"#), [false, false, true, true]);
        assert_eq!(read(r#"{"roots":null,"sampling":7,"elicitation":[]}"#), [false; 4]);
        assert_eq!(SessionRecord::new(SessionId::random(), 0).profile(), Profile::default());
    }

    #[test]
    fn client_name_is_short_and_harmless() {
        let long = "n".repeat(1000);
        let name = record(&format!(r#"{{"clientInfo":{{"name":"a\u001b[2J{long}","version":"1\n2"}}}}"#)).client_name();
        assert!(name.starts_with("a[2Jnn") && name.ends_with(" 12") && name.len() < 80, "{name:?}");
        assert_eq!(record("{}").client_name(), "? ?");
    }

    #[test]
    fn too_large_params_are_refused() {
        let mut record = SessionRecord::new(SessionId::random(), 0);
        let params = format!(r#"{{"x":"{}"}}"#, "x".repeat(INITIALIZE_BYTES_MAX));
        let before = crate::metrics::limit_hits(Limit::MessageForm);
        assert!(matches!(record.keep_initialize(Some(&params)), Err(Reject::InvalidParams(_))));
        assert!(crate::metrics::limit_hits(Limit::MessageForm) > before);
    }

    #[test]
    fn session_id_shows_only_its_tag() {
        let id = SessionId::random();
        assert_eq!(format!("{id} {id:?}").matches(id.expose().get(..8).expect("longer")).count(), 0);
        assert_eq!(id.tag().to_string().len(), 8);
        assert_eq!(SessionId::from_client(&id.expose()), Some(id));
        for text in ["", "x", &id.expose().repeat(2), &id.expose().replace('-', ""), "urn:uuid:x"] {
            assert_eq!(SessionId::from_client(text), None);
        }
    }
}
