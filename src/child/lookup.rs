//! Whether a command can be run at all, asked before it is started, so that the operator is told what to do about it.
//!
//! Separate from [`super::process`] because it starts nothing. It looks where `execvp` would, with the child's own PATH
//! and directory; what it cannot see (a loader that is missing, a file system that allows no programs) the start will say.

use std::ffi::OsStr;
use std::fs::{File, Metadata};
use std::io::{self, Read as _};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

/// Where programs are looked for when the environment has no PATH.
const PATH_DEFAULT: &str = "/bin:/usr/bin";
/// Any of the three executable bits.
const EXECUTABLE: u32 = 0o111;
/// How much of a script's first line the kernel reads.
const FIRST_LINE_BYTES_MAX: u64 = 256;

/// Why a child could not be started, and what to do about it.
#[derive(Debug, thiserror::Error)]
pub(super) enum SpawnError {
    /// No such command.
    #[error("the command `{program}` was not found in PATH: install it, or give its full path{}", hint(program))]
    NotFound {
        /// The program.
        program: String,
    },
    /// No such file.
    #[error("there is no file `{program}`: check the path{}", hint(program))]
    NoSuchFile {
        /// The program.
        program: String,
    },
    /// A script whose first line names what does not exist.
    #[error("`{program}` cannot be run: the interpreter that its first line (#!) names does not exist; install it")]
    NoInterpreter {
        /// The program.
        program: String,
    },
    /// It may not be executed, or is no program.
    #[error("`{program}` is not executable: make it so (chmod +x), or put its interpreter in front of it")]
    NotExecutable {
        /// The program.
        program: String,
        /// What the system said.
        source: io::Error,
    },
    /// The working directory is none.
    #[error("the working directory {} does not exist or is no directory: check --cwd", cwd.display())]
    Cwd {
        /// The directory.
        cwd: PathBuf,
    },
    /// Anything else.
    #[error("`{program}` could not be started")]
    Other {
        /// The program.
        program: String,
        /// What the system said.
        source: io::Error,
    },
}

fn hint(program: &str) -> &'static str {
    if program.contains(char::is_whitespace) {
        " (the name contains spaces: a whole command line belongs into --spawn, or unquoted after --)"
    } else {
        ""
    }
}

/// Finds out why a program cannot be run, if it cannot. A relative path is taken from the child's working directory.
///
/// # Errors
/// Why it cannot.
pub(super) fn check(program: &str, path: Option<&OsStr>, cwd: Option<&Path>) -> Result<(), SpawnError> {
    if let Some(cwd) = cwd.filter(|cwd| !cwd.is_dir()) {
        return Err(SpawnError::Cwd { cwd: cwd.to_owned() });
    }
    let base = cwd.unwrap_or_else(|| Path::new(""));
    let file = if program.contains('/') {
        executable(base.join(program)).map_err(|error| match error {
            error if is_absence(&error) => SpawnError::NoSuchFile { program: program.to_owned() },
            error => unusable(program, error),
        })?
    } else {
        in_path(program, path.unwrap_or_else(|| OsStr::new(PATH_DEFAULT)), base)?
    };
    match interpreter(&file) {
        Some(interpreter) if !base.join(&interpreter).exists() => {
            Err(SpawnError::NoInterpreter { program: program.to_owned() })
        }
        Some(_) | None => Ok(()),
    }
}

/// The first executable file of that name; one that is not executable is passed over, and named if there is no other.
fn in_path(program: &str, path: &OsStr, base: &Path) -> Result<PathBuf, SpawnError> {
    let mut refused = None;
    let folders = std::env::split_paths(path).filter(|_| !program.is_empty());
    for folder in folders {
        match executable(base.join(folder).join(program)) {
            Ok(file) => return Ok(file),
            Err(error) if is_absence(&error) => {}
            Err(error) => refused = refused.or(Some(error)),
        }
    }
    Err(match refused {
        Some(source) => unusable(program, source),
        None => SpawnError::NotFound { program: program.to_owned() },
    })
}

