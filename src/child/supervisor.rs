//! Sees one process to its end: the stop ladder, and that nothing of its group is left.
//!
//! Separate from the actor so that the ladder's waits hold nothing up, and so that it ends the process when the actor is
//! gone for whatever reason.
//!
//! The leader is not reaped before its group has been killed: until then the kernel gives its pid, and with it the
//! group's id, to nobody else, so no signal can reach a stranger.
//!
//! Spec: 2025-11-25, Lifecycle, Shutdown, stdio (close the input stream, wait, SIGTERM, wait, SIGKILL).

use std::os::unix::process::ExitStatusExt as _;
use std::process::ExitStatus;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, waitid};
use tokio::process::Child;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;
use tokio::time::timeout;

use super::guard::{Pgid, Registration};

/// What is to become of a process. It is stopped too when nobody can give orders any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Order {
    /// It runs.
    Run,
    /// Its stdin is being closed; it has the stop timeout to exit, and again after SIGTERM.
    Stop,
    /// It has no time left.
    Kill,
}

/// How a process ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Exit {
    /// In words: `exit status: 3`, `signal: 9 (SIGKILL)`.
    pub(super) status: String,
    /// The exit code.
    pub(super) exit_code: Option<i32>,
    /// The signal.
    pub(super) signal: Option<i32>,
    /// Whether it was the ladder that ended it, or its own doing.
    pub(super) ended_by: EndedBy,
}

/// Whether a process still runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Liveness {
    /// It does.
    Running,
    /// It is exiting or has exited, or nobody can tell: there is no /proc.
    Exiting,
}

impl Liveness {
    /// How a process is doing at this moment. The kernel says that a process is exiting before it closes its pipes, so
    /// one that closed a pipe and is not exiting did so by itself.
    pub(super) fn of(pid: u32) -> Self {
        let stat = std::fs::read(format!("/proc/{pid}/stat")).unwrap_or_default();
        // The name, in parentheses, may contain anything.
        let rest = stat.rsplit(|byte| *byte == b')').next().and_then(|rest| str::from_utf8(rest).ok());
        let flags = rest.and_then(|rest| rest.split_whitespace().nth(STAT_FLAGS_AFTER_NAME));
        match flags.and_then(|flags| flags.parse::<u64>().ok()) {
            Some(flags) if flags & PF_EXITING == 0 => Self::Running,
            Some(_) | None => Self::Exiting,
        }
    }
}

/// Where `/proc/PID/stat` has the kernel's flags of a process, and the one of them that says that it is exiting.
const STAT_FLAGS_AFTER_NAME: usize = 6;
const PF_EXITING: u64 = 0x4;

/// Whose doing an exit was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum EndedBy {
    /// It exited by itself, or when its stdin was closed, or somebody else killed it.
    Itself,
    /// mcp-mux had sent it a signal.
    Ladder,
}

impl Exit {
    /// What is said when nobody knows.
    pub(super) fn unknown(what: impl std::fmt::Display) -> Self {
        Self { status: format!("unknown: {what}"), exit_code: None, signal: None, ended_by: EndedBy::Itself }
    }

    fn new(status: ExitStatus, ended_by: EndedBy) -> Self {
        Self { status: status.to_string(), exit_code: status.code(), signal: status.signal(), ended_by }
    }
}

/// A process that leads a group, and the group. Dropped before its end, it takes the group with it.
#[derive(Debug)]
pub(super) struct Leader {
    child: Child,
    group: Option<Pgid>,
    registration: Option<Registration>,
}

impl Leader {
    /// A process just started and, if it leads a group, the registration of that.
    pub(super) const fn new(child: Child, group: Option<Pgid>, registration: Option<Registration>) -> Self {
        Self { child, group, registration }
    }

