//! From the values of the file to what would have been typed.
//!
//! | the flag | the value |
//! |---|---|
//! | takes one value | a text, a number, true or false |
//! | takes one list (`LIST`) | also a list, which is joined by commas |
//! | is repeatable | also a list of them |
//! | is repeatable and takes `NAME=VALUE` or the like | also a table from name to value |
//! | the words after `--` (`command`) | a list of words |
//!
//! The entries of `mcpServers` have the same keys, as far as they concern one server ([`servers`]).
//!
//! Invariant: no problem quotes a value; it may be a secret.

mod expansion;
mod servers;

pub(crate) use servers::ServerValues;

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::{Path, PathBuf};

use clap::{Arg, ArgAction, Command};
use serde_json::{Map, Value};

use super::{File, Problem};
use crate::cli::flag_with_key;
use crate::config::ForeignKey;
use crate::config::known::{Foreign, below, quoted, unknown};
use crate::config::principals::{self, PrincipalConfig};
use crate::config::values::Wanted;

/// What a configuration file says. Not to be shown: it has the values of variables.
pub(crate) struct FileValues {
    /// The file.
    pub(crate) path: PathBuf,
    /// What would have been typed, by flag.
    pub(crate) flags: BTreeMap<String, Vec<String>>,
    /// The server's program and arguments.
    pub(crate) command: Option<Vec<String>>,
    /// The servers of `mcpServers`; none: there is no such table.
    pub(crate) servers: Option<Vec<ServerValues>>,
    /// Keys of other programs.
    pub(crate) foreign: Vec<ForeignKey>,
    /// The settings of principals, by key.
    pub(crate) principals: BTreeMap<String, PrincipalConfig>,
    /// Whether everybody can read variables' values in it.
    pub(crate) exposed: bool,
    /// There is nothing in it.
    pub(crate) is_empty: bool,
    /// What is wrong with it.
    pub(crate) problems: Vec<Problem>,
}

impl FileValues {
    /// Reads every key, by the definition of the command line. `environment` gives the value of a variable that the file
    /// refers to.
    pub(crate) fn read(file: File, definition: &Command, environment: &dyn Fn(&str) -> Option<OsString>) -> Self {
        let File { path, table, world_readable } = file;
        let mut reader = Reader {
            definition,
            environment,
            probe: definition.clone(),
            several: table.contains_key(SERVERS),
            values: Self {
                path,
                flags: BTreeMap::new(),
                command: None,
                servers: None,
                foreign: Vec::new(),
                principals: BTreeMap::new(),
                exposed: false,
                is_empty: table.is_empty(),
                problems: Vec::new(),
            },
        };
        for (key, value) in &table {
            reader.key(key, value);
        }
        if table.contains_key("command") && table.contains_key("spawn") && !reader.several {
            reader.problem("spawn", "left out where there is a command");
        }
        let mut values = reader.values;
        let sets = |flags: &BTreeMap<String, Vec<String>>| flags.get("env").is_some_and(|env| !env.is_empty());
        let secrets = sets(&values.flags)
            || values.servers.iter().flatten().any(|server| sets(&server.flags))
            || values.principals.values().any(|principal| !principal.env.is_empty());
        values.exposed = world_readable && secrets;
        values
    }
}

struct Reader<'a> {
    definition: &'a Command,
    environment: &'a dyn Fn(&str) -> Option<OsString>,
    /// A copy to try values on.
    probe: Command,
    /// There is a table of servers, so that the file may be another program's.
    several: bool,
    values: FileValues,
}

impl<'a> Reader<'a> {
    fn problem(&mut self, key: &str, wanted: impl Into<Wanted>) {
        let origin = File::origin(&self.values.path, key);
        self.values.problems.push(Problem { origin, value: None, wanted: wanted.into() });
    }

    fn key(&mut self, key: &str, value: &Value) {
        match key {
            "principals" => {
                self.values.principals = read_principals(&self.values.path, value, &mut self.values.problems);
            }
            SERVERS => self.servers(value),
            "command" | "spawn" if self.several => {
                self.problem(key, "left out with mcpServers, which has other servers: choose");
            }
            "command" => match words(value) {
                Some(words) => self.values.command = Some(words),
                None => self.problem(key, "a list of words, such as [\"python3\", \"server.py\"] (one text: spawn)"),
            },
            "servers" | "context_servers" | "mcp" if value.is_object() && !self.several => {
                self.problem(
                    key,
                    "called mcpServers here: rename the key (a table from the servers' names to the servers)",
                );
            }
            _ => match self.flag_of(key) {
                Some(arg) => {
                    if let Some(texts) = self.texts(key, key, arg, value) {
                        self.values.flags.insert(key.to_owned(), texts);
                    }
                }
                None if self.several => self.foreign(key, &quoted(key), &["principals", SERVERS]),
                None => {
                    let flags = self.definition.get_arguments().filter_map(flag_with_key);
                    let wanted = unknown(key, flags.chain(["command", "principals", SERVERS]));
                    self.problem(&quoted(key), wanted);
                }
            },
        }
    }

