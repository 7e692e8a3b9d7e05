//! What is read again while the program runs (SIGHUP, `--watch`).
//!
//! Separate from the parts that are: each knows how to read its files and that a bad one changes nothing; here is when it
//! happens, and what the log says of it. Invariant: one after the other, never two at once; whoever asks never waits; no pipe is
//! opened, which could take for ever.

mod watch;

pub(crate) use watch::watch;

use std::error::Error;
use std::fmt;
use std::path::{Path, PathBuf};
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;
use tracing::{error, info, warn};

use crate::telemetry::with_sources;

/// Everything that can be read again.
#[derive(Default)]
pub(crate) struct Reloads(Vec<Reload>);

struct Reload {
    /// What is read, as the log calls it.
    what: &'static str,
    /// Where it is.
    files: Vec<PathBuf>,
    /// Those of them that somebody else writes.
    watched: Vec<PathBuf>,
    again: Box<dyn Fn() -> Result<(), Failure> + Send + Sync>,
}

/// A turn of the reading.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reading {
    /// Files are read from now on.
    Begins,
    /// They have been, well or badly.
    Ended,
}

type Failure = Box<dyn Error + Send + Sync>;

impl Reloads {
    /// Adds something: `again` reads it from `files`, may wait for the file system, and changes nothing where it fails.
    pub(crate) fn add(
        &mut self,
        what: &'static str,
        files: Vec<PathBuf>,
        again: impl Fn() -> Result<(), Failure> + Send + Sync + 'static,
    ) {
        self.0.push(Reload { what, watched: files.clone(), files, again: Box::new(again) });
    }

    /// The same for files that mcp-mux writes itself, so that it is no news when they have changed.
    pub(crate) fn add_own(
        &mut self,
        what: &'static str,
        files: Vec<PathBuf>,
        again: impl Fn() -> Result<(), Failure> + Send + Sync + 'static,
    ) {
        self.0.push(Reload { what, watched: Vec::new(), files, again: Box::new(again) });
    }

    /// All files that somebody else may change.
    pub(crate) fn watched(&self) -> Vec<PathBuf> {
        self.0.iter().flat_map(|reload| reload.watched.iter().cloned()).collect()
    }

    /// Reads everything again whenever `asked` says so, and says so to `told`. Asked several times while it is being read,
    /// it is read once more. After `until` nothing is read any more; what is being read then ends untold.
    pub(crate) async fn run(self, asked: Arc<Notify>, told: impl Fn(Reading) + Send, until: CancellationToken) {
        let reloads = Arc::new(self);
        let under_way = AtomicBool::new(false);
        let serving = async {
            loop {
                asked.notified().await;
                under_way.store(true, Ordering::Relaxed);
                told(Reading::Begins);
                let reloads = Arc::clone(&reloads);
                // A file system may take its time.
                let read = tokio::task::spawn_blocking(move || reloads.read());
                if read.await.is_err() {
                    error!("a panic while files were read again");
                }
                told(Reading::Ended);
                under_way.store(false, Ordering::Relaxed);
            }
        };
        tokio::select! {
            biased;
            () = until.cancelled() => {}
            () = serving => {}
        }
        let was_asked = pin!(asked.notified()).enable();
        if was_asked || under_way.load(Ordering::Relaxed) {
            info!("files are not read again any more: stopping");
        }
    }

    fn read(&self) {
        if self.0.is_empty() {
            info!("SIGHUP: there is nothing to read again; SIGTERM stops mcp-mux");
        }
        for reload in &self.0 {
            let what = reload.what;
            match reload.read() {
                Ok(()) => info!(files = what, "read again"),
                Err(error) => {
                    warn!(files = what, error = with_sources(&*error), "not read again: what was there stays");
                }
            }
        }
    }
}

impl Reload {
    fn read(&self) -> Result<(), Failure> {
        self.files.iter().try_for_each(|file| check_regular(file))?;
        (self.again)()
    }
}

/// A pipe, as a shell's `<(…)` makes one, has nothing more in it; and opening one waits for somebody who writes.
fn check_regular(file: &Path) -> Result<(), Failure> {
    match file.metadata() {
        Ok(metadata) if !metadata.is_file() => {
            Err(format!("{} must be a regular file, to be read again", file.display()).into())
        }
        // Whoever reads it says what is wrong with it.
        Ok(_) | Err(_) => Ok(()),
    }
}

impl fmt::Debug for Reloads {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.0.iter().map(|reload| reload.what)).finish()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
    use std::time::Duration;

    use tokio::time::timeout;

    use super::*;

    const DEADLINE: Duration = Duration::from_secs(60);

    #[test]
    fn an_error_is_told_with_what_caused_it() {
        let cause = std::io::Error::other("no medium");
        let error = crate::error::StartupError::System { what: "read", source: cause };
        assert_eq!(with_sources(&error), "cannot read: no medium");
    }

    #[test]
    fn what_is_no_regular_file_is_not_opened_again() {
        let good = tempfile::NamedTempFile::new().expect("a file");
        for (files, expected) in [
            (vec![good.path(), Path::new("/dev/zero")], Some("/dev/zero must be a regular file, to be read again")),
            (vec![good.path(), Path::new("/no/such/file")], None),
            (vec![], None),
        ] {
            let mut reloads = Reloads::default();
            reloads.add("files", files.into_iter().map(Path::to_owned).collect(), || Ok(()));
            let failure = reloads.0.iter().find_map(|reload| reload.read().err());
            assert_eq!(failure.map(|failure| failure.to_string()).as_deref(), expected);
        }
    }

    /// Something whose reading begins with a word and ends when it is told to.
    fn slow(reloads: &mut Reloads) -> (Receiver<()>, SyncSender<()>) {
        let (begun, begins) = sync_channel(10);
        let (go_on, goes_on) = sync_channel::<()>(10);
        let goes_on = std::sync::Mutex::new(goes_on);
        reloads.add("slow files", Vec::new(), move || {
            begun.send(())?;
            goes_on.lock().unwrap().recv()?;
            Ok(())
        });
        (begins, go_on)
    }

    #[tokio::test]
    async fn those_who_ask_while_it_is_read_get_one_more_reading_and_a_failure_stops_nothing() {
        let mut reloads = Reloads::default();
        reloads.add("bad files", Vec::new(), || Err("bad".into()));
        let (begins, go_on) = slow(&mut reloads);
        let (asked, until) = (Arc::new(Notify::new()), CancellationToken::new());
        let tasks = tokio_util::task::TaskTracker::new();
        let (told, turns) = sync_channel(10);
        let told = move |reading| told.send(reading).expect("there is room");
        tasks.spawn(reloads.run(Arc::clone(&asked), told, until.clone()));
        tasks.close();

        let begin = async |begins: Receiver<()>| {
            let waiting = tokio::task::spawn_blocking(move || {
                begins.recv_timeout(DEADLINE).expect("it is read");
                begins
            });
            waiting.await.expect("no panic")
        };
        asked.notify_one();
        let begins = begin(begins).await;
        for _ in 0..3 {
            asked.notify_one();
        }
        go_on.send(()).expect("it waits");
        let begins = begin(begins).await;
        go_on.send(()).expect("it waits");
        // Neither a third time, nor does the end wait for anything, nor does somebody who asks then get anything.
        until.cancel();
        asked.notify_one();
        timeout(DEADLINE, tasks.wait()).await.expect("it ends");
        assert!(begins.try_recv().is_err());
        // The second reading may have ended as well.
        let turns: Vec<_> = turns.try_iter().collect();
        assert_eq!(turns[..3], [Reading::Begins, Reading::Ended, Reading::Begins]);
    }
}
