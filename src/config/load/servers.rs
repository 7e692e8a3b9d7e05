//! The servers: the one of the command line, or those of `mcpServers`.

use std::fmt::Write as _;
use std::path::PathBuf;

use super::{Moment, Reader, folder_fault, read_server};
use crate::cli::{Cli, ServerCli};
use crate::config::file::File;
use crate::config::{Arrangement, ChildConfig, Problem, ServerConfig, ServerName, ServersConfig, Unusable, values};

/// None means that a problem was recorded.
pub(super) fn read(cli: &Cli, entries: Option<Vec<ServerCli>>, reader: &mut Reader) -> Option<ServersConfig> {
    let starts_max = reader.read("starts-max", &cli.starts_max, values::some_count);
    let Some(entries) = entries else {
        let server = read_server(cli, ServerName::unnamed(), reader);
        return Some(ServersConfig {
            arrangement: Arrangement::Single,
            servers: vec![server?],
            unusable: Vec::new(),
            folderless: Vec::new(),
            starts_max: starts_max?,
        });
    };
    let (mut servers, mut unusable, mut folderless) = (Vec::new(), Vec::new(), Vec::new());
    let mut problems = Problems::default();
    for entry in entries {
        let ServerCli { name, unusable: why, cli } = entry;
        let Some(mut cli) = cli else {
            unusable.extend(why.map(|why| (name, why)));
            continue;
        };
        problems.servers += 1;
        let mut own =
            Reader { moment: reader.moment, origins: cli.origins.clone(), problems: Vec::new(), auth_tokens: None };
        let (why, folder) = match why {
            Some(why) => (Some(why), None),
            None => without_folder(&mut cli).unzip(),
        };
        let server = read_server(&cli, name.clone(), &mut own);
        problems.add(&name, own.problems);
        match (why, folder) {
            (None, _) => servers.extend(server),
            (Some(why), None) => unusable.push((name, why)),
            (Some(why), Some(folder)) => {
                unusable.push((name, why));
                folderless.extend(server.map(|server| {
                    let child = ChildConfig { cwd: Some(folder), ..server.child };
                    ServerConfig { child, ..server }
                }));
            }
        }
    }
    let problems = problems.end();
    let no_problem = problems.is_empty() && reader.problems.is_empty();
    if servers.is_empty() && no_problem && reader.moment == Moment::Start {
        reader.problems.extend(none_usable(cli, &unusable));
        return None;
    }
    let good = problems.is_empty();
    reader.problems.extend(problems);
    let starts_max = starts_max?;
    good.then_some(ServersConfig { arrangement: Arrangement::Several, servers, unusable, folderless, starts_max })
}

/// Why a server cannot be started in the folder that its own table names, and that folder, which is then left out.
fn without_folder(cli: &mut Cli) -> Option<(Unusable, PathBuf)> {
    cli.origins.own_key("cwd")?;
    let folder = cli.cwd.take()?;
    match folder_fault(&folder) {
        Some(wanted) => {
            let why = format!("cwd {:?}: must be {wanted}", folder.display().to_string());
            Some((Unusable::Invalid(why), folder))
        }
        None => {
            cli.cwd = Some(folder);
            None
        }
    }
}

fn none_usable(cli: &Cli, unusable: &[(ServerName, Unusable)]) -> Option<Problem> {
    let mut wanted = match unusable {
        [] => "a table with a server at least".to_owned(),
        [..] => "a table with a server that can be used; of those in it, none can".to_owned(),
    };
    for (name, why) in unusable {
        let _ = write!(wanted, "\n    {name}: {why}");
    }
    let path = cli.origins.file.as_deref()?;
    Some(Problem { origin: File::origin(path, "mcpServers"), value: None, wanted })
}

/// What is wrong with the servers: what is wrong with all for the same reason is said once.
#[derive(Default)]
struct Problems {
    found: Vec<(Problem, Vec<ServerName>)>,
    /// How many servers were read.
    servers: usize,
}

impl Problems {
    fn add(&mut self, name: &ServerName, problems: Vec<Problem>) {
        for problem in problems {
            match self.found.iter_mut().find(|(found, _)| *found == problem) {
                Some((_, names)) => names.push(name.clone()),
                None => self.found.push((problem, vec![name.clone()])),
            }
        }
    }

    fn end(self) -> Vec<Problem> {
        let Self { found, servers } = self;
        let said = |(problem, names): (Problem, Vec<ServerName>)| {
            let of_all = names.len() == servers;
            let own = problem.origin.contains(": mcpServers.");
            match names.first() {
                Some(first) if !of_all && !own => {
                    let wanted = format!("{} (for the server {first})", problem.wanted);
                    Problem { wanted, ..problem }
                }
                Some(_) | None => problem,
            }
        };
        found.into_iter().map(said).collect()
    }
}
