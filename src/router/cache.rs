//! Results of a modern child that anybody may be given, kept for as long as the child says.
//!
//! Kept is a complete result of one of the six cacheable methods with `cacheScope: "public"` and a `ttlMs` above 0, under
//! its method, its parameters, what its client can do and what else its `_meta` has that may matter. What is served says how much of its `ttlMs` is left. A notification that it has changed drops
//! it, and so does the end of the process that gave it.
//!
//! Between a question to the child and its answer the answer may go stale: whoever asks takes a [`Ticket`] before, and an
//! answer whose ticket is older than a notification is not kept.
//!
//! Several children may have one [`Cache`], which is bounded as a whole; children that are not interchangeable have a scope
//! each in it, and nothing of one is served for another: a server that has a process for each user has no way to know
//! that its "public" would be shared by more. The least recently used goes first.
//!
//! With them goes what is known of the child's [`Tools`], which goes stale with its lists.
//!
//! Pure, but for the lock of [`ResponseCache`]: the time is an input.
//!
//! Spec: 2026-07-28, Caching.

mod tools;

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use serde::de::{Error as _, IgnoredAny, MapAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::Value;
use serde_json::value::RawValue;
use tokio::time::Instant;

pub use tools::{Extent, Tools, ToolsTicket};

use crate::mcp::ids::{PROGRESS_TOKEN, meta};
use crate::mcp::method;

/// What an entry takes beside its key and its result.
const ENTRY_BYTES: usize = 256;
/// The longest that anything is kept, whatever the child says.
const AGE_MAX: Duration = Duration::from_secs(24 * 60 * 60);

/// What is kept of one child, or of several that are interchangeable. Cheap to clone.
#[derive(Clone, Debug)]
pub struct ResponseCache {
    cache: Arc<Mutex<Cache>>,
    scope: u64,
    /// Of this scope only.
    tools: Tools,
}

/// What there is for a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Lookup {
    /// The text of the result. `ttlMs` is what is left of it.
    Hit(Bytes),
    /// Nothing; the child's answer may be kept with this.
    Miss(Ticket),
    /// Nothing, and the answer will not be kept either.
    Uncacheable,
}

/// The right to keep the answer to a request, for as long as nothing says that it has changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ticket {
    key: Key,
    uri: Option<Box<str>>,
    /// How often something of the kind had changed.
    changes: u64,
}

impl ResponseCache {
    /// One that keeps up to `bytes_max`; none at all if that is 0.
    pub fn new(bytes_max: usize) -> Self {
        Self { cache: Arc::new(Mutex::new(Cache::new(bytes_max))), scope: 0, tools: Tools::default() }
    }

    /// The part of it that is of children with this number alone. What is known of tools is shared by clones of one value
    /// only: another part knows nothing of them yet.
    #[must_use]
    pub fn scoped(&self, scope: u64) -> Self {
        let tools = if scope == self.scope { self.tools.clone() } else { Tools::default() };
        Self { cache: Arc::clone(&self.cache), scope, tools }
    }

    /// What is known of the tools; of a child of either era.
    pub const fn tools(&self) -> &Tools {
        &self.tools
    }

    /// Whether anything is ever kept.
    pub fn is_on(&self) -> bool {
        self.lock().bytes_max > 0
    }

    /// What there is for a request. `params` is the JSON text of its `params`, if it has any.
    pub fn lookup(&self, method: &str, params: Option<&str>, now: Instant) -> Lookup {
        self.lock().lookup(self.scope, method, params, now)
    }

    /// The child answered with this `result` (JSON text). Kept if it may be.
    pub fn store(&self, ticket: Ticket, result: &Bytes, now: Instant) {
        self.lock().store(ticket, result, now);
    }

    /// The child sent a notification; `uri` is the resource's, where it names one.
    pub fn invalidate(&self, method: &str, uri: Option<&str>) {
        let stale = match method {
            method::TOOLS_LIST_CHANGED => Stale::Kind(Kind::Tools),
            method::PROMPTS_LIST_CHANGED => Stale::Kind(Kind::Prompts),
            method::RESOURCES_LIST_CHANGED => Stale::Kind(Kind::Resources),
            method::RESOURCE_UPDATED => uri.map_or(Stale::Kind(Kind::Resources), Stale::Resource),
            _ => return,
        };
        if method == method::TOOLS_LIST_CHANGED {
            self.tools.clear();
        }
        self.lock().invalidate(self.scope, stale);
    }

    /// The child is another one from now on, or gone.
    pub fn clear(&self) {
        self.tools.clear();
        self.lock().clear(self.scope);
    }

    fn lock(&self) -> MutexGuard<'_, Cache> {
        self.cache.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whether results of this method may be kept.
pub fn is_cacheable(method: &str) -> bool {
    Kind::of(method).is_some()
}

/// What changes together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Kind {
    Server,
    Tools,
    Prompts,
    Resources,
}

