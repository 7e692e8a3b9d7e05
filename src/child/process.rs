//! Starts a child: without a shell, in a process group of its own, with stdin, stdout and stderr piped.
//!
//! The actor sees a [`Process`], which says nothing of processes: three pipes, an exit to wait for and orders to give. So
//! it can be tested over pipes in memory with a paused clock.
//!
//! Unix only: process groups and signals are how a server's helpers are reached.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::io;
use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::process::Command;
use tokio::sync::{oneshot, watch};
use tokio_util::task::TaskTracker;
use tracing::Instrument as _;

use super::OwnVariables;
use super::environment::environment;
use super::guard::{ChildGuard, Pgid};
use super::lookup::{self, SpawnError};
use super::pipe::Pipe;
use super::supervisor::{Exit, Leader, Liveness, Order};
use crate::config::ChildConfig;

/// A child's stdin.
pub(super) type Stdin = Box<dyn AsyncWrite + Send + Unpin>;
/// A child's stdout or stderr.
pub(super) type Source = Box<dyn AsyncRead + Send + Unpin>;

/// A process that runs.
pub(super) struct Process {
    /// Its pid.
    pub(super) pid: u32,
    /// Tells how the process with that pid is doing.
    pub(super) liveness: fn(u32) -> Liveness,
    /// Its stdin.
    pub(super) stdin: Stdin,
    /// Its stdout.
    pub(super) stdout: Source,
    /// Its stderr.
    pub(super) stderr: Source,
    /// What is to become of it; dropped, it is stopped.
    pub(super) orders: watch::Sender<Order>,
    /// How it ended, once it has and its group is gone.
    pub(super) exit: oneshot::Receiver<Exit>,
}

/// Starts processes.
pub(super) trait Launch: Send + 'static {
    /// Starts one.
    fn launch(&mut self) -> Result<Process, SpawnError>;
}

/// Starts the configured command.
pub(super) struct Launcher {
    program: String,
    arguments: Vec<String>,
    cwd: Option<PathBuf>,
    environment: BTreeMap<OsString, OsString>,
    stop_timeout: Duration,
    guard: ChildGuard,
    tracker: TaskTracker,
}

impl Launcher {
    /// A launcher; mcp-mux's own environment is read here, once.
    pub(super) fn new(config: &ChildConfig, variables: &OwnVariables, guard: ChildGuard, tracker: TaskTracker) -> Self {
        let (program, arguments) =
            config.command.split_first().map(|(p, a)| (p.clone(), a.to_vec())).unwrap_or_default();
        let environment = environment(std::env::vars_os(), config.inherit_env, &config.env, variables);
        let (cwd, stop_timeout) = (config.cwd.clone(), config.stop_timeout);
        Self { program, arguments, cwd, environment, stop_timeout, guard, tracker }
    }
}

impl Launch for Launcher {
    fn launch(&mut self) -> Result<Process, SpawnError> {
        // What is wrong with the command is found out here: a gate could only say it on its stderr.
        let path = self.environment.get(OsStr::new("PATH")).map(OsString::as_os_str);
        lookup::check(&self.program, path, self.cwd.as_deref())?;
        let failed = |source| SpawnError::Other { program: self.program.clone(), source };
        let start = self.guard.start_of_children();
        let mut command = Command::from(start.command(&self.program, &self.arguments));
        command
            .env_clear()
            .envs(&self.environment)
            .process_group(0)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true);
        if let Some(cwd) = &self.cwd {
            command.current_dir(cwd);
        }
        let mut child = command.spawn().map_err(failed)?;
        let pid = child.id().unwrap_or_default();
        let group = i32::try_from(pid).ok().and_then(Pgid::new);
        let registration = group.map(|group| self.guard.watch(group));
        let pipes = (child.stdin.take(), child.stdout.take(), child.stderr.take());
        let leader = Leader::new(child, group, registration);
        let (Some(stdin), Some(stdout), Some(stderr)) = pipes else {
            // Dropping the leader ends it.
            return Err(failed(io::Error::other("a pipe is missing")));
        };
        start.let_through(&stdin).map_err(failed)?;
        let (orders, received) = watch::channel(Order::Run);
        let (exited, exit) = oneshot::channel();
        let stop_timeout = self.stop_timeout;
        let supervise = async move {
            // Nobody may be there any more to be told.
            let _ = exited.send(leader.supervise(received, stop_timeout).await);
        };
        self.tracker.spawn(supervise.instrument(tracing::info_span!(parent: None, "child_supervisor", pid)));
        let (stdin, stdout, stderr) = (Box::new(Pipe::new(stdin)), Box::new(Pipe::new(stdout)), Box::new(stderr));
        Ok(Process { pid, liveness: Liveness::of, stdin, stdout, stderr, orders, exit })
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use tokio::io::AsyncReadExt as _;

