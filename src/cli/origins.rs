//! What was not typed, and where it came from: the variables of the environment and the configuration file.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::{OsStr, OsString};
use std::fmt;
use std::path::{Path, PathBuf};

use clap::parser::ValueSource;
use clap::{ArgMatches, Command};

use super::{COMMAND, CONFIG, Whose, flag_with_variable, variable_name};
use crate::config::file::{File, FileValues, Kind, ServerValues};
use crate::config::principals::PrincipalConfig;
use crate::config::secret::Secret;
use crate::config::{ForeignKey, Problem, ServerName, TRACES_VARIABLES, Unusable};

/// Where the values came from that were not typed, and what is wrong with the file and the variables themselves.
#[derive(Clone, Debug, Default)]
pub(crate) struct Origins {
    /// The flags that were given by the environment.
    variables: BTreeSet<String>,
    /// The keys of the file that were used.
    keys: BTreeSet<String>,
    /// The server of `mcpServers` that this is about, as a key: `mcpServers.git`; and its keys that were used.
    server: Option<(String, BTreeSet<String>)>,
    /// The configuration file.
    pub(crate) file: Option<PathBuf>,
    /// Nothing of the file is known.
    pub(crate) file_unreadable: bool,
    /// There is nothing in the file.
    pub(crate) file_empty: bool,
    /// Everybody can read variables' values in the file.
    exposed: bool,
    /// The file's table of principals.
    pub(crate) principals: BTreeMap<String, PrincipalConfig>,
    /// What the file says that holds from the start to the end of the program.
    pub(crate) settings: Settings,
    /// Keys of other programs in the file.
    pub(crate) foreign: Vec<ForeignKey>,
    /// `MCP_MUX_AUTH_TOKENS`, which has no flag: other people on the machine can read command lines.
    pub(crate) auth_tokens: Option<Secret>,
    /// The variables that OpenTelemetry has for traces, those that are set.
    pub(crate) otel: BTreeMap<&'static str, Secret>,
    /// What is wrong with the file, and with variables that could not be used.
    pub(crate) problems: Vec<Problem>,
}

/// What a configuration file says that cannot change while the program runs, as it would have been typed: where it has
/// `mcpServers`, the flags of the process as a whole; else everything.
#[derive(Clone, Default, PartialEq, Eq)]
pub(crate) struct Settings(BTreeMap<String, Vec<String>>);

impl Settings {
    /// The keys whose values are not the same.
    pub(crate) fn differing(&self, other: &Self) -> Vec<String> {
        let keys: BTreeSet<&String> = self.0.keys().chain(other.0.keys()).collect();
        keys.into_iter().filter(|key| self.0.get(*key) != other.0.get(*key)).cloned().collect()
    }
}

/// Its values may be secrets.
impl fmt::Debug for Settings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.0.keys()).finish()
    }
}

/// What was not typed, as it would have been. Not to be shown: it has the values of variables.
#[derive(Default)]
pub(super) struct NotTyped {
    /// Flags.
    pub(super) args: Vec<OsString>,
    /// The server's program and arguments, where nothing else says them.
    pub(super) command: Option<Vec<String>>,
    /// The servers of `mcpServers`.
    pub(super) servers: Option<Vec<ServerArgs>>,
}

/// The same for one server of `mcpServers`.
pub(super) struct ServerArgs {
    pub(super) name: ServerName,
    pub(super) unusable: Option<Unusable>,
    /// Flags; none where nobody wants to know.
    pub(super) args: Option<Vec<OsString>>,
    pub(super) command: Vec<String>,
    pub(super) origins: Origins,
}

impl Origins {
    /// What the user wrote to give this flag: `--port`, `MCP_MUX_PORT`, `mcp-mux.toml: port`, or
    /// `mcp-mux.toml: mcpServers.git.pool`.
    pub(crate) fn origin(&self, flag: &str) -> String {
        match (&self.file, self.own_key(flag)) {
            _ if self.variables.contains(flag) => variable_name(flag),
            (Some(path), Some(key)) => File::origin(path, &key),
            (Some(path), None) if self.keys.contains(flag) => File::origin(path, flag),
            (Some(_) | None, _) => format!("--{flag}"),
        }
    }