impl Kind {
    const ALL: [Self; 4] = [Self::Server, Self::Tools, Self::Prompts, Self::Resources];

    /// Of a cacheable method.
    fn of(method: &str) -> Option<Self> {
        method::is_cacheable(method).then_some(match method {
            method::DISCOVER => Self::Server,
            method::TOOLS_LIST => Self::Tools,
            method::PROMPTS_LIST => Self::Prompts,
            _ => Self::Resources,
        })
    }
}

/// What is stale.
#[derive(Clone, Copy, Debug)]
enum Stale<'a> {
    Kind(Kind),
    /// What was read of this resource, and of what it is part of, or what is part of it.
    Resource(&'a str),
}

/// A request: the scope, what changes with it, its method and its parameters.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Key {
    scope: u64,
    kind: Kind,
    /// The method, a blank, the parameters.
    request: Arc<str>,
}

#[derive(Debug)]
struct Entry {
    result: Bytes,
    /// Where in it the value of `ttlMs` is, and that value.
    ttl_at: (usize, usize),
    ttl_ms: u64,
    uri: Option<Box<str>>,
    received: Instant,
    used: u64,
}

#[derive(Debug)]
struct Cache {
    bytes_max: usize,
    bytes: usize,
    entries: BTreeMap<Key, Entry>,
    /// The least recently used first.
    by_use: BTreeMap<u64, Key>,
    uses: u64,
    /// How often anything of any kind has changed. One number for all scopes: they are as many as children ever were.
    changes: BTreeMap<Kind, u64>,
}

impl Cache {
    fn new(bytes_max: usize) -> Self {
        let (entries, by_use, changes) = (BTreeMap::new(), BTreeMap::new(), BTreeMap::new());
        Self { bytes_max, bytes: 0, entries, by_use, uses: 0, changes }
    }

    fn lookup(&mut self, scope: u64, method: &str, params: Option<&str>, now: Instant) -> Lookup {
        let Some(kind) = Kind::of(method).filter(|_| self.bytes_max > 0) else { return Lookup::Uncacheable };
        let Ok(params) = serde_json::from_str::<Params<'_>>(params.unwrap_or("{}")) else { return Lookup::Uncacheable };
        if params.is_retry() {
            return Lookup::Uncacheable;
        }
        let Some(request) = params.request(method) else { return Lookup::Uncacheable };
        let key = Key { scope, kind, request: request.into() };
        if let Some(result) = self.hit(&key, now) {
            return Lookup::Hit(result);
        }
        let changes = self.changes.get(&kind).copied().unwrap_or_default();
        Lookup::Miss(Ticket { key, uri: params.uri(), changes })
    }

    fn hit(&mut self, key: &Key, now: Instant) -> Option<Bytes> {
        let entry = self.entries.get_mut(key)?;
        let age = now.saturating_duration_since(entry.received);
        let age_ms = u64::try_from(age.as_millis()).unwrap_or(u64::MAX);
        if age_ms >= entry.ttl_ms || age >= AGE_MAX {
            self.remove(key);
            return None;
        }
        self.uses += 1;
        self.by_use.remove(&entry.used);
        entry.used = self.uses;
        self.by_use.insert(self.uses, key.clone());
        let (start, end) = entry.ttl_at;
        let (before, after) = (entry.result.get(..start)?, entry.result.get(end..)?);
        Some([before, (entry.ttl_ms - age_ms).to_string().as_bytes(), after].concat().into())
    }

    fn store(&mut self, ticket: Ticket, result: &Bytes, now: Instant) {
        let Ticket { key, uri, changes } = ticket;
        if self.changes.get(&key.kind).copied().unwrap_or_default() != changes {
            return;
        }
        let Some((ttl_ms, ttl_at)) = freshness(result) else { return };
        self.remove(&key);
        let bytes = key.bytes().saturating_add(result.len());
        if bytes > self.bytes_max {
            return;
        }
        while self.bytes_max.saturating_sub(self.bytes) < bytes {
            let Some((_, oldest)) = self.by_use.pop_first() else { return };
            self.remove(&oldest);
        }
        self.uses += 1;
        self.bytes += bytes;
        self.by_use.insert(self.uses, key.clone());
        // A copy of its own: what it came with would be kept too.
        let result = Bytes::copy_from_slice(result);
        self.entries.insert(key, Entry { result, ttl_at, ttl_ms, uri, received: now, used: self.uses });
    }

    fn invalidate(&mut self, scope: u64, stale: Stale<'_>) {
        let kind = match stale {
            Stale::Kind(kind) => kind,
            Stale::Resource(_) => Kind::Resources,
        };
        *self.changes.entry(kind).or_default() += 1;
        let first = Key { scope, kind, request: "".into() };
        let of_kind = self.entries.range(first..).take_while(|(key, _)| key.scope == scope && key.kind == kind);
        let is_meant = |entry: &Entry| match (stale, &entry.uri) {
            (Stale::Kind(_), _) => true,
            (Stale::Resource(changed), Some(uri)) => changed.starts_with(&**uri) || uri.starts_with(changed),
            (Stale::Resource(_), None) => false,
        };
        let meant: Vec<Key> = of_kind.filter(|(_, entry)| is_meant(entry)).map(|(key, _)| key.clone()).collect();
        for key in meant {
            self.remove(&key);
        }
    }

