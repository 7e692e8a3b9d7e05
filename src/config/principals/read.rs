//! Settings of principals, as they are written in the configuration file and in the claims of a JWT.
//!
//! Invariants: what is not known is refused, since a rule that is misspelt would be a rule that does not hold; the value of a
//! variable is in no problem.

use std::collections::BTreeMap;
use std::num::NonZeroUsize;

use serde_json::{Map, Value};

use super::{ANONYMOUS, NamesConfig, PrincipalConfig};
use crate::config::Problem;
use crate::config::known::{below, unknown};
use crate::config::secret::Secret;
use crate::config::values::{self, Wanted};

/// A claim that does not say what a principal may do. Whoever has it should be refused: its limits are not known.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct ClaimError(Problem);

impl PrincipalConfig {
    /// The settings in a JWT's claim: the same object as an entry of the configuration file. `env` must not have variables
    /// that decide on the code which a program runs, as with `--header-env`.
    ///
    /// # Errors
    /// The first thing that is wrong with it.
    pub fn from_claim(claim: &Value) -> Result<Self, ClaimError> {
        let mut problems = Vec::new();
        let config = Reader { author: Author::Token, problems: &mut problems }.entry("claim", claim);
        problems.into_iter().next().map_or(Ok(config), |problem| Err(ClaimError(problem)))
    }
}

/// Reads the table `principals`, which is at `place`.
pub(in crate::config) fn read_entries(
    place: &str,
    value: &Value,
    problems: &mut Vec<Problem>,
) -> BTreeMap<String, PrincipalConfig> {
    let mut reader = Reader { author: Author::Operator, problems };
    let mut entries = BTreeMap::new();
    for (key, value) in reader.table(place, value).into_iter().flatten() {
        let place = below(place, key);
        if !is_key(key) {
            reader.problem(&place, None, KEY);
        }
        entries.insert(key.clone(), reader.entry(&place, value));
    }
    entries
}

/// What can be the label of a principal, or a pattern of it.
fn is_key(key: &str) -> bool {
    let label = ["token:", "jwt:", "cert:"].iter().filter_map(|source| key.strip_prefix(source));
    key == ANONYMOUS || key.starts_with('*') || label.into_iter().any(|name| !name.is_empty())
}

const KEY: &str = "one of token:NAME, jwt:SUBJECT, cert:SUBJECT or anonymous, or a pattern such as jwt:* or *";

/// Who wrote the settings.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Author {
    /// In the configuration file.
    Operator,
    /// Who issued the token.
    Token,
}

struct Reader<'a> {
    author: Author,
    problems: &'a mut Vec<Problem>,
}

/// The settings of an entry.
const SETTINGS: [&str; 8] = ["rate", "burst", "sessions-max", "in-flight-max", "tools", "resources", "prompts", "env"];

impl Reader<'_> {
    fn problem(&mut self, place: &str, value: Option<String>, wanted: impl Into<Wanted>) {
        self.problems.push(Problem { origin: place.to_owned(), value, wanted: wanted.into() });
    }

    fn entry(&mut self, place: &str, value: &Value) -> PrincipalConfig {
        let mut config = PrincipalConfig::default();
        for (setting, value) in self.table(place, value).into_iter().flatten() {
            let place = below(place, setting);
            match setting.as_str() {
                "rate" => config.rate = self.one(&place, value, values::rate),
                "burst" => config.burst = self.one(&place, value, values::burst),
                "sessions-max" => config.sessions_max = self.limit(&place, value),
                "in-flight-max" => config.in_flight_max = self.limit(&place, value),
                "tools" => config.tools = self.names(&place, value),
                "resources" => config.resources = self.names(&place, value),
                "prompts" => config.prompts = self.names(&place, value),
                "env" => config.env = self.env(&place, value),
                _ => self.problem(&place, None, unknown(setting, SETTINGS)),
            }
        }
        config
    }

    fn table<'v>(&mut self, place: &str, value: &'v Value) -> Option<&'v Map<String, Value>> {
        if !value.is_object() {
            self.problem(place, None, "a table");
        }
        value.as_object()
    }

    /// A number or a text.
    fn one<T>(&mut self, place: &str, value: &Value, parse: impl FnOnce(&str) -> Result<T, Wanted>) -> Option<T> {
        let text = match value {
            Value::String(text) => text.clone(),
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::Array(_) | Value::Object(_) => value.to_string(),
        };
        parse(&text).map_err(|wanted| self.problem(place, Some(text), wanted)).ok()
    }

    /// Where there is to be none, that is said too: it wins over the default.
    fn limit(&mut self, place: &str, value: &Value) -> Option<NonZeroUsize> {
        let limit = self.one(place, value, values::optional_limit)?;
        Some(limit.unwrap_or(NonZeroUsize::MAX))
    }

    fn names(&mut self, place: &str, value: &Value) -> NamesConfig {
        let mut names = NamesConfig::default();
        for (key, value) in self.table(place, value).into_iter().flatten() {
            let place = below(place, key);
            match key.as_str() {
                "allow" => names.allow = Some(self.patterns(&place, value)),
                "deny" => names.deny = self.patterns(&place, value),
                _ => self.problem(&place, None, unknown(key, ["allow", "deny"])),
            }
        }
        names
    }

    fn patterns(&mut self, place: &str, value: &Value) -> Vec<String> {
        let list = value.as_array().map_or_else(|| std::slice::from_ref(value), Vec::as_slice);
        let patterns = list.iter().map(|pattern| pattern.as_str().filter(|pattern| !pattern.is_empty()));
        let patterns = patterns.map(|pattern| pattern.map(str::to_owned)).collect::<Option<Vec<_>>>();
        if patterns.is_none() {
            self.problem(place, None, "a list of names and patterns, such as [\"read_*\"]");
        }
        patterns.unwrap_or_default()
    }

    fn env(&mut self, place: &str, value: &Value) -> BTreeMap<String, Secret> {
        let mut env = BTreeMap::new();
        for (name, value) in self.table(place, value).into_iter().flatten() {
            let read =
                value.as_str().ok_or_else(|| "a text, in quotes".to_owned()).and_then(|value| match self.author {
                    _ if name.is_empty() || name.contains('=') => {
                        Err("a name that is not empty and has no =".to_owned())
                    }
                    Author::Operator => values::variable(&format!("{name}={value}")),
                    Author::Token if value.contains('\0') => Err("a text without NUL bytes".to_owned()),
                    Author::Token => values::foreign_variable(name).map(|name| (name, Secret::new(value.to_owned()))),
                });
            match read {
                Ok((name, value)) => {
                    env.insert(name, value);
                }
                Err(wanted) => self.problem(&below(place, name), None, wanted),
            }
        }
        env
    }
}
