//! Asks for files to be read again when they have changed (`--watch`).
//!
//! They are looked at, twice a second, rather than reported by the system: a look sees the file that a path leads to now, so
//! it does not matter whether an editor puts another file in the place of the old one, a link is turned (Kubernetes), a folder is
//! mounted from another machine that reports nothing, or which system this is.

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

/// What tells one state of a file from another; none: there is nothing that can be read.
type State = Option<(u64, u64, u64, [(i64, i64); 2])>;

/// Tells `changed` when one of the files has changed and then stayed as it is for [`PERIOD`]; until `until`.
pub(crate) async fn watch(files: Vec<PathBuf>, changed: Arc<Notify>, until: CancellationToken) {
    info!(files = files.len(), "watching files, to read them again when they change");
    tokio::select! {
        () = until.cancelled() => {}
        () = look_after(files, &changed) => {}
    }
}

async fn look_after(files: Vec<PathBuf>, changed: &Notify) {
    let files = Arc::new(files);
    let mut read = look(&files).await;
    let mut seen = read.clone();
    loop {
        sleep(PERIOD).await;
        let now = look(&files).await;
        let is_quiet = now == seen;
        seen = now;
        if is_quiet && seen != read {
            read.clone_from(&seen);
            changed.notify_one();
        }
    }
}

/// A file system may take its time.
async fn look(files: &Arc<Vec<PathBuf>>) -> Vec<State> {
    let files = Arc::clone(files);
    let looking = tokio::task::spawn_blocking(move || files.iter().map(state).collect());
    looking.await.unwrap_or_else(|error| {
        warn!(%error, "the files cannot be watched just now; SIGHUP reads them all the same");
        Vec::new()
    })
}

fn state(file: &PathBuf) -> State {
    let of = fs::metadata(file).ok()?;
    let times = [(of.mtime(), of.mtime_nsec()), (of.ctime(), of.ctime_nsec())];
    Some((of.dev(), of.ino(), of.size(), times))
}

/// The time between two looks.
const PERIOD: Duration = Duration::from_millis(500);

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use tokio::time::timeout;
    use tokio_util::task::TaskTracker;

    use super::*;

    const DEADLINE: Duration = Duration::from_secs(60);

    #[tokio::test]
    async fn a_file_that_is_written_replaced_or_linked_elsewhere_has_changed() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        for name in ["a", "b", "new"] {
            fs::write(path(name), "1").unwrap();
        }
        symlink(path("b"), path("link")).unwrap();
        let (changed, until, tasks) = (Arc::new(Notify::new()), CancellationToken::new(), TaskTracker::new());
        let files = vec![path("a"), path("link"), path("later")];
        // Before the first look nothing is to change.
        let first = look(&Arc::new(files.clone())).await;
        assert_eq!(first.iter().filter(|state| state.is_some()).count(), 2);
        let watching = {
            let (changed, until) = (Arc::clone(&changed), until.clone());
            async move { watch(files, changed, until).await }
        };
        tasks.spawn(watching);
        tasks.close();
        let acts: [(&str, &dyn Fn()); 5] = [
            ("written", &|| fs::write(path("a"), "22").unwrap()),
            ("replaced", &|| fs::rename(path("new"), path("a")).unwrap()),
            ("linked elsewhere", &|| {
                symlink(path("a"), path("other")).unwrap();
                fs::rename(path("other"), path("link")).unwrap();
            }),
            ("made", &|| fs::write(path("later"), "").unwrap()),
            ("removed", &|| fs::remove_file(path("later")).unwrap()),
        ];
        // The first look may be late: what is not seen as a change yet is done again.
        let mut started = false;
        while !started {
            fs::write(path("a"), format!("{:?}", std::time::SystemTime::now())).unwrap();
            started = timeout(PERIOD * 4, changed.notified()).await.is_ok();
        }
        for (what, act) in acts {
            act();
            timeout(DEADLINE, changed.notified()).await.unwrap_or_else(|_| panic!("{what}"));
        }
        until.cancel();
        timeout(DEADLINE, tasks.wait()).await.unwrap();
    }
}
