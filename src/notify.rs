//! What a service manager is told of the program's life: `sd_notify`.
//!
//! The protocol is a few lines of text in one datagram to the socket that `NOTIFY_SOCKET` names (systemd: `sd_notify(3)`). Who
//! is told, and how often a watchdog wants to hear something, is read once, from what the environment says.
//!
//! Separate from `app`: that knows when there is something to tell, this how it is spelled and sent. Invariant: a service
//! manager that does not listen changes nothing and holds nobody up for longer than [`SEND_TIMEOUT`].
//!
//! Children are told of neither: see `child::environment`.

use std::ffi::OsString;
use std::fmt;
use std::io;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};
use tokio::time::{MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;
use tracing::{debug, warn};

/// Tells the service manager. Cheap to clone; without a service manager it does nothing.
#[derive(Clone, Debug, Default)]
pub struct Notifier {
    manager: Option<Arc<Manager>>,
    /// The time within which the watchdog wants to hear of the program.
    watchdog: Option<Duration>,
}

struct Manager {
    socket: UnixDatagram,
    address: SocketAddr,
    /// Whether it was told that the program stops. Held while it is told of a turn, so that none comes after that.
    stopping: Mutex<bool>,
}

impl fmt::Debug for Manager {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Manager").field(&self.address).finish()
    }
}

impl Notifier {
    /// Who is to be told, as the environment says (`variable` gives a variable's value). A socket that cannot be used is
    /// nobody, and the log says so: it must be set up by then.
    pub fn from_environment(variable: impl Fn(&str) -> Option<OsString>) -> Self {
        let Some(name) = variable("NOTIFY_SOCKET").filter(|name| !name.is_empty()) else { return Self::default() };
        let manager = address(name.as_bytes()).and_then(|address| {
            let socket = UnixDatagram::unbound()?;
            socket.set_write_timeout(Some(SEND_TIMEOUT))?;
            Ok(Manager { socket, address, stopping: Mutex::default() })
        });
        match manager {
            Ok(manager) => {
                let number = |name| variable(name)?.to_str()?.parse::<u64>().ok();
                let ours = variable("WATCHDOG_PID").is_none_or(|pid| *pid == *std::process::id().to_string());
                let watchdog = number("WATCHDOG_USEC").filter(|usec| *usec > 0 && ours).map(Duration::from_micros);
                Self { manager: Some(Arc::new(manager)), watchdog }
            }
            Err(error) => {
                warn!(socket = %name.display(), %error, "the service manager cannot be told anything: NOTIFY_SOCKET");
                Self::default()
            }
        }
    }

    /// It serves, as `status` says; not once it stops.
    pub(crate) fn ready(&self, status: &str) {
        self.turn(&format!("READY=1\nSTATUS={}\n", one_line(status)));
    }

    /// Files are being read again; [`Notifier::ready`] follows. Not once it stops.
    pub(crate) fn reloading(&self) {
        let now = clock_gettime(ClockId::Monotonic);
        let now = Duration::new(now.tv_sec.try_into().unwrap_or_default(), now.tv_nsec.try_into().unwrap_or_default());
        self.turn(&format!("RELOADING=1\nMONOTONIC_USEC={}\nSTATUS=Reading files again\n", now.as_micros()));
    }

    /// It stops, which takes `at_most` so long.
    pub(crate) fn stopping(&self, at_most: Duration) {
        let usec = u64::try_from(at_most.as_micros()).unwrap_or(u64::MAX);
        let Some(manager) = &self.manager else { return };
        *manager.stopping.lock().unwrap_or_else(PoisonError::into_inner) = true;
        self.send(&format!("STOPPING=1\nEXTEND_TIMEOUT_USEC={usec}\nSTATUS=Stopping: requests in flight may end\n"));
    }

    /// Tells the watchdog, twice in each of its intervals, that the runtime still runs its tasks, by being one of them.
    pub(crate) async fn feed_watchdog(self, until: CancellationToken) {
        let Some(watchdog) = self.watchdog else { return };
        let mut ticks = interval((watchdog / 2).max(WATCHDOG_INTERVAL_MIN));
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                () = until.cancelled() => return,
                _ = ticks.tick() => self.send("WATCHDOG=1\n"),
            }
        }
    }

    fn turn(&self, lines: &str) {
        let Some(manager) = &self.manager else { return };
        let stopping = manager.stopping.lock().unwrap_or_else(PoisonError::into_inner);
        if !*stopping {
            self.send(lines);
        }
    }

    fn send(&self, lines: &str) {
        let Some(manager) = &self.manager else { return };
        if let Err(error) = manager.socket.send_to_addr(lines.as_bytes(), &manager.address) {
            debug!(%error, "the service manager was not told");
        }
    }
}

/// The address that a name stands for: a path, or with `@` one of Linux's abstract ones.
fn address(name: &[u8]) -> io::Result<SocketAddr> {
    match name.split_first() {
        Some((b'/', _)) => SocketAddr::from_pathname(std::ffi::OsStr::from_bytes(name)),
        #[cfg(target_os = "linux")]
        Some((b'@', name)) => <SocketAddr as std::os::linux::net::SocketAddrExt>::from_abstract_name(name),
        _ => Err(io::Error::new(io::ErrorKind::Unsupported, "neither a path nor an abstract socket")),
    }
}

/// A line break would begin another assignment.
fn one_line(text: &str) -> String {
    text.chars().map(|character| if character.is_control() { ' ' } else { character }).collect()
}