    /// The key of this flag in the table of its server, if that is where it came from.
    pub(crate) fn own_key(&self, flag: &str) -> Option<String> {
        let (place, keys) = self.server.as_ref()?;
        keys.contains(flag).then(|| format!("{place}.{flag}"))
    }

    /// The same for the words of the server's command.
    pub(crate) fn of_command(&self) -> String {
        match (&self.file, &self.server) {
            (Some(path), Some((place, _))) => File::origin(path, &format!("{place}.{COMMAND}")),
            (Some(path), None) if self.keys.contains(COMMAND) => File::origin(path, COMMAND),
            (Some(_) | None, _) => TYPED_COMMAND.to_owned(),
        }
    }

    /// The file, where everybody can read variables' values in it.
    pub(crate) fn exposed_file(&self) -> Option<PathBuf> {
        self.file.clone().filter(|_| self.exposed)
    }

    /// Looks everything up that was not typed: in the environment, then in the file; but what is said there of the process
    /// as a whole, in `kept`.
    pub(super) fn look_up(
        &mut self,
        definition: &Command,
        typed: &ArgMatches,
        environment: &dyn Fn(&str) -> Option<OsString>,
        kept: Option<&Settings>,
    ) -> NotTyped {
        let variable = |flag: &str| environment(&variable_name(flag)).filter(|value| !value.is_empty());
        match variable(AUTH_TOKENS).map(OsString::into_string) {
            Some(Ok(tokens)) => self.auth_tokens = Some(Secret::new(tokens)),
            Some(Err(_)) => self.problems.push(not_utf8(AUTH_TOKENS)),
            None => {}
        }
        let otel = TRACES_VARIABLES.iter().filter_map(|name| {
            let value = environment(name)?.into_string().ok()?;
            Some((*name, Secret::new(value.trim().to_owned()))).filter(|(_, value)| !value.expose().is_empty())
        });
        self.otel = otel.collect();
        let typed_path = typed.get_one::<PathBuf>(CONFIG).cloned();
        let path = typed_path.map(|path| (path, format!("--{CONFIG}")));
        let path = path.or_else(|| variable(CONFIG).map(|path| (path.into(), variable_name(CONFIG))));
        let mut file = path.and_then(|(path, origin)| self.open(definition, &path, &origin, environment));

        let has_command = typed.value_source(COMMAND).is_some();
        let typed_spawn = typed.value_source(SPAWN).is_some();
        if let Some(file) = file.as_mut().filter(|file| file.servers.is_some()) {
            let by_variable = variable(SPAWN).map(|_| variable_name(SPAWN));
            let other = has_command.then(|| TYPED_COMMAND.to_owned());
            let other = other.or_else(|| typed_spawn.then(|| format!("--{SPAWN}"))).or(by_variable);
            if let Some(origin) = other {
                let wanted = format!("left out with {}, which has other servers: choose", file.path.display());
                self.problems.push(Problem { origin, value: None, wanted });
                file.servers = None;
            }
        }
        let mut servers = file.as_mut().and_then(|file| file.servers.take());
        let mut own: Vec<_> = servers.iter().flatten().map(Gathered::new).collect();
        let mut args = Vec::new();
        for argument_of in definition.get_arguments() {
            let Some(flag) = flag_with_variable(argument_of) else { continue };
            let was_typed = typed.value_source(&flag.replace('-', "_")) == Some(ValueSource::CommandLine);
            if was_typed || flag == CONFIG || (flag == SPAWN && has_command) {
                continue;
            }
            let whose = Whose::of(argument_of);
            let fixed = servers.is_none() || whose == Whose::Process;
            if let Some(value) = variable(flag) {
                let added = self.read_variable(flag, &value);
                if !added.is_empty() {
                    self.variables.insert(flag.to_owned());
                }
                own.iter_mut().for_each(|server| server.args.extend(added.iter().cloned()));
                args.extend(added);
                continue;
            }
            let general = file.as_mut().and_then(|file| file.flags.remove(flag));
            let general = match kept.filter(|_| fixed) {
                Some(kept) => kept.0.get(flag).cloned(),
                None => general,
            };
            if let Some(texts) = &general {
                self.keys.insert(flag.to_owned());
                args.extend(texts.iter().map(|text| argument(flag, text)));
                if fixed {
                    self.settings.0.insert(flag.to_owned(), texts.clone());
                }
            }
            for (gathered, values) in own.iter_mut().zip(servers.iter_mut().flatten()) {
                let texts = values.flags.remove(flag);
                if texts.is_some() {
                    gathered.keys.insert(flag.to_owned());
                }
                let texts = texts.as_ref().or(general.as_ref()).into_iter().flatten();
                gathered.args.extend(texts.map(|text| argument(flag, text)));
            }
        }
        let has_command = has_command || typed_spawn || self.variables.contains(SPAWN);
        let command = file.and_then(|file| file.command).filter(|_| !has_command);
        if let Some(words) = &command {
            self.keys.insert(COMMAND.to_owned());
            self.settings.0.insert(COMMAND.to_owned(), words.clone());
        }
        let servers = servers.map(|servers| own.into_iter().zip(servers).map(|(own, of)| own.end(self, of)).collect());
        NotTyped { args, command, servers }
    }