    fn clear(&mut self, scope: u64) {
        for kind in Kind::ALL {
            self.invalidate(scope, Stale::Kind(kind));
        }
    }

    fn remove(&mut self, key: &Key) {
        if let Some(entry) = self.entries.remove(key) {
            self.bytes = self.bytes.saturating_sub(key.bytes().saturating_add(entry.result.len()));
            self.by_use.remove(&entry.used);
        }
    }
}

impl Key {
    fn bytes(&self) -> usize {
        self.request.len().saturating_add(ENTRY_BYTES)
    }
}

/// For how long a result may be kept, and where it says so; none if it may not.
fn freshness(result: &[u8]) -> Option<(u64, (usize, usize))> {
    let text = std::str::from_utf8(result).ok()?;
    let hints: Hints<'_> = serde_json::from_str(text).ok()?;
    let complete = hints.result_type.is_none_or(|result_type| result_type == "complete");
    if hints.cache_scope != Some("public") || !complete {
        return None;
    }
    let ttl = hints.ttl_ms?.get();
    // It is a piece of the text.
    let start = (ttl.as_ptr().addr()).checked_sub(text.as_ptr().addr())?;
    ttl.parse().ok().filter(|ttl_ms| *ttl_ms > 0).map(|ttl_ms| (ttl_ms, (start, start + ttl.len())))
}

/// The caching hints of a result. A name that is there twice is an error.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Hints<'a> {
    #[serde(borrow)]
    ttl_ms: Option<&'a RawValue>,
    cache_scope: Option<&'a str>,
    result_type: Option<&'a str>,
    #[expect(dead_code, reason = "one that is there makes the result an interim one, whatever it says of its type")]
    #[serde(default, deserialize_with = "never")]
    input_requests: (),
}

fn never<'de, D: Deserializer<'de>>(deserializer: D) -> Result<(), D::Error> {
    IgnoredAny::deserialize(deserializer)?;
    Err(D::Error::custom("an interim result"))
}

/// Whether a member of `_meta` is about the request or its sender, and its result the same whatever it is. What a client
/// can do matters, and so may what is not known here.
fn is_irrelevant(name: &str) -> bool {
    matches!(
        name,
        PROGRESS_TOKEN
            | meta::PROTOCOL_VERSION
            | meta::CLIENT_INFO
            | meta::LOG_LEVEL
            | "traceparent"
            | "tracestate"
            | "baggage"
    )
}

/// The parameters of a request as its sender spelled them, by name. A name that is there twice is an error: two parsers may
/// differ over which one counts.
struct Params<'a>(BTreeMap<String, &'a RawValue>);

impl Params<'_> {
    /// Whether the request answers questions, on which its result depends.
    fn is_retry(&self) -> bool {
        self.0.contains_key("inputResponses") || self.0.contains_key("requestState")
    }

    /// What the result depends on; none if that cannot be told.
    fn request(&self, method: &str) -> Option<String> {
        let mut request = method.to_owned();
        for (name, value) in self.0.iter().filter(|(name, _)| *name != "_meta") {
            // Writing to a string cannot fail. The quotes tell names and values apart.
            let _ = write!(request, " {name:?}:{value}");
        }
        let Some(own) = self.0.get("_meta") else { return Some(request) };
        let own: Params<'_> = serde_json::from_str(own.get()).ok()?;
        for (name, value) in own.0.iter().filter(|(name, _)| !is_irrelevant(name)) {
            if name == meta::CLIENT_CAPABILITIES {
                // As a value, whose members are in order, for clients spell the same in many ways.
                let value: Value = serde_json::from_str(value.get()).ok()?;
                let _ = write!(request, " {value}");
            } else {
                let _ = write!(request, " _meta {name:?}:{value}");
            }
        }
        Some(request)
    }

    fn uri(&self) -> Option<Box<str>> {
        serde_json::from_str::<String>(self.0.get("uri")?.get()).ok().map(String::into_boxed_str)
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Params<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Members;
        impl<'de> Visitor<'de> for Members {
            type Value = BTreeMap<String, &'de RawValue>;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut members = BTreeMap::new();
                while let Some((name, value)) = map.next_entry()? {
                    if members.insert(name, value).is_some() {
                        return Err(A::Error::custom("a name occurs twice"));
                    }
                }
                Ok(members)
            }
        }
        deserializer.deserialize_map(Members).map(Self)
    }
}

#[cfg(test)]
mod tests;