    /// Sees it to its end.
    pub(super) async fn supervise(mut self, mut orders: watch::Receiver<Order>, stop_timeout: Duration) -> Exit {
        let group = self.group;
        let signalled = AtomicBool::new(false);
        let send = |signal| {
            signalled.store(true, Ordering::Relaxed);
            if let Some(group) = group {
                group.kill(signal);
            }
        };
        let ladder = async {
            // An error means that nobody is left to give orders, which is one.
            let _ = orders.wait_for(|order| *order >= Order::Stop).await;
            patience(&mut orders, stop_timeout).await;
            send(Signal::TERM);
            patience(&mut orders, stop_timeout).await;
            send(Signal::KILL);
            std::future::pending::<()>().await;
        };
        tokio::select! {
            () = exited(self.child.id()) => {}
            () = ladder => {}
        }
        self.end_group();
        let ended_by = if signalled.into_inner() { EndedBy::Ladder } else { EndedBy::Itself };
        match self.child.wait().await {
            Ok(status) => Exit::new(status, ended_by),
            Err(error) => Exit::unknown(error),
        }
    }

    /// Kills what is left of the group, while its id is still its own.
    fn end_group(&mut self) {
        if let Some(group) = self.group.take() {
            group.kill(Signal::KILL);
        }
        self.registration = None;
    }
}

impl Drop for Leader {
    fn drop(&mut self) {
        self.end_group();
    }
}

/// Waits so long, unless it is to be killed at once.
async fn patience(orders: &mut watch::Receiver<Order>, stop_timeout: Duration) {
    let hurry = async {
        if orders.wait_for(|order| *order == Order::Kill).await.is_err() {
            std::future::pending::<()>().await;
        }
    };
    // Both outcomes say: on to the next rung.
    let _ = timeout(stop_timeout, hurry).await;
}

/// Waits until a child process has exited, without reaping it.
async fn exited(pid: Option<u32>) {
    let Some(pid) = pid.and_then(|pid| Pid::from_raw(pid.try_into().ok()?)) else { return };
    // Listens before it looks, so that no exit falls between.
    let Ok(mut exits) = signal(SignalKind::child()) else { return };
    let options = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
    // An error (nobody is there to be waited for) is an end too.
    while matches!(waitid(WaitId::Pid(pid), options), Ok(None)) {
        exits.recv().await;
    }
}

#[cfg(test)]
mod tests {
    use std::process::Stdio;

    use tokio::io::{AsyncBufReadExt as _, BufReader, Lines};
    use tokio::process::{ChildStdin, ChildStdout, Command};

    use super::*;

    const SHORT: Duration = Duration::from_millis(100);
    const LONG: Duration = Duration::from_secs(60);
    const DEADLINE: Duration = Duration::from_secs(20);

    struct Started {
        leader: Leader,
        stdin: ChildStdin,
        lines: Lines<BufReader<ChildStdout>>,
    }

    /// Starts a shell and waits for its first line, `ready`, unless it is to exit by itself.
    async fn start(script: &str) -> Started {
        let mut child = Command::new("sh")
            .args(["-c", script])
            .process_group(0)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("sh exists");
        let group = child.id().and_then(|pid| Pgid::new(pid.try_into().ok()?)).expect("it leads a group");
        let stdin = child.stdin.take().expect("piped");
        let mut lines = BufReader::new(child.stdout.take().expect("piped")).lines();
        assert_eq!(lines.next_line().await.expect("readable").as_deref(), Some("ready"));
        Started { leader: Leader::new(child, Some(group), None), stdin, lines }
    }

    async fn deadline<T>(future: impl Future<Output = T>) -> T {
        timeout(DEADLINE, future).await.expect("it takes no longer than the deadline")
    }

    #[tokio::test]
    async fn exits_are_described_in_words() {
        for (script, status, exit_code, signal) in [
            ("echo ready; exit 3", "exit status: 3", Some(3), None),
            ("echo ready; exit 0", "exit status: 0", Some(0), None),
            ("echo ready; kill -9 $$", "signal: 9 (SIGKILL)", None, Some(9)),
            ("echo ready; ulimit -c 0; kill -11 $$", "signal: 11 (SIGSEGV)", None, Some(11)),
        ] {
            let started = start(script).await;
            let (_orders, orders) = watch::channel(Order::Run);
            let exit = deadline(started.leader.supervise(orders, LONG)).await;
            assert!(exit.status.starts_with(status), "{}", exit.status);
            assert_eq!((exit.exit_code, exit.signal, exit.ended_by), (exit_code, signal, EndedBy::Itself));
        }
    }

