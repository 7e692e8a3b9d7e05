//! Where a configuration came from, to be read once more while the program runs: the same arguments and variables, and what
//! the file holds then.

use std::ffi::OsString;
use std::fmt;
use std::path::{Path, PathBuf};

use super::file::File;
use super::known::below;
use super::principals::PrincipalsConfig;
use super::{Arrangement, Config, ConfigErrors, ForeignKey, Problem, ServerName, ServersConfig, Unusable};
use crate::cli::{Cli, Settings};

/// A configuration file, with what else a configuration is made of.
pub struct Source {
    args: Vec<OsString>,
    variable: Variable,
    file: PathBuf,
    arrangement: Arrangement,
    /// There was nothing in the file at the start.
    was_empty: bool,
    /// What the file said at the start that holds until the end.
    settings: Settings,
}

/// Gives a variable's value.
type Variable = Box<dyn Fn(&str) -> Option<OsString> + Send + Sync>;

/// What the file says now.
#[derive(Debug)]
pub(crate) struct Again {
    /// Its servers, as they are under the settings of the start; none where there is only one, which stays.
    pub(crate) servers: Option<ServersConfig>,
    /// The keys that would make a difference after a restart.
    pub(crate) restart: Vec<String>,
    /// Keys of other programs.
    pub(crate) foreign_keys: Vec<ForeignKey>,
    /// The file, where everybody on the machine can read variables' values in it.
    pub(crate) exposed_file: Option<PathBuf>,
    /// What each principal may do.
    pub(crate) principals: PrincipalsConfig,
}

impl Source {
    /// That of `cli`, which was read from the same arguments and variables. None without a file.
    pub fn of(
        cli: &Cli,
        args: impl IntoIterator<Item = OsString>,
        variable: impl Fn(&str) -> Option<OsString> + Send + Sync + 'static,
    ) -> Option<Self> {
        Some(Self {
            args: args.into_iter().collect(),
            variable: Box::new(variable),
            file: cli.origins.file.clone()?,
            arrangement: arrangement(cli),
            was_empty: cli.origins.file_empty,
            settings: cli.origins.settings.clone(),
        })
    }

    /// The file.
    pub fn file(&self) -> &Path {
        &self.file
    }

    /// Reads the file again. Waits for the file system.
    ///
    /// # Errors
    /// As [`Config::load`]; and where the file has `mcpServers` now and had none at the start, or the other way round.
    pub(crate) fn again(&self) -> Result<Again, ConfigErrors> {
        let cli = self.read(None)?;
        if arrangement(&cli) != self.arrangement && cli.origins.problems.is_empty() {
            let wanted = match self.arrangement {
                Arrangement::Several => "a file with mcpServers, as at the start, until a restart",
                Arrangement::Single => "a file without mcpServers, as at the start, until a restart",
            };
            return Err(self.problem(wanted));
        }
        // More likely somebody is about to write it than that everybody is to do everything.
        if cli.origins.file_empty && !self.was_empty {
            return Err(self.problem("a file with something in it: an empty one would take every limit away"));
        }
        let restart = cli.origins.settings.differing(&self.settings);
        // Everything in it has to be right, whatever can be used at once.
        let mut config = Config::load_again(cli)?;
        let foreign_keys = std::mem::take(&mut config.foreign_keys);
        if !restart.is_empty() {
            config = Config::load_again(self.read(Some(&self.settings))?)?;
        }
        let Config { servers, exposed_file, principals, .. } = config;
        let servers = (self.arrangement == Arrangement::Several).then_some(servers);
        Ok(Again { servers, restart, foreign_keys, exposed_file, principals })
    }

    /// A mistake in what is said of a server that works is no reason to end it.
    ///
    /// # Errors
    /// Servers that are served now would not be any more (as `would_end` says), because of what is wrong with them.
    pub(crate) fn refuse_to_lose(
        &self,
        would_end: impl Fn(&ServerName) -> bool,
        now: &ServersConfig,
    ) -> Result<(), ConfigErrors> {
        let lost = now.unusable.iter().filter(|(name, _)| would_end(name)).filter_map(|(name, why)| match why {
            Unusable::Invalid(why) => Some(Problem {
                origin: File::origin(&self.file, &below("mcpServers", name.as_str())),
                value: None,
                wanted: format!("a server that can be used, as the one that runs can (disabled: true ends it): {why}"),
            }),
            Unusable::Disabled => None,
        });
        ConfigErrors::unless_empty(lost.collect())
    }

    fn read(&self, kept: Option<&Settings>) -> Result<Cli, ConfigErrors> {
        let cli = Cli::read_keeping(self.args.iter().cloned(), &*self.variable, kept);
        // The arguments have been understood once.
        cli.map_err(|_| self.problem("a file with a server in it: command, spawn or mcpServers"))
    }

    fn problem(&self, wanted: &str) -> ConfigErrors {
        ConfigErrors::one(Problem { origin: self.file.display().to_string(), value: None, wanted: wanted.to_owned() })
    }
}

fn arrangement(cli: &Cli) -> Arrangement {
    if cli.servers.is_some() { Arrangement::Several } else { Arrangement::Single }
}

/// Arguments may hold secrets.
impl fmt::Debug for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Source").field("file", &self.file).finish_non_exhaustive()
    }
}
