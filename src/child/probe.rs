//! Asks a command which eras it speaks: here in a process of its own that is thrown away. (A child that asks its own process
//! uses the same words, and the same judgement, [`verdict`].)
//!
//! The process is not used for anything else, because the question may end a server or fix the era of a dual-era one for
//! the life of its process. One message goes to it; whatever it says until the answer comes is passed over, and then it is
//! stopped. Noise, notifications and requests of the server are passed over; its stderr
//! is read and dropped, since the child that serves says the same.
//!
//! Invariant: however the question ends, also when nobody waits for the answer any more, the process is stopped and its group is gone.
//!
//! Spec: 2026-07-28, Transports, stdio, Backward Compatibility.

mod verdict;

use std::time::Duration;

use tokio::io::{AsyncWriteExt as _, sink};
use tokio::sync::watch;
use tokio::time::{sleep, timeout};
use tokio_util::task::TaskTracker;

pub use self::verdict::{Finding, Question, Verdict};
pub(super) use self::verdict::{ID, is_modern_error, judge};
use super::process::{Launch, Launcher, Process, Source};
use super::stdout::{self, Reading};
use super::supervisor::Order;
use super::{ChildGuard, OwnVariables};
use crate::config::ChildConfig;
use crate::jsonrpc::{Kind, Message};
use crate::lines::LineReader;

/// How long what a process wrote before its exit may take to be read.
const LAST_WORDS_TIMEOUT: Duration = Duration::from_millis(500);

/// Asks a command.
#[derive(Clone, Debug)]
pub struct Probe {
    config: ChildConfig,
    variables: OwnVariables,
    guard: ChildGuard,
    tracker: TaskTracker,
}

/// What came of asking.
#[derive(Debug)]
pub(super) enum Heard {
    /// An answer.
    Answer(Message),
    /// An answer, but one that cannot be read.
    Unusable,
    /// Nothing, for so long.
    Silence(Duration),
    /// It exited, or closed its stdout.
    End,
    /// It could not be started.
    NotStarted,
}

impl Probe {
    /// A probe of this command, with these variables.
    pub fn new(config: &ChildConfig, variables: OwnVariables, guard: ChildGuard, tracker: &TaskTracker) -> Self {
        Self { config: config.clone(), variables, guard, tracker: tracker.clone() }
    }

    /// Starts a process, asks it, and has it stopped. Takes no longer than `--probe-timeout`; the process is gone when the
    /// tracker's tasks are.
    ///
    /// # Cancel safety
    /// Cancelled, the process is stopped all the same.
    pub async fn ask(&self, question: Question) -> Finding {
        let mut launcher = Launcher::new(&self.config, &self.variables, self.guard.clone(), self.tracker.clone());
        ask(&mut launcher, question, &self.config).await
    }
}

/// [`Probe::ask`] with the launcher as a parameter.
pub(super) async fn ask(launcher: &mut impl Launch, question: Question, config: &ChildConfig) -> Finding {
    let heard = match launcher.launch() {
        Ok(process) => hear(process, question, config).await,
        // The child that serves has the same trouble, and says so.
        Err(error) => {
            tracing::debug!(%error, "the process to be asked could not be started");
            Heard::NotStarted
        }
    };
    judge(question, &heard)
}

async fn hear(process: Process, question: Question, config: &ChildConfig) -> Heard {
    let Process { pid, mut stdin, stdout, mut stderr, orders, exit, .. } = process;
    let _doomed = Doomed(orders);
    tracing::debug!(pid, method = question.method(), "asking a process of its own which era it speaks");
    let answer = async {
        let mut line = question.message().into_bytes();
        line.push(b'\n');
        // It may exit without having read this, and may have answered something all the same.
        if stdin.write_all(&line).await.is_ok() {
            let _ = stdin.flush().await;
        }
        listen(LineReader::new(stdout, config.line_bytes_max), config.line_bytes_max).await
    };
    let ended = async {
        let _ = exit.await;
        // Its group is dead, so its stdout ends at once, unless somebody who left the group holds it.
        sleep(LAST_WORDS_TIMEOUT).await;
    };
    let drained = async {
        // Until the end or an error, which is one; the process may go on without a stderr.
        let _ = tokio::io::copy(&mut stderr, &mut sink()).await;
        std::future::pending::<()>().await;
    };
    let outcome = async {
        tokio::select! {
            heard = answer => heard,
            () = ended => Heard::End,
            () = drained => Heard::End,
        }
    };
    timeout(config.probe_timeout, outcome).await.unwrap_or(Heard::Silence(config.probe_timeout))
}

/// Reads until the answer, or the end.
async fn listen(mut lines: LineReader<Source>, line_bytes_max: usize) -> Heard {
    while let Ok(Some(line)) = lines.next().await {
        match stdout::read(line, line_bytes_max) {
            Reading::Message(message) | Reading::AfterNoise(message, _) if is_answer(&message) => {
                return Heard::Answer(message);
            }
            Reading::Batch(messages) => {
                if let Some(message) = messages.into_iter().flatten().find(is_answer) {
                    return Heard::Answer(message);
                }
            }
            Reading::Unusable { id: ID, .. } => return Heard::Unusable,
            Reading::Message(_)
            | Reading::AfterNoise(..)
            | Reading::Unusable { .. }
            | Reading::Noise(_)
            | Reading::Overlong { .. }
            | Reading::Blank => {}
        }
    }
    Heard::End
}

/// Whether it answers the question. An error without an id can answer nothing else: nothing else was said.
pub(super) fn is_answer(message: &Message) -> bool {
    match message.kind() {
        Kind::Result => message.id_as_u64() == Some(ID),
        Kind::Error => message.id_as_u64() == Some(ID) || message.id().is_none(),
        Kind::Request | Kind::Notification => false,
    }
}

/// A process that is stopped when this is dropped.
struct Doomed(watch::Sender<Order>);

impl Drop for Doomed {
    fn drop(&mut self) {
        self.0.send_replace(Order::Stop);
    }
}