    #[cfg(target_os = "linux")]
    #[tokio::test]
    async fn whoever_has_closed_its_stdout_is_exiting_or_not() {
        // Its stdin stays open. (`cat` would not wait for it: it has nothing to write to.)
        let mut closes = start("echo ready; exec >&-; read line; exit 0").await;
        assert_eq!(deadline(closes.lines.next_line()).await.expect("readable"), None);
        assert_eq!(Liveness::of(closes.pid().try_into().expect("a pid")), Liveness::Running);

        let mut exits = start("echo ready; kill -9 $$").await;
        assert_eq!(deadline(exits.lines.next_line()).await.expect("readable"), None);
        assert_eq!(Liveness::of(exits.pid().try_into().expect("a pid")), Liveness::Exiting);
        assert_eq!(Liveness::of(u32::MAX), Liveness::Exiting);
    }

    #[tokio::test]
    async fn a_child_that_heeds_the_end_of_its_stdin_gets_no_signal() {
        let started = start("echo ready; cat; exit 7").await;
        let (_orders, orders) = watch::channel(Order::Stop);
        drop(started.stdin);
        let exit = deadline(started.leader.supervise(orders, LONG)).await;
        assert_eq!((exit.exit_code, exit.ended_by), (Some(7), EndedBy::Itself));
    }

    #[tokio::test]
    async fn a_child_that_does_not_read_gets_sigterm_and_may_tidy_up() {
        let started = start("trap 'exit 5' TERM; echo ready; while :; do sleep 0.01; done").await;
        let (_orders, orders) = watch::channel(Order::Stop);
        drop(started.stdin);
        let exit = deadline(started.leader.supervise(orders, SHORT)).await;
        assert_eq!((exit.exit_code, exit.ended_by), (Some(5), EndedBy::Ladder));
    }

    #[tokio::test]
    async fn a_child_that_ignores_sigterm_is_killed() {
        let started = start("trap '' TERM; echo ready; while :; do sleep 600; done").await;
        let (_orders, orders) = watch::channel(Order::Stop);
        let begun = tokio::time::Instant::now();
        let exit = deadline(started.leader.supervise(orders, SHORT)).await;
        assert_eq!((exit.status.as_str(), exit.ended_by), ("signal: 9 (SIGKILL)", EndedBy::Ladder));
        assert!(begun.elapsed() >= SHORT * 2);
    }

    #[tokio::test]
    async fn a_kill_order_does_not_wait() {
        let started = start("trap '' TERM; echo ready; while :; do sleep 600; done").await;
        let (orders, received) = watch::channel(Order::Run);
        let (exit, ()) = tokio::join!(deadline(started.leader.supervise(received, LONG)), async {
            orders.send_replace(Order::Stop);
            tokio::task::yield_now().await;
            orders.send_replace(Order::Kill);
        });
        assert_eq!(exit.signal, Some(9));
    }

    #[tokio::test]
    async fn a_process_that_nobody_gives_orders_is_stopped() {
        let started = start("echo ready; exec sleep 600").await;
        let (orders, received) = watch::channel(Order::Run);
        drop(orders);
        let exit = deadline(started.leader.supervise(received, SHORT)).await;
        assert_eq!(exit.status, "signal: 15 (SIGTERM)");
    }

    #[tokio::test]
    async fn grandchildren_do_not_outlive_the_leader() {
        let mut started = start("sh -c 'trap \"\" TERM; echo ready; exec sleep 600' & wait; exit 4").await;
        let (_orders, orders) = watch::channel(Order::Run);
        // Only the leader dies; the grandchild holds stdout open until it is gone too.
        let leader = Pid::from_raw(started.pid()).expect("a pid");
        rustix::process::kill_process(leader, Signal::KILL).expect("it lives");
        let exit = deadline(started.leader.supervise(orders, LONG)).await;
        assert_eq!((exit.signal, exit.ended_by), (Some(9), EndedBy::Itself));
        assert_eq!(deadline(started.lines.next_line()).await.expect("readable"), None);
    }

    #[tokio::test]
    async fn a_dropped_leader_takes_its_group_with_it() {
        let mut started = start("sh -c 'echo ready; exec sleep 600' & wait").await;
        drop(started.leader);
        assert_eq!(deadline(started.lines.next_line()).await.expect("readable"), None);
    }

    impl Started {
        fn pid(&self) -> i32 {
            self.leader.child.id().and_then(|pid| pid.try_into().ok()).expect("it lives")
        }
    }
}