    use super::*;
    use crate::config::secret::Secret;
    use crate::config::{InheritEnv, OnChildExit};

    fn launcher(command: &[&str], cwd: Option<&Path>) -> Launcher {
        let config = ChildConfig {
            server: None,
            command: command.iter().map(|word| (*word).to_owned()).collect(),
            cwd: cwd.map(Path::to_owned),
            env: BTreeMap::from([("GREETING".to_owned(), Secret::new("hello world".to_owned()))]),
            inherit_env: InheritEnv::Minimal,
            line_bytes_max: 1024,
            stderr_lines_max: 1000,
            queue_bytes_max: 1024,
            queue_timeout: Duration::from_secs(1),
            start_timeout: Duration::from_secs(1),
            era: None,
            probe_timeout: Duration::from_secs(5),
            stop_timeout: Duration::from_secs(1),
            on_exit: OnChildExit::Restart,
            ping_interval: None,
            age_max: None,
            requests_max: None,
        };
        Launcher::new(&config, &OwnVariables::default(), ChildGuard::absent(), TaskTracker::new())
    }

    fn refused(command: &[&str], cwd: Option<&Path>) -> String {
        launcher(command, cwd).launch().err().expect("it cannot be started").to_string()
    }

    #[tokio::test]
    async fn arguments_environment_and_directory_are_as_configured_and_the_group_is_its_own() {
        let directory = tempfile::TempDir::new().expect("a directory");
        let script = r#"echo "$GREETING|$1|$PYTHONUNBUFFERED|$(pwd -P)"; ps -o pgid= -p $$; echo $$"#;
        let mut process =
            launcher(&["sh", "-c", script, "sh", "a b*"], Some(directory.path())).launch().expect("sh exists");
        let mut out = String::new();
        process.stdout.read_to_string(&mut out).await.expect("UTF-8");
        let lines: Vec<_> = out.lines().map(str::trim).collect();
        let directory = directory.path().canonicalize().expect("it exists");
        assert_eq!(lines[0], format!("hello world|a b*|1|{}", directory.display()));
        assert_eq!(lines[1..], [lines[2], lines[2]]);
        assert_eq!(process.pid.to_string(), lines[2]);
        assert_eq!(process.exit.await.expect("it is supervised").status, "exit status: 0");
    }

    #[tokio::test]
    async fn a_process_whose_handle_is_dropped_is_stopped() {
        let launcher = &mut launcher(&["sh", "-c", "cat; echo bye"], None);
        let mut process = launcher.launch().expect("sh exists");
        let group = Pgid::new(process.pid.try_into().expect("a pid")).expect("a group");
        drop((process.orders, process.stdin));
        let mut out = String::new();
        process.stdout.read_to_string(&mut out).await.expect("UTF-8");
        assert_eq!(out, "bye\n");
        launcher.tracker.close();
        launcher.tracker.wait().await;
        assert!(!group.lives());
    }

    #[tokio::test]
    async fn a_spawn_error_says_what_to_do() {
        let directory = tempfile::TempDir::new().expect("a directory");
        // Written by another process, so that none started meanwhile inherits a descriptor that keeps it from being run.
        let write = "echo 'print()' > plain.py; echo '#!/no/such/interpreter' > script; chmod +x script";
        let mut writer = launcher(&["sh", "-c", write], Some(directory.path())).launch().expect("sh exists");
        assert_eq!((&mut writer.exit).await.expect("it is supervised").exit_code, Some(0));
        let cwd = Some(directory.path());
        for (command, cwd, expected) in [
            ("no-such-command", None, "the command `no-such-command` was not found in PATH: install it"),
            ("python3 server.py", None, "a whole command line belongs into --spawn"),
            ("/no/such/file", None, "there is no file `/no/such/file`"),
            ("./missing", cwd, "there is no file `./missing`"),
            ("./plain.py", cwd, "`./plain.py` is not executable: make it so (chmod +x)"),
            ("./script", cwd, "the interpreter that its first line (#!) names does not exist"),
            ("sh", Some(Path::new("/no/such/directory")), "the working directory /no/such/directory does not exist"),
        ] {
            let said = refused(&[command], cwd);
            assert!(said.contains(expected), "{said}");
        }
        assert!(refused(&["nul\0"], None).contains("could not be started"));
    }
}
