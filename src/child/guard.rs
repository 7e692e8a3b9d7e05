//! The orphan guard: when mcp-mux itself is killed with SIGKILL, the children's whole process groups die too.
//!
//! Nothing that runs in mcp-mux can see to that, and what the kernel offers (`PR_SET_PDEATHSIG`) needs `unsafe` code and
//! reaches no grandchildren. So mcp-mux starts its own executable once more as a tiny process that only reads a pipe:
//! `+PGID` and `-PGID` register and unregister a group, and the pipe's end, which comes when mcp-mux is gone for whatever
//! reason, kills every group still registered.
//!
//! The guard is called `mux-child-guard`, is in a process group of its own and ignores the signals that are sent to stop
//! mcp-mux, so that neither Ctrl-C nor a `kill` by name ends it before its work is done. A child's command does not run
//! before it is registered: see [`super::gate`]. One window stays open: the time between a SIGKILL of the guard itself
//! and the next registration, which starts a new guard.
//!
//! Unix only. DESIGN section 2, invariant 6.

use std::collections::BTreeSet;
use std::ffi::{OsStr, OsString};
use std::io::{self, BufRead, Write};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitCode, Stdio};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rustix::process::{Pid, Signal, kill_process_group};
use tokio::signal::unix::{SignalKind, signal};

use super::gate::Start;

/// The first argument of a guard.
const GUARD_ARGUMENT: &str = "__child-guard";
/// What a guard calls itself in the process list.
const GUARD_NAME: &str = "mux-child-guard";
/// The running executable: also when its file was replaced or removed meanwhile, and under a name that a `killall` of
/// mcp-mux does not match.
const OWN_EXECUTABLE: &str = "/proc/self/exe";

/// A process group's id.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Pgid(i32);

impl Pgid {
    /// None for what must never be killed as a group: 0 is one's own, 1 stands for every process there is.
    pub(super) fn new(pgid: i32) -> Option<Self> {
        (pgid > 1).then_some(Self(pgid))
    }

    /// Signals every process of the group. That there is none (any more) is no error.
    pub(super) fn kill(self, signal: Signal) {
        if let Some(pid) = Pid::from_raw(self.0)
            && let Err(error) = kill_process_group(pid, signal)
            && error != rustix::io::Errno::SRCH
        {
            tracing::debug!(pgid = self.0, %error, "a process group could not be signalled");
        }
    }

    /// Whether any process of the group is left.
    #[cfg(test)]
    pub(super) fn lives(self) -> bool {
        Pid::from_raw(self.0).is_some_and(|pid| rustix::process::test_kill_process_group(pid).is_ok())
    }
}

/// Talks to the guard process. Cheap to clone; the guard ends with the last clone and the last [`Registration`].
#[derive(Clone, Debug)]
pub struct ChildGuard(Arc<Mutex<Guarded>>);

#[derive(Debug)]
struct Guarded {
    /// What to start; none: there is no guard.
    executable: Option<PathBuf>,
    link: Option<Link>,
    groups: BTreeSet<Pgid>,
}

/// The pipe to a guard.
struct Link {
    pipe: Box<dyn Write + Send>,
    process: Option<Child>,
}

impl std::fmt::Debug for Link {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Link").field("process", &self.process).finish_non_exhaustive()
    }
}

/// A process group that dies with mcp-mux, until this is dropped.
#[derive(Debug)]
pub(super) struct Registration {
    guard: ChildGuard,
    group: Pgid,
}

impl ChildGuard {
    /// Starts the running executable as a guard.
    ///
    /// # Errors
    /// It cannot be started.
    pub fn start() -> io::Result<Self> {
        let own = Path::new(OWN_EXECUTABLE);
        // Where there is no /proc (a bare chroot, systems other than Linux), the file's own name has to do.
        if own.exists() { Self::start_from(own) } else { Self::start_from(&std::env::current_exe()?) }
    }

    /// Starts a guard from an executable whose `main` calls [`run`] for [`is_guard_invocation`], and
    /// [`gate::run`](super::gate::run) for [`gate::is_gate_invocation`](super::gate::is_gate_invocation).
    ///
    /// # Errors
    /// It cannot be started.
    pub fn start_from(executable: &Path) -> io::Result<Self> {
        let link = Link::start(executable)?;
        Ok(Self::new(Some(executable.to_owned()), Some(link)))
    }

    /// No guard: children outlive a SIGKILL of mcp-mux. For where none can be started, and for tests.
    pub fn absent() -> Self {
        Self::new(None, None)
    }

    fn new(executable: Option<PathBuf>, link: Option<Link>) -> Self {
        Self(Arc::new(Mutex::new(Guarded { executable, link, groups: BTreeSet::new() })))
    }

