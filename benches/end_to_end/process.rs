//! What the system knows of a process.

use std::fs;
use std::io::{self, BufRead, BufReader};
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread::sleep;
use std::time::Duration;

use rustix::io::Errno;
use rustix::process::{Pid, Signal, kill_process, kill_process_group};
use tokio::time::Instant;

/// A process of ours; killed with its owner.
pub(crate) struct Process {
    child: Child,
    /// Whether it leads a process group that has to end with it still.
    leads: bool,
}

impl Process {
    /// Starts a server, and returns it with the first line that it prints.
    pub(crate) fn start(command: &mut Command) -> io::Result<(Self, String)> {
        let child = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn()?;
        let mut this = Self { child, leads: false };
        let stdout = this.child.stdout.as_mut().ok_or(io::ErrorKind::BrokenPipe)?;
        let mut line = String::new();
        BufReader::new(stdout).read_line(&mut line)?;
        if line.is_empty() {
            return Err(io::Error::other(format!("{} ended without a word", command.get_program().display())));
        }
        Ok((this, line.trim().to_owned()))
    }

    /// Starts a server in a process group of its own; what it prints is nobody's.
    pub(crate) fn start_group(command: &mut Command) -> io::Result<Self> {
        let child = command.process_group(0).stdin(Stdio::null()).stdout(Stdio::null()).spawn()?;
        Ok(Self { child, leads: true })
    }

    /// How it ended, if it did.
    pub(crate) fn ended(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().ok().flatten()
    }

    /// What the system knows of it.
    pub(crate) fn id(&self) -> Id {
        Id(self.child.id())
    }

    /// Asks it to stop, and waits for that.
    pub(crate) fn stop(mut self) -> io::Result<()> {
        self.terminate()
    }

    fn terminate(&mut self) -> io::Result<()> {
        let leader = Pid::from_child(&self.child);
        // Some start their children in groups of their own, where they end with their stdin.
        let leads = std::mem::take(&mut self.leads);
        let tree = if leads { self.id().tree_with_starts()? } else { Vec::new() };
        if self.child.try_wait()?.is_none() {
            kill_process(leader, Signal::TERM)?;
        }
        let deadline = Instant::now() + STOP_LIMIT;
        while self.child.try_wait()?.is_none() {
            if Instant::now() > deadline {
                self.child.kill()?;
            }
            sleep(STOP_POLL);
        }
        if leads {
            // Nobody is left in it as a rule.
            let _ = kill_process_group(leader, Signal::KILL);
        }
        let deadline = Instant::now() + STOP_LIMIT;
        while tree.iter().any(|started| started.lives()) {
            if Instant::now() > deadline {
                tree.iter().filter(|started| started.lives()).try_for_each(|started| started.kill())?;
            }
            sleep(STOP_POLL);
        }
        Ok(())
    }
}

const STOP_LIMIT: Duration = Duration::from_secs(10);
const STOP_POLL: Duration = Duration::from_millis(5);

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.terminate();
    }
}

/// A process that the system knows, whoever started it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Id(u32);

/// What `/proc/N/stat` says that is needed here.
struct Stat {
    state: char,
    parent: u32,
    /// In ticks since the system's start: the same number with another time is another process.
    started: u64,
}

impl Id {
    /// Its processor time so far, that of its children not included.
    pub(crate) fn cpu(self) -> io::Result<Duration> {
        let mut nanos = 0;
        for thread in fs::read_dir(format!("/proc/{}/task", self.0))? {
            // A thread that has just ended has nothing to read.
            let Ok(text) = fs::read_to_string(thread?.path().join("schedstat")) else { continue };
            nanos += text.split(' ').next().and_then(|number| number.parse::<u64>().ok()).unwrap_or(0);
        }
        Ok(Duration::from_nanos(nanos))
    }

    /// Its resident memory in bytes.
    pub(crate) fn resident(self) -> io::Result<u64> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.0))?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let kib = line.and_then(|line| line.trim().split(' ').next()?.parse::<u64>().ok());
        kib.map(|kib| kib * 1024).ok_or_else(|| io::Error::other("no VmRSS"))
    }

    /// The file that it runs.
    pub(crate) fn program(self) -> io::Result<PathBuf> {
        fs::read_link(format!("/proc/{}/exe", self.0))
    }

    /// The processes that it started and that live.
    pub(crate) fn children(self) -> io::Result<Vec<Self>> {
        let all = everybody()?;
        Ok(all.into_iter().filter(|(_, stat)| stat.parent == self.0).map(|(id, _)| id).collect())
    }

    /// It, what it started, what these started, and so on.
    pub(crate) fn tree(self) -> io::Result<Vec<Self>> {
        Ok(self.tree_with_starts()?.into_iter().map(|Started { id, .. }| id).collect())
    }

    /// The same, so that each can be told from one that has its number later.
    fn tree_with_starts(self) -> io::Result<Vec<Started>> {
        let all = everybody()?;
        let mut tree: Vec<_> =
            all.iter().filter(|(id, _)| *id == self).map(|(id, stat)| Started { id: *id, at: stat.started }).collect();
        let mut looked_at = 0;
        while let Some(parent) = tree.get(looked_at).map(|started| started.id.0) {
            looked_at += 1;
            let children = all.iter().filter(|(_, stat)| stat.parent == parent);
            tree.extend(children.map(|(id, stat)| Started { id: *id, at: stat.started }));
        }
        Ok(tree)
    }

    fn stat(self) -> Option<Stat> {
        let text = fs::read_to_string(format!("/proc/{}/stat", self.0)).ok()?;
        // After the name, which may have anything in it.
        let mut rest = text.rsplit_once(')')?.1.split_whitespace();
        let (state, parent) = (rest.next()?.chars().next()?, rest.next()?.parse().ok()?);
        Some(Stat { state, parent, started: rest.nth(17)?.parse().ok()? })
    }
}

/// A process that was started at a certain time.
struct Started {
    id: Id,
    at: u64,
}

impl Started {
    fn lives(&self) -> bool {
        self.id.stat().is_some_and(|stat| stat.started == self.at && stat.state != 'Z')
    }

    fn kill(&self) -> io::Result<()> {
        let id = i32::try_from(self.id.0).ok().and_then(Pid::from_raw).ok_or(io::ErrorKind::InvalidInput)?;
        match kill_process(id, Signal::KILL) {
            // It was faster.
            Ok(()) | Err(Errno::SRCH) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }
}

fn everybody() -> io::Result<Vec<(Id, Stat)>> {
    let mut all = Vec::new();
    for entry in fs::read_dir("/proc")? {
        let id = entry?.file_name().to_str().and_then(|name| name.parse().ok()).map(Id);
        // One that has just ended has nothing to read.
        all.extend(id.and_then(|id| Some((id, id.stat()?))));
    }
    Ok(all)
}
