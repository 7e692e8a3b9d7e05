//! What was not typed, and where it came from: the variables of the environment and the configuration file.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};

use clap::parser::ValueSource;
use clap::{ArgMatches, Command};

use super::{CONFIG, flag_with_variable, variable_name};
use crate::config::Problem;
use crate::config::file::{File, FileValues, Kind};
use crate::config::principals::PrincipalConfig;
use crate::config::secret::Secret;

/// Where the values came from that were not typed, and what is wrong with the file and the variables themselves.
#[derive(Clone, Debug, Default)]
pub(crate) struct Origins {
    /// The flags that were given by the environment.
    variables: BTreeSet<String>,
    /// The keys of the file that were used.
    keys: BTreeSet<String>,
    /// The configuration file.
    pub(crate) file: Option<PathBuf>,
    /// Nothing of the file is known.
    pub(crate) file_unreadable: bool,
    /// Everybody can read variables' values in the file.
    exposed: bool,
    /// The file's table of principals.
    pub(crate) principals: BTreeMap<String, PrincipalConfig>,
    /// `MCP_MUX_AUTH_TOKENS`, which has no flag: other people on the machine can read command lines.
    pub(crate) auth_tokens: Option<Secret>,
    /// What is wrong with the file, and with variables that could not be used.
    pub(crate) problems: Vec<Problem>,
}

/// What was not typed, as it would have been. Not to be shown: it has the values of variables.
#[derive(Default)]
pub(super) struct NotTyped {
    /// Flags.
    pub(super) args: Vec<OsString>,
    /// The server's program and arguments, where nothing else says them.
    pub(super) command: Option<Vec<String>>,
}

impl Origins {
    /// What the user wrote to give this flag: `--port`, `MCP_MUX_PORT`, or `mcp-mux.toml: port`.
    pub(crate) fn origin(&self, flag: &str) -> String {
        match &self.file {
            _ if self.variables.contains(flag) => variable_name(flag),
            Some(path) if self.keys.contains(flag) => File::origin(path, flag),
            Some(_) | None => format!("--{flag}"),
        }
    }

    /// The same for the words of the server's command.
    pub(crate) fn of_command(&self) -> String {
        match &self.file {
            Some(path) if self.keys.contains(COMMAND) => File::origin(path, COMMAND),
            Some(_) | None => "the command after --".to_owned(),
        }
    }

    /// The file, where everybody can read variables' values in it.
    pub(crate) fn exposed_file(&self) -> Option<PathBuf> {
        self.file.clone().filter(|_| self.exposed)
    }

    /// Looks everything up that was not typed: in the environment, then in the file.
    pub(super) fn look_up(
        &mut self,
        definition: &Command,
        typed: &ArgMatches,
        variable: impl Fn(&str) -> Option<OsString>,
    ) -> NotTyped {
        let variable = |flag: &str| variable(&variable_name(flag)).filter(|value| !value.is_empty());
        match variable(AUTH_TOKENS).map(OsString::into_string) {
            Some(Ok(tokens)) => self.auth_tokens = Some(Secret::new(tokens)),
            Some(Err(_)) => self.problems.push(not_utf8(AUTH_TOKENS)),
            None => {}
        }
        let typed_path = typed.get_one::<PathBuf>(CONFIG).cloned();
        let mut file = match typed_path.map(|path| (path, format!("--{CONFIG}"))) {
            Some((path, origin)) => self.open(definition, &path, &origin),
            None => variable(CONFIG).and_then(|path| self.open(definition, Path::new(&path), &variable_name(CONFIG))),
        };

        let has_command = typed.value_source(COMMAND).is_some();
        let mut args = Vec::new();
        for flag in definition.get_arguments().filter_map(flag_with_variable) {
            let was_typed = typed.value_source(&flag.replace('-', "_")) == Some(ValueSource::CommandLine);
            if was_typed || flag == CONFIG || (flag == "spawn" && has_command) {
                continue;
            }
            if let Some(value) = variable(flag) {
                let added = self.read_variable(flag, &value);
                if !added.is_empty() {
                    self.variables.insert(flag.to_owned());
                }
                args.extend(added);
            } else if let Some(texts) = file.as_mut().and_then(|file| file.flags.remove(flag)) {
                self.keys.insert(flag.to_owned());
                args.extend(texts.iter().map(|text| argument(flag, text)));
            }
        }
        let has_command = has_command || typed.value_source("spawn").is_some() || self.variables.contains("spawn");
        let command = file.and_then(|file| file.command).filter(|_| !has_command);
        if command.is_some() {
            self.keys.insert(COMMAND.to_owned());
        }
        NotTyped { args, command }
    }

    fn open(&mut self, definition: &Command, path: &Path, origin: &str) -> Option<FileValues> {
        match File::read(path, Kind::Any, origin) {
            Ok(file) => {
                let mut values = FileValues::read(file, definition);
                self.file = Some(values.path.clone());
                self.exposed = values.exposed;
                self.principals = std::mem::take(&mut values.principals);
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

/// The name of the words after `--`, as a key too.
const COMMAND: &str = "command";

fn argument(flag: &str, value: impl AsRef<OsStr>) -> OsString {
    let mut argument = OsString::from(format!("--{flag}="));
    argument.push(value);
    argument
}