fn is_absence(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory)
}

fn unusable(program: &str, source: io::Error) -> SpawnError {
    let program = program.to_owned();
    if source.kind() == io::ErrorKind::PermissionDenied {
        SpawnError::NotExecutable { program, source }
    } else {
        SpawnError::Other { program, source }
    }
}

fn executable(file: PathBuf) -> io::Result<PathBuf> {
    let may_run = |metadata: &Metadata| metadata.is_file() && metadata.permissions().mode() & EXECUTABLE != 0;
    if may_run(&file.metadata()?) { Ok(file) } else { Err(io::ErrorKind::PermissionDenied.into()) }
}

/// What the first line (`#!`) of a script names; none if it is no script, or cannot be read.
fn interpreter(file: &Path) -> Option<PathBuf> {
    let mut head = Vec::new();
    File::open(file).ok()?.take(FIRST_LINE_BYTES_MAX).read_to_end(&mut head).ok()?;
    let line = head.strip_prefix(b"#!")?.split(|byte| *byte == b'\n').next()?;
    let mut words = line.split(|byte| matches!(byte, b' ' | b'\t')).filter(|word| !word.is_empty());
    words.next().map(|word| PathBuf::from(OsStr::from_bytes(word)))
}

#[cfg(test)]
mod tests {
    use std::fs::{Permissions, create_dir, set_permissions, write};

    use super::*;

    /// A folder with `bad/tool` (not executable), `good/tool` (executable) and `tools` (a folder).
    fn folder() -> tempfile::TempDir {
        let folder = tempfile::TempDir::new().expect("a folder");
        let at = |name: &str| folder.path().join(name);
        for name in ["bad", "good", "tools"] {
            create_dir(at(name)).expect("it is new");
        }
        write(at("bad/tool"), "").expect("writable");
        for (name, text) in
            [("good/tool", "#! /bin/sh -e\n"), ("good/lost", "#!/no/such\r\n"), ("good/near", "#!tool\n")]
        {
            write(at(name), text).expect("writable");
            set_permissions(at(name), Permissions::from_mode(0o700)).expect("it is ours");
        }
        folder
    }

    fn said(program: &str, path: Option<&str>, cwd: &Path) -> String {
        check(program, path.map(OsStr::new), Some(cwd)).map_or_else(|error| error.to_string(), |()| "fine".to_owned())
    }

    #[test]
    fn a_bare_name_is_looked_for_where_the_child_would_look() {
        let folder = folder();
        let said = |program, path| said(program, path, folder.path());
        assert_eq!(said("sh", None), "fine", "a PATH that is not set has a default");
        assert_eq!(said("tool", Some("/no/such:bad:good")), "fine", "what cannot be run is passed over");
        assert!(said("tool", Some("bad")).contains("is not executable"));
        assert!(said("tools", Some("")).contains("is not executable"), "a folder is no program");
        assert!(said("missing", Some("bad:good")).contains("was not found in PATH"));
        assert!(said("tool", Some("bad/tool")).contains("was not found in PATH"), "that is no folder");
        assert!(said("", Some("good")).contains("was not found in PATH"));
    }

    #[test]
    fn a_path_is_taken_from_the_working_directory_and_a_script_needs_its_interpreter() {
        let folder = folder();
        let said = |program| said(program, None, folder.path());
        assert_eq!(said("good/tool"), "fine");
        assert!(said("bad/tool").contains("is not executable"));
        assert!(said("bad/tool/x").contains("there is no file"));
        assert!(said("good/lost").contains("the interpreter"), "a carriage return is part of the name");
        assert!(said("good/near").contains("the interpreter"));
        let missing = check("good/tool", None, Some(Path::new("/no/such"))).expect_err("there is no such folder");
        assert!(missing.to_string().contains("the working directory /no/such"));
    }
}
