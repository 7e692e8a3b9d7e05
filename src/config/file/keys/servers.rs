//! The entries of `mcpServers`: each a server, written as desktop clients write it, with our keys beside theirs.
//!
//! What is wrong with one server alone, as desktop clients write it (there is no command, `args` are no list, a variable has no
//! value, it is a remote one), makes that one unusable. A value that is none of a key of ours is a problem of the file.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value};

use super::{Reader, SERVERS, expansion, scalar, words};
use crate::cli::Whose;
use crate::config::known::below;
use crate::config::{ServerName, Unusable, values};

/// One server of the file. Not to be shown: it has the values of variables.
pub(crate) struct ServerValues {
    /// Its name; or one like it, where it has none that can be.
    pub(crate) name: ServerName,
    /// Its key: `mcpServers.git`.
    pub(crate) place: String,
    /// Why it is not served, whatever its values are.
    pub(crate) unusable: Option<Unusable>,
    /// What would have been typed for it alone, by flag.
    pub(crate) flags: BTreeMap<String, Vec<String>>,
    /// Its program and arguments; of one that is unusable, any.
    pub(crate) command: Vec<String>,
}

/// Why a server cannot be used.
type Why = String;

impl Reader<'_> {
    pub(super) fn servers(&mut self, value: &Value) {
        self.values.servers = Some(Vec::new());
        let Value::Object(table) = value else {
            return self.problem(SERVERS, "a table from the servers' names to the servers");
        };
        if table.len() > SERVERS_MAX {
            return self.problem(SERVERS, format!("a table with at most {SERVERS_MAX} servers"));
        }
        let mut names: BTreeSet<_> = table.keys().filter_map(|key| ServerName::parse(key)).collect();
        for (key, value) in table {
            let server = self.server(key, value, &mut names);
            self.values.servers.get_or_insert_default().push(server);
        }
    }

    fn server(&mut self, key: &str, value: &Value, names: &mut BTreeSet<ServerName>) -> ServerValues {
        let (name, bad_name) = named(key, names);
        let place = below(SERVERS, key);
        let mut server = ServerValues {
            name,
            place: place.clone(),
            unusable: None,
            flags: BTreeMap::new(),
            command: vec!["-".to_owned()],
        };
        let Value::Object(table) = value else {
            let text = "it must be a table, such as { \"command\": \"npx\", \"args\": [\"-y\", \"a-server\"] }";
            server.unusable = Some(Unusable::Invalid(text.to_owned()));
            return server;
        };
        if self.is_disabled(&place, table) {
            // What is put aside may be as it likes.
            server.unusable = Some(Unusable::Disabled);
            return server;
        }
        let mut why = bad_name;
        match self.command(table) {
            Ok(command) => server.command = command,
            Err(reason) => why = why.or(Some(reason)),
        }
        let remote = is_remote(table);
        for (key, value) in table.iter().filter(|(_, value)| !value.is_null()) {
            let place = below(&place, key);
            match (key.as_str(), self.flag_of(key)) {
                ("command" | "args" | "spawn" | "disabled" | "enabled" | "type", _) => {}
                // It is said of it already that it is not here.
                ("url" | "serverUrl" | "httpUrl" | "transport" | "headers", None) if remote => {}
                ("principals", _) => self.problem(&place, AT_THE_TOP),
                (_, Some(arg)) if Whose::of(arg) == Whose::Process => self.problem(&place, AT_THE_TOP),
                (flag, Some(arg)) => {
                    let Some(texts) = self.texts(&place, flag, arg, value) else { continue };
                    match self.expanded(flag, texts) {
                        Ok(texts) => {
                            server.flags.insert(flag.to_owned(), texts);
                        }
                        Err(reason) => why = why.or_else(|| Some(format!("{flag}: {reason}"))),
                    }
                }
                (_, None) => self.foreign(key, &place, &OUR_OTHER_KEYS),
            }
        }
        server.unusable = why.map(Unusable::Invalid);
        server
    }

    fn is_disabled(&mut self, place: &str, table: &Map<String, Value>) -> bool {
        let mut says = |key: &str| {
            let value = table.get(key).filter(|value| !value.is_null())?;
            let switch = scalar(value).and_then(|text| values::switch(&text).ok());
            if switch.is_none() {
                self.problem(&below(place, key), "true or false");
            }
            switch
        };
        says("disabled") == Some(true) || says("enabled") == Some(false)
    }

    /// Its program and arguments.
    fn command(&self, table: &Map<String, Value>) -> Result<Vec<String>, Why> {
        let at = |key: &str| table.get(key).filter(|value| !value.is_null());
        let command = match at("command") {
            Some(Value::String(program)) => Some(vec![program.clone()]),
            Some(Value::Array(list)) if list.is_empty() => Some(Vec::new()),
            Some(value) => Some(words(value).ok_or("command must be a program, or a list of words")?),
            None => None,
        };
        let args = match at("args") {
            Some(Value::Array(list)) => list.iter().map(scalar).collect::<Option<Vec<String>>>(),
            Some(_) => None,
            None => Some(Vec::new()),
        };
        let args = args.ok_or("args must be a list of texts")?;
        let words = match (command, at("spawn")) {
            (Some(_), Some(_)) => return Err("spawn must be left out where there is a command".to_owned()),
            (None, Some(_)) if !args.is_empty() => {
                return Err("args must be left out with spawn, which has the arguments in it".to_owned());
            }
            (None, Some(Value::String(line))) => {
                values::command_line(line).map_err(|wanted| format!("spawn must be {wanted}"))?
            }
            (None, Some(_)) => return Err("spawn must be a text".to_owned()),
            (Some(command), None) => command.into_iter().chain(args).collect(),
            (None, None) => return Err(without_command(table)),
        };
        let expand = |word: String| expansion::expand(&word, self.environment);
        let words = words.into_iter().map(expand).collect::<Result<Vec<String>, Why>>();
        let words = words.map_err(|reason| format!("its command cannot be made: {reason}"))?;
        values::command(words).map_err(|wanted| format!("its command must be {wanted}"))
    }

    fn expanded(&self, flag: &str, texts: Vec<String>) -> Result<Vec<String>, Why> {
        match flag {
            "env" | "cwd" => texts.iter().map(|text| expansion::expand(text, self.environment)).collect(),
            _ => Ok(texts),
        }
    }
}