    fn flag_of(&self, key: &str) -> Option<&'a Arg> {
        self.definition.get_arguments().find(|arg| flag_with_key(arg) == Some(key))
    }

    /// A key that may be another program's, and is not read; unless it was meant for one of ours.
    fn foreign(&mut self, key: &str, place: &str, others: &[&str]) {
        let flags = self.definition.get_arguments().filter_map(flag_with_key);
        let key = match Foreign::of(key, flags.chain(others.iter().copied())) {
            Foreign::Misspelt(wanted) => return self.problem(place, wanted),
            Foreign::Lookalike(ours) => ForeignKey { place: place.to_owned(), like: Some(ours.to_owned()) },
            Foreign::Other => ForeignKey { place: place.to_owned(), like: None },
        };
        self.values.foreign.push(key);
    }

    /// What would be typed for the value at this place. None means that a problem was recorded.
    fn texts(&mut self, place: &str, flag: &str, arg: &Arg, value: &Value) -> Option<Vec<String>> {
        let texts = match typed(place, arg, value) {
            Ok(texts) => texts,
            Err(wrong) => {
                wrong.into_iter().for_each(|(key, wanted)| self.problem(&key, wanted));
                return None;
            }
        };
        if texts.iter().any(String::is_empty) {
            self.problem(place, "not empty");
            return None;
        }
        // What clap would not take is found out here, where the key is known.
        let args = texts.iter().map(|text| format!("--{flag}={text}"));
        if self.probe.try_get_matches_from_mut(["mcp-mux".to_owned()].into_iter().chain(args)).is_err() {
            self.problem(place, format!("a value that --{flag} takes"));
            return None;
        }
        Some(texts)
    }
}

/// The table of servers, by the name that desktop clients have for it.
const SERVERS: &str = "mcpServers";

/// The entries of `principals`, of this file.
pub(crate) fn read_principals(
    path: &Path,
    value: &Value,
    problems: &mut Vec<Problem>,
) -> BTreeMap<String, PrincipalConfig> {
    principals::read_entries(&File::origin(path, "principals"), value, problems)
}

/// What would be typed for this value, one entry for each time the flag is given. The errors are keys, and what would be right
/// for each.
fn typed(place: &str, arg: &Arg, value: &Value) -> Result<Vec<String>, Vec<(String, Wanted)>> {
    let name = arg.get_value_names().and_then(|names| names.first()).map_or("", |name| name.as_str());
    let repeatable = matches!(arg.get_action(), ArgAction::Append);
    let wrong = |wanted: &str| vec![(place.to_owned(), wanted.to_owned())];
    if let Some(text) = scalar(value) {
        return Ok(vec![text]);
    }
    match value {
        Value::Object(table) if repeatable && name.contains('=') => pairs(place, table),
        Value::Array(list) if repeatable || name == "LIST" => {
            let texts = list.iter().map(scalar).collect::<Option<Vec<String>>>();
            let texts = texts.ok_or_else(|| wrong("a list of texts"))?;
            Ok(if repeatable { texts } else { vec![texts.join(",")] })
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Array(_) | Value::Object(_) => {
            Err(wrong(match (repeatable, name.contains('=')) {
                (true, true) => "a table of texts",
                (true, false) => "a text or a list of texts",
                (false, _) => "a text, a number, true or false",
            }))
        }
    }
}

fn pairs(place: &str, table: &Map<String, Value>) -> Result<Vec<String>, Vec<(String, Wanted)>> {
    let (mut texts, mut wrong) = (Vec::new(), Vec::new());
    for (name, value) in table {
        // A number with a fraction has more than one spelling; which one was meant, only a text says.
        match scalar(value).filter(|_| !value.is_f64()) {
            _ if name.is_empty() || name.contains('=') => {
                wrong.push((below(place, name), "a name that is not empty and has no =".to_owned()));
            }
            Some(text) => texts.push(format!("{name}={text}")),
            None => wrong.push((below(place, name), "a text, in quotes".to_owned())),
        }
    }
    if wrong.is_empty() { Ok(texts) } else { Err(wrong) }
}

fn words(value: &Value) -> Option<Vec<String>> {
    value.as_array().filter(|words| !words.is_empty())?.iter().map(|word| word.as_str().map(str::to_owned)).collect()
}

fn scalar(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        Value::Bool(switch) => Some(switch.to_string()),
        Value::Null | Value::Array(_) | Value::Object(_) => None,
    }
}
