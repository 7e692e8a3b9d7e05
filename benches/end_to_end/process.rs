//! What the system knows of a process.

use std::fs;
use std::io::{self, BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal};
use tokio::time::Instant;

/// A process of ours; killed with its owner.
pub(crate) struct Process {
    child: Child,
}

impl Process {
    /// Starts a server, and returns it with the first line that it prints.
    pub(crate) fn start(command: &mut Command) -> io::Result<(Self, String)> {
        let child = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn()?;
        let mut this = Self { child };
        let stdout = this.child.stdout.as_mut().ok_or(io::ErrorKind::BrokenPipe)?;
        let mut line = String::new();
        BufReader::new(stdout).read_line(&mut line)?;
        if line.is_empty() {
            return Err(io::Error::other(format!("{} ended without a word", command.get_program().display())));
        }
        Ok((this, line.trim().to_owned()))
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
        rustix::process::kill_process(Pid::from_child(&self.child), Signal::TERM)?;
        let deadline = Instant::now() + Duration::from_secs(10);
        while self.child.try_wait()?.is_none() {
            if Instant::now() > deadline {
                self.child.kill()?;
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        Ok(())
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if matches!(self.child.try_wait(), Ok(None)) {
            let _ = self.terminate();
        }
    }
}

/// A process that the system knows, whoever started it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Id(u32);

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
        let mut children = Vec::new();
        for entry in fs::read_dir("/proc")? {
            let Some(id) = entry?.file_name().to_str().and_then(|name| name.parse().ok()) else { continue };
            // One that has just ended has nothing to read.
            let Ok(stat) = fs::read_to_string(format!("/proc/{id}/stat")) else { continue };
            // After the name, which may have anything in it: the state and the parent.
            let parent = stat.rsplit_once(')').and_then(|(_, rest)| rest.split_whitespace().nth(1)?.parse().ok());
            if parent == Some(self.0) {
                children.push(Self(id));
            }
        }
        Ok(children)
    }
}