/// Longer than a service manager that works takes to read what is there.
const SEND_TIMEOUT: Duration = Duration::from_millis(100);
/// For a watchdog that was given a few microseconds.
const WATCHDOG_INTERVAL_MIN: Duration = Duration::from_millis(1);

#[cfg(test)]
mod tests {
    use std::path::{Path, PathBuf};

    use super::*;

    struct ServiceManager {
        socket: UnixDatagram,
        path: PathBuf,
        _folder: tempfile::TempDir,
    }

    impl ServiceManager {
        fn new() -> Self {
            let folder = tempfile::tempdir().expect("a folder");
            let path = folder.path().join("notify");
            let socket = UnixDatagram::bind(&path).expect("a socket");
            socket.set_read_timeout(Some(Duration::from_secs(30))).expect("a time");
            Self { socket, path, _folder: folder }
        }

        fn told(&self) -> String {
            let mut buffer = [0; 1024];
            let bytes = self.socket.recv(&mut buffer).expect("something");
            String::from_utf8_lossy(buffer.get(..bytes).expect("what was read")).into_owned()
        }

        fn was_told_nothing(&self) -> bool {
            self.socket.set_nonblocking(true).expect("a mode");
            self.socket.recv(&mut [0; 1]).is_err()
        }
    }

    fn notifier(path: &Path, others: &[(&str, &str)]) -> Notifier {
        Notifier::from_environment(|name| {
            let other = others.iter().find(|(key, _)| *key == name).map(|(_, value)| value.into());
            if name == "NOTIFY_SOCKET" { Some(path.into()) } else { other }
        })
    }

    #[test]
    fn each_turn_of_the_programs_life_is_one_datagram() {
        let manager = ServiceManager::new();
        let notifier = notifier(&manager.path, &[]);
        notifier.ready("Serving http://127.0.0.1:8000/mcp\nMAINPID=1");
        assert_eq!(manager.told(), "READY=1\nSTATUS=Serving http://127.0.0.1:8000/mcp MAINPID=1\n");
        notifier.reloading();
        let told = manager.told();
        let [first, stamp, status] = told.lines().collect::<Vec<_>>().try_into().expect("three lines");
        assert_eq!((first, status), ("RELOADING=1", "STATUS=Reading files again"));
        assert!(stamp.strip_prefix("MONOTONIC_USEC=").expect("a time").parse::<u64>().expect("a number") > 0);
        notifier.stopping(Duration::from_millis(1500));
        let expected = "STOPPING=1\nEXTEND_TIMEOUT_USEC=1500000\nSTATUS=Stopping: requests in flight may end\n";
        assert_eq!(manager.told(), expected);
        // Nothing that was under way makes it a program that serves again.
        notifier.reloading();
        notifier.ready("Serving");
        assert!(manager.was_told_nothing());
    }

    #[tokio::test(start_paused = true)]
    async fn the_watchdog_is_told_twice_in_its_interval_for_as_long_as_the_task_runs() {
        let manager = ServiceManager::new();
        let notifier = notifier(&manager.path, &[("WATCHDOG_USEC", "10000000")]);
        let until = CancellationToken::new();
        let begun = tokio::time::Instant::now();
        let feeding = notifier.feed_watchdog(until.clone());
        let watching = async {
            tokio::time::sleep(Duration::from_secs(21)).await;
            until.cancel();
        };
        tokio::join!(feeding, watching);
        assert_eq!(begun.elapsed(), Duration::from_secs(21));
        // At 0, 5, 10, 15 and 20 seconds.
        for _ in 0..5 {
            assert_eq!(manager.told(), "WATCHDOG=1\n");
        }
        assert!(manager.was_told_nothing());
    }

    #[test]
    fn a_watchdog_is_for_the_process_it_names_and_has_a_time() {
        let manager = ServiceManager::new();
        let own = std::process::id().to_string();
        for (variables, expected) in [
            (&[("WATCHDOG_USEC", "2"), ("WATCHDOG_PID", &*own)] as &[_], Some(Duration::from_micros(2))),
            (&[("WATCHDOG_USEC", "2")], Some(Duration::from_micros(2))),
            (&[("WATCHDOG_USEC", "2"), ("WATCHDOG_PID", "1")], None),
            (&[("WATCHDOG_USEC", "0")], None),
            (&[("WATCHDOG_USEC", "soon")], None),
            (&[], None),
        ] {
            assert_eq!(notifier(&manager.path, variables).watchdog, expected, "{variables:?}");
        }
    }

    #[test]
    fn nobody_is_told_where_there_is_no_socket_or_nobody_listens() {
        for path in ["", "relative", "vsock:2:1234", "/no/such/socket", "@no-such-abstract-socket"] {
            notifier(Path::new(path), &[("WATCHDOG_USEC", "2")]).ready("Serving");
        }
        for path in ["", "relative", "vsock:2:1234"] {
            assert!(notifier(Path::new(path), &[("WATCHDOG_USEC", "2")]).manager.is_none(), "{path}");
        }
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn an_abstract_socket_is_told() {
        let name = format!("mcp-mux-test-{}", uuid::Uuid::new_v4());
        let address = <SocketAddr as std::os::linux::net::SocketAddrExt>::from_abstract_name(&name).expect("a name");
        let socket = UnixDatagram::bind_addr(&address).expect("a socket");
        notifier(Path::new(&format!("@{name}")), &[]).ready("Serving");
        assert_eq!(socket.recv(&mut [0; 1024]).expect("something"), "READY=1\nSTATUS=Serving\n".len());
    }
}
