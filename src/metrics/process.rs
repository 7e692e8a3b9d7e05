//! What the process itself uses, as far as the system says so cheaply.

use std::fs;
use std::sync::LazyLock;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rustix::process::{Resource, getrlimit};
use rustix::time::{ClockId, clock_gettime};

/// When the first metric was made, which is at the start of the program.
static STARTED: LazyLock<Duration> = LazyLock::new(|| SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default());

/// When the program was started, since 1970.
pub(super) fn started() -> Duration {
    *STARTED
}

/// The processor time it has used.
pub(super) fn processor_time() -> Duration {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    let (seconds, nanoseconds) = (u64::try_from(time.tv_sec), u32::try_from(time.tv_nsec));
    Duration::new(seconds.unwrap_or(0), nanoseconds.unwrap_or(0))
}

/// The memory it has of the machine's (Linux).
pub(super) fn resident_bytes() -> Option<u64> {
    let status = fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kibibytes: u64 = line.trim().strip_suffix("kB")?.trim_end().parse().ok()?;
    kibibytes.checked_mul(1024)
}

/// How many files it has open (Linux).
pub(super) fn open_files() -> Option<u64> {
    const FILES: &str = "/proc/self/fd";
    // Newer systems say how many there are without listing them.
    let listed = || u64::try_from(fs::read_dir(FILES).ok()?.count()).ok();
    fs::metadata(FILES).ok().map(|folder| folder.len()).filter(|files| *files > 0).or_else(listed)
}

/// How many it may have open.
pub(super) fn open_files_max() -> Option<u64> {
    getrlimit(Resource::Nofile).current
}

#[cfg(test)]
mod tests {
    use super::*;

    #[cfg(target_os = "linux")]
    #[test]
    fn the_process_is_measured() {
        let (memory, files) = (resident_bytes().expect("memory"), open_files().expect("files"));
        assert!(memory > 1 << 20, "{memory}");
        assert!((3..=open_files_max().expect("a limit")).contains(&files), "{files}");
        assert!(processor_time() > Duration::ZERO);
        assert!(started() > Duration::from_secs(1_700_000_000));
    }
}