    /// How what is to be registered is started.
    pub(super) fn start_of_children(&self) -> Start {
        self.lock().executable.clone().map_or(Start::Direct, Start::Gated)
    }

    /// Registers a process group. To be called at once after its start.
    ///
    /// Writes a few bytes to a pipe that the guard always reads, so it does not wait.
    pub(super) fn watch(&self, group: Pgid) -> Registration {
        let mut guarded = self.lock();
        guarded.groups.insert(group);
        guarded.tell(&format!("+{}\n", group.0));
        Registration { guard: self.clone(), group }
    }

    fn lock(&self) -> MutexGuard<'_, Guarded> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Registration {
    fn drop(&mut self) {
        let mut guarded = self.guard.lock();
        guarded.groups.remove(&self.group);
        guarded.tell(&format!("-{}\n", self.group.0));
    }
}

impl Guarded {
    /// Writes one line; when the guard is gone, starts another one and registers everything with it.
    fn tell(&mut self, line: &str) {
        if self.link.as_mut().is_some_and(|link| link.write(line).is_ok()) {
            return;
        }
        self.link = None;
        let Some(executable) = &self.executable else { return };
        let restarted = Link::start(executable).and_then(|mut link| {
            let groups: String = self.groups.iter().map(|group| format!("+{}\n", group.0)).collect();
            link.write(&groups)?;
            Ok(link)
        });
        match restarted {
            Ok(link) => {
                tracing::warn!("the guard against orphans was gone and has been started again");
                self.link = Some(link);
            }
            Err(error) => {
                tracing::warn!(%error, "there is no guard against orphans: children would outlive a SIGKILL of mcp-mux");
            }
        }
    }
}

impl Link {
    fn start(executable: &Path) -> io::Result<Self> {
        let mut process = Command::new(executable)
            .arg0(GUARD_NAME)
            .arg(GUARD_ARGUMENT)
            // It needs neither secrets nor a directory that somebody may want to unmount.
            .env_clear()
            .current_dir("/")
            .process_group(0)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()?;
        let pipe = process.stdin.take().ok_or_else(|| io::Error::other("the guard has no stdin"))?;
        Ok(Self { pipe: Box::new(pipe), process: Some(process) })
    }

    fn write(&mut self, lines: &str) -> io::Result<()> {
        // A pipe whose reader is gone takes what is written for as long as a process that is just being started has yet
        // to let go of the copy it inherited; so the guard itself is asked, too. That nobody can tell does not mean that it
        // is gone: one that is given up kills what it knows of.
        if let Some(process) = &mut self.process
            && matches!(process.try_wait(), Ok(Some(_)))
        {
            return Err(io::ErrorKind::BrokenPipe.into());
        }
        self.pipe.write_all(lines.as_bytes())
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        // Reaps a guard that is gone already. One that still lives ends by itself at the pipe's end, after mcp-mux's.
        if let Some(process) = &mut self.process {
            let _ = process.try_wait();
        }
    }
}

/// Whether these are the arguments (the program's name included) of a guard. To be asked before anything else looks at
/// them.
pub fn is_guard_invocation(arguments: impl IntoIterator<Item = OsString>) -> bool {
    arguments.into_iter().nth(1).is_some_and(|argument| argument == OsStr::new(GUARD_ARGUMENT))
}

/// What a guard does, from its start to its end.
pub fn run() -> ExitCode {
    // Handlers that nobody listens to: what they catch does nothing. The runtime is only what they need to be installed.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build();
    let _caught = runtime.as_ref().ok().map(|runtime| {
        let _inside = runtime.enter();
        let stop = [SignalKind::terminate(), SignalKind::interrupt(), SignalKind::hangup(), SignalKind::quit()];
        let other = [SignalKind::user_defined1(), SignalKind::user_defined2(), SignalKind::alarm()];
        stop.into_iter().chain(other).filter_map(|kind| signal(kind).ok()).collect::<Vec<_>>()
    });
    keep_watch(io::stdin().lock());
    ExitCode::SUCCESS
}

/// Follows the registrations to their end and kills every group that is left then.
fn keep_watch(mut registrations: impl BufRead) {
    let mut groups = BTreeSet::new();
    let mut line = String::new();
    // A read that fails is as good an end as any. A last line that was cut off could name another group: it is no line.
    while registrations.read_line(&mut line).is_ok_and(|bytes| bytes > 0) && line.ends_with('\n') {
        let mut characters = line.trim_end().chars();
        let sign = characters.next();
        let group = characters.as_str().parse().ok().and_then(Pgid::new);
        match (sign, group) {
            (Some('+'), Some(group)) => {
                groups.insert(group);
            }
            (Some('-'), Some(group)) => {
                groups.remove(&group);
            }
            _ => {}
        }
        line.clear();
    }
    for group in groups {
        group.kill(Signal::KILL);
    }
}