/// Why there is no command; one that is to be reached by a URL can be served all the same.
fn without_command(table: &Map<String, Value>) -> Why {
    if is_remote(table) {
        let text = "it is a remote server: to serve it too, give it the command \"mcp-mux\" with the args [\"connect\", URL] (see \
            mcp-mux connect --help)";
        text.to_owned()
    } else {
        "it has no command".to_owned()
    }
}

/// Whether it is to be reached over the network.
fn is_remote(table: &Map<String, Value>) -> bool {
    let has_url = ["url", "serverUrl", "httpUrl"].iter().any(|key| table.contains_key(*key));
    let kind = table.get("type").or_else(|| table.get("transport")).and_then(Value::as_str);
    let of_network = kind
        .is_some_and(|kind| matches!(kind, "http" | "sse" | "streamable-http" | "streamableHttp" | "streamable_http"));
    has_url || of_network
}

/// The name for this key, and what is wrong with the key if it is none.
fn named(key: &str, names: &mut BTreeSet<ServerName>) -> (ServerName, Option<Why>) {
    if let Some(name) = ServerName::parse(key) {
        return (name, None);
    }
    let good = |character: char| character.is_ascii_alphanumeric() || "-_.".contains(character);
    let like: String =
        key.chars().map(|character| if good(character) { character } else { '-' }).take(NAME_MAX).collect();
    let like = like.trim_start_matches('.');
    let like = if like.is_empty() { "server" } else { like };
    let candidates = std::iter::once(like.to_owned()).chain((2..).map(|number| format!("{like}-{number}")));
    let mut free = candidates.filter_map(|name| ServerName::parse(&name)).filter(|name| !names.contains(name));
    // Of endlessly many, one is free.
    let name = free.next().unwrap_or_else(ServerName::unnamed);
    names.insert(name.clone());
    let why = format!(
        "a name has 1 to 64 letters, digits, -, _ and ., and none of these dots at its beginning: {name} is one, {key:?} is none"
    );
    (name, Some(why))
}

/// A name that is made leaves room for a number.
const NAME_MAX: usize = 56;

/// More are a mistake.
const SERVERS_MAX: usize = 1000;

const AT_THE_TOP: &str = "at the top of the file, beside mcpServers: it concerns all servers";

/// Our keys of a server that are no flags.
const OUR_OTHER_KEYS: [&str; 4] = ["command", "args", "disabled", "enabled"];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::{self, flag_with_key};

    #[test]
    fn no_key_of_desktop_clients_is_a_flag_of_ours() {
        let definition = cli::command();
        for key in OUR_OTHER_KEYS {
            assert!(!definition.get_arguments().any(|arg| flag_with_key(arg) == Some(key)), "{key}");
        }
    }
}
