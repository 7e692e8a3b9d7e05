//! The configuration file: one table of values, read in one go.
//!
//! Separate from `load`, which turns texts into what they mean, wherever they were written: a value of the file becomes what
//! would have been typed, so that there is one reader and one check for flags, variables and the file. `keys` does that, from
//! the definition of the command line alone: a new flag has its key without further work.

mod keys;
mod syntax;

pub(super) use keys::read_principals;
pub(crate) use keys::{FileValues, ServerValues};

use std::fs;
use std::io::Read;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use serde_json::{Map, Value};

use super::Problem;
use syntax::Syntax;

/// A configuration file as it is written.
pub(crate) struct File {
    /// Its path, as given.
    pub(crate) path: PathBuf,
    /// What is in it.
    pub(crate) table: Map<String, Value>,
    /// Whether others than its owner and its group may read it.
    pub(crate) world_readable: bool,
}

/// Which files can be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Also a pipe, as a shell's `<(…)` makes one.
    Any,
    /// What is there again when it is read again.
    Regular,
}

impl File {
    /// Reads and parses; `origin` is who named it: `--config`, or its variable.
    pub(crate) fn read(path: &Path, kind: Kind, origin: &str) -> Result<Self, Problem> {
        let problem =
            |wanted: String| Problem { origin: origin.to_owned(), value: Some(path.display().to_string()), wanted };
        let unreadable = |error: std::io::Error| problem(format!("a file that can be read ({error})"));
        // Asked before it is opened: that of a pipe waits for somebody who writes.
        if kind == Kind::Regular && !fs::metadata(path).map_err(unreadable)?.is_file() {
            return Err(problem("a regular file, to be read again".to_owned()));
        }
        let file = fs::File::open(path).map_err(unreadable)?;
        let mode = file.metadata().map_err(unreadable)?.mode();
        let mut bytes = Vec::new();
        file.take(FILE_BYTES_MAX + 1).read_to_end(&mut bytes).map_err(unreadable)?;
        if bytes.len() as u64 > FILE_BYTES_MAX {
            return Err(problem("a file of at most 1 MiB".to_owned()));
        }
        Ok(Self { path: path.to_owned(), table: parse(path, &bytes)?, world_readable: mode & 0o004 != 0 })
    }

    /// Its name, and that of a key in it, as a problem names them.
    pub(crate) fn origin(path: &Path, key: &str) -> String {
        format!("{}: {key}", path.display())
    }
}

fn parse(path: &Path, bytes: &[u8]) -> Result<Map<String, Value>, Problem> {
    Syntax::of(path, bytes).parse(bytes).map_err(|error| {
        let origin = match error.place {
            Some((line, column)) => File::origin(path, &format!("line {line}, column {column}")),
            None => path.display().to_string(),
        };
        Problem { origin, value: None, wanted: error.wanted }
    })
}

/// A larger one is a mistake.
const FILE_BYTES_MAX: u64 = 1 << 20;

#[cfg(test)]
mod tests;