#[cfg(test)]
mod tests {
    use std::io::BufReader;
    use std::os::unix::process::ExitStatusExt as _;

    use super::*;

    /// A process group of two: a leader and its child, each of which would sleep for long.
    fn group() -> (Child, Pgid) {
        let child =
            Command::new("sh").args(["-c", "sleep 600 & sleep 600"]).process_group(0).spawn().expect("sh exists");
        let pgid = Pgid::new(child.id().try_into().expect("a pid")).expect("a group of its own");
        (child, pgid)
    }

    /// A guard whose process side runs in this one.
    fn in_process() -> (ChildGuard, std::thread::JoinHandle<()>) {
        let (reader, writer) = io::pipe().expect("a pipe");
        let watching = std::thread::spawn(move || keep_watch(BufReader::new(reader)));
        let link = Link { pipe: Box::new(writer), process: None };
        (ChildGuard::new(None, Some(link)), watching)
    }

    #[test]
    fn the_end_of_the_pipe_kills_what_is_registered_and_nothing_else() {
        let (mut lost, lost_group) = group();
        let (mut kept, kept_group) = group();
        let (guard, watching) = in_process();
        let registration = guard.watch(lost_group);
        drop(guard.watch(kept_group));
        // What SIGKILL does to mcp-mux: the pipe ends and no destructor has run.
        guard.lock().link = None;
        watching.join().expect("the guard ends");
        assert_eq!(lost.wait().expect("it was ours").signal(), Some(9));
        assert!(kept.try_wait().expect("it is ours").is_none());
        kept_group.kill(Signal::KILL);
        kept.wait().expect("it was ours");
        drop(registration);
    }

    #[test]
    fn a_group_that_must_not_be_killed_is_no_group() {
        assert_eq!([-1, 0, 1].map(Pgid::new), [None; 3]);
        // These would kill every process of the machine, of this test, or a group that was never meant.
        for registrations in ["+1\n", "+0\n", "+-1\n", "+\n", "\n", "x\n", "+99999999999\n", "+2"] {
            keep_watch(registrations.as_bytes());
        }
    }

    #[test]
    fn a_guard_that_is_gone_is_started_again_and_told_everything() {
        // `true` takes any argument, reads nothing and is gone at once.
        let guard = ChildGuard::start_from(Path::new("true")).expect("it exists");
        // As if it had been started while a copy of the pipe's other end was held elsewhere: no write fails.
        let (held, writer) = io::pipe().expect("a pipe");
        if let Some(link) = guard.lock().link.as_mut() {
            link.process.as_mut().expect("it is a process").wait().expect("it ends");
            link.pipe = Box::new(writer);
        }
        let told = tempfile::NamedTempFile::new().expect("a file");
        let directory = tempfile::TempDir::new().expect("a directory");
        let executable = directory.path().join("guard");
        // Written by another process, so that none started meanwhile inherits a descriptor that keeps it from being run.
        let script = format!("#!/bin/sh\nexec cat > '{}'\n", told.path().display());
        let write = [r#"printf %s "$2" > "$1" && chmod +x "$1""#, "sh"].map(OsStr::new);
        let mut write =
            Command::new("sh").arg("-c").args(write).arg(&executable).arg(script).spawn().expect("sh exists");
        assert!(write.wait().expect("it was ours").success());
        guard.lock().groups.insert(Pgid(1_000_000_007));
        guard.lock().executable = Some(executable);
        drop(guard.watch(Pgid(1_000_000_009)));
        drop(held);
        let Some(mut link) = guard.lock().link.take() else { panic!("it was started again") };
        let process = link.process.take();
        drop(link);
        process.expect("it is a process").wait().expect("it ends with the pipe");
        assert_eq!(std::fs::read_to_string(told.path()).expect("UTF-8"), "+1000000007\n+1000000009\n-1000000009\n");
    }

    #[test]
    fn without_a_guard_nothing_happens() {
        drop(ChildGuard::absent().watch(Pgid(1_000_000_007)));
        assert!(ChildGuard::start_from(Path::new("/no/such/file")).is_err());
    }

    #[test]
    fn a_guard_is_known_by_its_first_argument_alone() {
        let asks = |arguments: &[&str]| is_guard_invocation(arguments.iter().map(OsString::from));
        assert!(asks(&["mux-child-guard", "__child-guard"]));
        assert!(!asks(&["__child-guard"]));
        assert!(!asks(&["mcp-mux", "--", "__child-guard"]));
        assert!(!asks(&[]));
    }
}
