//! mcp-mux as process 1 of a container.
//!
//! Whatever loses its parent in a container becomes a child of process 1, and stays a zombie until that asks how it ended.
//! mcp-mux asks for its own children, each by its pid; it cannot ask for whichever ended, or it would take from those who wait
//! for one what they wait for. So as process 1 it starts itself once more and does nothing else than what an init does: it
//! passes signals on, asks for every process that ended, and ends as mcp-mux ends. When it is gone, the kernel kills what is
//! left in the container.
//!
//! mcp-mux then has a process group of its own: Ctrl-C at a terminal reaches the init, which passes it on, and so it comes once.
//!
//! A service manager that means process 1 by its number (`LISTEN_PID`, `WATCHDOG_PID`) means mcp-mux. A process can say its own
//! number only when it has one: so the one that is started is a stage, which puts that in and becomes mcp-mux.
//!
//! Unix only.

use std::ffi::OsString;
use std::io;
use std::os::unix::process::CommandExt as _;
use std::process::{Command, ExitCode};

use rustix::io::Errno;
use rustix::process::{Pid, Signal, WaitOptions, WaitStatus, kill_process, wait};
use tokio::signal::unix::{self, SignalKind, signal};

/// Whether this process has to be an init.
pub fn is_wanted() -> bool {
    std::process::id() == 1
}

/// What an init does, with mcp-mux's own arguments (the program's name included), from its start to its end.
///
/// # Errors
/// mcp-mux cannot be started once more. Nothing has happened then: it can go on as it is, and zombies stay.
pub fn run(arguments: impl IntoIterator<Item = OsString>) -> io::Result<ExitCode> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build()?;
    runtime.block_on(async {
        // Before the start: no signal of the program's is lost, and none kills an init that has no handler.
        let mut signals = Signals::install()?;
        let program = start(arguments)?;
        Ok(loop {
            if let Some(status) = reap(program) {
                break exit_code(status);
            }
            if let Some(signal) = signals.next().await {
                // That it is gone already shows at once.
                let _ = kill_process(program, signal);
            }
        })
    })
}

/// Whether this process is the stage between an init and mcp-mux.
pub fn is_stage_invocation(arguments: impl IntoIterator<Item = OsString>) -> bool {
    arguments.into_iter().nth(1).is_some_and(|argument| argument == STAGE_ARGUMENT)
}

/// What the stage does with its arguments (the program's name included). Returns only if it cannot become mcp-mux, and why.
pub fn become_program(arguments: impl IntoIterator<Item = OsString>) -> io::Error {
    let executable = match std::env::current_exe() {
        Ok(executable) => executable,
        Err(error) => return error,
    };
    let mut arguments = arguments.into_iter();
    let mut command = Command::new(executable);
    if let Some(name) = arguments.next() {
        command.arg0(name);
    }
    for variable in NUMBERS {
        if std::env::var_os(variable).is_some_and(|number| number == "1") {
            command.env(variable, std::process::id().to_string());
        }
    }
    // It says the same in a way that nothing but the process it was meant for can be.
    command.env_remove("LISTEN_PIDFDID");
    command.args(arguments.skip(1)).exec()
}

fn start(arguments: impl IntoIterator<Item = OsString>) -> io::Result<Pid> {
    let mut arguments = arguments.into_iter();
    let mut command = Command::new(std::env::current_exe()?);
    if let Some(name) = arguments.next() {
        command.arg0(name);
    }
    // Nothing waits for it by this handle.
    let program = command.arg(STAGE_ARGUMENT).args(arguments).process_group(0).spawn()?;
    Ok(Pid::from_child(&program))
}

/// Asks for every process that has ended; how `program` did, if it is among them.
fn reap(program: Pid) -> Option<WaitStatus> {
    loop {
        match wait(WaitOptions::NOHANG) {
            Ok(Some((ended, status))) if ended == program => return Some(status),
            Ok(Some(_)) | Err(Errno::INTR) => {}
            Ok(None) | Err(_) => return None,
        }
    }
}

/// As a shell tells it.
fn exit_code(status: WaitStatus) -> ExitCode {
    let signal = status.terminating_signal().map(|signal| signal.saturating_add(128));
    let code = status.exit_status().or(signal).and_then(|code| u8::try_from(code).ok());
    ExitCode::from(code.unwrap_or(1))
}

/// Not a word that anybody would type.
const STAGE_ARGUMENT: &str = "__process-of-init";
/// The variables that say by its number which process the others of them are for.
const NUMBERS: [&str; 2] = ["LISTEN_PID", "WATCHDOG_PID"];

struct Signals {
    interrupt: unix::Signal,
    terminate: unix::Signal,
    hangup: unix::Signal,
    quit: unix::Signal,
    child: unix::Signal,
}

impl Signals {
    fn install() -> io::Result<Self> {
        Ok(Self {
            interrupt: signal(SignalKind::interrupt())?,
            terminate: signal(SignalKind::terminate())?,
            hangup: signal(SignalKind::hangup())?,
            quit: signal(SignalKind::quit())?,
            child: signal(SignalKind::child())?,
        })
    }

    /// The next signal that is to be passed on, or none: a process has ended.
    async fn next(&mut self) -> Option<Signal> {
        tokio::select! {
            _ = self.interrupt.recv() => Some(Signal::INT),
            _ = self.terminate.recv() => Some(Signal::TERM),
            _ = self.hangup.recv() => Some(Signal::HUP),
            _ = self.quit.recv() => Some(Signal::QUIT),
            _ = self.child.recv() => None,
        }
    }
}
