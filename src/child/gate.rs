//! The gate: what a child is until the guard knows of it.
//!
//! A process group has no id before its leader runs, so the guard can only be told of a child that runs already; were that
//! the operator's command, a SIGKILL of mcp-mux at this moment would leave it behind. So mcp-mux starts its own executable
//! in the child's place (its group, pipes, environment and directory), registers that, and then lets it through with one
//! byte on its stdin. The gate replaces itself by the command; or it exits when its stdin ends without a byte, which says
//! that mcp-mux is gone. There is no instant at which the command runs and the guard does not know it.
//!
//! It is on the way of every start, so it does nothing else: no argument parsing, no runtime, no log.
//!
//! Unix only. DESIGN section 2, invariant 6.

use std::ffi::{OsStr, OsString};
use std::io::{self, Write as _};
use std::os::fd::AsFd;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use rustix::io::{Errno, read, retry_on_intr, write};

/// The first argument of a gate; the command's words follow.
const GATE_ARGUMENT: &str = "__child-exec";
/// What a gate calls itself in the process list, for as long as it is one.
const GATE_NAME: &str = "mux-child-gate";
/// What lets it through.
const GO: &[u8; 1] = b"\n";
/// What shells exit with when there is no such command, and when it cannot be run.
const EXIT_NOT_FOUND: u8 = 127;
const EXIT_NOT_RUN: u8 = 126;

/// How a child's command is started.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Start {
    /// By itself: there is no guard that would have to know of it first.
    Direct,
    /// Through the gate that this executable is, if its `main` calls [`run`] for [`is_gate_invocation`].
    Gated(PathBuf),
}

impl Start {
    /// The command line to be spawned.
    pub(super) fn command(&self, program: &str, arguments: &[String]) -> std::process::Command {
        let mut command = match self {
            Self::Direct => std::process::Command::new(program),
            Self::Gated(executable) => gate(executable, program),
        };
        command.args(arguments);
        command
    }

    /// Lets it through: it is registered. Its stdin must be a pipe that nothing has been written to; so this does not
    /// wait, even where that end of the pipe blocks.
    ///
    /// # Errors
    /// The pipe cannot be written to. That the gate is gone is no error: its exit follows.
    pub(super) fn let_through(&self, stdin: impl AsFd) -> io::Result<()> {
        match self {
            Self::Direct => Ok(()),
            Self::Gated(_) => match retry_on_intr(|| write(stdin.as_fd(), GO)) {
                Ok(_) | Err(Errno::PIPE) => Ok(()),
                Err(error) => Err(error.into()),
            },
        }
    }
}

fn gate(executable: &Path, program: &str) -> std::process::Command {
    let mut command = std::process::Command::new(executable);
    command.arg0(GATE_NAME).arg(GATE_ARGUMENT).arg(program);
    command
}

/// Whether these are the arguments (the program's name included) of a gate. To be asked before anything else looks at
/// them.
pub fn is_gate_invocation(arguments: impl IntoIterator<Item = OsString>) -> bool {
    arguments.into_iter().nth(1).is_some_and(|argument| argument == OsStr::new(GATE_ARGUMENT))
}

/// What a gate does with its arguments (the program's name included). Returns only when the command is not to be run, or
/// cannot be.
pub fn run(arguments: impl IntoIterator<Item = OsString>) -> ExitCode {
    // `std::io::Stdin` would read more than the one byte, and that is the command's.
    let mut go = [0; GO.len()];
    if !matches!(retry_on_intr(|| read(io::stdin(), &mut go)), Ok(1)) {
        return ExitCode::SUCCESS;
    }
    let mut words = arguments.into_iter().skip(2);
    let Some(program) = words.next() else { return ExitCode::from(EXIT_NOT_RUN) };
    let error = std::process::Command::new(&program).args(words).exec();
    // Whoever would read it may be gone.
    let _ = writeln!(io::stderr(), "mcp-mux: `{}` cannot be run: {error}", program.display());
    ExitCode::from(if error.kind() == io::ErrorKind::NotFound { EXIT_NOT_FOUND } else { EXIT_NOT_RUN })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_gate_is_known_by_its_first_argument_alone() {
        let asks = |arguments: &[&str]| is_gate_invocation(arguments.iter().map(OsString::from));
        assert!(asks(&["mux-child-gate", "__child-exec", "sh"]));
        assert!(!asks(&["__child-exec", "sh"]));
        assert!(!asks(&["mcp-mux", "--", "__child-exec"]));
        assert!(!asks(&[]));
    }

    #[test]
    fn a_gate_is_given_the_commands_words_as_they_are_and_one_byte() {
        let start = Start::Gated(PathBuf::from("/gate"));
        let command = start.command("sh", &["-c".to_owned(), "a b*".to_owned()]);
        assert_eq!(command.get_program(), "/gate");
        assert_eq!(command.get_args().collect::<Vec<_>>(), ["__child-exec", "sh", "-c", "a b*"]);
        assert_eq!(Start::Direct.command("sh", &[]).get_program(), "sh");

        let (mut reader, writer) = io::pipe().expect("a pipe");
        start.let_through(&writer).expect("it is open");
        Start::Direct.let_through(&writer).expect("it is open");
        drop(writer);
        let mut written = Vec::new();
        io::Read::read_to_end(&mut reader, &mut written).expect("readable");
        assert_eq!(written, GO);
    }

    #[test]
    fn a_gate_that_is_gone_is_no_error() {
        let (reader, writer) = io::pipe().expect("a pipe");
        drop(reader);
        Start::Gated(PathBuf::from("/gate")).let_through(&writer).expect("its exit follows");
    }
}
