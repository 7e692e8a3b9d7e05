//! Why the program ends: what it says, with which exit code, and what to do about it.

use std::io;
use std::path::{Path, PathBuf};

use crate::config::{ConfigErrors, ServerName};

/// Why the program did not start, or had to stop by itself.
#[derive(Debug, thiserror::Error)]
pub enum StartupError {
    /// The configuration is wrong.
    #[error(transparent)]
    Config(#[from] ConfigErrors),
    /// A file that the configuration names cannot be used.
    #[error("{flag} {} cannot be used", file.display())]
    File {
        /// The flag that names it, such as `--tls-cert`.
        flag: &'static str,
        /// The file.
        file: PathBuf,
        /// Why; says nothing of what is in it.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The host to listen on has no address.
    #[error("host {host} has no address")]
    HostUnknown {
        /// `--host`.
        host: String,
        /// What the resolver said.
        source: io::Error,
    },
    /// Listening failed.
    #[error("{}", listen_failure(host, *port, source))]
    Listen {
        /// `--host`.
        host: String,
        /// `--port`.
        port: u16,
        /// What the system said.
        source: io::Error,
    },
    /// There can be no socket at a path.
    #[error("{}", unix_failure(path, source))]
    ListenUnix {
        /// The path of `--listen`.
        path: PathBuf,
        /// What the system said, or what is there.
        source: io::Error,
    },
    /// The sockets that systemd hands over cannot be used; why.
    #[error("of the sockets that systemd has opened, {0}")]
    Handed(String),
    /// Other machines can reach the address, and nobody has to authenticate.
    #[error("{address} can be reached from other machines, and clients need not authenticate")]
    Exposed {
        /// What would be listened on.
        address: std::net::SocketAddr,
    },
    /// The tokens cannot be used.
    #[error("{origin} cannot be used")]
    Tokens {
        /// The flag and the file, or the variable.
        origin: String,
        /// What is wrong with them.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The child could not be started, or exited before its first handshake stood; several lines that say what to do.
    #[error("{0}")]
    Child(String),
    /// None of several servers could be started; each with several lines that say what to do.
    #[error("{}", none_started(.0))]
    Servers(Vec<(ServerName, String)>),
    /// Something that every process needs was refused by the system.
    #[error("cannot {what}")]
    System {
        /// What was refused.
        what: &'static str,
        /// What the system said.
        source: io::Error,
    },
    /// Something that cannot happen did.
    #[error("{0}: this is a bug in mcp-mux")]
    Bug(&'static str),
}

impl StartupError {
    /// The exit code (those above 2 are the ones of `sysexits.h`).
    pub const fn exit_code(&self) -> u8 {
        match self {
            Self::Config(_) | Self::Exposed { .. } | Self::Tokens { .. } | Self::File { .. } => 78,
            Self::HostUnknown { .. }
            | Self::Listen { .. }
            | Self::ListenUnix { .. }
            | Self::Handed(_)
            | Self::Child(_)
            | Self::Servers(_) => 69,
            Self::System { .. } => 1,
            Self::Bug(_) => 70,
        }
    }

    /// What to do about it, where the text does not say it.
    pub fn hint(&self) -> Option<&'static str> {
        let hint = match self {
            Self::Config(_) => "`mcp-mux --help` lists every flag, its variable and its default",
            Self::File { .. } => "mend the file, or name another one",
            Self::HostUnknown { .. } => {
                "give --host or --listen an address or a name of this machine, such as 127.0.0.1"
            }
            #[expect(clippy::wildcard_enum_match_arm, reason = "the others are rare and speak for themselves")]
            Self::Listen { source, .. } => match source.kind() {
                io::ErrorKind::AddrInUse => {
                    "stop what uses it or choose another with --port or --listen (0 lets the system choose)"
                }
                io::ErrorKind::PermissionDenied => "choose a port of 1024 or more with --port or --listen",
                io::ErrorKind::AddrNotAvailable => {
                    "give --host or --listen an address of this machine, such as 127.0.0.1"
                }
                _ => "choose another address with --host and --port, or --listen",
            },
            #[expect(clippy::wildcard_enum_match_arm, reason = "the others are rare and speak for themselves")]
            Self::ListenUnix { source, .. } => match source.kind() {
                io::ErrorKind::AddrInUse => "stop what uses it or choose another path with --listen",
                io::ErrorKind::AlreadyExists => "remove it if it is not needed, or choose another path with --listen",
                io::ErrorKind::PermissionDenied => {
                    "choose a folder that mcp-mux may write to, and an owner that it may give files to (--unix-owner)"
                }
                io::ErrorKind::NotFound => "make the folder, or choose another path with --listen",
                _ => "choose another path with --listen",
            },
            Self::Handed(_) => {
                "start it by a systemd service with a socket unit (ListenStream=, Accept=no), or name what to listen on with \
                 --listen"
            }
            Self::Exposed { .. } => {
                "have them authenticate (--auth-token-file FILE or --jwt-issuer URL), listen on 127.0.0.1 only (--host, --listen, --admin), or say with \
                 --insecure-no-auth that everybody may use the server"
            }
            Self::Tokens { .. } => "write one `name:token` a line; `openssl rand -hex 32` makes a good token",
            Self::Child(_) | Self::Servers(_) => return None,
            Self::System { .. } => "look at the limits of this process (ulimit -a) and the free memory",
            Self::Bug(_) => "please report it, with the log",
        };
        Some(hint)
    }
}

#[expect(clippy::wildcard_enum_match_arm, reason = "the source says it")]
fn listen_failure(host: &str, port: u16, source: &io::Error) -> String {
    match source.kind() {
        io::ErrorKind::AddrInUse => format!("port {port} on {host} is in use"),
        io::ErrorKind::PermissionDenied => format!("port {port} on {host} needs more rights than this process has"),
        io::ErrorKind::AddrNotAvailable => format!("{host} is not an address of this machine"),
        _ => format!("cannot listen on port {port} of {host}"),
    }
}

#[expect(clippy::wildcard_enum_match_arm, reason = "the source says it")]
fn unix_failure(path: &Path, source: &io::Error) -> String {
    let path = path.display();
    match source.kind() {
        io::ErrorKind::AddrInUse => format!("somebody listens on unix:{path} already"),
        io::ErrorKind::AlreadyExists => format!("{path} is something else than a socket"),
        io::ErrorKind::PermissionDenied => format!("unix:{path} needs more rights than this process has"),
        io::ErrorKind::NotFound => format!("there is no folder for unix:{path}"),
        _ => format!("cannot listen on unix:{path}"),
    }
}

fn none_started(losses: &[(ServerName, String)]) -> String {
    let each = losses.iter().map(|(name, why)| format!("\n{name}: {why}"));
    format!("none of the servers could be started{}", each.collect::<String>())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_startup_error_says_what_to_do() {
        let source = || io::Error::from(io::ErrorKind::AddrInUse);
        for (error, exit_code, text) in [
            (
                StartupError::File { flag: "--tls-key", file: "/k.pem".into(), source: Box::new(source()) },
                78,
                "--tls-key /k.pem cannot be used",
            ),
            (StartupError::HostUnknown { host: "h".into(), source: source() }, 69, "host h has no address"),
            (StartupError::Listen { host: "h".into(), port: 1, source: source() }, 69, "port 1 on h is in use"),
            (
                StartupError::ListenUnix { path: "/run/a".into(), source: source() },
                69,
                "somebody listens on unix:/run/a already",
            ),
            (StartupError::Handed("there is none".into()), 69, "of the sockets that systemd has opened, there is none"),
            (
                StartupError::Exposed { address: ([10, 0, 0, 7], 80).into() },
                78,
                "10.0.0.7:80 can be reached from other machines, and clients need not authenticate",
            ),
            (
                StartupError::Tokens { origin: "--auth-token-file f".into(), source: "line 1".into() },
                78,
                "--auth-token-file f cannot be used",
            ),
            (StartupError::Child("it exited".into()), 69, "it exited"),
            (
                StartupError::Servers(vec![
                    (ServerName::parse("a").unwrap(), "it exited\nhint".into()),
                    (ServerName::parse("b").unwrap(), "there is no such program".into()),
                ]),
                69,
                "none of the servers could be started\na: it exited\nhint\nb: there is no such program",
            ),
            (StartupError::System { what: "start threads", source: source() }, 1, "cannot start threads"),
            (StartupError::Bug("a panic"), 70, "a panic: this is a bug in mcp-mux"),
        ] {
            assert_eq!((error.exit_code(), error.to_string().as_str()), (exit_code, text));
            assert_eq!(error.hint().is_none(), matches!(error, StartupError::Child(_) | StartupError::Servers(_)));
        }
    }
}