    fn open(
        &mut self,
        definition: &Command,
        path: &Path,
        origin: &str,
        environment: &dyn Fn(&str) -> Option<OsString>,
    ) -> Option<FileValues> {
        match File::read(path, Kind::Any, origin) {
            Ok(file) => {
                let mut values = FileValues::read(file, definition, environment);
                self.file = Some(values.path.clone());
                self.exposed = values.exposed;
                self.file_empty = values.is_empty;
                self.principals = std::mem::take(&mut values.principals);
                self.foreign = std::mem::take(&mut values.foreign);
                self.problems.append(&mut values.problems);
                Some(values)
            }
            Err(problem) => {
                self.file_unreadable = true;
                self.problems.push(problem);
                None
            }
        }
    }

    fn read_variable(&mut self, flag: &str, value: &OsStr) -> Vec<OsString> {
        let Some(text) = value.to_str() else {
            self.problems.push(not_utf8(flag));
            return Vec::new();
        };
        match flag {
            "admin" | "env" | "header-env" | "listen" => {
                text.lines().filter(|line| !line.is_empty()).map(|line| argument(flag, line)).collect()
            }
            _ => vec![argument(flag, text)],
        }
    }
}

/// What its variable would be the flag of.
const AUTH_TOKENS: &str = "auth-tokens";

fn not_utf8(flag: &str) -> Problem {
    Problem { origin: variable_name(flag), value: None, wanted: "valid UTF-8".to_owned() }
}

const TYPED_COMMAND: &str = "the command after --";
const SPAWN: &str = "spawn";

/// What is found for one server of `mcpServers`.
struct Gathered {
    place: String,
    keys: BTreeSet<String>,
    args: Vec<OsString>,
}

impl Gathered {
    fn new(server: &ServerValues) -> Self {
        Self { place: server.place.clone(), keys: BTreeSet::new(), args: Vec::new() }
    }

    fn end(self, general: &Origins, values: ServerValues) -> ServerArgs {
        let Self { place, keys, args } = self;
        let origins = Origins {
            variables: general.variables.clone(),
            keys: general.keys.clone(),
            server: Some((place, keys)),
            file: general.file.clone(),
            ..Origins::default()
        };
        let ServerValues { name, unusable, command, .. } = values;
        let args = (unusable != Some(Unusable::Disabled)).then_some(args);
        ServerArgs { name, unusable, args, command, origins }
    }
}

fn argument(flag: &str, value: impl AsRef<OsStr>) -> OsString {
    let mut argument = OsString::from(format!("--{flag}="));
    argument.push(value);
    argument
}
